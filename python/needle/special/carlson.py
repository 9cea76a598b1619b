"""Integrals over products of half-integer powers: all derivatives of Carlson's elliptic integrals."""

from __future__ import annotations

from math import pi
from typing import Any

import numpy as np

from .op import Special, on_tensors
from .parameters import result_dtype

_DIGITS = 39.0
"""The logarithm of what is left out, relative to the integral: exp(-39) is below the rounding of float64."""


def _integral(p: float, b: float, c: float, d: float, *points: Any) -> Any:
    """For the points x, y and z: the integral of t**p (t + x)**-b (t + y)**-c (t + z)**-d over positive t,
    by the trapezoidal rule in log(t).

    The integrand falls exponentially to both sides and is analytic in a strip, so that the rule converges
    exponentially. Its terms have one sign, so no digits are lost where arguments are nearly equal, which partial
    fractions divide by the differences of. The strip is as wide as the poles t = -x, -y, -z allow: for complex
    arguments the path is turned to the middle of their angles.
    """
    dtype = result_dtype(*points)
    args = [a.astype(np.result_type(dtype, np.float64), copy=False) for a in np.broadcast_arrays(*points)]
    with np.errstate(all="ignore"):
        sizes, angles = [np.abs(a) for a in args], [np.angle(a) for a in args]
        used = [s for s, power in zip(sizes, (b, c, d), strict=True) if power]
        smallest = np.minimum.reduce([np.where(s == 0, np.inf, s) for s in used])
        largest = np.maximum.reduce(used)
        scale = np.sqrt(smallest) * np.sqrt(largest)
        scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
        left = p + 1 - sum(power * (s == 0) for s, power in zip(sizes, (b, c, d), strict=True))
        right = b + c + d - p - 1
        first, last = np.minimum.reduce(angles), np.maximum.reduce(angles)
        half_width = pi - (last - first) / 2
        wrong = np.isnan(sum(args)) | (half_width <= 0) | (np.maximum(-first, last) >= pi)
        regular = ~wrong & (left > 0) & np.isfinite(largest) & (largest > 0)
        step = 2 * pi / _DIGITS * half_width[regular].min(initial=pi)
        start = np.where(regular, np.log(smallest / scale) - _DIGITS / left, 0.0)
        stop = np.where(regular, np.log(largest / scale) + _DIGITS / right, 0.0)
        turn = np.exp(0.5j * (first + last)) if dtype.kind == "c" else 1.0
        scaled = [np.where(regular, a / scale, 1.0) for a in args]
        total = np.zeros_like(scaled[0])
        for i in range(int(np.ceil(np.max(stop - start, initial=0) / step)) + 1):
            t = np.exp(start + i * step) * turn
            term = t ** (p + 1)
            for a, power in zip(scaled, (b, c, d), strict=True):
                if power:
                    term = term * (t + a) ** -power
            total = total + term
        total = total * step * scale**-right
        total = np.where(regular, total, np.where(np.isinf(largest), 0.0, np.inf))
        return np.where(wrong, np.nan, total).astype(dtype, copy=False)


integral: Any = on_tensors(
    Special,
    _integral,
    (
        *(None,) * 4,
        lambda p, b, c, d, x, y, z, out: -b * integral(p, b + 1, c, d, x, y, z),
        lambda p, b, c, d, x, y, z, out: -c * integral(p, b, c + 1, d, x, y, z),
        lambda p, b, c, d, x, y, z, out: -d * integral(p, b, c, d + 1, x, y, z),
    ),
)
