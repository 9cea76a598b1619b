"""Third derivatives of random programs, with reuse, broadcasting, indexing and control flow, in all mixtures of forward
and reverse mode: against numdifftools, and against each other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import needle
import numeric
import numpy as np
import pytest
from needle import Tensor, ops
from numpy.testing import assert_allclose

SIZE = 6
Program = Callable[[Any], Any]


def steps(rng: np.random.Generator) -> list[Callable[[list[Any]], Any]]:
    """What a program may do next with the values that it has; each gives one of shape (SIZE,), (2, 3) or ()."""
    w, c = rng.normal(size=(3, 3)), rng.normal(size=3)
    index = rng.integers(0, SIZE, SIZE)
    mask = rng.random(SIZE) < 0.5
    i = int(rng.integers(0, SIZE))
    power = float(rng.choice([2, 3, 1.5, -1]))

    def pick(values: list[Any], k: int = 0) -> Any:
        return values[(picked[k]) % len(values)]

    picked = rng.integers(0, 1000, 4)
    return [
        lambda v: ops.sin(pick(v)) * pick(v, 1),
        lambda v: ops.tanh(pick(v)) + pick(v, 1) * pick(v, 2),
        lambda v: ops.exp(-pick(v) * pick(v)),
        lambda v: (1.5 + ops.cos(pick(v))) ** power,
        lambda v: pick(v) / (2 + pick(v, 1) * pick(v, 1)),
        lambda v: ops.log(1 + pick(v) ** 2),
        lambda v: (pick(v).reshape(2, 3) @ w + c).reshape(SIZE),  # broadcasts c
        lambda v: (pick(v).reshape(2, 3) * pick(v, 1).reshape(3, 2).sum(1)).reshape(SIZE),
        lambda v: ops.softmax(pick(v).reshape(2, 3)).reshape(SIZE) + ops.logsumexp(pick(v, 1)),
        lambda v: pick(v)[index] * pick(v, 1),  # repeated indices
        lambda v: pick(v)[::-1] + pick(v, 1)[i] * pick(v, 2),
        lambda v: ops.where(mask, pick(v), pick(v, 1) * pick(v, 1)),
        lambda v: pick(v)[mask].sum() * pick(v, 1),
        lambda v: pick(v) - ops.transpose(pick(v, 1).reshape(2, 3)).reshape(SIZE),
        lambda v: sum(ops.make_tuple(ops.sin(pick(v)), pick(v, 1) * pick(v, 2))),
    ]


def random_program(seed: int) -> Program:
    rng = np.random.default_rng(seed)
    chosen = [steps(rng)[k] for k in rng.integers(0, 15, rng.integers(4, 10))]
    weights = rng.normal(size=SIZE)
    repeats = int(rng.integers(1, 3))
    threshold = float(rng.normal())

    def program(x: Any) -> Any:
        values = [x]
        for _ in range(repeats):
            for step in chosen:
                y = step(values)
                # Control flow that depends on a value; and nothing grows beyond bounds.
                values.append(y * 0.5 if (y * weights).sum() > threshold else ops.tanh(y) + 0.1 * y)
        total = (values[-1] * weights).sum()
        while total > 4:
            total = total * 0.5
        return total + (values[-2] * values[len(values) // 2]).mean()

    return program


def along(mode: str, f: Program, t: Any) -> Program:
    """The derivative of f along t, as a function of the same argument."""
    if mode == "forward":
        return lambda x: needle.jvp(f, (x,), (t,))[1]
    return lambda x: (needle.grad(f)(x) * t).sum()


@pytest.mark.parametrize("seed", range(40))
def test_third_derivatives_in_all_mixtures(seed):
    f = random_program(seed)
    rng = np.random.default_rng(1000 + seed)
    x, t = rng.normal(size=SIZE), rng.normal(size=SIZE)
    t /= np.linalg.norm(t)

    def on_a_line(s: float, g: Program) -> float:
        return float(np.asarray(g(x + s * t)))

    expected = f
    for order in (1, 2, 3):
        found = [np.asarray(compose(f, modes, t)(x)) for modes in product(["forward", "reverse"], repeat=order)]
        assert_allclose(found, found[0], rtol=1e-9, atol=1e-9 * (1 + abs(float(found[0]))))
        # Each order against differences of the one below, which has been compared already.
        numerical = numeric.numdifftools.Derivative(lambda s, g=expected: on_a_line(s, g), step=numeric.STEP)(0.0)
        assert_allclose(found[0], numerical, rtol=1e-6, atol=1e-7)
        expected = compose(f, ["forward"] * order, t)


def compose(f: Program, modes: Any, t: Any) -> Program:
    for mode in modes:
        f = along(mode, f, t)
    return f


@pytest.mark.parametrize("seed", range(40, 60))
def test_whole_matrices_of_random_programs(seed):
    f = random_program(seed)
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=SIZE), rng.normal(size=SIZE)
    hessian = needle.hessian(f)(x)
    for outer, inner in product(["forward", "reverse"], repeat=2):
        assert_allclose(needle.jacobian(needle.jacobian(f, mode=inner), mode=outer)(x), hessian, rtol=1e-9, atol=1e-10)
    assert_allclose(hessian, hessian.T, rtol=1e-9, atol=1e-10)
    assert_allclose(needle.hvp(f, (x,), (t,)), hessian @ t, rtol=1e-9, atol=1e-10)
    third = needle.jacobian(needle.hessian(f))(x)
    assert_allclose(third, np.transpose(third, (2, 0, 1)), rtol=1e-8, atol=1e-9)
    v = Tensor(x)
    y = f(v)
    y.backward()
    slope = (v.grad * t).sum()
    slope.backward()
    assert_allclose(v.grad.numpy(), hessian @ t, rtol=1e-9, atol=1e-10)
    (v.grad * t).sum().backward()
    assert_allclose(v.grad.numpy(), third @ t @ t, rtol=1e-8, atol=1e-9)
