"""Samples of recurrent layers over a whole sequence, beside the same step by step in plain NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from needle import ops

from .kit import Sample, numbers, sample

SHAPES: list[tuple[int, tuple[int, ...], int]] = [
    (3, (2,), 2),
    (2, (), 3),
    (1, (1,), 1),
    (2, (2, 1), 2),
    (0, (2,), 2),
    (2, (0,), 2),
    (2, (2,), 0),
]
"""Steps, the axes in between, and the size of the state."""
MASKED = [(3, (2,), 2), (4, (3,), 1), (2, (), 2), (0, (2,), 2)]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def stepwise(step: Callable[..., Any], z: Any, states: list[Any], runs: Any) -> list[Any]:
    """The states of all steps, then the gates."""
    masks = [] if runs is None else [runs.shape[1:-1]]
    batch = np.broadcast_shapes(z.shape[1:-1], *[s.shape[:-1] for s in states], *masks)
    z = np.broadcast_to(z, (len(z), *batch, z.shape[-1]))
    states = [np.broadcast_to(s, (*batch, s.shape[-1])) for s in states]
    history, gates = [[s] for s in states], []
    for t in range(len(z)):
        new, y = step(z[t], *[past[-1] for past in history])
        for past, state in zip(history, new, strict=True):
            past.append(state if runs is None else np.where(runs[t], state, past[-1]))
        gates.append(y)
    width = step(np.zeros(z.shape[1:], z.dtype), *states)[1].shape
    return [*map(np.stack, history), np.reshape(gates, (len(z), *width))]


def wide(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function computed in at least float64, its results in the dtype that NumPy combines the floats to."""

    def computed(*arrays: Any) -> Any:
        dtype = np.result_type(*[a for a in arrays if a.dtype.kind != "b"])
        dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
        found = function(*[a if a.dtype.kind == "b" else a.astype(np.result_type(a, np.float64)) for a in arrays])
        found = [a.astype(np.longdouble if a.dtype == np.longdouble else dtype) for a in found]
        return found[0] if len(found) == 1 else tuple(found)

    return computed


def np_rnn(relu: bool) -> Callable[..., Any]:
    def step(w: Any) -> Callable[..., Any]:
        def one(z: Any, h: Any) -> Any:
            new = np.maximum(z + h @ w, 0) if relu else np.tanh(z + h @ w)
            return [new], new

        return one

    return wide(lambda z, w, h, runs=None: stepwise(step(w), z, [h], runs)[:1])


@wide
def np_gru(z: Any, w: Any, b: Any, h: Any, runs: Any = None) -> Any:
    def one(z: Any, h: Any) -> Any:
        (a, c, d), (e, f, g) = np.split(z, 3, -1), np.split(h @ w + b, 3, -1)
        r, u = sigmoid(a + e), sigmoid(c + f)
        n = np.tanh(d + r * g)
        return [(1 - u) * n + u * h], np.concatenate([r, u, n, g + 0 * n], -1)

    return stepwise(one, z, [h], runs)


@wide
def np_lstm(z: Any, w: Any, h: Any, c: Any, runs: Any = None) -> Any:
    def one(z: Any, h: Any, c: Any) -> Any:
        i, f, g, o = np.split(z + h @ w, 4, -1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c + i * g
        return [o * np.tanh(c), c], np.concatenate([i, f, g, o], -1)

    return stepwise(one, z, [h, c], runs)


def linear(parts: str, reverse: bool) -> Callable[..., Any]:
    """The recurrence by its formulas. The reverse is the transpose of the other's matrix, taken by units."""

    def forward(given: dict[str, Any], shapes: dict[str, Any]) -> list[Any]:
        h, c, q = (given[name] + np.zeros(shape, given["w"].dtype) for name, shape in shapes.items())
        w, p = given["w"], given["p"]
        size = w.shape[0]
        for t in range(len(p)):
            q[t] += h[t] @ w
            blocks = p[t] * q[t]
            parted = [blocks[..., i : i + size] for i in range(0, w.shape[1], size)] if size else [0, 0]
            last = parted.pop() if "a" in given else 0
            state = c if "a" in given else h
            state[t + 1] += sum(parted) + given.get("f", np.zeros(len(p)))[t] * state[t]
            if "a" in given:
                h[t + 1] += given["a"][t] * c[t + 1] + last
            if "k" in given:
                h[t + 1] += given["k"][t] * h[t]
        return [h, c, q] if "a" in given else [h, q]

    def computed(*arrays: Any) -> Any:
        given = dict(zip(parts, arrays, strict=True))
        steps, size = len(given["p"]), len(given["w"])
        batch = np.broadcast_shapes(*[a.shape[1:-1] for name, a in given.items() if name != "w"])
        state = (steps + 1, *batch, size)
        shapes = {"h": state, "c": state, "q": (steps, *batch, given["w"].shape[1])}
        seeds = {name: given.get(name, 0) + np.zeros(shape, given["w"].dtype) for name, shape in shapes.items()}
        if not reverse:
            return forward({**given, **seeds}, shapes)
        names = "hcq" if "a" in parts else "hq"
        found = []
        for name in names:
            by = np.zeros(shapes[name], given["w"].dtype)
            for place in np.ndindex(by.shape):
                unit = {other: np.zeros(shape) for other, shape in shapes.items()}
                unit[name][place] = 1
                out = forward({**given, **unit}, shapes)
                by[place] = sum(np.sum(a * seeds[other]) for a, other in zip(out, names, strict=True))
            found.append(by)
        return found

    return wide(computed)


def state_like(*shapes: tuple[int, ...], code: str = "d") -> list[np.ndarray]:
    return [numbers(shape, code, seed=i) for i, shape in enumerate(shapes)]


def sequences(function: Any, reference: Any, gates: int, inputs: str, codes: str = "efgl") -> list[Sample]:
    bias, states = "b" in inputs, len(inputs.strip("zwb"))

    def one(steps: int, batch: tuple[int, ...], size: int, code: str = "d", **more: Any) -> list[np.ndarray]:
        wide, start = (gates * size,), more.get("start", batch)
        shapes = [(steps, *batch, *wide), (size, *wide), *[wide] * bias, *[(*start, size)] * states]
        return state_like(*shapes, code=code)

    def runs(steps: int, batch: tuple[int, ...]) -> np.ndarray:
        return np.arange(steps * int(np.prod(batch))).reshape(steps, *batch, 1) % 3 != 1

    table = [one(*shape) for shape in SHAPES]
    table += [one(2, (3,), 2, start=(1,)), one(2, (1,), 2, start=(3,))]
    table += [one(2, (2,), 2, code) for code in codes]
    table += [[*one(*shape), runs(*shape[:2])] for shape in MASKED]
    table += [[*one(3, (2,), 2, "f"), runs(3, (1,))], [*one(3, (1,), 2), runs(3, (2,))]]
    return [sample(function, reference, *arrays) for arrays in table]


def linears(reverse: bool) -> Iterable[Sample]:
    """The parts of the recurrence vary three at most at a time: the laws try all mixtures of their dtypes."""
    for parts in ["wph", "wpq", "wpfkh", "wpfhq", "wpfahc", "wpahcq", "wpfakhcq", "wpac"]:
        for first in range(0, len(parts), 3):
            yield one_linear(parts, reverse, parts[first : first + 3], (2, (1 if reverse else 2,), 2, "d"))
    for parts, free in [("wpfh", "ph"), ("wpfahc", "wah"), ("wpfahc", "pfc")]:
        for steps, batch, size, code in [(2, (), 1, "d"), (0, (2,), 2, "d"), (2, (0,), 2, "d"), (2, (2,), 0, "d")]:
            yield one_linear(parts, reverse, free, (steps, batch, size, code))
        yield from (one_linear(parts, reverse, free, (2, (2,), 2, code)) for code in "efg")
    w, p, h = numbers((2, 4)), numbers((2, 1, 4)), numbers((3, 3, 2), seed=1)
    yield sample(ops.LinearRecurrence("wph", reverse), linear("wph", reverse), w, p, h, name="broadcast")


def one_linear(parts: str, reverse: bool, free: str, sizes: tuple[int, tuple[int, ...], int, str]) -> Sample:
    steps, batch, size, code = sizes
    width = (2 + ("a" in parts)) * size
    shapes = dict.fromkeys("fa", (steps, *batch, size)) | dict.fromkeys("hc", (steps + 1, *batch, size))
    shapes |= {"w": (size, width), "k": (steps, *batch, 1), **dict.fromkeys("pq", (steps, *batch, width))}
    arrays = {name: numbers(shapes[name], code, seed=i) / 2 for i, name in enumerate(parts)}

    def with_constants(function: Any) -> Any:
        return lambda *given: function(*{**arrays, **dict(zip(free, given, strict=True))}.values())

    return sample(
        with_constants(ops.LinearRecurrence(parts, reverse)),
        with_constants(linear(parts, reverse)),
        *[arrays[name] for name in free],
        name=f"{parts} by {free}{' reverse' if reverse else ''}",
    )


RECURRENT: dict[str, list[Sample]] = {
    "RNNSequence": sequences(ops.rnn, np_rnn(relu=False), 1, "zwh")
    + sequences(ops.RNNSequence(relu=True), np_rnn(relu=True), 1, "zwh", "efg"),  # integers may meet the corner
    "GRUSequence": sequences(ops.gru, np_gru, 3, "zwbh"),
    "LSTMSequence": sequences(ops.lstm, np_lstm, 4, "zwhc"),
    "LinearRecurrence": [*linears(False), *linears(True)],
}
