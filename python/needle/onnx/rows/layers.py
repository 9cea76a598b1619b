"""Normalization, which is one op for layers, groups and instances."""

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
