"""Fourier transforms along one axis.

The matrix of a transform is symmetric, so a complex transform is its own transpose. The spectrum of a real signal
leaves out its second half, which is the conjugate of the first. Points with a counterpart there count twice in the
rules.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from .base import Linear
from .indexing import AddAt
from .matrices import conjugate, real_dtype

_TRANSPOSED_NORM = {"backward": "forward", "ortho": "ortho", "forward": "backward"}
"""Norm of a transform -> the norm of its transpose, written as a transform in the other direction."""


class _Transform(Linear):
    """A transform of n points: the input is cut off there, or padded with zeros."""

    saves = ()
    __slots__ = ("axis", "n", "norm")

    def __init__(self, n: int, axis: int = -1, norm: str = "backward"):
        self.n = n
        self.axis = axis
        self.norm: Any = norm

    def reaches(self, plain: tuple[Any, ...], masks: list[Any]) -> Any:
        """All along the axis: probing with ones would fail, as the waves cancel."""
        return (self.axis,), [None]

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return type(self)(self.n, self.axis + (self.axis >= 0), self.norm)(values[0])


class FFT(_Transform):
    notation = "fft({0}, {n}, {axis})"
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return np.fft.fft(a, self.n, self.axis, self.norm)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        whole = self.on(out_grad)
        return _of_length(node.inputs[0].shape[self.axis], self.axis, whole)


def fft(a: Any, n: int, axis: int = -1, norm: str = "backward") -> Tensor:
    """The discrete Fourier transform of n points along an axis: sums of a[j] exp(-2 pi i j k / n)."""
    return FFT(n, axis, norm)(a)


class InverseFFT(_Transform):
    notation = "ifft({0}, {n}, {axis})"
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return np.fft.ifft(a, self.n, self.axis, self.norm)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        whole = self.on(out_grad)
        return _of_length(node.inputs[0].shape[self.axis], self.axis, whole)


def ifft(a: Any, n: int, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of `fft`: sums of a[k] exp(2 pi i j k / n) / n."""
    return InverseFFT(n, axis, norm)(a)


class RealFFT(_Transform):
    """The first n // 2 + 1 points of the spectrum of a real signal."""

    notation = "rfft({0}, {n}, {axis})"
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        if a.dtype.kind == "c":
            raise TypeError("needs real numbers; fft takes complex ones")
        return np.fft.rfft(a, self.n, self.axis, self.norm)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        back = InverseRealFFT(self.n, self.axis, _TRANSPOSED_NORM[self.norm])
        whole = back.on(out_grad.conj() / _multiplicity(self.n, self.axis, out_grad))
        return _of_length(a.shape[self.axis], self.axis, whole)


def rfft(a: Any, n: int, axis: int = -1, norm: str = "backward") -> Tensor:
    """`fft` of a real a, without the second half of the spectrum: n // 2 + 1 points. Raises TypeError for complex a."""
    return RealFFT(n, axis, norm)(a)


class InverseRealFFT(_Transform):
    """The real signal of n points for the first n // 2 + 1 points of a spectrum, whose ends are taken as real."""

    notation = "irfft({0}, {n}, {axis})"
    __slots__ = ()

    def compute(self, a: Any) -> Any:
        return np.fft.irfft(a, self.n, self.axis, self.norm)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        half = RealFFT(self.n, self.axis, _TRANSPOSED_NORM[self.norm]).on(out_grad)
        whole = (half if a.dtype.kind == "c" else half.real) * _multiplicity(self.n, self.axis, half)
        return _of_length(a.shape[self.axis], self.axis, conjugate(whole))


def irfft(a: Any, n: int, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of `rfft`: a real signal of n points."""
    return InverseRealFFT(n, axis, norm)(a)


def _multiplicity(n: int, axis: int, like: Any) -> Any:
    """How often each point of a half spectrum occurs in the whole one, in a shape that broadcasts.

    Twice, except for the first point, and for the last one if n is even.
    """
    times = np.full(n // 2 + 1, 2, real_dtype(like.dtype))
    times[0] = 1
    if n % 2 == 0:
        times[-1] = 1
    return times.reshape([-1 if i == axis % like.ndim else 1 for i in range(like.ndim)])


def _of_length(n: int, axis: int, a: Any) -> Any:
    """a with length n along an axis: cut off, or padded with zeros."""
    length, before = a.shape[axis], (slice(None),) * (axis % a.ndim)
    if n <= length:
        return a if n == length else a[(*before, slice(n))]
    shape = tuple(n if i == len(before) else m for i, m in enumerate(a.shape))
    return AddAt(shape, a.dtype, [(*before, slice(length))]).on(a)
