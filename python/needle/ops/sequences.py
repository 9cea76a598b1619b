"""Convolution of two sequences."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, as_value
from .base import Bilinear


class Convolve(Bilinear):
    """out[k] = sum of a[i] * b[k - i] over i, for each k with at least one term; with `valid`, only for complete sums.

    Each adjoint is the convolution of out_grad with the other sequence, reversed.
    """

    notation = "convolve({0}, {1})"
    saves, commutes = ("inputs",), True
    __slots__ = ("valid",)

    def __init__(self, valid: bool = False):
        self.valid = valid

    def compute(self, a: Any, b: Any) -> Any:
        mode: Any = "valid" if self.valid else "full"
        if a.dtype == b.dtype == np.float16:
            return np.convolve(a.astype(np.float32), b.astype(np.float32), mode).astype(np.float16)
        return np.convolve(a, b, mode)

    def hint(self, *arrays: Any) -> str:
        return "needs two sequences, 1-d and not empty" if _are_no_sequences(*arrays) else ""

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, b = node.inputs
        if not self.valid:
            return lambda: CONVOLVE_VALID.on(out_grad, b[::-1]), lambda: CONVOLVE_VALID.on(out_grad, a[::-1])
        return lambda: _to_inner(out_grad, b, a.size), lambda: _to_inner(out_grad, a, b.size)


def convolve(a: Any, b: Any, valid: bool = False) -> Tensor:
    """The convolution of two 1-d sequences: all sums, or with `valid` only the complete ones.

    Raises TypeError for one of NumPy's modes in the place of `valid`.
    """
    if not isinstance(valid, (bool, np.bool)):
        raise TypeError(
            f"convolve: valid must be True or False, got {valid!r}; needle.numpy.convolve has NumPy's modes"
        )
    return (CONVOLVE_VALID if valid else CONVOLVE)(as_value(a), as_value(b))


def _to_inner(out_grad: Any, other: Any, size: int) -> Any:
    """The adjoint of a sequence of this size in a `valid` convolution with the other one."""
    if size >= other.size:
        return CONVOLVE.on(out_grad, other[::-1])
    return CONVOLVE_VALID.on(other, out_grad[::-1])[::-1]


def _are_no_sequences(*arrays: Any) -> bool:
    return any(a.ndim > 1 or a.size == 0 for a in arrays)


CONVOLVE, CONVOLVE_VALID = Convolve(), Convolve(valid=True)
