"""CIFAR-10: 60,000 colour photographs in 10 classes, in Python's pickle format."""

from __future__ import annotations

import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from ...aside import written_aside
from ..dataset import ImageDataset
from .download import CONNECT_SECONDS, Silent, download

FOLDER = "cifar-10-batches-py"
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = ("test_batch",)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_ROW = 3 * 32 * 32

URLS = ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",)
CHECKSUM = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
"""SHA-256 of the published archive."""


class CIFAR10Dataset(ImageDataset):
    """The published files `data_batch_1` to `_5` (train) or `test_batch`, in this folder or in `cifar-10-batches-py` in
    it.

    An item is (image, label): the image float32 (3, 32, 32) in [0, 1], the label an integer of 0..9. A slice or an
    array of indices gives all of them at once. Transforms see the image as (32, 32, 3). `p` is part of the course's
    signature and changes nothing: `transforms=[RandomFlipHorizontal(p)]` flips. Raises FileNotFoundError for a missing
    file, ValueError for one that holds anything else; no code that a file names is run.
    """

    def __init__(self, base_folder: str | Path, train: bool, p: float = 0.5, transforms: Any = None):
        folder = Path(base_folder)
        folder = folder / FOLDER if (folder / FOLDER).is_dir() else folder
        parts = [read_batch(folder / name) for name in (TRAIN if train else TEST)]
        pixels = np.concatenate([rows for rows, _ in parts]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([labels for _, labels in parts])
        super().__init__(pixels, labels, transforms=transforms, channels_first=True)


def read_batch(path: Path) -> tuple[Any, Any]:
    """Pixels uint8 (n, 3072), all red ones of an image first, and labels int64 (n,), of one file."""
    try:
        with path.open("rb") as file:
            content = _Reader(file, encoding="bytes").load()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} not found; name the folder that holds CIFAR-10's Python version, or have it downloaded with "
            "needle.data.download_cifar10(folder)"
        ) from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        _refuse(path, str(error) or type(error).__name__)
    if not isinstance(content, dict):
        _refuse(path, f"expected a dict, got a {type(content).__name__}")
    rows, labels = (content.get(name, content.get(name.decode())) for name in (b"data", b"labels"))
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != _ROW:
        _refuse(path, f"expected data, uint8 of shape (n, {_ROW}), got {getattr(rows, 'dtype', type(rows).__name__)}")
    y = np.asarray(labels if isinstance(labels, (list, np.ndarray)) else [])
    if y.shape != (len(rows),) or (len(y) and (y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= len(CLASSES))):
        _refuse(path, f"expected {len(rows)} labels of 0..9, got {y.dtype} of shape {y.shape}")
    return rows, y.astype(np.int64)


def _refuse(path: Path, why: str) -> NoReturn:
    raise ValueError(f"{path} is no sound CIFAR-10 file: {why}. Get the file again, or remove it")


class _Reader(pickle.Unpickler):
    """Reads what a pickle of arrays needs, and calls nothing else that it names."""

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get(f"{module}.{name}".replace("numpy._core.", "numpy.core."))
        if known is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no file of arrays needs")
        return known


def _empty_array(*_: Any) -> Any:
    """The array that a pickle fills in its next step: its size is what the file holds, not what it claims here."""
    return np.empty(0, np.int8)


def _array_of_bytes(buffer: Any, dtype: Any, shape: Any, order: Any) -> Any:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _latin_bytes(text: Any, encoding: Any) -> bytes:
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"it names the encoding {encoding!r}")
    return (text if isinstance(text, str) else text.decode("utf-8")).encode("latin1")


_KNOWN = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy.core.numeric._frombuffer": _array_of_bytes,
    "_codecs.encode": _latin_bytes,  # by which Python 3 writes bytes for Python 2
}


def download_cifar10(
    folder: str | Path,
    *,
    urls: tuple[str, ...] = URLS,
    checksum: str = CHECKSUM,
    connect_seconds: float = CONNECT_SECONDS,
    bar: Callable[[int | None, str], Any] = lambda total, name: Silent(),
) -> Path:
    """Have CIFAR-10's files in this folder (170 MB to download, 186 MB on disk), unless they are there. Returns the
    folder that holds them; raises OSError where no address delivers the archive undamaged.
    """
    place = Path(folder) / FOLDER
    missing = [name for name in (*TRAIN, *TEST) if not (place / name).is_file()]
    if missing:
        archive = Path(folder) / "cifar-10-python.tar.gz"
        download(urls, archive, checksum, connect_seconds=connect_seconds, bar=bar)
        with tarfile.open(archive) as tar:
            for name in missing:  # by name, so that no member decides where it is written
                content: BinaryIO | None = tar.extractfile(f"{FOLDER}/{name}")  # type: ignore[assignment]
                if content is not None:
                    with written_aside(place / name) as file:
                        file.write(content.read())
        archive.unlink()
    return place
