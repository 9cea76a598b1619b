"""What only moves, repeats or drops elements, and fills with zeros: one op for all functions of that kind."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..autograd import Tensor
from .base import View
from .indexing import AddAt


class Rearrange(View):
    """A function of an array, with what it takes besides it, that makes a new one of its elements and of zeros.

    Applied to the numbers from 1 on, it says by itself which element goes where, and that is its adjoint.
    """

    notation = "{function}({0}, {more})"
    saves = ()
    __slots__ = ("_places", "function", "more", "options")

    def __init__(self, function: Callable[..., Any], *more: Any, **options: Any):
        self.function = function
        self.more = more
        self.options = options
        self._places: Any = None

    def compute(self, a: Any) -> Any:
        return self.function(a, *self.more, **self.options)

    def places(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], Any, Any]:
        """For inputs of this shape: the output's shape, the flat places in it that hold an element (all: `...`), and
        the flat places in the input that these come from."""
        if self._places is None or self._places[0] != shape:
            numbers = np.arange(1, prod(shape) + 1).reshape(shape)
            taken = self.compute(numbers)
            sources = taken.ravel() - 1
            filled = np.flatnonzero(sources >= 0)
            if filled.size == sources.size:
                self._places = shape, (taken.shape, ..., sources)
            else:
                self._places = shape, (taken.shape, filled, sources[filled])
        return self._places[1]

    def gradient(self, out_grad: Any, node: Any) -> Any:
        shape = node.inputs[0].shape
        _, filled, sources = self.places(shape)
        elements = out_grad.reshape((out_grad.size,))[filled]
        return AddAt((prod(shape),), out_grad.dtype, [sources]).on(elements).reshape(shape)

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        a = values[0]
        size, shape = a.shape[0], a.shape[1:]
        to, filled, sources = self.places(shape)
        out = a.reshape((size, prod(shape)))[:, sources]
        if filled is not ...:
            out = AddAt((size, prod(to)), a.dtype, [(slice(None), filled)])(out)
        return out.reshape((size, *to))

    def __repr__(self) -> str:
        return self.function.__name__


def rearranged(function: Callable[..., Any], a: Any, *more: Any, **options: Any) -> Tensor:
    """What a function of this kind makes of a: `rearranged(np.roll, a, 2, axis=0)`."""
    return Rearrange(function, *more, **options)(a)
