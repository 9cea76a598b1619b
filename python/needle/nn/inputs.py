"""What layers do with their inputs before they compute."""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor, as_value


def as_input(x: Any, like: Any, layer: object = "a layer") -> Any:
    """The input as a Tensor in the dtype of the layer's parameters: real numbers are cast, complex ones stay.

    Otherwise a float64 input, which NumPy makes of everything, would let the whole net compute in float64.
    """
    x = x if isinstance(x, Tensor) else as_value(x, type(layer).__name__)
    dtype = like.dtype
    return x if x.dtype == dtype or x.dtype.kind == "c" else x.astype(dtype)
