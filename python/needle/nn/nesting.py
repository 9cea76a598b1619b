"""A Module as a nested container of its trainable parameters, for `grad`, `hessian`, `minimize` and all other
transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import DETACHED, Tensor
from .parameter import Parameter, relabelled
from .walk import FOLLOWED, Place, is_module, named, of_kind, walk


def parts_of(module: Any) -> tuple[list[Any], list[Any], Callable[[dict[Any, Any]], Any]]:
    """The names and tensors of the trainable parameters, and what makes such a module with others in their places.

    Where a transform put values that are no parameters, these are the parts.
    """
    leaves = named([place for place in of_kind(module, "parameter") if _is_part(place)])
    return list(leaves), list(leaves.values()), lambda values: _Rebuilding(module, leaves, values).module(module)


def _is_part(place: Place) -> bool:
    return place.local in vars(place.owner).get(FOLLOWED, ()) or place.value.requires_grad


class _Rebuilding:
    """Copies of all modules in a module, with other values for some tensors, which share everything else: frozen
    parameters, buffers, and what modules keep besides."""

    def __init__(self, module: Any, leaves: dict[str, Any], values: dict[str, Any]):
        self._values = {id(leaf): relabelled(values[name], Parameter) for name, leaf in leaves.items()}
        self._copies: dict[int, Any] = {}
        self._followed: dict[int, set[str]] = {}
        for place in walk(module, again=True):
            value = self._values.get(id(place.value))
            is_trainable = isinstance(value, Parameter) and value.needs > DETACHED
            if value is not None and not is_trainable:
                self._followed.setdefault(id(place.owner), set()).add(place.local)

    def module(self, module: Any) -> Any:
        copy = self._copies.get(id(module))
        if copy is None:
            copy = self._copies[id(module)] = object.__new__(type(module))
            attributes = vars(copy)
            for name, value in vars(module).items():
                attributes[name] = self._replaced(value)
            attributes.pop(FOLLOWED, None)
            if id(module) in self._followed:
                attributes[FOLLOWED] = frozenset(self._followed[id(module)])
        return copy

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._values.get(id(value), value)
        if is_module(value):
            return self.module(value)
        if isinstance(value, (list, tuple, dict)):
            return self._container(value)
        return value

    def _container(self, tree: Any) -> Any:
        """A container with other members, the same one if all stay."""
        if id(tree) in self._copies:  # it holds itself
            return self._copies[id(tree)]
        self._copies[id(tree)] = tree
        members = list(tree.values()) if isinstance(tree, dict) else list(tree)
        others = [self._replaced(member) for member in members]
        if all(a is b for a, b in zip(members, others, strict=True)):
            return tree
        if isinstance(tree, dict):
            copy = tree.copy()
            copy.update(zip(tree, others, strict=True))
        elif hasattr(tree, "_fields"):
            copy = type(tree)(*others)
        else:
            copy = type(tree)(others)
        self._copies[id(tree)] = copy
        return copy
