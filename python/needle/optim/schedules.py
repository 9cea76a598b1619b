"""Schedules: rates as functions of the number of steps taken before, 0 for the first step.

An optimizer takes one as `lr`, and evaluates it itself: there is nothing to call. They are written in NumPy's notation,
so that a captured step computes them, too. Any function of the step is a schedule; in a captured step it is handed a
0-d Tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from ..autograd import Tensor, Value
from ..autograd import constant as constant_tensor


class Schedule:
    """A rate as a function of the step; `schedule(step)` is the rate, `schedule.plot(n)` draws it."""

    def __init__(self, rate: Callable[[Any], Any], text: str):
        self._rate, self._text = rate, text

    def __call__(self, step: Any) -> Any:
        """The rate of the step after so many: a float, or a Tensor for a Tensor."""
        if isinstance(step, Value):
            return self._rate(step)
        return float(self._rate(np.float64(step)))

    def plot(self, n: int, axes: Any = None) -> Any:
        """Draw the rates of the first n steps; returns the axes. Needs matplotlib."""
        try:
            pyplot: Any = import_module("matplotlib.pyplot")
        except ImportError as error:
            raise ImportError("schedule.plot needs matplotlib: pip install matplotlib") from error
        axes = pyplot.subplots()[1] if axes is None else axes
        axes.plot(range(n), [self(step) for step in range(n)])
        axes.set(xlabel="step", ylabel="lr", title=self._text)
        return axes

    def __repr__(self) -> str:
        return self._text


def constant(lr: float) -> Schedule:
    """Always the same rate; for parts of `join`."""
    return Schedule(lambda step: 0 * step + lr, f"constant({lr})")


def linear(lr: float, to: float, steps: int) -> Schedule:
    """From one rate to another in so many steps, and that one from there on.

    >>> linear(0.0, 1.0, 4)(1)
    0.25
    """
    _positive("linear", steps=steps)
    return Schedule(lambda step: lr + (to - lr) * np.minimum(step / steps, 1.0), f"linear({lr}, {to}, {steps})")


def cosine(lr: float, steps: int, warmup: int = 0, to: float = 0.0) -> Schedule:
    """Half a cosine from `lr` down to `to`, at step `steps`, after a linear `warmup` that reaches `lr` with its last
    step (Loshchilov and Hutter, 2017)."""
    _positive("cosine", steps=steps)
    if not 0 <= warmup < steps:
        raise ValueError(f"cosine: warmup must be at least 0 and less than steps={steps}, got {warmup}")

    def rate(step: Any) -> Any:
        part = np.minimum(np.maximum((step - warmup) / (steps - warmup), 0.0), 1.0)
        down = to + (lr - to) * (1 + np.cos(np.pi * part)) / 2
        return np.minimum((step + 1) / warmup, 1.0) * down if warmup else down

    return Schedule(rate, f"cosine({lr}, {steps}, warmup={warmup}, to={to})")


def step(lr: float, every: int, by: float = 0.1) -> Schedule:
    """The rate multiplied by a number after every so many steps."""
    _positive("step", every=every)
    return Schedule(lambda step: lr * np.power(by, np.floor(step / every)), f"step({lr}, {every}, {by})")


def exponential(lr: float, by: float) -> Schedule:
    """The rate multiplied by a number after each step."""
    _positive("exponential", by=by)
    return Schedule(lambda step: lr * np.power(by, step), f"exponential({lr}, {by})")


def one_cycle(
    peak: float, steps: int, warmup: float = 0.3, start: float | None = None, to: float | None = None
) -> Schedule:
    """Up to a peak within a part of the steps, then down, both as half cosines (Smith and Topin, 2018). As in PyTorch,
    it starts from peak / 25 and ends with start / 10,000."""
    _positive("one_cycle", steps=steps, warmup=warmup)
    first = peak / 25 if start is None else start
    last = first / 1e4 if to is None else to
    top, end = warmup * steps - 1, steps - 1

    def between(a: float, b: float, part: Any) -> Any:
        return b + (a - b) * (1 + np.cos(np.pi * np.minimum(np.maximum(part, 0.0), 1.0))) / 2

    def rate(step: Any) -> Any:
        down = between(peak, last, (step - top) / max(end - top, 1))
        return np.where(step <= top, between(first, peak, step / top), down) if top > 0 else down

    return Schedule(rate, f"one_cycle({peak}, {steps})")


def join(*parts: tuple[Callable[[Any], Any], int | None]) -> Schedule:
    """Schedules one after the other: (schedule, steps) pairs, each counting its steps from 0. The last goes on.

    >>> join((linear(0.0, 1.0, 4), 4), (constant(1.0), None))(9)
    1.0
    """
    if not parts:
        raise ValueError("join: needs at least one (schedule, steps)")
    for part in parts:
        if not (isinstance(part, tuple) and len(part) == 2 and callable(part[0])):
            raise TypeError(f"join: needs (schedule, steps) pairs, got {part!r:.60}")
    starts = [0]
    for _, length in parts[:-1]:
        if length is None or length < 1:
            raise ValueError(f"join: all but the last need a number of steps > 0, got {length!r}")
        starts.append(starts[-1] + length)

    def rate(step: Any) -> Any:
        found: Any = parts[0][0](step)
        for (schedule, _), start in zip(parts[1:], starts[1:], strict=True):
            found = np.where(step < start, found, schedule(np.maximum(step - start, 0.0)))
        return found

    return Schedule(rate, f"join({', '.join(map(repr, parts))})")


def piecewise(rates: Mapping[int, float]) -> Schedule:
    """Constant rates, each from a step on: {0: 0.1, 30: 0.01}."""
    if not rates or min(rates) != 0:
        raise ValueError(f"piecewise: needs the rate from step 0 on, got rates from {sorted(rates)}")

    def rate(step: Any) -> Any:
        found: Any = rates[0] + 0 * step
        for start in sorted(rates)[1:]:
            found = np.where(step < start, found, rates[start])
        return found

    return Schedule(rate, f"piecewise({dict(rates)})")


class plateau(Schedule):
    """A rate that is multiplied by a number whenever a metric has not become lower for more than `patience` reports.

    `rate = plateau(0.1); opt = SGD(model, lr=rate)`, then `rate.report(loss)` after each epoch. `highest=True` is for
    metrics such as accuracy. What counts as better is at least `threshold` of the best value away from it. After a
    change, `cooldown` reports do not count. Its state is saved with the optimizer's.
    """

    def __init__(
        self,
        lr: float,
        by: float = 0.1,
        patience: int = 10,
        *,
        highest: bool = False,
        threshold: float = 1e-4,
        cooldown: int = 0,
        lowest_rate: float = 0.0,
    ):
        if not 0 < by < 1:
            raise ValueError(f"plateau: by must be between 0 and 1, got {by}")
        self._now = constant_tensor(np.array(lr, np.float64))
        super().__init__(lambda step: self._now, f"plateau({lr}, {by}, {patience})")
        self._by, self._patience, self._highest, self._threshold = by, patience, highest, threshold
        self._cooldown, self._lowest_rate = cooldown, lowest_rate
        self._noted = constant_tensor(np.array([np.nan, 0.0, 0.0]))
        """The best value, and how many reports are worse, or do not count: in a Tensor, for a captured step takes
        Python's numbers for fixed."""

    def __call__(self, step: Any) -> Any:
        """The rate now, whatever the step."""
        return self._now.detach() if isinstance(step, Value) else self._now.item()

    def report(self, metric: Any) -> None:
        """Note a value of the metric, and lower the rate if it is time to."""
        value = metric.item() if isinstance(metric, Tensor) else float(metric)
        best, worse, resting = self._noted.tolist()
        best, worse = (value, 0) if self._is_better(value, best) else (best, worse + 1)
        if resting:
            resting, worse = resting - 1, 0
        if worse > self._patience:
            self._now.data = np.array(max(self._now.item() * self._by, self._lowest_rate))
            resting, worse = self._cooldown, 0
        self._noted.data = np.array([best, worse, resting], np.float64)

    def _is_better(self, value: float, best: float) -> bool:
        margin = self._threshold * abs(best)
        return np.isnan(best) or (value > best + margin if self._highest else value < best - margin)

    def state_dict(self) -> dict[str, Any]:
        """The rate, the best value, and the counts."""
        best, worse, resting = self._noted.tolist()
        best = None if np.isnan(best) else best
        return {"rate": self._now.item(), "best": best, "worse": int(worse), "resting": int(resting)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        self._now.data = np.array(float(state["rate"]))
        best = np.nan if state["best"] is None else state["best"]
        self._noted.data = np.array([best, state["worse"], state["resting"]], np.float64)


def _positive(what: str, **numbers: float) -> None:
    for name, value in numbers.items():
        if not value > 0:
            raise ValueError(f"{what}: {name} must be > 0, got {value}")
