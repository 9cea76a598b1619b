"""Samples of the ops that join tensors and move their elements about."""

from __future__ import annotations

from typing import Any

import numpy as np
from needle import ops

from .kit import INF, NAN, Sample, numbers, sample, specials


def joined(function: Any, reference: Any, shapes: Any, axis: int, codes: str = "ddd") -> Sample:
    arrays = [numbers(shape, code, seed=i) for i, (shape, code) in enumerate(zip(shapes, codes, strict=False))]
    return sample(lambda *a: function(a, axis), lambda *a: reference(a, axis), *arrays, name=f"axis={axis}")


def rearranged(function: Any, shape: tuple[int, ...], *more: Any, code: str = "d", **options: Any) -> Sample:
    return sample(
        ops.Rearrange(function, *more, **options),
        lambda a: function(a, *more, **options),
        numbers(shape, code),
        name=" ".join(f"{function.__name__} {more} {options}".split()),
    )


def diagonal(a: Any, *where: int) -> Any:
    return np.diagonal(a, *where).copy()


def permuted(shape: tuple[int, ...], axes: tuple[int, ...], code: str = "d") -> Sample:
    return sample(
        lambda a: ops.permute_dims(a, axes),
        lambda a: np.transpose(a, axes).copy(),
        numbers(shape, code),
        name=str(axes),
    )


ARRANGING: dict[str, list[Sample]] = {
    "Concatenate": [
        joined(ops.concatenate, np.concatenate, shapes, axis)
        for shapes, axis in [
            ([(4,)], 0),
            ([(2,), (3,), (1,)], 0),
            ([(2, 3), (1, 3)], 0),
            ([(2, 3), (2, 1), (2, 3)], 1),
            ([(2, 3), (2, 1)], -1),
            ([(2, 1, 3), (2, 2, 3)], -2),
            ([(0,), (3,)], 0),
            ([(0,), (0,)], 0),
            ([(0, 3), (2, 3)], 0),
            ([(3, 0), (3, 2), (3, 0)], 1),
            ([(3, 0), (2, 0)], 0),
        ]
    ]
    + [joined(ops.concatenate, np.concatenate, [(2, 3), (2, 1)], 1, codes) for codes in ["ee", "ff", "fd", "ll", "lf"]]
    + [joined(ops.concatenate, np.concatenate, [(2, 3), (2, 1)], 1, codes) for codes in ["DD", "fD", "?d", "gg"]]
    + [
        sample(
            lambda a, b: ops.concatenate([a, b]),
            lambda a, b: np.concatenate([a, b]),
            np.array([NAN, -INF, -0.0]),
            np.array([INF, 1.0]),
            name="special",
            smooth=False,
        )
    ],
    "Split": [
        sample(
            lambda a, axis=axis: ops.split(a, axis),
            lambda a, axis=axis: tuple(part.copy() for part in np.moveaxis(a, axis, 0)),
            numbers(shape, code),
            name=f"axis={axis}",
        )
        for shape, axis, code in [
            ((3,), 0, "d"),
            ((2, 3), 0, "d"),
            ((2, 3), -1, "d"),
            ((2, 3, 2), 1, "d"),
            ((2, 0), 0, "d"),
            ((1, 1), 0, "d"),
            *[((2, 3), 1, code) for code in "eflD"],
        ]
    ],
    "Flip": [
        sample(
            lambda a, axes=axes: ops.flip(a, axes),
            lambda a, axes=axes: np.flip(a, axes).copy(),
            numbers(shape, code),
            name=f"axes={axes}",
        )
        for shape, axes, code in [
            ((3,), 0, "d"),
            ((2, 3), None, "d"),
            ((2, 3), (-1,), "d"),
            ((2, 1, 3), (0, 2), "d"),
            ((2, 3), (), "d"),
            ((), None, "d"),
            ((0, 3), 1, "d"),
            *[((2, 3), 1, code) for code in "eflD"],
        ]
    ],
    "Stack": [
        joined(ops.stack, np.stack, shapes, axis)
        for shapes, axis in [
            ([()], 0),
            ([(), (), ()], -1),
            ([(3,), (3,)], 0),
            ([(3,), (3,)], 1),
            ([(2, 3), (2, 3)], 1),
            ([(2, 3), (2, 3), (2, 3)], -1),
            ([(2, 3)], -3),
            ([(0,), (0,)], 0),
            ([(0, 3), (0, 3)], 1),
            ([(3, 0), (3, 0)], -1),
        ]
    ]
    + [joined(ops.stack, np.stack, [(2, 3), (2, 3)], 1, codes) for codes in ["ee", "ff", "fd", "lf", "DD", "fD"]],
    "Permute": [
        permuted(shape, axes)
        for shape, axes in [
            ((), ()),
            ((4,), (0,)),
            ((2, 3), (1, 0)),
            ((2, 3), (-2, -1)),
            ((2, 1, 3), (2, 0, 1)),
            ((2, 1, 3), (-2, 0, -1)),
            ((0, 3), (1, 0)),
            ((3, 0), (-1, 0)),
        ]
    ]
    + [permuted((2, 1, 3), (1, 2, 0), code) for code in "eflDF"],
    "Rearrange": [
        rearranged(np.roll, (4,), 1),
        rearranged(np.roll, (2, 3), (1, -1), axis=(0, 1)),
        rearranged(np.roll, (), 1),
        rearranged(np.roll, (0, 3), 1, 0),
        rearranged(np.repeat, (2, 3), np.array([2, 0, 1]), -1),
        rearranged(np.repeat, (3,), np.array([0, 0, 0])),
        rearranged(np.delete, (2, 3), [0, 2], 1),
        rearranged(np.delete, (3,), slice(0, 3)),
        rearranged(np.resize, (2, 2), (3, 3)),
        rearranged(np.resize, (0,), (2, 2)),
        rearranged(np.diag, (3,)),
        rearranged(np.diag, (3,), -1),
        rearranged(np.diag, (0,), 1),
        rearranged(np.diagflat, (2, 2), 1),
        rearranged(diagonal, (2, 3, 2), 1, 1, 2),
        rearranged(diagonal, (3, 0)),
        rearranged(np.pad, (2, 3), ((1, 2), (0, 3)), mode="reflect"),
        rearranged(np.pad, (3,), 2, mode="edge"),
        rearranged(np.pad, (1, 2), 1),
        rearranged(np.pad, (3, 0), ((1, 0), (1, 0))),
        *[rearranged(np.resize, (3,), (2, 4), code=code) for code in "efglDF"],
        specials(ops.Rearrange(np.diag), np.diag, [NAN, INF, -0.0]),
    ],
}
