"""Gradients compared with differences, by needle.testing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from ..nested import flatten, leaves_like
from ..testing import check_grads as _check
from .spaces import vspace
from .wrap_util import unary_to_nary

TOL = RTOL = 1e-6
_MODES = {"fwd": "forward", "rev": "reverse"}


def scalar_close(a: Any, b: Any) -> bool:
    """Whether two numbers differ by less than 1e-6, or by less than 1e-6 of their sum."""
    return bool(abs(a - b) < TOL or abs(a - b) < RTOL * abs(a + b))


def check_equivalent(x: Any, y: Any) -> None:
    """Raises AssertionError unless x and y have one structure, shapes and dtypes, and numbers that are all close."""
    spaces = vspace(x), vspace(y)
    assert spaces[0] == spaces[1], f"check_equivalent: got values of {spaces[0]} and of {spaces[1]}"
    leaves, _ = flatten(x)
    for a, b in zip(leaves, leaves_like(y, x, "check_equivalent"), strict=True):
        np.testing.assert_allclose(a, b, rtol=2 * RTOL, atol=TOL)


@unary_to_nary
def check_grads(f: Callable[..., Any], x: Any, modes: Sequence[str] = ("fwd", "rev"), order: int = 2) -> None:
    """check_grads(f, argnum)(*args) compares the derivatives by an argument with differences, up to an order.

    For a tuple `argnum`, by each of these arguments. A derivative may be wrong by 1e-6, as for HIPS autograd. Raises
    what `needle.testing.check_grads` raises.
    """
    _check(f, x, order=order, modes=[_MODES.get(mode, mode) for mode in modes], atol=TOL)


def check_vjp(f: Callable[..., Any], x: Any) -> None:
    """Compare the reverse mode of f at x with differences."""
    _check(f, x, order=1, modes="reverse", atol=TOL)


def check_jvp(f: Callable[..., Any], x: Any) -> None:
    """Compare the forward mode of f at x with differences."""
    _check(f, x, order=1, modes="forward", atol=TOL)


def combo_check(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., None]:
    """`check_grads`, of f, for every combination of the values listed for each argument, by position and by name."""
    checked = check_grads(f, *args, **kwargs)

    def check(*lists: Any, **named: Any) -> None:
        for values in product(*lists):
            for chosen in product(*named.values()):
                checked(*values, **dict(zip(named, chosen, strict=True)))

    return check
