"""Transforms, against other ways to compute the same."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from needle import Tensor
from needle.data import (
    Compose,
    Cutout,
    Normalize,
    OneHot,
    RandomAffine,
    RandomCrop,
    RandomFlipHorizontal,
    RandomRotation,
    ToFloat,
    Transform,
)
from needle.data.transforms import warped
from numpy.testing import assert_allclose, assert_array_equal

IMAGE = np.random.default_rng(0).random((9, 7, 3)).astype(np.float32)

RANDOM = {
    "flip": RandomFlipHorizontal(0.5),
    "crop": RandomCrop(3),
    "affine": RandomAffine(20, 0.1, (0.8, 1.2), 10),
    "rotation": RandomRotation(30),
    "cutout": Cutout(3),
    "compose": Compose([RandomCrop(2), RandomFlipHorizontal(0.5), lambda x, rng=None: x + 1]),
}


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_random_transforms(name, dtype):
    transform = RANDOM[name]
    image = (IMAGE * 255).astype(dtype) if dtype == "uint8" else IMAGE.astype(dtype)
    before = image.copy()
    image.flags.writeable = False
    np.random.seed(1)
    by_global = [transform(image) for _ in range(8)]
    np.random.seed(1)
    again = [transform(image) for _ in range(8)]
    for a, b in zip(by_global, again, strict=True):
        assert_array_equal(a, b)
        assert a.shape == image.shape and a.dtype == dtype
    assert len({a.tobytes() for a in by_global}) > 1
    if name != "compose":  # outside of a loader, it hands on nothing
        np.random.seed(1)
        mine = [transform(image, np.random.default_rng(s)) for s in (5, 5, 6)]
        assert_array_equal(mine[0], mine[1])
        assert np.random.rand() == np.random.RandomState(1).rand(), "the global state is left alone"
    assert_array_equal(image, before)
    assert repr(pickle.loads(pickle.dumps(RandomCrop(2)))) == "RandomCrop(padding=2)"


def test_flip():
    assert_array_equal(RandomFlipHorizontal(1)(IMAGE), IMAGE[:, ::-1, :])
    assert_array_equal(RandomFlipHorizontal(0)(IMAGE), IMAGE)
    assert_array_equal(RandomFlipHorizontal(1)(IMAGE[..., 0]), IMAGE[:, ::-1, 0])
    with pytest.raises(ValueError, match=r"RandomFlipHorizontal: p: expected a probability in 0\.\.1, got 1.5"):
        RandomFlipHorizontal(1.5)


@pytest.mark.parametrize("padding", [0, 1, 4, 20])
def test_crop_is_a_crop_of_the_padded_image(padding):
    np.random.seed(padding)
    got = [RandomCrop(padding)(IMAGE) for _ in range(40)]
    np.random.seed(padding)
    padded = np.pad(IMAGE, [(padding, padding), (padding, padding), (0, 0)])
    for image in got:
        x, y = padding + np.random.randint(low=-padding, high=padding + 1, size=2)
        assert_array_equal(image, padded[x : x + 9, y : y + 7])
    with pytest.raises(ValueError, match="RandomCrop: padding: expected 0 or more, got -1"):
        RandomCrop(-1)


def test_affine_maps_agree_with_scipys():
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(3)
    image = IMAGE.astype(np.float64)
    middle = (np.array(image.shape[:2]) - 1) / 2
    for _ in range(20):
        matrix, moved = np.eye(2) + 0.4 * rng.standard_normal((2, 2)), 2 * rng.standard_normal(2)
        back = np.linalg.inv(matrix)
        offset = middle - back @ (middle + moved)
        padded = np.pad(image, [(1, 1), (1, 1), (0, 0)])  # scipy cuts off at the outermost pixel, not beyond it
        offset_padded = offset + 1 - back @ np.ones(2)
        expected = np.stack(
            [ndimage.affine_transform(padded[..., c], back, offset_padded, order=1) for c in range(3)], -1
        )[1:-1, 1:-1]
        assert_allclose(warped(image, matrix, moved), expected, atol=1e-7)


def test_turns_that_hit_pixels():
    square = IMAGE[:7].astype(np.float64)
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    assert_allclose(warped(square, quarter, (0, 0)), np.rot90(square), atol=1e-12)
    assert_allclose(warped(square, np.eye(2), (1, 2), fill=5)[1:, 2:], square[:-1, :-2], atol=1e-12)
    assert (warped(square, np.eye(2), (1, 2), fill=5)[0] == 5).all()
    assert_array_equal(RandomAffine()(IMAGE), IMAGE)
    assert_array_equal(warped((IMAGE * 255).astype(np.uint8), np.eye(2), (0, 0)), (IMAGE * 255).astype(np.uint8))
    with pytest.raises(ValueError, match="RandomAffine: scale: expected two factors"):
        RandomAffine(scale=(0, 1))


def test_cutout_fills_a_square_cut_at_the_edges():
    rng = np.random.default_rng(0)
    sizes = []
    for _ in range(200):
        hidden = Cutout(4, fill=7)(IMAGE, rng) == 7
        rows, columns = hidden.any((1, 2)), hidden.any((0, 2))
        assert_array_equal(hidden, (rows[:, None] & columns)[..., None] & np.ones(3, bool))
        sizes.append((rows.sum(), columns.sum()))
    assert max(sizes) == (4, 4) and min(s[0] for s in sizes) == 2


def test_normalize():
    mean, std = [0.1, 0.2, 0.3], [1, 2, 4]
    for x in (IMAGE, IMAGE[np.newaxis], IMAGE.astype(np.float16)):
        y = Normalize(mean, std)(x)
        assert y.dtype == x.dtype
        assert_allclose(
            y, (x - np.array(mean)) / np.array(std), rtol=1e-2 if x.dtype == np.float16 else 1e-5, atol=1e-3
        )
    assert_allclose(Normalize(0.5, 2)(IMAGE), (IMAGE - 0.5) / 2, rtol=1e-6)
    with pytest.raises(TypeError, match=r"Normalize: expected floats, got uint8; let ToFloat\(\) come before it"):
        Normalize(0, 1)(np.zeros((2, 2, 1), np.uint8))
    with pytest.raises(ValueError, match="Normalize: std: expected numbers above 0"):
        Normalize(0, [1, 0, 1])


def test_to_float():
    assert_array_equal(ToFloat()(np.array([0, 255], np.uint8)), np.array([0, 1], np.float32))
    assert ToFloat()(np.array([2.0])).dtype == np.float32 and ToFloat()(np.array([2.0]))[0] == 2


def test_one_hot():
    expected = np.eye(4, dtype=np.float32)
    assert_array_equal(OneHot(4)(2), expected[2])
    assert_array_equal(OneHot(4)(np.array([[0, 3], [1, 1]], np.uint8)), expected[[[0, 3], [1, 1]]])
    assert_array_equal(OneHot(4)(Tensor([1, 2])), expected[[1, 2]])
    assert OneHot(4)(np.zeros(0, int)).shape == (0, 4)
    with pytest.raises(ValueError, match=r"OneHot: labels must lie in 0\.\.3 for n=4, got values from 4 to 4"):
        OneHot(4)(4)
    with pytest.raises(TypeError, match="OneHot: labels must be integers, got float64"):
        OneHot(4)(1.0)


def test_compose_and_the_base():
    both = Compose([ToFloat(), Normalize(0.5, 0.5)])
    assert both.batched and not Compose([ToFloat(), RandomCrop(1)]).batched
    assert_allclose(both(np.array([[[255], [0]]], np.uint8)), [[[1], [-1]]])
    with pytest.raises(NotImplementedError, match="Transform must define __call__"):
        Transform()(IMAGE)
