"""Live arrays that were handed out, and what a recorded operation sees of them.

`tensor.cached_data` is the tensor's own memory: whoever holds it may write into it at any time. NumPy tells nobody
about such a write, so two rules keep recorded gradients true, whatever is written and whenever:

1. an operation recorded *before* the array was handed out reads the snapshot that `hand_out` took of it;
2. an operation recorded *after* gets a private copy (`private`), so nothing it keeps is reachable from outside.

Both are keyed on the memory's owner, so views and detached tensors that share it are covered. As long as nothing is
handed out, the whole matter costs an operation one look at an empty dictionary.
"""

from __future__ import annotations

import weakref
from operator import is_
from typing import Any

import numpy as np

from . import watching

handed_out: dict[int, tuple[weakref.ref[Any], Any]] = {}
"""id of an array that owns memory -> (weak reference to it, its content when it was first handed out)."""


def owner_of(array: Any) -> Any:
    while type(array.base) is np.ndarray:  # a pool's block is of another class: what it lends is the owner's own
        array = array.base
    return array


def hand_out(array: Any) -> Any:
    """The same array, after taking a snapshot of its memory if this is the first time that it leaves."""
    owner = owner_of(array)
    key = id(owner)
    if key not in handed_out:
        gone = weakref.ref(owner, lambda _: handed_out.pop(key, None))
        handed_out[key] = gone, owner.ravel(order="K").copy()
    return array


def private(array: Any) -> Any:
    """The array itself (or each of a tuple), or a copy if somebody outside could write to it."""
    if type(array) is tuple:
        return tuple(private(member) for member in array)
    if id(owner_of(array)) not in handed_out:
        return array
    copy = array.copy()
    if watching.active:
        watching.tell("copied", array, copy)
    return copy


def as_recorded(array: Any) -> Any:
    """What an operation that kept `array` saw: the array itself, or the same window onto its snapshot."""
    if type(array) is tuple:
        members = tuple(as_recorded(member) for member in array)
        return array if all(map(is_, members, array)) else members
    owner = owner_of(array)
    entry = handed_out.get(id(owner))
    if entry is None or array.size == 0:
        return array
    offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    return np.ndarray(array.shape, array.dtype, buffer=entry[1], offset=offset, strides=array.strides)
