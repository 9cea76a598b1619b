"""A captured function: where its inputs come from, what it returns and changes, and the code that repeats it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy import ndarray

from .. import autograd, watching
from ..autograd import RECORDED, Tensor, TensorOp, TensorTupleOp, constant, gradient_dtype, latest
from ..checkpoint import pulled_back
from ..custom import Call
from ..nested import Rebuild, flatten
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
    alone = False
    """Whether the function assigns to an argument: then no two may share memory."""
    effects: list[str]
    """Statements (see `Writer`) to run when all is computed."""
    results: list[str]
    """Expressions for the results."""
    rebuild: Rebuild
    """Puts the results into the structure that the function returned."""
    repeated: list[tuple[int, int]]
    """Which results are the same object as an earlier one."""
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

    def as_one_op(self, args: Any, kwargs: Any, given: Sequence[Any], saved: list[Any], results: list[Any]) -> Any:
        """The results, some of which need a gradient."""
        arguments = Substitution(args, kwargs, given)
        values = [results[i] for i in self.tensors]
        op = Replayed(self, (arguments.args, arguments.kwargs), saved, values)
        outputs = op(*arguments.tensors, *[t for t, _ in self.state])
        for place in self.recorded:
            results[self.tensors[place]] = outputs[place]
        for i, same in self.repeated:
            results[i] = results[same]
        return self.rebuild(iter(results))


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
        recording = f"{name(autograd.is_recording)}() is not {name(autograd.is_recording())}"
        modes = [f"{name(autograd.modes)}.LAZY_MODE", f"{name(watching)}.active", recording]
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
        self._stop_if([*changed, f"{name(overlap)}(given)"] if replay.alone else changed)

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
        lines.append(f"try: [{', '.join(outputs)}] = {self._source.call(replay.plan.run, *inputs)}")
        # Nothing has changed yet, and the function itself has the better error message.
        lines.append(f"except Exception: return {name(replay.f)}(*args, **kwargs)")
        lines += replay.effects
        if replay.rebuild is next and not replay.recorded:
            lines.append(f"return {replay.results[0]}")
            return
        lines += [f"r{i} = {result}" for i, result in enumerate(replay.results)]
        results = f"[{', '.join([f'r{i}' for i in range(len(replay.results))])}]"
        if replay.recorded:
            saved = f"[{', '.join([inputs[i] if i >= 0 else outputs[~i] for i in replay.saved])}]"
            lines.append(f"return {self._source.call(replay.as_one_op, 'args', 'kwargs', 'given', saved, results)}")
        else:
            lines.append(f"return {name(replay.rebuild)}(iter({results}))")


def _any_same(names: Sequence[str]) -> str:
    """A condition that holds if two of these are the same object."""
    if len(names) > 4:
        return f"len({{{', '.join([f'id({name})' for name in names])}}}) != {len(names)}"
    return " or ".join([f"{a} is {b}" for a, b in combinations(names, 2)]) or "False"


class Replayed(TensorTupleOp):
    """A replay as one op: its inputs are the Tensors among the arguments and those from outside."""

    __slots__ = ("_call", "_replay", "_saved", "_values")
    same_inputs, on_arrays = True, False

    def __init__(self, replay: Replay, call: tuple[Any, Any], saved: list[Any], values: Sequence[Any]):
        self._replay = replay
        self._call = call
        self._saved = saved
        self._values = tuple([y._array if isinstance(y, Tensor) else y for y in values])

    def __repr__(self) -> str:
        return f"compiled({getattr(self._replay.f, '__name__', self._replay.f)})"

    def compute(self, *arrays: Any) -> Any:
        return self._values

    def gradient(self, out_grad: Any, node: Any) -> Any:
        """By the plan, if nothing records or watches; else by the function itself, whose operations can be recorded."""
        plain = autograd.is_recording() is False and not watching.active
        if plain and all(g is None or type(g) is Tensor for g in out_grad):
            seeds = []
            for place in self._replay.recorded:
                g, y = out_grad[place], self._values[place]
                seeds.append(np.zeros(y.shape, gradient_dtype(y.dtype)) if g is None else g._array)
            try:
                found = self._replay.backward.run(*self._saved, *seeds)
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
        (args, kwargs), state = self._call, np.random.get_state()
        call = Call(self._replay.f, args, kwargs)
        given = list(map(autograd.renamed, node.inputs[: len(call.where)]))
        try:
            with autograd.enable_grad():
                outputs = [y for y in flatten(call.run(given))[0] if isinstance(y, Tensor)]
        finally:
            np.random.set_state(state)
        wanted = [a for a in node.inputs if autograd.wanted(a)]
        found = pulled_back(outputs, out_grad, wanted)
        return tuple([found.pop(a, None) for a in node.inputs])  # a repeated input gets its adjoint once


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


def overlap(given: Sequence[Any]) -> bool:
    """Whether any two distinct ones of these Tensors and arrays share memory."""
    arrays = [a if isinstance(a, ndarray) else a._array for a in given]
    return any(a is not b and np.may_share_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


# Results and effects -------------------------------------------------------------------------------------------------


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
