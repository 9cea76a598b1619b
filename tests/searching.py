"""The command of a random search: `python tests/test_random_copies.py 10000`, or with a first and a last seed."""

from __future__ import annotations

import sys
from collections.abc import Callable


def search(wrong: Callable[[int], str]) -> None:
    """Print what is wrong with each seed that the command names ("": nothing), and how many there are."""
    start, end = (0, int(sys.argv[1])) if len(sys.argv) == 2 else map(int, sys.argv[1:3])
    bad = 0
    for seed in range(start, end):
        try:
            what = wrong(seed)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
        if what:
            bad += 1
            print(what if str(seed) in what else f"seed {seed}: {what}", flush=True)
    print(f"{bad} of {end - start} wrong")
