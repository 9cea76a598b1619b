"""Reverse mode inside of other transforms: a tape around tensors that carry tangents, batches, or another tape.

At the top, the engine's own graph does this on arrays. Inside of a transform, the adjoints must themselves be
differentiated, or come in batches: so each operation is noted here with the tensors *inside* its inputs, and the rules,
which are written in Tensor operations, are applied to these.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np

from . import autograd
from .autograd import ZERO, Assigned, Op, Tensor, TensorTuple, Value, Wrapped, WrappedTuple, applied, original_of
from .memory import private
from .ops.tuples import MAKE_TENSOR_TUPLE, TupleGetItem

next_level = count(1).__next__
"""A level for a transform that starts: above those of all that are running."""


class Taped(Wrapped):
    """A tensor on a tape: `value`, the rule's `op` with the values of its inputs, and these inputs where they are on
    the tape, too (`parents`; None for the others). A variable has no op."""

    __slots__ = ("arrays", "parents", "rule", "values")
    arrays: tuple[Any, ...]
    """Those of the values as the op saw them, None for what is wrapped itself, or is not read."""
    parents: tuple[Taped | None, ...]
    values: tuple[Any, ...]
    rule: Op | None
    value: Any

    def __init__(
        self,
        level: int,
        value: Any,
        rule: Op | None = None,
        values: tuple[Any, ...] = (),
        parents: tuple[Taped | None, ...] = (),
    ):
        super().__init__(level, value)
        self.rule, self.values, self.parents = rule, values, parents
        reads = rule is not None and "inputs" in rule.saves  # what is not read may be written over
        self.arrays = tuple(
            [private(a._array) if reads and not isinstance(a, (Wrapped, WrappedTuple)) else None for a in values]
        )

    def twin(self) -> Taped:
        twin = Taped(self.level, self.value)
        twin.rule, twin.values, twin.parents, twin.arrays = self.rule, self.values, self.parents, self.arrays
        return twin

    def _parts(self, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The inputs that are on this tape (None for the others), and the values of all."""
        parents = tuple([a if type(a) is Taped and a.level == self.level else None for a in inputs])
        return parents, tuple([a if p is None else p.value for a, p in zip(inputs, parents, strict=True)])

    def gathered(self, members: tuple[Any, ...]) -> Taped:
        parents, values = self._parts(members)
        return Taped(self.level, MAKE_TENSOR_TUPLE(*values), MAKE_TENSOR_TUPLE, values, parents)

    def process(self, op: Op, inputs: tuple[Any, ...]) -> Any:
        parents, values = self._parts(inputs)
        out = op(*values)
        if op.discrete or autograd.is_recording() is False:
            return out
        node = Taped(self.level, out, op, values, parents)
        if not isinstance(out, TensorTuple):
            return node
        members = [Taped(self.level, out[i], TupleGetItem(i), (out,), (node,)) for i in range(len(out))]
        return WrappedTuple(members)


def pull_back(outputs: Sequence[tuple[Taped, Any]], variables: Sequence[Taped]) -> list[Any]:
    """The adjoint of each variable (None where no path leads to it), from those of the outputs."""
    variables = list(map(original_of, variables))  # f may have assigned to them
    order = autograd.find_topo_sort([output for output, _ in outputs], _parents_of)
    asked: set[Any] = set(variables)
    for node in order:
        if not asked.isdisjoint(node.parents):
            asked.add(node)
    adjoints: dict[Value, Any] = {}
    for output, adjoint in outputs:
        autograd.add_adjoint(adjoints, output, adjoint)
    for node in reversed(order):
        if node.rule is None or node not in adjoints:
            continue
        adjoint, output = autograd.total_adjoint(adjoints.pop(node), node.value), original_of(node.value)
        if adjoint is ZERO:
            autograd.pass_zero(adjoints, node.parents, asked)
            continue
        values = tuple([autograd.as_seen(a, array) for a, array in zip(node.values, node.arrays, strict=True)])
        inputs = zip(node.parents, values, strict=True)
        wanted = {value for parent, value in inputs if parent in asked}
        if not wanted:
            continue
        returned = autograd.apply_rule(node.rule, adjoint, applied(node.rule, values, output), wanted)
        for parent, g in zip(node.parents, returned, strict=True):
            if g is not None and parent is not None and parent in asked:
                autograd.add_adjoint(adjoints, parent, g)
    found = [adjoints.get(v) for v in variables]
    return [None if g is None else autograd.whole_adjoint(g, v.value) for g, v in zip(found, variables, strict=True)]


def _parents_of(node: Taped) -> list[Taped]:
    """A node's inputs on the tape: what they were when it was computed, if they were assigned to since."""
    if any(isinstance(p, Assigned) for p in node.parents):
        node.parents = tuple(map(original_of, node.parents))
    return [p for p in node.parents if p is not None]


def is_on_tape(value: Any, level: int) -> bool:
    """Whether a function's output depends on the variables of this tape."""
    return type(value) is Taped and value.level == level


def constant_like(value: Any, fill: float) -> Tensor:
    """A constant of a tensor's or an array's shape and gradient dtype."""
    return autograd.constant(np.full(value.shape, fill, autograd.gradient_dtype(value.dtype)))
