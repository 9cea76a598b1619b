"""Derivatives of any order, by series: where closed forms lose their digits, near 0 and far out.

Each function takes the order of its derivative first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import factorial, gamma, prod
from typing import Any

import numpy as np
import scipy.special

from . import functions as sp
from .op import Special, on_tensors
from .parameters import result_dtype

NEAR = 2.0
"""Up to this modulus the power series below converge within their number of terms, and hardly cancel."""
TERMS = 30


def _of_any_order(compute: Callable[..., Any]) -> Any:
    """compute(order, *parameters, x) on Tensors; its slope by x has the next order."""
    arity = compute.__code__.co_argcount

    def slope(order: int, *rest: Any) -> Any:
        return of(order + 1, *rest[:-1])

    def checked(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            dtype = result_dtype(*arguments[1:])
            wide = [np.asarray(a, np.result_type(dtype, np.float64)) for a in arguments[1:]]
            return np.asarray(compute(arguments[0], *wide)).astype(dtype, copy=False)

    checked.__name__ = compute.__name__.strip("_")
    of = on_tensors(Special, checked, (*(None,) * (arity - 1), slope))
    return of


def _sum_of_powers(order: int, x: Any, terms: Iterator[tuple[Any, Any]]) -> Any:
    """The derivative of the sum of c * x**p, where terms are (c, p). What is differentiated to 0 is 0 at x = 0, too."""
    total: Any = 0.0
    for c, p in terms:
        factor = c * prod([p - j for j in range(order)])
        total = total + np.where(factor == 0, 0.0, factor * x ** np.where(factor == 0, 0.0, p - order))
    return total


def _struve_series(order: int, sign: Any, v: Any, x: Any) -> Any:
    """struve (sign = -1) and modstruve (sign = 1), near 0."""
    rgamma = scipy.special.rgamma
    count = TERMS + int(max(0, np.max(-v, initial=0)))
    terms = ((float(sign) ** m * rgamma(m + 1.5) * rgamma(m + v + 1.5), 2 * m + v + 1) for m in range(count))
    return _sum_of_powers(order, x / 2, terms) / 2**order


_POWERS: dict[str, Callable[[int], tuple[float, int]]] = {
    "ber": lambda m: ((-1) ** m / factorial(2 * m) ** 2, 4 * m),
    "bei": lambda m: ((-1) ** m / factorial(2 * m + 1) ** 2, 4 * m + 2),
    "it2i0k0": lambda m: (1 / (2 * factorial(m + 1) ** 2), 2 * m + 1),
    "it2j0y0": lambda m: ((-1) ** m / (2 * factorial(m + 1) ** 2), 2 * m + 1),
    "shichi": lambda m: (4.0**m / factorial(2 * m + 1), 2 * m),
    "it2struve0": lambda m: (-((-1) ** m) / (2 * gamma(m + 1.5) ** 2), 2 * m),
}
"""Name -> the coefficient and the exponent of the m-th term of a function's power series in x / 2."""


def _power_series(name: str) -> Any:
    def series(order: int, x: Any) -> Any:
        return _sum_of_powers(order, x / 2, map(_POWERS[name], range(TERMS))) / 2**order

    series.__name__ = f"series of {name}"
    return _of_any_order(series)


struve_series = _of_any_order(_struve_series)
near_zero = {name: _power_series(name) for name in _POWERS}


def _bessel_tail(order: int, v: Any, x: Any) -> Any:
    """The sum of a_k(v) x**-k over sqrt(x), by Hankel: kve(v, x) but for a constant factor, for x beyond bessel_far(v).

    At -x it is ive, and at -i x and i x the Hankel functions.
    """
    total, a = 0.0, np.ones_like(v)
    for k in range(TERMS):
        total = total + a * prod([-k - 0.5 - j for j in range(order)]) / x ** (k + order)
        a = a * (4 * v * v - (2 * k + 1) ** 2) / (8 * (k + 1))
    return total / np.sqrt(x if x.dtype.kind == "c" else np.abs(x))  # whose slope is -1 / (2 x) of it on both sides


bessel_tail = _of_any_order(_bessel_tail)


def bessel_far(v: Any) -> Any:
    """From here on the smallest term of Hankel's expansions is below the rounding."""
    return 30 + v * v


def _erfcx_tail(order: int, x: Any) -> Any:
    """erfcx, for a real part above 2, or above 0 where the modulus is above 7.

    Each derivative is the one before, times a ratio of two repeated integrals of erfc. A continued fraction has these
    ratios; it is the recurrence of the integrals, run downwards.
    """
    ratio, ratios = np.zeros_like(x), []
    for n in range(order + 100, 0, -1):
        ratio = 1 / (2 * x + 2 * (n + 1) * ratio)
        if n <= order:
            ratios.append(-2 * n * ratio)
    return prod(ratios, start=scipy.special.erfcx(x))


erfcx_tail = _of_any_order(_erfcx_tail)


def _dawsn_tail(order: int, x: Any) -> Any:
    """The asymptotic series of dawsn, where the real part of x**2 is above 49."""
    c, terms = 0.5, []
    for k in range(TERMS):
        terms.append((c, -2 * k - 1))
        c *= (2 * k + 1) / 2
    return _sum_of_powers(order, x, iter(terms))


dawsn_tail = _of_any_order(_dawsn_tail)


def _digamma_step(order: int, z: Any, m: Any) -> Any:
    """polygamma(order, z + m) - polygamma(order, z), by Taylor's series in m where m is small beside z."""
    polygamma = scipy.special.polygamma
    near = np.abs(m) < z / 8
    small, at = np.where(near, m, 0.0), np.where(near, z, 1.0)
    series = sum(small**j / factorial(j) * polygamma(order + j, at) for j in range(18, 0, -1))
    return np.where(near, series, polygamma(order, z + m) - polygamma(order, z))


digamma_step: Any = on_tensors(
    Special,
    _digamma_step,
    (
        None,
        lambda n, z, m, y: digamma_step(n + 1, z, m),
        lambda n, z, m, y: sp.polygamma(n + 1, z + m),
    ),
)
