"""Groups of ops run block by block give what the ops give one by one, in any shape, dtype, layout and thread."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from sys import getrefcount
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from needle import Tensor, autograd, sums, threads
from needle.autograd import constant
from needle.backend import as_array
from needle.compile import blocks, fuse
from needle.compile.blocks import Kernel
from needle.compile.fuse import Group, groups
from needle.compile.graph import Node, axes_of, sort
from needle.compile.simplify import simplify
from needle.ops.arithmetic import add
from needle.ops.selection import masked
from needle.threads import get_num_threads, run_on_threads, set_num_threads
from needle.watching import Watcher
from numpy.testing import assert_allclose, assert_array_equal
from samples import SAMPLES, Sample
from test_laws import members, tensors_of

INF, NAN = np.inf, np.nan


class Graph(Watcher):
    """The nodes of what is computed; values are known by the array that a Tensor holds."""

    captures = True

    def __init__(self, inputs: list[Tensor]):
        self.nodes: dict[int, Node] = {}
        self.values: dict[Node, Any] = {}
        self.kept: list[Any] = []
        self.inputs = [self.node(a) for a in inputs]
        for node in self.inputs:
            node.array = None

    def put(self, array: Any, node: Node) -> Node:
        self.nodes[id(array)] = node
        self.values[node] = array
        self.kept.append(array)
        return node

    def node(self, a: Any) -> Node:
        array = a._array
        found = self.nodes.get(id(array))
        return found or self.put(array, Node(None, (), array.shape, array.dtype, array, axes=axes_of(array)))

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        array, nodes = output._array, tuple([self.node(a) for a in inputs])
        if type(array) is tuple:
            self.put(array, Node(op, nodes, None, None))
        elif id(array) not in self.nodes:
            self.put(array, Node(op, nodes, array.shape, array.dtype, axes=axes_of(array)))

    def copied(self, array: Any, copy: Any) -> None:
        if id(array) in self.nodes:
            self.nodes[id(copy)] = self.nodes[id(array)]
            self.kept.append(copy)


def captured(function: Callable[..., Any], *given: Any) -> tuple[Graph, list[Node]]:
    """The graph of function(*tensors), and the nodes of what it returned."""
    tensors = [a if isinstance(a, Tensor) else Tensor(a) for a in given]
    graph = Graph(tensors)
    with np.errstate(all="ignore"), graph:
        returned = function(*tensors)
    returned = returned if isinstance(returned, tuple | list) else (returned,)
    return graph, [graph.node(a) for a in returned if a is not None]


def adjoints(output: Tensor, variables: list[Tensor], seed: Any = None) -> list[Any]:
    """The gradients as Tensors, without the copies that backward() makes."""
    seed = np.ones(output.shape, output.dtype) if seed is None else seed._array
    found = dict(autograd.sweep({output: seed}, set(variables)))
    return [constant(found[a]) for a in variables if a in found]


def one_by_one(order: list[Node], arrays: dict[Node, Any]) -> dict[Node, Any]:
    """The values of all nodes, each computed by its op."""
    values = dict(arrays)
    for node in order:
        if node.op is None:
            values.setdefault(node, node.array)
        else:
            out = node.op.compute(*[values[a] for a in node.inputs])
            values[node] = out if type(out) is tuple else as_array(out)
    return values


def in_groups(items: list[Node | Group], arrays: dict[Node, Any]) -> dict[Node, Any]:
    """The values of the nodes that are not hidden in groups. Each item must find what it needs."""
    values = dict(arrays)
    for item in items:
        if isinstance(item, Group):
            assert item.outputs and set(item.outputs) <= set(item.nodes) and not set(item.inputs) & set(item.nodes)
            outputs = [np.full(node.shape, 77).astype(node.dtype) for node in item.outputs]
            Kernel(item)([values[a] for a in item.inputs], outputs)
            values.update(zip(item.outputs, outputs, strict=True))
        elif item.op is None:
            values.setdefault(item, item.array)
        else:
            out = item.op.compute(*[values[a] for a in item.inputs])
            values[item] = out if type(out) is tuple else as_array(out)
    return values


def assert_same(got: Any, expected: Any) -> None:
    """To the last bit, except that NaN is NaN."""
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    assert_array_equal(got, expected)
    if got.dtype.kind == "f":
        number = ~np.isnan(expected)
        assert_array_equal(np.signbit(got[number]), np.signbit(expected[number]))


def check(function: Callable[..., Any], *given: Any, least: int | None = None, other: Any = None) -> list[Group]:
    """In groups, it gives what it gives one by one, to the last bit: on the arrays given, or on others. There are so
    many groups."""
    graph, outputs = captured(function, *given)
    order = sort(outputs)
    items = groups(order, set(outputs))
    found = [item for item in items if isinstance(item, Group)]
    given = tuple(a._array if isinstance(a, Tensor) else np.asarray(a) for a in (given if other is None else other))
    as_recorded = [axes_of(a) for a in given] == [a.axes for a in graph.inputs]
    arrays = dict(zip(graph.inputs, given, strict=True))
    kept = [a.copy() for a in given]
    with np.errstate(all="ignore"):
        expected, got = one_by_one(order, arrays), in_groups(items, arrays)
    for node in outputs:
        if as_recorded:
            assert_same(got[node], expected[node])
        else:  # arrays in another order than they were recorded in are added up in another order
            eps = float(np.finfo(node.dtype).eps) if node.dtype.kind in "fc" else 0.0
            scale = np.nan_to_num(np.abs(expected[node]).max(initial=0.0), posinf=0.0)
            assert (got[node].shape, got[node].dtype) == (node.shape, node.dtype)
            assert_allclose(got[node], expected[node], rtol=200 * eps, atol=200 * eps * float(scale))
    for a, copy in zip(given, kept, strict=True):
        assert_array_equal(a, copy)
    assert least is None or len(found) == least, [repr(item) for item in items]
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything is worth a group, blocks and threads; and short runs of sums."""
    monkeypatch.setattr(fuse, "LARGE", 1)
    monkeypatch.setattr(sums, "LARGE", 1)
    for name, length in {"_RUN": 4, "_FLAT": 8, "_BATCH": 4, "_WORK": 256}.items():
        monkeypatch.setattr(sums, name, length)
    sums.runs_of.cache_clear()
    monkeypatch.setattr(fuse, "WORTH", 1)
    monkeypatch.setattr(fuse, "ALONE", 1)
    monkeypatch.setattr(blocks, "BLOCK", 100)
    monkeypatch.setattr(blocks, "WORTH", 0)
    monkeypatch.setattr(threads, "_number", 3)
    yield
    sums.runs_of.cache_clear()


def normal(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


# ------------------------------------------------------------------------------------------------------------ every op


def value_and_gradients(sample: Sample) -> Callable[..., Any]:
    def function(*tensors: Tensor) -> Any:
        outputs = members(sample.function(*tensors))
        recorded = [y for y in outputs if y.needs and y.dtype.kind in "fc"]
        found = [y.detach() for y in outputs]
        for y in recorded[:1]:
            found += adjoints(y, [a for a in tensors if a.needs])
        return [y for y in found if isinstance(y._array, np.ndarray)]

    return function


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "DropoutMask"])  # which draws anew
def test_samples(name: str, small: None) -> None:
    for sample in SAMPLES[name]:
        check(value_and_gradients(sample), *tensors_of(sample))


# ------------------------------------------------------------------------------------------------------------- groups


def wave(x: Any) -> Any:
    return nnp.tanh(2 * x + 1) * nnp.exp(-x * x) + x


EDGES = np.array([0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan, 1e30, -3e38, 1e-45], np.float32)
"""All pairs of them, below."""


@pytest.mark.parametrize(
    ("function", "ops"),
    [
        (lambda x, y: -x * y, "EWiseMul Negate"),
        (lambda x, y: x * -y, "EWiseMul Negate"),
        (lambda x, y: -x * -y, "EWiseMul"),
        (lambda x, y: -x / y, "EWiseDiv Negate"),
        (lambda x, y: x / -y, "EWiseDiv Negate"),
        (lambda x, y: -x * 3.0, "MulScalar Negate"),
        (lambda x, y: -x / 3.0, "DivScalar Negate"),
        (lambda x, y: x + -y, "EWiseSub"),
        (lambda x, y: -x + y, "EWiseSub"),
        (lambda x, y: -x + -y, "Negate EWiseSub"),
        (lambda x, y: x - -y, "EWiseAdd"),
        (lambda x, y: x * y - x * -y, "EWiseMul EWiseAdd"),
        (lambda x, y: -(x - y), "EWiseSub Negate"),
        (lambda x, y: -(x[:1]) * y, "GetItem Negate EWiseMul"),
        (lambda x, y: x + -(y[:1]), "GetItem EWiseSub"),
        (lambda x, y: needle.broadcast_to(np.ones((), np.float32), x.shape) * x + y, "EWiseAdd"),
        (lambda x, y: -x.astype(int) * y.astype(int), "Discrete Negate Discrete EWiseMul"),
        (lambda x, y: (x + 1j * y) * 1.0, "MulScalar EWiseAdd MulScalar"),
        (lambda x, y: (x + 1j * y) / np.ones(x.shape), "MulScalar EWiseAdd EWiseDiv"),
        (lambda x, y: -(x * 1j) * y, "MulScalar Negate EWiseMul"),
    ],
)
def test_negations_and_ones_are_moved_out_of_the_way(function: Callable[..., Any], ops: str) -> None:
    """To the last bit, the signs of zeros among them."""
    x, y = [a.ravel() for a in np.meshgrid(EDGES, EDGES)]
    if "Discrete" in ops:
        x, y = np.nan_to_num(x).clip(-9, 9), np.nan_to_num(y).clip(-9, 9)
    graph, outputs = captured(function, x, y)
    kept, simpler = simplify(sort(outputs), outputs, graph.values, {})
    kept = [node for node in kept if node.op is not None]
    assert [type(node.op).__name__ for node in kept] == ops.split()
    arrays = {node: graph.values[node] for node in graph.inputs}
    with np.errstate(all="ignore"):
        expected, got = one_by_one(sort(outputs), arrays), one_by_one(sort(simpler), arrays)
    assert_same(got[simpler[0]], expected[outputs[0]])


@pytest.mark.usefixtures("small")
class TestGroups:
    def test_a_chain_and_its_gradient_are_one_group(self) -> None:
        def function(x: Any) -> Any:
            total = wave(x).sum()
            return total.detach(), *adjoints(total, [x])

        (group,) = check(function, normal(1000), least=1)
        assert [a.shape for a in group.inputs] == [(1000,), ()]  # and the adjoint of the sum

    def test_operands_that_meet_late(self) -> None:
        def adam(p: Any, g: Any, m: Any, v: Any) -> Any:
            m = m * 0.9 + g * 0.1
            v = v * 0.999 + g * g * 0.001
            return p - 0.1 * m / (nnp.sqrt(v) + 1e-8), m, v

        v = abs(normal(1000, seed=3))
        (group,) = check(adam, *[normal(1000, seed=i) for i in range(3)], v, least=1)
        assert len(group.outputs) == 3

    @pytest.mark.parametrize("shape", [(40, 12), (3, 40, 12), (1, 40, 12), (40, 1, 12)])
    def test_layer_norm(self, shape: tuple[int, ...]) -> None:
        def function(x: Any, w: Any, b: Any, g: Any) -> Any:
            c = x - x.mean(-1, keepdims=True)
            y = c / nnp.sqrt((c * c).mean(-1, keepdims=True) + 1e-5) * w + b
            return y.detach(), *adjoints(y, [x, w, b], g)

        given = normal(*shape), normal(12), normal(12, seed=1), normal(*shape, seed=2)
        found = check(function, *given, least=1)
        assert found[0].rows == np.prod(shape[:-1])

    def test_cross_entropy_computes_the_softmax_once(self) -> None:
        def function(logits: Any, targets: Any) -> Any:
            loss = needle.softmax_loss(logits, targets)
            return loss.detach(), *adjoints(loss, [logits])

        targets = Tensor(np.eye(7, dtype=np.float32)[np.arange(50) % 7], requires_grad=False)
        check(function, 3 * normal(50, 7), targets, least=2)
        names = self.simplified(function, 300 * normal(50, 7), targets, count=2)
        assert names >= {"LossAndProbabilities", "EWiseMul"}

    @staticmethod
    def simplified(function: Any, *given: Any, count: int = 1) -> set[str]:
        """What is left in so many groups, whose values are checked."""
        graph, outputs = captured(function, *given)
        arrays = dict(zip(graph.inputs, [graph.values[a] for a in graph.inputs], strict=True))
        kept, outputs = simplify(sort(outputs), outputs, graph.values, {})
        leaves = dict.fromkeys(a for node in kept for a in node.inputs if a.op is None)
        items = groups([*leaves, *kept], set(outputs))
        found = [item for item in items if isinstance(item, Group)]
        assert len(found) == count
        values, expected = in_groups(items, arrays), one_by_one([*leaves, *kept], arrays)
        for node in outputs:
            assert_same(values[node], expected[node])
        return {type(node.op).__name__ for group in found for node in group.nodes}

    def test_cross_entropy_by_labels_is_one_pass_with_its_gradient(self) -> None:
        def function(logits: Any, labels: Any) -> Any:
            loss = 3 * needle.softmax_loss(logits, labels)
            return loss.detach(), *adjoints(loss, [logits])

        labels = Tensor(np.arange(60).reshape(5, 12) % 7, requires_grad=False)
        for scale in (3, 300):
            assert self.simplified(function, scale * normal(5, 12, 7), labels) == {"LossAndGradient", "TupleGetItem"}

    def test_cross_entropy_by_labels_whose_softmax_has_other_uses(self) -> None:
        def function(logits: Any, labels: Any) -> Any:
            loss = needle.softmax_loss(logits, labels)
            return loss.detach(), *adjoints(loss, [logits]), needle.softmax(logits).detach()

        names = self.simplified(function, normal(60, 7), Tensor(np.arange(60) % 7, requires_grad=False))
        assert names == {"LossAndProbabilities", "TupleGetItem"}

    def test_flat_where_rows_are_few(self) -> None:
        (group,) = check(lambda x: wave(x).sum(), normal(2, 500), least=1)
        assert group.rows == 1000

    def test_rows_and_columns_of_a_square(self) -> None:
        """The sums along one axis are as long as the other one: they do not fit beside a row."""

        def function(x: Any) -> Any:
            s = (x * 2).sum(1)
            return x + s, x + s.reshape(20, 1), s * 3

        check(function, normal(20, 20))

    def test_a_total_ends_a_group(self) -> None:
        found = check(lambda x: (x * 2 - (x * 2).mean()) / (x * 2).std(), normal(1000))
        assert len(found) >= 2

    def test_what_is_between_two_groups_keeps_them_apart(self) -> None:
        def function(x: Any, w: Any) -> Any:
            h = nnp.tanh(x * 2)
            return (h @ w + x) * h

        found = check(function, normal(30, 5), normal(5, 5))
        assert len(found) == 2

    def test_a_value_used_whole_and_by_rows(self) -> None:
        check(
            lambda x, y: (x * y, x.reshape(20, 1) * nnp.ones((20, 20), np.float32) + y), normal(20), normal(20, seed=1)
        )

    def test_partial_broadcasting(self) -> None:
        check(lambda x, y: (x * y).sum(2) + 1, normal(4, 5, 6), normal(5, 6), least=1)
        check(lambda x, y: nnp.exp(x * y).sum((0, 2)) + 1, normal(4, 5, 6), normal(4, 1, 6))
        check(lambda x, y: nnp.exp(x * y) * x, normal(4, 5, 6), normal(5, 1))

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool])
    def test_sums_of_squares_in_a_wider_dtype(self, dtype: Any) -> None:
        check(lambda x: (x**2.0).sum(-1), np.full((40, 6), 100, dtype))

    def test_a_factor_of_another_group(self) -> None:
        def function(x: Any, y: Any) -> Any:
            z = (y * (y - x)).reshape((-1,)) * 2
            return z.detach(), *adjoints(z, [x, y])

        check(function, normal(40, 25), normal(40, 1))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int32])
    def test_sums_of_products_along_rows(self, dtype: Any) -> None:
        x, y, w, s = [(3 * normal(*n)).astype(dtype) for n in ((40, 6), (40, 6), (6,), (40, 1))]
        products: list[Callable[..., Any]] = [
            lambda x, y, w, s: (x * y).sum(-1),
            lambda x, y, w, s: (x * x).sum(-1, keepdims=True) + x,
            lambda x, y, w, s: (x**2).sum(1) * 2,
            lambda x, y, w, s: (w * x).sum(-1),
            lambda x, y, w, s: (nnp.exp(x) * y).sum(1, keepdims=True) * s,
        ]
        for function in products:
            check(function, x, y, w, s, least=1)

        def handed_out(x: Any, y: Any, *_: Any) -> Any:
            product = x * y
            return product.sum(-1), product

        def used_again(x: Any, y: Any, *_: Any) -> Any:
            product = x * y
            return product.sum(-1, keepdims=True) + product

        computed: list[Callable[..., Any]] = [
            lambda x, y, w, s: (s * x).sum(-1),  # one factor is shorter
            handed_out,
            used_again,
            lambda x, y, w, s: (x * y).sum(0),
        ]
        for function in computed:
            check(function, x, y, w, s, least=1)

        def made_elsewhere(x: Any, y: Any, *_: Any) -> Any:
            product = x * y
            return (product.reshape(-1)[::-1] * 2).reshape(product.shape) + product.sum(-1, keepdims=True)

        check(made_elsewhere, x, y, w, s)
        infinite = x.copy()
        if dtype != np.int32:
            infinite[3, 2], infinite[4, 1] = np.inf, np.nan
            check(lambda x, y: (x * y).sum(-1), infinite, np.zeros_like(y), least=1)

    def test_sums_of_long_rows(self) -> None:
        """Those that are added up in pairs of partial sums stay so, for their error not to grow."""
        x = 1 + normal(4, 5000) / 100
        check(lambda x: (x * x).sum(-1, keepdims=True) + x, x, least=1)

    def test_reductions_over_all_kinds_of_axes(self) -> None:
        for axes in (None, 0, 1, 2, (0, 1), (1, 2), (0, 2), (0, 1, 2), -1):
            for keep in (False, True):
                for name in ("sum", "max", "min", "mean", "prod", "var", "std"):
                    f = getattr(nnp, name)
                    check(lambda x, f=f, axes=axes, keep=keep: f(x * 2, axis=axes, keepdims=keep), normal(4, 5, 6))

    def test_softmax_and_kin(self) -> None:
        for f in (needle.softmax, needle.logsoftmax, needle.logsumexp):
            for axes in (1, (1, 2), -1, 0):
                check(lambda x, f=f, axes=axes: f(x * 2, axes) * 3, normal(8, 5, 6))

    @pytest.mark.parametrize("scale", [1.0, 30.0])
    def test_the_gradient_of_a_softmax_is_in_its_group(self, scale: float) -> None:
        """Rows with a probability near 1 take another way than those beside them."""

        def function(x: Any, g: Any) -> Any:
            y = needle.softmax(x * 2)
            return y.detach(), *adjoints(y, [x], g)

        x = normal(301, 7)
        x[::5] *= scale
        (group,) = check(function, x, normal(301, 7, seed=1))
        assert "SlopeOfSoftmax" in [repr(node.op) for node in group.nodes]
        check(lambda x, g: adjoints(needle.softmax(x, (1, 2)), [x], g), normal(60, 5, 6), normal(60, 5, 6, seed=1))

    def test_views_that_others_need(self) -> None:
        def function(x: Any) -> Any:
            y = (x * 2).sum(1)
            z = y.reshape(20, 1)
            wide = z.broadcast_to((20, 6))
            return z, wide, (wide * x).sum(), x @ wide.T

        check(function, normal(20, 6))

    def test_a_repeated_value_is_no_array(self) -> None:
        def function(x: Any) -> Any:
            one = nnp.sum(x).broadcast_to((100,))
            return one * x + one, (one + 1).sum(), one.sum(), one

        check(function, normal(100))

    def test_many_values_alive(self) -> None:
        def function(x: Any) -> Any:
            values = [x]
            for i in range(100):
                values.append(nnp.tanh(values[-1] + i))
            total = values[-1]
            for v in reversed(values):
                total = total * v + 1
            return total

        for group in check(function, normal(300)):
            assert len(Kernel(group)._slots.sizes) <= fuse.MOST_ALIVE + 8

    def test_a_mask_is_made_where_it_is_needed(self) -> None:
        def function(x: Any, v: Any, w: Any) -> Any:
            y = needle.relu(x @ v + 1)
            out = nnp.tanh(needle.relu(y @ w) @ v)
            return out.detach(), *adjoints(out, [x, v, w])

        found = check(function, normal(30, 6), normal(6, 6, seed=1), normal(6, 6, seed=2))
        masks = [node for group in found for node in group.outputs if node.dtype.kind == "b"]
        assert all(node.shape != (30, 6) for node in masks)

    def test_nodes_that_nobody_needs(self) -> None:
        _, outputs = captured(lambda x: wave(x) * 2, normal(1000))
        extra = Node(outputs[0].op, outputs, outputs[0].shape, outputs[0].dtype)
        items = groups([*sort(outputs), extra], set(outputs))
        assert all(extra not in item.nodes for item in items if isinstance(item, Group))

    def test_groups_that_wait_for_one_another_are_not_joined(self) -> None:
        def function(x: Any, w: Any) -> Any:
            a = nnp.tanh(x * 2)
            b = nnp.exp(w * 3)
            c = (a @ a) * 2 + b  # a must be done before b's group can end
            return a * b + c, a.sum() * b

        check(function, normal(12, 12), normal(12, 12, seed=1))

    def test_ops_with_arrays_of_their_own_stay_alone(self) -> None:
        low = np.linspace(-1, 0, 6, dtype=np.float32)
        check(lambda x: nnp.clip(x * 2, low, 1) + 1, normal(20, 6))

    def test_random_programs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = np.random.default_rng(5)
        for trial in range(150):
            monkeypatch.setattr(fuse, "WORTH", (1, 2000)[trial % 2])
            monkeypatch.setattr(fuse, "LARGE", (1, 100)[trial % 3 == 0])
            shapes = [(12, 6), (6,), (12, 1), (), (1, 6), (12, 6), (12,)]
            given = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
            choices = rng.integers(0, 1 << 30, 40)

            def function(*tensors: Any, choices: Any = choices) -> Any:
                values = list(tensors)
                for c in choices:
                    a, b = values[c % len(values)], values[c // 97 % len(values)]
                    kind = c // 9973 % 12
                    try:
                        shape = np.broadcast_shapes(a.shape, b.shape)
                    except ValueError:
                        continue
                    if len(shape) > 2:
                        continue
                    two = [a + b, a * b, nnp.maximum(a, b), nnp.where(a > b, a, b), a - b]
                    one = [nnp.tanh(a), a * 0.5, nnp.exp(-a * a)]
                    if kind < 5:
                        values.append(two[kind])
                    elif kind < 8:
                        values.append(one[kind - 5])
                    elif kind == 8 and a.ndim:
                        values.append(nnp.tanh(a.sum(c % a.ndim)))
                    elif kind == 9 and a.ndim:
                        values.append(nnp.max(a, axis=c % a.ndim, keepdims=True))
                    elif kind == 10:
                        values.append(nnp.tanh(a.mean()))
                    elif kind == 11 and a.shape == b.shape == (12, 6):
                        values.append(nnp.tanh(a @ b.T @ b))
                return values[-6:]

            check(function, *given)


# ------------------------------------------------------------------------------------------------------------ kernels


def kernel_of(function: Callable[..., Any], *given: Any) -> tuple[Kernel, list[Any], list[Any]]:
    """The kernel of a function that is one group, its inputs, and memory for its outputs."""
    graph, outputs = captured(function, *given)
    (group,) = [item for item in groups(sort(outputs), set(outputs)) if isinstance(item, Group)]
    return Kernel(group), [graph.values[a] for a in group.inputs], [np.empty(a.shape, a.dtype) for a in group.outputs]


@pytest.mark.usefixtures("small")
class TestKernels:
    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "F", "D", "i4", "i1", "u2", "?"])
    def test_dtypes(self, dtype: str) -> None:
        rng = np.random.default_rng(0)
        x = (rng.standard_normal((50, 7)) * 5 if dtype != "u2" else rng.integers(0, 9, (50, 7))).astype(dtype)
        x = np.asarray(x)

        def function(a: Any) -> Any:
            b = a + 1
            c = b * b
            return (
                c * 2,
                c / 3,
                -(c * 1),
                c > 2,
                nnp.where(c > 2, b, a),
                c.sum(),
                c.sum(0),
                c.sum(1),
                (c == b) | (a > 0),
            )

        if x.dtype.kind == "c":
            check(lambda a: (a * 2 + 1, abs(a * 3), a.conj() * a, a.real * 2, a.imag + 1, a.sum(), a.sum(1)), x)
        else:
            check(function, x)
            check(lambda a: ((a + 1).astype("f4") * 2, (a + 1).astype("f8").sum(0)), x)

    @pytest.mark.parametrize("number", [2, 0.5, -1, 3.7, 0, True, 1e300, -0.0, INF, NAN, 2**70, 1j, np.float64(0.1)])
    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "?"])
    def test_numbers(self, number: Any, dtype: str) -> None:
        x = np.array([-3, -1.5, -0.0, 0, 0.1, 1, 2, 7] * 9).astype(dtype)
        x = np.asarray(x)
        if x.dtype.kind == "f":
            x[::5] = NAN
            x[1::7] = INF
        ways: list[Callable[..., Any]] = [
            lambda a: a + number,
            lambda a: a * number,
            lambda a: a / number,
            lambda a: number / a,
            lambda a: a**number,
            lambda a: number**a,
            lambda a: a > number,
            lambda a: number <= a,
            lambda a: a == number,
        ]
        for way in ways:
            try:
                with np.errstate(all="ignore"):
                    way(Tensor(x))
            except (TypeError, ValueError, OverflowError):
                continue
            check(lambda a, way=way: way(a), x)

    def test_special_values(self) -> None:
        x = np.array([NAN, INF, -INF, 0.0, -0.0, 1, -1, 1e-40, 3e38] * 20, np.float32)
        y = np.roll(x, 7)

        def function(a: Any, b: Any) -> Any:
            mask = a > b
            return (
                nnp.where(mask, a, b),
                nnp.where(mask, a, 1.5),
                masked(a, mask),
                needle.relu(a),
                needle.relu(a * b),
                masked(a * b, nnp.isnan(b)),
                add(a, b, alpha=0.3),
                nnp.maximum(a, b),
                a.max(),
                b.min(),
            )

        check(function, x, y)
        check(function, x.astype(np.float64), y.astype(np.float64))
        check(lambda a: (masked(a * 2, a.sum(1, keepdims=True) > 0), nnp.where(a > 0, a, a[0])), normal(20, 5))

    @pytest.mark.parametrize("rows", [1, 2, 5, 24, 25, 26, 99, 100, 101, 250, 1023, 4001])
    def test_rows_that_blocks_do_not_divide(self, rows: int) -> None:
        check(lambda x: (wave(x), wave(x).sum(), wave(x).max()), normal(rows))
        check(lambda x: (wave(x), wave(x).sum(0), wave(x).sum(1), needle.softmax(x, 1)), normal(rows, 3))

    @pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
    def test_nothing(self, shape: tuple[int, ...]) -> None:
        graph, outputs = captured(lambda x: (x * 2 + 1, (x * 2).sum(), (x + 1).sum(0)), np.ones(shape, np.float32))
        nodes = [node for node in sort(outputs) if node.op is not None]
        group = Group(nodes, [a for a in sort(outputs) if a.op is None], outputs, 0)
        arrays = [np.full(node.shape, 7, node.dtype) for node in outputs]
        Kernel(group)([np.ones(shape, np.float32)], arrays)
        for node, array in zip(outputs, arrays, strict=True):
            assert_same(array, graph.values[node])

    def test_layouts(self) -> None:
        x = normal(30, 14)
        layouts = {
            "transposed": normal(14, 30).T,
            "every other": normal(60, 28)[::2, ::2],
            "backwards": x[::-1, ::-1],
            "repeated": np.broadcast_to(normal(14), (30, 14)),
            "one number": np.broadcast_to(np.float32(3), (30, 14)),
        }
        for array in layouts.values():
            check(lambda a, b: (wave(a) * b, wave(a).sum(), wave(b).sum(1)), x, x, other=(array, x))
            check(lambda a, b: (wave(a) * b, wave(a).sum(), wave(a).sum(0)), x, x, other=(x, array))
            check(lambda a: needle.relu(masked(a, a > 0)), x, other=(array,))
        check(lambda a: wave(a).sum(1), normal(3, 30, 14), other=(normal(14, 30, 3).T,))

    def test_inputs_that_share_memory(self) -> None:
        x = normal(301)
        check(lambda a, b, c: (wave(a) * b, c + b, a - b), x[:300], x[:300], x[:300], other=(x[1:], x[:-1], x[:-1]))

    def test_an_output_that_is_no_whole_piece_of_memory(self) -> None:
        kernel, inputs, outputs = kernel_of(lambda x: (wave(x), wave(x) * 2), normal(30, 14))
        kernel(inputs, outputs)
        strange = [np.full((14, 30), 5, np.float32).T, np.full((60, 28), 5, np.float32)[::2, ::2]]
        kernel(inputs, strange)
        for a, b in zip(outputs, strange, strict=True):
            assert_array_equal(a, b)

    def test_nothing_of_the_arrays_is_kept(self) -> None:
        kernel, inputs, outputs = kernel_of(lambda x: (wave(x), needle.sigmoid(x) * 2, x.sum()), normal(1000))
        counts = [getrefcount(a) for a in (*inputs, *outputs)]
        kernel(inputs, outputs)
        assert [getrefcount(a) for a in (*inputs, *outputs)] == counts

    def test_sums_are_as_exact_as_numpys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blocks, "BLOCK", 1 << 12)
        x = np.random.default_rng(0).random(1_000_003).astype(np.float32)
        kernel, inputs, outputs = kernel_of(lambda a: (a * 1.5).sum(), x)
        kernel(inputs, outputs)
        exact = np.sum(x.astype(np.float64) * 1.5)
        theirs = abs(float((x * np.float32(1.5)).sum()) - exact)
        assert abs(float(outputs[0]) - exact) <= max(theirs, np.spacing(np.float32(exact)))

    def test_the_same_whoever_is_first(self) -> None:
        kernel, inputs, outputs = kernel_of(
            lambda a: (wave(a).sum(), wave(a).sum(0), needle.softmax(a, 1)), normal(500, 9)
        )
        results = []
        for number in (1, 2, 3, 8) * 5:
            set_num_threads(number)
            kernel(inputs, outputs)
            results.append([a.tobytes() for a in outputs])
        assert all(result == results[0] for result in results)

    def test_errors(self) -> None:
        kernel, inputs, outputs = kernel_of(lambda x: nnp.log(x) * 2, np.full(1000, 2, np.float32))
        bad = np.full(1000, 2, np.float32)
        bad[-1] = -1
        for number in (1, 3):
            set_num_threads(number)
            with np.errstate(all="raise"), pytest.raises(FloatingPointError):
                kernel([bad], outputs)
            with np.errstate(all="ignore"):
                kernel([bad], outputs)
            assert np.isnan(outputs[0][-1])
            with pytest.warns(RuntimeWarning, match="invalid value"):
                kernel([bad], outputs)
            kernel(inputs, outputs)
            assert_array_equal(outputs[0], np.log(inputs[0]) * 2)

    def test_called_by_several_threads(self) -> None:
        kernel, inputs, outputs = kernel_of(lambda x: (wave(x), wave(x).sum(), needle.sigmoid(x) + 1), normal(5000))
        kernel(inputs, outputs)
        wrong: list[Any] = []

        def caller() -> None:
            for _ in range(30):
                mine = [np.empty_like(a) for a in outputs]
                kernel(inputs, mine)
                wrong.extend(a for a, b in zip(mine, outputs, strict=True) if a.tobytes() != b.tobytes())

        callers = [threading.Thread(target=caller) for _ in range(4)]
        [t.start() for t in callers]
        [t.join() for t in callers]
        assert not wrong


def test_small_arrays_are_left_alone() -> None:
    check(lambda x: (wave(x), wave(x).sum()), normal(1000), least=0)
    check(lambda x: (wave(x), wave(x).sum()), normal(100_000), least=1)
    check(nnp.exp, normal(100_000), least=0)
    check(
        lambda x: (x * 2 + 1, (x.sum(1, keepdims=True).broadcast_to(x.shape) * x).reshape(-1)),
        normal(200, 170),
        least=0,
    )


# ------------------------------------------------------------------------------------------------------------ threads


class TestThreads:
    def test_each_is_called_once_in_a_thread_of_its_own(self) -> None:
        for n in (1, 2, 5):
            seen: dict[int, int] = {}
            together = threading.Barrier(n)

            def function(k: int, seen: Any = seen, together: Any = together) -> None:
                together.wait(10)
                seen[k] = threading.get_ident()

            run_on_threads(function, n)
            assert sorted(seen) == list(range(n)) and len(set(seen.values())) == n
            assert seen[0] == threading.get_ident()

    def test_the_first_exception_comes_when_all_are_done(self) -> None:
        done = []

        def function(k: int) -> None:
            time.sleep(0.01 * (3 - k))
            done.append(k)
            if k:
                raise KeyError(k)

        with pytest.raises(KeyError, match="1"):
            run_on_threads(function, 3)
        assert sorted(done) == [0, 1, 2]
        run_on_threads(done.append, 3)

    def test_the_callers_context(self) -> None:
        seen = []

        def function(k: int) -> None:
            seen.append((np.geterr()["divide"], autograd.is_grad_enabled()))

        with np.errstate(divide="raise"), needle.no_grad():
            run_on_threads(function, 3)
        assert seen == [("raise", False)] * 3

    def test_inside_of_one_another(self) -> None:
        seen: list[int] = []
        run_on_threads(lambda k: run_on_threads(seen.append, 3), 3)
        assert sorted(seen) == [0, 0, 0, 1, 1, 1, 2, 2, 2]

    def test_the_number(self) -> None:
        before = get_num_threads()
        assert 1 <= before <= (os.cpu_count() or 1)
        try:
            set_num_threads(7)
            assert get_num_threads() == 7
            with pytest.raises(ValueError, match="at least 1 thread, got 0"):
                set_num_threads(0)
            with pytest.raises(TypeError, match=r"whole number, got 1\.5"):
                set_num_threads(1.5)  # type: ignore[arg-type]
        finally:
            set_num_threads(before)

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_after_a_fork(self) -> None:
        run_on_threads(lambda k: None, 3)
        child = os.fork()
        if child == 0:
            seen: list[int] = []
            run_on_threads(seen.append, 3)
            os._exit(0 if sorted(seen) == [0, 1, 2] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
