"""The largest elements and the means of windows along some axes.

Axes are taken one after the other where that gives the same: of 3 x 3 elements, 2 + 2 are compared instead of 8.
Results lie in memory as their inputs do, whichever axis the channels are.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..autograd import ZERO, Axes, Tensor, TensorOp, as_value, constant
from ..autograd import Masked as MaskedAdjoint
from .base import Linear, as_floats, normalize_axes, several
from .columns import Windows
from .convolution import each_axis, pairs_of
from .joining import all_batched
from .reduction import mean
from .selection import MASKED, chosen, masked_into
from .shape import permute_dims


class Pool(NamedTuple):
    """Windows along each of these axes, which are not negative."""

    axes: tuple[int, ...]
    windows: tuple[Windows, ...]

    def along_each(self) -> list[Pool]:
        return [Pool((axis,), (windows,)) for axis, windows in zip(self.axes, self.windows, strict=True)]

    def behind_batch(self) -> Pool:
        return self._replace(axes=tuple([axis + 1 for axis in self.axes]))

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one number a window, for an array of this shape."""
        outputs = dict(zip(self.axes, [w.outputs for w in self.windows], strict=True))
        return tuple([outputs.get(axis, n) for axis, n in enumerate(shape)])

    def taps(self, shape: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
        """For each tap that meets an array of this shape: the index of its windows, and that of its elements."""
        pairs = zip(self.axes, self.windows, strict=True)
        for met in product(*[list(windows.meetings(shape[axis])) for axis, windows in pairs]):
            of_windows, of_elements = [slice(None)] * len(shape), [slice(None)] * len(shape)
            for axis, (window, place) in zip(self.axes, met, strict=True):
                of_windows[axis], of_elements[axis] = window, place
            yield tuple(of_windows), tuple(of_elements)

    @property
    def overlap(self) -> bool:
        """Whether an element may be in several windows."""
        return any(w.stride <= (w.taps - 1) * w.dilation for w in self.windows)


class SumPool(Linear):
    """The sum of each window."""

    notation = "sum_pool({0}, {pool})"
    saves = ()
    __slots__ = ("pool",)

    def __init__(self, pool: Pool):
        self.pool = pool

    def compute(self, a: Any) -> Any:
        wide = a.astype(np.float32) if a.dtype == np.float16 else a
        return _combined(np.add, wide, self.pool, 0).astype(a.dtype, copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return SpreadPool(self.pool, node.inputs[0].shape).on(out_grad)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return SumPool(self.pool.behind_batch())(values[0])


class SpreadPool(Linear):
    """An array of this shape in which each element is the sum over the windows that it is in."""

    notation = "spread_pool({0}, {pool}, {shape})"
    saves = ()
    __slots__ = ("pool", "shape")

    def __init__(self, pool: Pool, shape: tuple[int, ...]):
        self.pool = pool
        self.shape = shape

    def compute(self, a: Any) -> Any:
        out = a.astype(np.float32) if a.dtype == np.float16 else a
        for along in self.pool.along_each():
            (axis,) = along.axes
            shape = (*out.shape[:axis], self.shape[axis], *out.shape[axis + 1 :])
            into = _like(out, shape)
            into.fill(0)
            for windows, elements in along.taps(shape):
                if along.overlap:
                    into[elements] += out[windows]
                else:
                    into[elements] = out[windows]
            out = into
        return out.astype(a.dtype, copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return SumPool(self.pool).on(out_grad)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return SpreadPool(self.pool.behind_batch(), (len(values[0]), *self.shape))(values[0])


class MaxPool(TensorOp):
    """The largest element of each window."""

    notation = "max_pool({0}, {pool})"
    saves = ("inputs", "output")
    __slots__ = ("pool",)

    def __init__(self, pool: Pool):
        self.pool = pool

    def compute(self, a: Any) -> Any:
        return _combined(np.maximum, a, self.pool, _lowest(a.dtype))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, y, op = node.inputs[0], node.output, FromMaxima(self.pool)
        if isinstance(out_grad, np.ndarray):  # a sweep over arrays asks only whether there is a mask
            return MaskedAdjoint(op.on(out_grad, a, y), _EVERYWHERE)
        ones = constant(np.ones(y.shape, np.float32))
        return chosen(op.on(out_grad, a, y), op.on(ones, a, y) > 0)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return OfMaxima(self.pool).on(tangents[0], node.inputs[0], node.output)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return MaxPool(self.pool.behind_batch())(values[0])


class _WithMaxima(TensorOp):
    """An op on a value, on an array a and on the maxima y of its windows. It is linear in the value; a and y only say
    which elements are the largest of their windows."""

    saves = ("inputs",)
    __slots__ = ("pool",)
    transposed: type[_WithMaxima]

    def __init__(self, pool: Pool):
        self.pool = pool

    def compute(self, value: Any, a: Any, y: Any) -> Any:
        value = as_floats(value)
        wide = value.astype(np.float32) if value.dtype == np.float16 else value
        return self.moved(wide, *_maxima(a, y, self.pool)).astype(value.dtype, copy=False)

    def moved(self, value: Any, ties: Any, stages: list[_Stage]) -> Any:
        """The value at the other end of the stages from an array to the maxima of its windows. There are so many equal
        maxima in each window, or one in each if `ties` is None."""
        raise NotImplementedError

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return self.transposed(self.pool).on(out_grad, *node.inputs[1:]), ZERO, ZERO

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return None if tangents[0] is None else self.on(tangents[0], *node.inputs[1:])

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return type(self)(self.pool.behind_batch())(*all_batched(values, depths))

    def reaches(self, plain: tuple[Any, ...], masks: list[Any]) -> Any:
        mask = constant(np.ones(plain[0].shape, bool)) if masks[0] is None else masks[0]
        return self(mask.astype(np.float32), *plain[1:]) > 0, [None, None, None]


class FromMaxima(_WithMaxima):
    """To the largest elements of each window, equal shares of the window's value."""

    __slots__ = ()

    def moved(self, value: Any, ties: Any, stages: list[_Stage]) -> Any:
        value = value if ties is None else value / ties.astype(value.dtype)
        for stage in reversed(stages):
            value = stage.spread(value)
        return value


class OfMaxima(_WithMaxima):
    """The mean of the values at the largest elements of each window."""

    __slots__ = ()

    def moved(self, value: Any, ties: Any, stages: list[_Stage]) -> Any:
        for stage in stages:
            value = stage.collected(value)
        return value if ties is None else value / ties.astype(value.dtype)


FromMaxima.transposed, OfMaxima.transposed = OfMaxima, FromMaxima
_EVERYWHERE = np.True_


_FEW_TAPS = 4
"""Windows of at most so many elements are looked at as they are, not axis by axis."""


class _Stage(NamedTuple):
    """From an array to the maxima of its windows along one axis, or along all of them."""

    along: Pool
    a: Any
    masks: list[tuple[Any, Any, Any]]
    """For each tap: the index of its windows, that of its elements, and where these are their windows' maxima."""

    def spread(self, value: Any) -> Any:
        """Each window's value, to all of its maxima."""
        out = _like(self.a, self.a.shape, value.dtype)
        if self.along.overlap or sum(mask.size for _, _, mask in self.masks) < out.size:
            out.fill(0)
        for windows, elements, mask in self.masks:
            if self.along.overlap:
                out[elements] += MASKED.compute(value[windows], mask)
            else:
                masked_into(out[elements], value[windows], mask)
        return out

    def collected(self, value: Any) -> Any:
        """The sum of the values of each window's maxima."""
        out = _like(self.a, self.along.shape(self.a.shape), value.dtype)
        out.fill(0)
        for windows, elements, mask in self.masks:
            out[windows] += MASKED.compute(value[elements], mask)
        return out


def _maxima(a: Any, y: Any, pool: Pool) -> tuple[Any, list[_Stage]]:
    """How many elements of each window are its maximum y, None for one each; and the stages from a to y."""
    counts, stages = None, []
    taps, maxima = prod([w.taps for w in pool.windows]), y
    has_nan = y.dtype.kind in "fc" and bool(np.isnan(np.maximum.reduce(y, None, initial=-np.inf)))
    axes = [pool] if taps <= _FEW_TAPS else pool.along_each()
    for along in axes:
        y = maxima if along is axes[-1] else _combined(np.maximum, a, along, _lowest(a.dtype))
        nan = np.isnan(y) if has_nan else None
        total = _like(y, y.shape, np.uint8 if taps < 256 else np.intp)
        total.fill(0)
        masks = []
        for windows, elements in along.taps(a.shape):
            mask = a[elements] == y[windows]
            if nan is not None:
                mask |= nan[windows] & np.isnan(a[elements])
            ones = mask.view(np.uint8)
            total[windows] += ones if counts is None else ones * counts[elements]
            masks.append((windows, elements, mask))
        stages.append(_Stage(along, a, masks))
        counts = total if counts is not None or total.max(initial=0) > 1 else None
        a = y
    return (None if counts is None else np.maximum(counts, 1)), stages


def max_pool(
    a: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    dilation: Any = 1,
    ceil_mode: bool = False,
    axes: Axes = None,
) -> Tensor:
    """The largest element of each window. Equal elements share its gradient evenly; NaN is larger than all.

    Windows lie along the axes between the first and the last, as in images (n, height, width, channels), or along
    `axes`. `kernel_size`, `stride` (by default the kernel's size), `padding` and `dilation` are one number, or one for
    each axis; `padding` may be pairs (before, after). What is padded is never the largest. An axis becomes (length +
    padding - dilation * (kernel_size - 1) - 1) / stride + 1 long, rounded down, or up with `ceil_mode`: then each
    window still begins in the array or before it. Raises ValueError for what does not fit.
    """
    a = as_value(a, "max_pool")
    geometry = _Geometry("max_pool", a.shape, axes, ceil_mode)
    return MaxPool(geometry.pool(kernel_size, stride, padding, dilation))(a)


def avg_pool(
    a: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    axes: Axes = None,
) -> Tensor:
    """The mean of each window; what is padded counts as 0, or with `count_include_pad=False` not at all.

    The other arguments are those of `max_pool`. Integers give float64.
    """
    a = as_floats(as_value(a, "avg_pool"))
    geometry = _Geometry("avg_pool", a.shape, axes, ceil_mode)
    pool = geometry.pool(kernel_size, stride, padding)
    counts: Any = 1
    for axis, windows in zip(pool.axes, pool.windows, strict=True):
        margins = geometry.pairs[pool.axes.index(axis)] if count_include_pad else (0, 0)
        shape = [1] * a.ndim
        shape[axis] = windows.outputs
        counts = counts * _counts(windows, a.shape[axis], margins).reshape(shape)
    count = int(counts.flat[0])
    return SumPool(pool)(a) / (count if (counts == count).all() else constant(counts.astype(a.dtype)))


def adaptive_avg_pool(a: Any, output_size: Any, *, axes: Axes = None) -> Tensor:
    """The means of as many windows as `output_size` says, one number or one for each axis (None: as the axis is).

    Window i of m over an axis of n elements is from floor(i * n / m) to ceil((i + 1) * n / m), as in PyTorch. With
    `output_size` 1, this is the mean over the axes, which stay. `axes` are those of `max_pool`; integers give float64.
    """
    a = as_floats(as_value(a, "adaptive_avg_pool"))
    chosen_axes = _Geometry("adaptive_avg_pool", a.shape, axes).axes
    given = several(output_size)
    given = given * len(chosen_axes) if len(given) == 1 else given
    sizes = [a.shape[axis] if n is None else n for n, axis in zip(given, chosen_axes, strict=False)]
    sizes = list(each_axis("adaptive_avg_pool", "output_size", (*sizes, *given[len(sizes) :]), len(chosen_axes), 1))
    if all(n == 1 for n in sizes):
        return mean(a, chosen_axes, keepdims=True)
    for axis, size in zip(chosen_axes, sizes, strict=True):
        n = a.shape[axis]
        if n % size == 0:
            a = avg_pool(a, n // size, axes=axis) if n > size else a
            continue
        places, i = np.arange(n), np.arange(size)[:, None]
        inside = (places >= i * n // size) & (places < -(-(i + 1) * n // size))
        means = constant((inside / inside.sum(1, keepdims=True)).astype(a.dtype))
        order = (*range(axis), *range(axis + 1, a.ndim), axis)
        a = permute_dims(permute_dims(a, order) @ means.mT, (*range(axis), a.ndim - 1, *range(axis, a.ndim - 1)))
    return a


class _Geometry:
    """Where the windows of a function of this name lie on an array of this shape."""

    def __init__(self, name: str, shape: tuple[int, ...], axes: Axes, ceil_mode: bool = False):
        self.name, self.shape, self.ceil_mode = name, shape, ceil_mode
        if axes is None and len(shape) < 3:
            raise ValueError(
                f"{name}: needs (n, length, channels) or (n, height, width, channels), got shape {shape}; or name the "
                "axes of the windows, like axes=-1"
            )
        given = tuple(range(1, len(shape) - 1)) if axes is None else several(axes)
        normalize_axes(name, given, len(shape))
        self.axes = tuple([axis % len(shape) for axis in given])

    def pool(self, kernel_size: Any, stride: Any, padding: Any, dilation: Any = 1) -> Pool:
        """The windows; also notes the `pairs` of padding along each axis."""
        name, count = self.name, len(self.axes)
        kernel = each_axis(name, "kernel_size", kernel_size, count, 1)
        strides = each_axis(name, "stride", kernel if stride is None else stride, count, 1)
        dilations = each_axis(name, "dilation", dilation, count, 1)
        reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        self.pairs = pairs_of(name, padding, reach)
        found = []
        for axis, k, s, d, r, (before, after) in zip(
            self.axes, kernel, strides, dilations, reach, self.pairs, strict=True
        ):
            if max(before, after) > (r + 1) / 2:
                raise ValueError(
                    f"{name}: padding must be at most half of the kernel, else windows would hold nothing but padding; "
                    f"got padding {padding!r} for kernel_size {kernel_size!r}"
                )
            room = self.shape[axis] + before + after - r - 1
            outputs = (-(-room // s) if self.ceil_mode else room // s) + 1
            if self.ceil_mode and (outputs - 1) * s >= self.shape[axis] + before:
                outputs -= 1
            if room < 0 or outputs < 1:
                raise ValueError(
                    f"{name}: windows of {r + 1} elements are larger than axis {axis} of shape {self.shape} with its "
                    f"padding {padding!r}; pad more, or take a smaller kernel"
                )
            found.append(Windows(-before, s, d, k, outputs))
        return Pool(self.axes, tuple(found))


def _counts(windows: Windows, size: int, margins: tuple[int, int]) -> Any:
    """How many taps of each window lie on an axis of this size with these margins."""
    first = windows.start + windows.stride * np.arange(windows.outputs)
    return np.minimum(first + windows.taps, size + margins[1]) - np.maximum(first, -margins[0])


def _like(a: Any, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """An array that lies in memory as a does."""
    return np.empty_like(a, dtype, shape=shape, subok=False)


def _lowest(dtype: Any) -> Any:
    """What no number of this dtype is less than."""
    return -np.inf if dtype.kind in "fc" else np.iinfo(dtype).min if dtype.kind in "iu" else False


def _combined(ufunc: Any, a: Any, pool: Pool, nothing: Any) -> Any:
    """What the ufunc makes of the elements of each window, axis by axis; `nothing` where there are none."""
    for along in pool.along_each():
        shape = along.shape(a.shape)
        taps = [(windows, a[elements]) for windows, elements in along.taps(a.shape)]
        out = _like(a, shape)
        if len(taps) > 1 and taps[0][1].shape == taps[1][1].shape == shape:
            ufunc(taps[0][1], taps[1][1], out=out)
            taps = taps[2:]
        else:
            out.fill(nothing)
        for windows, elements in taps:
            ufunc(out[windows], elements, out=out[windows])
        a = out
    return a
