"""A captured function: where its inputs come from, what it returns and changes, and the code that repeats it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import combinations
from typing import Any

import numpy as np
from numpy import ndarray

from .. import autograd, watching
from ..autograd import (
    CONSTANT,
    RECORDED,
    Assigned,
    Tensor,
    TensorOp,
    TensorTupleOp,
    constant,
    gradient_dtype,
    latest,
    twin_of,
)
from ..checkpoint import pulled_back
from ..custom import Call
from ..memory import as_recorded, handed_out, owner_of, private
from ..nested import Rebuild, flatten
from ..ops.assignment import replace
from ..ops.random import set_state, state_of
from .arguments import Substitution
from .plan import Plan
from .source import Source

STALE = object()
"""A replay returns this if something that it depends on differs; it has changed nothing then."""


class Replay:
    """What a function does for arguments of one signature, while what it reads from outside stays the same."""

    f: Callable[..., Any]
    plan: Plan
    arguments: list[int]
    """Which of the given Tensors and arrays are the plan's first inputs."""
    state: list[tuple[Any, int]]
    """Tensors from outside, which are the next inputs, with their `needs`."""
    gradients: list[tuple[Any, bool]]
    """Tensors whose earlier gradient is read, and whether there is one, which is then an input, too."""
    guards: Any
    pinned: list[tuple[int, Any]]
    """Arguments that the function also reaches from outside: the replay holds for these very Tensors only."""
    aliases: list[tuple[Any, int]]
    """Tensors from outside that share the array of an input of the plan."""
    assigned: list[int]
    """Inputs whose elements the function assigns to: then nobody else may hold their memory."""
    handed_out: list[int]
    """Inputs of which results would be views if their memory was not handed out."""
    errors: dict[str, str] | None = None
    """How NumPy treats floating-point errors while the plan runs (see `np.errstate`), if the function sets that."""
    generators: list[Any]
    """The random generators that it draws from; None is NumPy's global state."""
    copies: list[str]
    """Statements (see `Writer`) that copy what effects, or the caller, may write into later."""
    effects: list[str]
    """Statements to run when all is computed."""
    results: list[str]
    """Expressions for the results; for those that share memory with others, for values that stand in their place."""
    sharing: list[str]
    """Statements that put these results there: the same objects as others, or views."""
    rebuild: Rebuild
    """Puts the results into the structure that the function returned."""
    tensors: list[int]
    """Which results are Tensors."""
    recorded: list[int]
    """Which of these need a gradient."""
    saved: list[int]
    """What the backward plan reads: inputs of the plan, and as ~i its outputs."""
    backward: Plan
    reaches: list[list[int]]
    """For each adjoint that `backward` computes, which of the recorded results it comes from."""
    adjoints: list[int | None]
    """For each Tensor given and from outside, the place of its adjoint among those that `backward` computes."""

    def as_one_op(
        self, call: tuple[Any, Any, Any], copies: Any, saved: list[Any], states: Any, results: list[Any]
    ) -> list[Any]:
        """The results, some of which need a gradient. `call` is (args, kwargs, the Tensors and arrays in these); the
        op keeps `copies` of the arrays. `states` are those of the random generators before the call."""
        arguments = Substitution(*call, copies)
        values = [NOTHING] * len(self.tensors)
        for place in self.recorded:
            values[place] = results[self.tensors[place]]._array
        op = Replayed(self, (arguments.args, arguments.kwargs), saved, states, values)
        outputs = op(*arguments.tensors, *[t for t, _ in self.state])
        for place in self.recorded:
            results[self.tensors[place]] = outputs[place]
        return results


class Writer:
    """Writes the function that replays. Called with (args, kwargs, the Tensors and arrays in these), it returns STALE,
    or does and returns what the captured function would.

    In its lines, a0, a1, ... are the Tensors and arrays given, x0, x1, ... the plan's inputs, y0, y1, ... its outputs,
    and r0, r1, ... the results. `given` are examples of those to come. `flat`: the arguments are nothing but these, by
    position and distinct; the function then checks them itself, and returns STALE for others, unless a fourth argument
    says that they are `known` to be alike.
    """

    def __init__(self, replay: Replay, source: Source, given: Sequence[Any], flat: bool):
        self._replay, self._source = replay, source
        self._arrays = [f"a{i}" if type(a) is ndarray else f"a{i}._array" for i, a in enumerate(given)]
        self._foreign = [i for i, a in enumerate(given) if type(a) is ndarray]
        self._inputs = self._plans_inputs()
        if flat:
            self._look_at_modes(len(given))
        if given:
            source.lines.append(f"{', '.join([f'a{i}' for i in range(len(given))])}, = given")
        if flat and given:
            self._stop_unless_known([*[self._unlike(i, a) for i, a in enumerate(given)], _any_same(self._arrays)])
        self._look_outside()
        self._compute()
        self.function = source.function("replay", ("args", "kwargs", "given", "known=False"), replay.f)

    def _stop_if(self, conditions: Sequence[str]) -> None:
        if conditions:
            self._source.lines.append(f"if {' or '.join(conditions)}: return {self._source.name(STALE)}")

    def _stop_unless_known(self, conditions: Sequence[str]) -> None:
        self._stop_if([f"not known and ({' or '.join(conditions)})"])

    def _look_at_modes(self, n: int) -> None:
        name = self._source.name
        recording = f"{name(autograd.recording_mode)}() is not {name(autograd.recording_mode())}"
        modes = [f"{name(watching)}.active", recording]
        self._stop_unless_known(["kwargs", f"len(given) != {n}", *modes])

    def _unlike(self, i: int, a: Any) -> str:
        """A condition that holds if argument i is not like this one."""
        name, array = self._source.name, a if type(a) is ndarray else a._array
        shape, dtype = array.shape, name(array.dtype)
        kind = f"type(a{i}) is not {name(type(a))}"
        if array is a:
            return f"{kind} or a{i}.shape != {shape} or a{i}.dtype is not {dtype}"
        return f"{kind} or a{i}.needs != {a.needs} or (x := a{i}._array).shape != {shape} or x.dtype is not {dtype}"

    def _look_outside(self) -> None:
        """Write the checks that what it depends on is as it was."""
        replay, name, lines = self._replay, self._source.name, self._source.lines
        same, holds = replay.guards.written(self._source), f"{name(replay.guards.holds)}()"
        if same is None:
            self._stop_if([f"not {holds}"])
        elif same:
            lines.append(f"try: same = {' and '.join(same)}")
            lines.append("except (LookupError, AttributeError, ValueError, RuntimeError): same = False")
            self._stop_if([f"not (same or {holds})"])
        changed = [f"a{i} is not {name(tensor)}" for i, tensor in replay.pinned]
        changed += [f"{name(tensor)}.needs != {needs}" for tensor, needs in replay.state]
        for tensor, there in replay.gradients:
            changed.append(f"(type({name(tensor)}._grad) is {name(autograd.Gradient)}) is not {there}")
        changed += [f"{self._array_of(tensor)} is not {self._inputs[i]}" for tensor, i in replay.aliases]
        for i in replay.assigned:
            others = ", ".join(self._inputs[:i] + self._inputs[i + 1 :])
            changed.append(f"{name(overlap)}({self._inputs[i]}, [{others}])")
            changed.append(self._source.call(is_handed_out, self._inputs[i]))
        changed += [f"not {self._source.call(is_handed_out, self._inputs[i])}" for i in replay.handed_out]
        if replay.errors is not None:
            changed.append(f"{name(np.geterr)}() != {np.geterr()!r}")
        self._stop_if(changed)

    def _array_of(self, tensor: Any) -> str:
        """The current array of a tensor from outside; after assignments to its elements, another tensor holds it."""
        name = self._source.name(tensor)
        return f"({name} if type({name}) is {self._source.name(Tensor)} else {self._source.call(latest, name)})._array"

    def _plans_inputs(self) -> list[str]:
        replay = self._replay
        inputs = [self._arrays[i] for i in replay.arguments] + [self._array_of(tensor) for tensor, _ in replay.state]
        return inputs + [f"{self._source.name(tensor)}._grad.array" for tensor, there in replay.gradients if there]

    def _compute(self) -> None:
        """Write the computation, effects and results. Nothing changes before all is computed."""
        replay, name, lines = self._replay, self._source.name, self._source.lines
        lines += [f"x{i} = {array}" for i, array in enumerate(self._inputs)]
        inputs = [f"x{i}" for i in range(len(self._inputs))]
        outputs = [f"y{i}" for i in range(len(replay.plan.outputs))]
        if replay.generators:
            lines.append(f"states = {self._source.call(states_of, name(replay.generators))}")
        errors = "" if replay.errors is None else f"with {name(np.errstate)}(**{replay.errors!r}): "
        lines += ["try:", f"    {errors}[{', '.join(outputs)}] = {self._source.call(replay.plan.run, *inputs)}"]
        # Nothing has changed yet, and the function itself has the better error message.
        lines.append("except Exception:")
        if replay.generators:
            lines.append(f"    {self._source.call(set_states, name(replay.generators), 'states')}")
        lines.append(f"    return {name(replay.f)}(*args, **kwargs)")
        lines += replay.copies
        if replay.recorded:
            lines += [f"d{i} = a{i}.copy(order='K')" for i in self._foreign]
            lines.append(f"saved = [{', '.join([self._kept(i) if i >= 0 else outputs[~i] for i in replay.saved])}]")
        lines += replay.effects
        if replay.rebuild is next and not (replay.recorded or replay.sharing):
            lines.append(f"return {replay.results[0]}")
            return
        lines += [f"r{i} = {result}" for i, result in enumerate(replay.results)]
        results = f"[{', '.join([f'r{i}' for i in range(len(replay.results))])}]"
        if replay.recorded:
            copies = f"[{', '.join([f'd{i}' for i in self._foreign])}]"
            states = "states" if replay.generators else "()"
            op = self._source.call(replay.as_one_op, "(args, kwargs, given)", copies, "saved", states, results)
            lines.append(f"{results} = {op}")
        lines += replay.sharing
        lines.append("return r0" if replay.rebuild is next else f"return {name(replay.rebuild)}(iter({results}))")

    def _kept(self, i: int) -> str:
        """An input for the backward plan, which reads what the plan read, whatever is written there in between."""
        arguments = self._replay.arguments
        if i < len(arguments) and arguments[i] in self._foreign:
            return f"d{arguments[i]}"
        return f"{self._source.call(private, f'x{i}')} if {self._source.name(handed_out)} else x{i}"


def _any_same(names: Sequence[str]) -> str:
    """A condition that holds if two of these are the same object."""
    if len(names) > 4:
        return f"len({{{', '.join([f'id({name})' for name in names])}}}) != {len(names)}"
    return " or ".join([f"{a} is {b}" for a, b in combinations(names, 2)]) or "False"


NOTHING = np.empty(0)
"""Stands among the values of a `Replayed` in the place of a result that needs no gradient from it."""


class Replayed(TensorTupleOp):
    """A replay as one op: its inputs are the Tensors among the arguments and those from outside."""

    __slots__ = ("_call", "_replay", "_saved", "_states", "_values")
    same_inputs, on_arrays = True, False

    def __init__(self, replay: Replay, call: tuple[Any, Any], saved: list[Any], states: Any, values: Sequence[Any]):
        self._replay = replay
        self._call = call
        self._saved = saved
        self._states = states
        self._values = tuple(values)

    def __repr__(self) -> str:
        return f"compiled({getattr(self._replay.f, '__name__', self._replay.f)})"

    def compute(self, *arrays: Any) -> Any:
        return self._values

    def gradient(self, out_grad: Any, node: Any) -> Any:
        """By the plan, if nothing records or watches; else by the function itself, whose operations can be recorded."""
        plain = autograd.recording_mode() is False and not watching.active
        if plain and all(g is None or type(g) is Tensor for g in out_grad):
            seeds = []
            for place in self._replay.recorded:
                g, y = out_grad[place], self._values[place]
                seeds.append(np.zeros(y.shape, gradient_dtype(y.dtype)) if g is None else g._array)
            try:
                saved = map(as_recorded, self._saved) if handed_out else self._saved
                found = self._replay.backward.run(*saved, *seeds)
            except Exception:  # the function itself has the better error message
                return self._again(out_grad, node)
            return self._adjoints(found, [out_grad[place] is not None for place in self._replay.recorded])
        return self._again(out_grad, node)

    def _adjoints(self, found: Sequence[Any], there: Sequence[bool]) -> tuple[Any, ...]:
        """The adjoint of each input, as the plan found it; `there`: which of the recorded results have an adjoint."""
        pairs = zip(found, self._replay.reaches, strict=True)
        adjoints = [constant(g) if any(there[i] for i in seeds) else None for g, seeds in pairs]
        return tuple([None if i is None else adjoints[i] for i in self._replay.adjoints])

    def _again(self, out_grad: Any, node: Any) -> Any:
        if self._replay.effects:
            raise ValueError(
                f"{self!r}: it changes tensors, and would do that again where its derivative is differentiated; leave "
                "the function that changes them uncompiled there"
            )
        with _as_seen([tensor for tensor, _ in self._replay.state], node) as seen:
            return self._rerun(out_grad, seen)

    def _rerun(self, out_grad: Any, node: Any) -> tuple[Any, ...]:
        args, kwargs = self._call
        generators = list(dict.fromkeys([None, *self._replay.generators]))
        now = states_of(generators)
        set_states(self._replay.generators, self._states)
        call = Call(self._replay.f, args, kwargs)
        given = list(map(autograd.renamed, node.inputs[: len(call.where)]))
        try:
            with autograd.enable_grad():
                outputs = [y for y in flatten(call.run(given))[0] if isinstance(y, Tensor)]
        finally:
            set_states(generators, now)
        wanted = [a for a in node.inputs if autograd.wanted(a)]
        found = pulled_back(outputs, out_grad, wanted)
        return tuple([found.pop(a, None) for a in node.inputs])  # a repeated input gets its adjoint once


@contextmanager
def _as_seen(tensors: Sequence[Any], node: Any) -> Iterator[Any]:
    """Let these tensors, the last inputs of the node, have the values that it saw; gives the node with such inputs."""
    if any(isinstance(tensor, Assigned) for tensor in tensors):
        raise ValueError(
            f"{node.op!r}: elements of a tensor that it reads from outside have been assigned to since, so that its "
            "derivative cannot be differentiated; assign to a copy, or leave the function uncompiled"
        )
    first, asked = len(node.inputs) - len(tensors), autograd.get_asked()
    pairs = zip(tensors, node.inputs[first:], strict=True)
    changed = {a: (tensor, tensor._array) for tensor, a in pairs if a.op is autograd.IDENTITY and a.inputs == (tensor,)}
    if not changed:
        yield node
        return
    inputs = [changed[a][0] if a in changed else a for a in node.inputs]
    token = autograd.set_asked(asked and {changed[a][0] if a in changed else a for a in asked})
    try:
        for a, (tensor, _) in changed.items():
            tensor._array = a._array
        yield twin_of(node, node._array, tuple(inputs))
    finally:
        for tensor, array in changed.values():
            tensor._array = array
        autograd.reset_asked(token)


class Spent(TensorOp):
    """The op of a returned value whose gradient the compiled function has computed itself."""

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


def states_of(generators: Sequence[Any]) -> list[Any]:
    return [state_of(rng) for rng in generators]


def set_states(generators: Sequence[Any], states: Sequence[Any]) -> None:
    for rng, state in zip(generators, states, strict=True):
        set_state(rng, state)


def overlap(array: Any, others: Sequence[Any]) -> bool:
    """Whether an array shares memory with any of the others."""
    return any(np.may_share_memory(array, other) for other in others)


def is_handed_out(array: Any) -> bool:
    """Whether the user holds this array, and so operations take private copies of it: see memory.py."""
    return id(owner_of(array)) in handed_out


# Results and effects -------------------------------------------------------------------------------------------------


def view(base: Any, path: Sequence[Any], needs: int, own: bool = False) -> Any:
    """The view of a Tensor or an array that these ops lead to (None: `detach`). `own`: a Tensor gets its own memory, as
    one has whose base was assigned to."""
    if isinstance(base, ndarray):
        for op in path:
            base = base[...] if op is None else op.compute(base)
        return base if base.ndim else base[()]
    with autograd.no_grad() if needs == CONSTANT else nullcontext():
        for op in path:
            base = base.detach() if op is None else op(base)
    if base.op is None:
        base.needs = needs
    if own:
        base._array = base._array.copy(order="K")
    return base


def set_elements(tensor: Any, array: Any) -> None:
    """Like `tensor[...] = array`: all that shows these elements changes."""
    replace(latest(tensor), array)


def set_data(tensor: Any, array: Any) -> None:
    """Like `tensor.data = array`, on the tensor that now holds the elements."""
    autograd.set_value(latest(tensor), array)


def tensor(array: Any, needs: int) -> Any:
    made = constant(array)
    made.needs = needs
    return made


def with_gradient(tensor: Any, gradient: Any) -> Any:
    tensor._grad = autograd.Gradient(gradient, GONE)
    return tensor


def spent(array: Any, op: Spent) -> Any:
    tensor, source = constant(array), constant(array)
    source.needs = tensor.needs = RECORDED
    tensor.op, tensor.inputs = op, (source,)
    return tensor


GONE = (autograd.Past(constant(np.zeros(())), None, None),)
"""A call of backward() on an output that is gone: a further derivative of its gradient raises an error."""
