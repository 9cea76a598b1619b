"""How a Tensor lies in memory, and its elements one after the other: the rest of an array's attributes."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..autograd import Tensor, Wrapped, latest
from . import creation, manipulation


def _laid_out(a: Tensor) -> Any:
    """An array that lies in memory as the Tensor does."""
    a = latest(a)
    return a.laid_out() if isinstance(a, Wrapped) else a._array


def strides(a: Tensor) -> tuple[int, ...]:
    """The bytes from an element to the next one along each axis."""
    found: tuple[int, ...] = _laid_out(a).strides
    return found


def flags(a: Tensor) -> Any:
    """NumPy's flags: the memory layout. To set `writeable` has no effect: a Tensor can always be assigned to."""
    return _laid_out(a).flags


def base(a: Tensor) -> Tensor | None:
    """The Tensor with whose memory this view was made; None if it has memory of its own, and inside a transform."""
    found = None
    while (a := latest(a)) is not None and not isinstance(a, Wrapped):
        below = a.saved if a.op is None else a.inputs[0] if a.op.view else None
        if not isinstance(below, Tensor) or not np.may_share_memory(_laid_out(a), _laid_out(below)):
            break
        found = a = below
    return found


def itemsize(a: Tensor) -> int:
    """The bytes of an element."""
    return int(a.dtype.itemsize)


def tobytes(a: Tensor, order: Any = "C") -> bytes:
    """A copy of the elements' bytes."""
    found: bytes = a.numpy().tobytes(order)
    return found


def view(a: Tensor, dtype: Any = None, type: Any = None) -> Tensor:
    """A Tensor that shares its memory: assigning to either changes the other.

    Raises TypeError for another dtype or type: the bits of a number have no derivative.
    """
    if isinstance(dtype, builtins.type) and not issubclass(dtype, np.generic):  # a type, given first as NumPy allows
        dtype, type = None, dtype
    if isinstance(dtype, (int, tuple)):
        raise TypeError(f"Tensor.view: takes a dtype, as NumPy's does, got {dtype!r}; write t.reshape(shape)")
    if type not in (None, Tensor, np.ndarray):
        raise TypeError(f"Tensor.view: type must be np.ndarray, got {type!r}; write t.numpy().view({type.__name__})")
    if dtype is not None and np.dtype(dtype) != a.dtype:
        raise TypeError(
            f"Tensor.view: dtype must be {a.dtype}, that of the Tensor, got {np.dtype(dtype)}; write t.astype(dtype) "
            "to convert, np.stack([t.real, t.imag], -1) for the parts of complex numbers, t.numpy().view(dtype) for "
            "the bits"
        )
    return a[...]


class Flat:
    """The elements of a Tensor one after the other, the last axis fastest: `t.flat`. It can be indexed, assigned to and
    iterated over."""

    def __init__(self, a: Tensor):
        self._a = a

    @property
    def base(self) -> Tensor:
        return self._a

    def __len__(self) -> int:
        return self._a.size

    def __iter__(self) -> Iterator[Tensor]:
        return iter(manipulation.ravel(self._a))

    def __getitem__(self, index: Any) -> Tensor:
        return creation.copy(manipulation.ravel(self._a)[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        places = np.arange(self._a.size)[index]
        if np.ndim(value):  # NumPy repeats what is too short, and leaves out what is too long
            value = manipulation.resize(value, places.shape)
        self._a[np.unravel_index(places, self._a.shape)] = value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(manipulation.ravel(self._a), dtype)

    def copy(self) -> Tensor:
        return manipulation.ravel(creation.copy(self._a))


def set_flat(a: Tensor, value: Any) -> None:
    """Assign to all elements in order; a value that is too short is repeated."""
    Flat(a)[:] = value
