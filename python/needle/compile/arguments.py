"""Arguments with Tensors in place of arrays, and what a function does to the containers around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from typing import Any

from numpy import ndarray

from ..autograd import Tensor, constant, latest
from ..nested import is_leaf, members_of


class Substitution:
    """`args` and `kwargs` with a Tensor for each array of `given`; `tensors` is `given`, replaced likewise. The Tensors
    hold `copies` of the arrays, which their owner may write into at any time."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], given: Sequence[Any], copies: Sequence[Any]):
        self._given = given
        self._copies: list[tuple[Any, Any, list[Any]]] = []
        arrays = [a for a in given if isinstance(a, ndarray)]
        stand_in = {id(a): constant(copy) for a, copy in zip(arrays, copies, strict=True)}
        self.tensors = [stand_in.get(id(a), a) for a in given]
        self.args, self.kwargs = self._args, self._kwargs = args, kwargs
        if stand_in:
            self.args = tuple([self._replaced(a, stand_in) for a in args])
            self.kwargs = {name: self._replaced(a, stand_in) for name, a in kwargs.items()}

    def _replaced(self, tree: Any, by: dict[int, Any]) -> Any:
        if isinstance(tree, ndarray):
            return by.get(id(tree), tree)
        keys, children, make = ([], [], None) if is_leaf(tree) else members_of(tree)
        if make is None:
            return tree
        replaced = [self._replaced(child, by) for child in children]
        if all(a is b for a, b in zip(children, replaced, strict=True)):
            return tree
        copy = make(dict(zip(keys, replaced, strict=True)))
        if not isinstance(tree, tuple):
            self._copies.append((tree, copy, [*keys, *replaced]))
        return copy

    def changed(self) -> str:
        """Whether the function changed a container of arrays: a clause that says so, "" if not."""
        for tree, copy, before in self._copies:
            keys, children, _ = members_of(copy)
            now = [*keys, *children]
            if len(now) != len(before) or any(a is not b for a, b in zip(now, before, strict=True)):
                return f"a {type(tree).__name__} among its arguments was changed"
        return ""

    def write_back(self, changed: dict[int, Any], as_given: Callable[[Any], Any]) -> None:
        """Repeat on the arrays and containers given what the function did to their replacements."""
        pairs = zip(self._given, self.tensors, strict=True)
        written = [(a, t) for a, t in pairs if isinstance(a, ndarray) and id(t) in changed]
        for a, _ in written:
            check_writeable(a)
        for a, t in written:
            a[...] = latest(t)._array
        if self.tensors:
            for tree in (*self._args, *self._kwargs.values()):
                _give_back(tree, as_given)
        if not self.changed():
            return
        for tree, copy, _ in self._copies:
            keys, children, _ = members_of(copy)
            members = [as_given(child) if isinstance(child, Tensor) else child for child in children]
            if isinstance(tree, list):
                tree[:] = members
            elif is_dataclass(tree):
                for name, member in zip(keys, members, strict=True):
                    object.__setattr__(tree, name, member)
            else:
                tree.clear()
                tree.update(zip(keys, members, strict=True))


def check_writeable(array: Any) -> None:
    """Raise a ValueError if an array is read-only."""
    if not array.flags.writeable:
        raise ValueError(
            f"a compiled function assigns to an argument, an array of shape {array.shape}, which is read-only; give a "
            "copy, or a Tensor"
        )


def _give_back(tree: Any, as_given: Callable[[Any], Any]) -> None:
    """Turn Tensors that the function put into lists and dicts back into what it would have put there."""
    if not isinstance(tree, (list, dict)):
        return
    for key, child in enumerate(tree) if isinstance(tree, list) else list(tree.items()):
        if isinstance(child, Tensor):
            tree[key] = as_given(child)
        else:
            _give_back(child, as_given)
