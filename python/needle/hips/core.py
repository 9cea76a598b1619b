"""Functions on arrays as operations, with derivatives of their own: `primitive`, `defvjp`, `defjvp`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import update_wrapper
from itertools import count
from types import MethodType
from typing import Any

import numpy as np

from .. import transforms, watching
from ..autograd import Tensor, TensorTupleOp, Wrapped, is_recorded, wanted
from ..batching import Batched, BatchedValueError, one_by_one
from ..nested import flatten, is_leaf, leaves_like
from ..numpy.common import tensor
from ..ops.tuples import make_tuple
from ..tape import constant_like
from .boxes import Box as Box
from .boxes import getval as getval
from .boxes import isbox as isbox
from .doors import without_constants
from .spaces import VSpace as VSpace
from .spaces import vspace as vspace

Maker = Callable[..., Any]


class primitive:
    """f as one opaque op on arrays; `defvjp` and `defjvp` set its derivatives.

    f gets arrays (NumPy numbers, if they are 0-d) for the Tensors among its positional arguments. It returns an array,
    a number, or a container of several. A rule gets arrays, too, unless somebody differentiates what it computes: then
    it gets Tensors, and has to be written in functions of `needle.hips.numpy`.
    """

    def __init__(self, f: Callable[..., Any]):
        self.f = self.fun = f
        self.vjps: dict[int, Maker | None] = {}
        self.jvps: dict[int, Maker | str | None] = {}
        self.whole_vjp: Maker | None = None
        self.whole_jvp: Maker | None = None
        update_wrapper(self, f)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        places = [i for i, a in enumerate(args) if isinstance(a, Tensor) or (self._has_rule(i) and _holds_tensor(a))]
        if not places:
            return self.f(*args, **kwargs)
        op = _Primitive(self, args, kwargs, places)
        outputs = tuple(op(*[a for i in places for a in flatten(args[i])[0] if isinstance(a, Tensor)]))
        return without_constants(op.rebuild(iter(outputs)))

    def _has_rule(self, i: int) -> bool:
        return bool(self.whole_vjp or self.whole_jvp) or i in self.vjps or i in self.jvps

    # The names and rules of 2016, which HIPS autograd still takes.

    def defgrad(self, maker: Maker, argnum: int = 0) -> None:
        """`defvjp` for one argument."""
        defvjp(self, maker, argnums=[argnum])

    def defvjp(self, rule: Callable[..., Any], argnum: int = 0) -> None:
        """Set the vjp by one argument: rule(g, ans, vspace of the argument, vspace of ans, *args) is its adjoint."""

        def maker(ans: Any, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
            return lambda g: rule(g, ans, vspace(args[argnum]), vspace(ans), *args, **kwargs)

        defvjp(self, maker, argnums=[argnum])

    def defvjp_is_zero(self, argnums: Iterable[int] = (0,)) -> None:
        """The gradient by these arguments is zero."""
        for i in argnums:
            defvjp(self, None, argnums=[i])

    def vjp(self, argnums: Sequence[int], ans: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Maker:
        """A function of the cotangent that returns the adjoints of these arguments, None for zero."""
        if self.whole_vjp is not None:
            return self.whole_vjp(tuple(argnums), ans, tuple(args), kwargs)
        name = getattr(self, "__name__", "primitive")
        pulls = []
        for i in argnums:
            if i not in self.vjps:
                raise NotImplementedError(
                    f"{name}: its derivative by argument {i} is not known; write\n"
                    f"    defvjp({name}, lambda ans, *args: lambda g: g * slope, argnums=[{i}])"
                )
            make = self.vjps[i]
            pulls.append(None if make is None else make(ans, *args, **kwargs))
        return lambda g: [None if pull is None else pull(g) for pull in pulls]

    def jvp(
        self, argnums: Sequence[int], gs: Sequence[Any], ans: Any, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        """The tangent of the output, None for zero. NotImplemented if there are rules for other arguments only."""
        if self.whole_jvp is not None:
            return self.whole_jvp(tuple(argnums), tuple(gs), ans, tuple(args), kwargs)
        total = None
        for i, g in zip(argnums, gs, strict=True):
            rule = self.jvps[i]
            if rule is None:
                continue
            along = self(*args[:i], g, *args[i + 1 :], **kwargs) if rule == "same" else rule(g, ans, *args, **kwargs)  # type: ignore[operator]
            total = along if total is None else _sum(total, along)
        return total


def _holds_tensor(a: Any) -> bool:
    return not isinstance(a, np.ndarray) and any(isinstance(leaf, Tensor) for leaf in flatten(a)[0])


def _sum(a: Any, b: Any) -> Any:
    """The sum of two tangents of one structure."""
    if is_leaf(a):
        return a + b
    leaves, rebuild = flatten(a)
    return rebuild(iter([x + y for x, y in zip(leaves, leaves_like(b, a, "defjvp: tangents"), strict=True)]))


class _OnArrays(TensorTupleOp):
    """What a rule makes of arrays. Nobody differentiates it."""

    __slots__ = ("work",)
    on_arrays = False

    def __init__(self, work: Callable[..., Any]):
        self.work = work

    def compute(self, *arrays: Any) -> Any:
        return tuple(map(np.array, self.work(*map(_own, arrays))))


def _own(array: Any) -> Any:
    """A copy, which may be written to; a NumPy number for a 0-d array."""
    return array.copy() if array.ndim else array[()]


def _is_followed(a: Any) -> bool:
    """Whether somebody differentiates, or captures by a tape, what is computed from it."""
    while type(a) is Batched:
        a = a.value
    return isinstance(a, Wrapped) or is_recorded(a)


def _worked(work: Callable[..., Any], values: Sequence[Any]) -> tuple[Any, ...]:
    """work(*values) as Tensors: on arrays, one by one of a batch, unless somebody follows the values.

    Of a batch that is followed, a rule that looks at values (`getval(g)`) gets one Tensor after the other.
    """
    if any(map(_is_followed, values)):

        def worked(*values: Any) -> tuple[Any, ...]:
            return tuple(map(tensor, work(*values)))

        try:
            return worked(*values)
        except BatchedValueError:
            if not any(type(a) is Batched for a in values):
                raise
            batch = max((a for a in values if type(a) is Batched), key=lambda a: a.level)
            opened, mine = batch.opened(tuple(values))
            outs = one_by_one(lambda *members: make_tuple(*worked(*members)), opened, mine, batch.value.shape[0])
            return tuple([Batched(batch.level, out) for out in outs])
    return tuple(_OnArrays(work)(*values))


_INPUT = object()
"""Stands for a Tensor among the leaves of an argument."""


class _Argument:
    """An argument that holds Tensors: its position, its leaves without them, and how to build it."""

    def __init__(self, i: int, value: Any):
        self.i, self.alone = i, is_leaf(value)
        leaves, self.rebuild = flatten(value)
        self.leaves: list[Any] = [_INPUT if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    @property
    def count(self) -> int:
        """The number of its Tensors."""
        return sum([leaf is _INPUT for leaf in self.leaves])

    def around(self, values: Iterator[Any]) -> Any:
        return self.rebuild(iter([next(values) if leaf is _INPUT else leaf for leaf in self.leaves]))

    def tangent(self, tangents: Iterator[Any]) -> Any:
        """The tangents of its Tensors in its structure, zeros for its constants."""
        leaves = [leaf if leaf is _INPUT else np.zeros(np.shape(leaf)) for leaf in self.leaves]
        return self.rebuild(iter([next(tangents) if leaf is _INPUT else leaf for leaf in leaves]))

    def adjoints(self, given: Any, name: str) -> list[Any]:
        """Those of its Tensors, from what a rule returned for it."""
        if given is None or self.alone:
            return [given] * self.count
        like = self.rebuild(iter([0.0] * len(self.leaves)))
        found = leaves_like(given, like, f"{name}: the adjoint of argument {self.i}")
        return [g for g, leaf in zip(found, self.leaves, strict=True) if leaf is _INPUT]


class _Primitive(TensorTupleOp):
    """One call of a primitive."""

    __slots__ = ("args", "arguments", "kwargs", "of", "rebuild")
    on_arrays = False

    def __init__(self, of: primitive, args: tuple[Any, ...], kwargs: dict[str, Any], places: list[int]):
        self.of, self.kwargs = of, kwargs
        self.arguments = [_Argument(i, args[i]) for i in places]
        self.args = [None if i in places else a for i, a in enumerate(args)]
        self.rebuild: Any = None

    def __repr__(self) -> str:
        return str(getattr(self.of, "__name__", "primitive"))

    def _with(self, values: Iterable[Any]) -> list[Any]:
        """The positional arguments around these values in the place of the Tensors."""
        args, values = list(self.args), iter(values)
        for argument in self.arguments:
            args[argument.i] = argument.around(values)
        return args

    def compute(self, *arrays: Any) -> Any:
        outputs, self.rebuild = flatten(self.of.f(*self._with(map(_own, arrays)), **self.kwargs))
        if any(map(isbox, outputs)):
            raise TypeError(
                f"{self!r}: a primitive computes on arrays, but this one reaches a Tensor that somebody differentiates "
                "by, and this derivative would be lost; pass the Tensor as a positional argument"
            )
        return tuple([np.array(getval(y)) for y in outputs])

    def _by_argument(self, values: Sequence[Any]) -> list[list[Any]]:
        """One value for each input, as a list for each argument."""
        rest = iter(values)
        return [[next(rest) for _ in range(argument.count)] for argument in self.arguments]

    def gradient(self, out_grad: Any, node: Any) -> Any:
        inputs, outputs = tuple(node.inputs), tuple(node.output)
        given = [constant_like(y, 0.0) if g is None else g for g, y in zip(out_grad, outputs, strict=True)]
        parts = list(zip(self.arguments, self._by_argument(inputs), strict=True))
        asked = [argument for argument, tensors in parts if any(map(wanted, tensors)) and self._has_slope(argument.i)]
        if not asked:
            return (None,) * len(inputs)

        def prepared(of: Sequence[Any]) -> Maker:
            args, ans = self._with(of[: len(inputs)]), self.rebuild(iter(of[len(inputs) :]))
            return self.of.vjp([argument.i for argument in asked], ans, args, self.kwargs)

        def pulled(pull: Maker, cotangents: Sequence[Any]) -> list[Any]:
            returned = pull(self.rebuild(iter(cotangents)))
            pairs = zip(asked, returned, strict=True)
            found = [g for argument, of_it in pairs for g in argument.adjoints(of_it, f"{self!r}")]
            return [np.zeros(a.shape) if g is None else g for g, a in zip(found, tensors, strict=True)]

        tensors = [a for argument, of_it in parts if argument in asked for a in of_it]
        kept = (*inputs, *outputs)
        n = len(given)
        if (
            watching.captures()
            or any(isinstance(a, Wrapped) or _is_followed(a) for a in kept)
            or any(_is_followed(g) for g in given)
        ):
            found = _worked(lambda *of: pulled(prepared(of[n:]), of[:n]), (*given, *kept))
        else:  # of all rows of a Jacobian, the rule is prepared once
            pull = prepared([_own(a._array) for a in kept])
            found = _worked(lambda *of: pulled(pull, of), given)
        rest = iter(found)
        return tuple([next(rest) if argument in asked else None for argument, of_it in parts for _ in of_it])

    def _has_slope(self, i: int) -> bool:
        """Whether the derivative by an argument is not zero in any case."""
        return self.of.whole_vjp is not None or self.of.vjps.get(i, i) is not None

    def _broadcast(self, tangent: Any, shape: tuple[int, ...]) -> Any:
        """The tangent of an output of this shape, from what a rule returned."""
        given = np.shape(tangent)
        if given == shape:
            return tangent
        if len(given) > len(shape) or any(n not in (1, m) for n, m in zip(given[::-1], shape[::-1], strict=False)):
            raise ValueError(f"{self!r}: a jvp returned a tangent of shape {given} for an output of shape {shape}")
        return tangent + np.zeros(shape)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        inputs, outputs = tuple(node.inputs), tuple(node.output)
        parts = list(zip(self.arguments, self._by_argument(tangents), strict=True))
        moving = [argument for argument, of_it in parts if any(t is not None for t in of_it)]
        if self.of.whole_jvp is None and not all(argument.i in self.of.jvps for argument in moving):
            return NotImplemented
        given = [constant_like(a, 0.0) if t is None else t for a, t in zip(inputs, tangents, strict=True)]
        n = len(inputs)

        def pushed(*of: Any) -> list[Any]:
            args, ans = self._with(of[n : 2 * n]), self.rebuild(iter(of[2 * n :]))
            gs = [
                argument.tangent(iter(of_it))
                for argument, of_it in zip(self.arguments, self._by_argument(of[:n]), strict=True)
                if argument in moving
            ]
            along = self.of.jvp([argument.i for argument in moving], gs, ans, args, self.kwargs)
            if along is None:
                return [np.zeros(y.shape) for y in outputs]
            like = self.rebuild(iter([0.0] * len(outputs)))
            tangents = [along] if is_leaf(like) else leaves_like(along, like, f"{self!r}: the tangent")
            return [self._broadcast(t, y.shape) for t, y in zip(tangents, of[2 * n :], strict=True)]

        return _worked(pushed, (*given, *inputs, *outputs))


# ------------------------------------------------------------------------------------------------------------- rules


def defvjp(f: Any, *makers: Maker | None, argnums: Iterable[int] | None = None) -> None:
    """Set the vjps of a primitive by its first arguments, or by `argnums`.

    maker(ans, *args) returns a function of the cotangent g; None means that the gradient is zero. `ans` and g have the
    structure of the output, and what that function returns has the structure of the argument. For any other function,
    whose operations are differentiated one by one, a rule changes nothing.
    """
    if isinstance(f, primitive):
        f.vjps.update(zip(count() if argnums is None else argnums, makers, strict=False))
        f.whole_vjp = None


def defvjp_argnum(f: Any, maker: Maker) -> None:
    """Set all vjps of a primitive at once: maker(argnum, ans, args, kwargs) returns a function of the cotangent."""

    def whole(argnums: tuple[int, ...], *call: Any) -> Maker:
        pulls = [maker(i, *call) for i in argnums]
        return lambda g: [pull(g) for pull in pulls]

    defvjp_argnums(f, whole)


def defvjp_argnums(f: Any, maker: Maker) -> None:
    """The same by several arguments: maker(argnums, ans, args, kwargs), whose function returns an adjoint for each."""
    if isinstance(f, primitive):
        f.whole_vjp = maker


def defjvp(f: Any, *rules: Maker | str | None, argnums: Iterable[int] | None = None) -> None:
    """Set the jvps of a primitive by its first arguments, or by `argnums`.

    A rule is a function rule(g, ans, *args) of the tangent g, "same" if f is linear in the argument, or None if the
    derivative is zero. Without jvps, forward mode transposes the vjps, which are given Tensors then. Raises ValueError
    for another string.
    """
    if unknown := {rule for rule in rules if isinstance(rule, str)} - {"same"}:
        raise ValueError(f'defjvp: a rule is a function, "same" or None, got {unknown.pop()!r}')
    if isinstance(f, primitive):
        f.jvps.update(zip(count() if argnums is None else argnums, rules, strict=False))
        f.whole_jvp = None


def defjvp_argnum(f: Any, rule: Maker) -> None:
    """Set all jvps of a primitive at once: rule(argnum, g, ans, args, kwargs) returns the output's tangent."""

    def whole(argnums: tuple[int, ...], gs: tuple[Any, ...], *call: Any) -> Any:
        total: Any = None
        for i, g in zip(argnums, gs, strict=True):
            along = rule(i, g, *call)
            total = along if total is None else _sum(total, along)
        return total

    defjvp_argnums(f, whole)


def defjvp_argnums(f: Any, rule: Maker) -> None:
    """The same by several arguments: rule(argnums, gs, ans, args, kwargs), with a tangent for each."""
    if isinstance(f, primitive):
        f.whole_jvp = rule


def def_linear(f: Any) -> None:
    """Set the jvps of a primitive that is linear in each of its arguments: f itself."""
    defjvp_argnum(f, lambda i, g, ans, args, kwargs: f(*args[:i], g, *args[i + 1 :], **kwargs))


# ---------------------------------------------------------------------------------------------- of functions of one x


def make_vjp(f: Callable[[Any], Any], x: Any) -> tuple[Callable[[Any], Any], Any]:
    """(pullback, f(x))."""
    value, pullback = transforms.vjp(f, x)
    return lambda g: pullback(g)[0], value


def make_jvp(f: Callable[[Any], Any], x: Any) -> Callable[[Any], tuple[Any, Any]]:
    """A function of the tangent that returns (f(x), the derivative along it)."""
    return lambda g: transforms.jvp(f, (x,), (g,))
