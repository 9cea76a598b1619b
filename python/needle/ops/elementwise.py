"""Roots, magnitudes and signs."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..autograd import ZERO, Tensor, as_value
from ..pool import axes_in_memory
from .base import Elementwise
from .selection import chosen, zeroed


class Sqrt(Elementwise):
    ufunc, saves = "sqrt", ("output",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad / (2 * node.output)


def sqrt(a: Any) -> Tensor:
    """The square root. Its gradient at 0 is infinite."""
    return SQRT(a)


class Cbrt(Elementwise):
    """The cube root. Its gradient at 0 is infinite."""

    ufunc, saves = "cbrt", ("output",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        y = node.output
        return out_grad / (3 * y) / y


class ReLU(Elementwise):
    ufunc, saves = "maximum", ("output",)

    def compute(self, a: Any, out: Any = None) -> Any:
        if a.ndim > 2 and a.dtype.char in "fd":
            return _above_zero(a, out)
        return np.maximum(a, zeros_beside(a.shape, a.dtype), out=out)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return chosen(out_grad, node.output > 0)


def relu(a: Any) -> Tensor:
    """max(a, 0). Its gradient at a <= 0 is a structural zero, which stops NaN."""
    return RELU(a)


def zeros_beside(shape: tuple[int, ...], dtype: Any) -> Any:
    """The zeros to compare an array of this shape and dtype with.

    For floats, these are an array: NumPy's maximum is three times as fast on two arrays as on an array and a number. A
    large array is compared with one row of zeros, if its rows are long.
    """
    if dtype.char not in "fd":
        return 0
    if prod(shape) <= 1 << 16:
        return zeros(shape, dtype)
    return zeros(shape[-1:], dtype) if shape[-1] >= 256 else 0


def _above_zero(a: Any, out: Any) -> Any:
    """max(a, 0) of floats with several axes, in memory as a is: zeros beside it must be so, too."""
    if a.flags.c_contiguous:
        if a.size > 1 << 16 and (out is None or out.flags.c_contiguous):
            axis = a.ndim - 1
            while axis > 1 and prod(a.shape[axis:]) < 256:
                axis -= 1
            out = np.empty_like(a) if out is None else out
            rows = (prod(a.shape[:axis]), prod(a.shape[axis:]))
            np.maximum(a.reshape(rows), zeros_beside(rows, a.dtype), out=out.reshape(rows))
            return out
        return np.maximum(a, zeros_beside(a.shape, a.dtype), out=out)
    order = axes_in_memory(a)
    if order is None:
        return np.maximum(a, 0, out=out)
    out = np.empty_like(a) if out is None else out
    _above_zero(a.transpose(order), out.transpose(order))
    return out


@lru_cache(maxsize=32)
def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """A shared, read-only array of zeros."""
    found = np.zeros(shape, dtype)
    found.flags.writeable = False
    return found


class Abs(Elementwise):
    ufunc, saves = "absolute", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, y = node.inputs[0], node.output
        if a.dtype.kind != "c":
            return out_grad * np.sign(a)
        return zeroed(out_grad, y != 0) * np.sign(a).conj()


def absolute(a: Any) -> Tensor:
    """|a|; its gradient at 0 is 0. For complex a, the modulus."""
    return ABS(a)


class FAbs(Elementwise):
    """|a| as a float; its gradient at 0 is 0."""

    ufunc, saves = "fabs", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * np.sign(node.inputs[0])


class Sign(Elementwise):
    ufunc, saves = "sign", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return ZERO


class Phase(Elementwise):
    """a / |a| of complex numbers. It changes only with their angle; its gradient at 0 is 0."""

    ufunc, saves = "sign", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        y = node.output
        return y.conj() * self._turning(out_grad * y, node)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        y = node.output
        return y * self._turning(tangents[0] * y.conj(), node)

    def _turning(self, a: Any, node: Any) -> Any:
        """The imaginary part of `a` over |input|: the rate at which the angle turns, times 1j."""
        distance = np.abs(node.inputs[0])
        return (a - a.conj()) / np.where(distance == 0, 1, 2 * distance)


def sign(a: Any) -> Tensor:
    """-1, 0 or 1; its gradient is 0. For complex a, a / |a|."""
    a = as_value(a, SIGN)
    return (PHASE if a.dtype.kind == "c" else SIGN)(a)


SQRT, CBRT, RELU, ABS, FABS, SIGN, PHASE = Sqrt(), Cbrt(), ReLU(), Abs(), FAbs(), Sign(), Phase()
