"""Convolution along any axes, with others summed over or kept, as in HIPS autograd."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..numpy.common import normal_axis, tensors
from ..numpy.manipulation import transpose as permuted
from ..ops.base import Bilinear
from ..ops.indexing import getitem


class Convolve(Bilinear):
    """The convolution of a (I, K, *n) and b (J, K, *m) along the last axes, summed over K: (I, J, *out), for m <= n.

    The lengths are n + m - 1 for a full convolution, else n - m + 1, where all of b overlaps a.
    """

    __slots__ = ("full",)
    saves = ("inputs",)

    def __init__(self, full: bool):
        self.full = full

    def compute(self, a: Any, b: Any) -> Any:
        sizes = b.shape[2:]
        if self.full:
            a = np.pad(a, [(0, 0), (0, 0), *[(m - 1, m - 1) for m in sizes]])
        windows = np.lib.stride_tricks.sliding_window_view(a, sizes, tuple(range(2, a.ndim)))
        reversed_b = b[(slice(None), slice(None), *[slice(None, None, -1)] * len(sizes))]
        summed = (1, *range(a.ndim, windows.ndim)), (1, *range(2, b.ndim))
        return np.moveaxis(np.tensordot(windows, reversed_b, summed), -1, 1)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, b = node.inputs

        def by_b() -> Any:
            other, g = _swapped(_reversed(a)), _swapped(out_grad)
            return VALID.on(g, other) if self.full else _swapped(VALID.on(other, g))

        return lambda: Convolve(not self.full).on(out_grad, _swapped(_reversed(b))), by_b

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        (a, b), (of_a, of_b) = values, depths
        if of_a is not None and of_b is not None:
            return NotImplemented
        batch, rows = (a if of_b is None else b).shape[:2]
        if of_b is None:
            out = self(a.reshape((batch * rows, *a.shape[2:])), b)
            return out.reshape((batch, rows, *out.shape[1:]))
        out = self(a, b.reshape((batch * rows, *b.shape[2:])))
        return _swapped(out.reshape((out.shape[0], batch, rows, *out.shape[2:])))


def convolve(A: Any, B: Any, axes: Any = None, dot_axes: Any = ((), ()), mode: str = "full") -> Tensor:
    """The convolution of A and B along pairs of axes.

    `axes=(of_A, of_B)` are the convolved axes; by default, all that are not in `dot_axes`. `dot_axes` are pairs of axes
    that are multiplied and summed over. The result has the axes of A that are in neither, then those of B, then the
    convolved ones. `mode` is "full", "valid" or "same" (the middle of "full", with the lengths of A). It may be the
    third argument, as in SciPy. Raises ValueError for axes that do not pair up.
    """
    if isinstance(axes, str):
        axes, mode = None, axes
    if mode not in {"full", "valid", "same"}:
        raise ValueError(f"convolve: mode must be 'full', 'valid' or 'same', got {mode!r}")
    a, b = tensors(A, B)
    dot = [[normal_axis("convolve", i, x.ndim) for i in of] for of, x in zip(dot_axes, (a, b), strict=True)]
    if axes is None:
        along = [[i for i in range(x.ndim) if i not in d] for d, x in zip(dot, (a, b), strict=True)]
    else:
        along = [[normal_axis("convolve", i, x.ndim) for i in of] for of, x in zip(axes, (a, b), strict=True)]
    if len(along[0]) != len(along[1]) or len(dot[0]) != len(dot[1]):
        raise ValueError(
            f"convolve: axes and dot_axes must pair axes of A and B, whose shapes are {a.shape} and {b.shape}; got "
            f"axes={axes!r}, dot_axes={dot_axes!r}"
        )
    a, kept_a = _canonical(a, along[0], dot[0])
    b, kept_b = _canonical(b, along[1], dot[1])
    n, m = a.shape[2:], b.shape[2:]
    if 0 in n or 0 in m:
        raise ValueError(f"convolve: the convolved axes must not be empty, got lengths {n} and {m}")
    out = _convolved(a, b, mode)
    if mode == "same":
        starts = [(length - 1) // 2 for length in m]
        out = getitem(out, (..., *[slice(s, s + length) for s, length in zip(starts, n, strict=True)]))
    return out.reshape((*kept_a, *kept_b, *out.shape[2:]))


def _reversed(a: Any) -> Any:
    """a reversed along the convolved axes."""
    return a[(slice(None), slice(None), *[slice(None, None, -1)] * (a.ndim - 2))]


def _swapped(a: Any) -> Any:
    """a with the first two axes swapped."""
    return a.swapaxes(0, 1)


FULL, VALID = Convolve(True), Convolve(False)


def _canonical(a: Tensor, along: list[int], dot: list[int]) -> tuple[Tensor, tuple[int, ...]]:
    """a with the axes of `Convolve` (kept, summed over, convolved), and the lengths of its kept axes."""
    kept = [i for i in range(a.ndim) if i not in along and i not in dot]
    if sorted([*kept, *dot, *along]) != list(range(a.ndim)):
        raise ValueError(f"convolve: axes {along} and dot_axes {dot} name an axis of shape {a.shape} twice")
    a = permuted(a, [*kept, *dot, *along])
    lengths = a.shape
    rows, inner = lengths[: len(kept)], lengths[len(kept) : len(kept) + len(dot)]
    return a.reshape((prod(rows), prod(inner), *lengths[len(kept) + len(dot) :])), rows


def _convolved(a: Tensor, b: Tensor, mode: str) -> Tensor:
    if mode != "valid":
        return FULL(a, b)
    if all(n >= m for n, m in zip(a.shape[2:], b.shape[2:], strict=True)):
        return VALID(a, b)
    if any(n > m for n, m in zip(a.shape[2:], b.shape[2:], strict=True)):
        raise ValueError(
            f"convolve: for mode='valid' one must be at least as long as the other along every axis, got lengths "
            f"{a.shape[2:]} and {b.shape[2:]}"
        )
    return _swapped(VALID(b, a))
