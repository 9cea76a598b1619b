"""Files that are there whole or not at all: written under another name beside their place, then renamed into it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """`with written_aside(path) as file:` an open binary file that becomes `path` when the block ends without an error.

    Whatever stops the block, a power cut included, `path` is as it was before. An error leaves nothing beside it; a
    process that is killed may leave a file whose name ends in `.part`. A symbolic link stays one.
    """
    place = Path(os.path.realpath(path))
    place.parent.mkdir(parents=True, exist_ok=True)
    # Of this process and thread alone: two that write the same file do not write into each other's.
    part = place.with_name(f"{place.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else the name may be on the disk before the bytes are
        os.replace(part, place)
        _sync_folder(place.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk, where the system can: Windows opens no folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
