"""Clusters by Lloyd's algorithm."""

import numpy as np


def kmeans(points, centers, steps=50):
    """The centers that these move to, the label of each point, and the sum of squared distances."""
    for _ in range(steps):
        squares = ((points[:, None, :] - centers) ** 2).sum(axis=2)
        labels = squares.argmin(axis=1)
        moved = np.stack([points[labels == k].mean(axis=0) for k in range(len(centers))])
        if np.allclose(moved, centers, rtol=0, atol=1e-12):
            break
        centers = moved
    return centers, labels, squares.min(axis=1).sum()
