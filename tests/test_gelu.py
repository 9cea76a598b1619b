"""GELU against 40 digits of mpmath, and beside PyTorch's."""

from __future__ import annotations

from typing import Any

import mpmath
import needle
import numpy as np
import pytest
from needle import Tensor, ops
from numpy.testing import assert_array_equal


def exact(x: float) -> tuple[Any, Any]:
    """gelu(x) and its derivative."""
    with mpmath.workdps(40):
        a = mpmath.mpf(x)
        return a * mpmath.ncdf(a), mpmath.ncdf(a) + a * mpmath.npdf(a)


def ulps(found: Any, expected: list[Any], unit: Any) -> Any:
    """The errors, in units of the last digit of `unit` (the results themselves, or 1)."""
    eps = float(np.finfo(found.dtype).eps)
    with mpmath.workdps(40):
        return np.array(
            [float(abs(mpmath.mpf(float(y)) - e) / (unit(e) * eps)) for y, e in zip(found, expected, strict=True)]
        )


def points(dtype: Any, low: float, high: float) -> Any:
    rng = np.random.default_rng(0)
    near = rng.choice([-1, 1], 300) * 10.0 ** rng.uniform(-30, 0, 300)
    found = np.concatenate([np.linspace(low, high, 700), rng.uniform(low, high, 500), near]).astype(dtype)
    return found[found != 0]


@pytest.mark.parametrize(
    ("dtype", "low", "worst"),
    [(np.float32, -4.0, 4), (np.float32, -12.5, 40), (np.float64, -4.0, 5), (np.float64, -36.5, 320)],
)
def test_worst_error_of_gelu(dtype, low, worst):
    """In units of the last digit of the result, also far below 0, where it is nearly 0: there, the rounding of a * a in
    exp(-a * a / 2) counts a * a / 2 times."""
    x = points(dtype, low, 8.0)
    errors = ulps(ops.gelu(x).numpy(), [exact(float(a))[0] for a in x], abs)
    assert errors.max() < worst, x[errors.argmax()]


@pytest.mark.parametrize(("dtype", "low"), [(np.float32, -13.0), (np.float64, -37.0)])
def test_worst_error_of_the_derivative(dtype, low):
    """In units of the last digit of 1: it passes through 0."""
    x = points(dtype, low, 8.0)
    slope = needle.grad(lambda a: ops.gelu(a).sum())(x)
    errors = ulps(slope, [exact(float(a))[1] for a in x], lambda e: 1)
    assert errors.max() < 2, x[errors.argmax()]


@pytest.mark.parametrize("approximate", [False, True])
def test_the_ends(approximate):
    x = Tensor(np.array([-np.inf, -1e300, -50.0, -0.0, 0.0, 50.0, 1e300, np.inf, np.nan]))
    y = ops.gelu(x, approximate)
    assert_array_equal(y.numpy(), [0, 0, 0, 0, 0, 50, 1e300, np.inf, np.nan])
    loss = y.sum()
    loss.backward()
    slope = x.grad
    np.testing.assert_allclose(slope.numpy(), [0, 0, 0, 0.5, 0.5, 1, 1, 1, np.nan], atol=1e-300)
    slope[:-1].sum().backward()
    at_0 = 2 / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(x.grad.numpy()[:-1], [0, 0, 0, at_0, at_0, 0, 0, 0], rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-5), ("float64", 1e-10)])
def test_gelu_is_pytorchs(approximate, dtype, near):
    torch = pytest.importorskip("torch")
    for shape in [(), (0, 3), (1000,), (3, 100_000)]:
        x = (np.random.default_rng(0).standard_normal(shape) * 3).astype(dtype)
        a, b = Tensor(x), torch.tensor(x, requires_grad=True)
        y, z = ops.gelu(a, approximate), torch.nn.functional.gelu(b, approximate=approximate)
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=near, atol=near)
        (y * y).sum().backward()
        (z * z).sum().backward()
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=near, atol=near)


@pytest.mark.parametrize("approximate", [False, True])
def test_any_memory_order_gives_the_same(approximate):
    x = np.random.default_rng(0).standard_normal((40, 50, 60)).astype(np.float32)
    expected = ops.gelu(x, approximate).numpy()
    for axes in [(2, 0, 1), (1, 2, 0), (2, 1, 0)]:
        view = np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))
        y = ops.gelu(Tensor(view), approximate)
        assert_array_equal(y.numpy(), expected)
        assert y._array.strides == view.strides
    assert_array_equal(ops.gelu(x[::2, ::-1], approximate).numpy(), expected[::2, ::-1])


@pytest.mark.parametrize("approximate", [False, True])
def test_a_captured_chain_gives_the_same(approximate):
    x = Tensor(np.random.default_rng(0).standard_normal((300, 1000)).astype(np.float32))

    def f(x: Any) -> Any:
        loss = (ops.gelu(x * 2 + 1, approximate) * x).sum()
        loss.backward()
        return loss, x.grad

    compiled = needle.compile(f)
    compiled(x)
    for got, expected in zip(compiled(x), f(x), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_errors_say_what_to_do():
    with pytest.raises(TypeError, match="needs real numbers"):
        ops.gelu(np.ones(3, complex))
    with pytest.raises(ValueError, match="approximate must be"):
        ops.gelu(np.ones(3), "exactly")
