"""Eigenvalues and singular values, with and without their vectors.

The rules for values alone do not divide by differences of values, and hold for equal values as well.

The rules for vectors divide by differences of values. Where two values are equal, this quotient has no limit, and what
is differentiated decides. For Hermitian matrices (`eigh`, `eigvalsh`):

- A function of the common space of their vectors, like the projector onto it, needs no quotient.
- A symmetric function of the values has second derivatives, and V f(w) V^H has first ones. The factor is the limit of
  a divided difference, which `AtEqual` reads from what the function makes of the diagonal.
- All else is NaN: with a warning in reverse mode, and in silence in forward mode, where it may never be used. Third
  derivatives are NaN, too.

For `eig` and `svd`, the quotient is taken as 0. That is right for functions of the common space, and wrong for second
derivatives by equal values. Functions that need no spectrum (inv, solve, det, pinv, expm) are right at such matrices.

The phase of a complex vector is free. It is taken as constant, as in JAX and PyTorch, which is right for functions that
do not depend on it.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..autograd import DETACHED, ZERO, Tensor, TensorOp, TensorTuple, TensorTupleOp, as_value, is_recording
from .discrete import Discrete, discrete
from .matrices import (
    OfMatrices,
    as_column,
    as_factor,
    as_row,
    conjugate,
    dagger,
    hermitian_part,
    real_dtype,
    thin,
    zeros_unless,
)
from .reduction import Summation
from .selection import zeroed
from .systems import SOLVE
from .tuples import make_tuple


def _rounding(values: Any) -> Any:
    """A bound for the rounding error of the values of a matrix."""
    n = values.shape[-1]
    return n * np.finfo(values.dtype).eps * np.abs(values).max(-1, keepdims=True, initial=0)


def _are_equal(values: Any) -> Any:
    """[i, j]: whether values i and j of a matrix are equal up to the rounding of those who computed the matrix, too."""
    return np.abs(values[..., None, :] - values[..., :, None]) <= 32 * _rounding(values)[..., None]


def _are_zero(values: Any) -> Any:
    return np.abs(values) <= _rounding(values)


def _reciprocal(a: Any, zero: Any) -> Any:
    """1 / a, and 0 where `zero` is True."""
    return np.where(zero, 0, 1 / np.where(zero, 1, a))


def _turning(values: Any) -> Any:
    """[i, j]: 1 / (value j - value i), 0 where they are equal."""
    return _reciprocal(as_row(values) - as_column(values), Discrete(_are_equal).on(values))


# ------------------------------------------------------------------------------------------- where values are equal


def _has_equal(equal: Any) -> bool:
    return np.count_nonzero(equal) * equal.shape[-1] > equal.size


def _are_repeated(values: Any) -> Any:
    """[i, j]: whether values i and j are equal, where value i equals others than itself."""
    equal = _are_equal(values)
    return equal & (equal.sum(-1, keepdims=True) > 1)


_UNKNOWN = "two values are equal; there, needle.hessian knows the second derivatives of symmetric functions of eigvalsh"


def _warn(why: str) -> None:
    warnings.warn(f"the derivative of a spectrum is NaN: {why}", RuntimeWarning, stacklevel=2)


def _kept_if_shared(values: Any, y: Any) -> Any:
    """[i, j]: True for equal values; NaN, with a warning, if y is not equal there as well."""
    equal = _are_repeated(values)
    apart = np.abs(y[..., None, :] - y[..., :, None])
    unequal = equal & ~(apart <= np.sqrt(np.finfo(values.dtype).eps) * np.abs(y).max((-1), initial=0)[..., None, None])
    if unequal.any():
        _warn("equal values are treated differently, and only symmetric functions of them have a second derivative")
    return np.where(unequal, np.nan, equal).astype(real_dtype(y.dtype))


class AtEqual(TensorOp):
    """For two equal values i and j: r x[i, j], where r turns the differences on the diagonal of x into those of y.

    A symmetric function of equal values has the Hessian r 1 + s by them, where s is one number for all. So r is the
    limit of the divided difference (y[i] - y[j]) / (value i - value j) of its gradient y. It is read from what the
    Hessian makes of a diagonal. Elsewhere it is 0; and NaN, with a warning, where no r fits.
    """

    notation = "at_equal({inputs})"
    __slots__ = ("alone",)

    def __init__(self, alone: bool = True):
        self.alone = alone
        """Whether nothing but functions of the values has made x; else two equal values say too little."""

    def compute(self, values: Any, x: Any, y: Any) -> Any:
        equal = _are_equal(values)
        if not _has_equal(equal):
            return np.zeros(np.broadcast_shapes(equal.shape, x.shape), x.dtype)
        eps = np.finfo(values.dtype).eps
        x, count = np.where(equal, x, 0), np.maximum(equal.sum(-1), 1)
        diagonal, size = np.diagonal(x, axis1=-2, axis2=-1), np.abs(x).max((-2, -1), initial=0)[..., None]

        def total(a: Any) -> Any:
            """The sum over the values equal to each."""
            return (equal @ a[..., None])[..., 0]

        def fit(a: Any, b: Any) -> tuple[Any, Any]:
            """The r for which r a is nearest to b, and whether it is b."""
            weight = total(np.abs(a) ** 2)
            r = total(a.conj() * b) / np.where(weight == 0, 1, weight)
            error, largest = total(np.abs(b - r * a) ** 2), np.abs(y).max(-1, keepdims=True, initial=0)
            return r, (weight > (1e-4 * size) ** 2) & (error <= eps * largest**2)

        a, b = [d - total(d) / count for d in (diagonal, y)]
        r, fits = fit(a, b)
        if not self.alone:
            whole, is_whole = fit(diagonal, y)
            none = total(np.abs(b) ** 2) <= eps * total(np.abs(y) ** 2)
            r, fits = np.where(is_whole, whole, r), is_whole | (fits & (none | (count > 2)))
        off = np.where(np.eye(values.shape[-1], dtype=bool), 0, x)
        still = total(np.abs(off).max(-1, initial=0)) <= 1e3 * eps * size
        if not (still | fits).all():
            _warn(_UNKNOWN)
        return np.where(still, 0, np.where(fits, r, np.nan)).astype(x.dtype)[..., None] * off

    def gradient(self, out_grad: Any, node: Any) -> Any:
        values, _, y = node.inputs
        nan = Discrete(_nan_at_equal).on(values)
        return ZERO, out_grad * as_factor(nan), y * nan.reshape((*nan.shape, 1))

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*_batches(values, depths))


def _nan_at_equal(values: Any) -> Any:
    """For each matrix: NaN, with a warning, if two of its values are equal; else 0."""
    equal = _are_equal(values)
    n = equal.shape[-1]
    several = equal.sum((-2, -1)) > n
    if several.any():
        _warn("third derivatives are not known where values are equal")
    return np.where(several, np.nan, 0).astype(real_dtype(values.dtype))


def _batches(values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
    """All inputs with the batch's axis."""
    size = next(a.shape[0] for a, depth in zip(values, depths, strict=True) if depth is not None)
    pairs = zip(values, depths, strict=True)
    return [a.broadcast_to((size, *a.shape)) if depth is None else a for a, depth in pairs]


class FromSpectrum(TensorOp):
    """conj(V) diag(y) V^T: the gradient of a function of the values, if y is its gradient by them.

    Through its vectors it depends on what moves the values. For equal ones it hands on this motion itself, as the
    Hermitian part of V^H dV or of V^T by_v, which else says nothing, and leaves its factor to `AtEqual`.
    """

    notation = "from_spectrum({inputs})"
    __slots__ = ()

    def compute(self, values: Any, v: Any, y: Any) -> Any:
        return (conjugate(v) * as_row(y)) @ v.mT

    def gradient(self, out_grad: Any, node: Any) -> Any:
        values, v, y = node.inputs
        return ZERO, lambda: _by_vectors(out_grad, values, v, y), lambda: _diagonal_along(v, out_grad)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (values, v, y), (_, by_v, by_y) = node.inputs, tangents
        moved = None
        if by_v is not None:
            turn = dagger(v) @ by_v
            inner = conjugate(zeroed(turn, ~Discrete(_are_equal).on(values))) * as_row(y)
            inner = inner + dagger(inner)
            motion = hermitian_part(turn) * Discrete(_kept_if_shared).on(values, y)
            if by_y is not None:
                inner = inner + AT_EQUAL.on(values, conjugate(motion), by_y)
            moved = conjugate(v) @ inner @ v.mT
        if by_y is None:
            return moved
        along = (conjugate(v) * as_row(by_y)) @ v.mT
        return along if moved is None else moved + along

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*_batches(values, depths))


class AlongVectors(TensorOp):
    """The diagonal of V^H a V, its real part: how fast the values move if the matrix moves along a. See FromSpectrum.

    If the matrix moves along something else as well, equal values have no derivative of their own. `summed`: only their
    sum is wanted.
    """

    notation = "along_vectors({inputs})"
    __slots__ = ("summed",)

    def __init__(self, summed: bool = False):
        self.summed = summed

    def compute(self, values: Any, v: Any, a: Any) -> Any:
        return (conjugate(v) * (a @ v)).sum(-2).real

    def gradient(self, out_grad: Any, node: Any) -> Any:
        values, v, a = node.inputs
        return ZERO, lambda: _by_vectors(a, values, v, out_grad), lambda: FROM_SPECTRUM.on(values, v, out_grad)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (values, v, a), (_, by_v, by_a) = node.inputs, tangents
        moved = None if by_a is None else _diagonal_along(v, by_a)
        if by_v is None:
            return moved
        turn, motion = dagger(v) @ by_v, dagger(v) @ a @ v
        terms = zeroed(turn * motion.mT, ~Discrete(_are_equal).on(values))
        if not self.summed:
            terms = terms + np.where(Discrete(_curve).on(values, turn, motion), np.nan, 0)
        curved = Summation(-2).on(terms).real * 2
        return curved if moved is None else moved + curved

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*_batches(values, depths))


def _curve(values: Any, turn: Any, motion: Any) -> Any:
    """[i, j]: whether two motions of the matrix both separate equal values i and j, which are no smooth functions."""
    both = np.abs(turn * motion.mT)
    sizes = [np.abs(x).max((-2, -1), keepdims=True, initial=0) for x in (turn, motion)]
    curve = _are_equal(values) & ~(both <= 1e-10 * sizes[0] * sizes[1]) & ~np.eye(values.shape[-1], dtype=bool)
    if curve.any():
        _warn(_UNKNOWN)
    return curve


def _diagonal_along(v: Any, a: Any) -> Any:
    return Summation(-2).on(conjugate(v) * (a @ v)).real


def _by_vectors(a: Any, values: Any, v: Any, y: Any) -> Any:
    """The adjoint of V in the sum of a conj(V) diag(y) V^T; for equal values that without the factors y."""
    both = a.mT @ conjugate(v) + conjugate(a @ v)
    kept = Discrete(_kept_if_shared).on(values, y)
    return both * as_row(y) + conjugate(v) @ ((v.mT @ both) * (kept - zeroed(as_row(y), kept != 0)))


class Vectors(TensorOp):
    """The vectors as they are handed out. Those of equal values have no derivative of their own: it is NaN, in reverse
    mode with a warning, unless it is that of a function of their common space."""

    notation = "vectors({inputs})"
    saves, view = ("inputs",), True
    __slots__ = ()

    def compute(self, values: Any, v: Any) -> Any:
        return v[...]

    def gradient(self, out_grad: Any, node: Any) -> Any:
        values, v = node.inputs
        torn = Discrete(_are_torn).on(values, v.mT @ out_grad)
        return ZERO, out_grad + conjugate(v) @ np.where(torn, np.nan, 0)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        values, v = node.inputs
        if tangents[1] is None:
            return None
        turn = dagger(v) @ tangents[1]
        lost = Discrete(_are_lost).on(values, turn)
        return v @ np.where(lost, np.nan, zeroed(turn, ~Discrete(_are_repeated).on(values)))

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*_batches(values, depths))


def _are_torn(values: Any, c: Any) -> Any:
    equal = _are_equal(values)
    if not _has_equal(equal):
        return np.zeros(equal.shape, bool)
    torn = equal & ~(np.abs(c - dagger(c)) <= 1e-6 * np.abs(c).max((-2, -1), keepdims=True, initial=0))
    if torn.any():
        _warn("vectors of equal values are differentiated one by one, and only their common space has a derivative")
    return torn


AT_EQUAL, FROM_SPECTRUM, ALONG_VECTORS, VECTORS = AtEqual(), FromSpectrum(), AlongVectors(), Vectors()


# ------------------------------------------------------------------------------------------------- Hermitian matrices


class Eigh(OfMatrices, TensorTupleOp):
    notation = "eigh({0})"
    saves, hermitian = ("output",), True
    __slots__ = ("alone", "uplo")

    def __init__(self, uplo: str = "L", alone: bool = False):
        self.uplo: Any = uplo
        self.alone = alone
        """Whether nobody sees the vectors, which may be any of equal values then."""

    def compute(self, a: Any) -> Any:
        w, v = np.linalg.eigh(a, self.uplo)
        if not self.alone:
            return w, v
        w = _eigenvalues(a, self.uplo)
        equal = _are_equal(w)
        return w, _in_general_position(equal, v) if _has_equal(equal) else v

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (w, v), (by_w, by_v) = node.output, out_grad
        inner = None
        if by_v is not None:
            c = v.mT @ by_v
            inner = _turning(w) * c
            if by_w is not None:
                inner = inner + AtEqual(self.alone).on(w, hermitian_part(c), by_w)
            inner = hermitian_part(conjugate(v) @ inner @ v.mT)
        if by_w is None:
            return inner
        plain = hermitian_part(FROM_SPECTRUM.on(w, v, by_w))
        return plain if inner is None else plain + inner

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (w, v), a = node.output, hermitian_part(tangents[0])
        motion = dagger(v) @ a @ v
        moved = _turning(w) * motion + zeroed(motion, Discrete(_are_repeated).on(w))
        other = getattr(node.inputs[0], "tangent", None)  # of a transform around this one: forward over forward
        if other is None:
            return ALONG_VECTORS.on(w, v, a), v @ moved
        mixed = Discrete(_mixed).on(w, motion, dagger(v) @ hermitian_part(other) @ v)
        return AlongVectors(summed=True).on(w, v, a) + mixed, v @ moved


def _mixed(values: Any, motion: Any, other: Any) -> Any:
    """What to add to the motion of equal values so that its product with their other motion is that of the two motions
    as matrices, by which a symmetric function has its second derivative. Their sum, its first one, stays as it is. NaN
    where the other motion does not tell."""
    equal = _are_repeated(values)
    a, b = [_without_trace(equal, x) for x in (motion, other)]
    x, y = [np.diagonal(m, axis1=-2, axis2=-1).real for m in (a, b)]
    products, weight, size = [
        (equal @ m[..., None])[..., 0] for m in (np.sum(a * b.mT, -1).real, y * y, np.sum(np.abs(b) ** 2, -1))
    ]
    lost = (weight <= 1e-8 * size) & (size > 1e-20 * np.sum(np.abs(other) ** 2, (-2, -1))[..., None])
    return np.where(lost, np.nan, products / np.where(weight == 0, 1, weight)) * y - x


def _without_trace(equal: Any, x: Any) -> Any:
    """The blocks of equal values of x, each less the mean of its diagonal."""
    diagonal = np.diagonal(x, axis1=-2, axis2=-1)
    mean = (equal @ diagonal[..., None])[..., 0] / np.maximum(equal.sum(-1), 1)
    return np.where(equal, x - mean[..., None] * np.eye(x.shape[-1]), 0)


def _are_lost(values: Any, motion: Any) -> Any:
    """[i, j]: whether a motion of the matrix separates equal values i and j, whose vectors then jump."""
    small = np.abs(motion) <= 1e-10 * np.abs(motion).max((-2, -1), keepdims=True, initial=0)
    return _are_equal(values) & ~(small | np.eye(values.shape[-1], dtype=bool))


def _eigenvalues(a: Any, uplo: Any) -> Any:
    """The eigenvalues on arrays. Equal ones have the same rounding error, so that functions treat them alike."""
    w = np.linalg.eigvalsh(a, uplo)
    equal = _are_equal(w)
    if not _has_equal(equal):
        return w
    return ((equal @ as_column(w))[..., 0] / np.maximum(equal.sum(-1), 1)).astype(w.dtype)


def _in_general_position(equal: Any, v: Any) -> Any:
    """The vectors v, those of equal values turned among each other until none is orthogonal to a motion that is likely:
    what diagonalizes a fixed matrix without any structure."""
    n = v.shape[-1]
    k = np.arange(1.0, n + 1)
    fixed = np.cos(k[:, None] * k + k[:, None] + k)
    inner = np.where(equal, dagger(v) @ fixed.astype(v.dtype) @ v, 0)
    apart = 4 * n * equal.argmax(-1)[..., None] * np.eye(n)
    return v @ np.linalg.eigh(inner + apart)[1].astype(v.dtype)


def eigh(a: Any, UPLO: str = "L") -> TensorTuple:
    """(eigenvalues, eigenvectors) of each Hermitian matrix, (..., M, M): ascending, and in columns.

    Only the lower (UPLO="U": upper) triangle is read. The gradient is Hermitian, as in JAX and PyTorch: both triangles
    are taken to change together. Where eigenvalues are equal: see the top of this file.
    """
    w, v = Eigh(UPLO)(a)
    return make_tuple(w, VECTORS(w, v))


def eigvalsh(a: Any, UPLO: str = "L") -> Tensor:
    """The eigenvalues of each Hermitian matrix, ascending; see `eigh`."""
    a = as_value(a)
    if type(a) is Tensor and not (a.needs > DETACHED and is_recording()):
        return discrete(_eigenvalues, a, uplo=UPLO)
    return Eigh(UPLO, alone=True)(a)[0]


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
