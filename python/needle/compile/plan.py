"""Plans a graph once: which call computes what into which memory. After that, `run` only makes these calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .blocks import Kernel
from .calls import Call, call_of, may_take_over
from .frame import Frame, Frames, Layout
from .fuse import Group, groups
from .graph import Node, Recorded
from .simplify import simplify

_COPIED = 1 << 14
"""Bytes up to which an output is copied out of the plan's memory; a larger one is computed in new memory."""


class Plan:
    """How to compute `outputs` from `inputs`, as it was recorded.

    `run(*arrays)` returns a list of the outputs for these inputs, in the recorded shapes and dtypes: arrays that nobody
    else holds, unless inputs themselves were asked for. Several threads may call it at once: each takes a frame, the
    memory of one run. It raises FloatingPointError if a value is not finite that must be for the plan to be right.
    """

    def __init__(self, inputs: Sequence[Node], outputs: Sequence[Node], recorded: Recorded):
        given = {node: Node(None, (), node.shape, node.dtype, axes=node.axes) for node in inputs if node.op is not None}
        self.inputs = [given.get(node, node) for node in inputs]
        checked = _to_check(recorded.order, outputs, recorded.to_check)
        kept, found = simplify(recorded.order, [*outputs, *checked], recorded.values, given)
        self.outputs, self.checked = found[: len(outputs)], dict.fromkeys(found[len(outputs) :])
        leaves = dict.fromkeys([a for node in kept for a in node.inputs if a.op is None])
        self.units = [unit for unit in groups([*leaves, *kept], set(found)) if unit not in leaves]
        self.calls = [self._call(unit) for unit in self.units]
        self._last = self._last_uses()
        self._place()
        layout = Layout(
            self.inputs,
            self.outputs,
            self.units,
            self.calls,
            self.blocks,
            self.places,
            self.fresh,
            self.checked,
            [node in inputs for node in outputs],
        )
        stateless = not (self.blocks or self.checked)
        self.run: Callable[..., list[Any]] = (Frame(layout) if stateless else Frames(layout)).run
        self._figures = len(recorded.order), len(kept), sum([node.nbytes for node in recorded.order])

    def explain(self) -> str:
        """The plan, in words and numbers."""
        recorded, kept, nbytes = self._figures
        own = sum(self.blocks) + sum(node.nbytes for node in self.fresh)
        lines = [
            f"{recorded} operations were recorded; {kept} are left, in {len(self.units)} steps",
            f"the values recorded take {nbytes:,} bytes; {len(self.blocks)} buffers and {len(self.fresh)} outputs of "
            f"their own take {own:,}",
        ]
        for unit in self.units:
            if isinstance(unit, Group):
                lines.append(f"{len(unit.nodes)} run block by block: {', '.join([repr(n.op) for n in unit.nodes])}")
        return "\n".join(lines)

    def _call(self, unit: Node | Group) -> Call | None:
        """The unit's call; None for a view, which needs none while its base stays in place."""
        if isinstance(unit, Node):
            if unit.is_view:
                return None
            call = call_of(unit)
            return call.returning() if unit in self.outputs and unit.nbytes <= _COPIED else call
        kernel, n = Kernel(unit), len(unit.inputs)
        operands = (*unit.inputs, *unit.outputs)
        return Call(lambda *arrays: kernel([*arrays[:n]], [*arrays[n:]]), operands, tuple(unit.outputs))

    # Memory ------------------------------------------------------------------------------------------------------

    def _place(self) -> None:
        """Give each node that a call writes a block of the frame's memory, or new memory if it is a large output. A
        block is free again after the last use of the value in it."""
        self.blocks: list[int] = []
        """Their sizes in bytes."""
        self.places: dict[Node, int] = {}
        self.fresh: set[Node] = set()
        outputs, free = set(self.outputs), []
        for i, (unit, call) in enumerate(zip(self.units, self.calls, strict=True)):
            dying = [a for a in dict.fromkeys(_read_by(unit)) if a in self.places and self._last[a] == i]
            if call is not None and call.writes:
                early = [a for a in dying if self._may_take_over(call, a)]
                free += [self.places[a] for a in early]
                dying = [a for a in dying if a not in early]
                for node in call.outputs:
                    if node in outputs and node.nbytes > _COPIED:
                        self.fresh.add(node)
                    else:
                        self.places[node] = self._block(node.nbytes, free)
                        if self._last[node] <= i:
                            dying.append(node)
            free += [self.places[a] for a in dying]

    def _block(self, nbytes: int, free: list[int]) -> int:
        """A free block of about this size; a new one if there is none."""
        fitting = [b for b in free if nbytes <= self.blocks[b] <= 2 * nbytes]
        if fitting:
            block = min(reversed(fitting), key=self.blocks.__getitem__)
            free.remove(block)
            return block
        self.blocks.append(nbytes)
        return len(self.blocks) - 1

    def _last_uses(self) -> dict[Node, int]:
        """The last unit that reads each node."""
        last: dict[Node, int] = {}
        for i, unit in enumerate(self.units):
            last.update(dict.fromkeys(unit.outputs if isinstance(unit, Group) else (unit,), i))
            last.update(dict.fromkeys(_read_by(unit), i))
        last.update(dict.fromkeys(_with_bases(self.outputs), len(self.units)))
        return last

    def _may_take_over(self, call: Call, a: Node) -> bool:
        """Whether the call may overwrite this input with its output."""
        node = call.outputs[0]
        return may_take_over(call) and (a.shape, a.dtype, a.axes) == (node.shape, node.dtype, node.axes)


def _to_check(order: Sequence[Node], outputs: Sequence[Node], left_in: Sequence[Node]) -> list[Node]:
    """The outputs that must be finite for these adjoints to be right: the adjoints themselves, and what is computed
    from them."""
    after = set(left_in)
    for node in order:
        if not after.isdisjoint(node.inputs):
            after.add(node)
    return [node for node in outputs if node in after]


def _read_by(unit: Node | Group) -> list[Node]:
    return _with_bases(unit.inputs)


def _with_bases(nodes: Sequence[Node]) -> list[Node]:
    """These nodes, and what they are views of."""
    found = list(nodes)
    for node in found:
        found += node.bases
    return found
