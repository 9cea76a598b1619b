"""scipy.linalg on Tensors. Matrices are the last two axes; axes before them are a batch.

Options that only save time or checks (`overwrite_a`, `check_finite`) are accepted and ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg

from ..autograd import Tensor, TensorOp, constant
from ..numpy.common import tensor, tensors
from ..ops import determinants, factorizations, spectra, systems
from ..ops.base import aligned
from ..ops.indexing import AddAt, GetItem, getitem
from ..ops.joining import concatenate
from ..ops.matrices import OfMatrices, conjugate, dagger, from_triangle
from ..ops.selection import zeroed

# ----------------------------------------------------------------------------------------------------- linear systems


class SolveTriangular(TensorOp):
    """The solution X of A X = B, or of A^T X = B, for a triangular A: only one triangle is read."""

    __slots__ = ("lower", "transposed", "unit_diagonal")
    saves = ("inputs", "output")

    def __init__(self, transposed: bool, lower: bool, unit_diagonal: bool):
        self.transposed = transposed
        self.lower = lower
        self.unit_diagonal = unit_diagonal

    def compute(self, a: Any, b: Any) -> Any:
        if b.size == 0 or a.size == 0:
            shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2]) + b.shape[-2:]
            return np.zeros(shape, np.result_type(a, b, np.float32))
        return scipy.linalg.solve_triangular(a, b, int(self.transposed), self.lower, self.unit_diagonal)

    def _triangle(self, a: Any) -> Any:
        """The part of a that is read, and 0 elsewhere."""
        n = a.shape[-1]
        mask = np.tri(n, k=-1 if self.unit_diagonal else 0, dtype=bool)
        return zeroed(a, np.broadcast_to(mask if self.lower else mask.T, a.shape))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, y = node.inputs[0], node.output
        by_b = SolveTriangular(not self.transposed, self.lower, self.unit_diagonal).on(a, out_grad)
        return lambda: self._triangle(-(y @ by_b.mT if self.transposed else by_b @ y.mT)), by_b

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        a, (by_a, by_b) = node.inputs[0], tangents
        if by_a is None:
            return self.on(a, by_b)
        read = self._triangle(by_a)
        moved = (read.mT if self.transposed else read) @ node.output
        return self.on(a, -moved if by_b is None else by_b - moved)

    def reaches(self, plain: tuple[Any, ...], masks: list[Any]) -> Any:
        """All of each matrix: probing with ones would fail, as a matrix of ones is singular."""
        return (-2, -1), [None, None]

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))


def solve_triangular(
    a: Any,
    b: Any,
    trans: Any = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Tensor:
    """The x of a x = b for triangular a; of a^T x = b with trans=1 or "T", of a^H x = b with trans=2 or "C"."""
    kinds = {0: 0, "N": 0, 1: 1, "T": 1, 2: 2, "C": 2}
    if trans not in kinds:
        raise ValueError(f"solve_triangular: trans must be 0 ('N'), 1 ('T') or 2 ('C'), got {trans!r}")
    a = conjugate(tensor(a)) if kinds[trans] == 2 else tensor(a)
    return _with_columns(partial(SolveTriangular(kinds[trans] > 0, lower, unit_diagonal), a), tensor(b))


def _with_columns(solver: Callable[[Tensor], Tensor], b: Tensor) -> Tensor:
    """A solver for matrices on the right-hand side, applied to a matrix or to one vector."""
    if b.ndim == 1:
        return getitem(solver(b.reshape((-1, 1))), (..., 0))
    return solver(b)


def solve(
    a: Any,
    b: Any,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    assume_a: str | None = None,
    transposed: bool = False,
) -> Tensor:
    """The x of a x = b. For "sym", "her", "pos" and triangular matrices, only one triangle is read."""
    a, b = tensor(a), tensor(b)
    if assume_a in {"upper triangular", "lower triangular"}:
        return solve_triangular(a, b, int(transposed), assume_a == "lower triangular")
    if assume_a in {"sym", "symmetric", "her", "hermitian", "pos", "positive definite"}:
        a = from_triangle(a, lower, hermitian=assume_a[0] != "s")
    elif assume_a not in {None, "gen", "general", "diagonal", "tridiagonal", "banded"}:
        raise ValueError(
            f"solve: assume_a must be None, 'general', 'diagonal', 'tridiagonal', 'banded', 'upper triangular', "
            f"'lower triangular', 'symmetric', 'hermitian' or 'positive definite', got {assume_a!r}"
        )
    return _with_columns(partial(systems.solve, a.mT if transposed else a), b)


class SolveBanded(TensorOp):
    """The solution X of A X = B for a banded A, which is given by its diagonals: ab[upper + i - j, j] = A[i, j]."""

    __slots__ = ("lower", "upper")
    saves = ("inputs", "output")

    def __init__(self, lower: int, upper: int):
        self.lower, self.upper = lower, upper

    def compute(self, ab: Any, b: Any) -> Any:
        if b.size == 0 or ab.size == 0:
            shape = np.broadcast_shapes(ab.shape[:-2], b.shape[:-2]) + b.shape[-2:]
            return np.zeros(shape, np.result_type(ab, b, np.float32))
        return scipy.linalg.solve_banded((self.lower, self.upper), ab, b)

    def _rows(self, n: int) -> tuple[Any, Any]:
        """The i of each element of ab, and whether A has such a row."""
        i = np.arange(n) + np.arange(-self.upper, self.lower + 1)[:, None]
        inside = (i >= 0) & (i < n)
        return np.where(inside, i, 0), inside

    def _transposed(self, ab: Any) -> tuple[SolveBanded, Any]:
        """The solver of A^T X = B, and the diagonals of A^T."""
        solver = SolveBanded(self.upper, self.lower)
        i, inside = solver._rows(ab.shape[-1])
        diagonals = np.arange(self.lower + self.upper, -1, -1)[:, None]
        return solver, zeroed(GetItem((..., diagonals, i)).on(ab), np.broadcast_to(inside, ab.shape))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (ab, _), x = node.inputs, node.output
        solver, transposed = self._transposed(ab)
        by_b = solver.on(transposed, out_grad)

        def by_ab() -> Any:
            i, inside = self._rows(ab.shape[-1])
            products = GetItem((..., i, slice(None))).on(by_b) * x.reshape((*x.shape[:-2], 1, *x.shape[-2:]))
            summed = products.sum(-1)
            return zeroed(-summed, np.broadcast_to(inside, summed.shape))

        return by_ab, by_b

    def reaches(self, plain: tuple[Any, ...], masks: list[Any]) -> Any:
        """All of each matrix: probing with ones would fail, as a matrix of ones is singular."""
        return (-2, -1), [None, None]

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))


def solve_banded(
    l_and_u: tuple[int, int],
    ab: Any,
    b: Any,
    overwrite_ab: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Tensor:
    """The x of a x = b, for a with l diagonals below the main one and u above it: ab[u + i - j, j] = a[i, j].

    ab is (..., l + u + 1, n), b (n,) or (..., n, k). Elements of ab outside of a are not read, and their gradient is 0.
    Raises ValueError for other shapes, LinAlgError for a singular matrix.
    """
    lower, upper = l_and_u
    ab, b = tensor(ab), tensor(b)
    if ab.ndim < 2 or ab.shape[-2] != lower + upper + 1:
        raise ValueError(
            f"solve_banded: ab must have a row for each of {lower} + {upper} + 1 = {lower + upper + 1} diagonals, got "
            f"shape {ab.shape}"
        )
    if not b.ndim or b.shape[0 if b.ndim == 1 else -2] != ab.shape[-1]:
        raise ValueError(
            f"solve_banded: b must be ({ab.shape[-1]},) or (..., {ab.shape[-1]}, k), as ab is {ab.shape}; got {b.shape}"
        )
    return _with_columns(partial(SolveBanded(lower, upper), ab), b)


class SolveSylvester(TensorOp):
    """The solution X of A X + X B = Q."""

    __slots__ = ()
    saves = ("inputs", "output")

    def compute(self, a: Any, b: Any, q: Any) -> Any:
        return scipy.linalg.solve_sylvester(a, b, q)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (a, b, _), x = node.inputs, node.output
        by_q = self.on(a.mT, b.mT, out_grad)
        return lambda: -(by_q @ x.mT), lambda: -(x.mT @ by_q), by_q

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))


def solve_sylvester(a: Any, b: Any, q: Any) -> Tensor:
    """The x of a x + x b = q."""
    return SYLVESTER(*tensors(a, b, q))


SYLVESTER = SolveSylvester()


def solve_continuous_lyapunov(a: Any, q: Any) -> Tensor:
    """The x of a x + x a^H = q."""
    a = tensor(a)
    return solve_sylvester(a, dagger(a), q)


def solve_discrete_lyapunov(a: Any, q: Any, method: str | None = None) -> Tensor:
    """The x of a x a^H - x + q = 0.

    The "direct" method solves one large linear system; it is the default up to 9 rows. The "bilinear" method transforms
    the equation to a continuous one; -1 must not be an eigenvalue of a.
    """
    a, q = tensors(a, q)
    n = a.shape[-1]
    if method not in {None, "direct", "bilinear"}:
        raise ValueError(f"solve_discrete_lyapunov: method must be 'direct', 'bilinear' or None, got {method!r}")
    if method == "direct" or (method is None and n < 10):
        kron = (a.reshape((n, 1, n, 1)) * conjugate(a).reshape((1, n, 1, n))).reshape((n * n, n * n))
        return systems.solve(np.eye(n * n, dtype=a.dtype) - kron, q.reshape((n * n, 1))).reshape((n, n))
    one = np.eye(n, dtype=a.dtype)
    inverse = systems.inv(dagger(a) + one)
    b = (dagger(a) - one) @ inverse
    return solve_continuous_lyapunov(dagger(b), -2 * systems.inv(a + one) @ q @ inverse)


def inv(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Tensor:
    """The inverse of each matrix."""
    return systems.inv(tensor(a))


def det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Tensor:
    """The determinant of each matrix."""
    return determinants.det(tensor(a))


# ----------------------------------------------------------------------------------------------------- factorizations


def cholesky(a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Tensor:
    """The upper triangular U with a = U^H U; with `lower`, the lower triangular L with a = L L^H."""
    return factorizations.cholesky(tensor(a), upper=not lower)


def cho_factor(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> tuple[Tensor, bool]:
    """(the factor for `cho_solve`, whether it is the lower one). The other triangle of the factor is 0."""
    return cholesky(a, lower), lower


def cho_solve(c_and_lower: Any, b: Any, overwrite_b: bool = False, check_finite: bool = True) -> Tensor:
    """The x of a x = b, from `cho_factor(a)`."""
    c, lower = c_and_lower
    first, second = (0, 2) if lower else (2, 0)
    return _with_columns(lambda b: solve_triangular(c, solve_triangular(c, b, first, lower), second, lower), tensor(b))


def eigh(a: Any, b: Any = None, *, lower: bool = True, eigvals_only: bool = False) -> Any:
    """The eigenvalues w, ascending, and eigenvectors v of a v = w b v, for Hermitian a and positive definite b."""
    a, uplo = tensor(a), "L" if lower else "U"
    if b is None:
        return spectra.eigvalsh(a, uplo) if eigvals_only else tuple(spectra.eigh(a, uplo))
    factor = factorizations.cholesky(tensor(b), upper=not lower)
    factor = factor if lower else dagger(factor)
    half = solve_triangular(factor, from_triangle(a, lower, hermitian=True), lower=True)
    w, v = spectra.eigh(dagger(solve_triangular(factor, dagger(half), lower=True)))
    return w if eigvals_only else (w, solve_triangular(factor, v, 2, lower=True))


def eigvalsh(a: Any, b: Any = None, *, lower: bool = True) -> Tensor:
    """The eigenvalues of `eigh`."""
    return eigh(a, b, lower=lower, eigvals_only=True)


def svdvals(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Tensor:
    """The singular values, descending."""
    return spectra.svdvals(tensor(a))


# ------------------------------------------------------------------------------------------------ functions of matrices


class MatrixFunction(OfMatrices, TensorOp):
    """f of square matrices, for an analytic f.

    The derivative along E is the upper right block of f([[A, E], [0, A]]) (Mathias, 1996). The adjoint is the
    derivative at the transpose. So one formula gives derivatives of every order, with the accuracy of SciPy's f.
    """

    __slots__ = ("function",)
    saves = ("inputs",)

    def __init__(self, function: Callable[[Any], Any]):
        self.function = function

    def compute(self, a: Any) -> Any:
        return self.function(a)

    def along(self, a: Any, direction: Any, node: Any) -> Any:
        n, dtype = a.shape[-1], np.result_type(a.dtype, direction.dtype, np.float32)
        first, second = slice(None, n), slice(n, None)
        places = [(..., first, first), (..., first, second), (..., second, second)]
        doubled = AddAt((*a.shape[:-2], 2 * n, 2 * n), dtype, places).on(a, direction, a)
        block = self.on(doubled)[places[1]]
        # SciPy may leave an imaginary rounding error in a real result.
        return block if "c" in (dtype.kind, node.output.dtype.kind) else block.real

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return self.along(node.inputs[0].mT, out_grad, node)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return self.along(node.inputs[0], tangents[0], node)

    def __repr__(self) -> str:
        return str(getattr(self.function, "__name__", type(self).__name__))


def expm(A: Any) -> Tensor:
    """The exponential of matrices."""
    return MatrixFunction(scipy.linalg.expm)(tensor(A))


def logm(A: Any) -> Tensor:
    """The principal logarithm of matrices."""
    return MatrixFunction(scipy.linalg.logm)(tensor(A))


class SquareRoot(OfMatrices, TensorOp):
    """The principal square root X. Its derivative solves X dX + dX X = dA, by X X = A."""

    __slots__ = ()
    saves = ("output",)

    def compute(self, a: Any) -> Any:
        return scipy.linalg.sqrtm(a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        x = node.output
        return SYLVESTER.on(x.mT, x.mT, out_grad)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        x = node.output
        return SYLVESTER.on(x, x, tangents[0])


def sqrtm(A: Any) -> Tensor:
    """The principal square root of matrices; differentiable at invertible ones."""
    return SquareRoot()(tensor(A))


def fractional_matrix_power(A: Any, t: float) -> Tensor:
    """A power of matrices; t is a number, and not differentiable. Raises TypeError if t is a Tensor."""
    if isinstance(t, Tensor):
        raise TypeError("fractional_matrix_power: t must be a number, got a Tensor; write expm(t * logm(A))")
    return MatrixFunction(partial(scipy.linalg.fractional_matrix_power, t=t))(tensor(A))


def cosm(A: Any) -> Tensor:
    """The cosine of matrices."""
    return MatrixFunction(scipy.linalg.cosm)(tensor(A))


def sinm(A: Any) -> Tensor:
    """The sine of matrices."""
    return MatrixFunction(scipy.linalg.sinm)(tensor(A))


def tanm(A: Any) -> Tensor:
    """The tangent of matrices."""
    return MatrixFunction(scipy.linalg.tanm)(tensor(A))


def coshm(A: Any) -> Tensor:
    """The hyperbolic cosine of matrices."""
    return MatrixFunction(scipy.linalg.coshm)(tensor(A))


def sinhm(A: Any) -> Tensor:
    """The hyperbolic sine of matrices."""
    return MatrixFunction(scipy.linalg.sinhm)(tensor(A))


def tanhm(A: Any) -> Tensor:
    """The hyperbolic tangent of matrices."""
    return MatrixFunction(scipy.linalg.tanhm)(tensor(A))


def expm_frechet(
    A: Any, E: Any, method: str | None = None, compute_expm: bool = True, check_finite: bool = True
) -> Any:
    """(expm(A), its derivative along E); without `compute_expm`, only the derivative."""
    A, E = tensors(A, E)
    op = MatrixFunction(scipy.linalg.expm)
    exponential = op(A)
    along = op.along(A, E, exponential)
    return (exponential, along) if compute_expm else along


# --------------------------------------------------------------------------------------------------- special matrices


def block_diag(*arrs: Any) -> Tensor:
    """The matrix with these blocks along its diagonal, and 0 elsewhere; vectors count as rows."""
    blocks = [_as_matrix(tensor(a)) for a in arrs or ([],)]
    batch = np.broadcast_shapes(*[a.shape[:-2] for a in blocks])
    places, row, column = [], 0, 0
    for a in blocks:
        m, n = a.shape[-2:]
        places.append((..., slice(row, row + m), slice(column, column + n)))
        row, column = row + m, column + n
    whole = [a.broadcast_to(batch + a.shape[-2:]) for a in blocks]
    return AddAt((*batch, row, column), np.result_type(*[a.dtype for a in blocks]), places)(*whole)


def _as_matrix(a: Tensor) -> Tensor:
    return a if a.ndim >= 2 else a.reshape((1, a.size))


def toeplitz(c: Any, r: Any = None) -> Tensor:
    """The Toeplitz matrix of first column c and first row r, by default conj(c); r[0] is not read."""
    c = _as_vector(c)
    r = conjugate(c) if r is None else _as_vector(r)
    m, n = c.shape[-1], r.shape[-1]
    along = concatenate([getitem(c, (..., slice(None, None, -1))), getitem(r, (..., slice(1, None)))], -1)
    return getitem(along, (..., m - 1 + np.arange(n) - np.arange(m)[:, None]))


def hankel(c: Any, r: Any = None) -> Tensor:
    """The Hankel matrix of first column c and last row r, by default 0; r[0] is not read."""
    c = _as_vector(c)
    r = constant(np.zeros(c.shape, c.dtype)) if r is None else _as_vector(r)
    along = concatenate([c, getitem(r, (..., slice(1, None)))], -1)
    return getitem(along, (..., np.arange(r.shape[-1]) + np.arange(c.shape[-1])[:, None]))


def circulant(c: Any) -> Tensor:
    """The circulant matrix of first column c: each column is the one before it, rotated by one."""
    c = _as_vector(c)
    n = c.shape[-1]
    return getitem(c, (..., (np.arange(n)[:, None] - np.arange(n)) % max(n, 1)))


def _as_vector(a: Any) -> Tensor:
    a = tensor(a)
    return a if a.ndim else a.reshape((1,))
