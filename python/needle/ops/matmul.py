"""a @ b: vectors, matrices and batches of them, whose leading axes broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, wanted
from ..pool import empty
from .base import Bilinear
from .shape import SWAP_LAST


class MatMul(Bilinear):
    __slots__ = ()
    saves = ("inputs",)

    def compute(self, a: Any, b: Any) -> Any:
        if b.ndim == 2 and a.ndim > 2 and a.size:  # one product of all rows is faster than one a batch entry
            return self.compute(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
        if a.ndim == b.ndim == 2 and a.dtype is b.dtype:
            rows, columns = len(a), b.shape[1]
            return np.matmul(a, b, out=empty((rows, columns), a.dtype, rows * columns * a.itemsize))
        return np.matmul(a, b)

    def hint(self, a: Any, b: Any) -> str:
        if a.ndim == 0 or b.ndim == 0:
            return "both operands need at least one axis; use * to scale by a number"
        inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
        if a.shape[-1] != inner:
            return (
                f"the last axis of a is {a.shape[-1]} long, the {'second-last' if b.ndim > 1 else 'only'} axis of b "
                f"{inner}, and they must be equal; is one of them to be transposed?"
            )
        return f"the batch axes {a.shape[:-2]} and {b.shape[:-2]} must broadcast"

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, b = node.inputs
        if a.ndim == 1 or b.ndim == 1:
            return self._vector_gradient(out_grad, a, b)
        by_a = by_b = None
        if wanted(a):
            by_a = out_grad @ SWAP_LAST(b)
        if wanted(b):
            if b.ndim == 2 and a.ndim > 2 and a.size and out_grad.size:  # summing over the batch is part of the product
                a, out_grad = a.reshape(-1, a.shape[-1]), out_grad.reshape(-1, out_grad.shape[-1])
            by_b = SWAP_LAST(a) @ out_grad
        return by_a, by_b

    @staticmethod
    def _vector_gradient(out_grad: Any, a: Any, b: Any) -> Any:
        """A vector is a matrix of one row on the left, of one column on the right, whose axis is then dropped."""
        rows = a.reshape(1, -1) if a.ndim == 1 else a
        columns = b.reshape(-1, 1) if b.ndim == 1 else b
        g = out_grad
        if b.ndim == 1:
            g = g.reshape(*g.shape, 1)
        if a.ndim == 1:
            g = g.reshape(*g.shape[:-1], 1, g.shape[-1]) if b.ndim > 1 else g.reshape(1, 1)
        by_a = by_b = None
        if wanted(a):
            by_a = g @ SWAP_LAST(columns)
            by_a = by_a.sum(tuple(range(by_a.ndim - 1))) if a.ndim == 1 else by_a
        if wanted(b):
            by_b = SWAP_LAST(rows) @ g
            by_b = by_b.sum((*range(by_b.ndim - 2), by_b.ndim - 1)) if b.ndim == 1 else by_b
        return by_a, by_b


def matmul(a: Any, b: Any) -> Tensor:
    """The matrix product over the last axis of a and the second-last of b; batch axes broadcast on either side."""
    return MATMUL(a, b)


MATMUL = MatMul()
