"""Gradients compared with differences, by needle.testing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from ..testing import check_grads as _check
from .wrap_util import unary_to_nary

_MODES = {"fwd": "forward", "rev": "reverse"}


@unary_to_nary
def check_grads(f: Callable[..., Any], x: Any, modes: Sequence[str] = ("fwd", "rev"), order: int = 2) -> None:
    """check_grads(f, argnum)(*args) compares the derivatives by an argument with differences, up to an order.

    For a tuple `argnum`, by each of these arguments. Raises what `needle.testing.check_grads` raises.
    """
    _check(f, x, order=order, modes=[_MODES.get(mode, mode) for mode in modes])


def check_vjp(f: Callable[..., Any], x: Any) -> None:
    """Compare the reverse mode of f at x with differences."""
    _check(f, x, order=1, modes="reverse")


def check_jvp(f: Callable[..., Any], x: Any) -> None:
    """Compare the forward mode of f at x with differences."""
    _check(f, x, order=1, modes="forward")


def combo_check(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., None]:
    """`check_grads`, of f, for every combination of the values listed for each argument, by position and by name."""
    checked = check_grads(f, *args, **kwargs)

    def check(*lists: Any, **named: Any) -> None:
        for values in product(*lists):
            for chosen in product(*named.values()):
                checked(*values, **dict(zip(named, chosen, strict=True)))

    return check
