"""Sums along each row of a block, sums of products, and the softmax and its kin.

The sum of a row is its scalar product with ones, in a third of the time of NumPy's sum; the last digit may differ. Rows
are short enough for BLAS to stay in the calling thread: its own threads would disturb those that work on blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np

from ..backend import check_labels, sum_over
from ..ops.softmax import (
    _NO_SHIFT,
    LogSoftmax,
    LogSumExp,
    Softmax,
    _shifted,
    _wide,
    are_labels,
    places_of,
    put_difference,
)

_LONGEST = 1 << 12
"""Elements of a row up to which it is summed without pairs of partial sums."""
_ROW = 1 << 10
"""Elements summed as one scalar product: the error stays about that of NumPy's sum by pairs."""
_ENOUGH = 1e-3
"""A sum of exponentials so large that a shift would not change what counts."""


def are_short(a: Any) -> bool:
    """Whether an array, or a node's, has a short last axis of floats."""
    return a.dtype.char in "fd" and 0 < a.shape[-1] <= _LONGEST


@lru_cache(maxsize=64)
def _ones(n: int, dtype: Any) -> Any:
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


def sums_into(keepdims: bool, n: int, dtype: Any) -> Callable[[Any, Any], None]:
    """A function that writes the sums of a over the last axis, of n elements, into out."""
    ones, products = _ones(n, dtype), products_into(keepdims)
    return lambda a, out: products(a, ones, out)


def products_into(keepdims: bool) -> Callable[[Any, Any, Any], None]:
    """A function that writes the sums of a * b over the last axis into out."""

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
        return sum_over(a)
    flat, n = a.reshape(-1), a.size - a.size % _ROW
    sums = np.vecdot(flat[:n].reshape(-1, _ROW), _ones(_ROW, a.dtype))
    return np.add.reduce(sums, dtype=np.float64) + np.add.reduce(flat[n:], dtype=np.float64)


def _dot(a: Any, b: Any) -> Any:
    """The sum of all products."""
    if a.dtype == b.dtype and are_short(a):
        return np.vecdot(a, b).sum(dtype=np.float64)
    return np.multiply(a, b).sum(dtype=np.float64)


def _exponentials(a: Any, out: Any = None) -> tuple[Any, Any, Any, Any]:
    """a less a shift of each row, the shifts, the exponentials (in `out`, if they fit), and their sums.

    A row needs no shift if its sum shows that nothing has overflowed, and nothing that counts in the row has come near
    the smallest numbers."""
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
    """A function that computes this op over the last axis of a block into an array; None for other ops."""
    if axes != (ndim - 1,):
        return None
    return {Softmax: _softmax, LogSoftmax: _log_softmax}.get(type(op))


def has_blas(op: Any, axes: tuple[int, ...], ndim: int) -> bool:
    """Whether `op.compute` might call BLAS for a block."""
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
    """The sum of the rows' SoftmaxLoss. `out`, if not None, receives the probabilities; or, with labels and a scale,
    the gradient: the probabilities less 1 at the labels, times the scale."""
    z, top, exponentials, total = _exponentials(logits, out)
    if are_labels(targets, logits):
        check_labels("SoftmaxLoss", logits.shape[-1], targets)
        hit, top = z.take(places_of(targets, logits)).sum(dtype=np.float64), _NO_SHIFT
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
            places = places_of(targets, logits)
            there = exponentials.take(places)
            put_difference(exponentials, places, there - scale, there / scale if scale else there)
        if exponentials is not out:
            np.copyto(out, exponentials, casting="unsafe")
    return float(found)
