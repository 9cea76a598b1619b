"""What a program may ask of a value that a transform follows, where HIPS autograd has it in a box."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..autograd import DETACHED, Tensor, Value, Wrapped, value_of
from ..nested import map_leaves


def isbox(value: Any) -> bool:
    """Whether somebody differentiates by what it was computed from."""
    return isinstance(value, Wrapped) or (isinstance(value, Value) and value.needs > DETACHED)


def getval(value: Any) -> Any:
    """The value alone: an array or a NumPy number for a Tensor, anything else as it is."""
    return value_of(value, "getval")[()] if isinstance(value, Tensor) else value


class Boxes(type):
    """The class of classes for `isinstance` only, which say themselves what is one of theirs."""

    def __instancecheck__(cls, value: Any) -> bool:
        return bool(cls.has(value))  # type: ignore[attr-defined]


class Box(metaclass=Boxes):
    """The class of all values that somebody differentiates by, for `isinstance`."""

    has = staticmethod(isbox)


setattr(Tensor, "_value", property(getval))  # noqa: B010 - HIPS autograd's name, which is none of Tensor's own


def notrace_primitive(f: Callable[..., Any]) -> Callable[..., Any]:
    """f of the values alone, through which no derivative passes."""

    @wraps(f)
    def of_values(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = map_leaves(getval, (args, kwargs))
        return f(*args, **kwargs)

    return of_values


def register_notrace(kind: Any, f: Any) -> None:
    """Nothing: what has no derivative in Needle passes none, whatever transform runs."""
