"""What samples are made of.

A sample is a function of tensors, arrays to call it on, and the same in plain NumPy. Where the function has a corner or
a tie at these arrays, `smooth` is False: finite differences say nothing there, and all other laws hold all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

SHAPES = [(), (0,), (0, 3), (3, 0), (1,), (1, 1), (4,), (2, 3), (2, 1, 3)]
BROADCAST = [
    ((), ()),
    ((), (2, 3)),
    ((2, 3), ()),
    ((1,), (3,)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 1), (1, 3)),
    ((2, 1, 3), (4, 1)),
    ((2, 3), (2, 3)),
    ((1, 1), ()),
    ((0,), (0,)),
    ((0, 3), (3,)),
    ((1,), (3, 0)),
    ((3, 1), (1, 0)),
    ((), (0, 3)),
]


@dataclass(frozen=True, eq=False)
class Sample:
    """`function(*tensors)` makes a node of the op; `reference(*arrays)` is the same in plain NumPy."""

    name: str
    function: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    reference: Callable[..., Any]
    smooth: bool = True
    exact: Callable[..., Any] | None = None
    """What finite differences are taken of, where `reference` rounds (a cast to fewer digits)."""


def numbers(shape: tuple[int, ...], dtype: Any = np.float64, *, positive: bool = False, seed: int = 0) -> np.ndarray:
    """Numbers of magnitudes from 0.4 to 2 (integers: from 1), none as large as another and none near 0.

    Complex ones stay off the negative real axis if `positive`.
    """
    rng = np.random.default_rng([seed, *shape])
    size = int(np.prod(shape))
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return (rng.permutation(size) % 2 == seed % 2).reshape(shape)
    if dtype.kind in "iu":
        magnitudes = 1 + rng.permutation(size)
    else:
        magnitudes = 0.4 + 1.6 * (rng.permutation(size) + 0.25 + 0.5 * rng.random(size)) / max(size, 1)
    if dtype.kind == "c":
        angles = rng.uniform(0.2, 1.2, size) * rng.choice([-1, 1], size)
        turned = magnitudes * np.exp(1j * angles)
        return (turned if positive else turned * rng.choice([-1, 1], size)).astype(dtype).reshape(shape)
    signs = 1 if positive or dtype.kind == "u" else rng.choice([-1, 1], size)
    return (magnitudes * signs).astype(dtype).reshape(shape)


def label(arrays: tuple[np.ndarray, ...]) -> str:
    return "-".join(f"{a.dtype}{list(a.shape)}".replace(" ", "") for a in arrays)


def sample(function: Any, reference: Any, *arrays: Any, name: str = "", **more: Any) -> Sample:
    given = tuple(np.asarray(a) for a in arrays)
    return Sample(" ".join(filter(None, [name, label(given)])), function, given, reference, **more)


def unary(
    function: Any, reference: Any, dtypes: str = "efgd", *, positive: bool = False, name: str = "", **more: Any
) -> list[Sample]:
    """Every shape in float64, and every one of these dtypes."""
    arrays = [numbers(shape, positive=positive) for shape in SHAPES]
    arrays += [numbers((2, 3), code, positive=positive) for code in dtypes.replace("d", "")]
    return [sample(function, reference, a, name=name, **more) for a in arrays]


def binary(
    function: Any, reference: Any, dtypes: str = "e f g ff df fe", *, positive: str = "", **more: Any
) -> list[Sample]:
    """Every pair of shapes in float64, and these pairs of dtypes; `positive` names the operands that are to be."""

    def pair(shapes: Any, codes: str) -> Sample:
        a = numbers(shapes[0], codes[0], positive="a" in positive, seed=1)
        b = numbers(shapes[1], codes[-1], positive="b" in positive, seed=2)
        return sample(function, reference, a, b, **more)

    return [pair(shapes, "d") for shapes in BROADCAST] + [pair(((2, 3), (3,)), codes) for codes in dtypes.split()]


def specials(function: Any, reference: Any, values: Any, *, name: str = "special") -> Sample:
    return sample(function, reference, np.array(values), name=name, smooth=False)


INF, NAN = np.inf, np.nan
EVERYTHING = [-INF, -2.5, -0.0, 0.0, 1e-308, 3.0, INF, NAN]


def scalar_samples(function: Any, reference: Any, scalar_kinds: str = "ifc") -> list[Sample]:
    """An op with a Python number in it: every shape, and numbers of every kind with tensors of every dtype."""
    kinds = {"i": 3, "f": -1.5, "c": 1 - 2j}
    table = unary(lambda a: function(a, 2.5), lambda a: reference(a, 2.5), "efgilD", name="2.5")
    for kind in scalar_kinds:
        number = kinds[kind]
        for code in "eflD":
            table.append(
                sample(
                    lambda a, s=number: function(a, s),
                    lambda a, s=number: reference(a, s),
                    numbers((2, 2), code),
                    name=repr(number),
                )
            )
    return table


REDUCED = [
    ((), None),
    ((), ()),
    ((1,), None),
    ((4,), 0),
    ((4,), -1),
    ((2, 3), None),
    ((2, 3), 0),
    ((2, 3), (1,)),
    ((2, 3), ()),
    ((2, 3), (0, 1)),
    ((2, 3), (-1, 0)),
    ((2, 1, 3), (0, 2)),
    ((2, 1, 3), (-1, 1)),
    ((2, 1, 3), -2),
    ((1, 1), None),
    ((0, 3), 1),
    ((3, 0), 0),
    ((2, 0, 3), (0, 2)),
]
NO_ELEMENTS = [((0,), None), ((0,), 0), ((0, 3), 0), ((3, 0), -1), ((0, 3), None), ((3, 0), (0, 1))]


def reduction(function: Any, reference: Any, shapes: Any, dtypes: str) -> list[Sample]:
    """Functions of (a, axes, keepdims) over these axes, with kept axes and without."""
    table = []
    for shape, axes in shapes:
        for keepdims in [False, True]:
            table.append((numbers(shape), axes, keepdims))
    table += [(numbers((2, 3), code), axes, False) for code in dtypes for axes in [None, 1]]
    return [
        sample(
            lambda a, axes=axes, keepdims=keepdims: function(a, axes, keepdims),
            lambda a, axes=axes, keepdims=keepdims: reference(a, axes, keepdims),
            a,
            name=f"axes={axes} keepdims={keepdims}",
        )
        for a, axes, keepdims in table
    ]
