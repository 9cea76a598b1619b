"""What a rule needs where it runs on Tensors: numbers in a dtype, and complex values as pairs of reals."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autograd import Tensor, constant, latest, set_value
from .in_place import computes_in


def cast(value: Any, dtype: Any) -> Any:
    """A Tensor or a number in this dtype, as a Tensor."""
    if not isinstance(value, Tensor):
        return constant(np.array(value, dtype))
    return value if value.dtype == dtype else ops.astype(value, dtype)


def as_computed(tensor: Any) -> Any:
    """A Tensor as a rule computes with it: see `computes_in`."""
    if tensor.dtype.kind == "c":
        return ops.stack([ops.real(tensor), ops.imag(tensor)], tensor.ndim)
    return cast(tensor, computes_in(tensor.dtype))


def as_stored(computed: Any, dtype: Any) -> Any:
    """Back again, in a parameter's dtype."""
    if dtype.kind == "c":
        return cast(computed[..., 0] + 1j * computed[..., 1], dtype)
    return cast(computed, dtype)


def assign(tensor: Any, value: Any) -> None:
    """Let a tensor have this value, also of another dtype."""
    set_value(latest(tensor), value._array)
