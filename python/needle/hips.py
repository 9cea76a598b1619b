"""Transforms and custom rules under the names of HIPS autograd.

A transform takes a function and `argnum`, the argument to differentiate by: a position, a name, or a tuple of these. It
returns a function of the same arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import update_wrapper
from itertools import count
from typing import Any

import numpy as np

from .autograd import Tensor, TensorOp, as_value, gradient_dtype, wanted
from .nested import map_leaves
from .ops import summation
from .tape import constant_like
from .transforms import Argnums, SecondOrder, Transformed, grad, jacobian, jvp, linearize, value_and_grad, vjp


def _unary(f: Any, argnum: Argnums, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Callable[[Any], Any], Any]:
    """f as a function of the chosen argument alone (a tuple for several), and the value of that argument."""
    keys: list[Any] = [argnum] if isinstance(argnum, (int, str)) else list(argnum)
    chosen = tuple([kwargs[key] if isinstance(key, str) else args[key] for key in keys])

    def of_chosen(x: Any) -> Any:
        every, named = list(args), dict(kwargs)
        for key, value in zip(keys, (x,) if isinstance(argnum, (int, str)) else x, strict=True):
            (named if isinstance(key, str) else every)[key] = value
        return f(*every, **named)

    return of_chosen, chosen[0] if isinstance(argnum, (int, str)) else chosen


def _make_vjp(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args, kwargs)
    value, pullback = vjp(of_x, x)
    return lambda cotangent: pullback(cotangent)[0], value


def make_vjp(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """Returns (pullback, value); pullback(cotangent) is the adjoint of the argument."""
    return Transformed(_make_vjp, f, argnum=argnum)


def _make_jvp(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args, kwargs)
    x = map_leaves(lambda a: a.copy() if isinstance(a, np.ndarray) else a, x)  # a later write to x has no effect
    return lambda tangent: jvp(of_x, (x,), (tangent,))


def make_jvp(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """Returns push; push(tangent) is (value, the derivative along the tangent)."""
    return Transformed(_make_jvp, f, argnum=argnum)


def _make_hvp(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args, kwargs)
    around = SecondOrder(of_x, (x,))
    return around, around.gradient


def make_hvp(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """Returns (product, gradient); product(tangent) is the Hessian times the tangent. f runs once for all products."""
    return Transformed(_make_hvp, f, argnum=argnum)


def _half_square(y: Any) -> Any:
    return 0.5 * summation(y * y, axes=-1 if y.ndim else None)


def _make_ggnvp(f: Any, args: Any, kwargs: Any, g: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args, kwargs)
    y, push = linearize(of_x, x)
    outer = SecondOrder(g, (y,))
    _, pullback = vjp(of_x, x)
    return lambda tangent: pullback(outer(push(tangent)))[0]


def make_ggnvp(f: Callable[..., Any], g: Callable[..., Any] = _half_square, f_argnum: Argnums = 0) -> Any:
    """Returns product; product(tangent) is the generalized Gauss-Newton matrix J^T H J of g(f(x)) times the tangent.

    J is the Jacobian of f. H is the Hessian of g, which returns one number; by default, half the sum of squares.
    """
    return Transformed(_make_ggnvp, f, g=g, argnum=f_argnum)


def _grad_and_aux(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    (_, aux), gradient = value_and_grad(f, argnum, has_aux=True)(*args, **kwargs)
    return gradient, aux


def grad_and_aux(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """For a function that returns two outputs: (the gradient of the first, the second)."""
    return Transformed(_grad_and_aux, f, argnum=argnum)


def _deriv(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args, kwargs)
    return jvp(of_x, (x,), (map_leaves(_ones_like, x),))[1]


def _ones_like(a: Any) -> Any:
    return constant_like(a, 1.0) if isinstance(a, Tensor) else np.ones(np.shape(a), gradient_dtype(np.asarray(a).dtype))


def deriv(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """The derivative along a tangent of ones, in forward mode: f'(x) for a number x."""
    return Transformed(_deriv, f, argnum=argnum)


def _hessian_vector_product(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args[:-1], kwargs)
    return SecondOrder(of_x, (x,))(args[-1])


def hessian_vector_product(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """The Hessian times a tensor of the argument's shape, which follows the arguments of f."""
    return Transformed(_hessian_vector_product, f, argnum=argnum)


hessian_tensor_product = hessian_vector_product


def _tensor_jacobian_product(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args[:-1], kwargs)
    factor = args[-1]
    value, pullback = vjp(of_x, x)
    ndim = np.ndim(factor)
    if not ndim < np.ndim(value) or np.shape(value)[:ndim] != np.shape(factor):
        return pullback(factor)[0]
    along = as_value(factor).reshape((*np.shape(factor), *(1,) * (np.ndim(value) - ndim)))
    return jacobian(lambda x: summation(along * of_x(x), axes=tuple(range(ndim))), mode="reverse")(x)


def tensor_jacobian_product(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """A tensor of the output's shape, or of its first axes, times the Jacobian. The tensor follows f's arguments."""
    return Transformed(_tensor_jacobian_product, f, argnum=argnum)


vector_jacobian_product = tensor_jacobian_product


def grad_named(f: Callable[..., Any], argname: str) -> Any:
    """The gradient by the argument of this name, even if it is passed by position."""
    return grad(f, list(inspect.signature(f).parameters).index(argname))


# ---------------------------------------------------------------------------------------------------- custom rules


class primitive:
    """f as one opaque op on arrays; `defvjp` and `defjvp` set its derivatives.

    f gets arrays for the Tensors among its positional arguments. The rules get Tensors, so their results can be
    differentiated again.
    """

    def __init__(self, f: Callable[..., Any]):
        self.f = f
        self.vjps: dict[int, Callable[..., Any] | None] = {}
        self.jvps: dict[int, Callable[..., Any] | str | None] = {}
        update_wrapper(self, f)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        return _Primitive(self, args, kwargs, places)(*[args[i] for i in places]) if places else self.f(*args, **kwargs)


class _Primitive(TensorOp):
    """One call of a primitive."""

    __slots__ = ("args", "kwargs", "of", "places")
    on_arrays = False

    def __init__(self, of: primitive, args: tuple[Any, ...], kwargs: dict[str, Any], places: list[int]):
        self.of, self.args, self.kwargs, self.places = of, args, kwargs, places

    def __repr__(self) -> str:
        return str(getattr(self.of, "__name__", "primitive"))

    def _with(self, values: Sequence[Any]) -> list[Any]:
        """The positional arguments with the Tensors replaced by these values."""
        args = list(self.args)
        for i, value in zip(self.places, values, strict=True):
            args[i] = value
        return args

    def compute(self, *arrays: Any) -> Any:
        return np.asarray(self.of.f(*self._with([a.copy() for a in arrays]), **self.kwargs))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        args = self._with(node.inputs)
        return tuple(
            self._adjoint(i, out_grad, node, args) if wanted(a) else None
            for i, a in zip(self.places, node.inputs, strict=True)
        )

    def _adjoint(self, i: int, out_grad: Any, node: Any, args: list[Any]) -> Any:
        if i not in self.of.vjps:
            raise NotImplementedError(
                f"{self!r}: its derivative by argument {i} is not known; write\n"
                f"    defvjp({self!r}, lambda ans, *args: lambda g: g * slope, argnums=[{i}])"
            )
        make = self.of.vjps[i]
        return None if make is None else make(node, *args, **self.kwargs)(out_grad)

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        moving = [(i, t) for i, t in zip(self.places, tangents, strict=True) if t is not None]
        if not all(i in self.of.jvps for i, _ in moving):
            return NotImplemented
        args, total = self._with(node.inputs), None
        for i, t in moving:
            rule = self.of.jvps[i]
            if rule is None:
                continue
            if isinstance(rule, str):
                along = self.of(*args[:i], t, *args[i + 1 :], **self.kwargs)
            else:
                along = rule(t, node, *args, **self.kwargs)
            total = along if total is None else total + along
        return total


def defvjp(f: primitive, *makers: Callable[..., Any] | None, argnums: Iterable[int] | None = None) -> None:
    """Set the vjps of a primitive by its first arguments, or by `argnums`.

    maker(ans, *args) returns a function of the cotangent g; None means that the gradient is zero.
    """
    f.vjps.update(zip(count() if argnums is None else argnums, makers, strict=False))


def defjvp(f: primitive, *rules: Callable[..., Any] | str | None, argnums: Iterable[int] | None = None) -> None:
    """Set the jvps of a primitive by its first arguments, or by `argnums`.

    A rule is a function rule(g, ans, *args) of the tangent g, "same" if f is linear in the argument, or None if the
    derivative is zero. Without jvps, forward mode transposes the vjps. Raises ValueError for another string.
    """
    if unknown := {rule for rule in rules if isinstance(rule, str)} - {"same"}:
        raise ValueError(f'defjvp: a rule is a function, "same" or None, got {unknown.pop()!r}')
    f.jvps.update(zip(count() if argnums is None else argnums, rules, strict=False))
