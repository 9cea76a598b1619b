"""Hyperbolic functions and their inverses."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import ZERO, Tensor
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
    """The derivative of y = tanh(a), as a function of y: its own rule leaves a out."""

    saves = ("inputs",)

    def compute(self, y: Any, a: Any) -> Any:
        return sech_squared(a) if y.dtype.kind == "c" else with_digits(1 - y * y, sech_squared, a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * (-2 * node.inputs[0]), ZERO


_FEW_DIGITS = 2.0**-6
"""Below this, more than six bits of a slope are lost if it is computed from the output."""


def with_digits(slope: Any, exact: Any, a: Any) -> Any:
    """A slope computed from an output; where it is small, the output lacks its digits, and exact(a) has them."""
    slope = np.asarray(slope)
    small = np.flatnonzero(slope < _FEW_DIGITS)
    if small.size:
        slope.put(small, exact(a.take(small)))
    return slope


def sech_squared(a: Any) -> Any:
    """1 / cosh(a)**2 of an array, without overflow."""
    falling = np.exp(-2 * (np.abs(a) if a.dtype.kind != "c" else np.where(a.real < 0, -a, a)))
    return 4 * falling / np.square(1 + falling)


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
