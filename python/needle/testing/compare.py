"""The comparison: what the rules give against differences, first along random directions, then element by element."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..transforms import jvp, vjp
from .functions import (
    Arrays,
    Function,
    as_gradient,
    constant_of,
    own_steps,
    random_like,
    steps,
    upcast,
    with_tuples,
)
from .numeric import Corner, Path, Slope, close_slope, corner, roughness, slope

TOLERANCE = {2: (2e-2, 4e-3), 4: (5e-4, 5e-6), 8: (1e-6, 1e-12)}
"""Bytes of a real number -> the relative error a derivative may have, and the absolute one in units of f's values."""
MANY = 64
"""Elements of an input up to which each of them is looked at."""
ENOUGH = 12
"""Wrong elements after which the others are looked at less closely."""


@dataclass
class Settings:
    """What the caller of check_grads may set."""

    rtol: float | None
    atol: float | None
    step: float
    rng: Any

    def allowed(self, function: Function, largest: Any, magnitude: Any, extent: Any) -> Any:
        """The error that a derivative along a direction may have: `largest` is its size, `magnitude` that of the
        function's values, `extent` the sum of the numbers that its elements are multiplied with."""
        rtol, share = TOLERANCE[function.bytes]
        rtol = rtol if self.rtol is None else self.rtol
        return rtol * largest + (share * magnitude if self.atol is None else self.atol * extent)


def _close(analytic: Any, numeric: Slope, allowed: Any) -> Any:
    return (np.abs(analytic - numeric.value) <= allowed + 8 * numeric.noise) & np.isfinite(analytic)


def _larger(analytic: Any, numeric: Slope) -> Any:
    return np.maximum(np.abs(analytic), np.abs(numeric.value))


# ------------------------------------------------------------------------------------------------ random directions


@dataclass
class Mismatch:
    """A derivative that is not what differences say: by which input, in which mode; or the error that it raised."""

    function: Function
    mode: str
    i: int = 0
    error: Exception | None = None
    note: str = ""


def mismatches(function: Function, modes: Sequence[str], settings: Settings) -> list[Mismatch]:
    """What is wrong in the derivatives of a function, along random directions.

    The slopes of all numbers come from one run of each step. Of many numbers, some seem to converge by accident where
    they do not: so where a derivative differs, the slope of a single weighted sum has the last word.
    """
    found: list[Mismatch] = []
    slopes = [_slopes_along(function, i, settings) for i in range(len(function.given))]
    for mode in modes:
        try:
            found += _reverse(function, slopes, settings) if mode == "reverse" else _forward(function, slopes, settings)
        except Exception as error:  # of whatever kind: a rule is the user's code
            found.append(Mismatch(function, mode, error=error))
    return found


def _slopes_along(function: Function, i: int, settings: Settings) -> tuple[Any, Slope]:
    """A random direction of input i, and the slopes of all numbers of all outputs along it."""
    x = function.wide[i]
    if not x.size:
        return x, Slope(*[np.zeros_like(_flat(function.values))] * 3)
    rounding = _by_number(function, [4 * function.rounding * m for m in function.magnitudes])
    tried = []
    for sizes in (steps, own_steps):
        direction = upcast(as_gradient(sizes(x) * random_like(x, settings.rng), function.given[i]))
        along = slope(_flat_path(function.moved(i, direction)), rounding, settings.step)
        tried.append((direction, along))
        if np.all(along.error <= 1e-6 * np.abs(along.value) + 1e2 * rounding / settings.step):
            break
    return min(tried, key=lambda pair: float(np.max(pair[1].error, initial=0.0)))


def _flat(outputs: Arrays) -> Any:
    return np.concatenate([np.ravel(y) for y in outputs]) if outputs else np.zeros(0)


def _flat_path(outputs: Callable[[float], Arrays]) -> Path:
    return lambda h: _flat(outputs(h))


def _by_number(function: Function, amounts: Sequence[float]) -> Any:
    """What is known of each output, for each of its numbers."""
    return _flat([np.full(y.shape, amount) for y, amount in zip(function.values, amounts, strict=True)])


def _forward(function: Function, slopes: Sequence[tuple[Any, Slope]], settings: Settings) -> Iterator[Mismatch]:
    magnitude = _by_number(function, function.magnitudes)
    for i, (direction, numeric) in enumerate(slopes):
        values, tangents = pushed(function, i, direction)
        wrong = _other_values(function, values, "forward") or _misshapen(
            "tangent of", function.outputs, tangents, values
        )
        found = Mismatch(function, "forward", i, note=wrong)
        if wrong:
            yield found
            continue
        analytic, extent = _flat([upcast(t) for t in tangents]), np.sum(np.abs(direction))
        close = _close(analytic, numeric, settings.allowed(function, _larger(analytic, numeric), magnitude, extent))
        if not np.all(close):
            ends = np.cumsum([y.size for y in function.values])[:-1]
            parts = zip(function.like, np.split(~close, ends), strict=True)
            weights = [random_like(y, settings.rng) * part.reshape(y.shape) for y, part in parts]
            if judge(Probe(found, weights, settings), direction).verdict != "right":
                yield found


def _reverse(function: Function, slopes: Sequence[tuple[Any, Slope]], settings: Settings) -> list[Mismatch]:
    failed: dict[int, Mismatch] = {}
    for _ in range(2):
        weights = [random_like(y, settings.rng) for y in function.like]
        values, adjoints = pulled(function, weights)
        other = _other_values(function, values, "reverse")
        w = _flat([upcast(v) for v in weights])
        magnitude = weighted_magnitude(function, weights)
        for i, (direction, (value, error, noise)) in enumerate(slopes):
            wrong = other or _misshapen("gradient by", function.inputs[i:], [adjoints[i]], [direction])
            found = Mismatch(function, "reverse", i, note=wrong)
            if wrong:
                failed[i] = found
                continue
            products = upcast(adjoints[i]) * direction
            analytic = np.sum(products).real
            numeric = Slope(np.sum(w * value).real, np.sum(np.abs(w) * error), np.linalg.norm(w * noise))
            largest = np.maximum(_larger(analytic, numeric), np.linalg.norm(np.ravel(products)))
            extent = np.sum(np.abs(w)) * np.sum(np.abs(direction))
            close = _close(analytic, numeric, settings.allowed(function, largest, magnitude, extent))
            if not close and judge(Probe(found, weights, settings), direction).verdict != "right":
                failed[i] = found
    return [failed[i] for i in sorted(failed)]


def weighted_magnitude(function: Function, weights: Arrays) -> float:
    """The magnitude of a weighted sum of the outputs."""
    pairs = zip(weights, function.magnitudes, strict=True)
    return sum(float(np.linalg.norm(np.ravel(w))) * m for w, m in pairs)


def _misshapen(what: str, names: Sequence[str], found: Arrays, like: Arrays) -> str:
    for name, a, b in zip(names, found, like, strict=False):
        if np.shape(a) != np.shape(b):
            return f"the {what} {name} has shape {np.shape(a)}, not {np.shape(b)}"
    return ""


def _other_values(function: Function, values: Arrays, mode: str) -> str:
    """What is to be said if a mode computes other outputs than the function gives by itself."""
    rtol = TOLERANCE[function.bytes][0]
    for name, a, b, m in zip(function.outputs, values, function.like, function.magnitudes, strict=True):
        if np.shape(a) != b.shape or not np.allclose(a, b, rtol, rtol * m, equal_nan=True):
            why = "is f random?" if function.parent is None else "does gradient say the same of arrays as of Tensors?"
            return f"{name} has another value in {mode} mode than without it; {why}"
    return ""


def pulled(function: Function, weights: Arrays) -> tuple[Arrays, Arrays]:
    """The outputs, and the adjoint of each input, by reverse mode."""
    out, pullback = vjp(with_tuples(function.call), *function.given)
    return [np.asarray(y) for y in out], [np.asarray(g) for g in pullback(tuple(weights))]


def pushed(function: Function, i: int, direction: Any) -> tuple[Arrays, Arrays]:
    """The outputs, and the tangent of each, by forward mode, where input i alone moves."""
    x, call = function.given[i], function.call

    def f(moving: Any) -> tuple[Any, ...]:
        return tuple(call(*[moving if k == i else constant_of(a) for k, a in enumerate(function.given)]))

    out, tangents = jvp(f, (x,), (as_gradient(direction, x),))
    return [np.asarray(y) for y in out], [np.asarray(t) for t in tangents]


# ------------------------------------------------------------------------------------------------ along one direction


class Probe:
    """The derivative by one input of a weighted sum of the outputs (its real part), along any direction."""

    def __init__(self, mismatch: Mismatch, weights: Arrays, settings: Settings):
        self.function, self.mode, self.i = mismatch.function, mismatch.mode, mismatch.i
        self.weights, self.settings = weights, settings
        self.x = self.function.wide[self.i]
        self.magnitude = weighted_magnitude(self.function, weights)
        self.rounding = 4 * self.function.rounding * self.magnitude
        self.adjoint = upcast(pulled(self.function, weights)[1][self.i]) if self.mode == "reverse" else None

    def analytic(self, direction: Any) -> float:
        """By the rules."""
        if self.adjoint is not None:
            return float(np.sum((self.adjoint * direction)[direction != 0]).real)
        return self.weighted(pushed(self.function, self.i, direction)[1])

    def weighted(self, outputs: Arrays) -> float:
        return float(sum(np.sum(upcast(w) * upcast(y)).real for w, y in zip(self.weights, outputs, strict=True)))

    def path(self, outputs: Callable[[float], Arrays]) -> Path:
        """The weighted sum along a path of outputs."""
        return lambda h: np.array([self.weighted(outputs(h))])

    def numeric(self, direction: Any) -> Slope:
        """By differences."""
        return slope(self.path(self.function.moved(self.i, direction)), self.rounding, self.settings.step)

    def difference(self, direction: Any) -> float:
        return float(self.numeric(direction).value[0])

    def agree(self, direction: Any, analytic: float, numeric: Slope) -> bool:
        extent = sum(np.sum(np.abs(w)) for w in self.weights) * np.sum(np.abs(direction))
        allowed = self.settings.allowed(self.function, _larger(analytic, numeric), self.magnitude, extent)
        return bool(_close(analytic, numeric, allowed)[0])

    def random_direction(self, where: Any = None) -> Any:
        """A random direction, of all elements or of some."""
        d = steps(self.x) * random_like(self.x, self.settings.rng)
        if where is not None:
            d = np.where(np.isin(np.arange(d.size), where).reshape(d.shape), d, 0)
        return upcast(as_gradient(d, self.function.given[self.i]))


def probe_of(mismatch: Mismatch, settings: Settings, output: int | None = None) -> Probe:
    """A probe with random weights for all outputs, or for one."""
    weights = [random_like(y, settings.rng) for y in mismatch.function.like]
    if output is not None:
        weights = [w if o == output else np.zeros_like(w) for o, w in enumerate(weights)]
    return Probe(mismatch, weights, settings)


@dataclass
class Judgement:
    """The two derivatives along a direction, the error that the numeric one may have, and what this says.

    The verdict is right, wrong, corner (there is no derivative), noisy (too few digits), or unclear.
    """

    analytic: float
    numeric: float
    error: float
    verdict: str
    corner: Corner | None = None

    def per(self, scale: float) -> Judgement:
        """The same for a direction that is shorter by this factor."""
        bend = self.corner
        if bend is not None:
            bend = Corner(bend.left / scale, bend.right / scale, bend.jumps, bend.within * scale)
        return Judgement(self.analytic / scale, self.numeric / scale, self.error / scale, self.verdict, bend)


def judge(probe: Probe, direction: Any, quick: bool = False) -> Judgement:
    """What is to be thought of the derivative along a direction. A quick look does not ask why the two differ."""
    path, step = probe.path(probe.function.moved(probe.i, direction)), probe.settings.step
    analytic = probe.analytic(direction)
    for look in (slope, close_slope):
        numeric = look(path, probe.rounding, step)
        right = probe.agree(direction, analytic, numeric)
        if right or quick:
            return Judgement(analytic, numeric.value[0], numeric.error[0], "right" if right else "wrong")
    rough = roughness(path)
    rounding = max(probe.rounding, 4 * rough)
    if rounding > probe.rounding:
        numeric = close_slope(path, rounding, step)
    value, error, bend = numeric.value[0], numeric.error[0], corner(path, rounding)
    if bend is not None:
        verdict = "corner"
    elif not np.isfinite(analytic):
        verdict = "wrong" if error <= max(1e-3 * abs(value), 1e-6 * probe.magnitude) else "unclear"
    elif abs(analytic - value) > 4 * error and not probe.agree(direction, analytic, numeric):
        verdict = "wrong"
    else:
        verdict = "noisy" if rough > 1e3 * probe.rounding else "unclear"
    return Judgement(analytic, value, error, verdict, bend)


# --------------------------------------------------------------------------------------------------- by each element


@dataclass
class Element:
    """The two derivatives by one element of an input."""

    index: tuple[int, ...]
    analytic: Any = 0.0
    numeric: Any = 0.0
    verdict: str = "right"
    corner: Corner | None = None

    @property
    def error(self) -> float:
        """The relative one."""
        error = abs(self.analytic - self.numeric) / max(abs(self.analytic), abs(self.numeric), 1e-300)
        return float(error) if np.isfinite(error) else np.inf


def by_element(probe: Probe) -> list[Element]:
    """The elements of the input (of a large one: those that are found to be wrong, and some others), worst first."""
    x = probe.x
    chosen: Any = range(x.size)
    if x.size > MANY:
        chosen = [*_halved(probe), *probe.settings.rng.choice(x.size, MANY // 2, replace=False)]
        if probe.adjoint is not None:
            chosen += list(np.flatnonzero(~np.isfinite(probe.adjoint))[:8])
    elements: list[Element] = []
    for k in dict.fromkeys(map(int, chosen)):
        quick = sum(e.verdict == "wrong" for e in elements) >= ENOUGH
        elements.append(_element(probe, np.unravel_index(k, x.shape), quick))
    return sorted(elements, key=lambda e: (e.verdict != "wrong", e.verdict == "right", -round(e.error, 6), e.index))


def _halved(probe: Probe) -> list[int]:
    """Some elements by which the derivative is wrong: halves of the input are tried, and halves of the wrong ones."""
    found: list[int] = []
    stack = [np.arange(probe.x.size)]
    for _ in range(200):
        if not stack or len(found) == 8:
            break
        block = stack.pop()
        direction = probe.random_direction(block)
        if probe.agree(direction, probe.analytic(direction), probe.numeric(direction)):
            continue
        if block.size == 1:
            found.append(int(block[0]))
        else:
            stack += np.array_split(block, 2)
    return found


def _element(probe: Probe, index: Any, quick: bool) -> Element:
    """The derivative by one element; of a complex one, df/da - i df/db, from its two directions."""
    element = Element(tuple(map(int, index)))
    for unit in (1.0, 1j) if probe.x.dtype.kind == "c" else (1.0,):
        looks: list[Judgement] = []
        for scale in dict.fromkeys(float(sizes(probe.x)[index]) for sizes in (steps, own_steps)):
            direction = np.zeros_like(probe.x)
            direction[index] = scale * unit
            looks.append(judge(probe, direction, quick).per(scale))
            if looks[-1].verdict == "right":
                break
        found = min(looks, key=lambda look: (look.verdict != "right", look.error))
        element.analytic += found.analytic / unit
        element.numeric += found.numeric / unit
        if found.verdict != "right" and element.verdict != "wrong":
            element.verdict, element.corner = found.verdict, found.corner
    return element
