"""Changing a tensor's dtype, and the parts of complex numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, TensorOp
from .base import Elementwise, Linear


class Cast(Linear):
    saves = ()
    __slots__ = ("dtype",)

    def __init__(self, dtype: Any):
        self.dtype = np.dtype(dtype)

    def compute(self, a: Any) -> Any:
        if a.dtype.kind == "c" and self.dtype.kind != "c":
            raise TypeError("a complex number has no real dtype; take a.real first")
        return a.astype(self.dtype)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad  # brought back to the input's dtype where all adjoints are


def astype(a: Any, dtype: Any) -> Tensor:
    """a converted to another dtype; the gradient comes back in a's own."""
    return Cast(dtype)(a)


class Real(TensorOp):
    """The real part: linear over the reals, not over the complex numbers."""

    saves, view = (), True

    def compute(self, a: Any) -> Any:
        return a.real

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad


def real(a: Any) -> Tensor:
    """The real part."""
    return REAL(a)


class Conj(Elementwise):
    """The complex conjugate: linear over the reals, not over the complex numbers."""

    ufunc, saves = "conjugate", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad.conj()


def conj(a: Any) -> Tensor:
    """The complex conjugate."""
    return CONJ(a)


REAL, CONJ = Real(), Conj()
