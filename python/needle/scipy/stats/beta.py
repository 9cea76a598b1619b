"""The beta distribution of shapes `a` and `b`."""

from __future__ import annotations

from typing import Any

from ...autograd import Tensor
from ...numpy.common import tensor
from ...ops import exp, where
from ...special.rules import function
from .common import beside, inside, log_density, log_probability, log_scale, standardized


def logpdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of the density; -inf outside the support."""
    z = standardized(x, loc, scale)
    support = ~((z < 0) | (z > 1))
    z = inside(support, z, 0.5)
    a, b = beside(z, a), beside(z, b)
    value = function("xlogy")(a - 1, z) + function("xlog1py")(b - 1, -z) - function("betaln")(a, b) - log_scale(scale)
    return log_density(support, value)


def pdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The density."""
    return exp(logpdf(x, a, b, loc, scale))


def cdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of at most x."""
    z = standardized(x, loc, scale)
    return function("betainc")(beside(z, a), beside(z, b), where(z < 0, 0.0, where(z > 1, 1.0, z)))


def logcdf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `cdf`."""
    return log_probability(cdf(x, a, b, loc, scale), sf(x, a, b, loc, scale))


def sf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of more than x."""
    z = standardized(x, loc, scale)
    return function("betaincc")(beside(z, a), beside(z, b), where(z < 0, 0.0, where(z > 1, 1.0, z)))


def logsf(x: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `sf`."""
    return log_probability(sf(x, a, b, loc, scale), cdf(x, a, b, loc, scale))


def ppf(q: Any, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The x whose `cdf` is q."""
    q = tensor(q)
    return function("betaincinv")(beside(q, a), beside(q, b), q) * scale + loc
