"""Piecewise constant functions, and nextafter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import ZERO, Tensor
from .base import Elementwise, operands
from .selection import chosen


class Steps(Elementwise):
    """Any element-wise function whose derivative is 0 wherever it exists: floor, rint, round to decimals."""

    saves = ()
    __slots__ = ("function", "options")

    def __init__(self, function: Callable[..., Any], **options: Any):
        self.function = function
        self.options = options

    def compute(self, *arrays: Any) -> Any:
        return self.function(*arrays, **self.options)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return tuple([ZERO for _ in node.inputs])

    def __repr__(self) -> str:
        return self.function.__name__


class Heaviside(Elementwise):
    ufunc, saves = "heaviside", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        return ZERO, lambda: chosen(out_grad, a == 0)


def heaviside(a: Any, b: Any) -> Tensor:
    """0 where a is negative, 1 where a is positive, and b where a is 0."""
    return HEAVISIDE(*operands(a, b, floating=True))


class NextAfter(Elementwise):
    ufunc, saves = "nextafter", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad, ZERO


def nextafter(a: Any, b: Any) -> Tensor:
    """The next floating-point number after a towards b. Its derivative by a is 1, by b 0."""
    return NEXT_AFTER(*operands(a, b, floating=True))


HEAVISIDE, NEXT_AFTER = Heaviside(), NextAfter()
