"""Random programs of functions, generators, threads and tasks that open `no_grad` and `enable_grad`, suspend, resume,
close and drop each other: in each frame, the mode is that of its innermost own block, else that of its decorator, else
that of whoever runs it.

`python tests/test_random_modes.py 10000` tries this many, and prints what went wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import linecache
import threading
from collections.abc import Iterator
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, autograd, blocks
from searching import search

MOST_STEPS, DEEPEST = 400, 20


def recorded() -> bool:
    """Whether operations are, in each of the ways in which the engine asks."""
    t = Tensor([1.0])
    found = {(t * t).requires_grad, (t * 2.0).requires_grad, needle.exp(t).requires_grad, needle.is_grad_enabled()}
    found |= {autograd.recording_mode() is True, t.sum().op is not None, bool(np.tanh(t).requires_grad)}
    (only,) = found
    return only


# The model -----------------------------------------------------------------------------------------------------------


class Frame:
    """A frame of the program, in the model: the blocks that are open in it, its decorator's mode, and the frame that
    delegates to it by `yield from`."""

    def __init__(self, decorated: bool | None, outer: Frame | None):
        self.blocks: list[bool] = []
        self.decorated, self.outer = decorated, outer


class World:
    """What a program finds under the name `w`."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng([seed, 1])
        self.stack: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar("stack", default=())
        self.pool: list[Any] = []
        self.steps = 0
        self.wrong = ""
        self.shared = [needle.no_grad(), needle.enable_grad()]

    # Frames

    def enter(self, decorated: bool | None, outer: Frame | None = None) -> Frame:
        frame = Frame(decorated, outer)
        self.stack.set((*self.stack.get(), frame))
        return frame

    def leave(self, frame: Frame) -> None:
        self.stack.set(self.stack.get()[:-1])

    def suspend(self, frame: Frame) -> None:
        self.leave(frame)
        if frame.outer is not None:
            self.suspend(frame.outer)

    def resume(self, frame: Frame) -> None:
        if frame.outer is not None:
            self.resume(frame.outer)
        self.stack.set((*self.stack.get(), frame))

    @contextlib.contextmanager
    def fresh(self, mode: bool) -> Iterator[None]:
        """A thread or a transform begins: it has this mode, whoever started it."""
        before = self.stack.get()
        base = Frame(mode, None)
        self.stack.set((*before, base))
        yield
        self.stack.set(before)

    def mode(self) -> bool:
        for frame in reversed(self.stack.get()):
            if frame.blocks:
                return frame.blocks[-1]
            if frame.decorated is not None:
                return frame.decorated
        return True

    def check(self, line: int) -> None:
        if not self.wrong and recorded() is not self.mode():
            self.wrong = f"line {line}: recorded is {recorded()}"

    def stop(self) -> bool:
        self.steps += 1
        return self.steps > MOST_STEPS or len(self.stack.get()) > DEEPEST or bool(self.wrong)

    # What programs do with generators

    def act(self, how: str, pick: int) -> None:
        """Resume, close, drop, or throw into one of the generators in the pool."""
        if not self.pool or self.stop():
            return
        i = pick % len(self.pool)
        g = self.pool[i]
        if g.gi_running:
            return
        if how == "drop":
            del self.pool[i]
            del g
            return
        with contextlib.suppress(StopIteration, KeyError):
            if how == "next":
                next(g)
            elif how == "send":
                g.send(None if g.gi_frame is None or g.gi_frame.f_lasti < 8 else 1)
            elif how == "close":
                g.close()
            else:
                g.throw(KeyError("thrown"))

    def spawn(self, generator: Any) -> None:
        if len(self.pool) < 6 and not self.stop():
            self.pool.append(generator)

    def thread(self, function: Any) -> None:
        """Run a function in a thread of its own."""
        if self.stop():
            return

        def run() -> None:
            held, self.pool = self.pool, []  # blocks of generators are for the thread that entered them
            try:
                with self.fresh(True):
                    function()
                self.check(-1)
                self.pool.clear()
                gc.collect(0)
            finally:
                self.pool = held

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    def transform(self, function: Any) -> None:
        """Run a function while it is differentiated."""
        if self.stop() or blocks.running.get():
            return

        def f(x: Any) -> Any:
            with self.fresh(True):
                function()
            return (x * x).sum()

        if not np.array_equal(needle.grad(f)(np.array([1.0, 2.0])), [2.0, 4.0]):
            self.wrong = self.wrong or "a gradient is wrong"


# The program ---------------------------------------------------------------------------------------------------------

HELPERS = """
import contextlib, needle
from contextlib import ExitStack
@contextlib.contextmanager
def evaluating():
    with needle.no_grad():
        yield
@contextlib.contextmanager
def training():
    with needle.enable_grad():
        yield
class Held:
    def __init__(self, mode): self.mode = mode
    def __enter__(self): return self.mode.__enter__()
    def __exit__(self, *error): return self.mode.__exit__(*error)
"""
BLOCKS = {
    False: ["needle.no_grad()", "evaluating()", "w.shared[0]", "needle.no_grad(), needle.no_grad()"],
    True: ["needle.enable_grad()", "training()", "w.shared[1]", "needle.no_grad(), needle.enable_grad()"],
}


class Writer:
    """Writes the source of a program: functions f0, f1, ... and generators g0, g1, ..."""

    def __init__(self, seed: int, tasks: bool = False):
        self.rng = np.random.default_rng(seed)
        self.tasks, self.stacks = tasks, 0
        self.functions, self.generators = int(self.rng.integers(1, 4)), int(self.rng.integers(1, 4))
        lines = HELPERS.splitlines()
        for kind, count in (("f", self.functions), ("g", self.generators)):
            for i in range(count):
                lines += self.definition(kind, i)
        self.text = "\n".join(lines) + "\n"

    def one_of(self, choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def definition(self, kind: str, i: int) -> list[str]:
        decorated = self.one_of([None, None, False, True])
        head = [] if decorated is None else [f"@needle.{'enable' if decorated else 'no'}_grad()"]
        word = "async def" if self.tasks else "def"
        body = self.block(kind, int(self.rng.integers(2, 6)), 3)
        if kind == "g":
            body += self.a_yield("w")
        return [
            *head,
            f"{word} {kind}{i}(outer=None):",
            f"    F = w.enter({decorated}, outer)",
            "    try:",
            *["        " + line for line in body],
            "    finally:",
            "        w.leave(F)",
        ]

    def a_yield(self, _: str) -> list[str]:
        return ["w.suspend(F)", "try: got = yield F", "finally: w.resume(F)"]

    def block(self, kind: str, count: int, depth: int) -> list[str]:
        found = ["w.check(LINE)"]
        for _ in range(count):
            found += [*self.statement(kind, depth), "w.check(LINE)"]
        return found

    def opened(self, kind: str, depth: int) -> list[str]:
        mode, self.stacks = bool(self.rng.integers(2)), self.stacks + 1
        stack = f"stack{self.stacks}"
        inner = ["    " + line for line in self.block(kind, int(self.rng.integers(1, 4)), depth - 1)]
        how = self.rng.integers(5)
        opening = [f"with {self.one_of(BLOCKS[mode])}:"]
        if how == 0:
            opening = [f"with ExitStack() as {stack}:", f"    {stack}.enter_context({self.one_of(BLOCKS[mode][:2])})"]
        within = [f"    F.blocks.append({mode})", "    try:", *["    " + line for line in inner]]
        within += ["    finally: F.blocks.pop()"]
        if how == 1:  # closed by hand
            made = [f"{stack} = ExitStack()", f"{stack}.enter_context({self.one_of(BLOCKS[mode][:2])})", "try:"]
            return [*made, *within, f"finally: {stack}.close()"]
        return [*opening, *within]

    def statement(self, kind: str, depth: int) -> list[str]:
        if self.tasks:
            return self.statement_of_a_task(kind, depth)
        how = self.rng.integers(14)
        if how < 4 and depth:
            return self.opened(kind, depth)
        if how < 7 and kind == "g":
            return self.a_yield("w")
        if how == 7 and kind == "g":
            return [f"if not w.stop(): yield from g{self.rng.integers(self.generators)}(F)"]
        if how == 8:
            return [f"if not w.stop(): f{self.rng.integers(self.functions)}()"]
        if how == 9:
            return [f"w.spawn(g{self.rng.integers(self.generators)}())"]
        if how == 10 and depth:
            inner = ["    " + line for line in self.block(kind, 2, depth - 1)]
            return ["try:", *inner, "except KeyError:", "    w.check(LINE)"]
        if how == 11:
            return [f"w.{self.one_of(['thread', 'transform'])}(f{self.rng.integers(self.functions)})"]
        act = self.one_of(["next", "next", "next", "send", "close", "drop", "throw"])
        return [f"w.act('{act}', {self.rng.integers(60)})"]

    def statement_of_a_task(self, kind: str, depth: int) -> list[str]:
        how = self.rng.integers(9)
        wait = ["w.suspend(F)", "await asyncio.sleep(0)", "w.resume(F)"]
        if how < 3 and depth:
            return self.opened(kind, depth)
        if how < 5:
            return ["await asyncio.sleep(0)"]
        if how == 5:
            return [f"if not w.stop(): await f{self.rng.integers(self.functions)}()"]
        if how == 6 and kind == "g":
            return self.a_yield("w")
        if how == 7:
            stop = self.rng.integers(1, 4)
            return [
                "if not w.stop():",
                f"    items = g{self.rng.integers(self.generators)}()",
                f"    for _ in range({stop}):",
                "        async for _ in items: break",
                "        w.check(LINE)",
                *["    await items.aclose()"] * bool(self.rng.integers(2)),
            ]
        return wait[1:2]

    def source(self) -> str:
        return "\n".join(line.replace("LINE", str(n)) for n, line in enumerate(self.text.splitlines(), 1))


def namespace(seed: int, w: World, tasks: bool) -> dict[str, Any]:
    source = Writer(seed, tasks).source()
    name = f"<modes {seed}>"
    linecache.cache[name] = len(source), None, source.splitlines(True), name
    found: dict[str, Any] = {"w": w, "asyncio": asyncio, "__name__": "program_of_modes"}
    exec(compile(source, name, "exec"), found)
    return found


def wrong(seed: int) -> str:
    """Where the mode is another one than in the model; "" if nowhere."""
    return contextvars.copy_context().run(of_tasks if seed % 4 == 3 else of_generators, seed)


def of_generators(seed: int) -> str:
    w = World(seed)
    found = namespace(seed, w, tasks=False)
    generators = [f for name, f in found.items() if name[0] == "g" and name[1:].isdigit()]
    for _ in range(12):
        w.check(0)
        how = w.rng.integers(4)
        with contextlib.suppress(KeyError):
            if how == 0:
                w.spawn(generators[w.rng.integers(len(generators))]())
            elif how == 1:
                found["f0"]()
            elif how == 2:
                with needle.no_grad():
                    frame = w.enter(False)
                    w.act("next", int(w.rng.integers(60)))
                    w.check(0)
                    w.leave(frame)
            else:
                w.act(["next", "close", "drop", "throw"][w.rng.integers(4)], int(w.rng.integers(60)))
    w.pool.clear()
    return what_is_left(seed, w)


def of_tasks(seed: int) -> str:
    w = World(seed)
    found = namespace(seed, w, tasks=True)
    functions = [f for name, f in found.items() if name[0] == "f" and name[1:].isdigit()]

    async def main() -> None:
        tasks = []
        for k in range(4):
            f = functions[k % len(functions)]
            if w.rng.integers(3) == 0:
                with needle.no_grad():
                    frame = w.enter(False)
                    tasks.append(asyncio.ensure_future(f()))
                    w.leave(frame)
            else:
                tasks.append(asyncio.ensure_future(f()))
            if w.rng.integers(2):
                await asyncio.sleep(0)
            w.check(0)
        if w.rng.integers(2):
            tasks[w.rng.integers(4)].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        w.check(0)

    asyncio.run(main())
    return what_is_left(seed, w)


def what_is_left(seed: int, w: World) -> str:
    gc.collect(0)
    w.check(0)
    if not w.wrong and blocks._open:
        gc.collect()
        w.wrong = "a block is left open" if blocks._open else ""
    blocks._open.clear()
    return w.wrong and f"seed {seed}: {w.wrong}"


@pytest.mark.parametrize("block", range(10))
def test_the_mode_is_that_of_the_model(block):
    for seed in range(20 * block, 20 * (block + 1)):
        assert not wrong(seed)


if __name__ == "__main__":
    search(wrong)
