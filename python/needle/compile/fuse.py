"""Which nodes run together, block by block: chains of element-wise ops, and the reductions in and after them.

The values of a Group share a number of *rows*: the common length of their leading axes, flattened to one. A block of
rows goes through all of the group's ops while it is in the caches. To a group, a value is one of these:

- ROWS: its rows are those of the group; each block sees its own;
- WHOLE: made elsewhere, and the same for each block, because it is broadcast along the rows;
- TOTAL: a reduction over all rows, combined from the blocks' parts, and so complete only when the group is;
- PAIR: a loss (TOTAL) with the probabilities or its gradient (ROWS).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

import numpy as np

from .. import sums
from ..autograd import GradientOf
from ..ops.base import reduced_axes
from ..ops.discrete import Discrete
from ..ops.moments import Std, Var
from ..ops.reduction import Max, Min, NanMax, NanMin, Prod, Summation
from ..ops.shape import BroadcastTo, Reshape
from ..ops.softmax import LogSoftmax, LogSumExp, SlopeOfSoftmax, Softmax, SoftmaxLoss, are_labels
from ..ops.tuples import TupleGetItem
from .graph import Node
from .simplify import LossAndGradient, LossAndProbabilities

ROWS, WHOLE, TOTAL, PAIR = "rows", "whole", "total", "pair"

LARGE = sums.LARGE
"""Bytes from which on an array is worth running in blocks."""
WORTH = 1 << 20
"""Bytes that a group's ops read or write, from which on the group pays."""
ALONE = 1 << 22
"""The same for a group of one op, which gains from threads only."""
LONGEST_ROW = 1 << 18
"""The most bytes of a row, of which a block has at least one."""
MOST_ALIVE = 24
"""Values that a group may hold at a time; with more, blocks would become too small."""
TOGETHER = 1 << 20
"""The most bytes of rows that a sum may need to have together in one block."""

_BY_AXES = (Summation, Max, Min, NanMax, NanMin, Prod, Var, Std, Softmax, SlopeOfSoftmax, LogSoftmax, LogSumExp)
"""Ops over axes that act on each row alone, if their axes come after the rows'."""
EXTREMA = (Max, Min, NanMax, NanMin)
TOTALS = (Summation, *EXTREMA)
"""Reductions over all rows that can be put together from those of blocks."""
LOSSES = (SoftmaxLoss, LossAndProbabilities, LossAndGradient)
SUMS = (Summation, Var, Std, Softmax, SlopeOfSoftmax, LogSoftmax, LogSumExp, *LOSSES)
"""Ops that add up numbers."""
SEVERAL_PASSES = (*LOSSES, Softmax, SlopeOfSoftmax, LogSoftmax, LogSumExp, Var, Std)
RENAMED = (Reshape, BroadcastTo)
"""Views, which cost a group nothing."""


class Group:
    """Nodes that run together, sorted; what they read from elsewhere, and what others read of them."""

    __slots__ = ("inputs", "nodes", "outputs", "rows")

    def __init__(self, nodes: list[Node], inputs: list[Node], outputs: list[Node], rows: int):
        self.nodes = nodes
        self.inputs = inputs
        self.outputs = outputs
        self.rows = rows

    def __repr__(self) -> str:
        return f"<{len(self.nodes)} ops on {self.rows} rows: {', '.join(repr(node.op) for node in self.nodes)}>"


def leading(shape: tuple[int, ...], rows: int) -> int | None:
    """How many leading axes make this many rows; None if no number of axes does."""
    product = 1
    for i, n in enumerate(shape):
        product *= n
        if product == rows:
            return i + 1
    return None


def operand(shape: tuple[int, ...], of: tuple[int, ...], rows: int) -> tuple[str, tuple[int, ...]] | None:
    """The role of an operand in an element-wise op with an output of shape `of`, and its shape in a row; None if it
    cannot be cut into the same blocks."""
    lead = leading(of, rows)
    if lead is None:
        return None
    shape = (1,) * (len(of) - len(shape)) + shape
    if shape[:lead] == of[:lead]:
        return ROWS, shape[lead:]
    return (WHOLE, shape[lead:]) if all(n == 1 for n in shape[:lead]) else None


def is_elementwise(node: Node) -> bool:
    """Whether an element of the output depends only on the operands' elements in its place."""
    op = node.op
    if isinstance(op, Discrete):
        if op.function is np.ndarray.astype:
            return set(op.options) == {"dtype"} and not op.more
        f = op.function
        numbers = not any(isinstance(a, np.ndarray) for a in op.more)
        return isinstance(f, np.ufunc) and f.nout == 1 and numbers and not op.options
    if op is None or not op.elementwise or node.shape is None or type(op) is GradientOf:
        return False
    if any(isinstance(value, np.ndarray) and value.ndim for value in _attributes(op)):
        return False  # it has an operand of its own, like the bounds of Clip
    try:
        return np.broadcast_shapes(*[a.shape for a in node.inputs]) == node.shape
    except (ValueError, TypeError):
        return False


def _attributes(op: Any) -> Iterator[Any]:
    for base in type(op).__mro__:
        for name in vars(base).get("__slots__", ()):
            yield getattr(op, name, None)
    yield from getattr(op, "__dict__", {}).values()


def rows_after(op: Any, shape: tuple[int, ...], rows: int) -> tuple[str, tuple[int, ...]] | None:
    """The role of the output of an op over axes, for an input of this shape: ROWS, with the op's axes in a block; or
    TOTAL, with the axes that it reduces in a block. Else None."""
    lead = leading(shape, rows)
    if lead is None:
        return None
    axes = reduced_axes(op, op.axes, len(shape))
    after = tuple([axis - lead + 1 for axis in axes if axis >= lead])
    if len(after) == len(axes):
        return ROWS, after
    return (TOTAL, (0, *after)) if len(axes) - len(after) == lead and type(op) in TOTALS else None


def runs_of_sum(op: Any, a: Node) -> sums.Runs | None:
    """The runs in which an op adds up a value; None if it adds by pairs."""
    dtype = np.dtype(np.float32) if a.dtype.char == "e" else a.dtype
    axes = (len(a.shape) - 1,) if type(op) in LOSSES else reduced_axes(op, op.axes, len(a.shape))
    return sums.runs_of(a.shape, dtype, axes) if axes and a.nbytes >= sums.LARGE else None


def together(op: Any, a: Node, rows: int) -> int:
    """How many rows of a value must lie in one block, for the op to add up the runs of the whole value."""
    runs = runs_of_sum(op, a) if adds_up(op, a) else None
    return 1 if runs is None else runs.together(rows)


def adds_up(op: Any, a: Node) -> bool:
    """Whether an op adds up numbers of this value, so that its last digits depend on the order."""
    return type(op) in SUMS and (type(op) is not Summation or a.dtype.kind in "fc")


def _adds_in_blocks(op: Any, a: Node, role: str, rows: int) -> bool:
    """Whether blocks of rows give the very digits of the op on the whole value."""
    if a.axes != ():
        return False
    runs = runs_of_sum(op, a)
    if runs is None:
        return role == ROWS and (type(op) is Summation or (a.nbytes >= sums.LARGE and a.dtype.kind == "f"))
    if together(op, a, rows) * a.nbytes // rows > TOGETHER:
        return False
    return runs.along_rows if role == ROWS else not (runs.along_rows or runs.other or a.dtype.char == "e")


def fits(node: Node, rows: int, made: dict[Node, str]) -> str | None:
    """The node's role in a group of so many rows that has made these values; None if it does not fit."""
    op, shape = node.op, node.shape
    if type(op) in LOSSES:
        a, b = node.inputs
        lead = leading(a.shape[:-1], rows)
        if lead is None or made.get(a, ROWS) != ROWS or made.get(b, ROWS) != ROWS:
            return None
        if not _adds_in_blocks(op, a, ROWS, rows):
            return None
        if not are_labels(b, a) and (a.shape != b.shape or np.result_type(a, b) != a.dtype):
            return None
        return TOTAL if type(op) is SoftmaxLoss else PAIR
    if isinstance(op, TupleGetItem) and made.get(node.inputs[0]) == PAIR:
        return ROWS if op.index else TOTAL
    if shape is None or any(a.shape is None for a in node.inputs):
        return None
    if type(op) is Reshape:
        a = node.inputs[0]
        known = made.get(a) == ROWS and type(a.op) is not BroadcastTo
        return ROWS if known and leading(shape, rows) is not None else None
    if type(op) in _BY_AXES:
        a, *others = node.inputs
        found = rows_after(op, a.shape, rows)
        if found is None or made.get(a, ROWS) != ROWS:
            return None
        for b in others:
            if (b.shape, b.dtype, b.axes) != (a.shape, a.dtype, a.axes) or made.get(b, ROWS) != ROWS:
                return None
        return found[0] if not adds_up(op, a) or _adds_in_blocks(op, a, found[0], rows) else None
    if type(op) is not BroadcastTo and not is_elementwise(node):
        return None
    for a in node.inputs:
        found = operand(a.shape, shape, rows)
        if found is None or (a in made and (made[a] != ROWS or found[0] != ROWS)):
            return None
    return ROWS


def row_bytes(nodes: Iterable[Node], rows: int) -> int:
    """The bytes of the longest row of these values."""
    return max((node.nbytes // rows for node in nodes), default=0)


def work_of(nodes: Iterable[Node]) -> int:
    """The bytes that ops read or write; ops of several passes count more than once."""
    work = 0
    for node in nodes:
        if type(node.op) not in RENAMED:
            passes = 8 if isinstance(node.op, SEVERAL_PASSES) else 1
            work += passes * max(a.nbytes for a in (node, *node.inputs))
    return work


class _Open:
    """A group that is still growing, with the numbers of rows that it might have."""

    __slots__ = ("alive", "choices", "nodes", "taken")

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.choices: list[tuple[int, dict[Node, str]]] = []
        self.taken: set[Node] = set()  # repeated values, which may also stand elsewhere
        self.alive: dict[Node, int] = {}  # its values, and how many uses are left

    def choices_with(self, node: Node) -> list[tuple[int, dict[Node, str]]]:
        """The numbers of rows that remain possible with this node, each with the roles of the node and of the repeated
        values that it brings along: to the group, those are no arrays."""
        found = []
        for rows, made in self.choices:
            new: dict[Node, str] = {}
            for a in node.inputs:
                if a not in made and type(a.op) is BroadcastTo and fits(a, rows, made) == ROWS:
                    new[a] = ROWS
            what = fits(node, rows, {**made, **new} if new else made)
            if what is not None and row_bytes((node, *node.inputs), rows) <= LONGEST_ROW:
                found.append((rows, {**new, node: what}))
        return found

    def add(self, node: Node, choices: list[tuple[int, dict[Node, str]]], uses: dict[Node, int]) -> None:
        made = dict(self.choices)
        for rows, new in choices:
            made[rows].update(new)
        self.choices = [(rows, made[rows]) for rows, _ in choices]
        new = choices[0][1]
        self.nodes += new
        self.taken.update(a for a in new if a is not node)
        if new[node] == ROWS and type(node.op) not in RENAMED:
            self.alive[node] = uses.get(node, 0)

    def made(self) -> dict[Node, str]:
        """The values that it makes, with their roles."""
        return self.choices[0][1]

    def used(self, a: Node) -> None:
        if a in self.alive:
            self.alive[a] -= 1
            if self.alive[a] <= 0:
                del self.alive[a]

    def is_full(self) -> bool:
        if len(self.alive) <= MOST_ALIVE:
            return False
        sizes = [a.nbytes for a in self.alive]
        return sum(sizes) > MOST_ALIVE * max(sizes)


def _begun(node: Node) -> _Open | None:
    """A new group around this node, if it can begin one."""
    shapes = {a.shape for a in (node, *node.inputs) if a.shape is not None and a.nbytes >= LARGE}
    if not shapes or type(node.op) in RENAMED:
        return None
    shape = max(shapes, key=prod)
    group, rows = _Open(), 1
    for n in shape:
        rows *= n
        if rows > 1 and (not group.choices or rows != group.choices[0][0]):
            group.choices.insert(0, (rows, {}))
    return group if group.choices_with(node) else None


def groups(order: list[Node], outputs: set[Node]) -> list[Node | Group]:
    """The sorted nodes as single ones and groups, in a valid order and without what nobody needs. A view that both a
    group and others use stands in the group and by itself."""
    grouping = _Grouping()
    for node in order:
        for a in node.inputs:
            grouping.uses[a] = grouping.uses.get(a, 0) + 1
    for node in order:
        grouping.put(node)
    grouping.sink(outputs)
    return _closed(grouping.items, grouping.attached, outputs)


NOT_LONG = 4
"""Items between two uses of a value that is worth keeping in between."""


class _Grouping:
    """Items, single nodes and groups, in the order of their computation: item k stands at 2 k. Small values and views
    are attached to the last item that they need, and stand at 2 k + 1."""

    def __init__(self) -> None:
        self.items: list[Node | _Open] = []
        self.attached: list[list[Node]] = [[]]
        self.place: dict[Node, int] = {}
        self.uses: dict[Node, int] = {}
        """The number of uses of a value."""
        self._readers: dict[Node, list[Node]] = {}
        self._groups: dict[Node, list[int]] = {}
        """The groups that make or read a value."""
        self._apart: set[tuple[int, int]] = set()
        """Pairs of groups that are known not to go together."""

    def put(self, node: Node) -> None:
        first = max([self.place.get(a, -1) for a in node.inputs], default=-1)
        home = None
        if node.op is not None:
            home = self._home(node, first)
            if home is None and (begun := _begun(node)) is not None:
                home = self._append(begun)
        if home is not None:
            group: Any = self.items[home]
            group.add(node, group.choices_with(node), self.uses)
            self._note(node, group, home)
            for k in sorted({k for a in node.inputs for k in self._groups.get(a, ()) if k < home}):
                self._join(k, home)
        elif _is_light(node):
            self.place[node] = first | 1
            self.attached[first // 2 + 1].append(node)
        else:
            self.place[node] = 2 * self._append(node)
        for a in node.inputs:
            self._readers.setdefault(a, []).append(node)
            there = self.items[self.place[a] // 2] if self.place.get(a, -1) >= 0 else None
            if isinstance(there, _Open):
                there.used(a)

    def _append(self, item: Node | _Open) -> int:
        self.items.append(item)
        self.attached.append([])
        return len(self.items) - 1

    def _note(self, node: Node, group: _Open, k: int) -> None:
        """Note that the node is in group k."""
        self.place[node] = 2 * k + (group.made()[node] == TOTAL)
        for a in (node, *node.inputs):
            if a is node or a.nbytes >= LARGE or group.made().get(a) == PAIR:
                known = self._groups.setdefault(a, [])
                if k not in known:
                    known.append(k)

    def _home(self, node: Node, first: int) -> int | None:
        """The best group for the node: the last one that shares a value with it."""
        near = {k for a in node.inputs for k in self._groups.get(a, ()) if 2 * k >= first}
        belongs = isinstance(node.op, TupleGetItem)  # to where the tuple is
        for k in sorted(near, reverse=True):
            group = self.items[k]
            if isinstance(group, _Open) and (belongs or not group.is_full()) and group.choices_with(node):
                return k
        return None

    def _join(self, k: int, home: int) -> None:
        """Merge group k into a later one, if nobody in between needs what it makes."""
        first, second = self.items[k], self.items[home]
        if (k, home) in self._apart or not isinstance(first, _Open) or not isinstance(second, _Open) or not first.nodes:
            return
        if len(first.alive) + len(second.alive) > MOST_ALIVE:
            return
        own = [node for node in first.nodes if node not in first.taken]
        inside = set(own)
        for node in own:
            if any(self.place[a] < 2 * home and a not in inside for a in self._readers.get(node, ())):
                return
        self._apart.add((k, home))
        both = _Open()
        both.choices = [(rows, {}) for rows in dict(first.choices) if rows in dict(second.choices)]
        for node in (*first.nodes, *second.nodes):
            if both.choices and node in both.made():
                continue
            choices = both.choices_with(node)
            if not choices:
                return
            both.add(node, choices, {})
        if _most_alive(both.nodes) > MOST_ALIVE:
            return
        both.taken = (first.taken | second.taken).difference(own, set(second.nodes) - second.taken)
        both.alive = {**first.alive, **second.alive}
        self.items[k], self.items[home] = _Open(), both
        for node in own:
            self._note(node, both, home)
            for a in (node, *node.inputs):
                if k in self._groups.get(a, ()):
                    self._groups[a].remove(k)

    def sink(self, outputs: set[Node]) -> None:
        """Move a value that only one later group reads into that group, if its inputs are kept until then
        anyway: computed there, the mask that the gradient of a relu reads needs no memory."""
        for k, group in enumerate(self.items):
            if isinstance(group, _Open):
                for node in [a for a in group.nodes if a not in outputs and a not in group.taken and is_elementwise(a)]:
                    homes = {self.place[a] // 2 for a in self._readers.get(node, ())}
                    home = homes.pop() if len(homes) == 1 else k
                    if home > k and all(a.nbytes < LARGE or self._is_kept(a, home, node, outputs) for a in node.inputs):
                        self._move(node, group, home)

    def _is_kept(self, a: Node, until: int, node: Node, outputs: set[Node]) -> bool:
        """Whether another reader needs the value, or a view of it, then, later, or shortly before: as a weight's
        gradient does, which comes before the mask of the relu below it."""
        if a in outputs:
            return True
        for b in self._readers.get(a, ()):
            if b is not node and (
                self.place[b] >= 2 * (until - NOT_LONG) or (b.bases and self._is_kept(b, until, node, outputs))
            ):
                return True
        return False

    def _move(self, node: Node, group: _Open, home: int) -> None:
        old, new = self.items[home], _Open()
        if not isinstance(old, _Open) or any(a not in old.made() for a in self._readers[node]):
            return
        new.choices = [(rows, {}) for rows, _ in old.choices]
        for a in (node, *old.nodes):
            if a not in new.made():
                choices = new.choices_with(a)
                if not choices:
                    return
                new.add(a, choices, {})
        new.taken |= old.taken
        self.items[home] = new
        self.place[node] = 2 * home
        group.nodes.remove(node)


def _is_light(node: Node) -> bool:
    """Whether it takes little memory and next to no time, so that it may be computed any time before it is needed."""
    if node.op is None or type(node.op) in RENAMED:
        return True
    return node.shape is not None and all(a.nbytes < LARGE for a in (node, *node.inputs))


def _most_alive(nodes: list[Node]) -> float:
    """The most memory held while these are computed, in units of the largest value."""
    last = {a: k for k, node in enumerate(nodes) for a in (node, *node.inputs)}
    made: dict[int, int] = {}
    largest = max(node.nbytes for node in nodes)
    alive = most = 0
    for k, node in enumerate(nodes):
        alive += node.nbytes
        most = max(most, alive)
        made[last[node]] = made.get(last[node], 0) + node.nbytes
        alive -= made.get(k, 0)
    return most / max(largest, 1)


def _closed(items: list[Node | _Open], attached: list[list[Node]], outputs: set[Node]) -> list[Node | Group]:
    """The items in order, without what nobody needs; built from the end."""
    needed = set(outputs)
    found: list[Node | Group] = []
    for k in range(len(items), -1, -1):
        last: list[Node | Group] = []
        for node in reversed(attached[k]):
            _keep(node, needed, last)
        if k:
            item = items[k - 1]
            if isinstance(item, _Open) and work_of(item.nodes) < (WORTH if len(item.nodes) > 1 else ALONE):
                for node in reversed(item.nodes):
                    if node not in item.taken:
                        _keep(node, needed, last)
            elif isinstance(item, _Open):
                for node in reversed(item.nodes):
                    if type(node.op) in RENAMED and node not in item.taken:  # others make the view themselves
                        _keep(node, needed, last)
                last += _groups_of(item, needed)
            else:
                _keep(item, needed, last)
        found += last
    found.reverse()
    return found


def _keep(node: Node, needed: set[Node], found: list[Node | Group]) -> None:
    if node in needed or node.op is None:
        found.append(node)
        needed.update(node.inputs)


def _groups_of(item: _Open, needed: set[Node]) -> list[Node | Group]:
    """The group with its inputs and outputs; nothing if nobody needs it."""
    outputs = [node for node in item.nodes if node in needed and type(node.op) not in RENAMED]
    used = set(outputs)
    nodes = []
    for node in reversed(item.nodes):
        if node in used:
            nodes.append(node)
            used.update(node.inputs)
    nodes.reverse()
    if not nodes:
        return []
    made = set(nodes)
    inputs = list(dict.fromkeys(a for node in nodes for a in node.inputs if a not in made))
    needed.update(inputs)
    return [Group(nodes, inputs, outputs, item.choices[0][0])]
