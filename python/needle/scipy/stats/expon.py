"""The exponential distribution of mean `scale`."""

from __future__ import annotations

from typing import Any

from ...autograd import Tensor
from ...numpy.common import tensor
from ...ops import exp, where
from ...special.rules import function
from .common import log_density, log_probability, log_scale, standardized


def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of the density; -inf outside the support."""
    z = standardized(x, loc, scale)
    return log_density(~(z < 0), -z - log_scale(scale))


def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The density."""
    return exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of at most x."""
    z = standardized(x, loc, scale)
    return -function("expm1")(-where(z < 0, 0.0, z))


def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `cdf`."""
    return log_probability(cdf(x, loc, scale), sf(x, loc, scale))


def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of more than x."""
    z = standardized(x, loc, scale)
    return exp(-where(z < 0, 0.0, z))


def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `sf`."""
    return log_probability(sf(x, loc, scale), cdf(x, loc, scale))


def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The x whose `cdf` is q."""
    return -function("log1p")(-tensor(q)) * scale + loc
