"""The two pictures of a training run: how it learned, and what it still gets wrong. Matplotlib is imported here alone.

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
    path: str | Path, images: Array, labels: Array, logits: Array, *, image_shape: tuple[int, int], title: str
) -> None:
    """The wrongly classified images, each with its label and what it was taken for, as a PNG file.

    images (n, height * width), labels (n,), logits (n, classes). Of many, those that the net was surest of.
    """
    taken = logits.argmax(axis=1)
    wrong = np.flatnonzero(taken != labels)
    margin = logits[wrong, taken[wrong]] - logits[wrong, labels[wrong]]
    shown = wrong[np.argsort(-margin, kind="stable")][:MOST_MISTAKES]
    lines = max(1, -(-len(shown) // _COLUMNS))
    figure = _figure.Figure(figsize=(_COLUMNS * 1.2, lines * 1.4 + 0.6), layout="constrained")
    count = f"{len(wrong):,} of {len(labels):,} test images taken for another digit"
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
        axes.set_title(f"{labels[i]}, taken for {taken[i]}", fontsize=8.5, pad=3)
    _save(figure, path)


def _save(figure: Any, path: str | Path) -> None:
    with written_aside(path) as file:
        figure.savefig(file, format="png", dpi=130)
