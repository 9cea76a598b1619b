"""Derivatives of one's own for functions: written by hand, or measured by differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from typing import Any

import numpy as np

from . import autograd
from .autograd import TensorOp, TensorTuple, TensorTupleOp, as_value, constant, gradient_dtype
from .nested import flatten
from .tape import Taped, constant_like, is_on_tape, next_level, pull_back


class _Call:
    """A function's call as an op sees it: its tensors, arrays and numbers as inputs, and its outputs in a tuple."""

    __slots__ = ("f", "leaves", "name", "put_back", "rebuild")

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.f = f
        self.name = getattr(f, "__name__", repr(f))
        self.leaves, self.put_back = flatten((args, kwargs))
        self.rebuild: Any = None  # the outputs' structure

    def run(self, leaves: Sequence[Any]) -> Any:
        args, kwargs = self.put_back(iter(leaves))
        return self.f(*args, **kwargs)

    def outputs(self, tree: Any) -> list[Any]:
        leaves, self.rebuild = flatten(tuple(tree) if isinstance(tree, TensorTuple) else tree)
        return leaves


class _Custom(TensorTupleOp):
    """One call of a function that has a derivative of its own."""

    __slots__ = ("call",)

    def __init__(self, call: _Call):
        self.call = call

    def __repr__(self) -> str:
        return self.call.name

    def apply(self) -> Any:
        """The function's outputs, in its structure."""
        outputs = self(*[as_value(a, self) for a in self.call.leaves])
        return self.call.rebuild(iter(tuple(outputs)))


class CustomGradient(_Custom):
    """A function that returns its output and its gradient rule."""

    __slots__ = ("rule",)

    def compute(self, *arrays: Any) -> Any:
        with autograd.no_grad():
            outputs, self.rule = self._run([constant(array) for array in arrays])
        return tuple([as_value(y, self)._array for y in outputs])

    def _run(self, leaves: Sequence[Any]) -> tuple[list[Any], Any]:
        returned = self.call.run(leaves)
        if not isinstance(returned, tuple) or len(returned) != 2 or not callable(returned[1]):
            raise TypeError(
                f"custom_gradient: {self.call.name} must return its output and a gradient rule, got "
                f"{type(returned).__name__}; write\n    return y, lambda out_grad: out_grad * slope"
            )
        return self.call.outputs(returned[0]), returned[1]

    def gradient(self, out_grad: Any, node: Any) -> Any:
        rule = self.rule
        # Where the gradient is differentiated itself, the rule must see the inputs, not the constants of the first run.
        if autograd.is_recording() is not False:
            _, rule = self._run(node.inputs)
        pairs = zip(out_grad, node, strict=True)
        given = [constant_like(y, 0.0) if g is None else g for g, y in pairs]
        returned = rule(self.call.rebuild(iter(given)))
        leaves = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        if len(leaves) != len(node.inputs):
            flat, _ = flatten(returned)
            leaves = flat if len(flat) == len(node.inputs) else leaves
        return tuple(leaves)


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """f with a gradient rule of its own: f returns (output, rule), and rule(out_grad) returns one adjoint for each of
    its arguments' tensors, arrays and numbers, None where there is none.

    Both are written in Tensor operations; then derivatives of every order and in forward mode follow. Operations within
    f are not recorded. `out_grad` has the output's structure; so may the adjoints have the arguments'.

    >>> import needle as ndl
    >>> @ndl.custom_gradient
    ... def log1pexp(x):
    ...     e = ndl.exp(x)
    ...     return ndl.log(1 + e), lambda out_grad: out_grad * (1 - 1 / (1 + e))
    >>> ndl.grad(log1pexp)(100.0)
    1.0
    """

    def with_rule(*args: Any, **kwargs: Any) -> Any:
        return CustomGradient(_Call(f, args, kwargs)).apply()

    return update_wrapper(with_rule, f)


class CustomJvp(_Custom):
    """A function whose derivative along tangents is written by hand."""

    __slots__ = ("rule",)

    def __init__(self, call: _Call, rule: Callable[..., Any]):
        super().__init__(call)
        self.rule = rule

    def compute(self, *arrays: Any) -> Any:
        with autograd.no_grad():
            outputs = self.call.outputs(self.call.run([constant(array) for array in arrays]))
        return tuple([as_value(y, self)._array for y in outputs])

    def _push(self, inputs: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
        """The outputs' tangents, from those of all inputs."""
        args, kwargs = self.call.put_back(iter(inputs))
        t_args, _ = self.call.put_back(iter(tangents))
        returned = self.rule(args, t_args, **kwargs)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise TypeError(
                f"custom_jvp: the rule of {self.call.name} must return the output and its tangent, got "
                f"{type(returned).__name__}; write\n    def rule(primals, tangents):\n"
                "        (x,), (x_dot,) = primals, tangents\n        return f(x), slope(x) * x_dot"
            )
        pushed, _ = flatten(tuple(returned[1]) if isinstance(returned[1], TensorTuple) else returned[1])
        return pushed

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        given = [constant_like(a, 0.0) if t is None else t for a, t in zip(node.inputs, tangents, strict=True)]
        return tuple([as_value(t, self) for t in self._push(node.inputs, given)])

    def gradient(self, out_grad: Any, node: Any) -> Any:
        """The transpose of the rule: it is linear in the tangents, so its adjoints are those of the tangents."""
        level = next_level()
        variables = [Taped(level, constant_like(a, 0.0)) for a in node.inputs]
        was_recording = autograd.set_recording(autograd.is_recording() or None)  # a tape is kept unless it is False
        try:
            pushed = self._push(node.inputs, variables)
        finally:
            autograd.reset_recording(was_recording)
        pairs = zip(pushed, out_grad, strict=True)
        return tuple(pull_back([(t, g) for t, g in pairs if g is not None and is_on_tape(t, level)], variables))


class custom_jvp:
    """f with a forward rule of its own: `@f.defjvp` takes rule(primals, tangents), which returns the output and its
    tangent, in Tensor operations linear in the tangents. Gradients are its transpose; all orders follow.

    Both are tuples with one for each positional argument of f; keyword arguments are passed on to the rule.

    >>> import needle as ndl
    >>> @ndl.custom_jvp
    ... def cube(x):
    ...     return x * x * x
    >>> @cube.defjvp
    ... def rule(primals, tangents):
    ...     (x,), (x_dot,) = primals, tangents
    ...     return cube(x), 3 * x * x * x_dot
    >>> ndl.grad(cube)(2.0), ndl.grad(ndl.grad(cube))(2.0)
    (12.0, 12.0)
    """

    def __init__(self, f: Callable[..., Any]):
        self._f = f
        self._rule: Callable[..., Any] | None = None
        update_wrapper(self, f)

    def defjvp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set the rule; usable as a decorator."""
        self._rule = rule
        return rule

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._rule is None:
            raise TypeError(
                f"custom_jvp: {getattr(self._f, '__name__', self._f)!s} has no rule yet; write\n    @f.defjvp\n"
                "    def rule(primals, tangents):\n        return f(*primals), ..."
            )
        return CustomJvp(_Call(self._f, args, kwargs), self._rule).apply()


# -------------------------------------------------------------------------------------------------------- differences


class Numerical(TensorOp):
    """A black box on arrays. Its derivatives are differences: themselves black boxes, with derivatives of their own."""

    __slots__ = ("f", "step")

    def __init__(self, f: Callable[..., Any], step: float | None):
        self.f, self.step = f, step

    def __repr__(self) -> str:
        return str(getattr(self.f, "__name__", type(self.f).__name__))

    def compute(self, *arrays: Any) -> Any:
        out = np.asarray(self.f(*[a.copy() for a in arrays]))  # copies: it may write into what it is given
        if out.dtype.kind not in "biufc":
            raise TypeError(f"{self!r}: numerical needs a function that returns one array, got dtype {out.dtype}")
        return out

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return tuple(
            Numerical(partial(_adjoint_by_differences, self.f, i, self.step), self.step)(out_grad, *node.inputs)
            if autograd.wanted(a) and a.dtype.kind == "f"
            else None
            for i, a in enumerate(node.inputs)
        )

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        moving = [i for i, (a, t) in enumerate(zip(node.inputs, tangents, strict=True)) if t is not None and _moves(a)]
        if not moving:
            return None
        along = partial(_tangent_by_differences, self.f, moving, self.step)
        return Numerical(along, self.step)(*node.inputs, *[tangents[i] for i in moving])


def _moves(a: Any) -> bool:
    return bool(a.dtype.kind == "f")


def _adjoint_by_differences(f: Any, i: int, step: float | None, g: Any, *arrays: Any) -> Any:
    """The adjoint of argument i: <g, the derivative by each of its elements>; four evaluations an element."""
    x = arrays[i]
    out = np.empty(x.shape, np.result_type(x, g))
    for index in np.ndindex(x.shape):
        direction = np.zeros_like(x)
        direction[index] = 1
        h = step or _step(x, abs(x[index]))
        out[index] = np.sum(g * _difference(f, arrays, {i: direction}, h))
    return out.real if out.dtype.kind == "c" else out


def _tangent_by_differences(f: Any, moving: list[int], step: float | None, *given: Any) -> Any:
    """The derivative along tangents, which come behind all arguments; four evaluations."""
    arrays, tangents = given[: -len(moving)], given[-len(moving) :]
    longest = max((float(np.max(np.abs(t), initial=0)) for t in tangents), default=0.0)
    if longest == 0:
        return np.zeros_like(np.asarray(f(*arrays)), dtype=gradient_dtype(np.asarray(f(*arrays)).dtype))
    h = min((step or _step(arrays[i])) for i in moving) / longest
    return _difference(f, arrays, dict(zip(moving, tangents, strict=True)), h)


def _step(x: Any, size: float = 0.0) -> float:
    """Where the error of a difference of fourth order, about h**4, meets that of rounding, about eps / h."""
    largest = float(np.max(np.abs(x), initial=0))
    return float(np.finfo(x.dtype).eps) ** 0.2 * (max(float(size), 0.1 * largest) or 1.0)


def _difference(f: Any, arrays: Sequence[Any], directions: dict[int, Any], h: float) -> Any:
    """The derivative of f along directions, by the central difference of fourth order, whose nodes are -2 to 2."""

    def at(n: int) -> Any:
        moved = [(a + n * h * directions[i]).astype(a.dtype) if i in directions else a for i, a in enumerate(arrays)]
        y = np.asarray(f(*moved))
        return y if y.dtype.kind in "fc" else y.astype(np.float64)

    slope = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
    return np.asarray(slope)


def numerical(f: Callable[..., Any], step: float | None = None) -> Callable[..., Any]:
    """A black box as a differentiable function: f takes arrays and returns one array, and its derivatives, of every
    order and mode, are central differences of fourth order.

    Gradients take four evaluations for each element of a float argument, forward mode four in all. Integers and
    booleans are not moved. About 12 digits are right in float64 at first order, 8 at second; `step` says how far to go,
    where the size of the arguments does not.

    >>> import needle as ndl
    >>> import math
    >>> round(ndl.grad(ndl.numerical(math.gamma))(3.0), 9)
    1.84556867
    """
    op = Numerical(f, step)

    def differentiable(*args: Any) -> Any:
        return op(*args)

    return update_wrapper(differentiable, f) if hasattr(f, "__name__") else differentiable
