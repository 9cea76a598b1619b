"""A captured function: where its inputs come from, what it gives, what it changes; and how to do that again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from .. import autograd
from ..autograd import RECORDED, Tensor, TensorOp, TensorTupleOp, Value, constant, gradient_dtype, latest
from ..checkpoint import Checkpoint
from ..nested import Rebuild
from .arguments import Substitution
from .plan import Plan

Maker = Callable[[Sequence[Any], Sequence[Any], Sequence[Any]], Any]
"""Of a result: from what is given, the arrays that the plan has computed, and the results before."""
Effect = Callable[[Sequence[Any], Sequence[Any]], None]
"""From what is given, and the arrays that the plan has computed."""


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
    pinned: list[tuple[int, Any]]
    """What is given and can be reached from the function as well: this very Tensor, or the replay does not do."""
    aliases: list[tuple[Any, int]]
    """Tensors from outside that share the array of an input of the plan."""
    alone = False
    """Whether an argument is assigned to: then none may share memory with another one."""
    pure = False
    """Whether there is none of these: what it gives depends on the arguments and on what the guards look at."""
    effects: list[Effect]
    results: list[Maker]
    rebuild: Rebuild
    """Puts the results into the structure that the function returned."""
    repeated: list[tuple[int, int]]
    """Which results are the same object as an earlier one."""
    tensors: list[int]
    """Which results are Tensors."""
    recorded: list[int]
    """Which of these need a gradient."""
    saved: list[int]
    """What the backward plan reads: inputs of the plan, and by ~i its outputs."""
    backward: Plan
    reaches: list[list[int]]
    """For each adjoint that `backward` computes, which of the recorded results it comes from."""
    adjoints: list[int | None]
    """For each Tensor given, and each from outside, where its adjoint is among what `backward` computes."""

    def holds(self, given: Sequence[Any]) -> bool:
        """Whether what it depends on is as it was."""
        return bool((self.pure or self._tensors_hold(given)) and self.guards.holds())

    def _tensors_hold(self, given: Sequence[Any]) -> bool:
        for i, tensor in self.pinned:
            if given[i] is not tensor:
                return False
        for tensor, needs in self.state:
            if tensor.needs != needs:
                return False
        for tensor, there in self.gradients:
            if (type(tensor._grad) is autograd._Gradient) is not there:
                return False
        if self.aliases:
            arrays = self._inputs(given)
            if any(latest(tensor)._array is not arrays[i] for tensor, i in self.aliases):
                return False
        return not (self.alone and overlap(given))

    def _inputs(self, given: Sequence[Any]) -> list[Any]:
        """The plan's."""
        arrays = []
        for i in self.arguments:
            a = given[i]
            arrays.append(a if type(a) is ndarray else a._array)
        for tensor, _ in self.state:
            arrays.append(latest(tensor)._array)
        for tensor, there in self.gradients:
            if there:
                arrays.append(tensor._grad.array)
        return arrays

    def run(self, args: Any, kwargs: Any, given: Sequence[Any]) -> Any:
        """What the function would give and change. Nothing is changed before all is computed."""
        arrays = self._inputs(given)
        try:
            found = self.plan.run(arrays)
        except Exception:  # nothing has been changed yet, and the function itself can say what is wrong
            return self.f(*args, **kwargs)
        for effect in self.effects:
            effect(given, found)
        if self.rebuild is next and not self.recorded:
            return self.results[0](given, found, ())
        results: list[Any] = []
        for make in self.results:
            results.append(make(given, found, results))
        if self.recorded:
            arguments = Substitution(args, kwargs, given)
            inputs = arguments.tensors
            saved = [arrays[i] if i >= 0 else found[~i] for i in self.saved]
            values = [results[i] for i in self.tensors]
            op = Replayed(self, (arguments.args, arguments.kwargs), saved, values)
            outputs = op(*inputs, *[t for t, _ in self.state])
            for place in self.recorded:
                results[self.tensors[place]] = outputs[place]
            for i, same in self.repeated:
                results[i] = results[same]
        return self.rebuild(iter(results))


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
        try:
            found = replay.backward.run([*self._saved, *seeds])
        except Exception:  # `gradient` says what is wrong
            return None
        there = [out_grad[place] is not None for place in replay.recorded]
        adjoints = [g if any(there[i] for i in seeds) else None for g, seeds in zip(found, replay.reaches, strict=True)]
        places = zip(node.inputs, replay.adjoints, strict=True)
        return tuple([adjoints[i] if i is not None and a in asked else None for a, i in places])

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


def overlap(given: Sequence[Any]) -> bool:
    """Whether any two of these Tensors and arrays, if they are not the same one, share memory."""
    arrays = [a if isinstance(a, ndarray) else a._array for a in given]
    return any(a is not b and np.may_share_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


# Makers of results and effects ---------------------------------------------------------------------------------------


def given_one(i: int) -> Maker:
    """What was given there, itself."""
    return lambda given, found, earlier: given[i]


def the_same(thing: Any) -> Maker:
    """The same object each time."""
    return lambda given, found, earlier: thing


def again(i: int) -> Maker:
    """The same object as that result."""
    return lambda given, found, earlier: earlier[i]


def copy_of(array: Any) -> Maker:
    return lambda given, found, earlier: array.copy()


def array(place: int) -> Maker:
    """An array, or a number if it has no axes, as NumPy's functions return it."""
    return lambda given, found, earlier: as_from_numpy(found[place])


def as_from_numpy(array: Any) -> Any:
    return array if array.ndim else array[()]


def tensor(place: int, needs: int) -> Maker:
    def make(given: Any, found: Any, earlier: Any) -> Any:
        tensor = constant(found[place])
        tensor.needs = needs
        return tensor

    return make


def with_gradient(maker: Maker, place: int) -> Maker:
    """A Tensor with a gradient."""

    def make(given: Any, found: Any, earlier: Any) -> Any:
        tensor = maker(given, found, earlier)
        tensor._grad = autograd._Gradient(found[place], _GONE)
        return tensor

    return make


def spent(place: int, name: str) -> Maker:
    op = Spent(name)

    def make(given: Any, found: Any, earlier: Any) -> Any:
        tensor, source = constant(found[place]), constant(found[place])
        source.needs = tensor.needs = RECORDED
        tensor.op, tensor.inputs = op, (source,)
        return tensor

    return make


def set_data(target: Any, place: int) -> Effect:
    """Assign to the data of a Tensor, or of what is given at this place."""

    def effect(given: Any, found: Any) -> None:
        tensor = given[target] if type(target) is int else target
        if isinstance(tensor, ndarray):
            tensor[...] = found[place]
        else:
            tensor.data = constant(found[place])

    return effect


def set_gradient(target: Any, place: int, *, plain: bool) -> Effect:
    """Set a gradient: a plain value, or that of a call of backward() whose output is gone."""
    pasts = () if plain else _GONE

    def effect(given: Any, found: Any) -> None:
        tensor = given[target] if type(target) is int else target
        tensor._grad = autograd._Gradient(found[place], pasts)

    return effect


def clear_gradient(target: Any, what: Any) -> Effect:
    """Set what stands for no gradient."""

    def effect(given: Any, found: Any) -> None:
        tensor = given[target] if type(target) is int else target
        tensor._grad = what

    return effect


_GONE = (autograd._Past(constant(np.zeros(())), None, None),)
"""A call of backward() on an output that is gone: what it left cannot be differentiated further, and says so."""
