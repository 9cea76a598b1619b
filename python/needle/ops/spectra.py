"""Eigenvalues and singular values, with and without their vectors.

The rules for values alone do not divide by differences of values, and hold for equal values as well.

The rules for vectors divide by differences of values. Where two values are equal up to rounding, the quotient is taken
as 0. That is right for functions of the common space of their vectors, like the projector onto it. It is wrong for
functions that treat equal values separately, like V f(w) V^H, and for second derivatives there: these depend on how
fast the values separate, which the rule of a single op cannot know. Functions that need no spectrum (inv, solve, det,
pinv, expm) are right at such matrices.

The phase of a complex vector is free. It is taken as constant, as in JAX and PyTorch, which is right for functions that
do not depend on it.
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
    """A bound for the rounding error of the values of a matrix."""
    n = values.shape[-1]
    return n * np.finfo(values.dtype).eps * np.abs(values).max(-1, keepdims=True, initial=0)


def _are_equal(values: Any) -> Any:
    """[i, j]: whether values i and j of a matrix are equal up to rounding."""
    return np.abs(values[..., None, :] - values[..., :, None]) <= _rounding(values)[..., None]


def _are_zero(values: Any) -> Any:
    return np.abs(values) <= _rounding(values)


def _reciprocal(a: Any, zero: Any) -> Any:
    """1 / a, and 0 where `zero` is True."""
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

    Only the lower (UPLO="U": upper) triangle is read. The gradient is Hermitian, as in JAX and PyTorch: both triangles
    are taken to change together.
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
    """Each vector has length 1, and its largest element is real."""

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
                "Eig: has no derivative at a matrix that is not diagonalizable: it lacks a full set of eigenvectors"
            ) from error


def eig(a: Any) -> TensorTuple:
    """(eigenvalues, eigenvectors) of each matrix, (..., M, M), the vectors in columns; complex, unless all are real.

    The derivative needs a full set of linearly independent eigenvectors, else it raises LinAlgError.
    """
    return EIG(a)


def _of_fixed_length_and_phase(by_v: Any, v: Any) -> Any:
    """The adjoint of columns before they were scaled to the fixed length and phase of v, from the adjoint of v."""
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


class SVD(OfMatrices, TensorTupleOp):
    notation = "svd({0})"
    saves, square = ("output",), False
    __slots__ = ("full_matrices",)

    def __init__(self, full_matrices: bool = True):
        self.full_matrices = full_matrices

    def compute(self, a: Any) -> Any:
        return tuple(np.linalg.svd(a, self.full_matrices))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        # With a = u diag(s) w^T, the right vectors are the columns of w, and the rule is the same for both sides.
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
        # The parts of the adjoints outside the span of the first k vectors.
        over = as_row(_reciprocal(s, zero))
        if u.shape[-2] > k:
            adjoint = adjoint + ((by_u - uc @ from_u) * over) @ wc.mT
        if w.shape[-2] > k:
            adjoint = adjoint + uc @ ((by_w - wc @ from_w.mT) * over).mT
        return adjoint


def svd(a: Any, full_matrices: bool = True) -> TensorTuple:
    """(U, S, Vh) with a = U diag(S) Vh of each matrix, (..., M, N): K = min(M, N) singular values, descending.

    U has the shape (..., M, M) and Vh (..., N, N); without `full_matrices`, (..., M, K) and (..., K, N). The vectors
    that complete U or Vh are any basis of the complement; their derivative is right for functions that do not depend on
    the choice. The gradient of a singular value that is 0 (up to rounding) is 0.
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
    """The singular values of each matrix, (..., M, N), descending. The gradient of a singular value of 0 is 0."""
    return SINGULAR_VALUES(a)


EIG, SINGULAR_VALUES = Eig(), SingularValues()
