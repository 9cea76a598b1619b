"""Points where frameworks have given NaN, a wrong number or a wrong shape, and what is given here."""

from __future__ import annotations

import math
import warnings
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, ops
from numpy.testing import assert_allclose, assert_array_equal

INF, NAN = np.inf, np.nan


def gradient(function: Any, *values: Any) -> Any:
    """The gradients of the summed output by each input, as lists; of a single input, its own."""
    leaves = [Tensor(np.asarray(v, dtype=None if np.asarray(v).dtype.kind in "fc" else float)) for v in values]
    function(*leaves).sum().backward()
    found = [leaf.grad.tolist() for leaf in leaves]
    return found[0] if len(found) == 1 else found


def derivatives(function: Any, at: float, orders: int) -> list[float]:
    """Derivatives at a point, from the first on, each by differentiating the one before."""
    x = Tensor(float(at))
    output, alive, found = function(x), [], []
    for _ in range(orders):
        output.backward()
        alive.append(output)
        output = x.grad
        found.append(output.item())
    return found


# ------------------------------------------------------------------------------------------------------------ powers


def test_square_root_at_zero_is_infinite_with_numpys_warning():
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert gradient(ops.sqrt, 0.0) == INF
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert gradient(ops.sqrt, [0.0, 4.0]) == [INF, 0.25]


def test_power_by_the_base_at_zero():
    for y, slope in [(0.0, 0), (1.0, 1), (2.0, 0), (3.0, 0)]:
        assert gradient(lambda x, y=y: x ** Tensor(y), 0.0) == slope
        assert gradient(lambda x, y=y: x ** Tensor(y, requires_grad=False), 0.0) == slope
        assert gradient(lambda x, y=y: x**y, 0.0) == slope
        assert gradient(lambda x, y=y: x ** int(y), 0.0) == slope
    assert gradient(lambda x: x ** np.array([0.0, 1.0, 2.0]), [0.0, 0.0, 0.0]) == [0, 1, 0]


def test_power_of_a_negative_base():
    """No logarithm is taken while the exponent needs no gradient, so there is nothing to warn of."""
    base = Tensor(-2.0)
    (base ** np.array([2.0, 3.0])).backward(np.array([1.0, 0.0]))
    assert base.grad.item() == -4
    (base ** np.array([2.0, 3.0])).backward(np.array([0.0, 1.0]))
    assert base.grad.item() == 12
    bases = Tensor([-2.0, -2.0])
    (bases ** np.array([2.0, 3.0])).backward()
    assert bases.grad.tolist() == [-4, 12]
    y = (bases ** Tensor([2.0, 3.0], requires_grad=False)).sum()
    y.backward()
    bases.grad.sum().backward()
    assert bases.grad.tolist() == [2, -12]


def test_second_derivatives_of_powers_at_zero():
    assert derivatives(lambda x: x**2, 0, 3) == [0, 2, 0]
    assert derivatives(lambda x: x ** Tensor(2.0, requires_grad=False), 0, 3) == [0, 2, 0]
    assert derivatives(lambda x: x**3, 0, 4) == [0, 0, 6, 0]
    assert derivatives(lambda x: x ** Tensor(3.0, requires_grad=False), 0, 4) == [0, 0, 6, 0]
    assert derivatives(lambda x: x**1, 0, 3) == [1, 0, 0]
    assert derivatives(lambda x: x ** Tensor(1.0, requires_grad=False), 0, 3) == [1, 0, 0]
    assert derivatives(lambda x: x**0, 0, 3) == [0, 0, 0]
    assert derivatives(lambda x: x ** Tensor(0.0, requires_grad=False), 0, 3) == [0, 0, 0]
    assert derivatives(lambda x: x * x**1.5, 0, 2) == [0, 0]


def test_mixed_second_derivative_of_a_power():
    x, y = Tensor(2.0), Tensor(3.0)
    z = x**y
    z.backward()
    x.grad.backward()  # of y x**(y-1)
    assert_allclose([x.grad.item(), y.grad.item()], [12, 4 + 12 * math.log(2)], rtol=1e-14)


# -------------------------------------------------------------------------------------------- corners, ties, branches


def test_corners_have_slope_zero():
    assert gradient(ops.relu, [-1.0, 0.0, -0.0, 2.0]) == [0, 0, 0, 1]
    assert gradient(ops.absolute, [-1.0, 0.0, -0.0, 2.0]) == [-1, 0, 0, 1]
    assert_allclose(gradient(abs, [0j, 3 + 4j]), [0j, 0.6 + 0.8j], rtol=1e-15)
    assert derivatives(ops.relu, 0, 2) == [0, 0]
    assert derivatives(ops.absolute, 0, 2) == [0, 0]
    assert derivatives(lambda x: ops.relu(x) ** 2, 0, 2) == [0, 0]
    assert derivatives(lambda x: ops.relu(x) ** 2, 3, 3) == [6, 2, 0]


def test_ties_share():
    assert gradient(ops.max, [1.0, 1.0, 0.0]) == [0.5, 0.5, 0]
    assert gradient(lambda x: ops.max(x, 1), [[1.0, 1.0], [2.0, 3.0]]) == [[0.5, 0.5], [0, 1]]
    assert gradient(lambda x: ops.max(x, (0, 1)), [[3.0, 3.0], [3.0, 1.0]]) == [[1 / 3, 1 / 3], [1 / 3, 0]]
    assert gradient(ops.max, [INF, INF, 0.0]) == [0.5, 0.5, 0]
    assert gradient(ops.max, [-INF, -INF]) == [0.5, 0.5]
    x = Tensor([2, 2, 1])
    x.max().backward()
    assert x.grad.tolist() == [0.5, 0.5, 0]
    assert x.grad.dtype == np.float64


def test_a_branch_not_taken_lets_no_nan_pass():
    def rooted(x):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return ops.where(x >= 0, x, ops.sqrt(-x))

    x = Tensor(1.0)
    rooted(x).backward()
    assert x.grad.item() == 1
    both = Tensor([1.0, -4.0])
    rooted(both).backward()
    assert both.grad.tolist() == [1, -0.25]
    y = rooted(x)
    y.backward()
    x.grad.backward()
    assert x.grad.item() == 0


# -------------------------------------------------------------------------------------------------- exponentials


def test_logsumexp_at_infinities():
    assert gradient(ops.logsumexp, [-INF, 0.0]) == [0, 1]
    x = Tensor([-INF, -INF])
    y = ops.logsumexp(x)
    assert y.item() == -INF
    y.backward()
    assert not np.isnan(x.grad.numpy()).any()
    assert ops.logsumexp(Tensor([INF, 0.0])).item() == INF
    assert gradient(ops.logsumexp, [INF, 0.0]) == [1, 0]
    assert ops.logsumexp(Tensor([INF, INF])).item() == INF
    assert ops.logsumexp(Tensor(np.zeros((0, 2))), 0).tolist() == [-INF, -INF]


def test_second_order_of_logsumexp_at_infinities():
    x = Tensor([-INF, 0.0, 0.0])
    y = ops.logsumexp(x)
    y.backward()
    assert x.grad.tolist() == [0, 0.5, 0.5]
    (x.grad * Tensor([1.0, 2.0, 3.0], requires_grad=False)).sum().backward()
    assert x.grad.tolist() == [0, -0.25, 0.25]


def test_exponentials_far_out():
    for value in [1e4, -1e4, 1e300]:
        x = Tensor([value, value])
        y = ops.logsumexp(x)
        assert_allclose(y.item(), value + math.log(2))
        y.backward()
        assert x.grad.tolist() == [0.5, 0.5]
    assert_allclose(ops.logsoftmax(Tensor([0.0, 1000.0])).numpy(), [-1000, 0])
    assert ops.softmax(Tensor([0.0, -1000.0, 0.0])).tolist() == [0.5, 0, 0.5]
    assert gradient(lambda x: ops.tanh(x) * 2, [-1000.0, 1000.0]) == [0, 0]
    big = Tensor(np.array([100.0, 0.0], np.float32))
    ops.logsumexp(big).backward()
    assert big.grad.tolist() == [1, np.float32(np.exp(-100.0))]


def test_softmax_at_infinities():
    assert ops.softmax(Tensor([-INF, 0.0])).tolist() == [0, 1]
    assert ops.softmax(Tensor([INF, 0.0])).tolist() == [1, 0]
    assert ops.softmax(Tensor([INF, INF])).tolist() == [0.5, 0.5]
    assert gradient(lambda x: (ops.softmax(x) * np.array([1.0, 2.0])).sum(), [-INF, 0.0]) == [0, 0]
    assert ops.logsoftmax(Tensor([-INF, 0.0])).tolist() == [-INF, 0]
    assert np.isnan(ops.softmax(Tensor([NAN, 0.0])).numpy()).all()


def test_a_wide_row_does_not_disturb_its_neighbours():
    """One row far below or above the others: each row is shifted by its own maximum where it matters."""
    rows = np.array([[0.0, 1.0], [-2000.0, -2001.0], [5e4, 5e4 + 3], [-INF, 2.0]])
    for function in [ops.logsoftmax, ops.softmax]:
        together = function(Tensor(rows)).numpy()
        alone = np.stack([function(Tensor(row)).numpy() for row in rows])
        assert_allclose(together, alone, rtol=1e-15)
    assert_allclose(
        ops.logsumexp(Tensor(rows), 1).numpy(), [ops.logsumexp(Tensor(row)).item() for row in rows], rtol=1e-15
    )


def test_softmax_loss_far_out():
    targets = np.array([[1.0, 0.0], [0.0, 1.0]])
    logits = Tensor([[0.0, -INF], [-1000.0, 1000.0]])
    loss = ops.softmax_loss(logits, Tensor(targets, requires_grad=False))
    assert loss.item() == 0
    loss.backward()
    assert logits.grad.tolist() == [[0, 0], [0, 0]]
    wrong = Tensor([[-1000.0, 1000.0], [0.0, 0.0]])
    loss = ops.softmax_loss(wrong, Tensor(targets, requires_grad=False))
    assert_allclose(loss.item(), (2000 + math.log(2)) / 2)
    loss.backward()
    assert_allclose(wrong.grad.numpy(), [[-0.5, 0.5], [0.25, -0.25]])


def test_softmax_loss_by_labels():
    logits = Tensor([[0.0, -INF, 1.0], [3.0, 800.0, -800.0]])
    loss = ops.softmax_loss(logits, [0, 2])
    assert loss.item() == ops.softmax_loss(logits, np.eye(3)[[0, 2]]).item()
    loss.backward()
    assert_allclose(logits.grad.numpy(), [[-0.36552929, 0, 0.36552929], [0, 0.5, -0.5]], rtol=1e-7)
    assert ops.softmax_loss(Tensor([[0.0, -INF]]), [1]).item() == INF
    assert np.isnan(ops.softmax_loss(np.zeros((0, 3)), np.zeros(0, int)).item())
    assert np.isnan(ops.softmax_loss(np.zeros((0, 0)), np.zeros(0, int)).item())
    labels = Tensor([0, 2])  # integers may need a gradient, too
    ops.softmax_loss(logits.detach(), labels).backward()
    assert labels.grad.tolist() == [0, 0]
    for wrong, range_ in (([0, 3], "0 to 3"), ([0, -1], "-1 to 0")):
        with pytest.raises(ValueError, match=f"SoftmaxLoss: labels must lie in 0..2 .* got values from {range_}"):
            ops.softmax_loss(logits, wrong)
    with pytest.raises(ValueError, match="of integers, the labels from 0 to classes - 1"):
        ops.softmax_loss(logits, [0.0, 2.0])


# ------------------------------------------------------------------------------------------------ indices and shapes


def test_repeated_indices_add_up():
    assert gradient(lambda x: x[[0, 0, 2]], [1.0, 2.0, 3.0]) == [2, 0, 1]
    assert gradient(lambda x: x[np.array([[0, 0], [0, -3]])], [1.0, 2.0, 3.0]) == [4, 0, 0]
    x = Tensor([1.0, 2.0, 3.0])
    y = (x[[0, 0, 2]] ** 2).sum()
    y.backward()
    x.grad.sum().backward()
    assert x.grad.tolist() == [4, 0, 2]


def test_elements_read_one_by_one():
    x = Tensor(np.arange(5.0))
    total = sum((x[i] * x[i] for i in range(5)), Tensor(0.0)) + x[1:3].sum()
    total.backward()
    assert x.grad.tolist() == [0, 3, 5, 6, 8]


def test_gradients_of_one_element_keep_their_shape():
    for shape in [(), (1,), (1, 1), (1, 1, 1)]:
        for other in [(), (1,), (3,), (2, 1), (1, 1, 1)]:
            x, y = Tensor(np.full(shape, 2.0)), Tensor(np.full(other, 3.0))
            (x * y).sum().backward()
            assert x.grad.shape == shape
            assert y.grad.shape == other
            (x / y).backward()
            assert (x.grad.shape, y.grad.shape) == (shape, other)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0)])
def test_a_whole_computation_on_an_awkward_shape(shape):
    x = Tensor(np.ones(shape))
    y = ops.tanh(ops.relu(x * 2 + 1) / ops.exp(-x)) ** 2 - ops.sqrt(x) * ops.where(x > 0, x, -x)
    assert y.shape == shape
    loss = y.sum() + y.mean(axis=()).sum() + ops.logsumexp(y, axes=())[...].sum()
    loss.backward()
    assert x.grad.shape == shape
    x.grad.sum().backward()
    assert x.grad.shape == shape


def test_the_mean_of_nothing_is_nan_and_of_one_is_itself():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert math.isnan(ops.mean(Tensor(np.zeros(0))).item())
    assert gradient(ops.mean, 3.0) == 1


# ------------------------------------------------------------------------------------------------------------ dtypes


def test_a_scalar_of_python_and_one_of_numpy():
    x = Tensor(np.ones(3, np.float32))
    assert (2.0 * x).dtype == np.float32
    assert (np.float64(2.0) * x).dtype == np.float64
    assert (np.float32(2.0) * x).dtype == np.float32
    for y in [2.0 * x, np.float64(2.0) * x]:
        y.sum().backward()
        assert x.grad.dtype == np.float32
        assert x.grad.tolist() == [2, 2, 2]


def test_a_gradient_is_not_truncated_to_integers():
    x = Tensor([1, 2])
    (x / 4).sum().backward()
    assert x.grad.tolist() == [0.25, 0.25]
    (x**0.5).sum().backward()
    assert_allclose(x.grad.numpy(), 0.5 / np.sqrt([1, 2]))


def test_perturbations_are_not_confused():
    x = Tensor(5.0)

    def inner(at):
        y = Tensor(at.numpy())
        z = at + y
        z.backward()
        return y.grad

    (x * inner(x)).backward()
    assert x.grad.item() == 1


def test_nan_goes_where_it_belongs_and_nowhere_else():
    x = Tensor([NAN, 1.0])
    (x * x).sum().backward()
    assert_array_equal(x.grad.numpy(), [NAN, 2])
    assert_array_equal(gradient(ops.max, [1.0, NAN]), [0, 1])


def test_no_rule_warns_of_its_own_inner_workings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = Tensor([0.0, -1.0, 2.0])
        for function in [lambda x: x**2, lambda x: x**3, lambda x: x**0, ops.relu, ops.absolute, ops.exp, ops.tanh]:
            y = function(x).sum()
            y.backward()
            x.grad.sum().backward()
            assert np.isfinite(x.grad.numpy()).all()
    assert needle.is_grad_enabled()


def branches(x):
    root = ops.sqrt(x)
    yield ops.where(x > 1, ops.astype(root, np.float32), Tensor(np.float32(1), requires_grad=False))
    yield ops.where(x > 1, ops.add(root, Tensor([1.0, 1.0]), alpha=2.0), 1.0)
    yield ops.where(x > 1, ops.masked(root, np.array([True, True])), 1.0)
    yield ops.where(x > 1, ops.real(root), 1.0)
    yield ops.where(np.array([[False, True]] * 3), root, 0.0)
    yield ops.where(np.array([[False, True]] * 3), root.broadcast_to(3, 2), 0.0)


@pytest.mark.parametrize("which", range(6))
def test_a_branch_not_taken_behind_other_operations(which):
    x = Tensor([0.0, 4.0])
    y = list(branches(x))[which]
    y.sum().backward()
    assert x.grad.numpy()[0] == 0
    assert np.isfinite(x.grad.numpy()).all()


def test_a_row_whose_norm_was_not_taken():
    x = Tensor([[0.0, 0.0], [3.0, 4.0]])
    n = ops.sqrt((x**2).sum(1, True))
    with np.errstate(invalid="ignore"):
        ops.where(n > 0.5, x / n, x).sum().backward()
    assert x.grad.numpy()[0].tolist() == [1, 1]
    z = Tensor(0.0)
    ops.where(np.array([False, False]), ops.sqrt(z), 1.0).sum().backward()
    assert z.grad.item() == 0


def test_float16_counts_rows_and_repeats():
    logits = Tensor(np.zeros((70000, 2)), dtype=np.float16)
    ops.softmax_loss(logits, np.tile(np.array([1, 0], np.float16), (70000, 1))).backward()
    assert_allclose(logits.grad.numpy()[0], np.array([-0.5, 0.5]) / 70000, rtol=0.01)
    x = Tensor(np.ones(1), dtype=np.float16)
    x[[0] * 5000].sum().backward()
    assert x.grad.item() == 5000


def test_the_loss_of_many_confident_rows_is_small_and_not_negative():
    logits = np.zeros((100_000, 3), np.float32)
    logits[:, 1] = 20
    targets = np.zeros_like(logits)
    targets[:, 1] = 1
    assert_allclose(ops.softmax_loss(logits, targets).item(), np.log1p(2 * np.exp(-20.0)), atol=2e-7)


def test_a_numpy_scalar_gives_one_dtype_whatever_the_size():
    for n in (10, 1 << 18):
        assert ops.mul_scalar(Tensor(np.ones(n, np.float32)), np.float64(2)).dtype == np.float64
        assert ops.mul_scalar(Tensor(np.ones(n, np.float32)), 2.0).dtype == np.float32


def test_elementwise_ops_whose_memory_needle_must_not_choose():
    class IsNan(ops.base.Elementwise):
        ufunc, saves = "isnan", ()

    class Twice(ops.base.Elementwise):
        def compute(self, a):
            return 2 * a

        def gradient(self, out_grad, node):
            return 2 * out_grad

    for n in (10, 1 << 18):
        assert IsNan()(Tensor(np.ones(n, np.float32))).dtype == bool
        x = Tensor(np.ones(n, np.float32))
        Twice()(x).sum().backward()
        assert x.grad.numpy().max() == x.grad.numpy().min() == 2
