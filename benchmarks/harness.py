"""Measuring side by side on a machine that others use, too.

Libraries in one process disturb each other (their thread pools spin while they wait), and a machine's speed drifts. So
every contender lives in a process of its own; they take turns, round by round, with a pause in which the last one's
threads go to sleep; and a ratio is taken within a round, where both met the same conditions. Rounds in which other
programs kept the processors busy are not counted: two threads that wait for each other on a busy machine can take a
hundred times as long. What others do on the same hardware outside of a virtual machine cannot be seen, though; it slows
everybody down for seconds, by up to a half, and arithmetic and interpreter not alike. It can only add to a time, so a
budget is held against the fastest turn of each, and the table shows the medians, too.

Each contender runs as it is installed: its own default threads, its own settings, and the kernels that its library
picks for this processor. An environment that pins NumPy's to those of an older processor (OPENBLAS_CORETYPE) would hold
back some contenders and not the others, so such pins are taken off, unless --keep-kernels is given.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

ROUNDS = 21
WARM_UP = 0.3
"""Seconds that a contender runs before anything is measured; it may compile and fill its caches."""
TURN = 0.07
"""Seconds that one turn lasts, after a tenth of that which is not counted: threads wake up, caches fill."""
PAUSE = 0.15
"""Seconds between two turns. The longest spinner met is OpenBLAS (NumPy's matrix products): its idle threads keep their
processors busy for 0.11 s after the last product; PyTorch's stop after 0.01 s, JAX's at once."""
BUSY = 0.15
"""Processors that other programs may use on average during a round that counts."""
LONGEST = 3
"""At most this many times the rounds asked for are run in search of undisturbed ones."""
PEERS = ("torch", "jax", "autograd", "mygrad")
NEEDLE = "Needle"

PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA")
"""Settings by which a library uses other kernels than those for this processor."""

T = TypeVar("T")
_spawn = multiprocessing.get_context("spawn")

_checkout = Path(__file__).resolve().parent.parent / "python"
if _checkout.is_dir() and str(_checkout) not in sys.path:
    sys.path.insert(0, str(_checkout))  # processes started from here inherit it


# ------------------------------------------------------------------------------------------------------- contenders


class Work(NamedTuple):
    """What a contender does again and again, and the arrays that it has then, for comparison with the others'."""

    step: Callable[[], object]
    result: Callable[[], Sequence[Any]]
    per: int = 1
    """How many operations a step is: times are divided by it."""
    clock: Callable[[], float] = time.perf_counter
    """time.process_time for work of one thread: then it does not count when others have its core."""


@dataclass(frozen=True)
class Contender:
    """Someone who does the work. `build` is called in the contender's own process; it can be pickled."""

    name: str
    build: Callable[[], Work]
    needs: str = "numpy"
    """The package without which it cannot take part."""


class Worker:
    """A contender in its own process, which does a turn when told to."""

    def __init__(self, contender: Contender):
        self._pipe, there = _spawn.Pipe()
        self._process = _spawn.Process(target=_work, args=(there, contender.build), daemon=True)
        self._process.start()
        there.close()
        self.result = self._receive()

    def turn(self) -> tuple[float, float]:
        """Seconds per operation in one turn, and the processor time that this process has used so far."""
        self._pipe.send(True)
        seconds, used = self._receive()
        return seconds, used

    def stop(self) -> None:
        """End the process; it is told by the closed pipe."""
        self._pipe.close()
        self._process.join()

    def _receive(self) -> Any:
        return _received(self._pipe)


def _work(pipe: Connection, build: Callable[[], Work]) -> None:
    """The life of a worker: one step and its result, warming up, then a turn at each message."""
    try:
        step, result, per, clock = build()
        step()
        first = [np.array(array) for array in result()]
        _run(step, WARM_UP, 1, clock)
        steps = max(1, round(0.1 / _run(step, TURN, 1, clock) * TURN))
        pipe.send((True, first))
        while pipe.recv():
            _run(step, 0.1 * TURN, 1, clock)
            pipe.send((True, (_run(step, TURN, steps, clock) / per, time.process_time())))
    except EOFError:
        pass
    except Exception:
        pipe.send((False, traceback.format_exc()))


def _run(step: Callable[[], object], duration: float, at_once: int, clock: Callable[[], float]) -> float:
    """Seconds per step, over at least this duration; the clock is read after so many steps."""
    done, elapsed, start = 0, 0.0, clock()
    while elapsed < duration:
        for _ in range(at_once):
            step()
        done += at_once
        elapsed = clock() - start
    return elapsed / done


def _received(pipe: Connection) -> Any:
    try:
        fine, answer = pipe.recv()
    except EOFError:
        fine, answer = False, "the process ended without an answer"
    if not fine:
        raise RuntimeError(answer)
    return answer


ONE_CORE = True
"""Whether `one_core` holds; --threads lets every contender have its own threads everywhere."""


@contextmanager
def one_core() -> Iterator[None]:
    """Processes started here have one thread on one core; the figures then say how good the kernels are, and not how
    many processors are free."""
    if not ONE_CORE:
        yield
        return
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    os.environ.update(dict.fromkeys(names, "1"))
    if cores:
        os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        if cores:
            os.sched_setaffinity(0, cores)


def fresh(function: Callable[..., T], *args: Any) -> T:
    """`function(*args)`, computed in a process that has done nothing else."""
    pipe, there = _spawn.Pipe(duplex=False)
    process = _spawn.Process(target=_answer, args=(there, function, args), daemon=True)
    process.start()
    there.close()
    try:
        return _received(pipe)
    finally:
        process.join()


def _answer(pipe: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        pipe.send((True, function(*args)))
    except Exception:
        pipe.send((False, traceback.format_exc()))


def resident() -> tuple[int, int]:
    """Bytes of memory that this process has now, and at its highest; (0, 0) where the system does not say so.

    Now is counted page by page: /proc/self/status, which knows the highest, may be off by some 100 KiB.
    """
    try:
        now, highest = (_kib(file, name) for file, name in (("smaps_rollup", "Rss"), ("status", "VmHWM")))
    except OSError:
        return 0, 0
    return 1024 * now, 1024 * highest


def _kib(file: str, name: str) -> int:
    lines = Path("/proc/self", file).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def installed(package: str) -> bool:
    """Whether it can be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def processor_time() -> float:
    """Seconds that all processors have worked since the machine started; NaN where the system does not say so."""
    try:
        counts = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return math.nan
    idle = int(counts[3]) + int(counts[4])
    return (sum(map(int, counts[:8])) - idle) / os.sysconf("SC_CLK_TCK")


@dataclass
class Times:
    """Seconds per operation, a list of rounds for each contender; who is absent, and why; and what was left out."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def ratios(self, name: str, to: str) -> list[float]:
        """One number a round: the time of `name` as a multiple of that of `to`."""
        return [a / b for a, b in zip(self.seconds[name], self.seconds[to], strict=True)]

    def fastest(self, *names: str) -> str | None:
        """The one of these with the lowest median, None if all are absent."""
        there = [name for name in names if name in self.seconds]
        return min(there, key=lambda name: statistics.median(self.seconds[name]), default=None)

    def rows(self) -> list[list[str]]:
        """The table: Needle's time as a multiple of each contender's, then microseconds; the fastest first."""
        rows = []
        for name in sorted(self.seconds, key=lambda name: statistics.median(self.seconds[name])):
            low, middle, high = statistics.quantiles(self.ratios(NEEDLE, name), n=4, method="inclusive")
            micro = [1e6 * s for s in self.seconds[name]]
            spread = "" if name == NEEDLE else f"{low:.2f} - {high:.2f}"
            rows.append([name, f"{middle:.2f}", spread, f"{statistics.median(micro):.2f}", f"{min(micro):.2f}"])
        return rows + [[name, "", reason, "", ""] for name, reason in self.absent.items()]


COLUMNS = ["", "Needle / it", "quartiles", "median us", "min us"]


def take_turns(contenders: Sequence[Contender], rounds: int, tolerance: float) -> Times:
    """Time the contenders, after a check that each one's result is that of the first, within a part of its largest."""
    times = Times()
    workers: dict[str, Worker] = {}
    try:
        for contender in contenders:
            if not installed(contender.needs):
                times.absent[contender.name] = f"{contender.needs} is not installed"
                continue
            try:
                workers[contender.name] = worker = Worker(contender)
                if worker.result:
                    _compare(worker.result, next(iter(workers.values())).result, tolerance)
            except RuntimeError as error:
                if contender.name == NEEDLE:
                    raise
                workers.pop(contender.name, None)
                times.absent[contender.name] = f"failed: {str(error).strip().splitlines()[-1]}"
        _take_turns(workers, rounds, times)
    finally:
        for worker in workers.values():
            worker.stop()
    return times


def _take_turns(workers: dict[str, Worker], rounds: int, times: Times) -> None:
    all_rounds: list[tuple[float, dict[str, float]]] = []
    order = list(workers)
    used_before, busy_before, clock = 0.0, 0.0, 0.0
    for _ in range(LONGEST * rounds):
        seconds, used = {}, 0.0
        for name in order:
            time.sleep(PAUSE)
            seconds[name], its = workers[name].turn()
            used += its
        order.append(order.pop(0))  # so that nobody always comes after the same one
        busy, now = processor_time(), time.perf_counter()
        if clock:  # the first round tells how much was used before it
            others = (busy - busy_before - (used - used_before)) / (now - clock)
            all_rounds.append((0.0 if math.isnan(others) else others, seconds))
        used_before, busy_before, clock = used, busy, now
        if sum(others <= BUSY for others, _ in all_rounds) == rounds:
            break
    quiet = [seconds for others, seconds in all_rounds if others <= BUSY]
    counted = quiet if len(quiet) >= min(5, rounds) else [seconds for _, seconds in all_rounds]
    times.seconds = {name: [seconds[name] for seconds in counted] for name in workers}
    load = statistics.median(others for others, _ in all_rounds)
    times.note = f"{len(counted)} of {len(all_rounds)} rounds counted; in the median one, others used {load:.2f} cores"
    if counted is not quiet:
        times.note += "\n  THE MACHINE WAS BUSY: these figures say little; run again when it is quiet"


def _compare(result: Sequence[Any], reference: Sequence[Any], tolerance: float) -> None:
    for mine, other in zip(result, reference, strict=True):
        if mine.shape != other.shape or mine.dtype != other.dtype:
            raise RuntimeError(f"its result is {mine.dtype} {mine.shape}, the first one's {other.dtype} {other.shape}")
        error = np.abs(mine - other).max() / np.abs(other).max()
        if not error <= tolerance:
            raise RuntimeError(f"its result is not the first one's: off by {error:.1e}")


# ---------------------------------------------------------------------------------------------------------- reports


@dataclass
class Budget:
    """What was promised, and what was measured; None if it could not be measured here."""

    promise: str
    limit: float
    figure: float | None
    unit: str = "x"

    def __str__(self) -> str:
        if self.figure is None:
            return f"{self.promise}: not measured, budget {self.limit:g}{self.unit}"
        met = "met" if self.figure <= self.limit else "NOT met"
        return f"{self.promise}: {self.figure:.4g}{self.unit}, budget {self.limit:g}{self.unit}: {met}"


def ratio_budget(promise: str, limit: float, times: Times, to: str | None) -> Budget:
    """A budget on the ratio of Needle's fastest turn to another contender's."""
    absent = to is None or to not in times.seconds
    return Budget(promise, limit, None if absent else min(times.seconds[NEEDLE]) / min(times.seconds[to or ""]))


@dataclass
class Report:
    """What a benchmark found."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    budgets: list[Budget] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        cells = [self.columns, *self.rows]
        widths = [max(len(row[i]) for row in cells if i == 0 or any(row[1:2])) for i in range(len(self.columns))]
        lines = [_aligned(row, widths) for row in cells]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(["", self.title, "", *lines, "", *[f"  {line}" for line in [*self.budgets, *self.notes]]])


def _aligned(row: list[str], widths: list[int]) -> str:
    if not any(row[1:2]):  # absent: a reason instead of numbers
        return f"{row[0]:<{widths[0]}}  {''.join(row[1:])}".rstrip()
    return "  ".join([f"{row[0]:<{widths[0]}}", *[f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True)]])


def surroundings() -> str:
    """What the figures depend on: the machine, the versions, settings of thread pools and kernels."""
    versions = [f"Python {platform.python_version()}", f"NumPy {np.__version__}"]
    for package in PEERS:
        versions.append(f"{package} {importlib.metadata.version(package) if installed(package) else 'not installed'}")
    pools = ("OMP_", "OPENBLAS_", "MKL_", "KMP_", "ONEDNN_")
    settings = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(pools)]
    return "\n".join([", ".join(versions), f"{os.cpu_count()} cores; {' '.join(settings) or 'default settings'}"])


def main(benchmarks: Mapping[str, Callable[[int], list[Report]]]) -> None:
    """The command line of one benchmark or of all."""
    parser = argparse.ArgumentParser(description="Needle beside its peers and the limit, in one run.")
    if len(benchmarks) > 1:
        names = list(benchmarks)
        parser.add_argument("--only", metavar="NAME", action="append", choices=names, help="one of %(choices)s")
    parser.add_argument("--rounds", metavar="N", type=int, default=ROUNDS, help="turns of each (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there, too")
    parser.add_argument("--keep-kernels", action="store_true", help=f"keep what {', '.join(PINS)} are set to")
    parser.add_argument("--threads", action="store_true", help="where contenders have one core: their own threads")
    options = parser.parse_args()
    global ONE_CORE  # noqa: PLW0603 - the command line sets it
    ONE_CORE = not options.threads
    unpinned = [] if options.keep_kernels else [name for name in PINS if os.environ.pop(name, None) is not None]
    if options.rounds < 2:
        parser.error("--rounds: quartiles need at least 2 rounds")
    print(surroundings())
    if unpinned:
        print(f"{', '.join(unpinned)} not passed on: each library picks its kernels for this processor")
    reports: dict[str, list[Report]] = {}
    for name in getattr(options, "only", None) or benchmarks:
        reports[name] = benchmarks[name](options.rounds)
        print(*reports[name], sep="\n", flush=True)
    print("\nBudgets")
    for name, found in reports.items():
        for budget in [b for report in found for b in report.budgets]:
            print(f"  {name}: {budget}")
    if options.json:
        figures = {name: [asdict(report) for report in found] for name, found in reports.items()}
        options.json.write_text(json.dumps({"surroundings": surroundings(), "reports": figures}, indent=1) + "\n")
