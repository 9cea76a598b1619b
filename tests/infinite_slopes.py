"""Random programs with slopes that are infinite somewhere, mostly where it does not count; and what they should give.

A program is a few lines of NumPy and needle on one to three small arrays, in which elements are 0. It grows in NumPy
alone, from a seed and the frozen stream of RandomState: what needle does has no part in it.

    python tests/infinite_slopes.py OUT.npz              what 600 programs give in the needle that is imported
    python tests/infinite_slopes.py OUT.npz OLDER.npz    what they gave in an older needle, improved upon

The second takes the older results, and the new number wherever the older needle raised or had NaN; it prints, and keeps
as `improved`, which programs those are. print(Program(7)) shows a program.
"""

from __future__ import annotations

import sys
import warnings
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import needle
import numpy as np

PROGRAMS, LARGEST, QUANTITIES = 600, 80, ("value", "gradient", "second", "hvp")


def _logsumexp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.logaddexp.reduce(a, axis=axis, keepdims=keepdims)


# needle's functions, in NumPy
SAME = ["sqrt", "log", "exp", "tanh", "where", "maximum", "minimum", "clip", "einsum", "matmul", "cumsum", "stack"]
PLAIN = SimpleNamespace(
    **{name: getattr(np, name) for name in [*SAME, "concatenate", "broadcast_to"]},
    relu=lambda a: np.maximum(a, 0),
    sigmoid=lambda a: 1 / (1 + np.exp(-a)),
    logsumexp=_logsumexp,
    logsoftmax=lambda a, axis: a - _logsumexp(a, axis, True),
    softmax=lambda a, axis: np.exp(a - _logsumexp(a, axis, True)),
    checkpoint=lambda f: f,
    make_tuple=lambda *a: a,
)

# Kinds of steps: how frequent they are, and templates of the new value, between bars. A blank is one of WORDS or a
# method of Step: {a} is a value from before, {b} another that broadcasts with it, {same} one of its shape, {lib} np or
# needle. What follows a semicolon is done to the new value, {new}.
STEPS = {
    # how a program begins: infinite slopes of the inputs
    "edge": (0, """{lib}.sqrt({a})|{lib}.log({a})|{a} ** 0.5|{lib}.sqrt({a}) * {b}|np.sqrt(np.abs({a}))|{a} ** -0.5
        {lib}.log({a} * {a})|{lib}.log(needle.relu({a} - 0.3))"""),
    # functions of one value with slopes that are infinite, or jump, at 0, at 1 or at a bound
    "slope": (18, """{lib}.sqrt({a})|{lib}.log({a})|{a} ** 0.5|{a} ** 1.5|{a} ** 0.3|{a} ** 2.5|{a} ** -0.5|np.abs({a})
        needle.relu({a})|needle.relu({a} - 0.5)|{lib}.clip({a}, 0.3, 0.9)|np.clip({a}, 0.0, None)|np.maximum({a}, 0.4)
        np.minimum(0.8, {a})|1.0 / {a}|{lib}.log({a} * {a})|np.sqrt(np.abs({a}))|{a} * {a} ** 0.5|np.cbrt({a})
        {lib}.log({a} + 0.0)|np.log1p(-{a})|np.arcsin(needle.tanh({a}))|np.hypot({a}, {a} * 2)|{a} * np.log({a})"""),
    # smooth functions, which may make an infinite value finite again: exp(-inf), tanh(inf)
    "smooth": (8, """{lib}.exp(-{a})|{lib}.tanh({a})|np.sin({a})|{a} ** 2|{a} ** 3|{a} * {a}|2.0 / ({a} * {a} + 1)|-{a}
        {a} * 0.7 + 0.1|needle.sigmoid({a})|np.square({a})|np.cos({a}) * {a}"""),
    # functions of two values: factors of 0 and infinity meet
    "binary": (12, """{a} * {b}|{a} * {b}|{a} * {b}|{a} + {b}|{a} + {b}|{a} - {b} * 0.5|{a} / {b}|{a} / ({b} * {b} + 1)
        {lib}.maximum({a}, {b})|{lib}.minimum({a}, {b})|{a} ** {b}|np.hypot({a}, {b})|{lib}.tanh({a} * {b})
        np.logaddexp({a}, {b})|np.arctan2({a}, {b})|{a} * {b} / ({a} + {b})"""),
    # choices by a mask: what is not chosen does not count
    "choice": (16, """{lib}.where({mask}, {a}, {b})|{lib}.where({mask}, {a}, {same})|{lib}.where({mask}, {a}, 0.0)
        {lib}.where({mask}, {a}, 0.0)|{lib}.where({mask}, {lib}.log({a} + 0.0), 0.0)|{lib}.where({mask}, 1.0, {a})
        {lib}.where({mask}, {same}, {lib}.sqrt({a}))|{lib}.where({mask}, {a} ** 0.5, {b})"""),
    # products of matrices, which spread one infinite slope over a row
    "linear": (10, """{a} @ {right}|{a} @ {right}|{left} @ {a}|{a} @ {b}|needle.matmul({a}, {b})|{a} @ {a}.mT
        {lib}.einsum('ij,jk->{to}', {a}, {b})|{lib}.einsum('ij->{part}', {a})|np.einsum('ij,ij->i', {a}, {same})
        {lib}.einsum('bij,bkj->bik', {a}, {same})|np.einsum('...i,...i->...', {a}, {same})|np.dot({a}, {b})"""),
    # the same numbers in other places
    "move": (7, """np.transpose({a})|{a}.mT|{a}.reshape(-1)|{a}.reshape(-1, 2)|{a}[..., None]|np.squeeze({a}[None])
        np.swapaxes({a}, 0, -1)|np.moveaxis({a}, 0, -1)|np.roll({a}, 1)|np.repeat({a}, 2)|np.tile({a}, 2)
        {lib}.broadcast_to({a}, (2, *np.shape({a})))|np.flip({a}, 0)"""),
    # some of the numbers, by slices, integers, lists and masks, a few more than once
    "index": (9, """{a}[{i}]|{a}[{i}]|{a}[{i}]|{a}[{mask}]|np.take({a}, {list}, axis=-1)"""),
    # assignments into a copy or a view of it: what is written over does not count
    "assign": (9, """{copy}; {new}[{i}] {op} {number}|{copy}; {new}[{i}] {op} {number}|{copy}; {new}[{mask}] {op} {b}
        {copy}; {new}[{i}] = {new}[{i}] * {new}.mean()|{copy}; {new}[{i}] = ({a} * 2)[{i}]
        {copy}; {new}[{i}] = {number}; {new}[{j}] {op} {b}|{copy}; {new}[{i}] {op} {number}; w = {new}[::-1]; w[0] = 0.7
        {copy}; w = {new}.reshape(-1); w[0] {op} {number}"""),
    # sums, extrema, norms: a slope in one element counts in a whole row, or in none of it
    "reduce": (11, """{a}.sum({over})|{a}.sum({over})|{a}.sum({over})|{a}.mean({over})|{a}.mean({over})|{a}.max({over})
        np.min({a}, {over})|needle.logsumexp({a}, {axis})|needle.softmax({a}, {axis})|needle.logsoftmax({a}, {axis})
        {lib}.cumsum({a}, axis={axis})|np.cumprod({a}, axis={axis})|np.prod({a}, {over})|np.var({a}, {over})
        np.linalg.norm({a}, axis={axis})|np.std({a}, {over})|np.sort({a}, axis=-1)|np.median({a}, {over})"""),
    # several values in one array
    "join": (4, """{lib}.stack([{a}, {same}])|{lib}.stack([{a}, {same}], axis=-1)|{lib}.concatenate([{a}, {b}])
        {lib}.concatenate([{a}, {a} * 2, {same}], axis=-1)"""),
    # operations with rules of their own: values computed again, tuples, steps, triangles
    "other": (4, """needle.checkpoint(needle.{f})({a})|needle.make_tuple(np.sqrt({a}), {a} * {b})[{bit}]|np.modf({a})[0]
        np.diff({a}, axis=-1)|np.triu({a})|np.trace({a})|np.outer({a}, {b})|{a} * np.sign({b})|np.floor({a} * 3) * {b}
        np.where({mask}, np.nan, {a})|np.split({a}, 2)[0]"""),
    # what of a value enters the total: often not all of it
    "end": (0, """np.where({mask}, {a}, 0.0)|np.where({mask}, {a}, 0.0)|np.where({mask}, {a}, 0.0)|{a}[{mask}]|{a}
        np.where({finite}, {a}, 0.0)|np.where({finite}, {a}, 0.0)|{a}[{finite}]|{a}.copy(); {new}[~{finite}] = 0.5"""),
}  # fmt: skip
WORDS = {
    "lib": "np|needle",
    "copy": "{a}.copy()|{a} * 1.0|np.sqrt({a})|np.log({a})|{a} + 0.0",
    "number": "0.0|1.5|{b}|{b}.sum()|{a}.max()|{b}.mean() * 2",
    "op": "=|=|=|+=|*=|-=",
    "over": "axis=None|axis={axis}|axis={axis}|axis={axis}, keepdims=True|axis=(-1, 0)|axis=(0, 1), keepdims=True",
    "to": "ik|ki|i|ijk",
    "part": "ji|i|j|",
    "f": "sqrt|log|tanh|relu",
    "bit": "0|1",
    "test": "{same} > 0.3|{same} > {b}|np.isfinite({a})|{x} > 0|{x} > 0|{x} != 0",
    "number?": "np.isfinite({a})|np.isfinite({a}) & {some}",
}
TEMPLATES = {kind: [t.strip() for t in text.replace("\n", "|").split("|")] for kind, (_, text) in STEPS.items()}
FREQUENCIES = np.array([weight for weight, _ in STEPS.values()]) / sum(weight for weight, _ in STEPS.values())


class Program:
    """Arrays, a direction v, constants, and lines that make `total` of the arrays."""

    def __init__(self, seed: int) -> None:
        self.rng = r = np.random.RandomState(seed)
        self.dtype = np.dtype("float64" if r.rand() < 0.8 else "float32")
        shapes: list[Any] = [(4, 3), (4, 3), (3, 3), (5,), (2, 3, 3), (6,), (3, 4), (2, 2, 3), (3, 1), (1, 4), (1,), ()]
        shapes = [shapes[r.randint(len(shapes))]]
        if r.rand() < 0.45:
            n = (2, *shapes[0])[-1]
            shapes.append([(n, 3), (n,), shapes[0], (1, n), (n, n), (2, n, 2), ()][r.randint(7)])
        zeros, negative = [0.05, 0.15, 0.3][r.randint(3)], [0, 0, 0.2][r.randint(3)]
        x = [np.round(r.uniform(0.2, 1.5, s), 3) * np.where(r.rand(*s) < negative, -1, 1) for s in shapes]
        self.inputs = [np.asarray(a * (r.rand(*a.shape) >= zeros), self.dtype) for a in x]
        self.v = [np.asarray(np.round(r.normal(size=s), 3), self.dtype) for s in shapes]
        self.names = [f"x{i}" for i in range(len(shapes))]
        self.constants: dict[str, Any] = {}
        self.lines = ["total = 0.0"]
        self.env = {"np": np, "needle": PLAIN, "total": 0.0, **{f"x{i}": a[()] for i, a in enumerate(self.inputs)}}
        for k in range(r.randint(3, 11)):
            self.grow("edge" if k < 2 and r.rand() < 0.6 else "")
        for name in self.names[len(shapes) :]:
            if r.rand() < 0.4 or name == self.names[-1]:
                self.grow("end", name)
        self.code = compile("\n".join(self.lines), f"<program {seed}>", "exec")
        self.size = sum(a.size for a in self.inputs)
        arrays = [a.tobytes() for a in [*self.inputs, *self.v, *self.constants.values()]]
        self.check = zlib.crc32("\n".join(self.lines).encode() + b"".join(arrays))

    def grow(self, kind: str, a: str = "") -> None:
        """Tries steps until NumPy can do one, and its value is of use."""
        for _ in range(60):
            this = kind or list(STEPS)[self.rng.choice(len(STEPS), p=FREQUENCIES)]
            step = Step(self, a or ("x0" if kind else self.pick(lambda _: True)))
            try:
                step.take(TEMPLATES[this][self.rng.randint(len(TEMPLATES[this]))])
                y = np.asarray(step.env[step["new"]])
            except (AttributeError, IndexError, TypeError, ValueError):
                continue
            new_nan = np.isnan(y).any() and not any(np.isnan(self.env[name]).any() for name in self.names)
            sizes = np.abs(y[np.isfinite(y)])
            if y.dtype.kind != "f" or y.size > LARGEST or not sizes.size or (new_nan and self.rng.rand() < 0.95):
                continue
            if kind == "end":
                weighted = step["new"] + self.rng.choice(["", "", " ** 2"]) + f" * {step.normal(*y.shape)}"
                step.lines.append(f"total = total + ({weighted}).sum()")
            elif sizes.max() > 1e3:
                continue
            self.names += [] if kind == "end" else [step["new"]]
            self.env, self.constants = step.env, self.constants | step.constants
            self.lines += step.lines
            return

    def pick(self, fits: Callable[[tuple[int, ...]], bool]) -> str:
        """A value of a shape that fits: what is newer or larger is more probable."""
        names = [name for name in self.names if fits(np.shape(self.env[name]))]
        weights = [(k + 2.0) * (1 + np.log1p(np.size(self.env[name]))) for k, name in enumerate(names)]
        return str(self.rng.choice(names, p=np.array(weights) / sum(weights)))

    def __call__(self, *x: Any) -> Any:
        space = {"np": np, "needle": needle, **self.constants, **{f"x{i}": a for i, a in enumerate(x)}}
        exec(self.code, space)
        return space["total"]

    def __str__(self) -> str:
        given = {f"x{i}": x for i, x in enumerate(self.inputs)} | {f"v_x{i}": v for i, v in enumerate(self.v)}
        return "\n".join([*(f"{name} = {a!r}" for name, a in (given | self.constants).items()), *self.lines])

    def results(self) -> dict[str, Any]:
        """The value, backward(), the gradient of the gradient along v, and hvp, flat; a message where one raises."""
        given, argnums = tuple(self.inputs), tuple(range(len(self.inputs)))
        gradient = needle.grad(self, argnums)

        def backward() -> Any:
            x = [needle.Tensor(a.copy()) for a in given]
            self(*x).backward()
            return [np.zeros(a.shape) if a.grad is None else a.grad for a in x]

        def along_v(*x: Any) -> Any:
            return sum((g * v).sum() for g, v in zip(gradient(*x), self.v, strict=True))

        found: dict[str, Any] = {
            "value": lambda: self(*map(needle.Tensor, given)),
            "gradient": backward,
            "second": lambda: needle.grad(along_v, argnums)(*given),
            "hvp": lambda: needle.hvp(self, given, tuple(self.v)),
            "jvp of grad": lambda: needle.jvp(gradient, given, tuple(self.v))[1],
        }
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, quantity in found.items():
                try:
                    parts = y if isinstance(y := quantity(), list | tuple) else [y]
                    parts = [a.numpy() if isinstance(a, needle.Tensor) else a for a in parts]
                    found[name] = np.concatenate([np.ravel(a).astype(float) for a in parts])
                except Exception as error:
                    found[name] = f"{type(error).__name__}: {error}"
        return found


class Step(dict[str, str]):
    """The blanks of a template, each filled in when it is met first; and what the step adds to the program."""

    def __init__(self, program: Program, a: str) -> None:
        super().__init__(a=a, new=f"v{len(program.lines)}")
        self.program, self.rng, self.shape = program, program.rng, np.shape(program.env[a])
        self.env, self.constants, self.lines = dict(program.env), dict[str, Any](), list[str]()

    def take(self, template: str) -> None:
        for text in ("{new} = " + template).split("; "):
            self.do(text.format_map(self))

    def do(self, line: str) -> None:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(line, self.env)
        self.lines.append(line)

    def __missing__(self, blank: str) -> str:
        self[blank] = text = self.one_of(WORDS[blank]) if blank in WORDS else getattr(self, blank)()
        return text

    def one_of(self, text: str) -> str:
        choices = text.split("|")
        return choices[self.rng.randint(len(choices))].format_map(self)

    def constant(self, a: Any) -> str:
        name = f"c{len(self.program.constants) + len(self.constants)}"
        self.constants[name] = self.env[name] = np.asarray(a)
        return name

    def normal(self, *shape: int) -> str:
        return self.constant(np.round(self.rng.normal(size=shape), 2).astype(self.program.dtype))

    def right(self) -> str:
        return self.normal(self.shape[-1], *[(), (1,), (3,)][self.rng.randint(3)])

    def left(self) -> str:
        return self.normal(self.rng.randint(1, 4), self.shape[-2])

    def same(self) -> str:
        return self.program.pick(lambda shape: shape == self.shape)

    def x(self) -> str:
        names = [name for name in self.program.names if name[0] == "x" and np.shape(self.env[name]) == self.shape]
        return str(self.rng.choice(names)) if names else self["same"]

    def b(self) -> str:
        def fits(shape: tuple[int, ...]) -> bool:
            pairs = list(zip(shape[::-1], self.shape[::-1], strict=False))
            return all(m == n or 1 in (m, n) for m, n in pairs)

        return self.program.pick(fits)

    def some(self, *shape: int) -> str:
        return self.constant(self.rng.rand(*(shape or self.shape)) < 0.6)

    def mask(self) -> str:
        """A constant mask, which broadcasts perhaps, or the name of a comparison."""
        if self.rng.rand() < 0.4:
            return self.some(*(1 if self.rng.rand() < 0.2 else n for n in self.shape))
        return self.named(self["test"])

    def finite(self) -> str:
        return self.named(self["number?"])

    def named(self, text: str) -> str:
        name = f"m{len(self.program.lines) + len(self.lines)}"
        self.do(f"{name} = {text}")
        return name

    def axis(self) -> str:
        return str(self.rng.randint(-len(self.shape), len(self.shape)))

    def list(self) -> str:
        return self.constant(self.rng.randint(0, self.shape[-1], 3))

    def i(self) -> str:
        """An index: a list, a mask, two lists, or a part for each of the first axes."""
        r, shape, kind = self.rng, self.shape, self.rng.randint(9)
        if kind == 0 or not shape:
            return self.constant(r.randint(-shape[0], shape[0], r.randint(1, 5)))
        if kind == 1:
            return self.some(shape[0])
        if kind == 2:
            return ", ".join(self.constant(r.randint(0, n, 3)) for n in shape[:2])
        parts = [
            self.one_of(f":|::-1|::2|None, :|1:|:-1|{r.randint(-n, n)}|{r.randint(0, n, r.randint(1, 4)).tolist()}")
            for n in shape[: r.randint(1, len(shape) + 1)]
        ]
        return ", ".join([*parts, *(["..."] if r.rand() < 0.1 else [])])

    j = i


def measure() -> dict[str, Any]:
    """What all programs give, one after another; NaN where one raises."""
    programs = [Program(seed) for seed in range(PROGRAMS)]
    results = [p.results() for p in programs]
    found: dict[str, Any] = {"size": [p.size for p in programs], "check": [p.check for p in programs]}
    found["raised"] = [[isinstance(r[name], str) for name in QUANTITIES] for r in results]
    for name in QUANTITIES:
        nan = [np.full(1 if name == "value" else p.size, np.nan) for p in programs]
        parts = [nan[k] if isinstance(r[name], str) else r[name] for k, r in enumerate(results)]
        found[name] = np.concatenate(parts)
    return {name: np.array(y) for name, y in found.items()}


def improve(older: Any, now: dict[str, Any]) -> dict[str, Any]:
    """The older results, and the new ones where the older needle raised or had NaN and there is a number now."""
    assert np.array_equal(older["check"], now["check"]), "the two grew other programs"
    assert not now.pop("raised").any(), "a program raises"
    improved = {"raised": older["raised"].any(1).nonzero()[0]}
    for name in QUANTITIES:
        new = np.isnan(older[name]) & ~np.isnan(now[name])
        now[name] = np.where(new, now[name], older[name])
        improved[name] = np.flatnonzero([part.any() for part in each(now["size"], new)])
    for name, seeds in improved.items():
        print(f"{name}: {len(seeds)} programs improved: {seeds.tolist()}")
    return now | {"improved": np.unique(np.concatenate(list(improved.values())))}


def each(size: Any, y: Any) -> list[Any]:
    """Of the numbers of all programs, those of each."""
    return np.split(y, len(size) if len(y) == len(size) else np.cumsum(size)[:-1])


if __name__ == "__main__":
    np.savez_compressed(sys.argv[1], **(improve(np.load(sys.argv[2]), measure()) if sys.argv[2:] else measure()))
