"""The IDX files, and where the images to train on come from. No network but a server of the test's own on loopback."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import socket
import struct
import time
from functools import partial

import mnist_data
import numpy as np
import pytest
from needle.aside import written_aside
from needle.data.datasets.idx import DTYPES, read_idx, read_images_and_labels, write_idx

DEAD = "http://127.0.0.1:9/"
"""Nothing listens there: the connection is refused at once."""


def header(*lengths, code=0x08):
    return bytes([0, 0, code, len(lengths)]) + struct.pack(f">{len(lengths)}I", *lengths)


def make_set(folder, *, train=30, test=20, shape=(4, 5), labels=None, seed=0):
    """Four small files under MNIST's names."""
    rng = np.random.default_rng(seed)
    for name, n in (("train", train), ("t10k", test)):
        images = rng.integers(0, 255, (n, *shape), np.uint8, endpoint=True)
        images[0, 0, 0] = 255
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", images)
        y = rng.integers(0, 10, n, np.uint8) if labels is None else labels[:n]
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", y)
    return folder


def checksums(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.gz")}


# ---------------------------------------------------------------------------------------------------------------- IDX


@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3, 4), (3, 0, 2)])
def test_what_is_written_is_read(tmp_path, name, dtype, shape):
    array = (np.arange(np.prod(shape, dtype=int)).reshape(shape) * 3).astype(dtype)
    write_idx(tmp_path / name, array)
    back = read_idx(tmp_path / name)
    assert back.dtype == np.dtype(dtype).newbyteorder("=") and back.dtype.isnative and back.flags.writeable
    np.testing.assert_array_equal(back, array)
    assert back.shape == shape


def test_gzip_is_told_by_content_not_by_name(tmp_path):
    write_idx(tmp_path / "a.gz", np.arange(5, dtype=np.uint8))
    (tmp_path / "a.gz").rename(tmp_path / "a")
    assert read_idx(tmp_path / "a").tolist() == [0, 1, 2, 3, 4]
    (tmp_path / "b.gz").write_bytes(header(2) + b"\x07\x08")
    assert read_idx(tmp_path / "b.gz").tolist() == [7, 8]


def test_large_files_are_read_whole_and_the_same_array_makes_the_same_bytes(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (3, 1000, 1001), np.uint8)
    for name in ("a.gz", "b.gz"):
        write_idx(tmp_path / name, array)
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz"), array)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


FAULTS = {
    "empty": (b"", "starts with 4 bytes, got 0: the file is cut off"),
    "header cut off": (header(2, 3)[:9], "header with 2 lengths of 4 bytes, got 5 bytes: it is cut off"),
    "wrong magic": (
        b"\x89PNG" + bytes(20),
        "magic number of 00 00, a dtype code and the number of axes, got 89 50 4e 47",
    ),
    "unknown dtype": (header(2, code=0x07) + b"ab", "unknown dtype code 0x07, expected one of 0x08, 0x09"),
    "body cut off": (header(2, 3) + bytes(5), "promises shape (2, 3), 6 bytes of uint8, but the file cannot hold more"),
    "trailing bytes": (header(2, 3) + bytes(7), "expected 6 bytes for shape (2, 3) of uint8, but more follow"),
    "oversized": (header(2**32 - 1, 2**32 - 1) + bytes(9), "promises shape (4294967295, 4294967295)"),
    "no such shape": (header(0, *[2**32 - 1] * 3), "which no array can have"),
}


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_the_file_and_what_is_wrong(tmp_path, fault, zipped):
    content, message = FAULTS[fault]
    if zipped and fault == "body cut off":
        message = "expected 6 bytes for shape (2, 3) of uint8, got 5: it is cut off"
    path = tmp_path / "some-images"
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_idx(path)
    assert str(caught.value).startswith(str(path)) and "Get the file again" in str(caught.value)


@pytest.mark.parametrize("cut", [3, 12, 40, -9, -4, -1])
def test_a_gzip_stream_cut_off_anywhere(tmp_path, cut):
    write_idx(tmp_path / "a.gz", np.random.default_rng(0).integers(0, 256, 1000, np.uint8))
    (tmp_path / "a.gz").write_bytes((tmp_path / "a.gz").read_bytes()[:cut])
    with pytest.raises(ValueError, match="damaged or cut off"):
        read_idx(tmp_path / "a.gz")


@pytest.mark.parametrize("at", [30, -6])
def test_a_gzip_stream_with_a_flipped_bit(tmp_path, at):
    write_idx(tmp_path / "a.gz", np.random.default_rng(0).integers(0, 256, 1000, np.uint8))
    content = bytearray((tmp_path / "a.gz").read_bytes())
    content[at] ^= 4
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(ValueError, match="damaged or cut off"):
        read_idx(tmp_path / "a.gz")


def test_what_idx_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match=r"IDX holds uint8, .*, got an array of int64; convert it with astype"):
        write_idx(tmp_path / "a", np.arange(3))
    assert not list(tmp_path.iterdir())


def test_counts_that_do_not_match(tmp_path):
    write_idx(tmp_path / "images", np.zeros((3, 2, 2), np.uint8))
    write_idx(tmp_path / "labels", np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match=r"images has 3 images, but .*labels has 4 labels; get both from"):
        read_images_and_labels(tmp_path / "images", tmp_path / "labels")
    with pytest.raises(
        ValueError, match=r"expected images, uint8 of shape \(n, height, width\), got uint8 of shape \(4,\)"
    ):
        read_images_and_labels(tmp_path / "labels", tmp_path / "images")
    with pytest.raises(ValueError, match=r"expected labels, uint8 of shape \(n,\), got .* exchanged"):
        read_images_and_labels(tmp_path / "images", tmp_path / "images")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), written_aside(path) as file:
        file.write(b"half of the ne")
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


# ------------------------------------------------------------------------------------------------ where data comes from


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A data folder as in a fresh clone: the digits, and no MNIST; and no settings of the machine's own."""
    for name in ("NEEDLE_DATA", "NEEDLE_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    shutil.copytree(mnist_data.HOME / "digits", tmp_path / "home" / "digits")
    return tmp_path / "home"


def test_the_digits_that_the_project_carries():
    data = mnist_data.load_digits()
    assert data.X_train.shape == (1437, 64) and data.X_test.shape == (360, 64)
    assert data.image_shape == (8, 8) and data.classes == 10
    for X, y in ((data.X_train, data.y_train), (data.X_test, data.y_test)):
        assert X.dtype == np.float32 and X.min() == 0 and X.max() == 1 and y.dtype == np.uint8
        assert set(y) == set(range(10))
    assert "not MNIST" in data.source and "UCI optical digits" in data.source and "1,437" in data.source


def test_the_digits_are_all_of_the_published_ones():
    files = [mnist_data.HOME / "digits" / f"{part}-images-idx3-ubyte.gz" for part in ("train", "t10k")]
    pixels = np.concatenate([read_idx(file) for file in files])
    # Counted in scikit-learn's copy; the order is another one.
    assert pixels.shape == (1797, 8, 8) and pixels.max() == 16 and pixels.sum(dtype=int) == 561718
    assert len(np.unique(pixels, axis=0)) == 1797


def test_a_named_folder_wins_then_the_environment_then_the_home(home, tmp_path, monkeypatch):
    named, environment = tmp_path / "named", tmp_path / "environment"
    make_set(named / "mnist", train=31)
    make_set(environment / "mnist", train=32)
    make_set(home / "mnist", train=33)
    monkeypatch.setenv("NEEDLE_DATA", str(environment))
    load = partial(mnist_data.load, home=home, mirrors=[DEAD])
    data = load(named)
    assert len(data.X_train) == 31 and str(named) in data.source
    assert data.image_shape == (4, 5) and data.X_train.max() == 1
    assert len(load().X_train) == 32
    monkeypatch.delenv("NEEDLE_DATA")
    assert len(load().X_train) == 33
    shutil.rmtree(home / "mnist")
    assert "not MNIST" in load().source


def test_plain_files_are_found_too(home):
    make_set(home / "mnist", train=34)
    for path in (home / "mnist").glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert len(mnist_data.load(home=home, mirrors=[DEAD]).X_train) == 34


def test_a_named_folder_without_the_files(home, tmp_path):
    make_set(tmp_path / "named" / "mnist")
    (tmp_path / "named" / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        ValueError, match=r"mnist: expected MNIST's four files.* but t10k-labels-idx1-ubyte not found; name"
    ):
        mnist_data.load(tmp_path / "named", home=home)


def test_a_label_outside_the_classes_names_the_file(home):
    make_set(home / "mnist", labels=np.array([1, 2, 10] * 20, np.uint8))
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.gz: labels: expected 0\.\.9 .* got 10 at index 2"):
        mnist_data.load(home=home)


def test_images_of_two_sizes(home, tmp_path):
    make_set(home / "mnist")
    make_set(tmp_path / "other", shape=(3, 3))
    for path in (tmp_path / "other").glob("t10k*"):
        shutil.copy(path, home / "mnist")
    with pytest.raises(ValueError, match="expected test images of 4x5 pixels like those to train, got 3x3"):
        mnist_data.load(home=home)


def test_downloads_with_progress(home, tmp_path, serve, monkeypatch):
    source = make_set(tmp_path / "published", train=3000)
    shown = {}

    class Bar:
        def __init__(self, total, what, unit, scale):
            self.what = what
            shown[what] = [total, 0]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, n):
            shown[self.what][1] += n

    monkeypatch.setattr(mnist_data, "progress_bar", Bar)
    data = mnist_data.load(home=home, mirrors=[serve(source)], checksums=checksums(source))
    assert len(data.X_train) == 3000 and "downloaded into" in data.source
    assert shown == {path.name: [path.stat().st_size] * 2 for path in source.iterdir()}
    assert {p.name: p.read_bytes() for p in (home / "mnist").iterdir()} == {
        p.name: p.read_bytes() for p in source.iterdir()
    }
    assert len(mnist_data.load(home=home, mirrors=[DEAD]).X_train) == 3000, "the second time, it is there"


def test_a_corrupt_mirror_then_a_good_one(home, tmp_path, serve, capsys):
    good, bad = make_set(tmp_path / "good"), make_set(tmp_path / "bad", seed=1)
    (bad / "t10k-images-idx3-ubyte.gz").unlink()
    mirrors = [DEAD, serve(bad), serve(good)]
    data = mnist_data.load(home=home, mirrors=mirrors, checksums=checksums(good))
    np.testing.assert_array_equal(data.y_train, read_idx(good / "train-labels-idx1-ubyte.gz"))
    said = capsys.readouterr().err
    assert (
        f"{mirrors[1]}train-images-idx3-ubyte.gz: the download is corrupt and was thrown away: expected SHA-256" in said
    )
    assert "404" in said and "refused" in said


def test_only_corrupt_mirrors_leave_nothing_behind(home, tmp_path, serve, capsys):
    good, bad = make_set(tmp_path / "good"), make_set(tmp_path / "bad", seed=1)
    data = mnist_data.load(home=home, mirrors=[serve(bad)], checksums=checksums(good))
    assert "not MNIST" in data.source
    assert not list((home / "mnist").iterdir())
    said = capsys.readouterr().err
    assert "corrupt" in said and "put its four files into" in said


def test_mirrors_from_the_environment(home, tmp_path, serve, monkeypatch):
    source = make_set(tmp_path / "published", train=35)
    monkeypatch.setenv("NEEDLE_MIRROR", f"{DEAD} {serve(source)}")
    assert len(mnist_data.load(home=home, checksums=checksums(source)).X_train) == 35


def test_a_network_that_does_not_answer_costs_seconds_only(home):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and never says a word
        mirrors = [f"http://127.0.0.1:{silent.getsockname()[1]}/"] * 2
        began = time.monotonic()
        data = mnist_data.load(home=home, mirrors=mirrors, connect_seconds=0.2)
        assert time.monotonic() - began < 5
    assert "not MNIST" in data.source
    assert len(mnist_data.MIRRORS) * mnist_data.CONNECT_SECONDS <= 15
