"""Which results of a function share memory: with each other, with an argument, or with a tensor from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy import ndarray

from ..autograd import Assigned, Tensor, latest
from ..nested import children_of, is_leaf
from ..ops.assignment import VIEWS

Link = tuple[Any, tuple[Any, ...], bool]
"""What a result is made of (a tensor, or the place of another result), the ops that make it (none if it is that very
object), and whether it shows the elements through a copy."""


def leaves_in(tree: Any) -> Iterator[Any]:
    """The leaves of a result as they are, in the order of `flatten`, which gives the latest version of each."""
    if is_leaf(tree):
        yield tree
        return
    for child in children_of(tree)[1]:
        yield from leaves_in(child)


def links(results: Sequence[Any], is_there: Callable[[Any], bool]) -> tuple[dict[int, Link], bool]:
    """The link of each result that has one, by places, each after the one that it is made of; and whether other results
    share memory. `is_there`: whether the caller has a tensor already."""
    places: dict[int, int] = {}
    found: dict[int, Link] = {}
    parts: dict[int, list[Any]] = {}
    for i, y in enumerate(results):
        if isinstance(y, (Tensor, ndarray)) and places.setdefault(id(y), i) < i:
            found[i] = places[id(y)], (), False
    for i, y in enumerate(results):
        if i in found or not isinstance(y, Tensor) or is_there(y):
            continue
        base: Any = y
        path: list[Any] = []
        own = False
        while link := _base_of(base):
            own = own or _was_assigned_to(base, link[0])
            base, op = link
            path.insert(0, op)
            if id(base) in places or is_there(base):
                found[i] = base if is_there(base) else places[id(base)], tuple(path), own
                break
        else:
            parts.setdefault(id(base), []).append(_along(path, latest(base)._array))

    def depth(i: int) -> int:
        base = found[i][0]
        return 1 + depth(base) if isinstance(base, int) and base in found else 0

    share = any(np.shares_memory(a, b) for views in parts.values() for a, b in combinations(views, 2))
    return {i: found[i] for i in sorted(found, key=depth)}, share


def _base_of(view: Any) -> Any:
    """(the tensor whose memory this one shows, the op that made it); None if it shows that of no other one, or that of
    an earlier value."""
    link = VIEWS.base_of(view)
    if link is None or _was_assigned_to(view, link[0]) or np.may_share_memory(view._array, latest(link[0])._array):
        return link
    return None


def _was_assigned_to(view: Any, base: Any) -> bool:
    """Whether a view shows the elements of its base through a copy that is renewed: see ops/assignment.py."""
    return isinstance(view, Assigned) or isinstance(base, Assigned)


def _along(path: Sequence[Any], array: Any) -> Any:
    for op in path:
        array = array if op is None else op.compute(array)
    return array
