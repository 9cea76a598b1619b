"""Counting into bins. Which bin an element falls into is a constant; the weights that are summed are differentiable."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..ops.discrete import discrete
from ..ops.indexing import AddAt
from .common import array_of, index_of, tensor
from .manipulation import ravel


def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each number from 0 on occurs, or the sum of the weights where it does."""
    counts = discrete(np.bincount, index_of(x), minlength=minlength)  # which refuses what is no such number
    if weights is None:
        return counts
    x, weights = tensor(x), tensor(weights, np.float64)
    if weights.shape != x.shape:
        raise ValueError(f"bincount: weights need the shape of x, {x.shape}, got {weights.shape}")
    return _sums(array_of(x, np.intp), weights, counts.size)


def _sums(places: Any, weights: Tensor, size: int) -> Tensor:
    """The sum of the weights at each place, accumulated in float64 or wider."""
    wide = np.result_type(weights.dtype, np.float64) if weights.dtype.kind in "fc" else weights.dtype
    return tensor(AddAt((size,), wide, [places])(tensor(weights, wide)), weights.dtype)


def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Tensor:
    """The edges of the bins that `histogram` counts into."""
    return tensor(np.histogram_bin_edges(_values(a), _plain(bins), range, _values(weights)))


def _plain(bins: Any) -> Any:
    """Bins as NumPy takes them: edges, a number, the name of an estimator, or several of them."""
    if isinstance(bins, (list, tuple)):
        return [_plain(b) for b in bins]
    return array_of(bins)[()] if isinstance(bins, Tensor) else bins


def _values(a: Any) -> Any:
    return None if a is None else array_of(tensor(a))


def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[Tensor, Tensor]:
    """How many elements (or the sum of the weights of those that) lie in each bin, and the edges of the bins."""
    values, bins = _values(a), _plain(bins)
    if weights is None:
        counts, edges = np.histogram(values, bins, range, density)
        return tensor(counts), tensor(edges)
    weights = tensor(weights)
    if weights.shape != values.shape:
        raise ValueError(f"histogram: weights need the shape of a, {values.shape}, got {weights.shape}")
    edges = np.histogram_bin_edges(values, bins, range, array_of(weights))
    places = _bins(values.ravel(), edges)
    inside = np.flatnonzero((places >= 0) & (places < edges.size - 1))
    sums = _sums(places[inside], ravel(weights)[inside], edges.size - 1)
    return sums / np.diff(edges).astype(float) / sums.sum() if density else sums, tensor(edges)


def _bins(values: Any, edges: Any) -> Any:
    """The number of each value's bin, the last one's at the last edge; -1 below; above, and for NaN, as many as there
    are bins."""
    return np.searchsorted(edges, values, "right") - 1 - (values == edges[-1])


def histogram2d(
    x: Any, y: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[Tensor, Tensor, Tensor]:
    """`histogramdd` of points in two dimensions: the histogram, and the edges along both axes."""
    x, y, bins = _values(x), _values(y), _plain(bins)
    if x.shape != y.shape:
        raise ValueError(f"histogram2d: x and y need one length, got shapes {x.shape} and {y.shape}")
    if hasattr(bins, "__len__") and len(bins) not in (1, 2):
        bins = [bins, bins]  # the edges of both axes
    found, (of_x, of_y) = histogramdd([x, y], bins, range, density, weights)
    return found, of_x, of_y


def histogramdd(
    sample: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """How many points (or the sum of the weights of those that) lie in each bin, and the edges along each axis.

    `sample` has a row for each point, or is a list of one sequence for each coordinate.
    """
    points = _values(sample)
    if isinstance(sample, (list, tuple)) or points.ndim == 1:
        points = np.atleast_2d(points).T
    counts, edges = np.histogramdd(points, _plain(bins), range, density)
    found = tuple(map(tensor, edges))
    if weights is None:
        return tensor(counts), found
    weights = tensor(weights, np.float64)
    if weights.shape != points.shape[:1]:
        raise ValueError(f"histogramdd: needs a weight for each of {len(points)} points, got shape {weights.shape}")
    places = np.stack([_bins(column, edge) for column, edge in zip(points.T, edges, strict=True)], axis=-1)
    inside = np.flatnonzero(((places >= 0) & (places < counts.shape)).all(1))
    flat = np.ravel_multi_index(tuple(places[inside].T), counts.shape)
    sums = _sums(flat, weights[inside], counts.size).reshape(counts.shape)
    if density:
        volumes = reduce(np.multiply.outer, [np.diff(edge) for edge in edges])
        sums = sums / volumes / sums.sum()
    return sums, found
