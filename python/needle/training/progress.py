"""A progress bar on a terminal with tqdm, silence everywhere else."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any


class _Silent:
    """Stands in for a bar."""

    def update(self, n: int = 1) -> None: ...

    def set_postfix_str(self, text: str, refresh: bool = True) -> None: ...

    def close(self) -> None: ...


def bar(total: int, title: str, done: int) -> Any:
    """A bar of tqdm's that stands at `done` of `total`; silent where stderr is no terminal, or without tqdm."""
    with suppress(ImportError):
        tqdm = import_module("tqdm").tqdm
        # disable=None: tqdm shows nothing where stderr is no terminal.
        return tqdm(total=total, desc=title, initial=done, leave=False, disable=None, dynamic_ncols=True)
    return _Silent()


def listed(values: dict[str, float]) -> str:
    """Values in one line: "loss 0.1234  accuracy 0.9876"."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
