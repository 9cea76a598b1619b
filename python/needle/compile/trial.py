"""The first run of a function for arguments of one signature: all that it does is noted, and made into a Replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any

import numpy as np
from numpy import ndarray

from .. import autograd
from ..autograd import (
    CONSTANT,
    DETACHED,
    Assigned,
    Tensor,
    Value,
    constant,
    gradient_dtype,
    latest,
    sweep_recorded,
    whole_adjoint,
)
from ..nested import children_of, flatten, is_leaf
from . import replay as make
from .graph import Node, sort
from .guards import Reads, TooMuch
from .plan import Plan
from .record import Recorder
from .replay import Maker, Replay, with_tensors
from .simplify import needed

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Trial:
    """f(*args, **kwargs), noted. `given` are the Tensors and arrays in the arguments, which the function gets as
    Tensors.

    `result` is what it returned. `replay` does the same again; it is None where that cannot be, and `why` says why;
    `changes`: because of something outside that the function has changed, which may have been for the first time only.
    """

    def __init__(self, f: Callable[..., Any], args: Any, kwargs: Any, given: Sequence[Any]):
        self._f = f
        self._given = given
        self._tensors = [a if isinstance(a, Tensor) else constant(a) for a in given]
        self._recorder = recorder = Recorder()
        self._sources: dict[Node, int] = {}
        for i, t in enumerate(self._tensors):
            self._sources.setdefault(recorder.add_input(t._array), i)
        self._arrays = {node for node, i in self._sources.items() if isinstance(given[i], ndarray)}
        self._wanted: list[Node] = []
        self.replay: Replay | None = None
        self.why = ""
        self.changes = False
        args, kwargs = with_tensors(args, kwargs, given, self._tensors)
        try:
            reads = Reads(f, args, kwargs)
        except TooMuch as error:
            self.why = str(error)
            self.result = f(*args, **kwargs)
            return
        with reads, recorder:
            self.result = f(*args, **kwargs)
        changed = reads.changed()
        self.changes = bool(changed) and not recorder.why
        self.why = recorder.why or changed
        for a, t in zip(given, self._tensors, strict=True):
            if isinstance(a, ndarray) and id(t) in recorder.changed_tensors:
                a[...] = latest(t)._array
        leaves, rebuild = flatten(self.result)
        stranger = _stranger(self.result)
        if stranger is not None:
            self.give_up(f"it returns an object of class {type(stranger).__name__}, which may hold anything")
        if not self.why:
            replay = self._replay(leaves)
            replay.rebuild = rebuild
            try:
                replay.guards = reads.guards()
                self.replay = None if self.why else replay
            except TooMuch as error:
                self.give_up(str(error))
        if self._arrays:
            self.result = rebuild(iter([y._array if self._is_array(y) else y for y in leaves]))

    def give_up(self, why: str) -> None:
        """Only the first reason counts."""
        self.why = self.why or why

    def _replay(self, leaves: Sequence[Any]) -> Replay:
        recorder, replay = self._recorder, Replay()
        replay.f = self._f
        makers = [self._maker(y) for y in leaves]
        replay.tensors = [i for i, y in enumerate(leaves) if isinstance(y, Tensor)]
        recorded = [i for i, maker in enumerate(makers) if maker is None and leaves[i].needs > DETACHED]
        replay.recorded = [replay.tensors.index(i) for i in recorded]
        seeds, adjoints = self._pull_back([leaves[i] for i in recorded])
        state = recorder.from_outside()
        for i, y in enumerate(leaves):
            if makers[i] is None:
                place = self._want(recorder.node(y))
                needs = CONSTANT if i in recorded else y.needs
                makers[i] = make.array(place) if self._is_array(y) else make.tensor(place, needs)
        replay.results = [maker for maker in makers if maker is not None]
        new_data = self._note_effects(replay)
        self.give_up(recorder.why)
        gradients = list(recorder.gradients_read.values())
        replay.arguments = list(self._sources.values())
        replay.state = [(tensor, tensor.needs) for _, tensor in state]
        replay.gradients = [(tensor, node is not None) for tensor, node in gradients]
        inputs = [*self._sources, *[node for node, _ in state], *[node for _, node in gradients if node is not None]]
        values = recorder.values()
        if recorded:
            self._plan_backward(replay, inputs, seeds, adjoints)
        replay.plan = Plan(inputs, recorder.order, self._wanted, values)
        places = {id(tensor): i for i, (_, tensor) in enumerate(state, len(self._sources))}
        updates = [(output, places[key]) for key, output in new_data.items() if key in places]
        replay.updates = [pair for pair in updates if replay.plan.may_replace(*pair)]
        return replay

    def _want(self, node: Node) -> int:
        """The place of a node among what the plan is to compute, and nobody else is to hold."""
        self._wanted.append(node)
        return len(self._wanted) - 1

    # Results -----------------------------------------------------------------------------------------------------

    def _maker(self, y: Any) -> Maker | None:
        """What makes this result; None for one that needs a gradient, or may go out as an array."""
        recorder = self._recorder
        for i, t in enumerate(self._tensors):
            if y is t:
                return make.given_one(i)
        if isinstance(y, ndarray):
            node = recorder.known(y)
            return make.copy_of(y) if node is None else make.array(self._want(node))
        if not isinstance(y, Tensor) or recorder.is_leaf(y) or id(y) in recorder.changed_tensors:
            return make.the_same(y)  # a number, an object from outside, or a constant
        node = recorder.known(y._array)
        if node is None:
            return make.the_same(y)
        if y.needs <= DETACHED:
            return None if self._arrays else make.tensor(self._want(node), y.needs)
        if id(y) in recorder.swept:
            return make.spent(self._want(node), getattr(self._f, "__name__", repr(self._f)))
        return None

    def _is_array(self, y: Any) -> bool:
        """Whether a result goes out as an array, because it was computed from arrays alone."""
        if not self._arrays or not isinstance(y, Tensor) or y.needs > DETACHED:
            return False
        node = self._recorder.known(y._array)
        if node is None or node.op is None:
            return False
        leaves = [a for a in sort([node]) if a.op is None and a.array is None]
        return bool(leaves) and self._arrays.issuperset(leaves)

    # Effects -----------------------------------------------------------------------------------------------------

    def _note_effects(self, replay: Replay) -> dict[int, int]:
        """Note what sets values and gradients of tensors from outside; by a tensor's id the place of its new value."""
        replay.effects, new_data = [], {}
        recorder = self._recorder
        changed, recorder.changed_tensors = list(recorder.changed_tensors.values()), {}
        while changed:
            tensor, what = changed.pop()
            given = [i for i, t in enumerate(self._tensors) if t is tensor]
            if not given and getrefcount(tensor) <= _ALONE:
                continue  # made within the function
            if isinstance(tensor, Assigned) or not what <= {"data", "grad"}:
                self.give_up("it assigns to elements of a tensor from outside, or makes it need a gradient")
                continue
            target = given[0] if given else tensor
            if "data" in what:
                place = new_data[id(tensor)] = self._want(recorder.known_or_constant(tensor._array))
                replay.effects.append(make.set_data(target, place))
            gradient = tensor._grad
            if "grad" in what and type(gradient) is autograd._Gradient:
                place = self._want(recorder.known_or_constant(gradient.array))
                replay.effects.append(make.set_gradient(target, place, gradient.pasts))
            elif "grad" in what:
                replay.effects.append(make.set_gradient(target, None, gradient))
        return new_data

    # Gradients of results ----------------------------------------------------------------------------------------

    def _pull_back(self, outputs: Sequence[Any]) -> tuple[list[Node], dict[Any, Node]]:
        """Note the adjoints of all Tensors that need one, and the seeds that they start from."""
        if not outputs:
            return [], {}
        recorder = self._recorder
        seeds = {y: constant(np.ones(y.shape, gradient_dtype(y.dtype))) for y in outputs}
        nodes = [recorder.add_input(seed._array) for seed in seeds.values()]
        outside = [t for _, t in recorder.leaves if isinstance(t, Tensor)]
        variables = list(dict.fromkeys([t for t in (*self._tensors, *outside) if t.needs > CONSTANT]))
        adjoints: dict[Value, Any] = dict(seeds)
        with recorder:
            found = sweep_recorded(adjoints, variables, record=False, inner=True)
            return nodes, {a: recorder.node(whole_adjoint(g, a)) for a, g in found}

    def _plan_backward(self, replay: Replay, inputs: Sequence[Node], seeds: Any, adjoints: dict[Any, Node]) -> None:
        """Split what was noted: what the results need is computed forward, the rest backward, from what is saved."""
        order, outputs = self._recorder.order, list(adjoints.values())
        backward = needed(order, outputs) - needed(order, self._wanted)
        rest = [node for node in order if node in backward]
        read = dict.fromkeys([a for node in rest for a in node.inputs] + outputs)
        saved = [a for a in read if a not in backward and a not in seeds and a.array is None]
        replay.saved = [inputs.index(a) if a in inputs else ~self._want(a) for a in saved]
        replay.backward = Plan([*saved, *seeds], rest, outputs, self._recorder.values())
        places = {id(a): place for place, a in enumerate(adjoints)}
        replay.adjoints = [places.pop(id(a), None) for a in (*self._tensors, *[t for t, _ in replay.state])]


def _stranger(tree: Any) -> Any:
    """Something in a result that is neither a container nor a value; None if there is none."""
    if is_leaf(tree) or isinstance(tree, _PLAIN):
        return None
    _, children, again = children_of(tree)
    if again is None:
        return tree
    return next((found for child in children if (found := _stranger(child)) is not None), None)


def _references_when_alone() -> int:
    entries: list[Any] = [(Value(), set())]
    while entries:
        tensor, _ = entries.pop()
        count = getrefcount(tensor)
    return count


_ALONE = _references_when_alone()
