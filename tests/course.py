"""What the tests of the deep-learning-systems course's contract share: gradients held against differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import needle
import numpy as np
from numpy.testing import assert_allclose

EPS = 1e-4


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def differences(f: Callable[..., Any], args: list[Any], weights: Any) -> list[Any]:
    """The derivatives of sum(f(*args) * weights), each argument changed where it lies: `realize_cached_data()` is the
    live array, whose changes the next call sees."""
    found = []
    for x in args:
        slope = np.zeros(x.shape)
        for j in range(x.realize_cached_data().size):
            ends = []
            for step in (EPS, -2 * EPS, EPS):
                x.realize_cached_data().flat[j] += step
                ends.append(float((f(*args).numpy() * weights).sum()))
            slope.flat[j] = (ends[0] - ends[1]) / (2 * EPS)
        found.append(slope)
    return found


def check_gradient(f: Callable[..., Any], *args: Any, tolerance: float = 1e-6, backward: bool = False) -> None:
    """Gradients by `backward()`, or by the rule of the last operation alone, as the course calls it."""
    out = f(*args)
    weights = np.ones(out.shape) if backward else normal(*out.shape, seed=7)
    expected = differences(f, list(args), weights)
    if backward:
        assert out.backward() is None
        grads = [x.grad for x in args]
    else:
        grads = out.op.gradient_as_tuple(needle.Tensor(weights.astype(out.dtype)), out)
        if isinstance(grads[0], needle.TensorTuple):
            grads = grads[0].tuple()
    assert len(grads) == len(args)
    for x, grad, slope in zip(args, grads, expected, strict=True):
        assert isinstance(grad, needle.Tensor) and grad.shape == x.shape and grad.dtype == x.dtype
        assert_allclose(grad.numpy(), slope, rtol=tolerance, atol=tolerance)
