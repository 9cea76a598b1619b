"""Samples of the functions of elements: NumPy's ufuncs and what is like them."""

from __future__ import annotations

from typing import Any

import numpy as np
from needle import ops
from needle.ops import elementwise, entire, exponential, extrema, hyperbolic, parts, rounding, trigonometric
from needle.ops.arithmetic import fmod
from scipy import special

from .kit import EVERYTHING, INF, NAN, Sample, binary, numbers, sample, specials, unary


def between(low: float, high: float, dtype: Any = np.float64, shape: tuple[int, ...] = (2, 3)) -> Any:
    return (low + (high - low) * (np.abs(numbers(shape)) - 0.4) / 1.6).astype(dtype)


BOUNDS = np.array([-1.0, 0.1, -0.5]), np.array([[0.5], [1.0]])


def holomorphic(function: Any, reference: Any, values: Any, dtypes: str = "efglDF") -> list[Sample]:
    return [*unary(function, reference, dtypes), specials(function, reference, values)]


def within(function: Any, reference: Any, low: float, high: float, dtypes: str = "efg") -> list[Sample]:
    """A function that is real on an interval, and complex everywhere."""
    real = [sample(function, reference, between(low, high, code)) for code in dtypes]
    real += [sample(function, reference, between(low, high, shape=shape)) for shape in [(), (0,), (0, 3), (3, 0), (4,)]]
    return real + [sample(function, reference, numbers((2, 3), code, positive=True)) for code in "DF"]


# ---------------------------------------------------------------------------------------------- one argument

EXPONENTIAL: dict[str, list[Sample]] = {
    "Exp2": holomorphic(exponential.EXP2, np.exp2, [-INF, -2000.0, -0.0, 0.0, 1000.0, INF, NAN]),
    "Expm1": holomorphic(exponential.EXPM1, np.expm1, [-INF, -800.0, -0.0, 1e-30, 700.0, INF, NAN]),
    "SlopeOfSigmoid": unary(
        lambda a: exponential.SLOPE_OF_SIGMOID(exponential.SIGMOID(a), a), lambda a: 0.25 / np.cosh(a / 2) ** 2, "efgDF"
    ),
    "Log2": within(exponential.LOG2, np.log2, 0.1, 3, "efg"),
    "Log10": within(exponential.LOG10, np.log10, 0.1, 3, "efg"),
    "Sigmoid": [
        *unary(ops.sigmoid, lambda a: 1 / (1 + np.exp(-a)), "efglDF"),
        specials(ops.sigmoid, special.expit, [-INF, -700.0, -0.0, 40.0, INF, NAN]),
        sample(ops.sigmoid, lambda a: special.expit(a.astype("d")), np.array([0, 100, 255], np.uint8), smooth=False),
    ],
    "Log1p": [
        *within(exponential.LOG1P, np.log1p, -0.9, 3, "efg"),
        sample(exponential.LOG1P, np.log1p, np.array([0, 100, 255], np.uint8), name="small integers", smooth=False),
    ],
}

TRIGONOMETRIC: dict[str, list[Sample]] = {
    "Tan": [
        *within(trigonometric.TAN, np.tan, -1.2, 1.2),
        specials(trigonometric.TAN, np.tan, [-0.0, 1e-30, 100.0, NAN]),
    ],
    "Arcsin": within(trigonometric.ARCSIN, np.arcsin, -0.9, 0.9),
    "Arccos": within(trigonometric.ARCCOS, np.arccos, -0.9, 0.9),
    "Arctan": [
        *holomorphic(trigonometric.ARCTAN, np.arctan, [-INF, -1e200, -0.0, 1e-200, 1.0, INF, NAN]),
        sample(trigonometric.ARCTAN, np.arctan, np.array([-100, 100], np.int8), name="small integers", smooth=False),
    ],
    "OneLessSquare": unary(trigonometric.ONE_LESS_SQUARE, lambda a: 1 - a * a, "efgDF"),
    "Degrees": unary(trigonometric.DEGREES, np.degrees, "efgl"),
    "Radians": unary(trigonometric.RADIANS, np.radians, "efgl"),
}

HYPERBOLIC: dict[str, list[Sample]] = {
    "Sinh": holomorphic(hyperbolic.SINH, np.sinh, [-700.0, -0.0, 1e-200, INF, NAN]),
    "Cosh": holomorphic(hyperbolic.COSH, np.cosh, [-700.0, -0.0, 1e-200, INF, NAN]),
    "SlopeOfTanh": unary(
        lambda a: hyperbolic.SLOPE_OF_TANH(hyperbolic.TANH(a), a), lambda a: 1 / np.cosh(a) ** 2, "efglDF"
    ),
    "Arcsinh": [
        *holomorphic(hyperbolic.ARCSINH, np.arcsinh, [-INF, -1e200, -0.0, 1e-200, INF, NAN]),
        sample(hyperbolic.ARCSINH, np.arcsinh, np.array([-100, 100], np.int8), name="small integers", smooth=False),
    ],
    "Arccosh": [
        *within(hyperbolic.ARCCOSH, np.arccosh, 1.3, 4.0),
        specials(hyperbolic.ARCCOSH, np.arccosh, [1.5, 1e200, INF, NAN]),
    ],
    "Arctanh": within(hyperbolic.ARCTANH, np.arctanh, -0.9, 0.9),
}

ROOTS_AND_SIGNS: dict[str, list[Sample]] = {
    "Cbrt": [*unary(elementwise.CBRT, np.cbrt, "efgl"), specials(elementwise.CBRT, np.cbrt, [-INF, 1e-300, INF, NAN])],
    "FAbs": [*unary(elementwise.FABS, np.fabs, "efgl"), specials(elementwise.FABS, np.fabs, EVERYTHING)],
    "Phase": [
        *[sample(elementwise.PHASE, np.sign, numbers(shape, "D")) for shape in [(), (0,), (0, 3), (4,), (2, 3)]],
        sample(elementwise.PHASE, np.sign, numbers((2, 3), "F")),
        specials(elementwise.PHASE, np.sign, [0j, 3 + 4j, -2, 2j]),
    ],
    "Imag": [*unary(ops.imag, np.imag, "fDF"), sample(ops.imag, np.imag, np.array([1j, 2, NAN]), smooth=False)],
}

ENTIRE: dict[str, list[Sample]] = {
    "Sinc": [
        *unary(entire.SINC, np.sinc, "efglDF"),
        specials(entire.SINC, np.sinc, [-3.0, -0.0, 1e-30, 0.3, 100.0, NAN]),
        sample(entire.SINC, np.sinc, np.array([0.0, 1e-5, 0.31, 0.33, 1.0]), name="near 0"),
    ],
    "I0": [
        *unary(entire.I_0, np.i0, "efgl"),
        specials(entire.I_0, np.i0, [-30.0, -0.0, 1e-300, 500.0, NAN]),
        sample(entire.I_0, np.i0, np.array([-9.0, 0.0, 1e-9, 3.0]), name="near 0"),
    ],
}

STEPS: dict[str, list[Sample]] = {
    "Steps": [
        *unary(rounding.Steps(np.floor), np.floor, "efgl"),
        *[sample(rounding.Steps(np.rint), np.rint, numbers((2, 3), code)) for code in "DF"],
        specials(rounding.Steps(np.trunc), np.trunc, EVERYTHING),
        sample(rounding.Steps(np.round, decimals=1), lambda a: np.round(a, 1), numbers((2, 3))),
    ],
    "Modf": [
        *unary(parts.MODF, lambda a: tuple(map(np.asarray, np.modf(a))), "efg"),
        specials(parts.MODF, np.modf, EVERYTHING),
        sample(parts.MODF, np.modf, np.array([3, -2]), smooth=False),
    ],
    "Clip": [
        *unary(lambda a: ops.clip(a, -0.9, 1.1), lambda a: np.clip(a, -0.9, 1.1), "efgl"),
        sample(lambda a: ops.clip(a, -0.9), lambda a: np.clip(a, -0.9, None), numbers((2, 3), "f"), name="below"),
        sample(lambda a: ops.clip(a, None, 1.1), lambda a: np.clip(a, None, 1.1), numbers((2, 3), "f"), name="above"),
        sample(lambda a: ops.clip(a, 0, 1), lambda a: np.clip(a, 0, 1), numbers((2, 3), "D"), name="complex"),
        *[
            sample(lambda a: ops.clip(a, *BOUNDS), lambda a: np.clip(a, *BOUNDS), numbers(shape), name="arrays")
            for shape in [(2, 3), (2, 1, 3)]
        ],
        *[
            sample(lambda a: ops.clip(a, *BOUNDS), lambda a: np.clip(a, *BOUNDS), a, name="wider arrays", smooth=False)
            for a in [np.array(0.7), np.array([-2.0, 0.0, 3.0])]
        ],
        specials(lambda a: ops.clip(a, 0.0, 3.0), lambda a: np.clip(a, 0.0, 3.0), EVERYTHING),
    ],
}

# ---------------------------------------------------------------------------------------------- two arguments

TIES = np.array([[1.0, 0.0, NAN, 2.0], [INF, -INF, 1.0, NAN]]), np.array([1.0, -0.0, NAN, NAN])
CORNERS = np.array([0.0, 0.0, 3.0, -2.0, -INF, NAN]), np.array([0.0, 4.0, -0.0, 1.0, 1.0, 1.0])
FAR_APART = np.array([INF, -INF, -INF, 0.0, 1e5]), np.array([0.0, -INF, 0.0, -INF, -1e5])
DTYPES = "ee ff gg fd ll lf ?f"


def extremum(function: Any, reference: Any) -> list[Sample]:
    return [
        *binary(function, reference, f"{DTYPES} DD fD"),
        sample(function, reference, *TIES, name="ties", smooth=False),
    ]


def mantissas(a: Any, exponent: Any) -> Any:
    return a * 2.0**exponent


TWO: dict[str, list[Sample]] = {
    "Maximum": extremum(ops.maximum, np.maximum),
    "Minimum": extremum(ops.minimum, np.minimum),
    "FMax": extremum(extrema.fmax, np.fmax),
    "FMin": extremum(extrema.fmin, np.fmin),
    "LogAddExp": [
        *binary(ops.logaddexp, np.logaddexp, DTYPES),
        sample(ops.logaddexp, np.logaddexp, *FAR_APART, name="far apart", smooth=False),
    ],
    "LogAddExp2": [
        *binary(exponential.logaddexp2, np.logaddexp2, DTYPES),
        sample(exponential.logaddexp2, np.logaddexp2, *FAR_APART, name="far apart", smooth=False),
    ],
    "Hypot": [
        *binary(ops.hypot, np.hypot, DTYPES),
        sample(ops.hypot, np.hypot, *CORNERS, name="corners", smooth=False),
    ],
    "SlopeOfHypot": binary(trigonometric.SLOPE_OF_HYPOT, lambda a, b: a / np.hypot(a, b), DTYPES),
    "Arctan2": [
        *binary(ops.arctan2, np.arctan2, DTYPES),
        sample(ops.arctan2, np.arctan2, *CORNERS, name="corners", smooth=False),
    ],
    "FMod": [
        sample(fmod, np.fmod, a, b)
        for a, b in [
            (np.array(5.3), np.array(2.0)),
            (np.array([5.3, -5.3, 7.1, -7.1]), np.array([2.0, 2.0, -3.0, -3.0])),
            (np.array([[5.3], [-4.4]]), np.array([3.0, 0.7, 2.5])),
            (np.array([5.3, -5.3], "f"), np.array(2.0, "f")),
            (np.array([5.3, -5.3], "e"), np.array(2.0, "e")),
            (np.zeros((0, 3)), np.ones(3)),
            (np.zeros((3, 0)), np.ones(())),
        ]
    ]
    + [sample(fmod, np.fmod, np.array([5, -5, 4]), np.array([3, 3, 2]), smooth=False)],
    "CopySign": [
        *binary(parts.copysign, np.copysign, DTYPES),
        sample(parts.copysign, np.copysign, *CORNERS, name="corners", smooth=False),
    ],
    "LdExp": [
        sample(parts.ldexp, np.ldexp, a, b, exact=mantissas)
        for a, b in [
            (np.array(0.7), np.array(3)),
            (numbers((2, 3)), np.array([3, -2, 0])),
            (numbers((2, 1), "f"), np.array([3, -2, 0], "i")),
            (numbers((3,), "e"), np.array(2)),
            (np.zeros((0, 3)), np.array([1, 2, 3])),
            (np.zeros((3, 0)), np.array(1)),
        ]
    ],
    "Heaviside": [
        *binary(rounding.heaviside, np.heaviside, "ee ff gg fd ll lf"),
        sample(rounding.heaviside, np.heaviside, *CORNERS, name="corners", smooth=False),
    ],
    "NextAfter": binary(rounding.nextafter, np.nextafter, "ff gg fd ll"),
}

ELEMENTWISE: dict[str, list[Sample]] = {
    **EXPONENTIAL,
    **TRIGONOMETRIC,
    **HYPERBOLIC,
    **ROOTS_AND_SIGNS,
    **ENTIRE,
    **STEPS,
    **TWO,
}
