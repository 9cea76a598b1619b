"""One pass in place: an element-wise rule, written once in NumPy's notation, run on blocks that fit the caches.

`Program` turns a rule into a list of ufunc calls that write into given memory, by calling it with symbols. `run` takes
the blocks of all arrays through these calls, over a few threads, so that nothing of an array's size is allocated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np

from ..threads import get_num_threads, run_on_threads

BLOCK = 1 << 18
"""Bytes of an array in a block: with half of it the calls cost too much, and with more a block leaves the caches."""
WORTH_THREADS = 1 << 23
"""Bytes read or written from which on waking other threads pays."""


class _Symbol(np.lib.mixins.NDArrayOperatorsMixin):
    """A value of the rule while it is traced: each ufunc on it becomes a call."""

    def __init__(self, calls: list[Any], number: int):
        self.calls, self.number = calls, number

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> Any:
        if method != "__call__" or options or ufunc.nout != 1:
            return NotImplemented
        self.calls.append((ufunc, operands))
        return _Symbol(self.calls, len(self.calls) - 1)


class Program:
    """`rule(*arrays, *numbers)` returns the new values of some of the arrays, in order: of those at the places `sets`.

    The calls read and write *slots*: first the arrays, then the target of the first one (which may be the array itself,
    or another), then the numbers, the constants, and the temporary blocks.
    """

    def __init__(self, rule: Callable[..., Any], arrays: int, numbers: int, sets: Sequence[int], dtype: Any):
        self.dtype = np.dtype(dtype)
        self.arrays = arrays
        self.target = arrays
        self.calls: list[tuple[Any, tuple[int, ...], int]] = []
        self.constants: list[Any] = []
        traced: list[Any] = [None] * (arrays + numbers)  # an entry for each value: those given, then the results
        given = [_Symbol(traced, i) for i in range(arrays + numbers)]
        results: list[int] = []
        for result, place in zip(rule(*given), sets, strict=True):
            if result.number in results or (result.number < len(given) and (place == 0 or result.number != place)):
                result = +result  # a value that stands elsewhere is copied, in its turn
            results.append(result.number)
        self._place(traced, results, [self.target if place == 0 else place for place in sets])

    def _place(self, traced: list[Any], results: list[int], targets: list[int]) -> None:
        """Give each result a slot: its target, if what lies there is not read any more, else a temporary block."""
        given = next((i for i, call in enumerate(traced) if call is not None), len(traced))
        numbers = given - self.arrays
        slot = {i: i if i < self.arrays else i + 1 for i in range(given)}
        first_constant = self.target + 1 + numbers
        constants: dict[Any, int] = {}
        for _, operands in traced[given:]:
            for a in operands:
                if not isinstance(a, _Symbol):
                    constants.setdefault(a, first_constant + len(constants))
        self.constants = [np.array(a, self.dtype) for a in constants]
        last = {a.number: k for k, call in enumerate(traced) if call for a in call[1] if isinstance(a, _Symbol)}
        wanted = dict(reversed([*zip(results, targets, strict=True)]))
        written = {target: result for result, target in wanted.items() if result >= given}
        """When the arrays that are read no more get their new values; until then they serve as temporary blocks."""
        first_temporary, free, self.temporaries = first_constant + len(constants), list[int](), 0
        for k, (ufunc, operands) in enumerate(traced[given:], given):
            numbers_read = dict.fromkeys([a.number for a in operands if isinstance(a, _Symbol)])
            read = tuple([slot[a.number] if isinstance(a, _Symbol) else constants[a] for a in operands])
            done = [i for i in numbers_read if last[i] == k and i not in wanted]
            left = [self.target if i == 0 else slot[i] for i in done]
            free += [s for s in left if s >= first_temporary or s in written]
            target = wanted.get(k, -1)
            there = 0 if target == self.target else target
            if k in wanted and last.get(there, -1) <= k:
                slot[k] = target
            else:
                end = len(traced) if k in wanted else last.get(k, k)
                fitting = [s for s in free if s not in written or end <= written[s]]
                if fitting:
                    slot[k] = fitting[-1]
                    free.remove(slot[k])
                else:
                    slot[k] = first_temporary + self.temporaries
                    self.temporaries += 1
            self.calls.append((ufunc, read, slot[k]))
        for result, target in zip(results, targets, strict=True):
            if slot[result] != target:
                self.calls.append((np.positive, (slot[result],), target))

    def number(self, value: Any) -> Any:
        """A number of this step, as the calls take it."""
        return np.asarray(value, self.dtype)


class Job:
    """A program for these flat arrays of one length, C-contiguous. The new value of the first goes into `target`.

    An array of another dtype is converted block by block.
    """

    __slots__ = ("arrays", "numbers", "program")

    def __init__(self, program: Program, arrays: Sequence[Any], target: Any, numbers: Sequence[Any]):
        self.program, self.arrays, self.numbers = program, (*arrays, target), numbers


def run(jobs: Sequence[Job]) -> None:
    """Run all jobs, each block by block."""
    pieces = []
    total = 0
    for job in jobs:
        size = job.arrays[0].size
        block = BLOCK // job.program.dtype.itemsize
        pieces += [(job, start, min(start + block, size)) for start in range(0, size, block)]
        total += size * sum([a.itemsize for a in job.arrays])
    turns = count()

    def work(_: int) -> None:
        memory: dict[Any, list[Any]] = {}
        for k in turns:
            if k >= len(pieces):
                break
            _run_block(*pieces[k], memory)

    run_on_threads(work, min(get_num_threads(), len(pieces)) if total >= WORTH_THREADS else 1)


def _run_block(job: Job, start: int, stop: int, memory: dict[Any, list[Any]]) -> None:
    program = job.program
    dtype, arrays = program.dtype, [a[start:stop] for a in job.arrays]
    slots = list(arrays)
    spare = memory.setdefault(dtype, [])
    used = 0

    def block() -> Any:
        nonlocal used
        if used == len(spare):
            spare.append(np.empty(BLOCK // dtype.itemsize, dtype))
        used += 1
        return spare[used - 1][: stop - start]

    for i, a in enumerate(arrays):
        if a.dtype != dtype:
            slots[i] = block()
            np.copyto(slots[i], a, casting="unsafe")
    slots += job.numbers
    slots += program.constants
    slots += [block() for _ in range(program.temporaries)]
    for ufunc, read, out in program.calls:
        if len(read) == 1:
            ufunc(slots[read[0]], out=slots[out])
        else:
            ufunc(slots[read[0]], slots[read[1]], out=slots[out])
    for a, b in zip(arrays, slots, strict=False):
        if a is not b:
            np.copyto(a, b, casting="unsafe")
