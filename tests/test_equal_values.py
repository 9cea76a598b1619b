"""Second derivatives where eigenvalues or singular values are equal, or nearly so: the right ones where they exist,
else NaN with a warning.

    python tests/test_equal_values.py 10000

searches through so many random spectra, and prints how many results were right, unknown (NaN), and wrong."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from needle import Tensor
from numpy.testing import assert_allclose

# ---------------------------------------------------------------------------------------- functions and their reference


@dataclass(frozen=True)
class Scalar:
    """A function of one value, by Needle, and its first two derivatives in NumPy. `even`: it is, and smooth at 0."""

    of: Callable[[Any], Any]
    first: Callable[[Any], Any]
    second: Callable[[Any], Any]
    even: bool = False


SCALARS = {
    "itself": Scalar(lambda w: w, np.ones_like, np.zeros_like),
    "square": Scalar(lambda w: w * w, lambda w: 2 * w, lambda w: np.full_like(w, 2), even=True),
    "cube": Scalar(lambda w: w**3, lambda w: 3 * w * w, lambda w: 6 * w),
    "fourth power": Scalar(lambda w: w**4, lambda w: 4 * w**3, lambda w: 12 * w * w, even=True),
    "exp": Scalar(nnp.exp, np.exp, np.exp),
    "cosh": Scalar(nnp.cosh, np.sinh, np.cosh, even=True),
    "log": Scalar(nnp.log, lambda w: 1 / w, lambda w: -1 / w**2),
    "strain": Scalar(lambda w: nnp.log(w) ** 2, lambda w: 2 * np.log(w) / w, lambda w: (2 - 2 * np.log(w)) / w**2),
    "bell": Scalar(
        lambda w: nnp.exp(-w * w),
        lambda w: -2 * w * np.exp(-w * w),
        lambda w: (4 * w * w - 2) * np.exp(-w * w),
        even=True,
    ),
    "inverse": Scalar(lambda w: 1 / w, lambda w: -1 / w**2, lambda w: 2 / w**3),
}
OUTER: dict[str, tuple[Callable[[Any], Any], Callable[[float], float], Callable[[float], float]]] = {
    "sum": (lambda p: p, lambda p: 1.0, lambda p: 0.0),
    "square of the sum": (lambda p: p * p, lambda p: 2 * p, lambda p: 2.0),
    "exp of the sum": (lambda p: nnp.exp(0.1 * p), lambda p: 0.1 * np.exp(0.1 * p), lambda p: 0.01 * np.exp(0.1 * p)),
}
NODES, WEIGHTS = np.polynomial.legendre.leggauss(60)


def divided(g: Scalar, w: Any) -> Any:
    """[i, j]: (g'(w_i) - g'(w_j)) / (w_i - w_j), as the mean of g'' between them, which loses no digits."""
    between = w[:, None, None] + (w[None, :, None] - w[:, None, None]) * (NODES + 1) / 2
    return g.second(between) @ WEIGHTS / 2


def changes(outer: str, total: float, vectors: Any, e: Any, quotients: Any, *, first: Any, half: int = 1) -> Any:
    """The gradient of the function, and its change along e, by the formula of Daleckii and Krein. In the matrix of both
    signs, each value is there twice (`half` = 2)."""
    _, slope, curve = OUTER[outer]
    plain = (vectors * first) @ vectors.conj().T
    change = vectors @ (quotients * (vectors.conj().T @ e @ vectors)) @ vectors.conj().T
    along = product(plain, e.T) / half
    return slope(total) * plain, slope(total) * change + curve(total) * along * plain


def total(g: Scalar, w: Any) -> float:
    return float(np.asarray(g.of(w)).sum())


# ------------------------------------------------------------------------------------------------------------ the modes


def backward_twice(f: Any, a: Any, e: Any, d: Any) -> Any:
    x = Tensor(a)
    y = f(x)
    y.backward()
    (x.grad.conj() * e).sum().real.backward()
    return product(x.grad.numpy().conj(), d)


def product(gradient: Any, along: Any) -> Any:
    return (gradient * along).sum().real


def by_rows(f: Any, a: Any, e: Any, d: Any) -> Any:
    """Two rows of the second derivative at once, one of them read."""
    out, pullback = needle.vjp(lambda x: product(needle.grad(f)(x), e), a)
    return product(pullback(np.ones_like(out))[0], d)


SECOND: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "backward twice": backward_twice,
    "grad of grad": lambda f, a, e, d: product(needle.grad(lambda x: product(needle.grad(f)(x), e))(a), d),
    "pullback of grad": by_rows,
    "hvp": lambda f, a, e, d: product(needle.hvp(f, (a,), (e,)), d),
    "forward over reverse": lambda f, a, e, d: product(needle.jvp(needle.grad(f), (a,), (e,))[1], d),
    "many directions": lambda f, a, e, d: product(
        needle.jvp(needle.grad(f), (a,), (np.stack([d, e]),), many=True)[1][1], d
    ),
    "reverse over forward": lambda f, a, e, d: product(needle.grad(lambda x: needle.jvp(f, (x,), (e,))[1])(a), d),
    "forward over forward": lambda f, a, e, d: needle.jvp(lambda x: needle.jvp(f, (x,), (e,))[1], (a,), (d,))[1],
}


# ------------------------------------------------------------------------------------------------------ random spectra


def random(rng: Any, shape: tuple[int, ...], is_complex: bool) -> Any:
    a = rng.normal(size=shape)
    return a + 1j * rng.normal(size=shape) if is_complex else a


def unitary(rng: Any, n: int, is_complex: bool) -> Any:
    return (
        np.eye(n, dtype=complex if is_complex else float)
        if rng.random() < 0.3
        else np.linalg.qr(random(rng, (n, n), is_complex))[0]
    )


def spectrum(rng: Any, n: int, zeros: bool) -> Any:
    """Values of which many are equal or differ by little."""
    w = rng.choice(rng.choice([0.5, 0.7, 1.0, 1.3, 2.0], int(rng.integers(1, 4))), n)
    w = w + rng.choice([0, 0, 0, 1e-9, 1e-6], n) * rng.choice([1, 2], n)
    return np.where(rng.random(n) < 0.3, 0.0, w) if zeros else w


def hermitian_case(rng: Any) -> tuple[Any, ...]:
    """(the function, a, the gradient, its change along e, e, d)"""
    n, is_complex = int(rng.integers(1, 6)), bool(rng.random() < 0.4)
    name = str(rng.choice(list(SCALARS)))
    g, outer, w = SCALARS[name], str(rng.choice(list(OUTER))), spectrum(rng, n, zeros=False)
    v = unitary(rng, n, is_complex)
    a = (v * w) @ v.conj().T
    e, d = [(x + x.conj().T) / 2 for x in (random(rng, (n, n), is_complex), random(rng, (n, n), is_complex))]
    gradient, change = changes(outer, total(g, w), v, e, divided(g, w), first=g.first(w))
    of, vectors = nnp.linalg.eigvalsh, bool(rng.random() < 0.3)
    if vectors:

        def of(x: Any) -> Any:
            return nnp.linalg.eigh(x)[0]

    return lambda x: OUTER[outer][0](g.of(of(x)).sum()), (a + a.conj().T) / 2, gradient, change, e, d, w


def singular_case(rng: Any) -> tuple[Any, ...]:
    m, n, is_complex = int(rng.integers(1, 5)), int(rng.integers(1, 5)), bool(rng.random() < 0.4)
    k = min(m, n)
    zeros = bool(rng.random() < 0.4)
    g = SCALARS[str(rng.choice([name for name, g in SCALARS.items() if g.even or not zeros]))]
    outer, s = str(rng.choice(list(OUTER))), np.sort(spectrum(rng, k, zeros))[::-1]
    u, v = unitary(rng, m, is_complex), unitary(rng, n, is_complex)
    a = (u[:, :k] * s) @ v[:, :k].conj().T
    e, d = random(rng, (m, n), is_complex), random(rng, (m, n), is_complex)
    # The Hermitian matrix [[0, a], [a^H, 0]] has the eigenvalues s, -s, and 0.
    both = np.block([[u[:, :k], u[:, :k]], [v[:, :k], -v[:, :k]]]) / np.sqrt(2)
    rest = np.zeros((m + n, m + n - 2 * k), both.dtype)
    rest[:m, : m - k], rest[m:, m - k :] = u[:, k:], v[:, k:]
    vectors, w = np.hstack([both, rest]), np.concatenate([s, -s, np.zeros(m + n - 2 * k)])
    if g.even:
        first, quotients = g.first(w), divided(g, w)
    else:
        positive = np.where(w == 0, 1, np.abs(w))
        first = np.sign(w) * g.first(positive)
        same = np.sign(w)[:, None] * np.sign(w) > 0
        quotients = np.where(same, divided(g, positive), 0)
        gaps = w[:, None] - w
        np.divide(first[:, None] - first, gaps, out=quotients, where=~same & (gaps != 0))
    twofold = np.block([[np.zeros((m, m)), e], [e.conj().T, np.zeros((n, n))]])
    gradient, change = changes(outer, total(g, s), vectors, twofold, quotients, first=first, half=2)
    of = [nnp.linalg.svdvals, lambda x: nnp.linalg.svd(x)[1], lambda x: nnp.linalg.svd(x, False)[1]][rng.integers(3)]
    return lambda x: OUTER[outer][0](g.of(of(x)).sum()), a, gradient[:m, m:], change[:m, m:], e, d, s


CASES = {"eigenvalues": hermitian_case, "singular values": singular_case}


def check(kind: str, seed: int) -> dict[str, str]:
    """For each mode: "right", "unknown" or "wrong: ..."."""
    rng = np.random.default_rng([11, seed])
    f, a, gradient, change, e, d, w = CASES[kind](rng)
    expected = product(change.conj(), d)
    # Half of the digits may be lost where values differ by 1e-9.
    size = np.abs(change).max(initial=0) + np.abs(gradient).max(initial=0) * np.abs(e).max(initial=0)
    tolerance = 2e-6 * size * np.abs(d).sum() + 1e-12
    found = {}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert_allclose(needle.grad(f)(a).conj(), gradient, atol=1e-9 * (1 + np.abs(gradient).max(initial=0)))
        for mode, second in SECOND.items():
            warned.clear()
            got = second(f, a, e, d)
            if np.isnan(got):
                found[mode] = "unknown" if warned else "wrong: NaN without a warning"
            else:
                right = abs(got - expected) <= tolerance
                found[mode] = "right" if right else f"wrong: {got} instead of {expected}, {w=}"
    return found


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("seed", range(40))
def test_second_derivatives_of_symmetric_functions(kind, seed):
    found = check(kind, seed)
    assert not [result for result in found.items() if result[1].startswith("wrong")]
    assert {mode for mode, result in found.items() if result == "unknown"} <= {"reverse over forward"}


# ------------------------------------------------------------------------------------------- functions of the vectors


def vectors_case(rng: Any) -> tuple[Any, ...]:
    """(V f(w) V^H by Needle, or its part of the larger values; a; its change along e; e; None or the right reverse)"""
    n, is_complex = int(rng.integers(1, 6)), bool(rng.random() < 0.4)
    w, v = np.sort(spectrum(rng, n, zeros=False)), unitary(rng, n, is_complex)
    w = w if rng.random() < 0.5 else np.sort(rng.choice([0.0, 0.5, 1.0], n))
    a = (v * w) @ v.conj().T
    name = str(rng.choice([name for name in SCALARS if w.min() > 0 or name not in ("log", "strain", "inverse")]))
    g = SCALARS[name]
    e = random(rng, (n, n), is_complex)
    e = e + e.conj().T
    starts = [i for i in range(n) if i == 0 or w[i] - w[i - 1] > 1e-3]
    first, reads_values = int(rng.choice(starts)), bool(rng.random() < 0.6)
    read = np.arange(n) >= first
    quotients = np.zeros((n, n))
    gaps = w[:, None] - w
    f = np.where(read, np.asarray(g.of(w)) if reads_values else 1.0, 0.0)
    together = read[:, None] & read
    np.divide(f[:, None] - f, gaps, out=quotients, where=~together & (gaps != 0))
    if reads_values:
        quotients[together] = means(g.first, w)[together]
    change = v @ (quotients * (v.conj().T @ e @ v)) @ v.conj().T

    def function(x: Any) -> Any:
        values, vectors = nnp.linalg.eigh(x)
        vectors = vectors[:, first:]
        return (vectors * g.of(values[first:]) if reads_values else vectors) @ vectors.conj().mT

    return function, (a + a.conj().T) / 2, change, e, w


def singular_vectors_case(rng: Any) -> tuple[Any, ...]:
    """U g(s) V^H for an odd g, or the part of the larger values; its change along e by [[0, a], [a^H, 0]]."""
    m, n, is_complex = int(rng.integers(1, 5)), int(rng.integers(1, 5)), bool(rng.random() < 0.4)
    k, full = min(m, n), bool(rng.random() < 0.5)
    s = np.sort(spectrum(rng, k, bool(rng.random() < 0.5)))[::-1]
    u, v = unitary(rng, m, is_complex), unitary(rng, n, is_complex)
    a, e = (u[:, :k] * s) @ v[:, :k].conj().T, random(rng, (m, n), is_complex)
    g = [SCALARS["itself"], SCALARS["cube"]][int(rng.integers(2))]
    last = int(rng.choice([i + 1 for i in range(k) if i == k - 1 or s[i] - s[i + 1] > 1e-3]))
    both = np.block([[u[:, :k], u[:, :k]], [v[:, :k], -v[:, :k]]]) / np.sqrt(2)
    rest = np.zeros((m + n, m + n - 2 * k), both.dtype)
    rest[:m, : m - k], rest[m:, m - k :] = u[:, k:], v[:, k:]
    vectors, w = np.hstack([both, rest]), np.concatenate([s, -s, np.zeros(m + n - 2 * k)])
    whole = s[last - 1] < 1e-3 or last == k == m == n
    read = np.concatenate([np.arange(k) < last, np.arange(k) < last, np.full(m + n - 2 * k, s[last - 1] < 1e-3)])
    f, gaps, quotients = np.where(read, np.asarray(g.of(w)), 0), w[:, None] - w, np.zeros((m + n, m + n))
    np.divide(f[:, None] - f, gaps, out=quotients, where=gaps != 0)
    near = (np.abs(gaps) < 1e-3) & read[:, None] & read
    quotients[near] = means(g.first, w)[near]
    twofold = np.block([[np.zeros((m, m)), e], [e.conj().T, np.zeros((n, n))]])
    change = vectors @ (quotients * (vectors.conj().T @ twofold @ vectors)) @ vectors.conj().T

    def function(x: Any) -> Any:
        left, values, right = nnp.linalg.svd(x, full)
        return (left[:, :last] * g.of(values[:last])) @ right[:last]

    return function, a, change[:m, m:], e, (s, last, whole)


def means(first: Any, w: Any) -> Any:
    """[i, j]: (g(w_i) - g(w_j)) / (w_i - w_j), as the mean of g' between them."""
    return first(w[:, None, None] + (w[None, :, None] - w[:, None, None]) * (NODES + 1) / 2) @ WEIGHTS / 2


FIRST: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "jvp": lambda f, a, e, y: product(y.conj(), needle.jvp(f, (a,), (e,))[1]),
    "jvp of many": lambda f, a, e, y: product(
        y.conj(), needle.jvp(f, (a,), (np.stack([e.conj().T.reshape(e.shape), e]),), many=True)[1][1]
    ),
    "compiled jvp": lambda f, a, e, y: product(
        y.conj(), np.asarray(needle.compile(lambda a, e: needle.jvp(f, (a,), (e,))[1])(a, e))
    ),
    "grad": lambda f, a, e, y: product(needle.grad(lambda x: product(y.conj(), f(x)))(a), e),
    "recorded grad": lambda f, a, e, y: product(
        needle.jvp(needle.grad(lambda x: product(y.conj(), f(x))), (a,), (e,))[0], e
    ),
}
VECTORS = {"eigenvectors": vectors_case, "singular vectors": singular_vectors_case}


def check_first(kind: str, seed: int) -> dict[str, str]:
    rng = np.random.default_rng([12, seed])
    f, a, change, e, w = VECTORS[kind](rng)
    y = rng.normal(size=a.shape) if rng.random() < 0.5 else np.eye(*a.shape, k=1)
    expected, found = product(y.conj(), change), {}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for mode, first in FIRST.items():
            warned.clear()
            got = first(f, a, e, y)
            if np.isnan(got):
                found[mode] = "unknown" if warned or "jvp" in mode else "wrong: NaN without a warning"
            else:
                # The digits that are lost where values differ by 1e-9.
                right = abs(got - expected) <= 1e-5 * np.abs(e).sum() * (0.1 + np.abs(change).max(initial=0))
                found[mode] = "right" if right else f"wrong: {got} instead of {expected}, {w=}"
    return found


@pytest.mark.parametrize("kind", VECTORS)
@pytest.mark.parametrize("seed", range(40))
def test_functions_of_all_vectors_of_equal_values(kind, seed):
    """Forward mode knows their derivatives, and reverse mode those of projectors; what it does not know is NaN."""
    found = check_first(kind, seed)
    assert not [result for result in found.items() if result[1].startswith("wrong")]


# ------------------------------------------------------------------------------------------------------- single cases


def test_an_isotropic_material_at_rest_has_a_stiffness():
    """The energy of the logarithmic strain: at rest, Hooke's law, mu (F + F^T) + lambda tr(F)."""
    lame, shear = 1.5, 0.7

    def energy(f: Any) -> Any:
        strain = nnp.log(nnp.linalg.eigvalsh(f.mT @ f)) / 2
        return shear * (strain**2).sum() + lame / 2 * strain.sum() ** 2

    one = np.eye(3)
    hooke = shear * (np.einsum("ik,jl->ijkl", one, one) + np.einsum("il,jk->ijkl", one, one))
    hooke += lame * np.einsum("ij,kl->ijkl", one, one)
    rows = needle.jacobian(needle.grad(energy), mode="reverse")
    for stiffness in (needle.hessian(energy), rows, needle.compile(needle.hessian(energy))):
        assert_allclose(np.asarray(stiffness(one)), hooke, atol=1e-9)


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_a_batch_with_and_without_equal_values(dtype):
    rng = np.random.default_rng(0)
    stack = np.stack([np.eye(3), np.diag([1.0, 1.0, 2.0]), np.diag([1.0, 2.0, 4.0]), np.zeros((3, 3))]).astype(dtype)
    along = rng.normal(size=stack.shape).astype(dtype)
    along += along.mT
    for of in (nnp.linalg.eigvalsh, nnp.linalg.svdvals):
        product = needle.hvp(lambda a, of=of: (of(a) ** 4).sum(), (stack,), (along,))
        twice = needle.grad(lambda a, of=of: (needle.grad(lambda x: (of(x) ** 4).sum())(a) * along).sum())(stack)
        a = stack
        expected = 4 * (along @ a @ a + a @ along @ a + a @ a @ along)
        for got in (product, twice):
            assert got.dtype == stack.dtype
            assert_allclose(got, expected, rtol=1e-4 if dtype == "f" else 1e-12, atol=1e-4 if dtype == "f" else 1e-12)


def test_programs_captured_without_equal_values_are_right_with_them():
    rng = np.random.default_rng(0)
    apart, along = np.diag([1.0, 2.0, 4.0]), rng.normal(size=(3, 3))
    along += along.T
    for of in (nnp.linalg.eigvalsh, nnp.linalg.svdvals):
        step = needle.compile(lambda a, e, of=of: needle.hvp(lambda x: (of(x) ** 4).sum(), (a,), (e,)))
        for a in (apart, apart, 2 * np.eye(3), np.diag([1.0, 1.0, 3.0])):
            expected = 4 * (along @ a @ a + a @ along @ a + a @ a @ along)
            assert_allclose(np.asarray(step(a, along)), expected, rtol=1e-10)


def test_the_nuclear_norm_at_equal_values():
    """It is that of Q (1 + t E), whose second derivative is |skew(E)|^2."""
    q, e = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0], np.random.default_rng(1).normal(size=(3, 3))
    expected = np.sum(((e - e.T) / 2) ** 2)
    for second in SECOND.values():
        assert_allclose(second(lambda a: nnp.linalg.norm(a, "nuc"), q, q @ e, q @ e), expected, rtol=1e-10)


DIRECTION = np.array([[1.0, 2.0, 0.5], [2.0, -1.0, 1.0], [0.5, 1.0, 3.0]])
WITHOUT: dict[str, Callable[[Any], Any]] = {
    "the largest eigenvalue": lambda a: nnp.linalg.eigvalsh(a)[-1] ** 2,
    "the largest singular value": lambda a: nnp.linalg.svdvals(a)[0] ** 2,
    "the norm of order 2": lambda a: nnp.linalg.norm(a, 2),
    "the norm of order -2": lambda a: nnp.linalg.norm(a, -2),
    "the condition": nnp.linalg.cond,
    "the inverse condition": lambda a: nnp.linalg.cond(a, -2),
    "different functions of each": lambda a: (nnp.linalg.eigvalsh(a) ** 2 * np.arange(3.0)).sum(),
    "different functions of the same slope": lambda a: ((nnp.linalg.eigvalsh(a) - 1) ** 2 * [0.0, 2.0, 1.0]).sum(),
    "such ones of singular values": lambda a: ((nnp.linalg.svdvals(a) - 1) ** 2 * [0.0, 2.0, 1.0]).sum(),
    "such ones of eigvals": lambda a: ((nnp.linalg.eigvals(a) - 1) ** 2 * [0.0, 2.0, 1.0]).sum().real,
    "an eigenvector": lambda a: (nnp.linalg.eigh(a)[1][:, 0] * [1.0, 2.0, 3.0]).sum(),
    "a singular vector": lambda a: (nnp.linalg.svd(a)[0][:, 0] * [1.0, 2.0, 3.0]).sum(),
    "cubes of eigvals": lambda a: (nnp.linalg.eigvals(a) ** 3).sum().real,
}


@pytest.mark.parametrize("mode", ["grad of grad", "hvp", "reverse over forward"])
@pytest.mark.parametrize("name", WITHOUT)
def test_what_has_no_second_derivative_or_none_that_is_known_is_nan_with_a_warning(name, mode):
    with pytest.warns(RuntimeWarning, match="derivative of a spectrum is NaN"):
        assert np.isnan(SECOND[mode](WITHOUT[name], np.eye(3), DIRECTION, DIRECTION))


@pytest.mark.parametrize(
    "name",
    ["the norm of order 2", "the norm of order -2", "the condition", "cubes of eigvals", "such ones of eigvals"],
)
def test_forward_mode_twice_says_so_too(name):
    with pytest.warns(RuntimeWarning, match="derivative of a spectrum is NaN"):
        assert np.isnan(SECOND["forward over forward"](WITHOUT[name], np.eye(3), DIRECTION, DIRECTION))


def test_norms_where_another_value_is_repeated_have_second_derivatives():
    a = np.diag([2.0, 1.0, 1.0])
    along = DIRECTION - np.diag([0.0, 0.0, 1.0])
    before, here, after = [np.linalg.norm(a + t * along, 2) for t in (-1e-4, 0, 1e-4)]
    numeric = (before - 2 * here + after) / 1e-8
    for second in SECOND.values():
        assert_allclose(second(lambda x: nnp.linalg.norm(x, 2), a, along, along), numeric, rtol=1e-5)


def of_spectrum(f: Any, a: Any) -> Any:
    w, v = nnp.linalg.eigh(a)
    return (v * f(w)) @ v.mT


def of_singular_values(f: Any, a: Any) -> Any:
    u, s, vh = nnp.linalg.svd(a)
    return (u * f(s)) @ vh


def of_unsymmetric(f: Any, a: Any) -> Any:
    w, v = np.linalg.eig(a)
    return (v * f(w)) @ nnp.linalg.inv(v)


READ_WITH_VALUES: dict[str, Callable[[Any], Any]] = {
    "log": lambda a: of_spectrum(nnp.log, a),
    "root": lambda a: of_spectrum(nnp.sqrt, a),
    "log of singular values": lambda a: of_singular_values(nnp.log, a),
    "log by eig": lambda a: of_unsymmetric(nnp.log, a),
}


@pytest.mark.parametrize("name", READ_WITH_VALUES)
def test_reverse_mode_says_that_it_does_not_know_functions_of_a_matrix(name):
    """Where log is 0, so is every adjoint that it sends back, though its slope is not."""
    f, a = READ_WITH_VALUES[name], np.eye(3)
    with pytest.warns(RuntimeWarning, match=r"separate is not known to reverse mode.*sqrtm, logm.*jvp"):
        assert np.isnan(needle.grad(lambda a: f(a)[0, 1])(a)).all()
    slope = {"root": 0.5, "log by eig": np.nan}.get(name, 1.0)
    assert_allclose(needle.jvp(f, (a,), (DIRECTION,))[1], slope * DIRECTION, atol=1e-14)


def test_single_vectors_of_equal_values_have_no_derivative():
    for f in (lambda a: nnp.linalg.eigh(a)[1], lambda a: nnp.linalg.svd(a)[0], lambda a: nnp.linalg.svd(a)[2]):
        with pytest.warns(RuntimeWarning, match="single vectors of theirs have no derivative"):
            assert np.isnan(needle.grad(lambda a, f=f: f(a)[0, 1])(np.eye(3))).all()


def test_what_leaves_vectors_of_equal_values_alone_is_right():
    """The best approximation of rank 2 of a matrix of rank 2, whose other singular values are rounding errors."""
    rng = np.random.default_rng(0)
    weights, along = rng.normal(size=(12, 12)), rng.normal(size=(12, 12))
    picture = rng.normal(size=(12, 2)) @ rng.normal(size=(2, 12))

    def nearest(np: Any, a: Any) -> Any:
        u, s, vh = np.linalg.svd(a)
        return (((u[:, :2] * s[:2]) @ vh[:2]) * weights).sum()

    numeric = (nearest(np, picture + 1e-5 * along) - nearest(np, picture - 1e-5 * along)) / 2e-5
    assert_allclose(np.sum(needle.grad(lambda a: nearest(nnp, a))(picture) * along), numeric, rtol=1e-6)
    assert_allclose(needle.jvp(lambda a: nearest(nnp, a), (picture,), (along,))[1], numeric, rtol=1e-6)


def test_third_derivatives_are_nan_with_a_warning():
    def second(a: Any) -> Any:
        return (needle.hvp(lambda x: (nnp.linalg.eigvalsh(x) ** 3).sum(), (a,), (DIRECTION,)) * DIRECTION).sum()

    with pytest.warns(RuntimeWarning, match="derivative of a spectrum is NaN"):
        assert np.isnan(needle.grad(second)(np.eye(3))).all()


def main() -> None:
    for kind in (*CASES, *VECTORS):
        count: dict[str, int] = {}
        for seed in range(int(sys.argv[1])):
            try:
                found = (check if kind in CASES else check_first)(kind, seed)
            except Exception as error:
                found = {"": f"wrong: {type(error).__name__}: {error}"}
            for mode, result in found.items():
                key = result.partition(":")[0] + (f" in {mode}" if result != "right" else "")
                count[key] = count.get(key, 0) + 1
                if result.startswith("wrong") and count[key] < 4:
                    print(kind, seed, mode, result)
        print(kind, count)


if __name__ == "__main__":
    main()
