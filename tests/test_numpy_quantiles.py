"""Medians, quantiles and percentiles, by NumPy's names."""

from __future__ import annotations

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from needle.numpy.quantiles import METHODS
from numpy.testing import assert_allclose, assert_array_equal
from samples.kit import INF, NAN, numbers


def spread(*shape):
    """Numbers far enough from each other that small steps leave them in order."""
    rng = np.random.default_rng(1)
    return rng.permutation(np.arange(np.prod(shape, dtype=int)) + rng.uniform(0.3, 0.7)).reshape(shape)


S, V, T, M = spread(), spread(7), spread(2, 3, 4), spread(3, 5)
DTYPES = [numbers((2, 3), code) for code in "efl"]
GAPS = np.array([[1.5, NAN, -2.0, 4.0], [0.5, 3.0, NAN, NAN], [NAN, 1.0, 2.0, 3.0]])
Q = np.array([[0.055, 0.445], [0.555, 0.945]])  # far from where a method takes to the next of 5 elements
COUNTS = np.array([2.0, 0.0, 1.0, 3.0, 1.0])


def with_gaps(name, *args, **options):
    """A call on an array that has NaN in it, and one on an array in which it is put there, to be differentiated."""
    gaps = np.isnan(GAPS)
    return [
        Call(name, GAPS, *args, smooth=False, **options),
        Call(lambda np, a: getattr(np, name)(np.where(gaps, NAN, a), *args, **options), spread(*GAPS.shape)),
    ]


MEDIANS = [
    *[Call(name, a) for name in ("median", "nanmedian") for a in [S, V, M, T, *DTYPES, numbers((3,), "D")]],
    *[Call(name, numbers((3,), bool)) for name in ("median", "nanmedian")],
    *[Call(name, T, axis) for name in ("median", "nanmedian") for axis in (0, -1, (0, 2), (2, 1), ())],
    *[Call(name, T, axis=(-1, 0), keepdims=True) for name in ("median", "nanmedian")],
    *[Call(name, numbers((0, 3)), 1) for name in ("median", "nanmedian")],
    *[call for axis in (None, 0, 1) for call in with_gaps("nanmedian", axis, keepdims=True)],
    Call("median", GAPS, 1, smooth=False),
    Call("median", np.array([INF, INF, 1.0, INF]), smooth=False),
]
QUANTILES = [
    *[Call(name, a, 0.37) for name in ("quantile", "nanquantile") for a in [S, V, M, T, *DTYPES]],
    *[Call(name, V, q, smooth=False) for name in ("quantile", "nanquantile") for q in (0, 1, 0.0, 1.0, [0, 1], [])],
    *[Call(name, DTYPES[1], q) for name in ("quantile", "nanquantile") for q in (0.3, [0.3], np.array([0.3], "f"))],
    *[Call("quantile", T, list(Q[0]), axis, keepdims=True) for axis in (None, 0, (0, -1), (1, 2))],
    *[Call(name, M, Q, 1, method=method) for name in ("quantile", "nanquantile") for method in METHODS],
    *[Call("quantile", DTYPES[2], 0.4, method=method) for method in METHODS],
    *[call for axis in (None, 0, 1) for call in with_gaps("nanquantile", [0.2, 0.7], axis)],
    *[call for method in METHODS for call in with_gaps("nanquantile", 0.4, 1, method=method)],
    Call("quantile", GAPS, 0.3, 1, smooth=False),
    *[Call(name, V, 37.0) for name in ("percentile", "nanpercentile")],
    *[Call(name, DTYPES[1], 25) for name in ("percentile", "nanpercentile")],
    *[Call(name, M, 100 * Q, 0, method="weibull") for name in ("percentile", "nanpercentile")],
]
WEIGHTED = [
    Call("quantile", M, [0.0, 0.4, 1.0], 1, weights=list(COUNTS), method="inverted_cdf"),
    Call("quantile", M, 0.4, weights=list(map(list, numbers(M.shape, positive=True))), method="inverted_cdf"),
    Call("quantile", T, 0.6, (0, 2), weights=[[1, 2, 3, 4], [4, 3, 2, 1]], method="inverted_cdf"),
    Call("percentile", M, 40, 1, weights=[2, 0, 1, 3, 1], method="inverted_cdf"),
    *with_gaps("nanquantile", [0.2, 0.7], 1, weights=[[1, 2, 1, 0.5]] * 3, method="inverted_cdf"),
]

test_value, test_gradient, test_second_order = laws([*MEDIANS, *QUANTILES, *WEIGHTED])


def gradient(f, at):
    t = Tensor(at)
    f(t).backward()
    return t.grad.numpy()


def test_the_gradient_belongs_to_the_chosen_elements():
    assert_array_equal(gradient(nnp.median, [3.0, 1.0, 2.0]), [0, 0, 1])
    assert_array_equal(gradient(nnp.median, [3.0, 1.0, 2.0, 0.0]), [0, 0.5, 0.5, 0])
    assert_array_equal(gradient(nnp.median, [1.0, 1.0]), [0.5, 0.5])
    assert_array_equal(gradient(nnp.nanmedian, [NAN, 1.0, 3.0]), [0, 0.5, 0.5])
    assert_allclose(gradient(lambda a: nnp.quantile(a, 0.75), [0.0, 1.0, 3.0]), [0, 0.5, 0.5])
    assert_allclose(gradient(lambda q: nnp.quantile([0.0, 1.0, 3.0], q), 0.75), 4)
    assert_allclose(gradient(lambda q: nnp.percentile([0.0, 1.0, 3.0], q), 75.0), 0.04)
    assert gradient(lambda q: nnp.quantile([0.0, 1.0, 3.0], q, method="nearest") * q, 0.7) == 1


def test_a_quantile_of_what_has_an_infinite_slope_elsewhere():
    assert_array_equal(gradient(lambda a: nnp.median(nnp.sqrt(a)), [0.0, 1.0, 4.0]), [0, 0.5, 0])


def test_jacobian_of_medians():
    jacobian = needle.jacobian(lambda a: nnp.median(a, 1))(M)
    assert_array_equal(jacobian.sum((1, 2)), np.ones(3))
    assert np.count_nonzero(jacobian) == 3


@pytest.mark.filterwarnings("ignore")
def test_medians_of_nothing_are_nan():
    for f in (nnp.median, nnp.nanmedian, lambda a, axis: nnp.nanquantile(a, [0.1, 0.2], axis)):
        with pytest.warns(RuntimeWarning):
            assert np.isnan(f(Tensor(np.ones((3, 0))), 1).numpy()).all()
    t = Tensor([[NAN, NAN], [1.0, 2.0]])
    with pytest.warns(RuntimeWarning, match="nanmedian: All-NaN slice"):
        assert_array_equal(nnp.nanmedian(t, 1).numpy(), [NAN, 1.5])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: nnp.quantile(t, 1.1), ValueError, "quantile: q must lie between 0 and 1"),
        (lambda t: nnp.quantile(t, NAN), ValueError, "quantile: q must lie between 0 and 1"),
        (lambda t: nnp.percentile(t, 101), ValueError, "percentile: q must lie between 0 and 100"),
        (lambda t: nnp.quantile(t, 0.5, method="middle"), ValueError, "quantile: method must be one of inverted_cdf, "),
        (lambda t: nnp.quantile(t, 0.5, weights=t), ValueError, "Only method .inverted_cdf. supports weights"),
        (lambda t: nnp.quantile(t * 1j, 0.5), TypeError, "quantile: complex numbers have no order"),
        (lambda t: nnp.quantile(t, 0.5, 3), ValueError, "quantile.*axis 3"),
        (
            lambda t: nnp.quantile(t, 0.5, weights=-t * t, method="inverted_cdf"),
            ValueError,
            "quantile: Weights must be non-negative",
        ),
        (
            lambda t: nnp.quantile(t, 0.5, weights=0 * t, method="inverted_cdf"),
            ValueError,
            "quantile: Weights included NaN, inf",
        ),
        (
            lambda t: nnp.quantile(t, 0.5, weights=[1, 2], method="inverted_cdf"),
            TypeError,
            "quantile: weights of another shape",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call(Tensor(M))
