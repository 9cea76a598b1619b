"""Convolutions of which each channel has weights of its own: no products of matrices, but one multiplication a tap."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

import numpy as np

from .columns import Windows

BLOCK = 1 << 18
"""Bytes of images that are taken at a time, through all taps."""


def scale(x: Any, w: Any, down: Windows, across: Windows, out: Any) -> None:
    """out[n, p, r] = the sum over the taps (i, j) of window (p, r) of image x[n] * w[i, j]."""
    for block, term in _blocks(out):
        out[block] = 0
        for tap, windows, places in _taps(x, down, across):
            _add_product(out[block][windows], x[block][places], w[tap][0], term)


def scale_transposed(g: Any, w: Any, down: Windows, across: Windows, out: Any) -> None:
    """out[n, tap (i, j) of window (p, r)] = the sum over all such windows and taps of g[n, p, r] * w[i, j]."""
    for block, term in _blocks(out):
        out[block] = 0
        for tap, windows, places in _taps(out, down, across):
            _add_product(out[block][places], g[block][windows], w[tap][0], term)


def scale_weights(x: Any, g: Any, down: Windows, across: Windows, out: Any) -> None:
    """out[i, j] = the sum over all windows (p, r) of their tap (i, j) of image x[n] * g[n, p, r]."""
    out[...] = 0
    for block, term in _blocks(g):
        for tap, windows, places in _taps(x, down, across):
            factor = g[block][windows]
            products = term[: factor.size].reshape(factor.shape)
            np.multiply(x[block][places], factor, out=products)
            rows = products.reshape(-1, out.shape[3])
            out[tap][0] += np.ones(len(rows), out.dtype) @ rows


def _add_product(to: Any, a: Any, w: Any, term: Any) -> None:
    scaled = term[: to.size].reshape(to.shape)
    np.multiply(a, w, out=scaled)
    np.add(to, scaled, out=to)


def _blocks(images: Any) -> Iterator[tuple[slice, Any]]:
    """Some images at a time, and memory for as many numbers."""
    size = prod(images.shape[1:])
    count = max(1, min(len(images), BLOCK // (size * images.itemsize)))
    term = np.empty(count * size, images.dtype)
    for n in range(0, len(images), count):
        yield slice(n, n + count), term


def _taps(x: Any, down: Windows, across: Windows) -> Iterator[tuple[Any, Any, Any]]:
    """Each tap (i, j) that lies in images like x, the index of the windows in which it does, and that of its places."""
    for (i, rows, high), (j, columns, wide) in product(down.meetings(x.shape[1]), across.meetings(x.shape[2])):
        yield (i, j), (slice(None), rows, columns), (slice(None), high, wide)
