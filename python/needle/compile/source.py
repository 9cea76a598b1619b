"""Functions that are written for one plan, or for one replay: a call that stands in Python's own text takes half the
time of one that a loop finds in a list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_LITERALS = (bool, int, str, type(None))


class Source:
    """The lines of a function, and the objects that they name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._scope: dict[str, Any] = {}
        self._names: dict[int, str] = {}

    def name(self, thing: Any) -> str:
        """What stands for this very object in the lines."""
        found = self._names.get(id(thing))
        if found is None:
            own = str(getattr(thing, "__name__", ""))
            found = f"{own if own.isidentifier() else type(thing).__name__}_{len(self._names)}"
            self._names[id(thing)], self._scope[found] = found, thing
        return found

    def text(self, thing: Any) -> str:
        """The same, or another object that is equal."""
        members = thing if type(thing) is tuple else (thing,)
        return repr(thing) if all(type(member) in _LITERALS for member in members) else self.name(thing)

    def call(self, function: Any, *operands: str) -> str:
        """A call, with what stands for the operands."""
        return f"{self.name(function)}({', '.join(operands)})"

    def function(self, name: str, parameters: Iterable[str], of: str) -> Any:
        """The function with these parameters and lines; a profile shows it with what it was written of."""
        text = "\n    ".join([f"def {name}({', '.join(parameters)}):", *self.lines])
        exec(compile(text, f"<{name} of {of}>", "exec"), self._scope)
        return self._scope.pop(name)
