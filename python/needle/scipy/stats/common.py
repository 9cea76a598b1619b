"""Helpers of the distributions: standardizing, and values outside the support."""

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
    """(x - loc) / scale, without an op for a loc of 0 and a scale of 1."""
    z = tensor(x)
    if not (type(loc) in (int, float) and loc == 0):
        z = z - loc
    return z if type(scale) in (int, float) and scale == 1 else z / scale


def log_scale(scale: Any) -> Any:
    """log(scale). For a Python number it is a Python number, which does not widen the result's dtype."""
    if type(scale) in (int, float):
        return ln(scale) if scale > 0 else nan
    return log(tensor(scale))


def beside(z: Tensor, parameter: Any) -> Any:
    """The parameter, in z's dtype if it is a Python number: else SciPy's functions would widen float32."""
    return weak(parameter, z) if type(parameter) in NUMBERS else parameter


def inside(support: Tensor, z: Tensor, stand_in: float) -> Tensor:
    """z on the support; elsewhere `stand_in`, where the density is finite. No derivative comes from there."""
    return where(support, z, stand_in)


def log_density(support: Tensor, value: Tensor) -> Tensor:
    """The value on the support, -inf elsewhere; NaN stays NaN."""
    return where(support, value, -np.inf)


def log_probability(p: Tensor, complement: Tensor) -> Tensor:
    """log(p), by the complement to 1 where that is smaller. It is -inf at p = 0, with a structural zero as gradient."""
    near_one, is_zero = p > 0.5, p == 0
    small = log(where(near_one | is_zero, 1, p))
    return where(near_one, function("log1p")(-where(near_one, complement, 0)), where(is_zero, -np.inf, small))
