"""Transposing, reversing, reshaping and broadcasting."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..autograd import Axes, Tensor, as_value
from .base import View, described, given_axes, normalize_axes, repeated, several


class Transpose(View):
    """Swaps two axes."""

    notation = "transpose({0}, {axes})"
    saves = ()
    __slots__ = ("axes",)

    def __init__(self, axes: tuple[int, int] | None = None):
        self.axes = (-2, -1) if axes is None else axes

    def compute(self, a: Any) -> Any:
        return a.swapaxes(*self.axes)

    def hint(self, *arrays: Any) -> str:
        return f"cannot swap axes {described(self.axes)} of a {arrays[0].ndim}-d input; name two axes that it has"

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return self.on(out_grad)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        i, j = (axis + 1 if axis >= 0 else axis for axis in self.axes)
        return Transpose((i, j))(values[0])


SWAP_LAST = Transpose()


def transpose(a: Any, axes: tuple[int, int] | None = None, *, axis: tuple[int, int] | None = None) -> Tensor:
    """a with two axes swapped, by default the last two. Raises ValueError unless `axes` are two axes of a.

    NumPy's transpose, which reverses all axes or puts them in another order, is needle.numpy's, and the method.
    """
    axes = given_axes("transpose", axes, axis)
    if axes is not None and (not isinstance(axes, (tuple, list)) or len(axes) != 2):
        raise ValueError(f"transpose: axes must be the two axes to swap, like (0, 2), got {described(axes)}")
    return Transpose(None if axes is None else (axes[0], axes[1]))(a)


class Permute(View):
    """All axes in another order."""

    notation = "permute_dims({0}, {axes})"
    saves = ()
    __slots__ = ("axes",)

    def __init__(self, axes: tuple[int, ...]):
        self.axes = axes

    def compute(self, a: Any) -> Any:
        return a.transpose(self.axes)

    def hint(self, *arrays: Any) -> str:
        return f"axes must name each of the {arrays[0].ndim} axes once, got {self.axes}"

    def gradient(self, out_grad: Any, node: Any) -> Any:
        back = [0] * len(self.axes)
        for i, axis in enumerate(self.axes):
            back[axis] = i
        return Permute(tuple(back)).on(out_grad)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return Permute((0, *(axis + 1 if axis >= 0 else axis for axis in self.axes)))(values[0])


def permute_dims(a: Any, axes: tuple[int, ...] | None = None, *, axis: tuple[int, ...] | None = None) -> Tensor:
    """a with its axes in this order: axis i of the result is axis axes[i] of a; without an order, reversed.

    Raises ValueError unless `axes` name each axis of a once.
    """
    axes = given_axes("permute_dims", axes, axis)
    a = a if isinstance(a, Tensor) else as_value(a, "permute_dims")  # itself, as a view follows what is assigned to it
    if axes is None:
        return a if a.ndim < 2 else SWAP_LAST(a) if a.ndim == 2 else Permute(tuple(range(a.ndim))[::-1])(a)
    order = several(axes)
    if len(normalize_axes("transpose", order, a.ndim)) != a.ndim:
        raise ValueError(f"transpose: axes must name each of the {a.ndim} axes of the input once, got {axes!r}")
    return Permute(tuple([axis.__index__() % a.ndim for axis in order]))(a)


class Flip(View):
    """The elements in reverse along these axes, which are not negative."""

    notation = "flip({0}, {axes})"
    saves = ()
    __slots__ = ("axes",)

    def __init__(self, axes: tuple[int, ...]):
        self.axes = axes

    def compute(self, a: Any) -> Any:
        return np.flip(a, self.axes)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return self.on(out_grad)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return Flip(tuple([axis + 1 for axis in self.axes]))(values[0])


def flip(a: Any, axes: Axes = None, *, axis: Axes = None) -> Tensor:
    """The elements of a in reverse along axes (None: all), without a copy."""
    a = a if isinstance(a, Tensor) else as_value(a, "flip")  # itself, as a view follows what is assigned to it
    return Flip(normalize_axes("flip", given_axes("flip", axes, axis), a.ndim))(a)


class Reshape(View):
    notation = "reshape({0}, {shape})"
    saves = ()
    __slots__ = ("shape",)

    def __init__(self, shape: int | tuple[int, ...]):
        self.shape = shape

    def compute(self, a: Any) -> Any:
        return a.reshape(self.shape)

    def hint(self, *arrays: Any) -> str:
        shape = described(self.shape)
        return f"{arrays[0].size} elements do not fill shape {shape}; one length may be -1, to be worked out"

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad.reshape(node.inputs[0].shape)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        size, *lengths = values[0].shape
        shape = several(self.shape)
        if -1 in shape:  # computed here, as it is undetermined in an empty batch
            rest = prod(n for n in shape if n != -1)
            shape = tuple([prod(lengths) // max(rest, 1) if n == -1 else n for n in shape])
        return Reshape((size, *shape))(values[0])


def reshape(a: Any, shape: int | tuple[int, ...]) -> Tensor:
    """The elements in row-major order in a new shape; one length may be -1."""
    return Reshape(shape if type(shape) is int else several(shape))(a)


class BroadcastTo(View):
    notation = "broadcast_to({0}, {shape})"
    saves = ()
    __slots__ = ("shape",)

    def __init__(self, shape: int | tuple[int, ...]):
        self.shape = shape

    def compute(self, a: Any) -> Any:
        if a.ndim == 0 and type(self.shape) is tuple:
            return repeated(a, self.shape)
        return np.broadcast_to(a, self.shape)

    def hint(self, *arrays: Any) -> str:
        return (
            f"shape {arrays[0].shape} does not broadcast to {described(self.shape)}: counted from the right, each "
            "length must be kept unless it is 1; reshape puts the 1s in place"
        )

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad  # the sweep unbroadcasts every adjoint to its input's shape

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        a, (depth,) = values[0], depths
        shape = several(self.shape)
        size = a.shape[0]
        return BroadcastTo((size, *shape))(a.reshape((size, *(1,) * (len(shape) - (depth or 0)), *a.shape[1:])))


def broadcast_to(a: Any, shape: int | tuple[int, ...]) -> Tensor:
    """a broadcast to this shape, without a copy: repeated along new leading axes and axes of length 1."""
    return BroadcastTo(shape if type(shape) is int else several(shape))(a)


# The methods take a shape or axes as one tuple or as separate integers.


def reshape_method(a: Tensor, *shape: Any) -> Tensor:
    return reshape(a, shape[0] if len(shape) == 1 else shape)


def broadcast_to_method(a: Tensor, *shape: Any) -> Tensor:
    return broadcast_to(a, shape[0] if len(shape) == 1 else shape)


def transpose_method(a: Tensor, *axes: Any) -> Tensor:
    """a with its axes reversed, or in the order given as one tuple or as separate integers, as in NumPy.

    A pair of axes, which NumPy refuses for three dimensions or more, swaps these two.
    """
    order = axes[0] if len(axes) == 1 else axes or None
    if a.ndim > 2 and isinstance(order, (tuple, list)) and len(order) == 2:
        return transpose(a, (order[0], order[1]))
    return permute_dims(a, order)


def matrix_transpose(a: Tensor) -> Tensor:
    """a.mT: the last two axes swapped."""
    return SWAP_LAST(a)
