"""Sums, products, extrema and moments, over axes or accumulated along one."""

from __future__ import annotations

import builtins
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..autograd import Axes, Tensor, constant
from ..ops.base import as_floats, kept_shape, reduced_axes, several, weak
from ..ops.discrete import discrete
from ..ops.extrema import maximum, minimum
from ..ops.joining import concatenate
from ..ops.reduction import count_along
from ..ops.selection import masked
from ..ops.selection import where as choose
from ..ops.shape import permute_dims
from .common import array_of, filled_out, into, normal_axis, tensor

# ------------------------------------------------------------------------------------------------- sums and extrema


def sum(
    a: Any,
    axis: Axes = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = 0,
    where: Any = True,
) -> Tensor:
    """The sum of the elements over axes, of those where a mask holds, plus `initial`."""
    a = tensor(a, dtype)
    axes = axis if axis is None else reduced_axes("sum", axis, a.ndim)
    total = ops.summation(_kept("sum", a, where, 0), axes, keepdims)
    if _is_given(initial, 0):
        total = total + _initial(initial, total.dtype)
    return into(out, _in_dtype(total, dtype))


def prod(
    a: Any,
    axis: Axes = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = 1,
    where: Any = True,
) -> Tensor:
    """The product of the elements over axes, of those where a mask holds, times `initial`."""
    a = tensor(a, dtype)
    axes = reduced_axes("prod", axis, a.ndim)
    product = ops.prod(_kept("prod", a, where, 1), axes, keepdims)
    if _is_given(initial, 1):
        product = product * _initial(initial, product.dtype)
    return into(out, _in_dtype(product, dtype))


def max(
    a: Any, axis: Axes = None, out: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Tensor:
    """The largest element over axes, or `initial` if that is larger; NaN if one is. Equal ones share the gradient."""
    return into(out, extremum("max", ops.Max, maximum, a, axis, keepdims, initial, where))


def min(
    a: Any, axis: Axes = None, out: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Tensor:
    """The smallest element over axes, or `initial` if that is smaller; NaN if one is. Equal ones share the gradient."""
    return into(out, extremum("min", ops.Min, minimum, a, axis, keepdims, initial, where))


amax, amin = max, min


def ptp(a: Any, axis: Axes = None, out: Any = None, keepdims: bool = False) -> Tensor:
    """The largest element over axes minus the smallest."""
    a = tensor(a)
    return into(out, max(a, axis, keepdims=keepdims) - min(a, axis, keepdims=keepdims))


def extremum(
    name: str,
    op: Any,
    of_two: Callable[[Any, Any], Tensor],
    a: Any,
    axis: Axes,
    keepdims: bool,
    initial: Any,
    where: Any,
) -> Tensor:
    a = tensor(a)
    axes = reduced_axes(name, axis, a.ndim)
    if initial is None:
        if where is not True:
            raise ValueError(f"{name}: with where=, give initial=, which stands where the mask holds for no element")
        return op(axes, keepdims)(a)
    initial, kept = _initial(initial, a.dtype), _kept(name, a, where, _never_chosen(op, a.dtype))
    if count_along(a.shape, axes) == 0:
        shape = kept_shape(a.shape, axes) if keepdims else _shape_without(a.shape, axes)
        return filled_out(initial, shape)
    return of_two(op(axes, keepdims)(kept), initial)


def _never_chosen(op: Any, dtype: Any) -> Any:
    """What leaves an extremum as it is."""
    if op in (ops.NanMax, ops.NanMin) and dtype.kind in "fc":
        return np.nan
    largest = op in (ops.Min, ops.NanMin)
    if dtype.kind in "fc":
        return np.inf if largest else -np.inf
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    return largest if limits is None else limits.max if largest else limits.min


# --------------------------------------------------------------------------------------------------------- arguments


def _shape_without(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def _is_given(initial: Any, neutral: int) -> bool:
    """Whether an initial value changes anything."""
    return isinstance(initial, Tensor) or (initial is not None and initial is not neutral)


def _initial(initial: Any, dtype: Any) -> Tensor:
    """The initial value in the dtype of the result, which it does not widen."""
    return tensor(initial, dtype) if isinstance(initial, Tensor) else constant(np.asarray(initial, dtype))


def _in_dtype(a: Tensor, dtype: Any) -> Tensor:
    """NumPy adds and multiplies up small integers in larger ones, unless told otherwise."""
    return a if dtype is None else tensor(a, dtype)


def _mask(name: str, a: Tensor, where: Any) -> Tensor | None:
    """`where=` as a mask of the shape of a; None where it takes all."""
    if where is True:
        return None
    mask = tensor(where)
    if mask.dtype.kind != "b":
        mask = mask != 0
    try:
        return mask.broadcast_to(a.shape)
    except ValueError:
        raise ValueError(f"{name}: where= must broadcast to the shape {a.shape} of a, got {mask.shape}") from None


def _kept(name: str, a: Tensor, where: Any, neutral: Any) -> Tensor:
    """a with this neutral element wherever the mask does not hold."""
    mask = _mask(name, a, where)
    return a if mask is None else choose(mask, a, weak(neutral, a))


# ----------------------------------------------------------------------------------------------------------- moments


def mean(
    a: Any, axis: Axes = None, dtype: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True
) -> Tensor:
    """The arithmetic mean over axes, of the elements where a mask holds; NaN of none."""
    a = tensor(a, dtype)
    axes = reduced_axes("mean", axis, a.ndim)
    return into(out, _in_dtype(_mean(a, axes, keepdims, _mask("mean", a, where)), dtype))


def _mean(a: Tensor, axes: tuple[int, ...], keepdims: bool, mask: Tensor | None) -> Tensor:
    if mask is None:
        return ops.mean(a, axes, keepdims)
    if a.dtype == np.float16:
        return _mean(a.astype(np.float32), axes, keepdims, mask).astype(np.float16)
    return ops.summation(masked(as_floats(a), mask), axes, keepdims) / _count(a, axes, keepdims, mask)


def _count(a: Tensor, axes: tuple[int, ...], keepdims: bool, mask: Tensor) -> Tensor:
    """How many elements the mask keeps, as a number to divide by that widens nothing."""
    count = discrete(np.count_nonzero, mask, axis=axes, keepdims=keepdims)
    return count.astype(discrete(np.real, a).dtype) if a.dtype.kind in "fc" else count


def var(
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
    """The mean of |a - mean|**2 over axes, of the elements where a mask holds.

    The sum is divided by the number of elements less `ddof`, which is also called `correction`. `mean`, if given, has
    the shape of a mean with kept axes. With as few elements as `ddof`, it is NaN.
    """
    a = tensor(a, dtype)
    axes = reduced_axes("var", axis, a.ndim)
    ddof = one_ddof("var", ddof, correction)
    mask = _mask("var", a, where)
    if mask is None and mean is None:
        return into(out, ops.var(a, axes, keepdims, ddof))
    return into(out, _var(a, axes, ddof, keepdims, mask, mean))


def std(
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
    """The square root of the variance, see `var`; its gradient is 0 where all elements are equal."""
    a = tensor(a, dtype)
    axes = reduced_axes("std", axis, a.ndim)
    ddof = one_ddof("std", ddof, correction)
    mask = _mask("std", a, where)
    if mask is None and mean is None:
        return into(out, ops.std(a, axes, keepdims, ddof))
    return into(out, _root(_var(a, axes, ddof, keepdims, mask, mean)))


def one_ddof(name: str, ddof: float, correction: Any) -> float:
    if correction is None:
        return ddof
    if ddof != 0:
        raise ValueError(
            f"{name}: ddof and correction can't be provided simultaneously. They are two names for one number, got "
            f"{ddof} and {correction}"
        )
    return correction


def _var(a: Tensor, axes: tuple[int, ...], ddof: float, keepdims: bool, mask: Tensor | None, center: Any) -> Tensor:
    if a.dtype == np.float16:
        return _var(a.astype(np.float32), axes, ddof, keepdims, mask, center).astype(np.float16)
    deviations = a - (_mean(a, axes, True, mask) if center is None else center)
    squares = (deviations * deviations.conj()).real if deviations.dtype.kind == "c" else deviations**2
    if mask is None:
        divisor = float(builtins.max(count_along(a.shape, axes) - ddof, 0))
        return ops.summation(squares, axes, keepdims) / divisor
    return ops.summation(masked(squares, mask), axes, keepdims) / maximum(_count(a, axes, keepdims, mask) - ddof, 0)


def _root(a: Tensor) -> Tensor:
    """The square root, with a gradient of 0 at 0."""
    zero = a == 0
    return choose(zero, 0, ops.sqrt(choose(zero, 1, a)))


def average(a: Any, axis: Axes = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    """The weighted mean over axes; with `returned`, also the sum of the weights.

    The weights have the shape of a, or that of the axes, in the order in which they are named.
    """
    a = tensor(a)
    axes = reduced_axes("average", axis, a.ndim)
    if weights is None:
        average = ops.mean(a, axes, keepdims)
        total: Any = constant(np.asarray(count_along(a.shape, axes), average.dtype))
    else:
        weights = weights_like("average", a, axis, tensor(weights))
        dtype = np.result_type(a.dtype, weights.dtype, *(() if a.dtype.kind in "fc" else (np.float64,)))
        weights = tensor(weights, dtype)
        total = sum(weights, axes, keepdims=keepdims)
        if array_of(total == 0).any():
            raise ZeroDivisionError("average: the weights add up to 0, so there is nothing to divide by")
        average = ops.summation(a * weights, axes, keepdims) / total
    return (average, filled_out(total, average.shape)) if returned else average


def weights_like(name: str, a: Tensor, axis: Axes, weights: Tensor) -> Tensor:
    """The weights broadcast to the shape of a."""
    if weights.shape == a.shape:
        return weights
    if axis is None:
        raise TypeError(
            f"{name}: weights of another shape than a ({weights.shape}, not {a.shape}) belong to axes; give axis="
        )
    given = [normal_axis(name, i, a.ndim) for i in several(axis)]
    if weights.shape != tuple(a.shape[i] for i in given):
        raise ValueError(
            f"{name}: weights must have the shape {a.shape} of a, or that of its axes {axis}, got {weights.shape}"
        )
    in_order = permute_dims(weights, tuple(np.argsort(given).tolist()))
    return in_order.reshape([n if i in given else 1 for i, n in enumerate(a.shape)]).broadcast_to(a.shape)


# ------------------------------------------------------------------------------------------------------- covariances


def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Tensor:
    """The covariance matrix of variables (the rows of m, and of y) that were observed together (the columns).

    `rowvar=False` for variables in columns. Observations count `fweights` times (integers), and weigh `aweights`. The
    divisor is their number less `ddof`, which is 1, or 0 with `bias`.
    """
    if ddof is not None and ddof != int(ddof):
        raise ValueError(f"cov: ddof must be an integer, got {ddof}")
    rows = [_variables("cov", x, rowvar) for x in (m, y) if x is not None]
    dtype = np.result_type(np.float64, *[x.dtype for x in rows]) if dtype is None else dtype
    x = concatenate([tensor(x, dtype) for x in rows])
    if x.shape[0] == 0:
        return x[:, :0]
    weights, total, divisor = _observations(x, fweights, aweights, (0 if bias else 1) if ddof is None else ddof)
    if not array_of(divisor > 0):
        warnings.warn(
            "cov: Degrees of freedom <= 0 for slice. There are no more observations than ddof",
            RuntimeWarning,
            stacklevel=2,
        )
        divisor = 0.0
    weighted = x if weights is None else x * weights
    deviations = x - ops.summation(weighted, 1, keepdims=True) / total
    others = (deviations if weights is None else deviations * weights).mT
    covariances = deviations @ (others.conj() if x.dtype.kind == "c" else others) / divisor
    return covariances.reshape(()) if covariances.shape == (1, 1) else covariances


def _variables(name: str, a: Any, rowvar: bool) -> Tensor:
    """A variable a row, an observation a column."""
    a = tensor(a)
    if a.ndim > 2:
        raise ValueError(f"{name}: needs one or two dimensions, variables and observations, got shape {a.shape}")
    if a.ndim < 2:
        return a.reshape((1, -1))
    return a if rowvar else a.mT


def _observations(x: Tensor, fweights: Any, aweights: Any, ddof: int) -> tuple[Tensor | None, Any, Any]:
    """The weights of observations, the sum of these, and the divisor of their covariances."""
    weights: Any = None
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is None:
            continue
        given = tensor(given)
        values = array_of(given)
        if given.shape != x.shape[1:]:
            raise ValueError(
                f"cov: {name} must have one number for each of {x.shape[1]} observations, got {given.shape}"
            )
        if (values < 0).any():
            raise ValueError(f"cov: {name} must not be negative, got {values.min()}")
        if name == "fweights" and (values != np.around(values)).any():
            raise TypeError("cov: fweights count observations, so they must be integers; aweights may be any numbers")
        given = tensor(given, np.result_type(given.dtype, np.float64))
        weights = given if weights is None else weights * given
    if weights is None:
        return None, float(x.shape[1]), float(x.shape[1] - ddof)
    total = ops.summation(weights)
    if ddof == 0 or aweights is None:
        return weights, total, total - ddof
    return weights, total, total - ddof * ops.summation(weights * tensor(aweights)) / total


def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Tensor:
    """The correlation coefficients of variables: their covariances, see `cov`, over their standard deviations."""
    covariances = cov(x, y, rowvar, dtype=dtype)
    if covariances.ndim == 0:
        return covariances / covariances
    i = np.arange(covariances.shape[0])
    deviations = ops.sqrt(covariances[i, i].real if covariances.dtype.kind == "c" else covariances[i, i])
    coefficients = covariances / deviations.reshape((-1, 1)) / deviations
    return coefficients + discrete(_beyond_one, coefficients)


def _beyond_one(a: Any) -> Any:
    """What takes rounding errors beyond 1 away."""
    clipped = np.clip(a.real, -1, 1)
    return (clipped + 1j * np.clip(a.imag, -1, 1) if a.dtype.kind == "c" else clipped) - a


# ------------------------------------------------------------------------------------------------------ accumulated


def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Tensor:
    """The sums of the elements up to each one along an axis; None for all elements in row-major order."""
    return into(out, _in_dtype(ops.cumsum(tensor(a, dtype), axis), dtype))


def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Tensor:
    """The products of the elements up to each one along an axis; None for all elements in row-major order."""
    return into(out, _in_dtype(ops.cumprod(tensor(a, dtype), axis), dtype))


def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, out: Any = None, include_initial: bool = False
) -> Tensor:
    """The sums of the elements up to each one along an axis, with `include_initial` starting from 0."""
    return into(out, _cumulative("cumulative_sum", cumsum, x, axis, dtype, 0 if include_initial else None))


def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, out: Any = None, include_initial: bool = False
) -> Tensor:
    """The products of the elements up to each one along an axis, with `include_initial` starting from 1."""
    return into(out, _cumulative("cumulative_prod", cumprod, x, axis, dtype, 1 if include_initial else None))


def _cumulative(name: str, function: Any, x: Any, axis: int | None, dtype: Any, first: int | None) -> Tensor:
    x = tensor(x)
    x = x if x.ndim else x.reshape(1)
    if axis is None and x.ndim > 1:
        raise ValueError(f"{name}: an array of shape {x.shape} has several axes; name one with axis=")
    axis = normal_axis(name, -1 if axis is None else axis, x.ndim)
    result = function(x, axis, dtype)
    if first is None:
        return result
    shape = kept_shape(x.shape, (axis,))
    return concatenate([constant(np.full(shape, first, result.dtype)), result], axis)
