"""Pooling: the largest element, or the mean, of windows."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..autograd import as_value
from .images import Images


class _Pool(Images):
    """Windows with PyTorch's arguments."""

    def __init__(self, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, layout: str | None):
        super().__init__(layout)
        self.kernel_size = self.each("kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else self.each("stride", stride)
        self.padding, self.ceil_mode = padding, ceil_mode

    def extra_repr(self) -> str:
        usual = {"dilation": (1,) * self.axes, "ceil_mode": False, "count_include_pad": True}
        parts = [f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"]
        for name, default in usual.items():
            if getattr(self, name, default) != default:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join(parts + [f"layout={self.layout!r}"] * self.channels_last)


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        *,
        ceil_mode: bool = False,
        layout: str | None = None,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode, layout)
        self.dilation = self.each("dilation", dilation)

    def forward(self, x: Any) -> Any:
        x = as_value(x, type(self).__name__)
        return ops.max_pool(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
            axes=self.places(x),
        )


class MaxPool1d(_MaxPool):
    """The largest element of windows over sequences (n, channels, length), or (n, length, channels) with layout="NLC".
    Equal elements share the gradient evenly. The arguments are those of `needle.max_pool`."""

    axes = 1


class MaxPool2d(_MaxPool):
    """The largest element of windows over images (n, channels, height, width), or (n, height, width, channels) with
    layout="NHWC". Equal elements share the gradient evenly. The arguments are those of `needle.max_pool`.

    >>> import needle
    >>> needle.nn.MaxPool2d(2)(needle.Tensor([[[[1.0, 2.0, 5.0, 0.0], [3.0, 4.0, 6.0, 7.0]]]]))
    needle.Tensor([[[[4., 7.]]]])
    """

    axes = 2


class _AvgPool(_Pool):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        layout: str | None = None,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode, layout)
        self.count_include_pad = count_include_pad

    def forward(self, x: Any) -> Any:
        x = as_value(x, type(self).__name__)
        return ops.avg_pool(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
            axes=self.places(x),
        )


class AvgPool1d(_AvgPool):
    """The mean of windows over sequences (n, channels, length), or (n, length, channels) with layout="NLC". The
    arguments are those of `needle.avg_pool`."""

    axes = 1


class AvgPool2d(_AvgPool):
    """The mean of windows over images (n, channels, height, width), or (n, height, width, channels) with
    layout="NHWC". The arguments are those of `needle.avg_pool`."""

    axes = 2


class _AdaptiveAvgPool(Images):
    def __init__(self, output_size: Any, *, layout: str | None = None):
        super().__init__(layout)
        self.output_size = output_size

    def forward(self, x: Any) -> Any:
        x = as_value(x, type(self).__name__)
        return ops.adaptive_avg_pool(x, self.output_size, axes=self.places(x))

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}" + f", layout={self.layout!r}" * self.channels_last


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of `output_size` windows that cover sequences (n, channels, length) evenly; layout="NLC" for channels
    last."""

    axes = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of `output_size` windows, a number or one for each axis (None: as many as there are elements), that
    cover images (n, channels, height, width) evenly; layout="NHWC" for channels last."""

    axes = 2


class GlobalAvgPool2d(Images):
    """The mean of each channel of images (n, channels, height, width): (n, channels). layout="NHWC" for channels
    last."""

    axes = 2

    def forward(self, x: Any) -> Any:
        x = as_value(x, type(self).__name__)
        return ops.mean(x, self.places(x))

    def extra_repr(self) -> str:
        return f"layout={self.layout!r}" * self.channels_last


class GlobalMaxPool2d(Images):
    """The largest element of each channel of images (n, channels, height, width): (n, channels). layout="NHWC" for
    channels last. Equal elements share the gradient evenly."""

    axes = 2

    def forward(self, x: Any) -> Any:
        x = as_value(x, type(self).__name__)
        return ops.max(x, self.places(x))

    def extra_repr(self) -> str:
        return f"layout={self.layout!r}" * self.channels_last
