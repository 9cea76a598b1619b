"""Calculus on samples: differences, derivatives, integrals, interpolation, convolution, continuous angles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..autograd import Tensor, gradient_dtype
from ..ops.base import several
from ..ops.cumulative import BUT_FIRST, BUT_LAST, along
from ..ops.discrete import discrete
from ..ops.joining import Concatenate
from ..ops.power import zero_safe_multiply
from ..ops.selection import where as choose
from .common import array_of, normal_axis, tensor
from .elementwise import imag, real

# ---------------------------------------------------------------------------------------------------- differences


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """The differences of neighbours along an axis, taken n times, after something was put before and behind."""
    if n < 0:
        raise ValueError(f"diff: n, how often differences are taken, must not be negative, got {n}")
    a = tensor(a)
    if n == 0:
        return a
    if a.ndim == 0:
        raise ValueError("diff: a number has no neighbours; a needs at least one axis")
    axis = normal_axis("diff", axis, a.ndim) - a.ndim
    ends = [None if end is None else _one_thick(tensor(end), a.shape, axis) for end in (prepend, append)]
    parts = [part for part in (ends[0], a, ends[1]) if part is not None]
    a = Concatenate(axis)(*parts) if len(parts) > 1 else a
    for _ in range(n):
        later, earlier = a[along(axis, BUT_FIRST)], a[along(axis, BUT_LAST)]
        a = later != earlier if a.dtype.kind == "b" else later - earlier
    return a


def _one_thick(end: Tensor, shape: tuple[int, ...], axis: int) -> Tensor:
    """A number as one layer of an array of this shape, across the axis; anything else as it is."""
    return end if end.ndim else end.broadcast_to([1 if i == axis + len(shape) else n for i, n in enumerate(shape)])


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Tensor:
    """The differences of neighbours in row-major order, between what is given to begin and to end with."""
    ary = tensor(ary).reshape(-1)
    parts = [ary[1:] - ary[:-1]]
    for name, end in (("to_end", to_end), ("to_begin", to_begin)):
        if end is None:
            continue
        end = tensor(end).reshape(-1)
        if not np.can_cast(end.dtype, ary.dtype, "same_kind"):
            raise TypeError(f"ediff1d: {name} must fit in the dtype {ary.dtype} of ary, got {end.dtype}; convert it")
        end = tensor(end, ary.dtype)
        parts = [*parts, end] if name == "to_end" else [end, *parts]
    return Concatenate()(*parts) if len(parts) > 1 else parts[0]


# ------------------------------------------------------------------------------------- derivatives and integrals


def gradient(f: Any, *varargs: Any, axis: int | Sequence[int] | None = None, edge_order: int = 1) -> Any:
    """The derivatives of sampled values along axes, by second-order central differences, at the ends one-sided ones.

    Distances are one number, one number an axis, or coordinates along an axis; by all of these it is differentiable.
    It returns a Tensor for one axis, a tuple of them for several.
    """
    f = tensor(f)
    given = range(f.ndim) if axis is None else several(axis)
    axes = [normal_axis("gradient", i, f.ndim) for i in given]
    if len(set(axes)) < len(axes):
        raise ValueError(f"gradient: axis {axis} names an axis of the {f.ndim}-d input twice; name each once")
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order must be 1 or 2, got {edge_order}")
    if len(varargs) not in (0, 1, len(axes)) or (len(varargs) == 1 != len(axes) and tensor(varargs[0]).ndim):
        raise TypeError(
            f"gradient: give no distance, one number, or one for each of the {len(axes)} axes; got {len(varargs)}"
        )
    distances = varargs if len(varargs) == len(axes) else [varargs[0] if varargs else 1.0] * len(axes)
    dtype = gradient_dtype(f.dtype)
    found = [
        tensor(_derivative(tensor(f, dtype), i - f.ndim, _steps(distance, f.shape[i]), edge_order), dtype)
        for i, distance in zip(axes, distances, strict=True)
    ]
    return found[0] if len(found) == 1 else tuple(found)


def _steps(distance: Any, length: int) -> Any:
    """The distances of neighbours: a number, or a Tensor of one dimension."""
    if isinstance(distance, (int, float, complex)):
        return distance
    distance = tensor(distance)
    if distance.ndim > 1:
        raise ValueError(f"gradient: distances must be numbers or have one dimension, got shape {distance.shape}")
    if distance.ndim == 0:
        return distance
    if len(distance) != length:
        raise ValueError(f"gradient: coordinates along an axis of length {length} must be as many, got {len(distance)}")
    return diff(tensor(distance, gradient_dtype(distance.dtype)))


def _derivative(f: Tensor, axis: int, steps: Any, edge_order: int) -> Tensor:
    if f.shape[axis] <= edge_order:
        raise ValueError(
            f"gradient: with edge_order={edge_order}, axes need {edge_order + 1} elements or more, got shape {f.shape}"
        )

    def part(start: int | None, stop: int | None) -> Tensor:
        return f[along(axis, slice(start, stop))]

    if isinstance(steps, Tensor) and steps.ndim:
        steps = steps.reshape((-1, *(1,) * (-1 - axis)))
        before, behind = steps[:-1], steps[1:]
        rises = diff(f, axis=axis) / steps
        low, high = rises[along(axis, BUT_LAST)], rises[along(axis, BUT_FIRST)]
        inner = (behind * low + before * high) / (before + behind)
        first, last = rises[along(axis, slice(1))], rises[along(axis, slice(-1, None))]
        if edge_order == 2:
            bends = (high - low) / (before + behind)
            first = first - steps[:1] * bends[along(axis, slice(1))]
            last = last + steps[-1:] * bends[along(axis, slice(-1, None))]
    else:
        inner = (part(2, None) - part(None, -2)) / (2 * steps)
        if edge_order == 1:
            first, last = (part(1, 2) - part(0, 1)) / steps, (part(-1, None) - part(-2, -1)) / steps
        else:
            first = (-1.5 * part(0, 1) + 2.0 * part(1, 2) - 0.5 * part(2, 3)) / steps
            last = (0.5 * part(-3, -2) - 2.0 * part(-2, -1) + 1.5 * part(-1, None)) / steps
    return Concatenate(axis)(first, inner, last)


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    """The integral of sampled values along an axis by the trapezoidal rule: at coordinates x, or at distances dx."""
    y = tensor(y)
    axis = normal_axis("trapezoid", axis, y.ndim) - y.ndim
    steps = dx
    if x is not None:
        x = tensor(x)
        steps = diff(x).reshape((-1, *(1,) * (-1 - axis))) if x.ndim == 1 else diff(x, axis=axis)
    heights = y[along(axis, BUT_FIRST)] + y[along(axis, BUT_LAST)]
    return ops.summation(steps * heights / 2.0, axis)


trapz = trapezoid  # the older name


# ------------------------------------------------------------------------------------------------- interpolation


def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Tensor:
    """The values at x of the polygon through the points (xp, fp), whose xp increase; `left` and `right` outside.

    It is differentiable by all three: by x at a point from the right, at the last one from the left, and constant
    outside. With a `period`, the points go on and on, and may be in any order. The dtype is float64, or complex128.
    """
    x, xp = tensor(x, np.float64), tensor(xp, np.float64)
    fp = tensor(fp)
    fp = tensor(fp, np.result_type(fp.dtype, np.float64))
    if xp.ndim != 1 or xp.shape != fp.shape or xp.size == 0:
        raise ValueError(
            "interp: xp and fp must be sequences of one dimension and one length, with an element or more; "
            f"got shapes {xp.shape} and {fp.shape}"
        )
    if period is not None:
        x, xp, fp = _periodic(x, xp, fp, period)
        left = right = None
    if fp.dtype.kind == "c":  # by parts: the product of a complex number and an infinite one has NaN
        parts = [interp(x, xp, *[v if v is None else part(v) for v in (fp, left, right)]) for part in (real, imag)]
        both = parts[0].astype(fp.dtype)
        both.imag = parts[1]
        return both
    last = xp.size - 1
    place = array_of(discrete(_place, xp, x))
    low = np.clip(place, 0, max(last - 1, 0))
    high = np.minimum(low + 1, last)
    with np.errstate(invalid="ignore"):
        width = xp[high] - xp[low]
        slope = (fp[high] - fp[low]) / choose(width == 0, 1, width)
    inside = _on_line(x, xp, fp, slope, np.where(place > low, high, low))
    broken = np.isnan(array_of(inside)) & ~np.isnan(array_of(x))
    if broken.any():  # an infinite end, seen from the other one; between equal values, it does not matter
        other = _on_line(x, xp, fp, slope, np.where(place > low, low, high))
        level = np.isnan(array_of(other)) & (array_of(fp)[low] == array_of(fp)[high])
        inside = choose(broken, choose(level, fp[low], other), inside)
    value = choose(x < xp[0], fp[0] if left is None else left, inside)
    return choose(x > xp[-1], fp[-1] if right is None else right, value)


def _on_line(x: Tensor, xp: Tensor, fp: Tensor, slope: Tensor, at: Any) -> Tensor:
    """The value at x of the line of this slope through the points at these indices: at such a point, its own."""
    step = x - xp[at]
    with np.errstate(invalid="ignore"):  # of infinite points, which are seen from the other end
        return fp[at] + choose(step == 0, zero_safe_multiply(step, slope), step * slope)


def _place(xp: Any, x: Any) -> Any:
    """The index of the last point that is not above x, -1 for none."""
    return np.searchsorted(xp, x, "right") - 1


def _periodic(x: Tensor, xp: Tensor, fp: Tensor, period: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The points of one period in order, with a neighbour from the periods before and behind it."""
    if not array_of(tensor(period) != 0):
        raise ValueError("interp: period must be a number other than 0")
    period = abs(period)
    x, xp = x % period, xp % period
    order = array_of(discrete(np.argsort, xp))
    xp, fp = xp[order], fp[order]
    around = Concatenate()(xp[-1:] - period, xp, xp[:1] + period)
    return x, around, Concatenate()(fp[-1:], fp, fp[:1])


# --------------------------------------------------------------------------------------------------- convolution


def convolve(a: Any, v: Any, mode: str = "full") -> Tensor:
    """The discrete convolution of two sequences: "full", "same" (as long as the longer one), or "valid" (no sums in
    which a term is missing)."""
    return _convolved("convolve", tensor(a), tensor(v), mode)


def correlate(a: Any, v: Any, mode: str = "valid") -> Tensor:
    """The cross-correlation of two sequences, the sums of a[n + k] * conj(v[n]); the modes are those of `convolve`."""
    v = tensor(v)
    v = v if v.ndim else v.reshape(1)
    return _convolved("correlate", tensor(a), (v.conj() if v.dtype.kind == "c" else v)[::-1], mode)


def _convolved(name: str, a: Tensor, v: Tensor, mode: Any) -> Tensor:
    a, v = (x if x.ndim else x.reshape(1) for x in (a, v))
    if a.ndim > 1 or v.ndim > 1 or not a.size or not v.size:
        raise ValueError(
            f"{name}: needs two sequences of one dimension, each with an element, got shapes {a.shape} and {v.shape}"
        )
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"{name}: mode must be 'full', 'same' or 'valid', got {mode!r}")
    result = ops.convolve(a, v, mode == "valid")
    if mode != "same":
        return result
    shorter, longer = sorted((a.size, v.size))
    # NumPy correlates the longer with the shorter one, and reverses the result where that is not what was asked for.
    start = shorter // 2 if name == "correlate" and a.size < v.size else (shorter - 1) // 2
    return result[start : start + longer]


# -------------------------------------------------------------------------------------------------------- angles


def unwrap(p: Any, discont: float | None = None, axis: int = -1, *, period: float = 2 * np.pi) -> Tensor:
    """Angles along an axis with full turns added where they jump by more than `discont`, half a period by default."""
    p = tensor(p)
    if p.ndim == 0:
        raise ValueError("unwrap: a number has no neighbours; p needs at least one axis")
    return p + discrete(_turns, p, discont=discont, axis=normal_axis("unwrap", axis, p.ndim), period=period)


def _turns(p: Any, **options: Any) -> Any:
    return np.unwrap(p, **options) - p
