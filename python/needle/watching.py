"""Watchers of what is computed in this thread and context: traces, profiles, the anomaly finder.

While there are none, an op only looks at `active`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from time import perf_counter
from types import FrameType
from typing import Any

from .blocks import generator_behind, is_running

active = 0
"""What an op must look for before it computes: the number of watchers in all threads, and one more in lazy mode."""
_lock = threading.Lock()
_here: ContextVar[tuple[Watcher, ...]] = ContextVar("watchers", default=())


def count(change: int) -> None:
    """Change `active` by this much."""
    global active
    with _lock:
        active += change


def here() -> tuple[Watcher, ...]:
    """The watchers of this thread and context, outermost first. That of a generator does not watch what runs while the
    generator is suspended."""
    watchers = _here.get()
    if any(watcher.generator is not None for watcher in watchers):
        return tuple([w for w in watchers if w.generator is None or is_running(w.generator)])
    return watchers


def tell(what: str, *facts: Any) -> None:
    """Call the method `what` of every watcher of this thread and context, which do not watch what it does."""
    if not active:
        return
    watchers = here()
    token = _here.set(())
    try:
        for watcher in watchers:
            getattr(watcher, what)(*facts)
    finally:
        _here.reset(token)


def captures() -> bool:
    """Whether a watcher captures the computation, to replay it with other data.

    Code that chooses between algorithms by looking at the data must then take one that is right for all data.
    """
    return bool(active) and any(watcher.captures for watcher in here())


def unseen(function: Callable[..., Any], *args: Any) -> Any:
    """function(*args), hidden from the watchers."""
    token = _here.set(())
    try:
        return function(*args)
    finally:
        _here.reset(token)


def rule(ends: str, rule: Callable[..., Any], op: Any, given: Any, node: Any, *more: Any) -> Any:
    """rule(op, given, node, *more); its beginning is told, and its end as `ends`."""
    if not active:
        return rule(op, given, node, *more)
    tell("rule_begins", op, node, given)
    returned, started = None, perf_counter()
    try:
        returned = rule(op, given, node, *more)
    finally:
        tell(ends, op, node, returned, perf_counter() - started)
    return returned


class Watcher:
    """Base class of watchers. Its methods are called within `with watcher:`, in this thread and context.

    What the methods themselves do is not watched.
    """

    inside = True
    """Whether gradient rules must run as Tensor ops, so that the watcher sees each of them."""
    captures = False
    """Whether the computation will be replayed with other data; see `captures` above."""
    generator: FrameType | None = None
    """The frame of the generator whose block it is; None if it is none of a generator."""
    _at_work = False

    def __enter__(self) -> Any:
        if self._at_work:
            raise RuntimeError(f"{type(self).__name__}: this object is at work already; make another one")
        tell("joined", self)
        frame = sys._getframe(1)
        while frame.f_code.co_name == "__enter__" and frame.f_back is not None:  # a subclass's
            frame = frame.f_back
        self.generator, self._at_work = generator_behind(frame), True
        count(1)
        _here.set((*_here.get(), self))
        return self

    def __exit__(self, *error: Any) -> None:
        if self._at_work:
            _here.set(tuple([watcher for watcher in _here.get() if watcher is not self]))
            self.generator, self._at_work = None, False
            count(-1)

    def joined(self, watcher: Any) -> None:
        """Another watcher begins, within this one."""

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        """An op was applied to tensors that are not wrapped."""

    def read(self, array: Any, what: str) -> None:
        """The elements of a tensor with this array are read outside any op: `what` is "bool(t)", "t.item()", "x[t]",
        ..."""

    def copied(self, array: Any, copy: Any) -> None:
        """The engine copied an array; the copy holds the same value."""

    def changed(self, tensor: Any, what: str) -> None:
        """An attribute of a tensor was set: "data", "grad" or "requires_grad"."""

    def elements_change(self, tensor: Any) -> None:
        """In a capture, elements of a tensor are about to be assigned to: its "data" is set to the outcome."""

    def gradient_read(self, tensor: Any) -> None:
        """`tensor.grad` is read."""

    def seen(self, tensor: Any) -> None:
        """Another Tensor object will stand for this one, or for a value assigned to it."""

    def left_in(self, adjoints: Any) -> None:
        """In a capture, structural zeros became plain zeros on the way to these adjoints, which are right if finite."""

    def sweep_begins(self, outputs: Any, again: bool) -> None:
        """A sweep starts from the adjoints of the outputs: {value: adjoint}.

        With `again`, it is a second, recorded one, for a gradient that is differentiated.
        """

    def reached(self, value: Any, adjoint: Any) -> None:
        """The sweep reached a value, whose adjoint is complete."""

    def sweep_ends(self) -> None:
        pass

    def rule_begins(self, op: Any, node: Any, given: Any) -> None:
        """The op's rule is about to be applied to its output `node`, which may apply other ops and their rules.

        `given` is an adjoint for the gradient, or a tuple of tangents for the forward rule.
        """

    def rule_ends(self, op: Any, node: Any, adjoints: Any, seconds: float) -> None:
        """The gradient rule returned these adjoints, in the shapes of the inputs; None if it failed."""

    def pushed(self, op: Any, node: Any, tangent: Any, seconds: float) -> None:
        """The forward rule returned this tangent of the output; None if it failed, or for a structural zero."""
