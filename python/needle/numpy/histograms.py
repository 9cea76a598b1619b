"""Counting into bins. Which bin an element falls into is a constant; the weights that are summed are differentiable,
and so are the edges of the bins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from ..autograd import Tensor, is_recorded
from ..ops.discrete import discrete
from ..ops.indexing import AddAt
from .calculus import diff
from .common import array_of, holds_tensor, index_of, tensor
from .manipulation import atleast_2d, ravel


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
    """The edges of the bins that `histogram` counts into.

    Those of equal bins have the gradient of the ends of the range, which are the extremes of `a` unless it is given.
    """
    a = tensor(a)
    found = np.histogram_bin_edges(_values(a), _plain(bins), _plain(range), _values(weights))
    return _edges(found, a, bins, range)


def _edges(found: Any, a: Any, bins: Any, range: Any) -> Tensor:
    """The edges that NumPy found along one axis, with the gradient that they have by what they were made from."""
    if _are_many(bins):
        return tensor(bins if holds_tensor(bins) else found)
    if range is None and (not is_recorded(a) or not a.size):
        return tensor(found)
    low, high = (a.min(), a.max()) if range is None else range
    if not is_recorded(low, high):
        return tensor(found)
    parts = np.linspace(0, 1, found.size)
    slopes = tensor(low).reshape(1) * (1 - parts) + tensor(high).reshape(1) * parts
    return (slopes - slopes.detach() + found).astype(found.dtype)  # with NumPy's digits


def _plain(bins: Any) -> Any:
    """Bins, or a range, as NumPy takes them: edges, a number, the name of an estimator, or several of them."""
    if isinstance(bins, (list, tuple)):
        return type(bins)([_plain(b) for b in bins])
    return array_of(bins)[()] if isinstance(bins, Tensor) else bins


def _are_many(bins: Any) -> bool:
    return isinstance(bins, (list, tuple)) or getattr(bins, "ndim", 0) > 0


def _values(a: Any) -> Any:
    return None if a is None else array_of(tensor(a))


def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[Tensor, Tensor]:
    """How many elements (or the sum of the weights of those that) lie in each bin, and the edges of the bins."""
    a = tensor(a)
    values = _values(a)
    if weights is None:
        counts, edges = np.histogram(values, _plain(bins), _plain(range), density)
        found = _edges(edges, a, bins, range)
        return _density(tensor(counts), [found]) if density else tensor(counts), found
    weights = tensor(weights)
    if weights.shape != values.shape:
        raise ValueError(f"histogram: weights need the shape of a, {values.shape}, got {weights.shape}")
    edges = np.histogram_bin_edges(values, _plain(bins), _plain(range), array_of(weights))
    places = _bins(values.ravel(), edges)
    inside = np.flatnonzero((places >= 0) & (places < edges.size - 1))
    sums = _sums(places[inside], ravel(weights)[inside], edges.size - 1)
    found = _edges(edges, a, bins, range)
    if density:
        sums = _density(sums / np.diff(edges).astype(float) / sums.sum(), [found])
    return sums, found


def _density(found: Tensor, edges: Sequence[Tensor]) -> Tensor:
    """A density, with the gradient that it has by the edges: the volumes of the bins divide it."""
    if not is_recorded(*edges):
        return found
    outer: Any = np.multiply.outer
    volumes = reduce(outer, map(diff, edges))
    return found * (volumes.detach() / volumes)


def _bins(values: Any, edges: Any) -> Any:
    """The number of each value's bin, the last one's at the last edge; -1 below; above, and for NaN, as many as there
    are bins."""
    return np.searchsorted(edges, values, "right") - 1 - (values == edges[-1])


def histogram2d(
    x: Any, y: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[Tensor, Tensor, Tensor]:
    """`histogramdd` of points in two dimensions: the histogram, and the edges along both axes."""
    x, y = tensor(x), tensor(y)
    if x.shape != y.shape:
        raise ValueError(f"histogram2d: x and y need one length, got shapes {x.shape} and {y.shape}")
    if _are_many(bins) and len(bins) not in (1, 2):
        bins = [bins, bins]  # the edges of both axes
    found, (of_x, of_y) = histogramdd([x, y], bins, range, density, weights)
    return found, of_x, of_y


def histogramdd(
    sample: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """How many points (or the sum of the weights of those that) lie in each bin, and the edges along each axis.

    `sample` has a row for each point, or is a list of one sequence for each coordinate.
    """
    given = tensor(sample)
    if isinstance(sample, (list, tuple)) or given.ndim == 1:
        given = atleast_2d(given).T
    points = array_of(given)
    counts, edges = np.histogramdd(points, _plain(bins), _plain(range), density)
    many = len(edges)
    of_each = bins if _are_many(bins) else [bins] * many
    ranges = [None] * many if range is None else range
    columns = [given[:, i] for i in np.arange(many).tolist()]
    found = tuple(map(_edges, edges, columns, of_each, ranges))
    if weights is None:
        return _density(tensor(counts), found) if density else tensor(counts), found
    weights = tensor(weights, np.float64)
    if weights.shape != points.shape[:1]:
        raise ValueError(f"histogramdd: needs a weight for each of {len(points)} points, got shape {weights.shape}")
    places = np.stack([_bins(column, edge) for column, edge in zip(points.T, edges, strict=True)], axis=-1)
    inside = np.flatnonzero(((places >= 0) & (places < counts.shape)).all(1))
    flat = np.ravel_multi_index(tuple(places[inside].T), counts.shape)
    sums = _sums(flat, weights[inside], counts.size).reshape(counts.shape)
    if density:
        volumes = reduce(np.multiply.outer, [np.diff(edge) for edge in edges])
        sums = _density(sums / volumes / sums.sum(), found)
    return sums, found
