"""The program that trains language models, on a text of its own, as a user runs it."""

from __future__ import annotations

import json
from importlib.util import find_spec

import needle
import numpy as np
import pytest
import text_data
import train_text

TEXT = "The quick brown fox jumps over the lazy dog. " * 400


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def small(file, out, *more):
    sizes = ["--embedding", "16", "--hidden", "32", "--layers", "1", "--batch", "8", "--length", "32", "--steps", "100"]
    return ["--data", str(file), "--out", str(out), *sizes, *more]


@pytest.mark.parametrize("model", ["lstm", "transformer"])
def test_it_learns_a_sentence_and_saves_what_it_learned(model, file, tmp_path, capsys):
    out = tmp_path / model
    assert train_text.main(small(file, out, "--model", model, "--lr", "0.02")) == 0
    row = json.loads((out / "history.json").read_text())[-1]
    assert row["steps"] == 100
    # 28 characters are 4.8 bits; their frequencies alone, 4.4.
    assert row["values"]["test_bits"] < 1.5
    said = capsys.readouterr().out
    assert "18,000 characters" not in said
    assert "17,100 characters to train, 900 to test, 29 different ones" in said
    assert "    | " in said
    saved = needle.load(out / "model.safetensors")
    assert saved["characters"] == "".join(sorted(set(TEXT)))
    assert (out / "attention.png").is_file() == (model == "transformer" and find_spec("matplotlib") is not None)


def test_a_run_that_is_complete_says_so_and_gives_the_same_figure(file, tmp_path, capsys):
    out = tmp_path / "run"
    assert train_text.main(small(file, out)) == 0
    first = capsys.readouterr().out.splitlines()[-2]
    assert train_text.main(small(file, out)) == 0
    again = capsys.readouterr().out
    assert "all 1 epochs are complete" in again
    assert first.split(" after")[0] in again


def test_samples_go_on_from_the_start_with_the_state_of_one_character_at_a_time(file):
    text = text_data.load(file)
    model = train_text.LanguageModel(8, len(text.characters), 16, 1, "lstm", 32)
    written = train_text.written(model, text, "The ", 50, length=32, rng=np.random.default_rng(0))
    assert len(written) == 50
    assert set(written) <= set(text.characters)
    # The logits of a whole text are those of its characters one after the other.
    ids = text.encode("The quick brown")[None]
    whole, _ = train_text.logits_of(model, needle.Tensor(ids, requires_grad=False))
    state, parts = None, []
    for i in range(ids.shape[1]):
        logits, state = train_text.logits_of(model, needle.Tensor(ids[:, i : i + 1], requires_grad=False), state)
        parts.append(logits.numpy())
    np.testing.assert_allclose(whole.numpy(), np.concatenate(parts, 1), rtol=1e-5, atol=1e-6)


def test_bits_of_a_model_that_knows_nothing_are_those_of_equal_shares(file):
    text = text_data.load(file)
    model = train_text.LanguageModel(8, len(text.characters), 16, 1, "lstm", 32)
    for p in model.parameters():
        p.data = np.zeros(p.shape, np.float32)
    assert train_text.bits(model, text.test, 32) == pytest.approx(np.log2(len(text.characters)), rel=1e-6)


def test_without_a_file_python_carries_a_text(monkeypatch, tmp_path):
    monkeypatch.delenv("NEEDLE_DATA", raising=False)
    monkeypatch.setattr(text_data, "HOME", tmp_path)
    text = text_data.load()
    assert "the language reference that Python carries" in text.source
    assert len(text.train) > 300_000
    assert text.decode(text.test[:40]) in "".join(text.characters[i] for i in text.test)
    (tmp_path / "ptb").mkdir()
    for name in ("train", "test"):
        (tmp_path / "ptb" / f"{name}.txt").write_text("a sentence a line <unk> \n" * 50)
    assert "Penn Treebank" in text_data.load().source


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", "0"], "--steps must be 1 or more, got 0"),
        (["--start", "\N{SNOWMAN}"], "characters that the model has never seen"),
        (["--data", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, said, file, tmp_path, capsys):
    given = small(file, tmp_path / "out", *arguments)
    assert train_text.main(given) == 1
    assert said in capsys.readouterr().err


def test_a_text_that_is_too_short_is_refused(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("short", encoding="utf-8")
    with pytest.raises(ValueError, match="5 characters are too few"):
        text_data.load(path)
