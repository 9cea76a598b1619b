"""Convolution, as HIPS autograd has it, which is not SciPy's."""

from __future__ import annotations

from typing import Any

from ...scipy.signal import convolve as _convolve
from ..doors import without_constants


def convolve(A: Any, B: Any, axes: Any = None, dot_axes: Any = ((), ()), mode: str = "full") -> Any:
    """The convolution of A and B along pairs of axes: see `needle.scipy.signal.convolve`."""
    return without_constants(_convolve(A, B, axes, dot_axes, mode))
