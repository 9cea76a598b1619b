"""`needle.compile`: run a function once, keep its graph, and replay it while what it depends on stays the same."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable
from functools import update_wrapper
from itertools import combinations
from operator import is_
from threading import RLock
from types import MethodType
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from .. import autograd, watching
from ..autograd import Assigned, Tensor, Value, Wrapped
from ..nested import members_of, tells_its_parts
from .replay import STALE, Replay, Writer, is_handed_out
from .search import LOOKED_THROUGH
from .trial import Trial

CAPTURES = 8
"""Graphs kept for one signature, for different values of what the function reads from outside."""
_BY_REPR = (float, complex, slice, range)
"""Compared by repr, so that 0.0 and -0.0 differ and NaN equals itself."""
_NUMBERS = (bool, int, float, complex, str, bytes, type(None))


class CompileWarning(UserWarning):
    """A compiled function runs as it is, because it does something that a replay would not repeat."""


class _Captured(NamedTuple):
    """What became of a call with arguments of one signature."""

    replay: Replay | None = None
    again: Callable[..., Any] = lambda args, kwargs, given, known=False: STALE
    """The function that replays it; see `Writer`."""
    why: str = ""
    """Why there is no replay; "" if there is one."""
    flat: bool = False
    """Whether `again` checks the arguments itself."""


class Compiled:
    """A function that is replayed; see `compile`. `explain()` says what became of it."""

    def __init__(self, f: Callable[..., Any]):
        update_wrapper(self, f, updated=() if tells_its_parts(f) else ("__dict__",))  # a Module's parts are not its own
        self._f = f
        self._captured: dict[Any, list[_Captured]] = {}
        """By signature, the latest first."""
        self._quick = _Captured().again
        """Replays the latest call, if its replay checks the arguments itself."""
        self._tried: set[Any] = set()
        """Signatures for which the first run changed something outside."""
        self._assigned: set[Any] = set()
        """Signatures for which the function assigned to arguments whose memory others held."""
        self._kinds: dict[Any, int] = {}
        """How many signatures were captured, by shapes and dtypes alone."""
        self._said: set[str] = set()
        self._lock = RLock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        found = self._quick(args, kwargs, args)
        return self._find(args, kwargs) if found is STALE else found

    def _find(self, args: Any, kwargs: Any) -> Any:
        """Make a call that is unlike the latest one."""
        if watching.active and (autograd.LAZY_MODE or watching.here()):
            return self._f(*args, **kwargs)
        given: list[Any] = []
        try:
            key = _signature((args, kwargs), given, {}), autograd.recording_mode()
        except _ElsewhereError as error:
            if str(error) and str(error) not in self._said:
                self._said.add(str(error))
                self._warn(str(error))
            return self._f(*args, **kwargs)
        for captured in self._captured.get(key, ()):
            if captured.replay is None:
                return self._f(*args, **kwargs)
            found = captured.again(args, kwargs, given, True)
            if found is not STALE:
                if captured.flat:
                    self._quick = captured.again
                return found
        return self._capture(key, args, kwargs, given)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> Any:
        """Pickle and copy like a function: by name if the name leads to this very object, else with what it wraps."""
        name = getattr(self._f, "__qualname__", "")
        found: Any = sys.modules.get(getattr(self._f, "__module__", ""))
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else (Compiled, (self._f,))

    def explain(self) -> str:
        """What was captured and how it is replayed (nodes, buffers, memory, blocks), or why it is not."""
        found = [captured for captures in self._captured.values() for captured in captures]
        texts = [f"run as it is: {c.why}" if c.replay is None else c.replay.plan.explain() for c in found]
        title = _name(self._f)
        return "\n\n".join([f"{title}, captured {len(found)} times" if len(found) != 1 else title, *texts])

    def _capture(self, key: Any, args: Any, kwargs: Any, given: list[Any]) -> Any:
        with self._lock:
            found = self._captured.setdefault(key, [])
            if found and found[0].replay is not None:  # made by another thread meanwhile
                result = found[0].again(args, kwargs, given, True)
                if result is not STALE:
                    return result
            arrays = [a if isinstance(a, ndarray) else a._array for a in given]
            assigned = key in self._assigned
            if (assigned or any(map(is_, arrays, given))) and _overlap(arrays):
                return self._f(*args, **kwargs)  # an assignment to one shows in another
            if assigned and any(map(is_handed_out, arrays)):
                return self._f(*args, **kwargs)
            kind = tuple([(a.shape, a.dtype) for a in given])
            if not found and self._kinds.get(kind, 0) >= CAPTURES:
                self._captured.pop(key)
                return self._run_as_it_is(kind, args, kwargs)
            self._kinds[kind] = self._kinds.get(kind, 0) + (not found)
            if len(found) < CAPTURES:
                trial = Trial(self._f, args, kwargs, given)
                replay, result = trial.replay, trial.result
                if trial.overlaps:
                    self._assigned.add(key)
                if replay is None and not trial.why:
                    return result
                if trial.changes and key not in self._tried:  # perhaps only once, such as filling a cache
                    self._tried.add(key)
                    return result
                captured = _Captured(why=trial.why)
                if replay is not None:
                    flat = not kwargs and _are_flat(args, given)
                    captured = _Captured(replay, Writer(replay, trial.source, given, flat).function, "", flat)
                    self._quick = captured.again if flat else self._quick
                found.insert(0, captured)
            else:
                why = found[0].replay.guards.why() if found[0].replay is not None else ""
                captured = _Captured(why=f"what it reads keeps changing: {why}")
                found[:], self._quick = [captured], captured.again
                result = self._f(*args, **kwargs)
        if captured.why:
            self._warn(captured.why)
        return result

    def _run_as_it_is(self, kind: Any, args: Any, kwargs: Any) -> Any:
        """For arguments in which a number or an object is another one with each call."""
        if self._kinds[kind] == CAPTURES:
            self._kinds[kind] += 1
            self._warn("an argument that is no Tensor or array keeps changing; give a number as an array")
        return self._f(*args, **kwargs)

    def _warn(self, why: str) -> None:
        name = _name(self._f)
        level, frame = 1, sys._getframe(0)
        while frame.f_back is not None and frame.f_code.co_filename == __file__:
            level, frame = level + 1, frame.f_back
        warnings.warn(f"{name} is not compiled but run as it is: {why}", CompileWarning, stacklevel=level)


def _name(f: Any) -> str:
    return getattr(f, "__qualname__", type(f).__name__ if tells_its_parts(f) else repr(f))


LOOKED_THROUGH[Compiled] = "__wrapped__"


def compile(f: Callable[..., Any]) -> Compiled:
    """f, run once for each signature of its arguments and replayed from then on: the same results, in less time.

    The capture covers all that Needle computes: `backward()`, `p.data = ...`, `.grad`, transforms. Later calls with
    arguments of the same structure, shapes, dtypes and Python values replay it from a plan, if all that f read from
    outside (closures, globals, attributes) is as it was; else f is captured again. If f does something that cannot be
    replayed (a branch on data, random numbers, an attribute that counts), it runs as it is, and a CompileWarning names
    the line. f receives arrays as constant Tensors; results computed from arrays alone are returned as arrays.

    >>> import needle as ndl
    >>> @ndl.compile
    ... def slope(x):
    ...     return ndl.grad(lambda x: (ndl.tanh(x) * x).sum())(x)
    >>> bool((slope(np.array([0.0, 1.0])) == slope(np.array([0.0, 1.0]))).all())
    True
    """
    return Compiled(f)


# Signatures ----------------------------------------------------------------------------------------------------------


class _ElsewhereError(Exception):
    """The function must run as it is, because a transform or an assignment involves an argument, or for this reason."""


def _signature(value: Any, given: list[Any], places: dict[int, int]) -> Any:
    """Equal for arguments that can share a graph. Appends Tensors and arrays to `given`; `places` holds the first place
    of each array there, since the same array twice is another signature than two arrays."""
    cls = type(value)
    if cls is Tensor or (isinstance(value, Tensor) and not isinstance(value, (Assigned, Wrapped))):
        array = value._array
        place = places.setdefault(id(array), len(given))
        given.append(value)
        return cls, array.shape, array.dtype, value.needs, place, given[place] is value
    if cls is ndarray and value.dtype.kind in "biufc":
        place = places.setdefault(id(value), len(given))
        given.append(value)
        return value.shape, value.dtype, place, given[place] is value
    if cls is tuple or cls is list:
        return cls, *[_signature(member, given, places) for member in value]
    if cls in _BY_REPR:
        return cls, repr(value)
    if cls in _NUMBERS:
        return cls, value
    if cls is dict:
        return cls, *[(type(key), key, _signature(member, given, places)) for key, member in value.items()]
    if isinstance(value, np.generic):
        return cls, value.tobytes()
    if isinstance(value, Value):
        raise _ElsewhereError
    if isinstance(value, ndarray):
        raise _ElsewhereError(f"an argument is an array of class {cls.__name__} and dtype {value.dtype}")
    keys, children, make = members_of(value)
    if make is None:
        return _Same(value)
    if vars(value).keys() - keys if hasattr(value, "__dict__") else False:
        raise _ElsewhereError(f"an argument of class {cls.__name__} has more attributes than it has fields")
    return cls, *[_signature(member, given, places) for member in children]


def _overlap(arrays: list[Any]) -> bool:
    return any(a is not b and np.may_share_memory(a, b) for a, b in combinations(arrays, 2))


def _are_flat(args: tuple[Any, ...], given: list[Any]) -> bool:
    """Whether the arguments are nothing but distinct Tensors and arrays."""
    return len(args) == len(given) and all(map(is_, args, given)) and _are_distinct(args)


def _are_distinct(args: tuple[Any, ...]) -> bool:
    return len({id(a if type(a) is ndarray else a._array) for a in args}) == len(args)


class _Same:
    """Equal for the same object, held by a weak reference where possible."""

    __slots__ = ("hash", "value")

    def __init__(self, value: Any):
        self.hash = id(value)
        try:
            self.value: Any = weakref.ref(value)
        except TypeError:
            self.value = lambda: value

    def __eq__(self, other: object) -> bool:
        return type(other) is _Same and (value := self.value()) is not None and other.value() is value

    def __hash__(self) -> int:
        return self.hash
