"""Recurrent layers: RNN, GRU, LSTM, and their cells, which take one step.

A layer is its cells, one for each of the stacked layers and directions; each runs over the whole sequence as one op.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, ClassVar

import numpy as np

from .. import init, ops
from ..autograd import Tensor, constant
from ..backend import Device
from ..ops.discrete import discrete
from .inputs import as_input
from .module import Module
from .parameter import Parameter
from .torch_state import TorchName, transposed

WEIGHTS = {"W_ih": "weight_ih", "W_hh": "weight_hh", "bias_ih": "bias_ih", "bias_hh": "bias_hh"}
"""Our names and PyTorch's."""


class _Cell(Module):
    """A cell: its weights, and the way it goes along a sequence."""

    gates: ClassVar[int]
    """How many gates lie side by side in the weights."""
    states: ClassVar[int] = 1
    """How many states it has."""
    W_ih: Any
    W_hh: Any
    bias_ih: Any
    bias_hh: Any

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        rng: init.Rng = None,
    ):
        if input_size < 0 or hidden_size < 1:
            raise ValueError(
                f"{type(self).__name__}: needs input_size >= 0 and hidden_size >= 1, got {input_size} and {hidden_size}"
            )
        self.input_size, self.hidden_size = input_size, hidden_size
        drawn = self._drawn(bias, {"device": device, "dtype": dtype}, init.generator(rng))
        for name in WEIGHTS:
            setattr(self, name, Parameter(drawn[name]) if name in drawn else None)

    def _drawn(self, bias: bool, options: dict[str, Any], rng: Any) -> dict[str, Any]:
        width, bound = self.gates * self.hidden_size, 1 / sqrt(self.hidden_size)
        shapes: dict[str, Any] = {"W_ih": (self.input_size, width), "W_hh": (self.hidden_size, width)}
        shapes |= {"bias_ih": (width,), "bias_hh": (width,)} if bias else {}
        return {name: init.rand(*shape, low=-bound, high=bound, rng=rng, **options) for name, shape in shapes.items()}

    def reset_parameters(self, rng: init.Rng = None) -> None:
        drawn = self._drawn(self.bias_ih is not None, {"dtype": self.W_ih.dtype}, init.generator(rng))
        for name, value in drawn.items():
            getattr(self, name).data = value

    def forward(self, x: Any, state: Any = None) -> Any:
        x = as_input(x, self.W_ih, self)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__}: the input must be of shape (batch, {self.input_size}) or "
                f"({self.input_size},), got {x.shape}"
            )
        states = self.states_of(state, (*x.shape[:-1], self.hidden_size), self)
        found = [history[1] for history in self.along(x.reshape((1, *x.shape)), states)]
        return found[0] if self.states == 1 else tuple(found)

    def states_of(self, state: Any, shape: tuple[int, ...], layer: Any) -> list[Any]:
        """The states that were given to a layer, in the dtype of the weights and of this shape; zeros for None."""
        if state is None:
            return [constant(np.zeros(shape, self.W_hh.dtype)) for _ in range(self.states)]
        name = type(layer).__name__
        if self.states > 1 and not (isinstance(state, (tuple, list)) and len(state) == self.states):
            raise TypeError(f"{name}: the state must be a pair (h, c) or None, got {type(state).__name__}")
        found = [as_input(s, self.W_hh, layer) for s in (state if self.states > 1 else (state,))]
        for s in found:
            if s.shape != shape:
                raise ValueError(f"{name}: a state must be of shape {shape} for this input, got {s.shape}")
        return found

    def along(self, x: Any, states: list[Any], runs: Any = None) -> list[Any]:
        """The states of all steps along x, (steps, ..., input_size), those at the start first. `runs` is a mask of the
        steps that each sequence has."""
        raise NotImplementedError

    def _input_product(self, x: Any) -> Any:
        """x @ W_ih with both biases, for all steps at once."""
        z = x @ self.W_ih
        return z if self.bias_ih is None else z + (self.bias_ih + self.bias_hh)

    def torch_names(self) -> dict[str, TorchName]:
        return names_in_torch(self, "", "")

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}{'' if self.bias_ih is not None else ', bias=False'}"


def names_in_torch(cell: _Cell, prefix: str, suffix: str) -> dict[str, TorchName]:
    """What PyTorch calls the weights of a cell, which it has output first."""
    names = {name: other + suffix for name, other in WEIGHTS.items() if getattr(cell, name) is not None}
    return {
        prefix + name: TorchName(other) if name.startswith("bias") else transposed(other)
        for name, other in names.items()
    }


class RNNCell(_Cell):
    """h' = tanh(x @ W_ih + bias_ih + h @ W_hh + bias_hh), or with nonlinearity="relu" relu of it.

    x is (batch, input_size), h, its state, (batch, hidden_size), or both without the batch; None for the state is
    zeros. `W_ih` is (input_size, hidden_size), `W_hh` (hidden_size, hidden_size). All are drawn from U(-a, a) with
    a = 1 / sqrt(hidden_size), W_ih, W_hh, bias_ih, bias_hh in turn.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Device | None = None,
        dtype: Any = "float32",
        *,
        rng: init.Rng = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'{type(self).__name__}: nonlinearity must be "tanh" or "relu", got {nonlinearity!r}')
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, device, dtype, rng=rng)

    def along(self, x: Any, states: list[Any], runs: Any = None) -> list[Any]:
        z = self._input_product(x)
        return [ops.rnn(z, self.W_hh, states[0], runs, relu=self.nonlinearity == "relu")]

    def extra_repr(self) -> str:
        return super().extra_repr() + (', nonlinearity="relu"' if self.nonlinearity == "relu" else "")


class GRUCell(_Cell):
    """A gated recurrent unit: with the blocks r, u, n of q = h @ W_hh + bias_hh and of z = x @ W_ih + bias_ih,

        r, u = sigmoid(z + q);  n = tanh(z + r * q);  h' = (1 - u) * n + u * h

    x is (batch, input_size), h, its state, (batch, hidden_size), or both without the batch; None for the state is
    zeros. `W_ih` is (input_size, 3 * hidden_size), `W_hh` (hidden_size, 3 * hidden_size), the blocks side by side. All
    are drawn from U(-a, a) with a = 1 / sqrt(hidden_size). Cho et al. 2014, arXiv:1406.1078; as in PyTorch, the reset
    gate is applied after the product.
    """

    gates = 3

    def along(self, x: Any, states: list[Any], runs: Any = None) -> list[Any]:
        z, bias = x @ self.W_ih, self.bias_hh
        if self.bias_ih is not None:
            z = z + self.bias_ih
        else:
            bias = constant(np.zeros(self.W_hh.shape[1], self.W_hh.dtype))
        return [ops.gru(z, self.W_hh, bias, states[0], runs)[0]]


class LSTMCell(_Cell):
    """Long short-term memory: with the blocks i, f, g, o of z = x @ W_ih + bias_ih + h @ W_hh + bias_hh,

        i, f, o = sigmoid(z);  g = tanh(z);  c' = f * c + i * g;  h' = o * tanh(c')

    x is (batch, input_size), the state (h, c) a pair of (batch, hidden_size), or all without the batch; None for the
    state is zeros. The result is (h', c'). `W_ih` is (input_size, 4 * hidden_size), `W_hh` (hidden_size,
    4 * hidden_size), the blocks side by side. All are drawn from U(-a, a) with a = 1 / sqrt(hidden_size).
    """

    gates, states = 4, 2

    def along(self, x: Any, states: list[Any], runs: Any = None) -> list[Any]:
        h, c = states
        return list(ops.lstm(self._input_product(x), self.W_hh, h, c, runs))[:2]


class _Recurrent(Module):
    """Stacked cells, run over whole sequences."""

    cell: ClassVar[type[_Cell]]
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
        **more: Any,
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
        made: list[list[_Cell]] = [[] for _ in range(directions)]
        for layer in range(num_layers):
            size = input_size if layer == 0 else hidden_size * directions
            for cells in made:
                cells.append(self.cell(size, hidden_size, bias, device=device, dtype=dtype, rng=rng, **more))
        setattr(self, self.cells, made[0])
        if bidirectional:
            self.reverse_cells = made[1]

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
                histories = cell.along(seen, list(starts[len(ends)]), mask)
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

    def _cells(self) -> list[list[_Cell]]:
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
    whole = lengths.astype(np.intp) if lengths.dtype.kind in "iuf" else None
    if whole is None or (whole != lengths).any():
        raise TypeError(f"{layer}: lengths must be whole numbers, got dtype {lengths.dtype}: {lengths!r:.60}")
    outside = (whole < 0) | (whole > steps)
    if outside.any():
        i = int(outside.argmax())
        raise ValueError(f"{layer}: lengths[{i}] is {whole.flat[i]}; a sequence has from 0 to {steps} steps here")
    return (np.arange(steps).reshape(-1, *[1] * len(batch)) < whole)[..., None]


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
        **options: Any,
    ):
        options["nonlinearity"] = self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, num_layers, bias, device, dtype, **options)


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
