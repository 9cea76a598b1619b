"""Eigenvalues and singular values, with and without their vectors.

The rules for values alone do not divide by differences of values. Those for vectors, and for second derivatives, do;
what they are where values are equal stands in equal_values.py.

The phase of a complex vector is free. It is taken as constant, as in JAX and PyTorch, which is right for functions that
do not depend on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import watching
from ..autograd import (
    ZERO,
    Tensor,
    TensorOp,
    TensorTuple,
    TensorTupleOp,
    Wrapped,
    unmasked,
)
from .discrete import Discrete, discrete
from .equal_values import (
    ONE_BY_ONE,
    SEVERAL,
    WITH_VALUES,
    Once,
    adjoint_along,
    agree_in_all_bits,
    are_zero,
    divided_differences,
    follow,
    groups_of_equal,
    groups_of_near,
    innermost,
    is_differentiated,
    is_skew,
    largest_of,
    may_be_near,
    may_be_read,
    noise_of_sums,
    of_kind,
    of_stacks,
    on_groups,
    once,
    one_if_known,
    one_if_symmetric,
    one_or_nan,
    one_unless,
    pairs_in,
    pairs_of_equal,
    probe_equal,
    probe_near,
    pushed_ratio,
    real_diagonal,
    reciprocal,
    separated_along,
    separation,
    stacked,
    symmetric_ratio,
    turning,
    warn,
    zero_or_nan,
)
from .joining import Concatenate
from .matrices import (
    OfMatrices,
    as_column,
    as_factor,
    as_row,
    conjugate,
    dagger,
    hermitian_part,
    shape_hint,
    thin,
    zeros_unless,
)
from .reduction import Summation
from .selection import zeroed
from .systems import SOLVE


def _moved(uplo: Any, a: Any, along: Any) -> tuple[Any, Any, Any]:
    """(w, V, V^H E V) for the Hermitian part E of a tangent: the vectors of equal values are those that E separates."""
    w, v = Eigh(uplo).on(a)
    motion = dagger(v) @ hermitian_part(along) @ v
    if may_be_near(w):
        turn = of_stacks(separation, 1, 2).on(w, motion)
        v, motion = v @ turn, dagger(turn) @ motion @ turn
    return w, v, motion


def _turned(op: Any, w: Any, v: Any) -> Any:
    """The vectors v, those of equal values as the tangent that op.along holds separates them."""
    if op.along is SEVERAL:
        return v
    along = of_kind(op.along, v)
    return v @ of_stacks(separation, 1, 2).on(w, dagger(v) @ hermitian_part(along) @ v)


class AlongSpectrum(OfMatrices, TensorOp):
    """How fast the eigenvalues of a move along a tangent: the diagonal of V^H along V.

    Of equal values, V are the vectors that `other` separates, which is a second tangent, or `along` itself. The motions
    of equal values have their right product then, which a symmetric function has its second derivative by.
    """

    notation = "along_spectrum({inputs})"
    saves, hermitian = ("inputs",), True
    __slots__ = ("paired", "uplo")

    def __init__(self, uplo: str = "L", paired: bool = True):
        self.uplo: Any = uplo
        self.paired = paired
        """Whether the other tangent is another one."""

    def compute(self, a: Any, along: Any, other: Any) -> Any:
        return self._moves(a, along, other)[0]

    def _moves(self, a: Any, along: Any, other: Any) -> tuple[Any, ...]:
        """The result, w, V, the motion V^H along V and the diagonal of the other one."""
        w, v = Eigh(self.uplo).on(a)
        if not may_be_near(w):
            motion = dagger(v) @ hermitian_part(along) @ v
            return real_diagonal(motion), w, v, motion, None
        v = v @ of_stacks(separation, 1, 2).on(w, dagger(v) @ hermitian_part(other) @ v)
        motion = dagger(v) @ hermitian_part(along) @ v
        if not self.paired:
            return real_diagonal(motion), w, v, motion, None
        rest = real_diagonal(dagger(v) @ hermitian_part(other) @ v)
        return on_groups(w, real_diagonal(motion), rest), w, v, motion, rest

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, along, other = node.inputs
        _, w, v, motion, rest = self._moves(a, along, other)

        def by_a() -> Any:
            divided = divided_differences(w, out_grad, of_stacks(zero_or_nan, 1, 1).on(w, out_grad))
            return once(hermitian_part(conjugate(v @ (divided * motion) @ dagger(v))), w)

        return by_a, lambda: _on_vectors(v, out_grad if rest is None else on_groups(w, out_grad, rest)), ZERO

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (a, along, other), (by_a, by_along, _) = node.inputs, tangents
        moved = None if by_along is None else self.on(a, by_along, other)
        if by_a is None:
            return moved
        _, w, v, motion, _ = self._moves(a, along, other)
        turn = turning(w) * (dagger(v) @ hermitian_part(by_a) @ v)
        curved = once(2 * Summation(-1).on(motion * turn.mT).real, w)
        return curved if moved is None else moved + curved

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*stacked(values, depths, (2, 2, 2)))


def _near_positive(values: Any) -> Any:
    """As `groups_of_near`, but values of 0 are near to none."""
    zero = are_zero(values)
    return groups_of_near(values) & ~(zero[..., :, None] & zero[..., None, :]) | np.eye(values.shape[-1], dtype=bool)


class FromSpectrum(OfMatrices, TensorOp):
    """conj(V) diag(y) V^T, where V are the eigenvectors of a: the gradient of f(eigenvalues) if y is that of f.

    Its derivative is that of Daleckii and Krein, with divided differences of y by the eigenvalues. Equal eigenvalues
    take the limit r, which a symmetric f has: a difference between equal eigenvalues makes one of r times it in y. r is
    NaN where there is no such number, and infinite where it is not known. In forward mode it need not be: there V are
    the vectors that the tangent separates, and it multiplies 0.
    """

    notation = "from_spectrum({inputs})"
    saves, hermitian = ("inputs",), True
    __slots__ = ("uplo",)

    def __init__(self, uplo: str = "L"):
        self.uplo: Any = uplo

    def compute(self, a: Any, y: Any, r: Any) -> Any:
        return _on_vectors(np.linalg.eigh(a, self.uplo)[1], y)

    def hint(self, *arrays: Any) -> str:
        return shape_hint(arrays[0])

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, y, r = node.inputs
        w, v = Eigh(self.uplo).on(a)
        motion = v.mT @ conjugate(out_grad) @ conjugate(v)

        def by_a() -> Any:
            inner = divided_differences(w, y, as_column(r)) * motion
            return once(hermitian_part(conjugate(v) @ inner @ v.mT), w)

        return by_a, lambda: once(real_diagonal(motion), w), ZERO

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (a, y, r), (along, turn, _) = node.inputs, tangents
        if along is None:
            return None if turn is None else _on_vectors(Eigh(self.uplo).on(a)[1], turn)
        w, v, motion = _moved(self.uplo, a, along)
        turn = zeros_unless(turn, y)
        if may_be_near(w):
            r = of_stacks(pushed_ratio, 1, 1, 1, 1, 1).on(w, y, r, real_diagonal(motion), turn)
        inner = divided_differences(w, y, r) * motion + as_row(turn) * np.eye(w.shape[-1])
        return once(conjugate(v @ inner @ dagger(v)), w)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*values)


def _on_vectors(v: Any, y: Any) -> Any:
    return hermitian_part((conjugate(v) * as_row(y)) @ v.mT)


def _by_values(op: Any, a: Any, by_w: Any) -> Any:
    """The adjoint of a, from that of the eigenvalues that the op made of it."""
    w, v = Eigh(op.uplo).on(a)
    if op.along is not None and may_be_near(w):
        inside = isinstance(a, Wrapped) or isinstance(by_w, Wrapped)
        if inside or op.along is SEVERAL:
            by_w = by_w * of_stacks(one_or_nan, 1, 1).on(w, unmasked(by_w))
        if not inside:
            v = _turned(op, w, v)
            if op.along is not SEVERAL:
                move = real_diagonal(dagger(v) @ hermitian_part(of_kind(op.along, v)) @ v)
                by_w = by_w * of_stacks(one_if_symmetric, 1, 1, 1).on(w, move, unmasked(by_w))
            return _on_vectors(v, by_w)
    if not is_differentiated(a, by_w):
        return _on_vectors(v, by_w)
    y = unmasked(by_w)
    return FromSpectrum(op.uplo)(a, y, symmetric_ratio(op, w, w, y, probe_near))


def _pushed_values(op: Any, a: Any, along: Any) -> Any:
    """The tangent of the eigenvalues, in a transform that may follow another one."""
    follow(op, along)
    other = getattr(a, "tangent", None)
    paired = other is not None
    return AlongSpectrum(op.uplo, paired).on(a, along, other if paired else along)


class Eigh(OfMatrices, TensorTupleOp):
    notation = "eigh({0})"
    hermitian = same_inputs = True
    values = 0
    """Which member of the output the eigenvalues are."""
    __slots__ = ("along", "uplo")

    def __init__(self, uplo: str = "L"):
        self.uplo: Any = uplo
        self.along: Any = None

    def __call__(self, *inputs: Any) -> Any:
        return separated_along(inputs, super().__call__(*inputs), lambda outputs: outputs[0], self._turns)

    @staticmethod
    def _turns(outputs: Any, along: Any) -> dict[int, Any]:
        w, v = outputs
        turn = of_stacks(separation, 1, 2).on(w, dagger(v) @ hermitian_part(along) @ v)
        return {1: lambda x: x @ turn}

    def compute(self, a: Any) -> Any:
        return tuple(np.linalg.eigh(a, self.uplo))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (w, v), (by_w, by_v) = node.output, out_grad
        plain = by_w is None or not (is_differentiated(node.inputs[0], by_w) or self.along is not None)
        by_a = _on_vectors(v, zeros_unless(by_w, w)) if plain else _by_values(self, node.inputs[0], by_w)
        if by_v is None:
            return by_a
        inner = v.mT @ by_v
        turned = hermitian_part(conjugate(v) @ (turning(w) * inner) @ v.mT)
        if may_be_near(w):
            turned = turned * as_factor(one_if_known(w, inner, by_v, by_w is not None))
        return by_a + (once(turned, w) if is_differentiated(w, by_v) else turned)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (w, v), along = node.output, hermitian_part(tangents[0])
        moved = v @ (turning(w) * (dagger(v) @ along @ v))
        return _pushed_values(self, node.inputs[0], tangents[0]), once(moved, w, unread=True)


def eigh(a: Any, UPLO: str = "L") -> TensorTuple:
    """(eigenvalues, eigenvectors) of each Hermitian matrix, (..., M, M): ascending, and in columns.

    Only the lower (UPLO="U": upper) triangle is read. The gradient is Hermitian, as in JAX and PyTorch: both triangles
    are taken to change together. Where eigenvalues are equal: see equal_values.py.
    """
    return Eigh(UPLO)(a)


class EigvalsH(OfMatrices, TensorOp):
    notation = "eigvalsh({0})"
    saves = ("inputs",)
    hermitian = same_inputs = True
    __slots__ = ("along", "uplo")

    def __init__(self, uplo: str = "L"):
        self.uplo: Any = uplo
        self.along: Any = None

    def compute(self, a: Any) -> Any:
        return np.linalg.eigvalsh(a, self.uplo)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return _by_values(self, node.inputs[0], out_grad)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return _pushed_values(self, node.inputs[0], tangents[0])


def eigvalsh(a: Any, UPLO: str = "L") -> Tensor:
    """The eigenvalues of each Hermitian matrix, ascending; see `eigh`."""
    return EigvalsH(UPLO)(a)


class Eig(OfMatrices, TensorTupleOp):
    """Each vector has length 1, and its largest element is real."""

    notation = "eig({0})"
    saves, same_inputs = ("output",), True
    values = 0
    """Which member of the output the eigenvalues are."""
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return tuple(np.linalg.eig(a))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (w, v), (by_w, by_v) = node.output, out_grad
        right = as_column(zeros_unless(by_w, w)) * v.mT
        again = is_differentiated(w, by_w, by_v)
        if again and by_w is not None and self._is_curved(w, unmasked(by_w)):
            right = right * as_factor(Once(pairs_of_equal).on(w))
        if by_v is not None:
            free = _of_fixed_length_and_phase(by_v, v)
            inner = v.mT @ free
            turned = (turning(w, pairs_of_equal) * inner) @ v.mT
            given = (w, by_v) if by_w is not None else (w, inner, free)
            known = _one_if_none_read if by_w is not None else _one_if_spaces
            turned = turned * as_factor(of_stacks(known, 1, *[2] * (len(given) - 1)).on(*map(unmasked, given)))
            right = right + (turned * as_factor(Once(pairs_of_equal).on(w)) if again else turned)
        return _solved(v.mT, right)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        w, v = node.output
        motion = _solved(v, tangents[0] @ v)
        moved = _to_fixed_length_and_phase(v @ (turning(w, pairs_of_equal) * motion), v)
        moved = moved + as_row(of_stacks(_nan_if_mixed, 1, 2).on(w, motion))
        by_w = Summation(-1).on(motion * np.eye(w.shape[-1]))
        return by_w * as_column(Once(pairs_of_equal).on(w)), moved * as_factor(Once(pairs_of_equal, unread=True).on(w))

    def _is_curved(self, w: Any, y: Any) -> bool:
        """Whether the adjoint y of the values changes with them where they are equal, or may do so."""
        equal = discrete(pairs_of_equal, w)
        if not watching.captures() and not innermost(equal).sum() > equal.size // max(equal.shape[-1], 1):
            return False
        probe = discrete(probe_equal, w)
        along = adjoint_along(y, self, probe)
        return along is None or watching.captures() or bool(np.any(innermost(along)))


def _one_if_none_read(values: Any, by_v: Any) -> Any:
    return one_unless(pairs_in(pairs_of_equal(values)) & may_be_read(values, by_v), WITH_VALUES)


def _one_if_spaces(values: Any, inner: Any, by_v: Any) -> Any:
    """As for `eigh`; here all linear combinations of the vectors of equal values are vectors, too."""
    mixes = ~(np.abs(inner) <= noise_of_sums(by_v)[..., None, None])
    return one_unless(pairs_in(pairs_of_equal(values)) & mixes, ONE_BY_ONE)


def _nan_if_mixed(values: Any, motion: Any) -> Any:
    """0 for each vector; NaN for those of equal values that are not what the motion separates."""
    lost = pairs_in(pairs_of_equal(values)) & ~(np.abs(motion) <= noise_of_sums(motion)[..., None, None])
    return np.where(lost.any(-2), np.nan, 0).astype(motion.dtype)


def _solved(v: Any, right: Any) -> Any:
    try:
        return SOLVE.on(v, right)
    except np.linalg.LinAlgError as error:
        raise np.linalg.LinAlgError(
            "Eig: has no derivative at a matrix that is not diagonalizable: it lacks a full set of eigenvectors"
        ) from error


def eig(a: Any) -> TensorTuple:
    """(eigenvalues, eigenvectors) of each matrix, (..., M, M), the vectors in columns; complex, unless all are real.

    The derivative needs a full set of linearly independent eigenvectors, else it raises LinAlgError.
    """
    return Eig()(a)


def _of_fixed_length_and_phase(by_v: Any, v: Any) -> Any:
    """The adjoint of columns before they were scaled to the fixed length and phase of v, from the adjoint of v."""
    along = Summation(-2, keepdims=True).on(by_v * v)
    free = by_v - along.real * conjugate(v)
    if v.dtype.kind != "c":
        return free
    largest = Discrete(_is_largest_in_column).on(v)
    anchor = Summation(-2, keepdims=True).on(zeroed(v, largest))
    return free - zeroed((along - along.conj()) / (2 * anchor), largest)


def _to_fixed_length_and_phase(moved: Any, v: Any) -> Any:
    """The tangent of the columns v, from that before they were scaled to their fixed length and phase."""
    moved = moved - v * Summation(-2, keepdims=True).on(conjugate(v) * moved).real
    if v.dtype.kind != "c":
        return moved
    largest = Discrete(_is_largest_in_column).on(v)
    there, anchor = [Summation(-2, keepdims=True).on(zeroed(x, largest)) for x in (moved, v)]
    return moved - v * ((there - there.conj()) / (2 * anchor))


def _is_largest_in_column(v: Any) -> Any:
    places = np.abs(v).argmax(-2, keepdims=True) if v.size else np.zeros((*v.shape[:-2], 1, v.shape[-1]), int)
    return np.arange(v.shape[-2])[:, None] == places


# ---------------------------------------------------------------------------------------------------- singular values


def _both(s: Any) -> Any:
    """(-s, s reversed), ascending: the eigenvalues of [[0, a], [a^H, 0]] (Jordan, Wielandt). A function of singular
    values is an even one of these, and all that holds for eigenvalues holds for singular values, and at 0."""
    k = s.shape[-1]
    return s @ np.concatenate([-np.eye(k, dtype=s.dtype), np.eye(k, dtype=s.dtype)[:, ::-1]], 1)


def _singular_probe(s: Any) -> Any:
    """As `probe_near`; where values are near 0, the negative ones are the others, and the sum is 0 already."""
    zero = s <= np.sqrt(np.finfo(s.dtype).eps) * largest_of(s)
    return np.where(zero, np.arange(1, s.shape[-1] + 1), probe_near(s)).astype(s.dtype)


def _on_both_sides(s: Any, y: Any, r: Any) -> Any:
    """The r of both signs."""
    return np.concatenate([r, r[..., ::-1]], -1)


def _motion_of_zeros(u: Any, s: Any, vh: Any, along: Any, other: Any) -> Any:
    """How fast the values that are 0 grow along the tangent `other`, times the part of `along` in its direction there;
    0 for the other values."""
    zero = are_zero(s)
    batch = np.broadcast_shapes(s.shape[:-1], along.shape[:-2], other.shape[:-2])
    if not zero.any():
        return np.zeros((*batch, s.shape[-1]), s.dtype)
    left, right = u * ~as_row(zero), dagger(vh) * ~as_row(zero)

    def rest(e: Any) -> Any:
        e = e - left @ (dagger(left) @ e)
        return e - (e @ right) @ dagger(right)

    along, other = rest(along), rest(other)
    values = np.broadcast_to(np.linalg.svd(other, compute_uv=False), (*batch, s.shape[-1]))
    weight = np.sum(np.abs(other) ** 2, (-2, -1))[..., None]
    part = np.sum((along.conj() * other).real, (-2, -1))[..., None] / np.where(weight == 0, 1, weight)
    place = np.maximum(np.arange(s.shape[-1]) - (~zero).sum(-1, keepdims=True), 0)
    return np.where(zero, part * np.take_along_axis(values, np.broadcast_to(place, values.shape), -1), 0)


def _moved_singular(a: Any, along: Any) -> tuple[Any, ...]:
    """(U, s, W, ds) along a tangent: the vectors of equal values are those that it separates."""
    u, s, vh = SVD(full_matrices=False).on(a)
    w, kept = dagger(vh), ~Discrete(are_zero).on(s)
    if not may_be_near(_both(s)):
        return u, s, w, zeroed(real_diagonal(dagger(u) @ along @ w), kept)
    u, w = _turned_both(u, s, w, along)
    growth = of_stacks(_motion_of_zeros, 2, 1, 2, 2, 2).on(u, s, dagger(w), along, along)
    return u, s, w, zeroed(real_diagonal(dagger(u) @ along @ w), kept) + growth


def _turned_both(u: Any, s: Any, w: Any, along: Any) -> tuple[Any, Any]:
    """U and W, the vectors of equal values as the tangent separates them."""
    turn = of_stacks(separation, 1, 2).on(s, hermitian_part(dagger(u) @ along @ w))
    return u @ turn, w @ turn


class AlongSingularValues(OfMatrices, TensorOp):
    """How fast the singular values of a move along a tangent: the real diagonal of U^H along W; see AlongSpectrum."""

    notation = "along_singular_values({inputs})"
    saves, square = ("inputs",), False
    __slots__ = ("paired",)

    def __init__(self, paired: bool = True):
        self.paired = paired

    def compute(self, a: Any, along: Any, other: Any) -> Any:
        return self._moves(a, along, other)[0]

    def _moves(self, a: Any, along: Any, other: Any) -> tuple[Any, ...]:
        """The result, U, s, W, and the diagonal of the other motion."""
        u, s, vh = SVD(full_matrices=False).on(a)
        w, kept = dagger(vh), ~Discrete(are_zero).on(s)
        if not may_be_near(_both(s)):
            return zeroed(real_diagonal(dagger(u) @ along @ w), kept), u, s, w, None
        u, w = _turned_both(u, s, w, other)
        move, rest = real_diagonal(dagger(u) @ along @ w), None
        if self.paired:
            rest = real_diagonal(dagger(u) @ other @ w)
            move = on_groups(s, move, rest)
        growth = of_stacks(_motion_of_zeros, 2, 1, 2, 2, 2).on(u, s, dagger(w), along, other)
        return zeroed(move, kept) + growth, u, s, w, rest

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, along, other = node.inputs
        _, u, s, w, rest = self._moves(a, along, other)
        y, both = zeroed(out_grad, ~Discrete(are_zero).on(s)), _both(s)

        def by_a() -> Any:
            divided = divided_differences(both, _both(y), of_stacks(zero_or_nan, 1, 1).on(both, _both(y)))
            return once(conjugate(_spread(u, s, w, along, divided)), both)

        by_along = y if rest is None else on_groups(s, y, rest)
        return by_a, lambda: _on_both_vectors(u, s, dagger(w), by_along), ZERO

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (a, along, other), (by_a, by_along, _) = node.inputs, tangents
        moved = None if by_along is None else self.on(a, by_along, other)
        if by_a is None:
            return moved
        _, u, s, w, _ = self._moves(a, along, other)
        (by_u, by_w), both = _moved_vectors(u, s, w, by_a), _both(s)
        curved = real_diagonal(dagger(by_u) @ along @ w + dagger(u) @ along @ by_w)
        curved = once(zeroed(curved, ~Discrete(are_zero).on(s)), both)
        return curved if moved is None else moved + curved

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*stacked(values, depths, (2, 2, 2)))


def _moved_vectors(u: Any, s: Any, w: Any, along: Any) -> tuple[Any, Any]:
    """The tangents of U and W, as many columns as there are singular values, along a tangent of the matrix."""
    zero = Discrete(are_zero).on(s)
    over, motion = as_row(reciprocal(s, zero)), dagger(u) @ along @ w
    sums = reciprocal(as_row(s) + as_column(s), as_row(zero) & as_column(zero))
    turn, counter = turning(s) * hermitian_part(motion), sums * ((motion - dagger(motion)) / 2)
    by_u = u @ (turn + counter) + (along @ w - u @ motion) * over
    by_w = w @ (turn - counter) + (dagger(along) @ u - w @ dagger(motion)) * over
    return by_u, by_w


def _spread(u: Any, s: Any, w: Any, along: Any, divided: Any) -> Any:
    """What U diag(y) W^H changes along a tangent of a, except by the change of y where s is not 0. `divided` are the
    divided differences of y by s of both signs."""
    k, motion = s.shape[-1], dagger(u) @ along @ w
    minus, plus = divided[..., k:, k:][..., ::-1, ::-1], divided[..., k:, :k][..., ::-1, :]
    over = real_diagonal(plus)
    at_zero = zeroed(over, Discrete(are_zero).on(s))
    level, turn = hermitian_part(motion), (motion - dagger(motion)) / 2
    moved = u @ (minus * level + plus * turn + as_row(at_zero) * np.eye(k) * level) @ dagger(w)
    if u.shape[-2] > k:
        moved = moved + ((along @ w - u @ motion) * as_row(over)) @ dagger(w)
    if w.shape[-2] > k:
        moved = moved + (u * as_row(over)) @ (dagger(u) @ along - motion @ dagger(w))
    return moved


class FromSingularValues(OfMatrices, TensorOp):
    """conj(U) diag(y) W^T, where a = U diag(s) W^H: the gradient of f(s) if y is that of f; see FromSpectrum.

    Where s is 0, so is y.
    """

    notation = "from_singular_values({inputs})"
    saves, square = ("inputs",), False
    __slots__ = ()

    def compute(self, a: Any, y: Any, r: Any) -> Any:
        u, s, vh = np.linalg.svd(a, full_matrices=False)
        return _on_both_vectors(u, s, vh, y)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, y, r = node.inputs
        u, s, vh = SVD(full_matrices=False).on(a)
        w, both = dagger(vh), _both(s)
        motion, kept = dagger(u) @ out_grad @ w, ~Discrete(are_zero).on(s)

        def by_a() -> Any:
            ratio = as_column(of_stacks(_on_both_sides, 1, 1, 1).on(s, y, r))
            divided = divided_differences(both, _both(zeroed(y, kept)), ratio)
            return once(conjugate(_spread(u, s, w, out_grad, divided)), both)

        return by_a, lambda: once(zeroed(real_diagonal(motion), kept), both), ZERO

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (a, y, r), (along, turn, _) = node.inputs, tangents
        if along is None:
            if turn is None:
                return None
            u, s, vh = SVD(full_matrices=False).on(a)
            return _on_both_vectors(u, s, vh, turn)
        u, s, w, move = _moved_singular(a, along)
        turn, both, r = zeros_unless(turn, y), _both(s), of_stacks(_on_both_sides, 1, 1, 1).on(s, y, r)
        y = zeroed(y, ~Discrete(are_zero).on(s))
        if may_be_near(both):
            r = of_stacks(pushed_ratio, 1, 1, 1, 1, 1).on(both, _both(y), r, _both(move), _both(turn))
        moved = conjugate(_spread(u, s, w, along, divided_differences(both, _both(y), r)))
        return once(moved + _on_both_vectors(u, s, dagger(w), turn), both)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*values)


def _on_both_vectors(u: Any, s: Any, vh: Any, y: Any) -> Any:
    return (conjugate(u) * as_row(zeroed(y, ~Discrete(are_zero).on(s)))) @ conjugate(vh)


def _by_singular_values(op: Any, a: Any, by_s: Any) -> Any:
    """The adjoint of a, from that of the singular values that the op made of it."""
    u, s, vh = SVD(full_matrices=False).on(a)
    if op.along is not None and may_be_near(_both(s)):
        inside = isinstance(a, Wrapped) or isinstance(by_s, Wrapped)
        if inside or op.along is SEVERAL:
            by_s = by_s * of_stacks(one_or_nan, 1, 1).on(s, unmasked(by_s))
        if not inside:
            by_s = by_s + of_stacks(_lost_at_zero, 1, 1).on(s, unmasked(by_s))
            if op.along is not SEVERAL:
                along = of_kind(op.along, u)
                u, w = _turned_both(u, s, dagger(vh), along)
                move, vh = real_diagonal(dagger(u) @ along @ w), dagger(w)
                move = zeroed(move, ~Discrete(are_zero).on(s))
                by_s = by_s * of_stacks(one_if_symmetric, 1, 1, 1).on(s, move, unmasked(by_s))
            return (conjugate(u) * as_row(by_s)) @ conjugate(vh)
    if not is_differentiated(a, by_s):
        return _on_both_vectors(u, s, vh, by_s)
    y = unmasked(by_s)
    return FROM_SINGULAR_VALUES(a, y, symmetric_ratio(op, s, _both(s), y, _singular_probe))


def _lost_at_zero(s: Any, by_s: Any) -> Any:
    """What makes the adjoint of values of 0 zero; NaN where it is that of their derivatives."""
    lost = are_zero(s) & (np.abs(by_s) > 1e3 * np.finfo(s.dtype).eps * (1 + largest_of(by_s)))
    if lost.any():
        warn("they are 0: this derivative is known in reverse over reverse and forward over reverse mode")
    return np.where(lost, np.nan, np.where(are_zero(s), -by_s, 0))


def _pushed_singular_values(op: Any, a: Any, along: Any) -> Any:
    """The tangent of the singular values, in a transform that may follow another one."""
    follow(op, along)
    other = getattr(a, "tangent", None)
    paired = other is not None
    return AlongSingularValues(paired).on(a, along, other if paired else along)


class SVD(OfMatrices, TensorTupleOp):
    notation = "svd({0})"
    same_inputs, square = True, False
    values = 1
    """Which member of the output the singular values are."""
    __slots__ = ("along", "full_matrices")

    def __init__(self, full_matrices: bool = True):
        self.full_matrices = full_matrices
        self.along: Any = None

    def __call__(self, *inputs: Any) -> Any:
        return separated_along(inputs, super().__call__(*inputs), lambda outputs: _both(outputs[1]), self._turns)

    @staticmethod
    def _turns(outputs: Any, along: Any) -> dict[int, Any]:
        u, s, vh = outputs
        motion = dagger(u) @ along @ dagger(vh)
        left, right = [of_stacks(f, 1, 2).on(s, motion) for f in (_left_separation, _right_separation)]
        return {0: lambda x: x @ left, 2: lambda x: dagger(right) @ x}

    def compute(self, a: Any) -> Any:
        return tuple(np.linalg.svd(a, self.full_matrices))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        # With a = u diag(s) w^T, the right vectors are the columns of w, and the rule is the same for both sides.
        (u, s, vh), (by_u, by_s, by_vh) = node.output, out_grad
        w, k, zero = vh.mT, s.shape[-1], Discrete(are_zero).on(s)
        if by_s is None:
            by_a: Any = 0
        elif is_differentiated(node.inputs[0], by_s) or self.along is not None:
            by_a = _by_singular_values(self, node.inputs[0], by_s)
        else:
            by_a = _on_both_vectors(u[..., :k], s, vh[..., :k, :], by_s)
        if by_u is None and by_vh is None:
            return by_a
        u, by_u = thin(u, zeros_unless(by_u, u), k)
        w, by_w = thin(w, zeros_unless(by_vh, vh).mT, k)
        uc, wc = conjugate(u), conjugate(w)
        from_u, from_w = u.mT @ by_u, (w.mT @ by_w).mT
        sums = reciprocal(as_row(s) + as_column(s), as_row(zero) & as_column(zero))
        turn, counter = turning(s) * (from_u - from_w), sums * (from_u + from_w)
        inner = (turn + dagger(turn) + counter - dagger(counter)) / 2
        adjoint = uc @ inner @ wc.mT
        # The parts of the adjoints outside the span of the first k vectors.
        over, rest_u, rest_w = as_row(reciprocal(s, zero)), by_u - uc @ from_u, by_w - wc @ from_w.mT
        if u.shape[-2] > k:
            adjoint = adjoint + (rest_u * over) @ wc.mT
        if w.shape[-2] > k:
            adjoint = adjoint + uc @ (rest_w * over).mT
        if may_be_near(_both(s)):
            sides = [*map(unmasked, (from_u, from_w, by_u, by_w, rest_u, rest_w))]
            values = [] if by_s is None else [unmasked(by_s)]
            known = of_stacks(_one_if_both_known, 1, *[2] * 6, *[1 for _ in values]).on(s, *sides, *values)
            adjoint = adjoint * as_factor(known)
        return by_a + (once(adjoint, s, _near_positive) if is_differentiated(s, by_u, by_vh) else adjoint)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (u, s, vh), along = node.output, tangents[0]
        w, k = dagger(vh), s.shape[-1]
        by_u, by_w = _moved_vectors(u[..., :k], s, w[..., :k], along)
        if u.shape[-1] == w.shape[-1] < max(u.shape[-2], w.shape[-2]):
            # Vectors of values of 0 begin in the complement, too, which is not known.
            known = as_row(Discrete(_nan_if_zero).on(s))
            by_u, by_w = by_u + known, by_w + known
        by_u, by_w = _completed(u, by_u, k), _completed(w, by_w, k)
        by_s = _pushed_singular_values(self, node.inputs[0], along)
        by_u, by_vh = [once(x, s, _near_positive, unread=True) for x in (by_u, dagger(by_w))]
        return by_u, by_s, by_vh


def _nan_if_zero(s: Any) -> Any:
    return np.where(are_zero(s), np.nan, 0).astype(s.dtype)


def _zero_pairs(s: Any) -> Any:
    zero = are_zero(s)
    return zero[..., :, None] & zero[..., None, :]


def _one_if_both_known(s: Any, *sides: Any) -> Any:
    """As for eigenvectors. Of values of 0, either side may be rotated alone, also into the complement of all vectors.

    Of both sides: the adjoints inside of the span of the vectors, the adjoints, and what of them is outside; then the
    adjoint of the values, if they are read.
    """
    from_u, from_w, by_u, by_w, out_u, out_w, *by_values = sides
    zero, zeros, noise = are_zero(s), _zero_pairs(s), noise_of_sums(by_u, by_w)
    alone = is_skew(from_u, noise) | is_skew(from_w, noise)
    lost = pairs_in(groups_of_equal(s)) & ~zeros & is_skew(from_u - from_w, noise) | pairs_in(zeros) & alone
    for outside in (out_u, out_w):
        if outside.shape[-2] > s.shape[-1]:
            begins = np.abs(outside).max(-2, initial=0) > noise[..., None]
            lost = lost | (zero & begins)[..., None]
    if not by_values:
        return one_unless(lost, ONE_BY_ONE)
    # U f(s) V^H reads both sides. A function of one of them and of values of 0 is no such one.
    read_u, read_w = [(x != 0).any(-2) for x in (by_u, by_w)]
    both = (read_u & zero).any(-1) & (read_w & zero).any(-1)
    slopes = (by_values[0] != 0) | (by_u.shape[-2] != by_w.shape[-2])
    lost = lost | (zero & (read_u & read_w | (s == 0)) & slopes)[..., None]
    lost = lost | pairs_in(zeros) & (both[..., None, None] | agree_in_all_bits(s))
    read = may_be_read(s, by_u) | may_be_read(s, by_w)
    return one_unless(lost | pairs_in(groups_of_equal(s)) & ~zeros & read, WITH_VALUES)


def _left_separation(s: Any, motion: Any) -> Any:
    return _separations(s, motion)[0]


def _right_separation(s: Any, motion: Any) -> Any:
    return _separations(s, motion)[1]


def _separations(s: Any, motion: Any) -> tuple[Any, Any]:
    """As `separation`, for the motion U^H E W of both sides: Hermitian parts of the blocks of equal values become
    diagonal, and so does the whole block of values of 0, by its own singular vectors."""
    k = s.shape[-1]
    batch = np.broadcast_shapes(s.shape[:-1], motion.shape[:-2])
    s, motion = np.broadcast_to(s, (*batch, k)), np.broadcast_to(motion, (*batch, *motion.shape[-2:]))
    inner = motion[..., :k, :k]
    turn = separation(s, (inner + inner.conj().mT) / 2)
    sides = [np.zeros((*batch, n, n), motion.dtype) + np.eye(n, dtype=motion.dtype) for n in motion.shape[-2:]]
    zeros = are_zero(s).sum(-1)
    for i in np.ndindex(batch):
        first = k - zeros[i]
        for side in sides:
            side[i][:first, :first] = turn[i][:first, :first]
        if zeros[i]:
            left, _, right = np.linalg.svd(motion[i][first:, first:])
            sides[0][i][first:, first:], sides[1][i][first:, first:] = left, right.conj().T
    return sides[0], sides[1]


def _completed(q: Any, by_first: Any, k: int) -> Any:
    """The tangent of a unitary matrix, from that of its first k columns: see `thin`."""
    if q.shape[-1] == k:
        return by_first
    return Concatenate(-1).on(by_first, -q[..., :k] @ (dagger(by_first) @ q[..., k:]))


def svd(a: Any, full_matrices: bool = True) -> TensorTuple:
    """(U, S, Vh) with a = U diag(S) Vh of each matrix, (..., M, N): K = min(M, N) singular values, descending.

    U has the shape (..., M, M) and Vh (..., N, N); without `full_matrices`, (..., M, K) and (..., K, N). The vectors
    that complete U or Vh are any basis of the complement; their derivative is right for functions that do not depend on
    the choice. The gradient of a singular value that is 0 (up to rounding) is 0.
    """
    return SVD(full_matrices)(a)


class SingularValues(OfMatrices, TensorOp):
    notation = "svdvals({0})"
    saves, same_inputs, square = ("inputs",), True, False
    __slots__ = ("along",)

    def __init__(self) -> None:
        self.along: Any = None

    def compute(self, a: Any) -> Any:
        return np.linalg.svd(a, compute_uv=False)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return _by_singular_values(self, node.inputs[0], out_grad)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return _pushed_singular_values(self, node.inputs[0], tangents[0])


def svdvals(a: Any) -> Tensor:
    """The singular values of each matrix, (..., M, N), descending. The gradient of a singular value of 0 is 0; forward
    mode says how fast it grows."""
    return SingularValues()(a)


FROM_SINGULAR_VALUES = FromSingularValues()
