"""Convolutions and pooling as functions: arguments, random shapes beside loops and beside PyTorch, order in memory."""

from __future__ import annotations

from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, ops
from numpy.testing import assert_allclose, assert_array_equal
from samples import convolutions as by_loops


def drawn(rng: np.random.Generator, axes: int, low: int, high: int) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(low, high, axes))


def geometries(count: int, seed: int) -> list[dict[str, Any]]:
    """Random arguments, with lengths that leave room for a window."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        axes, groups = int(rng.integers(1, 3)), int(rng.choice([1, 1, 2, 3]))
        kernel, stride, dilation = drawn(rng, axes, 1, 4), drawn(rng, axes, 1, 4), drawn(rng, axes, 1, 3)
        padding = drawn(rng, axes, 0, 4)
        least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
        found.append(
            {
                "sizes": tuple(int(rng.integers(n, 11)) for n in least),
                "channels": groups * int(rng.choice([1, 2, 17])),
                "outputs": groups * int(rng.integers(1, 4)),
                "kernel": kernel,
                "stride": stride,
                "dilation": dilation,
                "padding": padding,
                "groups": groups,
                "seed": int(rng.integers(1 << 30)),
            }
        )
    return found


def first_last(a: Any, axis: int) -> Any:
    """Images with their channels in the other place."""
    return np.ascontiguousarray(np.moveaxis(a, *((-1, 1) if axis == 1 else (1, -1))))


def as_torch_weight(w: Any) -> Any:
    axes = w.ndim - 2
    return np.ascontiguousarray(w.transpose(axes + 1, axes, *range(axes)))


def as_our_weight(w: Any) -> Any:
    return w.transpose(*range(2, w.ndim), 1, 0)


@pytest.mark.parametrize("case", geometries(25, seed=1), ids=str)
def test_conv_is_the_sum_over_taps(case):
    rng = np.random.default_rng(case["seed"])
    layout = case["stride"], tuple((p, p) for p in case["padding"]), case["dilation"], case["groups"]
    a = rng.standard_normal((2, *case["sizes"], case["channels"]))
    w = rng.standard_normal((*case["kernel"], case["channels"] // case["groups"], case["outputs"]))
    options = {"dilation": case["dilation"], "groups": case["groups"]}
    x, v = Tensor(a), Tensor(w)
    y = needle.conv(x, v, case["stride"], case["padding"], **options)
    assert_allclose(y.numpy(), by_loops.conv(layout, a, w), rtol=1e-12, atol=1e-12)
    g = rng.standard_normal(y.shape)
    y.backward(Tensor(g))
    assert_allclose(x.grad.numpy(), by_loops.conv_transpose(layout, case["sizes"], g, w), rtol=1e-12, atol=1e-12)
    assert_allclose(v.grad.numpy(), by_loops.conv_weights(layout, case["kernel"], a, g), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("case", geometries(25, seed=2), ids=str)
def test_conv_is_pytorchs(case, dtype, tolerance):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(case["seed"])
    axes = len(case["sizes"])
    a = rng.standard_normal((2, *case["sizes"], case["channels"])).astype(dtype)
    w = rng.standard_normal((*case["kernel"], case["channels"] // case["groups"], case["outputs"])).astype(dtype)
    options = {"dilation": case["dilation"], "groups": case["groups"]}
    x, v = Tensor(a), Tensor(w)
    y = needle.conv(x, v, case["stride"], case["padding"], **options)
    tx = torch.tensor(first_last(a, 1), requires_grad=True)
    tv = torch.tensor(as_torch_weight(w), requires_grad=True)
    ty = getattr(torch.nn.functional, f"conv{axes}d")(tx, tv, stride=case["stride"], padding=case["padding"], **options)
    g = rng.standard_normal(y.shape).astype(dtype)
    y.backward(Tensor(g))
    ty.backward(torch.tensor(first_last(g, 1)))
    for got, wanted in [
        (y, first_last(ty.detach().numpy(), 0)),
        (x.grad, first_last(tx.grad.numpy(), 0)),
        (v.grad, as_our_weight(tv.grad.numpy())),
    ]:
        assert got.dtype == dtype
        assert_allclose(got.numpy(), wanted, rtol=0, atol=tolerance * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("case", geometries(25, seed=3), ids=str)
def test_conv_transpose_is_pytorchs(case):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(case["seed"])
    axes = len(case["sizes"])
    added = tuple(int(rng.integers(max(s, d))) for s, d in zip(case["stride"], case["dilation"], strict=True))
    a = rng.standard_normal((2, *[n + 3 for n in case["sizes"]], case["outputs"]))
    w = rng.standard_normal((*case["kernel"], case["channels"] // case["groups"], case["outputs"]))
    options = {"output_padding": added, "dilation": case["dilation"], "groups": case["groups"]}
    x, v = Tensor(a), Tensor(w)
    padding = tuple(min(p, 1) for p in case["padding"])
    y = needle.conv_transpose(x, v, case["stride"], padding, **options)
    tx = torch.tensor(first_last(a, 1), requires_grad=True)
    tv = torch.tensor(as_torch_weight(w), requires_grad=True)
    function = getattr(torch.nn.functional, f"conv_transpose{axes}d")
    ty = function(tx, tv, stride=case["stride"], padding=padding, **options)
    g = rng.standard_normal(y.shape)
    y.backward(Tensor(g))
    ty.backward(torch.tensor(first_last(g, 1)))
    assert_allclose(y.numpy(), first_last(ty.detach().numpy(), 0), rtol=1e-10, atol=1e-10)
    assert_allclose(x.grad.numpy(), first_last(tx.grad.numpy(), 0), rtol=1e-10, atol=1e-10)
    assert_allclose(v.grad.numpy(), as_our_weight(tv.grad.numpy()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", geometries(15, seed=4), ids=str)
def test_conv_transpose_is_the_transpose_of_conv(case):
    """<conv(a, w), g> = <a, conv_transpose(g, w)>, for the lengths that both agree on."""
    rng = np.random.default_rng(case["seed"])
    options = {"dilation": case["dilation"], "groups": case["groups"]}
    w = rng.standard_normal((*case["kernel"], case["channels"] // case["groups"], case["outputs"]))
    a = rng.standard_normal((2, *case["sizes"], case["channels"]))
    y = needle.conv(a, w, case["stride"], case["padding"], **options)
    g = rng.standard_normal(y.shape)
    layout = zip(
        case["sizes"], y.shape[1:-1], case["kernel"], case["stride"], case["padding"], case["dilation"], strict=True
    )
    added = tuple(n - ((m - 1) * s - 2 * p + d * (k - 1) + 1) for n, m, k, s, p, d in layout)
    back = needle.conv_transpose(g, w, case["stride"], case["padding"], output_padding=added, **options)
    assert back.shape == a.shape
    assert_allclose((y.numpy() * g).sum(), (a * back.numpy()).sum(), rtol=1e-10)


def test_large_images_are_taken_in_parts():
    """Some images, and some rows of an image, at a time: the last part is smaller."""
    rng = np.random.default_rng(0)
    for shape, kernel in [((7, 40, 40, 16), 3), ((2, 90, 70, 40), 3), ((9, 60, 60, 2), 5), ((3, 50, 50, 20), 1)]:
        a = rng.standard_normal(shape).astype(np.float32)
        w = rng.standard_normal((kernel, kernel, shape[-1], 4)).astype(np.float32)
        x, v = Tensor(a), Tensor(w)
        y = needle.conv(x, v, 2, kernel // 2)
        padded = np.pad(a, [(0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2, (0, 0)]).astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (1, 2))[:, ::2, ::2]
        assert_allclose(y.numpy(), np.einsum("npqcij,ijco->npqo", windows, w), rtol=1e-4, atol=1e-4)
        g = rng.standard_normal(y.shape).astype(np.float32)
        y.backward(Tensor(g))
        weights = np.einsum("npqcij,npqo->ijco", windows, g)
        assert_allclose(v.grad.numpy(), weights, rtol=1e-4, atol=1e-4 * np.abs(weights).max())
        got = (x.grad.numpy() * a.astype(np.float64)).sum()
        assert_allclose(got, (weights * w).sum(), rtol=1e-3)


def test_padding_by_name_and_by_pairs():
    rng = np.random.default_rng(0)
    a, w = rng.standard_normal((2, 5, 6, 3)), rng.standard_normal((2, 3, 3, 4))
    same = needle.conv(a, w, padding="same")
    assert same.shape == (2, 5, 6, 4)
    padded = np.pad(a, [(0, 0), (0, 1), (1, 1), (0, 0)])
    assert_allclose(same.numpy(), needle.conv(padded, w, padding="valid").numpy())
    assert_allclose(same.numpy(), needle.conv(a, w, padding=((0, 1), (1, 1))).numpy())
    assert_allclose(needle.conv(a, w, padding=0).numpy(), needle.conv(a, w, padding="valid").numpy())
    assert needle.conv(a, w).shape == (2, 6, 6, 4)  # the course's default padding is 1


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda a, w: needle.conv(a[0], w), ValueError, "needs images"),
        (lambda a, w: needle.conv(a, w[..., :2, :]), ValueError, "4 channels"),
        (lambda a, w: needle.conv(a, w, groups=2), ValueError, "weights are for 4"),
        (lambda a, w: needle.conv(a, w, groups=4), ValueError, "divisible by groups=4"),
        (lambda a, w: needle.conv(a, w[:0]), ValueError, "at least one tap"),
        (lambda a, w: needle.conv(a, w, 0), ValueError, "stride must be 2 integers or one, at least 1"),
        (lambda a, w: needle.conv(a, w, 1.5), TypeError, "stride must be an integer"),
        (lambda a, w: needle.conv(a, w, True), TypeError, "stride must be an integer"),
        (lambda a, w: needle.conv(a, w, (1, 1, 1)), ValueError, "stride must be 2"),
        (lambda a, w: needle.conv(a, w, padding=-1), ValueError, "padding must be 2 integers or one, at least 0"),
        (lambda a, w: needle.conv(a, w, padding="full"), ValueError, '"same" or "valid"'),
        (lambda a, w: needle.conv(a, w, 2, padding="same"), ValueError, "needs stride 1"),
        (lambda a, w: needle.conv(a, w, padding=((1, 1),)), ValueError, "a pair for each of 2 axes"),
        (lambda a, w: needle.conv(a, w, dilation=0), ValueError, "dilation must be"),
        (lambda a, w: needle.conv(a, w, padding=0, dilation=9), ValueError, "are larger than images"),
        (needle.conv_transpose, ValueError, "4 channels, the weights are for 6"),
        (
            lambda a, w: needle.conv_transpose(a, w[..., :4], output_padding=1),
            ValueError,
            "output_padding must be less",
        ),
        (lambda a, w: needle.conv_transpose(a[:, :1, :1], w[..., :4], padding=3), ValueError, "leaves nothing"),
        (lambda a, w: needle.max_pool(a[0, 0], 2), ValueError, "needs"),
        (lambda a, w: needle.max_pool(a, 9), ValueError, "are larger than axis 1"),
        (lambda a, w: needle.max_pool(a, 2, padding=2), ValueError, "at most half of the kernel"),
        (lambda a, w: needle.max_pool(a, (2, 2, 2)), ValueError, "kernel_size must be 2"),
        (lambda a, w: needle.avg_pool(a, 2, axes=7), ValueError, "axis 7"),
        (lambda a, w: needle.avg_pool(a, 2, axes=(1, 1)), ValueError, "twice"),
        (lambda a, w: needle.adaptive_avg_pool(a, (1, 2, 3)), ValueError, "output_size must be 2"),
        (lambda a, w: needle.adaptive_avg_pool(a, 0), ValueError, "at least 1"),
        (lambda a, w: needle.dilate(a, 0, -1), ValueError, "at least 0"),
        (lambda a, w: needle.dilate(a, 0, 1.0), TypeError, "must be an int"),
        (lambda a, w: needle.dilate(a, 9), ValueError, "axis 9"),
        (lambda a, w: needle.split(a, 4), ValueError, "axis 4"),
    ],
)
def test_what_does_not_fit_is_explained(call, kind, words):
    with pytest.raises(kind, match=words):
        call(np.ones((2, 5, 6, 4)), np.ones((3, 3, 4, 6)))


# ------------------------------------------------------------------------------------------------------------- pooling


def test_pooling_is_pytorchs():
    torch = pytest.importorskip("torch")
    functions, rng = torch.nn.functional, np.random.default_rng(0)
    for _ in range(60):
        axes = int(rng.integers(1, 3))
        kernel, stride, dilation = drawn(rng, axes, 1, 4), drawn(rng, axes, 1, 4), drawn(rng, axes, 1, 3)
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        up, counted = bool(rng.integers(2)), bool(rng.integers(2))
        sizes = [int(rng.integers(d * (k - 1) + 1, 9)) for k, d in zip(kernel, dilation, strict=True)]
        places, output = tuple(range(2, 2 + axes)), drawn(rng, axes, 1, 6)
        a = rng.standard_normal((2, 3, *sizes))
        theirs = {name: getattr(functions, f"{name}_pool{axes}d") for name in ("max", "avg", "adaptive_avg")}
        more = {"ceil_mode": up, "axes": places}
        pairs = [
            (
                lambda x, k=kernel, s=stride, p=padding, d=dilation, m=more: needle.max_pool(
                    x, k, s, p, dilation=d, **m
                ),
                lambda x, f=theirs, k=kernel, s=stride, p=padding, d=dilation, u=up: f["max"](x, k, s, p, d, u),
            ),
            (
                lambda x, k=kernel, s=stride, p=padding, c=counted, m=more: needle.avg_pool(
                    x, k, s, p, count_include_pad=c, **m
                ),
                lambda x, f=theirs, k=kernel, s=stride, p=padding, c=counted, u=up: f["avg"](x, k, s, p, u, c),
            ),
            (
                lambda x, o=output, p=places: needle.adaptive_avg_pool(x, o, axes=p),
                lambda x, f=theirs["adaptive_avg"], o=output: f(x, output_size=o),
            ),
        ]
        for mine, other in pairs:
            x, t = Tensor(a), torch.tensor(a, requires_grad=True)
            y, ty = mine(x), other(t)
            g = rng.standard_normal(tuple(ty.shape))
            y.backward(Tensor(g))
            ty.backward(torch.tensor(g))
            assert_allclose(y.numpy(), ty.detach().numpy(), rtol=1e-12, atol=1e-12)
            assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 1), (2, 1)])
def test_equal_elements_share_evenly(kernel, stride):
    a = np.random.default_rng(0).integers(0, 3, (2, 7, 8, 3)).astype(np.float64)
    x = Tensor(a)
    y = needle.max_pool(x, kernel, stride)
    g = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(Tensor(g))
    expected = np.zeros(a.shape)
    for n, p, q, c in np.ndindex(y.shape):
        rows, columns = slice(p * stride, p * stride + kernel), slice(q * stride, q * stride + kernel)
        window = a[n, rows, columns, c]
        hits = window == window.max()
        expected[n, rows, columns, c] += g[n, p, q, c] * hits / hits.sum()
    assert_allclose(x.grad.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_elements_that_are_not_the_largest_pass_no_nan_on():
    """sqrt has an infinite slope at 0; there, the largest elements of the windows are others."""
    x = Tensor(np.array([0.0, 4.0, 9.0, 0.0]).reshape(1, 4, 1))
    needle.max_pool(needle.sqrt(x), 2).sum().backward()
    assert_array_equal(x.grad.numpy().ravel(), [0, 1 / 4, 1 / 6, 0])


def test_windows_of_nan_have_a_nan():
    a = np.array([1.0, np.nan, 2.0, 3.0]).reshape(1, 4, 1)
    x = Tensor(a)
    y = needle.max_pool(x, 2)
    assert_array_equal(y.numpy().ravel(), [np.nan, 3])
    y.backward()
    assert_array_equal(x.grad.numpy().ravel(), [0, 1, 0, 1])


def test_means_of_integers_and_of_half_precision():
    assert needle.avg_pool(np.arange(4).reshape(1, 4, 1), 2).numpy().ravel().tolist() == [0.5, 2.5]
    ones = np.ones((1, 5000, 1), np.float16)
    assert needle.avg_pool(ones, 5000).numpy().ravel() == [1]
    assert needle.adaptive_avg_pool(ones, 1).dtype == np.float16


# ------------------------------------------------------------------------------------------- moving elements about


def test_flip_dilate_and_split_as_the_course_has_them():
    a = np.arange(12.0).reshape(2, 3, 2)
    for axes in [0, (1,), (0, 1), (0, 1, 2), None]:
        assert_array_equal(needle.flip(Tensor(a), axes).numpy(), np.flip(a, axes))
        dilated = needle.dilate(Tensor(a), axes, 2)
        index = tuple(
            slice(None, None, 3) if axes is None or i in np.atleast_1d(axes) else slice(None) for i in range(3)
        )
        assert_array_equal(dilated.numpy()[index], a)
        assert dilated.numpy().sum() == a.sum()
        assert_array_equal(needle.undilate(dilated, axes, 2).numpy(), a)
    assert needle.dilate(Tensor([1.0, 2.0]), 0, 1).numpy().tolist() == [1, 0, 2, 0]
    parts = needle.split(Tensor(a), 1)
    assert isinstance(parts, needle.TensorTuple)
    for part, wanted in zip(parts.tuple(), np.moveaxis(a, 1, 0), strict=True):
        assert_array_equal(part.numpy(), wanted)
    assert_array_equal(needle.stack(list(parts), 1).numpy(), a)


def test_the_rules_give_one_adjoint_each_to_who_calls_them():
    a = Tensor(np.arange(12.0).reshape(2, 3, 2))
    for out in [needle.flip(a, 1), needle.dilate(a, (0, 2), 1), needle.undilate(a, 1, 1), needle.pad(a, 1)]:
        (adjoint,) = out.op.gradient_as_tuple(needle.Tensor(np.ones(out.shape)), out)
        assert adjoint.shape == a.shape
    x, w = Tensor(np.ones((2, 5, 5, 3))), Tensor(np.ones((3, 3, 3, 4)))
    out = needle.conv(x, w, stride=2, padding=1)
    adjoints = out.op.gradient_as_tuple(needle.Tensor(np.ones(out.shape)), out)
    assert [g.shape for g in adjoints] == [x.shape, w.shape]


# ------------------------------------------------------------------------------------------------------ order in memory


def axes_by_stride(a: Any) -> list[int]:
    return sorted(range(a.ndim), key=lambda i: -a.strides[i])


CHAIN = {
    "relu": needle.relu,
    "exp": needle.exp,
    "tanh": needle.tanh,
    "sigmoid": needle.sigmoid,
    "x * row": lambda x: x * np.arange(1, 17, dtype=np.float32).reshape(16, 1, 1),
    "x + x": lambda x: x + needle.exp(x),
    "x - number": lambda x: x - 0.5,
    "clip": lambda x: needle.clip(x, 0.2, 0.7),
    "where": lambda x: needle.where(x > 0.5, x, 0.0),
    "max_pool": lambda x: needle.max_pool(x, 2, axes=(2, 3)),
    "max_pool 3": lambda x: needle.max_pool(x, 3, 1, 1, axes=(2, 3)),
    "avg_pool": lambda x: needle.avg_pool(x, 2, axes=(2, 3)),
}


@pytest.mark.parametrize("images", [2, 200])  # small, and large enough for memory that is used again
@pytest.mark.parametrize("name", CHAIN)
def test_results_and_gradients_keep_their_inputs_order_in_memory(name, images):
    memory = np.random.default_rng(0).random((images, 8, 10, 16), np.float32)
    x = Tensor(memory.transpose(0, 3, 1, 2))
    for _ in range(2):  # the second time into memory that the first has left
        y = CHAIN[name](x)
        assert axes_by_stride(y._array) == [0, 2, 3, 1]
        assert y._array.flags.owndata or y._array.transpose(0, 2, 3, 1).flags.c_contiguous
        g = np.empty_like(y._array)
        g[...] = np.random.default_rng(1).random(g.shape)
        y.backward(Tensor(g))
        assert axes_by_stride(x.grad._array) == [0, 2, 3, 1]
    plain = Tensor(np.ascontiguousarray(x.numpy()))
    out = CHAIN[name](plain)
    out.backward(Tensor(np.ascontiguousarray(g)))
    assert_array_equal(out.numpy(), y.numpy())
    assert_array_equal(plain.grad.numpy(), x.grad.numpy())


def test_relu_of_any_order_in_memory():
    rng = np.random.default_rng(0)
    for shape in [(3, 4, 5), (40, 50, 60), (3, 1, 4), (2, 0, 3), (70000, 1, 1), (1, 300, 300)]:
        a = rng.standard_normal(shape)
        for view in [a, a.T, a.transpose(1, 0, 2), a[::-1], a[:, :, ::2], np.broadcast_to(a[:1], shape)]:
            for dtype in [np.float64, np.float32, np.float16]:
                x = view.astype(dtype) if dtype != np.float64 else view
                assert_array_equal(ops.ReLU().compute(x), np.maximum(x, 0), strict=True)
