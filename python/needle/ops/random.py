"""Random masks, drawn anew whenever they are computed: also when a captured program is replayed."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .. import watching
from ..autograd import Tensor, TensorOp, as_value
from ..pool import empty
from .memory_order import PIECE
from .selection import masked


class Draw(TensorOp):
    """An op that draws random numbers: the same op computes something else each time. It is no function of its inputs,
    so nothing may be shared, folded or left out, and its output is a constant.

    `rng` is a NumPy generator; None is NumPy's global state.
    """

    __slots__ = ("drawn", "rng")
    saves = ()
    discrete = True
    drawn: tuple[Any, Any]
    """The states of the generator before and after, for watchers."""

    def __init__(self, rng: Any = None):
        self.rng = rng

    def seen(self, draw: Callable[[], Any]) -> Any:
        """What `draw` returns, which draws from the generator."""
        if not watching.active:
            return draw()
        before = state_of(self.rng)
        found = draw()
        self.drawn = before, state_of(self.rng)
        return found


def state_of(rng: Any) -> Any:
    """The state of a generator."""
    if rng is None:
        return np.random.get_state()
    return rng.bit_generator.state if isinstance(rng, np.random.Generator) else rng.get_state()


def set_state(rng: Any, state: Any) -> None:
    if rng is None:
        np.random.set_state(state)
    elif isinstance(rng, np.random.Generator):
        rng.bit_generator.state = state
    else:
        rng.set_state(state)


class DropoutMask(Draw):
    """1 / keep with the probability keep, else 0, so that its mean is 1.

    From NumPy's global state, or a RandomState, it keeps an element where `rand(*shape) <= keep`. From a Generator it
    takes one byte an element and, where that does not decide, one number more: exact, and a few times faster.
    """

    __slots__ = ("dtype", "keep", "shape")

    def __init__(self, shape: tuple[int, ...], keep: float, dtype: Any, rng: Any = None):
        super().__init__(rng)
        self.shape = shape
        self.keep = keep
        self.dtype = dtype

    def compute(self) -> Any:
        return self.seen(self._draw)

    def _draw(self) -> Any:
        size, by_bytes = prod(self.shape), isinstance(self.rng, np.random.Generator)
        out = empty(self.shape, self.dtype, size * self.dtype.itemsize)
        flat, scale = out.reshape(-1), self.dtype.type(1 / self.keep)
        for start in range(0, size, PIECE):
            piece = flat[start : start + PIECE]
            np.copyto(piece, self._kept_by_bytes(piece.size) if by_bytes else self._kept(piece.size))
            np.multiply(piece, scale, piece)
        return out

    def _kept(self, count: int) -> Any:
        uniform = np.random.random_sample if self.rng is None else self.rng.random_sample
        return uniform(count) <= self.keep

    def _kept_by_bytes(self, count: int) -> Any:
        words = self.rng.integers(0, np.iinfo(np.uint64).max, -(-count // 8), np.uint64, endpoint=True)
        random = words.view(np.uint8)[:count]
        limit, rest = divmod(self.keep * 256, 1)
        kept = random < int(limit)
        if rest:
            close = np.flatnonzero(random == int(limit))
            kept[close] = self.rng.random(close.size) < rest
        return kept


def dropout(a: Any, p: float = 0.5, rng: Any = None, *, axes: Any = None) -> Tensor:
    """Each number 0 with the probability p, else a / (1 - p), so that the mean stays.

    `axes` are those along which each element is dropped for itself (None: all); along the others, together. Random
    numbers come from `rng`, a NumPy generator, or from NumPy's global state: `rand(*shape) <= 1 - p` keeps an element.
    With p=0 and p=1, none are drawn. A captured program draws anew each time. From Srivastava et al., "Dropout", 2014.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be a probability, from 0 to 1, got {p!r}")
    if not (rng is None or isinstance(rng, (np.random.Generator, np.random.RandomState))):
        raise TypeError(f"dropout: rng must be None or a generator like np.random.default_rng(0), got {rng!r:.60}")
    a = as_value(a)
    if p == 0:
        return a
    if p == 1:
        return masked(a, np.zeros((), np.bool))
    dtype = a.dtype if a.dtype.kind in "f" else a.real.dtype if a.dtype.kind == "c" else np.dtype(np.float64)
    shape = tuple([n if axes is None or i in axes else 1 for i, n in enumerate(a.shape)])
    return a * DropoutMask(shape, 1 - p, dtype, rng)()
