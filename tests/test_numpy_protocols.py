"""NumPy's protocols: who computes what where Tensors meet arrays and other libraries' containers, and the methods of
ufuncs with their options."""

from __future__ import annotations

import cmath
import copy
import math
import pickle
from typing import Any

import needle
import needle.numpy as nnp
import numeric
import numpy as np
import pytest
import scipy.integrate
import scipy.special
from needle import Tensor
from numpy.testing import assert_allclose, assert_array_equal

A = np.random.default_rng(0).uniform(0.5, 2.0, (2, 3))
MASK = np.array([[True, False, True], [True, True, False]])


class Units(np.ndarray):
    """An array of another library, with its own idea of what a ufunc does."""

    def __array_ufunc__(self, of: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return f"{of.__name__} of {len(inputs)}"


class Duck:
    def __array_ufunc__(self, of: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return f"{method} of {of.__name__}"

    def __array_function__(self, of: Any, types: Any, args: Any, options: Any) -> Any:
        return f"function {of.__name__}"

    def __radd__(self, other: Any) -> str:
        return "radd"


OTHERS = {
    "an array with units": (lambda t: t + np.ones(3).view(Units), "add of 2"),
    "the other way round": (lambda t: np.ones(3).view(Units) * t, "multiply of 2"),
    "a ufunc of both": (lambda t: np.add(t, np.ones(3).view(Units)), "add of 2"),
    "in place": (lambda t: t.__iadd__(np.ones(3).view(Units)), NotImplemented),
    "a duck": (lambda t: t + Duck(), "radd"),
    "a ufunc of a duck": (lambda t: np.sin(t, out=Duck()), "__call__ of sin"),
    "a reduction into a duck": (lambda t: np.add.reduce(t, out=Duck()), "reduce of add"),
    "a function of a duck": (lambda t: np.concatenate([t, Duck()]), "function concatenate"),
}


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_others_decide_themselves(name, recorded):
    call, expected = OTHERS[name]
    assert call(Tensor(np.ones(3), requires_grad=recorded)) == expected


def test_masked_arrays_do_not_lose_their_mask():
    masked = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])
    for total in (Tensor(np.ones(3), requires_grad=False) + masked, masked + Tensor(np.ones(3), requires_grad=False)):
        assert_array_equal(total.mask, masked.mask)
    with pytest.raises(TypeError, match="a masked array's mask would be lost"):
        _ = Tensor(np.ones(3)) + masked
    with pytest.raises(TypeError, match="a masked array's mask would be lost"):
        np.multiply(Tensor(np.ones(3)), masked)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_matrices_do_not_multiply_element_by_element():
    square = np.array([[1.0, 2.0], [3.0, 4.0]])
    matrix = np.asmatrix(square)
    for t in (Tensor(square), Tensor(square, requires_grad=False)):
        for product in (lambda t: t * matrix, lambda t: matrix * t):
            with pytest.raises(TypeError, match=r"np\.matrix would be lost; write np\.asarray"):
                product(t)


@pytest.mark.parametrize("function", [math.sin, math.floor, float, int, complex])
def test_what_needs_a_gradient_becomes_no_number(function):
    with pytest.raises(TypeError, match="would drop it silently"):
        function(Tensor(1.5))
    assert function(Tensor(1.5, requires_grad=False)) == function(1.5)


def test_rounding_as_of_numbers():
    constant = Tensor(2.567, requires_grad=False)
    assert round(constant) == 3
    assert type(round(constant)) is int
    assert round(Tensor(2.567), 1).numpy() == 2.6
    with pytest.raises(TypeError, match=r"round\(t\): this Tensor needs a gradient"):
        round(Tensor(2.567))


# ------------------------------------------------------------------------------------------------ methods of ufuncs

REDUCTIONS: dict[str, Any] = {
    "add": lambda a: np.add.reduce(a, axis=(0, 1), initial=2.0, where=MASK),
    "add, of integers": lambda a: np.add.reduce(np.rint(a) > 1, axis=0) * a[0],
    "multiply": lambda a: np.multiply.reduce(a, axis=1, keepdims=True),
    "maximum": lambda a: np.maximum.reduce(a, axis=None, where=MASK, initial=0.5),
    "divide": lambda a: np.divide.reduce(a, axis=0, initial=3.0),
    "divide, in part": lambda a: np.divide.reduce(a, axis=0, initial=3.0, where=MASK),
    "subtract": lambda a: np.subtract.reduce(a, axis=-1, keepdims=True),
    "remainder": lambda a: np.remainder.reduce(a, axis=0, initial=7.0),
    "hypot": lambda a: np.hypot.reduce(a, axis=(0, 1), keepdims=True),
    "hypot, in part": lambda a: np.hypot.reduce(a, axis=1, where=MASK),
    "logaddexp": lambda a: np.logaddexp.reduce(a, axis=None),
    "logaddexp, in part": lambda a: np.logaddexp.reduce(a, axis=0, where=MASK),
    "logaddexp, of nothing": lambda a: np.logaddexp.reduce(a[:0], axis=0, initial=1.0) * a[0],
    "fmin": lambda a: np.fmin.reduce(a, axis=0),
    "no axes": lambda a: np.hypot.reduce(a, axis=()),
    "add.accumulate": lambda a: np.add.accumulate(a, axis=1),
    "maximum.accumulate": lambda a: np.maximum.accumulate(a, axis=-1),
    "subtract.accumulate": lambda a: np.subtract.accumulate(a, axis=1),
    "add.reduceat": lambda a: np.add.reduceat(a, [0, 2, 1], axis=1),
    "logical_and.reduceat": lambda a: np.logical_and.reduceat(a, [0, 2, 1], axis=1) * a,
    "multiply.outer": lambda a: np.multiply.outer(a, a[0]),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_methods_of_ufuncs(name):
    f = REDUCTIONS[name]
    expected, result = np.asarray(f(A)), f(Tensor(A))
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    assert_allclose(result.numpy(), expected, rtol=1e-14)
    weights = np.random.default_rng(1).normal(size=expected.shape)
    gradient = needle.grad(lambda a: (f(a) * weights).sum())(A)
    assert_allclose(gradient, numeric.gradient(lambda a: (f(a) * weights).sum(), A), atol=1e-7)
    direction = np.random.default_rng(2).normal(size=A.shape)
    assert_allclose((needle.jvp(f, (A,), (direction,))[1] * weights).sum(), (gradient * direction).sum())


def test_sums_and_products_are_one_operation():
    for of, op in ((np.add, "Summation"), (np.multiply, "Prod"), (np.maximum, "Max"), (np.minimum, "Min")):
        assert repr(of.reduce(Tensor(np.ones(1000))).op) == op
    assert repr(np.add.accumulate(Tensor(np.ones(1000))).op) == "CumSum"
    assert np.add.reduce(Tensor([True, True])).dtype == np.add.reduce([True, True]).dtype


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: np.divide.reduce(Tensor(A), axis=(0, 1)), ValueError, "not reorderable"),
        (lambda: np.divide.reduce(Tensor(A), where=MASK), ValueError, "where= needs initial=, because the function"),
        (lambda: np.divide.reduce(Tensor(A[:0])), ValueError, "there are no elements, and the function has no iden"),
        (lambda: np.hypot.reduce(Tensor(A * 1j)), TypeError, "hypot.* not supported for the input types"),
        (lambda: np.add.reduceat(Tensor(A), [0, 5]), IndexError, "index 5 is outside of axis 0 of shape"),
    ],
)
def test_errors_of_methods(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_at_takes_what_shares_its_memory():
    array, tensor = np.arange(6.0).reshape(3, 2), Tensor(np.arange(6.0).reshape(3, 2), requires_grad=False)
    for a in (array, tensor):
        np.add.at(a, [0, 1, 0], a[::-1])
    assert_array_equal(tensor.numpy(), array)


@pytest.mark.parametrize("of", [nnp.sin, nnp.add, nnp.abs, nnp.matmul])
def test_ufuncs_are_pickled_and_copied(of):
    assert pickle.loads(pickle.dumps(of)) is of
    assert copy.deepcopy(of) is of


@pytest.mark.parametrize(
    "call",
    [
        lambda a, out: a.clip(-0.5, 0.6, out=out),
        lambda a, out: np.spacing(a, out=out),
        lambda a, out: np.frexp(a, out=(out, None)),
        lambda a, out: np.modf(a, out=(None, out)),
        lambda a, out: np.nancumsum(a, 0, out=out),
        lambda a, out: np.add.accumulate(a, out=out),
        lambda a, out: np.ldexp(a, 2, out=out),
        lambda a, out: np.matmul(a, np.eye(3), out=out),
        lambda a, out: a.sum(1, keepdims=True, out=out[:, :1]),
    ],
)
def test_numpys_functions_of_arrays_write_into_a_tensor(call):
    a = np.random.default_rng(0).standard_normal((4, 3))
    out, expected = Tensor(np.zeros((4, 3))), np.zeros((4, 3))
    call(a, out)
    call(a, expected)
    np.testing.assert_array_equal(out.numpy(), expected)


def test_an_arrays_own_clip_is_differentiated_by_its_bounds():
    a = np.array([-2.0, 0.1, 3.0, 4.0])
    assert needle.grad(lambda t: a.clip(-1, t).sum())(1.0) == 2


LOST = {
    "math.exp": (lambda t: math.exp(t) + 1, r"In place of math\.exp, use np\.exp"),
    "in a sum": (lambda t: 1 + 2 * math.sin(t * t), r"In place of math\.sin, use np\.sin"),
    "math.lgamma": (lambda t: math.lgamma(t) + 1, r"use needle\.scipy\.special\.gammaln"),
    "cmath.exp": (lambda t: cmath.exp(t) + 1, r"In place of cmath\.exp, use np\.exp"),
    "solve_ivp": (
        lambda t: scipy.integrate.solve_ivp(lambda s, y: -t * y, (0, 1), [1.0]),
        r"SciPy's solve_ivp .*use needle\.scipy\.integrate\.odeint",
    ),
    "logsumexp": (lambda t: scipy.special.logsumexp(np.stack([t, t])), r"use needle\.scipy\.special\.logsumexp"),
    "ellip_harm": (lambda t: scipy.special.ellip_harm(5, 8, 1, 1, t), r"^ellip_harm: has no derivative"),
}


@pytest.mark.parametrize("transform", [lambda f: f(Tensor(1.5)), lambda f: needle.grad(f)(1.5)], ids=["plain", "grad"])
@pytest.mark.parametrize("name", LOST)
def test_a_lost_gradient_names_its_caller(name, transform):
    call, words = LOST[name]
    with pytest.raises(TypeError, match=words):
        transform(call)


def test_a_plotted_gradient_says_what_to_write():
    matplotlib = pytest.importorskip("matplotlib.figure")
    with pytest.raises(TypeError, match=r"matplotlib's \w+ draws or prints values: write t\.numpy\(\)"):
        matplotlib.Figure().subplots().plot(Tensor([1.0, 2.0]))


def test_a_number_asked_for_in_an_unknown_way_is_named_as_before():
    for ask in (float, lambda t: eval("float(t)"), lambda t: list(map(float, [t]))):
        with pytest.raises(TypeError, match="would drop it silently"):
            ask(Tensor(1.5))
