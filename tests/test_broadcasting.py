"""Shapes and indices that hypothesis draws: values as NumPy's, gradients as a dense reference has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from needle import Tensor, ops
from numpy.testing import assert_allclose, assert_array_equal

quick = settings(max_examples=150, deadline=None, derandomize=True)
SHAPE = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def drawn(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Small integers, so that sums are exact in any order."""
    return np.random.default_rng(seed).integers(1, 9, shape).astype(np.float64)


def sum_to(array: Any, shape: tuple[int, ...]) -> Any:
    """The adjoint of broadcasting, by its definition: each element of the input receives those of its copies."""
    out = np.zeros(shape)
    places = np.broadcast_to(np.arange(out.size).reshape(shape), array.shape)
    np.add.at(out.reshape(-1), places.reshape(-1), array.reshape(-1))
    return out


@quick
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=4))
def test_binary_operators_broadcast(shapes):
    a, b = (drawn(shape, seed) for seed, shape in enumerate(shapes.input_shapes))
    w = drawn(shapes.result_shape, 2)
    for operate, by_a, by_b in [
        (lambda x, y: x + y, 1, 1),
        (lambda x, y: x - y, 1, -1),
        (lambda x, y: x * y, b, a),
        (lambda x, y: x / y, 1 / b, -a / b**2),
    ]:
        x, y = Tensor(a), Tensor(b)
        out = operate(x, y)
        assert_array_equal(out.numpy(), operate(a, b), strict=True)
        out.backward(w)
        assert x.grad.shape == a.shape
        assert y.grad.shape == b.shape
        assert_allclose(x.grad.numpy(), sum_to(w * by_a, a.shape), rtol=1e-13)
        assert_allclose(y.grad.numpy(), sum_to(w * by_b, b.shape), rtol=1e-13)


@quick
@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=0, max_side=3))
def test_where_broadcasts(shapes):
    mask, a, b = (drawn(shape, seed) for seed, shape in enumerate(shapes.input_shapes))
    mask, w = mask > 4, drawn(shapes.result_shape, 3)
    x, y = Tensor(a), Tensor(b)
    out = ops.where(mask, x, y)
    assert_array_equal(out.numpy(), np.where(mask, a, b), strict=True)
    out.backward(w)
    assert_array_equal(x.grad.numpy(), sum_to(np.where(mask, w, 0), a.shape))
    assert_array_equal(y.grad.numpy(), sum_to(np.where(mask, 0, w), b.shape))


@quick
@given(hnp.mutually_broadcastable_shapes(num_shapes=1, base_shape=(2, 1, 3), max_dims=5, min_side=0, max_side=4))
def test_broadcast_to(shapes):
    (shape,), result = shapes.input_shapes, shapes.result_shape
    a, w = drawn(shape, 0), drawn(result, 1)
    x = Tensor(a)
    out = ops.broadcast_to(x, result)
    assert_array_equal(out.numpy(), np.broadcast_to(a, result), strict=True)
    out.backward(w)
    assert_array_equal(x.grad.numpy(), sum_to(w, shape), strict=True)


@quick
@given(hnp.mutually_broadcastable_shapes(signature="(m,k),(k,n)->(m,n)", max_dims=2, min_side=0, max_side=3), st.data())
def test_matmul_broadcasts_its_batches(shapes, data):
    first, second = shapes.input_shapes
    drop_a, drop_b = data.draw(st.booleans()), data.draw(st.booleans())
    if drop_a:
        first = first[-1:]
    if drop_b:
        second = second[-2:-1]
    a, b = drawn(first, 0), drawn(second, 1)
    expected = np.matmul(a, b)
    w = drawn(expected.shape, 2)
    x, y = Tensor(a), Tensor(b)
    out = x @ y
    assert_array_equal(out.numpy(), expected, strict=True)
    out.backward(w)
    rows = a[None, :] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b
    g = w[..., None] if b.ndim == 1 else w
    g = g[..., None, :] if a.ndim == 1 else g
    by_rows = sum_to(np.einsum("...mn,...kn->...mk", g, columns), rows.shape)
    by_columns = sum_to(np.einsum("...mk,...mn->...kn", rows, g), columns.shape)
    assert_array_equal(x.grad.numpy(), by_rows.reshape(a.shape), strict=True)
    assert_array_equal(y.grad.numpy(), by_columns.reshape(b.shape), strict=True)


def check_index(shape: tuple[int, ...], index: Any) -> None:
    a = drawn(shape, 0)
    expected = a[index]
    w = drawn(np.shape(expected), 1)
    x = Tensor(a)
    out = x[index]
    assert_array_equal(out.numpy(), np.asarray(expected), strict=True)
    out.backward(w)
    dense = np.zeros(shape)
    np.add.at(dense, index, w)
    assert_array_equal(x.grad.numpy(), dense, strict=True)
    square = (out * out * w).sum()
    square.backward()
    x.grad.sum().backward()
    dense = np.zeros(shape)
    np.add.at(dense, index, 2 * w)
    assert_array_equal(x.grad.numpy(), dense, strict=True)


@quick
@given(st.data(), SHAPE)
def test_basic_indices(data, shape):
    check_index(shape, data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)))


@quick
@given(st.data(), hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
def test_integer_array_indices(data, shape):
    result = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)
    check_index(shape, data.draw(hnp.integer_array_indices(shape, result_shape=result)))


@quick
@given(st.data(), SHAPE)
def test_boolean_masks(data, shape):
    axes = data.draw(st.integers(0, len(shape)))
    mask = data.draw(hnp.arrays(bool, shape[:axes]))
    check_index(shape, mask)


@quick
@given(st.data(), hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=3))
def test_mixed_indices(data, shape):
    """Slices, integers and arrays of integers or booleans side by side; equal lengths, so that they broadcast."""
    length = data.draw(st.integers(1, 3))
    index: list[Any] = []
    for n in shape:
        kind = data.draw(st.sampled_from(["slice", "int", "list", "array", "mask"]))
        if kind == "slice":
            index.append(data.draw(st.slices(n)))
        elif kind == "int":
            index.append(data.draw(st.integers(-n, n - 1)))
        elif kind == "mask":
            mask = np.zeros(n, bool)
            mask[data.draw(st.integers(0, n - 1))] = True
            index.append(mask)
        else:
            chosen = data.draw(st.lists(st.integers(-n, n - 1), min_size=length, max_size=length))
            index.append(chosen if kind == "list" else np.array(chosen))
    check_index(shape, tuple(index[: data.draw(st.integers(1, len(shape)))]))


@quick
@given(st.data(), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
def test_sums_over_any_axes(data, shape):
    axes = data.draw(st.none() | hnp.valid_tuple_axes(len(shape)))
    keepdims = data.draw(st.booleans())
    a = drawn(shape, 0)
    expected = a.sum(axes, keepdims=keepdims)
    w = drawn(expected.shape, 1)
    x = Tensor(a)
    out = x.sum(axes, keepdims)
    assert_array_equal(out.numpy(), np.asarray(expected), strict=True)
    out.backward(w)
    kept = a.sum(axes, keepdims=True).shape
    assert_array_equal(x.grad.numpy(), np.broadcast_to(w.reshape(kept), shape), strict=True)


@quick
@given(st.data(), hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=3))
def test_maxima_split_ties_evenly(data, shape):
    axes = data.draw(st.none() | hnp.valid_tuple_axes(len(shape)))
    keepdims = data.draw(st.booleans())
    a = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 3, shape).astype(np.float64)
    expected = a.max(axes, keepdims=keepdims)
    w = drawn(expected.shape, 1)
    x = Tensor(a)
    out = x.max(axes, keepdims)
    assert_array_equal(out.numpy(), np.asarray(expected), strict=True)
    out.backward(w)
    largest = a == a.max(axes, keepdims=True)
    share = largest / largest.sum(axes, keepdims=True)
    kept = a.max(axes, keepdims=True).shape
    assert_allclose(x.grad.numpy(), w.reshape(kept) * share, rtol=1e-15)
    assert_allclose(x.grad.numpy().sum(), w.sum(), rtol=1e-13)


@quick
@given(st.data(), SHAPE)
def test_transpose_and_reshape(data, shape):
    a = drawn(shape, 0)
    x = Tensor(a)
    if len(shape):
        i, j = (data.draw(st.integers(-len(shape), len(shape) - 1)) for _ in range(2))
        out, expected = ops.transpose(x, (i, j)), a.swapaxes(i, j)
    else:
        out, expected = x.reshape(1), a.reshape(1)
    flat = out.reshape((expected.size,))
    assert_array_equal(out.numpy(), expected, strict=True)
    assert_array_equal(flat.numpy(), expected.reshape(-1), strict=True)
    w = drawn(flat.shape, 1)
    flat.backward(w)
    back = w.reshape(expected.shape)
    assert_array_equal(x.grad.numpy(), back.swapaxes(i, j) if len(shape) else back.reshape(()), strict=True)
