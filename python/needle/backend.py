"""Where arrays live, and whose functions compute on them."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from .closures import computes_a_tensor, is_tensor
from .sums import sum_over as sum_over


class Device:
    """A place that holds arrays, and the array module (`xp`) that computes there.

    The creating methods take a shape as separate integers and return raw arrays, float32 unless told otherwise.
    Random numbers come from the module's global state, so `np.random.seed` fixes them.
    """

    __slots__ = ("name", "xp")

    def __init__(self, name: str, xp: Any):
        self.name = name
        self.xp = xp

    def __repr__(self) -> str:
        return f"needle.{self.name}()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def enabled(self) -> bool:
        return self.xp is not None

    def zeros(self, *shape: int, dtype: Any = "float32") -> Any:
        return self.xp.zeros(shape, dtype=dtype)

    def ones(self, *shape: int, dtype: Any = "float32") -> Any:
        return self.xp.ones(shape, dtype=dtype)

    def empty(self, *shape: int, dtype: Any = "float32") -> Any:
        return self.xp.empty(shape, dtype=dtype)

    def full(self, shape: tuple[int, ...], fill_value: Any, dtype: Any = "float32") -> Any:
        return self.xp.full(shape, fill_value, dtype=dtype)

    def rand(self, *shape: int, dtype: Any = "float32") -> Any:
        """Uniform numbers of [0, 1)."""
        return self.xp.asarray(self.xp.random.rand(*shape)).astype(dtype)

    def randn(self, *shape: int, dtype: Any = "float32") -> Any:
        """Standard normal numbers."""
        return self.xp.asarray(self.xp.random.randn(*shape)).astype(dtype)

    def one_hot(self, n: int, labels: Any, dtype: Any = "float32") -> Any:
        """Rows of the n-by-n identity: labels of shape s (integers, 0 to n-1) give an array of shape s + (n,)."""
        labels = self.xp.asarray(labels)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"one_hot: labels must be integers, got {labels.dtype}; write labels.astype(int)")
        check_labels("one_hot", n, labels)
        return self.xp.eye(n, dtype=dtype)[labels]


def check_labels(what: str, n: int, labels: Any) -> None:
    """Labels of n classes count from 0 to n - 1."""
    if labels.size and (np.minimum.reduce(labels, None) < 0 or np.maximum.reduce(labels, None) >= n):
        raise ValueError(
            f"{what}: labels must lie in 0..{n - 1} for n={n}, got values from {labels.min()} to {labels.max()}"
        )


class _Absent(Device):
    """A device that this machine, or this version of Needle, does not have; only its name is of use."""

    __slots__ = ()

    def __init__(self, name: str):
        self.name = name

    @property
    def xp(self) -> Any:
        raise RuntimeError(f"needle.{self.name}() is not on this machine; needle.all_devices() lists the devices")

    def enabled(self) -> bool:
        return False


_CPU = Device("cpu", np)
_CUDA = _Absent("cuda")


def cpu() -> Device:
    """The device of plain NumPy arrays."""
    return _CPU


def cuda() -> Device:
    """The device of arrays on a GPU, which Needle does not use yet: its `enabled()` is False."""
    return _CUDA


def all_devices() -> list[Device]:
    """Every device that can be used on this machine."""
    return [_CPU]


def default_device() -> Device:
    """The device of a tensor that names none."""
    return _CPU


def as_array(value: object, op: object = None) -> Any:
    """An array: itself, or a 0-d one around the NumPy scalar that a reduction to 0-d returns. Tuples by member.

    Raises TypeError for a Tensor that this op computed.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, (tuple, list)):
        return tuple([member if type(member) is np.ndarray else as_array(member, op) for member in value])
    if isinstance(value, (np.generic, int, float, complex)):
        return np.asarray(value)
    if is_tensor(value):
        raise computes_a_tensor(op)
    return value


_PLAIN = frozenset({np.ndarray, np.memmap, int, float, bool, complex, str, bytes, type(None), dict, set})


def array_of_numbers(what: object, value: Any, dtype: Any = None, copy: bool = True) -> Any:
    """The array of booleans or numbers that `value` is, a copy unless told otherwise; `what` asks for it.

    Raises TypeError for what is no number, and for what is more than an array, as that would be lost: a mask, units,
    labels, fields, the product of an np.matrix. ValueError for ragged lists.
    """
    if type(value) is not np.ndarray:
        refuse_more_than_arrays(what, value)
    try:
        array = np.array(value, dtype=dtype) if copy else np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{what}: cannot make an array of {type(value).__name__}: {error}") from error
    if array.dtype.kind not in "biufc":
        fix = "choose a field, like a['x']" if array.dtype.names else "to make numbers of it, give dtype=float"
        raise TypeError(
            f"{what}: needs a Tensor, an array or a number, got {type(value).__name__} of dtype {array.dtype}; {fix}"
        )
    return array


def refuse_more_than_arrays(what: object, value: Any) -> None:
    """TypeError for an array with more to it than its elements, alone or in a list: see `array_of_numbers`."""
    cls = type(value)
    if cls in _PLAIN or issubclass(cls, np.generic) or getattr(cls, "only_elements", False):
        return
    if issubclass(cls, (list, tuple)):
        for kind in set(map(type, value)) - _PLAIN:
            for member in value:
                if type(member) is kind:
                    refuse_more_than_arrays(what, member)
        return
    if issubclass(cls, np.ma.MaskedArray):
        lost, fix = "a masked array's mask", "fill the gaps with a.filled(0), or choose with np.where"
    elif issubclass(cls, np.matrix):
        lost, fix = "the product that * is of an np.matrix", "write np.asarray(a), and @ for the product"
    elif issubclass(cls, np.ndarray):
        lost, fix = f"what {cls.__name__} adds to an array", "write np.asarray(a)"
    elif hasattr(cls, "toarray"):
        lost, fix = f"the zeros that a sparse {cls.__name__} leaves out", "write a.toarray()"
    elif hasattr(cls, "to_numpy"):
        lost, fix = f"the labels of a {cls.__name__}", "write a.to_numpy()"
    else:
        return
    raise TypeError(f"{what}: {lost} would be lost; {fix}")


def is_finite(a: Any) -> bool:
    """Whether all elements are; the sum of their squares tells in a fraction of the time, mostly."""
    if a.dtype.kind not in "fc":
        return True
    return isfinite(abs(np.vdot(a, a))) or bool(np.isfinite(a).all())  # vdot warns of nothing, unlike dot
