"""What arrays and dtypes are: shapes, promotion, limits, memory, and what the Array API standard asks a namespace."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import Device, all_devices, default_device
from ..ops.base import normalize_axes
from .common import array_of, check_device, tensor

__array_api_version__ = "2025.12"


def shape(a: Any) -> tuple[int, ...]:
    """The lengths of the axes."""
    return tensor(a).shape


def ndim(a: Any) -> int:
    """The number of axes."""
    return tensor(a).ndim


def size(a: Any, axis: Any = None) -> int:
    """The number of elements, or of those along axes."""
    lengths = tensor(a).shape
    return int(np.prod([lengths[i] for i in normalize_axes("size", axis, len(lengths))], dtype=int))


def iterable(y: Any) -> bool:
    """Whether it can be iterated over."""
    return y.ndim > 0 if isinstance(y, Tensor) else np.iterable(y)


def isscalar(element: Any) -> bool:
    """Whether it is a number (or a text); a Tensor is none."""
    return np.isscalar(element)


def isfortran(a: Any) -> bool:
    """Whether an array's elements lie in column order; a Tensor's order is nobody's matter."""
    return np.isfortran(a)


def may_share_memory(a: Any, b: Any, /, max_work: Any = 0) -> bool:
    """Whether the two might have memory in common."""
    return np.may_share_memory(_memory(a), _memory(b), max_work)


def shares_memory(a: Any, b: Any, /, max_work: Any = -1) -> bool:
    """Whether the two have memory in common."""
    return np.shares_memory(_memory(a), _memory(b), max_work)


def _memory(a: Any) -> Any:
    """The array itself: here, as nowhere else on this floor, what is asked for is where it lies."""
    return a.detach()._array if isinstance(a, Tensor) else a


# ------------------------------------------------------------------------------------------------------- dtypes


def _dtype_of(a: Any) -> Any:
    """A Tensor's dtype; what NumPy understands itself, as it is."""
    return a.dtype if isinstance(a, Tensor) else a


def result_type(*arrays_and_dtypes: Any) -> Any:
    """The dtype that an operation on these would have."""
    return np.result_type(*map(_dtype_of, arrays_and_dtypes))


def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Whether a dtype can be cast to another under a rule."""
    return np.can_cast(_dtype_of(from_), to, casting)


def promote_types(type1: Any, type2: Any, /) -> Any:
    """The smallest dtype that both can be cast to safely."""
    return np.promote_types(type1, type2)


def min_scalar_type(a: Any, /) -> Any:
    """The smallest dtype that holds this number; an array's own."""
    return np.min_scalar_type(array_of(a) if isinstance(a, Tensor) else a)


def common_type(*arrays: Any) -> Any:
    """The floating (or complex) scalar type that all of these can be cast to."""
    return np.common_type(*[np.empty(0, tensor(a).dtype) for a in arrays])


def mintypecode(typechars: Any, typeset: str = "GDFgdf", default: str = "d") -> str:
    """The letter of the smallest of a set of dtypes that all of these can be cast to safely."""
    return np.mintypecode(typechars, typeset, default)


def issubdtype(arg1: Any, arg2: Any) -> bool:
    """Whether a dtype stands below another in NumPy's hierarchy."""
    return np.issubdtype(arg1, arg2)


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind ("bool", "real floating", "numeric", ..., a dtype), or of one of several."""
    return np.isdtype(dtype, kind)


class finfo:
    """The limits of a floating dtype, or of a Tensor's: NumPy's, as Python numbers, which widen no dtype."""

    __slots__ = ("_info",)

    def __init__(self, dtype: Any):
        self._info = np.finfo(_dtype_of(dtype))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._info, name)
        return float(value) if isinstance(value, (np.float16, np.float32, np.float64)) else value

    def __repr__(self) -> str:
        return repr(self._info)


def iinfo(int_type: Any) -> Any:
    """The limits of an integer dtype, or of a Tensor's."""
    return np.iinfo(_dtype_of(int_type))


def broadcast_shapes(*args: Any) -> tuple[int, ...]:
    """The shape that these shapes broadcast to."""
    return np.broadcast_shapes(*args)


# -------------------------------------------------------------------------------------------------- the standard


class Info:
    """What a program may ask of a namespace before it relies on it."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean indices and shapes that depend on data both work."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """Where arrays are made that name no device."""
        return default_device()

    def devices(self) -> tuple[Device, ...]:
        """Every device that can be used."""
        return tuple(all_devices())

    def default_dtypes(self, *, device: Any = None) -> dict[str, Any]:
        """The dtypes of arrays that name none."""
        check_device("default_dtypes", device)
        names = {
            "real floating": np.float64,
            "complex floating": np.complex128,
            "integral": np.intp,
            "indexing": np.intp,
        }
        return {name: np.dtype(dtype) for name, dtype in names.items()}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Any]:
        """The standard's dtypes, all or those of a kind, by name."""
        check_device("dtypes", device)
        every = {name: np.dtype(name) for name in _STANDARD.split()}
        return {name: dtype for name, dtype in every.items() if kind is None or np.isdtype(dtype, kind)}


_STANDARD = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128"


def __array_namespace_info__() -> Info:  # noqa: N807 - the standard's name
    """What this namespace offers."""
    return Info()
