"""Waves on a square drum, and smoke carried around on a torus: finite differences, updated in place."""

import numpy as np


def drum(height, speed, steps, dt=0.1, damping=0.02):
    """The drum's height after some steps from rest; its rim, the outermost rows and columns, is held fast."""
    u = np.copy(height)
    velocity = np.zeros_like(u)
    for _ in range(steps):
        inner = u[1:-1, 1:-1]
        curvature = u[2:, 1:-1] + u[:-2, 1:-1] + u[1:-1, 2:] + u[1:-1, :-2] - 4 * inner
        velocity[1:-1, 1:-1] += dt * (speed**2 * curvature - damping * velocity[1:-1, 1:-1])
        u += dt * velocity
    return u


def smoke(density, wind, diffusion, steps, dt=0.1):
    """The smoke after some steps in a wind (along rows, along columns), which enters again where it leaves."""
    for _ in range(steps):
        change = np.zeros_like(density)
        for axis in (0, 1):
            behind, before = np.roll(density, 1, axis), np.roll(density, -1, axis)
            upwind = np.where(wind[axis] > 0, density - behind, before - density)
            change += diffusion * (behind - 2 * density + before) - wind[axis] * upwind
        density = density + dt * change
    return density
