"""Small things."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .test_util import check_grads


def subvals(x: Any, ivs: Any) -> tuple[Any, ...]:
    """The tuple with the values v at the places i, for pairs (i, v)."""
    values = list(x)
    for i, v in ivs:
        values[i] = v
    return tuple(values)


def subval(x: Any, i: int, v: Any) -> tuple[Any, ...]:
    """The tuple with the value v at place i."""
    return subvals(x, [(i, v)])


def func(f: Any) -> Any:
    """f itself."""
    return f


def quick_grad_check(
    fun: Callable[..., Any], arg0: Any, extra_args: Any = (), kwargs: dict[str, Any] | None = None, **ignored: Any
) -> None:
    """`check_grads` of fun by its first argument, to first order in reverse mode."""
    check_grads(fun, modes=["rev"], order=1)(arg0, *extra_args, **(kwargs or {}))
