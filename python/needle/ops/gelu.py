"""GELU, a times the probability that a normal number is below a, exactly and in its form with tanh.

Exactly, it is written with the normal tail beyond z = |a|: T(z) = exp(-z * z / 2) * R(z). The factor R falls smoothly
from 1/2 and is a quotient of two polynomials, whose coefficients are all positive, so that no digits cancel. They were
fitted to erfc in 60 digits, for the smallest largest relative error: 6e-9 for float32, 5e-17 for float64. NumPy has no
erf, and this needs one exponential, which the derivative shares.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from ..autograd import Tensor, as_value
from ..pool import empty
from .base import Elementwise, as_floats
from .exponential import SIGMOID
from .extrema import clip
from .memory_order import as_laid_out, empty_as_laid_out, piece_of, pieces, without_gaps


class _Digits(NamedTuple):
    """The quotient R = over / under, highest power first, for z up to `end`, where T underflows."""

    end: float
    over: tuple[float, ...]
    under: tuple[float, ...]


_FLOAT32 = _Digits(
    14.5,
    (0.0041178677339568, 0.0406443415506283, 0.183268897261553, 0.43834157590030582, 0.50000000289432841),
    (0.01032184433231057, 0.10188668624814526, 0.46955945130692374, 1.2026450750997740, 1.6745681314493963, 1.0),
)
_FLOAT64 = _Digits(
    39.0,
    (
        *(1.3897099718975558892e-6, 0.000037342652224974939261, 0.00049137848848342463161, 0.0040958817789177143991),
        *(0.023653023921647634067, 0.097798527974293101742, 0.28955154474149190582, 0.59434990050525337007),
        *(0.77508131002314621583, 0.49999999999999997542),
    ),
    (
        *(3.4834863091052261582e-6, 0.00009360414791472871967, 0.0012351866992838821631, 0.010360457213438316856),
        *(0.060514075203748222099, 0.25522418860842930538, 0.78265909811741204499, 1.7153572193570066756),
        *(2.5621703946470623839, 2.3480471808491476807, 1.0),
    ),
)
_TOP = 1 / sqrt(2 * pi)
"""The normal density at 0."""
_STEEP, _CUBIC = sqrt(8 / pi), 0.044715
"""The form with tanh is a * sigmoid(_STEEP * (a + _CUBIC * a**3)): 1 + tanh(u) loses its digits below 0, where
sigmoid(2 * u), which is half of it, keeps them."""
_FAR = 40.0
"""From here on, GELU is a or 0 in all digits, and so are its derivatives."""


class _Scratch:
    """Arrays of the length of a piece to compute in, and constants of that length: NumPy's maximum and minimum of two
    arrays are three times as fast as those of an array and a number."""

    def __init__(self, row: Any):
        count, dtype = piece_of(row), row.dtype
        self.digits = _FLOAT64 if dtype.itemsize > 4 else _FLOAT32
        self._rows, self._mask = np.empty((3, count), dtype), np.empty(count, np.bool)
        self._zeros, self._end, self._far = [np.full(count, c, dtype) for c in (0, self.digits.end, _FAR)]

    def of(self, x: Any) -> Any:
        """Three rows to compute in, as long as x."""
        return self._rows[:, : x.size]

    def positive_part(self, x: Any, out: Any) -> None:
        np.maximum(x, self._zeros[: x.size], out=out)

    def magnitude(self, x: Any, out: Any) -> None:
        """|x|, at most what is the end of the range of R."""
        np.minimum(np.abs(x, out=out), self._end[: x.size], out=out)

    def bounded_below(self, x: Any, out: Any) -> None:
        np.negative(np.minimum(np.negative(x, out), self._far[: x.size], out=out), out)

    def bounded(self, x: Any, out: Any) -> None:
        """x within the range in which GELU is neither x nor 0."""
        self.bounded_below(x, out)
        np.minimum(out, self._far[: x.size], out=out)

    def is_positive(self, x: Any, out: Any) -> None:
        """1 where x > 0, else 0."""
        np.copyto(out, np.greater(x, 0, out=self._mask[: x.size]))


def _horner(coefficients: tuple[float, ...], z: Any, out: Any) -> None:
    np.multiply(z, coefficients[0], out)
    np.add(out, coefficients[1], out)
    for c in coefficients[2:]:
        np.multiply(out, z, out)
        np.add(out, c, out)


def _tail(x: Any, scratch: _Scratch) -> Any:
    """Three rows for the elements x: z = |x|, R(z), and exp(-z * z / 2)."""
    z, ratio, bell = scratch.of(x)
    scratch.magnitude(x, z)
    _horner(scratch.digits.over, z, ratio)
    _horner(scratch.digits.under, z, bell)
    np.divide(ratio, bell, ratio)
    np.multiply(z, z, bell)
    np.multiply(bell, -0.5, bell)
    np.exp(bell, bell)
    return z, ratio, bell


def _exact(x: Any, out: Any, scratch: _Scratch) -> None:
    """max(x, 0) - |x| * T(|x|), which keeps the digits of small results far below 0."""
    z, ratio, bell = _tail(x, scratch)
    np.multiply(ratio, bell, ratio)
    np.multiply(ratio, z, ratio)
    scratch.positive_part(x, bell)
    np.subtract(bell, ratio, out)


def _exact_slope(x: Any, out: Any, scratch: _Scratch) -> None:
    """s = T(z) - z * density for x <= 0, and 1 - s for x > 0: with the step h at 0, h + s * (1 - 2 * h)."""
    z, ratio, bell = _tail(x, scratch)
    np.multiply(z, _TOP, z)
    np.subtract(ratio, z, ratio)
    np.multiply(ratio, bell, ratio)
    scratch.is_positive(x, z)
    np.multiply(z, -2.0, bell)
    np.add(bell, 1.0, bell)
    np.multiply(ratio, bell, ratio)
    np.add(ratio, z, out)


def _share(x: Any, share: Any, square: Any) -> None:
    """sigmoid(_STEEP * (x + _CUBIC * x**3)), and 1 + _CUBIC * x * x."""
    np.multiply(x, x, square)
    np.multiply(square, _CUBIC, square)
    np.add(square, 1.0, square)
    np.multiply(square, x, share)
    np.multiply(share, -_STEEP, share)
    np.exp(share, share)
    np.add(share, 1.0, share)
    np.divide(1.0, share, share)


def _by_tanh(x: Any, out: Any, scratch: _Scratch) -> None:
    """x * share, where -inf * 0 is 0."""
    bounded, share, square = scratch.of(x)
    _share(x, share, square)
    scratch.bounded_below(x, bounded)
    np.multiply(share, bounded, out)


def _tanh_slope(x: Any, out: Any, scratch: _Scratch) -> None:
    """share * (1 + x * (1 - share) * the slope of sigmoid's argument, _STEEP * (1 + 3 * _CUBIC * x * x))."""
    bounded, share, square = scratch.of(x)
    scratch.bounded(x, bounded)
    _share(bounded, share, square)
    np.multiply(square, 3.0 * _STEEP, square)
    np.subtract(square, 2.0 * _STEEP, square)
    np.multiply(square, bounded, square)
    np.subtract(1.0, share, bounded)
    np.multiply(square, bounded, square)
    np.add(square, 1.0, square)
    np.multiply(share, square, out)


class GELU(Elementwise):
    saves = ("inputs",)
    __slots__ = ("tanh",)

    def __init__(self, tanh: bool):
        self.tanh = tanh

    def compute(self, a: Any, out: Any = None) -> Any:
        a = as_floats(a)
        if a.dtype == np.float16:
            return self.compute(a.astype(np.float32)).astype(np.float16)
        a, axes = without_gaps(a)
        row = as_laid_out(a, axes)
        found, kernel = _result(a, axes, out), _by_tanh if self.tanh else _exact
        written, scratch = as_laid_out(found, axes), _Scratch(row)
        with np.errstate(over="ignore", under="ignore"):
            for piece in pieces(row):
                kernel(row[piece], written[piece], scratch)
        return found

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return (SLOPE_OF_TANH_GELU if self.tanh else SLOPE_OF_GELU).on(out_grad, as_floats(node.inputs[0]))


class SlopeOfGELU(Elementwise):
    """g times the derivative of gelu(a)."""

    saves = ("inputs",)
    __slots__ = ("tanh",)

    def __init__(self, tanh: bool):
        self.tanh = tanh

    def compute(self, g: Any, a: Any, out: Any = None) -> Any:
        dtype = np.result_type(g.dtype, as_floats(a).dtype)
        if dtype == np.float16:
            return self.compute(g.astype(np.float32), a.astype(np.float32)).astype(dtype)
        a = a.astype(dtype, copy=False)
        a, axes = without_gaps(a)
        alike = g.shape == a.shape and g.dtype == a.dtype
        row, factors = as_laid_out(a, axes), as_laid_out(g, axes) if alike else None
        found, kernel = _result(a, axes, out if alike else None), _tanh_slope if self.tanh else _exact_slope
        written, scratch = as_laid_out(found, axes), _Scratch(row)
        with np.errstate(over="ignore", under="ignore"):
            for piece in pieces(row):
                kernel(row[piece], written[piece], scratch)
                if factors is not None:
                    np.multiply(written[piece], factors[piece], written[piece])
        return found if alike else np.multiply(g, found)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        g, a = node.inputs
        return lambda: self.on(out_grad, a), lambda: out_grad * (g * self._bend(as_floats(a)))

    def _bend(self, a: Any) -> Any:
        """The second derivative of gelu(a), in operations that can be differentiated on."""
        x = clip(a, -_FAR, _FAR) if isinstance(a, Tensor) else np.clip(a, -_FAR, _FAR)
        if not self.tanh:
            return (2 - x * x) * np.exp(x * x * -0.5) * _TOP
        u, du, ddu = _STEEP * (x + _CUBIC * x * x * x), _STEEP * (1 + 3 * _CUBIC * x * x), _STEEP * 6 * _CUBIC * x
        s = SIGMOID.on(u)
        ds = s * SIGMOID.on(-u)
        return ds * (2 * du + x * (ddu + (1 - 2 * s) * du * du))


def gelu(a: Any, approximate: bool | str = False) -> Tensor:
    """a * P(a), where P(a) is the probability that a standard normal number is below a.

    With `approximate=True` (or "tanh"), a * (1 + tanh(sqrt(2 / pi) * (a + 0.044715 * a**3))) / 2. Both forms are those
    of Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016. Integers give float64; complex numbers are refused.
    """
    if approximate not in (True, False, "tanh", "none"):
        raise ValueError(f'gelu: approximate must be True ("tanh") or False ("none"), got {approximate!r}')
    a = as_value(a)
    if a.dtype.kind == "c":
        raise TypeError(f"gelu: needs real numbers, got {a.dtype}; take the real part, a.real")
    return (TANH_GELU if approximate in (True, "tanh") else EXACT_GELU)(a)


def _result(a: Any, axes: tuple[int, ...], out: Any) -> Any:
    """`out`, if it lies in memory as `a` does; else new memory that does."""
    if out is not None and out.transpose(axes).flags.c_contiguous and out.dtype == a.dtype and out.shape == a.shape:
        return out
    return empty_as_laid_out(a.shape, a.dtype, axes, lambda shape, dtype: empty(shape, dtype, a.nbytes))


EXACT_GELU, TANH_GELU = GELU(False), GELU(True)
SLOPE_OF_GELU, SLOPE_OF_TANH_GELU = SlopeOfGELU(False), SlopeOfGELU(True)
