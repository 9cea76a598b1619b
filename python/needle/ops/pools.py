"""Windows along some axes of an array, and what a ufunc makes of each.

Axes are taken one after the other where that gives the same: of 3 x 3 elements, 2 + 2 are combined instead of 8.
Results lie in memory as their inputs do, whichever axis the channels are.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .columns import Windows


class Pool(NamedTuple):
    """Windows along each of these axes, which are not negative."""

    axes: tuple[int, ...]
    windows: tuple[Windows, ...]

    def along_each(self) -> list[Pool]:
        return [Pool((axis,), (windows,)) for axis, windows in zip(self.axes, self.windows, strict=True)]

    def behind_batch(self) -> Pool:
        return self._replace(axes=tuple([axis + 1 for axis in self.axes]))

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one number a window, for an array of this shape."""
        outputs = dict(zip(self.axes, [w.outputs for w in self.windows], strict=True))
        return tuple([outputs.get(axis, n) for axis, n in enumerate(shape)])

    def taps(self, shape: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
        """For each tap that meets an array of this shape: the index of its windows, and that of its elements."""
        pairs = zip(self.axes, self.windows, strict=True)
        for met in product(*[list(windows.meetings(shape[axis])) for axis, windows in pairs]):
            of_windows, of_elements = [slice(None)] * len(shape), [slice(None)] * len(shape)
            for axis, (_, window, place) in zip(self.axes, met, strict=True):
                of_windows[axis], of_elements[axis] = window, place
            yield tuple(of_windows), tuple(of_elements)

    @property
    def overlap(self) -> bool:
        """Whether an element may be in several windows."""
        return any(w.stride <= (w.taps - 1) * w.dilation for w in self.windows)


def like(a: Any, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """An array that lies in memory as a does."""
    return np.empty_like(a, dtype, shape=shape, subok=False)


def lowest(dtype: Any) -> Any:
    """What no number of this dtype is less than."""
    return -np.inf if dtype.kind in "fc" else np.iinfo(dtype).min if dtype.kind in "iu" else False


def combined(ufunc: Any, a: Any, pool: Pool, nothing: Any) -> Any:
    """What the ufunc makes of the elements of each window, axis by axis; `nothing` where there are none."""
    for along in pool.along_each():
        shape = along.shape(a.shape)
        taps = [(windows, a[elements]) for windows, elements in along.taps(a.shape)]
        out = like(a, shape)
        if len(taps) > 1 and taps[0][1].shape == taps[1][1].shape == shape:
            ufunc(taps[0][1], taps[1][1], out=out)
            taps = taps[2:]
        else:
            out.fill(nothing)
        for windows, elements in taps:
            ufunc(out[windows], elements, out=out[windows])
        a = out
    return a
