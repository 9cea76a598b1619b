"""The sweep: adjoints pulled back over the sorted graph, from the outputs to the leaves, in one loop.

`backward()` (higher_order.py) comes here with the adjoint of the output. The chain rule says that the adjoint of a
value is the sum, over all operations that used the value, of the *partial adjoint* that each of them sends back: its
vector-Jacobian product with the adjoint of its own output. In reverse topological order all of these have been added
before the sweep reaches the value.
"""

from __future__ import annotations

from cmath import isnan
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from sys import getrefcount
from typing import Any

import numpy as np
from numpy import ndarray

from .. import watching
from ..backend import as_array
from ..closures import check_levels
from ..memory import handed_out
from ..pool import ALONE, owns_memory
from .adjoints import (
    ZERO,
    Held,
    Masked,
    Node,
    add_adjoint,
    as_arrays,
    as_tensors,
    fit,
    masked_again,
    total_adjoint,
    unbroadcast,
    unmasked,
    whole_adjoint,
)
from .history import arrays_as_recorded, node_as_recorded
from .modes import recording_mode, reset_recording, set_recording
from .op import Op
from .tensor import Tensor, is_gradient
from .versions import names, settle


def find_topo_sort(
    node_list: Sequence[Any],
    inputs_of: Callable[[Any], Sequence[Any]] | None = None,
    *,
    differentiable: bool = False,
    stop: Iterable[Any] = (),
    seen: set[Any] | None = None,
) -> list[Any]:
    """Post-order depth-first sort: every node stands after all of its inputs, which are visited from left to right.

    `inputs_of` says which inputs of a node to pass through, all by default; `differentiable`: those that adjoints pass
    through, which are not constants. It goes no further than the nodes in `stop`. `seen` is filled with the nodes.
    """
    if names.data and inputs_of is None:
        settle(node_list)
    every, ends, seen = not differentiable, set(stop) if stop else (), set() if seen is None else seen
    order: list[Any] = []
    stack: list[Any] = [*node_list][::-1]  # nodes to visit; below a None stands one that waits for its inputs
    push, pop = stack.append, stack.pop
    while stack:
        node = pop()
        if node is None:
            order.append(pop())
            continue
        while node not in seen:
            seen.add(node)
            inputs = inputs_of(node) if inputs_of else node.inputs or (node.op and _replayed(node))
            if not inputs or (ends and node in ends):
                order.append(node)
                break
            push(node)
            push(None)
            node = inputs[0]
            if len(inputs) == 2:  # as below, for speed
                if every or inputs[1].needs:
                    push(inputs[1])
            elif len(inputs) > 2:
                stack += [a for a in inputs[:0:-1] if every or a.needs]
            if not (every or node.needs):
                break
    return order


def _replayed(node: Any) -> Any:
    """The inputs of a gradient that is differentiated, which are found out now; none of any other node."""
    if node.needs and is_gradient(node):
        node.op.replay(node)
    return node.inputs


def on_paths_to(variables: set[Any], order: Sequence[Any]) -> set[Any]:
    """The variables, and the sorted nodes that were computed from any of them."""
    asked = set(variables)
    for node in order:
        if not asked.isdisjoint(node.inputs):
            asked.add(node)
    return asked


def sweep(
    adjoints: dict[Any, Any],
    variables: Iterable[Any] | None = None,
    *,
    tensors: bool = False,
    record: bool | None = False,
    inner: bool = False,
    see: Callable[[Any], Any] = node_as_recorded,
    careful: bool | None = None,
) -> list[tuple[Any, Any]]:
    """The adjoint of each of these variables that a path leads to (None: of all leaves, and of tensors that retain it).

    Starts from the outputs' `adjoints`, which it uses up. Nothing is recorded, and adjoints are plain arrays, unless
    they are given as `tensors`: then rules work on Tensors, on what `see` shows them of a node, and with `record` all
    of it can be differentiated again (None: transforms around it follow the computation, and the graph does not).
    `inner`: this is a part of another sweep, goes no further than the variables, and leaves their adjoints of the kind
    that they are.

    A structural zero is the number 0 as long as all that it meets is finite; else the product is NaN. So the first pass
    forgets masks, and only if it ends in a NaN, or a rule fails, a second one is `careful`, and keeps them. What is
    recorded always keeps them, for the derivative of a finite slope may be infinite.
    """
    if not tensors and watching.active and any(watcher.inside for watcher in watching.here()):
        return _on_tensors(adjoints, variables, record, see)
    seeds = dict(adjoints)
    kept = None if variables is None else set(variables)
    reached: set[Any] = set()
    order = find_topo_sort(list(adjoints), differentiable=True, stop=kept if inner and kept else (), seen=reached)
    if careful is None:
        plain = record is False and watching.captures() and all(node.op is None or node.op.on_arrays for node in order)
        careful = tensors and not plain
    asked = reached if kept is None else on_paths_to(kept, order)
    was_recording = set_recording(record)
    try:
        found, forgot, failed = _pass(order, adjoints, kept, asked, see, tensors=tensors, inner=inner, careful=careful)
    finally:
        reset_recording(was_recording)
    if failed:
        if not tensors:
            return _on_tensors(seeds, variables, record, see, careful=True)
        return sweep(seeds, variables, tensors=True, record=record, inner=inner, see=see, careful=True)
    if tensors and forgot:
        watching.tell("left_in", [g for _, g in found if type(g) is Tensor])
    return found


def _pass(
    order: list[Any], adjoints: Any, kept: Any, asked: Any, see: Any, *, tensors: bool, inner: bool, careful: bool
) -> tuple[list[tuple[Any, Any]], bool, bool]:
    """One pass from the end of the order: what it found, whether it forgot a mask, and whether it then failed. The loop
    is flat, for speed."""
    watchers = watching.here() if watching.active else ()
    told = tensors and watchers and see is node_as_recorded
    if told:
        watching.tell("sweep_begins", adjoints, recording_mode() is True)
    found: list[tuple[Any, Any]] = []
    stage = Node((), None)
    # The context, and so NumPy's error state, before the first mask was forgotten. From there on nothing warns; what
    # was found is sound.
    loud: Any = None
    try:
        for node in reversed(order):
            # All partial adjoints of this node have been added: its adjoint is complete.
            g = adjoints.pop(node, None)
            if type(g) is not ndarray:
                if g is None:
                    continue
                g = total_adjoint(g, node)
                if type(g) is Held and g.maker is not type(node.op):
                    g = g.adjoint
            op = node.op
            if told:
                watching.tell("reached", node, whole_adjoint(g, node))
            if (op is None or node._grad is not None) if kept is None else node in kept:
                found.append((node, g if inner or type(g) is ndarray else _whole(g, node, tensors)))
                if inner or op is None:
                    continue
            elif op is None:
                continue
            # The vector-Jacobian product of the operation: a partial adjoint of each input.
            if g is ZERO:  # whatever it is multiplied with
                returned, shown = (ZERO,) * len(node.inputs), None
            elif tensors or not op.on_arrays:
                returned, shown = _rule_on_tensors(node, g, see, asked, tensors=tensors, loud=loud), None
            else:
                shown = stage
                if handed_out:
                    shown.inputs, shown.output = arrays_as_recorded(node)
                else:
                    shown.inputs, shown.output = node.saved or node.inputs, node._array
                returned = _watched(op, g, shown, node, asked) if watchers else op.gradient(g, shown)
                if type(returned) is not tuple:
                    returned = (returned,)
            i = -1  # counted by hand, for speed: a law holds that a rule returns one each
            for a in node.inputs:
                i += 1
                if a not in asked or (g := returned[i]) is None:
                    continue
                if type(g) is not ndarray:
                    if callable(g):
                        g = g()
                    if type(g) is not ndarray and type(g) in (Masked, Held) and not careful:
                        g = unmasked(g)
                        if loud is None:
                            loud, sound, quiet = copy_context(), len(found), np.errstate(all="ignore")
                            quiet.__enter__()
                if type(g) is not ndarray or g.shape != (need := a._array).shape or g.dtype is not need.dtype:
                    if shown is not None:
                        g = fit(g, a._array, op, shown)
                    if g is None:
                        continue
                # It is added to those that the other uses of this input have sent.
                if a not in adjoints:
                    adjoints[a] = g
                    continue
                there = adjoints[a]
                if type(g) is not ndarray or type(there) is not ndarray:
                    add_adjoint(adjoints, a, g)
                elif getrefcount(there) <= ALONE and owns_memory(there):
                    np.add(there, g, there)
                else:
                    adjoints[a] = as_array(there + g)
        failed = loud is not None and any(has_nan(g) for _, g in found[sound:])
    except Exception:
        if loud is None:
            raise
        failed = True  # the careful pass tells whether the rule fails, or only failed at a forgotten mask
    finally:
        if loud is not None:
            quiet.__exit__(None, None, None)
    if told:
        watching.tell("sweep_ends")
    return found, loud is not None, failed


def _whole(g: Any, node: Any, tensors: bool) -> Any:
    """The complete adjoint of a variable, for those who asked for it."""
    if type(g) is Held and node.op is not None:  # which is going to be written into
        g = g.adjoint.copy()
    return whole_adjoint(g, node) if tensors else as_arrays(whole_adjoint(g, node))


def has_nan(g: Any) -> bool:
    """Whether an array, a Tensor or one of a tuple of them has a NaN."""
    if type(g) is tuple:
        return any(map(has_nan, g))
    array = g._array if type(g) is Tensor else g
    has_floats = type(array) is ndarray and array.dtype.kind in "fc" and array.size > 0
    return has_floats and isnan((flat := array.ravel("K")).item(flat.argmax()))  # the first NaN is the maximum


def _on_tensors(adjoints: Any, variables: Any, record: Any, see: Any, careful: bool | None = None) -> list[Any]:
    """The sweep on Tensors, where rules can be seen at work, or keep masks; its results as arrays."""
    given = {a: as_tensors(g) for a, g in adjoints.items()}
    found = sweep(given, variables, tensors=True, record=record, see=see, careful=careful)
    return [(a, as_arrays(g)) for a, g in found]


def _rule_on_tensors(node: Any, g: Any, see: Any, asked: Any, *, tensors: bool, loud: Any) -> tuple[Any, ...]:
    """The adjoints that a rule gives on Tensors, each in the shape and dtype of its input. After a mask was forgotten,
    `loud` is the context before that, with NumPy's error state."""
    op, seen = node.op, see(node)
    if loud is not None and not op.on_arrays:
        # A user's rule need not be linear: no NaN of a structural zero may reach it. What it would warn of, it raises
        # here, so that only the careful pass warns.
        if has_nan(g):
            raise FloatingPointError
        raises: dict[str, Any] = {kind: "raise" for kind, how in loud.run(np.geterr).items() if how != "ignore"}
        with np.errstate(**raises):
            return _rule_on_tensors(node, g, see, asked, tensors=tensors, loud=None)
    if seen is not node:
        asked = {shown for a, shown in zip(node.inputs, seen.inputs, strict=True) if a in asked}
    returned = apply_rule(op, g if tensors else as_tensors(g), seen, asked)
    if not (op.on_arrays or op.same_inputs) and see is node_as_recorded:  # else those who keep the tape look
        check_levels(1, returned, (g, *seen.inputs), [node])
    return returned if tensors else tuple(map(as_arrays, returned))


def apply_rule(op: Op, adjoint: Any, node: Any, asked: set[Any]) -> tuple[Any, ...]:
    """`op.pull_back` of an adjoint of any kind, and those who watch are told. A rule that a user wrote is handed plain
    Tensors; if the op is element-wise, what it returns is masked again."""
    return watching.rule("rule_ends", _apply_rule, op, adjoint, node, asked)


def _apply_rule(op: Op, adjoint: Any, node: Any, asked: set[Any]) -> tuple[Any, ...]:
    if op.on_arrays or op.same_inputs:
        return op.pull_back(adjoint, node, asked)
    plain = tuple(map(unmasked, adjoint)) if type(adjoint) is tuple else unmasked(adjoint)
    if plain is adjoint or not op.elementwise:
        return op.pull_back(plain, node, asked)
    with np.errstate(all="ignore"):  # about elements that do not count
        returned = op.pull_back(plain, node, asked)
    mask = adjoint.mask.astype(np.float32)
    return tuple([masked_again(g, unbroadcast(mask, g.shape) > 0) if isinstance(g, Tensor) else g for g in returned])


def _watched(op: Op, g: Any, shown: Node, node: Any, asked: set[Any]) -> Any:
    """What a rule on arrays returns, and those who watch are told."""

    def rule(op: Op, g: Any, node: Any) -> tuple[Any, ...]:
        returned = op.gradient(g, shown)
        pairs = zip(node.inputs, returned if type(returned) is tuple else (returned,), strict=True)
        return tuple([(g() if callable(g) else g) if a in asked else None for a, g in pairs])

    return watching.rule("rule_ends", rule, op, g, node)
