"""Writes the four files beside it from scikit-learn's copy of the UCI optical digits; the same bytes every time.

    PYTHONPATH=python python data/digits/make.py

The 1,797 images are shuffled with a fixed seed before they are split, because neighbours are often by the same writer.
"""

from pathlib import Path

import numpy as np
from needle.data.datasets.idx import write_idx
from sklearn.datasets import load_digits

TRAIN = 1437

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
images, labels = digits.images[order].astype(np.uint8), digits.target[order].astype(np.uint8)
here = Path(__file__).parent
for name, part in (("train", slice(None, TRAIN)), ("t10k", slice(TRAIN, None))):
    write_idx(here / f"{name}-images-idx3-ubyte.gz", images[part])
    write_idx(here / f"{name}-labels-idx1-ubyte.gz", labels[part])
