"""The normal distribution of vectors along the last axis, with a mean and a covariance matrix."""

from __future__ import annotations

from math import log as ln
from math import pi
from typing import Any

import numpy as np

from ...autograd import Tensor, constant
from ...numpy.common import tensor
from ...ops import exp, log, summation
from ...ops.factorizations import cholesky
from ...ops.indexing import getitem
from ..linalg import solve_triangular


def _dimension(mean: Any, cov: Any) -> int:
    """The length of the vectors: that of the mean, or else of the covariance matrix."""
    of = cov if mean is None else mean
    return tensor(of).shape[-1] if np.ndim(of) else 1


def _factor(cov: Any, dim: int) -> Tensor:
    """The Cholesky factor of a covariance: a matrix, a vector of variances, or one variance.

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
    return cholesky(cov)


def _half_log_det(factor: Tensor) -> Tensor:
    n = np.arange(factor.shape[-1])
    return summation(log(getitem(factor, (n, n))))


def logpdf(x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False) -> Tensor:
    """The logarithm of the density of each vector along the last axis of x; numbers are vectors of length 1.

    As in SciPy, the result has no axes of length 1. The gradient by `cov` is symmetric: both triangles are taken to
    change together. Raises ValueError for `allow_singular`.
    """
    if allow_singular:
        raise ValueError(
            "multivariate_normal: a singular cov has no density to differentiate; leave allow_singular out, and add a "
            "small multiple of the identity to cov if rounding has made it singular"
        )
    x, dim = tensor(x), _dimension(mean, cov)
    if x.ndim == 0 or (x.ndim == 1 and dim == 1):
        x = x.reshape((-1, 1))
    if mean is not None:
        x = x - tensor(mean)
    factor = _factor(cov, dim)
    z = solve_triangular(factor, x.reshape((-1, dim)).mT, lower=True)
    out = -summation(z * z, axes=0) / 2 - dim * ln(2 * pi) / 2 - _half_log_det(factor)
    return out.reshape(tuple(n for n in x.shape[:-1] if n != 1))


def pdf(x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False) -> Tensor:
    """The density of each vector."""
    return exp(logpdf(x, mean, cov, allow_singular))


def entropy(mean: Any = None, cov: Any = 1) -> Tensor:
    """The entropy in nats."""
    dim = _dimension(mean, cov)
    return dim * (ln(2 * pi) + 1) / 2 + _half_log_det(_factor(cov, dim))
