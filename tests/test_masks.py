"""A branch that was not taken contributes a structural zero: no NaN leaks from an infinite slope behind it, whatever
operations lie between."""

from __future__ import annotations

from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, sqrt, where
from numpy.testing import assert_allclose, assert_array_equal

FIRST_NOT = Tensor(np.array([False, True]))
E1, E2 = np.exp(1.0), np.exp(2.0)


def overwritten(x: Any) -> Any:
    s = sqrt(x)
    s[0] = 1.0
    return s.sum()


def two_readings(x: Any) -> Any:
    s = sqrt(x)
    return where(x[:2] > 1, s[:2], 0.0).sum() + s[2]


def from_a_tuple(x: Any) -> Any:
    first, second = needle.make_tuple(sqrt(x), x * 1)
    return where(x > 1, first, second).sum()


# A function in which sqrt's slope is infinite at an element that does not count, where, and the gradient there.
CASES: dict[str, tuple[Any, Any, Any]] = {
    "a slice": (lambda x: where(x[1:] > 0.5, sqrt(x)[1:], 1.0).sum(), [0.0, 0.0, 4.0], [0, 0, 0.25]),
    "two readings of one tensor": (
        two_readings,
        [0.0, 4.0, 9.0],
        [0, 0.25, 1 / 6],
    ),
    "repeated indices": (
        lambda x: where(Tensor(np.array([False, True, True])), sqrt(x)[[0, 1, 1]], 0.0).sum(),
        [0.0, 4.0],
        [0, 0.5],
    ),
    "a boolean index": (lambda x: where(x[x < 9] > 1, sqrt(x)[x < 9], 0.0).sum(), [0.0, 4.0], [0, 0.25]),
    "a tuple": (
        from_a_tuple,
        [0.0, 4.0],
        [1, 0.25],
    ),
    "a maximum over an axis": (lambda x: sqrt(x).max(), [0.0, 4.0], [0, 0.25]),
    "rows of maxima": (
        lambda x: where(FIRST_NOT, sqrt(x).max(axis=1), 0.0).sum(),
        [[0.0, 0.0], [1.0, 4.0]],
        [[0, 0], [0, 0.25]],
    ),
    "rows of logsoftmax": (
        lambda x: needle.logsoftmax(where(FIRST_NOT.reshape(2, 1), sqrt(x), 0.0))[1, 0],
        [[0.0, 0.0], [1.0, 4.0]],
        [[0, 0], [(1 - E1 / (E1 + E2)) / 2, -E2 / (E1 + E2) / 4]],
    ),
    "behind logsoftmax": (
        lambda x: where(FIRST_NOT.reshape(2, 1), needle.logsoftmax(sqrt(x)), 0.0)[1, 0],
        [[0.0, 0.0], [1.0, 4.0]],
        [[0, 0], [(1 - E1 / (E1 + E2)) / 2, -E2 / (E1 + E2) / 4]],
    ),
    "behind softmax": (
        lambda x: where(FIRST_NOT.reshape(2, 1), needle.softmax(sqrt(x)), 0.0)[1].sum(),
        [[0.0, 0.0], [1.0, 4.0]],
        [[0, 0], [0, 0]],
    ),
    "behind logsumexp": (
        lambda x: where(FIRST_NOT, needle.logsumexp(sqrt(x), 1), 0.0).sum(),
        [[0.0, 0.0], [4.0, 4.0]],
        [[0, 0], [0.125, 0.125]],
    ),
    "behind a product with a vector": (
        lambda x: where(FIRST_NOT, sqrt(x) @ np.array([1.0, 2.0]), 0.0).sum(),
        [[0.0, 0.0], [1.0, 4.0]],
        [[0, 0], [0.5, 0.5]],
    ),
    "behind a matrix product": (
        lambda x: where(FIRST_NOT.reshape(2, 1), sqrt(x) @ np.ones((2, 3)), 0.0).sum(),
        [[0.0, 0.0], [1.0, 4.0]],
        [[0, 0], [1.5, 0.75]],
    ),
    "transposed and reshaped": (
        lambda x: where(FIRST_NOT, sqrt(x).T.reshape(2), 0.0).sum(),
        [[0.0, 4.0]],
        [[0, 0.25]],
    ),
    "broadcast": (lambda x: where(FIRST_NOT, sqrt(x).broadcast_to(3, 2), 0.0).sum(), [0.0, 4.0], [0, 0.75]),
    "sums": (
        lambda x: where(FIRST_NOT, sqrt(x).sum(axis=1), 0.0).sum(),
        [[0.0, 0.0], [4.0, 4.0]],
        [[0, 0], [0.25, 0.25]],
    ),
    "a checkpoint": (lambda x: where(x > 1, needle.checkpoint(sqrt)(x), 0.0).sum(), [0.0, 4.0], [0, 0.25]),
    "overwritten": (overwritten, [0.0, 4.0], [0, 0.25]),
    "relu": (lambda x: needle.relu(sqrt(x) - 1).sum(), [0.0, 4.0], [0, 0.25]),
    "in a chain": (lambda x: where(x > 1, (sqrt(x) * 2 + 1)[:], 0.0).sum(), [0.0, 4.0], [0, 0.5]),
}


@pytest.mark.parametrize("name", CASES)
def test_no_nan_leaks(name):
    f, x, expected = CASES[name]
    x = np.array(x)
    leaf = Tensor(x)
    with np.errstate(all="ignore"):
        f(leaf).backward()
        assert_allclose(leaf.grad.numpy(), expected, rtol=1e-12, atol=1e-12)
        assert_allclose(needle.grad(f)(x), expected, rtol=1e-12, atol=1e-12)
        again = needle.jacobian(lambda x: f(x).reshape(1))(x)
    assert_allclose(np.reshape(again, np.shape(expected)), expected, rtol=1e-12, atol=1e-12)


def test_no_nan_leaks_from_what_was_overwritten_into_second_derivatives():
    def f(x):
        u = x * np.nan
        u[:] = x**3
        return (u * u).sum()

    x, v = np.array([1.0, 2.0]), np.array([1.0, 0.5])
    for product in (
        needle.jvp(needle.grad(f), (x,), (v,))[1],
        needle.hvp(f, (x,), (v,)),
        needle.grad(lambda x: (needle.grad(f)(x) * v).sum())(x),
        needle.grad(lambda x: needle.jvp(f, (x,), (v,))[1])(x),
        needle.hessian(f)(x) @ v,
    ):
        assert_allclose(product, 30 * x**4 * v)


# ---------------------------------------------------------------------------- through every kind of op, to second order

GOOD = np.array([True, False, True])
EYE = np.eye(2)


def each(y: Any) -> Any:
    """A matrix of each row's first element."""
    return y[:, :1, None] * np.array([[1.0, 0.3], [0.3, 2.0]]) + np.diag([2.0, 4.0])


def with_first_column(y: Any, value: Any) -> Any:
    y = y * 1
    y[:, 0] = value(y)
    return y


# Functions of each row of y apart.
BEHIND: dict[str, Any] = {
    "abs": np.abs,
    "copysign": lambda y: np.copysign(y, np.ones((3, 1))),
    "heaviside": lambda y: y * np.heaviside(y, 0.5),
    "modf": lambda y: np.modf(y)[0],
    "std": lambda y: np.std(y, axis=1, keepdims=True),
    "norm": lambda y: np.linalg.norm(y, axis=1, keepdims=True),
    "cumsum": lambda y: np.cumsum(y, axis=1),
    "cumprod": lambda y: np.cumprod(y, axis=1),
    "sort": lambda y: np.sort(y, axis=1),
    "median": lambda y: np.median(y, axis=1, keepdims=True),
    "concatenate": lambda y: np.concatenate([y, np.ones((3, 1)), y], axis=1),
    "permuted": lambda y: np.transpose(np.transpose(y[:, :, None] * EYE[0], (2, 0, 1)), (1, 2, 0)),
    "matmul": lambda y: y @ np.ones((2, 2)),
    "einsum": lambda y: np.einsum("ij,jk->ik", y, np.ones((2, 2))),
    "einsum of itself": lambda y: np.einsum("ij,ij->i", y, y)[:, None],
    "fft": lambda y: np.abs(np.fft.fft(y, axis=1)),
    "rfft": lambda y: np.fft.rfft(y, axis=1).real,
    "det": lambda y: np.linalg.det(each(y))[:, None],
    "slogdet": lambda y: np.linalg.slogdet(each(y))[1][:, None],
    "inv": lambda y: np.linalg.inv(each(y)),
    "solve": lambda y: np.linalg.solve(each(y), EYE),
    "cholesky": lambda y: np.linalg.cholesky(each(np.tanh(y))),
    "a column": lambda y: with_first_column(y, lambda y: 1.0),
    "a column of its own": lambda y: with_first_column(y, lambda y: y[:, 1] * 2),
    "a checkpoint": needle.checkpoint(np.tanh),
    "a tuple": lambda y: needle.make_tuple(y, y * 2)[1],
    "parts of complex numbers": lambda y: (y * (2 + 1j)).real + (y * (2 + 1j)).imag,
}


def overwritten_rows(y: Any) -> Any:
    y = y * 1
    y[~GOOD] = 7.0
    return y


CHOICES: dict[str, Any] = {
    "where": lambda y: where(GOOD.reshape((3,) + (1,) * (y.ndim - 1)), y, 0.0),
    "assigned": overwritten_rows,
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("slope", [sqrt, needle.log])
@pytest.mark.parametrize("name", BEHIND)
def test_no_nan_leaks_through(name, slope, choice):
    """A row whose slope is infinite does not count: all is as if it were another one."""

    def f(x: Any) -> Any:
        return (CHOICES[choice](BEHIND[name](slope(x))) ** 2).sum()

    def safe(x: Any) -> Any:
        return f(where(GOOD[:, None], x, 0.5))

    x = np.array([[0.3, 0.7], [0.0, 0.0], [0.9, 0.4]])
    v = np.array([[0.5, -1.0], [2.0, 1.0], [-0.3, 0.8]])
    leaf = Tensor(x)
    with np.errstate(all="ignore"):
        expected, second = needle.grad(safe)(x), needle.hvp(safe, (x,), (v,))
        f(leaf).backward()
        found = {
            "backward": leaf.grad.numpy(),
            "grad": needle.grad(f)(x),
            "jvp": (needle.jvp(f, (x,), (v,))[1] - np.sum(expected * v)) + expected,
        }
        found_second = {
            "hvp": needle.hvp(f, (x,), (v,)),
            "jvp of grad": needle.jvp(needle.grad(f), (x,), (v,))[1],
            "grad of grad": needle.grad(lambda x: (needle.grad(f)(x) * v).sum())(x),
            "grad of jvp": needle.grad(lambda x: needle.jvp(f, (x,), (v,))[1])(x),
            "hessian": np.tensordot(needle.hessian(f)(x), v, 2),
        }
    for mode, gradient in found.items():
        assert_allclose(gradient, expected, rtol=1e-9, atol=1e-9, err_msg=mode)
    for mode, product in found_second.items():
        assert_allclose(product, second, rtol=1e-9, atol=1e-9, err_msg=mode)


@pytest.mark.parametrize("product", [lambda a, W: a @ W, lambda a, W: np.einsum("ij,jk->ik", a, W)])
def test_a_factor_that_all_rows_share(product):
    rows = np.array([[1.0, 2.0], [np.nan, 3.0], [4.0, np.inf]])
    mask = np.array([[True], [False], [False]])

    def f(W: Any) -> Any:
        return where(mask, product(Tensor(rows, requires_grad=False), W), 0.0).sum()

    W, expected = np.ones((2, 2)), [[1, 1], [2, 2]]
    leaf = Tensor(W)
    with np.errstate(invalid="ignore"):  # some processors' matrix products warn of NaN
        f(leaf).backward()
        assert_array_equal(leaf.grad.numpy(), expected)
        assert_array_equal(needle.grad(f)(W), expected)
        assert_array_equal(needle.hvp(lambda W: f(W) ** 2, (W,), (W,)), 2 * 6 * np.array(expected))


def test_what_is_constant_between_jumps_passes_no_nan():
    x = np.array([0.0, 4.0])
    with np.errstate(divide="ignore"):
        assert_array_equal(needle.grad(lambda x: (np.floor(sqrt(x)) + np.sign(np.log(x + 0.0))).sum())(x), [0, 0])
    leaf = Tensor(x)
    y = sqrt(leaf)
    y.retain_grad()
    np.floor(y).sum().backward()
    assert_array_equal(y.grad.numpy(), [0, 0])
    assert_array_equal(leaf.grad.numpy(), [0, 0])


@pytest.mark.parametrize("seed", range(20))
def test_no_gradient_is_masked_that_counts(seed):
    """Values that are used several times, in part masked: forward mode knows no masks, and says the same."""
    some = [
        lambda a, mask: where(mask, a, np.sin(a)),
        lambda a, mask: where(mask[:, :1], a, a.sum() * 0.1),
        lambda a, mask: np.maximum(a, 0.5) * np.minimum(a, 0.9),
        lambda a, mask: needle.relu(a - 0.5) + np.clip(a, 0.3, 0.8),
        lambda a, mask: (BEHIND["a column of its own"](a) @ np.ones((2, 2))) * a,
        lambda a, mask: np.concatenate([a, a[::-1]], axis=1)[:, 1:3],
    ]

    def f(x: Any) -> Any:
        rng = np.random.default_rng(seed)
        pool, total = [x, sqrt(x), x * x], 0.0
        for _ in range(rng.integers(2, 6)):
            a, mask = pool[rng.integers(len(pool))], rng.random((3, 2)) < 0.5
            b = some[rng.integers(len(some))](a, mask)
            pool.append(b)
            total = total + (where(rng.random((3, 2)) < 0.5, b, 0.0) * rng.normal(size=(3, 2))).sum()
            total = total + (b * b).sum() * (rng.random() < 0.5)
        return total

    rng = np.random.default_rng([seed, 1])
    x, v = rng.uniform(0.25, 1.2, (3, 2)), rng.normal(size=(3, 2))
    leaf = Tensor(x)
    f(leaf).backward()
    assert_allclose(np.sum(leaf.grad.numpy() * v), needle.jvp(f, (x,), (v,))[1], rtol=1e-9, atol=1e-9)
    twice = needle.jvp(lambda x: needle.jvp(f, (x,), (v,))[1], (x,), (v,))[1]
    for product in (needle.hvp(f, (x,), (v,)), needle.grad(lambda x: (needle.grad(f)(x) * v).sum())(x)):
        assert_allclose(np.sum(product * v), twice, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("poisoned", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_products_of_which_rows_and_columns_do_not_count(seed, bias, poisoned):
    rng = np.random.default_rng(seed)
    X, W, b, c = rng.normal(size=(4, 3)), rng.normal(size=(3, 5)), rng.normal(size=5), rng.normal(size=(4, 5))
    mask = rng.random((4, 5)) < 0.6
    if seed % 2:
        mask[rng.integers(4)] = False
    if seed % 3:
        mask[:, rng.integers(5)] = False
    rows, columns = mask.any(1), mask.any(0)
    by_product = np.where(mask, c, 0)
    roots = np.where(rows[:, None], np.abs(X), 0 if poisoned else np.abs(X))  # whose slopes are infinite at 0
    expected = by_product @ W.T / (2 * np.where(roots == 0, 1, roots) ** 0.5), (roots**0.5).T @ by_product
    given = np.where(columns, W, np.nan if poisoned else W)
    leaves = Tensor(roots), Tensor(given), Tensor(b)
    with np.errstate(all="ignore"):
        product = sqrt(leaves[0]) @ leaves[1]
        (where(mask, product + leaves[2] if bias else product, 0.0) * c).sum().backward()
    assert_allclose(leaves[0].grad.numpy(), expected[0], atol=1e-14)
    assert_allclose(leaves[1].grad.numpy(), expected[1], atol=1e-14)
    if bias:
        assert_allclose(leaves[2].grad.numpy(), by_product.sum(0), atol=1e-14)


@pytest.mark.parametrize("masked_first", [False, True])
@pytest.mark.parametrize("n", [1, 62, 63, 64, 65, 200])
def test_many_readings_beside_one_that_does_not_count(n, masked_first):
    z = Tensor([0.0, 2.0])
    with np.errstate(divide="ignore"):
        x = needle.log(z)
    one = needle.relu(x[0])
    total = one if masked_first else 0 * x[1]
    for _ in range(n):
        total = total + x[1]
    (total if masked_first else total + one).backward()
    assert z.grad.tolist() == [0, n / 2]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex128, np.int64])
@pytest.mark.parametrize("n", [63, 64, 200])
def test_many_readings_of_a_leaf(n, dtype):
    """With sums and choices of the whole, before and after, and places that are read again and again."""
    x = Tensor(np.arange(1, 8).astype(dtype), requires_grad=True)
    total = (x * x).sum() + where(x.real > 3, x, 0).sum()
    for i in range(n):
        total = total + 2 * x[i % 7] + x[[i % 5, i % 5]].sum() + x[i % 3 :].sum()
    (total + (3 * x).sum()).real.backward()
    counts = [np.bincount(np.arange(n) % m, minlength=7) for m in (7, 5, 3)]
    value = np.arange(1, 8)
    expected = 2 * value + (value > 3) + 2 * counts[0] + 2 * counts[1] + np.cumsum(counts[2]) + 3
    assert_allclose(x.grad.numpy(), expected, rtol=1e-2 if dtype == np.float16 else 1e-6)
    assert x.grad.dtype == (np.float64 if dtype == np.int64 else dtype)
