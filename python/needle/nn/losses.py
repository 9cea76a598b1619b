"""Losses: a function, and under it the module that applies it. Cross-entropy and its kin are in classification.py.

Prediction and target must have the same shape: what merely broadcasts, such as (n, 1) and (n,), is mostly a mistake
that trains to the mean. `reduction` is "mean", "sum" or "none".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autograd import Tensor, as_value
from .activations import softplus
from .module import Module
from .parameter import Buffer

REDUCTIONS = ("mean", "sum", "none")


def reduced(name: str, loss: Tensor, reduction: str) -> Tensor:
    """The mean or sum of a loss of each element, or itself. ValueError for another reduction."""
    if reduction == "none":
        return loss
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction must be one of {', '.join(map(repr, REDUCTIONS))}, got {reduction!r}")
    return loss.mean() if reduction == "mean" else loss.sum()


def pair(name: str, x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Prediction and target as Tensors of one shape; the target in the prediction's dtype.

    ValueError for different shapes, with the reshape where the elements are as many.
    """
    x, y = as_value(x, name), as_value(y, name)
    if x.shape != y.shape:
        fix = f"; write target.reshape({x.shape}) or prediction.reshape({y.shape})" if x.size == y.size else ""
        try:
            spread = f", which would be spread to {np.broadcast_shapes(x.shape, y.shape)}"
        except ValueError:
            spread = ""
        raise ValueError(
            f"{name}: prediction and target must have the same shape, got {x.shape} and {y.shape}{spread}{fix}"
        )
    return x, y if y.dtype == x.dtype or x.dtype.kind not in "fc" or y.dtype.kind == "c" else y.astype(x.dtype)


class _Loss(Module):
    """A loss with no option but `reduction`."""

    def __init__(self, reduction: str = "mean"):
        reduced(type(self).__name__, as_value(0.0), reduction)  # which raises for an unknown one
        self.reduction = reduction

    def extra_repr(self) -> str:
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


def mse_loss(x: Any, y: Any, reduction: str = "mean") -> Tensor:
    """(x - y)**2."""
    x, y = pair("MSELoss", x, y)
    d = x - y
    return reduced("MSELoss", d * d, reduction)


class MSELoss(_Loss):
    """(x - y)**2, the mean over all elements."""

    def forward(self, x: Any, y: Any) -> Any:
        return mse_loss(x, y, self.reduction)


def l1_loss(x: Any, y: Any, reduction: str = "mean") -> Tensor:
    """|x - y|."""
    x, y = pair("L1Loss", x, y)
    return reduced("L1Loss", abs(x - y), reduction)


class L1Loss(_Loss):
    """|x - y|, the mean over all elements."""

    def forward(self, x: Any, y: Any) -> Any:
        return l1_loss(x, y, self.reduction)


def _huber(d: Tensor, delta: float) -> Tensor:
    size = abs(d)
    return ops.where(size < delta, d * d * 0.5, (size - 0.5 * delta) * delta)


def huber_loss(x: Any, y: Any, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """d**2 / 2 where |d| < delta for d = x - y, else delta * (|d| - delta / 2): Huber 1964."""
    if not delta > 0:
        raise ValueError(f"HuberLoss: delta must be positive, got {delta}")
    x, y = pair("HuberLoss", x, y)
    return reduced("HuberLoss", _huber(x - y, delta), reduction)


class HuberLoss(_Loss):
    """d**2 / 2 where |d| < delta for d = x - y, else delta * (|d| - delta / 2)."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction)
        self.delta = delta

    def forward(self, x: Any, y: Any) -> Any:
        return huber_loss(x, y, self.delta, self.reduction)


def smooth_l1_loss(x: Any, y: Any, beta: float = 1.0, reduction: str = "mean") -> Tensor:
    """huber_loss(x, y, beta) / beta: |d| - beta / 2 far away. beta=0 is l1_loss."""
    if beta < 0:
        raise ValueError(f"SmoothL1Loss: beta must not be negative, got {beta}")
    x, y = pair("SmoothL1Loss", x, y)
    return reduced("SmoothL1Loss", _huber(x - y, beta) / beta if beta else abs(x - y), reduction)


class SmoothL1Loss(_Loss):
    """The Huber loss divided by beta, where it goes from the square to |d| - beta / 2."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0):
        super().__init__(reduction)
        self.beta = beta

    def forward(self, x: Any, y: Any) -> Any:
        return smooth_l1_loss(x, y, self.beta, self.reduction)


def binary_cross_entropy_with_logits(
    x: Any, y: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """-(p * y * log(sigmoid(x)) + (1 - y) * log(1 - sigmoid(x))) for targets y of [0, 1], without overflow.

    `pos_weight` p and `weight`, a factor of everything, broadcast to x.
    """
    name = "BCEWithLogitsLoss"
    x, y = pair(name, x, y)
    if pos_weight is None:
        loss = softplus(x) - x * y
    else:
        loss = (1 - y) * softplus(x) + as_value(pos_weight, name).astype(x.dtype) * y * softplus(-x)
    return reduced(name, loss if weight is None else loss * as_value(weight, name).astype(x.dtype), reduction)


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy of sigmoid(x) with targets of [0, 1]; see `binary_cross_entropy_with_logits`."""

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None):
        super().__init__(reduction)
        self.weight = None if weight is None else Buffer(weight)
        self.pos_weight = None if pos_weight is None else Buffer(pos_weight)

    def forward(self, x: Any, y: Any) -> Any:
        return binary_cross_entropy_with_logits(x, y, self.weight, self.reduction, self.pos_weight)


def binary_cross_entropy(x: Any, y: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """-(y * log(x) + (1 - y) * log(1 - x)) for probabilities x; logarithms are at least -100, as in PyTorch.

    `binary_cross_entropy_with_logits` of what went into the sigmoid is more accurate.
    """
    x, y = pair("BCELoss", x, y)
    loss = -(y * _bounded_log(x) + (1 - y) * _bounded_log(1 - x))
    return reduced("BCELoss", loss if weight is None else loss * as_value(weight).astype(x.dtype), reduction)


def _bounded_log(x: Tensor) -> Tensor:
    """log(x), but at least -100, where it is constant."""
    is_more = x > float(np.exp(-100.0))
    return ops.where(is_more, ops.log(ops.where(is_more, x, 1.0)), -100.0)


class BCELoss(_Loss):
    """Binary cross-entropy of probabilities with targets of [0, 1]; BCEWithLogitsLoss is more accurate."""

    def __init__(self, weight: Any = None, reduction: str = "mean"):
        super().__init__(reduction)
        self.weight = None if weight is None else Buffer(weight)

    def forward(self, x: Any, y: Any) -> Any:
        return binary_cross_entropy(x, y, self.weight, self.reduction)


def kl_div(x: Any, y: Any, reduction: str = "batchmean", log_target: bool = False) -> Tensor:
    """The divergence of x, logarithms of probabilities, from the probabilities y: y * (log(y) - x), 0 where y is 0.

    With `log_target`, y are logarithms, too. "batchmean" divides the sum by the length of the first axis, which is the
    divergence a row; "mean" divides by the number of elements.
    """
    x, y = pair("KLDivLoss", x, y)
    if log_target:
        loss = ops.exp(y) * (y - x)
    else:
        is_some = y > 0
        loss = ops.where(is_some, y * (ops.log(ops.where(is_some, y, 1.0)) - x), 0.0)
    if reduction == "batchmean":
        return loss.sum() / (x.shape[0] if x.ndim else 1)
    return reduced("KLDivLoss", loss, reduction)


class KLDivLoss(_Loss):
    """The divergence of logarithms of probabilities x from probabilities y: the mean over the first axis of the sum of
    y * (log(y) - x). PyTorch's default, "mean", divides by the number of all elements."""

    def __init__(self, reduction: str = "batchmean", log_target: bool = False):
        super().__init__("mean" if reduction == "batchmean" else reduction)
        self.reduction, self.log_target = reduction, log_target

    def forward(self, x: Any, y: Any) -> Any:
        return kl_div(x, y, self.reduction, self.log_target)


def hinge_loss(x: Any, y: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """max(0, margin - y * x) for scores x and targets y of -1 and 1."""
    x, y = pair("HingeLoss", x, y)
    return reduced("HingeLoss", ops.relu(margin - y * x), reduction)


class HingeLoss(_Loss):
    """max(0, margin - y * x) for scores x and targets y of -1 and 1."""

    def __init__(self, margin: float = 1.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.margin = margin

    def forward(self, x: Any, y: Any) -> Any:
        return hinge_loss(x, y, self.margin, self.reduction)


def cosine_similarity(a: Any, b: Any, axis: int = -1, eps: float = 1e-8) -> Tensor:
    """a @ b / (|a| |b|) along an axis; a length below eps counts as eps."""
    a, b = pair("cosine_similarity", a, b)
    return (a * b).sum(axis) / (_length(a, axis, eps) * _length(b, axis, eps))


def _length(a: Tensor, axis: int, eps: float) -> Tensor:
    """The lengths of vectors, at least eps, where the derivative is 0."""
    square = (a * a).sum(axis)
    is_more = square > eps * eps
    return ops.where(is_more, ops.sqrt(ops.where(is_more, square, 1.0)), eps)


def cosine_embedding_loss(a: Any, b: Any, y: Any, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """1 - cos(a, b) where the target y is 1, max(0, cos(a, b) - margin) where it is -1; vectors lie along the last
    axis."""
    name = "CosineEmbeddingLoss"
    a, b = pair(name, a, b)
    cos, y = pair(name, cosine_similarity(a, b), y)
    return reduced(name, ops.where(y > 0, 1 - cos, ops.relu(cos - margin)), reduction)


class CosineEmbeddingLoss(_Loss):
    """1 - cos(a, b) where the target is 1, max(0, cos(a, b) - margin) where it is -1."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.margin = margin

    def forward(self, a: Any, b: Any, y: Any) -> Any:
        return cosine_embedding_loss(a, b, y, self.margin, self.reduction)


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), where d is the p-norm along the last axis.

    Schroff et al. 2015. With `swap`, the negative may be as near to the positive. `eps` is added to each difference, as
    in PyTorch.
    """
    name = "TripletMarginLoss"
    anchor, positive = pair(name, anchor, positive)
    anchor, negative = pair(name, anchor, negative)
    far = _distance(anchor, negative, p, eps)
    if swap:
        far = ops.minimum(far, _distance(positive, negative, p, eps))
    return reduced(name, ops.relu(_distance(anchor, positive, p, eps) - far + margin), reduction)


def _distance(a: Tensor, b: Tensor, p: float, eps: float) -> Tensor:
    d = a - b + eps
    if p == 2:
        return ops.sqrt((d * d).sum(-1))
    return (abs(d) ** p).sum(-1) ** (1 / p)


class TripletMarginLoss(_Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin); see `triplet_margin_loss`."""

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ):
        super().__init__(reduction)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:
        return triplet_margin_loss(anchor, positive, negative, self.margin, self.p, self.eps, self.swap, self.reduction)
