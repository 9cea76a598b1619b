"""How a node is computed into existing memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..backend import sum_over
from ..ops.arithmetic import AddScalar, AddScaled, DivScalar, MulScalar, RDivScalar, RSubScalar
from ..ops.base import ScalarOp, reduced_axes
from ..ops.discrete import Discrete
from ..ops.dtypes import Cast
from ..ops.elementwise import ReLU, zeros_beside
from ..ops.matmul import MatMul
from ..ops.power import PowerScalar, RPowerScalar
from ..ops.reduction import Summation
from ..ops.selection import Masked, Where
from ..pool import SMALLEST
from .graph import Node


class Call(NamedTuple):
    """function(*operands), where nodes stand for their arrays. It writes the outputs that are operands; if none is, it
    returns its only output."""

    function: Callable[..., Any]
    operands: tuple[Any, ...]
    outputs: tuple[Node, ...]

    @property
    def writes(self) -> bool:
        return any(operand is self.outputs[0] for operand in self.operands)

    def returning(self) -> Call:
        """The call that returns its output in new memory, if there is one."""
        if not self.operands:
            return self
        *operands, last = self.operands
        function = next((ufunc for ufunc, named in CALLS.items() if named is self.function), self.function)
        returns = isinstance(function, np.ufunc) or function is np.dot
        return Call(function, tuple(operands), self.outputs) if returns and last is self.outputs[0] else self


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
    """The result, if it has this shape: functions that find or count elements give other shapes for other data."""
    out = compute(*arrays)
    if np.shape(out) != shape:
        raise ValueError(f"a result of shape {np.shape(out)}, where it was {shape} when the function was captured")
    return out


def _into(op: Any, node: Node, inputs: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]] | None:
    """The function and its operands, if it can write into given memory."""
    cls = type(op)
    if node.shape is None or any(a.shape is None for a in inputs):
        return None
    if cls is MatMul:
        a, b = inputs
        if len(a.shape) == len(b.shape) == 2 and a.dtype == b.dtype and a.dtype.char in "fdFD":
            return np.matmul if node.nbytes >= SMALLEST else np.dot, (a, b, node)
        return None
    if cls is Summation and node.dtype == inputs[0].dtype and node.dtype.char != "e":
        axes = None if op.axes is None else reduced_axes(op, op.axes, len(inputs[0].shape))
        return sum_over, (inputs[0], axes, None, node, op.keepdims)
    call = ufunc_call(node)
    if call is not None:
        ufunc, places = call
        operands = [
            inputs[i] if type(i) is int else zeros_beside(node.shape, node.dtype) if i is ZEROS else i for i in places
        ]
        return CALLS.get(ufunc, ufunc), (*operands, node)
    several = into_out_call(node)
    if several is not None:
        return several, (*inputs, node)
    if not cls._facts[3] or not op.elementwise or node.dtype != inputs[0].dtype:
        return None
    if isinstance(op, ScalarOp) and type(op.scalar) not in (int, float):
        return None
    return partial(_copied, op.compute), (*inputs, node)


def _copied(compute: Callable[..., Any], *operands: Any) -> None:
    """For ops that need not use the memory offered."""
    out = operands[-1]
    result = compute(*operands)
    if result is not out:
        np.copyto(out, result)


def may_take_over(call: Call) -> bool:
    """Whether the output may overwrite an input of its shape and dtype: only for a single ufunc, since the second of
    several steps may read the input again."""
    function = call.function
    ufunc = isinstance(function, np.ufunc) and function is not np.matmul
    return ufunc or any(function is named for named in CALLS.values())


# What an op calls -----------------------------------------------------------------------------------------------------

ZEROS = object()
"""An operand of zeros as large as a block: NumPy's maximum is four times as fast on two arrays as beside a number."""
_EXACT = {2: np.square, 0.5: np.sqrt, -1: np.reciprocal}


def _number(node: Node, scalar: Any) -> Any:
    """A Python number beside floats, as the 0-d array that NumPy would make at every call; None for other scalars."""
    dtype = node.inputs[0].dtype
    if type(scalar) not in (int, float, bool) or dtype.kind != "f":
        return None
    try:
        with np.errstate(all="ignore"):
            number = np.array(scalar, dtype)
    except OverflowError:
        return None
    return number if np.isfinite(number) or (type(scalar) is float and not np.isfinite(scalar)) else None


def _scalar_call(node: Node) -> tuple[Any, tuple[Any, ...]] | None:
    op: Any = node.op
    number = _number(node, op.scalar) if type(op) in _SCALAR_OPS else None
    if number is None or node.dtype != node.inputs[0].dtype:
        return None
    if type(op) is PowerScalar:
        if op.quiet:
            return None
        exact = _EXACT.get(op.scalar)
        return (np.power, (0, number)) if exact is None else (exact, (0,))
    return getattr(np, op.ufunc), ((number, 0) if type(op) in _REFLECTED else (0, number))


_REFLECTED = (RSubScalar, RDivScalar, RPowerScalar)
_SCALAR_OPS = (AddScalar, MulScalar, DivScalar, PowerScalar, *_REFLECTED)


def ufunc_call(node: Node) -> tuple[Any, tuple[Any, ...]] | None:
    """The ufunc, if the op calls nothing else, and its operands: indices of inputs, and constant arrays. Else None."""
    op: Any = node.op
    if isinstance(op, Discrete):
        if not isinstance(op.function, np.ufunc):
            return None
        more = [_number(node, a) for a in op.more]
        return None if any(a is None for a in more) else (op.function, (*range(len(node.inputs)), *more))
    if isinstance(op, ScalarOp):
        return _scalar_call(node)
    if type(op) is ReLU:
        return (np.maximum, (0, ZEROS)) if node.dtype.char in "fd" else None
    ufunc = op._facts[0]
    if ufunc is np.multiply and node.inputs[0] is node.inputs[1] and node.dtype.kind == "f":
        return np.square, (0,)
    return None if ufunc is None else (ufunc, tuple(range(len(node.inputs))))


def _named_out(ufunc: Any) -> Any:
    """NumPy takes the output of these two by keyword only."""

    def call(a: Any, b: Any, out: Any) -> None:
        ufunc(a, b, out=out)

    return call


CALLS = {np.maximum: _named_out(np.maximum), np.minimum: _named_out(np.minimum)}
_BITS = {np.dtype(np.float32): np.dtype(np.int32), np.dtype(np.float64): np.dtype(np.int64)}


def _masked(a: Any, mask: Any, out: Any) -> None:
    """Masked.compute into an array of floats: keeps all bits of an element, or none."""
    bits = _BITS[out.dtype]
    keep = out.view(bits)
    keep[...] = mask
    np.negative(keep, keep)
    np.bitwise_and(a.view(bits), keep, keep)


def _chosen(mask: Any, a: Any, b: Any, out: Any) -> None:
    """np.where into an array of floats, in a quarter of the time: takes b's bits and, where the mask holds, flips those
    in which a and b differ."""
    bits = _BITS[out.dtype]
    keep, other = out.view(bits), b.view(bits)
    keep[...] = mask
    np.negative(keep, keep)
    np.bitwise_and(keep, a.view(bits) ^ other, keep)
    np.bitwise_xor(keep, other, keep)


def _cast(a: Any, out: Any) -> None:
    np.copyto(out, a, casting="unsafe")


def _scaled(alpha: Any) -> Any:
    def add(a: Any, b: Any, out: Any) -> None:
        np.multiply(b, alpha, out)
        np.add(a, out, out)

    return add


def into_out_call(node: Node) -> Any:
    """A function that computes the node into `out`, its last argument, by several ufuncs; None if there is none."""
    op: Any = node.op
    dtypes = [a.dtype for a in node.inputs]
    if type(op) is Masked and node.dtype in _BITS and dtypes == [node.dtype, np.bool]:
        return _masked
    if type(op) is Where and node.dtype in _BITS and dtypes == [np.bool, node.dtype, node.dtype]:
        return _chosen
    if type(op) is Cast and not (node.inputs[0].dtype.kind == "c" and node.dtype.kind != "c"):
        return _cast
    if isinstance(op, Discrete) and op.function is np.ndarray.astype:
        return _cast
    if type(op) is AddScaled and dtypes == [node.dtype] * 2:
        alpha = _number(node, op.alpha)
        return None if alpha is None else _scaled(alpha)
    return None
