"""Probability distributions on Tensors, one module each: `from needle.scipy.stats import norm`.

Each has `pdf` and `logpdf` (discrete ones `pmf` and `logpmf`). Where SciPy has the special functions for it, a module
also has `cdf`, `logcdf`, `sf`, `logsf` and `ppf`. All are differentiable by all real arguments, shape parameters
included.
"""

from . import beta as beta
from . import chi2 as chi2
from . import dirichlet as dirichlet
from . import expon as expon
from . import gamma as gamma
from . import multivariate_normal as multivariate_normal
from . import norm as norm
from . import poisson as poisson
from . import t as t
from . import uniform as uniform
