"""A branch that was not taken contributes a structural zero: no NaN leaks from an infinite slope behind it, whatever
operations lie between."""

from __future__ import annotations

from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, sqrt, where
from numpy.testing import assert_allclose

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
