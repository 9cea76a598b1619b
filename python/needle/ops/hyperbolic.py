"""Hyperbolic functions and their inverses."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import ZERO, Tensor
from ..pool import result_of
from .base import Elementwise, as_floats
from .trigonometric import ONE_LESS_SQUARE


class Sinh(Elementwise):
    """The hyperbolic sine."""

    ufunc, saves = "sinh", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * np.cosh(node.inputs[0])


class Cosh(Elementwise):
    """The hyperbolic cosine."""

    ufunc, saves = "cosh", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * np.sinh(node.inputs[0])


class Tanh(Elementwise):
    ufunc, saves = "tanh", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * SLOPE_OF_TANH.on(node.output, as_floats(node.inputs[0]))


def tanh(a: Any) -> Tensor:
    """The hyperbolic tangent."""
    return TANH(a)


class SlopeOfTanh(Elementwise):
    """The derivative of y = tanh(a), computed from a; its own derivative takes y, which is at hand."""

    saves = ("inputs", "output")

    def compute(self, y: Any, a: Any) -> Any:
        return bell(as_floats(a), 1)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return ZERO, out_grad * (-2 * node.inputs[0] * node.output)


def bell(a: Any, height: Any) -> Any:
    """height / cosh(a)**2 of floats: the derivative of tanh(a), and a quarter of it that of the sigmoid of 2 * a. What
    is computed from the function, 1 - y * y or y * (1 - y), loses its digits in the tails."""
    if a.dtype.kind == "c":
        falling = np.exp(-2 * np.where(a.real < 0, -a, a))  # cosh(a) squared may overflow to NaN
        return 4 * height * falling / np.square(1 + falling)
    with np.errstate(over="ignore"):
        square = np.asarray(np.cosh(a, out=result_of((a,))))
        np.multiply(square, square, square)
    return np.divide(height, square, square)


class Arcsinh(Elementwise):
    """The inverse hyperbolic sine."""

    ufunc, saves = "arcsinh", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, y = node.inputs[0], node.output
        if y.dtype.kind == "c":
            return out_grad / np.cosh(y)  # by the output, which is right on both sides of the branch cuts
        return out_grad / np.hypot(1, a)


class Arccosh(Elementwise):
    """The inverse hyperbolic cosine. Its gradient at 1 is infinite."""

    ufunc, saves = "arccosh", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        y = node.output
        if y.dtype.kind == "c":
            return out_grad / np.sinh(y)
        a = as_floats(node.inputs[0])
        return out_grad / (np.sqrt(a - 1) * np.sqrt(a + 1))  # a * a may overflow


class Arctanh(Elementwise):
    """The inverse hyperbolic tangent. Its gradient at -1 and 1 is infinite."""

    ufunc, saves = "arctanh", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = as_floats(node.inputs[0])
        if a.dtype.kind == "c":
            return out_grad / (1 - a) / (1 + a)
        return out_grad / ONE_LESS_SQUARE.on(a)


SINH, COSH, TANH, SLOPE_OF_TANH = Sinh(), Cosh(), Tanh(), SlopeOfTanh()
ARCSINH, ARCCOSH, ARCTANH = Arcsinh(), Arccosh(), Arctanh()
