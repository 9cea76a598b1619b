"""New values for parameters that exist, as in PyTorch's `model.apply(f)`: `init.xavier_uniform_(layer.weight)`.

Fans are those of the input-first layout, (in, out) or (*kernel, in, out). What was recorded before keeps the old value.
Each returns the tensor it was given.
"""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor
from . import basic, initializers
from .basic import Rng


def _set(t: Tensor, new: Tensor) -> Tensor:
    t.data = new
    return t


def _drawn(draw: Any, t: Tensor, rng: Rng, **options: Any) -> Tensor:
    return _set(t, draw(*initializers.fans(t.shape), shape=t.shape, dtype=t.dtype, rng=rng, **options))


def uniform_(t: Tensor, a: float = 0.0, b: float = 1.0, rng: Rng = None) -> Tensor:
    """Uniform numbers of [a, b)."""
    return _set(t, basic.rand(*t.shape, low=a, high=b, dtype=t.dtype, rng=rng))


def normal_(t: Tensor, mean: float = 0.0, std: float = 1.0, rng: Rng = None) -> Tensor:
    """Normal numbers."""
    return _set(t, basic.randn(*t.shape, mean=mean, std=std, dtype=t.dtype, rng=rng))


def trunc_normal_(
    t: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, *, rng: Rng = None
) -> Tensor:
    """Normal numbers of [a, b] only; see `trunc_normal`."""
    return _set(t, initializers.trunc_normal(*t.shape, mean=mean, std=std, low=a, high=b, dtype=t.dtype, rng=rng))


def constant_(t: Tensor, val: float) -> Tensor:
    """The number everywhere."""
    return _set(t, basic.constant(*t.shape, c=val, dtype=t.dtype))


def zeros_(t: Tensor) -> Tensor:
    """0 everywhere."""
    return constant_(t, 0)


def ones_(t: Tensor) -> Tensor:
    """1 everywhere."""
    return constant_(t, 1)


def xavier_uniform_(t: Tensor, gain: float = 1.0, rng: Rng = None) -> Tensor:
    """U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out))."""
    return _drawn(initializers.xavier_uniform, t, rng, gain=gain)


def xavier_normal_(t: Tensor, gain: float = 1.0, rng: Rng = None) -> Tensor:
    """N(0, std), std = gain * sqrt(2 / (fan_in + fan_out))."""
    return _drawn(initializers.xavier_normal, t, rng, gain=gain)


def kaiming_uniform_(
    t: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", rng: Rng = None
) -> Tensor:
    """U(-b, b), b = gain * sqrt(3 / fan). `a` is the slope of "leaky_relu", `mode` "fan_in" or "fan_out"."""
    bound = initializers.calculate_gain(nonlinearity, a) * initializers._root(3, _fan(t, mode))
    return uniform_(t, -bound, bound, rng)


def kaiming_normal_(
    t: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", rng: Rng = None
) -> Tensor:
    """N(0, std), std = gain / sqrt(fan). `a` is the slope of "leaky_relu", `mode` "fan_in" or "fan_out"."""
    return normal_(t, 0.0, initializers.calculate_gain(nonlinearity, a) * initializers._root(1, _fan(t, mode)), rng)


def _fan(t: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'init: mode must be "fan_in" or "fan_out", got {mode!r}')
    return initializers.fans(t.shape)[mode == "fan_out"]


def lecun_uniform_(t: Tensor, rng: Rng = None) -> Tensor:
    """U(-a, a), a = sqrt(3 / fan_in)."""
    return _drawn(initializers.lecun_uniform, t, rng)


def lecun_normal_(t: Tensor, rng: Rng = None) -> Tensor:
    """N(0, std), std = 1 / sqrt(fan_in)."""
    return _drawn(initializers.lecun_normal, t, rng)


def pytorch_default_(t: Tensor, fan_in: int | None = None, rng: Rng = None) -> Tensor:
    """U(-a, a), a = 1 / sqrt(fan_in). For a bias, give the fan_in of its weight."""
    bound = initializers._root(1, initializers.fans(t.shape)[0] if fan_in is None else fan_in)
    return uniform_(t, -bound, bound, rng)


def orthogonal_(t: Tensor, gain: float = 1.0, rng: Rng = None) -> Tensor:
    """Orthonormal rows or columns, whichever are fewer, times gain; see `orthogonal`."""
    return _set(t, initializers.orthogonal(*t.shape, gain=gain, dtype=t.dtype, rng=rng))


def identity_(t: Tensor) -> Tensor:
    """The identity matrix. ValueError for other than two axes."""
    if t.ndim != 2:
        raise ValueError(f"init.identity_: needs a matrix, got shape {t.shape}; dirac_ is for convolutions")
    return _set(t, initializers.identity(t.shape[0], t.shape[1], dtype=t.dtype))


def dirac_(t: Tensor, groups: int = 1) -> Tensor:
    """The convolution that hands on its input; see `dirac`."""
    return _set(t, initializers.dirac(*t.shape, groups=groups, dtype=t.dtype))
