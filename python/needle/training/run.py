"""A training run: batches for the user's own loop, with progress, history, checkpoints, and exact resume."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..aside import written_aside
from ..autograd import Tensor
from ..backend import is_finite
from ..files import load, save
from ..files.saving import GlobalRandom, fill
from ..files.structure import has_state
from .curves import draw_curves
from .interrupts import noted
from .progress import bar, listed

CHECKPOINT = "checkpoint.safetensors"
_OWN = ("run", "rng", "generators")
"""What a checkpoint holds beside the objects of the user."""
_KEPT = ("epoch", "batch", "steps", "seconds", "history", "_sums", "_start")
"""The attributes of a run that a checkpoint holds."""
_DRAW_SECONDS = 30.0
"""Curves are drawn at the end of a run, and before it at most this often: a picture takes as long as many batches."""


class Run:
    """Yields the batches of all epochs to a training loop of your own, and sees to what surrounds it.

    >>> run = needle.Run("runs/digits", model=model, opt=opt, loader=loader, epochs=30)  # doctest: +SKIP
    >>> for X, y in run:  # doctest: +SKIP
    ...     loss = loss_of(model(X), y)
    ...     opt.reset_grad()
    ...     loss.backward()
    ...     opt.step()
    ...     run.log(loss=loss)
    ...     if run.epoch_ends:
    ...         run.log(**evaluate(model, test))

    Stopped by Ctrl-C, a crash or a kill, the same program goes on at its last checkpoint, within an epoch, too, and
    ends with the same numbers bit for bit: the states of model, optimizer, loader and `ema`, of the global random
    numbers and of the model's own generators are saved together. Ctrl-C lets the batch under way come to its end, saves
    and ends the loop; a second one stops at once.

    The folder gets `checkpoint.safetensors` (see `needle.load`), after each epoch and every `save_seconds`;
    `history.json`; and `curves.png`, with matplotlib. `resume=False` starts anew. `loader` is anything with a length
    that can be iterated over again and again. One without `state_dict` is resumed by going through the batches that
    were had. Other objects to save are given by name. Raises ValueError where the checkpoint does not fit the objects;
    FloatingPointError, instead of overwriting it, where a parameter of the model has become NaN.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        model: Any,
        opt: Any = None,
        loader: Any,
        epochs: int = 1,
        ema: Any = None,
        resume: bool = True,
        save_seconds: float = 60.0,
        quiet: bool = False,
        **objects: Any,
    ):
        if isinstance(epochs, bool) or not isinstance(epochs, (int, np.integer)) or epochs < 0:
            raise ValueError(f"Run: epochs must be a whole number, 0 or more, got {epochs!r}")
        if not hasattr(loader, "__len__") or not hasattr(loader, "__iter__") or hasattr(loader, "__next__"):
            raise TypeError(
                f"Run: the loader must have a length, and be there for a second epoch, got a {type(loader).__name__}; "
                "give a needle.data.DataLoader, or a list of batches"
            )
        if taken := [name for name in _OWN if name in objects]:
            raise ValueError(f"Run: the name {taken[0]!r} is taken by the run itself; choose another")
        self.folder = Path(folder)
        self.loader, self.epochs, self.save_seconds, self.quiet = loader, int(epochs), save_seconds, quiet
        self.model, self.opt, self.ema = model, opt, ema
        self.epoch = 0
        """How many epochs are complete."""
        self.batch = 0
        """How many batches of the epoch under way are done."""
        self.steps = 0
        """How many batches are done in all."""
        self.seconds = 0.0
        """The time that the loop took, over all interruptions."""
        self.history: list[dict[str, Any]] = []
        """A row for each complete epoch: {"epoch": 1, "steps": 100, "seconds": 2.5, "values": {"loss": 0.5}}."""
        self.epoch_ends = False
        """Whether this batch is the last of its epoch."""
        self.stopped = False
        """Whether the loop ended before its last epoch, by Ctrl-C or `stop()`."""
        self._sums: dict[str, tuple[float, int]] = {}
        self._not_finite: set[str] = set()
        """The names of values of which it was said that they are not finite."""
        given = {"model": model, "opt": opt, "ema": ema} | objects
        self._objects = {name: value for name, value in given.items() if value is not None}
        for name, value in self._objects.items():
            if not has_state(value) and not isinstance(value, (dict, list, tuple, np.random.Generator)):
                raise TypeError(f"Run: {name} has no state_dict and load_state_dict to save it by, got {value!r:.60}")
        self._batches: Iterator[Any] | None = None
        self._start: Any = None
        """The global random states at the start of the epoch, where the loader has none of its own."""
        self._random: Any = None
        """Those to go on with, until the loop begins."""
        self._wants_stop = self._under_way = False
        self._saved_at = self._drawn_at = self._began = time.monotonic()
        if resume and self.path.is_file():
            self._resume()

    def __repr__(self) -> str:
        return f"Run({os.fspath(self.folder)!r}, epoch {self.epoch} of {self.epochs}, {self.steps:,} batches done)"

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.folder / CHECKPOINT

    @property
    def finished(self) -> bool:
        """Whether all epochs are complete."""
        return self.epoch >= self.epochs

    # The loop ------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        self.stopped = self._wants_stop = False
        if self.finished:
            self._say(f"{self.folder}: all {self.epochs} epochs are complete; give more epochs, or resume=False")
            return
        self._began = time.monotonic() - self.seconds
        self._saved_at = time.monotonic()
        with noted(self.stop):
            while not self.finished:
                yield from self._epoch()
                if self.stopped:
                    self._draw()
                    self._say(
                        f"{self.folder}: stopped in epoch {self.epoch + 1}, batch {self.batch}; run it again to go on"
                    )
                    return
        self._draw()

    def _epoch(self) -> Iterator[Any]:
        """The rest of the epoch under way, until it is complete or stopped."""
        count = len(self.loader)
        if count == 0:
            raise ValueError("Run: the loader has no batches")
        if self._batches is None:
            self._batches = self._begin()
        progress = _Progress(count, f"epoch {self.epoch + 1}/{self.epochs}", self.batch, self.quiet)
        try:
            for batch in self._batches:
                self.epoch_ends = self.batch + 1 == count
                if self.batch == count:
                    raise ValueError(f"Run: the loader has a length of {count}, and gave more batches")
                self._under_way = True
                try:
                    yield batch
                finally:
                    self.batch, self.steps, self._under_way = self.batch + 1, self.steps + 1, False
                progress.advance(self._means)
                if self.epoch_ends:
                    continue  # the loader, too, must come to its end
                if self._wants_stop:
                    self.seconds = time.monotonic() - self._began
                    self.save()
                    self.stopped = True
                    return
                if time.monotonic() - self._saved_at >= self.save_seconds:
                    self.save()
        finally:
            progress.close()
        if self.batch < count:
            raise ValueError(f"Run: the loader has a length of {count}, and gave {self.batch} batches")
        self._end_epoch()

    def _end_epoch(self) -> None:
        self.seconds = time.monotonic() - self._began
        self.epoch, self.batch, self._batches, self._start = self.epoch + 1, 0, None, None
        means, self._sums = self._means(), {}
        self.history.append({"epoch": self.epoch, "steps": self.steps, "seconds": self.seconds, "values": means})
        self.epoch_ends = False
        self.save()
        self._say(f"epoch {self.epoch}/{self.epochs}  {listed(means)}  {self.seconds:.1f} s")
        if time.monotonic() - self._drawn_at > _DRAW_SECONDS and not self.finished:
            self._draw()
        self.stopped = self._wants_stop and not self.finished

    def _begin(self) -> Iterator[Any]:
        """The loader's batches, from where this epoch stands on."""
        now, self._random = self._random, None
        keeps_place, states = has_state(self.loader), GlobalRandom()
        had = 0 if keeps_place else self.batch
        if had or now is not None:
            states.load_state_dict(self._start if had else now)
        if not keeps_place:
            self._start = states.state_dict()
        batches = iter(self.loader)
        for _ in range(had):
            next(batches)
        if had:
            states.load_state_dict(now)
        return batches

    def stop(self) -> None:
        """End the loop after this batch, as Ctrl-C does: saved, to be gone on with."""
        self._wants_stop = True

    # Logging -------------------------------------------------------------------------------------------------

    def log(self, **values: Any) -> None:
        """Note values: of this batch, or of the whole epoch where `run.epoch_ends`.

        An epoch's row has the mean of all that were logged under a name in it. Numbers, and arrays and Tensors of one
        element. TypeError for others. The first that is NaN or infinite, of a name, is warned of.
        """
        numbers = {name: _number(name, value) for name, value in values.items()}
        for name, number in numbers.items():
            if not math.isfinite(number) and name not in self._not_finite:
                self._not_finite.add(name)
                warnings.warn(
                    f"Run.log: {name} is {number} in epoch {self.epoch + 1}, batch {self.batch + 1}; "
                    "`with needle.detect_anomaly():` around the step finds the operation",
                    RuntimeWarning,
                    stacklevel=2,
                )
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + number, count + 1

    def _means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self._sums.items()}

    def _say(self, text: str) -> None:
        if not self.quiet:
            print(text, flush=True)

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        draw_curves(self.folder / "curves.png", self.history, self.folder.name)

    # Checkpoints ---------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint and history.json, each whole or not at all. Within the loop, call it after the step:
        the batch under way counts as done when it is resumed.

        FloatingPointError, which leaves the files as they are, if a parameter of the model has a NaN.
        """
        self._refuse_nan()
        own = {name: getattr(self, name) for name in _KEPT}
        own |= {"batch": self.batch + self._under_way, "steps": self.steps + self._under_way}
        own |= {"seconds": time.monotonic() - self._began}
        save(self.path, run=own, rng=True, generators=self._generators(), **self._saved())
        with written_aside(self.folder / "history.json") as file:
            file.write(json.dumps([_finite(row) for row in self.history], indent=1, allow_nan=False).encode() + b"\n")
        self._saved_at = time.monotonic()

    def _refuse_nan(self) -> None:
        for name, p in self.model.named_parameters() if hasattr(self.model, "named_parameters") else ():
            array = p.numpy()
            if not is_finite(array) and np.isnan(array).any():
                kept = f", and {self.path} is left as it was" if self.path.is_file() else ""
                raise FloatingPointError(
                    f"Run.save: the model's {name!r} has NaN after {self.steps + self._under_way} batches{kept}. Give "
                    "a lower rate, or call opt.clip_grad_norm before the step, which refuses such a gradient; `with "
                    "needle.detect_anomaly():` around the step finds the operation that made the first one"
                )

    def _saved(self) -> dict[str, Any]:
        return self._objects | ({"loader": self.loader} if has_state(self.loader) else {})

    def _generators(self) -> dict[str, Any]:
        """The generators that the model's modules draw from, like that of Dropout(rng=...), by name."""
        found: dict[str, Any] = {}
        for name, module in self.model.named_modules() if hasattr(self.model, "named_modules") else ():
            for attribute, value in vars(module).items():
                is_new = all(value is not other for other in found.values())
                if isinstance(value, (np.random.Generator, np.random.RandomState)) and is_new:
                    found[f"{name}.{attribute}"] = value
        return found

    def _resume(self) -> None:
        objects = self._saved()
        saved = load(self.path)
        if not isinstance(saved.get("run"), dict):
            raise ValueError(f"Run: {self.path} is no checkpoint of a run; name another folder, or give resume=False")
        more, fewer = ([n for n in a if n not in b and n not in _OWN] for a, b in ((objects, saved), (saved, objects)))
        if more or fewer:
            what = f"no {', '.join(more)}" if more else f"also {', '.join(fewer)}"
            raise ValueError(
                f"Run: {self.path} has {what}; give the same objects as then, or resume=False to start anew"
            )
        own = saved["run"]
        if own["batch"] > len(self.loader):
            raise ValueError(
                f"Run: {self.path} stands at batch {own['batch']}, and the loader has only {len(self.loader)}; "
                "give the same loader as then, or resume=False to start anew"
            )
        fill(saved, {**objects, "generators": self._generators()})
        for name in _KEPT:
            setattr(self, name, own[name])
        self._random = saved["rng"]
        self._began = time.monotonic() - self.seconds
        if not self.finished:
            self._say(f"{self.folder}: goes on in epoch {self.epoch + 1}, after batch {self.batch}")


class _Progress:
    """The bar of an epoch, which costs a batch nothing but the look at a clock."""

    def __init__(self, total: int, title: str, done: int, quiet: bool):
        self._bar = None if quiet else bar(total, title, done)
        self._behind, self._shown = 0, time.monotonic()

    def advance(self, means: Any) -> None:
        self._behind += 1
        now = time.monotonic()
        if self._bar is not None and now - self._shown >= 0.1:
            self._bar.set_postfix_str(listed(means()), refresh=False)
            self._bar.update(self._behind)
            self._behind, self._shown = 0, now

    def close(self) -> None:
        if self._bar is not None:
            self._bar.update(self._behind)
            self._bar.close()


def _number(name: str, value: Any) -> float:
    if isinstance(value, Tensor):
        value = value.numpy()
    if np.ndim(value) and np.size(value) != 1:
        raise TypeError(f"Run.log: {name} must be one number, got shape {np.shape(value)}; log {name}.mean(), say")
    try:
        return float(value.item() if isinstance(value, np.ndarray) else value)
    except (TypeError, ValueError):
        raise TypeError(f"Run.log: {name} must be a number, got {value!r:.60}") from None


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """A row for JSON, which has neither NaN nor infinities: null stands for them."""
    return row | {"values": {name: value if math.isfinite(value) else None for name, value in row["values"].items()}}
