"""Arguments exchanged."""

from __future__ import annotations

from typing import Any


def subvals(x: Any, ivs: Any) -> tuple[Any, ...]:
    """The tuple with the values v at the places i, for pairs (i, v)."""
    values = list(x)
    for i, v in ivs:
        values[i] = v
    return tuple(values)


def subval(x: Any, i: int, v: Any) -> tuple[Any, ...]:
    """The tuple with the value v at place i."""
    return subvals(x, [(i, v)])
