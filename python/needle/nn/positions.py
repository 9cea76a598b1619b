"""Where in a sequence something stands, told to layers that do not see it: learned, sinusoidal or rotary."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init, ops
from ..backend import Device
from .inputs import as_input
from .module import Module
from .parameter import Buffer, Parameter


class LearnedPositions(Module):
    """x plus a learned vector for each position: inputs (..., T, dim) with T up to `length`. `weight` is (length, dim),
    normal with standard deviation 0.02 at first."""

    def __init__(
        self, length: int, dim: int, device: Device | None = None, dtype: Any = "float32", *, rng: init.Rng = None
    ):
        self.length, self.dim = length, dim
        self.weight = Parameter(init.randn(length, dim, std=0.02, device=device, dtype=dtype, rng=rng))

    def reset_parameters(self, rng: init.Rng = None) -> None:
        self.weight.data = init.randn(self.length, self.dim, std=0.02, dtype=self.weight.dtype, rng=rng)

    def forward(self, x: Any, start: int = 0) -> Any:
        x = as_input(x, self.weight, self)
        return x + self.weight[_places(self, x, start)]

    def extra_repr(self) -> str:
        return f"{self.length}, {self.dim}"


class SinusoidalPositions(Module):
    """x plus sines and cosines of the position: inputs (..., T, dim) with T up to `length`, dim even.

    Elements 2i and 2i + 1 are sin and cos of position / base**(2i / dim). From Vaswani et al., "Attention Is All You
    Need", 2017.
    """

    def __init__(
        self, length: int, dim: int, device: Device | None = None, dtype: Any = "float32", *, base: float = 10000.0
    ):
        self.length, self.dim, self.base = length, dim, base
        angles = _angles(self, length, dim, base)
        table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, dim)
        self.table = Buffer(table, persistent=False, device=device, dtype=dtype)

    def forward(self, x: Any, start: int = 0) -> Any:
        x = as_input(x, self.table, self)
        return x + self.table[_places(self, x, start)]

    def extra_repr(self) -> str:
        return f"{self.length}, {self.dim}"


class RotaryPositions(Module):
    """Pairs of elements turned by an angle that grows with the position, so that products of queries and keys depend
    on the distance alone: inputs (..., T, dim) with T up to `length`, dim even. For `MultiHeadAttention(rotary=...)`.

    Elements i and i + dim / 2 are a pair, as in GPT-NeoX and Llama; with `interleaved`, 2i and 2i + 1, as in GPT-J.
    From Su et al., "RoFormer", 2021.
    """

    def __init__(
        self,
        length: int,
        dim: int,
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        base: float = 10000.0,
        interleaved: bool = False,
    ):
        self.length, self.dim, self.base, self.interleaved = length, dim, base, interleaved
        angles = _angles(self, length, dim, base)
        each = np.repeat(angles, 2, axis=1) if interleaved else np.concatenate([angles, angles], axis=1)
        self.cos = Buffer(np.cos(each), persistent=False, device=device, dtype=dtype)
        self.sin = Buffer(np.sin(each), persistent=False, device=device, dtype=dtype)

    def forward(self, x: Any, start: int = 0) -> Any:
        x = as_input(x, self.cos, self)
        places = _places(self, x, start)
        return x * self.cos[places] + self._quarter_turn(x) * self.sin[places]

    def _quarter_turn(self, x: Any) -> Any:
        """(-b, a) of each pair (a, b)."""
        if self.interleaved:
            return ops.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)
        half = self.dim // 2
        return ops.concatenate([-x[..., half:], x[..., :half]], -1)

    def extra_repr(self) -> str:
        return f"{self.length}, {self.dim}{', interleaved=True' if self.interleaved else ''}"


def _angles(layer: Module, length: int, dim: int, base: float) -> Any:
    """(length, dim / 2): position / base**(2i / dim)."""
    if dim % 2:
        raise ValueError(f"{type(layer).__name__}: dim must be even, as it holds pairs, got {dim}")
    return np.arange(length)[:, None] * base ** (-np.arange(0, dim, 2) / dim)


def _places(layer: Any, x: Any, start: int) -> slice:
    """The positions of an input (..., T, dim) whose first one is `start`."""
    name = type(layer).__name__
    if x.ndim < 2 or x.shape[-1] != layer.dim:
        raise ValueError(f"{name}: needs an input of shape (..., T, {layer.dim}), got {x.shape}")
    end = start + x.shape[-2]
    if start < 0 or end > layer.length:
        raise ValueError(f"{name}: has positions 0 to {layer.length - 1}, got {start} to {end - 1}; make it longer")
    return slice(start, end)
