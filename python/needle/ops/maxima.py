"""The largest elements of windows, and what their derivatives are made of."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..autograd import ZERO, TensorOp, constant
from ..autograd import Masked as MaskedAdjoint
from .base import as_floats
from .joining import all_batched
from .pools import Pool, combined, like, lowest
from .selection import MASKED, chosen, masked_into


class MaxPool(TensorOp):
    """The largest element of each window."""

    notation = "max_pool({0}, {pool})"
    saves = ("inputs", "output")
    __slots__ = ("pool",)

    def __init__(self, pool: Pool):
        self.pool = pool

    def compute(self, a: Any) -> Any:
        return combined(np.maximum, a, self.pool, lowest(a.dtype))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, y, op = node.inputs[0], node.output, FromMaxima(self.pool)
        if isinstance(out_grad, np.ndarray):  # a sweep over arrays asks only whether there is a mask
            return MaskedAdjoint(op.on(out_grad, a, y), _EVERYWHERE)
        ones = constant(np.ones(y.shape, np.float32))
        return chosen(op.on(out_grad, a, y), op.on(ones, a, y) > 0)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return OfMaxima(self.pool).on(tangents[0], node.inputs[0], node.output)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return MaxPool(self.pool.behind_batch())(values[0])


class _WithMaxima(TensorOp):
    """An op on a value, on an array a and on the maxima y of its windows. It is linear in the value; a and y only say
    which elements are the largest of their windows."""

    saves = ("inputs",)
    __slots__ = ("pool",)
    transposed: type[_WithMaxima]

    def __init__(self, pool: Pool):
        self.pool = pool

    def compute(self, value: Any, a: Any, y: Any) -> Any:
        value = as_floats(value)
        wide = value.astype(np.float32) if value.dtype == np.float16 else value
        return self.moved(wide, *_maxima(a, y, self.pool)).astype(value.dtype, copy=False)

    def moved(self, value: Any, ties: Any, stages: list[_Stage]) -> Any:
        """The value at the other end of the stages from an array to the maxima of its windows. There are so many equal
        maxima in each window, or one in each if `ties` is None."""
        raise NotImplementedError

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return self.transposed(self.pool).on(out_grad, *node.inputs[1:]), ZERO, ZERO

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return None if tangents[0] is None else self.on(tangents[0], *node.inputs[1:])

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return type(self)(self.pool.behind_batch())(*all_batched(values, depths))

    def reaches(self, plain: tuple[Any, ...], masks: list[Any]) -> Any:
        mask = constant(np.ones(plain[0].shape, bool)) if masks[0] is None else masks[0]
        return self(mask.astype(np.float32), *plain[1:]) > 0, [None, None, None]


class FromMaxima(_WithMaxima):
    """To the largest elements of each window, equal shares of the window's value."""

    __slots__ = ()

    def moved(self, value: Any, ties: Any, stages: list[_Stage]) -> Any:
        value = value if ties is None else value / ties.astype(value.dtype)
        for stage in reversed(stages):
            value = stage.spread(value)
        return value


class OfMaxima(_WithMaxima):
    """The mean of the values at the largest elements of each window."""

    __slots__ = ()

    def moved(self, value: Any, ties: Any, stages: list[_Stage]) -> Any:
        for stage in stages:
            value = stage.collected(value)
        return value if ties is None else value / ties.astype(value.dtype)


FromMaxima.transposed, OfMaxima.transposed = OfMaxima, FromMaxima
_EVERYWHERE = np.True_


_FEW_TAPS = 4
"""Windows of at most so many elements are looked at as they are, not axis by axis."""


class _Stage(NamedTuple):
    """From an array to the maxima of its windows along one axis, or along all of them."""

    along: Pool
    a: Any
    masks: list[tuple[Any, Any, Any]]
    """For each tap: the index of its windows, that of its elements, and where these are their windows' maxima."""

    def spread(self, value: Any) -> Any:
        """Each window's value, to all of its maxima."""
        out = like(self.a, self.a.shape, value.dtype)
        if self.along.overlap or sum(mask.size for _, _, mask in self.masks) < out.size:
            out.fill(0)
        for windows, elements, mask in self.masks:
            if self.along.overlap:
                out[elements] += MASKED.compute(value[windows], mask)
            else:
                masked_into(out[elements], value[windows], mask)
        return out

    def collected(self, value: Any) -> Any:
        """The sum of the values of each window's maxima."""
        out = like(self.a, self.along.shape(self.a.shape), value.dtype)
        out.fill(0)
        for windows, elements, mask in self.masks:
            out[windows] += MASKED.compute(value[elements], mask)
        return out


def _maxima(a: Any, y: Any, pool: Pool) -> tuple[Any, list[_Stage]]:
    """How many elements of each window are its maximum y, None for one each; and the stages from a to y."""
    counts, stages = None, []
    taps, maxima = prod([w.taps for w in pool.windows]), y
    has_nan = y.dtype.kind in "fc" and bool(np.isnan(np.maximum.reduce(y, None, initial=-np.inf)))
    axes = [pool] if taps <= _FEW_TAPS else pool.along_each()
    for along in axes:
        y = maxima if along is axes[-1] else combined(np.maximum, a, along, lowest(a.dtype))
        nan = np.isnan(y) if has_nan else None
        total = like(y, y.shape, np.uint8 if taps < 256 else np.intp)
        total.fill(0)
        masks = []
        for windows, elements in along.taps(a.shape):
            mask = a[elements] == y[windows]
            if nan is not None:
                mask |= nan[windows] & np.isnan(a[elements])
            ones = mask.view(np.uint8)
            total[windows] += ones if counts is None else ones * counts[elements]
            masks.append((windows, elements, mask))
        stages.append(_Stage(along, a, masks))
        counts = total if counts is not None or total.max(initial=0) > 1 else None
        a = y
    return (None if counts is None else np.maximum(counts, 1)), stages
