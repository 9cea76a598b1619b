"""Result arrays in memory that is used again.

A fresh array of about a megabyte or more comes from the operating system page by page, each zeroed at its first touch:
often more work than the sum or product that fills it. Training asks for the same sizes step after step, so when such an
array is gone, its block is kept for the next one of that size, the last one first: it is still in the caches.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

SMALLEST = 1 << 19
"""Bytes from which on a block is worth keeping; below, the allocator reuses memory by itself, and faster."""
LIMIT = 1 << 28
"""Bytes that are kept at most while no array uses them; one more block, and all the others are let go."""
_ALIGNMENT = 64

# GNU's allocator gives memory back whenever more than 128 KiB at the end of its heap are free, and asks for it again,
# page by page, in the next step of a training loop: that can take two thirds of the step. Once an array of a size like
# this has come and gone (no page of it is ever touched), it keeps twice as much.
np.empty(31 << 20, np.uint8)


class _Block(np.ndarray):
    """The owner of memory that one array at a time borrows. A class of its own, so that NumPy and Needle take the
    borrowing array, not the block, for the one whose memory it is: views keep that array alive."""

    start: int
    """Where the first aligned byte is."""
    borrower: weakref.ref[Any] | None


_free: dict[int, list[_Block]] = {}
_free_bytes = 0
_lock = threading.RLock()  # re-entrant: an array may go, and give its block back, while its own thread holds the lock


def _give_back(block: _Block, nbytes: int) -> None:
    global _free_bytes
    block.borrower = None
    with _lock:
        if _free_bytes + nbytes > LIMIT:
            _free.clear()
            _free_bytes = 0
        if nbytes <= LIMIT:
            _free.setdefault(nbytes, []).append(block)
            _free_bytes += nbytes


def empty(shape: tuple[int, ...], dtype: Any, nbytes: int) -> Any:
    """An uninitialized array of `nbytes` bytes in all, like np.empty; a large one in memory that was used before."""
    global _free_bytes
    if nbytes < SMALLEST:
        return np.empty(shape, dtype)
    with _lock:
        blocks = _free.get(nbytes)
        block = None
        if blocks:
            block = blocks.pop()
            _free_bytes -= nbytes
    if block is None:
        block = _Block(nbytes + _ALIGNMENT, np.uint8)
        block.start = -block.ctypes.data % _ALIGNMENT
    array = np.ndarray(shape, dtype, block, block.start)
    block.borrower = weakref.ref(array, lambda _: _give_back(block, nbytes))
    return array


def owns_memory(array: Any) -> bool:
    """Whether the array's memory is its own, or borrowed from the pool: nobody else writes to it."""
    return array.base is None or type(array.base) is _Block


def result_of(arrays: tuple[Any, ...]) -> Any:
    """Memory for the result of an element-wise function of these arrays, if it is large and is known to have the shape
    and dtype of the first: floats of one dtype, the others of that shape or broadcast to it. Otherwise None."""
    a = arrays[0]
    if a.nbytes < SMALLEST:
        return None
    shape, dtype = a.shape, a.dtype
    if dtype.kind != "f" or not a.flags.c_contiguous or type(a) is not np.ndarray:
        return None
    for b in arrays[1:]:
        if b.dtype is not dtype or (b.shape != shape and not _broadcasts(b.shape, shape)):
            return None
    return empty(shape, dtype, a.nbytes)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(reversed(shape), reversed(to), strict=False))
