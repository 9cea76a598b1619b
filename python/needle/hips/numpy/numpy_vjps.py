"""What rules of one's own use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...autograd import Tensor


def unbroadcast(x: Any, target_meta: tuple[Any, ...], broadcast_idx: int = 0) -> Any:
    """x summed over the axes along which the target, whose `metadata` this is, was broadcast to it."""
    shape, ndim, _, is_complex = target_meta
    x = x if isinstance(x, Tensor) else np.asarray(x)
    if x.ndim > ndim:
        x = x.sum(axis=tuple(range(broadcast_idx, broadcast_idx + x.ndim - ndim)))
    ones = tuple([i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1])
    x = x.sum(axis=ones, keepdims=True) if ones else x
    return x.real if x.dtype.kind == "c" and not is_complex else x


def metadata(a: Any) -> tuple[Any, ...]:
    """(shape, ndim, dtype, whether it is complex)."""
    a = a if isinstance(a, Tensor) else np.asarray(a)
    return a.shape, a.ndim, a.dtype, a.dtype.kind == "c"


def unbroadcast_f(target: Any, f: Callable[..., Any]) -> Callable[..., Any]:
    """f, and what it returns summed to the shape of the target."""
    return lambda g: unbroadcast(f(g), metadata(target))


__all__ = ["metadata", "unbroadcast", "unbroadcast_f"]
