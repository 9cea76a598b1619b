"""Forward mode: tangents are pushed forward while the program runs, or over the graph that it recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import autograd, watching
from .autograd import DETACHED, Node, Op, Tensor, TensorTuple, Wrapped, WrappedTuple, applied, constant, gradient_dtype
from .closures import check_levels
from .level import Level, next_level
from .ops.arithmetic import EWISE_ADD, EWISE_MUL, EWiseMul
from .ops.base import Bilinear, Elementwise
from .ops.tuples import MAKE_TENSOR_TUPLE
from .tape import Taped, constant_like, is_on_tape, pull_back


class Dual(Wrapped):
    """A tensor and its tangent, which has the tensor's shape and dtype (float64 for integers)."""

    __slots__ = ("tangent",)
    level: Level
    tangent: Any
    """A Tensor; a tuple for a tuple of tensors (see `gathered`)."""

    def __init__(self, level: Level, value: Any, tangent: Any):
        super().__init__(level, value)
        level.note(self)
        self.tangent = tangent

    def is_recorded(self) -> bool:
        return autograd.is_recorded_inside(self.value) or autograd.is_recorded_inside(self.tangent)

    def twin(self) -> Dual:
        return Dual(self.level, self.value, self.tangent)

    def _parts(self, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The values and the tangents (None: structural zero) of the inputs."""
        values, duals = self.opened(inputs)
        return values, tuple([None if a is None else a.tangent for a in duals])

    def gathered(self, members: tuple[Any, ...]) -> Dual:
        values, tangents = self._parts(members)
        return Dual(self.level, MAKE_TENSOR_TUPLE(*values), tangents)

    def process(self, op: Op, inputs: tuple[Any, ...]) -> Any:
        values, tangents = self._parts(inputs)
        out = op(*values)
        if op.discrete or autograd.recording_mode() is False:
            return out
        tangent = push(op, tangents, node := Node(values, out) if op.on_arrays else applied(op, values, out))
        if not op.on_arrays:
            check_levels(self.level, [tangent], tangents, [node])
        if not isinstance(out, TensorTuple):
            return dual(self.level, out, tangent)
        members = tangent or [None] * len(out)
        return WrappedTuple([dual(self.level, out[i], t) for i, t in enumerate(members)])


def push(op: Op, tangents: tuple[Any, ...], node: Any) -> Any:
    """The tangent of the op's output `node`, from those of its inputs (None: structural zero).

    For an output that is a tuple, it is a tuple of the members' tangents.
    """
    return watching.rule("pushed", _push, op, tangents, node)


def _push(op: Op, tangents: tuple[Any, ...], node: Any) -> Any:
    tangent = op.tangent(tangents, node)
    return _transposed_gradient(op, tangents, node) if tangent is NotImplemented else tangent


def dual(level: Level, value: Tensor, tangent: Any) -> Tensor:
    """The value with this tangent, or the plain value for a structural zero (None)."""
    return value if tangent is None else Dual(level, value, fitting(tangent, value))


def fitting(tangent: Any, value: Any) -> Any:
    """The tangent, converted to the value's gradient dtype; for a tuple, each member's."""
    if isinstance(value, TensorTuple):
        return tangent and tuple([fitting(t, y) for t, y in zip(tangent, value, strict=True)])
    if tangent is None:
        return None
    dtype = gradient_dtype(value.dtype)
    if tangent.dtype == dtype:
        return tangent
    return (tangent.real if dtype.kind != "c" else tangent).astype(dtype)


def _transposed_gradient(op: Op, tangents: tuple[Any, ...], node: Any) -> Any:
    """The output's tangent, for an op without a forward rule: the transpose of its `gradient`, applied to the tangents.

    `gradient` is linear in out_grad, so the transpose is the derivative of <gradient(out_grad), tangents> by out_grad.
    """
    level = next_level()
    is_tuple = isinstance(node.output, TensorTuple)
    outputs = tuple(node.output) if is_tuple else (node.output,)
    variables = [Taped(level, constant_like(out, 0.0)) for out in outputs]
    out_grad: Any = tuple(variables) if is_tuple else variables[0]
    asked = {a for a, t in zip(node.inputs, tangents, strict=True) if t is not None}
    adjoints = autograd.apply_rule(op, out_grad, node, asked)
    seeds: list[Any] = []
    for a, adjoint, t in zip(node.inputs, adjoints, tangents, strict=True):
        if t is not None and adjoint is not None and adjoint is not autograd.ZERO:
            adjoint = autograd.whole_adjoint(adjoint, a)
            pairs = zip(adjoint, t, strict=True) if isinstance(t, tuple) else [(adjoint, t)]
            seeds += [(g, s) for g, s in pairs if s is not None and is_on_tape(g, level)]
    if not seeds:
        return None
    found = pull_back(seeds, variables)
    return tuple(found) if is_tuple else found[0]


class HessianProduct:
    """The Hessian of a recorded number by the variables that it was computed from, as a linear map: call it with a
    tangent v for each variable, as often as wanted.

    H v is the gradient of the derivative along v. So v is pushed forward over the graph, which records that
    derivative, and one sweep goes back over both.
    """

    def __init__(self, output: Any, variables: Sequence[Tensor]):
        self._output, self._variables = autograd.original_of(output), list(map(autograd.original_of, variables))

    def __call__(self, tangents: Sequence[Tensor]) -> list[Tensor | None] | None:
        """For each variable, the tangent of the gradient by it; None where that is zero.

        None instead of the list if a user wrote one of the rules: its derivative need not be symmetric.
        """
        order = autograd.find_topo_sort([self._output], differentiable=True)
        if not all(node.op is None or (node.op.on_arrays and not node.op.same_inputs) for node in order):
            return None
        derivative = self._derivative(order, tangents)
        found: dict[Any, Any] = {}
        if derivative is not None and derivative.needs > DETACHED:
            found.update(autograd.sweep({derivative: autograd.ones_like(derivative._array)}, self._variables))
        return [constant(autograd.own(found.pop(v))) if v in found else None for v in self._variables]

    def _derivative(self, order: Sequence[Any], tangents: Sequence[Tensor]) -> Any:
        """The output's tangent, recorded; None if it is zero."""
        read: set[Any] = set()  # those whose tangents are read: by a rule, or to compute another tangent that is read
        for node in reversed(order):
            if node.op and (node.op.saves or node in read):
                read.update(node.inputs)
        pairs = zip(self._variables, tangents, strict=True)
        pushed: dict[Any, Any] = {a: constant(t._array) for a, t in pairs if a.dtype.kind != "b"}
        was_recording = autograd.set_recording(True)
        try:
            for node in order:
                given = tuple([pushed.get(a) for a in node.inputs])
                if any(t is not None for t in given):
                    pushed[node] = self._pushed(autograd.node_as_recorded(node), given, node in read)
        finally:
            autograd.reset_recording(was_recording)
        return pushed.get(self._output)

    def _pushed(self, node: Any, tangents: tuple[Any, ...], is_read: bool) -> Any:
        op = node.op
        unread = not is_read and type(node) is Tensor and tuple not in map(type, tangents) and not watching.active
        if unread and not op.saves:  # a constant Jacobian: adjoints go back from the tangent as they do from the output
            pairs = zip(node.inputs, tangents, strict=True)
            return _unread(op, node, *[constant(a._array) if t is None else t for a, t in pairs])
        if unread and type(op).tangent in _BILINEAR:
            (a, b), (s, t) = node.inputs, tangents
            terms = [_unread(op, node, *pair) for pair in ((s, b), (a, t)) if not any(x is None for x in pair)]
            return terms[0] if len(terms) == 1 else _unread(EWISE_ADD, node, *terms)
        if unread and type(op).tangent is Elementwise.tangent and len(tangents) == 1:  # its slope times the tangent
            slope = op.along(0, constant(np.ones((), gradient_dtype(node.dtype))), node)
            if slope is not None and slope.shape == node.shape and slope.dtype.kind == node.inputs[0].dtype.kind == "f":
                return _unread(EWISE_MUL, node, tangents[0], slope)
        return fitting(push(op, tangents, node), node)


_BILINEAR = {Bilinear.tangent, EWiseMul.tangent}
"""The forward rules of bilinear ops, which a class with another `compute` or `gradient` does not inherit."""


def _unread(op: Op, like: Any, *inputs: Any) -> Any:
    """op(*inputs), recorded but not computed. Nobody reads the value, so that of `like` stands in for it."""
    output = autograd.twin_of(like, like._array, inputs)
    output.op, output.saved = op, tuple([a._array for a in inputs]) if "inputs" in op.saves else None
    return output
