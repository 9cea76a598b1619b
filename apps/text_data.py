"""Text to train language models on: a given file, the Penn Treebank where it is, or the text that Python carries."""

from __future__ import annotations

import os
import pydoc_data.topics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from needle import data

HOME = Path(__file__).resolve().parent.parent / "data"
TEST_SHARE = 20
"""Of so many characters, the last one is for testing."""


@dataclass(frozen=True)
class Text:
    """Characters as ids, int64; `characters[id]` is the character; `source` says what the text is."""

    train: Any
    test: Any
    characters: str
    source: str

    def encode(self, text: str) -> Any:
        """The ids of a text. Raises ValueError for a character that the model does not know."""
        known = {character: i for i, character in enumerate(self.characters)}
        if unknown := sorted(set(text) - set(known)):
            raise ValueError(f"the text {text[:40]!r} has characters that the model has never seen: {unknown}")
        return np.array([known[character] for character in text], np.int64)

    def decode(self, ids: Any) -> str:
        return "".join(self.characters[i] for i in ids)


def load(file: str | Path | None = None) -> Text:
    """The text to train on: the first there is of

    1. `file`, in UTF-8;
    2. the Penn Treebank's `train.txt` and `test.txt` in `ptb/` under NEEDLE_DATA of the environment, or under the
       project's `data/`;
    3. the documentation of the language that Python carries in `pydoc_data`.

    Raises ValueError for a file of less than 10,000 characters.
    """
    if file is not None:
        return _split(Path(file).read_text(encoding="utf-8"), f"{file}")
    for home in (os.environ.get("NEEDLE_DATA"), HOME):
        folder = Path(home or "") / "ptb"
        names = [folder / "train.txt", folder / "test.txt"]
        if home and all(name.is_file() for name in names):
            train, test = [name.read_text(encoding="utf-8") for name in names]
            return _text(train, test, f"the Penn Treebank in {folder}")
    topics = pydoc_data.topics.topics
    return _split("\n\n".join(topics[name] for name in sorted(topics)), "the language reference that Python carries")


def _split(text: str, source: str) -> Text:
    if len(text) < 10_000:
        raise ValueError(f"{source}: {len(text):,} characters are too few to learn from; give 10,000 or more")
    cut = len(text) - len(text) // TEST_SHARE
    return _text(text[:cut], text[cut:], source)


def _text(train: str, test: str, source: str) -> Text:
    characters = "".join(sorted(set(train) | set(test)))
    known = {ord(character): i for i, character in enumerate(characters)}
    a, b = [np.array([known[ord(character)] for character in part], np.int64) for part in (train, test)]
    what = f"{source}: {len(train):,} characters to train, {len(test):,} to test, {len(characters)} different ones"
    return Text(a, b, characters, what)


class Windows(data.Dataset):
    """All windows of a text: item i is (characters i to i + length, those that follow each of them)."""

    indexes_arrays = True

    def __init__(self, ids: Any, length: int):
        self.ids, self.length = ids, length
        if len(self) < 1:
            raise ValueError(f"the text has {len(ids)} characters, too few for windows of {length}")

    def __len__(self) -> int:
        return len(self.ids) - self.length

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        places = np.asarray(index)[..., None] + np.arange(self.length + 1)
        rows = self.ids[places]
        return rows[..., :-1], rows[..., 1:]
