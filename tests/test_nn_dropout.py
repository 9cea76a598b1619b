"""Dropout, and random masks in captured programs."""

from __future__ import annotations

import pickle
import warnings
from copy import deepcopy
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, nn, ops

GENERATORS: dict[str, Any] = {
    "global": lambda: None,
    "PCG64": lambda: np.random.default_rng(5),
    "SFC64": lambda: np.random.Generator(np.random.SFC64(5)),
    "MT19937": lambda: np.random.Generator(np.random.MT19937(5)),
    "RandomState": lambda: np.random.RandomState(5),
}


def test_the_global_state_gives_the_courses_mask():
    x, layer = np.arange(1, 13, dtype=np.float32).reshape(3, 4), nn.Dropout(0.3)
    np.random.seed(4)
    y, after = layer(x).numpy(), np.random.rand()
    np.random.seed(4)
    np.testing.assert_allclose(y, x * (np.random.rand(3, 4) <= 0.7) / 0.7, rtol=1e-6)
    assert np.random.rand() == after


@pytest.mark.parametrize("shape", [(300_000,), (7, 3), (), (0, 4)])
@pytest.mark.parametrize("name", GENERATORS)
def test_the_mask_is_drawn_in_pieces_as_at_once(name, shape):
    """Of a size beyond one piece; what is kept is 1 / keep, and the same in the gradient."""
    np.random.seed(3)
    x = Tensor(np.ones(shape))
    y = ops.dropout(x, 0.25, GENERATORS[name]())
    assert set(np.unique(y.numpy())) <= {0.0, 1 / 0.75}
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    if name in {"global", "RandomState"}:
        np.random.seed(3)
        rng = GENERATORS[name]() or np.random
        np.testing.assert_array_equal(y.numpy() > 0, rng.random_sample(shape) <= 0.75)


@pytest.mark.parametrize("p", [0.1, 0.5, 1 / 3, 1e-3, 0.999, 0.9990234375])
@pytest.mark.parametrize("name", GENERATORS)
def test_the_probability_is_exact(name, p):
    """Within four standard deviations; a byte alone would be off by up to 1/512, ten of them."""
    np.random.seed(11)
    n = 2_000_000
    kept = np.count_nonzero(ops.dropout(np.ones(n, np.float32), p, GENERATORS[name]()).numpy())
    assert abs(kept - n * (1 - p)) < 4 * np.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("rng", [None, 0])
def test_probabilities_of_0_and_1(rng):
    x = Tensor(np.array([1.0, np.inf, np.nan, -2.0]))
    state = np.random.get_state()[1].copy()
    assert nn.Dropout(0, rng=rng)(x) is x
    y = nn.Dropout(1.0, rng=rng)(x)
    np.testing.assert_array_equal(y.numpy(), np.zeros(4))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.zeros(4))
    np.testing.assert_array_equal(state, np.random.get_state()[1])


def test_eval_does_nothing():
    x = Tensor(np.ones(3))
    assert nn.Dropout(0.5).eval()(x) is x


def test_dtypes():
    for dtype in [np.float16, np.float32, np.float64, np.longdouble, np.complex64]:
        assert ops.dropout(np.ones(9, dtype), 0.5).dtype == dtype
    assert ops.dropout(np.ones(9, int), 0.5).dtype == np.float64


@pytest.mark.parametrize(("layer", "shape"), [(nn.Dropout1d, (40, 5, 3)), (nn.Dropout2d, (40, 5, 2, 3))])
def test_whole_channels(layer, shape):
    y = layer(0.4, rng=1)(np.ones(shape)).numpy().reshape(40, 5, -1)
    assert (y == y[..., :1]).all()
    assert 0.5 < (y > 0).mean() < 0.7
    with pytest.raises(ValueError, match="needs an input of shape"):
        layer()(np.ones((2, 3)))


def test_a_seed_repeats_and_copies_go_on_alike():
    x = np.ones((50,))
    a, b = [nn.Dropout(0.5, rng=7) for _ in range(2)]
    np.testing.assert_array_equal(a(x).numpy(), b(x).numpy())
    for again in (deepcopy(a), pickle.loads(pickle.dumps(a))):
        np.testing.assert_array_equal(again(x).numpy(), deepcopy(b)(x).numpy())


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="from 0 to 1, got 2"):
        nn.Dropout(2)
    with pytest.raises(ValueError, match="from 0 to 1, got nan"):
        ops.dropout(np.ones(3), float("nan"))
    with pytest.raises(TypeError, match="default_rng"):
        ops.dropout(np.ones(3), 0.5, "seed")


# --------------------------------------------------------------------------------------------------------- captured


def both_ways(make: Any, draw: Any, calls: int = 5) -> None:
    """What `make(rng)` makes gives the same, bit for bit, eagerly and captured, and leaves the generator alike."""
    found = []
    for compiled in [False, True]:
        np.random.seed(0)
        rng = draw()
        step = make(rng)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            step = needle.compile(step) if compiled else step
            outputs = [[a.numpy() for a in step()] for _ in range(calls)]
        outputs.append([np.array((np.random if rng is None else rng).standard_normal(3))])
        found.append(outputs)
    for one, other in zip(*found, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    first = [outputs[0] for outputs in found[1][:calls]]
    assert not all(np.array_equal(a, first[0]) for a in first)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_captured_step_draws_anew(name):
    def make(rng: Any) -> Any:
        x, w = Tensor(np.arange(1.0, 41.0)), Tensor(np.ones(40))

        def step() -> Any:
            y = ops.dropout(ops.dropout(x * w, 0.3, rng) * 2, 0.5, rng)
            loss = (y * y).sum()
            loss.backward()
            return loss, y, x.grad, w.grad

        return step

    both_ways(make, GENERATORS[name])


@pytest.mark.parametrize("name", GENERATORS)
def test_a_draw_that_nothing_is_made_of_is_made_all_the_same(name):
    def make(rng: Any) -> Any:
        x = Tensor(np.arange(1.0, 41.0))

        def step() -> Any:
            ops.dropout(x, 0.1, rng)
            return (ops.dropout(x, 0.5, rng),)

        return step

    both_ways(make, GENERATORS[name])


def test_large_arrays_and_layers():
    def make(rng: Any) -> Any:
        model = nn.Sequential(nn.Linear(100, 300, rng=0), nn.Dropout(0.2, rng=rng), nn.ReLU(), nn.Dropout(0.5, rng=rng))
        x = Tensor(np.random.default_rng(0).standard_normal((1000, 100)), requires_grad=False)

        def step() -> Any:
            loss = model(x).sum()
            loss.backward()
            return (loss, *[p.grad for p in model.parameters()])

        return step

    both_ways(make, GENERATORS["SFC64"], 3)


def test_a_gradient_outside_of_the_captured_function_and_a_second_one():
    x = Tensor(np.arange(1.0, 9.0))

    def f(x: Any) -> Any:
        return ops.dropout(x, 0.5) * x

    found = []
    for g in (f, needle.compile(f)):
        np.random.seed(1)
        for _ in range(3):
            y = (g(x) * 1.0).sum()
            y.backward()
            first = x.grad
            first.sum().backward()
            found.append([y.numpy(), first.numpy(), x.grad.numpy(), np.random.rand()])
    for eager, captured in zip(found[:3], found[3:], strict=True):
        for a, b in zip(eager, captured, strict=True):
            np.testing.assert_array_equal(a, b)


def test_random_numbers_drawn_between_operations_end_the_capture():
    x = Tensor(np.ones(8))

    def f(x: Any) -> Any:
        a = ops.dropout(x, 0.5)
        return ops.dropout(a, 0.5) * np.random.rand()

    def g(x: Any) -> Any:
        a = ops.dropout(x, 0.5)
        b = np.random.rand()
        return ops.dropout(a * b, 0.5)

    def h(x: Any) -> Any:
        return ops.dropout(x, 0.5, np.random.default_rng(0))

    def once(x: Any) -> Any:
        return ops.dropout(x, 0.5, None) * np.random.rand()

    whys = [
        "random state",
        "random state",
        "between its operations it draws random numbers",
        "makes the random generator",
    ]
    for function, why in zip((f, once, g, h), whys, strict=True):
        compiled = needle.compile(function)
        with pytest.warns(needle.CompileWarning, match=why):
            _ = [compiled(x) for _ in range(2)]


def test_a_checkpoint_uses_the_mask_again():
    x = Tensor(np.arange(1.0, 41.0))
    y = needle.checkpoint(lambda x: ops.dropout(x, 0.5) * x)(x)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * y.numpy() / x.numpy())


def test_derivatives_go_through_the_mask():
    x = np.arange(1.0, 5.0)
    np.random.seed(0)
    value, moved = needle.jvp(lambda x: ops.dropout(x, 0.5) * 3, (Tensor(x),), (Tensor(np.ones(4)),))
    np.testing.assert_allclose(moved.numpy(), value.numpy() / x)
    np.random.seed(0)
    rows = needle.jacobian(lambda x: ops.dropout(x, 0.5) * 3)(x)
    np.testing.assert_allclose(rows, np.diag(moved.numpy()))
