"""Convolutions on one core: forward, both gradients, chains of layers on images in either layout, a small CNN's step.

Every contender has one thread, and what counts is its processor time: two threads that wait for each other on a busy
machine say little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from harness import COLUMNS, NEEDLE, Contender, Report, Work, main, one_core, ratio_budget, take_turns

IMAGES, SIDE, CHANNELS, KERNEL = 64, 16, 64, 3
"""The convolution that budgets are about: 64 images of 16 x 16 x 64, 64 outputs, 3 x 3 taps."""
BATCH, RATE = 64, 0.05


def channels_first(a: Any) -> Any:
    return np.ascontiguousarray(np.moveaxis(a, -1, 1))


def channels_last(a: Any) -> Any:
    return np.ascontiguousarray(np.moveaxis(a, 1, -1))


# ------------------------------------------------------------------------------------------------------ one convolution


def images_and_weights() -> tuple[Any, Any, Any]:
    """Images (n, height, width, channels), weights (rows, columns, channels, outputs) and an adjoint of the outputs."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((IMAGES, SIDE, SIDE, CHANNELS), np.float32)
    w = rng.standard_normal((KERNEL, KERNEL, CHANNELS, CHANNELS), np.float32)
    return x, w, rng.standard_normal(x.shape, np.float32)


def needle_convolution(both_gradients: bool) -> Work:
    needle = import_module("needle")
    x, w, g = map(needle.Tensor, images_and_weights())
    y = needle.conv(x, w)
    found: list[Any] = []

    def forward() -> None:
        found[:] = [needle.conv(x, w)]

    def gradients() -> None:
        y.backward(g)
        found[:] = [x.grad, w.grad]

    return Work(gradients if both_gradients else forward, lambda: [a.numpy() for a in found], clock=time.process_time)


def torch_convolution(both_gradients: bool, last: bool = False) -> Work:
    torch: Any = import_module("torch")
    form = {"memory_format": torch.channels_last} if last else {}
    x, w, g = images_and_weights()
    tx, tg = (torch.tensor(channels_first(a)).contiguous(**form) for a in (x, g))
    tw = torch.tensor(np.ascontiguousarray(w.transpose(3, 2, 0, 1))).contiguous(**form)
    tx.requires_grad_()
    tw.requires_grad_()
    convolution = partial(torch.nn.functional.conv2d, padding=1)
    y = convolution(tx, tw)
    found: list[Any] = []

    def forward() -> None:
        found[:] = [convolution(tx, tw)]

    def gradients() -> None:
        found[:] = torch.autograd.grad(y, (tx, tw), tg, retain_graph=True)

    def result() -> list[Any]:
        arrays = [a.detach().numpy() for a in found]
        return [channels_last(arrays[0]), *[np.ascontiguousarray(a.transpose(2, 3, 1, 0)) for a in arrays[1:]]]

    return Work(gradients if both_gradients else forward, result, clock=time.process_time)


def contenders(needle: Callable[..., Work], torch: Callable[..., Work], *args: Any) -> list[Contender]:
    return [
        Contender(NEEDLE, partial(needle, *args)),
        Contender("PyTorch", partial(torch, *args), "torch"),
        Contender("PyTorch, channels last", partial(torch, *args, last=True), "torch"),
    ]


# ---------------------------------------------------------------------------------------------------- a chain of layers


def chain(memory_last: bool) -> Work:
    """Element-wise work on images (n, channels, height, width) as activations do it, with its gradient."""
    needle = import_module("needle")
    rng = np.random.default_rng(0)
    memory = rng.standard_normal((IMAGES, 32, 32, CHANNELS), np.float32)
    images = memory.transpose(0, 3, 1, 2)
    x = needle.Tensor(images if memory_last else np.ascontiguousarray(images))
    g = needle.Tensor(np.ones_like(x.cached_data))

    def step() -> None:
        needle.relu(needle.tanh(x) * x).backward(g)

    return Work(step, lambda: [x.grad.numpy()], clock=time.process_time)


# ---------------------------------------------------------------------------------------------------------- a small CNN


def cnn_data() -> tuple[Any, ...]:
    """Images, labels, and the weights and biases of two convolutions and a linear layer."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((BATCH, 28, 28, 1), np.float32), rng.integers(0, 10, BATCH)
    weights = []
    for shape in [(3, 3, 1, 16), (3, 3, 16, 32), (7 * 7 * 32, 10)]:
        weights.append(rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:-1]))))
        weights.append(np.zeros(shape[-1], np.float32))
    return x, labels, *weights


def changes(weights: Any) -> list[Any]:
    """By how much these weights differ from those at the start."""
    return [now - start for now, start in zip(weights, cnn_data()[2:], strict=True)]


def needle_cnn(pool_first: bool) -> Work:
    needle = import_module("needle")
    x, labels, *arrays = cnn_data()
    X, Y = (needle.Tensor(a, requires_grad=False) for a in (x, np.eye(10, dtype=np.float32)[labels]))
    weights = [needle.Tensor(a) for a in arrays]

    def block(h: Any, w: Any, b: Any) -> Any:
        h = needle.conv(h, w) + b
        return needle.relu(needle.max_pool(h, 2)) if pool_first else needle.max_pool(needle.relu(h), 2)

    def step() -> None:
        w1, b1, w2, b2, w3, b3 = weights
        h = block(block(X, w1, b1), w2, b2)
        needle.softmax_loss(h.reshape((BATCH, -1)) @ w3 + b3, Y).backward()
        with needle.no_grad():
            for p in weights:
                p.data = needle.add(p, p.grad, alpha=-RATE)

    return Work(step, lambda: changes([w.numpy() for w in weights]), clock=time.process_time)


def torch_cnn(pool_first: bool, last: bool = False) -> Work:
    torch: Any = import_module("torch")
    functions = torch.nn.functional
    form = {"memory_format": torch.channels_last} if last else {}
    x, labels, *arrays = cnn_data()
    X, Y = torch.tensor(channels_first(x)).contiguous(**form), torch.tensor(labels)
    weights = []
    for a in arrays:
        if a.ndim == 4:
            a = torch.tensor(np.ascontiguousarray(a.transpose(3, 2, 0, 1))).contiguous(**form)
        elif a.ndim == 2:  # of rows that are (channels, height, width) here
            a = torch.tensor(np.ascontiguousarray(a.reshape(7, 7, 32, 10).transpose(3, 2, 0, 1).reshape(10, -1)))
        else:
            a = torch.tensor(a)
        weights.append(a.requires_grad_())
    optimizer = torch.optim.SGD(weights, lr=RATE)

    def block(h: Any, w: Any, b: Any) -> Any:
        h = functions.conv2d(h, w, b, padding=1)
        if pool_first:
            return functions.relu(functions.max_pool2d(h, 2))
        return functions.max_pool2d(functions.relu(h), 2)

    def step() -> None:
        w1, b1, w2, b2, w3, b3 = weights
        h = block(block(X, w1, b1), w2, b2)
        loss = functions.cross_entropy(functions.linear(h.flatten(1), w3, b3), Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def result() -> list[Any]:
        found = [w.detach().numpy() for w in weights]
        for i in (0, 2):
            found[i] = found[i].transpose(2, 3, 1, 0)
        found[4] = found[4].reshape(10, 32, 7, 7).transpose(2, 3, 1, 0).reshape(-1, 10)
        return changes(found)

    return Work(step, result, clock=time.process_time)


@one_core()
def run(rounds: int) -> list[Report]:
    size = f"{IMAGES}x{SIDE}x{SIDE}x{CHANNELS} -> {CHANNELS}, {KERNEL}x{KERNEL}, one core"
    reports = []
    for both, limit, what in [(False, 1.2, "forward"), (True, 1.4, "both gradients")]:
        times = take_turns(contenders(needle_convolution, torch_convolution, both), rounds, tolerance=1e-4)
        budgets = [ratio_budget(f"{what} / PyTorch", limit, times, "PyTorch")]
        reports.append(Report(f"convolution {size}: {what}", COLUMNS, times.rows(), budgets, [times.note]))
    layouts = [Contender(NEEDLE, partial(chain, True)), Contender("Needle, channels first", partial(chain, False))]
    times = take_turns(layouts, rounds, tolerance=1e-5)
    budgets = [ratio_budget("channels last / channels first", 1.1, times, "Needle, channels first")]
    title = f"element-wise on {IMAGES}x{CHANNELS}x32x32 whose channels are last in memory, and gradient"
    reports.append(Report(title, COLUMNS, times.rows(), budgets, [times.note]))
    for first, how in [(False, "conv, relu, pool"), (True, "conv, pool, relu")]:
        times = take_turns(contenders(needle_cnn, torch_cnn, first), rounds, tolerance=1e-2)
        budgets = [ratio_budget(f"the step, {how} / PyTorch", 1.15, times, "PyTorch")]
        title = f"small CNN step, 28x28x1, 16 and 32 channels, {how}, batch {BATCH}, one core"
        reports.append(Report(title, COLUMNS, times.rows(), budgets, [times.note]))
    return reports


if __name__ == "__main__":
    main({"convolution": run})
