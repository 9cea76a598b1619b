"""Random numbers for an item of a dataset, which depend on the seed, the epoch and the item's index alone.

Neither the number of workers nor a resume changes them. The loader says which item is being fetched; whoever needs
random numbers for it asks `item_rng`, and a transform that has a parameter `rng` is handed them.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from functools import lru_cache, partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np


class _Here(threading.local):
    """What this thread fetches: (seed, epoch, index), None without a seed; and its Generator, once asked for."""

    item: tuple[int, int, int] | None = None
    generator: np.random.Generator | None = None


here = _Here()


def item_rng() -> np.random.Generator:
    """The Generator of the item that a DataLoader with a seed fetches in this thread: for a dataset's `__getitem__`.

    It goes on where it was through the whole item, so that two views of one image differ. Anywhere else, a new
    Generator, seeded from NumPy's global state.
    """
    if here.item is None:
        return np.random.default_rng(np.random.randint(2**32, size=4, dtype=np.uint32))
    if here.generator is None:
        here.generator = stream(*here.item)
    return here.generator


def stream(seed: int, *key: int) -> np.random.Generator:
    """A Generator for this key: (epoch,) for the order of an epoch, (epoch, index) for an item in it."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def transformed(transform: Callable[..., Any], x: Any) -> Any:
    """transform(x), or transform(x, rng=...) if it has such a parameter.

    Where the loader has no seed, a parameter with a default is left to it: the transforms here then draw from NumPy's
    global state, as the course's do.
    """
    written = isinstance(transform, (FunctionType, MethodType, partial))
    parameter = _rng_parameter(transform if written else type(transform).__call__)
    if parameter is None or (here.item is None and parameter.default is not inspect.Parameter.empty):
        return transform(x)
    return transform(x, rng=item_rng())


@lru_cache(maxsize=256)
def _rng_parameter(function: Callable[..., Any]) -> inspect.Parameter | None:
    try:
        return inspect.signature(function).parameters.get("rng")
    except (TypeError, ValueError):  # some functions written in C do not say
        return None
