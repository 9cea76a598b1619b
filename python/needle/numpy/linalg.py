"""NumPy's `linalg` on Tensors: matrices lie along the last two axes, and all axes before them are a batch."""

from __future__ import annotations

from math import ceil, isfinite, log2, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.linalg import LinAlgError as LinAlgError

from ..autograd import Tensor
from ..ops import determinants, elementwise, equal_values, factorizations, norms, reduction, spectra, systems
from ..ops.base import described, normalize_axes, several
from ..ops.discrete import discrete
from ..ops.matrices import as_column, as_factor, as_row, conjugate, dagger
from ..ops.selection import where
from . import manipulation, products
from .common import array_of, normal_axis, tensor
from .indexing import take_along_axis
from .products import matmul as matmul
from .products import multi_dot as multi_dot
from .products import tensordot as tensordot


class EigResult(NamedTuple):
    eigenvalues: Tensor
    eigenvectors: Tensor


class EighResult(NamedTuple):
    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    Q: Tensor
    R: Tensor


class SlogdetResult(NamedTuple):
    sign: Tensor
    logabsdet: Tensor


class SVDResult(NamedTuple):
    U: Tensor
    S: Tensor
    Vh: Tensor


_NOT_GIVEN: Any = object()


def _inexact(a: Any) -> Tensor:
    """As a Tensor of floats or complex numbers."""
    a = tensor(a)
    return a if a.dtype.kind in "fc" else a.astype(np.float64)


def _matrices(name: str, a: Any, square: bool = False) -> Tensor:
    a = tensor(a)
    if a.ndim < 2 or (square and a.shape[-1] != a.shape[-2]):
        kind = "square matrices" if square else "matrices"
        numpys = "Last 2 dimensions of the array must be square" if a.ndim > 1 else _not_of(a, "at least two")
        raise LinAlgError(f"{numpys}; {name}: needs {kind} along the last two axes, got shape {a.shape}")
    return a


def _not_of(a: Any, dimensions: str) -> str:
    """NumPy's words for an array of too few or too many dimensions."""
    return f"{a.ndim}-dimensional array given. Array must be {dimensions}-dimensional"


def _identity(n: int, dtype: Any) -> Tensor:
    return tensor(np.eye(n, dtype=dtype))


# ----------------------------------------------------------------------------------------- equations and inverses


def solve(a: Any, b: Any) -> Tensor:
    """The x of a x = b, for a of shape (..., M, M) and b of (..., M, K), or a vector of (M,).

    Raises LinAlgError if a is singular.
    """
    a, b = _matrices("solve", a, square=True), tensor(b)
    if b.ndim != 1:
        return systems.solve(a, b)
    x = systems.solve(a, as_column(b))
    return x.reshape(x.shape[:-1])


def inv(a: Any) -> Tensor:
    """The inverse of each matrix. Raises LinAlgError if one is singular."""
    return systems.inv(_matrices("inv", a, square=True))


def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = _NOT_GIVEN) -> Tensor:
    """The pseudo-inverse of each matrix: (..., M, N) to (..., N, M).

    Singular values of up to rtol (also named rcond; 1e-15, and for rtol=None the rounding error of max(M, N) terms)
    times the largest count as 0, in the derivative, too, for which the rank is constant.
    """
    a = _matrices("pinv", a)
    if rcond is not None and rtol is not _NOT_GIVEN:
        raise ValueError("pinv: rtol and rcond are two names of one argument; give one of them")
    if rcond is None:
        rcond = 1e-15 if rtol is _NOT_GIVEN else rtol
    if rcond is None:
        rcond = max(a.shape[-2:]) * float(np.finfo(a.dtype if a.dtype.kind in "fc" else np.float64).eps)
    return systems.pinv(a, rcond.numpy() if isinstance(rcond, Tensor) else rcond, hermitian)


def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The x of least length among those that make |b - a x| smallest, for a of shape (M, N) and b of (M,) or (M, K).

    Returns x, the sums of squares of b - a x (empty unless a has rank N < M), the rank of a, and its singular values.
    Those of up to rcond (by default the rounding error of max(M, N) terms) times the largest count as 0, in the
    derivative, too, for which the rank is constant.
    """
    a, b = tensor(a), tensor(b)
    if a.ndim != 2 or b.ndim not in (1, 2) or a.shape[0] != b.shape[0]:
        many = [x for x, wrong in ((a, a.ndim != 2), (b, b.ndim not in (1, 2))) if wrong]
        numpys = _not_of(many[0], "two") if many else "Incompatible dimensions"
        raise LinAlgError(
            f"{numpys}; lstsq: needs a matrix a and a b with as many rows, got shapes {a.shape} and {b.shape}"
        )
    m, n = a.shape
    dtype = _computed_dtype(a, b)
    precision = float(np.finfo(np.float64).eps)
    rcond = precision * max(m, n) if rcond is None else precision if rcond < 0 else float(rcond)
    wide_a, wide_b = [x.astype(np.complex128 if x.dtype.kind == "c" else np.float64) for x in (a, b)]
    x = systems.pinv(wide_a, rcond) @ wide_b
    rank = matrix_rank(wide_a, rtol=rcond)
    s = svdvals(a)
    real = np.empty(0, dtype).real.dtype
    if m > n and rank.item() == n:
        rest = wide_b - wide_a @ x
        residuals = (rest * conjugate(rest)).real.sum(0).reshape(b.shape[1:] or (1,)).astype(real)
    else:
        residuals = tensor(np.zeros(0, real))
    return x.astype(dtype), residuals, rank, s.astype(real)


def _computed_dtype(*many: Tensor) -> Any:
    """The dtype in which NumPy's linear algebra gives a result for these."""
    return np.result_type(*[a.dtype if a.dtype.kind in "fc" else np.float64 for a in many])


def tensorsolve(a: Any, b: Any, axes: Any = None) -> Tensor:
    """The x of tensordot(a, x, x.ndim) = b; `axes` of a are moved to its end first."""
    a, b = tensor(a), tensor(b)
    if axes is not None:
        moved = [normal_axis("tensorsolve", axis, a.ndim) for axis in axes]
        a = manipulation.transpose(a, [i for i in range(a.ndim) if i not in moved] + moved)
    shape = a.shape[-(a.ndim - b.ndim) :]
    n = prod(shape)
    if a.size != n * n or b.size != n:
        numpys = "Input arrays must satisfy the requirement prod(a.shape[b.ndim:]) == prod(a.shape[:b.ndim])"
        raise LinAlgError(
            f"{numpys}; tensorsolve: a must hold {n} equations for {n} unknowns, got shapes {a.shape}, {b.shape}"
        )
    return solve(a.reshape((n, n)), b.reshape((n,))).reshape(shape)


def tensorinv(a: Any, ind: int = 2) -> Tensor:
    """The inverse of a for tensordot over its first `ind` axes: shape a.shape[ind:] + a.shape[:ind]."""
    a = tensor(a)
    if ind <= 0:
        raise ValueError(f"tensorinv: ind must be the number of axes to invert over, 1 or more, got {ind}")
    n = prod(a.shape[ind:])
    if a.size != n * n:
        raise LinAlgError(
            f"Last 2 dimensions of the array must be square; tensorinv: the first {ind} axes and the others must hold "
            f"equally much, got shape {a.shape}"
        )
    return inv(a.reshape((n, n))).reshape(a.shape[ind:] + a.shape[:ind])


# ------------------------------------------------------------------------------------------ determinants, powers


def det(a: Any) -> Tensor:
    """The determinant of each matrix. It has a derivative where the matrix is singular, too."""
    return determinants.det(_matrices("det", a, square=True))


def slogdet(a: Any) -> SlogdetResult:
    """The sign of each determinant and the logarithm of its absolute value, which do not overflow."""
    return SlogdetResult(*determinants.slogdet(_matrices("slogdet", a, square=True)))


def matrix_power(a: Any, n: int) -> Tensor:
    """The product of n of each matrix; of its inverse, if n is negative; the identity, if n is 0."""
    a = _matrices("matrix_power", a, square=True)
    if not hasattr(n, "__index__"):
        raise TypeError(f"matrix_power: the exponent must be an integer, got {n!r}")
    n = n.__index__()
    if n == 0:
        return tensor(a**0 * _identity(a.shape[-1], a.dtype), a.dtype)
    if n < 0:
        a, n = systems.inv(a), -n
    if n == 3:
        return (a @ a) @ a  # in NumPy's order
    while n % 2 == 0:
        a, n = a @ a, n // 2
    power = a
    while n > 1:
        a, n = a @ a, n // 2
        if n % 2:
            power = power @ a
    return power


def expm(a: Any) -> Tensor:
    """The exponential of each matrix: the sum of a^k / k!.

    By the approximation of Pade of order 13, after halving until the norm is small (Higham, 2005).
    """
    a = _matrices("expm", _inexact(a), square=True)
    size = float(discrete(_largest_norm, a).numpy())
    halvings = max(0, ceil(log2(size / 5.371920351148152))) if size > 0 and isfinite(size) else 0
    a = a * 0.5**halvings
    one, a2 = _identity(a.shape[-1], a.dtype), a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    c = _PADE
    odd = a @ (a6 @ (c[13] * a6 + c[11] * a4 + c[9] * a2) + c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * one)
    even = a6 @ (c[12] * a6 + c[10] * a4 + c[8] * a2) + c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * one
    power = systems.solve(even - odd, even + odd)
    for _ in range(halvings):
        power = power @ power
    return power


def _pade() -> list[float]:
    """Of the numerator of exp(x), order 13 by 13: c[k] x^k."""
    c = [1.0]
    for k in range(1, 14):
        c.append(c[-1] * (14 - k) / (k * (27 - k)))
    return c


_PADE = _pade()


def _largest_norm(a: Any) -> Any:
    return np.abs(a).sum(-2).max(initial=0)


# --------------------------------------------------------------------------------------------- factorizations


def cholesky(a: Any, /, *, upper: bool = False) -> Tensor:
    """The lower triangular L with a = L L^H (upper: U with a = U^H U) of each Hermitian matrix.

    Only the lower (upper) triangle is read. The gradient is Hermitian, as in JAX, PyTorch and HIPS autograd: that by
    the whole matrix, of which both triangles change together. Raises LinAlgError if a is not positive definite.
    """
    return factorizations.cholesky(_matrices("cholesky", a, square=True), upper)


def qr(a: Any, mode: str = "reduced") -> Any:
    """(Q, R) with a = Q R: Q unitary, R upper triangular; K = min(M, N) columns and rows, M for mode "complete".

    Mode "r" gives R alone. The derivative needs independent columns (of the first K).
    """
    a = _matrices("qr", a)
    if mode == "r":
        return factorizations.qr(a)[1]
    if mode not in ("reduced", "complete"):
        raise ValueError(
            f"qr: mode must be 'reduced', 'complete' or 'r', got {described(mode)}; LAPACK's own form is "
            "numpy.linalg.qr(t.numpy(), 'raw'), without a derivative"
        )
    return QRResult(*factorizations.qr(a, mode))


def eigh(a: Any, UPLO: str = "L") -> EighResult:
    """Eigenvalues, ascending, and eigenvectors, in columns, of each Hermitian matrix.

    Only one triangle is read. The gradient is Hermitian, as in JAX and PyTorch: that by the whole matrix, of which
    both triangles change together. What it is where eigenvalues are equal: see needle/ops/equal_values.py.
    """
    return EighResult(*spectra.eigh(_matrices("eigh", a, square=True), _triangle("eigh", UPLO)))


def eigvalsh(a: Any, UPLO: str = "L") -> Tensor:
    """The eigenvalues of each Hermitian matrix, ascending; see `eigh`."""
    return spectra.eigvalsh(_matrices("eigvalsh", a, square=True), _triangle("eigvalsh", UPLO))


def _triangle(name: str, UPLO: str) -> str:
    if UPLO.upper() not in ("L", "U"):
        raise ValueError(f"{name}: UPLO must be 'L' or 'U', the triangle to read, got {UPLO!r}")
    return UPLO.upper()


def eig(a: Any) -> EigResult:
    """Eigenvalues, and eigenvectors in columns, of each matrix: always complex, as in the Array API standard. NumPy's
    own `np.linalg.eig` gives real ones where all are real, and does so for Tensors, too.

    The derivative needs as many independent eigenvectors as there are columns.
    """
    return EigResult(*[y if y.dtype.kind == "c" else y.astype(np.result_type(y.dtype, 1j)) for y in numpy_eig(a)])


def eigvals(a: Any) -> Tensor:
    """The eigenvalues of each matrix, always complex; see `eig`."""
    return eig(_matrices("eigvals", a, square=True)).eigenvalues


def numpy_eig(a: Any) -> EigResult:
    return EigResult(*spectra.eig(_matrices("eig", a, square=True)))


def numpy_eigvals(a: Any) -> Tensor:
    return numpy_eig(_matrices("eigvals", a, square=True)).eigenvalues


AS_IN_NUMPY = {np.linalg.eig: numpy_eig, np.linalg.eigvals: numpy_eigvals}
"""What NumPy's own functions do with a Tensor, where the standard's function of that name does something else."""


def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """(U, S, Vh) with a = U diag(S) Vh, the singular values in descending order; without compute_uv, S alone.

    U is of shape (..., M, M) and Vh of (..., N, N); without `full_matrices`, (..., M, K) and (..., K, N) for
    K = min(M, N). `hermitian` matrices have a faster way. The gradient of a singular value that is 0 is 0; what it is
    where singular values are equal: see needle/ops/equal_values.py.
    """
    a = _matrices("svd", a, hermitian)
    if not hermitian:
        return SVDResult(*spectra.svd(a, full_matrices)) if compute_uv else spectra.svdvals(a)
    if not compute_uv:
        s = elementwise.absolute(spectra.eigvalsh(a))
        return take_along_axis(s, discrete(_descending, s), -1)
    w, v = spectra.eigh(a)
    order = discrete(_descending, w)
    w, v = take_along_axis(w, order, -1), take_along_axis(v, as_row(order), -1)
    sign = where(w < 0, -1, discrete(np.ones_like, w))
    return SVDResult(v, elementwise.absolute(w), dagger(v * as_row(sign)))


def _descending(w: Any) -> Any:
    """The order of decreasing modulus."""
    return np.argsort(np.abs(w))[..., ::-1]


def svdvals(x: Any, /) -> Tensor:
    """The singular values of each matrix, descending."""
    return spectra.svdvals(_matrices("svdvals", x))


# ------------------------------------------------------------------------------------------------ norms and ranks


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The norm of vectors (along one axis) or matrices (two): see `vector_norm` and `matrix_norm`.

    Without `axis` the whole of x is one vector or matrix; without `ord`, its Euclidean length, in any dimension.
    """
    x = _inexact(x)
    if axis is None and ord is None:
        return norms.norm(x, None, keepdims)
    axes = tuple(range(x.ndim)) if axis is None else several(axis)
    normalize_axes("norm", axes, x.ndim)
    if len(axes) == 1:
        return _vector_norm(x, ord, axes, keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, ord, axes[0] % x.ndim, axes[1] % x.ndim, keepdims)
    raise ValueError(
        f"norm: of one axis (vectors) or two (matrices), got axis={axis!r} of shape {x.shape}; see vector_norm"
    )


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Tensor:
    """The norm of vectors along axes, None for all: the sum of |x|**ord to the power of 1 / ord.

    inf and -inf are the largest and the smallest |x|, 0 counts what is not 0. The gradient at a 0 is 0.
    """
    x = _inexact(x)
    axes = tuple(range(x.ndim)) if axis is None else normalize_axes("vector_norm", axis, x.ndim)
    return _vector_norm(x, ord, axes, keepdims)


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """The norm of each matrix: "fro" the length of all elements as a vector, "nuc" the sum of the singular values, 2
    and -2 the largest and the smallest of them, 1 and -1 of the sums of |x| over columns, inf and -inf over rows."""
    x = _matrices("matrix_norm", _inexact(x))
    return _matrix_norm(x, ord, x.ndim - 2, x.ndim - 1, keepdims)


def _vector_norm(x: Tensor, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    if ord is None or ord == 2:
        return norms.norm(x, axes, keepdims)
    if isinstance(ord, str):
        raise ValueError(f"norm: the order of a vector's norm is a number, inf or -inf, got {ord!r}")
    moduli = elementwise.absolute(x)
    if ord == 1:
        return moduli.sum(axes, keepdims)
    if ord == np.inf:
        return _largest(moduli, axes, keepdims)
    if ord == -np.inf:
        return reduction.min(moduli, axes, keepdims)
    if ord == 0:
        return elementwise.sign(where(discrete(np.isnan, x), 1, moduli)).sum(axes, keepdims)  # NaN is not 0
    # At zeros, and where all are, |x|**ord has a corner: these are left out, so that the gradient is 0.
    of_zero = 0.0 if ord > 0 else np.inf
    zero = moduli == 0
    total = where(zero, of_zero, where(zero, 1, moduli) ** float(ord)).sum(axes, keepdims)
    corner = total == of_zero
    return where(corner, 0, where(corner, 1, total) ** (1 / float(ord)))


def _matrix_norm(x: Tensor, ord: Any, row: int, column: int, keepdims: bool) -> Tensor:
    if ord in (None, "fro", "f"):
        return norms.norm(x, (row, column), keepdims)
    if ord in (2, -2, "nuc"):
        s = spectra.svdvals(manipulation.moveaxis(x, (row, column), (-2, -1)))
        # A norm has a corner at 0: its slope is 0.
        smooth = where(discrete(equal_values.are_zero, s), discrete(np.positive, s), s)
        if ord == "nuc" or 0 in s.shape:
            of = smooth.sum(-1) if ord != -2 else reduction.min(smooth, -1)
        else:
            of = reduction.max(smooth, -1) if ord == 2 else reduction.min(smooth, -1)
            of = equal_values.Corner("first" if ord == 2 else "last")(of, s)
    elif ord in (1, -1, np.inf, -np.inf):
        first, second = (row, column) if abs(ord) == 1 else (column, row)
        sums = elementwise.absolute(x).sum(first, True)
        of = _largest(sums, second, True) if ord > 0 else reduction.min(sums, second, True)
    else:
        raise ValueError(
            f"norm: the order of a matrix's norm is 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {described(ord)}"
        )
    kept = [1] if keepdims else []
    return of.reshape([length for i, n in enumerate(x.shape) for length in (kept if i in (row, column) else [n])])


def _largest(a: Tensor, axes: Any, keepdims: bool = False) -> Tensor:
    """The largest of numbers that are not negative: 0 of none."""
    none = any(a.shape[i] == 0 for i in normalize_axes("norm", axes, a.ndim))
    return a.sum(axes, keepdims) if none else reduction.max(a, axes, keepdims)


def cond(x: Any, p: Any = None) -> Tensor:
    """The condition number of each matrix: its norm of order p times that of its inverse; inf if it is singular.

    By default, and for p=2, the largest singular value by the smallest, also of matrices that are not square.
    """
    x = _matrices("cond", _inexact(x), p not in (None, 2, -2))
    if 0 in x.shape[-2:]:
        raise LinAlgError(f"cond is not defined on empty arrays; cond: needs elements, got shape {x.shape}")
    with np.errstate(all="ignore"):
        if p in (None, 2, -2):
            s = spectra.svdvals(x)
            ratio = equal_values.Corner("both")(s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1], s)
        else:
            singular = discrete(_is_singular, x)
            inverse = systems.inv(where(as_factor(singular), _identity(x.shape[-1], x.dtype), x))
            ratio = where(singular, np.inf, matrix_norm(x, ord=p) * matrix_norm(inverse, ord=p))
        undefined = discrete(np.isnan, ratio) & ~discrete(_has_nan, x)
        return where(undefined, np.inf, ratio)


def _is_singular(x: Any) -> Any:
    return np.linalg.slogdet(x)[0] == 0


def _has_nan(x: Any) -> Any:
    return np.isnan(x).any((-2, -1))


def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Tensor:
    """The number of singular values of each matrix above `tol`, or above rtol times the largest one.

    By default, above the rounding error of max(M, N) terms. A constant.
    """
    tol, rtol = [t if t is None else array_of(t) for t in (tol, rtol)]
    return discrete(np.linalg.matrix_rank, tensor(A), tol=tol, hermitian=hermitian, rtol=rtol)


# ------------------------------------------------------- with the parameters that the Array API standard gives them


def matrix_transpose(x: Any, /) -> Tensor:
    """The last two axes swapped."""
    return manipulation.matrix_transpose(x)


def diagonal(x: Any, /, *, offset: int = 0) -> Tensor:
    """The elements of each matrix whose indices differ by the offset."""
    return manipulation.diagonal(x, offset, -2, -1)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sum of the elements of each matrix whose indices differ by the offset."""
    return products.trace(x, offset, -2, -1, dtype)


def outer(x1: Any, x2: Any, /) -> Tensor:
    """The products of each element of one vector with each of another."""
    x1, x2 = tensor(x1), tensor(x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(
            f"outer: Input arrays must be one-dimensional, got shapes {x1.shape} and {x2.shape}; "
            "needle.numpy.outer takes any"
        )
    return products.outer(x1, x2)


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """The vector product of vectors of three elements along an axis."""
    x1, x2 = tensor(x1), tensor(x2)
    for x in (x1, x2):
        if x.shape[normal_axis("cross", axis, x.ndim)] != 3:
            raise ValueError(
                f"cross: the vectors must have 3 elements along axis {axis}, got shapes {x1.shape}, {x2.shape}"
            )
    return products.cross(x1, x2, axis=axis)


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """The sum of conj(x1) * x2 along an axis; the other axes broadcast."""
    return products.vecdot(x1, x2, axis=axis)
