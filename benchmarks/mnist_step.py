"""One training step of the MNIST net: relu(X @ W1) @ W2, softmax cross-entropy, SGD; 784-100-10, a batch of 100."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from harness import COLUMNS, NEEDLE, Contender, Report, Work, main, ratio_budget, take_turns

INPUTS, HIDDEN, CLASSES, BATCH = 784, 100, 10, 100
RATE = 0.05


def data() -> tuple[Any, Any, Any, Any, Any]:
    """X, labels, their one-hot rows Y, W1, W2."""
    rng = np.random.default_rng(0)
    pixels = rng.random((BATCH, INPUTS), np.float32) * (rng.random((BATCH, INPUTS)) < 0.2)
    labels = rng.integers(0, CLASSES, BATCH)
    w1 = rng.standard_normal((INPUTS, HIDDEN), np.float32) / np.float32(np.sqrt(HIDDEN))
    w2 = rng.standard_normal((HIDDEN, CLASSES), np.float32) / np.float32(np.sqrt(CLASSES))
    return pixels.astype(np.float32), labels, np.eye(CLASSES, dtype=np.float32)[labels], w1, w2


def changes(*weights: Any) -> list[Any]:
    """By how much these weights differ from those at the start: that is what the contenders must agree on."""
    return [np.asarray(now) - start for now, start in zip(weights, data()[3:], strict=True)]


def by_hand() -> Work:
    """As lean as NumPy allows: every buffer is kept, everything is written in place, the rate is folded in."""
    X, _, Y, W1, W2 = data()
    H, dH = np.empty((2, BATCH, HIDDEN), np.float32)
    Z = np.empty((BATCH, CLASSES), np.float32)
    dW1, dW2 = np.empty_like(W1), np.empty_like(W2)
    rate = np.float32(RATE / BATCH)

    def step() -> float:
        np.matmul(X, W1, out=H)
        np.maximum(H, 0, out=H)
        np.matmul(H, W2, out=Z)
        np.subtract(Z, Z.max(1, keepdims=True), out=Z)
        hit = np.vdot(Z, Y)
        np.exp(Z, out=Z)
        total = Z.sum(1, keepdims=True)
        loss = (np.log(total).sum() - hit) / BATCH
        np.divide(Z, total, out=Z)
        np.subtract(Z, Y, out=Z)
        np.multiply(Z, rate, out=Z)
        np.matmul(H.T, Z, out=dW2)
        np.matmul(Z, W2.T, out=dH)
        np.multiply(dH, H > 0, out=dH)
        np.matmul(X.T, dH, out=dW1)
        np.subtract(W1, dW1, out=W1)
        np.subtract(W2, dW2, out=W2)
        return float(loss)

    return Work(step, lambda: changes(W1, W2))


def products() -> Work:
    """The five matrix products of the step and nothing else."""
    X, _, _, W1, W2 = data()
    H, dH = np.empty((2, BATCH, HIDDEN), np.float32)
    Z = np.empty((BATCH, CLASSES), np.float32)
    dW1, dW2 = np.empty_like(W1), np.empty_like(W2)

    def step() -> None:
        np.matmul(X, W1, out=H)
        np.matmul(H, W2, out=Z)
        np.matmul(H.T, Z, out=dW2)
        np.matmul(Z, W2.T, out=dH)
        np.matmul(X.T, dH, out=dW1)

    return Work(step, lambda: ())


def _needle(loss_of: Callable[[Any, Any, Any], Any]) -> Work:
    needle = import_module("needle")
    x, _, y, w1, w2 = data()
    X, Y = needle.Tensor(x, requires_grad=False), needle.Tensor(y, requires_grad=False)
    W1, W2 = needle.Tensor(w1), needle.Tensor(w2)

    def step() -> None:
        loss = loss_of(needle, needle.relu(X @ W1) @ W2, Y)
        loss.backward()
        with needle.no_grad():
            for p in (W1, W2):
                p.data = needle.add(p, p.grad, alpha=-RATE)

    return Work(step, lambda: changes(W1.numpy(), W2.numpy()))


def needle_step() -> Work:
    return _needle(lambda needle, Z, Y: needle.softmax_loss(Z, Y))


def needle_composed() -> Work:
    return _needle(lambda needle, Z, Y: (needle.logsumexp(Z, 1).sum() - (Z * Y).sum()) / BATCH)


def torch_sgd() -> Work:
    """As its users write it."""
    torch: Any = import_module("torch")
    x, labels, _, w1, w2 = data()
    X, Y = torch.tensor(x), torch.tensor(labels)
    W1, W2 = torch.tensor(w1, requires_grad=True), torch.tensor(w2, requires_grad=True)
    optimizer = torch.optim.SGD([W1, W2], lr=RATE)

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(torch.relu(X @ W1) @ W2, Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Work(step, lambda: changes(W1.detach(), W2.detach()))


def torch_by_hand() -> Work:
    """With the update written out, which saves the optimizer's bookkeeping."""
    torch: Any = import_module("torch")
    x, labels, _, w1, w2 = data()
    X, Y = torch.tensor(x), torch.tensor(labels)
    W1, W2 = torch.tensor(w1, requires_grad=True), torch.tensor(w2, requires_grad=True)

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(torch.relu(X @ W1) @ W2, Y)
        loss.backward()
        with torch.no_grad():
            for p in (W1, W2):
                p.sub_(p.grad, alpha=RATE)
                p.grad = None

    return Work(step, lambda: changes(W1.detach(), W2.detach()))


def _jax(jit: bool) -> Work:
    jax: Any = import_module("jax")
    x, _, y, w1, w2 = data()
    X, Y = jax.numpy.asarray(x), jax.numpy.asarray(y)
    weights = [jax.numpy.asarray(w1), jax.numpy.asarray(w2)]

    def loss(weights: Any) -> Any:
        Z = jax.nn.relu(X @ weights[0]) @ weights[1]
        return (jax.nn.logsumexp(Z, axis=1) - (Z * Y).sum(1)).mean()

    def update(weights: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(weights)
        return value, [w - RATE * g for w, g in zip(weights, gradients, strict=True)]

    if jit:
        update = jax.jit(update)

    def step() -> None:
        nonlocal weights
        _, weights = jax.block_until_ready(update(weights))

    return Work(step, lambda: changes(*weights))


def jax_jit() -> Work:
    return _jax(jit=True)


def jax_eager() -> Work:
    return _jax(jit=False)


def hips_autograd() -> Work:
    anp: Any = import_module("autograd.numpy")
    value_and_grad = import_module("autograd").value_and_grad
    X, _, Y, W1, W2 = data()

    def loss(weights: Any) -> Any:
        Z = anp.maximum(X @ weights[0], 0) @ weights[1]
        Z = Z - anp.max(Z, axis=1, keepdims=True)
        return anp.mean(anp.log(anp.sum(anp.exp(Z), axis=1)) - anp.sum(Z * Y, axis=1))

    def step() -> None:
        _, gradients = value_and_grad(loss)((W1, W2))
        for w, g in zip((W1, W2), gradients, strict=True):
            w -= RATE * g

    return Work(step, lambda: changes(W1, W2))


def mygrad_step() -> Work:
    mygrad: Any = import_module("mygrad")
    relu = import_module("mygrad.nnet.activations").relu
    cross_entropy = import_module("mygrad.nnet.losses").softmax_crossentropy
    X, labels, _, w1, w2 = data()
    W1, W2 = mygrad.tensor(w1), mygrad.tensor(w2)

    def step() -> None:
        cross_entropy(relu(X @ W1) @ W2, labels).backward()
        for p in (W1, W2):
            p.data -= RATE * p.grad

    return Work(step, lambda: changes(W1.data, W2.data))


CONTENDERS = (  # those that budgets are about next to each other: a machine's speed may change within seconds
    Contender("NumPy by hand", by_hand),
    Contender("five matrix products", products),
    Contender(NEEDLE, needle_step),
    Contender("PyTorch, update by hand", torch_by_hand, "torch"),
    Contender("PyTorch", torch_sgd, "torch"),
    Contender("Needle, loss composed", needle_composed),
    Contender("jax.jit", jax_jit, "jax"),
    Contender("JAX without jit", jax_eager, "jax"),
    Contender("HIPS autograd", hips_autograd, "autograd"),
    Contender("MyGrad", mygrad_step, "mygrad"),
)


def run(rounds: int) -> list[Report]:
    times = take_turns(CONTENDERS, rounds, tolerance=1e-3)
    torch = times.fastest("PyTorch", "PyTorch, update by hand")
    budgets = [
        ratio_budget(f"the step / {torch or 'PyTorch'}", 0.80, times, torch),
        ratio_budget("the step / its matrix products", 1.6, times, "five matrix products"),
    ]
    title = f"MNIST step, {INPUTS}-{HIDDEN}-{CLASSES}, batch {BATCH}"
    return [Report(title, COLUMNS, times.rows(), budgets, [times.note])]


if __name__ == "__main__":
    main({"mnist_step": run})
