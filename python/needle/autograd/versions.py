"""Names for values that change: a tensor that was assigned to (`x[0] = 1`), its versions, and who is a view of whom.

What was recorded before an assignment refers to the tensor as it was, its *original*; the tensor that the user holds
becomes a *name* for the latest version. `ops/assignment.py` makes versions; everybody else asks here.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from ..copies import copy_of_name
from ..views import note_view
from .modes import RECORDED, VARIABLE


class Assigned:
    """A tensor that was assigned to: a name for the latest of its versions, each recorded as a tensor of its own.

    Others hold the object, so it gets this class in addition to its own when it is first assigned to. Its slot
    `_array` is empty from then on: an operation that meets it fails to read it and asks for the latest version, and no
    other operation pays for the question. `op` is a `Versions` (ops/assignment.py), `saved` the latest version.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name == "_array":  # each operation asks for it
            raise AttributeError(name)
        return latest(self).__getattr__(name)  # which says what is wrong

    def detach(self) -> Any:
        tensor = latest(self).detach()
        note_view(tensor, self, None)
        return tensor

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        original, now = original_of(self), latest(self).__deepcopy__(memo)
        if original.op is not None or original.needs != RECORDED or now.needs > VARIABLE:
            return now
        names.add(copy := copy_of_name(self, original.__deepcopy__(memo), now))
        return copy

    data = property(lambda self: self.detach(), lambda self, value: setattr(latest(self), "data", value))

    @property
    def grad(self) -> Any:
        """The gradient by what the tensor was made with, if that was a leaf; else by its latest version."""
        original = original_of(self)
        return (original if original.op is None else latest(self)).grad

    @grad.setter
    def grad(self, value: Any) -> None:
        original = original_of(self)
        (original if original.op is None else latest(self)).grad = value


def _property_of_latest(name: str) -> Any:
    return property(lambda self: getattr(latest(self), name), lambda self, value: setattr(latest(self), name, value))


def _method_of_latest(name: str) -> Any:
    return lambda self, *args, **options: getattr(latest(self), name)(*args, **options)


for _name in ["shape", "dtype", "ndim", "size", "nbytes", "cached_data", "requires_grad"]:
    setattr(Assigned, _name, _property_of_latest(_name))
for _name in ["numpy", "item", "tolist", "retain_grad", "backward", "is_leaf"]:
    setattr(Assigned, _name, _method_of_latest(_name))
for _name in "repr str format len bool array float int complex index reduce copy".split():  # noqa: SIM905
    setattr(Assigned, f"__{_name}__", _method_of_latest(f"__{_name}__"))

names: Any = weakref.WeakSet()
"""The live tensors of the engine's own graph that were assigned to; while there are none, no sweep looks for them."""


def latest(value: Any) -> Any:
    """The value as it is now: itself, unless it was assigned to."""
    while isinstance(value, Assigned):
        name: Any = value
        value = name.op.refreshed(name) if name.saved is None else name.saved
    return value


def shown(value: Any) -> Any:
    """The value as it is now, for those who keep it: the next assignment does not write over it."""
    if isinstance(value, Assigned):
        name: Any = value
        name.op.hidden = False
    return latest(value)


def original_of(value: Any) -> Any:
    """The value as it was before it was first assigned to."""
    return value.op.original if isinstance(value, Assigned) else value


def settle(outputs: Iterable[Any]) -> None:
    """Let everything that was computed before an input was assigned to refer to the original."""
    seen: set[Any] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            settle_node(node)
            stack += node.inputs


def settle_node(node: Any) -> None:
    if any(isinstance(a, Assigned) for a in node.inputs):
        node.inputs = tuple(map(original_of, node.inputs))
