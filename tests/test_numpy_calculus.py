"""Differences, derivatives, integrals, interpolation, convolution and angles, by NumPy's names."""

from __future__ import annotations

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from numpy.testing import assert_allclose, assert_array_equal
from samples.kit import INF, NAN, numbers

S, V, M, T = numbers(()), numbers((5,)), numbers((3, 4)), numbers((2, 3, 4))
E, R = numbers((0,)), numbers((0, 3))
HALF, SINGLE, LONG, COMPLEX = (numbers((5,), code) for code in "eflD")
DTYPES = [HALF, SINGLE, LONG, COMPLEX]
BYTES, BOOLEANS = np.array([3, 250, 7], np.uint8), numbers((4,), bool)
X = np.array([0.2, 1.0, 1.5, 3.0, 3.7])
PLACES = np.array([[-1.0, 0.5, 1.2], [2.9, 3.5, 5.0]])

DIFFERENCES = [
    *[Call("diff", a) for a in [V, M, E, R, *DTYPES, BYTES, BOOLEANS]],
    *[Call("diff", V, n) for n in (0, 1, 2, 6)],
    Call("diff", S, 0),
    *[Call("diff", T, 2, axis) for axis in (0, 1, -1)],
    Call("diff", M, 1, 0, 0.5, numbers((2, 4), seed=1)),
    Call("diff", M, prepend=numbers((3, 1), seed=1), append=2),
    Call("diff", SINGLE, prepend=0),
    *[Call("ediff1d", a) for a in [S, V, M, E, *DTYPES, BYTES]],
    Call("ediff1d", M, 7.0, numbers((2, 2), seed=1)),
    Call("ediff1d", SINGLE, to_end=3),
]
STEPS = numbers((), positive=True)
GRADIENTS = [
    *[Call("gradient", a) for a in [V, M, T, *DTYPES]],
    Call("gradient", S),
    *[Call("gradient", a, edge_order=2) for a in [V, SINGLE, COMPLEX]],
    *[Call("gradient", V, X, edge_order=order) for order in (1, 2)],
    *[Call("gradient", SINGLE, step) for step in (0.5, np.array(0.5), X)],
    Call("gradient", V, STEPS),
    *[Call("gradient", M, 2.0, axis=axis) for axis in (0, -1, (1,), (1, 0), ())],
    Call("gradient", M, STEPS, X[:4]),
    Call("gradient", M, X[:4], 0.5, axis=(1, 0), edge_order=2),
    Call("gradient", LONG, np.array([1, 2, 4, 5, 7])),
]
INTEGRALS = [
    *[Call("trapezoid", a) for a in [V, M, E, R, *DTYPES]],
    Call("trapezoid", V, X),
    Call("trapezoid", M, None, 0.5, 0),
    Call("trapezoid", T, X[:3], axis=1),
    Call("trapezoid", M, numbers((3, 4), seed=1)),
    Call("trapezoid", M, dx=numbers((3, 3), seed=1)),
    Call("trapezoid", SINGLE, X),
]
INTERPOLATIONS = [
    *[Call("interp", a, X, V) for a in (PLACES, PLACES.astype("f"), np.array(1.3), E)],
    Call("interp", PLACES, X, COMPLEX),
    Call("interp", PLACES, X.astype("f"), LONG, left=-1, right=2.5),
    Call("interp", PLACES, X, V, np.array(-1.0), np.array(7.0)),
    Call("interp", PLACES, np.array([1.0]), np.array([2.0])),
    *[Call("interp", PLACES, X[[2, 0, 3, 1, 4]], V, period=period) for period in (4.5, -4.5)],
    Call("interp", np.array([0.2, 1.0, 3.7, NAN]), X, V, smooth=False),
    Call("interp", np.array([0.0, 1.0, 2.0, 2.5]), [0.0, 1.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0], smooth=False),
    Call("interp", np.array([0.5, 1.0, 1.5]), [0.0, 1.0, 2.0], [1.0, INF, 3.0], smooth=False),
]
CONVOLUTIONS = [
    *[
        Call(name, numbers((m,), seed=1), numbers((n,), seed=2), mode)
        for name in ("convolve", "correlate")
        for mode in ("full", "same", "valid")
        for m, n in [(5, 2), (2, 4), (3, 3), (4, 4)]
    ],
    *[Call(name, a, numbers((2,), "f")) for name in ("convolve", "correlate") for a in DTYPES],
    *[Call(name, V, numbers((3,), "D"), "full") for name in ("convolve", "correlate")],
    *[Call(name, V, S) for name in ("convolve",)],
    Call("convolve", BOOLEANS, BOOLEANS),
]
TURNS = np.array([0.3, 4.0, 9.1, 2.0, -5.0])
ANGLES = [
    *[Call("unwrap", a) for a in (TURNS, TURNS.astype("f"), E, np.array([0, 4, 9]))],
    Call("unwrap", TURNS, 4.5),
    Call("unwrap", np.stack([TURNS, 2 * TURNS]), axis=0, period=2.5),
    Call("unwrap", np.array([0, 4, 9]), period=5),
]

test_value, test_gradient, test_second_order = laws(
    [*DIFFERENCES, *GRADIENTS, *INTEGRALS, *INTERPOLATIONS, *CONVOLUTIONS, *ANGLES]
)


def test_interpolation_has_the_slope_at_its_right_and_none_outside():
    slope = needle.elementwise_grad(lambda x: nnp.interp(x, [0.0, 1.0, 3.0], [0.0, 2.0, 3.0]))
    assert_array_equal(slope(np.array([-1.0, 0.0, 0.5, 1.0, 3.0, 4.0])), [0, 2, 2, 0.5, 0.5, 0])
    y = Tensor([5.0, 7.0])
    nnp.interp(1.0, [1.0, 2.0], y).backward()
    assert_array_equal(y.grad.numpy(), [1, 0])


def test_coordinates_of_a_gradient_are_differentiated_by_where_they_are_equally_spaced():
    f, x = np.array([1.0, 4.0, 9.0]), np.array([1.0, 2.0, 3.0])
    by_x = needle.jacobian(lambda x: nnp.gradient(f, x))(x)
    for i in range(3):
        step = np.zeros(3)
        step[i] = 1e-6
        assert_allclose(by_x[:, i], (np.gradient(f, x + step) - np.gradient(f, x - step)) / 2e-6, rtol=1e-6, atol=1e-8)


def test_the_gradient_of_float16_convolutions_is_added_up_in_float32():
    a = Tensor(np.ones(4000, np.float16))
    product = nnp.convolve(a, np.ones(4000, np.float16), "valid")
    assert product.item() == 4000
    product.sum().backward()
    assert_array_equal(a.grad.numpy(), np.ones(4000, np.float16))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: nnp.diff(t, -1), ValueError, "diff: n, how often"),
        (lambda t: nnp.diff(t[0]), ValueError, "diff: a number has no neighbours"),
        (lambda t: nnp.diff(t, axis=1), ValueError, "diff.*axis 1"),
        (lambda t: nnp.ediff1d([1, 2], to_end=t), TypeError, "ediff1d: to_end must fit"),
        (lambda t: nnp.gradient(t, 1, 2), TypeError, "gradient: give no distance"),
        (lambda t: nnp.gradient(t, t[:2]), ValueError, "gradient: coordinates along an axis of length 5"),
        (lambda t: nnp.gradient(t, [[1, 2]]), ValueError, "gradient: distances must be numbers"),
        (lambda t: nnp.gradient(t[:1]), ValueError, "gradient: with edge_order=1, axes need 2 elements"),
        (lambda t: nnp.gradient(t, edge_order=3), ValueError, "gradient: edge_order must be 1 or 2"),
        (lambda t: nnp.gradient(t, axis=(0, 0)), ValueError, "gradient: axis .* twice"),
        (lambda t: nnp.trapezoid(t[0]), ValueError, "trapezoid.*axis -1"),
        (lambda t: nnp.interp(1.0, t, t[:2]), ValueError, "interp: xp and fp must be"),
        (lambda t: nnp.interp(1.0, t[:0], t[:0]), ValueError, "interp: xp and fp must be"),
        (lambda t: nnp.interp(1.0, t, t, period=0), ValueError, "interp: period"),
        (lambda t: nnp.convolve(t, t[:0]), ValueError, "convolve: needs two sequences"),
        (lambda t: nnp.correlate(t[None], t), ValueError, "correlate: needs two sequences"),
        (lambda t: nnp.convolve(t, t, "most"), ValueError, "convolve: mode must be"),
        (lambda t: needle.convolve(t, t[:0]), ValueError, "Convolve: needs two sequences"),
        (lambda t: nnp.unwrap(t[0]), ValueError, "unwrap: a number has no neighbours"),
    ],
)
def test_errors_say_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call(Tensor(V))
