"""Making Tensors by NumPy's names."""

from __future__ import annotations

import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from numpy.testing import assert_allclose, assert_array_equal
from samples.kit import numbers

S, P = numbers(()), numbers((), positive=True, seed=3)
V, M = numbers((3,)), numbers((2, 3))
POSITIVE, OTHERS = numbers((3,), positive=True), numbers((3,), positive=True, seed=1)
SINGLE, LONG, COMPLEX = numbers((2, 3), "f"), numbers((2, 3), "l"), numbers((2, 3), "D", positive=True)
LIKE = [S, V, SINGLE, LONG, COMPLEX, numbers((0, 3)), np.array([True, False])]

FILLED = [
    *[Call(name, shape) for name in ("zeros", "ones") for shape in [3, (), (2, 3), [2, 0], (np.int64(2), 1)]],
    *[Call(name, 2, dtype, "F") for name in ("zeros", "ones") for dtype in ["f", int, bool, None, "D"]],
    *[Call(f"{name}_like", a) for name in ("zeros", "ones") for a in LIKE],
    Call("zeros_like", M, "f", "C", True, 4),
    Call("ones_like", M, shape=(1, 2), dtype=int, device="cpu"),
    Call("full", (2, 3), 1.5),
    Call("full", 2, 7),
    Call("full", (2, 3), S),
    Call("full", (2, 3), V),
    Call("full", (), S, "f", smooth=False),
    Call("full", shape=(2,), fill_value=[1, 2], dtype=float),
    Call("full_like", SINGLE, 1.5),
    Call("full_like", LONG, 1.5),
    Call("full_like", M, V),
    Call("full_like", M, S, shape=2, dtype="d"),
    Call("eye", 3),
    Call("eye", 2, 4, 1, int),
    Call("eye", N=3, k=-1, dtype="F", order="F", device=None),
    Call("eye", 0),
    Call("identity", 3),
    Call("identity", 2, "f"),
    Call("tri", 3),
    Call("tri", 2, 4, -1, int),
]

MADE = [
    *[Call(name, a) for name in ("array", "asarray", "asanyarray", "copy", "asfortranarray") for a in LIKE],
    *[Call("ascontiguousarray", a) for a in LIKE],
    *[Call("asarray_chkfinite", a) for a in LIKE],
    Call("array", [S, P]),
    Call("array", [[S, 1.0], [0, P]]),
    Call("array", [V, V, [1.0, 2.0, 3.0]]),
    Call("array", (SINGLE, M)),
    Call("array", [SINGLE[0, 0], 1]),
    Call("array", [[1, 2], [3, 4]], dtype="f"),
    Call("array", SINGLE, np.float64),
    Call("array", M, "f", smooth=False),
    Call("array", V, ndmin=3, order="F"),
    Call("array", 2.5),
    Call("array", 2**70, float),
    Call("array", [], ndmin=2),
    Call("asarray", [V, V], dtype="D", smooth=False),
    Call("asarray", M, copy=True),
    Call("asarray", [True, 1], device="cpu"),
    Call("copy", M, order="F"),
    Call(lambda np, a: np.fromiter((x * 2 for x in np.asarray(a)), float, 3), V),
    Call("fromiter", [1, 2, 3], "f"),
    Call("fromiter", range(5), int, 3),
    Call("frombuffer", b"\x01\x02\x03\x04", "u1", 2, 1),
    Call("fromstring", "1 2 3.5", sep=" "),
    Call("fromstring", "1, 2", int, 1, sep=","),
    Call(lambda np, a: np.from_dlpack(a), M),
]


RANGES = [
    *[Call("arange", *args) for args in [(5,), (2, 5), (0, 1, 0.25), (5, 2), (5, 2, -1), (2.5,), (0,)]],
    Call("arange", 3, dtype="f"),
    Call("arange", 1, stop=7, step=3, device="cpu"),
    Call("arange", S, 5.0, smooth=False),
    Call("arange", np.array(0.1), np.array(1.1), np.array(0.3)),
    Call("arange", np.array(0.1), 1),
    Call("arange", np.array(7), step=np.array(2)),
    *[Call("linspace", *ends) for ends in [(0, 1), (S, P), (S, 2), (V, 1.0), (V, POSITIVE), (0, SINGLE), (COMPLEX, 1)]],
    *[Call("linspace", S, P, n, end) for n in (0, 1, 2, 5) for end in (True, False)],
    *[Call("linspace", S, P, n, end, True) for n in (1, 2, 5) for end in (True, False)],
    Call("linspace", 0, 1, 5, retstep=True),
    Call("linspace", V, POSITIVE, 4, axis=1),
    Call("linspace", M, 1.0, 4, axis=-1, retstep=True),
    Call("linspace", S, 5.0, 4, dtype=int, smooth=False),
    Call("linspace", np.array(0.0), 10, 4, dtype="f", smooth=False),
    Call("linspace", SINGLE, LONG, 3),
    Call("linspace", LONG, 3, 3),
    Call("linspace", S, S, 3),
    *[Call("logspace", *args) for args in [(0, 2), (S, P), (S, P, 4, False), (S, P, 3, True, 2)]],
    Call("logspace", S, P, 3, True, 2.5, "f", smooth=False),
    Call("logspace", S, P, 4, base=POSITIVE),
    Call("logspace", V, 1.0, 4, base=POSITIVE, axis=-1),
    Call("logspace", np.zeros(2), 1.0, 4, base=np.array(3.0)),
    Call("logspace", SINGLE, 1.0, 3),
    *[Call("geomspace", *args) for args in [(1, 100), (P, 8.0), (POSITIVE, OTHERS), (-POSITIVE, -OTHERS), (P, P, 1)]],
    *[Call("geomspace", P, 8.0, n, end) for n in (0, 1, 2, 5) for end in (True, False)],
    Call("geomspace", P, 8.0, 4, dtype=int, smooth=False),
    Call("geomspace", COMPLEX, 1j, 4, axis=1),
    Call("geomspace", np.array(1j), np.array(16j), 5),
    Call("geomspace", np.array(-1.0), -1000.0, 4, dtype=complex, smooth=False),
    Call("geomspace", POSITIVE, 9, 4, axis=-1),
    Call("geomspace", np.array(2.0, "f"), np.array(9.0, "f"), 4),
]

GRIDS = [
    *[Call("meshgrid", *args) for args in [(), (V,), (V, M[0, :2]), (V, M[0, :2], S), (V, [1, 2])]],
    *[Call("meshgrid", V, M[0, :2], sparse=s, indexing=i, copy=False) for s in (True, False) for i in ("xy", "ij")],
    Call("indices", (2, 3)),
    Call("indices", [2, 3], float),
    Call("indices", (2, 3), sparse=True),
    Call("ix_", V, [True, False, True]),
    Call("ix_", [0, 2], np.array([1, 0]), []),
    Call("diag_indices", 3),
    Call("diag_indices", 2, 3),
    Call("diag_indices_from", numbers((3, 3))),
    *[Call(f"{name}_indices", *args) for name in ("tril", "triu") for args in [(3,), (3, 1), (2, -1, 4)]],
    *[Call(f"{name}_indices_from", M, 1) for name in ("tril", "triu")],
    Call(lambda np: np.mask_indices(3, np.triu)),
    Call(lambda np: np.mask_indices(3, np.tril, 1)),
    *[Call(name, n) for name in ("bartlett", "blackman", "hamming", "hanning") for n in (0, 1, 2, 5, 6)],
    *[Call("kaiser", n, beta) for n in (0, 1, 2, 5) for beta in (3.5, P, P.astype("f"))],
]

test_filled, test_gradient_of_filled, test_second_order_of_filled = laws(FILLED)
test_made, test_gradient_of_made, test_second_order_of_made = laws(MADE)
test_ranges, test_gradient_of_ranges, test_second_order_of_ranges = laws(RANGES)
test_grids, test_gradient_of_grids, test_second_order_of_grids = laws(GRIDS)


def test_empty():
    assert nnp.empty((2, 3), "f").shape == (2, 3)
    assert nnp.empty_like(Tensor(SINGLE)).dtype == np.float32
    assert nnp.empty_like(LONG, dtype="d", shape=4).shape == (4,)


def test_copies_and_no_copies():
    t, array = Tensor(V), V.copy()
    assert nnp.asarray(t) is t
    assert nnp.asarray(t, copy=False) is t
    assert nnp.astype(t, float, copy=False) is t
    assert nnp.from_dlpack(t) is t
    for copied in [nnp.array(t), nnp.copy(t), nnp.asarray(t, copy=True), nnp.full(3, t)]:
        copied[0] = 9.0
        assert_array_equal(t.numpy(), V)
    shared, own = nnp.asarray(array, copy=False), nnp.asarray(array)
    array[0] = 9.0
    assert shared.numpy()[0] == 9.0
    assert own.numpy()[0] == V[0]
    assert nnp.shares_memory(shared, array)
    assert not nnp.shares_memory(own, array)


def test_made_of_numbers_needs_no_gradient():
    for made in [nnp.zeros(2), nnp.array([1.0, 2.0]), nnp.linspace(0, 1), nnp.eye(2), nnp.hanning(4), nnp.arange(3.0)]:
        assert not made.requires_grad


def test_from_a_file(tmp_path):
    np.arange(3, dtype="f4").tofile(tmp_path / "numbers")
    assert_array_equal(nnp.fromfile(tmp_path / "numbers", "f4", 2).numpy(), np.arange(2, dtype="f4"), strict=True)


def test_repeated_elements_of_a_list_add_up():
    t = Tensor(2.0)
    nnp.array([t, [t, 1.0][0], 3 * t]).sum().backward()
    assert_allclose(t.grad.numpy(), 5.0)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: nnp.zeros(3, device="gpu"), ValueError, "all_devices"),
        (lambda t: nnp.zeros(3, dtype=object), TypeError, "booleans or numbers"),
        (lambda t: nnp.array(["a"]), TypeError, "an array or a number"),
        (lambda t: nnp.array([t, [t]]), ValueError, "one shape"),
        (lambda t: nnp.array([t, t], copy=False), ValueError, "without a copy"),
        (lambda t: nnp.array([1.0], copy=False), ValueError, "needs a copy"),
        (lambda t: nnp.asarray(t, "f", copy=False), ValueError, "without a copy"),
        (lambda t: nnp.array(t, ndmax=0, ndmin=0) and nnp.array(M, ndmax=1), ValueError, "ndmax"),
        (lambda t: nnp.asarray_chkfinite(t / 0), ValueError, "infinities or NaNs"),
        (lambda t: nnp.linspace(t, 1, -1), ValueError, "num"),
        (lambda t: nnp.linspace(t, 1, 2.5), TypeError, "float"),
        (lambda t: nnp.linspace(t, 1, 3, axis=2), ValueError, "axis 2"),
        (lambda t: nnp.geomspace(t, 0), ValueError, "cannot include 0"),
        (lambda t: nnp.meshgrid(t, indexing="yx"), ValueError, "'xy' or 'ij'"),
        (lambda t: nnp.ix_(M), ValueError, "one dimension"),
        (lambda t: nnp.diag_indices_from(M), ValueError, "one length"),
        (lambda t: nnp.tril_indices_from(V), ValueError, "matrix"),
        (lambda t: nnp.fromiter([1], int, 2), ValueError, "count=2"),
    ],
)
def test_errors_say_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words), np.errstate(all="ignore"):
        call(Tensor(1.5))
