"""Trains the two-layer net logits = relu(X @ W1) @ W2 on handwritten digits, with minibatch SGD and momentum.

    python apps/train_mnist.py

Writes weights.npz, history.json, curves.png and mistakes.png; Ctrl-C keeps a checkpoint, and --resume goes on from it.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import blas_threads  # noqa: F401  (first: NumPy reads the environment when it is imported)
import mnist_data
import needle
import numpy as np
from command import status_of
from mnist_data import Dataset
from needle import Tensor
from needle.aside import written_aside
from numpy.lib.stride_tricks import sliding_window_view
from progress_bar import progress_bar
from simple_ml import check_data, check_labels, gradient, loss_err, one_hot

Array = np.ndarray[Any, Any]

EVALUATED_AT_ONCE = 10_000
"""Rows: bounds the memory that an evaluation takes."""


@dataclass(frozen=True)
class Settings:
    """What a run's numbers depend on, apart from the data. Raises ValueError for what cannot be trained with."""

    epochs: int = 20
    batch: int = 100
    hidden: int = 500
    lr: float = 0.2
    momentum: float = 0.9
    shift: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("hidden", 1), ("shift", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name} must be {least} or more, got {value}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"--lr must be a positive number, got {self.lr}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"--momentum must be at least 0 and below 1, got {self.momentum}")


@dataclass
class Run:
    """All that a run has reached; `save` and `resume` carry it over an interruption without losing a bit.

    An epoch's order and shifts are drawn from the seed and the epoch's number, so the place in the epoch stands for
    the state of the random numbers.
    """

    KEPT: ClassVar = ("data_sha256", "epoch", "step", "seconds", "rows")

    settings: Settings
    data_sha256: str
    weights: list[Tensor]
    velocities: list[Tensor]
    epoch: int = 0  # how many are complete
    step: int = 0  # how many batches of the next one are done
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def start(cls, settings: Settings, data: Dataset) -> Run:
        """A run at its beginning: weights from a normal distribution that keeps the size of what passes through."""
        if settings.shift is None:  # two pixels of MNIST's 28; in 8x8 images, one pixel would be too much
            settings = replace(settings, shift=min(data.image_shape) // 14)
        rng = _generator(settings.seed, 0)
        sizes = (math.prod(data.image_shape), settings.hidden, data.classes)
        weights = [
            Tensor(rng.standard_normal((n, m), np.float32) * np.float32(math.sqrt(2 / n))) for n, m in pairwise(sizes)
        ]
        velocities = [Tensor(np.zeros(w.shape, np.float32), requires_grad=False) for w in weights]
        return cls(settings, data.sha256, weights, velocities)

    def save(self, path: Path) -> None:
        """Write the checkpoint: the whole file, or none."""
        about = {name: getattr(self, name) for name in self.KEPT}
        arrays = {f"W{i}": w.numpy() for i, w in enumerate(self.weights, 1)}
        arrays |= {f"velocity{i}": v.numpy() for i, v in enumerate(self.velocities, 1)}
        with written_aside(path) as file:
            np.savez(file, about=np.array(json.dumps(about | {"settings": asdict(self.settings)})), **arrays)

    @classmethod
    def resume(cls, path: Path, settings: Settings, data: Dataset) -> Run:
        """The run that a checkpoint holds. Raises ValueError if it is another run's, or damaged."""
        run = cls.start(settings, data)
        if not path.is_file():
            raise ValueError(f"--resume: there is no {path}; leave --resume out to start anew, or name another --out")
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                saved, kept = dict(about["settings"]), {name: about[name] for name in cls.KEPT}
                weights = [Tensor(file[f"W{i}"]) for i in (1, 2)]
                velocities = [Tensor(file[f"velocity{i}"], requires_grad=False) for i in (1, 2)]
        except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(f"--resume: {path} is no sound checkpoint ({error}); remove it and start anew") from error
        for setting in fields(Settings):
            was, now = saved.get(setting.name), getattr(run.settings, setting.name)
            if was != now:
                raise ValueError(
                    f"--resume: the run in {path} was started with --{setting.name} {was}, not {now}; "
                    f"give --{setting.name} {was} to go on with it, or leave --resume out to start anew"
                )
        if kept["data_sha256"] != run.data_sha256:
            raise ValueError(
                f"--resume: the run in {path} was started on other data than {data.source}; "
                "name the same --data to go on with it, or leave --resume out to start anew"
            )
        return cls(run.settings, weights=weights, velocities=velocities, **kept)


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng((seed, epoch))


def predict(X: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """The net: X (n, inputs) -> logits (n, classes)."""
    W1, W2 = weights
    return needle.relu(X @ W1) @ W2


def sgd(weights: list[Tensor], velocities: list[Tensor], lr: float, momentum: float) -> None:
    """One step against the gradients that `backward()` left in the weights."""
    with needle.no_grad():
        for i, w in enumerate(weights):
            velocities[i] = momentum * velocities[i] + gradient(w)
            w.data = needle.add(w, velocities[i], alpha=-lr)


def learning_rate(settings: Settings, progress: float) -> float:
    """Half a cosine, from lr at the start (progress 0) to 0 at the end (progress 1)."""
    return settings.lr * 0.5 * (1 + math.cos(math.pi * progress))


def evaluate(X: Array, y: Array, weights: Sequence[Tensor]) -> tuple[float, float]:
    """Mean loss and share of errors on images X (n, inputs) with labels y (n,)."""
    with needle.no_grad():
        parts = [
            loss_err(predict(Tensor(X[i : i + EVALUATED_AT_ONCE]), weights), y[i : i + EVALUATED_AT_ONCE])
            for i in range(0, len(X), EVALUATED_AT_ONCE)
        ]
    counts = [len(X[i : i + EVALUATED_AT_ONCE]) for i in range(0, len(X), EVALUATED_AT_ONCE)]
    loss, error = np.average(np.array(parts, np.float64), axis=0, weights=counts)
    return float(loss), float(error)


def train(
    run: Run,
    data: Dataset,
    checkpoint: Path,
    stopped: Callable[[], bool] = lambda: False,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
) -> bool:
    """Train to the last epoch, or until `stopped()`; True if it came to the end. The run is saved after each epoch.

    Raises ValueError for NaN in the data, labels outside the classes, and a loss that is not finite any more.
    """
    for X, y in ((data.X_train, data.y_train), (data.X_test, data.y_test)):
        check_labels(y, data.classes, len(check_data(X)))
    settings = run.settings
    n, shift = len(data.X_train), settings.shift or 0
    steps = math.ceil(n / settings.batch)
    # windows[i, dy, dx] is image i, moved: a view, from which a batch is gathered in one indexing
    padded = np.pad(data.X_train.reshape(n, *data.image_shape), ((0, 0), (shift, shift), (shift, shift)))
    windows = sliding_window_view(padded, data.image_shape, axis=(1, 2))
    targets = one_hot(data.y_train, data.classes)

    while run.epoch < settings.epochs:
        rng = _generator(settings.seed, run.epoch + 1)
        order, shifts = rng.permutation(n), rng.integers(0, 2 * shift, (2, n), endpoint=True)
        began = time.perf_counter() - run.seconds
        title = f"epoch {run.epoch + 1}/{settings.epochs}"
        with progress_bar(n, title, " examples", done=run.step * settings.batch) as bar:
            for step in range(run.step, steps):
                at = slice(step * settings.batch, (step + 1) * settings.batch)
                rows = order[at]
                images = windows[rows, shifts[0, at], shifts[1, at]].reshape(len(rows), -1)
                lr = learning_rate(settings, (run.epoch + step / steps) / settings.epochs)
                loss, error = _step(run, Tensor(images, requires_grad=False), targets[rows], lr)
                run.step = step + 1
                bar.update(len(rows))
                bar.set_postfix(loss=f"{loss:.3f}", error=f"{100 * error:.1f} %", refresh=False)
                if stopped():
                    run.seconds = time.perf_counter() - began
                    run.save(checkpoint)
                    return False
        train_loss, train_error = evaluate(data.X_train, data.y_train, run.weights)
        test_loss, test_error = evaluate(data.X_test, data.y_test, run.weights)
        run.epoch, run.step, run.seconds = run.epoch + 1, 0, time.perf_counter() - began
        row = {
            "epoch": run.epoch,
            "train_loss": train_loss,
            "train_error": train_error,
            "test_loss": test_loss,
            "test_error": test_error,
            "seconds": round(run.seconds, 3),
        }
        run.rows.append(row)
        run.save(checkpoint)
        report(row)
    return True


def _step(run: Run, X: Tensor, targets: Array, lr: float) -> tuple[float, float]:
    """One step of training; the batch's loss and share of errors before it."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is reported below, by the loss
        logits = predict(X, run.weights)
        loss = needle.softmax_loss(logits, Tensor(targets, requires_grad=False))
        value = float(loss.numpy())
        if not math.isfinite(value):
            raise ValueError(
                f"the loss became {value} in epoch {run.epoch + 1}, step {run.step + 1}: the steps are too long; "
                f"lower --lr (it was {run.settings.lr:g}) or --momentum ({run.settings.momentum:g})"
            )
        loss.backward()
        sgd(run.weights, run.velocities, lr, run.settings.momentum)
    return value, float(np.mean(logits.numpy().argmax(axis=1) != targets.argmax(axis=1)))


# ----------------------------------------------------------------------------------------------------- the command line


def save_results(run: Run, data: Dataset, out: Path) -> None:
    """Write weights.npz and history.json."""
    W1, W2 = run.weights
    with written_aside(out / "weights.npz") as file:
        np.savez(file, W1=W1.numpy(), W2=W2.numpy())
    history = {
        "net": "logits = relu(X @ W1) @ W2",
        "data": data.source,
        "data_sha256": run.data_sha256,
        "settings": asdict(run.settings),
        "seconds": round(run.seconds, 3),
        "epochs": run.rows,
    }
    with written_aside(out / "history.json") as file:
        file.write(json.dumps(history, indent=1).encode() + b"\n")


def draw(run: Run, data: Dataset, out: Path) -> bool:
    """Draw curves.png and mistakes.png; False, after saying what to install, where matplotlib is missing."""
    try:
        import pictures  # noqa: PLC0415  (the import of matplotlib takes longer than an epoch, and may fail)
    except ImportError as error:
        print(f"no pictures: {error} (pip install matplotlib, then the same command with --resume)", file=sys.stderr)
        return False
    with needle.no_grad():
        logits = predict(Tensor(data.X_test), run.weights).numpy()
    pictures.draw_curves(out / "curves.png", run.rows, data.source)
    pictures.draw_mistakes(
        out / "mistakes.png", data.X_test, data.y_test, logits, image_shape=data.image_shape, title=data.source
    )
    return True


@contextmanager
def signals_held() -> Iterator[Callable[[], int]]:
    """`with signals_held() as caught:` Ctrl-C and SIGTERM do nothing but make `caught()` their number.

    So that they fall between two steps, never into one. A second Ctrl-C stops at once.
    """
    numbers: list[int] = []

    def catch(number: int, frame: FrameType | None) -> None:
        numbers.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: numbers[0] if numbers else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    defaults = Settings()
    parser = argparse.ArgumentParser(
        description="Train a two-layer net on handwritten digits.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--epochs", type=int, default=defaults.epochs, help="passes over the training set")
    add("--batch", type=int, default=defaults.batch, help="examples in a step")
    add("--hidden", type=int, default=defaults.hidden, help="width of the hidden layer")
    add("--lr", type=float, default=defaults.lr, help="learning rate at the start; it falls to 0 along a half cosine")
    add("--momentum", type=float, default=defaults.momentum, help="share of the last step that is taken again")
    add(
        "--shift",
        type=int,
        default=argparse.SUPPRESS,
        help="move the training images at random by up to this many pixels (default: a 14th of their side)",
    )
    add("--seed", type=int, default=defaults.seed, help="of the first weights, the order and the shifts")
    add("--out", type=Path, default=Path("runs/mnist"), help="folder for weights, history, pictures and checkpoint")
    add("--data", type=Path, default=argparse.SUPPRESS, help="folder that holds mnist/ (default: NEEDLE_DATA, if set)")
    add(
        "--mirror",
        action="append",
        default=argparse.SUPPRESS,
        help="where to download MNIST from, if it is not there; may be repeated (default: the usual places)",
    )
    add("--resume", action="store_true", help="go on from the checkpoint in --out")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    return status_of(lambda: _main(arguments(argv), argv))


def _main(options: argparse.Namespace, argv: list[str]) -> int:
    began = time.perf_counter()
    settings = Settings(**{f.name: getattr(options, f.name) for f in fields(Settings) if hasattr(options, f.name)})
    data = mnist_data.load(getattr(options, "data", None), mirrors=getattr(options, "mirror", None))
    checkpoint = options.out / "checkpoint.npz"
    run = Run.resume(checkpoint, settings, data) if options.resume else Run.start(settings, data)
    print(f"Data: {data.source}.")
    shapes = ", ".join(f"W{i} {w.shape}" for i, w in enumerate(run.weights, 1))
    print(f"Net: relu(X @ W1) @ W2, {shapes}; " + ", ".join(f"{k} {v}" for k, v in asdict(run.settings).items()) + ".")
    if run.epoch or run.step:
        print(f"Resumed after {run.epoch} epochs and {run.step} steps.")
    print("epoch   train loss    error   test loss    error   seconds")
    for row in run.rows:
        _print_row(row)
    with signals_held() as caught:
        finished = train(run, data, checkpoint, stopped=lambda: caught() != 0, report=_print_row)
    save_results(run, data, options.out)
    if not finished:
        again = shlex.join(["python", sys.argv[0], *(a for a in argv if a != "--resume"), "--resume"])
        print(f"Interrupted in epoch {run.epoch + 1}, after step {run.step}; all is kept in {checkpoint}.")
        print(f"To go on: {again}", flush=True)
        return 128 + caught()
    drawn = draw(run, data, options.out)
    print(
        f"Test error {100 * run.rows[-1]['test_error']:.2f} % after {run.epoch} epochs, "
        f"{run.seconds:.1f} s of training, {time.perf_counter() - began:.1f} s in all.\n"
        f"In {options.out}: weights.npz, history.json{', curves.png, mistakes.png' if drawn else ''}."
    )
    return 0


def _print_row(row: dict[str, Any]) -> None:
    print(
        f"{row['epoch']:5d} {row['train_loss']:12.4f} {100 * row['train_error']:6.2f} % "
        f"{row['test_loss']:11.4f} {100 * row['test_error']:6.2f} % {row['seconds']:9.1f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
