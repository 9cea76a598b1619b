"""Drawing what was recorded: `needle.draw(loss)` as SVG, DOT and Mermaid, and by itself in a notebook."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from .. import autograd
from ..autograd import DETACHED, GradientOf, Tensor, Value, Wrapped
from . import pictures
from .fold import Box, Folding, Graph, fold
from .names import names_in, user_frame, written
from .pictures import Arrow, Frame, Picture
from .record import ROLES, Record, printable, role_of, shape_of, size_of, value_of

_LINE = 46
"""Characters of a box's line, the rest is in its title; of a name in it, half as many."""
_SMALL = 8
"""Elements of an array whose values are shown."""
_FORMATS = {".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".md": "mermaid"}


class Drawing:
    """A drawn graph. `.svg`, `.dot` and `.mermaid` are strings, made when they are first asked for; a notebook shows
    the first. It keeps texts and numbers, and no tensor alive."""

    def __init__(self, picture: Picture):
        self.picture = picture

    @cached_property
    def svg(self) -> str:
        return pictures.svg(self.picture)

    @cached_property
    def dot(self) -> str:
        return pictures.dot(self.picture)

    @cached_property
    def mermaid(self) -> str:
        return pictures.mermaid(self.picture)

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file: .svg, .dot or .gv (Graphviz), .mmd (Mermaid) or .md (the same, fenced for Markdown).

        The file is there whole or not at all. Raises ValueError for another extension.
        """
        path = os.fspath(path)
        ending = os.path.splitext(path)[1].lower()
        kind = _FORMATS.get(ending)
        if kind is None:
            raise ValueError(
                f"Drawing.save: the name must end in {', '.join(_FORMATS)}, got {os.path.basename(path)!r}"
            )
        text: str = getattr(self, kind)
        if ending == ".md":
            text = f"```mermaid\n{text}```\n"
        part = f"{path}.{os.getpid()}-{threading.get_ident()}.part"
        try:
            with open(part, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.replace(part, path)
        finally:
            with suppress(FileNotFoundError):
                os.remove(part)

    def __repr__(self) -> str:
        nodes = sum(box.nodes for box in self.picture.boxes)
        folded = sum(box.folded for box in self.picture.boxes) + sum(f.rounds > 1 for f in self.picture.frames)
        what = f"{_many(nodes, 'node')} in {_many(len(self.picture.boxes), 'box', 'boxes')}"
        return f"<needle.Drawing of {what}{f', {folded:,} folded' if folded else ''}>"


def draw(
    outputs: Value | Sequence[Value],
    *,
    backward: bool = False,
    names: Mapping[str, Tensor] | None = None,
    values: bool = False,
    group: Callable[[Value], str | None] | None = None,
    limit: int = 60,
) -> Drawing:
    """Draw the recorded graph of a Tensor, or of several, from the leaves down to the outputs.

    `backward` adds the graph of the adjoints of all leaves, as `backward()` computes them: dL_dW is the one of W, where
    L is the output. Nothing is left behind: no `.grad` is set. `names` are names for tensors; others go by the caller's
    variables, and else by v0, v1, ... in evaluation order. `values` shows the values of small arrays. `group` gives a
    node the name of a box to be drawn in ("encoder/layer1": the one in the other), or None.

    More than about `limit` boxes are folded: groups first, then rounds that repeat are drawn once (a loop, equal
    layers), at last stretches of operations are put together. Deferred values are shown as not computed, and stay so.
    Raises TypeError for what is no Tensor, ValueError for a Tensor without a record.

    >>> import needle
    >>> from needle.seeing.draw import draw
    >>> a, b = needle.Tensor([1.0, 2.0]), needle.Tensor([3.0, 4.0])
    >>> y = (a + b) * b
    >>> drawing = draw(y)
    >>> drawing
    <needle.Drawing of 4 nodes in 4 boxes>
    >>> print("\\n".join(drawing.mermaid.splitlines()[1:5]))
      n0["v0 = a + b<br/>(2,)"]
      n1["y = v0 * b<br/>(2,)"]
      n2(["a<br/>(2,)"])
      n3(["b<br/>(2,)"])
    """
    found = _checked(outputs)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(f"draw: limit must be a number of boxes, 1 or more, got {limit!r}")
    record = Record(found, names_in(user_frame()) | _given(names), backward=backward, group=group, limit=limit)
    try:
        graph = record.graph()
        return Drawing(_Texts(record, graph, fold(graph, limit), values).picture())
    finally:
        record.restore()


def _checked(outputs: Any) -> list[Value]:
    if isinstance(outputs, Value):
        outputs = [outputs]
    if isinstance(outputs, (str, bytes, Mapping)) or not isinstance(outputs, Iterable):
        raise TypeError(f"draw: needs a Tensor or a sequence of them, got {type(outputs).__name__}")
    found = list(outputs)
    if not found:
        raise ValueError("draw: needs a Tensor or a sequence of them, got an empty sequence")
    for output in found:
        if not isinstance(output, Value):
            raise TypeError(f"draw: needs a Tensor or a sequence of them, got a {type(output).__name__} among them")
        if isinstance(output, Wrapped):
            raise ValueError(
                f"draw: this tensor of shape {output.shape} belongs to a transform that is running (grad, jvp, ...); "
                "draw the function's output outside of it"
            )
        if output.op is None:
            why = {
                autograd.CONSTANT: "no operation on it was recorded; make what it is computed from with "
                "requires_grad=True, outside of no_grad()",
                DETACHED: "it was detached; draw the tensor that it was detached from",
            }.get(output.needs, "it is a leaf; draw what is computed from it")
            shape = output.shape if isinstance(output, Tensor) else "a tuple"
            raise ValueError(f"draw: this Tensor of shape {shape} has no record: {why}")
    return found


def _given(names: Any) -> dict[Value, str]:
    if names is not None and not isinstance(names, Mapping):
        raise TypeError(f"draw: names must be a dict of names and Tensors, got {type(names).__name__}")
    given: dict[Value, str] = {}
    for name, value in (names or {}).items():
        if not isinstance(name, str) or not isinstance(value, Value):
            raise TypeError(
                f"draw: names must be a dict of names and Tensors, got {type(name).__name__}: {type(value).__name__}"
            )
        given.setdefault(value, printable(name))
    return given


# ------------------------------------------------------------------------------------------------------- the texts


def _many(number: int, one: str, more: str = "") -> str:
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def _cut(text: str, longest: int = _LINE) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "\u2026"


def _first_and_last(first: str, last: str) -> str:
    return first if first == last else f"{first} \u2026 {last}"


def _word(op: Any) -> str:
    """What kind of operation it is, in a word: a ufunc's name, or the class's."""
    return printable(str(getattr(op, "ufunc", None) or type(op).__name__.lower().lstrip("_")))


class _Texts:
    """What stands in the boxes."""

    def __init__(self, record: Record, graph: Graph, folding: Folding, values: bool):
        self.record, self.graph, self.folding, self.values = record, graph, folding, values
        self.sizes = np.bincount(np.concatenate([folding.box_of, folding.leaf_box_of]), minlength=len(folding.boxes))
        shown = record.outputs | record.gradients
        self.outputs = {int(folding.box_of[k]) for k, node in enumerate(record.operations) if node in shown}
        self.outputs |= {int(folding.leaf_box_of[i]) for i, node in enumerate(record.leaves) if node in shown}

    def picture(self) -> Picture:
        boxes = [self._box(b, box) for b, box in enumerate(self.folding.boxes)]
        frames = [self._frame(f) for f in range(len(self.folding.frames))]
        return Picture(boxes, frames, self._arrows())

    def _box(self, b: int, box: Box) -> pictures.Box:
        if box.leaves is not None:
            return self._leaf(b, box, box.leaves) if len(box.leaves) == 1 else self._leaves(b, box, box.leaves)
        return self._operation(b, box) if box.scope is None else self._stretch(b, box)

    def _made(
        self, b: int, role: str, name: str, lines: list[str], title: list[str], *, at: float, folded: bool = False
    ) -> pictures.Box:
        frame, size, output = self.folding.boxes[b].frame, int(self.sizes[b]), b in self.outputs
        return pictures.Box(role, name, tuple(lines), "\n".join(title), frame, at, size, output, folded)

    def _operation(self, b: int, box: Box) -> pictures.Box:
        record = self.record
        node = record.operations[box.at]
        last = record.operations[self.folding.last(box.at, box.frame)]
        text = self._as_written(node, node, _LINE // 2)
        text = _first_and_last(text, self._as_written(last, node, _LINE // 2))
        name = _first_and_last(*[_cut(record.name(each), _LINE // 2) for each in (node, last)])
        line = f"{self._names(node)} = {text}"
        lines = [_cut(line if last is node and len(line) <= _LINE else f"{name} = {text}"), _cut(shape_of(node))]
        title = [f"{self._names(node, 99)} = {self._as_written(node, node)}", shape_of(node, True), value_of(node)]
        if last is not node:
            title += [f"{int(self.sizes[b]):,} times; the last one:"]
            title += [f"{self._names(last, 99)} = {self._as_written(last, last)}", value_of(last)]
        if self.values and size_of(node) <= _SMALL:
            lines.append(_cut(value_of(node)))
        role = "adjoint" if record.is_backward(node) else "operation"
        return self._made(b, role, record.name(node), lines, title, at=box.at)

    def _names(self, node: Value, number: int = 2) -> str:
        """A node's name; those of an adjoint that is several tensors'."""
        names = [self.record.name(node)]
        names += [name for name in self.record.adjoints.get(node, ()) if name not in names]
        return " = ".join([_cut(name, _LINE // 2) for name in names[:number]])

    def _as_written(self, node: Value, named: Value, longest: int = 10**9) -> str:
        """The node's operation on the inputs of another one like it."""
        op = self.record.op(node)
        assert op is not None
        names = [_cut(self.record.name(a), longest) for a in self.record.inputs(named)]
        if isinstance(op, GradientOf):
            return f"gradient({_cut(self.record.name(op.variable), longest)})"
        return printable(written(op, names))

    def _leaf(self, b: int, box: Box, leaves: Any) -> pictures.Box:
        leaf = self.record.leaves[int(leaves[0])]
        name = self._names(leaf)
        plain = leaf not in self.record.names and leaf not in self.record.adjoints and size_of(leaf) == 1
        lines = [_cut(f"{name} = {value_of(leaf)}" if plain else name), _cut(shape_of(leaf))]
        if self.values and size_of(leaf) <= _SMALL and not plain:
            lines.append(_cut(value_of(leaf)))
        title = [self._names(leaf, 99), shape_of(leaf, True), value_of(leaf)]
        return self._made(b, role_of(leaf), self.record.name(leaf), lines, title, at=self._before_readers(b, box))

    def _leaves(self, b: int, box: Box, leaves: Any) -> pictures.Box:
        nodes = [self.record.leaves[i] for i in leaves.tolist()]
        roles = Counter(map(role_of, nodes))
        role = min(roles, key=ROLES[::-1].index)
        words = {"detached": "detached tensor"}
        what = ", ".join(_many(number, words.get(kind, kind)) for kind, number in roles.items())
        names = [self.record.names[node] for node in nodes if node in self.record.names]
        shapes = Counter(map(shape_of, nodes))
        main = f"{names[0]} \u2026 {names[-1]}" if len(names) == len(nodes) else what
        each = ", ".join(f"{number:,} \u00d7 {shape}" for shape, number in shapes.most_common(4))
        title = [what, each, *[f"{self.record.name(node)} {shape_of(node, True)}" for node in nodes[:20]]]
        title += ["..."] if len(nodes) > 20 else []
        lines = [_cut(main), _cut(each)]
        return self._made(b, role, lines[0], lines, title, at=self._before_readers(b, box), folded=True)

    def _before_readers(self, b: int, box: Box) -> float:
        """A place in the order of this leaf's frame in front of all that reads it there."""
        folding = self.folding
        slots = np.flatnonzero(self.graph.reads < 0)
        readers = self.graph.owner[slots[folding.leaf_box_of[-1 - self.graph.reads[slots]] == b]]
        order = float(self.graph.size)
        for t in np.unique(folding.box_of[readers]).tolist():
            at, frame = folding.boxes[t].at, folding.boxes[t].frame
            while frame != box.frame:
                at, frame = folding.frames[frame].start, folding.parents[frame]
            order = min(order, at)
        return order - 0.5

    def _stretch(self, b: int, box: Box) -> pictures.Box:
        """A closed scope: a group, or consecutive operations."""
        scope = box.scope
        assert scope is not None
        operations = self.record.operations
        nodes = operations[scope.start : scope.stop]
        backward = all(map(self.record.is_backward, nodes))
        counts = Counter(_word(self.record.op(node)) for node in nodes)
        rounds = f"{scope.count:,} \u00d7 " if scope.count > 1 else ""
        what = f"{rounds}{_many(scope.period, 'operation')}"
        hidden = int((self.folding.leaf_box_of == b).sum())
        what += f", {_many(hidden, 'tensor')}" if hidden else ""
        each = ", ".join(f"{number:,} {word}" for word, number in counts.most_common())
        lines = [what, _cut(each)]
        if scope.path:
            lines.insert(0, _cut(self._scope_name(scope.path, scope.start, box.frame, scope.count, scope.period)))
        title = [*lines[:-1], each, f"from {self.record.name(nodes[0])} to {self.record.name(nodes[-1])}"]
        return self._made(b, "adjoint" if backward else "operation", lines[0], lines, title, at=box.at, folded=True)

    def _scope_name(self, path: tuple[str, ...], start: int, frame: int, count: int, period: int) -> str:
        """The last part of a group's path; of several rounds, the first one's and the last one's."""
        last = self.graph.paths[self.folding.last(start, frame) + (count - 1) * period]
        return _first_and_last(path[-1], last[len(path) - 1] if len(last) >= len(path) else path[-1])

    def _frame(self, f: int) -> Frame:
        scope, parent = self.folding.frames[f], self.folding.parents[f]
        total = _many(self.graph.size + len(self.graph.leaf_kind), "node")
        if not f:
            of = ", ".join(sorted({_cut(self.record.name(output)) for output in self.record.outputs})[:4])
            return Frame(f"The graph of {of}: {total}", "", -1, 0.0)
        outer = self.folding.frames[parent].path
        parts = []
        if len(scope.path) > len(outer):
            name = self._scope_name(scope.path, scope.start, parent, scope.count, scope.period)
            parts.append("/".join([*scope.path[len(outer) : -1], name]))
        if scope.count > 1:
            parts.append(f"\u00d7 {scope.count:,}")
        operations = _many(scope.period, "operation")
        title = f"{scope.count:,} rounds of {operations}" if scope.count > 1 else operations
        return Frame(_cut("  ".join(parts)), "\n".join([*parts, title]), parent, scope.start, scope.count)

    def _arrows(self) -> list[Arrow]:
        """One arrow between two boxes, whatever number of values takes this way."""
        graph, folding = self.graph, self.folding
        sources, targets, rounds = folding.arrows(graph)
        closed = np.array([box.scope is not None for box in folding.boxes])
        shown = (sources != targets) | ~closed[targets]
        triples = np.stack([sources, targets, rounds])[:, shown]
        unique, first, which = np.unique(triples, axis=1, return_index=True, return_inverse=True)
        labels = self._labels(closed, unique, which.reshape(-1), graph.reads[shown])
        order = np.argsort(first)
        columns = unique.T.tolist()
        return [Arrow(a, b, frame, labels.get(i, "")) for i in order.tolist() for a, b, frame in [columns[i]]]

    def _labels(self, closed: Any, unique: Any, which: Any, reads: Any) -> dict[int, str]:
        """What goes from closed boxes to others: they do not show the shapes of what is in them."""
        labels: dict[int, str] = {}
        from_closed = closed[unique[0][which]] & (reads >= 0)
        pairs = np.unique(np.stack([which[from_closed], reads[from_closed]]), axis=1)
        starts = np.flatnonzero(np.diff(pairs[0], prepend=-1))
        for a, b in pairwise([*starts.tolist(), pairs.shape[1]]):
            shapes = {shape_of(self.record.operations[k]) for k in pairs[1, a : min(b, a + 50)].tolist()}
            several = f"{b - a:,} \u00d7 " if b - a > 1 else ""
            labels[int(pairs[0, a])] = f"{several}{shapes.pop()}" if len(shapes) == 1 else _many(b - a, "tensor")
        return labels
