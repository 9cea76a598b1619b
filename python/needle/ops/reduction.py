"""Sums, products and extrema over axes."""

from __future__ import annotations

from math import prod as product
from typing import Any

import numpy as np

from ..autograd import Axes, Tensor, TensorOp, as_value, gradient_dtype
from ..backend import sum_over
from .base import Linear, as_floats, batch_axes, given_axes, kept_shape, reduced_axes
from .cumulative import can_divide_by_factors, product_before
from .discrete import is_same
from .selection import chosen, zeroed
from .shape import BroadcastTo


def with_kept_axes(reduced: Any, shape: tuple[int, ...], axes: Axes) -> Any:
    """The result of a reduction over `axes`, with these as axes of length 1: it broadcasts against the input."""
    if reduced.ndim:
        kept = kept_shape(shape, reduced_axes("with_kept_axes", axes, len(shape)))
        if reduced.shape != kept:
            reduced = reduced.reshape(kept)
    return reduced


class Reduction(TensorOp):
    """An op that reduces over axes; None means all axes."""

    __slots__ = ("axes", "keepdims")

    def __init__(self, axes: Axes = None, keepdims: bool = False):
        self.axes = axes
        self.keepdims = keepdims

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return type(self)(batch_axes(self, self.axes, depths[0]), self.keepdims)(values[0])


class Summation(Reduction, Linear):
    saves = ()
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        axes = None if self.axes is None else reduced_axes(self, self.axes, a.ndim)
        return sum_over(a, axes, None, None, self.keepdims)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        shape = node.inputs[0].shape
        out_grad = with_kept_axes(out_grad, shape, self.axes)
        return out_grad if out_grad.shape == shape else BroadcastTo(shape).on(out_grad)


def summation(a: Any, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None) -> Tensor:
    """The sum over axes: None for all, an int, or a tuple. float16 is summed in float32."""
    axes = given_axes("sum", axes, axis, keepdims)
    return (SUM if axes is None and not keepdims else Summation(axes, keepdims))(a)


def mean(a: Any, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None) -> Tensor:
    """The arithmetic mean over axes; integers give float64. The mean of no elements is NaN, as in NumPy."""
    axes = given_axes("mean", axes, axis, keepdims)
    a = as_value(a)
    count = count_along(a.shape, reduced_axes("mean", axes, a.ndim))
    if a.dtype == np.float16:
        return (summation(a.astype(np.float32), axes, keepdims) / count).astype(np.float16)
    return summation(as_floats(a), axes, keepdims) / count


def count_along(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """The number of elements that a reduction over these non-negative axes combines into one."""
    return product(shape[i] for i in axes)


class Prod(Reduction):
    saves = ("inputs", "output")
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        axes = reduced_axes(self, self.axes, a.ndim)
        if a.dtype == np.float16:
            return a.prod(axes, dtype=np.float32, keepdims=self.keepdims).astype(np.float16)
        return a.prod(axes, keepdims=self.keepdims)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return with_kept_axes(out_grad, node.inputs[0].shape, self.axes) * self._others(node)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return Summation(self.axes, self.keepdims).on(tangents[0] * self._others(node))

    def _others(self, node: Any) -> Any:
        """For each element, the product of the others."""
        a, y = node.inputs[0], node.output
        if can_divide_by_factors(y):
            return with_kept_axes(y, a.shape, self.axes) / a
        others: Any = 1
        for axis in reduced_axes(self, self.axes, a.ndim):
            others = product_before(a, axis - a.ndim) * product_before(a, axis - a.ndim, reverse=True) * others
            a = Prod(axis, keepdims=True).on(a)
        return others


def prod(a: Any, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None) -> Tensor:
    """The product over axes. Its gradient is exact at zeros as well."""
    return Prod(given_axes("prod", axes, axis, keepdims), keepdims)(a)


class _Extremum(Reduction):
    saves = ("inputs", "output")
    __slots__ = ()
    of: np.ufunc

    def compute(self, a: Any) -> Any:
        return self.of.reduce(a, axis=reduced_axes(self, self.axes, a.ndim), keepdims=self.keepdims)

    def hint(self, *arrays: Any) -> str:
        return f"no elements have no {self.of.__name__}; check the shape" if arrays[0].size == 0 else ""

    def gradient(self, out_grad: Any, node: Any) -> Any:
        places, ties = self._chosen(node)
        return chosen(with_kept_axes(out_grad / ties, node.inputs[0].shape, self.axes), places)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        places, ties = self._chosen(node)
        moved = zeroed(tangents[0], places)
        moved = moved if moved.dtype == ties.dtype else moved.astype(ties.dtype)  # a float16 sum of many may overflow
        return Summation(self.axes, self.keepdims).on(moved) / ties

    def _chosen(self, node: Any) -> tuple[Any, Any]:
        """The mask of the elements equal to the extremum, and their number per output element: they share evenly."""
        a = node.inputs[0]
        places = is_same(a, with_kept_axes(node.output, a.shape, self.axes))
        dtype = np.float32 if a.dtype == np.float16 else gradient_dtype(a.dtype)
        return places, Summation(self.axes, self.keepdims).on(places.astype(dtype))


class Max(_Extremum):
    __slots__ = ()
    of = np.maximum


def max(a: Any, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None) -> Tensor:
    """The largest element over axes. Equal elements share its gradient evenly."""
    return Max(given_axes("max", axes, axis, keepdims), keepdims)(a)


class Min(_Extremum):
    __slots__ = ()
    of = np.minimum


def min(a: Any, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None) -> Tensor:
    """The smallest element over axes. Equal elements share its gradient evenly."""
    return Min(given_axes("min", axes, axis, keepdims), keepdims)(a)


class NanMax(_Extremum):
    """The largest element that is not NaN; NaN if all are."""

    __slots__ = ()
    of = np.fmax


class NanMin(_Extremum):
    """The smallest element that is not NaN; NaN if all are."""

    __slots__ = ()
    of = np.fmin


SUM = Summation()
