"""Batch, layer, group and instance normalization."""

from __future__ import annotations

from typing import Any

import needle
import numpy as np
import pytest
from beside_torch import compare
from needle import Tensor, nn, ops, threads
from needle.ops.normalization import Settings

DTYPES = ["float32", "float64"]


def normal(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Any:
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * 2 + 1).astype(dtype)


def channels_last(a: Any) -> Any:
    """The same (N, C, ...) array with the channels as the fastest axis in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


# ------------------------------------------------------------------------------------------------- beside PyTorch

PAIRS: dict[str, tuple[Any, Any, list[tuple[int, ...]]]] = {
    "BatchNorm1d": (
        lambda d: nn.BatchNorm1d(5, dtype=d, unbiased_running_var=True),
        lambda t: t.nn.BatchNorm1d(5),
        [(7, 5), (4, 5, 6), (3000, 5)],
    ),
    "BatchNorm2d": (
        lambda d: nn.BatchNorm2d(4, 1e-3, 0.3, dtype=d, unbiased_running_var=True),
        lambda t: t.nn.BatchNorm2d(4, 1e-3, 0.3),
        [(3, 4, 5, 6), (1, 4, 2, 2), (8, 4, 64, 65)],
    ),
    "BatchNorm2d plain": (
        lambda d: nn.BatchNorm2d(4, dtype=d, affine=False, unbiased_running_var=True),
        lambda t: t.nn.BatchNorm2d(4, affine=False),
        [(3, 4, 5, 6)],
    ),
    "BatchNorm3d": (
        lambda d: nn.BatchNorm3d(2, dtype=d, unbiased_running_var=True),
        lambda t: t.nn.BatchNorm3d(2),
        [(2, 2, 3, 4, 5)],
    ),
    "LayerNorm": (
        lambda d: nn.LayerNorm(6, dtype=d),
        lambda t: t.nn.LayerNorm(6),
        [(6,), (3, 6), (2, 4, 6), (0, 6), (9000, 6)],
    ),
    "LayerNorm of several": (
        lambda d: nn.LayerNorm((3, 4), 1e-3, dtype=d),
        lambda t: t.nn.LayerNorm((3, 4), 1e-3),
        [(3, 4), (5, 3, 4), (2, 5, 3, 4)],
    ),
    "LayerNorm without bias": (
        lambda d: nn.LayerNorm(6, dtype=d, bias=False),
        lambda t: t.nn.LayerNorm(6, bias=False),
        [(3, 6)],
    ),
    "LayerNorm plain": (
        lambda d: nn.LayerNorm(6, dtype=d, affine=False),
        lambda t: t.nn.LayerNorm(6, elementwise_affine=False),
        [(3, 6)],
    ),
    "LayerNorm1d": (lambda d: nn.LayerNorm1d(700, dtype=d), lambda t: t.nn.LayerNorm(700), [(300, 700)]),
    "RMSNorm": (lambda d: nn.RMSNorm(6, dtype=d), lambda t: t.nn.RMSNorm(6), [(3, 6), (2, 4, 6)]),
    "RMSNorm of several": (
        lambda d: nn.RMSNorm((3, 4), 1e-4, dtype=d),
        lambda t: t.nn.RMSNorm((3, 4), 1e-4),
        [(5, 3, 4)],
    ),
    "GroupNorm": (
        lambda d: nn.GroupNorm(3, 6, dtype=d),
        lambda t: t.nn.GroupNorm(3, 6),
        [(2, 6), (2, 6, 5), (2, 6, 4, 5), (3, 6, 40, 41)],
    ),
    "GroupNorm of one": (lambda d: nn.GroupNorm(1, 6, dtype=d), lambda t: t.nn.GroupNorm(1, 6), [(2, 6, 4, 5)]),
    "GroupNorm plain": (
        lambda d: nn.GroupNorm(2, 6, dtype=d, affine=False),
        lambda t: t.nn.GroupNorm(2, 6, affine=False),
        [(2, 6, 4, 5)],
    ),
    "InstanceNorm1d": (lambda d: nn.InstanceNorm1d(3, dtype=d), lambda t: t.nn.InstanceNorm1d(3), [(2, 3, 7)]),
    "InstanceNorm2d": (
        lambda d: nn.InstanceNorm2d(3, dtype=d, affine=True),
        lambda t: t.nn.InstanceNorm2d(3, affine=True),
        [(2, 3, 5, 4)],
    ),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_layer_is_pytorchs(name, dtype, training):
    torch = pytest.importorskip("torch")
    ours, theirs, shapes = PAIRS[name]
    for shape in shapes:
        for change in [np.asarray, channels_last] if len(shape) > 2 else [np.asarray]:
            layer, other = ours(dtype), theirs(torch).to(getattr(torch, dtype))
            with torch.no_grad():
                for i, p in enumerate([*other.parameters(), *other.buffers()]):
                    if p.dtype.is_floating_point:
                        p.copy_(torch.tensor(np.abs(normal(*p.shape, seed=i)) + 0.1))
            if shape == (1, 4, 2, 2) and not training:
                continue
            layer.train(training)
            other.train(training)
            compare(torch, layer, other, [change(normal(*shape, dtype=dtype, seed=3))])


# --------------------------------------------------------------------------------------------------- without PyTorch


def by_formula(x: Any, axes: Any, eps: float) -> Any:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def test_batch_norm_by_its_formula():
    x, layer = normal(6, 3, 4, 5), nn.BatchNorm2d(3, dtype="float64", momentum=0.25)
    layer.weight.data, layer.bias.data = normal(3, seed=1), normal(3, seed=2)
    beside = (3, 1, 1)
    for layout in [x, channels_last(x), np.asfortranarray(x)]:
        layer.running_mean.data, layer.running_var.data = np.zeros(3), np.ones(3)
        y = layer(Tensor(layout)).numpy()
        expected = by_formula(x, (0, 2, 3), 1e-5) * layer.weight.numpy().reshape(beside)
        np.testing.assert_allclose(y, expected + layer.bias.numpy().reshape(beside), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(layer.running_mean.numpy(), 0.25 * x.mean((0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(layer.running_var.numpy(), 0.75 + 0.25 * x.var((0, 2, 3)), rtol=1e-12)


def test_the_result_lies_in_memory_as_the_input_does():
    x = channels_last(normal(2, 3, 4, 5, dtype=np.float32))
    for layer in [nn.BatchNorm2d(3), nn.GroupNorm(3, 3), nn.InstanceNorm2d(3)]:
        assert layer(Tensor(x))._array.strides == x.strides


def test_running_variance_is_the_biased_one_unless_told():
    x = normal(5, 3)
    for unbiased in [False, True]:
        layer = nn.BatchNorm1d(3, momentum=1.0, dtype="float64", unbiased_running_var=unbiased)
        layer(x)
        np.testing.assert_allclose(layer.running_var.numpy(), x.var(0, ddof=int(unbiased)), rtol=1e-12)


def test_running_statistics_are_outside_the_graph_and_saved():
    layer, x = nn.BatchNorm1d(3), Tensor(normal(4, 3, dtype=np.float32))
    layer(x).sum().backward()
    assert [type(b).__name__ for b in layer.buffers()] == ["Buffer", "Buffer"]
    assert all(b.is_leaf() and not b.requires_grad for b in layer.buffers())
    assert list(layer.state_dict()) == ["weight", "bias", "running_mean", "running_var"]
    before = layer.running_mean.numpy()
    layer.eval()(x)
    np.testing.assert_array_equal(layer.running_mean.numpy(), before)


def test_running_statistics_in_transforms():
    layer, x = nn.BatchNorm1d(2, dtype="float64"), normal(4, 2)
    g = needle.grad(lambda m: (m(x) ** 3).sum())(layer)
    assert g.weight.shape == (2,)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * x.mean(0))
    _, moved = needle.jvp(lambda a: (layer.eval()(a) ** 2).sum(), (Tensor(x),), (Tensor(np.ones_like(x)),))
    assert np.isfinite(moved.numpy())


def test_a_captured_step_moves_the_running_statistics():
    batches = [normal(6, 3, dtype=np.float32, seed=i) for i in range(5)]
    found = []
    for compiled in [False, True]:
        layer = nn.BatchNorm1d(3)

        def step(x: Any, layer: Any = layer) -> Any:
            loss = (layer(x) ** 2 * np.arange(3, dtype=np.float32)).sum()
            loss.backward()
            return loss

        step = needle.compile(step) if compiled else step
        losses = [step(Tensor(x, requires_grad=False)).numpy() for x in batches]
        found.append([*losses, layer.weight.grad.numpy(), *[b.numpy() for b in layer.buffers()]])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3000, 512), (40, 6, 60, 60), (60_000, 7)])
def test_threads_change_nothing(shape, monkeypatch):
    """Not a bit: sums are added in the same order."""
    x, g = normal(*shape, dtype=np.float32), normal(*shape, dtype=np.float32, seed=1)
    weights = [normal(n, dtype=np.float32, seed=2) for n in (shape[1], shape[-1])]
    found: list[Any] = []
    for number in [1, 3]:
        monkeypatch.setattr(threads, "_number", number)
        monkeypatch.setattr(threads, "WORTH", 0)
        for f, w in zip((lambda x, w: ops.batch_norm(x, w)[0], ops.layer_norm), weights, strict=True):
            a, b = Tensor(x), Tensor(w)
            y = f(a, b)
            y.backward(Tensor(g))
            found.append([y.numpy(), a.grad.numpy(), b.grad.numpy()])
        a = Tensor(x)
        y = ops.gelu(a)
        y.backward(Tensor(g))
        found.append([y.numpy(), a.grad.numpy()])
    for alone, together in zip(found[:3], found[3:], strict=True):
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)


def test_float64_input_is_cast_and_float16_keeps_its_digits():
    assert nn.LayerNorm(3)(normal(2, 3)).dtype == np.float32
    x = normal(4, 1000) * 100
    y = ops.layer_norm(Tensor(x.astype(np.float16)))
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.numpy(), by_formula(x.astype(np.float16).astype("d"), -1, 1e-5), atol=4e-3)


def test_many_rows_keep_their_digits():
    x = (np.random.default_rng(0).standard_normal((300_000, 4)) + 30).astype(np.float32)
    _, mean, variance = ops.batch_norm(x)
    np.testing.assert_allclose(mean.numpy(), x.astype("d").mean(0), rtol=3e-7)
    np.testing.assert_allclose(variance.numpy(), x.astype("d").var(0), rtol=1e-5)


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 5), (2, 4, 3, 5)])
def test_moments_can_be_differentiated(shape):
    x = normal(*shape)
    axes = (0, *range(2, len(shape)))

    def ours(x: Any) -> Any:
        y, mean, variance = ops.batch_norm(x)
        return (y**3).sum() + (mean**2 * variance).sum()

    def composed(x: Any) -> Any:
        mean, variance = needle.mean(x, axes, keepdims=True), needle.var(x, axes, keepdims=True)
        return (((x - mean) / needle.sqrt(variance + 1e-5)) ** 3).sum() + (mean**2 * variance).sum()

    np.testing.assert_allclose(needle.grad(ours)(x), needle.grad(composed)(x), rtol=1e-8, atol=1e-8)
    direction = normal(*shape, seed=5)
    np.testing.assert_allclose(
        needle.hvp(ours, (x,), (direction,)), needle.hvp(composed, (x,), (direction,)), rtol=1e-7, atol=1e-6
    )
    for f in (ours, composed):
        _, forward = needle.jvp(f, (Tensor(x),), (Tensor(direction),))
        np.testing.assert_allclose(forward.numpy(), (needle.grad(ours)(x) * direction).sum(), rtol=1e-8)


def test_jacobian_in_one_run_is_that_row_by_row():
    x, w, b = normal(3, 4), normal(4, seed=1), normal(4, seed=2)
    found = needle.jacobian(ops.layer_norm, argnums=(0, 1, 2))(x, w, b)
    for i, a in enumerate((x, w, b)):
        for at in np.ndindex(a.shape):
            unit = np.zeros_like(a)
            unit[at] = 1
            given = [Tensor(v) for v in (x, w, b)]
            tangents = [Tensor(unit if j == i else np.zeros_like(v)) for j, v in enumerate((x, w, b))]
            _, column = needle.jvp(ops.layer_norm, tuple(given), tuple(tangents))
            np.testing.assert_allclose(np.asarray(found[i])[(..., *at)], column.numpy(), atol=1e-12)


def test_batched_weights():
    x, w = normal(3, 4), normal(5, 4, seed=1)
    rows = needle.jacobian(lambda w: ops.layer_norm(x, w * 2.0, w).sum(0))(w[0])
    expected = 2 * np.diag(by_formula(x, -1, 1e-5).sum(0)) + 3 * np.eye(4)
    np.testing.assert_allclose(rows, expected, atol=1e-12)


BAD: dict[str, tuple[Any, str]] = {
    "one value a channel": (lambda: nn.BatchNorm1d(3)(np.ones((1, 3))), r"1 value\(s\) a channel.*model\.eval\(\)"),
    "no values": (lambda: nn.BatchNorm1d(3)(np.ones((0, 3))), r"0 value\(s\) a channel"),
    "channels": (lambda: nn.BatchNorm2d(3)(np.ones((2, 4, 5, 5))), r"\(N, 3, H, W\), got \(2, 4, 5, 5\)"),
    "axes": (lambda: nn.BatchNorm1d(3)(np.ones((2, 3, 5, 5))), r"\(N, 3\) or \(N, 3, L\)"),
    "momentum": (lambda: nn.BatchNorm1d(3, momentum=9), "weight of the new value"),
    "last axis": (lambda: nn.LayerNorm(3)(np.ones((2, 4))), r"last axes of the input must be \(3,\), got \(2, 4\)"),
    "groups": (lambda: nn.GroupNorm(4, 6), "multiple of groups=4"),
    "groups of an input": (lambda: ops.group_norm(np.ones((2, 5, 3)), 2), "multiple of groups=2"),
    "one pixel": (lambda: nn.InstanceNorm2d(3)(np.ones((2, 3, 1, 1))), r"1 value\(s\) a channel and example"),
    "weight": (lambda: ops.layer_norm(np.ones((2, 3)), np.ones(2)), r"weight must have the shape \(3,\)"),
    "bias alone": (lambda: ops.layer_norm(np.ones((2, 3)), None, np.ones(3)), "needs a weight"),
    "op": (lambda: ops.Normalize(Settings((1,), 1e-5))(*map(Tensor, (np.ones((2, 3)), np.ones(2)))), "must broadcast"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_say_what_to_do(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_complex_numbers_are_refused():
    with pytest.raises(TypeError, match="needs real numbers"):
        ops.layer_norm(np.ones((2, 3), complex))


def test_reset_parameters():
    layer = nn.BatchNorm1d(3)
    layer(normal(5, 3))
    layer.weight.data = np.zeros(3, np.float32)
    layer.reset_parameters()
    assert [a.tolist() for a in layer.state_dict().values()] == [[1.0] * 3, [0.0] * 3, [0.0] * 3, [1.0] * 3]
