"""Medians, quantiles and percentiles, of all elements or of those that are not NaN.

The sorted order is a constant that chooses elements; the result is differentiable by these, and by the quantile where
the method interpolates between them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .. import ops
from ..autograd import Axes, Tensor, constant, gradient_dtype
from ..ops.base import kept_shape, reduced_axes, weak
from ..ops.discrete import discrete
from ..ops.selection import masked
from ..ops.selection import where as choose
from ..ops.shape import permute_dims
from .common import array_of, filled_out, into, tensor
from .statistics import weights_like

# Each method says at which place among n sorted elements, counted from 0, the quantile q lies. They are those of
# Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996, and four that go back to older versions of NumPy.

INTERPOLATING = {
    "interpolated_inverted_cdf": (0, 1),
    "hazen": (0.5, 0.5),
    "weibull": (0, 0),
    "linear": (1, 1),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
"""At n * q + alpha + q * (1 - alpha - beta) - 1, between two elements: alpha and beta."""

CHOOSING: dict[str, Callable[[Any, Any], Any]] = {
    "inverted_cdf": lambda n, q: np.ceil(n * q) - 1,
    "closest_observation": lambda n, q: np.rint(n * q) - 1,
    "lower": lambda n, q: np.floor((n - 1) * q),
    "higher": lambda n, q: np.ceil((n - 1) * q),
    "nearest": lambda n, q: np.rint((n - 1) * q),
}
"""At an element."""

AVERAGING: dict[str, tuple[Callable[[Any, Any], Any], float, float]] = {
    "averaged_inverted_cdf": (lambda n, q: n * q - 1, 0.5, 1.0),
    "midpoint": (lambda n, q: (n - 1) * q, 0.0, 0.5),
}
"""The weight of the next element where the place is one of an element, and where it lies between two."""

METHODS = (*CHOOSING, *AVERAGING, *INTERPOLATING)


def quantile(
    a: Any,
    q: Any,
    axis: Axes = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Tensor:
    """What a fraction q of the elements over axes lies below, by one of NumPy's methods; NaN if an element is.

    The shape is that of q, and then that of the other axes. `weights` go with the method "inverted_cdf".
    """
    return into(out, _quantile(_Rows("quantile", a, axis, keepdims), q, method, weights))


def percentile(
    a: Any,
    q: Any,
    axis: Axes = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Tensor:
    """What q percent of the elements over axes lie below; see `quantile`."""
    return into(out, _quantile(_Rows("percentile", a, axis, keepdims), q, method, weights, 100))


def median(a: Any, axis: Axes = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False) -> Tensor:
    """The middle element over axes, or the mean of the two in the middle; NaN if an element is."""
    return into(out, _median(_Rows("median", a, axis, keepdims)))


def nanquantile(
    a: Any,
    q: Any,
    axis: Axes = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Tensor:
    """What a fraction q of the elements that are not NaN lies below, see `quantile`; NaN, with a warning, of none."""
    return into(out, _quantile(_Rows("nanquantile", a, axis, keepdims, skip_nan=True), q, method, weights))


def nanpercentile(
    a: Any,
    q: Any,
    axis: Axes = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Tensor:
    """What q percent of the elements that are not NaN lie below, see `quantile`; NaN, with a warning, of none."""
    return into(out, _quantile(_Rows("nanpercentile", a, axis, keepdims, skip_nan=True), q, method, weights, 100))


def nanmedian(
    a: Any, axis: Axes = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False
) -> Tensor:
    """The median of the elements that are not NaN, see `median`; NaN, with a warning, of none."""
    return into(out, _median(_Rows("nanmedian", a, axis, keepdims, skip_nan=True)))


class _Rows:
    """The elements over axes as rows, from which those at given places of the sorted order are taken."""

    def __init__(self, name: str, a: Any, axis: Axes, keepdims: bool, skip_nan: bool = False):
        self.name, self.a, self.axis = name, tensor(a), axis
        self.axes = reduced_axes(name, axis, self.a.ndim)
        self.rows = self._as_rows(self.a)
        *others, self.length = self.rows.shape
        self.others = tuple(others)
        self.shape = kept_shape(self.a.shape, self.axes) if keepdims else self.others
        nan = array_of(discrete(np.isnan, self.rows)) if self.a.dtype.kind in "fc" else np.zeros((), bool)
        self.skipped = nan if skip_nan and nan.any() else None
        self.spoilt = None if skip_nan or not nan.any() else nan.any(-1)
        self.count: Any = self.length if self.skipped is None else self.length - np.count_nonzero(nan, -1)
        if skip_nan and not np.all(self.count):
            warnings.warn(f"{name}: All-NaN slice encountered", RuntimeWarning, stacklevel=3)

    def _as_rows(self, a: Tensor) -> Tensor:
        """The reduced axes as one, behind the others."""
        others = tuple(i for i in range(a.ndim) if i not in self.axes)
        if others + self.axes != tuple(range(a.ndim)):
            a = permute_dims(a, others + self.axes)
        n = len(others)
        return a.reshape((*a.shape[:n], prod(a.shape[n:])))

    def take(self, *places: Any) -> list[Tensor]:
        """The elements at these places, an array of places for each row; those beyond the ends stand for the ends."""
        last = np.maximum(self.count - 1, 0)
        ranks = [np.clip(place, 0, last).astype(np.intp) for place in places]
        if self.skipped is None:
            needed = np.unique(np.concatenate([[self.length - 1], *[rank.ravel() for rank in ranks]]))
            order = array_of(discrete(np.argpartition, self.rows, kth=needed, axis=-1))
        else:
            order = array_of(discrete(np.argsort, self.rows, axis=-1))
        row = tuple(np.indices(self.others, sparse=True))
        indices = [order[(*row, rank)] for rank in ranks]
        if self.spoilt is not None:  # NaN is sorted behind all else
            indices = [np.where(self.spoilt, order[..., -1], index) for index in indices]
        return [self.rows[(*row, index)] for index in indices]

    def shaped(self, result: Tensor, of: tuple[int, ...] = ()) -> Tensor:
        """One result for each row, and for each quantile of this shape."""
        shape = (*of, *self.shape)
        return result if result.shape == shape else result.reshape(shape)

    def none(self, of: tuple[int, ...] = ()) -> Tensor:
        """What there is of rows without elements: NaN, with NumPy's warning."""
        return self.shaped(filled_out(ops.mean(self.rows, -1), (*of, *self.others)), of)


def _median(rows: _Rows) -> Tensor:
    if rows.length == 0:
        return rows.none()
    low, high = rows.take((rows.count - 1) // 2, rows.count // 2)
    even = np.broadcast_to(rows.count % 2 == 0, rows.others)
    exact = np.float64 if low.dtype.kind in "biu" else np.float32 if low.dtype == np.float16 else low.dtype
    total = tensor(low, exact) + masked(tensor(high, exact), constant(even))
    middle = total / (1 + even).astype(total.real.dtype)
    return rows.shaped(tensor(middle, low.dtype) if low.dtype == np.float16 else middle)


def _quantile(rows: _Rows, q: Any, method: str, weights: Any, scale: int = 1) -> Tensor:
    name, a = rows.name, rows.a
    if a.dtype.kind == "c":
        raise TypeError(f"{name}: complex numbers have no order; a must be real, got dtype {a.dtype}")
    if method not in METHODS:
        raise ValueError(f"{name}: method must be one of {', '.join(METHODS)}; got {method!r}")
    if weights is not None and method != "inverted_cdf":
        raise ValueError(f"{name}: Only method 'inverted_cdf' supports weights, got {method!r}")
    # Quantiles that are integers, 0 and 1, are elements by most methods: nothing is interpolated.
    between = scale > 1 or INTERPOLATING.get(method, (1, 1)) != (1, 1)
    exact, q = q, weak(q, a) if type(q) is float or (type(q) is int and between) else tensor(q)
    dtype, widened = np.result_type(a.dtype, q.dtype), q.dtype == np.float16 and weights is None
    if widened:  # float16 cannot count beyond 2048
        q = tensor(exact, np.float64)
    given = array_of(q)
    if not ((given >= 0) & (given <= scale)).all():
        raise ValueError(f"{name}: q must lie between 0 and {scale}, got {given}")
    q = q if scale == 1 else q / scale
    if rows.length == 0:
        return rows.none(q.shape)
    each_row = q.reshape((*q.shape, *(1,) * len(rows.others)))
    found = _at(rows, each_row, method, weights)
    return rows.shaped(tensor(found, dtype) if widened and found.dtype != a.dtype else found, q.shape)


def _at(rows: _Rows, q: Tensor, method: str, weights: Any) -> Tensor:
    """The quantiles of all rows, for a method that is known to exist."""
    fractions = array_of(q)
    n = rows.count if isinstance(rows.count, int) else rows.count.astype(q.dtype)
    if weights is not None:
        return rows.take(_weighted_places(rows, fractions, weights))[0]
    if method in CHOOSING:
        return rows.take(CHOOSING[method](n, fractions))[0]
    if method in AVERAGING:
        place, exact, between = AVERAGING[method]
        places = place(n, fractions)
        weight: Any = constant(np.where(places % 1 == 0, exact, between).astype(_floating(q.dtype, rows.a.dtype)))
        below = np.floor(places)
    else:
        exactly = _place(n, q, method)
        if exactly.dtype.kind in "iu":
            return rows.take(array_of(exactly))[0]
        below = np.floor(array_of(exactly))
        weight = exactly - below
    low, high = rows.take(below, below + 1)
    gap = high - low
    return choose(weight >= 0.5, high - gap * (1 - weight), low + gap * weight)


def _floating(dtype: Any, other: Any) -> Any:
    """The first dtype that is not one of integers."""
    return dtype if dtype.kind == "f" else gradient_dtype(other)


def _place(n: Any, q: Tensor, method: str) -> Tensor:
    if method == "linear":
        return (n - 1) * q
    alpha, beta = INTERPOLATING[method]
    q = tensor(q, gradient_dtype(q.dtype))
    return n * q + (alpha + q * (1 - alpha - beta)) - 1


def _weighted_places(rows: _Rows, fractions: Any, weights: Any) -> Any:
    """The first places at which the weights up to there are at least these fractions of all."""
    given = array_of(rows._as_rows(weights_like(rows.name, rows.a, rows.axis, tensor(weights))))
    if (given < 0).any():
        raise ValueError(f"{rows.name}: Weights must be non-negative, got {given.min()}")
    if rows.skipped is not None:
        given = np.where(rows.skipped, 0, given)
    order = array_of(discrete(np.argsort, rows.rows, axis=-1))
    sums = np.cumsum(np.take_along_axis(given, order, -1), -1)
    total = np.where(rows.count, sums[..., -1], 1)
    if not (np.isfinite(total) & (total > 0)).all():
        raise ValueError(f"{rows.name}: Weights included NaN, inf or were all zero, got {given}")
    reached = sums / total[..., None]
    return np.count_nonzero((reached < fractions[..., None]) | (reached == 0), -1)
