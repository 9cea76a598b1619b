"""Trigonometric functions, their inverses, and hypot."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from .base import Elementwise, Linear, as_floats, operands
from .selection import zeroed


class Sin(Elementwise):
    ufunc, saves = "sin", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * np.cos(node.inputs[0])


def sin(a: Any) -> Tensor:
    """The sine of radians."""
    return SIN(a)


class Cos(Elementwise):
    ufunc, saves = "cos", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return -out_grad * np.sin(node.inputs[0])


def cos(a: Any) -> Tensor:
    """The cosine of radians."""
    return COS(a)


class Tan(Elementwise):
    """The tangent of radians."""

    ufunc, saves = "tan", ("output",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        y = node.output
        return out_grad * (1 + y * y)


class Arcsin(Elementwise):
    """The inverse sine, in radians. Its gradient at -1 and 1 is infinite."""

    ufunc, saves = "arcsin", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        y = node.output
        if y.dtype.kind == "c":
            return out_grad / np.cos(y)  # sqrt(1 - a * a) would have the wrong sign on one side of a branch cut
        a = as_floats(node.inputs[0])
        return out_grad / np.sqrt(ONE_LESS_SQUARE.on(a))


class Arccos(Elementwise):
    """The inverse cosine, in radians. Its gradient at -1 and 1 is infinite."""

    ufunc, saves = "arccos", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        y = node.output
        if y.dtype.kind == "c":
            return -out_grad / np.sin(y)
        a = as_floats(node.inputs[0])
        return -out_grad / np.sqrt(ONE_LESS_SQUARE.on(a))


class OneLessSquare(Elementwise):
    """1 - a**2, with all digits near 1, and of its derivative near 0."""

    saves = ("inputs",)

    def compute(self, a: Any) -> Any:
        return (1 - a) * (1 + a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * (-2 * node.inputs[0])


class Arctan(Elementwise):
    """The inverse tangent, in radians."""

    ufunc, saves = "arctan", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        if a.dtype.kind == "c":
            return out_grad / (a - 1j) / (a + 1j)
        length = np.hypot(1, a)  # its square, 1 + a * a, may overflow
        return out_grad / length / length


class Hypot(Elementwise):
    ufunc, saves = "hypot", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        y = node.output
        at_an_end = (y == 0) | (y == np.inf)

        def share(a: Any, b: Any) -> Any:
            """a / y; 0 where both are 0, and the sign of a where both are infinite."""
            return np.where(at_an_end, zeroed(np.sign(a), np.abs(a) == y), SLOPE_OF_HYPOT.on(a, b))

        a, b = map(as_floats, node.inputs)
        return lambda: out_grad * share(a, b), lambda: out_grad * share(b, a)


class SlopeOfHypot(Elementwise):
    """The derivative of hypot(a, b) by a: a / hypot(a, b), and 0 at (0, 0).

    Its own derivatives are products: in those of a quotient, two parts would cancel.
    """

    saves = ("inputs",)

    def compute(self, a: Any, b: Any) -> Any:
        return a / _proper(np.hypot(a, b))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, b = node.inputs
        other = SLOPE_OF_HYPOT.on(b, a)
        part = out_grad * other / _proper(HYPOT.on(a, b))
        return lambda: part * other, lambda: -part * SLOPE_OF_HYPOT.on(a, b)


def _proper(length: Any) -> Any:
    return np.where((length == 0) | (length == np.inf), 1, length)


def hypot(a: Any, b: Any) -> Tensor:
    """sqrt(a**2 + b**2), without overflow. Its gradient at (0, 0) is 0."""
    return HYPOT(*operands(a, b, floating=True))


class Arctan2(Elementwise):
    ufunc, saves = "arctan2", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, b = node.inputs
        length = np.hypot(a, b)
        proper = (length != 0) & (length != np.inf)
        length = np.where(proper, length, 1)
        return (
            lambda: zeroed(out_grad * (b / length) / length, proper),
            lambda: zeroed(-out_grad * (a / length) / length, proper),
        )


def arctan2(a: Any, b: Any) -> Tensor:
    """The angle of the point (b, a), in radians from -pi to pi. Its gradient at (0, 0) is taken as 0."""
    return ARCTAN2(*operands(a, b, floating=True))


class Degrees(Linear, Elementwise):
    """Radians converted to degrees."""

    ufunc, saves = "degrees", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return np.degrees(out_grad)


class Radians(Linear, Elementwise):
    """Degrees converted to radians."""

    ufunc, saves = "radians", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return np.radians(out_grad)


SIN, COS, TAN, ARCSIN, ARCCOS, ARCTAN = Sin(), Cos(), Tan(), Arcsin(), Arccos(), Arctan()
HYPOT, SLOPE_OF_HYPOT, ARCTAN2, DEGREES, RADIANS = Hypot(), SlopeOfHypot(), Arctan2(), Degrees(), Radians()
ONE_LESS_SQUARE = OneLessSquare()
