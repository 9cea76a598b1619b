"""Convolutions as matrix products: the windows of an image are copied side by side, into columns.

All columns of a batch at once would be many times the batch. So a few images, or a few rows of an image, are taken at a
time: their columns stay in the caches, in one buffer, until the product has read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..pool import empty

IMAGES = 1 << 21
"""Bytes of columns of whole images that are made at a time."""
ROWS = 1 << 19
"""Bytes of columns of some rows of an image, where those of the whole image are more than IMAGES."""
FEW = 16
"""Below so many channels an image is laid out plane by plane, for long runs; else the channels of a pixel adjoin."""


class Windows(NamedTuple):
    """The windows along an axis: tap q of window p is at start + p * stride + q * dilation, and 0 outside of it."""

    start: int
    stride: int
    dilation: int
    taps: int
    outputs: int

    def inside(self, size: int) -> tuple[int, slice, slice]:
        """The length of what the windows cover, the part of an axis of this size in it, and where in it that is."""
        length = (self.outputs - 1) * self.stride + (self.taps - 1) * self.dilation + 1
        first = max(0, min(self.start, size))
        last = max(first, min(size, self.start + length))
        return length, slice(first, last), slice(first - self.start, last - self.start)

    def meetings(self, size: int) -> Iterator[tuple[int, slice, slice]]:
        """Each tap that lies in an axis of this size, with the windows in which it does, and its places there."""
        for tap in range(self.taps):
            place = self.start + tap * self.dilation
            first = max(0, -(place // self.stride))
            stop = min(self.outputs, (size - 1 - place) // self.stride + 1)
            if first < stop:
                start = place + first * self.stride
                yield tap, slice(first, stop), slice(start, start + (stop - first - 1) * self.stride + 1, self.stride)

    def phases(self, size: int) -> Iterator[tuple[slice, slice, Windows]]:
        """The transposed windows, of the places of an axis of this size in the windows: where these places are, the
        taps that reach them (backward), and the windows that these taps make over the axis of windows, at stride 1."""
        step = self.stride // gcd(self.stride, self.dilation)
        for place in range(min(self.stride, size)):
            taps = [q for q in range(self.taps) if (place - self.start - q * self.dilation) % self.stride == 0]
            first = (place - self.start - taps[-1] * self.dilation) // self.stride if taps else 0
            count = -(-(size - place) // self.stride)
            back = slice(taps[-1], taps[0] - 1 if taps[0] else None, -step) if taps else slice(0)
            dilation = step * self.dilation // self.stride
            yield slice(place, None, self.stride), back, Windows(first, 1, dilation, len(taps), count)


def correlate(x: Any, w: Any, down: Windows, across: Windows, out: Any) -> None:
    """out[n, p, r] = the sum over the taps (i, j) of window (p, r) of image x[n] @ w[i, j]."""
    matrix = w.reshape(-1, w.shape[-1])
    for where, columns in _columns(x, down, across):
        part = out[where]
        if part.flags.c_contiguous:
            np.matmul(columns, matrix, out=part.reshape(-1, matrix.shape[1]))
        else:
            part[...] = np.matmul(columns, matrix).reshape(part.shape)


def correlate_transposed(g: Any, w: Any, down: Windows, across: Windows, out: Any) -> None:
    """out[n, tap (i, j) of window (p, r)] = the sum over all such windows and taps of g[n, p, r] @ w[i, j].T."""
    w = w.swapaxes(2, 3)
    for rows, row_taps, by_rows in down.phases(out.shape[1]):
        for places, taps, by_places in across.phases(out.shape[2]):
            if by_rows.taps and by_places.taps:
                correlate(g, w[row_taps, taps], by_rows, by_places, out[:, rows, places])
            else:
                out[:, rows, places] = 0


def correlate_weights(x: Any, g: Any, down: Windows, across: Windows, out: Any) -> None:
    """out[i, j] = the sum over all windows (p, r) of their tap (i, j) of image x[n], transposed, @ g[n, p, r]."""
    total = np.zeros((prod(out.shape[:3]), out.shape[3]), x.dtype)
    product = np.empty_like(total)
    for where, columns in _columns(x, down, across):
        np.matmul(columns.T, g[where].reshape(-1, out.shape[3]), out=product)
        np.add(total, product, out=total)
    out[...] = total.reshape(out.shape)


def _columns(x: Any, down: Windows, across: Windows) -> Iterator[tuple[Any, Any]]:
    """Some windows at a time: where their images and rows are, and a matrix with a row of taps for each window."""
    channels = x.shape[3]
    (high, height, to_height), (wide, width, to_width) = down.inside(x.shape[1]), across.inside(x.shape[2])
    x, is_whole = x[:, height, width], (high, wide) == x[:, height, width].shape[1:3]
    if is_whole and x.flags.c_contiguous and down.outputs * across.outputs == high * wide:  # the pixels themselves
        yield slice(None), x.reshape(-1, channels)
        return
    planes = channels < FEW
    row = across.outputs * down.taps * across.taps * channels * x.itemsize
    rows = down.outputs if row * down.outputs <= IMAGES else max(1, ROWS // row)
    images = max(1, min(len(x), IMAGES // (row * rows))) if rows == down.outputs else 1
    buffer = _empty((images * rows * row // x.itemsize,), x.dtype)
    padded = None
    if not is_whole or x.strides[3] != x.itemsize or (planes and channels > 1):
        padded = _empty((channels, images, high, wide) if planes else (images, high, wide, channels), x.dtype)
        padded.fill(0)
        if planes:
            padded = padded.transpose(1, 2, 3, 0)
    for n in range(0, len(x), images):
        block = x[n : n + images]
        if padded is not None:
            padded[: len(block), to_height, to_width] = block
            block = padded[: len(block)]
        a, b, c, d = block.strides
        strides = a, b * down.stride, c * across.stride, b * down.dilation, c * across.dilation, d
        for p in range(0, down.outputs, rows):
            shape = (len(block), min(rows, down.outputs - p), across.outputs, down.taps, across.taps, channels)
            windows = as_strided(block[:, p * down.stride :], shape, strides)
            columns = buffer[: prod(shape)]
            if planes:
                np.copyto(columns.reshape(shape[3:] + shape[:3]).transpose(3, 4, 5, 0, 1, 2), windows)
                columns = columns.reshape(prod(shape[3:]), -1).T
            else:
                np.copyto(columns.reshape(shape), windows)
                columns = columns.reshape(-1, prod(shape[3:]))
            yield (slice(n, n + len(block)), slice(p, p + rows)), columns


def _empty(shape: tuple[int, ...], dtype: Any) -> Any:
    return empty(shape, dtype, prod(shape) * dtype.itemsize)
