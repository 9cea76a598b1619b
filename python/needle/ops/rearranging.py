"""One op for all functions that only move, repeat or drop elements, and pad with zeros."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..autograd import Tensor
from .base import View
from .indexing import AddAt


class Rearrange(View):
    """A function whose output consists of elements of its input and of zeros; `more` and `options` are its arguments.

    Applied to the numbers 1, 2, ..., the function shows which element goes where. The adjoint follows from that.
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
        """(output shape, filled, sources) for inputs of this shape.

        `filled` has the flat positions in the output that hold an element (`...` if all do), `sources` the flat
        positions in the input that these come from.
        """
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
    """The function applied to a: `rearranged(np.roll, a, 2, axis=0)`."""
    return Rearrange(function, *more, **options)(a)
