"""`nn.summary`: a model as a table, of its calls for given inputs, or of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from time import perf_counter
from typing import Any

import numpy as np

from ..autograd import Tensor, no_grad
from ..nested import flatten
from ..watching import Watcher
from .calls import CallWatcher
from .module import Module, evaluating
from .walk import of_kind, walk


def _of_convolution(outputs: Any, weights: Any) -> int:
    """Each output is the product of a window and the weights of its channel."""
    return outputs.size * prod(weights.shape[:-1])


MULTIPLY_ADDS: dict[str, Callable[[Sequence[Any], Any], int]] = {
    "Conv": lambda inputs, output: _of_convolution(output, inputs[1]),
    "ConvTranspose": lambda inputs, output: _of_convolution(inputs[0], inputs[1]),
    "MatMul": lambda inputs, output: output.size * inputs[0].shape[-1],
}
"""How many multiplications and additions an op takes, by the name of its class, from its inputs and its output."""


@dataclass
class Row:
    """A call of a module, or one that was not called."""

    name: str
    module: Any
    inputs: str = ""
    output: str = "not called"
    parameters: int | None = None
    """Of all of it; None where they were counted above."""
    multiply_adds: int = 0
    seconds: float = 0.0


class Summary:
    """What `nn.summary` returns; its text is the table. `rows` are the calls, and `trainable`, `frozen` and `bytes` the
    totals: numbers of parameters, and the memory of parameters and buffers."""

    def __init__(self, model: Module, rows: list[Row], depth: int | None, called: bool):
        self.model, self.rows, self._depth, self._called = model, rows, depth, called
        tensors = [place.value for place in of_kind(model, "parameter", "buffer")]
        parameters = model.parameters()
        self.trainable = sum(p.size for p in parameters if p.requires_grad)
        self.frozen = sum(p.size for p in parameters if not p.requires_grad)
        self.bytes = sum(t.nbytes for t in tensors)

    @property
    def parameters(self) -> int:
        """The number of all parameters."""
        return self.trainable + self.frozen

    @property
    def multiply_adds(self) -> int:
        """Of the whole call."""
        return self.rows[0].multiply_adds if self.rows else 0

    def __repr__(self) -> str:
        lines = self._calls() if self._called else self._parameters()
        total = f"{self.trainable:,} trainable and {self.frozen:,} frozen parameters, {_memory(self.bytes)}"
        return "\n".join([*lines, total])

    def _calls(self) -> list[str]:
        table = [("module", "input", "output", "parameters", "multiply-adds", "ms")]
        around = _around([name for name, _ in Module.named_modules(self.model)])
        for row in self.rows:
            outer = around.get(row.name, [])
            if self._depth is None or len(outer) <= self._depth:
                local = row.name[len(outer[-1]) :].lstrip(".") if outer else ""
                name = "  " * len(outer) + f"{local} {type(row.module).__name__}".lstrip()
                count = "counted above" if row.parameters is None else f"{row.parameters:,}" if row.parameters else ""
                adds = f"{row.multiply_adds:,}" if row.multiply_adds else ""
                ms = f"{row.seconds * 1e3:.2f}" if row.output != "not called" else ""
                table.append((name, row.inputs, row.output, count, adds, ms))
        return _aligned(table, right=(3, 4, 5))

    def _parameters(self) -> list[str]:
        table = [("parameter", "shape", "dtype", "size", "")]
        for place in of_kind(self.model, "parameter", "buffer"):
            t = place.value
            kind = "buffer" if place.kind == "buffer" else "" if t.requires_grad else "frozen"
            table.append((place.name, str(t.shape), str(t.dtype), f"{t.size:,}", kind))
        return _aligned(table, right=(3,))


def _around(names: Sequence[str]) -> dict[str, list[str]]:
    """The names of the modules around each module, from the root, which is "", inwards."""
    known = set(names)
    found: dict[str, list[str]] = {}
    for name in filter(None, names):
        parts = name.split(".")
        found[name] = ["", *[outer for i in range(1, len(parts)) if (outer := ".".join(parts[:i])) in known]]
    return found


def _aligned(table: Sequence[tuple[str, ...]], right: tuple[int, ...]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:], rule]


def _memory(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


class _Calls(CallWatcher):
    """The calls of a model's modules as rows, in the order in which they begin."""

    def __init__(self, model: Module):
        self.rows: list[Row] = []
        self.running: list[tuple[Row, float]] = []
        self._names = {id(module): name for name, module in Module.named_modules(model)}
        self._counted: set[int] = set()

    def begins(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        name = self._names.get(id(module), type(module).__name__)
        count = None if id(module) in self._counted else _count(module)
        self._counted.add(id(module))
        row = Row(name, module, _shapes((*args, *kwargs.values())), parameters=count)
        self.rows.append(row)
        self.running.append((row, perf_counter()))

    def ends(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        row, start = self.running.pop()
        row.seconds, row.output = perf_counter() - start, _shapes((output,))

    def uncalled(self, model: Module) -> list[Row]:
        """Rows for what holds parameters and was not called, nor anything around it that holds them."""
        called = {id(row.module) for row in self.rows}
        owners = {id(place.owner): place.owner for place in walk(model) if place.kind == "parameter"}
        names = [(self._names[key], owner) for key, owner in owners.items() if key not in called]
        return [Row(name, module, parameters=_count(module)) for name, module in names]


class _Operations(Watcher):
    """Counts the work of operations for all modules that are running."""

    inside = False

    def __init__(self, calls: _Calls):
        self._calls = calls

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        count = MULTIPLY_ADDS.get(type(op).__name__)
        for row, _ in self._calls.running if count else ():
            row.multiply_adds += count(inputs, output)  # type: ignore[misc]


def _count(module: Any) -> int:
    """The number of parameters, of those that are there yet."""
    return sum(place.value.size for place in walk(module) if place.kind == "parameter")


def _shapes(values: Any) -> str:
    """The shapes of all tensors in them."""
    leaves = [a for value in values if not isinstance(value, Module) for a in flatten(value)[0]]
    return ", ".join([str(tuple(a.shape)).replace(" ", "") for a in leaves if hasattr(a, "shape")])


def summary(model: Module, *inputs: Any, depth: int | None = None) -> Summary:
    """A table of the model's calls for these inputs: shapes, parameters, multiply-adds and milliseconds.

    An input is an array or Tensor, or a shape: (1, 3, 32, 32) stands for random numbers in the parameters' dtype. The
    model runs twice, as in `eval()` and without recording; nothing of it and no random state changes. A module that is
    called again counts once, and what was not called says so. Multiply-adds are those of matrix products and
    convolutions; modules include what is within. `depth` limits the nesting shown. Without inputs, it is the table of
    parameters and buffers.

    >>> from needle import nn
    >>> nn.summary(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (5, 4)).multiply_adds
    90
    """
    if not inputs:
        return Summary(model, [], depth, False)
    if any(place.kind == "pending" for place in walk(model)):
        model = deepcopy(model)
    state = np.random.get_state()
    given = [_input(model, x) for x in inputs]
    try:
        with evaluating(model), no_grad():
            with _Calls(model) as counted, _Operations(counted):
                model(*given)
            with _Calls(model) as timed:
                model(*given)
    finally:
        np.random.set_state(state)
    for row, other in zip(timed.rows, counted.rows, strict=False):
        row.multiply_adds = other.multiply_adds
    return Summary(model, [*timed.rows, *timed.uncalled(model)], depth, True)


def _input(model: Module, x: Any) -> Any:
    if isinstance(x, (Tensor, np.ndarray)):
        return x
    if not isinstance(x, (tuple, list)) or not all(isinstance(n, (int, np.integer)) for n in x):
        raise TypeError(f"nn.summary: an input is an array, a Tensor or a shape like (1, 3, 32, 32), got {x!r:.60}")
    floating = [p.value.dtype for p in walk(model) if p.kind == "parameter" and p.value.dtype.kind == "f"]
    array = np.random.default_rng(0).standard_normal(prod(x)).reshape(x)
    return Tensor(array, dtype=floating[0] if floating else "float32", requires_grad=False)
