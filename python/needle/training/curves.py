"""Learning curves: a picture of what a run has logged. Matplotlib is imported here alone, when there is one to draw."""

from __future__ import annotations

from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any

from ..aside import written_aside

_COLUMNS = 3


def draw_curves(path: Path, rows: list[dict[str, Any]], title: str) -> bool:
    """Draw each logged value over the epochs as a PNG file; False where matplotlib is not installed.

    Names with the same last word share a frame: `loss`, `test_loss`.
    """
    try:
        figures: Any = import_module("matplotlib.figure")  # without pyplot: no global state and no window system
        ticker: Any = import_module("matplotlib.ticker")
    except ImportError:
        return False
    frames: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for row in rows for name in row["values"]):
        frames.setdefault(name.rsplit("_", 1)[-1], []).append(name)
    if not frames:
        return True
    columns = min(len(frames), _COLUMNS)
    lines = -(-len(frames) // columns)
    figure = figures.Figure(figsize=(4.2 * columns + 0.8, 3.4 * lines + 0.6), layout="constrained")
    figure.suptitle(title.replace("$", r"\$"), fontsize=10)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid[len(frames) :]:
        axes.set_axis_off()
    for axes, (word, names) in zip(grid, frames.items(), strict=False):
        for name in names:
            points = [
                (row["epoch"], row["values"][name]) for row in rows if isfinite(row["values"].get(name, float("nan")))
            ]
            axes.plot(*zip(*points, strict=True) if points else ([], []), marker="o", markersize=3, label=f" {name}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(word)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    with written_aside(path) as file:
        figure.savefig(file, format="png", dpi=110)
    return True
