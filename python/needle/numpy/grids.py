"""Coordinates and indices of grids, diagonals and triangles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import Tensor, constant
from ..ops.discrete import discrete_tuple
from ..ops.dtypes import astype
from .common import tensor
from .creation import made
from .manipulation import broadcast_arrays


def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinates along each axis, spread over the grid of all of them (or, if sparse, ready to broadcast).

    With indexing "xy" the first two axes are swapped, as in a picture; with "ij" they are not.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    places = list(range(len(xi)))
    if indexing == "xy":
        places[:2] = reversed(places[:2])
    given = [tensor(x) for x in xi]
    grids = [
        a.reshape([a.size if i == place else 1 for i in range(len(xi))]) for place, a in zip(places, given, strict=True)
    ]
    if not sparse:
        grids = list(broadcast_arrays(*grids))
    return tuple([astype(a, a.dtype) for a in grids] if copy else grids)


def indices(dimensions: Any, dtype: Any = int, sparse: bool = False) -> Any:
    """The indices of a grid of these dimensions: of each axis along a first one; if sparse, a tuple to broadcast."""
    dimensions = tuple(dimensions)
    if sparse:
        return tuple(map(constant, np.indices(dimensions, dtype, sparse=True)))
    return made("indices", np.indices(dimensions, dtype))


def ix_(*args: Any) -> tuple[Tensor, ...]:
    """Sequences turned so that they broadcast to the grid of all of them; booleans say which indices are meant."""
    turned = []
    for i, sequence in enumerate(args):
        a = tensor(sequence)
        if a.ndim != 1:
            raise ValueError(f"ix_: each argument must have one dimension, got shape {a.shape} for argument {i}")
        if a.dtype.kind == "b":
            (a,) = discrete_tuple(np.nonzero, a)
        elif not a.size and not hasattr(sequence, "dtype"):
            a = constant(np.empty(0, np.intp))
        turned.append(a.reshape((1,) * i + (a.size,) + (1,) * (len(args) - i - 1)))
    return tuple(turned)


def diag_indices(n: int, ndim: int = 2) -> tuple[Tensor, ...]:
    """The indices of the main diagonal of an array of n in each of its dimensions."""
    return tuple(map(constant, np.diag_indices(n, ndim)))


def diag_indices_from(arr: Any) -> tuple[Tensor, ...]:
    """The indices of the main diagonal of an array of two or more dimensions of one length."""
    shape = tensor(arr).shape
    if len(shape) < 2 or len(set(shape)) != 1:
        raise ValueError(f"diag_indices_from: needs two or more dimensions of one length, got shape {shape}")
    return diag_indices(shape[0], len(shape))


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Tensor, ...]:
    """The indices on and below diagonal k of n rows and m (by default n) columns."""
    return tuple(map(constant, np.tril_indices(n, k, m)))


def tril_indices_from(arr: Any, k: int = 0) -> tuple[Tensor, ...]:
    """The indices on and below diagonal k of a matrix."""
    return tril_indices(*_rows_k_columns("tril_indices_from", arr, k))


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Tensor, ...]:
    """The indices on and above diagonal k of n rows and m (by default n) columns."""
    return tuple(map(constant, np.triu_indices(n, k, m)))


def triu_indices_from(arr: Any, k: int = 0) -> tuple[Tensor, ...]:
    """The indices on and above diagonal k of a matrix."""
    return triu_indices(*_rows_k_columns("triu_indices_from", arr, k))


def _rows_k_columns(name: str, arr: Any, k: int) -> tuple[int, int, int]:
    shape = tensor(arr).shape
    if len(shape) != 2:
        raise ValueError(f"{name}: needs a matrix, got shape {shape}")
    return shape[0], k, shape[1]


def mask_indices(n: int, mask_func: Callable[..., Any], k: Any = 0) -> tuple[Tensor, ...]:
    """The indices of an n-by-n matrix that `mask_func(matrix, k)`, like `triu`, does not make 0."""
    return discrete_tuple(np.nonzero, mask_func(constant(np.ones((n, n), int)), k) != 0)
