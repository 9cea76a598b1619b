"""Attention: a mean of values, weighted by the softmax of how well queries fit keys."""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from typing import Any

import numpy as np

from ..autograd import Tensor, TensorOp, as_value
from ..pool import empty
from .base import aligned, described
from .softmax import Softmax, can_skip_shift

_INTEGERS = {4: np.int32, 8: np.int64}


class MaskedSoftmax(TensorOp):
    """The softmax over the last axis of the scores that may be seen, and 0 for all others: inputs are the scores, and
    perhaps a boolean mask that broadcasts to them, True for what may be seen. A row of which nothing may be seen is 0.

    If causal, element (i, j) of the last two axes may be seen only for j <= i.
    """

    saves = ("output",)
    __slots__ = ("causal",)

    def __init__(self, causal: bool = False):
        self.causal = causal

    def compute(self, a: Any, mask: Any = None) -> Any:
        seen = _triangle(*a.shape[-2:]) if self.causal else None
        if mask is not None:
            seen = mask if seen is None else seen & mask
        dtype = a.dtype if a.dtype.kind == "f" else np.dtype(np.float64)
        wide = a.astype(np.float32 if dtype == np.float16 else dtype, copy=False)
        seen = np.ones((), np.bool) if seen is None else seen
        if not wide.size:
            return np.empty(a.shape, dtype)
        out = empty(a.shape, wide.dtype, wide.nbytes)
        keep = _zero_unseen(wide, seen, out)
        if not can_skip_shift(out):
            unseen = ~np.broadcast_to(seen, a.shape)
            np.copyto(out, -np.inf, where=unseen)
            _less_their_maxima(out)
            np.exp(out, out)
            np.copyto(out, 0, where=unseen)
        else:
            np.exp(out, out)
            _zero_unseen(out, keep, out)
        total = np.add.reduce(out, -1, keepdims=True)
        total[total == 0] = 1
        np.divide(out, total, out)
        return out.astype(dtype, copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        found = _SOFTMAX.gradient(out_grad, node)
        return found if len(node.inputs) == 1 else (found, None)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return _SOFTMAX.gradient(tangents[0], node)  # its Jacobian is symmetric

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))


_SOFTMAX = Softmax(-1)


def _zero_unseen(a: Any, seen: Any, out: Any) -> Any:
    """Write a where it may be seen, and 0 elsewhere, even for NaN. Returns `seen` in the form that is fastest again:
    integers of all bits or none."""
    integer = _INTEGERS.get(a.itemsize)
    if integer is None or not a.ndim:
        np.copyto(out, np.where(seen, a, a.dtype.type(0)))
        return seen
    if seen.dtype == np.bool:
        seen = np.negative(seen.astype(integer))
    np.bitwise_and(a.view(integer), seen, out.view(integer))
    return seen


def _less_their_maxima(a: Any) -> None:
    """Take the maximum of each row away, in place; the difference of equal infinities is 0."""
    top = a.max(-1, keepdims=True, initial=-np.inf)
    finite = np.isfinite(top)
    if finite.all():
        np.subtract(a, top, a)
        return
    equal = (a == top) & ~finite
    np.subtract(a, top, a, where=~equal)
    a[equal] = 0


@lru_cache(maxsize=32)
def _triangle(rows: int, columns: int) -> Any:
    seen = np.tri(rows, columns, dtype=np.bool)
    seen.flags.writeable = False
    return seen


def masked_softmax(scores: Any, mask: Any = None, causal: bool = False) -> Tensor:
    """The softmax over the last axis of those scores that may be seen, where the boolean mask is True; 0 elsewhere.

    The mask broadcasts to the scores. Where nothing of a row may be seen, the row is 0, and so is its gradient. If
    `causal`, element (i, j) of the last two axes may be seen for j <= i only.
    """
    scores = as_value(scores)
    if causal and scores.ndim < 2:
        raise ValueError(f"masked_softmax: causal needs scores of at least 2 axes, got shape {scores.shape}")
    if mask is None:
        return MaskedSoftmax(causal)(scores) if causal else _SOFTMAX(scores)
    return MaskedSoftmax(causal)(scores, _as_mask("masked_softmax", mask, scores.shape))


def attention(q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False, *, scale: float | None = None) -> Tensor:
    """softmax(q @ k.mT * scale) @ v, over the keys that each query may see.

    q is (..., queries, depth), k (..., keys, depth), v (..., keys, width); the result is (..., queries, width). The
    boolean mask broadcasts to (..., queries, keys): True may be seen. If `causal`, query i may see the keys up to i
    only. A query that may see nothing gives 0, and its gradient is 0. `scale=None` is 1 / sqrt(depth). float16 is
    computed in float32. From Vaswani et al., "Attention Is All You Need", 2017.
    """
    q, k, v = map(as_value, (q, k, v))
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(
            "attention: needs q (..., queries, depth), k (..., keys, depth) and v (..., keys, width), got shapes "
            f"{q.shape}, {k.shape} and {v.shape}"
        )
    dtype = np.result_type(q.dtype, k.dtype, v.dtype)
    if dtype == np.float16:  # whose scores may overflow
        wide = [a.astype(np.float32) for a in (q, k, v)]
        return attention(wide[0], wide[1], wide[2], mask, causal, scale=scale).astype(np.float16)
    return attention_weights(q, k, mask, causal, scale) @ v


def attention_weights(q: Any, k: Any, mask: Any = None, causal: bool = False, scale: float | None = None) -> Tensor:
    """The weights of `attention`, (..., queries, keys): each row sums to 1, or is 0."""
    scale = (1 / sqrt(q.shape[-1]) if q.shape[-1] else 1.0) if scale is None else scale
    scores = (q * scale) @ k.mT
    return masked_softmax(scores, None if mask is None else _as_mask("attention", mask, scores.shape), causal)


def _as_mask(name: str, mask: Any, shape: tuple[int, ...]) -> Any:
    mask = as_value(mask)
    if mask.dtype.kind != "b":
        raise TypeError(
            f"{name}: the mask must be boolean, True for what may be seen, got {described(mask)}; of one that is added "
            "to scores, 0 or -inf, make mask == 0, of 1s and 0s mask != 0"
        )
    try:
        fits = np.broadcast_shapes(mask.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: the mask has shape {mask.shape}, and must broadcast to the scores' shape {shape}")
    return mask
