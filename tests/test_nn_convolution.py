"""Convolution and pooling layers: beside PyTorch, beside the functions, layouts, first values, errors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, nn
from numpy.testing import assert_allclose, assert_array_equal

SEQUENCES, IMAGES = (2, 4, 9), (2, 4, 9, 8)
LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv1d", (4, 6, 3), {}, SEQUENCES),
    ("Conv1d", (4, 6, 3, 2, 1), {"dilation": 2, "groups": 2}, SEQUENCES),
    ("Conv1d", (4, 6, 4), {"padding": "same", "bias": False}, SEQUENCES),
    ("Conv2d", (4, 6, 3), {}, IMAGES),
    ("Conv2d", (4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2), {}, IMAGES),
    ("Conv2d", (4, 4, 3), {"padding": "same", "groups": 4, "bias": False}, IMAGES),
    ("Conv2d", (4, 6, 1), {"padding": "valid"}, IMAGES),
    ("ConvTranspose1d", (4, 6, 3), {}, SEQUENCES),
    ("ConvTranspose1d", (4, 6, 3, 2, 1, 1, 2), {"dilation": 2}, SEQUENCES),
    ("ConvTranspose2d", (4, 6, 3, 2, 1, 1), {}, IMAGES),
    ("ConvTranspose2d", (4, 6, (3, 2), (2, 3), (1, 0), (0, 1), 2, False), {}, IMAGES),
    ("MaxPool1d", (3,), {"padding": 1, "dilation": 2}, SEQUENCES),
    ("MaxPool2d", (2,), {}, IMAGES),
    ("MaxPool2d", ((3, 2), 2, (1, 0)), {"ceil_mode": True}, IMAGES),
    ("AvgPool1d", (3, 2), {"padding": 1}, SEQUENCES),
    ("AvgPool2d", (2,), {"ceil_mode": True}, IMAGES),
    ("AvgPool2d", (3, 2, 1), {"count_include_pad": False}, IMAGES),
    ("AdaptiveAvgPool1d", (4,), {}, SEQUENCES),
    ("AdaptiveAvgPool2d", ((3, 4),), {}, IMAGES),
    ("AdaptiveAvgPool2d", ((None, 1),), {}, IMAGES),
    ("AdaptiveAvgPool2d", (1,), {}, IMAGES),
]
IDS = [f"{name}{arguments}{options}" for name, arguments, options, _ in LAYERS]


def made(name: str, arguments: Any, options: Any, **more: Any) -> Any:
    return getattr(nn, name)(*arguments, **options, **more)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("layer", LAYERS, ids=IDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_are_pytorchs(layer, dtype):
    torch = pytest.importorskip("torch")
    name, arguments, options, shape = layer
    tolerance = {"float32": 1e-5, "float64": 1e-10}[dtype]
    theirs = getattr(torch.nn, name)(*arguments, **options).to(getattr(torch, dtype))
    mine = made(name, arguments, options)
    mine.to(dtype)
    nn.load_torch(mine, theirs.state_dict())
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    a, t = Tensor(x), torch.tensor(x, requires_grad=True)
    y, ty = mine(a), theirs(t)
    g = np.random.default_rng(1).standard_normal(tuple(ty.shape)).astype(dtype)
    y.backward(Tensor(g))
    ty.backward(torch.tensor(g))
    assert y.dtype == dtype
    assert_allclose(y.numpy(), ty.detach().numpy(), rtol=tolerance, atol=tolerance)
    assert_allclose(a.grad.numpy(), t.grad.numpy(), rtol=tolerance, atol=tolerance)
    gradients = copy.deepcopy(mine)
    for p, of in zip(gradients.parameters(), mine.parameters(), strict=True):
        p.data = of.grad
    for key, value in nn.torch_state_dict(gradients).items():
        wanted = dict(theirs.named_parameters())[key].grad.numpy()
        assert_allclose(value, wanted, rtol=tolerance, atol=tolerance * max(1, np.abs(wanted).max()))
    for key, value in nn.torch_state_dict(mine).items():
        assert_array_equal(value, theirs.state_dict()[key].numpy())


@pytest.mark.parametrize(("name", "arguments", "options", "shape"), LAYERS, ids=IDS)
def test_channels_last_and_single_images_give_the_same(name, arguments, options, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    layer = made(name, arguments, options)
    last = made(name, arguments, options, layout="NHWC" if len(shape) == 4 else "NLC")
    last.load_state_dict(layer.state_dict())
    y = layer(Tensor(x)).numpy()
    assert_array_equal(last(Tensor(np.moveaxis(x, 1, -1))).numpy(), np.moveaxis(y, 1, -1))
    assert_allclose(layer(Tensor(x[0])).numpy(), y[0], rtol=1e-6, atol=1e-6)
    assert layer(Tensor(x[:0])).shape == (0, *y.shape[1:])


def test_the_courses_convolution():
    """NumPy's global state gives the weight first, by He's rule, then the bias, within 1 / sqrt(fan_in)."""
    np.random.seed(0)
    layer = nn.Conv(3, 8, 5, stride=2)
    np.random.seed(0)
    bound = np.sqrt(6 / 75)
    weight = np.random.rand(5, 5, 3, 8) * 2 * bound - bound
    bias = (np.random.rand(8) * 2 - 1) / np.sqrt(75)
    assert_allclose(layer.weight.numpy(), weight, rtol=1e-5, atol=1e-6)
    assert_allclose(layer.bias.numpy(), bias, rtol=1e-5, atol=1e-6)
    x = np.random.rand(2, 3, 14, 13).astype(np.float32)
    y = layer(Tensor(x))
    wanted = needle.conv(x.transpose(0, 2, 3, 1), layer.weight, 2, 2) + layer.bias
    assert y.shape == (2, 8, 7, 7)
    assert_array_equal(y.numpy(), wanted.numpy().transpose(0, 3, 1, 2))
    assert nn.Conv(3, 8, 3, bias=False).bias is None
    assert len(nn.Conv(3, 8, 3, bias=False).parameters()) == 1


def test_first_values_have_their_bounds_and_can_be_drawn_again():
    for layer, fan in [
        (nn.Conv2d(8, 16, 3, groups=2, rng=0), 36),
        (nn.Conv1d(8, 16, 5, rng=0), 40),
        (nn.ConvTranspose2d(8, 16, 3, rng=0), 72),
    ]:
        weight, bias = layer.weight.numpy(), layer.bias.numpy()
        assert 0.9 < np.abs(weight).max() / np.sqrt(6 / fan) <= 1
        assert 0.5 < np.abs(bias).max() * np.sqrt(fan) <= 1
        layer.reset_parameters(rng=1)
        assert not np.array_equal(layer.weight.numpy(), weight)
        layer.reset_parameters(rng=0)
        assert_array_equal(layer.weight.numpy(), weight)
        assert_array_equal(layer.bias.numpy(), bias)


def test_the_first_input_decides_on_channels():
    for layer, shape in [
        (nn.Conv2d(None, 6, 3), IMAGES),
        (nn.Conv1d(None, 6, 3), SEQUENCES),
        (nn.ConvTranspose2d(None, 6, 3), IMAGES),
        (nn.Conv(None, 6, 3), IMAGES),
    ]:
        layer = pickle.loads(pickle.dumps(layer))
        y = layer(Tensor(np.ones(shape)))
        assert layer.in_channels == 4
        assert y.shape[1] == 6
        assert len(layer.parameters()) == 2
    last = nn.Conv2d(None, 6, 3, layout="NHWC")
    last(Tensor(np.ones(IMAGES)))
    assert last.in_channels == 8


def test_output_size_chooses_among_lengths():
    layer = nn.ConvTranspose2d(4, 3, 3, 2, 1)
    x = Tensor(np.ones((1, 4, 5, 5)))
    assert layer(x).shape == (1, 3, 9, 9)
    assert layer(x, output_size=(10, 9)).shape == (1, 3, 10, 9)
    assert layer(x, output_size=(1, 3, 9, 10)).shape == (1, 3, 9, 10)
    with pytest.raises(ValueError, match=r"from \(9, 9\) to \(10, 10\)"):
        layer(x, output_size=(11, 9))


def test_global_pooling():
    x = np.random.default_rng(0).standard_normal(IMAGES)
    assert_allclose(nn.GlobalAvgPool2d()(Tensor(x)).numpy(), x.mean((2, 3)))
    assert_allclose(nn.GlobalMaxPool2d()(Tensor(x)).numpy(), x.max((2, 3)))
    assert_allclose(nn.GlobalAvgPool2d(layout="NHWC")(Tensor(x)).numpy(), x.mean((1, 2)))


def test_a_chain_of_layers_makes_no_copies_of_its_images():
    """Each output is a view of memory with the channels last, which the next convolution reads as it is."""
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 8, 3))
    x = Tensor(np.ones((2, 3, 8, 8)))
    for layer in net:
        x = layer(x)
        assert x._array.transpose(0, 2, 3, 1).flags.c_contiguous


def test_a_net_learns_and_its_second_derivatives_are_right():
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, rng=0), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 2, rng=0)
    )
    net.double()
    x, v = rng.standard_normal((2, 1, 4, 4)), rng.standard_normal((2, 1, 4, 4))

    def loss(x: Any) -> Any:
        return (net(x) ** 2).sum()

    step = 1e-5
    gradient = needle.grad(loss)
    along = (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)
    assert_allclose(needle.hvp(loss, (x,), (v,)), along, rtol=1e-6, atol=1e-7)
    first = loss(Tensor(x)).item()
    for _ in range(20):
        loss(Tensor(x)).backward()
        with needle.no_grad():
            for p in net.parameters():
                p.data = p - 0.05 * p.grad
    assert loss(Tensor(x)).item() < 0.1 * first


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: nn.Conv2d(4, 5, 3)(x.transpose(0, 2, 3, 1)), "in_channels=4 in layout NCHW, got 9; is it NHWC"),
        (nn.Conv2d(3, 5, 3), "in_channels=3 in layout NCHW, got 4$"),
        (lambda x: nn.Conv2d(4, 5, 3)(x[0, 0]), "must have the axes NCHW, or CHW"),
        (lambda x: nn.MaxPool2d(2)(x[0, 0]), "must have the axes NCHW"),
        (lambda x: nn.Conv2d(4, 5, 3, groups=4), "out_channels=5 must be divisible by groups=4"),
        (lambda x: nn.Conv2d(4, 5, 3, groups=0), "groups must be an integer, at least 1"),
        (lambda x: nn.Conv2d(4, 5, (3, 3, 3)), "Conv2d: kernel_size must be 2 integers or one"),
        (lambda x: nn.Conv1d(4, 5, 0), "Conv1d: kernel_size must be an integer, at least 1"),
        (lambda x: nn.Conv2d(4, 5, 3, stride=0), "Conv2d: stride"),
        (lambda x: nn.Conv2d(4, 5, 3, layout="CHW"), "layout must be 'NCHW' or 'NHWC'"),
        (lambda x: nn.Conv1d(4, 5, 3, layout="NHWC"), "layout must be 'NCL' or 'NLC'"),
        (nn.Conv2d(4, 5, 11), "larger than images"),
        (nn.ConvTranspose2d(4, 5, 3, output_padding=1), "output_padding must be less than the stride"),
    ],
)
def test_what_does_not_fit_is_explained(call, words):
    with pytest.raises(ValueError, match=words):
        call(Tensor(np.ones(IMAGES)))


def test_repr_says_what_is_not_usual():
    assert repr(nn.Conv2d(3, 8, 3)) == "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))  # 224 parameters"
    layer = nn.Conv2d(4, 8, 3, 2, "valid", 2, 2, bias=False, layout="NHWC")
    assert "padding='valid', dilation=(2, 2), groups=2, bias=False, layout='NHWC'" in repr(layer)
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=0)"
    assert repr(nn.AdaptiveAvgPool2d((1, 2))) == "AdaptiveAvgPool2d(output_size=(1, 2))"


def test_summaries_count_multiplications():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ConvTranspose2d(8, 2, 2, 2))
    assert nn.summary(net, (1, 3, 6, 6)).multiply_adds == 36 * 8 * 27 + 36 * 8 * 4 * 2
