"""The UCI optical digits: 1,797 real handwritten digits of 8x8 pixels, which need no download."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..dataset import ImageDataset
from .idx import read_images_and_labels
from .mnist import NAMES, find

WHITE = 16
TRAIN = 1437

_CHECKOUT = Path(__file__).resolve().parents[4] / "data" / "digits"


class Digits(ImageDataset):
    """1,437 digits to train on, or 360 to test; an item is (image, label), the image float32 (8, 8, 1) in [0, 1].

    They come from `folder`, which is the project's own `data/digits` unless given, or else from an installed
    scikit-learn, which carries them, too. Raises FileNotFoundError where neither is there. Source: E. Alpaydin,
    C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
    https://doi.org/10.24432/C50P49, CC BY 4.0.
    """

    def __init__(self, train: bool = True, transforms: Any = None, *, folder: str | Path | None = None):
        names = NAMES[:2] if train else NAMES[2:]
        files = [find(Path(folder or _CHECKOUT), name) for name in names]
        if all(files):
            pixels, labels = read_images_and_labels(*files)  # type: ignore[arg-type]
        elif folder:
            raise FileNotFoundError(f"{folder}: expected {names[0]} and {names[1]}, plain or .gz")
        else:
            pixels, labels = (a[:TRAIN] if train else a[TRAIN:] for a in from_sklearn())
        super().__init__(pixels[..., np.newaxis], labels, white=WHITE, transforms=transforms)


def from_sklearn() -> tuple[Any, Any]:
    """Images uint8 (1797, 8, 8) and labels uint8 from scikit-learn's file, which is read without importing it, in the
    order of the files in the project."""
    spec = find_spec("sklearn")
    places = [Path(place) for place in (spec.submodule_search_locations or () if spec else ())]
    file = next((f for place in places if (f := place / "datasets" / "data" / "digits.csv.gz").is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"Digits: neither {_CHECKOUT} nor scikit-learn is there; run pip install scikit-learn, or name the folder "
            "that holds the files"
        )
    with gzip.open(file, "rt") as lines:
        rows = np.loadtxt(lines, np.uint8, delimiter=",")
    order = np.random.default_rng(0).permutation(len(rows))  # neighbouring images are often by the same writer
    return rows[order, :-1].reshape(-1, 8, 8), rows[order, -1]
