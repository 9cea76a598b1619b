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
from .carlson import integral
from .op import Special, on_tensors
from .parameters import slope_by
from .series import (
    NEAR,
    bessel_far,
    bessel_tail,
    dawsn_tail,
    digamma_step,
    erfcx_tail,
    near_zero,
    struve_series,
)

TWO_BY_ROOT_PI = 2 / sqrt(pi)
ROOT_2PI = sqrt(2 * pi)
DEGREE = pi / 180


def binom_slopes(n: Any, k: Any, y: Any) -> tuple[Any, Any]:
    """The slopes by n and k, also where a pole of gamma makes the binomial 0."""
    zero = y == 0
    by_rgamma = sp.gamma(where(zero, n + 1, 1.0))
    rest = n - (k - 1)  # with all digits where this is near a pole
    n_rest, k_rest = where(zero, rest, 1.0), where(zero, k + 1, 1.0)
    at_zero_n = by_rgamma * sp.rgamma(k_rest) * rgamma_slope(n_rest)
    at_zero_k = by_rgamma * sp.rgamma(n_rest) * rgamma_slope(k_rest) - at_zero_n
    rest = where(zero, 1.0, rest)
    by_n = y * digamma_step(0, rest, where(zero, 0.0, k))
    by_k = y * (sp.digamma(rest) - sp.digamma(where(zero, 1.0, k + 1)))
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


def _beta_term(i: int, j: int, a: Any, b: Any, x: Any) -> Any:
    """x**(a - 1 - i) (1 - x)**(b - 1 - j) / beta(a, b) on arrays, for any a and b: 0 at the poles of beta."""
    norm = scipy.special.betaln(a, b)
    sign = scipy.special.gammasgn(a) * scipy.special.gammasgn(b) * scipy.special.gammasgn(a + b)
    with np.errstate(all="ignore"):
        term = sign * np.exp(scipy.special.xlogy(a - 1 - i, x) + scipy.special.xlog1py(b - 1 - j, -x) - norm)
    return np.where((norm == np.inf) & ((a <= 0) | (b <= 0)), term.dtype.type(0), term)


def _beta_term_x(i: int, j: int, a: Any, b: Any, *rest: Any) -> Any:
    """By the product rule. A power of 0 has the slope 0, also where the term beside it is infinite."""
    x, p, q = rest[0], a - 1 - i, b - 1 - j
    up, down = where(p == 0, 0.0, beta_term(i + 1, j, a, b, x)), where(q == 0, 0.0, beta_term(i, j + 1, a, b, x))
    return p * up - q * down


beta_term: Any = on_tensors(
    Special,
    _beta_term,
    (
        None,
        None,
        lambda i, j, a, b, x, y: sp.xlogy(y, x) + y * digamma_step(0, a, b),
        lambda i, j, a, b, x, y: sp.xlog1py(y, -x) + y * digamma_step(0, b, a),
        _beta_term_x,
    ),
)


def beta_density(a: Any, b: Any, x: Any) -> Any:
    return beta_term(0, 0, a, b, x)


def beta_density_a(a: Any, b: Any, x: Any, density: Any) -> Any:
    return sp.xlogy(density, x) + density * digamma_step(0, a, b)


def beta_density_b(a: Any, b: Any, x: Any, density: Any) -> Any:
    return sp.xlog1py(density, -x) + density * digamma_step(0, b, a)


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
    return log(x) + digamma_step(0, a, b)


def beta_score_b(a: Any, b: Any, x: Any) -> Any:
    return sp.log1p(-x) + digamma_step(0, b, a)


def _second(i: int, first: Any, score: Any) -> Any:
    """The derivative of `first`, the slope of betainc by a parameter, by parameter i; its own is known by x only."""

    def by_x(a: Any, b: Any, x: Any, y: Any) -> Any:
        return beta_density(a, b, x) * score(a, b, x)

    return on_tensors(Special, slope_by(i, first), (None, None, by_x))


_by_a, _by_b = [slope_by(i, scipy.special.betainc, scipy.special.betaincc) for i in (0, 1)]
_betainc_aa = _second(0, _by_a, lambda a, b, x: beta_score(a, b, x) ** 2 + digamma_step(1, a, b))
_betainc_ab = _second(1, _by_a, lambda a, b, x: beta_score(a, b, x) * beta_score_b(a, b, x) + trigamma(a + b))
_betainc_bb = _second(1, _by_b, lambda a, b, x: beta_score_b(a, b, x) ** 2 + digamma_step(1, b, a))
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
    return sp.elliprd(0.0, 1.0, 1 - m) / 6


def ellipe_slope(m: Any) -> Any:
    return -sp.elliprd(0.0, 1 - m, 1.0) / 6


def within_a_quarter(phi: Any) -> tuple[Any, Any, Any]:
    """sin(r), cos(r)**2 and 2 n for phi = n pi + r with |r| <= pi / 2."""
    turns = discrete(np.rint, phi / pi)
    return sin(phi - turns * pi), cos(phi) ** 2, 2 * turns


def one_less(m: Any, s: Any, c2: Any) -> Any:
    """1 - m s**2, with all digits near 0, too, where s**2 + c2 = 1."""
    near = (m > 0) & (c2 < 0.5)
    return where(near, 1 - m + m * c2, 1 - m * s * s)


def ellipkinc_m(phi: Any, m: Any) -> Any:
    s, c2, halves = within_a_quarter(phi)
    return s * s * s / 6 * sp.elliprd(c2, 1.0, one_less(m, s, c2)) + halves * ellipk_slope(m)


def ellipeinc_m(phi: Any, m: Any) -> Any:
    s, c2, halves = within_a_quarter(phi)
    return -s * s * s / 6 * sp.elliprd(c2, one_less(m, s, c2), 1.0) + halves * ellipe_slope(m)


def elliprc_x(x: Any, y: Any, out: Any) -> Any:
    """The slope of elliprc by x. For negative y, elliprc is a principal value, and x is not near y."""
    below = (y.real < 0) & (y.imag == 0)
    above, principal = where(below, 1.0, y), where(below, y, -1.0)
    return where(below, (out - 1 / root(x)) / (2 * (principal - x)), -sp.elliprd(above, above, x) / 6)


def elliprc_y(x: Any, y: Any, out: Any) -> Any:
    below = (y.real < 0) & (y.imag == 0)
    above, principal = where(below, 1.0, y), where(below, y, -1.0)
    by_principal = (out - root(x) / principal) / (2 * (x - principal))
    return where(below, by_principal, -integral(0, 0.5, 1, 1, x, above, above) / 2)


def agm_slope(a: Any, b: Any, out: Any) -> Any:
    """The slope of agm by a, from agm(a, b) = pi / 4 (a + b) / ellipkm1(p), where p = 4 a b / (a + b)**2."""
    p = 4 * (a / (a + b)) * (b / (a + b))
    return out / (a + b) * (1 - 4 * b / (a + b) * (a - b) / (a + b) * sp.elliprd(0.0, 1.0, p) / (6 * sp.ellipkm1(p)))


def exprel_slope(x: Any) -> Any:
    """(e**x (x - 1) + 1) / x**2, as a hypergeometric function."""
    return sp.hyp1f1(2.0, 3.0, x) / 2


def struve_slope(name: str, v: Any, x: Any) -> Any:
    near = absolute(x) < NEAR
    inside, outside = where(near, x, 1.0), where(near, NEAR, x)
    of, sign_of_terms = sp.function(name), 1 if name == "modstruve" else -1
    return where(near, struve_series(1, sign_of_terms, v, inside), of(v - 1, outside) - v / outside * of(v, outside))


def series_or(name: str, order: int, x: Any, otherwise: Any) -> Any:
    """The power series of this name near 0, elsewhere this function of x."""
    near = absolute(x) < NEAR
    return where(near, near_zero[name](order, where(near, x, 1.0)), otherwise(where(near, NEAR, x)))


def scaled_slope(turn: Any, v: Any, x: Any, y: Any, closed: Any) -> Any:
    """The slope of a scaled Bessel function y: far out by Hankel's expansion at turn * x, elsewhere in closed form.

    Far out, the slope of the scale nearly cancels the function's.
    """
    far = (x.real > bessel_far(v)) | (absolute(x.real) > bessel_far(v)) * (x.imag == 0)
    return where(far, y * hankel_ratio(turn, v, where(far, x, bessel_far(v))), closed)


def hankel_ratio(turn: Any, v: Any, x: Any) -> Any:
    """The logarithmic derivative of Hankel's expansion at turn * x; as a function of negative numbers it is odd."""
    side = where(x.real < 0, -1, 1)
    at = turn * side * x
    return turn * side * bessel_tail(1, v, at) / bessel_tail(0, v, at)


def airye_slopes(x: Any, y: tuple[Any, ...]) -> tuple[Any, ...]:
    """The slopes of airye's results; far out, where these are scaled Bessel functions, by Hankel's expansions."""
    near = real(x, "airye") < 13
    z, far = where(near, x, 1.0), where(near, 13.0, x)
    s = where(z >= 0, root(where(z >= 0, z, 1.0)), 0.0)  # the scale's slope; left of 0 nothing is scaled
    closed = y[1] + s * y[0], z * y[0] + s * y[1], y[3] - s * y[2], z * y[2] - s * y[3]

    def tail(i: int, turn: int, v: float, power: float) -> Any:
        return y[i] * (power / far + root(far) * hankel_ratio(turn, v, 2 / 3 * far * root(far)))

    tails = tail(0, 1, 1 / 3, 1 / 2), tail(1, 1, 2 / 3, 1), tail(2, -1, 1 / 3, 1 / 2), tail(3, -1, 2 / 3, 1)
    return tuple([where(near, a, b) for a, b in zip(closed, tails, strict=True)])


def erfcx_slope(x: Any, y: Any) -> Any:
    """2 x erfcx(x) - 2 / sqrt(pi). Its terms cancel to the right, where a continued fraction replaces them."""
    far = (x.real > 2) | ((x.real >= 0) & (absolute(x) > 7))
    return where(far, erfcx_tail(1, where(far, x, 2.0)), 2 * x * y - TWO_BY_ROOT_PI)


def log_ndtr_slope(x: Any) -> Any:
    """The density over ndtr, without underflow: for negative x by erfcx."""
    left = x.real < 0
    near, far = where(left, 0.0, x), where(left, x, 0.0)
    return where(left, sqrt(2 / pi) / sp.erfcx(-far / sqrt(2)), exp(-near * near / 2) / (ROOT_2PI * sp.ndtr(near)))


def dawsn_slope(x: Any, y: Any) -> Any:
    """1 - 2 x dawsn(x). Its terms cancel for large |x|, where an asymptotic series replaces them."""
    far = x.real * x.real > x.imag * x.imag + 49
    return where(far, dawsn_tail(1, where(far, x, 7.0)), 1 - 2 * x * y)


def wofz_slope(z: Any, w: Any) -> Any:
    """That of w(z) = erfcx(-i z)."""
    return -1j * erfcx_slope(-1j * z, w)


def spence_slope(x: Any) -> Any:
    """log(x) / (1 - x), and around 1 as a hypergeometric function."""
    near = absolute(x - 1) < 0.5
    z = where(near, 0.5, x)
    return where(near, -sp.hyp2f1(1.0, 1.0, 2.0, 1 - where(near, x, 1.0)), log(z) / (1 - z))


def log1p_ratio_slope(t: Any) -> Any:
    """The derivative of log(1 + t) / t."""
    near = absolute(t) < 0.5
    z = where(near, 1.0, t)
    return where(near, -sp.hyp2f1(2.0, 2.0, 3.0, -where(near, t, 0.0)) / 2, (1 / (1 + z) - sp.log1p(z) / z) / z)


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
