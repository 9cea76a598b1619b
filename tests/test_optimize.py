"""SciPy's optimizers on nested parameters, against SciPy alone, finite differences and known minima."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import needle
import numpy as np
import pytest
import scipy.optimize
from needle import Tensor
from needle.forward import Dual
from needle.optimize import least_squares, minimize
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import LinearConstraint, NonlinearConstraint, OptimizeResult

FIRST_ORDER = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP")
WITH_PRODUCTS = ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr")
WITH_HESSIAN = ("dogleg", "trust-exact")
WITHOUT_GRADIENT = ("Nelder-Mead", "Powell", "COBYLA", "COBYQA")
METHODS = (*FIRST_ORDER, *WITH_PRODUCTS, *WITH_HESSIAN, *WITHOUT_GRADIENT)
BOUNDED = ("Nelder-Mead", "Powell", "L-BFGS-B", "TNC", "SLSQP", "trust-constr", "COBYLA", "COBYQA")
CONSTRAINED = ("SLSQP", "trust-constr", "COBYLA", "COBYQA")

Pair = namedtuple("Pair", "first second")


@dataclass(frozen=True)
class Model:
    weights: Any
    name: str = "model"


def rosenbrock(p: Any) -> Any:
    """0 at ones; a chain through float, tuple and array."""
    a, (b, c) = p["a"], p["rest"]
    return (1 - a) ** 2 + 100 * (b - a**2) ** 2 + (1 - b) ** 2 + (100 * (c - b**2) ** 2 + (1 - c) ** 2).sum()


def start() -> dict[str, Any]:
    """Near enough for dogleg, which needs a positive definite Hessian."""
    return {"a": 1.05, "rest": (np.array(1.1), np.array([1.2, 1.25])), "fixed": True, "what": "chain", "none": None}


TIGHT = {  # the options with which SciPy's own tolerances are not what is tested
    "Nelder-Mead": {"xatol": 1e-9, "fatol": 1e-14, "maxiter": 5000, "maxfev": 5000},
    "Powell": {"xtol": 1e-9, "ftol": 1e-14},
    "COBYLA": {"maxiter": 1000, "tol": 1e-8},
    "COBYQA": {"final_tr_radius": 1e-9},
    "L-BFGS-B": {"ftol": 0.0, "gtol": 1e-9},
    "TNC": {"ftol": 0.0, "gtol": 1e-10, "maxfun": 5000},
    "SLSQP": {"ftol": 1e-16},
    "Newton-CG": {"xtol": 1e-10},
    "trust-constr": {"gtol": 1e-9, "xtol": 1e-12},
}


def tight(method: str) -> dict[str, Any]:
    return TIGHT.get(method, {"gtol": 1e-8})


class Counted:
    def __init__(self, f: Any):
        self.f, self.calls = f, 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.f(*args)


@pytest.fixture
def given(monkeypatch):
    """The arguments with which minimize or least_squares call SciPy, as a dict, and nothing is minimized."""

    def run(f: Any, params: Any, *args: Any, run: Any = minimize, **more: Any) -> dict[str, Any]:
        caught: dict[str, Any] = {}

        def spy(fun: Any, x0: Any, jac: Any = None, **rest: Any) -> Any:
            caught.update(fun=fun, x0=x0, jac=jac, **rest)
            raise StopIteration

        with monkeypatch.context() as patch:
            patch.setattr(scipy.optimize, run.__name__, spy)
            with pytest.raises(StopIteration):
                run(f, params, *args, **more)
        return caught

    return run


def slope(f: Any, x: Any, step: float = 1e-5) -> Any:
    """The Jacobian of an array function by central differences; a column for each element of x."""
    ways = np.eye(len(x)) * step
    return np.stack([(np.asarray(f(x + w)) - np.asarray(f(x - w))) / (2 * step) for w in ways], axis=-1)


# ------------------------------------------------------------------------------------------------ every method


@pytest.mark.parametrize("method", METHODS)
def test_rosenbrock_by_every_method(method):
    f = Counted(rosenbrock)
    found = minimize(f, start(), method=method, options=tight(method))
    x = found.x
    assert_allclose([x["a"], x["rest"][0], *x["rest"][1]], np.ones(4), atol=0.1 if method == "COBYLA" else 2e-5)
    assert [type(x["a"]), type(x["rest"]), type(x["rest"][0]), x["rest"][0].shape] == [float, tuple, np.ndarray, ()]
    assert (x["fixed"], x["what"], x["none"]) == (True, "chain", None)
    assert_array_equal(found.flat_x, [x["a"], x["rest"][0], *x["rest"][1]])
    assert found.fun == rosenbrock({"a": Tensor(x["a"]), "rest": tuple(map(Tensor, x["rest"]))}).item()
    if method in WITHOUT_GRADIENT:
        assert f.calls == found.nfev
        assert "jac" not in found
        return
    gradient = found.grad if method == "trust-constr" else found.jac
    late = 1e-6 if method == "Newton-CG" else 0.0  # its gradient is the one before the last step
    assert_allclose(gradient["rest"][1], needle.grad(rosenbrock)(x)["rest"][1], rtol=1e-12, atol=late)
    assert (type(gradient["a"]), gradient["fixed"], gradient["what"]) == (float, True, "chain")
    if method in FIRST_ORDER:
        assert f.calls == found.nfev  # the gradient comes from the same run
    else:
        assert found.nhev > 0


@pytest.mark.parametrize("method", [None, *METHODS])
def test_what_scipy_is_given(given, method):
    got = given(rosenbrock, start(), method=method)
    assert got["method"] == method
    assert got["jac"] is (None if method in WITHOUT_GRADIENT else True)
    assert ("hessp" in got, "hess" in got) == (method in WITH_PRODUCTS, method in WITH_HESSIAN)
    assert got["x0"].dtype == np.float64
    assert_array_equal(got["x0"], [1.05, 1.1, 1.2, 1.25])
    value = got["fun"](got["x0"])
    assert type(value if method in WITHOUT_GRADIENT else value[0]) is float


BY_HAND = {"hessp": scipy.optimize.rosen_hess_prod, "hess": scipy.optimize.rosen_hess}


@pytest.mark.parametrize("method", [*FIRST_ORDER, *WITH_PRODUCTS, "trust-exact"])
def test_the_iterations_are_those_with_derivatives_written_by_hand(method):
    x0 = np.array([-1.2, 1.0, 0.7, 1.5, 0.3])
    found = minimize(lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum(), x0, method=method)
    second = [name for name, methods in {"hessp": WITH_PRODUCTS, "hess": WITH_HESSIAN}.items() if method in methods]
    by_hand = {name: BY_HAND[name] for name in second}
    expected = scipy.optimize.minimize(scipy.optimize.rosen, x0, method=method, jac=scipy.optimize.rosen_der, **by_hand)
    assert_allclose(found.x, expected.x, atol=1e-6)
    if second:
        assert (found.nfev, found.njev, found.nhev) == (expected.nfev, expected.njev, expected.nhev)
    else:  # line searches that end by the last digits
        assert abs(found.nfev - expected.nfev) <= 5


@pytest.mark.parametrize(
    "more, method", [({}, "BFGS"), ({"bounds": (None, 0.5)}, "L-BFGS-B"), ({"constraints": {"type": "eq"}}, "SLSQP")]
)
def test_the_default_method_is_scipys(more, method):
    if "constraints" in more:
        more["constraints"]["fun"] = lambda p: p["a"] - 0.5
    found, named = (minimize(rosenbrock, start(), method=m, **more) for m in (None, method))
    assert_array_equal(found.flat_x, named.flat_x)
    assert (found.nfev, found.message) == (named.nfev, named.message)
    if more:
        assert_allclose(found.x["a"], 0.5, atol=1e-8)


def mixed(p: Any) -> Any:
    """Real of a complex leaf, an array and an empty one, not holomorphic, with all second derivatives."""
    z, w = p["z"], p["w"]
    square = (z * needle.conj(z)).real
    wave = needle.exp(z * 0.3j).real * w
    return (square * square).sum() + (wave * needle.sin(w)).sum() + (z * z * 1j).real.sum() + p["none"].sum()


def mixed_params() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {"w": rng.normal(size=(2, 2)), "none": np.zeros((0, 3)), "z": rng.normal(size=2) + 1j * rng.normal(size=2)}


def test_derivatives_of_the_vector_against_differences(given):
    products, matrices = given(mixed, mixed_params(), method="trust-ncg"), given(mixed, mixed_params(), method="dogleg")
    x = products["x0"]
    assert x.shape == (8,)
    value, gradient = products["fun"](x)
    assert scipy.optimize.check_grad(lambda x: products["fun"](x)[0], lambda x: products["fun"](x)[1], x) < 1e-5
    hessian = matrices["hess"](x)
    assert_array_equal(hessian, hessian.T)
    assert_allclose(hessian, slope(lambda x: products["fun"](x)[1], x), rtol=1e-7, atol=1e-7)
    for v in np.random.default_rng(0).normal(size=(3, 8)):
        assert_allclose(products["hessp"](x, v), hessian @ v, rtol=1e-12, atol=1e-12)
        assert_allclose(products["hessp"](x + v, v), matrices["hess"](x + v) @ v, rtol=1e-12, atol=1e-12)
    assert_array_equal(products["hessp"](x, np.eye(8)[:, :1]), products["hessp"](x, np.eye(8)[0]))
    assert value == given(mixed, mixed_params(), method="Powell")["fun"](x)
    assert_array_equal(gradient, products["fun"](x.copy())[1])


def test_the_memory_of_a_point_is_not_the_callers(given):
    """SciPy writes into the vectors that it hands over."""
    got = given(rosenbrock, start(), method="Newton-CG")
    x, v = got["x0"].copy(), np.ones(4)
    before = got["hessp"](x, v)
    x += 0.5
    assert not np.allclose(got["hessp"](x, v), before)
    x -= 0.5
    assert_allclose(got["hessp"](x, v), before)


# ------------------------------------------------------------------------------------------------ textbook examples


@pytest.mark.parametrize("method", ["Newton-CG", "trust-exact"])
def test_logistic_regression_is_what_iterated_weighted_least_squares_finds(method):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = (rng.random(60) < 1 / (1 + np.exp(-X @ [1.0, -2.0, 0.5] - 0.3))).astype(float)
    A = np.column_stack([X, np.ones(60)])
    beta = np.zeros(4)
    for _ in range(25):  # Newton's step: (A' S A) beta = A' (S A beta + y - p)
        p = 1 / (1 + np.exp(-A @ beta))
        S = p * (1 - p)
        beta = np.linalg.solve(A.T * S @ A, A.T @ (S * (A @ beta) + y - p))

    def loss(model: Any) -> Any:
        z = model["w"] @ X.T + model["b"]
        return (needle.log(1 + needle.exp(z)) - z * y).sum()

    options = {"xtol": 1e-11} if method == "Newton-CG" else {"gtol": 1e-7}
    found = minimize(loss, {"w": np.zeros(3), "b": 0.0}, method=method, options=options)
    assert found.success
    assert_allclose(found.x["w"], beta[:3], rtol=1e-7)
    assert_allclose(found.x["b"], beta[3], rtol=1e-7)


def decay_data() -> tuple[Any, Any]:
    t = np.linspace(0, 4, 30)
    return t, 2.5 * np.exp(-1.3 * t) + 0.5 + 0.05 * np.random.default_rng(1).normal(size=30)


def decay(p: Any, t: Any, y: Any) -> Any:
    return p["scale"] * needle.exp(-p["rate"] * t) + p["level"] - y


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_an_exponential_decay_is_what_curve_fit_finds(method):
    t, y = decay_data()
    expected, _ = scipy.optimize.curve_fit(lambda t, a, k, c: a * np.exp(-k * t) + c, t, y, [1, 1, 0], xtol=1e-14)
    residuals = Counted(decay)
    begin = {"scale": 1.0, "rate": 1.0, "level": 0.0}
    found = least_squares(residuals, begin, (t, y), method=method, ftol=1e-15, xtol=1e-15, gtol=1e-15)
    assert found.success
    assert_allclose(list(found.x.values()), expected, rtol=1e-7)
    if method != "lm":  # which counts in its own way
        assert residuals.calls == found.nfev + found.njev
    assert_allclose(found.cost, 0.5 * np.sum(np.square(decay(*map_numpy(found.x), t, y).numpy())), rtol=1e-12)
    assert_allclose(
        found.jac,
        slope(lambda x: decay(*map_numpy(dict(zip(begin, x, strict=True))), t, y).numpy(), found.flat_x),
        atol=1e-8,
    )


def map_numpy(x: dict[str, Any]) -> tuple[dict[str, Tensor]]:
    return ({name: Tensor(value, requires_grad=False) for name, value in x.items()},)


@pytest.mark.parametrize(
    "loss", ["soft_l1", "cauchy", lambda z: np.stack([np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2])]
)
def test_least_squares_passes_on_what_is_scipys(loss):
    t, y = decay_data()
    y[5] += 10
    more = {"loss": loss, "f_scale": 0.1, "gtol": 1e-12}
    found = least_squares(
        decay,
        {"scale": 1.0, "rate": 1.0, "level": 0.65},
        (t, y),
        bounds=({"scale": 0.0, "rate": None, "level": 0.6}, None),
        x_scale={"scale": 2.0, "rate": 1.0, "level": 0.5},
        **more,
    )
    expected = scipy.optimize.least_squares(
        lambda x: x[0] * np.exp(-x[1] * t) + x[2] - y,
        [1.0, 1.0, 0.65],
        lambda x: np.stack([np.exp(-x[1] * t), -t * x[0] * np.exp(-x[1] * t), np.ones(30)], axis=1),
        bounds=([0, -np.inf, 0.6], np.inf),
        x_scale=[2.0, 1.0, 0.5],
        **more,
    )
    assert_allclose(found.flat_x, expected.x, rtol=1e-5)
    assert found.x["level"] >= 0.6


# ------------------------------------------------------------------------------------------------ structures, dtypes

LEAVES = {
    "float": 0.5,
    "float64": np.float64(0.5),
    "float32": np.float32(0.5),
    "complex": 0.5 + 1j,
    "complex64": np.complex64(0.5 + 1j),
    "0-d": np.array(0.5),
    "float16 array": np.array([0.5, 1.0], np.float16),
    "float32 array": np.array([[0.5], [1.0]], np.float32),
    "big-endian array": np.array([0.5, 1.0], ">f8"),
    "strided array": np.arange(12.0).reshape(3, 4)[::2, ::-2],
    "complex64 array": np.array([0.5j, 1 + 2j], np.complex64),
    "0-d complex": np.array(0.5 + 1j),
    "longdouble": np.array([0.5, 1.0], np.longdouble),
    "Tensor": Tensor([0.5, 1.0]),
    "0-d float32 Tensor": Tensor(np.float32(0.5)),
    "constant Tensor": Tensor([[0.5]], requires_grad=False),
    "detached Tensor": Tensor([0.5]).detach(),
    "computed Tensor": Tensor([0.5]) * 2,
    "complex Tensor": Tensor([0.5 + 1j, 2.0]),
}


def array_of(leaf: Any) -> Any:
    return leaf.numpy() if isinstance(leaf, Tensor) else np.asarray(leaf)


@pytest.mark.parametrize("method", ["L-BFGS-B", "Nelder-Mead", "trust-krylov", "dogleg"])
@pytest.mark.parametrize("leaf", LEAVES.values(), ids=LEAVES)
def test_each_leaf_comes_back_as_it_was(leaf, method):
    before = array_of(leaf).copy()
    if isinstance(leaf, np.ndarray):
        leaf.flags.writeable = False
    seen = []

    def f(p: Any) -> Any:
        seen.append((type(p[0].detach()), p[0].shape, p[0].dtype))
        apart = p[0] - 0.25
        return (apart * needle.conj(apart)).real.sum() + p[1].sum() + (p[2] - 1) ** 2

    found = minimize(f, [leaf, np.zeros((2, 0)), 0.5], method=method)
    assert set(seen) == {(Tensor, before.shape, before.dtype)}
    assert_array_equal(array_of(leaf), before)
    x, empty, _ = found.x
    assert (type(x), array_of(x).dtype, array_of(x).shape, empty.shape) == (
        type(leaf),
        before.dtype,
        before.shape,
        (2, 0),
    )
    assert_allclose(array_of(x), np.full(before.shape, 0.25), atol=1e-2)
    if isinstance(leaf, Tensor):
        assert x is not leaf
        assert (x.requires_grad, x.is_leaf()) == (leaf.requires_grad, True)
    if method != "Nelder-Mead":
        g = found.jac[0]
        assert (type(g), array_of(g).dtype, array_of(g).shape) == (type(leaf), before.dtype, before.shape)
        assert not isinstance(g, Tensor) or not g.requires_grad


@pytest.mark.parametrize(
    "params",
    [
        0.5,
        np.array([0.5, 1.5]),
        Pair(0.5, [1.5, (2.0,)]),
        Model({"w": np.ones(2), "b": [1.0]}),
        (Model(1.0), Pair(Tensor(1.0), None), {"b": "text", "a": 2.0}),
        [np.array([True, False]), Tensor(True), np.bool_(True), 1.0, np.array(["text"]), np.array([None])],
    ],
    ids=["float", "array", "namedtuple", "dataclass", "nested", "booleans and others"],
)
@pytest.mark.parametrize("method", ["BFGS", "Nelder-Mead", "trust-ncg"])
def test_structures(params, method):
    leaves, _ = needle.nested.flatten(params)
    varied = [array_of(a) for a in leaves if array_of(a).dtype.kind != "b"]

    def f(p: Any) -> Any:
        found, _ = needle.nested.flatten(p)
        assert all(isinstance(a, Tensor) for a in found)
        return sum(((a - 3) ** 2).sum() for a in found if a.dtype.kind != "b")

    found = minimize(f, params, method=method)
    assert_allclose(found.flat_x, np.full(sum(a.size for a in varied), 3.0), atol=1e-3)
    assert repr(needle.nested.map_leaves(lambda _: 0.0, found.x)) == repr(
        needle.nested.map_leaves(lambda _: 0.0, params)
    )
    for before, after in zip(leaves, needle.nested.flatten(found.x)[0], strict=True):
        assert type(before) is type(after)
        assert array_of(before).dtype.kind != "b" or before is after


def test_the_order_of_the_vector(given):
    params = {
        "b": np.array([[1.0, 2.0], [3.0, 4.0]]),
        "flag": True,
        "a": (5.0, 6 + 7j),
        "z": np.array([8 + 9j, 10 + 11j]),
    }
    assert_array_equal(given(lambda p: p["a"][0], params)["x0"], np.arange(1.0, 12.0))
    found = minimize(lambda p: (p["a"][0] - 1) ** 2, params)
    assert_array_equal(found.flat_x, [1, 2, 3, 4, 1, 6, 7, 8, 9, 10, 11])
    assert found.x["a"][1] == 6 + 7j
    assert_array_equal(found.x["z"], params["z"])


def test_a_complex_leaf_is_two_numbers():
    """The gradient convention is df/da - i df/db."""
    target = np.array([1 + 2j, -0.5j])

    def f(z: Any) -> Any:
        apart = z - target
        return (apart * needle.conj(apart)).real.sum() + (z * z).real.sum() / 2  # in parts: (a - c)^2 + a^2/2, - b^2/2

    for method in ("BFGS", "Newton-CG", "trust-exact"):
        found = minimize(f, np.zeros(2, complex), method=method, options=tight(method))
        assert_allclose(found.x, target.real / 1.5 + 1j * target.imag / 0.5, atol=1e-6)
    stopped = minimize(f, np.array([3 + 1j, 2j]), method="CG", options={"maxiter": 1})
    assert_array_equal(stopped.jac, needle.grad(f)(stopped.x))
    assert abs(stopped.jac.imag).min() > 0


@pytest.mark.parametrize("method", ["BFGS", "Powell"])
def test_what_is_too_large_for_a_leaf_is_infinite_there(given, method):
    got = given(lambda p: (p * 0.5).sum(), np.ones(2, np.float32), method=method)
    value = got["fun"](np.array([1e300, 1.0]))
    assert (value if method == "Powell" else value[0]) == np.inf


def test_shared_leaves_are_varied_one_by_one():
    a = np.array([1.0])
    found = minimize(lambda p: ((p[0] - 1) ** 2 + (p[1] - 2) ** 2).sum(), [a, a])
    assert_allclose(np.ravel(found.x), [1, 2], atol=1e-6)
    assert a == 1


# ------------------------------------------------------------------------------------------------ bounds

P = {"w": np.zeros((2, 2)), "deep": [0.0, (np.zeros(2), "text")], "flag": np.array(True)}
INF = np.inf


@pytest.mark.parametrize(
    "bounds, low, high",
    [
        ((None, None), [-INF] * 7, [INF] * 7),
        ((-1, None), [-1] * 7, [INF] * 7),
        ([None, np.float32(2)], [-INF] * 7, [2] * 7),
        (({"w": 1.0, "deep": None, "flag": None}, 5), [1] * 4 + [-INF] * 3, [5] * 7),
        (({"flag": None, "deep": [2, 3], "w": [[1], [4]]}, None), [1, 1, 4, 4, 2, 3, 3], [INF] * 7),
        (
            (Tensor(-1.0), {"w": Tensor([1.0, 2.0]), "deep": (None, [[3, 4], 0]), "flag": 0}),
            [-1] * 7,
            [1, 2] * 2 + [INF, 3, 4],
        ),
        (scipy.optimize.Bounds(np.arange(7), 9), np.arange(7), [9] * 7),
    ],
)
def test_bounds_are_spread_over_the_leaves(given, bounds, low, high):
    for run in (minimize, least_squares):
        got = given(lambda p: p["w"].sum(), P, bounds=bounds, run=run)["bounds"]
        assert_array_equal(np.broadcast_to(got.lb, 7), low)
        assert_array_equal(np.broadcast_to(got.ub, 7), high)


PAIRS = [(0, 1), (None, 5), (-2.5, None)]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("written", [list, tuple, iter])
def test_bounds_are_pairs_as_in_scipy(given, count, written):
    """One pair a parameter, for all that SciPy takes as x0."""
    for x0 in (np.zeros(count), [0.0] * count, (0.0,) * count, Tensor(np.zeros(count)), *[0.0][: count == 1]):
        got = given(lambda x: x, x0, bounds=written(PAIRS[:count]))["bounds"]
        assert_array_equal(got.lb, [0, -INF, -2.5][:count])
        assert_array_equal(got.ub, [1, 5, INF][:count])


@pytest.mark.parametrize("pairs", [np.array([[0, 1], [2, 5]]), [Tensor([0, 1]), (2, Tensor(5.0))]])
def test_bounds_are_pairs_of_arrays(given, pairs):
    got = given(lambda x: x, np.zeros(2), bounds=pairs)["bounds"]
    assert_array_equal([got.lb, got.ub], [[0, 2], [1, 5]])


def test_least_squares_reads_low_and_high_as_scipy(given):
    got = given(lambda x: x, np.zeros(2), bounds=([0, 2], [1, 5]), run=least_squares)["bounds"]
    assert_array_equal([got.lb, got.ub], [[0, 2], [1, 5]])


def test_bounds_of_complex_leaves(given):
    bounds = ([-1, None], [1 + 2j, np.array([3, 4])])
    got = given(lambda p: p[0].real, [0j, np.zeros(2, complex)], bounds=bounds)["bounds"]
    assert_array_equal(got.lb, [-1, -1] + [-INF] * 4)
    assert_array_equal(got.ub, [1, 2, 3, 3, 4, 4])


@pytest.mark.parametrize("method", BOUNDED)
def test_bounds_hold(method):
    """The minimum is at (2, 3, 4); on the box, where it is clipped."""

    def f(p: Any) -> Any:
        return (p["a"] - 2) ** 2 + ((p["b"] - [3.0, 4.0]) ** 2).sum()

    bounds = ({"a": None, "b": [0.0, 5.0]}, {"a": 1.0, "b": None})
    found = minimize(f, {"a": 0.5, "b": np.array([1.0, 6.0])}, method=method, bounds=bounds, options=tight(method))
    assert_allclose([found.x["a"], *found.x["b"]], [1, 3, 5], atol=1e-4)
    assert found.x["a"] <= 1 + 1e-12


def test_a_leaf_can_be_fixed_by_its_bounds():
    for method in ("L-BFGS-B", "TNC", "SLSQP"):
        fixed = [(None, None), (0.5, 0.5)]
        found = minimize(lambda p: (p[0] - p[1]) ** 2, [0.0, 0.5], method=method, bounds=fixed)
        assert_allclose(found.x, [0.5, 0.5], atol=1e-6)


# ------------------------------------------------------------------------------------------------ constraints


def apart(p: Any) -> Any:
    return (p["x"] - 1) ** 2 + (p["y"][0] - 2.5) ** 2


@pytest.mark.parametrize("method", CONSTRAINED)
def test_the_constraints_of_nocedal_and_wright(method):
    """Example 16.4 of Nocedal and Wright, Numerical Optimization: the minimum is at (1.4, 1.7)."""
    lines = [
        {"type": "ineq", "fun": lambda p: p["x"] - 2 * p["y"] + 2},
        {
            "type": "ineq",
            "fun": lambda p, c: {"both": (c - p["x"] - 2 * p["y"][0], 2 - p["x"] + 2 * p["y"])},
            "args": 6,
        },
    ]
    found = minimize(
        apart, {"x": 2.0, "y": np.zeros(1)}, method=method, bounds=(0, None), constraints=lines, options=tight(method)
    )
    assert_allclose([found.x["x"], *found.x["y"]], [1.4, 1.7], atol=1e-4)


@pytest.mark.parametrize("method", CONSTRAINED)
@pytest.mark.parametrize("kind", ["dict", "nonlinear", "linear and nonlinear"])
def test_the_nearest_point_of_the_circle(method, kind):
    def circle(p: Any) -> Any:
        return p["x"] ** 2 + p["y"] ** 2

    constraints: Any = {
        "dict": {"type": "eq", "fun": lambda p: circle(p) - 1},
        "nonlinear": NonlinearConstraint(circle, 1, 1),
        "linear and nonlinear": (NonlinearConstraint(circle, -np.inf, 1), LinearConstraint([[1.0, 0.0]], 0.0, 9.0)),
    }[kind]
    found = minimize(
        apart, {"x": 0.5, "y": np.array([0.5])}, method=method, constraints=constraints, options=tight(method)
    )
    assert_allclose([found.x["x"], *found.x["y"]], np.array([1, 2.5]) / np.hypot(1, 2.5), atol=1e-4)
    if method == "trust-constr":
        assert found.constr_nhev[0] > 0


def curved(p: Any) -> Any:
    return {
        "of both": p["w"] * needle.exp(p["z"] * 1j).real,
        "constant": 2.0,
        "complex": p["z"] ** 2,
        "line": p["w"].sum(),
    }


def test_derivatives_of_constraints_against_differences(given):
    params = {"w": np.array([0.5, -1.0]), "z": 0.3 - 0.4j, "empty": np.zeros(0)}
    constraint = NonlinearConstraint(curved, -1, 1, keep_feasible=[True] * 6)
    (got,) = given(lambda p: p["w"].sum(), params, method="trust-constr", constraints=[constraint])["constraints"]
    x = given(lambda p: p["w"].sum(), params)["x0"]
    value = got.fun(x)
    z = 0.3 - 0.4j
    expected = [*(params["w"] * np.exp(1j * z).real), 2.0, (z**2).real, (z**2).imag, -0.5]
    assert_allclose(value, expected)
    assert (got.lb, got.ub, got.keep_feasible) == (-1, 1, [True] * 6)
    assert_allclose(got.jac(x), slope(got.fun, x), atol=1e-9)
    weights = np.arange(1.0, 7.0)
    hessian = got.hess(x, weights)
    weights_then, weights[:] = weights.copy(), 0  # SciPy's own memory
    assert_allclose(hessian @ np.eye(4), slope(lambda x: weights_then @ got.jac(x), x), atol=1e-9)
    (plain,) = given(lambda p: p["w"].sum(), params, method="COBYLA", constraints=constraint)["constraints"]
    assert plain.jac == "2-point"  # nothing is differentiated for a method that does not


@pytest.mark.parametrize("outputs", [2, 3, 9])
def test_the_jacobian_of_residuals_is_computed_in_the_shorter_mode(given, outputs):
    A = np.random.default_rng(2).normal(size=(outputs, 3))
    seen: list[Any] = []

    def f(p: Any) -> Any:
        seen.append(type(p["x"]))
        return needle.sin(needle.matmul(A, p["x"]))

    got = given(f, {"x": np.ones(3)}, run=least_squares)
    expected = np.cos(A @ np.ones(3))[:, None] * A
    for known in (False, True):
        seen.clear()
        J = got["jac"](np.ones(3))
        assert J.dtype == np.float64
        assert_allclose(J, expected, rtol=1e-14)
        if known:
            assert seen == [Dual if outputs > 3 else Tensor]  # one run
        assert got["fun"](np.ones(3)).shape == (outputs,)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_least_squares(dtype):
    """The amplitudes of two waves: a linear fit, which has a closed form."""
    rng = np.random.default_rng(4)
    basis = np.exp(1j * np.outer(np.arange(20), [0.3, 0.7])).astype(dtype)
    data = (basis @ [1 + 2j, -0.5j] + 0.1 * rng.normal(size=20)).astype(dtype)
    expected = np.linalg.lstsq(basis, data, rcond=None)[0]
    begin = [dtype(0), Tensor(dtype(1j))]
    found = least_squares(lambda p: (p[0] * basis[:, 0] + p[1] * basis[:, 1] - data, p[0].real * 0), begin)
    assert_allclose([found.x[0], found.x[1].item()], expected, rtol=1e-4 if dtype is np.complex64 else 1e-7)
    assert (found.x[0].dtype, found.x[1].dtype, found.jac.shape) == (dtype, dtype, (41, 4))


def test_the_gradient_of_least_squares_is_in_the_structure():
    found = least_squares(lambda p: p["a"] * [1.0, 2.0] - [1.0, 3.0], {"a": 5.0}, max_nfev=1)
    assert_allclose(found.grad["a"], 5 * 5 - 7)
    assert_allclose(found.flat_x, [5.0])


# ------------------------------------------------------------------------------------------------ callbacks, aux


@pytest.mark.parametrize("method", METHODS)
def test_callbacks_are_given_the_structure(method):
    results: list[Any] = []
    points: list[Any] = []

    def note(intermediate_result: Any) -> None:
        results.append(intermediate_result)

    minimize(rosenbrock, start(), method=method, callback=points.append, options=tight(method))
    found = minimize(rosenbrock, start(), method=method, callback=note, options=tight(method))
    assert min(len(points), len(results)) > 1  # COBYLA does not take the same way twice: sums depend on alignment
    for x in [*points, *[result.x for result in results]]:
        assert (type(x["a"]), x["what"], x["rest"][1].shape) == (float, "chain", (2,))
    for result in results:
        assert isinstance(result, OptimizeResult)
        assert_array_equal(result.flat_x[2:], result.x["rest"][1])
        assert_allclose(result.fun, needle.value_and_grad(rosenbrock)(result.x)[0], rtol=1e-12)
    at_end = min(result.fun for result in results)
    assert found.fun <= at_end + 1e-8
    if method != "COBYLA":  # which may end at a point that it did not show
        assert_allclose(at_end, found.fun, atol=1e-8)
    if method == "trust-constr":
        assert type(results[0].grad["a"]) is float


@pytest.mark.parametrize("method", METHODS)
def test_stop_iteration_stops_and_an_interrupt_passes(method):
    seen: list[Any] = []

    def stop(x: Any) -> None:
        seen.append(x)
        raise StopIteration

    try:
        stopped = minimize(rosenbrock, start(), method=method, callback=stop)
        assert stopped.nfev < minimize(rosenbrock, start(), method=method).nfev
        assert stopped.x["what"] == "chain"
    except StopIteration:  # SciPy's own way there; SLSQP up to 1.16
        assert method in ("TNC", "SLSQP")
    assert len(seen) == 1

    def interrupted(p: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minimize(interrupted, start(), method=method)


@pytest.mark.skipif("callback" not in scipy.optimize.least_squares.__doc__, reason="new in SciPy 1.16")
def test_the_callback_of_least_squares():
    points: list[Any] = []

    def note(intermediate_result: Any) -> None:
        points.append(intermediate_result.x)

    def f(p: Any) -> Any:
        return [10 * (p["b"] - p["a"] ** 2), 1 - p["a"]]

    found = least_squares(f, {"a": -1.0, "b": 1.0}, callback=note)
    assert len(points) > 1
    assert points[-1] == found.x

    def stop(x: Any) -> None:
        raise StopIteration

    assert least_squares(f, {"a": -1.0, "b": 1.0}, callback=stop).status == -2


def test_aux_is_that_of_the_result():
    def f(p: Any, scale: float) -> Any:
        value = scale * rosenbrock(p)
        return value, {"a": p["a"] * 2, "value": value, "note": "text"}

    for method in ("BFGS", "Powell", "trust-exact", "Newton-CG"):
        found = minimize(f, start(), (2.0,), method, has_aux=True)
        assert found.aux["a"].item() == 2 * found.x["a"]
        assert found.aux["value"].item() == found.fun
        assert not found.aux["value"].requires_grad
        assert found.aux["note"] == "text"
    fit = least_squares(lambda x: (x - 1, (x * 2, 3)), 0.0, has_aux=True)
    assert (fit.aux[0].item(), fit.aux[1]) == (2 * fit.x, 3)


def test_args_are_handed_on_untouched():
    table = {"a": 3}

    def f(x: Any, given: Any, *more: Any) -> Any:
        assert given is table
        return (x - table["a"] - len(more)) ** 2

    assert_allclose(minimize(f, 0.0, (table,)).x, 3, atol=1e-6)
    assert_allclose(minimize(f, 0.0, table).x, 3, atol=1e-6)
    assert_allclose(minimize(f, 0.0, (table, 1, 2), method="trust-ncg").x, 5, atol=1e-4)


def test_a_method_of_ones_own():
    def one_newton_step(fun: Any, x0: Any, jac: Any, hessp: Any, **more: Any) -> Any:
        H = np.stack([hessp(x0, v) for v in np.eye(x0.size)])
        x = x0 - np.linalg.solve(H, jac(x0))
        return OptimizeResult(x=x, fun=fun(x), jac=jac(x), success=more["depth"] == 1)

    found = minimize(
        lambda p: (p["a"] - 1) ** 2 + ((p["b"] + p["a"]) ** 2).sum(),
        {"a": 5.0, "b": np.array([3.0, 4.0])},
        method=one_newton_step,
        options={"depth": 1},
    )
    assert found.success
    assert_allclose([found.x["a"], *found.x["b"]], [1, -1, -1], atol=1e-12)
    assert_allclose(found.jac["b"], [0, 0], atol=1e-12)


# ------------------------------------------------------------------------------------------------ where it runs


def test_a_nan_is_scipys_matter():
    for method in ("BFGS", "L-BFGS-B", "Nelder-Mead"):
        found = minimize(lambda x: (x * np.nan).sum(), np.ones(2), method=method)
        expected = scipy.optimize.minimize(
            lambda x: np.nan, np.ones(2), method=method, jac=None if method == "Nelder-Mead" else lambda x: x * np.nan
        )
        assert (found.success, found.message, found.nfev) == (expected.success, expected.message, expected.nfev)
        assert_array_equal(found.flat_x, expected.x)


@pytest.mark.parametrize("method", ["BFGS", "Nelder-Mead", "trust-ncg"])
def test_inside_of_a_function_that_is_differentiated(method):
    def nearest(t: Any) -> Any:
        return minimize(lambda x: (x - t) ** 2, 1.0, method=method).x

    for transform in (needle.grad, needle.jacobian, lambda f: lambda t: needle.jvp(f, (t,), (1.0,))):
        with pytest.raises(TypeError, match=r"minimize: the function depends .* needle\.stop_gradient"):
            transform(lambda t: nearest(t) * t)(3.0)
    found = needle.grad(lambda t: nearest(needle.stop_gradient(t)) * t)(3.0)  # of a constant times t
    assert_allclose(found, 3.0, atol=1e-4)
    with pytest.raises(TypeError, match=r"minimize: params\[0\] depends .* needle\.stop_gradient"):
        needle.grad(lambda t: minimize(lambda p: p[0] ** 2, [t], method=method).fun)(1.0)


def test_recording_is_not_needed_and_not_done():
    weight = Tensor(2.0)  # requires a gradient, and is closed over
    with needle.no_grad():
        for method in ("BFGS", "Nelder-Mead", "trust-krylov"):
            found = minimize(lambda p: ((p - 1) ** 2).sum() * weight, Tensor([0.0, 3.0]), method=method)
            assert_allclose(found.x.numpy(), [1, 1], atol=1e-3)
    assert weight.grad is None


def test_a_minimum_inside_of_a_minimum():
    """min over a of max over b of a^2 - b^2 + 2 a b + a, whose gradient by a at the best b = a is 4 a + 1."""

    def inner(a: Any) -> Any:
        fixed = needle.stop_gradient(a)
        b = minimize(lambda b: b * b - 2 * fixed * b, 0.0, method="Newton-CG").x
        return a * a - b * b + 2 * a * b + a

    assert_allclose(minimize(inner, 1.0).x, -0.25, atol=1e-5)


def test_threads():
    found: dict[int, Any] = {}

    def run(seed: int) -> None:
        target = np.random.default_rng(seed).normal(size=3)
        f = minimize(lambda p: ((p["x"] - target) ** 4).sum() + ((p["x"] - target) ** 2).sum(), {"x": np.zeros(3)})
        g = minimize(lambda x: ((x - target) ** 2).sum(), np.zeros(3), method="trust-ncg")
        found[seed] = [np.abs(f.x["x"] - target).max(), np.abs(g.x - target).max()]

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert np.max(list(found.values())) < 1e-4


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    for run in (minimize, least_squares):
        with pytest.raises(ImportError, match=rf"{run.__name__}: needs SciPy, .* pip install needle\[scipy\]"):
            run(rosenbrock, start())


def test_scipy_is_imported_only_when_it_is_used():
    code = "import sys, needle.optimize; assert not any(name.split('.')[0] == 'scipy' for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------------------------------------ errors


def total(p: Any) -> Any:
    return sum(a.sum() for a in needle.nested.flatten(p)[0])


@pytest.mark.parametrize(
    "f, params, more, message",
    [
        (total, {"w": [1.0, np.arange(3)]}, {}, r"params\['w'\]\[1\] is an integer, .*astype\(float\)"),
        (total, Model((1.0, 2)), {}, r"params\.weights\[1\] is an integer"),
        (total, 2, {}, r"params is an integer"),
        (total, [10**30], {}, r"params\[0\] is an integer"),
        (total, {"a": np.zeros(0), "b": True, "c": "text"}, {}, "hold no number to vary"),
        (total, None, {}, "hold no number to vary, got None"),
        (None, 1.0, {}, "f must be a function of the parameters, got NoneType"),
        (total, 1.0, {"method": 3}, "method must be a name or a function, got int"),
        (lambda p: p * 1.0, np.ones(3), {}, r"f must return one real number, got shape \(3,\) and dtype float64"),
        (lambda p: p * 1.0, np.ones(3), {"method": "Powell"}, r"f must return one real number, got shape \(3,\)"),
        (lambda p: p.sum(), np.ones(3) * 1j, {}, "one real number, got shape .* complex128; return a sum, a real part"),
        (lambda p: p.sum() > 0, np.ones(3), {}, "one real number, got shape .* bool"),
        (lambda p: True, np.ones(3), {"method": "COBYLA"}, "one real number, got bool"),
        (lambda p: None, np.ones(3), {"method": "Newton-CG"}, "one real number, got NoneType"),
        (lambda p: (p.sum(), p.sum()), np.ones(3), {}, "one real number, got tuple"),
        (total, 1.0, {"has_aux": True}, "with has_aux, f must return a pair, got Tensor"),
        (total, 1.0, {"bounds": 3}, r"bounds must be a pair \(low, high\).*got 3"),
        (
            total,
            [1.0, 2.0, 3.0],
            {"bounds": [(0, 1)] * 4},
            r"bounds must be a pair \(low, high\).*one such pair a param",
        ),
        (total, [1.0, 2.0, 3.0], {"bounds": [(0, 1), (3, 2), (None, None)]}, "low <= high"),
        (total, np.ones(2), {"bounds": [(0, 1), (np.nan, 2)]}, "low <= high"),
        (total, 1.0, {"bounds": (1, 0)}, "low <= high"),
        (total, 1.0, {"bounds": (np.nan, 0)}, "low <= high"),
        (
            total,
            {"w": 1.0},
            {"bounds": ({"W": 0}, None)},
            r"bounds\[0\] must be like params, with \['w'\].*got \['W'\]",
        ),
        (
            total,
            {"w": [1.0]},
            {"bounds": (None, {"w": 0, "x": 1})},
            r"bounds\[1\] must be like params.*got \['w', 'x'\]",
        ),
        (
            total,
            {"w": [1.0]},
            {"bounds": ({"w": [1, 2]}, 1)},
            r"bounds\[0\]\['w'\] must be like params\['w'\], with \[0\]",
        ),
        (total, {"w": [1.0]}, {"bounds": ({"w": np.ones(1)}, 1)}, r"bounds\[0\]\['w'\] must be like .* got ndarray"),
        (total, np.ones((2, 3)), {"bounds": (None, np.ones(2))}, r"bounds\[1\] has shape \(2,\).* params, \(2, 3\)"),
        (total, np.ones(3), {"bounds": (None, np.ones((1, 3)))}, r"bounds\[1\] has shape \(1, 3\)"),
        (
            total,
            [1.0],
            {"bounds": ([1j], None)},
            r"bounds\[0\]\[0\] must be real for a real leaf, got dtype complex128",
        ),
        (total, [1.0], {"bounds": (None, ["a"])}, r"bounds\[1\]\[0\] must be a number or an array of numbers, got 'a'"),
        (total, np.ones(2), {"bounds": (None, [[1], [1, 2]])}, r"bounds\[1\] must be a number or an array of numbers"),
        (total, 1.0, {"constraints": 3}, "a constraint is a dict with type and fun, .*got int"),
        (total, 1.0, {"constraints": [total]}, "a constraint is a dict with type and fun, .*got function"),
        (total, 1.0, {"constraints": {"type": "EQ", "fun": total}}, 'type is "eq" or "ineq", got \'EQ\''),
        (total, 1.0, {"constraints": {"type": "eq"}}, "the constraint's fun must be a function .* got NoneType"),
        (total, 1.0, {"constraints": {"type": "eq", "fun": total, "jac": total}}, "leave jac out"),
        (total, 1.0, {"constraints": NonlinearConstraint(total, 0, 0, jac=total)}, "leave jac out"),
        (
            total,
            1.0,
            {"constraints": {"type": "eq", "fun": lambda p: None}},
            "must return numbers or arrays, got NoneType",
        ),
        (total, 1.0, {"constraints": {"type": "eq", "fun": lambda p: p > 0}}, "returned booleans"),
    ],
)
def test_errors_name_the_place_and_the_fix(f, params, more, message):
    with pytest.raises((TypeError, ValueError), match=r"(?s)minimize.*" + message):
        minimize(f, params, **more)


@pytest.mark.parametrize(
    "residuals, params, more, message",
    [
        (total, [1], {}, r"params\[0\] is an integer"),
        (5, 1.0, {}, "residuals must be a function of the parameters, got int"),
        (lambda p: None, 1.0, {}, "residuals must return numbers or arrays, got NoneType"),
        (lambda p: [p > 0], 1.0, {}, "residuals returned booleans"),
        (total, 1.0, {"has_aux": True}, "with has_aux, residuals must return a pair"),
        (total, {"a": 1.0}, {"x_scale": {"b": 1.0}}, r"x_scale must be like params, with \['a'\]"),
        (total, {"a": 1.0}, {"bounds": (2, 1)}, "low <= high"),
    ],
)
def test_errors_of_least_squares(residuals, params, more, message):
    with pytest.raises((TypeError, ValueError), match="least_squares: .*" + message):
        least_squares(residuals, params, **more)


def test_what_scipy_refuses_it_says_itself():
    with pytest.raises(ValueError, match="Unknown solver gauss"):
        minimize(total, 1.0, method="gauss")
    with pytest.raises(RuntimeWarning, match="cannot handle bounds"):
        minimize(total, 1.0, method="BFGS", bounds=(0, 1))
    with pytest.raises(TypeError, match="unexpected keyword"):
        least_squares(lambda p: p, 1.0, tolerance=1)
