"""Modes of a thread and context: whether operations are recorded, and whose adjoints are asked for."""

from __future__ import annotations

from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from typing import Any

LAZY_MODE = False
"""True: values are computed when first asked for. Set it as `needle.autograd.LAZY_MODE = True`."""

_recording: ContextVar[bool | None] = ContextVar("recording", default=True)
_asked: ContextVar[set[Any] | None] = ContextVar("asked", default=None)
is_recording = _recording.get
"""Whether operations are recorded, in this thread and context. None: they are not, but transforms follow them."""
set_recording, reset_recording = _recording.set, _recording.reset
get_asked, set_asked, reset_asked = _asked.get, _asked.set, _asked.reset


class _GradMode(ContextDecorator):
    """Sets whether operations are recorded, in this thread and context; usable in `with` and as a decorator."""

    _value: bool
    _tokens: tuple[Token[bool | None], ...] = ()  # of this very object's blocks, the innermost last

    def _recreate_cm(self) -> _GradMode:
        return type(self)()

    def __enter__(self) -> None:
        self._tokens += (_recording.set(self._value),)

    def __exit__(self, *_: object) -> None:
        _recording.reset(self._tokens[-1])
        self._tokens = self._tokens[:-1]


class no_grad(_GradMode):
    """`with needle.no_grad():` computes without recording; the results need no gradient."""

    _value = False


class enable_grad(_GradMode):
    """`with needle.enable_grad():` records again inside a `no_grad` block."""

    _value = True


def is_grad_enabled() -> bool:
    """Whether operations are being recorded here and now."""
    return bool(is_recording())


def wanted(tensor: Any) -> bool:
    """For gradient rules: does anybody ask for the adjoint of this input?

    In a sweep, only what lies on a path to a requested variable; outside a sweep (a rule called by hand), everything.
    """
    asked = get_asked()
    return asked is None or tensor in asked


# What a value is to the sweep. An operation combines its inputs' states with `|`; above DETACHED, it is recorded.
CONSTANT = 0  # no adjoint is ever computed for it
DETACHED = 1  # starts no recording, yet receives its gradient where it takes part in one
RECORDED = 3  # starts recording
VARIABLE = 7  # starts recording for a transform that differentiates by it
FOLLOWED = 15  # is wrapped by a transform that follows it, also where the graph records nothing
