"""Layers next to PyTorch's, eagerly and captured: normalization, GELU, dropout and a Transformer layer, with gradients.

Each contender has one core.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from captured import EAGER, TORCH, as_called, keeping
from harness import COLUMNS, NEEDLE, Contender, Report, Work, main, one_core, ratio_budget, take_turns

GLOBAL = "Needle, global state"


def library(who: str) -> Any:
    """The contender's library."""
    return import_module("torch" if who == TORCH else "needle")


def pulled_back(who: str, function: Callable[..., Any], arrays: list[Any], g: Any, compare: bool = True) -> Work:
    """function(*arrays), and the gradients for the adjoint g."""
    module = library(who)
    if who == TORCH:
        leaves, given = [module.tensor(a, requires_grad=True) for a in arrays], module.tensor(g)

        def run() -> Any:
            y = function(*leaves)
            return [y.detach(), *module.autograd.grad(y, leaves, given)]

        return keeping(run, (), list if compare else lambda found: [])
    leaves = [module.Tensor(a) for a in arrays]
    given = module.Tensor(g, requires_grad=False)

    def step() -> Any:
        y = function(*leaves)
        y.backward(given)
        return [y.detach(), *[t.grad.detach() for t in leaves]]

    return keeping(as_called(who)(step), (), lambda found: [t.numpy() for t in found] if compare else [])


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)


def layer_norm(who: str) -> Work:
    x, g, w, b = normal(8192, 512), normal(8192, 512, seed=1), 1 + normal(512), normal(512, seed=1)
    module = library(who)
    f = partial(module.nn.functional.layer_norm, normalized_shape=(512,)) if who == TORCH else module.layer_norm
    return pulled_back(who, lambda x, w, b: f(x, weight=w, bias=b), [x, w, b], g)


def batch_norm(who: str, channels_last: bool = False) -> Work:
    x, g, w, b = normal(64, 64, 32, 32), normal(64, 64, 32, 32, seed=1), 1 + normal(64), normal(64, seed=1)
    if channels_last:
        x, g = [np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, g)]
    module = library(who)
    if who == TORCH:
        return pulled_back(
            who, lambda x, w, b: module.nn.functional.batch_norm(x, None, None, w, b, True), [x, w, b], g
        )
    return pulled_back(who, lambda x, w, b: module.batch_norm(x, w, b)[0], [x, w, b], g)


def gelu(approximate: str, who: str) -> Work:
    module = library(who)
    f = partial(module.nn.functional.gelu if who == TORCH else module.gelu, approximate=approximate)
    return pulled_back(who, f, [normal(4_000_000)], normal(4_000_000, seed=1))


def dropout(who: str) -> Work:
    """Of a tenth; what is compared is nothing, as all draw other numbers."""
    module = library(who)
    if who == TORCH:
        f: Any = partial(module.nn.functional.dropout, p=0.1)
    else:
        rng = None if who == GLOBAL else np.random.Generator(np.random.SFC64(0))
        f = partial(module.dropout, p=0.1, rng=rng)
    return pulled_back(who, f, [normal(4_000_000)], normal(4_000_000, seed=1), compare=False)


def attention(who: str) -> Work:
    """Causal, of 16 x 8 heads of 256 x 64."""
    module = library(who)
    arrays = [normal(16, 8, 256, 64, seed=i) for i in range(3)]
    if who == TORCH:
        f: Any = partial(module.nn.functional.scaled_dot_product_attention, is_causal=True)
    else:
        f = partial(module.attention, causal=True)
    return pulled_back(who, f, arrays, normal(16, 8, 256, 64, seed=3))


DIM, HEADS, TOKENS, BATCH, RATE = 128, 4, 64, 16, 1e-3


def transformer(who: str) -> Work:
    """A training step of one layer, with Adam, by the mean square of its output."""
    module = library(who)
    x = normal(BATCH, TOKENS, DIM)
    nn = module.nn
    model: Any
    if who == TORCH:
        module.manual_seed(0)
        model = nn.TransformerEncoderLayer(DIM, HEADS, 4 * DIM, 0.0, "gelu", batch_first=True, norm_first=True)
        optimizer, given = module.optim.Adam(model.parameters(), lr=RATE), module.tensor(x)

        def torch_step() -> None:
            loss = (model(given) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return Work(torch_step, list)
    model = nn.TransformerEncoderLayer(DIM, HEADS, rng=0)
    adam = module.optim.Adam(model.parameters(), lr=RATE) if hasattr(module, "optim") else Adam(module, model)
    data = module.Tensor(x, requires_grad=False)

    def step() -> None:
        (model(data) ** 2).mean().backward()
        adam.step()

    return Work(as_called(who)(step), list)


class Adam:
    """By hand, where the optimizers are not there."""

    def __init__(self, needle: Any, model: Any):
        self.no_grad, self.sqrt, self.parameters = needle.no_grad, needle.sqrt, model.parameters()
        constants = [
            [needle.Tensor(np.zeros_like(p._array), requires_grad=False) for p in self.parameters] for _ in "mv"
        ]
        self.m, self.v = constants
        self.t = needle.Tensor(np.zeros((), np.float32), requires_grad=False)

    def step(self) -> None:
        with self.no_grad():
            self.t.data = self.t + 1
            for p, m, v in zip(self.parameters, self.m, self.v, strict=True):
                g = p.grad
                m.data = 0.9 * m + 0.1 * g
                v.data = 0.999 * v + 0.001 * (g * g)
                p.data = p - RATE * (m / (1 - 0.9**self.t)) / (self.sqrt(v / (1 - 0.999**self.t)) + 1e-8)


class Case(NamedTuple):
    title: str
    build: Callable[[str], Work]
    limit: float
    """Needle's captured time as a multiple of PyTorch's."""
    eager: float | None = None
    more: tuple[str, ...] = ()


CASES = (
    Case("layer norm over 8192 x 512, value and gradients", layer_norm, 3.1),
    Case("batch norm of 64 x 64 x 32 x 32, value and gradients", batch_norm, 2.8),
    Case("the same, channels last", partial(batch_norm, channels_last=True), 2.8),
    Case("GELU of 4 million, value and gradient", partial(gelu, "none"), 4.2),
    Case("GELU of 4 million by tanh, value and gradient", partial(gelu, "tanh"), 1.25),
    Case("dropout of 4 million, value and gradient", dropout, 0.5, None, (GLOBAL,)),
    Case("causal attention of 16 x 8 heads of 256 x 64, value and gradients", attention, 2.0),
    Case(f"Transformer layer, {DIM} wide, {HEADS} heads, {BATCH} x {TOKENS}, with Adam", transformer, 1.45, 1.7),
)


def build(number: int, who: str) -> Work:
    return CASES[number].build(who)


def side_by_side(number: int, rounds: int) -> Report:
    case = CASES[number]
    names = (EAGER, NEEDLE, TORCH, *case.more)
    needs = {TORCH: "torch"}
    contenders = [Contender(who, partial(build, number, who), needs.get(who, "numpy")) for who in names]
    times = take_turns(contenders, max(5, rounds // 3), tolerance=1e-3)
    budgets = [ratio_budget(f"{case.title} / {TORCH}", case.limit, times, TORCH)]
    if case.eager is not None and TORCH in times.seconds:
        swapped = type(times)({**times.seconds, NEEDLE: times.seconds[EAGER]})
        budgets.append(ratio_budget(f"{case.title}, eagerly / {TORCH}", case.eager, swapped, TORCH))
    return Report(case.title, COLUMNS, times.rows(), budgets, [times.note])


@one_core()
def run(rounds: int) -> list[Report]:
    return [side_by_side(number, rounds) for number in range(len(CASES))]


if __name__ == "__main__":
    main({"layers": run})
