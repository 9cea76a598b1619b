"""Modes of a thread and context that a `with` block sets: they hold where the code of the block runs, and nowhere else.

A generator shares the context of whoever runs it. So a block that a generator opens would stay open outside, while it
is suspended, and would be closed for others whenever it ends. Such a block is noted with the generator's frame instead,
and as long as there is one, the mode is that of the innermost frame on the stack that has set it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextlib import ExitStack
from contextvars import ContextVar, Token
from sys import _getframe
from types import FrameType
from typing import Any, TypeVar

_recording: ContextVar[Any] = ContextVar("recording", default=True)
is_recording = _recording.get
"""Whether operations are recorded, in this thread and context. Ask only whether it is true: see `recording_mode`."""
running: ContextVar[bool] = ContextVar("running", default=False)
"""Whether a transform's function is running in this context: an outer one may differentiate what it computes."""
calls: dict[int, dict[int, Any]] = {}
"""The functions of transforms that are running in any thread, which may have started others: by a number, weak
references to the tensors that each has assigned to, by id."""
_open: dict[FrameType, list[Any]] = {}
"""The blocks that are open in frames of generators, by frame, the innermost last."""
_F = TypeVar("_F", bound=Callable[..., Any])
_SUSPENDED = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR  # a coroutine's task has a context of its own
_ENTER_CONTEXT = ExitStack.enter_context.__code__
_DRIVERS = {"contextlib", "_pytest", "pluggy"}
"""The packages for which a generator is a block of whoever runs it: its modes are meant for them."""


class _ByStack:
    """The mode while generators have blocks open: that of the innermost frame which set it."""

    __slots__ = ("_frame", "_value")

    def __init__(self, value: bool | None, frame: FrameType | None = None):
        self._value, self._frame = value, frame

    def mode(self) -> bool | None:
        frame = _getframe(1) if _open else None
        while frame is not None and frame is not self._frame:
            if blocks := _open.get(frame):
                return blocks[-1]._value
            frame = frame.f_back
        return self._value

    def __bool__(self) -> bool:
        return bool(self.mode())


def recording_mode() -> bool | None:
    """Whether operations are recorded. None: they are not, but transforms follow them."""
    value = _recording.get()
    return value.mode() if type(value) is _ByStack else value


def set_recording(value: Any) -> Token[Any]:
    """Set the mode for the calling function, until `reset_recording`."""
    return _recording.set(_ByStack(value, _getframe(1)) if _open and type(value) is not _ByStack else value)


def reset_recording(token: Token[Any]) -> None:
    _recording.reset(token)
    if _open or type(_recording.get()) is _ByStack:
        _ask_the_stack()


def _ask_the_stack() -> None:
    """Have the mode of this context depend on the stack as long as generators have blocks open."""
    value = _recording.get()
    if (type(value) is _ByStack) != bool(_open):
        _recording.set(_ByStack(value) if _open else value._value)


def owner(frame: FrameType) -> FrameType:
    """Whose block it is that this frame enters or leaves: that of the frame itself, unless this is the work of
    contextlib (`@contextmanager`, ExitStack) or of a test's fixture."""
    back = frame.f_back
    while back is not None and (_is_driver(frame) or (frame.f_code.co_flags & _SUSPENDED and _is_driver(back))):
        frame, back = back, back.f_back
    return frame


def _is_driver(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _DRIVERS


def generator_behind(frame: FrameType) -> FrameType | None:
    """The generator's frame whose block it is that this frame enters or leaves; None if it is none of a generator."""
    code = frame.f_code
    if not (code.co_flags & _SUSPENDED or code is _ENTER_CONTEXT):
        return None
    frame = owner(frame)
    return frame if frame.f_code.co_flags & _SUSPENDED else None


def is_running(sought: FrameType) -> bool:
    """Whether this frame is on the stack."""
    frame: FrameType | None = _getframe(1)
    while frame is not None and frame is not sought:
        frame = frame.f_back
    return frame is not None


class RecordingMode:
    """Sets whether operations are recorded, in this thread and context; usable in `with` and as a decorator."""

    _value: bool

    def __init__(self) -> None:
        self._entered: list[Token[Any] | FrameType] = []
        """This very object's blocks, the innermost last; threads and tasks that share it have theirs among them."""

    def __enter__(self) -> None:
        code = _getframe(1).f_code
        if not (_open or code.co_flags & _SUSPENDED or code is _ENTER_CONTEXT):
            self._entered.append(_recording.set(self._value))
            return
        frame = owner(_getframe(1))
        if frame.f_code.co_flags & _SUSPENDED:
            _open.setdefault(frame, []).append(self)
            _ask_the_stack()
            self._entered.append(frame)
        else:
            self._entered.append(_recording.set(_ByStack(self._value, frame) if _open else self._value))

    def __exit__(self, *_: object) -> None:
        if not _open and self._entered:
            last: Any = self._entered.pop()
            try:
                _recording.reset(last)
                return
            except (TypeError, ValueError):  # it is another thread's
                self._entered.append(last)
        frame = owner(_getframe(1)) if _open else None
        if frame is None or frame not in self._entered:  # generators that share this object leave it in any order
            if not any(map(self._leaves, reversed([a for a in self._entered if isinstance(a, Token)]))):
                frame = next((a for a in reversed(self._entered) if isinstance(a, FrameType)), None)
                if frame is None:
                    raise RuntimeError(f"{type(self).__name__}: this block was not entered in this thread or task")
                self._leave(frame)
        else:
            self._leave(frame)
        _ask_the_stack()

    def _leaves(self, token: Token[Any]) -> bool:
        """Leave the block of this token, if it was entered in this thread and context."""
        try:
            _recording.reset(token)
        except ValueError:
            return False
        self._entered.remove(token)
        return True

    def _leave(self, frame: FrameType) -> None:
        """Leave a block of a generator."""
        self._entered.remove(frame)
        blocks = _open[frame]
        del blocks[max(i for i, block in enumerate(blocks) if block is self)]
        if not blocks:
            del _open[frame]

    def __call__(self, function: _F) -> _F:
        """The function, in this mode. Code of a generator or a coroutine is in it whenever it runs, and what runs while
        that is suspended is not."""
        return _decorated(function, self._value)


def _decorated(function: Any, recording: bool) -> Any:
    run: Any
    if inspect.isasyncgenfunction(function):

        async def run(*args: Any, **kwargs: Any) -> Any:
            items = function(*args, **kwargs)
            step: Any = items.asend(None)
            while True:
                try:
                    item = await _Awaited(step, recording)
                except StopAsyncIteration:
                    return
                finally:
                    step = None
                try:
                    step = items.asend((yield item))
                except BaseException as error:  # of athrow() or aclose()
                    if items.ag_frame is None:  # it was closed, and its athrow() would return
                        raise
                    step = items.athrow(error)

    elif inspect.iscoroutinefunction(function):

        async def run(*args: Any, **kwargs: Any) -> Any:
            return await _Awaited(function(*args, **kwargs), recording)

    elif inspect.isgeneratorfunction(function):

        def run(*args: Any, **kwargs: Any) -> Any:
            return (yield from _step_by_step(function(*args, **kwargs), recording))

    else:

        def run(*args: Any, **kwargs: Any) -> Any:
            was_recording = set_recording(recording)
            try:
                return function(*args, **kwargs)
            finally:
                reset_recording(was_recording)

    return functools.wraps(function)(run)


class _Awaited:
    """A coroutine, or a step of an async generator, that runs in a mode when it is awaited."""

    def __init__(self, steps: Any, recording: bool):
        self._steps, self._recording = steps, recording

    def __await__(self) -> Any:
        return _step_by_step(self._steps, self._recording)


def _step_by_step(steps: Any, recording: Any) -> Generator[Any, Any, Any]:
    """A generator that does what this generator or coroutine does, each step of which runs in the mode, or in that of a
    block that a coroutine has opened and that is still open."""
    step: Any = steps.send
    given: Any = None
    while True:
        was_recording = set_recording(recording)
        try:
            item = step(given)
        except StopIteration as done:
            return done.value
        finally:
            recording = _recording.get()
            if type(recording) is _ByStack and recording._frame in (None, _getframe(0)):
                recording = recording._value  # else this frame would hold itself, or that where it is resumed decide
            reset_recording(was_recording)
            given = None  # an error would hold this frame, which holds it
        try:
            step, given = steps.send, (yield item)
        except BaseException as error:  # of throw() or close()
            step, given = steps.throw, error
