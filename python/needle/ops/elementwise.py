"""Functions of one argument, element by element."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..autograd import ZERO, Tensor, Value, branch_of
from .base import Elementwise
from .selection import MASKED, branch, where


class Exp(Elementwise):
    ufunc, saves = "exp", ("output",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * node

    def moving_gradient(self, out_grad: Any, change: Any, node: Any, moved: Any, by: Any) -> Any:
        gradient = out_grad * node._array
        changes = out_grad * moved
        if change is not None:
            changes += change * node._array
        return gradient, changes


def exp(a: Any) -> Tensor:
    """e ** a."""
    return EXP(a)


class Log(Elementwise):
    ufunc, saves = "log", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad / node.inputs[0]


def log(a: Any) -> Tensor:
    """The natural logarithm."""
    return LOG(a)


class Sqrt(Elementwise):
    ufunc, saves = "sqrt", ("output",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad / (2 * node)


def sqrt(a: Any) -> Tensor:
    """The square root. Its gradient at 0 is infinite."""
    return SQRT(a)


class Sin(Elementwise):
    ufunc, saves = "sin", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * cos(node.inputs[0])


def sin(a: Any) -> Tensor:
    """The sine of radians."""
    return SIN(a)


class Cos(Elementwise):
    ufunc, saves = "cos", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return -out_grad * sin(node.inputs[0])


def cos(a: Any) -> Tensor:
    """The cosine of radians."""
    return COS(a)


class Tanh(Elementwise):
    ufunc, saves = "tanh", ("output",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * (1 - node * node)  # from the output: g / cosh(a)**2 overflows

    def moving_gradient(self, out_grad: Any, change: Any, node: Any, moved: Any, by: Any) -> Any:
        y = node._array
        slope = y * y
        np.subtract(1, slope, out=slope)
        changes = y * moved
        changes *= -2
        changes *= out_grad
        gradient = out_grad * slope
        if change is not None:
            slope *= change
            changes += slope
        return gradient, changes


def tanh(a: Any) -> Tensor:
    """The hyperbolic tangent."""
    return TANH(a)


class ReLU(Elementwise):
    ufunc, saves, piecewise_linear = "maximum", ("output",), True

    def compute(self, a: Any, out: Any = None) -> Any:
        return np.maximum(a, _zeros_beside(a), out=out)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return branch(out_grad, node > 0)

    def array_gradient(self, out_grad: Any, node: Any, asked: set[Value]) -> Any:
        mask = np.greater(node._array, 0)
        return (branch_of(MASKED.compute(out_grad, mask), mask, node.inputs[0]),)


def _zeros_beside(a: Any) -> Any:
    """What an array of floats is compared with: NumPy's maximum is three times as fast on two arrays as on an array
    and a number. One row of zeros will do for a large one, if it is long."""
    if a.dtype.char not in "fd":
        return 0
    if a.size <= 1 << 16:
        return _zeros(a.shape, a.dtype)
    return _zeros(a.shape[-1:], a.dtype) if a.shape[-1] >= 256 else 0


@lru_cache(maxsize=32)
def _zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    zeros = np.zeros(shape, dtype)
    zeros.flags.writeable = False
    return zeros


def relu(a: Any) -> Tensor:
    """max(a, 0); its gradient at 0 is 0, and no NaN passes where it is 0."""
    return RELU(a)


class Abs(Elementwise):
    ufunc, saves = "absolute", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        if a.dtype.kind != "c":
            return out_grad * sign(a)
        return out_grad * a.conj() / where(node == 0, 1, node)


def absolute(a: Any) -> Tensor:
    """|a|; its gradient at 0 is 0. For complex a, the modulus."""
    return ABS(a)


class Sign(Elementwise):
    ufunc, saves = "sign", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return ZERO


def sign(a: Any) -> Tensor:
    """-1, 0 or 1; its gradient is 0. For complex a, a / |a|, which has no gradient here."""
    return SIGN(a)


EXP, LOG, SQRT, SIN, COS, TANH = Exp(), Log(), Sqrt(), Sin(), Cos(), Tanh()
RELU, ABS, SIGN = ReLU(), Abs(), Sign()
