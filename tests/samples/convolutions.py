"""Samples of the ops on images and their windows: convolutions and pooling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from needle import ops
from needle.ops.convolution import Layout

from .kit import Sample, numbers, sample

Geometry = tuple[Any, Any, Any, int]


def met(geometry: Geometry, sizes: Any, taps: Any) -> Iterator[tuple[Any, Any, Any]]:
    """(window, tap, place) for every tap of every window that lies inside of an image of these sizes."""
    strides, padding, dilations, _ = geometry
    for window in np.ndindex(*counts(geometry, sizes, taps)):
        for tap in np.ndindex(*taps):
            place = tuple(
                p * s + q * d - before
                for p, q, s, d, (before, _) in zip(window, tap, strides, dilations, padding, strict=True)
            )
            if all(0 <= i < n for i, n in zip(place, sizes, strict=True)):
                yield window, tap, place


def counts(geometry: Geometry, sizes: Any, taps: Any) -> tuple[int, ...]:
    return tuple(
        (n + sum(pair) - d * (k - 1) - 1) // s + 1 for n, k, s, pair, d in zip(sizes, taps, *geometry[:3], strict=True)
    )


def in_groups(groups: int, *arrays: Any) -> Iterator[list[Any]]:
    yield from zip(*[np.split(a, groups, axis=-1) for a in arrays], strict=True)


def widened(arrays: Any) -> tuple[list[Any], Any]:
    """The arrays as they are added up, and the dtype of the result."""
    dtype = np.result_type(*arrays)
    wide = np.float32 if dtype == np.float16 else dtype
    return [a.astype(wide) for a in arrays], dtype


def conv(geometry: Geometry, a: Any, w: Any) -> Any:
    (a, w), dtype = widened((a, w))
    sizes, taps = a.shape[1:-1], w.shape[:-2]
    y = np.zeros((len(a), *counts(geometry, sizes, taps), w.shape[-1]), a.dtype)
    for x, v, out in in_groups(geometry[3], a, w, y):
        for window, tap, place in met(geometry, sizes, taps):
            out[(slice(None), *window)] += x[(slice(None), *place)] @ v[tap]
    return y.astype(dtype)


def conv_transpose(geometry: Geometry, sizes: Any, y: Any, w: Any) -> Any:
    (y, w), dtype = widened((y, w))
    a = np.zeros((len(y), *sizes, w.shape[-2] * geometry[3]), y.dtype)
    for g, v, out in in_groups(geometry[3], y, w, a):
        for window, tap, place in met(geometry, sizes, w.shape[:-2]):
            out[(slice(None), *place)] += g[(slice(None), *window)] @ v[tap].T
    return a.astype(dtype)


def conv_weights(geometry: Geometry, taps: Any, a: Any, y: Any) -> Any:
    (a, y), dtype = widened((a, y))
    w = np.zeros((*taps, a.shape[-1] // geometry[3], y.shape[-1]), a.dtype)
    for x, g, out in in_groups(geometry[3], a, y, w):
        for window, tap, place in met(geometry, a.shape[1:-1], taps):
            out[tap] += x[(slice(None), *place)].T @ g[(slice(None), *window)]
    return w.astype(dtype)


def eighths(a: Any) -> Any:
    """The numbers rounded to eighths: their sums of products are exact in any order."""
    return np.rint(8 * a) / a.dtype.type(8) if a.dtype.kind in "fc" else a


def linked(place: str, a: Any, w: Any, *geometry: Any, codes: str = "dd") -> Sample:
    """A sample of the op that makes what stands at this place, for images and weights of these shapes."""
    y = (a[0], *counts(geometry, a[1:-1], w[:-2]), w[-1])
    shapes = {"a": a, "w": w, "y": y}
    op: Any
    if place == "y":
        op, given, more = ops.Conv(Layout(*geometry)), "aw", ()
    elif place == "a":
        op, given, more = ops.ConvTranspose(Layout(*geometry), a[1:-1]), "yw", (a[1:-1],)
    else:
        op, given, more = ops.ConvWeights(Layout(*geometry), w[:-2]), "ay", (w[:-2],)
    reference = {"y": conv, "a": conv_transpose, "w": conv_weights}[place]
    arrays = [eighths(numbers(shapes[p], code, seed=i)) for i, (p, code) in enumerate(zip(given, codes, strict=True))]
    return sample(op, lambda *x: reference(geometry, *more, *x), *arrays, name=str(geometry))


def of_images(place: str) -> list[Sample]:
    plain, one = ((1, 1), ((0, 0), (0, 0)), (1, 1), 1), ((1,), ((0, 0),), (1,), 1)
    same = (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    return [
        linked(place, (2, 4, 5, 2), (3, 2, 2, 3), *plain),
        linked(place, (2, 3, 4, 1), (3, 3, 1, 2), *same),
        linked(place, (1, 2, 2, 17), (2, 2, 17, 1), *same),
        linked(place, (2, 3, 2, 3), (1, 1, 3, 2), *plain),
        linked(place, (1, 6, 5, 2), (3, 2, 2, 2), (2, 3), ((1, 1), (0, 1)), (1, 1), 1),
        linked(place, (1, 6, 7, 2), (2, 3, 2, 1), (1, 2), ((0, 2), (2, 1)), (2, 2), 1),
        linked(place, (1, 7, 5, 1), (2, 2, 1, 1), (4, 3), ((1, 0), (0, 0)), (2, 3), 1),
        linked(place, (1, 5, 5, 1), (2, 2, 1, 1), (1, 1), ((-1, 0), (0, -2)), (1, 1), 1),
        linked(place, (2, 4, 3, 4), (2, 2, 2, 6), (1, 2), ((1, 1), (1, 1)), (1, 1), 2),
        linked(place, (2, 3, 3, 3), (2, 2, 1, 6), (1, 1), ((1, 0), (0, 0)), (1, 1), 3),
        linked(place, (2, 3, 3, 2), (2, 2, 1, 2), (2, 1), ((1, 0), (0, 1)), (1, 2), 2),
        linked(place, (2, 5, 2), (3, 2, 3), *one),
        linked(place, (2, 7, 4), (3, 2, 2), (2,), ((2, 1),), (2,), 2),
        linked(place, (1, 1, 1), (1, 1, 1), *one),
        linked(place, (0, 4, 2), (2, 2, 3), *one),
        linked(place, (2, 4, 0), (2, 0, 3), *one),
        linked(place, (2, 4, 2), (2, 2, 0), *one),
        *[linked(place, (2, 3, 3, 2), (2, 2, 2, 2), *same, codes=codes) for codes in ["ff", "ee", "fd", "ll", "lf"]],
        *[linked(place, (2, 3, 3, 2), (2, 2, 2, 2), *same, codes=codes) for codes in ["DD", "fD", "gg"]],
    ]


CONVOLUTIONS: dict[str, list[Sample]] = {
    "Conv": of_images("y"),
    "ConvTranspose": of_images("a"),
    "ConvWeights": of_images("w"),
}
