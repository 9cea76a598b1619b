"""A layer of Needle and one of PyTorch with the same weights: the same outputs, gradients and buffers."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import needle
import numpy as np
from needle import Tensor, nn

NEAR = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-10}


def assert_near(got: Any, expected: Any, what: str) -> None:
    """Within 1e-5 in float32, 1e-10 in float64, of the largest number."""
    got, expected = np.asarray(got), expected.detach().numpy() if hasattr(expected, "detach") else np.asarray(expected)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype), what
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=NEAR[expected.dtype] * scale, err_msg=what)


def compare(torch: Any, ours: Any, theirs: Any, inputs: list[Any], call: Any = None) -> None:
    """Loads their weights into ours, and compares a weighted sum of the output and all its gradients.

    `call(model, *inputs)` calls a model of either library.
    """
    call = call or (lambda model, *args: model(*args))
    nn.load_torch(ours, theirs.state_dict())
    theirs.zero_grad()
    given = [Tensor(a) if a.dtype.kind == "f" else Tensor(a, requires_grad=False) for a in inputs]
    others = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in inputs]
    y, z = call(ours, *given), call(theirs, *others)
    assert_near(y.numpy(), z, "output")
    weights = np.random.default_rng(0).standard_normal(y.shape).astype(y.dtype)
    (y * weights).sum().backward()
    (z * torch.tensor(weights)).sum().backward()
    for i, (a, b) in enumerate(zip(given, others, strict=True)):
        if a.requires_grad:
            assert_near(a.grad.numpy(), b.grad, f"gradient of input {i}")
    found = gradients(ours)
    for name, p in theirs.named_parameters():
        assert_near(found[name], p.grad, f"gradient of {name}")
    state = nn.torch_state_dict(ours)
    for name, buffer in theirs.named_buffers():
        if name in state and buffer.dtype.is_floating_point:
            assert_near(state[name], buffer, name)


def gradients(model: Any) -> dict[str, Any]:
    """The gradients of a model's parameters, in PyTorch's names and layouts."""
    grads = [p.grad for p in model.parameters()]
    copy = deepcopy(model)
    with needle.no_grad():
        for p, g in zip(copy.parameters(), grads, strict=True):
            p.data = g if g is not None else np.zeros(p.shape, p.dtype)
    return nn.torch_state_dict(copy)
