"""A compiled function is never stale and never silently wrong: each is compared with the same function uncompiled, on a
state of its own, call by call: results, types, what became of arguments and state; and all of that again at the end."""

from __future__ import annotations

import collections
import contextlib
import contextvars
import copy
import dataclasses
import functools
import gc
import pickle
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import needle
import numpy as np
import pytest
from needle import Tensor, autograd, no_grad, ops
from needle.compile import CompileWarning, compile
from needle.compile.frame import Frames
from needle.compile.guards import MOST_WRITTEN
from needle.compile.source import WRITTEN
from needle.nested import children_of
from numpy.testing import assert_allclose, assert_array_equal
from samples import SAMPLES
from samples.scipy import SCIPY
from samples.special import SPECIAL
from test_laws import is_recorded, members, precision, some, tensors_of, weighted_sum, weights_like
from test_random_programs import steps

AS_IT_IS = pytest.mark.filterwarnings("ignore:.* run as it is. an argument:needle.compile.CompileWarning")

# The comparison ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def replays() -> Any:
    """Counts the calls that were replayed: a comparison of runs as they are would prove nothing. Nothing is patched for
    that, because what can be reached from a function is looked through when it is captured."""
    done: list[Any] = []

    def note(frame: Any, event: str, arg: Any) -> None:
        if event != "return" or arg is None or not frame.f_code.co_filename.startswith(f"{WRITTEN}run "):
            return
        caller = frame.f_back.f_back if frame.f_back.f_code is Frames.run.__code__ else frame.f_back
        if caller.f_code.co_name == "replay":
            done.append(caller.f_code.co_filename)

    Agreement.replays = done
    before = sys.getprofile()
    sys.setprofile(note)
    yield done
    sys.setprofile(before)


def captures(f: Any) -> int:
    """How many replays it keeps."""
    return sum(c.replay is not None for found in f._captured.values() for c in found)


def leaves_of(tree: Any) -> list[Any]:
    _, children, make = children_of(tree)
    return [tree] if make is None else [leaf for child in children for leaf in leaves_of(child)]


def facts_of(tree: Any) -> Any:
    """What there is to say of a result or a state, without its numbers, and the numbers."""
    if isinstance(tree, Tensor):
        gradient = tree.grad if tree.op is None else None
        numbers = [tree.detach().numpy()] + ([] if gradient is None else [gradient.detach().numpy()])
        return ("Tensor", tree.shape, tree.dtype, tree.requires_grad, gradient is None), numbers
    if isinstance(tree, (np.ndarray, np.generic)):
        kind = np.ndarray if isinstance(tree, np.generic) else type(tree)  # NumPy makes numbers of arrays without axes
        return (kind.__name__, tree.shape, tree.dtype), [np.array(tree)]
    keys, children, make = children_of(tree)
    if make is None and hasattr(tree, "__dict__") and not callable(tree):
        keys, children, make = list(vars(tree)), list(vars(tree).values()), True
    if make is None:
        return (type(tree).__name__, repr(tree) if isinstance(tree, (int, float, complex, str, bytes)) else None), []
    found = [facts_of(child) for child in children]
    return (type(tree).__name__, keys, [facts for facts, _ in found]), [a for _, numbers in found for a in numbers]


def identities(result: Any, others: Any) -> list[Any]:
    """Which of the results are the same object as an earlier one or as something that the function was given."""
    known: dict[int, int] = {}
    for leaf in (*leaves_of(others), *leaves_of(result)):
        known.setdefault(id(leaf), len(known))
    return [known[id(leaf)] for leaf in leaves_of(result) if isinstance(leaf, (Tensor, np.ndarray, np.generic))]


def assert_same(got: Any, expected: Any, close: float = 0) -> None:
    assert got[0] == expected[0]
    for a, b in zip(got[1], expected[1], strict=True):
        if close:
            assert_allclose(a, b, rtol=close, atol=close * np.abs(b).max(initial=1e-300))
        else:
            assert_array_equal(a, b)
            there = ~np.isnan(a) if a.dtype.kind in "fc" else np.full(a.shape, True)
            if a.dtype.kind == "f":
                assert_array_equal(np.signbit(a[there]), np.signbit(b[there]))


class Agreement:
    replays: ClassVar[list[Any]] = []


def agree(
    make: Callable[[], Any],
    arguments: Callable[[int], Any] = lambda i: (),
    *,
    calls: int = 5,
    replayed: int | None = None,
    warns: str = "",
    close: float = 0,
    use: Callable[..., Any] | None = None,
    before: Callable[..., Any] | None = None,
) -> Any:
    """`make()` gives a function and its state, twice: one is compiled. `arguments(i)` are those of a call,
    made twice, too. `before(i, state)` is done before a call; `use(result, args, state)` after it; what it returns is
    compared, too. Of the calls, all but the first are replayed, unless said otherwise; none if it warns."""
    (eager, eager_state), (f, state) = make(), make()
    compiled = compile(f)
    Agreement.replays.clear()
    with pytest.warns(CompileWarning, match=warns) if warns else contextlib.nullcontext():
        kept = _compare((eager, eager_state), (compiled, state), arguments, calls, close, use, before)
    for got, expected in kept:  # nothing has been overwritten by later calls
        for a, b in zip(got[:3], expected[:3], strict=True):
            assert_same(facts_of(a), facts_of(b), close)
    expected_replays = (0 if warns else calls - 1) if replayed is None else replayed
    assert len(Agreement.replays) == expected_replays, compiled.explain()
    return compiled


def _compare(eager: Any, compiled: Any, arguments: Any, calls: int, close: float, *more: Any) -> list[Any]:
    use, before = more
    kept = []
    for i in range(calls):
        sides = []
        for side, (function, its_state) in enumerate((eager, compiled)):
            if before is not None:
                before(i, its_state)
            args = arguments(i)
            random = np.random.get_state()
            result = function(*args)
            same = identities(result, (args, its_state))
            used = use(result, args, its_state) if use is not None else None
            after = np.random.get_state()[1:3]
            sides.append((result, used, args, same, [facts_of(a) for a in (result, used, args, its_state)], after))
            if side == 0:
                np.random.set_state(random)
        expected, got = sides
        kept.append((got, expected))
        for a, b in zip(got[4], expected[4], strict=True):
            assert_same(a, b, close)
        assert got[3] == expected[3]
        assert got[5][1] == expected[5][1]
        assert_array_equal(got[5][0], expected[5][0])
    return kept


def pure(f: Any) -> Any:
    """A `make` for a function without a state."""
    return lambda: (f, ())


def random(i: int, *shape: int, dtype: Any = np.float64) -> Any:
    values = np.random.default_rng([i, *shape]).normal(size=shape)
    return (values + 1j * values[..., ::-1]).astype(dtype) if np.dtype(dtype).kind == "c" else values.astype(dtype)


def variable(i: int, *shape: int, dtype: Any = np.float64) -> Tensor:
    return Tensor(random(i, *shape, dtype=dtype))


def constant(i: int, *shape: int, dtype: Any = np.float64) -> Tensor:
    return Tensor(random(i, *shape, dtype=dtype), requires_grad=False)


# Arguments -----------------------------------------------------------------------------------------------------------


def test_one_tensor():
    agree(pure(lambda x: ops.tanh(x) * x + 1), lambda i: (constant(i, 4),))


def test_one_array():
    agree(pure(lambda x: np.tanh(x) * x + 1), lambda i: (random(i, 4),))


def test_numbers_of_arrays_come_as_from_numpy():
    f = compile(lambda x: np.sum(x * x))
    assert [type(f(random(i, 4))) for i in range(3)] == [np.float64] * 3


def test_functions_of_needle_give_arrays_of_arrays():
    """As compile() says; uncompiled they would be Tensors."""
    f = compile(ops.tanh)
    for i in range(4):
        y = f(random(i, 3))
        assert type(y) is np.ndarray
        assert_array_equal(y, np.tanh(random(i, 3)))


def test_tensors_and_arrays_mixed():
    agree(pure(lambda x, y: (x * y, ops.exp(x), np.exp(y))), lambda i: (constant(i, 4), random(i + 9, 4)))


@pytest.mark.parametrize("code", "?bhilBHILefdgFD")
def test_every_dtype(code):
    a = [np.array([[0, 1, 2], [3, i, 1]]).astype(code) for i in range(5)]
    agree(pure(lambda x: (x * x, x.sum(), x.T, x[0], np.maximum(x, x[::-1]))), lambda i: (a[i],))
    agree(pure(lambda x: (x * x, x.sum(), x.T, x[0])), lambda i: (Tensor(a[i], requires_grad=False),))


def test_bytes_in_the_other_order():
    swapped = np.dtype("f8").newbyteorder()
    agree(pure(lambda x: np.tanh(x) * 2), lambda i: (random(i, 4).astype(swapped),))


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1,), (1, 1)])
def test_awkward_shapes(shape):
    def f(x):
        return ops.tanh(x) * 2 + x, x.sum(), (x * x).sum(0) if x.ndim else x

    agree(pure(f), lambda i: (constant(i, *shape),))
    agree(pure(f), lambda i: (variable(i, *shape),), use=lambda r, args, _: (r[0] * r[1]).sum().backward(), close=1e-14)


LAYOUTS = {
    "F": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_memory(layout):
    def f(x):
        return np.tanh(x) * 2, x @ x, x.sum(0), x.reshape(-1), x.T + 1, np.maximum(x, 0)[::2]

    agree(pure(f), lambda i: (LAYOUTS[layout](random(i, 4, 4)),), close=1e-14)
    agree(pure(f), lambda i: (LAYOUTS[layout](random(i, 4, 4)) if i % 2 else random(i, 4, 4),), close=1e-14)
    agree(pure(f), lambda i: (random(i, 4, 4) if i % 2 else LAYOUTS[layout](random(i, 4, 4)),), close=1e-14)


def test_read_only_arrays():
    def frozen(i):
        a = random(i, 4)
        a.flags.writeable = False
        return a

    agree(pure(lambda x: np.tanh(x) * 2), lambda i: (frozen(i),))


@dataclasses.dataclass
class Pair:
    a: Any
    b: Any


@dataclasses.dataclass
class WithMore(Pair):
    def __post_init__(self):
        self.scale = 1.0


Named = collections.namedtuple("Named", "a b")

CONTAINERS = {
    "list": lambda a, b: [a, b],
    "tuple": lambda a, b: (a, b),
    "dict": lambda a, b: {"a": a, "b": [b]},
    "dataclass": Pair,
    "namedtuple": Named,
    "nested": lambda a, b: [{"a": (a, [Pair(b, 2.0)])}],
    "OrderedDict": lambda a, b: collections.OrderedDict(b=b, a=a),
}


def total(tree: Any) -> Any:
    leaves = [leaf for leaf in leaves_of(tree) if not isinstance(leaf, str)]
    return functools.reduce(lambda a, b: a * 2 + b, leaves)


@pytest.mark.parametrize("of", [constant, variable, random])
@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers(kind, of):
    make = CONTAINERS[kind]
    agree(pure(total), lambda i: (make(of(i, 3), of(i + 9, 3)),))
    agree(pure(lambda x: make(x * 2, x + 1)), lambda i: (of(i, 3),))
    agree(pure(lambda tree: tree), lambda i: (make(of(i, 3), of(i + 9, 3)),))


def test_the_structure_changes():
    kinds = [list(CONTAINERS)[i] for i in (0, 2, 0, 5, 2)]
    agree(pure(total), lambda i: (CONTAINERS[kinds[i]](constant(i, 3), constant(i + 9, 3)),), replayed=2)
    agree(pure(total), lambda i: ([constant(k, 3) for k in range(1 + i % 2)],), replayed=3)
    agree(pure(total), lambda i: (dict.fromkeys("ab" if i % 2 else "ba", constant(i, 3)),), replayed=3)


def test_equal_keys_of_other_types():
    agree(
        pure(lambda d: sum(key * value for key, value in d.items())),
        lambda i: ({[2, 2.0, 2 + 0j][i % 3]: Tensor([1, 2 + i], requires_grad=False)},),
        replayed=2,
    )


def test_shapes_change():
    agree(pure(lambda x: ops.tanh(x).sum()), lambda i: (constant(i, 3 + i % 2),), replayed=3)
    agree(pure(lambda x: ops.tanh(x).sum(-1)), lambda i: (constant(i, *[(3, 4), (12,), (4, 3)][i % 3]),), replayed=2)


def test_dtypes_change():
    dtypes = [np.float32, np.float64, np.int64, np.float32, np.int64]
    agree(pure(lambda x: x * 2 + x.sum()), lambda i: (constant(i, 3, dtype=dtypes[i]),), replayed=2)


def test_needs_of_arguments_change():
    agree(
        pure(lambda x: x * x),
        lambda i: ((variable if i % 2 else constant)(i, 3),),
        use=lambda y, args, _: y.sum().backward() if y.requires_grad else None,
        replayed=3,
    )
    shared = [Tensor(np.arange(3.0)), Tensor(np.arange(3.0))]

    def toggled(i):
        x = shared[0]
        shared.reverse()
        x.grad = None
        x.requires_grad = i % 2 == 0
        return (x,)

    agree(
        pure(lambda x: x * x),
        toggled,
        use=lambda y, args, _: y.sum().backward() if y.requires_grad else None,
        replayed=3,
    )


def test_detached_arguments_get_their_gradient():
    agree(
        pure(lambda x, w: (x * w).sum()),
        lambda i: (variable(i, 3).detach(), variable(i + 9, 3)),
        use=lambda y, args, _: y.backward(),
    )


NUMBERS = {
    "int": [1, 2, 1, 3, 2],
    "types": [1, 1.0, True, 1 + 0j, 1],
    "zeros": [0.0, -0.0, 0.0, -0.0, 0.0],
    "complex zeros": [complex(0, 0.0), complex(0, -0.0), complex(-0.0, 0.0), complex(0, -0.0), complex(0, 0.0)],
    "nan": [float("nan"), 1.0, float("nan"), 1.0, float("inf")],
    "bool": [True, False, 1, 0, True],
    "float32": list(map(np.float32, [0.1, 0.1, 0.2, 0.1, 0.2])),
    "float64": list(map(np.float64, [0.1, 0.1, 0.2, 0.1, 0.2])),
}


@pytest.mark.parametrize(("kind", "replayed"), list(zip(NUMBERS, [2, 1, 3, 2, 2, 1, 3, 3], strict=True)))
def test_numbers_change(kind, replayed):
    agree(
        pure(lambda x, n: (x * n, x - n, np.arctan2(x * 0 + n.imag, -1))),
        lambda i: (constant(i, 3, dtype=np.float32 if "64" not in kind else np.float64), NUMBERS[kind][i]),
        replayed=replayed,
    )


def test_strings_none_and_types_change():
    def f(x, how):
        return {"sum": x.sum(), "max": x.max(), None: x, b"x": x[0], "": x * 2}[how]

    hows = ["sum", "max", None, b"x", "", "sum", None]
    agree(pure(f), lambda i: (constant(i, 3), hows[i]), calls=7, replayed=2)
    agree(pure(lambda x, d: x.astype(d)), lambda i: (constant(i, 3), [np.float32, np.dtype("f8")][i % 2]), replayed=3)
    agree(pure(lambda x, s: x[s]), lambda i: (constant(i, 5), slice(0, 2 + i % 2)), replayed=3)
    agree(pure(lambda x, s: x[s.start :]), lambda i: (constant(i, 5), range(i % 2, 4)), replayed=3)


@pytest.mark.parametrize("kind", ["number", "object", "function", "scalar"])
def test_a_number_that_is_new_each_time_costs_no_capture_each_time(kind, replays):
    """A learning rate that decays: neither memory nor time may go into captures without end."""
    f = compile(lambda x, n: x * (n(2) if callable(n) else getattr(n, "n", n)))
    x = constant(0, 3)
    values = {
        "number": lambda i: 0.5**i,
        "object": lambda i: SimpleNamespace(n=i + 1.0),
        "function": lambda i: lambda m: m * (i + 1),
        "scalar": np.float64,
    }
    with pytest.warns(CompileWarning):
        for i in range(50):
            n = values[kind](i)
            expected = x.numpy() * (n(2) if callable(n) else getattr(n, "n", n))
            assert_array_equal(f(x, n).numpy(), expected)
    assert captures(f) <= 20


def test_keywords_and_defaults():
    def f(x, y=2.0, *more, z=None, **rest):
        return x * y + sum(more) + (0 if z is None else z) + sum(k * (j + 1) for j, k in enumerate(rest.values()))

    ways = [
        lambda f, i: f(constant(i, 3)),
        lambda f, i: f(x=constant(i, 3)),
        lambda f, i: f(constant(i, 3), constant(i + 5, 3)),
        lambda f, i: f(constant(i, 3), y=constant(i + 5, 3)),
        lambda f, i: f(constant(i, 3), 1.0, constant(i + 5, 3), constant(i + 6, 3)),
        lambda f, i: f(constant(i, 3), z=constant(i + 5, 3)),
        lambda f, i: f(constant(i, 3), a=constant(i + 5, 3), b=constant(i + 6, 3)),
        lambda f, i: f(constant(i, 3), b=constant(i + 5, 3), a=constant(i + 6, 3)),
        lambda f, i: f(constant(i, 3), y=3.0),
    ]
    compiled = compile(f)
    for i in range(5):
        for way in ways:
            assert_same(facts_of(way(compiled, i)), facts_of(way(f, i)))


def test_too_many_arguments_are_an_error_as_usual():
    f = compile(lambda x: x)
    for _ in range(3):
        with pytest.raises(TypeError, match="positional argument"):
            f(1, 2)


def test_the_same_array_twice():
    def f(x, y):
        return x * 2 + y, x is y

    def twice(i, of):
        x, y = of(i, 3), of(i + 9, 3)
        return (x, x) if i % 2 else (x, y)

    for of in (constant, variable, random):
        agree(pure(lambda x, y: x * 2 + y), functools.partial(twice, of=of), replayed=3)
        agree(pure(lambda x, y: x * 2 + y), lambda i, of=of: twice(i + 1, of), replayed=3)
    agree(pure(f), functools.partial(twice, of=constant), replayed=3)


@pytest.mark.parametrize("of", ["constant", "variable", "random"])
def test_the_same_array_twice_among_many(of):
    """So many that they are not compared in pairs."""

    def arguments(i):
        args = [{"constant": constant, "variable": variable, "random": random}[of](i + 9 * k, 3) for k in range(7)]
        return tuple([*args[:5], args[2], args[6]] if i % 2 else args)

    def f(*args):
        return sum([a * (k + 1) for k, a in enumerate(args)]), len(set(map(id, args)))

    agree(pure(f), arguments, replayed=3)
    agree(pure(f), lambda i: arguments(i + 1), replayed=3)


@pytest.mark.parametrize("n", [20, MOST_WRITTEN, 3 * MOST_WRITTEN])
def test_many_values_are_read(n):
    """More than are looked at one by one; some are other objects of the same value, one is another value."""

    def make():
        state = SimpleNamespace(**{f"n{i}": i + 1000.5 for i in range(n)})
        names = [f"state.n{i}" for i in range(n)]
        scope = {"state": state}
        exec(f"def f(x): return x * ({' + '.join(names)})", scope)
        return scope["f"], state

    def before(i, state):
        state.n3 = float(str(1003.5))
        if i == 3:
            state.n7 = -1.0

    agree(make, lambda i: (constant(i, 3),), before=before, replayed=3)


def test_names_of_the_same_value():
    def shared(i):
        x = variable(i, 3)
        return (x, x.detach()) if i % 2 else (x, variable(i + 9, 3).detach())

    agree(
        pure(lambda x, y: (x * y).sum()),
        shared,
        use=lambda r, args, _: r.backward(),
        replayed=3,
    )
    agree(pure(lambda x, y: (x * y).sum()), lambda i: shared(i + 1), use=lambda r, args, _: r.backward(), replayed=3)


def test_an_argument_that_is_also_closed_over():
    """On one call the argument is what the function closes over, on the others it is not."""

    def make(of):
        w = of(0, 3)
        return (lambda x: (x * 2 + w * w).sum()), [w]

    for of in (constant, variable, random):
        given: dict[int, Any] = {}

        def make_and_keep(of=of, given=given):
            f, state = make(of)
            given[len(given)] = state[0]
            return f, state

        turn = iter(range(100))

        def arguments(i, of=of, given=given, turn=turn):
            side = next(turn) % 2
            return (given[side],) if i in {0, 3} else (of(i, 3),)

        agree(make_and_keep, arguments, replayed=4 if of is random else 3)  # an array there is no argument's


def test_views_of_each_other_as_arguments():
    def f(x, y):
        x *= 2
        return y.sum()

    def views(i):
        x = random(i, 4)
        return (x, x[1:]) if i % 2 else (x, random(i + 9, 3))

    agree(pure(f), views, replayed=2)
    agree(pure(f), lambda i: views(i + 1), replayed=1)


def test_an_input_is_an_output():
    agree(pure(lambda x: x), lambda i: (constant(i, 3),))
    agree(pure(lambda x: x), lambda i: (random(i, 3),))
    agree(pure(lambda x: (x, x * 2, x)), lambda i: (variable(i, 3),))
    agree(pure(lambda x, y: [y, {"x": x}]), lambda i: (random(i, 3), constant(i + 9, 3)))
    agree(pure(lambda x: x.detach()), lambda i: (variable(i, 3),))


def test_views_of_inputs_as_outputs():
    """They are views again: what is written into one of them shows in the input and in the others."""

    def f(x):
        return x[1:], x.T, x.reshape(-1), x[None], np.flip(x)

    def write(result, args, _):
        args[0][0, 0] = 7.0
        result[0][0, 0] = 8.0
        result[4][0, 0] = 9.0

    for of in (constant, random, variable):
        agree(pure(f), lambda i, of=of: (of(i, 3, 2),))
    for of in (constant, random):
        agree(pure(f), lambda i, of=of: (of(i, 3, 2),), use=write)


def test_outputs_are_the_callers():
    """Whoever writes into a result changes no other one, and nothing that a later call computes."""
    table = np.arange(3.0)

    def f(x):
        fixed = Tensor(np.ones(3), requires_grad=False)
        return x * 2, fixed, fixed * 3, ops.tanh(Tensor(table, requires_grad=False)), np.full(2, 4.0), (x * 0 + 1)

    def write(result, args, _):
        for y in result:
            (y if isinstance(y, np.ndarray) else y.cached_data)[...] = 9
        return result

    agree(pure(f), lambda i: (constant(i, 3),), use=write)
    agree(pure(f), lambda i: (constant(i, 3000)[:3].detach(),), use=write)


def test_large_outputs_are_the_callers():
    def write(result, args, _):
        for y in result:
            y.cached_data[...] = 9
        return result

    agree(pure(lambda x: (x * 2, x + 1, x.T * 1, -x)), lambda i: (constant(i, 100, 100),), use=write)


def test_the_same_output_twice():
    def f(x):
        y = x * 2
        return y, y, [y]

    agree(pure(f), lambda i: (constant(i, 3),))
    agree(pure(f), lambda i: (random(i, 3),))
    agree(pure(f), lambda i: (variable(i, 3),), use=lambda r, args, _: (r[0] * r[1] * r[2][0]).sum().backward())


def test_results_are_ignored():
    agree(pure(lambda x: None), lambda i: (constant(i, 3),))
    agree(pure(lambda x: (x * 2, x.shape, "text", 1.5, None, {"n": len(x)})), lambda i: (constant(i, 3),))
    f = compile(lambda x: x * 2)
    for i in range(5):
        f(constant(i, 3))
    assert "operations were recorded" in f.explain()


def test_arguments_are_not_kept_alive():
    f = compile(lambda x: ops.tanh(x) * 2)
    for n in (3, 3000):
        f(constant(0, n))
        a = random(1, n)
        f(a)
        f(a)
        y = f(a)
        given, result = weakref.ref(a), weakref.ref(y)
        del a, y
        assert given() is None
        assert result() is None


# What is read from outside -------------------------------------------------------------------------------------------

RATE = 0.5
TABLE = np.arange(3.0)
WEIGHT = Tensor([1.0, 2.0, 3.0], requires_grad=False)


def test_a_closed_over_number_changes():
    def make():
        rate = 0.5

        def change(to):
            nonlocal rate
            rate = to

        return (lambda x: x * rate), SimpleNamespace(change=change)

    agree(
        make,
        lambda i: (constant(i, 3),),
        before=lambda i, state: state.change([0.5, 0.5, 2, 2, 0.5][i]),
        replayed=3,
    )


def test_a_global_changes():
    global RATE  # noqa: PLW0603

    def f(x):
        return x * RATE

    for i, value in enumerate([0.5, 0.5, 2, 2.0, 0.5]):
        RATE = value
        if i == 0:
            compiled = compile(f)
        assert_same(facts_of(compiled(constant(i, 3))), facts_of(f(constant(i, 3))))
    assert len(Agreement.replays) == 2


def test_a_global_array_and_tensor_change():
    def f(x):
        return x * WEIGHT + TABLE

    compiled = compile(f)
    for i in range(6):
        if i == 2:
            TABLE[1] = 7
        if i == 4:
            WEIGHT.data = np.array([4.0, 4.0, 4.0])
        assert_same(facts_of(compiled(constant(i, 3))), facts_of(f(constant(i, 3))))
    assert len(Agreement.replays) == 4


def outside(kind):
    """A number that is kept somewhere, a function that reads it, and one that changes it."""
    if kind == "attribute":
        holder = SimpleNamespace(n=1.0)
        return (lambda x: x * holder.n), (lambda v: setattr(holder, "n", v))
    if kind == "nested attribute":
        holder = SimpleNamespace(inner=SimpleNamespace(n=1.0))
        return (lambda x: x * holder.inner.n), (lambda v: setattr(holder, "inner", SimpleNamespace(n=v)))
    if kind == "list":
        numbers = [1.0]
        return (lambda x: x * numbers[0]), (lambda v: numbers.__setitem__(0, v))
    if kind == "dict":
        table = {"n": 1.0}
        return (lambda x: x * table["n"]), (lambda v: table.__setitem__("n", v))
    if kind == "dict.get":
        table = {}
        return (lambda x: x * table.get("n", 1.0)), (lambda v: table.update(n=v))
    if kind == "deque":
        queue = collections.deque([1.0], 1)
        return (lambda x: x * queue[0]), queue.append
    if kind == "array":
        array = np.ones(3)
        return (lambda x: x * array), array.fill
    if kind == "view of an array":
        array = np.ones(3)
        view = array[::-1]
        return (lambda x: x * view), (lambda v: array.__setitem__(1, v))
    if kind == "0-d array":
        array = np.array(1.0)
        return (lambda x: x * array), array.fill
    if kind == "default":

        def f(x, n=1.0):
            return x * n

        return f, (lambda v: setattr(f, "__defaults__", (v,)))
    if kind == "code":

        def g(x):
            return x * 1.0

        codes = {2.5: lambda x: x * 2.0 + 1, 3.5: lambda x: x - 1.0}
        return (lambda x: g(x) * 1.0), (lambda v: setattr(g, "__code__", codes[v].__code__))
    if kind == "property":

        class Holder:
            m = 1.0

            @property
            def n(self):
                return self.m * 2

        holder = Holder()
        return (lambda x: x * holder.n), (lambda v: setattr(holder, "m", v))
    if kind == "slot":

        class Slotted:
            __slots__ = ("n",)

        slotted = Slotted()
        slotted.n = 1.0
        return (lambda x: x * slotted.n), (lambda v: setattr(slotted, "n", v))
    if kind == "class attribute":

        class Class:
            n = 1.0

        return (lambda x: x * Class().n), (lambda v: setattr(Class, "n", v))
    if kind == "getattr":
        holder = SimpleNamespace(n=1.0)
        name = "".join("n")
        return (lambda x: x * getattr(holder, name)), (lambda v: setattr(holder, "n", v))
    if kind == "partial":
        holder = [1.0]
        return functools.partial(lambda k, x: x * k[0], holder), (lambda v: holder.__setitem__(0, v))
    if kind == "inner function":
        holder = [1.0]

        def outer():
            return lambda x: x * holder[0]

        return (lambda x: outer()(x) * 1.0), (lambda v: holder.__setitem__(0, v))
    if kind == "sorted":
        numbers = [1.0, 2.0]
        return (lambda x: x * sorted(numbers)[0]), (lambda v: numbers.append(v / 10))
    if kind == "set":
        members = {1.0}
        return (lambda x: x * sum(members)), members.add
    if kind == "objects in an array":
        objects = np.array([SimpleNamespace(n=1.0)])
        return (lambda x: x * objects[0].n), (lambda v: setattr(objects[0], "n", v))
    if kind == "context variable":
        return (lambda x: x * CONTEXT.get()), CONTEXT.set
    raise AssertionError(kind)


CONTEXT = contextvars.ContextVar("CONTEXT", default=1.0)
KINDS = (
    ["attribute", "nested attribute", "list", "dict", "dict.get", "deque", "array", "view of an array", "0-d array"]
    + [
        "default",
        "code",
        "property",
        "slot",
        "class attribute",
        "getattr",
        "partial",
        "inner function",
        "sorted",
        "set",
    ]
    + ["objects in an array", "context variable"]
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_outside_changes(kind):
    def make():
        f, change = outside(kind)
        return f, SimpleNamespace(change=change)

    agree(
        make,
        lambda i: (constant(i, 3),),
        before=lambda i, state: state.change([0, 0, 2.5, 0, 3.5][i]) if i in {2, 4} else None,
        replayed=2,
    )


class Layer:
    """With a state of all kinds, and a compiled method."""

    def __init__(self, seed=0):
        self.w = variable(seed, 3)
        self.training = True
        self.rate = 0.5

    def forward(self, x):
        y = ops.tanh(x * self.w)
        return y * self.rate if self.training else y

    compiled = compile(forward)


def test_methods_and_other_instances():
    layers = [Layer(0), Layer(1)]
    for i in range(10):
        layer = layers[i % 2]
        x = constant(i, 3)
        assert_same(facts_of(layer.compiled(x)), facts_of(layer.forward(x)))
    assert len(Agreement.replays) == 8
    assert_same(facts_of(Layer.compiled(layers[0], x)), facts_of(layers[0].forward(x)))


def test_instances_that_are_made_anew():
    """The id of one that is gone may be another's."""
    for i in range(5):
        layer = Layer(i)
        assert_same(facts_of(layer.compiled(constant(i, 3))), facts_of(layer.forward(constant(i, 3))))
        del layer
        gc.collect()


def test_few_instances_are_kept_alive():
    layers = [Layer(i) for i in range(30)]
    with pytest.warns(CompileWarning, match="keeps changing"):
        for layer in layers:
            layer.compiled(constant(0, 3))
    refs = [weakref.ref(layer) for layer in layers]
    del layers, layer
    gc.collect()
    assert [ref() for ref in refs].count(None) >= 20


def test_train_and_eval():
    def make():
        layer = Layer()
        return layer.forward, layer

    def before(i, layer):
        layer.training = i % 2 == 0
        if i == 4:
            layer.rate = 0.25

    agree(make, lambda i: (constant(i, 3),), before=before, replayed=2)


def test_a_bound_method():
    def make():
        layer = Layer()
        return layer.forward, layer

    agree(make, lambda i: (constant(i, 3),), use=lambda y, args, layer: (y * y).sum().backward())


def test_callable_objects():
    class Model(Layer):
        def __call__(self, x):
            return self.forward(x)

    def make():
        model = Model()
        return model, SimpleNamespace(model=model)

    (eager, _), (model, _) = make(), make()
    compiled = compile(model)
    for i in range(5):
        eager.rate = model.rate = [1, 1, 2, 2, 3][i]
        assert_same(facts_of(compiled(constant(i, 3))), facts_of(eager(constant(i, 3))))
    assert len(Agreement.replays) == 2


def test_partial_and_static_and_class_methods():
    class Scaled:
        n = 2.0

        @staticmethod
        @compile
        def static(x):
            return x * 2

        @classmethod
        def of_class(cls, x):
            return x * cls.n

    agree(lambda: (functools.partial(lambda a, x: x * a, 2.0), ()), lambda i: (constant(i, 3),))
    agree(lambda: (Scaled.of_class, ()), lambda i: (constant(i, 3),))
    for i in range(3):
        assert_array_equal(Scaled.static(constant(i, 3)).numpy(), random(i, 3) * 2)
        assert_array_equal(Scaled().static(constant(i, 3)).numpy(), random(i, 3) * 2)


@AS_IT_IS
def test_dataclasses_as_arguments_with_more_than_fields():
    def make():
        return (lambda pair: (pair.a + pair.b) * pair.scale), ()

    def arguments(i):
        pair = WithMore(constant(i, 3), 2.0)
        pair.scale = [1.0, 1.0, 2.0, 3.0, 1.0][i]
        return (pair,)

    f, compiled = make()[0], compile(make()[0])
    for i in range(5):
        assert_same(facts_of(compiled(*arguments(i))), facts_of(f(*arguments(i))))


@AS_IT_IS
def test_a_method_of_a_dataclass():
    @dataclasses.dataclass
    class Model:
        w: Any
        rate: float = 0.5

        def __post_init__(self):
            self.steps = 0

        def forward(self, x):
            return x * self.w * self.rate

        def step(self, x):
            self.steps += 1
            self.w = self.w - x
            return self.w * 1.0

    for of in (random, constant):
        eager, model = Model(of(0, 3)), Model(of(0, 3))
        forward = compile(Model.forward)
        for i in range(5):
            eager.rate = model.rate = 0.5 if i < 3 else 2.0
            assert_same(facts_of(forward(model, of(i, 3))), facts_of(eager.forward(of(i, 3))))
        assert model.steps == eager.steps
        step = compile(Model.step)
        for i in range(5):
            assert_same(facts_of(step(model, of(i, 3))), facts_of(eager.step(of(i, 3))))
            assert_same(facts_of(model), facts_of(eager))


@AS_IT_IS
def test_subclasses_of_containers_with_attributes():
    class Numbers(list):
        scale = 1.0

    f = compile(lambda numbers: (numbers[0] + numbers[1]) * numbers.scale)
    for i in range(5):
        numbers = Numbers([constant(i, 3), constant(i + 9, 3)])
        numbers.scale = [1.0, 1.0, 2.0, 2.0, 1.0][i]
        expected = (numbers[0] + numbers[1]) * numbers.scale
        assert_array_equal(f(numbers).numpy(), expected.numpy())


def test_objects_as_arguments():
    holder = SimpleNamespace(n=1.0, w=constant(0, 3), a=random(1, 3), inner=[2.0])
    f = lambda h, x: x * h.n + h.w * h.inner[0] + h.a  # noqa: E731
    compiled = compile(f)

    def changes():
        yield None
        yield None
        yield setattr(holder, "n", 2.0)
        yield setattr(holder, "w", constant(5, 3))
        yield holder.a.fill(3)
        yield holder.inner.__setitem__(0, 5.0)
        yield holder.w.cached_data.fill(8)

    for i, _ in enumerate(changes()):
        assert_same(facts_of(compiled(holder, constant(i, 3))), facts_of(f(holder, constant(i, 3))))


@AS_IT_IS
def test_what_changes_in_place_among_the_arguments():
    """Arguments that are told apart by their identity: their content may change."""
    labels = np.array(["a", "b", "a"])
    masked = compile(lambda x, labels: x * (labels == "a"))
    for i in range(4):
        labels[i % 3] = "ab"[i % 2]
        assert_array_equal(masked(constant(i, 3), labels).numpy(), random(i, 3) * (labels == "a"))
    objects = np.array([1.0, 2.0, 3.0], dtype=object)
    scaled = compile(lambda x, objects: x * float(objects[0]))
    for i in range(4):
        objects[0] = i // 2 + 1.0
        assert_array_equal(scaled(constant(i, 3), objects).numpy(), random(i, 3) * objects[0])
    data = bytearray(b"abc")
    taken = compile(lambda x, data: x * data[0])
    for i in range(4):
        data[0] = i // 2
        assert_array_equal(taken(constant(i, 3), data).numpy(), random(i, 3) * data[0])


@AS_IT_IS
def test_subclasses_of_ndarray(tmp_path):
    batch = np.memmap(tmp_path / "data", np.float64, "w+", shape=(3,))
    f = compile(lambda x: np.tanh(x) * 2)
    for i in range(4):
        batch[:] = random(i // 2, 3)
        assert_array_equal(np.asarray(f(batch)), np.tanh(random(i // 2, 3)) * 2)
    rows = np.memmap(tmp_path / "more", np.float64, "w+", shape=(50, 3))
    rows[:] = random(0, 50, 3)
    for row in rows:
        assert_array_equal(np.asarray(f(row)), np.tanh(np.array(row)) * 2)
    assert captures(f) < 20
    matrix = np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False])
    total = compile(lambda x: x.sum())
    for i in range(4):
        matrix[0] = i
        assert total(matrix) == i + 3


def test_subclasses_of_tensor():
    class Parameter(Tensor):
        pass

    def make():
        w = Parameter(random(0, 3))
        return (lambda x: (x * w).sum()), [w]

    agree(make, lambda i: (constant(i, 3),), use=lambda y, args, _: y.backward())
    agree(pure(lambda x: (x * x).sum()), lambda i: (Parameter(random(i, 3)),), use=lambda y, args, _: y.backward())


# Tensors from outside ------------------------------------------------------------------------------------------------


def test_data_are_changed_outside():
    def make():
        w = variable(0, 3)
        return (lambda x: ops.tanh(x * w) * w), [w]

    def before(i, state):
        w = state[0]
        if i == 1:
            w.data = np.array([5.0, 6.0, 7.0])
        if i == 2:
            w.cached_data[...] = 4
        if i == 3:
            w.data = variable(7, 3)
        if i == 4:
            w.cached_data[0] = 9

    agree(make, lambda i: (constant(i, 3),), before=before, use=lambda y, args, _: y.sum().backward())


@pytest.mark.filterwarnings("ignore:.*is not compiled")
@pytest.mark.parametrize("needs", [False, True])
@pytest.mark.parametrize("when", range(4))
def test_elements_are_assigned_outside(when, needs):
    w = Tensor(random(0, 3), requires_grad=needs)
    f = lambda x: (x * w * w).sum()  # noqa: E731
    compiled = compile(f)
    for i in range(6):
        if i == when:
            w[0] = 5.0
        if i == 4:
            w[1:] = -1.0
        if i == 5:
            w.data = np.array([1.0, 2.0, 3.0])
        x = constant(i, 3)
        found = []
        for g in (f, compiled):
            y = g(x)
            if needs:
                y.backward()
            found.append(facts_of([y.detach(), w.grad.detach() if needs else None]))
        assert_same(*found)


def test_two_leaves_of_equal_value():
    def make():
        a, b = Tensor(np.ones(3)), Tensor(np.ones(3))
        return (lambda x: (x * a + b * b).sum()), [a, b]

    def before(i, state):
        if i == 2:
            state[1].data = np.array([2.0, 3.0, 4.0])

    agree(make, lambda i: (constant(i, 3),), before=before, use=lambda y, args, _: y.backward())


def test_two_leaves_that_share_their_array():
    """A target network: `target.data = net.data`, until one of them moves on."""

    def make():
        net, target = variable(0, 3), constant(1, 3)
        target.data = net.data
        return (lambda x: ((x * net - x * target * 2) ** 2).sum()), [net, target]

    def before(i, state):
        net, target = state
        if i == 1:
            net.data = random(5, 3)
        if i == 3:
            target.data = net.data
        if i == 4:
            target.data = random(6, 3)

    agree(make, lambda i: (constant(i, 3),), before=before, use=lambda y, *_: y.backward(), close=1e-14, replayed=3)


def test_a_leaf_and_its_detached_name_part():
    def make():
        w = variable(0, 3)
        old = w.detach()
        return (lambda x: (x * w - old).sum()), [w, old]

    agree(
        make,
        lambda i: (constant(i, 3),),
        before=lambda i, state: setattr(state[0], "data", random(i, 3)),
        use=lambda y, args, _: y.backward(),
    )


def test_an_argument_and_an_outside_tensor_share_their_array():
    kept = []

    def make():
        w = constant(0, 3)
        kept.append(w)
        return (lambda x: x * 2 + w), [w]

    turns = iter(range(100))

    def arguments(i):
        w = kept[next(turns) % 2]
        return (w.detach(),) if i == 0 else (constant(i, 3),)

    agree(make, arguments, replayed=3)


def test_a_tensor_is_replaced_in_its_container():
    def make():
        params = {"w": variable(0, 3), "b": variable(1, 3)}
        return (lambda x: (x * params["w"] + params["b"]).sum()), params

    def before(i, params):
        if i == 2:
            params["w"] = variable(7, 3)
        if i == 3:
            params["b"] = constant(8, 3)
        if i == 4:
            params["w"] = variable(9, 1)

    agree(make, lambda i: (constant(i, 3),), before=before, replayed=1, use=lambda y, args, _: y.backward())


def test_requires_grad_is_toggled():
    def make():
        w, b = variable(0, 3), variable(1, 3)
        return (lambda x: (x * w + b).sum()), [w, b]

    def before(i, state):
        state[0].grad = None
        state[0].requires_grad = i not in {1, 2}

    agree(make, lambda i: (constant(i, 3),), before=before, replayed=3, use=lambda y, args, _: y.backward())


def test_requires_grad_is_set_within():
    def make():
        w = constant(0, 3)

        def f(x):
            w.requires_grad = True
            return (x * w).sum()

        return f, [w]

    agree(make, lambda i: (constant(i, 3),), warns="requires_grad|gradient", use=lambda y, args, _: y.backward())


def test_grad_mode():
    def make():
        w = variable(0, 3)
        return (lambda x: (x * w).sum()), [w]

    (f, _), (g, _) = make(), make()
    g = compile(g)
    for i in range(6):
        with no_grad() if i % 3 == 1 else contextlib.nullcontext():
            assert_same(facts_of(g(constant(i, 3))), facts_of(f(constant(i, 3))))
    assert len(Agreement.replays) == 4


def test_grad_modes_within():
    def make():
        w = variable(0, 3)

        def f(x):
            with no_grad():
                scale = ops.exp(w) * x
                with needle.enable_grad():
                    y = w * x
            return y * scale, scale

        return f, [w]

    agree(make, lambda i: (constant(i, 3),), use=lambda r, args, _: (r[0] * r[0]).sum().backward())


def test_lazy_mode():
    f = compile(lambda x: ops.tanh(x) * 2)
    for i in range(4):
        autograd.LAZY_MODE = i % 2 == 1
        try:
            assert_array_equal(f(constant(i, 3)).numpy(), np.tanh(random(i, 3)) * 2)
        finally:
            autograd.LAZY_MODE = False


# What the function changes -------------------------------------------------------------------------------------------


def batch(i):
    return constant(i, 5, 4, dtype=np.float32), Tensor(
        np.eye(3, dtype=np.float32)[np.arange(5) * (i + 1) % 3], requires_grad=False
    )


def network():
    return [variable(1, 4, 6, dtype=np.float32), variable(2, 6, 3, dtype=np.float32)]


def loss_of(params, x, y):
    return ops.softmax_loss(ops.relu(x @ params[0]) @ params[1], y)


def test_a_training_step():
    def make():
        params = network()

        def step(x, y):
            loss = loss_of(params, x, y)
            loss.backward()
            with no_grad():
                for p in params:
                    p.data = p - 0.1 * p.grad
            return loss.detach()

        return step, params

    agree(make, batch, close=1e-6)


def test_gradients_after_the_call():
    def make():
        params = network()

        def step(x, y):
            loss = loss_of(params, x, y)
            loss.backward()
            return loss.detach()

        return step, params

    agree(make, batch, close=1e-6)
    agree(make, batch, close=1e-6, use=lambda loss, args, params: [(p.grad * 2).detach() for p in params])


def test_gradients_of_arguments():
    def step(x, w):
        y = (ops.tanh(x * w) * w).sum()
        y.backward()
        return x.grad

    agree(pure(step), lambda i: (variable(i, 3), variable(i + 9, 3)))


def test_accumulation_over_calls():
    def make():
        params = network()

        def step(x, y):
            loss = loss_of(params, x, y)
            loss.backward(accumulate=True)
            return loss.detach()

        return step, params

    def before(i, params):
        if i == 3:
            for p in params:
                p.grad = None

    agree(make, batch, before=before, replayed=3, close=1e-6)  # without a gradient, with one, without, with


def test_accumulation_within():
    def make():
        w = variable(0, 3)

        def step(x):
            w.grad = None
            for k in range(3):
                (ops.tanh(x * w) * k).sum().backward(accumulate=True)
            with no_grad():
                w.data = w - 0.1 * w.grad

        return step, [w]

    agree(make, lambda i: (constant(i, 3),), close=1e-14)


def test_zeroed_gradients():
    def make():
        w, b = variable(0, 3), variable(1, 3)

        def step(x):
            w.grad = None
            b.grad = Tensor(np.zeros(3))
            (x * w).sum().backward()
            b.grad = x * 2
            return w.grad.detach() * 1

        return step, [w, b]

    agree(make, lambda i: (constant(i, 3),))


def test_clipped_gradients():
    def make():
        w = variable(0, 3)

        def step(x):
            (x * w * w).sum().backward()
            norm = (w.grad.detach() ** 2).sum() ** 0.5
            w.grad = w.grad.detach() * ops.minimum(1.0, 0.5 / norm)

        return step, [w]

    agree(make, lambda i: (constant(i, 3),), close=1e-14)


def test_a_gradient_that_is_there_before():
    def make():
        w = variable(0, 3)

        def step(x):
            old = 0 if w.grad is None else w.grad.detach() * 0.5
            (x * w).sum().backward()
            w.grad = w.grad.detach() + old

        return step, [w]

    def before(i, state):
        if i == 3:
            state[0].grad = np.full(3, 7.0)
        if i == 4:
            state[0].grad = None

    agree(make, lambda i: (constant(i, 3),), before=before, replayed=3)


def test_momentum():
    def make():
        params = network()
        moving = [Tensor(np.zeros(p.shape, p.dtype), requires_grad=False) for p in params]

        def step(x, y):
            loss = loss_of(params, x, y)
            loss.backward()
            with no_grad():
                for p, m in zip(params, moving, strict=True):
                    m.data = 0.9 * m + p.grad
                    p.data = p - 0.1 * m
            return loss.detach()

        return step, [params, moving]

    agree(make, batch, close=1e-6)


def adam(params, step_number, m, v):
    with no_grad():
        for i, p in enumerate(params):
            m[i].data = 0.9 * m[i] + 0.1 * p.grad
            v[i].data = 0.999 * v[i] + 0.001 * p.grad * p.grad
            p.data = p - 0.01 * (m[i] / (1 - 0.9**step_number)) / ((v[i] / (1 - 0.999**step_number)) ** 0.5 + 1e-8)


def test_adam_with_a_number_of_steps_in_a_tensor():
    def make():
        params = [variable(1, 4, 6), variable(2, 6, 3)]
        m, v = [[Tensor(np.zeros(p.shape), requires_grad=False) for p in params] for _ in range(2)]
        t = Tensor(np.array(0.0), requires_grad=False)

        def step(x, y):
            loss = loss_of(params, x, y)
            loss.backward()
            t.data = t + 1
            adam(params, t, m, v)
            return loss.detach()

        return step, [params, m, v, t]

    agree(make, lambda i: tuple(a.astype(np.float64).detach() for a in batch(i)), close=1e-12)


@pytest.mark.parametrize("kind", ["nonlocal", "attribute", "list"])
def test_adam_that_counts_its_steps(kind):
    def make():
        params = [variable(1, 4, 6), variable(2, 6, 3)]
        m, v = [[Tensor(np.zeros(p.shape), requires_grad=False) for p in params] for _ in range(2)]
        t, counts, state = 0, [0], SimpleNamespace(t=0)

        def step(x, y):
            nonlocal t
            loss = loss_of(params, x, y)
            loss.backward()
            if kind == "nonlocal":
                t += 1
                n = t
            elif kind == "list":
                counts[0] += 1
                n = counts[0]
            else:
                state.t += 1
                n = state.t
            adam(params, n, m, v)
            return loss.detach()

        return step, [params, m, v]

    agree(make, lambda i: tuple(a.astype(np.float64).detach() for a in batch(i)), warns=r"from \d to \d", close=1e-12)


def test_two_tensors_change_places():
    def make():
        a, b = constant(0, 3), constant(1, 3)

        def step(x):
            a.data, b.data = b + x, a * 1.0

        return step, [a, b]

    def make_swapped():
        a, b = constant(0, 3), constant(1, 3)

        def step(x):
            a.data, b.data = b.data, a.data
            return a * x

        return step, [a, b]

    agree(make, lambda i: (constant(i, 3),))
    agree(make_swapped, lambda i: (constant(i, 3),))


def test_a_tensor_is_read_before_and_after_it_changes():
    def make():
        w = constant(0, 3)

        def step(x):
            before = w * x
            w.data = w + 1
            between = w * x
            w.data = w * 2
            return before, between, w * x, w

        return step, [w]

    agree(make, lambda i: (constant(i, 3),))


def test_old_values_are_returned():
    """What a tensor was before it changed, and views of that."""

    def make():
        w, v = constant(0, 300), constant(1, 300)

        def step(x):
            old, part, turned = w.detach(), w[1:], w[::-1]
            w.data = w + x
            kept = v.data
            v.data = w * old
            return old, part, turned, kept, w * 1, v.detach()

        return step, [w, v]

    agree(make, lambda i: (constant(i, 300),))


def test_old_values_are_held_outside():
    def make():
        w = constant(0, 300)
        held = []

        def step(x):
            w.data = w * 0.5 + x

        return step, SimpleNamespace(w=w, held=held)

    def before(i, state):
        state.held.append([state.w.detach, lambda: state.w[5:], lambda: state.w.cached_data[::2]][i % 3]())

    agree(make, lambda i: (constant(i, 300),), before=before)


def test_updates_of_an_outer_graph():
    """A result is differentiated after another compiled function has moved the weights on."""

    def make():
        w = variable(0, 300)
        forward = lambda x: (ops.tanh(x * w) * w).sum()  # noqa: E731

        def update(x):
            w.data = w * 0.5 + x

        return forward, update, w

    forward, update, w = make()
    f, u, v = make()
    f, u = compile(f), compile(u)
    for i in range(4):
        x = constant(i, 300)
        y, z = forward(x), f(x)
        update(x)
        u(x)
        y.backward()
        z.backward()
        assert_allclose(v.grad.numpy(), w.grad.numpy(), rtol=1e-13)
        assert_array_equal(v.numpy(), w.numpy())


def test_a_tensor_becomes_an_argument():
    """Its value is the argument's array, which it shares, as `p.data = t` says."""

    def make():
        w = constant(0, 3)

        def step(x):
            y = w * 2
            w.data = x
            return y

        return step, [w]

    agree(make, lambda i: (constant(i, 3),))

    def change(result, args, state):
        args[0].cached_data[0] = 5
        return state[0].numpy()

    agree(make, lambda i: (constant(i, 3),), use=change)


def test_an_argument_is_changed():
    def step(x, y):
        x.data = x * 2 + y
        return x.sum()

    agree(pure(step), lambda i: (constant(i, 3), constant(i + 9, 3)))

    def in_place(x, y):
        x += y
        x[0] = 7
        return x.sum()

    agree(pure(in_place), lambda i: (random(i, 3), random(i + 9, 3)))

    def in_place_view(x):
        x[1:] *= 2
        return x * 1

    agree(pure(in_place_view), lambda i: (random(i, 3),))


@pytest.mark.filterwarnings("ignore:.*is not compiled")
def test_elements_of_an_argument_are_assigned():
    def step(x):
        x[0] = 7.0
        return x * 2

    for of in (constant, random):
        compiled = compile(step)
        for i in range(5):
            x, other = of(i, 3), of(i, 3)
            assert_same(facts_of(compiled(x) * 1), facts_of(step(other) * 1))
            assert_array_equal(np.asarray(x), np.asarray(other))


@pytest.mark.filterwarnings("ignore:.*is not compiled")
def test_elements_of_an_attribute_are_assigned():
    def make():
        state = SimpleNamespace(h=Tensor(np.zeros(3), requires_grad=False), n=np.zeros(3))

        def step(x):
            state.h[0] = state.h[1] + x[0]
            state.h[1:] += x[1:]
            return state.h * 2

        return step, state.h

    (f, h), (g, other) = make(), make()
    g = compile(g)
    for i in range(5):
        assert_array_equal(g(constant(i, 3)).numpy(), f(constant(i, 3)).numpy())
        assert_array_equal(h.numpy(), other.numpy())


def test_an_attribute_is_set():
    def make():
        state = SimpleNamespace(w=constant(0, 3))

        def step(x):
            state.w = state.w * 0.5 + x
            return state.w * 1.0

        return step, state

    agree(make, lambda i: (constant(i, 3),), warns=r"state.w")


def test_a_closed_over_tensor_is_replaced():
    def make():
        w = variable(0, 3)

        def step(x):
            nonlocal w
            y = (x * w * w).sum()
            y.backward()
            w = Tensor(w.detach() - 0.1 * w.grad.detach())
            return w * 1.0

        return step, ()

    agree(make, lambda i: (constant(i, 3),), warns="w, which")


def lists(kind):
    found = {
        "list": [],
        "dict": {},
        "set": set(),
        "deque": collections.deque(),
        "array": np.zeros(5),
        "bytearray": bytearray(),
    }
    add = {
        "list": lambda c: c.append(1),
        "dict": lambda c: c.update({len(c): 1}),
        "set": lambda c: c.add(len(c)),
        "deque": lambda c: c.append(1),
        "array": lambda c: c.__setitem__(int(c.sum()), 1.0),
        "bytearray": lambda c: c.extend(b"x"),
    }
    return found[kind], add[kind]


@pytest.mark.parametrize("kind", ["list", "dict", "set", "deque", "array", "bytearray"])
def test_a_container_grows(kind):
    def make():
        container, add = lists(kind)

        def step(x):
            add(container)
            return x * 2

        return step, container

    agree(make, lambda i: (constant(i, 3),), warns="not compiled")


@pytest.mark.parametrize("of", [constant, random])
def test_containers_among_the_arguments_are_changed(of):
    def step(x, table, results):
        table["y"] = x * 2
        results.append(x + 1)
        return x * 3

    agree(pure(step), lambda i: (of(i, 3), {}, []), warns="not compiled")

    def within(batch):
        batch["y"] = batch["x"] * 2
        return batch["y"] + 1

    agree(pure(within), lambda i: ({"x": of(i, 3)},), warns="not compiled")


def test_the_clock():
    def f(x):
        return x * 0 + time.perf_counter()

    g = compile(f)
    with pytest.warns(CompileWarning):
        values = [float(g(constant(0, 1))[0]) for _ in range(4)]
    assert sorted(set(values)) == values


def test_a_local_tensor_is_changed():
    def f(x):
        y = x * 2
        y.data = y + 1
        return y

    agree(pure(f), lambda i: (constant(i, 3),))

    def g(x):
        y = Tensor(np.zeros(3), requires_grad=False)
        y.data = x * 3
        z = y * 2
        y.data = z + y
        return y, z

    agree(pure(g), lambda i: (constant(i, 3),))


def test_a_local_leaf_with_a_gradient():
    def f(x):
        w = Tensor(np.ones(3))
        loss = (x * w * w).sum()
        loss.backward()
        return w.grad.detach(), loss.detach()

    agree(pure(f), lambda i: (constant(i, 3),))

    def g(x):
        w = Tensor(np.ones(3))
        (x * w * w).sum().backward()
        return w

    agree(pure(g), lambda i: (constant(i, 3),))


def test_a_local_tensor_requires_a_gradient():
    def f(x):
        w = x.detach() * 1
        w.requires_grad = True
        (w * w * x).sum().backward()
        return w.grad.detach()

    agree(pure(f), lambda i: (constant(i, 3),))


# Random numbers, branches, what looks at data ------------------------------------------------------------------------


def test_random_numbers():
    def make():
        rng = np.random.default_rng(0)
        return (lambda x: x * rng.normal(size=3)), ()

    agree(make, lambda i: (constant(i, 3),), warns="random generator")
    agree(pure(lambda x: x * np.random.normal(size=3)), lambda i: (constant(i, 3),), warns="global random state")
    agree(pure(lambda x: x * np.random.default_rng(5).normal(size=3)), lambda i: (constant(i, 3),))


def test_random_numbers_from_a_fresh_source():
    f = compile(lambda x: x + np.random.default_rng().normal(size=3))
    with pytest.warns(CompileWarning):
        values = {float(f(constant(0, 3)).sum().item()) for _ in range(4)}
    assert len(values) == 4


def test_random_numbers_in_an_argument():
    rngs = iter([np.random.default_rng(0), np.random.default_rng(0)] * 5)
    agree(
        pure(lambda x, rng: x * rng.normal(size=3)),
        lambda i: (constant(i, 3), next(rngs)),
        warns="random generator",
        replayed=0,
    )


def test_iterators():
    def make():
        numbers = iter(range(100))
        return (lambda x: x * next(numbers)), ()

    agree(make, lambda i: (constant(i, 3),), warns="iterator")


def test_generators():
    def f(x):
        for k in range(3):
            yield x * k

    g = compile(f)
    with pytest.warns(CompileWarning, match="generator"):
        for i in range(4):
            assert [list(y.numpy()) for y in g(constant(i, 3))] == [list(random(i, 3) * k) for k in range(3)]
    agree(pure(lambda x: sum(y * 2 for y in (x, x * 3))), lambda i: (constant(i, 3),))


def halved(x):
    while abs(x.sum()) > 0.1:
        x = x * 0.5
    return x


LOOKS: dict[str, Any] = {
    "bool": lambda x: x * 2 if x.sum() > 0 else -x,
    "float": lambda x: x * float(x.sum()),
    "int": lambda x: x * int(abs(x.sum()) * 10),
    "item": lambda x: x * x[0].item(),
    "numpy": lambda x: x * x.numpy()[0],
    "tolist": lambda x: x * max(x.tolist()),
    "asarray": lambda x: x * np.asarray(x)[0],
    "str": lambda x: x * len(str(x)),
    "format": lambda x: x * len(f"{x.sum():.3}"),
    "while": halved,
    "max of python": lambda x: max(x[0], x[1]) * x,
    "sorted": lambda x: sorted(x, key=abs)[0] * x,
    "mask": lambda x: x[x > 0].sum() * x,
    "nonzero": lambda x: x * len(np.nonzero(x > 0)[0]),
    "unique": lambda x: x * len(np.unique(x)),
    "index": lambda x: x * [1.0, 2.0][(x.sum() > 0).astype(int)],
    "contains": lambda x: x * (3 if 0.5 in x else 2),
    "cached_data": lambda x: x * x.cached_data[0],
    "allclose": lambda x: x * (2 if np.allclose(x, 1) else 3),
    "copy": lambda x: copy.deepcopy(x).numpy()[0] * x,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)) * x,
}


@pytest.mark.parametrize("look", LOOKS)
def test_what_looks_at_data(look):
    line = LOOKS[look].__code__.co_firstlineno + (look == "while")
    where = rf"test_compile\.py:{line}\b"
    agree(pure(LOOKS[look]), lambda i: (constant(i, 4),), warns=where)


def test_what_looks_at_a_tensor_from_outside():
    """It may be another one at the next call."""

    def make():
        fixed = Tensor(np.array([1.0, -2.0, 3.0]), requires_grad=False)
        return (lambda x: x * float(fixed.sum())), [fixed]

    def before(i, state):
        state[0].data = random(i, 3)

    agree(make, lambda i: (constant(i, 4),), before=before, warns="test_compile.py")


def test_the_warning_comes_once_and_where_the_call_is():
    f = compile(lambda x: x * float(x.sum()))
    with pytest.warns(CompileWarning) as found:
        for i in range(5):
            f(constant(i, 3))
    assert len(found) == 1
    assert found[0].filename == __file__
    assert "run as it is" in f.explain()


def test_what_returns_other_objects():
    class Result:
        def __init__(self, y):
            self.y = y

    f = compile(lambda x: Result(x * 2))
    with pytest.warns(CompileWarning, match="Result"):
        for i in range(4):
            assert_array_equal(f(constant(i, 3)).y.numpy(), random(i, 3) * 2)
    g = compile(lambda x: lambda: x * 2)
    with pytest.warns(CompileWarning, match="function"):
        for i in range(4):
            assert_array_equal(g(constant(i, 3))().numpy(), random(i, 3) * 2)


def test_methods_that_only_arrays_have():
    agree(pure(lambda x: x * len(x.tobytes())), lambda i: (random(i, 3),), warns="not compiled")


# Derivatives through and within --------------------------------------------------------------------------------------


def test_an_outer_loss():
    def make():
        w, b = variable(0, 3), variable(1, 3)
        return (lambda x: (ops.tanh(x * w) + b, ops.exp(w) * x.sum(), x * 1.0)), [w, b]

    def use(r, args, state):
        (r[0] * r[1] + r[2]).sum().backward()

    agree(make, lambda i: (constant(i, 3),), use=use, close=1e-14)
    agree(make, lambda i: (variable(i, 3),), use=use, close=1e-14)
    for k in range(3):
        agree(
            make, lambda i: (variable(i, 3),), use=lambda r, args, _, k=k: (r[k] * r[k]).sum().backward(), close=1e-14
        )


def test_outer_backward_in_another_order():
    """Results are kept, and differentiated last to first."""

    def make():
        w = variable(0, 3)
        return (lambda x: ops.tanh(x * w) * w), [w]

    (f, (w,)), (g, (v,)) = make(), make()
    g = compile(g)
    ys = [(f(constant(i, 3)), g(constant(i, 3))) for i in range(5)]
    for y, z in reversed(ys):
        y.sum().backward(accumulate=True)
        z.sum().backward(accumulate=True)
        assert_allclose(v.grad.numpy(), w.grad.numpy(), rtol=1e-14)


def test_data_change_between_forward_and_backward():
    def make():
        w = variable(0, 3)
        return (lambda x: ops.tanh(x * w) * w), [w]

    def use(y, args, state):
        state[0].data = random(5, 3)
        (y * y).sum().backward()

    agree(make, lambda i: (variable(i, 3),), use=use, close=1e-14)


def test_second_derivatives_outside():
    def make():
        w = variable(0, 3)
        return (lambda x: (ops.tanh(x * w) * w * x).sum()), [w]

    def use(y, args, state):
        w, x = state[0], args[0]
        y.backward()
        slope = (w.grad * w.grad * x).sum() + (x.grad * w).sum()
        slope.backward()
        third = (w.grad * 3).sum()
        third.backward()

    agree(make, lambda i: (variable(i, 3),), use=use, close=1e-12)


def test_second_derivatives_of_a_value_whose_gradient_was_taken_within():
    """The loss is alive, so that the gradients that the function left may be differentiated: rightly, or not at all."""
    w = variable(0, 3)

    def step(x):
        loss = (w * w * w * x).sum()
        loss.backward()
        return loss

    f = compile(step)
    losses = []
    for i in range(4):
        x = constant(i, 3)
        losses.append(f(x))
        try:
            (w.grad * w.grad).sum().backward()
        except ValueError as error:
            assert "gone" in str(error)
        else:
            assert_allclose(w.grad.numpy(), 36 * random(i, 3) ** 2 * w.numpy() ** 3, rtol=1e-12)


def test_backward_of_a_value_whose_gradient_was_taken_within():
    def make():
        w = variable(0, 3)

        def step(x):
            loss = (w * w * x).sum()
            loss.backward()
            return loss

        return step, [w]

    _, (g, _) = make(), make()
    g = compile(g)
    g(constant(0, 3))
    loss = g(constant(1, 3))
    with pytest.raises(ValueError, match="compiled"):
        loss.backward()


def test_an_outer_graph_goes_on_into_the_arguments():
    def make():
        w = variable(0, 3)
        return (lambda x, y: ops.tanh(x) * y), [w]

    def use(r, args, state):
        r.sum().backward()

    (f, (w,)), (g, (v,)) = make(), make()
    g = compile(g)
    for i in range(5):
        for function, leaf in ((f, w), (g, v)):
            h = ops.sin(leaf * constant(i, 3))
            (function(h, h * h) * leaf).sum().backward()
        assert_allclose(v.grad.numpy(), w.grad.numpy(), rtol=1e-14)


def test_a_compiled_function_within_a_compiled_one():
    def make():
        w = variable(0, 3)
        inner = lambda x: ops.tanh(x * w) * w  # noqa: E731
        return inner, w

    eager, w = make()
    inner, v = make()
    inner = compile(inner)
    outer = compile(lambda x: inner(x) * inner(x * 2))
    for i in range(6):
        x = constant(i, 3)
        if i % 2:
            inner(x)
        for y in ((eager(x) * eager(x * 2)), outer(x)):
            y.sum().backward()
        assert_allclose(v.grad.numpy(), w.grad.numpy(), rtol=1e-14)
        w.data = v.data = random(i, 3)
    assert len([name for name in Agreement.replays if "<lambda>" in name]) >= 5


TRANSFORMS: dict[str, Any] = {
    "grad": needle.grad,
    "value_and_grad": needle.value_and_grad,
    "grad of grad": lambda f: needle.grad(lambda x: (needle.grad(f)(x) * x).sum()),
    "jacobian": lambda f: needle.jacobian(lambda x: needle.grad(f)(x) * x),
    "hessian": needle.hessian,
    "hvp": lambda f: lambda x: needle.hvp(f, (x,), (x * 2,)),
    "jvp": lambda f: lambda x: needle.jvp(f, (x,), (x * 2,)),
    "checkpoint": lambda f: needle.grad(needle.checkpoint(f)),
    "elementwise_grad": lambda f: needle.elementwise_grad(lambda x: ops.tanh(x) * x),
    "pullback": lambda f: lambda x: needle.vjp(f, x)[1](2.0),
    "linearize": lambda f: lambda x: needle.linearize(f, x)[1](x),
}


def smooth(x):
    return (ops.tanh(x * 2) * ops.exp(-x * x)).sum() + (x * x).sum() ** 2


@pytest.mark.parametrize("of", [constant, random, variable])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_compiled_transforms(transform, of):
    agree(pure(TRANSFORMS[transform](smooth)), lambda i: (of(i, 3),), close=1e-12)


@pytest.mark.parametrize("of", [constant, random])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_of_a_compiled_function(transform, of):
    "" """Run as it is there, or replayed; and replayed between.""" ""
    f = compile(smooth)
    of_compiled, of_eager = TRANSFORMS[transform](f), TRANSFORMS[transform](smooth)
    for i in range(5):
        assert_same(facts_of(of_compiled(of(i, 3))), facts_of(of_eager(of(i, 3))), 1e-12)
        assert_same(facts_of(f(constant(i, 3))), facts_of(smooth(constant(i, 3))), 1e-14)
    assert len(Agreement.replays) >= 4


def test_transforms_by_what_is_closed_over():
    """Within grad(outer), an attribute holds that transform's tensor; outside of it, an ordinary one."""
    holder = SimpleNamespace(w=constant(0, 3))
    f = lambda x: (ops.tanh(x * holder.w) * holder.w).sum()  # noqa: E731
    compiled = compile(f)

    def outer(function, x):
        def of_w(w):
            before, holder.w = holder.w, w
            try:
                return function(x)
            finally:
                holder.w = before

        return of_w

    for i in range(2):
        x = constant(i, 3)
        for transform in (needle.grad, needle.hessian, needle.jacobian):
            got = transform(outer(compiled, x))(constant(i + 5, 3))
            assert_allclose(got.numpy(), transform(outer(f, x))(constant(i + 5, 3)).numpy(), rtol=1e-12)
        assert_array_equal(compiled(x).numpy(), f(x).numpy())


def test_transforms_of_a_function_that_closes_over_a_tensor():
    """The compiled function closes over the variable of a transform: made again for each call, or kept."""

    def by_hand(w):
        return compile(lambda x: (x * w * w).sum())(constant(0, 3))

    for i in range(3):
        got = needle.grad(by_hand)(constant(i, 3))
        assert_allclose(got.numpy(), 2 * random(0, 3) * random(i, 3), rtol=1e-12)


def test_checkpoints_within():
    def make():
        w = variable(0, 3)
        block = needle.checkpoint(lambda h: ops.tanh(h * w))

        def f(x):
            return block(block(x)).sum()

        return f, [w]

    agree(make, lambda i: (variable(i, 3),), use=lambda y, args, _: y.backward(), close=1e-14)


def test_gradients_within_stay_differentiable_within():
    def make():
        w = variable(0, 3)

        def f(x):
            y = (ops.exp(w * x)).sum()
            y.backward()
            slope = (w.grad * w.grad).sum()
            slope.backward()
            return w.grad.detach() * 1

        return f, [w]

    agree(make, lambda i: (constant(i, 3),), close=1e-12)


def test_gradient_penalty():
    def make():
        w = variable(0, 3)

        def f(x):
            slope = needle.grad(lambda a: (ops.tanh(a * w) * w).sum())(x)
            loss = (slope * slope).sum()
            loss.backward()
            w.data = w - 0.1 * w.grad
            return loss.detach()

        return f, [w]

    agree(make, lambda i: (constant(i, 3),), close=1e-12)


def test_own_rules():
    @needle.custom_gradient
    def clipped(x):
        return x * 1.0, lambda g: ops.minimum(g, 0.5)

    def make():
        w = variable(0, 3)
        return (lambda x: clipped(x * w).sum()), [w]

    agree(make, lambda i: (variable(i, 3),), use=lambda y, args, _: y.backward())


# All kinds of functions ----------------------------------------------------------------------------------------------


def assigning(x):
    out = np.zeros_like(x)
    for i in range(len(x)):
        out[i] = x[i] * (i + 1)
    out[1:] += x[:-1]
    out[::2] *= 2
    return out


def assigned_views(x):
    out = x * 1
    view = out[1:]
    view[0] = 5
    view *= x[1:]
    return out, view


def scan(x):
    h = x[0] * 0
    for a in x:
        h = np.tanh(h * 0.5 + a)
    return h


def unpacking(x):
    a, b, *c = x
    return a * b + c[0] - c[1]


FUNCTIONS: dict[str, Any] = {
    "assigning": assigning,
    "assigned views": assigned_views,
    "scan": scan,
    "where": lambda x: np.where(x > 0, x, np.exp(x)),
    "masks": lambda x: (x > 0) * x + np.where(np.abs(x) < 0.5, x * x, 0),
    "maximum": lambda x: np.maximum(x, 0) + np.minimum(x, x[::-1]),
    "relu": lambda x: np.clip(x, 0, None) + x * (x > 0),
    "fixed indices": lambda x: x[[0, 2, 1, 1]] * x[np.array([3, 3, 0, 0])],
    "fixed mask": lambda x: x[np.array([True, False, True, True])],
    "take": lambda x: np.take(x, [1, 2]),
    "einsum": lambda x: np.einsum("i,j->ij", x, x) @ x,
    "softmax": lambda x: ops.softmax(x) + ops.logsumexp(x),
    "sort": lambda x: np.sort(x) + np.cumsum(x),
    "statistics": lambda x: (x - x.mean()) / (x.std() + 1e-3),
    "shapes": lambda x: np.concatenate([x.reshape(2, 2).T, np.stack([x[:2], x[2:]])]).ravel(),
    "linalg": lambda x: np.linalg.solve(np.outer(x, x) + np.eye(4) * 9, x),
    "det": lambda x: np.linalg.det(np.outer(x, x) + np.eye(4)),
    "fft": lambda x: np.fft.ifft(np.fft.fft(x) * 2).real,
    "complex": lambda x: np.abs(x * (1 + 2j)) + (x * 1j).imag,
    "powers": lambda x: (x * x) ** 1.5 + x**3 + 2.0**x,
    "argmax": lambda x: x[x.argmax()] * x + x.argsort(),
    "integers": lambda x: (x * 3).astype(int) // 2 + (x * 3).astype(int) % 3,
    "split": lambda x: sum(np.split(x, 2)) + np.array_split(x, 2)[0],
    "unpacking": unpacking,
    "pad": lambda x: np.pad(x, 1)[1:-1] + np.roll(x, 1),
    "prod": lambda x: np.prod(x) + np.cumprod(x) + np.var(x),
    "constants": lambda x: np.arange(4.0) * np.ones(4) + np.linspace(0, 1, 4) * x,
    "round": lambda x: np.round(x) + np.floor(x) + np.sign(x) + np.clip(x, -0.5, 0.5),
    "outputs of tuples": lambda x: np.linalg.eigh(np.outer(x, x) + np.diag(np.arange(4.0)))[0],
    "divmod": lambda x: np.divmod(x, 0.3) + np.modf(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    f = FUNCTIONS[name]
    for of in (constant, random) if name != "softmax" else (constant,):
        agree(pure(f), lambda i, of=of: (of(i, 4),), close=1e-12)
    agree(pure(f), lambda i: (constant(i, 4, dtype=np.float32),), close=1e-5)

    def scalar(x):
        return sum(y.sum() for y in leaves_of(f(x))).real

    if name not in {"integers", "round", "divmod"}:
        agree(pure(scalar), lambda i: (variable(i, 4),), use=lambda y, args, _: y.backward(), close=1e-10)
        agree(pure(needle.grad(scalar)), lambda i: (random(i, 4),), close=1e-10)


def test_indices_and_masks_that_are_inputs():
    agree(pure(lambda x, k: x[k] * 2), lambda i: (constant(i, 4), np.random.default_rng(i).integers(0, 4, 6)))
    agree(
        pure(lambda x, k: (x[k] * x[k]).sum()),
        lambda i: (variable(i, 4), np.random.default_rng(i).integers(0, 4, 6)),
        use=lambda y, args, _: y.backward(),
        close=1e-14,
    )
    agree(
        pure(lambda x, k: x[np.arange(3), k].sum()),
        lambda i: (variable(i, 3, 4), Tensor(np.random.default_rng(i).integers(0, 4, 3), requires_grad=False)),
        use=lambda y, args, _: y.backward(),
    )
    agree(pure(lambda x, m: ops.where(m, x, -x)), lambda i: (constant(i, 6), random(i, 6) > 0))
    agree(
        pure(lambda x, m: x * m),
        lambda i: (variable(i, 6), random(i, 6) > 0),
        use=lambda y, args, _: (y * y).sum().backward(),
    )

    def scatter(x, k):
        out = np.zeros(5)
        out = Tensor(out, requires_grad=False)
        out[k] = x
        return out * 2

    agree(pure(scatter), lambda i: (constant(i, 3), np.random.default_rng(i).permutation(5)[:3]), warns="looks at")


def test_a_mask_that_is_an_input_and_decides_a_shape():
    agree(pure(lambda x, m: x[m].sum()), lambda i: (constant(i, 6), random(i, 6) > 0), warns="looks at a value")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.complex64, np.complex128, np.longdouble])
def test_gradients_in_other_dtypes(dtype):
    def make():
        w = variable(0, 3, dtype=dtype)
        return (lambda x: abs((ops.exp(x * w) * w * 2).sum())), [w]

    close = 1e-2 if dtype == np.float16 else 1e-5
    agree(make, lambda i: (variable(i, 3, dtype=dtype),), use=lambda y, args, _: y.backward(), close=close)


def test_integers_are_differentiated():
    agree(
        pure(lambda x: (x * x * 0.5).sum()), lambda i: (Tensor(np.arange(3) + i),), use=lambda y, args, _: y.backward()
    )


def test_special_values_on_other_calls():
    """What is captured on harmless data holds for zeros, infinities and NaN."""
    values = [np.array(v) for v in ([1.0, 2.0, 3.0], [0.0, -0.0, 0.0], [np.inf, -np.inf, np.nan], [0.0, np.nan, 1.0])]
    for name, f in {
        "product": np.prod,
        "norm": np.linalg.norm,
        "max": lambda x: np.max(x) + np.maximum(x, 1.0).sum(),
        "softmax": lambda x: (ops.softmax(x) * np.arange(3)).sum(),
        "power": lambda x: (x**2).sum() + (np.abs(x) ** 1.5).sum(),
        "where": lambda x: np.where(x > 0, np.log(np.where(x > 0, x, 1)), 0).sum(),
        "logaddexp": lambda x: np.logaddexp(x, 1).sum(),
        "sinc": lambda x: np.sinc(x).sum() + np.abs(x).sum(),
        "cumprod": lambda x: np.cumprod(x).sum(),
    }.items():
        g, h = needle.value_and_grad(f), compile(needle.value_and_grad(f))
        for order in ([0, 1, 2, 3], [1, 0, 3, 2], [2, 0, 1, 3]):
            for k in order:
                with np.errstate(all="ignore"):
                    for got, expected in zip(h(values[k]), g(values[k]), strict=True):
                        assert_allclose(got, expected, rtol=1e-13, err_msg=f"{name} {values[k]}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_arrays(dtype):
    """Long enough that they run block by block."""
    close = 1e-5 if dtype == np.float32 else 1e-12

    def f(x, y):
        h = np.tanh(2 * x + 1) * np.exp(-x * x) + y
        return h, h.sum(), h.mean(), h.max(), np.abs(h) * 2, np.maximum(h, 0)

    agree(pure(f), lambda i: (random(i, 1_000_003, dtype=dtype), random(i + 1, 1, dtype=dtype)), calls=3, close=close)
    agree(
        pure(lambda x, w: (ops.tanh(x * w) * ops.exp(-x * w)).sum()),
        lambda i: (variable(i, 1000, 1000, dtype=dtype), variable(i, 1000, dtype=dtype)),
        use=lambda y, args, _: y.backward(),
        calls=3,
        close=close,
    )
    agree(
        pure(ops.softmax_loss),
        lambda i: (variable(i, 3000, 300, dtype=dtype), Tensor(np.eye(300, dtype=dtype)[np.arange(3000) % 300])),
        use=lambda y, args, _: y.backward(),
        calls=3,
        close=close,
    )


@pytest.mark.parametrize("rows", [5, 3000])
def test_labels(rows):
    """Other labels are other data; wrong ones are refused as ever, in blocks, too."""
    f = needle.value_and_grad(ops.softmax_loss)
    compiled = needle.compile(f)
    for i in range(5):
        logits, labels = random(i, rows, 300), np.random.default_rng(i).integers(0, 300, rows)
        (loss, gradient), (expected, by) = compiled(logits, labels), f(logits, labels)
        assert_allclose(loss, expected, rtol=1e-12)
        assert_allclose(gradient, by, rtol=1e-12, atol=1e-18)
    labels[-1] = 300
    with pytest.raises(ValueError, match=r"SoftmaxLoss: labels must lie in 0\.\.299"):
        compiled(logits, labels)


@pytest.mark.parametrize(("dtype", "tops"), [(np.float32, (50, 60, 81, 88, 300)), (np.float64, (400, 499, 707, 900))])
def test_labels_of_large_logits(dtype, tops):
    """Their exponentials come near the largest number, and must not overflow by the scale of the gradient."""
    labels = np.ones(3000, int)
    for scale in (1, 1e-3, 1e-10):

        def f(logits, labels, scale=scale):
            return scale * ops.softmax_loss(logits, labels)

        f, compiled = needle.value_and_grad(f), needle.compile(needle.value_and_grad(f))
        for top in tops:
            logits = np.zeros((3000, 300), dtype)
            logits[:, :2] = top, top - 1
            (loss, gradient), (expected, by) = compiled(logits, labels), f(logits, labels)
            assert_allclose(loss, expected, rtol=1e-5)
            assert_allclose(gradient, by, rtol=1e-5, atol=1e-12 * scale)


def test_large_training_state():
    def make():
        p, m, v = [Tensor(random(k, 300_000), requires_grad=k == 0) for k in range(3)]
        v.data = v * v

        def step(g):
            with no_grad():
                m.data = 0.9 * m + 0.1 * g
                v.data = 0.999 * v + 0.001 * g * g
                p.data = p - 0.01 * m / (v**0.5 + 1e-8)

        return step, [p, m, v]

    agree(make, lambda i: (constant(i + 5, 300_000),))


def test_large_arrays_in_other_layouts():
    def f(x):
        return np.tanh(x) * 2 + x.sum(0), x.T * 2, x[::2] + 1

    for lay_out in LAYOUTS.values():
        agree(pure(f), lambda i, lay_out=lay_out: (lay_out(random(i, 600, 500)),), calls=3, close=1e-12)
    agree(pure(f), lambda i: (LAYOUTS["F"](random(i, 600, 500)) if i % 2 else random(i, 600, 500),), close=1e-12)


def test_long_graphs():
    def f(x):
        for _ in range(5000):
            x = x * 1.0001 + 0.001
        return x.sum()

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        agree(pure(f), lambda i: (variable(i, 10),), calls=3, use=lambda y, args, _: y.backward(), close=1e-12)
    finally:
        sys.setrecursionlimit(limit)


# Errors --------------------------------------------------------------------------------------------------------------


def test_a_shape_that_cannot_be():
    def make():
        w, n = variable(0, 3), constant(1, 2)

        def f(x):
            n.data = n + 1
            return x * w

        return f, [w, n]

    (f, state), (g, other) = make(), make()
    g = compile(g)
    for shape in ((3,), (3,), (4,), (3,), (4,)):
        x = constant(0, *shape)
        if shape == (3,):
            assert_same(facts_of(g(x)), facts_of(f(x)))
        else:
            with pytest.raises(ValueError, match="broadcast"):
                f(x)
            with pytest.raises(ValueError, match="broadcast"):
                g(x)
        assert_same(facts_of(other), facts_of(state))


class Stop(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("error", [Stop, ValueError, MemoryError])
def test_an_exception_leaves_nothing_half_updated(error):
    """An op fails in the middle of a replay: nothing has changed, and the next call goes as if nothing had happened."""

    class Failing(needle.TensorOp):
        saves = ()
        name = "failing"

        def compute(self, a):
            if np.isnan(a).any():
                raise error("now")
            return a * 2.0

        def gradient(self, out_grad, node):
            return out_grad * 2

    def make():
        w, n = variable(0, 3), constant(1, 3)

        def step(x):
            n.data = n + 1
            loss = (Failing()(w * x) * w).sum()
            loss.backward()
            w.data = w - 0.1 * w.grad
            return loss.detach()

        return step, [w, n]

    (f, state), (g, other) = make(), make()
    g = compile(g)
    for i in range(5):
        assert_same(facts_of(g(constant(i, 3))), facts_of(f(constant(i, 3))))
        if i < 1:
            continue
        before = facts_of(other)
        with pytest.raises(error):
            g(Tensor(np.full(3, np.nan), requires_grad=False))
        if error is Stop:
            assert_same(facts_of(other), before)
        else:
            state[1].data = other[1].data * 1  # the run that says what is wrong goes as far as it gets
        assert_same(facts_of(other), facts_of(state))


def test_floating_point_errors():
    f = compile(lambda x: np.log(x) * 2)
    for i in range(4):
        f(np.abs(random(i, 3)) + 1)
        with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
            f(np.array([-1.0, 1.0, 1.0]))
        with pytest.warns(RuntimeWarning, match="invalid value"):
            f(np.array([-1.0, 1.0, 1.0]))
        with np.errstate(all="ignore"):
            assert np.isnan(f(np.array([-1.0, 1.0, 1.0]))[0])


def test_floating_point_errors_between_updates():
    def make():
        a, b = constant(0, 3), constant(1, 3)

        def step(x):
            a.data = a + 1
            b.data = b / x
            a.data = a * 2

        return step, [a, b]

    (f, state), (g, other) = make(), make()
    g = compile(g)
    for i in range(6):
        x = Tensor(np.array([1.0, 2.0, 0.0 if i % 2 else 1.0]), requires_grad=False)
        for function in (f, g):
            with np.errstate(all="raise"), pytest.raises(FloatingPointError) if i % 2 else contextlib.nullcontext():
                function(x)
        assert_same(facts_of(other), facts_of(state))


def test_errors_of_the_function_itself():
    def f(x, n):
        if n:
            raise LookupError("no")
        return x * 2

    g = compile(f)
    for i in range(4):
        assert_array_equal(g(constant(i, 3), 0).numpy(), random(i, 3) * 2)
        with pytest.raises(LookupError, match="no"):
            g(constant(i, 3), 1)
    assert len(Agreement.replays) == 3


def test_singular_matrices():
    f = compile(lambda a: np.linalg.inv(a) * 2)
    for _ in range(3):
        assert_array_equal(f(np.eye(2)), np.eye(2) * 2)
        with pytest.raises(np.linalg.LinAlgError):
            f(np.zeros((2, 2)))


def test_a_failed_first_call():
    fail = [True]

    def f(x):
        if fail[0]:
            raise LookupError("first")
        return x * 2

    g = compile(f)
    with pytest.raises(LookupError):
        g(constant(0, 3))
    fail[0] = False
    for i in range(4):
        assert_array_equal(g(constant(i, 3)).numpy(), random(i, 3) * 2)
    assert len(Agreement.replays) == 3


# Threads, copies, words ----------------------------------------------------------------------------------------------


def in_threads(works: list[Callable[[], Any]]) -> list[Any]:
    results: list[Any] = [None] * len(works)
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(works))

    def run(i: int) -> None:
        try:
            barrier.wait()
            results[i] = works[i]()
        except BaseException as error:  # it is raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("size", [10, 200_000])
def test_threads(size, warm):
    w = variable(0, size)

    def f(x):
        h = ops.tanh(x * w)
        return h * 2 + 1, (h * h).sum()

    g = compile(f)
    if warm:
        g(constant(0, size))

    def work(k):
        found = []
        for i in range(10):
            y, total = g(constant(10 * k + i, size))
            (y.sum() + total).backward()
            found.append((y.numpy(), total.numpy()))
        return found

    results = in_threads([functools.partial(work, k) for k in range(4)])
    for k, found in enumerate(results):
        for i, (y, total) in enumerate(found):
            expected, its_total = f(constant(10 * k + i, size))
            assert_array_equal(y, expected.numpy())
            assert_allclose(total, its_total.numpy(), rtol=1e-12)
    assert captures(g) == 1 or not warm


def test_threads_that_read_what_another_one_changes():
    """No reader sees a tensor that is half written."""
    w = Tensor(np.zeros(100_000), requires_grad=False)

    def step():
        w.data = w + 1

    step, read = compile(step), compile(lambda: w * 1.0)
    step(), read()
    step(), read()

    def check():
        for _ in range(200):
            a = read().numpy()
            assert (a == a[0]).all()

    in_threads([lambda: [step() for _ in range(200)], check, check])
    assert_array_equal(w.numpy(), np.full(100_000, 202.0))


def test_threads_with_signatures_of_their_own():
    g = compile(lambda x, n: ops.exp(x) * n)

    def work(k):
        return [g(constant(i, 3 + k % 2), k) for i in range(20)]

    for k, found in enumerate(in_threads([functools.partial(work, k) for k in range(4)])):
        for i, y in enumerate(found):
            assert_array_equal(y.numpy(), np.exp(random(i, 3 + k % 2)) * k)


@compile
def doubled(x):
    """Twice x."""
    return x * 2


def test_a_compiled_function_looks_like_the_function():
    assert doubled.__name__ == "doubled"
    assert doubled.__doc__ == "Twice x."
    assert doubled.__wrapped__(3) == 6
    assert doubled.__module__ == __name__


def test_copies_and_pickles():
    doubled(constant(0, 3))
    assert pickle.loads(pickle.dumps(doubled)) is doubled
    assert_array_equal(copy.deepcopy(doubled)(constant(1, 3)).numpy(), random(1, 3) * 2)
    assert_array_equal(copy.copy(doubled)(constant(1, 3)).numpy(), random(1, 3) * 2)


def test_copies_of_an_object_with_a_compiled_method():
    class Model(Layer):
        def __init__(self):
            super().__init__()
            self.step = compile(self.forward)

    model = Model()
    model.step(constant(0, 3))
    other = copy.deepcopy(model)
    other.w.data = random(5, 3)
    for i in range(3):
        assert_array_equal(other.step(constant(i, 3)).numpy(), other.forward(constant(i, 3)).numpy())
        assert_array_equal(model.step(constant(i, 3)).numpy(), model.forward(constant(i, 3)).numpy())


def test_explain():
    f = compile(lambda x: ops.tanh(x) * 2 + ops.tanh(x))
    assert "captured 0 times" in f.explain()
    f(constant(0, 3))
    text = f.explain()
    assert "4 operations were recorded; 3 are left" in text
    f(constant(0, 4))
    assert "captured 2 times" in f.explain()
    g = compile(lambda x: x * float(x.sum()))
    with pytest.warns(CompileWarning):
        g(constant(0, 3))
    assert "looks at a value" in g.explain()


def test_what_keeps_changing_is_given_up():
    holder = [0]
    f = compile(lambda x: x * holder[0])
    with pytest.warns(CompileWarning, match="keeps changing"):
        for i in range(30):
            holder[0] = i
            assert_array_equal(f(constant(i, 3)).numpy(), random(i, 3) * i)


def test_watchers_see_what_happens():
    f = compile(lambda x: ops.tanh(x) * 2)
    f(constant(0, 3))
    with needle.trace() as seen:
        y = f(constant(1, 3))
    assert "tanh" in str(seen)
    assert_array_equal(y.numpy(), np.tanh(random(1, 3)) * 2)


def test_profilers_go_on():
    f = compile(lambda x: x * 2)
    seen = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, arg: seen.append(event))
    try:
        f(constant(0, 3))
        count = len(seen)
        abs(-1)
    finally:
        sys.setprofile(before)
    assert len(seen) > count


# Sweeps --------------------------------------------------------------------------------------------------------------


def random_program(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    chosen = [steps(rng)[k] for k in rng.integers(0, 15, rng.integers(4, 10))]
    weights = rng.normal(size=6)

    def program(x: Any) -> Any:
        values = [x]
        for step in chosen:
            values.append(ops.tanh(step(values)) + 0.1 * values[-1])
        return (values[-1] * weights).sum() + (values[-2] * values[len(values) // 2]).mean()

    return program


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed):
    f = random_program(seed)
    arguments = lambda i: (random(i, 6),)  # noqa: E731
    agree(pure(f), lambda i: (constant(i, 6),), close=1e-13)
    agree(pure(f), lambda i: (variable(i, 6),), use=lambda y, args, _: y.backward(), close=1e-10)
    agree(pure(needle.value_and_grad(f)), arguments, close=1e-10)
    if seed % 3 == 0:
        agree(pure(needle.hessian(f)), arguments, close=1e-9, calls=3)

    def step(x):
        y = f(x)
        y.backward()
        x.data = x - 0.1 * x.grad
        return y.detach()

    agree(pure(step), lambda i: (variable(i, 6),), close=1e-10)


TABLES = {**SAMPLES, **SCIPY, **SPECIAL}


@pytest.mark.filterwarnings("ignore:a derivative of a spectrum is NaN")  # as it is at equal values
@pytest.mark.parametrize("op", TABLES)
def test_every_op(op):
    """Values and gradients of samples of every op, captured on their data, and replayed on other data."""
    failures = []
    for sample in some(TABLES[op], 8):
        if not is_recorded(sample):
            continue
        weights = weights_like(tuple([y._array for y in members(sample.function(*tensors_of(sample)))]))

        def way(*tensors: Any, sample: Any = sample, weights: Any = weights) -> Any:
            outputs = members(sample.function(*tensors))
            weighted_sum(outputs, weights).backward()
            return [y.detach() for y in outputs], [None if t.grad is None else t.grad.detach() for t in tensors]

        compiled = compile(way)
        data = [sample.arrays, tuple(a.reshape(-1)[::-1].reshape(a.shape) for a in sample.arrays)]
        try:
            with np.errstate(all="ignore"):
                for k in (0, 1, 0):
                    try:
                        expected = facts_of(way(*map(Tensor, data[k])))
                    except (ValueError, np.linalg.LinAlgError):
                        continue  # these data are refused
                    facts, got = facts_of(compiled(*map(Tensor, data[k])))
                    assert facts == expected[0]
                    for a, b in zip(got, expected[1], strict=True):
                        rtol, atol = precision(*sample.arrays, b)
                        finite = np.abs(b[np.isfinite(b)]).max(initial=1)
                        assert_allclose(a, b, rtol=rtol, atol=atol * float(finite))
        except Exception as failure:
            failure.add_note(f"in the sample {op}: {sample.name}")
            failures.append(failure)
    if failures:
        raise ExceptionGroup(f"{len(failures)} samples", failures)


def test_what_takes_several_steps_is_not_written_over_its_inputs():
    for f in (
        lambda x, y: ops.add(x * 2, y, alpha=0.5) * 1.5,
        lambda x, y: ops.add(y, x * 2, alpha=0.5) * 1.5,
        lambda x, y: ops.sigmoid(x * 2) ** 3 + (y * y + 1) ** 0.5 * 2.0 ** (x * 2),
    ):
        agree(pure(f), lambda i: (constant(i, 9), constant(i + 9, 9)))


# Written functions ---------------------------------------------------------------------------------------------------


def test_equal_dtypes_that_are_other_objects():
    """As those of unpickled arrays: only the signature tells that they are the same; nothing is captured for them."""
    f = compile(lambda x: x * 2)
    for i in range(12):
        for x in (pickle.loads(pickle.dumps(np.full(3, i + 1.0))), np.full(3, i + 1.0), np.full(3, i, ">f8")):
            assert_array_equal(f(x), x * 2)
    assert captures(f) == 2 and "run as it is" not in f.explain()


def test_while_another_thread_captures():
    f = compile(lambda x: x * 2)
    f(np.ones(3))
    begun, end = threading.Event(), threading.Event()

    def slow(x):
        begun.set()
        end.wait(10)
        return x * 3

    other = threading.Thread(target=lambda: compile(slow)(np.ones(3)))
    other.start()
    begun.wait(10)
    for _ in range(12):
        assert_array_equal(f(np.ones(3)), np.full(3, 2.0))
    end.set()
    other.join()
    assert captures(f) == 1 and "run as it is" not in f.explain()


def test_a_compiled_function_in_another_one_brings_no_guards_of_its_own():
    scope = {"compile": compile, "needle": needle, "unrelated": 0, "data": np.zeros((1 << 25) + 8)}
    exec("inner = compile(lambda x: needle.tanh(x))\nouter = compile(lambda x: inner(x) * 2)", scope)
    inner, outer = scope["inner"], scope["outer"]
    for i in range(12):
        inner(constant(i, 3))
        scope["unrelated"] = i
        scope[f"new{i}"] = i
        assert_array_equal(outer(constant(i, 3)).numpy(), np.tanh(constant(i, 3).numpy()) * 2)
    assert captures(outer) == 1 and "run as it is" not in outer.explain()


@pytest.mark.parametrize("through_a_view", [False, True])
def test_data_of_a_tensor_whose_elements_were_assigned_to_since(through_a_view):
    def make():
        p, q = Tensor(np.ones(3)), Tensor(np.zeros(3))

        def f(x):
            q.data = q + x
            p.data = p.detach() * 2 + x
            return x.sum()

        return f, (p, q)

    def before(i, state):
        if i == 2:
            target = state[0][1:] if through_a_view else state[0]
            target[0] = 100.0

    agree(make, lambda i: (constant(i, 3),), before=before)


def test_nothing_of_a_plan_outlives_it():
    f = compile(lambda x: (needle.tanh(x * 2 + 1) * x).sum())
    for i in range(3):
        f(constant(i, 300, 300))
    plan = weakref.ref(next(iter(f._captured.values()))[0].replay.plan)
    gc.collect()
    gc.disable()
    try:
        del f
        assert plan() is None
    finally:
        gc.enable()


class Awkward(Tensor):
    __slots__ = ()

    def __getattr__(self, name):
        raise KeyError(name)


Spaced = type("My Tensor", (Tensor,), {"__slots__": ()})
Folded = type("\u00aa", (Tensor,), {"__slots__": ()})


@pytest.mark.parametrize("cls", [Awkward, Spaced, Folded])
def test_names_of_the_users_classes_do_not_matter(cls):
    def make():
        w = cls(np.arange(3.0), requires_grad=False)
        holder = type("Model[int]", (), {"__slots__": ("w",)})()
        holder.w = 2.0
        return lambda x: x * w * holder.w, (w,)

    agree(make, lambda i: (constant(i, 3),))


def test_names_and_representations_of_functions_do_not_matter():
    class Function:
        def __call__(self, x):
            return x * 2

        def __repr__(self):
            raise RuntimeError("not now")

    def named(x):
        return x * 2

    named.__name__ = named.__qualname__ = "a\0'\"\n b"
    for f in (Function(), named):
        g = compile(f)
        for i in range(3):
            assert_array_equal(g(constant(i, 3)).numpy(), constant(i, 3).numpy() * 2)
        assert captures(g) == 1


def test_values_are_handed_from_one_tensor_to_another():
    def make():
        p, q, r = [Tensor(np.full(3, n)) for n in (1.0, 2.0, 3.0)]

        def f():
            p.data, q.data = q.data, p.data
            r.data = q

        return f, (p, q, r)

    def before(i, state):
        state[0].data = np.full(3, i + 5.0)
        state[1].data = state[1] * 2

    agree(make, before=before)


def test_nothing_is_written_if_an_argument_is_read_only():
    @compile
    def f(x, y):
        x.data = x + 1
        y.data = y + 1

    for i in range(3):
        x, y = np.zeros(3), np.zeros(3)
        f(x, y)
        assert_array_equal(y, np.ones(3))
        x, y = np.zeros(3), np.zeros(3)
        y.flags.writeable = False
        with pytest.raises(ValueError, match=r"shape \(3,\), which is read-only"):
            (f if i else compile(f.__wrapped__))(x, y)
        assert_array_equal(x, np.zeros(3))
