"""Random programs that keep parts of their argument in arrays, Tensors and objects, their own ones and others that
outlive the call, in every transform: the derivative is that of finite differences, or an error says what to write. What
is left behind is plain, and the next call is as right as the first.

`python tests/test_random_lost.py 10000` tries this many, and prints what went wrong.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import copy
import functools
import gc
import threading
import types
import warnings
from collections.abc import Callable
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest
from needle import Tensor, autograd
from needle.autograd import Wrapped
from searching import search
from test_lost_derivatives import INTERNAL, WAYS, WRITES

N = 3
Vector = Any
Function = Callable[[Any], Any]

# Ways that a program goes on with a value ----------------------------------------------------------------------------

COMPUTE: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a * b,
    lambda a, b: a + 0.5 * b,
    lambda a, b: np.sin(a) + b,
    lambda a, b: np.exp(-a * a),
    lambda a, b: np.cumsum(a),
    lambda a, b: a[::-1] * b,
    lambda a, b: a * b.sum(),
    lambda a, b: np.where(a > b + 40, a, b),
    lambda a, b: np.concatenate([a[1:], b[:1]]),
    lambda a, b: np.stack([a, b]).sum(axis=0),
    lambda a, b: np.outer(a, b)[1],
    lambda a, b: np.tanh(a) @ b * a,
    lambda a, b: a.copy(),
    lambda a, b: needle.grad(lambda c: (c * c * b).sum())(a),
    lambda a, b: needle.jvp(lambda c: c * c * b, (a,), (b,))[1],
    lambda a, b: needle.jvp(lambda c: c * a, (b * 1.0,), (a,))[1],
    lambda a, b: needle.checkpoint(lambda c: c * c)(a),
]
READ: list[Callable[[Any], Any]] = [
    lambda h: h,
    lambda h: h * 1.0,
    lambda h: h[...],
    lambda h: h[::-1],
    lambda h: h.copy(),
    lambda h: h.reshape(N, 1)[:, 0],
    lambda h: h + h[0],
    copy.copy,
    lambda h: copy.deepcopy([h])[0],
    lambda h: h.sum() * np.ones(N),
    lambda h: np.stack([h[i] for i in range(N)]),
]
FILLS: dict[str, Callable[[Any, Any], object]] = {
    "a[:] = t": lambda a, t: a.__setitem__(slice(None), t),
    "a[...] = t": lambda a, t: a.__setitem__(..., t),
    "a[i] = t[i]": lambda a, t: [a.__setitem__(i, t[i]) for i in range(N)] and None,
    "a[1:] = t[1:]": lambda a, t: a.__setitem__(slice(1, None), t[1:]),
    "a[1:][0] = t[0]": lambda a, t: a[1:].__setitem__(0, t[0]),
    "a.reshape": lambda a, t: a.reshape(1, N).__setitem__((0, 1), t[2]),
    "a[[0, 2]] = t": lambda a, t: a.__setitem__([0, 2], t[:2]),
    "a[:] = a + t": lambda a, t: a.__setitem__(slice(None), 0.5 * a + t),
    "a[:] = 2": lambda a, t: a.__setitem__(slice(None), 2.0),
    "put": lambda a, t: np.put(a, [0, 1], t[:2]),
    "copyto where": lambda a, t: np.copyto(a, t, where=np.array([True, False, True])),
    "out= where": lambda a, t: np.multiply(t, t, out=a, where=np.array([True, False, True])),
    "add.at": lambda a, t: np.add.at(a, [0, 0, 1], t),
    "subtract.at": lambda a, t: np.subtract.at(a, [2], t[0]),
    "fill_diagonal": lambda a, t: np.fill_diagonal(a.reshape(1, N), t[0]),
    **{name: lambda a, t, write=write: write(a, t[1]) for name, write in WRITES.items()},
}


# What a value may be kept in ------------------------------------------------------------------------------------------


class Store:
    """What outlives a call, or is made by it."""

    def __init__(self, rng: Any):
        self.array, self.tensor = rng.uniform(0.5, 1.5, N), Tensor(rng.uniform(0.5, 1.5, N), requires_grad=False)
        self.objects = np.array([1.0, None, None], object)
        self.table = Tensor(rng.uniform(0.5, 1.5, (2, N)), requires_grad=False)
        self.row = self.table[1]
        self.list: list[Any] = [np.ones(N)]
        self.dict: dict[Any, Any] = {"a": np.ones(N)}
        self.deque: Any = collections.deque([np.ones(N)], maxlen=3)
        self.last: Any = np.ones(N)
        self.space = types.SimpleNamespace(inner={"k": [np.ones(N)]})
        self.variable: Any = contextvars.ContextVar("variable", default=None)
        self.cell: Any = types.CellType(np.ones(N))
        self.partial: Any = functools.partial(lambda k: k * 1.0, np.ones(N))
        self.error: Any = ValueError(np.ones(N))

    def values(self) -> list[Any]:
        """All values in it, as they are."""
        found = [self.tensor, self.table, self.row, *self.objects.tolist(), *self.list, *self.dict.values()]
        found += [*self.deque, self.last, *self.space.inner["k"], self.variable.get(), self.cell.cell_contents]
        return [*found, *self.partial.args, *self.error.args]

    def snapshot(self) -> Store:
        """A store of the same numbers, with nothing in common."""
        made = copy.copy(self)
        made.array, made.tensor, made.table = self.array.copy(), constant(self.tensor), constant(self.table)
        made.row = made.table[1]
        made.objects = self.objects.copy()
        made.objects[:] = [plain(a) for a in self.objects]
        made.list = [plain(a) for a in self.list]
        made.dict = {name: plain(a) for name, a in self.dict.items()}
        made.deque = collections.deque([plain(a) for a in self.deque], maxlen=3)
        made.last, made.cell = plain(self.last), types.CellType(plain(self.cell.cell_contents))
        made.space = types.SimpleNamespace(inner={"k": [plain(a) for a in self.space.inner["k"]]})
        made.variable = contextvars.ContextVar("variable", default=None)
        made.variable.set(plain(self.variable.get()))
        made.partial = functools.partial(self.partial.func, *map(plain, self.partial.args))
        made.error = ValueError(*map(plain, self.error.args))
        return made


def constant(t: Any) -> Any:
    return Tensor(t.detach().numpy(), requires_grad=False)


def plain(a: Any) -> Any:
    return a.detach().numpy() if isinstance(a, Tensor) else np.copy(a) if isinstance(a, np.ndarray) else a


def keep_in_objects(s: Store, t: Any) -> Any:
    s.objects[0] = t
    return s.objects[0]


def keep_in_list(s: Store, t: Any) -> Any:
    s.list.append(t)
    del s.list[:-3]
    return s.list[0]


def keep_in_dict(s: Store, t: Any) -> Any:
    before = s.dict["a"]
    s.dict["a"] = t
    return before * 0.5 + s.dict["a"]


def keep_in_deque(s: Store, t: Any) -> Any:
    s.deque.append(t)
    return s.deque[0]


def keep_as_state(s: Store, t: Any) -> Any:
    s.last = 0.9 * s.last + 0.1 * t
    return s.last


def keep_in_space(s: Store, t: Any) -> Any:
    s.space.inner["k"].append(t * 1.0)
    return s.space.inner["k"].pop(0)


def keep_in_variable(s: Store, t: Any) -> Any:
    before = s.variable.get()
    s.variable.set(t)
    return t if before is None else before + s.variable.get()


def keep_in_cell(s: Store, t: Any) -> Any:
    s.cell.cell_contents = s.cell.cell_contents * 0.5 + t
    return s.cell.cell_contents


def keep_in_partial(s: Store, t: Any) -> Any:
    before = s.partial()
    s.partial = functools.partial(s.partial.func, t)
    return before + s.partial()


def keep_in_error(s: Store, t: Any) -> Any:
    before = s.error.args[0]
    try:
        raise ValueError(t)
    except ValueError as error:
        s.error = error
        error.__traceback__ = None
    return s.error.args[0] + before


def keep_in_a_row(s: Store, t: Any) -> Any:
    s.row[1:] = t[1:]
    return s.table.sum(axis=0)


def keep_in_a_table(s: Store, t: Any) -> Any:
    s.table[:, 0] = t[:2]
    return s.row * 1.0


def keep_a_view(s: Store, t: Any) -> Any:
    before = s.list[-1]
    s.list[-1] = t[::-1]
    return before + s.list[-1]


KEEPS: list[Callable[[Store, Any], Any]] = [
    keep_in_objects,
    keep_in_list,
    keep_in_dict,
    keep_in_deque,
    keep_as_state,
    keep_in_space,
    keep_in_variable,
    keep_in_cell,
    keep_in_partial,
    keep_in_error,
    keep_in_a_row,
    keep_in_a_table,
    keep_a_view,
]
HELD: list[Callable[[Store], Any]] = [
    lambda s: s.array,
    lambda s: s.tensor,
    lambda s: s.tensor,
    lambda s: s.row,
    lambda s: np.ones(N),
    lambda s: nnp.ones(N),
    lambda s: nnp.ones((2, N))[0],
    lambda s: Tensor(np.ones(N), requires_grad=False),
    lambda s: nnp.zeros(N) + 1,
]


def in_a_thread(do: Callable[[], Any]) -> Any:
    """The result of a function that runs in a thread of its own."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.extend([do(), None])
        except Exception as error:
            found.extend([None, error])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if found[1] is not None:
        raise found[1]
    return found[0]


class Program:
    """A function of a vector, drawn from a seed, with a store that outlives its calls."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.store = Store(self.rng)
        self.steps = [self.step() for _ in range(self.rng.integers(2, 7))]
        self.weights = self.rng.uniform(-1, 1, 20)

    def pick(self, choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def step(self) -> tuple[str, Callable[[Store, Any, Any], Any]]:
        how = self.rng.integers(20)
        if how < 6:
            compute = self.pick(COMPUTE)
            return "compute", lambda s, a, b: compute(a, b)
        if how < 12:
            name, held, read = self.pick([*FILLS]), self.pick(HELD), self.pick(READ)

            def fill(s: Store, a: Any, b: Any) -> Any:
                h = held(s)
                FILLS[name](h, a)
                return read(h)

            return f"fill by {name}", fill
        if how < 16:
            keep = self.pick(KEEPS)
            return keep.__name__, lambda s, a, b: keep(s, a)
        if how < 18:
            name, index = self.pick([*WAYS]), self.rng.integers(N)
            return f"way {name}", lambda s, a, b: WAYS[name](1.5 + 0.2 * np.tanh(a[index])) * np.ones(N)
        if how == 18:
            keep, compute = self.pick(KEEPS), self.pick(COMPUTE)
            return f"{keep.__name__} in a thread", lambda s, a, b: in_a_thread(lambda: keep(s, compute(a, b)))
        name = self.pick([*WAYS])
        return (
            f"way {name} in a thread",
            lambda s, a, b: in_a_thread(lambda: WAYS[name](1.5 + 0.2 * np.tanh(a[0]))) * np.ones(N),
        )

    def __call__(self, x: Any, store: Store | None = None) -> Any:
        """A vector."""
        rng, s = np.random.default_rng(7), self.store if store is None else store
        live = [x, x * 1.0]
        for _, step in self.steps:
            a, b = (live[k] for k in rng.integers(0, len(live), 2))
            live.append(step(s, np.tanh(a) + 1, b))
        parts = [np.tanh(a) * w for a, w in zip(live, self.weights, strict=False)]
        return functools.reduce(lambda a, b: a + b, parts)

    def value(self, x: Any, store: Store) -> Any:
        """The vector for an array, as an array, where nothing differentiates."""
        return plain(self(x, store.snapshot()))


X, V = np.array([0.7, 1.1, 0.9]), np.array([1.0, -0.5, 0.3])


def first(program: Program, store: Store, h: float) -> Any:
    """The derivative of the vector along V by central differences."""
    f = [program.value(X + k * h * V, store) for k in (-2, -1, 1, 2)]
    return (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * h)


def second(program: Program, store: Store, h: float) -> Any:
    f = [program.value(X + k * h * V, store) for k in (-2, -1, 0, 1, 2)]
    return (16 * (f[1] + f[3]) - f[0] - f[4] - 30 * f[2]) / (12 * h * h)


def of_sum(f: Function) -> Function:
    return lambda x: f(x).sum()


def along(f: Function, x: Any = X) -> Function:
    return lambda c: f(x + c * V)


DATA = Tensor(X, requires_grad=False)


FIRST: dict[str, Callable[[Function], Any]] = {
    "grad": lambda f: needle.grad(of_sum(f))(X) @ V,
    "grad by a Tensor": lambda f: needle.grad(of_sum(f))(DATA).numpy() @ V,
    "value_and_grad": lambda f: needle.value_and_grad(of_sum(f))(X)[1] @ V,
    "vjp": lambda f: needle.vjp(f, X)[1](np.ones(N))[0] @ V,
    "jvp": lambda f: needle.jvp(f, (X,), (V,))[1],
    "jvp by a Tensor": lambda f: needle.jvp(f, (DATA,), (V,))[1].numpy(),
    "many jvps": lambda f: needle.jvp(f, (X,), (np.stack([V, 2 * V]),), many=True)[1][0],
    "linearize": lambda f: needle.linearize(f, X)[1](V),
    "deriv": lambda f: needle.deriv(along(f))(0.0),
    "deriv of a sum": lambda f: needle.deriv(of_sum(along(f)))(0.0),
    "jacobian forward": lambda f: needle.jacobian(f, mode="forward")(X) @ V,
    "jacobian reverse": lambda f: needle.jacobian(f, mode="reverse")(X) @ V,
}
SECOND: dict[str, Callable[[Function], Any]] = {
    "hessian": lambda f: V @ needle.hessian(of_sum(f))(X) @ V,
    "hvp": lambda f: needle.hvp(of_sum(f), (X,), (V,)) @ V,
    "make_hvp": lambda f: needle.make_hvp(of_sum(f))(X)[0](V) @ V,
    "grad of grad": lambda f: needle.grad(needle.grad(of_sum(along(f))))(0.0),
    "grad of jvp": lambda f: needle.grad(lambda x: needle.jvp(of_sum(f), (x,), (V,))[1])(X) @ V,
    "grad of vjp": lambda f: needle.grad(lambda x: needle.vjp(f, x)[1](np.ones(N))[0] @ V)(X) @ V,
    "jvp of grad": lambda f: needle.jvp(needle.grad(of_sum(f)), (X,), (V,))[1] @ V,
    "jvp of jvp": lambda f: needle.jvp(lambda x: needle.jvp(f, (x,), (V,))[1], (X,), (V,))[1],
    "jacobian of jacobian": lambda f: needle.jacobian(needle.jacobian(along(f), mode="forward"), mode="forward")(0.0),
    "reverse of forward": lambda f: needle.jacobian(lambda x: needle.jvp(f, (x,), (V,))[1], mode="reverse")(X) @ V,
    "deriv of deriv": lambda f: needle.deriv(needle.deriv(along(f)))(0.0),
}
FORWARD = {
    *("jvp", "jvp by a Tensor", "many jvps", "deriv", "deriv of a sum", "jacobian forward", "hessian"),
    *("jvp of jvp", "jacobian of jacobian", "deriv of deriv"),
}


def is_refusal(error: Exception) -> bool:
    """Whether an error was raised on purpose, in the user's words."""
    return (
        isinstance(error, (TypeError, ValueError, RuntimeError))
        and not isinstance(error, RecursionError)
        and len(str(error)) >= 20
        and not INTERNAL.search(str(error))
    )


def wrong(seed: int, counts: collections.Counter[str] | None = None) -> str:
    """What is wrong with a program's derivatives, or with what is left of them; "" if nothing is."""
    program = Program(seed)
    counts = collections.Counter() if counts is None else counts
    every = {**FIRST, **SECOND}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for _ in range(4):
            name = program.pick([*every])
            where = f"seed {seed}, {name} of {[what for what, _ in program.steps]}: "
            outcome = differs(program, name, every[name])
            if outcome not in ("right", "refused", "unknown"):
                return where + outcome
            counts[outcome] += 1
            if left := what_is_left(program.store, name):
                return where + left
    return ""


def differs(program: Program, name: str, transform: Callable[[Function], Any]) -> str:
    """ "right", "refused", "unknown" (no derivative that differences find), or what is wrong."""
    store = program.store.snapshot()
    difference = first if name in FIRST else second
    try:
        rough, fine = (difference(program, store, h) for h in (4e-3, 2e-3))
    except (TypeError, ValueError) as error:
        return "unknown" if is_refusal(error) else f"its value: {type(error).__name__}: {error}"
    runs: list[int] = []

    def counted(x: Any) -> Any:
        runs.append(1)
        return program(x)

    try:
        found = np.asarray(transform(counted))
    except Exception as error:
        return "refused" if is_refusal(error) else f"{type(error).__name__}: {error}"
    expected = fine if found.ndim else fine.sum()
    rough = rough if found.ndim else rough.sum()
    accuracy = 1e-6 if name in FIRST else 1e-4
    if not np.allclose(rough, expected, rtol=accuracy, atol=accuracy) or len(runs) > 1:
        return "unknown"  # make_hvp runs the function again for each product, where its rules are not symmetric
    right = found.dtype.kind == "f" and np.allclose(found, expected, rtol=20 * accuracy, atol=20 * accuracy)
    return "right" if right else f"{found}, not {expected}"


def what_is_left(store: Store, transform: str) -> str:
    """What is not plain among what the program has kept. What forward mode leaves has no history; what reverse mode
    leaves in lists and attributes may have one, which leads to constants alone."""
    filled = [store.tensor, store.table, store.row]
    for value in [*filled, *(value for value in store.values() if isinstance(value, Tensor))]:
        latest = autograd.latest(value)
        if type(latest) is not Tensor or "Dual" in repr(value):
            return f"{value!r} is left"
        without = transform in FORWARD or any(value is a for a in filled)
        if without and (size := len(autograd.find_topo_sort([latest]))) > 1:
            return f"a graph of {size} is left"
        if not np.isfinite(value.numpy()).all():
            return f"{value!r} is left"
    store.__dict__.update(vars(store.snapshot()))  # let go of the history
    return ""


@pytest.mark.parametrize("block", range(10))
def test_the_derivative_or_an_error(block):
    for seed in range(15 * block, 15 * (block + 1)):
        assert not wrong(seed)


def test_most_are_right():
    """Errors alone would prove nothing."""
    counts: collections.Counter[str] = collections.Counter()
    for seed in range(60):
        wrong(seed, counts)
    assert counts["right"] > counts["refused"]
    assert counts["unknown"] < 10


def test_no_tape_is_left():
    """Nothing that a transform wrapped is alive, whoever may hold it."""
    programs = [Program(seed) for seed in range(40)]
    every = {**FIRST, **SECOND}
    for program in programs:
        for name in program.rng.choice(sorted(every), 3):
            with contextlib.suppress(TypeError, ValueError, RuntimeError), np.errstate(all="ignore"):
                every[name](program)
    gc.collect()
    wrapped = [a for a in gc.get_objects() if issubclass(type(a), Wrapped)]
    assert not [a for a in wrapped if type(autograd.latest(a)) is not Tensor]  # others are names for plain ones


if __name__ == "__main__":
    tally = collections.Counter[str]()
    search(lambda seed: wrong(seed, tally))
    print(dict(tally))
