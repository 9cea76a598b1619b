"""The course's functions, against a net written by hand in NumPy."""

from __future__ import annotations

import gzip

import mnist_data
import needle
import numpy as np
import pytest
from needle import Tensor
from needle.data.datasets.idx import write_idx
from simple_ml import loss_err, nn_epoch, one_hot, parse_mnist, softmax_loss


def by_hand(X, y, W1, W2, *, lr, batch):
    """The course's epoch without a framework."""
    W1, W2 = W1.copy(), W2.copy()
    for i in range(0, len(X), batch):
        x, labels = X[i : i + batch], y[i : i + batch]
        hidden = np.maximum(x @ W1, 0)
        Z = np.exp(hidden @ W2)
        G2 = Z / Z.sum(1, keepdims=True) - np.eye(W2.shape[1])[labels]
        G1 = (hidden > 0) * (G2 @ W2.T)
        W1, W2 = W1 - lr * x.T @ G1 / len(x), W2 - lr * hidden.T @ G2 / len(x)
    return W1, W2


@pytest.fixture
def net():
    rng = np.random.default_rng(0)
    return (
        rng.standard_normal((55, 5)),
        rng.integers(0, 3, 55),
        rng.standard_normal((5, 10)),
        rng.standard_normal((10, 3)),
    )


@pytest.mark.parametrize("name", ["", ".gz"])
def test_parse_mnist(tmp_path, name):
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 5), np.uint8)
    images[0, 0, :2] = 0, 255
    write_idx(tmp_path / f"images{name}", images)
    write_idx(tmp_path / f"labels{name}", np.arange(6, dtype=np.uint8))
    X, y = parse_mnist(tmp_path / f"images{name}", str(tmp_path / f"labels{name}"))
    assert X.dtype == np.float32 and X.shape == (6, 15) and X.min() == 0 and X.max() == 1
    np.testing.assert_allclose(X, images.reshape(6, 15) / 255, rtol=1e-6)
    assert y.dtype == np.uint8 and y.tolist() == [0, 1, 2, 3, 4, 5]


def test_parse_mnist_reads_the_digits():
    folder = mnist_data.HOME / "digits"
    X, y = parse_mnist(folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz")
    assert X.shape == (360, 64) and y.shape == (360,)
    np.testing.assert_allclose(X * 255, mnist_data.load_digits().X_test * 16, atol=1e-4)


def test_parse_mnist_of_a_truncated_file(tmp_path):
    write_idx(tmp_path / "labels", np.zeros(2, np.uint8))
    (tmp_path / "images").write_bytes(gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2]) + b"1234"))
    with pytest.raises(ValueError, match=r"images is no sound IDX file: expected 8 bytes .* got 4: it is cut off"):
        parse_mnist(tmp_path / "images", tmp_path / "labels")


def test_softmax_loss():
    Z = Tensor(np.zeros((4, 10), np.float32))
    loss = softmax_loss(Z, Tensor(one_hot([0, 3, 9, 9], 10)))
    assert loss.shape == () and loss.dtype == np.float32
    np.testing.assert_allclose(loss.numpy(), np.log(10), rtol=1e-6)
    Z = Tensor(np.array([[1.0, 2.0], [1e4, 0.0]]))
    loss = softmax_loss(Z, Tensor(np.array([[1.0, 0.0], [0.0, 1.0]])))
    np.testing.assert_allclose(loss.numpy(), (np.log1p(np.e) + 1e4) / 2)
    loss.backward()
    wrong = 1 / (1 + np.exp(-1))  # the probability of the first row's other class
    np.testing.assert_allclose(Z.grad.numpy(), [[-wrong / 2, wrong / 2], [0.5, -0.5]])


@pytest.mark.parametrize("requires_grad", [True, False, None])
@pytest.mark.parametrize("batch", [1, 20, 55, 100])
def test_nn_epoch_is_the_hand_written_one(net, batch, requires_grad):
    X, y, W1, W2 = net
    parameters = [Tensor(W, requires_grad=requires_grad) for W in (W1, W2)]
    trained = nn_epoch(X, y, *parameters, lr=0.2, batch=batch)
    assert isinstance(trained, tuple) and all(W.requires_grad for W in trained)
    for W, expected in zip(trained, by_hand(X, y, W1, W2, lr=0.2, batch=batch), strict=True):
        np.testing.assert_allclose(W.numpy(), expected, rtol=1e-10)
    for W, before in zip(parameters, (W1, W2), strict=True):
        np.testing.assert_array_equal(W.numpy(), before)


def test_nn_epoch_keeps_float32_and_works_under_no_grads_outside(net):
    X, y, W1, W2 = (a.astype(np.float32) if a.dtype.kind == "f" else a for a in net)
    W1, W2 = nn_epoch(X, y.astype(np.uint8), Tensor(W1), Tensor(W2).detach())
    assert W1.dtype == W2.dtype == np.float32
    assert W1.op is None, "no history is kept from step to step"


def test_nn_epoch_learns_the_digits():
    data, rng = mnist_data.load_digits(), np.random.default_rng(0)
    W1 = Tensor(rng.standard_normal((64, 100), np.float32) / np.float32(8))
    W2 = Tensor(rng.standard_normal((100, 10), np.float32) / np.float32(10))
    for _ in range(10):
        W1, W2 = nn_epoch(data.X_train, data.y_train, W1, W2, lr=0.2, batch=20)
    loss, err = loss_err(needle.relu(Tensor(data.X_test) @ W1) @ W2, data.y_test)
    assert loss < 0.2 and err < 0.05


def test_loss_err():
    h = Tensor(np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]])))
    loss, err = loss_err(h, np.array([0, 1, 2, 0]))
    assert isinstance(loss, np.floating) and isinstance(err, np.floating)
    np.testing.assert_allclose([loss, err], [-np.log([0.7, 0.25, 0.8, 0.3]).mean(), 0.5])


def epoch_with(net, **changed):
    X, y, W1, W2 = net
    given = {"X": X, "y": y, "W1": Tensor(W1), "W2": Tensor(W2)} | changed
    return nn_epoch(**given)


def with_nan(X):
    X = X.copy()
    X[7, 3] = np.nan
    return X


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: {"X": with_nan(X)}, r"data: expected finite numbers, got nan in row 7, column 3; correct"),
        (lambda X, y: {"X": np.where(X > 2, np.inf, X)}, r"data: expected finite numbers, got inf in row"),
        (lambda X, y: {"X": X[:, :, None]}, r"data: expected a matrix .* got float64 of shape \(55, 5, 1\)"),
        (lambda X, y: {"X": X[:, :4]}, r"net: .* got X \(55, 4\), W1 \(5, 10\), .* make W1 with 4 rows"),
        (lambda X, y: {"W2": Tensor(np.zeros((9, 3)))}, r"net: .* W1 \(5, 10\), W2 \(9, 3\)"),
        (lambda X, y: {"W2": Tensor(np.zeros(10))}, r"net: .* W2 \(10,\)"),
        (lambda X, y: {"y": y[:54]}, r"labels: expected 55, one for each row, got 54"),
        (lambda X, y: {"y": y + 1}, r"labels: expected 0\.\.2 for 3 classes, got 3 at index \d+"),
        (lambda X, y: {"y": y - 1}, r"labels: expected 0\.\.2 for 3 classes, got -1 at index \d+"),
        (lambda X, y: {"y": y.astype(float)}, r"labels: expected integers of shape \(55,\), got float64"),
        (lambda X, y: {"y": one_hot(y, 3, int)}, r"labels: expected integers .* shape \(55, 3\); one_hot rows become"),
        (lambda X, y: {"batch": 0}, r"batch: expected 1 or more examples, got 0"),
    ],
)
def test_what_cannot_be_trained_on(net, change, message):
    with pytest.raises(ValueError, match=message):
        epoch_with(net, **change(net[0], net[1]))


def test_what_loss_err_refuses():
    h = Tensor(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"labels: expected 0\.\.2 for 3 classes, got 3 at index 1"):
        loss_err(h, np.array([0, 3]))
    with pytest.raises(ValueError, match=r"labels: expected 2, one for each row, got 3"):
        loss_err(h, np.array([0, 1, 2]))
    with pytest.raises(ValueError, match=r"logits: expected shape \(n, classes\) with one row or more, got \(3,\)"):
        loss_err(Tensor(np.zeros(3)), np.array([0, 1, 2]))
