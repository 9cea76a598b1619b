"""NumPy's entire functions besides the elementary ones: sinc and i0, with their derivatives of every order."""

from __future__ import annotations

from math import ceil, cos, factorial, pi, sin, sqrt
from typing import Any

import numpy as np

from ..autograd import gradient_dtype
from .base import Elementwise


class _OfOrder(Elementwise):
    """The derivative of a given order of a function; by default, the function itself."""

    saves = ("inputs",)
    __slots__ = ("order",)

    def __init__(self, order: int = 0):
        self.order = order


def _next_order(self: Any, out_grad: Any, node: Any) -> Any:
    return out_grad * type(self)(self.order + 1).on(node.inputs[0])


class Sinc(_OfOrder):
    """sin(pi a) / (pi a)."""

    notation = "sinc({0}, order={order})"
    gradient = _next_order
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        if self.order == 0:
            return np.sinc(a)
        x = a.astype(np.result_type(a.dtype, np.float64))
        near = np.abs(x) * pi < max(1, self.order / 2)  # about where the recurrence begins to lose digits
        out = np.asarray(_sinc_far(np.where(near, 1, x), self.order))
        out[near] = _sinc_near(x[near], self.order)
        return out.astype(gradient_dtype(a.dtype), copy=False)


def _sinc_near(x: Any, k: int) -> Any:
    """The k-th derivative of the Taylor series sum (-1)**m (pi x)**(2m) / (2m+1)!."""
    t = pi * x
    square, total, first = -t * t, np.zeros_like(t), (k + 1) // 2
    for m in reversed(range(first, first + k + 12)):
        total = total * square + 1 / ((2 * m + 1) * factorial(2 * m - k))
    return total * (-1) ** first * pi**k * (t if k % 2 else 1)


def _sinc_far(x: Any, k: int) -> Any:
    """The k-th derivative by a recurrence: both sides of pi x sinc(x) = sin(pi x), differentiated n times."""
    sine, cosine = np.sin(pi * x), np.cos(pi * x)
    total, turned = sine / (pi * x), (sine, cosine, -sine, -cosine)
    for n in range(1, k + 1):
        total = (pi ** (n - 1) * turned[n % 4] - n * total) / x
    return total


class I0(_OfOrder):
    """The modified Bessel function of the first kind and order 0."""

    notation = "i0({0}, order={order})"
    gradient = _next_order
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        if self.order == 0:
            return np.i0(a)
        out = _i0_derivative(a.astype(np.float64), self.order)
        return out.astype(gradient_dtype(a.dtype), copy=False)


def _i0_derivative(x: Any, k: int) -> Any:
    """The k-th derivative of I0(x), which is the mean of exp(x cos(t)) over all angles t.

    The integrand is periodic, so the mean over equidistant angles converges faster than any power of their number.
    Angles of cosines c and -c are summed together: all terms then have one sign, and no digits cancel.
    """
    size = np.minimum(np.abs(x), 1000)  # the result overflows at 1000 already
    largest = float(np.max(size, where=np.isfinite(size), initial=0))
    count = ceil((sqrt(74 * largest) + 16 + k) / 4)
    total = np.zeros_like(size)
    for j in range(count):
        t = j * pi / (2 * count)
        mirrored = -np.expm1(-2 * cos(t) * size) if k % 2 else 1 + np.exp(-2 * cos(t) * size)
        total += (1 if j else 0.5) * cos(t) ** k * np.exp(-2 * sin(t / 2) ** 2 * size) * mirrored
    total *= np.exp(size) / (2 * count)
    return np.copysign(total, x) if k % 2 else total


SINC, I_0 = Sinc(), I0()
