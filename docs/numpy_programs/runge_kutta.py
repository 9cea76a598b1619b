"""Ordinary differential equations by the Runge-Kutta pair of Bogacki and Shampine, with adaptive steps."""

import numpy as np


def solve(f, y0, times, tolerance=1e-6):
    """y(t) of dy/dt = f(t, y) at each of the times, from y0 at the first of them; every row is one time."""
    out = np.empty((len(times), len(y0)))
    out[0] = y = y0
    t, h = times[0], 0.1 * (times[1] - times[0])
    for i, end in enumerate(times[1:], 1):
        while t < end:
            step = min(h, end - t)
            k1 = f(t, y)
            k2 = f(t + step / 2, y + step / 2 * k1)
            k3 = f(t + 3 * step / 4, y + 3 * step / 4 * k2)
            new = y + step * (2 * k1 + 3 * k2 + 4 * k3) / 9
            k4 = f(t + step, new)
            difference = step * (-5 * k1 / 72 + k2 / 12 + k3 / 9 - k4 / 8)
            error = np.sqrt(np.mean((difference / (tolerance * (1 + np.abs(new)))) ** 2)) + 1e-12
            if error <= 1:
                t = end if step < h else t + step
                y = new
            h = step * np.clip(0.9 * error ** (-1 / 3), 0.2, 5)
        out[i] = y
    return out


def lotka_volterra(rates, start, times, tolerance=1e-6):
    """Hares and lynxes: rates are those at which hares are born and eaten, and at which lynxes thrive and die."""
    born, eaten, thrive, die = rates

    def change(t, y):
        hares, lynxes = y
        return np.stack([hares * (born - eaten * lynxes), lynxes * (thrive * hares - die)])

    return solve(change, start, times, tolerance)
