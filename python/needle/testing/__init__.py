"""Checking gradients, and saying what is wrong with one: `check_grads`.

>>> import needle as ndl
>>> from needle.testing import check_grads
>>> check_grads(lambda x: ndl.sin(x) * x, 0.5)

"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import enable_grad
from .compare import Settings, mismatches
from .functions import Function, derivative, function_of, upcast, written_index
from .report import report

_MODES = ("forward", "reverse")


class GradientError(AssertionError):
    """A gradient is wrong, or cannot be checked; the message says why, and what to write instead."""


def check_grads(
    f: Callable[..., Any],
    *inputs: Any,
    order: int = 2,
    modes: Sequence[str] = _MODES,
    rtol: float | None = None,
    atol: float | None = None,
    eps: float | None = None,
    seed: int = 0,
) -> None:
    """Compare the derivatives of f at these inputs with finite differences, up to an order, in all mixtures of modes.

    f takes and returns tensors, arrays or numbers, or nested containers of them, of any shapes; it is given Tensors.
    Of every float, complex or integer input the derivative is taken (booleans, and integers that f uses as indices,
    are constants). Differences are taken in float64, also of a function of float32. `rtol` and `atol` bound the error
    of each derivative (by default, by the dtypes); `eps` is the first step relative to the inputs, `seed` that of the
    random directions. Raises GradientError with a report that names the input, the elements, the op whose rule is
    wrong, and the mistake if it is one of the usual ones; ValueError or TypeError for other arguments than these.
    """
    chosen = (modes,) if isinstance(modes, str) else tuple(sorted(modes, reverse=True))
    if not chosen or not set(chosen) <= set(_MODES):
        raise ValueError(f'check_grads: modes must be among "forward" and "reverse", got {modes!r}')
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ValueError(f"check_grads: order must be 1, 2, ..., got {order!r}")
    for name, value in (("rtol", rtol), ("atol", atol), ("eps", eps)):
        if (value is not None and not value >= 0) or (name == "eps" and value == 0):
            raise ValueError(f"check_grads: {name} must be a positive number, got {value!r}")
    settings = Settings(rtol, atol, 2**-4 if eps is None else eps, np.random.default_rng(seed))
    with np.errstate(all="ignore"), enable_grad():
        function = function_of(f, inputs)
        problem = _unfit(function)
        functions = [function]
        for _ in range(order):
            for g in functions:
                found = [] if problem else mismatches(g, chosen, settings)
                problem = problem or (report(found, settings) if found else "")
            if problem:
                break
            functions = [derivative(g, mode, settings.rng) for g in functions for mode in chosen]
    if problem:
        raise GradientError(problem)


def _unfit(function: Function) -> str:
    """Why derivatives cannot be compared with differences at all; "" if they can."""
    if not function.values:
        raise TypeError("check_grads: f must return numbers (Tensors, arrays, containers of them), got none")
    again = [upcast(y) for y in function.at(function.wide)]
    for name, first, second in zip(function.outputs, function.values, again, strict=True):
        if not np.array_equal(first, second, equal_nan=True):
            at = tuple(np.argwhere(~(first == second))[0])
            place = f"{name}{written_index(at)}"
            return (
                f"f is not deterministic: {place} is {first[at]:.6g} in one run and {second[at]:.6g} in the next, on "
                "the same inputs\nDifferences of it say nothing about its gradient. Give its random numbers a fixed "
                "seed inside of f: rng = np.random.default_rng(0)."
            )
        if not np.all(np.isfinite(first)) and any(a.size for a in function.given):
            at = tuple(np.argwhere(~np.isfinite(first))[0])
            return (
                f"f is {first[at]} at {name}{written_index(at)}: there is no derivative to compare with\n"
                f"Check at inputs where f is finite ({np.sum(~np.isfinite(first))} of {first.size} values are not)."
            )
    return ""
