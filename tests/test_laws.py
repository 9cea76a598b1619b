"""What holds for every op, tried on every sample: one law a test."""

from __future__ import annotations

import gc
from collections.abc import Callable
from itertools import product
from typing import Any

import needle
import numeric
import numpy as np
import pytest
from needle import Op, Tensor, TensorTuple, autograd, ops, pool
from numpy.testing import assert_allclose, assert_array_equal
from samples import NAN, SAMPLES, Sample

pytestmark = pytest.mark.filterwarnings("ignore:a derivative of a spectrum is NaN")  # as it is at equal values

DISCRETE = {op: table for op, table in SAMPLES.items() if getattr(ops, op).discrete}
DIFFERENTIABLE = {op: table for op, table in SAMPLES.items() if op not in DISCRETE}
TOLERANCE = {2: (4e-3, 2e-3), 4: (2e-5, 2e-6), 8: (1e-7, 1e-8)}
"""Bytes of a real number -> the relative and the absolute error that its gradient may have."""


def over(tables: dict[str, list[Sample]], which: Callable[[Sample], bool] = lambda sample: True) -> Any:
    """Makes a law about (op, sample) a test of each op, which tries all of its samples and reports all that fail."""
    chosen = {op: [sample for sample in table if which(sample)] for op, table in tables.items()}

    def decorate(law: Callable[[str, Sample], None]) -> Any:
        @pytest.mark.parametrize("op", [op for op, samples in chosen.items() if samples])
        def test(op: str) -> None:
            failures = []
            for sample in chosen[op]:
                try:
                    law(op, sample)
                except Exception as failure:
                    failure.add_note(f"in the sample {op}: {sample.name}")
                    failures.append(failure)
            if failures:
                raise ExceptionGroup(f"{len(failures)} of {len(chosen[op])} samples", failures)

        test.__name__, test.__doc__ = law.__name__, law.__doc__
        test.law, test.which = law, which  # for ops that are not in the table: see test_special.py
        return test

    return decorate


def some(table: list[Sample], count: int) -> list[Sample]:
    """At most this many samples from all over a table, along which shapes and dtypes vary."""
    return table[:: -(-len(table) // count) or 1]


def op_classes() -> list[type[Op]]:
    """The classes in needle.ops that compute something."""
    found, todo = set(), [Op]
    while todo:
        for cls in todo.pop().__subclasses__():
            todo.append(cls)
            is_one = cls.__module__.startswith("needle.ops.") and not cls.__name__.startswith("_")
            if is_one and cls.compute is not Op.compute:
                found.add(cls)
    return sorted(found, key=lambda cls: cls.__name__)


def is_recorded(sample: Sample) -> bool:
    return any(a.dtype.kind != "b" for a in sample.arrays)


def tensors_of(sample: Sample) -> list[Tensor]:
    return [Tensor(a) for a in sample.arrays]


def members(node: Any) -> tuple[Any, ...]:
    return tuple(node) if isinstance(node, TensorTuple) else (node,)


def values(node: Any) -> tuple[Any, ...]:
    return node.numpy() if isinstance(node, TensorTuple) else (node.numpy(),)


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def weights_like(arrays: tuple[Any, ...], seed: int = 7) -> list[Any]:
    """Random weights, of the dtype that a gradient of these arrays has."""
    rng = np.random.default_rng(seed)
    drawn = []
    for a in arrays:
        w = rng.uniform(0.5, 1.5, a.shape) * np.where(np.isneginf(a.real), 1, rng.choice([-1, 1], a.shape))
        if a.dtype.kind == "c":
            w = w + 1j * rng.normal(size=a.shape)
        drawn.append(np.asarray(w, dtype=a.dtype if a.dtype.kind in "fc" else np.float64))
    return drawn


def weighted_sum(outputs: Any, weights: Any) -> Any:
    """The real number that is differentiated: every element of every output counts, each differently."""
    total: Any = 0
    for output, w in zip(outputs, weights, strict=True):
        part = (output * w).sum()
        total = total + (part.real if part.dtype.kind == "c" else part)
    return total


def gradients(function: Any, tensors: list[Tensor], weights: Any) -> list[Any]:
    """The gradients that a weighted sum of the outputs leaves in these tensors, as arrays or None."""
    weighted_sum(members(function(*tensors)), weights).backward()
    return [None if t.grad is None else t.grad.numpy() for t in tensors]


def assert_same(got: Any, expected: Any) -> None:
    """Equal bit for bit (NaN is NaN), shape and dtype included; None is None; tuples by member."""
    if expected is None or isinstance(expected, (tuple, list)):
        assert (got is None) == (expected is None)
        for g, e in zip(got or (), expected or (), strict=True):
            assert_same(g, e)
        return
    got, expected = (x.numpy() if isinstance(x, Tensor) else x for x in (got, expected))
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    assert_array_equal(got, expected, strict=True)


def assert_near(got: Any, expected: Any) -> None:
    """Equal but for the order in which numbers were added up."""
    if expected is None:
        assert got is None
        return
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    digits = np.finfo(got.dtype).eps if got.dtype.kind in "fc" else 0
    assert_allclose(got, expected, rtol=16 * digits, atol=16 * digits)


def precision(*arrays: Any) -> tuple[float, float]:
    """The tolerance that the least precise of these floating arrays allows."""
    sizes = [a.itemsize // (2 if a.dtype.kind == "c" else 1) for a in arrays if a.dtype.kind in "fc"]
    return TOLERANCE[min([8, *sizes])]


# -------------------------------------------------------------------------------------------------------- the table


def test_no_op_is_missing_from_the_table():
    assert [cls.__name__ for cls in op_classes()] == sorted(SAMPLES)


@over(DIFFERENTIABLE, is_recorded)
def test_a_sample_makes_a_node_of_its_op(op, sample):
    node = sample.function(*tensors_of(sample))
    assert type(node.op).__name__ == op
    assert node.requires_grad if isinstance(node, Tensor) else node.needs == autograd.RECORDED
    assert node.op.saves in [(), ("inputs",), ("output",), ("inputs", "output")]


# ------------------------------------------------------------------------------------------------------------ value


@over(SAMPLES)
def test_value_is_numpys(op, sample):
    node = sample.function(*tensors_of(sample))
    expected = as_tuple(sample.reference(*sample.arrays))
    got = values(node)
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        e = np.asarray(e)
        assert type(g) is np.ndarray
        assert (g.shape, g.dtype) == (e.shape, e.dtype)
        digits = np.finfo(e.dtype).eps if e.dtype.kind in "fc" else 0
        assert_allclose(g, e, rtol=8 * digits, atol=4 * digits, strict=True)


@over(SAMPLES)
def test_value_is_the_same_unrecorded(op, sample):
    recorded = values(sample.function(*tensors_of(sample)))
    constants = [Tensor(a, requires_grad=False) for a in sample.arrays]
    for node in [
        sample.function(*constants),
        needle.no_grad()(sample.function)(*tensors_of(sample)),
    ]:
        assert node.is_leaf()
        assert node.needs == autograd.CONSTANT
        assert_same(values(node), recorded)


@over(SAMPLES)
def test_value_and_gradient_are_the_same_in_lazy_mode(op, sample):
    def everything() -> Any:
        tensors = tensors_of(sample)
        node = sample.function(*tensors)
        if op in DISCRETE or not is_recorded(sample):
            return values(node), None
        first = gradients(sample.function, tensors, weights_like(values(node)))
        return values(node), first

    eager = everything()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autograd, "LAZY_MODE", True)
        assert_same(everything(), eager)


@over(SAMPLES)
def test_inputs_are_not_written_to(op, sample):
    tensors = tensors_of(sample)
    for t in tensors:
        t._array.flags.writeable = False
    node = sample.function(*tensors)
    if op not in DISCRETE and is_recorded(sample):
        weights = weights_like(values(node))
        weighted_sum(members(node), weights).backward()
    for t, a in zip(tensors, sample.arrays, strict=True):
        assert_same(t, a)


@over(DISCRETE)
def test_what_is_discrete_is_a_constant(op, sample):
    node = sample.function(*tensors_of(sample))
    assert node.is_leaf()
    assert node.needs == autograd.CONSTANT


# --------------------------------------------------------------------------------------------------------- gradient


def not_a_member(op: str, i: int, node: Any) -> bool:
    """Whether input i is another member than the one that was taken: no path leads from it to the output."""
    return op == "TupleGetItem" and i != node.op.index


@over(DIFFERENTIABLE, lambda s: s.smooth and is_recorded(s))
def test_gradient_is_the_derivative(op, sample):
    tensors = tensors_of(sample)
    node = sample.function(*tensors)
    weights = weights_like(values(node))
    found = gradients(sample.function, tensors, weights)
    points = [numeric.upcast(a) for a in sample.arrays]
    reference = sample.exact or sample.reference
    rtol, atol = precision(*sample.arrays, *weights)
    for i, (array, got) in enumerate(zip(sample.arrays, found, strict=True)):
        if array.dtype.kind == "b" or not_a_member(op, i, node):
            assert got is None
            continue

        def f(x: Any, i: int = i) -> Any:
            outputs = as_tuple(reference(*points[:i], x, *points[i + 1 :]))
            return sum(
                np.sum(o * w.astype(np.result_type(w, np.float64))).real for o, w in zip(outputs, weights, strict=True)
            )

        expected = numeric.gradient(f, array)
        assert_allclose(got, expected, rtol=rtol, atol=atol * max(1, np.abs(expected).max(initial=0)))


def is_double(sample: Sample) -> bool:
    """Whether finite differences can be taken of the gradients that Needle computes."""
    return (
        sample.smooth
        and is_recorded(sample)
        and sample.exact is None
        and all(a.dtype.char in "dD?" for a in sample.arrays)
    )


@over(DIFFERENTIABLE, is_double)
def test_gradient_of_gradient_is_the_derivative_of_the_gradient(op, sample):
    """By the inputs and by the weights, which are what the gradient rules are given as `out_grad`."""
    weights = weights_like(values(sample.function(*tensors_of(sample))))
    slopes = weights_like(sample.arrays, seed=11)
    points = [*sample.arrays, *weights]
    n = len(sample.arrays)

    def first(*arrays: Any) -> tuple[list[Tensor], Any, Any]:
        leaves = [Tensor(a) for a in arrays]
        loss = weighted_sum(members(sample.function(*leaves[:n])), leaves[n:])
        loss.backward()
        inputs = [(leaf, s) for leaf, s in zip(leaves[:n], slopes, strict=True) if leaf.grad is not None]
        return leaves, loss, weighted_sum([leaf.grad for leaf, _ in inputs], [s for _, s in inputs])

    leaves, loss, total = first(*points)
    total.backward()
    assert loss.size == 1  # the gradients can be differentiated because the loss is still there
    for i, leaf in enumerate(leaves):
        if leaf.dtype.kind == "b":
            assert leaf.grad is None
            continue
        direction = weights_like((points[i],), seed=13)[0]

        def f(x: Any, i: int = i) -> float:
            return first(*points[:i], x, *points[i + 1 :])[2].item()

        expected = numeric.directional(f, points[i], direction)
        assert leaf.grad is not None
        assert (leaf.grad.shape, leaf.grad.dtype) == (leaf.shape, leaf.dtype)
        got = np.sum(leaf.grad.numpy() * direction.conj()).real
        assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


@over(DIFFERENTIABLE, is_recorded)
def test_gradient_has_the_inputs_shape_and_dtype(op, sample):
    tensors = tensors_of(sample)
    weights = weights_like(values(sample.function(*tensors)))
    for t, g in zip(tensors, gradients(sample.function, tensors, weights), strict=True):
        if t.dtype.kind == "b" or g is None:
            assert t.dtype.kind == "b" or op == "TupleGetItem"  # there is no path from the other members
        else:
            assert type(g) is np.ndarray
            assert (g.shape, g.dtype) == (t.shape, t.dtype if t.dtype.kind in "fc" else np.float64)


def mixtures(sample: Sample) -> Any:
    """The sample's arrays in each mixture of float32, float64 and integers; and the same numbers in float64."""
    places = [i for i, a in enumerate(sample.arrays) if a.dtype == np.float64]
    for dtypes in product([np.float32, np.float64, np.int64], repeat=len(places)):
        if len(set(dtypes)) > 1 or len(places) < len(sample.arrays):
            arrays, wide = list(sample.arrays), list(sample.arrays)
            for i, dtype in zip(places, dtypes, strict=True):
                a = arrays[i]
                if dtype is np.int64:  # none of which is 0
                    a = np.rint(np.where(np.isfinite(a), a, 1))
                    a = np.where(a == 0, 1, a)
                arrays[i] = a.astype(dtype)
                wide[i] = arrays[i].astype(np.float64)
            yield arrays, wide


@over(DIFFERENTIABLE, lambda s: is_recorded(s) and len(s.arrays) > 1 and any(a.dtype == np.float64 for a in s.arrays))
@np.errstate(all="ignore")  # whole numbers may lie outside of a function's domain: its NaN must be the same
def test_mixed_dtypes_are_promoted_as_numpy_does(op, sample):
    """The result has the dtype of the plain NumPy formula, and each gradient that of its input. Both are those of the
    same numbers in float64, within float32's accuracy."""
    for arrays, wide in mixtures(sample):
        node, expected = sample.function(*map(Tensor, arrays)), sample.function(*map(Tensor, wide))
        rounds = op == "SetItem" and arrays[0].dtype.kind == "i"  # integers take on whole numbers only
        for got, value, like in zip(values(node), values(expected), as_tuple(sample.reference(*arrays)), strict=True):
            assert got.dtype == np.asarray(like).dtype, [a.dtype for a in arrays]
            assert rounds or np.allclose(got, value, rtol=1e-4, atol=1e-5, equal_nan=True)
        weights = weights_like(values(node))
        found = gradients(sample.function, tensors := list(map(Tensor, arrays)), weights)
        exact = gradients(
            sample.function, list(map(Tensor, wide)), [w.astype(np.result_type(w, np.float64)) for w in weights]
        )
        for t, g, e in zip(tensors, found, exact, strict=True):
            assert (g is None) == (e is None)
            if g is not None:
                assert (g.shape, g.dtype) == (t.shape, autograd.gradient_dtype(t.dtype))
                assert rounds or np.allclose(
                    g, e, rtol=2e-4, atol=2e-4 * max(1, np.abs(e[np.isfinite(e)]).max(initial=0)), equal_nan=True
                )


def adjoints_by_hand(node: Any, weights: list[Any]) -> tuple[Any, ...]:
    """What the rule of the node's op gives, by its documented entrance."""
    given = tuple(autograd.constant(w) for w in weights)
    return node.op.gradient_as_tuple(given if isinstance(node, TensorTuple) else given[0], node)


@over(DIFFERENTIABLE, is_recorded)
def test_rule_called_by_hand_gives_what_backward_sets(op, sample):
    tensors = tensors_of(sample)
    node = sample.function(*tensors)
    if op.startswith("SlopeOf"):  # one of whose inputs was computed from the other
        node = node.op(*[Tensor(a.numpy()) for a in node.inputs])
    weights = weights_like(values(node))
    by_hand = adjoints_by_hand(node, weights)
    weighted_sum(members(node), weights).backward()
    assert type(by_hand) is tuple
    assert len(by_hand) == len(node.inputs)
    if op == "TupleGetItem":  # its one input is the tuple, whose adjoint has one for each member
        assert [None if g is None else g.shape for g in by_hand[0]] == [
            node.shape if t.grad is not None and i == node.op.index else None for i, t in enumerate(tensors)
        ]
        return
    for t, g in zip(node.inputs, by_hand, strict=True):
        if t.dtype.kind == "b" or (op in {"GatherAt", "ScatterAt"} and t.dtype.kind == "i"):
            assert g is None  # of masks, and of what names places
            continue
        if op != "MakeTensorTuple":  # which hands on what it is given: the weights, in the members' dtypes
            assert (g.shape, g.dtype) == (t.shape, t.dtype if t.dtype.kind in "fc" else np.float64)
        if t.requires_grad:
            assert_same(t.grad, g.conj())


@over(DIFFERENTIABLE, lambda s: is_recorded(s) and len(s.arrays) > 1)
def test_an_input_that_needs_no_gradient_changes_nothing_for_the_others(op, sample):
    weights = weights_like(values(sample.function(*tensors_of(sample))))
    expected = gradients(sample.function, tensors_of(sample), weights)
    for i in range(len(sample.arrays)):
        tensors = tensors_of(sample)
        tensors[i] = Tensor(sample.arrays[i], requires_grad=False)
        if all(not t.requires_grad for t in tensors):
            continue
        found = gradients(sample.function, tensors, weights)
        assert_same(found, [*expected[:i], None, *expected[i + 1 :]])


def forced(adjoints: Any) -> list[Any]:
    """What a rule returns, with the functions in it called."""
    each = adjoints if type(adjoints) is tuple else (adjoints,)
    return [g() if callable(g) else g for g in each]


def elements(adjoint: Any, value: Any) -> Any:
    """An adjoint of any kind as its elements."""
    if adjoint is None or type(adjoint) is tuple:
        return adjoint and tuple([elements(g, y) for g, y in zip(adjoint, value, strict=True)])
    if isinstance(adjoint, (np.ndarray, np.generic)):
        return np.asarray(adjoint)
    whole = autograd.as_arrays(autograd.whole_adjoint(adjoint, value))
    return elements(whole, value) if type(whole) is tuple else np.asarray(whole)


ON_ARRAYS = [cls.__name__ for cls in op_classes() if cls.on_arrays]


@over({op: SAMPLES.get(op, []) for op in ON_ARRAYS}, is_recorded)
def test_a_rule_says_the_same_on_arrays_as_on_tensors(op, sample):
    """Bit for bit: what `backward()` computes without a Tensor is what it records for second derivatives."""
    node = sample.function(*tensors_of(sample))
    weights = weights_like(values(node))
    is_tuple = isinstance(node, TensorTuple)
    arrays = autograd.Node(tuple([a._array for a in node.inputs]), node._array)
    found = forced(node.op.gradient(tuple(weights) if is_tuple else weights[0], arrays))
    given = tuple(map(autograd.constant, weights))
    with needle.no_grad():
        expected = forced(node.op.gradient(given if is_tuple else given[0], node))
    assert len(found) == len(expected) == len(node.inputs)
    for g, e, a in zip(found, expected, node.inputs, strict=True):
        assert not isinstance(g, Tensor) or isinstance(g, autograd.Masked)
        got, want = elements(g, a), elements(e, a)
        assert (got is None) == (want is None)
        if got is not None:
            assert_same(got, want)


# ------------------------------------------------------------------------------------- what the engine relies on


def garbage(array: Any) -> Any:
    """Another array of that shape and dtype, with nothing in it that was there."""
    if isinstance(array, tuple):
        return tuple(garbage(member) for member in array)
    if array.dtype.kind == "b":
        return ~array
    return np.full_like(array, NAN if array.dtype.kind in "fc" else 113, subok=False)


@over(DIFFERENTIABLE, is_recorded)
def test_gradient_reads_only_what_the_op_saves(op, sample):
    weights = weights_like(values(sample.function(*tensors_of(sample))))

    def both_ways(spoil: bool) -> Any:
        tensors = tensors_of(sample)
        node = sample.function(*tensors)
        outputs = members(node)  # of a tuple: made before it is spoilt, because they are views of it
        loss = weighted_sum(outputs, weights)
        if spoil and "inputs" not in node.op.saves:
            for a in node.inputs:
                a._array = garbage(a._array)
        if spoil and "output" not in node.op.saves:
            node._array = garbage(node._array)
        by_hand = adjoints_by_hand(node, weights)
        loss.backward()
        return by_hand, [None if t.grad is None else t.grad.numpy() for t in tensors]

    assert_same(both_ways(True), both_ways(False))


TAKES_OUT = [cls.__name__ for cls in op_classes() if hasattr(cls, "_facts") and cls._facts[3]]


@over({op: SAMPLES.get(op, []) for op in TAKES_OUT}, is_recorded)
def test_out_gives_the_same(op, sample):
    node = sample.function(*tensors_of(sample))
    arrays = [a.numpy() for a in node.inputs]
    plain = node.op.compute(*arrays)
    for out in [None, garbage(np.asarray(plain))]:
        assert_same(np.asarray(node.op.compute(*arrays, out=out)), np.asarray(plain))
    for a, b in zip(arrays, node.inputs, strict=True):
        assert_same(a, b)


def can_be_repeated(sample: Sample) -> bool:
    return sample.smooth and is_recorded(sample) and all(a.size for a in sample.arrays)


LARGE = {op: list(filter(can_be_repeated, SAMPLES.get(op, []))) for op in [*TAKES_OUT, "Masked", "Where"]}


@over({op: some(table, 8) for op, table in LARGE.items()})
def test_large_arrays_give_what_small_ones_do(op, sample):
    weights = weights_like(values(sample.function(*tensors_of(sample))))
    small = tensors_of(sample)
    value = sample.function(*small)
    value.backward(Tensor(weights[0]))
    ndim = max(a.ndim for a in sample.arrays)
    copies = pool.SMALLEST // min(a.nbytes for a in sample.arrays if a.dtype.kind != "b") + 3

    def repeated(a: Any) -> Any:
        return np.repeat(a.reshape((1,) * (1 + ndim - a.ndim) + a.shape), copies, axis=0)

    for _ in range(2):  # the second time into memory that the first has left
        large = [Tensor(repeated(a)) for a in sample.arrays]
        out = sample.function(*large)
        assert_near(out.numpy(), repeated(value.numpy()))
        out.backward(Tensor(repeated(weights[0])))
        for t, a in zip(large, small, strict=True):
            if a.grad is None:
                assert t.grad is None
            else:
                assert_near(t.grad.numpy(), repeated(a.grad.numpy()))
        del large, out, t


def strided(array: Any, how: str) -> tuple[Tensor, Callable[[Tensor], Tensor], Callable[[Any], Any]]:
    """A leaf, the view of it that holds this array, and the same view of an array."""
    index = (slice(None, None, 2 if how == "every second" else -1),) * array.ndim
    if how == "transposed":
        return Tensor(array.T.copy()), full_transpose, lambda a: a.T
    if how == "reversed":
        return Tensor(array[index].copy()), lambda leaf: leaf[index], lambda a: a[index]
    wide = np.zeros([2 * n for n in array.shape], array.dtype)
    wide[index] = array
    return Tensor(wide), lambda leaf: leaf[index], lambda a: a[index]


def full_transpose(a: Tensor) -> Tensor:
    for i in range(a.ndim // 2):
        a = ops.transpose(a, (i, a.ndim - 1 - i))
    return a


@over(SAMPLES)
def test_transposed_inputs(op, sample):
    check_views(op, sample, "transposed")


@over(SAMPLES)
def test_reversed_inputs(op, sample):
    check_views(op, sample, "reversed")


@over(SAMPLES)
def test_inputs_with_gaps(op, sample):
    check_views(op, sample, "every second")


def check_views(op: str, sample: Sample, how: str) -> None:
    expected = sample.function(*tensors_of(sample))
    leaves, views, undo = zip(*[strided(a, how) for a in sample.arrays], strict=True)
    inputs = [view(leaf) for leaf, view in zip(leaves, views, strict=True)]
    for t, a in zip(inputs, sample.arrays, strict=True):
        assert_same(t, a)
    node = sample.function(*inputs)
    for got, wanted in zip(values(node), values(expected), strict=True):
        assert_near(got, wanted)
    if op in DISCRETE or not is_recorded(sample):
        return
    weights = weights_like(values(node))
    plain = gradients(sample.function, tensors_of(sample), weights)
    weighted_sum(members(node), weights).backward()
    for leaf, back, wanted in zip(leaves, undo, plain, strict=True):
        assert_near(None if leaf.grad is None else back(leaf.grad.numpy()), wanted)


# ------------------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("op", DIFFERENTIABLE)
def test_nothing_is_left_behind(op):
    """With the cyclic collector off: forward, backward, second order; every tensor goes when its last name does."""

    def everything(sample: Sample) -> None:
        tensors = tensors_of(sample)
        node = sample.function(*tensors)
        weights = [Tensor(w) for w in weights_like(values(node))]
        loss = weighted_sum(members(node), weights)
        loss.backward()
        if is_recorded(sample):
            total = weighted_sum(*zip(*[(t.grad, 1.0) for t in tensors if t.grad is not None], strict=True))
            total.backward()
        assert any(t.grad is not None for t in tensors) == is_recorded(sample)

    gc.disable()
    gc.freeze()  # what is there already need not be counted, which takes long
    try:
        before = autograd.TENSOR_COUNTER
        for sample in SAMPLES[op]:
            if sample.smooth:
                everything(sample)
        assert before == autograd.TENSOR_COUNTER
    finally:
        gc.unfreeze()
        gc.enable()


# ----------------------------------------------------------------------------------- do the laws notice what is wrong?


def slightly_off(self, out_grad, node):
    return out_grad * ops.Cosh()(node.inputs[0]) * 1.00001


def not_differentiable(self, out_grad, node):
    return out_grad * (1 - node.output.detach() ** 2)


def in_the_wrong_order(self, out_grad, node):
    a, b = node.inputs
    return out_grad * a, out_grad * b


def another_on_arrays(self, out_grad, node):
    return out_grad if isinstance(out_grad, np.ndarray) else -out_grad


def leaking(self, out_grad, node):
    cycle = [out_grad * node.output]
    cycle.append(cycle)
    return cycle[0]


def nothing(self, out_grad, node):
    return None


def writing_into_its_input(self, a, out=None):
    return np.maximum(a, 0, out=a)


def in_float64(self, a):
    return a.sum(self.axes, keepdims=self.keepdims, dtype=np.float64)


def without_out(self, a, out=None):
    return np.maximum(a, 0) if out is None else np.minimum(a, 0, out=out)


def of_the_first(self, a, b):
    return a.dtype


WRONG = [
    (test_gradient_is_the_derivative, ops.Sinh, "gradient", slightly_off),
    (test_rule_called_by_hand_gives_what_backward_sets, ops.EWiseMul, "gradient", in_the_wrong_order),
    (test_gradient_is_the_derivative, ops.EWiseDiv, "gradient", in_the_wrong_order),
    (test_gradient_is_the_derivative, ops.Cbrt, "gradient", nothing),
    (test_gradient_of_gradient_is_the_derivative_of_the_gradient, ops.Tanh, "gradient", not_differentiable),
    (test_gradient_has_the_inputs_shape_and_dtype, ops.Expm1, "gradient", nothing),
    (test_a_rule_says_the_same_on_arrays_as_on_tensors, ops.Negate, "gradient", another_on_arrays),
    (test_gradient_reads_only_what_the_op_saves, ops.Exp, "saves", ()),
    (test_gradient_reads_only_what_the_op_saves, ops.Log, "saves", ("output",)),
    (test_value_is_numpys, ops.Summation, "compute", in_float64),
    (test_inputs_are_not_written_to, ops.ReLU, "compute", writing_into_its_input),
    (test_out_gives_the_same, ops.ReLU, "compute", without_out),
    (test_large_arrays_give_what_small_ones_do, ops.ReLU, "compute", without_out),
    (test_nothing_is_left_behind, ops.Exp, "gradient", leaking),
    (test_mixed_dtypes_are_promoted_as_numpy_does, ops.SoftmaxLoss, "_dtype", of_the_first),
]


@pytest.mark.parametrize(
    ("law", "op", "part", "wrong"), WRONG, ids=[f"{cls.__name__}-{law.__name__}" for law, cls, _, _ in WRONG]
)
def test_the_law_notices(law, op, part, wrong, monkeypatch):
    monkeypatch.setattr(op, part, wrong)
    try:
        with pytest.raises((ExceptionGroup, AssertionError)):
            law(op.__name__)
    finally:
        gc.collect()
