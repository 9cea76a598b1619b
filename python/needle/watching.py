"""Who watches what is computed, in this thread and context. Traces, profiles and the anomaly finder are watchers.

While nobody watches anywhere, that costs an operation one look at `active`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

active = 0
"""The number of watchers at work, in all threads."""
_lock = threading.Lock()
_here: ContextVar[tuple[Watcher, ...]] = ContextVar("watchers", default=())
here = _here.get
"""The watchers of this thread and context, the outermost first."""


def tell(what: str, *facts: Any) -> None:
    """Call this method of every watcher here."""
    if not active:
        return
    watchers = _here.get()
    token = _here.set(())
    try:
        for watcher in watchers:
            getattr(watcher, what)(*facts)
    finally:
        _here.reset(token)


def captures() -> bool:
    """Whether somebody here captures what is computed, to do the same with other data: who chooses a way by the data
    then takes one that is right for all."""
    return bool(active) and any(watcher.captures for watcher in _here.get())


def unseen(function: Callable[..., Any], *args: Any) -> Any:
    """function(*args), of which nobody here is told."""
    token = _here.set(())
    try:
        return function(*args)
    finally:
        _here.reset(token)


class Watcher:
    """Is told what happens between `with watcher:` and its end, in this thread and context. What it does itself while
    it is told is not watched."""

    inside = True
    """Whether gradient rules are to be computed as Tensor operations, which it can see one by one."""
    captures = False
    """Whether what is computed is to be done again with other data; see `captures` above."""
    _token: Token[tuple[Watcher, ...]] | None = None

    def __enter__(self) -> Any:
        global active
        if self._token is not None:
            raise RuntimeError(f"{type(self).__name__}: this very object is at work already; make another one")
        with _lock:
            active += 1
        self._token = _here.set((*_here.get(), self))
        return self

    def __exit__(self, *error: Any) -> None:
        global active
        if self._token is not None:
            _here.reset(self._token)
            self._token = None
            with _lock:
                active -= 1

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        """An op was applied to tensors that are not wrapped."""

    def read(self, array: Any, what: str) -> None:
        """The elements of a tensor that holds this array are looked at, outside of any op: `what` is "bool(t)",
        "t.item()", "x[t]", ..."""

    def copied(self, array: Any, copy: Any) -> None:
        """The engine copied an array; the copy holds the same value."""

    def changed(self, tensor: Any, what: str) -> None:
        """What a tensor holds was set: its "data", its "grad", or its "requires_grad"."""

    def gradient_read(self, tensor: Any) -> None:
        """Somebody asks for `tensor.grad`."""

    def seen(self, tensor: Any) -> None:
        """Another Tensor is going to stand for this one, or for what was assigned to it."""

    def left_in(self, adjoints: Any) -> None:
        """While somebody captures, structural zeros were taken for the number 0 on the way to these adjoints, which are
        right if they are finite."""

    def sweep_begins(self, outputs: Any, again: bool) -> None:
        """Adjoints are going to be pulled back, starting from those of the outputs: {value: adjoint}. `again`: for a
        gradient that is differentiated, and so computed a second time, recorded."""

    def reached(self, value: Any, adjoint: Any) -> None:
        """The sweep came to a value, whose adjoint is complete."""

    def sweep_ends(self) -> None:
        pass

    def rule_begins(self, op: Any, node: Any, given: Any) -> None:
        """The op's rule is going to be applied to its output `node`: its gradient, to this adjoint, or the forward
        rule, to these tangents. It may apply other ops and their rules."""

    def rule_ends(self, op: Any, node: Any, adjoints: Any, seconds: float) -> None:
        """The gradient rule gave these adjoints, shaped like the inputs; None if it failed."""

    def pushed(self, op: Any, node: Any, tangent: Any, seconds: float) -> None:
        """The forward rule gave the output this tangent; None if it failed, or if that is zero."""
