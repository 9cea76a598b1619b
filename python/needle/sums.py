"""Sums over axes: accurate, fast, and the same whether an array is summed as a whole or block by block.

NumPy adds by pairs along the axis of the shortest stride only, and one by one along all others: a float32 sum over
millions of rows would lose percents. Here a sum is made of runs along every axis. Runs of a large array in C order are
products with ones, which BLAS computes in a fraction of the time. A batch of them always holds the same elements, and
their sums are added up in the same order, so that `Runs` may also take the array in blocks that hold whole batches.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

LARGE = 1 << 17
"""Bytes from which on an array may be computed block by block."""
_RUN = 128
"""So many numbers are added one by one at most, as in NumPy's sum by pairs; and so many are in a run along columns."""
_PARTS = 16
"""An axis to be summed is laid out in so many parts, which are added to each other first."""
_LONGEST = 1 << 12
"""The most numbers that a product with ones adds up: the error stays about that of NumPy's sum by pairs."""
_FLAT = 1 << 10
"""The numbers of such a run, if all elements are summed."""
_BATCH = 64
"""The most runs in a batch, which is one call of BLAS."""
_WORK = 1 << 13
"""The most numbers in a batch: with more, BLAS may start threads of its own."""
_SHORTEST = 8
"""The shortest run along columns that a product adds up faster than a sum."""


def sum_over(  # noqa: PLR0917  (a ufunc's reduce has them in this order, too)
    a: Any, axes: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, whole: int = 0
) -> Any:
    """np.add.reduce over axes, sorted and not negative (None: all), but in short runs along every axis.

    What is narrower than float32 is summed in float32. `whole`: the bytes of the array of which this is a part, cut
    along axes that are not summed; its sums are then those of the whole array.
    """
    add: Any = np.add
    if a.size <= _RUN and not whole and a.dtype.char != "e":
        return add.reduce(a, axes, dtype, out, keepdims)
    if a.dtype.char == "e" and dtype is None:  # float16 stops counting at 2048
        return sum_over(a.astype(np.float32), axes, None, out, keepdims, 2 * whole).astype(np.float16)
    order = tuple(range(a.ndim)) if axes is None else axes
    if max(whole, a.nbytes) >= LARGE and dtype is None and order and a.flags.c_contiguous:
        runs = runs_of(a.shape, a.dtype, order)
        if runs is not None:
            return _given(runs.sum(a, max(whole, a.nbytes)), a.shape, order, out, keepdims)
    if a.dtype.kind in "fc":
        while order and prod([a.shape[i] for i in order]) > _RUN and not _in_pairs(a, order):
            a = _halved(a, max(order, key=a.shape.__getitem__), dtype)
    return add.reduce(a, axes, dtype, out, keepdims)


def _given(found: Any, shape: tuple[int, ...], axes: tuple[int, ...], out: Any, keepdims: bool) -> Any:
    if keepdims:
        found = found.reshape([1 if i in axes else n for i, n in enumerate(shape)])
    if out is None:
        return found if found.ndim else found[()]
    out[...] = found
    return out


def _in_pairs(a: Any, axes: tuple[int, ...]) -> bool:
    """Whether NumPy itself adds by pairs: what it adds up lies in one piece."""
    return bool(a.flags.forc if len(axes) == a.ndim else a.flags.c_contiguous and axes[0] + len(axes) == a.ndim)


def _halved(a: Any, axis: int, dtype: Any) -> Any:
    """The sum of the parts of an axis, which is as long afterwards as one part. The rest that fills none is added."""
    length = a.shape[axis]
    short = -(-length // _PARTS)
    count = length // short
    before, after = a.shape[:axis], a.shape[axis + 1 :]
    ahead = (slice(None),) * axis
    parts = a[(*ahead, slice(count * short))].reshape(*before, count, short, *after)  # views
    total = np.add.reduce(parts, axis, dtype)
    if count * short < length:
        total[(*ahead, slice(length - count * short))] += a[(*ahead, slice(count * short, None))]
    return total


# --------------------------------------------------------------------------------------------------------------- runs


class Runs(NamedTuple):
    """How large arrays in C order are summed over axes: in runs along those that come last, or else along those that
    come first. The array is (rows, columns), and a run is a row or a part of a column, or, if all is summed, a part of
    the only column. Other axes follow when these are summed."""

    along_rows: bool
    rows: int
    columns: int
    batch: int
    """How many rows stay together: a batch of runs, or the length of a run along columns."""
    shape: tuple[int, ...]
    """That of the sums, before other axes are summed."""
    other: tuple[int, ...]
    """The axes of these that are yet to be summed."""

    def sum(self, a: Any, whole: int) -> Any:
        """The sums of an array, or of a part of its rows, of which the whole has so many bytes."""
        a = a.reshape(-1, self.columns)
        if self.along_rows:
            found = np.empty(len(a), a.dtype)
            self.rows_into(a, found)
        else:
            parts = np.empty((-(-len(a) // self.batch), self.columns), a.dtype)
            self.parts_into(a, parts)
            found = self.total(parts)
        found = found.reshape(self.shape)
        return np.asarray(sum_over(found, self.other, whole=whole // self.columns)) if self.other else found

    def rows_into(self, a: Any, out: Any) -> None:
        """The sums of rows, from the first one of a batch on."""
        column, full = ones(self.columns, a.dtype), len(a) - len(a) % self.batch
        if full:
            batches = a[:full].reshape(-1, self.batch, self.columns)
            np.matmul(batches, column, out[:full].reshape(-1, self.batch))
        if full < len(a):
            np.matmul(a[full:], column, out[full:])

    def parts_into(self, a: Any, out: Any) -> None:
        """The sums of the runs along columns, from the first row of one on."""
        full = len(a) // self.batch
        if full:
            self._add(a[: full * self.batch].reshape(full, self.batch, self.columns), out[:full])
        if full < len(out):
            self._add(a[None, full * self.batch :], out[full:])

    def _add(self, a: Any, out: Any) -> None:
        length, columns = a.shape[1:]
        if columns == 1:
            np.vecdot(a[..., 0], ones(length, a.dtype), out[:, 0])
            return
        at_once = _batch(columns, length)
        if length % at_once or at_once < _SHORTEST:
            np.add.reduce(a, 1, None, out)
            return
        sums = np.matmul(ones(at_once, a.dtype), a.reshape(-1, at_once, columns))
        np.add.reduce(sums.reshape(len(a), -1, columns), 1, None, out)

    def total(self, parts: Any) -> Any:
        """The sums of columns, from those of all their runs."""
        if self.columns == 1:
            return np.add.reduce(parts, None, np.float64).astype(parts.dtype)
        return np.asarray(sum_over(parts.astype(np.float64), (0,))).astype(parts.dtype)

    def together(self, rows: int) -> int:
        """How many of so many equal parts of all rows hold whole batches: blocks of this many may be summed one by
        one."""
        return self.batch // gcd(self.batch, self.rows // rows)


@lru_cache(maxsize=512)
def runs_of(shape: tuple[int, ...], dtype: Any, axes: tuple[int, ...]) -> Runs | None:
    """How an array in C order is summed, if it is large; None if by pairs."""
    ndim = len(shape)
    if dtype.char not in "fd" or 0 in shape:
        return None
    if len(axes) == ndim:
        return Runs(False, prod(shape), 1, _FLAT, (), ())
    last = next(i for i in range(ndim + 1) if i == ndim or ndim - 1 - i not in axes)
    if last:
        n, kept = prod(shape[-last:]), shape[:-last]
        if not 1 < n <= _LONGEST:
            return None
        return Runs(True, prod(kept), n, _batch(n, _BATCH), kept, axes[: len(axes) - last])
    first = next(i for i in range(ndim) if i not in axes)
    rows, kept = prod(shape[:first]), shape[first:]
    if not first or rows <= _RUN or prod(kept) == 1:
        return None
    return Runs(False, rows, prod(kept), _RUN, kept, tuple([axis - first for axis in axes[first:]]))


def _batch(n: int, batch: int) -> int:
    """How many rows of n numbers are one product."""
    while batch * n > _WORK:
        batch //= 2
    return batch


@lru_cache(maxsize=64)
def ones(n: int, dtype: Any) -> Any:
    """So many ones, kept; read-only."""
    kept = np.ones(n, dtype)
    kept.flags.writeable = False
    return kept
