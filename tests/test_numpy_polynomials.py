"""Polynomials, by NumPy's names."""

from __future__ import annotations

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from numpy.testing import assert_allclose, assert_array_equal
from samples.kit import numbers

P, Q, SHORT = numbers((4,)), numbers((3,), seed=1), numbers((1,))
S, M, E = numbers(()), numbers((2, 3)), numbers((0,))
HALF, SINGLE, LONG, COMPLEX = (numbers((3,), code) for code in "eflD")
DTYPES = [HALF, SINGLE, LONG, COMPLEX]
POLYNOMIALS = [P, SHORT, *DTYPES]
SQUARE = np.array([[1.0, 2.0], [0.5, -1.0]])

ALGEBRA = [
    *[Call(name, a, Q) for name in ("polyadd", "polysub", "polymul", "polydiv") for a in POLYNOMIALS],
    *[Call(name, Q, P) for name in ("polyadd", "polysub", "polymul", "polydiv")],
    *[Call(name, E, Q) for name in ("polyadd", "polysub", "polymul")],
    *[Call(name, Q, S) for name in ("polyadd", "polysub", "polymul", "polydiv")],
    *[Call("polymul", a, np.array([0.0, 0.0, 2.0, 1.0]), smooth=False) for a in (P, np.zeros(2))],
    Call("polydiv", np.array([1.0, 3.0, 2.0]), np.array([1.0, 1.0]), smooth=False),
    *[Call("polyval", p, x) for p in POLYNOMIALS for x in (S, M, SINGLE)],
    Call("polyval", P, 2),
    Call("polyval", E, M),
    Call("polyval", M, Q),
    *[Call("polyder", p) for p in [*POLYNOMIALS, E]],
    *[Call("polyder", P, m) for m in (0, 1, 2, 4, 5)],
    *[Call("polyint", p) for p in [*POLYNOMIALS, E]],
    *[Call("polyint", P, m) for m in (0, 2, 3)],
    Call("polyint", P, 2, 0.5),
    Call("polyint", P, 2, numbers((2,), seed=1)),
    Call("polyint", P, k=numbers((1,), seed=1)),
    *[Call("vander", x) for x in [P, E, *DTYPES, np.array([True, False]), np.array([0.0, 2.0, -1.0])]],
    *[Call("vander", P, n, increasing) for n in (0, 1, 2, 6) for increasing in (False, True)],
]
ROOTS = [
    *[Call("poly", a) for a in [P, E, SINGLE, LONG, COMPLEX, SQUARE]],
    Call("poly", np.array([1 + 2j, 3.0, 1 - 2j]), smooth=False),
    *[Call("roots", np.array(p)) for p in ([2.0, 0.5, 3.0, -1.0], [1.0, -3.0, 2.0], [1j, 2.0, 1 - 1j], [3.0], [])],
    *[Call("roots", np.array(p, code), smooth=False) for p, code in [([1, -3, 2], "f"), ([0, 1, -3, 2, 0], "l")]],
]
X = np.array([0.0, 1.0, 2.0, 3.5, -1.0, 2.4])
Y, W = numbers((6,), seed=1), numbers((6,), positive=True, seed=2)
FITS = [
    *[Call("polyfit", X, Y, degree) for degree in (0, 1, 2)],
    Call("polyfit", X, numbers((6, 2)), 2),
    Call("polyfit", X, Y, 2, None, False, W),
    Call("polyfit", X, numbers((6, 2)), 1, w=W),
    Call("polyfit", X.astype("f"), Y.astype("f"), 1, smooth=False),
    Call("polyfit", np.array([0, 1, 2, 4]), np.array([1, 3, 2, 7]), 1),
    Call("polyfit", X, numbers((6,), "D"), 1),
    Call(lambda np, x, y, w: np.polyfit(x, y, 2, w=w, full=True)[:2], X, Y, W),
    *[Call("polyfit", X, Y, 1, cov=cov) for cov in (True, "unscaled")],
    Call("polyfit", X, numbers((6, 2)), 1, cov=True),
]

test_value, test_gradient, test_second_order = laws([*ALGEBRA, *ROOTS, *FITS])


def test_roots_move_as_the_equation_says():
    by_p = needle.jacobian(nnp.roots)(np.array([1.0, -3.0, 2.0]))
    assert_allclose(by_p, [[-4, -2, -1], [1, 1, 1]], atol=1e-12)
    second = needle.hessian(lambda p: nnp.roots(p)[0])(np.array([1.0, -3.0, 2.0]))
    assert_allclose(second, second.T)
    lost, kept, nothing = needle.grad(lambda p: nnp.roots(p).sum())(np.array([0.0, 2.0, -4.0]))
    assert_allclose([lost, kept, nothing], [-2, -1, -0.5])


def test_all_that_a_fit_tells():
    c, missed, rank, s, rcond = nnp.polyfit(Tensor(X), Tensor(Y), 2, full=True)
    expected = np.polyfit(X, Y, 2, full=True)
    for got, e in zip((c, missed, s), (expected[0], expected[1], expected[3]), strict=True):
        assert_allclose(got.numpy(), e, rtol=1e-12)
    assert (rank.item(), rcond) == (expected[2], expected[4])


def test_a_fit_of_too_few_points_warns():
    with pytest.warns(np.exceptions.RankWarning, match="polyfit"):
        c = nnp.polyfit(Tensor([0.0, 1.0]), Tensor([1.0, 3.0]), 3)
    assert_allclose(c.numpy(), [2 / 3, 2 / 3, 2 / 3, 1])


def test_values_at_infinity_and_derivatives_at_zero():
    assert nnp.polyval([1.0, 2.0], np.inf).item() == np.inf
    assert_array_equal(needle.grad(lambda x: nnp.vander(x, 4).sum())(np.array([0.0, 1.0])), [1, 6])
    assert_array_equal(needle.hessian(lambda x: nnp.vander(x, 4).sum())(np.array([0.0, 1.0])), [[2, 0], [0, 8]])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: nnp.poly(p.reshape(1, 4)), ValueError, "poly: needs zeros"),
        (lambda p: nnp.roots(p[None]), ValueError, "roots: needs coefficients"),
        (lambda p: needle.roots(p[None]), ValueError, "Roots: needs coefficients"),
        (lambda p: nnp.polyval(p[0], p), ValueError, "polyval: needs a sequence"),
        (lambda p: nnp.polymul(p[None], p), ValueError, "polymul: a polynomial is"),
        (lambda p: nnp.polydiv(p, p[:0]), ValueError, "polydiv: both need a coefficient"),
        (lambda p: nnp.polyder(p, -1), ValueError, "polyder: m, how often"),
        (lambda p: nnp.polyint(p, -1), ValueError, "polyint: m, how often"),
        (lambda p: nnp.polyint(p, 3, [1, 2]), ValueError, "polyint: k must be one number or 3"),
        (lambda p: nnp.vander(p[None]), ValueError, "vander: x must have one dimension"),
        (lambda p: nnp.vander(p, -1), ValueError, "vander: N, the number"),
        (lambda p: nnp.polyfit(p, p, -1), ValueError, "polyfit: the degree"),
        (lambda p: nnp.polyfit(p[:0], p, 1), TypeError, "polyfit: x must"),
        (lambda p: nnp.polyfit(p, p[:2], 1), TypeError, "polyfit: y must have 4"),
        (lambda p: nnp.polyfit(p, p, 1, w=p[:2]), TypeError, "polyfit: w must have"),
        (lambda p: nnp.polyfit(p, p, 3, cov=True), ValueError, "polyfit: covariances for degree 3"),
    ],
)
def test_errors_say_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call(Tensor(P))
