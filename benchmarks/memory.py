"""Memory of long training, with the garbage collector off: nothing may grow, nothing may wait for a collection."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from harness import Budget, Report, fresh, main, resident

WARM, STEPS = 5_000, 10_000
"""Warming up takes so long because Python keeps up to 2,000 freed tuples of each length for the next ones."""
LAST = 200
"""So many steps are read, and the lowest counts: notes of dead views are thrown away every 20 or 30 steps, and do not
grow between two of these times."""
RATE = 0.01


def detached(needle: Any, loss: Callable[[Any], Any], W: Any) -> Callable[[], None]:
    def step() -> None:
        nonlocal W
        loss(W).backward()
        W = (W - RATE * W.grad).detach()

    return step


def assigned(needle: Any, loss: Callable[[Any], Any], W: Any) -> Callable[[], None]:
    def step() -> None:
        loss(W).backward()
        W.data = W.data - RATE * W.grad.data

    return step


def momentum(needle: Any, loss: Callable[[Any], Any], W: Any) -> Callable[[], None]:
    velocity = needle.Tensor(np.zeros(W.shape, np.float32), requires_grad=False)

    def step() -> None:
        loss(W).backward()
        velocity.data = 0.9 * velocity.data + W.grad.data
        W.data = W.data - RATE * velocity.data

    return step


PROGRAMS = {
    "W = (W - lr * W.grad).detach()": detached,
    "W.data = W.data - lr * W.grad.data": assigned,
    "the same with momentum": momentum,
}


READINGS: dict[str, Callable[[Any], int]] = {
    "bytes allocated": lambda needle: tracemalloc.get_traced_memory()[0],
    "bytes resident": lambda needle: resident()[0],
    "live tensors": lambda needle: int(needle.autograd.TENSOR_COUNTER),
}


ALLOWED = {"bytes allocated": 0, "bytes resident": 1 << 18, "live tensors": 0}
"""Resident memory grows by 128 KiB at a single page fault where the system maps so much at once; two of these in 10,000
steps are 26 bytes a step, and the smallest Tensor is 100."""


def growth(program: str, what: str) -> int:
    """How much more there is of it after the last step than after warming up."""
    needle: Any = import_module("needle")
    rng = np.random.default_rng(0)
    X = needle.Tensor(rng.random((16, 20), np.float32))  # by default it needs a gradient, as in the course's loops
    Y = needle.Tensor(np.eye(10, dtype=np.float32)[rng.integers(0, 10, 16)], requires_grad=False)
    W = needle.Tensor(rng.random((20, 10), np.float32))
    step = PROGRAMS[program](needle, lambda weights: needle.softmax_loss(needle.relu(X @ weights), Y), W)
    read, readings = READINGS[what], np.zeros(2, np.int64)
    gc.disable()
    if what == "bytes allocated":  # in a run of its own: tracing takes time and memory
        tracemalloc.start()
    for i, steps in enumerate((WARM, STEPS)):
        for _ in range(steps):
            step()
        readings[i] = read(needle)
        for _ in range(LAST):
            step()
            readings[i] = min(readings[i], read(needle))
    return int(readings[1] - readings[0])


def run(rounds: int) -> list[Report]:
    rows, budgets = [], []
    for program in PROGRAMS:
        grown = {what: fresh(growth, program, what) for what in READINGS}
        rows.append([program, *[f"{number:,}" for number in grown.values()]])
        budgets += [Budget(f"{program}: growth in {what}", ALLOWED[what], number, "") for what, number in grown.items()]
    title = f"Growth from step {WARM:,} to step {WARM + STEPS:,}, the garbage collector off"
    return [Report(title, ["a step", *READINGS], rows, budgets)]


if __name__ == "__main__":
    main({"memory": run})
