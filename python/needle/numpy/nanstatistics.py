"""The statistics of what is not NaN. What is NaN contributes a structural zero to every gradient."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import ops
from ..autograd import Axes, Tensor
from ..ops.base import reduced_axes
from ..ops.discrete import discrete
from ..ops.extrema import fmax, fmin
from ..ops.selection import where as choose
from . import statistics
from .common import array_of, into, tensor


def _present(a: Tensor) -> Any:
    """Which elements are not NaN, for `where=`."""
    return ~discrete(np.isnan, a) if a.dtype.kind in "fc" else True


def _and(mask: Any, where: Any) -> Any:
    return where if mask is True else mask if where is True else mask & tensor(where)


def nansum(
    a: Any,
    axis: Axes = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = 0,
    where: Any = True,
) -> Tensor:
    """The sum of the elements that are not NaN; see `sum`."""
    return statistics.sum(_with(a, 0), axis, dtype, out, keepdims, initial, where)


def nanprod(
    a: Any,
    axis: Axes = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = 1,
    where: Any = True,
) -> Tensor:
    """The product of the elements that are not NaN; see `prod`."""
    return statistics.prod(_with(a, 1), axis, dtype, out, keepdims, initial, where)


def nancumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Tensor:
    """The sums of the elements up to each one that are not NaN; see `cumsum`."""
    return statistics.cumsum(_with(a, 0), axis, dtype, out)


def nancumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Tensor:
    """The products of the elements up to each one that are not NaN; see `cumprod`."""
    return statistics.cumprod(_with(a, 1), axis, dtype, out)


def _with(a: Any, number: int) -> Tensor:
    """This number in the place of each NaN."""
    a = tensor(a)
    return choose(_present(a), a, number) if a.dtype.kind in "fc" else a


def nanmax(
    a: Any, axis: Axes = None, out: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Tensor:
    """The largest element that is not NaN; NaN, with a warning, where all are."""
    return into(out, _extremum("nanmax", ops.NanMax, fmax, a, axis, keepdims, initial, where))


def nanmin(
    a: Any, axis: Axes = None, out: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Tensor:
    """The smallest element that is not NaN; NaN, with a warning, where all are."""
    return into(out, _extremum("nanmin", ops.NanMin, fmin, a, axis, keepdims, initial, where))


def _extremum(name: str, *arguments: Any) -> Tensor:
    found = statistics.extremum(name, *arguments)
    if found.dtype.kind in "fc" and array_of(discrete(np.isnan, found)).any():
        warnings.warn(f"{name}: All-NaN slice encountered", RuntimeWarning, stacklevel=3)
    return found


def nanmean(
    a: Any, axis: Axes = None, dtype: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True
) -> Tensor:
    """The arithmetic mean of the elements that are not NaN; NaN where all are."""
    a = tensor(a)
    return statistics.mean(a, axis, dtype, out, keepdims, where=_and(_present(a), where))


def nanvar(
    a: Any,
    axis: Axes = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: Any = None,
) -> Tensor:
    """The variance of the elements that are not NaN, see `var`; NaN where there are no more of them than `ddof`."""
    return into(out, _moment(statistics.var, a, axis, dtype, ddof, keepdims, where, mean, correction))


def nanstd(
    a: Any,
    axis: Axes = None,
    dtype: Any = None,
    out: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: Any = None,
) -> Tensor:
    """The standard deviation of the elements that are not NaN, see `nanvar`; its gradient is 0 where all are equal."""
    return into(out, _moment(statistics.std, a, axis, dtype, ddof, keepdims, where, mean, correction))


def _moment(
    moment: Any, a: Any, axis: Axes, dtype: Any, ddof: float, keepdims: bool, where: Any, mean: Any, correction: Any
) -> Tensor:
    a = tensor(a)
    ddof = statistics.one_ddof(f"nan{moment.__name__}", ddof, correction)
    mask = _and(_present(a), where)
    if mask is True:
        return moment(a, axis, dtype, None, ddof, keepdims, mean=mean)
    counted = tensor(mask).broadcast_to(a.shape)
    axes = reduced_axes(f"nan{moment.__name__}", axis, a.ndim)
    enough = discrete(np.count_nonzero, counted, axis=axes, keepdims=keepdims) > ddof
    if not array_of(enough).all():
        warnings.warn(
            f"nan{moment.__name__}: Degrees of freedom <= 0 for slice. There are no more elements than ddof",
            RuntimeWarning,
            stacklevel=3,
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        return choose(enough, moment(a, axis, dtype, None, ddof, keepdims, where=mask, mean=mean), np.nan)
