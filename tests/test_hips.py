"""HIPS autograd's names give what they give there."""

from __future__ import annotations

import pickle
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, hips, ops
from needle.testing import check_grads
from numpy.testing import assert_allclose

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
