"""A natural cubic spline through points."""

import numpy as np


def second_derivatives(x, y):
    """Those of the natural spline at its knots: a tridiagonal system, solved by elimination."""
    n = len(x)
    h = np.diff(x)
    slopes = np.diff(y) / h
    diagonal = 2 * (h[:-1] + h[1:])
    right = 6 * np.diff(slopes)
    for i in range(1, n - 2):
        factor = h[i] / diagonal[i - 1]
        diagonal[i] -= factor * h[i]
        right[i] -= factor * right[i - 1]
    m = np.zeros(n)
    for i in range(n - 2, 0, -1):
        m[i] = (right[i - 1] - h[i] * m[i + 1]) / diagonal[i - 1]
    return m


def spline(x, y, at):
    """The spline through the points (x, y), whose x rise, at other places."""
    m = second_derivatives(x, y)
    i = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
    h = x[i + 1] - x[i]
    right, left = (at - x[i]) / h, (x[i + 1] - at) / h
    bend = (left**3 - left) * m[i] + (right**3 - right) * m[i + 1]
    return left * y[i] + right * y[i + 1] + h**2 / 6 * bend
