"""Layers on sequences and images: where their channels are."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..ops.layouts import each_axis
from .module import Module

LAYOUTS = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC")}
"""By number of axes: the channels before them, as PyTorch has it, or after."""


class Images(Module):
    """A layer on sequences (axes = 1) or images (axes = 2), in one of two layouts."""

    axes: int

    def __init__(self, layout: str | None = None):
        layouts = LAYOUTS[self.axes]
        self.layout = layouts[0] if layout is None else layout
        if self.layout not in layouts:
            raise ValueError(f"{type(self).__name__}: layout must be {' or '.join(map(repr, layouts))}, got {layout!r}")

    @property
    def channels_last(self) -> bool:
        return self.layout[-1] == "C"

    def each(self, what: str, given: Any, least: int = 1) -> tuple[int, ...]:
        """An argument as one number for each axis."""
        return each_axis(type(self).__name__, what, given, self.axes, least)

    def places(self, x: Any) -> tuple[int, ...]:
        """The axes of the input along which windows lie."""
        self._check(x)
        last = x.ndim - self.channels_last
        return tuple(range(last - self.axes, last))

    def with_channels_last(self, x: Any, channels: int | None) -> tuple[Any, bool]:
        """The input as (n, *lengths, channels), and whether it is a single image."""
        self._check(x)
        single = x.ndim == self.axes + 1
        if single:
            x = x.reshape((1, *x.shape))
        if not self.channels_last:
            x = ops.permute_dims(x, (0, *range(2, x.ndim), 1))
        if channels is not None and x.shape[-1] != channels:
            other = LAYOUTS[self.axes][not self.channels_last]
            fits = (x.shape[1] if self.channels_last else x.shape[-2]) == channels
            raise ValueError(
                f"{type(self).__name__}: the input must have in_channels={channels} in layout {self.layout}, got "
                f"{x.shape[-1]}" + (f"; is it {other}? Then give layout={other!r}" if fits else "")
            )
        return x, single

    def in_layout(self, y: Any, single: bool = False) -> Any:
        """An output (n, *lengths, channels) in the layer's layout."""
        if not self.channels_last:
            y = ops.permute_dims(y, (0, y.ndim - 1, *range(1, y.ndim - 1)))
        return y.reshape(y.shape[1:]) if single else y

    def _check(self, x: Any) -> None:
        if x.ndim not in (self.axes + 1, self.axes + 2):
            raise ValueError(
                f"{type(self).__name__}: the input must have the axes {self.layout}, or {self.layout[1:]} for one "
                f"alone, got shape {x.shape}"
            )
