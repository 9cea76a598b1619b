"""NumPy's functions of elements: values and dtypes as NumPy's for every dtype, derivatives, and their corners."""

from __future__ import annotations

import itertools
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from needle.numpy.ufuncs import ufunc
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

INF, NAN = np.inf, np.nan
A = np.array([[-1.7, 0.4, 1.3], [0.9, -0.6, 2.2]])
B = np.array([0.7, -1.2, 0.5])
INSIDE, ABOVE = np.array([[-0.9, 0.1], [0.5, -0.3]]), np.array([1.1, 2.5, 30.0])
POSITIVE = np.array([0.2, 1.0, 7.0])
Z = np.array([[0.4 + 0.3j, -1.2 + 0.7j, 0.2 - 2.1j], [-0.6 - 0.5j, 1.9 - 0.2j, 0.1 + 1.4j]])
SPECIAL = np.array([-INF, -2.5, -0.0, 0.0, 1.0, INF, NAN])
WHOLE = np.array([6, -4, 3])

# ---------------------------------------------------------------------------------------------- values and derivatives

EVERYWHERE = "exp exp2 expm1 sin cos arctan sinh cosh tanh arcsinh square sinc negative positive conjugate"
REAL = "cbrt degrees rad2deg radians deg2rad fabs i0"
ROUNDING = "floor ceil trunc rint fix sign spacing"
PREDICATES = "isfinite isinf isnan signbit logical_not isposinf isneginf isreal iscomplex iscomplexobj isrealobj"
COMPLEX_PREDICATES = "isfinite isinf isnan isreal iscomplex iscomplexobj isrealobj rint"
PAIRS = "add subtract multiply divide hypot arctan2 maximum minimum fmax fmin logaddexp logaddexp2 copysign"
STEPS_OF_TWO = "remainder fmod floor_divide divmod heaviside nextafter"
COMPARISONS = "equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor isclose"

TABLE = [
    *[Call(name, a) for name in EVERYWHERE.split() for a in (A, Z, A.astype("f"), np.array(0.3))],
    *[
        Call(name, a)
        for name in ["cbrt", "degrees", "rad2deg", "radians", "deg2rad", "fabs", "i0"]
        for a in (A, A.astype("f"))
    ],
    *[Call(name, a) for name in ["log", "log2", "log10", "log1p", "sqrt"] for a in (POSITIVE, Z)],
    *[Call(name, a) for name in ["tan", "arcsin", "arccos", "arctanh"] for a in (INSIDE, Z)],
    *[Call("arccosh", a) for a in (ABOVE, Z)],
    *[Call(name, a) for name in ["absolute", "reciprocal", "real", "imag", "angle"] for a in (A, Z)],
    Call("sign", Z),
    Call("angle", Z, deg=True),
    Call("angle", Z, True),
    *[Call(name, A) for name in ROUNDING.split()],
    *[Call(name, SPECIAL, smooth=False) for name in f"{ROUNDING} {EVERYWHERE} cbrt fabs absolute".split()],
    *[Call(name, SPECIAL, smooth=False) for name in PREDICATES.split()],
    *[
        Call(name, Z, smooth=False)
        for name in ["isfinite", "isinf", "isnan", "isreal", "iscomplex", "iscomplexobj", "isrealobj", "rint"]
    ],
    *[Call(name, A, decimals, smooth=False) for name in ("round", "around") for decimals in (0, 1, -1)],
    Call("round", Z * 10, decimals=1, smooth=False),
    Call("round", np.array([15, 25, -15]), -1, smooth=False),
    *[Call(name, a, b) for name in PAIRS.split() for a, b in [(A, B), (A[:, :1], B), (0.3, A), (A.astype("f"), 2)]],
    *[Call(name, A, b) for name in ["remainder", "fmod", "heaviside", "nextafter"] for b in (B, A + 0.123)],
    *[Call(name, A, B, smooth=False) for name in f"{STEPS_OF_TWO} {COMPARISONS}".split()],
    *[Call(name, A, A, smooth=False) for name in f"{PAIRS} {COMPARISONS}".split()],
    *[Call(name, SPECIAL, SPECIAL[::-1], smooth=False) for name in f"{PAIRS} {COMPARISONS}".split()],
    *[Call(name, POSITIVE, b) for name in ("power", "float_power") for b in (B, 2, -1, 0.5, 3.0)],
    *[Call(name, 2, B) for name in ("power", "float_power")],
    Call("float_power", Z[0], 2),
    Call("float_power", POSITIVE, 1j),
    Call("float_power", POSITIVE.astype("f"), B.astype("f"), smooth=False),
    Call("float_power", WHOLE, -2, smooth=False),
    Call("ldexp", A, np.array([3, 0, -2]), smooth=False),
    Call("ldexp", A, 3),
    Call("frexp", A, smooth=False),
    Call("frexp", SPECIAL[1:], smooth=False),
    Call(lambda np, a: np.frexp(a)[0], A),
    Call("modf", A),
    Call("modf", SPECIAL, smooth=False),
    *[Call(name, WHOLE, np.array([4, 3, 9]), smooth=False) for name in ("gcd", "lcm")],
    Call("bitwise_count", WHOLE, smooth=False),
    Call("clip", A, -1, 1),
    Call("clip", A, a_min=-1.0, a_max=None),
    Call("clip", A, None, B),
    Call("clip", A, B - 1, B + 1),
    Call("clip", A, min=-0.5),
    Call("clip", A, min=B - 1, max=1.5),
    Call("clip", A),
    Call("clip", WHOLE, 0, 300, smooth=False),
    Call("clip", np.array([1, 200], np.uint8), -5, 300, smooth=False),
    Call("clip", SPECIAL, -1, 1, smooth=False),
    Call("clip", B, 1, -1, smooth=False),
    Call("nan_to_num", A),
    Call("nan_to_num", Z),
    Call("nan_to_num", SPECIAL, smooth=False),
    Call("nan_to_num", SPECIAL, nan=1.5, posinf=7, neginf=-INF, smooth=False),
    Call("nan_to_num", np.array([complex(NAN, 1), complex(-2, INF), 3j]), posinf=INF, smooth=False),
    Call("nan_to_num", np.array([complex(NAN, 1), complex(-2, INF), 3j]), nan=np.array([1.0, 2.0, 3.0]), smooth=False),
    Call("nan_to_num", WHOLE, smooth=False),
    Call("real_if_close", Z),
    Call("real_if_close", A + 1e-15j, smooth=False),
    Call("real_if_close", A + 1e-15j, tol=1e-16, smooth=False),
    Call("real_if_close", A),
    Call("isclose", np.array([1.0, INF, NAN]), np.array([1.0 + 1e-6, INF, NAN]), equal_nan=True, smooth=False),
    Call("isclose", np.array([1.0, 2.0]), 1.1, rtol=0.2, atol=0.0, smooth=False),
]

test_value, test_gradient, test_second_order = laws(TABLE)

NAMES = [name for name in dir(np) if isinstance(getattr(np, name), np.ufunc)]
MINE = [name for name in NAMES if name in vars(nnp.elementwise)]


def test_every_ufunc_of_numpy_is_there():
    products = {"matmul", "matvec", "vecdot", "vecmat"}
    assert set(NAMES) - set(MINE) == products
    assert [name for name in MINE if not isinstance(getattr(nnp, name), ufunc)] == []
    assert [name for name in MINE if getattr(nnp, name).of is not getattr(np, name)] == []
    assert [name for name in MINE if not getattr(nnp, name).__doc__] == []


def made_by(function: Any, *args: Any) -> Any:
    """The results as arrays; the exception, where it is none of a wrong type or a number out of range."""
    try:
        with np.errstate(all="ignore"):
            results = function(*args)
    except (TypeError, ValueError, OverflowError):
        return "refused"
    results = results if isinstance(results, tuple) else (results,)
    return [np.asarray(r.numpy() if isinstance(r, Tensor) else r) for r in results]


@pytest.mark.parametrize("name", MINE)
def test_dtypes_are_numpys(name):
    """For arrays of all dtypes, alone and in pairs, and beside numbers of all kinds."""
    of, function = getattr(np, name), getattr(nnp, name)
    samples = {code: np.array([1, 0, 2]).astype(code) for code in "?bBhHiIlLefdgFD"}
    calls: list[tuple[Any, ...]] = list(itertools.product(samples.values(), repeat=of.nin))
    scalars = [True, 2, -1, 300, 2.5, 1j, np.float32(2), np.float64(1.5), np.int8(3)]
    if of.nin == 2:
        calls += [pair for a in samples.values() for s in scalars for pair in ((a, s), (s, a))]
    for args in calls:
        given = [type(a) is int for a in args]
        if (name == "subtract" and given[-1] and args[-1] < 0) or (name == "ldexp" and given[0]):
            continue  # t - -1 is computed as t + 1; NumPy's ldexp(2, e) is in float16
        expected = made_by(of, *args)
        got = made_by(function, *[Tensor(a) if isinstance(a, np.ndarray) else a for a in args])
        assert (got == "refused") == (expected == "refused"), args
        for y, e in zip(got, expected, strict=True):
            if expected != "refused":
                assert (y.shape, y.dtype) == (e.shape, e.dtype), args
                digits = np.finfo(e.dtype).eps if e.dtype.kind in "fc" else 0
                assert_allclose(y, e, rtol=16 * digits, atol=4 * digits)


# ---------------------------------------------------------------------------------------------------- corners and ends

CORNERS = [
    ("absolute", 0.0, 0, 0),
    ("fabs", 0.0, 0, 0),
    ("exp2", 0.0, np.log(2), np.log(2) ** 2),
    ("expm1", -100.0, np.exp(-100), np.exp(-100)),
    ("log1p", 1e-300, 1, -1),
    ("arctan", 1e200, 0, 0),
    ("arctan", INF, 0, 0),
    ("arcsinh", 1e200, 1e-200, 0),
    ("arccosh", 1e200, 1e-200, 0),
    ("tanh", 1000.0, 0, 0),
    ("sinc", 0.0, 0, -(np.pi**2) / 3),
    ("sinc", 1e-9, -1e-9 * np.pi**2 / 3, -(np.pi**2) / 3),
    ("sinc", 1e-300, -1e-300 * np.pi**2 / 3, -(np.pi**2) / 3),
    ("i0", 0.0, 0, 0.5),
    ("i0", 1e-10, 5e-11, 0.5),
    ("cbrt", -8.0, 1 / 12, 1 / 144),
    ("floor", 2.0, 0, 0),
    ("modf", 2.25, 1, 0),
    ("frexp", 12.0, 1 / 16, 0),
    ("nan_to_num", INF, 0, 0),
    ("square", 0.0, 0, 2),
]


@pytest.mark.parametrize(("name", "x", "first", "second"), CORNERS)
def test_derivatives_at_a_corner(name, x, first, second):
    def function(t: Any) -> Any:
        result = getattr(nnp, name)(t)
        return result[0] if isinstance(result, tuple) else result

    slope = needle.grad(function)
    assert_allclose(slope(x), first, rtol=1e-14, atol=0)
    assert_allclose(needle.grad(slope)(x), second, rtol=1e-14, atol=0)
    assert_allclose(needle.jvp(function, (x,), (1.0,))[1], first, rtol=1e-14, atol=0)


BOTH = [
    ("hypot", (0.0, 0.0), (0, 0)),
    ("hypot", (3.0, -4.0), (0.6, -0.8)),
    ("hypot", (1e-200, 1e-200), (0.5**0.5, 0.5**0.5)),
    ("hypot", (-INF, 1.0), (-1, 0)),
    ("arctan2", (0.0, 0.0), (0, 0)),
    ("arctan2", (0.0, -2.0), (-0.5, 0)),
    ("arctan2", (1e200, 1e200), (0.5e-200, -0.5e-200)),
    ("arctan2", (1.0, INF), (0, 0)),
    ("logaddexp", (-INF, -INF), (0.5, 0.5)),
    ("logaddexp", (INF, INF), (0.5, 0.5)),
    ("logaddexp", (INF, 0.0), (1, 0)),
    ("logaddexp", (-INF, 3.0), (0, 1)),
    ("logaddexp", (1000.0, 0.0), (1, 0)),
    ("logaddexp", (0.0, 40.0), (np.exp(-40), 1)),
    ("logaddexp2", (-INF, -INF), (0.5, 0.5)),
    ("logaddexp2", (0.0, 40.0), (2.0**-40, 1)),
    ("maximum", (1.0, 1.0), (0.5, 0.5)),
    ("maximum", (NAN, 1.0), (1, 0)),
    ("minimum", (1.0, NAN), (0, 1)),
    ("minimum", (NAN, NAN), (0.5, 0.5)),
    ("fmax", (NAN, 1.0), (0, 1)),
    ("fmin", (1.0, NAN), (1, 0)),
    ("fmin", (2.0, 2.0), (0.5, 0.5)),
    ("copysign", (3.0, -0.0), (-1, 0)),
    ("copysign", (0.0, -1.0), (0, 0)),
    ("fmod", (-7.5, 2.0), (1, 3)),
    ("remainder", (-7.5, 2.0), (1, 4)),
    ("heaviside", (0.0, 0.5), (0, 1)),
    ("heaviside", (2.0, 0.5), (0, 0)),
    ("nextafter", (1.0, 2.0), (1, 0)),
    ("floor_divide", (7.0, 2.0), (0, 0)),
    ("power", (0.0, 2.0), (0, 0)),
    ("float_power", (0.0, 1.0), (1, 0)),
]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of NumPy's, for NaN
@pytest.mark.parametrize(("name", "at", "expected"), BOTH)
def test_both_derivatives_at_a_corner(name, at, expected):
    function = getattr(nnp, name)
    assert_allclose(needle.grad(function, argnums=(0, 1))(*at), expected, rtol=1e-12, atol=1e-300)
    for i in range(2):
        assert_allclose(needle.grad(function, argnums=i)(*at), expected[i], rtol=1e-12, atol=1e-300)
        tangents = tuple(float(i == j) for j in range(2))
        assert_allclose(needle.jvp(function, at, tangents)[1], expected[i], rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [("arcsin", 1.0, INF), ("arcsin", -1.0, INF), ("arccos", 1.0, -INF), ("arccosh", 1.0, INF), ("cbrt", 0.0, INF)],
)
def test_infinite_slopes_come_with_numpys_warning(name, x, expected):
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert needle.grad(getattr(nnp, name))(x) == expected


@pytest.mark.parametrize(("name", "x"), [("sqrt", -1.0), ("log", -1.0), ("arcsin", 2.0), ("arccosh", 0.5)])
def test_outside_of_the_domain_is_nan_with_numpys_warning(name, x):
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert np.isnan(getattr(nnp, name)(Tensor(x)).item())


@pytest.mark.parametrize("name", ["arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh", "log", "sqrt"])
@pytest.mark.parametrize("z", [2, -2, 2j, -2j])
@pytest.mark.parametrize("side", [1, -1])
def test_derivatives_are_of_the_side_of_a_branch_cut_that_the_value_is_of(name, z, side):
    on_the_cut = complex(z.real, side * 0.0) if z.imag == 0 else complex(side * 0.0, z.imag)
    beside = on_the_cut + (1e-7j * side if z.imag == 0 else 1e-7 * side)
    function = needle.holomorphic_grad(getattr(nnp, name))
    assert_allclose(function(on_the_cut), function(beside), rtol=1e-6)


@pytest.mark.parametrize("order", range(1, 9))
def test_derivatives_of_sinc(order):
    x = np.array([-40.3, -3.0, -1.0, -0.5, -1e-3, 0.0, 1e-20, 0.31, 0.32, 0.7, 1.2, 2.5])
    nodes, weights = np.polynomial.legendre.leggauss(120)
    u, function = (nodes + 1) / 2, nnp.sinc
    for _ in range(order):
        function = needle.elementwise_grad(function)
    # sinc(x) is the mean of cos(pi x u) over u from 0 to 1
    expected = np.cos(np.pi * x[:, None] * u + order * np.pi / 2) * (np.pi * u) ** order @ weights / 2
    assert_allclose(function(x), expected, rtol=0, atol=1e-13 * np.pi**order)


@pytest.mark.parametrize("order", range(1, 6))
def test_derivatives_of_the_bessel_function(order):
    x = np.array([-700.0, -30.0, -8.0, -1.0, 1e-12, 0.1, 3.0, 8.5, 100.0])
    function = nnp.i0
    for _ in range(order):
        function = needle.elementwise_grad(function)
    expected = sum(special.binom(order, j) * special.iv(order - 2 * j, x) for j in range(order + 1)) / 2**order
    assert_allclose(function(x), expected, rtol=1e-14)
    if order == 1:
        assert_allclose(function(x.astype("f")[1:-1]), expected[1:-1], rtol=1e-6)


SMALL = [
    (nnp.square, lambda x: 2 * x),
    (lambda t: t**3.0, lambda x: 3 * x * x),
    (nnp.log1p, lambda x: 1 / (1 + x)),
    (nnp.arctan, lambda x: 1 / (1 + x * x)),
    (lambda t: nnp.logaddexp(t, t - t), lambda x: 1 / (1 + np.exp(-x))),
    (lambda t: 1.0 - t, lambda x: -1 + 0 * x),
    (lambda t: (1.5 - t) ** 2, lambda x: -2 * (1.5 - x)),
]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int64])
@pytest.mark.parametrize(("function", "slope"), SMALL)
def test_small_integers_do_not_wrap_around_in_a_gradient(dtype, function, slope):
    t = Tensor(np.array([100, 127, 3], dtype))
    y = function(t)
    y.sum().backward()
    tolerance = 2e-3 if y.dtype == np.float16 else 1e-6
    assert_allclose(t.grad.numpy(), slope(t.numpy().astype(float)), rtol=tolerance)


# ---------------------------------------------------------------------------------------------------- structural zeros


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "choose",
    [
        lambda y: nnp.maximum(y, 1.0),
        lambda y: -nnp.minimum(-y, -1.0),
        lambda y: nnp.fmax(y, 1.0),
        lambda y: -nnp.fmin(-y, -1.0),
        lambda y: nnp.clip(y, 1.0, 10.0),
        lambda y: nnp.where(y > 1, y, 1.0),
    ],
)
def test_no_nan_comes_from_what_was_not_chosen(choose):
    slope = needle.elementwise_grad(lambda x: choose(nnp.sqrt(x)))
    assert_array_equal(slope(np.array([0.0, 4.0])), [0, 0.25])
    assert_array_equal(needle.elementwise_grad(slope)(np.array([0.0, 4.0])), [0, -1 / 32])


def test_at_a_constant_bound_the_gradient_is_the_clipped_ones_and_at_others_shared():
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert_array_equal(needle.elementwise_grad(lambda x: nnp.clip(x, -1.0, 1.0))(x), [0, 1, 1, 1, 0])
    assert_array_equal(needle.elementwise_grad(lambda x: nnp.clip(x, np.full(5, -1.0), None))(x), [0, 1, 1, 1, 1])
    by_x, by_low, by_high = needle.grad(lambda *a: nnp.clip(*a).sum(), argnums=(0, 1, 2))(x, -1.0, 1.0)
    assert_array_equal(by_x, [0, 0.5, 1, 0.5, 0])
    assert (by_low, by_high) == (1.5, 1.5)


def test_replaced_parts_of_complex_numbers_have_no_gradient_and_the_others_theirs():
    z = Tensor(np.array([complex(NAN, 1), complex(2, INF), 3 + 4j]))
    y = nnp.nan_to_num(z, posinf=9.0)
    (nnp.real(y) * 2 + nnp.imag(y) * 3).sum().backward()
    assert_array_equal(z.grad.numpy(), [3j, 2, 2 + 3j])


# ------------------------------------------------------------------------------------------------- options, transforms


def test_results_are_assigned_to_out():
    x = Tensor(A)
    for function, expected in [
        (lambda out: nnp.round(x * 1, 1, out=out), 0 * A),
        (lambda out: nnp.clip(x * 1, -1, 1, out), (np.abs(A) <= 1).astype(float)),
        (lambda out: nnp.fix(x * 1, out), 0 * A),
    ]:
        out = Tensor(np.zeros_like(A), requires_grad=False)
        assert function(out) is out
        out.sum().backward()
        assert_array_equal(x.grad.numpy(), expected)
    mask = np.zeros(7, bool)
    assert nnp.isposinf(SPECIAL, mask) is mask
    assert_array_equal(mask, np.isposinf(SPECIAL))
    y = Tensor(SPECIAL) * 1.0
    assert nnp.nan_to_num(y, copy=False) is y
    assert_array_equal(y.numpy(), np.nan_to_num(SPECIAL))


@pytest.mark.parametrize("name", ["maximum", "hypot", "arctan2", "logaddexp", "fmod", "copysign", "heaviside"])
def test_jacobians_and_hessians_of_broadcast_operands(name):
    def total(a: Any) -> Any:
        return (getattr(nnp, name)(a, a[:2].reshape(2, 1) * 0.7) ** 2).sum()

    x = np.array([0.5, -1.2, 2.3])
    assert_allclose(needle.jacobian(total)(x), needle.grad(total)(x))
    slope = needle.grad(total)
    rows = [needle.jvp(slope, (x,), (row,))[1] for row in np.eye(3)]
    assert_allclose(needle.hessian(total)(x), rows, atol=1e-12)


def test_hessian_of_what_is_clipped_by_arrays():
    low, high = np.array([[-1.0], [0.0]]), np.array([0.4, 0.5, 0.6])
    f = lambda x: (nnp.clip(x, low, high) ** 3).sum()  # noqa: E731
    assert_allclose(needle.hessian(f)(np.array([0.1, -0.2, 0.7])), np.diag([1.2, -1.2, 0]), atol=1e-14)


def test_lists_of_tensors_are_stacked():
    t, u = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    nnp.multiply([t, u], [[5.0], [6.0]]).sum().backward()
    assert_array_equal([t.grad.numpy(), u.grad.numpy()], [[5, 5], [6, 6]])
    assert nnp.isfinite([t, 1.0 / u]).numpy().all()


ERRORS = [
    (lambda: nnp.clip(A, 0, a_min=1), ValueError, "clip: give a bound as a_min or as min"),
    (lambda: nnp.clip(Tensor(A), np.zeros(4), 1), ValueError, r"Clip: the shapes \(2, 3\) and \(4,\) do not broadcast"),
    (lambda: nnp.maximum(Tensor(A), np.zeros(4)), ValueError, "Maximum: the shapes"),
    (lambda: nnp.positive(Tensor([True])), TypeError, "positive: is for numbers, got booleans"),
    (lambda: nnp.i0(Tensor(1j)), TypeError, "I0: .*complex"),
    (lambda: nnp.arctan2(Tensor(1j), 1.0), TypeError, "Arctan2: .*complex"),
    (lambda: nnp.ldexp(Tensor(1.0), 0.5), TypeError, "LdExp: "),
    (lambda: nnp.isposinf(Tensor(1j)), TypeError, "isposinf: .*complex"),
    (lambda: nnp.sin("x"), TypeError, "Sin: needs a Tensor, an array or a number"),
    (lambda: nnp.power(Tensor([2]), -1), ValueError, "integers have no negative powers"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_errors_name_the_function_and_what_is_wrong(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
