"""NumPy on arrays, `needle.numpy` on Tensors."""

from typing import Any as _Any

import numpy as _numpy

from ... import numpy as _needle
from ..doors import opened as _opened
from . import fft as fft
from . import linalg as linalg
from . import random as random

__getattr__, __dir__ = _opened(globals(), _numpy, _needle)
__all__ = [*_numpy.__all__, "make_diagonal"]  # noqa: PLE0604


def make_diagonal(D: _Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> _Any:
    """Matrices with the last axis of D on their diagonals, in the last two axes."""
    if (offset, axis1, axis2) not in {(0, -1, -2), (0, -2, -1)} and not (offset == 0 and D.ndim == 1):
        raise NotImplementedError(
            f"make_diagonal: makes the last two axes only, got offset={offset}, axis1={axis1}, axis2={axis2}; write "
            "make_diagonal(D, axis1=-1, axis2=-2), and np.moveaxis"
        )
    return D[..., None] * _numpy.eye(D.shape[-1], dtype=D.dtype)
