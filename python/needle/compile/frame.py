"""The memory of one run of a plan, and the calls on it, ready made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from .. import pool
from ..autograd import is_finite
from ..backend import as_array
from .calls import Call
from .fuse import Group
from .graph import Node

_ALIGNMENT = 64


class Layout(NamedTuple):
    """What a plan says of memory."""

    inputs: list[Node]
    outputs: list[Node]
    units: list[Node | Group]
    calls: list[Call | None]
    """Those of the units; None for views."""
    blocks: list[int]
    """The sizes of blocks, in bytes."""
    places: dict[Node, int]
    """In which block a node lies."""
    fresh: set[Node]
    """Outputs that have memory of their own in each run."""
    axes: dict[Node, tuple[int, ...]]
    """In which order in memory a node's axes are, if not in theirs."""
    checked: dict[Node, None]
    """What must be finite."""


class Frame:
    """Calls whose operands are arrays in the frame's own blocks, bound once. What moves from run to run (inputs, large
    outputs, what a function returns in memory of its own) is put into the operands when it is there."""

    def __init__(self, plan: Layout):
        blocks = [_aligned(nbytes) for nbytes in plan.blocks]
        self._arrays: dict[Node, Any] = {
            node: _laid_out(node, blocks[block][: node.nbytes], plan.axes.get(node))
            for node, block in plan.places.items()
        }
        self._uses: dict[Node, list[tuple[list[Any], int]]] = {node: [] for node in plan.inputs}
        """Where the array of a node that moves is an operand."""
        self._steps: list[tuple[Callable[..., Any], list[Any], Any]] = []
        """(function, operands, where what it returns is an operand; None where it writes)."""
        for unit, call in zip(plan.units, plan.calls, strict=True):
            if call is not None:
                self._add_outputs(call, plan)
                self._add(call)
            elif isinstance(unit, Node):
                self._show(unit)
            for node in (unit,) if isinstance(unit, Node) else unit.outputs:
                if node in plan.checked:
                    self._add(Call(_check, (node, node), (node,)))
        self._outputs: list[Any] = []
        for node in plan.outputs:
            self._bind(node, self._outputs)
        self._copied = [
            i
            for i, node in enumerate(plan.outputs)
            if node in plan.outputs[:i] or (node not in plan.fresh and (node.bases or node not in self._uses))
        ]
        """Which outputs are another output, too, or lie in the frame's memory, or are a view."""
        self._inputs = [self._uses[node] for node in plan.inputs]
        self._moving = [use for uses in self._uses.values() for use in uses]

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        for array, uses in zip(arrays, self._inputs):  # noqa: B905 - of equal length
            for operands, i in uses:
                operands[i] = array
        for function, operands, uses in self._steps:
            if uses is None:
                function(*operands)
            else:
                out = function(*operands)
                for its_operands, i in uses:
                    its_operands[i] = out
        outputs = self._outputs.copy()
        for i in self._copied:
            outputs[i] = outputs[i].copy(order="K")
        for operands, i in self._moving:  # nothing that is handed out is held here
            operands[i] = None
        return outputs

    def _add_outputs(self, call: Call, plan: Layout) -> None:
        for node in call.outputs:
            if node in plan.fresh:
                self._uses[node] = []
                self._steps.append((pool.empty, [node.shape, node.dtype, node.nbytes], self._uses[node]))

    def _add(self, call: Call) -> None:
        operands: list[Any] = []
        for operand in call.operands:
            self._bind(operand, operands)
        function, uses = call.function, None
        if not call.writes:
            uses = self._uses[call.outputs[0]] = []
            if call.outputs[0].shape == ():
                function = _to_array(function)
        self._steps.append((function, operands, uses))

    def _show(self, node: Node) -> None:
        """A view: made once where what it shows stays in its place, and else each time."""
        op: Any = node.op
        base = self._array(node.inputs[0])
        view = None if base is None else op.compute(base)
        if view is not None and np.may_share_memory(view, base):
            self._arrays[node] = view
        else:
            self._add(Call(op.compute, node.inputs, (node,)))

    def _bind(self, operand: Any, operands: list[Any]) -> None:
        if isinstance(operand, Node):
            array = self._array(operand)
            if array is None:
                self._uses[operand].append((operands, len(operands)))
            operand = array
        operands.append(operand)

    def _array(self, node: Node) -> Any:
        """Where the node lies in each run; None if that differs."""
        return self._arrays.get(node) if node.array is None else node.array


def _check(array: Any, _: Any) -> None:
    flat = array.reshape(-1)
    if not isfinite(abs(flat.dot(flat))) and not is_finite(array):  # their squares may overflow
        raise FloatingPointError("a value is not finite, and what was captured is right for finite ones only")


def _to_array(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with an array where it returns a NumPy number."""
    return lambda *operands: as_array(function(*operands))


def _aligned(nbytes: int) -> Any:
    memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + nbytes]


def _laid_out(node: Node, memory: Any, axes: tuple[int, ...] | None) -> Any:
    if not axes:
        return memory.view(node.dtype).reshape(node.shape)
    whole = memory.view(node.dtype).reshape([node.shape[axis] for axis in axes])
    return whole.transpose(np.argsort(axes))
