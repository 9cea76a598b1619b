"""A step in place: whom it must not touch, what it allocates; gradients clipped, scaled, forgotten, and lost."""

from __future__ import annotations

import copy
import gc
import pickle
import tracemalloc
import warnings
from typing import Any

import needle as ndl
import numpy as np
import pytest
from needle import nn, optim

SMALL, LARGE = (4, 3), (120, 100)
"""Shapes of parameters that go through a pass together, and alone."""


def parameter(shape: tuple[int, ...] = SMALL, seed: int = 0) -> Any:
    return ndl.Tensor(np.random.default_rng(seed).standard_normal(shape))


def with_gradient(p: Any, seed: int = 1) -> Any:
    p.grad = np.random.default_rng(seed).standard_normal(p.shape)
    return p


# ------------------------------------------------------------------------------------- whose memory is written into


@pytest.mark.parametrize("shape", [SMALL, LARGE])
class TestInPlace:
    def test_what_nobody_else_holds_is_written_into(self, shape):
        p = with_gradient(parameter(shape))
        opt, before = optim.Adam([p]), id(p._array)
        for _ in range(3):
            opt.step()
        assert id(p._array) == before

    def test_a_gradient_recorded_before_the_step_is_that_of_the_old_value(self, shape):
        p = parameter(shape)
        old = p.numpy()
        y = (p * p * p).sum()
        y.backward()
        opt = optim.SGD([p], 0.1)
        opt.step()
        y.backward()
        np.testing.assert_allclose(p.grad.numpy(), 3 * old**2)
        opt.step()  # and by a gradient of the value before
        np.testing.assert_allclose(p.numpy(), old - 0.2 * 3 * old**2)

    def test_second_derivatives_after_the_step_are_those_of_the_old_value(self, shape):
        p = parameter(shape)
        old = p.numpy()
        y = (p * p * p).sum()
        y.backward()
        first = p.grad
        optim.SGD([p], 0.1).step()
        first.sum().backward()
        np.testing.assert_allclose(p.grad.numpy(), 6 * old)

    def test_a_view_that_was_recorded_keeps_its_value(self, shape):
        p = parameter(shape)
        old = p.numpy()
        y = (p.T.reshape(-1)[:5] ** 2).sum()
        y.backward()
        optim.SGD([p], 0.1).step()
        y.backward()
        wanted = np.zeros(old.size)
        wanted[:5] = 2 * old.T.reshape(-1)[:5]
        np.testing.assert_allclose(p.grad.numpy().T.reshape(-1), wanted)

    def test_detached_tensors_arrays_that_were_handed_out_and_their_views_keep_their_values(self, shape):
        for take in (
            lambda p: p.detach(),
            lambda p: p.data,
            lambda p: p.detach()[1:].detach(),
            lambda p: p.cached_data,
            lambda p: p.cached_data[1:],
            lambda p: memoryview(p.cached_data),
        ):
            p = with_gradient(parameter(shape))
            kept = take(p)
            before = np.array(kept.numpy() if hasattr(kept, "detach") else kept)
            optim.Adam([p], 0.1).step()
            np.testing.assert_array_equal(kept.numpy() if hasattr(kept, "detach") else kept, before)

    def test_what_was_written_into_a_live_array_is_stepped_from(self, shape):
        p = with_gradient(parameter(shape))
        p.cached_data[...] = 5.0
        optim.SGD([p], 1.0).step()
        np.testing.assert_array_equal(p.numpy(), 5.0 - p.grad.numpy())
        p.grad.cached_data[...] = 1.0
        now = p.numpy()
        optim.SGD([p], 1.0).step()
        np.testing.assert_array_equal(p.numpy(), now - 1.0)

    def test_checkpoints_and_compiled_functions_go_on_with_the_old_value(self, shape):
        for wrap in (ndl.checkpoint, ndl.compile):
            p, x = parameter(shape), parameter(shape, 2)
            old = p.numpy()
            f = wrap(lambda x, p=p: (x * p * p).sum())
            for _ in range(3):
                y = f(x)
                y.backward()
                optim.SGD([p], 0.1).step()
                y.backward()
                np.testing.assert_allclose(p.grad.numpy(), 2 * x.numpy() * old)
                old = p.numpy()

    def test_values_that_wait_in_lazy_mode_are_those_of_before(self, shape):
        p = with_gradient(parameter(shape))
        old = p.numpy()
        ndl.autograd.LAZY_MODE = True
        try:
            y = p * 2
            optim.SGD([p], 1.0).step()
        finally:
            ndl.autograd.LAZY_MODE = False
        np.testing.assert_array_equal(y.numpy(), 2 * old)
        np.testing.assert_array_equal(p.numpy(), old - p.grad.numpy())

    def test_a_parameter_whose_elements_were_assigned_to(self, shape):
        p = parameter(shape)
        with ndl.no_grad():
            p[0] = 1.0
        opt = optim.SGD([p], 0.5)
        for _ in range(2):
            now = p.numpy()
            (p * p).sum().backward()
            opt.step()
            np.testing.assert_allclose(p.numpy(), now - 0.5 * 2 * now)

    def test_a_part_of_another_array_is_not_written_into(self, shape):
        whole = parameter((3, *shape))
        with ndl.no_grad():
            part = whole[1].detach()
        p = ndl.Tensor(part.numpy())
        p.data = part
        before = whole.numpy()
        optim.SGD([with_gradient(p)], 0.5).step()
        np.testing.assert_array_equal(whole.numpy(), before)

    def test_nothing_is_recorded_and_no_history_is_kept(self, shape):
        p = parameter(shape)
        opt = optim.Adam([p])
        for _ in range(2):
            (p * p).sum().backward()
            opt.step()
        assert p.is_leaf()
        gc.collect()
        before = ndl.autograd.TENSOR_COUNTER
        for _ in range(20):
            (p * p).sum().backward()
            opt.clip_grad_norm(1.0)
            opt.step()
        gc.collect()
        assert before == ndl.autograd.TENSOR_COUNTER

    def test_a_derivative_through_a_step_is_refused_and_never_lost(self, shape):
        def trained(x: Any) -> Any:
            x.grad = np.ones(shape)
            opt = optim.SGD([x], 0.1)
            opt.step()
            return (x * x).sum()

        with pytest.raises((TypeError, ValueError)):
            ndl.grad(trained)(parameter(shape))


def test_nothing_of_a_parameters_size_is_allocated():
    p = ndl.Tensor(np.zeros(2_000_000, np.float32))
    p.grad = np.ones(2_000_000, np.float32)
    opt = optim.AdamW([p])
    opt.step()
    tracemalloc.start()
    opt.step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < p.nbytes / 4


def test_tensors_of_the_optimizer_are_few():
    model = ndl.nn.Sequential(*[ndl.nn.Linear(4, 4) for _ in range(10)])
    gc.collect()
    before = ndl.autograd.TENSOR_COUNTER
    opt = optim.Adam(model)
    assert ndl.autograd.TENSOR_COUNTER - before <= 2 * len(opt.params) + 2


def test_it_is_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        before = ndl.autograd.TENSOR_COUNTER
        p = with_gradient(parameter())
        opt, ema = optim.Adam([p]), optim.EMA([p])
        opt.step()
        ema.update()
        del p, opt, ema
        assert before == ndl.autograd.TENSOR_COUNTER
    finally:
        gc.enable()


def test_watchers_are_told_of_steps():
    p = with_gradient(parameter())
    with ndl.profile():
        before = p.numpy()
        optim.SGD([p], 0.1).step()
    assert (p.numpy() != before).all()


def test_parameters_without_a_gradient_are_left_out_and_keep_their_own_count():
    a, b = parameter(), parameter(LARGE)
    opt = optim.Adam([a, b], 0.1)
    for _ in range(3):
        with_gradient(a)
        opt.step()
    b_before = b.numpy()
    np.testing.assert_array_equal(opt.state_dict()["exp_avg/1"], 0)
    with_gradient(b)
    opt.step()
    alone = ndl.Tensor(b_before)
    first = optim.Adam([with_gradient(alone)], 0.1)
    first.step()
    np.testing.assert_array_equal(b.numpy(), alone.numpy())  # its first step, with the corrections of a first step
    assert opt.state_dict()["missed/1"] == 3


def test_frozen_parameters_get_their_state_when_they_are_trained():
    model = ndl.nn.Sequential(ndl.nn.Linear(3, 3), ndl.nn.Linear(3, 1))
    model.requires_grad_(False, "0.*")
    opt = optim.Adam(model)
    x = ndl.Tensor(np.ones((2, 3), np.float32))
    before = model[0].weight.numpy()
    model(x).sum().backward()
    opt.step()
    assert "exp_avg/0.weight" not in opt.state_dict()
    np.testing.assert_array_equal(model[0].weight.numpy(), before)
    model.requires_grad_(True)
    model(x).sum().backward()
    opt.step()
    assert (model[0].weight.numpy() != before).any()
    assert opt.state_dict()["missed/0.weight"] == 1


def test_a_model_in_another_dtype_is_stepped_on():
    model = ndl.nn.Linear(3, 2)
    opt = optim.Adam(model)
    for dtype in ("float32", "float64", "float16"):
        model.to(dtype)
        model(ndl.Tensor(np.ones((2, 3)))).sum().backward()
        before = model.weight.numpy()
        opt.step()
        assert model.weight.dtype == dtype
        assert (model.weight.numpy() != before).all()


def test_deepcopy_and_pickle_go_on_alike():
    model = ndl.nn.Linear(3, 2)
    opt = optim.Adam(model, optim.schedules.plateau(0.1), amsgrad=True)

    def train(model: Any, opt: Any) -> Any:
        for _ in range(3):
            model(ndl.Tensor(np.ones((2, 3)))).sum().backward()
            opt.step()
        return model.weight.numpy()

    train(model, opt)
    other_model, other = copy.deepcopy((model, opt))
    np.testing.assert_array_equal(train(other_model, other), train(model, opt))
    assert other.params[0] is other_model.weight
    plain = optim.Adam(model, 0.1)
    again_model, again = pickle.loads(pickle.dumps((model, plain)))
    np.testing.assert_array_equal(train(again_model, again), train(model, plain))


# ------------------------------------------------------------------------------------------------------------ gradients


class TestClipping:
    def test_the_norm_is_over_all_parameters_and_the_scale_is_one(self):
        ps = [with_gradient(parameter(shape, i), i) for i, shape in enumerate([SMALL, LARGE, ()])]
        before = [p.grad.numpy() for p in ps]
        norm = np.sqrt(sum((g**2).sum() for g in before))
        found = optim.SGD(ps).clip_grad_norm(0.5)
        assert isinstance(found, ndl.Tensor)
        assert found.item() == pytest.approx(norm)
        for p, g in zip(ps, before, strict=True):
            np.testing.assert_allclose(p.grad.numpy(), g * 0.5 / (norm + 1e-6))

    def test_smaller_ones_stay_as_they_are_and_the_course_default_is_a_quarter(self):
        p = ndl.Tensor([3.0, 4.0])
        p.grad = [0.12, 0.16]
        opt = optim.SGD([p])
        assert opt.clip_grad_norm().item() == pytest.approx(0.2)
        assert p.grad.tolist() == [0.12, 0.16]
        p.grad = [0.3, 0.4]
        opt.clip_grad_norm()
        np.testing.assert_allclose(p.grad.numpy(), [0.15, 0.2], rtol=1e-5)

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
    def test_squares_do_not_overflow(self, dtype):
        big = np.finfo(dtype).max / 4
        p = ndl.Tensor(np.zeros(3), dtype=dtype)
        p.grad = np.full(3, big, dtype)
        opt = optim.SGD([p])
        assert opt.clip_grad_norm(1.0).item() == pytest.approx(np.sqrt(3) * big, rel=1e-3)
        np.testing.assert_allclose(abs(p.grad.numpy()), 3**-0.5, rtol=2e-2)

    @pytest.mark.parametrize(("bad", "name"), [(np.nan, "NaN"), (np.inf, "inf"), (-np.inf, "inf")])
    def test_what_is_not_finite_is_named_and_nothing_changes(self, bad, name):
        model = ndl.nn.Sequential(ndl.nn.Linear(2, 2), ndl.nn.Linear(2, 1))
        opt = optim.SGD(model)
        for p in model.parameters():
            p.grad = np.ones(p.shape, np.float32)
        model[1].weight.grad = np.array([[1.0], [bad]], np.float32)
        with pytest.raises(FloatingPointError, match=f"'1.weight' has {name}"):
            opt.clip_grad_norm(1.0)
        np.testing.assert_array_equal(model[0].weight.grad.numpy(), 1)

    @pytest.mark.parametrize("bad", [0, -1.0, float("nan")])
    def test_max_norm_is_positive(self, bad):
        with pytest.raises(ValueError, match="max_norm must be > 0"):
            optim.SGD([parameter()]).clip_grad_norm(bad)

    def test_without_gradients_it_is_zero(self):
        assert optim.SGD([parameter()]).clip_grad_norm(1.0).item() == 0

    def test_a_gradient_that_somebody_holds_is_not_written_into(self):
        p = parameter()
        y = (p * p * p).sum()
        y.backward()
        held, before = p.grad, p.grad.numpy()
        opt = optim.SGD([p])
        opt.clip_grad_norm(0.1)
        np.testing.assert_array_equal(held.numpy(), before)
        held.sum().backward()  # and it can be differentiated, as before
        np.testing.assert_allclose(p.grad.numpy(), 6 * p.numpy())

    def test_many_small_ones_and_large_ones_add_up(self):
        ps = [with_gradient(parameter((7,), i), i) for i in range(9000)] + [with_gradient(parameter((400, 300)))]
        norm = np.sqrt(sum((p.grad.numpy() ** 2).sum() for p in ps))
        assert optim.SGD(ps).clip_grad_norm(1e9).item() == pytest.approx(norm, rel=1e-12)


def test_micro_batches_with_scale_grad_equal_the_whole_batch():
    x, y = np.random.default_rng(0).standard_normal((2, 12, 3))

    def trained(parts: list[int]) -> Any:
        w = ndl.Tensor(np.ones((3, 3)))
        opt = optim.Adam([w], 0.1)
        for _ in range(4):
            opt.reset_grad()
            for rows in np.split(np.arange(12), parts):
                ((ndl.Tensor(x[rows]) @ w - y[rows]) ** 2).sum().backward(accumulate=True)
            opt.scale_grad(1 / 12)
            opt.step()
        return w.numpy()

    np.testing.assert_allclose(trained([1, 5, 6]), trained([]), rtol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_four_accumulated_micro_batches_equal_the_whole_batch(compiled):
    """A net, with the mean loss of each part over the number of parts."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((32, 6)).astype(np.float32), rng.integers(0, 3, 32)

    def trained(parts: int) -> Any:
        np.random.seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
        opt = optim.AdamW(model, 0.01)
        loss_of = nn.SoftmaxLoss()

        def step(x: Any, y: Any) -> None:
            opt.reset_grad()
            for rows in np.split(np.arange(32), parts):
                (loss_of(model(x[rows]), y[rows]) / parts).backward(accumulate=True)
            opt.step()

        take = ndl.compile(step) if compiled else step
        gradients = []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(5):
                take(*[ndl.Tensor(a, requires_grad=False) for a in (x, y)])
                gradients += [p.grad.numpy() for p in model.parameters()]
        return [*gradients[:4], *[p.numpy() for p in model.parameters()]]

    for found, expected in zip(trained(4), trained(1), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_scale_grad_by_a_tensor_keeps_the_dtype():
    p = ndl.Tensor(np.ones(3, np.float32))
    p.grad = np.ones(3, np.float32)
    optim.SGD([p]).scale_grad(ndl.Tensor(0.5))
    assert p.grad.dtype == np.float32
    assert p.grad.tolist() == [0.5] * 3


def test_reset_grad_and_zero_grad_forget():
    p = with_gradient(parameter())
    opt = optim.SGD([p])
    for forget in (opt.reset_grad, opt.zero_grad):
        with_gradient(p)
        forget()
        assert p.grad is None
        before = p.numpy()
        opt.step()
        np.testing.assert_array_equal(p.numpy(), before)


# --------------------------------------------------------------------------------------------- gradients that are lost


class TestLostGradients:
    """Each case trains; those that lose a gradient warn once."""

    def loop(self, backward: Any, forget: Any = None, read: Any = None, batches: int = 2, steps: int = 3) -> int:
        w, b = parameter(), ndl.Tensor([0.0, 0.0, 0.0])
        opt = optim.SGD([w, b], 0.01)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(steps):
                if forget is not None:
                    forget(opt, [w, b])
                for i in range(batches):
                    loss = (ndl.Tensor(np.full((2, 4), i + 1.0), requires_grad=False) @ w + b).sum()
                    backward(loss)
                    if read is not None:
                        read(w, i)
                opt.step()
        messages = [str(w.message) for w in caught]
        assert all("accumulate=True" in message for message in messages)
        assert all(w.filename == __file__ for w in caught)
        return len(messages)

    def test_two_backwards_without_a_step_warn_once(self):
        assert self.loop(lambda loss: loss.backward()) == 1

    def test_so_they_do_where_gradients_are_reset_first(self):
        assert self.loop(lambda loss: loss.backward(), lambda opt, ps: opt.reset_grad()) == 1
        assert self.loop(lambda loss: loss.backward(), lambda opt, ps: [setattr(p, "grad", None) for p in ps]) == 1

    def test_so_they_do_in_the_first_step(self):
        assert self.loop(lambda loss: loss.backward(), steps=1) == 1

    def test_one_backward_a_step_does_not_warn(self):
        assert self.loop(lambda loss: loss.backward(), batches=1) == 0
        assert self.loop(lambda loss: loss.backward(), lambda opt, ps: opt.reset_grad(), batches=1) == 0

    def test_accumulating_does_not_warn(self):
        def accumulate(loss: Any) -> None:
            loss.backward(accumulate=True)

        assert self.loop(accumulate, lambda opt, ps: opt.reset_grad(), batches=4) == 0

    def test_gradients_that_were_read_do_not_warn(self):
        total: list[Any] = []
        assert self.loop(lambda loss: loss.backward(), read=lambda w, i: total.append(w.grad.numpy())) == 0

    def test_gradients_reset_in_between_do_not_warn(self):
        w = parameter()
        opt = optim.SGD([w], 0.01)
        for _ in range(3):
            (w * w).sum().backward()
            opt.reset_grad()
            (w * w).sum().backward()
            opt.step()

    def test_two_optimizers_of_the_same_parameters_do_not_warn(self):
        w = parameter()
        first, second = optim.SGD([w], 0.01), optim.Adam([w])
        for i in range(6):
            (w * w).sum().backward()
            (first, second)[i % 2].step()

    def test_clipping_and_scaling_in_between_do_not_warn(self):
        w = parameter()
        opt = optim.SGD([w], 0.01)
        for _ in range(4):
            (w * w).sum().backward()
            opt.clip_grad_norm(0.1)
            opt.scale_grad(0.5)
            opt.step()

    def test_captured_steps_do_not_warn(self):
        w = parameter()
        opt = optim.SGD([w], 0.01)

        @ndl.compile
        def step() -> Any:
            loss = (w * w).sum()
            loss.backward()
            opt.step()
            return loss

        for _ in range(5):
            step()

    def test_without_an_optimizer_nobody_watches(self):
        w = parameter()
        optim.SGD([w], 0.01).step()
        for _ in range(3):
            (w * w).sum().backward()


def test_a_step_that_fails_leaves_nothing_for_the_next():
    a, b = with_gradient(parameter(), 1), with_gradient(parameter(LARGE), 2)
    rates = iter([0.1, 0.1])
    opt = optim.SGD([{"params": [a]}, {"params": [b], "lr": lambda step: [next(rates)][step * 0]}], 0.1)
    opt.step()
    opt.step()
    before = a.numpy()
    with pytest.raises(StopIteration):
        opt.step()
    np.testing.assert_array_equal(a.numpy(), before)
    opt.param_groups[1]["lr"] = 0.1
    opt.step()
    np.testing.assert_array_equal(a.numpy(), before - 0.1 * a.grad.numpy())
