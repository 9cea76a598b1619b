"""Pooling: the sums, means and largest elements of windows along some axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Axes, Tensor, as_value, constant
from .base import Linear, as_floats, given_axes, normalize_axes, several
from .columns import Windows
from .layouts import each_axis, pairs_of
from .maxima import MaxPool
from .pools import Pool, combined, like
from .reduction import mean
from .shape import permute_dims


class SumPool(Linear):
    """The sum of each window."""

    notation = "sum_pool({0}, {pool})"
    saves = ()
    __slots__ = ("pool",)

    def __init__(self, pool: Pool):
        self.pool = pool

    def compute(self, a: Any) -> Any:
        wide = a.astype(np.float32) if a.dtype == np.float16 else a
        return combined(np.add, wide, self.pool, 0).astype(a.dtype, copy=False)

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
            into = like(out, shape)
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


def max_pool(
    a: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    *,
    dilation: Any = 1,
    ceil_mode: bool = False,
    axes: Axes = None,
    axis: Axes = None,
) -> Tensor:
    """The largest element of each window. Equal elements share its gradient evenly; NaN is larger than all.

    Windows lie along the axes between the first and the last, as in images (n, height, width, channels), or along
    `axes`. `kernel_size`, `stride` (by default the kernel's size), `padding` and `dilation` are one number, or one for
    each axis; `padding` may be pairs (before, after). What is padded is never the largest. An axis becomes (length +
    padding - dilation * (kernel_size - 1) - 1) / stride + 1 long, rounded down, or up with `ceil_mode`: then each
    window still begins in the array or before it. Raises ValueError for what does not fit.
    """
    a = as_value(a, "max_pool")
    geometry = _Geometry("max_pool", a.shape, given_axes("max_pool", axes, axis), ceil_mode)
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
    axis: Axes = None,
) -> Tensor:
    """The mean of each window; what is padded counts as 0, or with `count_include_pad=False` not at all.

    The other arguments are those of `max_pool`. Integers give float64.
    """
    a = as_floats(as_value(a, "avg_pool"))
    geometry = _Geometry("avg_pool", a.shape, given_axes("avg_pool", axes, axis), ceil_mode)
    pool = geometry.pool(kernel_size, stride, padding)
    counts: Any = 1
    for place, windows in zip(pool.axes, pool.windows, strict=True):
        margins = geometry.pairs[pool.axes.index(place)] if count_include_pad else (0, 0)
        shape = [1] * a.ndim
        shape[place] = windows.outputs
        counts = counts * _counts(windows, a.shape[place], margins).reshape(shape)
    count = int(counts.flat[0])
    return SumPool(pool)(a) / (count if (counts == count).all() else constant(counts.astype(a.dtype)))


def adaptive_avg_pool(a: Any, output_size: Any, *, axes: Axes = None, axis: Axes = None) -> Tensor:
    """The means of as many windows as `output_size` says, one number or one for each axis (None: as the axis is).

    Window i of m over an axis of n elements is from floor(i * n / m) to ceil((i + 1) * n / m), as in PyTorch. With
    `output_size` 1, this is the mean over the axes, which stay. `axes` are those of `max_pool`; integers give float64.
    """
    a = as_floats(as_value(a, "adaptive_avg_pool"))
    chosen_axes = _Geometry("adaptive_avg_pool", a.shape, given_axes("adaptive_avg_pool", axes, axis)).axes
    given = several(output_size)
    given = given * len(chosen_axes) if len(given) == 1 else given
    sizes = [a.shape[place] if n is None else n for n, place in zip(given, chosen_axes, strict=False)]
    sizes = list(each_axis("adaptive_avg_pool", "output_size", (*sizes, *given[len(sizes) :]), len(chosen_axes), 1))
    if all(n == 1 for n in sizes):
        return mean(a, chosen_axes, keepdims=True)
    for place, size in zip(chosen_axes, sizes, strict=True):
        n = a.shape[place]
        if n % size == 0:
            a = avg_pool(a, n // size, axes=place) if n > size else a
            continue
        places, i = np.arange(n), np.arange(size)[:, None]
        inside = (places >= i * n // size) & (places < -(-(i + 1) * n // size))
        means = constant((inside / inside.sum(1, keepdims=True)).astype(a.dtype))
        order = (*range(place), *range(place + 1, a.ndim), place)
        a = permute_dims(permute_dims(a, order) @ means.mT, (*range(place), a.ndim - 1, *range(place, a.ndim - 1)))
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
