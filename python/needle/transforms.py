"""Functions of functions: gradients, Jacobians, Hessians, products with them, to any order and in any mixture.

Each takes a function of tensors, arrays, numbers, or nested containers of them. Its derivatives have the types of the
arguments: arrays for arrays, floats for floats, Tensors for Tensors. Rules use the plain transpose, so for a real
function of z = a + ib the gradient is df/da - i df/db, and a holomorphic function gives its derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from types import MethodType
from typing import Any

import numpy as np

from . import autograd, watching
from .autograd import (
    CONSTANT,
    DETACHED,
    VARIABLE,
    GradientLostError,
    Tensor,
    Wrapped,
    as_value,
    constant,
    gradient_dtype,
)
from .batching import Batched
from .blocks import calls, running
from .forward import Dual, HessianProduct, dual
from .level import Level, next_level
from .nested import flatten, leaves_like, map_leaves
from .ops.assignment import assigned, leave, let_go
from .tape import Taped, constant_like, is_on_tape, pull_back

Argnums = int | str | Sequence[int | str]


# ------------------------------------------------------------------------------------------------ functions around f


class Transformed:
    """What a transform returns: call it like the function. It can be pickled and copied where the function can."""

    def __init__(self, rule: Callable[..., Any], f: Callable[..., Any], **options: Any):
        if not callable(f):
            raise TypeError(f"{rule.__name__.lstrip('_')}: needs a function, got {type(f).__name__}")
        self.rule = rule
        self.f = f
        self.options = options
        self.__name__ = f"{rule.__name__.lstrip('_')}({getattr(f, '__name__', repr(f))})"
        self.__doc__ = f.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.rule(self.f, args, kwargs, **self.options)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"needle.{self.__name__}"


class _Arguments:
    """A call's arguments, with those to differentiate by flattened into leaves."""

    def __init__(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Argnums):
        self.name, self.args, self.kwargs = name, args, kwargs
        self.single = isinstance(argnums, (int, str))
        self.keys: list[Any] = [argnums] if isinstance(argnums, (int, str)) else list(argnums)
        if len({key % len(args) if isinstance(key, int) and args else key for key in self.keys}) < len(self.keys):
            raise ValueError(f"{name}: argnums {argnums!r} names an argument twice; name each once")
        self.chosen = [self._of(key) for key in self.keys]
        self.leaves, self.rebuild = flatten(self.chosen[0] if self.single else self.chosen)
        if not self.leaves:
            raise TypeError(f"{name}: nothing to differentiate by in argument {argnums!r}: it holds no number or array")

    def _of(self, key: Any) -> Any:
        where: Any = self.kwargs if isinstance(key, str) else self.args
        try:
            return where[key]
        except LookupError:
            given = f"{len(self.args)} by position" + (f", {', '.join(self.kwargs)} by name" if self.kwargs else "")
            raise TypeError(
                f"{self.name}: argnums names argument {key!r}, but the function was called with {given}; an argument "
                "that is named in argnums is given by that name"
            ) from None

    def call(
        self, f: Callable[..., Any], leaves: Sequence[Any], recording: bool | None, level: Level | None = None
    ) -> Any:
        """Call f with these in place of the leaves. They are wrapped at this level, or variables of the graph."""
        args, kwargs, values = list(self.args), self.kwargs, self.rebuild(iter(leaves))
        for key, value in zip(self.keys, (values,) if self.single else values, strict=True):
            if isinstance(key, str):
                kwargs = {**kwargs, key: value}
            else:
                args[key] = value
        return _call(f, args, kwargs, recording, level=level, variables=leaves)

    def like(self, leaves: Sequence[Any]) -> Any:
        """These in the structure of the argument, or a tuple of structures for several argnums."""
        built = self.rebuild(iter(leaves))
        return built if self.single else tuple(built)


def _call(
    f: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    recording: bool | None,
    *,
    level: Level | None,
    variables: Sequence[Any],
) -> Any:
    """f(*args, **kwargs), with the engine recording or not, and with `running` and `calls` set meanwhile.

    What f assigned to holds nothing of the transform afterwards; what f returned does, for the transform to read.
    """
    was_running, was_recording = running.set(True), autograd.set_recording(recording)
    noted: dict[int, Any] = {}
    failed = True
    were_noted = assigned.set(noted)
    calls[id(noted)] = noted
    try:
        out = f(*args, **kwargs)
        out = map_leaves(lambda y: y, out) if noted else out  # the latest versions instead of names for them
        failed = False
        return out
    except ValueError as error:
        if isinstance(lost := error.__cause__, GradientLostError):  # NumPy's words for out[i] = t hide what to write
            raise GradientLostError(str(lost)).with_traceback(error.__traceback__) from None
        raise
    finally:
        del calls[id(noted)]
        autograd.reset_recording(was_recording)
        running.reset(was_running)
        assigned.reset(were_noted)
        if noted:
            let_go(noted, level or 0, variables)
        if failed:
            _let_go(level, variables)


def _let_go(level: Level | None, variables: Sequence[Any]) -> None:
    """A run is over: what the program has kept of it differentiates nothing."""
    if level is not None:
        leave(level)
    else:
        for variable in map(autograd.original_of, variables):
            variable.needs = CONSTANT


def is_watched(leaves: Sequence[Any]) -> bool:
    """Whether somebody else may differentiate what is computed from these."""
    return running.get() or any(
        isinstance(a, Wrapped) or (isinstance(a, Tensor) and a.needs > DETACHED) for a in leaves
    )


def _returned(value: Any, like: Any) -> Any:
    """A Tensor in the type of its argument: a Python number for a number, an array for an array, a Tensor if it is
    watched. Neither the object nor an array's memory is shared."""
    if not isinstance(value, Tensor) or isinstance(value, Wrapped):
        return value
    if isinstance(like, Tensor) or value.needs > DETACHED:
        variable = value.op is None and value.needs > DETACHED
        return (autograd.alias_of if variable else autograd.twin_of)(value, value._array)
    array = autograd.own(value._array)
    if watching.active:
        watching.tell("read", array, "a derivative by an array or a number, which is one itself,")
    if isinstance(like, (np.ndarray, np.generic)):
        return array[()] if isinstance(like, np.generic) or not like.ndim else array
    return array if array.ndim else array.item()


def _outputs_returned(tree: Any, leaves: Sequence[Any]) -> Any:
    """A function's outputs, in the type of the inputs that it was differentiated by."""
    if any(isinstance(a, Tensor) for a in leaves):
        return tree
    arrays = any(isinstance(a, (np.ndarray, np.generic)) for a in leaves)

    def as_given(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.needs > DETACHED:
            return value
        array_of = value._array.copy()  # the pullback may have to read it again
        if watching.active:
            watching.tell("read", value._array, "a derivative by an array or a number, whose value is one itself,")
        return array_of[()] if arrays or array_of.ndim else array_of.item()

    return map_leaves(as_given, tree)


def _facts(leaf: Any) -> Any:
    """A leaf as an object with shape, size and dtype; not a copy."""
    return leaf if isinstance(leaf, (Tensor, np.ndarray, np.generic)) else np.asarray(leaf)


# ----------------------------------------------------------------------------------------------------- reverse mode


class _Reversed:
    """A run of f with its leaves as variables, through which `pull` takes adjoints back as often as wanted."""

    watched = False
    """Whether somebody else may differentiate what is computed: then a tape records it, and not the engine's graph."""
    level: Level | None = None
    aux: Any = None
    outputs: list[Any]

    def __init__(self, f: Callable[..., Any], arguments: _Arguments, has_aux: bool):
        self.variables: list[Any] = []
        values = [as_value(a, arguments.name) for a in arguments.leaves]
        self.watched = is_watched(arguments.leaves)
        self._run(f, arguments, values, has_aux)
        if not self.watched:
            if any(isinstance(y, Wrapped) for y in self.outputs):
                self.watched = True  # f closes over a variable of a transform in another thread
                self._run(f, arguments, values, has_aux)
            else:
                self.variables = list(map(autograd.original_of, self.variables))  # f may have assigned to them
        self.recorded = not self.watched and self._closes_over(arguments.leaves)
        if has_aux:
            self.aux = map_leaves(self.inner, self.aux)

    @classmethod
    def done(cls, out: Any, variable: Tensor, leaf: Any) -> _Reversed:
        """A finished run by one leaf in the engine's graph, with this output."""
        run = cls.__new__(cls)
        run.variables = [autograd.original_of(variable)]
        run.tree, (run.outputs, run.rebuild) = out, flatten(out)
        run.recorded = run._closes_over([leaf])
        return run

    def __enter__(self) -> _Reversed:
        return self

    def __exit__(self, *_: object) -> None:
        self.ends()

    def ends(self) -> None:
        """Nobody pulls adjoints back any more."""
        if not self.recorded:
            _let_go(self.level, self.variables)

    def goes_on(self) -> None:
        """Adjoints are going to be pulled back later, while the program may go on with what it has kept."""
        if self.level is not None:
            self.variables = [v.twin() for v in self.variables]
            self.outputs = [y.twin() if is_on_tape(y, self.level) else y for y in self.outputs]
            leave(self.level, [*self.variables, *self.outputs])

    def _run(self, f: Callable[..., Any], arguments: _Arguments, values: Sequence[Any], has_aux: bool) -> None:
        if self.watched:
            self.level = next_level()
            self.variables = [Taped(self.level, a) for a in values]
        else:
            self.variables = [_variable(a) for a in values]
        # A tape needs no engine record: keep one that is active around this run, but begin none.
        recording = True if not self.watched or autograd.is_recording() else None
        out = arguments.call(f, self.variables, recording, self.level)
        self.tree, self.aux = _split_aux(out) if has_aux else (out, None)
        self.outputs, self.rebuild = flatten(self.tree)

    def _closes_over(self, leaves: Sequence[Any]) -> bool:
        """Whether f closes over tensors, by which others may differentiate its outputs."""
        tensors = any(isinstance(a, Tensor) for a in leaves)
        if not autograd.is_recording() or not (tensors or calls):
            return False
        outputs = [y for y in self.outputs if isinstance(y, Tensor) and y.needs > DETACHED]
        reached = autograd.find_topo_sort(outputs, differentiable=True, stop=self.variables)
        least = autograd.RECORDED if tensors else VARIABLE
        others = set(reached).difference(self.variables)
        return any(a.op is None and a.needs >= least for a in others)

    def inner(self, output: Any) -> Any:
        """An output as code outside this run sees it."""
        if self.watched:
            return output.value if is_on_tape(output, self.level) else output
        return output.detach() if isinstance(output, Tensor) and not self.recorded else output

    def returned(self, outputs: Sequence[Any], leaves: Sequence[Any]) -> Any:
        """These outputs in f's structure, for the caller who gave these leaves."""
        return _outputs_returned(self.rebuild(map(self.inner, outputs)), leaves)

    def pull(self, cotangents: Sequence[Any]) -> list[Any]:
        """The adjoint of each variable, as a Tensor; None if no path leads to it."""
        pairs = zip(map(autograd.original_of, self.outputs), cotangents, strict=True)  # they may be assigned to since
        if self.watched:
            return pull_back([(y, v) for y, v in pairs if is_on_tape(y, self.level)], self.variables)
        variables = list(map(autograd.original_of, self.variables))
        seeds: dict[Any, Any] = {}
        recorded = self.recorded
        for y, v in pairs:
            if isinstance(y, Tensor) and y.needs > DETACHED:
                autograd.add_adjoint(seeds, y, v)
                recorded = recorded or v.needs > DETACHED
        if recorded:
            record = True if self.recorded or any(autograd.is_recorded_inside(v) for v in cotangents) else None
            found = dict(autograd.sweep(seeds, variables, tensors=True, record=record))
        else:
            raw = autograd.sweep({y: autograd.as_arrays(v) for y, v in seeds.items()}, set(variables))
            found = {variable: constant(autograd.own(array)) for variable, array in raw}
        return [found.get(variable) for variable in variables]


def _variable(value: Tensor) -> Tensor:
    variable = constant(value._array)
    if value.dtype.kind != "b":
        variable.needs = VARIABLE
    return variable


def _split_aux(out: Any) -> tuple[Any, Any]:
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"has_aux: the function must return a pair (output, aux), got {type(out).__name__}")
    return out


def _gradient_leaves(leaves: Sequence[Any], adjoints: Sequence[Any]) -> list[Any]:
    """Adjoints in the types of their leaves; zeros for None."""
    return [_returned(_or_zeros(g, a), a) for a, g in zip(leaves, adjoints, strict=True)]


def _or_zeros(derivative: Any, like: Any) -> Any:
    """An adjoint or a tangent of this value, zeros for None."""
    return constant_like(_facts(like), 0.0) if derivative is None else derivative


def _one_number(name: str, run: _Reversed, complex_too: bool = False) -> Any:
    """The single output of size 1 that `grad` differentiates."""
    if len(run.outputs) != 1 or not isinstance(run.outputs[0], (Tensor, np.ndarray, np.generic, int, float, complex)):
        raise TypeError(
            f"{name}: the function must return one number, got {len(run.outputs)} tensors, arrays or numbers; return "
            "their sum, or use has_aux=True for what is not to be differentiated, or jacobian or vjp"
        )
    y = run.outputs[0]
    y = y if isinstance(y, Tensor) else as_value(y)
    if y.size != 1:
        raise TypeError(
            f"{name}: the function must return one number, got shape {y.shape}; sum it, or use jacobian, "
            "elementwise_grad or vjp"
        )
    if y.dtype.kind == "b":
        raise TypeError(f"{name}: the function returned a boolean, which has no derivative; return a number")
    if y.dtype.kind == "c" and not complex_too:
        raise TypeError(
            f"{name}: the function returned a complex number; take its real part or abs(), or use holomorphic_grad if "
            "the function is holomorphic"
        )
    return y


def _differentiated(run: _Reversed, arguments: _Arguments, **more: Any) -> tuple[Any, Any]:
    """The number that a run gave, and its gradient."""
    y = _one_number(arguments.name, run, **more)
    adjoints = run.pull([constant_like(y, 1.0)])
    return y, arguments.like(_gradient_leaves(arguments.leaves, adjoints))


def _value_and_grad(f: Any, args: Any, kwargs: Any, *, argnums: Argnums, has_aux: bool) -> Any:
    arguments = _Arguments("value_and_grad", args, kwargs, argnums)
    with _Reversed(f, arguments, has_aux) as run:
        y, gradient = _differentiated(run, arguments)
        value = run.returned([y], arguments.leaves)
    return ((value, run.aux), gradient) if has_aux else (value, gradient)


def _grad_by_array(f: Any, args: tuple[Any, ...], i: int) -> Any:
    """The gradient by one array, with no other transform running: a fast path for the most frequent use of `grad`,
    since the steps of `_differentiated` take longer than a small function."""
    x = args[i]
    variable = constant(x.copy())
    variable.needs = VARIABLE
    y = _call(f, (*args[:i], variable, *args[i + 1 :]), {}, True, level=None, variables=[variable])
    if type(y) is Tensor and not calls and type(variable) is Tensor and y.needs > DETACHED:
        array = y._array
        if array.size == 1 and array.dtype.kind == "f":
            found = autograd.sweep({y: autograd.ones_like(array)}, {variable})
            variable.needs = CONSTANT  # see `_Reversed.ends`
            return autograd.own(found.pop()[1]) if found else np.zeros(x.shape, x.dtype)
    with _Reversed.done(y, variable, x) as run:
        if not any(isinstance(output, Wrapped) for output in run.outputs):
            return _gradient_leaves([x], run.pull([constant_like(_one_number("grad", run), 1.0)]))[0]
    arguments = _Arguments("grad", args, {}, i)
    with _Reversed(f, arguments, False) as run:
        return _differentiated(run, arguments)[1]


def _grad(f: Any, args: Any, kwargs: Any, argnums: Argnums, has_aux: bool, *, name: str = "grad") -> Any:
    if (
        name == "grad"
        and type(argnums) is int
        and not (has_aux or kwargs or running.get())
        and -len(args) <= argnums < len(args)
    ):
        x = args[argnums]
        if type(x) is np.ndarray and x.dtype.kind in "fc" and not watching.active:
            return _grad_by_array(f, args, argnums % len(args))
    arguments = _Arguments(name, args, kwargs, argnums)
    with _Reversed(f, arguments, has_aux) as run:
        _, gradient = _differentiated(run, arguments)
    return (gradient, run.aux) if has_aux else gradient


def grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, argnum: Argnums | None = None) -> Any:
    """The gradient of f, which returns one number: a function of the same arguments.

    `argnums` says by which arguments, by position or name; several give a tuple. With `has_aux`, f returns
    (number, anything), and the new function (gradient, anything). Where the number does not depend on an argument, the
    gradient is zero. Raises TypeError for other outputs, booleans and complex numbers. `argnum` is another name for
    `argnums`, here and below.

    What f leaves in a list or an attribute is an ordinary Tensor afterwards, and nobody differentiates by it. It may
    hold what it was computed from: write `t.detach()` for a value that is to be kept.
    """
    return Transformed(_grad, f, argnums=argnums if argnum is None else argnum, has_aux=has_aux)


def value_and_grad(
    f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, argnum: Argnums | None = None
) -> Any:
    """The value and the gradient of f at once; see `grad`."""
    return Transformed(_value_and_grad, f, argnums=argnums if argnum is None else argnum, has_aux=has_aux)


def _holomorphic_grad(f: Any, args: Any, kwargs: Any, argnums: Argnums) -> Any:
    arguments = _Arguments("holomorphic_grad", args, kwargs, argnums)
    with _Reversed(f, arguments, False) as run:
        return _differentiated(run, arguments, complex_too=True)[1]


def holomorphic_grad(f: Callable[..., Any], argnums: Argnums = 0, *, argnum: Argnums | None = None) -> Any:
    """The complex derivative of a holomorphic function that returns one complex number."""
    return Transformed(_holomorphic_grad, f, argnums=argnums if argnum is None else argnum)


def _elementwise_grad(f: Any, args: Any, kwargs: Any, argnums: Argnums) -> Any:
    arguments = _Arguments("elementwise_grad", args, kwargs, argnums)
    with _Reversed(f, arguments, False) as run:
        adjoints = run.pull([constant_like(_facts(y), 1.0) for y in run.outputs])
    return arguments.like(_gradient_leaves(arguments.leaves, adjoints))


def elementwise_grad(f: Callable[..., Any], argnums: Argnums = 0, *, argnum: Argnums | None = None) -> Any:
    """The derivative of each output element by the input element at its place: the gradient of the outputs' sum."""
    return Transformed(_elementwise_grad, f, argnums=argnums if argnum is None else argnum)


class Pullback:
    """Products with the transposed Jacobian at the point where `vjp` was called; call it as often as you like."""

    def __init__(self, run: _Reversed, arguments: _Arguments):
        self._run, self._arguments = run, arguments

    def __del__(self) -> None:
        self._run.ends()

    def __call__(self, cotangents: Any) -> Any:
        """The adjoints of the arguments, from those of the outputs: the same structure, shapes and dtypes."""
        run = self._run
        given = _matching("vjp", "cotangents", cotangents, run.tree)
        return self._arguments.like(_gradient_leaves(self._arguments.leaves, run.pull(given)))


def _matching(name: str, what: str, given: Any, like: Any, many: bool = False) -> list[Any]:
    """The leaves of a structure of tangents, as Tensors of the shapes and gradient dtypes of the leaves of `like`; with
    `many`, along an extra first axis."""
    leaves = leaves_like(given, like, f"{name}: the {what}")
    expected, _ = flatten(like)
    tensors = []
    for leaf, y in zip(leaves, expected, strict=True):
        v, y = as_value(leaf), _facts(y)
        shape = (*(np.shape(leaves[0])[:1] if many else ()), *y.shape)
        if v.shape != shape or len(shape) != len(y.shape) + many:
            wanted = f"{('directions', *y.shape)}, with as many directions for all" if many else f"{y.shape}"
            raise ValueError(f"{name}: one of the {what} must have shape {wanted}, got {v.shape}")
        dtype = gradient_dtype(y.dtype)
        if v.dtype.kind == "c" and dtype.kind != "c":
            raise TypeError(
                f"{name}: one of the {what} is complex, but what it belongs to is {y.dtype}; give real ones"
            )
        tensors.append(v if v.dtype == dtype else v.astype(dtype))
    return tensors


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(f(*primals), pullback): pullback(cotangents) gives a tuple of adjoints, one for each primal.

    With `has_aux`, f returns (output, aux), and vjp returns (output, pullback, aux).
    """
    arguments = _Arguments("vjp", primals, {}, range(len(primals)))
    run = _Reversed(f, arguments, has_aux)
    out = run.returned(run.outputs, arguments.leaves)
    run.goes_on()
    pullback = Pullback(run, arguments)
    return (out, pullback, run.aux) if has_aux else (out, pullback)


# ----------------------------------------------------------------------------------------------------- forward mode


class _Pushed:
    """A run of f with tangents on its leaves: `outputs`, and their `tangents` (None: zero)."""

    def __init__(self, f: Callable[..., Any], arguments: _Arguments, tangents: Sequence[Any], has_aux: bool):
        level = next_level()
        values = [as_value(a, arguments.name) for a in arguments.leaves]
        leaves = [a if a.dtype.kind == "b" else dual(level, a, t) for a, t in zip(values, tangents, strict=True)]
        # Of Tensors, others may differentiate the results by what f closes over.
        tensors = any(isinstance(a, Tensor) for a in arguments.leaves)
        watched = tensors or is_watched(arguments.leaves) or any(map(autograd.is_recorded_inside, tangents))
        out = arguments.call(f, leaves, True if watched and autograd.is_recording() else None, level)
        self.aux = None

        def split(y: Any) -> tuple[Any, Any]:
            return (y.value, y.tangent) if type(y) is Dual and y.level == level else (y, None)

        if has_aux:
            out, aux = _split_aux(out)
            self.aux = map_leaves(lambda y: split(y)[0], aux)
        outputs, self.rebuild = flatten(out)
        pairs = [split(y) for y in outputs]
        self.outputs = [y for y, _ in pairs]
        self.tangents = [t for _, t in pairs]
        del leaves, out, outputs  # what is left then, the program has kept
        leave(level)


def _check_are_tuples(name: str, *both: Any) -> None:
    if not all(isinstance(given, (tuple, list)) for given in both):
        raise TypeError(
            f"{name}: primals and tangents are tuples, with one for each argument of f: {name}(f, (x,), (v,))"
        )


def jvp(
    f: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
    *,
    many: bool = False,
) -> Any:
    """(f(*primals), its derivative along the tangents), in forward mode: memory does not grow with the computation.

    `tangents` have the primals' structure and shapes. With `has_aux`, f returns (output, aux), and aux comes third.
    With `many`, the tangents have an extra first axis of any number of directions, which one sweep follows together,
    and so do the derivatives.
    """
    _check_are_tuples("jvp", primals, tangents)
    arguments = _Arguments("jvp", tuple(primals), {}, range(len(primals)))
    given = _matching("jvp", "tangents", list(tangents), arguments.chosen, many)
    level = next_level()
    run = _Pushed(f, arguments, [Batched(level, t) for t in given] if many else given, has_aux)
    if many:  # each direction may have vectors of its own where eigenvalues are equal
        run.outputs = [y.value[0] if type(y) is Batched and y.level == level else y for y in run.outputs]
    out = _outputs_returned(run.rebuild(iter(run.outputs)), arguments.leaves)
    pairs = list(zip(run.outputs, run.tangents, strict=True))
    if many:
        pushed = [_batch_of(t, level, given[0].shape[0], y) for y, t in pairs]
    else:
        pushed = [_or_zeros(t, y) for y, t in pairs]
    tangent = _outputs_returned(run.rebuild(iter(pushed)), [*arguments.leaves, *flatten(list(tangents))[0]])
    if autograd.recording_mode() is False:  # under no_grad, nobody differentiates the result
        out, tangent = stop_gradient((out, tangent))
    return (out, tangent, run.aux) if has_aux else (out, tangent)


class Linearized:
    """The derivative of f at the point where `linearize` was called, a linear function of the tangents."""

    def __init__(self, pullback: Pullback):
        self._pullback = pullback

    def __call__(self, *tangents: Any) -> Any:
        run, arguments = self._pullback._run, self._pullback._arguments
        given = _matching("linearize", "tangents", list(tangents), arguments.chosen)
        watched = run.watched or run.recorded or any(autograd.is_recorded_inside(t) for t in given)
        level = next_level()
        was_recording = autograd.set_recording(True if watched else None)
        try:
            seeds = [Taped(level, constant_like(_facts(y), 0.0)) for y in run.outputs]
            pairs = [(g, t) for g, t in zip(run.pull(seeds), given, strict=True) if is_on_tape(g, level)]
            found = pull_back(pairs, seeds)
        finally:
            autograd.reset_recording(was_recording)
        pushed = [_or_zeros(t, y) for y, t in zip(run.outputs, found, strict=True)]
        return _outputs_returned(run.rebuild(iter(pushed)), [*arguments.leaves, *flatten(list(tangents))[0]])


def linearize(f: Callable[..., Any], *primals: Any) -> Any:
    """(f(*primals), g): g(*tangents) is the derivative along them, without running f again.

    g transposes the backward pass and keeps the values that this needs; for a single product, `jvp` needs less memory.
    """
    out, pullback = vjp(f, *primals)
    return out, Linearized(pullback)


# ------------------------------------------------------------------------------------------------ whole matrices


def _basis(leaves: Sequence[Any]) -> tuple[int, list[Any]]:
    """The number of elements in all, and for each leaf the batch of directions that pick them one by one."""
    values = [_facts(a) for a in leaves]
    sizes = [a.size if a.dtype.kind != "b" else 0 for a in values]
    total, start, directions = sum(sizes), 0, []
    for a, size in zip(values, sizes, strict=True):
        rows = np.eye(total, a.size, -start, gradient_dtype(a.dtype))
        if size < a.size:
            rows[:] = 0
        directions.append(constant(rows.reshape((total, *a.shape))))
        start += size
    return total, directions


def _blocks(batches: Sequence[Any], leaves: Sequence[Any]) -> list[list[Any]]:
    """Each batch (a row for every element of the leaves), split by leaf into blocks of shape leaf.shape + row.shape."""
    blocks = []
    for batch in batches:
        start, row = 0, []
        for leaf in leaves:
            a = _facts(leaf)
            size = a.size if a.dtype.kind != "b" else 0
            shape = (*a.shape, *batch.shape[1:])
            block = batch
            if size != a.size:
                block = constant(np.zeros(shape, batch.dtype))
            elif size != batch.shape[0]:
                block = batch[start : start + size]
            row.append(block if block.shape == shape else block.reshape(shape))
            start += size
        blocks.append(row)
    return blocks


def _jacobian(f: Any, args: Any, kwargs: Any, argnums: Argnums, mode: str | None, *, name: str = "jacobian") -> Any:
    arguments = _Arguments(name, args, kwargs, argnums)
    leaves = arguments.leaves
    inputs = sum(_facts(a).size for a in leaves)
    run = None
    if mode != "forward":
        run = _Reversed(f, arguments, False)
        outputs = [_facts(y) for y in run.outputs]
        mixed = _are_mixed(leaves, outputs)
        if mixed and mode == "reverse":
            raise TypeError(
                f'{name}: a complex output has no derivative by a real input in reverse mode; use mode="forward"'
            )
        many = sum(y.size for y in outputs) > inputs and not _are_mixed(outputs, leaves)
        if mode is None and (mixed or many):
            run.ends()
            run = None
    level = next_level()
    if run is not None:
        total, directions = _basis(run.outputs)
        with run:
            found = run.pull([Batched(level, v) for v in directions]) if total else [None] * len(leaves)
        batches = [_batch_of(g, level, total, a) for g, a in zip(found, leaves, strict=True)]
        rows = _blocks(batches, run.outputs)  # by input, then by output
        outputs, rebuild = run.outputs, run.rebuild
        blocks = [[rows[i][o] for i in range(len(leaves))] for o in range(len(outputs))]
    else:
        total, directions = _basis(leaves)
        pushed = _Pushed(f, arguments, [Batched(level, v) for v in directions], False)
        outputs, rebuild = pushed.outputs, pushed.rebuild
        if _are_mixed(outputs, leaves):
            raise TypeError(
                f'{name}: a real output has no derivative by a complex input in forward mode; use mode="reverse"'
            )
        batches = [_batch_of(t, level, total, y) for t, y in zip(pushed.tangents, outputs, strict=True)]
        columns = _blocks(batches, leaves)  # by output, then by input; the output's axes go first
        blocks = [
            [_axes_behind(block, len(_facts(a).shape)) for block, a in zip(row, leaves, strict=True)] for row in columns
        ]
    return rebuild(
        iter([arguments.like([_returned(b, a) for b, a in zip(row, leaves, strict=True)]) for row in blocks])
    )


def _are_mixed(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether `some` contain real numbers and `others` complex ones."""
    return any(_facts(a).dtype.kind != "c" for a in some) and any(_facts(b).dtype.kind == "c" for b in others)


def _batch_of(value: Any, level: int, size: int, like: Any) -> Any:
    """A result of a batched run with its batch axis: zeros for None, repeated if it does not depend on the batch."""
    if type(value) is Batched and value.level == level:
        return value.value
    if value is None:
        a = _facts(like)
        return constant(np.zeros((size, *a.shape), gradient_dtype(a.dtype)))
    return value.broadcast_to((size, *value.shape))


def _axes_behind(block: Any, count: int) -> Any:
    """The first axes moved behind the others."""
    front, behind = block.shape[:count], block.shape[count:]
    return block.reshape((prod(front), prod(behind))).transpose().reshape((*behind, *front)) if block.ndim else block


def jacobian(
    f: Callable[..., Any], argnums: Argnums = 0, mode: str | None = None, *, argnum: Argnums | None = None
) -> Any:
    """The derivatives of every output element by every input element, in shape output.shape + input.shape: for each
    output a structure like the arguments.

    All rows (`mode="reverse"`) or all columns ("forward") are computed in one run; without a mode, the fewer of them.
    """
    if mode not in (None, "forward", "reverse"):
        raise ValueError(f'jacobian: mode must be "forward", "reverse" or None, got {mode!r}')
    return Transformed(_jacobian, f, argnums=argnums if argnum is None else argnum, mode=mode)


def _hessian(f: Any, args: Any, kwargs: Any, argnums: Argnums) -> Any:
    gradient = Transformed(_grad, f, argnums=argnums, has_aux=False, name="hessian")
    return _jacobian(gradient, args, kwargs, argnums, "forward", name="hessian")


def hessian(f: Callable[..., Any], argnums: Argnums = 0, *, argnum: Argnums | None = None) -> Any:
    """The second derivatives of a function that returns one number: forward over reverse, all columns in one run."""
    return Transformed(_hessian, f, argnums=argnums if argnum is None else argnum)


class SecondOrder:
    """A function that returns one number, around a point: its `value` and `gradient` there, and its Hessian as a linear
    map, called with a tangent for each primal. The function runs only once, unless a product has a NaN."""

    def __init__(self, f: Callable[..., Any], primals: Sequence[Any]):
        self._run: Any = None
        self._f, self._primals = f, primals
        self._argnums: Argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
        self._arguments = _Arguments("hvp", tuple(primals), {}, self._argnums)
        self._product: HessianProduct | None = None
        if not is_watched(self._arguments.leaves):  # else products run the function themselves
            self._start()

    def __del__(self) -> None:
        if self._run is not None:
            self._run.ends()

    def _start(self) -> None:
        """Run the function, unless it has run already."""
        if self._run is not None:
            return
        self._run = _Reversed(self._f, self._arguments, False)
        self._output = _one_number("hvp", self._run)
        if not (self._run.watched or self._run.recorded):
            self._product = HessianProduct(self._output, self._run.variables)

    @property
    def value(self) -> Any:
        self._start()
        return self._run.returned([self._output], self._arguments.leaves)

    @property
    def gradient(self) -> Any:
        """Like the primals: a tuple with one for each, or just the one."""
        self._start()
        return self._like(self._run.pull([constant_like(self._output, 1.0)]))

    def _like(self, found: Sequence[Any]) -> Any:
        return self._arguments.like(_gradient_leaves(self._arguments.leaves, found))

    def __call__(self, *tangents: Any) -> Any:
        """The Hessian times the tangents, in the structure of `gradient`."""
        arguments = self._arguments
        given = _matching("hvp", "tangents", [_as_it_is(t) for t in tangents], arguments.chosen)
        if self._product is not None and not is_watched(given):
            with np.errstate(all="ignore"):  # about the derivative along the tangents, which nobody reads
                found = self._product(given)
            if found is not None and (watching.captures() or not any(map(autograd.has_nan, found))):
                return self._like([_apart(g, given) for g in found])
        # Forward over reverse keeps more structural zeros: one mask covers an adjoint and its tangent.
        return jvp(grad(self._f, self._argnums), self._primals, tangents)[1]


def _as_it_is(tangent: Any) -> Any:
    """The tangent; if it is an array, a Tensor without a copy, since the product keeps nothing of it."""
    return constant(tangent) if type(tangent) is np.ndarray and tangent.dtype.kind in "fc" else tangent


def _apart(found: Any, given: Sequence[Any]) -> Any:
    """A result, copied if it shares memory with a tangent."""
    for a in given if found is not None else ():
        if np.may_share_memory(found._array, a._array):
            return constant(found._array.copy())
    return found


def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of f at the primals times the tangents, without computing the Hessian: the gradient of the derivative
    along the tangents. A tuple with one for each primal, or just the one."""
    _check_are_tuples("hvp", primals, tangents)
    return SecondOrder(f, primals)(*tangents)


def stop_gradient(tree: Any) -> Any:
    """The same values as constants: no derivative of any order or mode passes."""

    def stopped(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        value = value.detach()
        if not isinstance(value, Wrapped):
            value.needs = autograd.CONSTANT
        return value

    return map_leaves(stopped, tree)
