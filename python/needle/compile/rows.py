"""Sums along each row of a block, sums of products, and the softmax and its kin.

A row is added up as its scalar product with ones, in a third of the time of NumPy's sum; its last digit may differ.
They are short enough for BLAS to leave them to the thread that asks: its own would be in the way of those of blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np

from ..ops.softmax import _NO_SHIFT, LogSoftmax, LogSumExp, Softmax, _shifted, _wide, are_labels, places_of

_LONGEST = 1 << 12
"""Elements of a row up to which it is added up without pairs of partial sums."""
_ROW = 1 << 10
"""Elements that are added up as one scalar product: its error stays that of NumPy's sum by pairs, about."""
_ENOUGH = 1e-3
"""A sum of exponentials of which none that is a normal number would be another one after a shift."""


def are_short(a: Any) -> bool:
    """Whether the last axis of an array, or of a node's, is of floats, and short enough for this."""
    return a.dtype.char in "fd" and 0 < a.shape[-1] <= _LONGEST


@lru_cache(maxsize=64)
def _ones(n: int, dtype: Any) -> Any:
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


def sums_into(keepdims: bool, n: int, dtype: Any) -> Callable[[Any, Any], None]:
    """What writes the sums over the last axis of a, of n elements, into out."""
    ones, products = _ones(n, dtype), products_into(keepdims)
    return lambda a, out: products(a, ones, out)


def products_into(keepdims: bool) -> Callable[[Any, Any, Any], None]:
    """What writes the sums of a * b over the last axis into out."""

    def into(a: Any, b: Any, out: Any) -> None:
        np.vecdot(a, b, out[..., 0])

    return into if keepdims else np.vecdot


def _sum(a: Any) -> Any:
    """The sums over the last axis, which is kept."""
    if are_short(a):
        return np.vecdot(a, _ones(a.shape[-1], a.dtype))[..., None]
    return a.sum(-1, keepdims=True)


def sum_of_all(a: Any) -> Any:
    """The sum of all elements of a block of float32 or float64."""
    if not a.flags.c_contiguous:
        return np.add.reduce(a, None)
    flat, n = a.reshape(-1), a.size - a.size % _ROW
    sums = np.vecdot(flat[:n].reshape(-1, _ROW), _ones(_ROW, a.dtype))
    return np.add.reduce(sums, dtype=np.float64) + np.add.reduce(flat[n:], dtype=np.float64)


def _dot(a: Any, b: Any) -> Any:
    """The sum of all products."""
    if a.dtype == b.dtype and are_short(a):
        return np.vecdot(a, b).sum(dtype=np.float64)
    return np.multiply(a, b).sum(dtype=np.float64)


def _exponentials(a: Any, out: Any = None) -> tuple[Any, Any, Any, Any]:
    """a less something of each row, that, its exponentials (in `out`, if they fit there), and their sums.

    A row needs no shift whose sum shows that nothing has overflown, and nothing that counts beside the rest of the row
    has come near the smallest numbers."""
    z, top = _wide(a), _NO_SHIFT
    if out is not None and out.dtype != z.dtype:
        out = None
    if z.dtype.char in "fd" and z.size:
        with np.errstate(over="ignore"):
            exponentials = np.exp(z, out=out)
        total = _sum(exponentials)
        if total.min() > _ENOUGH and total.max() < np.inf:
            return z, top, exponentials, total
    z, top = _shifted(z, (a.ndim - 1,))
    exponentials = np.exp(z, out=out)
    return z, top, exponentials, _sum(exponentials)


def _softmax(a: Any, out: Any) -> None:
    _, _, exponentials, total = _exponentials(a, out)
    np.divide(exponentials, total, out=exponentials)
    if exponentials is not out:
        np.copyto(out, exponentials, casting="unsafe")


def _log_softmax(a: Any, out: Any) -> None:
    z, _, _, total = _exponentials(a, out)  # out is another array than a
    np.copyto(out, z - np.log(total), casting="unsafe")


def into_out(op: Any, axes: tuple[int, ...], ndim: int) -> Callable[[Any, Any], None] | None:
    """What computes this op over the last axis of a block, into an array; None for others."""
    if axes != (ndim - 1,):
        return None
    return {Softmax: _softmax, LogSoftmax: _log_softmax}.get(type(op))


def has_blas(op: Any, axes: tuple[int, ...], ndim: int) -> bool:
    """Whether `op.compute` of a block might call it."""
    return isinstance(op, (Softmax, LogSoftmax, LogSumExp)) and ndim == 2 and axes == (1,)


def log_sum_exp(keepdims: bool) -> Callable[[Any], Any]:
    """LogSumExp.compute over the last axis of a block."""

    def compute(a: Any) -> Any:
        _, top, _, total = _exponentials(a)
        with np.errstate(divide="ignore"):  # the logarithm of an empty sum is -inf
            out = np.log(total) + top
        return out if keepdims else out[..., 0]

    return compute


def _scaled_softmax(exponentials: Any, total: Any, scale: Any) -> None:
    """Divide by the total and multiply by the scale, in place; in one pass unless that overflows."""
    with np.errstate(over="ignore"):
        divisor = total / scale
    if np.isfinite(divisor).all():
        np.divide(exponentials, divisor, out=exponentials)
    else:
        np.divide(exponentials, total, out=exponentials)
        np.multiply(exponentials, scale, out=exponentials)


def loss_of(logits: Any, targets: Any, out: Any, scale: Any) -> float:
    """The sum of the rows' SoftmaxLoss. Into `out`, if that is not None, go the probabilities; or by labels and with a
    scale, the gradient: the probabilities less 1 at the labels, times the scale."""
    z, top, exponentials, total = _exponentials(logits, out)
    if are_labels(targets, logits):
        hit, top = z[places_of(targets, logits)].sum(dtype=np.float64), _NO_SHIFT
    elif not isfinite(hit := _dot(targets, z)):  # a target of 0 at a logit of -inf costs nothing
        hit = np.multiply(targets, z, out=np.zeros_like(z), where=targets != 0).sum(dtype=np.float64)
    found = np.log(total).sum(dtype=np.float64) - hit
    if top.ndim:  # what the shift of z left out; exactly 0 where the targets sum to 1
        missing = 1 - _sum(targets)
        found += np.multiply(missing, top, out=np.zeros_like(top), where=missing != 0).sum(dtype=np.float64)
    if out is not None:
        if scale is None:
            np.divide(exponentials, total, out=exponentials)
        else:
            _scaled_softmax(exponentials, total, scale)
            exponentials[places_of(targets, logits)] -= scale
        if exponentials is not out:
            np.copyto(out, exponentials, casting="unsafe")
    return float(found)
