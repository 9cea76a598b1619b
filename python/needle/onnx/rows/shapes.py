"""Moving elements: reshaping, transposing, joining, tuples."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...ops.base import normalize_axes, several
from ..dims import Dim
from ..errors import ExportError
from ..graph import Graph
from ..program import Value
from .table import FUNCTIONS, function_row, row


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


@row(ops.Rearrange)
def rearrange(graph: Graph, value: Value) -> str:
    """Functions with rows of their own; others by the places that elements come from, where no length may change."""
    (a,), op = value.inputs, value.op
    if op.function in FUNCTIONS:
        return FUNCTIONS[op.function](graph, value)
    if any(isinstance(n, Dim) for n in (*a.shape, *value.shape)):
        raise ExportError(f"onnx.export: {value.place()} has no row for axes that may change; roll and pad have")
    shape, filled, sources = op.places(a.shape)
    if filled is not ...:
        raise ExportError(f"onnx.export: {value.place()} has no row, as it adds zeros; pad has")
    flat = graph.op("Gather", graph.reshape_to(graph.name(a), (-1,)), graph.constant(sources.astype(np.int64)), axis=0)
    return graph.reshape_to(flat, shape)


@function_row(np.roll)
def roll(graph: Graph, value: Value) -> str:
    (a,), options = value.inputs, {**dict(zip(("shift", "axis"), value.op.more, strict=False)), **value.op.options}
    name, axes, shifts = graph.name(a), options.get("axis"), options["shift"]
    if axes is None:
        raise ExportError(f"onnx.export: {value.place()} has no row without an axis")
    axes, shifts = [several(n) for n in (axes, shifts)]
    for axis, shift in zip(axes, shifts * len(axes) if len(shifts) == 1 else shifts, strict=True):
        n = a.shape[axis]
        cut = [-(shift % n) if isinstance(n, int) else -shift]
        if cut == [0]:
            continue
        ends = graph.ints([np.iinfo(np.int64).max])
        tail = graph.op("Slice", name, graph.ints(cut), ends, graph.ints([axis]))
        head = graph.op("Slice", name, graph.ints([0]), graph.ints(cut), graph.ints([axis]))
        name = graph.op("Concat", tail, head, axis=axis)
    return name


@function_row(np.pad)
def pad(graph: Graph, value: Value) -> str:
    (a,), options = value.inputs, {**dict(zip(("pad_width", "mode"), value.op.more, strict=False)), **value.op.options}
    mode, width = options.get("mode", "constant"), np.broadcast_to(np.asarray(options["pad_width"]), (a.ndim, 2))
    if mode not in ("edge", "reflect") or options.get("reflect_type", "even") != "even":
        raise ExportError(
            f'onnx.export: {value.place()} with mode {mode!r} has no row; "constant", "edge", "reflect" have'
        )
    return graph.op("Pad", graph.name(a), graph.ints(width.T.reshape(-1).tolist()), mode=mode)


@row(ops.AddAt)
def add_at(graph: Graph, value: Value) -> str:
    """Zeros around and between the elements: what padding with zeros and `dilate` are."""
    (index, *others), (a, *_) = value.op.indices, value.inputs
    parts = index if isinstance(index, tuple) else (index,)
    if others or len(parts) > a.ndim or a.ndim != value.ndim or not all(isinstance(part, slice) for part in parts):
        raise ExportError(f"onnx.export: {value.place()} has a row for slices only, as in pad and dilate")
    name, shape = graph.cast(graph.name(a), a.dtype, value.dtype), list(a.shape)
    before, after = [0] * a.ndim, [0] * a.ndim
    for axis, part in enumerate(parts):
        start, step, total = part.start or 0, part.step or 1, value.shape[axis]
        if step < 1:
            raise ExportError(f"onnx.export: {value.place()} has a row for slices with positive steps only")
        if step > 1:  # each element with its zeros, then the last ones taken away
            wide = [*shape[: axis + 1], step, *shape[axis + 1 :]]
            ends = [0] * (2 * len(wide))
            ends[len(wide) + axis + 1] = step - 1
            name = graph.op("Pad", graph.unsqueeze(name, axis + 1), graph.ints(ends), graph.scalar(0, value.dtype))
            shape[axis] = shape[axis] * step
            name = graph.reshape(name, wide, shape)
        first = graph.fixed(value, "the padding", start)
        before[axis], after[axis] = first, graph.fixed(value, "the padding", total - shape[axis] - first)
    if not any(before) and not any(after):
        return name
    return graph.op("Pad", name, graph.ints([*before, *after]), graph.scalar(0, value.dtype))


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
