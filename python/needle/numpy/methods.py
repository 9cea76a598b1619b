"""The one table of NumPy's methods on a Tensor; that of Python's operators and Needle's own is in ops/binding.py."""

from __future__ import annotations

import sys
from functools import wraps
from inspect import Parameter, signature
from typing import Any

import numpy as np

from ..autograd import Axes, Tensor
from ..ops import dtypes, moments, reduction
from ..ops import shape as ops_shape
from ..ops.assignment import set_imag
from ..ops.base import given_axes
from ..ops.binding import bind
from . import assignment, creation, elementwise, indexing, layout, logic, manipulation, products, sorting, statistics
from .common import check_device
from .protocols import array_function, array_ufunc


def _reduction(own: Any, numpys: Any) -> Any:
    """NumPy's method over axes. In the second place it takes the course's `keepdims`, too: True and False are neither a
    dtype nor an array, which NumPy has there."""
    name = numpys.__name__

    def method(
        a: Tensor, axes: Axes = None, *more: Any, axis: Axes = None, keepdims: bool = False, **options: Any
    ) -> Tensor:
        if len(more) == 1 and isinstance(more[0], bool):
            keepdims, more = more[0], ()
        if not more and not options:
            return own(a, axes, keepdims, axis=axis)
        if keepdims is not False:
            options["keepdims"] = keepdims
        return numpys(a, given_axes(name, axes, axis), *more, **options)

    method.__name__, method.__doc__ = name, numpys.__doc__
    return method


def _along(numpys: Any) -> Any:
    """NumPy's method along an axis, which may be named `axes`, too."""
    parameters = list(signature(numpys).parameters.values())
    parameters.append(Parameter("axes", Parameter.KEYWORD_ONLY, default=None, annotation="Any"))

    @wraps(numpys)
    def method(a: Tensor, *args: Any, axes: Any = None, **options: Any) -> Any:
        if axes is not None:
            if "axis" in options:
                given_axes(numpys.__name__, axes, options["axis"])
            options["axis"] = axes
        return numpys(a, *args, **options)

    setattr(method, "__signature__", signature(numpys).replace(parameters=parameters))  # noqa: B010
    return method


def reshape(a: Tensor, *shape: Any, order: str = "C", copy: bool | None = None) -> Tensor:
    """The elements in another shape, given as one tuple or as separate integers."""
    if order == "C" and copy is None:
        return ops_shape.reshape_method(a, *shape)
    return manipulation.reshape(a, shape[0] if len(shape) == 1 else shape, order, copy=copy)


def astype(
    a: Tensor, dtype: Any, order: str = "K", casting: Any = "unsafe", subok: bool = True, copy: bool = True
) -> Tensor:
    """a converted to another dtype, by a conversion that `casting` allows; without `copy`, a itself if it has it."""
    if order not in ("K", "A", "C", "F"):
        raise ValueError(f"Tensor.astype: order must be 'K', 'A', 'C' or 'F', got {order!r}")
    if casting != "unsafe" and not np.can_cast(a.dtype, dtype, casting):
        raise TypeError(
            f"Tensor.astype: cannot convert {a.dtype} to {np.dtype(dtype)} by casting={casting!r}; leave casting out"
        )
    return a if not copy and a.dtype == dtype else dtypes.astype(a, dtype)


def sort(a: Tensor, axis: int = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> None:
    """Sort in place along an axis."""
    a[...] = sorting.sort(a, axis, kind, order, stable=stable)


def partition(a: Tensor, kth: Any, axis: int = -1, kind: Any = "introselect", order: Any = None) -> None:
    """Partition in place along an axis."""
    a[...] = sorting.partition(a, kth, axis, kind, order)


def fill(a: Tensor, value: Any) -> None:
    """Assign a value to all elements."""
    a[...] = value


def flatten(a: Tensor, order: str = "C") -> Tensor:
    """A copy of the elements in one dimension."""
    return creation.copy(manipulation.ravel(a, order))


def contains(a: Tensor, value: Any) -> bool:
    """Whether any element equals the value."""
    return bool((a == value).any())


def compress(a: Tensor, condition: Any, axis: int | None = None, out: Any = None) -> Tensor:
    """The parts along an axis (without one, the elements) for which the condition holds."""
    return indexing.compress(condition, a, axis, out)


def rounded(a: Tensor, ndigits: int | None = None) -> Any:
    """round(t) is an int, as of a number; round(t, n) rounds to n digits."""
    if ndigits is not None:
        return elementwise.round(a, ndigits)
    a._leaves_the_record("round(t)", "np.round(t), or round(t.item())")
    return round(a.item())


def array_namespace(a: Tensor, /, *, api_version: str | None = None) -> Any:
    """The module with the functions of the Array API standard."""
    if api_version not in {None, "2021.12", "2022.12", "2023.12", "2024.12", "2025.12"}:
        raise ValueError(f"__array_namespace__: knows the standard up to 2025.12, got api_version={api_version!r}")
    return sys.modules[__package__]


def to_device(a: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """The Tensor on a device; `needle.cpu()` or "cpu" is where it is."""
    check_device("to_device", device)
    if stream is not None:
        raise ValueError(f"to_device: the cpu has no streams, got stream={stream!r}; leave it out")
    return a


def dlpack(
    a: Tensor, /, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """The elements for other libraries, by the DLPack protocol: without a copy unless one is asked for."""
    array = _detached("__dlpack__", a)
    return array.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)


def dlpack_device(a: Tensor, /) -> tuple[Any, int]:
    """DLPack's name of the device."""
    return np.empty(0).__dlpack_device__()


def _detached(name: str, a: Tensor) -> Any:
    a._leaves_the_record(name, "t.detach()")
    return np.asarray(a.detach())


METHODS: dict[str, Any] = {
    "__array_ufunc__": array_ufunc,
    "__array_function__": array_function,
    "__array_namespace__": array_namespace,
    "__contains__": contains,
    "__round__": rounded,
    "__dlpack__": dlpack,
    "__dlpack_device__": dlpack_device,
    "to_device": to_device,
    "all": _along(logic.all),
    "any": _along(logic.any),
    "argmax": _along(indexing.argmax),
    "argmin": _along(indexing.argmin),
    "argpartition": _along(sorting.argpartition),
    "argsort": _along(sorting.argsort),
    "astype": astype,
    "base": property(layout.base),
    "choose": indexing.choose,
    "clip": elementwise.clip,
    "compress": _along(compress),
    "conjugate": dtypes.conj,
    "copy": creation.copy,
    "cumprod": _along(statistics.cumprod),
    "cumsum": _along(statistics.cumsum),
    "diagonal": manipulation.diagonal,
    "dot": products.dot,
    "fill": fill,
    "flags": property(layout.flags),
    "flat": property(layout.Flat, layout.set_flat),
    "flatten": flatten,
    "imag": property(elementwise.imag, set_imag),
    "itemsize": property(layout.itemsize),
    "max": _reduction(reduction.max, statistics.max),
    "mean": _reduction(reduction.mean, statistics.mean),
    "min": _reduction(reduction.min, statistics.min),
    "nonzero": indexing.nonzero,
    "partition": _along(partition),
    "prod": _reduction(reduction.prod, statistics.prod),
    "put": assignment.put,
    "ravel": manipulation.ravel,
    "repeat": _along(manipulation.repeat),
    "reshape": reshape,
    "round": elementwise.round,
    "searchsorted": indexing.searchsorted,
    "sort": _along(sort),
    "squeeze": _along(manipulation.squeeze),
    "std": _reduction(moments.std, statistics.std),
    "strides": property(layout.strides),
    "sum": _reduction(reduction.summation, statistics.sum),
    "swapaxes": manipulation.swapaxes,
    "take": _along(indexing.take),
    "tobytes": layout.tobytes,
    "trace": products.trace,
    "var": _reduction(moments.var, statistics.var),
    "view": layout.view,
}
bind(METHODS)
