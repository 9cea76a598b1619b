"""Gradient descent on functions of nested containers of arrays: grad(x, i) is the gradient in step i."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from .flatten import flatten

Callback = Callable[[Any, int, Any], Any] | None


def _on_containers(optimize: Callable[..., Any]) -> Callable[..., Any]:
    """An optimizer of vectors, of any containers. `callback(x, i, gradient)` is called before each step."""

    @wraps(optimize)
    def on_containers(grad: Any, x0: Any, callback: Callback = None, *args: Any, **kwargs: Any) -> Any:
        x, unflatten = flatten(x0)

        def gradient(x: Any, i: int) -> Any:
            g = flatten(grad(unflatten(x), i))[0]
            if callback:
                callback(unflatten(x), i, unflatten(g))
            return g

        return unflatten(optimize(gradient, x, *args, **kwargs))

    return on_containers


@_on_containers
def sgd(grad: Any, x: Any, num_iters: int = 200, step_size: float = 0.1, mass: float = 0.9) -> Any:
    """Gradient descent with momentum: v = mass v - (1 - mass) g, x = x + step_size v."""
    v = np.zeros(len(x))
    for i in range(num_iters):
        v = mass * v - (1 - mass) * grad(x, i)
        x = x + step_size * v
    return x


@_on_containers
def rmsprop(
    grad: Any, x: Any, num_iters: int = 100, step_size: float = 0.1, gamma: float = 0.9, eps: float = 1e-8
) -> Any:
    """Steps divided by the root of a running mean of g**2, which starts at 1 (Tieleman and Hinton, 2012)."""
    mean = np.ones(len(x))
    for i in range(num_iters):
        g = grad(x, i)
        mean = gamma * mean + (1 - gamma) * g**2
        x = x - step_size * g / (np.sqrt(mean) + eps)
    return x


@_on_containers
def adam(
    grad: Any,
    x: Any,
    num_iters: int = 100,
    step_size: float = 0.001,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> Any:
    """Adam (Kingma and Ba, 2015)."""
    m, v = np.zeros(len(x)), np.zeros(len(x))
    for i in range(num_iters):
        g = grad(x, i)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        x = x - step_size * (m / (1 - b1 ** (i + 1))) / (np.sqrt(v / (1 - b2 ** (i + 1))) + eps)
    return x
