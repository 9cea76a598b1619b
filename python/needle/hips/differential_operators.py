"""Transforms under the names of HIPS autograd.

A transform takes a function and `argnum`, the argument to differentiate by: a position, a name, or a tuple of these. It
returns a function of the same arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import transforms
from ..autograd import Tensor, as_value, gradient_dtype
from ..checkpoint import checkpoint as checkpoint
from ..nested import map_leaves
from ..ops import summation
from ..tape import constant_like
from ..transforms import Argnums, SecondOrder, Transformed, jvp, linearize, vjp
from ..transforms import elementwise_grad as elementwise_grad
from ..transforms import grad as grad
from ..transforms import holomorphic_grad as holomorphic_grad
from ..transforms import value_and_grad as value_and_grad


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
    return jacobian(lambda x: summation(along * of_x(x), axes=tuple(range(ndim))))(x)


def tensor_jacobian_product(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """A tensor of the output's shape, or of its first axes, times the Jacobian. The tensor follows f's arguments."""
    return Transformed(_tensor_jacobian_product, f, argnum=argnum)


vector_jacobian_product = tensor_jacobian_product


def grad_named(f: Callable[..., Any], argname: str) -> Any:
    """The gradient by the argument of this name, even if it is passed by position."""
    return grad(f, list(inspect.signature(f).parameters).index(argname))


def multigrad_dict(f: Callable[..., Any]) -> Any:
    """The gradients by all arguments, however they are passed: a dict by their names."""
    return Transformed(_multigrad_dict, f)


def _multigrad_dict(f: Any, args: Any, kwargs: Any) -> Any:
    signature = inspect.signature(f)
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()

    def of_all(given: dict[str, Any]) -> Any:
        again = inspect.BoundArguments(signature, given)  # a dict does
        return f(*again.args, **again.kwargs)

    return grad(of_all)(dict(bound.arguments))


# A rule that a user wrote is handed arrays only in reverse mode, where its adjoints are known: so whole matrices are
# taken by rows, whatever their shape.


def jacobian(f: Callable[..., Any], argnum: Argnums = 0, mode: str | None = "reverse") -> Any:
    """The derivatives of every output element by every input element, in shape output.shape + input.shape.

    By rows, for which a primitive needs no forward rule; `mode` is that of `needle.jacobian`.
    """
    return transforms.jacobian(f, argnum, mode)


def _hessian(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    return jacobian(jacobian(f, argnum), argnum)(*args, **kwargs)


def hessian(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """The Jacobian of the Jacobian, for any number of outputs: shape output.shape + input.shape + input.shape."""
    return Transformed(_hessian, f, argnum=argnum)


def _make_jvp_reversemode(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args, kwargs)
    return linearize(of_x, x)[1]


def make_jvp_reversemode(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """Returns push; push(tangent) is the derivative along the tangent, by the transpose of reverse mode."""
    return Transformed(_make_jvp_reversemode, f, argnum=argnum)
