"""Loaders with workers: the same batches, errors that say where, and nothing left running."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import data_samples
import numpy as np
import pytest
from data_samples import (
    Dying,
    Faulty,
    GloballyNoisy,
    Items,
    Mixed,
    Noisy,
    Pids,
    Slow,
    UnsendableError,
    as_list,
)
from needle.data import ArrayDataset, DataLoader, Digits, MappedDataset, RandomCrop, RandomFlipHorizontal
from numpy.testing import assert_array_equal

THREADS = [{"workers": 1}, {"workers": 4}, {"workers": 3, "prefetch": 1}]
PROCESSES = [{"workers": 2, "processes": True}]


DATASETS = {"items": Items(), "noisy": Noisy(), "arrays": ArrayDataset(np.arange(40.0), np.arange(40))}


def names(options):
    return "-".join(map(str, options.values()))


def workers_left():
    threads = [t for t in threading.enumerate() if t.name.startswith("DataLoader")]
    return threads + multiprocessing.active_children()


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    yield
    assert workers_left() == []


def epochs(loader, n=2):
    return [[(x.numpy().tolist(), y.numpy().tolist()) for x, y in loader] for _ in range(n)]


# ------------------------------------------------------------------------------------------------------- equal batches


@pytest.mark.parametrize("options", THREADS + PROCESSES, ids=names)
@pytest.mark.parametrize(
    "dataset", [Items(), Noisy(), ArrayDataset(np.arange(40.0), np.arange(40))], ids=lambda d: type(d).__name__
)
def test_any_number_of_workers_gives_the_same(dataset, options):
    alone = epochs(DataLoader(dataset, 3, shuffle=True, rng=1))
    assert epochs(DataLoader(dataset, 3, shuffle=True, rng=1, **options)) == alone
    assert alone[0] != alone[1]


@pytest.mark.parametrize("options", THREADS + PROCESSES, ids=names)
def test_augmented_images(options):
    dataset = Digits(False, transforms=[RandomCrop(1), RandomFlipHorizontal(0.5)])
    alone, others = (epochs(DataLoader(dataset, 50, rng=2, **o)) for o in ({}, options))
    assert others == alone and alone[0] != alone[1]


def test_without_a_seed_the_global_state_fixes_order_and_augmentation():
    def run(workers):
        np.random.seed(5)
        return epochs(DataLoader(Digits(False, transforms=[RandomCrop(1)]), 90, shuffle=True, workers=workers))

    one, three, alone = run(1), run(3), run(0)
    assert one == three
    assert [y for _, y in one[0]] == [y for _, y in alone[0]], "the order is that of a loader without workers"


def test_global_states_of_processes_are_seeded_by_item():
    loaders = [DataLoader(GloballyNoisy(), 4, rng=1, workers=w, processes=True) for w in (1, 2)]
    one, two = map(epochs, loaders)
    assert one == two and one[0] != one[1]
    rows = [tuple(row) for x, _ in one[0] for row in x]
    assert len(set(rows)) == 20


@pytest.mark.parametrize("options", THREADS + PROCESSES, ids=names)
def test_what_batches_may_hold(options):
    batches = list(DataLoader(Mixed(6), 3, **options))
    assert [b["name"] for b in batches] == [["item 0", "item 1", "item 2"], ["item 3", "item 4", "item 5"]]
    last = batches[1]
    assert_array_equal(last["large"].numpy()[:, 0, 0], [3, 4, 5])
    assert last["large"].shape == (3, 300, 1000) and last["empty"].shape == (3, 0, 3)
    assert_array_equal(last["columns"].numpy()[2], np.arange(6.0).reshape(2, 3) + 5)
    assert last["number"].dtype == "int64" and last["columns"].dtype == "float32"
    last["large"].cached_data[:] = 1  # the memory is the batch's own


@pytest.mark.parametrize("options", THREADS + PROCESSES, ids=names)
def test_a_collate_of_ones_own_runs_in_the_workers(options):
    batches = list(DataLoader(Items(5), 2, collate=as_list, **options))
    assert [(y.numpy().tolist(), word) for y, word in batches] == [([0, 1], "word"), ([2, 3], "word"), ([4], "word")]


def test_batches_come_in_order_whoever_is_slow():
    class Uneven(Items):
        def __getitem__(self, i):
            time.sleep(0.03 if i % 4 == 0 else 0)
            return super().__getitem__(i)

    assert [y.numpy().tolist() for _, y in DataLoader(Uneven(12), 1, workers=4)] == [[i] for i in range(12)]


def test_many_small_batches_by_many_threads():
    for _ in range(3):
        got = [int(b.numpy()[0]) for b in DataLoader(np.arange(2000), 1, workers=8, prefetch=1)]
        assert got == list(range(2000))


def test_threads_wait_at_the_same_time():
    began = time.monotonic()
    list(DataLoader(Slow(20, 0.05), 1, workers=10))
    assert time.monotonic() - began < 0.8, "one after the other, it would take a second"


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 1), (2, 3)])
def test_no_more_is_fetched_ahead_than_was_asked_for(workers, prefetch):
    asked = []
    dataset = MappedDataset(Items(100), lambda item: asked.append(item[1]) or item)
    batches = iter(DataLoader(dataset, 2, workers=workers, prefetch=prefetch))
    for k in range(4):
        next(batches)
        time.sleep(0.1)
        assert len(asked) <= 2 * (k + 1 + workers * prefetch)
    assert len(asked) == 2 * (4 + workers * prefetch), "and no less"
    batches.close()


def test_processes_are_other_processes():
    pids = {int(p) for b in DataLoader(Pids(40), 1, workers=2, processes=True) for p in b.numpy()}
    assert os.getpid() not in pids and 1 <= len(pids) <= 2


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("options", [{}, *THREADS, *PROCESSES], ids=names)
def test_an_error_names_the_item_and_the_datasets_line_in_its_turn(options):
    got = []
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError, match="unlucky") as caught:
        for _, y in DataLoader(Faulty(), 4, **options):
            if options.get("processes"):  # which take their time to start
                began = time.monotonic()
            got.extend(y.numpy().tolist())
    assert time.monotonic() - began < 1
    assert got == list(range(12))
    note = caught.value.__notes__[0]
    lines = Path(data_samples.__file__).read_text().splitlines()
    line = 1 + next(i for i, text in enumerate(lines) if "this line is named" in text)
    assert note == (
        f"DataLoader: this was raised for item 13 of a Faulty, at {data_samples.__file__}, line {line}, in __getitem__"
    )
    if options.get("processes"):
        assert "this line is named" in caught.value.__notes__[1], "the lines of the process are told"


def test_an_error_that_cannot_travel_is_told_by_another():
    with pytest.raises(RuntimeError, match="UnsendableError: unlucky") as caught:
        list(DataLoader(Faulty(error=UnsendableError), 4, workers=1, processes=True))
    assert "item 13" in caught.value.__notes__[0]


def test_the_end_of_an_iteration_in_a_dataset_is_an_error():
    with pytest.raises(RuntimeError, match="item 13 of a Faulty"):
        list(DataLoader(Faulty(error=StopIteration), 4, workers=2))


def test_what_ends_a_thread_is_raised_where_the_batch_would_have_come():
    with pytest.raises(SystemExit):
        list(DataLoader(Faulty(error=SystemExit), 4, workers=2))


def test_an_iterable_that_fails():
    def numbers():
        yield from range(5)
        raise OSError("the file ends here")

    got = []
    with pytest.raises(OSError, match="the file ends here"):
        for batch in DataLoader(numbers(), 2, workers=3):
            got.extend(batch.numpy().tolist())
    assert got == [0, 1, 2, 3]


def test_a_process_that_dies_is_missed_at_once():
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=r"a worker process ended with exit code 7 while it fetched \[4 5\]"):
        list(DataLoader(Dying(), 2, workers=1, processes=True))
    assert time.monotonic() - began < 10


def test_what_cannot_be_sent_to_a_process():
    with pytest.raises(TypeError, match=r"they cannot be pickled .*; define functions and classes at the top level"):
        list(DataLoader(MappedDataset(Items(), lambda item: item), 2, workers=1, processes=True))


def test_a_dataset_that_a_process_does_not_find():
    class Hidden(Items):
        pass

    Hidden.__qualname__ = "Hidden"
    Hidden.__module__ = "data_samples"
    data_samples.Hidden = Hidden
    try:
        with pytest.raises(AttributeError, match="Hidden"):
            list(DataLoader(Hidden(), 2, workers=1, processes=True))
    finally:
        del data_samples.Hidden


# ---------------------------------------------------------------------------------------------- nothing is left running


@pytest.mark.parametrize("options", THREADS + PROCESSES, ids=names)
def test_a_loop_that_is_left_ends_its_workers(options):
    for _ in DataLoader(Slow(), 2, **options):
        break
    assert workers_left() == []
    with pytest.raises(LookupError):
        for _ in DataLoader(Slow(), 2, **options):
            raise LookupError
    assert workers_left() == []
    list(DataLoader(Items(), 2, **options))
    assert workers_left() == []


def test_an_iterator_that_is_never_asked_starts_nothing():
    batches = iter(DataLoader(Items(), 2, workers=4))
    assert workers_left() == []
    del batches


def test_leaving_does_not_wait_for_the_rest_of_a_batch():
    batches = iter(DataLoader(Slow(1000, 0.05), 100, workers=2))
    before = signal.signal(signal.SIGALRM, _time_out)
    began = time.monotonic()
    try:
        with pytest.raises(TimeoutError):
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            next(batches)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 1, "a batch takes 5 seconds"


def _time_out(*_):
    raise TimeoutError


SCRIPT = """
    import os, sys, threading, multiprocessing, time
    from data_samples import Slow
    from needle.data import DataLoader

    def main():
        loader = DataLoader(Slow(10_000, 0.05), 20, **{options})
        try:
            for k, batch in enumerate(loader):
                if k == 0:
                    print("pids", *[p.pid for p in multiprocessing.active_children()], flush=True)
        except KeyboardInterrupt:
            left = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
            print("left", left, multiprocessing.active_children(), flush=True)

    if __name__ == "__main__":
        main()
"""


def script(tmp_path, options):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT.format(options=options)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    pids = [int(pid) for pid in process.stdout.readline().split()[1:]]
    return process, pids


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals as on Unix")
@pytest.mark.parametrize("options", THREADS[1:2] + PROCESSES, ids=names)
def test_ctrl_c_ends_everything(tmp_path, options):
    process, pids = script(tmp_path, options)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 3
    assert out.strip() == "left [] []" and err == "" and process.returncode == 0
    assert len(pids) == (2 if options.get("processes") else 0) and not any(map(alive, pids))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_processes_end_when_the_main_one_is_killed(tmp_path):
    process, pids = script(tmp_path, PROCESSES[0])
    assert len(pids) == 2 and all(map(alive, pids))
    process.kill()
    process.communicate(timeout=20)
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def test_a_script_without_a_guard_is_told_what_is_missing(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(
        "from data_samples import Items\nfrom needle.data import DataLoader\n"
        "list(DataLoader(Items(), 2, workers=1, processes=True))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1 and "under `if __name__ == '__main__':`" in done.stderr
