"""Matrix products, with the bias that is added to them, and sums of products."""

from __future__ import annotations

import numpy as np

from ... import ops
from ..graph import Graph
from ..program import Value
from .table import row


@row(ops.MatMul)
def matmul(graph: Graph, value: Value) -> str:
    """Gemm for rows times a matrix, plus a bias."""
    a, b = value.inputs
    names = graph.inputs(value)
    if a.ndim == b.ndim == 2 and value.dtype.kind == "f":
        bias = added_bias(graph, value)
        if bias is not None:
            return graph.op("Gemm", *names, graph.name(bias))
    return graph.op("MatMul", *names)


def added_bias(graph: Graph, value: Value) -> Value | None:
    """A parameter or constant along the last axis that is added to a value, and nothing else is done with it: the sum
    is then another name of the value."""
    reader = graph.only_reader(value)
    if reader is None or type(reader.op) is not ops.EWiseAdd or reader.dtype != value.dtype:
        return None
    others = [a for a in reader.inputs if a is not value]
    if len(others) != 1 or not isinstance(others[0].array, np.ndarray) or reader.shape != value.shape:
        return None
    bias = others[0]
    if bias.dtype != value.dtype or not bias.ndim or bias.shape != (*[1] * (bias.ndim - 1), value.shape[-1]):
        return None
    graph.aliases[reader] = value
    return bias


@row(ops.Einsum)
def einsum(graph: Graph, value: Value) -> str:
    equation = f"{','.join(value.op.terms)}->{value.op.output}"
    return graph.op("Einsum", *graph.inputs(value), equation=equation)
