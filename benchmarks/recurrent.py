"""Recurrent layers over 40 steps of a batch of 16, 128 inputs and states: value and all gradients.

Each contender has one core. On several, PyTorch and OpenBLAS divide the small products among threads, which says more
about these than about the layers.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from harness import COLUMNS, NEEDLE, Contender, Report, Work, main, one_core, ratio_budget, take_turns

STEPS, BATCH, SIZE = 40, 16, 128
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
LIMITS = {"LSTM": 2.2, "GRU": 0.7, "RNN": 0.7}


def data(kind: str) -> tuple[Any, ...]:
    """x, the adjoint of the output, W_ih and W_hh with the inputs first, and a bias, which is used twice."""
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, STEPS, BATCH, SIZE), np.float32)
    width, bound = GATES[kind] * SIZE, SIZE**-0.5
    w_ih, w_hh, bias = (rng.uniform(-bound, bound, (rows, width)).astype(np.float32) for rows in (SIZE, SIZE, 1))
    return x, g, w_ih, w_hh, bias[0]


def needle_layer(kind: str, captured: bool = False, lengths: bool = False) -> Work:
    needle, nn = import_module("needle"), import_module("needle.nn")
    x, g, w_ih, w_hh, bias = data(kind)
    X, G = needle.Tensor(x), needle.Tensor(g, requires_grad=False)
    layer = getattr(nn, kind)(SIZE, SIZE)
    (cell,) = layer.modules()[1:]
    for name, value in {"W_ih": w_ih, "W_hh": w_hh, "bias_ih": bias, "bias_hh": bias}.items():
        getattr(cell, name).data = value
    more = {"lengths": needle.Tensor(np.full(BATCH, STEPS), requires_grad=False)} if lengths else {}

    def loss() -> Any:
        return (layer(X, **more)[0] * G).sum()

    if captured:
        loss = needle.compile(loss)

    def step() -> None:
        loss().backward()

    def result() -> list[Any]:
        loss().backward()
        return [p.grad.numpy() for p in (X, cell.W_ih, cell.W_hh, cell.bias_ih)]

    return Work(step, result)


def torch_layer(kind: str) -> Work:
    torch: Any = import_module("torch")
    x, g, w_ih, w_hh, bias = data(kind)
    X, G = torch.tensor(x, requires_grad=True), torch.tensor(g)
    layer = getattr(torch.nn, kind)(SIZE, SIZE)
    names = {"weight_ih_l0": w_ih.T.copy(), "weight_hh_l0": w_hh.T.copy(), "bias_ih_l0": bias, "bias_hh_l0": bias}
    layer.load_state_dict({name: torch.tensor(value) for name, value in names.items()})

    def step() -> None:
        X.grad = None
        layer.zero_grad()
        (layer(X)[0] * G).sum().backward()

    def result() -> list[Any]:
        step()
        return [X.grad.numpy(), *[getattr(layer, name).grad.numpy().T for name in list(names)[:3]]]

    return Work(step, result)


def torch_cells() -> Work:
    """Cell by cell, as a program with its own loop has it; here it beats PyTorch's layer."""
    torch: Any = import_module("torch")
    x, g, w_ih, w_hh, bias = data("LSTM")
    X, G = torch.tensor(x, requires_grad=True), torch.tensor(g)
    cell = torch.nn.LSTMCell(SIZE, SIZE)
    names = {"weight_ih": w_ih.T.copy(), "weight_hh": w_hh.T.copy(), "bias_ih": bias, "bias_hh": bias}
    cell.load_state_dict({name: torch.tensor(value) for name, value in names.items()})

    def step() -> None:
        X.grad = None
        cell.zero_grad()
        state, outs = None, []
        for one in X.unbind():
            state = cell(one, state)
            outs.append(state[0])
        (torch.stack(outs) * G).sum().backward()

    def result() -> list[Any]:
        step()
        return [X.grad.numpy(), *[getattr(cell, name).grad.numpy().T for name in list(names)[:3]]]

    return Work(step, result)


def products() -> Work:
    """The matrix products of the LSTM and nothing else."""
    x, _, w_ih, w_hh, _ = data("LSTM")
    rows, back = x.reshape(-1, SIZE), np.ascontiguousarray(w_hh.T)
    z = rows @ w_ih
    h, q = np.zeros((BATCH, SIZE), np.float32), np.zeros((BATCH, w_hh.shape[1]), np.float32)

    def step() -> None:
        np.dot(rows, w_ih)
        for _ in range(STEPS):
            np.dot(h, w_hh, out=q)
        for _ in range(STEPS):
            np.dot(q, back, out=h)
        np.dot(rows.T, z)
        np.dot(rows.T, z)
        np.dot(z, w_ih.T)

    return Work(step, lambda: ())


def contenders(kind: str) -> list[Contender]:
    every = [Contender(NEEDLE, partial(needle_layer, kind)), Contender("PyTorch", partial(torch_layer, kind), "torch")]
    if kind == "LSTM":
        every += [
            Contender("Needle captured", partial(needle_layer, kind, captured=True)),
            Contender("Needle, lengths", partial(needle_layer, kind, lengths=True)),
            Contender("PyTorch, cell by cell", torch_cells, "torch"),
            Contender("its matrix products", products),
        ]
    return every


@one_core()
def run(rounds: int) -> list[Report]:
    reports = []
    for kind, limit in LIMITS.items():
        times = take_turns(contenders(kind), rounds, tolerance=1e-3)
        budget = ratio_budget(f"{kind} / PyTorch", limit, times, "PyTorch")
        title = f"{kind}, {STEPS} x {BATCH} x {SIZE}, value and gradients"
        reports.append(Report(title, COLUMNS, times.rows(), [budget], [times.note]))
    return reports


if __name__ == "__main__":
    main({"recurrent": run})
