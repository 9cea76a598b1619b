"""Samples of sums, products, extrema and moments."""

from __future__ import annotations

from typing import Any

import numpy as np
from needle import ops

from .kit import INF, NAN, Sample, numbers, reduction, sample, specials

SOME = [
    ((), None),
    ((), ()),
    ((1,), 0),
    ((4,), -1),
    ((2, 3), None),
    ((2, 3), 0),
    ((2, 1, 3), (-1, 0)),
    ((0, 3), 1),
    ((2, 0, 3), (0, 2)),
]
EMPTY = [((0,), None), ((0, 3), 0), ((3, 0), -1)]


def np_prod(a: Any, axes: Any = None, keepdims: bool = False) -> Any:
    return np.prod(a, axes, keepdims=keepdims)


def with_zeros(shape: tuple[int, ...], *places: int, dtype: Any = np.float64) -> Any:
    a = numbers(shape, dtype)
    a.flat[list(places)] = 0
    return a


def moment(function: Any, name: str) -> list[Sample]:
    reference = getattr(np, name)
    return [
        *reduction(function, lambda a, axes, keepdims: reference(a, axes, keepdims=keepdims), SOME[2:], "efglDF"),
        *[
            sample(
                lambda a, axes=axes: function(a, axes, correction=1),
                lambda a, axes=axes: reference(a, axes, ddof=1),
                numbers(shape),
                name=f"axes={axes} correction=1",
            )
            for shape, axes in [((4,), None), ((2, 3), 0), ((2, 1, 3), (0, 2))]
        ],
        specials(lambda a: function(a, 1), lambda a: reference(a, 1), [[1.0, 2.0], [3.0, 3.0]], name="equal elements"),
        specials(function, reference, [1.0, NAN]),
    ]


def cumulative(function: Any, reference: Any, dtypes: str = "efgliDF") -> list[Sample]:
    """Along axes of every shape, in every dtype."""
    cases = [((0,), 0), ((0, 3), 0), ((3, 0), 0), ((1,), -1), ((4,), 0), ((2, 3), 0), ((2, 3), -1)]
    cases += [((2, 1, 3), 1), ((2, 1, 3), -3)]
    return [
        sample(
            lambda a, axis=axis: function(a, axis),
            lambda a, axis=axis: reference(a, axis),
            numbers(shape, code),
            name=f"axis={axis}",
        )
        for shape, axis, code in [*[(*case, "d") for case in cases], *[((2, 3), 1, code) for code in dtypes]]
    ]


def backward(op: Any, reference: Any) -> list[Sample]:
    return [
        sample(
            op(axis, reverse=True), lambda a, axis=axis: np.flip(reference(np.flip(a), axis)), a, name=f"axis={axis}"
        )
        for axis, a in [(-1, numbers((4,))), (-2, with_zeros((3, 2), 2)), (-1, numbers((0,)))]
    ]


def np_recurrence(a: Any, b: Any, axis: int = -1, reverse: bool = False) -> Any:
    way = slice(None, None, -1 if reverse else 1)
    a, b = (np.moveaxis(x, axis, 0)[way] for x in (a, b))
    h = np.zeros(b.shape, np.result_type(a, b))
    for t in range(len(b)):
        h[t] = b[t] if t == 0 else a[t - 1] * h[t - 1] + b[t]
    return np.moveaxis(h[way], 0, axis)


def recurrence(n: int, *around: int, axis: int = -1, reverse: bool = False, code: str = "d") -> Sample:
    def shape(length: int) -> tuple[int, ...]:
        return (*around[: len(around) + 1 + axis], length, *around[len(around) + 1 + axis :])

    return sample(
        ops.Recurrence(axis, reverse),
        lambda a, b: np_recurrence(a, b, axis, reverse),
        numbers(shape(max(n - 1, 0)), code, seed=1),
        numbers(shape(n), code, seed=2),
        name=f"axis={axis} reverse={reverse}",
    )


def missing(op: Any, reference: Any) -> list[Sample]:
    return [
        sample(op(1, keepdims=True), lambda a: reference(a, 1, keepdims=True), numbers((2, 3), code)) for code in "del"
    ] + [
        specials(op(0), lambda a: reference(a, 0), [[NAN, 2.0], [1.0, NAN], [3.0, -1.0]]),
        specials(op(), reference, [NAN, 1.0, 1.0, -INF, -INF], name="ties"),
    ]


def convolved(valid: bool, *sizes: int, codes: str = "dd") -> Sample:
    return sample(
        lambda a, b: ops.convolve(a, b, valid),
        lambda a, b: np.convolve(a, b, "valid" if valid else "full"),
        numbers(sizes[:1], codes[0], seed=1),
        numbers(sizes[1:], codes[1], seed=2),
        name="valid" if valid else "",
    )


STATISTICS: dict[str, list[Sample]] = {
    "Min": [
        *reduction(ops.min, lambda a, axes, keepdims: np.min(a, axes, keepdims=keepdims), SOME, "efgl"),
        specials(ops.min, np.min, [1.0, 0.0, 0.0], name="ties"),
        specials(lambda a: ops.min(a, 1), lambda a: a.min(1), [[1.0, NAN], [INF, INF], [-INF, 2.0]]),
    ],
    "NanMax": missing(ops.NanMax, np.nanmax),
    "NanMin": missing(ops.NanMin, np.nanmin),
    "Prod": [
        *reduction(ops.prod, np_prod, [*SOME, *EMPTY], "efgliDF"),
        *[
            sample(
                lambda a, axes=axes: ops.prod(a, axes),
                lambda a, axes=axes: np_prod(a, axes),
                with_zeros(shape, *places, dtype=dtype),
                name=f"axes={axes} zeros={places}",
            )
            for shape, places, axes, dtype in [
                ((), [0], None, "d"),
                ((1,), [0], None, "d"),
                ((3,), [0], None, "d"),
                ((3,), [2], 0, "f"),
                ((4,), [0, 1], None, "d"),
                ((3,), [0, 1, 2], None, "d"),
                ((2, 3), [1], None, "d"),
                ((2, 3), [1, 2], (), "d"),
                ((2, 3), [0, 4], (1, 0), "D"),
                ((2, 3), [0, 1, 4], 1, "d"),
                ((2, 3), [1, 5], 1, "l"),
                ((2, 3), [1], 1, "e"),
                ((2, 3, 2), [1, 7], (0, 2), "d"),
            ]
        ],
        specials(ops.prod, np_prod, [1e-200, 1e-200, 1e200], name="underflow"),
        specials(ops.prod, np_prod, [2.0, INF, NAN]),
    ],
    "CumSum": [*cumulative(ops.cumsum, np.cumsum), *backward(ops.CumSum, np.cumsum)],
    "CumProd": [
        *cumulative(ops.cumprod, np.cumprod),
        *backward(ops.CumProd, np.cumprod),
        *[
            sample(
                lambda a, axis=axis: ops.cumprod(a, axis),
                lambda a, axis=axis: np.cumprod(a, axis),
                with_zeros(shape, *places, dtype=code),
                name=f"axis={axis} zeros={places}",
            )
            for shape, places, axis, code in [
                ((3,), [0], 0, "d"),
                ((5,), [4], 0, "d"),
                ((6,), [2, 3], 0, "d"),
                ((3, 2), [2], 0, "D"),
                ((2, 3), [1, 4], -1, "f"),
                ((2, 3), [1, 4], -1, "e"),
                ((2, 3), [0, 4], 1, "l"),
            ]
        ],
    ],
    "Recurrence": [
        *[recurrence(n) for n in range(6)],
        recurrence(5, reverse=True),
        recurrence(4, 2, axis=-2),
        recurrence(4, 2, 0, axis=-2, reverse=True),
        recurrence(3, 2, code="f"),
        recurrence(4, 2, axis=-2, reverse=True, code="D"),
    ],
    "Convolve": [
        *[convolved(valid, *sizes) for valid in (False, True) for sizes in [(4, 2), (2, 4), (3, 3), (1, 1), (3, 1)]],
        *[convolved(False, 3, 2, codes=codes) for codes in ["ff", "ee", "fd", "DD", "fD", "ll", "lf"]],
        convolved(True, 2, 3, codes="Df"),
    ],
    "Roots": [
        *[
            sample(ops.roots, np.roots, np.array(p, code), name=str(p))
            for p, code in [
                ([1, -3, 2], "d"),
                ([2, 0.5, 3, -1], "d"),
                ([1, -3, 2], "f"),
                ([1, -3, 2], "l"),
                ([1 + 1j, 2, -0.5j], "D"),
                ([3], "d"),
                ([], "d"),
            ]
        ],
        specials(ops.roots, np.roots, [0.0, 1.0, -3.0, 2.0, 0.0], name="zeros at the ends"),
    ],
    "Var": moment(ops.var, "var"),
    "Std": moment(ops.std, "std"),
}
