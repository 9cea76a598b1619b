"""Ctrl-C as a wish instead of an exception."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_SAID = b"\nstopping after this batch, which is then saved; Ctrl-C again stops at once, without saving\n"


@contextmanager
def noted(note: Callable[[], None]) -> Iterator[None]:
    """While the block runs, the first Ctrl-C calls `note`, and the second does what it did before.

    Signals reach the main thread only: elsewhere, and where Ctrl-C is ignored, nothing changes.
    """
    before: Any = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def handle(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        note()
        with suppress(OSError):
            os.write(2, _SAID)  # print() might be interrupted by the very same

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is handle:
            signal.signal(signal.SIGINT, before)
