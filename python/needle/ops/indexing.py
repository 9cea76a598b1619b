"""a[index], and its adjoint, which adds to the elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import watching
from ..autograd import Axes, Elements, Tensor, TensorOp, as_value, gradient_dtype, value_of
from .base import Linear, View, given_axes, normalize_axes


class GetItem(View):
    notation = "{0}[{index}]"
    saves = ()
    __slots__ = ("index",)

    def __init__(self, index: Any):
        self.index = index

    def compute(self, a: Any) -> Any:
        return a[self.index]

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return Elements(AddAt, self.index, out_grad)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        index = behind_batch(self.index)
        return NotImplemented if index is None else GetItem(index)(values[0])


def getitem(a: Any, index: Any) -> Tensor:
    """a[index], as in NumPy: a view for ints and slices, a gathered copy for index arrays.

    Integer and boolean Tensors may be part of the index. Gradients of elements that are read several times add up.
    Raises IndexError for index arrays of another dtype.
    """
    if type(index) is int:
        return _at[index](a)
    parts = index if isinstance(index, tuple) else (index,)
    if watching.active and any(map(is_input, parts)):
        arrays = [part for part in parts if is_input(part)]
        return GatherAt([HERE if is_input(part) else plain_index(part) for part in parts])(a, *arrays)
    index = tuple(map(plain_index, index)) if isinstance(index, tuple) else plain_index(index)
    return GetItem(index)(a)


class Places(dict[int, Any]):
    """int -> its op, shared by all uses: the graph of a loop holds fewer objects, and a second loop makes no new ones.

    The table stops growing at 2**14 ops.
    """

    def __init__(self, op: Any):
        super().__init__()
        self._op = op

    def __missing__(self, index: int) -> Any:
        op = self._op(index)
        if len(self) < 1 << 14:
            self[index] = op
        return op


_at = Places(GetItem)


def is_input(index: Any) -> bool:
    """Whether a part of an index must be an input of the op: a captured program may be replayed with other indices."""
    return isinstance(index, Tensor) and index.dtype.kind in "iu" and watching.captures()


def plain_index(index: Any) -> Any:
    """A part of an index as NumPy takes it. Arrays are copied, so that later writes to them have no effect."""
    if isinstance(index, Tensor):
        index = value_of(index, "x[t]")
    elif isinstance(index, np.ndarray):
        index = index.copy()
    elif isinstance(index, list):
        index = np.array(index) if index else np.array(index, dtype=np.intp)
    if isinstance(index, np.ndarray) and index.dtype.kind not in "iub":
        raise IndexError(f"GetItem: arrays used as an index must be integers or booleans, got dtype {index.dtype}")
    return index


def behind_batch(index: Any) -> Any:
    """The index of a batch, which keeps the first axis; None if there is none.

    There is none if index arrays are not adjacent: NumPy then puts their axes in front of the batch axis.
    """
    parts = index if isinstance(index, tuple) else (index,)
    arrays = [i for i, part in enumerate(parts) if isinstance(part, (np.ndarray, int, np.integer))]
    advanced = any(isinstance(part, np.ndarray) for part in parts)
    if advanced and arrays[-1] - arrays[0] != len(arrays) - 1:
        return None
    return (slice(None), *parts)


class AddAt(Linear):
    """Zeros of a shape, with each input added at its own index: the adjoint of reading at these indices."""

    notation = "zeros({shape}) + {inputs} at {indices}"
    saves = ()
    __slots__ = ("dtype", "indices", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any, indices: list[Any]):
        self.shape = shape
        self.dtype = dtype
        self.indices = indices

    def compute(self, *arrays: Any) -> Any:
        out = np.zeros(self.shape, np.float32 if self.dtype == np.float16 else self.dtype)
        for index, array in zip(self.indices, arrays, strict=True):
            self.add(out, index, array)
        return out.astype(self.dtype, copy=False)

    @staticmethod
    def add(out: Any, index: Any, array: Any) -> None:
        """Add to out[index] in place; several times where the index repeats."""
        if not repeats(index):
            out[index] += array
        elif out.ndim > 1 and array.size > _FEW and (rows := row_numbers(index)) is not None:
            add_rows(out, rows.reshape(-1), array.reshape(-1, *out.shape[1:]))
        elif array.size > out.size and out.dtype.char in "fF":  # many to an element, added one by one
            wide = np.zeros(out.shape, np.result_type(out, np.float64))
            np.add.at(wide, index, array.astype(wide.dtype))
            out += wide
        elif out.dtype.char in "fF" and (rows := row_numbers(index)) is not None and rows.size > _MANY_ROWS:
            hit, places, counts = np.unique(rows % out.shape[0], return_inverse=True, return_counts=True)
            if counts.max() > _MANY_ROWS:
                wide = np.zeros((hit.size, *out.shape[1:]), np.result_type(out, np.float64))
                np.add.at(wide, places.reshape(rows.shape), array.astype(wide.dtype))
                out[hit] += wide
            else:
                np.add.at(out, index, array)
        else:
            np.add.at(out, index, array)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return tuple([lambda index=index: GetItem(index).on(out_grad) for index in self.indices])

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        size = next(a.shape[0] for a, depth in zip(values, depths, strict=True) if depth is not None)
        indices = [behind_batch(index) for index in self.indices]
        if any(index is None for index in indices):
            return NotImplemented
        pairs = zip(values, depths, strict=True)
        batches = [a.broadcast_to((size, *a.shape)) if depth is None else a for a, depth in pairs]
        return AddAt((size, *self.shape), self.dtype, indices)(*batches)


def dilate(a: Any, axes: Axes = None, dilation: int = 1, *, axis: Axes = None) -> Tensor:
    """a with `dilation` zeros after each element along axes (None: all). Raises ValueError for a negative number."""
    a = as_value(a, "dilate")
    step = _step("dilate", dilation)
    spread = normalize_axes("dilate", given_axes("dilate", axes, axis), a.ndim)
    index = tuple([slice(None, None, step if axis in spread else None) for axis in range(a.ndim)])
    shape = tuple([n * step if axis in spread else n for axis, n in enumerate(a.shape)])
    return AddAt(shape, a.dtype, [index])(a)


def undilate(a: Any, axes: Axes = None, dilation: int = 1, *, axis: Axes = None) -> Tensor:
    """Each element along axes (None: all) that is followed by `dilation` others: the inverse of `dilate`."""
    a = a if isinstance(a, Tensor) else as_value(a, "undilate")
    step = _step("undilate", dilation)
    taken = normalize_axes("undilate", given_axes("undilate", axes, axis), a.ndim)
    return getitem(a, tuple([slice(None, None, step if axis in taken else None) for axis in range(a.ndim)]))


def _step(name: str, dilation: Any) -> int:
    if isinstance(dilation, bool) or not hasattr(dilation, "__index__"):
        raise TypeError(f"{name}: dilation must be an int, got {dilation!r}")
    if dilation < 0:
        raise ValueError(f"{name}: dilation is the number of zeros after each element, at least 0, got {dilation}")
    return int(dilation) + 1


def repeats(index: Any) -> bool:
    """Whether an index may name an element twice; only integer arrays can."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, np.ndarray) and part.dtype.kind != "b" and part.ndim > 0 for part in parts)


_FEW = 1 << 14
"""Up to so many elements, np.add.at is faster than `add_rows`."""
_MANY_ROWS = 1 << 10
"""From so many additions to one element on, adding float32 one by one may lose more than a sum by pairs does."""


def add_rows(out: Any, rows: Any, arrays: Any) -> None:
    """Add each array to a row of out. Those of one row are added up by pairs, for all rows at once: that keeps the
    digits, and takes a fraction of the time of np.add.at, which adds element by element.
    """
    rows = rows % len(out)
    narrow = rows.astype(np.uint16) if len(out) <= 1 << 16 else rows  # NumPy sorts those by digits
    order = narrow.argsort(kind="stable")
    rows = rows[order]
    place = order  # where the sums so far are: at first in `arrays`
    while rows.size:
        is_first = np.ones(rows.size, bool)
        np.not_equal(rows[1:], rows[:-1], out=is_first[1:])
        start = np.flatnonzero(is_first)
        count = np.diff(start, append=rows.size)
        alone = start[count == 1]
        out[rows[alone]] += arrays.take(place[alone], 0)
        rank = np.arange(rows.size) - np.repeat(start, count)
        last = np.repeat(count, count) - 1
        left = np.flatnonzero((rank % 2 == 0) & (last > 0))
        paired = rank[left] < last[left]
        sums = arrays.take(place[left], 0)
        sums[paired] += arrays.take(place[left[paired] + 1], 0)
        arrays, rows, place = sums, rows[left], np.arange(left.size)


def row_numbers(index: Any) -> Any:
    """The array of an index that consists of one integer array for the first axis; None for others."""
    if isinstance(index, tuple) and len(index) == 1:
        (index,) = index
    return index if isinstance(index, np.ndarray) and index.dtype.kind in "iu" else None


HERE = "input"
"""Stands in an index for a part that is an input."""


class GatherAt(TensorOp):
    """a[index], where the integers of the index are inputs of the op."""

    notation = "{0}[{index}: {inputs}]"
    __slots__ = ("index",)

    def __init__(self, index: list[Any]):
        self.index = index

    def compute(self, a: Any, *arrays: Any) -> Any:
        return a[_filled(self.index, arrays)]

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, *arrays = node.inputs
        return ScatterAt(a.shape, gradient_dtype(a.dtype), self.index).on(out_grad, *arrays), *[None for _ in arrays]

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return None if tangents[0] is None else self.on(tangents[0], *node.inputs[1:])


class ScatterAt(TensorOp):
    """Zeros of a shape, with the first input added at an index whose integers are inputs of the op."""

    notation = "zeros({shape}) + {0} at {index}: {inputs}"
    __slots__ = ("dtype", "index", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any, index: list[Any]):
        self.shape = shape
        self.dtype = dtype
        self.index = index

    def compute(self, a: Any, *arrays: Any) -> Any:
        return AddAt(self.shape, self.dtype, [_filled(self.index, arrays)]).compute(a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        arrays = node.inputs[1:]
        return GatherAt(self.index).on(out_grad, *arrays), *[None for _ in arrays]

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return None if tangents[0] is None else self.on(tangents[0], *node.inputs[1:])


def _filled(index: list[Any], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    given = iter(arrays)
    return tuple([next(given) if part is HERE else part for part in index])


def iterate(a: Tensor) -> Any:
    """The sub-tensors along the first axis. Raises TypeError for a 0-d tensor."""
    if a.ndim == 0:
        raise TypeError("iteration over a 0-d Tensor; t.item() gives its number")
    return (getitem(a, i) for i in range(a.shape[0]))
