"""Result arrays in memory that is used again.

A fresh array of more than some 100 KiB comes from the operating system page by page, each zeroed at its first touch:
often more work than the sum or product that fills it. Training asks for the same sizes step after step, so blocks are
kept, and one is free again as soon as no array refers to it, which its reference count tells.
"""

from __future__ import annotations

import threading
from sys import getrefcount
from typing import Any

import numpy as np

SMALLEST = 1 << 16
"""Bytes from which on a block is worth keeping; below, the allocator itself reuses memory."""
LIMIT = 1 << 28
"""Bytes that one thread keeps at most; beyond, blocks in use are left to their arrays, and free ones are dropped."""
_ALIGNMENT = 64
_TRIES = 8


class _Block(np.ndarray):
    """The owner of memory that arrays borrow. A class of its own, so that NumPy and Needle take the borrowing array,
    not the block, for the one whose memory it is."""

    start: int
    """Where the first aligned byte is."""


def _new_block(nbytes: int) -> _Block:
    block = _Block(nbytes + _ALIGNMENT, np.uint8)
    block.start = -block.ctypes.data % _ALIGNMENT
    return block


class _Pool(threading.local):
    def __init__(self) -> None:
        self.blocks: dict[int, list[_Block]] = {}
        self.bytes = 0

    def take(self, nbytes: int) -> _Block:
        """A block of that size which nothing refers to, kept for the next time."""
        blocks = self.blocks.get(nbytes)
        if blocks is None:
            blocks = self.blocks[nbytes] = []
        for block in blocks[-_TRIES:]:
            if getrefcount(block) <= 4:  # the list's, its slice's, this variable's, the argument's
                return block
        blocks[:0] = blocks[-_TRIES:]  # all of those are in use: look at others next time
        del blocks[-_TRIES:]
        block = _new_block(nbytes)
        if self.bytes + nbytes > LIMIT:
            self.drop_free()
        if self.bytes + nbytes <= LIMIT:
            blocks.append(block)
            self.bytes += nbytes
        return block

    def drop_free(self) -> None:
        for blocks in self.blocks.values():
            blocks[:] = [block for block in blocks if getrefcount(block) > 3]
        self.bytes = sum(nbytes * len(blocks) for nbytes, blocks in self.blocks.items())


_pool = _Pool()


def empty(shape: tuple[int, ...], dtype: Any, nbytes: int) -> Any:
    """An uninitialized array of `nbytes` bytes in all, like np.empty; a large one in memory that was used before."""
    if nbytes < SMALLEST:
        return np.empty(shape, dtype)
    block = _pool.take(nbytes)
    return np.ndarray(shape, dtype, block, block.start)


def result_of(arrays: tuple[Any, ...]) -> Any:
    """Memory for the result of an element-wise function of these arrays, if it is known that it has the shape and the
    dtype of the first: floats of one dtype, the others of that shape or broadcast to it. Otherwise None."""
    a = arrays[0]
    shape, dtype = a.shape, a.dtype
    if dtype.kind != "f" or not a.flags.c_contiguous or type(a) is not np.ndarray:
        return None
    for b in arrays[1:]:
        if b.dtype is not dtype or (b.shape != shape and not _broadcasts(b.shape, shape)):
            return None
    return empty(shape, dtype, a.nbytes)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(reversed(shape), reversed(to), strict=False))
