"""A progress bar on a terminal, silence everywhere else."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from types import TracebackType
from typing import Any


class Silent:
    """Stands in for a bar where tqdm is not installed."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def update(self, n: int = 1) -> None:
        pass

    def set_postfix(self, **values: str) -> None:
        pass


@cache
def _tqdm() -> Any:
    """tqdm's bar, None without it; says once what to install."""
    try:
        return import_module("tqdm").tqdm
    except ImportError:
        print("no progress bar: tqdm is not installed (pip install tqdm)", file=sys.stderr)
        return None


def progress_bar(total: int | None, what: str, unit: str, done: int = 0, scale: bool = False) -> Any:
    """A bar of tqdm's that stands at `done` of `total`; silent where stderr is no terminal, or without tqdm."""
    tqdm = _tqdm()
    if tqdm is None:
        return Silent()
    # disable=None: tqdm shows nothing where stderr is no terminal.
    return tqdm(
        total=total, desc=what, unit=unit, initial=done, unit_scale=scale, leave=False, disable=None, dynamic_ncols=True
    )
