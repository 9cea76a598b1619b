"""HIPS autograd's names give what they give there."""

from __future__ import annotations

import pickle
from typing import Any

import needle
import numpy as np
from needle import ops
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
