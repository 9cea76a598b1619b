"""Polynomials as sequences of coefficients, the highest power first."""

from __future__ import annotations

import warnings
from functools import reduce
from typing import Any

import numpy as np

from .. import ops
from ..autograd import Tensor, constant, gradient_dtype
from ..ops.joining import concatenate, stack
from ..ops.polynomials import powers
from . import linalg
from .calculus import convolve
from .common import array_of, tensor


def poly(seq_of_zeros: Any) -> Tensor:
    """The coefficients of the polynomial with these zeros and a leading 1; of a square matrix, of the characteristic
    polynomial. They are real where all complex zeros come with their conjugates."""
    zeros = tensor(seq_of_zeros)
    if zeros.ndim == 2 and zeros.shape[0] == zeros.shape[1] != 0:
        zeros = linalg.numpy_eigvals(zeros)
    elif zeros.ndim > 1:
        raise ValueError(f"poly: needs zeros along one axis, or a square matrix that is not empty, got {zeros.shape}")
    zeros = tensor(zeros, gradient_dtype(zeros.dtype)).reshape(-1)
    p = constant(np.ones(1, zeros.dtype))
    nothing = constant(np.zeros(1, zeros.dtype))
    for zero in zeros:
        p = concatenate([p, nothing]) - zero * concatenate([nothing, p])
    values = array_of(zeros)
    conjugates = p.dtype.kind == "c" and np.array_equal(np.sort(values), np.sort(values.conj()))
    p = p.real if conjugates else p
    return p if values.size else p.reshape(())


def roots(p: Any) -> Tensor:
    """The zeros of the polynomial, real numbers if all are real; a zero that is not simple has no derivative."""
    p = tensor(p)
    if p.ndim > 1:
        raise ValueError(f"roots: needs coefficients along one axis, got shape {p.shape}")
    return ops.roots(p.reshape(-1))


class poly1d(np.poly1d):
    """NumPy's polynomial as an object, whose coefficients, or with `r=True` zeros, may be Tensors.

    It can be called, added, multiplied, raised to a power, compared; `deriv()`, `integ()` and `r` are its derivative,
    its integral and its zeros.
    """

    def __init__(self, c_or_r: Any, r: bool = False, variable: str | None = None):
        super().__init__(c_or_r if isinstance(c_or_r, np.poly1d) else tensor(c_or_r), r, variable)


def polyval(p: Any, x: Any) -> Any:
    """The value of the polynomial at each x, by Horner's rule; at a `poly1d`, the polynomial of that polynomial."""
    p = tensor(p)
    if p.ndim == 0:
        raise ValueError("polyval: needs a sequence of coefficients, got a number")
    if isinstance(x, np.poly1d):
        return reduce(lambda value, coefficient: value * x + coefficient, p, np.poly1d(0))
    x = tensor(x)
    zeros = constant(np.zeros(x.shape, x.dtype))
    if len(p) == 0:
        return zeros
    value = p[0] + zeros
    for i in range(1, len(p)):
        value = value * x + p[i]
    return value


def polyadd(a1: Any, a2: Any) -> Tensor:
    """The sum of two polynomials."""
    p, q = _equally_long(a1, a2)
    return p + q


def polysub(a1: Any, a2: Any) -> Tensor:
    """The difference of two polynomials."""
    p, q = _equally_long(a1, a2)
    return p - q


def _coefficients(name: str, p: Any) -> Tensor:
    p = tensor(p)
    if p.ndim > 1:
        raise ValueError(f"{name}: a polynomial is coefficients along one axis, got shape {p.shape}")
    return p.reshape(-1)


def _equally_long(*polynomials: Any) -> list[Tensor]:
    given = [p if p.ndim else p.reshape(1) for p in map(tensor, polynomials)]
    length = max(map(len, given))
    return [
        p if len(p) == length else concatenate([constant(np.zeros((length - len(p), *p.shape[1:]), p.dtype)), p])
        for p in given
    ]


def polymul(a1: Any, a2: Any) -> Tensor:
    """The product of two polynomials, whose leading zeros are left out."""
    p, q = (_without_leading_zeros(_coefficients("polymul", a)) for a in (a1, a2))
    return convolve(p, q)


def _without_leading_zeros(p: Tensor) -> Tensor:
    """A constant choice of coefficients; the last one stays."""
    (found,) = np.nonzero(array_of(p))
    if not len(p):
        return constant(np.zeros(1, p.dtype))
    return p[found[0] if len(found) else len(p) - 1 :]


def polydiv(u: Any, v: Any) -> tuple[Tensor, Tensor]:
    """The quotient and the remainder of two polynomials; leading coefficients of the latter below 1e-8 are left out."""
    u, v = (_coefficients("polydiv", p) for p in (u, v))
    dtype = np.result_type(gradient_dtype(u.dtype), gradient_dtype(v.dtype))
    rest, v = tensor(u, dtype), tensor(v, dtype)
    if not len(rest) or not len(v):
        raise ValueError(f"polydiv: both need a coefficient, got {len(rest)} and {len(v)} of them")
    quotient: list[Tensor] = []
    for _ in range(len(rest) - len(v) + 1):
        rest = rest[1:] if quotient else rest
        factor = rest[0] / v[0]
        quotient.append(factor)
        rest = concatenate([rest[: len(v)] - factor * v, rest[len(v) :]])
    first = np.argmin([*np.isclose(array_of(rest)[:-1], 0), False])
    return stack(quotient) if quotient else constant(np.zeros(1, dtype)), rest[first:]


def polyder(p: Any, m: int = 1) -> Tensor:
    """The coefficients of the m-th derivative."""
    if m < 0:
        raise ValueError(f"polyder: m, how often to differentiate, must not be negative, got {m}; see polyint")
    p = _coefficients("polyder", p)
    for _ in range(m):
        p = p[:-1] * np.arange(len(p) - 1, 0, -1)
    return p


def polyint(p: Any, m: int = 1, k: Any = None) -> Tensor:
    """The coefficients of the m-th antiderivative, with the constants k: one number, or one for each integration."""
    if m < 0:
        raise ValueError(f"polyint: m, how often to integrate, must not be negative, got {m}; see polyder")
    p = _coefficients("polyint", p)
    constants = tensor(np.zeros(m) if k is None else k).reshape(-1)
    if len(constants) == 1 < m:
        constants = constants.broadcast_to((m,))
    if len(constants) < m:
        raise ValueError(f"polyint: k must be one number or {m} of them, got {len(constants)}")
    for i in range(m):
        p = concatenate([p / np.arange(len(p), 0, -1), constants[i : i + 1]])
    return p


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of each x in a row, from the (N-1)-th down to 1, or up."""
    x = tensor(x)
    if x.ndim != 1:
        raise ValueError(f"vander: x must have one dimension, got shape {x.shape}")
    if N is not None and N < 0:
        raise ValueError(f"vander: N, the number of columns, must not be negative, got {N}")
    columns = powers(tensor(x, np.promote_types(x.dtype, int)), x.size if N is None else N)
    return columns if increasing else columns[:, ::-1]


def polyfit(
    x: Any, y: Any, deg: int, rcond: float | None = None, full: bool = False, w: Any = None, cov: bool | str = False
) -> Any:
    """The coefficients of the polynomial of degree `deg` that fits points (x, y) best, with the smallest sum of squares
    of w times what it misses; a column for each column of y. All of x, y and w are differentiable.

    With `full` also the sums of squares, the rank, the singular values and `rcond`; with `cov` the covariances of the
    coefficients, scaled by the misfit unless it is "unscaled".
    """
    x, y = tensor(x), tensor(y)
    x = tensor(x, gradient_dtype(x.dtype))
    y = tensor(y, gradient_dtype(y.dtype))
    _check_points(x, y, deg)
    n = deg + 1
    rcond = len(x) * float(np.finfo(x.dtype).eps) if rcond is None else rcond
    terms = vander(x, n)
    if w is not None:
        w = tensor(w)
        if w.shape != x.shape:
            raise TypeError(f"polyfit: w must have one number for each of {len(x)} points, got shape {w.shape}")
        terms, y = terms * w.reshape((-1, 1)), y * w.reshape((-1, *(1,) * (y.ndim - 1)))
    scale = ops.sqrt(ops.summation(terms * terms, 0))
    terms = terms / scale
    c, missed, rank, s = linalg.lstsq(terms, y, rcond)
    c = (c.mT / scale).mT if c.ndim == 2 else c / scale
    if full:
        return c, missed, rank, s, rcond
    if array_of(rank) != n:
        warnings.warn("polyfit: the points determine fewer coefficients", np.exceptions.RankWarning, stacklevel=2)
    if not cov:
        return c
    covariances = linalg.inv(terms.mT @ terms) / (scale.reshape((-1, 1)) * scale)
    if cov == "unscaled":
        factor: Any = 1
    elif len(x) <= n:
        raise ValueError(f"polyfit: covariances for degree {deg} need more than {n} points, or cov='unscaled'")
    else:
        factor = missed / (len(x) - n)
    return c, (covariances if y.ndim == 1 else covariances.reshape((n, n, 1))) * factor


def _check_points(x: Tensor, y: Tensor, deg: int) -> None:
    if deg < 0:
        raise ValueError(f"polyfit: the degree must not be negative, got {deg}")
    if x.ndim != 1 or x.size == 0:
        raise TypeError(f"polyfit: x must have one dimension and an element, got shape {x.shape}")
    if y.ndim not in (1, 2) or len(y) != len(x):
        raise TypeError(f"polyfit: y must have {len(x)} elements or rows, as x has, got shape {y.shape}")
