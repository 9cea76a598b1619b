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
from itertools import count
from math import prod
from typing import Any

import numpy as np

from ..backend import sum_over
from ..ops.arithmetic import EWiseMul
from ..ops.elementwise import zeros
from ..ops.power import PowerScalar
from ..ops.reduction import Summation
from ..ops.shape import BroadcastTo, Reshape
from ..ops.tuples import TupleGetItem
from ..threads import WORTH, get_num_threads, run_on_threads
from .calls import CALLS, ZEROS, into_out_call, ufunc_call
from .fuse import (
    LOSSES,
    RENAMED,
    ROWS,
    SEVERAL_PASSES,
    TOTAL,
    TOTALS,
    WHOLE,
    Group,
    is_elementwise,
    leading,
    operand,
    row_bytes,
    rows_after,
    work_of,
)
from .graph import Node
from .rows import are_short, has_blas, into_out, log_sum_exp, loss_of, products_into, sum_of_all, sums_into

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


def _owned(compute: Any) -> Any:
    """compute, with results copied out of memory that will be reused."""

    def call(*args: Any) -> Any:
        out = compute(*args)
        return out if type(out) is np.ndarray and out.base is None else np.array(out)

    return call


# --------------------------------------------------------------------------------------- reductions over all the rows


class _Total:
    """A reduction over all rows: the part of one block, and how the parts combine."""

    def __init__(self, node: Node, rows: int):
        self.op: Any = node.op
        self.node = node
        self.rows = rows
        self.is_sum = type(self.op) is Summation
        self.is_loss = type(self.op) in LOSSES
        self.result = node
        self.axes: tuple[int, ...] | None = None
        self.shape: tuple[int, ...] = ()  # of a part
        if not self.is_loss:
            shape = node.inputs[0].shape
            _, axes = rows_after(self.op, shape, rows) or (TOTAL, ())
            rest = shape[leading(shape, rows) or 0 :]
            self.shape = tuple([n for i, n in enumerate(rest, 1) if i not in axes])
            self.axes = axes if self.shape else None  # None is faster than all axes
        dtype = (node if node.dtype is not None else node.inputs[0]).dtype
        adds = self.is_sum or self.is_loss
        self.dtype = np.dtype(np.float64 if self.is_loss else _WIDE.get(dtype.char, dtype) if adds else dtype)

    def store(self) -> Any:
        """A function that computes and stores a block's part."""
        axes, op = self.axes, self.op
        if self.is_loss:
            scale = getattr(op, "scale", None)

            def store_loss(logits: Any, targets: Any, out: Any, part: Any) -> None:
                part[0] = loss_of(logits, targets, out, scale)

            return store_loss
        if self.is_sum and axes is None and self.node.dtype.char in "fd":

            def store_sum(a: Any, part: Any) -> None:
                part[0] = sum_of_all(a)

            return store_sum
        reduce = sum_over if self.is_sum else op.of.reduce
        dtype = np.dtype(np.float32) if self.is_sum and self.node.dtype.char == "e" else None

        def store(a: Any, part: Any) -> None:
            part[0] = reduce(a, axes, dtype)

        return store

    def finish(self, parts: Any, out: Any) -> None:
        total = (np.add if self.is_sum or self.is_loss else self.op.of).reduce(parts, 0)
        if self.is_loss:
            total = total / prod(self.node.inputs[0].shape[:-1])
        np.copyto(out, total.reshape(out.shape), casting="unsafe")


_WIDE = {"e": np.float32, "f": np.float64, "F": np.complex128}
"""The dtype of the parts of a sum, by the character of its own."""


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
        parts = [np.empty((self.blocks, *total.shape), total.dtype) for total in self.totals]
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


def _adds_rows(node: Node, axes: tuple[int, ...], ndim: int) -> bool:
    """Whether the node sums a block over a short last axis."""
    (a,) = node.inputs
    return type(node.op) is Summation and axes == (ndim - 1,) and are_short(a) and a.dtype == node.dtype


def _factors(node: Node) -> tuple[Node, ...]:
    """The two factors of a product that vecdot can sum; () for other nodes."""
    op: Any = node.op
    factors = node.inputs * 2 if type(op) is PowerScalar and op.scalar == 2 else node.inputs
    if type(op) not in {PowerScalar, EWiseMul} or len(factors) != 2:
        return ()
    return factors if all(a.shape[-1:] == node.shape[-1:] and a.dtype == node.dtype for a in factors) else ()


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
        self.products = self._products()
        """The factors of products that only vecdot computes, by the product and by the sum along its rows."""

    def plan(self) -> None:
        ends = self._ends()
        for k, node in enumerate(self.nodes):
            ending = ends.get(k, [])
            if node in self.products:
                if type(node.op) is Summation:
                    factors = self._operands(node.inputs[0], exact=True)
                    self._step(products_into(node.op.keepdims), [*factors, self._output(node)])
            elif type(node.op) is Reshape:
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
            for a in self.products.get(node, node.inputs):
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
        for a in self.products.get(node, node.inputs):
            role, shape = operand(a.shape, node.shape, self.rows) or (WHOLE, a.shape)
            found.append(self._argument(a, role, shape, exact))
        return found

    def _products(self) -> dict[Node, tuple[Node, ...]]:
        inside, readers = set(self.nodes), dict[Node, int]()
        for node in self.nodes:
            for a in node.inputs:
                readers[a] = readers.get(a, 0) + 1
        found = {}
        for node in self.nodes:
            op: Any = node.op
            product = node.inputs[0] if type(op) is Summation else None
            if product not in inside or product in self.outputs or readers[product] != 1:
                continue
            factors = _factors(product)
            after = rows_after(op, product.shape, self.rows)
            if factors and after and after[0] == ROWS and _adds_rows(node, after[1], 1 + len(self._row(product))):
                found[product] = found[node] = factors
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
        args: list[Any] = [self._argument(a, ROWS, self._row(a), exact=True)]
        op: Any = copy(node.op)
        op.axes = axes
        ndim = 1 + len(self._row(a))
        into = into_out(op, axes, ndim)
        if into is not None:
            self._step(into, [*args, self._output(node)])
            return
        if has_blas(op, axes, ndim):
            self._computed(node, log_sum_exp(op.keepdims), args)
            return
        if _adds_rows(node, axes, ndim):
            self._step(sums_into(op.keepdims, a.shape[-1], a.dtype), [*args, self._output(node)])
            return
        reduce: Any = sum_over if type(op) is Summation else op.of.reduce if type(op) in TOTALS else None
        if reduce is None or node.dtype.char == "e":
            self._computed(node, op.compute, args)
            return

        def reduced(a: Any, out: Any) -> None:
            reduce(a, axes, None, out, op.keepdims)

        self._step(reduced, [*args, self._output(node)])

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
        self._parts: list[tuple[Any, list[Any]]] = []
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
                self._parts.append((array, places))
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
        for array, places in self._parts:
            for args, i, _ in places:
                args[i] = array[block : block + 1]
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
