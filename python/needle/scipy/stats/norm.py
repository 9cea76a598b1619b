"""The normal distribution of mean `loc` and standard deviation `scale`."""

from __future__ import annotations

from math import log, pi
from typing import Any

from ...autograd import Tensor
from ...ops import exp
from ...special.rules import function
from .common import log_scale, standardized

_HALF_LOG_2PI = log(2 * pi) / 2


def logpdf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of the density."""
    z = standardized(x, loc, scale)
    return -z * z / 2 - _HALF_LOG_2PI - log_scale(scale)


def pdf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The density."""
    return exp(logpdf(x, loc, scale))


def cdf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of at most x."""
    return function("ndtr")(standardized(x, loc, scale))


def logcdf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `cdf`, accurate far out in the tail."""
    return function("log_ndtr")(standardized(x, loc, scale))


def sf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of more than x."""
    return function("ndtr")(-standardized(x, loc, scale))


def logsf(x: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `sf`, accurate far out in the tail."""
    return function("log_ndtr")(-standardized(x, loc, scale))


def ppf(q: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The x whose `cdf` is q."""
    return function("ndtri")(q) * scale + loc


def isf(q: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The x whose `sf` is q."""
    return -function("ndtri")(q) * scale + loc


def entropy(loc: Any = 0, scale: Any = 1) -> Tensor:
    """The entropy in nats."""
    return _HALF_LOG_2PI + 0.5 + log_scale(scale) + standardized(loc, 0, 1) * 0
