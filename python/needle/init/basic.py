"""Tensors of constants and of random numbers. They need no gradient unless told otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, as_value
from ..backend import Device, default_device

Rng = np.random.Generator | np.random.RandomState | int | None
"""Where random numbers come from; None: NumPy's global state, an integer: a new generator with this seed."""


def generator(rng: Rng, device: Device | None = None) -> Any:
    """An object with `random(shape)`, `standard_normal(shape)` and the other methods of a NumPy generator.

    TypeError for what is none.
    """
    if rng is None:
        return (device or default_device()).xp.random
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        return np.random.default_rng(rng)
    if not hasattr(rng, "standard_normal"):
        raise TypeError(f"rng must be None, a seed or a generator like np.random.default_rng(0), got {rng!r:.60}")
    return rng


def made(array: Any, device: Device | None, dtype: Any, requires_grad: bool) -> Tensor:
    return Tensor(array, device=device, dtype=dtype, requires_grad=requires_grad)


def _sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape, given as separate integers or as one tuple."""
    return tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape


def rand(
    *shape: Any,
    low: float = 0.0,
    high: float = 1.0,
    device: Device | None = None,
    dtype: Any = "float32",
    requires_grad: bool = False,
    rng: Rng = None,
) -> Tensor:
    """Uniform numbers of [low, high)."""
    array = generator(rng, device).random(_sizes(shape)) * (high - low) + low
    return made(array, device, dtype, requires_grad)


def randn(
    *shape: Any,
    mean: float = 0.0,
    std: float = 1.0,
    device: Device | None = None,
    dtype: Any = "float32",
    requires_grad: bool = False,
    rng: Rng = None,
) -> Tensor:
    """Normal numbers of this mean and standard deviation."""
    array = generator(rng, device).standard_normal(_sizes(shape)) * std + mean
    return made(array, device, dtype, requires_grad)


def randb(
    *shape: Any,
    p: float = 0.5,
    device: Device | None = None,
    dtype: Any = "bool",
    requires_grad: bool = False,
    rng: Rng = None,
) -> Tensor:
    """True with probability p, else False."""
    return made(generator(rng, device).random(_sizes(shape)) <= p, device, dtype, requires_grad)


def constant(
    *shape: Any, c: float = 1.0, device: Device | None = None, dtype: Any = "float32", requires_grad: bool = False
) -> Tensor:
    """The number c everywhere."""
    array = (device or default_device()).full(_sizes(shape), c, dtype=dtype)
    return made(array, device, dtype, requires_grad)


def ones(*shape: Any, device: Device | None = None, dtype: Any = "float32", requires_grad: bool = False) -> Tensor:
    return constant(*shape, c=1, device=device, dtype=dtype, requires_grad=requires_grad)


def zeros(*shape: Any, device: Device | None = None, dtype: Any = "float32", requires_grad: bool = False) -> Tensor:
    return constant(*shape, c=0, device=device, dtype=dtype, requires_grad=requires_grad)


def one_hot(
    n: int, i: Any, device: Device | None = None, dtype: Any = "float32", requires_grad: bool = False
) -> Tensor:
    """Rows of the n-by-n identity: labels of shape s (integers from 0 to n - 1) give shape s + (n,).

    Raises TypeError for labels that are no integers, ValueError for labels out of range.
    """
    labels = i.numpy() if isinstance(i, Tensor) else i
    return made((device or default_device()).one_hot(n, labels, dtype), device, dtype, requires_grad)


def zeros_like(array: Any, *, device: Device | None = None, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and dtype of a tensor or array."""
    like = as_value(array, "init.zeros_like")
    return zeros(*like.shape, device=device, dtype=dtype or like.dtype, requires_grad=requires_grad)


def ones_like(array: Any, *, device: Device | None = None, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and dtype of a tensor or array."""
    like = as_value(array, "init.ones_like")
    return ones(*like.shape, device=device, dtype=dtype or like.dtype, requires_grad=requires_grad)
