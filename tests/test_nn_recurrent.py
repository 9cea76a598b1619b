"""Recurrent layers: beside PyTorch, beside plain NumPy step by step, and beside each sequence alone."""

from __future__ import annotations

from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, nn
from numpy.testing import assert_allclose, assert_array_equal
from samples.recurrent import np_gru, np_lstm, np_rnn

LAYERS = ["RNN", "RNN relu", "GRU", "LSTM"]
CELLS = {"RNN": "rnn_cells", "GRU": "gru_cells", "LSTM": "lstm_cells"}
STEPS, BATCH, INPUTS, SIZE = 6, 4, 3, 5


def layer_of(kind: str, **options: Any) -> Any:
    name, _, relu = kind.partition(" ")
    return getattr(nn, name)(INPUTS, SIZE, rng=0, **({"nonlinearity": relu} if relu else {}), **options)


def arrays_for(layer: Any, seed: int = 1, dtype: Any = "float64") -> tuple[Any, Any]:
    """An input and a state."""
    rng = np.random.default_rng(seed)
    shape = layer.num_layers * (1 + layer.bidirectional), BATCH, SIZE
    states = [rng.standard_normal(shape).astype(dtype) for _ in range(1 + isinstance(layer, nn.LSTM))]
    first = (BATCH, STEPS) if layer.batch_first else (STEPS, BATCH)
    x = rng.standard_normal((*first, INPUTS)).astype(dtype)
    return x, states[0] if len(states) == 1 else tuple(states)


def flat(out: Any) -> list[Any]:
    """The output and the last states."""
    y, state = out
    return [y, *(state if isinstance(state, tuple) else [state])]


def weighted(outs: list[Any], seed: int = 5) -> Any:
    rng = np.random.default_rng(seed)
    return sum((y * rng.standard_normal(tuple(y.shape)).astype(y.dtype)).sum() for y in outs)


def everything(layer: Any, x: Any, state: Any = None, lengths: Any = None) -> dict[str, Any]:
    """Values, and the gradients by the input, the state and the parameters."""
    x = Tensor(x)
    state = state if state is None else tuple(map(Tensor, state)) if isinstance(state, tuple) else Tensor(state)
    outs = flat(layer(x, state, lengths))
    weighted(outs).backward()
    states = {} if state is None else dict(enumerate(state if isinstance(state, tuple) else [state]))
    found = {f"out {i}": y.numpy() for i, y in enumerate(outs)}
    found |= {"by x": x.grad.numpy()} | {f"by state {i}": s.grad.numpy() for i, s in states.items()}
    return found | {name: p.grad.numpy() for name, p in layer.named_parameters()}


# ------------------------------------------------------------------------------------------------- beside PyTorch


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 3, "bidirectional": True}, {"bias": False, "batch_first": True}]
)
@pytest.mark.parametrize("kind", LAYERS)
def test_values_and_gradients_are_pytorchs(kind, options, dtype):
    torch = pytest.importorskip("torch")
    layer = layer_of(kind, dtype=dtype, **options)
    name, _, relu = kind.partition(" ")
    theirs = getattr(torch.nn, name)(INPUTS, SIZE, **({"nonlinearity": relu} if relu else {}), **options)
    theirs = theirs.to(getattr(torch, dtype))
    names = nn.torch_state_dict(layer)
    theirs.load_state_dict({name: torch.from_numpy(a) for name, a in names.items()})
    x, state = arrays_for(layer, dtype=dtype)
    found = everything(layer, x, state)

    x = torch.tensor(x, requires_grad=True)
    given = [torch.tensor(s, requires_grad=True) for s in (state if isinstance(state, tuple) else [state])]
    outs = flat(theirs(x, tuple(given) if len(given) > 1 else given[0]))
    rng = np.random.default_rng(5)
    total = 0
    for y in outs:
        total = total + (y * torch.tensor(rng.standard_normal(tuple(y.shape)).astype(dtype))).sum()
    total.backward()
    tolerance = {"float32": 1e-5, "float64": 1e-10}[dtype]
    for i, y in enumerate(outs):
        assert_allclose(found[f"out {i}"], y.detach().numpy(), rtol=tolerance, atol=tolerance)
    gradients = {"by x": x.grad} | {f"by state {i}": s.grad for i, s in enumerate(given)}
    for name, g in gradients.items():
        assert_allclose(found[name], g.numpy(), rtol=tolerance, atol=tolerance)
    by_name = {name: p.grad for name, p in theirs.named_parameters()}
    for name, entry in layer.torch_names().items():
        assert_allclose(entry.save(found[name]), by_name[entry.name].numpy(), rtol=tolerance, atol=4 * tolerance)


@pytest.mark.parametrize("kind", LAYERS)
def test_packed_sequences_of_pytorch_are_lengths(kind):
    torch = pytest.importorskip("torch")
    layer = layer_of(kind, num_layers=2, bidirectional=True, dtype="float64")
    name, _, relu = kind.partition(" ")
    theirs = getattr(torch.nn, name)(
        INPUTS, SIZE, num_layers=2, bidirectional=True, **({"nonlinearity": relu} if relu else {})
    ).double()
    theirs.load_state_dict({name: torch.from_numpy(a) for name, a in nn.torch_state_dict(layer).items()})
    x, _ = arrays_for(layer)
    lengths = [4, 6, 1, 3]
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(x), lengths, enforce_sorted=False)
    y, state = theirs(packed)
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y)
    for got, want in zip(flat(layer(x, lengths=lengths)), flat((y, state)), strict=True):
        assert_allclose(got.numpy(), want.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_cells_are_pytorchs(kind):
    torch = pytest.importorskip("torch")
    cell = getattr(nn, kind)(INPUTS, SIZE, dtype="float64", rng=0)
    theirs = getattr(torch.nn, kind)(INPUTS, SIZE).double()
    theirs.load_state_dict({name: torch.from_numpy(a) for name, a in nn.torch_state_dict(cell).items()})
    x = np.random.default_rng(2).standard_normal((BATCH, INPUTS))
    got, want = cell(x), theirs(torch.tensor(x))
    for g, w in zip(got if isinstance(got, tuple) else [got], want if isinstance(want, tuple) else [want], strict=True):
        assert_allclose(g.numpy(), w.detach().numpy(), rtol=1e-12, atol=1e-12)


# --------------------------------------------------------------------------------------------- beside plain NumPy


def by_hand(layer: Any, x: Any, state: Any) -> list[Any]:
    """A layer of one direction, by the formulas of the cells."""
    states = state if isinstance(state, tuple) else (state,)
    ends = []
    for k, cell in enumerate(getattr(layer, CELLS[type(layer).__name__])):
        w, b = cell.W_ih.numpy(), cell.bias_ih.numpy()
        start = [s[k] for s in states]
        if isinstance(layer, nn.GRU):
            h, *_ = np_gru(x @ w + b, cell.W_hh.numpy(), cell.bias_hh.numpy(), *start)
            histories = [h]
        else:
            z = x @ w + b + cell.bias_hh.numpy()
            function = np_lstm if isinstance(layer, nn.LSTM) else np_rnn(layer.nonlinearity == "relu")
            found = function(z, cell.W_hh.numpy(), *start)
            histories = list(found[:2]) if isinstance(found, tuple) else [found]
        x = histories[0][1:]
        ends.append([h[-1] for h in histories])
    return [x, *map(np.stack, zip(*ends, strict=True))]


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_are_their_cells_step_by_step(kind):
    layer = layer_of(kind, num_layers=2, dtype="float64")
    x, state = arrays_for(layer)
    for got, want in zip(flat(layer(x, state)), by_hand(layer, x, state), strict=True):
        assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)
    cells = getattr(layer, CELLS[type(layer).__name__])
    states = [[s[k] for s in (state if isinstance(state, tuple) else [state])] for k in range(2)]
    out = []
    for step in x:
        for k, cell in enumerate(cells):
            given = tuple(states[k]) if len(states[k]) > 1 else states[k][0]
            new = cell(step, given)
            states[k] = list(new) if isinstance(new, tuple) else [new]
            step = states[k][0]
        out.append(step.numpy())
    assert_allclose(layer(x, state)[0].numpy(), np.stack(out), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_are_the_derivatives(kind):
    layer = layer_of(kind, num_layers=2, bidirectional=True, dtype="float64")
    x, state = arrays_for(layer)
    lengths = [6, 0, 2, 5]
    rng = np.random.default_rng(3)
    directions = [rng.standard_normal(p.shape) for p in layer.parameters()]
    values = [p.numpy() for p in layer.parameters()]
    by_x = rng.standard_normal(x.shape)

    def moved(step: float) -> float:
        for p, value, direction in zip(layer.parameters(), values, directions, strict=True):
            p.data = Tensor(value + step * direction)
        return weighted(flat(layer(x + step * by_x, state, lengths))).item()

    expected = (moved(1e-5) - moved(-1e-5)) / 2e-5
    moved(0)
    found = everything(layer, x, state, lengths)
    slope = np.sum(found["by x"] * by_x)
    for (name, _), direction in zip(layer.named_parameters(), directions, strict=True):
        slope += np.sum(found[name] * direction)
    assert_allclose(slope, expected, rtol=1e-6)


# -------------------------------------------------------------------------------------------------------- lengths


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_lengths_are_each_sequence_alone(kind, bidirectional, seed):
    layer = layer_of(kind, num_layers=2, bidirectional=bidirectional, dtype="float64")
    x, state = arrays_for(layer, seed)
    rng = np.random.default_rng(seed)
    lengths = np.append(rng.integers(0, STEPS + 1, BATCH - 2), [0, STEPS])
    padded = x.copy()
    for n, length in enumerate(lengths):
        padded[length:, n] = np.nan
    padded = Tensor(padded)
    states = tuple(map(Tensor, state if isinstance(state, tuple) else (state,)))
    y, *last = flat(layer(padded, states if len(states) > 1 else states[0], lengths))
    weighted([y, *last]).backward()
    found = {name: p.grad.numpy() for name, p in layer.named_parameters()}
    for p in layer.parameters():
        p.grad = None

    rng = np.random.default_rng(5)
    weights = [rng.standard_normal(a.shape) for a in (y, *last)]
    total: Any = 0
    alone_x = [Tensor(x[:length, n : n + 1]) for n, length in enumerate(lengths)]
    alone_states = [[Tensor(s.numpy()[:, n : n + 1]) for s in states] for n in range(BATCH)]
    for n, length in enumerate(lengths):
        given = tuple(alone_states[n]) if len(states) > 1 else alone_states[n][0]
        out, *ends = flat(layer(alone_x[n], given))
        assert_allclose(y.numpy()[:length, n], out.numpy()[:, 0], rtol=1e-12, atol=1e-12)
        assert_array_equal(y.numpy()[length:, n], 0)
        for got, want in zip(last, ends, strict=True):
            assert_allclose(got.numpy()[:, n], want.numpy()[:, 0], rtol=1e-12, atol=1e-12)
        total = total + (out[:, 0] * weights[0][:length, n]).sum()
        total = total + sum((end[:, 0] * w[:, n]).sum() for end, w in zip(ends, weights[1:], strict=True))
    total.backward()
    for name, p in layer.named_parameters():
        assert_allclose(found[name], p.grad.numpy(), rtol=1e-10, atol=1e-12)
    for n, length in enumerate(lengths):
        assert_allclose(padded.grad.numpy()[:length, n], alone_x[n].grad.numpy()[:, 0], rtol=1e-10, atol=1e-12)
        assert_array_equal(padded.grad.numpy()[length:, n], 0)
        for s, alone in zip(states, alone_states[n], strict=True):
            assert_allclose(s.grad.numpy()[:, n], alone.grad.numpy()[:, 0], rtol=1e-10, atol=1e-12)


def test_lengths_that_are_none():
    layer = nn.LSTM(INPUTS, SIZE)
    x = np.zeros((STEPS, BATCH, INPUTS))
    with pytest.raises(ValueError, match=r"LSTM: lengths\[2\] is 7; a sequence has from 0 to 6 steps here"):
        layer(x, lengths=[1, 6, 7, 0])
    with pytest.raises(ValueError, match=r"LSTM: lengths must be of shape \(4,\), .* got \(3,\)"):
        layer(x, lengths=[1, 2, 3])
    with pytest.raises(TypeError, match="LSTM: lengths must be whole numbers"):
        layer(x, lengths=[1, 2, 2.5, 3])
    with pytest.raises(TypeError, match="LSTM: lengths must be whole numbers"):
        layer(x, lengths=[1, 2, np.nan, 3])
    with pytest.raises(ValueError, match=r"LSTM: lengths\[0\] is -inf; a sequence has from 0 to 6 steps here"):
        layer(x, lengths=[-np.inf, 2, 2, 3])
    assert_array_equal(layer(x, lengths=Tensor([1.0, 2, 3, 0]))[0].numpy(), layer(x, lengths=[1, 2, 3, 0])[0].numpy())


def test_other_lengths_need_no_other_capture():
    layer = nn.LSTM(INPUTS, SIZE, dtype="float64", rng=0)
    rng = np.random.default_rng(0)

    @needle.compile
    def loss(x, lengths):
        return (layer(x, lengths=lengths)[0] ** 2).sum()

    for _ in range(6):
        x, lengths = rng.standard_normal((STEPS, BATCH, INPUTS)), rng.integers(0, STEPS + 1, BATCH)
        found = loss(Tensor(x), Tensor(lengths))
        found.backward()
        compiled = layer.lstm_cells[0].W_hh.grad.numpy()
        plain = (layer(x, lengths=lengths)[0] ** 2).sum()
        plain.backward()
        assert_allclose(found.item(), plain.item(), rtol=1e-12)
        assert_allclose(compiled, layer.lstm_cells[0].W_hh.grad.numpy(), rtol=1e-10)


# -------------------------------------------------------------------------------------------------------- edges


@pytest.mark.parametrize("kind", LAYERS)
def test_one_sequence_without_a_batch(kind):
    layer = layer_of(kind, num_layers=2, bidirectional=True)
    x, state = arrays_for(layer)
    one = tuple(s[:, 1] for s in state) if isinstance(state, tuple) else state[:, 1]
    for alone, all_of_them in zip(flat(layer(x[:, 1], one)), flat(layer(x, state)), strict=True):
        assert_allclose(alone.numpy(), all_of_them.numpy()[:, 1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_no_steps_and_no_sequences(kind):
    layer = layer_of(kind, num_layers=2)
    _, state = arrays_for(layer)
    y, *last = flat(layer(np.zeros((0, BATCH, INPUTS)), state))
    assert y.shape == (0, BATCH, SIZE)
    for got, given in zip(last, state if isinstance(state, tuple) else [state], strict=True):
        assert_allclose(got.numpy(), given.astype("float32"))
    y, *last = flat(layer(np.zeros((STEPS, 0, INPUTS))))
    assert y.shape == (STEPS, 0, SIZE)
    weighted([y, *last]).backward()
    assert all((p.grad.numpy() == 0).all() for p in layer.parameters())


@pytest.mark.parametrize("kind", LAYERS)
def test_second_derivatives_and_forward_mode(kind):
    layer = layer_of(kind, num_layers=2, bidirectional=True, dtype="float64")
    x, state = arrays_for(layer)
    lengths = [6, 0, 2, 5]

    def loss(x):
        return (weighted(flat(layer(x, state, lengths))) * 0.3).tanh() * 2

    direction = np.random.default_rng(8).standard_normal(x.shape)
    gradient = needle.grad(loss)
    expected = (gradient(x + 1e-5 * direction) - gradient(x - 1e-5 * direction)) / 2e-5
    assert_allclose(needle.hvp(loss, (x,), (direction,)), expected, rtol=1e-6, atol=1e-7)
    _, slope = needle.jvp(loss, (x,), (direction,))
    assert_allclose(slope, np.sum(gradient(x) * direction), rtol=1e-10)


def test_wrong_inputs_name_the_layer():
    layer = nn.LSTM(INPUTS, SIZE, batch_first=True)
    x = np.zeros((BATCH, STEPS, INPUTS))
    with pytest.raises(ValueError, match=r"LSTM: the input must be of shape \(batch, steps, 3\), .* got \(4, 6, 2\)"):
        layer(x[..., :2])
    with pytest.raises(TypeError, match=r"LSTM: the state must be a pair \(h, c\) or None, got ndarray"):
        layer(x, np.zeros((1, BATCH, SIZE)))
    with pytest.raises(ValueError, match=r"LSTM: a state must be of shape \(1, 4, 5\) for this input, got \(4, 1, 5\)"):
        layer(x, (np.zeros((BATCH, 1, SIZE)),) * 2)
    with pytest.raises(ValueError, match=r'RNN.*: nonlinearity must be "tanh" or "relu"'):
        nn.RNN(INPUTS, SIZE, nonlinearity="selu")
    with pytest.raises(ValueError, match="GRU: num_layers must be at least 1, got 0"):
        nn.GRU(INPUTS, SIZE, num_layers=0)
    with pytest.raises(ValueError, match="GRU: dropout must be a probability"):
        nn.GRU(INPUTS, SIZE, dropout=1.5)
    with pytest.raises(ValueError, match=r"RNNCell: the input must be of shape \(batch, 3\) or \(3,\), got \(2, 4\)"):
        nn.RNNCell(INPUTS, SIZE)(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="LSTMCell: needs input_size >= 0 and hidden_size >= 1, got 3 and 0"):
        nn.LSTMCell(INPUTS, 0)


def test_tensors_assigned_as_weights_get_their_gradients():
    """As the course's tests do it."""
    layer = nn.LSTM(INPUTS, SIZE, 2)
    weight = Tensor(np.full((INPUTS, 4 * SIZE), 0.1, "float32"))
    layer.lstm_cells[0].W_ih = weight
    layer.lstm_cells[1].bias_hh = Tensor(np.zeros(4 * SIZE, "float32"))
    out, _ = layer(Tensor(np.ones((STEPS, BATCH, INPUTS), "float32")), None)
    out.sum().backward()
    assert weight.grad.shape == weight.shape
    assert layer.lstm_cells[1].bias_hh.grad.shape == (4 * SIZE,)
    assert len(layer.parameters()) == 8


def test_first_values_are_uniform_in_the_courses_order():
    np.random.seed(0)
    cell = nn.LSTMCell(INPUTS, SIZE)
    np.random.seed(0)
    bound = 1 / np.sqrt(SIZE)
    for name, shape in [("W_ih", (3, 20)), ("W_hh", (5, 20)), ("bias_ih", (20,)), ("bias_hh", (20,))]:
        drawn = np.random.rand(*shape) * 2 * bound - bound
        assert_allclose(getattr(cell, name).numpy(), drawn, rtol=1e-5, atol=1e-7)
    layer = nn.GRU(INPUTS, SIZE, num_layers=2, bidirectional=True, bias=False, rng=3)
    before = layer.state_dict()
    layer.reset_parameters(4)
    assert all((before[name] != value).all() for name, value in layer.state_dict().items())
    assert all(p.dtype == np.float32 for p in layer.parameters())


def test_states_go_through_pytorchs_names():
    layer = nn.LSTM(INPUTS, SIZE, num_layers=2, bidirectional=True, rng=0)
    state = nn.torch_state_dict(layer)
    assert state["weight_ih_l1_reverse"].shape == (4 * SIZE, 2 * SIZE)
    assert_array_equal(state["weight_hh_l0"], layer.lstm_cells[0].W_hh.numpy().T)
    assert_array_equal(state["bias_ih_l0_reverse"], layer.reverse_cells[0].bias_ih.numpy())
    other = nn.LSTM(INPUTS, SIZE, num_layers=2, bidirectional=True, rng=1)
    nn.load_torch(other, state)
    for a, b in zip(other.parameters(), layer.parameters(), strict=True):
        assert_array_equal(a.numpy(), b.numpy())


def test_dropout_is_between_layers_in_training():
    layer = nn.GRU(INPUTS, SIZE, num_layers=2, dropout=0.5, rng=0)
    x, _ = arrays_for(layer)
    np.random.seed(0)
    first = layer(x)[0].numpy()
    assert np.abs(layer(x)[0].numpy() - first).max() > 1e-3
    layer.eval()
    assert_array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())
    one = nn.GRU(INPUTS, SIZE, dropout=0.5, rng=0)
    assert_array_equal(one(x)[0].numpy(), one(x)[0].numpy())
    none = nn.GRU(INPUTS, SIZE, num_layers=2, bias=False, dropout=1.0, rng=0)
    assert_array_equal(none(x)[0].numpy(), 0)


def test_wrong_operands_name_the_op():
    z, w, b, h = np.zeros((3, 2, 6)), np.zeros((2, 6)), np.zeros(6), np.zeros((2, 2))
    for changed, message in [
        ({"w": w.T}, r"GRUSequence: w must be of shape \(H, 3 \* H\), .* got \(6, 2\)"),
        ({"z": z[..., 1:]}, r"GRUSequence: z must be of shape \(steps, ..., 6\), .* got \(3, 2, 5\)"),
        ({"b": b[1:]}, r"GRUSequence: the bias must be of shape \(6,\)"),
        ({"h": h[0]}, "GRUSequence: a state must have the axes of z without the first, and 2 as its last"),
        ({"h": np.zeros((3, 2))}, r"GRUSequence: the batch axes of z, \(2,\), and of the states, .* must broadcast"),
        ({"runs": np.ones((3, 2), bool)}, r"GRUSequence: the mask must be of shape \(3, 2, 1\), got \(3, 2\)"),
        ({"runs": np.ones((3, 2, 1))}, "GRUSequence: the mask must be of booleans, got dtype float64"),
    ]:
        with pytest.raises(ValueError, match=message):
            needle.ops.gru(**({"z": z, "w": w, "b": b, "h": h} | changed))
    with pytest.raises(TypeError, match="GRUSequence: needs real numbers, got complex128"):
        needle.ops.gru(z * 1j, w, b, h)


def test_a_summary_counts_cells_and_their_products():
    layer = nn.LSTM(INPUTS, SIZE, num_layers=2, bidirectional=True)
    found = nn.summary(layer, (STEPS, BATCH, INPUTS))
    assert "not called" not in str(found)
    inner = [INPUTS, 2 * SIZE]
    assert found.multiply_adds == sum(2 * STEPS * BATCH * 4 * SIZE * (size + SIZE) for size in inner)
