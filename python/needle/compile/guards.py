"""What a function reads from outside, whether that is still the same, and whether the function itself changed it.

Before the call, all Python state that can be reached from the function is noted; after it, what changed is told from
that. The code that ran meanwhile says which part of the state the function may have read: that is guarded from then on.
"""

from __future__ import annotations

import builtins
import dis
import gc
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from enum import Enum
from functools import cache, cached_property, partial, partialmethod
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from itertools import chain
from operator import attrgetter, call, contains, getitem, is_, methodcaller
from types import (
    AsyncGeneratorType,
    BuiltinMethodType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    NoneType,
)
from typing import Any

import numpy as np

from ..autograd import Tensor, Value
from ..nested import children_of
from ..transforms import Transformed
from .source import Source

MOST_ITEMS = 100_000
"""How many values may be looked at for one function, and below, how many bytes of arrays copied."""
MOST_BYTES = 1 << 28
MOST_WRITTEN = 100
"""How many values a function is written for that looks at them one by one."""


LOOKED_THROUGH: dict[type[Any], str] = {Transformed: "f"}
"""Classes of objects that are this attribute of theirs: what they have besides never changes, or is their matter."""


class TooMuch(Exception):  # noqa: N818 - it says what is
    """So much can be reached from a function that looking through it is no use."""


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CLOCKS = frozenset(
    map(
        time.__dict__.get,
        _words("time time_ns perf_counter perf_counter_ns monotonic monotonic_ns process_time process_time_ns ctime"),
    )
)
_ENTROPY = frozenset([os.urandom])
"""Functions that say something else each time."""

# ------------------------------------------------------------------------------------------------- whose code it is

_LIBRARY = (
    os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ""),
    os.path.join(os.path.dirname(os.path.abspath(os.__file__)), ""),
    "<frozen ",
)

_PLAIN_SPOKEN = (_LIBRARY[0], os.path.join(os.path.dirname(os.path.abspath(np.__file__)), ""))


@cache
def _is_library(filename: str) -> bool:
    """Whether a file is Needle's own, Python's, or of an installed package: what its code names does not change."""
    return filename.startswith(_LIBRARY) or "site-packages" in filename or "dist-packages" in filename


def _is_users_module(module: Any) -> bool:
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return not _is_library(file)
    return module is not None and module.__name__ not in sys.builtin_module_names


def _is_users_class(cls: type[Any]) -> bool:
    if not cls.__flags__ & 1 << 9:  # a heap type: others are C's
        return False
    module = sys.modules.get(cls.__module__)
    return module is None or _is_users_module(module)


_OPAQUE = _words(
    "_asyncio _io _thread _weakref asyncio concurrent importlib io logging multiprocessing re select selectors "
    "socket ssl subprocess tempfile threading traceback warnings"
)
"""Objects from these modules are what they are: they change all the time, and no number is computed from them."""


def _is_opaque(cls: type[Any]) -> bool:
    module = cls.__module__
    return isinstance(module, str) and module.partition(".")[0] in _OPAQUE


# ------------------------------------------------------------------------------------------------- what code names

_GLOBALS = _words("LOAD_GLOBAL STORE_GLOBAL DELETE_GLOBAL LOAD_NAME LOAD_FROM_DICT_OR_GLOBALS")
_ATTRIBUTES = _words("LOAD_ATTR LOAD_METHOD STORE_ATTR DELETE_ATTR IMPORT_FROM")
_BETWEEN = _words("CACHE EXTENDED_ARG NOP COPY PUSH_NULL PRECALL")  # in a chain such as config.lr += 1
_REFLECTING = _words(
    "__dict__ __getattribute__ __getstate__ __reduce__ __reduce_ex__ attrgetter delattr dir dumps eval exec "
    "getattr getattr_static getmembers hasattr methodcaller setattr vars"
)
"""Code that names these may read attributes that it does not name."""
_STANDARD = frozenset(dir(builtins))


class _Facts:
    """What a code object names."""

    __slots__ = ("attributes", "chains", "code", "globals", "imports", "inner", "names", "reflects", "strings", "users")

    def __init__(self, code: CodeType):
        self.code = code  # which keeps its id
        self.users = not _is_library(code.co_filename)
        self.inner = tuple([c for c in code.co_consts if isinstance(c, CodeType)])
        strings = [c for c in code.co_consts if isinstance(c, str)]
        for c in code.co_consts:
            if isinstance(c, tuple):  # a match statement's attributes
                strings += [s for s in c if isinstance(s, str)]
        self.strings = frozenset([s for s in strings if s.isidentifier()])
        self.names = self.strings.union(code.co_names)
        reflecting = _REFLECTING.intersection(code.co_names)
        if code.co_filename.startswith(_PLAIN_SPOKEN):  # it names the attributes that it asks an object for, as strings
            reflecting &= {"__dict__", "vars"}
        self.reflects = bool(reflecting)
        self.globals: dict[str, None] = {}
        self.chains: dict[tuple[str, ...], None] = {}
        self.imports: list[tuple[str, int]] = []
        self.attributes: set[str] = set()
        if self.users:
            self._read(code)

    def _read(self, code: CodeType) -> None:
        level, numbers = 0, [0, 0]
        current: tuple[str, ...] = ()
        for step in dis.get_instructions(code):
            what, name = step.opname, step.argval
            if what in _GLOBALS:
                self.globals[name] = None
                current = (name,)
            elif what in _ATTRIBUTES:
                self.attributes.add(name)
                if current:
                    current = (*current, name)
                    self.chains[current] = None
            elif what == "IMPORT_NAME":
                level = numbers[-2]
                self.imports.append((name, level if isinstance(level, int) else 0))
            else:
                if what in {"LOAD_CONST", "LOAD_SMALL_INT"}:  # an import's level, and its names
                    numbers = [numbers[-1], step.argval]
                elif what == "MATCH_CLASS":
                    self.reflects = True
                if what not in _BETWEEN:
                    current = ()


_known: dict[int, _Facts] = {}


def _facts_of(code: CodeType) -> _Facts:
    # By identity: equal code objects may come from different files.
    facts = _known.get(id(code))
    if facts is None:
        if len(_known) > 10_000:  # of functions that are made again and again
            _known.clear()
        facts = _known[id(code)] = _Facts(code)
    return facts


def _within(code: CodeType) -> Iterator[CodeType]:
    """This code and that of functions written inside of it."""
    todo = [code]
    while todo:
        code = todo.pop()
        yield code
        todo += _facts_of(code).inner


# ------------------------------------------------------------------------------------------------ values and places


class _Where:
    """A value's place, as a user would write it. `form` is one of: cell, global, default, argument, self, function (the
    roots), `.` and `[]`."""

    __slots__ = ("form", "name", "parent")

    def __init__(self, parent: Any, form: str, name: Any):
        self.parent, self.form, self.name = parent, form, name

    def __str__(self) -> str:
        ends: list[str] = []
        where = self
        while where.form in {".", "[]"}:
            ends.append(f".{where.name}" if where.form == "." else f"[{_short(where.name)}]")
            where = where.parent
        return "".join([str(where.name), *reversed(ends)])

    def as_value(self) -> str:
        """For a sentence about what stands in this place."""
        owner = self.parent or "it"
        if self.form == "cell":
            return f"{self.name}, which {owner} closes over,"
        if self.form == "default":
            return f"the default of {self.name}"
        return f"{self.form} {self.name}" if self.form in {"global", "argument", "function"} else str(self)

    def as_object(self, kind: str) -> str:
        """For a sentence about the object in this place, which is of this kind."""
        if self.form == "cell":
            return f"{_a(kind)} that {self.parent or 'it'} closes over ({self.name})"
        if self.form == "global":
            return f"a global {kind} ({self.name})"
        return f"{_a(kind)} ({self})"


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeioAEIO' or kind == 'ndarray' else 'a'} {kind}"


def _kind(value: Any) -> str:
    return "Tensor" if isinstance(value, Tensor) else type(value).__name__  # whether it was assigned to or not


def _short(value: Any) -> str:
    if not (_is_leaf(value) or (type(value) is tuple and all(map(_is_leaf, value)))):
        return _a(_kind(value))
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


_PLAIN = frozenset(
    [int, float, complex, bool, str, bytes, NoneType, type(...), type(NotImplemented), range, slice, _Missing]
)
_BY_REPR = frozenset([float, complex, range, slice])  # which tells 0.0 from -0.0, and not one nan from another


def _is_leaf(value: Any) -> bool:
    """Whether there is nothing in it that could change."""
    return type(value) in _PLAIN or isinstance(value, (np.generic, np.dtype, Enum, int, str, bytes))


def _same(old: Any, new: Any) -> bool:
    """Whether it makes no difference which of the two a function finds."""
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
        return len(old) == len(new) and all(map(_same, old, new))
    return kind is MethodType and old.__self__ is new.__self__ and old.__func__ is new.__func__


class _Content:
    """The bytes of an array, or of another buffer, as they were."""

    __slots__ = ("array", "bytes", "dtype", "kept", "shape")

    def __init__(self, array: Any):
        self.array = array
        self.kept: Any = None
        self.bytes = b""
        if not isinstance(array, np.ndarray):
            self.bytes = bytes(array)
            return
        self.shape, self.dtype = array.shape, array.dtype
        if array.nbytes > 4096 and not array.dtype.hasobject:
            self.kept = np.array(array, order="C", subok=False)
        else:
            self.bytes = array.tobytes()
            self.kept = np.array(array, subok=False) if array.dtype.hasobject else None  # what the bytes point to

    def holds(self) -> bool:
        array, kept = self.array, self.kept
        if not isinstance(array, np.ndarray):
            return bytes(array) == self.bytes
        if array.shape != self.shape or array.dtype != self.dtype:
            return False
        if self.bytes or kept is None:
            return array.tobytes() == self.bytes
        if not array.flags.c_contiguous:
            return array.tobytes() == kept.tobytes()
        flat, before = array.reshape(-1).view(np.ndarray), kept.reshape(-1)
        unit = np.uint64 if array.nbytes % 8 == 0 else np.uint8
        flat, before = flat.view(unit), before.view(unit)
        step = 32768  # in pieces that stay in a cache, and because a difference is mostly found soon
        return all((flat[i : i + step] == before[i : i + step]).all() for i in range(0, flat.size, step))


def _place(state: Any) -> Any:
    """The state of a generator or an iterator as something that can be compared."""
    if isinstance(state, dict):
        return tuple([(key, _place(value)) for key, value in state.items()])
    if isinstance(state, tuple):
        return tuple(map(_place, state))
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
_PASSING_ON = _words(
    "accumulate batched chain compress cycle dropwhile filterfalse islice pairwise starmap takewhile zip_longest"
)
"""Those of itertools that stand where the iterators stand from which they take."""


def _is_iterator(value: Any) -> bool:
    return type(value) in _STEPPING or (type(value).__module__ == "itertools" and hasattr(value, "__next__"))


def _behind(iterator: Any) -> list[Any]:
    """The iterators and functions from which an iterator takes."""
    if type(iterator) in _OF_DICTS:
        return []
    parts: list[Any] = []
    for part in gc.get_referents(iterator):
        parts += part if isinstance(part, tuple) else (part,)
    return [a for a in parts if callable(a) or hasattr(a, "__next__")]


def _place_of_iterator(iterator: Any) -> Any:
    kind = type(iterator)
    if kind in _OF_DICTS:
        return iterator.__length_hint__()  # __reduce__ would make a list of what is left
    if kind in _STEPPING:
        return _place(iterator.__reduce__()[1:])
    if kind.__name__ in {"count", "repeat"}:
        return repr(iterator)
    if kind.__name__ in _PASSING_ON and (places := [_place(a) for a in _behind(iterator) if not callable(a)]):
        return places
    return object()  # It does not say, so it stands nowhere for sure.


def _mover(value: Any) -> tuple[str, Callable[[], Any]] | None:
    """For what a function may move on by using it: what it is called, and how to ask where it stands."""
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        if isinstance(value, numpy_random.Generator):
            return "random generator", lambda: _place(value.bit_generator.state)
        if isinstance(value, numpy_random.BitGenerator):
            return "random generator", lambda: _place(value.state)
        if isinstance(value, numpy_random.RandomState):
            return "random generator", lambda: _place(value.get_state())
    if (random := sys.modules.get("random")) is not None and isinstance(value, random.Random):
        return "random generator", lambda: None if isinstance(value, random.SystemRandom) else value.getstate()
    return ("iterator", lambda: _place_of_iterator(value)) if _is_iterator(value) else None


_NUMPYS = "NumPy's global random state"


def _global_random_states() -> dict[str, Any]:
    states: dict[str, Any] = {}
    if (module := sys.modules.get("numpy.random")) is not None:
        states[_NUMPYS] = _place(module.get_state())
    if (module := sys.modules.get("random")) is not None:
        states["Python's global random state"] = module.getstate()
    return states


# ----------------------------------------------------------------------------------------------------------- guards


class _Difference:
    """What is not as it was: two sentences about it."""

    def __init__(self, changed: str, why: str):
        self.changed, self.why = changed, why

    @classmethod
    def of(cls, where: _Where, old: Any, new: Any) -> _Difference:
        """Another value in a place."""
        subject = where.as_value()
        if new is MISSING:
            return cls(f"{subject} was deleted", f"{subject} is gone")
        if old is MISSING:
            return cls(f"{subject} is new", f"{subject} did not exist and is {_short(new)}")
        kind = _kind(old)
        if kind == _kind(new) and _short(old) == _short(new):
            return cls(f"{subject} became another {kind}", f"{subject} is another {kind}")
        return cls(
            f"{subject} went from {_short(old)} to {_short(new)}", f"{subject} was {_short(old)} and is {_short(new)}"
        )

    @classmethod
    def about(cls, subject: str, verb: str) -> _Difference:
        """Something that happened to an object."""
        return cls(f"{subject} {verb}", f"{subject} {verb} since")


class Guards:
    """State as it was, in flat lists, so that asking whether it still is takes few steps."""

    def __init__(self) -> None:
        # What getters say of their owners: a cell's content, an object's class, a function's code.
        self._getters: list[Callable[[Any], Any]] = []
        self._owners: list[Any] = []
        self._got: list[Any] = []
        self._got_where: list[_Where] = []
        # What stands in dicts under a key: globals, attributes of modules, classes and objects.
        self._scopes: list[Any] = []
        self._keys: list[Any] = []
        self._items: list[Any] = []
        self._items_where: list[_Where] = []
        # Keys that are not in dicts, and getters that raise.
        self._lacking: list[Any] = []
        self._lacked: list[Any] = []
        self._lacked_where: list[_Where] = []
        self._unset: list[tuple[Callable[[Any], Any], Any, _Where]] = []
        # Members of lists, keys of dicts: in their order.
        self._sequences: list[Any] = []
        self._lengths: list[int] = []
        self._members: list[Any] = []
        self._sequences_where: list[_Where] = []
        self._contents: list[_Content] = []
        self._contents_where: list[_Where] = []

    def holds(self) -> bool:
        """Whether all is as it was."""
        try:
            if (
                (
                    not self._sequences  # keys before items: a dict may make what it lacks
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
        except (LookupError, AttributeError, ValueError, RuntimeError):  # gone, or changed by another thread meanwhile
            pass
        if any(True for _ in self._differences()):
            return False
        self._take_equal_ones()
        return True

    def written(self, source: Source) -> list[str] | None:
        """What is true of each value if all is as it was, for the source of a function. If one of these is false, or
        raises an error, only `holds` can tell; and if there is too much to look at, which is None."""
        rest = bool(self._sequences or self._lacking or self._contents or self._unset)
        if rest or len(self._getters) + len(self._scopes) > MOST_WRITTEN:
            return None
        got, items = source.name(self._got), source.name(self._items)
        looks = []
        for i, (getter, owner) in enumerate(zip(self._getters, self._owners, strict=True)):
            value = f"{source.name(owner)}.{_PLAIN_GETTERS[getter]}" if getter in _PLAIN_GETTERS else None
            looks.append(f"{value or source.call(getter, source.name(owner))} is {got}[{i}]")
        for i, (scope, key) in enumerate(zip(self._scopes, self._keys, strict=True)):
            looks.append(f"{source.name(scope)}[{source.text(key)}] is {items}[{i}]")
        return looks

    def why(self) -> str:
        """What is not as it was, "" if all is."""
        return next((difference.why for difference in self._differences()), "")

    def _differences(self) -> Iterator[_Difference]:
        for getter, owner, old, where in zip(self._getters, self._owners, self._got, self._got_where, strict=True):
            if not _same(old, new := _get(getter, owner)):
                yield _Difference.of(where, old, new)
        for scope, key, old, where in zip(self._scopes, self._keys, self._items, self._items_where, strict=True):
            if not _same(old, new := _item(scope, key)):
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

    def _set(self) -> Iterator[tuple[Any, _Where]]:
        """What was not set, and is."""
        for getter, owner, where in self._unset:
            if (new := _get(getter, owner)) is not MISSING:
                yield new, where

    def _take_equal_ones(self) -> None:
        """Other objects stand for the same values now: know them the next time."""
        self._got[:] = [_get(getter, owner) for getter, owner in zip(self._getters, self._owners, strict=True)]
        self._items[:] = [_item(scope, key) for scope, key in zip(self._scopes, self._keys, strict=True)]
        self._members = list(chain.from_iterable(self._sequences))


def _get(getter: Callable[[Any], Any], owner: Any) -> Any:
    try:
        return getter(owner)
    except (AttributeError, ValueError):
        return MISSING


def _item(scope: Any, key: Any) -> Any:
    if isinstance(scope, dict):
        return dict.get(scope, key, MISSING)  # which makes nothing, as a defaultdict's own look-up does
    try:
        return scope[key]
    except LookupError:
        return MISSING


def _compared(sequence: Any, old: list[Any], where: _Where) -> Iterator[_Difference]:
    """How the members of a list or set, or the keys of a dict, differ from these."""
    new = list(sequence)
    if len(old) == len(new) and all(map(_same, old, new)):
        return
    kind = type(sequence).__name__
    if isinstance(sequence, (set, frozenset)):
        if len(old) == len(new) and {(type(a), a) for a in old} == {(type(a), a) for a in new}:
            return
    elif isinstance(sequence, dict) and where.form != "[]" and where.name == "__dict__":
        # An object's attributes: one was added, or removed.
        owner = where.parent
        for key in new:
            if key not in old:
                yield _Difference.of(_Where(owner, ".", key), MISSING, sequence[key])
        for key in old:
            if key not in sequence:
                yield _Difference.of(_Where(owner, ".", key), 0, MISSING)
        yield _Difference.about(f"the order of the attributes of {owner}", "changed")
        return
    elif len(old) == len(new) and not isinstance(sequence, (dict, MappingProxyType)):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            if not _same(a, b):
                yield _Difference.of(_Where(where, "[]", i), a, b)
        return
    subject = where.as_object(kind)
    if len(old) == len(new):
        yield _Difference.about(
            subject, "has other members" if "set" in kind else "has other keys, or in another order"
        )
    else:
        verb = "grew" if len(old) < len(new) else "shrank"
        yield _Difference.about(subject, f"{verb} from {len(old)} to {len(new)}")


# ------------------------------------------------------------------------------------------------------- the search

_contents = attrgetter("cell_contents")
_code, _defaults, _kwdefaults = attrgetter("__code__"), attrgetter("__defaults__"), attrgetter("__kwdefaults__")
_attributes = attrgetter("__dict__")
_PLAIN_GETTERS = {_contents: "cell_contents", _code: "__code__", _defaults: "__defaults__", type: "__class__"}
"""As they are written."""


def _value_here(variable: ContextVar[Any]) -> Any:
    return variable.get(MISSING)


def _functions_in(value: Any) -> list[Any] | None:
    """The functions that a member of a class consists of; None if it is something else."""
    if isinstance(value, FunctionType):
        return [value]
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__]
    if isinstance(value, property):
        return [f for f in (value.fget, value.fset, value.fdel) if f is not None]
    if isinstance(value, (cached_property, partialmethod)):
        return [value.func]
    return None


class _Search:
    """Goes through what can be reached from some values, the nearest first, and notes it in guards.

    Without `ran`, everything that a function might reach: each function's closure, and the globals it names. With it,
    only what the code that ran can have read.
    """

    def __init__(self, ran: dict[int, Any] | None, names: frozenset[str] | None = None):
        self.guards = Guards()
        self.movers: list[tuple[str, Callable[[], Any], Any, _Where]] = []
        self.frames: dict[int, tuple[Any, _Where]] = {}  # of generators that are under way
        self.codes: dict[int, CodeType] = {}  # of the functions that were found, and within
        self.reflects = False  # whether something was found that reads attributes by names that only it knows
        self._ran = ran
        self._names = names  # of the attributes that may have been read; None: any
        self._seen: dict[int, Any] = {}
        self._slots: set[tuple[int, Any]] = set()
        self._todo: deque[tuple[Any, _Where]] = deque()
        self._items = self._bytes = 0

    def run(self) -> None:
        while self._todo:
            self._expand(*self._todo.popleft())

    # What is noted

    def _count(self, items: int = 1) -> None:
        self._items += items
        if self._items > MOST_ITEMS:
            raise TooMuch(f"more than {MOST_ITEMS} values can be reached from it")

    def visit(self, value: Any, where: _Where) -> None:
        if not (_is_leaf(value) or isinstance(value, (Value, ModuleType)) or id(value) in self._seen):
            self._seen[id(value)] = value
            self._todo.append((value, where))

    def _got(self, getter: Callable[[Any], Any], owner: Any, where: _Where, visit: bool = True) -> Any:
        """Note what the getter says of its owner, and look into it."""
        self._count()
        guards = self.guards
        value = _get(getter, owner)
        if value is MISSING and getter is not _value_here:
            guards._unset.append((getter, owner, where))
            return value
        guards._getters.append(getter)
        guards._owners.append(owner)
        guards._got.append(value)
        guards._got_where.append(where)
        if visit:
            self.visit(value, where)
        return value

    def _stands(self, scope: Any, key: Any, where: _Where, owner: Any = None, visit: bool = True) -> Any:
        """Note what stands in a dict (a class's: `owner`) under a key, or that nothing does, and look into it."""
        slot = id(scope if owner is None else owner), key
        value = _item(scope, key)
        if slot in self._slots:
            return value
        self._slots.add(slot)
        self._count()
        guards = self.guards
        if value is MISSING:
            guards._lacking.append(scope)
            guards._lacked.append(key)
            guards._lacked_where.append(where)
            return value
        guards._scopes.append(scope)
        guards._keys.append(key)
        guards._items.append(value)
        guards._items_where.append(where)
        if visit:
            self.visit(value, where)
        return value

    def _sequence(self, sequence: Any, where: _Where) -> None:
        members = list(sequence)
        self._count(len(members))
        guards = self.guards
        guards._sequences.append(sequence)
        guards._lengths.append(len(members))
        guards._members += members
        guards._sequences_where.append(where)

    def _content(self, array: Any, where: _Where) -> None:
        self._bytes += array.nbytes if isinstance(array, np.ndarray) else len(bytes(array))
        if self._bytes > MOST_BYTES:
            raise TooMuch(f"arrays of more than {MOST_BYTES >> 20} MB can be reached from it")
        self.guards._contents.append(_Content(array))
        self.guards._contents_where.append(where)

    # What is looked into

    def _expand(self, value: Any, where: _Where) -> None:
        if type(value) in LOOKED_THROUGH:
            self.visit(getattr(value, LOOKED_THROUGH[type(value)]), where)
        elif isinstance(value, FunctionType):
            self.function(value, where)
        elif isinstance(value, MethodType):
            self.visit(value.__self__, _Where(None, "self", "self") if where.form == "function" else where)
            self.visit(value.__func__, where)
        elif isinstance(value, (BuiltinMethodType, MethodWrapperType)):
            self.visit(value.__self__, where)
        elif isinstance(value, type):
            self._class(value, where)
        elif isinstance(value, partial):
            self.visit(value.func, where)
            self.visit(value.args, where)
            self.visit(value.keywords, where)
            self._object(value, where)
        elif (functions := _functions_in(value)) is not None:
            for function in functions:
                self.visit(function, where)
        elif isinstance(value, np.ndarray):
            self._array(value, where)
        elif isinstance(value, bytearray) or type(value).__module__ == "array":
            self._content(value, where)
        elif isinstance(value, (GeneratorType, CoroutineType, AsyncGeneratorType)):
            frame = getattr(value, "gi_frame", None) or getattr(value, "cr_frame", None)
            frame = frame or getattr(value, "ag_frame", None)
            if frame is not None:
                self.frames[id(frame)] = frame, where
        elif (mover := _mover(value)) is not None:
            kind, state = mover
            self.movers.append((kind, state, state(), where))
            for part in _behind(value) if kind == "iterator" else ():
                self.visit(part, where)
        elif isinstance(value, (attrgetter, methodcaller)):
            self.reflects = True
        elif isinstance(value, ContextVar):
            self._got(_value_here, value, where)
        else:
            self._object(value, where)

    def _array(self, array: Any, where: _Where) -> None:
        self._content(array, where)
        if array.dtype == object:
            self._count(array.size)
            for i, member in enumerate(array.reshape(-1).tolist()):
                self.visit(member, _Where(where, "[]", i))
        if type(array) is not np.ndarray:
            self._attributes_of(array, where)

    def _object(self, value: Any, where: _Where) -> None:
        """A container, or an object with attributes, or both."""
        if isinstance(value, (tuple, frozenset)):  # which cannot change, but what is in them
            self._count(len(value))
            for i, member in enumerate(value):
                self.visit(member, _Where(where, "[]", i))
        elif isinstance(value, (list, deque)):
            self._sequence(value, where)
            for i, member in enumerate(list(value)):
                self.visit(member, _Where(where, "[]", i))
        elif isinstance(value, set):
            self._sequence(value, where)
            for member in list(value):
                self.visit(member, _Where(where, "[]", "..."))
        elif isinstance(value, (dict, MappingProxyType)):
            self._sequence(value, where)
            scope = value if type(value) is MappingProxyType else _Plainly(value) if _has_own_items(value) else value
            for key in list(value):
                self.visit(key, where)
                self._stands(scope, key, _Where(where, "[]", key), owner=value)
        cls = type(value)
        if cls is not object and cls.__module__ != "builtins" and not _is_opaque(cls):
            self._attributes_of(value, where)

    def _attributes_of(self, value: Any, where: _Where) -> None:
        cls = type(value)
        slots = [
            (name, member)
            for base in cls.__mro__
            if "__slots__" in vars(base)
            for name, member in list(vars(base).items())
            if type(member) is MemberDescriptorType
        ]
        if not slots and _dict_or_none(value) is None:
            return
        self._got(type, value, _Where(where, ".", "__class__"), visit=False)
        self.visit(cls, _Where(None, "global", cls.__name__))
        self._dict_of(value, where)
        for name, member in slots:
            if self._names is None or name in self._names:
                self._got(member.__get__, value, _Where(where, ".", name))

    def _dict_of(self, value: Any, where: _Where) -> None:
        """The attributes that stand in an object's own dict."""
        attributes = _dict_or_none(value)
        if attributes is None:
            return
        lookup: Any = type(value).__getattribute__
        if lookup is object.__getattribute__:
            self._got(_attributes, value, _Where(where, ".", "__dict__"), visit=False)
        if attributes is value or id(attributes) in self._seen:
            return
        self._seen[id(attributes)] = attributes
        self._sequence(attributes, _Where(where, ".", "__dict__"))
        names = self._names
        for name in list(attributes):
            if names is None or name in names:
                self._stands(attributes, name, _Where(where, ".", name))

    def _class(self, cls: type[Any], where: _Where) -> None:
        """What the members of the user's classes are: all that are no functions, and the functions that ran."""
        if issubclass(cls, (Enum, Value)):
            return
        bases = [base for base in cls.__mro__ if _is_users_class(base)]
        for i, base in enumerate(bases):
            for name, member in list(vars(base).items()):
                functions = _functions_in(member)
                if functions is None:
                    if (name.startswith("__") and name.endswith("__")) or type(member) is MemberDescriptorType:
                        continue
                elif self._ran is not None and not any(map(self._has_run, functions)):
                    continue
                for derived in bases[:i]:
                    if name not in vars(derived):
                        self._stands(vars(derived), name, _Where(where, ".", name), owner=derived)
                self._stands(vars(base), name, _Where(where, ".", name), owner=base)

    def _has_run(self, function: Any) -> bool:
        code = getattr(function, "__code__", None)  # what is no function may call one
        return self._ran is None or code is None or id(code) in self._ran

    def function(self, function: Any, where: _Where) -> None:
        if not self._has_run(function):
            return
        code = function.__code__
        owner = None if where.form in {"function", "self"} else function.__name__
        if not _is_library(code.co_filename):
            self._got(_code, function, where, visit=False)
            self._defaults(function, owner)
        facts = [_facts_of(c) for c in _within(code)]
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            value = self._got(_contents, cell, _Where(owner, "cell", name))
            if isinstance(value, ModuleType):
                for known in facts:
                    self._module(value, known, _Where(None, "cell", name))
        if self._ran is None or function.__dict__:
            self._dict_of(function, _Where(None, "function", function.__name__))
        for known in facts:
            self.codes[id(known.code)] = known.code
            if self._ran is None:
                self.code(known.code, function.__globals__)

    def _defaults(self, function: Any, owner: Any) -> None:
        defaults = self._got(_defaults, function, _Where(owner, "default", "its arguments"), visit=False) or ()
        for name, value in zip(_arguments(function.__code__)[-len(defaults) :], defaults, strict=False):
            self.visit(value, _Where(owner, "default", name))
        if function.__kwdefaults__:
            self._got(_kwdefaults, function, _Where(owner, "default", "its arguments"), visit=False)
            for name in function.__kwdefaults__:
                self._stands(function.__kwdefaults__, name, _Where(owner, "default", name))

    def code(self, code: CodeType, scope: dict[str, Any]) -> None:
        """The globals that the user's code names, and the attributes of modules."""
        facts = _facts_of(code)
        self.codes[id(code)] = code
        if not facts.users or code.co_name == "<module>":  # which was imported just now
            return
        for name in facts.globals:
            where = _Where(None, "global", name)
            value = self._stands(scope, name, where)
            if value is MISSING and name not in _STANDARD:
                given = scope.get("__builtins__", builtins)
                value = self._stands(given if isinstance(given, dict) else vars(given), name, where)
            if isinstance(value, ModuleType) and _is_users_module(value):
                self._module(value, facts, where)
        for names in facts.chains:
            self._chain(scope.get(names[0], MISSING), names[1:], _Where(None, "global", names[0]))
        for name, level in facts.imports:
            full = name
            if level:
                package = str(scope.get("__package__") or "").rsplit(".", level - 1)[0]
                full = f"{package}.{name}" if name else package
            parts = full.split(".")
            for i in range(len(parts)):
                module = sys.modules.get(".".join(parts[: i + 1]))
                if isinstance(module, ModuleType) and _is_users_module(module):
                    self._module(module, facts, _Where(None, "module", ".".join(parts[: i + 1])))

    def _chain(self, value: Any, names: tuple[str, ...], where: _Where) -> None:
        """The attributes `a.b.c` of modules: each where it stands."""
        for name in names:
            if not isinstance(value, ModuleType):
                return
            if str(getattr(value, "__file__", "")).startswith(_PLAIN_SPOKEN):
                return  # nobody takes np.tanh for something else
            where = _Where(where, ".", name)
            value = self._stands(vars(value), name, where, visit=_is_users_module(value))

    def _module(self, module: ModuleType, facts: _Facts, where: _Where) -> None:
        """The attributes of a module of the user's that code may read under another name."""
        if not _is_users_module(module) or (id(module), facts) in self._slots:
            return
        self._slots.add((id(module), facts))
        scope = vars(module)
        for name in facts.names if facts.reflects else facts.attributes:
            if name in scope or (facts.reflects and name in facts.strings):
                value = self._stands(scope, name, _Where(where, ".", name))
                if isinstance(value, ModuleType):
                    self._module(value, facts, _Where(where, ".", name))


def _dict_or_none(value: Any) -> Any:
    """Where the attributes stand, whatever an object makes of being asked for them."""
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return attributes if type(attributes) is dict else None


def _arguments(code: CodeType) -> tuple[str, ...]:
    return code.co_varnames[: code.co_argcount]


def _has_own_items(value: Any) -> bool:
    return type(value).__getitem__ is not dict.__getitem__


class _Plainly:
    """The items of a dict that has its own way to look them up, which might change it, or call the user's code."""

    def __init__(self, items: Any):
        self._dict = items

    def __getitem__(self, key: Any) -> Any:
        return dict.get(self._dict, key, MISSING)

    def __contains__(self, key: Any) -> bool:
        return dict.__contains__(self._dict, key)


# ------------------------------------------------------------------------------------------------------- one call


class Reads:
    """What a call of f reads: make this before the call, and do the call in `with reads:`.

    Raises TooMuch if more can be reached from f than is worth to be looked at; `guards()` may raise it, too.
    """

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None):
        self._f, self._args, self._kwargs = f, args, kwargs or {}
        self._ran: dict[int, tuple[CodeType, list[dict[str, Any]]]] = {}
        self._late: list[_Search] = []
        self._failed: TooMuch | None = None
        self._advanced: _Where | None = None
        self._asked = ""
        before = _Search(None)
        self._begin(before)
        for value, where in self._arguments():
            for part, place in _objects_in(value, where):
                before.visit(part, place)
        before.run()
        self._tensors = _tensors_in(before)
        for value, where in self._arguments():
            before.visit(value, where)
        before.run()
        self._before = before
        self._found = frozenset(before.codes)
        self._frames = before.frames
        self._random = _global_random_states()

    def _begin(self, search: _Search) -> None:
        """Start at the function, by the names that it has for things itself."""
        f = self._f
        root = _Where(None, "function", getattr(f, "__name__", type(f).__name__))
        search.visit(f, root if isinstance(f, (FunctionType, MethodType)) else _Where(None, "self", "self"))

    def _arguments(self) -> Iterator[tuple[Any, _Where]]:
        f: Any = getattr(self._f, "__func__", self._f)
        names = _arguments(f.__code__) if isinstance(f, FunctionType) else ()
        names = names[1:] if isinstance(self._f, MethodType) else names
        for i, value in enumerate(self._args):
            yield value, _Where(None, "argument", names[i] if i < len(names) else str(i))
        for name, value in self._kwargs.items():
            yield value, _Where(None, "argument", name)

    def __enter__(self) -> Reads:
        self._profile = sys.getprofile()
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        profile: Any = self._profile
        if profile is not None:
            if hasattr(profile, "enable"):  # cProfile's, which is none of Python's functions, up to Python 3.11
                profile.enable()
            else:
                sys.setprofile(profile)

    def _note(self, frame: FrameType, event: str, arg: Any) -> None:
        if event != "call":
            if event == "c_call":
                self._note_builtin(frame, arg)
            return
        code = frame.f_code
        if code.co_flags & (CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR) and id(frame) in self._frames:
            self._advanced = self._advanced or self._frames[id(frame)][1]
        noted = self._ran.get(id(code))
        if noted is None:
            noted = self._ran[id(code)] = code, []
            if _is_library(code.co_filename):
                return
        elif not noted[1] or any(scope is frame.f_globals for scope in noted[1]):
            return
        noted[1].append(frame.f_globals)
        if id(code) not in self._before.codes and self._failed is None:
            self._note_late(code, frame.f_globals)

    def _note_builtin(self, frame: FrameType, function: Any) -> None:
        """A function of C's is called: one that says something else each time, perhaps."""
        try:
            own = function in _ENTROPY or (function in _CLOCKS and not _is_library(frame.f_code.co_filename))
        except TypeError:  # what cannot be hashed
            return
        if own and not self._asked and not _is_importing(frame):
            self._asked = f"it calls {function.__name__}(), which says something else each time"

    def _note_late(self, code: CodeType, scope: dict[str, Any]) -> None:
        """Code runs that was not found before the call: what it names is noted now."""
        search = _Search(None)
        for inner in _within(code):
            search.code(inner, scope)
            self._before.codes[id(inner)] = inner
        for function in _functions_of(code):
            search.visit(function, _Where(None, "global", function.__name__))
        try:
            search.run()
        except TooMuch as error:
            self._failed = error
        self._frames = {**search.frames, **self._frames}
        self._late.append(search)

    def changed(self) -> str:
        """What was changed since, "" if nothing was: the first value that is found."""
        if self._asked:
            return self._asked
        for search in (self._before, *self._late):
            for difference in search.guards._differences():
                return difference.changed
            for kind, state, before, where in search.movers:
                if state() != before:
                    return f"the state of a{'n' * (kind == 'iterator')} {kind} ({where})"
        if self._advanced is not None:
            return f"the state of a generator ({self._advanced})"
        for what, now in _global_random_states().items():
            if what in self._random and self._random[what] != now:
                return what
        module = sys.modules.get("numpy.random") if _NUMPYS not in self._random else None
        moved = module is not None and module.get_state()[2] != 623  # where it stands from its import until it is used
        return _NUMPYS if moved else ""

    def tensors(self) -> list[Any]:
        """Those that can be reached from the function, from objects that it was given, and from what ran."""
        return [*self._tensors, *[tensor for search in self._late for tensor in _tensors_in(search)]]

    def guards(self) -> Guards:
        """For all that the code that ran may have read. It means something as long as nothing was changed."""
        if self._failed is not None:
            raise self._failed
        facts = [_facts_of(code) for code, _ in self._ran.values()]
        search = None
        if not any(known.reflects for known in facts):
            search = self._search(frozenset().union(*[known.names for known in facts]))
        return (self._search(None) if search is None or search.reflects else search).guards

    def _search(self, names: frozenset[str] | None) -> _Search:
        search = _Search(self._ran, names)
        self._begin(search)
        for value, where in self._arguments():
            for part, place in _objects_in(value, where):
                search.visit(part, place)
        for code, scopes in self._ran.values():
            for scope in scopes:
                search.code(code, scope)
        search.run()
        inner = {id(c) for code, _ in self._ran.values() for c in _facts_of(code).inner}
        for code, scopes in self._ran.values():
            if scopes and id(code) not in self._found and id(code) not in inner:
                for function in _functions_of(code):
                    search.visit(function, _Where(None, "global", function.__name__))
        search.run()
        return search


def _tensors_in(search: _Search) -> list[Any]:
    guards = search.guards
    return [v for v in chain(guards._items, guards._got, guards._members) if isinstance(v, Value)]


def _is_importing(frame: FrameType | None) -> bool:
    """Whether code runs because a module is imported: numpy.random, the first time that it is asked for."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _functions_of(code: CodeType) -> list[Any]:
    """The functions that there are with this code: those that were not found, because C code or a library has them."""
    if not code.co_freevars:
        return []
    return [f for f in gc.get_referrers(code) if isinstance(f, FunctionType) and f.__code__ is code]


def _objects_in(value: Any, where: _Where) -> Iterator[tuple[Any, _Where]]:
    """What a call was given besides numbers, tensors and arrays, and structures of them: those may differ each time."""
    todo, seen = [(value, where)], set()
    while todo:
        value, where = todo.pop()
        if isinstance(value, (np.ndarray, Value)) or id(value) in seen:
            continue
        seen.add(id(value))
        keys, members, make = children_of(value)
        yield value if make is None else type(value), where
        todo += [(member, _Where(where, "[]", key)) for key, member in zip(keys, members, strict=True)]
