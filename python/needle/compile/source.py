"""Writes functions for one plan or one replay: a call in Python source takes half the time of one that a loop takes
from a list."""

from __future__ import annotations

from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np

from ..autograd import Tensor

WRITTEN = "<needle.compile: "
"""The beginning of the file names that these functions report."""
_NAMED = (FunctionType, BuiltinFunctionType, MethodType, np.ufunc)
_LITERALS = (bool, int, str, type(None))


class Source:
    """The lines of a function, and the objects that they name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._scope: dict[str, Any] = {}
        self._names: dict[int, str] = {}

    def name(self, thing: Any) -> str:
        """The name of this very object in the lines."""
        found = self._names.get(id(thing))
        if found is None:
            found = f"{_word_for(thing)}_{len(self._names)}"
            self._names[id(thing)], self._scope[found] = found, thing
        return found

    def text(self, thing: Any) -> str:
        """An expression for this object, or an equal one."""
        members = thing if type(thing) is tuple else (thing,)
        return repr(thing) if all(type(member) in _LITERALS for member in members) else self.name(thing)

    def call(self, function: Any, *operands: str) -> str:
        """A call, with expressions for the operands."""
        return f"{self.name(function)}({', '.join(operands)})"

    def function(self, name: str, parameters: Iterable[str], of: Any = None) -> Any:
        """The function with these parameters and lines; a profile shows the function it was written for."""
        whose = of.__name__ if type(of) is FunctionType and of.__name__.isprintable() else _word_for(of)
        text = "\n    ".join([f"def {name}({', '.join(parameters)}):", *self.lines])
        exec(compile(text, f"{WRITTEN}{name} of {whose}>", "exec"), self._scope)
        return self._scope.pop(name)


def _word_for(thing: Any) -> str:
    """A word that hints at the object. It runs none of the user's code, and uses no name but a function's own."""
    if type(thing) in _NAMED:
        name: str = thing.__name__
        if name.isascii() and name.isidentifier():
            return name
    return "array" if type(thing) is np.ndarray else "tensor" if issubclass(type(thing), Tensor) else "thing"
