"""The ONNX graph while it is built: nodes, initialisers, names, and the few things that rows do again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from .dims import Counted, Dim, Length, Repeated
from .errors import ExportError
from .library import onnx
from .program import Program, Value

Row = Callable[["Graph", Value], Any]
"""Adds the nodes for an operation and returns the name of its output: a list of names for one that makes a tuple."""


class Parts:
    """What a row may return instead of a name: a value that is only put together if somebody reads all of it."""

    def whole(self) -> str:
        """The name of all of it."""
        raise NotImplementedError

    def part(self, index: Any) -> str | None:
        """The name of what an index takes of it, if that is there as it is."""
        raise NotImplementedError


class Node:
    """A node of the ONNX graph."""

    __slots__ = ("attributes", "inputs", "kind", "layer", "outputs")

    def __init__(self, kind: str, inputs: list[str], outputs: list[str], attributes: dict[str, Any], layer: str):
        self.kind, self.inputs, self.outputs = kind, inputs, outputs
        self.attributes = attributes
        self.layer = layer


class Graph:
    """What rows add nodes to. `graph.name(value)` is the name of a value, `graph.op(kind, *names)` of a new one."""

    def __init__(self, program: Program, opset: int):
        self.program = program
        self.opset = opset
        self.nodes: list[Node] = []
        self.initialisers: dict[str, Any] = {}
        self.wanted: dict[str, str] = {}
        """What initialisers are to be called, if no other one is."""
        self.layer = ""
        """Where nodes come from that are added now."""
        self.aliases: dict[Value, Value] = {}
        """Values that another one's node computes, too: a bias was added there, say."""
        self._names: dict[Value, Any] = {}
        self._made: dict[str, Node] = {}
        self._alike: dict[Any, Node] = {}
        self._constants: dict[Any, str] = {}
        self._translated: dict[Any, str] = {}
        self._dims: dict[Any, str] = {}
        for value in program.inputs:
            self._names[value] = value.name

    # Values ------------------------------------------------------------------------------------------------------

    def add(self, value: Value, row: Row) -> None:
        """Add the nodes of a computed value."""
        self.layer = value.layer
        if value not in self.aliases:
            self._names[value] = row(self, value)

    def name(self, value: Value) -> str:
        """The name of a value in the graph."""
        value = self.aliases.get(value, value)
        if value not in self._names:
            self._names[value] = self.array(value.array, value.name)
        found = self._names[value]
        return found.whole() if isinstance(found, Parts) else found

    def names(self, value: Value) -> Any:
        """What the row of a value returned: a list for a tuple, perhaps Parts. None for a parameter or constant."""
        return self._names.get(self.aliases.get(value, value))

    def inputs(self, value: Value, dtype: Any = None) -> list[str]:
        """The names of a value's inputs, all in one dtype, by default that of its output."""
        dtype = value.dtype if dtype is None else dtype
        return [self.cast(self.name(a), a.dtype, dtype) for a in value.inputs]

    def fixed(self, value: Value, what: str, number: Any) -> Any:
        """A number that must not depend on symbols."""
        if isinstance(number, Dim):
            raise ExportError(
                f"onnx.export: {what} of {value.place()} is {number}, and must not change with the inputs"
            )
        return number

    def only_reader(self, value: Value) -> Value | None:
        """What reads a value, if nothing else does."""
        is_output = value in self.program.outputs
        return value.readers[0] if len(value.readers) == 1 and not is_output else None

    # Nodes -------------------------------------------------------------------------------------------------------

    def op(self, kind: str, *inputs: str, outputs: int | None = None, **attributes: Any) -> Any:
        """The output of a node, which is added unless there is one like it; a list if `outputs` says how many."""
        attributes = {k: tuple(v) if isinstance(v, list) else v for k, v in attributes.items() if v is not None}
        key = kind, inputs, tuple(attributes.items())
        node = self._alike.get(key)
        if node is None:
            names = [f"{kind}/{len(self.nodes)}/{i}" for i in range(outputs or 1)]
            node = self._alike[key] = Node(kind, list(inputs), names, attributes, self.layer)
            self.nodes.append(node)
            self._made |= dict.fromkeys(names, node)
        return node.outputs[0] if outputs is None else list(node.outputs)

    def made_by(self, name: str, kind: str) -> Node | None:
        """The node with this output, if it is of this kind."""
        node = self._made.get(name)
        return node if node is not None and node.kind == kind else None

    def constant(self, array: Any, wanted: str = "") -> str:
        """An initialiser; the same one for the same array."""
        array = np.asarray(array)
        key = array.dtype.str, array.shape, array.tobytes() if array.nbytes <= 1 << 16 else id(array), wanted
        if key not in self._constants:
            name = f"initialiser/{len(self.initialisers)}"
            self.initialisers[name] = array
            self.wanted[name] = wanted or "constant"
            self._constants[key] = name
        return self._constants[key]

    def translated(self, value: Value, layout: Any, function: Callable[[Any], Any]) -> str | None:
        """A parameter or constant as ONNX lays it out: the function of it, which `layout` names. None if the value is
        computed or depends on symbols."""
        if not isinstance(value.array, np.ndarray):
            return None
        key = value, layout
        if key not in self._translated:
            self._translated[key] = self.constant(np.ascontiguousarray(function(value.array)), value.name)
        return self._translated[key]

    def scalar(self, number: Any, dtype: Any) -> str:
        """A number, which may depend on symbols, in a dtype."""
        if isinstance(number, Dim):
            return self.cast(self.reshape_to(self.length(number), ()), np.dtype(np.int64), dtype)
        return self.constant(np.asarray(number, dtype))

    def array(self, array: Any, wanted: str = "") -> str:
        """A constant, which may depend on symbols."""
        if isinstance(array, Repeated):
            if not isinstance(array.array, np.ndarray):
                return self.reshape_to(self.length(array.array), array.shape)
            return self.op("Expand", self.constant(array.array), self.ints(array.shape))
        if isinstance(array, Counted):
            (count,) = [n for n in array.shape if isinstance(n, Dim)]
            end = self.scalar(count * array.step + array.start, np.dtype(np.int64))
            found = self.op("Range", *[self.scalar(array.start, np.int64), end, self.scalar(array.step, np.int64)])
            found = self.cast(found, np.dtype(np.int64), array.dtype)
            return found if len(array.shape) == 1 else self.reshape_to(found, array.shape)
        return self.constant(array, wanted)

    # Shapes ------------------------------------------------------------------------------------------------------

    def ints(self, numbers: Sequence[Length]) -> str:
        """Lengths as a vector of integers: an initialiser, or computed from the inputs' shapes."""
        if not any(isinstance(n, Dim) for n in numbers):
            return self.constant(np.array(numbers, np.int64))
        parts = [self.length(n) if isinstance(n, Dim) else self.constant(np.array([n], np.int64)) for n in numbers]
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def length(self, dim: Dim) -> str:
        """A length as a vector of one integer."""
        if dim not in self._dims:
            terms = []
            for term, n in dim.terms.items():
                factors = [self._symbol(name) for name in term]
                if n != 1 or not factors:
                    factors.append(self.constant(np.array([n], np.int64)))
                terms.append(self._folded("Mul", factors))
            self._dims[dim] = self._folded("Add", terms)
        return self._dims[dim]

    def _folded(self, kind: str, names: list[str]) -> str:
        found = names[0]
        for name in names[1:]:
            found = self.op(kind, found, name)
        return found

    def _symbol(self, name: str) -> str:
        """The size of a symbol: read from the first input that has it."""
        if name not in self._dims:
            wanted = Dim({(name,): 1})
            value, axis = next((v, v.shape.index(wanted)) for v in self.program.inputs if wanted in v.shape)
            shape = self.op("Shape", value.name)
            self._dims[name] = self.op("Gather", shape, self.constant(np.array([axis], np.int64)), axis=0)
        return self._dims[name]

    def reshape(self, name: str, before: Sequence[Length], after: Sequence[Length]) -> str:
        """A value of one shape in another one: without arithmetic on lengths wherever 0 ("as before") and -1 ("what is
        left") say it."""
        if tuple(before) == tuple(after):
            return name
        inner = self.made_by(name, "Reshape")
        if inner is not None and "needle_shape" in inner.attributes:
            return self.reshape(inner.inputs[0], inner.attributes["needle_shape"], after)
        target: list[Any] = list(after)
        if 0 not in target:
            for i, n in enumerate(target):
                if isinstance(n, Dim) and i < len(before) and before[i] == n:
                    target[i] = 0
            left = [i for i, n in enumerate(target) if isinstance(n, Dim)]
            if len(left) == 1:
                target[left[0]] = -1
        return self.op("Reshape", name, self.ints(target), needle_shape=tuple(before))

    def reshape_to(self, name: str, shape: Sequence[Length]) -> str:
        return self.op("Reshape", name, self.ints(shape))

    def transpose(self, name: str, order: Sequence[int]) -> str:
        """A value with its axes in this order. Two such steps become one, or none."""
        order = tuple(order)
        inner = self.made_by(name, "Transpose")
        if inner is not None:
            name, order = inner.inputs[0], tuple([inner.attributes["perm"][axis] for axis in order])
        return name if order == tuple(range(len(order))) else self.op("Transpose", name, perm=order)

    def flip(self, name: str, axis: int) -> str:
        """A value reversed along an axis; reversed twice, it is itself."""
        inner = self.made_by(name, "Slice")
        if inner is not None and inner.attributes.get("needle_flip") == axis:
            return inner.inputs[0]
        ends = [np.iinfo(np.int64).max, np.iinfo(np.int64).min, axis, -1]
        return self.op("Slice", name, *[self.ints([n]) for n in ends], needle_flip=axis)

    def unsqueeze(self, name: str, *axes: int) -> str:
        return self.op("Unsqueeze", name, self.ints(axes)) if axes else name

    def squeeze(self, name: str, *axes: int) -> str:
        return self.op("Squeeze", name, self.ints(axes)) if axes else name

    def cast(self, name: str, before: Any, after: Any) -> str:
        before, after = np.dtype(before), np.dtype(after)
        return name if before == after else self.op("Cast", name, to=onnx.helper.np_dtype_to_tensor_dtype(after))

    def reduce(self, kind: str, name: str, axes: Sequence[int], keepdims: bool = True) -> str:
        """A reduction over axes, none of them negative. Its axes became an input in opset 18 (of ReduceSum, in 13)."""
        if not axes:
            return name
        if self.opset >= 18 or kind == "ReduceSum":
            return self.op(kind, name, self.ints(axes), keepdims=int(keepdims))
        return self.op(kind, name, axes=tuple(axes), keepdims=int(keepdims))

    def count(self, lengths: Sequence[Length]) -> Any:
        """The product of lengths."""
        return prod(lengths)
