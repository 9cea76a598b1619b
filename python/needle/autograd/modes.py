"""Modes of a thread and context: whether operations are recorded, and whose adjoints are asked for."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from .. import blocks

LAZY_MODE = False
"""True: values are computed when first asked for. Set it as `needle.autograd.LAZY_MODE = True`."""

is_recording, recording_mode = blocks.is_recording, blocks.recording_mode
set_recording, reset_recording = blocks.set_recording, blocks.reset_recording
_asked: ContextVar[set[Any] | None] = ContextVar("asked", default=None)
get_asked, set_asked, reset_asked = _asked.get, _asked.set, _asked.reset


class no_grad(blocks.RecordingMode):
    """`with needle.no_grad():` computes without recording; the results need no gradient.

    As a decorator, `@needle.no_grad()`, it is for all code of a function: that of a generator, or of a coroutine,
    whenever it runs, and not what runs while it is suspended. So is a block in a generator, `with needle.no_grad():
    yield y`, in the thread that entered it; within it, every operation has to ask where it runs, which takes a
    microsecond. One in a function under `@contextlib.contextmanager`, or in a fixture, is for the `with` block that is
    entered by it.
    """

    _value = False


class enable_grad(blocks.RecordingMode):
    """`with needle.enable_grad():` records again inside a `no_grad` block; a decorator and for generators like it."""

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
