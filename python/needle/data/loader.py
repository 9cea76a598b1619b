"""The loader: batches of a dataset as Tensors, in order or shuffled, fetched ahead or not, resumed where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import Device, default_device
from .collate import as_tensors
from .fetching import Fetcher
from .sampling import BatchSampler, RandomSampler, SequentialSampler, check_batch_size, in_batches
from .streams import stream
from .workers import fetched_ahead


class DataLoader:
    """Iterates over a dataset in batches of constant Tensors; each `for` loop over it is an epoch.

    dataset: anything with `len` and `[]`, or, unshuffled, anything that can be iterated over. If it indexes by arrays
        (NumPy arrays and the datasets here do), a batch is one indexing.
    sampler, batch_sampler: which items come, in which order, or in which batches; see sampling.py.
    collate: list of items -> batch, instead of `needle.data.collate`. Arrays in the batch become Tensors.
    workers, processes, prefetch: so many threads (or processes, spawned anew for each epoch: a script needs its
        `if __name__ == "__main__":`) fetch so many batches each ahead.
    rng: a seed or a Generator, from which a seed is drawn at once. The order of an epoch and the random numbers of an
        item then depend on (seed, epoch) and (seed, epoch, index) only. Without one they come from NumPy's global
        state: one permutation an epoch, then what the transforms draw. With workers, an epoch then draws a seed for
        its items, too.
    dtype: what floats are converted to (None: they stay as they are). Integers and booleans stay.

    A batch of tuples is a tuple whose `==` is `object`'s; batches of dicts are dicts. An error in a dataset is raised
    where the batch would have come, with a note that names the item and the dataset's line.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        sampler: Any = None,
        batch_sampler: Any = None,
        drop_last: bool = False,
        collate: Callable[[list[Any]], Any] | None = None,
        workers: int = 0,
        processes: bool = False,
        prefetch: int = 2,
        rng: Any = None,
        device: Device | None = None,
        dtype: Any = "float32",
    ):
        if isinstance(dataset, Tensor):
            dataset = dataset.numpy()
        self.dataset, self.batch_size = dataset, check_batch_size("DataLoader", batch_size)
        self.shuffle, self.sampler, self.batch_sampler, self.drop_last = shuffle, sampler, batch_sampler, drop_last
        self.collate, self.workers, self.processes, self.prefetch = collate, workers, processes, prefetch
        self.dtype = None if dtype is None else np.dtype(dtype)
        self._check(device)
        self._draws = bool(shuffle or workers or sampler is not None or batch_sampler is not None)
        """Whether an epoch may begin by drawing random numbers."""
        if batch_sampler is None and self._is_indexed:
            if sampler is None:
                sampler = (RandomSampler if shuffle else SequentialSampler)(dataset)
            self.batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self._seed = _seed_of(rng)
        self._epoch = self._batches = 0
        self._begun = self._resumes = False
        self._start: Any = None
        """NumPy's global state when the epoch began, where its order comes from that."""
        self._current: object = None
        """Stands for the latest iteration, the one that the state is of."""

    def _check(self, device: Any) -> None:
        if hasattr(self.dataset, "iloc"):
            raise TypeError(
                "DataLoader: a pandas object indexes columns, not rows; write ArrayDataset(df.to_numpy()), or name the "
                "columns: ArrayDataset(x=df['x'].to_numpy(), ...)"
            )
        if isinstance(self.dataset, dict):
            raise TypeError(
                "DataLoader: a dict has keys, not rows; write ArrayDataset(**arrays) for items that are dicts"
            )
        if not self._is_indexed and not hasattr(self.dataset, "__iter__"):
            raise TypeError(
                f"DataLoader: dataset: expected something with len() and [], or something to iterate over, got "
                f"{type(self.dataset).__name__}"
            )
        chosen = self.shuffle or self.sampler is not None or self.batch_sampler is not None
        if not self._is_indexed and (chosen or self.processes):
            raise TypeError(
                f"DataLoader: a {type(self.dataset).__name__} has no len() and []: it can only be read from its start "
                "to its end, without shuffle, sampler, batch_sampler or processes; list(dataset) can be shuffled"
            )
        if self.shuffle and (self.sampler is not None or self.batch_sampler is not None):
            raise ValueError("DataLoader: shuffle and a sampler both set the order; leave one of them out")
        if self.batch_sampler is not None and (self.batch_size != 1 or self.drop_last or self.sampler is not None):
            raise ValueError("DataLoader: batch_sampler makes the batches; leave batch_size, sampler and drop_last out")
        if self.workers < 0 or self.prefetch < 1 or (self.processes and not self.workers):
            raise ValueError(
                f"DataLoader: expected workers of 0 or more (1 or more with processes) and prefetch of 1 or more, got "
                f"workers={self.workers}, processes={self.processes}, prefetch={self.prefetch}"
            )
        if device is not None and device != default_device():
            raise ValueError(f"DataLoader: device {device!r} is not on this machine; needle.all_devices() lists them")

    @property
    def _is_indexed(self) -> bool:
        return hasattr(self.dataset, "__getitem__") and hasattr(self.dataset, "__len__")

    @property
    def epoch(self) -> int:
        """The number of the epoch that is under way, or comes next."""
        return self._epoch

    def __len__(self) -> int:
        if self._is_indexed:
            return len(self.batch_sampler)
        n = len(self.dataset)  # a TypeError that says so, where there is none
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if self._begun and not self._resumes:  # one that was broken off
            self._epoch, self._batches = self._epoch + 1, 0
        tasks, seed = self._begin()
        self._begun, self._resumes = True, False
        self._current = object()
        return self._iterate(islice(tasks, self._batches, None) if self._batches else tasks, seed, self._current)

    def _begin(self) -> tuple[Iterator[Any], int | None]:
        """Draw what an epoch starts with: the batches of its order, and the seed of its items."""
        if self._seed is not None:
            return self._tasks(stream(self._seed, self._epoch)), self._seed
        if not self._draws:
            return self._tasks(None), None
        now = np.random.get_state(legacy=False)
        if self._resumes and self._start is not None:
            np.random.set_state(self._start)
        else:
            self._start = now
        tasks = self._tasks(None)
        seed = int(np.random.randint(2**31)) if self.workers else None
        if self._resumes:  # the epoch drew these before; what was drawn since then is not ours to repeat
            np.random.set_state(now)
        return tasks, seed

    def _tasks(self, rng: Any) -> Iterator[Any]:
        if not self._is_indexed:
            return in_batches(self.dataset, self.batch_size, self.drop_last)
        if hasattr(self.batch_sampler, "batches"):
            return self.batch_sampler.batches(rng)
        return (np.asarray(batch) for batch in self.batch_sampler)

    def _iterate(self, tasks: Iterator[Any], seed: int | None, me: object) -> Iterator[Any]:
        fetch = Fetcher(
            self.dataset,
            is_indexed=self._is_indexed,
            own_collate=self.collate,
            dtype=self.dtype,
            seed=seed,
            epoch=self._epoch,
        )
        if self.workers:
            batches = fetched_ahead(tasks, fetch, self.workers, self.processes, self.workers * self.prefetch)
        else:
            batches = map(fetch.fetched, tasks)
        for batch in batches:
            if self._current is me:
                self._batches += 1
            yield as_tensors(batch, self.dtype)
        if self._current is me:
            self._epoch, self._batches, self._begun, self._start = self._epoch + 1, 0, False, None

    # Resuming ------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: epoch, batches taken in it, and its seed, or else NumPy's global state when the
        epoch began. With the batch size and the number of items, these tell `load_state_dict` how to go on from there.
        """
        state: dict[str, Any] = {"epoch": self._epoch, "batches": self._batches, "batch_size": self.batch_size}
        if hasattr(self.dataset, "__len__"):
            state["items"] = len(self.dataset)
        if self._seed is not None:
            state["seed"] = self._seed
        elif self._start is not None:
            state["numpy"] = self._start
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the loader stood that this state is of: the next `for` loop takes the rest of that epoch.

        Raises ValueError, and changes nothing, for a state in the middle of an epoch of other batches.
        """
        mine = self.state_dict()
        differ = [name for name in ("batch_size", "items") if name in mine and state.get(name) != mine[name]]
        if state["batches"] and differ:
            raise ValueError(
                f"DataLoader.load_state_dict: this state is from the middle of an epoch with {differ[0]}="
                f"{state.get(differ[0])}, but this loader has {mine[differ[0]]}; make the loader as it was then"
            )
        if ("seed" in state) != ("seed" in mine):
            has = "a" if "seed" in state else "no"
            raise ValueError(
                f"DataLoader.load_state_dict: this state is of a loader with {has} seed; make this one with "
                f"rng={state.get('seed')}"
            )
        self._epoch, self._batches = int(state["epoch"]), int(state["batches"])
        self._seed = int(state["seed"]) if "seed" in state else None
        self._start = state.get("numpy")
        self._begun = self._resumes = "numpy" in state or self._batches > 0
        self._current = None


def _seed_of(rng: Any) -> int | None:
    if rng is None:
        return None
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    if isinstance(rng, np.random.RandomState):
        return int(rng.randint(2**31))
    if isinstance(rng, bool) or not isinstance(rng, (int, np.integer)) or rng < 0:
        raise TypeError(f"DataLoader: rng: expected a seed of 0 or more, a Generator or None, got {rng!r}")
    return int(rng)
