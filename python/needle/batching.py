"""A batch of values that the program sees as one, to compute all rows of a Jacobian in one run."""

from __future__ import annotations

from typing import Any

import numpy as np

from .autograd import Op, Tensor, TensorTuple, Wrapped, WrappedTuple, constant
from .ops.indexing import GetItem
from .ops.joining import stack
from .ops.tuples import make_tuple


class Batched(Wrapped):
    """Tensors of one shape, stacked along the first axis of `value`, which the program does not see."""

    __slots__ = ()

    def twin(self) -> Batched:
        return Batched(self.level, self.value)

    def laid_out(self) -> Any:
        batch = super().laid_out()
        return batch[0] if len(batch) else np.empty(batch.shape[1:])

    def gathered(self, members: tuple[Any, ...]) -> Batched:
        size = self.value.shape[0]
        whole = [a.value if type(a) is Batched and a.level == self.level else stack([a] * size) for a in members]
        return Batched(self.level, make_tuple(*whole))

    def process(self, op: Op, inputs: tuple[Any, ...]) -> Any:
        mine = [type(a) is Batched and a.level == self.level for a in inputs]
        values = tuple([a.value if is_mine else a for a, is_mine in zip(inputs, mine, strict=True)])
        tuples = any(isinstance(a, TensorTuple) for a in values)
        depths = tuple(
            [(0 if tuples else a.ndim) if is_mine else None for a, is_mine in zip(inputs, mine, strict=True)]
        )
        out = NotImplemented if tuples else op.batched(values, depths)
        if out is NotImplemented:
            out = _one_by_one(op, values, depths, self.value.shape[0])
        if isinstance(out, (TensorTuple, tuple)):
            return WrappedTuple([Batched(self.level, member) for member in out])
        return Batched(self.level, out)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape[1:]

    def detach(self) -> Tensor:
        return Batched(self.level, self.value.detach())

    def _refuse(self, *_: Any) -> Any:
        raise TypeError(
            f"the value of a tensor of shape {self.shape} was asked for inside a batched transform (jacobian, "
            "hessian), where it stands for many values; use needle.where for a choice that depends on it"
        )

    numpy = item = tolist = __bool__ = __index__ = _refuse


def _one_by_one(op: Op, values: tuple[Any, ...], depths: tuple[int | None, ...], size: int) -> Any:
    pairs = list(zip(values, depths, strict=True))
    outs = [op(*[a if depth is None else _member(a, i) for a, depth in pairs]) for i in range(size)]
    if not outs:  # an empty batch: find the shape by a member of zeros
        one = [a if depth is None else _zeros_like_member(a) for a, depth in pairs]
        shapes = op(*one)
        empty = [
            constant(np.zeros((0, *y.shape), y.dtype))
            for y in (shapes if isinstance(shapes, TensorTuple) else [shapes])
        ]
        return tuple(empty) if isinstance(shapes, TensorTuple) else empty[0]
    if isinstance(outs[0], TensorTuple):
        return tuple(stack([out[i] for out in outs]) for i in range(len(outs[0])))
    return stack(outs)


def _member(a: Any, i: int) -> Any:
    return make_tuple(*[GetItem(i)(member) for member in a]) if isinstance(a, TensorTuple) else GetItem(i)(a)


def _zeros_like_member(a: Any) -> Any:
    if isinstance(a, TensorTuple):
        return make_tuple(*map(_zeros_like_member, a))
    return constant(np.zeros(a.shape[1:], a.dtype))
