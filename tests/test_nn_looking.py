"""Looking into a model: summaries, and what its modules return."""

import models
import numpy as np
import pytest
from needle import Tensor, nn


class Net(nn.Module):
    def __init__(self):
        self.blocks = [nn.Residual(nn.Linear(3, 3, rng=i)) for i in range(2)]
        self.relu = nn.ReLU()
        self.unused = nn.Linear(3, 7)
        self.scale = nn.Parameter(np.ones((3, 5)), dtype="float32")
        self.count = nn.Buffer(np.zeros((), int))

    def forward(self, x):
        assert not self.training
        for block in self.blocks:
            x = self.relu(block(x))
        return np.random.rand() * 0 + x @ self.scale


def test_a_summary_counts_calls_parameters_and_products():
    summary = nn.summary(Net(), (4, 3))
    found = [(row.name, row.inputs, row.output, row.parameters, row.multiply_adds) for row in summary.rows]
    assert found == [
        ("", "(4,3)", "(4,5)", 67, 132),
        ("blocks.0", "(4,3)", "(4,3)", 12, 36),
        ("blocks.0.fn", "(4,3)", "(4,3)", 12, 36),
        ("relu", "(4,3)", "(4,3)", 0, 0),
        ("blocks.1", "(4,3)", "(4,3)", 12, 36),
        ("blocks.1.fn", "(4,3)", "(4,3)", 12, 36),
        ("relu", "(4,3)", "(4,3)", None, 0),
        ("unused", "", "not called", 28, 0),
    ]
    assert (summary.trainable, summary.frozen, summary.bytes, summary.parameters) == (67, 0, 67 * 4 + 8, 67)
    assert summary.multiply_adds == 132
    assert all(row.seconds > 0 for row in summary.rows[:-1])
    lines = repr(summary).split("\n")
    assert lines[0].split() == ["module", "input", "output", "parameters", "multiply-adds", "ms"]
    assert [line.split("  (")[0].rstrip() for line in lines[2:5]] == ["Net", "  blocks.0 Residual", "    fn Linear"]
    assert "counted above" in lines[8]
    assert lines[-1] == "67 trainable and 0 frozen parameters, 276 bytes"
    assert "fn Linear" not in repr(nn.summary(Net(), (4, 3), depth=1))


COUNTS = {
    "Linear": ((4, 5), (3, 2, 4), 3 * 2 * 4 * 5),
    "Conv2d": ((4, 6, 3), (2, 4, 8, 8), 2 * 6 * 6 * 6 * 4 * 9),
    "ConvTranspose2d": ((4, 6, 3), (2, 4, 8, 8), 2 * 8 * 8 * 4 * 6 * 9),
    "RNN": ((4, 5), (7, 2, 4), 7 * 2 * (4 + 5) * 5),
    "GRU": ((4, 5), (7, 2, 4), 7 * 2 * (4 + 5) * 15),
    "LSTM": ((4, 5), (7, 2, 4), 7 * 2 * (4 + 5) * 20),
}


@pytest.mark.parametrize("name", COUNTS)
def test_multiply_adds_of_a_layer(name):
    arguments, shape, expected = COUNTS[name]
    assert nn.summary(getattr(nn, name)(*arguments), shape).multiply_adds == expected


def test_a_summary_changes_nothing():
    model = Net()
    model.blocks[0].eval()
    flags = [module.training for module in model.modules()]
    np.random.seed(1)
    state = np.random.get_state()
    nn.summary(model, (2, 3))
    now = np.random.get_state()
    assert (state[1] == now[1]).all()
    assert state[2:] == now[2:]
    assert [module.training for module in model.modules()] == flags
    assert all(p.grad is None for p in model.parameters())


def test_the_summary_of_a_residual_net_counts_431946_parameters_and_changes_nothing():
    np.random.seed(2)
    model = models.ResNet9()
    model(Tensor(np.random.default_rng(0).random((2, 3, 32, 32)), requires_grad=False))  # running statistics of its own
    model.layers[3].eval()
    model.layers[7].requires_grad_(False)
    buffers = {name: buffer.numpy() for name, buffer in model.named_buffers()}
    values = {name: (p.numpy(), p.requires_grad, p.grad) for name, p in model.named_parameters()}
    flags = [module.training for module in model.modules()]
    before, generator = np.random.get_state(), np.random.default_rng(4)
    drawn = generator.bit_generator.state
    summary = nn.summary(model, (1, 3, 32, 32))
    assert summary.parameters == 431_946 == summary.trainable + summary.frozen
    assert "431,946" in repr(model).split("\n")[0]
    assert summary.frozen == 128 * 128 + 128
    assert "415,434 trainable and 16,512 frozen parameters" in repr(summary)
    assert summary.rows[0].output == "(1,10)"
    now = np.random.get_state()
    assert (before[1] == now[1]).all() and before[2:] == now[2:]
    assert generator.bit_generator.state == drawn
    assert [module.training for module in model.modules()] == flags
    assert len(buffers) == 16
    for name, buffer in model.named_buffers():
        np.testing.assert_array_equal(buffer.numpy(), buffers[name])
    for name, p in model.named_parameters():
        array, needs, grad = values[name]
        np.testing.assert_array_equal(p.numpy(), array)
        assert p.requires_grad is needs
        assert p.grad is grad is None


def test_a_summary_draws_nothing_from_a_models_own_generator():
    rng = np.random.default_rng(4)
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5, rng=rng), nn.Linear(3, 2))
    before = rng.bit_generator.state
    nn.summary(model, (2, 3))
    assert rng.bit_generator.state == before


def test_a_summary_takes_arrays_and_waiting_layers():
    model = nn.Sequential(nn.Linear(None, 2))
    assert nn.summary(model, np.ones((3, 4))).parameters == 10
    assert nn.summary(model, Tensor(np.ones((3, 5)))).parameters == 12
    assert "Pending" in repr(vars(model[0])["weight"])
    assert nn.summary(nn.Identity(), (2, 2)).rows[0].output == "(2,2)"
    with pytest.raises(TypeError, match="an input is an array, a Tensor or a shape"):
        nn.summary(model, "x")
    double = nn.Sequential(nn.Linear(2, 2, dtype="float64"), nn.Function(lambda x: x.dtype == np.float64 and x))
    assert nn.summary(double, (1, 2)).rows[0].output == "(1,2)"


def test_without_inputs_it_is_the_table_of_parameters():
    model = Net().requires_grad_(False, "blocks.*")
    lines = [line.split() for line in repr(nn.summary(model)).split("\n")]
    assert lines[2] == ["blocks.0.fn.weight", "(3,", "3)", "float32", "9", "frozen"]
    assert lines[8] == ["scale", "(3,", "5)", "float32", "15"]
    assert lines[9] == ["count", "()", "int64", "1", "buffer"]
    assert lines[-1][:6] == ["43", "trainable", "and", "24", "frozen", "parameters,"]


def test_what_modules_return_is_recorded_in_the_graph():
    model = nn.Sequential(nn.Linear(3, 4, rng=0), nn.Tanh(), nn.Linear(4, 2, rng=1))
    x = np.ones((5, 3))
    with nn.record(model, "0", "1") as seen:
        y = model(x)
    assert list(seen) == ["0", "1"]
    assert len(seen) == 2
    assert seen["1"].shape == (5, 4)
    seen["1"].retain_grad()
    y.sum().backward()
    np.testing.assert_allclose(seen["1"].grad.numpy(), np.ones((5, 2)) @ model[2].weight.numpy().T, rtol=1e-6)
    model(x)
    assert len(seen.calls["1"]) == 1  # not within the block
    with pytest.raises(KeyError, match="'2' is not recorded"):
        seen["2"]


def test_all_calls_of_all_modules():
    model = Net().eval()
    with nn.record(model) as outer, nn.record(model, "blocks.*") as inner:
        y = model(np.ones((1, 3)))
    assert outer[""] is y
    assert len(outer.calls["relu"]) == 2
    assert list(inner) == ["blocks.0.fn", "blocks.0", "blocks.1.fn", "blocks.1"]
    with pytest.raises(KeyError, match="'unused' was not called"):
        outer["unused"]


def test_an_error_ends_the_recording():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="in_features"), nn.record(model) as seen:
        model(np.ones((1, 3)))
    model(np.ones((1, 2)))
    assert len(seen) == 0


def test_a_pattern_that_matches_none_is_refused():
    with pytest.raises(ValueError, match=r"no module of Net matches 'block\.0'; the closest is 'blocks\.0'"):
        nn.record(Net(), "block.0")
