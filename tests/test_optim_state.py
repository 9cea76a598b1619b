"""What is saved of an optimizer and of averages, and taken back by name, all or nothing."""

from __future__ import annotations

import json
from typing import Any

import needle as ndl
import numpy as np
import pytest
from needle import nn, optim
from needle.optim import schedules as s


def trained(model: Any, opt: Any, steps: int = 3, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        model(ndl.Tensor(rng.standard_normal((5, 3)).astype(np.float32))).sum().backward()
        opt.step()
    return opt


def model_of(sizes: Any = ((3, 4), (4, 2))) -> Any:
    return nn.Sequential(*[nn.Linear(*size) for size in sizes])


class Forwards(nn.Module):
    def __init__(self):
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.second(self.first(x))


class Backwards(Forwards):
    def __init__(self):
        self.second, self.first = nn.Linear(3, 3), nn.Linear(3, 3)


def test_what_is_in_a_state():
    model = model_of()
    opt = trained(model, optim.Adam(model, 0.01))
    state = opt.state_dict()
    slots = [f"{slot}/{name}" for name, _ in model.named_parameters() for slot in ("exp_avg", "exp_avg_sq")]
    assert [key for key in state if "/" in key] == slots
    assert state["step"] == 3
    (group,) = state["groups"]
    assert group["params"] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert group["lr"] == 0.01
    json.dumps([state["step"], state["groups"], state["schedules"]])
    state["exp_avg/0.weight"][...] = 7  # a copy
    assert (opt.state_dict()["exp_avg/0.weight"] != 7).all()


def test_training_goes_on_bit_for_bit():
    for make in (lambda m: optim.Adam(m, s.cosine(0.1, 20)), lambda m: optim.SGD(m, 0.1, 0.9), optim.Muon):
        whole = model_of()
        start = whole.state_dict()
        trained(whole, make(whole), 3)
        opt = make(whole)
        whole.load_state_dict(start)
        trained(whole, opt, 6)
        first, second = model_of(), model_of()
        first.load_state_dict(start)
        saved = trained(first, make(first), 3).state_dict()
        second.load_state_dict(first.state_dict())
        resumed = make(second)
        assert resumed.load_state_dict(saved).complete
        rng = np.random.default_rng(0)
        batches = [rng.standard_normal((5, 3)).astype(np.float32) for _ in range(6)]
        for x in batches[3:]:
            second(ndl.Tensor(x)).sum().backward()
            resumed.step()
        for name, array in whole.state_dict().items():
            np.testing.assert_array_equal(second.state_dict()[name], array)


def test_it_follows_names_where_layers_are_in_another_order():
    one, other = Forwards(), Backwards()
    state = trained(one, optim.Adam(one)).state_dict()
    opt = optim.Adam(other)
    assert opt.param_groups[0]["names"][0] == "second.weight"
    opt.load_state_dict(state)
    found = opt.state_dict()
    for key, array in state.items():
        if "/" in key:
            np.testing.assert_array_equal(found[key], array)


class Renamed(nn.Module):
    """Layers of different shapes in another order of definition than that of their use."""

    def __init__(self, order: str):
        sizes = {"a": (3, 6), "b": (6, 5), "c": (5, 2)}
        for name in order:
            setattr(self, name, nn.Linear(*sizes[name]))

    def forward(self, x):
        return self.c(ndl.tanh(self.b(ndl.tanh(self.a(x)))))


@pytest.mark.parametrize(
    "make", [lambda m: optim.Adam(m, 0.01), lambda m: optim.SGD(m, 0.1, momentum=0.9), lambda m: optim.EMA(m, 0.9)]
)
@pytest.mark.parametrize("order", ["cab", "bca"])
def test_moments_are_at_the_right_layers_where_these_are_in_another_order(make, order):
    """Training that goes on in a class with its layers in another order goes on as it would have."""
    one, other = Renamed("abc"), Renamed(order)
    states, steps = [], []
    for model in (one, other):
        thing = make(model)
        opt = thing if isinstance(thing, optim.Optimizer) else optim.Adam(model, 0.01)
        if model is one:
            trained(one, opt)
        else:
            other.load_state_dict(one.state_dict())
            opt.load_state_dict(steps[0].state_dict())
            if thing is not opt:
                thing.load_state_dict(states[0].state_dict())
        states.append(thing)
        steps.append(opt)
        if thing is not opt and model is one:
            thing.update()
    for model, thing, opt in zip((one, other), states, steps, strict=True):
        trained(model, opt, 3, seed=9)
        if thing is not opt:
            thing.update()
    for first, second in [(one, other), (steps[0], steps[1]), (states[0], states[1])]:
        found, expected = second.state_dict(), first.state_dict()
        for key, array in expected.items():
            if hasattr(array, "shape"):
                np.testing.assert_array_equal(found[key], array, err_msg=key)


def test_a_load_that_fails_changes_nothing_and_reports_everything():
    model, other = model_of(), model_of([(3, 4), (4, 5)])
    opt = trained(model, optim.Adam(model, 0.01))
    before = opt.state_dict()
    state = trained(other, optim.Adam(other, 0.5), 7).state_dict()
    state["exp_avg/2.weight"] = np.zeros(3)
    del state["exp_avg/0.bias"]
    with pytest.raises(nn.LoadError) as caught:
        opt.load_state_dict(state)
    report = caught.value.report
    assert report.wrong_shape["exp_avg/1.weight"] == ((4, 2), (4, 5))
    assert list(report.unexpected) == ["exp_avg/2.weight"]
    assert list(report.missing) == ["exp_avg/0.bias"]
    assert "nothing was changed" in str(caught.value)
    for key, value in opt.state_dict().items():
        if "/" in key:
            np.testing.assert_array_equal(value, before[key])
    assert (opt.lr, opt.steps) == (0.01, 3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda state: state["groups"][0]["params"].append("head.weight"), "head.weight"),
        (lambda state: state["groups"][0]["params"].remove("0.bias"), "0.bias"),
        (lambda state: state["groups"].append({"params": [], "lr": 0.1}), "the state has 2, the optimizer 1"),
        (lambda state: state["groups"][0].update(rho=0.1), "no option 'rho'"),
        (lambda state: state.update({"momentum/0.weight": np.zeros((3, 4))}), "momentum/0.weight"),
        (lambda state: state.update({"exp_avg/0.weight": np.zeros((3, 4), complex)}), "needs real numbers"),
    ],
)
def test_what_does_not_fit(change, match):
    model = model_of()
    opt = trained(model, optim.Adam(model))
    state = opt.state_dict()
    change(state)
    with pytest.raises(nn.LoadError, match=match):
        opt.load_state_dict(state)


def test_what_is_no_state():
    opt = optim.Adam(model_of())
    for state in ({}, 3, {"step": 1}):
        with pytest.raises(TypeError, match=r"needs what Adam.state_dict\(\) returned"):
            opt.load_state_dict(state)


def test_rates_and_options_are_those_of_the_state_but_a_schedule_stays():
    model = model_of()
    state = optim.SGD(model, 0.3, 0.5).state_dict()
    opt = optim.SGD(model, 0.1, 0.9)
    opt.load_state_dict(state)
    assert (opt.lr, opt.param_groups[0]["momentum"]) == (0.3, 0.5)
    follows = trained(model, optim.SGD(model, s.linear(0, 1, 10), 0.5))
    saved = follows.state_dict()
    again = optim.SGD(model, s.linear(0, 1, 10), 0.5)
    again.load_state_dict(saved)
    assert again.lr == follows.lr == pytest.approx(0.3)
    plain = optim.SGD(model, 0.25, 0.5)
    plain.load_state_dict(saved)
    assert plain.lr == 0.25


def test_a_plateau_is_saved_with_its_optimizer():
    model = model_of()
    rates = s.plateau(0.1, 0.5, 1), s.plateau(0.1, 0.5, 1)
    opt, other = (optim.SGD(model, rate) for rate in rates)
    for metric in (1.0, 2.0, 2.0, 2.0):
        rates[0].report(metric)
    other.load_state_dict(json.loads(json.dumps(opt.state_dict())))
    assert other.lr == opt.lr == 0.05
    for rate in rates:
        rate.report(2.0)
    assert other.lr == opt.lr


def test_a_tied_parameter_is_saved_once_and_loaded_under_either_name():
    model = model_of([(3, 3), (3, 3)])
    model[1].weight = model[0].weight
    opt = trained(model, optim.Adam([*model.named_parameters(), ("1.weight", model[1].weight)]))
    state = opt.state_dict()
    assert "exp_avg/1.weight" not in state
    state["exp_avg/1.weight"] = state.pop("exp_avg/0.weight") + 1
    opt.load_state_dict(state)
    np.testing.assert_array_equal(opt.state_dict()["exp_avg/0.weight"], state["exp_avg/1.weight"])


def test_a_state_before_any_step_begins_anew():
    model = model_of()
    fresh = optim.Adam(model).state_dict()
    opt = trained(model, optim.Adam(model))
    opt.load_state_dict(fresh)
    assert opt.steps == 0
    assert all((a == 0).all() for key, a in opt.state_dict().items() if "/" in key)


# ------------------------------------------------------------------------------------------------------------ averages


def test_averages_are_applied_and_taken_back():
    model = model_of()
    opt, ema = optim.SGD(model, 0.5), optim.EMA(model, 0.9)
    wanted = model.state_dict()
    for seed in range(4):
        trained(model, opt, 1, seed)
        ema.update()
        wanted = {name: 0.9 * wanted[name] + 0.1 * array for name, array in model.state_dict().items()}
    own = model.state_dict()
    with ema.applied() as applied:
        assert applied is model
        for name, array in model.state_dict().items():
            np.testing.assert_allclose(array, wanted[name], rtol=1e-5)
        with pytest.raises(RuntimeError, match="applied"):
            ema.update()
        with pytest.raises(ValueError, match="already"), ema.applied():
            pass
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, own[name])
    trained(model, opt, 1)
    ema.update()


def test_an_error_within_applied_gives_the_parameters_back():
    model = model_of()
    ema, own = optim.EMA(model), model.state_dict()
    model[0].weight.data = model[0].weight + 1
    with pytest.raises(KeyError), ema.applied():
        np.testing.assert_array_equal(model[0].weight.numpy(), own["0.weight"])
        raise KeyError
    np.testing.assert_array_equal(model[0].weight.numpy(), own["0.weight"] + 1)


def test_buffers_that_change_within_applied_are_put_back():
    class Counting(nn.Module):
        def __init__(self):
            self.weight, self.mean = nn.Parameter(np.ones(2)), nn.Buffer(np.zeros(2))

    model = Counting()
    ema = optim.EMA(model)
    with ema.applied():
        model.mean.data = np.ones(2)
    np.testing.assert_array_equal(model.mean.numpy(), 0)


def test_warmup_averages_early_values_evenly():
    w = ndl.Tensor([0.0])
    ema = optim.EMA([w], 0.999, warmup=True)
    value = 0.0
    for n in range(5):
        w.data = np.array([float(n + 1)])
        ema.update()
        decay = (1 + n) / (10 + n)
        value = decay * value + (1 - decay) * (n + 1)
    assert ema.averages()["0"].item() == pytest.approx(value)


def test_half_precision_is_averaged_in_float32():
    w = ndl.Tensor(np.ones(3, np.float16))
    ema = optim.EMA([w], 0.999)
    w.data = np.full(3, 1.001, np.float16)
    for _ in range(5):
        ema.update()
    average = ema.averages()["0"]
    assert average.dtype == np.float32
    np.testing.assert_allclose(average, 1 + (1 - 0.999**5) * (np.float16(1.001).astype(float) - 1), rtol=3e-7)
    with ema.applied():
        assert w.dtype == np.float16


def test_averages_are_saved_and_loaded_by_name():
    one, other = Forwards(), Backwards()
    ema, again = optim.EMA(one), optim.EMA(other)
    ema.update()
    state = ema.state_dict()
    again.load_state_dict(state)
    for name, array in again.averages().items():
        np.testing.assert_array_equal(array, state[f"average/{name}"])
    assert again.state_dict()["step"] == 1
    before = again.averages()
    bad = {**state, "average/first.weight": np.zeros((2, 2)), "average/third": np.zeros(1)}
    del bad["average/second.bias"]
    with pytest.raises(nn.LoadError) as caught:
        again.load_state_dict(bad)
    report = caught.value.report
    assert (len(report.wrong_shape), len(report.unexpected), len(report.missing)) == (1, 1, 1)
    for name, array in again.averages().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decay_is_in_range(decay):
    with pytest.raises(ValueError, match="decay must be at least 0 and less than 1"):
        optim.EMA([ndl.Tensor([1.0])], decay)
