"""Gradients of parts of a batch, added up, are those of the whole batch."""

from __future__ import annotations

import needle
import numpy as np
import pytest
from needle import Tensor, nn, optim
from numpy.testing import assert_allclose


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_four_parts_with_accumulate_take_the_step_of_the_whole(dtype):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(32, 6)).astype(dtype), rng.integers(0, 3, 32)

    def steps(parts):
        np.random.seed(0)
        model = nn.Sequential(nn.Linear(6, 16, dtype=dtype), nn.Tanh(), nn.Linear(16, 3, dtype=dtype))
        opt = optim.SGD(model, lr=0.1)
        for _ in range(5):
            opt.reset_grad()
            for rows, labels in zip(np.split(X, parts), np.split(y, parts), strict=True):
                loss = needle.softmax_loss(
                    model(Tensor(rows, requires_grad=False)), Tensor(labels, requires_grad=False)
                )
                loss.backward(accumulate=True)
            opt.scale_grad(1 / parts)
            opt.step()
        return model.state_dict()

    whole, four = steps(1), steps(4)
    for name, array in whole.items():
        assert_allclose(four[name], array, rtol=0, atol=1e-6, err_msg=name)


def test_parts_of_unequal_length_are_summed_and_divided_by_all():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(10, 4)), rng.integers(0, 3, 10)
    np.random.seed(1)
    model = nn.Linear(4, 3, dtype="float64")
    loss_of = nn.CrossEntropyLoss(reduction="sum")
    for part in (slice(0, 7), slice(7, 10)):
        loss_of(model(Tensor(X[part])), Tensor(y[part], requires_grad=False)).backward(accumulate=True)
    optim.SGD(model, lr=0.1).scale_grad(1 / 10)
    summed = [p.grad.numpy() for p in model.parameters()]
    model.zero_grad()
    nn.CrossEntropyLoss()(model(Tensor(X)), Tensor(y, requires_grad=False)).backward()
    for array, p in zip(summed, model.parameters(), strict=True):
        assert_allclose(array, p.grad.numpy(), rtol=0, atol=1e-12)
