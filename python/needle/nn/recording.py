"""`nn.record`: what modules inside a model returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from .calls import CallWatcher
from .loading import closest
from .module import Module


class Record(CallWatcher, Mapping[str, Any]):
    """Outputs by the names of modules: `seen["blocks.0"]` is what that module returned in its latest call, and
    `seen.calls["blocks.0"]` the list of all that it returned. They are in the graph, like every output."""

    def __init__(self, model: Module, patterns: tuple[str, ...]):
        names = [name for name, _ in Module.named_modules(model)]
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                near = closest(pattern, names)
                raise ValueError(
                    f"nn.record: no module of {type(model).__name__} matches {pattern!r}"
                    + (f"; the closest is {near!r}" if near else "; model.named_modules() lists them")
                )
        self._names = {
            id(module): name
            for name, module in Module.named_modules(model)
            if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
        }
        self._model = model  # so that no other module gets the id of one of these
        self.calls: dict[str, list[Any]] = {}

    def ends(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        name = self._names.get(id(module))
        if name is not None:
            self.calls.setdefault(name, []).append(output)

    def __getitem__(self, name: str) -> Any:
        if name in self.calls:
            return self.calls[name][-1]
        why = "was not called" if name in self._names.values() else "is not recorded"
        raise KeyError(f"nn.record: {name!r} {why}; recorded were {', '.join(map(repr, self.calls)) or 'none'}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)


def record(model: Module, *patterns: str) -> Record:
    """`with nn.record(model, "blocks.*") as seen: y = model(x)` keeps what the modules of matching names return.

    Patterns are those of `fnmatch`, in which * also stands for dots; without any, all modules are recorded. ValueError
    for a pattern that matches none.

    >>> import numpy as np
    >>> from needle import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> with nn.record(model, "1") as seen:
    ...     y = model(np.ones((5, 4)))
    >>> seen["1"].shape
    (5, 3)
    """
    return Record(model, patterns)
