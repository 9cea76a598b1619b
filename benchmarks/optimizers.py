"""Steps of optimizers alone: Needle's in place and captured, beside PyTorch's fused, foreach and default ones.

The gradients are given. While a step runs, "a loss is alive" means that somebody still holds the old values, as a loss
does in most training loops, so that new ones go into new memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from harness import COLUMNS, NEEDLE, Contender, Report, Work, main, one_core, ratio_budget, take_turns

HELD, CAPTURED = "Needle, a loss is alive", "Needle, captured"
FUSED, FOREACH, DEFAULT = "PyTorch, fused", "PyTorch, foreach", "PyTorch"
NEEDS = {FUSED: "torch", FOREACH: "torch", DEFAULT: "torch"}
RATE = 1e-3
Shapes = Sequence[tuple[int, ...]]
LARGE: Shapes = [(10_000_000,)]
GPT: Shapes = [shape for _ in range(12) for shape in [(64,)] * 8 + [(64, 64)] * 4]
MLP: Shapes = [(784, 100), (1, 100), (100, 10), (1, 10)]


def data(shapes: Shapes) -> tuple[list[Any], list[Any]]:
    """Values and gradients."""
    rng = np.random.default_rng(0)
    starts, gradients = ([rng.standard_normal(shape, np.float32) for shape in shapes] for _ in range(2))
    return starts, gradients


def steps_of_needle(shapes: Shapes, name: str, who: str) -> Work:
    needle: Any = import_module("needle")
    starts, gradients = data(shapes)
    params = [needle.Tensor(a) for a in starts]
    for p, g in zip(params, gradients, strict=True):
        p.grad = g
    opt = getattr(needle.optim, name)(params, RATE)
    step = opt.step
    if who == CAPTURED:

        def captured() -> None:
            opt.step()

        step = needle.compile(captured)
    elif who == HELD:

        def held() -> None:
            loss = [p.detach() for p in params]
            opt.step()
            del loss

        step = held
    return Work(step, lambda: [p.numpy() - a for p, a in zip(params, starts, strict=True)])


def steps_of_torch(shapes: Shapes, name: str, who: str) -> Work:
    torch: Any = import_module("torch")
    starts, gradients = data(shapes)
    params = [torch.tensor(a, requires_grad=True) for a in starts]
    for p, g in zip(params, gradients, strict=True):
        p.grad = torch.tensor(g)
    kind: dict[str, Any] = {FUSED: {"fused": True}, FOREACH: {"foreach": True}}.get(who, {})
    opt = getattr(torch.optim, name)(params, lr=RATE, **kind)
    return Work(opt.step, lambda: [p.detach().numpy() - a for p, a in zip(params, starts, strict=True)])


class Case(NamedTuple):
    title: str
    name: str
    shapes: Shapes
    limits: tuple[tuple[float, str], ...]
    """Budgets: Needle's time as a multiple of this one's."""
    part: int = 1
    """The rounds asked for are divided by it."""


CASES = (
    Case("Adam on 10 million parameters", "Adam", LARGE, ((2.6, FUSED), (0.6, FOREACH)), 2),
    Case("SGD on 10 million parameters", "SGD", LARGE, ((2.6, FUSED),), 2),
    Case("Adam on 144 parameters of a small transformer", "Adam", GPT, ((0.6, DEFAULT),)),
    Case("SGD on 4 parameters, 784-100-10", "SGD", MLP, ()),
)


def side_by_side(case: Case, rounds: int) -> Report:
    names = [NEEDLE, HELD, CAPTURED, FUSED, FOREACH, DEFAULT]
    contenders = [
        Contender(
            who,
            partial(steps_of_torch if who in NEEDS else steps_of_needle, case.shapes, case.name, who),
            NEEDS.get(who, "numpy"),
        )
        for who in names
    ]
    times = take_turns(contenders, max(5, rounds // case.part), tolerance=1e-3)
    budgets = [ratio_budget(f"{case.title} / {to}", factor, times, to) for factor, to in case.limits]
    return Report(case.title, COLUMNS, times.rows(), budgets, [times.note])


@one_core()
def run(rounds: int) -> list[Report]:
    return [side_by_side(case, rounds) for case in CASES]


if __name__ == "__main__":
    main({"optimizers": run})
