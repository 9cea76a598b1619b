"""needle.scipy: SciPy's functions that are no ufuncs, with SciPy's values and dtypes, differentiable twice."""

from __future__ import annotations

from typing import Any

import needle
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.signal
import scipy.special
import scipy.stats
from needle import Tensor
from needle.scipy import integrate, linalg, signal, special, stats
from needle.testing import check_grads
from numpy.testing import assert_allclose

RNG = np.random.default_rng(0)
A, B, V = RNG.normal(size=(3, 3)), RNG.normal(size=(3, 2)), RNG.normal(size=3)
P = A @ A.T + 3 * np.eye(3)  # positive definite
R = P + 0.3 * RNG.normal(size=(3, 3))
C = A + 1j * RNG.normal(size=(3, 3))
H = C + C.conj().T + 8 * np.eye(3)
L = A + 4 * np.eye(3)
INF = np.inf


def check(ours: Any, theirs: Any, args: tuple[Any, ...], options: dict[str, Any], differentiable: bool = True) -> None:
    """The value, shape and dtype are SciPy's, and every derivative is one, in both modes, up to second order."""
    with np.errstate(all="ignore"):
        expected = theirs(*args, **options)
        got = ours(*[Tensor(a) if isinstance(a, np.ndarray) else a for a in args], **options)
    for g, e in zip(got, expected, strict=True) if isinstance(expected, tuple) else [(got, expected)]:
        assert isinstance(g, Tensor)
        assert (g.shape, g.dtype) == (np.shape(e), np.asarray(e).dtype)
        assert_allclose(g.numpy(), e, rtol=1e-9, atol=1e-12)
    if differentiable:
        places = [i for i, a in enumerate(args) if isinstance(a, np.ndarray) and a.dtype.kind in "fc"]

        def f(*moving: Any) -> Any:
            every = list(args)
            for i, a in zip(places, moving, strict=True):
                every[i] = a
            return ours(*every, **options)

        check_grads(f, *[args[i] for i in places])


def named(cases: list[Any]) -> Any:
    return pytest.mark.parametrize(
        ("name", "args", "options"), cases, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(cases)]
    )


SPECIAL = [
    ("logsumexp", (B,), {}),
    ("logsumexp", (B,), {"axis": -1, "keepdims": True}),
    ("logsumexp", (B, 0, np.abs(B) + 0.1), {}),
    ("logsumexp", (A, 1, V), {"return_sign": True}),
    ("logsumexp", (C,), {"axis": 0}),
    ("softmax", (B,), {}),
    ("softmax", (B, 0), {}),
    ("log_softmax", (B, -1), {}),
    ("polygamma", (2, np.array([0.4, 2.5])), {}),
    ("zeta", (2.5, np.array([0.4, 2.5])), {}),
    ("multigammaln", (np.array([2.4, 3.5]), 3), {}),
    ("comb", (np.array([5.5, 7.2]), np.array([2.0, 1.3])), {}),
    ("comb", (np.array([5.5, 7.2]), np.array([2.0, 1.3])), {"repetition": True}),
    ("perm", (np.array([5.5, 7.2]), np.array([2.0, 1.3])), {}),
    ("factorial", (np.array([0.5, 3.0]),), {}),
    ("lambertw", (np.array([0.5, 3.0]),), {}),
    ("lambertw", (np.array([0.5, 3.0 - 1j]), -1), {}),
    ("jn", (2, np.array([0.5, 3.0])), {}),
    ("spherical_jn", (2, np.array([0.5, 3.0])), {"derivative": True}),
    ("expit", (B,), {}),
    ("airy", (V,), {}),
]


@named(SPECIAL)
def test_special(name, args, options):
    check(getattr(special, name), getattr(scipy.special, name), args, options)


def test_special_at_the_edges():
    assert special.logsumexp([-INF, -INF], b=[1.0, 1.0]).item() == -INF
    x, weights = np.array([1.0, -INF, 2.0, 900.0]), np.array([1.0, 1.0, 0.0, 0.0])
    by_x, by_b = needle.grad(lambda x, b: special.logsumexp(x, b=b), (0, 1))(x, weights)
    assert_allclose(by_x, [1, 0, 0, 0])
    assert_allclose(by_b[:3], [1, 0, np.e])
    assert np.isnan(special.logsumexp([0.0, 1.0], b=[1.0, -1.0]).item())
    assert special.logsumexp(np.ones(2, "f"), b=np.ones(2, "f")).dtype == np.float32
    assert_allclose(special.comb(3, [2.0, 5.0]).numpy(), [3, 0])
    assert special.comb(5, 2, exact=True).item() == 10
    assert isinstance(special.erf(0.5), Tensor)
    with pytest.raises(ValueError, match="multigammaln: a must be greater than"):
        special.multigammaln(Tensor([1.0]), 3)
    with pytest.raises(AttributeError, match="no differentiable function 'nothing'"):
        special.nothing  # noqa: B018


LINALG = [
    *[
        ("solve_triangular", (L, B), {"trans": trans, "lower": lower, "unit_diagonal": unit})
        for trans, lower, unit in [
            (0, False, True),
            (0, True, False),
            (1, False, False),
            (1, True, True),
            ("C", True, False),
        ]
    ],
    ("solve_triangular", (L, V), {}),
    ("solve_triangular", (H, B + 1j), {"trans": 2}),
    ("solve_triangular", (np.stack([L, L + 1]), B), {"lower": True}),
    ("solve_triangular", (L, np.zeros((3, 0))), {}),
    ("solve_triangular", (L.astype("f"), V.astype("f")), {}),
    ("solve_triangular", (np.stack([L, L + 1]), V), {"lower": True}),
    ("solve_banded", ((1, 1), R, V), {}),
    ("solve_banded", ((0, 2), L[::-1], B), {}),
    ("solve_banded", ((2, 0), np.stack([L, C + 3]), V), {}),
    ("solve_banded", ((1, 1), R.astype("f"), V.astype("f")), {}),
    ("solve_banded", ((1, 1), R, np.zeros((3, 0))), {}),
    ("cho_solve", ((L + 2 * np.eye(3), True), B), {}),
    ("cho_solve", ((np.stack([L, L + np.eye(3)]), True), V), {}),
    ("solve", (np.stack([R, L]), V), {}),
    ("solve", (R, B), {}),
    ("solve", (R, V), {"transposed": True}),
    ("solve", (R, B), {"assume_a": "pos", "lower": True}),
    ("solve", (R, B), {"assume_a": "sym"}),
    ("solve", (H, B), {"assume_a": "her"}),
    ("solve", (R, B), {"assume_a": "upper triangular"}),
    ("solve_sylvester", (P, P + 1, A), {}),
    ("solve_sylvester", (C, C + 3 * np.eye(3), C), {}),
    ("solve_sylvester", (A, P[:2, :2] + 9 * np.eye(2), B), {}),
    ("solve_continuous_lyapunov", (L, P), {}),
    ("solve_discrete_lyapunov", (A / 4, P), {}),
    ("solve_discrete_lyapunov", (C / 6, C), {"method": "bilinear"}),
    ("inv", (R,), {}),
    ("det", (R,), {}),
    ("svdvals", (A,), {}),
    ("expm", (A,), {}),
    ("expm", (C,), {}),
    ("expm", (A.astype("f"),), {}),
    ("expm", (np.stack([A, R]),), {}),
    ("logm", (R[:2, :2],), {}),
    ("logm", (H[:2, :2],), {}),
    ("sqrtm", (R,), {}),
    ("fractional_matrix_power", (R[:2, :2], 0.3), {}),
    *[(name, (A / 2,), {}) for name in ["cosm", "sinm", "tanm", "coshm", "sinhm", "tanhm"]],
    ("block_diag", (A, B, V, 2.0), {}),
    ("toeplitz", (V, np.array([1.0, 2.0, 3.0, 4.0])), {}),
    ("toeplitz", (V + 1j,), {}),
    ("toeplitz", (B,), {}),
    ("hankel", (V,), {}),
    ("hankel", (V, np.array([1.0, 2.0])), {}),
    ("circulant", (V,), {}),
    ("block_diag", (), {}),
    ("toeplitz", (np.zeros(0),), {}),
]


@named(LINALG)
def test_linalg(name, args, options):
    single = any(getattr(a, "dtype", None) == np.float32 for a in args)
    check(getattr(linalg, name), getattr(scipy.linalg, name), args, options, differentiable=not single and args != ())


@pytest.mark.parametrize("lower", [False, True])
def test_cholesky_factors_solve(lower):
    assert_allclose(linalg.cholesky(Tensor(P), lower).numpy(), scipy.linalg.cholesky(P, lower))

    def f(a: Any, b: Any) -> Any:
        return linalg.cho_solve(linalg.cho_factor(a @ a.mT + np.eye(3), lower), b)

    assert_allclose(f(Tensor(A), B).numpy(), np.linalg.solve(A @ A.T + np.eye(3), B))
    check_grads(f, A, B)


def test_generalized_eigenvalues():
    w, v = linalg.eigh(P, R @ R.T)
    expected = scipy.linalg.eigh(P, R @ R.T)
    assert_allclose(w.numpy(), expected[0])
    assert_allclose(np.abs(v.numpy()), np.abs(expected[1]))
    check_grads(lambda a, b: linalg.eigvalsh(a @ a.mT, b @ b.mT), A, R)
    moved, along = linalg.expm_frechet(A, P)
    assert_allclose(moved.numpy(), scipy.linalg.expm(A))
    assert_allclose(along.numpy(), scipy.linalg.expm_frechet(A, P)[1], rtol=1e-9)


def test_linalg_errors():
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        linalg.solve_triangular(np.zeros((2, 2)), np.ones(2))
    with pytest.raises(ValueError, match="square matrices along the last two axes"):
        linalg.expm(np.ones((2, 3)))
    with pytest.raises(ValueError, match="trans must be 0"):
        linalg.solve_triangular(L, B, trans=3)
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        linalg.solve_banded((1, 1), np.zeros((3, 2)), np.ones(2))
    with pytest.raises(ValueError, match=r"a row for each of 2 \+ 1 \+ 1 = 4 diagonals, got shape \(3, 5\)"):
        linalg.solve_banded((2, 1), np.zeros((3, 5)), np.ones(5))
    with pytest.raises(ValueError, match=r"b must be \(5,\) or \(..., 5, k\), as ab is \(3, 5\); got \(4,\)"):
        linalg.solve_banded((1, 1), np.zeros((3, 5)), np.ones(4))
    with pytest.raises(ValueError, match="assume_a must be None"):
        linalg.solve(R, B, assume_a="round")
    with pytest.raises(TypeError, match=r"expm\(t \* logm\(A\)\)"):
        linalg.fractional_matrix_power(R, Tensor(0.5))


CONTINUOUS = {"norm": (), "t": (2.5,), "gamma": (1.7,), "beta": (1.5, 2.2), "chi2": (3.1,), "expon": (), "uniform": ()}
X = np.array([-1.0, 0.3, 0.7, 2.5])


def finite_sum(y: Any) -> Any:
    return needle.masked(y, abs(y) < INF).sum()


@pytest.mark.parametrize("function", ["pdf", "logpdf", "cdf", "logcdf", "sf", "logsf", "ppf"])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_distributions(name, function):
    ours, theirs = getattr(getattr(stats, name), function), getattr(getattr(scipy.stats, name), function)
    shape = CONTINUOUS[name]
    inside = np.array([0.2, 0.45, 0.8])
    for x, where_ in [(X, ()), (X, (0.2, 1.5)), (X, (np.array(0.2), np.array([1.5, 2.0, 0.5, 3.0])))]:
        x = inside if function == "ppf" else x
        if np.ndim(where_[-1:]) == 2 and function == "ppf":
            continue
        with np.errstate(all="ignore"):
            expected = theirs(x, *shape, *where_)
        assert_allclose(ours(Tensor(x), *shape, *where_).numpy(), expected, rtol=1e-10, atol=1e-30)
    assert ours(Tensor(inside.astype("f")), *shape, 0.05, 1.3).dtype == np.float32
    check_grads(ours, inside, *shape, 0.05, 1.3)
    if function != "ppf":  # nothing is infinite or NaN outside of the support
        finite = needle.grad(
            lambda *args: needle.masked(y := ours(*args), abs(y) < INF).sum(), tuple(range(1 + len(shape)))
        )
        assert all(np.isfinite(g).all() for g in finite(X, *shape))


@pytest.mark.parametrize("function", ["pmf", "logpmf", "cdf", "logcdf", "sf", "logsf"])
def test_poisson(function):
    k = np.array([-1.0, 0.0, 2.0, 2.5, 7.0])
    with np.errstate(all="ignore"):
        expected = getattr(scipy.stats.poisson, function)(k, 1.7)
    assert_allclose(getattr(stats.poisson, function)(k, 1.7).numpy(), expected)
    check_grads(lambda mu: getattr(stats.poisson, function)(np.array([0.0, 2.0, 7.0]), mu), np.array([0.5, 1.7, 3.0]))


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 1, 3), (1, 3)])
def test_multivariate_normal(shape):
    x = RNG.normal(size=shape)
    got, expected = stats.multivariate_normal.logpdf(x, V, P), scipy.stats.multivariate_normal.logpdf(x, V, P)
    assert_allclose(got.numpy(), expected)
    assert got.shape == np.shape(expected)
    check_grads(lambda x, mean, a: stats.multivariate_normal.logpdf(x, mean, a @ a.mT + np.eye(3)), x, V, A)


def test_multivariate_normal_takes_what_scipys_takes():
    ours, theirs = stats.multivariate_normal, scipy.stats.multivariate_normal
    for args in [(0.3,), (np.array([0.3, 0.5]), None, 2.0), (V, V * 2, np.array([1.0, 2.0, 3.0])), (V, V * 0, 0.5)]:
        assert_allclose(ours.pdf(*args).numpy(), theirs.pdf(*args))
    assert_allclose(ours.entropy(V, P).numpy(), theirs.entropy(V, P))
    with pytest.raises(ValueError, match=r"cov must be a number, 3 variances, or a matrix of shape \(3, 3\)"):
        ours.logpdf(V, V, np.eye(2))


def test_multivariate_normal_with_a_singular_covariance():
    """Along the space that it spans; a regular one is as without the option."""
    ours, theirs = stats.multivariate_normal, scipy.stats.multivariate_normal
    check_grads(lambda x, m, a: ours.logpdf(x, m, a @ a.mT + np.eye(3), allow_singular=True), B.T, V, A)
    assert_allclose(ours.logpdf(B.T, V, P, True).numpy(), theirs.logpdf(B.T, V, P))
    plane = RNG.normal(size=(3, 2))
    inside = (plane @ RNG.normal(size=(2, 4))).T
    for cov, x in [
        (plane @ plane.T, inside),
        (plane @ plane.T, np.vstack([inside, V])),
        (np.diag([1.0, 0.0, 2.0]), np.array([0.5, 0.0, -1.0])),
        (np.array([1.0, 0.0, 2.0]), np.array([0.5, 0.1, -1.0])),
        (np.zeros((3, 3)), np.zeros(3)),
    ]:
        assert_allclose(ours.pdf(x, 0 * V, cov, True).numpy(), theirs.pdf(x, 0 * V, cov, True), atol=0)
        assert_allclose(ours.logpdf(x, 0 * V, cov, True).numpy(), theirs.logpdf(x, 0 * V, cov, True))
    cov = plane @ plane.T

    def along(p: Any, q: Any) -> Any:
        return ours.logpdf(p @ plane.T, q @ plane.T, cov, allow_singular=True)

    check_grads(along, B[:, :2], V[:2])
    assert_allclose(
        needle.grad(lambda x: ours.logpdf(x, 0 * V, cov, True))(inside[0]), -np.linalg.pinv(cov) @ inside[0]
    )
    single = [a.astype("f") for a in (inside[0], 0 * V, cov)]
    assert_allclose(ours.logpdf(*single, True).numpy(), theirs.logpdf(inside[0], 0 * V, cov, True), rtol=1e-4)
    assert ours.logpdf(V.astype("f"), *single[1:], True).item() == -INF
    assert needle.grad(lambda x: ours.logpdf(x, *single[1:], True))(single[0]).dtype == np.float32
    outside = needle.value_and_grad(lambda x: needle.masked(ours.logpdf(x, V, cov, True), False))(inside[0])
    assert_allclose(outside[1], np.zeros(3))
    for derivative in (needle.grad, lambda f: lambda c: needle.jvp(f, (c,), (c,))):
        with pytest.raises(ValueError, match="this cov is singular, and has no derivative by cov"):
            derivative(lambda c: ours.logpdf(inside[0], 0 * V, c, allow_singular=True))(cov)
    with pytest.raises(ValueError, match=r"positive semidefinite, got the eigenvalue -1"):
        ours.logpdf(V, V, np.diag([1.0, -1.0, 2.0]), allow_singular=True)
    f = needle.compile(lambda x: ours.logpdf(x, 0 * V, cov, allow_singular=True))
    with pytest.warns(needle.CompileWarning, match="with allow_singular looks at a value"):
        f(V)
    for x in (inside[0], inside[1], V, inside[2]):
        assert_allclose(f(x), theirs.logpdf(x, 0 * V, cov, True))


def test_dirichlet():
    alpha = np.array([0.5, 2.0, 3.0])
    q = RNG.dirichlet(alpha, 4).T
    for x in [q, q[:, 0], q[:2]]:
        assert_allclose(stats.dirichlet.logpdf(x, alpha).numpy(), scipy.stats.dirichlet.logpdf(x, alpha))
        check_grads(stats.dirichlet.logpdf, x, alpha)
    with pytest.raises(ValueError, match="dirichlet: alpha must be a vector"):
        stats.dirichlet.logpdf(V, np.ones(5))


T3, U3 = RNG.normal(size=(4, 5, 6)), RNG.normal(size=(3, 5, 2))


@pytest.mark.parametrize("mode", ["full", "valid", "same"])
def test_convolve_is_scipys(mode):
    for a, b in [(T3, T3[:2, :3, :1]), (T3[0, 0], T3[0, 0, :3]), (T3[0, 0, :3], T3[0, 0])]:
        expected = scipy.signal.convolve(a, b, mode, "direct")
        for got in [signal.convolve(a, Tensor(b), mode=mode), signal.convolve(Tensor(a), b, mode)]:
            assert_allclose(got.numpy(), expected, atol=1e-12)
        check_grads(lambda a, b: signal.convolve(a, b, mode=mode), a, b)


@pytest.mark.parametrize("mode", ["full", "valid"])
def test_convolve_along_some_axes_and_summed_over_others(mode):
    got = signal.convolve(T3, Tensor(U3), axes=([2], [2]), dot_axes=([1], [1]), mode=mode)
    assert got.shape == (4, 3, 7 if mode == "full" else 5)
    for i, j in np.ndindex(4, 3):
        expected = sum(np.convolve(T3[i, k], U3[j, k], mode) for k in range(5))
        assert_allclose(got[i, j].numpy(), expected, atol=1e-12)
    check_grads(lambda a, b: signal.convolve(a, b, ([2], [2]), ([1], [1]), mode), T3, U3)
    f = lambda a: signal.convolve(a, U3, ([2], [2]), ([1], [1]), mode)  # noqa: E731
    assert needle.jacobian(f)(T3).shape == (*got.shape, *T3.shape)


def test_convolve_errors():
    for args, message in [
        ((T3, U3, ([0], [0]), ([0], [1])), "name an axis of shape .* twice"),
        ((T3, U3, ([0, 1], [0])), "must pair axes"),
        ((np.zeros(0), np.ones(2)), "must not be empty"),
        ((V, V, None, ((), ()), "round"), "mode must be 'full', 'valid' or 'same'"),
        ((np.ones((2, 3)), np.ones((3, 2)), None, ((), ()), "valid"), "at least as long"),
    ]:
        with pytest.raises(ValueError, match=message):
            signal.convolve(*args)


EXACT = {"rtol": 1e-10, "atol": 1e-12}
TIMES = np.array([0.0, 0.5, 0.7, 1.6])


def oscillator(y: Any, t: Any, k: Any, m: Any) -> Any:
    return -k * (m @ y) + needle.sin(t)


def test_sqrtm_at_negative_eigenvalues():
    a = np.array([[1.0, 0.7, 0.2], [0.7, -2.0, 0.4], [0.2, 0.4, 0.5]])
    check_grads(lambda a: linalg.sqrtm(a + a.T), a)


def test_odeint():
    m, y0, k = np.array([[1.0, 0.3], [-0.4, 0.8]]), np.array([1.0, -0.5]), np.array(0.7)
    expected = scipy.integrate.odeint(lambda y, t: -0.7 * (m @ y) + np.sin(t), y0, TIMES, **EXACT)
    assert_allclose(
        integrate.odeint(oscillator, Tensor(y0), TIMES, (Tensor(k), m), **EXACT).numpy(), expected, rtol=1e-8
    )
    for mode in ["forward", "reverse"]:
        check_grads(
            lambda y0, t, k, m: integrate.odeint(oscillator, y0, t, (k, m), **EXACT),
            *(y0, TIMES, k, m),
            order=1,
            modes=[mode],
            rtol=1e-6,
            atol=1e-7,
        )


def test_odeint_to_second_order():
    def f(y0: Any, k: Any) -> Any:
        return integrate.odeint(lambda y, t, k: -k * y * y, y0, TIMES[:2], (k,), **EXACT)

    check_grads(f, np.array([0.5]), np.array(0.7), rtol=1e-5, atol=1e-6)


def test_odeint_takes_nested_args():
    def end(layers):
        def field(y, t, layers, scale):
            for layer in layers:
                y = np.tanh(layer["W"] @ y + layer["b"]) * scale
            return y

        return integrate.odeint(field, [0.3, -0.2], TIMES[:2], (layers, 1.5), **EXACT)[-1].sum()

    W, b = np.array([[0.2, 0.7], [-0.4, 0.5]]), np.array([0.1, -0.3])
    check_grads(end, [{"W": W, "b": b}], order=1, rtol=1e-6, atol=1e-7)


def test_odeint_takes_what_scipys_takes():
    assert integrate.odeint(lambda y, t: -y, 1.0, TIMES).shape == (4, 1)
    first = integrate.odeint(lambda t, y: -y * t, [1, 2], TIMES, tfirst=True)
    assert_allclose(first.numpy(), integrate.odeint(lambda y, t: -y * t, [1, 2], TIMES).numpy())
    turned = integrate.odeint(lambda y, t: [y[1], -y[0]], [1.0, 0.0], [0, np.pi])
    assert_allclose(turned.numpy()[1], [-1, 0], atol=1e-6)
    check_grads(lambda y0, t: integrate.odeint(lambda y, t: y, y0, t), V, TIMES[:1], order=1)
    slope = needle.jacobian(lambda y: integrate.odeint(lambda y, t: -y * y, y, [0, 1.0], **EXACT)[1])
    assert_allclose(slope(np.array([1.0, 2.0])), np.diag([1 / 4, 1 / 9]), rtol=1e-6)


def test_odeint_errors():
    k = Tensor(2.0)
    with pytest.raises(TypeError, match=r"odeint: func closes over a Tensor .* pass it in args"):
        integrate.odeint(lambda y, t: k * y, V, TIMES)
    with pytest.raises(TypeError, match="odeint: func closes over a Tensor"):
        needle.grad(lambda k: integrate.odeint(lambda y, t: k * y, V, TIMES).sum())(1.0)
    with pytest.raises(ValueError, match="odeint: func must return as many numbers as y has, 3"):
        integrate.odeint(lambda y, t: y[:1], V, TIMES)
    with pytest.raises(ValueError, match="odeint: y0 must be a vector"):
        integrate.odeint(lambda y, t: y, A, TIMES)
    with pytest.raises(TypeError, match="full_output is not supported"):
        integrate.odeint(lambda y, t: y, V, TIMES, full_output=True)


def test_structural_zeros_pass_routines_that_refuse_nan():
    factor = np.linalg.cholesky(np.array([[4.0, 1, 0], [1, 3, 1], [0, 1, 5]]))
    for solve in (
        lambda b: linalg.solve_triangular(np.eye(3) * 2, b, lower=True),
        lambda b: linalg.cho_solve((np.eye(3) * 2, True), b * 2),
        lambda b: factor @ linalg.solve_triangular(factor, b, lower=True) / 2,
    ):
        b = np.array([0.0, 1.0, 2.0])
        gradient = needle.grad(lambda b, solve=solve: needle.where(b > 0, needle.sqrt(solve(b)), 0.0).sum())
        assert_allclose(gradient(b), [0, 0.5 / np.sqrt(2), 0.25], atol=1e-15)


def test_scipys_functions_in_python_that_call_a_ufunc():
    check_grads(lambda x: scipy.special.lambertw(x).real, np.array([0.4, 1.7]))
    check_grads(lambda x: scipy.special.lambertw(x, -1).imag, 0.8)
    check_grads(lambda z: scipy.special.lambertw(z, k=1), np.array([0.4 + 0.3j]))
    check_grads(lambda q: scipy.special.zeta(3.5, q), np.array([0.4, 1.7]))
    assert needle.grad(lambda x: scipy.special.lambertw(x).real)(0.0) == 1
    with pytest.raises(NotImplementedError, match="zeta: its derivative by argument 0 is not known"):
        needle.grad(scipy.special.zeta)(2.0)
