"""Points where frameworks have given NaN, a wrong number or a wrong shape, and what is given there in every mode.

Each is a program `lambda np, x: ...` that makes one number, its gradient at a point, and its second derivatives. It is
differentiated by `backward()`, by `grad`, along each axis in forward mode, on a tape and in batches, and to second
order in every mixture of these; through needle.numpy and through NumPy's own functions, and in smaller dtypes. What one
mode or one operation alone has to say stands in test_edges.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from needle import Tensor, ops
from numpy.testing import assert_allclose

INF, NAN, PI = np.inf, np.nan, np.pi
DIGITS = {"e": 2e-3, "f": 2e-6, "d": 1e-13}


class _NoNaN:
    """In place of a derivative that does not exist: what is given is finite, or infinite, but no NaN."""


NO_NAN = _NoNaN()


@dataclass(frozen=True, eq=False)
class Edge:
    program: Callable[..., Any]
    point: Any
    gradient: Any
    second: Any = NO_NAN
    """The Hessian, or its diagonal where all else is 0; None where nobody looks at it."""
    dtypes: str = "df"
    warns: bool = False
    """Whether NumPy warns of what is computed: of a root's slope at 0, of a branch that is not taken."""


def at(point: Any, dtype: str) -> Any:
    point = np.asarray(point)
    return point.astype(dtype.upper() if point.dtype.kind == "c" else dtype)


def unit_vectors(x: Any) -> list[Any]:
    return list(np.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape))


# ---------------------------------------------------------------------------------------------------------- the modes


def by_backward(f: Any, x: Any) -> Any:
    leaf = Tensor(x)
    f(leaf).backward()
    return leaf.grad.numpy().conj()


def along_each_axis(f: Any, x: Any) -> Any:
    slopes = [needle.jvp(f, (x,), (unit,))[1] for unit in unit_vectors(x)]
    if x.dtype.kind == "c":
        slopes = [s - 1j * needle.jvp(f, (x,), (1j * u,))[1] for s, u in zip(slopes, unit_vectors(x), strict=True)]
    return np.array(slopes, x.dtype).reshape(x.shape)


def in_reverse_batches(f: Any, x: Any) -> Any:
    rows = needle.jacobian(lambda x: f(x) * np.array([1, 2], np.int8), mode="reverse")(x)
    assert_allclose(rows[1], 2 * rows[0], rtol=1e-6)
    return rows[0]


def in_forward_batches(f: Any, x: Any) -> Any:
    return along_each_axis(f, x) if x.dtype.kind == "c" else needle.jacobian(f, mode="forward")(x)


FIRST = {
    "backward": by_backward,
    "grad": lambda f, x: needle.grad(f)(x),
    "forward": along_each_axis,
    "a tape": lambda f, x: needle.jacobian(lambda x: f(x).reshape(1), mode="reverse")(x)[0],
    "reverse batches": in_reverse_batches,
    "forward batches": in_forward_batches,
}


def by_rows(product: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def hessian(f: Any, x: Any) -> Any:
        return np.array([product(f, x, unit) for unit in unit_vectors(x)], x.dtype).reshape(x.shape + x.shape)

    return hessian


def backward_twice(f: Any, x: Any, unit: Any) -> Any:
    leaf = Tensor(x)
    y = f(leaf)
    y.backward()
    (leaf.grad * unit).sum().backward()
    return leaf.grad.numpy()


SECOND = {
    "backward twice": by_rows(backward_twice),
    "hessian": lambda f, x: needle.hessian(f)(x),
    "hvp": by_rows(lambda f, x, unit: needle.hvp(f, (x,), (unit,))),
    "grad of grad": by_rows(lambda f, x, unit: needle.grad(lambda x: (needle.grad(f)(x) * unit).sum())(x)),
    "forward over reverse": by_rows(lambda f, x, unit: needle.jvp(needle.grad(f), (x,), (unit,))[1]),
    "reverse over forward": by_rows(lambda f, x, unit: needle.grad(lambda x: needle.jvp(f, (x,), (unit,))[1])(x)),
    "reverse over reverse": lambda f, x: needle.jacobian(needle.grad(f), mode="reverse")(x),
    "forward over forward": lambda f, x: needle.jacobian(needle.jacobian(f, mode="forward"), mode="forward")(x),
}
FEW = {"backward", "forward", "hvp"}


def expected(value: Any, shape: tuple[int, ...], order: int) -> Any:
    if value is None or value is NO_NAN:
        return value
    value = np.asarray(value)
    if order == 1 or (shape and value.shape == shape + shape):
        return np.broadcast_to(value, shape * order)
    return np.diag(np.broadcast_to(value, shape).ravel()).reshape(shape + shape)


def check(edge: Edge) -> None:
    failures = []
    for dtype in edge.dtypes:
        x = at(edge.point, dtype)
        for module, order in [(nnp, 1), (nnp, 2), (np, 1), (np, 2)]:
            value = expected(edge.gradient if order == 1 else edge.second, x.shape, order)
            modes = {} if value is None else FIRST if order == 1 else SECOND
            for name, mode in modes.items():
                if name not in FEW and (dtype != "d" or module is np):
                    continue
                try:
                    found = mode(lambda x, np=module: edge.program(np, x), x)
                    assert found.dtype == x.dtype
                    assert found.shape == x.shape * order
                    if value is NO_NAN:
                        assert not np.isnan(found).any()
                    else:
                        assert_allclose(found, value, rtol=DIGITS[dtype], atol=DIGITS[dtype])
                except Exception as failure:
                    failure.add_note(f"by {name} in {x.dtype} through {module.__name__}")
                    failures.append(failure)
    if failures:
        raise ExceptionGroup(f"{len(failures)} ways to differentiate", failures)


# ---------------------------------------------------------------------------------------------------------- the table


def same(programs: list[Callable[..., Any]], *facts: Any, **more: Any) -> list[Edge]:
    """Programs that have one derivative at one point."""
    return [Edge(program, *facts, **more) for program in programs]


def zeros(*shape: int) -> Any:
    return np.zeros(shape)


def symmetric(size: int, *entries: tuple[int, int, float]) -> Any:
    """A Hessian with these second derivatives (i, j, value)."""
    h = np.zeros((size, size))
    for i, j, value in entries:
        h[i, j] = h[j, i] = value
    return h


def of_2x2(*entries: tuple[int, int, float]) -> Any:
    return symmetric(4, *entries).reshape(2, 2, 2, 2)


LENGTHS = [
    Edge(lambda np, x: np.linalg.norm(x), zeros(3), 0, 0),
    Edge(lambda np, x: np.linalg.norm(x) ** 2, zeros(3), 0),
    Edge(lambda np, x: np.linalg.norm(x), zeros(0), 0, 0),
    Edge(lambda np, x: np.linalg.norm(x, axis=1).sum(), [[0.0, 0.0], [3.0, 4.0]], [[0, 0], [0.6, 0.8]]),
    Edge(lambda np, x: np.linalg.norm(x, axis=0, keepdims=True).sum(), [[0.0, 3.0], [0.0, 4.0]], [[0, 0.6], [0, 0.8]]),
    Edge(lambda np, x: np.linalg.norm(x, axis=-1).sum(), [[0j, 0j], [3j, 4]], [[0, 0], [-0.6j, 0.8]], None),
    *[Edge(lambda np, x, p=p: np.linalg.norm(x, p), zeros(3), 0) for p in [1, 2, 3, 1.5, 0.5, 0, INF, -INF]],
    *[Edge(lambda np, x, p=p: np.linalg.norm(x, p), [0.0, 2.0, 0.0], [0, 1, 0]) for p in [1, 2, 3, 1.5, INF]],
    *[Edge(lambda np, x, p=p: np.linalg.norm(x, p), zeros(2, 2), 0) for p in ["fro", "nuc", 1, -1, 2, -2, INF, -INF]],
    Edge(lambda np, x: np.linalg.vector_norm(x, axis=(0, 1)), zeros(2, 2), 0),
    Edge(lambda np, x: np.linalg.matrix_norm(x), zeros(2, 2), 0),
    Edge(lambda np, x: np.hypot(x[0], x[1]), [0.0, -0.0], 0),
    Edge(lambda np, x: np.hypot(x[0], x[1]), [0.0, -2.0], [0, -1], [0.5, 0], dtypes="dfe"),
    Edge(lambda np, x: np.hypot(x, 0.0).sum(), [0.0, 3.0], [0, 1]),
    Edge(lambda np, x: np.hypot(x[0], x[1]) ** 2, [0.0, 0.0], 0),
    Edge(lambda np, x: np.arctan2(x[0], x[1]), [0.0, 0.0], 0),
    Edge(lambda np, x: np.arctan2(x[0], x[1]), [0.0, 1.0], [1, 0], symmetric(2, (0, 1, -1)), dtypes="dfe"),
    Edge(lambda np, x: np.angle(x), 0j, 0, None),
    Edge(lambda np, x: np.angle(x).sum(), [0.0, -2.0, 1e-30, NAN], 0, 0),
    Edge(lambda np, x: np.abs(x).sum(), [0j, 3 + 4j], [0, 0.6 - 0.8j], None),
    Edge(lambda np, x: np.abs(x).sum(), [0.0, -0.0, 2.0, -3.0], [0, 0, 1, -1], 0, dtypes="dfe"),
    Edge(lambda np, x: (abs(x) + np.fabs(x) + np.sign(x)).sum(), [0.0, -1.0], [0, -2], 0),
    Edge(lambda np, x: ops.relu(x).sum(), [0.0, -0.0, -1.0, 2.0], [0, 0, 0, 1], 0, dtypes="dfe"),
]

SPREADS = [
    Edge(lambda np, x: np.std(x), np.ones(4), 0, dtypes="dfe"),
    Edge(lambda np, x: np.std(x, ddof=1), np.ones(4), 0),
    Edge(lambda np, x: np.std(x) ** 2, np.ones(4), 0),
    Edge(lambda np, x: np.std(x), [5.0], 0),
    Edge(lambda np, x: np.std(x), 5.0, 0),
    Edge(lambda np, x: np.std(x), [1j, 1j], 0, None),
    Edge(lambda np, x: np.std(x, axis=1).sum(), [[1.0, 1.0], [1.0, 3.0]], [[0, 0], [-0.5, 0.5]]),
    Edge(lambda np, x: np.std(x, axis=0, keepdims=True).sum(), [[1.0, 1.0], [1.0, 3.0]], [[0, -0.5], [0, 0.5]]),
    Edge(lambda np, x: np.std(x, where=[True, True, False]), [2.0, 2.0, NAN], 0),
    Edge(lambda np, x: np.std(x, mean=np.mean(x, keepdims=True)), [2.0, 2.0], 0),
    Edge(lambda np, x: np.nanstd(x), [1.0, NAN, 1.0], 0),
    Edge(lambda np, x: np.var(x), np.ones(4), 0, (np.eye(4) - 0.25) / 2, dtypes="dfe"),
    Edge(lambda np, x: np.var(x, ddof=1), np.ones(4), 0, (np.eye(4) - 0.25) * 2 / 3),
    Edge(lambda np, x: np.cov(x), np.ones(4), 0, (np.eye(4) - 0.25) * 2 / 3, dtypes="d"),
    Edge(lambda np, x: np.nanvar(x), [1.0, NAN, 1.0], 0, symmetric(3, (0, 0, 0.5), (0, 2, -0.5), (2, 2, 0.5))),
    Edge(lambda np, x: np.var(x, ddof=1), [3.0], NAN, NAN, warns=True),
    Edge(lambda np, x: np.var(x, axis=1, ddof=1).sum(), np.ones((3, 1)), NAN, None, warns=True),
    Edge(lambda np, x: np.std(x, ddof=1), [3.0], NAN, None, warns=True),
]

POWERS = [
    *same(
        [
            lambda np, x: x * x**0.5,
            lambda np, x: x**0.5 * x,
            lambda np, x: np.power(x, 0.5) * x,
            lambda np, x: np.sin(x) * (2 * x**0.5),
            lambda np, x: x * x ** np.full_like(x, 0.5),
            lambda np, x: x**1.5,
        ],
        *(0.0, 0, INF),
    ),
    *same([lambda np, x: x * x**1.5, lambda np, x: x**2.5, lambda np, x: x * x * x**1.5], 0.0, 0, 0),
    *[
        Edge(lambda np, x, n=n: x**n, 0.0, first, second, dtypes="dfe")
        for n, first, second in [(0, 0, 0), (1, 1, 0), (2, 0, 2), (3, 0, 0), (0.0, 0, 0), (1.0, 1, 0), (2.0, 0, 2)]
    ],
    *[
        Edge(power, [0.0, y], [first, 0], second, dtypes="dfe")
        for power in [lambda np, x: x[0] ** x[1], lambda np, x: np.power(x[0], x[1])]
        for y, first, second in [(0.0, 0, NO_NAN), (1.0, 1, NO_NAN), (2.0, 0, [2, 0]), (3.0, 0, 0)]
    ],
    Edge(lambda np, x: (x ** at([0, 1, 2], x.dtype.char)).sum(), zeros(3), [0, 1, 0], [0, 0, 2]),
    Edge(lambda np, x: (0.0**x).sum(), [0.0, 1.0, 2.0], 0),
    Edge(lambda np, x: (1.0**x).sum(), [0.0, 1.0, 2.0], 0, 0),
    Edge(lambda np, x: (x ** at([2, 3], x.dtype.char)).sum(), [-2.0, -2.0], [-4, 12], [2, -12]),
    Edge(lambda np, x: np.power(x, at([2, 3], x.dtype.char)).sum(), -2.0, 8, -10),
    Edge(lambda np, x: np.float_power(x, 0.5) * x, 0.0, 0, INF, dtypes="d"),
    Edge(lambda np, x: np.square(x) + np.reciprocal(x - 2), 0.0, -0.25, 1.75),
    Edge(lambda np, x: np.exp(-(x**2)), 0.0, 0, -2, dtypes="dfe"),
    Edge(lambda np, x: (x**2).sum().real, [0j, 1j], [0, 2j], None),
    Edge(lambda np, x: (x ** (2 + 0j)).real, 0j, 0, None),
    *same([lambda np, x: np.sqrt(x), lambda np, x: np.cbrt(x), lambda np, x: x**0.5], 0.0, INF, None, warns=True),
]

TIES = [
    *[
        Edge(lambda np, x, f=f: getattr(np, f)(x[0], x[1]), pair, 0.5, 0)
        for f in ["maximum", "minimum", "fmax", "fmin"]
        for pair in [(1.0, 1.0), (0.0, -0.0), (INF, INF)]
    ],
    Edge(lambda np, x: np.maximum(x, x).sum(), [1.0, 2.0], 1, 0),
    Edge(lambda np, x: np.maximum(x, 1.0).sum(), [1.0, 2.0, 0.0], [0.5, 1, 0], 0),
    *same(
        [
            lambda np, x: np.max(x),
            lambda np, x: x.max(),
            lambda np, x: -np.min(-x, axis=-1, keepdims=True).sum(),
            lambda np, x: np.nanmax(x),
            lambda np, x: np.maximum.reduce(x),
            lambda np, x: np.fmax.reduce(x),
            lambda np, x: np.linalg.norm(x, INF),
            lambda np, x: np.ptp(x) + x[2],
        ],
        *([1.0, 1.0, 0.0], [0.5, 0.5, 0], 0),
    ),
    Edge(lambda np, x: np.max(x), [1.0, 1.0, 0.0], [0.5, 0.5, 0], 0, dtypes="e"),
    Edge(lambda np, x: np.amax(x, axis=0).sum(), [[1.0, 3.0], [1.0, 2.0]], [[0.5, 1], [0.5, 0]], 0),
    Edge(lambda np, x: np.amin(x, axis=(0, 1)), [[1.0, 3.0], [1.0, 1.0]], [[1 / 3, 0], [1 / 3, 1 / 3]], 0),
    Edge(lambda np, x: np.nanmin(x, axis=1).sum(), [[1.0, NAN, 1.0], [2.0, 3.0, 3.0]], [[0.5, 0, 0.5], [1, 0, 0]], 0),
    Edge(lambda np, x: np.max(x), [INF, INF, 0.0], [0.5, 0.5, 0], 0),
    Edge(lambda np, x: np.max(x), [-INF, -INF], 0.5, 0),
    Edge(lambda np, x: np.max(x), [NAN, 1.0], [1, 0], 0),
    Edge(lambda np, x: np.max(x, initial=1.0), [1.0, 0.0], [0.5, 0], 0),
    Edge(lambda np, x: np.ptp(x), [2.0, 2.0, 2.0], 0, 0),
    Edge(lambda np, x: np.maximum.accumulate(x).sum(), [1.0, 1.0, 0.0], [2, 1, 0], 0),
    Edge(lambda np, x: np.clip(x, 0.0, 1.0).sum(), [-1.0, 0.0, 0.5, 1.0, 2.0], [0, 1, 1, 1, 0], 0, dtypes="dfe"),
    Edge(lambda np, x: x.clip(0.0, 1.0).sum(), [-1.0, 0.0, NAN, 1.0, 2.0], [0, 1, 1, 1, 0], 0),
    Edge(lambda np, x: np.clip(x, at([0, 0], x.dtype.char), None).sum(), [0.0, -1.0], [1, 0], 0),
    Edge(lambda np, x: np.clip(x[0], x[1], 5.0), [1.0, 1.0], 0.5, 0),
    Edge(lambda np, x: np.clip(x, 1.0, 0.0).sum(), [0.5, 2.0], 0, 0),
    Edge(lambda np, x: (np.sort(x) * at([1, 2, 3], x.dtype.char)).sum(), [1.0, 0.0, 1.0], [2, 1, 3], 0),
    Edge(lambda np, x: np.median(x) + np.quantile(x, 0.5), [1.0, 1.0, 1.0, 5.0], [0, 1, 1, 0], 0),
    Edge(lambda np, x: np.interp(x, [0.0, 1.0, 2.0], [0.0, 1.0, 4.0]).sum(), [1.0, 2.0, 3.0], [3, 3, 0], 0, dtypes="d"),
]

PRODUCTS = [
    *same(
        [
            lambda np, x: np.prod(x),
            lambda np, x: x.prod(),
            lambda np, x: np.multiply.reduce(x),
            lambda np, x: np.prod(x, axis=0, keepdims=True).sum(),
            lambda np, x: np.cumprod(x)[-1],
        ],
        *([0.0, 1.0, 2.0], [2, 0, 0], symmetric(3, (0, 1, 2), (0, 2, 1))),
        dtypes="dfe",
    ),
    *same(
        [
            lambda np, x: np.cumprod(x).sum(),
            lambda np, x: np.multiply.accumulate(x).sum(),
            lambda np, x: np.cumulative_prod(x, include_initial=True).sum(),
        ],
        *([0.0, 1.0, 2.0], [4, 0, 0], symmetric(3, (0, 1, 3), (0, 2, 1))),
        dtypes="dfe",
    ),
    Edge(lambda np, x: np.prod(x), [0.0, 0.0, 2.0], 0, symmetric(3, (0, 1, 2))),
    Edge(lambda np, x: np.prod(x), zeros(3), 0, 0),
    Edge(lambda np, x: np.prod(x), [-0.0, 3.0], [3, 0], symmetric(2, (0, 1, 1))),
    Edge(lambda np, x: np.prod(x).real, [0j, 2j], [2j, 0], None),
    Edge(lambda np, x: np.prod(x), [1e-200, 1e-200, 1e200], [1, 1, 0], None, dtypes="d"),
    Edge(lambda np, x: np.prod(x, axis=(0, 1)), [[0.0, 0.0], [2.0, 3.0]], 0, of_2x2((0, 1, 6))),
    Edge(lambda np, x: np.prod(x, 0).sum(), [[0.0, 0.0], [2.0, 0.0]], [[2, 0], [0, 0]], of_2x2((0, 2, 1), (1, 3, 1))),
    Edge(lambda np, x: np.prod(x, -1).sum(), [[0.0, 0.0], [2.0, 0.0]], [[0, 0], [0, 2]], of_2x2((0, 1, 1), (2, 3, 1))),
    Edge(lambda np, x: np.prod(x, initial=2.0), [0.0, 3.0], [6, 0], symmetric(2, (0, 1, 2))),
    Edge(lambda np, x: np.prod(x, where=[True, False]), [0.0, 3.0], [1, 0], 0),
    Edge(lambda np, x: np.nanprod(x), [0.0, NAN, 2.0], [2, 0, 0], symmetric(3, (0, 2, 1))),
    Edge(lambda np, x: np.multiply.reduceat(x, [0, 2])[0], [0.0, 1.0, 0.0], [1, 0, 0], symmetric(3, (0, 1, 1))),
    Edge(lambda np, x: np.cumprod(x).sum(), [0.0, 0.0, 2.0], [1, 0, 0], symmetric(3, (0, 1, 3))),
    Edge(
        lambda np, x: np.cumprod(x, 0).sum(), [[0.0, 1.0], [2.0, 0.0]], [[3, 1], [0, 1]], of_2x2((0, 2, 1), (1, 3, 1))
    ),
    Edge(lambda np, x: np.nancumprod(x).sum(), [0.0, NAN, 2.0], [4, 0, 0], symmetric(3, (0, 2, 1))),
]

EXPONENTIALS = [
    *same(
        [
            lambda np, x: ops.logsumexp(x),
            lambda np, x: np.logaddexp(x[0], x[1]),
            lambda np, x: np.logaddexp2(x[0], x[1]),
            lambda np, x: np.logaddexp.reduce(x),
            lambda np, x: ops.logsumexp(x, -1, keepdims=True)[0],
        ],
        *([-INF, 0.0], [0, 1], 0),
        dtypes="dfe",
    ),
    Edge(lambda np, x: ops.logsumexp(x), [-INF, -INF], NO_NAN),
    Edge(lambda np, x: ops.logsumexp(x), [INF, INF], NO_NAN),
    Edge(lambda np, x: ops.logsumexp(x, 1).sum(), [[-INF, -INF], [0.0, 0.0]], NO_NAN),
    Edge(lambda np, x: np.logaddexp(x[0], x[1]), [-INF, -INF], 0.5),
    Edge(lambda np, x: np.logaddexp(x[0], x[1]), [INF, 0.0], [1, 0], 0),
    Edge(lambda np, x: np.logaddexp.reduce(x), [-INF, -INF, 0.0], [0, 0, 1], 0),
    Edge(lambda np, x: np.logaddexp.accumulate(x).sum(), [-INF, -INF, 0.0], [1.5, 0.5, 1]),
    Edge(lambda np, x: (ops.softmax(x) * at([1, 2, 3], x.dtype.char)).sum(), [-INF, 0.0, 0.0], [0, -0.25, 0.25], 0),
    Edge(lambda np, x: ops.softmax(x, 1).sum(), [[-INF, -INF], [0.0, 0.0]], NO_NAN),
    Edge(lambda np, x: ops.softmax(x, 1)[1].sum(), [[-INF, -INF], [0.0, 0.0]], 0, 0),
    Edge(lambda np, x: ops.logsoftmax(x)[1], [-INF, 0.0], 0, 0),
    Edge(lambda np, x: ops.sigmoid(x).sum(), [-INF, INF, 1e4, -1e4, 0.0], [0, 0, 0, 0, 0.25], 0),
    Edge(lambda np, x: np.tanh(x).sum(), [-INF, INF, 1e4, -1e4, 0.0], [0, 0, 0, 0, 1], 0),
    Edge(lambda np, x: np.arctan(x).sum(), [-INF, INF, 0.0], [0, 0, 1], 0),
    Edge(lambda np, x: (np.exp(x) + np.expm1(x)).sum(), [-INF, 0.0], [0, 2], [0, 2]),
    Edge(lambda np, x: np.log(x).sum(), [INF, 1.0], [0, 1], [0, -1]),
]

BRANCHES = [
    Edge(lambda np, x: np.where(x >= 0, x, np.sqrt(-x)), 1.0, 1, 0, warns=True),
    Edge(lambda np, x: np.where(x >= 0, x, np.sqrt(-x)).sum(), [1.0, -4.0], [1, -0.25], [0, -1 / 32], warns=True),
    Edge(lambda np, x: np.where(x == 0, 0, x * np.sqrt(x)), 0.0, 0, 0, warns=True),
    Edge(lambda np, x: np.where(x == 0, 0.0, x * np.sqrt(x)).sum(), [0.0, 4.0], [0, 3], [0, 3 / 8], warns=True),
    Edge(
        lambda np, x: np.where((n := np.sqrt(np.sum(x**2, axis=1))) > 0.5, n, 1).sum(),
        *([[0.0, 0.0], [3.0, 4.0]], [[0, 0], [0.6, 0.8]]),
        warns=True,
    ),
    *same(  # log(x) where x > 0
        [
            lambda np, x: np.where(x > 0, np.log(x), 0.0).sum(),
            lambda np, x: np.where([0, 2], np.log(x), 0.0).sum(),
            lambda np, x: np.where(x, np.log(x), 0.0).sum(),
            lambda np, x: np.log(np.where(x > 0, x, 1.0)).sum(),
            lambda np, x: np.choose([0, 1], [0 * x, np.log(x)]).sum(),
            lambda np, x: np.select([x > 0], [np.log(x)]).sum(),
            lambda np, x: np.piecewise(x, [x > 0], [np.log, 0.0]).sum(),
            lambda np, x: np.sum(np.log(x), where=[False, True]),
            lambda np, x: np.mean(np.log(x), where=[False, True]),
            lambda np, x: np.log(x, where=np.array([False, True]), out=nnp.zeros(2, x.dtype)).sum(),
            lambda np, x: np.nansum(np.log(x - (x == 0))),
            lambda np, x: np.nanmax(np.log(x - (x == 0))),
            lambda np, x: np.nan_to_num(np.log(x), neginf=0.0).sum(),
        ],
        *([0.0, 2.0], [0, 0.5], [0, -0.25]),
        warns=True,
    ),
    *same(  # sqrt(x) where it is larger than 1
        [
            lambda np, x: np.maximum(np.sqrt(x), 1.0).sum(),
            lambda np, x: -np.fmin(-np.sqrt(x), -1.0).sum(),
            lambda np, x: np.clip(np.sqrt(x), 1.0, 9.0).sum(),
            lambda np, x: ops.relu(np.sqrt(x) - 1).sum(),
            lambda np, x: np.max(np.sqrt(x)),
            lambda np, x: np.triu(np.sqrt(np.stack([x, x])), 1).sum(),
        ],
        *([0.0, 4.0], [0, 0.25], [0, -1 / 32]),
        warns=True,
    ),
]

FUNCTIONS = [
    Edge(lambda np, x: np.sinc(x), 0.0, 0, -(PI**2) / 3, dtypes="dfe"),
    Edge(lambda np, x: np.sinc(x).sum(), [0.0, 1.0, 1e-30], [0, -1, 0], [-(PI**2) / 3, 2, -(PI**2) / 3]),
    Edge(lambda np, x: np.i0(x).sum(), [0.0], 0, 0.5),
    Edge(lambda np, x: np.unwrap(x).sum(), [0.0, PI, 2 * PI], 1, 0),
    Edge(lambda np, x: np.linalg.det(x), [[1.0, 2.0], [2.0, 4.0]], [[4, -2], [-2, 1]], of_2x2((0, 3, 1), (1, 2, -1))),
    Edge(lambda np, x: np.linalg.det(x), zeros(2, 2), 0, of_2x2((0, 3, 1), (1, 2, -1))),
    Edge(lambda np, x: np.linalg.det(x), zeros(1, 1), 1, 0),
    Edge(lambda np, x: np.linalg.det(x), zeros(0, 0), 0, 0),
    Edge(lambda np, x: np.linalg.det(x), np.diag([2.0, 3.0, 0.0]), np.diag([0.0, 0.0, 6.0])),
    Edge(lambda np, x: np.linalg.eigvalsh(x).sum(), np.eye(3), np.eye(3), 0),
    Edge(lambda np, x: np.linalg.eigh(x)[0].sum(), np.eye(3), np.eye(3), 0),
    # The second derivatives are NaN with a warning: that of eigvals where forward mode takes part, which does not know
    # that it is 0, and that of the norm everywhere, which has none.
    Edge(lambda np, x: np.linalg.eigvals(x).sum().real, np.eye(3), np.eye(3), None),
    Edge(lambda np, x: (np.linalg.eigvalsh(x) ** 2).sum(), np.eye(2), 2 * np.eye(2)),
    Edge(lambda np, x: np.linalg.svdvals(x).sum(), np.eye(3), np.eye(3)),
    Edge(lambda np, x: np.linalg.svd(x)[1].sum(), np.eye(3), np.eye(3)),
    Edge(lambda np, x: np.linalg.norm(x, "nuc"), np.eye(3), np.eye(3)),
    Edge(lambda np, x: np.linalg.norm(x, 2), np.eye(3), np.eye(3) / 3, None),
    Edge(lambda np, x: np.linalg.matrix_power(x, 0).sum(), zeros(2, 2), 0, 0),
    Edge(lambda np, x: np.einsum("i,i", x, at([2], x.dtype.char)), [3.0], [2], 0),
    Edge(lambda np, x: np.einsum("i,i", x, at([2], x.dtype.char)), [1.0, 2.0, 3.0], [2, 2, 2], 0),
    Edge(lambda np, x: np.einsum("i,i", x, x[:1]), [1.0, 2.0], [4, 1], [[2, 1], [1, 0]]),
    Edge(lambda np, x: np.einsum("ii", x), [[1.0, 2.0], [3.0, 4.0]], np.eye(2), 0),
]


def assigned(write: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A program that writes into four ones by what x holds, and adds up 1, 2, 3 and 4 times what they are then."""

    def program(np: Any, x: Any) -> Any:
        whole = nnp.ones(4, dtype=x.dtype)
        write(np, whole, x)
        return (whole * at([1, 2, 3, 4], x.dtype.char)).sum()

    return program


def _add(np: Any, whole: Any, x: Any) -> None:
    whole[[0, 0, 3]] += x


def _multiply(np: Any, whole: Any, x: Any) -> None:
    whole[1:] *= x
    whole[1:] *= x


INDICES = [
    *same(
        [
            lambda np, x: x[[0, 0, 2]].sum(),
            lambda np, x: x[np.array([[0], [0], [-1]])].sum(),
            lambda np, x: np.take(x, [0, 0, 2]).sum(),
            lambda np, x: np.take(x, [0, 3, -4], mode="wrap").sum() + x[2] - x[2],
            lambda np, x: np.take_along_axis(x, np.array([0, 0, 2]), 0).sum(),
            lambda np, x: np.repeat(x, [2, 0, 1]).sum(),
            lambda np, x: np.choose([0, 0, 2], [x[0], x[1], x[2]]).sum(),
        ],
        *([1.0, 2.0, 3.0], [2, 0, 1], 0),
    ),
    *same(
        [
            lambda np, x: (x[[0, 0, 2]] ** 2).sum(),
            lambda np, x: (np.take(x, [0, -5, 9], mode="clip") ** 2).sum(),
            lambda np, x: (np.take(x[None], [0, 0, 2], axis=1) ** 2).sum(),
            lambda np, x: (np.compress([True, False, True, True], np.concatenate([x, x[:1]])) ** 2).sum(),
        ],
        *([1.0, 2.0, 3.0], [4, 0, 6], [4, 0, 2]),
    ),
    *[
        Edge(assigned(write), [5.0, 6.0, 7.0], gradient, second)
        for write, gradient, second in [
            (lambda np, whole, x: whole.__setitem__(slice(3), x), [1, 2, 3], 0),
            (lambda np, whole, x: whole.__setitem__([0, 0, 3], x), [0, 1, 4], 0),
            (lambda np, whole, x: whole.__setitem__(slice(1, 2), (x**2)[:1]), [20, 0, 0], [4, 0, 0]),
            (lambda np, whole, x: whole.__setitem__(whole > 0, x[0]), [10, 0, 0], 0),
            (_add, [0, 1, 4], 0),
            (_multiply, [20, 36, 56], [4, 6, 8]),
            (lambda np, whole, x: np.add.at(whole, [0, 0, 3], x), [1, 1, 4], 0),
            (lambda np, whole, x: np.put(whole, [0, 0, 3], x), [0, 1, 4], 0),
            (lambda np, whole, x: np.put_along_axis(whole, np.array([0, 0, 3]), x, 0), [0, 1, 4], 0),
            (lambda np, whole, x: np.place(whole, [True, False, True, True], x), [1, 3, 4], 0),
            (lambda np, whole, x: np.putmask(whole, [True, False, False, True], x), [5, 0, 0], 0),
            (lambda np, whole, x: np.copyto(whole, x[0], where=[True, False, True, False]), [4, 0, 0], 0),
            (lambda np, whole, x: np.fill_diagonal(whole.reshape(2, 2), x[:2]), [1, 4, 0], 0),
        ]
    ],
]

TABLE = {
    "lengths": LENGTHS,
    "spreads": SPREADS,
    "powers": POWERS,
    "ties": TIES,
    "products": PRODUCTS,
    "exponentials": EXPONENTIALS,
    "branches": BRANCHES,
    "functions": FUNCTIONS,
    "indices": INDICES,
}


@pytest.mark.parametrize(
    "edge", [pytest.param(edge, id=f"{name}-{i}") for name, edges in TABLE.items() for i, edge in enumerate(edges)]
)
def test_derivatives_in_every_mode(edge):
    with warnings.catch_warnings():
        if edge.warns:
            warnings.simplefilter("ignore", RuntimeWarning)
        check(edge)


# --------------------------------------------------------------------------------------------- what no table can hold


@pytest.mark.parametrize("order", ["rrrr", "ffff", "frfr", "rffr"])
def test_the_first_four_derivatives(order):
    def derivatives(f: Any, x: float) -> list[float]:
        found = []
        for mode in order:
            f = needle.grad(f) if mode == "r" else lambda x, f=f: needle.jvp(f, (x,), (1.0,))[1]
            found.append(f(x))
        return found

    assert_allclose(derivatives(lambda x: nnp.exp(-(x**2)), 0.0), [0, -2, 0, 12], atol=1e-12)
    assert_allclose(derivatives(lambda x: nnp.exp(-x * x), 0.0), [0, -2, 0, 12], atol=1e-12)
    assert_allclose(derivatives(lambda x: x**3, 0.0), [0, 0, 6, 0])
    assert_allclose(derivatives(nnp.sinc, 0.0), [0, -(PI**2) / 3, 0, PI**4 / 5], atol=1e-14)


@pytest.mark.parametrize("mode", [*FIRST, *SECOND])
@pytest.mark.parametrize(
    "f", [lambda x: nnp.sqrt(x) ** 2, lambda x: nnp.sqrt(x) * nnp.sqrt(x), lambda x: 1 / (1 / nnp.sqrt(x)) ** 2]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_squared_root_at_zero_is_no_silent_zero(f, mode):
    found = {**FIRST, **SECOND}[mode](f, np.array(0.0))
    assert not np.isfinite(found)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_root_is_named():
    with needle.detect_anomaly(), pytest.raises(needle.AnomalyError, match=r"(?i)sqrt"):
        by_backward(lambda x: nnp.sqrt(x) ** 2, np.array(0.0))


def test_the_modulus_of_zero_has_the_second_derivative_zero():
    z, v = np.array([0j, 3 + 4j]), np.array([1 + 2j, 1 + 2j])
    for f in [lambda z: abs(z).sum(), lambda z: nnp.linalg.norm(z, 3), lambda z: nnp.linalg.norm(z, INF)]:
        products = [needle.hvp(f, (z,), (v,)), needle.grad(lambda z, f=f: (needle.grad(f)(z) * v).sum().real)(z)]
        for product in products:
            assert product[0] == 0
            assert np.isfinite(product[1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_the_modulus_has_its_direction_at_any_size(scale):
    """The square of the modulus over- or underflows here; its gradient does not."""
    z = np.array([3 + 4j, -1j]) * scale
    assert_allclose(needle.grad(lambda z: (abs(z) ** 2).sum())(z), 2 * z.conj(), rtol=1e-12)


def test_the_modulus_of_numbers_below_the_normal_ones():
    z = np.array([8 + 4j]) * np.finfo(np.float64).tiny / 64
    assert_allclose(needle.grad(lambda z: abs(z).sum())(z), (8 - 4j) / np.sqrt(80), rtol=1e-12)


@pytest.mark.parametrize("number", [nnp.linalg.det, lambda x: nnp.linalg.slogdet(x)[1]])
def test_masks_of_a_number(number):
    def f(x: Any) -> Any:
        y = number(x)
        return nnp.where(y > 0.3, y * y, y)

    x, v = 5 * np.eye(2) + 1, np.array([[1.0, 2.0], [0.0, 1.0]])
    assert_allclose(needle.grad(f)(x), needle.grad(lambda x: number(x) ** 2)(x), rtol=1e-12)
    assert_allclose(needle.hvp(f, (x,), (v,)), needle.hvp(lambda x: number(x) ** 2, (x,), (v,)), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_determinants_beside_one_of_a_matrix_that_is_not_finite():
    a = np.array([[[1.0, 2.0], [3.0, 4.0]], [[NAN, 1.0], [1.0, 2.0]], [[INF, 1.0], [1.0, 2.0]]])
    gradient = needle.grad(lambda a: nnp.linalg.det(a).sum())(a)
    assert_allclose(gradient[0], [[4, -3], [-2, 1]])
    assert np.isnan(gradient[1:]).all()


def test_remainders_of_infinity():
    assert needle.grad(nnp.remainder, (0, 1))(-1.0, INF) == (1, 1)
    assert needle.grad(nnp.remainder, (0, 1))(1.0, INF) == (1, 0)


@pytest.mark.parametrize("f", [nnp.max, nnp.min, nnp.nanmax, nnp.mean, lambda x: nnp.linalg.norm(x, INF)])
def test_many_equal_numbers_in_half_precision(f):
    x = np.ones(70_000, np.float16)
    for gradient in (by_backward(f, x), needle.grad(f)(x), FIRST["a tape"](f, x)):
        assert gradient.dtype == np.float16
        assert_allclose(gradient, np.full(70_000, 1 / 70_000), rtol=4e-3)
    assert_allclose(needle.jvp(f, (x,), (x,))[1], 1, rtol=1e-3)


def test_a_foreign_array_that_changes_later():
    def f(x: Any) -> Any:
        c = np.array([3.0, 4.0])
        y = x * c + c * x
        c[0] = 100
        return (y**2).sum() / 8

    x, gradient, hessian = np.array([1.0, 1.0]), [9, 16], np.diag([9.0, 16.0])
    for name, mode in FIRST.items():
        assert_allclose(mode(f, x), gradient, err_msg=name)
    for name, mode in SECOND.items():
        assert_allclose(mode(f, x), hessian, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.complex64])
def test_no_dtype_is_widened_over_three_paths(dtype):
    def f(x: Any) -> Any:
        return (x * 2 + nnp.exp(x) + x[[0, 1, 2]] * nnp.array(0.5, dtype)).sum().real

    x = np.ones(3, dtype)
    for mode in FIRST.values():
        found = mode(f, x)
        assert found.dtype == dtype
        assert_allclose(found, np.full(3, 2.5 + np.e), rtol=2e-3)
    assert (2.0 * Tensor(x)).dtype == dtype
    assert (np.float64(2.0) * Tensor(x)).dtype == np.result_type(dtype, np.float64)


NAMES = """
    abs sqrt exp log1p sin arctan tanh sinc i0 square reciprocal floor sign cbrt relu sum prod mean var std cumsum
    cumprod max min sort median ptp nansum nanprod nancumsum nan_to_num clip flip ravel roll transpose squeeze copy
    real conj angle linalg.norm diff triu repeat tile stack
"""


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1, 1)])
@pytest.mark.parametrize("name", NAMES.split())
def test_awkward_shapes(name, shape):
    """Everything works, or is refused as by NumPy; a gradient has the shape of what it is a gradient of."""
    x = np.full(shape, 0.5)

    def apply(np: Any, x: Any) -> Any:
        function = ops.relu if name == "relu" else np
        for part in [] if name == "relu" else name.split("."):
            function = getattr(function, part)
        more = {"clip": (0.0, 1.0), "repeat": (2,), "tile": (2,), "roll": (1,)}.get(name, ())
        return function([x, x] if name == "stack" else x, *more)

    f = lambda x: apply(nnp, x).sum()  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of means and medians of nothing
        try:
            reference = np.asarray(apply(np, x)) if name != "relu" else x
        except (ValueError, TypeError):
            with pytest.raises(ValueError, match=r"^\w+: "):
                f(Tensor(x))
            return
        assert apply(nnp, Tensor(x)).shape == reference.shape
        assert by_backward(f, x).shape == shape
        for mode in FIRST.values():
            assert mode(f, x).shape == shape
        for mode in SECOND.values():
            assert mode(f, x).shape == shape + shape
