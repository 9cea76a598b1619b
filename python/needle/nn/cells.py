"""Cells of recurrent layers: RNN, GRU and LSTM for one step, or along a whole sequence as one op."""

from __future__ import annotations

from math import sqrt
from typing import Any, ClassVar

import numpy as np

from .. import init, ops
from ..autograd import constant
from ..backend import Device
from .inputs import as_input
from .module import Module
from .parameter import Parameter
from .torch_state import TorchName, transposed

WEIGHTS = {"W_ih": "weight_ih", "W_hh": "weight_hh", "bias_ih": "bias_ih", "bias_hh": "bias_hh"}
"""Our names and PyTorch's."""


class Cell(Module):
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

    def forward(self, x: Any, state: Any = None, *, along: bool = False, runs: Any = None) -> Any:
        """The next state; with `along`, as a layer calls it, what `along` returns of a list of states."""
        if along:
            return self.along(x, state, runs)
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


def names_in_torch(cell: Cell, prefix: str, suffix: str) -> dict[str, TorchName]:
    """What PyTorch calls the weights of a cell, which it has output first."""
    names = {name: other + suffix for name, other in WEIGHTS.items() if getattr(cell, name) is not None}
    return {
        prefix + name: TorchName(other) if name.startswith("bias") else transposed(other)
        for name, other in names.items()
    }


class RNNCell(Cell):
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


class GRUCell(Cell):
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


class LSTMCell(Cell):
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
