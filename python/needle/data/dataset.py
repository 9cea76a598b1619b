"""Datasets: anything with `len` and `[]`. These here hold arrays, or choose from, join or change other datasets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from math import floor, fsum
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import refuse_more_than_arrays
from ..nested import children_of
from .streams import transformed


class Dataset:
    """The base of datasets, for `isinstance` and the course's habit: `len(dataset)` and `dataset[index]` are all that a
    DataLoader needs, of any class.

    `indexes_arrays` says that `dataset[array of indices]` is a whole new batch: a DataLoader then takes a batch by one
    indexing. Otherwise it asks `__getitems__(list of indices)` for a list of items, if there is such a method, or takes
    one item after the other.
    """

    indexes_arrays: Any = False
    transforms: Any = None

    def __init__(self, transforms: Sequence[Callable[..., Any]] | None = None):
        self.transforms = transforms

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(index)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__()")

    def __add__(self, other: Any) -> ConcatDataset:
        return ConcatDataset([self, other])

    def apply_transforms(self, x: Any) -> Any:
        """x, sent through the transforms one after the other."""
        for transform in self.transforms or ():
            x = transformed(transform, x)
        return x


class ArrayDataset(Dataset):
    """Arrays of one length, side by side: item i is the tuple of their rows i.

    `ArrayDataset(image=X, label=y)` names them, and makes items that are dicts. Lists and Tensors become arrays, arrays
    are not copied, and may be np.memmap. Raises ValueError where the lengths differ.
    """

    indexes_arrays = True

    def __init__(self, *arrays: Any, **named: Any):
        if bool(arrays) == bool(named):
            raise ValueError("ArrayDataset: expected arrays, either all with names or all without, got none or both")
        self.arrays = tuple(map(_as_rows, arrays or named.values()))
        self.names = tuple(named)
        lengths = [len(a) for a in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(f"ArrayDataset: expected arrays of one length, got {lengths}; cut them to the same items")

    def __getitem__(self, index: Any) -> Any:
        if type(index) is np.ndarray and index.dtype.kind in "iu":
            rows = tuple([a.take(index, 0) if a.ndim > 1 else a[index] for a in self.arrays])  # the faster one each
        else:
            rows = tuple([a[index] for a in self.arrays])
        return dict(zip(self.names, rows, strict=True)) if self.names else rows

    def __len__(self) -> int:
        return len(self.arrays[0])


NDArrayDataset = ArrayDataset
"""The course's name."""


def _as_rows(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.numpy()
    refuse_more_than_arrays("ArrayDataset", value)
    array = np.asarray(value)
    if not array.ndim:
        raise ValueError(f"ArrayDataset: expected arrays with a first axis to index, got a 0-d one: {value!r:.40}")
    return array


class ImageDataset(Dataset):
    """Images of integers, kept as they are, and their labels; an item is (image, label), the image as float32 in 0..1.

    Images (n, height, width, channels), or (n, channels, height, width) with `channels_first`; `transforms` see an
    image as (height, width, channels) all the same. `white` is the pixel that becomes 1. A slice or an array of indices
    gives all of these at once.
    """

    def __init__(
        self, pixels: Any, labels: Any, *, white: int = 255, transforms: Any = None, channels_first: bool = False
    ):
        super().__init__(transforms)
        self.pixels, self.labels = pixels, labels
        self.white, self.channels_first = np.float32(white), channels_first

    @property
    def indexes_arrays(self) -> bool:
        """Whether all transforms take a stack of images as they take one: a random one draws for each."""
        return all(getattr(transform, "batched", False) for transform in self.transforms or ())

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        x = np.divide(self.pixels[index], self.white, dtype=np.float32)
        if self.transforms:
            one = x.ndim < self.pixels.ndim
            x = self.apply_transforms(x) if one or self.indexes_arrays else self._one_by_one(x)
        return x, self.labels[index]

    def _one_by_one(self, images: Any) -> Any:
        return np.stack([self.apply_transforms(x) for x in images]) if len(images) else images

    def apply_transforms(self, x: Any) -> Any:
        if not self.channels_first:
            return super().apply_transforms(x)
        return np.moveaxis(super().apply_transforms(np.moveaxis(x, -3, -1)), -1, -3)

    def __len__(self) -> int:
        return len(self.labels)


class Subset(Dataset):
    """Some items of a dataset, by their indices there."""

    def __init__(self, dataset: Any, indices: Any):
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=None if len(indices) else np.intp)
        if self.indices.ndim != 1 or self.indices.dtype.kind not in "iu":
            raise ValueError(
                f"Subset: indices: expected integers, got {self.indices.dtype} of shape {self.indices.shape}; "
                "np.flatnonzero(mask) makes them of a mask"
            )

    @property
    def indexes_arrays(self) -> bool:
        return indexes_arrays(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        chosen = self.indices[index]
        return self.dataset[chosen if isinstance(chosen, np.ndarray) else int(chosen)]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset):
    """The items of several datasets, one dataset after the other. `a + b` of two datasets is one."""

    def __init__(self, datasets: Iterable[Any]):
        self.datasets = list(datasets)
        self.ends = list(accumulate(map(len, self.datasets)))
        if not self.datasets:
            raise ValueError("ConcatDataset: expected one dataset or more, got none")

    @property
    def indexes_arrays(self) -> bool:
        return all(map(indexes_arrays, self.datasets))

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, (int, np.integer)):
            return self._several(np.arange(len(self))[index])
        place = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= place < len(self):
            raise IndexError(f"ConcatDataset: index {index} is out of range for {len(self)} items")
        k = bisect_right(self.ends, place)
        return self.datasets[k][place - self._start(k)]

    def _several(self, indices: Any) -> Any:
        part = np.searchsorted(self.ends, indices, side="right")
        order = np.argsort(part, kind="stable")
        batches = [self.datasets[k][indices[part == k] - self._start(k)] for k in np.unique(part).tolist() or [0]]
        return batches[0] if len(batches) == 1 else _joined(batches, np.argsort(order, kind="stable"))

    def _start(self, k: int) -> int:
        return self.ends[k - 1] if k else 0

    def __len__(self) -> int:
        return self.ends[-1]


def _joined(batches: list[Any], order: Any) -> Any:
    """One batch of several, its rows taken in this order."""
    keys, _, make = children_of(batches[0])
    if make is None:
        return np.concatenate(batches).take(order, 0)
    return make({key: _joined([batch[key] for batch in batches], order) for key in keys})


class MappedDataset(Dataset):
    """function(item) for each item of a dataset, or function(item, rng=...) if it has such a parameter.

    So the training part of a split is augmented, and the other is not:
    `MappedDataset(train, lambda item, rng: (crop(item[0], rng), item[1]))`.
    """

    def __init__(self, dataset: Any, function: Callable[..., Any]):
        self.dataset, self.function = dataset, function

    def __getitem__(self, index: Any) -> Any:
        return transformed(self.function, self.dataset[index])

    def __len__(self) -> int:
        return len(self.dataset)


def random_split(dataset: Any, lengths: Sequence[float], rng: Any = None) -> list[Subset]:
    """Subsets of these lengths with no item in common, chosen at random; `lengths` may be shares that add up to 1.

    Shares are rounded down, and the items left over go one each to the first subsets. `rng` is a Generator or a seed;
    without one, the choice comes from NumPy's global state. Raises ValueError where the lengths are not len(dataset).
    """
    n = len(dataset)
    counts = list(lengths)
    if abs(fsum(counts) - 1) < 1e-9 and not all(isinstance(count, (int, np.integer)) for count in counts):
        counts = [floor(n * share) for share in counts]
        for k in range(int(n - sum(counts))):
            counts[k % len(counts)] += 1
    if sum(counts) != n or min(counts, default=0) < 0:
        raise ValueError(
            f"random_split: lengths: expected numbers that add up to {n}, the length of the dataset, or shares that "
            f"add up to 1, got {list(lengths)}"
        )
    order = np.random.permutation(n) if rng is None else np.random.default_rng(rng).permutation(n)
    ends = [int(end) for end in accumulate(counts)]
    return [Subset(dataset, order[end - int(count) : end]) for end, count in zip(ends, counts, strict=True)]


def indexes_arrays(dataset: Any) -> bool:
    """Whether `dataset[array of indices]` is a whole batch: what a class says of it holds for its own `[]`, not for the
    `[]` of a class derived from it."""
    if isinstance(dataset, np.ndarray) or "indexes_arrays" in getattr(dataset, "__dict__", ()):
        return bool(getattr(dataset, "indexes_arrays", True))
    for cls in type(dataset).__mro__:
        if "indexes_arrays" in vars(cls):
            return bool(dataset.indexes_arrays)
        if "__getitem__" in vars(cls):
            return False
    return False
