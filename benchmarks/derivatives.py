"""What derivatives cost, as multiples of the function: gradients, products with a Hessian, Jacobians, forward mode, and
every transform along a chain of a million operations."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from harness import NEEDLE, Budget, Report, fresh, installed, main

TURNS = 7
CHAIN = 1_000_000


class Functions:
    """The same functions for two libraries: `lib` has NumPy's names, `constant` makes what is not differentiated."""

    def __init__(self, lib: Any, constant: Callable[[Any], Any]):
        self.lib, self.constant = lib, constant
        self.rng = np.random.default_rng(0)

    def layers(self) -> tuple[Any, tuple[Any, ...]]:
        """Four tanh layers of 200, a batch of 256, by the input."""
        weights = [self.constant(self.rng.normal(size=(200, 200)) / 14) for _ in range(4)]

        def f(x: Any) -> Any:
            for w in weights:
                x = self.lib.tanh(x @ w)
            return (x * x).sum()

        return f, (self.rng.normal(size=(256, 200)),)

    def mnist(self) -> tuple[Any, tuple[Any, ...]]:
        """The MNIST net, 784-100-10 on a batch of 1,000, float32, by both weights."""
        return self._mnist(1000)

    def small(self) -> tuple[Any, tuple[Any, ...]]:
        """The MNIST net on a batch of 100."""
        return self._mnist(100)

    def _mnist(self, batch: int) -> tuple[Any, tuple[Any, ...]]:
        X = self.constant(self.rng.normal(size=(batch, 784)).astype(np.float32))
        Y = self.constant(np.eye(10, dtype=np.float32)[self.rng.integers(0, 10, batch)])
        first = (self.rng.normal(size=(784, 100)) / 28).astype(np.float32)

        def f(a: Any, b: Any) -> Any:
            z = self.lib.relu(X @ a) @ b
            return (self.lib.logsumexp(z, 1) - (z * Y).sum(1)).mean()

        return f, (first, (self.rng.normal(size=(100, 10)) / 10).astype(np.float32))

    def logistic(self) -> tuple[Any, tuple[Any, ...]]:
        """Logistic regression, 20,000 rows of 300."""
        X = self.constant(self.rng.normal(size=(20_000, 300)))
        signs = self.constant(np.sign(self.rng.normal(size=20_000)))
        return lambda w: self.lib.log(1 + self.lib.exp(-(X @ w) * signs)).sum(), (self.rng.normal(size=300) / 17,)

    def elementwise(self) -> tuple[Any, tuple[Any, ...]]:
        """tanh(2x + 1) * exp(-x * x) + x on 100,000 floats."""
        lib = self.lib
        return lambda x: (lib.tanh(2 * x + 1) * lib.exp(-x * x) + x).sum(), (self.rng.normal(size=100_000),)

    def rosenbrock(self) -> tuple[Any, tuple[Any, ...]]:
        """Rosenbrock's function of 100,000 variables."""
        return lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum(), (self.rng.normal(size=100_000),)


CASES = ("layers", "mnist", "logistic", "small", "elementwise", "rosenbrock")
"""Matrix products take the time of the first three; calls and memory traffic that of the others."""


def products(library: str, case: str) -> tuple[float, float, float]:
    """Microseconds for the function, its gradient, and its Hessian times a vector, by turns; the fastest of each."""
    lib: Any = import_module(library)
    if library == "torch":
        func: Any = import_module("torch.func")
        f, arrays = getattr(Functions(lib, lib.tensor), case)()
        args = tuple(map(lib.tensor, arrays))
        every = tuple(range(len(args)))
        steps = [
            lambda: f(*args),
            lambda: func.grad(f, every)(*args),
            lambda: func.jvp(func.grad(f, every), args, args),
        ]
    else:
        f, arrays = getattr(Functions(lib, lambda a: lib.Tensor(a, requires_grad=False)), case)()
        args = tuple(lib.Tensor(a, requires_grad=False) for a in arrays)
        every = tuple(range(len(args)))
        steps = [lambda: f(*args), lambda: lib.grad(f, every)(*arrays), lambda: lib.hvp(f, arrays, arrays)]
    found = [float("inf")] * 3
    for _ in range(TURNS):
        for i, step in enumerate(steps):
            found[i] = min(found[i], fastest(step))
    return 1e6 * found[0], 1e6 * found[1], 1e6 * found[2]


def fastest(step: Callable[[], Any], duration: float = 0.15) -> float:
    best, end = float("inf"), time.perf_counter() + duration
    while time.perf_counter() < end:
        start = time.perf_counter()
        step()
        best = min(best, time.perf_counter() - start)
    return best


def hessian_products() -> Report:
    rows, budgets = [], []
    for case in CASES:
        what = " ".join((getattr(Functions, case).__doc__ or "").split()).rstrip(".")
        times: dict[str, float] = {}
        for name, library in ((NEEDLE, "needle"), ("PyTorch", "torch")):
            if not installed(library):
                continue
            f, gradient, product = fresh(products, library, case)
            times[name] = product
            ratios = [f"{gradient / f:.1f}", f"{product / f:.1f}"]
            rows.append([f"{what}: {name}", f"{f:,.0f}", f"{gradient:,.0f}", f"{product:,.0f}", *ratios])
        figure = times[NEEDLE] / times["PyTorch"] if "PyTorch" in times else None
        budgets.append(Budget(f"{what}: Hessian product / PyTorch's", 1, figure))
    columns = ["", "us f", "us gradient", "us product", "gradient / f", "product / f"]
    return Report("The gradient, and the Hessian times a vector", columns, rows, budgets)


def jacobians() -> tuple[float, float, float]:
    """Microseconds for the Jacobian of a 64-to-64 layer in both modes, and for a loop of products over its rows."""
    needle: Any = import_module("needle")
    rng = np.random.default_rng(0)
    W, b, x = rng.normal(size=(64, 64)), rng.normal(size=64), rng.normal(size=64)

    def layer(x: Any) -> Any:
        return needle.tanh(x @ W + b)

    def loop() -> Any:
        _, pullback = needle.vjp(layer, x)
        return np.stack([pullback(row)[0] for row in np.eye(64)])

    np.testing.assert_allclose(needle.jacobian(layer)(x), loop(), rtol=1e-12)
    steps = [needle.jacobian(layer, mode=mode) for mode in ("reverse", "forward")]
    times = [fastest(lambda: steps[0](x)), fastest(lambda: steps[1](x)), fastest(loop)]
    return 1e6 * times[0], 1e6 * times[1], 1e6 * times[2]


def jacobian_report() -> Report:
    reverse, forward, loop = fresh(jacobians)
    rows = [["all rows at once", f"{reverse:,.0f}"], ["all columns at once", f"{forward:,.0f}"]]
    rows.append(["a loop of products over the rows", f"{loop:,.0f}"])
    budget = Budget("Jacobian / a loop over its rows", 0.1, reverse / loop)
    return Report("The Jacobian of a layer from 64 to 64", ["", "us"], rows, [budget])


def forward_memory() -> float:
    """The most memory at once, in arrays, of forward mode through 10,000 operations on 100,000 floats."""
    needle: Any = import_module("needle")
    x = np.random.default_rng(0).random(100_000)

    def f(x: Any) -> Any:
        for _ in range(5_000):
            x = needle.sin(x) * 0.9
        return x

    needle.jvp(needle.sin, (x,), (x,))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    needle.jvp(f, (x,), (np.ones_like(x),))
    _, most = tracemalloc.get_traced_memory()
    return float(most - before) / x.nbytes


def memory_report() -> Report:
    arrays = fresh(forward_memory)
    budget = Budget("forward mode through 10,000 operations: memory", 12, arrays, " arrays")
    rows = [["10,000 operations on 100,000 floats", f"{arrays:.1f}"]]
    return Report("Forward mode keeps nothing", ["", "arrays"], rows, [budget])


TRANSFORMS: dict[str, Callable[[Any, Any], Any]] = {
    "grad": lambda needle, f: needle.grad(f)(1.0),
    "jvp": lambda needle, f: needle.jvp(f, (1.0,), (1.0,)),
    "vjp": lambda needle, f: needle.vjp(f, 1.0)[1](1.0),
    "linearize": lambda needle, f: needle.linearize(f, 1.0)[1](1.0),
    "hvp": lambda needle, f: needle.hvp(f, (1.0,), (1.0,)),
    "jacobian": lambda needle, f: needle.jacobian(f)(1.0),
    "grad of grad": lambda needle, f: needle.grad(needle.grad(f))(1.0),
    "hessian": lambda needle, f: needle.hessian(f)(1.0),
}


def along_a_chain(transform: str, n: int) -> float:
    """Seconds for a transform of n operations."""
    needle: Any = import_module("needle")

    def f(x: Any) -> Any:
        for _ in range(n // 2):
            x = x * 0.999999 + 1e-6
        return x

    start = time.perf_counter()
    TRANSFORMS[transform](needle, f)
    return time.perf_counter() - start


def chain_report() -> Report:
    rows = []
    for transform in TRANSFORMS:
        few, many = fresh(along_a_chain, transform, CHAIN // 10), fresh(along_a_chain, transform, CHAIN)
        rows.append([transform, f"{many:.1f}", f"{1e6 * many / CHAIN:.1f}", f"{many / few / 10:.2f}"])
    columns = ["", "seconds", "us an operation", "time / time for a tenth / 10"]
    return Report(f"A chain of {CHAIN:,} operations through every transform", columns, rows)


def run(rounds: int) -> list[Report]:
    return [hessian_products(), jacobian_report(), memory_report(), chain_report()]


if __name__ == "__main__":
    main({"derivatives": run})
