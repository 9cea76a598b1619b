"""Which numbers of a program are the batch: those that change when it is run with another one.

A program is traced with several sizes of each symbol ("batch", "time"). A number that is the same in all traces is a
constant. One that changes is a polynomial of the symbols in which none has a power above 1: it is worked out from some
of the traces, and must be right in the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import prod
from typing import Any

import numpy as np

from .errors import VariesError

Sizes = dict[str, int]
"""The size of each symbol."""
Term = tuple[str, ...]


class Dim:
    """A length that depends on symbols: {("batch",): 2, (): 1} is 2 * batch + 1. It can be added and multiplied."""

    __slots__ = ("terms",)

    def __init__(self, terms: dict[Term, int]):
        self.terms = {term: n for term, n in sorted(terms.items()) if n}

    def at(self, sizes: Sizes) -> int:
        """Its value for these sizes."""
        return sum(n * prod(sizes[name] for name in term) for term, n in self.terms.items())

    def __add__(self, other: Any) -> Any:
        found = dict(self.terms)
        for term, n in _terms(other).items():
            found[term] = found.get(term, 0) + n
        return plain(Dim(found))

    def __mul__(self, other: Any) -> Any:
        found: dict[Term, int] = {}
        for first, n in self.terms.items():
            for second, m in _terms(other).items():
                term = tuple(sorted(first + second))
                found[term] = found.get(term, 0) + n * m
        return plain(Dim(found))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Any:
        return self * -1

    def __sub__(self, other: Any) -> Any:
        return self + other * -1

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(tuple(self.terms.items()))

    def __str__(self) -> str:
        text = ""
        for term, n in sorted(self.terms.items(), key=lambda item: (-len(item[0]), item[0])):
            factors = [*([str(abs(n))] if abs(n) != 1 or not term else []), *term]
            text += (" - " if n < 0 else " + ") * bool(text) + "-" * (n < 0 and not text) + "*".join(factors)
        return text

    __repr__ = __str__


Length = int | Dim


def _terms(n: Any) -> dict[Term, int]:
    return n.terms if isinstance(n, Dim) else {(): n}


def plain(dim: Dim) -> Length:
    """The number, if it depends on no symbol."""
    return dim.terms.get((), 0) if not dim.terms.keys() - {()} else dim


def broadcast(shapes: Sequence[tuple[Length, ...]]) -> tuple[Length, ...]:
    """The shape that shapes which fit are broadcast to."""
    ndim = max(map(len, shapes))
    every = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    return tuple([next((n for n in lengths if n != 1), 1) for lengths in zip(*every, strict=True)])


class Repeated:
    """A constant that is repeated along axes whose lengths depend on symbols: of this shape, made of `array`, which has
    the length 1 along these axes."""

    __slots__ = ("array", "shape")

    def __init__(self, array: Any, shape: tuple[Length, ...]):
        self.array = array
        self.shape = shape


class Counted:
    """A constant start, start + step, ... along its one axis that is not 1 long, and depends on symbols."""

    __slots__ = ("dtype", "shape", "start", "step")

    def __init__(self, start: int, step: int, shape: tuple[Length, ...], dtype: Any):
        self.start, self.step = start, step
        self.shape = shape
        self.dtype = dtype


class Sampled:
    """The sizes that a program is traced with, and what they tell about its numbers."""

    def __init__(self, every: Sequence[Sizes]):
        self.every = list(every)
        """All symbols small, each subset of them larger, and all of them at sizes of their own."""
        names = sorted(self.every[0])
        self._monomials: list[Term] = [t for k in range(len(names) + 1) for t in combinations(names, k)]
        self._matrix = np.array([[prod(s[name] for name in t) for t in self._monomials] for s in self.every], float)

    def length(self, values: Sequence[int]) -> Length:
        """The length with these values in the traces. VariesError if it is no such polynomial."""
        first = int(values[0])
        if all(n == first for n in values):
            return first
        solved = np.linalg.lstsq(self._matrix, np.array(values, float), rcond=None)[0]
        found = Dim({term: round(n) for term, n in zip(self._monomials, solved.tolist(), strict=True)})
        if [found.at(sizes) for sizes in self.every] != [int(n) for n in values]:
            raise VariesError(f"is {self.listed(values)}, which is no sum of products of these")
        return found

    def listed(self, values: Sequence[Any]) -> str:
        """The values, with the sizes at which they were found."""
        if all(len(sizes) == 1 for sizes in self.every):
            (name,) = self.every[0]
            return f"{', '.join(map(str, values))} for {name} = {', '.join([str(s[name]) for s in self.every])}"
        return ", ".join([f"{value} for {sizes}" for value, sizes in zip(values, self.every, strict=True)])

    def shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[Length, ...]:
        if len({len(shape) for shape in shapes}) > 1:
            raise VariesError(f"has the shape {self.listed(shapes)}")
        return tuple([self.length(lengths) for lengths in zip(*shapes, strict=True)])

    def merged(self, values: Sequence[Any]) -> Any:
        """One value for those in all traces: itself where they are the same; the same containers around lengths,
        Repeated and Counted arrays where they differ."""
        first = values[0]
        if all(value is first for value in values):
            return first
        if any(type(value) is not type(first) for value in values):
            raise VariesError(f"is {self.listed(values)}")
        if isinstance(first, np.ndarray):
            return self.array(values)
        if isinstance(first, (tuple, list)):
            if len({len(value) for value in values}) > 1:
                raise VariesError(f"is {self.listed(values)}")
            members = [self.merged(each) for each in zip(*values, strict=True)]
            return type(first)(*members) if hasattr(first, "_fields") else type(first)(members)
        if isinstance(first, dict):
            return {key: self.merged([value[key] for value in values]) for key in first}
        if isinstance(first, slice):
            ends = [self.merged([getattr(value, end) for value in values]) for end in ("start", "stop", "step")]
            return slice(*ends)
        if isinstance(first, (int, np.integer)) and not isinstance(first, bool):
            return self.length(values)
        if any(not _is_same(value, first) for value in values):
            raise VariesError(f"is {self.listed(values)}")
        return first

    def array(self, arrays: Sequence[Any]) -> Any:
        """A constant array."""
        first = arrays[0]
        if all(a is first or (a.shape == first.shape and _is_same(a, first)) for a in arrays):
            return first
        shape = self.shape([a.shape for a in arrays])
        moving = [axis for axis, n in enumerate(shape) if isinstance(n, Dim)]
        if not moving:
            if first.size == 1 and first.dtype.kind in "iu":
                length = self.length([a.item() for a in arrays])
                return Repeated(length, shape)
            raise VariesError("has other elements")
        once = tuple([slice(0, 1) if axis in moving else slice(None) for axis in range(first.ndim)])
        if all(_is_same(a, np.broadcast_to(first[once], a.shape)) for a in arrays):
            return Repeated(first[once].copy(), shape)
        if first.dtype.kind in "iuf" and first.size == first.shape[moving[0]] > 1:
            start, second = first.flat[0], first.flat[1]
            step = second - start
            if all(_is_same(a.reshape(-1), start + step * np.arange(a.size)) for a in arrays) and step == int(step):
                return Counted(int(start), int(step), shape, first.dtype)
        raise VariesError(f"of shape {shape} is neither one number repeated nor a row of whole numbers")


def _is_same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))
    return bool(a == b) or (isinstance(a, float) and bool(np.isnan(a) and np.isnan(b)))


def samples(example: Sizes) -> Iterator[Sampled]:
    """The sizes to trace with: larger ones than the example's; then smaller ones, should those be too large."""
    start = {name: max(n, 2) for name, n in example.items()}
    subsets = [set(chosen) for k in range(len(start) + 1) for chosen in combinations(start, k)]
    for smaller in subsets:
        if any(start[name] < 4 for name in smaller):
            continue
        step = {name: -1 if name in smaller else 1 for name in start}
        every = [{name: n + step[name] * (name in chosen) for name, n in start.items()} for chosen in subsets]
        if start:
            every.append({name: n + 2 * step[name] for name, n in start.items()})
        yield Sampled(every)
