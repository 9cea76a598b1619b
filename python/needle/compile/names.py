"""Inspects code objects: which globals and attributes their bytecode names, and whether the code is the user's."""

from __future__ import annotations

import builtins
import dis
import os
import sys
from collections.abc import Iterator
from functools import cache
from types import CodeType
from typing import Any

import numpy as np

from .source import WRITTEN


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEEDLE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_LIBRARY = (
    NEEDLE,
    os.path.join(os.path.dirname(os.path.abspath(os.__file__)), ""),
    "<frozen ",
    WRITTEN,
)

_LAYERS = os.path.join(NEEDLE, "nn", "")
"""Where only what tells its parts, a Module, is asked for all of its attributes: a search notes them all anyway."""
PLAIN_SPOKEN = (NEEDLE, os.path.join(os.path.dirname(os.path.abspath(np.__file__)), ""))


@cache
def is_library(filename: str) -> bool:
    """Whether a file belongs to Needle, Python or an installed package; the globals such code names do not change."""
    return filename.startswith(_LIBRARY) or "site-packages" in filename or "dist-packages" in filename


def is_users_module(module: Any) -> bool:
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return not is_library(file)
    return module is not None and getattr(module, "__name__", "") not in sys.builtin_module_names


def is_users_class(cls: type[Any]) -> bool:
    if not cls.__flags__ & 1 << 9:  # not a heap type: defined in C
        return False
    module = sys.modules.get(cls.__module__)
    return module is None or is_users_module(module)


_OPAQUE = words("_thread importlib logging re traceback warnings")
"""Objects from these modules are not searched: they change all the time, and no number is computed from them."""


def is_opaque(cls: type[Any]) -> bool:
    module = cls.__module__
    return isinstance(module, str) and module.partition(".")[0] in _OPAQUE


_GLOBALS = words("LOAD_GLOBAL STORE_GLOBAL DELETE_GLOBAL LOAD_NAME LOAD_FROM_DICT_OR_GLOBALS")
_ATTRIBUTES = words("LOAD_ATTR LOAD_METHOD STORE_ATTR DELETE_ATTR IMPORT_FROM")
_BETWEEN = words("CACHE EXTENDED_ARG NOP COPY PUSH_NULL PRECALL")  # in a chain such as config.lr += 1
REFLECTING = words(
    "__dict__ __getattribute__ __getstate__ __reduce__ __reduce_ex__ attrgetter delattr dir dumps eval exec "
    "getattr getattr_static getmembers hasattr methodcaller setattr vars"
)
"""Code that names any of these may read attributes that it does not name."""
STANDARD = frozenset(dir(builtins))


class Facts:
    """What a code object names."""

    __slots__ = ("attributes", "chains", "code", "globals", "imports", "inner", "names", "reflects", "strings", "users")

    def __init__(self, code: CodeType):
        self.code = code  # kept alive, so that its id stays valid
        self.users = not is_library(code.co_filename)
        self.inner = tuple([c for c in code.co_consts if isinstance(c, CodeType)])
        strings = [c for c in code.co_consts if isinstance(c, str)]
        for c in code.co_consts:
            if isinstance(c, tuple):  # a match statement's attributes
                strings += [s for s in c if isinstance(s, str)]
        self.strings = frozenset([s for s in strings if s.isidentifier()])
        self.names = self.strings.union(code.co_names)
        reflecting = REFLECTING.intersection(code.co_names)
        if code.co_filename.startswith(PLAIN_SPOKEN):  # here, getattr and its like name attributes by literal strings
            reflecting &= frozenset() if code.co_filename.startswith(_LAYERS) else {"__dict__", "vars"}
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


_known: dict[int, Facts] = {}


def facts_of(code: CodeType) -> Facts:
    # By identity: equal code objects may come from different files.
    facts = _known.get(id(code))
    if facts is None:
        if len(_known) > 10_000:  # functions defined again and again
            _known.clear()
        facts = _known[id(code)] = Facts(code)
    return facts


def within(code: CodeType) -> Iterator[CodeType]:
    """This code and that of the functions defined in it."""
    todo = [code]
    while todo:
        code = todo.pop()
        yield code
        todo += facts_of(code).inner
