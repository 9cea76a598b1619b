"""a @ b, for vectors, matrices and batches of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, any_along, between_ones
from ..pool import SMALLEST, empty
from .base import Bilinear, aligned
from .reduction import Summation

_BLAS = "fdFD"


class MatMul(Bilinear):
    notation = "{0} @ {1}"
    __slots__ = ()
    saves = ("inputs",)

    def compute(self, a: Any, b: Any) -> Any:
        if a.ndim == b.ndim == 2:
            rows, columns, dtype = len(a), b.shape[1], a.dtype
            nbytes = rows * columns * dtype.itemsize
            if dtype is not b.dtype or dtype.char not in _BLAS:
                return np.matmul(a, b)
            if nbytes < SMALLEST:
                return a.dot(b)  # the same product, with less overhead
            return np.matmul(a, b, out=empty((rows, columns), dtype, nbytes))
        if b.ndim == 2 and a.ndim > 2 and a.size:  # one product of all rows is faster than one per batch entry
            return self.compute(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
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
            return _adjoints_of_vectors(out_grad, a, b)
        return lambda: self.on(out_grad, b.mT), lambda: _by_right_factor(out_grad, a, b)

    def reaches(self, plain: tuple[Any, ...], masks: list[Any]) -> Any:
        """A row of a reaches the same row of the product; a column of b reaches the same column."""
        (a, b), (m, n) = plain, masks
        if a.ndim != 2 or b.ndim != 2 or (m is not None and n is not None):
            return between_ones(self, plain, masks)
        mask, own, other = (n, 0, 1) if m is None else (m, 1, 0)
        shape = a.shape[0], b.shape[1]
        counts = any_along(mask, other)
        factor = counts.reshape((1, -1) if m is None else (-1, 1)).broadcast_to(a.shape if m is None else b.shape)
        return any_along(mask, own).broadcast_to(shape), [factor, None] if m is None else [None, factor]

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        (a, b), (m, n) = values, depths
        row, column = (a.ndim if m is None else m) == 1, (b.ndim if n is None else n) == 1
        if column and m is not None and n is None:
            return self(a, b)  # (batch, ..., k) @ (k,): one vector for the whole batch
        if row and n is None and not column and b.ndim == 2:
            return self(a, b)  # (batch, k) @ (k, n): one matrix product
        if row:
            a, m = _with_axis(a, -2), None if m is None else 2
        if column:
            b, n = _with_axis(b, -1), None if n is None else 2
        out = self(*aligned((a, b), (m, n)))
        if row:
            out = out.reshape((*out.shape[:-2], out.shape[-1]))
        return out.reshape(out.shape[:-1]) if column else out


def matmul(a: Any, b: Any) -> Tensor:
    """The matrix product over the last axis of a and the second-last axis of b; the batch axes broadcast."""
    return MATMUL(a, b)


def _with_axis(a: Any, axis: int) -> Any:
    return a.reshape((*a.shape[:-1], 1, a.shape[-1]) if axis == -2 else (*a.shape, 1))


def _by_right_factor(g: Any, a: Any, b: Any) -> Any:
    """a.mT @ g, the adjoint of b. If one matrix b multiplies a batch, the product also sums over the batch."""
    if b.ndim == 2 and a.ndim > 2 and a.size and g.size:
        a, g = a.reshape((-1, a.shape[-1])), g.reshape((-1, g.shape[-1]))
    return MATMUL.on(a.mT, g)


def _adjoints_of_vectors(g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """The adjoints where a or b is a vector.

    A vector counts as a matrix of one row on the left, of one column on the right. For a vector and a single matrix, g
    is a vector: one adjoint is a matrix-vector product, the other an outer product.
    """
    if a.ndim == 1 and b.ndim == 2:
        return lambda: MATMUL.on(g, b.mT), lambda: MATMUL.on(a.reshape((-1, 1)), g.reshape((1, -1)))
    if a.ndim == 2 and b.ndim == 1:
        return lambda: MATMUL.on(g.reshape((-1, 1)), b.reshape((1, -1))), lambda: MATMUL.on(a.mT, g)
    rows = a.reshape((1, -1)) if a.ndim == 1 else a
    columns = b.reshape((-1, 1)) if b.ndim == 1 else b
    if b.ndim == 1:
        g = g.reshape((*g.shape, 1))
    if a.ndim == 1:
        g = g.reshape((*g.shape[:-1], 1, g.shape[-1]) if b.ndim > 1 else (1, 1))

    def by_a() -> Any:
        adjoint = MATMUL.on(g, columns.mT)
        return Summation(tuple(range(adjoint.ndim - 1))).on(adjoint) if a.ndim == 1 else adjoint

    def by_b() -> Any:
        adjoint = _by_right_factor(g, rows, columns)
        return Summation((*range(adjoint.ndim - 2), adjoint.ndim - 1)).on(adjoint) if b.ndim == 1 else adjoint

    return by_a, by_b


MATMUL = MatMul()
