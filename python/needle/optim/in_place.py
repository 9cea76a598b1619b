"""The step of an optimizer outside of a capture: in place over arrays, without operations and without a graph.

What was recorded before a step goes on with the old value, as after `p.data = ...`. So a parameter's array is written
into only if nobody else holds it: no recorded operation, no detached tensor, no view, no user. Otherwise the new value
goes into new memory (the pool's, which the graph's end gives back). The state is the optimizer's own, and is always
written into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from sys import getrefcount
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from .. import watching
from ..autograd import constant, latest, set_value
from ..pool import empty, owns_memory
from .passes import BLOCK, Job, Program, run

SMALL = 1 << 13
"""Elements below which parameters go through a pass together: copying them costs less than calls for each."""
_COMPUTES = {"e": np.float32, "F": np.float32, "D": np.float64}
"""What a rule computes in, by the character of a parameter's dtype: its own dtype, if not named here."""


def computes_in(dtype: Any) -> Any:
    """The dtype that a rule computes in, and the state has: float32 for float16, and the real one for complex numbers,
    whose real and imaginary parts are elements of their own."""
    return np.dtype(_COMPUTES.get(dtype.char, dtype))


def state_shape(tensor: Any) -> tuple[int, ...]:
    """The shape of an array of the state."""
    return (*tensor.shape, 2) if tensor.dtype.kind == "c" else tensor.shape


class Change(NamedTuple):
    """A tensor whose value changes, by an array (its gradient) and the tensors of its state, which change too."""

    tensor: Any
    by: Any
    state: list[Any]


def _count(tensor: Any) -> int:
    """How many references there are to a tensor's array."""
    return getrefcount(tensor._array)


_ALONE = _count(constant(np.zeros(1)))


def _may_be_written(tensor: Any) -> bool:
    """Whether nobody else can see what is written into a tensor's array."""
    if _count(tensor) > _ALONE or tensor.op is not None:
        return False
    array = tensor._array
    return bool(owns_memory(array) and array.flags.c_contiguous and array.flags.writeable)


def _flat(array: Any) -> Any:
    """The elements in one row, complex ones as two numbers: a view, if they lie in C order."""
    flat = array.reshape(-1)
    return flat.view(_COMPUTES[array.dtype.char]) if array.dtype.kind == "c" else flat


def _own(state: Any, dtype: Any) -> Any:
    """A state's array, for writing into."""
    if state.dtype != dtype or not _may_be_written(state):
        state._array = np.array(state._array, dtype, order="C")
    return state._array


def _changed(tensor: Any) -> None:
    watching.tell("changed", tensor, "data")


class _Bundle:
    """Small parameters of one dtype as one row. Their state lives in such rows; their values and gradients are
    collected for each pass."""

    def __init__(self, changes: Sequence[Change], dtype: Any):
        self.tensors = [change.tensor for change in changes]
        self.states = [list(states) for states in zip(*[change.state for change in changes], strict=True)]
        size = sum([t.size for t in self.tensors])
        self._values, self._by = np.empty((2, size), dtype)
        self._rows = [np.empty(size, dtype) for _ in self.states]
        self._parts = self._cut(self._values)
        self._expected = [self._cut(row) for row in self._rows]

    def _cut(self, row: Any) -> list[Any]:
        """The parts of a row, in the shapes of the tensors."""
        ends = np.cumsum([t.size for t in self.tensors])[:-1]
        return [part.reshape(t.shape) for part, t in zip(np.split(row, ends), self.tensors, strict=True)]

    def is_for(self, changes: Sequence[Change]) -> bool:
        return len(changes) == len(self.tensors) and all(map(is_, self.tensors, [c.tensor for c in changes]))

    def job(self, program: Program, changes: Sequence[Change], numbers: Sequence[Any]) -> Job:
        np.concatenate([t._array for t in self.tensors], axis=None, out=self._values)
        np.concatenate([change.by for change in changes], axis=None, out=self._by)
        for states, parts in zip(self.states, self._expected, strict=True):
            for state, part in zip(states, parts, strict=True):
                if state._array is not part:  # at first, and after it was loaded, or set by a replay
                    part[...] = state._array
                    state._array = part
        return Job(program, (self._values, self._by, *self._rows), self._values, numbers)

    def finish(self) -> None:
        """Give the tensors their new values."""
        for tensor, part in zip(self.tensors, self._parts, strict=True):
            if _may_be_written(tensor):
                np.copyto(tensor._array, part)
            else:
                set_value(tensor, part.copy())
        if watching.active:
            for tensor in self.tensors:
                _changed(tensor)


class Passes:
    """The passes of one optimizer: keeps its programs, and which parameters go together."""

    def __init__(self) -> None:
        self._programs: dict[Any, Program] = {}
        self._bundles: dict[Any, list[_Bundle]] = {}
        self._jobs: list[Job] = []
        self._after: list[Callable[[], None]] = []

    def begin(self) -> None:
        """Forget what a step that failed had added."""
        self._jobs, self._after = [], []

    def program(self, key: Any, rule: Callable[..., Any], state: int, numbers: int, dtype: Any) -> Program:
        """The program of a rule for a value, what it changes by, so many arrays of state, and so many numbers."""
        program = self._programs.get((key, dtype.char))
        if program is None:
            sets = (0, *range(2, 2 + state))
            program = self._programs[key, dtype.char] = Program(rule, 2 + state, numbers, sets, dtype)
        return program

    def add(self, key: Any, program_for: Callable[[Any], Program], changes: Sequence[Change], numbers: Any) -> None:
        """Have the next `run` make these changes. `key` says which call it is among those of a step."""
        together: dict[Any, list[Change]] = {}
        for change in changes:
            tensor, by, state = change
            if tensor.op is not None:  # its elements were assigned to
                tensor = latest(tensor)
                change = Change(tensor, by, state)
            array = tensor._array
            dtype = array.dtype
            if array.size < SMALL and dtype.char in "fd" and by.dtype is dtype and tensor.op is None:
                together.setdefault(dtype, []).append(change)
            elif by.size:
                del array  # whoever holds it keeps it from being written into
                program = program_for(computes_in(dtype))
                self._change(program, change, [program.number(a) for a in numbers])
        for dtype, small in together.items():
            program = program_for(dtype)
            given = [program.number(a) for a in numbers]
            packed = _packed(small, BLOCK // dtype.itemsize)
            bundles = self._bundles.get((key, dtype.char), [])
            if len(bundles) != len(packed) or not all(map(_Bundle.is_for, bundles, packed)):
                bundles = self._bundles[key, dtype.char] = [_Bundle(members, dtype) for members in packed]
            for bundle, members in zip(bundles, packed, strict=True):
                self._jobs.append(bundle.job(program, members, given))
                self._after.append(bundle.finish)

    def _change(self, program: Program, change: Change, numbers: Sequence[Any]) -> None:
        """A parameter that goes through the pass by itself."""
        tensor, by, state = change
        in_place = _may_be_written(tensor)
        array = tensor._array
        target = array if in_place else empty(array.shape, array.dtype, array.nbytes)
        arrays = [array, by, *[_own(s, program.dtype) for s in state]]
        self._jobs.append(Job(program, [_flat(np.ascontiguousarray(a)) for a in arrays], _flat(target), numbers))
        self._after.append(lambda: _changed(tensor) if in_place else set_value(tensor, target))

    def whole(self, rule: Callable[..., Any], change: Change, numbers: Any) -> None:
        """Have the next `run` make a change by a rule that is not element-wise, on whole arrays."""
        tensor, by, state = change

        def step() -> None:
            dtype = computes_in(tensor.dtype)
            arrays = [np.asarray(a, dtype) for a in (latest(tensor)._array, by, *[s._array for s in state])]
            value, *values = rule(*arrays, *[np.asarray(number, dtype) for number in numbers])
            set_value(latest(tensor), value.astype(tensor.dtype, copy=False))
            for s, new in zip(state, values, strict=True):
                s._array = new

        self._after.append(step)

    def run(self) -> None:
        """Make all changes."""
        jobs, after = self._jobs, self._after
        self.begin()
        run(jobs)
        jobs.clear()
        for finish in after:
            finish()


def _packed(changes: Sequence[Change], most: int) -> list[list[Change]]:
    """The changes in parts of at most so many elements."""
    parts: list[list[Change]] = []
    size = most + 1
    for change in changes:
        size += change.tensor.size
        if size > most:
            parts.append([])
            size = change.tensor.size
        parts[-1].append(change)
    return parts


_kept: WeakKeyDictionary[Any, Passes] = WeakKeyDictionary()
"""By owner. They are no attributes of it, for a capture takes all that is one for state that a function may read."""


def passes_of(owner: Any) -> Passes:
    found = _kept.get(owner)
    if found is None:
        found = _kept[owner] = Passes()
    return found
