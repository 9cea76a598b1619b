"""Sums of products, in Einstein's notation."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from string import ascii_letters
from typing import Any

import numpy as np

from ..autograd import Tensor, TensorOp, as_value
from ..backend import sum_over

SMALL = 1 << 12
"""The number of products up to which searching for a faster order takes longer than it saves."""


class Einsum(TensorOp):
    """Products of the operands' elements, summed over the labels that are not in `output`.

    The letters of `terms` label the operands' axes. No label occurs twice in a term. An axis of length 1 broadcasts.
    The op is linear in each operand. The adjoint of an operand is an einsum, too, with out_grad in the operand's place.
    """

    notation = "einsum({subscripts}, {inputs})"
    saves, view = ("inputs",), True
    __slots__ = ("optimize", "output", "terms")

    def __init__(self, terms: tuple[str, ...], output: str, optimize: Any = False):
        self.terms = terms
        self.output = output
        self.optimize = optimize

    @property
    def subscripts(self) -> str:
        return f"{','.join(self.terms)}->{self.output}"

    def compute(self, *arrays: Any) -> Any:
        optimize = self.optimize
        if optimize is False and len(arrays) > 1:
            optimize = prod(self._lengths(arrays).values()) > SMALL
        axes = tuple([i for i, label in enumerate(self.terms[0]) if label not in self.output])
        if len(arrays) == 1 and axes and arrays[0].dtype.kind in "fc":  # einsum adds one by one; integers stay narrow
            kept = "".join([label for label in self.terms[0] if label in self.output])
            return np.einsum(f"{kept}->{self.output}", sum_over(arrays[0], axes))
        if all(a.dtype == np.float16 for a in arrays):
            return np.einsum(self.subscripts, *arrays, optimize=optimize, dtype=np.float32).astype(np.float16)
        return np.einsum(self.subscripts, *arrays, optimize=optimize)

    def _lengths(self, arrays: tuple[Any, ...]) -> dict[str, int]:
        lengths: dict[str, int] = {}
        for term, a in zip(self.terms, arrays, strict=True):
            for label, n in zip(term, a.shape, strict=True):
                if lengths.get(label, 1) == 1:
                    lengths[label] = n
        return lengths

    def hint(self, *arrays: Any) -> str:
        lengths = self._lengths(arrays)
        for i, (term, a) in enumerate(zip(self.terms, arrays, strict=True)):
            for label, n in zip(term, a.shape, strict=True):
                if n not in (1, lengths[label]):
                    return (
                        f"axis {label!r} of {self.subscripts!r} is {n} long in operand {i}, elsewhere {lengths[label]}"
                    )
        return ""

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return tuple([lambda i=i: self._adjoint(i, out_grad, node.inputs) for i in range(len(node.inputs))])

    def _adjoint(self, i: int, out_grad: Any, inputs: tuple[Any, ...]) -> Any:
        mine, shape = self.terms[i], inputs[i].shape
        terms = (self.output, *self.terms[:i], *self.terms[i + 1 :])
        # The adjoint repeats along a label that only this operand has: the output was summed over it. It sums over a
        # label that has length 1 in this operand: the operand was broadcast along it.
        kept = "".join([label for label, n in zip(mine, shape, strict=True) if n != 1 and label in "".join(terms)])
        adjoint = Einsum(terms, kept, self.optimize is not False).on(out_grad, *inputs[:i], *inputs[i + 1 :])
        if adjoint.shape == shape:
            return adjoint
        lengths = dict(zip(kept, adjoint.shape, strict=True))
        return np.broadcast_to(adjoint.reshape(tuple([lengths.get(label, 1) for label in mine])), shape)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        total = None
        for i, t in enumerate(tangents):
            if t is not None:
                part = self.on(*node.inputs[:i], t, *node.inputs[i + 1 :])
                total = part if total is None else total + part
        return total

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        new = next((label for label in ascii_letters if label not in self.subscripts), None)
        if new is None:
            return NotImplemented
        terms = tuple([t if depth is None else new + t for t, depth in zip(self.terms, depths, strict=True)])
        return Einsum(terms, new + self.output, self.optimize is not False)(*values)


def einsum(*operands: Any, optimize: Any = False) -> Tensor:
    """Sums of products of elements: `einsum("ij,jk->ik", a, b)`, or with lists `einsum(a, [0, 1], b, [1, 2])`.

    The notation is that of `numpy.einsum`. `...` stands for any further axes. Without `->`, the result has the labels
    that occur once, in alphabetical order. A label that occurs twice in an operand takes its diagonal. Raises
    ValueError for subscripts that do not fit the operands.
    """
    if not operands:
        raise ValueError("einsum: needs subscripts and operands, like einsum('ij,jk->ik', a, b)")
    subscripts: Any
    if isinstance(operands[0], str):
        values, subscripts = operands[1:], operands[0]
    else:
        pairs = len(operands) // 2 * 2
        values, labels = operands[:pairs:2], tuple(map(tuple, operands[1:pairs:2]))
        subscripts = labels, tuple(operands[-1]) if len(operands) % 2 else None
    values = tuple([as_value(a, "einsum") for a in values])
    diagonals, terms, output = _read(subscripts, tuple([a.ndim for a in values]))
    if any(diagonals):
        values = tuple([_diagonal_of(a, places) for a, places in zip(values, diagonals, strict=True)])
    return Einsum(terms, output, optimize)(*values)


@lru_cache(maxsize=256)
def _read(subscripts: Any, ndims: tuple[int, ...]) -> tuple[list[list[list[int]]], tuple[str, ...], str]:
    """(diagonals, terms, output) of subscripts, for operands of these numbers of axes.

    `diagonals` has, for each operand, the groups of axes to take the diagonal of, in this order. `terms` and `output`
    label the axes that remain, in letters.
    """
    if isinstance(subscripts, str):
        left, arrow, right = subscripts.replace(" ", "").partition("->")
        given = [_split(part) for part in left.split(",")]
        output = _split(right) if arrow else None
        if len(given) != len(ndims):
            raise ValueError(f"einsum: {subscripts!r} has {len(given)} terms, got {len(ndims)} operands")
    else:
        given = [list(labels) for labels in subscripts[0]]
        output = None if subscripts[1] is None else list(subscripts[1])
    further = [ndim - len(term) + term.count(...) for ndim, term in zip(ndims, given, strict=True)]
    for i, (term, n) in enumerate(zip(given, further, strict=True)):
        if n < 0 or (n and ... not in term):
            raise ValueError(f"einsum: {_joined(term)!r} does not label the axes of operand {i}, which has {ndims[i]}")
    widest = max(further, default=0)
    terms = [_spelled_out(term, n) for term, n in zip(given, further, strict=True)]
    labels = [label for term in terms for label in term]
    if output is None:
        once = [label for label in set(labels) if labels.count(label) == 1 and not isinstance(label, tuple)]
        result = [*_places(widest), *sorted(once)]
    elif widest and ... not in output:
        raise ValueError(f"einsum: the result {_joined(output)!r} needs '...', because the operands have it")
    else:
        result = _spelled_out(output, widest)
    for label in result:
        if label not in labels or result.count(label) > 1:
            why = "twice" if label in labels else "but none of the operands does"
            raise ValueError(f"einsum: the result {_joined(output)!r} has the label {label!r} {why}")
    letters = dict(zip(dict.fromkeys(labels), ascii_letters, strict=False))
    if len(letters) < len(set(labels)):
        raise ValueError(f"einsum: at most {len(letters)} different labels are possible, got {len(set(labels))}")
    diagonals = [_take_diagonals(term) for term in terms]
    named = tuple(["".join([letters[label] for label in term]) for term in terms])
    return diagonals, named, "".join([letters[label] for label in result])


def _split(term: str) -> list[Any]:
    """The labels of a term like 'i...j'."""
    before, dots, after = term.partition("...")
    labels = [*before, ..., *after] if dots else [*before]
    wrong = [label for label in labels if label is not ... and label not in ascii_letters]
    if wrong:
        raise ValueError(f"einsum: {term!r} must be letters and at most one '...', got {wrong[0]!r}")
    return labels


def _joined(term: Any) -> str:
    return "".join(["..." if label is ... else str(label) for label in term])


def _places(n: int) -> list[Any]:
    """Labels for the n axes of an ellipsis, by their position from the right."""
    return [("...", i) for i in range(-n, 0)]


def _spelled_out(term: list[Any], n: int) -> list[Any]:
    """The labels of a term, with an ellipsis replaced by n labels."""
    if ... not in term:
        return term
    i = term.index(...)
    return [*term[:i], *_places(n), *term[i + 1 :]]


def _take_diagonals(term: list[Any]) -> list[list[int]]:
    """The positions of each label that occurs repeatedly in a term, which is changed to have the label once."""
    taken = []
    for label in dict.fromkeys(term):
        places = [i for i, other in enumerate(term) if other == label]
        if len(places) > 1:
            taken.append(places)
            term[:] = [other for other in term if other != label]
            # NumPy puts the axis of index arrays at their position if they are adjacent, else in front.
            together = places[-1] - places[0] == len(places) - 1
            term.insert(places[0] if together else 0, label)
    return taken


def _diagonal_of(a: Tensor, groups: list[list[int]]) -> Tensor:
    """The elements with equal indices along the axes of each group, one group after the other."""
    for places in groups:
        lengths = {a.shape[i] for i in places}
        if len(lengths) > 1:
            raise ValueError(f"einsum: the axes {places} have one label, and must be equally long, got shape {a.shape}")
        along = np.arange(lengths.pop())
        a = a[tuple([along if i in places else slice(None) for i in range(a.ndim)])]
    return a
