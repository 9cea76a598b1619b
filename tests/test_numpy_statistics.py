"""Sums, products, extrema, moments, covariances and what runs along an axis, by NumPy's names."""

from __future__ import annotations

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from numpy.testing import assert_allclose, assert_array_equal
from samples.kit import INF, NAN, numbers

S, V = numbers(()), numbers((4,))
M, T = numbers((2, 3)), numbers((2, 3, 4))
E, R, C = numbers((0,)), numbers((0, 3)), numbers((3, 0))
HALF, SINGLE, LONG, COMPLEX = (numbers((2, 3), code) for code in "eflD")
SMALL, BOOLEANS = np.array([100, 100, -3], np.int8), numbers((3,), bool)
DTYPES = [HALF, SINGLE, LONG, COMPLEX, SMALL, BOOLEANS]
MASK = np.array([True, False, True])
ZEROS = np.array([[0.0, 2.0, 3.0], [0.0, 5.0, 0.0]])
GAPS = np.array([[1.5, NAN, -2.0], [0.5, 3.0, NAN]])
FULL, PRESENT = numbers((2, 3)), ~np.isnan(GAPS)
GAPS_COMPLEX = np.array([1 + 2j, complex(NAN, 0), 2 - 1j])
WEIGHTS = numbers((3,), positive=True)
COUNTED = {"where": MASK, "initial": 1.5}

REDUCTIONS = [
    *[Call(name, a) for name in ("sum", "prod") for a in [S, V, T, E, *DTYPES]],
    *[Call(name, a) for name in ("max", "min", "ptp", "amax", "amin") for a in [S, V, T, HALF, SINGLE, LONG]],
    *[Call(name, a) for name in ("mean", "var", "std") for a in [V, T, HALF, SINGLE, LONG, COMPLEX, SMALL]],
    *[Call(name, S) for name in ("mean", "var")],
    *[Call(name, S, smooth=False) for name in ("std",)],
    *[
        Call(name, a, axis=axis, keepdims=keepdims)
        for name in ("sum", "prod", "max", "min", "mean", "var", "std", "ptp")
        for a, axis, keepdims in [(M, -1, False), (T, (0, -1), True), (T, 1, False), (R, 1, False)]
    ],
    *[Call(name, M, ()) for name in ("sum", "prod", "max", "mean")],
    *[Call(name, S, 0) for name in ("sum", "prod", "max", "min")],
    *[Call(name, a, 0) for name in ("sum", "prod") for a in (R, C)],
    *[Call(name, M, 1, **COUNTED) for name in ("sum", "prod", "max", "min")],
    *[Call(name, LONG, 1, where=MASK, initial=2.5) for name in ("sum", "prod", "max", "min")],
    *[Call(name, R, 0, initial=3.0) for name in ("sum", "prod", "max", "min")],
    *[Call(name, M, 1, where=np.array([[True], [False]]), initial=-9.0, keepdims=True) for name in ("max", "min")],
    *[Call(name, M, 1, where=MASK) for name in ("sum", "prod", "mean", "var", "std")],
    *[Call(name, a, where=MASK, keepdims=True) for name in ("mean", "var", "std") for a in (HALF, LONG, COMPLEX)],
    *[Call(name, SINGLE, None, "d") for name in ("sum", "prod", "mean")],
    *[Call(name, M, None, "f", smooth=False) for name in ("sum", "prod", "mean")],
    *[Call(name, SMALL, dtype=dtype) for name in ("sum", "prod") for dtype in (np.int8, "f", bool)],
    *[Call(name, SINGLE, dtype="d") for name in ("var", "std")],
    *[Call(name, M, 1, ddof=1) for name in ("var", "std")],
    *[Call(name, M, 0, correction=0.5, keepdims=True) for name in ("var", "std")],
    *[Call(name, M, 1, where=MASK, ddof=1) for name in ("var", "std")],
    *[Call(name, M, 1, mean=numbers((2, 1), seed=1)) for name in ("var", "std")],
    *[Call(name, SINGLE, mean=0.5) for name in ("var", "std")],
    *[Call("prod", ZEROS, axis) for axis in (None, 0, 1, (1, 0))],
    *[Call(name, np.array([1.0, NAN, INF]), smooth=False) for name in ("sum", "prod", "max", "min", "mean")],
]

AVERAGES = [
    *[Call("average", a) for a in [S, V, T, HALF, SINGLE, LONG, COMPLEX]],
    Call("average", M, 1, returned=True, keepdims=True),
    Call("average", M, 1, WEIGHTS),
    Call("average", M, None, numbers((2, 3), positive=True, seed=1), returned=True),
    Call("average", T, (2, 0), numbers((4, 2), positive=True), returned=True, keepdims=True),
    Call("average", SMALL, weights=WEIGHTS.astype("f")),
    Call("average", COMPLEX, -1, weights=WEIGHTS.astype("f")),
]

COVARIANCES = [
    *[Call(name, a) for name in ("cov", "corrcoef") for a in (V, M, SINGLE, COMPLEX)],
    *[Call(name, M.T, rowvar=False) for name in ("cov", "corrcoef")],
    *[Call(name, V, numbers((4,), seed=1)) for name in ("cov", "corrcoef")],
    *[Call(name, M, numbers((3,), "D")) for name in ("cov", "corrcoef")],
    *[Call(name, M, dtype="f", smooth=False) for name in ("cov", "corrcoef")],
    Call("cov", R),
    Call("cov", M, bias=True),
    Call("cov", M, ddof=2),
    Call("cov", M, None, True, False, None, [1, 2, 3]),
    Call("cov", M, aweights=WEIGHTS),
    Call("cov", M, aweights=WEIGHTS, ddof=0),
    Call("cov", M, fweights=[1, 0, 3], aweights=WEIGHTS),
]

CUMULATIVE = [
    *[Call(name, a) for name in ("cumsum", "cumprod") for a in [S, V, M, E, *DTYPES]],
    *[Call(name, T, axis) for name in ("cumsum", "cumprod") for axis in (0, 1, -1)],
    *[Call(name, a, 0) for name in ("cumsum", "cumprod") for a in (S, R, C)],
    *[Call(name, SMALL, dtype=dtype) for name in ("cumsum", "cumprod") for dtype in ("f", np.int8)],
    *[Call("cumprod", ZEROS, axis) for axis in (None, 0, 1)],
    *[
        Call(name, a, axis=axis, include_initial=initial)
        for name in ("cumulative_sum", "cumulative_prod")
        for a, axis in [(S, None), (V, None), (M, 0), (T, -2), (SINGLE, 1), (SMALL, 0), (R, 0)]
        for initial in (False, True)
    ],
    Call("cumulative_sum", SMALL, dtype="f", include_initial=True),
]


def with_gaps(name, *args, **options):
    """A call on an array that has NaN in it, and one on an array in which it is put there, to be differentiated."""
    return [
        Call(f"nan{name}", GAPS, *args, smooth=False, **options),
        Call(lambda np, a: getattr(np, f"nan{name}")(np.where(PRESENT, a, NAN), *args, **options), FULL),
    ]


WITHOUT_NAN = [
    *[Call(f"nan{name}", a) for name in ("sum", "prod") for a in (S, V, E, *DTYPES)],
    *[Call(f"nan{name}", a) for name in ("max", "min") for a in (S, V, SINGLE, LONG)],
    *[Call(f"nan{name}", a) for name in ("mean", "var", "std") for a in (V, HALF, LONG)],
    *[Call(f"nan{name}", a) for name in ("cumsum", "cumprod") for a in (S, SMALL)],
    *[Call(f"nan{name}", GAPS_COMPLEX, smooth=False) for name in ("sum", "prod", "mean", "var", "std", "cumprod")],
    *[
        call
        for names, args, options in [
            ("sum prod max min mean var std cumsum cumprod", (), {}),
            ("sum prod max min mean var cumsum cumprod", (1,), {}),
            ("sum prod max min mean std", (1,), {"keepdims": True}),
            ("sum prod max min", (), {"where": MASK, "initial": 0.7}),
            ("mean var std", (), {"where": np.array([[True], [False]])}),
            ("var std", (1,), {"ddof": 1}),
            ("var std", (), {"mean": np.array([[0.3]]), "correction": 1}),
        ]
        for name in names.split()
        for call in with_gaps(name, *args, **options)
    ],
    *[Call(f"nan{name}", GAPS, None, dtype, smooth=False) for name in ("sum", "prod", "cumsum") for dtype in "fD"],
    *[Call(f"nan{name}", GAPS, None, int, smooth=False) for name in ("sum", "prod")],
]

test_value, test_gradient, test_second_order = laws(
    [*REDUCTIONS, *AVERAGES, *COVARIANCES, *CUMULATIVE, *WITHOUT_NAN],
)


def gradient(f, *arrays):
    leaves = [Tensor(a) for a in arrays]
    f(*leaves).backward()
    grads = [leaf.grad.numpy() for leaf in leaves]
    return grads if len(grads) > 1 else grads[0]


@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (nnp.prod, [0.0, 1.0, 2.0], [2, 0, 0]),
        (nnp.prod, [0.0, 0.0, 2.0], [0, 0, 0]),
        (nnp.prod, [1e-200, 1e-200, 1e200], [1, 1, 0]),
        (lambda a: nnp.cumprod(a).sum(), [0.0, 1.0, 2.0], [4, 0, 0]),
        (lambda a: nnp.prod(a, where=a > 0), [0.0, 3.0, 2.0], [0, 2, 3]),
        (nnp.std, np.ones(4), np.zeros(4)),
        (lambda a: nnp.std(a, where=[True, True, False]), np.array([2.0, 2.0, NAN]), np.zeros(3)),
        (lambda a: nnp.std(a, 1).sum(), [[1.0, 1.0], [1.0, 3.0]], [[0, 0], [-0.5, 0.5]]),
        (nnp.nanstd, [1.0, NAN, 1.0], np.zeros(3)),
        (nnp.max, [1.0, 1.0, 0.0], [0.5, 0.5, 0]),
        (nnp.min, [1.0, 0.0, 0.0], [0, 0.5, 0.5]),
        (nnp.ptp, [2.0, 2.0, 2.0], [0, 0, 0]),
        (lambda a: nnp.max(a, initial=1.0), [1.0, 0.0], [0.5, 0]),
        (lambda a: nnp.max(a, initial=-INF, where=[True, False]), [-3.0, NAN], [1, 0]),
        (nnp.nanmax, [NAN, 2.0, 2.0], [0, 0.5, 0.5]),
        (nnp.nanmin, [NAN, -INF, 2.0], [0, 1, 0]),
        (lambda a: nnp.max(nnp.sqrt(a)), [0.0, 4.0], [0, 0.25]),
        (nnp.nanmean, [NAN, 2.0, 4.0], [0, 0.5, 0.5]),
        (nnp.nansum, [NAN, INF, 4.0], [0, 1, 1]),
    ],
)
def test_gradients_at_the_edges(f, at, expected):
    with np.errstate(divide="ignore"):
        assert_allclose(gradient(f, at), expected, rtol=1e-12)
        _, along = needle.jvp(f, (np.array(at),), (np.ones(np.shape(at)),))
        assert_allclose(along, np.sum(expected), rtol=1e-12)


def test_many_equal_float16_numbers_share_evenly():
    a = np.full(70_000, 3, np.float16)
    for f in (nnp.max, nnp.min, nnp.nanmax):
        g = gradient(f, a)
        assert g.dtype == np.float16
        assert_allclose(g, np.full(70_000, 1 / 70_000), rtol=4e-3)
    assert_allclose(gradient(nnp.mean, a), np.full(70_000, 1 / 70_000), rtol=4e-3)
    assert np.isfinite(gradient(nnp.var, (np.arange(70_000) % 8).astype(np.float16))).all()


def test_second_derivatives_of_products_with_zeros():
    x, y = np.array([0.0, 0.0, 2.0]), np.array([[0.0, 3.0, 0.0, 5.0]])
    assert_array_equal(needle.hessian(nnp.prod)(x), [[0, 2, 0], [2, 0, 0], [0, 0, 0]])
    assert_array_equal(needle.hessian(lambda a: nnp.prod(a, (0, 1)))(y)[0, 0, 0, 2], 15)
    assert_array_equal(needle.jacobian(nnp.cumprod)(x), [[1, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert_array_equal(needle.hessian(lambda a: nnp.cumprod(a)[1])(x), [[0, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_a_mask_hides_what_is_not_a_number():
    for f in (nnp.sum, nnp.prod, nnp.mean, nnp.var):
        g = gradient(lambda a, f=f: f(nnp.sqrt(a), where=a > 0), [0.0, 4.0, 9.0])
        assert np.isfinite(g).all()
        assert g[0] == 0


@pytest.mark.parametrize(("function", "expected"), [(nnp.cumsum, [0.5, 0.5, 0]), (nnp.cumprod, [0.5, 1.0, 0])])
def test_a_branch_that_is_not_taken_stays_so_before_what_runs_along_an_axis(function, expected):
    g = gradient(lambda a: nnp.where([True, True, False], function(nnp.sqrt(a)), 0.0).sum(), [4.0, 1.0, 0.0])
    assert_allclose(g, expected)


def test_initial_and_weights_are_differentiated_by():
    first, _ = gradient(lambda s, a: nnp.sum(a, initial=s), 2.0, V)
    assert first == 1
    first, others = gradient(lambda s, a: nnp.max(a, initial=s), 9.0, V)
    assert (first, others.any()) == (1, False)


@pytest.mark.parametrize("function", [nnp.sum, nnp.max, nnp.mean, nnp.var, nnp.cumsum, nnp.nansum, nnp.nanmedian])
def test_out_is_assigned_to(function):
    a = Tensor(M)
    out = nnp.zeros(function(a).shape)
    assert function(a, out=out) is out
    out.sum().backward()
    assert_array_equal(a.grad.numpy(), gradient(lambda a: function(a).sum(), M))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nnp.var(Tensor([1.0]), ddof=1), "invalid value|Degrees"),
        (lambda: nnp.mean(Tensor(E)), "invalid value"),
        (lambda: nnp.mean(Tensor(V), where=False), "invalid value"),
        (lambda: nnp.nanmean(Tensor([NAN])), "invalid value"),
        (lambda: nnp.nanmax(Tensor([NAN])), "nanmax: All-NaN slice"),
        (lambda: nnp.nanvar(Tensor([NAN, 1.0]), ddof=1), "nanvar: Degrees of freedom <= 0"),
        (lambda: nnp.nanmedian(Tensor([NAN])), "nanmedian: All-NaN slice"),
        (lambda: nnp.cov(Tensor([[1.0], [2.0]])).max(), "cov: Degrees of freedom <= 0"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_nothing_to_count_is_nan_with_a_warning(call, words):
    with pytest.warns(RuntimeWarning, match=words):
        assert np.isnan(call().item())


@pytest.mark.filterwarnings("ignore")
def test_the_variance_of_one_sample_has_a_gradient_of_its_shape():
    g = gradient(lambda a: nnp.var(a, 1, ddof=1).sum(), np.ones((3, 1)))
    assert g.shape == (3, 1)
    assert np.isnan(g).all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: nnp.sum(t, 2), ValueError, "sum.*axis 2 does not exist"),
        (lambda t: nnp.mean(t, (0, 0)), ValueError, "mean.*twice"),
        (lambda t: nnp.max(t[:0], 0), ValueError, "no elements have no maximum"),
        (lambda t: nnp.min(t, where=MASK), ValueError, "min: with where=, give initial="),
        (lambda t: nnp.sum(t, where=np.ones((2, 2), bool)), ValueError, "sum: where= must broadcast"),
        (lambda t: nnp.std(t, ddof=1, correction=1), ValueError, "std: ddof and correction"),
        (lambda t: nnp.average(t, weights=[1, 2, 3]), TypeError, "average: .* give axis="),
        (lambda t: nnp.average(t, 0, weights=[1, 2, 3]), ValueError, "average: weights must have the shape"),
        (lambda t: nnp.average(t, 0, weights=[1, -1]), ZeroDivisionError, "average: the weights add up to 0"),
        (nnp.cumulative_sum, ValueError, "cumulative_sum: .* name one"),
        (lambda t: nnp.cumsum(t, 5), ValueError, "cumsum.*axis 5"),
        (lambda t: nnp.cov(t[None]), ValueError, "cov: needs one or two dimensions"),
        (lambda t: nnp.cov(t, ddof=0.5), ValueError, "cov: ddof"),
        (lambda t: nnp.cov(t, fweights=[1]), ValueError, "cov: fweights must have one number"),
        (lambda t: nnp.cov(t, aweights=[1, 2, -1]), ValueError, "cov: aweights must not be negative"),
        (lambda t: nnp.cov(t, fweights=[1, 2, 0.5]), TypeError, "cov: fweights count"),
    ],
)
def test_errors_say_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call(Tensor(M))
