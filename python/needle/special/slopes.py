"""The slopes of special functions that take more than a line."""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

import numpy as np
import scipy.special

from ..autograd import Tensor
from ..ops import absolute, cos, exp, log, sign, sin, where
from ..ops import sqrt as root
from ..ops.discrete import discrete
from . import functions as sp
from .op import Special, on_tensors
from .parameters import slope_by

TWO_BY_ROOT_PI = 2 / sqrt(pi)
ROOT_2PI = sqrt(2 * pi)
DEGREE = pi / 180


def binom_slopes(n: Any, k: Any, y: Any) -> tuple[Any, Any]:
    """The slopes by n and k, also where a pole of gamma makes the binomial 0."""
    zero = y == 0
    by_rgamma = sp.gamma(where(zero, n + 1, 1.0))
    n_rest, k_rest = where(zero, n - k + 1, 1.0), where(zero, k + 1, 1.0)
    at_zero_n = by_rgamma * sp.rgamma(k_rest) * rgamma_slope(n_rest)
    at_zero_k = by_rgamma * sp.rgamma(n_rest) * rgamma_slope(k_rest) - at_zero_n
    rest = sp.digamma(where(zero, 1.0, n - k + 1))
    by_n = y * (sp.digamma(where(zero, 1.0, n + 1)) - rest)
    by_k = y * (rest - sp.digamma(where(zero, 1.0, k + 1)))
    return where(zero, at_zero_n, by_n), where(zero, at_zero_k, by_k)


def rgamma_slope(x: Any) -> Any:
    """The slope of 1 / gamma, also at its zeros.

    Left of 1/2, it uses the reflection 1 / gamma(x) = gamma(1 - x) sin(pi x) / pi.
    """
    left = x.real < 0.5
    z = where(left, 1 - x, 1.0)
    reflected = sp.gamma(z) * (cos(pi * x) - sp.digamma(z) * sin(pi * x) / pi)
    z = where(left, 1.0, x)
    return where(left, reflected, -sp.rgamma(z) * sp.digamma(z))


def gamma_density_a(a: Any, x: Any, density: Any) -> Any:
    return sp.xlogy(density, x) - density * sp.digamma(a)


def _gamma_density(a: Any, x: Any) -> Any:
    """x**(a - 1) e**-x / gamma(a) on arrays, for any a: 0 at the poles of gamma."""
    norm = scipy.special.gammaln(a)
    with np.errstate(all="ignore"):
        density = scipy.special.gammasgn(a) * np.exp(scipy.special.xlogy(a - 1, x) - x - norm)
    return np.where((norm == np.inf) & (a <= 0) | (x == np.inf), density.dtype.type(0), density)


gamma_density: Any = on_tensors(Special, _gamma_density, (gamma_density_a, lambda a, x, y: gamma_density(a - 1, x) - y))


def beta_density_a(a: Any, b: Any, x: Any, density: Any) -> Any:
    return sp.xlogy(density, x) - density * (sp.digamma(a) - sp.digamma(a + b))


def beta_density_b(a: Any, b: Any, x: Any, density: Any) -> Any:
    return sp.xlog1py(density, -x) - density * (sp.digamma(b) - sp.digamma(a + b))


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    """x**(a - 1) (1 - x)**(b - 1) / beta(a, b) on arrays, for any a and b: 0 at the poles of beta."""
    norm = scipy.special.betaln(a, b)
    sign = scipy.special.gammasgn(a) * scipy.special.gammasgn(b) * scipy.special.gammasgn(a + b)
    with np.errstate(all="ignore"):
        density = sign * np.exp(scipy.special.xlogy(a - 1, x) + scipy.special.xlog1py(b - 1, -x) - norm)
    return np.where((norm == np.inf) & ((a <= 0) | (b <= 0)), density.dtype.type(0), density)


beta_density: Any = on_tensors(
    Special,
    _beta_density,
    (
        beta_density_a,
        beta_density_b,
        lambda a, b, x, y: (a + b - 1) * (beta_density(a - 1, b, x) - beta_density(a, b - 1, x)),
    ),
)


def t_density(df: Any, t: Any) -> Any:
    return exp(-(df + 1) / 2 * sp.log1p(t * t / df) - sp.betaln(df / 2, 0.5)) / root(df)


def gamma_score(a: Any, x: Any) -> Any:
    """The derivative of log(gamma_density) by a."""
    return log(x) - sp.digamma(a)


def trigamma(x: Any) -> Any:
    """The second derivative of log(gamma), for real numbers and, unlike SciPy's, complex ones."""
    return hurwitz(2, x) if isinstance(x, Tensor) and x.dtype.kind == "c" else sp.polygamma(1, x)


def _hurwitz(s: int, z: Any) -> Any:
    """The sum of 1 / (z + k)**s over k = 0, 1, ... for complex z, by the Euler-Maclaurin formula."""
    terms = int(max(0, 15 - np.floor(z.real.min(initial=15))))
    w = z + terms
    total = sum(((z + k) ** -s for k in range(terms)), w ** (1 - s) / (s - 1) + w**-s / 2)
    factor = s / 2 * w ** -(s + 1)
    for j, ratio in enumerate(_BERNOULLI_RATIOS, 1):
        total = total + factor * ratio
        factor = factor * (s + 2 * j - 1) * (s + 2 * j) / ((2 * j + 1) * (2 * j + 2)) / w**2
    return total


_BERNOULLI_RATIOS = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
hurwitz: Any = on_tensors(Special, _hurwitz, (None, lambda s, z, y: -s * hurwitz(s + 1, z)))


_by_shape = slope_by(0, scipy.special.gammainc, scipy.special.gammaincc)
_gammainc_aa = on_tensors(
    Special,
    slope_by(0, _by_shape),
    (None, lambda a, x, y: gamma_density(a, x) * (gamma_score(a, x) ** 2 - trigamma(a))),
)
gammainc_a = on_tensors(
    Special,
    _by_shape,
    (lambda a, x, y: _gammainc_aa(a, x), lambda a, x, y: gamma_density_a(a, x, gamma_density(a, x))),
)


def beta_score(a: Any, b: Any, x: Any) -> Any:
    """The derivative of log(beta_density) by a."""
    return log(x) - sp.digamma(a) + sp.digamma(a + b)


def beta_score_b(a: Any, b: Any, x: Any) -> Any:
    return sp.log1p(-x) - sp.digamma(b) + sp.digamma(a + b)


def _second(i: int, first: Any, score: Any) -> Any:
    """The derivative of `first`, the slope of betainc by a parameter, by parameter i; its own is known by x only."""

    def by_x(a: Any, b: Any, x: Any, y: Any) -> Any:
        return beta_density(a, b, x) * score(a, b, x)

    return on_tensors(Special, slope_by(i, first), (None, None, by_x))


_by_a, _by_b = [slope_by(i, scipy.special.betainc, scipy.special.betaincc) for i in (0, 1)]
_betainc_aa = _second(0, _by_a, lambda a, b, x: beta_score(a, b, x) ** 2 - trigamma(a) + trigamma(a + b))
_betainc_ab = _second(1, _by_a, lambda a, b, x: beta_score(a, b, x) * beta_score_b(a, b, x) + trigamma(a + b))
_betainc_bb = _second(1, _by_b, lambda a, b, x: beta_score_b(a, b, x) ** 2 - trigamma(b) + trigamma(a + b))
betainc_a = on_tensors(
    Special,
    _by_a,
    (
        lambda a, b, x, y: _betainc_aa(a, b, x),
        lambda a, b, x, y: _betainc_ab(a, b, x),
        lambda a, b, x, y: beta_density_a(a, b, x, beta_density(a, b, x)),
    ),
)
betainc_b = on_tensors(
    Special,
    _by_b,
    (
        lambda a, b, x, y: _betainc_ab(a, b, x),
        lambda a, b, x, y: _betainc_bb(a, b, x),
        lambda a, b, x, y: beta_density_b(a, b, x, beta_density(a, b, x)),
    ),
)


def stdtr_df(df: Any, t: Any) -> Any:
    """The slope of stdtr by df, from betainc at df / (df + t*t), which is twice the tail beyond |t|."""
    s = df + t * t
    by_shape = sign(t) * betainc_a(df / 2, 0.5, df / s) / 4
    return -by_shape - t * exp(sp.xlogy(df / 2 - 1, df / s) - sp.betaln(df / 2, 0.5)) / (2 * s * root(s))


def f_ratio(a: Any, b: Any, x: Any) -> Any:
    return a * x / (a * x + b)


def f_density(a: Any, b: Any, x: Any) -> Any:
    """The factor that the chain rule through f_ratio(a, b, x) shares: the beta density there, over (a x + b)**2."""
    return beta_density(a / 2, b / 2, f_ratio(a, b, x)) / (a * x + b) ** 2


def fdtr_a(a: Any, b: Any, x: Any) -> Any:
    return betainc_a(a / 2, b / 2, f_ratio(a, b, x)) / 2 + f_density(a, b, x) * b * x


def fdtr_b(a: Any, b: Any, x: Any) -> Any:
    return betainc_b(a / 2, b / 2, f_ratio(a, b, x)) / 2 - f_density(a, b, x) * a * x


def fdtr_x(a: Any, b: Any, x: Any) -> Any:
    return f_density(a, b, x) * a * b


def ellipk_slope(m: Any) -> Any:
    return pi / 8 * sp.hyp2f1(0.5, 0.5, 2.0, m) / (1 - m)


def ellipe_slope(m: Any) -> Any:
    return -pi / 8 * sp.hyp2f1(0.5, 1.5, 2.0, m)


def within_a_quarter(phi: Any) -> tuple[Any, Any]:
    """(sin(r)**3 / 6, cos(r)**2), 2 n for phi = n pi + r with |r| <= pi / 2."""
    turns = discrete(np.rint, phi / pi)
    s, c = sin(phi - turns * pi), cos(phi)
    return (s * s * s / 6, c * c), 2 * turns


def ellipkinc_m(phi: Any, m: Any) -> Any:
    (s3, c2), halves = within_a_quarter(phi)
    return s3 * sp.elliprd(c2, 1.0, 1 - m * (1 - c2)) + halves * ellipk_slope(m)


def ellipeinc_m(phi: Any, m: Any) -> Any:
    (s3, c2), halves = within_a_quarter(phi)
    return -s3 * sp.elliprd(c2, 1 - m * (1 - c2), 1.0) + halves * ellipe_slope(m)


def elliprd_x(x: Any, y: Any, z: Any, out: Any) -> Any:
    """The slope of elliprd by x, by partial fractions; their limit where x = z."""
    equal = x == z
    apart = (out - sp.elliprd(y, z, x)) / where(equal, 1.0, 2 * (z - x))
    return where(equal, -3 / 4 * _integral_of_cubes(where(equal, y, 1.0), where(equal, z, 1.0)), apart)


def _integral_of_cubes(y: Any, z: Any) -> Any:
    """The integral of (t + y)**-1/2 (t + z)**-3 over positive t, by integrating by parts twice."""
    equal = y == z
    d = where(equal, 1.0, y - z)
    squares = (root(y) / z - sp.elliprc(y, z)) / d
    return where(equal, 2 / 5 * z**-2.5, (root(y) / z**2 - 3 / 2 * squares) / (2 * d))


def agm_slope(a: Any, b: Any, out: Any) -> Any:
    """The slope of agm by a, from agm(a, b) = pi / 4 (a + b) / ellipk(m), where m = ((a - b) / (a + b))**2."""
    m = ((a - b) / (a + b)) ** 2
    return out / (a + b) * (1 - 4 * b * (a - b) / (a + b) ** 2 * ellipk_slope(m) / sp.ellipk(m))


def exprel_slope(x: Any) -> Any:
    """(e**x (x - 1) + 1) / x**2, as a hypergeometric function."""
    return sp.hyp1f1(2.0, 3.0, x) / 2


def struve_term(v: Any, x: Any) -> Any:
    return (x / 2) ** v * sp.rgamma(v + 1.5) / (2 * sqrt(pi))


def erfcx_slope(x: Any, y: Any) -> Any:
    """2 x erfcx(x) - 2 / sqrt(pi). Its terms cancel for large positive x, where an asymptotic series replaces them."""
    far = x.real > 30
    u = where(far, 0.5 / where(far, x, 1.0) ** 2, 0.0)
    tail = -TWO_BY_ROOT_PI * u * (1 - 3 * u * (1 - 5 * u * (1 - 7 * u * (1 - 9 * u))))
    return where(far, tail, 2 * x * y - TWO_BY_ROOT_PI)


def log_ndtr_slope(x: Any) -> Any:
    """The density over ndtr, without underflow: for negative x by erfcx."""
    left = x.real < 0
    near, far = where(left, 0.0, x), where(left, x, 0.0)
    return where(left, sqrt(2 / pi) / sp.erfcx(-far / sqrt(2)), exp(-near * near / 2) / (ROOT_2PI * sp.ndtr(near)))


def dawsn_slope(x: Any, y: Any) -> Any:
    """1 - 2 x dawsn(x). Its terms cancel for large |x|, where an asymptotic series replaces them."""
    far = absolute(x.real) > 30
    u = where(far, 0.5 / where(far, x, 1.0) ** 2, 0.0)
    tail = -u * (1 + 3 * u * (1 + 5 * u * (1 + 7 * u * (1 + 9 * u))))
    return where(far, tail, 1 - 2 * x * y)


def clipped(delta: Any, r: Any) -> Any:
    return where(absolute(r) <= delta, r, delta * sign(r))


def hypotenuse(a: Any, b: Any) -> Any:
    """sqrt(a**2 + b**2), but 1 where both are 0."""
    square = a * a + b * b
    return root(where(square == 0, 1.0, square))


def quotient(x: Any, y: Any) -> Any:
    """x / y, and 0 where both are 0."""
    return x / where((x == 0) & (y == 0), 1.0, y)


def half_difference(name: str, v: Any, x: Any) -> Any:
    """The slope by x of the Bessel functions of the first and second kind."""
    of = sp.function(name)
    return (of(v - 1, x) - of(v + 1, x)) / 2


def half_sum(name: str, v: Any, x: Any) -> Any:
    """The slope by x of modified Bessel functions, up to its sign."""
    of = sp.function(name)
    return (of(v - 1, x) + of(v + 1, x)) / 2


def spherical(name: str, n: Any, x: Any, sign_of_next: int) -> Any:
    of = sp.function(name)
    return (n * of(before(n), x) + sign_of_next * (n + 1) * of(n + 1, x)) / (2 * n + 1)


def before(n: Any) -> Any:
    """n - 1, but 0 for n = 0: for terms with n as a factor."""
    return n - 1 * (n > 0)


def whole(k: Any) -> Any:
    return discrete(np.floor, k)


def expn_before(n: Any, x: Any) -> Any:
    """expn(n - 1, x), also for n = 0, where the order is negative and SciPy has no value."""
    return where(n > 0, sp.expn(before(n), x), exp(-x) * (1 + 1 / x) / x)


def ellipj_m(m: Any, sn: Any, cn: Any, dn: Any, phi: Any) -> tuple[Any, ...]:
    """The slopes of ellipj's results by m. phi solves ellipkinc(phi, m) = u; sn, cn and dn are functions of it."""
    turn = -dn * ellipkinc_m(phi, m)
    return cn * turn, -sn * turn, -sn * (sn + 2 * m * cn * turn) / (2 * dn), turn


def real(x: Any, name: str) -> Any:
    """The argument of a function scaled by a modulus. Raises NotImplementedError for complex ones."""
    if x.dtype.kind == "c":
        raise NotImplementedError(
            f"{name}: its derivative is known for real arguments only, got dtype {x.dtype}: it is scaled by a modulus; "
            f"write the function without scaling"
        )
    return x
