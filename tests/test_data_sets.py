"""Readers of published data sets, on small files of the real formats; no network but a server of the tests' own."""

from __future__ import annotations

import collections
import hashlib
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import needle
import numpy as np
import pytest
from needle.data import (
    CIFAR10Dataset,
    Corpus,
    DataLoader,
    Dictionary,
    Digits,
    MNISTDataset,
    Normalize,
    RandomCrop,
    RandomFlipHorizontal,
    batchify,
    download_cifar10,
    download_mnist,
    download_ptb,
    get_batch,
)
from needle.data.datasets import digits as digits_module
from needle.data.datasets.download import download
from needle.data.datasets.idx import write_idx
from needle.data.datasets.mnist import NAMES
from numpy.testing import assert_allclose, assert_array_equal

RNG = np.random.default_rng(0)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --------------------------------------------------------------------------------------------------------------- MNIST


@pytest.fixture
def mnist(tmp_path):
    """30 images of 28x28 under MNIST's names."""
    pixels = np.random.default_rng(1).integers(0, 256, (30, 28, 28), np.uint8)
    labels = np.random.default_rng(2).integers(0, 10, 30).astype(np.uint8)
    for image_name, label_name in (NAMES[:2], NAMES[2:]):
        write_idx(tmp_path / f"{image_name}.gz", pixels)
        write_idx(tmp_path / f"{label_name}.gz", labels)
    return tmp_path, pixels, labels


def test_mnist(mnist):
    folder, pixels, labels = mnist
    dataset = MNISTDataset(str(folder / "train-images-idx3-ubyte.gz"), str(folder / "train-labels-idx1-ubyte.gz"))
    assert len(dataset) == 30
    image, label = dataset[7]
    assert image.shape == (28, 28, 1) and image.dtype == np.float32 and label == labels[7]
    assert_array_equal(image[..., 0], pixels[7].astype(np.float32) / np.float32(255))
    for index in (slice(3, 9), np.array([4, 4, 1]), [0, 2]):
        images, chosen = dataset[index]
        assert_array_equal(images[..., 0], pixels[index].astype(np.float32) / np.float32(255))
        assert_array_equal(chosen, labels[index])
    for i, (x, y) in enumerate(DataLoader(dataset, 5)):
        truth = dataset[5 * i : 5 * (i + 1)]
        assert_allclose(truth[0], x.numpy(), rtol=1e-6)
        assert_array_equal(truth[1], y.numpy())
        assert x.dtype == "float32" and y.dtype == "uint8"


def test_mnist_with_the_courses_transforms_draws_in_the_courses_order(mnist):
    folder, pixels, _ = mnist
    files = [folder / f"{name}.gz" for name in NAMES[:2]]
    dataset = MNISTDataset(*files, transforms=[RandomCrop(12), RandomFlipHorizontal(0.4)])
    np.random.seed(0)
    expected = []
    for i in range(30):
        image = pixels[i].astype(np.float32)[..., np.newaxis] / np.float32(255)
        x, y = np.random.randint(low=-12, high=13, size=2)
        image = np.pad(image, [(12, 12), (12, 12), (0, 0)])[12 + x : 40 + x, 12 + y : 40 + y]
        expected.append(image[:, ::-1] if np.random.rand() < 0.4 else image)
    for read in (
        lambda: np.stack([dataset[i][0] for i in range(30)]),
        lambda: dataset[:][0],
        lambda: np.concatenate([x.numpy() for x, _ in DataLoader(dataset, 7)]),
    ):
        np.random.seed(0)
        assert_array_equal(read(), np.stack(expected))
    assert dataset[:0][0].shape == (0, 28, 28, 1)


def test_transforms_of_stacks_keep_a_batch_one_indexing(mnist):
    folder, _, _ = mnist
    files = [folder / f"{name}.gz" for name in NAMES[:2]]
    dataset = MNISTDataset(*files, transforms=[Normalize(0.1307, 0.3081)])
    assert dataset.indexes_arrays and not MNISTDataset(*files, transforms=[RandomCrop(1)]).indexes_arrays
    assert_array_equal(dataset[:5][0], np.stack([dataset[i][0] for i in range(5)]))


def test_mnist_files_that_are_exchanged_or_missing(mnist):
    folder, _, _ = mnist
    with pytest.raises(ValueError, match="exchanged"):
        MNISTDataset(folder / f"{NAMES[1]}.gz", folder / f"{NAMES[0]}.gz")
    with pytest.raises(FileNotFoundError):
        MNISTDataset(folder / "nowhere", folder / f"{NAMES[0]}.gz")


def test_download_mnist(mnist, tmp_path, serve):
    source, _, _ = mnist
    sums = {path.name: sha256(path) for path in source.glob("*.gz")}
    place = download_mnist(tmp_path / "here", mirrors=[serve(source)], checksums=sums)
    assert sorted(p.name for p in place.iterdir()) == sorted(sums)
    assert len(MNISTDataset(place / f"{NAMES[0]}.gz", place / f"{NAMES[1]}.gz")) == 30
    download_mnist(place, mirrors=["http://127.0.0.1:9/"], checksums=sums)  # all there: nothing is asked


def test_a_download_that_is_not_what_was_published_leaves_nothing(mnist, tmp_path, serve):
    source, _, _ = mnist
    address = serve(source)
    heard = []
    with pytest.raises(OSError, match=r"could not be downloaded; put it into .* by hand") as caught:
        urls = [f"{address}nothing", f"{address}{NAMES[0]}.gz", "http://127.0.0.1:9/x"]
        download(urls, tmp_path / "new" / "file", "0" * 64, say=heard.append)
    message = str(caught.value)
    assert "404" in message and "corrupt and was thrown away: expected SHA-256 000" in message and "refused" in message
    assert len(heard) == 3 and list((tmp_path / "new").iterdir()) == []


# ------------------------------------------------------------------------------------------------------------- CIFAR-10


def as_published(data, labels, name="data_batch_1"):
    """A batch's pickle as Python 2 wrote it: byte strings by the opcodes for them, the array by NumPy's old names."""

    def short(text):
        return b"U" + bytes([len(text)]) + text

    def integers(values):
        return b"](" + b"".join(b"K" + bytes([v]) for v in values) + b"e"

    array = b"".join(
        [
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + short(b"b") + b"\x87R",
            b"(K\x01",
            b"".join(b"J" + struct.pack("<i", n) for n in data.shape) + b"\x86",
            b"cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R(K\x03" + short(b"|") + b"NNNJ\xff\xff\xff\xff",
            b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", data.nbytes) + data.tobytes() + b"tb",
        ]
    )
    pairs = [
        short(b"data") + array,
        short(b"labels") + integers(labels),
        short(b"batch_label") + short(name.encode()),
        short(b"filenames") + b"](" + b"".join(short(b"a.png") for _ in labels) + b"e",
    ]
    return b"\x80\x02}(" + b"".join(pairs) + b"u."


@pytest.fixture
def cifar(tmp_path):
    """The six published files, with 20 images each."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(3)
    batches = {}
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        data = rng.integers(0, 256, (20, 3072), np.uint8)
        labels = rng.integers(0, 10, 20).tolist()
        (folder / name).write_bytes(as_published(data, labels, name))
        batches[name] = data, labels
    return folder, batches


def test_the_files_are_as_python_reads_the_published_ones(cifar):
    folder, batches = cifar
    content = pickle.loads(
        (folder / "data_batch_3").read_bytes().replace(b"numpy.core", b"numpy._core"), encoding="bytes"
    )
    assert_array_equal(content[b"data"], batches["data_batch_3"][0])
    assert content[b"labels"] == batches["data_batch_3"][1]


@pytest.mark.parametrize("train", [True, False])
def test_cifar10(cifar, train):
    folder, batches = cifar
    dataset = CIFAR10Dataset(str(folder), train=train)
    assert len(dataset) == (100 if train else 20)
    name, i = ("data_batch_2", 25) if train else ("test_batch", 5)
    pixels, labels = batches[name]
    item = dataset[i]
    assert isinstance(item, tuple) and isinstance(item[0], np.ndarray) and item[0].shape == (3, 32, 32)
    assert item[0].dtype == np.float32 and item[1] == labels[5]
    assert_array_equal(item[0], pixels[5].reshape(3, 32, 32).astype(np.float32) / np.float32(255))
    x, y = next(iter(DataLoader(dataset, 15, device=needle.cpu())))
    assert x.shape == (15, 3, 32, 32) and x.dtype == "float32" and y.dtype == "int64" and x.device == needle.cpu()
    assert_array_equal(
        dataset[np.arange(20, 30)][0], np.stack([dataset[k][0] for k in range(20, 30)])
    ) if train else None
    assert len(CIFAR10Dataset(folder.parent, train)) == len(dataset), "the folder above it will do"


def test_cifar10_transforms_see_height_width_channels(cifar):
    folder, _ = cifar
    plain = CIFAR10Dataset(folder, True)
    seen = []
    watched = CIFAR10Dataset(folder, True, transforms=[lambda x: seen.append(x.shape) or x, RandomFlipHorizontal(1)])
    assert_array_equal(watched[4][0], plain[4][0][:, :, ::-1])
    assert_array_equal(watched[2:6][0], plain[2:6][0][..., ::-1])
    assert set(seen) == {(32, 32, 3)}
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 4.0])
    stacked = CIFAR10Dataset(folder, True, transforms=[Normalize(mean, std)])
    for index in (3, slice(2, 5)):
        expected = (plain[index][0] - mean[:, None, None]) / std[:, None, None]
        assert_allclose(stacked[index][0], expected, rtol=1e-5, atol=1e-6)


class Attack:
    def __reduce__(self):
        return os.mkdir, ("needle-was-here",)


class Hidden:
    def __reduce__(self):
        return getattr, ("", "join")


BAD = {
    "os.mkdir": (pickle.dumps(Attack()), r"it names (posix|nt)\.mkdir, which no file of arrays needs"),
    "getattr": (pickle.dumps({b"data": Hidden()}), "it names builtins.getattr"),
    "a class of the library": (pickle.dumps(collections.OrderedDict()), "it names collections.OrderedDict"),
    "numpy's own loader": (b"cnumpy\nload\n.", "it names numpy.load"),
    "cut off": (as_published(np.zeros((2, 3072), np.uint8), [1, 2])[:-500], "truncated|exhausted|EOF|Ran out"),
    "empty": (b"", "Ran out of input"),
    "no pickle": (b"\x89PNG....", "is no sound CIFAR-10 file"),
    "no dict": (pickle.dumps([1, 2]), "expected a dict, got a list"),
    "no data": (pickle.dumps({b"labels": [1]}), r"expected data, uint8 of shape \(n, 3072\), got NoneType"),
    "another width": (pickle.dumps({b"data": np.zeros((2, 3), np.uint8), b"labels": [1, 2]}), "expected data"),
    "floats": (pickle.dumps({b"data": np.zeros((2, 3072)), b"labels": [1, 2]}), "got float64"),
    "too few labels": (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}), "expected 2 labels"),
    "a label of 10": (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}), r"labels of 0\.\.9"),
    "fine labels": (pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"fine_labels": [1]}), "expected 1 labels"),
}


@pytest.mark.parametrize("name", BAD)
def test_cifar10_files_that_hold_anything_else_run_no_code(cifar, name, tmp_path, monkeypatch):
    folder, _ = cifar
    content, message = BAD[name]
    (folder / "test_batch").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        CIFAR10Dataset(folder, train=False)
    assert str(caught.value).startswith(str(folder / "test_batch")) and "Get the file again" in str(caught.value)
    assert not Path("needle-was-here").exists()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_cifar10_files_that_python_3_wrote(cifar, protocol):
    folder, batches = cifar
    data, labels = batches["test_batch"]
    for keys in ((b"data", b"labels"), ("data", "labels")):
        (folder / "test_batch").write_bytes(pickle.dumps(dict(zip(keys, (data, labels), strict=True)), protocol))
        assert_array_equal(CIFAR10Dataset(folder, False).pixels.reshape(20, -1), data)


def test_cifar10_files_that_are_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data_batch_1 not found; name .*download_cifar10\(folder\)"):
        CIFAR10Dataset(tmp_path, True)


def test_download_cifar10(cifar, tmp_path, serve):
    folder, _ = cifar
    source = tmp_path / "published"
    source.mkdir()
    with tarfile.open(source / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(folder, "cifar-10-batches-py")
        tar.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
    archive = source / "cifar-10-python.tar.gz"
    urls = (f"{serve(source)}cifar-10-python.tar.gz",)
    with pytest.raises(OSError, match="corrupt"):
        download_cifar10(tmp_path / "new", urls=urls)
    assert list((tmp_path / "new").iterdir()) == []
    place = download_cifar10(tmp_path / "new", urls=urls, checksum=sha256(archive))
    assert len(CIFAR10Dataset(place, True)) == 100 and not (tmp_path / "outside").exists()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["cifar-10-batches-py"]
    download_cifar10(tmp_path / "new", urls=("http://127.0.0.1:9/x",))


# ----------------------------------------------------------------------------------------------------------------- text

TEXT = {"train": " the cat sat \n the dog <unk> N \n\n", "test": " the bird sat \n", "valid": " a cat \n"}


@pytest.fixture
def text(tmp_path):
    for name, lines in TEXT.items():
        (tmp_path / f"ptb.{name}.txt").write_text(lines)
    return tmp_path


def test_corpus(text):
    corpus = Corpus(text)
    words = ["the", "cat", "sat", "<eos>", "dog", "<unk>", "N", "a", "bird"]
    assert corpus.dictionary.idx2word == words and len(corpus.dictionary) == 9
    assert corpus.dictionary.word2idx == {word: i for i, word in enumerate(words)}
    assert corpus.train.tolist() == [0, 1, 2, 3, 0, 4, 5, 6, 3, 3] and corpus.train.dtype == np.int64
    assert corpus.test.tolist() == [0, 8, 2, 3] and corpus.valid.tolist() == [7, 1, 3]
    short = Corpus(str(text), max_lines=1)
    assert short.train.tolist() == [0, 1, 2, 3] and len(short.test) == 4
    for name in TEXT:
        (text / f"ptb.{name}.txt").rename(text / f"{name}.txt")
    assert Corpus(text).train.tolist() == corpus.train.tolist()
    (text / "valid.txt").unlink()
    assert Corpus(text).valid is None
    (text / "test.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"test.txt not found; name the folder .*download_ptb\(folder\)"):
        Corpus(text)


def test_dictionary():
    dictionary = Dictionary()
    assert [dictionary.add_word(w) for w in ["a", "b", "a", "c"]] == [0, 1, 0, 2]
    assert len(dictionary) == 3 and dictionary.idx2word[2] == "c"


@pytest.mark.parametrize("dtype", ["float32", "int64", None])
def test_batchify_and_get_batch(dtype):
    batches = batchify(np.arange(26), 4, device=needle.cpu(), dtype=dtype)
    assert batches.shape == (6, 4) and batches.dtype == (dtype or "int64")
    assert batches[:, 1].tolist() == [6, 7, 8, 9, 10, 11]
    x, y = get_batch(batches, 1, 3, device=needle.cpu(), dtype=dtype)
    assert x.shape == (3, 4) and y.shape == (12,) and x.dtype == y.dtype == batches.dtype
    assert isinstance(x, needle.Tensor) and x.device == needle.cpu() and not x.requires_grad
    assert x.numpy()[:, 1].tolist() == [7, 8, 9]
    assert_array_equal(y.numpy().reshape(3, 4), batches[2:5])
    last, following = get_batch(batches, 4, 3)
    assert last.shape == (1, 4) and following.shape == (4,) and last.dtype == batches.dtype
    x.cached_data[:] = 0
    assert batches[1, 0] == 1, "a batch has memory of its own"
    for i in (5, 6, -1):
        with pytest.raises(ValueError, match=r"get_batch: i: expected 0\.\.4, so that a next word is there"):
            get_batch(batches, i, 3)
    for size in (0, 27):
        with pytest.raises(ValueError, match=r"batchify: batch_size: expected 1\.\.26"):
            batchify(np.arange(26), size)
    with pytest.raises(ValueError, match="not on this machine"):
        batchify(np.arange(26), 4, device=needle.cuda())


def test_download_ptb(text, tmp_path, serve):
    sums = {f"{name}.txt": sha256(text / f"ptb.{name}.txt") for name in TEXT}
    place = download_ptb(tmp_path / "new", mirrors=(serve(text),), checksums=sums)
    assert Corpus(place).train.tolist() == Corpus(text).train.tolist()
    with pytest.raises(OSError, match="corrupt"):
        download_ptb(tmp_path / "newer", mirrors=(serve(text),))
    assert not list((tmp_path / "newer").iterdir())


# --------------------------------------------------------------------------------------------------------------- digits


def test_digits():
    train, test = Digits(), Digits(train=False)
    assert (len(train), len(test)) == (1437, 360)
    image, label = train[0]
    assert image.shape == (8, 8, 1) and image.dtype == np.float32 and label in range(10)
    assert train[:][0].max() == 1 and set(train.labels) == set(range(10))


def test_scikit_learn_has_the_same_digits(monkeypatch, tmp_path):
    pytest.importorskip("sklearn")
    mine = [Digits(train) for train in (True, False)]
    monkeypatch.setattr(digits_module, "_CHECKOUT", tmp_path)
    for dataset, train in zip(mine, (True, False), strict=True):
        other = Digits(train)
        assert_array_equal(other.pixels, dataset.pixels)
        assert_array_equal(other.labels, dataset.labels)
        assert other[3][0].dtype == np.float32


def test_digits_that_are_nowhere(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match="expected train-images-idx3-ubyte and train-labels"):
        Digits(folder=tmp_path)
    monkeypatch.setattr(digits_module, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(digits_module, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"neither .* nor scikit-learn is there; run pip install scikit-learn"):
        Digits()
