"""The forward evaluation and the backward one, as a list of named values: the way a textbook works an example."""

from __future__ import annotations

import sys
from itertools import count
from typing import Any, TextIO

import numpy as np

from ..autograd import GradientOf, Tensor, TensorTuple, Wrapped, unmasked
from ..watching import Watcher
from .names import names_in, user_frame, written


class trace(Watcher):
    """`with needle.trace():` prints, at its end, every value computed within, in order: `v3 = v0 * b`, and in a
    backward pass `dL_dv0 = v5 + v6`.

    Tensors have the names of the variables that hold them where the block stands, else v0, v1, ...; an output of which
    `backward()` is called, and that no variable holds, is L. With `values`, each line says what came out; with
    `partials`, the adjoint that each path contributes to a value has a line and a name of its own. It goes to `file`,
    standard output by default; `str(t)` has it, too.

    >>> import needle as ndl
    >>> a, b = ndl.Tensor(2.0), ndl.Tensor(3.0)
    >>> with ndl.trace(values=True, partials=True):
    ...     y = (a + b) * b
    ...     y.backward()
    v0 = a + b                   # 5
    y = v0 * b                   # 15
    <BLANKLINE>
    backward from y
    dy_dy = 1                    # 1
    dy_dv0 = dy_dy * b           # 3
    dy_db_by_y = dy_dy * v0      # 5
    dy_db_by_v0 = dy_dv0         # 3
    dy_db = dy_db_by_y + dy_dv0  # 8
    dy_da = dy_dv0               # 3
    """

    def __init__(self, *, values: bool = False, partials: bool = False, file: TextIO | None = None):
        self._values, self._partials, self._file = values, partials, file
        self._events: list[tuple[Any, ...]] = []
        self._names: dict[Any, str] = {}
        self._before: dict[Any, str] = {}
        self._within: dict[Any, str] = {}
        self._seen: set[Any] = set()
        self._outputs: dict[int, Tensor] = {}
        self._sweeps: list[bool] = []

    def __enter__(self) -> trace:
        self._before = names_in(user_frame())
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for names in (self._before, names_in(user_frame()), self._within):
            new = {v: name for v, name in names.items() if v in self._seen and v not in self._names}
            taken = set(self._names.values())
            self._names |= {v: name for v, name in new.items() if name not in taken}
        print(self, file=self._file or sys.stdout)

    # What it is told: kept, and put into words at the end, when variables have got their names.

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        if any(a.op is None and a not in self._seen for a in inputs):  # perhaps an argument of a transformed function
            for value, name in names_in(user_frame(), unwrapped=True).items():
                self._within.setdefault(value, name)
        self._seen.update(inputs, (output,))
        if isinstance(output, Tensor):
            self._outputs[id(output._array)] = output
        self._events.append(("op", op, inputs, output, self._again))

    def pushed(self, op: Any, node: Any, tangent: Any, seconds: float) -> None:
        if isinstance(tangent, Tensor) and not isinstance(tangent, Wrapped):
            # A rule may have been given a stand-in for the output, around the same array.
            self._events.append(("pushed", self._outputs.get(id(node.output._array), node.output), tangent))

    def sweep_begins(self, outputs: Any, again: bool) -> None:
        self._sweeps.append(again)
        self._events.append(("begin", list(outputs), self._again))

    def reached(self, value: Any, adjoint: Any) -> None:
        if not isinstance(value, Wrapped) and isinstance(adjoint, Tensor) and not isinstance(adjoint, Wrapped):
            self._events.append(("reached", value, adjoint, self._again))

    def rule_ends(self, op: Any, node: Any, adjoints: Any, seconds: float) -> None:
        for i, (a, g) in enumerate(zip(node.inputs, adjoints or (), strict=False)):
            g = unmasked(g)
            if isinstance(g, Tensor) and not isinstance(g, Wrapped):
                self._events.append(("partial", (node, i), a, g, self._again))

    def sweep_ends(self) -> None:
        if self._sweeps:
            self._sweeps.pop()
        self._events.append(("end", self._again))

    @property
    def _again(self) -> bool:
        return any(self._sweeps)

    def __str__(self) -> str:
        return _Listing(self._events, self._names, self._partials).text(self._values)


class _Listing:
    """Events put into lines. A tensor is named when it is computed, but that it is somebody's adjoint turns out later:
    so these purposes are looked up in advance."""

    def __init__(self, events: list[tuple[Any, ...]], names: dict[Any, str], partials: bool):
        self.lines: list[tuple[str, Any]] = []  # and the tensor that the line computes, None for a heading
        self._names = dict(names)
        self._given = frozenset(names)
        self._taken = set(names.values())
        self._numbered = {"v": 0, "c": 0, "x": 0}
        self._roots: dict[Any, str] = {}  # what is differentiated -> what it is called in d.._d..
        self._current: list[str] = []  # the roots of the sweeps that are under way
        self._heading = ""  # said before the next line
        self._gradients: dict[Any, str] = {}  # a variable -> what its .grad is called
        self._known: dict[str, str] = {}  # an expression -> the value that it gave first
        self._ways = _count_ways(events) if partials else {}
        self._purposes: dict[Any, tuple[Any, ...]] = {}
        for event in events:
            if event[0] in {"reached", "pushed"}:
                self._purposes.setdefault(event[2], event)
            elif event[0] == "partial" and self._ways.get(event[2], 0) > 1:
                self._purposes.setdefault(event[3], event)
        for kind, *facts in events:
            getattr(self, f"_{kind}")(*facts)

    def text(self, values: bool) -> str:
        if not values:
            return "\n".join(line for line, _ in self.lines)
        width = min(max((len(line) for line, tensor in self.lines if tensor is not None), default=0), 40)
        return "\n".join(
            line if tensor is None else f"{line:{width}}  # {_value_text(tensor)}" for line, tensor in self.lines
        )

    # What is said of each kind of event ----------------------------------------------------------------------

    def _op(self, op: Any, inputs: tuple[Any, ...], output: Any, again: bool) -> None:
        expression = written(op, [self._name(a) for a in inputs])
        if again and expression in self._known:  # it was computed before, in the same way from the same values
            self._names[output] = self._known[expression]
            return
        if output not in self._names:
            self._names[output] = self._name_by_purpose(self._purposes.get(output)) or self._new("v")
        self._known.setdefault(expression, self._names[output])
        self._say(f"{self._names[output]} = {expression}", output)

    def _begin(self, outputs: list[Any], again: bool) -> None:
        y = outputs[0] if len(outputs) == 1 else None
        if y is None or y not in self._roots:
            given = self._names.get(y) if y in self._given else None
            letters = (f"{letter}{n or ''}" for n in count() for letter in "LMNOPQRSTUVWXYZ")
            self._roots[y] = given or next(name for name in letters if name not in self._taken)
            self._taken.add(self._roots[y])
        self._current.append(self._roots[y])
        what = ", ".join(map(self._name, outputs))
        called = "" if self._roots[y] == what else f", called {self._roots[y]} here"
        self._heading = f"backward from {what}{called}{', recorded' if again else ''}"

    def _reached(self, value: Any, adjoint: Any, again: bool) -> None:
        name = self._name_by_purpose(("reached", value))
        if name is None:
            return
        known = again and name in self._taken
        if adjoint not in self._names:
            self._say(f"{name} = {_start_text(adjoint)}", adjoint, known)
            self._names[adjoint] = name
        elif self._names[adjoint] != name:
            self._say(f"{name} = {self._names[adjoint]}", adjoint, known)
        self._taken.add(name)
        self._gradients[value] = name

    def _pushed(self, value: Any, tangent: Any) -> None:
        name = f"{self._name(value)}_dot"
        if self._names.setdefault(tangent, name) != name:
            self._say(f"{name} = {self._names[tangent]}", tangent)

    def _partial(self, way: tuple[Any, int], value: Any, adjoint: Any, again: bool) -> None:
        if self._ways.get(value, 0) > 1 and adjoint in self._names:
            name = self._name_by_purpose(("partial", way, value))
            if self._names[adjoint] != name:
                self._say(f"{name} = {self._names[adjoint]}", adjoint, again)

    def _end(self, again: bool) -> None:
        self._current.pop()
        self._heading = ""

    # Names ---------------------------------------------------------------------------------------------------

    def _name(self, value: Any) -> str:
        name = self._names.get(value)
        if name is None:
            name = self._gradients.get(value.op.variable) if isinstance(value.op, GradientOf) else None
            if name is None and isinstance(value, Tensor) and value.size == 1 and not value.needs:
                name = f"{value.item():.6g}"
            elif name is None:
                name = self._new("x" if value.needs else "c")
                self._say(f"{name} = {_value_text(value)}", None)
            self._names[value] = name
        return name

    def _name_by_purpose(self, purpose: tuple[Any, ...] | None) -> str | None:
        """What a tensor is called by the event that says what it is: d.._d.. in a sweep, .._dot for a tangent."""
        if purpose is not None and purpose[0] == "pushed":
            return f"{self._name(purpose[1])}_dot"
        if purpose is None or not self._current:
            return None
        start = f"d{self._current[-1]}_d"
        if purpose[0] == "reached":
            return start + self._name(purpose[1])
        (node, i), value = purpose[1:3]
        which = f"_{i}" if sum(a is value for a in node.inputs) > 1 else ""
        return f"{start}{self._name(value)}_by_{self._name(node)}{which}"

    def _new(self, letter: str) -> str:
        while True:
            name = f"{letter}{self._numbered[letter]}"
            self._numbered[letter] += 1
            if name not in self._taken:
                self._taken.add(name)
                return name

    def _say(self, line: str, tensor: Any, known: bool = False) -> None:
        if not known:
            if self._heading:
                self.lines += [("", None), (self._heading, None)]
                self._heading = ""
            self.lines.append((line, tensor))


def _count_ways(events: list[tuple[Any, ...]]) -> dict[Any, int]:
    """The number of contributions to a value's adjoint."""
    ways: dict[Any, set[Any]] = {}
    for kind, *facts in events:
        if kind == "partial" and facts[1].needs:
            ways.setdefault(facts[1], set()).add(facts[0])
    return {value: len(nodes) for value, nodes in ways.items()}


def _start_text(adjoint: Tensor) -> str:
    """What a sweep starts from."""
    array = adjoint.numpy()
    if array.size != 1 and (array == 1).all():
        return f"ones({array.shape})"
    return _value_text(adjoint)


def _value_text(value: Any) -> str:
    """A value in one line; of a large one, its ends and its shape."""
    if isinstance(value, TensorTuple):
        return f"({', '.join(map(_value_text, value))})"
    array = np.asarray(value.numpy())
    if array.ndim == 0:
        return f"{array.item():.6g}"
    text = np.array2string(array, precision=4, separator=", ", threshold=8, edgeitems=2, max_line_width=1000)
    return " ".join(text.split()) + (f" of shape {array.shape}" if array.size > 8 else "")
