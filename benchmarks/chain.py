"""A chain of small operations, y = y * b + a on 10 float32 elements, 2,000 of them, forward and backward.

It measures what a framework costs beside the arithmetic. Once with a and b as constants, once as parameters, whose
gradients are sums over the whole chain.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from harness import COLUMNS, NEEDLE, Contender, Report, Work, main, ratio_budget, take_turns

LINKS = 1000
JAX_LINKS = 50
"""Without jit, JAX takes a hundred times as long: a shorter chain, also reported by the operation."""


def data() -> tuple[Any, Any, Any]:
    """x, b, a."""
    rng = np.random.default_rng(0)
    return rng.random(10, np.float32), 1 - rng.random(10, np.float32) / 1000, rng.random(10, np.float32)


def ufuncs(parameters: bool) -> Work:
    """The arithmetic alone, in NumPy: what has to be computed, and nothing is recorded but the values."""
    x, b, a = data()
    found: list[Any] = []

    def step() -> None:
        kept, y = [], x
        for _ in range(LINKS):
            kept.append(y)
            y = y * b + a
        g = np.ones_like(y)
        by_b, by_a = np.zeros_like(b), np.zeros_like(a)
        while kept:
            if parameters:
                by_a += g
                by_b += g * kept.pop()
            else:
                kept.pop()
            g = g * b
        found[:] = [g, by_b, by_a] if parameters else [g]

    return Work(step, lambda: found, 2 * LINKS)


def needle_chain(parameters: bool) -> Work:
    needle = import_module("needle")
    values = data()
    x = needle.Tensor(values[0])
    b, a = [needle.Tensor(value, requires_grad=parameters) for value in values[1:]]

    def step() -> None:
        y = x
        for _ in range(LINKS):
            y = y * b + a
        y.sum().backward()

    return Work(step, lambda: [t.grad.numpy() for t in (x, b, a) if t.requires_grad], 2 * LINKS)


def torch_chain(parameters: bool) -> Work:
    torch: Any = import_module("torch")
    values = data()
    x = torch.tensor(values[0], requires_grad=True)
    b, a = [torch.tensor(value, requires_grad=parameters) for value in values[1:]]
    leaves = [t for t in (x, b, a) if t.requires_grad]

    def step() -> None:
        for leaf in leaves:
            leaf.grad = None
        y = x
        for _ in range(LINKS):
            y = y * b + a
        y.sum().backward()

    return Work(step, lambda: [leaf.grad.numpy() for leaf in leaves], 2 * LINKS)


def mygrad_chain(parameters: bool) -> Work:
    mygrad: Any = import_module("mygrad")
    values = data()
    x = mygrad.tensor(values[0])
    b, a = [mygrad.tensor(value, constant=not parameters) for value in values[1:]]

    def step() -> None:
        y = x
        for _ in range(LINKS):
            y = y * b + a
        y.sum().backward()

    return Work(step, lambda: [t.grad for t in (x, b, a) if not t.constant], 2 * LINKS)


def hips_autograd(parameters: bool) -> Work:
    anp: Any = import_module("autograd.numpy")
    argnums = (0, 1, 2) if parameters else (0,)
    gradient = import_module("autograd").grad(lambda *args: _chain(anp, LINKS, *args), argnums)
    return _functional(gradient, LINKS)


def jax_eager(parameters: bool) -> Work:
    jax: Any = import_module("jax")
    argnums = (0, 1, 2) if parameters else (0,)
    gradient = jax.grad(lambda *args: _chain(jax.numpy, JAX_LINKS, *args), argnums)
    work = _functional(lambda *args: jax.block_until_ready(gradient(*args)), JAX_LINKS)
    return work._replace(result=list)  # nothing to compare: it is another chain


def _chain(xp: Any, links: int, x: Any, b: Any, a: Any) -> Any:
    y = x
    for _ in range(links):
        y = y * b + a
    return xp.sum(y)


def _functional(gradient: Any, links: int) -> Work:
    values = data()
    found: list[Any] = []

    def step() -> None:
        found[:] = gradient(*values)

    return Work(step, lambda: found, 2 * links)


def run(rounds: int) -> list[Report]:
    reports = []
    for parameters, what in ((False, "a and b constants"), (True, "a and b parameters")):
        contenders = (
            Contender("NumPy ufuncs alone", partial(ufuncs, parameters)),
            Contender(NEEDLE, partial(needle_chain, parameters)),
            Contender("PyTorch", partial(torch_chain, parameters), "torch"),
            Contender("MyGrad", partial(mygrad_chain, parameters), "mygrad"),
            Contender("HIPS autograd", partial(hips_autograd, parameters), "autograd"),
            Contender("JAX without jit", partial(jax_eager, parameters), "jax"),
        )
        times = take_turns(contenders, rounds, tolerance=1e-3)
        budgets = [ratio_budget(f"chain, {what} / PyTorch", 0.65, times, "PyTorch")]
        title = f"{2 * LINKS} operations on 10 elements, {what}: forward and backward, time per operation"
        reports.append(Report(title, COLUMNS, times.rows(), budgets, [times.note]))
    return reports


if __name__ == "__main__":
    main({"chain": run})
