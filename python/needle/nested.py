"""Nested containers of tensors, arrays and numbers, taken apart into a list of leaves and put together again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .autograd import Tensor

Rebuild = Callable[[Iterator[Any]], Any]


def is_leaf(value: Any) -> bool:
    """Whether it is something to differentiate by: a Tensor, an array, a number that is no boolean."""
    if isinstance(value, Tensor):
        return True
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "biufc"
    return isinstance(value, (int, float, complex)) and not isinstance(value, bool)


def flatten(tree: Any) -> tuple[list[Any], Rebuild]:
    """The leaves of nested dicts, lists, tuples, named tuples and dataclasses, and how to build the same around others.

    Dicts are walked in their order. What is neither a container nor a leaf (a string, None) stays where it is.
    """
    leaves: list[Any] = []
    rebuild = _take_apart(tree, leaves)
    return leaves, rebuild


def _take_apart(tree: Any, leaves: list[Any]) -> Rebuild:
    if is_leaf(tree):
        leaves.append(tree)
        return next
    keys, children, make = children_of(tree)
    if make is None:
        return lambda _: tree
    parts = [_take_apart(child, leaves) for child in children]
    return lambda values: make(dict(zip(keys, [part(values) for part in parts], strict=True)))


def children_of(tree: Any) -> tuple[list[Any], list[Any], Callable[[dict[Any, Any]], Any] | None]:
    """A container's keys and members, and what makes such a container of a dict of them; None for anything else."""
    if isinstance(tree, dict):
        kind: Any = type(tree)
        return list(tree), list(tree.values()), (lambda d: d) if kind is dict else lambda d: _like_dict(tree, d)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return list(range(len(tree))), list(tree), lambda d: type(tree)(*d.values())
    if isinstance(tree, (list, tuple)):
        return list(range(len(tree))), list(tree), lambda d: type(tree)(d.values())
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


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same containers around function(leaf)."""
    leaves, rebuild = flatten(tree)
    return rebuild(iter([function(leaf) for leaf in leaves]))
