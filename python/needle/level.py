"""The level of one transform, which knows what it wrapped."""

from __future__ import annotations

import weakref
from itertools import count
from typing import Any

_numbers = count(1)


class Level(int):
    """The number of a transform that has started: above those of all that are running."""

    def __init__(self, _: int):
        self._wrapped: list[weakref.ref[Any]] = []
        self._most = 1000

    def note(self, wrapped: Any) -> None:
        """Something is wrapped at this level."""
        self._wrapped.append(weakref.ref(wrapped))
        if len(self._wrapped) > self._most:  # most live shortly
            self._wrapped[:] = [reference for reference in self._wrapped if reference() is not None]
            self._most = 1000 + 2 * len(self._wrapped)

    def left(self) -> list[Any]:
        """What is still alive of it."""
        return [wrapped for reference in self._wrapped if (wrapped := reference()) is not None]


def next_level() -> Level:
    return Level(next(_numbers))
