"""Observes one call of a function: which outside state it may have read, and which it changed.

Before the call, a search notes all Python state that the function can reach. After it, comparing with those notes shows
what the call changed, and the code that ran shows which part of the state it may have read: only that part is guarded.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from ..autograd import Value
from ..nested import members_of
from .guards import Guards
from .names import NEEDLE, PLAIN_SPOKEN, REFLECTING, facts_of, is_library, within
from .places import NUMPYS, Where, global_random_states, same
from .search import Search, TooMuchError, arguments_of, value_here
from .unwatched import is_pure, looks_outside

_IMPORT = importlib.import_module.__code__
_ENVIRONMENT = {os.getenv.__code__, type(os.environ).__getitem__.__code__}
_CONTEXTS = frozenset(
    code
    for entry in (np.errstate.__enter__, np.errstate.__call__, np.seterr, warnings.catch_warnings.__enter__)
    for code in within(entry.__code__)
)
"""What runs when a function sets how floating-point errors are treated, or which warnings are shown."""


_OF_ERRORS = "numpy.ufunc.extobj"
"""The context variable of how they are treated, which is looked at in another way."""


class Reads:
    """What a call of f reads. Create it before the call, and make the call within `with reads:`.

    Raises TooMuchError if f can reach more than is worth searching; so may `guards()`, or UnseenError if f may have
    read an object into which one cannot see.
    """

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None):
        self._f, self._args, self._kwargs = f, args, kwargs or {}
        self._ran: dict[int, tuple[CodeType, list[dict[str, Any]]]] = {}
        self._late: list[Search] = []
        self._failed: TooMuchError | None = None
        self._advanced: Where | None = None
        self._asked = ""
        self.sets_errors = False
        """Whether the user's code has set how floating-point errors are treated, or which warnings are shown."""
        self._reflects = False
        self._harmless: dict[tuple[int, str], Any] = {}
        """C functions that may be called, by what has them."""
        self._variables: dict[int, tuple[ContextVar[Any], Any]] = {}
        """Context variables that are asked for or set, with their values before."""
        before = Search(None)
        self._begin(before)
        for value, where in self._arguments():
            for part, place in _objects_in(value, where):
                before.visit(part, place)
        before.run()
        self._tensors = before.guards.tensors()
        for value, where in self._arguments():
            before.visit(value, where)
        before.run()
        self._before = before
        self._found = frozenset(before.codes)
        self._frames = before.frames
        self._random = global_random_states()

    def _begin(self, search: Search) -> None:
        """Start at the function, so that places are named as its own code names them."""
        f = self._f
        root = Where(None, "function", getattr(f, "__name__", type(f).__name__))
        search.visit(f, root if isinstance(f, (FunctionType, MethodType)) else Where(None, "self", "self"))

    def _arguments(self) -> Iterator[tuple[Any, Where]]:
        f: Any = getattr(self._f, "__func__", self._f)
        names = arguments_of(f.__code__) if isinstance(f, FunctionType) else ()
        names = names[1:] if isinstance(self._f, MethodType) else names
        for i, value in enumerate(self._args):
            yield value, Where(None, "argument", names[i] if i < len(names) else str(i))
        for name, value in self._kwargs.items():
            yield value, Where(None, "argument", name)

    def __enter__(self) -> Reads:
        self._profile = sys.getprofile()
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        profile: Any = self._profile
        if profile is not None:
            if hasattr(profile, "enable"):  # up to Python 3.11, cProfile installs a profiler object and no function
                profile.enable()
            else:
                sys.setprofile(profile)

    def _note(self, frame: FrameType, event: str, arg: Any) -> None:
        if event != "call":
            if event == "c_call":
                self._note_builtin(frame, arg)
            return
        code, back = frame.f_code, frame.f_back
        if code in _CONTEXTS:
            decorated = code.co_name == "inner"
            users = back is not None and not back.f_code.co_filename.startswith(PLAIN_SPOKEN)
            self.sets_errors = self.sets_errors or decorated or users
        elif code is _IMPORT and back is not None and not is_library(back.f_code.co_filename):
            self._asked = self._asked or f"it imports a module by name, at {back.f_code.co_filename}:{back.f_lineno}"
        elif code.co_name == "seed" and _is_pythons(code) and frame.f_locals["a"] is None:
            self._asked = self._asked or "it makes a random generator without a seed"
        if code.co_flags & (CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR) and id(frame) in self._frames:
            self._advanced = self._advanced or self._frames[id(frame)][1]
        noted = self._ran.get(id(code))
        if noted is None:
            noted = self._ran[id(code)] = code, []
            if is_library(code.co_filename):
                return
        elif not noted[1] or any(scope is frame.f_globals for scope in noted[1]):
            return
        noted[1].append(frame.f_globals)
        if id(code) not in self._before.codes and self._failed is None:
            self._note_late(code, frame.f_globals)

    def _note_builtin(self, frame: FrameType, function: Any) -> None:
        """A C function is called, perhaps one that looks at what cannot be watched."""
        name, owner = getattr(function, "__name__", ""), getattr(function, "__self__", None)
        whose = owner if isinstance(owner, (ModuleType, type)) else function if owner is None else type(owner)
        if (id(whose), name) in self._harmless:
            return
        self._asked = self._asked or looks_outside(frame, function)
        if name in REFLECTING or name == "globals":
            self._reflects = self._reflects or name not in frame.f_code.co_names  # by another name
        elif isinstance(owner, ContextVar):
            if not (frame.f_code.co_filename.startswith(NEEDLE) or owner.name == _OF_ERRORS):
                self._variables.setdefault(id(owner), (owner, value_here(owner)))
        elif is_pure(function):
            self._harmless[id(whose), name] = whose

    def _note_late(self, code: CodeType, scope: dict[str, Any]) -> None:
        """Code runs that the search before the call did not find: note what it names now."""
        search = Search(None)
        for inner in within(code):
            search.code(inner, scope)
            self._before.codes[id(inner)] = inner
        for function in _functions_of(code):
            search.visit(function, Where(None, "global", function.__name__))
        try:
            search.run()
        except TooMuchError as error:
            self._failed = error
        self._frames = {**search.frames, **self._frames}
        self._late.append(search)

    def changed(self, draws: Collection[tuple[Any, Any]] = ()) -> str:
        """The first change found since, "" if there is none. `draws`: states of random generators that operations took
        to others."""
        if self._asked:
            return self._asked
        for search in (self._before, *self._late):
            for difference in search.guards.differences():
                return difference.changed
            for kind, state, before, where in search.movers:
                if (now := state()) != before and (before, now) not in draws:
                    return f"the state of a{'n' * (kind == 'iterator')} {kind} ({where})"
        for variable, before in self._variables.values():
            if not same(before, value_here(variable)):
                return f"the context variable {variable.name} was set"
        if self._advanced is not None:
            return f"the state of a generator ({self._advanced})"
        states = global_random_states()
        for what, now in states.items():
            before = self._random.get(what, now)
            if before != now and (before, now) not in draws:
                return what
        module = sys.modules.get("numpy.random") if NUMPYS not in self._random else None
        drawn = NUMPYS in states and any(after == states[NUMPYS] for _, after in draws)
        moved = (
            module is not None and not drawn and module.get_state()[2] != 623
        )  # its position from import until first use
        return NUMPYS if moved else ""

    def has_found(self, value: Any) -> bool:
        """Whether an object was there before the call."""
        return any(search.has_seen(value) for search in (self._before, *self._late))

    def tensors(self) -> list[Any]:
        """The tensors reachable from the function, from the objects passed to it, and from the code that ran."""
        return [*self._tensors, *[tensor for search in self._late for tensor in search.guards.tensors()]]

    def arrays(self) -> list[Any]:
        """The arrays reachable likewise."""
        return [array for search in (self._before, *self._late) for array in search.guards.arrays()]

    def guards(self) -> Guards:
        """Guards for all that the code that ran may have read; meaningful only if nothing changed."""
        if self._failed is not None:
            raise self._failed
        facts = [facts_of(code) for code, _ in self._ran.values()]
        search = None
        if not (self._reflects or any(known.reflects for known in facts)):
            search = self._search(frozenset().union(*[known.names for known in facts]))
        return (self._search(None) if search is None or search.reflects else search).guards

    def _search(self, names: frozenset[str] | None) -> Search:
        search = Search(self._ran, names)
        self._begin(search)
        for value, where in self._arguments():
            for part, place in _objects_in(value, where):
                search.visit(part, place)
        for code, scopes in self._ran.values():
            for scope in scopes:
                search.code(code, scope)
        if any(code in _ENVIRONMENT for code, _ in self._ran.values()):
            search.visit(os.environ, Where(None, "module", "os.environ"))
        for variable, _ in self._variables.values():
            search.visit(variable, Where(None, "context variable", variable.name))
        search.run()
        inner = {id(c) for code, _ in self._ran.values() for c in facts_of(code).inner}
        for code, scopes in self._ran.values():
            if scopes and id(code) not in self._found and id(code) not in inner:
                for function in _functions_of(code):
                    search.visit(function, Where(None, "global", function.__name__))
        search.run()
        return search


def _is_pythons(seed: CodeType) -> bool:
    module = sys.modules.get("random")  # importing it takes a while
    return module is not None and seed is module.Random.seed.__code__


def _functions_of(code: CodeType) -> list[Any]:
    """All functions with this code, including those held by C code or a library, where the search cannot find them."""
    if not code.co_freevars:
        return []
    return [f for f in gc.get_referrers(code) if isinstance(f, FunctionType) and f.__code__ is code]


def _objects_in(value: Any, where: Where) -> Iterator[tuple[Any, Where]]:
    """The objects in an argument but numbers, tensors, arrays and their containers, which may differ each time."""
    todo, seen = [(value, where)], set()
    while todo:
        value, where = todo.pop()
        if isinstance(value, (np.ndarray, Value)) or id(value) in seen:
            continue
        seen.add(id(value))
        keys, members, make = members_of(value)
        yield value if make is None else type(value), where
        todo += [(member, Where(where, "[]", key)) for key, member in zip(keys, members, strict=True)]
