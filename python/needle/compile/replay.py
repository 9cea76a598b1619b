"""A captured function: where its inputs come from, what it gives, what it changes; and how to do that again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any

import numpy as np
from numpy import ndarray

from .. import autograd
from ..autograd import RECORDED, Tensor, TensorOp, TensorTupleOp, Value, constant, gradient_dtype, latest
from ..checkpoint import Checkpoint
from ..nested import Rebuild, children_of, is_leaf
from ..pool import owns_memory
from .plan import Plan

Maker = Callable[[Sequence[Any], Sequence[Any]], Any]
"""Of a result or an effect: from what is given, and the arrays that the plan has computed."""


class Replay:
    """What a function does for arguments of one signature, as long as what it has read from outside is the same."""

    f: Callable[..., Any]
    plan: Plan
    arguments: list[int]
    """Which of the Tensors and arrays given are the plan's first inputs."""
    state: list[tuple[Any, int]]
    """Tensors from outside, the inputs after these, and what they are to the sweep."""
    gradients: list[tuple[Any, bool]]
    """Tensors whose gradient from before is read, and whether there is one: an input then, too."""
    guards: Any
    effects: list[Maker]
    updates: list[tuple[int, int]]
    """(output, input) where the output is the new value of a tensor, and can be written over the old one."""
    results: list[Maker]
    rebuild: Rebuild
    """Puts the results into the structure that the function returned."""
    tensors: list[int]
    """Which results are Tensors."""
    recorded: list[int]
    """Which of these need a gradient."""
    saved: list[int]
    """What the backward plan reads: inputs of the plan, and by ~i its outputs."""
    backward: Plan
    adjoints: list[int | None]
    """For each Tensor given, and each from outside, where its adjoint is among what `backward` computes."""

    def holds(self) -> bool:
        """Whether what it depends on is as it was."""
        for tensor, needs in self.state:
            if tensor.needs != needs:
                return False
        for tensor, there in self.gradients:
            if (type(tensor._grad) is autograd._Gradient) is not there:
                return False
        return bool(self.guards.holds())

    def run(self, args: Any, kwargs: Any, given: Sequence[Any]) -> Any:
        """What the function would give and change. Nothing is changed before all is computed."""
        arrays = []
        for i in self.arguments:
            a = given[i]
            arrays.append(a if type(a) is ndarray else a._array)
        for tensor, _ in self.state:
            arrays.append(latest(tensor)._array)
        for tensor, there in self.gradients:
            if there:
                arrays.append(tensor._grad.array)
        replaced = self._replaced(arrays) if self.updates else ()
        try:
            found = self.plan.run(arrays, replaced)
        except Exception as error:  # nothing has been changed yet, and the function itself can say what is wrong
            if replaced and isinstance(error, (FloatingPointError, MemoryError)):
                raise  # as it would, between two updates
            return self.f(*args, **kwargs)
        for effect in self.effects:
            effect(given, found)
        if self.rebuild is next and not self.recorded:
            return self.results[0](given, found)
        results = [make(given, found) for make in self.results]
        if self.recorded:
            inputs = [a if isinstance(a, Tensor) else constant(a) for a in given]
            saved = [arrays[i] if i >= 0 else found[~i] for i in self.saved]
            values = [results[i] for i in self.tensors]
            op = Replayed(self, with_tensors(args, kwargs, given, inputs), saved, values)
            outputs = op(*inputs, *[t for t, _ in self.state])
            for place in self.recorded:
                results[self.tensors[place]] = outputs[place]
        return self.rebuild(iter(results))

    def _replaced(self, arrays: list[Any]) -> list[tuple[int, int]]:
        """The updates whose old value nobody but its tensor holds."""
        return [
            (output, given)
            for output, given in self.updates
            if getrefcount(arrays[given]) <= _HELD and owns_memory(arrays[given]) and arrays[given].flags.writeable
        ]


def _references_when_held() -> int:
    """Those to an array in a list, and in one other place."""
    arrays, slot = [np.empty(0)], []
    slot.append(arrays[0])
    return getrefcount(arrays[0])


_HELD = _references_when_held()


class Replayed(TensorTupleOp):
    """A replay as one op: its inputs are the Tensors that the function was given and those from outside."""

    __slots__ = ("_call", "_replay", "_saved", "_values")
    same_inputs = True

    def __init__(self, replay: Replay, call: tuple[Any, Any], saved: list[Any], values: Sequence[Any]):
        self._replay = replay
        self._call = call
        self._saved = saved
        self._values = tuple([y._array if isinstance(y, Tensor) else y for y in values])

    def __repr__(self) -> str:
        return f"compiled({getattr(self._replay.f, '__name__', self._replay.f)})"

    def compute(self, *arrays: Any) -> Any:
        return self._values

    def array_gradient(self, out_grad: Any, node: Any, asked: set[Value]) -> Any:
        replay, seeds = self._replay, []
        for place in replay.recorded:
            g, y = out_grad[place], self._values[place]
            seeds.append(np.zeros(y.shape, gradient_dtype(y.dtype)) if g is None else g)
        found = replay.backward.run([*self._saved, *seeds])
        places = zip(node.inputs, replay.adjoints, strict=True)
        return tuple([found[i] if i is not None and a in asked else None for a, i in places])

    def gradient(self, out_grad: Any, node: Any) -> Any:
        if self._replay.effects:
            raise ValueError(
                f"{self!r}: it changes tensors, and would do that again where its derivative is differentiated; leave "
                "the function that changes them uncompiled there"
            )
        return _Again(self._replay.f, *self._call).gradient(out_grad, node)


class _Again(Checkpoint):
    """The function, run again as it is, for derivatives of its derivatives. Its outputs may differ in the last bit."""

    __slots__ = ()

    def __init__(self, f: Callable[..., Any], args: Any, kwargs: Any):
        super().__init__(f, args, kwargs)
        self._generators, self._states = [], [np.random.get_state()]

    def _compare(self, outputs: Sequence[Any], node: Any) -> None:
        pass


class Spent(TensorOp):
    """What a compiled function returns of a value whose gradient it has computed itself."""

    __slots__ = ("_name",)
    saves = ()

    def __init__(self, name: str):
        self._name = name

    def compute(self, a: Any) -> Any:
        return a

    def gradient(self, out_grad: Any, node: Any) -> Any:
        raise ValueError(
            f"backward(): this Tensor comes from the compiled function {self._name}, which has called backward() on it "
            "and keeps no graph beyond that; call backward() within the function only, or outside of it only"
        )


# Arguments -----------------------------------------------------------------------------------------------------------


def with_tensors(args: Any, kwargs: Any, given: Sequence[Any], tensors: Sequence[Any]) -> Any:
    """The arguments with Tensors in the place of arrays."""
    stand_in = {id(a): t for a, t in zip(given, tensors, strict=True) if isinstance(a, ndarray)}
    return _replaced((args, kwargs), stand_in) if stand_in else (args, kwargs)


def _replaced(tree: Any, by: dict[int, Any]) -> Any:
    if isinstance(tree, ndarray):
        return by.get(id(tree), tree)
    if is_leaf(tree):
        return tree
    keys, children, again = children_of(tree)
    return again({key: _replaced(child, by) for key, child in zip(keys, children, strict=True)}) if again else tree


# Makers of results and effects ---------------------------------------------------------------------------------------


def given_one(i: int) -> Maker:
    """What was given there, itself."""
    return lambda given, found: given[i]


def the_same(thing: Any) -> Maker:
    """The same object each time."""
    return lambda given, found: thing


def copy_of(array: Any) -> Maker:
    return lambda given, found: array.copy()


def array(place: int) -> Maker:
    return lambda given, found: found[place]


def tensor(place: int, needs: int) -> Maker:
    def make(given: Any, found: Any) -> Any:
        tensor = constant(found[place])
        tensor.needs = needs
        return tensor

    return make


def spent(place: int, name: str) -> Maker:
    op = Spent(name)

    def make(given: Any, found: Any) -> Any:
        tensor, source = constant(found[place]), constant(found[place])
        source.needs = tensor.needs = RECORDED
        tensor.op, tensor.inputs = op, (source,)
        return tensor

    return make


def set_data(target: Any, place: int) -> Maker:
    """Assign to the data of a Tensor, or of what is given at this place."""

    def effect(given: Any, found: Any) -> None:
        tensor = given[target] if type(target) is int else target
        if isinstance(tensor, ndarray):
            tensor[...] = found[place]
        else:
            tensor.data = constant(found[place])

    return effect


def set_gradient(target: Any, place: int | None, what: Any) -> Maker:
    """Set a gradient that was computed by the calls of backward() `what`, or, without a place, to `what`."""

    def effect(given: Any, found: Any) -> None:
        tensor = given[target] if type(target) is int else target
        tensor._grad = what if place is None else autograd._Gradient(found[place], what)

    return effect
