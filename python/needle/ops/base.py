"""Base classes of the op families, and helpers for operands, axes and operators."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import lru_cache
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
from ..views import note_view

_new = object.__new__

NUMBERS = frozenset({int, float, bool, complex})
"""The exact types of Python numbers. They are weak in dtype, and stored in the op.

Compare with `type(a) in NUMBERS`: `np.float64` is a subclass of float, but not weak.
"""
OWN_ARRAY: set[type[Any]] = {Tensor}
"""Classes of tensors that hold an array of their own: neither wrapped by a transform nor assigned to. Those who derive
one from Tensor add it, else its tensors take the longer way through operators and views."""


class Elementwise(TensorOp):
    """An op whose output elements each depend only on the input elements at the same position.

    The Jacobian is diagonal, so `gradient` also serves as the forward rule. `ufunc` names the NumPy ufunc that computes
    the op; it becomes `compute` unless the class defines its own.
    """

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
                part = self.along(i, spread(t, node.output.shape), node)
                total = total if part is None else part if total is None else total + part
        return total

    def along(self, i: int, tangent: Any, node: Any) -> Any:
        """`gradient` applied to the tangent of input i; None for a structural zero."""
        a = node.inputs[i]
        token = set_asked({a} if isinstance(a, Tensor) else None)
        try:
            returned = self.gradient(tangent, node)
        finally:
            reset_asked(token)
        part = returned[i] if type(returned) is tuple else returned
        part = part() if callable(part) else part
        return None if part is ZERO else unmasked(part)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))


class ScalarOp(Elementwise):
    """An element-wise op of one tensor and a number, which is part of the op: one of Python, or of NumPy, or the only
    element of an array, as the course passes it."""

    __slots__ = ("scalar",)
    of: Callable[[Any], ScalarOp]
    """The op for a number. Equal numbers share one object, so the graph of a loop holds fewer objects."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        shared = lru_cache(256, typed=True)(cls)
        # Zeros and complex numbers are not shared: equal ones may differ in the sign of a zero.
        cls.of = staticmethod(lambda n: shared(n) if n and type(n) is not complex else cls(n))

    def __init__(self, scalar: Any):
        if isinstance(scalar, np.ndarray) and scalar.size == 1:
            scalar = scalar.reshape(())[()]
        if not isinstance(scalar, (int, float, complex, np.generic)):
            raise TypeError(
                f"{type(self).__name__}: needs a number, got {type(scalar).__name__}; + - * / and ** combine two arrays"
            )
        self.scalar: Any = scalar

    def memory(self, out: Any) -> Any:
        """`out`, or None where the scalar (complex, or of NumPy) may give the result another dtype than the array."""
        return out if type(self.scalar) in (int, float, bool) else None


class Linear(TensorOp):
    """An op that is linear in its inputs: the forward rule applies the op to the tangents."""

    __slots__ = ()

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return self.on(*[_or_zero(t, a) for t, a in zip(tangents, node.inputs, strict=True)])


class View(Linear):
    """An op whose output shares memory with its input wherever NumPy's function returns a view.

    Assigning to either of the two changes the other.
    """

    __slots__ = ("_base",)
    _base: Any
    """The tensor that this output is a view of, if it was assigned to. The reference keeps it alive with the view."""
    view = True

    def __call__(self, *inputs: Any) -> Any:
        node = super().__call__(*inputs)
        if type(node) is not Tensor or (type(inputs[0]) is not Tensor and type(inputs[0]) not in OWN_ARRAY):
            if isinstance(node, Tensor) and isinstance(inputs[0], Tensor):
                self._note_special(node, inputs[0])
        elif modes.LAZY_MODE:
            note_view(node, inputs[0], self)
        else:
            a, memory = inputs[0], node._array.base
            array = a._array
            if memory is not None and (memory is array or memory is array.base):
                note_view(node, a, self)
                if node.op is None:
                    node.saved = a  # keeps the base alive as long as the view
        return node

    def _note_special(self, node: Any, a: Any) -> None:
        """Note a possible view of a tensor that is wrapped or was assigned to; whether it is one is decided later."""
        base = autograd.latest(a)
        if type(node) is Tensor and type(base) in OWN_ARRAY:
            if np.may_share_memory(node._array, base._array):
                node._array = own_copy(node._array)  # else the next assignment could not write in place
            elif node._array.ndim == 0:
                return  # a number
        if node.op is None:
            node.saved = a
        else:
            node.op = copy(self)
            node.op._base = a
        note_view(node, a, self)


def own_copy(array: Any) -> Any:
    """A copy of an array with the same memory layout."""
    copied = array.copy(order="K")
    if watching.active:
        watching.tell("copied", array, copied)
    return copied


class Bilinear(TensorOp):
    """An op that is linear in each of its two inputs: the forward rule applies the op once per tangent."""

    __slots__ = ()
    commutes = False
    """Whether op(a, b) is op(b, a)."""

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (a, b), (s, t) = node.inputs, tangents
        by_a = None if s is None else self.on(s, b)
        by_b = by_a if a is b and s is t and self.commutes else None if t is None else self.on(a, t)
        return by_b if by_a is None else by_a if by_b is None else _sum_in_place(by_a, by_b)


def _sum_in_place(a: Any, b: Any) -> Any:
    """a + b. Written into a where that is large and neither recorded nor watched: no one else holds a."""
    if type(a) is not Tensor or type(b) is not Tensor or a.op is not None or watching.active:
        return a + b
    x, y = a._array, b._array
    if x.nbytes < SMALLEST or x.shape != y.shape or x.dtype is not y.dtype:
        return a + b
    np.add(x, y, out=x)
    return a


def spread(a: Any, shape: tuple[int, ...]) -> Any:
    """The tensor or array broadcast to this shape; returned as it is if it has the shape already."""
    return a if a.shape == shape else np.broadcast_to(a, shape)


def _or_zero(tangent: Any, value: Any) -> Any:
    """The tangent of a value; zeros for a structural zero."""
    if tangent is not None:
        return tangent
    return np.zeros(value.shape, gradient_dtype(value.dtype))


def aligned(values: tuple[Any, ...], depths: tuple[int | None, ...]) -> list[Any]:
    """The inputs of a batched op, reshaped so that the axes after the batch axis broadcast as they would without it.

    See `Op.batched`.
    """
    deepest = max(a.ndim if depth is None else depth for a, depth in zip(values, depths, strict=True))
    return [
        a if depth in (None, deepest) else a.reshape((a.shape[0], *(1,) * (deepest - depth), *a.shape[1:]))
        for a, depth in zip(values, depths, strict=True)
    ]


def repeated(a: Any, shape: tuple[int, ...]) -> Any:
    """A 0-d array broadcast to this shape, read-only and without a copy.

    Every gradient of a sum does this, and np.broadcast_to takes 2 us.
    """
    out = np.ndarray(shape, a.dtype, a, 0, (0,) * len(shape))
    out.flags.writeable = False
    return out


def scaled(out_grad: Any, factor: Any) -> Any:
    """out_grad * factor. The adjoint behind a sum is one number, repeated: it is multiplied as a number."""
    if type(out_grad) is not ndarray or out_grad.nbytes < SMALLEST or any(out_grad.strides):
        return out_grad * factor
    number = out_grad.flat[0]
    if type(factor) in NUMBERS:
        return repeated(np.asarray(number * factor), out_grad.shape)
    is_alike = type(factor) is ndarray and factor.shape == out_grad.shape and factor.dtype is out_grad.dtype
    return factor if is_alike and number == 1 else out_grad * factor


def broadcast_hint(*arrays: Any) -> str:
    """What is wrong with operands whose shapes do not broadcast; "" if they do."""
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
    """A Python number as a constant, in the dtype that NumPy's promotion gives it next to `like`.

    With `floating`, integers become floats, as for a function that computes in floats.
    """
    dtype = np.result_type(like.dtype if hasattr(like, "dtype") else np.asarray(like).dtype, number)
    if floating and dtype.kind in "iu":
        dtype = np.result_type(dtype, np.float16)
    return constant(np.asarray(number, dtype=dtype))


def as_floats(a: Any) -> Any:
    """Integers converted to float64: in a gradient rule, small integer types would wrap around."""
    return a if a.dtype.kind in "fc" else a.astype(np.float64)


def operands(a: Any, b: Any, floating: bool = False) -> tuple[Any, Any]:
    """Two operands as values. A Python number takes its dtype from the other operand; see `weak`."""
    if type(a) in NUMBERS and type(b) not in NUMBERS:
        b = as_value(b)
        return weak(a, b, floating), b
    if type(b) in NUMBERS and type(a) not in NUMBERS:
        a = as_value(a)
        return a, weak(b, a, floating)
    return as_value(a), as_value(b)


def several(given: Any) -> tuple[Any, ...]:
    """Axes or lengths as a tuple: one integer, or a tuple, list, range or array of them."""
    if hasattr(given, "tolist"):
        given = given.tolist()
    return tuple(given) if isinstance(given, (tuple, list, range)) else (given,)


def described(given: Any) -> str:
    """An argument that is none of those wanted, for an error: what it is, if its elements or its place say nothing."""
    if isinstance(given, (Tensor, ndarray)):
        return f"a {'Tensor' if isinstance(given, Tensor) else 'array'} of shape {given.shape} and dtype {given.dtype}"
    if isinstance(given, (list, tuple)):
        inner = ", ".join(map(described, given))
        return f"[{inner}]" if isinstance(given, list) else f"({inner}{',' * (len(given) == 1)})"
    text = repr(given)
    return type(given).__name__ if " at 0x" in text or callable(given) else text


def normalize_axes(op: object, axes: Axes, ndim: int) -> tuple[int, ...]:
    """The axes as a sorted tuple of non-negative ints; None means all axes.

    Raises TypeError for anything but ints, AxisError for an axis out of range, ValueError for a repeated one.
    """
    if axes is None:
        return tuple(range(ndim))
    given = (axes,) if type(axes) is int else several(axes)
    if len(given) == 1 and type(given[0]) is int and -ndim <= given[0] < ndim:
        return (given[0] % ndim,)  # the usual case
    normal = []
    for axis in given:
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise TypeError(f"{op}: axes must be None, an int or a tuple of ints, got {described(axes)}")
        i = int(axis.__index__())
        if not -ndim <= i < ndim:
            raise np.exceptions.AxisError(  # both a ValueError and an IndexError
                f"{op}: axis {i} does not exist; a {ndim}-d input has axes from {-ndim} to {ndim - 1}"
            )
        normal.append(i % ndim)
    if len(set(normal)) != len(normal):
        raise ValueError(f"{op}: axes {axes!r} name an axis of the {ndim}-d input twice; name each once")
    return tuple(sorted(normal))


def reduced_axes(op: object, axes: Axes, ndim: int) -> tuple[int, ...]:
    """The axes to reduce, sorted and non-negative. A number may be reduced over its "axis 0", as in NumPy."""
    return () if ndim == 0 and axes in (0, -1) else normalize_axes(op, axes, ndim)


def batch_axes(op: object, axes: Axes, depth: int | None) -> tuple[int, ...]:
    """The axes of a batched input that has `depth` axes after the batch axis."""
    return tuple(axis + 1 for axis in reduced_axes(op, axes, depth or 0))


def given_axes(name: str, axes: Any, axis: Any, keepdims: Any = False, default: Any = None) -> Any:
    """Whichever of Needle's `axes` and NumPy's `axis` a function was given, the other being the default.

    Raises TypeError if both were, and for a `keepdims` that is something else: NumPy has other arguments in its place.
    """
    if keepdims is not False and keepdims is not True and not isinstance(keepdims, (int, np.bool)):
        raise TypeError(
            f"{name}: keepdims must be True or False, got {described(keepdims)}; NumPy's other arguments are those of "
            "needle.numpy's function of this name"
        )
    if axis is default:
        return axes
    if axes is not default:
        raise TypeError(f"{name}: give axes or axis, not both (got axes={described(axes)}, axis={described(axis)})")
    return axis


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a reduction over these non-negative axes that keeps them with length 1."""
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


OPERANDS = (Tensor, np.ndarray, np.generic, int, float, complex, list, tuple)
_ARRAYS = np.ndarray.__array_ufunc__


def decides_itself(a: Any) -> bool:
    """Whether it is a container of another library, with its own __array_ufunc__."""
    return getattr(type(a), "__array_ufunc__", _ARRAYS) is not _ARRAYS and not isinstance(a, Tensor)


def is_operand(a: Any) -> bool:
    """Whether a Tensor's operators handle it as the other operand.

    Not arrays of a higher priority: np.matrix and masked arrays take precedence, as they do over NumPy's own arrays.
    """
    if type(a) in NUMBERS or type(a) is ndarray:
        return True
    if not isinstance(a, OPERANDS) or decides_itself(a):
        return False
    return not isinstance(a, ndarray) or a.__array_priority__ <= 0


def _is_refused(a: Tensor, other: Any) -> bool:
    """Whether the other operand takes precedence, but has no right result for it: the operation says what is wrong."""
    cannot = a.needs > DETACHED or isinstance(other, np.matrix)
    return cannot and isinstance(other, ndarray) and not decides_itself(other)


def _with_number(function: Callable[[Any, Any], Any], scalar_op: Any) -> Callable[[Any, Any], Any]:
    """The short way of an operator for a small Tensor and a Python number; see `operator`."""
    ufunc, op_of = getattr(np, scalar_op.ufunc), scalar_op.of

    def with_number(self: Any, number: Any) -> Any:
        if watching.active or handed_out:
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
    """The method behind a binary operator; it returns NotImplemented for unknown types.

    With `op`, whose `compute` needs no `out=`, the method itself computes and records two small Tensors. The result is
    that of `op(a, b)`, without the calls that take longer than adding a few numbers. With `scalar_op`, it does the same
    for a small Tensor and a Python number.
    """

    def method(self: Any, other: Any) -> Any:
        if is_operand(other) or _is_refused(self, other):
            return function(self, other)
        return NotImplemented

    if op is None:
        return method
    saves = "inputs" in op.saves
    compute = op._facts[0] or (lambda x, y: op.compute(x, y))  # noqa: PLW0108 - its class may get another one
    with_number = _with_number(function, scalar_op) if scalar_op else function

    def quick_method(self: Any, other: Any) -> Any:
        if type(other) is not Tensor:
            if type(other) is float or type(other) is int:
                return with_number(self, other)
            if type(other) not in OWN_ARRAY:
                return method(self, other)
        if watching.active or handed_out:
            return op(self, other)
        try:
            x, y = self._array, other._array
            if x.nbytes >= SMALLEST:
                return op(self, other)
            out = compute(x, y)
        except (AttributeError, ValueError, TypeError):
            return op(self, other)  # handles wrapped tensors, and explains errors
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
        if is_operand(other) or _is_refused(self, other):
            return function(other, self)
        return NotImplemented

    return method
