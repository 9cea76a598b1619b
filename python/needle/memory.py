"""Live arrays that were handed out to the user, and what recorded ops see of them.

`tensor.cached_data` is the tensor's own memory, and its holder may write into it at any time. NumPy does not report
such writes. Two rules keep recorded gradients right all the same:

1. An op recorded *before* the array was handed out reads the snapshot that `hand_out` took of it.
2. An op recorded *after* that gets a private copy (`private`), which is not reachable from outside.

Both rules go by the owner of the memory, so they cover views and detached tensors that share it. While nothing is
handed out, an op only looks into an empty dictionary.
"""

from __future__ import annotations

import weakref
from operator import is_
from typing import Any

import numpy as np

from . import watching

handed_out: dict[int, tuple[weakref.ref[Any], Any]] = {}
"""id of an array that owns memory -> (weak reference to it, snapshot from when it was first handed out)."""


def owner_of(array: Any) -> Any:
    while type(array.base) is np.ndarray:  # a pool's block is of another class, and not the owner of what it lends
        array = array.base
    return array


def hand_out(array: Any) -> Any:
    """The array itself; takes a snapshot of its memory when it is first handed out."""
    owner = owner_of(array)
    key = id(owner)
    if key not in handed_out:
        gone = weakref.ref(owner, lambda _: handed_out.pop(key, None))
        handed_out[key] = gone, owner.ravel(order="K").copy()
    return array


def private(array: Any) -> Any:
    """The array (or tuple of arrays), copied if it was handed out and might be written to."""
    if type(array) is tuple:
        return tuple(private(member) for member in array)
    if id(owner_of(array)) not in handed_out:
        return array
    copy = array.copy(order="K")
    if watching.active:
        watching.tell("copied", array, copy)
    return copy


def as_recorded(array: Any) -> Any:
    """The values that an op saw when it kept `array`: the array itself, or the same view of its snapshot."""
    if type(array) is tuple:
        members = tuple(as_recorded(member) for member in array)
        return array if all(map(is_, members, array)) else members
    owner = owner_of(array)
    entry = handed_out.get(id(owner))
    if entry is None or array.size == 0:
        return array
    offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    return np.ndarray(array.shape, array.dtype, buffer=entry[1], offset=offset, strides=array.strides)
