"""Runs: what they log and write, and that no interruption costs a bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import needle
import numpy as np
import pytest
from needle import nn
from needle.data import DataLoader, NDArrayDataset
from numpy.testing import assert_array_equal

X = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


class Steps:
    """A model with a state, for runs in which nothing is trained."""

    def __init__(self):
        self.count = 0

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def quiet_run(folder, **given):
    return needle.Run(folder, **{"model": Steps(), "loader": list(range(4)), "quiet": True} | given)


# ------------------------------------------------------------------------------------------------------ exact resume


class Flaky:
    """A dataset that augments its items from NumPy's global state, as the course's transforms do."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i] + np.random.rand(3).astype(np.float32), Y[i]


def loaders():
    data = NDArrayDataset(X, Y)
    return {
        "global state": lambda: DataLoader(data, 7, shuffle=True),
        "seed": lambda: DataLoader(data, 7, shuffle=True, rng=3),
        "one worker": lambda: DataLoader(data, 7, shuffle=True, rng=3, workers=1),
        "four workers": lambda: DataLoader(data, 7, shuffle=True, workers=4),
        "augmented": lambda: DataLoader(Flaky(), 7, shuffle=True),
        "a list": lambda: [(needle.Tensor(X[i : i + 7]), needle.Tensor(Y[i : i + 7])) for i in range(0, 49, 7)],
        "without a state": WithoutState,
    }


class WithoutState:
    """Somebody's own loader: a new order in each epoch, noise in each batch, and no way to say where it stands."""

    def __len__(self):
        return 8

    def __iter__(self):
        order = np.random.permutation(50)
        for i in range(0, 50, 7):
            rows = order[i : i + 7]
            noise = np.random.rand(len(rows), 3).astype(np.float32) * random.random()
            yield needle.Tensor(X[rows] + noise), needle.Tensor(Y[rows])


def train(folder, which, batches=None, finish=lambda run: run.stop(), **given):
    """A run of three epochs, or so many batches of it. Returns all that must be the same bit for bit."""
    np.random.seed(11)
    random.seed(12)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.ReLU(), nn.Dropout(0.3, rng=5), nn.Linear(8, 2))
    opt = needle.optim.Adam(model, lr=0.01)
    ema = needle.optim.EMA(model, 0.9)
    loss_of = nn.SoftmaxLoss()
    run = needle.Run(folder, model=model, opt=opt, loader=loaders()[which](), epochs=3, ema=ema, quiet=True, **given)
    for x, y in run:
        loss = loss_of(model(x), y)
        opt.reset_grad()
        loss.backward()
        opt.step()
        ema.update()
        run.log(loss=loss, draw=np.random.randn() + random.random())
        if run.epoch_ends:
            run.log(norm=np.linalg.norm(model[0].weight.numpy()))
        if batches is not None and run.steps + 1 == batches:
            finish(run)
    numbers = [model.state_dict(), opt.state_dict(), ema.state_dict(), np.random.get_state()[1:], random.getstate()]
    return repr([*numbers, [row["values"] for row in run.history], run.epoch, run.steps, model[3].rng.random()])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What each loader leads to without an interruption."""
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        return {which: train(tmp_path_factory.mktemp("whole") / "run", which) for which in loaders()}


@pytest.mark.parametrize("batches", [1, 3, 7, 8, 10, 16, 20])
@pytest.mark.parametrize("which", loaders())
def test_a_run_that_is_stopped_ends_with_the_same_bits(tmp_path, whole, which, batches):
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        assert train(tmp_path / "run", which, batches) != whole[which]
        assert train(tmp_path / "run", which) == whole[which]


def test_three_interruptions_are_as_good_as_none(tmp_path, whole):
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        for batches in (2, 9, 17):
            train(tmp_path / "run", "augmented", batches)
        assert train(tmp_path / "run", "augmented") == whole["augmented"]


PROGRAM = """
import os, signal, sys
sys.path[:0] = {paths!r}
import numpy as np, test_training
def finish(run):
    os.kill(os.getpid(), {signal})
with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
    found = test_training.train({folder!r}, {which!r}, {batches}, finish, save_seconds={save_seconds})
open({out!r}, "w").write(found)
"""


def in_another_process(tmp_path, which, batches, number, save_seconds=0):
    paths = [str(Path(needle.__file__).parents[1]), str(Path(__file__).parent)]
    program = PROGRAM.format(
        paths=paths, signal=int(number), folder=str(tmp_path / "run"), which=which, batches=batches,
        out=str(tmp_path / "out"), save_seconds=save_seconds,
    )  # fmt: skip
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("save_seconds", [0, 1000])
@pytest.mark.parametrize("which", ["augmented", "four workers", "without a state"])
def test_a_process_that_is_killed_loses_nothing_but_time(tmp_path, whole, which, save_seconds):
    """With the last checkpoint one batch ago, and one epoch ago."""
    done = in_another_process(tmp_path, which, 13, signal.SIGKILL, save_seconds)
    assert done.returncode == -signal.SIGKILL
    done = in_another_process(tmp_path, which, None, signal.SIGKILL)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_text() == whole[which]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process")
def test_ctrl_c_saves_and_ends_the_loop(tmp_path, whole):
    done = in_another_process(tmp_path, "seed", 13, signal.SIGINT, 1000)
    assert done.returncode == 0 and "stopping after this batch" in done.stderr and "Traceback" not in done.stderr
    assert needle.load(tmp_path / "run" / "checkpoint.safetensors")["run"]["steps"] == 13
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        assert train(tmp_path / "run", "seed") == whole["seed"]


# -------------------------------------------------------------------------------------------------------- interrupts


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process")
def test_a_second_ctrl_c_stops_at_once(tmp_path, capfd):
    before = signal.getsignal(signal.SIGINT)
    run = quiet_run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        for _ in run:
            interrupt()
            interrupt()
            raise AssertionError
    assert signal.getsignal(signal.SIGINT) is before
    assert not run.path.exists()
    assert "stopping after this batch" in capfd.readouterr().err


@pytest.mark.parametrize("how", ["to the end", "break", "error", "stop"])
def test_the_handler_of_ctrl_c_is_put_back(tmp_path, how):
    before = signal.getsignal(signal.SIGINT)
    run = quiet_run(tmp_path / "run")
    try:
        for _ in run:
            assert signal.getsignal(signal.SIGINT) is not before
            if how == "break":
                break
            if how == "error":
                raise ZeroDivisionError
            if how == "stop":
                run.stop()
    except ZeroDivisionError:
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_works_in_another_thread(tmp_path):
    run, seen = quiet_run(tmp_path / "run"), []
    thread = threading.Thread(target=lambda: seen.extend(run))
    thread.start()
    thread.join()
    assert seen == [0, 1, 2, 3] and run.finished


# ----------------------------------------------------------------------------------------------------- what it counts


def test_the_counts_and_ends_of_epochs(tmp_path):
    run = quiet_run(tmp_path / "run", epochs=2, loader="abc")
    seen = [(batch, run.epoch, run.batch, run.steps, run.epoch_ends) for batch in run]
    assert seen == [
        ("a", 0, 0, 0, False), ("b", 0, 1, 1, False), ("c", 0, 2, 2, True),
        ("a", 1, 0, 3, False), ("b", 1, 1, 4, False), ("c", 1, 2, 5, True),
    ]  # fmt: skip
    assert (run.epoch, run.batch, run.steps, run.finished, run.stopped, run.epoch_ends) == (2, 0, 6, True, False, False)
    assert list(run) == []


def test_break_goes_on_with_the_next_batch(tmp_path):
    run = quiet_run(tmp_path / "run", epochs=2)
    seen = []
    while not run.finished:
        for batch in run:
            seen.append(batch)
            break
        run.epoch_ends = False
        if run.steps == 8:
            seen += list(run)  # nothing: only the end of the epoch
    assert seen == [0, 1, 2, 3] * 2


def test_stopping_in_the_last_batch_of_all_is_finishing(tmp_path):
    run = quiet_run(tmp_path / "run")
    for _ in run:
        if run.epoch_ends:
            run.stop()
    assert run.finished and not run.stopped


def test_a_finished_run_says_so_and_goes_on_with_more_epochs(tmp_path, capsys):
    list(quiet_run(tmp_path / "run", quiet=False))
    again = quiet_run(tmp_path / "run", quiet=False)
    assert list(again) == []
    assert "all 1 epochs are complete; give more epochs, or resume=False" in capsys.readouterr().out
    assert list(quiet_run(tmp_path / "run", epochs=2)) == [0, 1, 2, 3]
    assert list(quiet_run(tmp_path / "run", epochs=1, resume=False)) == [0, 1, 2, 3]


def test_an_error_in_the_loop_leaves_the_last_checkpoint(tmp_path):
    run = quiet_run(tmp_path / "run", epochs=2, save_seconds=1000)
    with pytest.raises(ZeroDivisionError):
        for _ in run:
            run.model.count += 1
            if run.steps == 6:
                raise ZeroDivisionError
    again = quiet_run(tmp_path / "run", epochs=2)
    assert (again.epoch, again.batch, again.steps, again.model.count) == (1, 0, 4, 4)


def test_save_counts_the_batch_under_way(tmp_path):
    run = quiet_run(tmp_path / "run", save_seconds=1000)
    for batch in run:
        run.model.count += 1
        if batch == 1:
            run.save()
            break
    again = quiet_run(tmp_path / "run")
    assert again.model.count == 2
    assert list(again) == [2, 3]


# ------------------------------------------------------------------------------------------------------------- logging


def test_an_epochs_row_has_the_means(tmp_path, capsys):
    run = quiet_run(tmp_path / "run", epochs=2, quiet=False)
    for batch in run:
        run.log(loss=needle.Tensor([[float(batch)]]), also=np.float32(2 * batch), count=batch)
        if run.epoch_ends:
            run.log(accuracy=0.5)
    assert [row["values"] for row in run.history] == [{"loss": 1.5, "also": 3.0, "count": 1.5, "accuracy": 0.5}] * 2
    assert [(row["epoch"], row["steps"]) for row in run.history] == [(1, 4), (2, 8)]
    assert 0 <= run.history[0]["seconds"] <= run.history[1]["seconds"] == run.seconds
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch 1/2  loss 1.5  also 3  count 1.5  accuracy 0.5  ") and len(lines) == 2
    assert json.loads((tmp_path / "run" / "history.json").read_text()) == run.history


def test_means_survive_an_interruption(tmp_path):
    for _ in range(2):
        run = quiet_run(tmp_path / "run")
        for batch in run:
            run.log(loss=batch)
            if batch == 1:
                run.stop()
    assert run.history[0]["values"] == {"loss": 1.5}


def test_what_is_not_finite_is_null_in_json_and_itself_in_the_history(tmp_path):
    run = quiet_run(tmp_path / "run", epochs=1)
    with pytest.warns(RuntimeWarning) as caught:
        for _ in run:
            run.log(loss=float("nan"), other=float("inf"))
    said = [str(warning.message) for warning in caught]
    assert [text.split(";")[0] for text in said] == [
        f"Run.log: {name} in epoch 1, batch 1" for name in ("loss is nan", "other is inf")
    ]
    assert all(warning.filename == __file__ for warning in caught)
    assert json.loads((tmp_path / "run" / "history.json").read_text())[0]["values"] == {"loss": None, "other": None}
    assert quiet_run(tmp_path / "run").history[0]["values"]["other"] == float("inf")
    if find_spec("matplotlib"):
        assert (tmp_path / "run" / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_a_model_that_became_nan_is_not_saved_over_the_one_of_before(tmp_path):
    """The loss is NaN from the second batch of the second epoch on."""
    model = nn.Sequential(nn.Linear(3, 4, rng=0), nn.Linear(4, 2, rng=1))
    opt = needle.optim.SGD(model, lr=0.01)
    run = needle.Run(
        tmp_path / "run", model=model, opt=opt, loader=DataLoader(NDArrayDataset(X, Y), 25), epochs=3, quiet=True
    )
    with pytest.warns(RuntimeWarning, match=r"loss is nan in epoch 2, batch 2; .*detect_anomaly") as caught:  # noqa: SIM117
        with pytest.raises(
            FloatingPointError, match=r"the model's '0\.weight' has NaN after 4 batches, and .* as it was"
        ):
            for x, y in run:
                loss = nn.SoftmaxLoss()(model(x), y) * (np.nan if run.steps == 3 else 1.0)
                opt.reset_grad()
                loss.backward()
                opt.step()
                run.log(loss=loss)
                if run.epoch_ends and run.epoch == 0:
                    before = model.state_dict()
    assert len(caught) == 1
    saved = needle.load(run.path)
    assert saved["run"]["steps"] == 2 and len(json.loads((tmp_path / "run" / "history.json").read_text())) == 1
    for name, array in before.items():
        assert_array_equal(saved["model"][name], array)


@pytest.mark.parametrize("value", ["a", None, [1, 2], np.ones(3), needle.Tensor([1.0, 2.0]), 1j, np.array("x"), {}])
def test_what_is_no_number_is_not_logged(tmp_path, value):
    run = quiet_run(tmp_path / "run")
    with pytest.raises(TypeError, match=r"Run\.log: loss must be (a|one) number"):
        run.log(good=1, loss=value)
    assert run._sums == {}


def test_curves_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    run = quiet_run(tmp_path / "a run of $5", epochs=3)
    for batch in run:
        run.log(loss=batch, test_loss=batch + 1, accuracy=0.5)
        if run.epoch == 1:
            run.log(late=3)
    assert (tmp_path / "a run of $5" / "curves.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("missing", ["tqdm", "matplotlib.figure"])
def test_neither_tqdm_nor_matplotlib_is_needed(tmp_path, monkeypatch, missing, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    run = quiet_run(tmp_path / "run", quiet=False)
    for batch in run:
        run.log(loss=batch)
    assert "epoch 1/1  loss 1.5" in capsys.readouterr().out
    assert (tmp_path / "run" / "curves.png").exists() is (missing == "tqdm" and find_spec("matplotlib") is not None)


def test_the_bar_shows_the_means(tmp_path, monkeypatch, capsys):
    tqdm = pytest.importorskip("tqdm")
    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, **given):
            super().__init__(**given | {"disable": False, "file": sys.stderr, "ncols": 80})
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    monkeypatch.setattr("needle.training.run.time.monotonic", iter(range(10_000)).__next__)
    run = quiet_run(tmp_path / "run", quiet=False, epochs=2)
    for batch in run:
        run.log(loss=batch)
    assert [bar.n for bar in bars] == [4, 4] and bars[1].desc == "epoch 2/2" and "loss 1.5" in bars[1].postfix


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("given", "error", "why"),
    [
        ({"epochs": -1}, ValueError, "epochs must be a whole number, 0 or more, got -1"),
        ({"epochs": 2.5}, ValueError, "got 2.5"),
        ({"loader": iter([1])}, TypeError, "must have a length, .* got a list_iterator; give a needle.data.DataLoader"),
        ({"loader": (i for i in ())}, TypeError, "got a generator"),
        ({"model": 3}, TypeError, "model has no state_dict and load_state_dict"),
        ({"schedule": abs}, TypeError, "schedule has no state_dict"),
        ({"rng": np.random.default_rng()}, ValueError, "'rng' is taken by the run itself"),
    ],
)
def test_bad_arguments(tmp_path, given, error, why):
    with pytest.raises(error, match=why):
        quiet_run(tmp_path / "run", **given)


class Lying(list):
    def __len__(self):
        return 3


@pytest.mark.parametrize(("batches", "why"), [(range(2), "gave 2 batches"), (range(4), "gave more batches")])
def test_a_loader_whose_length_is_not_true(tmp_path, batches, why):
    with pytest.raises(ValueError, match=f"the loader has a length of 3, and {why}"):
        list(quiet_run(tmp_path / "run", loader=Lying(batches)))


def test_an_empty_loader(tmp_path):
    with pytest.raises(ValueError, match="the loader has no batches"):
        list(quiet_run(tmp_path / "run", loader=[]))


def stop_at(run, count):
    for _ in run:
        if run.steps + 1 == count:
            run.stop()


def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(tmp_path):
    stop_at(quiet_run(tmp_path / "run", opt=Steps()), 3)
    with pytest.raises(ValueError, match="has also opt; give the same objects as then, or resume=False to start anew"):
        quiet_run(tmp_path / "run")
    with pytest.raises(ValueError, match="has no ema; give the same objects"):
        quiet_run(tmp_path / "run", opt=Steps(), ema=Steps())
    with pytest.raises(ValueError, match="stands at batch 3, and the loader has only 2"):
        quiet_run(tmp_path / "run", opt=Steps(), loader=[1, 2])
    needle.save(tmp_path / "run" / "checkpoint.safetensors", model=Steps())
    with pytest.raises(ValueError, match="is no checkpoint of a run"):
        quiet_run(tmp_path / "run")
    model = nn.Linear(2, 2)
    list(quiet_run(tmp_path / "other", model=model))
    other = nn.Linear(3, 2)
    before = other.weight.numpy()
    with pytest.raises(ValueError, match="weight"):
        quiet_run(tmp_path / "other", model=other, epochs=2)
    assert_array_equal(other.weight.numpy(), before)


def test_objects_in_dicts_and_generators_are_saved(tmp_path):
    def make():
        return {"model": {"g": Steps(), "d": Steps()}, "noise": np.random.default_rng(0), "plateau": Steps()}

    given = make()
    run = quiet_run(tmp_path / "run", epochs=2, **given)
    for _ in run:
        given["model"]["d"].count += 1
        given["plateau"].count += 2
        given["noise"].random()
        if run.steps == 5:
            run.stop()
    again = make()
    quiet_run(tmp_path / "run", epochs=2, **again)
    assert again["model"]["d"].count == 6 and again["plateau"].count == 12
    assert again["noise"].random() == given["noise"].random()


def test_it_comes_when_asked_for():
    place = str(Path(needle.__file__).parents[1])
    code = f"""
import sys
sys.path.insert(0, {place!r})
import needle
assert not any(name.startswith(("needle.files", "needle.training", "tqdm", "matplotlib")) for name in sys.modules)
needle.Run, needle.save, needle.load, needle.files.read_torch
assert not {{"tqdm", "matplotlib", "sklearn", "safetensors", "torch"}} & sys.modules.keys()"""
    subprocess.run([sys.executable, "-c", code], check=True)
