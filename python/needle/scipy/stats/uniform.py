"""The uniform distribution on [loc, loc + scale]."""

from __future__ import annotations

from typing import Any

from ...autograd import Tensor
from ...numpy.common import tensor
from ...ops import exp, where
from .common import log_density, log_probability, log_scale, standardized


def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of the density; -inf outside the support."""
    z = standardized(x, loc, scale)
    return log_density(~((z < 0) | (z > 1)), z * 0 - log_scale(scale))


def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The density."""
    return exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of at most x."""
    z = standardized(x, loc, scale)
    return where(z < 0, 0.0, where(z > 1, 1.0, z))


def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `cdf`."""
    return log_probability(cdf(x, loc, scale), sf(x, loc, scale))


def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of more than x."""
    return 1 - cdf(x, loc, scale)


def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `sf`."""
    return log_probability(sf(x, loc, scale), cdf(x, loc, scale))


def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The x whose `cdf` is q."""
    return tensor(q) * scale + loc
