"""Special functions in extended precision, by mpmath."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
from mpmath import mp, mpf


@dataclass(frozen=True)
class Function:
    name: str
    arguments: tuple[Any, ...]
    """With None in the place of x."""
    exact: Callable[[Any], Any]
    low: float = -30.0
    high: float = 30.0
    singular: tuple[float, ...] = ()
    output: int | None = None
    is_slope: bool = False
    """Whether `exact` is the first derivative."""


def _scaled(of: Any, v: Any, sign: int) -> Any:
    return lambda x: mp.exp(sign * x) * of(v, x)


def _functions() -> list[Function]:
    table = [
        Function("erfcx", (None,), lambda x: mp.exp(x * x) * mp.erfc(x), low=-10),
        Function("dawsn", (None,), lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x)),
        Function("log_ndtr", (None,), lambda x: mp.log(mp.erfc(-x / mp.sqrt(2)) / 2), high=8),
        Function("exprel", (None,), lambda x: mp.hyp1f1(1, 2, x)),
        Function(
            "spence", (None,), lambda x: mp.log(x) / (1 - x) if x != 1 else -mpf(1), 0, singular=(0,), is_slope=True
        ),
        Function("ellipk", (None,), mp.ellipk, high=1, singular=(1,)),
        Function("ellipe", (None,), mp.ellipe, high=1, singular=(1,)),
        Function("ellipkm1", (None,), lambda p: mp.ellipk(1 - p), 0, 2, (0,)),
        Function("ber", (None,), lambda x: mp.ber(0, x), high=8, low=0),
        Function("bei", (None,), lambda x: mp.bei(0, x), high=8, low=0),
        Function("it2i0k0", (None,), lambda x: x / 4 * mp.hyper([1], [2, 2], x * x / 4), output=0, is_slope=True),
        Function(
            "it2j0y0", (None,), lambda x: x / 4 * mp.hyper([1], [2, 2], -x * x / 4), -8, 8, output=0, is_slope=True
        ),
        Function("i0e", (None,), _scaled(mp.besseli, 0, -1), 0, 300, (0,)),
        Function("k1e", (None,), _scaled(mp.besselk, 1, 1), 0, 300, (0,)),
        Function("pseudo_huber", (0.3, None), lambda r: mpf(0.3) * (mp.sqrt(mpf(0.3) ** 2 + r * r) - mpf(0.3))),
        Function("arctanh", (None,), mp.atanh, -1, 1, (-1, 1)),
        Function("arcsin", (None,), mp.asin, -1, 1, (-1, 1)),
        Function("hypot", (None, 1e-3), lambda x: mp.sqrt(x * x + mpf(1e-3) ** 2), singular=()),
        Function("eval_legendre", (6, None), lambda x: mp.legendre(6, x), -1, 1),
    ]
    table += [Function("struve", (v, None), lambda x, v=v: mp.struveh(v, x), -8, 8) for v in (-1, 0, 1, 2)]
    table += [Function("modstruve", (v, None), lambda x, v=v: mp.struvel(v, x), -8, 8) for v in (-1, 0, 1, 2)]
    table += [Function("struve", (v, None), lambda x, v=v: mp.struveh(v, x), 0, 8, (0,)) for v in (-1.3, 0.5, 2.5)]
    for phi in (1e-3, 0.3, 1.2, 2.0, -4.0):
        at = mpf(phi)
        table += [
            Function("ellipkinc", (phi, None), lambda m, at=at: mp.ellipf(at, m), -5, 0.99, (1,)),
            Function("ellipeinc", (phi, None), lambda m, at=at: mp.ellipe(at, m), -5, 0.99, (1,)),
        ]
    for y in (1e-3, 0.7, 3.0):
        table += [
            Function("elliprc", (None, y), lambda x, y=y: mp.elliprc(x, y), 0, 5 * y, (0,)),
            Function("elliprf", (None, y, y), lambda x, y=y: mp.elliprf(x, y, y), 0, 5 * y, (0,)),
            Function("elliprg", (None, y, 1.0), lambda x, y=y: mp.elliprg(x, y, 1), 0, 5 * y, (0,)),
            Function("elliprd", (y, 1.0, None), lambda x, y=y: mp.elliprd(y, 1, x), 0, 5 * y, (0,)),
            Function("beta", (None, y), lambda x, y=y: mp.beta(x, y), 0, 20, (0,)),
            Function("agm", (None, y), lambda x, y=y: mp.agm(x, y), 0, 5 * y, (0,)),
        ]
    return table


FUNCTIONS = _functions()


def derivatives(f: Function, x: float) -> list[Any]:
    """The derivatives of orders 1 to 4 at x, by central differences in so many digits that none of 20 is lost."""
    with mpmath.workdps(60):
        at = mpf(x)
        near = min([abs(at - s) for s in f.singular] + [mpf(1)] + ([abs(at)] if x else []))
        e = int(-mp.log10(near)) + 1
    with mpmath.workdps(75 + 5 * e):
        h = mpf(10) ** (-e - 11)
        v = {k: f.exact(mpf(x) + k * h) for k in range(-2, 3)}
        orders = [
            v[0],
            (8 * (v[1] - v[-1]) - (v[2] - v[-2])) / (12 * h),
            (16 * (v[1] + v[-1]) - v[2] - v[-2] - 30 * v[0]) / (12 * h * h),
            (v[2] - 2 * v[1] + 2 * v[-1] - v[-2]) / (2 * h**3),
            (v[2] - 4 * (v[1] + v[-1]) + 6 * v[0] + v[-2]) / h**4,
        ]
        return orders[:4] if f.is_slope else orders[1:]
