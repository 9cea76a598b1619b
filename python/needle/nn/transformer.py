"""Transformers: layers of attention and a network by position, each with a path around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import init
from ..backend import Device
from . import activations
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .multi_head import MultiHeadAttention
from .normalization import LayerNorm

Activation = str | Callable[[Any], Any]


class _Layer(Module):
    """What layers of encoders and decoders have in common."""

    def _make(self, hidden: int | None, dropout: float, norm_first: bool, activation: Activation, **own: Any) -> None:
        dim, options, rng = own["dim"], own["options"], own["rng"]
        hidden = 4 * dim if hidden is None else hidden
        self.norm_first = norm_first
        self.activation = _activation(type(self).__name__, activation)
        self.linear1 = Linear(dim, hidden, rng=rng, **options)
        self.linear2 = Linear(hidden, dim, rng=rng, **options)
        self.dropout = Dropout(dropout, rng=rng)

    def _around(self, x: Any, norm: Any, inner: Callable[[Any], Any]) -> Any:
        """x plus what `inner` makes of it, with a normalization before it or after the sum."""
        if self.norm_first:
            return x + self.dropout(inner(norm(x)))
        return norm(x + self.dropout(inner(x)))

    def _by_position(self, x: Any) -> Any:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then two linear layers with an activation between: inputs and outputs (..., T, dim).

    `hidden` is the width between, by default 4 * dim. Dropout is applied to attention weights, to the activation, and
    to what is added to the path around. `norm_first` normalizes before attention and network, else after the sums.
    `mask` and `causal` are those of MultiHeadAttention: with causal=True this is a layer of a language model.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int | None = None,
        dropout: float = 0.0,
        norm_first: bool = True,
        *,
        activation: Activation = "gelu",
        rotary: Any = None,
        device: Device | None = None,
        dtype: Any = "float32",
        rng: init.Rng = None,
    ):
        rng = None if rng is None else init.generator(rng)
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.self_attn = MultiHeadAttention(dim, heads, dropout, rotary=rotary, rng=rng, **options)
        self._make(hidden, dropout, norm_first, activation, dim=dim, options=options, rng=rng)
        self.norm1, self.norm2 = LayerNorm(dim, **options), LayerNorm(dim, **options)

    def forward(self, x: Any, mask: Any = None, causal: bool = False) -> Any:
        x = self._around(x, self.norm1, lambda y: self.self_attn(y, mask=mask, causal=causal))
        return self._around(x, self.norm2, self._by_position)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to what an encoder made, and a network by position: inputs and outputs (..., T, dim).

    `mask` and `causal`, by default True, are for self-attention; `memory_mask` for attention to the memory.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int | None = None,
        dropout: float = 0.0,
        norm_first: bool = True,
        *,
        activation: Activation = "gelu",
        rotary: Any = None,
        device: Device | None = None,
        dtype: Any = "float32",
        rng: init.Rng = None,
    ):
        rng = None if rng is None else init.generator(rng)
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.self_attn = MultiHeadAttention(dim, heads, dropout, rotary=rotary, rng=rng, **options)
        self.multihead_attn = MultiHeadAttention(dim, heads, dropout, rng=rng, **options)
        self._make(hidden, dropout, norm_first, activation, dim=dim, options=options, rng=rng)
        self.norm1, self.norm2, self.norm3 = [LayerNorm(dim, **options) for _ in range(3)]

    def forward(self, x: Any, memory: Any, mask: Any = None, memory_mask: Any = None, causal: bool = True) -> Any:
        x = self._around(x, self.norm1, lambda y: self.self_attn(y, mask=mask, causal=causal))
        x = self._around(x, self.norm2, lambda y: self.multihead_attn(y, memory, mask=memory_mask))
        return self._around(x, self.norm3, self._by_position)


class _Stack(Module):
    """Layers one after the other, each with weights of its own, and a normalization at the end."""

    layer: Any

    def __init__(
        self,
        dim: int,
        heads: int,
        layers: int,
        hidden: int | None = None,
        dropout: float = 0.0,
        *,
        norm_first: bool = True,
        activation: Activation = "gelu",
        final_norm: bool | None = None,
        rotary: Any = None,
        device: Device | None = None,
        dtype: Any = "float32",
        rng: init.Rng = None,
    ):
        rng = None if rng is None else init.generator(rng)
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.layers = [
            self.layer(
                dim, heads, hidden, dropout, norm_first, activation=activation, rotary=rotary, rng=rng, **options
            )
            for _ in range(layers)
        ]
        final_norm = norm_first if final_norm is None else final_norm
        self.norm = LayerNorm(dim, **options) if final_norm else None

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        for layer in self.layers:
            x = layer(x, *args, **kwargs)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """So many TransformerEncoderLayers; arguments of a call are theirs. `final_norm=None` adds a LayerNorm at the end
    if `norm_first`: nothing else normalizes the sum there.

    >>> from needle import init, nn
    >>> model = nn.TransformerEncoder(16, heads=4, layers=2)
    >>> model(init.randn(3, 5, 16), causal=True).shape
    (3, 5, 16)
    """

    layer = TransformerEncoderLayer

    def forward(self, x: Any, mask: Any = None, causal: bool = False) -> Any:
        return super().forward(x, mask, causal)


class TransformerDecoder(_Stack):
    """So many TransformerDecoderLayers, which all attend to the same memory; arguments of a call are theirs."""

    layer = TransformerDecoderLayer

    def forward(self, x: Any, memory: Any, mask: Any = None, memory_mask: Any = None, causal: bool = True) -> Any:
        return super().forward(x, memory, mask, memory_mask, causal)


def _activation(name: str, activation: Activation) -> Callable[[Any], Any]:
    if callable(activation):
        return activation
    known = {"gelu": activations.gelu, "relu": activations.relu, "silu": activations.silu, "tanh": activations.tanh}
    if activation not in known:
        raise ValueError(f"{name}: activation must be a function or one of {', '.join(known)}, got {activation!r}")
    return known[activation]
