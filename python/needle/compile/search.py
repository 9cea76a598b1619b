"""Walks everything that a function can reach (closures, globals, attributes, members) and notes it in `Guards`."""

from __future__ import annotations

import builtins
import sys
from abc import ABCMeta, get_cache_token
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from functools import cached_property, lru_cache, partial, partialmethod
from gc import get_referents
from operator import attrgetter, is_, methodcaller
from threading import local
from types import (
    AsyncGeneratorType,
    BuiltinMethodType,
    CellType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any
from weakref import ProxyTypes, ref

import numpy as np

from ..autograd import Value
from ..nested import tells_its_parts
from ..transforms import Transformed
from .guards import ATTRIBUTES, CODE, CONTENTS, DEFAULTS, KWDEFAULTS, Guards, get, item
from .names import (
    PLAIN_SPOKEN,
    REFLECTING,
    STANDARD,
    Facts,
    facts_of,
    is_library,
    is_opaque,
    is_users_class,
    is_users_module,
    within,
    words,
)
from .places import MISSING, Content, Where, behind, bytes_of, is_a, is_leaf, mover
from .unwatched import LRU_CACHE, is_pure, is_seen

MOST_ITEMS = 100_000
"""How many values may be visited for one function."""
MOST_BYTES = 1 << 28
"""How many bytes of arrays may be copied for one function."""

LOOKED_THROUGH: dict[type[Any], str] = {Transformed: "f"}
"""Wrappers, by the attribute that holds what they wrap: nothing else in them matters to a function."""


class TooMuchError(Exception):
    """A function can reach too much for a search to be worthwhile."""


class UnseenError(Exception):
    """A function may have read an object whose state cannot be seen."""


_ARGS, _MRO, _NEEDS = attrgetter("args"), attrgetter("__mro__"), attrgetter("requires_grad")
_OF_FUNCTIONS = words("__closure__ __code__ __defaults__ __globals__ __kwdefaults__")
"""Code that names any of these may look into functions that it does not call."""


def _registered(_: Any) -> Any:
    """What another class that registers with any abstract class changes."""
    return get_cache_token()


def value_here(variable: ContextVar[Any]) -> Any:
    return _treatment_of_errors() if variable.name == _NUMPYS_SETTINGS else variable.get(MISSING)


_NUMPYS_SETTINGS = "numpy.ufunc.extobj"
"""What `np.errstate` sets: an object that one cannot see into."""


def _treatment_of_errors() -> Any:
    return _once((*np.geterr().items(), np.getbufsize()))


@lru_cache(maxsize=64)
def _once(settings: Any) -> Any:
    """The same object for equal settings, which guards compare first."""
    return settings


class _Kept:
    """Gets what functools.lru_cache keeps with a function, as the same tuple as long as it is the same."""

    def __init__(self) -> None:
        self._last: tuple[Any, ...] = ()

    def __call__(self, function: Any) -> tuple[Any, ...]:
        now = tuple(sorted(get_referents(function), key=id))  # their own order is that of their use
        if len(now) != len(self._last) or not all(map(is_, now, self._last)):
            self._last = now
        return self._last


def _functions_in(value: Any) -> list[Any] | None:
    """The functions in a member of a class: of a method, a property and so on; None for other members."""
    if isinstance(value, FunctionType):
        return [value]
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__]
    if isinstance(value, property):
        return [f for f in (value.fget, value.fset, value.fdel) if f is not None]
    if isinstance(value, (cached_property, partialmethod)):
        return [value.func]
    return None


class Search:
    """A breadth-first walk from some values, which notes what it meets in `guards`.

    Without `ran`, it covers everything that a function might reach: each function's closure, and the globals it names.
    With `ran`, it covers only what the code that ran can have read.
    """

    def __init__(self, ran: dict[int, Any] | None, names: frozenset[str] | None = None):
        self.guards = Guards()
        self.movers: list[tuple[str, Callable[[], Any], Any, Where]] = []
        self.frames: dict[int, tuple[Any, Where]] = {}  # of suspended generators
        self.codes: dict[int, CodeType] = {}  # of the functions found, and of functions within them
        self.reflects = False  # whether something found reads attributes whose names appear in no code
        self._ran = ran
        self._names = names  # attributes that may have been read; None: any
        self._seen: dict[int, Any] = {}
        self._slots: set[tuple[int, Any]] = set()
        self._todo: deque[tuple[Any, Where]] = deque()
        self._items = self._bytes = 0
        codes = [code for code, _ in (ran or {}).values() if not code.co_filename.startswith(PLAIN_SPOKEN)]
        self._inspects = frozenset().union(*[_OF_FUNCTIONS & facts_of(code).names for code in codes])
        self._asks_needs = any("requires_grad" in facts_of(code).names for code in codes)
        codes = [code for code in codes if facts_of(code).users]
        self._tries = names is None or any(code.co_exceptiontable for code in codes)

    def run(self) -> None:
        while self._todo:
            self._expand(*self._todo.popleft())

    def has_seen(self, value: Any) -> bool:
        return self._seen.get(id(value)) is value

    # Noting

    def _count(self, items: int = 1) -> None:
        self._items += items
        if self._items > MOST_ITEMS:
            raise TooMuchError(f"more than {MOST_ITEMS} values can be reached from it")

    def visit(self, value: Any, where: Where) -> None:
        if not (is_leaf(value) or id(value) in self._seen):
            self._seen[id(value)] = value
            self._todo.append((value, where))

    def _got(self, getter: Callable[[Any], Any], owner: Any, where: Where, visit: bool = True) -> Any:
        """Note what the getter returns for its owner, and visit it."""
        self._count()
        value = get(getter, owner)
        self.guards.note_got(getter, owner, value, where)
        if visit and value is not MISSING:
            self.visit(value, where)
        return value

    def _stands(self, scope: Any, key: Any, where: Where, owner: Any = None, visit: bool = True) -> Any:
        """Note what a dict holds under a key, or that it lacks it, and visit that. `owner`: the class of this dict."""
        slot = id(scope if owner is None else owner), key
        value = item(scope, key)
        if slot not in self._slots:
            self._slots.add(slot)
            self._count()
            self.guards.note_item(scope, key, value, where)
        if visit and value is not MISSING:
            self.visit(value, where)
        return value

    def _sequence(self, sequence: Any, where: Where) -> None:
        members = list(sequence)
        self._count(len(members))
        self.guards.note_sequence(sequence, members, where)

    def _content(self, array: Any, where: Where) -> None:
        self._bytes += array.nbytes if isinstance(array, np.ndarray) else len(bytes_of(array))
        if self._bytes > MOST_BYTES:
            raise TooMuchError(f"arrays of more than {MOST_BYTES >> 20} MB can be reached from it")
        self.guards.note_content(Content(array), where)

    # Visiting

    def _expand(self, value: Any, where: Where) -> None:
        if type(value) in LOOKED_THROUGH:
            self.visit(getattr(value, LOOKED_THROUGH[type(value)]), where)
        elif value is sys.modules or type(value) in ProxyTypes or (is_a(value, ref) and not _is_class(value())):
            self._unseen(value, where)
        elif is_a(value, ref):
            self.visit(value(), where)
        elif is_a(value, (Value, ModuleType)):
            if self._asks_needs and is_a(value, Value):
                self._got(_NEEDS, value, Where(where, ".", "requires_grad"))
            self._dict_of(value, where)
        elif is_a(value, FunctionType):
            self.function(value, where)
        elif is_a(value, MethodType):
            self.visit(value.__self__, Where(None, "self", "self") if where.form == "function" else where)
            self.visit(value.__func__, where)
        elif is_a(value, (BuiltinMethodType, MethodWrapperType)):
            self.reflects = self.reflects or value.__name__ in REFLECTING
            self.visit(value.__self__, where)
        elif is_a(value, type):
            self._class(value, where)
        elif is_a(value, partial):
            if isinstance(value.func, BuiltinMethodType) and not is_pure(value.func):
                self._unseen(value, where)
            self.visit(value.func, where)
            self.visit(value.args, where)
            self.visit(value.keywords, where)
            self._object(value, where)
        elif (functions := _functions_in(value)) is not None:
            for function in functions:
                self.visit(function, where)
        elif is_a(value, np.ndarray):
            self._array(value, where)
        elif is_a(value, (bytearray, memoryview, np.void)) or type(value).__module__ == "array":
            self._content(value, where)
        elif is_a(value, (GeneratorType, CoroutineType, AsyncGeneratorType)):
            frame = getattr(value, "gi_frame", None) or getattr(value, "cr_frame", None)
            frame = frame or getattr(value, "ag_frame", None)
            if frame is not None:
                self.frames[id(frame)] = frame, where
        elif (moving := mover(value)) is not None:
            kind, state = moving
            self.movers.append((kind, state, state(), where))
            for part in behind(value) if kind == "iterator" else ():
                if isinstance(part, BuiltinMethodType) and not is_pure(part):
                    self._unseen(value, where)
                self.visit(part, where)
        elif is_a(value, (attrgetter, methodcaller)):
            self.reflects = True
        elif is_a(value, ContextVar):
            self._got(value_here, value, where)
        elif is_a(value, CellType):
            self._got(CONTENTS, value, where)
        elif is_a(value, LRU_CACHE):
            self._cached(value, where)
        else:
            self._object(value, where)

    def _unseen(self, value: Any, where: Where) -> None:
        if self._ran is not None:
            name = type(value).__name__
            raise UnseenError(f"it may read {where}, and into an object of class {name} one cannot see")

    def _cached(self, function: Any, where: Where) -> None:
        """A function with an lru_cache: what it calls, and the results that it keeps."""
        self._attributes_of(function, where)
        for part in self._got(_Kept(), function, where, visit=False):
            self.visit(part, where)

    def _array(self, array: Any, where: Where) -> None:
        self._content(array, where)
        if array.dtype == object:
            self._count(array.size)
            for i, member in enumerate(array.reshape(-1).tolist()):
                self.visit(member, Where(where, "[]", i))
        if type(array) is not np.ndarray:
            self._attributes_of(array, where)

    def _object(self, value: Any, where: Where) -> None:
        """A container, or an object with attributes, or both."""
        if is_a(value, (tuple, frozenset)):  # immutable, but the members may change
            self._count(len(value))
            for i, member in enumerate(value):
                self.visit(member, Where(where, "[]", i))
        elif is_a(value, (list, deque)):
            self._sequence(value, where)
            for i, member in enumerate(list(value)):
                self.visit(member, Where(where, "[]", i))
        elif is_a(value, set):
            self._sequence(value, where)
            for member in list(value):
                self.visit(member, Where(where, "[]", "..."))
        elif is_a(value, (dict, MappingProxyType)):
            self._sequence(value, where)
            scope = value if type(value) is MappingProxyType else _Plainly(value) if _has_own_items(value) else value
            for key in list(value):
                self.visit(key, where)
                self._stands(scope, key, Where(where, "[]", key), owner=value)
        if not is_seen(value):
            self._unseen(value, where)
        if is_a(value, BaseException):
            self._got(_ARGS, value, Where(where, ".", "args"))
        if not is_opaque(cls := type(value)) or cls is local:
            self._attributes_of(value, where)

    def _attributes_of(self, value: Any, where: Where) -> None:
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
        self._got(type, value, Where(where, ".", "__class__"), visit=False)
        self.visit(cls, Where(None, "global", cls.__name__))
        self._dict_of(value, where)
        for name, member in slots:
            if self._names is None or name in self._names:
                self._got(member.__get__, value, Where(where, ".", name))

    def _dict_of(self, value: Any, where: Where) -> None:
        """The attributes in the own dict of an object, or of a module or Tensor if it is the user's."""
        attributes = _dict_or_none(value)
        if attributes is None:
            return
        if is_a(value, ModuleType):
            if not is_users_module(value):
                return
        elif is_a(value, Value) and not is_users_class(type(value)):
            return
        lookup: Any = type(value).__getattribute__
        if lookup is object.__getattribute__ or lookup is local.__getattribute__:
            self._got(ATTRIBUTES, value, Where(where, ".", "__dict__"), visit=False)
        if attributes is value or id(attributes) in self._seen:
            return
        self._seen[id(attributes)] = attributes
        self._sequence(attributes, Where(where, ".", "__dict__"))
        asked_for_all = is_a(value, SimpleNamespace) or tells_its_parts(value)  # by its repr, or for its parts
        names = None if asked_for_all else self._names
        for name in list(attributes):
            if names is None or name in names:
                self._stands(attributes, name, Where(where, ".", name))

    def _class(self, cls: type[Any], where: Where) -> None:
        """The members of the user's classes: all data, and those functions that ran."""
        if is_users_class(type(cls)):
            self.visit(type(cls), Where(None, "global", type(cls).__name__))
        bases = [base for base in cls.__mro__ if is_users_class(base)]
        if bases:
            self._got(_MRO, cls, Where(where, ".", "__mro__"), visit=False)
            if is_a(cls, ABCMeta):
                self._got(_registered, cls, Where(where, ".", "register"), visit=False)
        for i, base in enumerate(bases):
            self._sequence(vars(base), Where(Where(where, ".", base.__name__) if i else where, ".", "__dict__"))
            for name, member in list(vars(base).items()):
                functions = _functions_in(member)
                if functions is None:
                    if _is_special(name) or type(member) is MemberDescriptorType:
                        continue
                elif not (self._inspects or any(map(self._has_run, functions))):
                    continue
                for derived in bases[:i]:
                    if name not in vars(derived):
                        self._stands(vars(derived), name, Where(where, ".", name), owner=derived)
                self._stands(vars(base), name, Where(where, ".", name), owner=base)

    def _has_run(self, function: Any) -> bool:
        code = getattr(function, "__code__", None)  # other callables have none, and may call any function
        return self._ran is None or code is None or id(code) in self._ran

    def function(self, function: Any, where: Where) -> None:
        if function.__dict__ or (self._tries and not is_library(function.__code__.co_filename)):
            self._dict_of(function, Where(None, "function", function.__name__))
        if not (self._has_run(function) or self._inspects):
            return
        code = function.__code__
        owner = None if where.form in {"function", "self"} else function.__name__
        if not is_library(code.co_filename):
            self._got(CODE, function, where, visit=False)
            self._defaults(function, owner)
        facts = [facts_of(c) for c in within(code)]
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            value = self._got(CONTENTS, cell, Where(owner, "cell", name))
            if is_a(value, ModuleType):
                for known in facts:
                    self._module(value, known, Where(None, "cell", name))
        if "__globals__" in self._inspects:
            self._scope(function.__globals__)
        for known in facts:
            self.codes[id(known.code)] = known.code
            if self._ran is None:
                self.code(known.code, function.__globals__)

    def _defaults(self, function: Any, owner: Any) -> None:
        defaults = self._got(DEFAULTS, function, Where(owner, "default", "its arguments"), visit=False) or ()
        for name, value in zip(arguments_of(function.__code__)[-len(defaults) :], defaults, strict=False):
            self.visit(value, Where(owner, "default", name))
        if function.__kwdefaults__:
            self._got(KWDEFAULTS, function, Where(owner, "default", "its arguments"), visit=False)
            for name in function.__kwdefaults__:
                self._stands(function.__kwdefaults__, name, Where(owner, "default", name))

    def code(self, code: CodeType, scope: dict[str, Any]) -> None:
        """The globals that the user's code names, and the attributes of modules."""
        facts = facts_of(code)
        self.codes[id(code)] = code
        if not facts.users or (code.co_name == "<module>" and code.co_filename == scope.get("__file__")):
            return  # a module that was imported during the call
        for name in facts.globals:
            where = Where(None, "global", name)
            value = self._stands(scope, name, where)
            if value is MISSING and name not in STANDARD:
                given = scope.get("__builtins__", builtins)
                value = self._stands(given if isinstance(given, dict) else vars(given), name, where)
            if is_a(value, ModuleType) and is_users_module(value):
                self._module(value, facts, where)
        if "globals" in facts.globals:
            self._scope(scope)
        for names in facts.chains:
            self._chain(scope.get(names[0], MISSING), names[1:], Where(None, "global", names[0]))
        for name, level in facts.imports:
            full = name
            if level:
                package = str(scope.get("__package__") or "").rsplit(".", level - 1)[0]
                full = f"{package}.{name}" if name else package
            parts = full.split(".")
            for i in range(len(parts)):
                module = sys.modules.get(".".join(parts[: i + 1]))
                if isinstance(module, ModuleType) and is_users_module(module):
                    self._module(module, facts, Where(None, "module", ".".join(parts[: i + 1])))

    def _scope(self, scope: dict[str, Any]) -> None:
        """All globals of a module."""
        self._sequence(scope, Where(None, "global", "globals()"))
        for name in list(scope):
            value = scope.get(name)
            visit = not is_a(value, FunctionType) or (self._ran is not None and self._has_run(value))
            if not _is_special(name):
                self._stands(scope, name, Where(None, "global", name), visit=visit)

    def _chain(self, value: Any, names: tuple[str, ...], where: Where) -> None:
        """The attributes `a.b.c` of modules, each in the module that holds it."""
        for name in names:
            if not is_a(value, ModuleType):
                return
            if str(getattr(value, "__file__", "")).startswith(PLAIN_SPOKEN):
                return  # nobody replaces np.tanh
            where = Where(where, ".", name)
            scope = vars(value)
            visit = is_users_module(value) or not callable(scope.get(name))
            value = self._stands(scope, name, where, visit=visit)

    def _module(self, module: ModuleType, facts: Facts, where: Where) -> None:
        """The attributes of one of the user's modules that code may read under another name for the module."""
        if not is_users_module(module) or (id(module), facts) in self._slots:
            return
        self._slots.add((id(module), facts))
        scope = vars(module)
        for name in {*facts.names, *scope} if facts.reflects else facts.attributes:
            if name in scope or (facts.reflects and name in facts.strings):
                value = self._stands(scope, name, Where(where, ".", name))
                if is_a(value, ModuleType):
                    self._module(value, facts, Where(where, ".", name))


def _is_class(value: Any) -> bool:
    return isinstance(value, type)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _dict_or_none(value: Any) -> Any:
    """The dict of an object's attributes, even if its class overrides attribute access."""
    look: Any = local.__getattribute__ if isinstance(value, local) else object.__getattribute__
    try:
        attributes = look(value, "__dict__")
    except AttributeError:
        return None
    return attributes if type(attributes) is dict else None


def arguments_of(code: CodeType) -> tuple[str, ...]:
    return code.co_varnames[: code.co_argcount]


def _has_own_items(value: Any) -> bool:
    return type(value).__getitem__ is not dict.__getitem__


class _Plainly:
    """The items of a dict whose class overrides look-up, which might change the dict or run the user's code."""

    def __init__(self, items: Any):
        self._dict = items

    def __getitem__(self, key: Any) -> Any:
        return dict.get(self._dict, key, MISSING)

    def __contains__(self, key: Any) -> bool:
        return dict.__contains__(self._dict, key)
