"""Files from the net: from the first address that delivers one whole, and in its place only then."""

from __future__ import annotations

import hashlib
import http.client
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ...aside import written_aside

CONNECT_SECONDS = 5.0
"""How long a server may take to answer at all."""
STALL_SECONDS = 20.0
"""How long a server that has answered may pause."""
_CHUNK = 1 << 16


class Silent:
    """A progress bar that shows nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def update(self, n: int) -> None:
        pass


def download(
    urls: Sequence[str],
    path: str | Path,
    sha256: str,
    *,
    connect_seconds: float = CONNECT_SECONDS,
    bar: Callable[[int | None, str], Any] = lambda total, name: Silent(),
    say: Callable[[str], object] = lambda line: None,
) -> Path:
    """Have this file in its place, unless it is there, from the first of the addresses that delivers it undamaged.

    Nothing is left at `path` unless it is complete and has the checksum. `bar(total, name)` makes a progress bar, and
    `say` hears of every address that failed. Raises OSError, with all of these, where none delivers.
    """
    path, failures = Path(path), []
    if path.is_file():
        return path
    for url in urls:
        try:
            _fetch(url, path, sha256, connect_seconds, bar)
            return path
        except (OSError, http.client.HTTPException, ValueError) as error:
            failures.append(f"{url}: {error}")
            say(failures[-1])
            if isinstance(error, urllib.error.HTTPError):  # which is a response as well, still open
                error.close()
    raise OSError("\n".join([f"{path.name} could not be downloaded; put it into {path.parent} by hand", *failures]))


def _fetch(url: str, path: Path, sha256: str, connect_seconds: float, bar: Callable[[int | None, str], Any]) -> None:
    digest = hashlib.sha256()
    with _open(url, connect_seconds) as response, written_aside(path) as file:
        length = int(response.headers.get("Content-Length") or 0) or None
        with bar(length, path.name) as progress:
            while chunk := response.read1(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                progress.update(len(chunk))
        if digest.hexdigest() != sha256:
            raise ValueError(
                f"the download is corrupt and was thrown away: expected SHA-256 {sha256}, got {digest.hexdigest()} "
                f"of {file.tell():,} bytes; get it from another mirror"
            )


def _open(url: str, connect_seconds: float) -> Any:
    """An answer to a request for this URL; TimeoutError if none has come in `connect_seconds`.

    On a thread of its own, because looking up a host's name, on a machine that is cut off, has no time-out.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except Exception as error:  # handed to the thread that waits
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=connect_seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {connect_seconds:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
