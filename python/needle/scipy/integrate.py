"""Ordinary differential equations, with adjoints by the adjoint equation (Pontryagin; Chen et al., 2018)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.integrate

from ..autograd import ZERO, Tensor, TensorOp, Wrapped, constant, is_recorded
from ..nested import flatten
from ..numpy.common import tensor
from ..ops.dtypes import imag, real
from ..ops.indexing import getitem
from ..ops.joining import concatenate, stack
from ..transforms import jvp, vjp

Field = Callable[..., Any]
"""func(y, t, *args), which returns dy/dt."""
OPTIONS = {"rtol", "atol", "tcrit", "h0", "hmax", "hmin", "mxstep", "mxhnil", "mxordn", "mxords", "ixpr"}
KEPT = 500
"""How many steps of the solution are kept at a time for the adjoint equation."""


class UnsolvedError(Exception):
    """Why an equation has no solution that is to be trusted."""


class OdeInt(TensorOp):
    """y at the times t, where y[0] = y0 and dy/dt = func(y, t, *args). y0, t and the args are the inputs."""

    __slots__ = ("func", "options")
    saves = ("inputs", "output")
    on_arrays = False  # its rules run the user's function

    def __init__(self, func: Field, options: dict[str, Any]):
        self.func = func
        self.options = options

    def __repr__(self) -> str:
        return "odeint"

    def field(self, y: Any, t: Any, *args: Any) -> Tensor:
        """dy/dt as a Tensor of y's shape. Raises ValueError if func returns another number of elements."""
        value = tensor(self.func(y, t, *args))
        if value.size != y.size:
            raise ValueError(f"odeint: func must return as many numbers as y has, {y.size}, got shape {value.shape}")
        return value.reshape(y.shape)

    def slope(self, args: Sequence[Any]) -> Callable[[Any, Any], Any]:
        """dy/dt as a function of y and t, on arrays."""
        held = [constant(a) for a in args]

        def slope(y: Any, s: Any) -> Any:
            value = self.field(constant(y), constant(np.asarray(s)), *held)
            if isinstance(value, Wrapped) or is_recorded(value):
                raise TypeError(
                    "odeint: func closes over a Tensor that needs a gradient, which would be lost; pass it in args"
                )
            return value.numpy()

        return slope

    def compute(self, y0: Any, t: Any, *args: Any) -> Any:
        if not y0.size:  # which SciPy warns of
            return np.empty((t.size, 0))
        return scipy.integrate.odeint(self.slope(args), y0, t, **self.options)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return _split(OdeAdjoint(self)(out_grad, node, *node.inputs), node.inputs)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        """Integrate y together with its tangent, forwards."""
        (y0, t, *args), (by_y0, by_t, *by_args) = node.inputs, tangents
        n, count = y0.size, len(args)
        by_args = [constant(np.zeros(a.shape)) if s is None else s for a, s in zip(args, by_args, strict=True)]
        start = constant(np.zeros(n)) if by_y0 is None else by_y0
        if by_t is not None:
            start = start - getitem(by_t, 0) * self.field(y0, getitem(t, 0), *args)

        def forwards(z: Tensor, s: Tensor, *both: Any) -> Tensor:
            y, moved = getitem(z, slice(None, n)), getitem(z, slice(n, None))
            values, changes = (y, *both[:count]), (moved, *both[count:])
            return concatenate(jvp(lambda y, *args: self.field(y, s, *args), values, changes))

        twice = {
            name: np.tile(self.options[name], 2) for name in ("rtol", "atol") if np.size(self.options.get(name, 0)) > 1
        }
        z = OdeInt(forwards, {**self.options, **twice})(concatenate([y0, start]), t, *args, *by_args)
        out = getitem(z, (slice(None), slice(n, None)))
        if by_t is None:
            return out
        slopes = stack([self.field(getitem(node, i), getitem(t, i), *args) for i in range(t.size)])
        return out + by_t.reshape((-1, 1)) * slopes


class OdeAdjoint(TensorOp):
    """The adjoints of all inputs of an OdeInt, from that of its output: one vector with one after the other.

    The adjoint equation runs backwards, from the last time to the first, and reads y on its way. For it, y is solved
    forwards once more: solved backwards, a damped system explodes. The output of the OdeInt is an input, too, but only
    to be compared with this second solution.
    """

    __slots__ = ("ode",)
    saves = ("inputs",)
    on_arrays = False

    def __init__(self, ode: OdeInt):
        self.ode = ode

    def __repr__(self) -> str:
        return "odeint's adjoint"

    def compute(self, out_grad: Any, y: Any, y0: Any, t: Any, *args: Any) -> Any:
        n = y0.size
        z, by_t = np.zeros(n + sum(a.size for a in args)), np.zeros(t.size)
        # The equation is linear. Its tolerances hold relative to the largest adjoint that is given.
        scale = np.abs(out_grad[1:]).max(initial=0.0)
        if 0 < scale < np.inf:
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "lsoda: ", UserWarning)  # what it says is said below
                    z, by_t = self.solve(out_grad / scale, y, y0, t, args)
            except UnsolvedError as why:
                z, by_t = z + np.nan, by_t + np.nan
                warnings.warn(f"odeint: the gradient is NaN: {why}", scipy.integrate.ODEintWarning, stacklevel=2)
        with np.errstate(invalid="ignore"):
            z, by_t = z * scale, by_t * scale
        return np.concatenate([z[:n] + out_grad[0], by_t, z[n:]])

    def solve(self, out_grad: Any, y: Any, y0: Any, t: Any, args: Sequence[Any]) -> tuple[Any, Any]:
        """The adjoint of y at t[0] followed by those of the args, and the adjoints of t."""
        n, slope, options = y0.size, self.ode.slope(args), self.ode.options
        # An adjoint has its argument's dtype. In float32 it would be rounded at every step.
        held = [constant(a.astype(float) if a.dtype.kind == "f" else a) for a in args]
        given = [i for i in range(1, t.size) if out_grad[i].any()]
        start, end = float(t[0]), float(t[given[-1]])
        tcrit = options.get("tcrit")
        turns = [start, *_between(start, end, [] if tcrit is None else np.ravel(tcrit).tolist()), end]
        how = _settings(options, t.size)
        z, by_t, at = np.zeros(n + sum(a.size for a in args)), np.zeros(t.size), end
        rtol = float(np.min(how["rtol"]))
        atol = np.clip(np.min(how["atol"]), 1e-4 * rtol, rtol)
        adjoint = {**how, "rtol": rtol, "atol": atol}
        if args:  # only y's adjoint is on a right side: a Newton step solves for nothing else
            adjoint["lband"] = adjoint["uband"] = n - 1
        probes = np.random.default_rng(0).choice([-1.0, 1.0], (4, n))
        closer = {name: how[name] / 2 for name in ("rtol", "atol")}  # or it takes the very steps of the first solution
        for begin, solution in _solution_in_parts(slope, turns, y0, {**how, **closer}):

            def backwards(s: float, z: Any, y: Callable[[float], Any] = solution) -> Any:
                time = constant(np.asarray(s))
                _, pull = vjp(lambda y, *args: self.ode.field(y, time, *args), constant(y(s)), *held)
                return np.concatenate([tensor(g).numpy().ravel() for g in pull(constant(-z[:n]))])

            for stop in [at, *_between(at, begin, [*turns, *t[given]]), begin]:
                if args and stop != at:
                    # The args' adjoints start from 0. Where they soon are large, LSODA would hold them to `atol` by
                    # tiny steps, and go on with these: so they are measured by what they grow to in one time scale.
                    changes = np.abs([backwards(at, v) for v in probes]).max(axis=0)
                    scale = 1 / max(1 / abs(stop - at), changes[:n].max())
                    least = np.where(np.arange(z.size) < n, 0, rtol / 10 * scale * changes)
                    adjoint["atol"] = np.maximum(atol, least)
                for solver in _steps(backwards, at, z, stop, adjoint):
                    z = solver.y
                at = stop
                while given and t[given[-1]] == at:
                    i = given.pop()
                    _compare(y[i], solution(at), at, how)
                    by_t[i] = out_grad[i] @ slope(solution(at), at)
                    z = z + np.concatenate([out_grad[i], np.zeros(z.size - n)])
        by_t[0] = -z[:n] @ slope(y0, start)  # t[0] moves y0 back along the field
        return z, by_t

    def gradient(self, out_grad: Any, node: Any) -> Any:
        given, _, *inputs = node.inputs
        moved, pull = self.turned(inputs, _split(out_grad, inputs))
        return moved, ZERO, *pull(given)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (given, y, *inputs), (changed, _, *along) = node.inputs, tangents
        terms = [] if changed is None else [self(changed, y, *inputs)]
        if any(v is not None for v in along):
            zeros = [constant(np.zeros(a.shape)) if v is None else v for a, v in zip(inputs, along, strict=True)]
            _, pull = self.turned(inputs, zeros)
            terms.append(concatenate([tensor(g).reshape((-1,)) for g in pull(given)]))
        return sum(terms[1:], terms[0]) if terms else None

    def turned(self, inputs: Sequence[Any], along: Sequence[Any]) -> Any:
        """`vjp` of the solution's tangent along these. The adjoint of the tangent is the tangent of the adjoint."""
        return vjp(lambda *inputs: jvp(self.ode, inputs, tuple(along))[1], *inputs)


def _split(vector: Any, like: Sequence[Any]) -> tuple[Any, ...]:
    """A vector in the shapes of these."""
    ends = np.cumsum([0, *[a.size for a in like]])
    return tuple([getitem(vector, slice(ends[k], ends[k + 1])).reshape(a.shape) for k, a in enumerate(like)])


def _between(a: float, b: float, times: Sequence[float]) -> list[float]:
    """Those of the times that lie between a and b, in the order from a to b."""
    return sorted({float(s) for s in times if min(a, b) < s < max(a, b)}, reverse=a > b)


def _settings(options: dict[str, Any], times: int) -> dict[str, Any]:
    """What `_steps` needs, from odeint's options. The adjoint equation may take ten times as many steps, in all."""
    rtol, atol = (1.49012e-8 if options.get(name) is None else options[name] for name in ("rtol", "atol"))
    return {
        "rtol": np.maximum(rtol, 200 * np.finfo(float).eps),  # half of it is the least that LSODA takes without a word
        "atol": np.asarray(atol),
        "first_step": options.get("h0") or np.inf,
        "max_step": options.get("hmax") or np.inf,
        "min_step": options.get("hmin") or 0.0,
        "limit": 10 * times * (options.get("mxstep") or 500),
    }


def _steps(f: Any, s: float, y: Any, end: float, how: dict[str, Any]) -> Iterator[scipy.integrate.LSODA]:
    """SciPy's LSODA after each of its steps from s to end: dy/ds = f(s, y), and f is called nowhere else.

    Raises UnsolvedError where it cannot go on.
    """
    length, settings = abs(end - s), dict(how)
    if length <= 16 * np.spacing(max(abs(s), abs(end))):
        return
    limit, first = settings.pop("limit"), settings.pop("first_step")
    solver = scipy.integrate.LSODA(f, s, y, end, first_step=None if first > length else first, **settings)
    try:
        for _ in range(limit):
            solver.step()
            if solver.status == "failed" or solver.t == solver.t_old or not np.isfinite(solver.y).all():
                raise UnsolvedError(
                    f"no solution is found near t = {solver.t:.6g}; look for a singularity of func there"
                )
            yield solver
            if solver.status == "finished":
                return
        raise UnsolvedError(f"more than {limit} steps are needed from t = {s:.6g} to {end:.6g}; give a larger mxstep")
    finally:
        vars(solver).clear()  # it refers to itself, and to the kept solution: only the collector would free them


def _interpolated(slope: Any, turns: Sequence[float], y: Any, most: float, how: dict[str, Any]) -> tuple[Any, Any]:
    """The solution from turns[0] to turns[-1], solved anew from each turn: checkpoints (t, y), and a function of t for
    what follows on the last one, which are at most so many steps."""
    checkpoints, times = [(turns[0], y)], [turns[0]]
    pieces: list[Any] = []
    for s, end in pairwise(turns):
        for solver in _steps(lambda s, y: slope(y, s), s, y, end, how):
            if len(pieces) == most:
                checkpoints.append((times[-1], y))
                times, pieces = times[-1:], []
            times.append(solver.t)
            pieces.append(solver.dense_output())
            y = solver.y.copy()
    return checkpoints, scipy.integrate.OdeSolution(times, pieces) if pieces else lambda _: y


def _compare(first: Any, second: Any, at: float, how: dict[str, Any]) -> None:
    """Warn if y, solved twice, differs by a thousand times more than the tolerances: good solutions, by a few ten."""
    least = np.max(how["atol"] + how["rtol"] * np.abs(first).max())
    if not np.abs(second - first).max() <= 1000 * least:
        message = (
            f"odeint: solved twice, y at t = {at:.6g} is {first} and {second}, so neither y nor its gradient is to be "
            "trusted; give smaller rtol and atol, or earlier times, and a func that gives the same at each call"
        )
        warnings.warn(message, scipy.integrate.ODEintWarning, stacklevel=2)


def _solution_in_parts(slope: Any, turns: Sequence[float], y0: Any, how: dict[str, Any]) -> Iterator[tuple[float, Any]]:
    """The solution, part by part, from the last to the first: where the part begins, and y as a function of t.

    Only one part is in memory. The others are solved again from checkpoints, when their turn comes.
    """
    checkpoints, solution = _interpolated(slope, turns, y0, KEPT, how)
    while True:
        end, _ = checkpoints.pop()
        yield end, solution
        if not checkpoints:
            return
        s, y = checkpoints[-1]
        _, solution = _interpolated(slope, [s, *_between(s, end, turns), end], y, np.inf, how)


def odeint(func: Field, y0: Any, t: Any, args: tuple[Any, ...] = (), *, tfirst: bool = False, **options: Any) -> Tensor:
    """The solution of dy/dt = func(y, t, *args) with y = y0 at t[0], at the times t: shape (times, n).

    func is given Tensors. The solution is differentiable by y0, t, and the Tensors among the args, which may have any
    shape, in nested containers. `options` are SciPy's: rtol, atol, tcrit, hmax, mxstep, ... They hold for the adjoint
    equation as well, so gradients have the same accuracy, for damped and stiff systems, too; only mxordn and mxords do
    not, and it may take ten times as many steps. A gradient calls func between the times only, in bounded memory.

    Warns with SciPy's ODEintWarning where the solution or its gradient is not to be trusted: where a solver gives up
    (then the gradient is NaN), or where y, solved a second time for the gradient, differs by more than 1,000 times the
    tolerances.

    Raises TypeError for an unknown option, and if func closes over a Tensor that needs a gradient. Raises ValueError
    unless y0 and t are real and at most 1-d.
    """
    unknown = options.keys() - OPTIONS
    if unknown:
        raise TypeError(f"odeint: {', '.join(sorted(unknown))} is not supported; leave it out")
    y0, t = tensor(y0), tensor(t)
    if y0.ndim > 1 or t.ndim != 1 or t.size == 0 or "c" in (y0.dtype.kind, t.dtype.kind):
        raise ValueError(
            f"odeint: y0 must be a vector and t a vector of times, both real, got shapes {y0.shape} and {t.shape} and "
            f"dtypes {y0.dtype} and {t.dtype}; reshape y0 to one axis, and y back to its own in func"
        )
    leaves, rebuild = flatten(tuple(args) if isinstance(args, (tuple, list)) else (args,))
    places = [i for i, a in enumerate(leaves) if isinstance(a, Tensor)]
    inputs: list[Any] = []  # a complex one counts as two
    for i in places:
        inputs += [real(leaves[i]), imag(leaves[i])] if leaves[i].dtype.kind == "c" else [leaves[i]]
    is_complex = [leaves[i].dtype.kind == "c" for i in places]

    def field(y: Tensor, s: Tensor, *tensors: Any) -> Any:
        every, parts = list(leaves), iter(tensors)
        for i, two in zip(places, is_complex, strict=True):
            every[i] = next(parts) + 1j * next(parts) if two else next(parts)
        first = (s, y) if tfirst else (y, s)
        return func(*first, *rebuild(iter(every)))

    return OdeInt(field, options)(y0.reshape((-1,)) if y0.ndim == 0 else y0, t, *inputs)
