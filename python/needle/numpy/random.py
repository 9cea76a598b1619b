"""NumPy's random numbers, as they are: arrays, which no derivative passes.

A gradient by the parameters of a distribution passes when they are applied to numbers that know nothing of them:
`mean + std * rng.normal(size=3)`, not `rng.normal(mean, std, 3)`, which is refused for Tensors that need a gradient.
"""

from typing import Any

import numpy as np


def __getattr__(name: str) -> Any:
    return getattr(np.random, name)  # which takes as long to import as all else of NumPy: only when asked for


def __dir__() -> list[str]:
    return dir(np.random)
