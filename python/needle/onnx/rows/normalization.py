"""Normalization: one op for layers, groups and instances; and that by running statistics, which are several ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ..graph import Graph
from ..program import Value
from .table import row


@row(ops.Normalize)
def normalize(graph: Graph, value: Value) -> str:
    """LayerNormalization from opset 17 on, RMSNormalization from 23 on, where the axes are the last; else composed.

    LayerNormalization takes its moments in float32, so that of float64 is composed.
    """
    settings, weights = value.op.settings, value.inputs[1:]
    name, *names = graph.inputs(value)
    axes, first = settings.axes, value.ndim - len(settings.axes)
    lengths = value.shape[first:]
    is_node = axes and axes[0] == first and value.dtype != np.float64 and all(isinstance(n, int) for n in lengths)
    if not is_node or graph.opset < (17 if settings.centered else 23):
        return _weighted(graph, _composed(graph, name, settings, value.dtype), names)
    kind = "LayerNormalization" if settings.centered else "RMSNormalization"
    options = {"axis": -len(axes), "epsilon": settings.eps}
    if weights and all(w.shape[-len(axes) :] == lengths and w.ndim == len(axes) for w in weights):
        return graph.op(kind, name, *names, **options)
    ones = graph.constant(np.ones(lengths, value.dtype), "ones")
    return _weighted(graph, graph.op(kind, name, ones, **options), names)


@row(ops.NormalizeWithMoments)
def normalize_with_moments(graph: Graph, value: Value) -> list[str]:
    """The moments are those of the batch that the model is given."""
    settings, dtype = value.op.settings, value.inputs[0].dtype
    name, *weights = graph.inputs(value, dtype)
    mean = graph.reduce("ReduceMean", name, settings.axes)
    off = graph.op("Sub", name, mean)
    moments = [mean, graph.reduce("ReduceMean", graph.op("Mul", off, off), settings.axes)]
    y = _weighted(graph, _composed(graph, name, settings, dtype), weights)
    return [y, *[graph.squeeze(moment, *settings.axes) for moment in moments]]


@row(ops.EWiseSub)
def subtract(graph: Graph, value: Value) -> str:
    """A difference. If it is the first step of (x - mean) / sqrt(variance + eps) * weight + bias, with numbers for each
    channel, it is BatchNormalization, and the later steps are other names of it: from opset 15 on, as onnx.reference
    takes older ones for training."""
    found = _by_statistics(graph, value) if graph.opset >= 15 else None
    return graph.op("Sub", *graph.inputs(value)) if found is None else found


def _by_statistics(graph: Graph, value: Value) -> str | None:
    x, mean = value.inputs[0], _by_channel(value, value.inputs[1])
    product = graph.only_reader(value)
    if mean is None or product is None or type(product.op) is not ops.EWiseMul or product.inputs[0] is not value:
        return None
    scale, weight = _without_reshape(product.inputs[1]), None
    if type(scale.op) is ops.EWiseMul:
        scale, weight = scale.inputs
    root = scale.inputs[0] if type(scale.op) is ops.RDivScalar and scale.op.scalar == 1 else None
    total = root.inputs[0] if root is not None and type(root.op) is ops.Sqrt else None
    if total is None or type(total.op) is not ops.AddScalar or product.shape != value.shape:
        return None
    last, bias = product, None
    reader = graph.only_reader(product)
    if reader is not None and type(reader.op) is ops.EWiseAdd and reader.inputs[0] is product:
        bias = _by_channel(value, reader.inputs[1])
        last = product if bias is None else reader
    given = [p for p in (total.inputs[0], weight, bias, mean) if p is not None]
    if any(not isinstance(p.array, np.ndarray) or p.shape != mean.shape or p.dtype != value.dtype for p in given):
        return None
    one, zero = [graph.constant(np.full(mean.shape, n, value.dtype), what) for n, what in ((1, "ones"), (0, "zeros"))]
    names = [one if weight is None else graph.name(weight), zero if bias is None else graph.name(bias)]
    names += [graph.name(mean), graph.name(total.inputs[0])]
    graph.aliases |= {product: value, last: value}
    return graph.op("BatchNormalization", graph.name(x), *names, epsilon=total.op.scalar)


def _by_channel(value: Value, p: Value) -> Value | None:
    """A vector that is reshaped so that it lies along axis 1 of a value; None for something else."""
    ndim, vector = value.ndim, _without_reshape(p)
    fits = (
        ndim > 1 and vector.ndim == 1 and p.shape == (value.shape[1], *[1] * (ndim - 2)) and vector.shape == p.shape[:1]
    )
    return vector if fits and value.inputs[0].shape == value.shape and value.dtype.kind == "f" else None


def _without_reshape(value: Value) -> Value:
    return value.inputs[0] if type(value.op) is ops.Reshape else value


def _weighted(graph: Graph, name: str, weights: list[str]) -> str:
    """Times the weight, plus the bias, as far as there are any."""
    for kind, w in zip(("Mul", "Add"), weights, strict=False):
        name = graph.op(kind, name, w)
    return name


def _composed(graph: Graph, a: str, settings: Any, dtype: Any) -> str:
    """(a - mean) / sqrt(variance + eps)."""
    if settings.centered:
        a = graph.op("Sub", a, graph.reduce("ReduceMean", a, settings.axes))
    variance = graph.reduce("ReduceMean", graph.op("Mul", a, a), settings.axes)
    return graph.op("Div", a, graph.op("Sqrt", graph.op("Add", variance, graph.scalar(settings.eps, dtype))))
