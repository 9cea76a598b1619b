"""NumPy's assertions, on the values of Tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from numpy import testing

from ..autograd import Tensor, TensorTuple


def _values(a: Any) -> Any:
    """The same with arrays in the place of Tensors, in lists, tuples and dicts, too."""
    if isinstance(a, (Tensor, TensorTuple)):
        return a.numpy()
    if type(a) is dict:
        return {key: _values(value) for key, value in a.items()}
    return type(a)(map(_values, a)) if type(a) in (list, tuple) else a


def _of_values(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def of_values(*args: Any, **kwargs: Any) -> Any:
        return function(*_values(args), **_values(kwargs))

    of_values.__doc__ = f"numpy.testing.{function.__name__}, on the values of Tensors."
    of_values.__module__ = __name__
    return of_values


def __getattr__(name: str) -> Any:
    found = getattr(testing, name)
    return _of_values(found) if name.startswith("assert_") else found


def __dir__() -> list[str]:
    return dir(testing)
