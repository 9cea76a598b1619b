"""Gradients before a step: their norm over all parameters, and their scale."""

from __future__ import annotations

from collections.abc import Sequence
from sys import getrefcount
from typing import Any

import numpy as np

from .. import watching
from ..autograd import Gradient, constant
from ..ops.discrete import Discrete
from ..pool import owns_memory
from .operations import cast
from .passes import BLOCK

_PIECE = BLOCK // 8


def norm_of_all(names: tuple[str, ...], gradients: Sequence[Any]) -> Any:
    """The norm of all these Tensors as one vector, a 0-d float64 Tensor: one operation, which a capture replays."""
    return Discrete(_norm, names=names)(*gradients)


def _norm(*arrays: Any, names: tuple[str, ...]) -> Any:
    """In float64, in which squares of float32 numbers do not overflow. FloatingPointError names what is not finite."""
    rows = [a.reshape(-1).view(a.real.dtype) if a.dtype.kind == "c" else a.reshape(-1) for a in arrays]
    with np.errstate(over="ignore", invalid="ignore"):
        total = _sum_of_squares(rows, 1.0)
    if np.isfinite(total):
        return np.sqrt(total)
    for name, row in zip(names, rows, strict=True):
        if not np.isfinite(row).all():
            bad = "NaN" if np.isnan(row).any() else "inf"
            raise FloatingPointError(
                f"clip_grad_norm: the gradient of parameter {name!r} has {bad}; needle.detect_anomaly() finds the "
                "operation that made it"
            )
    largest = max(float(np.abs(row).max()) for row in rows if row.size)
    return largest * np.sqrt(_sum_of_squares(rows, largest))


def _sum_of_squares(rows: Sequence[Any], unit: float) -> Any:
    """Of float64 numbers, in this unit: small rows together, large ones piece by piece."""
    total, small, size = np.float64(0), list[Any](), 0
    for row in rows:
        if row.size > _PIECE // 4:
            for start in range(0, row.size, _PIECE):
                total += _square(row[start : start + _PIECE].astype(np.float64), unit)
            continue
        if size + row.size > _PIECE:
            total += _square(np.concatenate(small, dtype=np.float64), unit)
            small, size = [], 0
        small.append(row)
        size += row.size
    return total + _square(np.concatenate(small, dtype=np.float64), unit) if small else total


def _square(piece: Any, unit: float) -> Any:
    if unit != 1.0:
        piece /= unit
    return piece.dot(piece)


def _count(gradient: Any) -> int:
    return getrefcount(gradient.array)


_ALONE = _count(Gradient(np.zeros(1), ()))


def scale(p: Any, factor: Any) -> None:
    """Multiply a parameter's gradient by a number, in its own dtype: in place where nobody else holds it."""
    gradient = p._grad
    if watching.captures() or p.op is not None:
        p.grad = p.grad.detach() * cast(factor, p.grad.dtype)
        return
    factor = np.asarray(factor if not hasattr(factor, "item") else factor.item(), gradient.array.dtype)
    if _count(gradient) <= _ALONE and owns_memory(gradient.array) and gradient.array.flags.writeable:
        array = np.multiply(gradient.array, factor, out=gradient.array)
    else:
        array = gradient.array * factor
    p._grad = Gradient(array, ())
    watching.tell("changed", p, "grad")


def zero(p: Any) -> None:
    p.grad = None


def tensor_of(p: Any) -> Any:
    """A parameter's gradient as a Tensor that holds the value alone."""
    gradient = p._grad
    if type(gradient) is Gradient and p.op is None and not watching.active:
        return constant(gradient.array)
    return p.grad.detach()
