"""Files that are there whole or not at all: written under another name beside their place, then renamed into it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_aside(path: str | Path) -> Iterator[BinaryIO]:
    """`with written_aside(path) as file:` an open binary file that becomes `path` when the block ends without an error.

    Whatever stops the block, `path` is as it was before, and nothing is left lying beside it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of this process and thread alone: two that write the same file do not write into each other's.
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
