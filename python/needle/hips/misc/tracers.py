"""Functions whose graph is the same in each call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def const_graph(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """f with these first arguments. Its graph may be kept by those who capture it: see `needle.compile`."""
    return partial(f, *args, **kwargs)
