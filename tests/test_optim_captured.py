"""Steps under needle.compile: captured once, whatever changes from step to step, and equal to those in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import needle as ndl
import numpy as np
import pytest
from needle import nn, optim
from needle.optim import schedules as s

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda m: optim.SGD(m, 0.1),
    "momentum": lambda m: optim.SGD(m, s.cosine(0.1, 50, warmup=5), momentum=0.9, weight_decay=0.01),
    "nesterov": lambda m: optim.SGD(m, s.one_cycle(0.1, 40), momentum=0.9, dampening=0, nesterov=True),
    "adam": lambda m: optim.Adam(m, s.step(0.01, 10, 0.5), weight_decay=0.01),
    "amsgrad": lambda m: optim.Adam(m, s.exponential(0.01, 0.9), amsgrad=True),
    "adamw": lambda m: optim.AdamW(
        m, s.join((s.linear(0, 0.01, 10), 10), (s.piecewise({0: 0.01, 5: 0.001}), 10), (s.constant(0.1), None))
    ),
    "split": lambda m: optim.AdamW(optim.split_decay(m, 0.1), lambda t: 0.01 * 0.5 ** (t / 10)),
    "rmsprop": lambda m: optim.RMSprop(m, s.plateau(0.01), momentum=0.5, centered=True),
    "adagrad": lambda m: optim.Adagrad(m, lr_decay=0.1, initial_accumulator_value=0.1),
    "lion": lambda m: optim.Lion(m, weight_decay=0.1),
    "muon": lambda m: optim.Muon(m, s.linear(0.02, 0.0, 30)),
}
STEPS = 30


class Training:
    """A small net and its step, in place or captured."""

    def __init__(self, make: Callable[[Any], Any], compiled: bool, dtype: str = "float32", clip: float | None = 0.5):
        rng = np.random.default_rng(0)
        sizes = [(5, 16), (16, 16), (16, 2)]
        self.model = nn.Sequential(*[nn.Linear(*size, dtype=dtype) for size in sizes])
        for p in self.model.parameters():
            p.data = (rng.standard_normal(p.shape) / 4).astype(dtype)
        self.opt, self.clip, self.runs = make(self.model), clip, 0
        self.ema = optim.EMA(self.model, 0.9, warmup=True)
        self.x, self.y = (ndl.Tensor(rng.standard_normal((20, n)), dtype=dtype, requires_grad=False) for n in (5, 2))
        self.step = ndl.compile(self._step) if compiled else self._step

    def _step(self, x: Any, y: Any) -> Any:
        h = ndl.tanh(self.model[0](x))
        h = ndl.tanh(self.model[1](h))
        loss = ((self.model[2](h) - y) ** 2).mean()
        loss.backward()
        if self.clip is not None:
            self.opt.clip_grad_norm(self.clip)
        self.opt.step()
        self.ema.update()
        return loss

    def run(self, steps: int = STEPS) -> Training:
        for _ in range(steps):
            self.step(self.x, self.y)
        return self

    def arrays(self) -> dict[str, Any]:
        state = {**self.model.state_dict(), **self.opt.state_dict(), **self.ema.state_dict()}
        return {key: a for key, a in state.items() if isinstance(a, np.ndarray)}

    def captures(self) -> int:
        return sum(len(found) for found in self.step._captured.values())


def assert_equal(a: Training, b: Training, tolerance: float = 0.0) -> None:
    first, second = a.arrays(), b.arrays()
    assert first.keys() == second.keys()
    assert a.opt.steps == b.opt.steps
    for key, array in first.items():
        np.testing.assert_allclose(array, second[key], rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_captured_steps_are_those_in_place_to_the_last_bit(name):
    make = OPTIMIZERS[name]
    captured = Training(make, True).run()
    assert captured.captures() == 1
    assert_equal(captured, Training(make, False).run())


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_so_they_are_in_other_dtypes(dtype):
    make = OPTIMIZERS["momentum"]
    assert_equal(Training(make, True, dtype).run(10), Training(make, False, dtype).run(10))


def test_a_thousand_steps_are_captured_once():
    training = Training(lambda m: optim.AdamW(m, s.cosine(0.01, 1000, warmup=10)), True).run(1000)
    assert training.captures() == 1
    assert training.opt.steps == 1000
    assert training.opt.lr == 0


def test_a_rate_that_is_set_from_outside_is_seen_without_another_capture():
    def rates(compiled: bool) -> Training:
        training = Training(lambda m: optim.SGD(m, 0.1), compiled)
        for i in range(20):
            training.opt.lr = 0.1 / (i + 1)
            training.run(1)
            training.opt.param_groups[0]["lr"] = 0.01 * i
            training.run(1)
        return training

    captured = rates(True)
    assert captured.captures() == 1
    assert_equal(captured, rates(False))


def test_plateau_is_seen_without_another_capture():
    def train(compiled: bool) -> Training:
        plateau = s.plateau(0.1, 0.5, 1)
        training = Training(lambda m: optim.SGD(m, plateau), compiled)
        for _ in range(12):
            training.run(1)
            plateau.report(1.0)
        assert training.opt.lr < 0.01
        return training

    captured = train(True)
    assert captured.captures() == 1
    assert_equal(captured, train(False))


def test_captured_and_plain_steps_in_turn():
    make = OPTIMIZERS["adam"]
    mixed = Training(make, True)
    for i in range(10):
        mixed.run(1) if i % 3 else mixed._step(mixed.x, mixed.y)
    assert mixed.captures() == 1
    assert_equal(mixed, Training(make, False).run(10))


def test_a_loaded_state_is_gone_on_from_without_another_capture():
    make = OPTIMIZERS["adam"]
    training, plain = Training(make, True).run(6), Training(make, False).run(6)
    for t in (training, plain):
        saved = t.opt.state_dict()
        t.run(3)
        t.opt.load_state_dict(saved)
        t.run(4)
    assert training.captures() == 1
    assert_equal(training, plain)


def test_a_gradient_that_is_not_finite_is_named_in_a_captured_step_too():
    training = Training(OPTIMIZERS["adam"], True).run(5)
    before = training.arrays()
    bad = ndl.Tensor(np.full((20, 5), np.nan, np.float32), requires_grad=False)
    with pytest.raises(FloatingPointError, match=r"parameter '0\.weight' has NaN"):
        training.step(bad, training.y)
    for key, array in training.arrays().items():
        np.testing.assert_array_equal(array, before[key])
    training.run(2)
    assert training.captures() == 1


def test_parameters_without_a_gradient_keep_their_count():
    def train(compiled: bool) -> tuple[Any, Any]:
        a, b = (ndl.Tensor(np.full(3, n)) for n in (1.0, 2.0))
        opt = optim.Adam([a, b], 0.1)

        def step(both: Any) -> Any:
            loss = (a * a).sum() + (b * b).sum() * both if both is not None else (a * a).sum()
            loss.backward()
            opt.step()
            opt.reset_grad()
            return loss

        f = ndl.compile(step) if compiled else step
        for i in range(12):
            f(None if i < 5 else ndl.Tensor(1.0, requires_grad=False))
        return opt.params, opt.state_dict()

    (params, state), (wanted, of_plain) = train(True), train(False)
    assert state["missed/1"] == of_plain["missed/1"] == 5
    for p, q in zip(params, wanted, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_a_complex_parameter():
    def train(compiled: bool) -> Any:
        z = ndl.Tensor(np.array([1 + 2j, 3 - 1j]))
        opt = optim.Adam([z], 0.1)

        def step() -> Any:
            loss = (z * z.conj()).real.sum()
            loss.backward()
            opt.clip_grad_norm(1.0)
            opt.step()
            return loss

        f = ndl.compile(step) if compiled else step
        for _ in range(8):
            f()
        return z.numpy()

    np.testing.assert_array_equal(train(True), train(False))


def test_a_schedule_that_looks_at_the_step_cannot_be_captured_and_says_so():
    training = Training(lambda m: optim.SGD(m, lambda t: 0.1 if t < 5 else 0.01), True)
    with pytest.warns(ndl.CompileWarning, match="bool"):
        training.run(10)
    assert_equal(training, Training(lambda m: optim.SGD(m, lambda t: 0.1 if t < 5 else 0.01), False).run(10))


def test_a_layer_that_is_unfrozen_is_captured_once_more():
    def train(compiled: bool) -> Training:
        training = Training(OPTIMIZERS["adam"], compiled)
        for flag in (False, True):
            training.model.requires_grad_(flag, "1.*")
            training.opt.reset_grad()
            training.run(6)
        return training

    frozen = optim.Adam((model := nn.Linear(2, 2)).requires_grad_(False))
    assert [key for key in frozen.state_dict() if "/" in key] == []
    assert model.weight.needs == 0
    captured, plain = train(True), train(False)
    assert captured.captures() == 2
    assert_equal(captured, plain)
