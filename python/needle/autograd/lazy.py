"""Lazy mode: a value is computed when somebody first asks for it."""

from __future__ import annotations

import weakref
from typing import Any

from numpy import ndarray

from .. import watching
from ..backend import as_array
from ..memory import as_recorded, private
from .errors import explain

_PENDING = object()
"""Stands in `saved` for the array of an input that has not been computed."""
deferred: dict[int, weakref.ref[Any]] = {}
"""The values that have not been computed yet, by their ids."""
_new = object.__new__


def is_computed(value: Any) -> bool:
    try:
        object.__getattribute__(value, "_array")
    except AttributeError:
        return False
    return True


def defer(op: Any, inputs: tuple[Any, ...], needs: int) -> Any:
    """A node without a value yet. It keeps the arrays that its inputs have now, as an eager operation would use them.
    Its slot `_array` stays empty, so whoever reads it comes to `compute_deferred` through `__getattr__`."""
    node = _new(op.makes)
    node._grad = None
    node.op = op
    node.inputs = inputs
    node.saved = tuple([private(a._array) if is_computed(a) else _PENDING for a in inputs])
    node.needs = needs
    key = id(node)
    deferred[key] = weakref.ref(node, lambda _: deferred.pop(key, None))
    return node


def compute_all_deferred() -> None:
    """Compute every deferred value: one that it reads is going to change."""
    for reference in list(deferred.values()):
        value = reference()
        if value is not None:
            compute_deferred(value)


def compute_deferred(value: Any) -> Any:
    """Compute a deferred value, and first those that it depends on: a loop, for chains of any length."""
    stack = [value]
    while stack:
        node = stack[-1]
        if is_computed(node):
            stack.pop()
            continue
        if node.op is None:
            raise AttributeError(f"{type(node).__name__} has no value: it was made without an array and without an op")
        missing = [a for a, s in zip(node.inputs, node.saved, strict=True) if s is _PENDING and not is_computed(a)]
        if missing:
            stack.extend(reversed(missing))
            continue
        kept = [a._array if s is _PENDING else s for a, s in zip(node.inputs, node.saved, strict=True)]
        arrays = tuple([_snapshot(array) for array in kept])
        try:
            out = node.op.compute(*arrays)
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            explain(error, node.op, arrays)
        node._array = out if type(out) is ndarray else as_array(out, node.op)
        deferred.pop(id(node), None)
        watching.tell("computed", node.op, node.inputs, node, 0.0)
        if node.needs:
            node.saved = arrays if "inputs" in node.op.saves else None
        else:  # a view's base lives as long as the view
            node.saved = node.inputs[0] if node.op.view else None
            node.op, node.inputs = None, ()
        stack.pop()
    return object.__getattribute__(value, "_array")


def _snapshot(array: Any) -> Any:
    """An array as it was when the operation was noted. One that was handed out since is copied from its snapshot."""
    recorded = as_recorded(array)
    return recorded if recorded is array or type(recorded) is tuple else recorded.copy()
