"""Choosing between elements, and what has no derivative: comparisons and bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import watching
from ..autograd import Branch, Tensor, TensorOp, as_value, constant, explain, wanted, watched_call
from ..backend import as_array
from .base import NUMBERS, Elementwise, Linear, aligned, broadcast_hint, operands

_BITS = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}


class Masked(Linear):
    """a where a boolean mask holds, 0 elsewhere: a structural zero, through which no NaN passes."""

    __slots__ = ()
    saves, elementwise = ("inputs",), True

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))

    def compute(self, a: Any, mask: Any) -> Any:
        bits = _BITS.get(a.dtype)
        if bits is None or a.shape != mask.shape or not a.ndim or not a.flags.c_contiguous:
            return np.where(mask, a, a.dtype.type(0))
        # True as an integer is 1, and -1 has all bits set: ANDing them takes half the time that choosing does.
        keep = mask.astype(bits, "C")
        np.negative(keep, out=keep)
        return np.bitwise_and(a.view(bits), keep, out=keep).view(a.dtype)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return branch(out_grad, node.inputs[1]), None


def masked(a: Any, mask: Any) -> Tensor:
    """a where the boolean mask holds, 0 elsewhere."""
    return MASKED(a, mask)


def branch(out_grad: Tensor, mask: Tensor) -> Branch:
    """For gradient rules: out_grad for what was chosen where the mask holds."""
    return Branch(masked(out_grad, mask), mask)


class Where(Elementwise):
    saves, takes_out = ("inputs",), False

    def compute(self, condition: Any, a: Any, b: Any) -> Any:
        return np.where(condition, a, b)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        condition, a, b = node.inputs
        mask = condition.broadcast_to(out_grad.shape)
        return (
            None,
            branch(out_grad, mask) if wanted(a) else None,
            branch(out_grad, ~mask) if wanted(b) else None,
        )


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """a where the condition holds, else b; the branch not taken contributes nothing, not even a NaN."""
    condition = as_value(condition)
    if condition.dtype.kind != "b":
        condition = condition != 0
    return WHERE(condition, *operands(a, b))


_SYMBOLS = {
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "bitwise_xor": "^",
    "invert": "~",
    "left_shift": "<<",
    "right_shift": ">>",
}


class Discrete(TensorOp):
    """A ufunc whose results nobody differentiates: comparisons, and operations on bits. Its output is a constant."""

    __slots__ = ("scalar", "ufunc")
    saves, discrete = (), True

    def __init__(self, ufunc: str, scalar: Any = None):
        self.ufunc = ufunc
        self.scalar = scalar

    @property
    def notation(self) -> str:
        symbol = _SYMBOLS[self.ufunc]
        return (
            f"{symbol}{{0}}"
            if self.ufunc == "invert"
            else f"{{0}} {symbol} {'{1}' if self.scalar is None else '{scalar}'}"
        )

    def __repr__(self) -> str:
        return self.ufunc

    def __call__(self, *inputs: Any) -> Any:
        values = [as_value(a, self) for a in inputs]
        try:
            arrays = [a._array for a in values]
        except AttributeError:
            return super().__call__(*values)
        if watching.active and watching.here():
            return watched_call(self, inputs)
        try:
            return constant(as_array(self.compute(*arrays)))
        except (ValueError, TypeError, OverflowError) as error:
            explain(error, self, tuple(arrays))

    def compute(self, *arrays: Any) -> Any:
        ufunc = getattr(np, self.ufunc)
        return ufunc(*arrays) if self.scalar is None else ufunc(*arrays, self.scalar)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return None

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))

    def hint(self, *arrays: Any) -> str:
        return broadcast_hint(*arrays)


def _discrete(ufunc: str, a: Any, b: Any) -> Tensor:
    if type(b) in NUMBERS and type(a) not in NUMBERS:
        return Discrete(ufunc, b)(a)
    return Discrete(ufunc)(*operands(a, b))


def equal(a: Any, b: Any) -> Tensor:
    """a == b, element by element."""
    return _discrete("equal", a, b)


def not_equal(a: Any, b: Any) -> Tensor:
    """a != b, element by element."""
    return _discrete("not_equal", a, b)


def less(a: Any, b: Any) -> Tensor:
    """a < b, element by element."""
    return _discrete("less", a, b)


def less_equal(a: Any, b: Any) -> Tensor:
    """a <= b, element by element."""
    return _discrete("less_equal", a, b)


def greater(a: Any, b: Any) -> Tensor:
    """a > b, element by element."""
    return _discrete("greater", a, b)


def greater_equal(a: Any, b: Any) -> Tensor:
    """a >= b, element by element."""
    return _discrete("greater_equal", a, b)


def bitwise_and(a: Any, b: Any) -> Tensor:
    """a & b, for booleans and integers."""
    return _discrete("bitwise_and", a, b)


def bitwise_or(a: Any, b: Any) -> Tensor:
    """a | b, for booleans and integers."""
    return _discrete("bitwise_or", a, b)


def bitwise_xor(a: Any, b: Any) -> Tensor:
    """a ^ b, for booleans and integers."""
    return _discrete("bitwise_xor", a, b)


def left_shift(a: Any, b: Any) -> Tensor:
    """a << b, for integers."""
    return _discrete("left_shift", a, b)


def right_shift(a: Any, b: Any) -> Tensor:
    """a >> b, for integers."""
    return _discrete("right_shift", a, b)


def invert(a: Any) -> Tensor:
    """~a, for booleans and integers."""
    return Discrete("invert")(a)


MASKED, WHERE = Masked(), Where()
