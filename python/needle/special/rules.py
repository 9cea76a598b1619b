"""The derivatives of SciPy's special functions, by name, in terms of other special functions.

A rule has a slope for each argument. A slope is a function of the arguments and, as the last parameter, the output. It
is `ZERO` if the derivative by that argument is 0 wherever it exists, and `None` if the derivative is not known. For a
function with several results, a slope returns a tuple with one member for each.
"""

from __future__ import annotations

from math import log as ln
from math import pi, sqrt

from ..autograd import ZERO
from ..ops import absolute, cos, exp, log, sign, sin, where
from ..ops import sqrt as root
from ..ops.base import operands
from ..ops.exponential import SLOPE_OF_SIGMOID
from ..ops.trigonometric import SLOPE_OF_HYPOT
from . import functions as sp
from .carlson import integral
from .functions import SLOPES
from .functions import function as function
from .op import Slope
from .series import digamma_step
from .slopes import (
    DEGREE,
    ROOT_2PI,
    TWO_BY_ROOT_PI,
    agm_slope,
    airye_slopes,
    before,
    beta_density,
    betainc_a,
    betainc_b,
    binom_slopes,
    clipped,
    dawsn_slope,
    ellipe_slope,
    ellipeinc_m,
    ellipj_m,
    ellipk_slope,
    ellipkinc_m,
    elliprc_x,
    elliprc_y,
    erfcx_slope,
    expn_before,
    exprel_slope,
    fdtr_a,
    fdtr_b,
    fdtr_x,
    gamma_density,
    gammainc_a,
    half_difference,
    half_sum,
    hypotenuse,
    log1p_ratio_slope,
    log_ndtr_slope,
    quotient,
    real,
    rgamma_slope,
    scaled_slope,
    series_or,
    spence_slope,
    spherical,
    stdtr_df,
    struve_slope,
    t_density,
    trigamma,
    whole,
    wofz_slope,
)

GAMMA: dict[str, Slope] = {
    "gamma": lambda x, y: y * sp.digamma(x),
    "gammaln": lambda x, y: sp.digamma(x),
    "loggamma": lambda x, y: sp.digamma(x),
    "rgamma": lambda x, y: rgamma_slope(x),
    "gammasgn": ZERO,
    "digamma": lambda x, y: trigamma(x),
    "psi": lambda x, y: trigamma(x),
    "polygamma": (None, lambda n, x, y: sp.polygamma(n + 1, x)),
    "zeta": (None, lambda s, q, y: -s * sp.zeta(s + 1, q)),
    "poch": (lambda z, m, y: y * digamma_step(0, z, m), lambda z, m, y: y * sp.digamma(z + m)),
    "beta": (
        lambda a, b, y: -y * digamma_step(0, a, b),
        lambda a, b, y: -y * digamma_step(0, b, a),
    ),
    "betaln": (lambda a, b, y: -digamma_step(0, a, b), lambda a, b, y: -digamma_step(0, b, a)),
    "binom": (lambda n, k, y: binom_slopes(n, k, y)[0], lambda n, k, y: binom_slopes(n, k, y)[1]),
    "gammainc": (lambda a, x, y: gammainc_a(a, x), lambda a, x, y: gamma_density(a, x)),
    "gammaincc": (lambda a, x, y: -gammainc_a(a, x), lambda a, x, y: -gamma_density(a, x)),
    "gammaincinv": (
        lambda a, p, x: -gammainc_a(a, x) / gamma_density(a, x),
        lambda a, p, x: 1 / gamma_density(a, x),
    ),
    "gammainccinv": (
        lambda a, p, x: -gammainc_a(a, x) / gamma_density(a, x),
        lambda a, p, x: -1 / gamma_density(a, x),
    ),
    "betainc": (
        lambda a, b, x, y: betainc_a(a, b, x),
        lambda a, b, x, y: betainc_b(a, b, x),
        lambda a, b, x, y: beta_density(a, b, x),
    ),
    "betaincc": (
        lambda a, b, x, y: -betainc_a(a, b, x),
        lambda a, b, x, y: -betainc_b(a, b, x),
        lambda a, b, x, y: -beta_density(a, b, x),
    ),
    "betaincinv": (
        lambda a, b, p, x: -betainc_a(a, b, x) / beta_density(a, b, x),
        lambda a, b, p, x: -betainc_b(a, b, x) / beta_density(a, b, x),
        lambda a, b, p, x: 1 / beta_density(a, b, x),
    ),
    "betainccinv": (
        lambda a, b, p, x: -betainc_a(a, b, x) / beta_density(a, b, x),
        lambda a, b, p, x: -betainc_b(a, b, x) / beta_density(a, b, x),
        lambda a, b, p, x: -1 / beta_density(a, b, x),
    ),
}

ERROR_FUNCTION: dict[str, Slope] = {
    "erf": lambda x, y: TWO_BY_ROOT_PI * exp(-x * x),
    "erfc": lambda x, y: -TWO_BY_ROOT_PI * exp(-x * x),
    "erfcx": erfcx_slope,
    "erfi": lambda x, y: TWO_BY_ROOT_PI * exp(x * x),
    "dawsn": dawsn_slope,
    "wofz": wofz_slope,
    "erfinv": lambda y, x: exp(x * x) / TWO_BY_ROOT_PI,
    "erfcinv": lambda y, x: -exp(x * x) / TWO_BY_ROOT_PI,
    "ndtr": lambda x, y: exp(-x * x / 2) / ROOT_2PI,
    "log_ndtr": lambda x, y: log_ndtr_slope(x),
    "ndtri": lambda p, x: ROOT_2PI * exp(x * x / 2),
    "ndtri_exp": lambda y, x: sqrt(pi / 2) * sp.erfcx(-x / sqrt(2)),
    "owens_t": (
        lambda h, a, y: -exp(-h * h / 2) * sp.erf(a * h / sqrt(2)) / (2 * ROOT_2PI),
        lambda h, a, y: exp(-h * h * (1 + a * a) / 2) / (2 * pi * (1 + a * a)),
    ),
    "fresnel": lambda x, y: (sin(pi / 2 * x * x), cos(pi / 2 * x * x)),
}

LOGARITHMS: dict[str, Slope] = {
    "expit": lambda x, y: SLOPE_OF_SIGMOID(y, x),
    "logit": lambda x, y: 1 / (x * (1 - x)),
    "log_expit": lambda x, y: sp.expit(-x),
    "softplus": lambda x, y: sp.expit(x),
    "exprel": lambda x, y: exprel_slope(x),
    "expm1": lambda x, y: exp(x),
    "log1p": lambda x, y: 1 / (1 + x),
    "exp2": lambda x, y: y * ln(2),
    "exp10": lambda x, y: y * ln(10),
    "cbrt": lambda x, y: 1 / (3 * y * y),
    "powm1": (lambda x, p, y: p * x ** (p - 1), lambda x, p, y: x**p * log(x)),
    "xlogy": (lambda x, y, out: log(y), lambda x, y, out: quotient(x, y)),
    "xlog1py": (lambda x, y, out: sp.log1p(y), lambda x, y, out: quotient(x, 1 + y)),
    "entr": lambda x, y: -log(x) - 1,
    "rel_entr": (lambda x, y, out: log(quotient(x, y)) + 1, lambda x, y, out: -quotient(x, y)),
    "kl_div": (lambda x, y, out: log(quotient(x, y)), lambda x, y, out: 1 - quotient(x, y)),
    "huber": (
        lambda delta, r, y: where(absolute(r) <= delta, 0.0, absolute(r) - delta),
        lambda delta, r, y: clipped(delta, r),
    ),
    "pseudo_huber": (
        lambda delta, r, y: (r * r / (hypotenuse(delta, r) + delta)) ** 2 / hypotenuse(delta, r),
        lambda delta, r, y: delta * SLOPE_OF_HYPOT(*operands(r, delta, floating=True)),
    ),
    "boxcox": (lambda x, p, y: x ** (p - 1), lambda x, p, y: log(x) ** 2 * exprel_slope(p * log(x))),
    "boxcox1p": (
        lambda x, p, y: (1 + x) ** (p - 1),
        lambda x, p, y: sp.log1p(x) ** 2 * exprel_slope(p * sp.log1p(x)),
    ),
    "inv_boxcox": (
        lambda y, p, x: x ** (1 - p),
        lambda y, p, x: x * y * y * log1p_ratio_slope(p * y),
    ),
    "inv_boxcox1p": (
        lambda y, p, x: (1 + x) ** (1 - p),
        lambda y, p, x: (1 + x) * y * y * log1p_ratio_slope(p * y),
    ),
    "lambertw": (lambda z, k, tol, w: exp(-w) / (1 + w), None, ZERO),
    "wrightomega": lambda z, w: w / (1 + w),
    "agm": (agm_slope, lambda a, b, y: agm_slope(b, a, y)),
}

TRIGONOMETRY: dict[str, Slope] = {
    "sindg": lambda x, y: DEGREE * sp.cosdg(x),
    "cosdg": lambda x, y: -DEGREE * sp.sindg(x),
    "tandg": lambda x, y: DEGREE * (1 + y * y),
    "cotdg": lambda x, y: -DEGREE * (1 + y * y),
    "cosm1": lambda x, y: -sin(x),
    "radian": (
        lambda d, m, s, y: y * 0 + DEGREE,
        lambda d, m, s, y: y * 0 + DEGREE / 60,
        lambda d, m, s, y: y * 0 + DEGREE / 3600,
    ),
    "round": ZERO,
}

BESSEL: dict[str, Slope] = {
    "j0": lambda x, y: -sp.j1(x),
    "j1": lambda x, y: (sp.j0(x) - sp.jv(2, x)) / 2,
    "y0": lambda x, y: -sp.y1(x),
    "y1": lambda x, y: (sp.y0(x) - sp.yn(2, x)) / 2,
    "i0": lambda x, y: sp.i1(x),
    "i1": lambda x, y: (sp.i0(x) + sp.iv(2, x)) / 2,
    "i0e": lambda x, y: scaled_slope(-1, 0.0, x, y, sp.i1e(x) - sign(x) * y),
    "i1e": lambda x, y: scaled_slope(-1, 1.0, x, y, (sp.i0e(x) + sp.ive(2, x)) / 2 - sign(x) * y),
    "k0": lambda x, y: -sp.k1(x),
    "k1": lambda x, y: -(sp.k0(x) + sp.kn(2, x)) / 2,
    "k0e": lambda x, y: scaled_slope(1, 0.0, x, y, y - sp.k1e(x)),
    "k1e": lambda x, y: scaled_slope(1, 1.0, x, y, y - (sp.k0e(x) + sp.kve(2, x)) / 2),
    "jv": (None, lambda v, x, y: half_difference("jv", v, x)),
    "yv": (None, lambda v, x, y: half_difference("yv", v, x)),
    "yn": (None, lambda v, x, y: half_difference("yn", v, x)),
    "hankel1": (None, lambda v, x, y: half_difference("hankel1", v, x)),
    "hankel2": (None, lambda v, x, y: half_difference("hankel2", v, x)),
    "hankel1e": (None, lambda v, x, y: scaled_slope(-1j, v, x, y, half_difference("hankel1e", v, x) - 1j * y)),
    "hankel2e": (None, lambda v, x, y: scaled_slope(1j, v, x, y, half_difference("hankel2e", v, x) + 1j * y)),
    "iv": (None, lambda v, x, y: half_sum("iv", v, x)),
    "kv": (None, lambda v, x, y: -half_sum("kv", v, x)),
    "kn": (None, lambda n, x, y: -half_sum("kn", n, x)),
    "kve": (None, lambda v, x, y: scaled_slope(1, v, x, y, y - half_sum("kve", v, x))),
    "jve": (None, lambda v, x, y: half_difference("jve", v, real(x, "jve"))),
    "yve": (None, lambda v, x, y: half_difference("yve", v, real(x, "yve"))),
    "ive": (
        None,
        lambda v, x, y: scaled_slope(-1, v, x, y, half_sum("ive", v, x) - sign(real(x, "ive")) * y),
    ),
    "spherical_jn": (None, lambda n, x, y: spherical("spherical_jn", n, x, -1)),
    "spherical_yn": (None, lambda n, x, y: spherical("spherical_yn", n, x, -1)),
    "spherical_in": (None, lambda n, x, y: spherical("spherical_in", n, x, 1)),
    "spherical_kn": (None, lambda n, x, y: -spherical("spherical_kn", n, x, 1)),
    "struve": (None, lambda v, x, y: struve_slope("struve", v, x)),
    "modstruve": (None, lambda v, x, y: struve_slope("modstruve", v, x)),
    "airy": lambda x, y: (y[1], x * y[0], y[3], x * y[2]),
    "airye": airye_slopes,
    "ber": lambda x, y: sp.berp(x),
    "bei": lambda x, y: sp.beip(x),
    "ker": lambda x, y: sp.kerp(x),
    "kei": lambda x, y: sp.keip(x),
    "berp": lambda x, y: series_or("ber", 2, x, lambda x: -sp.bei(x) - sp.berp(x) / x),
    "beip": lambda x, y: series_or("bei", 2, x, lambda x: sp.ber(x) - sp.beip(x) / x),
    "kerp": lambda x, y: -sp.kei(x) - y / x,
    "keip": lambda x, y: sp.ker(x) - y / x,
}

INTEGRALS: dict[str, Slope] = {
    "expi": lambda x, y: exp(x) / x,
    "exp1": lambda x, y: -exp(-x) / x,
    "expn": (None, lambda n, x, y: -expn_before(n, x)),
    "sici": lambda x, y: (sp.spherical_jn(0, x), cos(x) / x),
    "shichi": lambda x, y: (series_or("shichi", 0, x, lambda x: sp.spherical_in(0, x)), (exp(x) + exp(-x)) / (2 * x)),
    "spence": lambda x, y: spence_slope(x),
    "iti0k0": lambda x, y: (sp.i0(x), sp.k0(x)),
    "itj0y0": lambda x, y: (sp.j0(x), sp.y0(x)),
    "it2i0k0": lambda x, y: (series_or("it2i0k0", 0, x, lambda x: (sp.i0(x) - 1) / x), -sp.k0(x) / x),
    "it2j0y0": lambda x, y: (series_or("it2j0y0", 0, x, lambda x: (1 - sp.j0(x)) / x), -sp.y0(x) / x),
    "itairy": lambda x, y: (sp.airy(x)[0], sp.airy(x)[2], sp.airy(-x)[0], sp.airy(-x)[2]),
    "itstruve0": lambda x, y: sp.struve(0, x),
    "itmodstruve0": lambda x, y: sp.modstruve(0, x),
    "it2struve0": lambda x, y: series_or("it2struve0", 0, x, lambda x: -sp.struve(0, x) / x),
}

ELLIPTIC: dict[str, Slope] = {
    "ellipk": lambda m, y: ellipk_slope(m),
    "ellipkm1": lambda p, y: -sp.elliprd(0.0, 1.0, p) / 6,
    "ellipe": lambda m, y: ellipe_slope(m),
    "ellipkinc": (lambda phi, m, y: 1 / root(1 - m * sin(phi) ** 2), lambda phi, m, y: ellipkinc_m(phi, m)),
    "ellipeinc": (lambda phi, m, y: root(1 - m * sin(phi) ** 2), lambda phi, m, y: ellipeinc_m(phi, m)),
    "ellipj": (
        lambda u, m, y: (y[1] * y[2], -y[0] * y[2], -m * y[0] * y[1], y[2]),
        lambda u, m, y: ellipj_m(m, *y),
    ),
    "elliprc": (elliprc_x, elliprc_y),
    "elliprf": (
        lambda x, y, z, out: -sp.elliprd(y, z, x) / 6,
        lambda x, y, z, out: -sp.elliprd(z, x, y) / 6,
        lambda x, y, z, out: -sp.elliprd(x, y, z) / 6,
    ),
    "elliprg": (
        lambda x, y, z, out: integral(1, 1.5, 0.5, 0.5, x, y, z) / 8,
        lambda x, y, z, out: integral(1, 0.5, 1.5, 0.5, x, y, z) / 8,
        lambda x, y, z, out: integral(1, 0.5, 0.5, 1.5, x, y, z) / 8,
    ),
    "elliprd": (
        lambda x, y, z, out: -3 / 4 * integral(0, 1.5, 0.5, 1.5, x, y, z),
        lambda x, y, z, out: -3 / 4 * integral(0, 0.5, 1.5, 1.5, x, y, z),
        lambda x, y, z, out: -9 / 4 * integral(0, 0.5, 0.5, 2.5, x, y, z),
    ),
}

HYPERGEOMETRIC: dict[str, Slope] = {
    "hyp0f1": (None, lambda b, z, y: sp.hyp0f1(b + 1, z) / b),
    "hyp1f1": (None, None, lambda a, b, z, y: a / b * sp.hyp1f1(a + 1, b + 1, z)),
    "hyp2f1": (None, None, None, lambda a, b, c, z, y: a * b / c * sp.hyp2f1(a + 1, b + 1, c + 1, z)),
    "hyperu": (None, None, lambda a, b, z, y: -a * sp.hyperu(a + 1, b + 1, z)),
    "wright_bessel": (None, None, lambda a, b, z, y: sp.wright_bessel(a, a + b, z)),
    "log_wright_bessel": (None, None, lambda a, b, z, y: exp(sp.log_wright_bessel(a, a + b, z) - y)),
}

POLYNOMIALS: dict[str, Slope] = {
    "eval_legendre": (None, lambda n, x, y: sp.eval_gegenbauer(n - 1, 1.5, x)),
    "eval_sh_legendre": (None, lambda n, x, y: 2 * sp.eval_gegenbauer(n - 1, 1.5, 2 * x - 1)),
    "eval_chebyt": (None, lambda n, x, y: n * sp.eval_chebyu(n - 1, x)),
    "eval_chebyu": (None, lambda n, x, y: 2 * sp.eval_gegenbauer(n - 1, 2, x)),
    "eval_chebyc": (None, lambda n, x, y: n * sp.eval_chebyu(n - 1, x / 2)),
    "eval_chebys": (None, lambda n, x, y: sp.eval_gegenbauer(n - 1, 2, x / 2)),
    "eval_sh_chebyt": (None, lambda n, x, y: 2 * n * sp.eval_chebyu(n - 1, 2 * x - 1)),
    "eval_sh_chebyu": (None, lambda n, x, y: 4 * sp.eval_gegenbauer(n - 1, 2, 2 * x - 1)),
    "eval_gegenbauer": (None, None, lambda n, a, x, y: 2 * a * sp.eval_gegenbauer(n - 1, a + 1, x)),
    "eval_jacobi": (
        None,
        None,
        None,
        lambda n, a, b, x, y: where(
            n == 0, 0.0, (n + a + b + 1) / 2 * sp.eval_jacobi(n - 1 * (n != 0), a + 1, b + 1, x)
        ),
    ),
    "eval_laguerre": (None, lambda n, x, y: -sp.eval_genlaguerre(n - 1, 1, x)),
    "eval_genlaguerre": (None, None, lambda n, a, x, y: -sp.eval_genlaguerre(n - 1, a + 1, x)),
    "eval_hermite": (None, lambda n, x, y: 2 * n * sp.eval_hermite(before(n), x)),
    "eval_hermitenorm": (None, lambda n, x, y: n * sp.eval_hermitenorm(before(n), x)),
}

DISTRIBUTIONS: dict[str, Slope] = {
    "chdtr": (lambda v, x, y: gammainc_a(v / 2, x / 2) / 2, lambda v, x, y: gamma_density(v / 2, x / 2) / 2),
    "chdtrc": (lambda v, x, y: -gammainc_a(v / 2, x / 2) / 2, lambda v, x, y: -gamma_density(v / 2, x / 2) / 2),
    "chdtri": (
        lambda v, p, x: -gammainc_a(v / 2, x / 2) / gamma_density(v / 2, x / 2),
        lambda v, p, x: -2 / gamma_density(v / 2, x / 2),
    ),
    "gdtr": (
        lambda a, b, x, y: x * gamma_density(b, a * x),
        lambda a, b, x, y: gammainc_a(b, a * x),
        lambda a, b, x, y: a * gamma_density(b, a * x),
    ),
    "gdtrc": (
        lambda a, b, x, y: -x * gamma_density(b, a * x),
        lambda a, b, x, y: -gammainc_a(b, a * x),
        lambda a, b, x, y: -a * gamma_density(b, a * x),
    ),
    "gdtrix": (
        lambda a, b, p, x: -x / a,
        lambda a, b, p, x: -gammainc_a(b, a * x) / (a * gamma_density(b, a * x)),
        lambda a, b, p, x: 1 / (a * gamma_density(b, a * x)),
    ),
    "pdtr": (ZERO, lambda k, m, y: -gamma_density(whole(k) + 1, m)),
    "pdtrc": (ZERO, lambda k, m, y: gamma_density(whole(k) + 1, m)),
    "pdtri": (ZERO, lambda k, p, m: -1 / gamma_density(whole(k) + 1, m)),
    "bdtr": (ZERO, None, lambda k, n, p, y: -beta_density(whole(k) + 1, n - whole(k), p)),
    "bdtrc": (ZERO, None, lambda k, n, p, y: beta_density(whole(k) + 1, n - whole(k), p)),
    "nbdtr": (ZERO, None, lambda k, n, p, y: beta_density(n, whole(k) + 1, p)),
    "nbdtrc": (ZERO, None, lambda k, n, p, y: -beta_density(n, whole(k) + 1, p)),
    "fdtr": (
        lambda a, b, x, y: fdtr_a(a, b, x),
        lambda a, b, x, y: fdtr_b(a, b, x),
        lambda a, b, x, y: fdtr_x(a, b, x),
    ),
    "fdtrc": (
        lambda a, b, x, y: -fdtr_a(a, b, x),
        lambda a, b, x, y: -fdtr_b(a, b, x),
        lambda a, b, x, y: -fdtr_x(a, b, x),
    ),
    "fdtri": (
        lambda a, b, p, x: -fdtr_a(a, b, x) / fdtr_x(a, b, x),
        lambda a, b, p, x: -fdtr_b(a, b, x) / fdtr_x(a, b, x),
        lambda a, b, p, x: 1 / fdtr_x(a, b, x),
    ),
    "stdtr": (lambda df, t, y: stdtr_df(df, t), lambda df, t, y: t_density(df, t)),
    "stdtrit": (lambda df, p, t: -stdtr_df(df, t) / t_density(df, t), lambda df, p, t: 1 / t_density(df, t)),
    "stdtridf": (lambda p, t, df: 1 / stdtr_df(df, t), lambda p, t, df: -t_density(df, t) / stdtr_df(df, t)),
}

for _family in (
    GAMMA,
    ERROR_FUNCTION,
    LOGARITHMS,
    TRIGONOMETRY,
    BESSEL,
    INTEGRALS,
    ELLIPTIC,
    HYPERGEOMETRIC,
    POLYNOMIALS,
    DISTRIBUTIONS,
):
    SLOPES.update(_family)
