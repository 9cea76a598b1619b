"""What NumPy writes in brackets: r_, c_, mgrid, ogrid; and polynomials as objects."""

from __future__ import annotations

from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from numpy.testing import assert_array_equal
from samples.kit import numbers

V, W, S = numbers((3,)), numbers((3,), seed=1), numbers((), positive=True)
M, N = numbers((2, 3)), numbers((2, 3), seed=1)
SINGLE, LONG = numbers((3,), "f"), numbers((3,), "l")


def bracket(name: str, *key: Any, **options: Any) -> Call:
    """A program that gives what is in brackets, with Tensors in place of the arrays."""
    return Call(lambda np, *key: getattr(np, name)[key], *key, **options)


ROWS = [
    (V,),
    (V, 0, W),
    (V, S),
    (V, [1.0, 2.0], slice(1, 5)),
    (slice(0, 1, 3j), V, slice(5), slice(5, 0, -2)),
    (SINGLE, 1, 2.5),
    (SINGLE, LONG),
    (SINGLE, np.array(2)),
    (np.float64(2), SINGLE),
    (1, True),
    ([1, 2], [3]),
    (numbers((0,)), V),
    ("0,2", V, W),
    ("0,2,0", V, W),
    ("0,3,1", V, W),
    ("-1,2,0", V, W),
    ("1,2", M, N),
    ("-1", M, N),
    (M, N),
]
COLUMNS = [
    (V,),
    (V, W, [1, 2, 3], slice(0, 3)),
    (SINGLE, LONG),
    (S, 1),
    (M, N),
    (M, np.array([7, 8])),
    ("0,2", V, W),
    ("1,3,0", V, W),
]
GRIDS = [
    (slice(0, 3), slice(2)),
    (slice(0, 1, 3j), slice(0, 2)),
    (slice(0, 1, 0.25), slice(-1, 1, 2j), slice(1, 8, 3)),
    (slice(0, 1, np.float32(0.5)), slice(0, 3)),
    (slice(np.float32(0), np.float32(1), 3j), slice(0, 2)),
    (slice(0, 0), slice(0, 2)),
    (slice(0, 3),),
]
TABLE = [
    *[bracket("r_", *key) for key in ROWS],
    *[bracket("c_", *key) for key in COLUMNS],
    *[bracket(name, *key) for name in ("mgrid", "ogrid") for key in GRIDS],
    *[Call(lambda np, key=key: np.mgrid[key]) for key in [slice(3), slice(0, 1, 4j), slice(0.5, 3)]],
    Call(lambda np, a, b: np.r_[a[0] : 3 : 4j, b, a[0] : b[0] : 0.75], np.array([0.5]), np.array([2.9, 1.0])),
    Call(lambda np, a: np.c_[a[0] : a[1] : 3j, a], np.array([0.5, 2.9, 1.0])),
    Call(lambda np, a: np.mgrid[a[0] : a[1] : 3j, 0:2, a[0] : 3 : a[1]], np.array([0.5, 1.4])),
    Call(lambda np, a: np.ogrid[a[0] : a[1] : 3j, 0:2], np.array([0.5, 1.4])),
]
POLYNOMIALS = [
    Call(lambda np, p, x: np.poly1d(p)(x), V, M),
    Call(lambda np, p, x: np.poly1d(p, r=True)(x), V, M),
    Call(lambda np, p, q: np.poly1d(p)(np.poly1d(q)).c, V, W[:2]),
    Call(lambda np, p, q: np.polyval(p, np.poly1d(q)).c, V, W[:2]),
    Call(lambda np, p, q: (np.poly1d(p) * np.poly1d(q) + np.poly1d(p) ** 2 - 3).c, V, W[:2]),
    Call(lambda np, p: (-2 * np.poly1d(p).deriv()).c, V),
    Call(lambda np, p: np.poly1d(p).integ(2, k=[1.0, 2.0]).c, V),
    Call(lambda np, p: np.poly1d(p).r, np.array([1.0, -3.5, 1.5])),
    Call(lambda np, p: np.poly1d([p[0], 0.0, p[1]])(2.0), V),
]

test_notation, test_gradient_of_notation, test_second_order_of_notation = laws(TABLE)
test_polynomials, test_gradient_of_polynomials, test_second_order_of_polynomials = laws(POLYNOMIALS)


def test_polynomials_of_tensors_in_numpy():
    p = Tensor(V)
    for q in (np.poly1d(p), nnp.poly1d(np.poly1d(p)), nnp.poly1d(list(p))):
        assert_array_equal(needle.vjp(lambda x, q=q: q(x), 2.0)[0], np.polyval(V, 2.0))
        assert_array_equal(q.c.numpy(), V)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: nnp.mgrid[3], TypeError, "0:5:3j"),
        (lambda t: nnp.ogrid[0:1, t], TypeError, "0:5:3j"),
        (lambda t: nnp.r_[t, nnp.ones((2, 2))], ValueError, "dimensions"),
        (lambda t: nnp.r_["x", t], ValueError, "directive"),
        (lambda t: nnp.r_[()], ValueError, "at least one"),
    ],
)
def test_errors_say_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call(Tensor(V))
