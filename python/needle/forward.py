"""Forward mode: tangents are pushed forward while the program runs, and no graph is kept."""

from __future__ import annotations

from typing import Any

from . import autograd, watching
from .autograd import Node, Op, Tensor, TensorTuple, Wrapped, WrappedTuple, applied, gradient_dtype, is_recorded_inside
from .ops.tuples import MAKE_TENSOR_TUPLE
from .tape import Taped, constant_like, is_on_tape, next_level, pull_back


class Dual(Wrapped):
    """A tensor and its tangent, which has the tensor's shape and dtype (float64 for integers)."""

    __slots__ = ("tangent",)
    tangent: Any
    """A Tensor; a tuple for a tuple of tensors (see `gathered`)."""

    def __init__(self, level: int, value: Any, tangent: Any):
        super().__init__(level, value)
        self.tangent = tangent

    def is_recorded(self) -> bool:
        return is_recorded_inside(self.value) or is_recorded_inside(self.tangent)

    def _lowered(self) -> Any:
        """The array with its tangent; see duals.py."""
        return self.lower(self)

    lower: Any = staticmethod(lambda dual: dual)
    """Converts a Dual to a dual array; set by duals.py."""

    def twin(self) -> Dual:
        return Dual(self.level, self.value, self.tangent)

    def _parts(self, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The values and the tangents (None: structural zero) of the inputs."""
        mine = [type(a) is Dual and a.level == self.level for a in inputs]
        values = tuple([a.value if is_mine else a for a, is_mine in zip(inputs, mine, strict=True)])
        return values, tuple([a.tangent if is_mine else None for a, is_mine in zip(inputs, mine, strict=True)])

    def gathered(self, members: tuple[Any, ...]) -> Dual:
        values, tangents = self._parts(members)
        return Dual(self.level, MAKE_TENSOR_TUPLE(*values), tangents)

    def process(self, op: Op, inputs: tuple[Any, ...]) -> Any:
        values, tangents = self._parts(inputs)
        out = op(*values)
        if op.discrete or autograd.is_recording() is False:
            return out
        tangent = push(op, tangents, Node(values, out) if op.on_arrays else applied(op, values, out))
        if not isinstance(out, TensorTuple):
            return dual(self.level, out, tangent)
        members = tangent or [None] * len(out)
        return WrappedTuple([dual(self.level, out[i], t) for i, t in enumerate(members)])


def push(op: Op, tangents: tuple[Any, ...], node: Any) -> Any:
    """The tangent of the op's output `node`, from those of its inputs (None: structural zero).

    For an output that is a tuple, it is a tuple of the members' tangents.
    """
    if watching.active:
        return autograd.watched_rule("pushed", op, node, tangents, lambda: _push(op, tangents, node))
    return _push(op, tangents, node)


def _push(op: Op, tangents: tuple[Any, ...], node: Any) -> Any:
    tangent = op.tangent(tangents, node)
    return _transposed_gradient(op, tangents, node) if tangent is NotImplemented else tangent


def dual(level: int, value: Tensor, tangent: Any) -> Tensor:
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
    total: Any = None
    for a, adjoint, t in zip(node.inputs, adjoints, tangents, strict=True):
        if t is not None and adjoint is not None and adjoint is not autograd.ZERO:
            adjoint = autograd.whole_adjoint(adjoint, a)
            for g, s in zip(adjoint, t, strict=True) if isinstance(t, tuple) else [(adjoint, t)]:
                if g is not None and s is not None:
                    product = (g * s).sum()
                    total = product if total is None else total + product
    if not is_on_tape(total, level):
        return None
    found = pull_back([(total, constant_like(total, 1.0))], variables)
    return tuple(found) if is_tuple else found[0]
