"""a @ b: vectors, matrices and batches of them, whose leading axes broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Branch, Tensor, Value, constant, is_finite, wanted
from ..pool import SMALLEST, empty
from .base import Bilinear, aligned
from .reduction import Summation, summation

_BLAS = "fdFD"


class MatMul(Bilinear):
    notation = "{0} @ {1}"
    __slots__ = ()
    saves, batches, mixes, takes_branch = ("inputs",), True, True, True

    def compute(self, a: Any, b: Any) -> Any:
        if a.ndim == b.ndim == 2:
            rows, columns, dtype = len(a), b.shape[1], a.dtype
            nbytes = rows * columns * dtype.itemsize
            if dtype is not b.dtype or dtype.char not in _BLAS:
                return np.matmul(a, b)
            if nbytes < SMALLEST:
                return a.dot(b)  # the same product, with less around it
            return np.matmul(a, b, out=empty((rows, columns), dtype, nbytes))
        if b.ndim == 2 and a.ndim > 2 and a.size:  # one product of all rows is faster than one a batch entry
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
        return _adjoints(self, summation, out_grad, a, b, wanted(a), wanted(b))

    def array_gradient(self, out_grad: Any, node: Any, asked: set[Value]) -> Any:
        (a, b), (x, y) = node.inputs, node.saved
        if type(out_grad) is Branch:
            return self._array_gradient_of_branch(out_grad, node, asked)
        return _adjoints(self.compute, _sum_of_array, out_grad, x, y, a in asked, b in asked)

    def _array_gradient_of_branch(self, out_grad: Branch, node: Any, asked: set[Value]) -> Any:
        """That of an adjoint of which some rows or columns may not count, nor what they are products of. That matters
        where an operand is not finite, and then neither is the output; else the zeros of the adjoint are enough."""
        (a, b), (x, y), g, mask = node.inputs, node.saved, out_grad.adjoint, out_grad.mask
        if not g.ndim == x.ndim == y.ndim == 2 or not is_finite(node._array):
            return None
        by_a, by_b = _adjoints(self.compute, _sum_of_array, g, x, y, a in asked, b in asked)
        return _chosen(by_a, mask, 1, a), _chosen(by_b, mask, 0, b)

    def masks(self, mask: Any, node: Any) -> Any:
        a, b = node.inputs
        if a.ndim == b.ndim == 2:
            counts = mask.astype(np.float32)
            rows, columns = [Summation(axis, keepdims=True)(counts) > 0 for axis in (1, 0)]
            return rows.broadcast_to(a.shape), columns.broadcast_to(b.shape)
        a, b = [constant(np.ones(x.shape, np.float32)) for x in (a, b)]
        reached = _adjoints(self, summation, mask.astype(np.float32), a, b, of_a=True, of_b=True)
        return tuple([m > 0 for m in reached])

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        (a, b), (m, n) = values, depths
        row, column = (a.ndim if m is None else m) == 1, (b.ndim if n is None else n) == 1
        if column and m is not None and n is None:
            return self(a, b)  # (batch, ..., k) @ (k,): the vector is the same for all
        if row and n is None and not column and b.ndim == 2:
            return self(a, b)  # (batch, k) @ (k, n): a matrix product
        if row:
            a, m = _with_axis(a, -2), None if m is None else 2
        if column:
            b, n = _with_axis(b, -1), None if n is None else 2
        out = self(*aligned((a, b), (m, n)))
        if row:
            out = out.reshape((*out.shape[:-2], out.shape[-1]))
        return out.reshape(out.shape[:-1]) if column else out


def _chosen(adjoint: Any, mask: Any, axis: int, value: Value) -> Any:
    """The adjoint with a mask of the rows (columns) that anything counted for, if what made the value looks at it."""
    if adjoint is None or value.op is None or not value.op.carries_mask:
        return adjoint
    counts = mask.any(axis, keepdims=True)
    return adjoint if counts.all() else Branch(adjoint, np.broadcast_to(counts, adjoint.shape))


def _with_axis(a: Any, axis: int) -> Any:
    return a.reshape((*a.shape[:-1], 1, a.shape[-1]) if axis == -2 else (*a.shape, 1))


def _adjoints(product: Any, total: Any, g: Any, a: Any, b: Any, of_a: bool, of_b: bool) -> Any:  # noqa: PLR0917
    """g @ b.mT and a.mT @ g, where asked for; of Tensors, or of arrays with a product and a sum of arrays."""
    if a.ndim == 1 or b.ndim == 1:
        return _vector_adjoints(product, total, g, a, b, of_a, of_b)
    by_a = product(g, b.mT) if of_a else None
    if of_b and b.ndim == 2 and a.ndim > 2 and a.size and g.size:  # summing over the batch is part of the product
        a, g = a.reshape(-1, a.shape[-1]), g.reshape(-1, g.shape[-1])
    return by_a, product(a.mT, g) if of_b else None


def _vector_adjoints(product: Any, total: Any, g: Any, a: Any, b: Any, of_a: bool, of_b: bool) -> Any:  # noqa: PLR0917
    """A vector is a matrix of one row on the left, of one column on the right, whose axis is then dropped. Beside a
    single matrix, that is a product of this and the adjoint, which is a vector, too, and an outer product."""
    if a.ndim == 1 and b.ndim == 2:
        return product(g, b.mT) if of_a else None, product(a.reshape(-1, 1), g.reshape(1, -1)) if of_b else None
    if a.ndim == 2 and b.ndim == 1:
        return product(g.reshape(-1, 1), b.reshape(1, -1)) if of_a else None, product(a.mT, g) if of_b else None
    rows = a.reshape(1, -1) if a.ndim == 1 else a
    columns = b.reshape(-1, 1) if b.ndim == 1 else b
    if b.ndim == 1:
        g = g.reshape(*g.shape, 1)
    if a.ndim == 1:
        g = g.reshape(*g.shape[:-1], 1, g.shape[-1]) if b.ndim > 1 else g.reshape(1, 1)
    by_a, by_b = _adjoints(product, total, g, rows, columns, of_a, of_b)
    if of_a and a.ndim == 1:
        by_a = total(by_a, tuple(range(by_a.ndim - 1)))
    if of_b and b.ndim == 1:
        by_b = total(by_b, (*range(by_b.ndim - 2), by_b.ndim - 1))
    return by_a, by_b


def _sum_of_array(a: Any, axes: tuple[int, ...]) -> Any:
    return Summation(axes).compute(a)


def matmul(a: Any, b: Any) -> Tensor:
    """The matrix product over the last axis of a and the second-last of b; batch axes broadcast on either side."""
    return MATMUL(a, b)


MATMUL = MatMul()
