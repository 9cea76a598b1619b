"""Whether all or any elements hold, and whether arrays are equal."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from ..ops.discrete import discrete
from .common import array_of, into, tensor


def all(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True) -> Tensor:
    """Whether no element along axes is 0."""
    return into(out, discrete(np.all, tensor(a), axis=axis, keepdims=keepdims, where=array_of(where)))


def any(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True) -> Tensor:
    """Whether an element along axes is not 0."""
    return into(out, discrete(np.any, tensor(a), axis=axis, keepdims=keepdims, where=array_of(where)))


def allclose(a: Any, b: Any, rtol: Any = 1.0e-5, atol: Any = 1.0e-8, equal_nan: bool = False) -> bool:
    """Whether all elements of a lie within atol + rtol * |b| of those of b."""
    return bool(np.allclose(array_of(tensor(a)), array_of(tensor(b)), array_of(rtol), array_of(atol), equal_nan))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """Whether both have one shape and the same elements."""
    return bool(np.array_equal(array_of(tensor(a1)), array_of(tensor(a2)), equal_nan))


def array_equiv(a1: Any, a2: Any) -> bool:
    """Whether both broadcast to one shape, in which they have the same elements."""
    return bool(np.array_equiv(array_of(tensor(a1)), array_of(tensor(a2))))
