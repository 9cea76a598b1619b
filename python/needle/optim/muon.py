"""Muon for hidden matrices, AdamW for the rest; and the split of parameters into those that decay and those that do
not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..ops.matmul import MATMUL
from ..ops.reduction import SUM
from .adaptive import AdamW
from .groups import Group, Rate, groups_of
from .optimizer import Optimizer, Rule, merged
from .sgd import in_range

Predicate = Callable[[str, Any], bool]
_COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the odd polynomial a + b x**2 + c x**4 times x that drives singular values to about 1 (Jordan, 2024)."""


def is_matrix(p: Any) -> bool:
    """Whether a parameter has two axes of more than one element: a bias that is a row of a matrix has not."""
    return sum(n > 1 for n in p.shape) >= 2


def split_decay(
    model: Any, weight_decay: float, *, embeddings: bool = True, decays: Predicate | None = None
) -> list[dict[str, Any]]:
    """Two groups for an optimizer: what decays (matrices and kernels), and what does not (biases, scales of norms).

    `embeddings=False` leaves the tables of Embedding layers out of the decay. `decays(name, parameter)` decides
    instead. A group without parameters is left out.

    >>> import needle as ndl
    >>> model = ndl.nn.Linear(3, 2)
    >>> [group["weight_decay"] for group in ndl.optim.split_decay(model, 0.1)]
    [0.1, 0.0]
    """
    tables = set() if embeddings else _embeddings(model)
    ((pairs, _),) = groups_of(model, "split_decay")

    def default(name: str, p: Any) -> bool:
        return is_matrix(p) and id(p) not in tables

    chosen = {id(p): (decays or default)(name, p) for name, p in pairs}
    parts = [([pair for pair in pairs if chosen[id(pair[1])] == which], which) for which in (True, False)]
    return [{"params": part, "weight_decay": weight_decay if which else 0.0} for part, which in parts if part]


def _embeddings(model: Any) -> set[int]:
    """The ids of the tables of all Embedding layers in a Module."""
    modules = model.modules() if hasattr(model, "named_parameters") else []
    return {id(p) for m in modules if "Embedding" in type(m).__name__ for p in m.parameters()}


class _Orthogonal(Rule):
    """The rule for a hidden matrix; see Muon."""

    elementwise = False

    @staticmethod
    def slots(o: Mapping[str, Any]) -> dict[str, float]:
        return {"momentum": 0.0}

    @staticmethod
    def numbers(o: Mapping[str, Any], lr: Any, t: Any) -> tuple[Any, ...]:
        return lr, 1 - lr * o["weight_decay"]

    @staticmethod
    def update(o: Any, p: Any, g: Any, u: Any, lr: Any, kept: Any, **_: Any) -> tuple[Any, ...]:
        u = u + (1 - o["momentum"]) * (g - u)
        direction = g + o["momentum"] * (u - g) if o["nesterov"] else u
        rows, columns = int(np.prod(p.shape[:-1])), p.shape[-1]
        ratio = {"original": max(1, columns / rows) ** 0.5, "match_rms_adamw": 0.2 * max(rows, columns) ** 0.5}
        turned = orthogonalized(direction.reshape((rows, columns)), o["steps"], o["eps"]).reshape(p.shape)
        return kept * p - lr * ratio[o["adjust"]] * turned, u


def orthogonalized(m: Any, steps: int = 5, eps: float = 1e-7) -> Any:
    """A matrix with about the singular vectors of this one and singular values between 0.7 and 1.2, by Newton-Schulz
    iterations."""
    a, b, c = _COEFFICIENTS
    wide = m.shape[0] > m.shape[1]
    x = m.T if wide else m
    x = x / np.maximum(np.sqrt(SUM.on(x * x)), eps)
    product = MATMUL.on  # as a captured step computes it
    for _ in range(steps):
        s = product(x, x.T)
        x = a * x + product(b * s + c * product(s, s), x)
    return x.T if wide else x


class Muon(Optimizer):
    """Muon (Jordan, 2024): the average of gradients of a hidden matrix, with its singular values made 1. One optimizer
    for all parameters: it takes the hidden matrices, and AdamW the rest.

        u = momentum * u + (1 - momentum) * g             nesterov: g + momentum * (u - g) is taken below
        q = orthogonalized(u)                             of a convolution's kernel: (kh * kw * in, out)
        p = p * (1 - lr * weight_decay)
        p = p - lr * sqrt(max(1, out / in)) * q           adjust="match_rms_adamw": 0.2 * sqrt(max(in, out))

    Hidden are all matrices and kernels but tables of embeddings and the last one in the order of definition, which
    makes the outputs; `hidden(name, parameter)` decides instead. `rest` are options of AdamW, such as
    `{"lr": 3e-4, "weight_decay": 0.1}`. Give a Module: a bare list of Tensors has no names, and its order counts.
    """

    def __init__(
        self,
        params: Any,
        lr: Rate = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        *,
        nesterov: bool = True,
        steps: int = 5,
        adjust: str = "original",
        eps: float = 1e-7,
        hidden: Predicate | None = None,
        rest: Mapping[str, Any] | None = None,
    ):
        found = groups_of(params, "Muon")
        if len(found) > 1 or found[0][1]:
            raise TypeError("Muon: makes the groups itself; give a Module or a list, and hidden=, rest= for options")
        pairs = found[0][0]
        last = next((p for _, p in reversed(pairs) if is_matrix(p)), None)
        tables = _embeddings(params)

        def default(name: str, p: Any) -> bool:
            return is_matrix(p) and p is not last and id(p) not in tables and p.dtype.kind == "f"

        chosen = {id(p): (hidden or default)(name, p) for name, p in pairs}
        for name, p in pairs:
            if chosen[id(p)] and (p.ndim < 2 or p.dtype.kind != "f"):
                raise ValueError(f"Muon: parameter {name!r} of shape {p.shape} and dtype {p.dtype} is no real matrix")
        own = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov, "steps": steps}
        self._options: dict[str, dict[str, Any]] = {
            "muon": {**own, "adjust": adjust, "eps": eps},
            "adamw": {"lr": 3e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False},
        }
        self._options["adamw"] = self.options_of({"rule": "adamw", **(rest or {})})
        for rule in self._options:
            self.check(self.options_of({"rule": rule}))
        parts = [([pair for pair in pairs if chosen[id(pair[1])] == which], which) for which in (True, False)]
        groups = [{"params": part, "rule": "muon" if which else "adamw"} for part, which in parts if part]
        super().__init__(groups or pairs, lr)

    def options_of(self, own: Mapping[str, Any]) -> dict[str, Any]:
        rule = own.get("rule", "muon")
        if rule not in self._options:
            raise ValueError(f"Muon: the rule of a group is 'muon' or 'adamw', got {rule!r}")
        return merged("Muon", {"rule": rule, **self._options[rule]}, own)

    def check(self, options: Mapping[str, Any]) -> None:
        if options["rule"] == "adamw":
            in_range("Muon", options, betas=(0, 1), eps=(0, None), weight_decay=(0, None))
            return
        in_range("Muon", options, momentum=(0, 1), weight_decay=(0, None), steps=(1, None), eps=(0, None))
        if options["adjust"] not in ("original", "match_rms_adamw"):
            raise ValueError(f"Muon: adjust is 'original' or 'match_rms_adamw', got {options['adjust']!r}")

    def rule_of(self, group: Group) -> type[Rule]:
        return _Orthogonal if group.options["rule"] == "muon" else AdamW
