"""Nested containers of arrays and numbers as one vector, and back."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ...autograd import Tensor
from ...nested import children_of
from ..numpy import array, concatenate, ravel, shape


def flatten(value: Any) -> tuple[Any, Callable[[Any], Any]]:
    """(vector, unflatten): all numbers in one vector, dicts in the order of their keys; unflatten(vector) puts them
    back, in arrays. Both are differentiable."""
    leaves: list[Any] = []
    put_back = _take_apart(value, leaves)
    vector = concatenate([ravel(leaf) for leaf in leaves]) if leaves else array([])
    return vector, lambda v: put_back(v, 0)[0]


def _take_apart(value: Any, leaves: list[Any]) -> Callable[[Any, int], tuple[Any, int]]:
    """Adds the leaves, and returns what makes the same around the numbers of a vector from a place on, and the place
    behind them."""
    keys, children, make = ([], [], None) if isinstance(value, Tensor) else children_of(value)
    if make is None:
        leaves.append(value)
        sizes = shape(value)
        count = prod(sizes)
        return lambda v, start: (v[start : start + count].reshape(sizes), start + count)
    members = dict(zip(keys, children, strict=True))
    order = sorted(keys) if isinstance(value, dict) else keys
    parts = {key: _take_apart(members[key], leaves) for key in order}

    def put_back(v: Any, start: int) -> tuple[Any, int]:
        made = dict.fromkeys(keys)
        for key, part in parts.items():
            made[key], start = part(v, start)
        return make(made), start

    return put_back


def flatten_func(f: Callable[..., Any], example: Any) -> tuple[Callable[..., Any], Callable[[Any], Any], Any]:
    """(g, unflatten, vector) for a function f of containers like the example: g takes and returns vectors."""
    vector, unflatten = flatten(example)
    return lambda x, *args: flatten(f(unflatten(x), *args))[0], unflatten, vector
