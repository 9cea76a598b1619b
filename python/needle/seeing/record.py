"""What was recorded, as a list of nodes with names: that of outputs, and that of their adjoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from .. import autograd
from ..autograd import DETACHED, GradientOf, Op, Tensor, Value, find_topo_sort, sweep
from ..watching import Watcher, unseen
from .fold import Graph, Path, fold, keep_together
from .names import written

ROLES = ("constant", "detached", "parameter")
"""Of leaves."""


class _Noticed(Watcher):
    """Keeps how each value was made, also where that is not recorded, because nothing in it needs a gradient."""

    def __init__(self) -> None:
        self.made: dict[Value, tuple[Op, tuple[Value, ...]]] = {}

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        self.made[output] = op, inputs


Group = Callable[[Value], str | None]


class Record:
    """The nodes that outputs were computed from, in evaluation order, and with `backward` those of the adjoints of all
    leaves. What `names` does not name is called v0, v1, ..., adjoints dL_dv0, where L is the output."""

    operations: list[Value]
    leaves: list[Value]

    def __init__(
        self, outputs: list[Value], names: dict[Value, str], *, backward: bool, group: Group | None, limit: int
    ):
        self.names = names
        self.group = group
        self.adjoints: dict[Value, list[str]] = {}
        """What each adjoint is the adjoint of, as names; one array may be several tensors' adjoint."""
        self.outputs = set(outputs)
        self.gradients: set[Value] = set()
        """The adjoints of leaves."""
        self._forward: set[Value] | None = None
        self._noticed = _Noticed()
        self._replayed: list[Value] = []
        self._numbers: dict[Value, int] = {}
        self._taken = {int(name[1:]) for name in names.values() if re.fullmatch(r"v[0-9]+", name)}
        self._next = 0
        self.nodes = find_topo_sort(outputs, attrgetter("inputs"))
        if len(self.nodes) > limit:
            self._reorder(outputs, limit)
        if backward:
            try:
                unseen(self._add_adjoints, outputs)
            except BaseException:
                self.restore()
                raise
        self._number()

    def _reorder(self, outputs: list[Value], limit: int) -> None:
        """Take the evaluation order that folds best. Which one the program took is not recorded, and what repeats in it
        may not repeat in another one: in that of `h = f(x[t]) + h` from the left, all f(x[t]) come before all sums."""
        height: dict[Value, int] = {}
        for node in self.nodes:
            height[node] = 1 + max([height[a] for a in node.inputs], default=0)
        orders: dict[tuple[int, ...], list[Value]] = {}
        for nodes in (
            self.nodes,
            find_topo_sort(outputs, lambda node: node.inputs[::-1]),
            find_topo_sort(outputs, lambda node: sorted(node.inputs, key=height.__getitem__, reverse=True)),
        ):
            orders.setdefault(tuple([id(node) for node in nodes if node.op is not None]), nodes)
        if len(orders) > 1:
            boxes = []
            for self.nodes in orders.values():
                folding = fold(self.graph(), limit)
                boxes.append(len(folding.boxes) + len(folding.frames))
            self.nodes = list(orders.values())[boxes.index(min(boxes))]

    def _number(self) -> None:
        for node in self.nodes:
            if node in self.names or node in self.adjoints or node in self._numbers:
                continue
            while self._next in self._taken:
                self._next += 1
            self._numbers[node] = self._next
            self._next += 1

    def name(self, node: Value) -> str:
        """The node's own name, which is also that of a tensor that is no node, if it has one; else ""."""
        if node in self.names:
            return self.names[node]
        if node in self._numbers:
            return f"v{self._numbers[node]}"
        return self.adjoints[node][0] if node in self.adjoints else ""

    def op(self, node: Value) -> Op | None:
        """What made a node; None for a leaf."""
        return self._noticed.made[node][0] if self._is_noticed(node) else node.op

    def inputs(self, node: Value) -> Sequence[Value]:
        return self._noticed.made[node][1] if self._is_noticed(node) else node.inputs

    def _is_noticed(self, node: Value) -> bool:
        return node.op is None and self.is_backward(node) and node in self._noticed.made

    def is_backward(self, node: Value) -> bool:
        """Whether it is there for the adjoints alone."""
        return self._forward is not None and node not in self._forward

    # Adjoints ------------------------------------------------------------------------------------------------

    def _add_adjoints(self, outputs: list[Any]) -> None:
        """Run the sweep that `backward()` runs, recording it, for all leaves and what lies between."""
        if not all(map(autograd.is_computed, self.nodes)):
            raise ValueError(
                "draw: backward=True needs values, and some are not computed yet (lazy mode); ask the output for its "
                "value before, with t.numpy()"
            )
        if not all(isinstance(output, Tensor) and output.needs for output in outputs):
            raise ValueError(
                "draw: backward=True needs Tensors that need a gradient, and got an output that does not; make what it "
                "is computed from with requires_grad=True"
            )
        if any(isinstance(node.op, GradientOf) for node in self.nodes):
            self.nodes = find_topo_sort(outputs, self._replayed_inputs)
        self._number()
        variables: list[Any] = [node for node in self.nodes if node.needs]
        with self._noticed:
            found = sweep({y: autograd.seed_of(y, None) for y in outputs}, variables, tensors=True, record=True)
            totals = {node: g if isinstance(g, tuple) else (g,) for node, g in found}
            for g in (g for total in totals.values() for g in total if g is not None):
                _ = g._array  # in lazy mode it would not be computed yet
        of = self.name(outputs[0]) if len(self.outputs) == 1 else "L"
        roots: list[Value] = list(outputs)
        in_sweep = [*outputs, *[a for node in reversed(self.nodes) for a in node.inputs]]
        for node in dict.fromkeys(in_sweep):
            total = totals.get(node, ())
            for i, g in enumerate(total):
                if g is not None:
                    roots.append(g)
                    self._name_adjoint(node, g, f"d{of}_d{self.name(node)}" + (f"[{i}]" if len(total) > 1 else ""))
        self._forward = set(self.nodes)
        self.nodes += [node for node in find_topo_sort(roots, self.inputs) if node not in self._forward]

    def _name_adjoint(self, node: Value, adjoint: Value, name: str) -> None:
        names = self.adjoints.setdefault(adjoint, [])
        if node.op is None:
            self.gradients.add(adjoint)
            names.insert(0, name)
        else:
            names.append(name)

    def _replayed_inputs(self, node: Value) -> Sequence[Value]:
        """The inputs of a node; those of a gradient (x.grad), which it is given when it is differentiated."""
        op = node.op
        if isinstance(op, GradientOf) and not node.inputs and node.needs:
            self._replayed += [node, *(view for view in op._gradient.pasts[-1].views() if not view.inputs)]
            op.replay(node)
        return node.inputs

    def restore(self) -> None:
        """Take from gradients the inputs that they were given here."""
        for node in self._replayed:
            node.inputs = ()

    # Numbers -------------------------------------------------------------------------------------------------

    def graph(self) -> Graph:
        """The nodes as numbers, for folding: those of `operations` and `leaves`."""
        group = self.group
        self.operations = [node for node in self.nodes if self.op(node) is not None]
        self.leaves = [node for node in self.nodes if self.op(node) is None]
        paths: list[Path] = []
        if group is not None:
            paths = [_path(group(node)) for node in self.operations]
            place = {node: k for k, node in enumerate(self.operations)}
            order = keep_together([[place[a] for a in self.inputs(n) if a in place] for n in self.operations], paths)
            self.operations, paths = [self.operations[k] for k in order], [paths[k] for k in order]
        place = {node: k for k, node in enumerate(self.operations)}
        place.update((node, -1 - i) for i, node in enumerate(self.leaves))
        inputs = [self.inputs(node) for node in self.operations]
        exact, kind = self._alike(inputs)
        roles = [role_of(leaf) for leaf in self.leaves]
        kinds: dict[Any, int] = {}
        leaf_kind = [kinds.setdefault((*signature(leaf), role_of(leaf)), len(kinds)) for leaf in self.leaves]
        return Graph(
            first=np.cumsum([0, *map(len, inputs)]),
            reads=np.array([place[a] for some in inputs for a in some], np.int64),
            exact=np.array(exact, np.int64),
            kind=np.array(kind, np.int64),
            leaf_kind=np.array(leaf_kind, np.int64),
            leaf_role=np.array([ROLES.index(role) for role in roles], np.int64),
            paths=paths,
            leaf_paths=[_path(group(leaf)) for leaf in self.leaves] if group is not None else [],
        )

    def _alike(self, inputs: list[Sequence[Value]]) -> tuple[list[int], list[int]]:
        """Numbers that are equal for operations that are written alike, and for those of the same class; both with
        results of the same shape and dtype."""
        texts: dict[tuple[int, int], str] = {}
        exact: dict[Any, int] = {}
        kinds: dict[Any, int] = {}
        numbers: tuple[list[int], list[int]] = ([], [])
        for node, some in zip(self.operations, inputs, strict=True):
            op = self.op(node)
            key = id(op), len(some)
            if key not in texts:
                texts[key] = "" if isinstance(op, GradientOf) or op is None else written(op, ["\0"] * len(some))
            kind = kinds.setdefault((type(op), len(some), self.is_backward(node), *signature(node)), len(kinds))
            numbers[0].append(exact.setdefault((texts[key], kind), len(exact)))
            numbers[1].append(kind)
        return numbers


def _path(name: Any) -> Path:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"draw: group must return a name or None, got {type(name).__name__}")
    return tuple(printable(part) for part in (name or "").split("/") if part.strip())


def printable(text: str) -> str:
    """A text that any file can hold, on one line."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split())) or "\ufffd"


def role_of(leaf: Value) -> str:
    return "constant" if not leaf.needs else "detached" if leaf.needs == DETACHED else "parameter"


def arrays_of(node: Value) -> Iterable[Any] | None:
    """The arrays that a value consists of; None if it was not computed: it is not computed here."""
    if not autograd.is_computed(node):
        return None
    array = node._array
    return array if isinstance(array, tuple) else (array,)


def signature(node: Value) -> tuple[Any, ...]:
    """What a value looks like, but for the numbers in it."""
    arrays = arrays_of(node)
    return (type(node), *(["deferred"] if arrays is None else [(array.shape, array.dtype) for array in arrays]))


def shape_of(node: Value, dtype: bool = False) -> str:
    """The shape (of a tuple, all of them), and the dtype: where it is not float64, unless asked for."""
    arrays = arrays_of(node)
    if arrays is None:
        return "not computed"
    kinds = dict.fromkeys(str(array.dtype) for array in arrays)
    named = ", ".join(kinds) if dtype or list(kinds) != ["float64"] else ""
    shapes = ", ".join(str(array.shape) for array in arrays)
    return (shapes if isinstance(node, Tensor) else f"[{shapes}]") + (f" {named}" if named else "")


def size_of(node: Value) -> float:
    """The number of elements; infinite while they are not computed."""
    arrays = arrays_of(node)
    return float("inf") if arrays is None else sum(array.size for array in arrays)


def value_of(node: Value) -> str:
    """The value on one line: all of a small array, the corners of a large one."""
    arrays = arrays_of(node)
    if arrays is None:
        return "not computed"
    with np.printoptions(precision=4, threshold=8, edgeitems=2, linewidth=10**6):
        return "; ".join(" ".join(str(array).split()) for array in arrays)
