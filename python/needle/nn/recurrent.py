"""Recurrent layers: RNN, GRU and LSTM over whole sequences, several layers deep, in one direction or both.

A layer is its cells (cells.py), one for each of the stacked layers and directions.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import init, ops
from ..autograd import Tensor, constant
from ..backend import Device
from ..ops.discrete import discrete
from .cells import Cell, GRUCell, LSTMCell, RNNCell, names_in_torch
from .inputs import as_input
from .module import Module
from .torch_state import TorchName


class _Recurrent(Module):
    """Stacked cells, run over whole sequences."""

    cell: ClassVar[type[Cell]]
    cells: ClassVar[str]
    """The attribute that holds the cells of all layers."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        batch_first: bool = False,
        bidirectional: bool = False,
        dropout: float = 0.0,
        rng: init.Rng = None,
    ):
        if num_layers < 1:
            raise ValueError(f"{type(self).__name__}: num_layers must be at least 1, got {num_layers}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"{type(self).__name__}: dropout must be a probability, from 0 to 1, got {dropout!r}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.bidirectional = batch_first, bidirectional
        self.dropout = dropout
        rng = init.generator(rng)
        directions = 2 if bidirectional else 1
        made: list[list[Cell]] = [[] for _ in range(directions)]
        for layer in range(num_layers):
            size = input_size if layer == 0 else hidden_size * directions
            for cells in made:
                cells.append(self._cell(size, bias, device=device, dtype=dtype, rng=rng))
        setattr(self, self.cells, made[0])
        if bidirectional:
            self.reverse_cells = made[1]

    def _cell(self, size: int, bias: bool, **options: Any) -> Cell:
        """A cell for inputs of this size."""
        return self.cell(size, self.hidden_size, bias, **options)

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> Any:
        x = self._time_first(x)
        runs = None if lengths is None else self._runs(lengths, x)
        x = x if runs is None else ops.masked(x, runs)
        layers = list(zip(*self._cells(), strict=True))
        count = sum(map(len, layers))
        states = layers[0][0].states_of(state, (count, *x.shape[1:-1], self.hidden_size), self)
        starts = list(zip(*states, strict=True))
        ends: list[list[Any]] = []
        for k, cells in enumerate(layers):
            if k and self.dropout and self.training:
                x = ops.dropout(x, self.dropout)
            outs = []
            for cell, way in zip(cells, (slice(None), slice(None, None, -1)), strict=False):
                seen = x if cell is cells[0] else x[way]
                mask = runs if runs is None or cell is cells[0] else runs[way]
                histories = cell(seen, list(starts[len(ends)]), along=True, runs=mask)
                outs.append(histories[0][1:][way])
                ends.append([history[-1] for history in histories])
            x = outs[0] if len(outs) == 1 else ops.concatenate(outs, -1)
        x = x if runs is None else ops.masked(x, runs)
        if self.batch_first and x.ndim == 3:
            x = ops.permute_dims(x, (1, 0, 2))
        last = tuple([ops.stack(each) for each in zip(*ends, strict=True)])
        return x, last if len(last) > 1 else last[0]

    def _time_first(self, x: Any) -> Any:
        """The input in the dtype of the weights, its axes in the order of computing."""
        x = as_input(x, self._cells()[0][0].W_ih, self)
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            layout = "batch, steps" if self.batch_first else "steps, batch"
            raise ValueError(
                f"{type(self).__name__}: the input must be of shape ({layout}, {self.input_size}), or "
                f"(steps, {self.input_size}) for one sequence, got {x.shape}"
            )
        return ops.permute_dims(x, (1, 0, 2)) if self.batch_first and x.ndim == 3 else x

    def _cells(self) -> list[list[Cell]]:
        """The cells of each direction."""
        forth = getattr(self, self.cells)
        return [forth, self.reverse_cells] if self.bidirectional else [forth]

    def _runs(self, lengths: Any, x: Any) -> Any:
        """The mask of the steps that each sequence has."""
        given = lengths if isinstance(lengths, Tensor) else constant(np.array(lengths))
        return discrete(running, given, shape=x.shape[:-1], layer=type(self).__name__)

    def torch_names(self) -> dict[str, TorchName]:
        found: dict[str, TorchName] = {}
        for where, cells, suffix in zip((self.cells, "reverse_cells"), self._cells(), ("", "_reverse"), strict=False):
            for layer, cell in enumerate(cells):
                found |= names_in_torch(cell, f"{where}.{layer}.", f"_l{layer}{suffix}")
        return found

    def extra_repr(self) -> str:
        options = {"num_layers": 1, "batch_first": False, "bidirectional": False, "dropout": 0}
        said = [f", {name}={getattr(self, name)}" for name, usual in options.items() if getattr(self, name) != usual]
        return f"{self.input_size}, {self.hidden_size}{''.join(said)}"


def running(lengths: Any, shape: tuple[int, ...], layer: str) -> Any:
    """Whether a sequence has a step, for inputs of this shape (steps, ...), with a last axis of length 1."""
    steps, batch = shape[0], shape[1:]
    if lengths.shape != batch:
        raise ValueError(f"{layer}: lengths must be of shape {batch}, one for each sequence, got {lengths.shape}")
    if lengths.dtype.kind not in "iuf" or (np.rint(lengths) != lengths).any():
        raise TypeError(f"{layer}: lengths must be whole numbers, got dtype {lengths.dtype}: {lengths!r:.60}")
    outside = (lengths < 0) | (lengths > steps)
    if outside.any():
        i = int(outside.argmax())
        raise ValueError(f"{layer}: lengths[{i}] is {lengths.flat[i]}; a sequence has from 0 to {steps} steps here")
    return (np.arange(steps).reshape(-1, *[1] * len(batch)) < lengths)[..., None]


class RNN(_Recurrent):
    """Layers of `RNNCell`, which are `rnn_cells`: (out, h) of (x, state=None, lengths=None).

    Shapes, and what `lengths` and the options mean, are those of `LSTM`; the state is h.
    """

    cell, cells = RNNCell, "rnn_cells"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        batch_first: bool = False,
        bidirectional: bool = False,
        dropout: float = 0.0,
        rng: init.Rng = None,
    ):
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, device, dtype,
            batch_first=batch_first, bidirectional=bidirectional, dropout=dropout, rng=rng,
        )  # fmt: skip

    def _cell(self, size: int, bias: bool, **options: Any) -> Cell:
        return RNNCell(size, self.hidden_size, bias, self.nonlinearity, **options)


class GRU(_Recurrent):
    """Layers of `GRUCell`, which are `gru_cells`: (out, h) of (x, state=None, lengths=None).

    Shapes, and what `lengths` and the options mean, are those of `LSTM`; the state is h.
    """

    cell, cells = GRUCell, "gru_cells"


class LSTM(_Recurrent):
    """Layers of `LSTMCell`, which are `lstm_cells`: (out, (h, c)) of (x, state=None, lengths=None).

    x is (steps, batch, input_size), or (batch, steps, input_size) with batch_first=True, or (steps, input_size) for one
    sequence; out is alike. h and c are (num_layers, batch, hidden_size), also with batch_first; None is zeros.

    With `lengths`, one for each sequence of the batch, out is 0 after a sequence's end, h and c are those at its end,
    and what x has after it does not matter, be it NaN. A sequence of no steps keeps its state.

    With `bidirectional`, a second cell of each layer (`reverse_cells`) goes backward from each sequence's end. Its
    outputs stand beside the other's, and its states follow the other's in h and c, which then have two for each layer.
    `dropout` is the probability with which an output is dropped on its way into the next layer, in training.

    >>> from needle import nn
    >>> lstm = nn.LSTM(5, 8, num_layers=2, bidirectional=True)
    >>> out, (h, c) = lstm(np.ones((7, 3, 5)), lengths=[7, 2, 0])
    >>> out.shape, h.shape
    ((7, 3, 16), (4, 3, 8))
    >>> bool((out[2:, 1] == 0).all())
    True
    """

    cell, cells = LSTMCell, "lstm_cells"
