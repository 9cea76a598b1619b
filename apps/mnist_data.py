"""Handwritten digits to train on: MNIST, from a folder or from the net, or else the small digits carried along."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from needle.data.datasets.download import CONNECT_SECONDS
from needle.data.datasets.idx import read_images_and_labels
from needle.data.datasets.mnist import CHECKSUMS, MIRRORS, NAMES, download_mnist, find
from progress_bar import progress_bar
from simple_ml import check_labels

Array = np.ndarray[Any, Any]

HOME = Path(__file__).resolve().parent.parent / "data"
CLASSES = 10


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
        files = [find(place, name) for name in NAMES]
        missing = [name for name, file in zip(NAMES, files, strict=True) if file is None]
        if missing:
            raise ValueError(
                f"{place}: expected MNIST's four files, plain or .gz, but {', '.join(missing)} not found; name the "
                "folder that holds mnist/ with --data or NEEDLE_DATA, or name none to have the data downloaded"
            )
        return _read(place, f"MNIST files from {place}")
    place = home / "mnist"
    if all(find(place, name) for name in NAMES):
        return _read(place, f"MNIST files from {place}")
    mirrors = mirrors or os.environ.get("NEEDLE_MIRROR", "").split() or MIRRORS
    try:
        download_mnist(
            place,
            mirrors=mirrors,
            checksums=checksums,
            connect_seconds=connect_seconds,
            bar=lambda total, name: progress_bar(total, name, "B", scale=True),
            say=lambda line: print(line, file=sys.stderr),
        )
    except OSError:
        print(f"MNIST could not be downloaded; put its four files into {place} to train on them", file=sys.stderr)
        return load_digits(home)
    return _read(place, f"MNIST, downloaded into {place}")


def load_digits(home: Path = HOME) -> Dataset:
    """The UCI optical digits that the project carries."""
    return _read(home / "digits", "not MNIST, but the UCI optical digits that the project carries")


def _read(place: Path, what: str) -> Dataset:
    """The data set of the four files in a folder."""
    train_images, train_labels, test_images, test_labels = [find(place, n) or place / f"{n}.gz" for n in NAMES]
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
