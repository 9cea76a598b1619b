"""Activations against their formulas, and their derivatives against differences; PyTorch's where it is installed."""

import numpy as np
import pytest
from needle import Tensor, nn
from needle.testing import check_grads
from numpy.testing import assert_allclose, assert_array_equal

F = nn.functional


def expit(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


FORMULAS = {
    "ReLU": (nn.ReLU(), lambda x: np.where(x > 0, x, 0)),
    "ReLU6": (nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
    "LeakyReLU": (nn.LeakyReLU(), lambda x: np.where(x > 0, x, 0.01 * x)),
    "LeakyReLU of 0.3": (nn.LeakyReLU(0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
    "ELU": (nn.ELU(), lambda x: np.where(x > 0, x, np.exp(x) - 1)),
    "ELU of 2": (nn.ELU(2.0), lambda x: np.where(x > 0, x, 2 * (np.exp(x) - 1))),
    "SELU": (nn.SELU(), lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1))),
    "Sigmoid": (nn.Sigmoid(), expit),
    "Tanh": (nn.Tanh(), np.tanh),
    "SiLU": (nn.SiLU(), lambda x: x * expit(x)),
    "Softplus": (nn.Softplus(), softplus),
    "Softplus of 3": (nn.Softplus(3.0), lambda x: softplus(3 * x) / 3),
    "LogSigmoid": (nn.LogSigmoid(), lambda x: np.log(expit(x))),
    "Mish": (nn.Mish(), lambda x: x * np.tanh(softplus(x))),
    "Hardsigmoid": (nn.Hardsigmoid(), lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "Hardswish": (nn.Hardswish(), lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "Softmax": (nn.Softmax(), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    "Softmax of rows": (nn.Softmax(0), lambda x: np.exp(x) / np.exp(x).sum(0)),
    "LogSoftmax": (nn.LogSoftmax(), lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))),
    "GLU": (nn.GLU(), lambda x: x[..., :3] * expit(x[..., 3:])),
    "GLU of rows": (nn.GLU(0), lambda x: x[:2] * expit(x[2:])),
}
X = np.random.default_rng(0).standard_normal((4, 6)) * 3


@pytest.mark.parametrize("name", FORMULAS)
def test_values_and_derivatives(name):
    module, formula = FORMULAS[name]
    assert_allclose(module(X).numpy(), formula(X), rtol=1e-12, atol=1e-14)
    assert module(X.astype("float32")).dtype == np.float32
    assert module(X.astype("float16")).dtype == np.float16
    check_grads(module, X)


EDGES = {  # value and slope at 0, and values at -inf and inf
    "relu": (0, 0, 0, np.inf),
    "leaky_relu": (0, 0.01, -np.inf, np.inf),
    "elu": (0, 1, -1, np.inf),
    "selu": (0, 1.0507009873554805 * 1.6732632423543772, -1.0507009873554805 * 1.6732632423543772, np.inf),
    "softplus": (np.log(2), 0.5, 0, np.inf),
    "logsigmoid": (-np.log(2), 0.5, -np.inf, 0),
    "hardsigmoid": (0.5, 1 / 6, 0, 1),
    "sigmoid": (0.5, 0.25, 0, 1),
}


@pytest.mark.parametrize("name", EDGES)
def test_at_zero_and_far_away(name):
    f, (value, slope, left, right) = getattr(F, name), EDGES[name]
    x = Tensor([0.0, -np.inf, np.inf, -1e4, 1e4])
    y = f(x)
    assert_allclose(y.numpy()[:3], [value, left, right], atol=1e-15)
    y.backward()
    assert_allclose(x.grad.numpy()[0], slope)
    assert np.isfinite(x.grad.numpy()).all()


def test_gelu():
    assert_allclose(nn.GELU()(np.array([1.0, -1.0])).numpy(), [0.8413447460685429, -0.15865525393145707], rtol=1e-12)
    assert_allclose(nn.GELU("tanh")(np.array([1.0])).numpy(), [0.8411919906082768], rtol=1e-12)
    check_grads(nn.GELU(), X)


def test_another_approximation_of_gelu_is_refused():
    with pytest.raises(ValueError, match='"none" or "tanh", got \'erf\''):
        F.gelu(X, "erf")


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 5, 3)])
def test_prelu_has_a_weight_for_each_channel(shape):
    x = np.random.default_rng(1).standard_normal(shape)
    module = nn.PReLU(5, dtype="float64")
    module.weight.data = np.arange(5.0)
    weight = np.arange(5.0).reshape((5, *(1,) * (len(shape) - 2)))
    assert_allclose(module(x).numpy(), np.where(x > 0, x, weight * x))
    check_grads(F.prelu, x, np.arange(5.0))
    module.reset_parameters()
    assert_array_equal(module.weight.numpy(), np.full(5, 0.25))
    assert_allclose(nn.PReLU(dtype="float64")(x).numpy(), np.where(x > 0, x, 0.25 * x))


def test_prelu_of_a_number():
    assert nn.PReLU()(Tensor(-2.0)).item() == -0.5
    assert nn.PReLU()(Tensor(-2.0)).shape == ()


def test_prelu_refuses_other_channels():
    with pytest.raises(ValueError, match=r"5 weights need as many channels, got x of shape \(2, 4\)"):
        nn.PReLU(5)(np.ones((2, 4)))


@pytest.mark.parametrize(("shape", "axis"), [((3,), -1), ((4, 3), 1), ((4, 3), 2), ((), -1)])
def test_glu_refuses_odd_lengths(shape, axis):
    with pytest.raises(ValueError, match="glu: needs an even length along axis"):
        F.glu(np.ones(shape), axis)


PAIRS = [("leaky_relu", "leaky_relu"), ("elu", "elu"), ("selu", "selu"), ("silu", "silu"), ("mish", "mish")]
PAIRS += [("softplus", "softplus"), ("hardswish", "hardswish"), ("logsigmoid", "logsigmoid"), ("glu", "glu")]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_as_pytorch(ours, theirs):
    torch = pytest.importorskip("torch")
    a, b = Tensor(X), torch.tensor(X, requires_grad=True)
    y, z = getattr(F, ours)(a), getattr(torch.nn.functional, theirs)(b)
    assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-12, atol=1e-14)
    y.sum().backward()
    z.sum().backward()
    assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-10, atol=1e-12)
