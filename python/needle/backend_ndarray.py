"""The course's arrays: NumPy's, with `numpy()`, `pad()` and `device`.

Needle computes on plain NumPy arrays, and `tensor.cached_data` is one. With `NEEDLE_BACKEND=nd` in the environment, the
course's switch, `cached_data` and `realize_cached_data()` are an `NDArray` view of the same memory instead.
"""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np

from .autograd import Tensor
from .backend import Device, default_device
from .backend import all_devices as all_devices
from .backend import cpu as cpu
from .backend import cuda as cuda


class NDArray(np.ndarray[Any, Any]):
    """A NumPy array by another name: `NDArray(a)` copies an array, a Tensor's value or nested lists.

    It keeps NumPy's dtype. Raises ValueError for a device that is not on this machine.
    """

    only_elements = True

    def __new__(cls, other: Any, device: Device | None = None) -> Self:
        if device is not None and device != default_device():
            raise ValueError(f"NDArray: device {device!r} is not on this machine; needle.all_devices() lists them")
        return np.array(other.numpy() if isinstance(other, Tensor) else other).view(cls)

    @property
    def device(self) -> Device:  # type: ignore[override]
        return default_device()

    def numpy(self) -> Any:
        """A copy as a plain NumPy array."""
        return np.array(self)

    def pad(self, axes: tuple[tuple[int, int], ...]) -> Self:
        """The array with so many zeros before and after it along each axis: ((before, after), ...)."""
        return np.pad(self, axes).view(type(self))


def array(a: Any, dtype: Any = None, device: Device | None = None) -> NDArray:
    """An NDArray of this value, of NumPy's dtype for it unless told otherwise."""
    return NDArray(a if dtype is None else np.asarray(a, dtype), device)


def _hand_out_ndarrays() -> None:
    plain: Any = Tensor.cached_data

    def cached_data(tensor: Tensor) -> NDArray:
        """The live, writable array; see `realize_cached_data`."""
        return plain.fget(tensor).view(NDArray)

    Tensor.cached_data = property(cached_data, plain.fset)  # type: ignore[method-assign, assignment]


if os.environ.get("NEEDLE_BACKEND") == "nd":
    _hand_out_ndarrays()
