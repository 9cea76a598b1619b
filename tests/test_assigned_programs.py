"""Random programs of views and assignments of all kinds: on Tensors they give what they give on arrays, and their
derivatives agree in all modes, with values taken in between, and when asked for later."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import needle
import numeric
import numpy as np
import pytest
from needle import Tensor, autograd
from numpy.testing import assert_allclose

REFUSED = (ValueError, IndexError, TypeError)


def view_index(rng: Any, shape: tuple[int, ...]) -> Any:
    def part(n: int) -> Any:
        start, stop = rng.integers(0, n + 1), rng.integers(0, n + 2)
        some = [slice(start, stop), slice(None, None, -1), slice(None, None, 2), slice(start, None), slice(None)]
        return int(rng.integers(-n, n)) if n and rng.random() < 0.2 else some[rng.integers(5)]

    some = [..., (..., None), tuple([part(n) for n in shape[: rng.integers(0, len(shape) + 1)]])]
    return some[min(rng.integers(6), 2)]


def index(rng: Any, shape: tuple[int, ...]) -> Any:
    kind = rng.integers(6)
    if kind == 0 and shape and shape[0]:
        return rng.integers(-shape[0], shape[0], size=rng.integers(0, 4))  # some of them repeatedly
    if kind == 1 and shape and shape[0]:
        return (rng.integers(0, shape[0], size=(2, 2)), *view_index_of_rest(rng, shape))
    return rng.random(shape) < 0.5 if kind == 2 else view_index(rng, shape)


def view_index_of_rest(rng: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple([slice(None, None, -1) if rng.random() < 0.5 else slice(1, None) for _ in shape[1:]])


def view(rng: Any, a: Any) -> Any:
    some = [
        lambda: np.transpose(a),
        lambda: np.moveaxis(a, 0, -1),
        lambda: a.reshape(-1),
        lambda: np.expand_dims(a, int(rng.integers(0, a.ndim + 1))),
        lambda: np.squeeze(a),
        lambda: np.flip(a),
        lambda: np.rot90(a),
        lambda: np.array_split(a, 2)[rng.integers(2)],
        lambda: a.real,
        lambda: a.imag if a.dtype.kind == "c" else a[...],
        lambda: np.diagonal(a),
        lambda: np.broadcast_to(a, (2, *a.shape)),
        lambda: a[view_index(rng, a.shape)],
    ]
    return some[rng.integers(len(some))]()


def value(rng: Any, live: list[Any], x: Any) -> Any:
    source = live[rng.integers(len(live))]
    some = [
        lambda: 0.25,
        lambda: x.reshape(-1)[rng.integers(x.size)] * 0.7,
        lambda: source * 0.5 + 0.1,
        lambda: source,  # maybe itself, or what shares its memory
        lambda: source[view_index(rng, source.shape)],
        lambda: np.sin(source),
    ]
    return some[rng.integers(len(some))]()


def assigned(a: Any, at: Any, v: Any) -> Any:
    """A function that changes its argument, and returns it."""
    a[at] = v
    return a


def change(rng: Any, live: list[Any], x: Any) -> None:
    a = live[rng.integers(len(live))]
    kind = rng.integers(11)
    if kind <= 2:
        live.append(view(rng, a))
        return
    v, at = value(rng, live, x), index(rng, a.shape)
    if a.dtype.kind != "c" and v is not None and getattr(v, "dtype", np.dtype(float)).kind == "c":
        v = v.imag
    if kind <= 5:
        a[at] = v
    elif kind == 6 and a.ndim:
        a *= v
    elif kind == 7:
        a[at] += v
    elif kind == 8 and a.ndim:
        np.add(a, v, out=a)
    elif kind == 9 and a.ndim > 1:
        np.fill_diagonal(a, v * 1.0)
    elif kind == 10:
        live.append(assigned(a, view_index(rng, a.shape), v))


def loss(live: list[Any]) -> Any:
    total = 0.0
    for k, a in enumerate(live):
        total = total + (a.real * a.real).sum() * (k + 1)
        if a.dtype.kind == "c":
            total = total + (a.imag * a.imag).sum() * 0.3
    return total


def program(seed: int, x: Any, seen: Any = lambda step, live: None) -> tuple[Any, list[Any], list[int]]:
    """Its result, what is left of its arrays, and the steps that were refused."""
    rng = np.random.default_rng(seed)
    zeros = np.zeros((3, 4), complex)
    constants = [zeros, zeros.real.copy()]
    if isinstance(x, Tensor):
        constants = [Tensor(a, requires_grad=False) for a in constants]
    live, refused = [x * 1.0, (x * x).reshape(2, 3, 2), x * (1 + 0.5j), *constants], []
    for step in range(rng.integers(4, 12)):
        state = rng.bit_generator.state
        try:
            change(rng, live, x)
        except REFUSED:
            refused.append(step)
        rng.bit_generator.state = state  # whatever was drawn until it was refused
        rng.random(50)
        seen(step, live)
        if len(live) > 7:
            live.pop(rng.integers(len(live)))
    return loss(live), live, refused


def start(seed: int) -> Any:
    return np.random.default_rng([seed, 1]).uniform(0.3, 0.9, (3, 4))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_values_and_gradients(seed, lazy, monkeypatch):
    monkeypatch.setattr(autograd, "LAZY_MODE", lazy)
    x = start(seed)
    expected, arrays, refused = program(seed, x)
    leaf = Tensor(x)
    total, tensors, refused_too = program(seed, leaf)
    assert refused == refused_too
    assert_allclose(total.numpy(), expected, rtol=1e-12)
    for a, t in zip(arrays, tensors, strict=True):
        assert (t.shape, t.dtype) == (a.shape, a.dtype)
        assert_allclose(t.numpy(), a, rtol=1e-12)
    total.backward()
    gradient, direction = leaf.grad.numpy(), np.random.default_rng([seed, 2]).normal(size=x.shape)
    slope = numeric.directional(lambda x: program(seed, x)[0], x, direction)
    assert_allclose(np.sum(gradient * direction), slope, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())

    def f(x: Any) -> Any:
        return program(seed, x)[0]

    assert_allclose(needle.grad(f)(x), gradient, rtol=1e-10, atol=1e-10 * np.abs(gradient).max())
    assert_allclose(needle.jvp(f, (x,), (direction,))[1], slope, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())


@pytest.mark.parametrize("seed", range(15))
def test_second_order_and_jacobians(seed):
    x, v = start(seed), np.random.default_rng([seed, 2]).normal(size=(3, 4))

    def f(x: Any) -> Any:
        return program(seed, x)[0]

    def many(x: Any) -> Any:
        return np.concatenate([a.real.reshape(-1) for a in program(seed, x)[1]])

    expected = needle.jvp(needle.grad(f), (x,), (v,))[1]
    leaf = Tensor(x)
    total = f(leaf)
    total.backward()
    (leaf.grad * v).sum().backward()
    products = {
        "hvp": needle.hvp(f, (x,), (v,)),
        "grad of grad": needle.grad(lambda x: (needle.grad(f)(x) * v).sum())(x),
        "grad of jvp": needle.grad(lambda x: needle.jvp(f, (x,), (v,))[1])(x),
        "hessian": np.tensordot(needle.hessian(f)(x), v, 2),
        "x.grad.backward()": leaf.grad.numpy(),
    }
    for name, product in products.items():
        assert_allclose(product, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max(), err_msg=name)
    along = np.tensordot(needle.jacobian(many)(x), v, 2)
    assert_allclose(needle.jvp(many, (x,), (v,))[1], along, rtol=1e-9, atol=1e-9)
    assert_allclose(needle.linearize(many, x)[1](v), along, rtol=1e-9, atol=1e-9)
    back = needle.vjp(many, x)[1](along)[0]
    assert_allclose(np.sum(back * v), np.sum(along**2), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(25))
def test_gradients_at_once_and_later(seed):
    """A result's gradient is that of the values it was computed from, whatever is assigned and done afterwards."""
    later, first = {}, Tensor(start(seed))
    program(seed, first, lambda step, live: later.setdefault(step, loss(live)))
    at_once, second, kept = {}, Tensor(start(seed)), []
    rng = np.random.default_rng([seed, 3])

    def interrupt(step: int, live: list[Any]) -> None:
        total = loss(live)
        total.backward()
        at_once[step] = second.grad.numpy()
        a = live[rng.integers(len(live))]
        with needle.no_grad():
            printed = str(a)
        some = [
            lambda: pickle.loads(pickle.dumps(a)),
            lambda: (copy.copy(a), copy.deepcopy(a)),
            lambda: (a.detach(), a.data, printed),
            lambda: needle.vjp(lambda z: z * a.real, np.ones(a.shape)),
            lambda: needle.jvp(lambda z: (z * a.real).sum(), (np.ones(a.shape),), (np.ones(a.shape),)),
            lambda: second.grad.sum().backward(),
        ]
        kept.append(some[rng.integers(len(some))]())

    program(seed, second, interrupt)
    steps = list(later)
    rng.shuffle(steps)
    for step in steps:
        later[step].backward()
        assert_allclose(first.grad.numpy(), at_once[step], rtol=1e-10, atol=1e-10 * np.abs(at_once[step]).max())
