"""The engine: what is recorded, the sweep that differentiates it, and the promises that are made about both."""

from __future__ import annotations

import asyncio
import copy
import gc
import itertools
import math
import pickle
import threading
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from operator import eq, ne

import needle
import numeric
import numpy as np
import pytest
from needle import Tensor, TensorOp, TensorTupleOp, autograd, ops
from needle.autograd import find_topo_sort
from numpy.testing import assert_allclose, assert_array_equal

# ------------------------------------------------------------------------------------- seeds of misunderstandings


def test_batched_product_of_products_has_tensorflows_gradients():
    x = Tensor([[[1.0, 1], [2, 3]], [[4, 5], [6, 7]]])
    y = Tensor([[3.0, -7], [-1, 5]])
    z = Tensor([[[1.0, 1], [2, 2]], [[3, 3], [-1, -1]]])
    ((x @ y) @ z).backward()
    assert_array_equal(x.grad.numpy(), [[[-22, 18], [-22, 18]], [[32, -16], [32, -16]]])
    assert_array_equal(y.grad.numpy(), [[66, -8], [80, -8]])
    assert_array_equal(z.grad.numpy(), [[[5, 5], [-1, -1]], [[18, 18], [-10, -10]]])


def test_a_node_used_along_several_paths():
    x1, x2, x3 = Tensor(2.0), Tensor(3.0), Tensor(5.0)
    (x1 + x2 * x3 * x1).backward()
    assert [x1.grad.item(), x2.grad.item(), x3.grad.item()] == [1 + 15, 10, 6]

    z = x2 * x2 + x2 + x3 + 3
    y = z * z + x3
    y.backward()
    assert y.item() == 20.0**2 + 5
    assert x2.grad.item() == 2 * 20 * (2 * 3 + 1)
    assert x3.grad.item() == 2 * 20 + 1


def test_logarithm_product_and_sine():
    x1, x2 = Tensor(2.0), Tensor(5.0)
    f = ops.log(x1) + x1 * x2 - ops.sin(x2)
    f.backward()
    assert_allclose([f.item(), x1.grad.item(), x2.grad.item()], [11.652, 5.5, 1.716], atol=5e-4)
    assert_allclose(x2.grad.item(), 2 - math.cos(5), rtol=1e-15)


def test_derivatives_one_to_four_by_differentiating_the_gradient():
    def derivatives(function, at):
        x = Tensor(at)
        output, kept, found = function(x), [], []
        for _ in range(4):
            output.backward()
            kept.append(output)  # a gradient can be differentiated as long as what it came from lives
            output = x.grad
            found.append(output.item())
        return found

    assert_allclose(derivatives(lambda x: ops.exp(-(x**2)), 0.0), [0, -2, 0, 12], atol=1e-12)
    assert derivatives(lambda x: x**3, 0.0) == [0, 0, 6, 0]
    assert derivatives(lambda x: x * x * x, 2.0) == [12, 12, 6, 0]
    assert_allclose(derivatives(ops.sin, 0.7), [math.cos(0.7), -math.sin(0.7), -math.cos(0.7), math.sin(0.7)])


def test_a_gradient_in_an_expression_is_differentiated_through():
    """grad(lambda x: x * grad(lambda y: x + y)(x)): the inner derivative is 1, so the outer is, too."""
    x = Tensor(5.0)
    y = Tensor(5.0)
    inner = x + y
    inner.backward()
    outer = x * y.grad
    outer.backward()
    assert x.grad.item() == 1

    x = Tensor([1.0, 2.0])
    loss = (x**3).sum()
    loss.backward()
    penalized = loss + (x.grad**2).sum()  # x**3 + 9 x**4
    penalized.backward()
    assert_allclose(x.grad.numpy(), 3 * np.array([1.0, 4.0]) + 36 * np.array([1.0, 8.0]))


def test_second_order_collects_through_every_path():
    x, w = Tensor([0.5, -1.2, 2.0]), Tensor([1.5, 0.3, -0.7])

    def first(x, w):
        y = ops.tanh(x * w) + ops.exp(-x) * ops.sin(w)
        loss = (y * y).sum()
        loss.backward()
        return loss, (x.grad * w * x).sum() + (w.grad * x.grad).sum()

    loss, total = first(x, w)
    total.backward()
    for leaf, other, order in [(x, w, 1), (w, x, -1)]:

        def f(v, other=other, order=order):
            return first(*[Tensor(v), Tensor(other)][::order])[1].item()

        assert_allclose(leaf.grad.numpy(), numeric.gradient(f, leaf.numpy()), rtol=1e-8)
    assert loss.requires_grad


def test_hessian_of_a_quadratic_form():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 4))
    x = Tensor(rng.normal(size=4))
    y = x @ Tensor(a, requires_grad=False) @ x
    y.backward()
    g = x.grad
    rows = []
    for i in range(4):
        y.backward()  # sets x.grad anew; g is of the first call and is still differentiable
        g[i].backward()
        rows.append(x.grad.numpy())
    assert_allclose(rows, a + a.T, rtol=1e-12)


# -------------------------------------------------------------------------------------------------- order, and depth


def test_topological_order_is_depth_first_post_order_left_to_right():
    a, b = Tensor([[0.88282157]]), Tensor([[0.90170084]])
    c = 3 * a * a + 4 * b * a - a
    u, v = 0.88282157, 0.90170084
    values = [u, 3 * u, 3 * u * u, v, 4 * v, 4 * v * u, 3 * u * u + 4 * v * u, -u, 3 * u * u + 4 * v * u - u]
    assert_allclose([node.item() for node in find_topo_sort([c])], values, rtol=1e-15)


def test_topological_order_exactly():
    a, b, c = Tensor(1.0), Tensor(2.0), Tensor(3.0)
    left = a * b
    right = c + left
    top = right * left
    other = ops.exp(c)
    expected = [c, a, b, left, right, top, other]
    found = find_topo_sort([top, other])
    assert [id(node) for node in found] == [id(node) for node in expected]
    assert [id(node) for node in find_topo_sort([other, top])] == [id(n) for n in [c, other, a, b, left, right, top]]
    assert [id(node) for node in find_topo_sort([b, b])] == [id(b)]
    assert find_topo_sort([]) == []


def test_topological_order_has_constants_in_it():
    a = Tensor(1.0)
    k = Tensor(2.0, requires_grad=False)
    y = k * a
    assert [id(node) for node in find_topo_sort([y])] == [id(k), id(a), id(y)]


def chain(x, length):
    for _ in range(length // 2):
        x = x * 1.0 + 1.0
    return x


def test_a_chain_of_a_million_operations(uncollected):
    before = autograd.TENSOR_COUNTER
    x = Tensor(0.0)
    y = chain(x, 1_000_000)
    assert y.item() == 500_000
    assert before + 1_000_001 == autograd.TENSOR_COUNTER
    y.backward()
    assert x.grad.item() == 1
    del y
    assert before + 1 == autograd.TENSOR_COUNTER


def test_a_long_chain_of_an_op_that_saves_its_inputs_of_two(uncollected):
    before = autograd.TENSOR_COUNTER
    x, a = Tensor([2.0]), Tensor([1.0])
    y = x
    for _ in range(50_000):
        y = a * y + y * 0
    y.backward()
    assert x.grad.tolist() == [1.0]
    assert a.grad.tolist() == [2.0 * 50_000]
    del x, a, y
    assert before == autograd.TENSOR_COUNTER


def test_a_scalar_node_takes_at_most_a_kibibyte(uncollected):
    x = Tensor(1.0)
    chain(x, 100)
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        y = chain(x, 20_000)
        assert (tracemalloc.get_traced_memory()[0] - start) / 20_000 <= 1024
        tracemalloc.reset_peak()
        forward = tracemalloc.get_traced_memory()[0]
        y.backward()
        assert (tracemalloc.get_traced_memory()[1] - forward) / 20_000 <= 1024  # and going back takes no more again
    finally:
        tracemalloc.stop()


def test_printing_copying_and_pickling_at_the_end_of_a_long_chain():
    x = Tensor(1.0)
    y = chain(x, 200_000)
    assert repr(y) == "needle.Tensor(100001.)"
    assert str(y) == "100001.0"
    assert f"{y:.1f}" == "100001.0"
    for made in [copy.copy(y), copy.deepcopy(y), pickle.loads(pickle.dumps(y))]:
        assert made.requires_grad
        assert (made.item(), made.dtype, made.shape) == (100001.0, y.dtype, ())
    del x, y


def test_a_long_lazy_chain(monkeypatch, uncollected):
    monkeypatch.setattr(autograd, "LAZY_MODE", True)
    before = autograd.TENSOR_COUNTER
    x = Tensor(0.0)
    y = chain(x, 100_000)
    y.backward()
    assert y.item() == 50_000
    assert x.grad.item() == 1
    del y
    y = chain(x, 100_000)  # never computed
    del x, y
    assert before == autograd.TENSOR_COUNTER


def test_a_long_chain_is_differentiated_twice():
    x = Tensor(1.0)
    y = chain(x, 20_000) * x
    y.backward()
    assert x.grad.item() == 1 + 10_001
    x.grad.backward()
    assert x.grad.item() == 2


def test_many_steps_of_descent_are_differentiated_through():
    """As in learning a learning rate: every step's gradient is itself part of the record."""
    rate, start, steps = Tensor(0.01), Tensor(2.0), 400
    w, losses = start, []
    for _ in range(steps):
        w = w * 1.0
        w.retain_grad()
        loss = w * w
        loss.backward()
        losses.append(loss)
        w = w - rate * w.grad
    w.backward()
    assert_allclose(start.grad.item(), (1 - 0.02) ** steps, rtol=1e-10)
    assert_allclose(rate.grad.item(), 2.0 * steps * (1 - 0.02) ** (steps - 1) * -2, rtol=1e-10)


# ------------------------------------------------------------------------------------------------------------ memory


def two_layers(rng):
    x = rng.normal(size=(8, 5)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 8)]
    w1, w2 = (rng.normal(size=shape).astype(np.float32) for shape in [(5, 6), (6, 3)])
    return x, y, Tensor(w1), Tensor(w2)


def loss_of(x, y, w1, w2):
    return ops.softmax_loss(ops.relu(Tensor(x) @ w1) @ w2, Tensor(y, requires_grad=False))


def by_detaching(x, y, w1, w2):
    loss_of(x, y, w1, w2).backward()
    return (w1 - 0.05 * w1.grad).detach(), (w2 - 0.05 * w2.grad).detach()


def by_detaching_with_the_loss_alive(x, y, w1, w2):
    loss = loss_of(x, y, w1, w2)
    loss.backward()
    w1, w2 = (w1 - 0.05 * w1.grad).detach(), (w2 - 0.05 * w2.grad).detach()
    assert loss.item() >= 0
    return w1, w2


def by_assigning_data(x, y, w1, w2):
    loss_of(x, y, w1, w2).backward()
    for w in [w1, w2]:
        w.data = w.data - 0.05 * w.grad.data
    return w1, w2


def by_writing_into_arrays(x, y, w1, w2):
    loss_of(x, y, w1, w2).backward()
    for w in [w1, w2]:
        array = w.cached_data
        array -= np.float32(0.05) * w.grad.numpy()
    return w1, w2


def by_a_new_tensor(x, y, w1, w2):
    loss_of(x, y, w1, w2).backward()
    return tuple(Tensor(w.numpy() - np.float32(0.05) * w.grad.numpy()) for w in [w1, w2])


def twice(x, y, w1, w2):
    """A gradient penalty: both orders in each step."""
    loss = loss_of(x, y, w1, w2)
    loss.backward()
    total = loss + 0.01 * (w1.grad * w1.grad).sum()
    total.backward()
    return (w1 - 0.05 * w1.grad).detach(), (w2 - 0.05 * w2.grad).detach()


WAYS = [
    by_detaching,
    by_detaching_with_the_loss_alive,
    by_assigning_data,
    by_writing_into_arrays,
    by_a_new_tensor,
    twice,
]


@pytest.mark.parametrize("step", WAYS)
def test_training_runs_flat(step, uncollected):
    x, y, w1, w2 = two_layers(np.random.default_rng(0))
    first = loss_of(x, y, w1, w2).item()
    for _ in range(50):
        w1, w2 = step(x, y, w1, w2)
    tracemalloc.start()
    try:
        for _ in range(50):
            w1, w2 = step(x, y, w1, w2)
        gc.collect()  # empties Python's own stocks of freed tuples and the like, which count as taken
        tensors, start = autograd.TENSOR_COUNTER, tracemalloc.get_traced_memory()[0]
        for _ in range(1500):
            w1, w2 = step(x, y, w1, w2)
        assert tensors == autograd.TENSOR_COUNTER
        assert gc.collect() == 0  # there was nothing that only the collector could have freed
        assert tracemalloc.get_traced_memory()[0] - start < 30_000  # 20 bytes a step; no object is as small
    finally:
        tracemalloc.stop()
    assert loss_of(x, y, w1, w2).item() < first / 2


def test_ten_thousand_steps_run_flat(uncollected):
    w, v, t = Tensor([1.0, 2.0]), Tensor([1.0, 2.0]), Tensor(3.0)
    counts = set()
    for i in range(10_001):
        (t * w * w).sum().backward()
        w = (w - 1e-4 * w.grad).detach()
        (t * v * v).sum().backward()
        v.data = v.data - 1e-4 * v.grad
        if i % 2500 == 1:
            counts.add(autograd.TENSOR_COUNTER)
    assert len(counts) == 1
    assert_allclose(w.numpy(), np.array([1, 2]) * (1 - 6e-4) ** 10_001, rtol=1e-9)
    assert_array_equal(v.numpy(), w.numpy())


def test_all_ways_to_train_give_the_same_numbers():
    ends = []
    for step in [by_detaching, by_assigning_data, by_writing_into_arrays, by_a_new_tensor]:
        x, y, w1, w2 = two_layers(np.random.default_rng(0))
        for _ in range(20):
            w1, w2 = step(x, y, w1, w2)
        ends.append((w1.numpy(), w2.numpy()))
    for other in ends[1:]:
        assert_array_equal(other[0], ends[0][0])
        assert_array_equal(other[1], ends[0][1])


def test_intermediate_values_go_as_soon_as_nobody_needs_them(uncollected):
    x = Tensor(np.ones((400, 400)))  # 1.28 MB
    with needle.no_grad():
        tracemalloc.start()
        try:
            y = x
            for _ in range(20):
                y = y * 1.5
            assert tracemalloc.get_traced_memory()[1] < 5e6
        finally:
            tracemalloc.stop()


def test_backward_frees_adjoints_as_it_goes(uncollected):
    x = Tensor(np.ones((400, 400)))
    y = x
    for _ in range(30):
        y = y + 1.0  # saves nothing, and passes its adjoint on
    for _ in range(30):
        y = y * 1.01
    tracemalloc.start()
    try:
        y.backward()
        assert tracemalloc.get_traced_memory()[1] < 8 * 1.28e6  # not one array a node
    finally:
        tracemalloc.stop()


def test_tensor_counter_counts_live_tensors(uncollected):
    before = autograd.TENSOR_COUNTER
    x = Tensor([1.0, 2.0])
    assert before + 1 == autograd.TENSOR_COUNTER
    y = (x * x + 1.0).sum()
    assert before + 4 == autograd.TENSOR_COUNTER
    pair = ops.make_tuple(x, y)
    assert before + 5 == autograd.TENSOR_COUNTER
    y.backward()
    assert before + 5 == autograd.TENSOR_COUNTER  # a gradient becomes a tensor when it is read
    g = x.grad
    assert before + 6 == autograd.TENSOR_COUNTER
    del g, pair, y, x
    assert before == autograd.TENSOR_COUNTER


def test_a_gradient_keeps_its_output_only_while_somebody_holds_it(uncollected):
    x = Tensor([1.0, 2.0])
    loss = (x * x).sum()
    loss.backward()
    gone = weakref.ref(loss)
    del loss
    assert gone() is None
    assert x.grad.tolist() == [2, 4]


# ----------------------------------------------------------------------------------- modes, threads and contexts


def test_no_grad_and_enable_grad():
    x = Tensor(2.0)
    assert needle.is_grad_enabled()
    with needle.no_grad():
        assert not needle.is_grad_enabled()
        assert not (x * x).requires_grad
        with needle.enable_grad():
            y = x * x
        assert not needle.is_grad_enabled()
        assert y.requires_grad
        y.backward()  # sweeping needs no mode
    assert needle.is_grad_enabled()
    assert x.grad.item() == 4

    @needle.no_grad()
    def f(depth):
        assert not needle.is_grad_enabled()
        return f(depth - 1) if depth else x * x

    assert not f(3).requires_grad
    with pytest.raises(ZeroDivisionError), needle.no_grad():
        raise ZeroDivisionError
    assert needle.is_grad_enabled()


def test_a_failing_rule_leaves_the_mode_as_it_was():
    class Fails(TensorOp):
        def compute(self, a):
            return a + 1

        def gradient(self, out_grad, node):
            raise RuntimeError("not today")

    y = Fails()(Tensor(1.0))
    with pytest.raises(RuntimeError, match="not today"):
        y.backward()
    assert needle.is_grad_enabled()
    a, b = Tensor(2.0), Tensor(3.0)
    p = a * b
    assert [g.item() for g in p.op.gradient_as_tuple(Tensor(1.0), p)] == [3, 2]  # nothing is left of what was asked for


def test_no_grad_is_of_its_thread():
    x = Tensor(2.0)
    inside, done = threading.Event(), threading.Event()
    seen = []

    def without():
        with needle.no_grad():
            inside.set()
            done.wait(10)
            seen.append((x * x).requires_grad)

    thread = threading.Thread(target=without)
    thread.start()
    assert inside.wait(10)
    assert (x * x).requires_grad
    done.set()
    thread.join()
    assert seen == [False]


def test_no_grad_is_of_its_task():
    x = Tensor(2.0)

    async def without(turn, other):
        with needle.no_grad():
            turn.set()
            await other.wait()
            return (x * x).requires_grad

    async def recording(turn, other):
        await other.wait()
        y = x * x
        turn.set()
        await asyncio.sleep(0)
        y.backward()
        return y.requires_grad

    async def both():
        one, two = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(without(one, two), recording(two, one))

    assert asyncio.run(both()) == [False, True]
    assert x.grad.item() == 4


def test_threads_train_at_once_as_one_after_the_other():
    def train(seed):
        rng = np.random.default_rng(seed)
        x, w1, w2 = rng.normal(size=(64, 300)), Tensor(rng.normal(size=(300, 64))), Tensor(rng.normal(size=(64, 10)))
        for _ in range(15):
            loss = (ops.tanh(Tensor(x) @ w1) @ w2).mean()
            loss.backward()
            penalty = loss + (w1.grad * w1.grad).sum()
            penalty.backward()
            w1, w2 = (w1 - w1.grad).detach(), (w2 - w2.grad).detach()
        return w1.numpy(), w2.numpy()

    alone = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(train, range(4)))
    for one, other in zip(alone, together, strict=True):
        assert_array_equal(one[0], other[0])
        assert_array_equal(one[1], other[1])


def test_threads_differentiate_one_graph_at_once():
    w = Tensor(np.random.default_rng(0).normal(size=(50, 50)))
    shared = ops.tanh(w @ w)
    start = threading.Barrier(4)

    def differentiate(k):
        leaf = Tensor(float(k))
        loss = (shared * leaf).sum()
        start.wait(10)
        for _ in range(20):
            loss.backward()
        return leaf.grad.item()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(differentiate, range(4))) == [shared.numpy().sum()] * 4


def test_a_gradient_made_in_one_thread_is_read_in_another():
    x = Tensor(3.0)
    y = x**3
    with ThreadPoolExecutor(1) as pool:
        pool.submit(y.backward).result()
        assert x.grad.item() == 27
        x.grad.backward()
        assert pool.submit(x.grad.item).result() == 18


# --------------------------------------------------------------------------------------------------- .grad


def test_backward_sets_and_accumulates_when_told_to():
    x = Tensor([1.0, 2.0])
    assert x.grad is None
    (x * 3).sum().backward()
    (x * 5).sum().backward()
    assert x.grad.tolist() == [5, 5]
    (x * x).sum().backward(accumulate=True)
    assert x.grad.tolist() == [7, 9]
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_accumulated_gradients_are_differentiated_through_all_calls():
    x = Tensor(2.0)
    first, second = x**3, x**2
    first.backward()
    second.backward(accumulate=True)
    assert x.grad.item() == 12 + 4
    x.grad.backward()
    assert x.grad.item() == 12 + 2


@pytest.mark.parametrize(
    "step",
    [lambda w: w - 0.1 * w.grad, lambda w: w - w.grad, lambda w: w + w.grad * -0.1, lambda w: w * 0.9 - 0.1 * w.grad],
)
def test_a_recorded_step_says_how_to_take_it(step):
    w = Tensor([1.0, 2.0])
    loss = (w * w).sum()
    loss.backward()
    w = step(w)
    (w * w).sum().backward()
    with pytest.raises(AttributeError, match=r"take it under needle\.no_grad\(\), or through W\.data") as found:
        _ = w.grad
    assert "retain" not in str(found.value)


def test_an_inner_tensor_says_why_it_has_no_gradient():
    x = Tensor([1.0, 2.0])
    y = x * 2
    z = (y * y).sum()
    z.backward()
    with pytest.raises(AttributeError, match=r"not a leaf.*MulScalar.*retain_grad\(\)"):
        _ = y.grad
    assert not hasattr(y, "grad")
    assert not hasattr(y, "gard")
    with pytest.raises(AttributeError, match="gard"):
        _ = y.gard
    y.retain_grad()
    assert y.grad is None  # from now on, but there was no backward() since
    z.backward()
    assert y.grad.tolist() == [4, 8]
    assert x.grad.tolist() == [8, 16]


def test_retain_grad_on_the_output_and_on_a_leaf():
    x = Tensor([1.0, 2.0])
    x.retain_grad()
    y = x * x
    y.retain_grad()
    y.backward()
    assert y.grad.tolist() == [1, 1]
    assert x.grad.tolist() == [2, 4]
    x.backward()
    assert x.grad.tolist() == [1, 1]


def test_a_retained_gradient_is_differentiable():
    x = Tensor(2.0)
    y = x * x
    y.retain_grad()
    z = y * y
    z.backward()
    assert y.grad.item() == 8
    y.grad.backward()  # 2 x**2
    assert x.grad.item() == 8


def test_out_grad():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    y = x * x
    y.backward()
    assert x.grad.tolist() == [[2, 4], [6, 8]]  # ones, unless it is given
    for out_grad in [np.array([[1.0, 0], [0, 2]]), Tensor([[1.0, 0], [0, 2]]), [[1, 0], [0, 2]]]:
        y.backward(out_grad)
        assert x.grad.tolist() == [[2, 0], [0, 16]]
    with pytest.raises(ValueError, match=r"out_grad.*\(2, 2\).*got \(2,\).*broadcast_to"):
        y.backward(np.ones(2))


def test_a_gradient_is_differentiated_by_its_out_grad():
    x, v = Tensor([1.0, 2.0]), Tensor([3.0, 5.0])
    y = x**3
    y.backward(v)
    x.grad.backward()  # 3 x**2 v
    assert v.grad.tolist() == [3, 12]
    assert x.grad.tolist() == [18, 60]


def test_backward_does_not_change_the_given_out_grad():
    given = Tensor([3.0, 5.0])
    x, y = Tensor([1.0, 2.0]), Tensor([1.0, 2.0])
    (x + y + x).backward(given)
    x.grad.cached_data[:] = 100
    assert given.tolist() == [3, 5]
    assert y.grad.tolist() == [3, 5]


def test_what_is_out_of_reach_has_no_gradient():
    x, unused = Tensor(1.0), Tensor(2.0)
    (x * x).backward()
    assert unused.grad is None


def test_backward_of_what_needs_no_gradient():
    x = Tensor(2.0)
    for needless, why in [
        (Tensor([1.0], requires_grad=False), "nothing that it was computed from does"),
        (x.detach(), "detached"),
        (needle.no_grad()(lambda: x * x)(), "no_grad"),
        (Tensor([True]), "requires_grad"),
        (x > 1, "requires_grad"),
    ]:
        with pytest.raises(ValueError, match=rf"backward\(\).*needs no gradient.*{why}"):
            needless.backward()
    assert x.grad is None


def test_the_gradient_of_a_lost_output_says_what_to_do():
    x = Tensor([1.0, 2.0])
    (x**3).sum().backward()
    assert x.grad.tolist() == [3, 12]
    with pytest.raises(ValueError, match=r"output that it came from is gone.*x\.grad\.detach\(\)"):
        (x.grad * x).sum().backward()
    (x.grad.detach() * x).sum().backward()
    assert x.grad.tolist() == [3, 12]
    loss = (x**3).sum()
    loss.backward()
    held = x.grad
    del loss  # read while it lived
    held.sum().backward()
    assert x.grad.tolist() == [6, 12]


def test_a_gradient_that_was_assigned_to_is_differentiated():
    x = Tensor(np.array([0.5, -1.0, 2.0]), requires_grad=True)
    y = (x**3).sum()
    y.backward()
    g = x.grad
    g[0] = 0.0
    (g**2).sum().backward()
    assert_allclose(x.grad, [0, -36, 288])  # of 9 x**4


def test_detached_gradients_are_values():
    x = Tensor(3.0)
    y = x * x
    y.backward()
    g = x.grad.detach()
    assert not g.requires_grad
    assert g.is_leaf()
    (g * x).backward()
    assert x.grad.item() == 6


def test_gradients_never_share_memory():
    for function in [
        lambda a, b: a + b,
        lambda a, b: (a + b).reshape(2, 1),
        lambda a, b: ops.transpose((a + b).reshape(1, 2)),
        lambda a, b: a + b + a,
        lambda a, b: ops.make_tuple(a, b)[0] + b,
        lambda a, b: (a + b).sum(),
    ]:
        a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
        y = function(a, b)
        y.backward()
        expected = b.grad.numpy()
        a.grad.cached_data[:] = 100
        assert_array_equal(b.grad.numpy(), expected)
        assert a.grad.tolist() == [100, 100]
        before = a.grad.numpy()
        b.grad.cached_data[:] = -1
        assert_array_equal(a.grad.numpy(), before)
        y.backward()
        assert_array_equal(b.grad.numpy(), expected)


def test_a_gradient_does_not_share_memory_with_what_was_recorded():
    a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    y = a * b
    y.backward()  # a's adjoint is 1 * b
    a.grad.cached_data[:] = 100
    y.backward()
    assert a.grad.tolist() == [3, 4]
    x = Tensor([1.0, 2.0])
    x.backward()
    x.grad.cached_data[:] = 100
    assert x.tolist() == [1, 2]


def test_a_gradient_can_be_assigned():
    x = Tensor([1.0, 2.0])
    (x * x).sum().backward()
    x.grad *= 10
    assert x.grad.tolist() == [20, 40]
    x.grad.data = x.grad.data / 2
    assert x.grad.tolist() == [10, 20]
    x.grad = Tensor([7.0, 8.0])
    assert x.grad.tolist() == [7, 8]
    x.grad = np.array([5.0, 6.0])
    assert x.grad.tolist() == [5, 6]
    x.grad = None
    assert x.grad is None
    for wrong in [np.ones(3), np.ones(2, np.float32), 1.0]:
        with pytest.raises(ValueError, match=r"Tensor\.grad.*shape \(2,\).*float64"):
            x.grad = wrong
    (x * x).sum().backward(accumulate=True)
    assert x.grad.tolist() == [2, 4]


def test_an_assigned_gradient_is_accumulated_onto():
    x = Tensor([1.0, 2.0])
    x.grad = np.array([10.0, 20.0])
    (x * x).sum().backward(accumulate=True)
    assert x.grad.tolist() == [12, 24]


def test_backward_twice_on_one_graph():
    x = Tensor(3.0)
    y = x * x
    for _ in range(2):
        y.backward()
        assert x.grad.item() == 6
    y.backward(accumulate=True)
    assert x.grad.item() == 12


# --------------------------------------------------------------------------------- what is not asked for is not done


class Unasked(TensorOp):
    """The sum of two, whose rule refuses to give an adjoint that nobody asked for."""

    def compute(self, a, b):
        return a + b

    def gradient(self, out_grad, node):
        assert all(autograd.wanted(a) == a.requires_grad for a in node.inputs)
        return tuple(out_grad if autograd.wanted(a) else None for a in node.inputs)


def test_a_rule_knows_what_is_asked_for():
    x, k = Tensor(1.0), Tensor(2.0, requires_grad=False)
    Unasked()(x, k).backward()
    Unasked()(k, x).backward()
    assert k.grad is None
    y = Unasked()(x, k)
    assert [g.item() for g in ops.EWiseAdd().gradient_as_tuple(Tensor(1.0), y)] == [1, 1]


def test_no_product_is_computed_for_an_input_that_needs_no_gradient(monkeypatch):
    calls = []
    compute = ops.MatMul.compute
    x, w1, w2 = Tensor(np.ones((4, 3)), requires_grad=False), Tensor(np.ones((3, 5))), Tensor(np.ones((5, 2)))

    def counting(self, a, b):
        calls.append((a.shape, b.shape))
        return compute(self, a, b)

    monkeypatch.setattr(ops.MatMul, "compute", counting)
    loss = (x @ w1 @ w2).sum()
    assert len(calls) == 2
    loss.backward()
    assert len(calls) == 2 + 3  # by w2, by the hidden layer, by w1; not by x
    calls.clear()
    hidden = (x @ w1).detach()
    hidden.requires_grad = False
    (hidden @ w2).backward()
    assert len(calls) == 2 + 1


def test_no_rule_runs_below_a_constant():
    class Never(TensorOp):
        def compute(self, a):
            return a * 2

        def gradient(self, out_grad, node):
            raise AssertionError("nobody asked")

    x, k = Tensor(1.0), Tensor(2.0, requires_grad=False)
    (x * Never()(k)).backward()
    (x * Never()(x).detach()).backward()
    assert x.grad.item() == 2


# ------------------------------------------------------------------------------ leaves, constants, detached tensors


def test_which_tensors_need_a_gradient():
    assert Tensor([1.0]).requires_grad
    assert Tensor([1]).requires_grad
    assert Tensor([1j]).requires_grad
    assert not Tensor([True]).requires_grad
    assert not Tensor([1.0], requires_grad=False).requires_grad
    assert not Tensor.make_const(np.ones(2)).requires_grad
    assert Tensor.make_const(np.ones(2), requires_grad=True).requires_grad
    with pytest.raises(ValueError, match="booleans"):
        Tensor([True], requires_grad=True)
    x = Tensor([1.0])
    assert (x * 2).requires_grad
    assert not x.detach().requires_grad
    assert not x.data.requires_grad
    assert not (x.detach() * 2).requires_grad


def test_requires_grad_can_be_set_on_a_leaf():
    x = Tensor(2.0, requires_grad=False)
    assert not (x * x).requires_grad
    x.requires_grad = True
    y = x * x
    y.backward()
    assert x.grad.item() == 4
    x.requires_grad = False
    assert not (x * x).requires_grad
    with pytest.raises(ValueError, match=r"requires_grad.*EWiseMul.*detach\(\)"):
        y.requires_grad = False
    y.requires_grad = True
    with pytest.raises(ValueError, match="booleans"):
        Tensor([True]).requires_grad = True


def test_a_detached_tensor_starts_no_recording_but_takes_part_in_one():
    x = Tensor([1.0, 2.0])
    d = (x * 3).detach()
    assert d.is_leaf()
    assert not (d * d).requires_grad
    y = (d * x).sum()
    y.backward()
    assert d.grad.tolist() == [1, 2]
    assert x.grad.tolist() == [3, 6]


def test_the_courses_loop_works_step_after_step():
    w = Tensor([1.0, 2.0])
    a = Tensor([1.0, -1.0])
    for _ in range(3):
        ((w - a) ** 2).sum().backward()
        w = (w - 0.25 * w.grad).detach()
    assert_allclose(w.numpy(), [1, -1 + 3 * 0.5**3])


def test_differentiable_data_is_not():
    x = Tensor(3.0)
    y = x.data * x
    y.backward()
    assert x.grad.item() == 3


# ------------------------------------------------------------------ values that change between forward and backward


FUNCTIONS = {
    "product": lambda p, q: p * q,
    "quotient": lambda p, q: q / p,
    "power": lambda p, q: p**q,
    "matmul": lambda p, q: (p.reshape(1, 3) @ q.reshape(3, 1)).reshape(1),
    "exp": lambda p, q: ops.exp(p) * q,
    "logsumexp": lambda p, q: ops.logsumexp(p * q),
    "max": lambda p, q: (p * q).max(),
    "where": lambda p, q: ops.where(p > q, p * p, q * q),
    "sin": lambda p, q: ops.sin(p) + ops.sin(q),
    "tanh": lambda p, q: ops.tanh(p) * ops.tanh(q),
    "views": lambda p, q: ops.transpose(p.reshape(1, 3)) * q.broadcast_to((2, 3))[0],
}
P, Q = np.array([1.5, 0.7, 2.5]), np.array([0.4, 1.9, 1.1])


def orders(function, change):
    """First and second derivatives, with something done between every two steps."""
    p, q = Tensor(P), Tensor(Q)
    y = function(p, q)
    change(p, q, y)
    y.backward()
    first = [p.grad.numpy(), q.grad.numpy()]
    change(p, q, y)
    total = (p.grad * Tensor([1.0, -2.0, 3.0])).sum() + (q.grad * Tensor([2.0, 0.5, -1.0])).sum()
    change(p, q, y)
    total.backward()
    return [*first, p.grad.numpy(), q.grad.numpy()]


def assign(p, q, y):
    p.data = p.data * 0 + 77
    q.data = np.full(3, -5.0)


def assign_cached_data(p, q, y):
    p.cached_data = np.full(3, 77.0)


def write(p, q, y):
    p.cached_data[:] = 77
    q.realize_cached_data()[1] = 5


def write_output(p, q, y):
    y.cached_data[...] = 77


def write_detached(p, q, y):
    p.detach().cached_data[:] = 77
    q.data.cached_data[:] = 3


def write_gradient(p, q, y):
    if p.grad is not None:
        assert p.grad.shape == (3,)


def update_in_place(p, q, y):
    array = p.cached_data
    array -= 0.1
    p.data = p - 0.1


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "change", [assign, assign_cached_data, write, write_output, write_detached, write_gradient, update_in_place]
)
def test_a_change_after_the_fact_changes_no_gradient(name, change):
    function = FUNCTIONS[name]
    expected = orders(function, lambda p, q, y: None)
    for got, wanted in zip(orders(function, change), expected, strict=True):
        assert_allclose(got, wanted, rtol=1e-14)


def test_the_next_computation_sees_what_was_assigned():
    p = Tensor([1.0, 2.0])
    y = (p * p).sum()
    p.data = [3.0, 4.0]
    z = (p * p).sum()
    assert z.item() == 25
    z.backward()
    assert p.grad.tolist() == [6, 8]
    y.backward()
    assert p.grad.tolist() == [2, 4]
    with pytest.raises(ValueError, match=r"Tensor\.data.*shape \(2,\).*float64.*got \(3,\)"):
        p.data = np.ones(3)
    with pytest.raises(ValueError, match=r"float64.*float32.*astype"):
        p.data = np.ones(2, np.float32)
    assert p.tolist() == [3, 4]


VIEWS = {
    "itself": (lambda x: x, lambda a: a),
    "reshape": (lambda x: x.reshape(3, 2), lambda a: a.reshape(3, 2)),
    "transpose": (ops.transpose, lambda a: a.T),
    "getitem": (lambda x: x[1, ::-1], lambda a: a[1, ::-1]),
    "broadcast": (lambda x: x.reshape(2, 3, 1).broadcast_to((2, 3, 2)), lambda a: a[:, :, None] * np.ones(2)),
    "detach": (lambda x: x.detach(), lambda a: a),
    "data": (lambda x: x.data, lambda a: a),
    "views of views": (lambda x: ops.transpose(x.reshape(3, 2))[0], lambda a: a.reshape(3, 2).T[0]),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_write_is_seen_by_what_comes_after_and_by_nothing_before(name):
    view, np_view = VIEWS[name]
    start = np.arange(6.0).reshape(2, 3)
    x = Tensor(start)
    k = Tensor(2.0)
    v = view(x)
    before = (v * v * k).sum()
    x.cached_data[:] = start + 10
    after = (view(x) * view(x) * k).sum()
    assert before.item() == 2 * (np_view(start) ** 2).sum()
    assert after.item() == 2 * (np_view(start + 10) ** 2).sum()
    x.cached_data[:] = -1.0
    for loss, at in [(before, start), (after, start + 10)]:
        loss.backward()
        assert_allclose(k.grad.item(), (np_view(at) ** 2).sum())
        if name not in ["detach", "data"]:
            slope = numeric.gradient(lambda a: 2 * (np_view(a) ** 2).sum(), at)
            assert_allclose(x.grad.numpy(), slope, rtol=1e-9, atol=1e-9)


def test_a_write_into_large_results_and_their_views():
    """Large results lie in memory that is lent and used again."""
    x = Tensor(np.ones(40_000))
    for _ in range(3):
        y = x * 2.0
        v = y.reshape(200, 200)[::2]
        squares, sines = (y * y).sum(), ops.sin(v).sum()
        v.cached_data[:] = 100.0
        after = (y * y * x).sum()
        assert y.numpy().reshape(200, 200)[:2, 0].tolist() == [100, 2]
        y.cached_data[:] = -1.0
        squares.backward()
        assert (x.grad.numpy() == 8).all()
        sines.backward()
        assert set(x.grad.numpy()) == {0.0, 2 * np.cos(2.0)}
        after.backward()
        expected = np.where(np.arange(40_000) // 200 % 2, 4.0 + 8.0, 1e4 + 400.0)
        assert_allclose(x.grad.numpy(), expected)


def test_large_results_do_not_share_the_memory_that_is_used_again():
    x = Tensor(np.arange(40_000.0))
    kept = [x * float(k) for k in range(12)]
    views = [(x * float(k)).reshape(200, 200)[1:, ::3] for k in range(12)]
    arrays = [(x * float(k)).numpy() for k in range(12)]
    for k in range(12):
        assert_array_equal(kept[k].numpy(), np.arange(40_000.0) * k)
        assert_array_equal(views[k].numpy(), (np.arange(40_000.0) * k).reshape(200, 200)[1:, ::3])
        assert_array_equal(arrays[k], np.arange(40_000.0) * k)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda k: [x * float(k) for _ in range(5)], range(12)))
    for k, results in enumerate(made):
        for result in results:
            assert_array_equal(result.numpy(), np.arange(40_000.0) * k)


def test_make_const_shares_memory_and_what_was_recorded_does_not_change():
    array = np.array([1.0, 2.0])
    c = Tensor.make_const(array)
    x = Tensor([3.0, 4.0])
    before = (c * x).sum()
    array[:] = 10
    assert c.tolist() == [10, 10]
    after = (c * x).sum()
    array[:] = 100
    assert (before.item(), after.item()) == (11, 70)
    before.backward()
    assert x.grad.tolist() == [1, 2]
    after.backward()
    assert x.grad.tolist() == [10, 10]


def test_writing_into_a_tensors_array_part_by_part():
    x = Tensor([1.0, 2.0, 3.0])
    live = x.cached_data
    losses = []
    for value in [10.0, 20.0, 30.0]:
        live[0] = value
        losses.append((x * x).sum())
    live[:] = 0
    for value, loss in zip([10.0, 20.0, 30.0], losses, strict=True):
        loss.backward()
        assert x.grad.tolist() == [2 * value, 4, 6]


def test_a_tuples_live_arrays():
    a, b = Tensor([1.0, 2.0]), Tensor([3.0])
    pair = ops.make_tuple(a * 1, b * 1)
    y = (pair[0] * pair[0]).sum() * pair[1]
    pair.cached_data[0][:] = 50
    a.cached_data[:] = 60
    y.backward()
    assert a.grad.tolist() == [6, 12]
    assert b.grad.tolist() == [5]


def test_a_foreign_array_that_changes_later():
    c = np.array([3.0, 4.0])
    x = Tensor([1.0, 1.0])
    for y in [x * c, c * x, x / (1 / c), x + 0 * x + (c - 1) * x]:
        assert y.shape == (2,)
    y = x * c
    index = np.array([0, 0])
    picked = x[index]
    mask = np.array([True, False])
    chosen = ops.where(mask, x * 2, x * 5)
    shape = [2, 1]
    reshaped = x.reshape(tuple(shape))
    c[0], index[:], mask[:], shape[0] = 100, 1, False, 7
    y.sum().backward()
    assert x.grad.tolist() == [3, 4]
    picked.sum().backward()
    assert x.grad.tolist() == [2, 0]
    chosen.sum().backward()
    assert x.grad.tolist() == [2, 5]
    reshaped.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_tensor_copies_and_numpy_copies():
    array = np.array([1.0, 2.0])
    x = Tensor(array)
    array[0] = 50
    out = x.numpy()
    out[1] = 60
    assert x.tolist() == [1, 2]
    y = Tensor(x)
    y.cached_data[:] = 9
    assert x.tolist() == [1, 2]


def test_a_broadcast_view_can_be_written_to():
    x = Tensor(1.0)
    y = x.broadcast_to((2, 2))
    y.cached_data[0, 1] = 5
    assert y.tolist() == [[1, 5], [1, 1]]
    assert x.item() == 1
    z = (y * y).sum()
    assert z.item() == 28
    z.backward()
    assert x.grad.item() == 2 * 8


# -------------------------------------------------------------------------------------------------------- dtypes


def test_integers_are_differentiated_in_float64():
    x = Tensor([1, 2, 3])
    y = (x * x).sum()
    assert y.dtype == np.int64
    y.backward()
    assert x.grad.dtype == np.float64
    assert x.grad.tolist() == [2, 4, 6]
    (x / 2).sum().backward()
    assert x.grad.tolist() == [0.5, 0.5, 0.5]
    small = Tensor(np.array([3, 4], np.int8))
    (small * 0.5).sum().backward()
    assert small.grad.dtype == np.float64
    assert small.grad.tolist() == [0.5, 0.5]
    z = (x * x).sum()
    z.backward()
    x.grad.backward()
    assert x.grad.tolist() == [2, 2, 2]


def test_booleans_take_part_and_have_no_gradient():
    m, x = Tensor([True, False]), Tensor([3.0, 4.0])
    y = (m * x).sum()
    y.backward()
    assert m.grad is None
    assert x.grad.tolist() == [1, 0]


def test_float32_stays_float32():
    x = Tensor(np.ones(3, np.float32))
    y = ops.exp(x) * 2.0 + x * x - x / 3 + ops.sqrt(x) * x**2 + 2**x
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad.dtype == np.float32
    x.mean().backward(accumulate=True)
    assert x.grad.dtype == np.float32
    total = (x * x * x).sum()
    total.backward()
    x.grad.backward()
    assert x.grad.dtype == np.float32


def test_a_float32_gradient_stays_so_through_a_float64_expression():
    x = Tensor(np.ones(3, np.float32))
    k = Tensor(np.full(3, 1 / 3))
    y = x * k + x * x
    assert y.dtype == np.float64
    y.backward()
    assert (x.grad.dtype, k.grad.dtype) == (np.float32, np.float64)


def test_python_numbers_are_weak_and_numpys_are_not():
    x = Tensor(np.ones(2, np.float32))
    half, i = Tensor(np.ones(2, np.float16)), Tensor([1, 2])
    for number in [2, 2.5, True]:
        for y in [x + number, number + x, x - number, number - x, x * number, number * x, x / number, number / x]:
            assert y.dtype == np.float32
        for y in [x**number, number**x, x // number, number // x, x % number, number % x]:
            assert y.dtype == np.float32
        assert (half * number).dtype == np.float16
    assert (x * 1j).dtype == np.complex64
    assert (i * 2).dtype == np.int64
    assert (i * 2.5).dtype == np.float64
    array = np.ones(2, np.float32)
    for strong in [np.float64(2), np.float32(2), np.float16(2), np.int64(2), np.ones(2), np.ones((), np.float64)]:
        for got, expected in [
            (x + strong, array + strong),
            (strong + x, strong + array),
            (x - strong, array - strong),
            (strong - x, strong - array),
            (x * strong, array * strong),
            (strong * x, strong * array),
            (x / strong, array / strong),
            (strong / x, strong / array),
            (x**strong, array**strong),
            (strong**x, strong**array),
        ]:
            assert type(got) is Tensor
            assert got.dtype == expected.dtype
            assert_allclose(got.numpy(), expected)
            got.sum().backward()
            assert x.grad.dtype == np.float32


def test_half_precision_sums_accumulate_wider():
    x = Tensor(np.ones(70_000, np.float16) / 8)
    assert x.sum().item() == 8752  # 8750, in float16
    assert x.mean().item() == 0.125
    assert Tensor(np.ones((5000, 2), np.float16)).sum(axis=0).tolist() == [5000, 5000]
    assert_allclose(ops.logsumexp(Tensor(np.zeros(10_000, np.float16))).item(), np.log(10_000), rtol=1e-3)
    k = Tensor(np.float16(1))
    (k * Tensor(np.ones((5000, 2), np.float16))).backward()
    assert k.grad.item() == 10_000
    assert k.grad.dtype == np.float16


def test_half_precision_softmax_counts_beyond_float16():
    x = Tensor(np.zeros((3000, 1), np.float16))
    p = ops.softmax(x, 0)
    assert_allclose(p.numpy(), 1 / 3000, rtol=1e-3)
    assert p.dtype == np.float16


def test_tensors_keep_numpys_dtype():
    for given, dtype in [
        ([1, 2], np.int64),
        ([1.0], np.float64),
        (np.float32(1), np.float32),
        ([True], np.bool_),
        ([1j], np.complex128),
        (np.zeros(2, np.float16), np.float16),
        (3, np.int64),
    ]:
        assert Tensor(given).dtype == dtype
    assert Tensor([1, 2], dtype="float32").dtype == np.float32
    with pytest.raises(TypeError, match=r"numbers.*dtype"):
        Tensor(["a"])
    with pytest.raises(ValueError, match="cannot make an array"):
        Tensor([[1.0], [1.0, 2.0]])
    with pytest.raises(TypeError, match="numbers"):
        Tensor(None)


# ------------------------------------------------------------------------------------------------------- complex


def test_complex_rules_transpose_and_grad_is_conjugated_once():
    z = Tensor([3 + 4j, -1j])
    square = (z * z.conj()).real.sum()
    square.backward()
    assert_allclose(z.grad.numpy(), 2 * z.numpy())  # the direction of steepest ascent of a**2 + b**2

    w = Tensor(1 + 2j)
    y = w**3
    (adjoint,) = y.op.gradient_as_tuple(Tensor(1 + 0j), y)
    assert_allclose(adjoint.item(), 3 * w.item() ** 2)  # plain transpose: f' of a holomorphic f
    y.backward()
    assert_allclose(w.grad.item(), (3 * w.item() ** 2).conjugate())


def test_descending_along_grad_finds_the_complex_root():
    z = Tensor(1 + 1j)
    for _ in range(200):
        (abs(z * z - (-2 + 1j)) ** 2).backward()
        z = Tensor(z - 0.02 * z.grad)
    assert_allclose(z.item() ** 2, -2 + 1j, rtol=1e-6)


def test_complex_gradients_are_differentiated():
    z = Tensor(0.3 + 0.7j)
    y = (ops.exp(z) * z.conj()).real
    y.backward()
    total = (z.grad * (1 + 2j)).real
    total.backward()

    def first(v):
        u = Tensor(v)
        out = (ops.exp(u) * u.conj()).real
        out.backward()
        return (u.grad.item() * (1 + 2j)).real

    assert_allclose(z.grad.item(), numeric.gradient(first, np.array(0.3 + 0.7j)).item(), rtol=1e-8)


def test_a_real_leaf_in_a_complex_expression_has_a_real_gradient():
    x = Tensor([1.0, 2.0])
    y = (x * (1 + 2j) * (3 - 1j)).real.sum()
    y.backward()
    assert x.grad.dtype == np.float64
    assert x.grad.tolist() == [5, 5]


# ------------------------------------------------------------------------------------------- ops that people write


class Cube(TensorOp):
    def compute(self, a):
        return a**3

    def gradient(self, out_grad, node):
        a = node.inputs[0]
        return out_grad * 3 * a * a


class SumAndDifference(TensorTupleOp):
    def compute(self, a, b):
        return a + b, a - b

    def gradient(self, out_grad, node):
        self.seen = [g is not None for g in out_grad]
        by_sum, by_difference = out_grad
        if by_difference is None:
            return by_sum, by_sum
        if by_sum is None:
            return by_difference, -by_difference
        return by_sum + by_difference, by_sum - by_difference


def test_an_op_that_somebody_writes():
    x = Tensor([1.0, 2.0])
    y = Cube()(x)
    y.backward()
    assert x.grad.tolist() == [3, 12]
    x.grad.backward()
    assert x.grad.tolist() == [6, 12]
    assert repr(y.op) == "Cube"
    assert Cube()(np.array([2.0])).tolist() == [8]
    assert not Cube()([2.0]).requires_grad


def test_an_op_of_several_outputs_that_somebody_writes():
    op = SumAndDifference()
    a, b = Tensor([1.0, 2.0]), Tensor(3.0)
    both = op(a, b)
    assert len(both) == 2
    total, difference = both
    assert (total.tolist(), difference.tolist()) == ([4, 5], [-2, -1])
    for loss, seen, by_a, by_b in [
        (total.sum(), [True, False], [1, 1], 2),
        (difference.sum(), [False, True], [1, 1], -2),
        ((total * difference).sum(), [True, True], [2, 4], -12),
        ((both[0] * both[0] + both[-1]).sum(), [True, True], [9, 11], 16),
    ]:
        loss.backward()
        assert op.seen == seen
        assert a.grad.tolist() == by_a
        assert b.grad.item() == by_b


def test_tuples():
    a, b = Tensor([1.0, 2.0]), Tensor(3.0)
    pair = ops.make_tuple(a, b)
    assert len(pair) == 2
    assert [t.tolist() for t in pair] == [[1, 2], 3]
    assert "TensorTuple" in repr(pair)
    assert [m.tolist() for m in pair.numpy()] == [[1, 2], 3]
    twice = pair + pair
    (twice[0].sum() * twice[1]).backward()
    assert a.grad.tolist() == [12, 12]
    assert b.grad.item() == 12
    assert all(t.is_leaf() for t in pair.detach())
    with pytest.raises(IndexError, match=r"TupleGetItem: index 2.*TensorTuple of 2"):
        _ = pair[2]
    with pytest.raises(TypeError, match=r"TupleGetItem.*int"):
        _ = pair["a"]
    with pytest.raises(TypeError, match=r"TupleGetItem.*TensorTuple.*Tensor.*make_tuple"):
        ops.tuple_get_item(a, 0)
    with pytest.raises(ValueError, match="2 and 1 members"):
        _ = pair + ops.make_tuple(a)


def test_wrong_rules_are_told_what_is_wrong():
    class Wrong(TensorOp):
        def __init__(self, returned):
            self.returned = returned

        def compute(self, a, b):
            return a * b

        def gradient(self, out_grad, node):
            return self.returned(out_grad)

    for returned, error, message in [
        (lambda g: g, ValueError, r"Wrong\.gradient returned 1 adjoint.*2 input.*a, b = node.inputs\n.*return out_"),
        (lambda g: None, TypeError, r"Wrong\.gradient returned None; write"),
        (lambda g: (g, g, g), ValueError, r"Wrong\.gradient returned 3 adjoint.*2 input"),
        (lambda g: (g, g.reshape(3, 1)), ValueError, r"Wrong\.gradient.*shape \(3, 1\).*shape \(3,\)"),
        (lambda g: (g.sum(), None), ValueError, r"Wrong\.gradient.*shape \(\).*shape \(3,\)"),
        (lambda g: (g.numpy(), g), TypeError, r"Wrong\.gradient.*ndarray.*Tensor"),
        (lambda g: (g, 1.0), TypeError, r"Wrong\.gradient.*float.*Tensor"),
        (lambda g: (g.broadcast_to(2, 3), g), ValueError, r"shape \(2, 3\) for .* of an output of shape \(3,\)"),
        (lambda g: (g > 0, g), TypeError, r"adjoint of dtype bool for an input of dtype float64"),
        (lambda g: (g.astype(int), g), TypeError, r"adjoint of dtype int64 for"),
        (lambda g: (g * 1j, g), TypeError, r"adjoint of dtype complex128 for"),
    ]:
        y = Wrong(returned)(Tensor(np.ones(3)), Tensor(np.ones(3)))
        with pytest.raises(error, match=f"(?s){message}"):
            y.backward()
        with pytest.raises(error, match=f"(?s){message}"):
            y.op.gradient_as_tuple(Tensor(np.ones(3)), y)
    y = Wrong(lambda g: [g, None])(Tensor(np.ones(3)), b := Tensor(np.ones(3)))
    y.backward()
    assert b.grad is None


def test_a_missing_rule_is_named():
    class Forward(TensorOp):
        def compute(self, a):
            return a

    with pytest.raises(NotImplementedError, match=r"Forward\.gradient\(out_grad, node\) is missing"):
        Forward()(Tensor(1.0)).backward()

    class Nothing(TensorOp):
        pass

    with pytest.raises(NotImplementedError, match=r"Nothing\.compute.*missing"):
        Nothing()(Tensor(1.0))


def test_gradient_as_tuple_can_be_called_by_anyone():
    a, b = Tensor(np.ones((2, 3), np.float32)), Tensor(np.full(3, 2.0, np.float32))
    out = a * b
    by_a, by_b = out.op.gradient_as_tuple(Tensor(np.ones((2, 3), np.float32)), out)
    assert by_a.tolist() == [[2, 2, 2], [2, 2, 2]]
    assert by_b.tolist() == [2, 2, 2]
    assert by_b.dtype == np.float32
    picked = a[[0, 0, 1]]
    (g,) = picked.op.gradient_as_tuple(Tensor(np.ones((3, 3))), picked)
    assert g.tolist() == [[2, 2, 2], [1, 1, 1]]
    out = ops.floor_divide(a, b)
    assert [g.tolist() for g in out.op.gradient_as_tuple(out, out)] == [[[0] * 3] * 2, [0] * 3]


# --------------------------------------------------------------------------------------- conversions, operands


def test_conversions_raise_while_a_gradient_is_recorded():
    x = Tensor([1.0, 2.0])
    y = Tensor(2.0)
    for convert, message in [
        (lambda: np.asarray(x), r"t\.numpy\(\)"),
        (lambda: np.sum(np.array(x * 2)), r"t\.numpy\(\)"),
        (lambda: float(y), r"t\.item\(\)"),
        (lambda: int(y), r"t\.item\(\)"),
        (lambda: complex(y * y), r"t\.item\(\)"),
        (lambda: [1, 2, 3][Tensor(1)], r"t\.item\(\)"),
    ]:
        with pytest.raises(TypeError, match=message):
            convert()
    with needle.no_grad():
        assert np.asarray(x).tolist() == [1, 2]
        assert float(y) == 2
    for t in [x.detach(), x.data, Tensor([1.0, 2.0], requires_grad=False)]:
        assert np.asarray(t).tolist() == [1, 2]
        assert np.asarray(t, dtype=np.float32).dtype == np.float32
    assert float(y.detach()) == int(y.detach()) == complex(y.detach()) == 2
    assert [1, 2, 3][Tensor(2, requires_grad=False)] == 3
    assert bool(y > 1)
    assert not (y > 5)
    with pytest.raises(ValueError, match="truth value"):
        bool(x > 1)
    with pytest.raises(TypeError, match="integer"):
        _ = [1, 2, 3][y.detach()]


def test_a_gradient_can_be_looked_at():
    x = Tensor([1.0, 2.0])
    y = (x * x).sum()
    y.backward()
    assert np.asarray(x.grad).tolist() == [2, 4]
    assert float(x.grad[0].detach()) == 2


def test_np_asarray_gives_a_copy():
    t = Tensor([1.0, 2.0], requires_grad=False)
    np.asarray(t)[0] = 50
    assert t.tolist() == [1, 2]


OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
    "@": lambda a, b: a @ b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "divmod": lambda a, b: divmod(a, b)[1],
}
INTEGER_OPERATORS = {
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
}


@pytest.mark.parametrize("symbol", [*OPERATORS, *INTEGER_OPERATORS])
def test_operators_in_both_orders_with_everything(symbol):
    operator = {**OPERATORS, **INTEGER_OPERATORS}[symbol]
    dtype = np.int64 if symbol in INTEGER_OPERATORS else np.float64
    a, b = np.array([1, 2, 3], dtype), np.array([3, 1, 2], dtype)
    t, u = Tensor(a), Tensor(b)
    pairs = [(t, u, a, b), (t, b, a, b), (a, u, a, b), (t, b.tolist(), a, b), (a.tolist(), u, a, b)]
    pairs += [(t, tuple(b), a, b)]
    if symbol != "@":
        scalar, number = b[0], b[0].item()
        pairs += [(t, number, a, number), (number, u, number, b), (t, scalar, a, scalar), (scalar, u, scalar, b)]
        pairs += [(t, np.array(2, dtype), a, 2), (np.array(2, dtype), u, 2, b), (t, Tensor(2), a, 2)]
    for left, right, x, y in pairs:
        got, expected = operator(left, right), operator(x, y)
        assert type(got) is Tensor
        assert got.dtype == np.asarray(expected).dtype
        assert_allclose(got.numpy(), expected, rtol=1e-15)


def test_operators_leave_unknown_types_to_answer():
    class Other:
        def __radd__(self, other):
            return "added"

        def __rmatmul__(self, other):
            return "multiplied"

        def __gt__(self, other):
            return "greater"

    x = Tensor([1.0])
    for symbol, operator in {**OPERATORS, **INTEGER_OPERATORS}.items():
        if symbol not in ["==", "!="]:
            for operands in [(x, "text"), (x, {}), (object(), x)]:
                with pytest.raises(TypeError):
                    operator(*operands)
    assert x + Other() == "added"
    assert x @ Other() == "multiplied"
    assert (x < Other()) == "greater"
    assert eq(x, None) is False
    assert ne(x, None) is True


def test_augmented_assignment_makes_a_new_tensor():
    x = Tensor([1.0, 2.0])
    y = x
    y += 1
    y *= np.array([2.0, 3.0])
    assert y.tolist() == [4, 9]
    assert x.tolist() == [1, 2]
    a = np.array([1.0, 2.0])
    a = a * x
    assert type(a) is Tensor


def test_hash_is_by_identity_and_equality_by_element():
    x, y = Tensor([1.0, 2.0]), Tensor([1.0, 3.0])
    assert (x == y).tolist() == [True, False]
    assert (x != y).tolist() == [False, True]
    assert {x: "x", y: "y"}[x] == "x"
    assert len({x, y, x}) == 2
    assert hash(x) != hash(Tensor([1.0, 2.0]))


def test_a_difference_is_a_sum_with_the_negative():
    a, b = Tensor(3.0), Tensor(2.0)
    c = a - b
    assert type(c.op) is ops.EWiseAdd
    assert c.inputs[0] is a
    assert type(c.inputs[1].op) is ops.Negate
    assert c.inputs[1].inputs == (b,)
    d = a - 2
    assert type(d.op) is ops.AddScalar
    assert d.op.scalar == -2
    e = 2 - a
    assert e.item() == -1
    e.backward()
    assert a.grad.item() == -1


KINDS = [np.bool_, np.uint8, np.int8, np.uint32, np.int64, np.float16, np.float32, np.float64, np.complex64]


@pytest.mark.parametrize("left", KINDS)
@pytest.mark.parametrize("right", KINDS)
def test_sums_and_differences_of_all_dtypes_are_numpys(left, right):
    """Also where a + (-b) is not a - b in b's own dtype: unsigned numbers wrap, booleans have no negative."""
    a, b = np.array([1, 0, 1]).astype(left), np.array([1, 1, 0]).astype(right)
    pairs = [(lambda x, y: x + y, a, b)]
    if left is not np.bool_ or right is not np.bool_:  # which NumPy does not subtract either
        pairs += [(lambda x, y: x - y, a, b)]
    for operate, x, y in pairs:
        expected = operate(x, y)
        for got in [operate(Tensor(x), Tensor(y)), operate(Tensor(x), y), operate(x, Tensor(y))]:
            assert_array_equal(got.numpy(), expected, strict=True)
            if got.requires_grad:
                got.backward()
        with needle.no_grad():
            assert_array_equal(operate(Tensor(x), Tensor(y)).numpy(), expected, strict=True)


@pytest.mark.parametrize("right", [np.bool_, np.uint8, np.uint32])
def test_the_gradient_of_a_difference_with_unsigned_numbers(right):
    a, b = Tensor([5.0, 6.0]), Tensor(np.array([1, 0]).astype(right))
    (a - b).backward(np.array([2.0, 3.0]))
    assert a.grad.tolist() == [2, 3]
    assert b.grad is None if right is np.bool_ else b.grad.tolist() == [-2, -3]


def test_a_python_number_is_part_of_its_op():
    x = Tensor([2.0])
    for y, op, number in [
        (x + 3, ops.AddScalar, 3),
        (3.5 + x, ops.AddScalar, 3.5),
        (x * 3, ops.MulScalar, 3),
        (3 * x, ops.MulScalar, 3),
        (x / 3, ops.DivScalar, 3),
        (x**3, ops.PowerScalar, 3),
        (3 / x, ops.RDivScalar, 3),
        (3**x, ops.RPowerScalar, 3),
        (ops.add_scalar(x, 3), ops.AddScalar, 3),
        (ops.mul_scalar(x, 3), ops.MulScalar, 3),
        (ops.divide_scalar(x, 3), ops.DivScalar, 3),
        (ops.power_scalar(x, 3), ops.PowerScalar, 3),
    ]:
        assert type(y.op) is op
        assert y.op.scalar == number
        assert y.inputs == (x,)


def test_transpose_swaps_two_axes():
    a = np.arange(24.0).reshape(2, 3, 4)
    x = Tensor(a)
    assert ops.transpose(x).shape == (2, 4, 3)
    assert x.transpose().shape == x.T.shape == (4, 3, 2)  # the methods are NumPy's
    for y in [ops.transpose(x, (0, 2)), x.transpose((0, 2)), x.transpose(0, 2), ops.transpose(x, axes=(-1, 0))]:
        assert_array_equal(y.numpy(), a.swapaxes(0, 2))
    assert x.mT.shape == (2, 4, 3)
    assert x[0].T.shape == (4, 3)
    assert x[0, 0].T.shape == (4,)
    for wrong in [(0,), (0, 1, 2), 1]:
        with pytest.raises(ValueError, match=r"transpose.*two axes"):
            ops.transpose(x, wrong)
    assert x.transpose(2, 0, 1).shape == (4, 2, 3)  # as many axes as there are, three or more: NumPy's permutation
    with pytest.raises(ValueError, match="transpose: axis 2 does not exist"):
        x[0].transpose(0, 1, 2)


def test_methods_take_axes_or_axis():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    for name in ["sum", "max", "mean", "logsumexp"]:
        method = getattr(x, name)
        for axes, shape in [(None, ()), (0, (3,)), (-1, (2,)), ((0, 1), ()), ((1,), (2,))]:
            assert method(axes).shape == method(axes=axes).shape == method(axis=axes).shape == shape
            assert_array_equal(method(axes).numpy(), method(axis=axes).numpy())
        assert method(axis=1, keepdims=True).shape == (2, 1)
        with pytest.raises(TypeError, match=rf"{name}: give axes or axis, not both"):
            method(0, axis=0)


def test_reshape_and_broadcast_take_a_tuple_or_numbers():
    x = Tensor(np.arange(6.0))
    assert x.reshape(2, 3).shape == x.reshape((2, 3)).shape == x.reshape(-1, 3).shape == (2, 3)
    assert x.broadcast_to(2, 6).shape == x.broadcast_to((2, 6)).shape == (2, 6)
    assert x.reshape(-1).shape == (6,)


def test_iteration_and_length():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2
    rows = list(x)
    assert [row.tolist() for row in rows] == [[1, 2], [3, 4]]
    a, b = x
    (a * b).sum().backward()
    assert x.grad.tolist() == [[3, 4], [1, 2]]
    with pytest.raises(TypeError, match="0-d"):
        len(Tensor(1.0))
    with pytest.raises(TypeError, match="0-d"):
        iter(Tensor(1.0))


def test_properties():
    x = Tensor(np.ones((2, 3), np.float32))
    assert (x.shape, x.ndim, x.size, x.nbytes, x.dtype) == ((2, 3), 2, 6, 24, np.float32)
    assert x.device == needle.cpu() == needle.default_device()
    assert needle.cpu() in needle.all_devices()
    assert repr(Tensor([1.0, 2.5])) == "needle.Tensor([1. , 2.5])"
    assert f"{Tensor(2.0):.2f}" == "2.00"
    assert f"{Tensor([1, 2])}" == "[1 2]"
    with pytest.raises(ValueError, match=r"Tensor\.item.*\(2, 3\)"):
        x.item()


def test_copies_and_pickles_keep_the_value_the_gradient_and_the_need():
    x = Tensor(np.array([1.0, 2.0], np.float32))
    (x * x).sum().backward()
    for made in [copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))]:
        assert made.tolist() == [1, 2]
        assert made.dtype == np.float32
        assert made.grad.tolist() == [2, 4]
        assert made.requires_grad
    k = pickle.loads(pickle.dumps(Tensor([1.0], requires_grad=False)))
    assert not k.requires_grad
    deep = copy.deepcopy(x)
    deep.cached_data[:] = 50
    deep.grad.cached_data[:] = 60
    assert x.tolist() == [1, 2]
    assert x.grad.tolist() == [2, 4]
    both = copy.deepcopy([x, x])
    assert both[0] is both[1]


def test_a_deep_copy_of_what_was_computed_keeps_the_gradient():
    x = Tensor([1.0, 2.0])
    y = copy.deepcopy({"y": x * x})["y"]
    y[0] = 5.0
    y.sum().backward()
    assert x.grad.tolist() == [0, 4]

    def f(x):
        a = copy.deepcopy(x)
        a[0] = a[1] ** 2
        return (a * x).sum()

    assert needle.grad(f)(np.array([1.0, 3.0])).tolist() == [9, 12]
    assert needle.jvp(f, (np.array([1.0, 3.0]),), (np.array([0.0, 1.0]),)) == (18, 12)
    with needle.no_grad():
        assert copy.deepcopy(x * x).is_leaf()
    assert copy.deepcopy(x.grad).is_leaf()


# ------------------------------------------------------------------------------------------------- lazy mode


def test_lazy_mode_computes_when_asked(monkeypatch):
    calls = []

    class Noted(TensorOp):
        def compute(self, a):
            calls.append(a.copy())
            return a * 2

        def gradient(self, out_grad, node):
            return out_grad * 2

    monkeypatch.setattr(autograd, "LAZY_MODE", True)
    x = Tensor([1.0, 2.0])
    y = Noted()(x)
    z = Noted()(y)
    assert not calls
    assert z.tolist() == [4, 8]
    assert len(calls) == 2
    assert y.tolist() == [2, 4]
    assert len(calls) == 2  # once
    z.sum().backward()
    assert x.grad.tolist() == [4, 4]
    unused = Noted()(x)
    del unused
    assert len(calls) == 2


def test_lazy_mode_uses_the_values_of_its_time(monkeypatch):
    monkeypatch.setattr(autograd, "LAZY_MODE", True)
    x = Tensor([1.0, 2.0])
    y = x * x
    z = y + 1
    x.data = [10.0, 20.0]
    assert z.tolist() == [2, 5]
    z.sum().backward()
    assert x.grad.tolist() == [2, 4]
    w = Tensor([1.0, 2.0])
    square = w * w
    w.cached_data[:] = 7
    assert square.tolist() == [1, 4]
    square.sum().backward()
    assert w.grad.tolist() == [2, 4]


def test_lazy_mode_can_be_left(monkeypatch):
    x = Tensor([1.0, 2.0])
    monkeypatch.setattr(autograd, "LAZY_MODE", True)
    y = x * x
    monkeypatch.setattr(autograd, "LAZY_MODE", False)
    z = (y * 3).sum()
    z.backward()
    assert x.grad.tolist() == [6, 12]
    assert y.tolist() == [1, 4]


def test_lazy_mode_names_the_op_that_fails(monkeypatch):
    monkeypatch.setattr(autograd, "LAZY_MODE", True)
    y = Tensor(np.ones(3)) + Tensor(np.ones(2))
    with pytest.raises(ValueError, match=r"EWiseAdd.*\(3,\).*\(2,\)"):
        _ = y.shape


# ------------------------------------------------------------------------------------------------- error messages


A, B, V = Tensor(np.ones((2, 3))), Tensor(np.ones((4, 3))), Tensor(np.ones(5))
ERRORS = {
    "add": (lambda: A + B, ValueError, ["EWiseAdd", "(2, 3)", "(4, 3)", "reshape|broadcast_to"]),
    "sub": (lambda: A - V, ValueError, ["EWiseSub", "(2, 3)", "(5,)", "reshape|broadcast_to"]),
    "mul": (lambda: A * V, ValueError, ["EWiseMul", "(2, 3)", "(5,)", "reshape|broadcast_to"]),
    "div": (lambda: A / V, ValueError, ["EWiseDiv", "(2, 3)", "(5,)", "reshape|broadcast_to"]),
    "pow": (lambda: A**V, ValueError, ["EWisePow", "(2, 3)", "(5,)", "reshape|broadcast_to"]),
    "less": (lambda: A < V, ValueError, ["less", "(2, 3)", "(5,)", "reshape|broadcast_to"]),
    "where": (lambda: ops.where(A > 0, A, V), ValueError, ["Where", "(2, 3)", "(5,)", "reshape|broadcast_to"]),
    "matmul": (lambda: A @ B, ValueError, ["MatMul", "(2, 3)", "(4, 3)", "transpose"]),
    "matmul vector": (lambda: A @ V, ValueError, ["MatMul", "(2, 3)", "(5,)", "transpose"]),
    "matmul 0-d": (lambda: A @ Tensor(2.0), ValueError, ["MatMul", "(2, 3)", "shape ()", "use *"]),
    "matmul number": (lambda: A @ 2.0, ValueError, ["MatMul", "use *"]),
    "matmul batch": (
        lambda: Tensor(np.ones((2, 2, 3))) @ Tensor(np.ones((3, 3, 2))),
        ValueError,
        ["MatMul", "(2, 2, 3)", "(3, 3, 2)", "batch axes", "broadcast"],
    ),
    "reshape": (lambda: A.reshape(4, 2), ValueError, ["Reshape", "(4, 2)", "(2, 3)", "-1"]),
    "reshape unknown": (lambda: A.reshape(-1, 4), ValueError, ["Reshape", "(-1, 4)", "(2, 3)"]),
    "broadcast_to": (lambda: A.broadcast_to(3, 3), ValueError, ["BroadcastTo", "(2, 3)", "(3, 3)", "reshape"]),
    "broadcast_to smaller": (lambda: A.broadcast_to((3,)), ValueError, ["BroadcastTo", "(2, 3)", "(3,)"]),
    "index": (lambda: A[5], IndexError, ["GetItem", "5", "(2, 3)"]),
    "too many indices": (lambda: A[0, 0, 0], IndexError, ["GetItem", "too many indices", "(2, 3)"]),
    "float index": (lambda: A[np.array([0.5])], IndexError, ["GetItem", "integers or booleans", "float64"]),
    "other mask": (lambda: A[np.array([True, False, True])], IndexError, ["GetItem", "boolean", "(2, 3)"]),
    "sum axis": (lambda: A.sum(2), ValueError, ["Summation", "axis 2", "2-d", "-2 to 1"]),
    "sum axis twice": (lambda: A.sum((0, -2)), ValueError, ["Summation", "(0, -2)", "twice"]),
    "sum axis float": (lambda: A.sum(0.5), TypeError, ["Summation", "axes", "int", "0.5"]),
    "sum axis bool": (lambda: A.sum(True), TypeError, ["Summation", "axes", "int", "True"]),
    "max axis": (lambda: A.max(-3), ValueError, ["Max", "axis -3", "2-d", "-2 to 1"]),
    "max of none": (lambda: Tensor(np.ones((0, 3))).max(), ValueError, ["Max", "(0, 3)", "no elements"]),
    "logsumexp axis": (lambda: A.logsumexp(7), ValueError, ["LogSumExp", "axis 7", "2-d"]),
    "softmax axis": (lambda: ops.softmax(A, 7), ValueError, ["Softmax", "axis 7", "2-d"]),
    "logsoftmax axis": (lambda: ops.logsoftmax(A, 7), ValueError, ["LogSoftmax", "axis 7", "2-d"]),
    "logsoftmax 0-d": (lambda: ops.logsoftmax(Tensor(1.0)), ValueError, ["LogSoftmax", "axis -1", "0-d"]),
    "mean axis": (lambda: A.mean(7), ValueError, ["mean", "axis 7", "2-d"]),
    "transpose axes": (lambda: ops.transpose(A, (0, 2)), ValueError, ["Transpose", "(2, 3)", "(0, 2)", "two axes"]),
    "transpose 1-d": (lambda: ops.transpose(V), ValueError, ["Transpose", "(5,)", "two axes"]),
    "softmax_loss": (lambda: ops.softmax_loss(A, B), ValueError, ["SoftmaxLoss", "same shape", "(2, 3)", "(4, 3)"]),
    "integer power": (lambda: Tensor([1, 2]) ** -1, ValueError, ["PowerScalar", "negative", "astype(float)"]),
    "text": (lambda: ops.exp("text"), TypeError, ["Exp", "Tensor", "str"]),
    "nothing": (lambda: ops.exp(None), TypeError, ["Exp", "Tensor", "NoneType"]),
    "add text": (lambda: ops.add(A, "text"), TypeError, ["EWiseAdd", "Tensor", "str"]),
    "bits of floats": (lambda: A & A, TypeError, ["bitwise_and", "float64"]),
    "complex cast": (lambda: Tensor([1j]).astype(float), TypeError, ["Cast", "complex", "a.real"]),
    "device": (lambda: Tensor([1.0], device="gpu"), ValueError, ["device", "gpu", "all_devices()"]),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_op_what_it_got_and_what_to_do(case):
    call, error, parts = ERRORS[case]
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    missing = [part for part in parts if not any(either in message for either in part.split("|"))]
    assert not missing, message
    assert len(message) < 500


def test_one_hot_says_what_it_needs():
    assert needle.cpu().one_hot(3, [2, 0]).tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(ValueError, match=r"one_hot.*0\.\.2.*3"):
        needle.cpu().one_hot(3, [0, 3])
    with pytest.raises(ValueError, match=r"one_hot.*-1"):
        needle.cpu().one_hot(3, [0, -1])
    with pytest.raises(TypeError, match=r"one_hot.*float64.*astype"):
        needle.cpu().one_hot(3, [0.5])


def test_devices_make_arrays():
    device = needle.cpu()
    assert device.zeros(2, 3).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert device.ones(2, dtype="float64").dtype == np.float64
    assert device.full((2,), 7).tolist() == [7, 7]
    assert device.empty(2, 3).shape == (2, 3)
    np.random.seed(0)
    first = device.randn(3), device.rand(3)
    np.random.seed(0)
    again = device.randn(3), device.rand(3)
    assert_array_equal(first, again)
    assert first[0].dtype == np.float32
    assert device.enabled()
    assert repr(device) == "needle.cpu()"


# ------------------------------------------------------------------------------ short cuts that must not be taken


class StraightThrough(ops.ReLU):
    """A ReLU whose gradient passes everywhere: its parent's rule on arrays is not its own."""

    def gradient(self, out_grad, node):
        return out_grad


def test_a_subclass_with_a_gradient_of_its_own_uses_it():
    x = Tensor([-1.0, 2.0])
    y = StraightThrough()(x)
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]
    assert y.op.gradient_as_tuple(Tensor([1.0, 1.0]), y)[0].tolist() == [1, 1]


def test_what_was_made_a_constant_after_its_use_gets_no_gradient():
    for f in [lambda x: x * 3, lambda x: -x, ops.relu, lambda x: x + 1, ops.tanh]:
        x, w = Tensor([1.0, 2.0]), Tensor([1.0, 2.0])
        y = (f(x) * w).sum()
        x.requires_grad = False
        y.backward()
        assert x.grad is None
        assert w.grad is not None


def test_wanted_in_a_rule_called_by_hand_inside_of_a_sweep():
    class ByHand(TensorOp):
        def compute(self, a, b):
            return a * b

        def gradient(self, out_grad, node):
            with needle.enable_grad():
                inner = Tensor(node.inputs[0]) * Tensor(node.inputs[1])
            return inner.op.gradient_as_tuple(out_grad, inner)

    a, b = Tensor(2.0), Tensor(3.0)
    ByHand()(a, b).backward()
    assert (a.grad.item(), b.grad.item()) == (3, 2)


def test_a_subclass_of_tensor_as_an_adjoint():
    class Parameter(Tensor):
        __slots__ = ()

    class Dot(TensorOp):
        def compute(self, a, w):
            return (a * w).sum()

        def gradient(self, out_grad, node):
            a, w = node.inputs
            return w, a

    a, w = Tensor([1.0, 2.0]), Parameter([3.0, 4.0])
    Dot()(a, w).backward()
    assert (a.grad.tolist(), w.grad.tolist()) == ([3, 4], [1, 2])


def test_adjoints_of_a_tuple_add_up_however_they_come():
    class SumOfTwo(TensorOp):
        def compute(self, t):
            return t[0] + t[1]

        def gradient(self, out_grad, node):
            return (ops.make_tuple(out_grad, out_grad),)

    for f in [lambda t: SumOfTwo()(t) + t[0], lambda t: t[0] + SumOfTwo()(t), lambda t: SumOfTwo()(t) + SumOfTwo()(t)]:
        a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
        t = ops.make_tuple(a, b)
        y = f(t)
        y.sum().backward()
        assert y.tolist() == (2 * (a + b) if y.tolist() == (2 * (a + b)).tolist() else 2 * a + b).tolist()
        assert a.grad.tolist() == [2, 2]
        assert b.grad.tolist() in ([1, 1], [2, 2])


def test_contributions_of_several_kinds_add_up():
    """Of elements, of members, of the whole, and of nothing, in every order."""
    uses = [
        lambda t: t[0][0],
        lambda t: 2 * t[0].sum(),
        lambda t: 3 * t[1][1] * t[0][1],
        lambda t: np.floor(t[0]).sum(),
        lambda t: needle.relu(t[1]).sum(),
        lambda t: t[0][[1, 1]].sum(),
    ]
    for order in itertools.permutations(uses):
        a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
        pair = ops.make_tuple(a, b)
        total = 0.0
        for use in order:
            total = total + use(pair)
        total.backward()
        assert a.grad.tolist() == [3, 16]
        assert b.grad.tolist() == [1, 7]


def test_a_gradient_never_shares_foreign_memory():
    memory = np.frombuffer(bytearray(24), np.float64)  # an array whose base is no array

    class Foreign(TensorOp):
        def compute(self, a):
            return np.array(3.0)

        def gradient(self, out_grad, node):
            return autograd.constant(memory)

    x = Tensor([1.0, 2.0, 3.0])
    Foreign()(x).backward()
    x.grad.cached_data[:] = 99
    assert memory.tolist() == [0, 0, 0]


# ------------------------------------------------------------------------------------------- out_grad, and what it was


def test_a_gradient_can_be_differentiated_after_its_out_grad_is_gone():
    for dtype in (np.float64, np.float32):
        x = Tensor([1.0, 2.0], dtype=dtype)
        y = x**3
        y.backward(Tensor([1.0, 1.0]))
        x.grad.backward()
        assert x.grad.tolist() == [6, 12]


def test_an_out_grad_that_is_changed_later_counts_as_it_was():
    for change in [lambda s: setattr(s, "data", np.array([10.0, 10.0])), lambda s: s.cached_data.fill(10)]:
        x, s = Tensor([1.0, 2.0]), Tensor([1.0, 1.0])
        y = x**2
        y.backward(s)
        change(s)
        x.grad.backward()
        assert x.grad.tolist() == [2, 2]


def test_a_gradient_is_differentiated_by_its_out_grad_in_another_dtype():
    x, s = Tensor([1.0, 2.0], dtype=np.float32), Tensor([3.0, 4.0])
    y = x**2
    y.backward(s)
    x.grad.sum().backward()
    assert s.grad.tolist() == [2, 4]
    assert s.grad.dtype == np.float64


def test_accumulated_gradients_keep_no_seeds_of_outputs_that_are_gone():
    x = Tensor(np.ones(3))
    for _ in range(50):
        y = x * x
        y.backward(np.ones(3), accumulate=True)
    assert len(x._grad.pasts) == 1
    assert x.grad.tolist() == [100, 100, 100]
    with pytest.raises(ValueError, match="gone"):
        x.grad.sum().backward()


def test_reading_a_gradient_again_and_again_keeps_nothing():
    x = Tensor([1.0, 2.0])
    y = (x * x).sum()
    y.backward()
    for _ in range(1000):
        assert x.grad is not None
    assert len(x._grad.pasts[0]._views) == 1


# --------------------------------------------------------------------------------------------------- interrupted, lazy


def test_an_interrupt_between_the_resets_of_a_rule_leaves_nothing_set(monkeypatch):
    def interrupted(op, out_grad, node, asked):
        autograd.set_recording(False)
        autograd.set_asked(asked)
        raise KeyboardInterrupt

    class Once(TensorOp):
        def compute(self, a):
            return 1.0 * a

        def gradient(self, out_grad, node):
            return out_grad

    x = Tensor([1.0, 2.0])
    y = Once()(x).sum()
    monkeypatch.setattr(Once, "pull_back", interrupted)
    with pytest.raises(KeyboardInterrupt):
        y.backward()
    assert needle.is_grad_enabled()
    assert autograd.wanted(x)


def test_lazy_values_are_those_of_when_they_were_written(monkeypatch):
    monkeypatch.setattr(autograd, "LAZY_MODE", True)
    x = Tensor([1.0])
    y = x * 2
    z = y * y
    y.cached_data[...] = 100
    z.backward()
    assert (z.item(), x.grad.item()) == (4, 8)
    x = Tensor([1.0, 2.0])
    y = x * x
    v = x.reshape(2, 1)
    y.numpy()
    x.cached_data[:] = 5
    v.cached_data[:] = np.nan
    y.sum().backward()
    assert x.grad.tolist() == [2, 4]
