"""The softmax and its kin on a block of rows, without BLAS: its threads would get into the way of those of the blocks.

Rows are added up by einsum, which NumPy computes itself, faster than a sum; the last digit may be another one.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np

from ..ops.softmax import LogSoftmax, LogSumExp, Softmax, _shifted, _wide

_LONGEST = 1 << 12
"""Elements of a row up to which it is added up without pairs of partial sums."""


def _sum(a: Any) -> Any:
    """The sums over the last axis, which is kept."""
    if a.dtype.char in "fd" and a.shape[-1] <= _LONGEST:
        return np.einsum("...i->...", a)[..., None]
    return a.sum(-1, keepdims=True)


def _dot(a: Any, b: Any) -> Any:
    """The sum of all products."""
    if a.dtype == b.dtype and a.dtype.char in "fd" and a.shape[-1] <= _LONGEST:
        return np.einsum("...i,...i->...", a, b).sum(dtype=np.float64)
    return np.multiply(a, b).sum(dtype=np.float64)


def _exponentials(a: Any, out: Any = None) -> tuple[Any, Any, Any, Any]:
    """a less something of each row, that, its exponentials (in `out`, if they fit there), and their sums."""
    z, top = _shifted(_wide(a), (a.ndim - 1,))
    exponentials = np.exp(z, out=out if out is not None and out.dtype == z.dtype else None)
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


def loss(logits: Any, targets: Any, out: Any) -> float:
    """The sum of the rows' SoftmaxLoss; the probabilities are written into `out`, if that is not None."""
    z, top, exponentials, total = _exponentials(logits, out)
    hit = _dot(targets, z)
    if not isfinite(hit):  # a target of 0 at a logit of -inf costs nothing
        hit = np.multiply(targets, z, out=np.zeros_like(z), where=targets != 0).sum(dtype=np.float64)
    found = np.log(total).sum(dtype=np.float64) - hit
    if top.ndim:  # what the shift of z left out; exactly 0 where the targets sum to 1
        missing = 1 - targets.sum(-1, keepdims=True)
        found += np.multiply(missing, top, out=np.zeros_like(top), where=missing != 0).sum(dtype=np.float64)
    if out is not None:
        np.divide(exponentials, total, out=exponentials)
        if exponentials is not out:
            np.copyto(out, exponentials, casting="unsafe")
    return float(found)
