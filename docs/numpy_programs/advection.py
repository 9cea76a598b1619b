"""Smoke that a wind carries around on a torus: the air of each cell is traced back to where it came from."""

import numpy as np


def advect(smoke, wind, steps):
    """The smoke after some steps; the wind is in cells a step, along rows and along columns, for each cell."""
    rows, columns = smoke.shape
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    y, x = y - wind[0], x - wind[1]
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = y - top, x - left
    top, left, bottom, beyond = top % rows, left % columns, (top + 1) % rows, (left + 1) % columns
    for _ in range(steps):
        above = (1 - right) * smoke[top, left] + right * smoke[top, beyond]
        below = (1 - right) * smoke[bottom, left] + right * smoke[bottom, beyond]
        smoke = (1 - down) * above + down * below
    return smoke
