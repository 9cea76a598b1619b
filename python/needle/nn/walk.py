"""The one walk through a Module: it finds what the attributes hold, by name, also in lists, tuples and dicts.

Nothing is registered. Names are paths of attributes, indices and keys: `blocks.0.weight`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..autograd import RECORDED, Tensor
from .parameter import Buffer, Parameter, Pending

FOLLOWED = "_followed"
"""The attribute that names the parameters (by their path in their module) for which a transform put other values."""
_NOTHING = frozenset({int, float, str, bool, type(None)})
"""The classes of most other attributes."""
_warned: set[tuple[type[Any], str]] = set()


class Place(NamedTuple):
    """Something found: its `name` from the root, its `kind`, the `value`, and the module whose attributes hold it.

    Kinds: "module", "parameter", "buffer", "pending" (a parameter to come), and "stray", a plain leaf Tensor that
    requires a gradient. `local` is the name from the owner.
    """

    name: str
    kind: str
    value: Any
    owner: Any
    local: str


def walk(root: Any, *, again: bool = False, deep: bool = True) -> list[Place]:
    """All places, depth first, in the order of definition. The root comes first, under the name "".

    Each object comes once, under its first name; with `again`, under every name that it has. What the modules in the
    root hold is left out if `deep` is False.
    """
    search = _Search(again, deep)
    search.module(root, "", None, "")
    return search.found


class _Search:
    def __init__(self, again: bool, deep: bool):
        self.found: list[Place] = []
        self._again, self._deep = again, deep
        self._seen: set[int] = set()
        self._open: set[int] = set()
        """The modules and containers that hold what is being looked at: one that holds itself is not entered twice."""

    def _enters(self, value: Any) -> bool:
        key = id(value)
        known = key in self._open or (not self._again and key in self._seen)
        self._seen.add(key)
        return not known

    def module(self, module: Any, name: str, owner: Any, local: str) -> None:
        if self._enters(module):
            self.found.append(Place(name, "module", module, owner, local))
            if owner is None or self._deep:
                self._open.add(id(module))
                self._members(vars(module).items(), module, name + "." if name else "", "")
                self._open.discard(id(module))

    def _members(self, items: Iterable[tuple[Any, Any]], owner: Any, prefix: str, inner: str) -> None:
        """What an owner of this prefix holds at `inner`."""
        for key, value in items:
            if type(value) in _NOTHING:
                continue
            if isinstance(value, (Tensor, np.ndarray)):
                local = f"{inner}{key}"
                kind = _kind(value, owner, local)
                if kind and self._enters(value):
                    self.found.append(Place(prefix + local, kind, value, owner, local))
            elif is_module(value):
                self.module(value, f"{prefix}{inner}{key}", owner, f"{inner}{key}")
            elif isinstance(value, (list, tuple, dict)):
                if self._enters(value):
                    self._open.add(id(value))
                    self._members(_named_members(value), owner, prefix, f"{inner}{key}.")
                    self._open.discard(id(value))
            elif type(value) is Pending:
                self.found.append(Place(f"{prefix}{inner}{key}", "pending", value, owner, f"{inner}{key}"))


def _named_members(container: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(container, dict):
        return container.items()
    return zip(container._fields, container, strict=True) if hasattr(container, "_fields") else enumerate(container)


def is_module(value: Any) -> bool:
    """Whether it is a Module; the class says so, since module.py stands above this file."""
    return getattr(type(value), "is_module", False) is True


def _kind(value: Any, owner: Any, local: str) -> str:
    if isinstance(value, Parameter) or local in vars(owner).get(FOLLOWED, ()):
        return "parameter"
    if isinstance(value, Buffer):
        return "buffer"
    return "stray" if type(value) is Tensor and value.op is None and value.needs == RECORDED else ""


def named(places: Iterable[Place]) -> dict[str, Any]:
    """The values by name; ValueError if two have the same, as under the keys 1 and "1" of a dict."""
    found: dict[str, Any] = {}
    for place in places:
        if found.setdefault(place.name, place.value) is not place.value:
            raise ValueError(
                f"{type(place.owner).__name__}: two of its tensors are named {place.name!r}; rename an attribute or key"
            )
    return found


def of_kind(root: Any, *kinds: str) -> list[Place]:
    """The parameters or buffers, each once.

    Raises ValueError while parameters are still to come; warns, once a class, of tensors that look like parameters.
    """
    places = walk(root)
    if pending := {place.owner: place.name.rpartition(".")[0] for place in places if place.kind == "pending"}:
        layers = ", ".join(f"{name or 'itself'} ({module!s:.60})" for module, name in pending.items())
        raise ValueError(
            f"{type(root).__name__}: the shapes of these layers' parameters depend on the first input: {layers}; write "
            "model.materialize(x) with an input x first"
        )
    for place in places:
        if place.kind == "stray" and (key := (type(place.owner), place.local)) not in _warned:
            _warned.add(key)
            warnings.warn(
                f"{type(root).__name__}: {place.name} is a Tensor that requires a gradient, but no Parameter: it will "
                "not be trained or saved. Write nn.Parameter(...) for a weight, nn.Buffer(...) for other state, or "
                "Tensor(..., requires_grad=False) for a constant",
                stacklevel=3,
            )
    return [place for place in places if place.kind in kinds]
