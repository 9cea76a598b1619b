"""PyTorch's `.pt` and `.pth` files, read without PyTorch.

`torch.save` writes a pickle, which builds the dicts and lists (see torch_pickle.py), and beside it the bytes of each
storage: since 1.6 all of it in a zip archive, before that one after the other.
"""

from __future__ import annotations

import os
import pickletools
import zipfile
from typing import Any, BinaryIO, Literal

from .torch_pickle import RefusedError, Storages, loaded

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_torch(path: str | os.PathLike[str]) -> Any:
    """What `torch.save` wrote, with NumPy's arrays in place of tensors and parameters.

    Dicts, lists, numbers and strings are as they were; bfloat16 comes as float32, exactly. Tensors that shared memory
    share it here, too. Reads the zip format (PyTorch 1.6 on) and the one before, from any device. Raises ValueError,
    which says why, for a file that is damaged, and for one that holds more than numbers, like a whole module: its
    classes would have to be imported and run. Nothing of such a file is run.
    """
    with open(path, "rb") as file:
        try:
            if zipfile.is_zipfile(file):
                return _read_zip(file)
            file.seek(0)
            return _read_legacy(file)
        except MemoryError:
            raise
        except RefusedError as why:
            raise ValueError(f"{os.fspath(path)}: {why}") from None
        except Exception as error:  # zipfile, pickle and pickletools raise whatever damaged bytes lead them to
            unchecked = ", or was written without checksums (torch.serialization.set_crc32_options)"
            damaged = f"is damaged{unchecked if 'CRC' in str(error) else ''}"
            raise ValueError(f"{os.fspath(path)}: {damaged}: {type(error).__name__}: {error}") from error


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        if len(sizes) < len(archive.infolist()):
            raise RefusedError("is damaged: its archive has an entry twice")
        if any(name.endswith("/constants.pkl") for name in sizes):
            raise RefusedError("is TorchScript, a program; save its state_dict() in PyTorch")
        pickles = [name for name in sizes if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise RefusedError("is no file of torch.save, but a zip archive without data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        order = archive.read(root + "byteorder") if root + "byteorder" in sizes else b"little"
        if order not in (b"little", b"big"):
            raise RefusedError(f"is damaged: its byte order is {order[:20]!r}")

        def bytes_of(key: str, nbytes: int) -> bytearray:
            name = f"{root}data/{key}"
            if sizes.get(name) != nbytes:
                raise RefusedError(f"is damaged: storage {key!r} has {sizes.get(name)} bytes, and needs {nbytes:,}")
            with archive.open(name) as entry:
                return _filled(entry, nbytes)

        return loaded(archive.read(pickles[0]), Storages(bytes_of, "<" if order == b"little" else ">"))


def _read_legacy(file: BinaryIO) -> Any:
    """Four pickles (a magic number, a version, this machine's habits, the object), the keys of the storages, and each
    storage's length and bytes."""
    if file.read(2)[:1] != b"\x80":
        raise RefusedError("is no file of torch.save: neither a zip archive nor a pickle")
    file.seek(0)
    noted = Storages()
    if loaded(_next_pickle(file), noted) != _LEGACY_MAGIC:
        raise RefusedError("is a pickle, but none of torch.save")
    if loaded(_next_pickle(file), noted) != _LEGACY_PROTOCOL:
        raise RefusedError("has a version of PyTorch's old format that is not known")
    habits = loaded(_next_pickle(file), noted)
    order: Literal["<", ">"] = "<" if not isinstance(habits, dict) or habits.get("little_endian", True) else ">"
    program = _next_pickle(file)
    loaded(program, noted)  # only to learn how long the storages are, which follow
    keys = loaded(_next_pickle(file), noted)
    if not isinstance(keys, list) or sorted(map(repr, keys)) != sorted(map(repr, noted.lengths)):
        raise RefusedError("is damaged: the storages that it lists are not those that it uses")
    found: dict[str, bytearray] = {}
    for key in keys:
        count, itemsize = noted.lengths[key]
        there = int.from_bytes(file.read(8), "little")
        if there != count:
            raise RefusedError(f"is damaged: storage {key!r} has {there:,} elements, and needs {count:,}")
        found[key] = _filled(file, count * itemsize)
    if file.read(1):
        raise RefusedError("is damaged: more follows after the last storage")
    return loaded(program, Storages(lambda key, nbytes: found[key], order))


def _next_pickle(file: BinaryIO) -> bytes:
    start = file.tell()
    for _ in pickletools.genops(file):
        pass
    end = file.tell()
    file.seek(start)
    return file.read(end - start)


def _filled(file: Any, nbytes: int) -> bytearray:
    """So many bytes of the file, or none: memory is taken as they come, so that a false length takes none."""
    found = bytearray()
    while len(found) < nbytes:
        part = file.read(min(nbytes - len(found), 1 << 24))
        if not part:
            raise RefusedError(f"is cut off: a storage has {len(found):,} of {nbytes:,} bytes")
        found += part
    return found
