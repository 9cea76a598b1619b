"""Choosing, finding, sorting and assigning elements by NumPy's names."""

from __future__ import annotations

from typing import Any

import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from numpy.testing import assert_array_equal
from samples.kit import NAN, numbers

S, V, W = numbers(()), numbers((3,)), numbers((5,), seed=1)
M, N = numbers((2, 3)), numbers((2, 3), seed=1)
T = numbers((2, 3, 4))
E, R, C = numbers((0,)), numbers((0, 3)), numbers((3, 0))
SINGLE, LONG, COMPLEX = numbers((2, 3), "f"), numbers((2, 3), "l"), numbers((2, 3), "D")
EDGES = [E, R, C, SINGLE, LONG, COMPLEX]
TIES = np.array([2.0, 1.0, 2.0, NAN, 1.0, -0.0, 0.0])
BOOLS = np.array([[True, False, True], [False, False, True]])

CHOSEN = [
    *[Call("take", a, []) for a in EDGES],
    Call("take", M, 2),
    Call("take", M, -1, 0),
    Call("take", M, [0, 0, 1], axis=0),
    Call("take", T, [[0, 2], [1, 1]], 1),
    Call("take", T, np.array([3, -1]), axis=-1),
    Call("take", V, [True, False]),
    *[Call("take", W, [-7, -1, 4, 5, 12], mode=mode) for mode in ("wrap", "clip")],
    Call("take", M, 7, 1, mode="clip"),
    Call("take", S, 0),
    *[Call("take_along_axis", M, np.argsort(M, axis), axis) for axis in (0, 1, -1)],
    Call("take_along_axis", M, np.array([[0, 0, 2, 1], [-1, 2, 1, 1]])),
    Call("take_along_axis", T, np.array([[[1]]]), axis=1),
    Call("take_along_axis", M, np.array([5, 0, 0]), axis=None),
    Call("choose", np.array([[0, 1, 0], [1, 0, 1]]), [M, N]),
    Call("choose", [2, 0, 1], [V, S, 1.5]),
    Call("choose", [0, 1, 0], [SINGLE, 1.5]),
    Call("choose", np.array([0, 1]), (LONG[:, :2], SINGLE[:, :2])),
    *[Call("choose", [-4, 5, 1], [V, 2 * V, 3 * V], mode=mode) for mode in ("wrap", "clip")],
    Call("choose", np.array(1), (M, N)),
    Call("choose", [0, 1], [[1, 2], [3, 4]]),
    Call("select", [BOOLS, ~BOOLS], [M, N]),
    Call("select", [BOOLS], [M], 7.5),
    Call("select", [BOOLS, BOOLS[:, :1]], [M, V], default=S),
    Call("select", [BOOLS, BOOLS], [LONG, 1]),
    Call("select", [BOOLS, BOOLS], [SINGLE, 1.5], 2),
    Call("select", [np.array(True)], [np.array(1.5)]),
    Call("compress", [True, False, True], M, axis=1),
    Call("compress", [0, 1], M, 0),
    Call("compress", BOOLS[0], M),
    Call("extract", BOOLS, M),
    Call("extract", M > 0, M),
    Call("where", BOOLS),
    Call("where", BOOLS, M, N),
    Call("where", BOOLS, M, 0),
    Call("where", LONG, SINGLE, 2.5),
    Call("where", BOOLS, [1.0, 2.0, 3.0], S),
    Call("where", True, 1, 2.5),
    Call("where", BOOLS, SINGLE, LONG),
]

FOUND = [
    *[Call(name, a) for name in ("argwhere", "nonzero", "flatnonzero", "count_nonzero") for a in [*EDGES, BOOLS, TIES]],
    Call("argwhere", S),
    Call("count_nonzero", BOOLS, 1),
    Call("count_nonzero", BOOLS, axis=(0, 1), keepdims=True),
    *[Call(name, a) for name in ("argmax", "argmin") for a in [S, M, TIES, SINGLE, LONG, COMPLEX, BOOLS]],
    *[Call(name, M, 1, keepdims=True) for name in ("argmax", "argmin", "nanargmax", "nanargmin")],
    *[Call(name, TIES, axis=0) for name in ("nanargmax", "nanargmin")],
    Call("searchsorted", np.sort(W), V),
    Call("searchsorted", np.sort(W), 0.5, "right"),
    Call("searchsorted", W, M, sorter=np.argsort(W)),
    Call("digitize", M, np.sort(W)),
    Call("digitize", [1.0, 2.0], [1.0, 2.0, 3.0], right=True),
    Call("unravel_index", [5, 3], (2, 3)),
    Call("unravel_index", 5, (2, 3), "F"),
    Call("ravel_multi_index", ([0, 1], [2, 1]), (2, 3)),
    Call("ravel_multi_index", np.array([[0, 9], [2, 1]]), (2, 3), mode="clip", order="F"),
    Call("isin", LONG, [1, 2, 3]),
    Call("isin", M, V, invert=True),
    Call("isin", 2, [1, 2], assume_unique=True, kind="sort"),
]

SORTED = [
    *[Call(name, a) for name in ("sort", "argsort") for a in [*EDGES, M, T, BOOLS]],
    *[Call(name, T, axis) for name in ("sort", "argsort") for axis in (0, 1, -1, None)],
    *[Call(name, LONG, 0, "stable") for name in ("sort", "argsort")],
    *[Call(name, TIES, stable=s, smooth=False) for s in (True, None) for name in ("sort", "argsort")],
    Call("sort", S, None),
    *[Call("sort_complex", a) for a in [M, COMPLEX, LONG, np.array([3, 1], "b")]],
    Call("sort_complex", SINGLE),
    Call(lambda np, a: np.sort(np.partition(a, 2)[:2]), W),
    Call(lambda np, a: np.partition(a, 2)[2], W),
    Call(lambda np, a: np.partition(a, (0, -1), axis=0)[0], M),
    Call(lambda np, a: np.partition(a, 3, axis=None)[3:4], M),
    Call(lambda np, a: np.take_along_axis(a, np.argpartition(a, 1, 1), 1)[:, 1], M),
    Call("lexsort", ([1, 1, 0], V)),
    Call("lexsort", np.array([[2, 1, 2], [0, 1, 0]])),
    Call("lexsort", (M, N), axis=0),
]

ELEMENTS = np.array([[2.5, 1.5, 2.5], [1.5, 3.5, 4.5]])
SETS = [
    *[Call("unique", a) for a in [*EDGES, S, LONG, BOOLS, M]],
    *[Call(name, a, smooth=False) for name in ("unique", "unique_values") for a in [ELEMENTS, TIES]],
    Call("unique", ELEMENTS, True, True, True, smooth=False),
    Call("unique", TIES, return_inverse=True, equal_nan=False, smooth=False),
    Call("unique", np.array([[1, 2], [1, 2], [0, 3]]), axis=0, return_index=True, return_counts=True),
    Call("unique", np.array([[1.5, 2], [1.5, 2], [0, 3]]), axis=-1, return_inverse=True, smooth=False),
    Call("unique", M, axis=1),
    *[Call(f"unique_{name}", ELEMENTS, smooth=False) for name in ("all", "counts", "inverse")],
    *[Call(f"unique_{name}", M) for name in ("all", "counts", "inverse", "values")],
    Call("intersect1d", ELEMENTS, [2.5, 4.5, 9.0], smooth=False),
    Call("intersect1d", ELEMENTS, [2.5, 4.5, 9.0], return_indices=True, smooth=False),
    Call("intersect1d", [3, 1], np.array([1.0, 2.0]), True, smooth=False),
    Call("union1d", M, V),
    Call("union1d", ELEMENTS, [2.5, 9.0], smooth=False),
    Call("setdiff1d", M, V[:2]),
    Call("setdiff1d", W, W[1:3], True, smooth=False),
    Call("setdiff1d", ELEMENTS, [2.5], smooth=False),
    Call("setxor1d", M, V),
    Call("setxor1d", ELEMENTS, [2.5, 9.0], smooth=False),
    Call("setxor1d", [1, 2], [2, 1], assume_unique=True),
    Call("setxor1d", E, E),
]


def assigned(name: str, *more: Any, **options: Any) -> Any:
    """A program that calls a function on a copy of a, and returns what it has become."""

    def program(np: Any, a: Any, *values: Any) -> Any:
        a = np.copy(a)
        getattr(np, name)(a, *[values[m] if isinstance(m, int) else m[0] for m in more], **options)
        return a

    program.__qualname__ = f"{name} {more} {options}"
    return program


ASSIGNED = [
    Call(assigned("copyto", 0), M, N),
    Call(assigned("copyto", 0), M, V),
    Call(assigned("copyto", [2.5]), M),
    Call(assigned("copyto", 0, where=BOOLS), M, V),
    Call(assigned("copyto", 0, casting="unsafe"), SINGLE, N, smooth=False),
    Call(assigned("place", [BOOLS], 0), M, W),
    Call(assigned("place", [BOOLS], 0), M, V[:2]),
    Call(assigned("place", [np.zeros((2, 3), bool)], 0), M, E),
    Call(assigned("putmask", [BOOLS], 0), M, N),
    Call(assigned("putmask", [BOOLS], 0), M, V[:2]),
    Call(assigned("putmask", [BOOLS], [7]), LONG),
    Call(assigned("put", [[0, -1]], 0), M, V),
    Call(assigned("put", [[0, 3, 5]], 0), M, V[:2]),
    Call(assigned("put", [[4, 4]], 0), M, V[:2]),
    Call(assigned("put", [[-9, 7]], 0, ["wrap"]), M, V[:2]),
    Call(assigned("put", [[-9, 7]], 0, mode="clip"), M, V[:2]),
    Call(assigned("put", [[]], 0), M, V),
    Call(assigned("put", [0], 0), S, V),
    Call(assigned("put_along_axis", [np.array([[1], [0]])], 0, [1]), M, numbers((2, 1))),
    Call(assigned("put_along_axis", [np.array([[1, 0, 1]])], 0, axis=0), M, V),
    Call(assigned("put_along_axis", [np.array([1, 5])], 0, axis=None), M, V[:2]),
    Call(assigned("fill_diagonal", 0), numbers((3, 3)), S),
    Call(assigned("fill_diagonal", 0), numbers((5, 2)), V),
    Call(assigned("fill_diagonal", 0, [True]), numbers((5, 2)), V[:2]),
    Call(assigned("fill_diagonal", 0), numbers((2, 5)), V),
    Call(assigned("fill_diagonal", 0), numbers((2, 2, 2)), V[:1]),
    Call(assigned("fill_diagonal", [1.5], wrap=True), numbers((7, 3), "f")),
]

test_chosen, test_gradient_of_chosen, test_second_order_of_chosen = laws(CHOSEN)
test_found, _, _ = laws(FOUND)
test_sorted, test_gradient_of_sorted, test_second_order_of_sorted = laws(SORTED)
test_sets, test_gradient_of_sets, test_second_order_of_sets = laws(SETS)
test_assigned, test_gradient_of_assigned, test_second_order_of_assigned = laws(ASSIGNED)


@pytest.mark.parametrize("axis", [0, -1, None])
def test_descending_is_the_reverse(axis):
    for a in [M, np.round(T), np.array([[1.0, 2.0, 1.0, 2.0]])]:
        ascending = np.sort(a, axis)
        expected = np.flip(ascending, 0 if axis is None else axis)
        assert_array_equal(nnp.sort(Tensor(a), axis, descending=True).numpy(), expected)
        order = nnp.argsort(Tensor(a), axis, descending=True, stable=True).numpy()
        whole = a.ravel() if axis is None else a
        assert_array_equal(np.take_along_axis(whole, order, 0 if axis is None else axis), expected)
    assert_array_equal(nnp.argsort(Tensor([1.0, 2.0, 1.0, 2.0]), descending=True, stable=True).numpy(), [1, 3, 0, 2])


def test_equal_elements_keep_their_order():
    t = Tensor([2.0, 1.0, 2.0, 1.0])
    (nnp.sort(t) * Tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert_array_equal(t.grad.numpy(), [3.0, 1.0, 4.0, 2.0])
    nnp.unique(t).sum().backward()
    assert_array_equal(t.grad.numpy(), [1.0, 1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    "program",
    [
        lambda r, x: nnp.where(x > 0, r, 1.0),
        lambda r, x: nnp.select([x > 0, x == 0], [r, 1.0]),
        lambda r, x: nnp.choose(x > 0, [1.0, r]),
        lambda r, x: nnp.sort(nnp.where(x > 0, r, 1.0)),
        lambda r, x: nnp.piecewise(x, [x > 0], [nnp.sqrt, 1.0]),
    ],
)
def test_what_is_not_chosen_has_no_gradient(program):
    x = Tensor([-1.0, 0.0, 4.0])
    with np.errstate(all="ignore"):
        program(nnp.sqrt(x), x).sum().backward()
    assert_array_equal(x.grad.numpy(), [0.0, 0.0, 0.25])


def test_named_tuples_have_numpys_names():
    for name in ("unique_all", "unique_counts", "unique_inverse"):
        assert getattr(nnp, name)(M)._fields == getattr(np, name)(M)._fields


def test_out_is_assigned_to():
    t, out = Tensor(W), nnp.zeros(2)
    assert nnp.take(t, [1, 1], out=out) is out
    out.sum().backward()
    assert_array_equal(t.grad.numpy(), [0, 2, 0, 0, 0])
    index = np.zeros((), np.intp)
    assert nnp.argmax(t, out=index) is index
    assert index == np.argmax(W)


def test_arrays_are_assigned_to_if_no_gradient_is_lost():
    array = np.zeros(3)
    nnp.put(array, [0, 2], nnp.array([1.0, 2.0]))
    nnp.copyto(array, 5, where=[False, True, False])
    assert_array_equal(array, [1, 5, 2])
    with pytest.raises(TypeError, match="gradient"):
        nnp.put(array, [0], Tensor([1.0]))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: nnp.take(t, 9), IndexError, "take: index 9"),
        (lambda t: nnp.take(t, 1.5), TypeError, "integers"),
        (lambda t: nnp.take(t, 0, 5), ValueError, "axis 5"),
        (lambda t: nnp.take(t, 0, mode="throw"), ValueError, "mode"),
        (lambda t: nnp.take(t[:, :0], 0, mode="wrap"), IndexError, "without elements"),
        (lambda t: nnp.choose([0, 2], [t, t]), ValueError, "0..1"),
        (lambda t: nnp.choose([0], []), ValueError, "one choice"),
        (lambda t: nnp.select([t > 0], [t, t]), ValueError, "a choice for each"),
        (lambda t: nnp.select([t], [t]), TypeError, "booleans"),
        (lambda t: nnp.compress(BOOLS, t), ValueError, "one dimension"),
        (lambda t: nnp.compress([0, 0, 1], t, 0), IndexError, "index 2"),
        (lambda t: nnp.where(t > 0, t), ValueError, "both x and y"),
        (lambda t: nnp.sort(t, order="x"), ValueError, "fields"),
        (lambda t: nnp.sort(t, 2), ValueError, "sort: axis 2"),
        (lambda t: nnp.argsort(t, kind="stable", stable=True), ValueError, "not both"),
        (lambda t: nnp.partition(t, 9), ValueError, "kth"),
        (lambda t: nnp.put(t, 9, 1.0), IndexError, "put: index 9"),
        (lambda t: nnp.place(t, [True], 1.0), ValueError, "as many elements"),
        (lambda t: nnp.place(t, BOOLS, []), ValueError, "no values"),
        (lambda t: nnp.fill_diagonal(t[0], 1.0), ValueError, "needs a matrix"),
        (lambda t: nnp.put_along_axis(t, [0], 1.0, 0), ValueError, "2 dimensions"),
        (lambda t: nnp.copyto(nnp.zeros(2, int), 1.5), TypeError, "cannot be cast"),
        (lambda t: nnp.argmax(t, 5), ValueError, "argmax"),
        (lambda t: nnp.unravel_index(9, (2, 3)), ValueError, "unravel_index"),
        (lambda t: nnp.nonzero(nnp.array(1.0)), ValueError, "nonzero"),
    ],
)
def test_errors_say_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call(Tensor(M))
