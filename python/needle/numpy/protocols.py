"""What NumPy calls when one of its functions meets a Tensor: `__array_ufunc__` and `__array_function__`.

`np.tanh(t)` comes to `Tensor.__array_ufunc__`, `np.cumsum(t)` to `Tensor.__array_function__`; both look up Needle's
function of that name. Where there is none, constants are computed by NumPy, and what needs a gradient is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy import ndarray

from .. import autograd, special, watching
from ..autograd import CONSTANT, DETACHED, RECORDED, Tensor, Value, is_recorded, is_recording, value_of
from ..backend import as_array
from ..memory import handed_out
from ..ops.base import Elementwise, decides_itself
from ..pool import SMALLEST
from .common import into
from .ufuncs import ACCUMULATIONS, REDUCTIONS, ufunc

_new = object.__new__

UFUNCS: dict[Any, ufunc] = {}
FUNCTIONS: dict[Any, Callable[..., Any]] = {}
"""NumPy's functions -> Needle's."""
_NAMED: dict[str, Callable[..., Any]] = {}
"""The same by name, of ufuncs that NumPy keeps to itself: `array.clip(t, ...)` calls one."""
_QUICK: dict[Any, tuple[Any, bool]] = {}
"""Ufuncs of one argument that are an op's `compute` -> the op, and whether it saves its input."""


def bind(namespace: dict[str, Any]) -> None:
    """Let NumPy find the functions of `needle.numpy`."""
    reduced = {np.add: "sum", np.multiply: "prod", np.maximum: "max", np.minimum: "min"}
    REDUCTIONS.update({of: namespace[name] for of, name in reduced.items()})
    ACCUMULATIONS.update({np.add: namespace["cumsum"], np.multiply: namespace["cumprod"]})
    own = (np, namespace), (np.linalg, vars(namespace["linalg"])), (np.fft, vars(namespace["fft"]))
    for module, names in (*own, (np.lib.stride_tricks, namespace)):
        for name, function in names.items():
            of = getattr(module, name, None) if callable(function) else None  # np.random is loaded by asking for it
            if isinstance(function, ufunc):
                UFUNCS[function.of] = function
                op = function.function
                if isinstance(op, Elementwise) and op.compute is function.of:
                    _QUICK[function.of] = op, "inputs" in op.saves
            if callable(of) and not isinstance(of, (type, np.ufunc)):
                FUNCTIONS[of] = function
    FUNCTIONS.update(namespace["linalg"].AS_IN_NUMPY)
    _NAMED["clip"] = namespace["clip"]


def array_ufunc(self: Any, of: Any, method: str, a: Any, *more: Any, **options: Any) -> Any:
    if not more and not options and type(a) is Tensor and method == "__call__" and of in _QUICK:
        # What calling the op does, without the calls: NumPy's detour alone takes a third of a small operation's time.
        op, saves = _QUICK[of]
        if not (watching.active or handed_out):
            try:
                array = a._array
            except AttributeError:
                return op(a)
            if array.nbytes < SMALLEST:
                out = of(array)
                node = _new(Tensor)
                node._array = out if type(out) is ndarray else as_array(out)
                node._grad = None
                if a.needs > DETACHED and is_recording():
                    node.op = op
                    node.inputs = (a,)
                    node.saved = (array,) if saves else None
                    node.needs = RECORDED
                else:
                    node.op = None
                    node.inputs = ()
                    node.saved = None
                    node.needs = CONSTANT
                return node
        return op(a)
    if any(map(decides_itself, (a, *more, *options.get("out", ())))):
        return NotImplemented
    function: Any = UFUNCS.get(of) or special.find(of) or _NAMED.get(of.__name__)
    if function is None:
        return _without_gradient(getattr(of, method), of.__name__, (a, *more), options)
    if not isinstance(function, ufunc):
        function = ufunc(of, function)
    return function(a, *more, **options) if method == "__call__" else getattr(function, method)(a, *more, **options)


def array_function(self: Any, of: Any, types: Any, args: Any, options: dict[str, Any]) -> Any:
    for cls in types:
        if cls is not Tensor and not issubclass(cls, (Tensor, ndarray)):
            return NotImplemented
    function = FUNCTIONS.get(of)
    if function is not None:
        return function(*args, **options)
    return _without_gradient(of, f"{of.__module__}.{of.__name__}", args, options)


def _without_gradient(function: Any, name: str, args: Any, options: dict[str, Any]) -> Any:
    """What NumPy's own function makes of constants."""

    def plain(a: Any) -> Any:
        value: Any = a
        if isinstance(a, Value):
            if is_recorded(a):
                called = name.lstrip("_")  # SciPy's ufuncs behind its functions begin with one
                raise TypeError(
                    f"{called}: has no derivative in Needle, and would drop the gradient that a Tensor of shape "
                    f"{value.shape} needs; write {called}(t.numpy()) where only the value is meant, or make it "
                    "differentiable with needle.custom_gradient or needle.numerical"
                )
            return value_of(a, name) if isinstance(a, Tensor) else value.numpy()
        if isinstance(a, (list, tuple)) and type(a) in (list, tuple):
            return type(a)(map(plain, a))
        return {key: plain(value) for key, value in a.items()} if type(a) is dict else a

    outs = options.get("out", ())
    outs = outs if type(outs) is tuple else (outs,)
    if any(isinstance(out, Tensor) for out in outs):  # NumPy would write into an array that nobody has
        options = {key: value for key, value in options.items() if key != "out"}
    else:
        outs = ()
    result = function(*plain(tuple(args)), **plain(options))
    if type(result) is tuple:
        return tuple([_into(out, one) for out, one in zip_longest(outs, result)])
    return _into(outs[0] if outs else None, result)


def _into(out: Any, result: Any) -> Any:
    return into(out, _as_constant(result)) if out is not None else _as_constant(result)


def _as_constant(result: Any) -> Any:
    is_number = isinstance(result, (ndarray, np.generic)) and result.dtype.kind in "biufc"
    return autograd.constant(as_array(result)) if is_number else result
