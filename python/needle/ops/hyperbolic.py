"""Hyperbolic functions and their inverses."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from .base import Elementwise, as_floats


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
    ufunc, saves = "tanh", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * SECH_SQUARED.on(as_floats(node.inputs[0]))  # 1 - output**2 loses its digits far from 0


def tanh(a: Any) -> Tensor:
    """The hyperbolic tangent."""
    return TANH(a)


class SechSquared(Elementwise):
    """1 / cosh(a)**2, the derivative of tanh, with all digits far from 0 and without overflow."""

    saves = ("inputs", "output")

    def compute(self, a: Any) -> Any:
        falling = np.exp(-np.abs(a) if a.dtype.kind != "c" else np.where(a.real < 0, a, -a))
        falling = falling * falling
        return 4 * falling / np.square(1 + falling)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * (-2 * node.output * TANH.on(node.inputs[0]))


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
        return out_grad / (1 - a) / (1 + a)


SINH, COSH, TANH, SECH_SQUARED = Sinh(), Cosh(), Tanh(), SechSquared()
ARCSINH, ARCCOSH, ARCTANH = Arcsinh(), Arccosh(), Arctanh()
