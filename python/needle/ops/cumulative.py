"""Cumulative sums and products.

The `axis` of these ops is negative, so a batch axis in front does not change it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import watching
from ..autograd import Tensor, TensorOp, as_value
from .base import Linear, given_axes, normalize_axes
from .discrete import Discrete
from .joining import Concatenate


def along(axis: int, part: Any) -> tuple[Any, ...]:
    """The index that takes this part of a negative axis."""
    return (..., part, *(slice(None),) * (-1 - axis))


BUT_FIRST, BUT_LAST = slice(1, None), slice(None, -1)


class _Cumulative(TensorOp):
    """An op that accumulates along an axis; with `reverse`, from its end."""

    __slots__ = ("axis", "reverse")

    def __init__(self, axis: int = -1, reverse: bool = False):
        self.axis = axis
        self.reverse = reverse

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return type(self)(self.axis, self.reverse)(*values)

    def _accumulated(self, function: Any, a: Any) -> Any:
        """The result of NumPy's function; float16 is accumulated in float32."""
        way = along(self.axis, slice(None, None, -1 if self.reverse else 1))
        if a.dtype == np.float16:
            return function(a[way], self.axis, np.float32)[way].astype(np.float16)
        return function(a[way], self.axis)[way]


class CumSum(_Cumulative, Linear):
    saves = ()
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return self._accumulated(np.cumsum, a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return CumSum(self.axis, not self.reverse).on(out_grad)


def cumsum(a: Any, axis: int | None = None, *, axes: int | None = None) -> Tensor:
    """The cumulative sum along an axis; None accumulates all elements in row-major order."""
    a, axis = _flat_or_along("cumsum", a, given_axes("cumsum", axes, axis))
    return CumSum(axis)(a)


class CumProd(_Cumulative):
    """y[k] = x[0] * ... * x[k].

    If no y is 0, the adjoint of x[i] is the sum of g[k] * y[k] over k >= i, divided by x[i]. The general rule does not
    divide: the adjoint is y[i-1] * r[i], with r[i] = g[i] + x[i+1] * r[i+1].
    """

    saves = ("inputs", "output")
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return self._accumulated(np.cumprod, a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, y = node.inputs[0], node.output
        if can_divide_by_factors(y):
            return CumSum(self.axis, not self.reverse).on(out_grad * y) / a
        after = Recurrence(self.axis, not self.reverse).on(self._links(a), out_grad)
        return product_before(a, self.axis, self.reverse) * after

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        a, y = node.inputs[0], node.output
        if can_divide_by_factors(y):
            return y * CumSum(self.axis, self.reverse).on(tangents[0] / a)
        moved = tangents[0] * product_before(a, self.axis, self.reverse)
        return Recurrence(self.axis, self.reverse).on(self._links(a), moved)

    def _links(self, a: Any) -> Any:
        """The factors between neighbouring elements of y."""
        return a[along(self.axis, BUT_LAST if self.reverse else BUT_FIRST)]


def cumprod(a: Any, axis: int | None = None, *, axes: int | None = None) -> Tensor:
    """The cumulative product along an axis; None accumulates all elements in row-major order.

    The gradient is exact at zeros as well.
    """
    a, axis = _flat_or_along("cumprod", a, given_axes("cumprod", axes, axis))
    return CumProd(axis)(a)


def _flat_or_along(name: str, a: Any, axis: int | None) -> tuple[Tensor, int]:
    a = as_value(a, name)
    if axis is None or a.ndim == 0:
        a = a.reshape(-1)
    (normal,) = normalize_axes(name, -1 if axis is None else axis, a.ndim)
    return a, normal - a.ndim


def product_before(a: Any, axis: int, reverse: bool = False) -> Any:
    """For each element, the product of those before it (1 for the first); with `reverse`, of those after it."""
    products = CumProd(axis, reverse).on(a[along(axis, BUT_FIRST if reverse else BUT_LAST)])
    one = np.ones(a[along(axis, slice(1))].shape, products.dtype)
    return Concatenate(axis).on(products, one) if reverse else Concatenate(axis).on(one, products)


def can_divide_by_factors(products: Any) -> bool:
    """Whether dividing a product by one factor gives the product of the others.

    It does if no product is 0, infinite or subnormal. False in a captured program, which must be right for all data.
    """
    return not watching.captures() and bool(Discrete(_all_normal).on(products))


def _all_normal(a: Any) -> Any:
    if a.dtype.kind not in "fc":
        return a.all()
    size, limits = np.abs(a), np.finfo(a.dtype)
    return np.min(size, initial=1) >= limits.tiny and np.max(size, initial=1) <= limits.max


class Recurrence(_Cumulative):
    """h[0] = b[0], h[t+1] = a[t] * h[t] + b[t+1] along an axis, which is one shorter in a than in b.

    With `reverse`, h[-1] = b[-1] and h[t] = a[t] * h[t+1] + b[t].
    """

    saves = ("inputs", "output")
    __slots__ = ()

    def compute(self, a: Any, b: Any) -> Any:
        way = slice(None, None, -1 if self.reverse else 1)
        a, b = np.moveaxis(a, self.axis, -1)[..., way], np.moveaxis(b, self.axis, -1)[..., way]
        shape = (*np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), b.shape[-1])
        b = np.broadcast_to(b.astype(np.result_type(a, b), copy=False), shape)
        return np.moveaxis(_by_pairs(a, b)[..., way], -1, self.axis)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, h = node.inputs[0], node.output
        by_b = Recurrence(self.axis, not self.reverse).on(a, out_grad)
        starts, ends = self._steps()
        return lambda: by_b[ends] * h[starts], by_b

    def _steps(self) -> tuple[Any, Any]:
        """The indices of the elements that the steps start from, and of those that they lead to."""
        first, last = along(self.axis, BUT_LAST), along(self.axis, BUT_FIRST)
        return (last, first) if self.reverse else (first, last)


def _by_pairs(a: Any, b: Any) -> Any:
    """The recurrence along the last axis, by recursive doubling.

    Two steps combine into one step of the same form, so a recurrence of half the length gives every second h.
    """
    n = b.shape[-1]
    if n < 2:
        return b
    first, second = a[..., ::2], a[..., 1::2]
    pairs = n // 2
    odd = _by_pairs(first[..., 1:] * second[..., : pairs - 1], first * b[..., : 2 * pairs : 2] + b[..., 1::2])
    h = np.empty((*odd.shape[:-1], n), odd.dtype)
    h[..., 1::2] = odd
    h[..., :1] = b[..., :1]
    h[..., 2::2] = second * odd[..., : second.shape[-1]] + b[..., 2::2]
    return h
