"""One program for several traces: the same operations, on values whose shapes may depend on symbols."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

from ..autograd import Op
from ..compile.graph import Node, sort
from ..ops.random import Draw
from .dims import Length, Sampled
from .errors import ExportError, VariesError
from .tracing import Trace


class Value:
    """An input (`op` and `array` are None), a parameter or constant (an array), or what an op computed.

    `shape` and `dtype` are None for the output of an op that makes a tuple. `layer` says which module computed it.
    """

    __slots__ = ("array", "dtype", "inputs", "layer", "name", "op", "readers", "shape")

    def __init__(self, op: Any, inputs: tuple[Value, ...], shape: Any, dtype: Any, *, layer: str = "", name: str = ""):
        self.op: Any = op
        self.inputs = inputs
        self.shape: tuple[Length, ...] = shape
        self.dtype = dtype
        self.layer = layer
        self.name = name
        """An input's, a parameter's or a variable's."""
        self.array: Any = None
        """An array; Repeated or Counted where it depends on symbols."""
        self.readers: list[Value] = []
        """What is computed from it."""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def place(self) -> str:
        """Which operation it is, for errors."""
        return f"{self.op!r}" + (f" in layer {self.layer}" if self.layer else "")


class Program:
    """The operations that the outputs need, in order."""

    def __init__(self, traces: Sequence[Trace], samples: Sampled, names: Sequence[str]):
        self.samples = samples
        _check_alike(traces)
        self._values: dict[Node, Value] = {}
        self._traces = traces
        self.inputs = []
        for nodes, name in zip(zip(*[trace.inputs for trace in traces], strict=True), names, strict=True):
            value = Value(None, (), samples.shape([node.shape for node in nodes]), nodes[0].dtype, name=name)
            self._values[nodes[0]] = value
            self.inputs.append(value)
        first = traces[0]
        needed = set(sort(first.outputs))
        self.values: list[Value] = []
        """What ops computed."""
        for nodes in zip(*[trace.order for trace in traces], strict=True):
            if nodes[0] in needed:
                self.values.append(self._computed(nodes))
        self.outputs = [self._value(nodes) for nodes in zip(*[trace.outputs for trace in traces], strict=True)]
        for value in self.values:
            for a in value.inputs:
                a.readers.append(value)

    def _value(self, nodes: tuple[Node, ...], reader: str = "an output") -> Value:
        """The value of these nodes, one a trace."""
        value = self._values.get(nodes[0])
        if value is None:
            arrays = [trace.arrays[node] for trace, node in zip(self._traces, nodes, strict=True)]
            try:
                merged = self.samples.array(arrays)
            except VariesError as error:
                raise VariesError(
                    f"onnx.export: a constant that {reader} reads {error}; compute it with Needle's operations from "
                    "the inputs, or pass it as an input"
                ) from None
            value = self._values[nodes[0]] = Value(None, (), merged.shape, nodes[0].dtype)
            value.array, value.name = merged, self._traces[0].names.get(nodes[0], "")
        return value

    def _computed(self, nodes: tuple[Node, ...]) -> Value:
        layer = self._traces[0].layers[nodes[0]]
        op: Any = nodes[0].op
        where = f"{op!r}" + (f" in layer {layer}" if layer else "")
        if isinstance(op, Draw):
            raise ExportError(
                f"onnx.export: {where} draws random numbers, which a model in use does not; export what is computed "
                "without it"
            )
        inputs = tuple([self._value(each, where) for each in zip(*[node.inputs for node in nodes], strict=True)])
        op = _merged_op([node.op for node in nodes], self.samples, where)
        try:
            shape = None if nodes[0].shape is None else self.samples.shape([node.shape for node in nodes])
        except VariesError as error:
            raise VariesError(f"onnx.export: the result of {where} {error}") from None
        value = self._values[nodes[0]] = Value(op, inputs, shape, nodes[0].dtype, layer=layer)
        return value


def _merged_op(ops: Sequence[Any], samples: Sampled, where: str) -> Op:
    """The op, whose numbers depend on symbols where they differ between traces."""
    merged: Any = copy(ops[0])
    for name in _attributes(ops[0]):
        values = [getattr(op, name, None) for op in ops]
        try:
            found = samples.merged(values)
        except VariesError as error:
            raise VariesError(f"onnx.export: {name} of {where} {error}") from None
        if found is not values[0]:
            object.__setattr__(merged, name, found)
    return merged


def _attributes(op: Any) -> Iterable[str]:
    """The names of an op's attributes, without what it keeps for itself."""
    slots = [name for cls in type(op).__mro__ for name in vars(cls).get("__slots__", ())]
    return [name for name in (*slots, *getattr(op, "__dict__", ())) if not name.startswith("_") and hasattr(op, name)]


def _check_alike(traces: Sequence[Trace]) -> None:
    """ValueError unless all traces have the same operations on the same values."""
    places = [{node: -2 - i for i, node in enumerate(trace.inputs)} for trace in traces]
    for place, trace in zip(places, traces, strict=True):
        place |= {node: i for i, node in enumerate(trace.order)}
    first = traces[0]
    for i, node in enumerate(first.order):
        here = [places[0].get(a, -1) for a in node.inputs]
        for trace, place in zip(traces[1:], places[1:], strict=True):
            other = trace.order[i] if i < len(trace.order) else None
            if other is None or type(other.op) is not type(node.op) or here != [place.get(a, -1) for a in other.inputs]:
                _raise_unlike(node, other, first.layers[node])
    for trace in traces[1:]:
        if len(trace.order) > len(first.order):
            extra = trace.order[len(first.order)]
            _raise_unlike(None, extra, trace.layers[extra])


def _raise_unlike(node: Node | None, other: Node | None, layer: str) -> None:
    given, found = [repr(n.op) if n is not None else "nothing" for n in (node, other)]
    raise ExportError(
        f"onnx.export: the function takes another way for inputs of another size: {given} or {found}"
        + (f" in layer {layer}" if layer else "")
        + "; an exported graph has one way only. Name the axes that may change with dynamic=, {} for none"
    )
