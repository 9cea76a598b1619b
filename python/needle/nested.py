"""Nested containers of tensors, arrays and numbers, taken apart into a list of leaves and put together again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from .autograd import Tensor, TensorTuple, shown

Rebuild = Callable[[Iterator[Any]], Any]
_PLAIN = (list, tuple)
"""Containers that mostly hold nothing but leaves, and are quickly done then."""


def is_leaf(value: Any) -> bool:
    """Whether it is something to differentiate by: a Tensor, an array, a number that is no boolean."""
    if isinstance(value, Tensor):
        return True
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "biufc"
    return isinstance(value, (int, float, complex)) and not isinstance(value, bool)


def flatten(tree: Any) -> tuple[list[Any], Rebuild]:
    """The leaves of nested dicts, lists, tuples, named tuples and dataclasses, and how to build the same around others.

    Dicts are walked in their order, Modules in that of their parameters. A TensorTuple becomes a tuple. What is neither
    a container nor a leaf (a string, None) stays where it is.
    """
    if isinstance(tree, (Tensor, np.ndarray)) and is_leaf(tree):  # by far the most frequent, and quickly done
        return [shown(tree)], next
    if type(tree) in _PLAIN and all(map(is_leaf, tree)):
        n, make = len(tree), type(tree)
        return list(map(shown, tree)), lambda values: make(islice(values, n))
    leaves: list[Any] = []
    rebuild = _take_apart(tree, leaves)
    return leaves, rebuild


def _take_apart(tree: Any, leaves: list[Any]) -> Rebuild:
    if is_leaf(tree):
        leaves.append(shown(tree))
        return next
    keys, children, make = children_of(tree)
    if make is None:
        return lambda _: tree
    parts = [_take_apart(child, leaves) for child in children]
    return lambda values: make(dict(zip(keys, [part(values) for part in parts], strict=True)))


def children_of(tree: Any) -> tuple[list[Any], list[Any], Callable[[dict[Any, Any]], Any] | None]:
    """A container's keys and members, and what makes such a container of a dict of them; None for anything else.

    An object can say all three itself: its method `__nested__` returns them. A Module does.
    """
    return tree.__nested__() if tells_its_parts(tree) else members_of(tree)


def tells_its_parts(tree: Any) -> bool:
    """Whether it is an object that is a container by its own account."""
    return hasattr(type(tree), "__nested__")


def members_of(tree: Any) -> tuple[list[Any], list[Any], Callable[[dict[Any, Any]], Any] | None]:
    """What `children_of` returns, for the containers that are nothing else."""
    if isinstance(tree, dict):
        kind: Any = type(tree)
        return list(tree), list(tree.values()), (lambda d: d) if kind is dict else lambda d: _like_dict(tree, d)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return list(range(len(tree))), list(tree), lambda d: type(tree)(*d.values())
    if isinstance(tree, (list, tuple)):
        return list(range(len(tree))), list(tree), lambda d: type(tree)(d.values())
    if isinstance(tree, TensorTuple):
        return list(range(len(tree))), list(tree), lambda d: tuple(d.values())
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = [field.name for field in dataclasses.fields(tree)]
        return names, [getattr(tree, name) for name in names], lambda d: _like_dataclass(tree, d)
    return [], [], None


def _like_dict(tree: Any, members: dict[Any, Any]) -> Any:
    """A dict of the same class: a copy, so that a defaultdict keeps its factory, with other members."""
    made = tree.copy()
    made.update(members)
    return made


def _like_dataclass(tree: Any, members: dict[str, Any]) -> Any:
    """An instance of the same dataclass, frozen or not, without running its __init__ or __post_init__ again."""
    made = object.__new__(type(tree))
    for name, value in members.items():
        object.__setattr__(made, name, value)
    return made


def leaves_like(given: Any, like: Any, what: str) -> list[Any]:
    """The leaves of a structure, in the order of another one of the same keys; TypeError where it has others."""
    if is_leaf(like):
        if is_leaf(given):
            return [shown(given)]
        raise TypeError(f"{what} must have the structure of what they belong to: a number or array, got {given!r:.60}")
    both = type(like) in _PLAIN and type(given) in _PLAIN and len(like) == len(given)
    if both and all(map(is_leaf, (*like, *given))):
        return list(map(shown, given))
    keys, children, make = children_of(like)
    if make is None:
        return []
    given_keys, given_children, given_make = children_of(given)
    if given_make is None or set(given_keys) != set(keys):
        got = given_keys if given_make else type(given).__name__
        raise TypeError(f"{what} must have the structure of what they belong to, with {keys}, got {got}")
    members = dict(zip(given_keys, given_children, strict=True))
    return [leaf for key, child in zip(keys, children, strict=True) for leaf in leaves_like(members[key], child, what)]


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same containers around function(leaf)."""
    if isinstance(tree, Tensor):
        return function(shown(tree))
    leaves, rebuild = flatten(tree)
    return rebuild(iter([function(leaf) for leaf in leaves]))
