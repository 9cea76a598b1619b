"""The safetensors format: against the `safetensors` package in both directions, and what is damaged is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import hypothesis.extra.numpy as arrays_of
import needle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needle import Tensor
from needle.files import read_metadata, read_safetensors, write_safetensors
from numpy.testing import assert_array_equal

package = pytest.importorskip("safetensors.numpy")

DTYPES = ("?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8")


def header(**entries):
    return json.dumps(entries).encode()


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def whole(text, data=b""):
    return len(text).to_bytes(8, "little") + text + data


def same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    assert_array_equal(a, b)


# ---------------------------------------------------------------------------------------------- what is written is read


def layouts():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 4, 5))
    return {
        "C": a,
        "F": np.asfortranarray(a),
        "transposed": a.T,
        "strided": a[::2, 1:, ::-1],
        "broadcast": np.broadcast_to(a[0, 0, 0], (2, 3)),
        "big endian": a.astype(">f8"),
        "big endian, F": np.asfortranarray(a.astype(">f2")),
        "0-d": np.array(3.5, np.float32),
        "empty": np.zeros((0, 3), np.int16),
        "empty, too": np.zeros((2, 0, 3), np.complex64),
        "read-only": np.frombuffer(b"\1\2\3", np.uint8),
        "misaligned": np.frombuffer(b"\0" + np.arange(3.0).tobytes(), np.float64, offset=1),
    } | {f"of {code}": np.arange(5).astype(code) for code in DTYPES}


@pytest.mark.parametrize("mmap", [False, True])
def test_every_layout_comes_back(tmp_path, mmap):
    path, given_arrays = tmp_path / "a.safetensors", layouts()
    write_safetensors(path, given_arrays, {"made by": "ä test"})
    found = read_safetensors(path, mmap=mmap)
    assert found.keys() == given_arrays.keys()
    for name, a in given_arrays.items():
        assert found[name].dtype == a.dtype.newbyteorder("=") and found[name].dtype.isnative
        assert found[name].shape == a.shape
        assert_array_equal(found[name], a)
        assert found[name].flags.c_contiguous and found[name].flags.aligned
        assert found[name].flags.writeable is not mmap
    assert read_metadata(path) == {"made by": "ä test"}


def test_the_package_reads_what_we_write(tmp_path):
    write_safetensors(tmp_path / "a", layouts(), {"key": "value"})
    found = package.load_file(tmp_path / "a")
    assert found.keys() == layouts().keys()
    for name, a in layouts().items():
        same(found[name], a.astype(a.dtype.newbyteorder("=")))
    with pytest.importorskip("safetensors").safe_open(tmp_path / "a", "np") as file:
        assert file.metadata() == {"key": "value"}


@pytest.mark.parametrize("mmap", [False, True])
def test_we_read_what_the_package_writes(tmp_path, mmap):
    given_arrays = {name: np.ascontiguousarray(a).astype(a.dtype.newbyteorder("=")) for name, a in layouts().items()}
    package.save_file(given_arrays, tmp_path / "a", {"key": "value"})
    found = read_safetensors(tmp_path / "a", mmap=mmap)
    assert found.keys() == given_arrays.keys()
    for name, a in given_arrays.items():
        same(found[name], a)
    assert read_metadata(tmp_path / "a") == {"key": "value"}


names = st.text(st.characters(exclude_categories=("Cs",)), max_size=8).filter(lambda name: name != "__metadata__")
any_arrays = arrays_of.arrays(
    st.sampled_from(DTYPES).map(np.dtype), arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(names, any_arrays, max_size=5), st.dictionaries(st.text(max_size=3).filter(str.isascii), names))
def test_any_arrays_cross_over(tmp_path_factory, given_arrays, metadata):
    path = tmp_path_factory.mktemp("any") / "a"
    write_safetensors(path, given_arrays, metadata)
    theirs, ours = package.load_file(path), read_safetensors(path)
    package.save_file(given_arrays, path.with_name("b"))
    again = read_safetensors(path.with_name("b"))
    assert theirs.keys() == ours.keys() == again.keys() == given_arrays.keys()
    for name, a in given_arrays.items():
        for found in (theirs[name], ours[name], again[name]):
            same(np.asarray(found).view(np.uint8) if a.ndim else found, a.view(np.uint8) if a.ndim else a)
    assert read_metadata(path) == metadata


def test_bfloat16_is_read_as_float32(tmp_path):
    values = np.array([[1.0, -2.5, 0.0], [np.inf, -0.0, 3.3895314e38]], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2")
    assert_array_equal(bits.astype(np.uint32) << 16, values.view(np.uint32))  # they are bfloat16
    (tmp_path / "a").write_bytes(whole(header(w=entry("BF16", [2, 3], 0, 12)), bits.tobytes()))
    for mmap in (False, True):
        found = read_safetensors(tmp_path / "a", mmap=mmap)["w"]
        same(found, values)
        assert found.flags.writeable is not mmap
    ml_dtypes = pytest.importorskip("ml_dtypes")
    every = np.arange(2**16, dtype="<u2")
    (tmp_path / "a").write_bytes(whole(header(w=entry("BF16", [2**16], 0, 2**17)), every.tobytes()))
    with np.errstate(invalid="ignore"):
        assert_array_equal(read_safetensors(tmp_path / "a")["w"], every.view(ml_dtypes.bfloat16).astype(np.float32))


@pytest.mark.parametrize(("dtype", "nbytes"), [("F8_E4M3", 2), ("F8_E5M2", 2), ("F8_E8M0", 2), ("F4", 1)])
def test_narrow_formats_are_refused_by_name_and_only_where_they_are_asked_for(tmp_path, dtype, nbytes):
    entries = {"w": entry(dtype, [2], 0, nbytes), "b": entry("U8", [1], nbytes, nbytes + 1)}
    (tmp_path / "a").write_bytes(whole(header(**entries), bytes(nbytes) + b"\7"))
    with pytest.raises(ValueError, match=f"'w' has dtype {dtype}, which NumPy has not; convert it"):
        read_safetensors(tmp_path / "a")
    same(read_safetensors(tmp_path / "a", ["b"])["b"], np.array([7], np.uint8))


def test_names_choose(tmp_path):
    write_safetensors(tmp_path / "a", {"weight": np.ones(2), "bias": np.zeros(3)})
    assert list(read_safetensors(tmp_path / "a", ["bias"])) == ["bias"]
    assert read_safetensors(tmp_path / "a", []) == {}
    with pytest.raises(ValueError, match="has no tensor 'wieght'; the closest is 'weight'"):
        read_safetensors(tmp_path / "a", ["wieght"])


def test_tensors_are_written(tmp_path):
    t = Tensor([[1.0, 2.0], [3.0, 4.0]])
    write_safetensors(tmp_path / "a", {"t": t, "T": (t * 2).transpose(), "number": 2.5, "list": [1, 2]})
    found = read_safetensors(tmp_path / "a")
    same(found["t"], t.numpy())
    same(found["T"], 2 * t.numpy().T)
    same(found["number"], np.array(2.5))
    same(found["list"], np.array([1, 2]))


def test_mapped_arrays_stay_on_the_disk(tmp_path):
    """A file of 1 TB without its blocks; a copy of it would not fit."""
    n = 10**12
    text = header(w=entry("U8", [n], 0, n))
    with (tmp_path / "a").open("wb") as file:
        file.write(whole(text))
        try:
            file.truncate(8 + len(text) + n)
        except OSError:
            pytest.skip("no sparse files here")
    w = read_safetensors(tmp_path / "a", mmap=True)["w"]
    assert w.shape == (n,) and w[n - 1] == 0
    with pytest.raises(ValueError, match="read-only"):
        w[0] = 1


def test_an_array_that_is_read_belongs_to_nobody_else(tmp_path):
    write_safetensors(tmp_path / "a", {"w": np.zeros(3)})
    w = read_safetensors(tmp_path / "a")["w"]
    w += 1
    assert_array_equal(read_safetensors(tmp_path / "a")["w"], 0)


# ------------------------------------------------------------------------------------------------------ many files


@pytest.fixture
def sharded(tmp_path):
    write_safetensors(tmp_path / "model-1.safetensors", {"a": np.arange(3.0)})
    write_safetensors(tmp_path / "model-2.safetensors", {"b": np.arange(4), "c": np.ones(1)})
    index = tmp_path / "model.safetensors.index.json"
    weight_map = {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-2.safetensors"}
    index.write_text(json.dumps({"metadata": {"total_size": 64}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("mmap", [False, True])
def test_an_index_reads_all_its_files(sharded, mmap):
    found = read_safetensors(sharded, mmap=mmap)
    assert {name: a.tolist() for name, a in found.items()} == {"a": [0, 1, 2], "b": [0, 1, 2, 3], "c": [1]}
    assert list(read_safetensors(sharded, ["c", "a"])) == ["c", "a"]
    with pytest.raises(ValueError, match="has no tensor 'd'"):
        read_safetensors(sharded, ["d"])


def test_only_the_files_that_are_needed_are_read(sharded):
    (sharded.parent / "model-2.safetensors").unlink()
    assert list(read_safetensors(sharded, ["a"])) == ["a"]
    with pytest.raises(ValueError, match=r"'b' lies in model-2.safetensors, which is not in the folder"):
        read_safetensors(sharded)


@pytest.mark.parametrize(
    ("index", "why"),
    [
        ("{", "its index is no JSON"),
        ("[]", "must be a JSON object, got a list"),
        ("{}", "needs a 'weight_map'"),
        ('{"weight_map": {"a": 1}}', "needs a 'weight_map'"),
        ('{"weight_map": {"a": "x", "a": "y"}}', "'a' twice"),
        ('{"weight_map": {"a": "../x"}}', "a file of the same folder"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "a file of the same folder"),
        ('{"weight_map": {"z": "model-1.safetensors"}}', "has no tensor 'z'"),
    ],
)
def test_a_damaged_index_is_refused(sharded, index, why):
    sharded.write_text(index)
    with pytest.raises(ValueError, match=why):
        read_safetensors(sharded)


# ------------------------------------------------------------------------------------------------------- damaged files

F32 = entry("F32", [2], 0, 8)
DATA = bytes(8)
DAMAGED = {
    "empty file": (b"", "has 0 bytes"),
    "shorter than a length": (b"\1\0\0", "has 3 bytes"),
    "no header": (bytes(8), "starts with b''"),
    "header longer than the file": (b"\xff" * 7 + b"\0{}", "would have"),
    "header of 2**64 - 1 bytes": (b"\xff" * 8 + b"{}", "would have"),
    "header of 1 byte too many": (whole(b"{}")[:-1], "would have"),
    "header above the limit": ((10**9).to_bytes(8, "little") + b"{", "the format allows 100,000,000"),
    "pickle": (b"\x80\x04}q\0." * 9, "would have"),
    "zip": (b"PK\3\4" + bytes(60), "is no safetensors file"),
    "text": (b"this is some text and no tensors", "would have"),
    "leading space": (whole(b" {}"), "starts with b' '"),
    "list": (whole(b"[]"), "starts with b'\\['"),
    "no JSON": (whole(b"{nothing}"), "is no JSON"),
    "JSON cut off": (whole(b'{"a": {"dtype": "F3'), "is no JSON"),
    "two objects": (whole(b"{}{}"), "is no JSON"),
    "no UTF-8": (whole(b'{"\xff": 1}'), "is no JSON"),
    "nested 100,000 deep": (whole(b'{"a": ' + b"[" * 100_000), "is no JSON"),
    "NaN": (whole(b'{"a": NaN}'), "holds NaN, which is not JSON"),
    "a number of 10,000 digits": (whole(b'{"a": ' + b"1" * 10_000 + b"}"), "a number of 10,000 digits"),
    "name twice": (whole(b'{"a": %s, "a": %s}' % ((json.dumps(F32).encode(),) * 2), DATA), "the name 'a' twice"),
    "key twice": (whole(b'{"a": {"dtype": "F32", "dtype": "F64"}}'), "the name 'dtype' twice"),
    "entry is a list": (whole(header(a=[1])), "'a' must have 'data_offsets', 'dtype' and 'shape', got list"),
    "no dtype": (whole(header(a={"shape": [2], "data_offsets": [0, 8]}), DATA), "'a' must have"),
    "one key more": (whole(header(a=F32 | {"strides": [1]}), DATA), "'a' must have"),
    "unknown dtype": (whole(header(a=entry("F31", [2], 0, 8)), DATA), "dtype 'F31', which the format has not"),
    "dtype of NumPy": (whole(header(a=entry("float32", [2], 0, 8)), DATA), "dtype 'float32'"),
    "dtype is a number": (whole(header(a=entry(4, [2], 0, 8)), DATA), "dtype 4"),
    "shape is a number": (whole(header(a=entry("F32", 2, 0, 8)), DATA), "shape 2, which is no list of counts"),
    "negative shape": (whole(header(a=entry("F32", [-2], 0, 8)), DATA), "shape \\[-2\\]"),
    "two negative sides": (whole(header(a=entry("F32", [-2, -1], 0, 8)), DATA), "shape \\[-2, -1\\]"),
    "fractional shape": (whole(header(a=entry("F32", [2.0], 0, 8)), DATA), "shape \\[2.0\\]"),
    "shape of booleans": (whole(header(a=entry("F32", [True, 2], 0, 8)), DATA), "shape \\[True, 2\\]"),
    "shape too large": (whole(header(a=entry("F32", [3], 0, 8)), DATA), "needs 12 bytes, but has 8"),
    "shape too small": (whole(header(a=entry("F32", [1], 0, 8)), DATA), "needs 4 bytes, but has 8"),
    "shape that overflows": (whole(header(a=entry("F32", [2**62, 4], 0, 0))), "more than NumPy's arrays can have"),
    "empty, of a huge shape": (whole(header(a=entry("F32", [0, 2**62], 0, 0))), "more than NumPy's arrays can have"),
    "65 axes": (whole(header(a=entry("F32", [1] * 65, 0, 4)), bytes(4)), "more than NumPy's arrays can have"),
    "one offset": (whole(header(a=F32 | {"data_offsets": [8]}), DATA), "data_offsets \\[8\\]"),
    "offsets in the wrong order": (whole(header(a=entry("F32", [2], 8, 0)), DATA), "data_offsets \\[8, 0\\]"),
    "negative offset": (whole(header(a=entry("F32", [2], -8, 0)), DATA), "data_offsets \\[-8, 0\\]"),
    "offsets are strings": (whole(header(a=entry("F32", [2], "0", "8")), DATA), "data_offsets"),
    "overlap": (whole(header(a=F32, b=entry("F32", [2], 4, 12)), bytes(12)), "'b' overlaps 'a' by 4 bytes"),
    "one in the other": (whole(header(a=F32, b=entry("F32", [1], 0, 4)), DATA), "overlaps"),
    "the same bytes twice": (whole(header(a=F32, b=F32), DATA), "overlaps"),
    "hole": (whole(header(a=F32, b=entry("F32", [1], 12, 16)), bytes(16)), "4 bytes before 'b' belong to no tensor"),
    "hole at the start": (whole(header(a=entry("F32", [2], 4, 12)), bytes(12)), "4 bytes before 'a'"),
    "data cut off": (whole(header(a=F32), DATA[:-1]), "is cut off: its tensors need 8 bytes, and 7 are there"),
    "no data": (whole(header(a=F32)), "is cut off"),
    "data of 1 EB": (whole(header(a=entry("F32", [2**58], 0, 2**60))), "is cut off"),
    "data too long": (whole(header(a=F32), bytes(9)), "1 bytes at the end belong to no tensor"),
    "data without a tensor": (whole(b"{}", DATA), "8 bytes at the end"),
    "booleans of 2": (whole(header(a=entry("BOOL", [2], 0, 2)), b"\1\2"), "bytes other than 0 and 1"),
    "metadata is a list": (whole(header(__metadata__=["a"])), "__metadata__ must map strings to strings"),
    "metadata of numbers": (whole(header(__metadata__={"a": 1})), "__metadata__ must map strings to strings"),
}


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_refused_with_a_reason(tmp_path, what, mmap):
    content, why = DAMAGED[what]
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=why) as caught:
        read_safetensors(tmp_path / "a", mmap=mmap)
    assert str(caught.value).startswith(str(tmp_path / "a"))


def test_any_cut_is_noticed(tmp_path):
    write_safetensors(tmp_path / "a", {"w": np.arange(3.0), "b": np.zeros((), np.int8)}, {"key": "value"})
    content = (tmp_path / "a").read_bytes()
    for end in range(len(content)):
        (tmp_path / "b").write_bytes(content[:end])
        with pytest.raises(ValueError, match="b: "):
            read_safetensors(tmp_path / "b")


def test_any_flipped_bit_of_the_header_is_refused_or_harmless(tmp_path):
    """No other error, and never more or less data than the file has."""
    write_safetensors(tmp_path / "a", {"w": np.arange(3.0), "b": np.zeros((2, 2), np.int8)})
    content = (tmp_path / "a").read_bytes()
    for at in range(len(content) - 28):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[at] ^= 1 << bit
            (tmp_path / "b").write_bytes(damaged)
            try:
                found = read_safetensors(tmp_path / "b")
            except ValueError:
                continue
            assert sum(a.nbytes for a in found.values()) == 28


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_safetensors(tmp_path / "a")


# ------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    ("arrays", "metadata", "error", "why"),
    [
        ({1: np.ones(1)}, None, TypeError, "names must be strings, got 1"),
        ({"__metadata__": np.ones(1)}, None, ValueError, "the format's own name"),
        ({"a": np.ones(1, complex)}, None, TypeError, "'a' has dtype complex128, which the format has not"),
        ({"a": np.ones(1, np.longdouble)}, None, TypeError, "which the format has not"),
        ({"a": np.array(["x"])}, None, TypeError, "'a'.*dtype <U1"),
        ({"a": np.array([None])}, None, TypeError, "'a'.*dtype object"),
        ({"a": np.ma.masked_array([1.0], [True])}, None, TypeError, "mask would be lost"),
        ({"a": np.array(["2020-01-01"], "M8[D]")}, None, TypeError, "'a'"),
        ({}, {"epoch": 3}, TypeError, r"got 'epoch': 3; write json.dumps\(value\)"),
        ({}, {3: "a"}, TypeError, "must map strings to strings"),
        ({"\ud800": np.ones(1)}, None, ValueError, "no valid Unicode"),
    ],
)
def test_what_cannot_be_written_is_named_and_leaves_the_old_file(tmp_path, arrays, metadata, error, why):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(error, match=why):
        write_safetensors(tmp_path / "a", {"good": np.ones(2)} | arrays, metadata)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_folders_are_made_and_links_stay_links(tmp_path):
    write_safetensors(tmp_path / "new" / "folder" / "a", {"w": np.ones(1)})
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "new" / "folder" / "a")
    write_safetensors(link, {"w": np.zeros(1)})
    assert link.is_symlink()
    assert_array_equal(read_safetensors(tmp_path / "new" / "folder" / "a")["w"], 0)


KILLED = """
import sys
sys.path.insert(0, {place!r})
import numpy as np
from needle.files import write_safetensors
old = np.zeros(2_000_000)
write_safetensors({path!r}, {{"w": old, "x": old}})
print("ready", flush=True)
i = 0
while True:
    i += 1
    write_safetensors({path!r}, {{"w": np.full(2_000_000, i), "x": np.full(2_000_000, i)}})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_file(tmp_path):
    path, place = tmp_path / "a", str(Path(needle.__file__).parents[1])
    while_writing = 0
    for delay in (0.0, 0.01, 0.03, 0.05, 0.08, 0.13):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED.format(place=place, path=str(path))], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait()
        found = read_safetensors(path)  # checks all of it
        assert found["w"][0] == found["x"][-1] and np.ptp(found["w"]) == 0
        parts = list(tmp_path.glob("*.part"))
        while_writing += bool(parts)
        for part in parts:
            part.unlink()
    assert while_writing  # else nothing was tested
