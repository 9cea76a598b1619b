"""Functions with custom derivatives: written by hand, or by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from types import MethodType
from typing import Any

import numpy as np

from . import autograd, watching
from .autograd import DETACHED, Tensor, TensorOp, TensorTupleOp, Wrapped, as_value, constant, gradient_dtype
from .closures import check_closure
from .level import next_level
from .nested import flatten, is_leaf, leaves_like
from .tape import Taped, constant_like, is_on_tape, pull_back


class Call:
    """A function call in the form of an op: the inputs are the Tensors among its arguments, the outputs a flat tuple.

    Arrays and numbers among the arguments are constants, and passed on unchanged.
    """

    __slots__ = ("f", "leaves", "name", "put_back", "rebuild", "results", "where")

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.f = f
        self.name = getattr(f, "__name__", repr(f))
        self.leaves, self.put_back = flatten((args, kwargs))
        self.where = [i for i, a in enumerate(self.leaves) if isinstance(a, Tensor)]
        self.results: Any = None  # the structure of the outputs, with zeros as leaves

    def arguments(self, inputs: Sequence[Any], others: Sequence[Any] | None = None) -> tuple[Any, Any]:
        """args and kwargs with the Tensors replaced by `inputs`, and the other leaves by `others`."""
        leaves = list(self.leaves if others is None else others)
        for i, a in zip(self.where, inputs, strict=True):
            leaves[i] = a
        return self.put_back(iter(leaves))

    def run(self, inputs: Sequence[Any]) -> Any:
        args, kwargs = self.arguments(inputs)
        return self.f(*args, **kwargs)

    def outputs(self, tree: Any) -> list[Any]:
        leaves, self.rebuild = flatten(tree)
        self.results = self.rebuild(iter([0.0] * len(leaves)))
        return leaves

    def arrays(self, tree: Any, how: str, again: Callable[[], Any]) -> tuple[Any, ...]:
        """The arrays of the outputs of a run on constants, which `again` repeats.

        Raises TypeError if they depend on a tensor that is differentiated: one that f closes over.
        """
        leaves = self.outputs(tree)
        if followed := [y for y in leaves if isinstance(y, Wrapped) or autograd.is_recorded(y)]:
            check_closure(f"{self.name}: this {how}", self.f, followed, lambda: flatten(again())[0])
        return tuple([as_value(y, self.name)._array for y in leaves])


class _Custom(TensorTupleOp):
    """One call of a function with a custom derivative."""

    __slots__ = ("call",)

    def __init__(self, call: Call):
        self.call = call

    def __repr__(self) -> str:
        return self.call.name

    def apply(self) -> Any:
        """The function's outputs, in its structure."""
        call = self.call
        inputs = [call.leaves[i] for i in call.where]
        for i in call.where:
            call.leaves[i] = 0.0  # the node has the inputs: here, they would outlive their memory
        members = tuple(self(*inputs))
        return self.call.rebuild(iter(members))


class CustomGradient(_Custom):
    """One call of a function that returns its output and its gradient rule."""

    __slots__ = ("rule",)
    on_arrays = False

    def compute(self, *arrays: Any) -> Any:
        inputs = list(map(constant, arrays))
        output, self.rule = self._run(inputs)
        return self.call.arrays(output, "custom_gradient", lambda: self._run(inputs)[0])

    def _run(self, leaves: Sequence[Any]) -> tuple[Any, Any]:
        returned = self.call.run(leaves)
        if not isinstance(returned, tuple) or len(returned) != 2 or not callable(returned[1]):
            raise TypeError(
                f"custom_gradient: {self.call.name} must return its output and a gradient rule, got "
                f"{type(returned).__name__}; write\n    return y, lambda out_grad: out_grad * slope"
            )
        return returned

    def gradient(self, out_grad: Any, node: Any) -> Any:
        rule = self.rule
        # If the gradient is itself captured or differentiated, the rule must use the inputs, not the constants of the
        # first run.
        if autograd.recording_mode() is not False or watching.captures():
            _, rule = self._run(list(map(autograd.renamed, node.inputs)))
        pairs = zip(out_grad, node, strict=True)
        given = [constant_like(y, 0.0) if g is None else g for g, y in pairs]
        returned = rule(self.call.rebuild(iter(given)))
        adjoints = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        if len(adjoints) != len(self.call.leaves):  # then they must have the structure of the arguments
            args, kwargs = self.call.put_back(iter(self.call.leaves))
            like = args[0] if len(args) == 1 and not kwargs else args
            if kwargs or is_leaf(like):
                raise ValueError(
                    f"custom_gradient: the gradient returned {len(adjoints)} adjoint(s) for the "
                    f"{len(self.call.leaves)} tensors, arrays and numbers that {self.call.name} was given; return one "
                    "for each, or None for no adjoint"
                )
            adjoints = leaves_like(returned, like, f"custom_gradient: the adjoints of {self.call.name}")
        return tuple([adjoints[i] for i in self.call.where])


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """f with a custom gradient rule: f returns (output, rule), and rule(out_grad) returns the adjoints.

    There is one adjoint for each tensor, array and number among the arguments, or None. `out_grad` has the structure of
    the output; the adjoints may have that of the arguments. Write both f and the rule in Tensor ops: derivatives of
    every order and forward mode follow from them. The ops within f are not recorded: raises TypeError if f closes over
    a Tensor that is differentiated. Raises TypeError or ValueError in the backward pass if f or the rule returns
    something else.

    >>> import needle as ndl
    >>> @ndl.custom_gradient
    ... def log1pexp(x):
    ...     e = ndl.exp(x)
    ...     return ndl.log(1 + e), lambda out_grad: out_grad * (1 - 1 / (1 + e))
    >>> ndl.grad(log1pexp)(100.0)
    1.0
    """

    def with_rule(*args: Any, **kwargs: Any) -> Any:
        return CustomGradient(Call(f, args, kwargs)).apply()

    return update_wrapper(with_rule, f)


class CustomJvp(_Custom):
    """One call of a function with a custom forward rule."""

    __slots__ = ("rule",)
    on_arrays = False

    def __init__(self, call: Call, rule: Callable[..., Any]):
        super().__init__(call)
        self.rule = rule

    def compute(self, *arrays: Any) -> Any:
        inputs = list(map(constant, arrays))
        return self.call.arrays(self.call.run(inputs), "custom_jvp", lambda: self.call.run(inputs))

    def _push(self, inputs: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
        """The tangents of the outputs, from those of all inputs."""
        args, kwargs = self.call.arguments(list(map(autograd.renamed, inputs)))
        if any(isinstance(a, Tensor) and a.needs > DETACHED for a in flatten(kwargs)[0]):
            raise TypeError(
                f"custom_jvp: {self.call.name} is differentiated by a keyword argument; pass it by position"
            )
        t_args, _ = self.call.arguments(tangents, [constant_like(np.asarray(a), 0.0) for a in self.call.leaves])
        returned = self.rule(args, t_args, **kwargs)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise TypeError(
                f"custom_jvp: the rule of {self.call.name} must return the output and its tangent, got "
                f"{type(returned).__name__}; write\n    def rule(primals, tangents):\n"
                "        (x,), (x_dot,) = primals, tangents\n        return f(x), slope(x) * x_dot"
            )
        pushed = leaves_like(
            returned[1], self.call.results, f"custom_jvp: the tangents that the rule of {self.call.name} gave"
        )
        for t, y in zip(pushed, flatten(returned[0])[0], strict=True):
            if np.shape(t) != np.shape(y):
                raise ValueError(
                    f"custom_jvp: the rule of {self.call.name} gave a tangent of shape {np.shape(t)} for an output of "
                    f"shape {np.shape(y)}"
                )
        return pushed

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        given = [constant_like(a, 0.0) if t is None else t for a, t in zip(node.inputs, tangents, strict=True)]
        return tuple([as_value(t, self) for t in self._push(node.inputs, given)])

    def gradient(self, out_grad: Any, node: Any) -> Any:
        """The transpose of the rule, which is linear in the tangents: the adjoints of its tangents."""
        level = next_level()
        variables = [Taped(level, constant_like(a, 0.0)) for a in node.inputs]
        was_recording = autograd.set_recording(autograd.is_recording() or None)  # None, not False: a tape is still kept
        try:
            pushed = self._push(node.inputs, variables)
        finally:
            autograd.reset_recording(was_recording)
        pairs = zip(pushed, out_grad, strict=True)
        return tuple(pull_back([(t, g) for t, g in pairs if g is not None and is_on_tape(t, level)], variables))


class custom_jvp:
    """f with a custom forward rule, set by `@f.defjvp`: rule(primals, tangents) returns (output, tangent).

    `primals` and `tangents` are tuples with one member for each positional argument of f; keyword arguments are passed
    on to the rule. Write the rule in Tensor ops, linear in the tangents. Gradients are its transpose, and derivatives
    of every order follow. Raises TypeError if there is no rule, or if it returns something else, or if f closes over a
    Tensor that is differentiated.

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
        return CustomJvp(Call(self._f, args, kwargs), self._rule).apply()

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)


# -------------------------------------------------------------------------------------------------------- differences


class Numerical(TensorOp):
    """A black box on arrays. Its derivatives are finite differences, which are black boxes with derivatives, too."""

    __slots__ = ("f", "step")
    on_arrays = False

    def __init__(self, f: Callable[..., Any], step: float | None):
        self.f, self.step = f, step

    def __repr__(self) -> str:
        return str(getattr(self.f, "__name__", type(self.f).__name__))

    def compute(self, *arrays: Any) -> Any:
        out = _evaluate(self.f, arrays)
        if out.dtype.kind not in "biufc":
            raise TypeError(f"{self!r}: numerical needs a function that returns one array, got dtype {out.dtype}")
        return out

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return tuple(
            Numerical(partial(_adjoint_by_differences, self.f, i, self.step), self.step)(out_grad, *node.inputs)
            if autograd.wanted(a) and a.dtype.kind != "b"
            else None
            for i, a in enumerate(node.inputs)
        )

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        moving = [i for i, t in enumerate(tangents) if t is not None]
        if not moving:
            return None
        along = partial(_tangent_by_differences, self.f, moving, self.step)
        return Numerical(along, self.step)(*node.inputs, *[tangents[i] for i in moving])


def _evaluate(f: Any, arrays: Sequence[Any]) -> Any:
    """f of copies, and a copy of its result: f may write into either later."""
    out = f(*[a.copy() for a in arrays])
    if isinstance(out, Wrapped) or autograd.is_recorded(out):
        name = getattr(f, "__name__", type(f).__name__)
        check_closure(f"{name}: this numerical function", f, [out], lambda: [f(*[a.copy() for a in arrays])])
        out = out.detach()
    return np.array(out)


def _adjoint_by_differences(f: Any, i: int, step: float | None, g: Any, *arrays: Any) -> Any:
    """The adjoint of argument i: the real part of <g, the derivative by each of its elements>, four evaluations each.

    Of a complex one, the adjoint is that by its real part less i times that by its imaginary part.
    """
    x = arrays[i]
    out = np.zeros(x.shape, gradient_dtype(x.dtype))
    for index in np.ndindex(x.shape):
        h = step or _step(out.dtype, abs(x[index]))
        for unit in (1, 1j) if out.dtype.kind == "c" else (1,):
            direction = np.zeros_like(out)
            direction[index] = unit
            out[index] += np.sum(g * _difference(f, arrays, {i: direction}, h)).real * np.conj(unit)
    return out


def _tangent_by_differences(f: Any, moving: list[int], step: float | None, *given: Any) -> Any:
    """The derivative along the tangents, which follow all arguments in `given`. Four evaluations."""
    arrays, tangents = given[: -len(moving)], given[-len(moving) :]
    longest = max((float(np.max(np.abs(t), initial=0)) for t in tangents), default=0.0)
    if longest == 0:
        y = _evaluate(f, arrays)
        return np.zeros(y.shape, gradient_dtype(y.dtype))
    h = step or min(_step(gradient_dtype(arrays[i].dtype), np.max(np.abs(arrays[i]), initial=0)) for i in moving)
    h = h / longest
    return _difference(f, arrays, dict(zip(moving, tangents, strict=True)), h)


def _step(dtype: Any, size: Any) -> float:
    """The step that balances the error of a fourth-order difference, about h**4, with rounding, about eps / h."""
    return float(np.finfo(dtype).eps) ** 0.2 * max(float(size), 1.0)


def _difference(f: Any, arrays: Sequence[Any], directions: dict[int, Any], h: float) -> Any:
    """The derivative of f along the directions, by the fourth-order central difference with nodes -2, -1, 1 and 2."""

    def at(n: int) -> Any:
        moved = list(arrays)
        for i, direction in directions.items():
            moved[i] = (arrays[i] + n * h * direction).astype(gradient_dtype(arrays[i].dtype))
        y = _evaluate(f, moved)
        return y if y.dtype.kind in "fc" else y.astype(np.float64)

    slope = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
    return np.asarray(slope)


def numerical(f: Callable[..., Any], step: float | None = None) -> Callable[..., Any]:
    """A black box as a differentiable function: f takes arrays and returns one array.

    The derivatives, of every order and mode, are fourth-order central differences. Gradients take four evaluations for
    each element of an argument (eight if it is complex), forward mode four in all. By integers, f is differentiated as
    by floats, and is called with such. In float64, about 12 digits are right at first order, and 8 at second. The
    default step suits arguments of about 1 and more; give a smaller `step` for functions that vary on a smaller scale.
    Raises TypeError if f does not return one array of numbers, or closes over a Tensor that is differentiated.

    >>> import needle as ndl
    >>> import math
    >>> round(ndl.grad(ndl.numerical(math.gamma))(3.0), 9)
    1.84556867
    """
    op = Numerical(f, step)

    def differentiable(*args: Any) -> Any:
        return op(*args)

    return update_wrapper(differentiable, f) if hasattr(f, "__name__") else differentiable
