"""What families of operations have in common: their algebra, scalar operands, axes."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np
from numpy import ndarray

from .. import autograd, watching
from ..autograd import (
    CONSTANT,
    DETACHED,
    RECORDED,
    ZERO,
    Axes,
    Tensor,
    TensorOp,
    as_value,
    constant,
    gradient_dtype,
    is_recording,
    modes,
    reset_asked,
    set_asked,
    unmasked,
)
from ..backend import as_array
from ..memory import handed_out
from ..pool import SMALLEST

_new = object.__new__

NUMBERS = frozenset({int, float, bool, complex})
"""Exact types of Python numbers: weak in dtype, and part of an op. `np.float64` is a float, too, but not weak."""


class Elementwise(TensorOp):
    """Each output element depends on the input elements at its place: a diagonal Jacobian, so `gradient` is the
    forward rule, too. `ufunc` names the NumPy ufunc that computes it; it is `compute` unless a class has its own."""

    __slots__ = ()
    elementwise = True
    ufunc: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "ufunc" in vars(cls) and "compute" not in vars(cls):
            setattr(cls, "compute", getattr(np, cls.ufunc))  # noqa: B010 - a ufunc is not a method: it stays unbound
        super().__init_subclass__(**kwargs)

    def hint(self, *arrays: Any) -> str:
        return broadcast_hint(*arrays)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        total = None
        for i, t in enumerate(tangents):
            if t is not None:
                part = self._along(i, spread(t, node.output.shape), node)
                total = total if part is None else part if total is None else total + part
        return total

    def _along(self, i: int, tangent: Any, node: Any) -> Any:
        """What `gradient` makes of a tangent for input i; None if that is zero."""
        a = node.inputs[i]
        token = set_asked({a} if isinstance(a, Tensor) else None)
        try:
            returned = self.gradient(tangent, node)
        finally:
            reset_asked(token)
        part = returned[i] if type(returned) is tuple else returned
        part = part() if type(part) is FunctionType else part
        return None if part is ZERO else unmasked(part)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))


class ScalarOp(Elementwise):
    """Element-wise with a Python number as the second operand."""

    __slots__ = ("scalar",)
    of: Callable[[Any], ScalarOp]
    """The op by its number, one object for all that is done with this number: a loop then makes fewer objects that live
    as long as its graph."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        shared = lru_cache(256, typed=True)(cls)
        # Equal numbers may differ in the sign of a zero.
        cls.of = staticmethod(lambda n: shared(n) if n and type(n) is not complex else cls(n))

    def __init__(self, scalar: Any):
        self.scalar = scalar

    def memory(self, out: Any) -> Any:
        """`out`, unless the scalar may make the result another dtype than the array: a complex one, a NumPy one."""
        return out if type(self.scalar) in (int, float, bool) else None


class Linear(TensorOp):
    """Linear in its inputs: the forward rule is the op itself, applied to the tangents."""

    __slots__ = ()

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return self.on(*[_or_zero(t, a) for t, a in zip(tangents, node.inputs, strict=True)])


class View(Linear):
    """Shows the elements of its input in its own memory, where NumPy's function does: who assigns to one of the two
    changes the other, too."""

    __slots__ = ("_base",)
    _base: Any
    """What was assigned to, and has this output as a view: it is to live as long as the view does."""
    view = True

    def __call__(self, *inputs: Any) -> Any:
        node = super().__call__(*inputs)
        if type(node) is not Tensor or type(inputs[0]) is not Tensor:
            if isinstance(node, Tensor) and isinstance(inputs[0], Tensor):
                self._note_special(node, inputs[0])
        elif modes.LAZY_MODE:
            autograd.note_view(node, inputs[0], self)
        else:
            a, memory = inputs[0], node._array.base
            array = a._array
            if memory is not None and (memory is array or memory is array.base):
                autograd.note_view(node, a, self)
                if node.op is None:
                    node.saved = a  # as long as there is the view, there is its base
        return node

    def _note_special(self, node: Any, a: Any) -> None:
        """Note what may be a view of something that is wrapped, or was assigned to: it is found out when it counts."""
        base = autograd.latest(a)
        if type(node) is Tensor and type(base) is Tensor:
            if np.may_share_memory(node._array, base._array):
                node._array = own_copy(node._array)  # else the next assignment could not write in place
            elif node._array.ndim == 0:
                return  # a number
        if node.op is None:
            node.saved = a
        else:
            node.op = copy(self)
            node.op._base = a
        autograd.note_view(node, a, self)


def own_copy(array: Any) -> Any:
    """A copy of an array whose elements lie in memory as these do."""
    copied = array.copy(order="K")
    if watching.active:
        watching.tell("copied", array, copied)
    return copied


class Bilinear(TensorOp):
    """Linear in each of two inputs: the forward rule is two applications of the op."""

    __slots__ = ()
    commutes = False
    """Whether op(a, b) is op(b, a)."""

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (a, b), (s, t) = node.inputs, tangents
        by_a = None if s is None else self.on(s, b)
        by_b = by_a if a is b and self.commutes else None if t is None else self.on(a, t)
        return by_b if by_a is None else by_a if by_b is None else _sum_in_place(by_a, by_b)


def _sum_in_place(a: Any, b: Any) -> Any:
    """a + b, in the memory of a: a product that nobody else holds, if nobody records or watches it."""
    if type(a) is not Tensor or type(b) is not Tensor or a.op is not None or watching.active:
        return a + b
    x, y = a._array, b._array
    if x.nbytes < SMALLEST or x.shape != y.shape or x.dtype is not y.dtype:
        return a + b
    np.add(x, y, out=x)
    return a


def spread(a: Any, shape: tuple[int, ...]) -> Any:
    """The tensor or array broadcast to this shape, itself if it has it."""
    return a if a.shape == shape else np.broadcast_to(a, shape)


def _or_zero(tangent: Any, value: Any) -> Any:
    """The tangent of a value: zeros where there is none."""
    if tangent is not None:
        return tangent
    return np.zeros(value.shape, gradient_dtype(value.dtype))


def aligned(values: tuple[Any, ...], depths: tuple[int | None, ...]) -> list[Any]:
    """Inputs of a batched op whose axes after the batch's broadcast as they would without it; see `Op.batched`."""
    deepest = max(a.ndim if depth is None else depth for a, depth in zip(values, depths, strict=True))
    return [
        a if depth in (None, deepest) else a.reshape((a.shape[0], *(1,) * (deepest - depth), *a.shape[1:]))
        for a, depth in zip(values, depths, strict=True)
    ]


def repeated(a: Any, shape: tuple[int, ...]) -> Any:
    """A 0-d array as one of this shape, not copied: np.broadcast_to takes 2 us, and every sum's gradient does this."""
    out = np.ndarray(shape, a.dtype, a, 0, (0,) * len(shape))
    out.flags.writeable = False
    return out


def broadcast_hint(*arrays: Any) -> str:
    """What is wrong with operands whose shapes do not broadcast; "" where they do."""
    shapes = [a.shape for a in arrays]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return (
            f"the shapes {' and '.join(map(str, shapes))} do not broadcast: counted from the right, each pair of "
            "lengths must be equal or have a 1 in it; reshape an operand, or use broadcast_to"
        )
    return ""


def weak(number: Any, like: Any, floating: bool = False) -> Tensor:
    """A Python number as a constant, in the dtype that NumPy gives it beside an array like this; `floating`: beside one
    that a function takes which computes in floats."""
    dtype = np.result_type(like.dtype if hasattr(like, "dtype") else np.asarray(like).dtype, number)
    if floating and dtype.kind in "iu":
        dtype = np.result_type(dtype, np.float16)
    return constant(np.asarray(number, dtype=dtype))


def as_floats(a: Any) -> Any:
    """Integers as float64: in a gradient rule, the arithmetic of small ones would wrap around."""
    return a if a.dtype.kind in "fc" else a.astype(np.float64)


def operands(a: Any, b: Any, floating: bool = False) -> tuple[Any, Any]:
    """Two operands as values; a Python number takes the other one's dtype as NumPy has it, see `weak`."""
    if type(a) in NUMBERS and type(b) not in NUMBERS:
        b = as_value(b)
        return weak(a, b, floating), b
    if type(b) in NUMBERS and type(a) not in NUMBERS:
        a = as_value(a)
        return a, weak(b, a, floating)
    return as_value(a), as_value(b)


def normalize_axes(op: object, axes: Axes, ndim: int) -> tuple[int, ...]:
    """The axes as a sorted tuple of non-negative integers; None means all of them."""
    if axes is None:
        return tuple(range(ndim))
    given = axes if isinstance(axes, (tuple, list)) else (axes,)
    if len(given) == 1 and type(given[0]) is int and -ndim <= given[0] < ndim:
        return (given[0] % ndim,)  # mostly
    normal = []
    for axis in given:
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise TypeError(f"{op}: axes must be None, an int or a tuple of ints, got {axes!r}")
        i = int(axis.__index__())
        if not -ndim <= i < ndim:
            raise np.exceptions.AxisError(  # a ValueError and an IndexError
                f"{op}: axis {i} does not exist; a {ndim}-d input has axes from {-ndim} to {ndim - 1}"
            )
        normal.append(i % ndim)
    if len(set(normal)) != len(normal):
        raise ValueError(f"{op}: axes {axes!r} name an axis of the {ndim}-d input twice; name each once")
    return tuple(sorted(normal))


def batch_axes(op: object, axes: Axes, depth: int | None) -> tuple[int, ...]:
    """The axes of an input of this many axes, after a batch axis was put in front of them."""
    return tuple(axis + 1 for axis in normalize_axes(op, axes, depth or 0))


def given_axes(name: str, axes: Axes, axis: Axes) -> Axes:
    """Methods take Needle's `axes` and NumPy's `axis`; not both."""
    if axes is not None and axis is not None:
        raise TypeError(f"{name}: give axes or axis, not both (got axes={axes!r}, axis={axis!r})")
    return axis if axes is None else axes


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a reduction over these (normal) axes that keeps them with length 1."""
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


OPERANDS = (Tensor, np.ndarray, np.generic, int, float, complex, list, tuple)
_ARRAYS = np.ndarray.__array_ufunc__


def decides_itself(a: Any) -> bool:
    """Whether it is a container of another library, and what a ufunc makes of it is its own matter."""
    return getattr(type(a), "__array_ufunc__", _ARRAYS) is not _ARRAYS and not isinstance(a, Tensor)


def is_operand(a: Any) -> bool:
    """Whether a Tensor's operators know what to do with it, and it does not come first, as matrices and masked arrays
    do beside NumPy's own arrays."""
    if type(a) in NUMBERS or type(a) is ndarray:
        return True
    if not isinstance(a, OPERANDS) or decides_itself(a):
        return False
    return not isinstance(a, ndarray) or a.__array_priority__ <= 0


def _with_number(function: Callable[[Any, Any], Any], scalar_op: Any) -> Callable[[Any, Any], Any]:
    """What an operator does with a small Tensor and a Python number, whose class of ops this is; see `operator`."""
    ufunc, op_of = getattr(np, scalar_op.ufunc), scalar_op.of

    def with_number(self: Any, number: Any) -> Any:
        if modes.LAZY_MODE or handed_out or watching.active:
            return function(self, number)
        try:
            x = self._array
            if x.nbytes >= SMALLEST:
                return function(self, number)
            out = ufunc(x, number)
        except (AttributeError, ValueError, TypeError, OverflowError):
            return function(self, number)
        node = _new(Tensor)
        node._array = out if type(out) is ndarray else as_array(out)
        node._grad = node.saved = None
        if self.needs > DETACHED and is_recording():
            node.op = op_of(number)
            node.inputs = (self,)
            node.needs = RECORDED
        else:
            node.op = None
            node.inputs = ()
            node.needs = CONSTANT
        return node

    return with_number


def operator(function: Callable[[Any, Any], Any], op: Any = None, scalar_op: Any = None) -> Callable[[Any, Any], Any]:
    """The method behind a binary operator; unknown types may answer for themselves.

    With an `op`, whose `compute` needs no `out=`, two small Tensors are computed and recorded right here: as `op(a, b)`
    does, without the calls that would take longer than the sum or product of a few numbers. So are a small Tensor and a
    Python number, with the class of ops for these.
    """

    def method(self: Any, other: Any) -> Any:
        if is_operand(other):
            return function(self, other)
        return NotImplemented

    if op is None:
        return method
    saves = "inputs" in op.saves
    with_number = _with_number(function, scalar_op) if scalar_op else function

    def quick_method(self: Any, other: Any) -> Any:
        if type(other) is not Tensor:
            if type(other) is float or type(other) is int:
                return with_number(self, other)
            return method(self, other)
        if modes.LAZY_MODE or handed_out or watching.active:
            return op(self, other)
        try:
            x, y = self._array, other._array
            if x.nbytes >= SMALLEST:
                return op(self, other)
            out = op.compute(x, y)
        except (AttributeError, ValueError, TypeError):
            return op(self, other)  # which knows what to do, or says what is wrong
        node = _new(Tensor)
        node._array = out if type(out) is ndarray else as_array(out)
        node._grad = None
        if (self.needs | other.needs) > DETACHED and is_recording():
            node.op = op
            node.inputs = (self, other)
            node.saved = (x, y) if saves else None
            node.needs = RECORDED
        else:
            node.op = None
            node.inputs = ()
            node.saved = None
            node.needs = CONSTANT
        return node

    return quick_method


def reflected(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The method behind a binary operator whose left operand is not a Tensor."""

    def method(self: Any, other: Any) -> Any:
        if is_operand(other):
            return function(other, self)
        return NotImplemented

    return method
