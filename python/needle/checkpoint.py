"""Checkpointing trades time for memory: the backward pass computes a function's intermediate values again."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

from . import autograd, watching
from .autograd import DETACHED, RECORDED, Assigned, Tensor, TensorTuple, TensorTupleOp, Wrapped, constant
from .custom import Call
from .memory import as_recorded, private
from .nested import flatten
from .watching import Watcher

Step = tuple[Any, tuple[int, ...], Any]
"""An operation: the op, the places of its inputs, and its output's array, or None if it is to be computed again."""


class _Notes(Watcher):
    """Notes the recorded operations while it watches. Every value has a place: its operation's number, or a negative
    number if none of them made it. Then it comes from outside."""

    inside = False

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.given: list[tuple[Any, Any]] = []
        """The values from outside, and their arrays as an operation saw them."""
        self._places: dict[int, tuple[weakref.ref[Any], int]] = {}  # weak: what f drops is freed

    def place_of(self, a: Any) -> int:
        array = private(a._array)
        entry: Any = self._places.get(id(a))
        if entry is not None and entry[0]() is a and array is a._array:
            place = entry[1]
            is_as_noted = a.op is self.steps[place][0] if place >= 0 else self.given[~place][1] is array
            if is_as_noted:  # it has not been set since
                return place
        self.given.append((a, array))
        return self._note(a, -len(self.given))

    def _note(self, a: Any, place: int) -> int:
        self._places[id(a)] = weakref.ref(a), place
        return place

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        if output.op is op:  # else it is a constant
            again = op.on_arrays or isinstance(op, Checkpoint)  # a user's op may compute something else the next time
            self.steps.append((op, tuple(map(self.place_of, inputs)), None if again else private(output._array)))
            self._note(output, len(self.steps) - 1)

    def behind(self, outputs: Sequence[int]) -> list[int]:
        """The places of these outputs and of all that they were computed from, in order."""
        found, stack = set(outputs), list(outputs)
        while stack:
            place = stack.pop()
            new = set(self.steps[place][1]).difference(found) if place >= 0 else ()
            found.update(new)
            stack.extend(new)
        return sorted(found)


class Checkpoint(TensorTupleOp):
    """One run of a function as an op. Its inputs are the recorded tensors from outside that the outputs depend on.

    It keeps the operations, without the values that they computed, and repeats them in the backward pass.
    """

    __slots__ = ("_constants", "_inputs", "_name", "_outputs", "_steps", "_values")
    same_inputs, on_arrays = True, False
    _values: Any

    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return f"checkpoint({self._name})"

    def apply(self, call: Call) -> Any:
        """The function's outputs, in its structure."""
        leaves = [call.leaves[i] for i in call.where]
        given = list(map(autograd.renamed, leaves))
        with _Notes() as notes:
            outputs, rebuild = flatten(call.run(given))
            # A transform that wraps values follows them one by one, without a checkpoint.
            where = [i for i, y in enumerate(outputs) if isinstance(y, Tensor) and not isinstance(y, Wrapped)]
            places = [notes.place_of(outputs[i]) for i in where]  # and deferred values are computed
        self._check_arguments(given, leaves)
        where = [i for i, place in zip(where, places, strict=True) if place >= 0]
        if where and autograd.is_grad_enabled():
            self._outputs = [place for place in places if place >= 0]
            self._values = tuple([outputs[i]._array for i in where])
            for i, y in zip(where, self(*self._keep(notes)), strict=True):
                outputs[i] = y
        return rebuild(iter(outputs))

    def _check_arguments(self, given: Sequence[Any], leaves: Sequence[Any]) -> None:
        for a, leaf in zip(given, leaves, strict=True):
            if isinstance(a, Assigned) or (not isinstance(a, Wrapped) and a._array is not leaf._array):
                raise ValueError(
                    f"checkpoint: {self._name} assigns to its argument of shape {a.shape}, which the backward pass "
                    "starts from again; let it assign to a copy: x = x.copy()"
                )

    def _keep(self, notes: _Notes) -> list[Any]:
        """Keep what the outputs are computed from, and return the inputs."""
        self._steps, self._constants, self._inputs, inputs = [], [], [], []
        for place in notes.behind(self._outputs):
            if place >= 0:
                self._steps.append((place, *notes.steps[place]))
                continue
            value, array = notes.given[~place]
            value = autograd.original_of(value)  # the function may have assigned to it
            if value.needs > autograd.CONSTANT:
                self._inputs.append(place)
                inputs.append(value if value._array is array else autograd.alias_of(value, array))
            else:
                self._constants.append((place, array))
        return inputs

    def compute(self, *arrays: Any) -> Any:
        values, self._values = self._values, None
        if values is not None:
            return values
        with autograd.no_grad():
            return tuple([y._array for y in self._again(list(map(_constant, arrays)))])

    def _again(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs, computed again from these inputs."""
        values = {place: _constant(array) for place, array in self._constants}
        values.update(zip(self._inputs, inputs, strict=True))
        for place, op, places, array in self._steps:
            given = tuple([values[i] for i in places])
            values[place] = op(*given) if array is None else _recorded(op, given, array)
        return [values[place] for place in self._outputs]

    def gradient(self, out_grad: Any, node: Any) -> Any:
        given = list(map(autograd.renamed, node.inputs))
        with autograd.enable_grad():
            outputs = self._again(given)
        wanted = [v for v, a in zip(given, node.inputs, strict=True) if autograd.wanted(a)]
        found = pulled_back(outputs, out_grad, wanted)
        return tuple(map(found.get, given))


def _constant(array: Any) -> Any:
    return constant(as_recorded(array), TensorTuple if type(array) is tuple else Tensor)


def _recorded(op: Any, inputs: tuple[Any, ...], array: Any) -> Any:
    """op(*inputs) with this array as its value, which is not computed again."""
    output = constant(as_recorded(array), op.makes)
    if autograd.is_recorded(*inputs):
        output.op, output.inputs, output.needs = op, inputs, RECORDED
        output.saved = tuple([a._array for a in inputs]) if "inputs" in op.saves else None
    return output


def pulled_back(outputs: Sequence[Any], out_grad: Sequence[Any], variables: Sequence[Any]) -> dict[Any, Any]:
    """Inside a gradient rule: the adjoints of the variables that these outputs were computed from, by variable."""
    adjoints: dict[Any, Any] = {}
    for y, g in zip(outputs, out_grad, strict=True):
        if g is not None and y.needs > DETACHED:
            autograd.add_adjoint(adjoints, y, g)
    return dict(autograd.sweep(adjoints, variables, tensors=True, record=autograd.recording_mode(), inner=True))


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """f without its intermediate values: the backward pass repeats the operations that f ran.

    f itself runs once, with all that it does besides. All derivatives are those of f, by its arguments and by what it
    closes over. Constants (random numbers, masks) and the outputs of ops that users wrote are kept. In forward mode and
    nested transforms, nothing is dropped. Raises ValueError if f assigns to an argument.

    >>> import needle as ndl
    >>> W = ndl.Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> layer = ndl.checkpoint(lambda h: ndl.tanh(h @ W))
    >>> layer(layer(ndl.Tensor([0.1, 0.2]))).sum().backward()
    >>> W.grad.shape
    (2, 2)
    """

    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if not autograd.is_grad_enabled() or watching.captures():  # a capture decides what is kept
            return f(*args, **kwargs)
        return Checkpoint(getattr(f, "__name__", type(f).__name__)).apply(Call(f, args, kwargs))

    return update_wrapper(checkpointed, f) if hasattr(f, "__name__") else checkpointed
