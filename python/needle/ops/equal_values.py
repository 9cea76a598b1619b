"""Where eigenvalues or singular values are equal: what the derivatives of a spectrum are there, and what has none.

Perturbation theory says how the spectrum of A moves along E. With M = V^H E V, the values move by the diagonal of M,
and the vectors turn into each other by M[i, j] / (w[j] - w[i]). Where two values are equal, this is 0 / 0 or worse:
every unitary mix of their vectors is a set of eigenvectors, too, and A + t E has only one of them near A, the one that
makes the block of M diagonal. It is another one for each E. So single values have corners there, and single vectors
jump. But a function that does not depend on the mix is smooth:

- f(w), symmetric. Its gradient V diag(y) V^H does not depend on the mix, for equal values have equal y. The derivative
  of that needs divided differences (y[i] - y[j]) / (w[i] - w[j]) (Daleckii, Krein). At equal values it is the limit,
  the factor r that a difference between equal values comes back with in y. Reverse over reverse finds r by a probe:
  sent through the record of y, numbers that sum to 0 in each group of equal values must come back as a multiple
  (`symmetric_ratio`). Forward over reverse compares the tangents of w and of y (`pushed_ratio`). Over forward mode, the
  op takes the vectors that the tangent separates, and notes that for the adjoint which comes later (`follow`).
- The projector V V^H onto the common space of all vectors of a group. The mix cancels, and the quotient 0 is right.
- V f(w) V^H. Forward mode takes the vectors that the tangent separates (`separated_along`), of which each follows its
  own value, and is right. Reverse mode has no tangent, and would need f'.

Reverse mode sees the adjoint of V alone. Let B = V^H (adjoint of V) between equal values. If B is not Hermitian, the
mix matters, and there is no derivative. If it is, and w is not read, it is a function like the projector, by 0. If w is
read as well, it may be V f(w) V^H, and what is not known is NaN, with a warning that says what to write instead.
Vectors with an adjoint of 0 are taken as not read, unless values agree in all bits: at w = 1, V log(w) V^H sends 0.

So it is with all that is not known: derivatives of functions that treat equal values differently, third ones, second
ones by vectors, those by `eig` as far as they are not 0, first ones by its vectors, those of norms and conditions at a
corner (`Once`, `Corner`). What nobody can see in a single direction stays: forward over forward mode of functions that
treat equal values differently, and forward mode of single vectors, which says how they move apart from mixing with
those of equal values.

Of a single one of equal values, reverse mode gives the slope along the vectors that LAPACK gives, and 0 for a singular
value of 0. Forward mode says how the values move when the matrix begins to move along the tangent.

"Equal" is up to rounding. Where values are merely near, quotients lose digits, and the limit is taken where it fits.
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
    Wrapped,
    WrappedTuple,
    constant,
    find_topo_sort,
    latest,
    node_as_recorded,
    recording_mode,
    sweep,
    unmasked,
    whole_adjoint,
)
from .discrete import Discrete
from .matrices import as_column, as_factor, as_row
from .reduction import Summation
from .selection import zeroed

# ---------------------------------------------------------------------------------------------------- groups of values


def _rounding(values: Any) -> Any:
    """A bound for the rounding error of the values of a matrix."""
    n = values.shape[-1]
    return n * np.finfo(values.dtype).eps * np.abs(values).max(-1, keepdims=True, initial=0)


def are_zero(values: Any) -> Any:
    """Which values are 0 up to rounding."""
    return np.abs(values) <= _rounding(values)


def pairs_of_equal(values: Any) -> Any:
    """[i, j]: whether values i and j of a matrix are equal up to rounding."""
    return np.abs(values[..., None, :] - values[..., :, None]) <= _rounding(values)[..., None]


def groups_of_equal(values: Any) -> Any:
    """[i, j]: whether values i and j are equal up to the rounding of those who computed the matrix, too."""
    return _groups(values, 32 * _rounding(values))


def groups_of_near(values: Any) -> Any:
    """[i, j]: whether values i and j are so near that a divided difference loses half of its digits."""
    return _groups(values, np.sqrt(np.finfo(values.dtype).eps) * largest_of(values))


def _groups(values: Any, tolerance: Any) -> Any:
    """[i, j]: whether ascending or descending values i and j are joined by steps of at most the tolerance."""
    steps = ~(np.abs(np.diff(values, axis=-1, prepend=values[..., :1])) <= tolerance)
    labels = np.cumsum(steps, -1)
    return labels[..., None, :] == labels[..., :, None]


def _several(groups: Any) -> Any:
    """For each matrix: whether any two of its values are in one group."""
    return groups.sum((-2, -1)) > groups.shape[-1]


def pairs_in(groups: Any) -> Any:
    return groups & ~np.eye(groups.shape[-1], dtype=bool)


def _total(groups: Any, a: Any) -> Any:
    """The sum over the group of each value."""
    return (groups @ a[..., None])[..., 0]


def _less_mean(groups: Any, a: Any) -> Any:
    return a - _total(groups, a) / groups.sum(-1)


def largest_of(a: Any) -> Any:
    """The largest modulus of each vector, as a vector of one."""
    return np.abs(a).max(-1, keepdims=True, initial=0)


def _differences(a: Any) -> Any:
    return a[..., :, None] - a[..., None, :]


def innermost(value: Any) -> Any:
    """The array inside of all transforms."""
    while isinstance(value, Wrapped):
        value = value.value
    return value if isinstance(value, np.ndarray) else value._array


def may_be_near(w: Any) -> bool:
    """Whether any two values are near each other; True in a captured program, which must be right for all data."""
    if watching.captures():
        return True
    return bool(_several(groups_of_near(innermost(w))).any())


# ----------------------------------------------------------------------------------------------------------------- ops


class _OfStacks(Discrete):
    __slots__ = ("cores",)

    def __init__(self, function: Any, *cores: int):
        super().__init__(function)
        self.cores = cores
        """For each input, the number of its last axes that are no batch."""

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*stacked(values, depths, self.cores))


def of_stacks(function: Callable[..., Any], *cores: int) -> Discrete:
    """A constant function of vectors and matrices along the last axes, with the same batch axes before them."""
    return _OfStacks(function, *cores)


def stacked(values: tuple[Any, ...], depths: tuple[int | None, ...], cores: tuple[int, ...]) -> list[Any]:
    """The values with their batch axes aligned, the new one first."""
    own = [a.ndim if depth is None else depth for a, depth in zip(values, depths, strict=True)]
    most = max(n - core for n, core in zip(own, cores, strict=True))
    return [
        a if depth is None else a.reshape((a.shape[0], *[1] * (most - depth + core), *a.shape[1:]))
        for a, depth, core in zip(values, depths, cores, strict=True)
    ]


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


def _lost(values: Any, groups: Any, loud: bool) -> Any:
    several = _several(groups(values))
    if several.any() and loud:
        warn("this derivative is not known there; second derivatives by the values alone are")
    return np.where(several[..., None], np.nan, 0).astype(values.real.dtype) * np.ones(values.shape, values.real.dtype)


def once(x: Any, w: Any, groups: Any = groups_of_near, unread: bool = False) -> Any:
    """x, for each matrix or for each value, with the derivative NaN where values are near."""
    if not may_be_near(w):
        return x
    factor = Once(groups, unread).on(w)
    return x * (as_factor(factor) if x.ndim > w.ndim else as_column(factor))


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

    def _slope(self, w: Any) -> Any:
        return Once(_TIES[self.extremes]).on(w)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * self._slope(node.inputs[1]), ZERO

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return None if tangents[0] is None else tangents[0] * self._slope(node.inputs[1])

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*stacked(values, depths, (0, 1)))


def _ties_of(first: bool, last: bool) -> Callable[[Any], Any]:
    def ties(values: Any) -> Any:
        """[i, j]: whether both are equal to the extreme, the first or the last of sorted values, and not 0, where the
        slope is 0 by convention."""
        groups = groups_of_equal(values) & ~are_zero(values)[..., None]
        of = groups[..., :1, :] * first | groups[..., -1:, :] * last
        return groups & of | np.eye(values.shape[-1], dtype=bool)

    return ties


_TIES = {"first": _ties_of(True, False), "last": _ties_of(False, True), "both": _ties_of(True, True)}


# -------------------------------------------------------------------------------- divided differences and their limits


def reciprocal(a: Any, zero: Any) -> Any:
    """1 / a, and 0 where `zero` is True."""
    return np.where(zero, 0, 1 / np.where(zero, 1, a))


def turning(values: Any, equal: Any = None) -> Any:
    """[i, j]: 1 / (value j - value i), 0 where they are equal."""
    return reciprocal(as_row(values) - as_column(values), Discrete(equal or groups_of_equal).on(values))


def divided_differences(w: Any, y: Any, r: Any) -> Any:
    """[i, j]: (y[i] - y[j]) / (w[i] - w[j]), its limit r[i, j] for near values, and 0 for i = j."""
    if not may_be_near(w):
        return (as_column(y) - as_row(y)) * reciprocal(as_column(w) - as_row(w), np.eye(w.shape[-1], dtype=bool))
    is_limit = of_stacks(_is_limit, 1, 1, 2).on(w, y, r)
    quotient = (as_column(y) - as_row(y)) * reciprocal(as_column(w) - as_row(w), is_limit)
    return zeroed(quotient, ~is_limit) + of_stacks(_limit, 1, 1, 2).on(w, y, r)


def _is_limit(values: Any, y: Any, r: Any) -> Any:
    return groups_of_equal(values) | _fits(values, y, r)


def _limit(values: Any, y: Any, r: Any) -> Any:
    """[i, j]: the divided difference where it is the limit r; NaN, with a warning, where there is none; 0 elsewhere."""
    fits, one = _fits(values, y, r), np.eye(values.shape[-1], dtype=bool)
    lost = groups_of_equal(values) & ~fits & ~one
    if lost.any():
        warn("second derivatives exist where they are treated alike, by a smooth function of all of them")
    return np.where(fits & ~one, r, np.where(lost, np.nan, 0)).astype(y.dtype)


def _fits(values: Any, y: Any, r: Any) -> Any:
    """[i, j]: whether the divided difference of y by near values is r, as far as its digits tell."""
    with np.errstate(invalid="ignore"):
        error = np.abs(_differences(y) - r * _differences(values))
        noise = _noise(values, y)[..., None] + np.abs(r) * 32 * _rounding(values)[..., None]
    return groups_of_near(values) & np.isfinite(r) & (error <= noise)


def _fit(groups: Any, a: Any, b: Any, noise: Any) -> Any:
    """For each value the r with b = r a in its group. NaN if there is none, inf if a is 0."""
    weight = _total(groups, a * a)
    r = _total(groups, a * b) / np.where(weight == 0, 1, weight)
    size = np.where(groups, np.abs(b)[..., None, :], 0).max(-1, initial=0)
    fits = np.abs(b - r * a) <= 30 * np.sqrt(np.finfo(a.dtype).eps) * size + noise
    r = np.where(np.where(groups, fits[..., None, :], True).all(-1), r, np.nan)
    return np.where(weight == 0, np.inf, r)


def _noise(values: Any, y: Any) -> Any:
    """A bound for the rounding error of y, which was computed from the values."""
    return 64 * values.shape[-1] * np.finfo(values.dtype).eps * largest_of(y)


def _slope_noise(values: Any, y: Any) -> Any:
    """The same of a derivative of y."""
    largest = largest_of(values)
    return np.where(largest == 0, 0, _noise(values, y) / np.where(largest == 0, 1, largest))


def pushed_ratio(values: Any, y: Any, r: Any, move: Any, turn: Any) -> Any:
    """[i, j]: the limit r, or where that is not known (inf), what the tangents of the values and of y say."""
    near, equal, r = groups_of_near(values), groups_of_equal(values), r[..., None]
    a, b = _less_mean(equal, move), _less_mean(equal, turn)
    noise = _slope_noise(values, y) * largest_of(move)
    a = np.where(np.abs(a) <= 1e-10 * largest_of(move), 0, a)
    alike = _fit(equal, a, b, noise)
    alike = np.where(np.isinf(alike), 0, alike)[..., None]
    # Of near values, the quotient of the tangents is off by the order of their gap, that of y by its rounding error.
    step, gap, eps = np.abs(_differences(move)), np.abs(_differences(values)), np.finfo(values.dtype).eps
    size, largest = largest_of(move)[..., None], largest_of(values)[..., None]
    clear = near & (step > 1e-7 * size) & (step * eps * largest**2 > gap**2 * size)
    pairs = np.where(clear, _differences(turn) / np.where(clear, _differences(move), 1), np.inf)
    return np.where(np.isinf(r), np.where(equal, alike, pairs), r)


# --------------------------------------------------------------------------------- what the record knows of a function


def is_differentiated(*values: Any) -> bool:
    """Whether what is computed from these in a rule may be differentiated again."""
    return any(isinstance(a, Wrapped) or (isinstance(a, Tensor) and recording_mode() is True) for a in values)


def symmetric_ratio(op: Any, w: Any, all_w: Any, y: Any, probed: Any) -> Any:
    """The r of FromSpectrum for the adjoint y of the values w that the op made. `all_w`: these, of both signs if they
    are singular values."""
    if not may_be_near(all_w):
        return constant(np.zeros(w.shape, w.dtype))
    probe = Discrete(probed)(w)
    along = adjoint_along(y, op, probe)
    if along is None:
        return constant(np.full(w.shape, np.inf, w.dtype))
    return of_stacks(_ratio, 1, 1, 1, 1)(w, y, probe, along)


def _ratio(values: Any, y: Any, probe: Any, along: Any) -> Any:
    """What a symmetric function makes of differences between near values: see FromSpectrum."""
    return _fit(groups_of_near(values), probe, along, _slope_noise(values, y) * largest_of(probe))


def probe_near(values: Any) -> Any:
    return _probe(groups_of_near(values)).astype(values.dtype)


def probe_equal(values: Any) -> Any:
    return _probe(pairs_of_equal(values)).astype(values.dtype)


def _probe(groups: Any) -> Any:
    """Numbers that differ, whose sum over each group is 0; 0 for a value that is alone."""
    place = np.tril(groups, -1).sum(-1)
    return groups.sum(-1) * place**2 - _total(groups, place**2)


def adjoint_along(y: Any, op: Any, probe: Any) -> Any:
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


# ------------------------------------------------------------------------------------ vectors that a tangent separates


def separation(w: Any, motion: Any) -> Any:
    """The unitary matrix, one block for each group of equal values, that makes these blocks of a motion diagonal."""
    equal = groups_of_equal(w)
    one = np.eye(w.shape[-1], dtype=motion.dtype)
    if not _several(equal).any():
        return np.broadcast_to(one, motion.shape)
    inner = np.where(equal, motion, 0)
    size = np.where(equal, np.abs(inner).max(-1, initial=0)[..., None, :], 0).max(-1, keepdims=True, initial=0)
    first = equal.argmax(-1)[..., None]  # the place of the first of each group
    inner = inner / np.where(size == 0, 1, size) + 4 * w.shape[-1] * first * one
    return np.linalg.eigh((inner + inner.conj().mT) / 2)[1].astype(motion.dtype)


def separated_along(
    inputs: tuple[Any, ...], outputs: Any, values: Callable[[Any], Any], turn: Callable[..., Any]
) -> Any:
    """Outputs of forward mode, with the vectors of equal values that the tangent separates. For those the rule is
    right. `turn(outputs, tangent)` says for some members how they turn, `values(outputs)` which may be equal."""
    a = latest(inputs[0])
    along = getattr(a, "tangent", None)
    if along is None or not isinstance(outputs, WrappedTuple) or not innermost(along).size:
        return outputs
    wrapped: Any = outputs.members
    inside = [y.value for y in wrapped]
    if not may_be_near(values(inside)):
        return outputs
    members = list(wrapped)
    for k, by in turn(inside, along).items():
        members[k] = type(wrapped[k])(wrapped[k].level, by(wrapped[k].value), by(wrapped[k].tangent))
    return WrappedTuple(members)


SEVERAL = object()
"""Several tangents, which separate equal values differently."""


def follow(op: Any, along: Any) -> None:
    """Note in the op that its values move along this tangent: so the adjoint of their derivatives is to be read."""
    while isinstance(along, Wrapped) and along.shape == along.value.shape:
        along = along.value
    op.along = along if op.along is None and not isinstance(along, Wrapped) else SEVERAL


def of_kind(along: Any, like: Any) -> Any:
    """The tensor `along`, as an array where rules work on arrays."""
    return along if isinstance(like, Tensor) else along._array


def real_diagonal(a: Any) -> Any:
    return Summation(-1).on(a * np.eye(a.shape[-1])).real


def on_groups(w: Any, diagonal: Any, rest: Any) -> Any:
    """The motions of the values, those of equal ones projected as `_projection` says."""
    projected = of_stacks(_projection, 1, 1).on(w, rest) @ as_column(diagonal)
    return projected.reshape(projected.shape[:-1])


def _projection(values: Any, rest: Any) -> Any:
    """Of a motion's diagonal, its mean over each group of equal values, and the part along that of the other motion;
    all of it where the other one does not separate them."""
    groups, rest = groups_of_equal(values), np.where(np.abs(rest) <= 1e-10 * largest_of(rest), 0, rest)
    rest = _less_mean(groups, rest)
    weight = _total(groups, rest * rest)[..., None]
    part = rest[..., :, None] * rest[..., None, :] / np.where(weight == 0, 1, weight)
    mean = 1 / groups.sum(-1)[..., None]
    one = np.eye(values.shape[-1])
    return np.where(weight == 0, one, np.where(groups, mean + part, 0)).astype(values.dtype)


# ----------------------------------------------------------------------- what has no derivative, or none that is known


ONE_BY_ONE = "single vectors of theirs have no derivative, functions of all of them have, like the projector"
WITH_VALUES = (
    "how fast they separate is not known to reverse mode. For V f(w) V^H take functions of the matrix as a whole "
    "(solve, inv, pinv, det, needle.scipy.linalg.expm, sqrtm, logm), or forward mode (needle.jvp, needle.jacobian "
    "with mode='forward')"
)


def one_if_known(w: Any, inner: Any, by_v: Any, with_values: bool) -> Any:
    """The factor of the part of an adjoint that comes through vectors, whose own one is by_v; `inner` is V^T by_v."""
    inner, by_v = unmasked(inner), unmasked(by_v)
    if with_values:
        return of_stacks(_one_if_unread, 1, 2).on(w, by_v)
    return of_stacks(_one_if_common, 1, 2, 2).on(w, inner, by_v)


def _one_if_common(values: Any, inner: Any, by_v: Any) -> Any:
    """1 for each matrix; NaN, with a warning, where vectors of equal values are read one by one."""
    return one_unless(pairs_in(groups_of_equal(values)) & is_skew(inner, noise_of_sums(by_v)), ONE_BY_ONE)


def is_skew(inner: Any, noise: Any) -> Any:
    """[i, j]: whether a rotation of the vectors i and j into each other changes the function, from V^T by_v."""
    return ~(np.abs(inner - inner.conj().mT) <= noise[..., None, None])


def noise_of_sums(*adjoints: Any) -> Any:
    """A bound for the rounding error of products with these adjoints of vectors, one for each matrix."""
    eps = np.finfo(adjoints[0].dtype).eps
    return sum(1e3 * a.shape[-2] * eps * np.abs(a).max((-2, -1), initial=0) for a in adjoints)


def _one_if_unread(values: Any, by_v: Any) -> Any:
    """The same where vectors of equal values are read at all, if the values are read, too."""
    return one_unless(pairs_in(groups_of_equal(values)) & may_be_read(values, by_v), WITH_VALUES)


def may_be_read(values: Any, by_v: Any) -> Any:
    """[i, j]: whether the function may read the vectors i and j. V f(w) V^H reads them, and its adjoint is 0 where f is
    0, as log is at 1. It is not so at two values by chance."""
    read = (by_v != 0).any(-2)
    return read[..., :, None] | read[..., None, :] | agree_in_all_bits(values)


def agree_in_all_bits(values: Any) -> Any:
    """[i, j]: whether values are the same number, and more than a rounding error."""
    return (_differences(values) == 0) & ~(are_zero(values) & (values != 0))[..., None]


def one_if_symmetric(values: Any, move: Any, y: Any) -> Any:
    """1 for each value; NaN, with a warning, where y is not what a symmetric function makes of this motion of equal
    values: a multiple of it, and a number for all."""
    groups = groups_of_equal(values)
    r = _fit(groups, _less_mean(groups, move), _less_mean(groups, y), 1e-6 * largest_of(y))
    if np.isnan(r).any():
        warn("they are treated differently")
    return np.where(np.isnan(r), np.nan, 1).astype(y.dtype)


def one_or_nan(values: Any, y: Any) -> Any:
    return 1 + zero_or_nan(values, y).max(-1)


def zero_or_nan(values: Any, y: Any) -> Any:
    """[i, j]: 0, where equal values have equal y; else NaN."""
    apart = np.abs(_differences(y))
    lost = groups_of_equal(values) & (apart > 1e-6 * largest_of(y)[..., None] + 1e3 * np.finfo(y.dtype).eps)
    if lost.any():
        warn("they are treated differently")
    return np.where(lost, np.nan, 0).astype(y.dtype)


def one_unless(lost: Any, why: str) -> Any:
    """1 for each matrix; NaN, with a warning, where any [i, j] is lost."""
    lost = lost.any((-2, -1))
    if lost.any():
        warn(why)
    return np.where(lost, np.nan, 1)


def warn(why: str) -> None:
    warnings.warn(f"a derivative of a spectrum is NaN: two values are equal, and {why}", RuntimeWarning, stacklevel=2)
