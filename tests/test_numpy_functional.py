"""Functions of functions by NumPy's names."""

from __future__ import annotations

from typing import Any

import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from samples.kit import numbers

S, V, M, T = numbers(()), numbers((3,)), numbers((2, 3)), numbers((2, 3, 4))
POSITIVE = numbers((2, 3), positive=True)


def norm(v: Any) -> Any:
    return (v * v).sum() ** 0.5


def powers(x: Any, n: Any = 2) -> Any:
    return x**n


def poly(p: Any, x: Any) -> Any:
    return p[0] + p[1] * x + p[2] * x * x


def vectorized(function: Any, *args: Any, **options: Any) -> Any:
    """A program that vectorizes a function and calls it, with named arguments where given."""
    named = options.pop("named", ())
    n = len(named)
    return lambda np, *a: np.vectorize(function, *args, **options)(
        *a[: len(a) - n], **dict(zip(named, a[len(a) - n :], strict=True))
    )


TABLE = [
    *[Call(lambda np, a, axis=axis: np.apply_along_axis(norm, axis, a), T) for axis in (0, 1, -1)],
    Call(lambda np, a: np.apply_along_axis(norm, 0, a), V),
    Call(lambda np, a: np.apply_along_axis(lambda v, k: v[:2] * k, 1, a, 3.0), T),
    Call(lambda np, a: np.apply_along_axis(lambda v, k=1: np.stack([v, v * k]), 1, a, k=2.0), T),
    Call(lambda np, a: np.apply_along_axis(lambda v: 1, 0, a), M),
    Call(lambda np, a: np.apply_over_axes(np.sum, a, [0, 2]), T),
    Call(lambda np, a: np.apply_over_axes(lambda v, axis: v * v, a, 1), M),
    Call("fromfunction", lambda i, j: 2 * i + j, (2, 3)),
    Call("fromfunction", lambda i, k: i == k, (3,), dtype=int, k=1),
    Call(lambda np, a: np.fromfunction(lambda i, j: i * a + j, (2, 3)), V),
    Call(lambda np, a: np.piecewise(a, [a < 0, a >= 0], [lambda v: v * v, lambda v: 3 * v]), M),
    Call(lambda np, a: np.piecewise(a, [a < 0], [-1.0, lambda v: v * 2]), M),
    Call(lambda np, a: np.piecewise(a, [a < 9, a > 0], [lambda v: v, lambda v: v * v]), M),
    Call(lambda np, a: np.piecewise(a, [a > 9], [norm]), M),
    Call(lambda np, a: np.piecewise(a, a > 0, [lambda v, k, m=0: v * k + m, 2.0], 3.0, m=1.0), V),
    Call(lambda np, a: np.piecewise(a, [a < 9], [lambda v: v * v]), S),
    Call(lambda np, a: np.piecewise(a, a < 9, [lambda v: v * v]), S),
    Call(lambda np, a: np.piecewise(a, [a > 1, a <= 1], [lambda v: v * 0.7, 5]), np.array([1, 2, 3])),
    Call(lambda np, a: np.piecewise(a, [a > 0], [lambda v: v]), numbers((0,))),
    *[Call(vectorized(powers), a) for a in (S, V, T, np.array([1, 2]))],
    Call(vectorized(powers), POSITIVE, np.array([[2.0], [3.0]])),
    Call(vectorized(powers, [float]), numbers((0, 3))),
    Call(vectorized(powers, "f"), V, smooth=False),
    Call(vectorized(powers, named=["n"]), POSITIVE, np.array(1.5)),
    Call(vectorized(lambda x: (x, x * x)), V),
    Call(vectorized(lambda x: (x, x * x), ["f", "d"]), V, smooth=False),
    Call(vectorized(poly, excluded=[0]), V, numbers((4,))),
    Call(vectorized(poly, excluded=["p"], named=["p", "x"]), V, numbers((4,))),
    Call(vectorized(lambda a, b: (a * b).sum(), signature="(n),(n)->()"), T, numbers((3, 4))),
    Call(vectorized(lambda a, b: (a * b, a.sum()), signature="(n),()->(n),()"), T, V),
    Call(lambda np, a: np.vectorize(otypes=[float])(powers)(a), V),
]

test_functional, test_gradient_of_functional, test_second_order_of_functional = laws(TABLE)


def test_frompyfunc():
    t = Tensor(V)
    out = nnp.frompyfunc(lambda x, y: x * y, 2, 1)(t, [[1.0], [2.0]])
    out.sum().backward()
    np.testing.assert_array_equal(out.numpy(), V * np.array([[1.0], [2.0]]))
    np.testing.assert_array_equal(t.grad.numpy(), [3.0, 3.0, 3.0])


def test_vectorize_is_named_and_documented_like_the_function():
    assert nnp.vectorize(powers).__name__ == "powers"
    assert nnp.vectorize(powers, doc="Squares.").__doc__ == "Squares."


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: nnp.apply_along_axis(norm, 2, t), ValueError, "apply_along_axis: axis 2"),
        (lambda t: nnp.apply_along_axis(norm, 1, t[:0]), ValueError, "no vector"),
        (lambda t: nnp.apply_over_axes(lambda v, axis: v[0, 0], t, 0), ValueError, "keep the axes or drop one"),
        (lambda t: nnp.piecewise(t, [t > 0, t < 0], [1]), ValueError, "as many functions"),
        (lambda t: nnp.piecewise(t, [t[0] > 0], [1]), ValueError, "shape of x"),
        (lambda t: nnp.vectorize(powers)(t[:0]), ValueError, "otypes"),
        (lambda t: nnp.vectorize(norm, signature="(n),(n)->()")(1 * t), TypeError, "2 inputs"),
        (lambda t: nnp.vectorize(norm, signature="(n,m,k)->()")(1 * t), ValueError, "does not fit"),
        (lambda t: nnp.vectorize(powers, signature="(n),(n)->()")(t, t[:, :2]), ValueError, "dimension 'n'"),
    ],
)
def test_errors_say_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call(Tensor(M))
