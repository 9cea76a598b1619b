"""The program that trains convolutional nets, as a user runs it."""

from __future__ import annotations

import json
import pickle
from importlib.util import find_spec

import mnist_data
import needle
import numpy as np
import pytest
import train_images
from numpy.testing import assert_array_equal


@pytest.fixture
def digits(monkeypatch):
    """The digits that the project carries, without a look at the network."""
    monkeypatch.delenv("NEEDLE_DATA", raising=False)
    monkeypatch.setattr(mnist_data, "load", lambda folder=None: mnist_data.load_digits())


def test_it_learns_the_digits_and_draws_what_it_learned(digits, tmp_path, capsys):
    out = tmp_path / "run"
    assert train_images.main(["--epochs", "8", "--out", str(out)]) == 0
    values = json.loads((out / "history.json").read_text())[-1]["values"]
    assert values["test_error"] < 0.06
    said = capsys.readouterr().out
    assert "not MNIST, but the UCI optical digits" in said
    names = {file.name for file in out.iterdir()}
    pictures = {"curves.png", "filters.png", "mistakes.png"} if find_spec("matplotlib") else set()
    assert {"model.safetensors", "history.json"} | pictures <= names
    # The saved model is the one that was measured.
    images = train_images.load()
    model = train_images.small_net(8)
    needle.load(out / "model.safetensors", model=model)
    wrong = train_images.logits_of(model, images.test[0]).argmax(1) != images.test[1]
    assert wrong.mean() == pytest.approx(values["test_error"])


def test_the_same_seed_gives_the_same_net(digits, tmp_path):
    arrays = []
    for name in ("a", "b"):
        assert train_images.main(["--epochs", "1", "--seed", "3", "--out", str(tmp_path / name)]) == 0
        model = train_images.small_net(8)
        needle.load(tmp_path / name / "model.safetensors", model=model)
        arrays.append(model.state_dict())
    for name, array in arrays[0].items():
        assert_array_equal(array, arrays[1][name])


def test_images_are_moved_and_mirrored_whole():
    images = np.arange(2 * 5 * 6 * 3, dtype=np.float32).reshape(2, 5, 6, 3) + 1
    dataset = train_images.Shifted(images, np.array([7, 8]), 2, mirrored=True)
    seen = set()
    for seed in range(40):
        np.random.seed(seed)
        x, y = dataset[np.array([1, 0])]
        assert x.shape == (2, 3, 5, 6)
        assert_array_equal(y, [8, 7])
        padded = np.pad(images[1], ((2, 2), (2, 2), (0, 0)))
        places = [
            (i, j, flip)
            for i in range(5)
            for j in range(5)
            for flip in (1, -1)
            if np.array_equal(padded[i : i + 5, j : j + 6][:, ::flip].transpose(2, 0, 1), x[0])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 20
    assert {flip for _, _, flip in seen} == {1, -1}


def test_cifar_is_taken_where_it_is(tmp_path, capsys):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in (*[f"data_batch_{i}" for i in range(1, 6)], "test_batch"):
        content = {b"data": rng.integers(0, 256, (8, 3072), np.uint8), b"labels": rng.integers(0, 10, 8).tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    out = tmp_path / "out"
    assert train_images.main(["--data", str(tmp_path), "--epochs", "1", "--batch", "16", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "CIFAR-10 from" in said
    assert "ResNet9, 431,946 parameters" in said
    assert (out / "mistakes.png").is_file() == (find_spec("matplotlib") is not None)


def test_what_cannot_be_done_is_said(digits, tmp_path, capsys):
    assert train_images.main(["--epochs", "0", "--out", str(tmp_path)]) == 1
    assert "--epochs must be 1 or more, got 0" in capsys.readouterr().err


def test_small_images_are_turned_moved_and_scaled_a_little(digits):
    images = train_images.load()
    dataset = train_images.augmented(*images.train)
    assert len(dataset) == len(images.train[1])
    np.random.seed(0)
    (first, label), (again, _) = dataset[7], dataset[7]
    assert first.shape == (1, 8, 8) and first.dtype == np.float32 and label == images.train[1][7]
    assert not np.array_equal(first, again)
    plain = images.train[0][7, ..., 0]
    for x in (first, again):
        assert np.corrcoef(x.ravel(), plain.ravel())[0, 1] > 0.7
