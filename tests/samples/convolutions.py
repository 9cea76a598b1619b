"""Samples of the ops on images and their windows: convolutions and pooling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from needle import ops
from needle.ops.columns import Windows
from needle.ops.layouts import Layout
from needle.ops.pools import Pool

from .kit import NAN, Sample, numbers, sample, specials

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


def pool_of(shape: Any, axes: Any, *geometry: Any) -> Pool:
    """Windows of (taps, stride, dilation, before, after) along these axes of an array of this shape."""
    windows = []
    for axis, (taps, stride, dilation, before, after) in zip(axes, geometry, strict=True):
        room = shape[axis] + before + after - dilation * (taps - 1) - 1
        windows.append(Windows(-before, stride, dilation, taps, room // stride + 1))
    return Pool(axes, tuple(windows))


def elements(pool: Pool, shape: Any) -> Iterator[tuple[Any, Any]]:
    """For each window, its index and those of its elements."""
    lengths = [w.outputs for w in pool.windows]
    for window in np.ndindex(*lengths):
        places = []
        for axis, w, p in zip(pool.axes, pool.windows, window, strict=True):
            taps = [w.start + p * w.stride + q * w.dilation for q in range(w.taps)]
            places.append([i for i in taps if 0 <= i < shape[axis]])
        found = []
        for each in np.ndindex(*map(len, places)):
            found.append(indexed(pool, len(shape), [row[i] for row, i in zip(places, each, strict=True)]))
        yield indexed(pool, len(shape), window), found


def indexed(pool: Pool, ndim: int, places: Any) -> Any:
    index: list[Any] = [slice(None)] * ndim
    for axis, place in zip(pool.axes, places, strict=True):
        index[axis] = place
    return tuple(index)


def max_pool(pool: Pool, a: Any) -> Any:
    y = np.empty(pool.shape(a.shape), a.dtype)
    for window, found in elements(pool, a.shape):
        y[window] = np.max([a[i] for i in found], axis=0)
    return y


def sum_pool(pool: Pool, a: Any) -> Any:
    y = np.zeros(pool.shape(a.shape), a.dtype)
    for window, found in elements(pool, a.shape):
        y[window] = np.sum([a[i].astype(np.result_type(a, np.float32)) for i in found], axis=0).astype(a.dtype)
    return y


def spread_pool(pool: Pool, shape: Any, y: Any) -> Any:
    a = np.zeros(shape, y.dtype)
    for window, found in elements(pool, shape):
        for i in found:
            a[i] += y[window]
    return a


def shares(pool: Pool, a: Any) -> list[tuple[Any, Any, Any]]:
    """(window, element, its share) for every element of every window."""
    found = []
    for window, places in elements(pool, a.shape):
        hits = np.array([a[i] == max_pool(pool, a)[window] for i in places])
        found += [(window, i, hit / hits.sum(0)) for i, hit in zip(places, hits, strict=True)]
    return found


POOLS = [
    ((2, 4, 4, 3), (1, 2), (2, 2, 1, 0, 0), (2, 2, 1, 0, 0)),
    ((2, 2, 5, 4), (2, 3), (3, 2, 1, 1, 1), (2, 1, 1, 0, 0)),
    ((1, 5, 7, 1), (1, 2), (2, 3, 2, 0, 1), (3, 1, 2, 1, 0)),
    ((2, 6, 1), (1,), (2, 3, 1, 0, 0)),
    ((5, 2), (0,), (3, 1, 1, 1, 1)),
    ((3,), (0,), (1, 1, 1, 0, 0)),
    ((0, 4, 2), (1,), (2, 2, 1, 0, 0)),
]


def pooled(op: Any, reference: Any, codes: str, *, spread: bool = False) -> list[Sample]:
    table = []
    for shape, axes, *geometry in POOLS:
        for code in ["d", *(codes if shape == (2, 6, 1) else "")]:
            pool = pool_of(shape, axes, *geometry)
            more = (pool, shape) if spread else (pool,)
            a = eighths(numbers(pool.shape(shape) if spread else shape, code))
            a = a if spread or reference is sum_pool else numbers(shape, code)
            table.append(sample(op(*more), lambda a, more=more: reference(*more, a), a, name=str(pool)))
    return table


def with_maxima(from_maxima: bool) -> list[Sample]:
    """Where the largest elements are does not change, however little a does."""
    table = []
    for shape, axes, *geometry in POOLS:
        for code in ["d", *("fe" if shape == (2, 6, 1) else "")]:
            pool = pool_of(shape, axes, *geometry)
            a = eighths(numbers(shape))
            y = max_pool(pool, a)
            value = eighths(numbers(y.shape if from_maxima else shape, code, seed=3))
            found = shares(pool, a)

            def reference(  # noqa: PLR0917
                v: Any, a: Any, y: Any, found: Any = found, shapes: Any = (shape, y.shape), back: bool = from_maxima
            ) -> Any:
                out = np.zeros(shapes[0] if back else shapes[1], v.dtype if v.dtype.kind == "f" else np.float64)
                for window, i, share in found:
                    if back:
                        out[i] += (v[window] * share).astype(out.dtype)
                    else:
                        out[window] += (v[i] * share).astype(out.dtype)
                return out

            op = ops.FromMaxima(pool) if from_maxima else ops.OfMaxima(pool)
            table.append(sample(op, reference, value, a.astype(code), y.astype(code), name=str(pool)))
    return table


WINDOWS = pool_of((1, 3, 3, 1), (1, 2), (2, 1, 1, 0, 0), (2, 1, 1, 0, 0))
EXTREMES = np.reshape([NAN, 1.0, 2.0, 3.0, -np.inf, np.inf, 5.0, 2.0, NAN], (1, 3, 3, 1))

CONVOLUTIONS: dict[str, list[Sample]] = {
    "Conv": of_images("y"),
    "ConvTranspose": of_images("a"),
    "ConvWeights": of_images("w"),
    "FromMaxima": with_maxima(True),
    "MaxPool": [
        *pooled(ops.MaxPool, max_pool, "eflg"),
        specials(ops.MaxPool(WINDOWS), lambda a: max_pool(WINDOWS, a), EXTREMES),
        specials(ops.MaxPool(WINDOWS), lambda a: max_pool(WINDOWS, a), np.ones((1, 3, 3, 1)), name="ties"),
    ],
    "OfMaxima": with_maxima(False),
    "SpreadPool": pooled(ops.SpreadPool, spread_pool, "eflD", spread=True),
    "SumPool": pooled(ops.SumPool, sum_pool, "eflD"),
}
