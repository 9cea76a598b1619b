"""A mixture of Gaussians, fitted by expectation maximization."""

import numpy as np


def log_densities(points, weights, means, covariances):
    """log(weight * density), one row for each point, one column for each Gaussian."""
    d = points.shape[1]
    centred = points[:, None, :] - means
    solved = np.linalg.solve(covariances, centred[..., None])[..., 0]
    squares = np.sum(centred * solved, axis=-1)
    _, logdets = np.linalg.slogdet(covariances)
    return np.log(weights) - 0.5 * (squares + logdets + d * np.log(2 * np.pi))


def fit(points, means, steps=20, floor=1e-3):
    """The weights, means and covariances after some steps from these means, and the mean log-likelihood there."""
    n, d = points.shape
    k = len(means)
    weights = np.full(k, 1 / k)
    covariances = np.broadcast_to(np.cov(points, rowvar=False), (k, d, d))
    for _ in range(steps):
        logp = log_densities(points, weights, means, covariances)
        shares = np.exp(logp - np.logaddexp.reduce(logp, axis=1, keepdims=True))
        total = shares.sum(axis=0)
        weights = total / n
        means = shares.T @ points / total[:, None]
        centred = points[:, None, :] - means
        covariances = np.einsum("nk,nki,nkj->kij", shares, centred, centred) / total[:, None, None]
        covariances = covariances + floor * np.eye(d)
    loglik = np.logaddexp.reduce(log_densities(points, weights, means, covariances), axis=1).mean()
    return weights, means, covariances, loglik
