"""Calls of NumPy's functions on Tensors, and what holds for each: NumPy's value, the numeric gradient, second order.

A table is a list of calls. What is called is one of NumPy's names, or a program `lambda np, a, b: ...` that is given
the module; the arrays among the arguments, also in lists, become Tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import needle
import needle.numpy as nnp
import numeric
import numpy as np
import pytest
from needle import Tensor
from needle.nested import flatten
from numpy.testing import assert_allclose


class Call:
    """`function(*args, **options)`, where a function is a name in a module, or a program that is given the module.

    Where it has a corner, a tie or a jump at these arrays, `smooth` is False, and only its value is tried.
    """

    def __init__(self, function: Any, *args: Any, smooth: bool = True, **options: Any):
        self.function = function
        self.smooth = smooth
        self.arrays, self.rebuild = flatten([list(args), options])

    def on(self, module: Any, arrays: Any) -> Any:
        args, options = self.rebuild(iter(arrays))
        if not isinstance(self.function, str):
            return self.function(module, *args, **options)
        function = module
        for name in self.function.split("."):
            function = getattr(function, name)
        return function(*args, **options)

    @property
    def places(self) -> list[int]:
        """Where the arrays are that it is differentiated by."""
        return [i for i, a in enumerate(self.arrays) if isinstance(a, np.ndarray) and a.dtype.kind in "fc"]

    def __repr__(self) -> str:
        shown = [f"{a.dtype}{list(a.shape)}" if isinstance(a, np.ndarray) else repr(a) for a in self.arrays]
        return f"{self.function}({', '.join(shown)})"


def as_tensors(arrays: Any, **options: Any) -> list[Any]:
    return [Tensor(a, **options) if isinstance(a, np.ndarray) else a for a in arrays]


def outputs(result: Any) -> list[Any]:
    """The members of a result, which may be a tuple, a list or a named tuple of Tensors, arrays and numbers."""
    return [y for part in result for y in outputs(part)] if isinstance(result, (tuple, list)) else [result]


def check_value(call: Call) -> None:
    """Values, shapes and dtypes are NumPy's, for Tensors, constants and arrays; what is given stays as it is."""
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in call.arrays]
    with np.errstate(all="ignore"):
        expected = call.on(np, before)
        before = [a.copy() if isinstance(a, np.ndarray) else a for a in call.arrays]
        for given in [as_tensors(call.arrays), as_tensors(call.arrays, requires_grad=False), call.arrays]:
            got = call.on(nnp, given)
            assert isinstance(got, (tuple, list)) == isinstance(expected, (tuple, list))
            assert len(outputs(got)) == len(outputs(expected))
            for y, e in zip(outputs(got), outputs(expected), strict=True):
                if not isinstance(y, Tensor):
                    assert not isinstance(e, (np.ndarray, np.generic)) or not e.ndim
                    assert y == e
                    continue
                e = np.asarray(e)
                assert (y.shape, y.dtype) == (e.shape, e.dtype)
                digits = np.finfo(e.dtype).eps if e.dtype.kind in "fc" else 0
                assert_allclose(y.numpy(), e, rtol=32 * digits, atol=8 * digits)
    for a, b in zip(call.arrays, before, strict=True):
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, strict=True)


def weighted(values: Any, power: int = 1) -> Any:
    """A sum of all elements (or of a power of them), each with a weight of its own; the same for Tensors and arrays."""
    rng, total = np.random.default_rng(3), 0.0
    for y in values:
        if y.dtype.kind in "fc":
            w = rng.uniform(0.5, 1.5, y.shape)
            z = (y**power * w).sum()
            total = total + (z.real + (z * -1j).real if y.dtype.kind == "c" else z)
    return total


def differentiated(call: Call, power: int) -> tuple[Callable[..., Any], Callable[..., Any], list[Any]]:
    """The weighted sum of a call's outputs in Needle and in NumPy, and the points that it is a function of."""
    places = call.places
    points = [numeric.upcast(call.arrays[i]) for i in places]

    def of(module: Any, leaves: Any, power: int) -> Any:
        arrays = list(call.arrays)
        for i, leaf in zip(places, leaves, strict=True):
            arrays[i] = leaf
        values = outputs(call.on(module, arrays))
        return weighted([y if module is nnp else np.asarray(y) for y in values if hasattr(y, "dtype")], power)

    def in_numpy(*leaves: Any) -> Any:  # which is given arrays that its program may write into
        return of(np, [a.copy() for a in leaves], power)

    return lambda *leaves: of(nnp, leaves, power), in_numpy, points


def check_gradient(call: Call) -> None:
    """The gradient is the numeric one, forward mode agrees with it, and it has the input's shape and dtype."""
    f, reference, points = differentiated(call, 1)
    argnums = range(len(points))
    found = needle.grad(f, argnums=argnums)(*points)
    for i, (got, point) in enumerate(zip(found, points, strict=True)):
        expected = numeric.gradient(lambda x, i=i: reference(*points[:i], x, *points[i + 1 :]), point)
        assert got.shape == point.shape
        assert_allclose(got, expected.conj(), rtol=2e-6, atol=2e-7 * max(1, np.abs(expected).max(initial=0)))
    directions = [np.random.default_rng(5).normal(size=p.shape) + 0 * p for p in points]
    _, along = needle.jvp(f, tuple(points), tuple(directions))
    assert_allclose(
        along, sum(np.sum(g * d).real for g, d in zip(found, directions, strict=True)), rtol=1e-9, atol=1e-9
    )
    given = as_tensors(call.arrays)
    loss = weighted([y for y in outputs(call.on(nnp, given)) if isinstance(y, Tensor)])
    leaves = [given[i] for i in call.places]
    if isinstance(loss, Tensor) and loss.requires_grad:
        loss.backward()
    for leaf in leaves:
        if leaf.is_leaf() and leaf.grad is not None:
            assert (leaf.grad.shape, leaf.grad.dtype) == (leaf.shape, leaf.dtype)


def check_second_order(call: Call) -> None:
    """Of a sum of squares: reverse over reverse and forward over reverse, against differences of the gradient."""
    f, _, points = differentiated(call, 2)
    if any(p.dtype.kind == "c" for p in points) or not any(p.size for p in points):
        return
    argnums = range(len(points))
    rng = np.random.default_rng(9)
    slopes = [rng.normal(size=p.shape) for p in points]
    directions = [rng.normal(size=p.shape) for p in points]

    def slope(*leaves: Any) -> Any:
        return sum((g * s).sum() for g, s in zip(needle.grad(f, argnums=argnums)(*leaves), slopes, strict=True))

    moved = lambda t: slope(*[p + t * d for p, d in zip(points, directions, strict=True)])  # noqa: E731
    expected = numeric.directional(moved, np.array(0.0), 1.0)
    second = needle.grad(slope, argnums=argnums)(*points)
    got = sum(np.sum(h * d) for h, d in zip(second, directions, strict=True))
    assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    _, along = needle.jvp(slope, tuple(points), tuple(directions))
    assert_allclose(along, expected, rtol=1e-6, atol=1e-6)


def laws(table: list[Call]) -> tuple[Any, Any, Any]:
    """The three laws as tests: values, gradients, second derivatives; one test a function, for all its calls."""
    return tuple(  # type: ignore[return-value]
        _over(check, [c for c in table if check is check_value or (c.smooth and c.places)])
        for check in (check_value, check_gradient, check_second_order)
    )


def _over(check: Callable[[Call], None], table: list[Call]) -> Any:
    by_name: dict[str, list[Call]] = {}
    for call in table:
        by_name.setdefault(call.function if isinstance(call.function, str) else "program", []).append(call)

    @pytest.mark.parametrize("name", by_name)
    def test(name: str) -> None:
        failures = []
        for call in by_name[name]:
            try:
                check(call)
            except Exception as failure:
                failure.add_note(f"in {call!r}")
                failures.append(failure)
        if failures:
            raise ExceptionGroup(f"{len(failures)} of {len(by_name[name])} calls", failures)

    return test
