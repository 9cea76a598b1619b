"""Shapes, joining, splitting, repeating and padding by NumPy's names."""

from __future__ import annotations

from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, laws
from needle import Tensor
from samples.kit import numbers

S = numbers(())
V, W = numbers((3,)), numbers((4,), seed=1)
M, N = numbers((2, 3)), numbers((2, 3), seed=1)
Q = numbers((3, 3))
T = numbers((2, 3, 4))
E, R, C = numbers((0,)), numbers((0, 3)), numbers((3, 0))
SINGLE, LONG, COMPLEX = numbers((2, 3), "f"), numbers((2, 3), "l"), numbers((2, 3), "D")
EDGES = [S, E, R, C, SINGLE, LONG, COMPLEX]


def windows(np: Any, *args: Any) -> Any:
    return (np if np is nnp else np.lib.stride_tricks).sliding_window_view(*args)


SHAPES = [
    *[Call("reshape", a, -1) for a in EDGES],
    Call("reshape", M, (3, -1)),
    Call("reshape", T, (4, 6), "F"),
    Call("reshape", T, (-1, 4), order="F", copy=True),
    Call("reshape", T, shape=[3, 8]),
    Call("reshape", R, (3, 0), order="A"),
    *[Call("ravel", a) for a in EDGES],
    *[Call("ravel", T, order) for order in "CFAK"],
    *[Call("transpose", a) for a in [*EDGES, V, T]],
    Call("transpose", T, (2, 0, 1)),
    Call("transpose", T, axes=[-1, 0, -2]),
    Call("transpose", V, 0),
    Call("permute_dims", T, (1, 0, 2)),
    *[Call("matrix_transpose", a) for a in [M, T, R]],
    Call("swapaxes", T, 0, -1),
    Call("swapaxes", axis1=1, axis2=1, a=T),
    Call("moveaxis", T, 0, -1),
    Call("moveaxis", T, [0, 1], (-1, 0)),
    Call("moveaxis", T, (), ()),
    *[Call("rollaxis", T, axis, start) for axis in (0, 2, -2) for start in (0, 1, 2, 3, -1)],
    Call("expand_dims", M, 1),
    Call("expand_dims", M, (0, -1)),
    Call("expand_dims", S, axis=0),
    Call("squeeze", numbers((1, 3, 1))),
    Call("squeeze", numbers((1, 3, 1)), -1),
    Call("squeeze", numbers((1, 3, 1)), axis=(0, 2)),
    Call("squeeze", S),
    *[Call(f"atleast_{n}d", a) for n in (1, 2, 3) for a in [*EDGES, V, T]],
    Call("atleast_1d", S, V),
    Call("atleast_2d", S, V, T),
    Call("atleast_3d", S, M),
    Call("atleast_1d"),
    Call("broadcast_to", V, (2, 3)),
    Call("broadcast_to", S, 3),
    Call("broadcast_to", numbers((3, 1)), shape=(2, 3, 0)),
    Call("broadcast_arrays", V, numbers((2, 1)), S),
    Call("broadcast_arrays"),
    Call("astype", SINGLE, np.float64),
    Call("astype", LONG, "f", copy=False),
    Call("astype", M, np.float64, copy=False),
    Call("astype", M, int, smooth=False),
    Call("astype", SINGLE, np.complex64, device="cpu", smooth=False),
    Call("require", M, "f", ["C"], smooth=False),
]

ORDER = [
    *[Call("flip", a) for a in EDGES],
    Call("flip", T, 1),
    Call("flip", T, axis=(0, -1)),
    Call("flip", T, ()),
    Call("fliplr", M),
    Call("flipud", V),
    *[Call("rot90", T, k) for k in range(-3, 5)],
    Call("rot90", T, 1, (2, 0)),
    Call("rot90", axes=(1, -1), m=T, k=-1),
    *[Call("roll", a, 2) for a in EDGES],
    Call("roll", M, -1, 1),
    Call("roll", T, (1, 2), axis=(0, -1)),
    Call("roll", T, (1, 2), axis=1),
    Call("roll", T, 1, (0, 1)),
    Call("roll", M, np.array([1, 5])),
]

JOINED = [
    *[Call("concatenate", [a, a]) for a in EDGES[1:]],
    Call("concatenate", (M, N), 1),
    Call("concatenate", [M, N], axis=-1),
    Call("concatenate", [M, S, V], None),
    Call("concatenate", (SINGLE, M)),
    Call("concatenate", (LONG, SINGLE), dtype=np.float32, smooth=False),
    Call("concatenate", (M, SINGLE), dtype="f", casting="same_kind", smooth=False),
    Call("concatenate", (M, LONG), casting="safe"),
    Call("concatenate", T),
    Call("concatenate", T, 1),
    Call("concatenate", [[1, 2], [3.5]]),
    Call("concat", (V, W), axis=0),
    *[Call("stack", [a, a]) for a in EDGES],
    Call("stack", (M, N), 1),
    Call("stack", (M, SINGLE), axis=-1),
    Call("stack", (V, V), dtype="D", smooth=False),
    Call("stack", T, -1),
    *[Call(name, (M, N)) for name in ("vstack", "hstack", "dstack", "column_stack")],
    *[Call(name, (V, V, V)) for name in ("vstack", "hstack", "dstack", "column_stack")],
    *[Call(name, (S, S)) for name in ("vstack", "hstack", "dstack", "column_stack")],
    *[Call(name, [T, T]) for name in ("vstack", "hstack", "dstack", "column_stack")],
    *[Call(name, (C, M.T)) for name in ("hstack", "column_stack")],
    Call("vstack", (R, M), dtype="f", casting="unsafe", smooth=False),
    Call("hstack", (LONG, M), dtype="d", casting="safe"),
    Call("column_stack", (V, Q)),
    Call("block", [[M, N], [numbers((1, 2)), numbers((1, 4))]]),
    Call("block", [V, W, S]),
    Call("block", [[S], [1.5]]),
    Call("block", M),
    Call("block", [[[M]], [[N]]]),
    Call("block", [1, SINGLE[0]]),
    Call("append", M, V),
    Call("append", M, N, axis=0),
    Call("append", M, [[1.0], [2.0]], 1),
    Call("append", E, 1),
    Call("append", SINGLE, 1.5),
]

INSERTED = [
    Call("insert", V, 1, 5.0),
    Call("insert", V, -1, [5.0, 6.0]),
    Call("insert", V, 3, W),
    Call("insert", M, 1, S),
    Call("insert", M, 1, S, axis=1),
    Call("insert", M, 1, numbers((2,)), axis=1),
    Call("insert", M, [1], numbers((2, 1)), axis=1),
    Call("insert", M, [1], V, axis=0),
    Call("insert", M, 0, V, axis=0),
    Call("insert", M, 0, numbers((2, 3)), axis=0),
    Call("insert", T, 1, numbers((3, 4)), axis=0),
    Call("insert", T, 1, numbers((2, 4)), axis=1),
    Call("insert", T, 2, numbers((2, 3)), axis=-1),
    Call("insert", W, [1, 1, 3], V),
    Call("insert", W, [3, 0, -1], V),
    Call("insert", W, slice(1, None, 2), 7.0),
    Call("insert", W, slice(1, 2), [7.0, 8.0]),
    Call("insert", W, np.array([True, False, True, False]), numbers((2,))),
    Call("insert", W, np.array([False, True, False, False]), numbers((2,))),
    Call("insert", W, [], 5.0),
    Call("insert", LONG, 1, 2.7),
    Call("insert", LONG, 1, V, smooth=False),
    Call("insert", E, 0, V),
    Call("insert", R, 0, V, axis=0),
    Call("insert", SINGLE, [0, 2], M[:, :2], axis=1),
    Call("insert", T, [0, 1], numbers((4,)), axis=1),
    *[Call("delete", a, []) for a in EDGES[1:]],
    Call("delete", V, 1),
    Call("delete", M, [0, -1], axis=1),
    Call("delete", M, 4),
    Call("delete", W, slice(None, None, 2)),
    Call("delete", W, np.array([True, False, True, False])),
    Call("delete", T, 1, -2),
    *[Call(windows, a, *args) for a, args in [(V, [2]), (V, [3]), (M, [(2, 2)]), (M, [2, -1]), (M, [(1, 2), (0, 1)])]],
    Call(windows, M.astype("f"), 2, 0),
    Call("resize", M, (3, 4)),
    Call("resize", M, 2),
    Call("resize", M, (0, 2)),
    Call("resize", E, (2, 2)),
    Call("trim_zeros", M),
    Call("trim_zeros", np.array([0, 0, 1.5, 0, 2.5, 0]), smooth=False),
    *[Call("trim_zeros", np.array([0, 0, 1, 0, 2, 0]), trim) for trim in ("f", "b", "fb", "FB")],
    *[Call("trim_zeros", np.zeros(3), trim, smooth=False) for trim in ("f", "b", "fb")],
    Call("trim_zeros", np.pad(M, 1), smooth=False),
    Call("trim_zeros", np.pad(M, 1), axis=1, smooth=False),
    Call("trim_zeros", np.pad(M, 1), "f", axis=(0, -1), smooth=False),
    Call("trim_zeros", E),
]

SPLIT = [
    Call("split", W, 2),
    Call("split", T, [1, 3], axis=2),
    Call("split", T, (2, 1), 1),
    Call("split", W, np.array([1, 3])),
    Call("split", W, []),
    Call("split", E, 2),
    *[Call("array_split", numbers((7,)), k) for k in (1, 3, 7, 9)],
    Call("array_split", T, 2, 1),
    Call("array_split", W, [-1, 9]),
    Call("hsplit", T, 3),
    Call("hsplit", W, 2),
    Call("vsplit", T, 2),
    Call("dsplit", T, [1]),
    Call("unstack", T),
    Call("unstack", T, axis=-1),
    Call("unstack", R),
]

REPEATED = [
    *[Call("tile", a, 2) for a in EDGES],
    *[Call("tile", M, reps) for reps in [1, (), 0, (2, 1), (2, 1, 3), [0, 2], (1, 1)]],
    Call("tile", V, (2, 2)),
    *[Call("repeat", a, 2) for a in EDGES],
    Call("repeat", M, 3, axis=1),
    Call("repeat", M, 0, 0),
    Call("repeat", M, 1, 0),
    Call("repeat", M, [2], axis=-1),
    Call("repeat", M, [2, 0, 1], axis=-1),
    Call("repeat", M, np.array([1, 3]), axis=0),
    Call("repeat", V, [1, 0, 2]),
    Call("repeat", E, []),
    *[Call(name, a, k) for name in ("tril", "triu") for a in (M, T, Q) for k in (-1, 0, 2)],
    *[Call(name, a) for name in ("tril", "triu") for a in [V, *EDGES[1:]]],
    *[Call("diag", V, k) for k in (-1, 0, 2)],
    *[Call("diag", M, k) for k in (-1, 0, 2, 5)],
    Call("diag", E),
    Call("diagflat", M, 1),
    Call("diagflat", S),
    Call("diagflat", SINGLE),
    *[Call("diagonal", T, k, 1, -1) for k in (-1, 0, 2)],
    Call("diagonal", T, axis1=2, axis2=0),
    Call("diagonal", R),
    Call("diagonal", COMPLEX),
]

MOVING = ["edge", "wrap", "reflect", "symmetric"]
STATISTICS = ["maximum", "minimum", "mean", "median"]


def fill(vector: Any, widths: Any, axis: int, options: Any) -> None:
    if widths[0]:
        vector[: widths[0]] = options.get("value", 2.5)
    if widths[1]:
        vector[-widths[1] :] = vector[widths[0]] * 3


PADDED = [
    *[Call("pad", a, 1) for a in EDGES],
    Call("pad", M, ((1, 2), (0, 3))),
    Call("pad", M, (1, 2), "constant", constant_values=5),
    Call("pad", M, ((1, 2), (2, 1)), constant_values=np.array([[1.5, 2.5], [3.5, 4.5]])),
    Call("pad", SINGLE, 1, constant_values=np.array(2.5)),
    Call("pad", LONG, 1, constant_values=2.7),
    Call("pad", R, 2, constant_values=(3.0, 4.0)),
    Call("pad", M, {-1: 2, 0: (1, 0)}, "edge"),
    Call("pad", M, {1: (0, 2)}),
    Call("pad", M, 0, "mean"),
    *[Call("pad", M, ((2, 1), (0, 4)), mode) for mode in [*MOVING, *STATISTICS, "linear_ramp"]],
    *[Call("pad", LONG, 2, mode) for mode in [*MOVING, *STATISTICS, "linear_ramp"]],
    *[Call("pad", SINGLE, 2, mode) for mode in [*MOVING, *STATISTICS, "linear_ramp"]],
    *[Call("pad", COMPLEX, 2, mode) for mode in [*MOVING, "mean"]],
    *[Call("pad", R, ((0, 0), (1, 2)), mode) for mode in [*MOVING, *STATISTICS, "linear_ramp"]],
    *[
        Call("pad", a, widths, mode, reflect_type="odd")
        for mode in ("reflect", "symmetric")
        for a, widths in [
            (M, ((1, 1), (2, 1))),
            (V, (8, 5)),
            (V, (0, 13)),
            (W, 7),
            (numbers((1,)), 3),
            (numbers((2,)), 5),
        ]
    ],
    Call("pad", V, 2, "reflect", reflect_type="even"),
    *[Call("pad", T, 2, mode, stat_length=2) for mode in STATISTICS],
    Call("pad", T, 1, "mean", stat_length=((1, 2), (3, 3), (9, 1))),
    Call("pad", W, (2, 3), "linear_ramp", end_values=(5.0, -1.0)),
    Call("pad", M, 2, "linear_ramp", end_values=np.array([1.5, 2.5])),
    Call("pad", np.array([2, 200], "B"), 2, "linear_ramp", end_values=-1),
    Call("pad", np.array([2, 201, 200, 255], "B"), 1, "median"),
    Call("pad", M, (1, 2), fill),
    Call("pad", T, ((0, 1), (2, 0), (1, 1)), fill, value=1.5),
]

test_shapes, test_gradient_of_shapes, test_second_order_of_shapes = laws(SHAPES)
test_order, test_gradient_of_order, test_second_order_of_order = laws(ORDER)
test_joined, test_gradient_of_joined, test_second_order_of_joined = laws(JOINED)
test_inserted, test_gradient_of_inserted, test_second_order_of_inserted = laws(INSERTED)
test_split, test_gradient_of_split, test_second_order_of_split = laws(SPLIT)
test_repeated, test_gradient_of_repeated, test_second_order_of_repeated = laws(REPEATED)
test_padded, test_gradient_of_padded, test_second_order_of_padded = laws(PADDED)


def test_empty_edges_have_the_shape():
    assert nnp.pad(Tensor(M), 2, "empty").shape == (6, 7)
    assert nnp.pad(Tensor(R), ((0, 0), (1, 1)), "empty").shape == (0, 5)


def test_out_is_assigned_to():
    out, t = nnp.zeros((2, 6)), Tensor(M)
    assert nnp.concatenate([t, 2 * t], 1, out) is out
    out.sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), np.full((2, 3), 3.0))
    out = nnp.zeros((2, 2, 3))
    assert nnp.stack([t, t], out=out) is out


@pytest.mark.parametrize("name", ["tile", "repeat"])
def test_one_copy_is_a_copy(name):
    t = Tensor(V)
    copied = getattr(nnp, name)(t, 1)
    copied[0] = 9.0
    np.testing.assert_array_equal(t.numpy(), V)


@pytest.mark.parametrize(
    "move",
    [
        lambda a: nnp.roll(a, 1),
        nnp.tril,
        lambda a: nnp.repeat(a, 2, 1),
        lambda a: nnp.tile(a, 2),
        lambda a: nnp.transpose(a, (1, 0)),
        lambda a: nnp.concatenate([a, a]),
        lambda a: nnp.stack([a, a]),
        lambda a: nnp.pad(a, 1, "edge"),
        nnp.diagonal,
        nnp.sort,
    ],
)
def test_a_branch_that_is_not_taken_stays_so_behind_a_move(move):
    """The infinite slope of sqrt at 0 lies behind where, and behind something that moves elements."""
    t = Tensor([[0.0, 4.0], [9.0, 0.0]])
    moved = move(nnp.sqrt(t))
    nnp.where(moved == 0, 0.0, moved).sum().backward()
    assert np.isfinite(t.grad.numpy()).all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: nnp.concatenate([]), ValueError, "concatenate: needs one array"),
        (lambda t: nnp.concatenate([t, t[0]]), ValueError, "shapes must be equal"),
        (lambda t: nnp.concatenate([t[0, 0]]), ValueError, "0-d arrays have no axis"),
        (lambda t: nnp.concatenate([t], 2), ValueError, "concatenate: axis 2 does not exist"),
        (lambda t: nnp.concatenate([t], dtype=int), TypeError, "cannot be cast"),
        (lambda t: nnp.concatenate([t], dtype=int, out=t), TypeError, "not both"),
        (lambda t: nnp.stack([t, t[0]]), ValueError, "all must have one shape"),
        (lambda t: nnp.stack([]), ValueError, "needs one array"),
        (lambda t: nnp.stack([t], 3), ValueError, "stack: axis 3"),
        (lambda t: nnp.block([t, [t]]), ValueError, "nested equally deep"),
        (lambda t: nnp.block([[]]), ValueError, "empty"),
        (lambda t: nnp.block([(t, t)]), TypeError, "tuple"),
        (lambda t: nnp.reshape(t, (4, -1)), ValueError, "do not fill"),
        (lambda t: nnp.reshape(t, 6, "X"), ValueError, "order must be"),
        (lambda t: nnp.transpose(t, (0,)), ValueError, "each of the 2 axes"),
        (lambda t: nnp.transpose(t, (0, 0)), ValueError, "twice"),
        (lambda t: nnp.moveaxis(t, (0, 1), 0), ValueError, "equally many"),
        (lambda t: nnp.squeeze(t, 0), ValueError, "length 1"),
        (lambda t: nnp.expand_dims(t, None), TypeError, "expand_dims"),
        (lambda t: nnp.broadcast_arrays(t, t[:, :2]), ValueError, "do not broadcast"),
        (lambda t: nnp.split(t, 2, 1), ValueError, "evenly"),
        (lambda t: nnp.array_split(t, 0), ValueError, "larger than 0"),
        (lambda t: nnp.dsplit(t, 1), ValueError, "3 or more dimensions"),
        (lambda t: nnp.rot90(t, axes=(0, 0)), ValueError, "two different axes"),
        (lambda t: nnp.repeat(t, [1, 2]), ValueError, "repeat"),
        (lambda t: nnp.repeat(t, -1), ValueError, "not negative"),
        (lambda t: nnp.tile(t, -1), ValueError, "not be negative"),
        (lambda t: nnp.diag(t[None]), ValueError, "one or two dimensions"),
        (lambda t: nnp.diagonal(t, 0, 1, 1), ValueError, "two axes"),
        (lambda t: nnp.insert(t, 9, 1.0), IndexError, "out of bounds"),
        (lambda t: nnp.delete(t, 9), IndexError, "delete"),
        (lambda t: nnp.pad(t, -1), ValueError, "negative"),
        (lambda t: nnp.pad(t, 1.5), TypeError, "integral"),
        (lambda t: nnp.pad(t, (1, 2, 3)), ValueError, "each of the 2 axes"),
        (lambda t: nnp.pad(t, 1, "mirror"), ValueError, "mode must be"),
        (lambda t: nnp.pad(t, 1, "edge", constant_values=1), ValueError, "no options"),
        (lambda t: nnp.pad(t, 1, "maximum", stat_length=0), ValueError, "at least 1"),
        (lambda t: nnp.pad(t[:0], 1, "edge"), ValueError, "without elements"),
        (lambda t: nnp.pad(t, 1, "reflect", reflect_type="both"), ValueError, "reflect_type"),
        (lambda t: nnp.astype(t, "f", device="gpu"), ValueError, "all_devices"),
        (lambda t: nnp.trim_zeros(t, "x"), ValueError, "trim must be"),
    ],
)
def test_errors_say_what_is_wrong(call, error, words):
    with pytest.raises(error, match=words):
        call(needle.Tensor(M))


def test_windows_are_found_by_numpy_and_are_no_view():
    t = Tensor(V)
    np.lib.stride_tricks.sliding_window_view(t, 2).sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), [1, 2, 1])
    with pytest.raises(ValueError, match="copy"):
        nnp.sliding_window_view(t, 2, writeable=True)


AXES = {
    "flip": lambda np, a, axes: np.flip(a, axes),
    "moveaxis": lambda np, a, axes: np.moveaxis(a, axes, [1, 0]),
    "transpose": lambda np, a, axes: np.transpose(a[..., 0], axes),
    "expand_dims": lambda np, a, axes: np.expand_dims(a, axes),
    "squeeze": lambda np, a, axes: np.squeeze(a[None, None], axes),
    "roll": lambda np, a, axes: np.roll(a, (1, 1), axes),
    "rot90": lambda np, a, axes: np.rot90(a, 1, axes),
    "sum": lambda np, a, axes: np.sum(a, axes),
    "method sum": lambda np, a, axes: a.sum(axes),
    "max": lambda np, a, axes: np.max(a, axes),
    "std": lambda np, a, axes: np.std(a, axes),
    "average": lambda np, a, axes: np.average(a, axes),
    "median": lambda np, a, axes: np.median(a, axes),
    "quantile": lambda np, a, axes: np.quantile(a, 0.3, axes),
    "gradient": lambda np, a, axes: np.stack(np.gradient(a, axis=axes)),
    "tensordot": lambda np, a, axes: np.tensordot(a, a, [axes, axes]),
    "norm": lambda np, a, axes: np.linalg.norm(a, axis=axes),
    "fftn": lambda np, a, axes: np.fft.fftn(a, axes=axes),
    "fftshift": lambda np, a, axes: np.fft.fftshift(a, axes),
    "apply_over_axes": lambda np, a, axes: np.apply_over_axes(np.sum, a, axes),
}
LENGTHS = {
    "reshape": lambda np, a, shape: np.reshape(a, shape),
    "method reshape": lambda np, a, shape: a.reshape(shape),
    "reshape in columns": lambda np, a, shape: np.reshape(a, shape, order="F"),
    "resize": lambda np, a, shape: np.resize(a, shape),
    "broadcast_to": lambda np, a, shape: np.broadcast_to(a[0, 0, 0], shape),
    "tile": lambda np, a, shape: np.tile(a, shape),
    "full": lambda np, a, shape: np.full(shape, a[0, 0, 0]) if np is nnp else np.full(shape, a.flat[0]),
}


@pytest.mark.parametrize("name", AXES)
def test_axes_may_be_given_in_any_sequence(name):
    expected = np.asarray(AXES[name](np, T, (0, 1)))
    for axes in ((0, 1), [0, 1], range(2), np.arange(2), nnp.arange(2)):
        got = AXES[name](nnp, Tensor(T), axes)
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-14, strict=True)
        needle.jacobian(lambda a, axes=axes: AXES[name](nnp, a, axes))(T)


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths_may_be_given_in_any_sequence(name):
    for lengths in ((4, 3, 2), [4, 3, 2], range(4, 1, -1), np.array([4, 3, 2]), nnp.array([4, 3, 2])):
        expected = LENGTHS[name](np, T, (4, 3, 2))
        got = LENGTHS[name](nnp, Tensor(T), lengths)
        np.testing.assert_array_equal(got.numpy(), expected, strict=True)
        needle.jacobian(lambda a, lengths=lengths: LENGTHS[name](nnp, a, lengths))(T)
    for length in (24, np.int64(24), np.array(24), np.array([24]), nnp.array(24)):
        expected = LENGTHS[name](np, T, 24)
        np.testing.assert_array_equal(LENGTHS[name](nnp, Tensor(T), length).numpy(), expected, strict=True)


def test_the_method_transpose_takes_any_sequence():
    for axes in ([1, 0], range(1, -1, -1), np.array([1, 0]), nnp.array([1, 0])):
        np.testing.assert_array_equal(Tensor(M).transpose(axes).numpy(), M.T, strict=True)
    np.testing.assert_array_equal(Tensor(T).transpose(np.array([2, 0, 1])).numpy(), T.transpose(2, 0, 1))
