"""Tensors out of nothing, out of numbers and out of other arrays. What is made of no Tensor needs no gradient.

The memory order that NumPy's functions take (`order`) has no meaning for a Tensor, whose elements have indices and no
addresses; like `subok` and `like`, it is taken and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from operator import index
from typing import Any

import numpy as np

from ..autograd import Tensor, Value, constant
from ..backend import array_of_numbers, refuse_more_than_arrays
from ..ops import astype, exp, log, power, reshape, where
from ..ops.base import several
from ..ops.discrete import discrete
from .common import array_of, check_device, holds_tensor, normal_axis, stacked, tensor, tensors
from .manipulation import expand_dims, moveaxis


def made(name: str, array: Any) -> Tensor:
    """An array that nobody else holds, as a constant."""
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name}: a Tensor holds booleans or numbers, got dtype {array.dtype}; give dtype=float")
    return constant(array)


# ------------------------------------------------------------------------------------------------------ filled


def empty(shape: Any, dtype: Any = None, order: str = "C", *, device: Any = None, like: Any = None) -> Tensor:
    """A Tensor to be assigned to; what is in it until then is not said."""
    check_device("empty", device)
    return made("empty", np.empty(shape, dtype))


def zeros(shape: Any, dtype: Any = None, order: str = "C", *, device: Any = None, like: Any = None) -> Tensor:
    """Zeros, of float64 by default."""
    check_device("zeros", device)
    return made("zeros", np.zeros(shape, dtype))


def ones(shape: Any, dtype: Any = None, order: str = "C", *, device: Any = None, like: Any = None) -> Tensor:
    """Ones, of float64 by default."""
    check_device("ones", device)
    return made("ones", np.ones(shape, dtype))


def full(
    shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", *, device: Any = None, like: Any = None
) -> Tensor:
    """`fill_value`, broadcast to the shape; its gradient is the sum over its copies."""
    check_device("full", device)
    if not holds_tensor(fill_value):
        refuse_more_than_arrays("full", fill_value)
        return made("full", np.full(shape, fill_value, dtype))
    copies = tensor(fill_value).broadcast_to(several(shape))
    return astype(copies, copies.dtype if dtype is None else dtype)


def empty_like(
    prototype: Any,
    /,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Tensor:
    """A Tensor to be assigned to, with the shape and the dtype of another."""
    return empty(*_like(prototype, shape, dtype), device=device)


def _like(prototype: Any, shape: Any, dtype: Any) -> tuple[Any, Any]:
    """A shape and a dtype, for None those of the prototype."""
    a = tensor(prototype)
    return a.shape if shape is None else shape, a.dtype if dtype is None else dtype


def zeros_like(
    a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
) -> Tensor:
    """Zeros with the shape and the dtype of a."""
    return zeros(*_like(a, shape, dtype), device=device)


def ones_like(
    a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
) -> Tensor:
    """Ones with the shape and the dtype of a."""
    return ones(*_like(a, shape, dtype), device=device)


def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Tensor:
    """`fill_value`, broadcast to the shape of a, in the dtype of a."""
    shape, dtype = _like(a, shape, dtype)
    return full(shape, fill_value, dtype, device=device)


def eye(
    N: int,
    M: int | None = None,
    k: int = 0,
    dtype: Any = float,
    order: str = "C",
    *,
    device: Any = None,
    like: Any = None,
) -> Tensor:
    """N rows and M (by default N) columns with ones on diagonal k, zeros elsewhere."""
    check_device("eye", device)
    return made("eye", np.eye(N, M, k, float if dtype is None else dtype))


def identity(n: int, dtype: Any = None, *, like: Any = None) -> Tensor:
    """The identity matrix."""
    return made("identity", np.identity(n, dtype))


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = float, *, like: Any = None) -> Tensor:
    """N rows and M (by default N) columns with ones on and below diagonal k, zeros above."""
    return made("tri", np.tri(N, M, k, dtype))


# ------------------------------------------------------------------------------------------------- out of others


def array(
    object: Any,
    dtype: Any = None,
    *,
    copy: bool | None = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    ndmax: int = 0,
    like: Any = None,
) -> Tensor:
    """A new Tensor of a Tensor, an array, a number or nested lists of them, through which gradients pass."""
    if isinstance(object, Value) or holds_tensor(object):
        a = tensor(object, dtype)
        if a is object and copy:
            a = astype(a, a.dtype)
        elif a is not object and copy is False:
            raise ValueError(
                f"array: {_what(object)} cannot be had with dtype {a.dtype} without a copy; leave copy= out"
            )
    else:
        a = _without_copy(object, dtype) if copy is False else constant(array_of_numbers("array", object, dtype))
    if 0 < ndmax < a.ndim:
        raise ValueError(f"array: ndmax={ndmax} is exceeded by {a.ndim} dimensions")
    return reshape(a, (1,) * (ndmin - a.ndim) + a.shape) if a.ndim < ndmin else a


def _what(thing: Any) -> str:
    return f"a {type(thing).__name__}" + (f" of dtype {thing.dtype}" if hasattr(thing, "dtype") else "")


def _without_copy(thing: Any, dtype: Any) -> Tensor:
    """A constant that shares an array's memory."""
    if not isinstance(thing, np.ndarray) or (dtype is not None and thing.dtype != np.dtype(dtype)):
        raise ValueError(f"array: {_what(thing)} needs a copy to become a Tensor; leave copy= out")
    return Tensor.make_const(thing)


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, device: Any = None, copy: bool | None = None, like: Any = None
) -> Tensor:
    """A Tensor: a itself if it is one of this dtype. With `copy=False` an array's memory is shared, else copied."""
    check_device("asarray", device)
    return array(a, dtype, copy=copy)


def asanyarray(
    a: Any, dtype: Any = None, order: Any = None, *, device: Any = None, copy: bool | None = None, like: Any = None
) -> Tensor:
    """The same as `asarray`."""
    return asarray(a, dtype, device=device, copy=copy)


def ascontiguousarray(a: Any, dtype: Any = None, *, like: Any = None) -> Tensor:
    """`asarray`, with one dimension at least."""
    return array(a, dtype, copy=None, ndmin=1)


def asfortranarray(a: Any, dtype: Any = None, *, like: Any = None) -> Tensor:
    """`asarray`, with one dimension at least: the memory order is not the user's matter here."""
    return array(a, dtype, copy=None, ndmin=1)


def asarray_chkfinite(a: Any, dtype: Any = None, order: Any = None) -> Tensor:
    """`asarray`; ValueError if an element is infinite or NaN."""
    a = asarray(a, dtype)
    if a.dtype.kind in "fc" and not discrete(np.isfinite, a).numpy().all():
        raise ValueError("asarray_chkfinite: there are infinities or NaNs among the elements; needed are finite ones")
    return a


def copy(a: Any, order: str = "K", subok: bool = False) -> Tensor:
    """Another Tensor with the value of a, through which gradients pass."""
    return array(a)


def frombuffer(buffer: Any, dtype: Any = None, count: int = -1, offset: int = 0, *, like: Any = None) -> Tensor:
    """A copy of a buffer's bytes as numbers."""
    refuse_more_than_arrays("frombuffer", buffer)
    return made("frombuffer", np.frombuffer(buffer, float if dtype is None else dtype, count, offset).copy())


def fromiter(iter: Iterable[Any], dtype: Any, count: int = -1, *, like: Any = None) -> Tensor:
    """The numbers, or 0-d Tensors, of an iterable."""
    if isinstance(iter, np.ndarray):
        refuse_more_than_arrays("fromiter", iter)
    items = list(iter if count < 0 else islice(iter, count))
    if len(items) < count:
        raise ValueError(f"fromiter: the iterable has {len(items)} items, count={count} asks for more")
    return tensor(stacked(items), dtype) if holds_tensor(items) else made("fromiter", np.fromiter(items, dtype, count))


def fromstring(string: Any, dtype: Any = float, count: int = -1, *, sep: str, like: Any = None) -> Tensor:
    """The numbers in a text, with a separator between them."""
    return made("fromstring", np.fromstring(string, dtype, count, sep=sep))


def fromfile(
    file: Any, dtype: Any = None, count: int = -1, sep: str = "", offset: int = 0, *, like: Any = None
) -> Tensor:
    """The numbers in a file, binary or as a text with a separator between them."""
    return made("fromfile", np.fromfile(file, float if dtype is None else dtype, count, sep, offset))


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A constant of an array of another library, sharing its memory unless `copy=True`; a Tensor stays itself."""
    check_device("from_dlpack", device)
    if isinstance(x, Value):
        return array(x, copy=copy)
    refuse_more_than_arrays("from_dlpack", x)
    shared = np.from_dlpack(x)
    return made("from_dlpack", shared.copy()) if copy else Tensor.make_const(shared)


# ------------------------------------------------------------------------------------------------------- ranges


def arange(
    start_or_stop: Any,
    /,
    stop: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    like: Any = None,
) -> Tensor:
    """Numbers from start (0) up to stop, without it, in steps; differentiable by start and step."""
    check_device("arange", device)
    if not any(isinstance(a, Tensor) for a in (start_or_stop, stop, step)):
        return made("arange", np.arange(start_or_stop, stop, step, dtype=dtype))
    ends = (0, start_or_stop) if stop is None else (start_or_stop, stop)
    start, stop, step = tensors(*ends, 1 if step is None else step)
    plain = discrete(np.arange, start, stop, step)
    return tensor(start + np.arange(plain.size, dtype=plain.dtype) * step, dtype)


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    """`num` numbers in equal steps from start to stop, along a new axis; with `retstep`, the step as well."""
    check_device("linspace", device)
    refuse_more_than_arrays("linspace", [start, stop])
    num = _count("linspace", num)
    if not holds_tensor([start, stop]):
        plain, step = np.linspace(start, stop, num, endpoint, retstep=True, dtype=dtype, axis=axis)
        return (made("linspace", plain), tensor(step)) if retstep else made("linspace", plain)
    start, stop = tensors(start, stop)
    whole = np.result_type(start.dtype, stop.dtype, 0.0)
    start, stop = tensor(start, whole), tensor(stop, whole)
    delta = stop - start
    steps, parts = _steps(num, delta.ndim, whole), num - 1 if endpoint else num
    step = delta / parts if parts > 0 else delta
    # A step may be smaller than the smallest number, where all of them together are not.
    out = start + (where(step == 0, steps / parts * delta, step * steps) if parts > 0 else step * steps)
    if endpoint and num > 1:
        out = where(steps.real == num - 1, stop, out)  # the very number
    out = _along(out, axis)
    if dtype is not None and np.dtype(dtype).kind in "iu":
        out = discrete(np.floor, out)
    out = tensor(out, dtype)
    return (out, step if parts > 0 else tensor(np.nan)) if retstep else out


def _count(name: str, num: Any) -> int:
    num = index(num)
    if num < 0:
        raise ValueError(f"{name}: num, the number of samples, must not be negative, got {num}")
    return num


def _steps(num: int, ndim: int, dtype: Any) -> Any:
    """0, 1, 2, ... along a first axis, in front of `ndim` others."""
    return np.arange(num, dtype=dtype).reshape((num,) + (1,) * ndim)


def _along(a: Tensor, axis: int) -> Tensor:
    axis = normal_axis("linspace", axis, a.ndim)
    return moveaxis(a, 0, axis) if axis else a


def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Tensor:
    """Numbers from base ** start to base ** stop in equal ratios; each of the three may be a Tensor."""
    refuse_more_than_arrays("logspace", [start, stop, base])
    if not holds_tensor([start, stop, base]):
        return made("logspace", np.logspace(start, stop, num, endpoint, base, dtype, axis))
    if not isinstance(base, (int, float)):
        base = tensor(base)
        if base.ndim:
            ndim = max(tensor(a).ndim for a in (start, stop, base))
            start, stop, base = (array(a, copy=None, ndmin=ndim) for a in (start, stop, base))
            base = expand_dims(base, axis)
    return tensor(power(base, linspace(start, stop, num, endpoint, axis=axis)), dtype)


def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Tensor:
    """Numbers from start to stop in equal ratios: both positive, both negative, or complex."""
    refuse_more_than_arrays("geomspace", [start, stop])
    if not holds_tensor([start, stop]):
        return made("geomspace", np.geomspace(start, stop, num, endpoint, dtype, axis))
    num = _count("geomspace", num)
    start, stop = tensor(start), tensor(stop)
    whole = np.result_type(start.dtype, stop.dtype, np.empty((), dtype), 0.0)
    start, stop = tensor(start, whole), tensor(stop, whole)
    if not (array_of(start).all() and array_of(stop).all()):
        raise ValueError("geomspace: a geometric sequence cannot include 0; start and stop must not be 0")
    ratio = log(stop / start)
    steps, parts = _steps(num, ratio.ndim, whole), num - 1 if endpoint else num
    out = start * exp(ratio * (steps / max(parts, 1)))
    if endpoint and num > 1:
        out = where(steps.real == num - 1, stop, out)
    return tensor(_along(out, axis), dtype)
