"""The deep-learning-systems course's contract, third part: operations on images and sequences, convolutions, recurrent
layers, CIFAR-10, the Penn Treebank, ResNet9 and language models.

References are written in NumPy, step by step. Numbers called "published" are those that the course
prints for its seeds.
"""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import models
import needle
import numpy as np
import pytest
import simple_ml
from course import check_gradient, normal
from needle import Tensor, nn
from needle import backend_ndarray as nd
from numpy.testing import assert_allclose, assert_array_equal

ROOT = Path(__file__).resolve().parents[1]
DEVICE = needle.cpu()


def on_device(a: Any) -> Tensor:
    """A Tensor as the course's tests make them."""
    return Tensor(nd.array(a), device=DEVICE)


# ------------------------------------------------------------------------------------------------- devices and arrays


def test_devices():
    assert needle.cpu().enabled() and not needle.cuda().enabled()
    assert needle.cpu() == nd.cpu() == needle.cpu() != needle.cuda()
    x = on_device(normal(3, 2))
    assert x.device == DEVICE and (x + 1).device == DEVICE and Tensor(x, device=DEVICE).device == DEVICE


def test_ndarrays():
    a = normal(3, 2)
    array = nd.NDArray(a, device=nd.cpu())
    assert isinstance(array, nd.NDArray) and array.size == 6 and array.device == nd.cpu()
    assert_array_equal(array.numpy(), a)
    array.flat[4] += 0.5
    assert array.numpy()[2, 0] == a[2, 0] + 0.5 and type(array.numpy()) is np.ndarray
    padded = nd.NDArray(normal(2, 3, 3, 4)).pad(((0, 0), (2, 1), (0, 3), (0, 0)))
    assert_array_equal(padded.numpy(), np.pad(normal(2, 3, 3, 4), ((0, 0), (2, 1), (0, 3), (0, 0))))


PROGRAM = """
    import sys
    sys.path.insert(0, "./apps")
    import numpy as np
    import needle as ndl
    import needle.nn as nn
    from needle import backend_ndarray as nd
    from models import ResNet9
    from apps.models import LanguageModel
    from simple_ml import *

    device = ndl.cpu()
    x = ndl.Tensor(nd.array(np.ones((2, 3))), device=device)
    y = (x * x).sum()
    y.backward()
    for t in (x, y, x.grad, nn.Linear(3, 2).weight, ResNet9(device=device, dtype="float32").parameters()[0]):
        assert isinstance(t.cached_data, nd.NDArray), type(t.cached_data)
        assert isinstance(t.realize_cached_data(), nd.NDArray)
        assert type(t.cached_data.numpy()) is np.ndarray and t.cached_data.device == device
    x.realize_cached_data().flat[1] += 0.5
    assert x.numpy()[0, 1] == 1.5 and (x + 0).cached_data.numpy()[0, 1] == 1.5
    layer = nn.Conv(3, 4, 3, device=device)
    assert layer.weight.cached_data.numpy().transpose(3, 2, 0, 1).shape == (4, 3, 3, 3)
    batch = ndl.data.get_batch(ndl.data.batchify(np.arange(50), 5, device=device, dtype="float32"), 0, 4, device=device)
    assert isinstance(batch[0].cached_data, nd.NDArray)
    (found,) = ndl.data.DataLoader(ndl.data.NDArrayDataset(np.ones((2, 3), np.float32)), batch_size=2)
    assert isinstance(found[0].cached_data, nd.NDArray) and found[0].dtype == "float32" and found[0].device == device
    train_ptb, evaluate_ptb, train_cifar10, evaluate_cifar10, LanguageModel
    assert not hasattr(ndl, "np") and ndl.numpy is not np
    print("fine")
"""


def test_with_the_courses_switch_tensors_hand_out_ndarrays():
    environment = {**os.environ, "NEEDLE_BACKEND": "nd", "PYTHONPATH": str(ROOT / "python")}
    run = [sys.executable, "-W", "error", "-c", "import sys; sys.path.insert(0, '.')\n" + textwrap.dedent(PROGRAM)]
    found = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert found.stdout == "fine\n", found.stderr


# ------------------------------------------------------------------------------------------------ names and signatures

KIND = {"device": None, "dtype": "float32"}
DRAWN = {"requires_grad": False, **KIND}
TEXT = {"loss_fn": nn.SoftmaxLoss, **KIND}
SIGNATURES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "nn.Linear": (["in_features", "out_features"], {"bias": True, **KIND}),
    "nn.BatchNorm1d": (["dim"], {"eps": 1e-5, "momentum": 0.1, **KIND}),
    "nn.BatchNorm2d": (["dim"], {"eps": 1e-5, "momentum": 0.1, **KIND}),
    "nn.LayerNorm1d": (["dim"], {"eps": 1e-5, **KIND}),
    "nn.Dropout": ([], {"p": 0.5}),
    "nn.Residual": (["fn"], {}),
    "nn.Conv": (["in_channels", "out_channels", "kernel_size"], {"stride": 1, "bias": True, **KIND}),
    "nn.RNNCell": (["input_size", "hidden_size"], {"bias": True, "nonlinearity": "tanh", **KIND}),
    "nn.LSTMCell": (["input_size", "hidden_size"], {"bias": True, **KIND}),
    "nn.RNN": (["input_size", "hidden_size"], {"num_layers": 1, "bias": True, "nonlinearity": "tanh", **KIND}),
    "nn.LSTM": (["input_size", "hidden_size"], {"num_layers": 1, "bias": True, **KIND}),
    "nn.Embedding": (["num_embeddings", "embedding_dim"], KIND),
    "optim.SGD": (["params"], {"lr": 0.01, "momentum": 0.0, "weight_decay": 0.0}),
    "optim.Adam": (["params"], {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}),
    "init.rand": ([], {"low": 0.0, "high": 1.0, **DRAWN}),
    "init.randn": ([], {"mean": 0.0, "std": 1.0, **DRAWN}),
    "init.randb": ([], {"p": 0.5, **DRAWN, "dtype": "bool"}),
    "init.constant": ([], {"c": 1.0, **DRAWN}),
    "init.one_hot": (["n", "i"], DRAWN),
    "init.xavier_uniform": (["fan_in", "fan_out"], {"gain": 1.0}),
    "init.xavier_normal": (["fan_in", "fan_out"], {"gain": 1.0}),
    "init.kaiming_uniform": (["fan_in", "fan_out"], {"shape": None, "nonlinearity": "relu"}),
    "init.kaiming_normal": (["fan_in", "fan_out"], {"nonlinearity": "relu"}),
    "data.DataLoader": (["dataset"], {"batch_size": 1, "shuffle": False}),
    "data.MNISTDataset": (["images", "labels"], {"transforms": None}),
    "data.RandomFlipHorizontal": ([], {"p": 0.5}),
    "data.RandomCrop": ([], {"padding": 3}),
    "data.CIFAR10Dataset": (["base_folder", "train"], {"p": 0.5, "transforms": None}),
    "data.Corpus": (["base_dir"], {"max_lines": None}),
    "data.batchify": (["data", "batch_size"], KIND),
    "data.get_batch": (["batches", "i", "bptt"], {"device": None, "dtype": None}),
    "simple_ml.train_cifar10": (
        ["model", "dataloader"],
        {"n_epochs": 1, "optimizer": needle.optim.Adam, "lr": 0.001, "weight_decay": 0.001, "loss_fn": nn.SoftmaxLoss},
    ),
    "simple_ml.evaluate_cifar10": (["model", "dataloader"], {"loss_fn": nn.SoftmaxLoss}),
    "simple_ml.epoch_general_cifar10": (["dataloader", "model"], {"opt": None}),
    "simple_ml.train_ptb": (
        ["model", "data"],
        {
            "seq_len": 40,
            "n_epochs": 1,
            "optimizer": needle.optim.SGD,
            "lr": 4.0,
            "weight_decay": 0.0,
            "clip": None,
            **TEXT,
        },
    ),
    "simple_ml.evaluate_ptb": (["model", "data"], {"seq_len": 40, **TEXT}),
    "simple_ml.epoch_general_ptb": (["data", "model"], {"seq_len": 40, "opt": None, "clip": None, **KIND}),
    "models.ResNet9": ([], KIND),
    "models.LanguageModel": (
        ["embedding_size", "output_size", "hidden_size"],
        {"num_layers": 1, "seq_model": "rnn", "seq_len": 40, **KIND},
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    """The arguments without a default come first, by these names and in this order; the others have these defaults."""
    module, _, attribute = name.rpartition(".")
    found = inspect.signature(
        getattr({"models": models, "simple_ml": simple_ml}.get(module) or getattr(needle, module), attribute)
    )
    first, defaults = SIGNATURES[name]
    parameters = found.parameters
    positional = [key for key, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional[: len(first)] == first and all(
        parameters[key].default is inspect.Parameter.empty for key in first
    )
    options = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key, value in defaults.items():
        assert (key in parameters and parameters[key].default == value) or (key not in parameters and options), key


# ---------------------------------------------------------------------------------------------------------- operations

NAMES = """add add_scalar broadcast_to conv dilate divide divide_scalar exp flip log logsoftmax logsumexp make_tuple
    matmul mul_scalar multiply negate power power_scalar relu reshape split stack summation tanh transpose
    tuple_get_item undilate"""


def test_operations_stand_in_needle_and_in_its_ops():
    for name in NAMES.split():
        assert getattr(needle, name) is getattr(needle.ops, name)
    assert needle.TensorTuple is needle.autograd.TensorTuple and needle.Tensor is needle.autograd.Tensor


ELEMENTWISE = {
    "tanh": (needle.tanh, np.tanh),
    "exp": (needle.exp, np.exp),
    "relu": (needle.relu, lambda a: np.maximum(a, 0)),
    "log": (lambda x: needle.log(x + 5), lambda a: np.log(a + 5)),
    "power": (lambda x: x**3, lambda a: a**3),
}


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 5, 6)])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name, shape):
    function, reference = ELEMENTWISE[name]
    assert_allclose(function(on_device(normal(*shape))).numpy(), reference(normal(*shape)), rtol=1e-12)
    check_gradient(function, on_device(normal(*shape)))


@pytest.mark.parametrize(
    ("m", "n", "p"), [(1, 2, 3), (8, 8, 8), (3, 4, 5), (16, 16, 32), (72, 73, 74), (128, 128, 128)]
)
def test_matmul(m, n, p):
    a, b = normal(m, n), normal(n, p)
    assert_allclose((on_device(a) @ on_device(b)).numpy(), a @ b, rtol=1e-10, atol=1e-10)
    if m < 8:
        check_gradient(needle.matmul, on_device(a), on_device(b))


@pytest.mark.parametrize(
    ("shape", "axis", "count"), [((5, 5), 0, 1), ((5, 5), 0, 2), ((1, 5, 7), 2, 5), ((2, 3), 1, 3)]
)
def test_stack_and_split(shape, axis, count):
    arrays = [normal(*shape, seed=i) for i in range(count)]
    stacked = needle.stack([on_device(a) for a in arrays], axis=axis)
    assert_array_equal(stacked.numpy(), np.stack(arrays, axis))
    check_gradient(lambda *xs: needle.stack(list(xs), axis=axis), *map(on_device, arrays))
    parts = needle.ops.split(stacked, axis=axis)
    assert isinstance(parts, needle.TensorTuple) and len(parts) == count
    assert isinstance(parts.tuple(), tuple)
    for part, a in zip(parts.tuple(), arrays, strict=True):
        assert_array_equal(part.numpy(), a)
    x = on_device(np.stack(arrays, axis))
    sum(((k + 1) * part**2).sum() for k, part in enumerate(needle.ops.split(x, axis=axis))).backward()
    assert_allclose(x.grad.numpy(), np.stack([2 * (k + 1) * a for k, a in enumerate(arrays)], axis))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((1, 1, 1), None), ((5, 3), 0), ((8, 3, 2), 1), ((8, 3, 2), 2), ((4, 3, 2), (0, 2)), ((5, 3), (1,))],
)
@pytest.mark.parametrize("name", ["summation", "logsumexp"])
def test_reductions(name, shape, axes):
    function = getattr(needle, name)
    reference = np.sum if name == "summation" else lambda a, axis: np.log(np.exp(a).sum(axis))
    assert_allclose(
        function(on_device(normal(*shape)), axes=axes).numpy(), reference(normal(*shape), axis=axes), rtol=1e-10
    )
    check_gradient(lambda x: function(x, axes=axes), on_device(normal(*shape)))


@pytest.mark.parametrize(("shape", "to"), [((1, 1, 1), (3, 3, 3)), ((4, 1, 6), (4, 3, 6)), ((6, 1), (2, 6, 5))])
def test_broadcast_to(shape, to):
    assert_array_equal(needle.broadcast_to(on_device(normal(*shape)), to).numpy(), np.broadcast_to(normal(*shape), to))
    check_gradient(lambda x: needle.broadcast_to(x, to), on_device(normal(*shape)))


@pytest.mark.parametrize(
    ("shape", "axes"), [((4, 5, 6), (0, 1)), ((4, 5, 6), None), ((1, 5, 2), (1, 0)), ((4, 5, 6), (0, 2))]
)
def test_transpose_swaps_two_axes(shape, axes):
    expected = np.swapaxes(normal(*shape), *(axes or (-1, -2)))
    assert_array_equal(needle.transpose(on_device(normal(*shape)), axes=axes).numpy(), expected)
    check_gradient(lambda x: needle.transpose(x, axes=axes), on_device(normal(*shape)))


FLIPS = [
    ((10, 5), (0,)),
    ((10, 5), (1,)),
    ((10, 5), (0, 1)),
    ((2, 3, 3, 8), (0, 1)),
    ((3, 3, 6, 4), (1, 2)),
    ((3, 3, 2, 4), (2, 3)),
    ((2, 3, 2, 4), (0, 1, 2, 3)),
]


@pytest.mark.parametrize(("shape", "axes"), FLIPS)
def test_flip(shape, axes):
    assert_array_equal(needle.flip(on_device(normal(*shape)), axes=axes).numpy(), np.flip(normal(*shape), axes))
    check_gradient(lambda x: needle.flip(x, axes=axes), on_device(normal(*shape)))


DILATIONS = [
    ((2, 5), 1, (0,)),
    ((2, 5), 2, (1,)),
    ((2, 5), 1, (0, 1)),
    ((2, 5), 0, (0, 1)),
    ((2, 3, 2, 3), 2, (1, 2)),
    ((2, 2, 3, 2), 3, (0, 1, 2, 3)),
]


def np_dilate(a: Any, axes: Any, dilation: int) -> Any:
    for axis in axes:
        spread = np.zeros((*a.shape[:axis], a.shape[axis] * (dilation + 1), *a.shape[axis + 1 :]))
        for i in range(a.shape[axis]):
            where = [slice(None)] * a.ndim
            where[axis] = i * (dilation + 1)
            spread[tuple(where)] = a.take(i, axis)
        a = spread
    return a


@pytest.mark.parametrize(("shape", "dilation", "axes"), DILATIONS)
def test_dilate(shape, dilation, axes):
    found = needle.dilate(on_device(normal(*shape)), dilation=dilation, axes=axes)
    assert_array_equal(found.numpy(), np_dilate(normal(*shape), axes, dilation))
    check_gradient(lambda x: needle.dilate(x, axes=axes, dilation=dilation), on_device(normal(*shape)))


# -------------------------------------------------------------------------------------------------------- convolutions


def np_conv(z: Any, w: Any, stride: int = 1, padding: int = 1) -> Any:
    """One product a place of the window."""
    z = np.pad(z, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    k = w.shape[0]
    rows, columns = ((n - k) // stride + 1 for n in z.shape[1:3])
    out = np.zeros((z.shape[0], rows, columns, w.shape[3]))
    for i in range(rows):
        for j in range(columns):
            window = z[:, i * stride : i * stride + k, j * stride : j * stride + k]
            out[:, i, j] = np.tensordot(window, w, ([1, 2, 3], [0, 1, 2]))
    return out


CONVOLUTIONS = [
    ((3, 6, 6, 3), (3, 3, 3, 4), 1, 1),
    ((3, 6, 6, 3), (3, 3, 3, 4), 1, 0),
    ((2, 7, 7, 2), (3, 3, 2, 2), 2, 1),
    ((2, 6, 6, 2), (3, 3, 2, 3), 2, 0),
    ((2, 7, 7, 1), (5, 5, 1, 2), 1, 2),
    ((1, 9, 9, 2), (5, 5, 2, 1), 3, 2),
    ((2, 5, 5, 3), (1, 1, 3, 4), 1, 0),
    ((2, 5, 5, 2), (1, 1, 2, 2), 2, 0),
    ((1, 6, 6, 2), (4, 4, 2, 2), 1, 1),
    ((1, 5, 8, 2), (3, 3, 2, 2), 2, 1),
]


@pytest.mark.parametrize(("z", "w", "stride", "padding"), CONVOLUTIONS)
def test_conv(z, w, stride, padding):
    out = needle.conv(on_device(normal(*z)), on_device(normal(*w)), stride=stride, padding=padding)
    assert_allclose(out.numpy(), np_conv(normal(*z), normal(*w), stride, padding), rtol=1e-10, atol=1e-10)
    check_gradient(
        lambda a, b: needle.conv(a, b, stride=stride, padding=padding), on_device(normal(*z)), on_device(normal(*w))
    )


def test_conv_pads_by_one_unless_told_otherwise():
    z, w = normal(2, 5, 5, 2), normal(3, 3, 2, 2)
    assert_allclose(needle.conv(on_device(z), on_device(w)).numpy(), np_conv(z, w), rtol=1e-10, atol=1e-12)


LAYERS = [
    (4, 8, 6, 3, 1),
    (6, 4, 4, 3, 2),
    (7, 2, 3, 3, 2),
    (7, 3, 2, 5, 1),
    (6, 1, 1, 1, 1),
    (6, 3, 2, 1, 2),
    (8, 2, 2, 7, 4),
]


@pytest.mark.parametrize("sizes", LAYERS)
@pytest.mark.parametrize("bias", [True, False])
def test_conv_layer(sizes, bias):
    size, cin, cout, k, stride = sizes
    np.random.seed(3)
    layer = nn.Conv(cin, cout, k, stride=stride, bias=bias, device=DEVICE, dtype="float64")
    np.random.seed(3)
    bound = np.sqrt(6 / (cin * k * k))
    assert_allclose(layer.weight.numpy(), (2 * np.random.rand(k, k, cin, cout) - 1) * bound, rtol=1e-6, atol=1e-9)
    if bias:
        bound = 1 / np.sqrt(cin * k * k)
        assert_allclose(layer.bias.numpy(), (2 * np.random.rand(cout) - 1) * bound, rtol=1e-6, atol=1e-9)
    assert len(layer.parameters()) == 1 + bias
    x = on_device(normal(2, cin, size, size))
    z, w, b = x.numpy().transpose(0, 2, 3, 1), layer.weight.numpy(), layer.bias.numpy() if bias else 0
    expected = (np_conv(z, w, stride, (k - 1) // 2) + b).transpose(0, 3, 1, 2)
    y = layer(x)
    assert y.shape == (2, cout, -(-size // stride), -(-size // stride))
    assert_allclose(y.numpy(), expected, rtol=1e-9, atol=1e-10)
    y.sum().backward()
    found = [x.grad.numpy(), *[p.grad.numpy() for p in layer.parameters()]]
    directions = [normal(*a.shape, seed=9) for a in found]

    def moved(step: float) -> float:
        z2 = z + step * directions[0].transpose(0, 2, 3, 1)
        out = np_conv(z2, w + step * directions[1], stride, (k - 1) // 2)
        return float((out + (b + step * directions[2] if bias else 0)).sum())

    slope = sum(np.sum(g * d) for g, d in zip(found, directions, strict=True))
    assert_allclose(slope, (moved(1e-5) - moved(-1e-5)) / 2e-5, rtol=1e-6)


def test_the_conv_layer_computes_in_float32_by_default():
    layer = nn.Conv(2, 3, 3)
    assert layer.weight.dtype == np.float32 and layer(Tensor(normal(1, 2, 4, 4))).dtype == np.float32
    x = needle.init.rand(2, 2, 4, 4, device=DEVICE, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.dtype == np.float32


def test_the_first_values_of_kernels_take_a_shape():
    np.random.seed(0)
    found = needle.init.kaiming_uniform(16 * 9, 32 * 9, shape=(3, 3, 16, 32))
    np.random.seed(0)
    assert_allclose(found.numpy(), (2 * np.random.rand(3, 3, 16, 32) - 1) * np.sqrt(6 / 144), rtol=1e-5, atol=1e-8)


def test_batch_norm_of_images():
    norm, x = nn.BatchNorm2d(3, dtype="float64"), on_device(normal(4, 3, 5, 2))
    a = x.numpy()
    mean, var = a.mean((0, 2, 3)), a.var((0, 2, 3))
    beside = (slice(None), None, None)
    assert_allclose(norm(x).numpy(), (a - mean[beside]) / np.sqrt(var[beside] + 1e-5), rtol=1e-9, atol=1e-10)
    assert_allclose(norm.running_mean.numpy(), 0.1 * mean, rtol=1e-9)
    assert_allclose(norm.running_var.numpy(), 0.9 + 0.1 * var, rtol=1e-9)
    assert [p.shape for p in norm.parameters()] == [(3,), (3,)]


# ---------------------------------------------------------------------------------------------------- recurrent layers


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def np_cell(kind: str, w: dict[str, Any], x: Any, states: list[Any]) -> list[Any]:
    """The states after a step."""
    z = x @ w["W_ih"] + states[0] @ w["W_hh"] + w.get("bias_ih", 0) + w.get("bias_hh", 0)
    if kind == "LSTM":
        i, f, g, o = np.split(z, 4, axis=1)
        c = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]
    return [np.maximum(z, 0) if kind == "relu" else np.tanh(z)]


def np_layers(kind: str, cells: list[dict[str, Any]], x: Any, states: list[Any]) -> list[Any]:
    """The output, then the last states of all layers."""
    ends = []
    for k, w in enumerate(cells):
        now, out = [s[k] for s in states], []
        for step in x:
            now = np_cell(kind, w, step, now)
            out.append(now[0])
        x = np.stack(out)
        ends.append(now)
    return [x, *[np.stack(s) for s in zip(*ends, strict=True)]]


def assign(cell: Any, kind: str, sizes: tuple[int, int], bias: bool, seed: int) -> dict[str, Any]:
    """Plain Tensors in the place of a cell's weights, as the course's tests put them there; and their arrays."""
    inputs, hidden = sizes
    width = hidden * (4 if kind == "LSTM" else 1)
    shapes: dict[str, tuple[int, ...]] = {"W_ih": (inputs, width), "W_hh": (hidden, width)}
    shapes |= {"bias_ih": (width,), "bias_hh": (width,)} if bias else {}
    found = {}
    for name, shape in shapes.items():
        assert getattr(cell, name).shape == shape
        found[name] = normal(*shape, seed=seed + len(found)) / np.sqrt(hidden)
        setattr(cell, name, on_device(found[name]))
    if not bias:
        assert cell.bias_ih is None and cell.bias_hh is None
    return found


def slope_of(reference: Any, weights: dict[Any, Any], found: dict[Any, Any]) -> tuple[float, float]:
    """The derivative along one random direction of all weights at once: by the gradients, and by a difference."""
    directions = {key: normal(*a.shape, seed=11 + i) for i, (key, a) in enumerate(weights.items())}

    def moved(step: float) -> float:
        return float(reference({key: a + step * directions[key] for key, a in weights.items()}))

    by_gradients = sum(float(np.sum(found[key] * directions[key])) for key in weights)
    return by_gradients, (moved(1e-5) - moved(-1e-5)) / 2e-5


def first_state(kind: str, shape: tuple[int, ...], given: bool) -> tuple[list[Any], Any]:
    """The arrays of a state, and what is handed to a layer."""
    count = 2 if kind == "LSTM" else 1
    if not given:
        return [np.zeros(shape)] * count, None
    arrays = [normal(*shape, seed=5 + i) for i in range(count)]
    tensors = tuple(on_device(a) for a in arrays)
    return arrays, tensors if count == 2 else tensors[0]


kinds = pytest.mark.parametrize("kind", ["tanh", "relu", "LSTM"])
biases = pytest.mark.parametrize("bias", [True, False])
states = pytest.mark.parametrize("given", [True, False])


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 11, 12), (1, 11, 1)])
@kinds
@biases
@states
def test_cells(kind, sizes, bias, given):
    batch, inputs, hidden = sizes
    options = {"bias": bias, "device": DEVICE, "dtype": "float64"}
    cell = nn.LSTMCell(inputs, hidden, **options) if kind == "LSTM" else None
    cell = cell or nn.RNNCell(inputs, hidden, nonlinearity=kind, **options)
    weights = assign(cell, kind, (inputs, hidden), bias, seed=1)
    x = normal(batch, inputs)
    arrays, state = first_state(kind, (batch, hidden), given)
    out = cell(on_device(x), state)
    found = list(out) if kind == "LSTM" else [out]
    for got, wanted in zip(found, np_cell(kind, weights, x, arrays), strict=True):
        assert got.shape == (batch, hidden)
        assert_allclose(got.numpy(), wanted, rtol=1e-10, atol=1e-12)
    sum(s.sum() for s in found).backward()
    grads = {name: getattr(cell, name).grad.numpy() for name in weights}
    got, wanted = slope_of(lambda w: sum(s.sum() for s in np_cell(kind, w, x, arrays)), weights, grads)
    assert_allclose(got, wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (13, 2, 5, 11, 12), (5, 3, 1, 2, 3)])
@kinds
@biases
@states
def test_layers(kind, sizes, bias, given):
    steps, layers, batch, inputs, hidden = sizes
    options = {"bias": bias, "device": DEVICE, "dtype": "float64"}
    if kind == "LSTM":
        model: Any = nn.LSTM(inputs, hidden, layers, **options)
        cells = model.lstm_cells
    else:
        model = nn.RNN(inputs, hidden, num_layers=layers, nonlinearity=kind, **options)
        cells = model.rnn_cells
    assert len(cells) == layers
    weights = [assign(cell, kind, (hidden if k else inputs, hidden), bias, seed=10 * k) for k, cell in enumerate(cells)]
    x = normal(steps, batch, inputs)
    arrays, state = first_state(kind, (layers, batch, hidden), given)
    output, last = model(on_device(x), state)
    assert output.shape == (steps, batch, hidden)
    found = [output, *(last if kind == "LSTM" else [last])]
    for got, wanted in zip(found, np_layers(kind, weights, x, arrays), strict=True):
        assert got.shape == wanted.shape
        assert_allclose(got.numpy(), wanted, rtol=1e-9, atol=1e-12)
    output.sum().backward()
    flat = {(k, name): a for k, w in enumerate(weights) for name, a in w.items()}
    grads = {(k, name): getattr(cells[k], name).grad.numpy() for k, name in flat}

    def reference(w: dict[Any, Any]) -> Any:
        each = [{name: w[k, name] for name in weights[k]} for k in range(layers)]
        return np_layers(kind, each, x, arrays)[0].sum()

    got, wanted = slope_of(reference, flat, grads)
    assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell"])
def test_weights_of_cells_are_drawn_in_turn(name):
    width = 20 if name == "LSTMCell" else 5
    np.random.seed(0)
    cell = getattr(nn, name)(3, 5, device=DEVICE)
    np.random.seed(0)
    for weight, shape in [("W_ih", (3, width)), ("W_hh", (5, width)), ("bias_ih", (width,)), ("bias_hh", (width,))]:
        expected = (2 * np.random.rand(*shape) - 1) / np.sqrt(5)
        assert getattr(cell, weight).dtype == np.float32
        assert_allclose(getattr(cell, weight).numpy(), expected, rtol=1e-4, atol=1e-7)


def test_sigmoid():
    a = normal(4, 3) * 30
    assert_allclose(nn.Sigmoid()(Tensor(a)).numpy(), sigmoid(a), rtol=1e-12)
    check_gradient(nn.Sigmoid(), Tensor(normal(4, 3)))


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_embedding(dtype):
    np.random.seed(0)
    layer = nn.Embedding(9, 4, device=DEVICE)
    np.random.seed(0)
    rows = np.random.randn(9, 4)
    assert_allclose(layer.weight.numpy(), rows, rtol=1e-6)
    ids = np.random.randint(0, 9, (6, 3)).astype(dtype)
    y = layer(Tensor(ids, device=DEVICE, requires_grad=False))
    assert y.shape == (6, 3, 4) and y.dtype == np.float32
    assert_allclose(y.numpy(), rows[ids.astype(int)], rtol=1e-6)
    y.sum().backward()
    counts = np.bincount(ids.astype(int).ravel(), minlength=9)
    assert_array_equal(layer.weight.grad.numpy(), np.repeat(counts[:, None], 4, 1))
    layer(Tensor(ids, device=DEVICE)).sum().backward()  # as the course has them: Tensors that require a gradient
    assert_array_equal(layer.weight.grad.numpy(), np.repeat(counts[:, None], 4, 1))


# ----------------------------------------------------------------------------------------------------------------- data


def write_cifar(folder: Path, n: int = 40) -> dict[str, Any]:
    """Six files of the published format, with few images each."""
    written = {}
    for k, name in enumerate([*[f"data_batch_{i}" for i in range(1, 6)], "test_batch"]):
        rng = np.random.default_rng(k)
        labels = rng.integers(0, 10, n).tolist()
        pixels = rng.integers(0, 100, (n, 3, 1024), dtype=np.uint8)
        pixels[np.arange(n), np.array(labels) % 3, 100 * (np.array(labels) // 3)] = 255
        pixels += (np.arange(3)[:, None] == np.array(labels)[:, None, None] % 3).astype(np.uint8) * 80
        content = {
            b"batch_label": b"part",
            b"labels": labels,
            b"data": pixels.reshape(n, 3072),
            b"filenames": [b"a"] * n,
        }
        (folder / name).write_bytes(pickle.dumps(content, 2))
        written[name] = pixels, labels
    return written


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar") / "cifar-10-batches-py"
    folder.mkdir()
    return folder, write_cifar(folder)


@pytest.mark.parametrize("train", [True, False])
def test_cifar10_dataset(cifar, train):
    folder, written = cifar
    dataset = needle.data.CIFAR10Dataset(str(folder), train=train)
    assert len(dataset) == (200 if train else 40)
    names = [f"data_batch_{i}" for i in range(1, 6)] if train else ["test_batch"]
    pixels = np.concatenate([written[name][0] for name in names]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([written[name][1] for name in names])
    for i in (0, 17, len(dataset) - 1):
        image, label = dataset[i]
        assert isinstance(image, np.ndarray) and image.shape == (3, 32, 32) and label == labels[i]
        assert_allclose(image, pixels[i] / 255, rtol=1e-6)
    several, classes = dataset[np.array([3, 30])]
    assert several.shape == (2, 3, 32, 32)
    assert_array_equal(classes, labels[[3, 30]])


@pytest.mark.parametrize("batch_size", [1, 15])
@pytest.mark.parametrize("train", [True, False])
def test_cifar10_loader(cifar, train, batch_size):
    dataset = needle.data.CIFAR10Dataset(str(cifar[0]), train=train)
    seen = 0
    for X, y in needle.data.DataLoader(dataset, batch_size, device=DEVICE, dtype="float32"):
        assert isinstance(X, Tensor) and isinstance(y, Tensor) and X.device == y.device == DEVICE
        n = min(batch_size, len(dataset) - seen)
        assert X.shape == (n, 3, 32, 32) and X.dtype == np.float32 and y.shape == (n,)
        seen += n
    assert seen == len(dataset)


LINES = {
    "train": ["the cat sat on the mat", "the dog sat", "", "a <unk> N dogs"] * 30,
    "test": ["a cat and a bird", "the dog"] * 20,
}


@pytest.fixture(scope="module")
def ptb(tmp_path_factory):
    """Text as the Penn Treebank has it: blanks around each line."""
    folder = tmp_path_factory.mktemp("ptb")
    for name, lines in LINES.items():
        (folder / f"{name}.txt").write_text("".join(f" {line} \n" for line in lines))
    return folder


def words_of(name: str, lines: int | None = None) -> list[str]:
    return [word for line in LINES[name][:lines] for word in (*line.split(), "<eos>")]


@pytest.mark.parametrize("max_lines", [None, 5, 1])
def test_corpus(ptb, max_lines):
    corpus = needle.data.Corpus(str(ptb), max_lines)
    words = corpus.dictionary.idx2word
    assert [words[i] for i in corpus.train] == words_of("train", max_lines)
    assert [words[i] for i in corpus.test] == words_of("test", max_lines)
    assert (
        len(corpus.dictionary)
        == len(words)
        == len(dict.fromkeys(words_of("train", max_lines) + words_of("test", max_lines)))
    )
    assert words[:6] == ["the", "cat", "sat", "on", "mat", "<eos>"]
    assert all(corpus.dictionary.word2idx[word] == i for i, word in enumerate(words))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("bptt", [3, 32])
@pytest.mark.parametrize("batch_size", [1, 15])
def test_batches_of_text(ptb, batch_size, bptt, train):
    corpus = needle.data.Corpus(str(ptb))
    ids = corpus.train if train else corpus.test
    data = needle.data.batchify(ids, batch_size, device=DEVICE, dtype="float32")
    rows = len(ids) // batch_size
    assert data.shape == (rows, batch_size)
    for column in range(batch_size):
        assert_array_equal(np.asarray(data)[:, column], ids[column * rows : (column + 1) * rows])
    for i in range(0, rows - 1, bptt):
        X, y = needle.data.get_batch(data, i, bptt, device=DEVICE)
        n = min(bptt, rows - 1 - i)
        assert isinstance(X, Tensor) and X.device == y.device == DEVICE and X.dtype == np.float32
        assert X.shape == (n, batch_size) and y.shape == (n * batch_size,)
        assert_array_equal(X.numpy(), np.asarray(data)[i : i + n])
        assert_array_equal(y.numpy(), np.asarray(data)[i + 1 : i + 1 + n].ravel())


# --------------------------------------------------------------------------------------------------------------- models


def test_resnet9_has_the_published_outputs():
    np.random.seed(0)
    model = models.ResNet9(device=DEVICE, dtype="float32")
    assert sum(int(np.prod(p.shape)) for p in model.parameters()) == 431946
    y = model(Tensor(np.random.randn(2, 3, 32, 32), device=DEVICE))
    published = [
        [
            -1.8912625,
            0.64833605,
            1.9400386,
            1.1435282,
            1.89777,
            2.9039745,
            -0.10433993,
            0.35458302,
            -0.5684191,
            2.6178317,
        ],
        [
            -0.2905612,
            -0.4147861,
            0.90268034,
            0.46530387,
            1.3335679,
            1.8534894,
            -0.1867125,
            -2.4298222,
            -0.5344223,
            4.362149,
        ],
    ]
    assert y.shape == (2, 10) and y.dtype == np.float32
    assert_allclose(y.numpy(), published, rtol=1e-4, atol=1e-4)


def test_a_summary_of_resnet9_changes_nothing():
    model = models.ResNet9()
    model.layers.modules[2].eval()
    state, flags, random = model.state_dict(), [m.training for m in model.modules()], np.random.get_state()[1].copy()
    assert "431,946 trainable" in str(nn.summary(model, (1, 3, 32, 32)))
    assert [m.training for m in model.modules()] == flags
    assert_array_equal(np.random.get_state()[1], random)
    for name, a in model.state_dict().items():
        assert_array_equal(a, state[name])


def test_resnet9_learns(cifar):
    """One iteration as the course's test writes it, then its own functions."""
    np.random.seed(0)
    dataset = needle.data.CIFAR10Dataset(str(cifar[0]), train=True)
    loader = needle.data.DataLoader(dataset, 50, False)
    model = models.ResNet9(device=DEVICE, dtype="float32")
    opt, loss_of = needle.optim.Adam(model.parameters(), lr=0.001, weight_decay=0.001), nn.SoftmaxLoss()
    losses = []
    for X, y in loader:
        opt.reset_grad()
        X, y = Tensor(X, device=DEVICE), Tensor(y, device=DEVICE)
        out = model(X)
        loss = loss_of(out, y)
        losses.append(float(loss.data.numpy()) * y.shape[0])
        loss.backward()
        assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in model.parameters())
        opt.step()
    assert sum(losses) / 200 > 1
    accuracy, loss = simple_ml.train_cifar10(model, loader, n_epochs=6, lr=0.001, weight_decay=0.001)
    assert accuracy > 0.8 and loss < sum(losses) / 200
    np_loss, right = 0.0, 0
    model.eval()
    for X, y in loader:
        z, target = model(X).numpy().astype(float), y.numpy()
        np_loss += np.sum(np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), target])
        right += np.sum(z.argmax(1) == target)
    assert_allclose(simple_ml.evaluate_cifar10(model, loader), (right / 200, np_loss / 200), rtol=1e-5)


@pytest.mark.parametrize("seq_model", ["rnn", "lstm", "transformer"])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1), (13, 2, 15, 34, 12, 23)])
def test_language_models(seq_model, given, sizes):
    steps, layers, batch, width, hidden, words = sizes
    model = models.LanguageModel(
        width, words, hidden_size=hidden, num_layers=layers, seq_model=seq_model, seq_len=steps, device=DEVICE
    )
    x = np.random.default_rng(0).integers(0, words, (steps, batch)).astype(np.float32)
    state = None
    if given and seq_model != "transformer":
        _, state = first_state("LSTM" if seq_model == "lstm" else "tanh", (layers, batch, hidden), True)
    output, last = model(on_device(x), state)
    assert output.shape == (steps * batch, words) and output.dtype == np.float32
    if seq_model == "rnn":
        assert isinstance(last, Tensor) and last.shape == (layers, batch, hidden)
    elif seq_model == "lstm":
        assert [s.shape for s in last] == [(layers, batch, hidden)] * 2
    output.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("seq_model", ["rnn", "lstm"])
def test_a_language_model_is_its_parts(seq_model):
    np.random.seed(0)
    model = models.LanguageModel(5, 11, 6, num_layers=2, seq_model=seq_model, device=DEVICE)
    x = np.random.randint(0, 11, (7, 3)).astype(np.float32)
    w = {name: p.numpy().astype(float) for name, p in model.named_parameters()}
    kind, cells = ("LSTM", "lstm_cells") if seq_model == "lstm" else ("tanh", "rnn_cells")
    names = ("W_ih", "W_hh", "bias_ih", "bias_hh")
    weights = [{name: w[f"model.{cells}.{k}.{name}"] for name in names} for k in range(2)]
    rows = w["embedding.weight"][x.astype(int)]
    zeros, _ = first_state(kind, (2, 3, 6), False)
    out, *ends = np_layers(kind, weights, rows, zeros)
    output, last = model(Tensor(x, device=DEVICE), None)
    assert_allclose(output.numpy(), out.reshape(21, 6) @ w["linear.weight"] + w["linear.bias"], rtol=1e-4, atol=1e-5)
    for got, wanted in zip(last if seq_model == "lstm" else [last], ends, strict=True):
        assert_allclose(got.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_language_models_compute_in_their_dtype():
    for seq_model in ("rnn", "lstm", "transformer"):
        model = models.LanguageModel(4, 7, 6, seq_model=seq_model, dtype="float64")
        assert all(p.dtype == np.float64 for p in model.parameters())
        assert model(Tensor(np.zeros((3, 2), np.float32)))[0].dtype == np.float64


@pytest.mark.parametrize("seq_model", ["rnn", "lstm", "transformer"])
def test_training_on_text(ptb, seq_model):
    corpus = needle.data.Corpus(str(ptb), max_lines=40)
    train = needle.data.batchify(corpus.train, batch_size=8, device=DEVICE, dtype="float32")
    np.random.seed(0)
    model = models.LanguageModel(
        16, len(corpus.dictionary), 16, num_layers=2, seq_model=seq_model, seq_len=10, device=DEVICE
    )
    before = simple_ml.evaluate_ptb(model, train, seq_len=10, device=DEVICE)
    options: dict[str, Any] = {"optimizer": needle.optim.Adam, "lr": 0.01, "device": DEVICE}
    first = simple_ml.train_ptb(model, train, seq_len=10, n_epochs=1, **options)
    last = simple_ml.train_ptb(model, train, seq_len=10, n_epochs=30, clip=0.25, **options)
    after = simple_ml.evaluate_ptb(model, train, seq_len=10, device=DEVICE)
    assert last[1] < first[1] and after[1] < before[1] / 2 and after[0] > before[0]
    for accuracy, loss in (before, first, last, after):
        assert 0 <= accuracy <= 1 and np.isfinite(loss)


def test_evaluation_on_text_carries_the_state_on(ptb):
    corpus = needle.data.Corpus(str(ptb), max_lines=30)
    data = needle.data.batchify(corpus.test, batch_size=4)
    np.random.seed(0)
    model = models.LanguageModel(6, len(corpus.dictionary), 5, num_layers=2, seq_model="lstm")
    accuracy, loss = simple_ml.evaluate_ptb(model, data, seq_len=7)
    logits, _ = model(Tensor(data[:-1], requires_grad=False))  # all windows are one sequence
    z, target = logits.numpy().astype(float), data[1:].ravel().astype(int)
    assert_allclose(loss, np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), target]), rtol=1e-5)
    assert_allclose(accuracy, np.mean(z.argmax(1) == target), rtol=1e-9)


def test_gradients_are_clipped_while_training_on_text(ptb):
    data = needle.data.batchify(needle.data.Corpus(str(ptb), max_lines=10).train, batch_size=4)
    norms = []

    class Watched(needle.optim.SGD):
        def step(self) -> None:
            norms.append(float(np.sqrt(sum(np.sum(p.grad.numpy().astype(float) ** 2) for p in self.params))))
            super().step()

    np.random.seed(0)
    model = models.LanguageModel(6, 20, 5, seq_model="rnn")
    simple_ml.train_ptb(model, data, seq_len=5, optimizer=Watched, lr=0.1, clip=0.01)
    assert norms and max(norms) <= 0.01 * (1 + 1e-5) and max(norms) > 0.0099
