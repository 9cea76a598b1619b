"""What `import needle` costs on top of NumPy, in fresh interpreters; and that it imports nothing optional."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from harness import NEEDLE, PEERS, Budget, Report, installed, main

LEAST = 9
PROGRAM = """
import sys, time
import numpy
before, start = set(sys.modules), time.perf_counter()
import {package}
elapsed = time.perf_counter() - start
print(elapsed, *sorted({{name.partition(".")[0] for name in set(sys.modules) - before}}))
"""


def interpreter(program: str) -> tuple[float, list[str]]:
    """Seconds that a fresh interpreter takes from its start to its end, and the words it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": ""}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout.split()


def run(rounds: int) -> list[Report]:
    rounds = max(rounds, LEAST)
    packages = ["needle", *[package for package in PEERS if installed(package)]]
    within: dict[str, list[float]] = {package: [] for package in packages}
    around: dict[str, list[float]] = {package: [] for package in packages}
    foreign: list[str] = []
    for i in range(-1, rounds):
        bare, _ = interpreter("import numpy")
        for package in packages:
            whole, words = interpreter(PROGRAM.format(package=package))
            if i < 0:  # the first writes the bytecode and fills the disk cache
                continue
            within[package].append(float(words[0]))
            around[package].append(whole - bare)
            if package == "needle":
                foreign = sorted(set(words[1:]) - set(sys.stdlib_module_names) - {"needle", "numpy"})
    rows = []
    for package in packages:
        ratios = [a / b for a, b in zip(within["needle"], within[package], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        medians = statistics.median(within[package]), statistics.median(around[package])
        millis = [1e3 * seconds for seconds in (medians[0], min(within[package]), medians[1])]
        name = NEEDLE if package == "needle" else package
        spread = "" if name == NEEDLE else f"{low:.3f} - {high:.3f}"
        rows.append([name, f"{middle:.3f}", spread, *[f"{m:.1f}" for m in millis]])
    rows += [[package, "", f"{package} is not installed", "", "", ""] for package in PEERS if package not in packages]
    columns = ["", "Needle / it", "quartiles", "median ms", "min ms", "whole process ms"]
    inside, outside = statistics.median(within["needle"]), statistics.median(around["needle"])
    budgets = [
        Budget("import needle after import numpy, median", 0.06, inside, " s"),
        Budget("the same by whole processes: import both - import numpy", 0.06, outside, " s"),
        Budget("packages imported beside NumPy and the standard library", 0, len(foreign), ""),
    ]
    notes = [f"{rounds} fresh interpreters each.", *[f"Imported: {', '.join(foreign)}" for _ in foreign[:1]]]
    return [Report("Import, on top of NumPy", columns, rows, budgets, notes)]


if __name__ == "__main__":
    main({"import_time": run})
