"""Recurrent layers as ONNX's RNN, GRU and LSTM.

Needle's ops are given z, the product of the inputs with their weights, and return the states of all steps, the one at
the start included. ONNX's nodes take that product themselves, and return the later states and the last ones. So a row
looks for the product behind z; and what it returns is a History, of which only that is made which somebody reads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import ops
from ...nn import recurrent
from ..dims import Length, Repeated, broadcast
from ..errors import ExportError
from ..graph import Graph, Parts
from ..program import Value
from .table import row

_KINDS: dict[type[Any], str] = {ops.RNNSequence: "RNN", ops.GRUSequence: "GRU", ops.LSTMSequence: "LSTM"}
_ORDERS = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}
"""Needle's blocks in ONNX's order: r, u, n as z, r, h; i, f, g, o as i, o, f, c."""


class History(Parts):
    """The states of all steps: one at the start, and those after each of `count` steps. ONNX tells only the last one of
    an LSTM's cell states: `steps` is None."""

    def __init__(self, graph: Graph, value: Value, count: Length, *, start: str, steps: str | None, last: str):
        self.graph, self.value = graph, value
        self.start, self.steps, self.last = start, steps, last
        self.count = count

    def whole(self) -> str:
        steps = self.graph.unsqueeze(self.last, 0) if self.count == 1 else self.steps
        if steps is None:
            raise ExportError(
                f"onnx.export: the cell states of all steps of {self.value.place()} are not among ONNX's outputs; the "
                "last one is"
            )
        return self.graph.op("Concat", self.graph.unsqueeze(self.start, 0), steps, axis=0)

    def part(self, index: Any) -> str | None:
        if isinstance(index, int) and index in (-1, self.count):
            return self.last
        return self.steps if index == slice(1, None) else None


class _Product(NamedTuple):
    """x @ w plus biases, which is z."""

    x: Value
    w: Value | None
    biases: list[Value]
    reversed: bool
    """Whether x is to be read backward."""


@row(ops.RNNSequence, ops.GRUSequence, ops.LSTMSequence)
def sequence(graph: Graph, value: Value) -> Any:
    kind = _KINDS[type(value.op)]
    given = dict(zip(value.op.names + "r", value.inputs, strict=False))
    z, size = given["z"], given["w"].shape[0]
    order = np.concatenate([np.arange(size) + block * size for block in _ORDERS[kind]])
    product, count = _product(z), z.shape[0]
    batch = broadcast([z.shape[1:-1], *[given[name].shape[:-1] for name in "hc" if name in given]])
    rows = graph.count(batch)

    def apart(name: str, *before: Length) -> str:
        """States of all rows in the shape of the batch."""
        return graph.reshape(name, (*before, rows, size), (*before, *batch, size))

    if product is None:  # z itself, times the identity
        product = _Product(z, None, [], False)
    weights = _matrix(graph, product.w, order) if product.w else _identity(graph, order, z.dtype)
    starts = [_state(graph, given[name], batch, z.dtype) for name in "hc" if name in given]
    zeros = [_is_zero(given[name]) for name in "hc" if name in given]
    lengths = _lengths(graph, value, given["r"], product.reversed) if "r" in given else ""
    inputs = [
        _rows(graph, product.x, (count, *batch), (count, rows)),
        weights,
        _matrix(graph, given["w"], order),
        _biases(graph, product.biases, given, order),
        lengths,
        *["" if zero else graph.unsqueeze(start, 0) for zero, start in zip(zeros, starts, strict=True)],
    ]
    while not inputs[-1]:
        inputs.pop()
    steps, *lasts = graph.op(
        kind,
        *inputs,
        outputs=1 + len(starts),
        hidden_size=size,
        direction="reverse" if product.reversed else "forward",
        linear_before_reset=1 if kind == "GRU" else None,
        activations=("Relu" if value.op.relu else "Tanh",) if kind == "RNN" else None,
    )
    steps = apart(graph.squeeze(steps, 1), count)
    starts = [apart(start) for start in starts]
    lasts = [apart(graph.squeeze(last, 0)) for last in lasts]
    if lengths:  # ONNX has 0 where a sequence has no step; Needle's state rests there
        runs = graph.flip(graph.name(given["r"]), 0) if product.reversed else graph.name(given["r"])
        any_run = graph.op("Gather", runs, graph.scalar(0, np.int64), axis=0)
        lasts = [graph.op("Where", any_run, last, start) for last, start in zip(lasts, starts, strict=True)]
        steps = graph.op("Where", runs, steps, starts[0] if product.reversed else lasts[0])
    steps = graph.flip(steps, 0) if product.reversed else steps
    histories = [
        History(graph, value, count, start=start, steps=steps if i == 0 else None, last=last)
        for i, (start, last) in enumerate(zip(starts, lasts, strict=True))
    ]
    return histories[0] if kind == "RNN" else [*histories, None]


def _product(z: Value) -> _Product | None:
    """The product that z is; None if it is something else."""
    biases: list[Value] = []
    if type(z.op) is ops.EWiseAdd:
        product, bias = z.inputs
        biases = [bias] if bias.op is None or type(bias.op) is not ops.EWiseAdd else list(bias.inputs)
        if any(b.ndim != 1 or not isinstance(b.array, np.ndarray) or b.dtype != z.dtype for b in biases):
            return None
        z = product
    if type(z.op) is not ops.MatMul or z.inputs[1].ndim != 2 or any(a.dtype != z.dtype for a in z.inputs):
        return None
    x, w = z.inputs
    if type(x.op) is ops.GetItem and x.op.index == slice(None, None, -1):
        return _Product(x.inputs[0], w, biases, True)
    return _Product(x, w, biases, False)


def _identity(graph: Graph, order: Any, dtype: Any) -> str:
    return graph.constant(np.eye(len(order), dtype=dtype)[order][None], "identity")


def _matrix(graph: Graph, w: Value, order: Any) -> str:
    """A matrix (in, blocks) as (1, blocks, in), the blocks in ONNX's order."""
    found = graph.translated(w, order.tobytes(), lambda array: array.T[order][None])
    if found is None:
        rows = graph.op("Gather", graph.transpose(graph.name(w), (1, 0)), graph.constant(order), axis=0)
        found = graph.unsqueeze(rows, 0)
    return found


def _biases(graph: Graph, biases: list[Value], names: dict[str, Value], order: Any) -> str:
    """The biases beside the inputs' product and beside the state's, as (1, 2 * blocks); "" if there are none."""
    by_state = [names["b"]] if "b" in names else biases[1:]
    by_input = biases if "b" in names else biases[:1]
    given = [*by_input, *by_state]
    if not given:
        return ""
    dtype = names["z"].dtype
    if all(isinstance(b.array, np.ndarray) for b in given) and len(by_input) < 2:
        both = [b[0].array[order] if b else np.zeros(len(order), dtype) for b in (by_input, by_state)]
        prefix = given[0].name.rpartition(".")[0]
        return graph.constant(np.concatenate(both)[None].astype(dtype), f"{prefix}.bias" if prefix else "bias")
    zeros = graph.constant(np.zeros(len(order), dtype), "zeros")
    both_names = []
    for some in (by_input, by_state):
        total = graph.name(some[0]) if some else zeros
        for b in some[1:]:
            total = graph.op("Add", total, graph.name(b))
        both_names.append(graph.op("Gather", total, graph.constant(order), axis=0))
    return graph.unsqueeze(graph.op("Concat", *both_names, axis=0), 0)


def _rows(graph: Graph, a: Value, shape: tuple[Length, ...], flat: tuple[Length, ...]) -> str:
    """A value (..., n), broadcast to such a shape and then flattened, but for its last axis."""
    name, last = graph.name(a), a.shape[-1]
    if a.shape[:-1] != shape:
        name = graph.op("Expand", name, graph.ints((*shape, last)))
    return graph.reshape(name, (*shape, last), (*flat, last))


def _state(graph: Graph, state: Value, batch: tuple[Length, ...], dtype: Any) -> str:
    """A state at the start as (rows, size)."""
    return graph.cast(_rows(graph, state, batch, (graph.count(batch),)), state.dtype, dtype)


def _is_zero(state: Value) -> bool:
    """Whether it is a constant 0, or a part of one."""
    while state.op is not None and state.op.view and len(state.inputs) == 1 and state.inputs[0].shape is not None:
        state = state.inputs[0]
    array = state.array.array if isinstance(state.array, Repeated) else state.array
    return isinstance(array, np.ndarray) and not array.any() and not state.name


def _lengths(graph: Graph, value: Value, runs: Value, backward: bool) -> str:
    """The lengths that a mask of steps was made of, as ONNX takes them."""
    if backward and type(runs.op) is ops.GetItem and runs.op.index == slice(None, None, -1):
        runs = runs.inputs[0]
    elif backward:
        runs = value
    if type(runs.op) is not ops.Discrete or runs.op.function is not recurrent.running:
        raise ExportError(f"onnx.export: the mask of {value.place()} must be made of lengths, as the layers do it")
    (lengths,) = runs.inputs
    given = graph.cast(graph.name(lengths), lengths.dtype, np.int32)
    return graph.reshape(given, lengths.shape, (graph.count(lengths.shape),))
