"""Window functions: weights of M points that fall off towards both ends."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, constant
from .common import tensor
from .elementwise import i0


def bartlett(M: int) -> Tensor:
    """The Bartlett window: a triangle."""
    return constant(np.bartlett(M))


def blackman(M: int) -> Tensor:
    """The Blackman window: three terms of cosines."""
    return constant(np.blackman(M))


def hamming(M: int) -> Tensor:
    """The Hamming window: a raised cosine that does not reach 0."""
    return constant(np.hamming(M))


def hanning(M: int) -> Tensor:
    """The Hann window: a raised cosine."""
    return constant(np.hanning(M))


def kaiser(M: int, beta: Any) -> Tensor:
    """The Kaiser window: a Bessel function of shape beta, by which it can be differentiated."""
    if not isinstance(beta, Tensor):
        return constant(np.kaiser(M, beta))
    from_middle = 2 * np.arange(M) / max(M - 1, 1) - float(M > 1)
    beta = tensor(beta, np.result_type(beta.dtype, np.float64))
    return i0(beta * np.sqrt(1 - from_middle**2)) / i0(beta)
