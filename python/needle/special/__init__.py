"""SciPy's special functions on Tensors: `scipy.special.gammaln(t)`. Nothing here imports SciPy unless it is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

_BEHIND = {"_lambertw": "lambertw", "_riemann_zeta": "zeta", "_zeta": "zeta"}
"""The ufuncs that SciPy's functions in Python call -> these functions."""


def find(ufunc: Any) -> Callable[..., Any] | None:
    """The function on Tensors, arrays and numbers for a ufunc of scipy.special; None for other ufuncs."""
    module, name = sys.modules.get("scipy.special"), getattr(ufunc, "__name__", "")
    if name in _BEHIND and ufunc is getattr(sys.modules.get("scipy.special._ufuncs"), name, None):
        return import_module(".rules", __name__).function(_BEHIND[name])
    if module is None or not hasattr(module, name):
        return None
    of = getattr(module, name)
    if ufunc not in (of, getattr(of, "__wrapped__", None)):
        return None
    return import_module(".rules", __name__).function(name)  # imports SciPy, which is loaded by now
