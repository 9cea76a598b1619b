"""odeint's gradient: as exact as the tolerances for damped, stiff and growing systems, in every direction of time, and
with a warning where it is not to be trusted.

`python tests/test_odeint.py 10000` searches through 10,000 random systems.
"""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import needle
import numpy as np
import pytest
import scipy.integrate
from needle import Tensor
from needle.scipy import integrate
from needle.scipy.integrate import odeint
from needle.testing import check_grads
from numpy.testing import assert_allclose

EXACT = {"rtol": 1e-10, "atol": 1e-12}
ODEINT_WARNING = scipy.integrate.ODEintWarning

# Random systems ------------------------------------------------------------------------------------------------------


def random_times(rng: Any) -> Any:
    """Up to five times, upwards or downwards from anywhere, the first maybe twice."""
    end = 10 ** rng.uniform(-1, 0.7)
    t = np.sort([0.0, end, *rng.uniform(0, end, rng.integers(4))])
    if rng.random() < 0.2:
        t = np.insert(t, 0, t[0])
    return rng.normal() + t * rng.choice([1, -1], p=[0.7, 0.3])


def linear(rng: Any, n: int) -> Any:
    a = rng.normal(size=(n, n)) * 10 ** rng.uniform(-1, 0)
    return lambda y, t, p: p @ y + np.sin(t), rng.normal(size=n), a


def stiff(rng: Any, n: int) -> Any:
    """Rates up to 10,000, in directions across the axes."""
    q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    return lambda y, t, p: np.cos(t) - q @ (p * (q.T @ y)), rng.normal(size=n), 10 ** rng.uniform(0, 4, n)


def oscillator(rng: Any, n: int) -> Any:
    """Driven, and damped a little or a lot."""
    p = np.array([rng.uniform(0.1, 20), 10 ** rng.uniform(-2, 2), rng.normal()])
    return lambda y, t, p: np.stack([y[1], p[2] * np.cos(t) - p[0] * y[0] - p[1] * y[1]]), rng.normal(size=2), p


def logistic(rng: Any, n: int) -> Any:
    return lambda y, t, p: p * y * (1 - y), rng.uniform(0.05, 0.5, n), 10 ** rng.uniform(-1, 1, n)


def van_der_pol(rng: Any, n: int) -> Any:
    p = np.array(10 ** rng.uniform(-1, 2))
    return lambda y, t, p: np.stack([y[1], p * (1 - y[0] ** 2) * y[1] - y[0]]), rng.normal(size=2), p


def lotka_volterra(rng: Any, n: int) -> Any:
    def field(y: Any, t: Any, p: Any) -> Any:
        return np.stack([p[0] * y[0] - p[1] * y[0] * y[1], p[3] * y[0] * y[1] - p[2] * y[1]])

    return field, rng.uniform(0.5, 2, 2), rng.uniform(0.5, 1.5, 4)


def robertson(rng: Any, n: int) -> Any:
    """A reaction whose rates differ by nine orders of magnitude."""

    def field(y: Any, t: Any, p: Any) -> Any:
        slow, back, fast = p[0] * y[0], p[1] * y[1] * y[2], p[2] * y[1] ** 2
        return np.stack([back - slow, slow - back - fast, fast])

    return field, np.array([1.0, 0.0, 0.0]), np.array([0.04, 1e4, 3e7])


SYSTEMS = [linear, stiff, oscillator, logistic, van_der_pol, lotka_volterra, robertson]


def search(seed: int) -> float:
    """The error of reverse mode against forward mode, by y0, t and the args, of a random system and loss."""
    rng = np.random.default_rng(seed)
    t = random_times(rng)
    field, y0, p = SYSTEMS[seed % len(SYSTEMS)](rng, rng.integers(1, 5))
    sign = np.sign(t[-1] - t[0])  # what is damped stays so
    weights = rng.normal(size=(t.size, y0.size)) * (rng.random((t.size, 1)) < rng.choice([0.3, 1]))
    weights[-1, 0] += 1

    def loss(y0: Any, t: Any, p: Any) -> Any:
        ys = odeint(lambda y, t, p: sign * field(y, t, p), y0, t, (p,), mxstep=50_000)
        return (ys * weights).sum()

    along = tuple(rng.normal(size=a.shape) for a in (y0, t, p))
    found = needle.grad(loss, (0, 1, 2))(y0, t, p)
    expected = needle.jvp(loss, (y0, t, p), along)[1]
    got = sum(np.sum(g * v) for g, v in zip(found, along, strict=True))
    return abs(got - expected) / max(1.0, *[np.abs(g).max() for g in found])


BOUND = 1e-4
"""Of the error. SciPy's tolerance is 1.5e-8 a step."""


@pytest.mark.parametrize("start", range(0, 210, 21))
def test_random_systems_in_reverse_and_in_forward_mode(start):
    errors = {seed: search(seed) for seed in range(start, start + 21)}
    assert {seed: error for seed, error in errors.items() if not error < BOUND} == {}
    assert np.median(list(errors.values())) < 1e-6


# Where y goes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1.0, 20.0, 1e4])
def test_damped(rate):
    """y0 forgets its start; y1 collects k times what is left."""

    def loss(y0, k):
        field = lambda y, t, k: np.stack([-rate * (y[0] - np.cos(t)), k * y[0]])  # noqa: E731
        return odeint(field, y0, [0.0, 3.0], (k,))[-1, 1]

    by_k = rate / (rate**2 + 1) * (rate * np.sin(3.0) - np.cos(3.0) + np.exp(-3.0 * rate))
    by_y0, got = needle.grad(loss, (0, 1))(np.zeros(2), 1.0)
    assert_allclose(got, by_k, rtol=5e-6)
    assert_allclose(by_y0, [(1 - np.exp(-3.0 * rate)) / rate, 1], rtol=1e-5)


def test_growing():
    by_y0, k = needle.grad(
        lambda y0, k: odeint(lambda y, t, k: k * y, y0, [0.0, 20.0], (k,), mxstep=5000)[-1, 0], (0, 1)
    )([1.0], 1.0)
    assert_allclose([by_y0[0], k], [np.exp(20.0), 20 * np.exp(20.0)], rtol=1e-5)


@pytest.mark.parametrize("size", [1e-12, 1e9])
def test_tolerances_are_relative_to_what_is_given(size):
    loss = lambda k: odeint(lambda y, t, k: -k * y, [1.0], [0.0, 2.0], (k,))[-1, 0] * size  # noqa: E731
    assert_allclose(needle.grad(loss)(1.0), -2 * np.exp(-2.0) * size, rtol=1e-6)


# Where and when the function is called -------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0)])
def test_backwards_the_function_is_called_between_the_times_only(ends):
    """y' = sqrt(t (1 - t)) has no values elsewhere. SciPy's solver passes the last time, unless tcrit tells it to
    stop, and downwards even so: there, the function goes on as 0."""
    called = []

    def field(y, t, k):
        called.append(t.item())
        return k * np.sqrt(np.maximum(t * (1 - t), 0)) + 0 * y

    def loss(y0, k):
        y = odeint(field, y0, [ends[0], 0.3, ends[1]], (k,), tcrit=[1.0] if ends[1] else None)
        called.clear()
        return y.sum()

    with np.errstate(all="ignore"):
        by_y0, by_k = needle.grad(loss, (0, 1))(np.ones(2), 1.0)
    part = scipy.integrate.quad(lambda t: np.sqrt(t * (1 - t)), ends[0], 0.3)[0]
    whole = np.copysign(np.pi / 8, part)
    assert_allclose([*by_y0, by_k], [3, 3, 2 * (part + whole)], rtol=1e-5)
    assert 0 <= min(called) < max(called) <= 1


def test_undefined_before_the_start():
    """y' = log(t) from 0.001 on: nothing warns, since nobody asks before."""
    loss = lambda y0, k: odeint(lambda y, t, k: k * np.log(t) * y, y0, [1e-3, 1.0], (k,))[-1, 0]  # noqa: E731
    power = -1 - 1e-3 * np.log(1e-3) + 1e-3
    by_y0, by_k = needle.grad(loss, (0, 1))([1.0], 1.0)
    assert_allclose([by_y0[0], by_k], [np.exp(power), power * np.exp(power)], rtol=1e-5)


def test_tcrit_restarts_both_equations_where_the_function_jumps():
    k, turn = 1.5, np.array([1.0])

    def field(y, t, k):
        return np.where(t < 1, -k * y, -100 * k * y + 1)

    loss = lambda k: odeint(field, [1.0], [0.0, 1.0, 1.1], (k,), tcrit=turn, **EXACT)[-1, 0]  # noqa: E731
    end = lambda k: (np.exp(-k) - 0.01 / k) * np.exp(-10 * k) + 0.01 / k  # noqa: E731
    assert_allclose(needle.grad(loss)(k), (end(k + 1e-5) - end(k - 1e-5)) / 2e-5, rtol=1e-6)
    assert_allclose(needle.jvp(loss, (k,), (1.0,)), (end(k), (end(k + 1e-5) - end(k - 1e-5)) / 2e-5), rtol=1e-5)


def test_what_nothing_was_computed_from_is_not_solved():
    """The last time that matters is 1, and beyond it nothing is asked for."""
    late: list[bool] = []

    def field(y, t, k):
        late.append(t.item() > 1)
        return k / (3 - t) + 0 * y

    def loss(k):
        y = odeint(field, [0.0], [0.0, 1.0, 2.0], (k,), **EXACT)
        late.clear()
        return y[1, 0]

    assert_allclose(needle.grad(loss)(1.0), np.log(1.5), rtol=1e-8)
    assert late
    assert not any(late)


# Times ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "t",
    [
        [0.5],
        [0.5, 0.5],
        [0.5, 0.5, 1.0, 1.0, 1.7],
        [1.0, 0.8, 0.8, 0.3],
        [0, 1, 2],
        [0.0, *np.linspace(0.5, 1, 40)],
    ],
)
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_times(t, mode):
    """y' = -k y**2 + t against its derivative by hand where there is one, at times that repeat and that go down."""
    t, y0, k = np.array(t), np.array([0.7, 1.2]), 0.6
    passed = (t - t[0])[:, None]
    y = y0 / (1 + k * y0 * passed)
    by_y0, by_k, by_t = needle.jacobian(
        lambda y0, k, t: odeint(lambda y, t, k: -k * y * y, y0, t, (k,), **EXACT), (0, 1, 2), mode
    )(y0, k, t)
    slope = -k * y * y
    expected = slope[:, :, None] * np.eye(t.size)[:, None, :]
    expected[:, :, 0] -= slope
    assert_allclose(by_y0, (y / y0)[:, :, None] ** 2 * np.eye(2), rtol=1e-7, atol=1e-9)
    assert_allclose(by_k, -passed * y**2, rtol=1e-7, atol=1e-9)
    assert_allclose(by_t, expected, rtol=1e-7, atol=1e-9)


def test_no_state():
    assert odeint(lambda y, t: -y, np.zeros(0), [0.0, 1.0]).shape == (2, 0)
    assert needle.grad(lambda y0: odeint(lambda y, t: -y, y0, [0.0, 1.0]).sum())(np.zeros(0)).shape == (0,)


# Arguments, options, orders ------------------------------------------------------------------------------------------


def test_dtypes_of_arguments():
    def loss(y0, k):
        return odeint(lambda y, t, k: -k * y, y0, [0.0, 1.0], (k,))[-1].sum()

    for number in (np.float16(2), np.float32(2), np.float64(2), 2):
        by_y0, by_k = needle.grad(loss, (0, 1))(np.ones(1, np.float32), number)
        assert by_y0.dtype == np.float32
        assert np.asarray(by_k).dtype == (number.dtype if isinstance(number, np.generic) else float)
        assert_allclose(
            [by_y0[0], by_k], [np.exp(-2.0), -np.exp(-2.0)], rtol=1e-3 if by_k == np.float16(by_k) else 2e-7
        )


def test_complex_arguments():
    """y = y0 exp(-|k|**2 t): by the plain transpose, d/da - i d/db is -2 conj(k) t y."""

    def loss(k):
        return odeint(lambda y, t, k: -(k * needle.conj(k)).real * y, [2.0], [0.0, 0.5], (k,))[-1, 0]

    k = 0.7 - 0.4j
    assert_allclose(needle.grad(loss)(k), -np.conj(k) * 2 * np.exp(-(abs(k) ** 2) / 2), rtol=1e-6)
    check_grads(lambda k: odeint(lambda y, t, k: k.real * y * y - k.imag, [0.2], [0.0, 0.5], (k,), **EXACT), k, order=1)


@pytest.mark.parametrize(
    "options",
    [
        {"rtol": [1e-9, 1e-8], "atol": [1e-10, 1e-9]},
        {"rtol": 0.0, "atol": 1e-9},
        {"rtol": 1e-9, "atol": 0.0},
        {"rtol": 1e-9, "atol": 1e-30},
        {"h0": 1e-3, "hmax": 0.01, "hmin": 1e-9, "mxstep": 5000},
        {"h0": 5.0},
        {"mxordn": 4, "mxords": 2},
        {"rtol": None, "atol": None, "tcrit": None},
    ],
)
def test_options(options):
    def y(k):
        return odeint(
            lambda t, y, k: np.stack([-k * y[0], k * y[0] * y[1]]), [1.0, 0.5], [0, 1.5], (k,), tfirst=True, **options
        )[-1]

    left = np.exp(-1.2 * 1.5)
    expected = [-1.5 * left, 0.5 * np.exp(1 - left) * 1.5 * left]
    for mode in ("forward", "reverse") if options.get("atol", 1) else ("reverse",):  # a tangent starts from 0
        assert_allclose(needle.jacobian(y, mode=mode)(1.2), expected, rtol=1e-5)


def test_higher_orders():
    """y = y0 exp(-k t): every derivative, in every mixture of modes; the system is damped."""
    f = lambda k: odeint(lambda y, t, k: -k * (y - 1), [3.0], [0.0, 1.5], (k,), **EXACT)[-1, 0]  # noqa: E731
    exact = [2 * (-1.5) ** order * np.exp(-1.5 * 4.0) for order in range(4)]
    first = needle.grad(f)
    forward = lambda g: lambda k: needle.jvp(g, (k,), (1.0,))[1]  # noqa: E731
    assert_allclose(first(4.0), exact[1], rtol=1e-6)
    for second in (needle.grad(first), forward(first), needle.grad(forward(f)), lambda k: needle.hvp(f, (k,), (1.0,))):
        assert_allclose(second(4.0), exact[2], rtol=1e-5)
    assert_allclose(needle.grad(needle.grad(first))(4.0), exact[3], rtol=1e-4)


def test_hessian_of_a_stiff_system():
    def f(p):
        return odeint(
            lambda y, t, p: -200 * (y - p[0] * np.cos(t)) * (1 + p[1] * y * y),
            [0.3],
            [0.0, 1.0],
            (p,),
            mxstep=5000,
            **EXACT,
        )[-1, 0]

    p, e = np.array([0.8, 0.4]), 1e-4
    differences = [(needle.grad(f)(p + v) - needle.grad(f)(p - v)) / (2 * e) for v in e * np.eye(2)]
    assert_allclose(needle.hessian(f)(p), differences, rtol=1e-3, atol=1e-7)


def test_through_backward():
    k = Tensor(1.3)
    loss = odeint(lambda y, t, k: -k * y, [2.0], [0.0, 1.0], (k,), **EXACT)[-1].sum()
    loss.backward()
    assert_allclose(k.grad.numpy(), -2 * np.exp(-1.3), rtol=1e-8)
    k.grad.backward()
    assert_allclose(k.grad.numpy(), 2 * np.exp(-1.3), rtol=1e-8)


# Memory, and what is not to be trusted -------------------------------------------------------------------------------


def test_memory_is_bounded(monkeypatch, uncollected):
    """Of ten times as long a solution, a few checkpoints more are kept."""
    monkeypatch.setattr(integrate, "KEPT", 50)

    def most(end):
        loss = lambda y0: odeint(lambda y, t: np.stack([y[1], -y[0]]), y0, [0.0, end], mxstep=10**6)[-1, 0]  # noqa: E731
        tracemalloc.start()
        slope = needle.grad(loss)(np.array([1.0, 0.0]))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert_allclose(slope, [np.cos(end), np.sin(end)], rtol=1e-3, atol=1e-4)
        return peak

    short = most(20.0)
    assert most(200.0) < 1.5 * short


@pytest.mark.parametrize("kept", [1, 7, 500])
def test_parts_that_are_solved_again_give_the_same(kept, monkeypatch):
    monkeypatch.setattr(integrate, "KEPT", kept)

    def loss(k):
        return odeint(lambda y, t, k: np.sin(t) - k * y * y, [1.0], [0.0, 0.1, 2.0], (k,), tcrit=[1.0, 2.0]).sum()

    assert_allclose(needle.grad(loss)(0.7), needle.jvp(loss, (0.7,), (1.0,))[1], rtol=1e-6)


def test_a_solution_that_depends_on_rounding_is_warned_of():
    """Lorenz's system, far beyond where two solutions part."""

    def lorenz(y, t, r):
        return np.stack([10 * (y[1] - y[0]), y[0] * (r - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]])

    loss = lambda r, end: odeint(lorenz, [1.0, 1.0, 1.0], [0.0, end], (r,), mxstep=10**5)[-1, 0]  # noqa: E731
    needle.grad(loss)(28.0, 1.0)
    with pytest.warns(ODEINT_WARNING, match="odeint: solved twice, y at t = 30 is .* neither y nor its gradient"):
        needle.grad(loss)(28.0, 30.0)


def test_a_function_that_changes_is_warned_of():
    gain = [1.0]
    loss = lambda k: odeint(lambda y, t, k: -k * y * gain[0], [1.0], [0.0, 1.0], (k,))[-1, 0]  # noqa: E731
    _, pull = needle.vjp(loss, 1.0)
    gain[0] = 2.0
    with pytest.warns(ODEINT_WARNING, match="solved twice"):
        pull(1.0)


def test_an_adjoint_equation_without_a_solution_is_nan_with_a_warning():
    """The derivative of sqrt(|y|) is infinite where y is 0."""
    loss = lambda y0: odeint(lambda y, t: -np.sqrt(np.abs(y)) + 0 * t, y0, [0.0, 1.0])[-1, 0]  # noqa: E731
    with pytest.warns(ODEINT_WARNING, match="odeint: the gradient is NaN: "), np.errstate(all="ignore"):
        assert np.isnan(needle.grad(loss)(np.array([0.0])))


def test_too_few_steps_are_warned_of():
    loss = lambda k: odeint(lambda y, t, k: k * np.cos(100 * t * y), [1.0], [0.0, 30.0], (k,), mxstep=5)[-1, 0]  # noqa: E731
    with pytest.warns(ODEINT_WARNING) as told:
        assert np.isnan(needle.grad(loss)(1.0))
    assert any("give a larger mxstep" in str(w.message) for w in told)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_adjoint_that_is_not_finite_is_handed_on(value):
    _, pull = needle.vjp(lambda k: odeint(lambda y, t, k: -k * y, [1.0], [0.0, 1.0], (k,)), 1.0)
    assert np.isnan(pull(np.array([[0.0], [value]]))[0])


if __name__ == "__main__":
    worst = sorted([(search(seed), seed, SYSTEMS[seed % len(SYSTEMS)].__name__) for seed in range(int(sys.argv[1]))])
    print("\n".join(f"{error:.1e}, seed {seed}, {name}" for error, seed, name in worst[-20:]))
