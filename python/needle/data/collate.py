"""Items put together to a batch, and a batch's arrays made constant Tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from ..autograd import Tensor
from ..autograd.tensor import constant
from ..backend import refuse_more_than_arrays
from ..nested import children_of

_NUMBERS = "biufc"
_SCALARS = (bool, int, float, complex, np.generic)


class Batch(tuple[Any, ...]):
    """What a DataLoader yields for items that are tuples.

    A tuple, but `==` and `!=` ask whether it is the same object: Tensors compare by element, which has no single truth.
    """

    __slots__ = ()
    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__


def collate(items: list[Any]) -> Any:
    """One batch of a list of items: arrays and numbers stacked along a new first axis, and so within dicts, tuples,
    lists and dataclasses. What is no number (strings, None) stays a list.

    Raises ValueError where shapes or keys differ from item to item, and says at which item and where in it.
    """
    return _collate(items, "")


def _collate(items: list[Any], where: str) -> Any:
    first = items[0]
    kind = type(first)
    if kind is tuple or kind is list:
        try:
            columns = list(zip(*items, strict=True))
        except (TypeError, ValueError):
            raise _differ(items, where, "lengths", _length) from None
        return kind([_collate(column, f"{where}[{i}]") for i, column in enumerate(columns)])  # type: ignore[arg-type]
    if kind is ndarray:
        return _stacked(items, where)
    if isinstance(first, _SCALARS) and not isinstance(first, (str, bytes)):
        return _array_of(items, where)
    if isinstance(first, Tensor):
        return _stacked([item.numpy() if isinstance(item, Tensor) else item for item in items], where)
    if hasattr(first, "__array__") or hasattr(first, "__array_interface__"):
        for item in items:
            refuse_more_than_arrays("collate", item)
        return _stacked(list(map(np.asarray, items)), where)
    keys, _, make = children_of(first)
    if make is None:
        return list(items)
    members = [dict(zip(*children_of(item)[:2], strict=True)) for item in items]
    if any(member.keys() != members[0].keys() for member in members):
        raise _differ(members, where, "keys", list)
    return make({key: _collate([member[key] for member in members], f"{where}[{key!r}]") for key in keys})


def _stacked(arrays: Any, where: str) -> Any:
    try:
        return np.array(arrays) if arrays[0].size < _FEW else np.stack(arrays)
    except (TypeError, ValueError, AttributeError):
        raise _differ(arrays, where, "shapes", np.shape) from None


_FEW = 64
"""Below so many elements, np.array copies sooner than np.stack."""


def _array_of(numbers: Any, where: str) -> Any:
    array = np.array(numbers)
    if array.dtype.kind in "OUS" or array.ndim != 1 + np.ndim(numbers[0]):
        raise _differ(numbers, where, "kinds", lambda number: type(number).__name__)
    return array


def _length(item: Any) -> Any:
    return len(item) if isinstance(item, (tuple, list)) else type(item).__name__


def _differ(items: Any, where: str, what: str, look: Callable[[Any], Any]) -> ValueError:
    seen = list(map(look, items))
    at = next((i for i, value in enumerate(seen) if value != seen[0]), 0)
    place = f" at item{where}" if where else ""
    return ValueError(
        f"collate: expected items of one kind to make a batch of, but the {what}{place} differ: {seen[0]} in the "
        f"batch's item 0, {seen[at]} in item {at}; pad or cut them, or give DataLoader a collate= of your own"
    )


def map_arrays(function: Callable[[Any], Any], batch: Any) -> Any:
    """The batch with function(array) in the place of its arrays of numbers; tuples become a Batch."""
    kind = type(batch)
    if kind is ndarray:
        return function(batch) if batch.dtype.kind in _NUMBERS else batch
    if kind is tuple or kind is Batch:
        return Batch([map_arrays(function, member) for member in batch])
    if isinstance(batch, Tensor):
        return batch
    if isinstance(batch, (ndarray, np.generic)):
        refuse_more_than_arrays("DataLoader", batch)
        return map_arrays(function, np.asarray(batch))
    keys, members, make = children_of(batch)
    if make is None:
        return batch
    return make({key: map_arrays(function, member) for key, member in zip(keys, members, strict=True)})


class Floats:
    """array -> the array, of this dtype if it holds floats; None leaves all as they are. Can be pickled."""

    def __init__(self, dtype: Any):
        self.dtype = dtype

    def __call__(self, array: Any) -> Any:
        return array if self.dtype is None or array.dtype.kind != "f" else array.astype(self.dtype, copy=False)


def as_tensors(batch: Any, dtype: Any) -> Any:
    """The batch with its arrays as constant Tensors, floats of this dtype. The others share their array's memory."""
    if type(batch) is tuple:  # of arrays, mostly, that can stay as they are: they are quickly done
        return Batch(
            [
                constant(member)
                if type(member) is ndarray and (member.dtype is dtype or member.dtype.kind in "iub")
                else _as_tensors(member, dtype)
                for member in batch
            ]
        )
    return _as_tensors(batch, dtype)


def _as_tensors(batch: Any, dtype: Any) -> Any:
    cast = Floats(dtype)
    return map_arrays(lambda array: constant(cast(array)), batch)
