"""SciPy's functions of elements as operations: what they compute is SciPy's, their slopes are in rules.py."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..autograd import ZERO, Tensor, TensorTupleOp, wanted
from ..ops.base import NUMBERS, Elementwise, aligned, broadcast_hint
from ..ops.power import zero_safe_multiply

Slope: TypeAlias = Any
"""The derivative by one argument: a function of the arguments and the output, which returns a Tensor (of a function
with several results: a tuple of them); ZERO where it is zero wherever there is one; None where it is not known."""


class _Special:
    """What an operation needs to know of a function; Python numbers among its arguments are part of it, not inputs."""

    __slots__ = ("function", "numbers", "slopes")

    def __init__(self, function: Callable[..., Any], slopes: tuple[Slope, ...], numbers: dict[int, Any]):
        self.function = function
        self.slopes = slopes
        self.numbers = numbers

    def arguments(self, inputs: Any) -> list[Any]:
        """All arguments, with these in the places that are not numbers."""
        rest = iter(inputs)
        count = len(self.numbers) + len(inputs)
        return [self.numbers[i] if i in self.numbers else next(rest) for i in range(count)]

    def compute(self, *arrays: Any) -> Any:
        return self.function(*self.arguments(arrays))

    def slopes_at(self, node: Any) -> list[Any]:
        """The slope by each input: a Tensor (a tuple of them), ZERO, or None where nobody asked."""
        places = [i for i in range(len(node.inputs) + len(self.numbers)) if i not in self.numbers]
        slopes = [self.slopes[i] if i < len(self.slopes) else None for i in places]
        pairs = list(zip(slopes, node.inputs, strict=True))
        given = self.arguments([_inexact(a) if callable(slope) else a for slope, a in pairs])
        asked = [len(pairs) == 1 or wanted(a) for _, a in pairs]  # of an only input, the rule is asked for nothing else
        for i, slope, is_asked in zip(places, slopes, asked, strict=True):
            if slope is None and is_asked:
                raise NotImplementedError(_unknown(self.function.__name__, i))
        return [
            None if not is_asked else slope(*given, node) if callable(slope) else slope
            for slope, is_asked in zip(slopes, asked, strict=True)
        ]

    def hint(self, *arrays: Any) -> str:
        return broadcast_hint(*arrays)

    @property
    def notation(self) -> str:
        if not self.numbers:
            return f"{self.function.__name__}({{inputs}})"
        inputs = iter(range(len(self.slopes)))
        every = [str(self.numbers[i]) if i in self.numbers else f"{{{next(inputs)}}}" for i in range(len(self.slopes))]
        return f"{self.function.__name__}({', '.join(every)})" if every else ""

    def __repr__(self) -> str:
        return str(self.function.__name__)


def _inexact(a: Any) -> Any:
    """Slopes square and divide: integers would overflow."""
    return a.astype(np.float64) if a.dtype.kind in "biu" else a


def _unknown(name: str, i: int) -> str:
    return (
        f"{name}: its derivative by argument {i} is not known; give that argument as a number, or through "
        "needle.stop_gradient, if it is a constant"
        + (f"; needle.numerical(scipy.special.{name}) takes differences" if name.isidentifier() else "")
    )


class Special(_Special, Elementwise):
    """A function with one result."""

    __slots__ = ()
    on_arrays = False
    times: Callable[[Any, Any], Any] = staticmethod(operator.mul)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        slopes = self.slopes_at(node)
        return tuple(slope if slope is None or slope is ZERO else self.times(out_grad, slope) for slope in slopes)


class Entropic(Special):
    """One like x log x, whose slope at 0 is infinite, but less so than any power: an adjoint of 0 stays 0 there."""

    __slots__ = ()
    times = staticmethod(zero_safe_multiply)


class SpecialTuple(_Special, TensorTupleOp):
    """A function with several results."""

    __slots__ = ()
    on_arrays = False

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return tuple(
            None
            if slopes is None
            else sum(g * slope for g, slope in zip(out_grad, slopes, strict=True) if g is not None)
            for slopes in self.slopes_at(node)
        )

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))


def on_tensors(kind: Any, of: Any, slopes: tuple[Slope, ...]) -> Callable[..., Any]:
    """The function of Tensors, arrays and numbers that computes `of` and has these slopes. Of Python numbers alone it
    makes Python numbers, which are weak beside arrays."""

    def apply(*arguments: Any) -> Any:
        numbers = {i: a for i, a in enumerate(arguments) if type(a) in NUMBERS}
        if len(numbers) == len(arguments):
            out = of(*arguments)
            return tuple([y.item() for y in out]) if isinstance(out, tuple) else out.item()
        out = kind(of, slopes, numbers)(*[a for i, a in enumerate(arguments) if i not in numbers])
        return out if isinstance(out, Tensor) else tuple(out)

    apply.__name__ = apply.__qualname__ = of.__name__
    apply.__doc__ = f"{of.__name__} of SciPy, on Tensors."
    return apply
