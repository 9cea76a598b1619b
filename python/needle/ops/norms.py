"""The Euclidean norm of vectors, and the Frobenius norm of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Axes, Tensor
from ..backend import sum_over
from .base import given_axes, kept_shape, reduced_axes
from .matrices import conjugate
from .reduction import Reduction, with_kept_axes
from .selection import zeroed


class Norm(Reduction):
    """The square root of the sum of squared moduli over axes. Its gradient at 0, where it has a corner, is 0."""

    notation = "norm({0}, axes={axes})"
    saves = ("inputs", "output")
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        dtype = a.dtype if a.dtype.kind in "fc" else np.dtype(np.float64)
        wide = a.astype(np.float32 if dtype == np.float16 else dtype, copy=False)
        axes = reduced_axes(self, self.axes, a.ndim)
        parts = (wide.real, wide.imag) if dtype.kind == "c" else (wide,)
        if len(axes) == a.ndim:
            flat = [part.ravel(order="K") for part in parts]
            squares = sum(part.dot(part) for part in flat)
            squares = np.reshape(squares, kept_shape(a.shape, axes) if self.keepdims else ())
        else:
            squares = sum_over(sum(part * part for part in parts), axes, keepdims=self.keepdims)
        return np.sqrt(squares).astype(wide.real.dtype if dtype != np.float16 else dtype, copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, y = node.inputs[0], node.output
        zero = y == 0
        slope = zeroed(out_grad / np.where(zero, 1, y), ~zero)
        return with_kept_axes(slope, a.shape, self.axes) * conjugate(a)


def norm(a: Any, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None) -> Tensor:
    """The Euclidean norm over axes: None for all, an int, or a tuple. Its gradient at 0 is 0."""
    return Norm(given_axes("norm", axes, axis, keepdims), keepdims)(a)
