"""Kinds of adjoints: the values that a sweep adds up and hands to rules, besides plain arrays and Tensors.

A rule is linear in the adjoint that it is given, so a kind need only know what sums, products and moves do to it:

- ZERO: reached, but along no path on which anything changes;
- `Masked`: structurally zero outside a mask, whatever it is multiplied with;
- `Elements`, `Member`: contributions to some elements of a value, or to one member of a tuple;
- `Held`: nobody but the sweep holds it, so a rule may write into it.

Here, too, adjoints get the shape and dtype of their values: `fit` is the one place where broadcasting is undone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray

from .. import watching
from ..backend import as_array, sum_over
from .errors import wrong_rule
from .levels import Wrapped, _as_leaf
from .tensor import Tensor, TensorTuple, constant, gradient_dtype

OUTERMOST = 1 << 62
"""The level of structural zeros: above those of all transforms."""


class _Zero:
    """The type of ZERO."""

    def __repr__(self) -> str:
        return "ZERO"


ZERO = _Zero()
"""Reached, but by no path along which anything changes: a zero of the value's shape."""


class Masked(Wrapped):
    """An adjoint that is structurally zero outside a mask, because that part of the value was not chosen.

    What it is multiplied with further on may be infinite or NaN there, and must not make the zero a NaN. It is the
    outermost level of all: an operation that meets one is applied to what is inside, and masked again.
    """

    __slots__ = ("mask",)
    mask: Any
    """A boolean Tensor of the shape of `value`; of arrays, an array that broadcasts to it."""

    def __init__(self, value: Any, mask: Any):
        self.level, self.value, self.mask = OUTERMOST, value, mask
        _as_leaf(self)

    def process(self, op: Any, inputs: tuple[Any, ...]) -> Any:
        plain = tuple(map(unmasked, inputs))
        if op.discrete:
            return op(*plain)
        masks = [a.mask if type(a) is Masked else None for a in inputs]
        with np.errstate(all="ignore"):  # about elements that do not count
            if op.elementwise:
                mask = _of_elements(op, plain, masks)
                return op(*plain) if mask is None else masked_again(op(*plain), mask)
            return _of_sums(op, plain, masks)


def masked_again(value: Any, mask: Any) -> Any:
    """The value where the mask holds, and 0 elsewhere: what a rule made of a structural zero is one again."""
    mask = mask if mask.shape == value.shape else mask.broadcast_to(value.shape)
    return Masked(value.masked(mask), mask)


def unmasked(adjoint: Any) -> Any:
    return adjoint.value if type(adjoint) is Masked else adjoint


def _of_elements(op: Any, plain: tuple[Any, ...], masks: list[Any]) -> Any:
    """The mask of what an element-wise op makes of adjoints with these masks (None: everything counts)."""
    if len(masks) == 3 and plain[0].dtype.kind == "b":  # a choice between two: the same one between their masks
        pairs = zip(masks[1:], plain[1:], strict=True)
        return op(plain[0], *[constant(np.ones(a.shape, bool)) if m is None else m for m, a in pairs])
    if len(masks) == 2 and not op.saves and None in masks:  # a sum, of which one term counts everywhere
        return None
    shape = np.broadcast_shapes(*[a.shape for a in plain])
    found = [m if m.shape == shape else m.broadcast_to(shape) for m in masks if m is not None]
    return found[0] if len(found) == 1 else found[0] | found[1]


def _of_sums(op: Any, plain: tuple[Any, ...], masks: list[Any]) -> Any:
    """What an op makes of adjoints with these masks, each element of whose output is a sum over several of theirs. An
    element is reached if it is not 0 between ones; of the other factors, what only meets structural zeros is left out,
    for it may be NaN."""
    if len(plain) == 1 and op.view:
        return Masked(op(plain[0]), op(masks[0]))
    reached, counts = op.reaches(plain, masks) if hasattr(op, "reaches") else between_ones(op, plain, masks)
    given = [a if c is None or _holds(c) else a.masked(c) for a, c in zip(plain, counts, strict=True)]
    out = op(*given)
    if isinstance(reached, tuple):  # of an op that spreads what reaches it over these axes
        (mask,) = [m for m in masks if m is not None]
        reached = any_along(mask, reached).broadcast_to(out.shape)
    return Masked(out, reached) if _holds(reached) else masked_again(out, reached)


def between_ones(op: Any, plain: tuple[Any, ...], masks: list[Any]) -> tuple[Any, list[Any]]:
    """The elements of the output that a linear op reaches from where the masks hold, and those of each factor that has
    no mask which take part in it, as the op and its gradient say it between ones."""
    pairs = zip(plain, masks, strict=True)
    ones = [constant(np.ones(a.shape, np.float32)) if m is None else m.astype(np.float32) for a, m in pairs]
    reached = op(*ones)
    counts: list[Any] = [None] * len(ones)
    if "inputs" in op.saves and None in masks:
        adjoints = op.gradient((reached != 0).astype(np.float32), Node(tuple(ones), reached))
        counts = [_forced(g) != 0 if m is None else None for g, m in zip(adjoints, masks, strict=True)]
    return reached != 0, counts


def any_along(mask: Any, axes: Any) -> Any:
    """Whether any element along these axes, which are kept with length 1, is True."""
    return mask.astype(np.float32).sum(axes, True) > 0


def _holds(mask: Any) -> bool:
    """Whether a mask is known to hold everywhere."""
    return type(mask) is Tensor and not watching.captures() and bool(mask._array.all())


# ------------------------------------------------------------------------------------------- contributions to a part


@dataclass(slots=True, eq=False)
class Elements:
    """A contribution to some elements: a[index] receives `adjoint`. `add_at` is the class of the op that adds adjoints
    to zeros at their indices (AddAt)."""

    add_at: Any
    index: Any
    adjoint: Any

    @staticmethod
    def total(parts: list[Elements], value: Any) -> Any:
        """All of them put together at once, so that reading x[i] n times stays linear in n."""
        indices = [part.index for part in parts]
        return parts[0].add_at(value.shape, gradient_dtype(value.dtype), indices).on(*[part.adjoint for part in parts])

    @staticmethod
    def reached(parts: list[Elements], value: Any) -> Any:
        """The mask of the elements that they contribute to."""
        ones = [constant(np.ones(part.adjoint.shape, np.float32)) for part in parts]
        return parts[0].add_at(value.shape, np.dtype(np.float32), [part.index for part in parts])(*ones) > 0


@dataclass(slots=True, eq=False)
class Member:
    """A contribution to one member of a tuple of tensors."""

    index: int
    adjoint: Any

    @staticmethod
    def total(parts: list[Member], value: Any) -> tuple[Any, ...]:
        members: list[Any] = [None] * len(value)
        for part in parts:
            members[part.index] = plus(members[part.index], part.adjoint)
        return tuple(members)


@dataclass(slots=True, eq=False)
class Held:
    """An array that nobody but the sweep holds: rules of the class of op that made it may write into it; for all
    others, it is that array."""

    adjoint: Any
    maker: type[Any]

    def takes(self, parts: list[Any]) -> bool:
        """Add contributions to elements in place, if all are arrays."""
        if not all(type(part) is Elements and type(part.adjoint) is ndarray for part in parts):
            return False
        for part in parts:
            part.add_at.add(self.adjoint, part.index, part.adjoint)
        return True


class Sum:
    """What has reached one value so far, where it is of several kinds: a sum of whole adjoints, and parts."""

    __slots__ = ("parts", "whole")
    MOST_PARTS = 64
    """So many parts of a leaf's adjoint are kept before they are added to the whole."""

    def __init__(self, first: Any):
        self.whole: Any = None
        self.parts: list[Any] = []
        self.add(first)

    def add(self, adjoint: Any) -> None:
        if type(adjoint) in (Elements, Member):
            self.parts.append(adjoint)
        elif adjoint is not ZERO:
            self.whole = adjoint if self.whole is None else plus(self.whole, adjoint)

    def total(self, value: Any) -> Any:
        kinds: dict[Any, None] = dict.fromkeys(map(type, self.parts))
        for kind in kinds:
            parts: list[Any] = [part for part in self.parts if type(part) is kind]
            if type(self.whole) is Held and self.whole.takes(parts):
                continue
            total = kind.total(parts, value)
            if kind is Elements and type(released(self.whole)) is Masked and type(total) is not Masked:
                total = Masked(total, Elements.reached(parts, value))
            self.whole = total if self.whole is None else plus(self.whole, total)
        self.parts = []
        return ZERO if self.whole is None else self.whole

    def fold(self, value: Any) -> None:
        """Add many parts of a leaf's adjoint to the whole, in place. Half precision waits for the end: its sums are
        kept in more digits."""
        if len(self.parts) < self.MOST_PARTS or value.op is not None or value.dtype == np.float16:
            return
        whole = self.whole
        if type(whole) is not Held and (whole is None or type(whole) is ndarray):
            dtype = gradient_dtype(value.dtype)
            whole = Held(np.zeros(value.shape, dtype) if whole is None else np.array(whole, dtype), Sum)
        if type(whole) is Held and whole.takes(self.parts):
            self.whole, self.parts = whole, []


def plus(a: Any, b: Any) -> Any:
    """The sum of two adjoints of one value, None for zero; of tuples by member."""
    if a is None or b is None:
        return b if a is None else a
    if a is ZERO or b is ZERO:
        return b if a is ZERO else a
    if type(a) is tuple:
        return tuple([plus(x, y) for x, y in zip(a, b, strict=True)])
    if type(a) is Held and type(b) is ndarray:
        np.add(a.adjoint, b, out=a.adjoint)
        return a
    total = released(a) + released(b)
    return as_array(total) if isinstance(total, np.generic) else total


def add_adjoint(adjoints: dict[Any, Any], value: Any, adjoint: Any) -> None:
    """Add an adjoint of any kind to what has reached the value so far."""
    there = adjoints.get(value)
    if there is None:
        adjoints[value] = adjoint
        return
    if type(there) is not Sum:
        there = adjoints[value] = Sum(there)
    there.add(adjoint)
    there.fold(value)


def total_adjoint(adjoint: Any, value: Any) -> Any:
    """A complete adjoint as a rule takes it, all parts put together. ZERO stays what it is: no rule is needed to know
    what becomes of it."""
    if type(adjoint) is Sum:
        return adjoint.total(value)
    return adjoint.total([adjoint], value) if type(adjoint) in (Elements, Member) else adjoint


def released(adjoint: Any) -> Any:
    return adjoint.adjoint if type(adjoint) is Held else adjoint


def whole_adjoint(adjoint: Any, value: Any) -> Any:
    """A complete adjoint as nothing but its elements."""
    total = released(total_adjoint(adjoint, value))
    return constant(np.zeros(value.shape, gradient_dtype(value.dtype))) if total is ZERO else unmasked(total)


def as_arrays(adjoint: Any) -> Any:
    """An adjoint without the Tensors around its arrays."""
    return _each_value(lambda a: a._array if isinstance(a, Tensor) else a, adjoint)


def as_tensors(adjoint: Any) -> Any:
    """An adjoint with Tensors around its arrays."""
    return _each_value(lambda a: constant(as_array(a)) if isinstance(a, (ndarray, np.generic)) else a, adjoint)


def _each_value(function: Any, adjoint: Any) -> Any:
    """An adjoint of the same kind around function(value)."""
    kind = type(adjoint)
    if kind is tuple:
        return tuple([_each_value(function, g) for g in adjoint])
    if kind is Masked:
        return Masked(function(adjoint.value), adjoint.mask)
    is_part = kind in (Elements, Member)
    return replace(adjoint, adjoint=_each_value(function, adjoint.adjoint)) if is_part else function(adjoint)


# --------------------------------------------------------------------------------- an adjoint in the shape of its value


def one_each(op: Any, adjoints: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a gradient rule returned, as a tuple with one adjoint for each input."""
    if type(adjoints) is not tuple:
        if adjoints is None:
            raise wrong_rule(op, inputs, "None", TypeError)
        adjoints = tuple(adjoints) if isinstance(adjoints, (list, TensorTuple)) else (adjoints,)
    if len(adjoints) != len(inputs):
        raise wrong_rule(op, inputs, f"{len(adjoints)} adjoint(s) for {len(inputs)} input(s)")
    return adjoints


def fit(adjoint: Any, value: Any, op: Any, node: Any) -> Any:
    """The adjoint in the shape and dtype of its value, a Tensor or an array: the one place where broadcasting is
    undone. None for a value that has no gradient."""
    if isinstance(adjoint, np.generic):  # what NumPy makes of 0-d arrays
        adjoint = np.asarray(adjoint)
    if type(adjoint) is type(value) is ndarray and adjoint.shape == value.shape and adjoint.dtype is value.dtype:
        return adjoint
    if isinstance(adjoint, ndarray) and op.on_arrays:
        adjoint = constant(adjoint) if isinstance(value, Tensor) else adjoint
    elif not isinstance(adjoint, Tensor):
        if isinstance(adjoint, TensorTuple):
            return tuple(adjoint)
        if type(adjoint) in _KINDS or isinstance(value, TensorTuple) or (type(adjoint) is tuple and op.on_arrays):
            return adjoint
        raise wrong_rule(op, node.inputs, f"a {type(adjoint).__name__} where a Tensor is needed", TypeError)
    if value.dtype.kind == "b":
        return None
    if adjoint.shape != value.shape:
        if not _fits(adjoint.shape, value.shape, op, node):
            of = "" if isinstance(node, TensorTuple) else f" of an output of shape {node.output.shape}"
            got = f"an adjoint of shape {adjoint.shape} for an input of shape {value.shape}{of}"
            raise wrong_rule(op, node.inputs, got)
        adjoint = unbroadcast(adjoint, value.shape)
    dtype = gradient_dtype(value.dtype)
    if adjoint.dtype != dtype:
        kind = adjoint.dtype.kind
        if kind not in "fc" or (kind == "c" and dtype.kind != "c" and _is_real(node)):
            got = f"an adjoint of dtype {adjoint.dtype} for an input of dtype {value.dtype}"
            raise wrong_rule(op, node.inputs, got, TypeError)
        if kind == "c" and dtype.kind != "c":
            adjoint = adjoint.real
        adjoint = adjoint.astype(dtype)
    return adjoint


_KINDS = {_Zero, Elements, Member, Held}


def _fits(adjoint: tuple[int, ...], shape: tuple[int, ...], op: Any, node: Any) -> bool:
    """Whether an adjoint may have this shape for a value of that shape: one that this broadcasts to, and of a rule that
    a user wrote, the output's, or the output's leading axes before those of the value."""
    added = len(adjoint) - len(shape)
    if added < 0 or not all(n in (1, m) for n, m in zip(shape, adjoint[added:], strict=True)):
        return False
    if op.on_arrays or isinstance(node, TensorTuple):
        return True
    output = node.output.shape
    return adjoint == output or (adjoint[added:] == shape and adjoint[:added] == output[:added])


def _is_real(node: Any) -> bool:
    values = [node.output, *node.inputs]
    return not any(isinstance(a, (TensorTuple, tuple)) or a.dtype.kind == "c" for a in values)


def unbroadcast(adjoint: Any, shape: tuple[int, ...]) -> Any:
    """The adjoint of `broadcast_to`: summed over the axes along which a value of this shape was repeated."""
    have = adjoint.shape
    if have == shape:
        return adjoint
    added = len(have) - len(shape)
    repeated = tuple(added + i for i, (h, s) in enumerate(zip(have[added:], shape, strict=True)) if h != s)
    axes = tuple(range(added)) + repeated
    total = as_array(sum_over(adjoint, axes)) if type(adjoint) is ndarray else adjoint.sum(axes)
    return total.reshape(shape) if repeated else total


@dataclass(slots=True, eq=False)
class Node:
    """What a gradient rule is shown of a node where it is not the Tensor itself: its inputs and its output, as arrays,
    or as tensors inside a transform."""

    inputs: tuple[Any, ...]
    output: Any


def _forced(adjoint: Any) -> Any:
    """The adjoint of a rule, which may be a function that computes it."""
    return adjoint() if callable(adjoint) else adjoint
