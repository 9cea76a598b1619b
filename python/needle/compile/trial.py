"""The first run of a function for arguments of one signature: records all that it does, and makes a Replay of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
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
from ..nested import Rebuild, children_of, flatten, is_leaf, tells_its_parts
from ..ops.random import Draw
from ..pool import return_to_system
from . import replay as make
from . import sharing
from .arguments import Substitution, check_writeable
from .graph import Node, sort
from .plan import Plan
from .reads import Reads
from .record import Newborn, Recorder
from .replay import Replay
from .search import TooMuchError, UnseenError
from .simplify import needed
from .source import Source

_MUCH = 1 << 27
"""Bytes of values from which on a first run may take more memory than the program ever needs again."""
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Trial:
    """A recorded call f(*args, **kwargs). `given` are the Tensors and arrays in the arguments; f receives Tensors for
    all of them.

    `result` is what f returned. `replay` does the same again; if it is None, `why` says why: "" if the reason does not
    apply to other calls, because a transform around the function takes part, or f assigns to what shares memory with
    something else that it reads (`overlaps`). `changes`: the reason is a change of something outside, which may happen
    only once. `source` is for a `Writer` to write on.
    """

    def __init__(self, f: Callable[..., Any], args: Any, kwargs: Any, given: Sequence[Any]):
        self._f = f
        self._given = given
        self.replay: Replay | None = None
        self.why = ""
        self.changes = self.overlaps = False
        self.source = Source()
        arguments = Substitution(args, kwargs, given, [a.copy(order="K") for a in given if isinstance(a, ndarray)])
        self._tensors = arguments.tensors
        self._before = [a if isinstance(a, ndarray) else a._array for a in given]
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
                self._names = list(sharing.leaves_in(self.result))
                leaves, rebuild = flatten(self.result)  # also updates views of what was assigned to
        except (AttributeError, TypeError) as error:
            if not self._arrays or recorder.changed_tensors or arguments.changed() or self._changed():
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
        changed = self._changed() or arguments.changed()
        self.changes = bool(changed) and not recorder.why
        self.why = recorder.why or changed
        self._state = recorder.state(self._is_outside)
        self.overlaps = self._assigns_to_what_is_shared()
        stranger = self._stranger(self.result)
        if stranger is not None:
            self.give_up(f"it returns an object of class {type(stranger).__name__}, which may hold anything")
        if not self.why and not wrapped and not self.overlaps:
            replay = self._replay(leaves)
            replay.rebuild = rebuild
            try:
                replay.guards = self._reads.guards()
                self.replay = None if self.why else replay
            except (TooMuchError, UnseenError) as error:
                self.give_up(str(error))
        arguments.write_back(recorder.changed_tensors, self._as_given)
        if self._arrays and not wrapped:
            self.result = rebuild(iter(self._all_as_given(leaves)))
        if wrapped or self.overlaps:
            self.replay, self.why = None, ""

        if sum([node.nbytes for node in recorder.order]) > _MUCH:
            return_to_system()

    def _stranger(self, tree: Any) -> Any:
        """An object in a result that is neither a container nor a value; None if there is none.

        A Module is one, unless the function made it: of derivatives.
        """
        if is_leaf(tree) or isinstance(tree, _PLAIN):
            return None
        _, children, again = children_of(tree)
        known = tells_its_parts(tree) and any(isinstance(t, Tensor) and self._is_outside(t) for t in children)
        if again is None or known or (tells_its_parts(tree) and not children):
            return tree
        return next((found for child in children if (found := self._stranger(child)) is not None), None)

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
        self.give_up(recorder.why)
        state = self._state
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
        self._hidden_bases: set[Node] = set()
        self._outputs: dict[int, str] = {}
        self._copies = replay.copies = []
        self._make_results(replay, leaves)
        replay.handed_out = [i for i, node in enumerate(inputs) if node in self._hidden_bases]
        self._note_effects(replay)
        replay.errors = self._errors()
        replay.generators = [rng for rng, _, _ in recorder.draws.values()]
        if not all(rng is None or self._reads.has_found(rng) for rng in replay.generators):
            self.give_up("it makes the random generator that it draws from; make it outside")
        self._want_all_draws()
        written = {recorder.known(array) for array in recorder.written.values()}
        replay.assigned = [i for i, node in enumerate(inputs) if node in written]
        recorded = [leaves[replay.tensors[place]] for place in replay.recorded]
        if recorded and not self.why:
            users = any(not node.op.on_arrays for node in recorder.order if node.op is not None)
            try:
                with self._reads if users else nullcontext():  # their rules read state, too
                    self._plan_backward(replay, inputs, recorded)
                self.give_up(self._changed() if users else "")
            except Exception as error:  # of a rule; the function itself raises it if the gradient is asked for
                self.give_up(f"its gradient cannot be computed ({error})")
        self.give_up(recorder.why)
        replay.plan = Plan(inputs, self._wanted, recorder.recorded())
        return replay

    def _changed(self) -> str:
        """What has changed of all that the function reads, but for generators that its operations drew from; "" if
        nothing has."""
        return self._reads.changed([(before, after) for _, before, after in self._recorder.draws.values()])

    def _want_all_draws(self) -> None:
        """Let the plan make all draws, also those that nothing computed is made of: others come after them."""
        rest = {node for node in self._recorder.order if isinstance(node.op, Draw)}
        for node in sorted(rest - needed(self._recorder.order, self._wanted), key=self._recorder.order.index):
            self._want(node)

    def _want(self, node: Node) -> int:
        """Let the plan compute a node, for nobody else to hold; its place among the outputs."""
        self._wanted.append(node)
        return len(self._wanted) - 1

    def _output(self, array: Any) -> str:
        """The value of an array that the function left in a Tensor, by its name in the replay's source. Tensors share
        it where they share the array, with an input as well, but not with an array given."""
        known = self._outputs.get(id(array))
        if known is None:
            node = self._recorder.known_or_constant(array)
            shared = node.op is not None or node.array is not None or self._recorder.array_of(node) is array
            known = f"y{self._want(node)}" if shared and node not in self._arrays else self._copied(node)
            self._outputs[id(array)] = known
        return known

    def _copied(self, node: Node) -> str:
        """A copy of an input's value, made before anything changes."""
        name = f"c{len(self._copies)}"
        self._copies.append(f"{name} = y{self._want(node)}.copy(order='K')")
        return name

    def _assigns_to_what_is_shared(self) -> bool:
        """Whether elements of a tensor from outside were assigned to that shares memory with something else read, or of
        an argument that was handed out."""
        known = {id(t): array for t, array in zip(self._tensors, self._before, strict=True)}
        for tensor, node in self._recorder.named.values():
            if self._is_outside(tensor):
                known.setdefault(id(tensor), self._recorder.array_of(node))
        given = set(map(id, self._tensors))
        return any(
            (key in given and make.is_handed_out(array))
            or make.overlap(known.get(key, array), [other for at, other in known.items() if at != key])
            for key, array in self._recorder.written.items()
            if key in known or self._is_outside(self._recorder.changed_tensors[key][0])
        )

    # Results -----------------------------------------------------------------------------------------------------

    def _make_results(self, replay: Replay, leaves: Sequence[Any]) -> None:
        replay.results, replay.sharing, replay.recorded = [], [], []
        replay.tensors = [i for i, y in enumerate(leaves) if isinstance(y, Tensor)]
        links = self._links(leaves)
        for i, y in enumerate(leaves):
            if i in links:
                replay.results.append("None")
            else:
                replay.results.append(self._expression(y))
                self._note_hidden_base(y)
                if self._is_recorded(y):
                    replay.recorded.append(replay.tensors.index(i))
        for i, (base, path, own) in links.items():
            made = f"r{base}" if isinstance(base, int) else self._there(base)
            if path:
                operands = self.source.name(path), str(leaves[i].needs), str(own)
                made = self._with_gradient(self.source.call(make.view, made, *operands), leaves[i])
            replay.sharing.append(f"r{i} = {made}")

    def _note_hidden_base(self, y: Any) -> None:
        """Note the input that a result would be a view of, were its memory not handed out: see memory.py."""
        node = self._recorder.known(y._array) if isinstance(y, Tensor) else None
        if node is not None and node.is_view:
            while node.is_view:
                node = node.inputs[0]
            if node.op is None and make.is_handed_out(self._recorder.array_of(node)):
                self._hidden_bases.add(node)

    def _links(self, leaves: Sequence[Any]) -> dict[int, sharing.Link]:
        """The results that share memory with others or with what the caller has; see sharing.py."""
        links, share = sharing.links(self._names, lambda t: self._is_outside(t) or self._place_of(t) is not None)
        if share:
            self.give_up("it returns views of one value that share memory, but not that value")
        return {i: link for i, link in links.items() if self._can_share(leaves, i, *link[:2])}

    def _can_share(self, leaves: Sequence[Any], i: int, base: Any, path: Sequence[Any]) -> bool:
        """Whether a result can be made a view of its base, or the same object."""
        if not path:
            return True
        if leaves[i].op is not None and self._recorder.was_swept(leaves[i]):
            self.give_up("it returns a view, and has computed the gradient of that")
        place = None if isinstance(base, int) else self._place_of(base)
        foreign = place is not None and isinstance(self._given[place], ndarray)
        return self._is_array(leaves[i]) == (self._is_array(leaves[base]) if isinstance(base, int) else foreign)

    def _place_of(self, tensor: Any) -> int | None:
        """Which of the Tensors given it is."""
        return next((i for i, t in enumerate(self._tensors) if t is tensor), None)

    def _there(self, tensor: Any) -> str:
        """The expression for a tensor from outside."""
        place = self._place_of(tensor)
        return self.source.name(tensor) if place is None else f"a{place}"

    def _is_recorded(self, y: Any) -> bool:
        """Whether a result needs a gradient that the function has not computed itself."""
        if not isinstance(y, Tensor) or y.op is None or y.needs <= DETACHED or self._is_outside(y):
            return False
        return not self._recorder.was_swept(y)

    def _expression(self, y: Any) -> str:
        """The expression for a result in the replay's source; for a recorded one, for its value."""
        recorder, source = self._recorder, self.source
        if isinstance(y, ndarray):
            return self._array_expression(y)
        if not isinstance(y, Tensor) or self._is_outside(y) or self._place_of(y) is not None:
            return self._there(y)
        if self._is_array(y):
            return self._array(recorder.known_or_constant(y._array))
        array = self._output(y._array)
        if y.op is not None and recorder.was_swept(y):
            op = make.Spent(getattr(self._f, "__name__", repr(self._f)))
            return source.call(make.spent, array, source.name(op))
        needs = CONSTANT if self._is_recorded(y) else y.needs
        made = source.call(make.tensor, array, str(needs)) if needs != CONSTANT else source.call(constant, array)
        return self._with_gradient(made, y)

    def _with_gradient(self, made: str, y: Any) -> str:
        gradient = y._grad
        if y.op is not None or type(gradient) is not autograd.Gradient:
            return made
        return self.source.call(make.with_gradient, made, self._output(gradient.array))

    def _array_expression(self, y: Any) -> str:
        """The expression for a result that is an array already."""
        outside = self._reads.arrays()
        node = self._recorder.known(y)
        if any(y is a for a in outside):
            return self.source.name(y)
        others = [a for a in self._names if isinstance(a, ndarray) and a is not y]
        if make.overlap(y, [*outside, *others]):
            self.give_up("it returns an array that shares memory with another one")
        return f"{self.source.name(y.copy(order='K'))}.copy(order='K')" if node is None else self._array(node)

    def _array(self, node: Node) -> str:
        """The expression for a result returned as `_as_from_numpy` makes it."""
        array = self._copied(node) if node in self._arrays else f"y{self._want(node)}"
        return array + "[()]" * (not node.shape)

    def _is_array(self, y: Any) -> bool:
        """Whether a result is returned as an array, because it was computed from arrays alone."""
        if not self._arrays or not isinstance(y, Tensor) or y.needs > DETACHED or self._is_outside(y):
            return False
        node = self._recorder.known(y._array)
        return node is None or self._arrays.issuperset([a for a in sort([node]) if a.op is None and a.array is None])

    def _all_as_given(self, leaves: Sequence[Any]) -> list[Any]:
        """The results, as the function would return them if it were given arrays."""
        made = [self._as_given(y) for y in leaves]
        for i, (base, path, _) in self._links(leaves).items():
            place = None if isinstance(base, int) else self._place_of(base)
            if isinstance(base, int):
                made[i] = make.view(made[base], path, CONSTANT) if isinstance(made[base], ndarray) else made[i]
            elif place is not None and isinstance(self._given[place], ndarray):
                made[i] = make.view(self._given[place], path, CONSTANT)
        return made

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
            if isinstance(tensor, Assigned) or not what <= {"data", "grad", "elements"}:
                self.give_up("it assigns to elements of a tensor from outside, or makes it need a gradient")
                continue
            target = f"a{given[0]}" if given else self.source.name(tensor)
            if "data" in what:
                array = self._output(tensor._array)
                is_array = bool(given) and isinstance(self._given[given[0]], ndarray)
                if is_array:
                    replay.effects.insert(0, self.source.call(check_writeable, target))
                setter = make.set_elements if "elements" in what else make.set_data
                effect = f"{target}[...] = {array}" if is_array else self.source.call(setter, target, array)
                replay.effects.append(effect)
            gradient = tensor._grad
            if "grad" in what and type(gradient) is autograd.Gradient:
                array = self._output(gradient.array)
                pasts = self.source.name(make.GONE if gradient.pasts else ())
                made = self.source.call(autograd.Gradient, array, pasts)
                replay.effects.append(f"{target}._grad = {made}")
            elif "grad" in what:
                replay.effects.append(f"{target}._grad = {self.source.name(gradient)}")

    def _errors(self) -> dict[str, str] | None:
        """How floating-point errors are treated while the plan runs; None: as the caller treats them. Where operations
        differ, and a plan's need not be theirs, an error makes the function itself run."""
        if not self._reads.sets_errors:
            return None
        now = np.geterr()
        modes: list[Any] = list(map(dict, self._recorder.modes)) or [now]
        errors = {}
        for kind, outside in now.items():
            found = {mode[kind] for mode in modes}
            if found - {outside, "ignore", "warn"}:
                self.give_up(f"it sets np.errstate({kind}={max(found - {outside})!r})")
            errors[kind] = "ignore" if found == {"ignore"} else "raise"
        return errors

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
