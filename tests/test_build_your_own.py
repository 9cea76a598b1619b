"""docs/build_your_own.md: its engine runs, is right, and differs from Needle's in what the page says, and where."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import needle
import numeric
import numpy as np
import pytest
from needle.autograd import find_topo_sort
from numpy.testing import assert_allclose, assert_array_equal

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "build_your_own.md").read_text(encoding="utf-8")
ENGINE_ENDS = "## Try it"
MOST_LINES = 120


def blocks(text: str) -> list[str]:
    """The Python programs in it, without the examples that are doctests."""
    found = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for block in found if ">>>" not in block]


def run(*programs: str, **names: Any) -> SimpleNamespace:
    """What the programs define, one after the other."""
    exec(compile("\n\n".join(programs), "docs/build_your_own.md", "exec"), names)
    return SimpleNamespace(**names)


ENGINE = blocks(PAGE.partition(ENGINE_ENDS)[0])
small = run(*ENGINE)
RULES = "\n\n".join(block for block in ENGINE if "(Op):" in block)
rules_on_needle = run(RULES, np=np, Op=needle.TensorOp)


@pytest.fixture(scope="module")
def page():
    """What the whole page defines, and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        defined = run(*blocks(PAGE))
    defined.printed = printed.getvalue().splitlines()
    return defined


# ------------------------------------------------------------------------------------------------------ the page itself


def test_the_engine_is_about_a_hundred_lines():
    lines = [line for block in ENGINE for line in block.splitlines() if line.strip()]
    assert 90 <= len(lines) <= MOST_LINES


def test_the_page_prints_what_it_says(page):
    program = "\n".join(blocks(PAGE))
    said = re.findall(r"^print\(.*\)  # (.*)$", program, re.MULTILINE)
    assert len(said) == program.count("print(")
    assert page.printed == said


def test_the_graph_of_many_paths_has_as_many_nodes_as_the_page_says():
    y = small.Tensor(1.0)
    for _ in range(10_000):
        y = (y + y) * 0.5
    assert f"{len(small.find_topo_sort([y])):,} nodes" in PAGE


def test_names_stand_where_the_page_says():
    table = [line for line in PAGE.splitlines() if line.startswith("| ")]
    places = re.findall(r"`([\w/]+\.py)`: ((?:`[\w.]+`(?:, )?)+)", "\n".join(table))
    names = [(file, name) for file, listed in places for name in re.findall(r"`([\w.]+)`", listed)]
    assert len(names) > 20
    for file, name in names:
        source = (ROOT / "python" / "needle" / file).read_text(encoding="utf-8")
        for part in name.split("."):
            assert re.search(rf"^\s*(?:def|class) {part}\b|^{part}\b.* = ", source, re.MULTILINE), (file, name)


def test_names_in_the_text_exist():
    assert needle.autograd.on_paths_to
    assert needle.autograd.Elements
    assert needle.autograd.GradientOf.replay
    assert needle.autograd.Op.hint
    assert needle.autograd.Op.tangent
    assert needle.ops.MulScalar
    parameters = inspect.signature(find_topo_sort).parameters
    assert "differentiable" in parameters
    assert "stop" in parameters


def test_the_rule_that_is_quoted_is_needles():
    (quoted,) = re.findall(r"^    (return lambda: .*)$", PAGE, re.MULTILINE)
    assert quoted in inspect.getsource(needle.ops.MatMul.gradient)


# ----------------------------------------------------------------------------------------- it computes the right things


def several_paths(_, a, b):
    c = a * b
    return ((c + a) * c - b / c + c * c).sum()


def operators_with_numbers(_, a, b):
    return (2 - a + 3 * b - 1 / b + a / 2 - (-a) ** 3 + (1 + b) * a).sum()


def broadcasting(lib, a, b):
    return (lib.tanh(a * b + a) / (b * b + 1)).sum()


def products(lib, a, b):
    return (lib.tanh(a @ b) ** 2 @ (a @ b).mT).sum()


PROGRAMS: dict[str, tuple[Any, tuple[tuple[int, ...], ...]]] = {
    "several paths": (several_paths, ((3,), (3,))),
    "several paths of scalars": (several_paths, ((), ())),
    "several paths of nothing": (several_paths, ((0, 2), (0, 2))),
    "numbers": (operators_with_numbers, ((2, 3), (2, 3))),
    "broadcast along new axes": (broadcasting, ((2, 4, 3), (3,))),
    "broadcast along both": (broadcasting, ((4, 1), (1, 3))),
    "broadcast along new axes and those of length 1": (broadcasting, ((2, 1, 3), (4, 1))),
    "broadcast of a scalar": (broadcasting, ((), (2, 3))),
    "broadcast of one element": (broadcasting, ((1, 1), (2,))),
    "matrices": (products, ((2, 3), (3, 4))),
    "batches": (products, ((5, 2, 3), (5, 3, 4))),
    "one matrix and a batch": (products, ((2, 3), (5, 3, 4))),
    "a batch and one matrix": (products, ((6, 5, 2, 3), (3, 4))),
    "batches that broadcast": (products, ((6, 1, 2, 3), (5, 3, 2))),
}


def array_of(tensor: Any) -> Any:
    """The value of a Tensor of either engine."""
    return tensor.numpy() if isinstance(tensor, needle.Tensor) else tensor.array


def operands(shapes: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.uniform(0.5, 1.5, shape) for shape in shapes]


@pytest.fixture(params=PROGRAMS, name="program")
def _program(request):
    function, shapes = PROGRAMS[request.param]
    return function, operands(shapes)


def gradients(lib: Any, function: Any, arrays: list[Any]) -> list[Any]:
    tensors = [lib.Tensor(a) for a in arrays]
    output = function(lib, *tensors)
    output.backward()
    return [t.grad for t in tensors]


def squared_norm(lib: Any, function: Any, arrays: list[Any]) -> tuple[Any, list[Any]]:
    """Of the gradient, as an output; and its variables."""
    tensors = [lib.Tensor(a) for a in arrays]
    output = function(lib, *tensors)
    output.backward()
    norm = sum([(t.grad * t.grad).sum() for t in tensors[1:]], (tensors[0].grad * tensors[0].grad).sum())
    return norm, tensors


def second_gradients(lib: Any, function: Any, arrays: list[Any]) -> list[Any]:
    norm, tensors = squared_norm(lib, function, arrays)
    norm.backward()
    return [t.grad for t in tensors]


def replaced(arrays: list[Any], i: int, array: Any) -> list[Any]:
    return [*arrays[:i], array, *arrays[i + 1 :]]


def test_values_are_needles(program):
    function, arrays = program
    ours, theirs = (function(lib, *map(lib.Tensor, arrays)) for lib in (small, needle))
    assert_allclose(ours.array, theirs.numpy(), rtol=1e-12)


def test_gradients_are_needles(program):
    function, arrays = program
    found, expected = (gradients(lib, function, arrays) for lib in (small, needle))
    for a, ours, theirs in zip(arrays, found, expected, strict=True):
        assert ours.shape == theirs.shape == a.shape
        assert_allclose(ours.array, theirs.numpy(), rtol=1e-10, atol=1e-12)


def test_gradients_are_differences(program, page):
    function, arrays = program
    for i, g in enumerate(gradients(small, function, arrays)):

        def value(v, i=i):
            return function(small, *map(small.Tensor, replaced(arrays, i, v))).array

        assert_allclose(g.array, numeric.gradient(value, arrays[i]), rtol=1e-6, atol=1e-8)
        assert_allclose(g.array, page.numerical_gradient(value, arrays[i]), rtol=1e-5, atol=1e-6)


def test_second_derivatives_are_needles(program):
    function, arrays = program
    found, expected = (second_gradients(lib, function, arrays) for lib in (small, needle))
    for ours, theirs in zip(found, expected, strict=True):
        assert_allclose(ours.array, theirs.numpy(), rtol=1e-9, atol=1e-10)


def test_second_derivatives_are_differences(program):
    function, arrays = program
    for i, g in enumerate(second_gradients(small, function, arrays)):

        def value(v, i=i):
            return squared_norm(small, function, replaced(arrays, i, v))[0].array

        assert_allclose(g.array, numeric.gradient(value, arrays[i]), rtol=1e-6, atol=1e-6)


def test_a_given_adjoint_of_the_output():
    arrays = operands([(2, 3), (3,)])
    weights = np.arange(6.0).reshape(2, 3)
    for lib in (small, needle):
        a, b = map(lib.Tensor, arrays)
        (a * b).backward(lib.Tensor(weights))
        assert_allclose(array_of(a.grad), weights * arrays[1])
        assert_allclose(array_of(b.grad), (weights * arrays[0]).sum(0))


def test_arrays_beside_tensors():
    array = np.array([[1.0, 2.0], [3.0, 4.0]])
    x = small.Tensor(array.copy())
    for y, expected in [(array * x, array), (array @ x, array.T @ np.ones((2, 2))), (array - x, -np.ones((2, 2)))]:
        assert type(y) is small.Tensor
        y.backward()
        assert_allclose(x.grad.array, expected)


def test_chains_of_ten_thousand_nodes():
    n = 10_000
    assert sys.getrecursionlimit() < n
    x = small.Tensor(1.0)
    y = x
    for _ in range(n):
        y = y * x
    assert len(small.find_topo_sort([y])) == n + 1
    y.backward()
    assert x.grad.array == n + 1
    x.grad.backward()
    assert x.grad.array == (n + 1) * n


def test_the_order_is_needles():
    rng = np.random.default_rng(0)
    nodes = [small.Tensor(1.0) for _ in range(3)]
    for _ in range(200):
        i, j = rng.integers(max(0, len(nodes) - 12), len(nodes), 2)
        nodes.append(nodes[i] + nodes[j])
    outputs = [nodes[-1], nodes[-7], nodes[100]]
    order = small.find_topo_sort(outputs)
    assert len(order) == len(set(order)) > 100
    place = {node: i for i, node in enumerate(order)}
    assert all(place[a] < place[node] for node in order for a in node.inputs)
    assert order == find_topo_sort(outputs, lambda node: node.inputs)


# -------------------------------------------------------------------------- what Needle adds, and the small one has not


def test_the_rules_run_in_needle_as_they_stand():
    rules = rules_on_needle
    arrays = operands([(5, 2, 3), (3, 4), (4,)])

    def f(lib, X, W, b):
        y = rules.Tanh()(rules.EWiseAdd()(rules.MatMul()(X, W), b))
        y = rules.EWiseMul()(rules.PowerScalar(3)(y), rules.Transpose()(rules.Transpose()(y)))
        return rules.SumTo(())(rules.EWiseMul()(y, rules.BroadcastTo((5, 2, 4))(b)))

    def g(_, X, W, b):
        y = small.tanh(X @ W + b)
        return (y**3 * y * b).sum()

    for of in (gradients, second_gradients):
        for theirs, ours in zip(of(needle, f, arrays), of(small, g, arrays), strict=True):
            assert_allclose(theirs.numpy(), ours.array, rtol=1e-9, atol=1e-12)


def test_dtypes():
    x = small.Tensor(np.ones(3, np.float32))
    (x * 2.0).sum().backward()
    assert x.grad.array.dtype == np.float64


def test_numbers_are_nodes():
    y = small.Tensor(1.0) * 0.5
    y.backward()
    assert y.inputs[1].grad.array == 1.0
    y = needle.Tensor(1.0) * 0.5
    assert len(y.inputs) == 1
    assert y.op.scalar == 0.5


def test_memory_that_is_written_into():
    array = np.array([2.0])
    x = small.Tensor(array)
    y = x * x
    array[0] = 5.0
    y.backward()
    assert x.grad.array == 10.0  # wrong
    x = needle.Tensor([2.0])
    y = x * x
    x.cached_data[0] = 5.0
    y.backward()
    assert_array_equal(x.grad, [4.0])


def test_errors():
    with pytest.raises(ValueError, match="core dimension 0"):
        small.Tensor(np.ones((2, 3))) @ small.Tensor(np.ones((2, 3)))


def test_adjoints_of_data():
    X, W = small.Tensor(np.ones((4, 3))), small.Tensor(np.ones((3, 2)))
    (X @ W).backward()
    assert X.grad.shape == X.shape


def test_structural_zeros():
    class Where(small.Op):
        def compute(self, condition, a, b):
            return np.where(condition, a, b)

        def gradient(self, out_grad, node):
            condition = node.inputs[0]
            return condition * 0, out_grad * condition, out_grad * (1 - condition)

    x = small.Tensor([0.0, 4.0])
    y = Where()(x.array > 0, x**0.5, 0.0)
    assert_array_equal(y.array, [0.0, 2.0])
    with np.errstate(all="ignore"):
        y.backward()
    assert_array_equal(x.grad.array, [np.nan, 0.25])


def left_of(lib: Any) -> Any:
    """A weak reference to a leaf, after a gradient by it was computed and all else is gone."""
    x = lib.Tensor([2.0])
    y = x * x
    y.backward()
    assert x.grad is not None
    return weakref.ref(x)


def test_cycles(uncollected):
    assert left_of(needle)() is None
    assert left_of(small)() is not None


@pytest.mark.parametrize("lib", [small, needle])
def test_the_derivative_of_a_constant_gradient(lib):
    x = lib.Tensor(3.0)
    y = 2 * x
    y.backward()
    x.grad.backward()
    assert float(array_of(x.grad)) == (2.0 if lib is small else 0.0)


@pytest.mark.parametrize("lib", [small, needle])
def test_a_square_at_zero(lib):
    x = lib.Tensor(0.0)
    y = x**2
    with np.errstate(all="ignore"):
        y.backward()
        x.grad.backward()
        assert float(array_of(x.grad)) == 2.0
        x.grad.backward()
    third = float(array_of(x.grad))
    assert np.isnan(third) if lib is small else third == 0.0


def test_vectors():
    v, W = small.Tensor(np.ones(3)), small.Tensor(np.ones((3, 2)))
    with pytest.raises(ValueError):
        (v @ W).backward()
    v, W = needle.Tensor(np.ones(3)), needle.Tensor(np.ones((3, 2)))
    (v @ W).backward()
    assert_array_equal(v.grad, [2.0, 2.0, 2.0])
