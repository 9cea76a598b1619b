"""The chi-squared distribution of `df` degrees of freedom: the gamma distribution of shape df / 2 and scale 2."""

from __future__ import annotations

from typing import Any

from ...autograd import Tensor
from ...ops import exp
from . import gamma
from .common import log_probability


def logpdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of the density; -inf outside the support."""
    return gamma.logpdf(x, df / 2, loc, 2 * scale)


def pdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The density."""
    return exp(logpdf(x, df, loc, scale))


def cdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of at most x."""
    return gamma.cdf(x, df / 2, loc, 2 * scale)


def logcdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `cdf`."""
    return log_probability(cdf(x, df, loc, scale), sf(x, df, loc, scale))


def sf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of more than x."""
    return gamma.sf(x, df / 2, loc, 2 * scale)


def logsf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `sf`."""
    return log_probability(sf(x, df, loc, scale), cdf(x, df, loc, scale))


def ppf(q: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The x whose `cdf` is q."""
    return gamma.ppf(q, df / 2, loc, 2 * scale)
