"""The names under which programs for HIPS autograd look for transforms.

They take a function and which of its arguments they are about (`argnum`: a position, a name, or several), and give a
function of the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .autograd import Tensor, gradient_dtype
from .nested import map_leaves
from .ops import summation
from .tape import constant_like
from .transforms import Argnums, SecondOrder, Transformed, jvp, linearize, value_and_grad, vjp


def _unary(f: Any, argnum: Argnums, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Callable[[Any], Any], Any]:
    """f as a function of the chosen argument alone (a tuple of several), and that argument's value."""
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
    """Gives (pullback, value): pullback(cotangent) is the argument's adjoint."""
    return Transformed(_make_vjp, f, argnum=argnum)


def _make_jvp(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args, kwargs)
    x = map_leaves(lambda a: a.copy() if isinstance(a, np.ndarray) else a, x)  # the point stays where it is
    return lambda tangent: jvp(of_x, (x,), (tangent,))


def make_jvp(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """Gives push: push(tangent) is (value, its derivative along the tangent)."""
    return Transformed(_make_jvp, f, argnum=argnum)


def _make_hvp(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args, kwargs)
    around = SecondOrder(of_x, (x,))
    return around, around.gradient


def make_hvp(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """Gives (product, gradient): product(tangent) is the Hessian times the tangent; f runs once for all products."""
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
    """Gives product: product(tangent) is J' H J times the tangent, the generalized Gauss-Newton matrix of g(f(x)), with
    J the Jacobian of f and H the Hessian of g (which returns one number; by default half the sum of squares)."""
    return Transformed(_make_ggnvp, f, g=g, argnum=f_argnum)


def _grad_and_aux(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    (_, aux), gradient = value_and_grad(f, argnum, has_aux=True)(*args, **kwargs)
    return gradient, aux


def grad_and_aux(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """The gradient of the first output, and the second one, of a function that returns two."""
    return Transformed(_grad_and_aux, f, argnum=argnum)


def _deriv(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args, kwargs)
    return jvp(of_x, (x,), (map_leaves(_ones_like, x),))[1]


def _ones_like(a: Any) -> Any:
    return constant_like(a, 1.0) if isinstance(a, Tensor) else np.ones(np.shape(a), gradient_dtype(np.asarray(a).dtype))


def deriv(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """The derivative along ones, in forward mode: f'(x) for a number x."""
    return Transformed(_deriv, f, argnum=argnum)


def _hessian_vector_product(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args[:-1], kwargs)
    return SecondOrder(of_x, (x,))(args[-1])


def hessian_vector_product(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """The Hessian times a tensor of the argument's shape, which is given behind the arguments of f."""
    return Transformed(_hessian_vector_product, f, argnum=argnum)


hessian_tensor_product = hessian_vector_product


def _tensor_jacobian_product(f: Any, args: Any, kwargs: Any, argnum: Argnums) -> Any:
    of_x, x = _unary(f, argnum, args[:-1], kwargs)
    return vjp(of_x, x)[1](args[-1])[0]


def tensor_jacobian_product(f: Callable[..., Any], argnum: Argnums = 0) -> Any:
    """A tensor of the output's shape, which is given behind the arguments of f, times the Jacobian."""
    return Transformed(_tensor_jacobian_product, f, argnum=argnum)


vector_jacobian_product = tensor_jacobian_product
