"""Models exported to ONNX: run by onnx.reference, and by ONNX Runtime where it is installed, at sizes of the batch that
they were not exported from."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from needle import Tensor, nn, ops

onnx = pytest.importorskip("onnx")
import needle.onnx.verify as verifying  # noqa: E402
from needle.onnx import ExportError, export  # noqa: E402
from needle.onnx.dims import Dim, Sampled, samples  # noqa: E402
from needle.onnx.errors import VariesError  # noqa: E402
from needle.onnx.rows import FUNCTIONS, ROWS  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

RUNTIMES = ["reference", *(["onnxruntime"] if find_spec("onnxruntime") else [])]


def run(model, inputs, runtime):
    """The outputs of a model for a list of inputs."""
    names = [value.name for value in model.graph.input]
    given = dict(zip(names, inputs, strict=True))
    if runtime == "reference":
        return ReferenceEvaluator(model).run(None, given)
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, given)


def flat(tree):
    return [leaf.numpy() if isinstance(leaf, Tensor) else leaf for leaf in needle.nested.flatten(tree)[0]]


def arrays_of(tree):
    return [leaf for leaf in needle.nested.flatten(tree)[0] if isinstance(leaf, np.ndarray)]


def assert_same(model, function, inputs, runtime="reference", tolerance=1e-5):
    """The model computes what the function does, with its dtypes."""
    with nn.evaluating(function) if isinstance(function, nn.Module) else needle.no_grad(), needle.no_grad():
        expected = flat(function(*inputs))
    found = run(model, arrays_of(inputs), runtime)
    assert len(found) == len(expected)
    for y, t in zip(found, expected, strict=True):
        assert y.dtype == t.dtype
        assert y.shape == t.shape
        np.testing.assert_allclose(y, t, rtol=tolerance, atol=tolerance * max(1, abs(t).max(initial=0)))


def kinds(model):
    return [node.op_type for node in model.graph.node]


def weights(model):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


RNG = np.random.default_rng(7)


def floats(*shape):
    return np.random.default_rng(sum(shape) + len(shape)).standard_normal(shape).astype(np.float32)


def integers(high, *shape):
    return np.random.default_rng(sum(shape)).integers(0, high, shape)


# ------------------------------------------------------------------------------------------------------------ networks


class GPT(nn.Module):
    def __init__(self, vocabulary=31, width=32, length=24):
        self.tokens = nn.Embedding(vocabulary, width, rng=0)
        self.positions = nn.LearnedPositions(length, width, rng=0)
        self.body = nn.TransformerEncoder(width, 4, 2, dropout=0.1, rng=0)
        self.head = nn.Linear(width, vocabulary, bias=False, rng=0)

    def forward(self, ids):
        return self.head(self.body(self.positions(self.tokens(ids)), causal=True))


class Tagger(nn.Module):
    def __init__(self, layer):
        self.tokens = nn.Embedding(31, 12, rng=0)
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (2 if layer.bidirectional else 1), 5, rng=0)

    def forward(self, ids):
        out, _ = self.layer(self.tokens(ids))
        return self.head(out[:, -1])


def cnn():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, rng=0),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Residual(nn.Sequential(nn.Conv(8, 8, 3, rng=0), nn.BatchNorm2d(8), nn.ReLU())),
        nn.Conv2d(8, 6, 3, stride=2, groups=2, rng=0),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(54, 10, rng=0),
    )
    for _ in range(3):
        model(floats(16, 3, 16, 16) * 2 + 1)  # so that the running statistics are some
    return model


NETWORKS = {
    "mlp": (
        lambda: nn.Sequential(
            nn.Linear(6, 20, rng=0), nn.Tanh(), nn.Dropout(0.3), nn.Linear(20, 3, rng=0), nn.Softmax()
        ),
        lambda n: floats(n, 6),
    ),
    "cnn": (cnn, lambda n: floats(n, 3, 16, 16)),
    "lstm": (lambda: Tagger(nn.LSTM(12, 9, 2, batch_first=True, rng=0)), lambda n: integers(31, n, 7)),
    "gru": (
        lambda: Tagger(nn.GRU(12, 9, 2, batch_first=True, bidirectional=True, rng=0)),
        lambda n: integers(31, n, 7),
    ),
    "gpt": (GPT, lambda n: integers(31, n, 16)),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_works_at_any_batch_size(name, runtime):
    make, inputs = NETWORKS[name]
    network = make()
    model = export(network, inputs(4))
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 17
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    for n in (1, 6, 17):
        assert_same(model, network, [inputs(n)], runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_can_be_exported_from_a_batch_of_one(name, runtime):
    make, inputs = NETWORKS[name]
    network = make()
    model = export(network, inputs(1))
    for n in (1, 3):
        assert_same(model, network, [inputs(n)], runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["lstm", "gru", "gpt"])
def test_two_axes_may_change(name, runtime):
    network = NETWORKS[name][0]()
    model = export(network, integers(31, 4, 12), dynamic={"ids": {0: "batch", 1: "time"}})
    assert [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", "time"]
    for n, steps in ((1, 1), (5, 20), (2, 3)):
        assert_same(model, network, [integers(31, n, steps)], runtime)


def test_no_shape_is_computed_where_the_batch_is_only_passed_on():
    for name in ("mlp", "cnn", "gpt"):
        make, inputs = NETWORKS[name]
        assert not {"Shape", "Expand"} & set(kinds(export(make(), inputs(4))))


def test_parameters_keep_their_names_and_dtypes():
    for make, inputs in NETWORKS.values():
        network = make()
        found = weights(export(network, inputs(2)))
        if not any(isinstance(module, (nn.LSTM, nn.GRU)) for module in network.modules()):
            assert {name for name, _ in network.named_parameters()} <= set(found)
        for name, p in network.named_parameters():
            if name in found:
                assert found[name].dtype == p.dtype
                assert found[name].size == p.size


def test_a_linear_layer_is_one_node_and_so_is_a_convolution_with_its_bias():
    assert kinds(export(nn.Linear(4, 3), floats(2, 4))) == ["Gemm"]
    assert kinds(export(nn.Conv2d(3, 4, 3), floats(2, 3, 8, 8))) == ["Conv"]
    assert kinds(export(nn.ConvTranspose2d(3, 4, 3), floats(2, 3, 8, 8))) == ["ConvTranspose"]
    assert kinds(export(nn.MaxPool2d(2), floats(2, 3, 8, 8))) == ["MaxPool"]
    assert kinds(export(nn.AvgPool2d(2), floats(2, 3, 8, 8))) == ["AveragePool"]
    assert kinds(export(nn.GlobalAvgPool2d(), floats(2, 3, 8, 8))) == ["ReduceMean"]
    assert kinds(export(nn.LayerNorm(4), floats(2, 4))) == ["LayerNormalization"]
    for affine in (True, False):
        assert kinds(export(nn.BatchNorm2d(3, affine=affine), floats(2, 3, 8, 8))) == ["BatchNormalization"]
    assert kinds(export(nn.BatchNorm1d(3), floats(2, 3))) == ["BatchNormalization"]
    assert set(kinds(export(cnn(), floats(2, 3, 16, 16)))) == {
        *("Conv", "BatchNormalization", "Relu", "MaxPool", "Add", "Reshape", "Gemm")
    }


def test_steps_of_a_batch_normalization_that_something_else_reads_stay():
    layer = nn.BatchNorm1d(3)

    def function(x):
        centred = x - layer.running_mean
        y = centred * (1 / ops.sqrt(layer.running_var + 1e-5))
        return y + 1, centred

    model = export(function, floats(4, 3))
    assert "BatchNormalization" not in kinds(model)
    assert_same(model, function, [floats(5, 3)])
    for other in (lambda x: (x - x[:, :1]) * 2, lambda x: (x - np.ones(3, "f")) * (1 / ops.sqrt(x + 5)) + x):
        assert_same(export(other, floats(4, 3)), other, [floats(5, 3)])


def test_neither_flags_nor_buffers_nor_random_numbers_change():
    network = cnn()
    network.train()
    network.modules[1].eval()
    flags = [module.training for module in network.modules()]
    state = network.state_dict()
    before = np.random.get_state()[1].copy()
    for function in (network, lambda x: network(x) * 2):
        export(function, floats(2, 3, 16, 16))
    assert [module.training for module in network.modules()] == flags
    assert all(np.array_equal(a, network.state_dict()[name]) for name, a in state.items())
    assert np.array_equal(np.random.get_state()[1], before)


# -------------------------------------------------------------------------------------------------------------- layers

IMAGES = lambda n: [floats(n, 4, 9, 8)]  # noqa: E731
SEQUENCES = lambda n: [floats(n, 4, 9)]  # noqa: E731
ROWS_OF_8 = lambda n: [floats(n, 5, 8)]  # noqa: E731
STEPS_FIRST = {"x": {0: "time", 1: "batch"}}


def same_shape(n):
    return [floats(n, 5), floats(n, 6)[:, :5]]


LAYERS = {
    **{
        cls.__name__: (cls, ROWS_OF_8)
        for cls in (
            *(nn.ELU, nn.GELU, nn.GLU, nn.SELU, nn.Hardsigmoid, nn.Hardswish, nn.LeakyReLU, nn.LogSigmoid),
            *(nn.LogSoftmax, nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.SiLU, nn.Softmax, nn.Softplus),
            *(nn.Tanh, nn.Identity, nn.Flatten, nn.Dropout),
        )
    },
    "GELU tanh": (lambda: nn.GELU("tanh"), ROWS_OF_8),
    "Softplus beta": (lambda: nn.Softplus(2.0), ROWS_OF_8),
    "PReLU channels": (lambda: nn.PReLU(5), ROWS_OF_8),
    "Function": (lambda: nn.Function(lambda x: x * x), ROWS_OF_8),
    "Dropout1d": (nn.Dropout1d, SEQUENCES),
    "Dropout2d": (nn.Dropout2d, IMAGES),
    "Linear": (lambda: nn.Linear(8, 3), ROWS_OF_8),
    "Linear rows": (lambda: nn.Linear(8, 3), lambda n: [floats(n, 8)]),
    "Linear of float64": (lambda: nn.Linear(8, 3), lambda n: [floats(n, 8).astype(np.float64)]),
    "Sequential": (lambda: nn.Sequential(nn.Linear(8, 3, bias=False), nn.ReLU()), ROWS_OF_8),
    "Residual": (lambda: nn.Residual(nn.Linear(8, 8)), ROWS_OF_8),
    "Embedding": (lambda: nn.Embedding(11, 4), lambda n: [integers(11, n, 5)]),
    "Embedding of floats": (lambda: nn.Embedding(11, 4, padding_idx=3), lambda n: [integers(11, n).astype(np.float32)]),
    "LearnedPositions": (lambda: nn.LearnedPositions(5, 8), ROWS_OF_8),
    "SinusoidalPositions": (lambda: nn.SinusoidalPositions(12, 8), ROWS_OF_8),
    "RotaryPositions": (lambda: nn.RotaryPositions(12, 8), ROWS_OF_8),
    "RotaryPositions interleaved": (lambda: nn.RotaryPositions(12, 8, interleaved=True), ROWS_OF_8),
    # normalization
    "BatchNorm1d": (lambda: nn.BatchNorm1d(5), ROWS_OF_8),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), IMAGES),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(4, affine=False), lambda n: [floats(n, 4, 3, 2, 5)]),
    "LayerNorm": (lambda: nn.LayerNorm((5, 8)), ROWS_OF_8),
    "LayerNorm without bias": (lambda: nn.LayerNorm(8, bias=False), ROWS_OF_8),
    "LayerNorm plain": (lambda: nn.LayerNorm(8, affine=False), ROWS_OF_8),
    "LayerNorm1d": (lambda: nn.LayerNorm1d(8), lambda n: [floats(n, 8)]),
    "RMSNorm": (lambda: nn.RMSNorm(8), ROWS_OF_8),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGES),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(4), SEQUENCES),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGES),
    # convolutions and pools
    "Conv": (lambda: nn.Conv(4, 6, 3, stride=2), IMAGES),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, dilation=2, padding="same"), SEQUENCES),
    "Conv1d NLC": (lambda: nn.Conv1d(9, 6, 3, padding=1, bias=False, layout="NLC"), SEQUENCES),
    "Conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=((1, 0), (2, 1))), IMAGES),
    "Conv2d groups": (lambda: nn.Conv2d(4, 8, 3, groups=4), IMAGES),
    "Conv2d NHWC": (lambda: nn.Conv2d(8, 6, 3, groups=2, layout="NHWC"), IMAGES),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1), SEQUENCES),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), padding=1), IMAGES),
    "ConvTranspose2d groups": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, padding=1), IMAGES),
    "ConvTranspose2d dilated": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), groups=2, dilation=2), IMAGES),
    "ConvTranspose2d output_padding": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=3, output_padding=2), IMAGES),
    "MaxPool1d": (lambda: nn.MaxPool1d(3, 2, 1, dilation=2), SEQUENCES),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGES),
    "MaxPool2d NHWC": (lambda: nn.MaxPool2d(2, layout="NHWC"), IMAGES),
    "AvgPool1d": (lambda: nn.AvgPool1d(3, 2, 1), SEQUENCES),
    "AvgPool2d": (lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True), IMAGES),
    "AvgPool2d without padding": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGES),
    "AdaptiveAvgPool1d": (lambda: nn.AdaptiveAvgPool1d(4), SEQUENCES),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((3, None)), IMAGES),
    "AdaptiveAvgPool2d uneven": (lambda: nn.AdaptiveAvgPool2d((4, 3)), IMAGES),
    "AdaptiveAvgPool2d 1": (lambda: nn.AdaptiveAvgPool2d(1), IMAGES),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, IMAGES),
    "GlobalMaxPool2d": (nn.GlobalMaxPool2d, IMAGES),
    # recurrent
    "RNNCell": (lambda: nn.RNNCell(8, 3), lambda n: [floats(n, 8)]),
    "GRUCell": (lambda: nn.GRUCell(8, 3), lambda n: [floats(n, 8), floats(n, 3)]),
    "LSTMCell": (lambda: nn.LSTMCell(8, 3, bias=False), lambda n: [floats(n, 8), (floats(n, 3), floats(n, 4)[:, :3])]),
    "RNN": (lambda: nn.RNN(8, 3), lambda n: [floats(6, n, 8)], STEPS_FIRST),
    "RNN relu": (lambda: nn.RNN(8, 3, nonlinearity="relu"), lambda n: [floats(6, n, 8)], STEPS_FIRST),
    "RNN of two layers": (lambda: nn.RNN(8, 3, 2, batch_first=True, bidirectional=True), ROWS_OF_8),
    "GRU": (lambda: nn.GRU(8, 3, 2, bidirectional=True), lambda n: [floats(6, n, 8)], STEPS_FIRST),
    "GRU without bias": (lambda: nn.GRU(8, 3, bias=False, batch_first=True), ROWS_OF_8),
    "LSTM": (lambda: nn.LSTM(8, 3, 2, bidirectional=True), lambda n: [floats(6, n, 8)], STEPS_FIRST),
    "LSTM without bias": (lambda: nn.LSTM(8, 3, bias=False, batch_first=True), ROWS_OF_8),
    "LSTM of one sequence": (lambda: nn.LSTM(8, 3), lambda n: [floats(n, 8)]),
    "LSTM from a state": (
        lambda: nn.LSTM(8, 3, 2),
        lambda n: [floats(6, n, 8), (floats(2, n, 3), floats(2, n, 4)[..., :3])],
        {"x": 1, "state_0": 1, "state_1": 1},
    ),
    # attention
    "MultiHeadAttention": (lambda: nn.MultiHeadAttention(8, 2), ROWS_OF_8),
    "MultiHeadAttention causal": (
        lambda: Causal(nn.MultiHeadAttention(8, 2, rotary=nn.RotaryPositions(9, 4))),
        ROWS_OF_8,
        {"x": {0: "batch", 1: "time"}},
    ),
    "MultiHeadAttention masked": (
        lambda: nn.MultiHeadAttention(8, 2, bias=False),
        lambda n: [floats(n, 5, 8), floats(n, 7, 8), None, floats(n, 5, 7) > 0.9],
    ),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(8, 2, norm_first=False), ROWS_OF_8),
    "TransformerEncoder": (lambda: nn.TransformerEncoder(8, 2, 2, dropout=0.2), ROWS_OF_8),
    "TransformerDecoderLayer": (
        lambda: nn.TransformerDecoderLayer(8, 2, activation="relu"),
        lambda n: [floats(n, 5, 8), floats(n, 3, 8)],
    ),
    "TransformerDecoder": (
        lambda: nn.TransformerDecoder(8, 2, 2, activation="silu"),
        lambda n: [floats(n, 5, 8), floats(n, 3, 8)],
    ),
    # losses
    **{
        cls.__name__: (cls, same_shape)
        for cls in (nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss, nn.HingeLoss, nn.BCEWithLogitsLoss)
    },
    "MSELoss sum": (lambda: nn.MSELoss("sum"), same_shape),
    "MSELoss none": (lambda: nn.MSELoss("none"), same_shape),
    "BCEWithLogitsLoss weighted": (
        lambda: nn.BCEWithLogitsLoss(weight=np.arange(5.0), pos_weight=np.arange(5.0) + 1),
        same_shape,
    ),
    "BCELoss": (nn.BCELoss, lambda n: [1 / (1 + np.exp(-a)) for a in same_shape(n)]),
    "KLDivLoss": (nn.KLDivLoss, lambda n: [same_shape(n)[0], np.abs(same_shape(n)[1])]),
    "KLDivLoss mean": (lambda: nn.KLDivLoss("mean", log_target=True), same_shape),
    "CosineEmbeddingLoss": (nn.CosineEmbeddingLoss, lambda n: [*same_shape(n), np.sign(floats(n))]),
    "TripletMarginLoss": (lambda: nn.TripletMarginLoss(swap=True), lambda n: [*same_shape(n), floats(n, 7)[:, :5]]),
    "TripletMarginLoss p=3": (lambda: nn.TripletMarginLoss(p=3.0), lambda n: [*same_shape(n), floats(n, 7)[:, :5]]),
    "SoftmaxLoss": (nn.SoftmaxLoss, lambda n: [floats(n, 5), integers(5, n)]),
    "CrossEntropyLoss": (nn.CrossEntropyLoss, lambda n: [floats(n, 3, 5), integers(5, n, 3)]),
    "CrossEntropyLoss weighted": (
        lambda: nn.CrossEntropyLoss(weight=np.arange(1.0, 6), label_smoothing=0.1, ignore_index=2),
        lambda n: [floats(n, 5), integers(5, n)],
    ),
    "CrossEntropyLoss axis": (lambda: nn.CrossEntropyLoss(axis=1), lambda n: [floats(n, 5, 3), integers(5, n, 3)]),
    "CrossEntropyLoss of probabilities": (
        lambda: nn.CrossEntropyLoss(weight=np.arange(1.0, 6), label_smoothing=0.1),
        lambda n: [floats(n, 5), np.abs(floats(n, 6)[:, :5])],
    ),
    "NLLLoss": (lambda: nn.NLLLoss(ignore_index=1), lambda n: [-np.abs(floats(n, 5)), integers(5, n)]),
    "NLLLoss none": (lambda: nn.NLLLoss(reduction="none"), lambda n: [-np.abs(floats(n, 5)), integers(5, n)]),
}


class Causal(nn.Module):
    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        return self.layer(x, causal=True)


NO_LAYERS = {"Module", "ModuleList", "ModuleDict", "Parameter", "Buffer", "Pending", "Record", "Summary"}
NO_LAYERS |= {"LoadError", "LoadReport", "TorchName"}


NOT_IN_REFERENCE = {"ConvTranspose2d groups", "ConvTranspose2d dilated", "RNN relu"}
"""What onnx.reference raises errors for."""


def test_no_layer_is_missing():
    layers = {name for name, value in vars(nn).items() if isinstance(value, type)} - NO_LAYERS
    assert layers == {name.partition(" ")[0] for name in LAYERS}


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer(name):
    make, inputs, *dynamic = LAYERS[name]
    layer = make()
    model = export(layer, *inputs(4), dynamic=dynamic[0] if dynamic else None)
    for n in (1, 7):
        for runtime in RUNTIMES:
            if runtime == "onnxruntime" or name not in NOT_IN_REFERENCE:
                assert_same(model, layer, inputs(n), runtime)


@pytest.mark.parametrize("cls", [nn.RNN, nn.GRU, nn.LSTM])
def test_sequences_of_different_lengths(cls):
    pytest.importorskip("onnxruntime")
    layer = cls(5, 3, 2, bidirectional=True)
    states = 2 if cls is nn.LSTM else 1

    def inputs(n):
        state = tuple([floats(4, n, 3) + i for i in range(states)])
        return [floats(6, n, 5), state if states > 1 else state[0], integers(7, n)]

    names = ["state"] if states == 1 else ["state_0", "state_1"]
    model = export(layer, *inputs(9), dynamic={"x": 1, "lengths": 0, **dict.fromkeys(names, 1)})
    for n in (1, 5, 30):
        assert_same(model, layer, inputs(n), "onnxruntime")
    without = export(
        lambda x, lengths: layer(x, None, lengths), floats(6, 4, 5), integers(7, 4), dynamic={"x": 1, "lengths": 0}
    )
    found = run(without, [floats(6, 8, 5), integers(7, 8)], "onnxruntime")
    for y, t in zip(found, flat(layer(floats(6, 8, 5), lengths=integers(7, 8))), strict=True):
        np.testing.assert_allclose(y, t, rtol=1e-5, atol=1e-6)


def test_the_reference_that_ignores_lengths_is_not_used_to_verify(monkeypatch):
    monkeypatch.setattr(verifying, "find_spec", lambda name: None)
    layer = nn.LSTM(5, 3)
    given = [floats(6, 4, 5), None, integers(7, 4)]
    with pytest.raises(ExportError, match="install onnxruntime"):
        export(layer, *given, dynamic={"x": 1, "lengths": 0})
    assert "LSTM" in kinds(export(layer, *given, dynamic={"x": 1, "lengths": 0}, verify=False))


# ----------------------------------------------------------------------------------------------------------------- ops


def assigned(*places):
    """A function that assigns to elements of a copy."""

    def function(a, b):
        a = a * 1
        for place, get in places:
            a[place] = get(b)
        return a + 1

    return function


A, POSITIVE = lambda n: [floats(n, 3, 4)], lambda n: [np.abs(floats(n, 3, 4)) + 0.1]
UNIT, TWO = lambda n: [np.tanh(floats(n, 3, 4))], lambda n: [floats(n, 3, 4), floats(n, 4, 4)[:, :3]]
POINTS = integers(3, 6), integers(4, 6)
OPS = {
    "add": (lambda a, b: a + b, TWO),
    "add scaled": (lambda a, b: ops.add(a, b, alpha=0.5), TWO),
    "arithmetic": (lambda a, b: (2 - a) * 3 / (b * b + 1) - (1.5 / (a * a + 2)) - b, TWO),
    "negate": (lambda a: -a + abs(a) + nnp.fabs(a), A),
    "powers": (lambda a: a**2 + a**0.5 + a**-1 + a**1.7 + 2.0**a + a**a, POSITIVE),
    "extrema": (
        lambda a, b: ops.maximum(a, b) * ops.minimum(a, b) + ops.clip(a, -0.5, None) + ops.clip(b, None, 0.5),
        TWO,
    ),
    "clip by arrays": (lambda a: ops.clip(a, np.zeros(4, np.float32), np.ones(4, np.float32)), A),
    "exponentials": (lambda a: ops.exp(a) + nnp.exp2(a) + nnp.expm1(a) + ops.sigmoid(a) + ops.tanh(a), A),
    "logarithms": (lambda a: ops.log(a) + nnp.log2(a) + nnp.log10(a) + nnp.log1p(a) + ops.sqrt(a), POSITIVE),
    "logaddexp": (lambda a, b: ops.logaddexp(a, b * 30) + 0, TWO),
    "circular": (lambda a: ops.sin(a) + ops.cos(a) + nnp.tan(a) + nnp.radians(a) + nnp.degrees(a), A),
    "arcs": (lambda a: nnp.arcsin(a) + nnp.arccos(a) + nnp.arctan(a) + nnp.arctanh(a * 0.9), UNIT),
    "hyperbolic": (lambda a: nnp.sinh(a) + nnp.cosh(a) + nnp.arcsinh(a) + nnp.arccosh(a * a + 1.1), A),
    "hypot": (ops.hypot, TWO),
    "steps": (lambda a: nnp.floor(a * 3) + nnp.ceil(a * 5) + nnp.rint(a * 7) + ops.sign(a), A),
    "mod": (lambda a, b: (a * 9) % b + (a * 9) // b, TWO),
    "mod of integers": (lambda i: i % 5 + i // 5 + (i - 50) // 7 + (i - 50) % -7, lambda n: [integers(100, n, 3)]),
    "integers": (lambda i: i * 2 + 1 - (i + i), lambda n: [integers(100, n, 3)]),
    "integers divided": (lambda i: ops.relu((i / 3).astype(np.float32)), lambda n: [integers(100, n, 3)]),
    "promotion": (lambda i, a: i + a.astype(np.float64), lambda n: [integers(100, n, 3), floats(n, 3)]),
    "cast": (lambda a: (a * 3).astype(np.int64).astype(np.float32), A),
    "comparisons": (lambda a, b: ((a < b) | ((a >= 0) & (b <= 0.1)) ^ ~(a > b)).astype(np.float32), TWO),
    "equality": (lambda i: (i == 3).astype(np.float32) + (i != 4) * 2.0, lambda n: [integers(6, n, 3)]),
    "booleans": (lambda i: (i > 2) == (i < 4), lambda n: [integers(6, n, 3)]),
    "logic": (
        lambda a: (
            nnp.logical_and(a > 0, nnp.logical_not(a > 1)) | nnp.logical_or(a < -1, nnp.logical_xor(a > 2, a < 1))
        ),
        A,
    ),
    "predicates": (lambda a: nnp.where(nnp.isfinite(ops.log(a)), a, 0.0) + nnp.isnan(ops.log(a)) + nnp.isinf(a / 0), A),
    "extrema of numbers": (lambda a, b: nnp.fmax(ops.log(a), b) - nnp.fmin(a, ops.log(b)), TWO),
    "cube roots": (lambda a: nnp.cbrt(a) + nnp.heaviside(nnp.rint(a), 0.5), A),
    "angles": (lambda a, b: nnp.arctan2(a, b) + nnp.arctan2(nnp.rint(a), nnp.rint(b) + 0.0), TWO),
    "rounding": (lambda a: nnp.trunc(a * 3) + nnp.round(a * 3) + nnp.fix(a * 3), A),
    "any and all": (lambda a: nnp.any(a > 0, 1) & nnp.all(a > -1, axis=(1,), keepdims=False), A),
    "counts": (lambda a: nnp.count_nonzero(a > 0, axis=1) + nnp.count_nonzero(a > 1), A),
    "sorting": (lambda a: nnp.sort(a, 1) + nnp.argsort(a, 1) + nnp.argsort(nnp.rint(a), 0), A),
    "rolling": (
        lambda a: nnp.roll(a, 2, 1) + nnp.roll(a, (1, -1), (0, 2)) + nnp.roll(a, 3, 1) + nnp.roll(a, 1, (1, 2)),
        A,
    ),
    "padding": (
        lambda a: needle.pad(a, ((0, 0), (1, 2), (0, 3))) + nnp.pad(a, ((0, 0), (1, 2), (2, 1)), mode="edge"),
        A,
    ),
    "padding the batch": (
        lambda a: nnp.pad(a, ((1, 2), (1, 1), (0, 0)), mode="reflect"),
        lambda n: [floats(n + 3, 3, 4)],
    ),
    "dilating": (lambda a: ops.dilate(a, (1, 2), 2) + ops.dilate(ops.dilate(a, 0, 0), (-1, -2), 2), A),
    "dilating the batch": (lambda a: ops.dilate(a, 0, 1), A),
    "batch norm": (
        lambda a: sum(t.sum() for t in ops.batch_norm(a, np.ones(3, np.float32), np.ones(3, np.float32))),
        A,
    ),
    "where": (lambda a, b: ops.where(a > b, a, 1.0) + ops.masked(b, a > 0), TWO),
    "argmax": (lambda a: nnp.argmax(a, -1) * 10 + nnp.argmin(a, axis=2), A),
    "sums": (lambda a: a.sum(1) + a.sum((1,)) * 2, A),
    "mean": (lambda a: a.mean(0) + a.mean() + a.mean((0, 2), keepdims=True), A),
    "sums over numbers of NumPy": (
        lambda a: a.sum(1) / np.float64(3) + ops.avg_pool(a, 1, axes=1).sum(1) / np.float64(3),
        A,
    ),
    "extreme elements": (lambda a: a.max(1) + a.min(1), A),
    "products": (lambda a: a.prod(1, keepdims=True) + needle.numpy.linalg.norm(a, axis=1, keepdims=True), A),
    "variance": (lambda a: ops.var(a, 0) + ops.std(a, (0, 1), correction=1) + ops.var(a, correction=0.5), A),
    "logsumexp": (lambda a: ops.logsumexp(a * 200, 1) + ops.logsumexp(a), A),
    "softmax": (lambda a: ops.softmax(a, (1, 2)) + ops.logsoftmax(a, 1) + ops.softmax(a, 0), A),
    "softmax of nothing": (lambda a: ops.softmax(a, ()), A),
    "masked softmax": (lambda a: ops.masked_softmax(a, a < 0.3) + ops.masked_softmax(a, causal=True), A),
    "cumsum": (lambda a: ops.cumsum(a, 1), A),
    "softmax loss": (ops.softmax_loss, TWO),
    "matmul": (lambda a, b: a @ b.mT, TWO),
    "vectors": (lambda a: (a @ np.ones(4, np.float32)) + (np.ones(3, np.float32) @ a).sum(), A),
    "einsum": (lambda a, b: ops.einsum("nij,nkj->nik", a, b), TWO),
    "layer norm of other axes": (lambda a: ops.layer_norm(a, np.ones(3, np.float32) * 2, axes=1), A),
    "reshape": (lambda a: a.reshape(-1), A),
    "reshape across the batch": (lambda a: a.reshape((-1, 6)) @ np.ones((6, 2), np.float32), A),
    "reshape to pairs": (lambda a: ops.permute_dims(a, (1, 0, 2)).reshape((3, -1)), A),
    "transposes": (lambda a: ops.transpose(a) + ops.permute_dims(ops.permute_dims(a, (2, 0, 1)), (1, 0, 2)), A),
    "broadcast": (lambda a: ops.broadcast_to(a[:, :1], a.shape) + ops.broadcast_to(a[:1], (a.shape[0], 3, 4)), A),
    "flip": (lambda a: ops.flip(a, 0) + ops.flip(a, (1, 2)) + a[::-1], A),
    "joining": (lambda a, b: ops.concatenate([ops.stack([a, b], 1), ops.stack([b, a], -3)], 2), TWO),
    "concatenated batches": (lambda a, b: ops.concatenate([a, b, a]), TWO),
    "split": (lambda a: ops.split(a, 1)[0] * ops.split(a, 1)[2], A),
    "tuples": (lambda a, b: ops.make_tuple(a, b)[1] - a, TWO),
    "slices": (lambda a: a[:, 1:, ::2] + a[:, :-1, 1::2] * a[:, 1:3, :2] + a[:, ::-1, -1:-5:-2][:, :2], A),
    "numbers": (lambda a: a[:, 1] + a[:, -1, 2:3] + a[0, 0] + a[-1, 2, 1], A),
    "new axes": (lambda a: a[:, None, ..., None, 1], A),
    "the whole": (lambda a: a[...] + a[:] + a[()], A),
    "rows": (lambda a: a[:, np.array([2, 0, -1, 0])], A),
    "points": (lambda a: a[:, POINTS[0], POINTS[1]], A),
    "points apart": (lambda a: a[[1, 0, 1], :, [0, 1, 2]], lambda n: [floats(n + 1, 3, 4)]),
    "points and a number": (lambda a: a[:, 1, np.array([[0, 1], [2, 3]])], A),
    "points behind a slice": (lambda a: a[..., None][:, np.array([[0], [2]]), np.array([1, 3])], A),
    "a mask": (lambda a: a[:, np.array([True, False, True])] + a[:, np.eye(3, 4, dtype=bool)][:, :2, None], A),
    "computed rows": (lambda a, i: a[:, i], lambda n: [floats(n, 7), integers(7, n)]),
    "computed points": (lambda a, i: a[np.arange(a.shape[0]), i], lambda n: [floats(n, 7), integers(7, n)]),
    "every second of a batch": (lambda a: a[1:] - a[:-1], lambda n: [floats(n + 1, 2)]),
    "the last of a batch": (lambda a: a[a.shape[0] - 1], A),
    "assignments": (
        assigned(
            ((slice(None), 0), lambda b: 0),
            ((..., slice(1, 3)), lambda b: b[..., :2]),
            ((slice(None), -1, 3), lambda b: b[:, 0, 0]),
            ((slice(None), slice(-2, None)), lambda b: b[:1, :1]),
            ((slice(1, -1), 1, -1), lambda b: 7.0),
            (0, lambda b: b[None, 1]),
            (-1, lambda b: b[0, 1, 2]),
            ((), lambda b: b[0]),
        ),
        lambda n: [floats(n + 2, 3, 4), floats(n + 2, 4, 4)[:, :3]],
    ),
    "constants of the batch": (lambda a: a + np.arange(a.shape[0])[:, None, None] * 2 + np.ones(a.shape), A),
    "the batch as a number": (lambda a: a * a.shape[0] + a / (2 * a.shape[0] - 1) + Tensor(np.array(a.shape[0])), A),
    "a constant": (lambda a: (a, Tensor([1.0, 2.0])), A),
    "an input": (lambda a: (a, a), A),
    "one output twice": (lambda a: 2 * [a * 2], A),
    "pools of other axes": (
        lambda a: ops.avg_pool(a, 2, axes=0, stride=1) + a[:-1].max(),
        lambda n: [floats(n + 1, 3, 4)][:1],
    ),
    "a pool of one axis": (
        lambda a: ops.max_pool(a, 2, axes=-1) + ops.max_pool(a, 2, axes=-1, stride=2, padding=0),
        lambda n: [floats(n, 3, 2, 4)],
    ),
    "wide padding": (lambda a: ops.max_pool(a, 2, 1, 2, dilation=3, axes=(-2, -1)), lambda n: [floats(n, 1, 6, 7)]),
}


@pytest.fixture(scope="module")
def seen():
    """Which rows the tests of ops and layers have used."""
    return set()


def rows_of(function, inputs):
    """The classes of ops, and the functions of discrete ones, that a function applies."""
    found = set()

    class Noting(needle.watching.Watcher):
        captures = True

        def computed(self, op, inputs, output, seconds):
            found.add(type(op))
            found.add(getattr(op, "function", None))

    tensors = needle.nested.map_leaves(lambda a: Tensor(a) if isinstance(a, np.ndarray) else a, inputs)
    evaluating = nn.evaluating(function) if isinstance(function, nn.Module) else needle.no_grad()
    with evaluating, needle.no_grad(), Noting():
        function(*tensors)
    return found


@pytest.mark.parametrize("name", OPS)
def test_each_op(name):
    function, inputs = OPS[name]
    with np.errstate(all="ignore"):
        model = export(function, *inputs(4))
        for n in (1, 6):
            for runtime in RUNTIMES:
                assert_same(model, function, inputs(n), runtime)


def test_no_row_is_untested():
    found = set()
    with np.errstate(all="ignore"):
        for function, inputs in OPS.values():
            found |= rows_of(function, inputs(3))
        for make, inputs, *_ in LAYERS.values():
            found |= rows_of(make(), inputs(3))
        found |= rows_of(nn.LSTM(5, 3), [floats(6, 4, 5), None, integers(7, 4)])
        found |= rows_of(pytest.importorskip("needle.scipy.special").erf, [floats(3)])
    assert {cls.__name__ for cls in ROWS} - {getattr(cls, "__name__", "") for cls in found} == set()
    assert {f.__name__ for f in FUNCTIONS} - {getattr(f, "__name__", "") for f in found} == set()


def test_every_op_of_the_layers_has_a_row():
    for make, inputs, *_ in LAYERS.values():
        for found in rows_of(make(), inputs(3)):
            assert found is None or found in ROWS or found in FUNCTIONS


# ------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("opset", [13, 15, 18, 20, 21, 23, 25])
@pytest.mark.parametrize("name", NETWORKS)
def test_other_opsets(name, opset):
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip("this onnx is older")
    make, inputs = NETWORKS[name]
    network = make()
    model = export(network, inputs(2), opset=opset)
    assert model.opset_import[0].version == opset
    assert ("Gelu" in kinds(model)) == (name == "gpt" and opset >= 20)
    assert ("LayerNormalization" in kinds(model)) == (name == "gpt" and opset >= 17)
    assert_same(model, network, [inputs(5)])


def test_root_mean_square_normalization_is_a_node_from_opset_23_on():
    layer = nn.RMSNorm(8)
    for opset, is_node in ((17, False), (23, True)):
        if opset <= onnx.defs.onnx_opset_version():
            model = export(layer, floats(2, 8), opset=opset)
            assert ("RMSNormalization" in kinds(model)) == is_node
            assert_same(model, layer, [floats(3, 8)])


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes(dtype):
    for name in ("mlp", "gpt"):
        make, inputs = NETWORKS[name]
        network = make().to(dtype)
        given = inputs(3) if inputs(3).dtype.kind == "i" else inputs(3).astype(dtype)
        model = export(network, given)
        assert {a.dtype for a in weights(model).values() if a.dtype.kind == "f"} == {np.dtype(dtype)}
        tolerance = 1e-2 if dtype == "float16" else 1e-12 if name == "mlp" else 1e-7  # its erf is that of float32
        assert_same(model, network, [given[:2]], tolerance=tolerance)


def test_names():
    layer = nn.GRU(4, 3, batch_first=True)
    model = export(
        layer,
        floats(2, 5, 4),
        floats(1, 2, 3),
        names=["seen", "past"],
        output_names=["out", "now"],
        dynamic={"seen": 0, "past": 1},
    )
    assert [value.name for value in model.graph.input] == ["seen", "past"]
    assert [value.name for value in model.graph.output] == ["out", "now"]
    W, model_b = Tensor(floats(4, 3)), nn.Linear(3, 2)
    model_a = nn.Linear(3, 3)
    found = export(lambda rows: model_b(model_a(rows @ W)), floats(2, 4))
    assert [value.name for value in found.graph.input] == ["rows"]
    assert set(weights(found)) == {"W", "weight", "bias", "model_b.weight", "model_b.bias"}
    with pytest.raises(ValueError, match="needs 1 different names"):
        export(model_a, floats(2, 3), names=["a", "b"])
    with pytest.raises(ValueError, match="needs 1 names for the outputs"):
        export(model_a, floats(2, 3), output_names=["x"])


def test_an_input_may_be_named_as_a_parameter_is():
    class Scaled(nn.Module):
        def __init__(self):
            self.x = nn.Parameter(floats(3))

        def forward(self, x):
            return x * self.x

    model = export(Scaled(), floats(2, 3))
    assert list(weights(model)) == ["x_1"]
    assert_same(model, Scaled(), [floats(5, 3)])


def test_a_module_called_twice_has_its_weights_once():
    layer = nn.Conv2d(4, 4, 3, padding=1)
    model = export(lambda x: layer(layer(x)), floats(2, 4, 40, 40))
    assert sorted(weights(model)) == ["bias", "weight"]


def test_inputs_in_containers_and_other_arguments():
    def function(both, scale, *rest):
        return {"sum": both["a"] + both["b"][0], "scaled": rest[0] * scale}

    given = {"a": floats(2, 3), "b": [Tensor(floats(2, 3))]}
    model = export(function, given, 2.5, floats(2, 4))
    assert [value.name for value in model.graph.input] == ["both_0", "both_1", "input_2"]
    assert len(model.graph.output) == 2
    x, y, z = floats(5, 3), floats(5, 3) + 1, floats(5, 4)
    total, scaled = run(model, [x, y, z], "reference")
    np.testing.assert_allclose(total, x + y)
    np.testing.assert_allclose(scaled, z * np.float32(2.5))


@pytest.mark.parametrize("function", ["erf", "erfc", "expit"])
def test_functions_of_scipy(function):
    special = pytest.importorskip("needle.scipy.special")
    model = export(getattr(special, function), floats(4, 3))
    assert_same(model, getattr(special, function), [floats(5, 3)])


def test_functions_that_move_elements_of_fixed_shapes():
    function = lambda a: nnp.diagonal(a) + nnp.resize(a, (2, 3)) + nnp.take_along_axis(a, np.array([[1, 0, 1]]), 0)  # noqa: E731
    model = export(function, floats(4, 3), dynamic={})
    assert_same(model, function, [floats(4, 3) + 1])


def test_only_axes_of_the_first_inputs_length_are_the_batch():
    model = export(lambda x, w: x @ w, floats(4, 3), floats(3, 2))
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
    assert shapes == [["batch", 3], [3, 2]]
    fixed = export(lambda x: x * 2, floats(4, 3), dynamic={})
    assert [d.dim_value for d in fixed.graph.input[0].type.tensor_type.shape.dim] == [4, 3]


def test_lengths_of_outputs_say_how_they_depend_on_the_inputs():
    def function(x):
        return ops.concatenate([x, x[:-1]]), x.reshape(-1), x * 2

    model = export(function, floats(4, 3), dynamic={"x": {0: "n", 1: "m"}})
    shapes = [[d.dim_param for d in v.type.tensor_type.shape.dim] for v in model.graph.output]
    assert shapes == [["2*n - 1", "m"], ["m*n"], ["n", "m"]]


# --------------------------------------------------------------------------------------------------------------- files


def test_a_file(tmp_path):
    network, path = nn.Linear(4, 3), tmp_path / "model.onnx"
    model = export(network, floats(2, 4), path=path)
    assert onnx.load(path).SerializeToString() == model.SerializeToString()
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("forced", [True, False])
def test_weights_in_a_second_file(tmp_path, monkeypatch, forced):
    network, path = nn.Linear(64, 32), tmp_path / "model.onnx"
    if not forced:
        monkeypatch.setattr(needle.onnx.serialize, "LIMIT", 1000)
    model = export(network, floats(2, 64), path=path, external_data=True if forced else None)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert path.stat().st_size < 4000
    assert weights(model)["weight"].shape == (64, 32)
    x = floats(3, 64)
    for found in (ReferenceEvaluator(str(path)).run(None, {"x": x}), verifying.runner(model, path)[0]({"x": x})):
        np.testing.assert_allclose(found[0], network(x).numpy(), rtol=1e-5, atol=1e-5)


def test_more_weights_than_a_model_holds_need_a_path(monkeypatch):
    monkeypatch.setattr(needle.onnx.serialize, "LIMIT", 1000)
    with pytest.raises(ExportError, match="bytes of weights need a path"):
        export(nn.Linear(64, 32), floats(2, 64))


def test_lazy_mode(monkeypatch):
    network = NETWORKS["mlp"][0]()
    monkeypatch.setattr(needle.autograd, "LAZY_MODE", True)
    model = export(network, floats(2, 6))
    monkeypatch.undo()
    assert kinds(model) == ["Gemm", "Tanh", "Gemm", "Softmax"]
    assert_same(model, network, [floats(5, 6)])


# -------------------------------------------------------------------------------------------------------------- errors


def assigned_by_steps(a):
    a = a * 1
    a[:, ::2] = 0
    return a


class Whitened(nn.Module):
    def forward(self, x):
        return x @ nnp.linalg.inv(x.mT @ x)


def test_an_op_without_a_row_is_named_with_its_layer():
    with pytest.raises(ExportError, match=r"Inv in layer 1 \(Whitened\)"):
        export(nn.Sequential(nn.Linear(3, 3), Whitened()), floats(5, 3))
    with pytest.raises(ExportError, match="function searchsorted has no row"):
        export(lambda x: nnp.searchsorted(np.arange(3.0, dtype=np.float32), x), floats(5))
    for function, why in {
        "round": lambda x: nnp.round(x, 2),
        "diagonal": nnp.diagonal,
        "with mode 'wrap'": lambda x: nnp.pad(x, 1, mode="wrap"),
        "without an axis": lambda x: nnp.roll(x, 1),
        "where= of any": lambda x: nnp.any(x > 0, where=np.arange(3) > 0),
        "keeps its axes": lambda x: nnp.argmax(x, keepdims=True),
        "of integers needs opset 18": lambda x: x.astype(int) & 3,
        "is not to slices": assigned_by_steps,
        "draws random numbers": lambda x: ops.dropout(x, 0.5),
        "slices only": lambda x: ops.AddAt((9, 3), np.dtype("f"), [np.array([1, 1])])(x[:2]),
    }.items():
        with pytest.raises(ExportError, match=function):
            export(why, floats(3, 3))


def test_what_nobody_needs_may_be_without_a_row():
    def function(x):
        nnp.linalg.inv(x.mT @ x)
        return x * 2

    assert kinds(export(function, floats(5, 3))) == ["Mul"]


def test_a_way_that_depends_on_the_data_is_refused():
    with pytest.raises(ExportError, match=r"bool\(t\) looks at a value at .*test_onnx.py"):
        export(lambda x: x if (x > 0).any() else -x, floats(5, 3))


def test_a_way_that_depends_on_the_batch_is_refused():
    with pytest.raises(ValueError, match=r"another way for inputs of another size: .*in layer"):
        export(nn.Function(lambda x: x * 2 if len(x.shape) and x.shape[0] % 2 else x.exp()), floats(5, 3))
    with pytest.raises(ValueError, match="another way"):
        export(lambda x: x.sum(0) if x.shape[0] < 5 else x.sum(0) * 2, floats(4, 3))


def test_numbers_that_no_graph_can_compute_from_the_batch_are_refused():
    with pytest.raises(ExportError, match=r"scalar of MulScalar.* is .* for batch = 4, 5, 6"):
        export(lambda x: x * (1 / x.shape[0]), floats(4, 3))
    with pytest.raises(ExportError, match="shape of"):
        export(lambda x: x.sum() + ops.broadcast_to(x[:1, :1], (x.shape[0] ** 2, 2)).sum(), floats(4, 3))
    table = floats(9, 3)
    with pytest.raises(ExportError, match=r"a constant that .* reads .* pass it as an input"):
        export(lambda x: x + table[: x.shape[0]], floats(4, 3))
    with pytest.raises(ExportError, match="has other elements"):
        export(lambda x: x + np.full((1, 3), x.shape[0] ** 0.5), floats(4, 3))


def test_another_batch_that_fails_is_explained():
    with pytest.raises(ExportError, match=r"fails with other sizes of batch .*dynamic="):
        export(lambda x: x + np.ones((4, 3)), floats(4, 3))


def test_a_longest_length_is_respected():
    layer = nn.LearnedPositions(6, 3)
    model = export(layer, floats(2, 6, 3), dynamic={"x": {0: "batch", 1: "time"}})
    assert_same(model, layer, [floats(3, 2, 3)])


def test_arguments_are_checked(tmp_path):
    layer = nn.Linear(3, 2)
    for opset in (12, 99):
        with pytest.raises(ValueError, match="opset must be from 13"):
            export(layer, floats(2, 3), opset=opset)
    with pytest.raises(TypeError, match="needs example inputs"):
        export(layer)
    with pytest.raises(ValueError, match="needs a path"):
        export(layer, floats(2, 3), external_data=True)
    with pytest.raises(ValueError, match="dynamic names 'y'"):
        export(layer, floats(2, 3), dynamic={"y": 0})
    with pytest.raises(ValueError, match="axis 2 of x"):
        export(layer, floats(2, 3), dynamic={"x": 2})
    with pytest.raises(ValueError, match="must have one length"):
        export(lambda x, y: x + y.sum(), floats(2, 3), floats(3), dynamic={"x": 0, "y": 0})
    with pytest.raises(TypeError, match="must return Tensors, got float"):
        export(lambda x: 2.0, floats(2, 3), dynamic={})
    with pytest.raises(TypeError, match="must return Tensors, got NoneType"):
        export(lambda x: None, floats(2, 3), dynamic={})


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_model_that_computes_something_else_is_not_returned(monkeypatch, runtime):
    monkeypatch.setitem(ROWS, ops.Exp, ROWS[ops.Sin])
    if runtime == "reference":
        monkeypatch.setattr(verifying, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match="gives other numbers than Needle for output"):
        export(lambda x: x.exp(), floats(2, 3))
    assert kinds(export(lambda x: x.exp(), floats(2, 3), verify=False)) == ["Sin"]


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("needle.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(needle, "onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'needle\[onnx\]'"):
        _ = needle.onnx


# --------------------------------------------------------------------------------------------------------------- sizes


def test_lengths_are_sums_of_products_of_symbols():
    n, m = Dim({("n",): 1}), Dim({("m",): 1})
    assert str(2 * n * m - n + 3) == "2*m*n - n + 3"
    assert 5 - (5 - n) == n
    assert n - n == 0
    assert hash(n + m) == hash(m + n)
    sampled = next(samples({"n": 4, "m": 1}))
    assert len(sampled.every) == 5
    values = [3 * s["n"] * s["m"] - s["m"] + 7 for s in sampled.every]
    assert sampled.length(values) == 3 * n * m - m + 7
    assert sampled.length([6] * 5) == 6
    for wrong in (lambda s: s["n"] ** 2, lambda s: s["n"] // 2, lambda s: min(s["n"], 5)):
        with pytest.raises(VariesError):
            sampled.length([wrong(s) for s in sampled.every])


def test_sizes_that_are_tried():
    every = [sampled.every for sampled in samples({"n": 8})]
    assert every == [[{"n": 8}, {"n": 9}, {"n": 10}], [{"n": 8}, {"n": 7}, {"n": 6}]]
    assert [sampled.every for sampled in samples({"n": 1})] == [[{"n": 2}, {"n": 3}, {"n": 4}]]
    assert [sampled.every for sampled in samples({})] == [[{}]]
    assert isinstance(next(samples({})), Sampled)
