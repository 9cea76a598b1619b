"""One batch of a dataset: its items fetched and put together, and what is said when an item cannot be."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .collate import collate, floats_as, map_arrays
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
        self.dataset, self.is_indexed, self.own_collate, self.dtype = dataset, is_indexed, own_collate, dtype
        self.seed, self.epoch = seed, epoch
        self.at_once = own_collate is None and is_indexed and indexes_arrays(dataset)
        self.in_own_process = False
        self.stopped = False

    def __call__(self, task: Any) -> Any:
        if self.at_once:
            return self._cast(self._batch(task))
        items = self._items(task) if self.is_indexed else task
        if self.own_collate is None:
            return self._cast(collate(items))
        return map_arrays(np.array, self._cast(self.own_collate(items)))  # a copy: it may have handed on an item

    def _cast(self, batch: Any) -> Any:
        if type(batch) is tuple:  # the most frequent, and quickly done
            for member in batch:
                if type(member) is not np.ndarray or (member.dtype.kind == "f" and member.dtype != self.dtype):
                    break
            else:
                return batch
        return map_arrays(floats_as(self.dtype), batch)

    def _batch(self, indices: Any) -> Any:
        with _naming(self.dataset, indices):
            return self.dataset[indices]

    def _items(self, indices: Any) -> list[Any]:
        numbers = indices.tolist() if isinstance(indices, np.ndarray) else list(indices)
        with _naming(self.dataset, numbers) as named:
            if hasattr(self.dataset, "__getitems__"):
                return self.dataset.__getitems__(numbers)
            before = here.item, here.generator
            items = []
            try:
                for i in numbers:
                    if self.stopped:
                        raise Stopped
                    named.what = i
                    self._announce(i)
                    items.append(self.dataset[i])
            finally:
                here.item, here.generator = before
            return items

    def _announce(self, index: int) -> None:
        """Say which item's random numbers are asked for now. A process has global states of its own to seed, too."""
        here.item, here.generator = (None if self.seed is None else (self.seed, self.epoch, index)), None
        if self.in_own_process and self.seed is not None:
            a, b = stream(self.seed, self.epoch, index, 1).integers(2**32, size=2).tolist()
            np.random.seed(a)
            random.seed(b)


class _naming:
    """`with _naming(dataset, index or indices) as named:` an error gets a note that says what could not be fetched, and
    which line of the dataset raised it."""

    def __init__(self, dataset: Any, what: Any):
        self.dataset, self.what = dataset, what

    def __enter__(self) -> _naming:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if not isinstance(error, Exception) or isinstance(error, Stopped):
            return
        which = f"item {self.what}" if isinstance(self.what, int) else f"items {_shown(self.what)}"
        note = f"DataLoader: this was raised for {which} of a {type(self.dataset).__name__}{_place(tb)}"
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
