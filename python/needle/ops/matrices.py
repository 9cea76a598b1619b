"""Building blocks for the rules of linear algebra. Matrices are the last two axes of a tensor.

The rules use the plain transpose, so the adjoint of a complex input is the conjugate of the textbook gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Op, Tensor
from .selection import where


class OfMatrices(Op):
    """An op of one tensor of matrices along its last two axes; the axes before them are a batch."""

    __slots__ = ()
    square = True
    """Whether the matrices must be square."""
    hermitian = False
    """Whether the matrices of the first input are taken to be Hermitian: one triangle is read, and both are taken to
    change together."""

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(values[0])

    def hint(self, *arrays: Any) -> str:
        return shape_hint(arrays[0], self.square)


def shape_hint(a: Any, square: bool = True) -> str:
    """What is wrong with the shape of an array of (square) matrices; "" if nothing is."""
    if a.ndim < 2 or (square and a.shape[-1] != a.shape[-2]):
        return f"needs {'square ' if square else ''}matrices along the last two axes, got shape {a.shape}"
    return ""


def conjugate(a: Any) -> Any:
    """The complex conjugate; a itself if it is real."""
    return a.conj() if a.dtype.kind == "c" else a


def dagger(a: Any) -> Any:
    """The conjugate transpose."""
    return conjugate(a.mT)


def hermitian_part(a: Any) -> Any:
    """The Hermitian part of each matrix: (a + a^H) / 2."""
    return (a + dagger(a)) / 2


def from_triangle(a: Tensor, lower: bool, hermitian: bool = True) -> Tensor:
    """The symmetric or Hermitian matrix with the lower or upper triangle of a."""
    kept = np.tri(a.shape[-1], dtype=bool)
    return where(kept if lower else kept.T, a, dagger(a) if hermitian else a.mT)


def as_row(v: Any) -> Any:
    """Vectors as matrices of one row."""
    return v.reshape((*v.shape[:-1], 1, v.shape[-1]))


def as_column(v: Any) -> Any:
    """Vectors as matrices of one column."""
    return v.reshape((*v.shape, 1))


def as_factor(number: Any) -> Any:
    """Numbers, one per matrix, in a shape that multiplies the matrices."""
    return number.reshape((*number.shape, 1, 1))


def zeros_unless(adjoint: Any, like: Any) -> Any:
    """The adjoint; zeros if it is None."""
    return np.zeros(like.shape, like.dtype) if adjoint is None else adjoint


def real_dtype(dtype: Any) -> Any:
    """The dtype of the real part of numbers of this dtype."""
    return np.empty(0, dtype).real.dtype


def upper_triangle(n: int, dtype: Any) -> Any:
    """1 on the diagonal and above, 0 below."""
    return np.triu(np.ones((n, n), real_dtype(dtype)))


def lower_half(n: int, dtype: Any) -> Any:
    """1 below the diagonal, 1/2 on it, 0 above. It and its transpose sum to ones."""
    return np.tril(np.ones((n, n), real_dtype(dtype))) - np.eye(n, dtype=real_dtype(dtype)) / 2


def thin(q: Any, by_q: Any, k: int) -> tuple[Any, Any]:
    """The first k columns of a unitary matrix, and their adjoint, which includes that of the other columns.

    The other columns are any completion of the basis. They change only to stay orthogonal to the first:
    Q2' = -Q1 (Q2^H Q1')^H.
    """
    if q.shape[-1] == k:
        return q, by_q
    first, rest = q[..., :k], q[..., k:]
    return first, by_q[..., :k] - conjugate(rest) @ dagger(by_q[..., k:]) @ conjugate(first)
