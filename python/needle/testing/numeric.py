"""Slopes by finite differences: central ones, extrapolated to a step of zero, with an estimate of their error.

A path is a function of one real number that gives an array of numbers; its slope at 0 is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Path = Callable[[float], Any]

LEVELS = 24
"""How often the step is halved at most: from 1/16 down to 1e-8, past any corner that is not at the very point."""


class Slope(NamedTuple):
    """The slope of each number of a path (NaN if there was none), the error that it may have, and its part that is due
    to rounding."""

    value: Any
    error: Any
    noise: Any


def slope(path: Path, rounding: Any, step: float = 2**-4, enough: float = 1e-8) -> Slope:
    """The slope at 0, by Ridders' method (1982): Richardson's extrapolation for steps h, h/2, h/4, ..., of which each
    number takes the entry with the least error. `rounding` is the absolute error of the path's numbers; the steps end
    when every relative error is below `enough`, or what rounding leaves of it."""
    value = np.full_like(path(0.0), np.nan)
    error, noise = np.full(value.shape, np.inf), np.zeros(value.shape)
    rounding = np.broadcast_to(rounding, value.shape)
    earlier: list[Any] = []
    for _ in range(LEVELS if value.size else 0):
        row = [(path(step) - path(-step)) / (2 * step)]
        for k, coarse in enumerate(earlier[:6]):
            finer = row[k] + (row[k] - coarse) / (4 ** (k + 1) - 1)
            difference = np.maximum(np.abs(finer - row[k]), np.abs(finer - coarse)) + rounding / step
            better = difference < error  # never where it is NaN
            value, error = np.where(better, finer, value), np.where(better, difference, error)
            noise = np.where(better, rounding / step, noise)
            row.append(finer)
        earlier = row
        if np.all(error <= np.maximum(enough * np.abs(value), 4 * rounding / step)):
            break
        step /= 2
    return Slope(value, error, noise)


def close_slope(path: Path, rounding: float, step: float) -> Slope:
    """The slope of one number, also where all that it does lies between two steps: begun with much smaller ones, too,
    which are taken where they say something else beyond all errors."""
    found = slope(path, rounding, step)
    for smaller in (2**-8, 2**-14):
        close = slope(path, rounding, step * smaller)
        if not np.abs(close.value - found.value) <= 4 * (close.error + found.error):
            found = close
    return found


def roughness(path: Path) -> float:
    """What is not smooth in the numbers of a path near 0, though not at 0: third differences, which leave of a smooth
    function 1e-12 of its third derivative, and of rounding errors about four times their size."""
    found = []
    for centre in (0.011, -0.013):
        points = np.array([path(centre + k * 1e-4) for k in range(10)])
        found.append(np.max(np.abs(np.diff(points, 3, axis=0)), initial=0.0) / 4)
    return float(np.nan_to_num(min(found), posinf=0.0))


class Corner(NamedTuple):
    """Two slopes that differ at 0, or nearer to it than `within`."""

    left: float
    right: float
    jumps: bool
    within: float


def corner(path: Path, rounding: float) -> Corner | None:
    """The two slopes of a path of one number, if they do not come together with the step, or grow as it shrinks."""
    at = float(path(0.0)[0])
    sides = [((at - float(path(-h)[0])) / h, (float(path(h)[0]) - at) / h) for h in (1e-5, 1e-6)]
    before, after = [abs(right - left) for left, right in sides]
    large, larger = [max(abs(left), abs(right)) for left, right in sides]
    least = 1e-6 * larger + 1e2 * rounding / 1e-6
    bent, steeper = after > max(0.5 * before, least), larger > max(3 * large, least)
    if not np.isfinite(larger) or not (bent or steeper):
        return None
    return Corner(*sides[1], jumps=steeper, within=1e-5)
