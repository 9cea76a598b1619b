"""np.pad: edges around an array, of constants or made from its elements."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from ..autograd import Tensor
from ..ops.discrete import discrete
from ..ops.indexing import AddAt
from ..ops.rearranging import rearranged
from .common import array_of, normal_axis, tensor
from .creation import linspace
from .joining import concatenate, stack
from .manipulation import flip, moveaxis, squeeze
from .quantiles import median
from .statistics import max as amax
from .statistics import mean
from .statistics import min as amin

Widths: TypeAlias = list[tuple[int, int]]

_OPTIONS = {
    "constant": "constant_values",
    "empty": "",
    "edge": "",
    "wrap": "",
    "reflect": "reflect_type",
    "symmetric": "reflect_type",
    "linear_ramp": "end_values",
    "maximum": "stat_length",
    "minimum": "stat_length",
    "mean": "stat_length",
    "median": "stat_length",
}


def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Tensor:
    """The array with edges around it, in all of NumPy's modes; what is made from elements, or from `constant_values`
    and `end_values`, is differentiable.

    `pad_width` is a number, (before, after), one such pair for each axis, or a dict of axes. A function as mode is
    called as NumPy calls it, and assigns to the Tensor it is given. With mode "empty" the edges are 0.
    """
    a = tensor(array)
    widths = _widths(pad_width, a.ndim)
    if callable(mode):
        return _by_function(a, widths, mode, kwargs)
    if mode not in _OPTIONS:
        raise ValueError(f"pad: mode must be a function or one of {', '.join(_OPTIONS)}, got {mode!r}")
    if kwargs.keys() - {_OPTIONS[mode]}:
        raise ValueError(
            f"pad: unsupported keyword arguments for mode {mode!r}: it takes {_OPTIONS[mode] or 'no options'}, got "
            f"{', '.join(kwargs)}"
        )
    if mode == "empty" or (mode == "constant" and not kwargs):
        return _with_zeros(a, widths)
    if mode != "constant" and not a.size:
        if any(n == 0 and any(pair) for n, pair in zip(a.shape, widths, strict=True)):
            raise ValueError(
                f"pad: an axis without elements can be padded with constants only, got shape {a.shape} (can't extend "
                f"empty axis {a.shape.index(0)} using modes other than 'constant' or 'empty')"
            )
        return _with_zeros(a, widths)
    if mode in ("edge", "wrap") or (_OPTIONS[mode] == "reflect_type" and kwargs.get("reflect_type", "even") == "even"):
        return rearranged(np.pad, a, widths, mode=mode)
    grown, options = _MODES[mode], _by_axis(mode, kwargs.get(_OPTIONS[mode]), a)
    for axis, (before, after) in enumerate(widths):
        if before or after:
            a = grown(a, axis, before, after, options[axis])
    return a


def _widths(pad_width: Any, ndim: int) -> Widths:
    """How many elements come before and after each axis."""
    if isinstance(pad_width, dict):
        by_axis = {normal_axis("pad", axis, ndim): width for axis, width in pad_width.items()}
        pad_width = [np.broadcast_to(by_axis.get(axis, 0), 2) for axis in range(ndim)] or 0
    widths = array_of(pad_width)
    if widths.dtype.kind not in "iu":
        raise TypeError(f"pad: `pad_width` must be of integral type. Got dtype {widths.dtype}")
    if (widths < 0).any():
        raise ValueError(
            f"pad: index can't contain negative values, got pad_width {pad_width!r}; a slice takes elements away"
        )
    try:
        return [(before, after) for before, after in np.broadcast_to(widths, (ndim, 2)).tolist()]
    except ValueError as error:
        raise ValueError(
            f"pad: pad_width must be a number, (before, after), or such a pair for each of the {ndim} axes, got "
            f"{pad_width!r} ({error})"
        ) from error


def _by_axis(mode: str, option: Any, a: Tensor) -> Any:
    """The option's two values for each axis."""
    if _OPTIONS[mode] == "reflect_type":
        if option != "odd":
            raise ValueError(f"pad: reflect_type must be 'even' or 'odd', got {option!r}")
        return [None] * a.ndim
    if _OPTIONS[mode] == "stat_length":
        lengths = np.broadcast_to(np.array(option, dtype=object), (a.ndim, 2)).tolist()
        if any(n is not None and n < 0 for pair in lengths for n in pair):
            raise ValueError(f"pad: index can't contain negative values, got stat_length {option!r}")
        return lengths
    values = tensor(0 if option is None else option, None if mode == "linear_ramp" else a.dtype)
    return values.broadcast_to((a.ndim, 2))


def _with_zeros(a: Tensor, widths: Widths) -> Tensor:
    shape = tuple([before + n + after for n, (before, after) in zip(a.shape, widths, strict=True)])
    inside = tuple([slice(before, before + n) for n, (before, _) in zip(a.shape, widths, strict=True)])
    return AddAt(shape, a.dtype, [inside])(a)


def _at(axis: int, start: int | None, stop: int | None) -> Any:
    """The index of a part along an axis."""
    return (*(slice(None),) * axis, slice(start, stop))


def _repeated(edge: Tensor, axis: int, count: int, like: Tensor) -> Tensor:
    """A part that is 1 long along an axis, or a number, as often as it is to stand there."""
    return edge.broadcast_to((*like.shape[:axis], count, *like.shape[axis + 1 :]))


def _constant(a: Tensor, axis: int, before: int, after: int, values: Any) -> Tensor:
    first, last = _repeated(values[0], axis, before, a), _repeated(values[1], axis, after, a)
    return concatenate((first, a, last), axis)


def _linear_ramp(a: Tensor, axis: int, before: int, after: int, ends: Any) -> Tensor:
    def ramp(end: Tensor, edge: Tensor, count: int) -> Tensor:
        return linspace(end, squeeze(edge, axis), count, endpoint=False, dtype=a.dtype, axis=axis)

    first, last = ramp(ends[0], a[_at(axis, 0, 1)], before), ramp(ends[1], a[_at(axis, -1, None)], after)
    return concatenate((first, a, flip(last, axis)), axis)


def _statistic(
    of: Callable[..., Tensor], a: Tensor, axis: int, before: int, after: int, lengths: tuple[int | None, int | None]
) -> Tensor:
    """Edges of a statistic of so many elements on either side: all of them by default."""
    n = a.shape[axis]
    first, last = (n if length is None else min(length, n) for length in lengths)
    if 0 in (first, last) and of in (amax, amin):
        raise ValueError("pad: stat_length must be at least 1 for a maximum or minimum, got 0")

    def value(part: Tensor) -> Tensor:
        found = of(part, axis=axis, keepdims=True)
        return tensor(discrete(np.rint, found) if a.dtype.kind in "iu" else found, a.dtype)

    left, right = value(a[_at(axis, 0, first)]), value(a[_at(axis, n - last, n)])
    return concatenate((_repeated(left, axis, before, a), a, _repeated(right, axis, after, a)), axis)


def _odd(offset: int, a: Tensor, axis: int, before: int, after: int, _: Any) -> Tensor:
    """Reflected about the edges' points: with offset 0 the edge is repeated, with 1 it is not. Edges that are longer
    than the array take several reflections, each about the edges that the one before has made."""
    step = a.shape[axis] - offset  # a reflection is of whole copies of the array
    if step == 0:
        return rearranged(np.pad, a, [(0, 0)] * axis + [(before, after)] + [(0, 0)] * (a.ndim - axis - 1), mode="edge")
    while before or after:
        n = a.shape[axis]
        whole = (n - offset) // step * step
        left, right = min(before, whole), min(after, whole)
        first = 2 * a[_at(axis, 0, 1)] - flip(a[_at(axis, offset, offset + left)], axis)
        last = 2 * a[_at(axis, n - 1, n)] - flip(a[_at(axis, n - offset - right, n - offset)], axis)
        a, before, after = concatenate((first, a, last), axis), before - left, after - right
    return a


def _by_function(a: Tensor, widths: Widths, function: Callable[..., Any], options: Any) -> Tensor:
    a = _with_zeros(a, widths)
    for axis, width in enumerate(widths):
        moved = moveaxis(a, axis, -1)
        rows = list(moved.reshape((moved.size // max(moved.shape[-1], 1), moved.shape[-1])))
        for row in rows:
            function(row, width, axis, options)
        if rows:
            a = moveaxis(stack(rows).reshape(moved.shape), -1, axis)
    return a


_MODES: dict[str, Callable[..., Tensor]] = {
    "constant": _constant,
    "linear_ramp": _linear_ramp,
    "maximum": partial(_statistic, amax),
    "minimum": partial(_statistic, amin),
    "mean": partial(_statistic, mean),
    "median": partial(_statistic, median),
    "reflect": partial(_odd, 1),
    "symmetric": partial(_odd, 0),
}
