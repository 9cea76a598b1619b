"""Attention, Transformers and positions."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import needle
import numpy as np
import pytest
from beside_torch import assert_near, compare
from needle import Tensor, nn, ops
from numpy.testing import assert_array_equal

DTYPES = ["float32", "float64"]


def normal(*shape: int, dtype: Any = np.float64, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def some_mask(*shape: int, seed: int = 0) -> Any:
    """A random mask; a tenth of its rows show nothing."""
    rng = np.random.default_rng([seed, *shape])
    return (rng.random(shape) < 0.6) & (rng.random((*shape[:-1], 1)) < 0.9)


# ------------------------------------------------------------------------------------------------ the plain function


def one_by_one(q: Any, k: Any, v: Any, seen: Any, scale: float) -> Any:
    """Attention of matrices, query by query."""
    out = np.zeros((len(q), v.shape[1]))
    for i in range(len(q)):
        keys = np.flatnonzero(seen[i])
        if len(keys):
            scores = k[keys] @ q[i] * scale
            e = np.exp(scores - scores.max())
            out[i] = e / e.sum() @ v[keys]
    return out


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_attention_is_a_mean_of_the_values_seen(seed, causal):
    rng = np.random.default_rng(seed)
    queries, keys, depth, width = rng.integers(1, 7, 4)
    q, k, v = normal(2, queries, depth, seed=seed), normal(2, keys, depth, seed=seed), normal(2, keys, width)
    mask = some_mask(2, queries, keys, seed=seed)
    seen = mask & (np.tri(queries, keys, dtype=bool) if causal else True)
    scale = 0.7 if seed % 2 else None
    got = ops.attention(q, k, v, mask, causal, scale=scale).numpy()
    for i in range(2):
        expected = one_by_one(q[i], k[i], v[i], seen[i], 1 / np.sqrt(depth) if scale is None else scale)
        np.testing.assert_allclose(got[i], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(8))
def test_attention_is_pytorchs(seed, dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    queries, keys, depth, width = rng.integers(1, 9, 4)
    causal = bool(seed % 2)
    arrays = [normal(2, 3, n, d, dtype=dtype, seed=seed) for n, d in ((queries, depth), (keys, depth), (keys, width))]
    mask = None if causal else rng.random((2, 1, queries, keys)) < 0.7
    if mask is not None:
        mask[..., 0] = True  # PyTorch's gradient of a row that sees nothing is NaN in some versions
    given = [Tensor(a) for a in arrays]
    others = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = ops.attention(*given, mask, causal)
    z = torch.nn.functional.scaled_dot_product_attention(
        *others, attn_mask=None if mask is None else torch.tensor(mask), is_causal=causal
    )
    assert_near(y.numpy(), z, "output")
    weights = normal(*y.shape, dtype=dtype, seed=9)
    (y * weights).sum().backward()
    (z * torch.tensor(weights)).sum().backward()
    for a, b in zip(given, others, strict=True):
        assert_near(a.grad.numpy(), b.grad, "gradient")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_query_that_may_see_nothing(dtype, causal):
    """0, and gradients of 0: in reverse, in forward mode and to second order; the other rows are as without it."""
    q, k, v = [normal(4, 3, dtype=dtype, seed=i) for i in range(3)]
    mask = np.ones((4, 4), bool)
    mask[2] = mask[0] = False
    tensors = [Tensor(a) for a in (q, k, v)]
    y = ops.attention(*tensors, mask, causal)
    assert y.dtype == dtype
    assert (y.numpy()[[0, 2]] == 0).all()
    loss = (y * y).sum()
    loss.backward()
    grads = [t.grad for t in tensors]
    assert all(np.isfinite(g.numpy()).all() for g in grads)
    assert (grads[0].numpy()[[0, 2]] == 0).all()
    sum([(g * g).sum() for g in grads]).backward()
    assert all(np.isfinite(t.grad.numpy()).all() for t in tensors)
    assert (tensors[0].grad.numpy()[[0, 2]] == 0).all()
    constants = tuple([Tensor(a, requires_grad=False) for a in (q, k, v)])
    _, moved = needle.jvp(lambda q, k, v: ops.attention(q, k, v, mask, causal), constants, constants)
    assert np.isfinite(moved.numpy()).all()
    assert (moved.numpy()[[0, 2]] == 0).all()
    rest = ops.attention(q[[1, 3]], k, v, (mask & (np.tri(4, dtype=bool) if causal else True))[[1, 3]])
    np.testing.assert_array_equal(rest.numpy(), y.numpy()[[1, 3]])


def test_it_is_at_hand_beside_the_layers():
    assert nn.attention is nn.functional.attention
    q = np.random.default_rng(0).normal(size=(2, 3, 4))
    for function in (ops.attention, needle.attention):  # which take symbolic Variables, too, if these were imported
        assert_array_equal(function(q, q, q, causal=True).numpy(), nn.attention(q, q, q, causal=True).numpy())


def test_nothing_to_see_at_all():
    for shape in [(2, 0, 3), (0, 4, 3)]:
        k = Tensor(np.ones(shape))
        y = ops.attention(np.ones((shape[0], 5, 3)), k, k)
        assert y.shape == (shape[0], 5, 3)
        assert (y.numpy() == 0).all()
        y.sum().backward()
        assert k.grad.shape == shape


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_large_scores(dtype):
    q = np.array([[300.0, 0.0], [-300.0, 0.0]], dtype)
    k = np.array([[300.0, 0.0], [299.0, 1.0], [-300.0, 2.0]], dtype)
    v = Tensor(np.eye(3, dtype=dtype))
    for mask in [None, np.array([[True, True, False]] * 2)]:
        t = Tensor(q)
        y = ops.attention(t, k, v, mask)
        best = [0, 2] if mask is None else [0, 1]
        np.testing.assert_allclose(y.numpy(), np.eye(3, dtype=dtype)[best], atol=1e-90)
        y.sum().backward()
        assert (t.grad.numpy() == 0).all()


def test_masked_values_do_not_count():
    """However large, infinite or NaN the scores are that may not be seen."""
    a = np.array([[1.0, np.nan, 2.0], [np.inf, 0.5, -np.inf], [-1e30, 1e30, -1e30]])
    mask = np.array([[True, False, True], [False, True, False], [True, False, True]])
    expected = np.zeros((3, 3))
    expected[0, [0, 2]] = np.exp([1, 2]) / np.exp([1, 2]).sum()
    expected[1, 1], expected[2, [0, 2]] = 1, 0.5
    for x in (a, a.astype(np.float32)):
        t = Tensor(x)
        y = ops.masked_softmax(t, mask)
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6)
        (y * np.arange(3)).sum().backward()
        assert np.isfinite(t.grad.numpy()).all()


def test_second_order_by_differences():
    q, k, v = normal(3, 2), normal(4, 2, seed=1), normal(4, 3, seed=2)
    mask = np.array([[True, True, False, True], [False] * 4, [True] * 4])

    def loss(q: Any, k: Any, v: Any) -> Any:
        return (ops.attention(q, k, v, mask) ** 3).sum()

    directions = normal(3, 2, seed=5), normal(4, 2, seed=6), normal(4, 3, seed=7)
    got = needle.hvp(loss, (q, k, v), directions)
    step, argnums = 1e-5, (0, 1, 2)
    ahead, behind = [
        needle.grad(loss, argnums)(*[a + s * step * d for a, d in zip((q, k, v), directions, strict=True)])
        for s in (1, -1)
    ]
    for g, a, b in zip(got, ahead, behind, strict=True):
        np.testing.assert_allclose(g, (a - b) / (2 * step), rtol=1e-6, atol=1e-7)


BAD: dict[str, tuple[Any, str]] = {
    "additive": (
        lambda: ops.attention(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3)), np.zeros((2, 2))),
        "must be boolean, True for what may be seen",
    ),
    "mask": (
        lambda: ops.attention(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3)), np.ones((3, 2), bool)),
        r"\(3, 2\), and must broadcast to the scores' shape \(2, 2\)",
    ),
    "depth": (lambda: ops.attention(np.ones((2, 3)), np.ones((2, 4)), np.ones((2, 3))), "needs q"),
    "vector": (lambda: ops.masked_softmax(np.ones(3), causal=True), "at least 2 axes"),
    "heads": (lambda: nn.MultiHeadAttention(6, 4), "multiple of heads=4"),
    "width": (lambda: nn.MultiHeadAttention(4, 2)(np.ones((2, 3, 5))), r"\(..., length, 4\), got \(2, 3, 5\)"),
    "activation": (lambda: nn.TransformerEncoder(4, 2, 1, activation="gulu"), "one of gelu, relu"),
    "positions": (lambda: nn.LearnedPositions(4, 2)(np.ones((5, 2))), "make it longer"),
    "odd": (lambda: nn.RotaryPositions(4, 3), "must be even"),
    "width of positions": (lambda: nn.SinusoidalPositions(4, 2)(np.ones((3, 4))), r"\(..., T, 2\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_say_what_to_do(name):
    call, message = BAD[name]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


# ------------------------------------------------------------------------------------------------------- multi-head


def test_heads_attend_on_their_own_part():
    layer, x = nn.MultiHeadAttention(6, 2, dtype="float64"), normal(3, 5, 6)
    mask = some_mask(3, 5, 5)
    y, weights = layer(x, mask=mask, return_weights=True)
    W, b = layer.in_proj_weight.numpy(), layer.in_proj_bias.numpy()
    q, k, v = np.split(x @ W + b, 3, -1)
    found = [
        np.stack([one_by_one(q[n, :, s], k[n, :, s], v[n, :, s], mask[n], 1 / np.sqrt(3)) for n in range(3)])
        for s in (slice(0, 3), slice(3, 6))
    ]
    expected = np.concatenate(found, -1) @ layer.out_proj.weight.numpy() + layer.out_proj.bias.numpy()
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-10, atol=1e-12)
    assert weights.shape == (3, 2, 5, 5)
    np.testing.assert_allclose(weights.numpy().sum(-1), np.broadcast_to(mask.any(-1)[:, None], (3, 2, 5)), atol=1e-12)


def theirs_called(torch: Any, mask: Any, causal: bool) -> Any:
    """Calls PyTorch's layer with our mask, which says what may be seen; theirs says what may not."""

    def call(model: Any, *args: Any) -> Any:
        if isinstance(model, nn.Module):
            return model(*args, mask=mask, causal=causal)
        hidden = None if mask is None else torch.tensor(~mask)
        if causal:
            length = args[0].shape[1]
            hidden = torch.tensor(~np.tri(length, dtype=bool)) if hidden is None else hidden
        given = args if len(args) == 3 else (args * 3 if len(args) == 1 else (args[0], args[1], args[1]))
        return model(*given, attn_mask=hidden, need_weights=False)[0]

    return call


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inputs", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_multi_head_attention_is_pytorchs(seed, inputs, dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    batch, queries, keys = rng.integers(1, 6, 3)
    keys = queries if inputs == 1 else keys
    bias = bool(seed % 2)
    ours = nn.MultiHeadAttention(8, 2, dtype=dtype, bias=bias)
    theirs = torch.nn.MultiheadAttention(8, 2, bias=bias, batch_first=True).to(getattr(torch, dtype))
    arrays = [normal(batch, n, 8, dtype=dtype, seed=i) for i, n in enumerate((queries, keys, keys)[:inputs])]
    mask = None if seed < 2 else rng.random((queries, keys)) < 0.7
    if mask is not None:
        mask[:, 0] = True
    causal = seed == 1 and inputs == 1
    compare(torch, ours, theirs, arrays, theirs_called(torch, mask, causal))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("causal", [False, True])
def test_encoder_is_pytorchs(norm_first, activation, causal, dtype):
    torch = pytest.importorskip("torch")
    ours = nn.TransformerEncoder(8, 2, 2, 12, norm_first=norm_first, activation=activation, dtype=dtype)
    layer = torch.nn.TransformerEncoderLayer(
        8, 2, 12, dropout=0.0, activation=activation, batch_first=True, norm_first=norm_first
    )
    norm = torch.nn.LayerNorm(8) if norm_first else None
    theirs = torch.nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False).to(getattr(torch, dtype))
    with torch.no_grad():
        for i, p in enumerate(theirs.parameters()):
            p.add_(torch.tensor(normal(*p.shape, seed=i) * 0.2))  # else all layers would be equal, and biases 0

    def call(model: Any, x: Any) -> Any:
        if isinstance(model, nn.Module):
            return model(x, causal=causal)
        return model(x, mask=torch.tensor(~np.tri(x.shape[1], dtype=bool)) if causal else None)

    for training in [True, False]:
        ours.train(training)
        theirs.train(training)
        compare(torch, ours, theirs, [normal(3, 5, 8, dtype=dtype)], call)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm_first", [True, False])
def test_decoder_is_pytorchs(norm_first, dtype):
    torch = pytest.importorskip("torch")
    ours = nn.TransformerDecoder(8, 2, 2, 12, norm_first=norm_first, activation="relu", final_norm=True, dtype=dtype)
    layer = torch.nn.TransformerDecoderLayer(8, 2, 12, dropout=0.0, batch_first=True, norm_first=norm_first)
    theirs = torch.nn.TransformerDecoder(layer, 2, torch.nn.LayerNorm(8)).to(getattr(torch, dtype))
    with torch.no_grad():
        for i, p in enumerate(theirs.parameters()):
            p.add_(torch.tensor(normal(*p.shape, seed=i) * 0.2))
    padding = np.array([[True] * 4, [True, True, False, False], [True, False, True, False]])

    def call(model: Any, x: Any, memory: Any) -> Any:
        if isinstance(model, nn.Module):
            return model(x, memory, memory_mask=padding[:, None, :])
        hidden = torch.tensor(~np.tri(x.shape[1], dtype=bool))
        return model(x, memory, tgt_mask=hidden, memory_key_padding_mask=torch.tensor(~padding))

    compare(torch, ours, theirs, [normal(3, 5, 8, dtype=dtype), normal(3, 4, 8, dtype=dtype, seed=1)], call)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sequence_in_which_nothing_may_be_seen(norm_first, dtype):
    """Of a batch, through all layers: its gradients and those of all parameters are finite, in reverse, in forward mode
    and to second order; the other sequences are as they are without it."""
    model, x = nn.TransformerEncoder(8, 2, 2, norm_first=norm_first, dtype=dtype), normal(3, 5, 8, dtype=dtype)
    mask = np.ones((3, 1, 5), bool)
    mask[1] = False

    def loss(model: Any, x: Any) -> Any:
        return (model(x, mask=mask) ** 3).sum()

    attended = model.layers[0].self_attn(x, mask=mask).numpy()
    assert_array_equal(attended[1], np.broadcast_to(model.layers[0].self_attn.out_proj.bias.numpy()[0], (5, 8)))
    y = model(x, mask=mask).numpy()
    near = {"float32": 1e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(y[[0, 2]], model(x[[0, 2]], mask=mask[[0, 2]]).numpy(), rtol=near, atol=near)
    x[0] = 2 * x[0]
    np.testing.assert_array_equal(model(x, mask=mask).numpy()[1:], y[1:])
    gradients = needle.grad(loss, (0, 1))(model, x)
    _, slope = needle.jvp(loss, (model, x), (model, np.ones_like(x)))
    second = needle.hvp(loss, (model, x), (model, np.ones_like(x)))
    for found in needle.nested.flatten((gradients, slope, second))[0]:
        assert np.isfinite(found.numpy() if isinstance(found, Tensor) else found).all()


def test_padding_changes_no_other_row():
    layer, x = nn.TransformerEncoder(8, 2, 2, dtype="float64"), normal(2, 6, 8)
    shown = np.arange(6) < 4
    y = layer(x, mask=np.broadcast_to(shown, (2, 1, 6)))
    x[:, 4:] = 1e6
    np.testing.assert_array_equal(layer(x, mask=np.broadcast_to(shown, (2, 1, 6))).numpy()[:, :4], y.numpy()[:, :4])
    np.testing.assert_allclose(layer(x[:, :4]).numpy(), y.numpy()[:, :4], rtol=1e-10, atol=1e-12)


def test_a_causal_model_does_not_look_ahead():
    layer, x = nn.TransformerEncoder(8, 2, 2, dtype="float64"), normal(1, 6, 8)
    y = layer(x, causal=True).numpy()
    for length in range(1, 7):
        np.testing.assert_allclose(layer(x[:, :length], causal=True).numpy(), y[:, :length], rtol=1e-9, atol=1e-11)


def test_a_sequence_without_a_batch():
    layer, x = nn.TransformerEncoder(8, 2, 1, dtype="float64"), normal(5, 8)
    np.testing.assert_allclose(layer(x, causal=True).numpy(), layer(x[None], causal=True).numpy()[0], rtol=1e-12)


def test_each_layer_has_its_own_draw_and_a_seed_repeats_it():
    a, b = [nn.TransformerDecoder(8, 2, 2, rng=3).state_dict() for _ in range(2)]
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not np.array_equal(a["layers.0.linear1.weight"], a["layers.1.linear1.weight"])
    layer = nn.MultiHeadAttention(8, 2, rng=0)
    before = deepcopy(layer.state_dict())
    layer.reset_parameters(1)
    assert not np.array_equal(before["in_proj_weight"], layer.in_proj_weight.numpy())
    layer.reset_parameters(0)
    assert all(np.array_equal(before[name], array) for name, array in layer.state_dict().items())


def test_dropout_in_a_transformer_is_captured():
    x = normal(2, 5, 8, dtype=np.float32)
    found = []
    for compiled in [False, True]:
        model = nn.TransformerEncoder(8, 2, 2, dropout=0.3, rng=1)

        def step(x: Any, model: Any = model) -> Any:
            loss = (model(x, causal=True) ** 3).sum()  # the sum of squares is the same behind any layer norm
            loss.backward()
            return loss

        step = needle.compile(step) if compiled else step
        losses = [step(Tensor(x, requires_grad=False)).numpy() for _ in range(4)]
        found.append([*losses, *[p.grad.numpy() for p in model.parameters()]])
        assert len({float(loss) for loss in losses}) == 4
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


# -------------------------------------------------------------------------------------------------------- positions


def test_sinusoidal_positions():
    layer = nn.SinusoidalPositions(10, 6, dtype="float64")
    y = layer(np.zeros((2, 4, 6)), 3).numpy()
    for t in range(4):
        for i in range(3):
            angle = (t + 3) / 10000 ** (2 * i / 6)
            np.testing.assert_allclose(y[:, t, 2 * i : 2 * i + 2], [[np.sin(angle), np.cos(angle)]] * 2, atol=1e-12)
    assert layer.state_dict() == {}


def test_learned_positions():
    layer = nn.LearnedPositions(10, 6, dtype="float64", rng=0)
    x = normal(2, 4, 6)
    np.testing.assert_array_equal(layer(x, 3).numpy(), x + layer.weight.numpy()[3:7])
    layer(x).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), np.r_[np.full((4, 6), 2.0), np.zeros((6, 6))])


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_positions_depend_on_distance(interleaved):
    layer = nn.RotaryPositions(50, 8, interleaved=interleaved, dtype="float64")
    q, k = normal(1, 8), normal(1, 8, seed=1)
    products = [(layer(q, t + 7).numpy() * layer(k, t).numpy()).sum() for t in (0, 5, 30)]
    np.testing.assert_allclose(products, products[0], rtol=1e-12)
    x = normal(3, 4, 8)
    np.testing.assert_allclose((layer(x).numpy() ** 2).sum(-1), (x**2).sum(-1), rtol=1e-12)
    pairs = (x[..., ::2] + 1j * x[..., 1::2]) if interleaved else (x[..., :4] + 1j * x[..., 4:])
    turned = pairs * np.exp(1j * np.arange(4)[:, None] / 10000 ** (np.arange(0, 8, 2) / 8))
    y = layer(x).numpy()
    got = (y[..., ::2] + 1j * y[..., 1::2]) if interleaved else (y[..., :4] + 1j * y[..., 4:])
    np.testing.assert_allclose(got, turned, rtol=1e-12)


def test_rotary_positions_in_attention():
    rotary = nn.RotaryPositions(16, 4, dtype="float64")
    model = nn.TransformerEncoder(8, 2, 2, rotary=rotary, dtype="float64")
    y = model(normal(2, 5, 8), causal=True)
    y.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert not any("rotary" in name for name in model.state_dict())
