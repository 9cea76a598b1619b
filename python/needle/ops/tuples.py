"""Tuples of tensors as one value, and their members."""

from __future__ import annotations

from typing import Any

from ..autograd import Member, Tensor, TensorOp, TensorTuple, TensorTupleOp, WrappedTuple


class MakeTensorTuple(TensorTupleOp):
    notation = "make_tuple({inputs})"
    __slots__ = ()
    saves, view = (), True

    def compute(self, *arrays: Any) -> Any:
        return arrays

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return tangents


def make_tuple(*tensors: Any) -> TensorTuple:
    """A TensorTuple of these tensors."""
    return MAKE_TENSOR_TUPLE(*tensors)


class TupleGetItem(TensorOp):
    notation = "{0}[{index}]"
    saves, view = (), True
    __slots__ = ("index",)

    def __init__(self, index: int):
        self.index = index

    def compute(self, arrays: Any) -> Any:
        return arrays[self.index]

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return Member(self.index, out_grad)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return tangents[0][self.index]


def tuple_get_item(value: Any, index: int) -> Tensor:
    """Member `index` of a TensorTuple; negative indices count from its end."""
    if not isinstance(value, TensorTuple):
        raise TypeError(f"TupleGetItem: needs a TensorTuple, got {type(value).__name__}; make_tuple makes one")
    if isinstance(index, bool) or not hasattr(index, "__index__"):
        raise TypeError(f"TupleGetItem: the index must be an int, got {index!r}")
    size = len(value)
    if not -size <= index < size:
        raise IndexError(f"TupleGetItem: index {index} is out of range for a TensorTuple of {size}")
    if isinstance(value, WrappedTuple):
        return value.members[index]
    return TupleGetItem(int(index) % size)(value)


def members(value: TensorTuple) -> tuple[Tensor, ...]:
    """The members as a tuple."""
    return tuple(value)


def add_tuples(a: TensorTuple, b: Any) -> TensorTuple:
    """The member-wise sum of two tuples. Raises ValueError if their lengths differ."""
    if len(a) != len(b):
        raise ValueError(f"TensorTuple: cannot add tuples of {len(a)} and {len(b)} members")
    return make_tuple(*[x + y for x, y in zip(a, b, strict=True)])


MAKE_TENSOR_TUPLE = MakeTensorTuple()
