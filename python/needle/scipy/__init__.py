"""SciPy's functions on Tensors, in SciPy's layout: `from needle.scipy.special import logsumexp`.

Importing one of the modules below imports SciPy. SciPy's own ufuncs need nothing from here: `scipy.special.gammaln(t)`
is differentiable by itself.

| module | what is in it |
|---|---|
| `special` | all differentiable special functions: the ufuncs, and logsumexp, polygamma, zeta, comb, ... |
| `linalg` | solve_triangular, solve_banded, cho_solve, solve_sylvester, toeplitz, expm, logm, sqrtm, ... |
| `stats` | densities and distribution functions: norm, t, gamma, beta, chi2, poisson, multivariate_normal, ... |
| `signal` | convolve |
| `integrate` | odeint |
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = ("integrate", "linalg", "signal", "special", "stats")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_MODULES)}")


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
