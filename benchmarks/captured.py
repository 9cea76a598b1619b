"""Captured execution: what `needle.compile` replays, next to Needle's eager mode, PyTorch's, torch.compile and jax.jit.

Every work is written the way that its library's users write it. Needle's is one program, run eagerly and captured; no
replay may be slower than the program that it replays. torch.compile takes part where a C++ compiler is found, and how
long it compiled is noted: with its cache empty, in a process that has just imported PyTorch.
"""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import chain
import mnist_step
import numpy as np
import numpy_code
from by_hand import LayerNorm
from harness import (
    COLUMNS,
    NEEDLE,
    Budget,
    Contender,
    Report,
    Work,
    fresh,
    installed,
    main,
    ratio_budget,
    resident,
    take_turns,
)

EAGER, TORCH, COMPILED, JAX = "Needle, eager", "PyTorch", "torch.compile", "jax.jit"
BY_HAND, FUSED, FOREACH = "PyTorch, update by hand", "PyTorch, fused", "PyTorch, foreach"
PRODUCTS, NUMPY = "five matrix products", "by hand in NumPy"
ALL = (EAGER, NEEDLE, TORCH, COMPILED, JAX)
NEEDS = {EAGER: "numpy", NEEDLE: "numpy", PRODUCTS: "numpy", NUMPY: "numpy", JAX: "jax"}
"""The packages that contenders need; PyTorch, if not named here."""
REPLAY = 1.05
"""The most that a replay may take of the eager program's time."""
COMPILERS = ("c++", "g++", "clang++")


# ---------------------------------------------------------------------------------------------- how each library runs


def as_called(who: str) -> Callable[[Any], Any]:
    """What turns Needle's eager programs and PyTorch's into this contender's."""
    if who == NEEDLE:
        warnings.simplefilter("error")  # a capture that gives up says so, and would be timed as a replay
        return import_module("needle").compile
    if who == COMPILED:
        return compiled_by_torch
    return lambda function: function


def compiled_by_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    if not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        raise RuntimeError("no C++ compiler found")
    torch: Any = import_module("torch")
    torch._logging.set_logs(all=logging.ERROR)
    return torch.compile(function)


def noting_the_first(work: Work, file: Path) -> Work:
    """The same work, whose first step, which compiles, writes into a file how many seconds it took."""
    started = False

    def step() -> None:
        nonlocal started
        if started:
            work.step()
            return
        start, started = time.perf_counter(), True
        work.step()
        file.write_text(str(time.perf_counter() - start))

    return work._replace(step=step)


def keeping(function: Callable[..., Any], args: Any, arrays: Callable[[Any], Any] = list) -> Work:
    """`function(*args)` again and again; it returns several tensors, of which `arrays` makes arrays."""
    found: Any = None

    def step() -> None:
        nonlocal found
        found = function(*args)

    return Work(step, lambda: arrays(found))


# -------------------------------------------------------------------------------------------------------- the works


def mnist(who: str) -> Work:
    if who not in {NEEDLE, COMPILED}:
        by = {EAGER: mnist_step.needle_step, TORCH: mnist_step.torch_sgd, JAX: mnist_step.jax_jit}
        by |= {BY_HAND: mnist_step.torch_by_hand, PRODUCTS: mnist_step.products, NUMPY: mnist_step.by_hand}
        return by[who]()
    if who == NEEDLE:
        work = mnist_step.needle_step()
        return work._replace(step=as_called(who)(work.step))
    torch: Any = import_module("torch")
    x, labels, _, w1, w2 = mnist_step.data()
    X, Y = torch.tensor(x), torch.tensor(labels)
    weights = [torch.tensor(w, requires_grad=True) for w in (w1, w2)]
    loss_of = as_called(who)(lambda W1, W2: torch.nn.functional.cross_entropy(torch.relu(X @ W1) @ W2, Y))

    def step() -> None:
        loss_of(*weights).backward()
        with torch.no_grad():
            for p in weights:
                p.sub_(p.grad, alpha=mnist_step.RATE)
                p.grad = None

    return Work(step, lambda: mnist_step.changes(*[w.detach() for w in weights]))


def four_operations(who: str) -> Work:
    """The gradient alone, of arrays; Needle's function is written with plain NumPy's functions."""
    x: Any = numpy_code.data()
    if who == JAX:
        jax: Any = import_module("jax")
        jax.config.update("jax_enable_x64", True)
        gradient = jax.jit(jax.grad(lambda x: jax.numpy.sum(jax.numpy.tanh(x * 2.0 + 1.0))))
        x = jax.numpy.asarray(x)
        return keeping(lambda x: [jax.block_until_ready(gradient(x))], [x])
    if who in {EAGER, NEEDLE}:
        gradient = as_called(who)(import_module("needle").grad(lambda x: np.sum(np.tanh(x * 2.0 + 1.0))))
        return keeping(gradient, [x], _flat)
    torch: Any = import_module("torch")
    x = torch.tensor(x, requires_grad=True)
    f = as_called(who)(lambda x: (x * 2.0 + 1.0).tanh().sum())
    return keeping(lambda x: torch.autograd.grad(f(x), x), [x])


def links(parameters: bool, who: str) -> Work:
    if who == TORCH:
        return chain.torch_chain(parameters)
    if who != JAX:
        work = chain.needle_chain(parameters)
        return work._replace(step=as_called(who)(work.step))
    jax: Any = import_module("jax")
    f = partial(chain._chain, jax.numpy, chain.LINKS)
    gradient = jax.jit(jax.grad(f, (0, 1, 2) if parameters else (0,)))
    args = [jax.numpy.asarray(a) for a in chain.data()]
    return keeping(lambda *args: jax.block_until_ready(gradient(*args)), args)._replace(per=2 * chain.LINKS)


def curve(size: int, library: str, xp: Any) -> Any:
    """tanh(2x + 1) * exp(-x * x) + x summed. Like the next two, it gives the function, the arrays to differentiate by,
    further arguments, and the adjoint to pull back, which is None for a scalar function."""
    x = np.random.default_rng(0).standard_normal(size, np.float32)
    return lambda x: xp.sum(xp.tanh(2 * x + 1) * xp.exp(-x * x) + x), [x], [], None


def cross_entropy(library: str, xp: Any) -> Any:
    """Of softmax, over 4096 x 1000, by labels."""
    rng = np.random.default_rng(0)
    z, labels = rng.standard_normal((4096, 1000), np.float32), rng.integers(0, 1000, 4096)
    if library == "torch":
        return xp.nn.functional.cross_entropy, [z], [labels], None
    if library == "needle":
        return import_module("needle").softmax_loss, [z], [labels], None
    logsumexp = import_module("jax").nn.logsumexp
    return lambda z, y: (logsumexp(z, axis=1) - xp.take_along_axis(z, y[:, None], 1)[:, 0]).mean(), [z], [labels], None


def layer_norm(library: str, xp: Any) -> Any:
    """Over 8192 x 512, with weight and bias."""
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, 8192, 512), np.float32)
    w, b = 1 + rng.random((2, 512), np.float32)

    def composed(x: Any, w: Any, b: Any) -> Any:
        centred = x - xp.mean(x, -1, keepdims=True)
        variance = xp.mean(centred * centred, -1, keepdims=True)
        return centred / xp.sqrt(variance + 1e-5) * w + b

    def fused(x: Any, w: Any, b: Any) -> Any:
        return xp.nn.functional.layer_norm(x, (512,), w, b)

    return fused if library == "torch" else composed, [x, w, b], [], g


def differentiated(what: Callable[[str, Any], Any], who: str) -> Work:
    """The value of one of the functions above and its gradients."""
    library = {EAGER: "needle", NEEDLE: "needle", JAX: "jax"}.get(who, "torch")
    module: Any = import_module(library)
    f, by, others, g = what(library, import_module({"needle": "numpy", "jax": "jax.numpy"}.get(library, library)))
    if library == "torch":
        f, g = as_called(who)(f), None if g is None else module.tensor(g)
        leaves = [module.tensor(a, requires_grad=True) for a in by]

        def backward(*args: Any) -> Any:
            y = f(*args)
            return [y, *module.autograd.grad(y, leaves, g)]

        return keeping(backward, [*leaves, *map(module.tensor, others)], lambda found: [t.detach() for t in found])

    def pulled_back(*args: Any) -> Any:
        y, pullback = module.vjp(f, *args[:-1])
        return [y, *pullback(args[-1])]

    every = tuple(range(len(by)))
    derive = pulled_back if g is not None else module.value_and_grad(f, every)
    arrays = [*by, *others, *([] if g is None else [g])]
    if library == "jax":
        jitted, args = module.jit(derive), list(map(module.numpy.asarray, arrays))
        return keeping(lambda *args: module.block_until_ready(jitted(*args)), args, _flat)
    return keeping(as_called(who)(derive), [module.Tensor(a, requires_grad=False) for a in arrays], _flat)


def normalized(who: str) -> Work:
    if who == NUMPY:
        _, (x, w, b), _, g = layer_norm("numpy", np)
        return keeping(LayerNorm(x, w, b, g), (), _flat)
    return differentiated(layer_norm, who)


def _flat(found: Any) -> list[Any]:
    """The arrays in a tensor, or in nested tuples of tensors."""
    if isinstance(found, (tuple, list)):
        return [array for member in found for array in _flat(member)]
    return [found.numpy() if hasattr(found, "numpy") else found]


def adam(who: str) -> Work:
    """One parameter of ten million numbers; what must agree is by how much the first step changes it."""
    rate, beta1, beta2, eps = 1e-3, 0.9, 0.999, 1e-8
    start, gradient = np.random.default_rng(0).standard_normal((2, 10_000_000), np.float32)

    def update(xp: Any, g: Any, p: Any, *moments: Any) -> Any:
        m, v, t = moments
        t = t + 1
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * (g * g)
        p = p - rate * (m / (1 - beta1**t)) / (xp.sqrt(v / (1 - beta2**t)) + eps)
        return p, m, v, t

    if who == JAX:
        jax: Any = import_module("jax")
        g = jax.numpy.asarray(gradient)
        state = [jax.numpy.array(start), jax.numpy.zeros_like(g), jax.numpy.zeros_like(g), jax.numpy.float32(0)]
        jitted = jax.jit(partial(update, jax.numpy), donate_argnums=(1, 2, 3))

        def jax_step() -> None:
            nonlocal state
            state = jax.block_until_ready(jitted(g, *state))

        return Work(jax_step, lambda: [np.asarray(state[0]) - start])
    if who in {EAGER, NEEDLE}:
        needle: Any = import_module("needle")
        p = needle.Tensor(start)
        g, m, v, t = [
            needle.Tensor(a, requires_grad=False)
            for a in (gradient, np.zeros_like(start), np.zeros_like(start), np.zeros((), np.float32))
        ]

        def step() -> None:
            with needle.no_grad():
                p.data, m.data, v.data, t.data = update(np, g, p, m, v, t)

        return Work(as_called(who)(step), lambda: [p.numpy() - start])
    torch: Any = import_module("torch")
    leaf = torch.tensor(start, requires_grad=True)
    leaf.grad = torch.tensor(gradient)
    kind = "fused" if who.endswith("fused") else "foreach"
    optimizer = torch.optim.Adam([leaf], lr=rate, betas=(beta1, beta2), eps=eps, **{kind: True})
    return Work(as_called(who)(optimizer.step), lambda: [leaf.detach().numpy() - start])


class Case(NamedTuple):
    title: str
    build: Callable[[str], Work]
    """Makes the work of the contender of this name."""
    contenders: tuple[str, ...]
    limits: tuple[tuple[float, tuple[str, ...]], ...]
    """Budgets: Needle's time as a multiple of that of the fastest of these."""
    part: int = 1
    """The rounds asked for are divided by it: large works vary less, and take longer."""
    notes: tuple[str, ...] = ()


CASES = (
    Case(
        "MNIST step, 784-100-10, batch 100",
        mnist,
        (EAGER, NEEDLE, PRODUCTS, NUMPY, BY_HAND, TORCH, COMPILED, JAX),
        ((0.70, (TORCH, BY_HAND)), (1.25, (PRODUCTS,))),
    ),
    Case("np.sum(np.tanh(x * 2 + 1)) of 10 floats, its gradient", four_operations, ALL, ((1.0, (JAX,)),), 2),
    Case(
        "2,000 operations on 10 elements, forward and backward, time per operation",
        partial(links, False),
        (EAGER, NEEDLE, TORCH, JAX),
        ((0.25, (TORCH,)),),
        2,
        ("torch.compile is left out: its first step takes about 110 s, jax.jit's 12 s",),
    ),
    Case(
        "2,000 operations on 10 elements with two parameters",
        partial(links, True),
        (EAGER, NEEDLE, TORCH),
        ((0.25, (TORCH,)),),
        2,
    ),
    Case(
        "tanh(2x + 1) * exp(-x * x) + x summed, 10^6 float32, value and gradient",
        partial(differentiated, partial(curve, 10**6)),
        ALL,
        ((0.25, (TORCH,)), (1.0, (COMPILED,))),
        2,
    ),
    Case(
        "tanh(2x + 1) * exp(-x * x) + x summed, 10^7 float32, value and gradient",
        partial(differentiated, partial(curve, 10**7)),
        ALL,
        ((0.25, (TORCH,)), (1.0, (COMPILED,))),
        4,
    ),
    Case(
        "softmax cross-entropy over 4096 x 1000, value and gradient",
        partial(differentiated, cross_entropy),
        ALL,
        ((0.6, (TORCH,)),),
        3,
    ),
    Case(
        "layer norm over 8192 x 512 with weight and bias, value and gradients",
        normalized,
        (*ALL, NUMPY),
        ((0.6, (TORCH,)),),
        4,
    ),
    Case(
        "Adam on 10 million parameters",
        adam,
        (EAGER, NEEDLE, FUSED, FOREACH, COMPILED, JAX),
        ((0.5, (FUSED,)), (0.5, (FOREACH,))),
        4,
    ),
)
FIRST = "first step"
"""The file that says how long torch.compile's took."""


def build(number: int, folder: str, who: str) -> Work:
    if who != COMPILED:
        return CASES[number].build(who)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # more would be processes that stay
    return noting_the_first(CASES[number].build(who), Path(folder, FIRST))


def side_by_side(number: int, rounds: int) -> Report:
    case = CASES[number]
    notes = list(case.notes)
    with tempfile.TemporaryDirectory() as folder:
        contenders = [
            Contender(who, partial(build, number, folder, who), NEEDS.get(who, "torch")) for who in case.contenders
        ]
        times = take_turns(contenders, max(5, rounds // case.part), tolerance=1e-3)
        if (first := Path(folder, FIRST)).exists():
            notes.append(f"torch.compile's first step took {float(first.read_text()):.1f} s")
    budgets = []
    for factor, of in case.limits:
        to = times.fastest(*of)
        budgets.append(ratio_budget(f"{case.title} / {to or of[0]}", factor, times, to))
    budgets.append(ratio_budget(f"{case.title}: replay / eager", REPLAY, times, EAGER))
    return Report(case.title, COLUMNS, times.rows(), budgets, [times.note, *notes])


# ------------------------------------------------------------------------------------- awkward ones, capture, memory


def awkward(needle: Any) -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """Functions for which a replay has little to win, and their arguments."""
    rng = np.random.default_rng(0)

    def folded(*terms: Any) -> Any:
        total = terms[0]
        for term in terms[1:]:
            total = total * term + 1
        return total

    def elements(x: Any) -> Any:
        total = x[0]
        for i in range(1, 50):
            total = total + x[i]
        return total

    return {
        "x * sin(x), x 0-d, value and gradient": (needle.value_and_grad(lambda x: x * needle.sin(x)), [rng.random(())]),
        "x * 2, 3 floats": (lambda x: x * 2, [rng.random(3)]),
        "a function of 20 arguments of 5 floats": (folded, list(rng.random((20, 5)))),
        "a @ b, 1024 x 1024": (lambda a, b: a @ b, list(rng.random((2, 1024, 1024), np.float32))),
        "50 elements read and added": (elements, [rng.random(50)]),
        "the same, value and gradient": (needle.value_and_grad(elements), [rng.random(50)]),
    }


def awkward_work(name: str, who: str) -> Work:
    needle: Any = import_module("needle")
    f, arrays = awkward(needle)[name]
    args = [needle.Tensor(np.array(a), requires_grad=False) for a in arrays]
    return keeping(as_called(who)(f), args, _flat)


def replays(rounds: int) -> Report:
    rows, budgets, notes = [], [], []
    for name in awkward(import_module("needle")):
        contenders = [Contender(who, partial(awkward_work, name, who)) for who in (EAGER, NEEDLE)]
        times = take_turns(contenders, max(5, rounds // 3), tolerance=1e-6)
        micro = [1e6 * min(times.seconds[who]) for who in (EAGER, NEEDLE)]
        rows.append([name, *[f"{m:.2f}" for m in micro], f"{statistics.median(times.ratios(NEEDLE, EAGER)):.2f}"])
        budgets.append(ratio_budget(f"{name}: replay / eager", REPLAY, times, EAGER))
        notes.append(times.note)
    columns = ["", "eager, min us", "replay, min us", "median ratio"]
    return Report("Replays that have little to win", columns, rows, budgets, [n for n in notes if "BUSY" in n][:1])


def capture() -> float:
    """Seconds that the first calls of the captured MNIST step take beyond as many eager ones; in a fresh process."""
    eager, captured = [mnist_step.needle_step().step for _ in range(2)]
    captured = as_called(NEEDLE)(captured)
    usual = min(seconds(eager) for _ in range(4))
    return sum(max(0.0, seconds(captured) - usual) for _ in range(4))  # what is left to a later call is capture, too


def seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def captures(rounds: int) -> Report:
    millis = sorted(1e3 * fresh(capture) for _ in range(max(5, rounds // 3)))
    rows = [["MNIST step", f"{statistics.median(millis):.2f}", f"{millis[0]:.2f}", f"{millis[-1]:.2f}"]]
    budgets = [Budget("capture of the MNIST step", 50, millis[0], " ms")]
    title = "Capture: the first four calls less four eager ones, in fresh processes"
    return Report(title, ["", "median ms", "min ms", "max ms"], rows, budgets)


LAYERS, WIDTH, BATCH, RATE = 50, 256, 4096, 1e-3


def peaks(who: str) -> tuple[float, float]:
    """MiB that the first training step of a deep MLP has at its highest, and later ones, beyond weights and data."""
    library: Any = import_module("torch" if who == TORCH else "needle")
    rng = np.random.default_rng(0)
    weights = list(rng.standard_normal((LAYERS, WIDTH, WIDTH), np.float32) * np.float32(np.sqrt(2 / WIDTH)))
    labels = rng.integers(0, WIDTH, BATCH)
    X, Y = rng.standard_normal((BATCH, WIDTH), np.float32), np.eye(WIDTH, dtype=np.float32)[labels]
    step = (_torch_mlp if who == TORCH else _needle_mlp)(library, weights, who)
    step(X[:64].copy(), Y[:64].copy())  # starts threads, fills pools
    before, _ = resident()
    step(X, Y)
    _, first = resident()
    _forget_the_highest()
    for _ in range(2):
        step(X, Y)
    _, later = resident()
    return (first - before) / 2**20, (later - before) / 2**20


def _forget_the_highest() -> None:
    """From here on the highest is counted anew; Linux only, as `resident`."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def _needle_mlp(needle: Any, weights: Any, who: str) -> Callable[[Any, Any], None]:
    layers = [(needle.Tensor(W), needle.Tensor(np.zeros(WIDTH, np.float32))) for W in weights]

    def step(X: Any, Y: Any) -> None:
        h = X
        for W, b in layers:
            h = needle.relu(h @ W + b)
        needle.softmax_loss(h, Y).backward()
        with needle.no_grad():
            for p in [p for layer in layers for p in layer]:
                p.data = p - RATE * p.grad

    step = as_called(who)(step)
    return lambda X, Y: step(*[needle.Tensor(a, requires_grad=False) for a in (X, Y)])


def _torch_mlp(torch: Any, weights: Any, who: str) -> Callable[[Any, Any], None]:
    layers = [(torch.tensor(W, requires_grad=True), torch.zeros(WIDTH, requires_grad=True)) for W in weights]
    optimizer = torch.optim.SGD([p for layer in layers for p in layer], lr=RATE)

    def step(X: Any, Y: Any) -> None:
        h = torch.tensor(X)
        for W, b in layers:
            h = torch.relu(h @ W + b)
        torch.nn.functional.cross_entropy(h, torch.tensor(Y)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def memory() -> Report:
    found = {who: fresh(peaks, who) for who in (EAGER, NEEDLE, TORCH) if who != TORCH or installed("torch")}
    rows = [[who, *[f"{mib:,.0f}" for mib in both]] for who, both in found.items()]
    peak, to = found[NEEDLE][1], found[EAGER][1]
    budgets = [Budget("peak of a replay / of an eager step", 0.6, peak / to if to else None)]
    title = f"Peak memory of a training step, {LAYERS} layers of {WIDTH}, batch {BATCH}: MiB beyond weights and data"
    return Report(title, ["", "the first step", "later steps"], rows, budgets)


def run(rounds: int) -> list[Report]:
    cases = [side_by_side(number, rounds) for number in range(len(CASES))]
    return [*cases, replays(rounds), captures(rounds), memory()]


if __name__ == "__main__":
    main({"captured": run})
