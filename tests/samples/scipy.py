"""Samples of the ops behind needle.scipy."""

from __future__ import annotations

import needle
import numpy as np
import scipy.integrate
import scipy.linalg
import scipy.signal
from needle.scipy import integrate, linalg, signal

from .kit import Sample, numbers, sample

SQUARE = numbers((3, 3)) / 3 + 2 * np.eye(3)
OTHER = numbers((2, 2)) / 3 + np.eye(2)
COMPLEX = numbers((2, 2), "D") / 3 + 2 * np.eye(2)


def banded(lower, upper, dtype):
    """The diagonals of a matrix of order 4, the main one the largest."""
    diagonals = numbers((lower + upper + 1, 4), dtype)
    diagonals[upper] += 5
    return diagonals


def adjoints_of_hyperbolas(g, y0, t, k):
    """Of y' = -k y**2, by y0, t and k, in one vector."""
    ode = integrate.OdeInt(lambda y, t, k: -k * y * y, {"rtol": 1e-10, "atol": 1e-12})
    return integrate.OdeAdjoint(ode)(g, needle.stop_gradient(ode(y0, t, k)), y0, t, k)


def adjoints_by_formula(g, y0, t, k):
    """Since y = y0 / (1 + k y0 (t - t[0]))."""
    passed = (t - t[0])[:, None]
    shrunk = 1 + k * y0 * passed
    by_t = -k * np.sum(g * (y0 / shrunk) ** 2, axis=1)
    by_t[0] -= by_t.sum()
    return np.concatenate([np.sum(g / shrunk**2, axis=0), by_t, [-np.sum(g * passed * (y0 / shrunk) ** 2)]])


SCIPY: dict[str, list[Sample]] = {
    "SolveTriangular": [
        sample(linalg.SolveTriangular(transposed, lower, unit), reference, a, numbers(shape, a.dtype, seed=1))
        for a, shape, transposed, lower, unit in [
            (SQUARE, (3, 2), False, True, False),
            (SQUARE, (3, 1), True, False, True),
            (np.stack([SQUARE, SQUARE.T]), (3, 2), False, False, False),
            (COMPLEX, (2, 2), True, True, False),
            (SQUARE.astype("f"), (3, 2), False, True, False),
        ]
        for reference in [
            lambda a, b, transposed=transposed, lower=lower, unit=unit: scipy.linalg.solve_triangular(
                a, b, int(transposed), lower, unit
            )
        ]
    ],
    "SolveBanded": [
        sample(linalg.SolveBanded(lower, upper), reference, diagonals, numbers(shape, diagonals.dtype, seed=1))
        for lower, upper, diagonals, shape in [
            (1, 1, banded(1, 1, "d"), (4, 2)),
            (2, 1, banded(2, 1, "d"), (4, 1)),
            (0, 2, np.stack([banded(0, 2, "d"), 2 * banded(0, 2, "d")]), (4, 2)),
            (5, 0, banded(5, 0, "d"), (4, 1)),
            (1, 2, banded(1, 2, "D"), (4, 2)),
            (1, 1, banded(1, 1, "f"), (4, 2)),
            (1, 0, banded(1, 0, "d"), (4, 0)),
        ]
        for reference in [lambda ab, b, width=(lower, upper): scipy.linalg.solve_banded(width, ab, b)]
    ],
    "SolveSylvester": [
        sample(linalg.SolveSylvester(), scipy.linalg.solve_sylvester, SQUARE, OTHER, numbers((3, 2))),
        sample(linalg.SolveSylvester(), scipy.linalg.solve_sylvester, COMPLEX, OTHER + 0j, numbers((2, 2), "D")),
    ],
    "MatrixFunction": [
        sample(linalg.MatrixFunction(scipy.linalg.expm), scipy.linalg.expm, a)
        for a in [SQUARE, COMPLEX, np.stack([OTHER, OTHER.T]), SQUARE.astype("f"), np.zeros((0, 0)), np.array([[0.5]])]
    ],
    "SquareRoot": [
        sample(linalg.SquareRoot(), scipy.linalg.sqrtm, a)
        for a in [SQUARE, COMPLEX, np.stack([SQUARE @ SQUARE, SQUARE.T]), SQUARE.astype("f"), np.zeros((0, 0))]
    ],
    "Convolve": [
        sample(signal.Convolve(full), reference, numbers((1, 1, 4), code), numbers((1, 1, 2), code))
        for code in "dfD"
        for full, mode in [(True, "full"), (False, "valid")]
        for reference in [lambda a, b, mode=mode: scipy.signal.convolve(a, b, mode, "direct")]
    ],
    "OdeInt": [
        sample(
            lambda y0, t, k: integrate.odeint(lambda y, t, k: -k * y * y + t, y0, t, (k,), rtol=1e-11, atol=1e-13),
            lambda y0, t, k: scipy.integrate.odeint(
                lambda y, t, k: -k * y * y + t, y0, t, (k,), rtol=1e-11, atol=1e-13
            ),
            numbers((2,), positive=True),
            np.array([0.0, 0.4, 0.7]),
            np.array(0.6),
        )
    ],
    "OdeAdjoint": [
        sample(
            adjoints_of_hyperbolas,
            lambda *arrays: adjoints_of_hyperbolas(*map(needle.Tensor, arrays)).numpy(),  # SciPy has no such function
            numbers((3, 2)),
            numbers((2,), positive=True),
            np.array([0.0, 0.2, 0.3]),
            np.array(0.6),
            exact=adjoints_by_formula,
        )
    ],
}
