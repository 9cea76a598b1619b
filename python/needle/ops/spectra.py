"""Eigenvalues and singular values, with and without their vectors.

The rules for values alone do not divide by differences of values, and hold for equal values as well.

The rules for vectors divide by differences of values. Where two values are equal up to rounding, the quotient is taken
as 0. That is right for functions of the common space of their vectors, like the projector onto it. It is wrong for
functions that treat equal values separately, like V f(w) V^H: these depend on how fast the values separate, which the
rule of a single op cannot know. Functions that need no spectrum (inv, solve, det, pinv, expm) are right at such
matrices.

Second derivatives by the values of `eigh`, `eigvalsh`, `svd` and `svdvals` are right where values are equal, if the
function is symmetric in them and smooth (and even in singular values of 0). Its second derivative needs the limit of
the divided difference (y_i - y_j) / (w_i - w_j) of its gradient y. There are three ways to it:

- Reverse over reverse: the record says how y depends on w, and what it makes of a difference between equal values
  (FromSpectrum, FromSingularValues). It need not be the same for all differences; then there is no limit.
- Forward over reverse: of the vectors of equal values, those are taken that the tangent separates. Between them, the
  quotient is multiplied by 0.
- Over forward mode: the same vectors (AlongSpectrum, AlongSingularValues). The op notes the tangent for the adjoint of
  its values, which arrives later (`_follow`).

All other second derivatives at equal values are NaN with a warning (Once): those of functions that treat the values
differently, those by vectors, and those by the values of `eig`, as far as they are not 0. So are third ones.

First derivatives of a single one of equal values do not exist. Reverse mode takes those along the vectors that LAPACK
gives, and 0 for a singular value of 0. Forward mode says how the values move when the matrix begins to move along the
tangent; twice over, this is right for symmetric functions only.

The phase of a complex vector is free. It is taken as constant, as in JAX and PyTorch, which is right for functions that
do not depend on it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
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
    WrappedTuple,
    constant,
    find_topo_sort,
    is_recording,
    latest,
    node_as_recorded,
    sweep,
    unmasked,
    whole_adjoint,
)
from .discrete import Discrete, discrete
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


def _rounding(values: Any) -> Any:
    """A bound for the rounding error of the values of a matrix."""
    n = values.shape[-1]
    return n * np.finfo(values.dtype).eps * np.abs(values).max(-1, keepdims=True, initial=0)


def _are_equal(values: Any) -> Any:
    """[i, j]: whether values i and j of a matrix are equal up to rounding."""
    return np.abs(values[..., None, :] - values[..., :, None]) <= _rounding(values)[..., None]


def are_zero(values: Any) -> Any:
    """Which values are 0 up to rounding."""
    return np.abs(values) <= _rounding(values)


def _reciprocal(a: Any, zero: Any) -> Any:
    """1 / a, and 0 where `zero` is True."""
    return np.where(zero, 0, 1 / np.where(zero, 1, a))


def _turning(values: Any, equal: Any = None) -> Any:
    """[i, j]: 1 / (value j - value i), 0 where they are equal."""
    return _reciprocal(as_row(values) - as_column(values), Discrete(equal or _equal).on(values))


# ------------------------------------------------------------------------------------------ values that (nearly) agree


class _OfStacks(Discrete):
    """A constant function of vectors and matrices along the last axes, with the same batch axes before them."""

    __slots__ = ("cores",)

    def __init__(self, function: Any, *cores: int):
        super().__init__(function)
        self.cores = cores
        """For each input, the number of its last axes that are no batch."""

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*_stacked(values, depths, self.cores))


def _stacked(values: tuple[Any, ...], depths: tuple[int | None, ...], cores: tuple[int, ...]) -> list[Any]:
    """The values with their batch axes aligned, the new one first."""
    own = [a.ndim if depth is None else depth for a, depth in zip(values, depths, strict=True)]
    most = max(n - core for n, core in zip(own, cores, strict=True))
    return [
        a if depth is None else a.reshape((a.shape[0], *[1] * (most - depth + core), *a.shape[1:]))
        for a, depth, core in zip(values, depths, cores, strict=True)
    ]


def _largest(a: Any) -> Any:
    """The largest modulus of each vector, as a vector of one."""
    return np.abs(a).max(-1, keepdims=True, initial=0)


def _groups(values: Any, tolerance: Any) -> Any:
    """[i, j]: whether ascending or descending values i and j are joined by steps of at most the tolerance."""
    steps = ~(np.abs(np.diff(values, axis=-1, prepend=values[..., :1])) <= tolerance)
    labels = np.cumsum(steps, -1)
    return labels[..., None, :] == labels[..., :, None]


def _equal(values: Any) -> Any:
    """[i, j]: whether values i and j are equal up to the rounding of those who computed the matrix, too."""
    return _groups(values, 32 * _rounding(values))


def _near(values: Any) -> Any:
    """[i, j]: whether values i and j are so near that a divided difference loses half of its digits."""
    return _groups(values, np.sqrt(np.finfo(values.dtype).eps) * _largest(values))


def _several(groups: Any) -> Any:
    """For each matrix: whether any two of its values are in one group."""
    return groups.sum((-2, -1)) > groups.shape[-1]


def _total(groups: Any, a: Any) -> Any:
    """The sum over the group of each value."""
    return (groups @ a[..., None])[..., 0]


def _fit(groups: Any, a: Any, b: Any, noise: Any) -> Any:
    """For each value the r with b = r a in its group. NaN if there is none, inf if a is 0."""
    weight = _total(groups, a * a)
    r = _total(groups, a * b) / np.where(weight == 0, 1, weight)
    size = np.where(groups, np.abs(b)[..., None, :], 0).max(-1, initial=0)
    fits = np.abs(b - r * a) <= 30 * np.sqrt(np.finfo(a.dtype).eps) * size + noise
    r = np.where(np.where(groups, fits[..., None, :], True).all(-1), r, np.nan)
    return np.where(weight == 0, np.inf, r)


def _less_mean(groups: Any, a: Any) -> Any:
    return a - _total(groups, a) / groups.sum(-1)


def _noise(values: Any, y: Any) -> Any:
    """A bound for the rounding error of y, which was computed from the values."""
    return 64 * values.shape[-1] * np.finfo(values.dtype).eps * _largest(y)


def _slope_noise(values: Any, y: Any) -> Any:
    """The same of a derivative of y."""
    largest = _largest(values)
    return np.where(largest == 0, 0, _noise(values, y) / np.where(largest == 0, 1, largest))


def _probe(values: Any) -> Any:
    """Numbers that differ, whose sum over each group of near values is 0; 0 for a value that is far from all others."""
    near = _near(values)
    place = np.tril(near, -1).sum(-1)
    return (near.sum(-1) * place**2 - _total(near, place**2)).astype(values.dtype)


def _ratio(values: Any, y: Any, probe: Any, along: Any) -> Any:
    """What a symmetric function makes of differences between near values: see FromSpectrum."""
    return _fit(_near(values), probe, along, _slope_noise(values, y) * _largest(probe))


def _fits(values: Any, y: Any, r: Any) -> Any:
    """[i, j]: whether the divided difference of y by near values is r, as far as its digits tell."""
    with np.errstate(invalid="ignore"):
        error = np.abs(_differences(y) - r * _differences(values))
        noise = _noise(values, y)[..., None] + np.abs(r) * 32 * _rounding(values)[..., None]
    return _near(values) & np.isfinite(r) & (error <= noise)


def _differences(a: Any) -> Any:
    return a[..., :, None] - a[..., None, :]


def _is_limit(values: Any, y: Any, r: Any) -> Any:
    return _equal(values) | _fits(values, y, r)


def _limit(values: Any, y: Any, r: Any) -> Any:
    """[i, j]: the divided difference where it is the limit r; NaN, with a warning, where there is none; 0 elsewhere."""
    fits, one = _fits(values, y, r), np.eye(values.shape[-1], dtype=bool)
    lost = _equal(values) & ~fits & ~one
    if lost.any():
        _warn("second derivatives exist where they are treated alike, by a smooth function of all of them")
    return np.where(fits & ~one, r, np.where(lost, np.nan, 0)).astype(y.dtype)


def _warn(why: str) -> None:
    warnings.warn(f"a derivative of a spectrum is NaN: two values are equal, and {why}", RuntimeWarning, stacklevel=2)


def _pushed_ratio(values: Any, y: Any, r: Any, move: Any, turn: Any) -> Any:
    """[i, j]: the limit r, or where that is not known (inf), what the tangents of the values and of y say."""
    near, equal, r = _near(values), _equal(values), r[..., None]
    a, b = _less_mean(equal, move), _less_mean(equal, turn)
    noise = _slope_noise(values, y) * _largest(move)
    a = np.where(np.abs(a) <= 1e-10 * _largest(move), 0, a)
    alike = _fit(equal, a, b, noise)
    alike = np.where(np.isinf(alike), 0, alike)[..., None]
    # Of near values, the quotient of the tangents is off by the order of their gap, that of y by its rounding error.
    step, gap, eps = np.abs(_differences(move)), np.abs(_differences(values)), np.finfo(values.dtype).eps
    size, largest = _largest(move)[..., None], _largest(values)[..., None]
    clear = near & (step > 1e-7 * size) & (step * eps * largest**2 > gap**2 * size)
    pairs = np.where(clear, _differences(turn) / np.where(clear, _differences(move), 1), np.inf)
    return np.where(np.isinf(r), np.where(equal, alike, pairs), r)


def _divided(w: Any, y: Any, r: Any) -> Any:
    """[i, j]: (y[i] - y[j]) / (w[i] - w[j]), its limit r[i, j] for near values, and 0 for i = j."""
    if not _may_be_near(w):
        return (as_column(y) - as_row(y)) * _reciprocal(as_column(w) - as_row(w), np.eye(w.shape[-1], dtype=bool))
    is_limit = _OfStacks(_is_limit, 1, 1, 2).on(w, y, r)
    quotient = (as_column(y) - as_row(y)) * _reciprocal(as_column(w) - as_row(w), is_limit)
    return zeroed(quotient, ~is_limit) + _OfStacks(_limit, 1, 1, 2).on(w, y, r)


def _may_be_near(w: Any) -> bool:
    """Whether any two values are near each other; True in a captured program, which must be right for all data."""
    if watching.captures():
        return True
    return bool(_several(_near(_innermost(w))).any())


def _innermost(value: Any) -> Any:
    """The array inside of all transforms."""
    while isinstance(value, Wrapped):
        value = value.value
    return value if isinstance(value, np.ndarray) else value._array


def _separation(w: Any, motion: Any) -> Any:
    """The unitary matrix, one block for each group of equal values, that makes these blocks of a motion diagonal."""
    equal = _equal(w)
    one = np.eye(w.shape[-1], dtype=motion.dtype)
    if not _several(equal).any():
        return np.broadcast_to(one, motion.shape)
    inner = np.where(equal, motion, 0)
    size = np.where(equal, np.abs(inner).max(-1, initial=0)[..., None, :], 0).max(-1, keepdims=True, initial=0)
    first = equal.argmax(-1)[..., None]  # the place of the first of each group
    inner = inner / np.where(size == 0, 1, size) + 4 * w.shape[-1] * first * one
    return np.linalg.eigh((inner + inner.conj().mT) / 2)[1].astype(motion.dtype)


def _moved(uplo: Any, a: Any, along: Any) -> tuple[Any, Any, Any]:
    """(w, V, V^H E V) for the Hermitian part E of a tangent: the vectors of equal values are those that E separates."""
    w, v = Eigh(uplo).on(a)
    motion = dagger(v) @ hermitian_part(along) @ v
    if _may_be_near(w):
        turn = _OfStacks(_separation, 1, 2).on(w, motion)
        v, motion = v @ turn, dagger(turn) @ motion @ turn
    return w, v, motion


def _turned(op: Any, w: Any, v: Any) -> Any:
    """The vectors v, those of equal values as the tangent that op.along holds separates them."""
    if op.along is _SEVERAL:
        return v
    along = _of_kind(op.along, v)
    return v @ _OfStacks(_separation, 1, 2).on(w, dagger(v) @ hermitian_part(along) @ v)


_SEVERAL = object()
"""Several tangents, which separate equal values differently."""


def _follow(op: Any, along: Any) -> None:
    """Note in the op that its values move along this tangent: so the adjoint of their derivatives is to be read."""
    while isinstance(along, Wrapped) and along.shape == along.value.shape:
        along = along.value
    op.along = along if op.along is None and not isinstance(along, Wrapped) else _SEVERAL


def _projection(values: Any, rest: Any) -> Any:
    """Of a motion's diagonal, its mean over each group of equal values, and the part along that of the other motion;
    all of it where the other one does not separate them."""
    groups, rest = _equal(values), np.where(np.abs(rest) <= 1e-10 * _largest(rest), 0, rest)
    rest = _less_mean(groups, rest)
    weight = _total(groups, rest * rest)[..., None]
    part = rest[..., :, None] * rest[..., None, :] / np.where(weight == 0, 1, weight)
    mean = 1 / groups.sum(-1)[..., None]
    one = np.eye(values.shape[-1])
    return np.where(weight == 0, one, np.where(groups, mean + part, 0)).astype(values.dtype)


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
        if not _may_be_near(w):
            motion = dagger(v) @ hermitian_part(along) @ v
            return _diagonal(motion), w, v, motion, None
        v = v @ _OfStacks(_separation, 1, 2).on(w, dagger(v) @ hermitian_part(other) @ v)
        motion = dagger(v) @ hermitian_part(along) @ v
        if not self.paired:
            return _diagonal(motion), w, v, motion, None
        rest = _diagonal(dagger(v) @ hermitian_part(other) @ v)
        return _on_groups(w, _diagonal(motion), rest), w, v, motion, rest

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, along, other = node.inputs
        _, w, v, motion, rest = self._moves(a, along, other)

        def by_a() -> Any:
            divided = _divided(w, out_grad, _OfStacks(_zero_or_nan, 1, 1).on(w, out_grad))
            return _once(hermitian_part(conjugate(v @ (divided * motion) @ dagger(v))), w)

        return by_a, lambda: _on_vectors(v, out_grad if rest is None else _on_groups(w, out_grad, rest)), ZERO

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (a, along, other), (by_a, by_along, _) = node.inputs, tangents
        moved = None if by_along is None else self.on(a, by_along, other)
        if by_a is None:
            return moved
        _, w, v, motion, _ = self._moves(a, along, other)
        turn = _turning(w) * (dagger(v) @ hermitian_part(by_a) @ v)
        curved = _once(2 * Summation(-1).on(motion * turn.mT).real, w)
        return curved if moved is None else moved + curved

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*_stacked(values, depths, (2, 2, 2)))


def _on_groups(w: Any, diagonal: Any, rest: Any) -> Any:
    projected = _OfStacks(_projection, 1, 1).on(w, rest) @ as_column(diagonal)
    return projected.reshape(projected.shape[:-1])


def _of_kind(along: Any, like: Any) -> Any:
    return along if isinstance(like, Tensor) else along._array


def _one_if_symmetric(values: Any, move: Any, y: Any) -> Any:
    """1 for each value; NaN, with a warning, where y is not what a symmetric function makes of this motion of equal
    values: a multiple of it, and a number for all."""
    groups = _equal(values)
    r = _fit(groups, _less_mean(groups, move), _less_mean(groups, y), 1e-6 * _largest(y))
    if np.isnan(r).any():
        _warn("they are treated differently")
    return np.where(np.isnan(r), np.nan, 1).astype(y.dtype)


def _one_or_nan(values: Any, y: Any) -> Any:
    return 1 + _zero_or_nan(values, y).max(-1)


def _zero_or_nan(values: Any, y: Any) -> Any:
    """[i, j]: 0, where equal values have equal y; else NaN."""
    apart = np.abs(_differences(y))
    lost = _equal(values) & (apart > 1e-6 * _largest(y)[..., None] + 1e3 * np.finfo(y.dtype).eps)
    if lost.any():
        _warn("they are treated differently")
    return np.where(lost, np.nan, 0).astype(y.dtype)


def _diagonal(a: Any) -> Any:
    return Summation(-1).on(a * np.eye(a.shape[-1])).real


class Once(TensorOp):
    """1 for each matrix with these values, whose derivative is NaN where some of them are in one group: a factor of
    what is right there but has no derivative that the rules know. `groups(values)`[i, j] says whether two are."""

    saves = ("inputs",)
    __slots__ = ("groups", "unread")

    def __init__(self, groups: Callable[[Any], Any], unread: bool = False):
        self.groups = groups
        self.unread = unread
        """Whether what is pushed forward may never be read. Then there is no warning."""

    def compute(self, w: Any) -> Any:
        return np.ones(w.shape[:-1], w.dtype)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return as_column(out_grad) * Discrete(_lost, groups=self.groups, loud=True).on(node.inputs[0])

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        slope = Discrete(_lost, groups=self.groups, loud=not self.unread).on(node.inputs[0])
        return Summation(-1).on(tangents[0] * slope)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(values[0])


class Corner(TensorOp):
    """A function x of the largest and of the smallest of values w, as which `extremes` says. Where several values are
    such a one, x has a corner, and its slope is one by convention that has no derivative."""

    notation = "corner({inputs})"
    saves = ("inputs",)
    __slots__ = ("extremes",)

    def __init__(self, extremes: str):
        self.extremes = extremes

    def compute(self, x: Any, w: Any) -> Any:
        return x.copy()

    def _once(self, w: Any) -> Any:
        return Once(_ties[self.extremes]).on(w)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * self._once(node.inputs[1]), ZERO

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return None if tangents[0] is None else tangents[0] * self._once(node.inputs[1])

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*_stacked(values, depths, (0, 1)))


def _ties_of(first: bool, last: bool) -> Callable[[Any], Any]:
    def ties(values: Any) -> Any:
        """[i, j]: whether both are equal to the extreme, the first or the last of sorted values, and not 0, where the
        slope is 0 by convention."""
        groups = _equal(values) & ~are_zero(values)[..., None]
        of = groups[..., :1, :] * first | groups[..., -1:, :] * last
        return groups & of | np.eye(values.shape[-1], dtype=bool)

    return ties


_ties = {"first": _ties_of(True, False), "last": _ties_of(False, True), "both": _ties_of(True, True)}


def _lost(values: Any, groups: Any, loud: bool) -> Any:
    several = _several(groups(values))
    if several.any() and loud:
        _warn("this derivative is not known there; second derivatives by the values alone are")
    return np.where(several[..., None], np.nan, 0).astype(values.real.dtype) * np.ones(values.shape, values.real.dtype)


def _near_positive(values: Any) -> Any:
    """As `_near`, but values of 0 are near to none."""
    zero = are_zero(values)
    return _near(values) & ~(zero[..., :, None] & zero[..., None, :]) | np.eye(values.shape[-1], dtype=bool)


def _once(x: Any, w: Any, groups: Any = _near, unread: bool = False) -> Any:
    """x, for each matrix or for each value, with the derivative NaN where values are near."""
    if not _may_be_near(w):
        return x
    factor = Once(groups, unread).on(w)
    return x * (as_factor(factor) if x.ndim > w.ndim else as_column(factor))


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
            inner = _divided(w, y, as_column(r)) * motion
            return _once(hermitian_part(conjugate(v) @ inner @ v.mT), w)

        return by_a, lambda: _once(_diagonal(motion), w), ZERO

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (a, y, r), (along, turn, _) = node.inputs, tangents
        if along is None:
            return None if turn is None else _on_vectors(Eigh(self.uplo).on(a)[1], turn)
        w, v, motion = _moved(self.uplo, a, along)
        turn = zeros_unless(turn, y)
        if _may_be_near(w):
            r = _OfStacks(_pushed_ratio, 1, 1, 1, 1, 1).on(w, y, r, _diagonal(motion), turn)
        inner = _divided(w, y, r) * motion + as_row(turn) * np.eye(w.shape[-1])
        return _once(conjugate(v @ inner @ dagger(v)), w)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*values)


def _on_vectors(v: Any, y: Any) -> Any:
    return hermitian_part((conjugate(v) * as_row(y)) @ v.mT)


def _along(y: Any, op: Any, probe: Any) -> Any:
    """The adjoint of the values that this op made, and that y was computed from, if `probe` is that of y; 0 if y does
    not depend on them, None if that is not known."""
    while not isinstance(probe, Wrapped):
        place = getattr(y, "place", y)  # on a tape
        nodes = [node for node in find_topo_sort([place], differentiable=True) if node.op is op]
        if len(nodes) == 1:
            see = node_as_recorded if place is y else type(place).seen
            found = dict(sweep({place: probe}, nodes, tensors=True, inner=True, see=see, careful=True))
            adjoint = found.get(nodes[0])
            adjoint = adjoint[op.values] if type(adjoint) is tuple else adjoint
            return 0 * probe if adjoint is None else whole_adjoint(adjoint, probe)
        if nodes or hasattr(y, "tangent"):  # forward mode keeps no record
            break
        if not isinstance(y, Wrapped):
            return 0 * probe
        if y.shape != y.value.shape:
            break
        y = y.value
    return None


def _is_differentiated(*values: Any) -> bool:
    """Whether what is computed from these in a rule may be differentiated again."""
    return any(isinstance(a, Wrapped) or (isinstance(a, Tensor) and is_recording() is True) for a in values)


def _symmetric_ratio(op: Any, w: Any, all_w: Any, y: Any, probed: Any) -> Any:
    """The r of FromSpectrum for the adjoint y of the values w that the op made. `all_w`: these, of both signs if they
    are singular values."""
    if not _may_be_near(all_w):
        return constant(np.zeros(w.shape, w.dtype))
    probe = Discrete(probed)(w)
    along = _along(y, op, probe)
    if along is None:
        return constant(np.full(w.shape, np.inf, w.dtype))
    return _OfStacks(_ratio, 1, 1, 1, 1)(w, y, probe, along)


def _by_values(op: Any, a: Any, by_w: Any) -> Any:
    """The adjoint of a, from that of the eigenvalues that the op made of it."""
    w, v = Eigh(op.uplo).on(a)
    if op.along is not None and _may_be_near(w):
        inside = isinstance(a, Wrapped) or isinstance(by_w, Wrapped)
        if inside or op.along is _SEVERAL:
            by_w = by_w * _OfStacks(_one_or_nan, 1, 1).on(w, unmasked(by_w))
        if not inside:
            v = _turned(op, w, v)
            if op.along is not _SEVERAL:
                move = _diagonal(dagger(v) @ hermitian_part(_of_kind(op.along, v)) @ v)
                by_w = by_w * _OfStacks(_one_if_symmetric, 1, 1, 1).on(w, move, unmasked(by_w))
            return _on_vectors(v, by_w)
    if not _is_differentiated(a, by_w):
        return _on_vectors(v, by_w)
    y = unmasked(by_w)
    return FromSpectrum(op.uplo)(a, y, _symmetric_ratio(op, w, w, y, _probe))


def _pushed_values(op: Any, a: Any, along: Any) -> Any:
    """The tangent of the eigenvalues, in a transform that may follow another one."""
    _follow(op, along)
    other = getattr(a, "tangent", None)
    paired = other is not None
    return AlongSpectrum(op.uplo, paired).on(a, along, other if paired else along)


def _one_if_known(w: Any, inner: Any, by_v: Any, with_values: bool) -> Any:
    inner, by_v = unmasked(inner), unmasked(by_v)
    if with_values:
        return _OfStacks(_one_if_unread, 1, 2).on(w, by_v)
    return _OfStacks(_one_if_common, 1, 2, 2).on(w, inner, by_v)


def _pairs(groups: Any) -> Any:
    return groups & ~np.eye(groups.shape[-1], dtype=bool)


def _one_if_common(values: Any, inner: Any, by_v: Any) -> Any:
    """1 for each matrix; NaN, with a warning, where vectors of equal values are read one by one."""
    return _one_unless(_pairs(_equal(values)) & _is_skew(inner, _noise_of_sums(by_v)), _ONE_BY_ONE)


def _is_skew(inner: Any, noise: Any) -> Any:
    """[i, j]: whether a rotation of the vectors i and j into each other changes the function, from V^T by_v."""
    return ~(np.abs(inner - inner.conj().mT) <= noise[..., None, None])


def _noise_of_sums(*adjoints: Any) -> Any:
    """A bound for the rounding error of products with these adjoints of vectors, one for each matrix."""
    eps = np.finfo(adjoints[0].dtype).eps
    return sum(1e3 * a.shape[-2] * eps * np.abs(a).max((-2, -1), initial=0) for a in adjoints)


def _one_if_unread(values: Any, by_v: Any) -> Any:
    """The same where vectors of equal values are read at all, if the values are read, too."""
    return _one_unless(_pairs(_equal(values)) & _may_be_read(values, by_v), _WITH_VALUES)


def _may_be_read(values: Any, by_v: Any) -> Any:
    """[i, j]: whether the function may read the vectors i and j. V f(w) V^H reads them, and its adjoint is 0 where f is
    0, as log is at 1. It is not so at two values by chance, nor at a rounding error."""
    read = (by_v != 0).any(-2)
    chance = (_differences(values) == 0) & ~(are_zero(values) & (values != 0))[..., None]
    return read[..., :, None] | read[..., None, :] | chance


_ONE_BY_ONE = "single vectors of theirs have no derivative, functions of all of them have, like the projector"
_WITH_VALUES = (
    "how fast they separate is not known to reverse mode. For V f(w) V^H take functions of the matrix as a whole "
    "(solve, inv, pinv, det, needle.scipy.linalg.expm, sqrtm, logm), or forward mode (needle.jvp, needle.jacobian "
    "with mode='forward')"
)


def _one_unless(lost: Any, why: str) -> Any:
    lost = lost.any((-2, -1))
    if lost.any():
        _warn(why)
    return np.where(lost, np.nan, 1)


def _along_tangent(op: Any, inputs: tuple[Any, ...], outputs: Any, turn: Callable[..., Any]) -> Any:
    """Outputs of forward mode, with the vectors of equal values that the tangent separates. For those the rule is
    right; `turn(outputs, tangent)` gives (member, the unitary matrix that it is to be multiplied by)."""
    a = latest(inputs[0])
    along = getattr(a, "tangent", None)
    if along is None or not isinstance(outputs, WrappedTuple) or not _innermost(along).size:
        return outputs
    inside = [y.value for y in outputs.members]
    if not _may_be_near(_both(inside[1]) if op.values else inside[0]):
        return outputs
    members = list(outputs.members)
    for k, by in turn(inside, along).items():
        old: Any = members[k]
        members[k] = type(old)(old.level, by(old.value), by(old.tangent))
    return WrappedTuple(members)


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
        return _along_tangent(self, inputs, super().__call__(*inputs), self._turns)

    @staticmethod
    def _turns(outputs: Any, along: Any) -> dict[int, Any]:
        w, v = outputs
        turn = _OfStacks(_separation, 1, 2).on(w, dagger(v) @ hermitian_part(along) @ v)
        return {1: lambda x: x @ turn}

    def compute(self, a: Any) -> Any:
        return tuple(np.linalg.eigh(a, self.uplo))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (w, v), (by_w, by_v) = node.output, out_grad
        plain = by_w is None or not (_is_differentiated(node.inputs[0], by_w) or self.along is not None)
        by_a = _on_vectors(v, zeros_unless(by_w, w)) if plain else _by_values(self, node.inputs[0], by_w)
        if by_v is None:
            return by_a
        inner = v.mT @ by_v
        turned = hermitian_part(conjugate(v) @ (_turning(w) * inner) @ v.mT)
        if _may_be_near(w):
            turned = turned * as_factor(_one_if_known(w, inner, by_v, by_w is not None))
        return by_a + (_once(turned, w) if _is_differentiated(w, by_v) else turned)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (w, v), along = node.output, hermitian_part(tangents[0])
        moved = v @ (_turning(w) * (dagger(v) @ along @ v))
        return _pushed_values(self, node.inputs[0], tangents[0]), _once(moved, w, unread=True)


def eigh(a: Any, UPLO: str = "L") -> TensorTuple:
    """(eigenvalues, eigenvectors) of each Hermitian matrix, (..., M, M): ascending, and in columns.

    Only the lower (UPLO="U": upper) triangle is read. The gradient is Hermitian, as in JAX and PyTorch: both triangles
    are taken to change together. Where eigenvalues are equal: see the top of this file.
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
        again = _is_differentiated(w, by_w, by_v)
        if again and by_w is not None and self._is_curved(w, unmasked(by_w)):
            right = right * as_factor(Once(_are_equal).on(w))
        if by_v is not None:
            turned = (_turning(w, _are_equal) * (v.mT @ _of_fixed_length_and_phase(by_v, v))) @ v.mT
            right = right + (turned * as_factor(Once(_are_equal).on(w)) if again else turned)
        return _solved(v.mT, right)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        w, v = node.output
        motion = _solved(v, tangents[0] @ v)
        moved = _to_fixed_length_and_phase(v @ (_turning(w, _are_equal) * motion), v)
        by_w = Summation(-1).on(motion * np.eye(w.shape[-1]))
        return by_w * as_column(Once(_are_equal).on(w)), moved * as_factor(Once(_are_equal, unread=True).on(w))

    def _is_curved(self, w: Any, y: Any) -> bool:
        """Whether the adjoint y of the values changes with them where they are equal, or may do so."""
        equal = discrete(_are_equal, w)
        if not watching.captures() and not _innermost(equal).sum() > equal.size // max(equal.shape[-1], 1):
            return False
        probe = discrete(_probe_of_equal, w)
        along = _along(y, self, probe)
        return along is None or watching.captures() or bool(np.any(_innermost(along)))


def _solved(v: Any, right: Any) -> Any:
    try:
        return SOLVE.on(v, right)
    except np.linalg.LinAlgError as error:
        raise np.linalg.LinAlgError(
            "Eig: has no derivative at a matrix that is not diagonalizable: it lacks a full set of eigenvectors"
        ) from error


def _probe_of_equal(values: Any) -> Any:
    equal = _are_equal(values)
    place = np.tril(equal, -1).sum(-1)
    return (equal.sum(-1) * place**2 - _total(equal, place**2)).astype(values.dtype)


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
    """As `_probe`; where values are near 0, the negative ones are the others, and the sum is 0 already."""
    zero = s <= np.sqrt(np.finfo(s.dtype).eps) * _largest(s)
    return np.where(zero, np.arange(1, s.shape[-1] + 1), _probe(s)).astype(s.dtype)


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
    if not _may_be_near(_both(s)):
        return u, s, w, zeroed(_diagonal(dagger(u) @ along @ w), kept)
    u, w = _turned_both(u, s, w, along)
    growth = _OfStacks(_motion_of_zeros, 2, 1, 2, 2, 2).on(u, s, dagger(w), along, along)
    return u, s, w, zeroed(_diagonal(dagger(u) @ along @ w), kept) + growth


def _turned_both(u: Any, s: Any, w: Any, along: Any) -> tuple[Any, Any]:
    """U and W, the vectors of equal values as the tangent separates them."""
    turn = _OfStacks(_separation, 1, 2).on(s, hermitian_part(dagger(u) @ along @ w))
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
        if not _may_be_near(_both(s)):
            return zeroed(_diagonal(dagger(u) @ along @ w), kept), u, s, w, None
        u, w = _turned_both(u, s, w, other)
        move, rest = _diagonal(dagger(u) @ along @ w), None
        if self.paired:
            rest = _diagonal(dagger(u) @ other @ w)
            move = _on_groups(s, move, rest)
        growth = _OfStacks(_motion_of_zeros, 2, 1, 2, 2, 2).on(u, s, dagger(w), along, other)
        return zeroed(move, kept) + growth, u, s, w, rest

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, along, other = node.inputs
        _, u, s, w, rest = self._moves(a, along, other)
        y, both = zeroed(out_grad, ~Discrete(are_zero).on(s)), _both(s)

        def by_a() -> Any:
            divided = _divided(both, _both(y), _OfStacks(_zero_or_nan, 1, 1).on(both, _both(y)))
            return _once(conjugate(_spread(u, s, w, along, divided)), both)

        by_along = y if rest is None else _on_groups(s, y, rest)
        return by_a, lambda: _on_both_vectors(u, s, dagger(w), by_along), ZERO

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (a, along, other), (by_a, by_along, _) = node.inputs, tangents
        moved = None if by_along is None else self.on(a, by_along, other)
        if by_a is None:
            return moved
        _, u, s, w, _ = self._moves(a, along, other)
        (by_u, by_w), both = _moved_vectors(u, s, w, by_a), _both(s)
        curved = _diagonal(dagger(by_u) @ along @ w + dagger(u) @ along @ by_w)
        curved = _once(zeroed(curved, ~Discrete(are_zero).on(s)), both)
        return curved if moved is None else moved + curved

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*_stacked(values, depths, (2, 2, 2)))


def _moved_vectors(u: Any, s: Any, w: Any, along: Any) -> tuple[Any, Any]:
    """The tangents of U and W, as many columns as there are singular values, along a tangent of the matrix."""
    zero = Discrete(are_zero).on(s)
    over, motion = as_row(_reciprocal(s, zero)), dagger(u) @ along @ w
    sums = _reciprocal(as_row(s) + as_column(s), as_row(zero) & as_column(zero))
    turn, counter = _turning(s) * hermitian_part(motion), sums * ((motion - dagger(motion)) / 2)
    by_u = u @ (turn + counter) + (along @ w - u @ motion) * over
    by_w = w @ (turn - counter) + (dagger(along) @ u - w @ dagger(motion)) * over
    return by_u, by_w


def _spread(u: Any, s: Any, w: Any, along: Any, divided: Any) -> Any:
    """What U diag(y) W^H changes along a tangent of a, except by the change of y where s is not 0. `divided` are the
    divided differences of y by s of both signs."""
    k, motion = s.shape[-1], dagger(u) @ along @ w
    minus, plus = divided[..., k:, k:][..., ::-1, ::-1], divided[..., k:, :k][..., ::-1, :]
    over = _diagonal(plus)
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
            ratio = as_column(_OfStacks(_on_both_sides, 1, 1, 1).on(s, y, r))
            divided = _divided(both, _both(zeroed(y, kept)), ratio)
            return _once(conjugate(_spread(u, s, w, out_grad, divided)), both)

        return by_a, lambda: _once(zeroed(_diagonal(motion), kept), both), ZERO

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (a, y, r), (along, turn, _) = node.inputs, tangents
        if along is None:
            if turn is None:
                return None
            u, s, vh = SVD(full_matrices=False).on(a)
            return _on_both_vectors(u, s, vh, turn)
        u, s, w, move = _moved_singular(a, along)
        turn, both, r = zeros_unless(turn, y), _both(s), _OfStacks(_on_both_sides, 1, 1, 1).on(s, y, r)
        y = zeroed(y, ~Discrete(are_zero).on(s))
        if _may_be_near(both):
            r = _OfStacks(_pushed_ratio, 1, 1, 1, 1, 1).on(both, _both(y), r, _both(move), _both(turn))
        moved = conjugate(_spread(u, s, w, along, _divided(both, _both(y), r)))
        return _once(moved + _on_both_vectors(u, s, dagger(w), turn), both)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*values)


def _on_both_vectors(u: Any, s: Any, vh: Any, y: Any) -> Any:
    return (conjugate(u) * as_row(zeroed(y, ~Discrete(are_zero).on(s)))) @ conjugate(vh)


def _by_singular_values(op: Any, a: Any, by_s: Any) -> Any:
    """The adjoint of a, from that of the singular values that the op made of it."""
    u, s, vh = SVD(full_matrices=False).on(a)
    if op.along is not None and _may_be_near(_both(s)):
        inside = isinstance(a, Wrapped) or isinstance(by_s, Wrapped)
        if inside or op.along is _SEVERAL:
            by_s = by_s * _OfStacks(_one_or_nan, 1, 1).on(s, unmasked(by_s))
        if not inside:
            by_s = by_s + _OfStacks(_lost_at_zero, 1, 1).on(s, unmasked(by_s))
            if op.along is not _SEVERAL:
                along = _of_kind(op.along, u)
                u, w = _turned_both(u, s, dagger(vh), along)
                move, vh = _diagonal(dagger(u) @ along @ w), dagger(w)
                move = zeroed(move, ~Discrete(are_zero).on(s))
                by_s = by_s * _OfStacks(_one_if_symmetric, 1, 1, 1).on(s, move, unmasked(by_s))
            return (conjugate(u) * as_row(by_s)) @ conjugate(vh)
    if not _is_differentiated(a, by_s):
        return _on_both_vectors(u, s, vh, by_s)
    y = unmasked(by_s)
    return FROM_SINGULAR_VALUES(a, y, _symmetric_ratio(op, s, _both(s), y, _singular_probe))


def _lost_at_zero(s: Any, by_s: Any) -> Any:
    """What makes the adjoint of values of 0 zero; NaN where it is that of their derivatives."""
    lost = are_zero(s) & (np.abs(by_s) > 1e3 * np.finfo(s.dtype).eps * (1 + _largest(by_s)))
    if lost.any():
        _warn("they are 0: this derivative is known in reverse over reverse and forward over reverse mode")
    return np.where(lost, np.nan, np.where(are_zero(s), -by_s, 0))


def _pushed_singular_values(op: Any, a: Any, along: Any) -> Any:
    """The tangent of the singular values, in a transform that may follow another one."""
    _follow(op, along)
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
        return _along_tangent(self, inputs, super().__call__(*inputs), self._turns)

    @staticmethod
    def _turns(outputs: Any, along: Any) -> dict[int, Any]:
        u, s, vh = outputs
        motion = dagger(u) @ along @ dagger(vh)
        left, right = [_OfStacks(f, 1, 2).on(s, motion) for f in (_left_separation, _right_separation)]
        return {0: lambda x: x @ left, 2: lambda x: dagger(right) @ x}

    def compute(self, a: Any) -> Any:
        return tuple(np.linalg.svd(a, self.full_matrices))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        # With a = u diag(s) w^T, the right vectors are the columns of w, and the rule is the same for both sides.
        (u, s, vh), (by_u, by_s, by_vh) = node.output, out_grad
        w, k, zero = vh.mT, s.shape[-1], Discrete(are_zero).on(s)
        if by_s is None:
            by_a: Any = 0
        elif _is_differentiated(node.inputs[0], by_s) or self.along is not None:
            by_a = _by_singular_values(self, node.inputs[0], by_s)
        else:
            by_a = _on_both_vectors(u[..., :k], s, vh[..., :k, :], by_s)
        if by_u is None and by_vh is None:
            return by_a
        u, by_u = thin(u, zeros_unless(by_u, u), k)
        w, by_w = thin(w, zeros_unless(by_vh, vh).mT, k)
        uc, wc = conjugate(u), conjugate(w)
        from_u, from_w = u.mT @ by_u, (w.mT @ by_w).mT
        sums = _reciprocal(as_row(s) + as_column(s), as_row(zero) & as_column(zero))
        turn, counter = _turning(s) * (from_u - from_w), sums * (from_u + from_w)
        inner = (turn + dagger(turn) + counter - dagger(counter)) / 2
        adjoint = uc @ inner @ wc.mT
        # The parts of the adjoints outside the span of the first k vectors.
        over, rest_u, rest_w = as_row(_reciprocal(s, zero)), by_u - uc @ from_u, by_w - wc @ from_w.mT
        if u.shape[-2] > k:
            adjoint = adjoint + (rest_u * over) @ wc.mT
        if w.shape[-2] > k:
            adjoint = adjoint + uc @ (rest_w * over).mT
        if _may_be_near(_both(s)):
            if by_s is not None:
                known = _OfStacks(_one_if_both_unread, 1, 2, 2, 1).on(s, *map(unmasked, (by_u, by_w, by_s)))
            else:
                given = map(unmasked, (from_u, from_w, by_u, by_w, rest_u, rest_w))
                known = _OfStacks(_one_if_both_common, 1, *[2] * 6).on(s, *given)
            adjoint = adjoint * as_factor(known)
        return by_a + (_once(adjoint, s, _near_positive) if _is_differentiated(s, by_u, by_vh) else adjoint)

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
        by_u, by_vh = [_once(x, s, _near_positive, unread=True) for x in (by_u, dagger(by_w))]
        return by_u, by_s, by_vh


def _nan_if_zero(s: Any) -> Any:
    return np.where(are_zero(s), np.nan, 0).astype(s.dtype)


def _zero_pairs(s: Any) -> Any:
    zero = are_zero(s)
    return zero[..., :, None] & zero[..., None, :]


def _one_if_both_common(s: Any, from_u: Any, from_w: Any, by_u: Any, by_w: Any, out_u: Any, out_w: Any) -> Any:
    """As `_one_if_common`. Of values of 0, either side may be rotated alone, also into the complement of all vectors."""
    zeros, noise = _pairs(_zero_pairs(s)), _noise_of_sums(by_u, by_w)
    alone = _is_skew(from_u, noise) | _is_skew(from_w, noise)
    lost = _pairs(_equal(s)) & ~zeros & _is_skew(from_u - from_w, noise) | zeros & alone
    for outside in (out_u, out_w):
        if outside.shape[-2] > s.shape[-1]:
            begins = np.abs(outside).max(-2, initial=0) > noise[..., None]
            lost = lost | (are_zero(s) & begins)[..., None]
    return _one_unless(lost, _ONE_BY_ONE)


def _one_if_both_unread(s: Any, by_u: Any, by_w: Any, by_s: Any) -> Any:
    """As `_one_if_unread`; a value of 0 is not differentiable alone."""
    both = np.concatenate(np.broadcast_arrays(*_padded(by_u, by_w)), -2)
    square = by_u.shape[-2] == by_w.shape[-2]
    zero, read = _zero_pairs(s), (both != 0).any(-2)
    alone = are_zero(s) & (read | (s == 0) & ((by_s != 0) | (not square)))
    return _one_unless(_pairs(_equal(s) | zero) & _may_be_read(s, both) | alone[..., None], _WITH_VALUES)


def _padded(*values: Any) -> list[Any]:
    rows = max(a.shape[-2] for a in values)
    return [np.pad(a, [(0, 0)] * (a.ndim - 2) + [(0, rows - a.shape[-2]), (0, 0)]) for a in values]


def _left_separation(s: Any, motion: Any) -> Any:
    return _separations(s, motion)[0]


def _right_separation(s: Any, motion: Any) -> Any:
    return _separations(s, motion)[1]


def _separations(s: Any, motion: Any) -> tuple[Any, Any]:
    """As `_separation`, for the motion U^H E W of both sides: Hermitian parts of the blocks of equal values become
    diagonal, and so does the whole block of values of 0, by its own singular vectors."""
    k = s.shape[-1]
    batch = np.broadcast_shapes(s.shape[:-1], motion.shape[:-2])
    s, motion = np.broadcast_to(s, (*batch, k)), np.broadcast_to(motion, (*batch, *motion.shape[-2:]))
    inner = motion[..., :k, :k]
    turn = _separation(s, (inner + inner.conj().mT) / 2)
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
