"""Variance and standard deviation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Axes, Tensor
from ..backend import sum_over
from .base import batch_axes, given_axes, reduced_axes
from .reduction import Reduction, Summation, count_along, with_kept_axes
from .selection import zeroed


class _Moment(Reduction):
    """A moment whose divisor is the number of elements minus `correction`, but at least 0."""

    __slots__ = ("correction",)

    def __init__(self, axes: Axes = None, correction: float = 0, keepdims: bool = False):
        super().__init__(axes, keepdims)
        self.correction = correction

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return type(self)(batch_axes(self, self.axes, depths[0]), self.correction, self.keepdims)(values[0])

    def _variance(self, a: Any, whole: int) -> Any:
        """The variance of an array, or of a part with all of the axes, of which the whole array has so many bytes;
        float16 gives float32, as its sums overflow beyond 65,504."""
        axes = reduced_axes(self, self.axes, a.ndim)
        wide = a.astype(np.float32) if a.dtype == np.float16 else a
        count = count_along(a.shape, axes)
        if a.dtype.kind not in "fc" or count <= self.correction:  # NumPy has warnings for too few elements
            return wide.var(axes, ddof=self.correction, keepdims=self.keepdims)
        whole = max(whole, a.nbytes) * wide.itemsize // a.itemsize
        deviation = np.asarray(wide - sum_over(wide, axes, keepdims=True, whole=whole) / count)
        squares = np.square(deviation.real, out=deviation.real)
        if a.dtype.kind == "c":
            squares = squares + np.square(deviation.imag)
        return sum_over(squares, axes, keepdims=self.keepdims, whole=whole) / float(count - self.correction)

    def _slope(self, a: Any) -> Any:
        """Half of the variance's gradient: a minus its mean, over the divisor.

        The derivative of the mean itself adds nothing: it multiplies the sum of the deviations, which is 0.
        """
        if a.dtype == np.float16:
            a = a.astype(np.float32)
        axes = reduced_axes(self, self.axes, a.ndim)
        count = count_along(a.shape, axes)
        mean, divisor = Summation(axes, keepdims=True).on(a) / count, float(count - self.correction)
        slope = (a - mean) / (divisor if divisor > 0 else 0.0)
        return slope.conj() if a.dtype.kind == "c" else slope

    def _along_tangent(self, slope: Any, tangent: Any) -> Any:
        """The sum of slope * tangent; its real part, as the moment is real."""
        moved = Summation(self.axes, self.keepdims).on(slope * tangent)
        return moved.real if moved.dtype.kind == "c" else moved


def _result_dtype(a: Any) -> Any:
    return a.real.dtype if a.dtype.kind in "fc" else np.dtype(np.float64)


class Var(_Moment):
    saves = ("inputs",)
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return self.of_rows(a)

    def of_rows(self, a: Any, out: Any = None, whole: int = 0) -> Any:
        """Of a part of an array; see `_variance`."""
        return self._variance(a, whole).astype(_result_dtype(a), copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        return with_kept_axes(out_grad * 2, a.shape, self.axes) * self._slope(a)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return 2 * self._along_tangent(self._slope(node.inputs[0]), tangents[0])


def var(a: Any, axes: Axes = None, keepdims: bool = False, correction: float = 0, *, axis: Axes = None) -> Tensor:
    """The variance over axes: the sum of |a - mean(a)|**2 over the number of elements minus `correction`."""
    return Var(given_axes("var", axes, axis, keepdims), correction, keepdims)(a)


class Std(_Moment):
    saves = ("inputs", "output")
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return self.of_rows(a)

    def of_rows(self, a: Any, out: Any = None, whole: int = 0) -> Any:
        """Of a part of an array; see `_variance`."""
        return np.sqrt(self._variance(a, whole)).astype(_result_dtype(a), copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, y = node.inputs[0], node.output
        return with_kept_axes(_zero_safe_divide(out_grad, y), a.shape, self.axes) * self._slope(a)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        a, y = node.inputs[0], node.output
        return _zero_safe_divide(self._along_tangent(self._slope(a), tangents[0]), y)


def std(a: Any, axes: Axes = None, keepdims: bool = False, correction: float = 0, *, axis: Axes = None) -> Tensor:
    """The square root of `var`. Its gradient is 0 where all elements are equal."""
    return Std(given_axes("std", axes, axis, keepdims), correction, keepdims)(a)


def _zero_safe_divide(a: Any, b: Any) -> Any:
    """a / b, and a structural zero where b is 0."""
    zero = b == 0
    return zeroed(a, ~zero) / np.where(zero, 1, b)
