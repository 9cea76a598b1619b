"""log(sum(exp(a))) and its kin, at any size of a: all of them subtract the maximum first."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..autograd import Axes, Tensor, TensorOp, TensorTupleOp, wanted
from .base import given_axes, normalize_axes
from .elementwise import exp
from .reduction import expand, summation

_SAFE = {2: 4.0, 4: 60.0, 8: 500.0}
"""Bytes of a float -> the largest magnitude at which exp(), and a sum of many of them, has all its digits."""


def _shifted(a: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """a minus its maximum over the axes, and that maximum (axes kept). Equal infinities differ by 0, not by NaN.

    Any shift serves that keeps exp() from over- and underflowing, so where all of a is small there is none: seeing that
    takes a fraction of the time of finding a maximum for each row.
    """
    if a.size == 0:
        return a, np.full([1 if i in axes else n for i, n in enumerate(a.shape)], -np.inf, a.dtype)
    safe = _SAFE.get(a.itemsize, 0.0) if a.dtype.kind == "f" else 0.0
    if a.max() < safe and a.min() > -safe:
        return a, a.dtype.type(0)
    top = a.max(axes, keepdims=True)
    if np.isfinite(top).all():
        return a - top, top
    differences = np.zeros(a.shape, np.result_type(a, top))
    np.subtract(a, top, out=differences, where=a != top)
    return differences, top


def _float(a: Any) -> Any:
    """Integers as float64."""
    return a if a.dtype.kind in "fc" else a.astype(np.float64)


class LogSumExp(TensorOp):
    saves = ("inputs",)
    __slots__ = ("axes", "keepdims")

    def __init__(self, axes: Axes = None, keepdims: bool = False):
        self.axes = axes
        self.keepdims = keepdims

    def compute(self, a: Any) -> Any:
        axes = normalize_axes(self, self.axes, a.ndim)
        differences, top = _shifted(_float(a), axes)
        total = np.exp(differences).sum(axes, dtype=_accumulator(differences), keepdims=True)
        with np.errstate(divide="ignore"):  # the logarithm of an empty sum is -inf
            out = (np.log(total) + top).astype(differences.dtype, copy=False)
        return out if self.keepdims else out.squeeze(axes)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        return expand(out_grad, a.shape, self.axes) * softmax(a, self.axes)


def logsumexp(a: Any, axes: Axes = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(a))) over axes, without overflow; -inf where all elements are -inf."""
    return LogSumExp(axes, keepdims)(a)


class Softmax(TensorOp):
    saves = ("output",)
    __slots__ = ("axes",)

    def __init__(self, axes: Axes = None):
        self.axes = axes

    def compute(self, a: Any) -> Any:
        axes = normalize_axes(self, self.axes, a.ndim)
        out, _ = _shifted(_float(a), axes)
        out = np.exp(out)
        out /= out.sum(axes, dtype=_accumulator(out), keepdims=True).astype(out.dtype, copy=False)
        return out

    def gradient(self, out_grad: Any, node: Any) -> Any:
        weighted = out_grad * node
        return weighted - node * summation(weighted, self.axes, keepdims=True)


def softmax(a: Any, axes: Axes = -1) -> Tensor:
    """exp(a) / sum(exp(a)) over axes; where several elements share an infinite maximum, they share evenly."""
    return Softmax(axes)(a)


class LogSoftmax(TensorOp):
    saves = ("output",)
    __slots__ = ("axes",)

    def __init__(self, axes: Axes = -1):
        self.axes = axes

    def compute(self, a: Any) -> Any:
        axes = normalize_axes(self, self.axes, a.ndim)
        out, _ = _shifted(_float(a), axes)
        if out.size == 0:
            return out
        return out - np.log(np.exp(out).sum(axes, dtype=_accumulator(out), keepdims=True)).astype(out.dtype, copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad - exp(node) * summation(out_grad, self.axes, keepdims=True)


def logsoftmax(a: Any, axes: Axes = -1) -> Tensor:
    """log(softmax(a)) over axes, by default the last one, without overflow."""
    return LogSoftmax(axes)(a)


class SoftmaxLoss(TensorTupleOp):
    """The mean loss, and the probabilities that its gradient reads: one op where composing it takes eight."""

    __slots__ = ()
    saves = ("inputs", "output")

    def compute(self, logits: Any, targets: Any) -> Any:
        if logits.shape != targets.shape or logits.ndim == 0:
            raise ValueError("shapes differ")
        z = _float(logits)
        dtype = z.dtype
        z, top = _shifted(z.astype(_accumulator(z), copy=False), (z.ndim - 1,))
        probabilities = np.exp(z)
        total = np.matmul(probabilities, np.ones((z.shape[-1], 1), z.dtype))  # faster than sum() over short rows
        probabilities /= total
        hit = np.vdot(targets, z)
        if not np.isfinite(hit):  # a target of 0 at a logit of -inf costs nothing
            hit = np.multiply(targets, z, out=np.zeros_like(z), where=targets != 0).sum()
        loss = np.log(total, out=total).sum() - hit
        if top.ndim:  # what the shift of z left out; exactly 0 where the targets sum to 1
            missing = 1 - targets.sum(-1, keepdims=True)
            loss = loss + np.multiply(missing, top, out=np.zeros_like(top), where=missing != 0).sum()
        return (loss / total.size if total.size else np.nan * loss).astype(dtype), probabilities.astype(
            dtype, copy=False
        )

    def hint(self, *arrays: Any) -> str:
        return (
            "the logits (a) and the target probabilities (b) must have the same shape (..., classes); "
            "device.one_hot(classes, labels) makes such rows from labels"
        )

    def gradient(self, out_grad: Any, node: Any) -> Any:
        logits, targets = node.inputs
        by_loss, by_probabilities = out_grad
        by_logits = by_targets = None
        probabilities = node[1]
        if by_loss is not None:
            scale = by_loss / prod(logits.shape[:-1])
            by_logits = (probabilities - targets) * scale if wanted(logits) else None
            by_targets = logsoftmax(logits) * -scale if wanted(targets) else None
        if by_probabilities is not None and wanted(logits):
            weighted = by_probabilities * probabilities
            by_softmax = weighted - probabilities * summation(weighted, -1, keepdims=True)
            by_logits = by_softmax if by_logits is None else by_logits + by_softmax
        return by_logits, by_targets


def softmax_loss(logits: Any, targets: Any) -> Tensor:
    """The mean over the rows of logsumexp(logits) - sum(logits * targets), along the last axis: the cross-entropy of
    softmax(logits) with target probabilities (one-hot rows, or any that sum to 1). No rows give NaN."""
    return SOFTMAX_LOSS(logits, targets)[0]


def _accumulator(array: Any) -> Any:
    """The dtype that sums of this array are kept in: float32 for float16."""
    return np.float32 if array.dtype == np.float16 else array.dtype


def logsumexp_method(a: Tensor, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None) -> Tensor:
    return logsumexp(a, given_axes("Tensor.logsumexp", axes, axis), keepdims)


SOFTMAX_LOSS = SoftmaxLoss()
