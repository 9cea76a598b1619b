"""Predicates, counts, dtypes and the Array API's information by NumPy's names."""

from __future__ import annotations

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from samples.kit import NAN, numbers

S, V, M, T = numbers(()), numbers((3,)), numbers((2, 3)), numbers((2, 3, 4))
SINGLE, LONG, COMPLEX, BOOLS = numbers((2, 3), "f"), numbers((2, 3), "l"), numbers((2, 3), "D"), M > 0
E, R = numbers((0,)), numbers((0, 3))
PLACES = np.array([0, 2, 2, 5])

LOGIC = [
    *[Call(name, a) for name in ("all", "any") for a in [S, E, R, M, LONG, COMPLEX, BOOLS]],
    *[Call(name, BOOLS, axis=1, keepdims=True) for name in ("all", "any")],
    *[Call(name, BOOLS, (0, 1), where=~BOOLS) for name in ("all", "any")],
    Call("allclose", M, M + 1e-9),
    Call("allclose", M, V),
    Call("allclose", [1.0, NAN], [1.0, NAN], equal_nan=True),
    Call("allclose", M, M + 0.1, 0.0, 0.2),
    Call("array_equal", M, M),
    Call("array_equal", M, V),
    Call("array_equal", [NAN], [NAN], equal_nan=True),
    Call("array_equiv", [[1, 2], [1, 2]], [1, 2]),
    Call("array_equiv", M, S),
]

KINDS = [
    *[Call(name, a) for name in ("shape", "ndim", "size", "iterable", "isfortran") for a in [S, V, T, R]],
    Call("shape", [[1, 2]]),
    Call("size", T, 1),
    Call("size", T, (0, -1)),
    *[Call("isscalar", a) for a in [3, M, "text"]],
    Call("iterable", 3),
    Call("result_type", M, SINGLE),
    Call("result_type", SINGLE, 2.5, "i1"),
    Call("can_cast", SINGLE, "d"),
    Call("can_cast", "d", "f", "same_kind"),
    Call("promote_types", "f", "i4"),
    Call("min_scalar_type", SINGLE),
    Call("min_scalar_type", 300),
    Call("common_type", SINGLE, LONG),
    Call("common_type", SINGLE, COMPLEX),
    Call("mintypecode", ["f", "D"]),
    Call("issubdtype", "f", np.floating),
    Call("isdtype", np.dtype("f"), ("integral", "real floating")),
    Call("broadcast_shapes", (2, 1), (3,)),
    Call(lambda np: float(np.finfo("f").eps)),
    Call(lambda np: np.iinfo("i4").max),
]

HISTOGRAMS = [
    Call("bincount", PLACES),
    Call("bincount", PLACES, minlength=8),
    Call("bincount", PLACES, numbers((4,))),
    Call("bincount", PLACES, weights=numbers((4,), "f"), minlength=2),
    Call("bincount", PLACES, [1, 2, 3, 4]),
    Call("bincount", []),
    Call("histogram", T),
    Call("histogram", T, 4, (-1.0, 1.0)),
    Call("histogram", T, [-2.0, -1, 0.5, 2], density=True),
    Call("histogram", T, 5, weights=np.abs(T)),
    Call("histogram", T, [-2.0, -1, 0.5, 2], density=True, weights=np.abs(T)),
    Call("histogram", LONG, [1, 2, 6], weights=np.abs(SINGLE)),
    Call("histogram", LONG, 3, weights=COMPLEX),
    Call("histogram", LONG, 3, weights=LONG),
    Call("histogram", E),
    Call("histogram", E, weights=E),
    Call("histogram", T, "sturges"),
    Call("histogram_bin_edges", T, 5),
    Call("histogram_bin_edges", T, "fd", (-1, 1)),
    Call("histogram_bin_edges", T, [1, 2, 3]),
    Call("histogram2d", V, 2 * V, 3),
    Call("histogram2d", V, 2 * V, [2, 3], [[-2, 2], [-3, 3]]),
    Call("histogram2d", V, 2 * V, [-2.0, -1, 0, 2]),
    Call("histogram2d", V, 2 * V, [[-2.0, 0, 2], 4], density=True, weights=np.abs(V)),
    Call("histogramdd", numbers((5, 3)), 2),
    Call("histogramdd", numbers((5, 3)), (2, 3, [-2.0, 0, 2]), density=True),
    Call("histogramdd", [V, V], 2, weights=V),
    Call("histogramdd", numbers((5, 2)), 2, density=True, weights=numbers((5,), positive=True)),
    Call("histogramdd", numbers((5, 2)), 2, ((-1, 1), (0, 1)), None, numbers((5,))),
]
WEIGHTED = [  # by the weights: the places are constants, whose jumps are nobody's derivative
    Call(lambda np, w: np.bincount(PLACES, w), numbers((4,))),
    Call(lambda np, w: np.bincount(PLACES, w, 9), numbers((4,))),
    Call(lambda np, w: np.histogram(T, 5, (-1, 1), weights=w)[0], numbers((2, 3, 4), seed=1)),
    Call(lambda np, w: np.histogram(T, 5, density=True, weights=w)[0], numbers((2, 3, 4), positive=True, seed=1)),
    Call(lambda np, w: np.histogram2d(V, V, 2, weights=w)[0], V),
    Call(lambda np, w: np.histogramdd([V, V], 2, density=True, weights=w)[0], numbers((3,), positive=True)),
]

test_logic, _, _ = laws(LOGIC)
test_kinds, _, _ = laws(KINDS)
test_histograms, _, _ = laws(HISTOGRAMS)
test_weighted, test_gradient_of_weighted, test_second_order_of_weighted = laws(WEIGHTED)


def test_values_beside_the_bins():
    a = np.array([-0.1, 0.0, 0.3, 1.0, 1.1, NAN, 0.3])
    w = np.arange(7.0)
    for bins in ([0, 0.3, 1.0], 3):
        got, _ = nnp.histogram(a, bins, (0, 1), weights=Tensor(w))
        np.testing.assert_array_equal(got.numpy(), np.histogram(a, bins, (0, 1), weights=w)[0])


def test_memory():
    t = Tensor(M)
    assert nnp.shares_memory(t, t.detach())
    assert nnp.may_share_memory(t, t[0])
    assert not nnp.shares_memory(t, nnp.copy(t))
    assert not nnp.isscalar(t)


ARRAY_API = (
    "abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan atan2 atanh "
    "bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor bool "
    "broadcast_arrays broadcast_shapes broadcast_to can_cast ceil clip complex128 complex64 concat conj "
    "copysign cos cosh count_nonzero cumulative_prod cumulative_sum diff divide e empty empty_like equal exp "
    "expand_dims expm1 eye finfo flip float32 float64 floor floor_divide from_dlpack full full_like greater "
    "greater_equal hypot iinfo imag inf int16 int32 int64 int8 isdtype isfinite isin isinf isnan less "
    "less_equal linspace log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul "
    "matrix_transpose max maximum mean meshgrid min minimum moveaxis multiply nan negative newaxis nextafter "
    "nonzero not_equal ones ones_like permute_dims pi positive pow prod real reciprocal remainder repeat "
    "reshape result_type roll round searchsorted sign signbit sin sinh sort sqrt square squeeze stack std "
    "subtract sum take take_along_axis tan tanh tensordot tile tril triu trunc uint16 uint32 uint64 uint8 "
    "unique_all unique_counts unique_inverse unique_values unstack var vecdot where zeros zeros_like "
)


def test_the_namespace_is_the_standards():
    assert nnp.__array_api_version__ == "2025.12"
    missing = [name for name in ARRAY_API.split() if not hasattr(nnp, name)]
    assert not missing


def test_what_the_namespace_says_of_itself():
    info = nnp.__array_namespace_info__()
    assert info.capabilities()["data-dependent shapes"]
    assert info.default_device() == needle.cpu()
    assert list(info.devices()) == [needle.cpu()]
    assert info.default_dtypes()["real floating"] == nnp.zeros(1).dtype
    assert info.default_dtypes(device="cpu")["indexing"] == nnp.argsort([1.0]).dtype
    assert set(info.dtypes(kind="complex floating")) == {"complex64", "complex128"}
    assert set(info.dtypes(kind=("bool", "signed integer"))) == {"bool", "int8", "int16", "int32", "int64"}
    assert len(info.dtypes()) == 13
    with pytest.raises(ValueError, match="all_devices"):
        info.dtypes(device="gpu")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: nnp.bincount([-1]), ValueError, "bincount"),
        (lambda t: nnp.bincount([0.5]), TypeError, "bincount"),
        (lambda t: nnp.bincount([0, 1], t), ValueError, "shape of x"),
        (lambda t: nnp.histogram(V, weights=t), ValueError, "shape of a"),
        (lambda t: nnp.histogramdd(M, weights=V), ValueError, "2 points"),
        (lambda t: nnp.histogram2d(V, V[:2]), ValueError, "one length"),
        (lambda t: nnp.all(t, 5), ValueError, "all"),
        (lambda t: nnp.size(t, 5), ValueError, "size: axis 5"),
    ],
)
def test_errors_say_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call(Tensor(M))


def test_numpys_assertions_on_tensors():
    assert_ = nnp.testing
    t, near = Tensor(M), Tensor(M + 1e-9)
    for equal in (assert_.assert_equal, assert_.assert_array_equal, assert_.assert_array_max_ulp):
        equal(t, M)
        with pytest.raises(AssertionError):
            equal(M, near)
    for close in (assert_.assert_allclose, assert_.assert_almost_equal, assert_.assert_array_almost_equal):
        close(t, near)
        with pytest.raises(AssertionError):
            close(actual=t, desired=2 * t)
    assert_.assert_array_less(t, t + 1)
    assert_.assert_approx_equal(t[0, 0], M[0, 0])
    assert_.assert_equal({"a": [t, (1, "b")]}, {"a": [M, (1, "b")]})
    needle.grad(lambda x: [assert_.assert_allclose(x, M), x.sum()][1])(M)
    with assert_.assert_raises(ZeroDivisionError):
        _ = 1 / 0
    assert assert_.suppress_warnings is np.testing.suppress_warnings


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (((4, -1),), r"takes a dtype, as NumPy's does, got \(4, -1\); write t\.reshape\(shape\)"),
        ((4, -1), r"takes a dtype, as NumPy's does, got 4; write t\.reshape"),
        (("float32",), r"dtype must be float64.*write t\.astype"),
        ((np.matrix,), r"type must be np\.ndarray.*t\.numpy\(\)\.view\(matrix\)"),
    ],
)
def test_a_view_of_other_bits_or_shape_is_refused_with_the_fix(given, says):
    t = Tensor(np.ones((2, 4)))
    assert t.view().shape == t.view("float64").shape == t.view(np.ndarray).shape == (2, 4)
    with pytest.raises(TypeError, match=says):
        t.view(*given)
