"""The two models of the deep-learning-systems course: a small residual net for images, and a language model."""

from __future__ import annotations

from typing import Any

import needle
from needle import Tensor, nn


def conv_bn(a: int, b: int, kernel: int, stride: int, **kind: Any) -> nn.Module:
    """Convolution, batch normalization, relu."""
    return nn.Sequential(nn.Conv(a, b, kernel, stride=stride, **kind), nn.BatchNorm2d(b, **kind), nn.ReLU())


class ResNet9(nn.Module):
    """Images (n, 3, 32, 32) -> logits (n, 10); 431,946 parameters.

    For other images, give the number of `channels`, of `classes`, and the images' `side`.
    """

    def __init__(
        self, device: Any = None, dtype: Any = "float32", *, channels: int = 3, classes: int = 10, side: int = 32
    ):
        kind = {"device": device, "dtype": dtype}
        for stride in (4, 2, 2, 2):
            side = -(-side // stride)
        self.layers = nn.Sequential(
            conv_bn(channels, 16, 7, 4, **kind),
            conv_bn(16, 32, 3, 2, **kind),
            nn.Residual(nn.Sequential(conv_bn(32, 32, 3, 1, **kind), conv_bn(32, 32, 3, 1, **kind))),
            conv_bn(32, 64, 3, 2, **kind),
            conv_bn(64, 128, 3, 2, **kind),
            nn.Residual(nn.Sequential(conv_bn(128, 128, 3, 1, **kind), conv_bn(128, 128, 3, 1, **kind))),
            nn.Flatten(),
            nn.Linear(128 * side * side, 128, **kind),
            nn.ReLU(),
            nn.Linear(128, classes, **kind),
        )

    def forward(self, x: Any) -> Tensor:
        return self.layers(x)


class LanguageModel(nn.Module):
    """Tokens (length, batch) -> logits (length * batch, output_size) for the next ones, and the state after the last.

    `seq_model` is "rnn", "lstm" or "transformer" (which has no state: None). A transformer of `num_layers` blocks sees
    at most `seq_len` tokens.
    """

    def __init__(  # noqa: PLR0917  (the course's signature)
        self,
        embedding_size: int,
        output_size: int,
        hidden_size: int,
        num_layers: int = 1,
        seq_model: str = "rnn",
        seq_len: int = 40,
        device: Any = None,
        dtype: Any = "float32",
    ):
        kind = {"device": device, "dtype": dtype}
        self.seq_model = seq_model
        self.embedding = nn.Embedding(output_size, embedding_size, **kind)
        width = hidden_size
        self.model: Any
        if seq_model in ("rnn", "lstm"):
            layers = nn.RNN if seq_model == "rnn" else nn.LSTM
            self.model = layers(embedding_size, hidden_size, num_layers, **kind)
        elif seq_model == "transformer":
            heads = next(h for h in (4, 2, 1) if embedding_size % h == 0)
            self.positions = nn.Embedding(seq_len, embedding_size, **kind)
            self.model = nn.TransformerEncoder(embedding_size, heads, num_layers, hidden_size, **kind)
            width = embedding_size
        else:
            raise ValueError(f"LanguageModel: seq_model must be 'rnn', 'lstm' or 'transformer', got {seq_model!r}")
        self.linear = nn.Linear(width, output_size, **kind)

    def forward(self, x: Any, h: Any = None) -> tuple[Tensor, Any]:
        """Logits, and the state to go on with; `h` is the state after the tokens before, None for zeros."""
        length, batch = x.shape
        embedded = self.embedding(x)
        if self.seq_model == "transformer":
            places = needle.Tensor(list(range(length)), requires_grad=False)
            rows = needle.numpy.swapaxes(embedded, 0, 1) + self.positions(places)
            out, h = needle.numpy.swapaxes(self.model(rows, causal=True), 0, 1), None
        else:
            out, h = self.model(embedded, h)
        return self.linear(out.reshape((length * batch, out.shape[-1]))), h
