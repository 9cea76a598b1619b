"""HIPS autograd's names give what they give there."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from typing import Any

import needle
import needle.hips.numpy as hnp
import needle.hips.numpy.random as npr
import needle.numpy as nnp
import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats
from calls import as_tensors, outputs, weighted
from needle import Tensor, hips, ops
from needle.hips import builtins, core, extend, multigrad_dict
from needle.hips.differential_operators import make_jvp_reversemode
from needle.hips.extend import primitive, vspace
from needle.hips.misc import const_graph, flatten
from needle.hips.misc.fixed_points import fixed_point
from needle.hips.misc.flatten import flatten_func
from needle.hips.misc.optimizers import adam, rmsprop, sgd
from needle.hips.numpy.linalg import inv
from needle.hips.numpy.numpy_boxes import ArrayBox
from needle.hips.numpy.numpy_vjps import unbroadcast_f
from needle.hips.scipy.integrate import odeint
from needle.hips.scipy.linalg import solve_banded, solve_triangular
from needle.hips.scipy.signal import convolve
from needle.hips.scipy.special import gammaln, logsumexp
from needle.hips.scipy.stats import multivariate_normal, norm
from needle.hips.test_util import check_equivalent, combo_check, scalar_close
from needle.hips.test_util import check_grads as compared
from needle.hips.tracer import getval, isbox, notrace_primitive
from needle.hips.util import func, quick_grad_check, subvals
from needle.hips.wrap_util import unary_to_nary
from needle.testing import GradientError, check_grads
from numpy.testing import assert_allclose, assert_array_equal
from test_numpy_surface import CONSTANT, DIFFERENTIABLE, REFUSED, ZERO

X, T = np.array([0.3, -0.7, 1.1]), np.array([1.0, 0.5, -2.0])
W = np.array([[1.0, 2.0, -1.0], [0.5, -0.3, 0.7]])


def layer(x: Any, w: Any, *, scale: float = 1.0) -> Any:
    return ops.tanh(w @ x) * scale


def loss(x: Any, w: Any) -> Any:
    return (layer(x, w) ** 2).sum() + (x**3).sum()


def test_products_at_a_point():
    pullback, value = needle.make_vjp(layer)(X, W, scale=2.0)
    assert_allclose(value, np.tanh(W @ X) * 2)
    jacobian = needle.jacobian(layer)(X, W, scale=2.0)
    g = np.array([1.0, -3.0])
    assert_allclose(pullback(g), g @ jacobian)
    value, pushed = needle.make_jvp(layer)(X, W, scale=2.0)(T)
    assert_allclose(value, np.tanh(W @ X) * 2)
    assert_allclose(pushed, jacobian @ T)
    assert_allclose(needle.tensor_jacobian_product(layer)(X, W, g, scale=2.0), g @ jacobian)
    assert_allclose(needle.vector_jacobian_product(layer, 1)(X, W, g).shape, W.shape)


def test_hessian_products():
    hessian = needle.hessian(loss)(X, W)
    product, gradient = needle.make_hvp(loss)(X, W)
    assert_allclose(gradient, needle.grad(loss)(X, W))
    for t in (T, X):
        assert_allclose(product(t), hessian @ t)
    assert_allclose(needle.hessian_vector_product(loss)(X, W, T), hessian @ T)
    by_w = needle.hessian(loss, 1)(X, W)
    assert_allclose(needle.hessian_tensor_product(loss, 1)(X, W, W), np.tensordot(by_w, W))
    assert_allclose(needle.grad(lambda t: (product(t) * t).sum())(T), 2 * hessian @ T)


def test_gauss_newton_products():
    jacobian = needle.jacobian(layer)(X, W)
    assert_allclose(needle.make_ggnvp(layer)(X, W)(T), jacobian.T @ (jacobian @ T))
    h = needle.hessian(ops.logsumexp)(layer(X, W).numpy())
    assert_allclose(needle.make_ggnvp(layer, ops.logsumexp)(X, W)(T), jacobian.T @ (h @ (jacobian @ T)))


def test_gradients_with_more():
    gradient, aux = needle.grad_and_aux(lambda x: ((x * x).sum(), {"x": x}))(X)
    assert_allclose(gradient, 2 * X)
    assert_allclose(aux["x"].numpy(), X)
    assert needle.deriv(lambda x: x**3)(2.0) == 12
    assert_allclose(needle.deriv(needle.deriv(ops.sin))(X), -np.sin(X))


def test_argnum_is_understood_everywhere():
    assert_allclose(needle.grad(loss, argnum=1)(X, W), needle.grad(loss, 1)(X, W))
    assert_allclose(needle.value_and_grad(loss, argnum=1)(X, W)[1], needle.grad(loss, 1)(X, W))
    assert_allclose(needle.hessian(loss, argnum=1)(X, W), needle.hessian(loss, 1)(X, W))
    assert_allclose(needle.jacobian(layer, argnum="w")(X, w=W), needle.jacobian(layer, 1)(X, W))
    both = needle.make_vjp(loss, (0, 1))(X, W)[0](1.0)
    assert_allclose(both[0], needle.grad(loss)(X, W))
    assert_allclose(both[1], needle.grad(loss, 1)(X, W))
    again = pickle.loads(pickle.dumps(needle.make_hvp(loss)))
    assert_allclose(again(X, W)[1], needle.grad(loss)(X, W))


def test_a_tensor_of_the_outputs_first_axes_times_the_jacobian():
    def rows(x: Any) -> Any:
        return ops.sin(x).reshape(3, 1) * W.T

    jacobian = needle.jacobian(rows)(X)
    for v in (T, np.array(2.0), W.T):
        assert_allclose(needle.tensor_jacobian_product(rows)(X, v), np.tensordot(v, jacobian, v.ndim))


def test_an_argument_by_its_name():
    assert hips.grad_named(lambda x, y: x * y**2, "y")(2.0, 3.0) == 12


@hips.primitive
def scaled_norm(x: Any, power: int, scale: Any, *, shift: float = 0.0) -> Any:
    assert not isinstance(x, needle.Tensor)
    x -= shift
    return scale * np.sum(x**power) ** (1 / power)


def by_x(ans: Any, x: Any, power: int, scale: Any, *, shift: float = 0.0) -> Any:
    return lambda g: g * scale * ((x - shift) * scale / ans) ** (power - 1)


hips.defvjp(scaled_norm, by_x, None, lambda ans, x, power, scale, shift=0.0: lambda g: g * ans / scale)


def test_functions_with_rules_of_their_own():
    x, scale = np.array([0.7, 1.2, 0.4]), np.array(1.5)
    before = x.copy()
    assert scaled_norm(Tensor(x), 3, scale, shift=0.1).item() == scaled_norm(x.copy(), 3, scale, shift=0.1)
    check_grads(lambda x, s: ops.exp(scaled_norm(x * x, 3, s, shift=-0.1)), x, scale)
    assert_allclose(x, before)
    assert scaled_norm.__name__ == "scaled_norm"


def test_forward_rules():
    product = hips.primitive(lambda a, b, c: (a @ b) * c)
    hips.defjvp(product, "same", lambda g, ans, a, b, c: a @ g * c, None)
    assert_allclose(needle.jvp(product, (W, X, 2.0), (W, T, 1.0))[1], 2 * W @ X + 2 * W @ T)
    with pytest.raises(NotImplementedError, match=r"derivative by argument 1 is not known; write\n    defvjp"):
        needle.grad(lambda b: product(W, b, 2.0).sum())(X)
    hips.defvjp(product, lambda ans, a, b, c: lambda g: a.T @ g * c, argnums=[1])
    assert_allclose(needle.grad(lambda b: product(W, b, 2.0).sum())(X), 2 * W.sum(axis=0))
    with pytest.raises(ValueError, match='a rule is a function, "same" or None, got'):
        hips.defjvp(product, "other")


# --------------------------------------------------------------------------------------- what rules are given and give


@primitive
def running_sum(x: Any) -> Any:
    assert type(x) is np.ndarray
    return np.cumsum(x)


def backward_sum(ans: Any, x: Any) -> Any:
    """A rule that fills a buffer, as compiled kernels do, and spoils what it is given."""
    assert type(ans) is type(x) is np.ndarray

    def pull(g: Any) -> Any:
        assert type(g) is np.ndarray and g.flags.c_contiguous
        out, total = np.empty_like(x), 0.0
        for i in reversed(range(x.size)):
            total += g[i]
            out[i] = total
        g[:] = np.nan
        x[:] = np.nan
        ans[:] = np.nan
        return out

    return pull


hips.defvjp(running_sum, backward_sum)
LOWER = np.tril(np.ones((3, 3)))


def test_a_rule_gets_arrays_where_nobody_differentiates_the_gradient():
    assert_allclose(hips.grad(lambda x: hnp.sum(running_sum(x * x) * T))(X), LOWER.T @ T * 2 * X)
    x = Tensor(X)
    running_sum(x).sum().backward()
    assert_allclose(x.grad, [3.0, 2.0, 1.0])
    pullback, value = hips.make_vjp(running_sum)(X)
    for g in (T, X):
        assert_allclose(pullback(g), LOWER.T @ g)
    assert_allclose(value, np.cumsum(X))


def one(x: Any) -> Any:
    rate = hips.grad(lambda r: hnp.sum(running_sum(r * X)))(2.0)  # a gradient that does not depend on x
    return running_sum(x * x) * rate


@pytest.mark.parametrize("rows", [0, 1, 3, 7])
def test_a_rule_gets_arrays_for_each_row_of_a_jacobian(rows):
    """For wide Jacobians and tall ones, and for empty ones."""
    weights = np.random.default_rng(rows).normal(size=(rows, 3))
    assert_allclose(hips.jacobian(lambda x: hnp.dot(weights, one(x)))(X), weights @ LOWER * 2 * X * (LOWER @ X).sum())
    assert_allclose(hips.jacobian(lambda x: hnp.dot(running_sum(x), 2.0))(np.zeros(rows)), 2 * np.tri(rows))


def test_rules_with_scipys_functions_and_rules_that_return_numbers_and_lists():
    log_gamma = primitive(lambda x, k: scipy.special.gammaln(x) * k)
    hips.defvjp(
        log_gamma,
        lambda ans, x, k: lambda g: (g * k * scipy.special.psi(x)).tolist(),
        lambda ans, x, k: lambda g: float(np.sum(g * scipy.special.gammaln(x))),
    )
    hips.defjvp(log_gamma, lambda g, ans, x, k: g * k * scipy.special.psi(x), lambda g, ans, x, k: g * ans / k)
    x = np.array([1.5, 2.0, 3.0])
    slope = scipy.special.psi(x)
    assert_allclose(hips.jacobian(lambda x: log_gamma(x * x, 3.0))(x), np.diag(3 * scipy.special.psi(x * x) * 2 * x))
    assert_allclose(hips.grad(lambda k: hnp.sum(log_gamma(x, k)))(2.5), scipy.special.gammaln(x).sum())
    assert_allclose(hips.make_jvp(log_gamma)(x, 2.0)(np.ones(3))[1], 2 * slope)
    assert_allclose(needle.jacobian(lambda x: log_gamma(x, 2.0), mode="forward")(x), np.diag(2 * slope))


def test_a_rule_gets_what_it_can_differentiate_where_somebody_does():
    cube = primitive(lambda x: x**3)
    hips.defvjp(cube, lambda ans, x: lambda g: g * 3 * square(x))
    square = primitive(lambda x: x**2)
    hips.defvjp(square, lambda ans, x: lambda g: 2 * g * x)
    assert hips.grad(hips.grad(cube))(2.0) == 12
    assert hips.grad(hips.grad(hips.grad(cube)))(2.0) == 6
    hessian = np.diag(6 * X)
    assert_allclose(hips.hessian(lambda x: hnp.sum(cube(x)))(X), hessian)
    assert_allclose(needle.hessian(lambda x: hnp.sum(cube(x)))(X), hessian)
    assert_allclose(hips.make_hvp(lambda x: hnp.sum(cube(x)))(X)[0](T), hessian @ T)
    assert_allclose(hips.jacobian(hips.grad(lambda x: hnp.sum(cube(hnp.sin(x)))))(X).shape, (3, 3))
    compared(lambda x: cube(hnp.exp(x)))(X)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_rule_may_look_at_values_in_a_hessian(rows):
    """What it makes of them is a constant for whoever differentiates it."""

    def by_k(ans: Any, x: Any, k: Any) -> Any:
        return lambda g: hnp.sum(getval(g) * scipy.special.psi(getval(x)) * 2 * getval(k))

    def by_x(ans: Any, x: Any, k: Any) -> Any:
        def pull(g: Any) -> Any:
            assert getval(x).shape == (rows,) and np.all(x == getval(x))
            slope = scipy.special.polygamma(1, getval(x)) if getval(k) > 0 else 0
            return g * (hnp.array(x) * 0 + k**2 * slope)

        return pull

    f = primitive(lambda x, k: scipy.special.psi(x) * k**2)
    hips.defvjp(f, by_x, by_k)
    x = np.arange(rows) + 1.5

    def total(xk: Any) -> Any:
        return hnp.sum(f(xk[:rows] ** 2, xk[rows]) * np.arange(1.0, rows + 1))

    at = np.append(x, 3.0)
    gradient, hessian = hips.grad(total)(at), hips.hessian(total)(at)
    weights = np.arange(1.0, rows + 1)
    slope = scipy.special.polygamma(1, x**2) * weights
    assert_allclose(gradient, np.append(9 * slope * 2 * x, 6 * np.sum(scipy.special.psi(x**2) * weights)))
    assert_allclose(hessian[:rows, :rows], np.diag(9 * slope * 2))
    assert_allclose(hessian[:rows, rows], 6 * slope * 2 * x)
    assert_array_equal(hessian[rows], np.zeros(rows + 1))
    of_sine = np.cos(total(at)) * hessian - np.sin(total(at)) * np.outer(gradient, gradient)
    of_sine[rows] = 0
    assert_allclose(hips.hessian(lambda xk: hnp.sin(total(xk)))(at), of_sine)


def test_captured_rules_compute_again():
    f = needle.compile(hips.grad(lambda x: hnp.sum(running_sum(x * x))))
    for x in (X, 2 * X, X, 3 * X):
        assert_allclose(f(x), np.array([3, 2, 1]) * 2 * x)


def test_a_tangent_is_broadcast_to_its_output():
    indexed = primitive(lambda x: (x * 2, np.array([[0, 1, 2], [2, 1, 0]])))
    hips.defjvp(indexed, lambda g, ans, x: (2 * g, np.zeros(3)))
    assert_allclose(hips.make_jvp(lambda x: indexed(x)[0][indexed(x)[1]])(X)(T)[1][0], 2 * T)
    filled = primitive(lambda x: np.full((2, 3), x))
    hips.defjvp(filled, lambda g, ans, x: g)
    assert_allclose(hips.deriv(filled)(2.0), np.ones((2, 3)))
    hips.defjvp(filled, lambda g, ans, x: np.ones(2))
    with pytest.raises(ValueError, match=r"a jvp returned a tangent of shape \(2,\) for an output of shape \(2, 3\)"):
        hips.deriv(filled)(2.0)


def test_several_outputs():
    both = primitive(lambda x, y: (np.sin(x) * y, {"square": x**2, "y": y}))
    hips.defvjp(
        both,
        lambda ans, x, y: lambda g: g[0] * hnp.cos(x) * y + 2 * x * g[1]["square"],
        lambda ans, x, y: lambda g: g[0] * hnp.sin(x) + g[1]["y"],
    )

    def parts(x: Any, y: Any, first: Any, second: Any) -> Any:
        return hnp.sum(first * second["square"]) + second["y"][0]

    def f(x: Any, y: Any) -> Any:
        return parts(x, y, *both(x, y))

    def reference(x: Any, y: Any) -> Any:
        return parts(x, y, hnp.sin(x) * y, {"square": x**2, "y": y})

    for i in (0, 1):
        assert_allclose(hips.grad(f, i)(X, T), hips.grad(reference, i)(X, T))
        assert_allclose(hips.hessian(f, i)(X, T), hips.hessian(reference, i)(X, T))
    assert_allclose(hips.jacobian(lambda x: both(x, T)[1]["square"])(X), np.diag(2 * X))
    assert_allclose(hips.jacobian(lambda x: both(x, T)[1]["y"])(X), np.zeros((3, 3)))
    assert type(both(X, T)[0]) is np.ndarray


def test_containers_as_arguments():
    product = primitive(lambda p, s: p["a"] * p["b"][0] * s)
    hips.defvjp(
        product,
        lambda ans, p, s: lambda g: {"a": g * p["b"][0] * s, "b": [g * p["a"] * s]},
        lambda ans, p, s: lambda g: g * ans / s,
    )
    p = {"a": 2.0, "b": [5.0]}
    assert hips.grad(lambda p: product(p, 3.0) ** 2)(p) == {"a": 900.0, "b": [360.0]}
    assert hips.grad(lambda a: product({"a": a, "b": [5.0]}, 3.0) ** 2)(2.0) == 900
    assert hips.grad(lambda s: product(p, s))(3.0) == 10
    without = primitive(lambda p: p[0] * p[1])
    assert hips.grad(lambda x: without([x, x]))(3.0) == 6  # which has no rule by its argument


def test_rules_for_many_arguments_at_once():
    by_each, by_all, linear = [primitive(lambda x, y: x * y) for _ in range(3)]
    extend.defvjp_argnum(by_each, lambda i, ans, args, kwargs: lambda g: g * args[1 - i])
    extend.defjvp_argnum(by_each, lambda i, g, ans, args, kwargs: g * args[1 - i])
    extend.defvjp_argnums(by_all, lambda argnums, ans, args, kwargs: lambda g: [g * args[1 - i] for i in argnums])
    extend.def_linear(linear)
    for f in (by_each, by_all):
        assert hips.grad(lambda x, f=f: f(x, x * x))(3.0) == 27
        assert hips.grad(lambda x, f=f: f(2.0, x))(3.0) == 2
    for f in (by_each, linear):
        assert hips.make_jvp(lambda x, f=f: f(x, x * x))(3.0)(1.0) == (27.0, 27.0)


def test_a_rule_of_a_function_that_is_no_primitive_changes_nothing():
    def cube(x: Any) -> Any:
        return x**3

    hips.defvjp(cube, lambda ans, x: lambda g: g * 0)
    extend.defvjp_argnum(cube, lambda *call: lambda g: g * 0)
    hips.defjvp(cube, lambda g, ans, x: g * 0)
    assert hips.grad(cube)(2.0) == 12


def test_the_rules_of_2016():
    product, constant = primitive(lambda x, y, k=1.0: k * x * y), primitive(lambda x, y: x + y)
    product.defgrad(lambda ans, x, y, k=1.0: lambda g: g * k * y)
    product.defvjp(lambda g, ans, vs, gvs, x, y, k=1.0: vs.add(g * k * x, np.zeros(gvs.shape)), argnum=1)
    constant.defvjp_is_zero([0, 1])
    for i, expected in enumerate((T, X)):
        assert_allclose(hips.grad(lambda *xy: hnp.sum(product(*xy, k=3.0)), i)(X, T), 3 * expected)
        assert_array_equal(hips.grad(lambda *xy: hnp.sum(constant(*xy)), i)(X, T), np.zeros(3))
    quick_grad_check(func(product), X, (T,), {"k": 2.0}, verbose=False)
    product.defgrad(lambda ans, x, y, k=1.0: lambda g: g * y)
    with pytest.raises(GradientError):
        quick_grad_check(product, X, (T,), {"k": 2.0})


def test_primitives_as_methods():
    class Scaled:
        def __init__(self, scale: float):
            self.scale = scale

        @primitive
        def times(self, x: Any) -> Any:
            return self.scale * x

    hips.defvjp(Scaled.times, lambda ans, self, x: lambda g: g * self.scale, argnums=[1])
    assert hips.grad(Scaled(3.0).times)(2.0) == 3


def test_a_primitive_that_reaches_a_tensor_is_refused():
    def f(x: Any) -> Any:
        return primitive(lambda y: y * x)(2.0 * x)

    for derivative in (hips.grad(f), hips.grad(hips.grad(f)), hips.deriv(f)):
        with pytest.raises(TypeError, match="pass the Tensor as a positional argument"):
            derivative(3.0)
    with pytest.raises(TypeError, match="the adjoint of argument 0 must have the structure"):
        wrong = primitive(lambda p: p[0] * p[1])
        hips.defvjp(wrong, lambda ans, p: lambda g: g)
        hips.grad(wrong)([1.0, 2.0])


# ---------------------------------------------------------------------------------------------- NumPy by either door

OWN = {"vectorize", "frompyfunc", "linalg.eigh", "linalg.eigvalsh"}
RAW = {"fromfile", "finfo", "iinfo", "ndindex", "errstate"} | set(REFUSED)


def of_numpy(name: str) -> bool:
    module: Any = np
    for part in name.split("."):
        module = getattr(module, part, None)
    return module is not None and name not in RAW


SAMPLES = {name: call for name, call in {**DIFFERENTIABLE, **ZERO, **CONSTANT}.items() if of_numpy(name)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", SAMPLES)
def test_of_arrays_it_is_numpy_itself(name):
    copies = [[a.copy() if isinstance(a, np.ndarray) else a for a in SAMPLES[name].arrays] for _ in range(2)]
    with np.errstate(all="ignore"):
        got, expected = SAMPLES[name].on(hnp, copies[0]), SAMPLES[name].on(np, copies[1])
    assert type(got) is type(expected)
    for y, e in zip(outputs(got), outputs(expected), strict=True):
        assert type(y) is type(e)
        assert str(y) == str(e)


@pytest.mark.parametrize("name", sorted(set(SAMPLES) & set(DIFFERENTIABLE) - OWN))
def test_of_tensors_it_is_needles(name):
    call, found = DIFFERENTIABLE[name], []
    for module in (hnp, nnp):
        given = as_tensors(call.arrays)
        results = outputs(call.on(module, given))
        weighted(results).backward()
        found.append([*map(getval, results), *[getval(given[i].grad) for i in call.places]])
    for y, e in zip(*found, strict=True):
        assert_array_equal(y, e)


@pytest.mark.parametrize("name", [name for name in {**ZERO, **CONSTANT} if of_numpy(name)])
def test_what_has_no_derivative_is_no_tensor(name):
    seen = []

    def f(*leaves: Any) -> Any:
        arrays = list(call.arrays)
        for i, leaf in zip(call.places, leaves, strict=True):
            arrays[i] = leaf
        seen.extend(outputs(call.on(hnp, arrays)))
        return leaves[0].sum()

    call = {**ZERO, **CONSTANT}[name]
    leaves = [call.arrays[i] for i in call.places if call.arrays[i].dtype.kind == "f"]
    if len(leaves) == len(call.places) > 0:
        hips.grad(f)(*leaves)
        assert name in ZERO or not any(isinstance(y, Tensor) for y in seen)


def test_types_are_numpys_where_nobody_differentiates():
    def f(x: Any) -> Any:
        steps.append(int(hnp.argmax(x)))
        assert isinstance(hnp.argmax(x), np.integer)
        assert type(hnp.zeros_like(x)) is np.ndarray
        assert type(hnp.sum(x > 0)) is np.int64
        assert list(range(hnp.argmax(x))) == [0, 1]
        return hnp.sum(x * hnp.array([1, 2, 3])[hnp.argsort(x)])

    steps: list[int] = []
    assert_array_equal(hips.grad(f)(X), [2, 1, 3])
    assert steps == [2]
    assert type(hnp.exp(1.0)) is np.float64
    assert isinstance(hnp.ones(2), np.ndarray)
    assert hnp.add.outer(X, T).shape == (3, 3)
    assert hnp.float64 is np.float64 and hnp.ndarray is np.ndarray and hnp.pi == np.pi
    assert pickle.loads(pickle.dumps(hnp.exp)) is hnp.exp
    assert npr.RandomState is np.random.RandomState


def test_lists_that_hold_tensors():
    assert_array_equal(hips.jacobian(lambda x: hnp.array([[x[0], 2.0], [0.0, x[1]]]))(np.ones(2))[1, 1], [0, 1])
    assert hips.grad(lambda x: hnp.sum(hnp.r_[x, 1.0, x] ** 2))(3.0) == 12
    assert hips.grad(lambda x: hnp.concatenate(([x], [1.0])).sum())(3.0) == 1


@pytest.mark.parametrize("name", ["stack", "concatenate", "vstack", "hstack", "dstack", "column_stack"])
def test_what_any_iterable_gives_is_joined(name):
    join = getattr(hnp, name)
    expected = getattr(np, name)([X, T])
    for given in ((a for a in (X, T)), {"a": X, "b": T}.values(), map(np.asarray, [X, T]), [X, T], np.stack([X, T])):
        assert_array_equal(join(given), expected)
    gradient = hips.grad(lambda p: hnp.sum(join(p.values()) ** 2))({"a": X, "b": T})
    assert_array_equal(gradient["a"], 2 * X)
    assert_array_equal(hips.grad(lambda x: hnp.sum(join(a * x for a in (X, T))))(1.0), (X + T).sum())


INTEGER_TYPES = [np.dtype(code).type for code in "bhilqBHILQ"]
INTEGERS = [name for name in dir(np) if any(getattr(np, name) is kind for kind in INTEGER_TYPES)]


@pytest.mark.parametrize("name", INTEGERS)
def test_integer_types_take_the_value_of_a_tensor(name):
    def f(x: Any) -> Any:
        seen.extend([kind(x), kind([x[0], 1.5]), kind(x[1])])
        return hnp.sum(hnp.asarray(x)[kind(hnp.abs(x))])

    kind, numpys, seen = getattr(hnp, name), getattr(np, name), []
    at = np.array([0.5, 1.7, 2.2])
    assert_array_equal(hips.grad(f)(at), [1, 1, 1])
    assert hips.make_jvp(f)(at)(np.array([1.0, 2.0, 4.0]))[1] == 7
    for got, expected in zip(seen, [numpys(at), numpys([0.5, 1.5]), numpys(1.7)] * 2, strict=True):
        assert type(got) is type(expected) and got.dtype == numpys
        assert_array_equal(got, expected)
    assert kind == numpys and numpys == kind and {numpys: 1}[kind] == 1 and kind is getattr(hnp, name)
    assert np.dtype(kind) == np.dtype(numpys) and np.zeros(2, kind).dtype.type is numpys
    assert isinstance(numpys(1), kind) and not isinstance(1.0, kind) and type(kind(1)) is numpys
    assert issubclass(numpys, kind) and np.issubdtype(numpys, kind) and np.issubdtype(kind, np.integer)
    assert pickle.loads(pickle.dumps(kind)) == kind and np.iinfo(kind).max == np.iinfo(numpys).max
    assert kind != np.float64 and (kind == hnp.int64) == (numpys is np.int64)


def test_a_choice_by_name_and_of_pythons_values():
    assert_array_equal(hnp.where(condition=X > 0, x=X, y=0.0), np.where(X > 0, X, 0.0))
    assert_array_equal(hips.grad(lambda x: hnp.sum(hnp.where(x > 0, y=-x, x=x)))(X), np.sign(X))
    assert_array_equal(hips.grad(lambda x: hnp.sum(hnp.where([True, False, True], x, 0.0)))(X), [1, 0, 1])
    for given in ((True, 1, 2), (False, 1, 2.0), ([True, False], [1, 2], [3, 4]), ([True, False], 1, 2.5)):
        assert hnp.where(*given) == np.where(*given).tolist()
        assert type(hnp.where(*given)) is type(np.where(*given).tolist())
    assert type(hnp.where(True, np.float32(1), 2)) is np.ndarray
    assert_array_equal(hnp.where([True, False, True])[0], [0, 2])
    with pytest.raises(ValueError, match="either both or neither"):
        hnp.where(X > 0, X)


@pytest.mark.parametrize("uplo", ["L", "U", "l", "u"])
@pytest.mark.parametrize("dtype", [float, complex])
def test_the_gradient_of_eigh_is_by_the_triangle_that_is_read(uplo, dtype):
    """As for HIPS autograd: a program may differ by the whole matrix of what it reads one triangle of."""
    a = np.stack([W @ W.T + np.eye(2), [[1.0, 2.0], [-0.5, 3.0]]]).astype(dtype)
    a[1] += 0.3j * np.array([[1.0, 2.0], [3.0, 4.0]]) if dtype is complex else 0.0

    def f(a: Any) -> Any:
        w, v = hnp.linalg.eigh(a, uplo)
        return hnp.sum(w**3 * np.arange(2)), hnp.abs(v) ** 2 * np.arange(4).reshape(2, 2), hnp.linalg.eigvalsh(a, uplo)

    compared(f)(a)
    unread = np.tril(np.ones((2, 2), bool), -1)
    for part in range(3):
        by_a = hips.grad(lambda a, part=part: hnp.sum(hnp.sin(f(a)[part])))(a)
        assert_array_equal(by_a[:, unread.T if uplo in "Ll" else unread], 0)
    assert type(hnp.linalg.eigh(a, uplo)) is type(np.linalg.eigh(a, uplo))
    with pytest.raises(ValueError, match="UPLO"):
        hips.grad(lambda a: hnp.sum(hnp.linalg.eigh(a, "X")[0]))(a.real)


class Measured:
    """A number with arithmetic of its own."""

    def __init__(self, value: float):
        self.value = value

    def exp(self) -> Measured:
        return Measured(np.exp(self.value))

    def __mul__(self, other: Any) -> Measured:
        return Measured(self.value * (other.value if isinstance(other, Measured) else other))

    __rmul__ = __mul__

    def __add__(self, other: Any) -> Measured:
        return Measured(self.value + (other.value if isinstance(other, Measured) else other))

    __radd__ = __add__


def test_objects_with_arithmetic_of_their_own():
    assert hnp.exp(Measured(1.0)).value == np.exp(1.0)
    assert hnp.dot(np.array([Measured(1.0), Measured(2.0)]), np.array([2.0, 3.0])).value == 8
    assert hnp.sum(hnp.array([Measured(1.0), Measured(2.0)])).value == 3
    assert hnp.exp(np.array([Measured(0.0)]))[0].value == 1


# ----------------------------------------------------------------------------------------------- the other modules


def test_values_behind_tensors():
    def f(x: Any) -> Any:
        assert isinstance(x, ArrayBox) and isinstance(x, core.Box) and isbox(x)
        assert builtins.isinstance(x, np.ndarray) and builtins.type(x) is np.ndarray
        assert builtins.isinstance(x[0], float) and builtins.type(x[0]) is float
        assert type(getval(x)) is type(x._value) is np.ndarray
        return hnp.sum(x * floor(x))

    floor = notrace_primitive(np.floor)
    seen, kinds = [], (builtins.DictBox, builtins.SequenceBox)
    assert_array_equal(hips.grad(f)(10 * X), np.floor(10 * X))
    hips.grad(lambda p: seen.extend(isinstance(p, cls) for cls in kinds) or p["x"][0])({"x": [1.0]})
    hips.grad(lambda p: seen.extend(isinstance(p, cls) for cls in kinds) or p[0])([1.0])
    assert seen == [True, False, False, True]
    assert not isinstance({"x": 1.0}, builtins.DictBox)
    assert not isbox(X) and not isinstance(X, ArrayBox) and getval(X) is X
    assert builtins.dict is dict and hips.tuple is tuple and hips.builtins is builtins


def test_hessian_of_several_outputs():
    hessian = hips.hessian(lambda x: hnp.array([x[0] ** 3, x[0] * x[1]]))(np.array([2.0, 3.0]))
    assert_allclose(hessian, [[[12, 0], [0, 0]], [[0, 1], [1, 0]]])
    assert hips.hessian(lambda x: hnp.sum(x**3).reshape(1))(X).shape == (1, 3, 3)
    assert_allclose(hips.hessian(lambda x: hnp.sum(x**3))(X), np.diag(6 * X))


def test_gradients_by_all_arguments():
    assert multigrad_dict(lambda x, y=2.0: x * y**2)(3.0) == {"x": 4.0, "y": 12.0}
    assert core.make_vjp(lambda x: x**2, 3.0)[0](1.0) == 6
    assert core.make_jvp(lambda x: x**2, 3.0)(1.0) == (9.0, 6.0)
    push = make_jvp_reversemode(layer)(X, W, scale=2.0)
    assert_allclose(push(T), hips.jacobian(layer)(X, W, scale=2.0) @ T)
    assert unary_to_nary(lambda f, x, k: f(k * x))(lambda a, b: a - b, 1, 2.0)(1.0, 3.0) == -5
    assert subvals((1, 2), [(0, 3)]) == (3, 2)


PARAMETERS = {"w": np.arange(4.0).reshape(2, 2), "b": (1.0, [2.0, np.array(3.0)])}


def test_flatten():
    vector, unflatten = flatten(PARAMETERS)
    assert_array_equal(vector, [1, 2, 3, 0, 1, 2, 3])
    assert list(unflatten(vector)) == ["w", "b"]
    assert_array_equal(unflatten(vector + 1)["w"], PARAMETERS["w"] + 1)
    assert unflatten(vector)["b"] == (1.0, [2.0, 3.0])
    assert_array_equal(flatten([])[0], [])
    gradient = hips.grad(lambda p: hnp.sum(flatten(p)[0] ** 2))(PARAMETERS)
    assert_array_equal(gradient["w"], 2 * PARAMETERS["w"])
    assert_array_equal(hips.grad(lambda v: hnp.sum(unflatten(v)["w"] ** 2))(vector), [0, 0, 0, 0, 2, 4, 6])
    of_vectors, _, start = flatten_func(lambda p: {"w": 2 * p["w"], "b": p["b"]}, PARAMETERS)
    assert_array_equal(of_vectors(start), [1, 2, 3, 0, 2, 4, 6])


@pytest.mark.parametrize(
    ("optimize", "options", "first"),
    [
        (sgd, {"step_size": 0.1, "mass": 0.9}, lambda g: -0.1 * 0.1 * g),
        (rmsprop, {"step_size": 0.1, "gamma": 0.9}, lambda g: -0.1 * g / (np.sqrt(0.9 + 0.1 * g**2) + 1e-8)),
        (adam, {"step_size": 0.1}, lambda g: -0.1 * g / (np.abs(g) + 1e-8)),
    ],
)
def test_optimizers(optimize, options, first):
    seen = []
    gradient = hips.grad(lambda p, i: (p["x"] - 2.0) ** 2 + hnp.sum(p["y"] ** 2))
    start = {"x": 0.0, "y": np.array([1.0, -3.0])}
    after = optimize(gradient, start, lambda p, i, g: seen.append((i, p["y"], g["y"])), num_iters=1, **options)
    assert_allclose(after["x"], first(-4.0))
    assert_allclose(after["y"], start["y"] + first(2 * start["y"]))
    assert seen[0][0] == 0
    assert_array_equal(seen[0][2], 2 * start["y"])
    end = optimize(gradient, start, num_iters=2000, **options | {"step_size": 0.02})
    assert_allclose(np.append(end["y"], end["x"]), [0, 0, 2], atol=0.05)


def test_fixed_points():
    def root(a: Any) -> Any:
        def distance(x: Any, y: Any) -> Any:
            return hnp.max(hnp.abs(x - y))

        return fixed_point(lambda a: lambda x: 0.5 * (x + a / x), a, 1.0, distance, 1e-12)

    assert_allclose(root(2.0), np.sqrt(2))
    assert_allclose(hips.grad(root)(2.0), 0.5 / np.sqrt(2))
    assert_allclose(hips.grad(hips.grad(root))(2.0), -0.25 * 2**-1.5)

    def of_parts(p: Any) -> Any:
        step = fixed_point(
            lambda p: lambda x: hnp.dot(p[0], x) + p[1], p, np.zeros(2), lambda x, y: np.max(np.abs(x - y)), 1e-14
        )
        return hnp.sum(step * np.array([1.0, 2.0]))

    a, b = np.array([[0.2, 0.1], [0.3, -0.2]]), np.array([0.3, 0.5])
    u = np.linalg.solve(np.eye(2) - a.T, [1.0, 2.0])
    by_a, by_b = hips.grad(of_parts)((a, b))
    assert_allclose(by_b, u)
    assert_allclose(by_a, np.outer(u, np.linalg.solve(np.eye(2) - a, b)))


def test_const_graph():
    assert hips.grad(const_graph(lambda a, x: a * x**2, 2.0))(3.0) == 12


def test_vector_spaces():
    space = vspace({"a": 1.0, "b": np.ones((2, 2)), "c": 1j})
    assert space.size == 7 and space.iscomplex
    assert_array_equal(space.ones()["b"], np.ones((2, 2)))
    assert len(list(space.standard_basis())) == 7
    assert space.inner_prod(space.ones(), space.ones()) == 7
    assert_array_equal(space.add(space.ones(), space.scalar_mul(space.ones(), 2.0))["b"], np.full((2, 2), 3.0))
    assert space.covector({"a": 1.0, "b": np.ones((2, 2)), "c": 1j})["c"] == -1j
    assert space == vspace(space.randn())
    assert_array_equal(space.ones()["c"], 1 + 1j)
    total = space.zeros()
    for vector in space.standard_basis():
        total = space.add(total, vector)
    check_equivalent(total, space.ones())
    basis = list(vspace({"a": np.zeros((1, 2)), "b": np.zeros(2, complex)}).standard_basis())
    assert_array_equal([np.append(v["a"], v["b"]) for v in basis[2:]], np.kron(np.eye(4)[2:], [[1], [1j]]))
    assert vspace(X) != vspace(W)
    assert (vspace(W).shape, vspace(W).dtype, vspace(W).ndim) == ((2, 3), np.float64, 2)


def test_checks():
    compared(lambda x, y: hnp.sin(x) * y, (0, 1), modes=["fwd", "rev"], order=2)(X, T)
    combo_check(lambda x, y, k=1: hnp.sum(hnp.sin(x) * y * k), (0, 1))([1.0, X], [2.0, 3.0], k=[1, 2])
    wrong = primitive(np.sin)
    hips.defvjp(wrong, lambda ans, x: lambda g: g * hnp.sin(x))
    with pytest.raises(GradientError):
        compared(wrong, modes=["rev"], order=1)(X)


def test_values_that_are_close():
    assert scalar_close(1.0, 1.0 + 1e-7) and scalar_close(1e9, 1e9 + 1e3) and scalar_close(0.0, 1e-7)
    assert not scalar_close(1.0, 1.0 + 1e-5) and not scalar_close(0.0, np.nan)
    check_equivalent({"a": X, "b": (1.0, 2.0)}, {"a": X + 1e-8, "b": (1.0, np.array(2.0))})
    for x, y in [(X, X + 1e-5), (X, np.stack([X])), ([1.0], (1.0,)), (X, X + 0j), (X.astype("f"), X)]:
        with pytest.raises(AssertionError):
            check_equivalent(x, y)


def test_a_check_allows_what_hips_autograds_allows():
    off = primitive(lambda x: 2.0 * x)
    hips.defvjp(off, lambda ans, x: lambda g: (2.0 + 1e-7) * g)
    compared(off, modes=["rev"], order=1)(1e-3 * X)
    hips.defvjp(off, lambda ans, x: lambda g: (2.0 + 1e-4) * g)
    with pytest.raises(GradientError):
        compared(off, modes=["rev"], order=1)(1e-3 * X)


def test_sums_over_broadcast_axes():
    assert_array_equal(unbroadcast_f(np.ones((1, 3)), lambda g: g * 2)(np.ones((5, 2, 3))), [[20, 20, 20]])
    assert_array_equal(hnp.make_diagonal(X, axis1=-1, axis2=-2), np.diag(X))


def test_scipys_modules():
    assert type(norm.logpdf(1.0, 0.0, 2.0)) is type(scipy.stats.norm.logpdf(1.0, 0.0, 2.0))
    assert_allclose(hips.grad(lambda m: hnp.sum(norm.logpdf(X, m, 2.0)))(1.0), np.sum(X - 1) / 4)
    assert_allclose(hips.grad(lambda m: multivariate_normal.logpdf(X, m, np.eye(3)))(T), X - T)
    assert_allclose(hips.grad(gammaln)(2.5), scipy.special.psi(2.5))
    assert_allclose(hips.grad(logsumexp)(X), np.exp(X - logsumexp(X)))
    assert type(logsumexp(X)) is np.float64
    triangle = np.array([[1.0, 0.0], [2.0, 3.0]])
    assert_allclose(solve_triangular(triangle, np.ones(2), lower=True), [1, -1 / 3])
    diagonals = np.array([[0.0, 0.7, -0.3], [3.0, 4.0, 5.0], [0.5, 1.0, 0.0]])
    dense = np.diag(diagonals[1]) + np.diag(diagonals[0, 1:], 1) + np.diag(diagonals[2, :-1], -1)
    assert_allclose(hips.grad(lambda b: hnp.dot(T, solve_banded((1, 1), diagonals, b)))(X), np.linalg.solve(dense.T, T))
    by_matrix = hips.grad(lambda a: hnp.sum(inv(a)))(triangle)
    assert_allclose(by_matrix, -np.outer(*[np.linalg.inv(m).sum(0) for m in (triangle, triangle.T)]))
    assert type(convolve(X, T)) is np.ndarray
    assert_allclose(hips.grad(lambda x: hnp.sum(convolve(x, T)))(X), np.full(3, T.sum()))
    times = np.array([0.0, 1.0])
    assert type(odeint(lambda y, t: -y, np.ones(1), times)) is np.ndarray
    slope = hips.grad(lambda k: hnp.sum(odeint(lambda y, t, k: -k * y, np.ones(1), times, (k,))))(1.5)
    assert_allclose(slope, -np.exp(-1.5), atol=1e-6)


def test_a_rule_for_a_function_of_scipys_that_needle_has_not():
    from needle.hips.scipy.linalg import solve_circulant  # noqa: PLC0415 - a rule would change it for other tests

    c, b = np.array([4.0, 1.0, 0.5]), X
    assert type(solve_circulant(c, b)) is np.ndarray
    with pytest.raises(NotImplementedError, match=r"solve_circulant: its derivative by argument 1 is not known; write"):
        hips.grad(lambda b: hnp.sum(solve_circulant(c, b)))(b)
    try:
        hips.defvjp(solve_circulant, lambda ans, c, b: lambda g: solve_circulant(np.roll(c[::-1], 1), g), argnums=[1])
        a = scipy.linalg.circulant(c)
        assert_allclose(hips.grad(lambda b: hnp.dot(T, solve_circulant(c, b)))(b), np.linalg.solve(a.T, T))
        compared(solve_circulant, 1, modes=["rev"])(c, b)
    finally:
        solve_circulant.vjps.clear()


def test_programs_run_after_a_change_of_their_imports():
    """Each of these names is imported by programs for HIPS autograd."""
    modules = {
        "": "grad jacobian hessian elementwise_grad value_and_grad make_vjp make_jvp make_hvp make_ggnvp checkpoint "
        "holomorphic_grad grad_and_aux grad_named multigrad_dict deriv primitive tensor_jacobian_product "
        "vector_jacobian_product hessian_vector_product hessian_tensor_product",
        "builtins": "isinstance type tuple list dict DictBox SequenceBox",
        "core": "getval isbox primitive defvjp defjvp vspace VSpace Box make_vjp make_jvp def_linear",
        "differential_operators": "grad jacobian make_jvp_reversemode",
        "extend": "primitive defvjp defjvp defvjp_argnum defvjp_argnums defjvp_argnum defjvp_argnums def_linear vspace "
        "VSpace Box notrace_primitive register_notrace",
        "misc": "const_graph flatten",
        "misc.fixed_points": "fixed_point",
        "misc.flatten": "flatten flatten_func",
        "misc.optimizers": "adam sgd rmsprop",
        "misc.tracers": "const_graph",
        "numpy": "linalg fft random numpy_boxes numpy_vjps array exp float64 newaxis make_diagonal",
        "numpy.fft": "fft ifft fftshift",
        "numpy.linalg": "inv solve LinAlgError norm eigh",
        "numpy.numpy_boxes": "ArrayBox",
        "numpy.numpy_vjps": "unbroadcast unbroadcast_f",
        "numpy.random": "randn RandomState seed",
        "scipy": "integrate linalg signal special stats",
        "scipy.integrate": "odeint",
        "scipy.linalg": "solve_triangular solve_banded sqrtm block_diag solve_sylvester",
        "scipy.signal": "convolve",
        "scipy.special": "gammaln erf expit logit logsumexp",
        "scipy.stats": "beta chi2 dirichlet gamma multivariate_normal norm poisson t",
        "scipy.stats.poisson": "logpmf pmf",
        "test_util": "check_grads check_vjp check_jvp combo_check check_equivalent scalar_close",
        "tracer": "getval isbox Box primitive notrace_primitive register_notrace subvals",
        "util": "subval subvals func quick_grad_check",
        "wrap_util": "unary_to_nary",
    }
    for module, names in modules.items():
        found = importlib.import_module("needle.hips" + f".{module}" * bool(module))
        assert [name for name in names.split() if not hasattr(found, name)] == []


def test_modules_are_found_as_attributes_and_with_a_star():
    """In a new process, where nobody has imported them yet."""
    code = """
import needle.hips as autograd, needle.hips.scipy as scipy
assert scipy.special.gammaln(3.0) and scipy.stats.norm.pdf(0.0) and scipy.linalg.sqrtm and autograd.numpy.exp
assert autograd.numpy.numpy_boxes.ArrayBox and autograd.numpy.numpy_vjps.unbroadcast
from needle.hips.numpy import *
from needle.hips.numpy.linalg import *
from needle.hips.numpy.fft import *
from needle.hips.scipy.special import *
from needle.hips.scipy.linalg import *
exp(1.0), cholesky([[1.0]]), rfft([1.0]), expit(0.5), solve_banded
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_is_imported_before_it_is_asked_for():
    code = """
import sys, needle
assert not [m for m in sys.modules if m.startswith(("needle.hips.numpy", "needle.hips.misc", "needle.hips.scipy"))]
import needle.hips.numpy, needle.hips.misc.optimizers, needle.hips.extend, needle.hips.builtins, needle.hips.tracer
assert "scipy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
