"""Samplers: in which order a dataset's items come.

A sampler holds no state. `indices(rng)` is the order of one epoch, drawn from this Generator, or without one from
NumPy's global state; a DataLoader with a seed hands it the Generator of the epoch. Iterating gives `indices()`. Any
other iterable of integers can stand in a sampler's place.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

Rng = np.random.Generator | None


class Sampler:
    """The base of samplers, which define `indices` and `__len__`."""

    def indices(self, rng: Rng = None) -> Any:
        """The indices of one epoch, as an array of integers."""
        raise NotImplementedError(f"{type(self).__name__} must define indices(rng)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__()")

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices().tolist())


class SequentialSampler(Sampler):
    """The items in their order."""

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def indices(self, rng: Rng = None) -> Any:
        return np.arange(len(self.dataset))

    def __len__(self) -> int:
        return len(self.dataset)


class RandomSampler(Sampler):
    """The items in a random order: each once, or `num_samples` of them; with `replacement`, each drawn from all."""

    def __init__(self, dataset: Any, replacement: bool = False, num_samples: int | None = None):
        self.dataset, self.replacement, self.num_samples = dataset, replacement, num_samples
        if num_samples is not None and not 0 <= num_samples <= (num_samples if replacement else len(dataset)):
            raise ValueError(
                f"RandomSampler: num_samples: expected 0..{len(dataset)} without replacement, got {num_samples}; "
                "give replacement=True to draw items several times"
            )

    def indices(self, rng: Rng = None) -> Any:
        n = len(self.dataset)
        if not self.replacement:
            return (np.random if rng is None else rng).permutation(n)[: self.num_samples]
        return (np.random.randint if rng is None else rng.integers)(n, size=len(self))

    def __len__(self) -> int:
        return len(self.dataset) if self.num_samples is None else self.num_samples


class SubsetRandomSampler(Sampler):
    """The items of these indices, each once, in a random order."""

    def __init__(self, indices: Any):
        self.chosen = np.asarray(indices, dtype=None if len(indices) else np.intp)

    def indices(self, rng: Rng = None) -> Any:
        return (np.random if rng is None else rng).permutation(self.chosen)

    def __len__(self) -> int:
        return len(self.chosen)


class WeightedRandomSampler(Sampler):
    """`num_samples` items, each drawn with a probability in proportion to its weight.

    `weights` has one number, 0 or more, for each item; `1 / np.bincount(y)[y]` draws all classes alike.
    """

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True):
        self.weights = np.asarray(weights, np.float64)
        self.num_samples, self.replacement = num_samples, replacement
        if self.weights.ndim != 1 or not (self.weights >= 0).all() or not 0 < self.weights.sum() < np.inf:
            raise ValueError(
                "WeightedRandomSampler: weights: expected a row of finite numbers, 0 or more and not all 0, got "
                f"{weights!r:.80}"
            )
        positive = int(np.count_nonzero(self.weights))
        if not replacement and num_samples > positive:
            raise ValueError(
                f"WeightedRandomSampler: num_samples: expected at most {positive}, the number of weights above 0, "
                f"without replacement, got {num_samples}"
            )

    def indices(self, rng: Rng = None) -> Any:
        choice = np.random.choice if rng is None else rng.choice
        shares = self.weights / self.weights.sum()
        return choice(len(shares), self.num_samples, replace=self.replacement, p=shares)

    def __len__(self) -> int:
        return self.num_samples


class DistributedSampler(Sampler):
    """The share of one of several processes, `rank` of 0..num_replicas-1, in an epoch's order.

    All shares have one length: the order is filled up with its first items, or cut with `drop_last`. All processes must
    draw the same order: give their DataLoaders the same seed as `rng`.
    """

    def __init__(self, dataset: Any, num_replicas: int, rank: int, shuffle: bool = True, drop_last: bool = False):
        if not 0 <= rank < num_replicas:
            raise ValueError(f"DistributedSampler: rank: expected 0..{num_replicas - 1}, got {rank}")
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.drop_last = shuffle, drop_last

    def indices(self, rng: Rng = None) -> Any:
        order = (RandomSampler if self.shuffle else SequentialSampler)(self.dataset).indices(rng)
        return np.resize(order, len(self) * self.num_replicas)[self.rank :: self.num_replicas]

    def __len__(self) -> int:
        n, parts = len(self.dataset), self.num_replicas
        return n // parts if self.drop_last else -(-n // parts)


class BatchSampler:
    """The indices of a sampler in batches of one size, the last one shorter unless it is dropped."""

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool = False):
        self.sampler, self.batch_size, self.drop_last = sampler, check_batch_size("BatchSampler", batch_size), drop_last

    def batches(self, rng: Rng = None) -> Iterator[Any]:
        """The batches of one epoch, each an array of indices; the order is drawn before the first is taken."""
        if hasattr(self.sampler, "indices"):
            return self._cut(self.sampler.indices(rng))
        if hasattr(self.sampler, "__len__"):
            return self._cut(np.array(list(self.sampler), None if len(self.sampler) else np.intp))
        return map(np.asarray, in_batches(self.sampler, self.batch_size, self.drop_last))

    def _cut(self, order: Any) -> Iterator[Any]:
        size = self.batch_size
        end = len(order) - len(order) % size if self.drop_last else len(order)
        return (order[i : i + size] for i in range(0, end, size))

    def __iter__(self) -> Iterator[list[int]]:
        return (list(map(int, batch)) for batch in self.batches())

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def in_batches(values: Any, size: int, drop_last: bool) -> Iterator[list[Any]]:
    """Lists of so many values of an iterable, the last one shorter unless it is dropped."""
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        if len(batch) == size or not drop_last:
            yield batch


def check_batch_size(what: str, size: Any) -> int:
    """A batch has one item or more."""
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
        raise ValueError(f"{what}: batch_size: expected an integer, 1 or more, got {size!r}")
    return int(size)
