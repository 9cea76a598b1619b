"""Handwritten digits to train on: MNIST, from a folder or from the net, or else the small digits carried along."""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from aside import written_aside
from idx import read_images_and_labels
from progress_bar import progress_bar
from simple_ml import check_labels

Array = np.ndarray[Any, Any]

HOME = Path(__file__).resolve().parent.parent / "data"
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CLASSES = 10

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
"""SHA-256 of the published archives."""

CONNECT_SECONDS = 5.0
"""How long a mirror may take to answer at all."""
STALL_SECONDS = 20.0
"""How long a mirror that has answered may pause."""


@dataclass(frozen=True)
class Dataset:
    """Images as float32 (n, height * width) in 0..1, labels as uint8 (n,), and a sentence that says what they are."""

    X_train: Array
    y_train: Array
    X_test: Array
    y_test: Array
    image_shape: tuple[int, int]
    classes: int
    source: str

    @cached_property
    def sha256(self) -> str:
        """Tells whether two runs were given the same data."""
        digest = hashlib.sha256(repr((self.image_shape, self.classes)).encode())
        for array in (self.X_train, self.y_train, self.X_test, self.y_test):
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def load(
    folder: str | Path | None = None,
    *,
    mirrors: Sequence[str] | None = None,
    home: Path = HOME,
    checksums: Mapping[str, str] = CHECKSUMS,
    connect_seconds: float = CONNECT_SECONDS,
) -> Dataset:
    """The data to train on: the first there is of

    1. `mnist/` under `folder`, which is NEEDLE_DATA of the environment unless given; it must be there if it is named;
    2. `mnist/` under `home`, the project's own data folder;
    3. the published archives, downloaded into 2. from the first of `mirrors` that delivers them undamaged
       (NEEDLE_MIRROR names others, separated by spaces);
    4. `digits/` under `home`: the small digits that the project carries.

    Raises ValueError for damaged files, or a named folder without the files.
    """
    folder = folder or os.environ.get("NEEDLE_DATA")
    if folder:
        place = Path(folder) / "mnist"
        files = [_find(place, name) for name in NAMES]
        missing = [name for name, file in zip(NAMES, files, strict=True) if file is None]
        if missing:
            raise ValueError(
                f"{place}: expected MNIST's four files, plain or .gz, but {', '.join(missing)} not found; name the "
                "folder that holds mnist/ with --data or NEEDLE_DATA, or name none to have the data downloaded"
            )
        return _read(place, f"MNIST files from {place}")
    place = home / "mnist"
    if all(_find(place, name) for name in NAMES):
        return _read(place, f"MNIST files from {place}")
    mirrors = mirrors or os.environ.get("NEEDLE_MIRROR", "").split() or MIRRORS
    if all(_download(name + ".gz", place, mirrors, checksums, connect_seconds) for name in NAMES):
        return _read(place, f"MNIST, downloaded into {place}")
    print(f"MNIST could not be downloaded; put its four files into {place} to train on them", file=sys.stderr)
    return load_digits(home)


def load_digits(home: Path = HOME) -> Dataset:
    """The UCI optical digits that the project carries."""
    return _read(home / "digits", "not MNIST, but the UCI optical digits that the project carries")


def _find(place: Path, name: str) -> Path | None:
    """The file of this name, plain or gzipped."""
    return next((file for file in (place / name, place / f"{name}.gz") if file.is_file()), None)


def _read(place: Path, what: str) -> Dataset:
    """The data set of the four files in a folder."""
    train_images, train_labels, test_images, test_labels = [_find(place, n) or place / f"{n}.gz" for n in NAMES]
    X_train, y_train = read_images_and_labels(train_images, train_labels)
    X_test, y_test = read_images_and_labels(test_images, test_labels)
    if not len(X_train) or not len(X_test):
        raise ValueError(f"{place}: expected images to train and to test, got {len(X_train)} and {len(X_test)}")
    height, width = X_train.shape[1:]
    if X_test.shape[1:] != (height, width):
        raise ValueError(
            f"{place}: expected test images of {height}x{width} pixels like those to train, got "
            f"{X_test.shape[1]}x{X_test.shape[2]}; get all four files from the same source"
        )
    for file, y in ((train_labels, y_train), (test_labels, y_test)):
        try:
            check_labels(y, CLASSES, len(y))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    white = np.float32(max(int(X_train.max(initial=0)), 1))  # 255 in MNIST, 16 in the UCI digits
    return Dataset(
        X_train.reshape(len(X_train), height * width) / white,
        y_train,
        X_test.reshape(len(X_test), height * width) / white,
        y_test,
        (height, width),
        CLASSES,
        f"{what}: {len(X_train):,} images to train, {len(X_test):,} to test, {height}x{width} pixels",
    )


# ------------------------------------------------------------------------------------------------- the published files


def _download(
    name: str, place: Path, mirrors: Sequence[str], checksums: Mapping[str, str], connect_seconds: float
) -> bool:
    """Have this archive in its place, unless it is there: from the first mirror that delivers it whole."""
    if _find(place, name.removesuffix(".gz")):
        return True
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{name}"
        try:
            _fetch(url, place / name, checksums[name], connect_seconds)
            return True
        except (OSError, http.client.HTTPException, ValueError) as error:
            print(f"{url}: {error}", file=sys.stderr)
            if isinstance(error, urllib.error.HTTPError):  # which is a response as well, still open
                error.close()
    return False


def _fetch(url: str, path: Path, sha256: str, connect_seconds: float) -> None:
    """Download a file, with a progress bar. Nothing is left at `path` unless it is complete and has the checksum."""
    digest = hashlib.sha256()
    with _open(url, connect_seconds) as response, written_aside(path) as file:
        length = int(response.headers.get("Content-Length") or 0) or None
        with progress_bar(length, path.name, "B", scale=True) as bar:
            while chunk := response.read1(1 << 16):
                file.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
        if digest.hexdigest() != sha256:
            raise ValueError(
                f"the download is corrupt and was thrown away: expected SHA-256 {sha256}, got {digest.hexdigest()} "
                f"of {file.tell():,} bytes; another mirror is named with --mirror or NEEDLE_MIRROR"
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
