"""Convolutions along one or two axes.

Images a, weights w and outputs y are linked by one sum of products:

    the sum over n, p, q, c, o of  a[n, p * stride + q * dilation - padding, c] * w[q, c, o] * y[n, p, o]

Take one of the three away, and what it was multiplied by is the result of an op: `Conv` makes outputs of images and
weights, `ConvTranspose` images of outputs and weights, `ConvWeights` weights of images and outputs. So each one's
adjoints are the other two.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..autograd import Tensor, as_value
from ..pool import empty
from .base import Bilinear
from .columns import Windows, correlate, correlate_transposed, correlate_weights
from .depthwise import scale, scale_transposed, scale_weights
from .layouts import Layout, each_axis, pairs_of
from .shape import permute_dims


class _Convolution(Bilinear):
    """What the three ops share.

    Images are (n, *sizes, channels), outputs (n, *counts, out channels), weights (*taps, channels / groups, out
    channels). So the groups lie side by side in the last axis of all three.
    """

    saves = ("inputs",)
    __slots__ = ("layout", "sizes")
    places: str
    """Which of a, w, y the two inputs are, and the output."""

    def __init__(self, layout: Layout, sizes: tuple[int, ...] = ()):
        self.layout = layout
        self.sizes = sizes

    def make(
        self, function: Callable[..., None], x: Any, y: Any, windows: list[Windows], shape: tuple[int, ...]
    ) -> Any:
        """The result of this shape, which the function computes group by group."""
        dtype = np.result_type(x, y)
        wide = np.dtype(np.float32) if dtype == np.float16 else dtype
        out = empty(shape, wide, prod(shape) * wide.itemsize)
        arrays = [x.astype(wide, copy=False), y.astype(wide, copy=False), out]
        if not all(a.size for a in arrays):
            return np.zeros(shape, dtype)
        if len(windows) == 1:  # a sequence is an image of one row
            windows = [ONE_ROW, *windows]
            arrays = [a[:, None] if place in "ay" else a[None] for a, place in zip(arrays, self.places, strict=True)]
        (down, across), groups = windows, self.layout.groups
        if groups > 1 and all(a.shape[-1] == groups for a in arrays):
            first, second, result = arrays
            DEPTHWISE[function](first, second, down, across, result)
        else:
            for group in range(groups):
                first, second, result = [_part(a, group, groups) for a in arrays]
                function(first, second, down, across, result)
        return out.astype(dtype, copy=False)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        """One convolution for the batch: with the same weights, of more images; of the same images, to more channels;
        of different ones with different weights, with more groups."""
        size = next(a.shape[0] for a, depth in zip(values, depths, strict=True) if depth is not None)
        if not size:
            return NotImplemented
        (single,) = [place for place, depth in zip(self.places, depths, strict=False) if depth is None] or [""]
        within = self.layout.groups if single else 1
        given = [
            a if depth is None else _merged(a, _place_of_batch(single, place), within)
            for a, depth, place in zip(values, depths, self.places, strict=False)
        ]
        layout = self.layout if single else self.layout._replace(groups=self.layout.groups * size)
        out = type(self)(layout, self.sizes)(*given)
        return _separated(out, size, _place_of_batch(single, self.places[2]), within)


class Conv(_Convolution):
    """Outputs from images and weights."""

    notation = "conv({0}, {1}, {layout})"
    places = "awy"
    __slots__ = ()

    def compute(self, a: Any, w: Any) -> Any:
        windows = self.layout.windows(a.shape[1:-1], w.shape[:-2])
        return self.make(correlate, a, w, windows, (len(a), *[axis.outputs for axis in windows], w.shape[-1]))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, w = node.inputs
        return (
            lambda: ConvTranspose(self.layout, a.shape[1:-1]).on(out_grad, w),
            lambda: ConvWeights(self.layout, w.shape[:-2]).on(a, out_grad),
        )


class ConvTranspose(_Convolution):
    """Images of these sizes from outputs and weights."""

    notation = "conv_transpose({0}, {1}, {layout}, {sizes})"
    places = "ywa"
    __slots__ = ()

    def compute(self, y: Any, w: Any) -> Any:
        windows = self.layout.windows(self.sizes, w.shape[:-2])
        shape = (len(y), *self.sizes, w.shape[-2] * self.layout.groups)
        return self.make(correlate_transposed, y, w, windows, shape)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        y, w = node.inputs
        return (
            lambda: Conv(self.layout).on(out_grad, w),
            lambda: ConvWeights(self.layout, w.shape[:-2]).on(out_grad, y),
        )


class ConvWeights(_Convolution):
    """Weights of so many taps (`sizes`) from images and outputs."""

    notation = "conv_weights({0}, {1}, {layout}, {sizes})"
    places = "ayw"
    __slots__ = ()

    def compute(self, a: Any, y: Any) -> Any:
        windows = self.layout.windows(a.shape[1:-1], self.sizes)
        shape = (*self.sizes, a.shape[-1] // self.layout.groups, y.shape[-1])
        return self.make(correlate_weights, a, y, windows, shape)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, y = node.inputs
        return (
            lambda: ConvTranspose(self.layout, a.shape[1:-1]).on(y, out_grad),
            lambda: Conv(self.layout).on(a, out_grad),
        )


def conv(
    a: Any,
    w: Any,
    stride: int | tuple[int, ...] = 1,
    padding: Any = 1,
    *,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor:
    """The cross-correlation that neural networks call a convolution, with the channels in the last axis.

    Images a (n, height, width, channels) and weights w (rows, columns, channels / groups, out channels) give (n, out
    height, out width, out channels); a sequence is (n, length, channels), its weights (taps, channels / groups, out
    channels). An axis becomes (length + padding - dilation * (taps - 1) - 1) // stride + 1 long.

    `stride`, `dilation` and `padding` are one number, or one for each axis; `padding` may be a pair (before, after)
    for each axis, "same" for outputs as large as the images (at stride 1), or "valid" for none. With `groups`, output
    channels see only the channels of their group. Raises ValueError for shapes and arguments that do not fit.
    """
    a, w = as_value(a, "conv"), as_value(w, "conv")
    layout = _layout("conv", a, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
    if a.shape[-1] != w.shape[-2] * layout.groups:
        raise ValueError(
            f"conv: the images have {a.shape[-1]} channels, the weights are for {w.shape[-2]} * groups = "
            f"{w.shape[-2] * layout.groups}; images are {_AXES[a.ndim - 2]}, weights (*taps, channels / groups, out "
            "channels)"
        )
    for axis in layout.windows(a.shape[1:-1], w.shape[:-2]):
        if axis.outputs < 1:
            raise ValueError(
                f"conv: windows of {w.shape[:-2]} taps, dilated by {layout.dilation}, are larger than images of "
                f"{a.shape[1:-1]} with their padding {layout.padding}; pad more, or take fewer taps"
            )
    return Conv(layout)(a, w)


def conv_transpose(
    a: Any,
    w: Any,
    stride: int | tuple[int, ...] = 1,
    padding: Any = 0,
    *,
    output_padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor:
    """The transpose of `conv`: what leads the gradient of its outputs back to its images.

    The shapes are the other way around: a (n, height, width, channels) and weights w (rows, columns, out channels /
    groups, channels) give (n, out height, out width, out channels). An axis becomes (length - 1) * stride - padding +
    dilation * (taps - 1) + 1 + output_padding long: with a stride, several lengths give one that is `length` long
    in `conv`, and `output_padding` chooses among them. The other arguments are those of `conv`.
    """
    name = "conv_transpose"
    a, w = as_value(a, name), as_value(w, name)
    layout = _layout(name, a, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
    added = each_axis(name, "output_padding", output_padding, a.ndim - 2, 0)
    if a.shape[-1] != w.shape[-1]:
        raise ValueError(
            f"conv_transpose: a has {a.shape[-1]} channels, the weights are for {w.shape[-1]}; a is "
            f"{_AXES[a.ndim - 2]}, weights (*taps, out channels / groups, channels)"
        )
    sizes = []
    for n, k, s, (before, after), d, extra in zip(a.shape[1:-1], w.shape[:-2], *layout[:3], added, strict=True):
        if extra >= max(s, d):
            raise ValueError(
                f"conv_transpose: output_padding must be less than the stride or the dilation, got {output_padding!r} "
                f"for stride {stride!r} and dilation {dilation!r}"
            )
        sizes.append((n - 1) * s - before - after + d * (k - 1) + 1 + extra)
    if min(sizes) < 1:
        raise ValueError(f"conv_transpose: padding {padding!r} leaves nothing of the result, which would be {sizes}")
    # What is added must not make room for one window more: it is taken from the padding.
    pairs = tuple([(before, after - extra) for (before, after), extra in zip(layout.padding, added, strict=True)])
    return ConvTranspose(layout._replace(padding=pairs), tuple(sizes))(a, w)


_AXES = ["", "(n, length, channels)", "(n, height, width, channels)"]


def _layout(name: str, a: Any, w: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Layout:
    """The layout for images and weights of these shapes; ValueError or TypeError for arguments that do not fit."""
    axes = a.ndim - 2
    if axes not in (1, 2) or w.ndim != a.ndim:
        raise ValueError(
            f"{name}: needs images (n, height, width, channels) and weights (rows, columns, channels, out channels), "
            f"or sequences and weights with one axis less, got shapes {a.shape} and {w.shape}"
        )
    if 0 in w.shape[:-2]:
        raise ValueError(f"{name}: the weights need at least one tap along each axis, got shape {w.shape}")
    (groups,) = each_axis(name, "groups", groups, 1, 1)
    if w.shape[-1] % groups:
        raise ValueError(f"{name}: the last axis of the weights must be divisible by groups={groups}, got {w.shape}")
    strides = each_axis(name, "stride", stride, axes, 1)
    dilations = each_axis(name, "dilation", dilation, axes, 1)
    if padding == "same" and max(strides) > 1:
        raise ValueError(f'{name}: padding="same" needs stride 1, got stride {stride!r}; give the padding in numbers')
    reach = [d * (k - 1) for d, k in zip(dilations, w.shape[:-2], strict=True)]
    return Layout(strides, pairs_of(name, padding, reach), dilations, groups)


def _part(a: Any, group: int, groups: int) -> Any:
    """The channels of one group."""
    n = a.shape[-1] // groups
    return a if groups == 1 else a[..., group * n : (group + 1) * n]


def _place_of_batch(single: str, place: str) -> int:
    """The axis of images, weights or outputs that a batch is merged into, where one of the three is not batched."""
    return 0 if single == "w" else -2 if single == "y" and place == "w" else -1


def _merged(a: Any, axis: int, groups: int) -> Any:
    """A batch, whose axis is the first one, as part of another axis; of the last one, within each group."""
    size, shape = a.shape[0], a.shape[1:]
    split = (*shape[:-1], groups, shape[-1] // groups)
    at = 0 if axis == 0 else len(split) - 1 if axis == -1 else len(shape) - 2
    a = permute_dims(a.reshape((size, *split)), (*range(1, at + 1), 0, *range(at + 1, len(split) + 1)))
    longer = list(shape)
    longer[axis] *= size
    return a.reshape(tuple(longer))


def _separated(a: Any, size: int, axis: int, groups: int) -> Any:
    """The inverse of `_merged`."""
    shape = list(a.shape)
    shape[axis] //= size
    split = [*shape[:-1], groups, shape[-1] // groups]
    at = 0 if axis == 0 else len(split) - 1 if axis == -1 else len(shape) - 2
    a = a.reshape((*split[:at], size, *split[at:]))
    return permute_dims(a, (at, *range(at), *range(at + 1, len(split) + 1))).reshape((size, *shape))


ONE_ROW = Windows(0, 1, 1, 1, 1)
DEPTHWISE = {correlate: scale, correlate_transposed: scale_transposed, correlate_weights: scale_weights}
"""What computes the same where each channel is a group of its own."""
