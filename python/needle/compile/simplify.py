"""The same values from fewer operations: equal subexpressions shared, constants folded, ones multiplied away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import Op, TensorTupleOp
from ..ops.arithmetic import (
    EWISE_ADD,
    EWISE_SUB,
    NEGATE,
    DivScalar,
    EWiseAdd,
    EWiseDiv,
    EWiseMul,
    EWiseSub,
    MulScalar,
    Negate,
)
from ..ops.discrete import Discrete
from ..ops.random import Draw
from ..ops.selection import Masked
from ..ops.shape import BroadcastTo, Reshape
from ..ops.softmax import Softmax, SoftmaxLoss, less_labels
from ..ops.tuples import TupleGetItem
from .graph import Node, frozen

_OWN = __package__.rsplit(".", 1)[0]
_STATE = {"_base", "_last", "_latest", "passes_mask"}
"""Attributes of ops that do not affect what they compute."""


def simplify(
    order: Sequence[Node], outputs: Sequence[Node], values: dict[Node, Any], given: dict[Node, Node]
) -> tuple[list[Node], list[Node]]:
    """The nodes that are left of those that the outputs need, in order, and the outputs. `values` are the nodes' values
    in the recorded run; `given` replaces nodes that are not to be computed."""
    used = needed(order, outputs)
    now = dict(given)
    made = _Made()
    for node in order:
        if node not in used:
            continue
        inputs = tuple([now.get(a, a) for a in node.inputs])
        if node in values and all(a.array is not None for a in inputs) and is_pure(node.op) and node.shape is not None:
            now[node] = Node(None, (), node.shape, node.dtype, frozen(values[node]), axes=node.axes)
        else:
            now[node] = made.node(node.op, inputs, node)
    outputs = [now.get(node, node) for node in outputs]
    kept, outputs = _share_softmax(made.kept, outputs)
    used = needed(kept, outputs)
    return [node for node in kept if node in used], outputs


class _Made:
    """The simpler nodes, each of them once."""

    def __init__(self) -> None:
        self.kept: list[Node] = []
        self._shared: dict[Any, Node] = {}

    def node(self, op: Any, inputs: tuple[Node, ...], like: Node) -> Node:
        """The op of these inputs, in the shape and dtype of `like`; `like` itself if op and inputs are the same."""
        rule = _RULES.get(type(op))
        same = rule and rule(self, op, inputs, like)
        if same is not None and same.shape == like.shape and same.dtype == like.dtype:
            return same
        key = _key(op, inputs)
        same = self._shared.get(key)
        if same is None:
            is_like = (op, inputs) == (like.op, like.inputs)
            same = like if is_like else Node(op, inputs, like.shape, like.dtype, axes=like.axes)
            self.kept.append(same)
            if key is not None:
                self._shared[key] = same
        return same


def needed(order: Sequence[Node], outputs: Sequence[Node]) -> set[Node]:
    """The outputs, and all in the order that they are computed from."""
    found = set(outputs)
    for node in reversed(order):
        if node in found:
            found.update(node.inputs)
    return found


def is_pure(op: Op | None) -> bool:
    """Whether the op is one of Needle's own: the same inputs give the same output, and nothing else happens."""
    return not isinstance(op, Draw) and type(op).__module__.startswith((f"{_OWN}.ops.", f"{_OWN}.autograd."))


def _key(op: Any, inputs: tuple[Node, ...]) -> Any:
    """Equal for nodes of equal values; None if that cannot be known."""
    if not is_pure(op):
        return None
    cls = type(op)
    names = [name for base in cls.__mro__ for name in _slots_of(base) if name not in _STATE]
    parts = [_hashable(getattr(op, name, None)) for name in names]
    return (cls, *parts, *map(id, inputs)) if None not in parts else None


def _slots_of(cls: type[Any]) -> tuple[str, ...]:
    slots = vars(cls).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _hashable(value: Any) -> Any:
    """A key for an attribute of an op, different for 1 and 1.0, and for 0.0 and -0.0; None if there is none."""
    if isinstance(value, (tuple, list)):
        parts = tuple(map(_hashable, value))
        return None if None in parts else (type(value), parts)
    if isinstance(value, dict):
        return _hashable(tuple(value.items()))
    if value is None or isinstance(value, (bool, int, float, complex, str, np.generic, np.dtype, slice, type(...))):
        return type(value), repr(value)
    return (type(value), value) if isinstance(value, np.ufunc) else None


class LossAndProbabilities(TensorTupleOp):
    """A softmax loss with the softmax, which it computes anyway and which its gradient needs."""

    __slots__ = ()
    saves = ()

    def compute(self, logits: Any, targets: Any) -> Any:
        return SoftmaxLoss().both(logits, targets)


class LossAndGradient(TensorTupleOp):
    """A softmax loss by labels, and its gradient by the logits: the softmax less 1 at the labels, times `scale`."""

    __slots__ = ("scale",)
    saves = ()

    def __init__(self, scale: Any):
        self.scale = scale

    def compute(self, logits: Any, labels: Any) -> Any:
        loss, probabilities = SoftmaxLoss().both(logits, labels)
        return loss, less_labels(probabilities, labels, self.scale)


def _gradient_of(loss: Node, softmax: Node, readers: dict[Node, list[Node]]) -> tuple[Node, Any] | None:
    """The node of (softmax - one_hot) * scale, if nothing else reads the softmax, and the scale; else None."""
    by = readers.get(softmax, [])
    if len(by) != 1 or not isinstance(by[0].op, Discrete) or by[0].op.function is not less_labels:
        return None
    _, labels, scale = by[0].inputs
    alike = (by[0].shape, by[0].dtype) == (softmax.shape, softmax.dtype)
    return (by[0], scale.array) if alike and scale.array is not None and (labels,) == loss.inputs[1:] else None


def _share_softmax(order: list[Node], outputs: list[Node]) -> tuple[list[Node], list[Node]]:
    """Compute each softmax with the loss of the same logits, and its difference from labels as well."""
    losses = {node.inputs[0]: node for node in order if type(node.op) is SoftmaxLoss}
    if not losses:
        return order, outputs
    now: dict[Node, Node] = {}
    both: dict[Node, Node] = {}
    readers: dict[Node, list[Node]] = {}
    for node in order:
        for a in node.inputs:
            readers.setdefault(a, []).append(node)
    for node in outputs:
        readers.setdefault(node, []).append(node)  # the caller, who reads it as it is
    for node in order:
        op: Any = node.op
        loss = losses.get(node.inputs[0]) if type(op) is Softmax and op.axes in (-1, len(node.shape) - 1) else None
        if loss is not None and loss.dtype == node.dtype:
            found = _gradient_of(loss, node, readers)
            pair = Node(LossAndProbabilities() if found is None else LossAndGradient(found[1]), loss.inputs, None, None)
            both[loss] = pair
            for i, member in enumerate((loss, node if found is None else found[0])):
                now[member] = Node(TupleGetItem(i), (pair,), member.shape, member.dtype, axes=member.axes)
    if not both:
        return order, outputs
    changed: list[Node] = []
    for node in order:
        if node in both:
            changed.append(both[node])
        if node not in now:
            inputs = tuple([now.get(a, a) for a in node.inputs])
            if inputs != node.inputs:
                now[node] = Node(node.op, inputs, node.shape, node.dtype, axes=node.axes)
        changed.append(now.get(node, node))
    return changed, [now.get(node, node) for node in outputs]


# Rules -------------------------------------------------------------------------------------------------------------


def _are_ones(a: Node) -> bool:
    if type(a.op) is BroadcastTo:
        (a,) = a.inputs
    return a.array is not None and a.array.size > 0 and _single(a.array) == 1


def _single(array: Any) -> Any:
    """The number that all elements of an array are; None if they differ."""
    while array.ndim and 0 in array.strides:  # look at one element along broadcast axes
        array = array[tuple([0 if stride == 0 else slice(None) for stride in array.strides])]
    first = array.flat[0]
    return first if (array == first).all() else None


def _positive(a: Node, like: Node) -> Node | None:
    """b if a is -b, in floats of the dtype of `like`."""
    return a.inputs[0] if type(a.op) is Negate and a.dtype == like.dtype and a.dtype.kind == "f" else None


def _negative_of(made: _Made, op: Any, inputs: tuple[Node, ...], like: Node) -> Node | None:
    """(-a) * b as -(a * b): others may share the product, and a sum with it becomes a difference. If a is smaller than
    the product, negating a itself is better."""
    positive = [_positive(a, like) if a.shape == like.shape else None for a in inputs]
    if all(a is None for a in positive):
        return None
    changed = tuple([a if b is None else b for a, b in zip(inputs, positive, strict=True)])
    product = made.node(op, changed, like)
    return product if None not in positive and len(inputs) > 1 else made.node(NEGATE, (product,), like)


def _multiplied(made: _Made, op: Any, inputs: tuple[Node, ...], like: Node) -> Node | None:
    a, b = inputs
    if like.dtype.kind == "c":  # inf + 0j times 1 has a NaN part
        return None
    return a if _are_ones(b) else b if _are_ones(a) else _negative_of(made, op, inputs, like)


def _divided(made: _Made, op: Any, inputs: tuple[Node, ...], like: Node) -> Node | None:
    a, b = inputs
    return a if like.dtype.kind != "c" and _are_ones(b) else _negative_of(made, op, inputs, like)


def _by_scalar(made: _Made, op: Any, inputs: tuple[Node, ...], like: Node) -> Node | None:
    return inputs[0] if like.dtype.kind != "c" and op.scalar == 1 else _negative_of(made, op, inputs, like)


def _added(made: _Made, op: Any, inputs: tuple[Node, ...], like: Node) -> Node | None:
    a, b = inputs
    if (positive := _positive(b, like)) is not None:
        return made.node(EWISE_SUB, (a, positive), like)
    if (positive := _positive(a, like)) is not None:
        return made.node(EWISE_SUB, (b, positive), like)
    return None


def _subtracted(made: _Made, op: Any, inputs: tuple[Node, ...], like: Node) -> Node | None:
    a, b = inputs
    positive = _positive(b, like)
    return None if positive is None else made.node(EWISE_ADD, (a, positive), like)


def _unchanged(made: _Made, op: Any, inputs: tuple[Node, ...], like: Node) -> Node | None:
    return inputs[0]  # if the shape is the same


def _negated(made: _Made, op: Any, inputs: tuple[Node, ...], like: Node) -> Node | None:
    (a,) = inputs
    return a.inputs[0] if isinstance(a.op, Negate) else None


def _masked(made: _Made, op: Any, inputs: tuple[Node, ...], like: Node) -> Node | None:
    a, mask = inputs
    return a if _are_ones(mask) else None


_RULES: dict[type[Any], Callable[[_Made, Any, tuple[Node, ...], Node], Node | None]] = {
    EWiseAdd: _added,
    EWiseSub: _subtracted,
    EWiseMul: _multiplied,
    EWiseDiv: _divided,
    MulScalar: _by_scalar,
    DivScalar: _by_scalar,
    BroadcastTo: _unchanged,
    Reshape: _unchanged,
    Negate: _negated,
    Masked: _masked,
}
"""By op, a simpler node with the same output. Only what keeps every bit: x + 0 is not x for x = -0.0, and -(a - b) is
not b - a for a = b."""
