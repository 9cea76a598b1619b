"""Conversion of dtypes, and the parts of complex numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import ZERO, Tensor, as_value, gradient_dtype
from .base import Elementwise, Linear, View
from .discrete import discrete


class Cast(Linear):
    notation = "{0}.astype({dtype})"
    saves, elementwise = (), True
    __slots__ = ("dtype",)

    def __init__(self, dtype: Any):
        self.dtype = np.dtype(dtype)

    def compute(self, a: Any) -> Any:
        if a.dtype.kind == "c" and self.dtype.kind != "c":
            raise TypeError("a complex number has no real dtype; take a.real first")
        return a.astype(self.dtype)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        if self._rounds(node):
            return ZERO
        return out_grad  # the sweep converts every adjoint to its input's dtype

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return None if self._rounds(node) else tangents[0].astype(gradient_dtype(self.dtype))

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*values)

    def _rounds(self, node: Any) -> bool:
        """Whether it makes integers of floats: it is then piecewise constant."""
        return self.dtype.kind not in "fc" and node.inputs[0].dtype.kind in "fc"


def astype(a: Any, dtype: Any) -> Tensor:
    """a converted to another dtype; the gradient has a's own dtype.

    Integers made of floats are constants, which can serve as indices and counts.
    """
    a, dtype = as_value(a, "astype"), np.dtype(dtype)
    if a.dtype.kind == "f" and dtype.kind not in "fc":
        return discrete(np.ndarray.astype, a, dtype=dtype)
    return Cast(dtype)(a)


class Real(View):
    """The real part: linear over the reals, not over the complex numbers."""

    saves, elementwise = (), True

    def compute(self, a: Any) -> Any:
        return a.real

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*values)


def real(a: Any) -> Tensor:
    """The real part; a itself if it is real."""
    if not isinstance(a, Tensor):
        a = as_value(a, "real")
    return REAL(a) if a.dtype.kind == "c" else a


class Imag(View):
    """The imaginary part: linear over the reals, not over the complex numbers."""

    saves, elementwise = (), True

    def compute(self, a: Any) -> Any:
        return a.imag

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * -1j if node.inputs[0].dtype.kind == "c" else ZERO

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*values)


def imag(a: Any) -> Tensor:
    """The imaginary part; 0 for real numbers."""
    return IMAG(a)


class Conj(Elementwise):
    """The complex conjugate: linear over the reals, not over the complex numbers."""

    ufunc, saves = "conjugate", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad.conj()


def conj(a: Any) -> Tensor:
    """The complex conjugate."""
    return CONJ(a)


REAL, IMAG, CONJ = Real(), Imag(), Conj()
