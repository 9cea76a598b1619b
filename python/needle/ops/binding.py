"""The table of Python's operators and methods on a Tensor.

`Tensor` declares the same names for type checkers and editors; a test compares the two lists.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from ..autograd import Tensor, TensorTuple
from . import arithmetic as ar
from . import (
    assignment,
    discrete,
    dtypes,
    elementwise,
    exponential,
    hyperbolic,
    indexing,
    reduction,
    selection,
    shape,
    trigonometric,
    tuples,
)
from .base import operator, reflected
from .matmul import MATMUL, matmul
from .power import power
from .softmax import logsumexp

OPERATORS: dict[str, Any] = {
    "__add__": operator(ar.add, ar.EWISE_ADD, ar.AddScalar),
    "__radd__": reflected(ar.add),
    "__sub__": operator(ar.subtract),
    "__rsub__": reflected(ar.subtract),
    "__mul__": operator(ar.multiply, ar.EWISE_MUL, ar.MulScalar),
    "__rmul__": reflected(ar.multiply),
    "__truediv__": operator(ar.divide, ar.EWISE_DIV, ar.DivScalar),
    "__rtruediv__": reflected(ar.divide),
    "__floordiv__": operator(ar.floor_divide),
    "__rfloordiv__": reflected(ar.floor_divide),
    "__mod__": operator(ar.mod),
    "__rmod__": reflected(ar.mod),
    "__divmod__": operator(ar.divmod_),
    "__rdivmod__": reflected(ar.divmod_),
    "__pow__": operator(power),
    "__rpow__": reflected(power),
    "__matmul__": operator(matmul, MATMUL),
    "__rmatmul__": reflected(matmul),
    "__iadd__": assignment.in_place(ar.add, "+"),
    "__isub__": assignment.in_place(ar.subtract, "-"),
    "__imul__": assignment.in_place(ar.multiply, "*"),
    "__itruediv__": assignment.in_place(ar.divide, "/"),
    "__ifloordiv__": assignment.in_place(ar.floor_divide, "//"),
    "__imod__": assignment.in_place(ar.mod, "%"),
    "__ipow__": assignment.in_place(power, "**"),
    "__imatmul__": assignment.in_place(matmul, "@"),
    "__iand__": assignment.in_place(discrete.bitwise_and, "&"),
    "__ior__": assignment.in_place(discrete.bitwise_or, "|"),
    "__ixor__": assignment.in_place(discrete.bitwise_xor, "^"),
    "__ilshift__": assignment.in_place(discrete.left_shift, "<<"),
    "__irshift__": assignment.in_place(discrete.right_shift, ">>"),
    "__neg__": ar.negate,
    "__pos__": ar.positive,
    "__abs__": elementwise.absolute,
    "__invert__": discrete.invert,
    "__and__": operator(discrete.bitwise_and),
    "__rand__": reflected(discrete.bitwise_and),
    "__or__": operator(discrete.bitwise_or),
    "__ror__": reflected(discrete.bitwise_or),
    "__xor__": operator(discrete.bitwise_xor),
    "__rxor__": reflected(discrete.bitwise_xor),
    "__lshift__": operator(discrete.left_shift),
    "__rlshift__": reflected(discrete.left_shift),
    "__rshift__": operator(discrete.right_shift),
    "__rrshift__": reflected(discrete.right_shift),
    "__lt__": operator(discrete.less),
    "__le__": operator(discrete.less_equal),
    "__gt__": operator(discrete.greater),
    "__ge__": operator(discrete.greater_equal),
    "__eq__": operator(discrete.equal),
    "__ne__": operator(discrete.not_equal),
    "__getitem__": indexing.getitem,
    "__setitem__": assignment.setitem,
    "__iter__": indexing.iterate,
}

METHODS: dict[str, Any] = {
    "sum": reduction.summation,
    "max": reduction.max,
    "mean": reduction.mean,
    "logsumexp": logsumexp,
    "reshape": shape.reshape_method,
    "broadcast_to": shape.broadcast_to_method,
    "transpose": shape.transpose_method,
    "matmul": matmul,
    "exp": exponential.exp,
    "log": exponential.log,
    "sqrt": elementwise.sqrt,
    "sin": trigonometric.sin,
    "cos": trigonometric.cos,
    "tanh": hyperbolic.tanh,
    "relu": elementwise.relu,
    "abs": elementwise.absolute,
    "conj": dtypes.conj,
    "masked": selection.masked,
    "astype": dtypes.astype,
    "real": property(dtypes.real, assignment.set_real),
    "T": property(shape.transpose_method),
    "mT": property(shape.matrix_transpose),
}


def bind(methods: dict[str, Any]) -> None:
    """Bind these to Tensor. What is the method's alone has its name in errors."""
    for name, method in methods.items():
        if isinstance(method, FunctionType) and "method" in method.__code__.co_name:
            method.__name__, method.__qualname__ = name, f"Tensor.{name}"
        setattr(Tensor, name, method)


bind({**OPERATORS, **METHODS})

setattr(TensorTuple, "__getitem__", tuples.tuple_get_item)  # noqa: B010 - declared on TensorTuple for type checkers
setattr(TensorTuple, "__add__", tuples.add_tuples)  # noqa: B010
setattr(TensorTuple, "tuple", tuples.members)  # noqa: B010
