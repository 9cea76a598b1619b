"""An array with as few axes as its elements' parts in a normalization allow, and sums along these."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from ..backend import sum_over
from ..pool import empty
from .memory_order import axes_in_memory, empty_as_laid_out

PIECE = 1 << 20
"""Bytes in a piece, which the last level of the caches holds with its neighbours. Rows are short, and so are calls."""
_LONG = 1 << 12
"""So many numbers are added by a product with ones at most, which is faster than NumPy's sum; more, by pairs."""
_RUN = 256
"""Bytes that must lie together for a slice of an inner axis to be worth a pass of its own."""


class MergedAxes:
    """The axes of an array in their order in memory, merged where neighbours play the same part: reduced or not, the
    weight constant along them or not."""

    def __init__(self, a: Any, axes: tuple[int, ...], weight: tuple[int, ...]):
        self.order = axes_in_memory(a)
        self.shape: tuple[int, ...] = a.shape
        weight = self._padded(weight)
        parts: list[tuple[bool, bool]] = []
        lengths: list[int] = []
        for axis in self.order:
            part, length = (axis in axes, weight[axis] != 1), a.shape[axis]
            if parts and parts[-1] == part:
                lengths[-1] *= length
            else:
                parts.append(part)
                lengths.append(length)
        self.lengths = tuple(lengths)
        self.reduced = tuple([i for i, (reduced, _) in enumerate(parts) if reduced])
        self.shared = tuple([i for i, (_, varies) in enumerate(parts) if not varies])
        """The merged axes along which the weight is constant."""
        self.inner = tuple([i for i in self.reduced if i in self.shared])
        """Those of them that are reduced."""
        self.count = prod([lengths[i] for i in self.reduced])
        """How many numbers are reduced to one."""
        self._kept = tuple([1 if axis in axes else n for axis, n in enumerate(a.shape)])

    def _padded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1,) * (len(self.shape) - len(shape)) + shape

    def open(self, a: Any) -> Any:
        """An array of the whole shape with merged axes; a view if it lies in memory as the first one does."""
        return a.transpose(self.order).reshape(self.lengths)

    def open_weight(self, weight: Any) -> Any:
        """An array of the weight's shape with merged axes, as a view if it lies in C order."""
        shape = self._padded(weight.shape)
        return weight.reshape(shape).transpose(self.order).reshape(self.without(self.shared))

    def without(self, axes: tuple[int, ...]) -> tuple[int, ...]:
        """The lengths of the merged axes, 1 in the place of some."""
        return tuple([1 if i in axes else n for i, n in enumerate(self.lengths)])

    def close_weight(self, merged: Any, shape: tuple[int, ...]) -> Any:
        return self._closed(merged, self._padded(shape)).reshape(shape)

    def close_moment(self, merged: Any) -> Any:
        """With the axes that it was taken over, which have length 1."""
        return self._closed(merged, self._kept)

    def _closed(self, merged: Any, shape: tuple[int, ...]) -> Any:
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        return merged.reshape([shape[axis] for axis in self.order]).transpose(back)

    def empty(self, dtype: Any) -> Any:
        """A new array that lies in memory as the first one does."""
        nbytes = prod(self.shape) * dtype.itemsize
        return empty_as_laid_out(self.shape, dtype, self.order, lambda shape, dtype: empty(shape, dtype, nbytes))

    def parts(self, itemsize: int) -> Iterator[tuple[slice, ...]]:
        """Parts that can be reduced one by one, each of about the size of a piece: slices of the first axis that is not
        reduced. All at once, if that axis is an inner one and leaves only short runs of memory together."""
        kept = next((i for i in range(len(self.lengths)) if i not in self.reduced), None)
        if kept is None or (kept and prod(self.lengths[kept + 1 :]) * itemsize < _RUN):
            yield ()
            return
        slices = slices_of(self.lengths[kept], prod(self.without((kept,))) * itemsize)
        yield from ((slice(None),) * kept + (piece,) for piece in slices)


def slices_of(length: int, row_bytes: int) -> list[slice]:
    """The slices of an axis of which each holds about a piece."""
    step = max(1, PIECE // max(row_bytes, 1))
    return [slice(start, start + step) for start in range(0, length, step)]


def cut(a: Any, part: tuple[slice, ...]) -> Any:
    """The part of an array; of an axis of length 1, all."""
    return a[tuple([slice(None) if n == 1 else piece for piece, n in zip(part, a.shape, strict=False)])]


def sum_along(a: Any, axes: tuple[int, ...]) -> Any:
    """The sum over merged axes, which are kept."""
    if not axes:
        return a
    inner, last = axes[-1], a.ndim - 1
    if a.dtype.char not in "fd" or a.shape[inner] > _LONG or not a.size or inner < last - 1:
        return sum_over(a, axes, keepdims=True)
    ones = np.ones(a.shape[inner], a.dtype)
    total = np.matmul(a, ones)[..., None] if inner == last else np.matmul(ones, a)[..., None, :]
    return np.add.reduce(total, axes[:-1], keepdims=True) if len(axes) > 1 else total


def dot_along(a: Any, b: Any, axes: tuple[int, ...]) -> Any:
    """The sum of a * b over merged axes, which are kept; their product, if these are none."""
    last = a.ndim - 1
    if last not in axes or a.shape[last] > _LONG or a.dtype.char not in "fd":
        return sum_along(a * b, axes)
    total = np.vecdot(a, b)[..., None]
    return np.add.reduce(total, axes[:-1], keepdims=True) if len(axes) > 1 else total


def weighted_sum(a: Any, weight: Any, axes: tuple[int, ...]) -> Any:
    """The sum of a * weight over merged axes, which are kept."""
    if a.ndim == 2 and axes == (1,) and len(weight) == 1 and weight.shape == (1, a.shape[1]):
        return np.matmul(a, weight[0])[:, None]
    return sum_along(a * weight, axes)
