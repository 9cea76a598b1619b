"""The first values of weights, laid out input first: (in, out), and (*kernel, in, out) for convolutions.

`fan_in` and `fan_out` are the numbers of inputs of one output, and of outputs of one input. `shape` is (fan_in,
fan_out) if not given. All take `rng=`, `device=`, `dtype=` (float32) and `requires_grad=` (False), as `init.rand` does.
"""

from __future__ import annotations

from math import erf, prod, sqrt
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import Device
from .basic import Rng, generator, made, rand, randn

Shape = tuple[int, ...]


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of this shape, (in, out) or (*kernel, in, out).

    ValueError for fewer than two axes.
    """
    if len(shape) < 2:
        raise ValueError(
            f"init: fan_in and fan_out need a weight of shape (in, out) or (*kernel, in, out), got {shape}"
        )
    kernel = prod(shape[:-2])
    return kernel * shape[-2], kernel * shape[-1]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through this activation: sqrt(2) for "relu", 5/3 for "tanh", 3/4 for "selu",
    sqrt(2 / (1 + param**2)) for "leaky_relu" (param is its slope, 0.01), and 1 for "linear", "conv" and "sigmoid".

    He et al. 2015, section 2.2. ValueError for other names.
    """
    gains = {"relu": sqrt(2.0), "tanh": 5 / 3, "selu": 0.75, "linear": 1.0, "conv": 1.0, "sigmoid": 1.0}
    gains["leaky_relu"] = sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in gains:
        raise ValueError(f"init: nonlinearity must be one of {', '.join(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def xavier_uniform(
    fan_in: int, fan_out: int, gain: float = 1.0, *, shape: Shape | None = None, **options: Any
) -> Tensor:
    """U(-a, a) with a = gain * sqrt(6 / (fan_in + fan_out)): Glorot & Bengio 2010."""
    return _uniform(gain * _root(6, fan_in + fan_out), fan_in, fan_out, shape, options)


def xavier_normal(
    fan_in: int, fan_out: int, gain: float = 1.0, *, shape: Shape | None = None, **options: Any
) -> Tensor:
    """N(0, std) with std = gain * sqrt(2 / (fan_in + fan_out)): Glorot & Bengio 2010."""
    return _normal(gain * _root(2, fan_in + fan_out), fan_in, fan_out, shape, options)


def kaiming_uniform(
    fan_in: int, fan_out: int, shape: Shape | None = None, nonlinearity: str = "relu", **options: Any
) -> Tensor:
    """U(-a, a) with a = gain * sqrt(3 / fan_in), which is sqrt(6 / fan_in) for relu: He et al. 2015."""
    return _uniform(calculate_gain(nonlinearity) * _root(3, fan_in), fan_in, fan_out, shape, options)


def kaiming_normal(
    fan_in: int, fan_out: int, shape: Shape | None = None, nonlinearity: str = "relu", **options: Any
) -> Tensor:
    """N(0, std) with std = gain / sqrt(fan_in), which is sqrt(2 / fan_in) for relu: He et al. 2015."""
    return _normal(calculate_gain(nonlinearity) * _root(1, fan_in), fan_in, fan_out, shape, options)


def lecun_uniform(fan_in: int, fan_out: int, shape: Shape | None = None, **options: Any) -> Tensor:
    """U(-a, a) with a = sqrt(3 / fan_in): the variance is 1 / fan_in, LeCun et al. 1998."""
    return _uniform(_root(3, fan_in), fan_in, fan_out, shape, options)


def lecun_normal(fan_in: int, fan_out: int, shape: Shape | None = None, **options: Any) -> Tensor:
    """N(0, std) with std = 1 / sqrt(fan_in): LeCun et al. 1998, and the rule for selu."""
    return _normal(_root(1, fan_in), fan_in, fan_out, shape, options)


def pytorch_default(fan_in: int, fan_out: int, shape: Shape | None = None, **options: Any) -> Tensor:
    """U(-a, a) with a = 1 / sqrt(fan_in): what PyTorch draws for weights and for biases of linear layers and
    convolutions, written there as kaiming_uniform(a=sqrt(5))."""
    return _uniform(_root(1, fan_in), fan_in, fan_out, shape, options)


def orthogonal(
    *shape: int,
    gain: float = 1.0,
    device: Device | None = None,
    dtype: Any = "float32",
    requires_grad: bool = False,
    rng: Rng = None,
) -> Tensor:
    """A matrix with orthonormal rows or columns, whichever are fewer, times gain: Saxe et al. 2014.

    All axes but the last count as one. Every such matrix is equally likely. ValueError for fewer than two axes.
    """
    fans(shape)
    rows, columns = prod(shape[:-1]), shape[-1]
    q, r = np.linalg.qr(generator(rng, device).standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.where(np.diagonal(r) < 0, -1, 1)  # else the signs that LAPACK chooses are not uniform
    return made(gain * (q if rows >= columns else q.T).reshape(shape), device, dtype, requires_grad)


def trunc_normal(
    *shape: int,
    mean: float = 0.0,
    std: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
    device: Device | None = None,
    dtype: Any = "float32",
    requires_grad: bool = False,
    rng: Rng = None,
) -> Tensor:
    """Normal numbers of [low, high] only: those outside are drawn again. `low` and `high` are values, as in PyTorch.

    ValueError for an interval that holds less than a thousandth of the distribution.
    """
    start, stop = [erf((bound - mean) / std / sqrt(2)) / 2 for bound in (low, high)]
    if not stop - start > 1e-3:
        raise ValueError(
            f"init.trunc_normal: [{low}, {high}] holds next to nothing of N({mean}, {std}); give other bounds"
        )
    source = generator(rng, device)
    array = np.asarray(source.standard_normal(shape) * std + mean)
    while (outside := (array < low) | (array > high)).any():
        array[outside] = source.standard_normal(int(outside.sum())) * std + mean
    return made(array, device, dtype, requires_grad)


def identity(
    n: int, m: int | None = None, device: Device | None = None, dtype: Any = "float32", requires_grad: bool = False
) -> Tensor:
    """The identity matrix of n rows and m columns (n if not given)."""
    return made(np.eye(n, m), device, dtype, requires_grad)


def dirac(
    *shape: int, groups: int = 1, device: Device | None = None, dtype: Any = "float32", requires_grad: bool = False
) -> Tensor:
    """A convolution's weight (*kernel, in / groups, out) that hands on its input: 1 in the kernel's middle from channel
    i to channel i of each group, 0 elsewhere. ValueError if out is no multiple of groups.
    """
    *kernel, inputs, outputs = shape if len(shape) > 2 else (0, *fans(shape))
    if len(shape) < 3 or outputs % groups:
        raise ValueError(
            f"init.dirac: needs a shape (*kernel, in / groups, out) with out a multiple of groups={groups}, got {shape}"
        )
    array = np.zeros(shape)
    for i in range(outputs):
        channel = i % (outputs // groups)
        if channel < inputs:
            array[(*(n // 2 for n in kernel), channel, i)] = 1
    return made(array, device, dtype, requires_grad)


def _root(numerator: float, fan: int) -> float:
    """sqrt(numerator / fan); 0 for a weight without inputs, which is empty."""
    return sqrt(numerator / fan) if fan else 0.0


def _uniform(bound: float, fan_in: int, fan_out: int, shape: Shape | None, options: dict[str, Any]) -> Tensor:
    return rand(*((fan_in, fan_out) if shape is None else shape), low=-bound, high=bound, **options)


def _normal(std: float, fan_in: int, fan_out: int, shape: Shape | None, options: dict[str, Any]) -> Tensor:
    return randn(*((fan_in, fan_out) if shape is None else shape), std=std, **options)
