"""Levels: what tensors look like inside transforms that are running, one around the other.

A transform wraps the values that it follows: in a tangent (../forward.py), in a batch (../batching.py), in a place on
a tape (../tape.py). Each running transform has a level, and an operation is processed by the highest one among its
inputs, which applies it to what is inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import attrgetter, is_
from time import perf_counter
from typing import Any

from .. import watching
from ..memory import handed_out
from .modes import DETACHED, FOLLOWED
from .tensor import Tensor, TensorTuple, array_to_keep, as_value
from .value import Value
from .versions import Assigned, latest


class Wrapped(Tensor):
    """What a tensor looks like inside of a transform that is running: it carries tangents (forward.py), a batch of
    values (batching.py), or a place on a tape (tape.py).

    `value` is the tensor inside, which may be wrapped by a transform around this one; later transforms have higher
    levels. The slot `_array` stays empty, so an operation that meets one of these comes to `process` by the exception,
    and no other operation pays for the question.
    """

    __slots__ = ("level", "value")
    level: int
    value: Any
    __hash__ = object.__hash__

    def __init__(self, level: int, value: Any):
        self.level = level
        self.value = value
        _as_leaf(self)

    def process(self, op: Any, inputs: tuple[Any, ...]) -> Any:
        """The op's output, where this is the input of the highest level."""
        raise NotImplementedError

    def opened(self, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What is inside the inputs of this level, the others as they are; and the wrappers, None for the others."""
        mine = [a if type(a) is type(self) and a.level == self.level else None for a in inputs]
        return tuple([a if w is None else w.value for a, w in zip(inputs, mine, strict=True)]), tuple(mine)

    def gathered(self, members: tuple[Any, ...]) -> Any:
        """A tuple of these, some of which are of this level, as one wrapped input for `process`."""
        raise NotImplementedError

    def twin(self) -> Any:
        """Another object with the same record."""
        raise NotImplementedError

    def laid_out(self) -> Any:
        """An array whose elements lie in memory as this tensor's do."""
        return self.value.laid_out() if isinstance(self.value, Wrapped) else self.value._array

    def __getattr__(self, name: str) -> Any:
        # Each operation asks for "_array", and needs no words.
        raise AttributeError(name if name == "_array" else f"{type(self).__name__!r} object has no attribute {name!r}")

    def is_recorded(self) -> bool:
        """Whether the engine's own graph records what is computed from what is inside."""
        return is_recorded_inside(self.value)

    shape = property(attrgetter("value.shape"))
    dtype = property(attrgetter("value.dtype"))
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: prod(self.shape))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)

    def backward(self, out_grad: Any = None, accumulate: bool = False) -> None:
        raise TypeError(f"backward(): {self._refusal()}; take an inner gradient with needle.grad(f)(x)")

    def _refusal(self) -> str:
        return f"this tensor of shape {self.shape} belongs to a transform that is running (grad, jvp, jacobian, ...)"

    def __repr__(self) -> str:
        return f"needle.{type(self).__name__}({self.value!r})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        self._leaves_the_record("np.asarray(t)", "t.numpy()")
        return self.value.__array__(dtype, copy)

    def __index__(self) -> int:
        self._leaves_the_record("an index", "t.item()")
        return self.value.detach().__index__()

    def __reduce__(self) -> Any:
        array_to_keep(self, "pickle")
        return self.value.__reduce__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.astype(self.dtype)


def _forwarded(name: str) -> Any:
    """The method of the tensor inside."""
    return lambda self, *args: getattr(self.value, name)(*args)


def _refused(what: str, get: Any = None, fix: str = "") -> Any:
    """A property that cannot be set, nor read unless `get` does."""

    def refuse(self: Any, *value: Any) -> None:
        raise TypeError(f"{what}{' = ...' * bool(value)}: {self._refusal()}{fix}")

    return property(get or refuse, refuse)


for _name in ("numpy", "item", "tolist", "detach", "__str__", "__format__", "__bool__"):
    setattr(Wrapped, _name, _forwarded(_name))
for _name, _property in {
    "cached_data": _refused("cached_data"),
    "grad": _refused("t.grad"),
    "data": _refused("t.data", lambda self: self.detach()),
    "requires_grad": _refused("t.requires_grad", lambda self: True, "; needle.stop_gradient(t) makes a constant of it"),
}.items():
    setattr(Wrapped, _name, _property)


def _as_leaf(wrapped: Any) -> None:
    wrapped.op, wrapped.inputs, wrapped.saved, wrapped._grad, wrapped.needs = None, (), None, None, FOLLOWED


def is_recorded_inside(tensor: Tensor) -> bool:
    """Whether the engine's own graph records what is computed from it, under whatever it is wrapped in."""
    return tensor.is_recorded() if isinstance(tensor, Wrapped) else tensor.needs > DETACHED


class WrappedTuple(TensorTuple):
    """Several wrapped tensors made by one operation."""

    __slots__ = ("members",)
    members: tuple[Tensor, ...]

    def __init__(self, members: Sequence[Tensor]):
        self.members = tuple(members)
        _as_leaf(self)

    def __len__(self) -> int:
        return len(self.members)

    def numpy(self) -> tuple[Any, ...]:
        return tuple(member.numpy() for member in self.members)


def apply_to_others(op: Any, inputs: tuple[Any, ...]) -> Any:
    """The op where not all inputs are tensors with an array: some are arrays or numbers, or wrapped, or assigned to."""
    values = tuple([latest(a) if isinstance(a, Value) else as_value(a, op) for a in inputs])
    members = [m for a in values for m in (map(latest, a.members) if isinstance(a, WrappedTuple) else (a,))]
    if wrapped := [m for m in members if isinstance(m, Wrapped)]:
        top = max(wrapped, key=attrgetter("level"))
        gathered = [top.gathered(tuple(map(latest, a.members))) if isinstance(a, WrappedTuple) else a for a in values]
        return top.process(op, tuple(gathered))
    if all(map(is_, inputs, values)):
        return [a._array for a in values]  # raises: one has no value at all
    return op._compute_and_record(*values)  # an op's own __call__ has seen the inputs as they came


def watched_call(op: Any, inputs: tuple[Any, ...]) -> Any:
    """op(*inputs), and those who watch are told."""
    values = tuple([latest(a) if isinstance(a, Value) else as_value(a, op) for a in inputs])
    if any(isinstance(a, Wrapped) for a in values):
        return apply_to_others(op, values)  # it is applied to what is inside, and that is seen
    for a in inputs:
        if isinstance(a, Assigned):
            watching.tell("seen", a)
    started = perf_counter()
    output = watching.unseen(op, *values)
    watching.tell("computed", op, values, output, perf_counter() - started)
    if handed_out and output.saved is not None and output.op is op:
        for a, array in zip(values, output.saved, strict=True):
            if array is not a._array:
                watching.tell("copied", a._array, array)
    return output
