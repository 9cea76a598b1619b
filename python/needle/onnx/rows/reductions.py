"""Reductions over axes, and softmax and its relatives."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ... import ops
from ...ops.base import normalize_axes, reduced_axes
from ..graph import Graph
from ..program import Value
from .table import ROWS, row


def _axes(value: Value) -> tuple[int, ...]:
    return reduced_axes(value.op, value.op.axes, value.inputs[0].ndim)


def _reduced(kind: str, graph: Graph, value: Value) -> str:
    (a,), dtype = value.inputs, value.dtype
    return graph.reduce(kind, graph.cast(graph.name(a), a.dtype, dtype), _axes(value), value.op.keepdims)


@row(ops.Summation)
def summation(graph: Graph, value: Value) -> str:
    """A sum that is divided by the number of its terms is a mean."""
    reader = graph.only_reader(value)
    count = graph.count([value.inputs[0].shape[axis] for axis in _axes(value)])
    is_mean = reader is not None and type(reader.op) is ops.DivScalar and reader.op.scalar == count
    if reader is None or not is_mean or reader.dtype != value.dtype or value.dtype.kind != "f":
        return _reduced("ReduceSum", graph, value)
    graph.aliases[reader] = value
    return _reduced("ReduceMean", graph, value)


ROWS |= {
    ops.Max: partial(_reduced, "ReduceMax"),
    ops.Min: partial(_reduced, "ReduceMin"),
    ops.Prod: partial(_reduced, "ReduceProd"),
    ops.Norm: partial(_reduced, "ReduceL2"),
}


@row(ops.Var, ops.Std)
def variance(graph: Graph, value: Value) -> str:
    (a,), axes = value.inputs, _axes(value)
    (name,) = graph.inputs(value)
    off = graph.op("Sub", name, graph.reduce("ReduceMean", name, axes))
    total = graph.reduce("ReduceSum", graph.op("Mul", off, off), axes, value.op.keepdims)
    correction = value.op.correction
    count: Any = graph.count([a.shape[axis] for axis in axes])
    if correction == int(correction):
        divisor = graph.scalar(count - int(correction), value.dtype)
    else:
        divisor = graph.op("Sub", graph.scalar(count, value.dtype), graph.scalar(correction, value.dtype))
    found = graph.op("Div", total, divisor)
    return graph.op("Sqrt", found) if isinstance(value.op, ops.Std) else found


@row(ops.LogSumExp)
def logsumexp(graph: Graph, value: Value) -> str:
    """With the maximum taken away first: ONNX does not promise that ReduceLogSumExp does so."""
    (a,), axes = graph.inputs(value), _axes(value)
    found = _log_of_sum(graph, a, axes, value.dtype)
    return found if value.op.keepdims else graph.squeeze(found, *axes)


def _log_of_sum(graph: Graph, a: str, axes: tuple[int, ...], dtype: Any) -> str:
    """log(sum(exp(a))) over axes, which stay."""
    top = graph.reduce("ReduceMax", a, axes)
    top = graph.op("Where", graph.op("IsInf", top), graph.scalar(0, dtype), top)
    total = graph.reduce("ReduceSum", graph.op("Exp", graph.op("Sub", a, top)), axes)
    return graph.op("Add", graph.op("Log", total), top)


def _softmax(kind: str, graph: Graph, value: Value) -> str:
    """Over one axis as it is; several become one, the last."""
    (name,), ndim = graph.inputs(value), value.ndim
    axes = normalize_axes(value.op, value.op.axes, ndim)
    if len(axes) == 1:
        return graph.op(kind, name, axis=axes[0])
    if not axes:
        return graph.squeeze(graph.op(kind, graph.unsqueeze(name, ndim), axis=ndim), ndim)
    order = [*[i for i in range(ndim) if i not in axes], *axes]
    moved = [value.shape[i] for i in order]
    flat = [*moved[: ndim - len(axes)], graph.count(moved[ndim - len(axes) :])]
    found = graph.op(kind, graph.reshape(graph.transpose(name, order), moved, flat), axis=len(flat) - 1)
    return graph.transpose(graph.reshape(found, flat, moved), np.argsort(order).tolist())


ROWS |= {ops.Softmax: partial(_softmax, "Softmax"), ops.LogSoftmax: partial(_softmax, "LogSoftmax")}


@row(ops.MaskedSoftmax)
def masked_softmax(graph: Graph, value: Value) -> str:
    """Scores that may not be seen become the lowest number, and their weights 0, also where nothing may be seen."""
    scores = graph.cast(graph.name(value.inputs[0]), value.inputs[0].dtype, value.dtype)
    seen = graph.name(value.inputs[1]) if len(value.inputs) > 1 else ""
    if value.op.causal:
        triangle = _triangle(graph, value)
        seen = graph.op("And", seen, triangle) if seen else triangle
    if not seen:
        return graph.op("Softmax", scores, axis=value.ndim - 1)
    lowest = graph.scalar(np.finfo(value.dtype).min, value.dtype)
    found = graph.op("Softmax", graph.op("Where", seen, scores, lowest), axis=value.ndim - 1)
    if len(value.inputs) == 1:
        return found  # each row sees its first score
    return graph.op("Where", seen, found, graph.scalar(0, value.dtype))


def _triangle(graph: Graph, value: Value) -> str:
    """j <= i for the last two axes i and j."""
    rows, columns = value.shape[-2:]
    if isinstance(rows, int) and isinstance(columns, int):
        return graph.constant(np.tri(rows, columns, dtype=bool), "causal")
    ends = [graph.scalar(n, np.dtype(np.int64)) for n in (rows, columns)]
    i, j = [graph.op("Range", graph.scalar(0, np.int64), end, graph.scalar(1, np.int64)) for end in ends]
    return graph.op("GreaterOrEqual", graph.unsqueeze(i, 1), j)


@row(ops.SoftmaxLoss)
def softmax_loss(graph: Graph, value: Value) -> str:
    """The mean over rows of logsumexp(logits), less the logits of the labels or the sum of logits * targets."""
    logits, targets = value.inputs
    x, last = graph.cast(graph.name(logits), logits.dtype, value.dtype), logits.ndim - 1
    if targets.ndim == last:
        places = graph.unsqueeze(graph.cast(graph.name(targets), targets.dtype, np.int64), last)
        hit = graph.op("GatherElements", graph.op("LogSoftmax", x, axis=last), places, axis=last)
        loss = graph.op("Neg", hit)
    else:
        weights = graph.cast(graph.name(targets), targets.dtype, value.dtype)
        hit = graph.reduce("ReduceSum", graph.op("Mul", x, weights), [last])
        loss = graph.op("Sub", _log_of_sum(graph, x, (last,), value.dtype), hit)
    return graph.reduce("ReduceMean", loss, tuple(range(last + 1)), False)


@row(ops.CumSum)
def cumsum(graph: Graph, value: Value) -> str:
    (a,), axis = graph.inputs(value), value.op.axis % value.ndim
    return graph.op("CumSum", a, graph.scalar(axis, np.int64), reverse=int(value.op.reverse))
