"""The usual mistakes. Each is tried: what it would give, computed by differences, is held against what the rule gave.

A mistake is named only if the two agree along several random directions: numbers of five digits or more do not agree
four times by accident.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, permutations, product
from math import prod
from typing import Any

import numpy as np

from ..autograd import Op, Tensor, TensorTuple, applied, constant
from ..transforms import vjp
from .compare import Mismatch, Probe, Settings, probe_of
from .functions import Arrays, Function, random_like, steps, upcast
from .numeric import slope
from .watch import Afresh, Leak, Read, run_through, watch


@dataclass
class Mistake:
    """In words, and in code."""

    what: str
    wrong: str
    right: str


class Suspect:
    """A wrong derivative along a few random directions."""

    def __init__(self, mismatch: Mismatch, settings: Settings):
        self.probe, self.mode = probe_of(mismatch, settings), mismatch.mode
        self.function, self.i, self.x = mismatch.function, mismatch.i, self.probe.x
        self.directions = [self.probe.random_direction() for _ in range(4)]
        self.analytic = np.array([self.probe.analytic(d) for d in self.directions])
        self.numeric = np.array([self.probe.difference(d) for d in self.directions])
        self.close = {8: 1e-5, 4: 1e-2, 2: 5e-2}[self.function.bytes]

    def is_given_by(self, predict: Callable[[Any], float]) -> bool:
        """Whether the wrong derivative is this function of the direction."""
        return self.is_analytic(np.array([predict(d) for d in self.directions]))

    def is_analytic(self, values: Any) -> bool:
        return self._agree(values, self.analytic)

    def is_numeric(self, values: Any) -> bool:
        return self._agree(values, self.numeric)

    def _agree(self, a: Any, b: Any) -> bool:
        """To their digits, and so well that it explains what is wrong."""
        size = np.max(np.abs(self.numeric)) + np.max(np.abs(b))
        wrong = np.max(np.abs(self.analytic - self.numeric))
        return bool(np.max(np.abs(a - b)) <= min(self.close * size, 0.03 * wrong))

    def slope(self, outputs: Callable[[float], Arrays]) -> float:
        """The slope of the weighted outputs."""
        return float(slope(self.probe.path(outputs), self.probe.rounding, self.probe.settings.step).value[0])

    def paired(self, adjoint: Any) -> Any:
        """An adjoint along the directions."""
        return np.array([np.sum(upcast(adjoint) * d).real for d in self.directions])


# ----------------------------------------------------------------------------------------- factors, signs, conjugates


def simple(suspect: Suspect) -> Iterator[Mistake]:
    """The mistakes for which only the numbers count."""
    a, n = suspect.analytic, suspect.numeric
    factor = float(a @ n) / (float(n @ n) or np.inf)
    if not np.any(n) or not suspect.is_analytic(factor * n):
        if suspect.x.dtype.kind == "c" and suspect.is_given_by(lambda d: suspect.probe.difference(d.conj())):
            yield Mistake(
                "the conjugate is wrong: analytic is the complex conjugate of numeric everywhere.",
                "return out_grad * derivative.conj()",
                "return out_grad * derivative    # rules use the plain transpose; backward() conjugates once",
            )
    elif abs(factor) < suspect.close:
        yield Mistake(
            "the gradient is zero: no path leads to this input, or its adjoint is zero.",
            "return ZERO",
            "return out_grad * derivative",
        )
    elif abs(factor + 1) < suspect.close:
        yield Mistake(
            "the sign is wrong: analytic is -1.000 x numeric everywhere.",
            "return out_grad * derivative",
            "return -out_grad * derivative    # or the other way round; cos' is -sin, and a - b has -1 for b",
        )
    else:
        yield _factor(factor, suspect)


def _commented(wrong: str, why: str, right: str, why_not: str) -> tuple[str, str]:
    """Two lines of code with comments one above the other."""
    width = max(len(wrong), len(right))
    return f"{wrong:{width}}    # {why}", f"{right:{width}}    # {why_not}"


def _factor(factor: float, suspect: Suspect) -> Mistake:
    what = f"a constant factor: analytic is {factor:.4g} x numeric everywhere"
    if 1e-2 <= abs(factor) < 1e4:
        what = f"a constant factor: analytic is {factor:.3f} x numeric everywhere"
    lengths = {n: f"the length of the input's axis {axis}" for axis, n in enumerate(suspect.x.shape)}
    for n, name in {**lengths, suspect.x.size: "the number of the input's elements"}.items():
        if n > 1 and abs(factor * n - 1) < suspect.close:
            return Mistake(
                f"{what} (1/{n}, and {n} is {name}).",
                *_commented(f"return out_grad / {n}", "the adjoint of a mean", "return out_grad", "of a sum"),
            )
        if n > 1 and abs(factor / n - 1) < suspect.close:
            return Mistake(
                f"{what} ({n} is {name}).",
                *_commented("return out_grad", "the adjoint of a sum", f"return out_grad / {n}", "of a mean"),
            )
    fraction = Fraction(factor).limit_denominator(32)
    exact = abs(float(fraction) - factor) < suspect.close / 10 * abs(factor)
    note = f" ({fraction})" if exact and fraction.denominator > 1 else ""
    code = str(fraction) if exact else f"{factor:.6g}"
    return Mistake(f"{what}{note}.", f"return {code} * out_grad * derivative", "return out_grad * derivative")


# ------------------------------------------------------------------------------------------------- mistakes of a rule


class Rule:
    """The rule of one op for one of its inputs, applied by hand, and what may be wrong with it."""

    def __init__(self, op: Op, base: Function, whole: Arrays, positions: list[int], suspect: Suspect):
        self.op, self.base, self.positions, self.suspect = op, base, positions, suspect
        self.i = positions[suspect.i]
        self.arrays = list(whole)
        for p, a in zip(positions, base.wide, strict=True):
            self.arrays[p] = a
        self.x, self.out = self.arrays[self.i], base.values[0]
        self.node: Any = op(*[Tensor(a, requires_grad=p in positions) for p, a in enumerate(self.arrays)])
        self.is_tuple = isinstance(self.node, TensorTuple)
        tensors = tuple(constant(w) for w in suspect.probe.weights)
        self.out_grad: Any = tensors if self.is_tuple else tensors[0]
        self.adjoint = self._adjoint_of(self.node)

    def _adjoint_of(self, node: Any) -> Any:
        """What `gradient` returns for the input, in its shape; None if it returns None."""
        adjoint = self.op.gradient_as_tuple(self.out_grad, node)[self.i]
        return None if adjoint is None else adjoint.numpy()

    def _is_right_with(self, arrays: Sequence[Any], output: Any) -> bool:
        """Whether the rule is right if it reads these as its inputs and its output."""
        adjoint = self._adjoint_of(applied(self.op, tuple(map(constant, arrays)), constant(output)))
        return adjoint is not None and self.suspect.is_numeric(self.suspect.paired(adjoint))

    def compute(self, a: Any) -> Arrays:
        """The outputs with this in the place of the input."""
        out = self.op.compute(*self.arrays[: self.i], a, *self.arrays[self.i + 1 :])
        return list(out) if isinstance(out, (tuple, list)) else [np.asarray(out)]

    def mistake(self) -> Mistake | None:
        """The first that gives what the rule gave."""
        hypotheses = [self.none]
        if np.any(self.suspect.analytic):  # many a hypothesis gives zeros
            hypotheses += [self.swapped, self.not_summed, self.output_for_input, self.transposed, self.forgotten]
        for hypothesis in hypotheses:
            try:
                found = hypothesis()
            except Exception:  # it does not fit this op
                continue
            if found is not None:
                return found
        return None

    def none(self) -> Mistake | None:
        if self.adjoint is not None:
            return None
        count = len(self.arrays)
        return Mistake(
            f"the rule returns None for input {self.i}, which says that the output does not depend on it.",
            f"return {', '.join('None' if p == self.i else '...' for p in range(count))}",
            f"return {', '.join('out_grad * derivative' if p == self.i else '...' for p in range(count))}",
        )

    def swapped(self) -> Mistake | None:
        for k, x in enumerate(self.base.wide):
            if k == self.suspect.i or x.shape != self.x.shape:
                continue
            other = Probe(Mismatch(self.base, "reverse", k), self.suspect.probe.weights, self.suspect.probe.settings)
            if not self.suspect.is_given_by(other.difference):
                continue
            of_other = self.suspect.paired(
                self.op.gradient_as_tuple(self.out_grad, self.node)[self.positions[k]].numpy()
            )
            if np.allclose(of_other, self.suspect.analytic):
                what = f"one adjoint is given twice: input {self.i} got that of input {self.positions[k]}, too."
                return Mistake(what, "return adjoint, adjoint", "return adjoint_of_input_0, adjoint_of_input_1")
            a, b = sorted((self.i, self.positions[k]))
            return Mistake(
                f"the adjoints are in the wrong order: input {self.i} got that of input {self.positions[k]}.",
                f"return adjoint_of_input_{b}, adjoint_of_input_{a}",
                f"return adjoint_of_input_{a}, adjoint_of_input_{b}    # in the order of node.inputs",
            )
        return None

    def output_for_input(self) -> Mistake | None:
        if self.suspect.is_analytic(-self.suspect.numeric):
            return None  # a wrong sign says as much, and is simpler
        like_a_ufunc = len(self.base.wide) == len(self.base.values) == 1 and self.x.shape == self.out.shape
        if like_a_ufunc and self.suspect.is_given_by(self._at_the_output):
            return _output_for_input(self.i)
        if self.is_tuple:
            return None
        for k, a in enumerate(self.arrays):
            if a.shape != self.out.shape:
                continue
            if self._is_right_with(self.arrays, a):
                return _output_for_input(k)
            if self._is_right_with([self.out if p == k else b for p, b in enumerate(self.arrays)], self.out):
                return Mistake(
                    f"the rule reads input {k} where the output is meant.",
                    f"return out_grad * node.inputs[{k}]",
                    "return out_grad * node    # exp'(x) = exp(x), which is the output",
                )
        return None

    def _at_the_output(self, direction: Any) -> float:
        """The derivative at the output instead of the input."""
        return self.suspect.slope(lambda h: self.compute(self.out + h * direction))

    # broadcasting

    def not_summed(self) -> Mistake | None:
        x, out = self.x, self.out
        for shape in (out.shape, (*out.shape[:-2], *x.shape[-2:])):  # element-wise ops, and those on matrices
            if shape == x.shape or _summed_to(np.empty(shape), x.shape) is None:
                continue
            wide = np.broadcast_to(x, shape)
            if not _equal(self.compute(wide)[0], out):
                continue
            added = wide.ndim - x.ndim
            repeated = [k for k, n in enumerate(shape) if n > 1 and (k < added or x.shape[k - added] != n)]
            for count in range(len(repeated), 0, -1):
                for axes in combinations(repeated, count):
                    found = self._not_summed_over(axes, wide)
                    if found is not None:
                        return found
        return None

    def _not_summed_over(self, axes: tuple[int, ...], wide: Any) -> Mistake | None:
        n = prod(wide.shape[k] for k in axes)
        code: Any = axes[0] if len(axes) == 1 else axes
        named = f"axis {code}" if len(axes) == 1 else f"axes {code}"
        start = f"the sum over a broadcast axis is missing: input {self.i} of shape {self.x.shape} is repeated to "
        right = f"return ..., out_grad * derivative    # of the output's shape: Needle sums over {named}"
        if wide.shape != self.out.shape:
            right = f"return ..., (out_grad * derivative).sum({code})"
        if self.suspect.is_analytic(self.suspect.numeric / n):
            return Mistake(
                f"{start}{wide.shape}, and its adjoint is the mean over {named}, not the sum.",
                f"return ..., (out_grad * derivative).mean({code})",
                right,
            )
        for place, index in (("first", 0), ("last", -1)):
            part = tuple(index if k in axes else slice(None) for k in range(wide.ndim))

            def alone(d: Any, part: Any = part) -> float:
                moved = np.zeros_like(wide)
                moved[part] = np.broadcast_to(d, wide.shape)[part]
                return self.suspect.slope(lambda h: self.compute(wide + h * moved))

            if self.suspect.is_given_by(alone):
                parts = ", ".join(str(index) if k in axes else ":" for k in range(max(axes) + 1))
                return Mistake(
                    f"{start}{wide.shape}, and its adjoint is that of the {place} repetition along {named} alone.",
                    f"return ..., (out_grad * derivative)[{parts}]",
                    right,
                )
        return None

    # the order of axes

    def transposed(self) -> Mistake | None:
        return self._transposed_product() or self._transposed_adjoint()

    def _transposed_product(self) -> Mistake | None:
        """Of a matrix product: which product of transposes the adjoint is."""
        if len(self.arrays) != 2 or self.x.ndim < 2 or not _equal(np.matmul(*self.arrays), self.out):
            return None
        name, right = (("b", "out_grad @ b.mT"), ("a", "a.mT @ out_grad"))[self.i]
        of_g = _transposes(self.suspect.probe.weights[0], "out_grad")
        of_other = _transposes(self.arrays[1 - self.i], name)
        for (left, l_name), (other, o_name) in [*product(of_g, of_other), *product(of_other, of_g)]:
            code = f"{l_name} @ {o_name}"
            if left.shape[-1] != other.shape[-2] or code == right:
                continue
            try:
                found = _summed_to(np.matmul(left, other), self.x.shape)
            except ValueError:  # the batches do not broadcast
                continue
            if found is not None and self.suspect.is_analytic(self.suspect.paired(found)):
                all_axes = "np." in code
                what = "all axes are transposed where the last two are meant" if all_axes else "a wrong transpose"
                why = (
                    "reverses all axes" if all_axes else "not the adjoint",
                    "swaps the last two axes, of each matrix",
                )
                return Mistake(
                    f"{what}: the adjoint of {'ab'[self.i]} in a @ b is {code} here.",
                    *_commented(f"return {code}", why[0], f"return {right}", why[1]),
                )
        return None

    def _transposed_adjoint(self) -> Mistake | None:
        """Whether the adjoint has the right numbers with its axes in another order."""
        suspect, ndim = self.suspect, self.x.ndim
        for axes in permutations(range(ndim)) if 2 <= ndim <= 4 else ():
            if axes == tuple(range(ndim)) or tuple(self.x.shape[k] for k in axes) != self.x.shape:
                continue
            back = np.argsort(axes)

            def turned(d: Any, back: Any = back) -> float:
                return suspect.probe.difference(d.transpose(back))

            if not suspect.is_given_by(turned):
                continue
            g = suspect.probe.weights[0].T
            if ndim > 2 and g.shape == self.x.shape and suspect.is_analytic(suspect.paired(g)):
                return Mistake(
                    "all axes are transposed where two are meant: the adjoint is out_grad with all its axes reversed.",
                    *_commented(
                        "return np.transpose(out_grad)", "reverses all axes", "return out_grad.mT", "swaps the last two"
                    ),
                )
            return Mistake(
                f"the axes of the adjoint are in the wrong order: it is the right one, transposed by {axes}.",
                f"return adjoint.transpose{axes}",
                "return adjoint    # its axes in the input's order",
            )
        return None

    # several uses

    def forgotten(self) -> Mistake | None:
        """Whether the adjoint is that of some only of the places where `compute` reads the input."""
        suspect, x = self.suspect, self.x
        spy = Read(x)
        self.compute(spy)

        def by_reader(k: int, d: Any) -> float:
            return suspect.slope(lambda h: self.compute(Read(x, x + h * d, k)))

        parts = np.array([[by_reader(k, d) for d in suspect.directions] for k in range(min(spy.count, 12))])
        parts = parts[np.max(np.abs(parts), axis=1) > 1e-9 * np.max(np.abs(parts))]  # reading a shape is no use
        missing = _missing_uses(suspect, parts)
        if not missing:
            return None
        return Mistake(
            f"a path is forgotten: compute uses input {self.i} {len(parts)} times, and the adjoint is the derivative "
            f"with the {' and '.join(_ordinal(k) for k in missing)} use held constant.",
            "return out_grad * 2 * x               # for x * x + x",
            "return out_grad * 2 * x + out_grad    # every use adds its own adjoint",
        )


def _output_for_input(i: int) -> Mistake:
    return Mistake(
        f"the rule reads the output where input {i} is meant: the derivative is taken at f(x), not at x.",
        "return out_grad * derivative(node)    # node is the output",
        f"return out_grad * derivative(node.inputs[{i}])",
    )


def _missing_uses(suspect: Suspect, parts: Any) -> tuple[int, ...]:
    """Which uses of an input the wrong derivative lacks; () if it is not so. `parts` are the derivatives by each use,
    along the directions."""
    if len(parts) < 2 or not suspect.is_numeric(parts.sum(0)):
        return ()
    all_of_them = range(len(parts))
    one_missing = [(k,) for k in all_of_them]
    one_kept = [tuple(m for m in all_of_them if m != k) for k in all_of_them]
    for missing in [*one_missing, *one_kept]:
        if suspect.is_analytic(parts.sum(0) - parts[list(missing)].sum(0)):
            return missing
    return ()


def _ordinal(k: int) -> str:
    return f"{k + 1}{('st', 'nd', 'rd')[k] if k < 3 else 'th'}"


def _equal(a: Any, b: Any) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-9, equal_nan=True)


def _transposes(a: Any, name: str) -> list[tuple[Any, str]]:
    if a.ndim < 2:
        return []
    found = [(a, name), (a.swapaxes(-1, -2), f"{name}.mT")]
    return [*found, (a.T, f"np.transpose({name})")] if a.ndim > 2 else found


def _summed_to(a: Any, shape: tuple[int, ...]) -> Any:
    """The adjoint of broadcasting to a's shape; None if a value of `shape` does not broadcast to it."""
    added = a.ndim - len(shape)
    if added < 0 or any(s not in (n, 1) for n, s in zip(a.shape[added:], shape, strict=True)):
        return None
    axes = tuple(k for k in range(a.ndim) if k < added or shape[k - added] != a.shape[k])
    return a.sum(axes).reshape(shape)


# ------------------------------------------------------------------------------ values that leave the Tensor operations


def influential_leaks(function: Function, settings: Settings, suspect: Suspect | None = None) -> list[Leak]:
    """The calls that take a value out of the Tensor operations and on whose value the outputs depend.

    With a suspect: only if its wrong derivative is that with all of them held constant.
    """
    rest = function.wide
    run = watch(function.call, rest)[1]
    held = dict(enumerate(run.leaked))
    if not held:
        return []
    if suspect is not None and not suspect.is_given_by(_holding(function, suspect, held)):
        return []
    chosen = range(len(rest)) if suspect is None else [suspect.i]
    there = [
        x + 1e-3 * steps(x) * upcast(random_like(x, settings.rng)) if i in chosen else x for i, x in enumerate(rest)
    ]
    free = watch(function.call, there)[0]
    size = max([float(np.max(np.abs(y), initial=0.0)) for y in free], default=0.0)
    found = []
    for k, leak in enumerate(run.leaks):
        pairs = zip(free, watch(function.call, there, {k: held[k]})[0], strict=True)
        if any(np.any(np.abs(a - b) > 1e-9 * size) for a, b in pairs):
            found.append(leak)
    return found


def _holding(function: Function, suspect: Suspect, held: dict[int, Any]) -> Callable[[Any], float]:
    """The derivative by the suspect's input with these leaks held constant, as a function of the direction."""
    before, x, after = function.wide[: suspect.i], function.wide[suspect.i], function.wide[suspect.i + 1 :]
    return lambda d: suspect.slope(lambda h: watch(function.call, [*before, x + h * d, *after], held)[0])


def detached(mismatch: Mismatch, suspect: Suspect, settings: Settings) -> Mistake | None:
    """Whether the derivative is that with the values held constant that leave the Tensor operations."""
    leaks = influential_leaks(mismatch.function, settings, suspect)
    if not leaks:
        return None
    leak = leaks[0]
    how = "stop_gradient" if "stop_gradient" in leak.line else leak.how
    made = "an input" if leak.maker is None else f"the output of {leak.maker!r}"
    more = f" (and {len(leaks) - 1} more such calls)" if len(leaks) > 1 else ""
    stopped = how in (".detach()", ".data", "stop_gradient", "Tensor(...)")
    return Mistake(
        f"an intermediate is detached: {how} takes {made}, of shape {leak.shape}, out of the graph at "
        f"{leak.where}{more}, so that what is computed from it counts as a constant.",
        leak.line or f"y{how}",
        "y    # the Tensor itself, where its derivative counts"
        if stopped
        else "y = needle.exp(x)    # Tensor operations all the way, not np.exp(x.numpy())",
    )


def kept_in_the_op(mismatch: Mismatch, suspect: Suspect, ops: Sequence[Op]) -> Mistake | None:
    """Whether the derivative is right if every use of an op has one of its own: else they share what it keeps."""
    uses = Counter(ops)
    shared = [op for op in uses if uses[op] > 1 and _kept_arrays(op)]
    if not shared or mismatch.mode != "reverse":
        return None
    function = mismatch.function
    pullback = vjp(lambda *inputs: tuple(run_through(Afresh, function.call, inputs)), *function.wide)[1]
    adjoint = pullback(tuple(suspect.probe.weights))[suspect.i]
    if not suspect.is_numeric(suspect.paired(adjoint)):
        return None
    op, name = shared[0], type(shared[0]).__name__
    return Mistake(
        f"one {name} is used {uses[op]} times, and keeps what compute saw in {', '.join(_kept_arrays(op))}: the "
        "gradient of every use reads what the last one left there.",
        f"op = {name}(); y = op(x) * op(z)",
        f"y = {name}()(x) * {name}()(z)    # or a rule that reads node.inputs and node only",
    )


def of_one_triangle(suspect: Suspect, ops: Sequence[Op]) -> Mistake | None:
    """Whether it is no mistake of a rule: one triangle of a Hermitian matrix was moved, and not the other."""
    op = next((op for op in ops if getattr(op, "hermitian", False)), None)
    if op is None or suspect.x.ndim < 2 or suspect.x.shape[-1] != suspect.x.shape[-2]:
        return None
    if not suspect.is_given_by(lambda d: suspect.probe.difference((d + d.conj().swapaxes(-1, -2)) / 2)):
        return None
    return Mistake(
        f"{op!r} reads one triangle of a matrix that it takes to be Hermitian, and its gradient is that by both, which "
        "change together: it is right, and differences by single elements are not what it is.",
        "check_grads(f, a)",
        "check_grads(lambda a: f((a + a.mT.conj()) / 2), a)",
    )


def _kept_arrays(op: Op) -> list[str]:
    return [f"self.{name}" for name, v in getattr(op, "__dict__", {}).items() if isinstance(v, (np.ndarray, Tensor))]


def written_on_arrays(leaks: list[Leak], first_order: bool) -> Mistake:
    """Of a rule that gives the right numbers, and cannot be differentiated."""
    how = "a part of it does not come by Tensor operations from out_grad, node.inputs and node (kept by compute?)"
    if leaks:
        how = f"{leaks[0].how} at {leaks[0].where} leaves the Tensor operations"
    lost = "forward mode and second derivatives lose" if first_order else "second derivatives lose"
    return Mistake(
        f"the rule gives the right numbers, but it is written on arrays: {how}, and {lost} that path.",
        (leaks[0].line if leaks else "") or "return out_grad * Tensor(self.kept_by_compute)",
        "return out_grad * needle.cos(node.inputs[0])    # Tensor operations on out_grad, node.inputs, node",
    )


def inside_a_transform(leak: Leak) -> Mistake:
    return Mistake(
        f"{leak.how} at {leak.where} is asked of a tensor inside of a transform (the derivative of the gradient), "
        "which may stand for more than one array.",
        leak.line or "x = node.inputs[0].cached_data",
        "x = node.inputs[0].numpy()    # if its derivative is 0, as that of a mask; else Tensor operations",
    )
