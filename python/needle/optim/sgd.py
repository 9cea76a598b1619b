"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .groups import Rate
from .optimizer import Optimizer


class SGD(Optimizer):
    """Gradient descent, with momentum as an average of gradients:

        g = g + weight_decay * p
        u = momentum * u + (1 - dampening) * g            dampening is momentum, if not given
        p = p - lr * u                                    with nesterov: p - lr * (g + momentum * u)

    **For PyTorch's steps, give PyTorch's lr divided by (1 - momentum)**, or `dampening=0`, which is PyTorch's rule: it
    sums up the gradients of some 1 / (1 - momentum) steps, where here they are averaged. `nesterov=True` needs
    `dampening=0`. The first gradient is dampened like all others, which in PyTorch it is not.

    >>> import needle as ndl
    >>> w = ndl.Tensor([1.0, 2.0])
    >>> opt = ndl.optim.SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> opt.step()
    >>> w
    needle.Tensor([0.8, 1.6])
    """

    def __init__(
        self,
        params: Any,
        lr: Rate = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        *,
        dampening: float | None = None,
        nesterov: bool = False,
    ):
        super().__init__(
            params, lr, momentum=momentum, weight_decay=weight_decay, dampening=dampening, nesterov=nesterov
        )

    def check(self, options: Mapping[str, Any]) -> None:
        in_range("SGD", options, momentum=(0, 1), weight_decay=(0, None))
        if options["nesterov"] and (options["dampening"] != 0 or not options["momentum"]):
            raise ValueError(
                "SGD: nesterov=True needs momentum > 0 and dampening=0, PyTorch's rule, which takes PyTorch's lr"
            )

    @staticmethod
    def slots(o: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum": 0.0} if o["momentum"] else {}

    @staticmethod
    def update(o: Any, p: Any, g: Any, *rest: Any, **_: Any) -> tuple[Any, ...]:
        *average, lr = rest
        momentum = o["momentum"]
        dampening = momentum if o["dampening"] is None else o["dampening"]
        if o["weight_decay"]:
            g = g + o["weight_decay"] * p
        if not average:
            return (p - lr * g,)
        u = momentum * average[0] + ((1 - dampening) * g if dampening else g)
        return p - lr * (g + momentum * u if o["nesterov"] else u), u


def in_range(what: str, options: Mapping[str, Any], **ranges: tuple[float, float | None]) -> None:
    """Raise a ValueError for an option below the first number, or not below the second."""
    for name, (low, high) in ranges.items():
        values = options[name] if isinstance(options[name], (tuple, list)) else (options[name],)
        for value in values:
            if not (value >= low and (high is None or value < high)):
                limits = f"{name} >= {low}" if high is None else f"{low} <= {name} < {high}"
                raise ValueError(f"{what}: needs {limits}, got {name}={options[name]!r}")
