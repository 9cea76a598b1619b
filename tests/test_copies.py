"""copy.deepcopy of objects that hold tensors: the copy is connected as the object is, and apart from it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from needle import Tensor
from numpy.testing import assert_allclose

X = np.array([1.0, 2.0, 3.0])


def penalty() -> dict[str, Any]:
    w = Tensor(X)
    return {"w": w, "loss": (w**2).sum()}


def shared() -> dict[str, Any]:
    w = Tensor(X)
    return {"w": w, "again": [w, w], "loss": (w * w * w).sum()}


def several() -> dict[str, Any]:
    w, v = Tensor(X), Tensor(2 * X)
    h = needle.tanh(w) * v
    return {"w": w, "v": v, "h": h, "deep": [{"g": h * h}], "loss": (h * h * w).sum()}


def view() -> dict[str, Any]:
    w = Tensor(X)
    head = w[:2]
    return {"w": w, "head": head, "loss": (head * head).sum() + w.sum()}


def assigned() -> dict[str, Any]:
    w, v = Tensor(X), Tensor(2 * X)
    early = (w * v).sum()
    w[1] = v[0] * 2
    return {"w": w, "v": v, "early": early, "loss": (w**3).sum() + early}


def buffer() -> dict[str, Any]:
    w, held = Tensor(X), nnp.zeros(3)
    held[0], held[1:] = w[1] ** 2, w[:2] * 3
    return {"w": w, "held": held, "loss": (held * held).sum()}


def parts() -> dict[str, Any]:
    w = Tensor(X)
    first, second = needle.make_tuple(w * 1.0, w * 2)
    return {"w": w, "first": first, "loss": (first * second).sum()}


def detached() -> dict[str, Any]:
    w, v = Tensor(X).detach(), Tensor(X)
    return {"w": w, "v": v, "loss": (w * v).sum()}


def set_since() -> dict[str, Any]:
    w = Tensor(X)
    loss = (w**2).sum()
    w.data = Tensor(5 * X)
    return {"w": w, "loss": loss}


MODELS: list[Callable[[], dict[str, Any]]] = [
    penalty,
    shared,
    several,
    view,
    assigned,
    buffer,
    parts,
    detached,
    set_since,
]
LEAVES = ("w", "v")


def gradients(model: dict[str, Any]) -> dict[str, Any]:
    model["loss"].backward()
    return {name: model[name].grad.numpy() for name in LEAVES if name in model}


@pytest.mark.parametrize("recording", [True, False])
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_copy_has_its_own_gradients(make, recording):
    """In every order in which the members are copied, in objects as in containers."""
    expected = gradients(make())
    for names in itertools.permutations(make()):
        for wrap in (dict, lambda m: SimpleNamespace(**m), lambda m: (list(m.values()), m)):
            model = make()
            model = {name: model[name] for name in names}
            with needle.enable_grad() if recording else needle.no_grad():
                made: Any = copy.deepcopy(wrap(model))
            made = made if isinstance(made, dict) else made[1] if isinstance(made, tuple) else vars(made)
            for name, value in model.items():
                if isinstance(value, Tensor):
                    assert_allclose(made[name].numpy(), value.numpy())
                    assert made[name] is not value
                    assert not np.may_share_memory(made[name].detach()._array, value.detach()._array)
            found = gradients(made)
            for name, gradient in expected.items():
                assert_allclose(found[name], gradient, err_msg=name)
                assert model[name].grad is None
            again = gradients(model)  # and the other way around
            for name, gradient in expected.items():
                assert_allclose(again[name], gradient)


def test_what_is_not_copied_keeps_its_gradient():
    """A computed tensor whose leaves are not in the object belongs to these leaves; so does a copy of it alone."""
    w = Tensor(X)
    for made in (copy.deepcopy(w * w), copy.deepcopy([w * w])[0], copy.copy(w * w)):
        w.grad = None
        made.sum().backward()
        assert_allclose(w.grad.numpy(), 2 * X)
    other = Tensor(3 * X)
    first, second = copy.deepcopy([w, (w * other).sum()])
    second.backward()
    assert_allclose(other.grad.numpy(), X)
    assert_allclose(first.grad.numpy(), 3 * X)


def test_an_assigned_tensor_is_copied_with_its_history():
    """What is computed from the copy afterwards has the gradient that it has from the tensor itself."""
    model = assigned()
    made = copy.deepcopy(model)
    for one in (model, made):
        (one["w"] ** 2).sum().backward()
    assert_allclose(made["w"].grad.numpy(), model["w"].grad.numpy())
    assert_allclose(made["v"].grad.numpy(), model["v"].grad.numpy())
    made["w"][0] = 9.0
    assert model["w"].numpy()[0] == 1.0


def test_a_copied_graph_of_any_length():
    w = Tensor(X)
    h = w
    for _ in range(20_000):
        h = h * 1.0
    v, g = copy.deepcopy([w, h])
    g.sum().backward()
    assert_allclose(v.grad.numpy(), np.ones(3))
    assert w.grad is None


def test_copies_within_transforms():
    """An object that is copied within a differentiated function, with its argument in it, keeps the derivative."""

    def f(x: Any) -> Any:
        weight = Tensor(X)
        made = copy.deepcopy({"x": x, "w": weight, "y": x * x * weight})
        return (made["x"] * made["y"]).sum()

    for _ in range(2):
        assert_allclose(needle.grad(f)(X), 3 * X**3)
        assert_allclose(needle.jvp(f, (X,), (np.ones(3),))[1], (3 * X**3).sum())
        assert_allclose(needle.hessian(f)(X), np.diag(6 * X**2), atol=1e-12)
        assert_allclose(needle.jacobian(f, mode="forward")(X), 3 * X**3)


def test_a_second_derivative_of_a_copy():
    made = copy.deepcopy(penalty())
    made["loss"].backward()
    (made["w"].grad ** 2).sum().backward()
    assert_allclose(made["w"].grad.numpy(), 8 * X)
