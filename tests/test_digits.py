"""Digits are kept: in sums of many float32 numbers, and far out, where the tails of functions nearly vanish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from needle import ops
from needle.backend import sum_over
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
