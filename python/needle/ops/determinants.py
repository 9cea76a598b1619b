"""Determinants, with derivatives that are exact at singular matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import ZERO, Tensor, TensorOp, TensorTuple, TensorTupleOp
from .base import aligned
from .matrices import OfMatrices, as_factor
from .reduction import Summation
from .systems import INV


class Det(OfMatrices, TensorOp):
    notation = "det({0})"
    saves = ("inputs",)
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return np.linalg.det(a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return as_factor(out_grad) * COFACTORS.on(node.inputs[0])

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return Summation((-2, -1)).on(tangents[0] * COFACTORS.on(node.inputs[0]))


def det(a: Any) -> Tensor:
    """The determinant of each matrix, (..., M, M). First and second derivatives are exact at singular matrices, too."""
    return DET(a)


class Cofactors(OfMatrices, TensorOp):
    """The signed minor of each element: the derivative of the determinant, which is det(a) a^-T for an invertible a."""

    notation = "cofactors({0})"
    saves = ("inputs",)
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        wide = _in_double(a)
        transposed, det = _transposed_inverse(wide)
        if transposed is None:
            u, s, v, det = _singular_basis(wide)
            transposed = (u * _products_of_others(s)[..., None, :]) @ v
        return (det * transposed).astype(_dtype(a), copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return COFACTORS_ALONG.on(node.inputs[0], out_grad)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return COFACTORS_ALONG.on(node.inputs[0], tangents[0])  # the Hessian is symmetric


class CofactorsAlong(TensorOp):
    """The derivative of the cofactors of a along a matrix b: the Hessian of the determinant, applied to b.

    Its derivative by a, the third of the determinant, uses the inverse of a.
    """

    notation = "cofactors({0}) along {1}"
    saves = ("inputs",)
    __slots__ = ()

    def compute(self, a: Any, b: Any) -> Any:
        wide = _in_double(a)
        transposed, det = _transposed_inverse(wide)
        if transposed is not None:
            turned = transposed @ b.swapaxes(-1, -2)
            along = np.trace(turned, axis1=-2, axis2=-1)[..., None, None] * transposed - turned @ transposed
        else:
            u, s, v, det = _singular_basis(wide)
            others = _products_of_other_pairs(s)
            turned = u.swapaxes(-1, -2) @ b @ v.swapaxes(-1, -2)
            diagonal = np.diagonal(turned, axis1=-2, axis2=-1)[..., None]
            along = u @ (np.eye(s.shape[-1]) * (others @ diagonal) - others * turned.swapaxes(-1, -2)) @ v
        return (det * along).astype(np.result_type(_dtype(a), b.dtype), copy=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, b = node.inputs

        def by_a() -> Any:
            y = INV.on(a).mT
            y_b, y_g = y @ b.mT @ y, y @ out_grad.mT @ y
            t_b, t_g = _inner(b, y), _inner(out_grad, y)
            adjoint = (t_b * t_g - _inner(out_grad, y_b)) * y - t_g * y_b - t_b * y_g
            return as_factor(DET.on(a)) * (adjoint + y_b @ out_grad.mT @ y + y_g @ b.mT @ y)

        return by_a, lambda: self.on(a, out_grad)

    def reaches(self, plain: tuple[Any, ...], masks: list[Any]) -> Any:
        """All of each matrix: probing with ones would fail, as their cofactors are 0."""
        return (-2, -1), [None, None]

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))


def _inner(a: Any, b: Any) -> Any:
    return Summation((-2, -1), keepdims=True).on(a * b)


def _dtype(a: Any) -> Any:
    return a.dtype if a.dtype.kind in "fc" else np.dtype(np.float64)


def _in_double(a: Any) -> Any:
    """The array in double precision, in which NumPy computes all determinants."""
    return a.astype(np.complex128 if a.dtype.kind == "c" else np.float64, copy=False)


def _transposed_inverse(a: Any) -> tuple[Any, Any]:
    """(a^-T, det(a)) if they are as accurate as the slower way by singular values; else (None, None)."""
    try:
        with np.errstate(all="ignore"):
            inverse, det = np.linalg.inv(a), np.linalg.det(a)
            condition = np.abs(a).sum(-1).max(-1, initial=0) * np.abs(inverse).sum(-1).max(-1, initial=0)
    except np.linalg.LinAlgError:
        return None, None
    if not np.all((condition < 1e4) & np.isfinite(det) & (det != 0)):
        return None, None
    return inverse.swapaxes(-1, -2), det[..., None, None]


def _singular_basis(a: Any) -> tuple[Any, Any, Any, Any]:
    """conj(U), s and conj(V^H) of a = U diag(s) V^H, and det(U V^H).

    The cofactors of a product are the product of the cofactors. Matrices that are not finite get NaN for s: LAPACK may
    not converge on them.
    """
    finite = np.isfinite(a).all((-2, -1), keepdims=True)
    u, s, v = np.linalg.svd(np.where(finite, a, 0))
    s = np.where(finite[..., 0], s, np.nan)
    return u.conj(), s, v.conj(), (np.linalg.det(u) * np.linalg.det(v))[..., None, None]


def _products_before(s: Any) -> Any:
    """For each element, the product of those before it along the last axis."""
    before = np.ones_like(s)
    np.cumprod(s[..., :-1], axis=-1, out=before[..., 1:])
    return before


def _products_of_others(s: Any) -> Any:
    return _products_before(s) * _products_before(s[..., ::-1])[..., ::-1]


def _products_of_other_pairs(s: Any) -> Any:
    """[i, j]: the product of all elements but i and j; 0 on the diagonal."""
    n = s.shape[-1]
    to_the_right = np.triu(np.ones((n, n), bool), 1)
    between = _products_before(np.where(to_the_right, s[..., None, :], 1))
    after = _products_before(s[..., ::-1])[..., ::-1]
    pairs = np.where(to_the_right, _products_before(s)[..., :, None] * between * after[..., None, :], 0)
    return pairs + pairs.swapaxes(-1, -2)


class SlogDet(OfMatrices, TensorTupleOp):
    """The sign of the determinant (for a complex matrix, of modulus 1), and the logarithm of its modulus."""

    notation = "slogdet({0})"
    saves = ("inputs", "output")
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return tuple(np.linalg.slogdet(a))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, (by_sign, slope) = node.inputs[0], out_grad
        if by_sign is not None and a.dtype.kind == "c":
            turning = by_sign * node.output[0]
            turning = (turning - turning.conj()) / 2
            slope = turning if slope is None else slope + turning
        return ZERO if slope is None else as_factor(slope) * INV.on(a).mT


def slogdet(a: Any) -> TensorTuple:
    """(sign, logabsdet) of each matrix, (..., M, M), without overflow. The derivative needs invertible matrices."""
    return SLOGDET(a)


DET, COFACTORS, COFACTORS_ALONG, SLOGDET = Det(), Cofactors(), CofactorsAlong(), SlogDet()
