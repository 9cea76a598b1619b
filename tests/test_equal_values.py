"""Derivatives where eigenvalues are equal: the right ones where they exist, else NaN.

`python tests/test_equal_values.py 5000` searches through so many random spectra.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from needle import Tensor
from numpy.testing import assert_allclose

CASES = 60

SYMMETRIC: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    # of the eigenvalues, and the same of the matrix, without eigenvalues
    "trace": (lambda w: w.sum(), lambda a: nnp.trace(a).real),
    "square of the trace": (lambda w: w.sum() ** 2, lambda a: nnp.trace(a).real ** 2),
    "squares": (lambda w: (w * w).sum(), lambda a: nnp.trace(a @ a).real),
    "cubes": (lambda w: (w**3).sum(), lambda a: nnp.trace(a @ a @ a).real),
    "product": (nnp.prod, lambda a: nnp.linalg.det(a).real),
    "exponentials": (lambda w: nnp.exp(w).sum(), lambda a: nnp.trace(nnp.linalg.expm(a)).real),
    "logarithm": (lambda w: nnp.log(nnp.exp(w).sum()), lambda a: nnp.log(nnp.trace(nnp.linalg.expm(a)).real)),
    "material": (
        lambda w: w.sum() ** 2 + 0.5 * ((w - 1) ** 2).sum(),
        lambda a: nnp.trace(a).real ** 2 + 0.5 * nnp.trace((a - np.eye(a.shape[-1])) @ (a - np.eye(a.shape[-1]))).real,
    ),
}


def backward_twice(f: Any, a: Any, along: Any) -> Any:
    x = Tensor(a)
    y = f(x)
    y.backward()
    (x.grad.conj() * along).sum().real.backward()
    return product(x.grad.numpy().conj(), along)


def product(gradient: Any, along: Any) -> Any:
    return (np.asarray(gradient) * along).sum().real


SECOND: dict[str, Callable[[Any, Any, Any], Any]] = {
    "backward twice": backward_twice,
    "hvp": lambda f, a, e: product(needle.hvp(f, (a,), (e,)), e),
    "grad of grad": lambda f, a, e: needle.grad(lambda t: (needle.grad(f)(a + t * e) * e).sum().real)(0.0),
    "forward over reverse": lambda f, a, e: product(needle.jvp(needle.grad(f), (a,), (e,))[1], e),
    "reverse over forward": lambda f, a, e: needle.grad(lambda t: needle.jvp(f, (a + t * e,), (e,))[1])(0.0),
    "forward over forward": lambda f, a, e: needle.jvp(lambda x: needle.jvp(f, (x,), (e,))[1], (a,), (e,))[1],
}


def hermitian(rng: Any, n: int, is_complex: bool) -> Any:
    a = rng.normal(size=(n, n)) + (1j * rng.normal(size=(n, n)) if is_complex else 0)
    return (a + a.conj().T) / 2


def random_case(seed: int) -> tuple[Any, Any]:
    """A matrix with equal eigenvalues, often several groups of them, and a direction."""
    rng = np.random.default_rng([7, seed])
    n, is_complex = int(rng.integers(2, 6)), bool(rng.random() < 0.4)
    w = rng.choice(rng.choice([-1.0, 0.0, 0.5, 1.0, 2.0], int(rng.integers(1, 4))), n)
    q = np.eye(n) if rng.random() < 0.4 else np.linalg.qr(hermitian(rng, n, is_complex) + np.eye(n))[0]
    along = hermitian(rng, n, is_complex)
    if rng.random() < 0.3:  # one that moves no eigenvalue of the unit matrix in first order
        i, j = rng.choice(n, 2, replace=False)
        along = np.zeros_like(along)
        along[i, j] = along[j, i] = 1
    a = (q * w) @ q.conj().T
    return ((a + a.conj().T) / 2).astype(along.dtype), along


def check(seed: int) -> None:
    """The second derivatives of every symmetric function in every mode, against those without eigenvalues."""
    a, along = random_case(seed)
    for name, (of_values, of_matrix) in SYMMETRIC.items():
        expected = SECOND["forward over reverse"](of_matrix, a, along)
        for mode, second in SECOND.items():
            got = second(lambda x, of=of_values: of(nnp.linalg.eigvalsh(x)), a, along)
            assert_allclose(got, expected, rtol=1e-6, atol=1e-8, err_msg=f"{name}, {mode}, {seed=}")


@pytest.mark.parametrize("seed", range(CASES))
def test_second_derivatives_of_symmetric_functions(seed):
    check(seed)


def test_an_isotropic_material_at_rest_has_a_stiffness():
    stiffness = needle.hessian(lambda a: SYMMETRIC["material"][0](nnp.linalg.eigvalsh(a)))(np.eye(3))
    one = np.eye(3)
    symmetric = (np.einsum("ik,jl->ijkl", one, one) + np.einsum("il,jk->ijkl", one, one)) / 2
    assert_allclose(stiffness, 2 * np.einsum("ij,kl->ijkl", one, one) + symmetric, atol=1e-9)


def test_a_batch_with_and_without_equal_values():
    rng = np.random.default_rng(0)
    stack = np.stack([np.eye(3), np.diag([1.0, 1.0, 2.0]), hermitian(rng, 3, False)])
    along = np.stack([hermitian(rng, 3, False) for _ in stack])
    cubes, of_matrix = SYMMETRIC["cubes"]
    got = needle.hvp(lambda a: cubes(nnp.linalg.eigvalsh(a)), (stack,), (along,))
    for i in range(3):
        expected = needle.hvp(of_matrix, (stack[i],), (along[i],))
        assert_allclose(got[i], (expected + expected.T) / 2, rtol=1e-7, atol=1e-9)


DIRECTION = np.array([[1.0, 2.0, 0.5], [2.0, -1.0, 1.0], [0.5, 1.0, 3.0]])
SEPARATE: dict[str, Callable[[Any], Any]] = {
    "the second derivative of the largest": needle.grad(
        lambda a: (needle.grad(lambda b: nnp.linalg.eigvalsh(b)[-1] ** 2)(a) * DIRECTION).sum()
    ),
    "of different functions of each": lambda x: needle.hvp(
        lambda a: (nnp.linalg.eigvalsh(a) ** 2 * np.arange(3.0)).sum(), (x,), (DIRECTION,)
    ),
    "an eigenvector": needle.grad(lambda a: (nnp.linalg.eigh(a)[1][:, 0] * [1.0, 2.0, 3.0]).sum()),
    "two functions of the matrix": needle.grad(
        lambda a: sum(
            ((v * of(w)) @ v.T * weights).sum()
            for w, v in [nnp.linalg.eigh(a)]
            for of, weights in [(nnp.exp, DIRECTION), (nnp.sqrt, np.arange(9.0).reshape(3, 3))]
        )
    ),
    "a third derivative": needle.grad(
        lambda a: (needle.hvp(lambda b: (nnp.linalg.eigvalsh(b) ** 3).sum(), (a,), (DIRECTION,)) * DIRECTION).sum()
    ),
}


@pytest.mark.parametrize("name", SEPARATE)
def test_what_separates_equal_values_is_nan_with_a_warning(name):
    with pytest.warns(RuntimeWarning, match="derivative of a spectrum is NaN"):
        got = SEPARATE[name](np.eye(3))
    assert np.isnan(np.asarray(got)).any()


@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [1.0, 1.0, 2.0], [1.0, 3.0, 3.0], [1.0, 2.0, 3.0]])
def test_a_function_of_a_matrix_by_its_eigenvectors(values):
    """The square root by eigenvalues: the gradient solves X root + root X = weights."""
    rng = np.random.default_rng(3)
    q, weights = np.linalg.qr(rng.normal(size=(3, 3)))[0], hermitian(rng, 3, False)

    def root(a):
        w, v = nnp.linalg.eigh(a)
        return ((v * nnp.sqrt(w)) @ v.mT * weights).sum()

    a, r = (q * values) @ q.T, (q * np.sqrt(values)) @ q.T
    expected = np.linalg.solve(np.kron(r, np.eye(3)) + np.kron(np.eye(3), r), weights.ravel()).reshape(3, 3)
    assert_allclose(needle.grad(root)((a + a.T) / 2), expected, rtol=1e-8, atol=1e-10)


if __name__ == "__main__":
    warnings.simplefilter("error")
    for case in range(int(sys.argv[1])):
        check(case)
    print(f"{sys.argv[1]} random spectra are right")
