"""The larger or smaller of two elements, and clipping."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import CONSTANT, Tensor, Value, as_value
from ..backend import array_of_numbers
from .base import NUMBERS, Elementwise, aligned, broadcast_hint, operands
from .discrete import is_same
from .selection import chosen


class _ExtremumOfTwo(Elementwise):
    """The adjoint goes to the chosen element. Equal elements share it evenly; NaN counts as equal to NaN."""

    saves = ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        is_a, is_b = [is_same(x, node.output) for x in node.inputs]
        shared = np.where(is_a & is_b, 0.5 * out_grad, out_grad)
        return lambda: chosen(shared, is_a), lambda: chosen(shared, is_b)


class Maximum(_ExtremumOfTwo):
    ufunc = "maximum"


def maximum(a: Any, b: Any) -> Tensor:
    """The larger of two elements; NaN if either is NaN. Equal elements share the gradient evenly."""
    return MAXIMUM(*operands(a, b))


class Minimum(_ExtremumOfTwo):
    ufunc = "minimum"


def minimum(a: Any, b: Any) -> Tensor:
    """The smaller of two elements; NaN if either is NaN. Equal elements share the gradient evenly."""
    return MINIMUM(*operands(a, b))


class FMax(_ExtremumOfTwo):
    ufunc = "fmax"


def fmax(a: Any, b: Any) -> Tensor:
    """The larger of two elements; the other one if either is NaN. Equal elements share the gradient evenly."""
    return FMAX(*operands(a, b))


class FMin(_ExtremumOfTwo):
    ufunc = "fmin"


def fmin(a: Any, b: Any) -> Tensor:
    """The smaller of two elements; the other one if either is NaN. Equal elements share the gradient evenly."""
    return FMIN(*operands(a, b))


class Clip(Elementwise):
    """Elements clipped to constant bounds: Python numbers, arrays, or None for no bound.

    The derivative is 1 from bound to bound (inclusive), and 0 outside.
    """

    notation = "clip({0}, {low}, {high})"
    saves = ("inputs",)
    __slots__ = ("high", "low")

    def __init__(self, low: Any, high: Any):
        self.low = low
        self.high = high

    @property
    def _arrays(self) -> list[Any]:
        return [bound for bound in (self.low, self.high) if isinstance(bound, np.ndarray)]

    def compute(self, a: Any, out: Any = None) -> Any:
        return np.clip(a, self.low, self.high, out=None if self._arrays else out)

    def hint(self, *arrays: Any) -> str:
        return broadcast_hint(*arrays, *self._arrays)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        outside = [] if self.low is None else [a < self.low]
        outside += [] if self.high is None else [a > self.high]
        inside = ~outside[0] if len(outside) == 1 else ~(outside[0] | outside[1])
        return chosen(out_grad, inside)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        bounds = self._arrays
        return self(aligned((*values, *bounds), (*depths, *(None,) * len(bounds)))[0])


def clip(a: Any, low: Any = None, high: Any = None) -> Tensor:
    """a clipped to at least `low` and at most `high` (None: no bound); NaN stays NaN.

    Where a equals a constant bound, a gets the whole gradient. A bound that needs a gradient shares it evenly with a,
    as in `minimum(maximum(a, low), high)`.
    """
    a = as_value(a, "clip")
    if any(isinstance(bound, Value) and bound.needs != CONSTANT for bound in (low, high)):
        a = a if low is None else maximum(a, low)
        return a if high is None else minimum(a, high)
    low, high = [bound.numpy() if isinstance(bound, Tensor) else bound for bound in (low, high)]
    low, high = [b if b is None or type(b) in NUMBERS else array_of_numbers("clip", b) for b in (low, high)]
    return a.astype(a.dtype) if low is high is None else Clip(low, high)(a)


MAXIMUM, MINIMUM, FMAX, FMIN = Maximum(), Minimum(), FMax(), FMin()
