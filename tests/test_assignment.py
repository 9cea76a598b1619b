"""x[index] = v and x += v: NumPy's values, on views too, and the true derivatives of what was computed."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import threading
from typing import Any

import needle
import numeric
import numpy as np
import pytest
from needle import Tensor, autograd
from numpy.testing import assert_allclose, assert_array_equal


def zeros(*shape: int) -> Tensor:
    return Tensor(np.zeros(shape), requires_grad=False)


# ---------------------------------------------------------------------------- programs for arrays and Tensors alike


def program(rng: Any, x: Any, new: Any) -> Any:
    """A random program of assignments, reads and views; `new` makes an array or a Tensor of zeros."""
    live = [x * 1.0, new(3, 4), (x * x).reshape(4, 3)]
    for _ in range(rng.integers(4, 14)):
        a = live[rng.integers(len(live))]
        kind = rng.integers(9)
        i, j = rng.integers(a.shape[0]), rng.integers(a.shape[-1])
        if kind == 0:
            live.append(a[i : i + 2] if rng.random() < 0.5 else a[::-1, j : j + 2])
        elif kind == 1:
            live.append(a.T if rng.random() < 0.5 else a.reshape(-1, 1))
        elif kind == 2:
            a[i, j] = a[0, 0] * x[i % 3, j % 4]
        elif kind == 3:
            a[i] = a[0] * 0.5 + x[0, 0]
        elif kind == 4:
            a[:, j] += x[1, 1] * a[:, 0]
        elif kind == 5:
            a *= x[0, 1] + 0.5
        elif kind == 6:
            live.append(a * a[i, j] - 0.25)
        elif kind == 7:
            rows = rng.integers(a.shape[0], size=3)
            a[rows] = a[rows[::-1]] * 0.5 + x[2, 2]
        else:
            mask = rng.random(a.shape) < 0.4
            a[mask] = x[2, 3]
        if len(live) > 5:
            live.pop(rng.integers(len(live)))
    total = 0.0
    for k, a in enumerate(live):
        total = total + (a * a).sum() * (k + 1)
    return total


@pytest.mark.parametrize("seed", [*range(50), 194])  # 194: a reshaped view of a view, which is a copy
def test_random_programs(seed):
    x = np.random.default_rng([seed, 1]).uniform(0.3, 0.9, (3, 4))

    def f(x: Any) -> Any:
        return program(np.random.default_rng(seed), x, zeros if isinstance(x, Tensor) else lambda *s: np.zeros(s))

    leaf = Tensor(x)
    out = f(leaf)
    assert_allclose(out.numpy(), f(x), rtol=1e-13)
    out.backward()
    expected = numeric.gradient(f, x)
    assert_allclose(leaf.grad.numpy(), expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    exact = needle.grad(f)(x)
    assert_allclose(exact, leaf.grad.numpy(), rtol=1e-12, atol=1e-12)
    v = np.random.default_rng([seed, 2]).normal(size=x.shape)
    assert_allclose(needle.jvp(f, (x,), (v,))[1], np.sum(exact * v), rtol=1e-9, atol=1e-9 * np.abs(exact).max())


@pytest.mark.parametrize("seed", [*range(10), 118])
def test_random_programs_in_second_order(seed):
    x = np.random.default_rng([seed, 3]).uniform(0.3, 0.9, (3, 4))

    def f(x: Any) -> Any:
        return program(np.random.default_rng([seed, 4]), x, zeros)

    v = np.random.default_rng([seed, 5]).normal(size=x.shape)
    product = needle.hvp(f, (x,), (v,))
    expected = needle.grad(lambda x: (needle.grad(f)(x) * v).sum())(x)
    assert_allclose(product, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    h = 1e-5
    differences = (needle.grad(f)(x + h * v) - needle.grad(f)(x - h * v)) / (2 * h)
    assert_allclose(expected, differences, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    hessian = needle.hessian(f)(x)
    assert_allclose(np.tensordot(hessian, v, 2), expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


# --------------------------------------------------------------------------------------------------- whose memory

VIEWS = {
    "permuted axes": (lambda a: np.moveaxis(a, 0, 2), (2, 3, 4), float),
    "the real part": (lambda a: a.real, (2, 3), complex),
    "the imaginary part": (lambda a: a.imag, (2, 3), complex),
    "the real part of real numbers": (lambda a: a.real, (2, 3), float),
    "columns in reverse": (lambda a: np.flip(a, 1), (2, 3), float),
    "a new axis": (lambda a: np.expand_dims(a, 1), (3,), float),
    "a part": (lambda a: np.array_split(a, 2, axis=1)[1], (2, 5), float),
    "a diagonal": (np.diagonal, (3, 3), float),
    "a broadcast": (lambda a: np.broadcast_to(a, (2, 3)), (3,), float),
    "a sum of nothing else": (lambda a: +a, (3,), float),
    "copies": (lambda a: np.tile(a, (2, 1)), (3,), float),
    "a block": (np.block, (3,), float),
    "the first that holds": (lambda a: np.select([np.ones((2, 3), bool)], [a]), (3,), float),
}


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("name", VIEWS)
def test_views_and_copies_are_those_of_numpy(name, recorded):
    view, shape, dtype = VIEWS[name]
    start = np.arange(1.0, np.prod(shape) + 1).reshape(shape) * (1 + 2j if dtype is complex else 1)

    def found(a: Any) -> list[Any]:
        v = view(a)
        a[(0,) * a.ndim] = 100.0
        seen = [np.array(v.tolist())]
        try:
            v[(-1,) * v.ndim] = 7.0
        except ValueError as error:
            assert "assign" in str(error)  # NumPy's or Needle's words
        return [*seen, np.array(v.tolist()), np.array(a.tolist())]

    expected = found(start.copy())
    a = Tensor(start)
    for got, wanted in zip(found(a * 1 if recorded else a), expected, strict=True):
        assert_array_equal(got, wanted)


def test_parts_of_complex_numbers_can_be_assigned_to():
    def f(x: Any) -> Any:
        z = x[:2] * (2 + 1j)
        z.imag[0] = x[0] ** 2
        z.real = x[2]
        z.imag += 1
        return (z.real**3 + z.imag**2).sum()

    x = np.array([1.5, 0.5, 2.0])
    assert_allclose(needle.grad(f)(x), numeric.gradient(lambda x: f(Tensor(x)).item(), x), atol=1e-7)
    assert_allclose(needle.jvp(f, (x,), (np.ones(3),))[1], needle.grad(f)(x).sum())
    hessian = needle.hessian(f)(x)
    assert_allclose(hessian, [needle.jvp(needle.grad(f), (x,), (row,))[1] for row in np.eye(3)], atol=1e-12)
    with pytest.raises(TypeError, match="of dtype float64 has no imaginary part to assign to"):
        Tensor([1.0]).imag = 2.0


def test_views_of_detached_tensors():
    W = Tensor([1.0, 2.0, 3.0])
    W.data[1:][0] = 5.0
    W[1:].data[1:][0] = 6.0
    assert_array_equal(W.numpy(), [1, 5, 6])
    B = zeros(3)
    B[0] = W[0]
    D = B.detach()
    B[1] = 7.0
    D[2] = 9.0
    assert_array_equal(B.numpy(), [1, 7, 9])
    assert_array_equal(D.numpy(), [1, 7, 9])


def test_memory_that_was_handed_out_stays_live():
    given = np.zeros(2)
    t = Tensor.make_const(given)
    live = t.realize_cached_data()
    t[0] = 5.0
    live[1] = 7.0
    assert_array_equal(given, [5, 7])
    assert_array_equal(t.numpy(), [5, 7])


# --------------------------------------------------------------------------------------------------- what is recorded


def test_a_constant_becomes_part_of_the_record():
    x = Tensor([1.0, 2.0])
    B = zeros(4)
    B[:2] = x
    assert B.requires_grad
    assert B.shape == (4,)
    B.sum().backward()
    assert_array_equal(x.grad.numpy(), [1, 1])


def test_repeated_indices_accumulate_and_the_last_assigned_stays():
    x = Tensor([1.0, 2.0, 3.0])
    B = zeros(3)
    B[[0, 0, 2]] += x
    assert_array_equal(B.numpy(), [2, 0, 3])  # as NumPy: the last of the two counts
    B.sum().backward()
    assert_array_equal(x.grad.numpy(), [0, 1, 1])
    needle.ops.getitem(x, [0, 0, 2]).sum().backward()
    assert_array_equal(x.grad.numpy(), [2, 0, 1])


def test_what_was_computed_before_goes_on_with_the_old_elements():
    x = Tensor([1.0, 2.0, 3.0])
    y = x * 2
    before = y * y
    also = y + 1
    y[0] = 10.0
    after = y * y
    assert_array_equal(before.numpy(), [4, 16, 36])
    (before.sum() + also.sum() + after.sum()).backward()
    assert_array_equal(x.grad.numpy(), [8 + 2, 16 + 2 + 16, 24 + 2 + 24])


def test_a_leaf_keeps_its_gradient_when_it_is_assigned_to():
    x = Tensor([1.0, 2.0, 3.0])
    x[0] = x[1] * x[2]
    (x * x).sum().backward()
    assert_array_equal(x.grad.numpy(), [0, 2 * 6 * 3 + 4, 2 * 6 * 2 + 6])


def test_the_course_rules_hold_for_a_rule_called_by_hand():
    x = Tensor([1.0, 2.0])
    y = Tensor([3.0, 4.0])
    out = x * y
    y[0] = 100.0
    by_x, by_y = out.op.gradient_as_tuple(Tensor([1.0, 1.0]), out)
    assert_array_equal(by_x.numpy(), [3, 4])
    assert_array_equal(by_y.numpy(), [1, 2])


def test_an_array_that_was_assigned_is_copied():
    values = np.array([1.0, 2.0])
    B = zeros(2)
    B[:] = values
    values[0] = 100.0
    assert_array_equal(B.numpy(), [1, 2])


def test_without_recording_a_leaf_stays_a_leaf():
    W = Tensor([1.0, 2.0, 3.0])
    loss = (W * W).sum()
    with needle.no_grad():
        W[0] = 0.0
    assert W.is_leaf()
    assert W.requires_grad
    loss.backward()
    assert_array_equal(W.grad.numpy(), [2, 4, 6])  # of the values then
    (W * W).sum().backward()
    assert_array_equal(W.grad.numpy(), [0, 4, 6])


def test_writing_through_data_changes_the_value_and_records_nothing():
    W = Tensor([1.0, 2.0, 3.0])
    W.data[1] = 5.0
    assert_array_equal(W.numpy(), [1, 5, 3])
    assert W.is_leaf()
    D = W.detach()
    D[0] = 7.0
    assert_array_equal(W.numpy(), [7, 5, 3])
    W.data[2] = 9.0
    assert_array_equal(D.numpy(), [7, 5, 9])


def test_in_place_operators():
    x = Tensor([1.0, 2.0])
    acc = zeros(2)
    other = acc
    acc += x
    assert acc is other
    acc *= x
    acc -= 1.0
    acc /= 2
    acc **= 2
    assert_allclose(acc.numpy(), [0, 2.25])
    acc.sum().backward()
    assert_allclose(x.grad.numpy(), [0.0, 2 * 1.5 * 2.0])
    total = Tensor(0.0, requires_grad=False)  # 0-d: like NumPy's numbers, a new one each time
    first = total
    total += x[0]
    assert_array_equal(first.numpy(), 0)
    leaf = y = Tensor([1.0])  # a leaf that needs a gradient stays what it is
    y += 1
    assert_array_equal(leaf.numpy(), [1])
    assert_array_equal(y.numpy(), [2])
    counts = Tensor([1, 2], requires_grad=False)
    alias = counts
    counts <<= 1
    counts |= 1
    assert_array_equal(alias.numpy(), [3, 5])


def test_in_place_operators_keep_the_dtype():
    a = Tensor(np.ones(2, np.float32), requires_grad=False)
    alias = a
    a += np.array([0.5, 0.25])
    assert alias.dtype == np.float32
    i = alias = Tensor([1, 2], requires_grad=False)
    with pytest.raises(ValueError, match=r"\+=: the result of shape \(2,\) and dtype float64 does not go into"):
        i += 0.5
    with pytest.raises(ValueError, match="does not go into this tensor of shape"):
        i += np.ones((3, 2), int)
    assert_array_equal(alias.numpy(), [1, 2])


def test_a_view_of_a_view():
    x = Tensor([1.0, 2.0, 3.0])
    B = zeros(2, 6)
    odd = B[:, 1::2]
    corner = odd[1:].reshape(3)[1:]
    corner[0] = x[0]
    odd[0, 0] = x[1]
    flat = B.reshape(-1)
    flat[11] += x[2]
    assert_array_equal(B.numpy(), [[0, 2, 0, 0, 0, 0], [0, 0, 0, 1, 0, 3]])
    assert_array_equal(corner.numpy(), [1, 3])
    (corner * corner).sum().backward()
    assert_array_equal(x.grad.numpy(), [2, 0, 6])


def test_what_was_computed_from_a_constant_view():
    """The view was not recorded, so what it was before its base was assigned to is a leaf."""
    x, base = Tensor([2.0, 3.0]), zeros(2, 2)
    base[1, 0] = 5.0
    base[0] = x  # from here on, views are of something that is recorded
    constant = zeros(2, 2) + 1
    row = constant[0]
    product = row * x
    constant[0] = x
    (product * row).sum().backward()
    assert x.grad.tolist() == [4, 6]
    assert needle.autograd.original_of(row).is_leaf
    assert all(node.op is None or node.inputs for node in needle.autograd.find_topo_sort([product]))


def test_a_view_whose_data_was_set_before_its_base_was_assigned_to():
    x = Tensor([2.0, 3.0])
    base = zeros(2, 2)
    base[1] = x
    row = base[1]
    before = row * 1
    row.data = np.array([7.0, 8.0])
    after = row * x
    base[0] = x
    (before + after).sum().backward()
    assert x.grad.tolist() == [1 + 7 + 2, 1 + 8 + 3]


def test_products_with_a_hessian_of_what_was_computed_before_data_were_set():
    def f(x, sets):
        h = x * x
        k = needle.tanh(h) * h
        m = k * k * h
        if sets:
            h.data, k.data = np.zeros(2), np.ones(2)
        return m.sum()

    x, v = np.array([0.3, -0.7]), np.array([1.0, 2.0])
    before, after = [needle.hvp(lambda x, sets=sets: f(x, sets), (x,), (v,)) for sets in (False, True)]
    assert_allclose(after, before, rtol=1e-12)


def test_an_advanced_index_makes_a_copy():
    B = zeros(4)
    picked = B[[0, 1]]
    picked[0] = 5.0
    assert_array_equal(B.numpy(), np.zeros(4))
    masked = B[np.array([True, False, False, True])]
    masked[:] = 1.0
    assert_array_equal(B.numpy(), np.zeros(4))


def test_the_base_of_a_view_lives_as_long_as_the_view():
    B = zeros(4)
    first, second = B[:3], B[1:]
    del B
    first[1] = 5.0
    assert_array_equal(second.numpy(), [5, 0, 0])


def test_overwritten_elements_pass_no_nan():
    """1/x where x is 0 is overwritten: what it was contributes a structural zero."""
    x = Tensor([0.0, 2.0])
    with np.errstate(divide="ignore"):
        r = 1 / x
    r[x.numpy() == 0] = 0.0
    r.sum().backward()
    assert_array_equal(x.grad.numpy(), [0, -0.25])
    with np.errstate(divide="ignore"):
        s = needle.sqrt(x)
        s[0] = 1.0
        s[1] = s[1] * 3
        s.sum().backward()
    assert_allclose(x.grad.numpy(), [0, 3 / (2 * np.sqrt(2))])


def test_several_results_of_backward():
    x = Tensor([1.0, 2.0])
    B = x * 1
    B[0] = B[1] ** 3
    y = (B * B).sum()
    y.backward()
    first = x.grad
    assert_array_equal(first.numpy(), [0, 6 * 2.0**5 + 4])
    first.sum().backward()
    assert_array_equal(x.grad.numpy(), [0, 30 * 2.0**4 + 2])


def test_an_assigned_tensor_is_like_any_other():
    B = zeros(2, 2)
    B[0] = Tensor([1.0, 2.0])
    assert isinstance(B, Tensor)
    assert (B.shape, B.ndim, B.size, len(B)) == ((2, 2), 2, 4, 2)
    assert str(B) == str(B.numpy())
    assert repr(B) == repr(Tensor([[1.0, 2.0], [0.0, 0.0]]))
    assert B.tolist() == [[1, 2], [0, 0]]
    assert [row.tolist() for row in B] == B.tolist()
    for twin in (pickle.loads(pickle.dumps(B)), copy.copy(B), copy.deepcopy(B)):
        assert_array_equal(twin.numpy(), B.numpy())
    assert_array_equal(Tensor(B).numpy(), B.numpy())
    assert hash(B) == hash(B)
    B.data = np.ones((2, 2))
    assert_array_equal(B.numpy(), np.ones((2, 2)))
    with pytest.raises(AttributeError, match="not a leaf"):
        _ = (B * 1).grad
    np.testing.assert_array_equal(needle.make_tuple(B, B)[1].numpy(), B.numpy())


@pytest.mark.parametrize(
    ("assign", "kind", "message"),
    [
        (lambda B: B.__setitem__(7, 1.0), IndexError, r"SetItem.*7.*shape \(2, 3\)"),
        (lambda B: B.__setitem__(slice(None), np.ones(4)), ValueError, r"shape \(4,\) does not broadcast.*\(2, 3\)"),
        (lambda B: B.__setitem__((0, 1.5), 1.0), IndexError, "1.5"),
        (lambda B: B.__setitem__(0, "a"), TypeError, "got str"),
        (lambda B: B.__setitem__(np.ones(2), 1.0), IndexError, "integers or booleans"),
    ],
)
@pytest.mark.parametrize("recorded", [False, True])
def test_a_wrong_assignment_changes_nothing(assign, kind, message, recorded):
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=recorded)
    B = x * 1
    with pytest.raises(kind, match=message):
        assign(B)
    assert_array_equal(B.numpy(), x.numpy())
    if recorded:
        (B * B).sum().backward()
        assert_array_equal(x.grad.numpy(), 2 * x.numpy())


@pytest.mark.parametrize("write", [lambda y: y.__setitem__(0, 100.0), lambda y: y.data.__setitem__(0, 100.0)])
def test_what_a_rule_reads_is_not_written_over(write):
    x = Tensor([1.0, 2.0])
    y = needle.exp(x)
    with needle.no_grad():
        write(y)
    assert_array_equal(y.numpy()[0], 100)
    y.sum().backward()
    assert_allclose(x.grad.numpy(), np.exp([1.0, 2.0]))


def test_a_view_that_is_first_read_without_recording():
    x = Tensor([1.0, 2.0, 3.0])
    B = x * 1
    first, second = B[1:], B[:2]
    B[0] = 5.0
    with needle.no_grad():
        str(first)
    needle.jvp(lambda t: (t * second).sum(), (np.ones(2),), (np.ones(2),))
    ((first * first).sum() + second.sum()).backward()
    assert_array_equal(x.grad.numpy(), [0, 5, 6])


def test_leading_ones_of_a_value():
    x = Tensor([[1.0, 2.0, 3.0]])
    B = zeros(3)
    B[:] = x
    B[[2, 1, 0]] = x * 2
    (B * B).sum().backward()
    assert_array_equal(x.grad.numpy(), [[8, 16, 24]])

    def f(x: Any) -> Any:
        B = zeros(3)
        B[:] = x
        return B * B

    assert_array_equal(needle.jacobian(f)(np.ones((1, 3))), 2 * np.eye(3).reshape(3, 1, 3))


def test_in_place_operators_without_recording():
    W = Tensor([1.0, 2.0])
    alias = W
    loss = (W * W).sum()
    with needle.no_grad():
        W -= 0.5
    assert W is alias
    assert W.requires_grad
    loss.backward()
    assert_array_equal(W.grad.numpy(), [2, 4])
    h = W * 2
    with needle.no_grad():
        h *= 3
    h.sum().backward()
    assert_array_equal(W.grad.numpy(), [2, 2])


def test_assigning_to_a_gradient():
    x = Tensor([1.0, 2.0, 3.0])
    y = (x**3).sum()
    y.backward()
    x.grad[0] = 0.0
    held = x.grad
    held[1] = held[2] * 2
    assert_array_equal(x.grad.numpy(), [0, 54, 27])
    y.backward()
    held[2] = 100.0  # it is the gradient of then
    assert_array_equal(x.grad.numpy(), [3, 12, 27])
    x[0] = 5.0
    x.grad.sum().backward()
    assert_array_equal(x.grad.numpy(), [6, 12, 18])


def test_pullbacks_outlive_assignments():
    kept, factor = [], Tensor([3.0, 4.0])

    def f(x: Any) -> Any:
        kept.append(x)
        return x * x * factor

    y, pull = needle.vjp(f, np.array([1.0, 2.0]))
    _, push = needle.linearize(f, np.array([1.0, 2.0]))
    for x in kept:
        x[0] = 50.0
    factor[1] = 70.0
    y[0] = 9.0
    assert_array_equal(pull(np.ones(2))[0], [6, 16])
    assert_array_equal(push(np.ones(2)), [6, 16])


def test_what_holds_a_version_keeps_its_value():
    B = zeros(3)
    x = Tensor([1.0, 2.0, 3.0])
    B[:] = x
    outputs = needle.nested.flatten([B])[0]
    B[0] = x[1] * 2
    assert_array_equal(outputs[0].numpy(), [1, 2, 3])
    outputs[0][1] = 8.0
    assert_array_equal(B.numpy(), [4, 2, 3])


def test_functions_whose_derivative_is_computed_again():
    def changing(x: Any) -> Any:
        x[0] = x[1] ** 2
        return x * x

    x = Tensor([1.0, 2.0])
    z = x * 1
    with pytest.raises(ValueError, match="checkpoint: changing assigns to its argument of shape"):
        needle.checkpoint(changing)(z)
    assert_array_equal(z.numpy(), [1, 2])
    rule = needle.custom_gradient(lambda x: (changing(x), lambda out_grad: out_grad * 3.0))
    assert_array_equal(needle.grad(lambda x: needle.grad(lambda x: (rule(x) * x).sum())(x).sum())(x.numpy()), [6, 6])
    rule(z).sum().backward()
    assert_array_equal(z.numpy(), [1, 2])
    assert_array_equal(x.grad.numpy(), [3, 3])


def test_a_retained_gradient_is_that_of_the_tensor_as_it_is():
    x = Tensor([1.0, 2.0])
    y = x * 2
    y.retain_grad()
    y[0] = x[1]
    (y * y).sum().backward()
    assert_array_equal(y.grad.numpy(), [4, 8])
    z = x * 1
    z[0] = x[0]
    with pytest.raises(AttributeError, match="is not a leaf but the output of SetItem"):
        _ = z.grad
    with pytest.raises(AttributeError, match="'Tensor' object has no attribute 'colour'"):
        _ = y.colour


def test_deferred_operations_see_what_was_there_before(monkeypatch):
    monkeypatch.setattr(autograd, "LAZY_MODE", True)
    for recorded in (False, True):
        x = Tensor([1.0, 2.0, 3.0], requires_grad=recorded)
        y = x * 2
        before, view = y + 1, y[1:]
        y[0] = 5.0
        view[0] = 7.0
        assert_array_equal(before.numpy(), [3, 5, 7])
        assert_array_equal(y.numpy(), [5, 7, 6])


def test_threads():
    wrong = []

    def work(k: float) -> None:
        for _ in range(100):
            x = Tensor([1.0, 2.0, 3.0, 4.0])
            B = x * 1
            v = B[1:]
            w = v[::-1]
            several = [B[i:] for i in range(4)] * 5
            w[0] = x[0] * k
            v[0] = 7.0
            (B * B).sum().backward()
            if [*B.tolist(), *x.grad.tolist(), several[3].tolist()] != [1, 7, 3, k, 2 + 2 * k * k, 0, 6, 0, [k]]:
                wrong.append(k)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


# --------------------------------------------------------------------------------------------------------- its cost


def address(a: Tensor) -> int:
    return autograd.latest(a)._array.ctypes.data


def test_memory_is_written_in_place():
    B = zeros(1000)
    x = Tensor(np.ones(8))
    B[0] = x[0]
    memory = address(B)
    for i in range(1, 8):
        B[i] = B[i - 1] * x[i]
        B[i] += x[i]
    assert address(B) == memory
    C = zeros(10, 4)
    C[0] = x[:4]
    memory = address(C)
    for i in range(1, 10):
        C[i] = C[i - 1] * 0.5
    assert address(C) == memory


def test_nothing_is_left_behind():
    def work() -> None:
        x = Tensor(np.ones(4))
        B = zeros(4)
        view = B[1:]
        for i in range(4):
            B[i] = x[i] * 2
        view[0] = x[0]
        c = Tensor(np.zeros(4, complex), requires_grad=False)
        c.imag[1:] = view
        (B * B + c.imag).sum().backward()
        assert x.grad is not None

        def f(x: Any) -> Any:
            y = x * 1
            y[0] = x[1]
            return (y * x).sum()

        needle.hessian(f)(np.ones(4))
        needle.grad(lambda x: needle.grad(f)(x).sum())(np.ones(4))

    gc.collect()
    gc.disable()
    try:
        work()
        before, names = autograd.TENSOR_COUNTER, len(autograd.names)
        for _ in range(5):
            work()
        assert before == autograd.TENSOR_COUNTER
        assert len(autograd.names) == names
    finally:
        gc.enable()


def test_what_was_assigned_is_gone_with_its_last_name_though_no_sweep_came():
    def work() -> None:
        x = Tensor(np.ones((50, 4)))
        rows = zeros(50, 4)
        for i in range(1, 50):
            rows[i] = rows[i - 1] * 0.9 + x[i]

    work()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(3):
        work()
    gc.collect()
    assert len(gc.get_objects()) < before + 50
