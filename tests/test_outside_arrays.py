"""Arrays outside of a function that is differentiated, which it fills by assignment: they outlive the transform."""

from __future__ import annotations

import collections
import copy
import gc
import pickle
import re
import threading
from collections.abc import Callable
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from needle import Tensor, autograd
from numpy.testing import assert_allclose

X = np.linspace(0.5, 1.5, 5)
W = np.ones(5)
DATA = Tensor(X, requires_grad=False)


def elements(work: Any, value: Any) -> None:
    for i in range(5):
        work[i] = value[i]


def parts(work: Any, value: Any) -> None:
    work[:2] = value[:2]
    work[2:] = value[2:]


def by_a_view(work: Any, value: Any) -> None:
    work[1:][...] = value[1:]
    work[0] = value[0]


def in_place(work: Any, value: Any) -> None:
    work *= 0
    work += value


FILLS: dict[str, Callable[[Any, Any], Any]] = {
    "whole": lambda work, value: work.__setitem__(slice(None), value),
    "ellipsis": lambda work, value: work.__setitem__(..., value),
    "elements": elements,
    "parts": parts,
    "view": by_a_view,
    "in place": in_place,
    "copyto": np.copyto,
    "out": lambda work, value: np.multiply(value, 1.0, out=work),
    "put": lambda work, value: np.put(work, np.arange(5), value),
}


def jvp_of(f: Any) -> Any:
    return needle.jvp(f, (X,), (W,))[1]


TRANSFORMS: dict[str, tuple[Callable[[Any], Any], Any]] = {  # of sum x**3
    "grad": (lambda f: needle.grad(f)(X), 3 * X**2),
    "grad by a Tensor": (lambda f: needle.grad(f)(DATA), 3 * X**2),
    "value_and_grad": (lambda f: needle.value_and_grad(f)(X)[0], (X**3).sum()),
    "vjp": (lambda f: needle.vjp(f, X)[1](1.0)[0], 3 * X**2),
    "jvp": (jvp_of, (3 * X**2).sum()),
    "jvp by a Tensor": (lambda f: needle.jvp(f, (DATA,), (W,))[1], (3 * X**2).sum()),
    "many jvps": (lambda f: needle.jvp(f, (X,), (np.eye(5),), many=True)[1], 3 * X**2),
    "linearize": (lambda f: needle.linearize(f, X)[1](W), (3 * X**2).sum()),
    "jacobian forward": (lambda f: needle.jacobian(f, mode="forward")(X), 3 * X**2),
    "jacobian reverse": (lambda f: needle.jacobian(f, mode="reverse")(X), 3 * X**2),
    "hessian": (lambda f: needle.hessian(f)(X), np.diag(6 * X)),
    "hvp": (lambda f: needle.hvp(f, (X,), (W,)), 6 * X),
    "make_hvp": (lambda f: needle.make_hvp(f)(X)[0](W), 6 * X),
    "grad of grad": (lambda f: needle.grad(lambda x: needle.grad(f)(x).sum())(X), 6 * X),
    "grad of jvp": (lambda f: needle.grad(lambda x: needle.jvp(f, (x,), (W,))[1])(X), 6 * X),
    "jvp of jvp": (lambda f: jvp_of(lambda x: needle.jvp(f, (x,), (W,))[1]), (6 * X).sum()),
}


def calls(work: Any, fill: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        fill(work, x * x)
        return (work * x).sum()

    return f


def is_plain(work: Any) -> bool:
    """Whether it holds a constant, of which nothing else is known."""
    value = autograd.latest(work)
    return type(value) is Tensor and value.op is None and not value.requires_grad and not work.requires_grad


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("fill", FILLS)
def test_each_call_is_like_the_first(fill, transform):
    work = nnp.zeros(5)
    tail = work[1:]
    f = calls(work, FILLS[fill])
    derivative, expected = TRANSFORMS[transform]
    for _ in range(4):
        assert_allclose(np.asarray(derivative(f)), expected, atol=1e-12)
        assert is_plain(work)
        assert type(work.detach()) is Tensor
        assert_allclose(np.asarray(work), X**2)
        assert_allclose(np.asarray(tail), X[1:] ** 2)
        assert float(tail[0]) == work.numpy()[1]
        assert "Dual" not in repr(work) + repr(tail)


def test_a_running_sum_keeps_no_graph():
    """A state that each call adds to: the number of live tensors does not grow."""
    total = nnp.zeros(5)

    def f(x: Any) -> Any:
        total[:] = total + x * x
        return (total * x).sum()

    counts = []
    for k in range(1, 6):
        slope = needle.grad(f)(X)
        assert_allclose(slope, (k - 1) * X**2 + 3 * X**2)
        gc.collect()
        counts.append(autograd.TENSOR_COUNTER)
    # Tensors that other tests have left may go meanwhile, so the number may fall.
    assert counts[-1] <= counts[1]
    assert_allclose(total.numpy(), 5 * X**2)


def test_after_an_error_within_the_function():
    work = nnp.zeros(5)

    def f(x: Any, fails: bool = False) -> Any:
        work[:] = x * x
        if fails:
            raise KeyError
        return (work * x).sum()

    for transform, expected in TRANSFORMS.values():
        with pytest.raises(KeyError):
            transform(lambda x: f(x, True))
        assert is_plain(work)
        assert_allclose(np.asarray(transform(f)), expected, atol=1e-12)


def test_an_outer_transform_follows_what_an_inner_one_assigned():
    """work is filled within the inner function and read after it: the outer transform differentiates it."""
    work = nnp.zeros(5)

    def outer(x: Any) -> Any:
        def inner(y: Any) -> Any:
            work[:] = x * x * y
            return work.sum()

        needle.grad(inner)(X)
        needle.jvp(inner, (X,), (W,))
        return (work * x).sum()

    for _ in range(3):
        assert_allclose(needle.grad(outer)(X), 3 * X**3)
        assert_allclose(jvp_of(outer), (3 * X**3).sum())
        assert_allclose(needle.hessian(outer)(X), np.diag(6 * X**2), atol=1e-12)
        assert is_plain(work)


def test_a_thread_that_the_function_starts():
    """It knows that what it assigns and copies is differentiated."""
    work = nnp.zeros(5)

    def in_a_thread(do: Callable[[], Any]) -> None:
        errors: list[Exception] = []

        def run() -> None:
            try:
                do()
            except TypeError as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]

    def f(x: Any) -> Any:
        in_a_thread(lambda: work.__setitem__(slice(None), x * x))
        return (work * x).sum()

    def dropped(x: Any) -> Any:
        made: list[Any] = []
        in_a_thread(lambda: made.append(Tensor(x * x, requires_grad=False)))
        return (made[0] * x).sum()

    for transform, expected in TRANSFORMS.values():
        for _ in range(2):
            assert_allclose(np.asarray(transform(f)), expected, atol=1e-12)
            assert is_plain(work)
        with pytest.raises(TypeError, match="would drop its derivative silently"):
            transform(dropped)


def test_what_depends_on_other_tensors_stays_recorded():
    """The array was filled from a weight, too, which backward() differentiates by afterwards."""
    weight = Tensor(X)
    for name in ("grad", "grad by a Tensor", "vjp", "jvp by a Tensor", "jacobian reverse"):
        transform, work = TRANSFORMS[name][0], nnp.zeros(5)

        def f(x: Any, work: Any = work) -> Any:
            work[:] = weight * 2
            return (x**3).sum()

        transform(f)
        weight.grad = None
        work.sum().backward()
        assert_allclose(weight.grad.numpy(), 2 * W)


def test_results_are_read_before_the_arrays_are_let_go():
    """An outside array that the function returns, as output and as aux."""
    work = nnp.zeros(5)

    def f(x: Any) -> Any:
        work[:] = x * x
        return work

    for _ in range(3):
        assert_allclose(needle.jacobian(f)(X), np.diag(2 * X))
        assert_allclose(needle.jvp(f, (X,), (W,))[1], 2 * X)
        assert_allclose(needle.vjp(f, X)[1](W)[0], 2 * X)
        (slope, aux) = needle.grad(lambda x: (f(x).sum(), work), has_aux=True)(X)
        assert_allclose(slope, 2 * X)
        assert type(aux) is Tensor
        out, tangent, aux = needle.jvp(lambda x: (f(x).sum(), {"work": work}), (X,), (W,), has_aux=True)
        assert_allclose((out, tangent), ((X**2).sum(), (2 * X).sum()))
        assert_allclose(aux["work"].numpy(), X**2)


def test_a_pullback_keeps_what_it_needs():
    """It is called after the array was filled anew."""
    work = nnp.zeros(5)
    f = calls(work, FILLS["whole"])
    _, pullback = needle.vjp(f, X)
    _, linear = needle.linearize(f, X)
    needle.grad(f)(2 * X)
    work[:] = 7.0
    assert_allclose(pullback(1.0)[0], 3 * X**2)
    assert_allclose(linear(W), (3 * X**2).sum())


def test_a_training_loop_lets_go_of_what_is_overwritten_whole():
    """Without a transform, too: each step's graph is as large as the first's."""
    weight, work, sizes = Tensor(X), nnp.zeros(5), []
    for _ in range(5):
        work[:] = weight * weight
        loss = (work * weight).sum()
        loss.backward()
        assert_allclose(weight.grad.numpy(), 3 * X**2)
        sizes.append(len(autograd.find_topo_sort([loss])))
    assert len(set(sizes)) == 1


def test_the_gradient_of_what_was_overwritten_whole_is_zero():
    """It has one, since it takes part."""
    x, y = Tensor(X), Tensor(X)
    held = x * 1.0
    held[:] = y
    held[...] = y * y
    (held * 2).sum().backward()
    assert_allclose(y.grad.numpy(), 4 * X)
    assert_allclose(x.grad.numpy(), 0 * X)


# --------------------------------------------------------------------- what a function puts in lists and attributes

MORE_TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "elementwise_grad": lambda f: needle.elementwise_grad(f)(X),
    "deriv": lambda f: needle.deriv(lambda c: f(c * X))(1.0),
    "grad of vjp": lambda f: needle.grad(lambda x: needle.vjp(f, x)[1](1.0)[0].sum())(X),
    "jacobian of jacobian": lambda f: needle.jacobian(needle.jacobian(f, mode="forward"), mode="forward")(X),
    "third": lambda f: jvp_of(lambda x: needle.hessian(f)(x).sum()),
}
KEEPING = {name: transform for name, (transform, _) in TRANSFORMS.items()} | MORE_TRANSFORMS


class Store:
    """What a function may put a value in."""

    def __init__(self) -> None:
        self.list: list[Any] = []
        self.dict: dict[Any, Any] = {}
        self.deque: collections.deque[Any] = collections.deque()
        self.set: set[Any] = set()
        self.last: Any = None

    def put(self, value: Any) -> None:
        self.list.append(value)
        self.dict[len(self.dict)] = [value]
        self.deque.append((value,))
        self.set.add(value)
        self.last = value

    def all(self) -> list[Any]:
        held = [value for (value,) in self.dict.values()]
        places = {id(value): i for i, value in enumerate(self.list)}
        in_order = sorted(self.set, key=lambda value: places[id(value)])
        return [*self.list, *held, *[value for (value,) in self.deque], *in_order, self.last]


def left_by(transform: Callable[[Any], Any]) -> list[Any]:
    """What a function has put elsewhere, with values of the argument, of computed values, numbers and views."""
    store = Store()

    def f(x: Any) -> Any:
        y = x * x
        for value in (x, y, y.sum(), y[1:], np.exp(x)[::2]):
            store.put(value)
        return (y * x).sum()

    transform(f)
    return store.all()


def as_numbers(a: Any) -> Any:
    return a.numpy() if isinstance(a, Tensor) else np.asarray(a)


def added_up(a: Any) -> Any:
    return np.asarray(needle.grad(lambda z: (z * a).sum())(np.ones(a.shape)))


def by_weight(a: Any) -> Any:
    weight = Tensor(np.ones(a.shape))
    (weight * a).sum().backward()
    return weight.grad


def compiled(a: Any) -> Any:
    double = needle.compile(lambda z: z * 1.0)
    double(a)
    return double(a)


USES: dict[str, Callable[[Any], Any]] = {
    "numpy": lambda a: a.numpy(),
    "asarray": np.asarray,
    "tolist": lambda a: a.tolist(),
    "item": lambda a: np.reshape([a[i].item() for i in np.ndindex(a.shape)], a.shape),
    "float": lambda a: float(a) if not a.shape else [float(b) for b in a],
    "text": lambda a: Tensor(eval(repr(a).removeprefix("needle."))),
    "detach": lambda a: a.detach(),
    "data": lambda a: a.data,
    "Tensor": Tensor,
    "stop_gradient": needle.stop_gradient,
    "copy": copy.copy,
    "deepcopy": lambda a: copy.deepcopy([a])[0],
    "pickle": lambda a: pickle.loads(pickle.dumps(a)),
    "operator": lambda a: 2 * (a + a) / 4,
    "function": lambda a: np.log(np.exp(a)),
    "stack": lambda a: np.stack([a, a])[1],
    "array": lambda a: np.array([a, a])[0] if not a.shape else nnp.array(a),
    "grad": added_up,
    "jvp": lambda a: needle.jvp(lambda z: z * a, (np.ones(a.shape),), (np.ones(a.shape),))[1],
    "backward": by_weight,
    "as an argument": needle.grad(lambda z: (z * z).sum() / 2),
    "as an argument twice": needle.grad(lambda z: needle.grad(lambda z: (z**3).sum() / 6)(z).sum()),
    "as a tangent": lambda a: needle.jvp(lambda z: z * 1.0, (np.ones(a.shape),), (a,))[1],
    "compile": compiled,
    "returned": lambda a: needle.vjp(lambda z: (z.sum(), a), np.ones(2))[0][1],
}


@pytest.mark.parametrize("transform", KEEPING)
def test_what_is_left_in_a_list_is_an_ordinary_tensor(transform):
    """After the transform is over, it is of plain values, whatever is done with it first."""
    count = len(left_by(KEEPING[transform]))
    values = [as_numbers(a) for a in left_by(KEEPING[transform])]
    assert count == 21
    for use in USES.values():
        for a, value in zip(left_by(KEEPING[transform]), values, strict=True):
            assert isinstance(a, Tensor)
            assert type(a).__name__ == "Tensor"
            assert not {"Dual", "Taped", "Batched"} & set(re.findall(r"\w+", repr(a) + str(a)))
            assert (a.shape, a.dtype, a.ndim, a.size) == (value.shape, value.dtype, value.ndim, value.size)
            assert_allclose(as_numbers(use(a)), value, rtol=1e-7)
            assert_allclose(as_numbers(a), value)


def test_what_is_left_can_be_assigned_to():
    for transform in KEEPING.values():
        for a in left_by(transform):
            if a.ndim:
                before, earlier = a.numpy(), a * 1.0
                a[0] = 9.0
                a += 1
                assert_allclose(a.numpy(), [10.0, *(before[1:] + 1)])
                assert_allclose(earlier.numpy(), before)
    data = Tensor(X, requires_grad=False)
    left: list[Any] = []
    needle.jvp(lambda x: (left.append(x), x.sum())[1], (data,), (W,))
    left[0][1] = 5.0
    assert_allclose(data.numpy(), X)


def test_what_is_left_has_a_live_array():
    for name, transform in KEEPING.items():
        for a in left_by(transform):
            if "by a Tensor" not in name:  # whose own array this is of the argument, which a detached one shares
                array = a.cached_data
                array[...] = 7.0
                assert_allclose((a * 1.0).numpy(), np.full(a.shape, 7.0))


def test_what_forward_mode_leaves_needs_no_gradient():
    for name in ("jvp", "jvp by a Tensor", "many jvps", "jacobian forward", "hessian", "jvp of jvp", "deriv", "third"):
        assert not [a for a in left_by(KEEPING[name]) if a.requires_grad], name


def test_what_is_left_keeps_the_gradient_by_others():
    """It was computed from a weight, too, by which backward() differentiates afterwards."""
    weight, data = Tensor(X), Tensor(X, requires_grad=False)
    for transform in ("grad by a Tensor", "jvp by a Tensor", "vjp", "jacobian reverse"):
        left: list[Any] = []

        def f(x: Any, left: list[Any] = left) -> Any:
            left.append(weight * weight * x)
            return (weight * x).sum()

        if transform == "vjp":
            needle.vjp(f, data)
        else:
            TRANSFORMS[transform][0](f)
        weight.grad = None
        left[0].sum().backward()
        assert_allclose(weight.grad.numpy(), 2 * X * X)


def test_what_is_left_after_an_error():
    left: list[Any] = []

    def f(x: Any) -> Any:
        left.append(x * x)
        raise KeyError

    for name in ("jvp", "hessian", "jacobian forward", "grad of jvp", "jvp of jvp"):
        left.clear()
        with pytest.raises(KeyError):
            KEEPING[name](f)
        assert_allclose(np.asarray(left[0]), X**2)
        assert type(autograd.latest(left[0])) is Tensor


def test_an_inner_transform_leaves_what_the_outer_one_follows():
    """Within the outer function, what the inner one has left has the derivative by the outer argument."""

    def outer(x: Any) -> Any:
        left: list[Any] = []
        needle.jvp(lambda z: (left.append(z * x), z.sum())[1], (x * x,), (W,))
        needle.grad(lambda z: (left.append(z * x), z.sum())[1])(x * x)
        needle.vjp(lambda z: (left.append(z * x), z.sum())[1], x * x)
        return sum((a * a).sum() for a in left)  # x**6, three times

    assert_allclose(needle.grad(outer)(X), 18 * X**5)
    assert_allclose(jvp_of(outer), (18 * X**5).sum())
    assert_allclose(needle.jacobian(outer, mode="forward")(X), 18 * X**5)
    assert_allclose(needle.hessian(outer)(X), np.diag(90 * X**4), atol=1e-10)


def test_a_pullback_goes_on_after_its_arguments_were_left():
    """Inside other transforms, where a tape is kept for it."""

    def outer(x: Any) -> Any:
        left: list[Any] = []

        def f(z: Any) -> Any:
            left.append(z)
            left.append(z**3)
            return left[1]

        _, pullback = needle.vjp(f, x)
        assert {type(autograd.latest(a)) for a in left} == {type(x)}
        first = pullback(W)[0]
        left[0] = left[0] * 2
        return (first + pullback(left[0])[0]).sum()  # 3 x**2 + 6 x**3

    assert_allclose(needle.grad(outer)(X), 6 * X + 18 * X**2)
    assert_allclose(jvp_of(outer), (6 * X + 18 * X**2).sum())


def test_a_state_does_not_grow():
    """A moving mean in an attribute, as of a batch norm: the next call is as fast, and is right."""
    store = Store()
    store.last = np.zeros(5)

    def f(x: Any) -> Any:
        store.last = 0.9 * store.last + 0.1 * x
        return (x**3).sum()

    for name in ("jvp", "jacobian forward", "hessian", "jvp of jvp", "deriv"):
        sizes = []
        for _ in range(4):
            KEEPING[name](f)
            sizes.append(len(autograd.find_topo_sort([autograd.latest(store.last)])))
        assert sizes == [1] * 4


def test_tapes_and_tangents_are_let_go():
    """What is left holds its value, and no tangent and no tape."""
    left: list[Any] = []

    def f(x: Any) -> Any:
        for _ in range(50):
            x = np.sin(x)
        left.append(x * 1.0)
        return x.sum()

    counts = []
    for _ in range(4):
        for name in ("jvp", "hessian", "jvp of jvp", "grad of jvp"):
            KEEPING[name](f)
        left.clear()
        gc.collect()
        counts.append(autograd.TENSOR_COUNTER)
    assert counts[-1] <= counts[1]
    before = autograd.TENSOR_COUNTER
    for _ in range(10):
        KEEPING["jvp"](f)
    gc.collect()
    held = autograd.TENSOR_COUNTER - before
    assert held <= 30
