"""Captured functions and memory: buffers refilled between calls, arguments that share memory, results written into.

Random programs, as they are and captured, go through the same calls, and everything that they return or leave behind
must agree. `python tests/test_compile_memory.py 5000` tries that many seeds, or those from 5000 to 6000 with
`5000 6000`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import needle
import numpy as np
import pytest
from needle import Tensor
from needle.compile import CompileWarning, compile
from numpy.testing import assert_allclose, assert_array_equal

# Random programs -----------------------------------------------------------------------------------------------------

KINDS = ("array", "constant", "variable")


def part(rng: Any) -> Any:
    """An index that makes a view of a vector of six."""
    some = [slice(1, None), slice(None, 3), slice(None, None, -1), slice(2, 5), slice(None, None, 2), slice(None)]
    return some[rng.integers(len(some))]


def view(rng: Any, a: Any, arrays: bool) -> Any:
    """A view of a value. `arrays`: the program is given arrays, so that constants are arrays or Tensors."""
    some = [
        lambda: a[part(rng)],
        lambda: a.reshape(2, 3).T if a.size == 6 else a[::-1],
        lambda: a.reshape(-1),
        lambda: np.flip(a),
        lambda: a.detach() if isinstance(a, Tensor) and (a.requires_grad or not arrays) else a[...],
    ]
    return some[rng.integers(len(some))]()


def total(a: Any) -> Any:
    return (a * a).sum()


class Program:
    """A function with a state, drawn from a seed; two of the same seed do the same."""

    def __init__(self, seed: int):
        rng = self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.kinds = [KINDS[k] for k in rng.integers(0, 3, rng.integers(1, 4))]
        self.w = Tensor(rng.normal(size=6))
        self.h = Tensor(rng.normal(size=6), requires_grad=False)
        self.table = rng.normal(size=6)
        self.steps = int(rng.integers(1, 5))
        self.writes = bool(rng.random() < 0.5)

    def __call__(self, *args: Any) -> Any:
        rng = np.random.default_rng([self.seed, 1])
        live = [*args, self.w, self.h]
        for _ in range(self.steps):
            self.step(rng, live, args)
        picked = [live[k] for k in rng.integers(0, len(live), rng.integers(1, 4))]
        if rng.random() < 0.4:
            picked.append(view(rng, picked[0], "array" in self.kinds))
        if rng.random() < 0.2:
            picked.append(np.full(3, 2.0))
        if rng.random() < 0.2:
            picked.append(self.made(np.arange(3.0)))
        if rng.random() < 0.1:
            picked.append(self.table)
        picked.append(sum([total(a) * (k + 1) for k, a in enumerate(live)]))
        return picked[0] if len(picked) == 1 else tuple(picked)

    def made(self, array: Any) -> Any:
        """A constant that the function makes; an array beside arrays, since it would be returned as one."""
        return array if "array" in self.kinds else Tensor(array, requires_grad=False)

    def step(self, rng: Any, live: list[Any], args: Any) -> None:
        a, b = (live[k] for k in rng.integers(0, len(live), 2))
        kind = rng.integers(11)
        if kind <= 1:
            live.append(view(rng, a, "array" in self.kinds))
        elif kind == 2:
            live.append(a * 2 + b if a.shape == b.shape else a * 2)
        elif kind == 3:
            live.append(a * self.table if a.shape == (6,) else np.sin(a))
        elif kind == 4:
            live.append(a * self.w if a.shape == (6,) else np.cos(a))
        elif kind == 5 and self.writes:
            target = args[rng.integers(len(args))]
            if isinstance(target, np.ndarray) or not target.requires_grad:
                target[part(rng)] = 0.5
        elif kind == 6 and self.writes:
            target = args[rng.integers(len(args))]
            if isinstance(target, np.ndarray) or not target.requires_grad:
                target *= 2
        elif kind == 7 and self.writes and len(live) == len(args) + 2:  # there are no views of h yet
            self.h.data = self.h * 0.5 + 1
        elif kind == 8 and self.writes:
            self.h[1:3] = 0.25
        elif kind == 9:
            live.append(self.made(np.full(6, 3.0)))
        elif kind == 10:
            live.append(a.copy())


class Caller:
    """What goes on around the calls of a program, drawn from its seed: each of two has arguments of its own."""

    def __init__(self, program: Program, f: Callable[..., Any]):
        self.program, self.f = program, f
        self.rng = np.random.default_rng([program.seed, 2])
        self.buffers = [np.zeros(6) for _ in program.kinds]
        self.tensors = [Tensor(np.zeros(6), requires_grad=kind == "variable") for kind in program.kinds]
        self.losses: list[Any] = []
        self.kept: list[Any] = []

    def arguments(self) -> list[Any]:
        rng = self.rng
        args: list[Any] = []
        for kind, buffer, tensor in zip(self.program.kinds, self.buffers, self.tensors, strict=True):
            values, how = rng.normal(size=6), rng.integers(6)
            if kind == "array":
                if how < 3:
                    buffer[:] = values  # the one buffer is refilled
                args.append(buffer if how < 3 else values)
            else:
                if how == 0:
                    tensor.cached_data[:] = values
                elif how == 1:
                    tensor.data = Tensor(values)
                args.append(tensor if how < 2 else Tensor(values, requires_grad=kind == "variable"))
        if len(args) > 1 and self.program.kinds[0] == self.program.kinds[1]:
            how = rng.integers(5)
            if how == 0:
                args[1] = args[0]
            elif how == 1:
                args[1] = args[0][::-1]
            elif how == 2:
                args[1] = args[0].reshape(2, 3).reshape(-1)
            elif how == 3 and self.program.kinds[0] == "constant":
                args[1] = args[0].detach()
        return args

    def call(self) -> list[Any]:
        """One call, and what is done with its results; all numbers that can be seen afterwards."""
        rng, program = self.rng, self.program
        args = self.arguments()
        shown = args[0][1:] if rng.random() < 0.3 else None  # a view that the function does not get
        returned = self.f(*args)
        results = returned if isinstance(returned, tuple) else (returned,)
        seen = [*map(numbers, results)]
        loss = results[-1]
        if isinstance(loss, Tensor) and loss.requires_grad:
            self.losses.append(loss)
        for _ in range(rng.integers(3)):
            self.write(rng, results, args)
        self.kept += [*results, shown]
        if rng.random() < 0.3:
            program.w.data = program.w * 0.9
        if rng.random() < 0.2:
            program.w.cached_data[0] = 0.3
        if self.losses and rng.random() < 0.5:
            loss = self.losses.pop(rng.integers(len(self.losses)))
            loss.backward()
            seen += [
                numbers(program.w.grad),
                *[numbers(t.grad) for t in args if isinstance(t, Tensor) and t.op is None],
            ]
        live = [*args, *self.buffers, *self.tensors, *self.kept, program.w, program.h, program.table]
        return seen + [*map(numbers, live)]

    def write(self, rng: Any, results: Any, args: Any) -> None:
        target = (*results[:-1], *args)[rng.integers(len(results) - 1 + len(args))]
        how, at = rng.integers(3), rng.integers(2)
        if isinstance(target, Tensor) and target.requires_grad:
            if how == 0 and target.op is not None:
                target.cached_data[at % len(target)] = 5.0
        elif target.ndim and target.shape[0] > 1:
            if how and isinstance(target, Tensor):
                target.cached_data[at] = 4.0
            else:
                target[at] = 6.0


def numbers(a: Any) -> Any:
    """What can be seen of a value: its kind, and its numbers."""
    if a is None:
        return None
    if isinstance(a, Tensor):
        return "Tensor", a.requires_grad, a.detach().numpy()
    return "array", False, np.array(a)


def compare(seed: int, calls: int = 6) -> int:
    """Compare a program as it is with itself captured; how many graphs were captured."""
    eager, program = Program(seed), Program(seed)
    f = compile(program.__call__)
    sides = [Caller(eager, eager), Caller(program, f)]
    for i in range(calls):
        outcomes: list[Any] = []
        for side in sides:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CompileWarning)
                try:
                    outcomes.append(side.call())
                except (ValueError, TypeError) as error:
                    outcomes.append(type(error))
        expected, got = outcomes
        where = f"seed {seed}, call {i}"
        if isinstance(expected, type) or isinstance(got, type):
            assert expected is got, (where, outcomes)
            break
        assert len(got) == len(expected), where
        for k, (a, b) in enumerate(zip(got, expected, strict=True)):
            assert (a is None) == (b is None), (where, k)
            if a is not None:
                assert a[:2] == b[:2], (where, k, a, b)
                assert_allclose(a[2], b[2], rtol=1e-12, atol=1e-12, err_msg=f"{where}, value {k} of {len(got)}")
    return sum(c.replay is not None for found in f._captured.values() for c in found)


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed):
    compare(seed)


def test_random_programs_are_captured():
    """A comparison of runs as they are would prove nothing."""
    assert sum(compare(seed) > 0 for seed in range(30)) >= 15


# Single programs ------------------------------------------------------------------------------------------------------


def both(f: Callable[..., Any]) -> Any:
    """A function as it is, and captured."""
    return f, compile(f)


def test_second_derivatives_after_a_change():
    """What was computed goes on with the values that it was computed from, in a second derivative, too."""
    for k in range(2):
        w, buffer = Tensor([0.3, 0.7]), np.ones(2)
        f = both(lambda x, w=w: (w**3 * x).sum())[k]
        for _ in range(2):
            f(buffer)
        buffer[:] = 2.0
        y = f(buffer)
        buffer[:] = 100.0
        w.data = w * 10
        slope = needle.autograd.sweep({y: Tensor(1.0)}, [w], tensors=True, record=True)[0][1]
        assert_allclose(slope.detach().numpy(), 6 * np.array([0.3, 0.7]) ** 2, rtol=1e-12)
        slope.sum().backward()
        assert_allclose(w.grad.numpy(), 12 * np.array([0.3, 0.7]), rtol=1e-12)
        assert_allclose(w.numpy(), [3.0, 7.0])


def test_a_weight_whose_array_was_handed_out_is_no_constant():
    for k in range(2):
        w = Tensor([1.0, 2.0])
        w.cached_data[0] = 3.0
        f = both(lambda x, w=w: (w * w).sum() + x.sum())[k]
        for i in range(4):
            w.data = w * 0.5
            now = w.numpy()
            f(np.full(2, float(i))).backward()
            assert_allclose(w.grad.numpy(), 2 * now)


def test_what_equals_an_argument_is_no_alias_of_it():
    """A plan leaves out a product with ones, a sum with zeros, a copy: the result is a new array all the same."""
    functions = [lambda x: x * np.ones(3), lambda x: x + np.zeros(3), lambda x: x.copy()]
    for f in functions:
        g = compile(f)
        for i in range(4):
            x = np.arange(3.0) + i
            assert not np.shares_memory(g(x), x)
            w = Tensor(x, requires_grad=False)
            g(w).cached_data[...] = 9.0
            assert_array_equal(w.numpy(), x)


def test_an_array_becomes_a_value():
    """`w.data = x` copies an array."""
    w = Tensor(np.zeros(3), requires_grad=False)

    @compile
    def step(x):
        w.data = x
        return x * 2

    for i in range(4):
        x = np.full(3, float(i))
        step(x)
        x[:] = 100.0
        assert_array_equal(w.numpy(), np.full(3, float(i)))


def test_an_argument_is_a_view_of_what_the_function_does_not_get():
    """The base of the first call's argument is nothing to the second call."""

    def f(row):
        row *= 2
        return row.sum()

    for g in both(f):
        for view in (True, True, False, True, False):
            base = Tensor(np.arange(4.0), requires_grad=False)
            row = base[1:] if view else Tensor(np.arange(1.0, 4.0), requires_grad=False)
            assert g(row).numpy() == 12
            assert_array_equal(row.numpy(), [2.0, 4.0, 6.0])
            assert_array_equal(base.numpy(), [0.0, 2.0, 4.0, 6.0] if view else np.arange(4.0))


def test_a_view_of_an_argument_follows():
    def f(x):
        x[0] = 7.0
        return x * 1

    for g in both(f):
        for _ in range(4):
            x = Tensor(np.arange(3.0), requires_grad=False)
            head, same = x[:2], x.detach()
            g(x)
            assert_array_equal(head.numpy(), [7.0, 1.0])
            assert_array_equal(same.numpy(), [7.0, 1.0, 2.0])


def test_results_that_are_views_of_each_other():
    w = Tensor(np.arange(4.0))

    def f(x):
        y = x * w.detach()
        return y, y[1:], y.reshape(2, 2).T, w[:2], w.detach()

    for of in (Tensor, np.array):
        for g in both(f):
            w.data = Tensor(np.arange(4.0))
            for i in range(4):
                x = np.arange(1.0, 5.0)
                y, tail, square, head, same = g(Tensor(x, requires_grad=False) if of is Tensor else x)
                y[1] = 10.0 + i
                square[1, 1] = 20.0 + i
                same[0] = 30.0 + i
                seen = [numbers(a)[2] for a in (y, tail, square, head, w)]
                expected = [30.0 + i - 1 if i else 0.0, 10.0 + i, 6.0, 20.0 + i]
                assert_array_equal(seen[0], expected)
                assert_array_equal(seen[1], expected[1:])
                assert_array_equal(seen[2], np.reshape(expected, (2, 2)).T)
                assert_array_equal(seen[3], [30.0 + i, 1.0])
                assert_array_equal(seen[4], [30.0 + i, 1.0, 2.0, 3.0])
                head.sum().backward()
                assert_array_equal(w.grad.numpy(), [1.0, 1.0, 0.0, 0.0])


@pytest.mark.filterwarnings("ignore:.*is not compiled")
def test_views_of_a_value_that_is_not_returned():
    def overlapping(x):
        y = x * 2
        return y[1:], y[:3]

    def disjoint(x):
        y = x * 2
        return y[:2], y[2:]

    for f in (overlapping, disjoint):
        for g in both(f):
            for _ in range(4):
                a, b = g(Tensor(np.arange(4.0), requires_grad=False))
                a[0] = 9.0
                assert_array_equal(b.numpy(), [0.0, 9.0, 4.0] if f is overlapping else [4.0, 6.0])
    captured = compile(disjoint)
    captured(Tensor(np.arange(4.0), requires_grad=False))
    assert "operations were recorded" in captured.explain()


def test_constants_are_new_at_each_call():
    table = np.arange(3.0)

    def f(x):
        fresh, made = np.zeros(3), Tensor([1.0, 2.0], requires_grad=False)
        return x * made, fresh, made, fresh, table

    for g in both(f):
        for i in range(4):
            y, fresh, made, again, outside = g(Tensor([1.0, 1.0], requires_grad=False))
            assert_array_equal(y.numpy(), [1.0, 2.0])
            assert_array_equal(fresh, np.zeros(3))
            assert fresh is again
            assert outside is table
            fresh += 1
            made.cached_data[:] = 5.0 + i
            y.cached_data[:] = 5.0


@pytest.mark.filterwarnings("ignore:.*is not compiled")
def test_data_are_set_and_elements_are_assigned():
    def before(x, w):
        w.data = w * 2
        w[0] = 5.0
        return x * w

    def after(x, w):
        w[0] = 5.0
        w.data = w * 2
        return x * w

    for f in (before, after):
        seen = []
        for g in both(f):
            w = Tensor(np.ones(3), requires_grad=False)
            head, array = w[:2], w.cached_data
            for _ in range(4):
                seen.append([g(Tensor(np.ones(3), requires_grad=False), w).numpy(), head.numpy(), array.copy()])
        for got, expected in zip(seen[4:], seen[:4], strict=True):
            for a, b in zip(got, expected, strict=True):
                assert_array_equal(a, b)


# Contexts ------------------------------------------------------------------------------------------------------------


def with_errors(**modes: str) -> Callable[..., Any]:
    def f(x):
        with np.errstate(**modes):
            return np.log(x)

    return f


def with_half(x):
    with np.errstate(divide="ignore"):
        y = np.log(x)
    return y, np.log(x - 1)


def decorated(x):
    return np.log(x)


def without_warnings(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.log(x)


def errors_of(f: Callable[..., Any], x: Any) -> Any:
    """The warnings of a call, and its error."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            f(x)
            error = None
        except (FloatingPointError, needle.AnomalyError) as raised:
            error = type(raised)
    return error, [str(w.message) for w in seen if w.category is not CompileWarning]


@pytest.mark.parametrize("outside", ["warn", "ignore", "raise"])
@pytest.mark.parametrize(
    "f",
    [
        with_errors(divide="ignore"),
        with_errors(all="ignore"),
        with_errors(divide="raise"),
        with_errors(all="warn"),
        with_half,
        np.errstate(divide="ignore")(decorated),
        np.errstate(divide="raise")(decorated),
        without_warnings,
    ],
)
def test_floating_point_errors(f, outside):
    """In any context around the call, and if that is another one than at the capture."""
    g = compile(f)
    for now in ("warn", outside, outside, "ignore", outside):
        with np.errstate(divide=now):
            for x in ([2.0, 3.0], [2.0, 3.0], [0.0, 2.0], [1.0, 2.0]):
                x = Tensor(x, requires_grad=False)
                assert errors_of(g, x) == errors_of(f, x)


@pytest.mark.filterwarnings("ignore:.*is not compiled")
def test_watchers_that_a_function_opens(capsys):
    def f(x):
        with needle.trace():
            return x * 2

    for g in both(f):
        for _ in range(3):
            g(Tensor([1.0]))
            assert "x * 2" in capsys.readouterr().out


def test_a_silenced_function_is_replayed():
    g = compile(with_errors(all="ignore"))
    for _ in range(3):
        assert errors_of(g, Tensor([0.0, 1.0], requires_grad=False)) == (None, [])
    assert "operations were recorded" in g.explain()


if __name__ == "__main__":
    first, last = ([0, *map(int, sys.argv[1:])] if len(sys.argv) < 3 else [*map(int, sys.argv[1:])])[:2]
    failed = 0
    for seed in range(first, last):
        try:
            compare(seed)
        except Exception as error:
            failed += 1
            print(f"{type(error).__name__} {str(error).strip().splitlines()[0] if str(error) else ''} [seed {seed}]")
    print(f"{last - first} programs, {failed} failed")
