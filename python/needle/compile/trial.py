"""The first run of a function for arguments of one signature: records all that it does, and makes a Replay of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from .. import autograd
from ..autograd import (
    CONSTANT,
    DETACHED,
    Assigned,
    Tensor,
    Wrapped,
    constant,
    gradient_dtype,
    latest,
    sweep,
    whole_adjoint,
)
from ..nested import Rebuild, children_of, flatten, is_leaf
from ..pool import return_to_system
from . import replay as make
from .arguments import Substitution, check_writeable
from .graph import Node, sort
from .plan import Plan
from .reads import Reads
from .record import Newborn, Recorder
from .replay import Replay
from .search import TooMuchError
from .simplify import needed
from .source import Source

_MUCH = 1 << 27
"""Bytes of values from which on a first run may take more memory than the program ever needs again."""
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Trial:
    """A recorded call f(*args, **kwargs). `given` are the Tensors and arrays in the arguments; f receives Tensors for
    all of them.

    `result` is what f returned. `replay` does the same again; if it is None, `why` says why: "" if the reason does not
    apply to other calls, because a transform around the function takes part, or f assigns to an argument that shares
    memory with another one. `changes`: the reason is a change of something outside, which may happen only once.
    `source` is for a `Writer` to write on.
    """

    def __init__(self, f: Callable[..., Any], args: Any, kwargs: Any, given: Sequence[Any]):
        self._f = f
        self._given = given
        self.replay: Replay | None = None
        self.why = ""
        self.changes = False
        self._overlaps = False
        self.source = Source()
        arguments = Substitution(args, kwargs, given)
        self._tensors = arguments.tensors
        try:
            self._reads = Reads(f, arguments.args, arguments.kwargs)
        except TooMuchError as error:
            self.why = str(error)
            self.result = f(*args, **kwargs)
            return
        self._made = Newborn()
        self._recorder = recorder = Recorder()
        self._sources: dict[Node, int] = {}
        for i, t in enumerate(self._tensors):
            self._sources.setdefault(recorder.add_input(t._array), i)
        self._arrays = {node for node, i in self._sources.items() if isinstance(given[i], ndarray)}
        try:
            with self._made, self._reads, recorder:
                self.result = f(*arguments.args, **arguments.kwargs)
                leaves, rebuild = flatten(self.result)  # also updates views of what was assigned to
        except (AttributeError, TypeError) as error:
            if not self._arrays or recorder.changed_tensors or arguments.changed() or self._reads.changed():
                raise
            self.why = f"it takes arrays for what they are ({error})"
            self.result = f(*args, **kwargs)
            return
        self._look_at(arguments, leaves, rebuild)

    def _look_at(self, arguments: Substitution, leaves: Sequence[Any], rebuild: Rebuild) -> None:
        """Make a replay of what happened, or find the reason why there can be none."""
        recorder = self._recorder
        wrapped = any(isinstance(y, Wrapped) for y in leaves)
        self._known = {id(t) for t in self._reads.tensors()}
        changed = self._reads.changed() or arguments.changed()
        self.changes = bool(changed) and not recorder.why
        self.why = recorder.why or changed
        stranger = _stranger(self.result)
        if stranger is not None:
            self.give_up(f"it returns an object of class {type(stranger).__name__}, which may hold anything")
        if not self.why and not wrapped:
            replay = self._replay(leaves)
            replay.rebuild = rebuild
            try:
                replay.guards = self._reads.guards()
                self.replay = None if self.why else replay
            except TooMuchError as error:
                self.give_up(str(error))
        arguments.write_back(recorder.changed_tensors, self._as_given)
        if self._arrays and not wrapped:
            self.result = rebuild(iter([self._as_given(y) for y in leaves]))
        if wrapped or self._overlaps:
            self.replay, self.why = None, ""

        if sum([node.nbytes for node in recorder.order]) > _MUCH:
            return_to_system()

    def give_up(self, why: str) -> None:
        """Only the first reason counts."""
        self.why = self.why or why

    def _is_outside(self, tensor: Any) -> bool:
        """Whether it was there before the function ran."""
        return tensor not in self._made

    def _replay(self, leaves: Sequence[Any]) -> Replay:
        recorder, replay = self._recorder, Replay()
        replay.f = self._f
        replay.arguments = list(self._sources.values())
        state = recorder.state(self._is_outside)
        self.give_up(recorder.why)
        replay.state = [(tensor, tensor.needs) for tensor in state.values()]
        gradients = list(recorder.gradients_read.values())
        replay.gradients = [(tensor, node is not None) for tensor, node in gradients]
        inputs = [*self._sources, *state, *[node for _, node in gradients if node is not None]]
        replay.pinned = [(i, t) for i, t in enumerate(self._tensors) if id(t) in self._known]
        replay.aliases = [
            (tensor, inputs.index(node))
            for tensor, node in recorder.named.values()
            if node in inputs and self._is_outside(tensor) and state.get(node) is not tensor
            if all(tensor is not t for t in self._tensors)
        ]
        self._wanted: list[Node] = []
        self._make_results(replay, leaves)
        self._note_effects(replay)
        recorded = [leaves[replay.tensors[place]] for place in replay.recorded]
        if recorded and not self.why:
            self._plan_backward(replay, inputs, recorded)
        self.give_up(recorder.why)
        replay.plan = Plan(inputs, self._wanted, recorder.recorded())
        return replay

    def _want(self, node: Node) -> int:
        """Let the plan compute a node, for nobody else to hold; its place among the outputs."""
        self._wanted.append(node)
        return len(self._wanted) - 1

    def _output(self, node: Node) -> str:
        """The same, by its name in the replay's source."""
        return f"y{self._want(node)}"

    # Results -----------------------------------------------------------------------------------------------------

    def _make_results(self, replay: Replay, leaves: Sequence[Any]) -> None:
        first: dict[int, int] = {}
        replay.results, replay.repeated, replay.recorded = [], [], []
        replay.tensors = [i for i, y in enumerate(leaves) if isinstance(y, Tensor)]
        for i, y in enumerate(leaves):
            same = first.setdefault(id(y), i) if isinstance(y, (Tensor, ndarray)) else i
            if same < i:
                replay.repeated.append((i, same))
                replay.results.append(f"r{same}")
            else:
                replay.results.append(self._expression(y))
                if self._is_recorded(y):
                    replay.recorded.append(replay.tensors.index(i))

    def _is_recorded(self, y: Any) -> bool:
        """Whether a result needs a gradient that the function has not computed itself."""
        if not isinstance(y, Tensor) or y.op is None or y.needs <= DETACHED or self._is_outside(y):
            return False
        return id(y) not in self._recorder.swept

    def _expression(self, y: Any) -> str:
        """The expression for a result in the replay's source; for a recorded one, for its value."""
        recorder, source = self._recorder, self.source
        for i, t in enumerate(self._tensors):
            if y is t:
                return f"a{i}"
        if isinstance(y, ndarray):
            node = recorder.known(y)
            return f"{source.name(y)}.copy()" if node is None else self._array(node)
        if not isinstance(y, Tensor) or self._is_outside(y):
            return source.name(y)
        node = recorder.known_or_constant(y._array)
        if self._is_array(y):
            return self._array(node)
        array = self._output(node)
        if y.op is not None and id(y) in recorder.swept:
            op = make.Spent(getattr(self._f, "__name__", repr(self._f)))
            return source.call(make.spent, array, source.name(op))
        needs, gradient = CONSTANT if self._is_recorded(y) else y.needs, y._grad
        made = source.call(make.tensor, array, str(needs)) if needs != CONSTANT else source.call(constant, array)
        if y.op is None and type(gradient) is autograd.Gradient:
            gradient = self._output(recorder.known_or_constant(gradient.array))
            return source.call(make.with_gradient, made, gradient)
        return made

    def _array(self, node: Node) -> str:
        """The same, for a result returned as `_as_from_numpy` makes it."""
        return self._output(node) + "[()]" * (not node.shape)

    def _is_array(self, y: Any) -> bool:
        """Whether a result is returned as an array, because it was computed from arrays alone."""
        if not self._arrays or not isinstance(y, Tensor) or y.needs > DETACHED or self._is_outside(y):
            return False
        node = self._recorder.known(y._array)
        return node is None or self._arrays.issuperset([a for a in sort([node]) if a.op is None and a.array is None])

    def _as_given(self, y: Any) -> Any:
        """A result as an array, if it is returned as one; the argument itself, if it is one."""
        for a, t in zip(self._given, self._tensors, strict=True):
            if y is t:
                return a
        return _as_from_numpy(latest(y)._array) if self._is_array(y) else y

    # Effects -----------------------------------------------------------------------------------------------------

    def _note_effects(self, replay: Replay) -> None:
        """Note the statements that set values and gradients of tensors from outside."""
        replay.effects = []
        recorder = self._recorder
        for tensor, what in recorder.changed_tensors.values():
            given = [i for i, t in enumerate(self._tensors) if t is tensor]
            if not given and not self._is_outside(tensor):
                continue
            if isinstance(tensor, Assigned) or not what <= {"data", "grad"}:
                self.give_up("it assigns to elements of a tensor from outside, or makes it need a gradient")
                continue
            target = f"a{given[0]}" if given else self.source.name(tensor)
            if "data" in what:
                array = self._output(recorder.known_or_constant(tensor._array))
                is_array = bool(given) and isinstance(self._given[given[0]], ndarray)
                if is_array:
                    replay.effects.insert(0, self.source.call(check_writeable, target))
                effect = f"{target}[...] = {array}" if is_array else self.source.call(make.set_data, target, array)
                replay.effects.append(effect)
                self._overlaps = self._overlaps or (bool(given) and make.overlap(self._given))
                replay.alone = replay.alone or bool(given)
            gradient = tensor._grad
            if "grad" in what and type(gradient) is autograd.Gradient:
                array = self._output(recorder.known_or_constant(gradient.array))
                pasts = self.source.name(make.GONE if gradient.pasts else ())
                made = self.source.call(autograd.Gradient, array, pasts)
                replay.effects.append(f"{target}._grad = {made}")
            elif "grad" in what:
                replay.effects.append(f"{target}._grad = {self.source.name(gradient)}")

    # Gradients of results ----------------------------------------------------------------------------------------

    def _plan_backward(self, replay: Replay, inputs: Sequence[Node], outputs: Sequence[Any]) -> None:
        """Record the adjoints of all Tensors that need one, and split the record: what the results need is computed
        forward, the rest backward, from saved values."""
        recorder = self._recorder
        seeds = {y: constant(np.ones(y.shape, gradient_dtype(y.dtype))) for y in outputs}
        given = [recorder.add_input(seed._array) for seed in seeds.values()]
        tensors = [*self._tensors, *[tensor for tensor, _ in replay.state]]
        variables = list(dict.fromkeys([t for t in tensors if t.needs > CONSTANT]))
        with recorder:
            found = sweep(dict(seeds), variables, tensors=True, inner=True)
            adjoints = {a: recorder.node(whole_adjoint(g, a)) for a, g in found}
        recorder.make_constants({*inputs})
        order, wanted = recorder.order, list(adjoints.values())
        backward = needed(order, wanted) - needed(order, self._wanted)
        rest = [node for node in order if node in backward]
        read = dict.fromkeys([a for node in rest for a in node.inputs] + wanted)
        saved = [a for a in read if a not in backward and a not in given and a.array is None]
        replay.saved = [inputs.index(a) if a in inputs else ~self._want(a) for a in saved]
        replay.backward = Plan([*saved, *given], wanted, recorder.recorded()._replace(order=rest))
        replay.reaches = [[i for i, seed in enumerate(given) if seed in needed(order, [node])] for node in wanted]
        places = {id(a): place for place, a in enumerate(adjoints)}
        replay.adjoints = [places.pop(id(a), None) for a in tensors]


def _as_from_numpy(array: Any) -> Any:
    """An array, or a number if it has no axes, as NumPy's functions return them."""
    return array if array.ndim else array[()]


def _stranger(tree: Any) -> Any:
    """An object in a result that is neither a container nor a value; None if there is none."""
    if is_leaf(tree) or isinstance(tree, _PLAIN):
        return None
    _, children, again = children_of(tree)
    if again is None:
        return tree
    return next((found for child in children if (found := _stranger(child)) is not None), None)
