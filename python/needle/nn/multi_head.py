"""Multi-head attention."""

from __future__ import annotations

from typing import Any

from .. import init, ops
from ..autograd import as_value
from ..backend import Device
from ..ops.attention import attention_weights
from .dropout import Dropout
from .inputs import as_input
from .linear import Linear
from .module import Module
from .parameter import Parameter
from .torch_state import TorchName, row, transposed


class MultiHeadAttention(Module):
    """Attention of queries to keys, which gives a mean of values, in so many heads, each on its part of the width.

    q is (..., queries, dim), k and v (..., keys, dim); without k and v, a sequence attends to itself. The boolean mask
    says what may be seen, True: (queries, keys), (N, queries, keys) or (N, heads, queries, keys), also with 1 for a
    length. A padding mask (N, keys) is `mask[:, None, :]`. `causal`: query i sees the keys up to i only. A query that
    may see nothing gets the output for 0. With `return_weights`, also the weights, (..., heads, queries, keys), before
    dropout. `rotary` are RotaryPositions of width dim / heads.

    `in_proj_weight` is (dim, 3 * dim), for q, k and v side by side, `in_proj_bias` (1, 3 * dim): first values are
    U(-a, a) with a = sqrt(6 / (4 * dim)), biases 0, as in PyTorch.
    """

    in_proj_weight: Any
    in_proj_bias: Any

    def __init__(
        self,
        dim: int,
        heads: int,
        dropout: float = 0.0,
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        bias: bool = True,
        rotary: Any = None,
        rng: init.Rng = None,
    ):
        if heads < 1 or dim % heads:
            raise ValueError(f"MultiHeadAttention: dim={dim} must be a multiple of heads={heads}")
        self.dim, self.heads = dim, heads
        rng = None if rng is None else init.generator(rng)
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.in_proj_weight = Parameter(init.xavier_uniform(dim, 3 * dim, rng=rng, **options))
        self.in_proj_bias = Parameter(init.zeros(1, 3 * dim, **options)) if bias else None
        self.out_proj = Linear(dim, dim, bias, device, dtype, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.rotary = rotary
        if bias:
            self.out_proj.bias.data = init.zeros(1, dim, dtype=dtype)

    def reset_parameters(self, rng: init.Rng = None) -> None:
        rng = None if rng is None else init.generator(rng)
        weight = init.xavier_uniform(self.dim, 3 * self.dim, rng=rng, dtype=self.in_proj_weight.dtype)
        self.in_proj_weight.data = weight
        self.out_proj.reset_parameters(rng)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                bias.data = init.zeros(*bias.shape, dtype=bias.dtype)

    def forward(
        self,
        q: Any,
        k: Any = None,
        v: Any = None,
        mask: Any = None,
        causal: bool = False,
        return_weights: bool = False,
    ) -> Any:
        q, k, v = self._projected(q, k, v)
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        weights = attention_weights(q, k, self._mask(mask, q.ndim), causal)
        found = ops.transpose(self.dropout(weights) @ v, (-3, -2))
        out = self.out_proj(found.reshape((*found.shape[:-2], self.dim)))
        return (out, weights) if return_weights else out

    def _projected(self, q: Any, k: Any, v: Any) -> tuple[Any, Any, Any]:
        """q, k and v times their parts of the weight, each (..., heads, length, depth): in one product where several
        are the same."""
        k = q if k is None else k
        v = k if v is None else v
        found: list[Any] = []
        first = 0
        for last, (x, after) in enumerate(zip((q, k, v), (k, v, None), strict=True), 1):
            if x is not after:
                found += self._heads(x, first, last)
                first = last
        return found[0], found[1], found[2]

    def _heads(self, x: Any, first: int, last: int) -> list[Any]:
        x = as_input(x, self.in_proj_weight, self)
        if x.ndim < 2 or x.shape[-1] != self.dim:
            raise ValueError(f"MultiHeadAttention: needs inputs of shape (..., length, {self.dim}), got {x.shape}")
        weight, bias, count = self.in_proj_weight, self.in_proj_bias, last - first
        if count < 3:
            columns = slice(first * self.dim, last * self.dim)
            weight, bias = weight[:, columns], None if bias is None else bias[:, columns]
        y = x @ weight
        if bias is not None:
            y = y + bias
        y = y.reshape((*x.shape[:-1], count, self.heads, self.dim // self.heads))
        return [ops.transpose(y[..., i, :, :], (-3, -2)) for i in range(count)]

    def _mask(self, mask: Any, ndim: int) -> Any:
        """The mask with an axis for the heads."""
        if mask is None:
            return None
        mask = as_value(mask)
        return mask.reshape((mask.shape[0], 1, *mask.shape[1:])) if mask.ndim == 3 and ndim > 3 else mask

    def extra_repr(self) -> str:
        return f"{self.dim}, {self.heads}{'' if self.in_proj_bias is not None else ', bias=False'}"

    def torch_names(self) -> dict[str, TorchName]:
        names = {"in_proj_weight": transposed("in_proj_weight")}
        return names if self.in_proj_bias is None else {**names, "in_proj_bias": row("in_proj_bias")}
