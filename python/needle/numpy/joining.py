"""Joining tensors along an axis, and taking them apart again."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..ops import joining
from ..ops.dtypes import astype
from .common import array_of, index_of, into, normal_axis, tensor
from .manipulation import atleast_1d, atleast_2d, atleast_3d, moveaxis, ravel


def concatenate(
    arrays: Any, /, axis: int | None = 0, out: Any = None, *, dtype: Any = None, casting: Any = "same_kind"
) -> Tensor:
    """One after the other along an axis that they have; without one (None), all of them flattened."""
    members = [tensor(a) for a in arrays]
    if not members:
        raise ValueError("concatenate: needs one array at least, got none")
    if axis is None:
        members, axis = [ravel(a) for a in members], 0
    if not all(a.ndim for a in members):
        raise ValueError("concatenate: 0-d arrays have no axis to join along; use stack, or hstack")
    axis = normal_axis("concatenate", axis, members[0].ndim)
    return into(out, joining.concatenate(_cast("concatenate", members, out, dtype, casting), axis), casting)


concat = concatenate


def _cast(name: str, members: list[Tensor], out: Any, dtype: Any, casting: Any) -> list[Tensor]:
    """The members in the dtype that is asked for, if they can be cast to it."""
    if dtype is None and casting == "same_kind":
        return members
    if dtype is not None and out is not None:
        raise TypeError(f"{name}: give out= or dtype=, not both")
    to = np.dtype(dtype) if dtype is not None else np.result_type(*[a.dtype for a in members])
    for a in members:
        if not np.can_cast(a.dtype, to, casting):
            raise TypeError(f"{name}: {a.dtype} cannot be cast to {to} with casting={casting!r}")
    return [tensor(a, to) for a in members]


def stack(arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: Any = "same_kind") -> Tensor:
    """Arrays of one shape along a new axis."""
    members = [tensor(a) for a in arrays]
    if not members:
        raise ValueError("stack: needs one array at least, got none")
    return into(out, joining.stack(_cast("stack", members, out, dtype, casting), axis), casting)


def vstack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Tensor:
    """Row upon row: along the first axis; a vector is a row."""
    return concatenate([atleast_2d(a) for a in tup], 0, dtype=dtype, casting=casting)


row_stack = vstack


def hstack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Tensor:
    """Side by side: along the second axis; vectors along their only one."""
    members = [atleast_1d(a) for a in tup]
    axis = 0 if members and members[0].ndim == 1 else 1
    return concatenate(members, axis, dtype=dtype, casting=casting)


def dstack(tup: Any) -> Tensor:
    """Behind each other: along the third axis."""
    return concatenate([atleast_3d(a) for a in tup], 2)


def column_stack(tup: Any) -> Tensor:
    """Side by side, where a vector is a column."""
    members = [tensor(a) for a in tup]
    return concatenate([a if a.ndim > 1 else a.reshape((a.size, 1)) for a in members], 1)


def block(arrays: Any) -> Tensor:
    """Nested lists of blocks: the innermost side by side along the last axis, the lists around them along the second
    last, and so on."""
    depth = _depth(arrays)
    joined = _joined(arrays, depth, max(depth, _most_dimensions(arrays)))
    return joined if depth else astype(joined, joined.dtype)


def _depth(blocks: Any) -> int:
    """How deep lists are nested; all leaves must be equally deep."""
    if isinstance(blocks, tuple):
        raise TypeError("block: needs lists of blocks, got a tuple; make it a list")
    if not isinstance(blocks, list):
        return 0
    depths = {_depth(b) for b in blocks}
    if len(depths) != 1:
        raise ValueError(f"block: {'a list is empty' if not depths else 'the lists are not nested equally deep'}")
    return 1 + depths.pop()


def _most_dimensions(blocks: Any) -> int:
    return max(map(_most_dimensions, blocks)) if isinstance(blocks, list) else tensor(blocks).ndim


def _joined(blocks: Any, depth: int, ndim: int) -> Tensor:
    if isinstance(blocks, list):
        return concatenate([_joined(b, depth - 1, ndim) for b in blocks], -depth)
    a = tensor(blocks)
    return a.reshape((1,) * (ndim - a.ndim) + a.shape) if a.ndim < ndim else a


def append(arr: Any, values: Any, axis: int | None = None) -> Tensor:
    """The values behind the last of arr along an axis; without one, both are flattened."""
    return concatenate((arr, values), axis)


def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Tensor:
    """Values in front of these places along an axis (by default of the flattened input), in the dtype of arr."""
    a = tensor(arr)
    if axis is None:
        a, axis = ravel(a), 0
    axis = normal_axis("insert", axis, a.ndim)
    before, n, after = a.shape[:axis], a.shape[axis], a.shape[axis + 1 :]
    places, values = _places(obj, n), tensor(values, a.dtype)
    if ((places < -n) | (places > n)).any():
        raise IndexError(f"insert: index {places} is out of bounds for axis {axis} with size {n}")
    if places.size == 1:  # in front of one place, as many values as there are along the axis
        values = values.reshape((1,) * (a.ndim - values.ndim) + values.shape)
        if places.ndim == 0:
            values = moveaxis(values, 0, axis)
        places = places.ravel().repeat(values.shape[axis])
    numbers = np.insert(np.arange(n), places, n + np.arange(places.size))
    values = values.broadcast_to((*before, places.size, *after))
    return concatenate((a, values), axis)[(slice(None),) * axis + (numbers,)]


def _places(obj: Any, n: int) -> Any:
    """The places along an axis of this length that a slice, an int, integers or booleans name."""
    if isinstance(obj, slice):
        return np.arange(n)[obj]
    places = index_of(obj)
    if places.ndim > 1:
        raise ValueError(f"insert: obj must be an int, a slice or one-dimensional, got shape {places.shape}")
    return np.flatnonzero(places) if places.dtype.kind == "b" else places


# ---------------------------------------------------------------------------------------------------------- apart


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The parts at each index of an axis, without that axis."""
    x = tensor(x)
    axis = normal_axis("unstack", axis, x.ndim)
    return tuple([x[(*(slice(None),) * axis, i)] for i in range(x.shape[axis])])


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """Parts along an axis: so many, equally long but for one element; or one from each of these places to the next."""
    a = tensor(ary)
    axis = normal_axis("array_split", axis, a.ndim)
    n, given = a.shape[axis], array_of(indices_or_sections)
    if given.ndim:
        ends = [0, *given.tolist(), n]
    else:
        count = int(given)
        if count <= 0:
            raise ValueError(f"array_split: the number of sections must be larger than 0, got {count}")
        ends = [n // count * i + min(i, n % count) for i in range(count + 1)]
    return [a[(*(slice(None),) * axis, slice(start, stop))] for start, stop in pairwise(ends)]


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """`array_split`, where a number of sections must divide the axis evenly."""
    a, given = tensor(ary), array_of(indices_or_sections)
    n = a.shape[normal_axis("split", axis, a.ndim)]
    if not given.ndim and n % int(given):
        raise ValueError(f"split: {int(given)} sections do not divide {n} elements evenly; array_split may be uneven")
    return array_split(a, given, axis)


def hsplit(ary: Any, indices_or_sections: Any) -> list[Tensor]:
    """`split` along the second axis; of a vector, along its only one."""
    a = _with_dimensions("hsplit", ary, 1)
    return split(a, indices_or_sections, 1 if a.ndim > 1 else 0)


def vsplit(ary: Any, indices_or_sections: Any) -> list[Tensor]:
    """`split` along the first axis of two or more."""
    return split(_with_dimensions("vsplit", ary, 2), indices_or_sections, 0)


def dsplit(ary: Any, indices_or_sections: Any) -> list[Tensor]:
    """`split` along the third axis."""
    return split(_with_dimensions("dsplit", ary, 3), indices_or_sections, 2)


def _with_dimensions(name: str, ary: Any, least: int) -> Tensor:
    a = tensor(ary)
    if a.ndim < least:
        raise ValueError(f"{name}: needs {least} or more dimensions, got shape {a.shape}")
    return a
