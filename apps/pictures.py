"""Pictures of a training run: how it learned, what it still gets wrong, and what it looks at. Matplotlib is imported
here alone.

Raises ImportError where matplotlib is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from needle.aside import written_aside

Array = np.ndarray[Any, Any]

# By name, and Figure without pyplot: no global state, so it may be drawn from any thread, and no window system.
_figure: Any = import_module("matplotlib.figure")
_ticker: Any = import_module("matplotlib.ticker")

TRAIN, TEST = "#4477aa", "#cc6633"
MOST_MISTAKES = 40
_COLUMNS = 8


def draw_curves(path: str | Path, rows: Sequence[dict[str, Any]], title: str) -> None:
    """Loss and error over the epochs, on the training and the test set, as a PNG file."""
    figure = _figure.Figure(figsize=(10, 4.2), layout="constrained")
    figure.suptitle(title, fontsize=10)
    epochs = [row["epoch"] for row in rows]
    for axes, what, factor, label in zip(
        figure.subplots(1, 2), ("loss", "error"), (1, 100), ("softmax loss (nats)", "error (%)"), strict=True
    ):
        for part, color, marker in (("train", TRAIN, "o"), ("test", TEST, "s")):
            values = [row[f"{part}_{what}"] * factor for row in rows]
            unit = " %" if what == "error" else ""
            last = f"{part}: {values[-1]:.{2 if unit else 3}f}{unit} at the end" if values else part
            axes.plot(epochs, values, color=color, marker=marker, markersize=3.5, linewidth=1.5, label=last)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(_ticker.MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    _save(figure, path)


def draw_mistakes(
    path: str | Path,
    images: Array,
    labels: Array,
    logits: Array,
    *,
    image_shape: tuple[int, ...],
    title: str,
    names: Sequence[str] | None = None,
) -> None:
    """The wrongly classified images, each with its label and what it was taken for, as a PNG file.

    images (n, pixels) of `image_shape`, labels (n,), logits (n, classes). Of many, those that the net was surest of.
    Labels are written as `names`, or as the digits that they are.
    """
    what, names = ("digit", [str(i) for i in range(logits.shape[1])]) if names is None else ("thing", names)
    taken = logits.argmax(axis=1)
    wrong = np.flatnonzero(taken != labels)
    margin = logits[wrong, taken[wrong]] - logits[wrong, labels[wrong]]
    shown = wrong[np.argsort(-margin, kind="stable")][:MOST_MISTAKES]
    lines = max(1, -(-len(shown) // _COLUMNS))
    figure = _figure.Figure(figsize=(_COLUMNS * 1.2, lines * 1.4 + 0.6), layout="constrained")
    count = f"{len(wrong):,} of {len(labels):,} test images taken for another {what}"
    if len(shown) < len(wrong):
        count += f"; the {len(shown)} that the net was surest of"
    figure.suptitle(f"{title}\n{count}", fontsize=10)
    grid = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    for axes, i in zip(grid, shown, strict=False):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#cccccc")
        axes.imshow(images[i].reshape(image_shape), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(
            f"{names[labels[i]]}, taken for {names[taken[i]]}", fontsize=8.5 if what == "digit" else 6, pad=3
        )
    _save(figure, path)


def draw_attention(path: str | Path, weights: Array, text: str, title: str) -> None:
    """What each character looks at, as a PNG file: a square for each head, a row for each character that looks.

    weights (heads, n, n), each row of which sums to 1; text of n characters.
    """
    heads = len(weights)
    columns = min(heads, 2)
    lines = -(-heads // columns)
    figure = _figure.Figure(figsize=(6.2 * columns, 6.2 * lines + 0.5), layout="constrained")
    figure.suptitle(f"{title}\nwhat each character (rows) looks at (columns)", fontsize=10)
    letters = [_SHOWN.get(character, character) for character in text]
    for head, axes in enumerate(figure.subplots(lines, columns, squeeze=False).ravel()):
        if head >= heads:
            axes.set_axis_off()
            continue
        axes.imshow(weights[head], cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.set_xticks(range(len(text)), letters, fontsize=6)
        axes.set_yticks(range(len(text)), letters, fontsize=6)
        axes.tick_params(length=0)
        axes.set_title(f"head {head}", fontsize=9)
    _save(figure, path)


_SHOWN = {" ": "\N{OPEN BOX}", "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "$": r"\$"}
"""Characters that would not be seen, or are matplotlib's notation."""


def draw_filters(path: str | Path, filters: Array, title: str) -> None:
    """The filters of a first layer, as a PNG file: (height, width, channels, n), in grey for one channel, in colour for
    three; each is stretched to its own range."""
    n = filters.shape[-1]
    lines = -(-n // _COLUMNS)
    figure = _figure.Figure(figsize=(_COLUMNS * 1.1, lines * 1.1 + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for i, axes in enumerate(figure.subplots(lines, _COLUMNS, squeeze=False).ravel()):
        axes.set_axis_off()
        if i < n:
            image = filters[..., i]
            image = (image - image.min()) / max(float(np.ptp(image)), 1e-12)
            axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", interpolation="nearest")
    _save(figure, path)


def _save(figure: Any, path: str | Path) -> None:
    with written_aside(path) as file:
        figure.savefig(file, format="png", dpi=130)
