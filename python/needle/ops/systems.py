"""Systems of linear equations: inverse, solution, pseudo-inverse."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor, TensorOp, as_value
from .base import aligned
from .discrete import Discrete
from .matrices import OfMatrices, as_factor, conjugate, dagger, hermitian_part, shape_hint

_SINGULAR = "a matrix is singular; pinv or lstsq accept singular matrices"


class Inv(OfMatrices, TensorOp):
    notation = "inv({0})"
    saves = ("output",)
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return np.linalg.inv(a)

    def hint(self, *arrays: Any) -> str:
        return super().hint(*arrays) or ("" if arrays[0].dtype == np.float16 else _SINGULAR)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        y = node.output
        return -(y.mT @ out_grad @ y.mT)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        y = node.output
        return -(y @ tangents[0] @ y)


def inv(a: Any) -> Tensor:
    """The inverse of each matrix, (..., M, M). Raises LinAlgError if one is singular."""
    return INV(a)


class Solve(TensorOp):
    """a x = b, for matrices b; batch axes broadcast."""

    notation = "solve({0}, {1})"
    saves = ("inputs", "output")
    __slots__ = ()

    def compute(self, a: Any, b: Any) -> Any:
        return np.linalg.solve(a, b)

    def hint(self, *arrays: Any) -> str:
        a, b = arrays
        if wrong := shape_hint(a):
            return wrong
        if np.float16 in (a.dtype, b.dtype):
            return ""
        if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
            return f"b must have as many rows as a, whose shape is {a.shape}, got shape {b.shape}"
        try:
            np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError:
            return f"the batch axes {a.shape[:-2]} and {b.shape[:-2]} must broadcast"
        return _SINGULAR

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, x = node.inputs[0], node.output
        by_b = self.on(a.mT, out_grad)
        return lambda: -(by_b @ x.mT), by_b

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        (a, _), x, (by_a, by_b) = node.inputs, node.output, tangents
        moved = None if by_a is None else -(by_a @ x)
        return self.on(a, by_b if moved is None else moved if by_b is None else by_b + moved)

    def reaches(self, plain: tuple[Any, ...], masks: list[Any]) -> Any:
        """All of each matrix: probing with ones would fail, as a matrix of ones is singular."""
        return (-2, -1), [None, None]

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))


def solve(a: Any, b: Any) -> Tensor:
    """The x of a x = b, for a of shape (..., M, M) and b of (..., M, K). Raises LinAlgError if a is singular."""
    return SOLVE(a, b)


class Pinv(OfMatrices, TensorOp):
    """The Moore-Penrose inverse. Singular values of up to `rcond` times the largest count as 0.

    The rule is that of Golub and Pereyra (1973) for a constant rank. Where the rank changes, the inverse is
    discontinuous. Where nonzero values are cut, the derivative has further terms: there is an error.
    """

    notation = "pinv({0})"
    saves = ("inputs", "output")
    __slots__ = ("hermitian", "rcond")

    def __init__(self, rcond: float = 1e-15, hermitian: bool = False):
        self.rcond = rcond
        self.hermitian = hermitian

    def compute(self, a: Any) -> Any:
        return np.linalg.pinv(a, self.rcond, self.hermitian)

    def hint(self, *arrays: Any) -> str:
        return shape_hint(arrays[0], self.hermitian)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        y = node.output
        # Of a constant, which adds nothing to the graph.
        y = y + as_factor(Discrete(_zero_if_whole, rcond=self.rcond).on(node.inputs[0]))
        a, p, g = conjugate(node.inputs[0]), conjugate(y), dagger(out_grad)
        by_rows, by_columns = g @ p @ y.mT, y.mT @ p @ g
        adjoint = by_rows - a @ (p @ by_rows) + by_columns - (by_columns @ p) @ a - y.mT @ out_grad @ y.mT
        return hermitian_part(adjoint) if self.hermitian else adjoint


def _zero_if_whole(a: Any, rcond: Any) -> Any:
    """0 for each matrix. Raises ValueError where rcond cuts singular values that are more than rounding errors."""
    s = np.linalg.svd(a, compute_uv=False)
    if s.size:
        largest = s.max(-1, keepdims=True)
        cut = (s <= np.asarray(rcond)[..., None] * largest) & (
            s > 1e2 * max(a.shape[-2:]) * np.finfo(s.dtype).eps * largest
        )
        if cut.any():
            raise ValueError(
                f"pinv: has no derivative here: rcond={rcond} cuts singular values of {(s / largest)[cut].max():.1e} "
                "times the largest one, and the rule is that of a matrix without them; give a smaller rcond, or "
                "take u, s, vh = svd(a, full_matrices=False) and leave columns out"
            )
    return np.zeros(s.shape[:-1], s.dtype)


def pinv(a: Any, rcond: float = 1e-15, hermitian: bool = False) -> Tensor:
    """The pseudo-inverse of each matrix, (..., M, N) to (..., N, M); `hermitian` matrices are faster.

    Singular values of up to `rcond` times the largest count as 0. The rank is taken as constant.
    """
    return Pinv(rcond, hermitian)(as_value(a))


INV, SOLVE = Inv(), Solve()
