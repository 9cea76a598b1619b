"""Principal components, by the singular values of the data and by the eigenvalues of its covariance."""

import numpy as np


def by_svd(X, k):
    """The first k components (rows), the variance along each, and the data's coordinates along them."""
    centred = X - X.mean(axis=0)
    _, s, Vt = np.linalg.svd(centred, full_matrices=False)
    largest = np.abs(Vt).argmax(axis=1)  # components are known up to a sign: their largest entry is positive
    Vt = Vt * np.sign(np.take_along_axis(Vt, largest[:, None], axis=1))
    return Vt[:k], s[:k] ** 2 / (len(X) - 1), centred @ Vt[:k].T


def by_eigh(X, k):
    """The same."""
    variances, V = np.linalg.eigh(np.cov(X, rowvar=False))
    components = V[:, ::-1].T[:k]
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(np.take_along_axis(components, largest[:, None], axis=1))
    return components, variances[::-1][:k], (X - np.mean(X, axis=0)) @ components.T
