"""NumPy code on Tensors: what NumPy's detour to Needle costs, a small function and its gradient, loops of indexing.

The function has four operations, tanh(x * 2 + 1) summed, on 10 floats: what is measured is everything but arithmetic.
The loops read or assign elements one by one, and are to take time in proportion to their steps, forward and backward.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from harness import COLUMNS, NEEDLE, Budget, Contender, Report, Work, fresh, main, ratio_budget, take_turns

SIZES = (10, 1_000, 100_000)
STEPS, MANY_STEPS = (4_000, 8_000), 32_000
TIMES = 7


def tanh(where: str, size: int) -> Work:
    """tanh of a tensor that needs a gradient, by NumPy's function or by Needle's; of an array, by NumPy's."""
    needle = import_module("needle")
    array = np.linspace(-1, 1, size)
    function = needle.tanh if where == "needle" else np.tanh
    t = array if where == "array" else needle.Tensor(array)
    return Work(lambda: function(t), lambda: [np.tanh(array)])


def gradient_of(grad: str, namespace: str) -> Work:
    """The gradient of the four-op function by a library's `grad`."""
    module: Any = import_module(namespace)
    if grad == "jax":
        import_module("jax").config.update("jax_enable_x64", True)
    gradient: Any = import_module(grad).grad(lambda x: module.sum(module.tanh(x * 2.0 + 1.0)))
    return _functional(gradient)


def gradient_by_needle() -> Work:
    """By `needle.grad`, of a function that is written with plain NumPy's functions."""
    gradient: Any = import_module("needle").grad(lambda x: np.sum(np.tanh(x * 2.0 + 1.0)))
    return _functional(gradient)


def backward(library: str) -> Work:
    """By `backward()` of the same function, written with the library's own methods."""
    module: Any = import_module(library)
    x = module.Tensor(data()) if library == "needle" else module.tensor(data(), requires_grad=True)

    def step() -> None:
        x.grad = None
        (x * 2.0 + 1.0).tanh().sum().backward()

    return Work(step, lambda: [x.grad.numpy()])


def data() -> Any:
    return np.linspace(0.1, 1, 10)


def _functional(gradient: Any) -> Work:
    x, found = data(), [None]

    def step() -> None:
        found[0] = gradient(x)

    return Work(step, lambda: found)


def assigning(np: Any, x: Any, n: int) -> Any:
    out = np.zeros(n)
    for i in range(n):
        out[i] = x[i]
    return out


def accumulating(np: Any, x: Any, n: int) -> Any:
    out = np.zeros(n)
    for i in range(n):
        out[i] += x[i]
    return out


def recurrence(np: Any, x: Any, n: int) -> Any:
    out = np.zeros(n)
    for i in range(1, n):
        out[i] = out[i - 1] * 0.9 + x[i]
    return out


def rows(np: Any, x: Any, n: int) -> Any:
    out = np.zeros((n, 4))
    for i in range(1, n):
        out[i] = out[i - 1] * 0.9 + x[i]
    return out


def views(np: Any, x: Any, n: int) -> Any:
    out = np.zeros((n, 4))
    for i in range(1, n):
        row = out[i]
        row[0] = x[i]
        row[1] += x[i - 1]
    return out


def reading(np: Any, x: Any, n: int) -> Any:
    total = 0.0
    for i in range(n):
        total = total + x[i]
    return total


LOOPS: dict[str, Callable[[Any, Any, int], Any]] = {
    "out[i] = x[i]": assigning,
    "out[i] += x[i]": accumulating,
    "out[i] = out[i - 1] * 0.9 + x[i]": recurrence,
    "the same, rows of four": rows,
    "row = out[i]; row[0] = x[i]; row[1] += x[i - 1]": views,
    "total = total + x[i]": reading,
}


def loop(name: str, n: int, collecting: bool) -> tuple[float, float]:
    """Seconds for n steps forward, and for their gradient; the shortest of several times."""
    needle, xp = import_module("needle"), import_module("needle.numpy")
    LOOPS[name](xp, needle.Tensor(np.ones(10)), 10).sum().backward()  # what is done once
    times = []
    for _ in range(TIMES if n <= STEPS[1] else 3):
        gc.enable()
        gc.collect()  # what an earlier time left behind
        if not collecting:
            gc.disable()
        x = needle.Tensor(np.linspace(0, 1, n))
        clocks = [time.perf_counter()]
        y = (LOOPS[name](xp, x, n) ** 2).sum()
        clocks.append(time.perf_counter())
        y.backward()
        clocks.append(time.perf_counter())
        times.append((clocks[1] - clocks[0], clocks[2] - clocks[1]))
    return min(times, key=sum)


def loops() -> Report:
    """With Python's garbage collector off, as `timeit` has it, and on. It looks at all objects whenever there are some
    85,000 new ones, and by a quarter more: between 4,000 and 8,000 steps it does so once or not at all, so that a loop
    that makes fewer objects can seem to grow faster. With it, the growth is that of a doubling from 4,000 to 32,000.
    """
    table, budgets = [], []
    for name in LOOPS:
        few, many = [fresh(loop, name, n, False) for n in STEPS]
        ratio = sum(many) / sum(few)
        collecting = [sum(fresh(loop, name, n, True)) for n in (*STEPS, MANY_STEPS)]
        growth = (collecting[2] / collecting[0]) ** (1 / np.log2(MANY_STEPS / STEPS[0]))
        micro = [1e6 * seconds / STEPS[1] for seconds in many]
        table.append([name, *[f"{x:.2f}" for x in (*micro, ratio, collecting[1] / collecting[0], growth)]])
        budgets.append(Budget(f"{name}: {STEPS[1]} steps / {STEPS[0]} steps", 2.3, ratio))
        budgets.append(Budget(f"{name}: a doubling from {STEPS[0]} to {MANY_STEPS}, with the collector", 2.3, growth))
    columns = ["", "forward us a step", "backward us a step", f"time for {STEPS[1]} / {STEPS[0]}", "with the collector"]
    columns.append(f"a doubling from {STEPS[0]} to {MANY_STEPS}")
    return Report("Loops that index, forward and backward, float64", columns, table, budgets)


def run(rounds: int) -> list[Report]:
    reports = []
    contenders: tuple[Contender, ...]
    for size in SIZES:
        contenders = (
            Contender(NEEDLE, partial(tanh, "numpy", size)),
            Contender("needle.tanh(t)", partial(tanh, "needle", size)),
            Contender("np.tanh(array)", partial(tanh, "array", size)),
        )
        times = take_turns(contenders, rounds, 0)
        promise = f"np.tanh(t) / needle.tanh(t), {size:,} floats"
        budgets = [ratio_budget(promise, 1.3, times, "needle.tanh(t)")]
        title = f"{NEEDLE}: np.tanh(t) of a Tensor of {size:,} floats that needs a gradient"
        reports.append(Report(title, COLUMNS, times.rows(), budgets, [times.note]))
    contenders = (
        Contender(NEEDLE, gradient_by_needle),
        Contender("Needle, backward()", partial(backward, "needle")),
        Contender("Needle, needle.numpy", partial(gradient_of, "needle", "needle.numpy")),
        Contender("HIPS autograd", partial(gradient_of, "autograd", "autograd.numpy"), "autograd"),
        Contender("PyTorch, backward()", partial(backward, "torch"), "torch"),
        Contender("JAX without jit", partial(gradient_of, "jax", "jax.numpy"), "jax"),
    )
    times = take_turns(contenders, rounds, 1e-6)
    budgets = [ratio_budget("four operations and their gradient / HIPS autograd", 0.5, times, "HIPS autograd")]
    title = "np.sum(np.tanh(x * 2 + 1)) of 10 floats, its gradient by needle.grad"
    reports.append(Report(title, COLUMNS, times.rows(), budgets, [times.note]))
    return [*reports, loops()]


if __name__ == "__main__":
    main({"numpy_code": run})
