"""Places where derivatives of functions went wrong, or could: each was one program."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, autograd, ops
from numpy.testing import assert_allclose, assert_array_equal


def test_an_argument_given_twice():
    f = needle.checkpoint(lambda a, b: a * b)
    assert needle.grad(lambda x: f(x, x))(3.0) == 6
    x = Tensor(3.0)
    f(x, x).backward()
    assert x.grad.item() == 6
    assert needle.grad(lambda a, b: a * b, (0, 1))(x, x)[0].item() == 3
    with pytest.raises(ValueError, match="names an argument twice"):
        needle.grad(lambda a: a * a, (0, -1))(3.0)


def test_hessian_products_of_real_values_of_complex_numbers():
    f = lambda z: (abs(z) * z).sum().real  # noqa: E731
    z, v = np.array([1 + 2j]), np.array([1j])
    assert_allclose(needle.hvp(f, (z,), (v,)), needle.jvp(needle.grad(f), (z,), (v,))[1])
    g = lambda x: (abs(x * (1 + 1j)) * x).sum()  # noqa: E731
    assert_allclose(needle.hvp(g, (np.ones(1),), (np.ones(1),)), [2 * np.sqrt(2)])


def test_structures_are_matched_by_key():
    f = lambda p: p["a"] ** 2 + 10 * p["b"]  # noqa: E731
    p, t = {"a": 2.0, "b": 3.0}, {"b": 0.0, "a": 1.0}
    assert needle.jvp(f, (p,), (t,))[1] == 4
    assert needle.hvp(f, (p,), (t,)) == {"a": 2, "b": 0}
    assert needle.vjp(lambda x: {"u": x * x, "v": x * 10}, 2.0)[1]({"v": 0.0, "u": 1.0}) == (4,)
    for wrong in ({"x": 0.0, "y": 1.0}, [0.0, 1.0], {"a": 0.0}, 1.0):
        with pytest.raises(TypeError, match="structure"):
            needle.jvp(f, (p,), (wrong,))

    @needle.custom_gradient
    def product(p):
        return p["a"] * p["b"], lambda g: {"b": g * p["a"], "a": g * p["b"]}

    assert needle.grad(product)(p) == {"a": 3, "b": 2}


@pytest.mark.parametrize("write", ["assigned", "written into"])
def test_values_that_change_later_are_used_as_they_were(write):
    def change(t: Tensor, value: float) -> None:
        if write == "assigned":
            t.data = np.array([value])
        else:
            t.cached_data[:] = value

    W = Tensor([2.0])
    _, pull = needle.vjp(lambda x: (W * x**3).sum(), Tensor([3.0]))
    change(W, 100.0)
    assert_allclose(pull(1.0)[0].numpy(), [54])
    x = Tensor([3.0])
    _, pull = needle.vjp(lambda x: (ops.sin(x) * x).sum(), x)
    change(x, 50.0)
    assert_allclose(pull(1.0)[0].numpy(), [np.sin(3) + 3 * np.cos(3)])

    def f(x: Any) -> Any:
        V = Tensor([2.0])
        y = V * ops.sin(x) * x
        change(V, 100.0)
        return y.sum()

    x0, expected = np.array([3.0]), 2 * (2 * np.cos(3.0) - 3 * np.sin(3.0))
    assert_allclose(needle.hessian(f)(x0), [[expected]])
    assert_allclose(needle.hvp(f, (x0,), (np.ones(1),)), [expected])
    assert_allclose(needle.grad(lambda x: needle.grad(f)(x).sum())(x0), [expected])
    assert_allclose(needle.jvp(needle.grad(f), (x0,), (np.ones(1),))[1], [expected])


def test_closures_are_recorded_for_constant_tensors():
    W, X = Tensor([1.0, 2.0]), Tensor([3.0, 4.0], requires_grad=False)
    g = needle.grad(lambda x: ((x * W) ** 2).sum())(X)
    ((W * W).sum() + (g * g).sum()).backward()  # a penalty on the gradient by the input
    w, x = W.numpy(), X.numpy()
    assert_allclose(W.grad.numpy(), 2 * w + 16 * w**3 * x**2)
    value, pull = needle.vjp(lambda x: W * x, X)
    (value.sum() + pull(X)[0].sum()).backward()
    assert_allclose(W.grad.numpy(), 2 * x)


def test_powers_by_base_and_exponent():
    assert_allclose(needle.hessian(lambda v: v[0] ** v[1])(np.array([2.0, 0.0])), [[0, 0.5], [0.5, np.log(2) ** 2]])
    third = needle.grad(needle.grad(needle.grad(lambda a, b: a**b, 0), 0), 1)
    assert_allclose(third(2.0, 1.0), 0.5)
    assert_allclose(needle.grad(lambda a, b: (a**b).sum(), (0, 1))(np.array([2, 3]), np.array([0, 2]))[0], [0, 6])


def test_results_are_nobody_elses():
    value, pull = needle.vjp(ops.exp, np.array([0.0, 1.0]))
    value[:] = 0
    assert_allclose(pull(np.ones(2))[0], np.exp([0, 1]))
    a, b = Tensor([1.0, 1.0]), Tensor([1.0, 1.0])
    first, second = needle.grad(lambda a, b: (a + b).sum(), (0, 1))(a, b)
    first.data = first.data * 0.5
    assert_array_equal(second.numpy(), [1, 1])
    given = Tensor([2.0, 2.0], requires_grad=False)
    assert needle.vjp(lambda a: a + 1, a)[1](given)[0] is not given
    variable = Tensor([2.0, 3.0])
    passed_on = needle.vjp(lambda a: a + 1, a)[1](variable)[0]
    assert passed_on is not variable
    (passed_on * 5).sum().backward()
    assert_array_equal(variable.grad.numpy(), [5, 5])
    by_a, by_b = needle.jacobian(lambda a, b: a + b, argnums=(0, 1))(np.ones(2), np.ones(2))
    by_a[0, 0] = 100
    assert by_b[0, 0] == 1
    needle.jacobian(lambda x: x.sum(), mode="reverse")(np.arange(3.0))[...] = 7
    x = np.ones(2)
    out, tangent = needle.jvp(lambda x: x, (x,), (x,))
    out[:], tangent[:] = 5, 5
    assert_array_equal(x, [1, 1])
    assert needle.jacobian(lambda x: x * np.ones(1))(2.0).shape == (1,)


def test_transforms_in_threads_inside_of_transforms():
    with ThreadPoolExecutor(1) as pool:
        f = lambda x: pool.submit(lambda: needle.grad(lambda y: y**2 * x)(3.0)).result() * x  # noqa: E731
        g = lambda x: pool.submit(lambda: needle.grad(lambda y: y**3)(x)).result() * x  # noqa: E731
        assert needle.grad(f)(2.0) == 24
        assert needle.jvp(f, (2.0,), (1.0,)) == (24, 24)
        assert needle.jvp(g, (2.0,), (1.0,)) == (24, 36)


def test_black_boxes_with_habits():
    x = np.array([1.0, 1e5])
    assert_allclose(needle.grad(lambda x: needle.numerical(np.sin)(x).sum())(x)[0], np.cos(1.0), rtol=1e-9)
    buffer = np.zeros(2)

    def reuses(x):
        np.multiply(x, x, out=buffer)
        return buffer

    def writes(x, w):
        w *= 2
        return x * w

    assert_allclose(needle.grad(lambda x: needle.numerical(reuses)(x).sum())(np.array([1.0, 2.0])), [2, 4])
    assert_allclose(needle.grad(lambda x: needle.numerical(writes)(x, np.array(3.0)))(2.0), 6)


def test_lazy_programs_with_rules_of_their_own(monkeypatch):
    monkeypatch.setattr(autograd, "LAZY_MODE", True)
    W, x = Tensor(np.eye(2)), Tensor([0.5, 1.0])
    needle.checkpoint(lambda h: ops.tanh(h @ W))(x).sum().backward()
    assert_allclose(W.grad.numpy(), np.outer([0.5, 1], 1 - np.tanh([0.5, 1]) ** 2))
    doubled = needle.custom_gradient(lambda x: (x * x, lambda g: 2 * g * x))
    assert needle.grad(doubled)(3.0) == 6


def test_no_grad_around_forward_mode():
    def f(x: Any) -> Any:
        with needle.no_grad():
            g = needle.jvp(lambda y: y**3, (x,), (1.0,))[1]
        return g * x

    assert needle.grad(f)(2.0) == 12
    assert needle.jvp(f, (2.0,), (1.0,))[1] == 12


def test_numbers_stay_weak_and_other_things_what_they_are():
    x = Tensor(np.ones(2, np.float32))
    array = np.ones(3)

    def f(x, s, a):
        assert type(s) is float
        assert a is array
        return x * s, 3

    y, three = needle.checkpoint(f)(x, 0.5, array)
    assert (y.dtype, three) == (np.float32, 3)
    g = needle.custom_gradient(lambda x, s: (x * s, lambda g: (g * s, None)))
    assert g(x, 0.5).dtype == np.float32
    g(x, 0.5).sum().backward()
    assert_array_equal(x.grad.numpy(), [0.5, 0.5])


def test_methods_with_rules_and_rules_that_do_not_fit():
    class Model:
        k = 3.0

        @needle.custom_jvp
        def f(self, x):
            return self.k * x

    Model.f.defjvp(lambda primals, tangents: (primals[0].f(primals[1]), primals[0].k * tangents[1]))
    assert needle.grad(Model().f)(2.0) == 3
    wrong = needle.custom_jvp(lambda x: x * 2)
    wrong.defjvp(lambda primals, tangents: (primals[0] * 2, tangents[0].sum()))
    with pytest.raises(ValueError, match=r"gave a tangent of shape \(\) for an output of shape \(2,\)"):
        needle.jvp(wrong, (np.ones(2),), (np.ones(2),))


def test_booleans_beside_what_is_differentiated():
    p = {"w": np.array([1.0, 2.0]), "m": np.array([True, False])}
    f = lambda p: ((p["m"] * p["w"]) ** 2).sum()  # noqa: E731
    assert_array_equal(needle.hessian(f)(p)["w"]["w"], [[2, 0], [0, 0]])
    assert needle.jacobian(f, mode="forward")(p)["m"].shape == (2,)
    found = needle.hvp(f, (p,), ({"w": np.ones(2), "m": np.ones(2)},))
    assert_array_equal(found["w"], [2, 0])
    assert_array_equal(found["m"], [0, 0])


def test_tuples_in_containers_and_empty_batches():
    value, tangent = needle.jvp(lambda x: {"t": ops.make_tuple(x, x * x)}, (2.0,), (1.0,))
    assert (value, tangent) == ({"t": (2.0, 4.0)}, {"t": (1.0, 4.0)})
    f = lambda x: (x[[0, 1], :, [0, 1]] ** 2).sum()  # noqa: E731
    assert needle.hessian(f)(np.zeros((2, 0, 2))).shape == (2, 0, 2, 2, 0, 2)
    assert needle.deriv(ops.tanh)(np.inf) == 0
    push = needle.make_jvp(ops.sin)(x := np.zeros(1))
    x[:] = 50
    assert_allclose(push(np.ones(1))[1], [1])
    with pytest.raises(TypeError, match="pair"):
        needle.jvp(lambda x: x, (1.0,), (1.0,), has_aux=True)


def test_many_sweeps_in_one_trace():
    x = Tensor(1.0)
    with needle.trace(file=io.StringIO()) as trace:
        for _ in range(40):
            (x * x).backward()
    assert "called L1 here" in str(trace)


def test_anomalies_inside_of_batches_are_seen():
    with needle.detect_anomaly(), pytest.raises(needle.AnomalyError):
        needle.hessian(lambda x: (x**1.5).sum())(np.array([0.0, 4.0]))
