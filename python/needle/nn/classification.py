"""Cross-entropy of classes, by labels or by probabilities, and its part that takes logarithms of probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autograd import Tensor, as_value
from ..ops.discrete import discrete
from .losses import REDUCTIONS, reduced
from .module import Module
from .parameter import Buffer


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    axis: int = -1,
) -> Tensor:
    """The cross-entropy of softmax(logits) along an axis with labels, or with probabilities of the logits' shape.

    Labels are integers (or whole floats) from 0 to classes - 1, of the logits' shape without that axis. `weight` is a
    factor for each class; the mean is over the weights of the labels, as in PyTorch. Rows with the label `ignore_index`
    count for nothing; if all do, the loss is 0. With `label_smoothing` s, a target is 1 - s times itself plus
    s / classes for all classes. Raises ValueError for labels out of range, with the first one's position.
    """
    name = "CrossEntropyLoss"
    logits, target = as_value(logits, name), as_value(target, name)
    _check(name, logits, target, label_smoothing, reduction, axis)
    logits, target = _last(logits, target, axis)
    has_labels = target.shape != logits.shape
    plain = weight is None and ignore_index is None and not label_smoothing and reduction == "mean"
    if plain and has_labels and target.size and target.dtype.kind in "iu":
        try:
            return ops.softmax_loss(logits, target)
        except ValueError:
            _places(name, target, logits.shape[-1], None)  # which names the label
            raise
    if not has_labels and ignore_index is not None:
        raise ValueError(f"{name}: ignore_index is a label, but the targets are probabilities")
    return _negative(name, ops.logsoftmax(logits), target, weight, ignore_index, label_smoothing, reduction)


class CrossEntropyLoss(Module):
    """The cross-entropy of softmax(logits) with labels or probabilities; see `cross_entropy`.

    The class axis is the last (axis=-1); PyTorch's is axis=1.
    """

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        axis: int = -1,
    ):
        self.weight = None if weight is None else Buffer(weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.reduction, self.axis = reduction, axis
        _check_options("CrossEntropyLoss", label_smoothing, reduction)

    def forward(self, logits: Any, target: Any) -> Any:
        return cross_entropy(
            logits, target, self.weight, self.ignore_index, self.label_smoothing, self.reduction, self.axis
        )


class SoftmaxLoss(Module):
    """The mean cross-entropy of softmax(logits) with integer labels: the course's name for CrossEntropyLoss()."""

    def forward(self, logits: Any, y: Any) -> Any:
        return cross_entropy(logits, y)


def nll_loss(
    x: Any, target: Any, weight: Any = None, ignore_index: int | None = None, reduction: str = "mean", axis: int = -1
) -> Tensor:
    """`cross_entropy` by labels, of logarithms of probabilities, such as log_softmax returns."""
    name = "NLLLoss"
    x, target = as_value(x, name), as_value(target, name)
    _check(name, x, target, 0.0, reduction, axis)
    x, target = _last(x, target, axis)
    if target.shape == x.shape:
        raise ValueError(f"{name}: needs labels of shape {x.shape[:-1]}, got shape {target.shape}")
    return _negative(name, x, target, weight, ignore_index, 0.0, reduction)


class NLLLoss(Module):
    """`CrossEntropyLoss` by labels, of logarithms of probabilities, such as LogSoftmax returns."""

    def __init__(self, weight: Any = None, ignore_index: int | None = None, reduction: str = "mean", axis: int = -1):
        self.weight = None if weight is None else Buffer(weight)
        self.ignore_index, self.reduction, self.axis = ignore_index, reduction, axis
        _check_options("NLLLoss", 0.0, reduction)

    def forward(self, x: Any, target: Any) -> Any:
        return nll_loss(x, target, self.weight, self.ignore_index, self.reduction, self.axis)


def _negative(
    name: str, logp: Tensor, target: Tensor, weight: Any, ignore: int | None, smoothing: float, reduction: str
) -> Tensor:
    """The loss, from logarithms of probabilities along the last axis."""
    classes, shape = logp.shape[-1], logp.shape[:-1]
    rows = logp.reshape((-1, classes)) if logp.size else logp.reshape((int(np.prod(shape)), classes))
    weights = None if weight is None else _weights(name, weight, rows)
    if target.shape == logp.shape:
        probabilities = _like(target, logp).reshape(rows.shape)
        if smoothing:
            probabilities = probabilities * (1 - smoothing) + smoothing / classes
        weighted = rows if weights is None else rows * weights
        nothing = (probabilities == 0) & (weighted == -np.inf)  # costs nothing, where 0 * -inf would be NaN
        loss, share = -(probabilities * ops.where(nothing, 0.0, weighted)).sum(1), None
    else:
        labels = target.reshape((rows.shape[0],))
        places = _places(name, target, classes, ignore).reshape(labels.shape)
        each = np.arange(rows.shape[0])
        loss, share = -rows[each, places], None if weights is None else weights[places]
        loss = loss if share is None else loss * share
        if smoothing:
            spread = rows.sum(1) if weights is None else rows @ weights
            loss = loss * (1 - smoothing) - spread * (smoothing / classes)
        if ignore is not None:
            is_kept = labels != ignore
            loss = ops.where(is_kept, loss, 0.0)
            share = is_kept.astype(rows.dtype) if share is None else ops.where(is_kept, share, 0.0)
    if reduction != "mean":
        return reduced(name, loss.reshape(shape), reduction)
    if share is None:
        return loss.sum() / max(rows.shape[0], 1)
    total = share.sum()
    return loss.sum() / ops.where(total == 0, 1.0, total)


def _like(target: Tensor, logits: Tensor) -> Tensor:
    return target if target.dtype == logits.dtype or logits.dtype.kind != "f" else target.astype(logits.dtype)


def _weights(name: str, weight: Any, rows: Tensor) -> Tensor:
    weight = as_value(weight, name)
    if weight.shape != rows.shape[1:]:
        raise ValueError(f"{name}: weight must have one number a class, shape {rows.shape[1:]}, got {weight.shape}")
    return weight.astype(rows.dtype)


def _places(name: str, labels: Tensor, classes: int, ignore: int | None) -> Tensor:
    """The labels as indices, 0 for those that are ignored. ValueError for one out of range."""
    try:
        return discrete(_as_indices, labels, name=name, classes=classes, ignore=ignore)
    except ValueError as error:
        raise ValueError(str(error.__cause__ or error)) from None


def _as_indices(labels: Any, name: str, classes: int, ignore: int | None) -> Any:
    found = labels.astype(np.intp, copy=False)
    is_bad = (found < 0) | (found >= classes) | (found != labels)
    if ignore is not None:
        is_bad &= labels != ignore
    if is_bad.any():
        where = tuple(np.argwhere(is_bad)[0].tolist())
        hint = "; give ignore_index=-100 to leave such rows out" if labels[where] == -100 else ""
        known = f"the {classes} classes, 0 to {classes - 1}"
        raise ValueError(f"{name}: label {labels[where]} at position {where} is none of {known}{hint}")
    return found if ignore is None else np.where(labels == ignore, 0, found)


def _check_options(name: str, smoothing: float, reduction: str) -> None:
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing must lie in [0, 1], got {smoothing}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction must be one of {', '.join(map(repr, REDUCTIONS))}, got {reduction!r}")


def _check(name: str, logits: Tensor, target: Tensor, smoothing: float, reduction: str, axis: int) -> None:
    """ValueError for shapes that do not fit, with the fix."""
    _check_options(name, smoothing, reduction)
    shape = logits.shape
    if not shape or not -len(shape) <= axis < len(shape):
        raise ValueError(f"{name}: the logits need a class axis {axis}, got shape {shape}")
    axis %= len(shape)
    wanted = shape[:axis] + shape[axis + 1 :]
    if target.shape in (shape, wanted):
        return
    others = [i for i in range(len(shape)) if shape[:i] + shape[i + 1 :] == target.shape]
    fix = f"; with the classes along axis {others[0]}, give axis={others[0]}" if others else ""
    if not others and target.size == int(np.prod(wanted)):
        fix = f"; write target.reshape({wanted})"
    raise ValueError(
        f"{name}: logits of shape {shape} with the classes along axis {axis} need labels of shape {wanted} or "
        f"probabilities of shape {shape}, got shape {target.shape}{fix}"
    )


def _last(logits: Tensor, target: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The logits, and probabilities, with the class axis last."""
    if axis in (-1, logits.ndim - 1):
        return logits, target
    others = [i for i in range(logits.ndim) if i != axis % logits.ndim]
    order = (*others, axis % logits.ndim)
    if target.shape == logits.shape:
        target = ops.permute_dims(target, order)
    return ops.permute_dims(logits, order), target
