"""Whose mistake it is: the op whose rule is wrong, found in the recorded graph, or else the function itself."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import autograd
from ..autograd import Op, Tensor, TensorTuple, Value, constant, find_topo_sort
from ..checkpoint import Checkpoint
from ..custom import CustomGradient, CustomJvp
from ..ops.matrices import hermitian_part
from ..ops.tuples import make_tuple
from .compare import Mismatch, Settings, by_element, judge, mismatches, probe_of
from .functions import Arrays, Function, derivative, upcast
from .mistakes import (
    Mistake,
    Rule,
    Suspect,
    detached,
    influential_leaks,
    inside_a_transform,
    kept_in_the_op,
    of_one_triangle,
    simple,
    written_on_arrays,
)
from .watch import Through, run_through, watch


@dataclass
class Finding:
    """The rule at fault ("": none is, by itself), and the mistakes that this looks like."""

    fault: str = ""
    mistakes: list[Mistake] = field(default_factory=list)


@dataclass
class Operation:
    """A single op on the inputs that it had in a graph, as a function of those that depend on f's inputs."""

    op: Op
    function: Function
    whole: Arrays
    """All its inputs; of a TensorTuple, a tuple of arrays."""
    places: list[tuple[int, int | None]]
    """Of each input of the function: the op's input, and the member of it if that is a TensorTuple."""


def diagnose(mismatch: Mismatch, settings: Settings) -> Finding:
    """What is wrong behind a derivative that is."""
    found = _wrong_operation(mismatch, settings)
    if found is not None:
        return _of_operation(*found, settings)
    if mismatch.error is not None or mismatch.note:
        return Finding()
    suspect = Suspect(mismatch, settings)
    try:
        ops = [node.op for node in _dependent_nodes(mismatch.function)[0]]
        mistake = (
            detached(mismatch, suspect, settings)
            or kept_in_the_op(mismatch, suspect, ops)
            or of_one_triangle(suspect, ops)
        )
    except Exception:  # f wants plain tensors
        mistake = None
    return Finding(mistakes=list(simple(suspect)) if mistake is None else [mistake])


# ---------------------------------------------------------------------------------------------------- which op it is


def _wrong_operation(mismatch: Mismatch, settings: Settings) -> tuple[Mismatch, Operation] | None:
    """The first op in the graph that by itself is wrong in this way.

    Of a derivative, the graph of the lower derivatives is looked through first, for ops that their rules are made of.
    """
    chain = mismatch.function.chain
    for depth, function in enumerate(chain):
        modes = [*[g.mode for g in reversed(chain[:depth])], mismatch.mode]
        for operation in _operations(function):
            alone = operation.function
            try:
                for mode in modes[:-1]:
                    alone = derivative(alone, mode, settings.rng)
            except Exception:  # it cannot be run by itself
                continue
            tried = [modes[-1]] if modes[-1] == "reverse" else ["reverse", "forward"]
            for found in mismatches(alone, tried, settings):
                if _is_wrong(found, settings):
                    return found, operation
    return None


def _dependent_nodes(function: Function) -> tuple[list[Any], set[Value]]:
    """The nodes of a function's graph that depend on its inputs, sorted; and the set of these and the inputs."""
    variables = [Tensor(a) for a in function.wide]
    dependent: set[Value] = set(variables)
    nodes = []
    try:
        outputs = run_through(Through, function.call, variables)
    except Exception:  # f wants plain tensors
        outputs = list(function.call(*variables))
    for node in find_topo_sort([y for y in outputs if isinstance(y, Value)]):
        if not dependent.isdisjoint(node.inputs):
            dependent.add(node)
            nodes.append(node)
    return nodes, dependent


def _operations(function: Function) -> Iterator[Operation]:
    """The ops in a function's graph between its inputs and its outputs, those from outside of Needle first. Of a kind
    of op that is met often, only some."""
    try:
        nodes, dependent = _dependent_nodes(function)
    except Exception:  # this may be what is wrong
        return
    met: dict[Any, int] = {}
    for node in sorted(nodes, key=lambda node: type(node.op).__module__.startswith("needle.")):
        kind = type(node.op), *[_shape(a._array) for a in node.inputs]
        met[kind] = met.get(kind, 0) + 1
        inside = type(node.op).__module__.startswith(f"{autograd.__name__}.") or isinstance(node.op, Checkpoint)
        if met[kind] <= 8 and not inside:
            operation = _alone(node, [a in dependent for a in node.inputs])
            if operation is not None:
                yield operation


def _shape(array: Any) -> Any:
    return tuple(map(_shape, array)) if isinstance(array, tuple) else array.shape


def _alone(node: Any, depends: list[bool]) -> Operation | None:
    """The op of a node as a function of its inputs there; None if it cannot be run again."""
    op, whole = node.op, [_copy(a._array) for a in node.inputs]
    hermitian = getattr(op, "hermitian", False)
    places: list[tuple[int, int | None]] = []
    for p, array in enumerate(whole):
        if depends[p]:
            places += [(p, k) for k in range(len(array))] if isinstance(array, tuple) else [(p, None)]

    def call(*tensors: Any) -> Sequence[Any]:
        full: list[Any] = [list(map(constant, a)) if isinstance(a, tuple) else constant(a) for a in whole]
        for (p, k), t in zip(places, tensors, strict=True):
            if k is None:
                full[p] = hermitian_part(t) if hermitian and p == 0 else t
            else:
                full[p][k] = t
        out = op(*[make_tuple(*a) if isinstance(a, list) else a for a in full])
        return tuple(out) if isinstance(out, TensorTuple) else (out,)

    names = [f"input {p}" if k is None else f"input {p}[{k}]" for p, k in places]
    outputs = [f"output {k}" for k in range(len(node) if isinstance(node, TensorTuple) else 1)]
    for widen in (upcast, np.array):  # which may insist on its dtype
        point = [widen(whole[p] if k is None else whole[p][k]) for p, k in places]
        try:
            return Operation(op, Function(call, point, point, names, outputs), whole, places)
        except Exception:
            continue
    return None


def _copy(array: Any) -> Any:
    return tuple(map(_copy, array)) if isinstance(array, tuple) else np.array(array)


def _is_wrong(mismatch: Mismatch, settings: Settings) -> bool:
    """Whether it is the rule: not a corner, and not noise."""
    if mismatch.error is not None or mismatch.note:
        return True
    probe = probe_of(mismatch, settings)
    verdicts = [judge(probe, probe.random_direction()).verdict for _ in range(2)]
    if "wrong" in verdicts:
        return True
    return "corner" in verdicts and any(element.verdict == "wrong" for element in by_element(probe))


# ----------------------------------------------------------------------------------------------- what is wrong with it


def _of_operation(found: Mismatch, operation: Operation, settings: Settings) -> Finding:
    op = operation.op
    shapes = " and ".join(str(_shape(a)) for a in operation.whole)
    try:
        rule, trouble, mistakes = _of_rule(found, operation, settings)
    except Exception:  # the rule, for an input that nobody asked for
        rule, trouble, mistakes = "gradient", "", []
    if not trouble and found.error is None and 1 < len(operation.places) > found.i:
        trouble = f"the adjoint of {operation.function.inputs[found.i]} is wrong"
    fault = f"{_written(op, rule)}, on inputs of shape {shapes}{trouble and ': '}{trouble}"
    return Finding(fault, mistakes)


def _written(op: Op, rule: str) -> str:
    """`Cube.gradient (cube.py:12)`."""
    if isinstance(op, CustomGradient):
        name, function = f"the gradient rule of {op!r}", op.call.f
    elif isinstance(op, CustomJvp):
        name, function = f"the forward rule of {op!r}", op.rule
    else:
        name, function = f"{type(op).__name__}.{rule}", getattr(type(op), rule)
    code = getattr(function, "__code__", None)
    return name if code is None else f"{name} ({Path(code.co_filename).name}:{code.co_firstlineno})"


def _of_rule(found: Mismatch, operation: Operation, settings: Settings) -> tuple[str, str, list[Mistake]]:
    """(the rule at fault, what is to be said of it besides, the mistakes)."""
    op, base = operation.op, operation.function
    own_tangent = type(op).tangent is not Op.tangent
    if found.error is not None:
        return _innermost_rule(found.error), "", _not_differentiable(found, base, settings)[1]
    if found.note:
        by_tangent = found.mode == "forward" and own_tangent and found.function is base
        return "tangent" if by_tangent else "gradient", found.note, []
    if found.function is not base:
        rule, mistakes = _not_differentiable(found, base, settings)
        return rule, "", mistakes
    suspect = Suspect(found, settings)
    if any(k is not None for _, k in operation.places):
        return "gradient", "", list(simple(suspect))
    by_hand = _rule(operation, suspect)
    if by_hand.adjoint is None or not suspect.is_numeric(suspect.paired(by_hand.adjoint)):
        return "gradient", "", _of_gradient(by_hand, suspect)
    if found.mode == "reverse":
        return "gradient", "it is right for Tensors, and must say the same of arrays", []
    if own_tangent:
        return "tangent", "`gradient` is right, and `tangent` must be its transpose", list(simple(suspect))
    return "gradient", "", _not_differentiable(found, base, settings)[1]


def _rule(operation: Operation, suspect: Suspect) -> Rule:
    return Rule(operation.op, operation.function, operation.whole, [p for p, _ in operation.places], suspect)


def _of_gradient(rule: Rule, suspect: Suspect) -> list[Mistake]:
    """The mistakes that a wrong `gradient` looks like."""
    if rule.adjoint is not None:
        suspect.analytic = suspect.paired(rule.adjoint)
    mistake = rule.mistake()
    if mistake is None:
        return list(simple(suspect))
    ambiguous = mistake.what.startswith(("a path", "the adjoints", "one adjoint"))  # as when a and b are equal
    return [mistake, *(simple(suspect) if ambiguous else ())]


RULES = ("gradient", "tangent")


def _innermost_rule(error: Exception) -> str:
    """The rule that raised it."""
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    return next((name for name in reversed(names) if name in RULES), "gradient")


def _not_differentiable(found: Mismatch, base: Function, settings: Settings) -> tuple[str, list[Mistake]]:
    """Of an op that gives the right numbers, and cannot be differentiated: which of its rules, and why."""
    function = found.function
    try:
        if function is base:
            function = derivative(base, "reverse", settings.rng)
        leaks = influential_leaks(function, settings)
        if found.error is not None and not leaks:
            all_leaks = watch(function.call, function.wide)[1].leaks
            return "gradient", [inside_a_transform(leak) for leak in all_leaks if leak.how == ".cached_data"][:1]
    except Exception:  # it fails in another way
        return "gradient", []
    rule = next((leak.function for leak in leaks if leak.function in RULES), "gradient")
    return rule, [written_on_arrays(leaks, first_order=found.function is base)]
