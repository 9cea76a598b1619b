"""Products with a Hessian, forward over reverse: tangents are pushed forward over the graph of one run, and adjoints
are pulled back together with their own tangents.

It computes what jvp(grad(f)) does, but f runs without a wrapper around any of its values, and only once for any number
of products.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from types import NoneType
from typing import Any

import numpy as np

from . import autograd, watching
from .autograd import Branch, Moves, Op, Part, Tensor, TensorTuple, Value, WrappedTuple, constant, is_finite
from .backend import as_array
from .forward import Dual, dual, fitting, push
from .ops.arithmetic import EWiseMul
from .ops.base import Bilinear
from .ops.selection import MASKED
from .pool import result_of
from .tape import constant_like, next_level

_AS_IT_IS = nullcontext()


class HessianProduct:
    """The Hessian of a recorded number by the variables that it was computed from, as a linear map: call it with a
    tangent for each variable, as often as wanted."""

    def __init__(self, output: Any, variables: Sequence[Tensor]):
        self._output, self._variables = output, variables
        self._sort()

    def _sort(self) -> None:
        self._output = autograd.original_of(self._output)
        self._variables = list(map(autograd.original_of, self._variables))
        self._order, _ = autograd.sort_inner([self._output])
        self._leaves: set[Value] = set(self._variables)
        self._read: set[Value] = set()
        """Those whose tangents a rule reads, or another tangent is computed from."""
        for node in reversed(self._order):
            saves = node.op.saves
            if "output" in saves:
                self._read.add(node)
            if "inputs" in saves or node in self._read:
                self._read.update(node.inputs)
        self._asked: set[Value] = set(self._leaves)
        """The variables, and what was computed from them."""
        self._valued: set[Value] = set()
        """Those whose adjoints a rule reads; of the adjoints of others, the tangents alone are asked for."""
        for node in self._order:
            if not self._asked.isdisjoint(node.inputs):
                self._asked.add(node)
                if self._reads_adjoint(node) or not self._valued.isdisjoint(node.inputs):
                    self._valued.add(node)

    def _reads_adjoint(self, node: Any) -> bool:
        """Whether the tangents of what the node's rule returns depend on its adjoint, not on its tangent alone."""
        op = node.op
        if op.piecewise_linear or not op.saves:
            return False
        return not isinstance(op, Bilinear) or self._asked.issuperset(node.inputs)

    @property
    def applies(self) -> bool:
        """Whether no op insists on the very inputs that it had."""
        return not any(node.op.same_inputs for node in self._order)

    def __call__(self, tangents: Sequence[Tensor], last: bool = False) -> list[Tensor | None]:
        """For each variable, the tangent of the gradient by it; None where that is zero. `last`: there will be no other
        call, and what has been done with is let go, so that its memory is used again while it is in the caches."""
        if autograd.names:  # some of these may have been assigned to since
            self._sort()
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
            if node not in self._read:
                continue
            tangents = tuple([pushed.get(a) for a in node.inputs])
            if [t for t in tangents if t is not None]:
                seen = autograd.node_as_recorded(node, self._asked)
                tangent = _along(seen, tangents[0])
                pushed[node] = fitting(push(node.op, tangents, seen), node) if tangent is None else tangent

    def _pull(self, pushed: dict[Value, Any], last: bool) -> list[Tensor | None]:
        """The tangents of the variables' adjoints."""
        level = next_level()
        adjoints: dict[Value, Any] = {self._output: constant_like(self._output, 1.0)}
        found: dict[Value, Any] = {}  # tangents of adjoints that nobody reads: pulled back, they are all that is left
        order: list[Any] = self._order if last else list(self._order)
        rest: list[Any] = []
        if last:
            self._output = None
        while order:
            node = order.pop()
            adjoint = adjoints.pop(node, None)
            if type(adjoint) not in _COMPLETE:
                adjoint = autograd.total_adjoint(adjoint, node)
            if adjoint is None or node in found:
                rest.append(node)
            if adjoint is None or adjoint is autograd.ZERO:
                continue
            seen = autograd.node_as_recorded(node, self._asked)
            if seen is not node:
                self._valued.update([b for a, b in zip(node.inputs, seen.inputs, strict=True) if a in self._valued])
            tangents = tuple([pushed.get(a) for a in node.inputs])
            returned: Sequence[Any] | None = None
            if not watching.active:
                moved, valued = pushed.get(node), node.inputs[0] in self._valued
                returned = self._on_arrays(level, adjoint, seen, tangents, moved)
                returned = returned or _moving(level, adjoint, seen, (moved, tangents[0]), valued)
            if returned is None:
                inputs = tuple([_with_tangent(level, a, t) for a, t in zip(seen.inputs, tangents, strict=True)])
                wanted = {w for a, w in zip(node.inputs, inputs, strict=True) if a in self._asked}
                moving = autograd.applied(node.op, inputs, _with_tangent(level, seen, pushed.get(node)))
                returned = autograd.apply_rule(node.op, adjoint, moving, wanted)
            for a, g in zip(node.inputs, returned, strict=True):
                if g is None or a not in self._asked:
                    continue
                if a in self._valued:
                    _add(level, adjoints, a, g)
                elif (change := _tangent_of(level, g)) is not None:
                    autograd.add_adjoint(found, a, change)
            pushed.pop(node, None)  # all that read it are done
            if last:
                self._asked.discard(node)
        totals = [(a, autograd.total_adjoint(change, a)) for a, change in found.items()]
        seeds = {a: autograd.as_arrays(total) for a, total in totals if total is not autograd.ZERO}
        del totals
        swept = dict(autograd.sweep(seeds, self._leaves, rest[::-1]))
        return [constant(autograd.own(swept.pop(v))) if v in swept else None for v in self._variables]

    def _on_arrays(self, level: int, adjoint: Any, node: Any, tangents: Sequence[Any], pushed: Any) -> list[Any] | None:
        """The rule's adjoints with their tangents, from its `array_gradient` alone, where that is linear in all that it
        reads: in the adjoint, or (`Bilinear`) in the adjoint and in the inputs. Where the tangents alone are asked for,
        they stand for the adjoints, too, which nobody reads. None leaves it to wrapped values."""
        op = node.op
        bilinear = isinstance(op, Bilinear)
        linear = bilinear or op.piecewise_linear or not op.saves
        if type(op).array_gradient is Op.array_gradient or not linear or op.takes_buffer:
            return None
        taken = _as_taken(adjoint, node, tangents if pushed is None else (pushed,))
        if taken is None:
            return None
        g, dg, mask = taken
        rule = _other_factor if type(op) is EWiseMul and _is_one(g, node) else op.array_gradient
        inner = self._valued.intersection(node.inputs)
        moving = self._beside_moving(node, tangents) if bilinear else None
        with np.errstate(all="ignore") if mask is not None else _AS_IT_IS:  # about elements that are not used
            values = rule(g, node, inner) if inner else (None,) * len(node.inputs)
            changes: list[Any] = [] if dg is None else [op.array_gradient(dg, node, self._asked)]
            if moving:
                moved = autograd.twin_of(node, node._array)
                moved.saved = tuple([s if t is None else t._array for s, t in zip(node.saved, tangents, strict=True)])
                changes.append(rule(g, moved, moving))
        if values is None or None in changes:
            return None
        if not changes and mask is None and all(map(_is_like, values, node.inputs)):
            return [None if g is None else constant(g) for g in values]
        joined: list[Any] = []
        for i, a in enumerate(node.inputs):
            if i and a is node.inputs[0] and bilinear and op.commutes:  # a * a
                joined.append(joined[0])
                continue
            arrays, masks = [], []
            for g in (values[i], *[c[i] for c in changes]):
                if g is None:
                    continue
                array = g
                if not _is_like(g, a):
                    g = autograd.fitted(g, a, op, node)
                    array = autograd.unmasked(g)
                    if type(array) is not np.ndarray:
                        return None  # of a few elements
                    if type(g) is Branch:
                        masks.append(g.mask)
                arrays.append(array)
            if len(masks) not in {0, len(arrays)}:
                return None  # masked in part
            if mask is not None:
                arrays, masks = [MASKED.compute(array, mask) for array in arrays], [mask]
            value = None if values[i] is None else constant(arrays.pop(0))
            change = constant(_total(arrays)) if arrays else None
            value = change if value is None else value
            joined.append(None if value is None else _joined(level, value, change, _either(masks)))
        return joined

    def _beside_moving(self, node: Any, tangents: Sequence[Any]) -> set[Value]:
        """Of a product's factors, those asked for whose other factor has a tangent."""
        (a, b), (s, t) = node.inputs, tangents
        return {x for x, other in ((a, t), (b, s)) if other is not None and x in self._asked}


def _as_taken(adjoint: Any, node: Any, tangents: Sequence[Any]) -> tuple[Any, Any, Any] | None:
    """An adjoint and its tangent (None: zero) as `array_gradient` takes them, and the mask to be put on what it returns
    (None: there is none, or it sees to that itself). None where only `gradient` knows what becomes of the mask."""
    g, dg, mask = _parts(adjoint)
    if type(g) is not Tensor or type(dg) not in _PLAIN:
        return None
    op, g, dg = node.op, g._array, None if dg is None else dg._array
    if mask is None or not op.carries_mask:
        return g, dg, None
    if op.takes_branch and all(t is None or (type(t) is Tensor and is_finite(t._array)) for t in tangents):
        return Branch(g, mask), None if dg is None else Branch(dg, mask), None
    return (g, dg, mask) if op.elementwise and all(a.shape == mask.shape for a in node.inputs) else None


def _is_like(g: Any, a: Any) -> bool:
    """Whether an adjoint is none, or an array of the value's shape and dtype."""
    return g is None or (type(g) is np.ndarray and g.shape == a.shape and g.dtype is a.dtype)


def _is_one(g: Any, node: Any) -> bool:
    """Whether an adjoint is 1 everywhere, as behind a sum; it and the inputs are of the node's shape and dtype."""
    alike = type(g) is np.ndarray and all(a.shape == g.shape and a.dtype is g.dtype for a in node.inputs)
    return alike and g.ndim > 0 and g.size > 0 and not any(g.strides) and g.flat[0] == 1


def _other_factor(g: Any, node: Any, asked: set[Value]) -> tuple[Any, ...]:
    """EWiseMul's `array_gradient` of an adjoint that is 1."""
    (a, b), (x, y) = node.inputs, node.saved
    return y if a in asked else None, x if b in asked else None


def _either(masks: Sequence[Any]) -> Any:
    """Where any of the masks holds; None if there is none."""
    found = masks[0] if masks else None
    for mask in masks[1:]:
        found = as_array(found | mask)
    return found


def _moving(level: int, adjoint: Any, node: Any, tangents: tuple[Any, Any], valued: bool) -> list[Any] | None:
    """The adjoint with its tangent by the op's `moving_gradient`, where all is floats in plain arrays. The tangents are
    those of the output and of the input."""
    op, (moved, by), (g, dg, mask) = node.op, tangents, _parts(adjoint)
    if type(op).moving_gradient is Op.moving_gradient or not node.ndim or not (mask is None or op.elementwise):
        return None
    given = (g, moved, by) if "output" in op.saves else (g, by)
    if not all(type(t) is Tensor and t.dtype is node.dtype for t in given) or type(dg) not in _PLAIN:
        return None
    moves = Moves(None if dg is None else dg._array, by._array, moved._array if "output" in op.saves else None)
    with np.errstate(all="ignore") if mask is not None else _AS_IT_IS:  # about elements that are not used
        pair = op.moving_gradient(g._array, node, moves, valued)
    if pair is None:
        return None
    arrays = pair if mask is None else [None if array is None else MASKED.compute(array, mask) for array in pair]
    change = constant(arrays[1])
    return [_joined(level, constant(arrays[0]) if valued else change, change, mask)]


def _along(node: Any, tangent: Any) -> Any:
    """The tangent of a node by the op's `array_gradient`, where its Jacobian is diagonal; None leaves it to `push`."""
    op = node.op
    if not op.elementwise or len(node.inputs) != 1 or watching.active:
        return None
    a = node.inputs[0]
    if type(tangent) is not Tensor or type(a) is not Tensor:
        return None
    t, x, y = tangent._array, a._array, node._array
    dtype = y.dtype
    if dtype.kind != "f" or not t.shape == x.shape == y.shape or t.dtype is not dtype or x.dtype is not dtype:
        return None
    found = op.array_gradient(t, node, {a})
    along = None if found is None else autograd.unmasked(found[0])
    return constant(along) if type(along) is np.ndarray and along.dtype is dtype else None


def _add(level: int, adjoints: dict[Value, Any], value: Value, adjoint: Any) -> None:
    """Add to the adjoint that is there; of plain Tensors, without a Tensor for what is on the way."""
    there = adjoints.get(value)
    if there is None:
        adjoints[value] = adjoint
        return
    (x, dx, m), (y, dy, n) = _parts(there), _parts(adjoint)
    plain = type(x) is Tensor is type(y) and type(dx) in _PLAIN and type(dy) in _PLAIN and m is None and n is None
    if not plain or watching.active:
        autograd.add_adjoint(adjoints, value, adjoint)
        return
    change = _sum(dx, dy) if dx is not None and dy is not None else dy if dx is None else dx
    adjoints[value] = _joined(level, _sum(x, y), change, None)


def _sum(a: Tensor, b: Tensor) -> Tensor:
    arrays = a._array, b._array
    return constant(as_array(np.add(*arrays, out=result_of(arrays))))


_PLAIN = (Tensor, NoneType)
_COMPLETE = (Tensor, Dual, NoneType)
"""Adjoints that are nothing to put together."""


def _joined(level: int, value: Tensor, change: Any, mask: Any) -> Any:
    """An adjoint with its tangent of the same dtype (None: zero), where a mask holds if there is one."""
    both = value if change is None else Dual(level, value, change)
    return both if mask is None else Branch(both, constant(mask))


def _parts(adjoint: Any) -> tuple[Any, Any, Any]:
    """An adjoint, its tangent (None: zero), and the array of its mask (None: there is none)."""
    mask = adjoint.mask if type(adjoint) is Branch else None
    if mask is not None:
        if type(mask) is not Tensor:
            return None, None, mask
        adjoint, mask = adjoint.adjoint, mask._array
    return (adjoint.value, adjoint.tangent, mask) if type(adjoint) is Dual else (adjoint, None, mask)


def _tangent_of(level: int, adjoint: Any) -> Any:
    """The tangent of an adjoint, None where it is zero."""
    if isinstance(adjoint, (tuple, TensorTuple)):
        changes = tuple([_tangent_of(level, member) for member in adjoint])
        return changes if any(change is not None for change in changes) else None
    if isinstance(adjoint, Part):
        change = _tangent_of(level, adjoint.adjoint)
        return None if change is None else type(adjoint)(adjoint.index, change)
    if type(adjoint) is Branch:
        change = _tangent_of(level, adjoint.adjoint)
        return None if change is None else Branch(change, adjoint.mask)
    return adjoint.tangent if type(adjoint) is Dual and adjoint.level == level else None


def _total(products: Sequence[Any]) -> Any:
    """The sum of one or two products, which nobody else holds."""
    if len(products) == 1:
        return products[0]
    first, second = products
    return np.add(first, second, out=first)


def _with_tangent(level: int, value: Any, tangent: Any) -> Any:
    if isinstance(value, TensorTuple):
        members = tangent or [None] * len(value)
        return WrappedTuple([dual(level, value[i], t) for i, t in enumerate(members)])
    return dual(level, value, tangent)
