"""Activations: a function, and under it the module that applies it."""

from __future__ import annotations

from typing import Any

from .. import init, ops
from ..autograd import Tensor, as_value
from ..numpy import expm1
from .inputs import as_input
from .module import Module
from .parameter import Parameter


def relu(x: Any) -> Tensor:
    """max(x, 0); its derivative at 0 is 0."""
    return ops.relu(x)


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Any:
        return relu(x)


def relu6(x: Any) -> Tensor:
    """min(max(x, 0), 6)."""
    return ops.clip(x, 0, 6)


class ReLU6(Module):
    """min(max(x, 0), 6)."""

    def forward(self, x: Any) -> Any:
        return relu6(x)


def leaky_relu(x: Any, slope: float = 0.01) -> Tensor:
    """x where x > 0, else slope * x."""
    x = as_value(x, "leaky_relu")
    return ops.where(x > 0, x, x * slope)


class LeakyReLU(Module):
    """x where x > 0, else slope * x."""

    def __init__(self, slope: float = 0.01):
        self.slope = slope

    def forward(self, x: Any) -> Any:
        return leaky_relu(x, self.slope)

    def extra_repr(self) -> str:
        return f"{self.slope}"


def prelu(x: Any, weight: Any, axis: int = 1) -> Tensor:
    """x where x > 0, else weight * x: one weight for all, or one for each channel along an axis.

    ValueError if there are neither one nor as many weights as channels.
    """
    x, weight = as_value(x, "prelu"), as_value(weight, "prelu")
    if weight.size != 1:
        axis = min(axis, x.ndim - 1) if axis >= 0 else axis + x.ndim  # of a vector, the elements are channels
        if not 0 <= axis < x.ndim or x.shape[axis] != weight.size:
            raise ValueError(f"prelu: {weight.size} weights need as many channels, got x of shape {x.shape}")
        weight = weight.reshape((-1, *(1,) * (x.ndim - axis - 1)))
    return ops.where(x > 0, x, x * (weight if x.ndim or weight.ndim == 0 else weight.reshape(())))


class PReLU(Module):
    """x where x > 0, else weight * x, where the weight is trained: one for all, or one for each of the channels along
    `axis`. It starts at `init`, 0.25 as in PyTorch and in He et al. 2015."""

    def __init__(self, channels: int = 1, init: float = 0.25, axis: int = 1, *, dtype: Any = "float32"):
        self.start, self.axis = init, axis
        self.weight = Parameter(_full(channels, init, dtype))

    def reset_parameters(self, rng: init.Rng = None) -> None:
        self.weight.data = _full(self.weight.size, self.start, self.weight.dtype)

    def forward(self, x: Any) -> Any:
        return prelu(as_input(x, self.weight, self), self.weight, self.axis)

    def extra_repr(self) -> str:
        return f"{self.weight.size}"


def _full(count: int, number: float, dtype: Any) -> Tensor:
    return init.constant(count, c=number, dtype=dtype)


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1): Clevert et al. 2016."""
    x = as_value(x, "elu")
    return ops.where(x > 0, x, expm1(ops.where(x > 0, 0.0, x)) * alpha)


class ELU(Module):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        return elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"{self.alpha}"


_SELU = 1.0507009873554805, 1.6732632423543772
"""The scale, and alpha."""


def selu(x: Any) -> Tensor:
    """scale * elu(x, alpha) with the constants for which mean 0 and variance 1 are kept: Klambauer et al. 2017."""
    scale, alpha = _SELU
    return elu(x, alpha) * scale


class SELU(Module):
    """scale * elu(x, alpha) with the constants for which mean 0 and variance 1 are kept."""

    def forward(self, x: Any) -> Any:
        return selu(x)


def gelu(x: Any, approximate: str | bool = "none") -> Tensor:
    """x times the probability that a normal number is below x; with "tanh", its approximation by tanh.

    Hendrycks & Gimpel 2016. ValueError for another `approximate`.
    """
    if approximate not in ("none", "tanh", True, False):
        raise ValueError(f'gelu: approximate must be "none" or "tanh", got {approximate!r}')
    return ops.gelu(x, approximate in ("tanh", True))


class GELU(Module):
    """x times the probability that a normal number is below x; with approximate="tanh", its approximation by tanh."""

    def __init__(self, approximate: str | bool = "none"):
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return "" if self.approximate in ("none", False) else "approximate='tanh'"


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x))."""
    return ops.sigmoid(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Any:
        return sigmoid(x)


def tanh(x: Any) -> Tensor:
    """tanh(x)."""
    return ops.tanh(x)


class Tanh(Module):
    """tanh(x)."""

    def forward(self, x: Any) -> Any:
        return tanh(x)


def silu(x: Any) -> Tensor:
    """x * sigmoid(x), also called swish."""
    x = as_value(x, "silu")
    return x * ops.sigmoid(x)


class SiLU(Module):
    """x * sigmoid(x), also called swish."""

    def forward(self, x: Any) -> Any:
        return silu(x)


def softplus(x: Any, beta: float = 1.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta, without overflow."""
    x = as_value(x, "softplus")
    return ops.logaddexp(x, 0.0) if beta == 1 else ops.logaddexp(x * beta, 0.0) / beta


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta, without overflow."""

    def __init__(self, beta: float = 1.0):
        self.beta = beta

    def forward(self, x: Any) -> Any:
        return softplus(x, self.beta)

    def extra_repr(self) -> str:
        return "" if self.beta == 1 else f"{self.beta}"


def logsigmoid(x: Any) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return -softplus(-as_value(x, "logsigmoid"))


class LogSigmoid(Module):
    """log(sigmoid(x)), without overflow."""

    def forward(self, x: Any) -> Any:
        return logsigmoid(x)


def mish(x: Any) -> Tensor:
    """x * tanh(softplus(x)): Misra 2019."""
    x = as_value(x, "mish")
    return x * ops.tanh(softplus(x))


class Mish(Module):
    """x * tanh(softplus(x))."""

    def forward(self, x: Any) -> Any:
        return mish(x)


def hardsigmoid(x: Any) -> Tensor:
    """The line x / 6 + 1 / 2, cut off at 0 and 1."""
    return ops.clip(as_value(x, "hardsigmoid") + 3, 0, 6) / 6


class Hardsigmoid(Module):
    """The line x / 6 + 1 / 2, cut off at 0 and 1."""

    def forward(self, x: Any) -> Any:
        return hardsigmoid(x)


def hardswish(x: Any) -> Tensor:
    """x * hardsigmoid(x): Howard et al. 2019."""
    x = as_value(x, "hardswish")
    return x * hardsigmoid(x)


class Hardswish(Module):
    """x * hardsigmoid(x)."""

    def forward(self, x: Any) -> Any:
        return hardswish(x)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along an axis."""
    return ops.softmax(x, axis)


class Softmax(Module):
    """exp(x) / sum(exp(x)) along an axis, by default the last."""

    def __init__(self, axis: int = -1):
        self.axis = axis

    def forward(self, x: Any) -> Any:
        return softmax(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log(softmax(x)) along an axis."""
    return ops.logsoftmax(x, axis)


class LogSoftmax(Softmax):
    """log(softmax(x)) along an axis, by default the last."""

    def forward(self, x: Any) -> Any:
        return log_softmax(x, self.axis)


def glu(x: Any, axis: int = -1) -> Tensor:
    """The first half along an axis times the sigmoid of the second: Dauphin et al. 2017.

    ValueError for an axis of odd length.
    """
    x = as_value(x, "glu")
    if not -x.ndim <= axis < x.ndim or x.shape[axis] % 2:
        raise ValueError(f"glu: needs an even length along axis {axis}, got shape {x.shape}")
    half = x.shape[axis] // 2
    ahead = (slice(None),) * (axis % x.ndim)
    return x[(*ahead, slice(half))] * ops.sigmoid(x[(*ahead, slice(half, None))])


class GLU(Softmax):
    """The first half along an axis, by default the last, times the sigmoid of the second."""

    def forward(self, x: Any) -> Any:
        return glu(x, self.axis)
