"""Functions that are constant between jumps, and those whose value moves with an operand in steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import ZERO, Tensor
from .base import Elementwise, operands
from .selection import chosen


class Steps(Elementwise):
    """Any function of elements that is constant wherever it has a derivative: floor, rint, round to decimals."""

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
    """0 where a is negative, 1 where it is positive, and b where it is 0."""
    return HEAVISIDE(*operands(a, b, floating=True))


class NextAfter(Elementwise):
    ufunc, saves = "nextafter", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad, ZERO


def nextafter(a: Any, b: Any) -> Tensor:
    """The next floating-point number after a towards b, which moves along with a."""
    return NEXT_AFTER(*operands(a, b, floating=True))


HEAVISIDE, NEXT_AFTER = Heaviside(), NextAfter()
