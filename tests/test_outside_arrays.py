"""Arrays outside of a function that is differentiated, which it fills by assignment: they outlive the transform."""

from __future__ import annotations

import gc
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
