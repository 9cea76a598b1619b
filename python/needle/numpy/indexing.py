"""Choosing elements by index, by condition and by value, and finding their places."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, Value
from ..ops import selection
from ..ops.discrete import discrete, discrete_tuple
from ..ops.indexing import is_input
from ..ops.rearranging import rearranged
from .common import along, array_of, filled_out, index_of, into, normal_axis, tensor, tensors
from .manipulation import ravel

# ----------------------------------------------------------------------------------------------------- by index


def take(a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Tensor:
    """The elements at these indices along an axis; without one, of the flattened input.

    Indices beyond the ends are an error, or, as `mode` says, begin again at the other end ("wrap") or stand for the
    first and the last element ("clip").
    """
    a, axis = along("take", tensor(a), axis)
    if mode == "raise" and is_input(indices):
        return into(out, a[(*(slice(None),) * axis, indices)])
    index = in_range("take", indices, a.shape[axis], mode)
    return into(out, a[(*(slice(None),) * axis, index)])


def in_range(name: str, indices: Any, size: int, mode: str) -> Any:
    """Indices as an array, those beyond the ends treated as `mode` says."""
    index = index_of(indices)
    if index.dtype.kind not in "biu":
        raise TypeError(f"{name}: indices must be integers, got dtype {index.dtype}")
    index = index.astype(np.intp)
    if mode not in ("raise", "wrap", "clip"):
        raise ValueError(f"{name}: mode must be 'raise', 'wrap' or 'clip', got {mode!r}")
    if mode == "raise" or not index.size:
        beyond = index[(index < -size) | (index >= size)]
        if beyond.size:
            raise IndexError(f"{name}: index {beyond[0]} is outside of an axis with {size} elements")
        return index
    if not size:
        raise IndexError(f"{name}: cannot take from an axis without elements")
    return index % size if mode == "wrap" else index.clip(0, size - 1)


def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Tensor:
    """The elements at indices that are given for each place apart: a sort by the result of `argsort`, for one."""
    a = tensor(arr)
    if axis is None:
        a, axis = ravel(a), 0
    axis = normal_axis("take_along_axis", axis, a.ndim)
    if is_input(indices) and indices.ndim == a.ndim:
        places: list[Any] = list(np.ogrid[tuple([slice(n) for n in a.shape])])
        places[axis] = indices
        return a[tuple(places)]
    return rearranged(np.take_along_axis, a, array_of(indices), axis)


def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Tensor:
    """Each element from that one of the choices whose number stands at its place in a; all broadcast."""
    options = tensors(*choices)
    if not options:
        raise ValueError("choose: needs one choice at least, got none")
    number = array_of(a)
    if mode == "raise" and ((number < 0) | (number >= len(options))).any():
        raise ValueError(f"choose: with {len(options)} choices, a must lie in 0..{len(options) - 1}; or give mode=")
    number = in_range("choose", number, len(options), mode)
    dtype = np.result_type(*[option.dtype for option in options])
    shape = np.broadcast_shapes(number.shape, *[option.shape for option in options])
    return into(out, _first_of([number == i for i in range(len(options) - 1)], options, dtype, shape))


def select(condlist: Any, choicelist: Any, default: Any = 0) -> Tensor:
    """Each element from the first choice whose condition holds at its place, else the default; all broadcast."""
    conditions = [tensor(c) for c in condlist]
    if len(conditions) != len(choicelist) or not conditions:
        raise ValueError(
            f"select: needs a choice for each condition, and one at least, got {len(conditions)} conditions and "
            f"{len(choicelist)} choices"
        )
    for i, condition in enumerate(conditions):
        if condition.dtype.kind != "b":
            raise TypeError(f"select: conditions must be booleans, got dtype {condition.dtype} for condition {i}")
    options = tensors(*choicelist, default)
    shape = np.broadcast_shapes(*[a.shape for a in (*conditions, *options)])
    return _first_of(conditions, options, np.result_type(*[a.dtype for a in options]), shape)


def _first_of(conditions: Any, options: Any, dtype: Any, shape: tuple[int, ...]) -> Tensor:
    """The first option whose condition holds; the last option, which has none, where none does."""
    *chosen, result = [tensor(option, dtype) for option in options]
    for condition, option in reversed(list(zip(conditions, chosen, strict=True))):
        result = selection.where(condition, option, result)
    return result if chosen and result.shape == shape else filled_out(result, shape)


def compress(condition: Any, a: Any, axis: int | None = None, out: Any = None) -> Tensor:
    """The parts along an axis (without one, the elements) for which the condition holds; it may be shorter."""
    condition = array_of(condition)
    if condition.ndim != 1:
        raise ValueError(f"compress: condition must have one dimension, got shape {condition.shape}")
    return take(a, np.flatnonzero(condition), axis, out)


def extract(condition: Any, arr: Any) -> Tensor:
    """The elements where the condition holds, flattened."""
    return ravel(arr)[np.flatnonzero(array_of(condition))]


def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    """x where the condition holds, else y; the branch not taken has no gradient. With a condition alone, `nonzero`."""
    if (x is None) != (y is None):
        raise ValueError("where: give both x and y, or neither")
    if x is None:
        return nonzero(condition)
    x, y = (a if isinstance(a, (Value, bool, int, float, complex, np.generic)) else tensor(a) for a in (x, y))
    return selection.where(tensor(condition), x, y)


# ------------------------------------------------------------------------------------------------------ places


def argwhere(a: Any) -> Tensor:
    """The indices of the elements that are not 0: one row each."""
    return discrete(np.argwhere, tensor(a))


def nonzero(a: Any) -> tuple[Tensor, ...]:
    """The indices of the elements that are not 0: one Tensor an axis."""
    return discrete_tuple(np.nonzero, tensor(a))


def flatnonzero(a: Any) -> Tensor:
    """The indices, in the flattened input, of the elements that are not 0."""
    return discrete(np.flatnonzero, tensor(a))


def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """How many elements along axes are not 0."""
    return discrete(np.count_nonzero, tensor(a), axis=axis, keepdims=keepdims)


def argmax(a: Any, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Tensor:
    """The index of the largest element along an axis (of the flattened input): the first one's."""
    return into(out, discrete(np.argmax, tensor(a), axis=axis, keepdims=keepdims))


def argmin(a: Any, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Tensor:
    """The index of the smallest element along an axis (of the flattened input): the first one's."""
    return into(out, discrete(np.argmin, tensor(a), axis=axis, keepdims=keepdims))


def nanargmax(a: Any, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Tensor:
    """The index of the largest element that is a number."""
    return into(out, discrete(np.nanargmax, tensor(a), axis=axis, keepdims=keepdims))


def nanargmin(a: Any, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Tensor:
    """The index of the smallest element that is a number."""
    return into(out, discrete(np.nanargmin, tensor(a), axis=axis, keepdims=keepdims))


def searchsorted(a: Any, v: Any, side: Any = "left", sorter: Any = None) -> Tensor:
    """The places in sorted a in front of which ("left") or behind equal ones of which ("right") v keeps it sorted."""
    more = {} if sorter is None else {"sorter": array_of(sorter)}
    return discrete(np.searchsorted, tensor(a), tensor(v), side=side, **more)


def digitize(x: Any, bins: Any, right: bool = False) -> Tensor:
    """The number of the bin, between monotonic edges, that each element lies in."""
    return discrete(np.digitize, tensor(x), tensor(bins), right=right)


def unravel_index(indices: Any, shape: Any, order: Any = "C") -> tuple[Tensor, ...]:
    """Indices of the flattened array as indices along each axis."""
    return discrete_tuple(np.unravel_index, tensor(indices), shape=shape, order=order)


def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: Any = "C") -> Tensor:
    """Indices along each axis as indices of the flattened array."""
    return discrete(_ravel_multi_index, *[tensor(i) for i in multi_index], dims=dims, mode=mode, order=order)


def _ravel_multi_index(*multi_index: Any, **options: Any) -> Any:
    return np.ravel_multi_index(multi_index, **options)


def isin(
    element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *, kind: Any = None
) -> Tensor:
    """Whether each element is among the test elements."""
    options = {"assume_unique": assume_unique, "invert": invert, "kind": kind}
    return discrete(np.isin, tensor(element), tensor(test_elements), **options)


def in1d(ar1: Any, ar2: Any, assume_unique: bool = False, invert: bool = False, *, kind: Any = None) -> Tensor:
    """`isin` of a flattened array: the older name."""
    return isin(ravel(ar1), ar2, assume_unique, invert, kind=kind)
