"""The roots of a polynomial."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, TensorOp, as_value
from .cumulative import CumProd
from .joining import Concatenate


class Roots(TensorOp):
    """All x with p[0] * x**n + ... + p[n] = 0. By implicit differentiation, dx/dp[j] = -x**(n - j) / p'(x)."""

    saves = ("inputs", "output")
    __slots__ = ()

    def compute(self, p: Any) -> Any:
        return np.roots(p)

    def hint(self, *arrays: Any) -> str:
        return "needs coefficients along one axis, the highest power first" if arrays[0].ndim != 1 else ""

    def gradient(self, out_grad: Any, node: Any) -> Any:
        moved, slope = self._terms(node)
        return -(out_grad / slope) @ moved

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        moved, slope = self._terms(node)
        return -(moved @ tangents[0]) / slope

    def _terms(self, node: Any) -> tuple[Any, Any]:
        """At each root: the powers that the coefficients multiply, and the derivative of the polynomial."""
        p, y = node.inputs[0], node.output
        terms = powers(y, p.size)[:, ::-1]
        degrees = np.arange(p.size - 1, 0, -1).astype(y.real.dtype)
        return terms, terms[:, 1:] @ (p[:-1] * degrees)


def roots(p: Any) -> Tensor:
    """The roots of the polynomial with these coefficients, the highest power first.

    A multiple root has no derivative.
    """
    return ROOTS(as_value(p))


def powers(x: Any, count: int) -> Any:
    """1, x, x**2, ... of a vector's elements, along a second axis of length `count`."""
    one = np.ones((x.size, min(count, 1)), x.dtype)
    factors = np.broadcast_to(x.reshape((-1, 1)), (x.size, max(count - 1, 0)))
    return CumProd().on(Concatenate(1).on(one, factors))


ROOTS = Roots()
