"""Transforms against finite differences and against each other, in all mixtures and to third order."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import traceback
from collections import namedtuple
from dataclasses import dataclass
from itertools import product
from typing import Any

import needle
import numeric
import numpy as np
import pytest
from needle import Tensor, autograd, ops
from needle.autograd import TensorOp
from needle.transforms import SecondOrder
from numpy.testing import assert_allclose, assert_array_equal
from test_laws import DIFFERENTIABLE, is_double, is_recorded, over, weights_like

# ------------------------------------------------------------------------------------------- every op, in every mode


def outputs_of(node: Any) -> tuple[Any, ...]:
    return tuple(node) if isinstance(node, needle.TensorTuple) else (node,)


ONE_SIDED = [
    *(("Eigh", "equal"), ("EigvalsH", "equal")),
    *(("SVD", "rank 2"), ("SVD", "zeros"), ("SingularValues", "zeros")),
]
"""Samples where values of a spectrum have corners. Reverse mode gives a slope by convention, and forward mode the one
along the tangent, see below."""


@over(DIFFERENTIABLE, is_recorded)
def test_forward_mode_is_the_transpose_of_reverse_mode(op, sample):
    """<w, J t> = <J' w, t> for random w and t; of complex numbers, the real parts."""
    if any(op == name and sample.name.startswith(kind) for name, kind in ONE_SIDED):
        return
    inputs = [a for a in sample.arrays if a.dtype.kind != "b"]

    def f(*arrays: Any) -> Any:
        given = iter(arrays)
        return outputs_of(sample.function(*[Tensor(a) if a.dtype.kind == "b" else next(given) for a in sample.arrays]))

    tangents = weights_like(tuple(inputs), seed=3)
    out, pushed = needle.jvp(f, tuple(inputs), tuple(tangents))
    cotangents = weights_like(tuple(np.asarray(y) for y in out), seed=5)
    _, pullback = needle.vjp(f, *inputs)
    adjoints = pullback(tuple(cotangents))
    for y, t in zip(out, pushed, strict=True):
        y, t = np.asarray(y), np.asarray(t)
        assert (y.shape, autograd.gradient_dtype(y.dtype)) == (t.shape, t.dtype)
    if not all(np.isfinite(a).all() for a in [*map(np.asarray, pushed), *map(np.asarray, adjoints)]):
        return  # infinite slopes: their sum says nothing
    forward = sum(np.sum(w * t) for w, t in zip(cotangents, pushed, strict=True))
    backward = sum(np.sum(np.asarray(g) * t) for g, t in zip(adjoints, tangents, strict=True))
    forward, backward = np.real(forward), np.real(backward)  # adjoints of real inputs have no imaginary part
    digits = max(np.finfo(t.dtype).eps for t in [*tangents, *cotangents])
    scale = sum(np.sum(np.abs(np.asarray(g) * t)) for g, t in zip(adjoints, tangents, strict=True))
    assert_allclose(forward, backward, rtol=64 * digits, atol=64 * digits * (1 + np.nan_to_num(scale)))


@over(
    {op: DIFFERENTIABLE[op] for op, _ in ONE_SIDED},
    lambda sample: sample.name.startswith(tuple(k for _, k in ONE_SIDED)),
)
def test_forward_mode_follows_the_values_of_a_spectrum_around_a_corner(op, sample):
    """The tangent of equal values, and of values of 0, is how they move when the matrix begins to move along it."""
    (a,) = sample.arrays
    (along,) = weights_like((a,), seed=3)
    if getattr(sample.function(Tensor(a)).op, "hermitian", False):
        along = (along + along.T) / 2
    which = 1 if op == "SVD" else 0
    pushed = needle.jvp(lambda x: outputs_of(sample.function(x))[which], (a,), (along,))[1]
    before, after = [outputs_of(sample.function(Tensor(x)))[which].numpy() for x in (a, a + 1e-7 * along)]
    assert_allclose(pushed, (after - before) / 1e-7, rtol=1e-5, atol=1e-6)


def is_real(sample: Any) -> bool:
    with np.errstate(all="ignore"):
        outputs = sample.reference(*sample.arrays)
    return all(np.asarray(y).dtype.kind == "f" for y in (outputs if isinstance(outputs, tuple) else (outputs,)))


@over(DIFFERENTIABLE, lambda s: is_double(s) and is_real(s) and all(a.dtype.kind == "f" for a in s.arrays))
def test_batches_are_what_single_runs_give(op, sample):
    """The Jacobian by rows, by columns, and one vjp after the other."""
    everything = tuple(range(len(sample.arrays)))

    def f(*tensors: Any) -> Any:
        return outputs_of(sample.function(*tensors))

    forward = needle.jacobian(f, everything, mode="forward")(*sample.arrays)
    reverse = needle.jacobian(f, everything, mode="reverse")(*sample.arrays)
    out, pullback = needle.vjp(f, *sample.arrays)
    for o, y in enumerate(out):
        y = np.asarray(y)
        rows = []
        for index in np.ndindex(y.shape):
            cotangents = [np.zeros(np.shape(z)) for z in out]
            cotangents[o][index] = 1
            rows.append(pullback(tuple(cotangents)))
        for i, a in enumerate(sample.arrays):
            expected = np.reshape([np.asarray(row[i]) for row in rows], y.shape + a.shape)
            assert_allclose(np.asarray(forward[o][i]), expected, rtol=1e-12, atol=1e-12)
            assert_allclose(np.asarray(reverse[o][i]), expected, rtol=1e-12, atol=1e-12)


@over(DIFFERENTIABLE, lambda s: is_double(s) and is_real(s) and all(a.dtype.kind == "f" for a in s.arrays))
def test_hessian_products_are_jvps_of_gradients(op, sample):
    """Over the graph of one run, and with wrapped values; used twice, for no run may change it."""

    def f(*tensors: Any) -> Any:
        return sum(
            (y * y * w + y * y * y).sum() for y, w in zip(outputs_of(sample.function(*tensors)), weights, strict=True)
        )

    out = outputs_of(sample.function(*map(Tensor, sample.arrays)))
    weights = weights_like(tuple(y.numpy() for y in out), seed=11)
    tangents = tuple(weights_like(sample.arrays, seed=12))
    everything = tuple(range(len(sample.arrays)))
    with np.errstate(all="ignore"):
        expected = needle.jvp(needle.grad(f, everything), sample.arrays, tangents)[1]
    if not all(np.isfinite(t).all() for t in expected):
        return  # at infinite slopes, which terms cancel depends on the order
    for _ in range(2):
        with np.errstate(all="ignore"):
            found = needle.hvp(f, sample.arrays, tangents)
        for found_one, by_wrapping in zip(found if len(everything) > 1 else (found,), expected, strict=True):
            assert found_one.dtype == by_wrapping.dtype
            assert_allclose(found_one, by_wrapping, rtol=1e-12, atol=1e-12 * (1 + np.abs(by_wrapping).max(initial=0)))


@pytest.mark.parametrize(
    "f", [lambda x, y: (x * y).sum(), lambda x, y: (x * y).sum() + x.sum(), lambda x, y: (x * y * x).sum()]
)
def test_products_with_a_hessian_are_arrays_of_their_own(f):
    """Behind a sum, the adjoint of a factor is the other factor."""
    x, y, v, w = np.random.default_rng(0).normal(size=(4, 3, 5))
    kept = [a.copy() for a in (x, y, v, w)]
    found = needle.hvp(f, (x, y), (v, w))
    expected = needle.jvp(needle.grad(f, (0, 1)), (x, y), (v, w))[1]
    assert not any(np.may_share_memory(a, b) for a in found for b in (x, y, v, w))
    assert not np.may_share_memory(*found)
    for a, b in zip(found, expected, strict=True):
        assert_allclose(a, b, rtol=1e-13)
        a[:] = np.nan
    for a, before in zip((x, y, v, w), kept, strict=True):
        assert_array_equal(a, before)


class Pair(needle.TensorTupleOp):
    """exp(a) * b and a * b."""

    def compute(self, a, b):
        return np.exp(a) * b, a * b

    def gradient(self, out_grad, node):
        a, b = node.inputs
        g, h = out_grad
        by_a = by_b = None
        if g is not None:
            by_a, by_b = g * node[0], g * ops.exp(a)
        if h is not None:
            by_a = h * b if by_a is None else by_a + h * b
            by_b = h * a if by_b is None else by_b + h * a
        return by_a, by_b


@pytest.mark.parametrize("used", ["first", "second", "both"])
def test_tuples_in_every_mixture(used):
    chosen = {"first": (0,), "second": (1,), "both": (0, 1)}[used]

    def f(v: Any) -> Any:
        pair = Pair()(v[:2], v[2:] * v[2:])
        return sum((pair[i] ** 2).sum() for i in chosen)

    def plain(v: Any) -> Any:
        pair = ops.exp(v[:2]) * (v[2:] * v[2:]), v[:2] * (v[2:] * v[2:])
        return sum((pair[i] ** 2).sum() for i in chosen)

    v, t = np.array([0.3, -0.7, 1.1, 0.4]), np.array([1.0, 0.5, -0.3, 2.0])
    expected = needle.hessian(plain)(v)
    for outer, inner in product(["forward", "reverse"], repeat=2):
        assert_allclose(needle.jacobian(needle.jacobian(f, mode=inner), mode=outer)(v), expected, rtol=1e-12)
    assert_allclose(needle.hvp(f, (v,), (t,)), expected @ t, rtol=1e-12)
    third = needle.jacobian(needle.hessian(f))(v)
    assert_allclose(third, needle.jacobian(needle.hessian(plain))(v), rtol=1e-11, atol=1e-12)


class Norms(needle.TensorOp):
    """Of a tuple: the product of the sums of squares of its members."""

    def compute(self, pair):
        return (pair[0] ** 2).sum() * (pair[1] ** 2).sum()

    def gradient(self, out_grad, node):
        a, b = node.inputs[0]
        return (ops.make_tuple(out_grad * 2 * a * (b * b).sum(), out_grad * 2 * b * (a * a).sum()),)


def test_ops_of_tuples_in_every_mixture():
    ops_of_tuples_in_every_mixture()


def test_ops_of_tuples_while_an_array_is_handed_out():
    elsewhere = needle.Tensor([1.0, 2.0])
    live = elsewhere.cached_data
    ops_of_tuples_in_every_mixture()
    assert live is elsewhere.cached_data


def ops_of_tuples_in_every_mixture():
    def f(v: Any) -> Any:
        return Norms()(ops.make_tuple(ops.sin(v), Pair()(v, v)[0])) + Norms()(ops.make_tuple(v, np.ones(2)))

    def plain(v: Any) -> Any:
        s, e = ops.sin(v), ops.exp(v) * v
        return (s * s).sum() * (e * e).sum() + 2 * (v * v).sum()

    v, t = np.array([0.3, -0.7]), np.array([1.0, 0.5])
    assert_allclose(needle.grad(f)(v), needle.grad(plain)(v), rtol=1e-12)
    assert_allclose(needle.jvp(f, (v,), (t,))[1], needle.grad(plain)(v) @ t, rtol=1e-12)
    expected = needle.hessian(plain)(v)
    for outer, inner in product(["forward", "reverse"], repeat=2):
        assert_allclose(needle.jacobian(needle.jacobian(f, mode=inner), mode=outer)(v), expected, rtol=1e-12)
    assert_allclose(needle.hvp(f, (v,), (t,)), expected @ t, rtol=1e-12)


# ------------------------------------------------------------------------------------------------ the worked examples


def worked(a: Any, b: Any) -> Any:
    return ops.log(a) + a * b - ops.sin(b)


def test_the_textbooks_example_in_both_modes():
    value, tangent = needle.jvp(worked, (2.0, 5.0), (1.0, 0.0))
    assert type(value) is type(tangent) is float
    assert_allclose([value, tangent], [11.652071455223084, 5.5])
    assert_allclose(needle.grad(worked, (0, 1))(2.0, 5.0), [5.5, 2 - np.cos(5.0)])


def test_perturbations_are_not_confused():
    assert needle.grad(lambda x: x * needle.grad(lambda y: x + y)(x))(5.0) == 1
    assert needle.grad(lambda x: x * derivative(lambda y: x + y)(x))(5.0) == 1
    assert derivative(lambda x: x * derivative(lambda y: x + y)(x))(5.0) == 1
    assert derivative(lambda x: x * needle.grad(lambda y: x + y)(x))(5.0) == 1
    assert derivative(lambda x: x * derivative(lambda y: x * y)(2.0))(3.0) == 6
    assert needle.grad(lambda x: needle.grad(lambda y: x * y * y)(3.0))(2.0) == 6  # by what is closed over


def derivative(f: Any) -> Any:
    return lambda x: needle.jvp(f, (x,), (1.0,))[1]


MODES = {"reverse": needle.grad, "forward": derivative, "jacobian": needle.jacobian}


@pytest.mark.parametrize("order", [p for n in (1, 2, 3) for p in product(MODES, repeat=n)], ids="-".join)
def test_every_mixture_to_third_order(order):
    def f(x: Any) -> Any:
        return ops.exp(-x * x) * ops.tanh(x) + x**3 / (1 + x * x)

    g = f
    for mode in order:
        g = MODES[mode](g)
    expected = numeric.numdifftools.Derivative(
        lambda x: np.exp(-x * x) * np.tanh(x) + x**3 / (1 + x * x), n=len(order), step=numeric.STEP
    )(0.7)
    assert_allclose(np.asarray(g(0.7)), expected, rtol=1e-6)


def test_hessians_in_every_mixture():
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))

    def f(x: Any) -> Any:
        return (ops.logsumexp(ops.tanh(x.reshape(2, 3) @ w) @ v, 1) ** 2).sum() + ops.relu(x[[0, 0, 2]]).sum()

    x = rng.normal(size=6)
    expected = numeric.numdifftools.Hessian(lambda x: f(Tensor(x)).item(), step=numeric.STEP)(x)
    assert_allclose(needle.hessian(f)(x), expected, rtol=1e-6, atol=1e-7)
    for outer, inner in product(["forward", "reverse"], repeat=2):
        hessian = needle.jacobian(needle.jacobian(f, mode=inner), mode=outer)(x)
        assert_allclose(hessian, needle.hessian(f)(x), rtol=1e-10, atol=1e-12)
    t = rng.normal(size=6)
    assert_allclose(needle.hvp(f, (x,), (t,)), needle.hessian(f)(x) @ t, rtol=1e-10)
    third = needle.jvp(needle.hessian(f), (x,), (t,))[1]
    again = needle.jacobian(lambda x: needle.hvp(f, (x,), (t,)))(x)
    assert_allclose(third, again, rtol=1e-9, atol=1e-11)


# ---------------------------------------------------------------------------------------------- what goes in comes out

Point = namedtuple("Point", "x y")


@dataclass(frozen=True)
class Layer:
    w: Any
    b: Any
    name: str = "layer"


def test_nested_structures_come_back():
    params = {
        "layers": [Layer(np.ones((2, 3)), np.zeros(3)), Layer(np.ones((3, 1)), 0.5)],
        "p": Point(2.0, Tensor(3.0)),
    }

    def f(p: Any) -> Any:
        first, second = p["layers"]
        h = ops.tanh(first.w.sum(0) + first.b)
        return (h @ second.w + second.b).sum() * p["p"].x + p["p"].y ** 2

    g = needle.grad(f)(params)
    assert type(g["layers"][0]) is Layer
    assert g["layers"][0].name == "layer"
    assert g["layers"][0].w.shape == (2, 3)
    assert type(g["layers"][0].w) is np.ndarray
    assert type(g["layers"][1].b) is float
    assert g["layers"][1].b == 2.0
    assert type(g["p"]) is Point
    assert isinstance(g["p"].y, Tensor)
    assert g["p"].y.item() == 6


def test_argnums_by_position_and_name():
    def f(a: Any, b: Any = 1.0, *, c: Any = 2.0) -> Any:
        return a * b * c

    assert needle.grad(f)(3.0, 5.0) == 10
    assert needle.grad(f, 1)(3.0, 5.0) == 6
    assert needle.grad(f, -1)(3.0, 5.0) == 6
    assert needle.grad(f, "c")(3.0, 5.0, c=7.0) == 15
    assert needle.grad(f, (0, "c"))(3.0, 5.0, c=7.0) == (35, 15)
    with pytest.raises(TypeError, match=r"argnums names argument 2, but .* 1 by position"):
        needle.grad(f, 2)(3.0)
    with pytest.raises(TypeError, match="'c'"):
        needle.grad(f, "c")(3.0)


def test_values_and_aux():
    def f(x: Any) -> Any:
        return (x * x).sum(), {"twice": 2 * x, "note": "kept"}

    (value, aux), g = needle.value_and_grad(f, has_aux=True)(np.array([1.0, 2.0]))
    assert value == 5
    assert_array_equal(g, [2, 4])
    assert_array_equal(aux["twice"].numpy(), [2, 4])
    assert not aux["twice"].requires_grad or aux["twice"].needs == autograd.DETACHED
    assert aux["note"] == "kept"
    g, aux = needle.grad(f, has_aux=True)(np.array([1.0, 2.0]))
    assert aux["note"] == "kept"
    out, tangent, aux = needle.jvp(f, (np.array([1.0, 2.0]),), (np.array([1.0, 0.0]),), has_aux=True)
    assert (out, tangent, aux["note"]) == (5, 2, "kept")
    with pytest.raises(TypeError, match="pair"):
        needle.grad(lambda x: x, has_aux=True)(1.0)


def test_outputs_of_size_one_constants_and_what_is_not_used():
    assert_array_equal(needle.grad(lambda x: (x * x).sum(0, keepdims=True))(np.array([1.0, 2.0])), [2, 4])
    assert needle.grad(lambda x: 3.0)(1.0) == 0
    assert_array_equal(needle.grad(lambda x, y: y.sum())(np.ones(2), np.ones(3)), [0, 0])
    assert needle.jvp(lambda x: 3.0, (1.0,), (1.0,)) == (3.0, 0.0)
    assert needle.grad(lambda n: n * n)(3) == 6.0
    assert type(needle.grad(lambda n: n * n)(np.float32(3))) is np.float32


def test_outputs_that_have_no_gradient():
    x = np.array([1.0, 2.0])
    for f, said in [
        (lambda x: x > 0, r"one number, got shape \(2,\)"),
        (lambda x: (x > 0)[0], "boolean"),
        (lambda x: (x * 1j).sum(), "complex.*holomorphic_grad"),
        (lambda x: (x, x), "one number, got 2"),
    ]:
        with pytest.raises(TypeError, match=said):
            needle.grad(f)(x)
    with pytest.raises(TypeError, match="nothing to differentiate"):
        needle.grad(lambda s: 1.0)("text")
    with pytest.raises(TypeError, match="needs a function"):
        needle.grad(3)


def test_complex_derivatives():
    z = 0.3 + 0.4j
    assert_allclose(needle.holomorphic_grad(lambda z: ops.exp(z) * z)(z), np.exp(z) * (1 + z))
    # of a real function: df/da - i df/db
    assert_allclose(needle.grad(lambda z: abs(z) ** 2)(z), 2 * np.conj(z))
    assert_allclose(needle.jvp(ops.exp, (z,), (1j,))[1], 1j * np.exp(z))


def test_jacobians_of_real_numbers_by_complex_ones():
    z, sizes = np.array([3 + 4j]), lambda z: ops.concatenate([abs(z), 2 * abs(z)])
    for mode in (None, "reverse"):
        assert_allclose(needle.jacobian(sizes, mode=mode)(z), [[0.6 - 0.8j], [1.2 - 1.6j]])
    with pytest.raises(TypeError, match=r'real output has no derivative by a complex input.*mode="reverse"'):
        needle.jacobian(sizes, mode="forward")(z)


def test_elementwise_grad_of_a_gradient():
    x = np.linspace(-2, 2, 5)
    g = needle.elementwise_grad(needle.elementwise_grad(ops.tanh))
    t = np.tanh(x)
    assert_allclose(g(x), -2 * t * (1 - t * t), atol=1e-14)


def test_linearize_and_pullbacks_are_used_again():
    x = np.array([0.5, 1.5])
    out, push = needle.linearize(lambda x: ops.sin(x) * x, x)
    _, pull = needle.vjp(lambda x: ops.sin(x) * x, x)
    slope = np.cos(x) * x + np.sin(x)
    for t in np.eye(2):
        assert_allclose(push(t), slope * t)
        assert_allclose(pull(t)[0], slope * t)
    assert_allclose(out, np.sin(x) * x)
    assert_allclose(needle.jacobian(push)(x), np.diag(slope))
    assert_allclose(needle.grad(lambda v: (pull(v)[0] ** 2).sum())(x), 2 * slope**2 * x)


def test_tangents_that_do_not_fit():
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(3,\)"):
        needle.jvp(lambda x: x, (np.ones(2),), (np.ones(3),))
    with pytest.raises(TypeError, match="tuples"):
        needle.jvp(lambda x: x, np.ones(2), np.ones(2))
    with pytest.raises(TypeError, match="structure"):
        needle.jvp(lambda x: x, (np.ones(2),), (np.ones(2), np.ones(2)))
    with pytest.raises(TypeError, match="complex"):
        needle.jvp(lambda x: x, (np.ones(2),), (np.ones(2) * 1j,))


def test_many_directions_in_one_sweep():
    runs = 0

    def f(p: Any, c: Any) -> Any:
        nonlocal runs
        runs += 1
        return {"y": ops.tanh(p["w"] @ p["x"]) * c, "constant": 2.0}

    rng = np.random.default_rng(0)
    p, c = {"w": rng.normal(size=(2, 3)), "x": rng.normal(size=3)}, 0.5
    directions = {"w": rng.normal(size=(5, 2, 3)), "x": rng.normal(size=(5, 3))}, rng.normal(size=5)
    value, tangents = needle.jvp(f, (p, c), directions, many=True)
    assert runs == 1
    for i in range(5):
        one = {"w": directions[0]["w"][i], "x": directions[0]["x"][i]}, float(directions[1][i])
        expected_value, expected = needle.jvp(f, (p, c), one)
        assert_allclose(tangents["y"][i], expected["y"], rtol=1e-12)
        assert_allclose(value["y"], expected_value["y"])
    assert_array_equal(tangents["constant"], np.zeros(5))
    second = needle.jvp(lambda x: needle.jvp(ops.sin, (x,), (np.eye(3),), many=True)[1], (p["x"],), (np.ones(3),))[1]
    assert_allclose(second, -np.diag(np.sin(p["x"])))
    with pytest.raises(ValueError, match=r"shape \('directions', 3\), with as many directions for all, got \(3,\)"):
        needle.jvp(ops.sin, (np.ones(3),), (np.ones(3),), many=True)


def test_stop_gradient():
    def f(x: Any) -> Any:
        return x * needle.stop_gradient(x) + needle.stop_gradient({"a": x})["a"]

    for mode in MODES.values():
        assert mode(f)(3.0) == 3
        assert mode(mode(f))(3.0) == 0


def test_no_grad_inside_stops_both_modes():
    def f(x: Any) -> Any:
        with needle.no_grad():
            y = x * x
        return y * x

    assert needle.grad(f)(3.0) == derivative(f)(3.0) == 9


def test_tensors_keep_their_history():
    """Outside of any transform, a gradient by a Tensor can be differentiated with backward()."""
    w = Tensor(3.0)
    g = needle.grad(lambda x: x**3)(w)
    g.backward()
    assert w.grad.item() == 18
    x = Tensor(2.0)
    tangent = needle.jvp(lambda x: x**3, (x,), (1.0,))[1]
    tangent.backward()
    assert x.grad.item() == 12
    # by what the function closes over
    c = Tensor(5.0)
    needle.grad(lambda x: c * x * x)(Tensor(2.0)).backward()
    assert c.grad.item() == 4


def test_control_flow_sees_values():
    def f(x: Any) -> Any:
        y = x
        while y < 100:
            y = y * y if y > 2 else y + 1
        return y

    def expected(x: float) -> float:
        return numeric.directional(lambda v: f(Tensor(v)).item(), np.asarray(x), 1.0)

    for mode in MODES.values():
        assert_allclose(mode(f)(1.5), expected(1.5), rtol=1e-6)


class ReadsItsAdjoint(needle.TensorOp):
    """Twice a, by a rule that leaves the Tensor operations."""

    def compute(self, a):
        return 2 * a

    def gradient(self, out_grad, node):
        return Tensor(2 * out_grad.numpy())


def test_values_inside_of_a_batch_are_not_one():
    assert_array_equal(needle.vjp(ReadsItsAdjoint(), np.ones(2))[1](np.ones(2))[0], [2, 2])
    with pytest.raises(TypeError, match=r"batched transform.*needle\.where"):
        needle.jacobian(ReadsItsAdjoint(), mode="reverse")(np.ones(2))


def test_backward_inside_of_a_transform_says_what_to_write():
    def f(x: Any) -> Any:
        (x * x).backward()
        return x

    with pytest.raises(TypeError, match=r"needle\.grad"):
        derivative(f)(1.0)


def test_lazy_mode(monkeypatch):
    x, t = np.array([0.5, 1.5]), np.array([1.0, -2.0])

    def f(x: Any) -> Any:
        return (ops.tanh(x) * ops.logsumexp(x) + ops.sin(x[0])).sum()

    everything: list[Any] = [
        lambda: needle.jvp(f, (x,), (t,)),
        lambda: needle.hvp(f, (x,), (t,)),
        lambda: needle.hessian(f)(x),
        lambda: needle.grad(lambda x: (needle.grad(f)(x) * t).sum())(x),
        lambda: needle.linearize(f, x)[1](t),
    ]
    expected = [run() for run in everything]
    monkeypatch.setattr(autograd, "LAZY_MODE", True)
    for run, value in zip(everything, expected, strict=True):
        assert_allclose(run(), value, rtol=1e-12)


def test_pickled_and_copied():
    for transform in [needle.grad, needle.value_and_grad, needle.jacobian, needle.hessian]:
        g = transform(worked, (0, 1))
        expected = g(2.0, 5.0)
        assert pickle.loads(pickle.dumps(g))(2.0, 5.0) == expected
        assert copy.deepcopy(g)(2.0, 5.0) == expected


def test_methods_are_differentiated():
    class Model:
        k = 3.0

        def loss(self, x):
            return self.k * x * x

        slope = needle.grad(loss, 1)

    assert needle.grad(Model().loss)(2.0) == Model().slope(2.0) == 12


def test_threads_do_not_disturb_each_other():
    x = np.linspace(0.1, 1, 8)

    def work(results: list[Any], i: int) -> None:
        for _ in range(20):
            results[i] = needle.hessian(lambda x: (ops.tanh(x * (i + 1)) * x).sum())(x)

    results: list[Any] = [None] * 4
    threads = [threading.Thread(target=work, args=(results, i)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        assert_array_equal(results[i], needle.hessian(lambda x, i=i: (ops.tanh(x * (i + 1)) * x).sum())(x))


def test_forward_mode_keeps_nothing():
    gc.collect()
    x, tangent = np.ones(1000), np.ones(1000)
    most = 0

    def f(x: Any) -> Any:
        nonlocal most
        for i in range(300):
            x = ops.sin(x) * 0.9 + 0.1
            if i % 100 == 99:
                most = max(most, autograd.TENSOR_COUNTER - before)
        return x

    before = autograd.TENSOR_COUNTER
    needle.jvp(f, (x,), (tangent,))
    assert most < 20


def test_nothing_is_left_behind_by_transforms():
    def everything() -> None:
        x = np.array([0.5, 1.5])
        f = lambda x: (ops.tanh(x) * ops.logsumexp(x)).sum()  # noqa: E731
        needle.hessian(f)(x)
        needle.jacobian(needle.grad(f), mode="reverse")(x)
        needle.hvp(f, (x,), (x,))
        needle.linearize(f, x)[1](x)

    everything()
    gc.collect()
    gc.disable()
    try:
        before = autograd.TENSOR_COUNTER
        everything()
        assert before == autograd.TENSOR_COUNTER
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "f",
    [
        lambda a: (needle.ops.concatenate([a, np.ones((2, 2)), a], 1) ** 2 * np.arange(12.0).reshape(2, 6)).sum(),
        lambda a: (needle.ops.stack([a, a]) ** 3 * np.arange(8.0).reshape(2, 2, 2)).sum(),
        lambda a: ((a @ a) * a * np.arange(4.0).reshape(2, 2)).sum(),
        lambda a: (a * a * a).sum(),
    ],
)
def test_hvp_where_an_op_takes_a_tensor_twice(f):
    x, v = np.array([[0.5, 1.5], [2.0, -1.0]]), np.array([[1.0, 2.0], [-0.5, 0.25]])
    assert_allclose(needle.hvp(f, (x,), (v,)), needle.jvp(needle.grad(f), (x,), (v,))[1], rtol=1e-12)
    assert_allclose(needle.hvp(lambda x: f(x * 1.5), (x,), (v,)), needle.hvp(f, (1.5 * x,), (2.25 * v,)), rtol=1e-12)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (x.detach() * x * x).sum(),
        lambda x: (x * x.detach() * x).sum(),
        lambda x: ((x.data * x) ** 2).sum(),
        lambda x: ((x * needle.stop_gradient(x)) ** 2).sum(),
    ],
)
def test_factors_that_share_an_array_need_not_share_a_tangent(f):
    x, t = np.array([0.5, -1.0, 2.0]), np.array([1.0, -2.0, 0.3])
    expected = needle.jvp(needle.grad(f), (x,), (t,))[1]
    assert_allclose(needle.hvp(f, (x,), (t,)), expected, rtol=1e-14)
    assert_allclose(np.asarray(needle.hessian(f)(x)) @ t, expected, rtol=1e-14)


def test_the_same_tensor_given_twice_has_two_tangents():
    x = Tensor(np.array([0.5, -1.0, 2.0]), requires_grad=False)
    s, t = np.array([1.0, -2.0, 0.3]), np.array([10.0, 20.0, 30.0])
    assert_allclose(needle.jvp(lambda a, b: a * b, (x, x), (s, t))[1], x.numpy() * (s + t))
    assert_allclose(needle.jvp(lambda a: a * x, (x,), (s,))[1], x.numpy() * s)
    by_a, by_b = needle.hvp(lambda a, b: ((a * b) ** 2).sum(), (x, x), (s, t))
    a = b = x.numpy()
    assert_allclose(by_a, 2 * b * b * s + 4 * a * b * t)
    assert_allclose(by_b, 2 * a * a * t + 4 * a * b * s)


@pytest.mark.parametrize("needs", [False, True])
def test_a_product_with_the_hessian_runs_the_function_once(needs):
    runs = []

    def f(x):
        runs.append(x)
        return (x**3).sum()

    x = Tensor([1.0, 2.0], requires_grad=needs)
    assert_allclose(needle.hvp(f, (x,), (np.ones(2),)).numpy(), [6, 12])
    assert len(runs) == 1


def test_a_product_with_the_hessian_runs_the_function_again_only_for_a_nan():
    runs = []

    def f(x):
        runs.append(x)
        return (needle.sqrt(x) * needle.sqrt(x) * x).sum()

    x, v = np.array([4.0, 1.0]), np.array([1.0, -1.0])
    assert_allclose(needle.hvp(f, (x,), (v,)), 2 * v, rtol=1e-12)
    assert len(runs) == 1
    x = np.array([0.0, 1.0])
    with np.errstate(all="ignore"):
        found, right = needle.hvp(f, (x,), (v,)), needle.jvp(needle.grad(f), (x,), (v,))[1]
    assert len(runs) == 4  # the product, forward over reverse, and that again to compare with
    assert_array_equal(found, right)
    assert np.isnan(found).tolist() == [True, False]


def test_a_product_with_the_hessian_computes_no_number_that_nobody_reads(monkeypatch):
    products = []
    compute = ops.MatMul.compute

    def counting(self, a, b):
        products.append((a.shape, b.shape))
        return compute(self, a, b)

    monkeypatch.setattr(ops.MatMul, "compute", counting)
    A = np.arange(9.0).reshape(3, 3) ** 0.5
    x, v = np.array([1.0, -2.0, 0.5]), np.array([0.3, 1.0, -1.0])
    constant = Tensor(A, requires_grad=False)
    assert_allclose(needle.hvp(lambda x: (x @ constant) @ x, (x,), (v,)), (A + A.T) @ v, rtol=1e-12)
    # x A and (x A) x; v A; then A times the adjoint of v A. The derivative (v A) x + (x A) v itself is not computed.
    assert products.count(((3,), (3, 3))) == 3
    assert products.count(((3,), (3,))) == 1


class ByTheSquare(ops.EWiseMul):
    """a * b**2: of a bilinear op's class, and not bilinear."""

    def compute(self, a, b):
        return a * b * b

    def gradient(self, out_grad, node):
        a, b = node.inputs
        return out_grad * b * b, 2 * out_grad * a * b


class Cube(ops.Negate):
    """Its parent saves nothing; its own rule reads its input."""

    def compute(self, a):
        return a**3

    def gradient(self, out_grad, node):
        return 3 * out_grad * node.inputs[0] ** 2


class OneSided(TensorOp):
    """A product whose rule, as those of estimators, is not that of a gradient: its derivative is not symmetric."""

    def compute(self, a, b):
        return a * b

    def gradient(self, out_grad, node):
        return out_grad * node.inputs[1], None


one_sided = needle.custom_gradient(lambda x, y: (x * y, lambda g: (g * y, g * 0)))


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: ByTheSquare()(x, y).sum(),
        lambda x, y: (ByTheSquare()(x, y) * 2).sum(),
        lambda x, y: (Cube()(x) * y).sum(),
        lambda x, y: Cube()(x).sum() + Cube()(y).sum(),
        lambda x, y: OneSided()(x * x, y).sum(),
        lambda x, y: one_sided(x * x, y).sum(),
    ],
)
def test_hvp_through_rules_that_users_write(f):
    x, v = (np.array([1.5, 2.0]), np.array([2.5, 3.0])), (np.array([1.0, 3.0]), np.array([10.0, -1.0]))
    right = needle.jvp(needle.grad(f, (0, 1)), x, v)[1]
    hessian = needle.hessian(f, (0, 1))(*x)
    for i, found in enumerate(needle.hvp(f, x, v)):
        assert_allclose(found, right[i], rtol=1e-12)
        assert_allclose(found, sum(np.asarray(hessian[i][k]) @ v[k] for k in (0, 1)), rtol=1e-12)


def test_a_product_with_the_hessian_after_a_value_within_was_set():
    kept = []

    def f(x):
        kept.append(x**3)
        return (kept[0] * kept[0] * x).sum()

    hessian = SecondOrder(f, (np.array([1.5]),))
    before = hessian(np.ones(1))
    assert_allclose(before, [42 * 1.5**5])
    kept[0].data = np.zeros(1)
    assert_array_equal(hessian(np.ones(1)), before)


def test_a_derivative_that_overflows_concerns_nobody():
    x, v = np.array([1e50, -1.0]), np.array([1e100, 1e100])
    with np.errstate(all="raise"):
        found = needle.hvp(lambda x: ((x * 1e100) ** 2).sum() * 1e-300, (x,), (v,))
    assert_allclose(found, [2, 2])


@pytest.mark.filterwarnings("ignore:overflow encountered in square")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_squares_of_the_smallest_and_the_largest_numbers(dtype):
    """g * (2 * x) as it is rounded once: a product that is doubled afterwards has lost a digit among the smallest."""
    info = np.finfo(dtype)
    for a, g in [(info.smallest_subnormal, 0.5), (info.max / 2, 0.25), (info.tiny, 0.75), (-3.0, info.tiny)]:
        x, weight = np.full(4, a, dtype), np.full(4, g, dtype)
        expected = weight * (2 * x)
        assert_array_equal(needle.grad(lambda x, weight=weight: (x**2 * weight).sum())(x), expected)
        if abs(a) > info.smallest_subnormal:
            assert_array_equal(needle.hvp(lambda x: (x**2).sum(), (x,), (x / 2,)), x)


def filled(x):
    out = np.empty(3)
    out[0] = x[0] ** 2
    return out.sum()


FILLED = {
    "grad": lambda: needle.grad(filled)(np.ones(3)),
    "grad by a list": lambda: needle.grad(filled)([1.0, 2.0, 3.0]),
    "value_and_grad": lambda: needle.value_and_grad(filled)(Tensor(np.ones(3))),
    "vjp": lambda: needle.vjp(filled, np.ones(3)),
    "jacobian": lambda: needle.jacobian(filled)(np.ones(3)),
    "grad of grad": lambda: needle.grad(lambda x: needle.grad(filled)(x).sum())(np.ones(3)),
}


@pytest.mark.parametrize("how", FILLED)
def test_a_filled_array_says_what_to_write(how):
    """In its own message: NumPy's, "setting an array element with a sequence", helps nobody."""
    with pytest.raises(TypeError, match=r"needle\.numpy\.zeros\(shape\)") as found:
        FILLED[how]()
    assert found.value.__cause__ is None
    assert any(frame.name == "filled" for frame in traceback.extract_tb(found.value.__traceback__))


@pytest.mark.parametrize("x", [np.ones(3), [1.0, 2.0], Tensor(np.ones(3))])
def test_hessian_is_named(x):
    for f, call in [(lambda x: np.ones(3) * x[0], x), (lambda x: x[0] > 1, x), (lambda x: x, "text")]:
        with pytest.raises((TypeError, ValueError), match=r"^hessian: "):
            needle.hessian(f)(call)
