"""The deep-learning-systems course's contract, second part: first values, layers, optimizers, data, a residual net.

References are written in NumPy. Numbers called "published" are those that the course prints for its seeds.
"""

from __future__ import annotations

import gzip
import struct
from typing import Any

import mlp_resnet
import needle
import numpy as np
import pytest
from course import check_gradient, normal
from needle import Tensor, nn
from numpy.testing import assert_allclose, assert_array_equal


def drawn(*shape: int, entropy: int = 1) -> Any:
    """The course's inputs: whole numbers over 20, as float32."""
    np.random.seed(int(np.prod(shape)) * len(shape) * entropy)
    return Tensor(np.random.randint(0, 100, size=shape) / 20, dtype="float32")


def drawn_labels(n: int, classes: int) -> Any:
    np.random.seed(n)
    return np.random.randint(0, classes, size=n).astype(np.uint8)


def backward(f: Any, x: Any) -> Any:
    """The gradient by x of the sum of f(x)**2."""
    ((f(x) ** 2).sum()).backward()
    return x.grad.numpy()


# -------------------------------------------------------------------------------------------------------------- ops


@pytest.mark.parametrize("axes", [None, (0,), (1,), (0, 1), (1, 2), (-1,)])
def test_logsumexp(axes):
    a = normal(3, 4, 2)
    check_gradient(lambda x: needle.ops.logsumexp(x, axes), Tensor(a), backward=True)
    check_gradient(lambda x: needle.ops.logsumexp(x, axes), Tensor(a))
    large = Tensor(a + 1e5)
    assert_allclose(needle.ops.logsumexp(large, axes).numpy(), np.log(np.exp(a).sum(axes)) + 1e5, rtol=1e-12)


def test_logsoftmax():
    a = normal(3, 5)
    check_gradient(needle.ops.logsoftmax, Tensor(a))
    expected = a - np.log(np.exp(a).sum(1, keepdims=True))
    assert_allclose(needle.ops.logsoftmax(Tensor(a)).numpy(), expected, rtol=1e-10)
    assert_allclose(needle.ops.logsoftmax(Tensor(a + 1e5)).numpy(), expected, rtol=1e-6, atol=1e-6)
    rows = np.array([[1e5, 1e5 + 2], [1e5 + 1, 1e5 + 1]])
    shares = np.exp([[0, 2], [0, 0]]) / np.array([[1 + np.exp(2)], [2]])
    assert_allclose(needle.ops.logsoftmax(Tensor(rows)).numpy(), np.log(shares), rtol=1e-9)
    assert np.isfinite(needle.ops.logsoftmax(Tensor(rows.astype(np.float32))).numpy()).all()


# ------------------------------------------------------------------------------------------------------------- init

RULES = {
    "kaiming_uniform": lambda i, o: (np.sqrt(6 / i), True),
    "kaiming_normal": lambda i, o: (np.sqrt(2 / i), False),
    "xavier_uniform": lambda i, o: (np.sqrt(6 / (i + o)), True),
    "xavier_normal": lambda i, o: (np.sqrt(2 / (i + o)), False),
}


@pytest.mark.parametrize("name", RULES)
def test_first_values_are_drawn_from_numpys_global_state(name):
    np.random.seed(42)
    found = getattr(needle.init, name)(30, 50)
    scale, uniform = RULES[name](30, 50)
    np.random.seed(42)
    expected = (2 * np.random.rand(30, 50) - 1) * scale if uniform else np.random.randn(30, 50) * scale
    assert found.dtype == np.float32 and found.shape == (30, 50)
    assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-7)


def test_gain_multiplies_xaviers():
    for name in ("xavier_uniform", "xavier_normal"):
        values = []
        for gain in (1.0, 1.5):
            np.random.seed(0)
            values.append(getattr(needle.init, name)(3, 5, gain=gain).numpy())
        assert_allclose(values[1], 1.5 * values[0], rtol=1e-6)


PUBLISHED_FIRST_ROWS = {
    "kaiming_uniform": [-0.354854, 1.274813, 0.656178, 0.279048, -0.972926],
    "kaiming_normal": [0.405565, -0.112892, 0.528835, 1.243549, -0.191185],
}


@pytest.mark.parametrize("name", PUBLISHED_FIRST_ROWS)
def test_published_first_values(name):
    np.random.seed(42)
    assert_allclose(getattr(needle.init, name)(3, 5).numpy()[0], PUBLISHED_FIRST_ROWS[name], rtol=1e-4)


def test_plain_numbers():
    np.random.seed(3)
    found = [
        needle.init.rand(2, 3, low=-1, high=2),
        needle.init.randn(2, 3, mean=1, std=4),
        needle.init.randb(2, 3, p=0.4),
    ]
    np.random.seed(3)
    expected = [np.random.rand(2, 3) * 3 - 1, np.random.randn(2, 3) * 4 + 1, np.random.rand(2, 3) <= 0.4]
    for got, wanted in zip(found, expected, strict=True):
        assert_allclose(got.numpy(), wanted, rtol=1e-6)
    assert [x.dtype for x in found] == ["float32", "float32", "bool"]
    assert_array_equal(needle.init.ones(2, 3).numpy(), np.ones((2, 3), np.float32))
    assert_array_equal(needle.init.zeros(2).numpy(), np.zeros(2, np.float32))
    assert_array_equal(needle.init.constant(2, 1, c=2.5).numpy(), np.full((2, 1), 2.5, np.float32))
    assert_array_equal(needle.init.one_hot(4, Tensor([0, 3])).numpy(), np.eye(4, dtype=np.float32)[[0, 3]])
    assert needle.init.ones(2).dtype == needle.init.one_hot(3, Tensor([1])).dtype == np.float32


# ------------------------------------------------------------------------------------------------------------ layers


def test_linear_draws_its_weight_then_its_bias_as_a_row():
    np.random.seed(42)
    layer = nn.Linear(7, 4)
    np.random.seed(42)
    weight = (2 * np.random.rand(7, 4) - 1) * np.sqrt(6 / 7)
    bias = (2 * np.random.rand(4, 1) - 1) * np.sqrt(6 / 4)
    assert layer.weight.shape == (7, 4) and layer.bias.shape == (1, 4)
    assert type(layer.weight) is type(layer.bias) is nn.Parameter and layer.weight.dtype == np.float32
    assert_allclose(layer.weight.numpy(), weight, rtol=1e-5)
    assert_allclose(layer.bias.numpy(), bias.T, rtol=1e-5)
    assert nn.Linear(7, 4, bias=False).bias is None


@pytest.mark.parametrize("shape", [(10, 7), (1, 7), (2, 3, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape, bias):
    layer, x = nn.Linear(7, 4, bias=bias), drawn(*shape)
    w, b = layer.weight.numpy(), layer.bias.numpy() if bias else 0
    y = layer(x)
    assert y.dtype == np.float32
    assert_allclose(y.numpy(), x.numpy() @ w + b, rtol=1e-4, atol=1e-4)
    expected = 2 * (x.numpy() @ w + b)
    assert_allclose(backward(layer, x), expected @ w.T, rtol=1e-4, atol=1e-4)
    assert_allclose(layer.weight.grad.numpy(), x.numpy().reshape(-1, 7).T @ expected.reshape(-1, 4), rtol=1e-3)


def test_a_vector_can_be_assigned_to_a_bias():
    layer, x = nn.Linear(10, 5), drawn(3, 10)
    layer.weight.data, layer.bias.data = drawn(10, 5), drawn(5)
    assert layer.bias.shape == (1, 5) and layer.bias.op is None and type(layer.bias) is nn.Parameter
    assert_allclose(layer(x).numpy(), x.numpy() @ drawn(10, 5).numpy() + drawn(5).numpy(), rtol=1e-5)
    layer(x).sum().backward()
    assert_array_equal(layer.bias.grad.numpy(), np.full((1, 5), 3.0))
    layer.bias.data = np.zeros(5, np.float32)
    assert_array_equal(layer.bias.numpy(), np.zeros((1, 5)))
    for wrong in (drawn(4), drawn(5, 1), drawn(1, 1, 5), Tensor(np.zeros(5))):
        with pytest.raises(ValueError, match=r"must have shape \(1, 5\) and dtype float32"):
            layer.bias.data = wrong


def test_a_float64_input_comes_to_float32_layers():
    layer = nn.Linear(3, 2)
    assert layer(Tensor(normal(4, 3))).dtype == np.float32


def test_relu_and_flatten():
    a = normal(3, 2, 4)
    assert_array_equal(nn.ReLU()(Tensor(a)).numpy(), np.maximum(a, 0))
    assert_allclose(backward(nn.ReLU(), Tensor(a)), 2 * np.maximum(a, 0))
    for shape in [(3, 2, 4), (3, 8), (1, 2, 3, 4, 5), (3, 0)]:
        x = Tensor(normal(*shape))
        assert nn.Flatten()(x).shape == (shape[0], int(np.prod(shape[1:])))
        assert_allclose(backward(nn.Flatten(), x), 2 * x.numpy())


def test_sequential_applies_its_modules_in_order():
    a, b = nn.Linear(5, 8), nn.Linear(8, 5)
    model = nn.Sequential(a, nn.ReLU(), b)
    x = drawn(3, 5)
    inner = np.maximum(x.numpy() @ a.weight.numpy() + a.bias.numpy(), 0)
    assert_allclose(model(x).numpy(), inner @ b.weight.numpy() + b.bias.numpy(), rtol=1e-4)
    assert model.modules[0] is a and len(model.modules) == 3


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("shape", [(5, 10), (3, 11), (1, 2)])
def test_softmax_loss(shape, dtype):
    logits, y = drawn(*shape), drawn_labels(*shape).astype(dtype)
    z = logits.numpy().astype(np.float64)
    expected = np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), y])
    loss = nn.SoftmaxLoss()(logits, Tensor(y))
    assert loss.dtype == np.float32 and loss.shape == ()
    assert_allclose(loss.numpy(), expected, rtol=1e-5)
    loss.backward()
    share = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert_allclose(logits.grad.numpy(), (share - np.eye(shape[1])[y]) / len(z), rtol=1e-4, atol=1e-6)


def np_batch_norm(x: Any, axis: int, eps: float = 1e-5) -> Any:
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(("layer", "axis"), [("BatchNorm1d", 0), ("LayerNorm1d", 1)])
def test_norms(layer, axis, affine):
    x = drawn(5, 8)
    norm = getattr(nn, layer)(8)
    assert_array_equal(norm.weight.numpy(), np.ones(8, np.float32))
    assert_array_equal(norm.bias.numpy(), np.zeros(8, np.float32))
    w, b = (normal(8), normal(8, seed=1)) if affine else (np.ones(8), np.zeros(8))
    norm.weight.data, norm.bias.data = Tensor(w, dtype="float32"), Tensor(b, dtype="float32")
    expected = np_batch_norm(x.numpy().astype(float), axis) * w + b
    y = norm(x)
    assert y.dtype == np.float32
    assert_allclose(y.numpy(), expected, rtol=1e-4, atol=1e-5)

    def reference(a: Any) -> Any:
        return np.sum((np_batch_norm(a, axis) * w + b) ** 4)

    (norm(x) ** 4).sum().backward()
    at, slope = x.numpy().astype(float), np.zeros((5, 8))
    for j in range(40):
        step = np.zeros((5, 8))
        step.flat[j] = 1e-5
        slope.flat[j] = (reference(at + step) - reference(at - step)) / 2e-5
    assert_allclose(x.grad.numpy(), slope, rtol=1e-3, atol=1e-3 * np.abs(slope).max())
    assert_allclose(norm.bias.grad.numpy(), 4 * (expected**3).sum(0), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("momentum", [0.1, 0.3])
def test_running_statistics(momentum):
    norm = nn.BatchNorm1d(6, momentum=momentum)
    assert [p.shape for p in norm.parameters()] == [(6,), (6,)], "running statistics are no parameters"
    mean, var = np.zeros(6), np.ones(6)
    for k in range(4):
        x = drawn(7, 6, entropy=k + 1)
        norm(x)
        mean = (1 - momentum) * mean + momentum * x.numpy().mean(0)
        var = (1 - momentum) * var + momentum * x.numpy().var(0)
        assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-5, atol=1e-6)
        assert_allclose(norm.running_var.numpy(), var, rtol=1e-5)
    norm.eval()
    x = drawn(3, 6)
    expected = (x.numpy() - mean) / np.sqrt(var + 1e-5)
    assert_allclose(norm(x).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-5, atol=1e-6)
    assert_allclose(backward(norm, x), 2 * expected / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-4)


def test_dropout():
    layer, x = nn.Dropout(0.45), drawn(200, 30)
    np.random.seed(5)
    y = layer(x).numpy()
    np.random.seed(5)
    kept = np.random.rand(200, 30) <= 1 - 0.45
    assert_allclose(y, x.numpy() * kept / (1 - 0.45), rtol=1e-5)
    np.random.seed(5)
    layer(x).backward()
    assert_allclose(x.grad.numpy(), kept / (1 - 0.45), rtol=1e-6)
    layer.eval()
    assert_array_equal(layer(x).numpy(), x.numpy())


def test_residual():
    inner, x = nn.Linear(10, 10), drawn(15, 10)
    assert_allclose(nn.Residual(inner)(x).numpy(), inner(x).numpy() + x.numpy(), rtol=1e-6)
    expected = 2 * (inner(x).numpy() + x.numpy()) @ (inner.weight.numpy().T + np.eye(10))
    assert_allclose(backward(nn.Residual(inner), x), expected, rtol=1e-3)


def test_modes_and_parameters_reach_into_containers():
    class Everything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(2, 3)
            self.several = [nn.Dropout(), (nn.Linear(3, 3), {"deep": [nn.BatchNorm1d(3)]})]
            self.table = {"a": nn.Linear(3, 1, bias=False)}
            self.free = nn.Parameter(np.ones(2, np.float32))

    model = Everything()
    found = model.parameters()
    assert isinstance(found, list) and [p.shape for p in found] == [
        (2, 3),
        (1, 3),
        (3, 3),
        (1, 3),
        (3,),
        (3,),
        (3, 1),
        (2,),
    ]
    inside = [model, model.several[0], model.several[1][1]["deep"][0], model.table["a"]]
    assert all(m.training for m in inside)
    model.eval()
    assert not any(m.training for m in inside)
    model.train()
    assert all(m.training for m in inside)


def test_data_and_detach():
    p = nn.Parameter(np.ones((2, 2), np.float32))
    assert p.requires_grad and isinstance(p, Tensor)
    p.data = p.data - 0.5 * Tensor(np.ones((2, 2), np.float32))
    assert_array_equal(p.numpy(), np.full((2, 2), 0.5))
    assert p.op is None and p.data.requires_grad is False and p.detach().op is None
    with pytest.raises((TypeError, ValueError)):
        p.data = Tensor(np.ones((2, 2), np.float64))
    y = (p * p).detach()
    assert y.op is None and not y.requires_grad
    assert p.cached_data.dtype == np.float32 and len(np.array_split(p.cached_data, 2)) == 2


# --------------------------------------------------------------------------------------------------------- optimizers


class _Sgd:
    def __init__(self, lr: float, momentum: float = 0.0, weight_decay: float = 0.0):
        self.lr, self.momentum, self.decay, self.u = lr, momentum, weight_decay, {}

    def step(self, k: int, p: Any, g: Any, t: int) -> Any:
        g = g + self.decay * p
        self.u[k] = self.momentum * self.u.get(k, 0) + (1 - self.momentum) * g
        return p - self.lr * self.u[k]


class _Adam:
    def __init__(
        self, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0
    ):
        self.o, self.m, self.v = (lr, beta1, beta2, eps, weight_decay), {}, {}

    def step(self, k: int, p: Any, g: Any, t: int) -> Any:
        lr, b1, b2, eps, decay = self.o
        g = g + decay * p
        self.m[k] = b1 * self.m.get(k, 0) + (1 - b1) * g
        self.v[k] = b2 * self.v.get(k, 0) + (1 - b2) * g * g
        return p - lr * (self.m[k] / (1 - b1**t)) / (np.sqrt(self.v[k] / (1 - b2**t)) + eps)


OPTIONS = [
    ("SGD", _Sgd, {"lr": 0.1}),
    ("SGD", _Sgd, {"lr": 0.1, "momentum": 0.9}),
    ("SGD", _Sgd, {"lr": 0.1, "momentum": 0.7, "weight_decay": 0.05}),
    ("Adam", _Adam, {"lr": 0.01}),
    ("Adam", _Adam, {"lr": 0.01, "beta1": 0.8, "beta2": 0.99, "eps": 1e-3}),
    ("Adam", _Adam, {"lr": 0.01, "weight_decay": 0.05}),
]


@pytest.mark.parametrize(("name", "reference", "options"), OPTIONS, ids=str)
def test_updates_are_the_courses(name, reference, options):
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    opt, rule = getattr(needle.optim, name)(model.parameters(), **options), reference(**options)
    values = [p.numpy() for p in model.parameters()]
    for t in range(1, 16):
        opt.reset_grad()
        assert all(p.grad is None for p in model.parameters())
        nn.SoftmaxLoss()(model(Tensor(normal(8, 6, seed=t))), Tensor(drawn_labels(8, 3))).backward()
        grads = [p.grad.numpy() for p in model.parameters()]
        opt.step()
        for k, (p, g) in enumerate(zip(model.parameters(), grads, strict=True)):
            values[k] = rule.step(k, values[k], g, t)
            assert_allclose(p.numpy(), values[k], rtol=1e-9, atol=1e-12)
            assert_array_equal(p.grad.numpy(), g, "a step leaves the gradients")
            assert p.op is None and p.dtype == np.float64


def mlp(*between: Any) -> Any:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), *between, nn.Linear(32, 16))


def learned(model: Any, optimizer: Any, **options: Any) -> float:
    """The course's training run: its loss on the last of 32 batches."""
    X, y = drawn(1024, 64).cached_data, drawn_labels(1024, 16)
    loss_of, opt = nn.SoftmaxLoss(), optimizer(model.parameters(), **options)
    for rows, labels in zip(np.array_split(X, 32), np.array_split(y, 32), strict=True):
        opt.reset_grad()
        loss = loss_of(model(Tensor(rows, dtype="float32")), Tensor(labels))
        loss.backward()
        before = model.parameters()[0].grad.detach().cached_data.copy()
        opt.step()
        assert_array_equal(model.parameters()[0].grad.detach().cached_data, before)
    return float(loss.numpy())


PUBLISHED_LOSSES: list[tuple[str, Any, dict[str, float], float]] = [
    ("SGD", [], {"lr": 0.01, "momentum": 0.0}, 3.207009),
    ("SGD", [], {"lr": 0.01, "momentum": 0.9}, 3.311805),
    ("SGD", [], {"lr": 0.01, "momentum": 0.0, "weight_decay": 0.01}, 3.202637),
    ("SGD", [], {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.01}, 3.306993),
    ("Adam", [], {"lr": 0.001}, 3.703999),
    ("Adam", [], {"lr": 0.001, "weight_decay": 0.01}, 3.705134),
    ("Adam", ["BatchNorm1d"], {"lr": 0.001, "weight_decay": 0.001}, 3.296256),
    ("Adam", ["LayerNorm1d"], {"lr": 0.01, "weight_decay": 0.01}, 2.82192),
]


@pytest.mark.parametrize(("name", "between", "options", "expected"), PUBLISHED_LOSSES, ids=str)
def test_published_losses(name, between, options, expected):
    np.random.seed(42)
    model = mlp(*[getattr(nn, layer)(32) for layer in between])
    assert_allclose(learned(model, getattr(needle.optim, name), **options), expected, rtol=1e-5)


@pytest.mark.parametrize(("name", "bound"), [("SGD", 1387), ("Adam", 2132)])
def test_an_optimizer_keeps_no_history(name, bound, uncollected):
    """Live Tensors after the course's run, and how many more another run leaves: none but the model's and its own."""
    model, counts = mlp(nn.BatchNorm1d(32)), []
    optimizer = getattr(needle.optim, name)
    for _ in range(2):
        before = needle.autograd.TENSOR_COUNTER
        learned(model, optimizer, lr=0.001, weight_decay=0.01)
        counts.append(needle.autograd.TENSOR_COUNTER - before)
    held = len(model.parameters())
    assert 0 <= counts[1] <= counts[0] <= 2 * held + 2 < bound


# ---------------------------------------------------------------------------------------------------------------- data


def write_mnist(folder: Any, part: str, n: int) -> tuple[str, str, Any, Any]:
    rng = np.random.default_rng(n)
    labels = rng.integers(0, 10, n).astype(np.uint8)
    pixels = (rng.integers(0, 60, (n, 28, 28)) + (np.arange(28) == 2 * labels[:, None, None]) * 195).astype(np.uint8)
    pixels[0, 0, 0] = 255
    images, classes = folder / f"{part}-images-idx3-ubyte.gz", folder / f"{part}-labels-idx1-ubyte.gz"
    images.write_bytes(gzip.compress(struct.pack(">4i", 2051, n, 28, 28) + pixels.tobytes()))
    classes.write_bytes(gzip.compress(struct.pack(">2i", 2049, n) + labels.tobytes()))
    return str(images), str(classes), pixels, labels


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mnist")
    return folder, write_mnist(folder, "train", 640), write_mnist(folder, "t10k", 100)


def test_mnist_dataset(mnist):
    _, (images, labels, pixels, y), _ = mnist
    dataset = needle.data.MNISTDataset(images, labels)
    assert len(dataset) == 640
    for i in (0, 7, 639):
        image, label = dataset[i]
        assert image.shape == (28, 28, 1) and image.dtype == np.float32
        assert_allclose(image[..., 0], pixels[i] / 255, rtol=1e-6)
        assert label == y[i]
    for index in (slice(3, 9), np.array([5, 2, 600])):
        several, classes = dataset[index]
        assert_allclose(several.reshape(-1, 28, 28), pixels[index] / 255, rtol=1e-6)
        assert_array_equal(classes, y[index])
    assert float(dataset[0][0].max()) == 1.0


@pytest.mark.parametrize("batch_size", [1, 15, 100])
def test_a_loader_gives_batches_of_tensors_again_and_again(mnist, batch_size):
    _, (images, labels, pixels, y), _ = mnist
    dataset = needle.data.MNISTDataset(images, labels)
    loader = needle.data.DataLoader(dataset, batch_size=batch_size, shuffle=False)
    for _ in range(2):
        seen = 0
        for k, batch in enumerate(loader):
            X, target = batch
            where = slice(k * batch_size, (k + 1) * batch_size)
            assert isinstance(X, Tensor) and isinstance(target, Tensor)
            assert X.dtype == np.float32 and X.shape == (*y[where].shape, 28, 28, 1)
            assert_allclose(batch[0].numpy()[..., 0], pixels[where] / 255, rtol=1e-6)
            assert_array_equal(target.numpy(), y[where])
            seen += len(target)
        assert seen == 640


def test_batches_compare_as_objects(mnist):
    _, (images, labels, *_), _ = mnist
    loader = needle.data.DataLoader(needle.data.MNISTDataset(images, labels), batch_size=32, shuffle=True)
    for one, other in zip(loader, loader, strict=True):
        assert one != other
        assert not (one == other)  # noqa: SIM201  (both operators are asked)


def test_a_shuffled_loader_draws_one_permutation_a_pass():
    rows = np.arange(50, dtype=np.float32).reshape(50, 1)
    loader = needle.data.DataLoader(needle.data.NDArrayDataset(rows), batch_size=8, shuffle=True)
    np.random.seed(0)
    passes = [[batch[0].numpy() for batch in loader] for _ in range(3)]
    after = np.random.rand()
    np.random.seed(0)
    for batches in passes:
        order = np.random.permutation(50)
        assert [len(b) for b in batches] == [8] * 6 + [2]
        assert_array_equal(np.concatenate(batches), rows[order])
    assert after == np.random.rand()


def test_ndarray_dataset():
    X, y = normal(10, 3), np.arange(10)
    dataset = needle.data.NDArrayDataset(X, y)
    assert len(dataset) == 10
    row, label = dataset[4]
    assert_array_equal(row, X[4])
    assert label == 4
    (batch,) = needle.data.DataLoader(dataset, batch_size=20)
    assert batch[0].shape == (10, 3) and batch[0].dtype == np.float32 and batch[1].numpy().dtype.kind == "i"


def test_flips_draw_one_number():
    image = np.random.default_rng(0).random((6, 5, 3))
    flip = needle.data.RandomFlipHorizontal(0.4)
    np.random.seed(0)
    found = [flip(image) for _ in range(50)]
    np.random.seed(0)
    for out in found:
        assert_array_equal(out, image[:, ::-1] if np.random.rand() < 0.4 else image)
    assert_array_equal(needle.data.RandomFlipHorizontal(0.0)(image), image)
    assert_array_equal(needle.data.RandomFlipHorizontal(1.0)(image), image[:, ::-1])


def test_crops_draw_one_pair_of_shifts():
    image = np.random.default_rng(0).random((6, 5, 3))
    crop = needle.data.RandomCrop(3)
    np.random.seed(0)
    found = [crop(image) for _ in range(50)]
    np.random.seed(0)
    padded = np.pad(image, ((3, 3), (3, 3), (0, 0)))
    for out in found:
        down, right = np.random.randint(-3, 4, size=2)
        assert_array_equal(out, padded[3 + down : 9 + down, 3 + right : 8 + right])
    assert_array_equal(needle.data.RandomCrop(0)(image), image)


def test_transforms_of_a_dataset_are_applied_in_turn(mnist):
    _, (images, labels, pixels, _), _ = mnist
    transforms = [needle.data.RandomCrop(4), needle.data.RandomFlipHorizontal(0.5)]
    dataset = needle.data.MNISTDataset(images, labels, transforms=transforms)
    np.random.seed(0)
    found = [dataset[i][0] for i in (0, 3, 9)]
    np.random.seed(0)
    for i, out in zip((0, 3, 9), found, strict=True):
        expected = transforms[1](transforms[0](pixels[i][..., None] / np.float32(255)))
        assert out.shape == (28, 28, 1)
        assert_allclose(out, expected, rtol=1e-6)


# ------------------------------------------------------------------------------------------------- apps/mlp_resnet.py


def test_sizes_of_the_residual_net():
    for arguments, count in [((150, 100, 5, 10, nn.LayerNorm1d), 68360), ((10, 100, 1, 100, nn.BatchNorm1d), 21650)]:
        assert sum(p.size for p in mlp_resnet.MLPResNet(*arguments).parameters()) == count


def test_published_outputs_of_the_residual_net():
    np.random.seed(2)
    x = Tensor(np.random.randn(1, 15))
    y = mlp_resnet.ResidualBlock(15, 10, nn.LayerNorm1d, 0.5)(x)
    published = [0, 1.358399, 0, 1.384224, 0, 0, 0.255451, 0.077662, 0, 0.939582, 0.525591, 1.99213, 0, 0, 1.012827]
    assert_allclose(y.numpy(), [published], rtol=1e-5, atol=1e-5)
    np.random.seed(4)
    x = Tensor(np.random.randn(2, 10), dtype="float32")
    y = mlp_resnet.MLPResNet(10, 5, 2, 5, nn.LayerNorm1d, 0.5)(x)
    published = [
        [3.046162, 1.44972, -1.921363, 0.021816, -0.433953],
        [3.489114, 1.820994, -2.111306, 0.226388, -1.029428],
    ]
    assert_allclose(y.numpy(), published, rtol=1e-4, atol=1e-5)


def test_the_residual_net_is_made_of_the_parts_that_it_says():
    np.random.seed(0)
    net = mlp_resnet.MLPResNet(6, 8, 2, 3, nn.LayerNorm1d, 0.0)
    x = normal(5, 6)
    w = {name: p.numpy().astype(float) for name, p in net.named_parameters()}

    def linear(y: Any, name: str) -> Any:
        return y @ w[f"{name}.weight"] + w[f"{name}.bias"]

    def norm(y: Any, name: str) -> Any:
        return np_batch_norm(y, 1) * w[f"{name}.weight"] + w[f"{name}.bias"]

    h = np.maximum(linear(x, "0"), 0)
    for block in ("2.0.fn", "3.0.fn"):
        inner = np.maximum(norm(linear(h, f"{block}.0"), f"{block}.1"), 0)
        h = np.maximum(h + norm(linear(inner, f"{block}.4"), f"{block}.5"), 0)
    assert_allclose(net(Tensor(x)).numpy(), linear(h, "4"), rtol=1e-4, atol=1e-5)


def test_an_epoch_evaluates_without_an_optimizer_and_trains_with_one(mnist):
    _, (images, labels, *_), _ = mnist
    loader = needle.data.DataLoader(needle.data.MNISTDataset(images, labels), batch_size=40)
    np.random.seed(0)
    model = mlp_resnet.MLPResNet(784, 20, 1, 10)
    before = {name: a.copy() for name, a in model.state_dict().items()}
    error, loss = mlp_resnet.epoch(loader, model)
    assert not model.training
    for name, a in model.state_dict().items():
        assert_array_equal(a, before[name])
    logits = [model(X.reshape((len(y), 784))).numpy() for X, y in loader]
    targets = [y.numpy() for _, y in loader]
    wrong = np.mean(np.concatenate(logits).argmax(1) != np.concatenate(targets))
    losses = [np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]) for z, y in zip(logits, targets, strict=True)]
    assert_allclose([error, loss], [wrong, np.mean(losses)], rtol=1e-5)
    opt = needle.optim.Adam(model.parameters(), lr=0.005)
    found = [mlp_resnet.epoch(loader, model, opt) for _ in range(3)]
    assert model.training and found[2][1] < found[1][1] < found[0][1]
    assert mlp_resnet.epoch(loader, model)[0] < error / 2


def test_train_mnist(mnist):
    found = mlp_resnet.train_mnist(50, 3, needle.optim.SGD, 0.1, 0.001, 30, data_dir=str(mnist[0]))
    assert len(found) == 4 and all(np.isfinite(found))
    assert found[0] < 0.3 and found[2] < 0.3
    again = mlp_resnet.train_mnist(50, 3, needle.optim.SGD, 0.1, 0.001, 30, data_dir=str(mnist[0]))
    assert found == again, "all randomness comes from NumPy's global state, which train_mnist seeds"
