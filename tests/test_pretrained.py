"""Weights that PyTorch and Hugging Face's `transformers` saved, brought into models of ours: they compute the same.

The carried files are in pretrained/, with the program that made them; where PyTorch is installed, larger models too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor, nn
from needle.files import read_safetensors, read_torch
from needle.nn import functional
from numpy.testing import assert_allclose, assert_array_equal

CARRIED = Path(__file__).parent / "pretrained"
EXPECTED = read_safetensors(CARRIED / "expected.safetensors")


def expected(name: str) -> tuple[Any, Any]:
    return EXPECTED[f"{name}.x"], EXPECTED[f"{name}.y"]


def state_in(file: str) -> Any:
    """What a carried file holds."""
    return (read_safetensors if file.endswith(".safetensors") else read_torch)(CARRIED / file)


def assert_same(model: Any, name: str) -> None:
    x, y = expected(name)
    found = model.eval()(x)
    assert found.dtype == np.float32 and found.shape == y.shape
    assert_allclose(found.numpy(), y, rtol=1e-5, atol=1e-5)


# -------------------------------------------------------------------------------------------------------------- images


def cnn() -> Any:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, (3, 2), padding=1, groups=2, bias=False),
        nn.GroupNorm(3, 6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 5),
    )


@pytest.mark.parametrize("file", ["cnn.pt", "cnn.safetensors"])
def test_a_net_for_images(file):
    model = cnn()
    report = nn.load_torch(model, state_in(file))
    assert report.complete and len(report.loaded) == len(model.state_dict())
    assert_same(model, "cnn")


def test_a_net_for_images_in_a_model_of_other_names():
    class Net(nn.Module):
        def __init__(self) -> None:
            self.body, self.head = cnn()[:9], [nn.Linear(24, 5)]

        def forward(self, x: Any) -> Any:
            return self.head[0](self.body(x))

    def rename(name: str) -> str:
        return name.replace("9.", "head.0.") if name.startswith("9.") else f"body.{name}"

    model = Net()
    nn.load_torch(model, read_torch(CARRIED / "cnn.pt"), rename=rename)
    assert_same(model, "cnn")
    again = Net()
    nn.load_torch(again, read_torch(CARRIED / "cnn.pt"), rename={"": "body.", "9.": "head.0."})
    assert_same(again, "cnn")


def test_all_or_nothing_is_loaded():
    model = cnn()
    before = model.state_dict()
    state = dict(read_torch(CARRIED / "cnn.pt"))
    state["9.weight"] = state["9.weight"][:, :23]
    with pytest.raises(nn.LoadError, match=r"9\.weight.*\(24, 5\).*\(23, 5\)"):
        nn.load_torch(model, state)
    for name, a in model.state_dict().items():
        assert_array_equal(a, before[name])


def test_what_was_loaded_can_be_trained():
    model = cnn()
    nn.load_torch(model, read_torch(CARRIED / "cnn.pt"))
    model.requires_grad_(False).requires_grad_(True, "9.*")
    opt = needle.optim.Adam(model, lr=0.05)
    x, y = expected("cnn")[0], np.array([0, 1, 2, 3])
    body = model.state_dict()["4.weight"]
    losses = []
    for _ in range(60):
        opt.reset_grad()
        loss = nn.SoftmaxLoss()(model.eval()(x), y)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5
    assert_array_equal(model.state_dict()["4.weight"], body)


# ---------------------------------------------------------------------------------------------------------------- text


class Text(nn.Module):
    """As the checkpoint's model, with our names within the LSTM."""

    def __init__(self) -> None:
        self.embedding = nn.Embedding(17, 5)
        self.lstm = nn.LSTM(5, 7, num_layers=2)
        self.head = nn.Linear(7, 17)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(self.embedding(x))[0])


@pytest.mark.parametrize("file", ["lstm.pt", "lstm.safetensors"])
def test_a_recurrent_language_model(file):
    state = state_in(file)
    if file == "lstm.pt":  # a whole checkpoint
        assert state["epoch"] == 3 and state["config"] == {"width": 7}
        state = state["model"]
    model = Text()
    nn.load_torch(model, state)
    assert model.lstm.lstm_cells[1].W_ih.shape == (7, 28)
    assert_same(model, "lstm")


def test_a_whole_checkpoint_is_no_state():
    with pytest.raises(TypeError, match=r"load_torch\(Text\): 'model' is no array of numbers"):
        nn.load_torch(Text(), read_torch(CARRIED / "lstm.pt"))


# ---------------------------------------------------------------------------------------------------------------- GPT-2


class Attention(nn.Module):
    """With the names, and the layout (in, out), of Hugging Face's Conv1D, which is that of our Linear."""

    def __init__(self, dim: int, heads: int) -> None:
        self.c_attn, self.c_proj, self.heads = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), heads

    def forward(self, x: Any) -> Any:
        n, steps, dim = x.shape
        parts = self.c_attn(x).reshape((n, steps, 3, self.heads, dim // self.heads))
        q, k, v = (needle.transpose(parts[:, :, i], (1, 2)) for i in range(3))
        out = needle.attention(q, k, v, causal=True)
        return self.c_proj(needle.transpose(out, (1, 2)).reshape((n, steps, dim)))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        self.ln_1, self.attn, self.ln_2 = nn.LayerNorm(dim), Attention(dim, heads), nn.LayerNorm(dim)
        self.mlp = {"c_fc": nn.Linear(dim, 4 * dim), "c_proj": nn.Linear(4 * dim, dim)}

    def forward(self, x: Any) -> Any:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["c_proj"](functional.gelu(self.mlp["c_fc"](self.ln_2(x)), "tanh"))


class GPT2(nn.Module):
    """GPT-2 with Hugging Face's names: a file is loaded as it is, but for the layouts."""

    def __init__(self, words: int = 23, length: int = 12, dim: int = 8, heads: int = 2, blocks: int = 2) -> None:
        self.wte, self.wpe = nn.Embedding(words, dim), nn.Embedding(length, dim)
        self.h, self.ln_f = [Block(dim, heads) for _ in range(blocks)], nn.LayerNorm(dim)

    def forward(self, ids: Any) -> Any:
        x = self.wte(ids) + self.wpe(np.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T


class Encoder(nn.Module):
    """GPT-2 made of our own parts: the names of a file are translated."""

    def __init__(self, words: int = 23, length: int = 12, dim: int = 8, heads: int = 2, blocks: int = 2) -> None:
        self.tokens, self.positions = nn.Embedding(words, dim), nn.LearnedPositions(length, dim)
        self.body = nn.TransformerEncoder(dim, heads, blocks, activation=lambda x: functional.gelu(x, "tanh"))

    def forward(self, ids: Any) -> Any:
        return self.body(self.positions(self.tokens(ids)), causal=True) @ self.tokens.weight.T


OF_CONV1D = ["*.c_attn.weight", "*.c_proj.weight", "*.c_fc.weight"]
OF_ENCODER = ["*.in_proj_weight", "*.out_proj.weight", "*.linear1.weight", "*.linear2.weight"]
PARTS = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "attn.c_attn.weight": "self_attn.in_proj_weight",
    "attn.c_attn.bias": "self_attn.in_proj_bias",
    "attn.c_proj": "self_attn.out_proj",
    "mlp.c_fc": "linear1",
    "mlp.c_proj": "linear2",
    "wte": "tokens",
    "wpe": "positions",
    "ln_f": "body.norm",
    "h.": "body.layers.",
}


def plain(name: str) -> str | None:
    """A name without its prefix; None for what is no weight: masks of old versions, and the tied head."""
    name = name.removeprefix("transformer.")
    return None if re.search(r"\.attn\.(masked_)?bias$|^lm_head\.", name) else name


def translated(name: str) -> str | None:
    found = plain(name)
    for old, new in PARTS.items():
        found = found and found.replace(old, new)
    return found


FILES = ["gpt2.safetensors", "gpt2.bin"]


@pytest.mark.parametrize("file", FILES)
def test_gpt2_by_its_own_names(file):
    model = GPT2()
    report = nn.load_torch(model, state_in(file), rename=plain, input_first=OF_CONV1D)
    assert report.complete and len(report.loaded) == 28
    assert_same(model, "gpt2")


@pytest.mark.parametrize("file", FILES)
def test_gpt2_in_parts_of_ours(file):
    model = Encoder()
    nn.load_torch(model, state_in(file), rename=translated, input_first=OF_ENCODER)
    assert_same(model, "gpt2")


def test_conv1d_needs_no_load_torch():
    """The file's layout is ours: only the biases are rows here."""
    model = GPT2()
    state = {plain(name): a for name, a in read_safetensors(CARRIED / "gpt2.safetensors").items()}
    shapes = {name: a.shape for name, a in model.state_dict().items()}
    model.load_state_dict({name: a.reshape(shapes[name]) for name, a in state.items()})
    assert_same(model, "gpt2")


def test_a_prefix_is_proposed():
    with pytest.raises(nn.LoadError, match=r"rename=\{'transformer\.': ''\} brings 28 of these names together"):
        nn.load_torch(GPT2(), read_safetensors(CARRIED / "gpt2.safetensors"), input_first=OF_CONV1D)
    model = GPT2()
    state = read_safetensors(CARRIED / "gpt2.safetensors")
    nn.load_torch(model, state, rename={"transformer.": ""}, input_first=OF_CONV1D)
    assert_same(model, "gpt2")


def test_buffers_of_old_versions_are_reported():
    with pytest.raises(nn.LoadError) as caught:
        nn.load_torch(GPT2(), read_torch(CARRIED / "gpt2.bin"), input_first=OF_CONV1D)
    unexpected = [f"h.{i}.attn.{name}" for i in range(2) for name in ("bias", "masked_bias")]
    assert sorted(caught.value.report.unexpected) == sorted(unexpected) and not caught.value.report.missing
    report = nn.load_torch(model := GPT2(), read_torch(CARRIED / "gpt2.bin"), strict=False, input_first=OF_CONV1D)
    assert sorted(report.unexpected) == sorted(unexpected)
    assert_same(model, "gpt2")


def test_a_head_tied_to_the_table():
    """A file with both names of a tied weight, and one with the first alone."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            self.transformer = GPT2()
            self.lm_head = nn.Embedding(23, 8)
            self.lm_head.weight = self.transformer.wte.weight

        def forward(self, ids: Any) -> Any:
            return self.transformer(ids)

    state = read_safetensors(CARRIED / "gpt2.safetensors")
    options: dict[str, Any] = {"input_first": OF_CONV1D}
    for given in (state, {**state, "lm_head.weight": state["transformer.wte.weight"]}):
        model = Tied()
        nn.load_torch(model, given, **options)
        assert model.lm_head.weight is model.transformer.wte.weight
        assert_same(model, "gpt2")
    with pytest.raises(nn.LoadError, match=r"is one tensor in the model under"):
        nn.load_torch(Tied(), {**state, "lm_head.weight": state["transformer.wte.weight"] + 1}, **options)


def test_gpt2_writes_on(tmp_path):
    """The text that it makes, word by word, is the same after a way through our own file."""
    models = GPT2(), GPT2()
    nn.load_torch(models[0], read_torch(CARRIED / "gpt2.bin"), rename=plain, input_first=OF_CONV1D)
    needle.save(tmp_path / "gpt2.safetensors", model=models[0])
    needle.load(tmp_path / "gpt2.safetensors", model=models[1])
    texts = []
    for model in models:
        ids = [3, 14]
        while len(ids) < 12:
            ids.append(int(model(np.array([ids])).numpy()[0, -1].argmax()))
        texts.append(ids)
    assert texts[0] == texts[1] and len(set(texts[0][2:])) > 1


# ---------------------------------------------------------------------------------------------------------------- Llama


class LlamaLayer(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int, rotary: Any) -> None:
        def linear(a: int, b: int) -> Any:
            return nn.Linear(a, b, bias=False)

        self.input_layernorm, self.post_attention_layernorm = nn.RMSNorm(dim, 1e-5), nn.RMSNorm(dim, 1e-5)
        self.self_attn = {f"{name}_proj": linear(dim, dim) for name in "qkvo"}
        self.mlp = {"gate_proj": linear(dim, hidden), "up_proj": linear(dim, hidden), "down_proj": linear(hidden, dim)}
        self.rotary, self.heads = rotary, heads

    def forward(self, x: Any) -> Any:
        n, steps, dim = x.shape
        y = self.input_layernorm(x)
        q, k, v = (
            needle.transpose(self.self_attn[f"{name}_proj"](y).reshape((n, steps, self.heads, -1)), (1, 2))
            for name in "qkv"
        )
        out = needle.attention(self.rotary(q), self.rotary(k), v, causal=True)
        x = x + self.self_attn["o_proj"](needle.transpose(out, (1, 2)).reshape((n, steps, dim)))
        y = self.post_attention_layernorm(x)
        return x + self.mlp["down_proj"](functional.silu(self.mlp["gate_proj"](y)) * self.mlp["up_proj"](y))


class Llama(nn.Module):
    def __init__(self) -> None:
        rotary = nn.RotaryPositions(16, 4)
        self.embed_tokens = nn.Embedding(23, 8)
        self.layers = [LlamaLayer(8, 2, 20, rotary) for _ in range(2)]
        self.norm, self.lm_head = nn.RMSNorm(8, 1e-5), nn.Linear(8, 23, bias=False)

    def forward(self, ids: Any) -> Any:
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


def test_llama():
    model = Llama()
    nn.load_torch(model, read_safetensors(CARRIED / "llama.safetensors"), rename={"model.": ""})
    assert_same(model, "llama")


# ------------------------------------------------------------------------------------------- where PyTorch is installed


def of_torch(torch: Any) -> dict[str, tuple[Any, Any, Any]]:
    """Pairs of models, PyTorch's and ours, with an input."""

    class TorchText(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(17, 5)
            self.lstm = torch.nn.LSTM(5, 7, num_layers=2)
            self.head = torch.nn.Linear(7, 17)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(self.embedding(x))[0])

    t = torch.nn
    images = t.Sequential(
        t.Conv2d(3, 4, 3, stride=2, padding=1),
        t.BatchNorm2d(4),
        t.ReLU(),
        t.MaxPool2d(2),
        t.Conv2d(4, 6, (3, 2), padding=1, groups=2, bias=False),
        t.GroupNorm(3, 6),
        t.ReLU(),
        t.AdaptiveAvgPool2d(2),
        t.Flatten(),
        t.Linear(24, 5),
    )
    layer = t.TransformerEncoderLayer(12, 3, 20, activation="gelu", batch_first=True, norm_first=True)
    encoder = t.TransformerEncoder(layer, 2, t.LayerNorm(12), enable_nested_tensor=False)
    rng = np.random.default_rng(0)
    return {
        "cnn": (images, cnn(), rng.standard_normal((4, 3, 20, 15)).astype(np.float32)),
        "lstm": (TorchText(), Text(), rng.integers(0, 17, (20, 6))),
        "encoder": (encoder, nn.TransformerEncoder(12, 3, 2, 20), rng.standard_normal((2, 9, 12)).astype(np.float32)),
    }


@pytest.mark.parametrize("file", ["a.pt", "legacy.pt", "a.safetensors"])
@pytest.mark.parametrize("name", ["cnn", "lstm", "encoder"])
def test_models_saved_by_torch(tmp_path, name, file):
    torch = pytest.importorskip("torch")
    theirs, ours, x = of_torch(torch)[name]
    path = tmp_path / file
    if file.endswith("safetensors"):
        pytest.importorskip("safetensors.torch").save_file(theirs.state_dict(), path)
        state = read_safetensors(path)
    else:
        torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=file == "a.pt")
        state = read_torch(path)
    nn.load_torch(ours, state)
    with torch.no_grad():
        y = theirs.eval()(torch.tensor(x)).numpy()
    assert_allclose(ours.eval()(Tensor(x, requires_grad=False)).numpy(), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["cnn", "lstm", "encoder"])
def test_torch_takes_our_states_back(tmp_path, name):
    torch = pytest.importorskip("torch")
    theirs, ours, x = of_torch(torch)[name]
    needle.files.write_safetensors(tmp_path / "a.safetensors", nn.torch_state_dict(ours))
    theirs.load_state_dict(pytest.importorskip("safetensors.torch").load_file(tmp_path / "a.safetensors"))
    with torch.no_grad():
        y = theirs.eval()(torch.tensor(x)).numpy()
    assert_allclose(ours.eval()(Tensor(x, requires_grad=False)).numpy(), y, rtol=1e-5, atol=1e-5)
