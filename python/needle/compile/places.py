"""Single outside values: a place in words (`Where`), equality (`same`), and the state of iterators and generators."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from enum import Enum
from types import MethodType, NoneType
from typing import Any

import numpy as np

from ..autograd import Tensor
from .names import words


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()


class Where:
    """A value's place, as a user would write it. `form` is a root (cell, global, default, argument, self, function,
    module) or a step from `parent` (`.` or `[]`)."""

    __slots__ = ("form", "name", "parent")

    def __init__(self, parent: Any, form: str, name: Any):
        self.parent, self.form, self.name = parent, form, name

    def __str__(self) -> str:
        ends: list[str] = []
        where = self
        while where.form in {".", "[]"}:
            ends.append(f".{where.name}" if where.form == "." else f"[{short(where.name)}]")
            where = where.parent
        return "".join([str(where.name), *reversed(ends)])

    def as_value(self) -> str:
        """As the subject of a sentence about the value in this place."""
        owner = self.parent or "it"
        if self.form == "cell":
            return f"{self.name}, which {owner} closes over,"
        if self.form == "default":
            return f"the default of {self.name}"
        return f"{self.form} {self.name}" if self.form in {"global", "argument", "function"} else str(self)

    def as_object(self, kind: str) -> str:
        """As the subject of a sentence about the object of this kind in this place."""
        if self.form == "cell":
            return f"{_a(kind)} that {self.parent or 'it'} closes over ({self.name})"
        if self.form == "global":
            return f"a global {kind} ({self.name})"
        return f"{_a(kind)} ({self})"


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeioAEIO' or kind == 'ndarray' else 'a'} {kind}"


def kind_of(value: Any) -> str:
    return "Tensor" if is_a(value, Tensor) else type(value).__name__  # not the names of internal subclasses


def short(value: Any) -> str:
    if not all(is_a(a, _SHOWN) or is_leaf(a) for a in (value if type(value) is tuple else (value,))):
        return _a(kind_of(value))
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


_PLAIN = frozenset(
    [int, float, complex, bool, str, bytes, NoneType, type(...), type(NotImplemented), range, slice, _Missing]
)
_SHOWN = (np.generic, np.dtype, Enum, int, str, bytes)
_BY_REPR = frozenset([float, complex, range, slice])  # repr tells 0.0 from -0.0, and takes every nan for the same


def is_a(value: Any, classes: Any) -> bool:
    """isinstance, but of what the object really is: isinstance also asks its `__class__`, which may be code of the
    user's, or that of the object behind a proxy."""
    return issubclass(type(value), classes)


def is_leaf(value: Any) -> bool:
    """Whether the value is immutable through and through."""
    return type(value) in _PLAIN or (
        is_a(value, _SHOWN) and not is_a(value, np.void) and not type(value).__dictoffset__
    )


def same(old: Any, new: Any) -> bool:
    """Whether a function cannot tell the two apart."""
    if old is new:
        return True
    kind = type(old)
    if kind is not type(new):
        return False
    if kind in _BY_REPR:
        return repr(old) == repr(new)
    if kind in _PLAIN or isinstance(old, np.dtype):
        return bool(old == new)
    if isinstance(old, np.generic):
        return old.dtype == new.dtype and not old.dtype.hasobject and old.tobytes() == new.tobytes()
    if kind is tuple:
        return len(old) == len(new) and all(map(same, old, new))
    return kind is MethodType and old.__self__ is new.__self__ and old.__func__ is new.__func__


def bytes_of(buffer: Any) -> bytes:
    try:
        return bytes(buffer)
    except ValueError:  # a memoryview that was released
        return b""


def _form(array: Any) -> tuple[Any, ...]:
    return array.shape, array.dtype, array.strides, array.flags.num


class Content:
    """The bytes of an array or another buffer at one time, and what describes an array."""

    __slots__ = ("array", "bytes", "form", "kept")

    def __init__(self, array: Any):
        self.array = array
        self.kept: Any = None
        self.bytes = b""
        if not isinstance(array, np.ndarray):
            self.bytes = bytes_of(array)
            return
        self.form = _form(array)
        if array.nbytes > 4096 and not array.dtype.hasobject:
            self.kept = np.array(array, order="C", subok=False)
        else:
            self.bytes = array.tobytes()
            self.kept = np.array(array, subok=False) if array.dtype.hasobject else None  # what the bytes point to

    def holds(self) -> bool:
        array, kept = self.array, self.kept
        if not isinstance(array, np.ndarray):
            return bytes_of(array) == self.bytes
        if _form(array) != self.form:
            return False
        if self.bytes or kept is None:
            return array.tobytes() == self.bytes
        if not array.flags.c_contiguous:
            return array.tobytes() == kept.tobytes()
        flat, before = array.reshape(-1).view(np.ndarray), kept.reshape(-1)
        unit = np.uint64 if array.nbytes % 8 == 0 else np.uint8
        flat, before = flat.view(unit), before.view(unit)
        step = 32768  # pieces fit a cache, and most differences show early
        return all((flat[i : i + step] == before[i : i + step]).all() for i in range(0, flat.size, step))


def as_compared(state: Any) -> Any:
    """The state of a random generator or an iterator in a form that can be compared."""
    if isinstance(state, dict):
        return tuple([(key, as_compared(value)) for key, value in state.items()])
    if isinstance(state, tuple):
        return tuple(map(as_compared, state))
    if isinstance(state, np.ndarray):
        return state.tobytes()
    if _is_iterator(state):
        return _place_of_iterator(state)
    return state if type(state) in _PLAIN else id(state)


_EMPTY: dict[Any, Any] = {}
_OF_DICTS = frozenset(map(type, (iter(_EMPTY), iter(_EMPTY.values()), iter(_EMPTY.items()), iter(set(_EMPTY)))))
_STEPPING = frozenset(
    [
        *map(type, (iter([]), iter(()), iter(""), iter("é"), iter(b""), iter(range(0)), iter(range(1 << 70)))),
        *(enumerate, zip, map, filter, reversed, type(reversed([]))),
        *_OF_DICTS,
    ]
)
"""The types of Python's own iterators."""
_PASSING_ON = words(
    "accumulate batched chain compress cycle dropwhile filterfalse islice pairwise starmap takewhile zip_longest"
)
"""Iterators of itertools whose state is that of the iterators behind them."""


def _is_iterator(value: Any) -> bool:
    return type(value) in _STEPPING or (type(value).__module__ == "itertools" and hasattr(value, "__next__"))


def behind(iterator: Any) -> list[Any]:
    """The iterators and functions that an iterator draws from."""
    if type(iterator) in _OF_DICTS:
        return []
    parts: list[Any] = []
    for part in gc.get_referents(iterator):
        parts += part if isinstance(part, tuple) else (part,)
    return [a for a in parts if callable(a) or hasattr(a, "__next__")]


def _place_of_iterator(iterator: Any) -> Any:
    kind = type(iterator)
    if kind in _OF_DICTS:
        return iterator.__length_hint__()  # __reduce__ would list all remaining members
    if kind in _STEPPING:
        return as_compared(iterator.__reduce__()[1:])
    if kind.__name__ in {"count", "repeat"}:
        return repr(iterator)
    if kind.__name__ in _PASSING_ON and (places := [as_compared(a) for a in behind(iterator) if not callable(a)]):
        return places
    return object()  # state unknown: equal to nothing


def mover(value: Any) -> tuple[str, Callable[[], Any]] | None:
    """What to call a value that advances when used, and a function that returns its state; None for other values."""
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        if is_a(value, numpy_random.Generator):
            return "random generator", lambda: as_compared(value.bit_generator.state)
        if is_a(value, numpy_random.BitGenerator):
            return "random generator", lambda: as_compared(value.state)
        if is_a(value, numpy_random.RandomState):
            return "random generator", lambda: as_compared(value.get_state())
    if (random := sys.modules.get("random")) is not None and is_a(value, random.Random):
        return "random generator", lambda: None if isinstance(value, random.SystemRandom) else value.getstate()
    return ("iterator", lambda: _place_of_iterator(value)) if _is_iterator(value) else None


NUMPYS = "NumPy's global random state"


def global_random_states() -> dict[str, Any]:
    states: dict[str, Any] = {}
    if (module := sys.modules.get("numpy.random")) is not None:
        states[NUMPYS] = as_compared(module.get_state())
    if (module := sys.modules.get("random")) is not None:
        states["Python's global random state"] = module.getstate()
    return states
