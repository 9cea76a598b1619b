"""Layers that are one product with a matrix."""

from __future__ import annotations

from math import prod
from typing import Any

from .. import init
from ..autograd import as_value
from ..backend import Device
from .inputs import as_input
from .module import Module
from .parameter import Parameter, Pending
from .torch_state import TorchName, row, transposed


class Linear(Module):
    """x @ weight + bias, for x of shape (..., in_features).

    `weight` is (in_features, out_features), `bias` (1, out_features). First values, as in the course:
    weight U(-a, a) with a = sqrt(6 / in_features), bias with a = sqrt(6 / out_features). `rng` is where they are drawn.
    With in_features=None, the first input decides; see `Module.materialize`.
    """

    weight: Any
    bias: Any

    def __init__(
        self,
        in_features: int | None,
        out_features: int,
        bias: bool = True,
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        rng: init.Rng = None,
    ):
        self.in_features, self.out_features = in_features, out_features
        if in_features is None:
            self.weight, self.bias = Pending(), Pending() if bias else None
            self._options: Any = {"device": device, "dtype": dtype}, rng
        else:
            self._make(bias, {"device": device, "dtype": dtype}, rng)

    def _make(self, bias: bool, options: dict[str, Any], rng: init.Rng) -> None:
        weight, row = self._drawn(bias, options, init.generator(rng))
        self.weight = Parameter(weight)
        self.bias = None if row is None else Parameter(row)

    def _drawn(self, bias: bool, options: dict[str, Any], rng: Any) -> tuple[Any, Any]:
        weight = init.kaiming_uniform(self.in_features, self.out_features, rng=rng, **options)  # type: ignore[arg-type]
        if not bias:
            return weight, None
        return weight, init.kaiming_uniform(self.out_features, 1, shape=(1, self.out_features), rng=rng, **options)

    def reset_parameters(self, rng: init.Rng = None) -> None:
        if self.in_features is not None:
            weight, row = self._drawn(self.bias is not None, {"dtype": self.weight.dtype}, init.generator(rng))
            self.weight.data = weight.astype(self.weight.dtype)
            if row is not None:
                self.bias.data = row.astype(self.bias.dtype)

    def forward(self, x: Any) -> Any:
        if self.in_features is None:
            self.in_features = as_value(x, "Linear").shape[-1]
            self._make(self.bias is not None, *self._options)
            del self._options
        x = as_input(x, self.weight, self)
        if not x.ndim or x.shape[-1] != self.in_features:
            is_image = x.ndim > 2 and prod(x.shape[1:]) == self.in_features
            raise ValueError(
                f"{type(self).__name__}: the last axis of the input must have in_features={self.in_features}, got "
                f"shape {x.shape}" + ("; nn.Flatten() before it makes rows of images" if is_image else "")
            )
        y = x @ self.weight
        if self.bias is None:
            return y
        return y + (self.bias if y.ndim > 1 else self.bias.reshape((self.out_features,)))

    def torch_names(self) -> dict[str, TorchName]:
        return {"weight": transposed("weight"), "bias": row("bias")}

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}{'' if self.bias is not None else ', bias=False'}"
