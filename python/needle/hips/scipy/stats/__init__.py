"""Distributions of scipy.stats on arrays, those of `needle.scipy.stats` on Tensors, one module each."""

import sys as _sys
from types import ModuleType as _Module

import scipy.stats as _scipy

from ....scipy import stats as _needle
from ...doors import opened as _opened


def _distribution(name: str) -> _Module:
    """Its module, which an import finds as well."""
    module = _Module(f"{__name__}.{name}", f"scipy.stats.{name} on arrays, needle.scipy.stats.{name} on Tensors.")
    get, names = _opened(vars(module), getattr(_scipy, name), getattr(_needle, name))
    vars(module).update(__getattr__=get, __dir__=names)
    return _sys.modules.setdefault(module.__name__, module)


beta = _distribution("beta")
chi2 = _distribution("chi2")
dirichlet = _distribution("dirichlet")
expon = _distribution("expon")
gamma = _distribution("gamma")
multivariate_normal = _distribution("multivariate_normal")
norm = _distribution("norm")
poisson = _distribution("poisson")
t = _distribution("t")
uniform = _distribution("uniform")
