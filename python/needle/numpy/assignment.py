"""NumPy's functions that write into an array they are given: assignments to a Tensor, through which gradients pass.

An array can be written into, too, as long as no gradient would be lost.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, is_recorded
from ..ops.selection import where as choose
from .common import array_of, normal_axis, tensor
from .indexing import in_range
from .manipulation import ravel


def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    """dst[...] = src, where the mask holds; TypeError if src's dtype cannot be cast so."""
    dtype = src if isinstance(src, (bool, int, float, complex)) else tensor(src).dtype
    if not np.can_cast(np.result_type(dtype, dst.dtype) if dtype is src else dtype, dst.dtype, casting):
        raise TypeError(f"copyto: {tensor(src).dtype} cannot be cast to {dst.dtype} with casting={casting!r}")
    values = tensor(src, dst.dtype)
    _assign("copyto", dst, ..., values if where is True else choose(array_of(where, bool), values, tensor(dst)))


def place(arr: Any, mask: Any, vals: Any) -> None:
    """The elements where the mask holds become the first values, which are repeated if there are too few."""
    held = np.flatnonzero(_mask("place", mask, arr))
    values = ravel(vals)
    if held.size and not values.size:
        raise ValueError(f"place: {held.size} elements are to be replaced, but there are no values")
    _assign_flat("place", arr, held, values, np.arange(held.size))


def putmask(a: Any, /, mask: Any, values: Any) -> None:
    """The elements where the mask holds become the values at the same places, repeated if there are too few."""
    held = np.flatnonzero(_mask("putmask", mask, a))
    _assign_flat("putmask", a, held, ravel(values), held)


def _mask(name: str, mask: Any, a: Any) -> Any:
    if not hasattr(a, "size"):
        raise TypeError(f"{name}: needs a Tensor or an array to assign to, got {type(a).__name__}")
    held = array_of(mask, bool)
    if held.size != a.size:
        raise ValueError(f"{name}: the mask needs as many elements as the array, {a.size}, got shape {held.shape}")
    return held


def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """The elements at these indices of the flattened array become the values, repeated if there are too few."""
    index = in_range("put", ind, a.size, mode).ravel()
    _assign_flat("put", a, index, ravel(v), np.arange(index.size))


def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    """The elements at indices that are given for each place along an axis become the values; see `take_along_axis`."""
    if axis is None:
        index = in_range("put_along_axis", indices, arr.size, "raise")
        _assign("put_along_axis", arr, np.unravel_index(index % max(arr.size, 1), arr.shape), tensor(values))
        return
    index = array_of(indices)
    axis = normal_axis("put_along_axis", axis, arr.ndim)
    if index.ndim != arr.ndim:
        raise ValueError(f"put_along_axis: indices need {arr.ndim} dimensions, as the array has, got {index.ndim}")
    grid = [np.arange(n).reshape((n,) + (1,) * (arr.ndim - i - 1)) for i, n in enumerate(arr.shape)]
    _assign("put_along_axis", arr, (*grid[:axis], index, *grid[axis + 1 :]), tensor(values))


def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """The elements whose indices are all equal become the values, repeated if there are too few.

    With `wrap`, the diagonal of a matrix with more rows than columns begins anew below its end.
    """
    if a.ndim < 2 or (a.ndim > 2 and len(set(a.shape)) != 1):
        raise ValueError(f"fill_diagonal: needs a matrix, or more dimensions of one length, got shape {a.shape}")
    columns = a.shape[1]
    step = columns + 1 if a.ndim == 2 else sum(columns**i for i in range(a.ndim))
    end = columns * columns if a.ndim == 2 and not wrap else None
    held = np.arange(a.size)[:end:step]
    _assign_flat("fill_diagonal", a, held, ravel(val), np.arange(held.size))


def _assign_flat(name: str, a: Any, places: Any, values: Tensor, which: Any) -> None:
    """Elements at places of the flattened array become these of the values, which begin anew where they end."""
    if places.size and values.size:
        index = np.unravel_index(places % a.size, a.shape) if a.ndim else ()
        _assign(name, a, index, values[which % values.size] if a.ndim else values[0])


def _assign(name: str, a: Any, index: Any, values: Tensor) -> None:
    if isinstance(a, Tensor):
        a[index] = values
    elif is_recorded(values):
        raise TypeError(f"{name}: an array cannot carry the gradient of these values; make it a Tensor, or detach them")
    else:
        a[index] = values.numpy()
