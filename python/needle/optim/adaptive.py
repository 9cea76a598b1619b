"""Optimizers that give each element a rate of its own: Adam and its kin. `lr` is the rate of a step, t its number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .groups import Rate
from .optimizer import Optimizer
from .sgd import in_range


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015):

        g = g + weight_decay * p                          L2: inside of the averages; AdamW's is outside
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g               amsgrad: the largest v so far is taken below
        p = p - lr * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)

    `betas=(0.9, 0.999)` is accepted as well. m and v are the states "exp_avg" and "exp_avg_sq", in float32 or wider.
    """

    counts = True

    def __init__(
        self,
        params: Any,
        lr: Rate = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        betas: tuple[float, float] | None = None,
        amsgrad: bool = False,
    ):
        betas = (beta1, beta2) if betas is None else (betas[0], betas[1])
        super().__init__(params, lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)

    def check(self, options: Mapping[str, Any]) -> None:
        in_range(type(self).__name__, options, betas=(0, 1), eps=(0, None), weight_decay=(0, None))

    @staticmethod
    def slots(o: Mapping[str, Any]) -> dict[str, float]:
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if o["amsgrad"] else ("exp_avg", "exp_avg_sq")
        return dict.fromkeys(names, 0.0)

    @staticmethod
    def numbers(o: Mapping[str, Any], lr: Any, t: Any) -> tuple[Any, ...]:
        """The rate and eps with the corrections of both averages in them: one division an element is left."""
        beta1, beta2 = o["betas"]
        root = np.sqrt(1 - np.power(beta2, t))
        return lr * root / (1 - np.power(beta1, t)), o["eps"] * root

    @staticmethod
    def update(o: Any, p: Any, g: Any, m: Any, v: Any, *rest: Any, **_: Any) -> tuple[Any, ...]:
        *largest, rate, eps = rest
        if o["weight_decay"]:
            g = g + o["weight_decay"] * p
        m, v, largest = _moments(o, g, m, v, largest)
        return p - rate * (m / (np.sqrt(*largest or [v]) + eps)), m, v, *largest


def _moments(o: Any, g: Any, m: Any, v: Any, largest: list[Any]) -> tuple[Any, Any, list[Any]]:
    """The new averages of g and of its square, and the largest of the latter, if that is kept."""
    beta1, beta2 = o["betas"]
    m = m + (1 - beta1) * (g - m)
    v = beta2 * v + (1 - beta2) * (g * g)
    return m, v, [np.maximum(a, v) for a in largest]


class AdamW(Adam):
    """Adam with weight decay outside of the averages (Loshchilov and Hutter, 2019):

        p = p * (1 - lr * weight_decay)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p = p - lr * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)

    `split_decay(model, weight_decay)` makes the groups that decay only what is a matrix.
    """

    def __init__(
        self,
        params: Any,
        lr: Rate = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        betas: tuple[float, float] | None = None,
        amsgrad: bool = False,
    ):
        super().__init__(params, lr, beta1, beta2, eps, weight_decay, betas=betas, amsgrad=amsgrad)

    @staticmethod
    def numbers(o: Mapping[str, Any], lr: Any, t: Any) -> tuple[Any, ...]:
        return *Adam.numbers(o, lr, t), 1 - lr * o["weight_decay"]

    @staticmethod
    def update(o: Any, p: Any, g: Any, m: Any, v: Any, *rest: Any, **_: Any) -> tuple[Any, ...]:
        *largest, rate, eps, kept = rest
        m, v, largest = _moments(o, g, m, v, largest)
        change = rate * (m / (np.sqrt(*largest or [v]) + eps))
        return (kept * p if o["weight_decay"] else p) - change, m, v, *largest


class RMSprop(Optimizer):
    """RMSprop (Hinton's lecture 6e), as in PyTorch:

    g = g + weight_decay * p
    v = alpha * v + (1 - alpha) * g * g
    u = momentum * u + g / (sqrt(v) + eps)            centered: sqrt(v - a * a), a an average like v of g
    p = p - lr * u
    """

    def __init__(
        self,
        params: Any,
        lr: Rate = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ):
        super().__init__(
            params, lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum, centered=centered
        )

    def check(self, options: Mapping[str, Any]) -> None:
        in_range("RMSprop", options, alpha=(0, 1), eps=(0, None), weight_decay=(0, None), momentum=(0, None))

    @staticmethod
    def slots(o: Mapping[str, Any]) -> dict[str, float]:
        kept = {"square_avg": True, "grad_avg": o["centered"], "momentum_buffer": o["momentum"]}
        return {name: 0.0 for name, is_kept in kept.items() if is_kept}

    @staticmethod
    def update(o: Any, p: Any, g: Any, v: Any, *rest: Any, **_: Any) -> tuple[Any, ...]:
        *others, lr = rest
        if o["weight_decay"]:
            g = g + o["weight_decay"] * p
        v = o["alpha"] * v + (1 - o["alpha"]) * (g * g)
        square, state = v, [v]
        if o["centered"]:
            a = others.pop(0)
            a = a + (1 - o["alpha"]) * (g - a)
            square = v - a * a
            state.append(a)
        u = g / (np.sqrt(square) + o["eps"])
        if o["momentum"]:
            u = o["momentum"] * others.pop(0) + u
            state.append(u)
        return p - lr * u, *state


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011), as in PyTorch:

    g = g + weight_decay * p
    s = s + g * g                                     s starts from initial_accumulator_value
    rate = lr / (1 + (t - 1) * lr_decay)
    p = p - rate * g / (sqrt(s) + eps)
    """

    counts = True

    def __init__(
        self,
        params: Any,
        lr: Rate = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ):
        super().__init__(
            params,
            lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )

    def check(self, options: Mapping[str, Any]) -> None:
        numbers = ("lr_decay", "weight_decay", "initial_accumulator_value", "eps")
        in_range("Adagrad", options, **dict.fromkeys(numbers, (0, None)))

    @staticmethod
    def slots(o: Mapping[str, Any]) -> dict[str, float]:
        return {"sum": o["initial_accumulator_value"]}

    @staticmethod
    def numbers(o: Mapping[str, Any], lr: Any, t: Any) -> tuple[Any, ...]:
        return (lr / (1 + (t - 1) * o["lr_decay"]),)

    @staticmethod
    def update(o: Any, p: Any, g: Any, s: Any, rate: Any, **_: Any) -> tuple[Any, ...]:
        if o["weight_decay"]:
            g = g + o["weight_decay"] * p
        s = s + g * g
        return p - rate * (g / (np.sqrt(s) + o["eps"])), s


class Lion(Optimizer):
    """Lion (Chen and others, 2023): only the sign of an average counts, so a rate is a third to a tenth of Adam's.

    p = p * (1 - lr * weight_decay)
    p = p - lr * sign(beta1 * m + (1 - beta1) * g)
    m = beta2 * m + (1 - beta2) * g
    """

    def __init__(
        self,
        params: Any,
        lr: Rate = 1e-4,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
        *,
        betas: tuple[float, float] | None = None,
    ):
        betas = (beta1, beta2) if betas is None else (betas[0], betas[1])
        super().__init__(params, lr, betas=betas, weight_decay=weight_decay)

    def check(self, options: Mapping[str, Any]) -> None:
        in_range("Lion", options, betas=(0, 1), weight_decay=(0, None))

    @staticmethod
    def slots(o: Mapping[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0.0}

    @staticmethod
    def numbers(o: Mapping[str, Any], lr: Any, t: Any) -> tuple[Any, ...]:
        return lr, 1 - lr * o["weight_decay"]

    @staticmethod
    def update(o: Any, p: Any, g: Any, m: Any, lr: Any, kept: Any, **_: Any) -> tuple[Any, ...]:
        beta1, beta2 = o["betas"]
        change = lr * np.sign(beta1 * m + (1 - beta1) * g)
        return (kept * p if o["weight_decay"] else p) - change, beta2 * m + (1 - beta2) * g
