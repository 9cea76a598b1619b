"""Embedding, and the sum of gradients of rows that are looked up again and again."""

from __future__ import annotations

import needle
import numpy as np
import pytest
from needle import Tensor, nn
from needle.ops.indexing import AddAt, add_rows
from numpy.testing import assert_allclose, assert_array_equal


def test_rows_and_their_gradients():
    layer = nn.Embedding(10, 4, dtype="float64", rng=0)
    ids = np.array([[1, 2, 1], [9, 0, 1]])
    out = layer(ids)
    assert_array_equal(out.numpy(), layer.weight.numpy()[ids])
    weights = np.random.default_rng(0).standard_normal(out.shape)
    (out * weights).sum().backward()
    expected = np.zeros((10, 4))
    np.add.at(expected, ids, weights)
    assert_allclose(layer.weight.grad.numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8"])
def test_whole_ids_of_any_dtype(dtype):
    layer = nn.Embedding(5, 2)
    ids = np.array([[0, 4], [2, 2]], dtype)
    assert_array_equal(layer(Tensor(ids)).numpy(), layer.weight.numpy()[ids.astype(int)])
    assert_array_equal(layer(ids.tolist()).numpy(), layer(ids).numpy())
    assert layer(3).shape == (2,)
    assert layer(np.zeros((0, 3), dtype)).shape == (0, 3, 2)


def test_ids_that_are_none():
    layer = nn.Embedding(5, 2)
    with pytest.raises(IndexError, match=r"Embedding: ids\[1, 0\] is 5; for 5 rows it must lie in 0\.\.4"):
        layer([[0, 1], [5, 7]])
    with pytest.raises(IndexError, match=r"Embedding: ids\[2\] is -1"):
        layer(np.array([0, 1, -1]))
    with pytest.raises(IndexError, match=r"Embedding: ids\[0\] is nan"):
        layer(np.array([np.nan]))
    with pytest.raises(TypeError, match=r"Embedding: ids\[1\] is 1.5, which is no whole number"):
        layer(np.array([0, 1.5]))
    with pytest.raises(TypeError, match="Embedding: ids must be whole numbers, got dtype bool"):
        layer(np.array([True]))
    with pytest.raises(ValueError, match=r"Embedding: padding_idx must lie in 0\.\.4, got 5"):
        nn.Embedding(5, 2, padding_idx=5)


def test_the_padding_row_is_left_as_it_is():
    layer = nn.Embedding(5, 2, padding_idx=-1, rng=0)
    assert layer.padding_idx == 4
    assert_array_equal(layer.weight.numpy()[4], 0)
    assert (layer.weight.numpy()[:4] != 0).all()
    layer.weight.data = np.ones((5, 2), "float32")
    out = layer([[4, 1], [4, 0]])
    assert_array_equal(out.numpy(), 1)
    out.sum().backward()
    assert_array_equal(layer.weight.grad.numpy(), [[1, 1], [1, 1], [0, 0], [0, 0], [0, 0]])
    layer.reset_parameters(1)
    assert_array_equal(layer.weight.numpy()[4], 0)


def test_a_table_that_is_there_already():
    table = np.arange(6.0).reshape(3, 2)
    layer = nn.Embedding.from_pretrained(table)
    assert_array_equal(layer([2, 0]).numpy(), table[[2, 0]])
    assert not layer.weight.requires_grad
    assert nn.Embedding.from_pretrained(Tensor(table), freeze=False).weight.requires_grad
    assert nn.Embedding.from_pretrained(table, padding_idx=-1).padding_idx == 2
    with pytest.raises(ValueError, match=r"must have two axes, got shape \(3,\)"):
        nn.Embedding.from_pretrained(np.zeros(3))


def test_values_are_pytorchs():
    torch = pytest.importorskip("torch")
    layer = nn.Embedding(7, 3, padding_idx=2, rng=0)
    theirs = torch.nn.Embedding(7, 3, padding_idx=2)
    theirs.load_state_dict({name: torch.from_numpy(a) for name, a in nn.torch_state_dict(layer).items()})
    ids = np.array([[0, 2, 6], [6, 6, 1]])
    weights = np.random.default_rng(1).standard_normal((2, 3, 3)).astype("float32")
    (layer(ids) * weights).sum().backward()
    (theirs(torch.tensor(ids)) * torch.tensor(weights)).sum().backward()
    assert_array_equal(layer(ids).numpy(), theirs(torch.tensor(ids)).detach().numpy())
    assert_allclose(layer.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-6)


def test_other_ids_need_no_other_capture():
    layer = nn.Embedding(20, 3, dtype="float64", padding_idx=0, rng=0)
    rng = np.random.default_rng(0)
    step = needle.compile(lambda ids: (layer(ids) ** 3).sum())
    for _ in range(6):
        ids = rng.integers(0, 20, (4, 5))
        found = step(Tensor(ids))
        found.backward()
        compiled = layer.weight.grad.numpy()
        plain = (layer(ids) ** 3).sum()
        plain.backward()
        assert_allclose(found.item(), plain.item(), rtol=1e-13)
        assert_allclose(compiled, layer.weight.grad.numpy(), rtol=1e-13)
    with pytest.raises(IndexError, match=r"ids\[0, 1\] is 20"):
        step(Tensor(np.full((4, 5), 20) - (np.arange(5) == 0)))


def test_second_derivatives_and_forward_mode():
    layer = nn.Embedding(6, 2, dtype="float64", rng=0)
    ids = [[1, 1, 5], [0, 1, 2]]

    def loss(weight):
        rows = needle.getitem(weight, np.array(ids))
        return (rows.sum((0, 1)) ** 3).sum()

    weight, direction = layer.weight.numpy(), np.random.default_rng(0).standard_normal((6, 2))
    gradient = needle.grad(loss)
    _, slope = needle.jvp(loss, (weight,), (direction,))
    assert_allclose(slope, np.sum(gradient(weight) * direction), rtol=1e-12)
    expected = (gradient(weight + 1e-5 * direction) - gradient(weight - 1e-5 * direction)) / 2e-5
    assert_allclose(needle.hvp(loss, (weight,), (direction,)), expected, rtol=1e-7, atol=1e-8)


# ------------------------------------------------------------------------------------------- sums of repeated rows


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int64"])
@pytest.mark.parametrize(("rows", "ids"), [(5, 700), (300, 700), (70_000, 300), (3, 1), (4, 0)])
def test_sums_by_pairs_are_sums(rows, ids, dtype):
    rng = np.random.default_rng(rows)
    places = rng.zipf(1.5, ids) % rows - rng.integers(0, 2, ids) * rows  # counted from either end
    arrays = (rng.standard_normal((ids, 3, 2)) * 50).astype(dtype)
    out = (rng.standard_normal((rows, 3, 2)) * 50).astype(dtype)
    expected = out.astype(np.result_type(dtype, "float64"))
    np.add.at(expected, places, arrays)
    before = arrays.copy()
    add_rows(out, places, arrays)
    assert_allclose(out, expected, rtol=1e-5 if dtype in ("float32", "complex64") else 1e-12, atol=1e-4)
    assert_array_equal(arrays, before)


def test_many_additions_to_one_row_keep_their_digits():
    rng = np.random.default_rng(0)
    terms = rng.random((100_000, 2)).astype("float32")
    index = np.zeros(100_000, int)
    total = AddAt((3, 2), np.dtype("float32"), [index]).compute(terms)
    assert_allclose(total[0], terms.astype("float64").sum(0), rtol=2e-7)
    assert_array_equal(total[1:], 0)
    half = AddAt((3, 2), np.dtype("float16"), [index]).compute(np.full((100_000, 2), 0.25, "float16"))
    assert_array_equal(half[0], np.float16(25_000))


def test_large_gradients_of_rows_are_those_of_small_ones():
    rng = np.random.default_rng(0)
    table, ids = rng.standard_normal((50, 40)), rng.integers(0, 50, (30, 20))
    weights = rng.standard_normal((30, 20, 40))
    leaf = Tensor(table)
    (leaf[ids] * weights).sum().backward()
    expected = np.zeros_like(table)
    np.add.at(expected, ids, weights)
    assert_allclose(leaf.grad.numpy(), expected, rtol=1e-10, atol=1e-12)
