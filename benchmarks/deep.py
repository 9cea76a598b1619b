"""A chain of a million scalar operations: forward, backward, freed; in linear time, at the default recursion limit."""

from __future__ import annotations

import statistics
import sys
import time
from importlib import import_module
from typing import Any, NamedTuple

from harness import NEEDLE, Budget, Report, fresh, installed, main, resident

FEW, MANY = 250_000, 1_000_000
TIMES = 3


class Deep(NamedTuple):
    """Seconds for each phase, and bytes a node that the process grew by until before and during backward."""

    forward: float
    backward: float
    freed: float
    recorded: float
    swept: float

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.freed


def measure(library: str, numbers: bool, n: int) -> Deep:
    """n operations, alternately * b and + a, where a and b are tensors or Python numbers."""
    module: Any = import_module(library)
    tensor = module.tensor if library == "torch" else module.Tensor
    x, b, a = tensor(1.0, requires_grad=True), tensor(1.0, requires_grad=False), tensor(0.0, requires_grad=False)
    if numbers:
        b, a = 1.0, 0.0
    (x * b + a).backward()  # what is done once
    x.grad = None
    before = resident()[0]
    clocks = [time.perf_counter()]
    y = x
    for _ in range(n // 2):
        y = y * b + a
    clocks.append(time.perf_counter())
    recorded = resident()[0] - before
    clocks.append(time.perf_counter())
    y.backward()
    clocks.append(time.perf_counter())
    del y
    clocks.append(time.perf_counter())
    if x.grad.item() != 1:
        raise RuntimeError(f"{library}: the gradient of the chain is {x.grad.item()}, not 1")
    default = 1000
    if sys.getrecursionlimit() != default:
        raise RuntimeError(f"{library}: changed the recursion limit to {sys.getrecursionlimit()}")
    swept = resident()[1] - before
    return Deep(clocks[1] - clocks[0], clocks[3] - clocks[2], clocks[4] - clocks[3], recorded / n, swept / n)


def run(rounds: int) -> list[Report]:
    rows, budgets = [], []
    for name, library, numbers, what in (
        (NEEDLE, "needle", False, "0-d tensors"),
        (NEEDLE, "needle", True, "Python numbers"),
        ("PyTorch", "torch", False, "0-d tensors"),
    ):
        if not installed(library):
            rows.append([name, "", f"{library} is not installed", *[""] * 6])
            continue
        found: dict[int, list[Deep]] = {FEW: [], MANY: []}
        for _ in range(min(TIMES, rounds)):
            for n, runs in found.items():
                runs.append(fresh(measure, library, numbers, n))
        for n, runs in found.items():
            micro = [f"{1e6 * best(runs, phase) / n:.2f}" for phase in Deep._fields[:3]]
            memory = [f"{statistics.median(r[i] for r in runs):,.0f}" for i in (3, 4)]
            rows.append([name, what, f"{n:,}", f"{best(runs, 'total'):.2f}", *micro, *memory])
        growth = best(found[MANY], "total") / best(found[FEW], "total") / (MANY / FEW)
        if name == NEEDLE:
            budgets += [
                Budget(f"{what}: time for {MANY:,} / time for {FEW:,} / {MANY // FEW}", 1.2, growth),
                Budget(f"{what}: memory a node", 1024, statistics.median(r.recorded for r in found[MANY]), " bytes"),
            ]
    phases = ["us forward", "us backward", "us freed"]
    columns = ["", "operands", "operations", "seconds", *phases, "bytes a node", "at the peak"]
    notes = [
        f"Each in a fresh process, {min(TIMES, rounds)} times; the fastest. Memory is the growth of the resident set:",
        "before backward(), and at its highest until the end. The recursion limit was Python's 1000 throughout.",
    ]
    return [Report("A chain of scalar operations, forward, backward and freed", columns, rows, budgets, notes)]


def best(runs: list[Deep], phase: str) -> float:
    """The lowest: nothing makes a phase faster than it is, and other programs make it slower."""
    return min(float(getattr(found, phase)) for found in runs)


if __name__ == "__main__":
    main({"deep": run})
