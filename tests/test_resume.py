"""Training that is killed within an epoch, and goes on in a new process, ends with the same bits as without a break."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import needle
import numpy as np
import pytest
from needle import nn, optim
from needle.data import DataLoader, transforms
from needle.data.dataset import ImageDataset
from needle.optim import schedules

EPOCHS, BATCH, IMAGES = 3, 6, 39
"""Seven batches an epoch, the last one smaller."""
CUT = 10
"""Batches before the process is killed, of 21: in the middle of the second epoch."""
CHECKPOINT = "checkpoint.safetensors"


def images() -> ImageDataset:
    rng = np.random.default_rng(0)
    augmentation = [transforms.RandomFlipHorizontal(), transforms.RandomCrop(2), transforms.RandomAffine(15, 0.1)]
    pixels = rng.integers(0, 256, (IMAGES, 3, 8, 8)).astype(np.uint8)
    return ImageDataset(pixels, rng.integers(0, 4, IMAGES), transforms=augmentation, channels_first=True)


class Job:
    """All that takes part in the training, as a program makes it at its start."""

    def __init__(self, workers: int, compiled: bool, seed: int | None):
        np.random.seed(3)
        random.seed(4)
        self.model = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout2d(0.2),
            nn.Flatten(),
            nn.Linear(6 * 64, 16),
            nn.ReLU(),
            nn.Dropout(0.3, rng=np.random.default_rng(5)),
            nn.Linear(16, 4),
        )
        self.plateau = schedules.plateau(0.01, by=0.7, patience=1)
        self.opt = optim.AdamW(self.model.parameters()[:4], schedules.cosine(0.02, 21, warmup=3))
        self.late = optim.SGD(dict(list(self.model.named_parameters())[4:]), self.plateau, momentum=0.9)
        self.ema = optim.EMA(self.model, 0.9, warmup=True)
        self.loader = DataLoader(images(), BATCH, shuffle=True, workers=workers, rng=seed)
        self.loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
        self.step = needle.compile(self._step) if compiled else self._step

    def _step(self, x: Any, y: Any) -> Any:
        loss = self.loss_of(self.model(x), y)
        self.opt.reset_grad()
        self.late.reset_grad()
        loss.backward()
        self.opt.clip_grad_norm(0.5)
        self.opt.step()
        self.late.step()
        self.ema.update()
        return loss

    def objects(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("model", "opt", "late", "ema", "loader")}

    def result(self, losses: list[float]) -> str:
        """All that must be the same, to the last bit."""
        states = [state_of(getattr(self, name)) for name in ("model", "opt", "late", "ema")]
        generators = [np.random.get_state()[1:], random.getstate(), self.model[7].rng.bit_generator.state]
        with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
            return repr([states, generators, losses])


def state_of(thing: Any) -> Any:
    return sorted(thing.state_dict().items())


class Losses(list[float]):
    """An object of the user's own with a state."""

    def state_dict(self) -> dict[str, Any]:
        return {"so far": list(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self[:] = state["so far"]


def with_a_run(job: Job, folder: Path, cut: int | None) -> str:
    """As `needle.Run` keeps it."""
    objects = job.objects()
    run = needle.Run(
        folder, model=objects.pop("model"), opt=objects.pop("opt"), ema=objects.pop("ema"), epochs=EPOCHS, quiet=True,
        save_seconds=1000, losses=(losses := Losses()), **objects,
    )  # fmt: skip
    for x, y in run:
        losses.append(job.step(x, y).item())
        job.plateau.report(losses[-1])
        if run.steps + 1 == cut:
            run.save()
            die()
    return job.result(losses)


def by_hand(job: Job, folder: Path, cut: int | None) -> str:
    """With `needle.save` and `needle.load`, in a loop of one's own."""
    folder.mkdir(exist_ok=True)
    losses: list[float] = []
    file = folder / CHECKPOINT
    generator = job.model[7].rng
    first = 0
    if file.exists():
        saved = needle.load(file, rng=True, generator=generator, **job.objects())
        first, losses = saved["epoch"], saved["losses"]
    for epoch in range(first, EPOCHS):
        for x, y in job.loader:
            losses.append(job.step(x, y).item())
            job.plateau.report(losses[-1])
            if len(losses) == cut:
                needle.save(file, rng=True, generator=generator, epoch=epoch, losses=losses, **job.objects())
                die()
    return job.result(losses)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


WAYS = {"run": with_a_run, "by hand": by_hand}
PROGRAM = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
import test_resume
job = test_resume.Job({workers}, {compiled}, {seed})
found = test_resume.WAYS[{way!r}](job, Path({folder!r}), {cut})
Path({out!r}).write_text(found)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize(
    ("way", "workers", "compiled", "seed"),
    [
        ("run", 0, False, 1), ("run", 1, False, None), ("run", 4, False, 1), ("run", 4, True, None),
        ("by hand", 0, True, None), ("by hand", 1, True, 1), ("by hand", 4, False, None),
    ],
)  # fmt: skip
def test_killed_and_gone_on_with_it_ends_with_the_same_bits(tmp_path, way, workers, compiled, seed):
    whole = WAYS[way](Job(workers, compiled, seed), tmp_path / "whole", None)
    paths = [str(Path(needle.__file__).parents[1]), str(Path(__file__).parent)]
    out = tmp_path / "out"
    ends = []
    for cut in (CUT, None):
        given = {"way": way, "workers": workers, "compiled": compiled, "seed": seed, "cut": cut, "paths": paths}
        program = PROGRAM.format(folder=str(tmp_path / "part"), out=str(out), **given)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
        ends.append((done.returncode, done.stderr))
    assert [code for code, _ in ends] == [-signal.SIGKILL, 0], ends
    assert out.read_text() == whole


def test_all_of_that_takes_part():
    """Each part of the training changes its end, so that a part which is lost would be seen."""

    def trained(**changed: Any) -> str:
        job = Job(0, False, changed.pop("seed", 1))
        for name, value in changed.items():
            setattr(job, name, value)
        losses = [job.step(x, y).item() for x, y in job.loader]
        return job.result(losses)

    expected = trained()
    assert trained() == expected
    assert trained(seed=2) != expected
    plain = DataLoader(images(), BATCH, rng=1)
    assert trained(loader=plain) != expected
    still = images()
    still.transforms = None
    assert trained(loader=DataLoader(still, BATCH, shuffle=True, rng=1)) != expected
