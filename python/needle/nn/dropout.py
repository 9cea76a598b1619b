"""Dropout: numbers left out at random, in training."""

from __future__ import annotations

from typing import Any

from .. import init, ops
from ..autograd import as_value
from .module import Module


class Dropout(Module):
    """In training, each number is 0 with the probability p, else x / (1 - p); after `eval()`, x as it is.

    Random numbers come from NumPy's global state, in the course's order: `rand(*x.shape) <= 1 - p` keeps a number. With
    `rng`, a generator or a seed, they come from there, a few times faster. A captured step draws anew in each call.
    """

    def __init__(self, p: float = 0.5, *, rng: init.Rng = None):
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p must be a probability, from 0 to 1, got {p!r}")
        self.p = p
        self.rng = None if rng is None else init.generator(rng)

    def forward(self, x: Any) -> Any:
        x = as_value(x, type(self).__name__)
        return ops.dropout(x, self.p, self.rng) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout1d(Dropout):
    """Dropout of whole channels: inputs (N, C, L)."""

    ndim, layout = 3, "(N, C, L)"

    def forward(self, x: Any) -> Any:
        x = as_value(x, type(self).__name__)
        if x.ndim != self.ndim:
            raise ValueError(f"{type(self).__name__}: needs an input of shape {self.layout}, got {x.shape}")
        return ops.dropout(x, self.p, self.rng, axes=(0, 1)) if self.training else x


class Dropout2d(Dropout1d):
    """Dropout of whole channels: images (N, C, H, W)."""

    ndim, layout = 4, "(N, C, H, W)"
