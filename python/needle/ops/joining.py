"""Joining tensors along an axis, an existing one or a new one; and taking one apart along an axis."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from ..autograd import Tensor, TensorTuple, TensorTupleOp, as_value, gradient_dtype
from .base import Linear, described, given_axes, normalize_axes


class Concatenate(Linear):
    notation = "concatenate({inputs}, axis={axis})"
    saves = ()
    __slots__ = ("axis",)

    def __init__(self, axis: int = 0):
        self.axis = axis

    def compute(self, *arrays: Any) -> Any:
        return np.concatenate(arrays, self.axis)

    def hint(self, *arrays: Any) -> str:
        shapes = ", ".join(str(a.shape) for a in arrays)
        return f"the shapes must be equal except for axis {described(self.axis)}, which all must have, got {shapes}"

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return tuple([lambda part=part: out_grad[part] for part in self._parts(node)])

    def _parts(self, node: Any) -> list[Any]:
        """The index of each input in the output."""
        axis = self.axis % node.output.ndim
        ends = accumulate([a.shape[axis] for a in node.inputs], initial=0)
        return [(*(slice(None),) * axis, slice(start, stop)) for start, stop in pairwise(ends)]

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return Concatenate(self.axis + (self.axis >= 0))(*all_batched(values, depths))


def concatenate(tensors: Any, axis: int = 0, *, axes: int = 0) -> Tensor:
    """The tensors joined along an axis; their shapes are equal in all other axes."""
    return Concatenate(given_axes("concatenate", axes, axis, default=0))(*tensors)


class Stack(Linear):
    notation = "stack({inputs}, axis={axis})"
    saves = ()
    __slots__ = ("axis",)

    def __init__(self, axis: int = 0):
        self.axis = axis

    def compute(self, *arrays: Any) -> Any:
        return np.stack(arrays, self.axis)

    def hint(self, *arrays: Any) -> str:
        shapes = sorted({a.shape for a in arrays})
        return "" if len(shapes) == 1 else f"all must have one shape, got {', '.join(map(str, shapes))}"

    def gradient(self, out_grad: Any, node: Any) -> Any:
        before = (slice(None),) * (self.axis % node.output.ndim)
        return tuple([lambda i=i: out_grad[(*before, i)] for i in range(len(node.inputs))])

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return Stack(self.axis + (self.axis >= 0))(*all_batched(values, depths))


def stack(tensors: Any, axis: int = 0, *, axes: int = 0) -> Tensor:
    """The tensors, all of one shape, joined along a new axis."""
    members = list(tensors)
    ndim = members[0].ndim + 1 if members else 1
    (axis,) = normalize_axes("stack", (given_axes("stack", axes, axis, default=0),), ndim)
    return Stack(axis)(*members)


class Split(TensorTupleOp):
    """The parts of a tensor along an axis, which goes: the inverse of Stack."""

    notation = "split({0}, axis={axis})"
    saves, view = (), True
    __slots__ = ("axis",)

    def __init__(self, axis: int):
        self.axis = axis

    def compute(self, a: Any) -> Any:
        return tuple(np.moveaxis(a, self.axis, 0))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        if not out_grad:  # of no parts
            return np.zeros(a.shape, gradient_dtype(a.dtype))
        like = next(g for g in out_grad if g is not None)
        zeros = np.zeros(like.shape, like.dtype)
        return Stack(self.axis).on(*[zeros if g is None else g for g in out_grad])

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return tuple(self.on(tangents[0]))

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return Split(self.axis + 1)(values[0])


def split(a: Any, axis: int = 0, *, axes: int = 0) -> TensorTuple:
    """The parts of a along an axis, without that axis, as a TensorTuple: the inverse of `stack`.

    NumPy's split, into sections that keep the axis, is needle.numpy's.
    """
    a = as_value(a, "split")
    (axis,) = normalize_axes("split", (given_axes("split", axes, axis, default=0),), a.ndim)
    return Split(axis)(a)


def all_batched(values: tuple[Any, ...], depths: tuple[int | None, ...]) -> list[Any]:
    """The inputs of a batched op, each with a batch axis."""
    pairs = list(zip(values, depths, strict=True))
    size = next(a.shape[0] for a, depth in pairs if depth is not None)
    return [a.broadcast_to((size, *a.shape)) if depth is None else a for a, depth in pairs]
