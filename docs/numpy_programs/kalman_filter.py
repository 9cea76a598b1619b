"""A Kalman filter for a body that moves in one dimension, pushed at random, and is seen through noise."""

import numpy as np


def kalman_filter(seen, dt, push, noise):
    """The filtered positions and velocities, one row for each time, and the log-likelihood of what was seen."""
    F = np.array([[1.0, dt], [0.0, 1.0]])  # the motion
    G = np.array([dt**2 / 2, dt])
    Q = push**2 * np.outer(G, G)
    H = np.array([[1.0, 0.0]])  # only the position is seen
    R = np.array([[noise**2]])

    states = np.zeros((len(seen), 2))
    x, P = np.zeros(2), 10 * np.eye(2)
    loglik = 0.0
    for i, z in enumerate(seen):
        x = F @ x
        P = F @ P @ F.T + Q
        S = H @ P @ H.T + R
        surprise = z - H @ x
        gain = np.linalg.solve(S, H @ P).T
        x = x + gain @ surprise
        P = (np.eye(2) - gain @ H) @ P
        states[i] = x
        loglik -= 0.5 * (surprise @ np.linalg.solve(S, surprise) + np.linalg.slogdet(2 * np.pi * S)[1])
    return states, loglik
