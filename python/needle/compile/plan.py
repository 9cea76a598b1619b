"""A graph, planned once: which call computes what into which memory. `run` then does nothing but these calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .blocks import Kernel
from .calls import Call, call_of, cannot_fail, may_take_over
from .frame import Frame
from .fuse import Group, groups
from .graph import Node
from .simplify import simplify

_COPIED = 1 << 14
"""Bytes up to which an output is copied out of the plan's own memory; a larger one is computed in memory of its own."""


class Plan:
    """How to compute `outputs` from `inputs`. `order` are the nodes in the order of their recording, `values` what they
    were then.

    `run(arrays)` returns the outputs' arrays, which nobody else holds, unless they are inputs. Several threads may run
    it at once: each takes a frame, the memory of one run.
    """

    def __init__(self, inputs: Sequence[Node], order: Sequence[Node], outputs: Sequence[Node], values: dict[Node, Any]):
        given = {node: Node(None, (), node.shape, node.dtype) for node in inputs if node.op is not None}
        self.inputs = [given.get(node, node) for node in inputs]
        kept, self.outputs = simplify(order, outputs, values, given)
        self.layouts = {node: axes for node in kept if node in values and (axes := _axes_of(values[node]))}
        leaves = dict.fromkeys([a for node in kept for a in node.inputs if a.op is None])
        self.units = [unit for unit in groups([*leaves, *kept], set(self.outputs)) if unit not in leaves]
        self.calls = [self._call(unit) for unit in self.units]
        self._last = self._last_uses()
        self._place()
        self._frames: list[Frame] = []
        self._figures = len(order), len(kept), sum(node.nbytes for node in order)

    def run(self, arrays: Sequence[Any], replaced: Sequence[tuple[int, int]] = ()) -> list[Any]:
        """The outputs for these inputs, of the shapes and dtypes that were recorded. `replaced` are (output, input),
        where the output is to be written into that input's memory; see `may_replace`."""
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = Frame(self)
        outputs = frame.run(arrays, replaced)
        self._frames.append(frame)
        return outputs

    def may_replace(self, output: int, given: int) -> bool:
        """Whether the output can be written over an input, because that is not read any more by then, and nothing but
        such updates comes after it: they cannot fail, as a factorization can."""
        node, a = self.outputs[output], self.inputs[given]
        for i, call in enumerate(self.calls):
            if call is not None and node in call.outputs:
                last = all(later is None or cannot_fail(later) for later in self.calls[i:])
                return last and node in self.fresh and self._last.get(a, -1) <= i and self._may_take_over(call, a)
        return False

    def explain(self) -> str:
        """What was planned, in words and numbers."""
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
        """None for a view, which needs no call where what it shows stays in its place."""
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
        """Give each node that is written to a block of the frame's memory, or memory of its own if it is a large
        output. A block is free again after the last use of what lies in it."""
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
        """A free block of this size, or one that is not much larger; a new one if there is none."""
        fitting = [b for b in free if nbytes <= self.blocks[b] <= 2 * nbytes]
        if fitting:
            block = min(reversed(fitting), key=self.blocks.__getitem__)
            free.remove(block)
            return block
        self.blocks.append(nbytes)
        return len(self.blocks) - 1

    def _last_uses(self) -> dict[Node, int]:
        """After which unit each node is not read any more."""
        last: dict[Node, int] = {}
        for i, unit in enumerate(self.units):
            last.update(dict.fromkeys(unit.outputs if isinstance(unit, Group) else (unit,), i))
            last.update(dict.fromkeys(_read_by(unit), i))
        last.update(dict.fromkeys(_with_bases(self.outputs), len(self.units)))
        return last

    def _may_take_over(self, call: Call, a: Node) -> bool:
        """Whether the call may write its output into the memory of this input."""
        node = call.outputs[0]
        return (
            may_take_over(call)
            and (a.shape, a.dtype) == (node.shape, node.dtype)
            and self.layouts.get(a) == self.layouts.get(node)
        )


def _read_by(unit: Node | Group) -> list[Node]:
    return _with_bases(unit.inputs)


def _with_bases(nodes: Sequence[Node]) -> list[Node]:
    """These nodes, and what they are views of."""
    found = list(nodes)
    for node in found:
        found += node.bases
    return found


def _axes_of(array: Any) -> tuple[int, ...]:
    """The axes from the slowest to the fastest in memory; () if that is their order."""
    if type(array) is tuple or array.flags.c_contiguous or array.ndim < 2:
        return ()
    axes = tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))
    return () if axes == tuple(range(array.ndim)) else axes
