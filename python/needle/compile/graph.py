"""The graph to be planned: the op, inputs, shape and dtype of each value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..autograd import Op, find_topo_sort


class Node:
    """A value: an input (no op and no array), a constant (an array), or the output of an op.

    `shape` and `dtype` are None for the output of an op that makes a tuple; TupleGetItem takes its members. `axes` are
    those of the recorded array from the slowest to the fastest in memory: () for C order, None if there are gaps.
    """

    __slots__ = ("array", "axes", "dtype", "inputs", "op", "shape")

    def __init__(
        self,
        op: Op | None,
        inputs: tuple[Node, ...],
        shape: Any,
        dtype: Any,
        array: Any = None,
        *,
        axes: tuple[int, ...] | None = (),
    ):
        self.op = op
        self.inputs = inputs
        self.shape: Any = shape
        self.dtype: Any = dtype
        self.array = array
        self.axes = axes

    @property
    def nbytes(self) -> int:
        """The size of the whole array; 0 for a tuple, whose members count on their own."""
        if self.shape is None:
            return 0
        size = self.dtype.itemsize
        for n in self.shape:
            size *= n
        return int(size)

    @property
    def bases(self) -> tuple[Node, ...]:
        """The nodes whose memory its output may share."""
        if self.op is None or not self.op.view:
            return ()
        return self.inputs if self.shape is None else self.inputs[:1]

    @property
    def is_view(self) -> bool:
        """Whether it shows elements of its input, in place or, if need be, copied."""
        if self.op is None or not self.op.view or self.shape is None:
            return False
        return len(self.inputs) == 1 and self.inputs[0].shape is not None

    def __repr__(self) -> str:
        what = repr(self.op) if self.op is not None else "input" if self.array is None else "constant"
        return f"<{what} {self.dtype} {self.shape}>"


class Recorded(NamedTuple):
    """The record of a run."""

    order: list[Node]
    """The computed nodes, in order."""
    values: dict[Node, Any]
    """The values of nodes in that run, without large computed ones."""
    to_check: list[Node]
    """Values that must be finite, or else all that is computed from them must be."""


def sort(outputs: Iterable[Node]) -> list[Node]:
    """The outputs and all that they are computed from, each after its inputs."""
    return find_topo_sort(list(outputs), lambda node: node.inputs)


def frozen(array: Any) -> Any:
    """A copy for a plan to keep, since others may write into the array; it repeats elements where the array does."""
    if type(array) is tuple:
        return tuple(map(frozen, array))
    once = array[tuple([slice(1) if stride == 0 else slice(None) for stride in array.strides])]
    return np.broadcast_to(once.copy(order="K"), array.shape) if 0 in array.strides else once.copy(order="K")


def axes_of(array: Any) -> tuple[int, ...] | None:
    """The axes of an array from the slowest to the fastest in memory; () for C order, None if there are gaps."""
    if type(array) is tuple or array.flags.c_contiguous:
        return ()
    axes = tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))
    return axes if array.transpose(axes).flags.c_contiguous else None
