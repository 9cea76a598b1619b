"""Student's t distribution of `df` degrees of freedom."""

from __future__ import annotations

from math import log as ln
from math import pi
from typing import Any

from ...autograd import Tensor
from ...numpy.common import tensor
from ...ops import exp
from ...special.rules import function
from .common import beside, log_probability, log_scale, standardized


def logpdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of the density."""
    z = standardized(x, loc, scale)
    df = beside(z, df)
    norm = function("gammaln")((df + 1) / 2) - function("gammaln")(df / 2) - (log_scale(df) + ln(pi)) / 2
    return norm - (df + 1) / 2 * function("log1p")(z * z / df) - log_scale(scale)


def pdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The density."""
    return exp(logpdf(x, df, loc, scale))


def cdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of at most x."""
    z = standardized(x, loc, scale)
    return function("stdtr")(beside(z, df), z)


def logcdf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `cdf`."""
    return log_probability(cdf(x, df, loc, scale), sf(x, df, loc, scale))


def sf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The probability of more than x."""
    z = standardized(x, loc, scale)
    return function("stdtr")(beside(z, df), -z)


def logsf(x: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The logarithm of `sf`."""
    return log_probability(sf(x, df, loc, scale), cdf(x, df, loc, scale))


def ppf(q: Any, df: Any, loc: Any = 0, scale: Any = 1) -> Tensor:
    """The x whose `cdf` is q."""
    q = tensor(q)
    return function("stdtrit")(beside(q, df), q) * scale + loc
