"""Samples of the ops that everything else is composed of."""

from __future__ import annotations

from functools import partial
from typing import Any

import needle
import numpy as np
from needle import ops
from needle.ops.arithmetic import EWiseSub, RSubScalar
from needle.ops.softmax import LESS_TARGETS, SlopeOfSoftmax

from .kit import (
    BROADCAST,
    EVERYTHING,
    INF,
    NAN,
    NO_ELEMENTS,
    REDUCED,
    Sample,
    binary,
    numbers,
    reduction,
    sample,
    scalar_samples,
    specials,
    unary,
)

# ---------------------------------------------------------------------------------------------- sums and products


ARITHMETIC: dict[str, list[Sample]] = {
    "EWiseAdd": binary(ops.add, np.add, "ee ff gg fd df ef ll lf bb ?f ?l DD Dd FF fD BB"),
    "AddScaled": binary(
        lambda a, b: needle.add(a, b, alpha=-0.5), lambda a, b: a + -0.5 * b, "ee ff gg fd df ef ll bf DD fD Df"
    ),
    "EWiseSub": binary(EWiseSub(), np.subtract, "ee ff fd ll lf DD fD"),
    "EWiseMul": binary(ops.multiply, np.multiply, "ee ff gg fd df ef ll lf bf ?f DD Dd FF fD"),
    "EWiseDiv": binary(ops.divide, np.divide, "ee ff gg fd df ef ll lf DD Dd FF fD"),
    "AddScalar": scalar_samples(ops.add_scalar, lambda a, s: a + s)
    + [
        sample(lambda a: 2 + a, lambda a: 2 + a, numbers((3,), "f"), name="left"),
        sample(lambda a: a - 2, lambda a: a - 2, numbers((3,), "B"), name="minus"),
        sample(lambda a: a + True, lambda a: a + True, numbers((3,), "f"), name="True"),
    ],
    "MulScalar": scalar_samples(ops.mul_scalar, lambda a, s: a * s)
    + [sample(lambda a: 2 * a, lambda a: 2 * a, numbers((3,), "f"), name="left")],
    "DivScalar": scalar_samples(ops.divide_scalar, lambda a, s: a / s),
    "RSubScalar": scalar_samples(lambda a, s: RSubScalar(s)(a), lambda a, s: s - a),
    "RDivScalar": scalar_samples(lambda a, s: ops.divide(s, a), lambda a, s: s / a),
    "Negate": [*unary(ops.negate, np.negative, "efglDF"), specials(ops.negate, np.negative, EVERYTHING)],
    "FloorDivide": binary(ops.floor_divide, np.floor_divide, "ff ll lf")
    + [
        sample(lambda a: a // 0.75, lambda a: a // 0.75, numbers((3,), "f"), name="by a number"),
        sample(lambda a: 7 // a, lambda a: 7 // a, np.array([2.2, -1.8], "f"), name="of a number"),
    ],
    "Mod": [
        sample(ops.mod, np.remainder, a, b)
        for a, b in [
            (np.array(5.3), np.array(2.0)),
            (np.array([5.3, -5.3, 7.1, -7.1]), np.array([2.0, 2.0, -3.0, -3.0])),
            (np.array([[5.3], [-4.4]]), np.array([3.0, 0.7, 2.5])),
            (np.array([5.3, -5.3], "f"), np.array(2.0, "f")),
            (np.zeros((0, 3)), np.ones(3)),
            (np.zeros((3, 0)), np.ones(())),
        ]
    ]
    + [
        sample(lambda a: a % 0.75, lambda a: a % 0.75, numbers((3,), "f"), name="by a number"),
        sample(ops.mod, np.remainder, np.array([5, -5, 4]), np.array([3, 3, 2]), smooth=False),
    ],
}

# ---------------------------------------------------------------------------------------------- one argument

ELEMENTWISE: dict[str, list[Sample]] = {
    "Exp": [
        *unary(ops.exp, np.exp, "efglDF"),
        specials(ops.exp, np.exp, [-INF, -800.0, -0.0, 0.0, 700.0, INF, NAN]),
    ],
    "Log": [
        *unary(ops.log, np.log, "efgl", positive=True),
        sample(ops.log, np.log, numbers((2, 2), "D", positive=True)),
    ],
    "Sqrt": [
        *unary(ops.sqrt, np.sqrt, "efgl", positive=True),
        sample(ops.sqrt, np.sqrt, numbers((2, 2), "D", positive=True)),
    ],
    "Sin": unary(ops.sin, np.sin, "efglDF"),
    "Cos": unary(ops.cos, np.cos, "efglDF"),
    "Tanh": [
        *unary(ops.tanh, np.tanh, "efglDF"),
        specials(ops.tanh, np.tanh, [-INF, -1000.0, -0.0, 0.0, 20.0, INF, NAN]),
        specials(ops.tanh, np.tanh, np.array([-100.0, 100.0], "f"), name="saturated"),
    ],
    "ReLU": [
        *unary(ops.relu, lambda a: np.maximum(a, 0), "efgl"),
        specials(ops.relu, lambda a: np.maximum(a, 0), EVERYTHING),
    ],
    "Abs": [
        *unary(ops.absolute, np.abs, "efglDF"),
        specials(ops.absolute, np.abs, EVERYTHING),
        sample(ops.absolute, np.abs, np.array([0j, 3 + 4j]), name="complex zero", smooth=False),
    ],
    "Sign": [*unary(ops.sign, np.sign, "efgl"), specials(ops.sign, np.sign, [-INF, -2.5, -0.0, 0.0, 3.0, INF])],
    "Conj": unary(ops.conj, np.conj, "fDF"),
    "Real": [
        *[sample(ops.real, np.real, numbers(shape, "D")) for shape in [(), (0,), (0, 3), (3, 0), (4,), (2, 3)]],
        sample(ops.real, np.real, numbers((2, 3), "F")),
    ],
    "Cast": [
        *unary(lambda a: ops.astype(a, np.float64), lambda a: a.astype(np.float64), "efl", name="to d"),
        *[
            sample(
                lambda a, to=to: ops.astype(a, to),
                lambda a, to=to: a.astype(to),
                numbers((2, 3), code),
                name=f"to {to}",
                exact=lambda a: a,
            )
            for code, to in ["df", "de", "fe", "ef", "dD", "fF", "DF", "lf", "dg"]
        ],
    ],
}

# ---------------------------------------------------------------------------------------------- powers


def power_samples() -> list[Sample]:
    table = binary(ops.power, np.power, "ee ff fd df DD", positive="a")
    table += [
        sample(lambda a: ops.power(1.5 + 1j, a), lambda a: np.power(1.5 + 1j, a), numbers((3,)), name="complex base"),
        sample(ops.power, np.power, np.array([3, 2]), np.array([2, 5])),
        sample(ops.power, np.power, np.array([0.0, 0.0, 2.0]), np.array([1.0, 2.0, 0.0]), name="zeros", smooth=False),
    ]
    return table


def power_scalar_samples() -> list[Sample]:
    table = unary(lambda a: ops.power_scalar(a, 3), lambda a: a**3, "efglD", name="3")
    for n in [0, 1, 2, 4, 0.5, 1.5, -1, -2, -0.5, 2.0, 1.0, 0.0]:
        for code in "dfD":
            table.append(
                sample(
                    lambda a, n=n: ops.power_scalar(a, n),
                    lambda a, n=n: a**n,
                    numbers((2, 3), code, positive=True),
                    name=repr(n),
                )
            )
    table += [
        sample(lambda a: a**2, lambda a: a**2, numbers((2, 3)), name="negative base"),
        sample(lambda a: a**-3, lambda a: a**-3, numbers((2, 3)), name="negative base -3"),
        sample(lambda a: a ** (1 + 1j), lambda a: a ** (1 + 1j), numbers((2,), "D", positive=True), name="complex"),
        sample(lambda a: a**2, lambda a: a**2, np.array([0, 3, -4]), name="integers"),
        sample(lambda a: a**3, lambda a: a**3, np.array([0.0, -0.0, 2.0]), name="at zero"),
        sample(lambda a: a**1.5, lambda a: a**1.5, np.array([0.0, 2.0]), name="at zero 1.5", smooth=False),
        specials(lambda a: a**2, lambda a: a**2, [-INF, 0.0, INF, NAN]),
    ]
    return table


POWERS: dict[str, list[Sample]] = {
    "EWisePow": power_samples(),
    "PowerScalar": power_scalar_samples(),
    "RPowerScalar": [
        *unary(lambda a: ops.power(2.5, a), lambda a: np.power(2.5, a), "efg", name="2.5"),
        sample(lambda a: 3**a, lambda a: np.power(3, a), np.array([0, 1, 4]), name="integers"),
        sample(lambda a: 3**a, lambda a: np.power(3, a), numbers((2, 2), "f"), name="int 3"),
        sample(lambda a: 0.5**a, lambda a: 0.5**a, numbers((2, 2), "D"), name="0.5"),
        sample(lambda a: 1**a, lambda a: 1**a, numbers((3,)), name="1"),
    ],
    "ZeroSafeMul": [
        *binary(ops.zero_safe_multiply, np.multiply, "ff ee fd DD"),
        sample(
            ops.zero_safe_multiply,
            lambda a, b: np.array([0.0, -0.0, 6.0, INF]),
            np.array([0.0, -0.0, 2.0, 1.0]),
            np.array([INF, NAN, 3.0, INF]),
            name="infinite",
            smooth=False,
        ),
    ],
}

# ---------------------------------------------------------------------------------------------- reductions


def as_floats(a: Any) -> Any:
    return a if a.dtype.kind in "fc" else a.astype(np.float64)


def np_logsumexp(a: Any, axes: Any, keepdims: bool = False) -> Any:
    return np.logaddexp.reduce(as_floats(a), axis=axes, keepdims=keepdims)


def np_logsoftmax(a: Any, axes: Any = -1) -> Any:
    below = as_floats(a) - np.max(as_floats(a), axes, keepdims=True, initial=-INF)
    return below - np_logsumexp(below, axes, True)


def np_softmax(a: Any, axes: Any = -1) -> Any:
    return np.exp(np_logsoftmax(a, axes))


def over_axes(function: Any, reference: Any, dtypes: str = "efgl") -> list[Sample]:
    """Functions of (a, axes) that keep the shape."""
    table = [
        sample(lambda a, x=axes: function(a, x), lambda a, x=axes: reference(a, x), numbers(shape), name=f"axes={axes}")
        for shape, axes in [*REDUCED, *NO_ELEMENTS]
    ]
    return table + [
        sample(lambda a: function(a, -1), lambda a: reference(a, -1), numbers((2, 3), code)) for code in dtypes
    ]


SUM = reduction(
    ops.summation,
    lambda a, axes, keepdims: np.sum(a, axes, keepdims=keepdims),
    [*REDUCED, *NO_ELEMENTS],
    "efgliBDF",
)
FAR = np.array([[1000.0, 999.0, -1000.0], [-1e30, 0.0, 1.0]])

REDUCTIONS: dict[str, list[Sample]] = {
    "Summation": [
        *SUM,
        sample(ops.summation, np.sum, np.array([True, False, True]), name="booleans"),
        sample(lambda a: a.sum(axis=0), lambda a: a.sum(axis=0), numbers((2, 3)), name="method"),
        specials(lambda a: a.sum(), np.sum, [1.0, INF, NAN]),
    ],
    "Max": [
        *reduction(
            ops.max,
            lambda a, axes, keepdims: np.max(a, axes, keepdims=keepdims),
            REDUCED,
            "efgl",
        ),
        specials(lambda a: a.max(), np.max, [1.0, 1.0, 0.0], name="ties"),
        specials(lambda a: a.max(1), lambda a: a.max(1), [[1.0, NAN], [INF, INF], [-INF, -INF]]),
        specials(
            lambda a: a.max((0, 1), keepdims=True), lambda a: a.max(keepdims=True), [[1, 1], [0, 1]], name="int ties"
        ),
    ],
    "LogSumExp": [
        *reduction(ops.logsumexp, np_logsumexp, [*REDUCED, *NO_ELEMENTS], "efgl"),
        sample(lambda a: ops.logsumexp(a, 1), lambda a: np_logsumexp(a, 1), FAR, name="far apart"),
        specials(lambda a: ops.logsumexp(a, 1), lambda a: np_logsumexp(a, 1), [[-INF, 0.0], [-INF, -INF]]),
    ],
    "Softmax": [
        *over_axes(ops.softmax, np_softmax),
        sample(ops.softmax, np_softmax, FAR[:1], name="far apart"),
        specials(ops.softmax, np_softmax, [[-INF, 0.0, 1.0]]),
    ],
    "LogSoftmax": [
        *over_axes(ops.logsoftmax, np_logsoftmax),
        sample(ops.logsoftmax, np_logsoftmax, FAR[:1], name="far apart"),
        specials(ops.logsoftmax, np_logsoftmax, [[-INF, 0.0, 1.0]]),
    ],
}


def np_slope_of_softmax(g: Any, a: Any, axes: Any) -> Any:
    p = np_softmax(a, axes)
    return p * (g - np.sum(g * p, axes, keepdims=True))


def slopes_of_softmax() -> list[Sample]:
    """Their derivatives are right where the second input is a softmax."""
    cases = [(-1, (2, 3), "dd"), (0, (2, 3), "ff"), ((0, 2), (2, 3, 2), "dd"), (-1, (2, 3), "fd"), (-1, (0, 3), "dd")]
    table = [
        sample(
            lambda g, a, axes=axes: SlopeOfSoftmax(axes)(g, ops.softmax(a, axes)),
            lambda g, a, axes=axes: np_slope_of_softmax(g, a, axes),
            numbers(shape, codes[0], seed=1),
            numbers(shape, codes[1]),
        )
        for axes, shape, codes in cases
    ]
    slope, np_slope = table[0].function, partial(np_slope_of_softmax, axes=-1)
    return [*table, sample(slope, np_slope, numbers((1, 3), seed=1), 5 * np.array([[0.0, 1.0, -1.0]]), name="sharp")]


def np_softmax_loss(logits: Any, targets: Any) -> Any:
    """Also where the targets do not sum to 1: their differences lead there."""
    losses = np_logsumexp(logits, -1) - np.sum(targets * as_floats(logits), -1)
    return losses.mean(dtype=np.result_type(as_floats(logits), targets))


def loss_samples() -> list[Sample]:
    smooth_rows = np.array([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]])
    table = []
    for code in "defl":
        for targets in [np.eye(3)[[2, 0]], smooth_rows]:
            dtype = np.float64 if code == "l" else code
            table.append(sample(ops.softmax_loss, np_softmax_loss, numbers((2, 3), code), targets.astype(dtype)))
    table += [
        sample(ops.softmax_loss, np_softmax_loss, numbers((3,)), smooth_rows[0]),
        sample(ops.softmax_loss, np_softmax_loss, numbers((2, 2, 3)), np.stack([smooth_rows, smooth_rows[::-1]])),
        sample(ops.softmax_loss, np_softmax_loss, numbers((2, 1)), np.ones((2, 1))),
        sample(ops.softmax_loss, np_softmax_loss, FAR[:1], smooth_rows[:1], name="far apart"),
        *[by_labels(np.array([2, 0]), numbers((2, 3), code)) for code in "defl"],
        by_labels(np.array(1, np.uint8), numbers((3,))),
        by_labels(np.array([[0, 2], [2, 1]]), numbers((2, 2, 3))),
        by_labels(np.array([2]), FAR[:1], name="labels, far apart"),
    ]
    return table


def by_labels(labels: Any, logits: Any, name: str = "labels") -> Sample:
    return sample(
        lambda a: ops.softmax_loss(a, labels),
        lambda a: np_softmax_loss(a, np.eye(3, dtype=as_floats(a).dtype)[labels]),
        logits,
        name=name,
    )


# ---------------------------------------------------------------------------------------------- matrix products

PRODUCTS = [
    ((3,), (3,)),
    ((1,), (1,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3, 4)),
    ((1, 1), (1, 1)),
    ((3, 2, 3), (3, 2)),
    ((2, 3), (3, 3, 2)),
    ((2, 2, 3), (2, 3, 2)),
    ((1, 2, 3), (3, 3, 2)),
    ((3, 2, 3), (1, 3, 2)),
    ((2, 1, 2, 2), (3, 2, 1)),
    ((3, 2, 1), (2, 1, 1, 2)),
    ((3,), (2, 3, 2)),
    ((2, 2, 3), (3,)),
    ((2, 1, 2, 3), (3,)),
    ((3,), (2, 1, 3, 2)),
    ((2, 1, 2, 3), (3, 2)),
    ((0,), (0,)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
    ((2, 3), (3, 0)),
    ((0, 3), (3,)),
    ((2, 0), (0,)),
    ((0,), (0, 3)),
    ((3,), (3, 0)),
    ((0, 2, 3), (3, 2)),
    ((2, 0, 3), (3, 2)),
    ((2, 2, 0), (0, 3)),
    ((2, 2, 3), (3, 0)),
    ((0, 2, 3), (0, 3, 2)),
    ((0, 2, 3), (1, 3, 2)),
    ((0, 2, 3), (3,)),
    ((2, 3), (0, 3, 2)),
]


def product(shapes: Any, codes: str = "d") -> Sample:
    a, b = numbers(shapes[0], codes[0], seed=1), numbers(shapes[1], codes[-1], seed=2)
    return sample(ops.matmul, np.matmul, a, b)


MATMUL = [product(shapes) for shapes in PRODUCTS] + [
    product(shapes, codes)
    for codes in ["ee", "ff", "gg", "fd", "df", "ef", "ll", "lf", "DD", "Dd", "FF", "fD"]
    for shapes in [((2, 3), (3, 2)), ((2, 2, 3), (3,))]
]

# ---------------------------------------------------------------------------------------------- shapes and indices


def shaped(function: Any, reference: Any, *cases: Any) -> list[Sample]:
    """Functions of (a, argument): cases are (shape, argument); the first that is not empty also in other dtypes."""

    def one(shape: Any, argument: Any, code: str = "d") -> Sample:
        return sample(
            lambda a: function(a, argument),
            lambda a: reference(a, argument),
            numbers(shape, code),
            name=str(argument),
        )

    first = next(case for case in cases if np.prod(case[0]) > 1)
    return [one(*case) for case in cases] + [one(*first, code) for code in "efglDF"]


def indexed(shape: tuple[int, ...], index: Any, code: str = "d") -> Sample:
    return sample(
        lambda a: ops.getitem(a, index),
        lambda a: a[index].copy(),
        numbers(shape, code),
        name=" ".join(repr(index).split()),
    )


INDICES = [
    ((4,), 0),
    ((4,), -1),
    ((4,), slice(1, 3)),
    ((4,), slice(None, None, -2)),
    ((4,), slice(2, 2)),
    ((4,), [0, 0, 2]),
    ((4,), []),
    ((4,), np.array([[3, 3], [0, -1]])),
    ((4,), np.array([True, False, True, True])),
    ((4,), np.zeros(4, bool)),
    ((4,), None),
    ((4,), ...),
    ((), ()),
    ((), ...),
    ((), None),
    ((), True),
    ((), np.array(False)),
    ((1,), 0),
    ((2, 3), (1, 2)),
    ((2, 3), (0, slice(None, None, -1))),
    ((2, 3), (slice(None), [2, 0, 2])),
    ((2, 3), ([0, 1, 0], [2, 1, 2])),
    ((2, 3), (np.array([[0], [1]]), [0, 0])),
    ((2, 3), (..., -1)),
    ((2, 3), (None, 1, None, slice(1, None))),
    ((2, 3), np.array([[True, False, True], [False, False, True]])),
    ((2, 3), (np.array([True, False]), slice(0, 2))),
    ((2, 1, 3), ([1, 1], 0, slice(None))),
    ((2, 1, 3), ([1, 1], slice(None), [0, 0])),
    ((2, 1, 3), (slice(None), 0, np.array(2))),
    ((2, 1, 3), (np.int64(1), ..., np.int32(-1))),
    ((0,), slice(None)),
    ((0,), np.zeros(0, bool)),
    ((0, 3), np.zeros((0, 3), bool)),
    ((0, 3), (slice(None), 1)),
    ((3, 0), 2),
    ((3, 0), ([0, 0], slice(None))),
]


def add_at(shape: tuple[int, ...], indices: list[Any], code: str = "d") -> Sample:
    def reference(*arrays: Any) -> Any:
        out = np.zeros(shape, np.result_type(*arrays))
        for index, array in zip(indices, arrays, strict=True):
            np.add.at(out, index, array)
        return out

    arrays = [numbers(np.empty(shape)[index].shape, code, seed=i) for i, index in enumerate(indices)]
    return sample(
        ops.AddAt(shape, np.dtype(code), indices), reference, *arrays, name=" ".join(f"{shape} {indices}".split())
    )


GATHERED: list[tuple[Any, ...]] = [
    ((4,), np.array([0, 3, 3, -1])),
    ((4,), np.array(2)),
    ((3, 4), slice(1, None), np.array([[0, 1], [1, 3]])),
    ((3, 4), np.array([0, 2]), np.array([1, 1])),
    ((2, 3, 4), np.array([1, 0]), slice(None), np.array([3, 3])),
    ((3, 4), None, np.array([1, 1]), slice(0, 2)),
    ((4,), np.array([], np.intp)),
]
"""A shape and an index."""


def _as_inputs(index: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    arrays = [needle.Tensor(part, requires_grad=False) for part in index if isinstance(part, np.ndarray)]
    return ["input" if isinstance(part, np.ndarray) else part for part in index], arrays


def gathered(shape: tuple[int, ...], *index: Any, code: str = "d") -> Sample:
    parts, arrays = _as_inputs(index)
    name = " ".join(f"{shape} {index} {code}".split())
    return sample(lambda a: ops.GatherAt(parts)(a, *arrays), lambda a: a[index], numbers(shape, code), name=name)


def scattered(shape: tuple[int, ...], *index: Any, code: str = "d") -> Sample:
    def reference(a: Any) -> Any:
        out = np.zeros(shape, a.dtype)
        np.add.at(out, index, a)
        return out

    parts, arrays = _as_inputs(index)
    name = " ".join(f"{shape} {index} {code}".split())
    a = numbers(np.empty(shape)[index].shape, code)
    return sample(lambda a: ops.ScatterAt(shape, a.dtype, parts)(a, *arrays), reference, a, name=name)


def assigned(index: Any, shape: tuple[int, ...], value: tuple[int, ...], codes: str = "dd", **more: Any) -> Sample:
    def reference(a: Any, v: Any) -> Any:
        out = a.copy()
        out[index] = v
        return out

    a, v = numbers(shape, codes[0], seed=1), numbers(value, codes[1], seed=2)
    return sample(ops.SetItem(index), reference, a, v, name=f"[{index}]", **more)


SETTING = [
    assigned(..., (), ()),
    assigned((), (), ()),
    assigned(..., (2, 3), (3,)),
    assigned(slice(None), (0, 3), (0, 3)),
    assigned(slice(None), (3, 0), ()),
    assigned(1, (4,), ()),
    assigned(-1, (2, 3), (3,)),
    assigned((0, -2), (2, 3), ()),
    assigned(slice(None, None, -2), (4,), (2,)),
    assigned((slice(None), 1), (2, 3), (2,)),
    assigned((None, slice(1, 3)), (4,), (1, 2)),
    assigned((..., slice(0, 1)), (2, 1, 3), (2, 1, 1)),
    assigned(np.array([2, 0]), (4,), (2,)),
    assigned(np.array([2, 0, 2]), (4, 2), (3, 2)),
    assigned(np.array([1, 1]), (2, 3), ()),
    assigned((np.array([[0], [1]]), np.array([0, 2])), (2, 3), (2, 2)),
    assigned((slice(None), np.array([0, 2])), (2, 3), (2, 2)),
    assigned(np.array([True, False, True, False]), (4,), (2,)),
    assigned(np.array([[True, False, True], [False, True, False]]), (2, 3), ()),
    assigned(np.zeros((4,), bool), (4,), (0,)),
    *[assigned(slice(1, 3), (4,), (2,), codes) for codes in ["ff", "fd", "df", "dl", "DD", "Dd", "ee"]],
    assigned(1, (4,), (), "ld", smooth=False),
]


SHAPING: dict[str, list[Sample]] = {
    "Transpose": shaped(
        ops.transpose,
        lambda a, axes: np.swapaxes(a, *(axes or (-2, -1))),
        ((2, 3), None),
        ((2, 1, 3), None),
        ((2, 1, 3), (0, 2)),
        ((2, 1, 3), (-3, 1)),
        ((2, 1, 3), (1, 1)),
        ((4,), (0, 0)),
        ((1, 1), None),
        ((0, 3), None),
        ((3, 0), (0, 1)),
    ),
    "Reshape": shaped(
        ops.reshape,
        np.reshape,
        ((2, 3), (3, 2)),
        ((2, 3), -1),
        ((2, 3), (-1, 2)),
        ((2, 3), 6),
        ((2, 1, 3), (6,)),
        ((), (1, 1)),
        ((), ()),
        ((1, 1), ()),
        ((0,), (3, 0)),
        ((0, 3), (0,)),
        ((3, 0), (0, 5)),
    ),
    "BroadcastTo": shaped(
        ops.broadcast_to,
        np.broadcast_to,
        ((3,), (2, 3)),
        ((2, 1), (2, 3)),
        ((2, 1, 3), (2, 4, 3)),
        ((1, 3), (2, 2, 3)),
        ((), (2, 3)),
        ((), ()),
        ((1,), (1,)),
        ((1,), 3),
        ((2, 3), (2, 3)),
        ((3,), (0, 3)),
        ((1,), (0,)),
        ((), (0, 3)),
        ((0,), (2, 0)),
        ((1, 1), (3, 0)),
    ),
    "GetItem": [indexed(*case) for case in INDICES]
    + [indexed((4,), [0, 0, 2], code) for code in "efglDF"]
    + [
        sample(
            lambda a: a[needle.Tensor([1, 0, 1]), needle.Tensor(2)],
            lambda a: a[[1, 0, 1], 2],
            numbers((2, 3)),
            name="indices in tensors",
        )
    ],
    "GatherAt": [gathered(shape, *index) for shape, *index in GATHERED]
    + [gathered((4,), np.array([0, 0, 2]), code=code) for code in "efgDF"],
    "ScatterAt": [scattered(shape, *index) for shape, *index in GATHERED]
    + [scattered((4,), np.array([0, 0, 2]), code=code) for code in "fD"],
    "AddAt": [
        add_at((4,), [slice(1, 3)]),
        add_at((4,), [np.array([0, 0, 2])]),
        add_at((4,), [np.array([0, 0, 2]), 0, slice(None)]),
        add_at((2, 3), [(slice(None), np.array([2, 2])), (0, slice(0, 2))]),
        add_at((2, 3), [np.array([[True, False, True], [False, False, True]])]),
        add_at((), [()]),
        add_at((0, 3), [(slice(None), 1)]),
        add_at((3, 0), [np.array([0, 0])]),
        add_at((4,), [np.array([0, 0, 2]), 0], "f"),
        add_at((4,), [np.array([0, 0, 2]), 0], "D"),
    ],
}

# ---------------------------------------------------------------------------------------------- choosing, tuples


def np_masked(a: Any, mask: Any) -> Any:
    return np.where(mask, a, a.dtype.type(0))


def choosing(shapes: Any, codes: str = "dd") -> Sample:
    condition = numbers(shapes[0], bool)
    a, b = numbers(shapes[1], codes[0], seed=1), numbers(shapes[2], codes[1], seed=2)
    return sample(ops.where, np.where, condition, a, b)


def masking(shape: tuple[int, ...], mask_shape: tuple[int, ...], code: str = "d") -> Sample:
    return sample(ops.masked, np_masked, numbers(shape, code), numbers(mask_shape, bool, seed=1))


CHOOSING: dict[str, list[Sample]] = {
    "Where": [
        choosing(shapes)
        for shapes in [
            ((), (), ()),
            ((2, 3), (2, 3), (2, 3)),
            ((2, 1), (3,), ()),
            ((), (2, 3), (3,)),
            ((4, 1, 1), (2, 1), (1, 3)),
            ((0,), (0,), ()),
            ((1,), (0, 3), (3,)),
            ((3, 1), (0,), ()),
        ]
    ]
    + [choosing(((2, 3), (2, 3), (3,)), codes) for codes in ["ee", "ff", "fd", "ll", "lf", "DD", "Dd"]]
    + [
        sample(lambda a: ops.where(a > 0, a, 0), lambda a: np.where(a > 0, a, 0), numbers((3,), "f"), name="a number"),
        sample(
            ops.where,
            np.where,
            np.array([True, False, True, False]),
            np.array([NAN, INF, 1.0, NAN]),
            np.array([INF, 2.0, NAN, -INF]),
            name="special",
            smooth=False,
        ),
    ],
    "Masked": [
        masking(*shapes)
        for shapes in [
            ((), ()),
            ((4,), (4,)),
            ((2, 3), (2, 3)),
            ((2, 3), (3,)),
            ((3,), (2, 3)),
            ((0, 3), (0, 3)),
            ((3, 0), (1,)),
        ]
    ]
    + [masking((2, 3), (2, 3), code) for code in "efglDF"]
    + [
        sample(
            ops.masked,
            np_masked,
            np.array([NAN, INF, -0.0, NAN]),
            np.array([False, False, True, True]),
            name="special",
            smooth=False,
        )
    ],
}


def member(index: int, *shapes: tuple[int, ...], codes: str = "ddd") -> Sample:
    arrays = [numbers(shape, code, seed=i) for i, (shape, code) in enumerate(zip(shapes, codes, strict=False))]
    return sample(
        lambda *tensors: ops.make_tuple(*tensors)[index],
        lambda *members: members[index].copy(),
        *arrays,
        name=f"[{index}]",
    )


def together(*arrays: Any) -> Sample:
    return sample(ops.make_tuple, lambda *members: tuple(m.copy() for m in members), *arrays)


TUPLES: dict[str, list[Sample]] = {
    "MakeTensorTuple": [
        together(numbers((2, 3))),
        together(numbers((2, 3)), numbers(()), numbers((0, 3))),
        together(numbers((1,), "f"), numbers((3,), "l"), numbers((2,), "D")),
        together(numbers((3, 0)), numbers((2,), "e")),
    ],
    "TupleGetItem": [
        member(0, (2, 3)),
        member(1, (2, 3), (), (0, 3)),
        member(-1, (2, 3), (), (0, 3)),
        member(-2, (3, 0), (1,), (2,)),
        member(1, (2,), (3,), codes="fl"),
        member(1, (2,), (3,), codes="De"),
    ],
    "SoftmaxLoss": loss_samples(),
    "SlopeOfSoftmax": slopes_of_softmax(),
    "LessTargets": [
        *[
            sample(LESS_TARGETS, np.subtract, numbers(shape, code) / 8, numbers(shape, code, seed=1))  # none near 1
            for shape, code in [((2, 3), "d"), ((2, 3), "f"), ((2, 3), "e"), ((0, 3), "d"), ((3, 0), "d"), ((3,), "d")]
        ],
        sample(
            LESS_TARGETS, np.subtract, np.array([[0.0, 1.0], [0.5, 0.5]]), np.eye(2)[[1, 0]], name="sharp", smooth=False
        ),
    ],
}

# ---------------------------------------------------------------------------------------------- without a gradient

COMPARED = np.array([[1.0, 2.0, NAN], [INF, -0.0, 3.0]]), np.array([1.0, 3.0, NAN])
COMPARISONS = [
    (ops.equal, np.equal),
    (ops.not_equal, np.not_equal),
    (ops.less, np.less),
    (ops.less_equal, np.less_equal),
    (ops.greater, np.greater),
    (ops.greater_equal, np.greater_equal),
]
BITS = [
    (lambda a, b: a & b, np.bitwise_and),
    (lambda a, b: a | b, np.bitwise_or),
    (lambda a, b: a ^ b, np.bitwise_xor),
]

DISCRETE: dict[str, list[Sample]] = {
    "Discrete": [
        *[sample(f, g, *COMPARED, name=g.__name__) for f, g in COMPARISONS],
        *[
            sample(lambda a, f=f: f(a, 2), lambda a, g=g: g(a, 2), np.array([1, 2, 3]), name=f"{g.__name__} 2")
            for f, g in COMPARISONS
        ],
        *[sample(f, g, numbers(s), numbers(t)) for f, g in COMPARISONS[:1] for s, t in BROADCAST],
        *[sample(f, g, np.array([True, False]), np.array([[True], [False]])) for f, g in BITS],
        *[sample(f, g, np.array([12, 10]), np.array([10, 6]), name=g.__name__) for f, g in BITS],
        sample(lambda a, b: a << b, np.left_shift, np.array([3, 5]), np.array([2, 1])),
        sample(lambda a, b: a >> b, np.right_shift, np.array([12, -5]), np.array([2, 1])),
        sample(lambda a: ~a, np.invert, np.array([True, False])),
        sample(lambda a: ~a, np.invert, np.array([3, 0, -1])),
        sample(lambda a: 6 & a, lambda a: 6 & a, np.array([3, 5, 12])),
        sample(ops.Discrete(np.argmax, axis=1), lambda a: np.argmax(a, axis=1), numbers((2, 3))),
    ],
    "DiscreteTuple": [
        sample(ops.DiscreteTuple(np.nonzero), np.nonzero, np.array([[0.0, 1.0], [2.0, 0.0]])),
        sample(ops.DiscreteTuple(np.nonzero), np.nonzero, np.zeros((0, 2))),
    ],
}

CORE: dict[str, list[Sample]] = {
    **ARITHMETIC,
    **ELEMENTWISE,
    **POWERS,
    **REDUCTIONS,
    "MatMul": MATMUL,
    **SHAPING,
    **CHOOSING,
    **TUPLES,
    "SetItem": SETTING,
    **DISCRETE,
}
