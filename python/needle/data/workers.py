"""Batches fetched ahead, by threads, or by processes with a thread each that speaks for them.

Processes are spawned, never forked: a fork copies locks that other threads hold. Each talks through a pipe of its own,
which ends with the process at its other end, so that nothing is left running whoever is killed.
"""

from __future__ import annotations

import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from .fetching import Fetcher, Stopped

_PATIENCE = 5.0
"""Seconds that stopping waits for a thread whose dataset does not return."""


def fetched_ahead(tasks: Iterator[Any], fetch: Fetcher, workers: int, processes: bool, most: int) -> Iterator[Any]:
    """fetch(task) for each task, in their order; at most so many results are under way or waiting to be taken.

    An error is raised in its turn. However the iteration ends, all threads and processes end with it.
    """
    program = _pickled(fetch) if processes else b""
    remotes: list[Remote] = []
    ahead = None
    try:
        for _ in range(workers if processes else 0):
            remotes.append(Remote(program))
        ahead = Lookahead(tasks, remotes or [fetch] * workers, most)
        yield from ahead
    finally:
        fetch.stopped = True
        if ahead is not None:
            ahead.tell_to_stop()
        for remote in remotes:
            remote.stop()
        if ahead is not None:
            ahead.wait_for_the_end()


class Lookahead:
    """Iterates over the results of tasks that several threads compute ahead, each with a function of its own."""

    def __init__(self, tasks: Iterator[Any], functions: list[Any], most: int):
        self._tasks = tasks
        self._pulled = 0
        self._pulling = threading.Lock()
        self._room = threading.Semaphore(most)
        self._news = threading.Condition()
        self._results: dict[int, tuple[bool, Any]] = {}
        self._end: int | None = None
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, args=(function,), name=f"DataLoader worker {i}", daemon=True)
            for i, function in enumerate(functions)
        ]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[Any]:
        number = 0
        while True:
            with self._news:
                while number not in self._results and number != self._end:
                    self._news.wait(1.0)  # for ever, but on Windows Ctrl-C comes through only in between
                if number == self._end:
                    return
                fine, result = self._results.pop(number)
            self._room.release()
            if not fine:
                raise result
            yield result
            del result
            number += 1

    def _work(self, function: Callable[[Any], Any]) -> None:
        while self._room.acquire() and not self._stopped:
            with self._pulling:
                number, task, error = self._pulled, None, None
                try:
                    task = next(self._tasks)
                except StopIteration:
                    return self._tell(end=number)
                except BaseException as raised:
                    error, self._tasks = raised, iter(())
                self._pulled += 1
            try:
                if error is not None:
                    raise error
                self._tell(number, (True, function(task)))
            except Stopped:
                return None
            except BaseException as raised:  # whatever it is, who waits for this result must hear of it
                self._tell(number, (False, raised))
        return None

    def _tell(self, number: int = 0, result: Any = None, end: int | None = None) -> None:
        with self._news:
            if end is None:
                self._results[number] = result
            else:
                self._end = end
            self._news.notify_all()

    def tell_to_stop(self) -> None:
        self._stopped = True
        self._room.release(len(self._threads))

    def wait_for_the_end(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


# ---------------------------------------------------------------------------------------------------------- processes


class Remote:
    """A process with a fetcher in it; calling it calls that one."""

    def __init__(self, program: bytes):
        context = get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=serve, args=(there,), daemon=True)
        self._process.start()
        there.close()
        self._program: bytes | None = program
        self._busy = False

    def __call__(self, task: Any) -> Any:
        self._busy = True
        try:
            if self._program is not None:
                self._pipe.send_bytes(self._program)
                self._program = None
            self._pipe.send(task)
            fine, value = _receive(self._pipe)
        except (EOFError, OSError) as error:
            self._process.join(1.0)
            raise RuntimeError(
                f"DataLoader: a worker process ended with exit code {self._process.exitcode} while it fetched "
                f"{str(task)[:80]}: it was killed, perhaps for want of memory, or the script starts processes where "
                "it is imported; put its own work under `if __name__ == '__main__':`"
            ) from error
        self._busy = False
        if not fine:
            raise value
        return value

    def stop(self) -> None:
        """End the process: a quiet one ends by itself, as its pipe does."""
        if not self._busy:
            self._pipe.close()
            self._process.join(1.0)
        self._process.kill()
        self._process.join()


def serve(pipe: Connection) -> None:
    """The life of a worker process: a fetcher comes, then tasks, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which ends this one
    fetch: Any = None
    with suppress(EOFError, OSError):
        program = pipe.recv_bytes()
        while True:
            task = pipe.recv()
            buffers: list[pickle.PickleBuffer] = []
            try:
                if fetch is None:
                    fetch = pickle.loads(program)
                    fetch.in_own_process = True
                answer = pickle.dumps((True, fetch(task)), protocol=5, buffer_callback=buffers.append)
            except Exception as error:
                buffers.clear()
                answer = pickle.dumps((False, _to_be_sent(error)))
            pipe.send([len(buffer.raw()) for buffer in buffers])
            pipe.send_bytes(answer)
            for buffer in buffers:
                pipe.send_bytes(buffer.raw())


def _receive(pipe: Connection) -> Any:
    sizes, answer = pipe.recv(), pipe.recv_bytes()
    buffers = [np.empty(size, np.uint8) for size in sizes]
    for buffer in buffers:
        pipe.recv_bytes_into(buffer.data)
    return pickle.loads(answer, buffers=buffers)


def _to_be_sent(error: Exception) -> Exception:
    """The error, its lines in a note, as they are lost on the way; of another class where its own cannot travel."""
    lines = "".join(traceback.format_tb(error.__traceback__))
    error.add_note(f"In the worker process:\n{lines}")
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        substitute = RuntimeError(f"{type(error).__name__}: {error}")
        substitute.__notes__ = list(error.__notes__)
        return substitute


def _pickled(fetch: Fetcher) -> bytes:
    try:
        return pickle.dumps(fetch)
    except Exception as error:
        raise TypeError(
            f"DataLoader: processes=True sends the dataset, its transforms and collate to other processes, but they "
            f"cannot be pickled ({error}); define functions and classes at the top level of a module, or leave "
            "processes=True out: threads need no copy"
        ) from error
