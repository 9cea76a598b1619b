"""What a DataLoader costs: an epoch of shuffled batches in memory, and of a dataset that is asked item by item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from harness import COLUMNS, NEEDLE, Budget, Contender, Report, Work, main, one_core, ratio_budget, take_turns

SIZES = {"MNIST's rows": (20_000, 784, 100), "small rows": (6_400, 10, 32)}
"""Items, numbers in a row, and rows in a batch."""
ITEMS, ROW, BATCH = 5_000, 784, 100


def data(n: int, width: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.random((n, width), np.float32), rng.integers(0, 10, n)


class Rows:
    """A dataset as people write them: one item at a time."""

    def __init__(self, X: Any, y: Any):
        self.X, self.y = X, y

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.X[i], int(self.y[i])


def epochs(batches: Callable[[], Iterable[Any]], per: int) -> Work:
    """A step is an epoch; the result is the sum of all rows and of all labels."""

    def step() -> None:
        for _ in batches():
            pass

    def result() -> list[Any]:
        pairs = [(np.asarray(x), np.asarray(y)) for x, y in batches()]
        return [sum(x.sum(0, np.float64) for x, _ in pairs), sum(y.sum(keepdims=True) for _, y in pairs)]

    return Work(step, result, per)


def indexing(n: int, width: int, size: int) -> Work:
    X, y = data(n, width)

    def batches() -> Iterator[Any]:
        order = np.random.permutation(n)
        for i in range(0, n, size):
            yield X[order[i : i + size]], y[order[i : i + size]]

    return epochs(batches, n // size)


def needle_arrays(n: int, width: int, size: int) -> Work:
    needle_data = import_module("needle.data")
    loader = needle_data.DataLoader(needle_data.ArrayDataset(*data(n, width)), size, shuffle=True)
    return epochs(lambda: loader, n // size)


def torch_arrays(n: int, width: int, size: int) -> Work:
    torch_data = _torch_data()
    X, y = map(import_module("torch").from_numpy, data(n, width))
    loader = torch_data.DataLoader(torch_data.TensorDataset(X, y), size, shuffle=True)
    return epochs(lambda: loader, n // size)


def items_alone() -> Work:
    dataset = Rows(*data(ITEMS, ROW))

    def step() -> None:
        for i in np.random.permutation(ITEMS).tolist():
            dataset[i]

    return Work(step, lambda: [dataset.X.sum(0, np.float64), dataset.y.sum(keepdims=True)], ITEMS)


def needle_items(**options: Any) -> Work:
    loader = import_module("needle.data").DataLoader(Rows(*data(ITEMS, ROW)), BATCH, shuffle=True, **options)
    return epochs(lambda: loader, ITEMS)


def torch_items() -> Work:
    loader = _torch_data().DataLoader(Rows(*data(ITEMS, ROW)), BATCH, shuffle=True)
    return epochs(lambda: loader, ITEMS)


def _torch_data() -> Any:
    return import_module("torch.utils.data")


@one_core()
def run(rounds: int) -> list[Report]:
    reports, contenders = [], tuple[Contender, ...]()
    for name, size in SIZES.items():
        contenders = (
            Contender("X[order[i:j]], y[order[i:j]]", partial(indexing, *size)),
            Contender(NEEDLE, partial(needle_arrays, *size)),
            Contender("PyTorch", partial(torch_arrays, *size), "torch"),
        )
        times = take_turns(contenders, rounds, tolerance=1e-6)
        budget = ratio_budget(f"a batch of {name} / its indexing", 1.3, times, contenders[0].name)
        title = f"A batch of {size[2]} rows of {size[1]} float32, and their labels, in memory"
        reports.append(Report(title, COLUMNS, times.rows(), [budget], [times.note]))
    contenders = (
        Contender("its __getitem__ alone", items_alone),
        Contender(NEEDLE, needle_items),
        Contender("Needle, with a seed", partial(needle_items, rng=1)),
        Contender("PyTorch", torch_items, "torch"),
    )
    times = take_turns(contenders, rounds, tolerance=1e-6)
    over = min(times.seconds[NEEDLE]) - min(times.seconds[contenders[0].name])
    budget = Budget("an item, over its __getitem__", 5.0, 1e6 * over, " us")
    title = f"An item of {ROW} float32, and its label, one by one, in batches of {BATCH}"
    return [*reports, Report(title, COLUMNS, times.rows(), [budget], [times.note])]


if __name__ == "__main__":
    main({"loader": run})
