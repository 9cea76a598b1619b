"""Who asked for a number or an array in place of a Tensor, and what to call instead."""

from __future__ import annotations

import ast
import linecache
import sys
from itertools import islice
from types import FrameType
from typing import Any

import numpy as np

_SPECIAL = {"lgamma": "gammaln", "gamma": "gamma", "erf": "erf", "erfc": "erfc"}
"""The math module's special functions -> SciPy's."""
_INTEGRATORS = {"solve_ivp", "odeint", "ode"}
_OURS = {"integrate", "linalg", "signal", "special", "stats"}
"""SciPy's modules that needle.scipy has, too."""
_DRAW = "draws or prints values: write t.numpy()"
_LIBRARIES = {"matplotlib": _DRAW, "seaborn": _DRAW, "plotly": _DRAW, "pandas": "holds values: write t.numpy()"}


def advice() -> str:
    """What to write in place of the call that a Tensor was handed to, for the end of an error; "" if it is unknown."""
    try:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and _package(frame) == "needle":
            frame = frame.f_back
        if frame is None:
            return ""
        package = _package(frame)
        if package not in _LIBRARIES and package != "scipy":
            return _of_function(_called(frame))
        while frame.f_back is not None and _package(frame.f_back) == package:
            frame = frame.f_back
        name = frame.f_code.co_name
        if package in _LIBRARIES:
            return f". {package}'s {name} {_LIBRARIES[package]}"
        if name in _INTEGRATORS:
            return f". SciPy's {name} cannot be differentiated through: use needle.scipy.integrate.odeint"
        module = str(frame.f_globals["__name__"]).split(".")[1]
        if module in _OURS:
            return f". In place of SciPy's {name}, use needle.scipy.{module}.{name} if it is there"
        return f". SciPy's {name} computes with arrays; needle.scipy has the functions that let gradients through"
    except (ValueError, SyntaxError, AttributeError, TypeError, KeyError, StopIteration):
        return ""  # the error itself matters more than who it names


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _called(frame: FrameType) -> Any:
    """The function that this frame is calling, found by the source of the call."""
    line, end, start, stop = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None))
    if line is None or line != end:
        return None
    text = linecache.getline(frame.f_code.co_filename, line, frame.f_globals).encode()[start:stop].decode()
    call = ast.parse(text.strip(), mode="eval").body
    names = []
    part: Any = call.func if isinstance(call, ast.Call) else None
    while isinstance(part, ast.Attribute):
        names.append(part.attr)
        part = part.value
    if not isinstance(part, ast.Name):
        return None
    found = frame.f_locals.get(part.id, frame.f_globals.get(part.id))
    for name in reversed(names):
        found = getattr(found, name)
    return found


def _of_function(function: Any) -> str:
    """What to call in place of one of the functions of Python's own math modules."""
    module, name = getattr(function, "__module__", None), getattr(function, "__name__", "")
    if module not in ("math", "cmath"):
        return ""
    if name in _SPECIAL:
        return f". In place of {module}.{name}, use needle.scipy.special.{_SPECIAL[name]}"
    return f". In place of {module}.{name}, use np.{name}" if hasattr(np, name) else ""
