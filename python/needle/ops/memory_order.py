"""Arrays as they lie in memory, for functions of elements that pass over them a cache-sized piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

PIECE = 1 << 18
"""Bytes in a piece: so many that calling NumPy costs little beside the arithmetic, and caches hold a few of them."""


def axes_in_memory(a: Any) -> tuple[int, ...]:
    """The axes from the slowest to the fastest: transposed by them, an array without gaps is in C order."""
    if a.flags.c_contiguous:
        return tuple(range(a.ndim))
    return tuple(sorted(range(a.ndim), key=lambda axis: (-abs(a.strides[axis]), axis)))


def without_gaps(a: Any) -> tuple[Any, tuple[int, ...]]:
    """The array, copied if its elements do not lie in one piece, in order; and its axes as they lie in memory."""
    axes = axes_in_memory(a)
    return (a if a.transpose(axes).flags.c_contiguous else a.copy(order="K")), axes


def as_laid_out(a: Any, axes: tuple[int, ...]) -> Any:
    """The elements as one row, in the order in which these axes lie in memory; a copy if they lie otherwise."""
    return a.transpose(axes).reshape(-1)


def empty_as_laid_out(shape: tuple[int, ...], dtype: Any, axes: tuple[int, ...], new: Any = np.empty) -> Any:
    """A new array of this shape, whose axes lie in memory in this order."""
    whole = new(tuple([shape[axis] for axis in axes]), dtype)
    return whole.transpose(tuple(sorted(range(len(axes)), key=axes.__getitem__)))


def pieces(row: Any) -> Iterator[slice]:
    """The parts of a row of elements."""
    size, length = row.size, piece_of(row)
    return (slice(start, min(start + length, size)) for start in range(0, size, length or 1))


def piece_of(row: Any) -> int:
    """The number of elements in the longest piece of a row."""
    return min(int(row.size), PIECE // int(row.itemsize))
