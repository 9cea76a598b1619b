"""Functions without a derivative: comparisons, bit operations, positions, predicates. Their results are constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import watching
from ..autograd import Op, Tensor, TensorOp, TensorTupleOp, as_value, constant, explain, watched_call
from ..backend import as_array
from .base import NUMBERS, aligned, broadcast_hint, operands

_SYMBOLS: dict[Any, str] = {
    np.equal: "==",
    np.not_equal: "!=",
    np.less: "<",
    np.less_equal: "<=",
    np.greater: ">",
    np.greater_equal: ">=",
    np.bitwise_and: "&",
    np.bitwise_or: "|",
    np.bitwise_xor: "^",
    np.invert: "~",
    np.left_shift: "<<",
    np.right_shift: ">>",
}
_SYMMETRIC: list[np.ufunc] = [np.equal, np.not_equal, np.logical_and, np.logical_or, np.logical_xor]
_SYMMETRIC += [np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.gcd, np.lcm]
_MIRRORED: dict[np.ufunc, np.ufunc] = {
    **{ufunc: ufunc for ufunc in _SYMMETRIC},
    np.less: np.greater,
    np.less_equal: np.greater_equal,
    np.greater: np.less,
    np.greater_equal: np.less_equal,
}
"""ufunc -> the one with mirrored(b, a) = ufunc(a, b)."""


SHAPED_BY_DATA: set[Any] = {np.arange, np.argwhere, np.bincount, np.flatnonzero, np.intersect1d, np.nonzero}
"""Functions whose output shape depends on the elements, so that a call reads these."""


class _Constant(Op):
    """A function of arrays, and its further arguments, whose results are constants."""

    __slots__ = ("function", "more", "options")
    saves, discrete = (), True

    def __init__(self, function: Callable[..., Any], *more: Any, **options: Any):
        self.function = function
        self.more = more
        self.options = options

    def __call__(self, *inputs: Any) -> Any:
        values = tuple([as_value(a, self) for a in inputs])
        try:
            arrays = tuple([a._array for a in values])
        except AttributeError:
            return super().__call__(*values)
        if watching.active and watching.here():
            if self.function in SHAPED_BY_DATA:
                for array in arrays:
                    watching.tell("read", array, f"{self.function.__name__.strip('_')}()")
            return watched_call(self, values)
        try:
            out = as_array(self.compute(*arrays))
        except (ValueError, TypeError, OverflowError) as error:
            explain(error, self, arrays)
        return constant(out, self.makes)

    def compute(self, *arrays: Any) -> Any:
        return self.function(*arrays, *self.more, **self.options)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return None

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths)) if isinstance(self.function, np.ufunc) else NotImplemented

    def hint(self, *arrays: Any) -> str:
        return broadcast_hint(*arrays) if isinstance(self.function, np.ufunc) else ""

    def __repr__(self) -> str:
        return self.function.__name__


class Discrete(_Constant, TensorOp):
    """A constant function with one result."""

    __slots__ = ()

    @property
    def notation(self) -> str:
        symbol = _SYMBOLS.get(self.function)
        if symbol is None:
            return ""
        if self.function is np.invert:
            return f"{symbol}{{0}}"
        return f"{{0}} {symbol} {self.more[0] if self.more else '{1}'}"


class DiscreteTuple(_Constant, TensorTupleOp):
    """A constant function with several results."""

    __slots__ = ()


def discrete(function: Callable[..., Any], *inputs: Any, **options: Any) -> Tensor:
    """The function's result for the inputs' arrays, as a constant."""
    return Discrete(function, **options)(*inputs)


def discrete_tuple(function: Callable[..., Any], *inputs: Any, **options: Any) -> tuple[Tensor, ...]:
    """The function's results for the inputs' arrays, as constants."""
    return tuple(DiscreteTuple(function, **options)(*inputs))


def compared(ufunc: np.ufunc, a: Any, b: Any) -> Tensor:
    """The ufunc of two operands, as a constant. A Python number need not fit the other operand's dtype."""
    if type(b) in NUMBERS and type(a) not in NUMBERS:
        return Discrete(ufunc, b)(a)
    if type(a) in NUMBERS and type(b) not in NUMBERS and ufunc in _MIRRORED:
        return Discrete(_MIRRORED[ufunc], a)(b)
    return Discrete(ufunc)(*operands(a, b))


def equal(a: Any, b: Any) -> Tensor:
    """a == b, element by element."""
    return compared(np.equal, a, b)


def is_same(a: Any, b: Any) -> Any:
    """a == b, where NaN equals NaN."""
    return (a == b) | (np.isnan(a) & np.isnan(b))


def not_equal(a: Any, b: Any) -> Tensor:
    """a != b, element by element."""
    return compared(np.not_equal, a, b)


def less(a: Any, b: Any) -> Tensor:
    """a < b, element by element."""
    return compared(np.less, a, b)


def less_equal(a: Any, b: Any) -> Tensor:
    """a <= b, element by element."""
    return compared(np.less_equal, a, b)


def greater(a: Any, b: Any) -> Tensor:
    """a > b, element by element."""
    return compared(np.greater, a, b)


def greater_equal(a: Any, b: Any) -> Tensor:
    """a >= b, element by element."""
    return compared(np.greater_equal, a, b)


def bitwise_and(a: Any, b: Any) -> Tensor:
    """a & b, for booleans and integers."""
    return compared(np.bitwise_and, a, b)


def bitwise_or(a: Any, b: Any) -> Tensor:
    """a | b, for booleans and integers."""
    return compared(np.bitwise_or, a, b)


def bitwise_xor(a: Any, b: Any) -> Tensor:
    """a ^ b, for booleans and integers."""
    return compared(np.bitwise_xor, a, b)


def left_shift(a: Any, b: Any) -> Tensor:
    """a << b, for integers."""
    return compared(np.left_shift, a, b)


def right_shift(a: Any, b: Any) -> Tensor:
    """a >> b, for integers."""
    return compared(np.right_shift, a, b)


def invert(a: Any) -> Tensor:
    """~a, for booleans and integers."""
    return discrete(np.invert, a)
