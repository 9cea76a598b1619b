"""Reverse mode inside other transforms: a tape around tensors that carry tangents, batches, or another tape.

At the top, the engine's own graph does this on arrays. Inside a transform, the adjoints must themselves be
differentiated, or come in batches: so each operation is noted here with the tensors *inside* its inputs, and the same
sweep pulls adjoints back over these notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import autograd
from .autograd import CONSTANT, RECORDED, Node, Op, Tensor, TensorTuple, Wrapped, WrappedTuple, applied, original_of
from .closures import check_levels
from .level import Level
from .memory import private
from .ops.tuples import MAKE_TENSOR_TUPLE, TupleGetItem


class Place:
    """A place on a tape: an output, the op that made it, the values of the op's inputs, and their places (`NOWHERE` for
    those that are not on this tape). That of a variable has no op."""

    __slots__ = ("arrays", "inputs", "needs", "op", "output", "values")

    def __init__(self, output: Any, op: Any = None, values: tuple[Any, ...] = (), inputs: tuple[Place, ...] = ()):
        self.output, self.op, self.values, self.inputs = output, op, values, inputs
        self.needs = RECORDED
        reads = op is not None and "inputs" in op.saves  # what is not read may be written over
        plain = [reads and not isinstance(a, (Wrapped, WrappedTuple)) for a in values]
        self.arrays = tuple([private(a._array) if p else None for a, p in zip(values, plain, strict=True)])

    def seen(self) -> Any:
        """What a gradient rule sees here: the values as the op saw them."""
        values = tuple([autograd.as_seen(a, array) for a, array in zip(self.values, self.arrays, strict=True)])
        output = original_of(self.output)
        return Node(values, output) if self.op.on_arrays else applied(self.op, values, output)

    shape = property(lambda self: self.output.shape)
    dtype = property(lambda self: self.output.dtype)

    def __len__(self) -> int:
        return len(self.output)


NOWHERE = Place(None)
NOWHERE.needs = CONSTANT


class Taped(Wrapped):
    """A tensor on a tape, and its place there."""

    __slots__ = ("place",)
    level: Level
    place: Place

    def __init__(self, level: Level, value: Any, place: Place | None = None):
        super().__init__(level, value)
        level.note(self)
        self.place = Place(value) if place is None else place

    def twin(self) -> Taped:
        return Taped(self.level, self.value, self.place)

    def _parts(self, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Place, ...]]:
        """The values of the inputs, and their places."""
        values, taped = self.opened(inputs)
        return values, tuple([NOWHERE if a is None else a.place for a in taped])

    def gathered(self, members: tuple[Any, ...]) -> Taped:
        values, places = self._parts(members)
        out = MAKE_TENSOR_TUPLE(*values)
        return Taped(self.level, out, Place(out, MAKE_TENSOR_TUPLE, values, places))

    def process(self, op: Op, inputs: tuple[Any, ...]) -> Any:
        values, places = self._parts(inputs)
        out = op(*values)
        if op.discrete or autograd.recording_mode() is False:
            return out
        place = Place(out, op, values, places)
        if not isinstance(out, TensorTuple):
            return Taped(self.level, out, place)
        members = [(out[i], TupleGetItem(i)) for i in range(len(out))]
        return WrappedTuple([Taped(self.level, y, Place(y, get, (out,), (place,))) for y, get in members])


def pull_back(outputs: Sequence[tuple[Taped, Any]], variables: Sequence[Taped]) -> list[Any]:
    """The adjoint of each variable (None where no path leads to it), from those of the outputs."""
    adjoints: dict[Any, Any] = {}
    for output, adjoint in outputs:
        autograd.add_adjoint(adjoints, output.place, adjoint)
    places = [original_of(v).place for v in variables]  # f may have assigned to them
    record = autograd.recording_mode()
    found = dict(autograd.sweep(adjoints, places, tensors=True, record=record, see=Place.seen, careful=True))
    check_levels(variables[0].level, found.values(), [g for _, g in outputs], [y.place for y, _ in outputs])
    return [found.get(place) for place in places]


def is_on_tape(value: Any, level: int | None) -> bool:
    """Whether a function's output depends on the variables of this tape."""
    return type(value) is Taped and value.level == level


def constant_like(value: Any, fill: float) -> Tensor:
    """A constant of a tensor's or an array's shape and gradient dtype."""
    return autograd.constant(np.full(value.shape, fill, autograd.gradient_dtype(value.dtype)))
