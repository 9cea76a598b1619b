"""Angles, and the sides of right-angled triangles."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, Value, wanted
from ..pool import SMALLEST
from .base import Elementwise, Linear, as_floats, operands
from .elementwise import absolute, sign, sqrt
from .selection import masked, where


class Sin(Elementwise):
    ufunc, saves = "sin", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * cos(node.inputs[0])

    def array_gradient(self, out_grad: Any, node: Any, asked: set[Value]) -> Any:
        return (out_grad * np.cos(node.saved[0]),) if out_grad.nbytes < SMALLEST else None


def sin(a: Any) -> Tensor:
    """The sine of radians."""
    return SIN(a)


class Cos(Elementwise):
    ufunc, saves = "cos", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return -out_grad * sin(node.inputs[0])

    def array_gradient(self, out_grad: Any, node: Any, asked: set[Value]) -> Any:
        return (-out_grad * np.sin(node.saved[0]),) if out_grad.nbytes < SMALLEST else None


def cos(a: Any) -> Tensor:
    """The cosine of radians."""
    return COS(a)


class Tan(Elementwise):
    """The tangent of radians."""

    ufunc, saves = "tan", ("output",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * (1 + node * node)


class Arcsin(Elementwise):
    """The inverse sine, in radians. Its gradient at -1 and 1 is infinite."""

    ufunc, saves = "arcsin", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        if node.dtype.kind == "c":
            return out_grad / cos(node)  # the square root of 1 - a*a has another sign on one side of a branch cut
        a = as_floats(node.inputs[0])
        return out_grad / sqrt((1 - a) * (1 + a))


class Arccos(Elementwise):
    """The inverse cosine, in radians. Its gradient at -1 and 1 is infinite."""

    ufunc, saves = "arccos", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        if node.dtype.kind == "c":
            return -out_grad / sin(node)
        a = as_floats(node.inputs[0])
        return -out_grad / sqrt((1 - a) * (1 + a))


class Arctan(Elementwise):
    """The inverse tangent, in radians."""

    ufunc, saves = "arctan", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        if a.dtype.kind == "c":
            return out_grad / (a - 1j) / (a + 1j)
        length = hypot(1, a)  # whose square, 1 + a*a, may overflow
        return out_grad / length / length


class Hypot(Elementwise):
    ufunc, saves = "hypot", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        at_an_end = (node == 0) | (node == np.inf)
        length = where(at_an_end, 1, node)

        def share(a: Any) -> Any:
            """a / length; where both are 0, 0, and where both are infinite, the sign of a."""
            return where(at_an_end, masked(sign(a), absolute(a) == node), a / length)

        return tuple([out_grad * share(as_floats(a)) if wanted(a) else None for a in node.inputs])


def hypot(a: Any, b: Any) -> Tensor:
    """sqrt(a**2 + b**2), without overflow; its gradient at (0, 0) is 0."""
    return HYPOT(*operands(a, b, floating=True))


class Arctan2(Elementwise):
    ufunc, saves = "arctan2", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, b = node.inputs
        length = hypot(a, b)
        proper = (length != 0) & (length != np.inf)
        length = where(proper, length, 1)
        by_a = masked(out_grad * (b / length) / length, proper) if wanted(a) else None
        return by_a, masked(-out_grad * (a / length) / length, proper) if wanted(b) else None


def arctan2(a: Any, b: Any) -> Tensor:
    """The angle of the point (b, a), in radians from -pi to pi; its gradient at (0, 0), where it has none, is 0."""
    return ARCTAN2(*operands(a, b, floating=True))


class Degrees(Linear, Elementwise):
    """Radians in degrees."""

    ufunc, saves = "degrees", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return DEGREES(out_grad)


class Radians(Linear, Elementwise):
    """Degrees in radians."""

    ufunc, saves = "radians", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return RADIANS(out_grad)


SIN, COS, TAN, ARCSIN, ARCCOS, ARCTAN = Sin(), Cos(), Tan(), Arcsin(), Arccos(), Arctan()
HYPOT, ARCTAN2, DEGREES, RADIANS = Hypot(), Arctan2(), Degrees(), Radians()
