"""The memory of one run of a plan, and its calls, written out as a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from .. import pool
from ..backend import as_array, is_finite
from .calls import Call
from .fuse import Group
from .graph import Node
from .source import Source

_ALIGNMENT = 64


class Layout(NamedTuple):
    """A plan's decisions about memory."""

    inputs: list[Node]
    outputs: list[Node]
    units: list[Node | Group]
    calls: list[Call | None]
    """The calls of the units; None for views."""
    blocks: list[int]
    """The sizes of blocks, in bytes."""
    places: dict[Node, int]
    """The index of the block in which a node lies."""
    fresh: set[Node]
    """Outputs that get new memory in each run."""
    checked: dict[Node, None]
    """Nodes that must be finite."""
    asked: list[bool]
    """Which outputs are inputs, and were recorded as such; others may have become equal to one."""


class Frame:
    """The function `run`, which makes a plan's calls and returns the outputs. The calls work on its parameters (the
    inputs), on arrays in the frame's own blocks (made once), and on results of earlier calls."""

    def __init__(self, plan: Layout):
        blocks = [_aligned(nbytes) for nbytes in plan.blocks]
        self._arrays: dict[Node, Any] = {
            node: _laid_out(node, blocks[block][: node.nbytes]) for node, block in plan.places.items()
        }
        self._source = Source()
        self._moving = {node: f"x{i}" for i, node in enumerate(plan.inputs)}
        """The names of values whose arrays differ from run to run."""
        for unit, call in zip(plan.units, plan.calls, strict=True):
            if call is not None:
                for node in call.outputs:
                    if node in plan.fresh:
                        self._set(node, pool.empty, (node.shape, node.dtype, node.nbytes))
                self._add(call)
            elif isinstance(unit, Node):
                self._show(unit)
            for node in (unit,) if isinstance(unit, Node) else unit.outputs:
                if node in plan.checked:
                    self._source.lines.append(self._written(_check, (node,)))
        copies = [
            node in plan.outputs[:i]
            or (node not in plan.fresh and (bool(node.bases) or node not in self._moving))
            or (node in plan.inputs and not asked)
            for i, (node, asked) in enumerate(zip(plan.outputs, plan.asked, strict=True))
        ]
        """Which outputs must be copied: repeated ones, views, inputs, and those in the frame's memory."""
        outputs = [
            self._operand(node) + ".copy(order='K')" * copied for node, copied in zip(plan.outputs, copies, strict=True)
        ]
        self._source.lines.append(f"return [{', '.join(outputs)}]")
        self.run: Callable[..., list[Any]] = self._source.function("run", [f"x{i}" for i in range(len(plan.inputs))])

    def _add(self, call: Call) -> None:
        if call.writes:
            self._source.lines.append(self._written(call.function, call.operands))
        else:
            self._set(call.outputs[0], call.function, call.operands)

    def _set(self, node: Node, function: Callable[..., Any], operands: Sequence[Any]) -> None:
        """Let the node be the function's result."""
        made = self._written(function, operands)
        if node.shape == ():  # where NumPy returns a number
            made = self._source.call(as_array, made)
        name = f"y{len(self._moving)}"
        self._source.lines.append(f"{name} = {made}")
        self._moving[node] = name

    def _written(self, function: Callable[..., Any], operands: Sequence[Any]) -> str:
        return self._source.call(function, *map(self._operand, operands))

    def _show(self, node: Node) -> None:
        """A view: made once if its base stays in place, else in each run."""
        op: Any = node.op
        base = self._array(node.inputs[0])
        view = None if base is None else op.compute(base)
        if view is not None and np.may_share_memory(view, base):
            self._arrays[node] = view
        else:
            self._set(node, op.compute, node.inputs)

    def _operand(self, operand: Any) -> str:
        if not isinstance(operand, Node):
            return self._source.text(operand)
        array = self._array(operand)
        return self._moving[operand] if array is None else self._source.name(array)

    def _array(self, node: Node) -> Any:
        """The node's array, if it is the same in each run; else None."""
        return self._arrays.get(node) if node.array is None else node.array


class Frames:
    """Frames of a plan: each run takes one, and several threads may run at once."""

    def __init__(self, plan: Layout):
        self._plan = plan
        self._free: list[Frame] = []

    def run(self, *arrays: Any) -> list[Any]:
        try:
            frame = self._free.pop()
        except IndexError:
            frame = Frame(self._plan)
        if self._plan.checked:
            with np.errstate(invalid="ignore"):  # the checks find it
                outputs = frame.run(*arrays)
        else:
            outputs = frame.run(*arrays)
        self._free.append(frame)
        return outputs


def _check(array: Any) -> None:
    flat = array.reshape(-1)
    if not isfinite(abs(flat.dot(flat))) and not is_finite(array):  # their squares may overflow
        raise FloatingPointError("a value is not finite, and what was captured is right for finite ones only")


def _aligned(nbytes: int) -> Any:
    memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + nbytes]


def _laid_out(node: Node, memory: Any) -> Any:
    """The memory as an array, in the order of axes in which the node's was recorded."""
    if not node.axes:
        return memory.view(node.dtype).reshape(node.shape)
    whole = memory.view(node.dtype).reshape([node.shape[axis] for axis in node.axes])
    return whole.transpose(np.argsort(node.axes))
