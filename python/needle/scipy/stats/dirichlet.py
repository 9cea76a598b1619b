"""The Dirichlet distribution of concentrations `alpha`, on vectors of positive numbers whose sum is 1."""

from __future__ import annotations

from typing import Any

from ...autograd import Tensor
from ...numpy.common import tensor
from ...ops import exp, summation
from ...ops.joining import concatenate
from ...special.rules import function


def logpdf(x: Any, alpha: Any) -> Tensor:
    """The logarithm of the density of each vector along the first axis of x.

    The last number of the vectors may be left out. Nothing checks that the numbers sum to 1, because derivatives leave
    the plane where they do. Raises ValueError for shapes that do not fit.
    """
    x, alpha = tensor(x), tensor(alpha)
    if alpha.ndim != 1 or x.ndim == 0 or x.shape[0] not in (alpha.size, alpha.size - 1):
        raise ValueError(
            f"dirichlet: alpha must be a vector, and x must have as many rows, or one less; got shapes {alpha.shape} "
            f"and {x.shape}"
        )
    if x.shape[0] < alpha.size:
        x = concatenate([x, 1 - summation(x, 0, keepdims=True)])
    gammaln = function("gammaln")
    power = (alpha - 1).reshape((-1, *(1,) * (x.ndim - 1)))
    out = summation(function("xlogy")(power, x), 0) + gammaln(summation(alpha)) - summation(gammaln(alpha))
    return out.reshape(tuple(n for n in out.shape if n != 1))


def pdf(x: Any, alpha: Any) -> Tensor:
    """The density of each vector along the first axis of x."""
    return exp(logpdf(x, alpha))
