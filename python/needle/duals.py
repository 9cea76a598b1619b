"""Products with a Hessian, forward over reverse: the sweep, on arrays that carry their tangents along.

It computes what jvp(grad(f)) does, but f runs without a wrapper around any of its values, and only once for any number
of products: tangents are pushed forward over the graph of that run, and adjoints are pulled back together with theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from types import FunctionType
from typing import Any

import numpy as np
from numpy import ndarray

from . import autograd, forward, watching
from .autograd import Node, Op, Tensor, TensorTuple, WrappedTuple, constant, sweep
from .autograd.history import arrays_as_recorded, node_as_recorded
from .backend import as_array
from .ops.base import Linear
from .ops.matmul import MATMUL
from .ops.reduction import Summation
from .pool import SMALLEST, result_of
from .tape import next_level

_LEVEL = next_level()
"""That of duals as Tensors: below those of all transforms that rules may run within."""


class Dual:
    """An array and its tangent, which is not zero and has its shape: what a rule is handed in the place of an array.

    Both are `factor` times something: numbers that a rule multiplies by are collected there, without a pass over
    memory. What the value is a multiple of may be a function that computes it when it is first read: of an adjoint that
    only goes through linear operations to a variable, where its tangent is wanted, nobody reads it. At most `DEEPEST`
    such functions depend on each other.
    """

    __slots__ = ("_depth", "_plain", "_tangent", "_value", "factor", "plain_tangent")
    DEEPEST = 16
    shape: Any
    dtype: Any

    def __init__(self, plain: Any, plain_tangent: Any, *of: Any, factor: Any = 1):
        self._plain, self.plain_tangent, self.factor = plain, plain_tangent, factor
        self._value = self._tangent = None
        self._depth = 0
        if type(plain) is FunctionType:
            self._depth = 1 + max([a._depth for a in of if type(a) is Dual])
            if self._depth > self.DEEPEST:
                _ = self.plain

    @property
    def plain(self) -> Any:
        if type(self._plain) is FunctionType:
            self._plain, self._depth = as_array(self._plain()), 0
        return self._plain

    @property
    def value(self) -> Any:
        if self._value is None:
            self._value = self.plain if self.factor == 1 else _new(np.multiply, self.plain, self.factor)
        return self._value

    @property
    def tangent(self) -> Any:
        if self._tangent is None:
            plain = self.plain_tangent
            self._tangent = plain if self.factor == 1 else as_array(_new(np.multiply, plain, self.factor))
        return self._tangent

    def each(self, function: Callable[[Any], Any]) -> Dual:
        """A function that is linear over the reals, of the value and of the tangent."""
        return Dual(lambda: function(self.plain), as_array(function(self.plain_tangent)), self, factor=self.factor)

    def times(self, factor: Any) -> Dual:
        return Dual(lambda: self.plain, self.plain_tangent, self, factor=self.factor * factor)

    def sum(self, axes: Any) -> Dual:
        return self.each(Summation(axes).on)

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> Any:
        rule = _UFUNCS.get(ufunc)
        if rule is not None:
            return rule(*operands)
        if ufunc in _OF_VALUES or (ufunc is np.sign and self.dtype.kind != "c"):
            return ufunc(*map(value_of, operands))
        return lifted(ufunc, *operands)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function is np.where:
            return _where(*args)
        if function is np.broadcast_to:
            return self.each(lambda a: np.broadcast_to(a, *args[1:]))
        return lifted(lambda *operands: function(*operands, **options), *args)

    def apply(self, op: Op, values: Sequence[Any]) -> Any:
        """What an op makes of these values, some of which are duals."""
        tangents = tuple(map(tangent_of, values))
        if isinstance(op, Linear):  # whose tangent does not depend on what has one
            shapes = tuple([a.plain_tangent if type(a) is Dual else as_array(a) for a in values])
            tangent = op.tangent(tangents, Node(shapes, shapes[0]))
            return Dual(lambda: op.on(*map(value_of, values)), as_array(tangent), *values)
        if op is MATMUL:
            (a, b), (x, y), (s, t) = values, map(plain_of, values), map(plain_tangent_of, values)
            tangent = _plus(None if s is None else op.on(s, y()), None if t is None else op.on(x(), t))
            return Dual(lambda: op.on(x(), y()), tangent, a, b, factor=_factor(a, b))
        if op.discrete:
            return op.on(*map(value_of, values))
        arrays = tuple(map(value_of, values))
        y = op.on(*arrays)
        tangent = op.tangent(tangents, Node(arrays, y)) if op.on_arrays and type(y) is not tuple else NotImplemented
        if tangent is NotImplemented:
            return lifted(op, *values)
        return y if tangent is None else dual(y, tangent)

    def as_tensor(self) -> Any:
        """The same as a Tensor, for rules that users write."""
        return forward.Dual(_LEVEL, constant(as_array(self.value)), constant(self.tangent))


def _fact(name: str) -> Any:
    return property(lambda self: getattr(self.plain_tangent, name))


def _part(name: str) -> Any:
    return property(lambda self: self.each(lambda a: getattr(a, name)))


def _move(name: str) -> Any:
    return lambda self, *args, **options: self.each(lambda a: getattr(a, name)(*args, **options))


def _operator(ufunc: Any, reflected: bool = False) -> Any:
    if reflected:
        return lambda self, other: self.__array_ufunc__(ufunc, "__call__", other, self)
    return lambda self, *other: self.__array_ufunc__(ufunc, "__call__", self, *other)


for _name in ("shape", "dtype", "ndim", "size", "nbytes", "itemsize"):
    setattr(Dual, _name, _fact(_name))
for _name in ("reshape", "swapaxes", "astype", "conj", "copy", "__getitem__"):
    setattr(Dual, _name, _move(_name))
for _name in ("mT", "real"):
    setattr(Dual, _name, _part(_name))
_BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "matmul": np.matmul}
_ORDER: dict[str, Any] = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal}
_ORDER |= {"gt": np.greater, "ge": np.greater_equal}
for _name, _ufunc in {**_BINARY, **_ORDER, "neg": np.negative, "pow": np.power}.items():
    setattr(Dual, f"__{_name}__", _operator(_ufunc))
for _name, _ufunc in _BINARY.items():
    setattr(Dual, f"__r{_name}__", _operator(_ufunc, reflected=True))


def value_of(a: Any) -> Any:
    return a.value if type(a) is Dual else a


def tangent_of(a: Any) -> Any:
    return a.tangent if type(a) is Dual else None


def plain_of(a: Any) -> Callable[[], Any]:
    """What gives an operand without its factor."""
    return (lambda: a.plain) if type(a) is Dual else lambda: a


def plain_tangent_of(a: Any) -> Any:
    return a.plain_tangent if type(a) is Dual else None


def _factor(a: Any, b: Any) -> Any:
    """That of a product."""
    return (a.factor if type(a) is Dual else 1) * (b.factor if type(b) is Dual else 1)


def dual(value: Any, tangent: Any) -> Dual:
    """A value with a tangent, which may have been left as small as it was before the value was broadcast."""
    tangent = as_array(tangent)
    return Dual(value, tangent if tangent.shape == value.shape else np.broadcast_to(tangent, value.shape))


def lifted(function: Callable[..., Any], *operands: Any) -> Any:
    """What a function makes of them, as it does of Tensors that carry tangents (forward.py)."""

    def lift(a: Any) -> Any:
        if type(a) is Dual:
            return a.as_tensor()
        return constant(as_array(a)) if isinstance(a, (ndarray, np.generic)) else a

    return lowered(function(*[tuple(map(lift, a)) if isinstance(a, (tuple, list)) else lift(a) for a in operands]))


def lowered(result: Any) -> Any:
    """A Tensor as an array, or as a dual where it carries a tangent."""
    if isinstance(result, (TensorTuple, tuple)):
        return tuple(map(lowered, result))
    if isinstance(result, forward.Dual):
        return Dual(result.value._array, result.tangent._array)
    return result._array if isinstance(result, Tensor) else result


forward.Dual.lower = staticmethod(lowered)


# ------------------------------------------------------------------------------------------- arithmetic, in few passes


def _new(ufunc: Any, *operands: Any) -> Any:
    """What the ufunc makes of them: if that is large, in memory that is used again."""
    a = operands[0] if type(operands[0]) is ndarray else operands[-1]
    if type(a) is ndarray and a.nbytes >= SMALLEST:
        return ufunc(*operands, out=result_of(tuple([b for b in (a, *operands) if type(b) is ndarray])))
    return ufunc(*operands)


def _plus(a: Any, b: Any) -> Any:
    """The sum of two products that nobody else holds, None for zero."""
    if a is None or b is None:
        return b if a is None else a
    return np.add(a, b, out=a) if type(a) is ndarray and a.shape == b.shape and a.dtype is b.dtype and a.ndim else a + b


def _sized(tangent: Any, a: Any, b: Any) -> Any:
    """The tangent of a sum or a product, broadcast as its operands are."""
    own, first, second = tangent.shape, getattr(a, "shape", ()), getattr(b, "shape", ())
    if (first == own and second in (own, ())) or (second == own and first in (own, ())):
        return tangent
    shape = np.broadcast_shapes(first, second)
    return tangent if shape == own else np.broadcast_to(tangent, shape)


def _number(a: Any) -> Any:
    """The number that an operand is, or that is everywhere in it, as in the adjoint behind a sum; None for others."""
    if type(a) in (int, float):
        return a
    repeats = type(a) is ndarray and a.dtype.kind == "f" and a.size and not any(a.strides)
    return a.flat[0] if repeats else None


def _product(a: Any, b: Any) -> Dual:
    for number, operand, other in ((_number(a), a, b), (_number(b), b, a)):
        if number is not None and isfinite(number) and np.shape(operand) in ((), other.shape):
            return other.times(number)
    x, y, s, t = plain_of(a), plain_of(b), plain_tangent_of(a), plain_tangent_of(b)
    by_a: Any = None if s is None else _new(np.multiply, s, y())
    by_b = None if t is None or a is b else _new(np.multiply, t, x())
    change = _plus(by_a, by_a if a is b else by_b)
    change = _sized(as_array(change), a, b)
    return Dual(lambda: _new(np.multiply, x(), y()), change, a, b, factor=_factor(a, b))


def _sum(a: Any, b: Any) -> Dual:
    k = a.factor if type(a) is type(b) is Dual and a.factor == b.factor else None
    if k is not None:
        change = _new(np.add, a.plain_tangent, b.plain_tangent)
        return Dual(lambda: _new(np.add, a.plain, b.plain), _sized(as_array(change), a, b), a, b, factor=k)
    s, t = tangent_of(a), tangent_of(b)
    change = t if s is None else s if t is None else _new(np.add, s, t)
    return Dual(lambda: _new(np.add, value_of(a), value_of(b)), _sized(as_array(change), a, b), a, b)


def _difference(a: Any, b: Any) -> Dual:
    if type(b) is Dual and type(a) is not Dual:  # -(b - a)
        return _difference(b, a).times(-1)
    s, t = tangent_of(a), tangent_of(b)
    change = s if t is None else _new(np.subtract, s, t)
    return Dual(lambda: _new(np.subtract, value_of(a), value_of(b)), _sized(as_array(change), a, b), a, b)


def _quotient(a: Any, b: Any) -> Dual:
    """d(a / b) = (da - (a / b) db) / b."""
    s, t, y = tangent_of(a), tangent_of(b), value_of(b)
    if t is None:
        return Dual(lambda: _new(np.divide, value_of(a), y), _sized(as_array(_new(np.divide, s, y)), a, b), a)
    out = as_array(_new(np.divide, value_of(a), y))
    change = _new(np.multiply, out, t)
    change = _new(np.negative, change) if s is None else _new(np.subtract, s, change)
    return dual(out, _new(np.divide, change, y))


def _where(condition: Any, a: Any, b: Any) -> Any:
    condition, s, t = value_of(condition), tangent_of(a), tangent_of(b)
    if s is None and t is None:
        return np.where(condition, value_of(a), value_of(b))
    change = np.where(condition, 0 if s is None else s, 0 if t is None else t)
    return Dual(lambda: np.where(condition, value_of(a), value_of(b)), as_array(change), a, b)


_UFUNCS: dict[Any, Callable[..., Any]] = {
    np.multiply: _product,
    np.add: _sum,
    np.subtract: _difference,
    np.divide: _quotient,
    np.negative: lambda a: a.times(-1),
    np.conjugate: lambda a: a.each(np.conj),
    np.matmul: MATMUL.on,
}
_OF_VALUES: set[Any] = {*_ORDER.values(), np.isfinite, np.isinf, np.isnan, np.rint}
"""Ufuncs that are constant wherever they have a derivative."""


# ------------------------------------------------------------------------------------------- products with a Hessian


class HessianProduct:
    """The Hessian of a recorded number by the variables that it was computed from, as a linear map: call it with a
    tangent for each variable, as often as wanted."""

    def __init__(self, output: Any, variables: Sequence[Tensor]):
        self._output, self._variables = output, variables
        self._sort()

    def _sort(self) -> None:
        self._output = autograd.original_of(self._output)
        self._variables = list(map(autograd.original_of, self._variables))
        self._order = autograd.find_topo_sort([self._output], differentiable=True)
        self._read: set[Any] = set()
        """Those whose tangents a rule reads, or another tangent is computed from."""
        for node in reversed(self._order):
            saves = node.op.saves if node.op else ()
            if "output" in saves:
                self._read.add(node)
            if "inputs" in saves or node in self._read:
                self._read.update(node.inputs)

    @property
    def applies(self) -> bool:
        """Whether no op insists on the very inputs that it had."""
        return not any(node.op is not None and node.op.same_inputs for node in self._order)

    def __call__(self, tangents: Sequence[Tensor]) -> list[Tensor | None]:
        """For each variable, the tangent of the gradient by it; None where that is zero."""
        if autograd.names:  # some of these may have been assigned to since
            self._sort()
        was_recording = autograd.set_recording(None)
        try:
            pairs = zip(self._variables, tangents, strict=True)
            self._pushed: dict[Any, Any] = {a: t._array for a, t in pairs if a.dtype.kind != "b"}
            for node in self._order:
                if node in self._read and node.inputs:
                    self._push(node)
            seed = autograd.ones_like(self._output._array)
            given = {self._output: seed}
            found = dict(sweep(given, self._variables, record=None, see=self._seen, order=self._order))
        finally:
            autograd.reset_recording(was_recording)
            self._pushed = {}
        changes = [tangent_of(found.get(v)) for v in self._variables]
        return [None if t is None else constant(autograd.own(t)) for t in changes]

    def _push(self, node: Any) -> None:
        """Add the tangent of a node to those of its inputs."""
        tangents = tuple([self._pushed.get(a) for a in node.inputs])
        if all(t is None for t in tangents):
            return
        tangent: Any = NotImplemented
        if node.op.on_arrays and not watching.active and type(node) is Tensor:
            inputs, output = arrays_as_recorded(node)
            tangent = node.op.tangent(tangents, Node(inputs, output))
            if tangent is not NotImplemented and tangent is not None:
                tangent = forward.fitting(as_array(tangent), output)
                tangent = tangent if tangent.shape == output.shape else np.broadcast_to(tangent, output.shape)
        if tangent is NotImplemented:
            seen = node_as_recorded(node)
            given = tuple(map(autograd.as_tensors, tangents))
            tangent = autograd.as_arrays(forward.fitting(forward.push(node.op, given, seen), seen))
        if tangent is not None:
            self._pushed[node] = tangent

    def _seen(self, node: Any, on_arrays: bool) -> Any:
        """What a rule is shown of a node: its inputs and output with their tangents."""
        tangents = [self._pushed.get(a) for a in node.inputs]
        moved = self._pushed.get(node)
        if on_arrays:
            inputs, output = arrays_as_recorded(node)
            pairs = zip(inputs, tangents, strict=True)
            return Node(tuple([_carrying(a, t) for a, t in pairs]), _carrying(output, moved))
        seen = node_as_recorded(node)
        inputs = tuple([_with_tangent(a, t) for a, t in zip(seen.inputs, tangents, strict=True)])
        output = _with_tangent(seen, moved)
        return Node(inputs, output) if node.op.on_arrays else autograd.applied(node.op, inputs, output)


def _carrying(array: Any, tangent: Any) -> Any:
    """An array, or a tuple of arrays, with its tangent, which may be None."""
    if tangent is None:
        return array
    if type(array) is tuple:
        return tuple([_carrying(a, t) for a, t in zip(array, tangent, strict=True)])
    return Dual(array, tangent)


def _with_tangent(value: Any, tangent: Any) -> Any:
    """The same of Tensors."""
    tangent = autograd.as_tensors(tangent)
    if isinstance(value, TensorTuple):
        members = tangent or [None] * len(value)
        return WrappedTuple([forward.dual(_LEVEL, value[i], t) for i, t in enumerate(members)])
    return forward.dual(_LEVEL, value, tangent)
