"""Samples of SciPy's special functions: one at smooth points for each, and every shape and dtype for some."""

from __future__ import annotations

from typing import Any

import numpy as np
from needle.special.functions import scipys
from needle.special.rules import function

from .kit import BROADCAST, SHAPES, Sample, numbers, sample


def between(low: float, high: float) -> Any:
    """Numbers between these, in no order: another one each time."""
    return lambda i: low + (high - low) * np.array([0.31, 0.83, 0.57])[(np.arange(3) + i) % 3]


UNIT, POSITIVE, SHAPE, REAL = between(0, 1), between(0.2, 3), between(0.5, 6), between(-2, 2.5)

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(["gamma", "gammaln", "loggamma", "digamma", "psi"], (POSITIVE,)),
    **dict.fromkeys(["rgamma", "erf", "erfc", "erfcx", "erfi", "dawsn", "ndtr", "log_ndtr", "owens_t"], (REAL,)),
    **dict.fromkeys(["expit", "log_expit", "softplus", "exprel", "expm1", "exp2", "exp10", "cosm1", "sindg"], (REAL,)),
    **dict.fromkeys(["cosdg", "tandg", "fresnel", "sici", "shichi", "airy", "itairy", "wrightomega"], (POSITIVE,)),
    **dict.fromkeys(["j0", "j1", "y0", "y1", "i0", "i1", "i0e", "i1e", "k0", "k1", "k0e", "k1e"], (POSITIVE,)),
    **dict.fromkeys(["ber", "bei", "ker", "kei", "berp", "beip", "kerp", "keip", "airye", "cbrt"], (POSITIVE,)),
    **dict.fromkeys(["expi", "exp1", "spence", "iti0k0", "itj0y0", "it2i0k0", "it2j0y0", "log1p"], (POSITIVE,)),
    **dict.fromkeys(["itstruve0", "itmodstruve0", "it2struve0", "entr"], (POSITIVE,)),
    **dict.fromkeys(["erfinv", "erfcinv", "ndtri", "logit", "ellipk", "ellipe", "ellipkm1"], (UNIT,)),
    **dict.fromkeys(["poch", "beta", "betaln", "gammainc", "gammaincc", "agm", "elliprc"], (POSITIVE, POSITIVE)),
    **dict.fromkeys(["xlogy", "xlog1py", "rel_entr", "kl_div", "boxcox", "boxcox1p", "powm1"], (POSITIVE, POSITIVE)),
    **dict.fromkeys(["gammaincinv", "gammainccinv", "chdtri", "stdtrit"], (SHAPE, UNIT)),
    **dict.fromkeys(["betainc", "betaincc", "betaincinv", "betainccinv"], (SHAPE, SHAPE, UNIT)),
    **dict.fromkeys(["jv", "yv", "hankel1", "hankel2", "hankel1e", "hankel2e", "iv", "kv"], (1.3, POSITIVE)),
    **dict.fromkeys(["kve", "jve", "yve", "ive", "struve", "modstruve"], (1.3, POSITIVE)),
    **dict.fromkeys(["yn", "kn", "expn", "polygamma"], (2, POSITIVE)),
    **dict.fromkeys(["spherical_jn", "spherical_yn", "spherical_in", "spherical_kn"], (2, POSITIVE)),
    **dict.fromkeys(["eval_legendre", "eval_sh_legendre", "eval_chebyt", "eval_chebyu", "eval_chebyc"], (3, UNIT)),
    **dict.fromkeys(["eval_chebys", "eval_sh_chebyt", "eval_sh_chebyu", "eval_laguerre"], (3, UNIT)),
    **dict.fromkeys(["eval_hermite", "eval_hermitenorm"], (3, UNIT)),
    **dict.fromkeys(["eval_gegenbauer", "eval_genlaguerre"], (3, 1.2, UNIT)),
    **dict.fromkeys(["hyp1f1", "hyperu", "wright_bessel", "log_wright_bessel"], (1.4, 2.2, POSITIVE)),
    **dict.fromkeys(["elliprf", "elliprg", "elliprd", "radian"], (POSITIVE, POSITIVE, POSITIVE)),
    **dict.fromkeys(["chdtr", "chdtrc", "stdtr"], (SHAPE, POSITIVE)),
    **dict.fromkeys(["gdtr", "gdtrc", "fdtr", "fdtrc"], (SHAPE, SHAPE, POSITIVE)),
    **dict.fromkeys(["gdtrix", "fdtri"], (SHAPE, SHAPE, UNIT)),
    **dict.fromkeys(["bdtr", "bdtrc", "nbdtr", "nbdtrc"], (2, 6, UNIT)),
    **dict.fromkeys(["pdtr", "pdtrc"], (2.0, POSITIVE)),
    **dict.fromkeys(["ellipkinc", "ellipeinc"], (between(-4, 5), UNIT)),
    **dict.fromkeys(["inv_boxcox", "inv_boxcox1p"], (UNIT, UNIT)),
    "binom": (between(4, 7), POSITIVE),
    "cotdg": (between(20, 60),),
    "ellipj": (POSITIVE, UNIT),
    "eval_jacobi": (3, 1.2, 0.7, UNIT),
    "gammasgn": (POSITIVE,),
    "huber": (between(0.8, 1), REAL),
    "hyp0f1": (1.4, REAL),
    "hyp2f1": (1.4, 0.3, 2.2, between(-2, 0.8)),
    "lambertw": (POSITIVE, 0, 1e-12),
    "ndtri_exp": (between(-5, -0.1),),
    "owens_t": (REAL, REAL),
    "pdtri": (2, UNIT),
    "pseudo_huber": (POSITIVE, REAL),
    "round": (between(0.1, 0.4),),
    "stdtridf": (between(0.18, 0.22), between(-1.2, -1)),
    "wofz": (lambda i: REAL(i) + 0.5j,),
    "zeta": (2.5, POSITIVE),
}


def _of(name: str, fixed: tuple[Any, ...], output: int | None = None) -> tuple[Any, Any]:
    """The function of what is not fixed, on Tensors and on arrays; one of its outputs."""

    def applied(f: Any) -> Any:
        def of(*given: Any) -> Any:
            rest = iter(given)
            out = f(*[next(rest) if a is None else a for a in fixed])
            return out if output is None else out[output]

        return of

    return applied(function(name)), applied(scipys(name))


def _samples(name: str, arguments: tuple[Any, ...]) -> list[Sample]:
    arrays = [a(i) for i, a in enumerate(arguments) if callable(a)]
    fixed = tuple(None if callable(a) else a for a in arguments)
    ufunc = scipys(name)
    outputs = range(ufunc.nout) if getattr(ufunc, "nout", 1) > 1 else [None]
    smooth = name != "itairy"  # which SciPy has to six digits
    table = [sample(*_of(name, fixed, k), *arrays, name=f"output {k}" if k else "", smooth=smooth) for k in outputs]
    if (
        name != "airye"
        and isinstance(ufunc, np.ufunc)
        and any(kinds.startswith("D" * len(arrays) + "->") for kinds in ufunc.types)
    ):
        table += [sample(*_of(name, fixed, k), *[a + 0.2j for a in arrays], name="complex") for k in outputs]
    return table


SPECIAL: dict[str, list[Sample]] = {name: _samples(name, arguments) for name, arguments in ARGUMENTS.items()}
for _name in ["erfc", "xlogy", "gammainc"]:
    _pair, _arity = _of(_name, (None,) * scipys(_name).nin), scipys(_name).nin
    _shapes = [(shape,) for shape in SHAPES] if _arity == 1 else BROADCAST
    SPECIAL[_name] += [
        sample(*_pair, *[numbers(shape, positive=True, seed=i) for i, shape in enumerate(shapes)]) for shapes in _shapes
    ]
    SPECIAL[_name] += [
        sample(*_pair, *[numbers((2, 3), code, positive=True, seed=i) for i in range(_arity)]) for code in "efl"
    ]
