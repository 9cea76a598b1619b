"""Element-wise arithmetic and functions. Operands are cast to the result's dtype, as NumPy does and ONNX does not."""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any

import numpy as np

from ... import ops
from ...special.op import Special
from ..errors import ExportError
from ..graph import Graph
from ..program import Value
from .table import ROWS, row


def _same(kind: str, graph: Graph, value: Value) -> str:
    return graph.op(kind, *graph.inputs(value))


SAME: dict[type[Any], str] = {
    ops.EWiseAdd: "Add",
    ops.EWiseMul: "Mul",
    ops.EWisePow: "Pow",
    ops.Negate: "Neg",
    ops.Maximum: "Max",
    ops.Minimum: "Min",
    ops.ReLU: "Relu",
    ops.Abs: "Abs",
    ops.FAbs: "Abs",
    ops.Sign: "Sign",
    ops.Sqrt: "Sqrt",
    ops.Exp: "Exp",
    ops.Log: "Log",
    ops.Sigmoid: "Sigmoid",
    ops.Tanh: "Tanh",
    ops.Sin: "Sin",
    ops.Cos: "Cos",
    ops.Tan: "Tan",
    ops.Arcsin: "Asin",
    ops.Arccos: "Acos",
    ops.Arctan: "Atan",
    ops.Sinh: "Sinh",
    ops.Cosh: "Cosh",
    ops.Arcsinh: "Asinh",
    ops.Arccosh: "Acosh",
    ops.Arctanh: "Atanh",
    ops.EWiseDiv: "Div",
}
"""Ops that ONNX has, too."""
ROWS |= {cls: partial(_same, kind) for cls, kind in SAME.items()}


def _with_scalar(kind: str, is_first: bool, graph: Graph, value: Value) -> str:
    (a,), number = graph.inputs(value), graph.scalar(value.op.scalar, value.dtype)
    return graph.op(kind, number, a) if is_first else graph.op(kind, a, number)


ROWS |= {
    ops.AddScalar: partial(_with_scalar, "Add", False),
    ops.RSubScalar: partial(_with_scalar, "Sub", True),
    ops.MulScalar: partial(_with_scalar, "Mul", False),
    ops.DivScalar: partial(_with_scalar, "Div", False),
    ops.RDivScalar: partial(_with_scalar, "Div", True),
    ops.RPowerScalar: partial(_with_scalar, "Pow", True),
}


@row(ops.PowerScalar)
def power_scalar(graph: Graph, value: Value) -> str:
    (a,), n = graph.inputs(value), value.op.scalar
    if n == 2:
        return graph.op("Mul", a, a)
    if n == 0.5:
        return graph.op("Sqrt", a)
    if n == -1:
        return graph.op("Reciprocal", a)
    return graph.op("Pow", a, graph.scalar(n, value.dtype))


@row(ops.AddScaled)
def add_scaled(graph: Graph, value: Value) -> str:
    a, b = graph.inputs(value)
    return graph.op("Add", a, graph.op("Mul", b, graph.scalar(value.op.alpha, value.dtype)))


def _scaled(graph: Graph, value: Value, factor: float) -> str:
    (a,) = graph.inputs(value)
    return graph.op("Mul", a, graph.scalar(factor, value.dtype))


ROWS |= {
    ops.Degrees: partial(_scaled, factor=180 / np.pi),
    ops.Radians: partial(_scaled, factor=np.pi / 180),
}


def _log_over(base: float, graph: Graph, value: Value) -> str:
    (a,) = graph.inputs(value)
    return graph.op("Mul", graph.op("Log", a), graph.scalar(1 / np.log(base), value.dtype))


ROWS |= {ops.Log2: partial(_log_over, 2.0), ops.Log10: partial(_log_over, 10.0)}


@row(ops.Exp2)
def exp2(graph: Graph, value: Value) -> str:
    (a,) = graph.inputs(value)
    return graph.op("Pow", graph.scalar(2.0, value.dtype), a)


@row(ops.Expm1)
def expm1(graph: Graph, value: Value) -> str:
    """exp(a) - 1; near 0, where that loses its digits, 2 * t / (1 - t) with t = tanh(a / 2)."""
    (a,) = graph.inputs(value)
    one, two = [graph.scalar(n, value.dtype) for n in (1.0, 2.0)]
    is_near = graph.op("Less", graph.op("Abs", a), one)
    near = graph.op("Where", is_near, a, graph.scalar(0.0, value.dtype))
    t = graph.op("Tanh", graph.op("Div", near, two))
    near = graph.op("Div", graph.op("Mul", two, t), graph.op("Sub", one, t))
    return graph.op("Where", is_near, near, graph.op("Sub", graph.op("Exp", a), one))


@row(ops.Log1p)
def log1p(graph: Graph, value: Value) -> str:
    """log(1 + a); near 0, where that loses its digits, 2 * artanh(a / (2 + a))."""
    (a,) = graph.inputs(value)
    one, two = [graph.scalar(n, value.dtype) for n in (1.0, 2.0)]
    is_near = graph.op("Less", graph.op("Abs", a), graph.scalar(0.5, value.dtype))
    near = graph.op("Where", is_near, a, graph.scalar(0.0, value.dtype))
    near = graph.op("Mul", two, graph.op("Atanh", graph.op("Div", near, graph.op("Add", two, near))))
    return graph.op("Where", is_near, near, graph.op("Log", graph.op("Add", one, a)))


@row(ops.LogAddExp)
def log_add_exp(graph: Graph, value: Value) -> str:
    """max(a, b) + softplus(-|a - b|); beside 0, ONNX's Softplus."""
    a, b = graph.inputs(value)
    zero = value.inputs[1].array
    if isinstance(zero, np.ndarray) and zero.size == 1 and not zero.any():
        return graph.op("Softplus", a)
    apart = graph.op("Neg", graph.op("Abs", graph.op("Sub", a, b)))
    return graph.op("Add", graph.op("Max", a, b), graph.op("Softplus", apart))


@row(ops.GELU)
def gelu(graph: Graph, value: Value) -> str:
    """ONNX's Gelu from opset 20 on."""
    (a,), tanh = graph.inputs(value), value.op.tanh
    if graph.opset >= 20:
        return graph.op("Gelu", a, approximate="tanh" if tanh else "none")

    def times(x: str, number: float) -> str:
        return graph.op("Mul", x, graph.scalar(number, value.dtype))

    if tanh:
        cube = graph.op("Mul", graph.op("Mul", a, a), a)
        inner = graph.op("Tanh", times(graph.op("Add", a, times(cube, 0.044715)), sqrt(2 / np.pi)))
    else:
        inner = graph.op("Erf", times(a, sqrt(0.5)))
    return graph.op("Mul", times(a, 0.5), graph.op("Add", inner, graph.scalar(1.0, value.dtype)))


@row(ops.Clip)
def clip(graph: Graph, value: Value) -> str:
    (a,) = graph.inputs(value)
    for kind, bound in (("Max", value.op.low), ("Min", value.op.high)):
        if isinstance(bound, np.ndarray):
            a = graph.op(kind, a, graph.constant(bound.astype(value.dtype)))
        elif bound is not None:
            a = graph.op(kind, a, graph.scalar(bound, value.dtype))
    return a


@row(ops.Where)
def where(graph: Graph, value: Value) -> str:
    condition, a, b = value.inputs
    both = [graph.cast(graph.name(x), x.dtype, value.dtype) for x in (a, b)]
    return graph.op("Where", graph.name(condition), *both)


@row(ops.Masked)
def masked(graph: Graph, value: Value) -> str:
    a, mask = value.inputs
    return graph.op("Where", graph.name(mask), graph.name(a), graph.scalar(0, value.dtype))


@row(ops.Cast)
def cast(graph: Graph, value: Value) -> str:
    (a,) = value.inputs
    return graph.cast(graph.name(a), a.dtype, value.dtype)


@row(ops.Mod)
def mod(graph: Graph, value: Value) -> str:
    """ONNX's Mod of floats has the sign of the dividend."""
    a, b = graph.inputs(value)
    if value.dtype.kind in "iu":
        return graph.op("Mod", a, b)
    return graph.op("Sub", a, graph.op("Mul", graph.op("Floor", graph.op("Div", a, b)), b))


@row(ops.FloorDivide)
def floor_divide(graph: Graph, value: Value) -> str:
    a, b = graph.inputs(value)
    if value.dtype.kind in "iu":
        return graph.op("Div", graph.op("Sub", a, graph.op("Mod", a, b)), b)
    return graph.op("Floor", graph.op("Div", a, b))


@row(ops.Hypot)
def hypot(graph: Graph, value: Value) -> str:
    a, b = graph.inputs(value)
    return graph.op("Sqrt", graph.op("Add", graph.op("Mul", a, a), graph.op("Mul", b, b)))


@row(ops.FMax, ops.FMin)
def extremum_of_numbers(graph: Graph, value: Value) -> str:
    """The other operand, where one is NaN."""
    a, b = graph.inputs(value)
    if value.dtype.kind == "f":
        a, b = [graph.op("Where", graph.op("IsNaN", x), y, x) for x, y in ((a, b), (b, a))]
    return graph.op("Max" if isinstance(value.op, ops.FMax) else "Min", a, b)


@row(ops.Cbrt)
def cbrt(graph: Graph, value: Value) -> str:
    (a,) = graph.inputs(value)
    return graph.op("Mul", graph.op("Sign", a), graph.op("Pow", graph.op("Abs", a), graph.scalar(1 / 3, value.dtype)))


@row(ops.Arctan2)
def arctan2(graph: Graph, value: Value) -> str:
    """The arc of y / x, half a turn further where x is negative; where x is 0, a quarter of a turn."""
    y, x = graph.inputs(value)
    zero, half = graph.scalar(0, value.dtype), graph.scalar(np.pi, value.dtype)
    is_zero, side = graph.op("Equal", x, zero), graph.op("Sign", y)
    is_below = graph.op("Less", graph.op("Reciprocal", y), zero)  # also for -0
    arc = graph.op("Atan", graph.op("Div", y, graph.op("Where", is_zero, graph.scalar(1, value.dtype), x)))
    turn = graph.op("Where", is_below, graph.op("Neg", half), half)
    arc = graph.op("Add", arc, graph.op("Where", graph.op("Less", x, zero), turn, zero))
    return graph.op("Where", is_zero, graph.op("Mul", side, graph.scalar(np.pi / 2, value.dtype)), arc)


@row(ops.Heaviside)
def heaviside(graph: Graph, value: Value) -> str:
    a, b = graph.inputs(value)
    zero = graph.scalar(0, value.dtype)
    not_zero = graph.op("Max", graph.op("Sign", a), zero)
    return graph.op("Where", graph.op("Equal", a, zero), b, not_zero)


_STEPS: dict[Any, str] = {np.floor: "Floor", np.ceil: "Ceil", np.rint: "Round", np.round: "Round"}


@row(ops.Steps)
def steps(graph: Graph, value: Value) -> str:
    (a,), function = graph.inputs(value), value.op.function
    if function in (np.trunc, np.fix):
        return graph.op("Mul", graph.op("Sign", a), graph.op("Floor", graph.op("Abs", a)))
    if function not in _STEPS or value.op.options.get("decimals"):
        raise ExportError(f"onnx.export: the function {value.place()} has no row; floor, ceil, rint and trunc have")
    return graph.op(_STEPS[function], a)


@row(Special)
def special(graph: Graph, value: Value) -> str:
    """The functions of SciPy that ONNX has, told by name: SciPy is not imported here."""
    (a, *more), name = graph.inputs(value), value.op.function.__name__
    if more or value.op.numbers or name not in ("erf", "erfc", "expit"):
        raise ExportError(f"onnx.export: the function {value.place()} has no row; erf, erfc and expit have")
    if name == "expit":
        return graph.op("Sigmoid", a)
    found = graph.op("Erf", a)
    return found if name == "erf" else graph.op("Sub", graph.scalar(1, value.dtype), found)
