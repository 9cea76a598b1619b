"""What distributions share: standardizing, and what is outside of their support."""

from __future__ import annotations

from math import log as ln
from math import nan
from typing import Any

import numpy as np

from ...autograd import Tensor
from ...numpy.common import tensor
from ...ops import log, where
from ...ops.base import NUMBERS, weak
from ...special.rules import function


def standardized(x: Any, loc: Any, scale: Any) -> Tensor:
    """(x - loc) / scale, without an operation where that is x."""
    z = tensor(x)
    if not (type(loc) in (int, float) and loc == 0):
        z = z - loc
    return z if type(scale) in (int, float) and scale == 1 else z / scale


def log_scale(scale: Any) -> Any:
    """The logarithm of the scale; of a Python number, as a Python number, which widens no dtype."""
    if type(scale) in (int, float):
        return ln(scale) if scale > 0 else nan
    return log(tensor(scale))


def beside(z: Tensor, parameter: Any) -> Any:
    """A parameter in z's dtype if it is a Python number: SciPy's functions of two arguments would widen float32."""
    return weak(parameter, z) if type(parameter) in NUMBERS else parameter


def inside(support: Tensor, z: Tensor, stand_in: float) -> Tensor:
    """z on the support, and elsewhere a number of it, where nothing is infinite and no derivative comes from."""
    return where(support, z, stand_in)


def log_density(support: Tensor, value: Tensor) -> Tensor:
    """The value on the support, -inf elsewhere; NaN stays NaN."""
    return where(support, value, -np.inf)


def log_probability(p: Tensor, complement: Tensor) -> Tensor:
    """log(p), from its complement to 1 where that is the smaller; -inf at 0, from where no derivative comes."""
    near_one, is_zero = p > 0.5, p == 0
    small = log(where(near_one | is_zero, 1, p))
    return where(near_one, function("log1p")(-where(near_one, complement, 0)), where(is_zero, -np.inf, small))
