"""Regression by a Gaussian process with a squared exponential kernel."""

import numpy as np


def kernel(a, b, scale, length):
    distance = (a[:, None] - b[None, :]) / length
    return scale**2 * np.exp(-0.5 * distance**2)


def log_marginal_likelihood(x, y, parameters):
    scale, length, noise = parameters
    K = kernel(x, x, scale, length) + noise**2 * np.eye(len(x))
    L = np.linalg.cholesky(K)
    alpha = np.linalg.solve(L.T, np.linalg.solve(L, y))
    return -0.5 * y @ alpha - np.log(np.diag(L)).sum() - 0.5 * len(x) * np.log(2 * np.pi)


def predict(x, y, new, parameters):
    """The mean and the standard deviation of the function at new places."""
    scale, length, noise = parameters
    K = kernel(x, x, scale, length) + noise**2 * np.eye(len(x))
    between = kernel(new, x, scale, length)
    mean = between @ np.linalg.solve(K, y)
    variance = scale**2 - np.einsum("ij,ji->i", between, np.linalg.solve(K, between.T))
    return mean, np.sqrt(variance)
