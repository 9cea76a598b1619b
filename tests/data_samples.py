"""Datasets for the tests of loaders: at a module's top level, so that worker processes find them."""

from __future__ import annotations

import os
import time

import numpy as np
from needle.data import Dataset, item_rng


class Items(Dataset):
    """Item i is (a row of three numbers that starts with i, i), one at a time."""

    def __init__(self, n=20):
        super().__init__()
        self.n = n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        return np.array([i, i / 2, -i]), i

    def __len__(self):
        return self.n


class Noisy(Items):
    """The row is random: from the item's own generator, and from the global states."""

    def __getitem__(self, i):
        return np.concatenate([item_rng().random(2), item_rng().random(2)]), i


class GloballyNoisy(Items):
    def __getitem__(self, i):
        return np.random.random(3), i


class Faulty(Items):
    """Item 13 raises."""

    def __init__(self, n=20, error=ZeroDivisionError):
        super().__init__(n)
        self.error = error

    def __getitem__(self, i):
        if i == 13:
            raise self.error("unlucky")  # this line is named
        return super().__getitem__(i)


class UnsendableError(Exception):
    """Cannot be unpickled: its two arguments are not in `args`."""

    def __init__(self, a, b=None):
        super().__init__(f"{a}")
        if b is None:
            self.b = lambda: None


class Slow(Items):
    def __init__(self, n=20, seconds=0.02):
        super().__init__(n)
        self.seconds = seconds

    def __getitem__(self, i):
        time.sleep(self.seconds)
        return super().__getitem__(i)


class Dying(Items):
    """Item 5 kills the process that fetches it."""

    def __getitem__(self, i):
        if i == 5:
            os._exit(7)
        return super().__getitem__(i)


class Pids(Items):
    def __getitem__(self, i):
        return os.getpid()


def as_list(items):
    """A collate of one's own: the items' second parts, and a word."""
    return np.array([y for _, y in items]), "word"


class Mixed(Items):
    """Items of all kinds that travel between processes in different ways."""

    def __getitem__(self, i):
        return {
            "large": np.full((300, 1000), i, np.float32),
            "empty": np.zeros((0, 3)),
            "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)) + i,
            "name": f"item {i}",
            "number": i,
        }
