"""Ordinary differential equations, with adjoints by the adjoint equation (Pontryagin; Chen et al., 2018)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.integrate

from ..autograd import Tensor, TensorOp, Wrapped, constant, is_recorded
from ..nested import flatten
from ..numpy.common import tensor
from ..ops import summation
from ..ops.indexing import getitem
from ..ops.joining import concatenate, stack
from ..transforms import jvp, vjp

Field = Callable[..., Any]
"""func(y, t, *args), which returns dy/dt."""


class OdeInt(TensorOp):
    """y at the times t, where y[0] = y0 and dy/dt = func(y, t, *args). y0, t and the args are the inputs."""

    __slots__ = ("func", "options")
    saves = ("inputs", "output")
    on_arrays = False  # its rules run the user's function

    def __init__(self, func: Field, options: dict[str, Any]):
        self.func = func
        self.options = options

    def __repr__(self) -> str:
        return "odeint"

    def field(self, y: Any, t: Any, *args: Any) -> Tensor:
        """dy/dt as a Tensor of y's shape. Raises ValueError if func returns another number of elements."""
        value = tensor(self.func(y, t, *args))
        if value.size != y.size:
            raise ValueError(f"odeint: func must return as many numbers as y has, {y.size}, got shape {value.shape}")
        return value.reshape(y.shape)

    def compute(self, y0: Any, t: Any, *args: Any) -> Any:
        held = [constant(a) for a in args]

        def field(y: Any, s: float) -> Any:
            value = self.field(constant(y), constant(np.asarray(s)), *held)
            if isinstance(value, Wrapped) or is_recorded(value):
                raise TypeError(
                    "odeint: func closes over a Tensor that needs a gradient, which would be lost; pass it in args"
                )
            return value.numpy()

        return scipy.integrate.odeint(field, y0, t, **self.options)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        """Integrate y, its adjoint and the accumulated adjoints of the args backwards, from each time to the last."""
        y0, t, *args = node.inputs
        n, sizes = y0.size, [a.size for a in args]

        def backwards(z: Tensor, s: Tensor, *args: Any) -> Tensor:
            y, adjoint = getitem(z, slice(None, n)), getitem(z, slice(n, 2 * n))
            value, pull = vjp(lambda y, *args: self.field(y, s, *args), y, *args)
            return concatenate([value, *[tensor(g).reshape((-1,)) for g in pull(-adjoint)]])

        adjoint, collected = constant(np.zeros(n)), constant(np.zeros(sum(sizes)))
        by_t: list[Any] = [None] * t.size
        for i in range(t.size - 1, 0, -1):
            y, s, g = getitem(node, i), getitem(t, i), getitem(out_grad, i)
            by_t[i] = summation(g * self.field(y, s, *args))
            start, between = concatenate([y, adjoint + g, collected]), stack([s, getitem(t, i - 1)])
            end = getitem(OdeInt(backwards, self.options)(start, between, *args), 1)
            adjoint, collected = getitem(end, slice(n, 2 * n)), getitem(end, slice(2 * n, None))
        by_t[0] = -summation(adjoint * self.field(y0, getitem(t, 0), *args))  # moves y0 back along the field
        ends = np.cumsum([0, *sizes])
        by_args = [getitem(collected, slice(ends[k], ends[k + 1])).reshape(a.shape) for k, a in enumerate(args)]
        return adjoint + getitem(out_grad, 0), stack(by_t), *by_args

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        """Integrate y together with its tangent, forwards."""
        (y0, t, *args), (by_y0, by_t, *by_args) = node.inputs, tangents
        n, count = y0.size, len(args)
        by_args = [constant(np.zeros(a.shape)) if s is None else s for a, s in zip(args, by_args, strict=True)]
        start = constant(np.zeros(n)) if by_y0 is None else by_y0
        if by_t is not None:
            start = start - getitem(by_t, 0) * self.field(y0, getitem(t, 0), *args)

        def forwards(z: Tensor, s: Tensor, *both: Any) -> Tensor:
            y, moved = getitem(z, slice(None, n)), getitem(z, slice(n, None))
            values, changes = (y, *both[:count]), (moved, *both[count:])
            return concatenate(jvp(lambda y, *args: self.field(y, s, *args), values, changes))

        z = OdeInt(forwards, self.options)(concatenate([y0, start]), t, *args, *by_args)
        out = getitem(z, (slice(None), slice(n, None)))
        if by_t is None:
            return out
        slopes = stack([self.field(getitem(node, i), getitem(t, i), *args) for i in range(t.size)])
        return out + by_t.reshape((-1, 1)) * slopes


def odeint(func: Field, y0: Any, t: Any, args: tuple[Any, ...] = (), *, tfirst: bool = False, **options: Any) -> Tensor:
    """The solution of dy/dt = func(y, t, *args) with y = y0 at t[0], at the times t: shape (times, n).

    func is given Tensors. The solution is differentiable by y0, t, and the Tensors among the args, which may have any
    shape, in nested containers. `options` are SciPy's: rtol, atol, hmax, mxstep, ... They hold for the adjoint equation
    as well, so gradients have the same accuracy.

    Raises TypeError for an unknown option, and if func closes over a Tensor that needs a gradient. Raises ValueError
    unless y0 and t are real and at most 1-d.
    """
    unknown = options.keys() - {"rtol", "atol", "hmax", "hmin", "h0", "mxstep", "mxhnil", "mxordn", "mxords", "ixpr"}
    if unknown:
        raise TypeError(f"odeint: {', '.join(sorted(unknown))} is not supported; leave it out")
    y0, t = tensor(y0), tensor(t)
    if y0.ndim > 1 or t.ndim != 1 or t.size == 0 or "c" in (y0.dtype.kind, t.dtype.kind):
        raise ValueError(
            f"odeint: y0 must be a vector and t a vector of times, both real, got shapes {y0.shape} and {t.shape} and "
            f"dtypes {y0.dtype} and {t.dtype}; reshape y0 to one axis, and y back to its own in func"
        )
    leaves, rebuild = flatten(tuple(args) if isinstance(args, (tuple, list)) else (args,))
    places = [i for i, a in enumerate(leaves) if isinstance(a, Tensor)]

    def field(y: Tensor, s: Tensor, *tensors: Any) -> Any:
        every = list(leaves)
        for i, a in zip(places, tensors, strict=True):
            every[i] = a
        first = (s, y) if tfirst else (y, s)
        return func(*first, *rebuild(iter(every)))

    return OdeInt(field, options)(y0.reshape((-1,)) if y0.ndim == 0 else y0, t, *[leaves[i] for i in places])
