"""log(sum(exp(a))), softmax and their relatives, without overflow: all subtract the maximum first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite, prod
from typing import Any, NamedTuple

import numpy as np

from .. import sums, watching
from ..autograd import ZERO, Axes, Tensor, TensorOp, is_recording, plus, unmasked
from ..backend import check_labels, cpu, is_finite
from ..pool import empty
from ..sums import sum_over
from ..threads import for_each
from .base import aligned, batch_axes, given_axes, normalize_axes
from .discrete import Discrete
from .memory_order import PIECE
from .reduction import Summation, with_kept_axes

_NO_SHIFT = np.zeros((), np.int8)
_SAFE = {4: 60.0, 8: 500.0}
"""Bytes of a float -> the largest magnitude at which exp(), and a sum of many of them, neither over- nor underflows."""
_FEW = 1 << 12
"""The size up to which a sum of squares is faster than the extrema."""
_ENOUGH = 1e-3
"""A sum of exponentials so large that nothing which counts has come near the smallest numbers."""
_SHARP = 1 - 2.0**-6
"""Above this, more than six bits of a probability's distance from 1 are lost."""
_SHORT = 256
"""The row length up to which a product with ones is faster than sum()."""


def _result_dtype(dtype: Any) -> Any:
    """The dtype of the result: float64 for integers."""
    return dtype if dtype.kind in "fc" else np.dtype(np.float64)


def _wide(a: Any) -> Any:
    """The array in the dtype of its sums: float32 for float16, float64 for integers."""
    if a.dtype.kind == "f" and a.itemsize > 2:
        return a
    return a.astype(np.float32 if a.dtype == np.float16 else _result_dtype(a.dtype), copy=False)


def _shifted(a: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """a minus its maximum over the axes, and that maximum (axes kept). The difference of equal infinities is 0.

    If all of a is small, nothing is subtracted: exp() is safe then. Checking that takes a fraction of the time of the
    row maxima.
    """
    if a.size == 0:
        return a, np.full([1 if i in axes else n for i, n in enumerate(a.shape)], -np.inf, a.dtype)
    if can_skip_shift(a):
        return a, _NO_SHIFT
    top = a.max(axes, keepdims=True)
    return _less(a, top), top


def _less(a: Any, top: Any) -> Any:
    if np.isfinite(top).all():
        return a - top
    differences = np.zeros(a.shape, np.result_type(a, top))
    np.subtract(a, top, out=differences, where=a != top)
    return differences


def can_skip_shift(a: Any) -> bool:
    """Whether exp() of all elements is safe as they are."""
    return _is_small(a, _SAFE.get(a.itemsize, 0.0) if a.dtype.kind == "f" else 0.0)


def _is_small(a: Any, limit: float) -> bool:
    """Whether all elements are between -limit and limit. For a few elements, the sum of squares usually proves it."""
    if a.size <= _FEW and a.flags.c_contiguous and np.vdot(a, a) < limit * limit:
        return True
    return bool(np.maximum.reduce(a, None) < limit and np.minimum.reduce(a, None) > -limit)


class Exponentials(NamedTuple):
    """exp(z), z = a - top, and its sum over axes, which are kept."""

    z: Any
    top: Any
    """A shift against overflow, for each row: the maximum, or 0."""
    values: Any
    total: Any


def exponentials(a: Any, axes: tuple[int, ...], out: Any = None, whole: int = 0) -> Exponentials:
    """Of an array, or of a part with all of these axes, of which the whole array has so many bytes: rows of a large one
    do not depend on each other. `out` may receive the exponentials."""
    z = _wide(a)
    if out is not None and out.dtype != z.dtype:
        out = None
    whole = max(whole, a.nbytes) * z.itemsize // a.itemsize
    if whole < sums.LARGE or z.dtype.char not in "fd" or not z.size:
        z, top = _shifted(z, axes)
        values = np.exp(z, out=out)
        if z.ndim == 2 and axes == (1,):
            return Exponentials(z, top, values, _row_sums(values))
        return Exponentials(z, top, values, sum_over(values, axes, keepdims=True))
    with np.errstate(over="ignore"):
        values = np.exp(z, out=out)
        total = sum_over(values, axes, keepdims=True, whole=whole)
    if total.min() > _ENOUGH and total.max() < np.inf:
        return Exponentials(z, _NO_SHIFT, values, total)
    top = z.max(axes, keepdims=True)
    top[(total > _ENOUGH) & (total < np.inf)] = 0
    z = _less(z, top)
    values = np.exp(z, out=out)
    return Exponentials(z, top, values, sum_over(values, axes, keepdims=True, whole=whole))


def _row_sums(a: Any) -> Any:
    """The sums over the last axis, which is kept."""
    if a.ndim == 2 and a.shape[1] <= _SHORT:
        return a.dot(sums.ones(a.shape[1], a.dtype))[:, None]
    return sum_over(a, (a.ndim - 1,), keepdims=True)


def _is_sharp(probabilities: Any) -> bool:
    """Whether a probability is so near 1 that its distance from 1 has lost digits; True in a captured program."""
    if type(probabilities) is np.ndarray:
        return _has_sharp(probabilities)
    return watching.captures() or bool(Discrete(_has_sharp).on(probabilities))


def _has_sharp(a: Any) -> bool:
    a = a.real
    return a.size > 0 and a.item(a.argmax()) > _SHARP  # argmax takes half the time of max


def _is_plain(*values: Any) -> bool:
    """Whether a rule is handed arrays, or Tensors of which nothing is recorded. Then it may look at the data within one
    op, which a captured program repeats on other data."""
    return not is_recording() and all(type(a) is Tensor or isinstance(a, (np.ndarray, np.generic)) for a in values)


def _by_parts(function: Callable[..., Any], g: Any, y: Any, axes: tuple[int, ...]) -> Any:
    """function(g, y, out) on parts that have all of these axes: of a large array, over the threads."""
    dtype = np.result_type(g, y)
    out = empty(y.shape, dtype, y.size * dtype.itemsize)
    if out.nbytes <= PIECE or 0 in axes:
        function(g, y, out)
        return out
    rows = max(1, PIECE * len(y) // out.nbytes)
    runs = sums.runs_of(y.shape, y.dtype, axes)
    rows += -rows % (1 if runs is None else runs.together(len(y)))
    parts = [slice(start, start + rows) for start in range(0, len(y), rows)]
    for_each(parts, lambda part: function(g[part], y[part], out[part]), 8 * out.nbytes)
    return out


def _slope_of_logsoftmax(g: Any, y: Any, axes: Axes) -> Any:
    """The transpose of the Jacobian of the logarithms y of a softmax, times g."""
    over = normalize_axes("LogSoftmax", axes, y.ndim)

    def slope(g: Any, y: Any, out: Any) -> None:
        p = np.exp(y)
        is_sharp = _has_sharp(p)
        p = Softmax(over).compute(y) if is_sharp else p
        np.subtract(g, p * sum_over(g, over, keepdims=True), out)
        if is_sharp:  # as in Softmax: this sum is 0 but for rounding
            np.subtract(out, p * sum_over(out, over, keepdims=True), out)

    return _by_parts(slope, g, y, over)


class LogSumExp(TensorOp):
    saves = ("inputs",)
    __slots__ = ("axes", "keepdims")

    def __init__(self, axes: Axes = None, keepdims: bool = False):
        self.axes = axes
        self.keepdims = keepdims

    def compute(self, a: Any) -> Any:
        return self.of_rows(a)

    def of_rows(self, a: Any, out: Any = None, whole: int = 0) -> Any:
        """Of a part of an array; see `exponentials`."""
        axes = normalize_axes(self, self.axes, a.ndim)
        _, top, _, total = exponentials(a, axes, None, whole)
        log_of_sum = np.log(total) if a.size else np.full(total.shape, -np.inf, total.dtype)
        found = (log_of_sum + top).astype(_result_dtype(a.dtype), copy=False)
        return found if self.keepdims else found.squeeze(axes)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        return with_kept_axes(out_grad, a.shape, self.axes) * Softmax(self.axes).on(a)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        moved = tangents[0] * Softmax(self.axes).on(node.inputs[0])
        return Summation(self.axes, self.keepdims).on(moved)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return type(self)(batch_axes(self, self.axes, depths[0]), self.keepdims)(values[0])


def logsumexp(a: Any, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None) -> Tensor:
    """log(sum(exp(a))) over axes, without overflow; -inf where all elements are -inf."""
    return LogSumExp(given_axes("logsumexp", axes, axis, keepdims), keepdims)(a)


class Softmax(TensorOp):
    saves = ("output",)
    __slots__ = ("axes",)

    def __init__(self, axes: Axes = None):
        self.axes = axes

    def compute(self, a: Any) -> Any:
        return self.of_rows(a)

    def of_rows(self, a: Any, out: Any = None, whole: int = 0) -> Any:
        """Of a part of an array, perhaps in `out`; see `exponentials`."""
        _, _, values, total = exponentials(a, normalize_axes(self, self.axes, a.ndim), out, whole)
        values /= total
        return values.astype(_result_dtype(a.dtype), copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        y = node.output
        if unmasked(out_grad) is out_grad:
            return SlopeOfSoftmax(self.axes).on(out_grad, y)
        total = Summation(self.axes, keepdims=True)
        weighted = out_grad * y  # keeps structural zeros
        if _is_sharp(y):
            weighted = (out_grad - total.on(weighted)) * y
        return weighted - y * total.on(weighted)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return self.gradient(tangents[0], node)  # its Jacobian is symmetric

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return Softmax(batch_axes(self, self.axes, depths[0]))(values[0])


def softmax(a: Any, axes: Axes = -1, *, axis: Axes = -1) -> Tensor:
    """exp(a) / sum(exp(a)) over axes, without overflow. Several infinite maxima share the 1 evenly."""
    return Softmax(given_axes("softmax", axes, axis, default=-1))(a)


class SlopeOfSoftmax(TensorOp):
    """The Jacobian of a softmax y, which is symmetric, times g. Right to second order where y sums to 1."""

    saves = ("inputs",)
    __slots__ = ("axes",)

    def __init__(self, axes: Axes = None):
        self.axes = axes

    def compute(self, g: Any, y: Any) -> Any:
        return _by_parts(partial(self.of_rows, whole=y.nbytes), g, y, normalize_axes(self, self.axes, y.ndim))

    def of_rows(self, g: Any, y: Any, out: Any, whole: int) -> Any:
        """In `out`, of parts of arrays that have so many bytes; rows do not depend on each other."""
        axes = normalize_axes(self, self.axes, y.ndim)
        total = partial(sum_over, axes=axes, keepdims=True, whole=whole)
        np.multiply(g, y, out)
        if _has_sharp(y):  # what is left near y = 1 is rounding; the mean of the deviations has its digits
            np.copyto(out, (g - total(out)) * y, where=y.real.max(axes, keepdims=True) > _SHARP)
        return np.subtract(out, y * total(out), out)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        g, y = node.inputs
        return lambda: self.on(out_grad, y), lambda: self._deviations(out_grad, y) * self._deviations(g, y)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (g, y), (s, t) = node.inputs, tangents
        found = None if s is None else self.on(s, y)
        if t is None:
            return found
        moved = t * self._deviations(g, y)
        return plus(found, moved - y * Summation(self.axes, keepdims=True).on(moved))

    def _deviations(self, a: Any, y: Any) -> Any:
        """From the mean weighted by y; twice, as in `compute`."""
        total = Summation(self.axes, keepdims=True)
        a = a - total.on(a * y)
        return a - total.on(a * y)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        size, depth = next((len(v), depth) for v, depth in zip(values, depths, strict=True) if depth is not None)
        pairs = zip(values, depths, strict=True)
        both = [np.broadcast_to(v, (size, *v.shape)) if depth is None else v for v, depth in pairs]
        return SlopeOfSoftmax(batch_axes(self, self.axes, depth))(*both)


class LogSoftmax(TensorOp):
    saves = ("output",)
    __slots__ = ("axes",)

    def __init__(self, axes: Axes = -1):
        self.axes = axes

    def compute(self, a: Any) -> Any:
        return self.of_rows(a)

    def of_rows(self, a: Any, out: Any = None, whole: int = 0) -> Any:
        """Of a part of an array, perhaps in `out`; see `exponentials`."""
        z, _, values, total = exponentials(a, normalize_axes(self, self.axes, a.ndim), out, whole)
        found = np.subtract(z, np.log(total), out=values if values.ndim else None) if z.size else z
        return found.astype(_result_dtype(a.dtype), copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        if _is_plain(out_grad, node.output):
            return Discrete(_slope_of_logsoftmax, axes=self.axes).on(out_grad, node.output)
        p, is_sharp, total = self._probabilities(node.output)
        found = out_grad - p * total.on(out_grad)
        return found - p * total.on(found) if is_sharp else found  # as in Softmax: this sum is 0 but for rounding

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (t,), (p, is_sharp, total) = tangents, self._probabilities(node.output)
        found = t - total.on(p * t)
        return found - total.on(p * found) if is_sharp else found

    def _probabilities(self, y: Any) -> tuple[Any, bool, Any]:
        """The softmax, whether it is sharp, and a sum over the axes."""
        p = np.exp(y)
        is_sharp = _is_sharp(p)
        return Softmax(self.axes).on(y) if is_sharp else p, is_sharp, Summation(self.axes, keepdims=True)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return LogSoftmax(batch_axes(self, self.axes, depths[0]))(values[0])


def logsoftmax(a: Any, axes: Axes = -1, *, axis: Axes = -1) -> Tensor:
    """log(softmax(a)) over axes, by default the last, without overflow."""
    return LogSoftmax(given_axes("logsoftmax", axes, axis, default=-1))(a)


class SoftmaxLoss(TensorOp):
    """The mean cross-entropy as one op; composed, it takes eight."""

    notation = "softmax_loss({0}, {1})"
    saves = ("inputs",)
    __slots__ = ("_latest",)

    def __init__(self) -> None:
        self._latest: tuple[Any, Any] = None, None  # the logits and their softmax, which the gradient needs

    def compute(self, logits: Any, targets: Any) -> Any:
        loss, probabilities = self.both(logits, targets)
        self._latest = logits, probabilities
        return loss

    def both(self, logits: Any, targets: Any) -> tuple[Any, Any]:
        """(the loss, the softmax of the logits)."""
        if logits.ndim == 0 or not (logits.shape == targets.shape or are_labels(targets, logits)):
            raise ValueError("shapes differ")
        dtype = self._dtype(logits, targets)
        losses, probabilities = losses_of_rows(logits.astype(dtype, copy=False), targets)
        return mean_of(losses).astype(dtype), probabilities.astype(dtype, copy=False)

    def _dtype(self, logits: Any, targets: Any) -> Any:
        """The result's: that of the logits and the probabilities, as NumPy combines them."""
        dtype = _result_dtype(logits.dtype)
        is_same = targets.dtype is dtype or are_labels(targets, logits)
        return dtype if is_same else np.result_type(dtype, targets.dtype)

    def hint(self, *arrays: Any) -> str:
        return (
            "the logits (a) and the target probabilities (b) must have the same shape (..., classes); or b is of the "
            "shape (...) and of integers, the labels from 0 to classes - 1"
        )

    def gradient(self, out_grad: Any, node: Any) -> Any:
        logits, targets = node.inputs
        if out_grad.dtype == np.float16:  # the number of rows may exceed 65,504, its maximum
            out_grad = out_grad.astype(np.float32)
        scale = out_grad / prod(logits.shape[:-1])
        labels = are_labels(targets, logits)
        of, found = self._latest

        def by_logits() -> Any:
            nonlocal found
            if of is not logits:
                dtype = self._dtype(logits, targets)
                found = Softmax(-1).on(logits if logits.dtype == dtype else logits.astype(dtype))
            if not labels:
                return LESS_TARGETS.on(found, targets) * scale
            if _is_plain(found, scale):
                return Discrete(less_labels).on(found, targets, scale)
            rows = Discrete(one_hot, classes=logits.shape[-1], dtype=found.dtype).on(targets)
            return LESS_TARGETS.on(found, rows) * scale

        return by_logits, ZERO if labels else lambda: logits * -scale


def softmax_loss(logits: Any, targets: Any) -> Tensor:
    """The mean over all rows of logsumexp(logits) - sum(logits * targets), along the last axis.

    This is the cross-entropy of softmax(logits) with the targets. These are probabilities of the logits' shape (one-hot
    rows, or any that sum to 1), or labels: integers from 0 to classes - 1, one per row. No rows give NaN. The dtype of
    logits and probabilities is combined as in NumPy.
    """
    return SoftmaxLoss()(logits, targets)


def are_labels(targets: Any, logits: Any) -> bool:
    """Whether the targets are class labels, not probabilities."""
    return targets.dtype.kind in "iu" and targets.shape == logits.shape[:-1]


def places_of(labels: Any, logits: Any) -> Any:
    """The flat positions of the logits that the labels select, for take() and put()."""
    return (np.arange(labels.size) * logits.shape[-1]).reshape(labels.shape) + labels.astype(np.intp)


def losses_of_rows(logits: Any, targets: Any, out: Any = None, whole: int = 0) -> tuple[Any, Any]:
    """The loss of each row, and the softmax, perhaps in `out`. The logits are an array of floats, or a part of one; see
    `exponentials`."""
    last = (logits.ndim - 1,)
    z, top, values, total = exponentials(logits, last, out, whole)
    values /= total
    losses = np.log(total)[..., 0]
    if are_labels(targets, logits):
        check_labels("SoftmaxLoss", logits.shape[-1], targets)
        return losses - z.take(places_of(targets, z)), values
    losses = losses - _products(targets, z, whole)
    if top.ndim:  # the shift cancels only if the targets sum to 1: add what it left out
        missing = 1 - targets.sum(-1)
        losses = losses + np.multiply(missing, top[..., 0], out=np.zeros_like(losses), where=missing != 0)
    return losses, values


def _products(targets: Any, z: Any, whole: int) -> Any:
    """The scalar products of rows. A target of 0 at a logit of -inf costs nothing."""
    last, is_small = (z.ndim - 1,), max(whole, z.nbytes) < sums.LARGE
    if is_small and targets.dtype is z.dtype and z.dtype.char in "fd" and isfinite(np.vdot(targets, z)):
        return np.vecdot(targets, z)
    with np.errstate(invalid="ignore"):  # 0 * inf
        hit = np.asarray(sum_over(np.asarray(targets * z), last, whole=whole))
    if is_finite(hit):
        return hit
    return np.where(
        np.isfinite(hit), hit, sum_over(np.asarray(targets * np.where(targets != 0, z, 0)), last, whole=whole)
    )


def mean_of(losses: Any) -> Any:
    """Their mean, added up with more digits than they have."""
    total = np.add.reduce(losses, None, np.complex128 if losses.dtype.kind == "c" else np.float64)
    return np.asarray(total / losses.size if losses.size else np.nan * total)


def less_labels(probabilities: Any, labels: Any, scale: Any, out: Any = None, whole: int = 0) -> Any:
    """(probabilities - one_hot(labels)) * scale, without building the one-hot rows; perhaps in `out`, which may be the
    probabilities' array.

    Where the probability is near 1, the difference is rounding: it is what the rest of the row lacks.
    """
    places = places_of(labels, probabilities)
    there = probabilities.take(places)
    found = np.asarray(np.multiply(probabilities, scale, out=out))
    difference = ((there - 1) * scale).astype(found.dtype, copy=False)
    found.put(places, difference)
    if _has_sharp(there):
        rest = sum_over(found, (found.ndim - 1,), whole=whole)
        found.put(places, np.where(there > _SHARP, difference - rest, difference))
    return found


class LessTargets(TensorOp):
    """Probabilities minus targets, both of which sum to 1 in each row. Where a probability is near 1, its distance from
    1 is rounding: it is what the others in its row sum to."""

    saves = ()

    def compute(self, a: Any, b: Any) -> Any:
        if not _has_sharp(a):
            return a - b
        ones = np.rint(a)
        found = np.subtract(a, b)
        found -= _row_sums(a - ones) * ones
        return found

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad, lambda: -out_grad

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))


def one_hot(labels: Any, classes: int, dtype: Any) -> Any:
    """The one-hot rows of the labels."""
    return cpu().one_hot(classes, labels, dtype)


LESS_TARGETS = LessTargets()
