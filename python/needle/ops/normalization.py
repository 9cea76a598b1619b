"""Normalization: numbers less their mean, over their standard deviation, along axes; then scaled and shifted.

    y = x * weight + bias    x = (a - mean) * s    s = 1 / sqrt(variance + eps)

Layer, batch, group and instance normalization differ in their axes alone; root-mean-square normalization leaves the
mean in. The Jacobian of x, s * (1 - mean - x * mean(x * .)), is symmetric: the same op applies it in both directions.
Each op passes over its arrays once, computing all of a piece while it is in the caches.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..autograd import Axes, Tensor, TensorOp, TensorTupleOp, as_value, plus, unmasked
from .base import aligned, normalize_axes, spread
from .memory_order import without_gaps
from .merged_axes import MergedAxes, cut, dot_along, slices_of, sum_along, weighted_sum
from .moments import Var
from .reduction import Summation, count_along, with_kept_axes


class Settings(NamedTuple):
    """What the ops of this file have in common."""

    axes: tuple[int, ...]
    """Non-negative."""
    eps: float
    centered: bool = True
    """Whether the mean is taken away; if not, it counts as 0 in the variance as well."""

    def scale(self, variance: Any) -> Any:
        return 1 / np.sqrt(variance + self.eps)

    def batched(self) -> Settings:
        return self._replace(axes=tuple([axis + 1 for axis in self.axes]))


class _Opened:
    """The arrays of a normalization, with merged axes and in one floating dtype of at least 32 bits."""

    def __init__(self, settings: Settings, a: Any, *weights: Any, g: Any = None):
        dtypes = [b.dtype for b in (a, g, *weights) if b is not None]
        self.settings = settings
        self.result = np.result_type(*[dtype if dtype.kind == "f" else np.float64 for dtype in dtypes])
        self.dtype = np.dtype(np.float32) if self.result == np.float16 else self.result
        a, _ = without_gaps(a.astype(self.dtype, copy=False))
        weight = next((w.shape for w in weights if w is not None), ())
        self.axes = MergedAxes(a, settings.axes, weight)
        """The merged axes."""
        self.a = self.axes.open(a)
        self.g = None if g is None else self.axes.open(g.astype(self.dtype, copy=False))
        self.weights = [None if w is None else self.axes.open_weight(w.astype(self.dtype, copy=False)) for w in weights]

    def moment(self) -> Any:
        """A new array for a moment."""
        return np.zeros(self.axes.without(self.axes.reduced), self.dtype)

    def moments(self, a: Any, out: Any) -> tuple[Any, Any, Any]:
        """The mean (0 if it is to stay) and the variance of a part, and its deviations from the mean, in `out`."""
        axes, n = self.axes.reduced, self.axes.count or np.nan
        mean: Any = np.zeros((1,) * a.ndim, a.dtype)
        if not self.settings.centered:
            out = a
        else:
            mean = _total([sum_along(a[piece], axes) for piece in _pieces(a)], a.dtype) / n
            for piece in _pieces(a):
                np.subtract(a[piece], cut(mean, (piece,)), out[piece])
        return mean, _total([dot_along(out[piece], out[piece], axes) for piece in _pieces(a)], a.dtype) / n, out


def _pieces(a: Any) -> list[slice]:
    return slices_of(len(a), a.nbytes // max(len(a), 1))


def _total(parts: list[Any], dtype: Any) -> Any:
    """The sum of what comes of each piece: in float64, as there may be thousands."""
    if len(parts) == 1:
        return parts[0]
    return np.asarray(sum([part.astype(np.result_type(part, np.float64)) for part in parts])).astype(dtype)


def _each_cut(values: Any, part: tuple[slice, ...]) -> list[Any]:
    return [None if v is None else cut(v, part) for v in values]


def _normalized(settings: Settings, a: Any, weight: Any = None, bias: Any = None) -> tuple[Any, ...]:
    """y, and the mean and variance with their axes kept."""
    opened = _Opened(settings, a, weight, bias)
    layout, x = opened.axes, opened.a
    found, means, variances = layout.empty(opened.dtype), opened.moment(), opened.moment()
    y = layout.open(found)
    for part in layout.parts(opened.dtype.itemsize):
        y_part = y[part]
        mean, variance, deviation = opened.moments(x[part], y_part)
        cut(means, part)[...], cut(variances, part)[...] = mean, variance
        scale, (w, b) = settings.scale(variance), _each_cut(opened.weights, part)
        if w is not None and layout.inner:
            scale, w = scale * w, None
        for piece in _pieces(y_part):
            s, factor, shift = _each_cut((scale, w, b), (piece,))
            out = np.multiply(deviation[piece], s, y_part[piece])
            if factor is not None:
                np.multiply(out, factor, out)
            if shift is not None:
                np.add(out, shift, out)
    whole = found, layout.close_moment(means), layout.close_moment(variances)
    return tuple([v.astype(opened.result, copy=False) for v in whole])


def _pulled_back(settings: Settings, g: Any, a: Any, weight: Any = None) -> tuple[Any, ...]:
    """The adjoint of a for that of y, g; with a weight, also the adjoints of weight and bias.

    Sums are first taken over the axes along which the weight is constant, if there are any: the rest is small then.
    """
    opened = _Opened(settings, a, weight, g=g)
    layout, x, (w,), g = opened.axes, opened.a, opened.weights, opened.g
    found = layout.empty(opened.dtype)
    reduced, shared, inner = layout.reduced, layout.shared, layout.inner
    to = layout.open(found)
    sums = [] if w is None else [np.zeros(w.shape, np.result_type(w, np.float64)) for _ in range(2)]
    for part in layout.parts(opened.dtype.itemsize):
        g_part, to_part = g[part], to[part]
        _, variance, deviation = opened.moments(x[part], to_part)
        scale, w_part, sums_part = settings.scale(variance), None if w is None else cut(w, part), _each_cut(sums, part)
        levels, tilts = [], []
        for piece in _pieces(g_part):
            s, factor = _each_cut((scale, w_part), (piece,))
            gradient = g_part[piece]
            level, tilt = sum_along(gradient, inner), dot_along(gradient, deviation[piece], inner)
            if factor is not None:
                by_weight, by_bias = _each_cut(sums_part, (piece,))
                by_weight += _scaled_sum(tilt, s, shared)
                by_bias += sum_along(level, shared)
                level, tilt = weighted_sum(level, factor, reduced), weighted_sum(tilt, factor, reduced)
            levels.append(level)
            tilts.append(tilt)
        level = _total(levels, opened.dtype) * scale / layout.count
        tilt = _total(tilts, opened.dtype) * scale**3 / layout.count
        if w_part is not None and layout.inner:
            scale, w_part = scale * w_part, None
        for piece in _pieces(g_part):
            s, factor, up, along = _each_cut((scale, w_part, level, tilt), (piece,))
            out = np.multiply(deviation[piece], along, to_part[piece])
            straight = g_part[piece] * s
            if factor is not None:
                np.multiply(straight, factor, straight)
            np.subtract(straight, out, out)
            if settings.centered:
                np.subtract(out, up, out)
    shape = () if weight is None else weight.shape
    every = found, *[layout.close_weight(v, shape) for v in sums]
    return tuple([v.astype(opened.result, copy=False) for v in every])


def _scaled_sum(a: Any, scale: Any, axes: tuple[int, ...]) -> Any:
    """The sum of a * scale over merged axes, which are kept."""
    if a.ndim == 2 and axes == (0,) and scale.shape == (len(a), 1):
        return np.matmul(scale[:, 0], a)[None]
    return sum_along(a * scale, axes)


# --------------------------------------------------------------------------------------------------------------- ops


class Normalize(TensorOp):
    """y of a, or of a and weight, or of a, weight and bias. The weights broadcast to a."""

    saves = ("inputs",)
    __slots__ = ("settings",)

    def __init__(self, settings: Settings):
        self.settings = settings

    def compute(self, *arrays: Any) -> Any:
        return _normalized(self.settings, *arrays)[0]

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return _adjoints(self.settings, unmasked(out_grad), *node.inputs)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (a, *weights), (t, *moving) = node.inputs, tangents
        found = None if t is None else SlopeOfNormalize(self.settings).on(t, a)
        if weights and found is not None:
            found = found * weights[0]
        if weights and moving[0] is not None:
            found = plus(found, Normalize(self.settings).on(a) * moving[0])
        if len(weights) > 1 and moving[1] is not None:
            found = plus(found, spread(moving[1], a.shape))
        return found

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return type(self)(self.settings.batched())(*_batches(values, depths))

    def hint(self, a: Any, *weights: Any) -> str:
        return _hint(a, *weights)


class NormalizeWithMoments(TensorTupleOp):
    """y as `Normalize` computes it, and the mean and the variance, without the axes that they were taken over."""

    saves = ("inputs",)
    __slots__ = ("settings",)

    def __init__(self, settings: Settings):
        self.settings = settings

    def compute(self, *arrays: Any) -> Any:
        y, *moments = _normalized(self.settings, *arrays)
        return y, *[v.squeeze(self.settings.axes) for v in moments]

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, *weights = node.inputs
        g, by_mean, by_variance = [None if v is None else unmasked(v) for v in out_grad]
        by_a, *rest = _as_tuple(_adjoints(self.settings, g, *node.inputs)) if g is not None else (None, None, None)
        axes, n = self.settings.axes, count_along(a.shape, self.settings.axes)

        def total() -> Any:
            found = by_a() if callable(by_a) else by_a
            if by_mean is not None:
                found = plus(found, spread(with_kept_axes(by_mean, a.shape, axes) / n, a.shape))
            if by_variance is not None:
                deviation = a - Summation(axes, keepdims=True).on(a) / n
                found = plus(found, deviation * (with_kept_axes(by_variance, a.shape, axes) * (2 / n)))
            return found

        return (total, *rest[: len(weights)])

    def hint(self, a: Any, *weights: Any) -> str:
        return _hint(a, *weights)


class SlopeOfNormalize(TensorOp):
    """The Jacobian of x at a, times h."""

    saves = ("inputs",)
    __slots__ = ("settings",)

    def __init__(self, settings: Settings):
        self.settings = settings

    def compute(self, h: Any, a: Any) -> Any:
        return _pulled_back(self.settings, h, a)[0]

    def gradient(self, out_grad: Any, node: Any) -> Any:
        h, a = node.inputs
        return lambda: self.on(out_grad, a), lambda: self.bend(out_grad, h, a)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (h, a), (s, t) = node.inputs, tangents
        return plus(None if s is None else self.on(s, a), None if t is None else self.bend(t, h, a))

    def bend(self, u: Any, h: Any, a: Any) -> Any:
        """The derivative by a of the sum of u times the slope along h. The form is symmetric in u, h and a direction of
        a: x is the gradient of n / s, so this is a third derivative."""
        axes = self.settings.axes
        n, total = count_along(a.shape, axes), Summation(axes, keepdims=True)
        x, by_u, by_h = Normalize(self.settings).on(a), self.on(u, a), self.on(h, a)
        found = total.on(u * by_h) * x + total.on(h * x) * by_u + total.on(u * x) * by_h
        variance = Var(axes, 0, True).on(a) if self.settings.centered else total.on(a * a) / n
        return found * (self.settings.scale(variance) * (-1 / n))

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        size = next(len(v) for v, depth in zip(values, depths, strict=True) if depth is not None)
        pairs = zip(values, depths, strict=True)
        both = [np.broadcast_to(v, (size, *v.shape)) if depth is None else v for v, depth in pairs]
        return type(self)(self.settings.batched())(*both)


class NormalizeAdjoints(TensorTupleOp):
    """The adjoints of a, weight and bias for that of y, g: a gradient in one pass."""

    saves = ("inputs",)
    __slots__ = ("settings",)

    def __init__(self, settings: Settings):
        self.settings = settings

    def compute(self, g: Any, a: Any, weight: Any) -> Any:
        return _pulled_back(self.settings, g, a, weight)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (g, a, weight), (u, v, z) = node.inputs, out_grad
        slope, x = SlopeOfNormalize(self.settings), Normalize(self.settings)

        def by_g() -> Any:
            found = None if u is None else slope.on(u, a) * weight
            if v is not None:
                found = plus(found, x.on(a) * v)
            return found if z is None else plus(found, spread(z, a.shape))

        def by_a() -> Any:
            found = None if u is None else slope.bend(u, g * weight, a)
            return found if v is None else plus(found, slope.on(g * v, a))

        moves_a = u is not None or v is not None
        return by_g, by_a if moves_a else None, None if u is None else lambda: g * slope.on(u, a)


def _adjoints(settings: Settings, g: Any, a: Any, *weights: Any) -> Any:
    """What the rule of y returns: its adjoints are computed together, when one is asked for."""
    if not weights:
        return lambda: SlopeOfNormalize(settings).on(g, a)
    found: list[Any] = []

    def adjoint(i: int) -> Any:
        if not found:
            found.append(NormalizeAdjoints(settings).on(g, a, weights[0]))
        return found[0][i]

    return tuple([partial(adjoint, i) for i in range(1 + len(weights))])


def _as_tuple(adjoints: Any) -> tuple[Any, ...]:
    return adjoints if type(adjoints) is tuple else (adjoints,)


def _batches(values: tuple[Any, ...], depths: tuple[int | None, ...]) -> list[Any]:
    """The inputs, each with the batch axis that some have, in shapes that broadcast."""
    size = next(len(v) for v, depth in zip(values, depths, strict=True) if depth is not None)
    a, *weights = aligned(values, depths)
    a = np.broadcast_to(a, (size, *a.shape)) if depths[0] is None else a
    if weights and any(depth is not None for depth in depths[1:]):
        shape = np.broadcast_shapes(*[w.shape for w in weights])
        weights = [spread(w, shape) for w in weights]
    return [a, *weights]


def _hint(a: Any, *weights: Any) -> str:
    for what, w in zip(("weight", "bias"), weights, strict=False):
        try:
            fits = np.broadcast_shapes(a.shape, w.shape) == a.shape
        except ValueError:
            fits = False
        if not fits:
            return f"the {what} has shape {w.shape}, and must broadcast to the input's, {a.shape}"
    if len(weights) > 1 and weights[0].shape != weights[1].shape:
        return f"weight and bias must have one shape, got {weights[0].shape} and {weights[1].shape}"
    return ""


# --------------------------------------------------------------------------------------------------------- functions


def layer_norm(a: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, axes: Axes = -1) -> Tensor:
    """The numbers along axes less their mean, over sqrt(variance + eps), times weight, plus bias.

    The weight and the bias have the shape of these axes. The variance is the biased one. float16 is computed in
    float32. From Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """
    return _layer_norm("layer_norm", a, (weight, bias), axes, Settings((), float(eps)))


def rms_norm(a: Any, weight: Any = None, eps: float | None = None, axes: Axes = -1) -> Tensor:
    """The numbers along axes over sqrt(mean of their squares + eps), times weight, of the shape of these axes.

    `eps=None` is the distance from 1 to the next number of the dtype. From Zhang and Sennrich, "Root Mean Square Layer
    Normalization", 2019.
    """
    a = as_value(a)
    eps = float(np.finfo(a.dtype if a.dtype.kind == "f" else np.float64).eps) if eps is None else eps
    return _layer_norm("rms_norm", a, (weight, None), axes, Settings((), float(eps), centered=False))


def _layer_norm(name: str, a: Any, weights: Any, axes: Axes, settings: Settings) -> Any:
    a = _real(name, a)
    over = normalize_axes(name, axes, a.ndim)
    return Normalize(settings._replace(axes=over))(a, *_weights(name, a, over, weights))


def batch_norm(
    a: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, axes: Axes = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The numbers along axes (None: all but axis 1) normalized as by `layer_norm`, their mean and their variance.

    The weight, the bias, the mean and the biased variance have the shape of the other axes: one number a channel. From
    Ioffe and Szegedy, "Batch Normalization", 2015.
    """
    a = _real("batch_norm", a)
    over = normalize_axes("batch_norm", (0, *range(2, a.ndim)) if axes is None else axes, a.ndim)
    given = _weights("batch_norm", a, tuple([i for i in range(a.ndim) if i not in over]), (weight, bias))
    y, mean, variance = NormalizeWithMoments(Settings(over, float(eps)))(a, *given)
    return y, mean, variance


def group_norm(a: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """The channels (axis 1) in so many groups, each normalized with all that follows; then scaled and shifted by
    channel. One group is layer normalization, a group for each channel instance normalization.

    From Wu and He, "Group Normalization", 2018.
    """
    a = _real("group_norm", a)
    if a.ndim < 2 or groups < 1 or a.shape[1] % groups:
        raise ValueError(
            f"group_norm: needs an input of shape (N, C, ...) whose C channels are a multiple of groups={groups}, got "
            f"{a.shape}"
        )
    given = _weights("group_norm", a, (1,), (weight, bias))
    n, channels, *rest = a.shape
    split = groups, channels // groups, *[1] * len(rest)
    inner = a.reshape((n, groups, channels // groups, *rest))
    op = Normalize(Settings(tuple(range(2, inner.ndim)), float(eps)))
    return op(inner, *[w.reshape(split) for w in given]).reshape(a.shape)


def _real(name: str, a: Any) -> Any:
    a = as_value(a)
    if a.dtype.kind == "c":
        raise TypeError(f"{name}: needs real numbers, got {a.dtype}; normalize a.real and a.imag")
    return a


def _weights(name: str, a: Any, axes: tuple[int, ...], weights: Any) -> tuple[Any, ...]:
    """The weight and the bias that there are, which have the shape of these axes, in shapes that broadcast to a."""
    shape = tuple([a.shape[axis] for axis in axes])
    if weights[0] is None and weights[1] is not None:
        raise ValueError(f"{name}: a bias needs a weight beside it; pass weight=np.ones({shape})")
    given = [as_value(w) for w in weights if w is not None]
    for what, w in zip(("weight", "bias"), given, strict=False):
        if w.shape != shape:
            raise ValueError(
                f"{name}: the {what} must have the shape {shape} for an input of shape {a.shape}, got {w.shape}"
            )
    beside = tuple([a.shape[i] if i in axes else 1 for i in range(min(axes, default=0), a.ndim)])
    return tuple([w if w.shape == beside else w.reshape(beside) for w in given])
