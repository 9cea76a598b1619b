"""What is written in brackets: r_, c_, mgrid, ogrid."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from .common import tensor, tensors
from .creation import arange, linspace
from .grids import ix_, meshgrid
from .inspection import result_type
from .joining import concatenate, stack
from .manipulation import ravel


class Joined:
    """`r_[a, 0, b, 1:5, 0:1:3j]`: arrays, numbers and ranges joined along the first axis, or as a leading text says.

    A range with an imaginary step is that number of points, the last one included.
    """

    def __init__(self, of: Any):
        self.of = of

    def __getitem__(self, key: Any) -> Tensor:
        items = key if isinstance(key, tuple) else (key,)
        first = 1 if items and isinstance(items[0], str) else 0
        members = tensors(*[_points(a) if isinstance(a, slice) else a for a in items[first:]])
        ends = np.cumsum([a.size for a in members])
        places = [np.arange(end - a.size, end).reshape(a.shape) for a, end in zip(members, ends, strict=True)]
        arranged = np.asarray(self.of[(*items[:first], *places)])  # NumPy knows what becomes of which axis
        return concatenate([ravel(a) for a in members])[arranged]


class Grid:
    """`mgrid[0:1:3j, 0:2]`: the coordinates of a grid along each axis, of ranges; `ogrid` has them ready to broadcast.

    A range with an imaginary step is that number of points, the last one included.
    """

    def __init__(self, sparse: bool):
        self.sparse = sparse

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, tuple):
            return _points(key)
        axes = [_points(a) for a in key]
        steps = [abs(a.step) if isinstance(a.step, complex) else a.step for a in key]
        ends = [x for a in key for x in (a.start, a.stop) if x is not None]
        dtype = result_type(0, *ends, *[step for step in steps if step is not None])
        axes = [tensor(a, dtype) for a in axes]
        return ix_(*axes) if self.sparse else stack(meshgrid(*axes, indexing="ij"))


def _points(a: Any) -> Tensor:
    if not isinstance(a, slice):
        raise TypeError(f"mgrid, ogrid: need ranges like 0:5, 0:5:2 or (of so many points) 0:5:3j, got {a!r}")
    start = 0 if a.start is None else a.start
    if isinstance(a.step, complex):
        return linspace(start, a.stop, int(abs(a.step)))
    return arange(start, a.stop, 1 if a.step is None else a.step)


r_, c_ = Joined(np.r_), Joined(np.c_)
mgrid, ogrid = Grid(sparse=False), Grid(sparse=True)
