"""Choosing between elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Masked as MaskedAdjoint
from ..autograd import Tensor, as_value, constant, unmasked
from .base import Elementwise, Linear, aligned, operands

_BITS = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}


class Masked(Linear):
    """a where a boolean mask is True, and a structural zero elsewhere, which stops NaN."""

    __slots__ = ()
    saves, elementwise = ("inputs",), True

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))

    def compute(self, a: Any, mask: Any) -> Any:
        bits = _BITS.get(a.dtype)
        if bits is None or not a.ndim:
            return np.where(mask, a, a.dtype.type(0))
        return np.multiply(a.view(bits), mask).view(a.dtype)  # in a third of the time of np.where

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return chosen(out_grad, node.inputs[1]), None

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return zeroed(tangents[0], node.inputs[1])


def masked(a: Any, mask: Any) -> Tensor:
    """a where the boolean mask is True, 0 elsewhere."""
    return MASKED(a, mask)


def zeroed(a: Any, mask: Any) -> Any:
    """For rules: a where the mask is True, and 0 elsewhere, even where a is NaN or infinite."""
    return MASKED.on(a, mask)


def masked_into(out: Any, a: Any, mask: Any) -> None:
    """For kernels: a where the mask is True, and 0 elsewhere, written into an array of a's dtype."""
    bits = _BITS.get(a.dtype)
    if bits is None or not a.ndim:
        out[...] = np.where(mask, a, a.dtype.type(0))
    else:
        np.multiply(a.view(bits), mask, out=out.view(bits))


def chosen(out_grad: Any, mask: Any) -> Any:
    """For gradient rules: out_grad where the mask is True, and a structural zero elsewhere."""
    if isinstance(out_grad, (np.ndarray, np.generic)):
        return MaskedAdjoint(MASKED.compute(out_grad, mask), mask)
    value = zeroed(unmasked(out_grad), mask)
    mask = mask if isinstance(mask, Tensor) else constant(mask)
    mask = mask if mask.shape == value.shape else mask.broadcast_to(value.shape)
    return MaskedAdjoint(value, out_grad.mask & mask if isinstance(out_grad, MaskedAdjoint) else mask)


class Where(Elementwise):
    saves = ("inputs",)

    def compute(self, condition: Any, a: Any, b: Any) -> Any:
        return np.where(condition, a, b)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        condition = node.inputs[0]
        return None, lambda: chosen(out_grad, condition), lambda: chosen(out_grad, ~condition)


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """a where the condition is True, else b. The gradient of the other one is a structural zero, which stops NaN."""
    condition = as_value(condition)
    if condition.dtype.kind != "b":
        condition = condition != 0
    return WHERE(condition, *operands(a, b))


MASKED, WHERE = Masked(), Where()
