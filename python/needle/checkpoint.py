"""Checkpointing trades time for memory: the backward pass computes a function's intermediate values again."""

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
    """Remembers which values were computed while it watched."""

    inside = False

    def __init__(self) -> None:
        self.ids: set[int] = set()  # ids suffice: an id can only be reused by another value from inside

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        self.ids.add(id(output))


class Checkpoint(TensorTupleOp):
    """One run of a function as an op, whose inputs are the arguments and the recorded tensors it closes over."""

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
        """Run the function, and return the Tensors among its outputs; `_rebuild` restores the whole structure."""
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
                y.shape  # noqa: B018 - computes a deferred tensor, while it is watched
        self._check_arguments(given)
        closed_over = self._closed_over(outputs, given, insiders.ids)
        inputs = (*self._leaves, *closed_over)
        # A transform that wraps values follows them one by one, without a checkpoint.
        if not any(isinstance(a, Wrapped) for a in (*inputs, *outputs)) and autograd.is_recorded(*inputs):
            self._values = tuple([y._array for y in outputs])
            outputs = list(self(*inputs))
        return self._rebuild(outputs)

    def _check_arguments(self, given: Sequence[Any]) -> None:
        for a, leaf in zip(given, self._leaves, strict=True):
            if isinstance(a, Assigned) or (not isinstance(a, Wrapped) and a._array is not leaf._array):
                raise ValueError(
                    f"checkpoint: {self._name} assigns to its argument of shape {a.shape}, and would do so again in "
                    "the backward pass; let it assign to a copy: x = x.copy()"
                )

    def _closed_over(self, outputs: Sequence[Any], given: Sequence[Any], insiders: set[int]) -> list[Any]:
        """The recorded tensors from outside, other than the arguments, that the outputs were computed from."""
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
        return tuple([found.pop(a, None) for a in node.inputs])  # a repeated input gets its adjoint once

    def _compare(self, outputs: Sequence[Any], node: Any) -> None:
        """Raise ValueError if the second run gave other outputs than the first."""
        pairs = zip(outputs, node._array, strict=False)
        same = [np.array_equal(y._array, old, equal_nan=old.dtype.kind in "fc") for y, old in pairs]
        if len(outputs) != len(node) or not all(same):
            which = "another number of outputs" if len(outputs) != len(node) else f"another output {same.index(False)}"
            raise ValueError(
                f"checkpoint: {self._name} gave {which} when it was computed again, so its gradient would not be that "
                "of the first run. It depends on something that has changed: a tensor that was assigned to, a counter, "
                "a file, or a random generator that is not an argument, a closure variable or a global; pass such "
                "things as arguments"
            )


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """f without its intermediate values: only arguments and outputs are kept, and the backward pass runs f again.

    The second run gets the same random numbers, from NumPy's global state and from the Generators that f is given,
    closes over, or names. All derivatives are those of f. In forward mode and nested transforms, f runs as if it were
    not checkpointed. Raises ValueError if f assigns to an argument, and in the backward pass if the second run gives
    other outputs.

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
        return Checkpoint(f, args, kwargs).apply()

    return update_wrapper(checkpointed, f) if hasattr(f, "__name__") else checkpointed


# ------------------------------------------------------------------------------------------------------ random states


def _generators_of(f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The random generators among a function's arguments, closure variables, globals, and its object's attributes."""
    reached = [*args, *kwargs.values(), *getattr(getattr(f, "__self__", f), "__dict__", {}).values()]
    function = getattr(f, "__func__", f)
    if isinstance(function, FunctionType):
        named = getclosurevars(function)
        reached += [*(function.__defaults__ or ()), *named.nonlocals.values(), *named.globals.values()]
    found = {id(thing): thing for thing in reached if isinstance(thing, (np.random.Generator, np.random.RandomState))}
    return list(found.values())


def _states_of(generators: Sequence[Any]) -> list[Any]:
    """The states of NumPy's global generator, and of these."""
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
    """Set the generators to these states for a while, and restore their own afterwards."""
    now = _states_of(generators)
    _set_states(generators, states)
    try:
        yield
    finally:
        _set_states(generators, now)
