"""SciPy's element-wise functions as ops: SciPy computes the values, rules.py has the slopes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..autograd import ZERO, Tensor, TensorTupleOp, wanted
from ..ops.base import NUMBERS, Elementwise, aligned, broadcast_hint
from ..ops.power import zero_safe_multiply

Slope: TypeAlias = Any
"""The derivative by one argument.

It is a function of the arguments and the output that returns a Tensor (for several results, a tuple of Tensors); ZERO
if the derivative is 0 wherever it exists; None if it is not known.
"""


class _Special:
    """A function with its slopes. Python numbers among its arguments are part of the op, not inputs."""

    __slots__ = ("function", "numbers", "slopes")

    def __init__(self, function: Callable[..., Any], slopes: tuple[Slope, ...], numbers: dict[int, Any]):
        self.function = function
        self.slopes = slopes
        self.numbers = numbers

    def arguments(self, inputs: Any) -> list[Any]:
        """All arguments: these inputs, with the numbers at their positions."""
        rest = iter(inputs)
        count = len(self.numbers) + len(inputs)
        return [self.numbers[i] if i in self.numbers else next(rest) for i in range(count)]

    def compute(self, *arrays: Any) -> Any:
        return self.function(*self.arguments(arrays))

    def slopes_at(self, node: Any) -> list[Any]:
        """The slope by each input: a Tensor (or a tuple of them), ZERO, or None where no adjoint is wanted.

        Raises NotImplementedError where an adjoint is wanted and the slope is not known.
        """
        places = [i for i in range(len(node.inputs) + len(self.numbers)) if i not in self.numbers]
        slopes = [self.slopes[i] if i < len(self.slopes) else None for i in places]
        pairs = list(zip(slopes, node.inputs, strict=True))
        given = self.arguments([_inexact(a) if callable(slope) else a for slope, a in pairs])
        asked = [len(pairs) == 1 or wanted(a) for _, a in pairs]  # a single input is always wanted
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
    """Integers converted to float64: the squares in a slope would overflow."""
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
    """A function like x log x, whose slope at 0 is infinite, but grows slower than any power.

    An adjoint of 0 stays 0 there.
    """

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
    """`of` as a function of Tensors, arrays and numbers, with these slopes.

    For Python numbers alone it returns Python numbers, which stay weak in dtype.
    """

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
