"""numpy.linalg by its names: values, derivatives, and what is right at singular, zero and equal."""

from __future__ import annotations

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from numpy.linalg import LinAlgError
from numpy.testing import assert_allclose
from samples.algebra import hermitian, regular
from samples.kit import NAN, numbers

V, V4, M, B = numbers((3,)), numbers((4,)), numbers((2, 3)), numbers((3, 2), seed=1)
A, Z, F = regular((3, 3)), regular((3, 3), "D"), regular((3, 3), "f")
STACK = regular((2, 1, 3, 3))
TALL, WIDE = regular((4, 2)), regular((2, 4))
NONE, EMPTY, INTEGER = numbers((0, 0)), numbers((0, 2, 2)), regular((3, 3), "l")
SQUARE = [A, Z, F, STACK, NONE, EMPTY, INTEGER, numbers((1, 1))]
OBLONG = [A, TALL, WIDE, Z, TALL.astype("f"), numbers((0, 3)), regular((2, 3, 2))]


def as_complex(a):
    """NumPy's eigenvalues are real where all of them are; the standard's are not."""
    return a.astype(np.result_type(a.dtype, 1j))


def positive(np, a):
    """A Hermitian matrix with eigenvalues that are far apart, of one that is anything."""
    return np.matmul(a, np.conj(np.swapaxes(a, -1, -2))) + np.eye(a.shape[-1])


def of_positive(name, **options):
    """A function of `positive(a)`, of which what a phase makes of it is left out."""

    def called(np, a):
        found = getattr(np.linalg, name)(positive(np, a), **options)
        vectors = found.eigenvectors if name == "eigh" else None
        return found if vectors is None else (found.eigenvalues, vectors * np.conj(vectors[..., :1, :]))

    called.__name__ = name
    return called


def projectors(np, a):
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return s, np.matmul(u, vh), u * np.conj(u[..., :1, :]), vh * np.conj(vh[..., :1])


def spaces(np, a):
    """The projectors onto what the columns of the matrix leave out, and its rows."""
    u, s, vh = np.linalg.svd(a)
    k = s.shape[-1]
    u, v = u[..., k:], np.conj(np.swapaxes(vh, -1, -2))[..., k:]
    return [np.matmul(x, np.conj(np.swapaxes(x, -1, -2))) for x in (u, v)]


def column_space(np, a):
    q, r = np.linalg.qr(a, "complete")
    rest = q[..., a.shape[-1] :]
    return np.matmul(rest, np.conj(np.swapaxes(rest, -1, -2))), r


EQUATIONS = [
    *[Call("linalg.inv", a) for a in SQUARE],
    *[
        Call("linalg.solve", a, b)
        for a, b in [(A, V), (A, B), (STACK, V), (STACK, B), (Z, B), (A, numbers((3, 2), "D"))]
    ],
    *[Call("linalg.solve", a, b) for a, b in [(F, B.astype("f")), (F, V), (NONE, numbers((0,))), (INTEGER, V)]],
    *[Call("linalg.pinv", a) for a in [*OBLONG, INTEGER]],
    Call("linalg.pinv", TALL, rtol=None),
    Call("linalg.pinv", TALL, 1e-10),
    Call("linalg.pinv", hermitian((3, 3)), hermitian=True, smooth=False),
    *[
        Call(lambda np, a, b: np.linalg.lstsq(a, b)[0], a, b)
        for a, b in [(TALL, numbers((4,))), (WIDE, numbers((2, 3)))]
    ],
    *[Call(lambda np, a, b: np.linalg.lstsq(a, b)[::3], a, b) for a, b in [(TALL, V4), (A, B), (Z, B)]],
    Call(lambda np, a, b: np.linalg.lstsq(a, b)[:2], TALL, numbers((4, 2))),
    Call("linalg.tensorinv", regular((6, 6)).reshape(2, 3, 6), 2),
    Call("linalg.tensorinv", regular((6, 6)).reshape(6, 2, 3), ind=1),
    Call("linalg.tensorsolve", regular((6, 6)).reshape(2, 3, 3, 2), numbers((2, 3))),
    Call("linalg.tensorsolve", regular((6, 6)).reshape(3, 2, 2, 3), numbers((2, 3)), axes=(0, 1)),
]
POWERS = [
    *[Call("linalg.det", a) for a in SQUARE],
    *[Call("linalg.slogdet", a) for a in SQUARE],
    *[Call("linalg.matrix_power", a, n) for a in [A, STACK, Z] for n in [-2, -1, 0, 1, 2, 3, 5, 6]],
    Call("linalg.matrix_power", INTEGER, 3),
    Call("linalg.matrix_power", INTEGER, 0),
    Call("linalg.matrix_power", np.eye(2, dtype=bool), 0),
    Call("linalg.matrix_power", NONE, 2),
]
FACTORIZATIONS = [
    *[Call("linalg.cholesky", hermitian((3, 3), code), smooth=False) for code in "dDfF"],
    Call("linalg.cholesky", hermitian((3, 3), "D"), upper=True, smooth=False),
    Call("linalg.cholesky", hermitian((2, 1, 2, 2)), smooth=False),
    *[Call(of_positive("cholesky", upper=upper), a) for upper in [False, True] for a in [A, Z, STACK]],
    *[Call("linalg.qr", a) for a in OBLONG],
    *[Call("linalg.qr", a, "r") for a in OBLONG],
    *[Call("linalg.qr", a, mode="complete", smooth=False) for a in OBLONG],
    *[Call("linalg.qr", a, mode="complete") for a in [A, WIDE]],
    *[Call(column_space, a) for a in [TALL, regular((3, 1), "D")]],
    *[Call("linalg.eigh", hermitian((3, 3), code), uplo, smooth=False) for code, uplo in ["dL", "DU", "fu", "ll"]],
    *[Call("linalg.eigvalsh", hermitian((3, 3), code), UPLO=u, smooth=False) for code, u in ["dL", "DU", "fu"]],
    *[Call(of_positive("eigh"), a) for a in [A, Z, STACK]],
    *[Call(of_positive("eigvalsh"), a) for a in [A, Z]],
    *[Call(lambda np, a: tuple(map(as_complex, np.linalg.eig(a))), a) for a in SQUARE],
    *[Call(lambda np, a: as_complex(np.linalg.eigvals(a)), a) for a in [A, Z, F, numbers((4, 4))]],
    *[Call("linalg.svd", a, smooth=False) for a in OBLONG],
    *[Call("linalg.svd", a, False) for a in [A, TALL, WIDE, F]],
    *[Call("linalg.svd", a, compute_uv=False) for a in OBLONG],
    *[Call("linalg.svd", hermitian((3, 3)), compute_uv=c, hermitian=True, smooth=False) for c in [False, True]],
    *[Call(projectors, a) for a in [A, TALL, WIDE, Z, regular((4, 2), "D"), regular((2, 4), "D")]],
    *[Call(spaces, a) for a in [TALL, WIDE, regular((4, 2), "D"), regular((2, 4), "D")]],
    *[Call("linalg.svdvals", a) for a in OBLONG],
    *[Call("linalg.matrix_rank", a) for a in [A, np.ones((3, 2)), np.zeros((2, 2)), V, np.zeros(2), STACK, Z]],
    Call("linalg.matrix_rank", np.diag([1.0, 1e-3]), 1e-2),
    Call("linalg.matrix_rank", np.diag([1.0, 1e-3]), rtol=1e-4),
]
ORDERS = [None, 2, 1, 0, 3, 2.5, 0.5, -1, -2, np.inf, -np.inf]
MATRIX_ORDERS = [None, "fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf]
T = numbers((2, 3, 4))
NORMS = [
    *[Call("linalg.norm", a) for a in [numbers(()), V, A, Z, T, F, INTEGER, NONE, numbers((2, 3), "e")]],
    Call("linalg.norm", T, keepdims=True),
    *[Call("linalg.norm", V, order) for order in ORDERS],
    *[Call("linalg.norm", T, order, axis=1) for order in ORDERS],
    *[Call("linalg.norm", numbers((3,), "D"), order, 0, keepdims=True) for order in ORDERS],
    *[Call("linalg.norm", numbers((3,), "f"), order) for order in ORDERS],
    *[Call("linalg.norm", TALL, order) for order in MATRIX_ORDERS],
    *[Call("linalg.norm", T, order, (0, -1)) for order in MATRIX_ORDERS],
    *[Call("linalg.norm", numbers((2, 3), "D"), order, axis=(1, 0), keepdims=True) for order in MATRIX_ORDERS],
    *[Call("linalg.norm", numbers((0, 3)), order, axis=0, smooth=False) for order in [None, 1, 0, 3, np.inf]],
    *[Call("linalg.norm", numbers((0, 3)), order, smooth=False) for order in ["fro", "nuc", 1, 2, np.inf]],
    *[Call("linalg.vector_norm", T, axis=axis, ord=3, keepdims=k) for axis in [None, 1, (0, 2)] for k in [False, True]],
    *[Call("linalg.vector_norm", a) for a in [numbers(()), V, T, Z, F, INTEGER]],
    *[Call("linalg.matrix_norm", T, ord=order, keepdims=True) for order in MATRIX_ORDERS[1:]],
    Call("linalg.norm", np.array([1.0, 0.0, -2.0]), -1, smooth=False),
    *[Call("linalg.norm", np.array([1.0, np.nan, 0.0]), order, smooth=False) for order in ORDERS],
    *[Call("linalg.cond", a, p) for a in [A, STACK, Z] for p in [None, 2, -2, "fro", 1, -1, np.inf, -np.inf, "nuc"]],
    Call("linalg.cond", TALL),
    *[Call("linalg.cond", np.ones((2, 2)), p, smooth=False) for p in [1, "fro"]],
    *[Call("linalg.cond", np.zeros((2, 2)), p, smooth=False) for p in [None, 1, -2]],
    *[Call("linalg.cond", np.array([[1.0, np.nan], [2.0, 3.0]]), p, smooth=False) for p in [1, "fro"]],
]
STANDARD = [
    Call("linalg.matrix_transpose", T),
    Call("linalg.diagonal", T),
    Call("linalg.diagonal", T, offset=1),
    Call("linalg.trace", T),
    Call("linalg.trace", T, offset=-1, dtype=np.float64),
    Call("linalg.outer", V, numbers((2,))),
    Call("linalg.cross", V, numbers((2, 3))),
    Call("linalg.cross", B, numbers((3, 2)), axis=0),
    Call("linalg.vecdot", B, numbers((3, 2), "D"), axis=0),
    Call("linalg.matmul", A, B),
    Call("linalg.tensordot", A, B, axes=1),
]

test_value, test_gradient, test_second_order = laws(EQUATIONS + POWERS + FACTORIZATIONS + NORMS + STANDARD)


# ------------------------------------------------------------------------------------------------- awkward points


def hessian_product(f, a, along):
    return needle.grad(lambda x: (needle.grad(f)(x) * along).sum())(a)


SINGULAR = [
    (np.array([[1.0, 2.0], [2.0, 4.0]]), [[4, -2], [-2, 1]]),
    (np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 6.0, 9.0]]), np.zeros((3, 3))),
    (np.diag([2.0, 3.0, 0.0]), np.diag([0.0, 0.0, 6.0])),
    (np.zeros((1, 1)), [[1]]),
    (np.zeros((2, 2)), np.zeros((2, 2))),
]


@pytest.mark.parametrize(("a", "cofactors"), SINGULAR)
def test_the_determinant_has_derivatives_at_singular_matrices(a, cofactors):
    f = nnp.linalg.det
    assert_allclose(needle.grad(f)(a), cofactors, atol=1e-13)
    assert_allclose(needle.jvp(f, (a,), (np.ones_like(a),))[1], np.sum(cofactors), atol=1e-13)
    along = numbers(a.shape)
    step = 1e-3
    changes = [needle.grad(f)(a + h * along) for h in (step, -step)]
    assert_allclose(hessian_product(f, a, along), (changes[0] - changes[1]) / (2 * step), atol=1e-9)


def test_the_determinant_to_every_order_at_regular_matrices():
    d = needle.grad(lambda x: nnp.linalg.det(x * np.eye(3)))
    assert_allclose([d(2.0), needle.grad(d)(2.0), needle.grad(needle.grad(d))(2.0)], [12, 12, 6])


def test_large_determinants_that_overflow():
    with np.errstate(over="ignore"):
        gradient = needle.grad(nnp.linalg.det)(np.diag([1e200, 1e200]))
    assert_allclose(gradient, np.diag([1e200, 1e200]))


def test_eigenvalues_of_the_identity():
    for f in [nnp.linalg.eigvalsh, lambda a: nnp.linalg.eigh(a)[0], np.linalg.eigvals]:
        assert_allclose(needle.grad(lambda a, f=f: f(a).sum())(np.eye(3)), np.eye(3), atol=1e-15)
        assert_allclose(hessian_product(lambda a, f=f: f(a).sum(), np.eye(3), A), np.zeros((3, 3)), atol=1e-15)


@pytest.mark.parametrize("f", [nnp.linalg.svdvals, lambda a: nnp.linalg.svd(a)[1]])
def test_singular_values_of_zeros_and_of_dependent_columns(f):
    assert_allclose(needle.grad(lambda a: f(a).sum())(np.zeros((3, 2))), np.zeros((3, 2)))
    assert_allclose(needle.grad(lambda a: f(a).sum())(np.ones((3, 3))), np.full((3, 3), 1 / 3))
    assert_allclose(needle.grad(lambda a: f(a).sum())(np.eye(3)), np.eye(3), atol=1e-15)


def test_a_projector_onto_a_space_of_equal_eigenvalues():
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    a, w = (q * [1.0, 1.0, 3.0, 3.0]) @ q.T, rng.normal(size=(4, 4))

    def f(np, a):
        v = np.linalg.eigh((a + np.swapaxes(a, 0, 1)) / 2).eigenvectors[:, :2]
        return (v @ np.swapaxes(v, 0, 1) * w).sum()

    gradient = needle.grad(lambda a: f(nnp, a))(a)
    along = rng.normal(size=(4, 4))
    assert_allclose(np.sum(gradient * along), (f(np, a + 1e-5 * along) - f(np, a - 1e-5 * along)) / 2e-5, rtol=1e-6)


def test_the_unitary_part_at_equal_singular_values():
    q = np.linalg.qr(A)[0]

    def f(np, a):
        u, _, vh = np.linalg.svd(a)
        return (np.matmul(u, vh) * A).sum()

    gradient = needle.grad(lambda a: f(nnp, a))(q)
    assert_allclose(np.sum(gradient * B[0, 0] * A.T), (f(np, q + 1e-5 * A.T) - f(np, q - 1e-5 * A.T)) / 2e-5 * B[0, 0])


def test_norms_at_zero():
    for order in [None, 2, 1, 3, 1.5, 0.5, 0]:
        f = lambda x, order=order: nnp.linalg.norm(x, order)  # noqa: E731
        assert_allclose(needle.grad(f)(np.zeros(3)), np.zeros(3))
        assert_allclose(needle.jvp(f, (np.zeros(3),), (np.ones(3),))[1], 0)
        assert_allclose(hessian_product(f, np.zeros(3), np.ones(3)), np.zeros(3))
    assert_allclose(needle.grad(lambda x: nnp.linalg.norm(x) ** 2)(np.zeros(3)), np.zeros(3))
    rows = needle.grad(lambda x: nnp.linalg.norm(x, axis=1).sum())(np.array([[0.0, 0.0], [3.0, 4.0]]))
    assert_allclose(rows, [[0, 0], [0.6, 0.8]])
    for order in ["fro", "nuc", 2, 1, np.inf]:
        gradient = needle.grad(lambda x, order=order: nnp.linalg.norm(x, order))(np.zeros((2, 2)))
        assert_allclose(gradient, np.zeros((2, 2)))


def test_ties_of_norms_share():
    assert_allclose(needle.grad(lambda x: nnp.linalg.norm(x, np.inf))(np.array([2.0, -2.0, 1.0])), [0.5, -0.5, 0])
    assert_allclose(needle.grad(lambda x: nnp.linalg.norm(x, -np.inf))(np.array([2.0, -1.0, 1.0])), [0, -0.5, 0.5])
    assert_allclose(needle.grad(lambda x: nnp.linalg.norm(x, 2))(np.eye(3)), np.eye(3) / 3, atol=1e-15)
    assert_allclose(needle.grad(lambda x: nnp.linalg.norm(x, 1))(np.eye(2)), np.eye(2) / 2)


def test_a_norm_that_counts_has_the_derivative_zero():
    x = Tensor(V)
    nnp.linalg.norm(x, 0).backward()
    assert_allclose(x.grad.numpy(), np.zeros(3), strict=True)


def test_pinv_of_dependent_columns():
    a = lambda t: nnp.stack([t, 2 * t, 3 * t], 1)  # noqa: E731 - of rank 1 for every t
    f = lambda t: (nnp.linalg.pinv(a(t)) * TALL[:3, :1].T).sum()  # noqa: E731
    numeric = [(f(Tensor(V + h)).item() - f(Tensor(V - h)).item()) / 2e-6 for h in 1e-6 * np.eye(3)]
    assert_allclose(needle.grad(f)(V), numeric, rtol=1e-7)


def test_lstsq_of_dependent_columns():
    x, residuals, rank, s = nnp.linalg.lstsq(Tensor(np.ones((3, 2))), V)
    assert_allclose(x.numpy(), np.linalg.lstsq(np.ones((3, 2)), V)[0])
    assert residuals.shape == (0,)
    assert rank.item() == 1
    assert_allclose(s.numpy(), [np.sqrt(6), 0], atol=1e-15)


def test_symmetric_gradients():
    for f in [nnp.linalg.cholesky, nnp.linalg.eigvalsh, lambda a: nnp.linalg.eigh(a)[1]]:
        gradient = needle.grad(lambda a, f=f: (f(a) ** 3).sum())(hermitian((3, 3)))
        assert_allclose(gradient, gradient.T, rtol=1e-12)


# ------------------------------------------------------------------------------------------------- the exponential


def series(a, terms=60):
    total, term = np.eye(len(a)), np.eye(len(a))
    for k in range(1, terms):
        term = term @ a / k
        total = total + term
    return total


@pytest.mark.parametrize("scale", [0.0, 1e-3, 0.3, 3.0])
def test_expm(scale):
    a, along, twice = scale * numbers((3, 3)), numbers((3, 3), seed=1), numbers((3, 3), seed=2)
    assert_allclose(nnp.linalg.expm(Tensor(a)).numpy(), series(a), rtol=1e-12, atol=1e-12)
    # The derivative along e is a block of the exponential of [[a, e], [0, a]]; so is its own derivative.
    block = np.block([[a, along], [np.zeros((3, 3)), a]])
    frechet = series(block)[:3, 3:]
    assert_allclose(needle.jvp(nnp.linalg.expm, (a,), (along,))[1], frechet, rtol=1e-11, atol=1e-12)
    gradient = needle.grad(lambda x: (nnp.linalg.expm(x) * twice).sum())(a)
    assert_allclose(np.sum(gradient * along), np.sum(frechet * twice), rtol=1e-11)
    zero = np.zeros((6, 6))
    turned = np.block([[twice, np.zeros((3, 3))], [np.zeros((3, 3)), twice]])
    second = series(np.block([[block, turned], [zero, block]]))[:3, 9:]
    of_first = lambda x: needle.jvp(nnp.linalg.expm, (x,), (along,))[1]  # noqa: E731
    assert_allclose(needle.jvp(of_first, (a,), (twice,))[1], second, rtol=1e-10, atol=1e-11)


def test_expm_of_many_and_of_other_dtypes():
    a = numbers((2, 1, 2, 2), "D")
    assert_allclose(nnp.linalg.expm(a).numpy()[1, 0], series(a[1, 0]), rtol=1e-12)
    assert_allclose(nnp.linalg.expm(100 * np.array([[0.0, -np.pi], [np.pi, 0.0]])).numpy(), np.eye(2), atol=1e-11)
    single = nnp.linalg.expm(Tensor(numbers((3, 3), "f")))
    assert single.dtype == np.float32
    assert_allclose(single.numpy(), series(numbers((3, 3), "f").astype(float)), rtol=1e-4, atol=1e-5)
    assert nnp.linalg.expm(np.eye(2, dtype=int)).dtype == np.float64
    assert [nnp.linalg.expm(np.zeros(shape)).shape for shape in [(0, 0), (0, 2, 2)]] == [(0, 0), (0, 2, 2)]


# ------------------------------------------------------------------------------------------------------- the rest


def test_results_have_names():
    a = Tensor(hermitian((3, 3)))
    assert nnp.linalg.eigh(a)._fields == ("eigenvalues", "eigenvectors") == nnp.linalg.eig(a)._fields
    assert nnp.linalg.svd(a)._fields == ("U", "S", "Vh")
    assert nnp.linalg.qr(a)._fields == ("Q", "R")
    assert nnp.linalg.slogdet(a)._fields == ("sign", "logabsdet")


def test_jacobians_are_batched():
    for f, a in [
        (nnp.linalg.inv, A),
        (nnp.linalg.det, A),
        (lambda a: nnp.linalg.slogdet(a)[1], STACK),
        (lambda a: nnp.linalg.solve(a, a.mT), A),
        (lambda a: nnp.linalg.cholesky(positive(nnp, a)), A),
        (lambda a: nnp.linalg.qr(a)[0], TALL),
        (lambda a: nnp.linalg.svd(a, False)[2], TALL),
        (lambda a: nnp.linalg.eigh(positive(nnp, a))[1], A),
        (nnp.linalg.svdvals, TALL),
        (nnp.linalg.pinv, TALL),
        (lambda a: nnp.linalg.norm(a, axis=0), A),
        (nnp.linalg.expm, A),
    ]:
        rows = needle.jacobian(f)(a)
        size = rows.size // a.size
        columns = [needle.jvp(f, (a,), (e.reshape(a.shape),))[1] for e in np.eye(a.size)]
        expected = np.stack([np.ravel(c) for c in columns], 1)
        assert_allclose(rows.reshape(size, a.size), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_hessians():
    of_det = needle.hessian(nnp.linalg.det)(np.zeros((2, 2))).reshape(4, 4)
    assert_allclose(of_det, np.eye(4)[::-1] * [1, -1, -1, 1])
    f = lambda a: nnp.linalg.slogdet(a)[1]  # noqa: E731
    inverse = np.linalg.inv(A)
    assert_allclose(needle.hessian(f)(A), -np.einsum("jk,li->ijkl", inverse, inverse), rtol=1e-9, atol=1e-12)


ERRORS = [
    (lambda: nnp.linalg.inv(TALL), r"inv: needs square matrices along the last two axes, got shape \(4, 2\)"),
    (lambda: nnp.linalg.inv(V), "inv: needs square matrices"),
    (lambda: nnp.linalg.inv(np.zeros((2, 2))), "Inv: a matrix is singular; pinv or lstsq"),
    (lambda: nnp.linalg.solve(np.zeros((2, 2)), np.ones(2)), "Solve: a matrix is singular"),
    (lambda: nnp.linalg.cholesky(-np.eye(2)), "Cholesky: a matrix is not positive definite"),
    (lambda: nnp.linalg.lstsq(A, numbers((2,))), "lstsq: needs a matrix a and a b with as many rows"),
    (lambda: nnp.linalg.cond(NONE), "cond: needs elements"),
    (lambda: nnp.linalg.tensorinv(T), "tensorinv: the first 2 axes"),
    (lambda: nnp.linalg.tensorsolve(T, V), "tensorsolve: a must hold"),
    (lambda: needle.grad(lambda a: nnp.linalg.qr(a)[1].sum())(np.zeros((3, 2))), "QR: has no derivative where"),
    (lambda: needle.grad(lambda a: nnp.linalg.slogdet(a)[1])(np.zeros((2, 2))), "Inv: a matrix is singular"),
    (lambda: nnp.linalg.multi_dot([A, T, A]), "multi_dot: factor 1 must be a matrix"),
]


FAILING = {
    "inv": lambda np, a: np.linalg.inv(a),
    "inv of a matrix that is not square": lambda np, a: np.linalg.inv(a[:1]),
    "inv of a vector": lambda np, a: np.linalg.inv(a[0]),
    "solve": lambda np, a: np.linalg.solve(a, a),
    "cholesky": lambda np, a: np.linalg.cholesky(-a),
    "matrix_power": lambda np, a: np.linalg.matrix_power(a, -1),
    "det": lambda np, a: np.linalg.det(a[:1]),
    "slogdet": lambda np, a: np.linalg.slogdet(a[0]),
    "svd": lambda np, a: np.linalg.svd(a * NAN),
    "eig": lambda np, a: np.linalg.eig(a * NAN),
    "eigvals": lambda np, a: np.linalg.eigvals(a * NAN),
    "eigh": lambda np, a: np.linalg.eigh(a[:1]),
    "pinv": lambda np, a: np.linalg.pinv(a * NAN),
    "qr": lambda np, a: np.linalg.qr(a[0]),
    "lstsq": lambda np, a: np.linalg.lstsq(a, a[:1]),
    "lstsq of a vector": lambda np, a: np.linalg.lstsq(a[0], a),
    "tensorinv": lambda np, a: np.linalg.tensorinv(a, 2),
    "tensorsolve": lambda np, a: np.linalg.tensorsolve(a, a),
    "multi_dot": lambda np, a: np.linalg.multi_dot([a, a[None], a]),
    "cond": lambda np, a: np.linalg.cond(a[:0]),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_linalg_error_begins_with_numpys_own_words(name):
    a = np.array([[1.0, 2.0], [2.0, 4.0]])
    with pytest.raises(LinAlgError) as numpys:
        FAILING[name](np, a)
    for module in (np, nnp):
        with pytest.raises(LinAlgError) as ours:
            FAILING[name](module, Tensor(a))
        assert str(ours.value).startswith(f"{' '.join(str(numpys.value).split())};")


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_what_linear_algebra_cannot_do(call, message):
    with pytest.raises(LinAlgError, match=message):
        call()


MISTAKES = [
    (ValueError, lambda: nnp.linalg.solve(STACK, numbers((3, 2, 3, 1))), "Solve: the batch axes"),
    (ValueError, lambda: nnp.linalg.solve(A, numbers((2,))), "Solve: b must have as many rows as a"),
    (ValueError, lambda: nnp.linalg.qr(A, "raw"), "qr: mode must be .* LAPACK's own form"),
    (ValueError, lambda: nnp.linalg.eigh(A, "X"), "eigh: UPLO must be 'L' or 'U'"),
    (ValueError, lambda: nnp.linalg.norm(A, 3), "norm: the order of a matrix's norm"),
    (ValueError, lambda: nnp.linalg.norm(V, "fro"), "norm: the order of a vector's norm"),
    (ValueError, lambda: nnp.linalg.norm(T, 2), "norm: of one axis .* or two"),
    (ValueError, lambda: nnp.linalg.pinv(A, 1e-3, rtol=1e-3), "pinv: rtol and rcond are two names"),
    (ValueError, lambda: nnp.linalg.outer(A, V), "outer: Input arrays must be one-dimensional"),
    (ValueError, lambda: nnp.linalg.cross(TALL, TALL), "cross: the vectors must have 3 elements"),
    (ValueError, lambda: nnp.linalg.tensorinv(T, 0), "tensorinv: ind must be"),
    (TypeError, lambda: nnp.linalg.matrix_power(A, 0.5), "matrix_power: the exponent must be an integer"),
    (TypeError, lambda: nnp.linalg.inv(A.astype(np.float16)), "Inv: array type float16 is unsupported"),
]


@pytest.mark.parametrize(("error", "call", "message"), MISTAKES, ids=[message[:40] for *_, message in MISTAKES])
def test_what_is_wrong(error, call, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("f", [nnp.linalg.pinv, lambda a, rcond: nnp.linalg.lstsq(a, np.ones(3), rcond)[0]])
def test_no_derivative_where_nonzero_singular_values_are_cut(f):
    """Leaving out the terms of what is cut would be wrong by the size of it, in silence."""
    a = np.diag([1.0, 0.5, 0.1])
    for differentiate in [
        lambda rcond: needle.grad(lambda a: f(a, rcond).sum())(a),
        lambda rcond: needle.jvp(lambda a: f(a, rcond), (a,), (a,))[1],
    ]:
        with pytest.raises(ValueError, match=r"pinv: has no derivative here: rcond=0\.2 cuts"):
            differentiate(0.2)
        assert np.isfinite(np.asarray(differentiate(0.01))).all()
