"""Functions without a derivative: comparisons, logic, predicates; and those that layers read integers with."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ... import ops
from ...nn import classification, embedding, recurrent
from ...ops.base import reduced_axes
from ..errors import ExportError
from ..graph import Graph
from ..program import Value
from .table import FUNCTIONS, function_row, row


@row(ops.Discrete)
def discrete(graph: Graph, value: Value) -> str:
    found = FUNCTIONS.get(value.op.function)
    if found is None:
        raise ExportError(f"onnx.export: the function {value.place()} has no row; see needle/onnx/README.md")
    return found(graph, value)


def _operands(graph: Graph, value: Value) -> tuple[list[str], Any]:
    """The names of the operands in the dtype that NumPy compares them in, and that dtype."""
    arrays = [np.empty(0, a.dtype) for a in value.inputs]
    more = list(value.op.more)
    plain = [1 if not isinstance(n, (int, float)) else n for n in more]
    dtype = np.result_type(*arrays, *plain)
    names = [graph.cast(graph.name(a), a.dtype, dtype) for a in value.inputs]
    return names + [graph.scalar(n, dtype) for n in more], dtype


def _compared(kind: str, graph: Graph, value: Value) -> str:
    names, _ = _operands(graph, value)
    if kind == "NotEqual":
        return graph.op("Not", graph.op("Equal", *names))
    return graph.op(kind, *names)


FUNCTIONS |= {
    np.equal: partial(_compared, "Equal"),
    np.not_equal: partial(_compared, "NotEqual"),
    np.less: partial(_compared, "Less"),
    np.less_equal: partial(_compared, "LessOrEqual"),
    np.greater: partial(_compared, "Greater"),
    np.greater_equal: partial(_compared, "GreaterOrEqual"),
}


def _logical(kind: str, graph: Graph, value: Value) -> str:
    names, dtype = _operands(graph, value)
    if dtype != np.bool and value.op.function in _OF_BITS:
        if graph.opset < 18:
            raise ExportError(f"onnx.export: {value.place()} of integers needs opset 18, got {graph.opset}")
        return graph.op(f"Bitwise{kind}", *names)
    return graph.op(kind, *[graph.cast(name, dtype, np.bool) for name in names])


_OF_BITS = (np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert)
FUNCTIONS |= {
    np.bitwise_and: partial(_logical, "And"),
    np.bitwise_or: partial(_logical, "Or"),
    np.bitwise_xor: partial(_logical, "Xor"),
    np.invert: partial(_logical, "Not"),
    np.logical_and: partial(_logical, "And"),
    np.logical_or: partial(_logical, "Or"),
    np.logical_xor: partial(_logical, "Xor"),
    np.logical_not: partial(_logical, "Not"),
}


@function_row(np.isnan)
def isnan(graph: Graph, value: Value) -> str:
    return graph.op("IsNaN", graph.name(value.inputs[0]))


@function_row(np.isinf)
def isinf(graph: Graph, value: Value) -> str:
    return graph.op("IsInf", graph.name(value.inputs[0]))


@function_row(np.isfinite)
def isfinite(graph: Graph, value: Value) -> str:
    a = graph.name(value.inputs[0])
    return graph.op("Not", graph.op("Or", graph.op("IsNaN", a), graph.op("IsInf", a)))


def _place_of_extremum(kind: str, graph: Graph, value: Value) -> str:
    (a,), axis = value.inputs, value.op.options.get("axis")
    name, keepdims = graph.name(a), bool(value.op.options.get("keepdims"))
    if axis is None:
        if keepdims and a.ndim != 1:
            raise ExportError(f"onnx.export: {value.place()} keeps its axes; give it an axis")
        name, axis = graph.reshape_to(name, (-1,)), 0
    return graph.op(kind, name, axis=axis, keepdims=int(keepdims))


FUNCTIONS |= {np.argmax: partial(_place_of_extremum, "ArgMax"), np.argmin: partial(_place_of_extremum, "ArgMin")}


def _counted(kind: str, graph: Graph, value: Value) -> str:
    """What is not 0 along axes: how much of it there is, and whether it is any or all."""
    (a,), options = value.inputs, value.op.options
    if not np.all(options.get("where", True)):
        raise ExportError(f"onnx.export: where= of {value.place()} has no row; use needle.where before it")
    ones = graph.cast(graph.cast(graph.name(a), a.dtype, np.bool), np.bool, np.int64)
    axes = reduced_axes(value.op, options.get("axis"), a.ndim)
    return graph.cast(graph.reduce(kind, ones, axes, bool(options.get("keepdims"))), np.int64, value.dtype)


FUNCTIONS |= {
    np.any: partial(_counted, "ReduceMax"),
    np.all: partial(_counted, "ReduceMin"),
    np.count_nonzero: partial(_counted, "ReduceSum"),
}


@function_row(np.sort, np.argsort)
def in_order(graph: Graph, value: Value) -> str:
    """TopK of all elements, the smallest first: of equal ones, the earlier."""
    (a,), axis = value.inputs, value.op.options.get("axis", -1)
    count = graph.ints([a.shape[axis]])
    found = graph.op("TopK", graph.name(a), count, axis=axis, largest=0, sorted=1, outputs=2)
    return found[value.op.function is np.argsort]


@function_row(np.ndarray.astype, embedding.row_numbers)
def astype(graph: Graph, value: Value) -> str:
    (a,) = value.inputs
    return graph.cast(graph.name(a), a.dtype, value.dtype)


@function_row(classification._as_indices)
def labels(graph: Graph, value: Value) -> str:
    """Labels as indices, 0 for those that are to be ignored."""
    (a,), ignore = value.inputs, value.op.options["ignore"]
    given = graph.name(a)
    found = graph.cast(given, a.dtype, value.dtype)
    if ignore is None:
        return found
    is_ignored = graph.op("Equal", given, graph.scalar(ignore, a.dtype))
    return graph.op("Where", is_ignored, graph.scalar(0, value.dtype), found)


@function_row(recurrent.running)
def running(graph: Graph, value: Value) -> str:
    """Whether a sequence of this length has a step."""
    (lengths,), steps = value.inputs, value.op.options["shape"][0]
    count = graph.scalar(steps, np.dtype(np.int64))
    places = graph.op("Range", graph.scalar(0, np.int64), count, graph.scalar(1, np.int64))
    beside = graph.unsqueeze(places, *range(1, 1 + lengths.ndim))
    given = graph.cast(graph.name(lengths), lengths.dtype, np.int64)
    return graph.unsqueeze(graph.op("Less", beside, given), 1 + lengths.ndim)
