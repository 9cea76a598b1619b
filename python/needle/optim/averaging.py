"""Averages of a model's parameters over the steps, which often predict better than the last ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from .. import watching
from ..autograd import constant, latest, no_grad, set_value
from ..nn.loading import LoadError, LoadReport, array_in
from .groups import first_names, groups_of
from .in_place import Change, passes_of
from .operations import assign, cast


class EMA:
    """An exponential moving average of parameters: `average = decay * average + (1 - decay) * p` at each `update()`,
    which is called after a step. In float32 for float16 parameters.

    `with ema.applied(): ...` the model computes with the averages. Buffers, such as running means, are the model's own;
    those that change there are put back. `warmup=True` starts with smaller decays, (1 + n) / (10 + n) at update n.

    >>> import needle as ndl
    >>> model = ndl.nn.Linear(2, 1)
    >>> ema = ndl.optim.EMA(model, 0.9)
    >>> model.weight.data = model.weight.data + 1
    >>> ema.update()
    >>> with ema.applied():
    ...     y = model(ndl.Tensor([[1.0, 2.0]]))
    """

    def __init__(self, model: Any, decay: float = 0.999, *, warmup: bool = False):
        if not 0 <= decay < 1:
            raise ValueError(f"EMA: decay must be at least 0 and less than 1, got {decay}")
        self.decay, self.warmup = decay, warmup
        self._model = model
        pairs = [pair for members, _ in groups_of(model, "EMA") for pair in members]
        self._named, _ = first_names(pairs)
        self._average = {name: constant(p.numpy().astype(_dtype(p))) for name, p in self._named.items()}
        self._updates = constant(np.zeros(()))
        self._is_applied = False

    def update(self) -> None:
        """Take the parameters as they are now into the averages."""
        if self._is_applied:
            raise RuntimeError("EMA.update: within `with ema.applied():` the parameters are the averages themselves")
        if watching.captures():
            with no_grad():
                weight = self._weight(self._updates)
                for name, p in self._named.items():
                    average = self._average[name]
                    dtype = _dtype(p)
                    values = cast(average.detach(), dtype), cast(p.detach(), dtype)
                    assign(average, *_average(*values, cast(weight, values[0]._array.real.dtype)))
                self._updates.data = self._updates + 1.0
            return
        passes, weight = passes_of(self), self._weight(np.float64(self._updates.item()))
        for name, p in self._named.items():
            if self._average[name].dtype != _dtype(p):  # the model has another dtype now
                set_value(self._average[name], self._average[name].numpy().astype(_dtype(p)))
        passes.begin()
        changes = [Change(self._average[name], latest(p)._array, []) for name, p in self._named.items()]
        passes.add("ema", partial(passes.program, "ema", _average, 0, 1), changes, (weight,))
        passes.run()
        self._updates.data = self._updates + 1.0

    def _weight(self, n: Any) -> Any:
        """The weight of the new values, after n updates."""
        return 1 - (np.minimum(self.decay, (1 + n) / (10 + n)) if self.warmup else self.decay)

    @contextmanager
    def applied(self) -> Iterator[Any]:
        """`with ema.applied() as model:` the parameters have the averages as values; afterwards they, and the buffers,
        have their own back. ValueError if it is applied already."""
        if self._is_applied:
            raise ValueError("EMA.applied: the averages are in the model already")
        buffers = self._model.buffers() if hasattr(self._model, "buffers") else []
        own = [(p, latest(p)._array) for p in self._named.values()]
        own += [(buffer, latest(buffer)._array.copy()) for buffer in buffers]
        self._is_applied = True
        try:
            for name, p in self._named.items():
                set_value(latest(p), self._average[name].numpy().astype(p.dtype))
            yield self._model
        finally:
            for tensor, array in own:
                set_value(latest(tensor), array)
            self._is_applied = False

    def averages(self) -> dict[str, Any]:
        """Copies of the averages, by name."""
        return {name: average.numpy() for name, average in self._average.items()}

    def state_dict(self) -> dict[str, Any]:
        """Copies of the averages ("average/blocks.0.weight"), and the number of updates."""
        found: dict[str, Any] = {f"average/{name}": array for name, array in self.averages().items()}
        return {**found, "step": int(self._updates.item())}

    def load_state_dict(self, state: Mapping[str, Any]) -> LoadReport:
        """Go on from a state. Nothing changes unless all fits: else a LoadError reports everything that does not."""
        report = LoadReport("EMA.load_state_dict")
        if not isinstance(state, Mapping) or "step" not in state:
            raise TypeError(f"{report.title}: needs what EMA.state_dict() returned, with 'step'")
        given = {key: array_in(report.title, key, value) for key, value in state.items() if key != "step"}
        values = []
        for name, average in self._average.items():
            key = f"average/{name}"
            if key not in given:
                report.missing[key] = average.shape
            elif (array := given.pop(key)).shape != average.shape:
                report.wrong_shape[key] = average.shape, array.shape
            elif not np.can_cast(array.dtype, average.dtype, "same_kind"):
                report.refused[key] = f"average {average.dtype}, state {array.dtype}, which it cannot hold"
            else:
                report.loaded.append(key)
                values.append((average, array.astype(average.dtype)))
        report.unexpected = {key: array.shape for key, array in given.items()}
        if not report.complete:
            raise LoadError(report)
        for average, array in values:
            set_value(average, array)
        self._updates.data = np.array(float(state["step"]))
        return report


def _average(average: Any, p: Any, weight: Any) -> tuple[Any]:
    return (average + weight * (p - average),)


def _dtype(p: Any) -> Any:
    """The dtype of an average: that of the parameter, but float32 for float16."""
    return np.dtype(np.float32) if p.dtype.char == "e" else p.dtype
