"""Trains a language model on the characters of a text: an LSTM, or a Transformer with `--model transformer`.

    python apps/train_text.py

Prints what the model writes as it learns. Writes model.safetensors, history.json, curves.png and, for a Transformer,
attention.png; Ctrl-C keeps a checkpoint, and the same command goes on from it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import blas_threads  # noqa: F401  (first: NumPy reads the environment when it is imported)
import needle
import numpy as np
import text_data
from command import status_of
from models import LanguageModel
from needle import Tensor, data, nn, optim
from text_data import Text

EPOCH = 100
"""Steps between two evaluations."""
MODELS: dict[str, dict[str, Any]] = {
    "lstm": {"embedding": 64, "hidden": 256, "layers": 1, "lr": 4e-3, "steps": 600},
    "transformer": {"embedding": 128, "hidden": 512, "layers": 2, "lr": 2e-3, "steps": 2000},
}
"""The sizes and steps by default."""


def logits_of(model: LanguageModel, rows: Any, state: Any = None) -> tuple[Tensor, Any]:
    """Logits (batch, length, characters) for rows of ids (batch, length), and the state after them."""
    batch, length = rows.shape
    flat, state = model(rows.T, state)
    return needle.numpy.swapaxes(flat.reshape((length, batch, flat.shape[-1])), 0, 1), state


def bits(model: LanguageModel, ids: Any, length: int) -> float:
    """Bits a character of a text: its windows side by side; an LSTM's state goes on from one to the next."""
    rows = 32
    steps = (len(ids) - 1) // (rows * length)
    if steps < 1:
        rows, steps = 1, max((len(ids) - 1) // length, 1)
    inputs, following = [part[: rows * steps * length].reshape(rows, steps, -1) for part in (ids[:-1], ids[1:])]
    total, state = 0.0, None
    with nn.evaluating(model), needle.no_grad():
        for i in range(steps):
            logits, state = logits_of(model, Tensor(inputs[:, i], requires_grad=False), state)
            loss = needle.softmax_loss(logits, Tensor(following[:, i], requires_grad=False))
            total += loss.item()
    return float(total / steps / np.log(2))


def written(model: LanguageModel, text: Text, start: str, count: int, *, length: int, rng: Any) -> str:
    """What the model goes on with after `start`: each character drawn with the probability that it is given."""
    ids = text.encode(start).tolist()
    state, rows = None, np.array([ids])
    with nn.evaluating(model), needle.no_grad():
        for _ in range(count):
            logits, state = logits_of(model, Tensor(rows, requires_grad=False), state)
            scores = logits.numpy()[0, -1].astype(np.float64)
            shares = np.exp(scores - scores.max())
            ids.append(int(rng.choice(len(shares), p=shares / shares.sum())))
            rows = np.array([ids[-length:]]) if state is None else np.array([ids[-1:]])
    return text.decode(ids[len(start) :])


def train(options: argparse.Namespace, text: Text, model: LanguageModel) -> needle.Run:
    """Train to the last step, or until Ctrl-C."""
    opt = optim.AdamW(model, lr=optim.schedules.cosine(options.lr, options.steps, warmup=min(50, options.steps // 10)))
    windows = text_data.Windows(text.train, options.length)
    sampler = data.RandomSampler(windows, replacement=True, num_samples=EPOCH * options.batch)
    loader = data.DataLoader(windows, options.batch, sampler=sampler, rng=options.seed)
    run = needle.Run(options.out, model=model, opt=opt, loader=loader, epochs=max(1, options.steps // EPOCH))
    for rows, following in run:
        logits, _ = logits_of(model, rows)
        loss = needle.softmax_loss(logits, following)
        opt.reset_grad()
        loss.backward()
        opt.clip_grad_norm(1.0)
        opt.step()
        run.log(train_bits=loss.item() / np.log(2))
        if run.epoch_ends:
            run.log(test_bits=bits(model, text.test, options.length))
            rng = np.random.default_rng((options.seed, run.steps))
            print(indented(written(model, text, options.start, 160, length=options.length, rng=rng)), flush=True)
    return run


def indented(text: str) -> str:
    return "\n".join(f"    | {line}" for line in text.splitlines())


def draw_attention(path: Path, model: LanguageModel, text: Text, length: int) -> bool:
    """What each character of a piece of text looks at, in every head of the first layer; False without matplotlib."""
    try:
        import pictures  # noqa: PLC0415  (the import of matplotlib takes long, and may fail)
    except ImportError:
        return False
    n = min(length, 48)
    letters = np.array([character.isalpha() for character in text.characters])[text.test]
    start = n * max(range(len(text.test) // n), key=lambda i: letters[n * i : n * (i + 1)].sum())
    ids = text.test[start : start + n]
    layer = model.model.layers[0]
    with nn.evaluating(model), needle.no_grad(), nn.record(model.model, "layers.0.norm1") as seen:
        logits_of(model, Tensor(ids[None], requires_grad=False))
        x = seen["layers.0.norm1"]
        _, weights = layer.self_attn(x, causal=True, return_weights=True)
    pictures.draw_attention(path, weights.numpy()[0], text.decode(ids), text.source)
    return True


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a language model on the characters of a text.")
    add = parser.add_argument
    add("--model", choices=sorted(MODELS), default="lstm", help="default: lstm")
    add("--data", type=Path, help="a text in UTF-8 (default: the Penn Treebank where it is, else Python's reference)")
    add("--steps", type=int, help=f"steps of training, in hundreds (default: {_defaults('steps')})")
    add("--batch", type=int, default=32, help="windows in a step (default: 32)")
    add("--length", type=int, default=64, help="characters in a window (default: 64)")
    add("--embedding", type=int, help=f"width of a character's vector (default: {_defaults('embedding')})")
    add("--hidden", type=int, help=f"width of the hidden layers (default: {_defaults('hidden')})")
    add("--layers", type=int, help=f"layers (default: {_defaults('layers')})")
    add("--lr", type=float, help=f"the highest learning rate (default: {_defaults('lr')})")
    add("--seed", type=int, default=0, help="of the first weights and the windows (default: 0)")
    add("--start", default="The ", help='what samples go on from (default: "The ")')
    add("--out", type=Path, help="folder for model, history, pictures and checkpoint (default: runs/text-MODEL)")
    options = parser.parse_args(argv)
    for name, value in MODELS[options.model].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name in ("steps", "batch", "length", "embedding", "hidden", "layers"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} must be 1 or more, got {getattr(options, name)}")
    options.out = options.out or Path("runs") / f"text-{options.model}"
    return options


def _defaults(name: str) -> str:
    return ", ".join(f"{values[name]:g} for {model}" for model, values in MODELS.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    return status_of(lambda: _main(arguments(sys.argv[1:] if argv is None else argv)))


def _main(options: argparse.Namespace) -> int:
    text = text_data.load(options.data)
    text.encode(options.start)
    print(f"Data: {text.source}.")
    np.random.seed(options.seed)
    model = LanguageModel(
        options.embedding, len(text.characters), options.hidden, options.layers, options.model, options.length
    )
    count = sum(p.size for p in model.parameters())
    print(f"Model: {options.model}, {count:,} parameters; {options.steps} steps of {options.batch} windows.")
    run = train(options, text, model)
    if run.stopped:
        return 128 + signal.SIGINT
    needle.save(options.out / "model.safetensors", model=model, characters=text.characters)
    if options.model == "transformer":
        draw_attention(options.out / "attention.png", model, text, options.length)
    found = run.history[-1]["values"]["test_bits"]
    print(f"{found:.3f} bits a character after {run.steps} steps, {run.seconds:.0f} s.")
    print(f"In {options.out}: {', '.join(sorted(file.name for file in options.out.iterdir()))}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
