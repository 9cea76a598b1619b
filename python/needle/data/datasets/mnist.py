"""MNIST: 70,000 handwritten digits, or any other images in its files' format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..dataset import ImageDataset
from .download import CONNECT_SECONDS, Silent, download
from .idx import read_images_and_labels

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
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


class MNISTDataset(ImageDataset):
    """Images and labels in two IDX files, plain or gzipped, as MNIST, Fashion-MNIST and EMNIST are published.

    An item is (image, label): the image float32 (height, width, 1) in [0, 1], where 255 becomes 1, the label uint8.
    A slice or an array of indices gives all of them at once: images (n, height, width, 1) and labels (n,). `transforms`
    is a list of functions, which each image goes through in turn. Raises ValueError for damaged files, and for images
    and labels that do not belong together.
    """

    def __init__(self, images: str | Path, labels: str | Path, transforms: Any = None):
        pixels, y = read_images_and_labels(images, labels)
        super().__init__(pixels[..., np.newaxis], y, transforms=transforms)


def download_mnist(
    folder: str | Path,
    *,
    mirrors: Sequence[str] = MIRRORS,
    checksums: Mapping[str, str] = CHECKSUMS,
    connect_seconds: float = CONNECT_SECONDS,
    bar: Callable[[int | None, str], Any] = lambda total, name: Silent(),
    say: Callable[[str], object] = lambda line: None,
) -> Path:
    """Have MNIST's four published files in this folder (11 MB), those that are not there from the first of `mirrors`
    that delivers each undamaged. Returns the folder; raises OSError where none does.
    """
    folder = Path(folder)
    for name in NAMES:
        if find(folder, name) is None:
            urls = [f"{mirror.rstrip('/')}/{name}.gz" for mirror in mirrors]
            path, checksum = folder / f"{name}.gz", checksums[f"{name}.gz"]
            download(urls, path, checksum, connect_seconds=connect_seconds, bar=bar, say=say)
    return folder


def find(folder: Path, name: str) -> Path | None:
    """The file of this name, plain or gzipped."""
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)
