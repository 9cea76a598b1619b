"""Convolutions and their transposes. Weights are (*kernel, in / groups, out); the channels of PyTorch's are first."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .. import init, ops
from ..autograd import as_value
from ..backend import Device
from ..ops.layouts import each_axis, pairs_of
from .images import Images
from .inputs import as_input
from .parameter import Parameter, Pending
from .torch_state import TorchName


class _Convolution(Images):
    """What all convolutions share."""

    weight: Any
    bias: Any

    def __init__(
        self,
        channels: tuple[int | None, int],
        kernel_size: Any,
        stride: Any,
        dilation: Any,
        groups: int,
        bias: bool,
        layout: str,
        options: dict[str, Any],
        rng: init.Rng,
    ):
        super().__init__(layout)
        self.in_channels, self.out_channels = channels
        self.kernel_size = self.each("kernel_size", kernel_size)
        self.stride, self.dilation = self.each("stride", stride), self.each("dilation", dilation)
        (self.groups,) = each_axis(type(self).__name__, "groups", groups, 1, 1)
        if self.in_channels is None:
            self.weight, self.bias = Pending(), Pending() if bias else None
            self._options: Any = options, rng
        else:
            self._make(bias, options, rng)

    def weight_shape(self, inputs: int, outputs: int) -> tuple[int, ...]:
        """The shape of the weight."""
        raise NotImplementedError

    def _make(self, bias: bool, options: dict[str, Any], rng: init.Rng) -> None:
        for n, name in ((self.in_channels, "in_channels"), (self.out_channels, "out_channels")):
            if n is None or n % self.groups:
                raise ValueError(f"{type(self).__name__}: {name}={n} must be divisible by groups={self.groups}")
        weight, offset = self._drawn(bias, options, init.generator(rng))
        self.weight = Parameter(weight)
        self.bias = None if offset is None else Parameter(offset)

    def _drawn(self, bias: bool, options: dict[str, Any], rng: Any) -> tuple[Any, Any]:
        inputs, outputs, taps = int(self.in_channels or 0), self.out_channels, prod(self.kernel_size)
        fans = taps * inputs // self.groups, taps * outputs // self.groups
        weight = init.kaiming_uniform(*fans, shape=self.weight_shape(inputs, outputs), rng=rng, **options)
        return weight, init.pytorch_default(*fans, shape=(outputs,), rng=rng, **options) if bias else None

    def reset_parameters(self, rng: init.Rng = None) -> None:
        if self.in_channels is not None:
            weight, offset = self._drawn(self.bias is not None, {"dtype": self.weight.dtype}, init.generator(rng))
            self.weight.data = weight.astype(self.weight.dtype)
            if offset is not None:
                self.bias.data = offset.astype(self.bias.dtype)

    def prepared(self, x: Any) -> tuple[Any, bool]:
        """The input with its channels last, and whether it was a single image, which has a batch axis now."""
        if self.in_channels is None:
            x = as_value(x, type(self).__name__)
            self.in_channels = x.shape[-1 if self.channels_last else -1 - self.axes]
            self._make(self.bias is not None, *self._options)
            del self._options
        return self.with_channels_last(as_input(x, self.weight, self), self.in_channels)

    def finished(self, y: Any, single: bool) -> Any:
        """The output in the layer's layout, with the bias."""
        return self.in_layout(y if self.bias is None else y + self.bias, single)

    def torch_names(self) -> dict[str, TorchName]:
        kernel = tuple(range(2, 2 + self.axes))
        back = (self.axes + 1, self.axes, *range(self.axes))
        return {"weight": TorchName("weight", lambda a: np.transpose(a, (*kernel, 1, 0)), lambda a: a.transpose(back))}

    def extra_repr(self) -> str:
        usual = {"padding": 0, "output_padding": (0,) * self.axes, "dilation": (1,) * self.axes, "groups": 1}
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        for name, default in usual.items():
            value = getattr(self, name, default)
            if value not in (default, (0,) * self.axes):
                parts.append(f"{name}={value!r}")
        parts += ["bias=False"] * (self.bias is None) + [f"layout={self.layout!r}"] * self.channels_last
        return ", ".join(parts)


class _Conv(_Convolution):
    """A convolution with a padding."""

    padding: Any

    def weight_shape(self, inputs: int, outputs: int) -> tuple[int, ...]:
        return *self.kernel_size, inputs // self.groups, outputs

    def forward(self, x: Any) -> Any:
        x, single = self.prepared(x)
        y = ops.conv(x, self.weight, self.stride, self.padding, dilation=self.dilation, groups=self.groups)
        return self.finished(y, single)


class Conv1d(_Conv):
    """A convolution of sequences (n, channels, length), or (n, length, channels) with layout="NLC"; or of one of them.

    The arguments are PyTorch's; padding may be a number, a pair (before, after) in a tuple, "same" or "valid". `weight`
    is (kernel, in_channels / groups, out_channels), `bias` (out_channels,). First values, with fan_in = kernel *
    in_channels / groups: weight U(-a, a) with a = sqrt(6 / fan_in), bias with a = 1 / sqrt(fan_in). With
    in_channels=None, the first input decides.

    >>> from needle import init, nn
    >>> nn.Conv1d(2, 4, 3, padding="same")(init.ones(1, 2, 5)).shape
    (1, 4, 5)
    """

    axes = 1

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: Any = 0,
        dilation: int | tuple[int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        layout: str = "NCL",
        device: Device | None = None,
        dtype: Any = "float32",
        rng: init.Rng = None,
    ):
        self.padding = padding
        options = {"device": device, "dtype": dtype}
        super().__init__((in_channels, out_channels), kernel_size, stride, dilation, groups, bias, layout, options, rng)


class Conv2d(_Conv):
    """A convolution of images (n, channels, height, width), or (n, height, width, channels) with layout="NHWC"; or of a
    single image. NHWC is what it computes with; other images are views of it, which layers after it read as they are.

    The arguments are PyTorch's: each is one number, or one for each axis; padding may also be pairs (before, after),
    "same" or "valid". `weight` is (rows, columns, in_channels / groups, out_channels), `bias` (out_channels,). First
    values, with fan_in = rows * columns * in_channels / groups: weight U(-a, a) with a = sqrt(6 / fan_in), bias with
    a = 1 / sqrt(fan_in). With in_channels=None, the first input decides.

    >>> from needle import init, nn
    >>> nn.Conv2d(3, 16, 3, stride=2, padding=1)(init.ones(1, 3, 8, 8)).shape
    (1, 16, 4, 4)
    """

    axes = 2

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Any = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        layout: str = "NCHW",
        device: Device | None = None,
        dtype: Any = "float32",
        rng: init.Rng = None,
    ):
        self.padding = padding
        options = {"device": device, "dtype": dtype}
        super().__init__((in_channels, out_channels), kernel_size, stride, dilation, groups, bias, layout, options, rng)


class Conv(Conv2d):
    """The course's convolution: `Conv2d` of images (n, channels, height, width) with padding (kernel_size - 1) // 2,
    which keeps their size at stride 1 if kernel_size is odd."""

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        bias: bool = True,
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        rng: init.Rng = None,
    ):
        rows, columns = each_axis("Conv", "kernel_size", kernel_size, 2, 1)
        padding = (rows - 1) // 2, (columns - 1) // 2
        super().__init__(
            in_channels, out_channels, (rows, columns), stride, padding, bias=bias, device=device, dtype=dtype, rng=rng
        )


class _ConvTranspose(_Convolution):
    """The transpose of a convolution."""

    padding: Any
    output_padding: tuple[int, ...]

    def weight_shape(self, inputs: int, outputs: int) -> tuple[int, ...]:
        return *self.kernel_size, outputs // self.groups, inputs

    def forward(self, x: Any, output_size: Any = None) -> Any:
        """`output_size`, the lengths of the output's axes (or its whole shape), stands in for `output_padding`."""
        x, single = self.prepared(x)
        added = self.output_padding if output_size is None else self._added(x.shape[1:-1], output_size)
        y = ops.conv_transpose(
            x,
            self.weight,
            self.stride,
            self.padding,
            output_padding=added,
            dilation=self.dilation,
            groups=self.groups,
        )
        return self.finished(y, single)

    def _added(self, lengths: tuple[int, ...], output_size: Any) -> tuple[int, ...]:
        """The output_padding that gives this size."""
        wanted = tuple(output_size)
        if len(wanted) > self.axes:
            wanted = wanted[-1 - self.axes : -1] if self.channels_last else wanted[-self.axes :]
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        pairs = pairs_of(type(self).__name__, self.padding, reach)
        least = [(n - 1) * s - sum(p) + r + 1 for n, s, p, r in zip(lengths, self.stride, pairs, reach, strict=True)]
        room = [max(s, d) - 1 for s, d in zip(self.stride, self.dilation, strict=True)]
        added = tuple([n - low for n, low in zip(wanted, least, strict=False)])
        if len(added) != self.axes or any(not 0 <= a <= most for a, most in zip(added, room, strict=True)):
            most = [low + more for low, more in zip(least, room, strict=True)]
            raise ValueError(
                f"{type(self).__name__}: output_size must be from {tuple(least)} to {tuple(most)} for an input of "
                f"{lengths}, got {output_size!r}"
            )
        return added


class ConvTranspose1d(_ConvTranspose):
    """The transpose of `Conv1d`: sequences (n, in_channels, length) become longer, by `stride` times.

    The arguments are PyTorch's. `weight` is (kernel, out_channels / groups, in_channels): that of the convolution from
    the output's channels to the input's. First values are drawn as in `Conv1d`.
    """

    axes = 1

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: Any = 0,
        output_padding: int | tuple[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int] = 1,
        *,
        layout: str = "NCL",
        device: Device | None = None,
        dtype: Any = "float32",
        rng: init.Rng = None,
    ):
        self.padding, self.output_padding = padding, self.each("output_padding", output_padding, 0)
        options = {"device": device, "dtype": dtype}
        super().__init__((in_channels, out_channels), kernel_size, stride, dilation, groups, bias, layout, options, rng)


class ConvTranspose2d(_ConvTranspose):
    """The transpose of `Conv2d`: images (n, in_channels, height, width) become larger, by `stride` times.

    The arguments are PyTorch's. `weight` is (rows, columns, out_channels / groups, in_channels): that of the
    convolution from the output's channels to the input's. First values are drawn as in `Conv2d`.

    >>> from needle import init, nn
    >>> nn.ConvTranspose2d(16, 3, 3, stride=2, padding=1, output_padding=1)(init.ones(1, 16, 4, 4)).shape
    (1, 3, 8, 8)
    """

    axes = 2

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Any = 0,
        output_padding: int | tuple[int, int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, int] = 1,
        *,
        layout: str = "NCHW",
        device: Device | None = None,
        dtype: Any = "float32",
        rng: init.Rng = None,
    ):
        self.padding, self.output_padding = padding, self.each("output_padding", output_padding, 0)
        options = {"device": device, "dtype": dtype}
        super().__init__((in_channels, out_channels), kernel_size, stride, dilation, groups, bias, layout, options, rng)
