"""What is checked: a function of a flat list of tensors at a point. Its derivatives are such functions again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..autograd import Tensor, TensorTuple, as_value, gradient_dtype
from ..nested import children_of, flatten, is_leaf
from ..transforms import jvp, vjp

Arrays = list[Any]
Call = Callable[..., Sequence[Any]]


@dataclass
class Function:
    """A function at a point."""

    call: Call
    given: Arrays
    """The point in its own dtypes, where the rules are applied."""
    wide: Arrays
    """The point in double precision, where differences are taken."""
    inputs: list[str]
    outputs: list[str]
    parent: Function | None = None
    """The function that this one is the derivative of, by `mode`."""
    mode: str = ""
    floors: list[float] = field(default_factory=list)
    """The least magnitude of the terms of each output, which may cancel."""

    def __post_init__(self) -> None:
        self.like, computed = self.at(self.given), self.at(self.wide)
        self.values = [upcast(y) for y in computed]
        floors = self.floors or [0.0] * len(self.values)
        self.magnitudes = [max(_largest(y), m) for y, m in zip(self.values, floors, strict=True)]
        self.rounding = max([_eps(a) for a in [*self.wide, *computed]], default=_eps(np.zeros(())))
        self.bytes = min([_bytes(a) for a in [*self.given, *self.like, *computed]], default=8)
        if self.parent is not None:
            self.rounding = max(self.rounding, self.parent.rounding)
            self.bytes = min(self.bytes, self.parent.bytes)

    def at(self, arrays: Arrays) -> Arrays:
        """The outputs there."""
        return [as_value(y)._array for y in self.call(*[Tensor(a, requires_grad=not self.mode) for a in arrays])]

    def wide_at(self, arrays: Arrays) -> Arrays:
        """The outputs there in double precision; NaN outside of where the function is defined, with outputs of the same
        dtypes: an eigenvalue may be complex here, and real there."""
        try:
            return [upcast(y) for y in self.at(arrays)]
        except (ValueError, ArithmeticError, TypeError):
            return [np.full_like(y, np.nan) for y in self.values]

    def moved(self, i: int, direction: Any) -> Callable[[float], Arrays]:
        """The outputs by the distance that input i is moved along a direction."""
        before, x, after = self.wide[:i], self.wide[i], self.wide[i + 1 :]
        return lambda h: self.wide_at([*before, (x + h * direction).astype(x.dtype), *after])

    def widened(self) -> Function:
        """The same where the rules are applied in double precision, too."""
        parent = None if self.parent is None else self.parent.widened()
        return dataclasses.replace(self, given=self.wide, parent=parent)

    @property
    def chain(self) -> list[Function]:
        """This function, the one that it is the derivative of, and so on."""
        return [self] if self.parent is None else [self, *self.parent.chain]


def _largest(a: Any) -> float:
    return float(np.max(np.abs(a), initial=0.0, where=np.isfinite(a)))


def _eps(a: Any) -> float:
    return float(max(np.finfo(a.dtype).eps if a.dtype.kind in "fc" else 0.0, np.finfo(np.float64).eps))


def _bytes(a: Any) -> int:
    """The bytes of a real number of this dtype; 8 at most."""
    if a.dtype.kind not in "fc":
        return 8
    return int(min(8, a.dtype.itemsize // (2 if a.dtype.kind == "c" else 1)))


def function_of(f: Callable[..., Any], inputs: Sequence[Any]) -> Function:
    """f at these inputs, nested as they may be, as a function of those that can be differentiated by."""
    leaves, rebuild = flatten(list(inputs))
    arrays = [np.array(as_value(a, "check_grads")._array) for a in leaves]
    names = [name for i, tree in enumerate(inputs) for name in _paths(tree, f"inputs[{i}]")]
    outputs: dict[int, str] = {}

    def of(variables: list[int]) -> Call:
        def call(*tensors: Any) -> Sequence[Any]:
            full = [constant_of(a) for a in arrays]
            for i, t in zip(variables, tensors, strict=True):
                full[i] = t
            out = f(*rebuild(iter(full)))
            tree = tuple(out) if isinstance(out, TensorTuple) else out
            found = flatten(tree)[0]
            if not outputs:
                paths = _paths(tree, "output")
                outputs.update({o: paths[o] for o, y in enumerate(found) if as_value(y).dtype.kind != "b"})
            return [found[o] for o in outputs]

        return call

    def at(variables: list[int], wide: Arrays) -> Function:
        point = [arrays[i] for i in variables]
        if not variables:
            raise TypeError(
                "check_grads: nothing to differentiate by: the inputs hold no float, complex or integer number"
            )
        return Function(of(variables), point, wide, [names[i] for i in variables], list(outputs.values()))

    numbers = [i for i, a in enumerate(arrays) if a.dtype.kind != "b"]
    floats = [i for i in numbers if arrays[i].dtype.kind in "fc"]
    of(numbers)(*[Tensor(arrays[i]) for i in numbers])  # an error of f's own is its user's to see
    for variables in (numbers, floats) if floats else (numbers,):
        try:
            return at(variables, [upcast(arrays[i]) for i in variables])
        except Exception:  # f indexes by an integer input, or insists on its own dtype
            continue
    return at(floats, [arrays[i] for i in floats])


def _paths(tree: Any, name: str) -> list[str]:
    """How each leaf of a nested container is written: `inputs[0]["W"][2]`; in the order of `flatten`."""
    if is_leaf(tree):
        return [name]
    keys, children, make = children_of(tree)
    if make is None:
        return []
    fields = getattr(tree, "_fields", keys if dataclasses.is_dataclass(tree) else None)
    if fields is not None:
        ends = [f".{key}" for key in fields]
    else:
        ends = [f'["{key}"]' if isinstance(key, str) else f"[{key!r}]" for key in keys]
    return [path for end, child in zip(ends, children, strict=True) for path in _paths(child, name + end)]


def written_index(index: Sequence[int]) -> str:
    """An element's index behind the name of its array; nothing for a 0-d one."""
    return f"[{', '.join(map(str, index))}]" if len(index) else ""


def derivative(function: Function, mode: str, rng: Any) -> Function:
    """The derivative of a function, as a function of the same point and of random cotangents or tangents."""
    n, call = len(function.given), with_tuples(function.call)
    sizes = [typical(a) for a in function.wide]
    if mode == "reverse":
        weights = [random_like(y, rng) for y in function.like]

        def differentiated(*tensors: Any) -> Sequence[Any]:
            return vjp(call, *tensors[:n])[1](tuple(tensors[n:]))

        total = sum(m * typical(w) for m, w in zip(function.magnitudes, weights, strict=True))
        floors = [total / size for size in sizes]
        more, outputs = [f"out_grad of {y}" for y in function.outputs], [f"gradient by {x}" for x in function.inputs]
    else:
        weights = [random_like(x, rng) for x in function.given]

        def differentiated(*tensors: Any) -> Sequence[Any]:
            return jvp(call, tensors[:n], tensors[n:])[1]

        total = sum(typical(w) / size for w, size in zip(weights, sizes, strict=True))
        floors = [m * total for m in function.magnitudes]
        more, outputs = [f"tangent of {x}" for x in function.inputs], [f"tangent of {y}" for y in function.outputs]
    wide = weights if any(a.dtype != upcast(a).dtype for a in function.wide) else [upcast(w) for w in weights]
    point, inputs = [*function.given, *weights], [*function.inputs, *more]
    return Function(differentiated, point, [*function.wide, *wide], inputs, outputs, function, mode, floors)


def with_tuples(call: Call) -> Callable[..., tuple[Any, ...]]:
    """The function with its outputs as a tuple, as the transforms take it."""
    return lambda *tensors: tuple(call(*tensors))


def constant_of(a: Any) -> Tensor:
    return Tensor(a, requires_grad=False)


# ------------------------------------------------------------------------------------------------ numbers for a point


def upcast(a: Any) -> Any:
    """Numbers in double precision; booleans as they are."""
    return np.asarray(a, {"b": np.bool_, "c": np.complex128}.get(np.asarray(a).dtype.kind, np.float64))


def as_gradient(a: Any, like: Any) -> Any:
    """Numbers in the dtype that a gradient of this array has."""
    return np.asarray(a).astype(gradient_dtype(like.dtype))


def random_like(a: Any, rng: Any) -> Any:
    """Numbers of magnitudes 0.5 to 1.5 and either sign, as a gradient of this array."""
    drawn = rng.uniform(0.5, 1.5, a.shape) * rng.choice([-1, 1], a.shape)
    if a.dtype.kind == "c":
        drawn = drawn + 1j * rng.uniform(0.5, 1.5, a.shape) * rng.choice([-1, 1], a.shape)
    return as_gradient(drawn, a)


def typical(a: Any) -> float:
    """The root mean square of what is finite; 1 if that is 0."""
    finite = np.abs(a[np.isfinite(a)]).astype(np.float64)
    return (float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0) or 1.0


def steps(a: Any) -> Any:
    """How far each element of an input is moved, up to a factor: by its own size or that of the others."""
    return np.maximum(np.abs(a), typical(a))


def own_steps(a: Any) -> Any:
    """The same for elements of many magnitudes: each by its own size alone."""
    return np.where(a == 0, min(typical(a), 1.0), np.abs(a))
