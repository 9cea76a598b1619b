"""The gamma distribution of shape `a`."""

from __future__ import annotations

from typing import Any

from ...autograd import Tensor
from ...numpy.common import tensor
from ...ops import exp, where
from ...special.rules import function
from .common import beside, inside, log_density, log_probability, log_scale, standardized


def logpdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of the density; -inf outside the support."""
    z = standardized(x, loc, scale)
    support = ~(z < 0)
    z = inside(support, z, 1.0)
    a = beside(z, a)
    value = function("xlogy")(a - 1, z) - z - function("gammaln")(a) - log_scale(scale)
    return log_density(support, value)


def pdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The density."""
    return exp(logpdf(x, a, loc, scale))


def cdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of at most x."""
    z = standardized(x, loc, scale)
    return function("gammainc")(beside(z, a), where(z < 0, 0.0, z))


def logcdf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `cdf`."""
    return log_probability(cdf(x, a, loc, scale), sf(x, a, loc, scale))


def sf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of more than x."""
    z = standardized(x, loc, scale)
    return function("gammaincc")(beside(z, a), where(z < 0, 0.0, z))


def logsf(x: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `sf`."""
    return log_probability(sf(x, a, loc, scale), cdf(x, a, loc, scale))


def ppf(q: Any, a: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The x whose `cdf` is q."""
    q = tensor(q)
    return function("gammaincinv")(beside(q, a), q) * scale + loc
