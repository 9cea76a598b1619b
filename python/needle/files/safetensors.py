"""The safetensors format, read and written: https://github.com/huggingface/safetensors#format.

A file is the length of its header (8 bytes, little endian), the header (JSON: the dtype, shape and place of each
tensor), and the tensors' bytes one after the other, in C order and little endian. Nothing in it can run code. A file
is checked whole before any number is read.
"""

from __future__ import annotations

import difflib
import json
import mmap as memory_map
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from ..aside import written_aside
from ..autograd import Tensor
from ..backend import array_of_numbers
from .dtypes import Array, native, widened_bfloat16

PathLike = str | os.PathLike[str]

_DTYPES = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8"}
_DTYPES |= {"I64": "<i8", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "C64": "<c8"}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items() if name != "BF16"}
_TOO_NARROW = ("F8_", "F6_", "F4")
"""Formats of fewer than 16 bits, which NumPy has no numbers for."""
_LONGEST_HEADER = 100_000_000
"""Bytes: the format's own limit."""
_METADATA = "__metadata__"


@dataclass(frozen=True)
class _Entry:
    """Where a tensor lies in its file, and what it is."""

    dtype: str
    shape: tuple[int, ...]
    begin: int  # in the file
    nbytes: int


@dataclass(frozen=True)
class _Header:
    entries: dict[str, _Entry]
    metadata: dict[str, str]


def read_safetensors(path: PathLike, names: Iterable[str] | None = None, *, mmap: bool = False) -> dict[str, Array]:
    """The arrays of a safetensors file by name, or only those of `names`.

    The path of a `*.index.json` reads all the files that it lists. BF16 comes as float32, exactly. With `mmap=True`
    the arrays are read-only and stay on the disk until they are used (BF16 is converted, and so read at once);
    otherwise they are copies of your own. Raises ValueError, which says why, for a file that is damaged, and for
    dtypes that NumPy has not (FP8); then nothing is returned.
    """
    path = Path(path)
    wanted = None if names is None else list(names)
    if path.suffix != ".json":
        return _read(path, wanted, mmap)
    shards = _shards(path, wanted)
    headers = {shard: _read_header_of(path.parent / shard) for shard in shards}  # all of them before any number
    for shard, header in headers.items():
        _check_wanted(path.parent / shard, header, shards[shard])
    found = {name: a for shard in shards for name, a in _read(path.parent / shard, shards[shard], mmap).items()}
    return found if wanted is None else {name: found[name] for name in wanted}


def read_metadata(path: PathLike) -> dict[str, str]:
    """The metadata of a safetensors file. Raises ValueError, which says why, for a file that is damaged."""
    return _read_header_of(Path(path)).metadata


def write_safetensors(path: PathLike, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays or Tensors as a safetensors file: the whole file, or none, so that an old one survives whatever
    happens. Any memory order and byte order will do.

    Raises TypeError for names and metadata that are no strings, and for dtypes that the format has not.
    """
    given = {_checked_name(name): _checked_array(name, a) for name, a in arrays.items()}
    # The widest first, so that each tensor starts at a multiple of its element's size.
    ordered = dict(sorted(given.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])))
    header: dict[str, Any] = {_METADATA: _checked_metadata(metadata)} if metadata else {}
    end = 0
    for name, a in ordered.items():
        begin, end = end, end + a.nbytes
        dtype = _NAMES[a.dtype.newbyteorder("<")]
        header[name] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [begin, end]}
    text = _encoded(json.dumps(header, ensure_ascii=False, separators=(",", ":")))
    text += b" " * (-len(text) % 8)  # so that the tensors are aligned in the file, too
    if len(text) > _LONGEST_HEADER:
        raise ValueError(
            f"write_safetensors: names and metadata take {len(text):,} bytes, and the format allows "
            f"{_LONGEST_HEADER:,}; put large data into arrays"
        )
    with written_aside(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for a in ordered.values():
            values = a.numpy() if isinstance(a, Tensor) else a  # one copy at a time
            little = np.ascontiguousarray(values, a.dtype.newbyteorder("<"))
            file.write(_bytes_of(little))


# ---------------------------------------------------------------------------------------------------------- reading


def _refuse(path: Path, why: str) -> NoReturn:
    raise ValueError(f"{path}: {why}")


def _read(path: Path, wanted: list[str] | None, mmap: bool) -> dict[str, Array]:
    with path.open("rb") as file:
        header = _read_header(path, file)
        _check_wanted(path, header, wanted)
        entries = header.entries if wanted is None else {name: header.entries[name] for name in wanted}
        for name, entry in entries.items():
            _check_dtype(path, name, entry)
        if mmap:
            whole = memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ)
            return {name: _as_numbers(path, name, entry, _mapped(whole, entry)) for name, entry in entries.items()}
        return {name: _as_numbers(path, name, entry, _copied(path, file, entry)) for name, entry in entries.items()}


def _copied(path: Path, file: BinaryIO, entry: _Entry) -> Array:
    a = np.empty(entry.shape, _DTYPES[entry.dtype])
    file.seek(entry.begin)
    if file.readinto(_bytes_of(a)) != entry.nbytes:  # type: ignore[attr-defined]
        _refuse(path, "the file became shorter while it was read")
    return native(a)


def _bytes_of(a: Array) -> Any:
    """The memory of an array in C order, to be read or written."""
    return a.reshape(-1).view(np.uint8).data


def _mapped(whole: Any, entry: _Entry) -> Array:
    dtype = np.dtype(_DTYPES[entry.dtype])
    return np.frombuffer(whole, dtype, prod(entry.shape), entry.begin).reshape(entry.shape)


def _as_numbers(path: Path, name: str, entry: _Entry, a: Array) -> Array:
    if entry.dtype == "BF16":
        wide = widened_bfloat16(a)
        wide.flags.writeable = a.flags.writeable
        return wide
    if entry.dtype == "BOOL" and a.size and a.view(np.uint8).max() > 1:
        _refuse(path, f"{name!r} is said to be of booleans, but has bytes other than 0 and 1")
    return a


def _check_dtype(path: Path, name: str, entry: _Entry) -> None:
    if entry.dtype not in _DTYPES:
        _refuse(path, f"{name!r} has dtype {entry.dtype}, which NumPy has not; convert it to F16 or F32 when you save")


def _check_wanted(path: Path, header: _Header, wanted: list[str] | None) -> None:
    for name in wanted or ():
        if name not in header.entries:
            near = difflib.get_close_matches(str(name), header.entries, 1)
            like = f"; the closest is {near[0]!r}" if near else ""
            _refuse(path, f"has no tensor {name!r}{like}")


def _shards(path: Path, wanted: list[str] | None) -> dict[str, list[str]]:
    """The names to read from each file that an index lists."""
    index = _parsed(path, path.read_bytes(), "index")
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        _refuse(path, "is no index of safetensors files: it needs a 'weight_map' from names to files")
    names = list(weight_map) if wanted is None else wanted
    _check_wanted(path, _Header(dict.fromkeys(weight_map, _Entry("U8", (), 0, 1)), {}), names)
    shards: dict[str, list[str]] = {}
    for name in names:
        shard = weight_map[name]
        if shard in ("", ".", "..") or any(mark in shard for mark in "/\\:\0"):
            _refuse(path, f"{name!r} must lie in a file of the same folder, got {shard!r}")
        if not (path.parent / shard).is_file():
            _refuse(path, f"{name!r} lies in {shard}, which is not in the folder")
        shards.setdefault(shard, []).append(name)
    return shards


# -------------------------------------------------------------------------------------------------------- the header


def _read_header_of(path: Path) -> _Header:
    with path.open("rb") as file:
        return _read_header(path, file)


def _read_header(path: Path, file: BinaryIO) -> _Header:
    """The header, once all of it is known to be true of the file."""
    size = os.fstat(file.fileno()).st_size
    if size < 8:
        _refuse(path, f"is no safetensors file: it has {size} bytes, and the length of the header alone takes 8")
    length = int.from_bytes(file.read(8), "little")
    if length > size - 8 or length > _LONGEST_HEADER:
        _refuse(
            path,
            f"is no safetensors file, or damaged: its header would have {length:,} bytes of a file of {size:,} "
            f"(the format allows {_LONGEST_HEADER:,})",
        )
    text = file.read(length)
    if text[:1] != b"{":
        _refuse(path, f"is no safetensors file, or damaged: its header starts with {text[:1]!r}, not with '{{'")
    raw = _parsed(path, text, "header")
    metadata = raw.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _refuse(path, f"{_METADATA} must map strings to strings")
    start = 8 + length
    entries = {name: _entry(path, name, value, start) for name, value in raw.items()}
    _check_places(path, entries, start, size)
    return _Header(entries, metadata)


def _parsed(path: Path, text: bytes, what: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            _refuse(path, f"its {what} has the name {twice!r} twice")
        return members

    def no_number(constant: str) -> NoReturn:
        _refuse(path, f"its {what} holds {constant}, which is not JSON")

    def whole(digits: str) -> int:
        if len(digits) > 40:
            _refuse(path, f"its {what} holds a number of {len(digits):,} digits")
        return int(digits)

    try:
        parsed = json.loads(text.decode(), object_pairs_hook=once, parse_constant=no_number, parse_int=whole)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: its {what} is no JSON: {error}") from error
    if not isinstance(parsed, dict):
        _refuse(path, f"its {what} must be a JSON object, got a {type(parsed).__name__}")
    return parsed


def _entry(path: Path, name: str, value: Any, start: int) -> _Entry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        got = sorted(value) if isinstance(value, dict) else type(value).__name__
        _refuse(path, f"{name!r} must have 'data_offsets', 'dtype' and 'shape', got {got}")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or not (dtype in _DTYPES or dtype.startswith(_TOO_NARROW)):
        _refuse(path, f"{name!r} has dtype {dtype!r}, which the format has not")
    if not _are_counts(shape):
        _refuse(path, f"{name!r} has shape {shape!r}, which is no list of counts")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        _refuse(path, f"{name!r} has data_offsets {offsets!r}: a start and an end that is no smaller are needed")
    if len(shape) > 64 or prod(filter(None, shape)) >= 2**60:
        _refuse(path, f"{name!r} has shape {tuple(shape[:64])}, which is more than NumPy's arrays can have")
    nbytes = offsets[1] - offsets[0]
    if dtype in _DTYPES and prod(shape) * np.dtype(_DTYPES[dtype]).itemsize != nbytes:
        needs = prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
        _refuse(path, f"{name!r}, {dtype} of shape {tuple(shape)}, needs {needs:,} bytes, but has {nbytes:,}")
    return _Entry(dtype, tuple(shape), start + offsets[0], nbytes)


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and n >= 0 for n in values)


def _check_places(path: Path, entries: dict[str, _Entry], start: int, size: int) -> None:
    """The tensors must cover what follows the header: no byte twice, none left out, none beyond the end."""
    end, before = start, ""
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].nbytes)):
        if entry.begin < end:
            _refuse(path, f"{name!r} overlaps {before!r} by {end - entry.begin:,} bytes")
        if entry.begin > end:
            _refuse(path, f"{entry.begin - end:,} bytes before {name!r} belong to no tensor")
        end, before = entry.begin + entry.nbytes, name
    if end > size:
        _refuse(path, f"is cut off: its tensors need {end - start:,} bytes, and {size - start:,} are there")
    if end < size:
        _refuse(path, f"{size - end:,} bytes at the end belong to no tensor")


# ---------------------------------------------------------------------------------------------------------- writing


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"write_safetensors: names must be strings, got {name!r}")
    if name == _METADATA:
        raise ValueError(f"write_safetensors: {_METADATA!r} is the format's own name; give metadata=...")
    return name


def _checked_array(name: str, a: Any) -> Any:
    what = f"write_safetensors: {name!r}"
    array = a if isinstance(a, Tensor) else array_of_numbers(what, a, copy=False)
    if array.dtype.newbyteorder("<") not in _NAMES:
        raise TypeError(
            f"{what} has dtype {array.dtype}, which the format has not; it has {', '.join(_NAMES.values())}"
        )
    return array


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(
                f"write_safetensors: metadata must map strings to strings, got {key!r}: {value!r:.60}; "
                "write json.dumps(value)"
            )
    return dict(metadata)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"write_safetensors: a name or the metadata is no valid Unicode: {error}") from error
