"""The IDX format, in which MNIST is published: a big-endian header, then the elements in row-major order.

    0  0  dtype code  number of axes  |  one uint32 an axis: its length  |  the elements

Both plain and gzipped files are read; which of them a file is, its first two bytes say, not its name.
"""

from __future__ import annotations

import gzip
import os
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np

from ...aside import written_aside

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The format's dtype codes."""

GZIP_MAGIC = b"\x1f\x8b"
_MOST_INFLATED = 1032
"""No byte of a gzip file becomes more than this many."""
_CHUNK = 1 << 20


def read_idx(path: str | Path) -> np.ndarray[Any, Any]:
    """The array in an IDX file, plain or gzipped, of the file's shape and dtype, in this machine's byte order.

    Raises ValueError, naming the file, for whatever is wrong in it; no more memory is taken than the file fills.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as raw:
        zipped = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        if not zipped:
            return _read(raw, path, size)
        try:
            with gzip.GzipFile(fileobj=raw) as file:
                return _read(cast(BinaryIO, file), path, size * _MOST_INFLATED)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            _refuse(path, f"its gzip stream is damaged or cut off ({error})")


def _read(file: BinaryIO, path: str | Path, most: int) -> np.ndarray[Any, Any]:
    """The array in an open stream that holds `most` bytes at most."""
    magic = file.read(4)
    if len(magic) < 4:
        _refuse(path, f"expected a header that starts with 4 bytes, got {len(magic)}: the file is cut off")
    if magic[:2] != b"\0\0":
        _refuse(path, f"expected a magic number of 00 00, a dtype code and the number of axes, got {magic.hex(' ')}")
    if magic[2] not in DTYPES:
        codes = ", ".join(f"0x{code:02X}" for code in DTYPES)
        _refuse(path, f"unknown dtype code 0x{magic[2]:02X}, expected one of {codes}")
    ndim, dtype = magic[3], np.dtype(DTYPES[magic[2]])
    lengths = file.read(4 * ndim)
    if len(lengths) < 4 * ndim:
        _refuse(path, f"expected a header with {ndim} lengths of 4 bytes, got {len(lengths)} bytes: it is cut off")
    shape = tuple(int(n) for n in np.frombuffer(lengths, ">u4"))
    expected = prod(shape) * dtype.itemsize
    if 4 + 4 * ndim + expected > most:  # before anything of that size is allocated
        _refuse(
            path,
            f"its header promises shape {shape}, {expected:,} bytes of {dtype.name}, but the file cannot hold more "
            f"than {most:,}: it is cut off, or its header is wrong",
        )
    promised = f"expected {expected:,} bytes for shape {shape} of {dtype.name}"
    body = bytearray()
    while len(body) < expected and (chunk := file.read(min(_CHUNK, expected - len(body)))):
        body += chunk
    if len(body) < expected:
        _refuse(path, f"{promised}, got {len(body):,}: it is cut off")
    if file.read(1):  # at the end of a gzip stream, this also compares its checksum
        _refuse(path, f"{promised}, but more follow them")
    try:
        return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
    except ValueError as error:
        _refuse(path, f"its header promises shape {shape}, which no array can have ({error})")


def _refuse(path: str | Path, why: str) -> NoReturn:
    raise ValueError(f"{path} is no sound IDX file: {why}. Get the file again, or remove it")


def write_idx(path: str | Path, array: Any) -> None:
    """Write an array as an IDX file, gzipped if the name ends with .gz: the whole file, or none.

    The same array makes the same bytes: a gzipped file carries no time and no name. Raises ValueError for what the
    format cannot hold.
    """
    array = np.asarray(array)
    codes = {np.dtype(name).newbyteorder("="): code for code, name in DTYPES.items()}
    code = codes.get(array.dtype.newbyteorder("="))
    if code is None:
        names = ", ".join(dtype.name for dtype in codes)
        raise ValueError(f"{path}: IDX holds {names}, got an array of {array.dtype}; convert it with astype")
    if array.ndim > 255 or any(n >= 1 << 32 for n in array.shape):
        raise ValueError(f"{path}: IDX holds lengths below 2**32 only, got shape {array.shape}; write it in parts")
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.astype(DTYPES[code]).tobytes()
    with written_aside(path) as file:
        file.write(gzip.compress(content, mtime=0) if str(path).endswith(".gz") else content)


def read_images_and_labels(images: str | Path, labels: str | Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images uint8 (n, height, width) and their labels uint8 (n,).

    Raises ValueError if either file is unsound or holds something else, or if they do not belong together.
    """
    X, y = read_idx(images), read_idx(labels)
    if X.ndim != 3 or X.dtype != np.uint8:
        raise ValueError(
            f"{images}: expected images, uint8 of shape (n, height, width), got {X.dtype} of shape {X.shape}; "
            "are the image and the label file exchanged?"
        )
    if y.ndim != 1 or y.dtype != np.uint8:
        raise ValueError(
            f"{labels}: expected labels, uint8 of shape (n,), got {y.dtype} of shape {y.shape}; "
            "are the image and the label file exchanged?"
        )
    if len(X) != len(y):
        raise ValueError(
            f"{images} has {len(X):,} images, but {labels} has {len(y):,} labels; get both from the same source"
        )
    return X, y
