"""Schedules: values, PyTorch's where it has the same, and how optimizers follow them."""

from __future__ import annotations

from typing import Any

import needle as ndl
import numpy as np
import pytest
from needle import optim
from needle.optim import schedules as s

ALL = {
    "constant": s.constant(0.3),
    "linear": s.linear(0.1, 0.5, 4),
    "cosine": s.cosine(1.0, 10, warmup=2, to=0.1),
    "step": s.step(1.0, 3, 0.5),
    "exponential": s.exponential(1.0, 0.5),
    "one_cycle": s.one_cycle(1.0, 20),
    "join": s.join((s.linear(0, 1, 2), 2), (s.exponential(1.0, 0.5), 3), (s.constant(7.0), None)),
    "piecewise": s.piecewise({5: 0.2, 0: 1.0, 8: 0.1}),
    "plateau": s.plateau(0.3),
}


def values(schedule: Any, n: int) -> list[float]:
    return [schedule(i) for i in range(n)]


def test_their_values():
    assert values(ALL["constant"], 3) == [0.3] * 3
    np.testing.assert_allclose(values(ALL["linear"], 6), [0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    np.testing.assert_allclose(values(ALL["step"], 7), [1, 1, 1, 0.5, 0.5, 0.5, 0.25])
    np.testing.assert_allclose(values(ALL["exponential"], 4), [1, 0.5, 0.25, 0.125])
    np.testing.assert_allclose(values(ALL["join"], 7), [0, 0.5, 1, 0.5, 0.25, 7, 7])
    np.testing.assert_allclose(values(ALL["piecewise"], 10), [1] * 5 + [0.2] * 3 + [0.1] * 2)
    down = 0.1 + 0.9 * (1 + np.cos(np.pi * np.arange(9) / 8)) / 2
    np.testing.assert_allclose(values(ALL["cosine"], 13), [0.5, 1, *down, 0.1, 0.1])
    cycle = values(ALL["one_cycle"], 20)
    assert (cycle[0], cycle[5]) == (pytest.approx(1 / 25), 1.0)
    assert cycle[19] == pytest.approx(1 / 25e4)
    assert cycle[:6] == sorted(cycle[:6])
    assert cycle[5:] == sorted(cycle[5:], reverse=True)


@pytest.mark.parametrize("name", ALL)
def test_a_tensor_gives_the_same_to_the_last_bit(name):
    for i in range(25):
        with ndl.no_grad():
            found = ALL[name](ndl.Tensor(float(i)))
        found = found.item() if hasattr(found, "item") else found
        assert found == ALL[name](i)
        assert type(ALL[name](i)) is float


@pytest.mark.parametrize("name", ALL)
def test_they_are_drawn(name):
    matplotlib: Any = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    axes = ALL[name].plot(12)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), values(ALL[name], 12))
    assert axes.get_title() == repr(ALL[name])
    matplotlib.pyplot.close("all")


def test_those_of_pytorch():
    torch: Any = pytest.importorskip("torch")
    o = torch.optim

    def peers(make: Any, lr: float, n: int) -> list[float]:
        opt = o.SGD([torch.zeros(1, requires_grad=True)], lr)
        schedule, found = make(opt), []
        for _ in range(n):
            found.append(opt.param_groups[0]["lr"])
            opt.step()
            schedule.step()
        return found

    pairs = [
        (s.step(0.1, 4), lambda opt: o.lr_scheduler.StepLR(opt, 4)),
        (s.exponential(0.1, 0.9), lambda opt: o.lr_scheduler.ExponentialLR(opt, 0.9)),
        (s.cosine(0.1, 20, to=0.01), lambda opt: o.lr_scheduler.CosineAnnealingLR(opt, 20, 0.01)),
        (s.linear(0.05, 0.1, 5), lambda opt: o.lr_scheduler.LinearLR(opt, 0.5, 1.0, 5)),
        (s.one_cycle(0.4, 21), lambda opt: o.lr_scheduler.OneCycleLR(opt, 0.4, total_steps=21)),
        (
            s.one_cycle(0.4, 30, 0.5, 0.1),
            lambda opt: o.lr_scheduler.OneCycleLR(opt, 0.4, 30, None, None, 0.5, div_factor=4),
        ),
    ]
    for mine, make in pairs:
        np.testing.assert_allclose(values(mine, 20), peers(make, 0.1, 20), rtol=1e-9)
    metrics = np.random.default_rng(0).integers(0, 5, 60) / 5 + np.linspace(1, 0.5, 60)
    for options in ({}, {"cooldown": 3}, {"min_lr": 0.02}, {"mode": "max"}):
        opt = o.SGD([torch.zeros(1, requires_grad=True)], 0.1)
        peer = o.lr_scheduler.ReduceLROnPlateau(opt, factor=0.5, patience=2, **options)
        own = {"highest": options.get("mode") == "max", "cooldown": options.get("cooldown", 0)}
        mine = s.plateau(0.1, 0.5, 2, lowest_rate=options.get("min_lr", 0.0), **own)
        for metric in metrics:
            peer.step(metric)
            mine.report(metric)
            assert mine(0) == pytest.approx(opt.param_groups[0]["lr"], rel=1e-12)


def test_plateau_waits_rests_and_ends():
    rate, seen = s.plateau(1.0, 0.5, 2, cooldown=2, lowest_rate=0.2), []
    for metric in [3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]:
        rate.report(metric)
        seen.append(rate(0))
    assert seen == [1.0] * 4 + [0.5] * 5 + [0.25] * 5 + [0.2] * 2
    better = s.plateau(1.0, 0.5, 0, highest=True)
    for metric in (0.1, 0.2, 0.3):
        better.report(ndl.Tensor(metric))
    assert better(0) == 1.0
    better.report(0.3)
    assert better(0) == 0.5


def test_an_optimizer_follows_its_schedule():
    w = ndl.Tensor([0.0])
    opt = optim.SGD([w], s.piecewise({0: 1.0, 2: 10.0}))
    seen = []
    for _ in range(4):
        seen.append(opt.lr)
        w.grad = [1.0]
        before = w.item()
        opt.step()
        assert before - w.item() == seen[-1]
    assert seen == [1.0, 1.0, 10.0, 10.0]
    opt.lr = 0.5
    assert opt.lr == opt.param_groups[0]["lr"] == 0.5
    opt.lr = s.linear(0, 4.0, 4)
    assert opt.lr == 4.0  # at step 4


def test_any_function_of_the_step_is_a_schedule_and_is_handed_whole_numbers():
    table = [0.1, 0.2, 0.3]
    opt = optim.SGD([ndl.Tensor([0.0])], lambda step: table[step])
    for rate in table:
        assert opt.lr == rate
        opt.params[0].grad = [1.0]
        opt.step()
    with pytest.raises(IndexError):
        opt.step()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: s.linear(0, 1, 0), "linear: steps must be > 0"),
        (lambda: s.cosine(1, 10, warmup=10), "warmup must be at least 0 and less than steps=10"),
        (lambda: s.step(1, 0), "step: every must be > 0"),
        (lambda: s.exponential(1, -0.5), "exponential: by must be > 0"),
        (lambda: s.one_cycle(1, 0), "one_cycle: steps must be > 0"),
        (s.join, "at least one"),
        (lambda: s.join((s.constant(1), None), (s.constant(1), 3)), "all but the last need a number of steps"),
        (lambda: s.piecewise({3: 1.0}), "needs the rate from step 0 on"),
        (lambda: s.plateau(1, 2.0), "by must be between 0 and 1"),
    ],
)
def test_bad_schedules(make, match):
    with pytest.raises(ValueError, match=match):
        make()
    with pytest.raises(TypeError, match="pairs"):
        s.join(s.constant(1))  # type: ignore[arg-type]
