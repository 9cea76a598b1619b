"""The threads of large computations, and how many to use: started once, and asleep between two uses."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


def _processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_number = _processors()
_lock = threading.Lock()
"""Held by the caller that the workers serve."""
_workers: list[SimpleQueue[Any]] = []
"""The queue of each worker."""


def get_num_threads() -> int:
    """The most threads that a computation uses; by default, one per processor."""
    return _number


def set_num_threads(number: int) -> None:
    """Use at most this many threads in a computation. BLAS has threads, and a setting, of its own."""
    global _number
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise TypeError(f"set_num_threads: needs a whole number, got {number!r}")
    if number.__index__() < 1:
        raise ValueError(f"set_num_threads: needs at least 1 thread, got {number}")
    _number = number.__index__()


def _work(tasks: SimpleQueue[Any]) -> None:
    while True:
        context, function, k, done = tasks.get()
        error = None
        try:
            context.run(function, k)
        except BaseException as raised:
            error = raised
        done.put((k, error))
        del context, function, done, error  # keep nothing alive while waiting


def _started(n: int) -> list[SimpleQueue[Any]]:
    """The queues of n workers."""
    while len(_workers) < n:
        tasks: SimpleQueue[Any] = SimpleQueue()
        threading.Thread(target=_work, args=(tasks,), name=f"needle-{len(_workers) + 1}", daemon=True).start()
        _workers.append(tasks)
    return _workers[:n]


def run_on_threads(function: Callable[[int], object], n: int) -> None:
    """Call function(0), ..., function(n - 1), each in its own thread (one is the caller's) and in the caller's context
    (`np.errstate`, `no_grad`). Returns when all have returned, and raises the first of their exceptions. While the
    threads serve another caller, this one makes all calls itself."""
    if n <= 1 or not _lock.acquire(blocking=False):
        for k in range(n):
            function(k)
        return
    done: SimpleQueue[tuple[int, BaseException | None]] = SimpleQueue()
    errors: dict[int, BaseException] = {}
    asked = 0
    try:
        try:
            for k, tasks in enumerate(_started(n - 1), 1):
                tasks.put((copy_context(), function, k, done))
                asked += 1
            function(0)
        except BaseException as raised:
            errors[0] = raised
        for _ in range(asked):  # wait for all: they may be writing into the caller's arrays
            k, error = done.get()
            if error is not None:
                errors[k] = error
    finally:
        _lock.release()
    if errors:
        try:
            raise errors[min(errors)]
        finally:
            errors.clear()  # else the traceback would hold the exception in a cycle


WORTH = 1 << 23
"""Bytes that are read or written, from which on waking other threads (some hundred microseconds) pays."""


def for_each(items: Iterable[T], function: Callable[[T], object], nbytes: int) -> None:
    """Call function(item) for each item: over the threads, if the work reads or writes so many bytes that it pays."""
    todo = iter(list(items))  # of a list: threads may share it

    def work(k: int) -> None:
        for item in todo:
            function(item)

    run_on_threads(work, _number if nbytes >= WORTH else 1)


def _forget() -> None:
    """A forked child has no threads of its parent."""
    global _lock
    _workers.clear()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
