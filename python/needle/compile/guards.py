"""Snapshots of outside state: `Guards` keeps values as they were, checks that they still hold, or says what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from operator import attrgetter, call, contains, getitem, is_
from types import MappingProxyType
from typing import Any

import numpy as np

from ..autograd import Value
from .places import MISSING, Content, Where, is_a, kind_of, same, short
from .source import Source

MOST_WRITTEN = 100
"""Up to how many values the checks are written out one by one in the replay's source."""

CONTENTS = attrgetter("cell_contents")
CODE, DEFAULTS, KWDEFAULTS = attrgetter("__code__"), attrgetter("__defaults__"), attrgetter("__kwdefaults__")
ATTRIBUTES = attrgetter("__dict__")
_AS_WRITTEN = {CONTENTS: "cell_contents", CODE: "__code__", DEFAULTS: "__defaults__", type: "__class__"}
"""Getters, by the attribute that the written source reads instead."""


class _Difference:
    """A difference, as two sentences: what `changed` during a call, and `why` a replay no longer holds."""

    def __init__(self, changed: str, why: str):
        self.changed, self.why = changed, why

    @classmethod
    def of(cls, where: Where, old: Any, new: Any) -> _Difference:
        """A place that holds another value."""
        subject = where.as_value()
        if new is MISSING:
            return cls(f"{subject} was deleted", f"{subject} is gone")
        if old is MISSING:
            return cls(f"{subject} is new", f"{subject} did not exist and is {short(new)}")
        kind = kind_of(old)
        if kind == kind_of(new) and short(old) == short(new):
            return cls(f"{subject} became another {kind}", f"{subject} is another {kind}")
        return cls(
            f"{subject} went from {short(old)} to {short(new)}", f"{subject} was {short(old)} and is {short(new)}"
        )

    @classmethod
    def about(cls, subject: str, verb: str) -> _Difference:
        """A change of an object itself."""
        return cls(f"{subject} {verb}", f"{subject} {verb} since")


class Guards:
    """State as it was, in flat lists, so that checking it takes few steps."""

    def __init__(self) -> None:
        # What getters return for their owners: a cell's content, an object's class, a function's code.
        self._getters: list[Callable[[Any], Any]] = []
        self._owners: list[Any] = []
        self._got: list[Any] = []
        self._got_where: list[Where] = []
        # Items of dicts: globals, attributes of modules, classes and objects.
        self._scopes: list[Any] = []
        self._keys: list[Any] = []
        self._items: list[Any] = []
        self._items_where: list[Where] = []
        # Keys missing from dicts, and getters that raise.
        self._lacking: list[Any] = []
        self._lacked: list[Any] = []
        self._lacked_where: list[Where] = []
        self._unset: list[tuple[Callable[[Any], Any], Any, Where]] = []
        # Members of lists and keys of dicts, in order.
        self._sequences: list[Any] = []
        self._lengths: list[int] = []
        self._members: list[Any] = []
        self._sequences_where: list[Where] = []
        self._contents: list[Content] = []
        self._contents_where: list[Where] = []

    def note_got(self, getter: Callable[[Any], Any], owner: Any, value: Any, where: Where) -> None:
        """What a getter returns for its owner; MISSING: it raises."""
        if value is MISSING:
            self._unset.append((getter, owner, where))
            return
        self._getters.append(getter)
        self._owners.append(owner)
        self._got.append(value)
        self._got_where.append(where)

    def note_item(self, scope: Any, key: Any, value: Any, where: Where) -> None:
        """What a dict holds under a key; MISSING: nothing."""
        if value is MISSING:
            self._lacking.append(scope)
            self._lacked.append(key)
            self._lacked_where.append(where)
            return
        self._scopes.append(scope)
        self._keys.append(key)
        self._items.append(value)
        self._items_where.append(where)

    def note_sequence(self, sequence: Any, members: list[Any], where: Where) -> None:
        self._sequences.append(sequence)
        self._lengths.append(len(members))
        self._members += members
        self._sequences_where.append(where)

    def note_content(self, content: Content, where: Where) -> None:
        self._contents.append(content)
        self._contents_where.append(where)

    def tensors(self) -> list[Any]:
        """The tensors among the noted values."""
        return [value for value in chain(self._items, self._got, self._members) if is_a(value, Value)]

    def arrays(self) -> list[Any]:
        """The arrays among the noted values."""
        return [content.array for content in self._contents if isinstance(content.array, np.ndarray)]

    def holds(self) -> bool:
        """Whether all is as it was."""
        try:
            if (
                (
                    not self._sequences  # keys before items: a defaultdict creates missing items
                    or (
                        list(map(len, self._sequences)) == self._lengths
                        and all(map(is_, chain.from_iterable(self._sequences), self._members))
                    )
                )
                and (not self._scopes or all(map(is_, map(getitem, self._scopes, self._keys), self._items)))
                and (not self._getters or all(map(is_, map(call, self._getters, self._owners), self._got)))
                and not (self._lacking and any(map(contains, self._lacking, self._lacked)))
            ):
                if not (self._contents or self._unset):
                    return True
                return all(content.holds() for content in self._contents) and not any(self._set())
        except (LookupError, AttributeError, ValueError, RuntimeError):  # gone, or changed by another thread
            pass
        if any(True for _ in self.differences()):
            return False
        self._take_equal_ones()
        return True

    def written(self, source: Source) -> list[str] | None:
        """Expressions for the source of a replay, all true if all is as it was. If one is false or raises, only
        `holds` can tell. None if there is too much to write out."""
        rest = bool(self._sequences or self._lacking or self._contents or self._unset)
        if rest or len(self._getters) + len(self._scopes) > MOST_WRITTEN:
            return None
        got, items = source.name(self._got), source.name(self._items)
        looks = []
        for i, (getter, owner) in enumerate(zip(self._getters, self._owners, strict=True)):
            value = f"{source.name(owner)}.{_AS_WRITTEN[getter]}" if getter in _AS_WRITTEN else None
            looks.append(f"{value or source.call(getter, source.name(owner))} is {got}[{i}]")
        for i, (scope, key) in enumerate(zip(self._scopes, self._keys, strict=True)):
            looks.append(f"{source.name(scope)}[{source.text(key)}] is {items}[{i}]")
        return looks

    def why(self) -> str:
        """The first difference, "" if there is none."""
        return next((difference.why for difference in self.differences()), "")

    def differences(self) -> Iterator[_Difference]:
        for getter, owner, old, where in zip(self._getters, self._owners, self._got, self._got_where, strict=True):
            if not same(old, new := get(getter, owner)):
                yield _Difference.of(where, old, new)
        for scope, key, old, where in zip(self._scopes, self._keys, self._items, self._items_where, strict=True):
            if not same(old, new := item(scope, key)):
                yield _Difference.of(where, old, new)
        for scope, key, where in zip(self._lacking, self._lacked, self._lacked_where, strict=True):
            if key in scope:
                yield _Difference.of(where, MISSING, scope[key])
        for new, where in self._set():
            yield _Difference.of(where, MISSING, new)
        start = 0
        for sequence, length, where in zip(self._sequences, self._lengths, self._sequences_where, strict=True):
            yield from _compared(sequence, self._members[start : start + length], where)
            start += length
        for content, where in zip(self._contents, self._contents_where, strict=True):
            if not content.holds():
                kind = "array" if isinstance(content.array, np.ndarray) else type(content.array).__name__
                yield _Difference.about(where.as_object(kind), "was written into")

    def _set(self) -> Iterator[tuple[Any, Where]]:
        """Values whose getters used to raise, and now return."""
        for getter, owner, where in self._unset:
            if (new := get(getter, owner)) is not MISSING:
                yield new, where

    def _take_equal_ones(self) -> None:
        """Equal objects have replaced the noted ones: compare with these from now on."""
        self._got[:] = [get(getter, owner) for getter, owner in zip(self._getters, self._owners, strict=True)]
        self._items[:] = [item(scope, key) for scope, key in zip(self._scopes, self._keys, strict=True)]
        self._members = list(chain.from_iterable(self._sequences))


def get(getter: Callable[[Any], Any], owner: Any) -> Any:
    try:
        return getter(owner)
    except (AttributeError, ValueError):
        return MISSING


def item(scope: Any, key: Any) -> Any:
    if isinstance(scope, dict):
        return dict.get(scope, key, MISSING)  # a defaultdict's own look-up would create the item
    try:
        return scope[key]
    except LookupError:
        return MISSING


def _compared(sequence: Any, old: list[Any], where: Where) -> Iterator[_Difference]:
    """How a list's or set's members, or a dict's keys, differ from the old ones."""
    new = list(sequence)
    if len(old) == len(new) and all(map(same, old, new)):
        return
    kind = type(sequence).__name__
    if isinstance(sequence, (set, frozenset)):
        if len(old) == len(new) and {(type(a), a) for a in old} == {(type(a), a) for a in new}:
            return
    elif isinstance(sequence, (dict, MappingProxyType)) and where.form != "[]" and where.name == "__dict__":
        # An object's attributes: some were added or removed.
        owner = where.parent
        for key in new:
            if key not in old:
                yield _Difference.of(Where(owner, ".", key), MISSING, sequence[key])
        for key in old:
            if key not in sequence:
                yield _Difference.of(Where(owner, ".", key), 0, MISSING)
        yield _Difference.about(f"the order of the attributes of {owner}", "changed")
        return
    elif len(old) == len(new) and not isinstance(sequence, (dict, MappingProxyType)):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            if not same(a, b):
                yield _Difference.of(Where(where, "[]", i), a, b)
        return
    subject = where.as_object(kind)
    if len(old) == len(new):
        yield _Difference.about(
            subject, "has other members" if "set" in kind else "has other keys, or in another order"
        )
    else:
        verb = "grew" if len(old) < len(new) else "shrank"
        yield _Difference.about(subject, f"{verb} from {len(old)} to {len(new)}")
