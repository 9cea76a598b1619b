"""What the user's program calls its tensors, where it stands, and how an operation is written down."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from inspect import CO_OPTIMIZED
from string import Formatter
from types import FrameType
from typing import Any

import numpy as np

from ..autograd import Op, Tensor, TensorTuple, Wrapped

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


def user_frame() -> FrameType | None:
    """The innermost frame that is running outside of Needle itself."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame


def names_in(frame: FrameType | None, unwrapped: bool = False) -> dict[Any, str]:
    """The tensors that variables of this frame hold (its own first, then the module's), and the first name of each.

    `unwrapped`: what is inside of the local ones, where a transform has wrapped them, and x_dot for their tangents.
    """
    names: dict[Any, str] = {}
    if frame is None:
        return names
    snapshot = frame.f_locals
    for scope in [snapshot] if unwrapped else [snapshot, frame.f_globals]:
        for name, value in list(scope.items()):
            if isinstance(value, (Tensor, TensorTuple)) and name.isidentifier() and not name.startswith("_"):
                while isinstance(value, Wrapped) and unwrapped:
                    if (tangent := getattr(value, "tangent", None)) is not None:
                        names.setdefault(tangent, f"{name}_dot")
                    value = value.value
                names.setdefault(value, name)
    del scope
    # Up to Python 3.12, asking for a function's locals leaves a dict of them in its frame, which keeps all that they
    # hold alive until the frame ends. Nobody else has it, unless the function called locals() itself.
    if frame.f_code.co_flags & CO_OPTIMIZED and type(snapshot) is dict and sys.getrefcount(snapshot) <= 3:
        snapshot.clear()
    return names


def written(op: Op, inputs: Sequence[str]) -> str:
    """The operation on inputs of these names, as a program would write it: `v0 * b`, `summation(v3, axes=1)`."""
    own: dict[str, Any] = {}
    for kind in type(op).__mro__:
        own |= {name: getattr(op, name) for name in vars(kind).get("__slots__", ()) if hasattr(op, name)}
    own |= getattr(op, "__dict__", {})
    if op.notation:
        asked = [name for _, name, _, _ in Formatter().parse(op.notation) if name and not name.isdecimal()]
        own |= {name: getattr(op, name) for name in asked if name not in own and name != "inputs"}
        return op.notation.format(*inputs, inputs=", ".join(inputs), **{k: short(v) for k, v in own.items()})
    options = [f"{k}={short(v)}" for k, v in own.items() if not k.startswith("_") and v is not None and v is not False]
    return f"{type(op).__name__.lower()}({', '.join([*inputs, *options])})"


def short(value: Any) -> str:
    """An attribute of an op in few characters: slices as they are written in an index, arrays by shape, functions by
    name."""
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    if isinstance(value, tuple) and any(part is None or part is ... or isinstance(part, slice) for part in value):
        return ", ".join(map(short, value))  # an index
    if isinstance(value, slice):
        ends = ["" if end is None else str(end) for end in (value.start, value.stop, value.step)]
        return ":".join(ends[: 2 if value.step is None else 3])
    if value is Ellipsis:
        return "..."
    if isinstance(value, np.ndarray) and value.ndim:
        return repr(value.tolist()) if value.size <= 4 else f"<{'x'.join(map(str, value.shape))}>"
    text = str(value) if isinstance(value, (np.generic, np.dtype)) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
