"""The deep-learning-systems course's contract, first part: operations, their gradients, the order of a graph, a net of
two layers. Values are held against NumPy, gradients against differences."""

from __future__ import annotations

import gzip
import struct
from operator import add, mul, neg, pow, sub, truediv
from typing import Any

import needle
import numdifftools
import numpy as np
import pytest
import simple_ml
from course import check_gradient, normal
from needle import Tensor
from numpy.testing import assert_allclose, assert_array_equal


def positive(*shape: int, seed: int = 0) -> Any:
    return np.abs(normal(*shape, seed=seed)) + 0.5


# --------------------------------------------------------------------------------------------------------- operations

OPERATIONS: dict[str, tuple[Any, Any, list[Any]]] = {
    "power_scalar": (lambda a: needle.power_scalar(a, scalar=3), lambda a: a**3, [normal(5, 4)]),
    "power_scalar of a fraction": (lambda a: needle.power_scalar(a, 0.5), np.sqrt, [positive(5, 4)]),
    "power": (needle.power, np.power, [positive(5, 4), normal(5, 4, seed=1)]),
    "divide": (needle.divide, np.divide, [normal(5, 4), 5 + normal(5, 4, seed=1)]),
    "divide_scalar": (lambda a: needle.divide_scalar(a, scalar=-7.5), lambda a: a / -7.5, [normal(5, 4)]),
    "divide_scalar by an element": (
        lambda a: needle.divide_scalar(a, scalar=np.array([1.5])),
        lambda a: a / 1.5,
        [normal(5, 4)],
    ),
    "power_scalar of NumPy": (lambda a: needle.power_scalar(a, scalar=np.int64(2)), lambda a: a**2, [normal(5, 4)]),
    "matmul": (needle.matmul, np.matmul, [normal(5, 4), normal(4, 3)]),
    "matmul of a stack and a matrix": (needle.matmul, np.matmul, [normal(6, 5, 4), normal(4, 3)]),
    "matmul of a matrix and a stack": (needle.matmul, np.matmul, [normal(5, 4), normal(3, 4, 2)]),
    "matmul of stacks": (needle.matmul, np.matmul, [normal(2, 3, 5, 4), normal(2, 3, 4, 2)]),
    "matmul of stacks of several depths": (needle.matmul, np.matmul, [normal(2, 1, 5, 4), normal(3, 4, 2)]),
    "summation": (needle.summation, np.sum, [normal(5, 4)]),
    "summation by an int": (lambda a: needle.summation(a, axes=1), lambda a: a.sum(1), [normal(5, 4)]),
    "summation by a tuple": (lambda a: needle.summation(a, axes=(0, 2)), lambda a: a.sum((0, 2)), [normal(5, 4, 3)]),
    "summation from behind": (lambda a: needle.summation(a, axes=(-1,)), lambda a: a.sum(-1), [normal(5, 4, 1)]),
    "broadcast_to": (
        lambda a: needle.broadcast_to(a, shape=(3, 4, 2)),
        lambda a: np.broadcast_to(a, (3, 4, 2)),
        [normal(4, 1)],
    ),
    "broadcast_to of a number": (
        lambda a: needle.broadcast_to(a, shape=(3, 2)),
        lambda a: np.broadcast_to(a, (3, 2)),
        [normal()],
    ),
    "broadcast_to of its own shape": (lambda a: needle.broadcast_to(a, shape=(3, 2)), lambda a: a, [normal(3, 2)]),
    "reshape": (lambda a: needle.reshape(a, shape=(4, 15)), lambda a: a.reshape(4, 15), [normal(5, 3, 4)]),
    "negate": (needle.negate, np.negative, [normal(5, 4)]),
    "transpose": (needle.transpose, lambda a: a.swapaxes(-1, -2), [normal(3, 5, 4)]),
    "transpose of two axes": (
        lambda a: needle.transpose(a, axes=(0, 2)),
        lambda a: a.swapaxes(0, 2),
        [normal(3, 5, 4)],
    ),
    "log": (needle.log, np.log, [positive(5, 4)]),
    "exp": (needle.exp, np.exp, [normal(5, 4)]),
    "relu": (needle.relu, lambda a: np.maximum(a, 0), [normal(5, 4)]),
    "a + b": (add, add, [normal(5, 4), normal(5, 4, seed=1)]),
    "a * b": (mul, mul, [normal(5, 4), normal(5, 4, seed=1)]),
    "a / b": (truediv, truediv, [normal(5, 4), positive(5, 4)]),
    "a ** b": (pow, pow, [positive(5, 4), normal(5, 4)]),
    "a @ b": (lambda a, b: a @ b, np.matmul, [normal(5, 4), normal(4, 3)]),
    "-a": (neg, neg, [normal(5, 4)]),
    "a + 1.5": (lambda a: a + 1.5, lambda a: a + 1.5, [normal(5, 4)]),
    "3 * a": (lambda a: 3 * a, lambda a: 3 * a, [normal(5, 4)]),
    "a / 2": (lambda a: a / 2, lambda a: a / 2, [normal(5, 4)]),
    "a ** 2": (lambda a: a**2, lambda a: a**2, [normal(5, 4)]),
}
of_operations = pytest.mark.parametrize("name", OPERATIONS)


@of_operations
def test_values_are_numpys_in_its_dtype(name):
    function, reference, arrays = OPERATIONS[name]
    out = function(*map(Tensor, arrays))
    assert isinstance(out, Tensor) and out.dtype == np.float64 and isinstance(out.numpy(), np.ndarray)
    assert_allclose(out.numpy(), reference(*arrays), rtol=1e-12)
    single = function(*[Tensor(a.astype(np.float32)) for a in arrays])
    wider = name in ("divide_scalar by an element", "power_scalar of NumPy")  # NumPy's numbers are not weak
    assert single.dtype == (np.float64 if wider else np.float32)
    assert_allclose(single.numpy(), reference(*arrays), rtol=2e-5, atol=1e-6)


@of_operations
def test_each_operation_answers_for_its_gradient(name):
    function, _, arrays = OPERATIONS[name]
    check_gradient(function, *map(Tensor, arrays))


@of_operations
def test_backward_of_each_operation(name):
    function, _, arrays = OPERATIONS[name]
    check_gradient(function, *map(Tensor, arrays), backward=True)


COMPOSED = {
    "a - b": (sub, [(5, 4), (5, 4)]),
    "3 - a": (lambda a: 3 - a, [(5, 4)]),
    "a product used twice": (
        lambda a, b, c: needle.summation((a @ b + c) * (a @ b), axes=None),
        [(4, 3), (3, 2), (4, 2)],
    ),
    "a broadcast factor": (lambda a, b: needle.summation(needle.broadcast_to(a, (5, 4)) * b), [(5, 1), (5, 4)]),
    "a reshaped factor": (
        lambda a, b, c: needle.summation(needle.reshape(a, (4, 4)) @ b / 5 + c),
        [(16,), (4, 3), (4, 3)],
    ),
    "relu within exp": (lambda a, b: needle.exp(needle.relu(a @ b) / 4).sum(), [(3, 4), (4, 2)]),
    "methods": (lambda a: (a.reshape((6, 2)) * a.sum()).sum((0,)), [(3, 4)]),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_backward_through_a_graph(name):
    function, shapes = COMPOSED[name]
    check_gradient(function, *[Tensor(normal(*s, seed=i)) for i, s in enumerate(shapes)], backward=True)


# -------------------------------------------------------------------------------------------------------- the graph


def values_of(*outputs: Tensor) -> list[Any]:
    return [node.numpy() for node in needle.autograd.find_topo_sort(list(outputs))]


def assert_order(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for got, wanted in zip(found, expected, strict=True):
        assert_allclose(got, wanted, rtol=1e-12)


def test_the_order_of_a_graph_is_that_of_the_inputs_from_left_to_right():
    a, b = np.array([[0.75]]), np.array([[-2.0]])
    x, y = Tensor(a), Tensor(b)
    order = values_of(3 * x * x + 4 * y * x - x)
    steps = [a, 3 * a, 3 * a * a, b, 4 * b, 4 * b * a, 3 * a * a + 4 * b * a, -a, 3 * a * a + 4 * b * a - a]
    assert_order(order, steps)


def test_a_number_belongs_to_its_operation():
    a, b = normal(2, 1), normal(1, 2)
    x, y = Tensor(a), Tensor(b)
    order = values_of(3 * ((y @ x) + (2.25 * y) @ x) + 1.5)
    half = 2.25 * b
    assert_order(
        order, [b, a, b @ a, half, half @ a, b @ a + half @ a, 3 * (b @ a + half @ a), 3 * 3.25 * (b @ a) + 1.5]
    )


def test_a_difference_is_a_sum_with_a_negative():
    a, b = normal(2, 2), normal(2, 2, seed=1)
    x, y = Tensor(a), Tensor(b)
    order = values_of((x @ y + y - x) @ x)
    assert_order(order, [a, b, a @ b, a @ b + b, -a, a @ b + b - a, (a @ b + b - a) @ a])


def test_a_node_comes_once_and_after_its_inputs():
    x = Tensor([2.0])
    y = x * x
    nodes = needle.autograd.find_topo_sort([y + y * x, y])
    assert len(nodes) == len({id(node) for node in nodes}) == 4
    assert nodes[0] is x and nodes[1] is y
    for place, node in enumerate(nodes):
        before = [id(other) for other in nodes[:place]]
        assert all(id(one) in before for one in (node.inputs if node.op is not None else ()))


# ------------------------------------------------------------------------------------------------------- backward


def test_the_gradient_is_a_tensor_on_a_graph():
    x, z = Tensor([6]), Tensor([0])
    y = x * x + x * z
    y.backward()
    by_x, by_z = x.grad, z.grad
    assert by_x == 2 * x.numpy() + z.numpy() and by_z == x.numpy() and y == 36
    by_x.backward()
    assert x.grad == 2 and z.grad == 1


def test_backward_replaces_a_gradient():
    x = Tensor([1.0, 2.0])
    (x * x).sum().backward()
    (3 * x).sum().backward()
    assert_array_equal(x.grad.numpy(), [3, 3])


def test_backward_of_an_array_starts_from_ones_or_from_what_is_given():
    x = Tensor(normal(3, 2))
    (2 * x).backward()
    assert_array_equal(x.grad.numpy(), np.full((3, 2), 2.0))
    given = normal(3, 2, seed=1)
    (2 * x).backward(Tensor(given))
    assert_array_equal(x.grad.numpy(), 2 * given)


def test_tensors_require_a_gradient_unless_told_otherwise():
    assert Tensor([1.0]).requires_grad and not Tensor([1.0], requires_grad=False).requires_grad


def test_what_is_written_into_the_live_array_the_next_call_sees():
    x = Tensor(np.zeros((2, 2)))
    live = x.realize_cached_data()
    live.flat[3] += 2.5
    assert_array_equal((x + 1).numpy(), [[1, 1], [1, 3.5]])
    assert x.cached_data.shape == (2, 2)
    assert_array_equal(np.asarray(x.cached_data), live)
    copy = x.numpy()
    copy[:] = 9
    assert_array_equal(x.numpy(), [[0, 0], [0, 2.5]])


def test_three_hundred_steps_of_plain_descent():
    """The course's loop, with a graph of its own for each step."""
    a, target = normal(6, 3), normal(6, 1)
    w = Tensor(np.zeros((3, 1)))
    for _ in range(300):
        difference = Tensor(a) @ w - Tensor(target)
        (difference * difference).sum().backward()
        w = (w - 0.05 * w.grad).detach()
    assert_allclose(w.numpy(), np.linalg.lstsq(a, target, rcond=None)[0], atol=1e-6)


# ---------------------------------------------------------------------------------------------- apps/simple_ml.py


@pytest.fixture
def files(tmp_path):
    """Images and labels in two gzipped files of the real format."""
    pixels = np.random.default_rng(0).integers(0, 256, (120, 28, 28), np.uint8)
    labels = np.arange(120, dtype=np.uint8) % 10
    images, classes = tmp_path / "train-images-idx3-ubyte.gz", tmp_path / "train-labels-idx1-ubyte.gz"
    images.write_bytes(gzip.compress(struct.pack(">4i", 2051, 120, 28, 28) + pixels.tobytes()))
    classes.write_bytes(gzip.compress(struct.pack(">2i", 2049, 120) + labels.tobytes()))
    return str(images), str(classes), pixels, labels


def test_parse_mnist(files):
    X, y = simple_ml.parse_mnist(files[0], files[1])
    assert X.dtype == np.float32 and X.shape == (120, 784) and y.dtype == np.uint8 and y.shape == (120,)
    assert_allclose(X, files[2].reshape(120, 784) / 255.0, rtol=1e-6)
    assert_array_equal(y, files[3])
    assert X.min() == 0 and X.max() == 1


def np_loss(Z: Any, y: Any) -> Any:
    return np.mean(np.log(np.exp(Z).sum(1)) - Z[np.arange(len(y)), y])


def test_softmax_loss_and_its_gradient():
    rng = np.random.default_rng(0)
    Z, y = rng.standard_normal((50, 10)), rng.integers(0, 10, 50)
    rows = np.eye(10)[y]
    logits = Tensor(Z)
    loss = simple_ml.softmax_loss(logits, Tensor(rows))
    assert_allclose(loss.numpy(), np_loss(Z, y), rtol=1e-12)
    assert_allclose(simple_ml.softmax_loss(Tensor(np.zeros((50, 10))), Tensor(rows)).numpy(), np.log(10), rtol=1e-12)
    loss.backward()
    share = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
    assert_allclose(logits.grad.numpy(), (share - rows) / 50, atol=1e-12)


def test_one_step_of_nn_epoch_is_against_the_gradient():
    np.random.seed(0)  # with which no input of relu is so near to 0 that a difference crosses it
    X, y = np.random.randn(50, 5).astype(np.float32), np.random.randint(3, size=50).astype(np.uint8)
    W1 = np.random.randn(5, 10).astype(np.float32) / np.sqrt(10)
    W2 = np.random.randn(10, 3).astype(np.float32) / np.sqrt(3)

    def loss(first: Any, second: Any) -> Any:
        return np_loss(np.maximum(X @ first, 0) @ second, y)

    by_first = numdifftools.Gradient(lambda w: loss(w.reshape(5, 10), W2))(W1.ravel()).reshape(5, 10)
    by_second = numdifftools.Gradient(lambda w: loss(W1, w.reshape(10, 3)))(W2.ravel()).reshape(10, 3)
    new = simple_ml.nn_epoch(X, y, Tensor(W1), Tensor(W2), lr=1.0, batch=50)
    assert_allclose(by_first, W1 - new[0].numpy(), rtol=1e-4, atol=1e-4)
    assert_allclose(by_second, W2 - new[1].numpy(), rtol=1e-4, atol=1e-4)


def test_nn_epoch_and_loss_err_on_images(files):
    X, y = simple_ml.parse_mnist(files[0], files[1])
    np.random.seed(0)
    W1 = Tensor(np.random.randn(784, 100).astype(np.float32) / np.sqrt(100))
    W2 = Tensor(np.random.randn(100, 10).astype(np.float32) / np.sqrt(10))
    first, second = W1.numpy().astype(np.float64), W2.numpy().astype(np.float64)
    for _ in range(3):
        W1, W2 = simple_ml.nn_epoch(X, y, W1, W2, lr=0.05, batch=40)
        for start in range(0, 120, 40):
            x, labels = X[start : start + 40].astype(np.float64), y[start : start + 40]
            hidden = np.maximum(x @ first, 0)
            out = np.exp(hidden @ second)
            back = out / out.sum(1, keepdims=True) - np.eye(10)[labels]
            by_first = x.T @ (back @ second.T * (hidden > 0))
            first, second = first - 0.05 * by_first / 40, second - 0.05 * hidden.T @ back / 40
    assert_allclose(np.linalg.norm(W1.numpy()), np.linalg.norm(first), rtol=1e-4)
    assert_allclose(W2.numpy(), second, rtol=1e-3, atol=1e-3)
    loss, error = simple_ml.loss_err(needle.relu(Tensor(X) @ W1) @ W2, y)
    out = np.maximum(X @ first, 0) @ second
    assert_allclose(loss, np_loss(out, y), rtol=1e-3)
    assert_allclose(error, np.mean(out.argmax(1) != y), atol=0.02)
