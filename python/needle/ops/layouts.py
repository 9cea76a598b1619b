"""How windows lie on images: stride, padding, dilation, groups."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .base import described, several
from .columns import Windows

Pairs = tuple[tuple[int, int], ...]


class Layout(NamedTuple):
    """How windows lie on images; all but the groups along each axis. Padding may be negative: then it crops."""

    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    groups: int

    def __repr__(self) -> str:
        unusual = {"dilation": set(self.dilation) - {1}, "groups": self.groups > 1}
        return ", ".join([f"{name}={getattr(self, name)}" for name in self._fields if unusual.get(name, True)])

    def windows(self, sizes: tuple[int, ...], taps: tuple[int, ...]) -> list[Windows]:
        """The windows along each axis: as many as fit in with the padding."""
        found = []
        for n, k, s, (before, after), d in zip(sizes, taps, *self[:3], strict=True):
            found.append(Windows(-before, s, d, k, (n + before + after - d * (k - 1) - 1) // s + 1))
        return found


def pairs_of(name: str, padding: Any, reach: list[int]) -> Pairs:
    """How many zeros come before and after each axis, for windows that reach so far from their first tap."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f'{name}: padding must be numbers, "same" or "valid", got {padding!r}')
        return tuple([(n // 2, n - n // 2) if padding == "same" else (0, 0) for n in reach])
    if isinstance(padding, (tuple, list)) and any(isinstance(pair, (tuple, list)) for pair in padding):
        if len(padding) != len(reach) or any(not isinstance(p, (tuple, list)) or len(p) != 2 for p in padding):
            raise ValueError(
                f"{name}: padding must have a pair for each of {len(reach)} axes, got {described(padding)}"
            )
        return tuple(
            [(before, after) for before, after in [each_axis(name, "padding", pair, 2, 0) for pair in padding]]
        )
    return tuple([(n, n) for n in each_axis(name, "padding", padding, len(reach), 0)])


def each_axis(name: str, what: str, given: Any, axes: int, least: int) -> tuple[int, ...]:
    """One integer for each axis, none below the least."""
    numbers = several(given)
    if len(numbers) == 1:
        numbers = numbers * axes
    for n in numbers:
        if isinstance(n, (bool, np.bool)) or not hasattr(n, "__index__"):
            raise TypeError(f"{name}: {what} must be an integer, or one for each axis, got {described(given)}")
    found = tuple([int(n) for n in numbers])
    if len(found) != axes or min(found, default=least) < least:
        wanted = f"{axes} integers or one" if axes > 1 else "an integer"
        raise ValueError(f"{name}: {what} must be {wanted}, at least {least}, got {described(given)}")
    return found
