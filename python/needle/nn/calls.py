"""Who watches the calls of modules in this thread and context: `nn.record` and `nn.summary`.

While nobody does, a call only looks at `active`.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Any

active = 0
"""The number of watchers in all threads."""
_lock = threading.Lock()
_here: ContextVar[tuple[CallWatcher, ...]] = ContextVar("call watchers", default=())


class CallWatcher:
    """Within `with watcher:`, `begins` is told before each call of a module, and `ends` after it with what it
    returned."""

    def __enter__(self) -> Any:
        _count(1)
        _here.set((*_here.get(), self))
        return self

    def __exit__(self, *error: object) -> None:
        _here.set(tuple([watcher for watcher in _here.get() if watcher is not self]))
        _count(-1)

    def begins(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        pass

    def ends(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        pass


def _count(change: int) -> None:
    global active
    with _lock:
        active += change


def watched(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """module.forward(*args, **kwargs), told to the watchers of this thread and context."""
    watchers = _here.get()
    for watcher in watchers:
        watcher.begins(module, args, kwargs)
    output = module.forward(*args, **kwargs)
    for watcher in reversed(watchers):
        watcher.ends(module, args, kwargs, output)
    return output
