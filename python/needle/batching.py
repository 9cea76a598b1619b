"""A batch of values that the program sees as one, to compute all rows of a Jacobian in one run."""

from __future__ import annotations

from typing import Any

import numpy as np

from .autograd import Op, Tensor, TensorTuple, Wrapped, WrappedTuple, constant
from .ops.indexing import GetItem
from .ops.joining import stack
from .ops.tuples import make_tuple


class BatchedValueError(TypeError):
    """The value of a batch was asked for."""


class Batched(Wrapped):
    """Tensors of one shape, stacked along the first axis of `value`, which the program does not see."""

    __slots__ = ()

    def twin(self) -> Batched:
        return Batched(self.level, self.value)

    def laid_out(self) -> Any:
        batch = super().laid_out()
        return batch[0] if len(batch) else np.empty(batch.shape[1:])

    def gathered(self, members: tuple[Any, ...]) -> Batched:
        values, mine = self.opened(members)
        pairs = zip(values, mine, strict=True)
        return Batched(self.level, make_tuple(*[stack([a] * len(self.value)) if b is None else a for a, b in pairs]))

    def process(self, op: Op, inputs: tuple[Any, ...]) -> Any:
        values, mine = self.opened(inputs)
        single = not any(isinstance(a, TensorTuple) for a in values)
        out = op.batched(values, tuple([None if a is None else a.ndim for a in mine])) if single else NotImplemented
        if out is NotImplemented:
            out = one_by_one(op, values, mine, self.value.shape[0])
        if isinstance(out, (TensorTuple, tuple)):
            return WrappedTuple([Batched(self.level, member) for member in out])
        return Batched(self.level, out)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape[1:]

    def detach(self) -> Tensor:
        return Batched(self.level, self.value.detach())

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise BatchedValueError(
            f"the value of a tensor of shape {self.shape} was asked for inside a batched transform (jacobian, "
            "hessian), where it stands for many values; use needle.where for a choice that depends on it"
        )

    numpy = item = tolist = __bool__ = __index__ = __array__ = _refuse


def one_by_one(op: Any, values: tuple[Any, ...], batched: tuple[Any, ...], size: int) -> Any:
    """The outputs for one member after the other; for an empty batch, those for zeros, of which none is kept."""
    pairs = list(zip(values, batched, strict=True))
    outs = [op(*[a if b is None else _member(a, i, size) for a, b in pairs]) for i in range(max(size, 1))]
    many = isinstance(outs[0], TensorTuple)
    stacks = [stack([out[k] for out in outs]) for k in range(len(outs[0]))] if many else [stack(outs)]
    kept = tuple(stacks if size else [a[:0] for a in stacks])
    return kept if many else kept[0]


def _member(a: Any, i: int, size: int) -> Any:
    if isinstance(a, TensorTuple):
        return make_tuple(*[_member(member, i, size) for member in a])
    return GetItem(i)(a) if size else constant(np.zeros(a.shape[1:], a.dtype))
