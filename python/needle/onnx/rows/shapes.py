"""Moving elements: reshaping, transposing, joining, tuples."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...ops.base import normalize_axes
from ..graph import ExportError, Graph
from ..program import Value
from .table import row


@row(ops.Reshape)
def reshape(graph: Graph, value: Value) -> str:
    (a,) = value.inputs
    return graph.reshape(graph.name(a), a.shape, value.shape)


@row(ops.BroadcastTo)
def broadcast_to(graph: Graph, value: Value) -> str:
    (a,) = value.inputs
    return graph.name(a) if a.shape == value.shape else graph.op("Expand", graph.name(a), graph.ints(value.shape))


@row(ops.Permute)
def permute(graph: Graph, value: Value) -> str:
    return graph.transpose(graph.name(value.inputs[0]), value.op.axes)


@row(ops.Transpose)
def transpose(graph: Graph, value: Value) -> str:
    order = list(range(value.ndim))
    i, j = value.op.axes
    order[i], order[j] = order[j], order[i]
    return graph.transpose(graph.name(value.inputs[0]), order)


@row(ops.Flip)
def flip(graph: Graph, value: Value) -> str:
    name = graph.name(value.inputs[0])
    for axis in normalize_axes(value.op, value.op.axes, value.ndim):
        name = graph.flip(name, axis)
    return name


@row(ops.Concatenate)
def concatenate(graph: Graph, value: Value) -> str:
    return graph.op("Concat", *graph.inputs(value), axis=value.op.axis)


@row(ops.Stack)
def stack(graph: Graph, value: Value) -> str:
    axis = value.op.axis % value.ndim
    return graph.op("Concat", *[graph.unsqueeze(name, axis) for name in graph.inputs(value)], axis=axis)


@row(ops.Split)
def split(graph: Graph, value: Value) -> list[str]:
    (a,) = value.inputs
    axis = value.op.axis % a.ndim
    count = graph.fixed(value, "the number of parts", a.shape[axis])
    name = graph.name(a)
    return [graph.op("Gather", name, graph.scalar(i, "int64"), axis=axis) for i in range(count)]


@row(ops.MakeTensorTuple)
def make_tuple(graph: Graph, value: Value) -> list[str]:
    return [graph.name(a) for a in value.inputs]


@row(ops.TupleGetItem)
def tuple_get_item(graph: Graph, value: Value) -> Any:
    members = graph.names(value.inputs[0])
    found = members[value.op.index]
    if found is None:
        raise ExportError(
            f"onnx.export: member {value.op.index} of the result of {value.inputs[0].place()} is not among ONNX's "
            "outputs"
        )
    return found
