"""The normal distribution of vectors along the last axis, with a mean and a covariance matrix."""

from __future__ import annotations

from math import log as ln
from math import pi
from typing import Any

import numpy as np

from ...autograd import Tensor, Wrapped, constant, value_of
from ...numpy.common import tensor
from ...ops import exp, log, summation, where
from ...ops.discrete import discrete
from ...ops.factorizations import cholesky
from ...ops.indexing import getitem
from ..linalg import solve_triangular


def _dimension(mean: Any, cov: Any) -> int:
    """The length of the vectors: that of the mean, or else of the covariance matrix."""
    of = cov if mean is None else mean
    return tensor(of).shape[-1] if np.ndim(of) else 1


def _matrix(cov: Any, dim: int) -> Tensor:
    """A covariance as a matrix: it is one, or a vector of variances, or one variance.

    Raises ValueError for other shapes.
    """
    cov = tensor(cov)
    if cov.ndim < 2 and cov.size in (1, dim):
        cov = cov.reshape((-1, 1)) * constant(np.eye(dim, dtype=cov.dtype))
    if cov.shape != (dim, dim):
        raise ValueError(
            f"multivariate_normal: cov must be a number, {dim} variances, or a matrix of shape ({dim}, {dim}) for "
            f"vectors of length {dim}, got shape {cov.shape}"
        )
    return cov


def _half_log_det(factor: Tensor) -> Tensor:
    n = np.arange(factor.shape[-1])
    return summation(log(getitem(factor, (n, n))))


class _Support:
    """The space of a covariance that may be singular: where the density is not 0, as SciPy tells it."""

    def __init__(self, cov: Tensor):
        matrix = value_of(cov, "multivariate_normal with allow_singular")
        w, v = np.linalg.eigh(matrix)
        many, far = (1e3, 1) if w.dtype == np.float32 else (1e6, 1e3)
        rounding = many * np.finfo(w.dtype).eps * np.abs(w).max(initial=0)
        within, self.near = w > rounding, far * rounding
        self.dim, self.whole = int(within.sum()), bool(within.all())
        self.half_log_det = float(np.log(w[within]).sum()) / 2
        self.whitening, self.null = v[:, within] / np.sqrt(w[within]), v[:, ~within]
        if w.min(initial=0) < -rounding:
            raise ValueError(f"multivariate_normal: cov must be positive semidefinite, got the eigenvalue {w.min()}")
        if not self.whole and (isinstance(cov, Wrapped) or cov.needs):
            raise ValueError(
                "multivariate_normal: this cov is singular, and has no derivative by cov; pass its value, or add a "
                "small multiple of the identity if rounding has made it singular"
            )

    def holds(self, deviation: Any) -> Any:
        return np.linalg.norm(deviation @ self.null, axis=-1) < self.near


def logpdf(x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False) -> Tensor:
    """The logarithm of the density of each vector along the last axis of x; numbers are vectors of length 1.

    As in SciPy, the result has no axes of length 1. The gradient by `cov` is symmetric: both triangles are taken to
    change together. With `allow_singular`, and a `cov` that is singular, it is that of the space that cov spans, along
    which x and `mean` are differentiated; elsewhere it is -inf. Raises ValueError for a derivative by such a cov.
    """
    x, dim = tensor(x), _dimension(mean, cov)
    if x.ndim == 0 or (x.ndim == 1 and dim == 1):
        x = x.reshape((-1, 1))
    if mean is not None:
        x = x - tensor(mean)
    deviation, cov = x.reshape((-1, dim)), _matrix(cov, dim)
    support = _Support(cov) if allow_singular else None
    if support is None or support.whole:
        factor = cholesky(cov)
        z = solve_triangular(factor, deviation.mT, lower=True)
        out = -summation(z * z, axes=0) / 2 - dim * ln(2 * pi) / 2 - _half_log_det(factor)
    else:
        z = deviation @ support.whitening
        out = -summation(z * z, axes=-1) / 2 - support.dim * ln(2 * pi) / 2 - support.half_log_det
        out = where(discrete(support.holds, deviation), out, -np.inf)
    return out.reshape(tuple(n for n in x.shape[:-1] if n != 1))


def pdf(x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False) -> Tensor:
    """The density of each vector."""
    return exp(logpdf(x, mean, cov, allow_singular))


def entropy(mean: Any = None, cov: Any = 1) -> Tensor:
    """The entropy in nats."""
    dim = _dimension(mean, cov)
    return dim * (ln(2 * pi) + 1) / 2 + _half_log_det(cholesky(_matrix(cov, dim)))
