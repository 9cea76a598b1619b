"""Sums and maxima over axes."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..autograd import Axes, Tensor, TensorOp, Value, as_value
from .base import Linear, batch_axes, given_axes, kept_shape, normalize_axes
from .shape import BroadcastTo, Reshape


def expand(reduced: Tensor, shape: tuple[int, ...], axes: Axes) -> Tensor:
    """What a reduction of an input of this shape returned, broadcast back to that shape."""
    if reduced.ndim:
        kept = kept_shape(shape, normalize_axes("expand", axes, len(shape)))
        if reduced.shape != kept:
            reduced = Reshape(kept)(reduced)
    return reduced if reduced.shape == shape else BroadcastTo(shape)(reduced)


class Summation(Linear):
    saves, moves = (), True
    __slots__ = ("axes", "keepdims")

    def __init__(self, axes: Axes = None, keepdims: bool = False):
        self.axes = axes
        self.keepdims = keepdims

    def compute(self, a: Any) -> Any:
        axes = None if self.axes is None else normalize_axes(self, self.axes, a.ndim)
        if a.dtype == np.float16:  # float16 stops counting at 2048
            return a.sum(axes, dtype=np.float32, keepdims=self.keepdims).astype(np.float16)
        return a.sum(axes, keepdims=self.keepdims)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return expand(out_grad, node.inputs[0].shape, self.axes)

    def array_gradient(self, out_grad: Any, node: Any, asked: set[Value]) -> Any:
        shape = node.inputs[0].shape
        if out_grad.ndim:
            out_grad = out_grad.reshape(kept_shape(shape, normalize_axes(self, self.axes, len(shape))))
        return (BroadcastTo(shape).compute(out_grad),)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return type(self)(batch_axes(self, self.axes, depths[0]), self.keepdims)(values[0])


def summation(a: Any, axes: Axes = None, keepdims: bool = False) -> Tensor:
    """The sum over axes: None for all, an int, or a tuple."""
    return Summation(axes, keepdims)(a)


def mean(a: Any, axes: Axes = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean over axes; integers give float64. Over no elements it is NaN, as in NumPy."""
    a = as_value(a)
    count = prod(a.shape[i] for i in normalize_axes("mean", axes, a.ndim))
    if a.dtype == np.float16:
        return (summation(a.astype(np.float32), axes, keepdims) / count).astype(np.float16)
    return summation(a, axes, keepdims) / count


class Max(TensorOp):
    saves = ("inputs", "output")
    __slots__ = ("axes", "keepdims")

    def __init__(self, axes: Axes = None, keepdims: bool = False):
        self.axes = axes
        self.keepdims = keepdims

    def compute(self, a: Any) -> Any:
        return a.max(normalize_axes(self, self.axes, a.ndim), keepdims=self.keepdims)

    def hint(self, *arrays: Any) -> str:
        return "no elements have no maximum; check the shape" if arrays[0].size == 0 else ""

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        largest = (a == expand(node, a.shape, self.axes)) | (a != a)  # noqa: PLR0124 - a NaN is its own maximum
        ties = summation(largest.astype(np.float32 if a.dtype == np.float16 else a.dtype), self.axes, self.keepdims)
        share = largest.astype(ties.dtype) / expand(ties, a.shape, self.axes)  # ties share evenly
        return expand(out_grad, a.shape, self.axes) * share

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return type(self)(batch_axes(self, self.axes, depths[0]), self.keepdims)(values[0])


def max(a: Any, axes: Axes = None, keepdims: bool = False) -> Tensor:
    """The largest element over axes; equal ones share its gradient evenly."""
    return Max(axes, keepdims)(a)


def sum_method(a: Tensor, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None) -> Tensor:
    return summation(a, given_axes("Tensor.sum", axes, axis), keepdims)


def mean_method(a: Tensor, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None) -> Tensor:
    return mean(a, given_axes("Tensor.mean", axes, axis), keepdims)


def max_method(a: Tensor, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None) -> Tensor:
    return max(a, given_axes("Tensor.max", axes, axis), keepdims)
