"""NumPy's `fft` on Tensors: discrete Fourier transforms.

`n` (for several axes: `s`) is the number of points, to which the input is cut off or filled up with zeros. `norm` says
which direction is divided by it: "backward" the inverse, "forward" the other one, "ortho" both by its square root.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..ops import fft as transforms
from ..ops.base import described
from ..ops.matrices import conjugate
from .common import check_device, into, normal_axis, tensor
from .manipulation import roll

_NORMS = {None: "backward", "backward": "backward", "ortho": "ortho", "forward": "forward"}
_SWAPPED = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _along(name: str, transform: Callable[..., Tensor], a: Any, n: Any, axis: Any, norm: Any) -> Tensor:
    """A transform along one axis; without n, of all its points."""
    a = tensor(a)
    if a.ndim == 0:
        raise ValueError(f"{name}: needs at least one axis, got shape ()")
    axis = normal_axis(name, axis, a.ndim)
    if n is None:
        n = a.shape[axis]
    if n < 1:
        raise ValueError(
            f"{name}: the number of points must be 1 or more, got {n} along axis {axis} of shape {a.shape}"
        )
    return transform(a, int(n), axis - a.ndim, _norm(name, norm))


def _norm(name: str, norm: Any) -> str:
    if norm not in _NORMS:
        raise ValueError(f"{name}: norm must be 'backward', 'ortho' or 'forward', got {norm!r}")
    return _NORMS[norm]


def _twice(a: Any, n: Any, axis: int) -> Any:
    """The number of points of a real signal, given half of its spectrum."""
    return 2 * (tensor(a).shape[axis] - 1) if n is None else n


def fft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Tensor:
    """The Fourier transform along an axis: for each k, the sum of a[j] exp(-2 pi i j k / n)."""
    return into(out, _along("fft", transforms.fft, a, n, axis, norm))


def ifft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Tensor:
    """The inverse of `fft`."""
    return into(out, _along("ifft", transforms.ifft, a, n, axis, norm))


def rfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Tensor:
    """`fft` of real numbers: the first n // 2 + 1 points, of which the others are the conjugates."""
    return into(out, _along("rfft", transforms.rfft, a, n, axis, norm))


def irfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Tensor:
    """The inverse of `rfft`, of n real points; without n, of 2 (m - 1) to m points."""
    return into(out, _along("irfft", transforms.irfft, a, _twice(a, n, axis), axis, norm))


def hfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Tensor:
    """The real spectrum, of n points, of a signal of which the second half is the conjugate of the first."""
    swapped = _SWAPPED[_norm("hfft", norm)]
    return into(out, _along("hfft", transforms.irfft, conjugate(tensor(a)), _twice(a, n, axis), axis, swapped))


def ihfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Tensor:
    """The inverse of `hfft`: n // 2 + 1 points."""
    swapped = _SWAPPED[_norm("ihfft", norm)]
    return into(out, conjugate(_along("ihfft", transforms.rfft, a, n, axis, swapped)))


def _lengths(name: str, a: Tensor, s: Any, axes: Any, of_real: bool = False) -> list[tuple[int, int]]:
    """(number of points, axis) of each axis; by default all axes, or as many of the last ones as there are in s."""
    if axes is None:
        axes = range(-a.ndim if s is None else -len(s), 0)
    axes = [normal_axis(name, axis, a.ndim) for axis in axes]
    if s is None:
        s = [a.shape[axis] for axis in axes]
        if of_real and axes:
            s[-1] = 2 * (s[-1] - 1)
    if len(s) != len(axes):
        raise ValueError(f"{name}: s and axes must have equal lengths, got s={described(s)} and axes={described(axes)}")
    return [(a.shape[axis] if n in (-1, None) else n, axis) for n, axis in zip(s, axes, strict=True)]


def _checked(name: str, lengths: list[tuple[int, int]]) -> list[tuple[int, int]]:
    if not lengths:
        raise ValueError(f"{name}: needs at least one axis")
    return lengths


def fftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None) -> Tensor:
    """`fft` along several axes, by default all."""
    a = tensor(a)
    for n, axis in reversed(_lengths("fftn", a, s, axes)):
        a = _along("fftn", transforms.fft, a, n, axis, norm)
    return into(out, a)


def ifftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None) -> Tensor:
    """The inverse of `fftn`."""
    a = tensor(a)
    for n, axis in reversed(_lengths("ifftn", a, s, axes)):
        a = _along("ifftn", transforms.ifft, a, n, axis, norm)
    return into(out, a)


def rfftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None) -> Tensor:
    """`rfft` along the last one of several axes, then `fft` along the others."""
    a = tensor(a)
    *others, (n, axis) = _checked("rfftn", _lengths("rfftn", a, s, axes))
    a = _along("rfftn", transforms.rfft, a, n, axis, norm)
    for n, axis in reversed(others):
        a = _along("rfftn", transforms.fft, a, n, axis, norm)
    return into(out, a)


def irfftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None) -> Tensor:
    """The inverse of `rfftn`."""
    a = tensor(a)
    *others, (n, last) = _checked("irfftn", _lengths("irfftn", a, s, axes, of_real=True))
    for length, axis in others:
        a = _along("irfftn", transforms.ifft, a, length, axis, norm)
    return into(out, _along("irfftn", transforms.irfft, a, n, last, norm))


def fft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None, out: Any = None) -> Tensor:
    """`fftn` along two axes."""
    return fftn(a, s, axes, norm, out)


def ifft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None, out: Any = None) -> Tensor:
    """`ifftn` along two axes."""
    return ifftn(a, s, axes, norm, out)


def rfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None, out: Any = None) -> Tensor:
    """`rfftn` along two axes."""
    return rfftn(a, s, axes, norm, out)


def irfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None, out: Any = None) -> Tensor:
    """`irfftn` along two axes."""
    return irfftn(a, s, axes, norm, out)


def fftfreq(n: int, d: Any = 1.0, device: Any = None, *, dtype: Any = None) -> Tensor:
    """The frequency of each point of `fft`, in cycles per unit of the sample spacing d."""
    check_device("fftfreq", device)
    return _frequencies("fftfreq", n, np.r_[0 : (n + 1) // 2, -(n // 2) : 0], d, dtype)


def rfftfreq(n: int, d: Any = 1.0, device: Any = None, *, dtype: Any = None) -> Tensor:
    """The frequency of each point of `rfft`, in cycles per unit of the sample spacing d."""
    check_device("rfftfreq", device)
    return _frequencies("rfftfreq", n, np.arange(n // 2 + 1), d, dtype)


def _frequencies(name: str, n: Any, cycles: Any, d: Any, dtype: Any) -> Tensor:
    if not isinstance(n, (int, np.integer)):
        raise ValueError(f"{name}: the number of points must be an integer, got {n!r}")
    return tensor(tensor(cycles) * (1.0 / (n * d)), dtype)


def fftshift(x: Any, axes: Any = None) -> Tensor:
    """The frequency zero moved to the middle of axes, by default of all."""
    return _shifted("fftshift", x, axes, lambda n: n // 2)


def ifftshift(x: Any, axes: Any = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _shifted("ifftshift", x, axes, lambda n: -(n // 2))


def _shifted(name: str, x: Any, axes: Any, by: Callable[[int], int]) -> Tensor:
    x = tensor(x)
    given = range(x.ndim) if axes is None else axes if hasattr(axes, "__iter__") else (axes,)
    places = [normal_axis(name, axis, x.ndim) for axis in given]
    return roll(x, [by(x.shape[axis]) for axis in places], places)
