"""Hyperbolic functions and their inverses."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from ..pool import result_of
from .base import Elementwise, as_floats, by_output
from .elementwise import sqrt
from .trigonometric import hypot


class Sinh(Elementwise):
    """The hyperbolic sine."""

    ufunc, saves = "sinh", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * COSH(node.inputs[0])


class Cosh(Elementwise):
    """The hyperbolic cosine."""

    ufunc, saves = "cosh", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * SINH(node.inputs[0])


class Tanh(Elementwise):
    ufunc, saves = "tanh", ("output",)
    gradient, array_gradient = by_output(lambda g, y: g * (1 - y * y))  # from the output: g / cosh(a)**2 overflows

    def moving_gradient(self, out_grad: Any, node: Any, moves: Any, valued: bool) -> Any:
        y, change, gradient = node._array, moves.adjoint, None
        changes = np.multiply(y, moves.output, out=result_of((y,)))
        changes *= -2
        changes *= out_grad
        if valued or change is not None:
            slope = np.multiply(y, y, out=result_of((y,)))
            np.subtract(1, slope, out=slope)
            if valued:
                gradient = np.multiply(out_grad, slope, out=result_of((y,)))
            if change is not None:
                slope *= change
                changes += slope
        return gradient, changes


def tanh(a: Any) -> Tensor:
    """The hyperbolic tangent."""
    return TANH(a)


class Arcsinh(Elementwise):
    """The inverse hyperbolic sine."""

    ufunc, saves = "arcsinh", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        if node.dtype.kind == "c":
            return out_grad / COSH(node)  # on the right side of the branch cuts
        return out_grad / hypot(1, node.inputs[0])


class Arccosh(Elementwise):
    """The inverse hyperbolic cosine. Its gradient at 1 is infinite."""

    ufunc, saves = "arccosh", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        if node.dtype.kind == "c":
            return out_grad / SINH(node)
        a = as_floats(node.inputs[0])
        return out_grad / (sqrt(a - 1) * sqrt(a + 1))  # a*a may overflow


class Arctanh(Elementwise):
    """The inverse hyperbolic tangent. Its gradient at -1 and 1 is infinite."""

    ufunc, saves = "arctanh", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = as_floats(node.inputs[0])
        return out_grad / (1 - a) / (1 + a)


SINH, COSH, TANH = Sinh(), Cosh(), Tanh()
ARCSINH, ARCCOSH, ARCTANH = Arcsinh(), Arccosh(), Arctanh()
