"""Derivatives by finite differences, to judge gradients by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numdifftools
import numpy as np

STEP = numdifftools.MaxStepGenerator(base_step=2**-6, num_steps=8, step_ratio=2)


def upcast(array: Any) -> Any:
    """Numbers in double precision, whatever they were in; booleans as they are."""
    kinds = {"b": np.bool_, "c": np.complex128}
    return array.astype(kinds.get(array.dtype.kind, np.float64))


def gradient(f: Callable[[Any], Any], x: Any) -> Any:
    """The gradient of a real function at x; for complex x, the direction of steepest ascent: df/da + i df/db."""
    x = upcast(np.asarray(x))
    if x.size == 0:
        return np.zeros(x.shape, x.dtype)

    def real(g: Callable[[Any], Any], point: Any) -> Any:
        flat = numdifftools.Gradient(lambda v: float(g(v.reshape(x.shape))), step=STEP)(point.ravel())
        return np.reshape(flat, x.shape)

    if x.dtype.kind == "c":
        return real(lambda a: f(a + 1j * x.imag), x.real) + 1j * real(lambda b: f(x.real + 1j * b), x.imag)
    return real(f, x)


def directional(f: Callable[[Any], Any], x: Any, direction: Any) -> float:
    """The derivative of a real function at x along a direction."""
    if x.size == 0:
        return 0.0
    return float(numdifftools.Derivative(lambda t: float(f(x + t * direction)), step=STEP)(0.0))
