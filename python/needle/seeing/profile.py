"""Where time and memory go, by operation."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TextIO

import numpy as np

from ..autograd import Elements, Held, Member, Tensor, TensorTuple, Wrapped
from ..pool import owns_memory
from ..watching import Watcher


@dataclass
class Row:
    """What the applications of one class of ops took: numbers of calls, seconds, and bytes of new arrays."""

    op: str
    calls: int = 0
    seconds: float = 0.0
    bytes: int = 0
    rule_calls: int = 0
    rule_seconds: float = 0.0
    rule_bytes: int = 0

    @property
    def total(self) -> float:
        return self.seconds + self.rule_seconds


class profile(Watcher):
    """`with needle.profile():` prints, at its end, the time and the bytes of new arrays that each kind of op took, for
    its computation and for its derivatives (gradients, and tangents in forward mode), the most expensive first.

    What is watched costs some microseconds more for each op; they are not counted. `rows` has the figures, `seconds`
    the time of the whole block. It goes to `file`, standard output by default.
    """

    inside = False  # gradients take the way they take in training

    def __init__(self, *, file: TextIO | None = None):
        self._file = file
        self._rows: dict[str, Row] = {}
        self._depth = 0
        self._started = 0.0
        self.seconds = 0.0

    @property
    def rows(self) -> list[Row]:
        """The ops, the most expensive first."""
        return sorted(self._rows.values(), key=lambda row: -row.total)

    def __enter__(self) -> profile:
        super().__enter__()
        self._started = perf_counter()
        return self

    def __exit__(self, *error: Any) -> None:
        self.seconds += perf_counter() - self._started
        super().__exit__(*error)
        print(self, file=self._file or sys.stdout)

    def _row(self, op: Any) -> Row:
        return self._rows.setdefault(repr(op), Row(repr(op)))

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        if not self._depth:  # within a rule, it is part of that
            row = self._row(op)
            row.calls += 1
            row.seconds += seconds
            row.bytes += _new_bytes(output, inputs)

    def rule_begins(self, op: Any, node: Any, given: Any) -> None:
        self._depth += 1

    def rule_ends(self, op: Any, node: Any, adjoints: Any, seconds: float) -> None:
        self._depth -= 1
        if not self._depth and adjoints is not None:
            self._add(op, seconds, adjoints)

    def pushed(self, op: Any, node: Any, tangent: Any, seconds: float) -> None:
        self._depth -= 1
        if not self._depth:
            self._add(op, seconds, tangent if isinstance(tangent, tuple) else (tangent,))

    def _add(self, op: Any, seconds: float, results: Any) -> None:
        row = self._row(op)
        row.rule_calls += 1
        row.rule_seconds += seconds
        row.rule_bytes += sum({id(a): _new_bytes(a, ()) for a in results}.values())

    def __str__(self) -> str:
        inside = sum(row.total for row in self.rows)
        head = f"{'op':20} {'calls':>7} {'ms':>9} {'MB':>9}   {'derivatives':>11} {'ms':>9} {'MB':>9}   {'share':>6}"
        lines = [
            f"{row.op[:20]:20} {row.calls:7,} {1e3 * row.seconds:9.3f} {row.bytes / 1e6:9.3f}   "
            f"{row.rule_calls:11,} {1e3 * row.rule_seconds:9.3f} {row.rule_bytes / 1e6:9.3f}   "
            f"{row.total / inside if inside else 0:6.1%}"
            for row in self.rows
        ]
        whole = max(self.seconds, inside)
        rest = f"ops: {1e3 * inside:.3f} ms of {1e3 * whole:.3f} ms; the rest is Python between them, and watching"
        return "\n".join([head, *lines, rest])


def _new_bytes(value: Any, inputs: tuple[Any, ...]) -> int:
    """The bytes of the arrays in a result that own their memory: no views, and no input handed on."""
    if isinstance(value, (tuple, list)) or (isinstance(value, TensorTuple) and not isinstance(value, Wrapped)):
        members = value if isinstance(value, (tuple, list)) else value._array
        return sum(_new_bytes(member, inputs) for member in members)
    if isinstance(value, (Elements, Held, Member)):
        value = value.adjoint
    if isinstance(value, Tensor):
        value = None if isinstance(value, Wrapped) else value._array
    if not isinstance(value, np.ndarray) or not owns_memory(value):
        return 0
    return 0 if any(getattr(a, "_array", None) is value for a in inputs) else value.nbytes
