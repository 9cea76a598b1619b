"""Convolutions and pools. ONNX has the channels before the axes of the windows; weights are laid out for it here."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ... import ops
from ..dims import Length
from ..graph import Graph
from ..program import Value
from .products import added_bias
from .table import row


def _channels_first(ndim: int) -> tuple[int, ...]:
    return (0, ndim - 1, *range(1, ndim - 1))


def _channels_last(ndim: int) -> tuple[int, ...]:
    return (0, *range(2, ndim), 1)


def _weights(graph: Graph, value: Value, order: tuple[int, ...]) -> str:
    """The weights with their axes in this order: an initialiser where they are a parameter."""
    w = value.inputs[1]
    found = graph.translated(w, order, lambda array: array.transpose(order).astype(value.dtype))
    return graph.transpose(graph.cast(graph.name(w), w.dtype, value.dtype), order) if found is None else found


def _bias(graph: Graph, value: Value) -> list[str]:
    bias = added_bias(graph, value)
    if bias is None:
        return []
    found = graph.translated(bias, "flat", np.ravel)
    return [] if found is None else [found]


@row(ops.Conv, ops.ConvTranspose)
def convolution(graph: Graph, value: Value) -> str:
    a, w = value.inputs
    layout, ndim = value.op.layout, a.ndim
    taps = tuple(range(ndim - 2))
    befores, afters = zip(*layout.padding, strict=True)
    more: dict[str, Any] = {}
    if isinstance(value.op, ops.Conv):
        kind, order = "Conv", (ndim - 1, ndim - 2, *taps)
    else:
        kind, order = "ConvTranspose", (ndim - 1, ndim - 2, *taps)
        if min(afters) < 0:  # what is added goes beyond the padding that it was taken from
            more["output_padding"] = tuple([max(0, -n) for n in afters])
            afters = tuple([max(0, n) for n in afters])
    x = graph.transpose(graph.cast(graph.name(a), a.dtype, value.dtype), _channels_first(ndim))
    found = graph.op(
        kind,
        x,
        _weights(graph, value, order),
        *_bias(graph, value),
        kernel_shape=w.shape[:-2],
        strides=layout.stride,
        dilations=layout.dilation,
        pads=(*befores, *afters),
        group=layout.groups,
        **more,
    )
    return graph.transpose(found, _channels_last(ndim))


@row(ops.MaxPool)
def max_pool(graph: Graph, value: Value) -> str:
    return _pooled(graph, value, "MaxPool")


@row(ops.SumPool)
def sum_pool(graph: Graph, value: Value) -> str:
    """The mean of each window, with its padding, times its size. Where that is divided by the size, it is the mean."""
    size = prod([windows.taps for windows in value.op.pool.windows])
    mean, reader = _pooled(graph, value, "AveragePool"), graph.only_reader(value)
    is_divided = reader is not None and type(reader.op) is ops.DivScalar and reader.dtype == value.dtype
    if reader is not None and is_divided and reader.op.scalar == size:
        graph.aliases[reader] = value
        return mean
    return graph.op("Mul", mean, graph.scalar(size, value.dtype))


def _pooled(graph: Graph, value: Value, kind: str) -> str:
    (a,), pool = value.inputs, value.op.pool
    name = graph.cast(graph.name(a), a.dtype, value.dtype)
    others = [axis for axis in range(a.ndim) if axis not in pool.axes]
    order = [*others, *pool.axes]
    moved: list[Length] = [a.shape[axis] for axis in order]
    sizes = moved[len(others) :]
    pads, shapes = _pads(graph, value, sizes), [moved]
    name = graph.transpose(name, order)
    if len(others) != 2:
        shapes.append([1, graph.count(moved[: len(others)]), *sizes])
        name = graph.reshape(name, moved, shapes[-1])
    windows = pool.windows
    more: dict[str, Any] = {"count_include_pad": 1} if kind == "AveragePool" else {}
    if any(w.dilation > 1 for w in windows):
        more["dilations"] = tuple([w.dilation for w in windows])
    befores, afters = zip(*pads, strict=True)
    if any(max(pair) >= w.taps for pair, w in zip(pads, windows, strict=True)):  # more than ONNX Runtime allows
        lowest = -np.inf if value.dtype.kind == "f" else np.iinfo(value.dtype).min
        margins = graph.ints([0, 0, *befores, 0, 0, *afters])
        name = graph.op("Pad", name, margins, graph.scalar(lowest if kind == "MaxPool" else 0, value.dtype))
        befores = afters = (0,) * len(windows)
    found = graph.op(
        kind,
        name,
        kernel_shape=tuple([w.taps for w in windows]),
        strides=tuple([w.stride for w in windows]),
        pads=(*befores, *afters),
        **more,
    )
    outputs: list[Length] = [value.shape[axis] for axis in order]
    if len(others) != 2:
        found = graph.reshape(found, [*shapes[-1][:2], *outputs[len(others) :]], outputs)
    return graph.transpose(found, np.argsort(order).tolist())


def _pads(graph: Graph, value: Value, sizes: list[Length]) -> list[tuple[int, int]]:
    """The padding before and after each axis: after it, as much as the last window reaches beyond."""
    found = []
    for w, n in zip(value.op.pool.windows, sizes, strict=True):
        reach = (w.outputs - 1) * w.stride + (w.taps - 1) * w.dilation + 1 + w.start - n
        after = graph.fixed(value, "the padding", reach)
        found.append((-w.start, max(0, after)))
    return found
