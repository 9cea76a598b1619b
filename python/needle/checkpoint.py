"""Memory against time: what a function computes within is dropped, and computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import update_wrapper
from inspect import getclosurevars
from types import FunctionType
from typing import Any

import numpy as np

from . import autograd, watching
from .autograd import CONSTANT, DETACHED, Assigned, Tensor, TensorTupleOp, Wrapped
from .custom import Call
from .nested import flatten
from .watching import Watcher


class _Insiders(Watcher):
    """Knows what was computed while it watched."""

    inside = False

    def __init__(self) -> None:
        self.ids: set[int] = set()  # no references: an id that is used again is an insider's, too

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        self.ids.add(id(output))


class Checkpoint(TensorTupleOp):
    """A run of a function as one op: its inputs are the arguments, and the recorded tensors that it closes over."""

    __slots__ = ("_call", "_generators", "_leaves", "_name", "_rebuild", "_states", "_values")
    same_inputs, on_arrays = True, False

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
        self._name = getattr(f, "__name__", type(f).__name__)
        self._call = Call(f, args, kwargs)
        self._leaves = [self._call.leaves[i] for i in self._call.where]
        self._generators = _generators_of(f, args, kwargs)

    def __repr__(self) -> str:
        return f"checkpoint({self._name})"

    def _run(self, leaves: Sequence[Any]) -> list[Any]:
        """The Tensors in what the function returns; the rest of that is put back by `_rebuild`."""
        outputs, rebuild = flatten(self._call.run(leaves))
        tensors = [y for y in outputs if isinstance(y, Tensor)]
        rest = [None if isinstance(y, Tensor) else (y,) for y in outputs]

        def put_back(tensors: Sequence[Any]) -> Any:
            given = iter(tensors)
            return rebuild(iter([next(given) if other is None else other[0] for other in rest]))

        self._rebuild = put_back
        return tensors

    def apply(self) -> Any:
        """The function's outputs, in its structure."""
        self._states = _states_of(self._generators)
        with _Insiders() as insiders:
            given = list(map(autograd.renamed, self._leaves))
            outputs = self._run(given)
            for y in outputs:
                y.shape  # noqa: B018 - has a deferred one computed, while it is watched
        self._check_arguments(given)
        closed_over = self._closed_over(outputs, given, insiders.ids)
        inputs = (*self._leaves, *closed_over)
        # Inside of a transform that wraps values, they are followed one by one.
        if not any(isinstance(a, Wrapped) for a in (*inputs, *outputs)) and autograd.is_recorded(*inputs):
            self._values = tuple([y._array for y in outputs])
            outputs = list(self(*inputs))
        return self._rebuild(outputs)

    def _check_arguments(self, given: Sequence[Any]) -> None:
        for a, leaf in zip(given, self._leaves, strict=True):
            if isinstance(a, Assigned) or (not isinstance(a, Wrapped) and a._array is not leaf._array):
                raise ValueError(
                    f"checkpoint: {self._name} assigns to its argument of shape {a.shape}, which would happen again "
                    "when it is computed again; let it assign to a copy: x = x.copy()"
                )

    def _closed_over(self, outputs: Sequence[Any], given: Sequence[Any], insiders: set[int]) -> list[Any]:
        """The recorded tensors from outside that the outputs were computed from, besides the arguments."""
        found, seen, stack = [], {*self._leaves, *given}, list(outputs)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node.op is not None and id(node) in insiders:
                stack += node.inputs
            elif node.needs > CONSTANT:
                found.append(node)
        return found

    def compute(self, *arrays: Any) -> Any:
        values, self._values = self._values, ()
        return values

    def gradient(self, out_grad: Any, node: Any) -> Any:
        record = autograd.is_recording()
        with _random_as(self._generators, self._states), autograd.enable_grad():
            outputs = self._run(list(map(autograd.renamed, node.inputs[: len(self._leaves)])))
        self._compare(outputs, node)
        pairs = zip(outputs, out_grad, strict=True)
        adjoints: dict[Any, Any] = {}
        for y, g in pairs:
            if g is not None and y.needs > DETACHED:
                autograd.add_adjoint(adjoints, y, g)
        wanted = [a for a in node.inputs if autograd.wanted(a)]
        found = dict(autograd.sweep(adjoints, wanted, tensors=True, record=record, inner=True))
        return tuple([found.pop(a, None) for a in node.inputs])  # an input that is there twice has one adjoint in all

    def _compare(self, outputs: Sequence[Any], node: Any) -> None:
        """Raise if the second run did not give what the first one gave."""
        pairs = zip(outputs, node._array, strict=False)
        same = [np.array_equal(y._array, old, equal_nan=old.dtype.kind in "fc") for y, old in pairs]
        if len(outputs) != len(node) or not all(same):
            which = "another number of outputs" if len(outputs) != len(node) else f"another output {same.index(False)}"
            raise ValueError(
                f"checkpoint: {self._name} gave {which} when it was computed again, so its gradient would not be that "
                "of the first run. It depends on something that has changed: a tensor that was assigned to, a counter, "
                "a file, a random generator that it reaches by other ways than arguments, closures and globals; pass "
                "such things as arguments"
            )


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """f, of which only arguments and outputs are kept for the backward pass, where it is computed again.

    Random numbers are the same again: NumPy's global state, and the Generators that f is given, closes over, or names.
    Raises ValueError in the backward pass if f gives anything else than at first. All derivatives are those of f;
    inside of forward mode and nested transforms, f is computed as if it were not checkpointed.

    >>> import needle as ndl
    >>> W = ndl.Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> layer = ndl.checkpoint(lambda h: ndl.tanh(h @ W))
    >>> layer(layer(ndl.Tensor([0.1, 0.2]))).sum().backward()
    >>> W.grad.shape
    (2, 2)
    """

    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if not autograd.is_grad_enabled() or watching.captures():  # who captures decides what is kept
            return f(*args, **kwargs)
        return Checkpoint(f, args, kwargs).apply()

    return update_wrapper(checkpointed, f) if hasattr(f, "__name__") else checkpointed


# ------------------------------------------------------------------------------------------------------ random states


def _generators_of(f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The random generators that a function is given, closes over, names, or has in its object's attributes."""
    reached = [*args, *kwargs.values(), *getattr(getattr(f, "__self__", f), "__dict__", {}).values()]
    function = getattr(f, "__func__", f)
    if isinstance(function, FunctionType):
        named = getclosurevars(function)
        reached += [*(function.__defaults__ or ()), *named.nonlocals.values(), *named.globals.values()]
    found = {id(thing): thing for thing in reached if isinstance(thing, (np.random.Generator, np.random.RandomState))}
    return list(found.values())


def _states_of(generators: Sequence[Any]) -> list[Any]:
    """The states of these, and of NumPy's global generator."""
    states = [g.bit_generator.state if isinstance(g, np.random.Generator) else g.get_state() for g in generators]
    return [np.random.get_state(), *states]


def _set_states(generators: Sequence[Any], states: Sequence[Any]) -> None:
    np.random.set_state(states[0])
    for g, state in zip(generators, states[1:], strict=True):
        if isinstance(g, np.random.Generator):
            g.bit_generator.state = state
        else:
            g.set_state(state)


@contextmanager
def _random_as(generators: Sequence[Any], states: Sequence[Any]) -> Iterator[None]:
    """Random numbers come as they did from these states on; afterwards, they go on as if nothing had been."""
    now = _states_of(generators)
    _set_states(generators, states)
    try:
        yield
    finally:
        _set_states(generators, now)
