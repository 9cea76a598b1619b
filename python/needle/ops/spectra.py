"""Eigenvalues and singular values, with and without their vectors.

The derivative of values alone divides by no differences of values, and exists where these are equal, too.

Vectors turn by 1 / (difference of their values), for which 0 stands where two values are equal up to rounding. That is
right for what depends on the common space of their vectors as a whole, like the projector onto it. It is not right for
what treats equal values one by one, like V f(w) V^H, nor for second derivatives there: they depend on how fast the
values part, which no rule for one of the operations can know. What needs no spectrum (inv, solve, det, pinv, expm) is
right at such matrices, too.

The phase of a complex vector is free, and is said not to change, as in JAX and PyTorch: right for what does not depend
on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, TensorOp, TensorTuple, TensorTupleOp
from .discrete import Discrete
from .matrices import (
    OfMatrices,
    as_column,
    as_row,
    conjugate,
    dagger,
    hermitian_part,
    thin,
    zeros_unless,
)
from .reduction import Summation
from .selection import zeroed
from .systems import SOLVE


def _rounding(values: Any) -> Any:
    """How far rounding takes the values of a matrix from where they should be."""
    n = values.shape[-1]
    return n * np.finfo(values.dtype).eps * np.abs(values).max(-1, keepdims=True, initial=0)


def _are_equal(values: Any) -> Any:
    """[i, j]: whether values i and j of a matrix are the same, up to rounding."""
    return np.abs(values[..., None, :] - values[..., :, None]) <= _rounding(values)[..., None]


def _are_zero(values: Any) -> Any:
    return np.abs(values) <= _rounding(values)


def _reciprocal(a: Any, zero: Any) -> Any:
    """1 / a, and 0 where a counts as 0."""
    return np.where(zero, 0, 1 / np.where(zero, 1, a))


def _turning(values: Any) -> Any:
    """[i, j]: 1 / (value j - value i), 0 where they are equal."""
    return _reciprocal(as_row(values) - as_column(values), Discrete(_are_equal).on(values))


class Eigh(OfMatrices, TensorTupleOp):
    notation = "eigh({0})"
    saves, hermitian = ("output",), True
    __slots__ = ("uplo",)

    def __init__(self, uplo: str = "L"):
        self.uplo: Any = uplo

    def compute(self, a: Any) -> Any:
        return tuple(np.linalg.eigh(a, self.uplo))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (w, v), (by_w, by_v) = node.output, out_grad
        vc = conjugate(v)
        left = vc * as_row(zeros_unless(by_w, w))
        if by_v is not None:
            left = left + vc @ (_turning(w) * (v.mT @ by_v))
        return hermitian_part(left @ v.mT)


def eigh(a: Any, UPLO: str = "L") -> TensorTuple:
    """(eigenvalues, eigenvectors) of each Hermitian matrix, (..., M, M): ascending, and in columns.

    Only the lower (UPLO="U": upper) triangle is read. The gradient is Hermitian, as in JAX and PyTorch: that by the
    whole matrix, of which both triangles change together.
    """
    return Eigh(UPLO)(a)


class EigvalsH(OfMatrices, TensorOp):
    notation = "eigvalsh({0})"
    saves, hermitian = ("inputs",), True
    __slots__ = ("uplo",)

    def __init__(self, uplo: str = "L"):
        self.uplo: Any = uplo

    def compute(self, a: Any) -> Any:
        return np.linalg.eigvalsh(a, self.uplo)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        v = Eigh(self.uplo).on(node.inputs[0])[1]
        return hermitian_part((conjugate(v) * as_row(out_grad)) @ v.mT)


def eigvalsh(a: Any, UPLO: str = "L") -> Tensor:
    """The eigenvalues of each Hermitian matrix, ascending; see `eigh`."""
    return EigvalsH(UPLO)(a)


class Eig(OfMatrices, TensorTupleOp):
    """A vector has length 1, and its largest element is real."""

    notation = "eig({0})"
    saves = ("output",)
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return tuple(np.linalg.eig(a))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (w, v), (by_w, by_v) = node.output, out_grad
        right = as_column(zeros_unless(by_w, w)) * v.mT
        if by_v is not None:
            right = right + (_turning(w) * (v.mT @ _of_fixed_length_and_phase(by_v, v))) @ v.mT
        try:
            return SOLVE.on(v.mT, right)
        except np.linalg.LinAlgError as error:
            raise np.linalg.LinAlgError(
                "Eig: has no derivative at a matrix without a full set of eigenvectors, which is not diagonalizable"
            ) from error


def _of_fixed_length_and_phase(by_v: Any, v: Any) -> Any:
    """The adjoint of columns of any length and phase, from that of v, which they were brought to."""
    along = Summation(-2, keepdims=True).on(by_v * v)
    free = by_v - along.real * conjugate(v)
    if v.dtype.kind != "c":
        return free
    largest = Discrete(_is_largest_in_column).on(v)
    anchor = Summation(-2, keepdims=True).on(zeroed(v, largest))
    return free - zeroed((along - along.conj()) / (2 * anchor), largest)


def _is_largest_in_column(v: Any) -> Any:
    places = np.abs(v).argmax(-2, keepdims=True) if v.size else np.zeros((*v.shape[:-2], 1, v.shape[-1]), int)
    return np.arange(v.shape[-2])[:, None] == places


def eig(a: Any) -> TensorTuple:
    """(eigenvalues, eigenvectors) of each matrix, (..., M, M), the vectors in columns; complex, unless all are real.

    The derivative needs as many independent eigenvectors as there are columns.
    """
    return EIG(a)


class SVD(OfMatrices, TensorTupleOp):
    notation = "svd({0})"
    saves, square = ("output",), False
    __slots__ = ("full_matrices",)

    def __init__(self, full_matrices: bool = True):
        self.full_matrices = full_matrices

    def compute(self, a: Any) -> Any:
        return tuple(np.linalg.svd(a, self.full_matrices))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        # With the right vectors in the columns of w, a = u diag(s) w^T, the rule is the same for both sides.
        (u, s, vh), (by_u, by_s, by_vh) = node.output, out_grad
        w, k, zero = vh.mT, s.shape[-1], Discrete(_are_zero).on(s)
        by_s = zeroed(zeros_unless(by_s, s), ~zero)
        if by_u is None and by_vh is None:
            return (conjugate(u[..., :k]) * as_row(by_s)) @ dagger(w[..., :k])
        u, by_u = thin(u, zeros_unless(by_u, u), k)
        w, by_w = thin(w, zeros_unless(by_vh, vh).mT, k)
        uc, wc = conjugate(u), conjugate(w)
        from_u, from_w = u.mT @ by_u, (w.mT @ by_w).mT
        sums = _reciprocal(as_row(s) + as_column(s), as_row(zero) & as_column(zero))
        turn, counter = _turning(s) * (from_u - from_w), sums * (from_u + from_w)
        inner = (turn + dagger(turn) + counter - dagger(counter)) / 2
        adjoint = (uc @ inner + uc * as_row(by_s)) @ wc.mT
        # What lies outside of the first k vectors; nothing does where these are all.
        over = as_row(_reciprocal(s, zero))
        if u.shape[-2] > k:
            adjoint = adjoint + ((by_u - uc @ from_u) * over) @ wc.mT
        if w.shape[-2] > k:
            adjoint = adjoint + uc @ ((by_w - wc @ from_w.mT) * over).mT
        return adjoint


def svd(a: Any, full_matrices: bool = True) -> TensorTuple:
    """(U, S, Vh) with a = U diag(S) Vh of each matrix, (..., M, N): K = min(M, N) singular values, descending.

    U is of shape (..., M, M) and Vh of (..., N, N); without `full_matrices`, (..., M, K) and (..., K, N). The vectors
    that complete U or Vh are free to turn among themselves, and their derivative is right for what does not depend on
    that. The gradient of a singular value that is 0 (up to rounding) is 0.
    """
    return SVD(full_matrices)(a)


class SingularValues(OfMatrices, TensorOp):
    notation = "svdvals({0})"
    saves, square = ("inputs",), False
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return np.linalg.svd(a, compute_uv=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        u, s, vh = SVD(full_matrices=False).on(node.inputs[0])
        return (conjugate(u) * as_row(zeroed(out_grad, ~Discrete(_are_zero).on(s)))) @ conjugate(vh)


def svdvals(a: Any) -> Tensor:
    """The singular values of each matrix, (..., M, N), descending. The gradient of one that is 0 is 0."""
    return SINGULAR_VALUES(a)


EIG, SINGULAR_VALUES = Eig(), SingularValues()
