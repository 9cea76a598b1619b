"""Lets einops take Tensors: `import needle.einops` once, anywhere, and einops.rearrange, reduce, repeat, einsum, pack
and unpack differentiate.

>>> import einops
>>> import numpy as np
>>> import needle.einops
>>> largest = lambda x: einops.reduce(x, "(rows columns) -> columns", "max", rows=2)
>>> needle.jacobian(largest)(np.array([1.0, 5.0, 3.0, 4.0]))
array([[0., 0., 1., 0.],
       [0., 1., 0., 0.]])

"""

from __future__ import annotations

from typing import Any

from einops._backends import AbstractBackend

from . import numpy as np
from .autograd import Tensor


class NeedleBackend(AbstractBackend):
    """What einops asks of the owner of an array. It finds this class among the subclasses of its own."""

    framework_name = "needle"

    def is_appropriate_type(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor)

    def from_numpy(self, x: Any) -> Tensor:
        return Tensor(x, requires_grad=False)

    def to_numpy(self, x: Tensor) -> Any:
        return x.numpy()

    def arange(self, start: int, stop: int) -> Tensor:
        return np.arange(start, stop)

    def transpose(self, x: Tensor, axes: Any) -> Tensor:
        return np.permute_dims(x, axes)

    def stack_on_zeroth_dimension(self, tensors: list[Tensor]) -> Tensor:
        return np.stack(tensors)

    def add_axis(self, x: Tensor, new_position: int) -> Tensor:
        return np.expand_dims(x, new_position)

    def tile(self, x: Tensor, repeats: tuple[int, ...]) -> Tensor:
        return np.tile(x, repeats)

    def concat(self, tensors: list[Tensor], axis: int) -> Tensor:
        return np.concatenate(tensors, axis)

    def is_float_type(self, x: Tensor) -> bool:
        return x.dtype.kind == "f"

    def einsum(self, pattern: str, *x: Tensor) -> Tensor:
        return np.einsum(pattern, *x)
