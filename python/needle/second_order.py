"""Products with a Hessian, forward over reverse: tangents are pushed forward over the graph of one run, and adjoints
are pulled back together with their own tangents.

It computes what jvp(grad(f)) does, but f runs without a wrapper around any of its values, and only once for any number
of products.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import NoneType
from typing import Any

import numpy as np

from . import autograd, watching
from .autograd import Branch, Op, Part, Tensor, TensorTuple, Value, WrappedTuple, constant
from .forward import Dual, dual, fitting, push
from .ops.base import Bilinear
from .tape import constant_like, next_level


class HessianProduct:
    """The Hessian of a recorded number by the variables that it was computed from, as a linear map: call it with a
    tangent for each variable, as often as wanted."""

    def __init__(self, output: Any, variables: Sequence[Tensor]):
        self._output, self._variables = output, variables
        self._order, _ = autograd.sort_inner([output])
        self._asked = autograd.on_paths_to(set(variables), self._order)

    @property
    def applies(self) -> bool:
        """Whether no op insists on the very inputs that it had, and none was assigned to or written into."""
        return not any(node.op.same_inputs or autograd.has_changed(node) for node in self._order)

    def __call__(self, tangents: Sequence[Tensor], last: bool = False) -> list[Tensor | None]:
        """For each variable, the tangent of the gradient by it; None where that is zero. `last`: there will be no other
        call, and what has been done with is let go, so that its memory is used again while it is in the caches."""
        was_recording = autograd.set_recording(None)
        try:
            pairs = zip(self._variables, tangents, strict=True)
            pushed: dict[Value, Any] = {a: t for a, t in pairs if a.dtype.kind != "b"}
            self._push(pushed)
            return self._pull(pushed, last)
        finally:
            autograd.reset_recording(was_recording)

    def _push(self, pushed: dict[Value, Any]) -> None:
        """Add the tangents of the graph's nodes to those of the variables."""
        for node in self._order:
            if node is self._output and "output" not in node.op.saves:
                continue  # nobody reads it
            tangents = tuple([pushed.get(a) for a in node.inputs])
            if any(t is not None for t in tangents):
                pushed[node] = fitting(push(node.op, tangents, node), node)

    def _pull(self, pushed: dict[Value, Any], last: bool) -> list[Tensor | None]:
        """The tangents of the variables' adjoints."""
        level = next_level()
        adjoints: dict[Value, Any] = {self._output: constant_like(self._output, 1.0)}
        order = self._order if last else list(self._order)
        if last:
            self._output = None
        while order:
            node = order.pop()
            adjoint = autograd.total_adjoint(adjoints.pop(node, None), node)
            if adjoint is None:
                continue
            returned: Sequence[Any] | None = self._on_arrays(level, adjoint, node, pushed)
            if returned is None:
                inputs = tuple([_with_tangent(level, a, pushed.get(a)) for a in node.inputs])
                wanted = {seen for a, seen in zip(node.inputs, inputs, strict=True) if a in self._asked}
                seen = autograd.applied(node.op, inputs, _with_tangent(level, node, pushed.get(node)))
                returned = autograd.apply_rule(node.op, adjoint, seen, wanted)
            for a, g in zip(node.inputs, returned, strict=True):
                if g is not None and a in self._asked:
                    autograd.add_adjoint(adjoints, a, g)
            pushed.pop(node, None)  # all that read it are done
            if last:
                self._asked.discard(node)
        pairs = [(adjoints.get(v), v) for v in self._variables]
        totals = [None if g is None else autograd.unmasked(autograd.total_adjoint(g, v)) for g, v in pairs]
        return [g.tangent if type(g) is Dual and g.level == level else None for g in totals]

    def _on_arrays(self, level: int, adjoint: Any, node: Any, pushed: dict[Value, Any]) -> list[Any] | None:
        """The rule's adjoints with their tangents, from its `array_gradient` alone, where that is linear in all that it
        reads: in the adjoint, or (`Bilinear`) in the adjoint and in the inputs. None leaves it to wrapped values."""
        op = node.op
        bilinear = isinstance(op, Bilinear)
        linear = bilinear or op.piecewise_linear or not op.saves
        if watching.active or type(op).array_gradient is Op.array_gradient or not linear:
            return None
        g, dg = (adjoint.value, adjoint.tangent) if type(adjoint) is Dual else (adjoint, None)
        if type(g) is not Tensor or type(dg) not in (Tensor, NoneType):
            return None
        values = op.array_gradient(g._array, node, self._asked)
        if values is None or any(isinstance(value, (Branch, Part)) for value in values):
            return None
        changes = [] if dg is None else [op.array_gradient(dg._array, node, self._asked)]
        if bilinear:
            tangents = [pushed.get(a) for a in node.inputs]
            moved = autograd.twin_of(node, node._array)
            moved.saved = tuple([s if t is None else t._array for s, t in zip(node.saved, tangents, strict=True)])
            moving = {a for a, other in zip(node.inputs, reversed(tangents), strict=True) if other is not None}
            changes.append(op.array_gradient(g._array, moved, self._asked & moving))
        joined: list[Any] = []
        for i, a in enumerate(node.inputs):
            value = values[i]
            if i and a is node.inputs[0]:  # a * a
                value = joined[0]
            elif value is not None:
                value = autograd.fitted(value, a, op, node)
                if value is None:  # a boolean
                    joined.append(None)
                    continue
                value = constant(value)
                parts = [change[i] for change in changes if change[i] is not None]
                if parts:
                    change = parts[0]
                    if len(parts) == 2:  # two products, which nobody else holds
                        change = np.add(change, parts[1], out=change) if change.ndim else change + parts[1]
                    value = Dual(level, value, constant(autograd.fitted(change, a, op, node)))
            joined.append(value)
        return joined


def _with_tangent(level: int, value: Any, tangent: Any) -> Any:
    if isinstance(value, TensorTuple):
        members = tangent or [None] * len(value)
        return WrappedTuple([dual(level, value[i], t) for i, t in enumerate(members)])
    return dual(level, value, tangent)
