"""Every function of scipy.special on Tensors, by SciPy's name: `functions.digamma(t)`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import scipy.special

from .op import Entropic, Slope, Special, SpecialTuple, on_tensors

SLOPES: dict[str, Slope] = {}
"""Name -> the slope by the only argument, or a tuple of slopes by each argument. rules.py fills it."""
ENTROPIC = {"entr", "kl_div", "rel_entr", "xlog1py", "xlogy"}


def scipys(name: str) -> Any:
    """SciPy's own function. With SCIPY_ARRAY_API=1 in the environment, SciPy wraps its ufuncs; this unwraps them."""
    of = getattr(scipy.special, name)
    inner = getattr(of, "__wrapped__", of)
    return inner if isinstance(inner, np.ufunc) else of


@cache
def function(name: str) -> Any:
    """SciPy's function of this name, on Tensors, arrays and numbers."""
    of = scipys(name)
    slopes = SLOPES.get(name, ())
    kind = SpecialTuple if isinstance(of, np.ufunc) and of.nout > 1 else Entropic if name in ENTROPIC else Special
    return on_tensors(kind, of, slopes if isinstance(slopes, tuple) else (slopes,))


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return function(name)
