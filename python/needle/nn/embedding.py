"""Rows of a table, looked up by their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import init
from ..autograd import Tensor, constant
from ..backend import Device
from ..ops import getitem, where
from ..ops.discrete import discrete
from ..transforms import stop_gradient
from .module import Module
from .parameter import Parameter


class Embedding(Module):
    """weight[ids]: of ids of any shape, (..., embedding_dim).

    ids are whole numbers from 0 to num_embeddings - 1, of any dtype; others raise an error that says where they are.
    `weight` is (num_embeddings, embedding_dim), drawn from the standard normal distribution. The row `padding_idx`
    begins as 0 and has no gradient, so training leaves it as it is.

    >>> from needle import nn
    >>> nn.Embedding(10, 3)([[1, 2], [4, 5]]).shape
    (2, 2, 3)
    """

    weight: Any

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        padding_idx: int | None = None,
        rng: init.Rng = None,
    ):
        self._describe(num_embeddings, embedding_dim, padding_idx)
        self.weight = Parameter(self._drawn({"device": device, "dtype": dtype}, rng))

    @classmethod
    def from_pretrained(cls, weight: Any, freeze: bool = True, padding_idx: int | None = None) -> Embedding:
        """An Embedding with the rows of this table, (num_embeddings, embedding_dim), which training leaves as they are
        unless freeze=False."""
        rows = weight.numpy() if isinstance(weight, Tensor) else np.asarray(weight)
        if rows.ndim != 2:
            raise ValueError(f"Embedding.from_pretrained: the table must have two axes, got shape {rows.shape}")
        layer = cls.__new__(cls)
        layer._describe(rows.shape[0], rows.shape[1], padding_idx)
        layer.weight = Parameter(rows, requires_grad=not freeze)
        return layer

    def _describe(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None) -> None:
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx must lie in 0..{num_embeddings - 1}, got {padding_idx}")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings

    def _drawn(self, options: dict[str, Any], rng: init.Rng) -> Any:
        weight = init.randn(self.num_embeddings, self.embedding_dim, rng=rng, **options)
        if self.padding_idx is not None:
            weight = weight * (np.arange(self.num_embeddings) != self.padding_idx)[:, None]
        return weight

    def reset_parameters(self, rng: init.Rng = None) -> None:
        self.weight.data = self._drawn({"dtype": self.weight.dtype}, rng)

    def forward(self, ids: Any) -> Any:
        given = ids if isinstance(ids, Tensor) else constant(np.array(ids))
        places = discrete(row_numbers, given, count=self.num_embeddings)
        rows = getitem(self.weight, places)
        if self.padding_idx is None:
            return rows
        is_padding = (places == self.padding_idx).reshape((*places.shape, 1))
        return where(is_padding, stop_gradient(rows), rows)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


def row_numbers(ids: Any, count: int) -> Any:
    """The ids as integers."""
    if ids.dtype.kind not in "iuf":
        raise TypeError(f"Embedding: ids must be whole numbers, got dtype {ids.dtype}")
    outside = ~((ids >= 0) & (ids < count))  # NaN, too
    if outside.any():
        raise IndexError(f"Embedding: {_first(ids, outside)}; for {count} rows it must lie in 0..{count - 1}")
    rows = ids.astype(np.intp)
    if ids.dtype.kind == "f" and (broken := rows != ids).any():
        raise TypeError(f"Embedding: {_first(ids, broken)}, which is no whole number")
    return rows


def _first(ids: Any, wrong: Any) -> str:
    place = tuple(map(int, np.argwhere(wrong)[0]))
    return f"ids{list(place) if place else ''} is {ids[place]}"
