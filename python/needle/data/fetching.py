"""One batch of a dataset: its items fetched and put together, and what is said when an item cannot be."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .collate import Floats, collate, map_arrays
from .dataset import indexes_arrays
from .streams import here, stream

_PACKAGE = str(Path(__file__).parent)


class Stopped(Exception):  # noqa: N818  (nothing is wrong)
    """Nobody waits for this batch any longer."""


class Fetcher:
    """indices -> a batch of arrays. It is what a worker needs, and can be pickled if the dataset can be.

    Of a dataset without indices it is handed the items.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        is_indexed: bool,
        own_collate: Callable[[list[Any]], Any] | None,
        dtype: Any,
        seed: int | None,
        epoch: int,
    ):
        self.dataset, self.is_indexed, self.own_collate = dataset, is_indexed, own_collate
        self._cast = Floats(dtype)
        self.seed, self.epoch = seed, epoch
        self.at_once = own_collate is None and is_indexed and indexes_arrays(dataset)
        self.in_own_process = False
        self.stopped = False

    def __call__(self, task: Any) -> Any:
        return map_arrays(self._cast, self.fetched(task))

    def fetched(self, task: Any) -> Any:
        """The batch with floats as they are."""
        if self.at_once:
            try:
                return self.dataset[task]
            except Exception as error:
                name_cause(error, self.dataset, task)
                raise
        items = self._items(task) if self.is_indexed else task
        if self.own_collate is None:
            return collate(items)
        return map_arrays(np.array, self.own_collate(items))  # a copy: it may have handed on an item

    def _items(self, indices: Any) -> list[Any]:
        numbers = what = indices.tolist() if isinstance(indices, np.ndarray) else list(indices)
        before = here.item, here.generator
        try:
            if hasattr(self.dataset, "__getitems__"):
                return self.dataset.__getitems__(numbers)
            items = []
            for what in numbers:
                if self.stopped:
                    raise Stopped
                self._announce(what)
                items.append(self.dataset[what])
            return items
        except Stopped:
            raise
        except Exception as error:
            name_cause(error, self.dataset, what)
            raise
        finally:
            here.item, here.generator = before

    def _announce(self, index: int) -> None:
        """Say which item's random numbers are asked for now. A process has global states of its own to seed, too."""
        here.item, here.generator = (None if self.seed is None else (self.seed, self.epoch, index)), None
        if self.in_own_process and self.seed is not None:
            a, b = stream(self.seed, self.epoch, index, 1).integers(2**32, size=2).tolist()
            np.random.seed(a)
            random.seed(b)


def name_cause(error: Exception, dataset: Any, what: Any) -> None:
    """Give the error a note that says what could not be fetched (an index or several), and which line of the dataset
    raised it."""
    which = f"item {what}" if isinstance(what, int) else f"items {_shown(what)}"
    note = f"DataLoader: this was raised for {which} of a {type(dataset).__name__}{_place(error.__traceback__)}"
    if isinstance(error, StopIteration):  # it would end the loop over the batches in silence
        raise RuntimeError(note) from error
    error.add_note(note)


def _place(tb: TracebackType | None) -> str:
    """The first line outside of this package."""
    while tb is not None:
        code = tb.tb_frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            return f", at {code.co_filename}, line {tb.tb_lineno}, in {code.co_name}"
        tb = tb.tb_next
    return ""


def _shown(indices: Any) -> str:
    numbers = [str(int(i)) for i in indices[:20]]
    return f"[{', '.join(numbers)}{', ...' if len(indices) > 20 else ''}]"
