"""Those who watch are told when data leave the tensors, and when the engine copies or replaces them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, watching
from needle.autograd import is_finite
from needle.watching import Watcher
from numpy.testing import assert_array_equal


class Told(Watcher):
    """Keeps what it is told."""

    captures = True

    def __init__(self) -> None:
        self.looks: list[tuple[Any, str]] = []
        self.copies: list[tuple[Any, Any]] = []
        self.changes: list[tuple[Any, str]] = []
        self.gradients: list[Any] = []
        self.ops: list[str] = []
        self.made: list[Any] = []

    def read(self, array: Any, what: str) -> None:
        self.looks.append((array, what))

    def copied(self, array: Any, copy: Any) -> None:
        assert_array_equal(array, copy, strict=True)
        assert copy is not array
        self.copies.append((array, copy))

    def changed(self, tensor: Any, what: str) -> None:
        self.changes.append((tensor, what))

    def gradient_read(self, tensor: Any) -> None:
        self.gradients.append(tensor)

    def computed(self, op: Any, inputs: tuple[Any, ...], output: Any, seconds: float) -> None:
        self.ops.append(type(op).__name__)
        self.made.append(output._array)


def told(function: Any, *args: Any) -> Told:
    with Told() as watcher:
        function(*args)
    return watcher


LOOKS: dict[str, Any] = {
    "t.numpy()": lambda t: t.numpy(),
    "t.tolist()": lambda t: t.tolist(),
    "t.cached_data": lambda t: t.cached_data,
    "np.asarray(t)": np.asarray,
    "repr(t)": repr,
    "str(t)": str,
    "format(t)": lambda t: f"{t}",
    "pickle": pickle.dumps,
    "x[t]": lambda t: needle.numpy.zeros(5)[t > 1],
    "nonzero()": needle.numpy.nonzero,
    "an index, a mask or a count": lambda t: needle.numpy.repeat(t, t.astype(int)),
    "numpy.packbits": lambda t: np.packbits(t.astype(np.uint8)),
}
LOOKS_AT_ONE: dict[str, Any] = {
    "t.item()": lambda t: t.item(),
    "bool(t)": bool,
    "an index": lambda t: [1, 2, 3][t.astype(int)],
    "float": float,
    "int": int,
    "complex": complex,
    "round": round,
    "unique": needle.numpy.unique,
    "format": "{:.2f}".format,
    "in": lambda t: 2.0 in t,
}


@pytest.mark.parametrize("what", LOOKS)
def test_who_looks_at_elements_is_told_of(what):
    t = Tensor([1.0, 2.0, 3.0, 0.0, 2.0], requires_grad=False)
    assert told(LOOKS[what], t).looks[0][1] == what


@pytest.mark.parametrize("what", LOOKS_AT_ONE)
def test_who_looks_at_a_number_is_told_of(what):
    assert told(LOOKS_AT_ONE[what], Tensor(2.0, requires_grad=False)).looks


def test_the_array_looked_at_is_that_of_the_tensor():
    t = Tensor([1.0, 2.0])
    ((array, what),) = told(Tensor.numpy, t).looks
    assert array is t._array
    assert what == "t.numpy()"


@pytest.mark.parametrize("wrap", [needle.grad, lambda f: lambda x: needle.jvp(f, (x,), (x,))])
def test_a_look_inside_of_a_transform(wrap):
    def f(x):
        return x * x if x > 0 else x

    assert [what for _, what in told(wrap(f), Tensor(2.0)).looks] == ["bool(t)"]


def test_a_look_at_an_assigned_tensor():
    t = Tensor([1.0, 2.0], requires_grad=False)
    t[0] = 5.0
    assert told(Tensor.numpy, t).looks


def test_a_look_at_a_tuple():
    pair = needle.make_tuple(Tensor([1.0]), Tensor([2.0]))
    assert len(told(pair.numpy).looks) == 2
    assert len(told(lambda: pair.cached_data).looks) == 2


def test_derivatives_by_arrays_leave_as_arrays():
    assert told(needle.grad(lambda x: (x * x).sum()), np.ones(3)).looks
    assert told(needle.value_and_grad(lambda x: x * x), 2.0).looks
    assert not told(needle.grad(lambda x: (x * x).sum()), Tensor(np.ones(3))).looks


def test_shapes_are_no_looks():
    t = Tensor(np.ones((2, 3)))

    def facts() -> None:
        _ = t.shape, t.dtype, t.ndim, t.size, t.nbytes, len(t), t.device, t.T, t.requires_grad, t.detach(), t.data
        _ = [row.sum() for row in t]
        (t * t).sum().backward()
        _ = t.grad

    assert not told(facts).looks


@pytest.mark.parametrize(
    "make",
    [
        Tensor,
        lambda t: Tensor(t, requires_grad=False),
        copy.deepcopy,
        lambda t: needle.Tensor(t.detach(), dtype=float),
    ],
)
def test_copies_are_told(make):
    t = Tensor([1.0, 2.0])
    made = []
    watcher = told(lambda: made.append(make(t)))
    assert [(a is t._array, b is made[0]._array) for a, b in watcher.copies] == [(True, True)]
    assert not watcher.looks


def test_a_copy_of_another_dtype_is_an_operation():
    t, made = Tensor([1.0, 2.0]), []
    watcher = told(lambda: made.append(Tensor(t, dtype=np.float32)))
    assert watcher.ops == ["Cast"]
    assert watcher.made[0] is made[0]._array


def test_a_constant_of_an_array_is_a_copy_of_it():
    array, t = np.ones(2), Tensor([1.0, 2.0])
    ((of, _),) = told(lambda: t * array).copies
    assert of is array


def test_what_is_set_is_told():
    t = Tensor([1.0, 2.0])

    def sets() -> None:
        (t * t).sum().backward()
        t.data = t.data * 2
        t.grad = None
        t.requires_grad = False

    watcher = told(sets)
    assert all(tensor is t for tensor, _ in watcher.changes)
    assert [what for _, what in watcher.changes] == ["grad", "data", "grad", "requires_grad"]
    (tensor,) = told(lambda: t.grad).gradients
    assert tensor is t


def test_gradients_are_added_and_conjugated_by_operations():
    t = Tensor([1.0 + 2j, 2.0])

    def steps() -> None:
        for _ in range(2):
            (t * t).real.sum().backward(accumulate=True)

    watcher = told(steps)
    assert "Conj" in watcher.ops
    assert any(t.grad._array is array for array in watcher.made)
    assert_array_equal(t.grad.numpy(), 4 * np.conj([1.0 + 2j, 2.0]))


def test_a_gradient_that_is_shared_is_copied():
    t = Tensor([1.0, 2.0])
    g = Tensor([3.0, 4.0], requires_grad=False)
    watcher = told(lambda: (t * 1.0).backward(g))
    known = [*watcher.made, *[copied for _, copied in watcher.copies]]
    assert any(t.grad._array is array for array in known)


@pytest.mark.parametrize("index", [0, slice(None), [0, 1]])
def test_an_assignment_that_is_not_recorded_is_an_operation(index):
    t = Tensor([1.0, 2.0, 3.0], requires_grad=False)
    before = t._array
    watcher = told(t.__setitem__, index, 7.0)
    assert watcher.ops == ["SetItem"]
    assert t._array is watcher.made[0]
    assert_array_equal(before, [1, 2, 3])
    assert (t.numpy()[index] == 7).all()


def test_views_of_what_is_assigned_to_go_on_with_it():
    t = Tensor([1.0, 2.0, 3.0], requires_grad=False)
    view = t[1:]

    def assigns() -> None:
        t[1] = 7.0
        view[1] = 8.0

    watcher = told(assigns)
    assert_array_equal(t.numpy(), [1, 7, 8])
    assert_array_equal(view.numpy(), [7, 8])
    assert not watcher.looks


def test_an_array_that_was_handed_out_is_written_into():
    t = Tensor([1.0, 2.0], requires_grad=False)
    live = t.cached_data
    watcher = told(t.__setitem__, 0, 7.0)
    assert_array_equal(live, [7, 2])
    assert watcher.looks


def test_private_copies_of_what_was_handed_out_are_told():
    t, u = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    live = t.cached_data
    watcher = told(lambda: (t * u).sum().backward())
    assert any(a is t._array for a, _ in watcher.copies)
    assert_array_equal(u.grad.numpy(), live)


def test_only_those_here_capture():
    assert not watching.captures()
    with Watcher():
        assert not watching.captures()
        with Told():
            assert watching.captures()
            assert not watching.unseen(watching.captures)
    assert not watching.captures()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_is_finite(value):
    big = np.full(100, 1e200)
    assert is_finite(big)
    assert is_finite(np.arange(3))
    assert is_finite(np.zeros((0, 3)))
    big[17] = value
    assert not is_finite(big)
    assert not is_finite(big.reshape(10, 10).T)
    assert not is_finite(np.array(value))


def test_a_captured_first_order_sweep_costs_no_product_for_masks():
    """Of what is computed for the gradient by a weight behind relu, nothing is as much work as a product."""
    x, w = Tensor(np.ones((3, 4)), requires_grad=False), Tensor(np.ones((4, 2)))
    watcher = told(lambda: needle.relu(x @ w).sum().backward())
    assert watcher.ops.count("MatMul") == 2
