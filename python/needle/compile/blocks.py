"""A group of ops, run block by block: a block of rows goes through all of them while it is in the caches.

A `Kernel` is built once. It knows where the block of each value lies: in an input or output array, in a piece of
scratch memory (a *slot*, reused after the last use of its value), or wherever an op's `compute` puts it. A `_Program`
binds the kernel to the memory of one thread: a flat list of calls whose arguments are ready, except for the slices of
input and output arrays, which are filled in for each block.

NumPy releases the interpreter's lock while it computes, so a few threads share the blocks. In a reduction over all
rows, each block stores its own part, and the parts are combined at the end: the result does not depend on timing.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import partial
from itertools import count
from math import prod
from typing import Any

import numpy as np

from ..ops.elementwise import zeros
from ..ops.reduction import Summation
from ..ops.shape import BroadcastTo, Reshape
from ..ops.softmax import LogSoftmax, SlopeOfSoftmax, Softmax, less_labels, losses_of_rows, mean_of
from ..ops.tuples import TupleGetItem
from ..sums import sum_over
from ..threads import WORTH, get_num_threads, run_on_threads
from .calls import CALLS, ZEROS, into_out_call, ufunc_call
from .fuse import (
    LOSSES,
    RENAMED,
    ROWS,
    SEVERAL_PASSES,
    SUMS,
    TOTAL,
    TOTALS,
    WHOLE,
    Group,
    adds_up,
    is_elementwise,
    leading,
    operand,
    row_bytes,
    rows_after,
    runs_of_sum,
    together,
    work_of,
)
from .graph import Node

BLOCK = 1 << 20
"""Bytes of the longest value in a block: so much fits a third-level cache with its neighbours. With a quarter of that,
for the second level, one thread is no faster and two are slower by a fifth: a thread that returns from NumPy while
another one holds the interpreter's lock sleeps for some 30 us, which happens less often with large blocks."""
SCRATCH = 8 << 20
"""Bytes of scratch memory that a thread may use."""
ALIGNMENT = 64


def _copied_into_out(compute: Any) -> Any:
    def call(*args: Any) -> None:
        np.copyto(args[-1], compute(*args[:-1]))

    return call


def _into(compute: Any) -> Any:
    """A function that passes its last argument to compute as `out`, which may be of use to it."""

    def call(*args: Any) -> None:
        out = args[-1]
        result = compute(*args[:-1], out=out)
        if result is not out:
            np.copyto(out, result)

    return call


def _owned(compute: Any) -> Any:
    """compute, with results copied out of memory that will be reused."""

    def call(*args: Any) -> Any:
        out = compute(*args)
        return out if type(out) is np.ndarray and out.base is None else np.array(out)

    return call


# --------------------------------------------------------------------------------------- reductions over all the rows


class _Total:
    """A reduction over all rows: the parts of a block, and what they are combined to.

    Where numbers are added up, the parts are the sums of runs, or the losses of rows, which do not depend on the
    blocks; else there is one part for each block."""

    def __init__(self, node: Node, rows: int):
        self.op: Any = node.op
        self.node = node
        self.rows = rows
        self.result = node
        self.is_loss = type(self.op) in LOSSES
        a = node.inputs[0]
        self.whole = a.nbytes
        self.runs = runs_of_sum(self.op, a) if adds_up(self.op, a) and not self.is_loss else None
        self.shape: tuple[int, ...] = ()  # of a part
        self.axes: tuple[int, ...] | None = None
        self.dtype = node.dtype if node.dtype is not None else a.dtype
        self._every, self._of = 1, 1
        if self.is_loss:
            self._every = prod(a.shape[:-1]) // rows
        elif self.runs is not None:
            self.shape = (self.runs.columns,)
            self._every, self._of = self.runs.rows // rows, self.runs.batch
        else:
            _, axes = rows_after(self.op, a.shape, rows) or (TOTAL, ())
            rest = a.shape[leading(a.shape, rows) or 0 :]
            self.shape = tuple([n for i, n in enumerate(rest, 1) if i not in axes])
            self.axes = axes if self.shape else None  # None is faster than all axes

    def places(self, block: int, start: int, stop: int) -> slice:
        """Where the parts of a block, from one row to another, lie among those of all blocks."""
        if self.is_loss or self.runs is not None:
            return slice(start * self._every // self._of, -(-stop * self._every // self._of))
        return slice(block, block + 1)

    def count(self, blocks: int) -> int:
        return int(self.places(blocks - 1, 0, self.rows).stop)

    def store(self) -> Any:
        """A function that computes and stores a block's parts."""
        op, axes, runs = self.op, self.axes, self.runs
        if self.is_loss:
            scale = getattr(op, "scale", None)

            def store_losses(logits: Any, targets: Any, out: Any, parts: Any) -> None:
                losses, values = losses_of_rows(logits, targets, out, self.whole)
                parts.reshape(losses.shape)[...] = losses
                if scale is not None and out is not None:
                    less_labels(values, targets, scale, out, self.whole)
                elif values is not out and out is not None:
                    np.copyto(out, values)

            return store_losses
        if runs is not None:

            def store_runs(a: Any, parts: Any) -> None:
                runs.parts_into(a.reshape(-1, runs.columns), parts)

            return store_runs
        reduce: Any = np.add.reduce if type(op) is Summation else op.of.reduce

        def store(a: Any, parts: Any) -> None:
            parts[0] = reduce(a, axes)

        return store

    def finish(self, parts: Any, out: Any) -> None:
        if self.is_loss:
            total = mean_of(parts)
        elif self.runs is not None:
            total = self.runs.total(parts)
        else:
            total = (np.add if type(self.op) is Summation else self.op.of).reduce(parts, 0)
        np.copyto(out, total.reshape(out.shape), casting="unsafe")


# ---------------------------------------------------------------------------------------------------- where values are


class _Value:
    """Where the block of a node lies: `kind` is "input" or "output" (rows of an array), "whole" (an array), "slot"
    (scratch memory) or "made" (a call returned it); `index` says which one. `shape` is that of a row. A repeated value
    is stored in the shape `of`, with the same number of axes."""

    __slots__ = ("index", "kind", "of", "shape")

    def __init__(self, kind: str, index: int, shape: tuple[int, ...], of: tuple[int, ...] | None = None):
        self.kind = kind
        self.index = index
        self.shape = shape
        self.of = shape if of is None else of


class _Argument:
    """A value as an argument: in this shape of a row, and repeated to the shape `to`, if given."""

    __slots__ = ("dtype", "shape", "to", "value")

    def __init__(self, value: _Value, shape: tuple[int, ...], dtype: Any, to: tuple[int, ...] | None = None):
        self.value = value
        self.shape = shape
        self.dtype = dtype
        self.to = to


class _Step:
    """A call; its arguments are values, constant arrays, or ZEROS. `made` is the index of its result, `total` that of
    the reduction to which it adds."""

    __slots__ = ("args", "function", "made", "total")

    def __init__(self, function: Any, args: list[Any], made: int | None = None, total: int | None = None):
        self.function = function
        self.args = args
        self.made = made
        self.total = total


class _Slots:
    """Pieces of scratch memory, reused as soon as they are free."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        """Bytes of a row."""
        self._free: dict[int, list[int]] = {}

    def take(self, size: int) -> int:
        if free := self._free.get(size):
            return free.pop()
        self.sizes.append(size)
        return len(self.sizes) - 1

    def give_back(self, slot: int) -> None:
        self._free.setdefault(self.sizes[slot], []).append(slot)


class _Arena:
    """A thread's scratch memory."""

    def __init__(self, size: int):
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        self.memory = memory[start : start + size]


_arenas: list[_Arena] = []
"""Arenas that no thread uses now, the latest one last."""


def _borrowed(size: int) -> _Arena:
    while _arenas:
        try:
            arena = _arenas.pop()
        except IndexError:
            break
        if arena.memory.nbytes >= size:
            return arena
    return _Arena(max(size, SCRATCH))


# ------------------------------------------------------------------------------------------------------- the kernel


class Kernel:
    """Runs a group: `kernel(inputs, outputs)` reads the arrays of `group.inputs` and writes into those of
    `group.outputs`, by way of a copy if one is not C-contiguous. Several threads may call it at once."""

    def __init__(self, group: Group):
        self.group = group
        self.rows = group.rows
        self.totals: list[_Total] = []
        self.steps: list[_Step] = []
        self._slots = _Slots()
        self._values: dict[Node, _Value] = {}
        self.made = 0
        if self.rows:
            _Planner(self).plan()
        self._choose_blocks()
        self._programs: dict[tuple[int, int], _Program] = {}

    def _choose_blocks(self) -> None:
        group, rows = self.group, self.rows
        whole = {group.inputs[a.value.index] for a in self.arguments() if a.value.kind == "whole"}
        longest = row_bytes([a for a in (*group.nodes, *group.inputs) if a not in whole], max(rows, 1))
        several = any(isinstance(node.op, SEVERAL_PASSES) for node in group.nodes)  # these take the lock more often
        fit = min((BLOCK << several) // max(longest, 1), SCRATCH // max(sum(self._slots.sizes), 1))
        blocks = -(-rows // max(fit, 1))
        if blocks > 2:
            blocks += -blocks % 4  # threads end together
        self.block = max(-(-rows // max(blocks, 1)), 1)
        if self.block >= 16 * ALIGNMENT:
            self.block += -self.block % ALIGNMENT
        needs = [together(node.op, node.inputs[0], rows) for node in group.nodes if rows and type(node.op) in SUMS]
        self.block += -self.block % max(needs, default=1)  # they are powers of two
        self.blocks = -(-rows // self.block)
        self.offsets = []
        self.scratch_bytes = 0
        for size in self._slots.sizes:
            self.offsets.append(self.scratch_bytes)
            self.scratch_bytes += -(-size * self.block // ALIGNMENT) * ALIGNMENT
        self.most_threads = 1 if work_of(group.nodes) < WORTH else self.blocks

    def arguments(self) -> Iterator[_Argument]:
        for step in self.steps:
            yield from (a for a in step.args if isinstance(a, _Argument))

    def __call__(self, inputs: list[Any], outputs: list[Any]) -> None:
        if not self.rows:
            self._one_by_one(inputs, outputs)
            return
        given = outputs
        outputs = [a if a.flags.c_contiguous else np.empty(a.shape, a.dtype) for a in given]
        parts = [np.empty((total.count(self.blocks), *total.shape), total.dtype) for total in self.totals]
        arrays = {"input": inputs, "output": outputs, "whole": inputs, "part": parts}
        turns = count()

        def work(_: int) -> None:
            arena = _borrowed(self.scratch_bytes)
            used: list[_Program] = []
            try:
                block, rows = self.block, self.rows
                for k in turns:
                    start = k * block
                    if start >= rows:
                        break
                    stop = min(start + block, rows)
                    program = self._program(arena, stop - start)
                    if program not in used:
                        used.append(program)
                        program.bind(arrays)
                    program.run(start, stop, k)
            finally:
                for program in used:
                    program.release()
                _arenas.append(arena)

        run_on_threads(work, min(get_num_threads(), self.most_threads))
        where = {node: k for k, node in enumerate(self.group.outputs)}
        for total, part in zip(self.totals, parts, strict=True):
            if total.result in where:
                total.finish(part, outputs[where[total.result]])
        for out, array in zip(given, outputs, strict=True):
            if out is not array:
                np.copyto(out, array)

    def _program(self, arena: _Arena, rows: int) -> _Program:
        key = id(arena), rows
        program = self._programs.get(key)
        if program is None or program.arena is not arena:
            program = self._programs[key] = _Program(self, arena, rows)
        return program

    def _one_by_one(self, inputs: list[Any], outputs: list[Any]) -> None:
        """Without rows there are no blocks, but still sums and errors."""
        arrays = dict(zip(self.group.inputs, inputs, strict=True))
        for node in self.group.nodes:
            op: Any = node.op
            arrays[node] = np.asarray(op.compute(*[arrays[a] for a in node.inputs]))
        for node, out in zip(self.group.outputs, outputs, strict=True):
            np.copyto(out, arrays[node])


class _Planner:
    """Makes the kernel's steps, and decides where each value lies."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.rows = kernel.rows
        self.nodes = kernel.group.nodes
        self.inputs = {a: k for k, a in enumerate(kernel.group.inputs)}
        self.outputs = {a: k for k, a in enumerate(kernel.group.outputs)}
        self.values = kernel._values
        self.slots = kernel._slots

    def plan(self) -> None:
        ends = self._ends()
        for k, node in enumerate(self.nodes):
            ending = ends.get(k, [])
            if type(node.op) is Reshape:
                value = self.values[node.inputs[0]]
                self.values[node] = _Value(value.kind, value.index, self._row(node))
            elif type(node.op) is BroadcastTo:
                (repeated,) = self._operands(node)
                self.values[node] = _Value(repeated.value.kind, repeated.value.index, self._row(node), repeated.shape)
            elif node not in self.values:
                self._add(node, ending)
            for a in ending:
                self._free(a)

    def _row(self, node: Node) -> tuple[int, ...]:
        shape: tuple[int, ...] = node.shape
        return shape[leading(shape, self.rows) or 0 :]

    def _ends(self) -> dict[int, list[Node]]:
        """After each step, the values that neither it nor a view of them is read any more: their memory is free."""
        base: dict[Node, Node] = {}
        last: dict[Node, int] = {}
        for k, node in enumerate(self.nodes):
            if type(node.op) in RENAMED:
                base[node] = base.get(node.inputs[0], node.inputs[0])
                continue
            last[node] = k
            for a in node.inputs:
                last[base.get(a, a)] = k
        ends: dict[int, list[Node]] = {}
        for node, k in last.items():
            ends.setdefault(k, []).append(node)
        return ends

    def _free(self, node: Node) -> None:
        value = self.values.get(node)
        if value is not None and value.kind == "slot" and node.op is not None and type(node.op) not in RENAMED:
            self.slots.give_back(value.index)
            self.values[node] = _Value("gone", value.index, value.shape)

    def _argument(self, a: Node, role: str, shape: tuple[int, ...], exact: bool) -> _Argument:
        """The value in this shape of a row; `exact`: a repeated value is broadcast to it and not as stored."""
        value = self.values.get(a)
        if value is None:
            return _Argument(_Value("input" if role == ROWS else "whole", self.inputs[a], shape), shape, a.dtype)
        if value.of == value.shape and value.kind != "whole":
            return _Argument(value, shape, a.dtype)
        have = (1,) * (len(shape) - len(value.shape)) + value.of
        return _Argument(value, have, a.dtype, shape if exact else None)

    def _operands(self, node: Node, exact: bool = False) -> list[_Argument]:
        found = []
        for a in node.inputs:
            role, shape = operand(a.shape, node.shape, self.rows) or (WHOLE, a.shape)
            found.append(self._argument(a, role, shape, exact))
        return found

    def _add(self, node: Node, ending: list[Node]) -> None:
        op: Any = node.op
        if type(op) in LOSSES:
            self._add_total(node)
            return
        if isinstance(op, TupleGetItem):
            return  # it lies where its tuple was put
        if hasattr(op, "axes") and not is_elementwise(node):
            found = rows_after(op, node.inputs[0].shape, self.rows)
            if found is not None and found[0] == TOTAL:
                self._add_total(node)
            else:
                self._add_reduction(node, found[1] if found is not None else ())
            return
        call = ufunc_call(node)
        if call is not None:
            ufunc, places = call
            args = self._operands(node)
            row = self._row(node)
            for a in ending:  # the output may overwrite an operand
                there = self.values.get(a)
                if there is not None and there.shape == row and a.dtype == node.dtype:
                    self._free(a)
            given = [args[i] if type(i) is int else i for i in places]
            self._step(CALLS.get(ufunc, ufunc), [*given, self._output(node)])
        elif (function := into_out_call(node)) is not None:
            self._step(function, [*self._operands(node), self._output(node)])
        else:
            self._computed(node, op.compute, self._operands(node, exact=True))

    def _step(self, function: Any, args: list[Any], made: int | None = None, total: int | None = None) -> None:
        self.kernel.steps.append(_Step(function, args, made, total))

    def _output(self, node: Node) -> _Argument:
        """The place that the node is written to."""
        row = self._row(node)
        if node in self.outputs:
            value = _Value("output", self.outputs[node], row)
        else:
            value = _Value("slot", self.slots.take(prod(row) * node.dtype.itemsize), row)
        self.values[node] = value
        return _Argument(value, row, node.dtype)

    def _computed(self, node: Node, compute: Any, args: list[Any]) -> None:
        """Let the node be the result of `compute`."""
        if node in self.outputs:
            self._step(_copied_into_out(compute), [*args, self._output(node)])
        else:
            self.values[node] = _Value("made", self.kernel.made, self._row(node))
            self._step(_owned(compute), args, made=self.kernel.made)
            self.kernel.made += 1

    def _add_reduction(self, node: Node, axes: tuple[int, ...]) -> None:
        """An op over axes after the rows'."""
        a = node.inputs[0]
        args: list[Any] = [self._argument(b, ROWS, self._row(b), exact=True) for b in node.inputs]
        op: Any = copy(node.op)
        op.axes = axes
        if hasattr(op, "of_rows"):
            function = partial(op.of_rows, whole=a.nbytes)
            if isinstance(op, (Softmax, SlopeOfSoftmax, LogSoftmax)):
                self._step(_into(function), [*args, self._output(node)])
            else:
                self._computed(node, function, args)
        elif type(op) in TOTALS:
            reduce: Any = partial(sum_over, whole=a.nbytes) if type(op) is Summation else op.of.reduce

            def reduced(a: Any, out: Any) -> None:
                reduce(a, axes, None, out, op.keepdims)

            if node.dtype.char == "e":
                self._computed(node, op.compute, args)
            else:
                self._step(reduced, [*args, self._output(node)])
        else:
            self._computed(node, op.compute, args)

    def _add_total(self, node: Node) -> None:
        kernel = self.kernel
        args: list[Any] = [self._argument(a, ROWS, self._row(a), exact=True) for a in node.inputs]
        total = _Total(node, self.rows)
        if total.is_loss:
            members = {a.op.index: a for a in self.nodes if node in a.inputs and isinstance(a.op, TupleGetItem)}
            total.result = members.get(0, node)
            args.append(self._output(members[1]) if 1 in members else None)
        self._step(total, args, total=len(kernel.totals))
        kernel.totals.append(total)


class _Program:
    """The kernel's calls for blocks of so many rows in one thread's memory: `run` fills the slices of the arrays into
    the arguments, and makes the calls."""

    def __init__(self, kernel: Kernel, arena: _Arena, rows: int):
        self.arena = arena
        self.rows = rows
        self.calls: list[tuple[Any, list[Any]]] = []
        self._places: dict[tuple[str, int, tuple[int, ...]], list[Any]] = {}
        self._bound: list[tuple[Any, list[Any]]] = []
        self._parts: list[tuple[Any, list[Any], _Total]] = []
        self._totals = kernel.totals
        self._all_rows = kernel.rows
        made: dict[int, list[Any]] = {}
        for step in kernel.steps:
            args: list[Any] = []
            function = step.function.store() if step.total is not None else step.function
            for i, a in enumerate(step.args):
                if a is ZEROS:
                    out = step.args[-1]
                    args.append(zeros((rows, *out.shape), out.dtype))
                elif not isinstance(a, _Argument):
                    args.append(a)
                elif a.value.kind == "slot":
                    at = kernel.offsets[a.value.index]
                    array = np.ndarray((rows, *a.shape), a.dtype, arena.memory, at)
                    args.append(array if a.to is None else np.broadcast_to(array, (rows, *a.to)))
                else:
                    args.append(None)
                    kind, index, shape = a.value.kind, a.value.index, a.shape
                    if kind == "made":
                        made[index].append((args, i, _reshaped((rows, *shape), a.to)))
                    else:
                        if kind == "whole" and a.to is None and prod(shape) == 1:
                            shape = ()
                        to = None if a.to is None else _reshaped(None, (rows, *a.to))
                        self._places.setdefault((kind, index, shape), []).append((args, i, to))
            if step.total is not None:
                args.append(None)
                self._places.setdefault(("part", step.total, ()), []).append((args, len(args) - 1, None))
            if step.made is not None:
                places: list[Any] = []
                made[step.made] = places
                function = _returned(function, places)
            self.calls.append((function, args))
        self._made = made

    def bind(self, arrays: dict[str, list[Any]]) -> None:
        """Work on these arrays."""
        for (kind, index, shape), places in self._places.items():
            array = arrays[kind][index]
            if kind == "whole":
                _put(array.reshape(shape), places)
            elif kind == "part":
                self._parts.append((array, places, self._totals[index]))
            else:
                if array.shape != (self._all_rows, *shape):
                    array = array.reshape((self._all_rows, *shape))
                self._bound.append((array, places))

    def release(self) -> None:
        """Drop all references to the arrays."""
        self._bound.clear()
        self._parts.clear()
        for places in (*self._places.values(), *self._made.values()):
            for args, i, _ in places:
                args[i] = None

    def run(self, start: int, stop: int, block: int) -> None:
        for array, places in self._bound:
            rows = array[start:stop]
            for args, i, change in places:
                args[i] = rows if change is None else change(rows)
        for array, places, total in self._parts:
            parts = array[total.places(block, start, stop)]
            for args, i, _ in places:
                args[i] = parts
        for function, args in self.calls:
            function(*args)


def _put(array: Any, places: list[Any]) -> None:
    for args, i, change in places:
        args[i] = array if change is None else change(array)


def _returned(function: Any, places: list[Any]) -> Any:
    """function, with its result put into these places."""

    def call(*args: Any) -> None:
        _put(function(*args), places)

    return call


def _reshaped(shape: tuple[int, ...] | None, to: tuple[int, ...] | None) -> Any:
    """A function that brings an array into this shape, and repeats it."""

    def change(array: Any) -> Any:
        if shape is not None and array.shape != shape:
            array = array.reshape(shape)
        return array if to is None else np.broadcast_to(array, to)

    return change
