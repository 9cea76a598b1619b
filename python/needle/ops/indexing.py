"""a[index]: reading elements, and its adjoint, adding to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Part, Tensor, TensorOp, gradient_dtype
from .base import Linear


class GetItem(Linear):
    saves, view = (), True
    __slots__ = ("index",)

    def __init__(self, index: Any):
        self.index = index

    def compute(self, a: Any) -> Any:
        return a[self.index]

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return IndexPart(self.index, out_grad)


def getitem(a: Any, index: Any) -> Tensor:
    """a[index], as NumPy indexes: a view's values for ints and slices, a gathered copy for arrays of indices.

    Integer and boolean Tensors may be part of the index. Elements that are read several times add their gradients up.
    """
    index = tuple(map(_plain, index)) if isinstance(index, tuple) else _plain(index)
    return GetItem(index)(a)


def _plain(index: Any) -> Any:
    """A part of an index as NumPy takes it; arrays as copies of their own, so that later writes change nothing."""
    if isinstance(index, Tensor):
        index = index.numpy()
    elif isinstance(index, np.ndarray):
        index = index.copy()
    elif isinstance(index, list):
        index = np.array(index) if index else np.array(index, dtype=np.intp)
    if isinstance(index, np.ndarray) and index.dtype.kind not in "iub":
        raise IndexError(f"GetItem: arrays used as an index must be integers or booleans, got dtype {index.dtype}")
    return index


class IndexPart(Part):
    """The adjoint of the elements a[index]."""

    __slots__ = ()

    @staticmethod
    def total(parts: list[IndexPart], value: Any) -> Any:
        array = value._array
        return AddAt(array.shape, gradient_dtype(array.dtype), [part.index for part in parts])(
            *[part.adjoint for part in parts]
        )


class AddAt(TensorOp):
    """Zeros of a shape, to which each input is added at its own index: the adjoint of reading at these indices."""

    saves = ()
    __slots__ = ("dtype", "indices", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any, indices: list[Any]):
        self.shape = shape
        self.dtype = dtype
        self.indices = indices

    def compute(self, *arrays: Any) -> Any:
        out = np.zeros(self.shape, self.dtype)
        for index, array in zip(self.indices, arrays, strict=True):
            if _repeats(index):
                np.add.at(out, index, array)
            else:
                out[index] += array
        return out

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return tuple(GetItem(index)(out_grad) for index in self.indices)


def _repeats(index: Any) -> bool:
    """Whether an index may name an element twice: only arrays of integers can."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, np.ndarray) and part.dtype.kind != "b" and part.ndim > 0 for part in parts)


def iterate(a: Tensor) -> Any:
    """The sub-tensors along the first axis."""
    if a.ndim == 0:
        raise TypeError("iteration over a 0-d Tensor; t.item() gives its number")
    return (getitem(a, i) for i in range(a.shape[0]))
