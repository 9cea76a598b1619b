"""The Poisson distribution of mean `mu`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...autograd import Tensor
from ...ops import exp, where
from ...ops.discrete import discrete
from ...special.rules import function
from .common import inside, log_density, log_probability, standardized


def logpmf(k: Any, mu: Any, loc: Any = 0) -> Tensor:
    """The logarithm of the probability; -inf outside the support."""
    k = standardized(k, loc, 1)
    support = (k >= 0) & (k == discrete(np.floor, k))
    k = inside(support, k, 0)
    return log_density(support, function("xlogy")(k, mu) - function("gammaln")(k + 1) - mu)


def pmf(k: Any, mu: Any, loc: Any = 0) -> Tensor:
    """The probability."""
    return exp(logpmf(k, mu, loc))


def cdf(k: Any, mu: Any, loc: Any = 0) -> Tensor:
    """The probability of at most k."""
    k = standardized(k, loc, 1)
    below = k < 0
    return where(below, 0.0, function("pdtr")(where(below, 0, k), mu))


def logcdf(k: Any, mu: Any, loc: Any = 0) -> Tensor:
    """The logarithm of `cdf`."""
    return log_probability(cdf(k, mu, loc), sf(k, mu, loc))


def sf(k: Any, mu: Any, loc: Any = 0) -> Tensor:
    """The probability of more than k."""
    k = standardized(k, loc, 1)
    below = k < 0
    return where(below, 1.0, function("pdtrc")(where(below, 0, k), mu))


def logsf(k: Any, mu: Any, loc: Any = 0) -> Tensor:
    """The logarithm of `sf`."""
    return log_probability(sf(k, mu, loc), cdf(k, mu, loc))
