"""What NumPy's functions on Tensors share: arguments, axes, `out=`, `dtype=`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from ..autograd import Tensor, Value, as_value, is_recorded, value_of
from ..backend import all_devices, refuse_more_than_arrays
from ..ops.base import NUMBERS, described, normalize_axes
from ..ops.dtypes import astype
from ..ops.joining import Stack


def tensor(a: Any, dtype: Any = None) -> Tensor:
    """The argument as a Tensor: itself if it is one, else a constant; a list that holds Tensors is stacked."""
    if not isinstance(a, Value):
        a = stacked(a) if isinstance(a, (list, tuple)) and holds_tensor(a) else as_value(a)
    return a if dtype is None or a.dtype == dtype else astype(a, dtype)


def tensors(*many: Any) -> tuple[Tensor, ...]:
    """Several arguments as Tensors; Python numbers among them take NumPy's weak promotion beside the others."""
    values: list[Any] = [a if type(a) in NUMBERS else tensor(a) for a in many]
    dtypes = [a.dtype for a in values if isinstance(a, Tensor)]
    if not dtypes:
        return tuple([tensor(a) for a in values])
    return tuple([a if isinstance(a, Tensor) else as_value(np.asarray(a, np.result_type(*dtypes, a))) for a in values])


def filled_out(a: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor broadcast to this shape, in memory of its own, so that each element can be assigned to."""
    whole = a.broadcast_to(shape)
    return astype(whole, whole.dtype)


def holds_tensor(a: Any) -> bool:
    """Whether a Tensor is among the items of nested lists and tuples."""
    return isinstance(a, Value) or (isinstance(a, (list, tuple)) and any(map(holds_tensor, a)))


def stacked(items: Any) -> Tensor:
    """Nested lists of Tensors, arrays and numbers as one Tensor."""
    members = [tensor(a) for a in items]
    shapes = {a.shape for a in members}
    if len(shapes) > 1:
        raise ValueError(f"array: the items of a list must have one shape, got {sorted(shapes)}; use broadcast_to")
    return Stack()(*members)


def array_of(a: Any, dtype: Any = None) -> Any:
    """What only steers (indices, masks, counts) as an array of its own; a Tensor's gradient has no part in it."""
    if isinstance(a, ndarray) and type(a) is not ndarray:
        refuse_more_than_arrays("an index, a mask or a count", a)
    return np.array(value_of(a, "an index, a mask or a count") if isinstance(a, Tensor) else a, dtype)


def index_of(a: Any) -> Any:
    """What names places (integers, booleans) as an array of its own; an empty list names none."""
    index = array_of(a)
    return index if index.size else index.astype(np.intp)


def normal_axis(name: str, axis: Any, ndim: int) -> int:
    """One axis as a non-negative integer; an error that names the function if there is none such."""
    (normal,) = normalize_axes(name, (axis,), ndim)
    return normal


def along(name: str, a: Tensor, axis: Any) -> tuple[Tensor, int]:
    """The tensor and one axis of it as a non-negative integer; without an axis, all elements in a line.

    A number, too, is a line of one element: its "axis 0" is one, as in NumPy.
    """
    if axis is None or (a.ndim == 0 and axis in (0, -1)):
        return a.reshape((a.size,)), 0
    return a, normal_axis(name, axis, a.ndim)


def check_device(name: str, device: Any) -> None:
    """ValueError for a device that is not on this machine."""
    if device is not None and device not in (*all_devices(), "cpu"):
        raise ValueError(f"{name}: device {described(device)} is not on this machine; needle.all_devices() lists them")


def into(out: Any, result: Tensor, casting: Any = "same_kind") -> Tensor:
    """The result, or `out` after it was assigned to it: a Tensor, or an array if no gradient would be lost."""
    if out is None:
        return result
    if isinstance(out, tuple):
        (out,) = out
        if out is None:
            return result
    repeated = (1,) * (len(out.shape) - len(result.shape)) + result.shape
    fits = len(repeated) == len(out.shape) and all(n in (1, m) for n, m in zip(repeated, out.shape, strict=True))
    if not fits or not np.can_cast(result.dtype, out.dtype, casting):
        raise ValueError(
            f"out=: must have shape {result.shape} and a dtype that {result.dtype} can be cast to by "
            f"casting={casting!r}, got shape {out.shape} and dtype {out.dtype}"
        )
    if isinstance(out, Tensor):
        out[...] = result
        return out
    if is_recorded(result):
        raise TypeError(
            "out=: the result needs a gradient, which an array cannot carry; leave out= away, or give a Tensor "
            "(needle.numpy.empty_like makes one)"
        )
    np.copyto(out, result.numpy(), casting=casting)
    return out
