"""Copies of random nested objects that hold tensors, ties, computed tensors and what was assigned to: the copy is as
connected as the object, and `backward()` fills its own gradients.

`python tests/test_random_copies.py 10000` tries this many, and prints what went wrong.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import pickle
from types import SimpleNamespace
from typing import Any, NamedTuple

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from needle import Tensor
from searching import search


@dataclasses.dataclass
class Record:
    a: Any
    b: Any = None


class Pair(NamedTuple):
    a: Any
    b: Any


class Slotted:
    __slots__ = ("a", "b")


def slotted(a: Any, b: Any) -> Slotted:
    made = Slotted()
    made.a, made.b = a, b
    return made


WRAPS: list[Any] = [
    lambda a, b: [a, b],
    lambda a, b: (a, b),
    lambda a, b: {"a": a, "b": b},
    Record,
    Pair,
    slotted,
    lambda a, b: SimpleNamespace(a=a, b=b),
    lambda a, b: collections.deque([a, b]),
    lambda a, b: collections.OrderedDict(a=a, b=b),
    lambda a, b: collections.defaultdict(list, a=a, b=b),
    lambda a, b: [a, [b, a]],
]


def parts_of(thing: Any) -> list[Any]:
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, (list, tuple, collections.deque)):
        return list(thing)
    return [getattr(thing, name) for name in ("a", "b") if hasattr(thing, name)]


def tensors_in(thing: Any) -> list[Any]:
    """The tensors in an object, in the order of their places; one that is there twice is listed twice."""
    if isinstance(thing, Tensor):
        return [thing]
    if isinstance(thing, (np.ndarray, str, int, float)) or thing is None:
        return []
    return [t for part in parts_of(thing) for t in tensors_in(part)]


class Model:
    """Tensors made from a seed, and an object that holds some of them. Leaves come first."""

    def __init__(self, seed: int):
        rng = self.rng = np.random.default_rng(seed)
        live: list[Any] = []
        for _ in range(rng.integers(1, 4)):
            values = rng.uniform(0.5, 1.5, 3)
            live.append(self.one_of([Tensor(values), Tensor(values, requires_grad=False), Tensor(values).detach()]))
        self.leaves = [*live]
        for _ in range(rng.integers(1, 6)):
            live.append(self.computed(live))
        self.loss = sum(((np.tanh(t) * (k + 1)).sum() for k, t in enumerate(live)), Tensor(0.0, requires_grad=False))
        self.live = [*live, self.loss]
        held = [live[k] for k in rng.integers(0, len(live), 3)]
        chosen = [*self.leaves, self.loss, *held, np.ones(2), "name"]
        order = rng.permutation(len(chosen))
        self.thing: Any = [None]
        for k in order:
            self.thing = self.one_of(WRAPS)(*((self.thing, chosen[k]) if rng.integers(2) else (chosen[k], self.thing)))

    def one_of(self, choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def computed(self, live: list[Any]) -> Any:
        a, b = (live[k] for k in self.rng.integers(0, len(live), 2))
        how = self.rng.integers(12)
        if how == 0:
            return a * b
        if how == 1:
            return np.sin(a) + b
        if how == 2:
            return a[::-1] * 1.5
        if how == 3:
            return a[:]
        if how == 4:
            held = nnp.zeros(3)
            held[:2], held[2] = a[:2], b[0]
            return held
        if how == 5:
            target = a * 1.0
            target[1] = b[0] * 2
            return target
        if how == 6:
            return needle.make_tuple(a * 1.0, b * 2)[1]
        if how == 7:
            return needle.checkpoint(lambda c: np.tanh(c) * 1.0)(a)
        if how == 8:
            return np.stack([a, b]).sum(axis=0)
        if how == 9:
            return a.reshape(1, 3).T[:, 0] * b
        if how == 10:
            return needle.custom_gradient(lambda c: (c * 1.0, lambda g: g * 3.0))(a)
        return np.where(np.arange(3) > 0, a, b)


def gradients(loss: Any, leaves: list[Any]) -> list[Any]:
    """The gradients of the leaves; None where there is none."""
    for leaf in leaves:
        leaf.grad = None
    if loss.requires_grad:
        loss.backward()
    return [None if leaf.grad is None else leaf.grad.numpy() for leaf in leaves]


def differ(found: list[Any], expected: list[Any]) -> bool:
    pairs = list(zip(found, expected, strict=True))
    return any((a is None) != (b is None) or (a is not None and not np.allclose(a, b)) for a, b in pairs)


def wrong(seed: int) -> str:
    """What is wrong with the copies of a model; "" if nothing is."""
    model = Model(seed)
    own = tensors_in(model.thing)
    expected = gradients(model.loss, model.leaves)
    values = [t.detach().numpy() for t in own]
    for _ in range(2):  # a copy, and a copy of the copy
        how = model.rng.integers(3)
        with needle.no_grad() if model.rng.integers(3) == 0 else needle.enable_grad():
            made = copy.deepcopy(model.thing) if how else copy.deepcopy([model.thing, model.thing])[1]
        theirs = tensors_in(made)
        if what := compare(model, own, theirs, expected, values):
            return f"seed {seed}: deepcopy: {what}"
    shallow = tensors_in(copy.copy(model.thing))
    if any(a is not b for a, b in zip(own, shallow, strict=True)):
        return f"seed {seed}: copy.copy made other tensors"
    loaded = tensors_in(pickle.loads(pickle.dumps(model.thing)))
    for a, b, value in zip(own, loaded, values, strict=True):
        if a is b or not np.allclose(b.detach().numpy(), value):
            return f"seed {seed}: pickle: another value"
        if [a is c for c in own] != [b is c for c in loaded]:
            return f"seed {seed}: pickle: a tie is lost"
        if a.op is None and a.requires_grad is not b.requires_grad:
            return f"seed {seed}: pickle: {b} does not need what it needed"
    return ""


def compare(model: Model, own: list[Any], theirs: list[Any], expected: list[Any], values: list[Any]) -> str:
    for a, b, value in zip(own, theirs, values, strict=True):
        if a is b:
            return "a tensor is shared"
        if [a is c for c in own] != [b is c for c in theirs]:
            return "a tie is lost"
        if a.requires_grad is not b.requires_grad or not np.array_equal(b.detach().numpy(), value):
            return f"{b} is not {a}"
        if np.may_share_memory(a.detach()._array, b.detach()._array):
            return "memory is shared"
    place = {id(a): b for a, b in zip(own, theirs, strict=True)}
    leaves, loss = [place[id(leaf)] for leaf in model.leaves], place[id(model.loss)]
    for leaf in model.leaves:
        leaf.grad = None
    if differ(found := gradients(loss, leaves), expected):
        return f"gradients {found}, not {expected}"
    if any(leaf.grad is not None for leaf in model.leaves):
        return "backward() of the copy reaches the original"
    before = gradients(model.loss, model.leaves)
    for leaf in leaves:
        if leaf.requires_grad:
            leaf.data = leaf * 2
    if differ(before, expected) or differ(gradients(model.loss, model.leaves), expected):
        return "the original changed"
    return ""


@pytest.mark.parametrize("block", range(10))
def test_a_copy_has_its_own_gradients(block):
    for seed in range(20 * block, 20 * (block + 1)):
        assert not wrong(seed)


if __name__ == "__main__":
    search(wrong)
