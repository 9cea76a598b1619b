"""Digits are kept: in sums of many float32 numbers, and far out, where the tails of functions nearly vanish."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from needle import ops
from needle.backend import sum_over
from needle.scipy import special
from numpy.testing import assert_allclose

ROWS = 200_000
EQUAL = np.full((ROWS, 3), 0.1, np.float32)
"""Added one by one, 0.3 % of their sum is lost: each addition rounds the same way."""
SUM = EQUAL.sum(0, dtype=float)
FIRST = np.zeros(ROWS, int)


def gradient(f: Callable[[Any], Any]) -> Any:
    """The gradient of the sum of f at three float32 ones."""
    return needle.grad(lambda x: f(x).sum())(np.ones(3, np.float32))


LONG_SUMS: dict[str, tuple[Callable[[], Any], Any]] = {
    "sum": (lambda: nnp.sum(EQUAL, axis=0), SUM),
    "sum of columns": (lambda: nnp.sum(EQUAL.T, axis=-1), SUM),
    "sum of a part": (lambda: nnp.sum(EQUAL[:, :2]), SUM[:2].sum()),
    "sum of repeated rows": (lambda: nnp.sum(np.broadcast_to(EQUAL[0], EQUAL.shape), axis=0), SUM),
    "sum over several axes": (lambda: nnp.sum(EQUAL.reshape(2, -1, 3, 10), axis=(0, 1, 3)), SUM[0] * np.ones(3)),
    "complex sum": (lambda: nnp.sum(EQUAL.astype(np.complex64), axis=0).real, SUM),
    "mean": (lambda: nnp.mean(EQUAL, axis=0), SUM / ROWS),
    "nanmean": (lambda: nnp.nanmean(EQUAL, axis=0), SUM / ROWS),
    "average": (lambda: nnp.average(EQUAL, axis=0, weights=EQUAL[:, 0]), SUM / ROWS),
    "var": (lambda: nnp.var(EQUAL + np.float32([1, -1]).repeat(ROWS // 2)[:, None], axis=0), np.ones(3)),
    "norm": (lambda: nnp.linalg.norm(EQUAL, axis=0), np.sqrt(SUM * SUM / ROWS)),
    "logsumexp": (lambda: ops.logsumexp(nnp.log(EQUAL), axes=0), np.log(SUM)),
    "einsum": (lambda: nnp.einsum("ij->j", EQUAL), SUM),
    "add.reduce": (lambda: nnp.add.reduce(EQUAL, axis=0), SUM),
    "gradient of a bias": (lambda: gradient(lambda b: (EQUAL + b) * EQUAL), SUM),
    "gradient of a row": (lambda: gradient(lambda b: (EQUAL + b.reshape(1, 3)) * EQUAL), SUM),
    "gradient of a scale": (lambda: gradient(lambda b: EQUAL * b), SUM),
    "gradient of broadcast_to": (lambda: gradient(lambda b: nnp.broadcast_to(b, EQUAL.shape) * EQUAL), SUM),
    "gradient of tile": (lambda: gradient(lambda b: nnp.tile(b, (ROWS, 1)) * EQUAL), SUM),
    "gradient of an element": (lambda: gradient(lambda b: b[FIRST] * EQUAL[:, 0]), SUM * [1, 0, 0]),
    "gradient of take": (lambda: gradient(lambda b: nnp.take(b, FIRST) * EQUAL[:, 0]), SUM * [1, 0, 0]),
    "gradient in the graph": (
        lambda: needle.grad(lambda a: gradient(lambda b: (EQUAL + b) * EQUAL * a).sum())(np.float32(1)),
        SUM.sum(),
    ),
    "tangent": (lambda: needle.jvp(lambda a: nnp.sum(EQUAL * a, axis=0), (np.float32(1),), (np.float32(1),))[1], SUM),
}


@pytest.mark.parametrize("name", LONG_SUMS)
def test_a_long_float32_sum_is_as_exact_as_a_sum_by_pairs(name):
    compute, expected = LONG_SUMS[name]
    got = np.asarray(compute())
    assert got.dtype == np.float32
    assert_allclose(got, expected, rtol=5e-6)


@pytest.mark.parametrize("name", ["sum", "bias", "within rows"])
def test_a_long_captured_sum_is_as_exact(name):
    f = {
        "sum": lambda b: nnp.sum(EQUAL + b, axis=0),
        "bias": needle.grad(lambda b: ((EQUAL + b) * EQUAL).sum()),
        "within rows": lambda b: nnp.sum(nnp.exp(EQUAL.reshape(4, -1, 3) * b), axis=1)[0] * np.float32(0.4),
    }[name]
    expected = {"within rows": 0.1 * np.full(3, ROWS)}.get(name, SUM)
    captured = needle.compile(f)
    for _ in range(3):
        assert_allclose(np.asarray(captured(np.zeros(3, np.float32))), expected, rtol=5e-6)


def test_a_long_float16_sum_is_rounded_once():
    halves = np.full((60_000, 2), 0.1, np.float16)
    got = nnp.sum(halves, axis=0)
    assert got.dtype == np.float16
    assert_allclose(got.numpy(), halves.sum(0, dtype=float), rtol=1e-3)


@pytest.mark.parametrize("seed", range(60))
def test_a_sum_of_any_layout(seed):
    """Any shape, strides and axes: the shape and dtype of NumPy's sum, and its exactness along one run."""
    rng = np.random.default_rng(seed)
    shape = rng.choice([1, 2, 3, 17, 130, 300, 1000], rng.integers(1, 4))
    a = (rng.random(shape) + 1).astype("fdFe"[rng.integers(4)]).transpose(rng.permutation(len(shape)))
    if rng.random() < 0.5:
        a = a[..., ::-2]
    if rng.random() < 0.3:
        a = np.broadcast_to(a[:1], a.shape)
    chosen = np.flatnonzero(rng.random(a.ndim) < 0.6)
    axes, keepdims = (None if rng.random() < 0.2 else tuple(chosen.tolist())), bool(rng.random() < 0.5)
    expected = a.sum(axes, dtype=np.result_type(a, np.longdouble), keepdims=keepdims)
    with np.errstate(over="ignore"):
        got = sum_over(a, axes, keepdims=keepdims)
        expected = expected.astype(a.dtype)
    assert (got.shape, got.dtype) == (expected.shape, a.dtype)
    assert_allclose(got, expected, rtol=10 * np.finfo(a.dtype).eps)


# ------------------------------------------------------------------------------------------------------------- tails


def decimal_tails(x: float) -> dict[str, list[Decimal]]:
    """The value and the first two derivatives at x, of sigmoid, softplus, log(sigmoid) and tanh, in 400 digits."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 400, -(10**6), 10**6
        a = Decimal(x)
        above, below = 1 / (1 + (-a).exp()), 1 / (1 + a.exp())
        up, down = 1 / (1 + (-2 * a).exp()), 1 / (1 + (2 * a).exp())
        slope, square = above * below, 4 * up * down
        return {
            "sigmoid": [above, slope, slope * (below - above)],
            "softplus": [-below.ln(), above, slope],
            "log_sigmoid": [above.ln(), below, -slope],
            "tanh": [up - down, square, 2 * square * (down - up)],
        }


TAILS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "sigmoid": ("sigmoid", ops.sigmoid),
    "expit": ("sigmoid", special.expit),
    "softplus": ("softplus", special.softplus),
    "log_expit": ("log_sigmoid", special.log_expit),
    "logaddexp with 0": ("softplus", lambda x: nnp.logaddexp(x, 0)),
    "logaddexp of 0 and": ("softplus", lambda x: nnp.logaddexp(0, x)),
    "logaddexp2": ("softplus", lambda x: nnp.logaddexp2(x / math.log(2), 0) * math.log(2)),
    "minus logaddexp": ("log_sigmoid", lambda x: -nnp.logaddexp(-x, 0)),
    "tanh": ("tanh", nnp.tanh),
}
AT = [-400.0, -40.0, -17.0, -1.0, -1e-3, 0.0, 0.3, 5.0, 40.0, 88.0, 400.0]


@pytest.mark.parametrize("dtype", ["d", "f"])
@pytest.mark.parametrize("name", TAILS)
def test_tails_keep_their_digits(name, dtype):
    """f, f' and f'', in reverse and in forward mode, relative to their own size however small it is."""
    of, f = TAILS[name]
    first = needle.elementwise_grad(f)
    x = np.array(AT, dtype)
    forward = lambda g: lambda a: needle.jvp(g, (a,), (np.ones_like(x),))[1]  # noqa: E731
    orders = [[f(x)], [first(x), forward(f)(x)]]
    orders += [[needle.elementwise_grad(first)(x), forward(first)(x), forward(forward(f))(x)]]
    exact = [decimal_tails(float(a))[of] for a in x]
    eps, tiny = (
        np.finfo(dtype).eps * (100 if name == "logaddexp2" else 1),
        np.finfo(dtype).tiny,
    )  # x / log(2) is rounded
    for order, values in enumerate(orders):
        expected = np.array([float(values[order]) for values in exact])
        for value in values:
            assert value.dtype == dtype
            assert_allclose(np.asarray(value), expected, rtol=8 * eps, atol=8 * tiny)
