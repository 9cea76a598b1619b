"""Products of vectors, matrices and arrays by NumPy's names."""

from __future__ import annotations

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from numpy.testing import assert_allclose
from samples.kit import numbers

S, V, W = numbers(()), numbers((3,)), numbers((3,), seed=1)
M, N, Q = numbers((2, 3)), numbers((3, 2), seed=1), numbers((3, 3))
T, U = numbers((2, 2, 3)), numbers((2, 3, 2), seed=1)
P, R = numbers((2,)), numbers((2, 3), seed=2)
COMPLEX, TURNED = numbers((2, 3), "D"), numbers((3, 2), "D", seed=1)
PAIRS = [
    (V, W),
    (M, N),
    (M, V),
    (V, N),
    (M.astype("f"), N.astype("f")),
    (M.astype("f"), N),
    (COMPLEX, TURNED),
    (COMPLEX, N),
    (numbers((2, 3), "l"), numbers((3, 2), "l")),
    (numbers((0, 3)), N),
    (numbers((2, 0)), numbers((0, 2))),
]
NUMBERS = [(S, S), (S, V), (2.0, M.astype("f")), (V, 3)]

OF_TWO = [
    *[Call("dot", a, b) for a, b in [*PAIRS, *NUMBERS, (T, V), (T, N), (T, U), (V, U), (M, U)]],
    *[Call("matmul", a, b) for a, b in [*PAIRS, (T, U), (T, V), (V, U), (numbers((2, 1, 2, 3)), N)]],
    Call("matmul", M, M, axes=[(0, 1), (1, 0), (1, 0)]),
    Call("matmul", T, V, axes=[(0, 2), 0, 0]),
    Call("matmul", M, N, dtype="f", smooth=False),
    *[Call("vdot", a, b) for a, b in [(V, W), (M, R), (COMPLEX, M), (COMPLEX, COMPLEX), (S, S)]],
    *[Call("vecdot", a, b) for a, b in [(V, W), (M, V), (T, M), (COMPLEX, V), (numbers((0,)), numbers((0,)))]],
    Call("vecdot", M, R, axis=0),
    Call("vecdot", M, R, axis=0, keepdims=True),
    Call("vecdot", M, N, axes=[0, 1]),
    Call("vecdot", T, M, axes=[1, 0, ()]),
    *[Call("matvec", a, b) for a, b in [(M, V), (T, M), (T, V), (COMPLEX, V)]],
    Call("matvec", N, V, axes=[(1, 0), 0, 0]),
    *[Call("vecmat", a, b) for a, b in [(V, N), (M, U), (numbers((3,), "D"), TURNED)]],
    *[Call("inner", a, b) for a, b in [*NUMBERS, (V, W), (M, V), (M, R), (T, M), (COMPLEX, COMPLEX)]],
    *[Call("outer", a, b) for a, b in [*NUMBERS, (V, P), (M, V), (numbers((3,), "D"), V), (numbers((0,)), V)]],
    *[Call("tensordot", a, b, n) for a, b, n in [(M, N, 1), (V, W, 0), (V, W, 1), (T, U, (1, 2)), (T, M, 2)]],
    Call("tensordot", T, U, axes=([0, 2], [0, 1])),
    Call("tensordot", T, U, axes=([2, -3], [-2, 0])),
    Call("tensordot", M, numbers((2, 3, 4)), axes=2),
    Call("tensordot", numbers((0, 3)), N, 1),
    *[Call("kron", a, b) for a, b in [*NUMBERS, (V, P), (M, N), (M, V), (V, T), (COMPLEX, M), (numbers((0,)), V)]],
    *[Call("cross", a, b) for a, b in [(V, W), (M, V), (M, R), (numbers((2, 3), "D"), V), (numbers((0, 3)), V)]],
    Call("cross", N, Q[:, :2], axis=0),
    Call("cross", N, M, axisa=0, axisb=1, axisc=0),
]

OF_ONE = [
    *[Call("trace", a) for a in [M, Q, T, numbers((0, 3)), numbers((2, 2), "b"), numbers((2, 2), "e"), COMPLEX]],
    Call("trace", T, 1, -2, -1),
    Call("trace", T, offset=-1, axis1=2, axis2=0),
    Call("trace", Q, dtype="f", smooth=False),
]

SUMS = [
    *[Call(lambda np, *a, s=s: np.einsum(s, *a), *arrays) for s, *arrays in [("ij,jk", M, N), ("ii", Q), ("ii->i", Q)]],
    *[
        Call(lambda np, *a, s=s: np.einsum(s, *a), *arrays)
        for s, *arrays in [
            ("ij , jk -> k i", M, N),
            ("iij->j", numbers((2, 2, 3))),
            ("iji->ij", numbers((2, 3, 2))),
            ("iijj", numbers((2, 2, 3, 3))),
            ("...ii->...i", numbers((2, 3, 3))),
            ("i...i", numbers((2, 3, 2))),
            ("...,...", S, M),
            ("...i,i...->...", M, N),
            ("ba", M),
            ("Zb,a", M, P),
            ("i,i", numbers((1,)), V),
            ("ij,jk,kl,lm->im", M, N, M, N),
            ("", S),
            ("i->", numbers((0,))),
            ("ii,ij->j", numbers((2, 2), "D"), M),
            ("ii->i", numbers((0, 0))),
        ]
    ],
    Call(lambda np, a, b: np.einsum(a, [0, 1], b, [1, 2], [2, 0]), M, N),
    Call(lambda np, a, b: np.einsum(a, [5, 1], b, [1, 2]), M, N),
    Call(lambda np, a, b: np.einsum(a, [..., 1], b, [1, ...], [...]), T, numbers((3, 2, 2))),
    Call(lambda np, a: np.einsum(a, [3, 3]), Q),
    *[
        Call(lambda np, a, b, o=o: np.einsum("ij,jk,kl", a, b, a, optimize=o), M, N)
        for o in [True, "greedy", "optimal", ["einsum_path", (0, 1), (0, 1)]]
    ],
    Call(lambda np, a: np.einsum("ij->i", a, dtype="d"), M.astype("f")),
]

test_value, test_gradient, test_second_order = laws(OF_TWO + OF_ONE + SUMS)


def multiplied(np, *factors):
    return np.linalg.multi_dot(list(factors))


CHAINS = [
    [M, N],
    [M, N, M],
    [M, N, M, N],
    [V, N, M],
    [V, N, M, V],
    [M, N, M, V],
    [V, V],
    [numbers((4, 1)), numbers((1, 5)), numbers((5, 2)), numbers((2, 3)), numbers((3, 1))],
    [numbers((0, 3)), N, M],
]

test_chain, test_chain_gradient, test_chain_second_order = laws([Call(multiplied, *chain) for chain in CHAINS])


def test_cross_of_vectors_of_two_elements():
    """NumPy warns of them, and computes this."""
    a, b, c = np.array([1.0, 2.0]), np.array([3.0, 5.0]), np.array([1.0, 2.0, 3.0])
    assert_allclose(nnp.cross(Tensor(a), b).numpy(), -1.0)
    assert_allclose(nnp.cross(Tensor(a), c).numpy(), np.cross([1.0, 2.0, 0.0], c))
    assert_allclose(nnp.cross(Tensor(c), b).numpy(), np.cross(c, [3.0, 5.0, 0.0]))
    assert_allclose(needle.grad(lambda x: nnp.cross(x, c).sum())(a), [2 - 3, 3 - 1])


def test_a_faster_order_gives_the_same():
    a, b, c = [numbers((20, 20), seed=i) for i in range(3)]
    f = lambda a: (nnp.einsum("ij,jk,kl->il", a, b, c) * c).sum()  # noqa: E731
    assert_allclose(f(Tensor(a)).numpy(), np.sum(a @ b @ c * c), rtol=1e-12)
    assert_allclose(needle.grad(f)(a), c @ c.T @ b.T, rtol=1e-12)


def test_an_operand_that_broadcast_gets_its_own_shape():
    for n in (1, 3):
        gradient = needle.grad(lambda x: nnp.einsum("i,i", x, [2.0]))(np.ones(n))
        assert_allclose(gradient, np.full(n, 2.0), strict=True)


def test_path():
    a, b = Tensor(M), Tensor(N)
    assert nnp.einsum_path("ij,jk,kl", a, b, a) == np.einsum_path("ij,jk,kl", M, N, M)
    assert nnp.einsum_path(a, [0, 1], b, [1, 2])[0] == ["einsum_path", (0, 1)]


@pytest.mark.parametrize("function", ["dot", "matmul", "outer"])
def test_out(function):
    out = nnp.zeros(getattr(np, function)(M, N).shape)
    assert getattr(nnp, function)(Tensor(M), N, out=out) is out
    assert_allclose(out.numpy(), getattr(np, function)(M, N))


def test_jacobians_are_batched():
    a, b = M, N
    for f in [
        lambda a: nnp.einsum("ij,jk->ki", a, b),
        lambda a: nnp.einsum("ij,ij->i", a, a),
        lambda a: nnp.tensordot(a, b, ([1], [0])),
        lambda a: nnp.kron(a, b),
        lambda a: nnp.cross(a, V),
        lambda a: nnp.vecdot(a, V),
    ]:
        rows = needle.jacobian(f)(a)
        value = f(Tensor(a)).numpy()
        columns = [needle.jvp(f, (a,), (e.reshape(a.shape),))[1] for e in np.eye(a.size)]
        assert_allclose(rows.reshape(value.size, a.size), np.stack([c.ravel() for c in columns], 1), atol=1e-12)


ERRORS = [
    (lambda: nnp.dot(M, M), "dot: the last axis of x1 and axis -2 of x2 must be equally long, got .2, 3. and .2, 3."),
    (lambda: nnp.vecdot(V, P), "vecdot: .*equally long"),
    (lambda: nnp.matvec(V, V), "matvec: needs at least 2 and 1 axes"),
    (lambda: nnp.vecmat(V, M), "vecmat: .*equally long"),
    (lambda: nnp.inner(V, P), "inner: .*equally long"),
    (lambda: nnp.tensordot(M, M, 1), "tensordot: the axes .-1. of a and .0. of b"),
    (lambda: nnp.tensordot(M, N, ([0, 0], [1, 1])), "tensordot.*twice"),
    (lambda: nnp.cross(numbers((4,)), V), "cross: the vectors must have 2 or 3 elements, got 4 and 3"),
    (lambda: nnp.einsum("ij,jk", M), "einsum: 'ij,jk' has 2 terms, got 1 operands"),
    (lambda: nnp.einsum("i", M), "einsum: 'i' does not label the axes of operand 0, which has 2"),
    (lambda: nnp.einsum("ijk", M), "einsum: 'ijk' does not label the axes"),
    (lambda: nnp.einsum("i1", M), "einsum: 'i1' must be letters"),
    (lambda: nnp.einsum("ij->k", M), "einsum: the result 'k' has the label 'k' but none"),
    (lambda: nnp.einsum("ij->ii", M), "einsum: the result 'ii' has the label 'i' twice"),
    (lambda: nnp.einsum("...j->j", M), "einsum: the result 'j' needs '...'"),
    (lambda: nnp.einsum("ii", M), r"einsum: the axes \[0, 1\] have one label, and must be equally long"),
    (lambda: nnp.einsum("ij,ij", M, N), "Einsum: axis 'a' of 'ab,ab->' is 3 long in operand 1, elsewhere 2"),
    (nnp.einsum, "einsum: needs subscripts and operands"),
    (lambda: nnp.linalg.multi_dot([M]), "multi_dot: needs at least two matrices, got 1"),
    (lambda: nnp.linalg.multi_dot([M, N, N]), "multi_dot: factors 1 and 2 do not fit"),
    (lambda: nnp.linalg.multi_dot([M, T, N]), "multi_dot: factor 1 must be a matrix"),
    (lambda: nnp.matmul(M, N, axes=[(0, 1)]), "matmul: axes must have an entry for each of 3"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_a_function_of_vectors_does_not_take():
    with pytest.raises(TypeError, match=r"matvec: takes axes=, .* but neither axis= nor keepdims="):
        nnp.matvec(M, V, axis=0)
    with pytest.raises(TypeError, match="matmul: takes no where="):
        nnp.matmul(M, N, where=True)
    with pytest.raises(RuntimeError, match=r"matmul.reduce: only functions of single elements"):
        nnp.matmul.reduce(M)
    with pytest.raises(TypeError, match="einsum: float64 cannot be cast to float32"):
        nnp.einsum("ij", M, dtype="f")
