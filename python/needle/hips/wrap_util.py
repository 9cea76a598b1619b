"""Transforms of functions of one argument, as transforms of functions of many."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from .differential_operators import _unary


def unary_to_nary(operator: Callable[..., Any]) -> Callable[..., Any]:
    """operator(f, x, *more), of a function f of x alone, as operator(f, argnum=0, *more)(*args, **kwargs)."""

    @wraps(operator)
    def of_function(f: Callable[..., Any], argnum: Any = 0, *more: Any, **options: Any) -> Callable[..., Any]:
        def of_arguments(*args: Any, **kwargs: Any) -> Any:
            of_x, x = _unary(f, argnum, args, kwargs)
            return operator(of_x, x, *more, **options)

        return of_arguments

    return of_function
