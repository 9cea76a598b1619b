"""How a node is computed into memory that is already there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..ops.arithmetic import AddScalar, AddScaled, DivScalar, MulScalar, RDivScalar
from ..ops.base import ScalarOp, normalize_axes
from ..ops.discrete import Discrete
from ..ops.elementwise import ReLU
from ..ops.matmul import MatMul
from ..ops.reduction import Summation
from ..ops.selection import _BITS, Masked
from ..pool import SMALLEST
from .graph import Node


class Call(NamedTuple):
    """function(*operands): nodes stand for their arrays. What is among `outputs` and the operands is written to; the
    only output of a call that has none among its operands is what the function returns."""

    function: Callable[..., Any]
    operands: tuple[Any, ...]
    outputs: tuple[Node, ...]

    @property
    def writes(self) -> bool:
        return any(operand is self.outputs[0] for operand in self.operands)

    def returning(self) -> Call:
        """The call that returns its output in memory of its own, if there is one."""
        *operands, last = self.operands
        ufunc = isinstance(self.function, np.ufunc) and last is self.outputs[0]
        return Call(self.function, tuple(operands), self.outputs) if ufunc else self


_BY_NUMBER = {AddScalar: np.add, MulScalar: np.multiply, DivScalar: np.divide, RDivScalar: np.divide}


def call_of(node: Node) -> Call:
    """The call that computes a node."""
    op: Any = node.op
    inputs: tuple[Any, ...] = node.inputs
    into = _into(op, node, inputs)
    if into is not None:
        return Call(*into, (node,))
    if isinstance(op, Discrete) and not isinstance(op.function, np.ufunc):
        return Call(partial(_checked, op.compute, node.shape), inputs, (node,))
    return Call(op.compute, inputs, (node,))


def _checked(compute: Callable[..., Any], shape: tuple[int, ...], *arrays: Any) -> Any:
    """What it computes, if that has this shape: what finds or counts elements may give another one for other data."""
    out = compute(*arrays)
    if np.shape(out) != shape:
        raise ValueError(f"a result of shape {np.shape(out)}, where it was {shape} when the function was captured")
    return out


def _into(op: Any, node: Node, inputs: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]] | None:
    """The function and the operands, if it can write to memory that is given."""
    cls = type(op)
    if node.shape is None or any(a.shape is None for a in inputs):
        return None
    if cls in _BY_NUMBER and type(op.scalar) in (int, float) and node.dtype == inputs[0].dtype:
        number = _number(op.scalar, node.dtype)
        pair = (number, inputs[0]) if cls is RDivScalar else (inputs[0], number)
        return _BY_NUMBER[cls], (*pair, node)
    if cls is MatMul:
        a, b = inputs
        if len(a.shape) == len(b.shape) == 2 and a.dtype == b.dtype and a.dtype.char in "fdFD":
            return np.matmul if node.nbytes >= SMALLEST else np.dot, (a, b, node)
        return None
    if cls is Summation and node.dtype == inputs[0].dtype and node.dtype.char != "e":
        axes = None if op.axes is None else normalize_axes(op, op.axes, len(inputs[0].shape))
        return np.add.reduce, (inputs[0], axes, None, node, op.keepdims)
    if cls is AddScaled and type(op.alpha) in (int, float) and _are_alike(node, *inputs):
        return _add_scaled, (*inputs, np.asarray(op.alpha, node.dtype), node)
    if cls is Discrete and isinstance(op.function, np.ufunc) and not op.options:
        numbers = [_number(x, inputs[0].dtype) for x in op.more]
        return op.function, (*inputs, *numbers, node)
    if cls is Masked and node.dtype in _BITS and _are_alike(node, inputs[0]) and inputs[1].shape == node.shape:
        return _masked, (*inputs, _BITS[node.dtype], node)
    ufunc, _, _, takes_out = cls._facts
    if not takes_out or not op.elementwise or node.dtype != inputs[0].dtype:
        return None
    if isinstance(op, ScalarOp) and type(op.scalar) not in (int, float):
        return None
    if ufunc in (np.maximum, np.minimum):
        return partial(_extremum, ufunc), (*inputs, node)
    return ufunc or partial(_copied, op.compute), (*inputs, node)


def _extremum(ufunc: Any, a: Any, b: Any, out: Any) -> None:
    ufunc(a, b, out=out)  # which these want named


def _copied(compute: Callable[..., Any], *operands: Any) -> None:
    """For what may leave the memory that it is offered."""
    out = operands[-1]
    result = compute(*operands)
    if result is not out:
        np.copyto(out, result)


def _are_alike(*nodes: Node) -> bool:
    return len({(node.shape, node.dtype) for node in nodes}) == 1


def _number(number: Any, dtype: Any) -> Any:
    """A Python number beside an array of floats, as an array of that dtype: it gives the same, and is read faster."""
    return np.asarray(number, dtype) if dtype.kind == "f" and type(number) in (int, float) else number


def _masked(a: Any, mask: Any, bits: Any, out: Any) -> None:
    """a where the mask holds, 0 elsewhere, by what `Masked.compute` does."""
    keep = out.view(bits)
    np.copyto(keep, mask)
    np.negative(keep, keep)
    np.bitwise_and(a.view(bits), keep, keep)


def _add_scaled(a: Any, b: Any, alpha: Any, out: Any) -> None:
    np.multiply(b, alpha, out)
    np.add(a, out, out)


def may_take_over(call: Call) -> bool:
    """Whether the output may be written into the memory of an input of its shape and dtype: by a single ufunc, for
    what takes several steps may read the input again after the first."""
    function = call.function
    if isinstance(function, partial):
        return function.func is _extremum or (function.func is _copied and type(call.outputs[0].op) is ReLU)
    return isinstance(function, np.ufunc) and function is not np.matmul and len(call.outputs) == 1
