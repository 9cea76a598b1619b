"""Sorting, and sets. An order is a constant; what is sorted is gathered in that order, and so are its gradients.

Equal elements keep their order, or the first of them stands for all: which one a gradient goes to is never by chance.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autograd import Tensor, Wrapped, is_recorded
from ..ops.discrete import SHAPED_BY_DATA, discrete, discrete_tuple
from .common import along, array_of, normal_axis, tensor
from .indexing import take_along_axis
from .joining import concatenate
from .manipulation import flip, ravel


def sort(
    a: Any,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    stable: bool | None = None,
    descending: bool = False,
) -> Tensor:
    """The elements in ascending order along an axis (None: flattened); NaN comes last. Descending is the reverse."""
    a, axis = _along("sort", a, axis, order)
    if not (isinstance(a, Wrapped) or is_recorded(a)):  # no gradient asks for the order, which takes far longer to find
        ordered = discrete(np.sort, a, axis=axis)
        return flip(ordered, axis) if descending else ordered
    return take_along_axis(a, _order(a, axis, "stable", descending), axis)


def argsort(
    a: Any,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    stable: bool | None = None,
    descending: bool = False,
) -> Tensor:
    """The indices that sort the elements along an axis; equal ones keep their order, unless stable=False or another
    kind says that they need not."""
    a, axis = _along("argsort", a, axis, order)
    if stable is not None and kind is not None:
        raise ValueError("argsort: give kind= or stable=, not both")
    return _order(a, axis, kind or (None if stable is False else "stable"), descending)


def _along(name: str, a: Any, axis: int | None, order: Any) -> tuple[Tensor, int]:
    """The Tensor and the axis to sort along. A number is not sorted along an axis, but has an order along it."""
    if order is not None:
        raise ValueError(f"{name}: order= names fields, which a Tensor does not have")
    a = tensor(a)
    if name.startswith("arg"):
        return along(name, a, axis)
    return (ravel(a), 0) if axis is None else (a, normal_axis(name, axis, a.ndim))


def _order(a: Tensor, axis: int, kind: Any, descending: bool) -> Tensor:
    if not descending:
        return discrete(np.argsort, a, axis=axis, kind=kind)
    return a.shape[axis] - 1 - flip(discrete(np.argsort, flip(a, axis), axis=axis, kind=kind), axis)


def partition(a: Any, kth: Any, axis: int | None = -1, kind: Any = "introselect", order: Any = None) -> Tensor:
    """The elements with those at places kth where a sort would put them, smaller ones before, larger ones behind."""
    a, axis = _along("partition", a, axis, order)
    return take_along_axis(a, argpartition(a, kth, axis), axis)


def argpartition(a: Any, kth: Any, axis: int | None = -1, kind: Any = "introselect", order: Any = None) -> Tensor:
    """The indices that partition the elements along an axis."""
    a, axis = _along("argpartition", a, axis, order)
    return discrete(np.argpartition, a, kth=array_of(kth), axis=axis)


def lexsort(keys: Any, axis: int = -1) -> Tensor:
    """The indices that sort by several keys, the last one first of all."""
    return discrete(_lexsort, *[tensor(key) for key in keys], axis=axis)


def _lexsort(*keys: Any, axis: int) -> Any:
    return np.lexsort(keys, axis)


def sort_complex(a: Any) -> Tensor:
    """The elements as complex numbers, sorted by the real part and then by the imaginary one."""
    a = sort(a)
    if a.dtype.kind == "c":
        return a
    return tensor(a, {"b": "F", "h": "F", "B": "F", "H": "F", "g": "G"}.get(a.dtype.char, "D"))


# ----------------------------------------------------------------------------------------------------------- sets


class UniqueAll(NamedTuple):
    """What `unique_all` returns."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """What `unique_counts` returns."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """What `unique_inverse` returns."""

    values: Tensor
    inverse_indices: Tensor


def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """The different elements in ascending order, or the different parts along an axis.

    Asked for, a tuple with them: the index of the first of each, the indices that make the input of them again, how
    many there are of each. Gradients go to the first of each.
    """
    a = tensor(ar)
    if axis is None:
        shape, a = a.shape, ravel(a)
    else:
        axis = normal_axis("unique", axis, a.ndim)
    index, inverse, counts = discrete_tuple(_unique, a, axis=axis, equal_nan=equal_nan)
    values = a[(slice(None),) * (axis or 0) + (index.numpy(),)]
    if axis is None:
        inverse = inverse.reshape(shape)
    more = [(return_index, index), (return_inverse, inverse), (return_counts, counts)]
    asked = [found for is_asked, found in more if is_asked]
    return (values, *asked) if asked else values


def _unique(a: Any, axis: int | None, equal_nan: bool) -> Any:
    return np.unique(a, True, True, True, axis, equal_nan=equal_nan)[1:]


SHAPED_BY_DATA.add(_unique)


def unique_all(x: Any) -> UniqueAll:
    """The different elements, the index of the first of each, the inverse, the counts; every NaN is one of its own."""
    return UniqueAll(*unique(x, True, True, True, equal_nan=False))


def unique_counts(x: Any) -> UniqueCounts:
    """The different elements and how many there are of each; every NaN is one of its own."""
    return UniqueCounts(*unique(x, return_counts=True, equal_nan=False))


def unique_inverse(x: Any) -> UniqueInverse:
    """The different elements and the indices that make x of them again; every NaN is one of its own."""
    return UniqueInverse(*unique(x, return_inverse=True, equal_nan=False))


def unique_values(x: Any) -> Tensor:
    """The different elements; every NaN is one of its own."""
    return unique(x, equal_nan=False)


def intersect1d(ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False) -> Any:
    """The different elements that both have, in ascending order, taken from the first; asked for, with the indices."""
    a, b = ravel(ar1), ravel(ar2)
    _, i, j = discrete_tuple(np.intersect1d, a, b, assume_unique=assume_unique, return_indices=True)
    common = tensor(a[i], np.result_type(a.dtype, b.dtype))
    return (common, i, j) if return_indices else common


def union1d(ar1: Any, ar2: Any) -> Tensor:
    """The different elements that one of them has, in ascending order."""
    return unique(concatenate((ar1, ar2), None))


def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Tensor:
    """The different elements of the first that the second does not have, in ascending order."""
    a = ravel(ar1) if assume_unique else unique(ar1)
    return a[discrete(np.isin, a, ravel(ar2), assume_unique=True, invert=True)]


def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Tensor:
    """The different elements that only one of them has, in ascending order."""
    both = [ravel(a) if assume_unique else unique(a) for a in (ar1, ar2)]
    whole = sort(concatenate(both))
    same = discrete(np.equal, whole[1:], whole[:-1]).numpy()
    return whole[np.append(True, ~same) & np.append(~same, True)] if whole.size else whole
