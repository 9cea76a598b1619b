"""Factorizations into triangular and unitary matrices: Cholesky, QR.

Both rules use Phi(x), the lower triangle of x with half of its diagonal; see `lower_half`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, TensorOp, TensorTuple, TensorTupleOp
from .joining import Concatenate
from .matrices import (
    OfMatrices,
    conjugate,
    dagger,
    hermitian_part,
    lower_half,
    thin,
    upper_triangle,
    zeros_unless,
)
from .systems import SOLVE


class Cholesky(OfMatrices, TensorOp):
    notation = "cholesky({0})"
    saves, hermitian = ("output",), True
    __slots__ = ("upper",)

    def __init__(self, upper: bool = False):
        self.upper = upper

    def compute(self, a: Any) -> Any:
        return np.linalg.cholesky(a, upper=self.upper)

    def hint(self, *arrays: Any) -> str:
        if arrays[0].dtype == np.float16:
            return ""
        return super().hint(*arrays) or (
            "a matrix is not positive definite; if rounding is the cause, add a small multiple of the identity"
        )

    def gradient(self, out_grad: Any, node: Any) -> Any:
        y = node.output
        l, g = (dagger(y), dagger(out_grad)) if self.upper else (y, out_grad)
        inner = hermitian_part(lower_half(l.shape[-1], l.dtype) * (l.mT @ g))
        return SOLVE.on(dagger(l), SOLVE.on(l.mT, inner).mT).mT


def cholesky(a: Any, upper: bool = False) -> Tensor:
    """The lower triangular L with a = L L^H (upper: U with a = U^H U) of each Hermitian matrix, (..., M, M).

    Only the lower (upper) triangle is read. The gradient is Hermitian, as in JAX, PyTorch and HIPS autograd: both
    triangles are taken to change together. Raises LinAlgError if a is not positive definite.
    """
    return Cholesky(upper)(a)


class QR(OfMatrices, TensorTupleOp):
    """QR by Householder reflections, which leave the diagonal of R real, of either sign."""

    notation = "qr({0})"
    saves, square = ("output",), False
    __slots__ = ("mode",)

    def __init__(self, mode: str = "reduced"):
        self.mode: Any = mode

    def compute(self, a: Any) -> Any:
        return tuple(np.linalg.qr(a, self.mode))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        k = min(node.inputs[0].shape[-2:])
        (q, r), (by_q, by_r) = node.output, out_grad
        q, by_q = thin(q, zeros_unless(by_q, q), k)
        r, by_r = r[..., :k, :], zeros_unless(by_r, r)[..., :k, :]
        r, rest = r[..., :k], r[..., k:]
        by_r, by_rest = by_r[..., :k] * upper_triangle(k, r.dtype), by_r[..., k:]
        qc = conjugate(q)
        if rest.shape[-1]:  # R2 = Q^H A2
            by_q = by_q + qc @ conjugate(rest) @ dagger(by_rest)
        w = q.mT @ by_q - by_r @ r.mT
        by_a = qc @ (lower_half(k, r.dtype) * (w - dagger(w)) - w) + by_q
        try:
            by_a = SOLVE.on(r, by_a.mT).mT
        except np.linalg.LinAlgError as error:
            raise np.linalg.LinAlgError(
                f"QR: has no derivative where the first {k} columns are linearly dependent (input of shape "
                f"{node.inputs[0].shape})"
            ) from error
        return Concatenate(-1).on(by_a, qc @ by_rest) if rest.shape[-1] else by_a


def qr(a: Any, mode: str = "reduced") -> TensorTuple:
    """(Q, R) with a = Q R of each matrix, (..., M, N): Q of shape (..., M, K) unitary, R of (..., K, N) triangular.

    K is min(M, N), or M for mode "complete". The derivative needs the first min(M, N) columns to be linearly
    independent. The columns that complete Q are any basis of the complement; their derivative is right for functions
    that do not depend on the choice.
    """
    return QR(mode)(a)
