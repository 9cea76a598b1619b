"""`backward()`, and the gradients that it leaves, which can be differentiated as long as their output is alive."""

from __future__ import annotations

import weakref
from functools import lru_cache
from sys import getrefcount
from typing import Any

import numpy as np

from .. import watching
from ..memory import as_recorded
from ..pool import ALONE, owns_memory
from .adjoints import ZERO, add_adjoint, whole_adjoint
from .history import IDENTITY
from .modes import DETACHED, RECORDED, enable_grad, get_asked, is_recording, set_asked, set_recording
from .op import TensorOp
from .sweep import find_topo_sort, sweep
from .tensor import Tensor, array_to_keep, as_value, constant, copied, gradient_dtype
from .versions import latest, original_of


def compute_gradient_of_variables(output_tensor: Tensor, out_grad: Any = None, accumulate: bool = False) -> None:
    """Set `.grad` of the variables that `output_tensor` was computed from; see `Tensor.backward`."""
    output_tensor = latest(output_tensor)
    if output_tensor.needs <= DETACHED:
        why = "it was detached" if output_tensor.needs == DETACHED else "nothing that it was computed from does"
        raise ValueError(
            f"backward(): this Tensor of shape {output_tensor.shape} needs no gradient, because {why} (or it was "
            "computed under no_grad()); make the inputs with requires_grad=True, or set t.requires_grad = True"
        )
    seed = ones_like(output_tensor._array) if out_grad is None else seed_of(output_tensor, out_grad)._array
    pasts = (Past(output_tensor, out_grad, seed),)
    was_recording, was_asked = is_recording(), get_asked()
    try:
        found = sweep({output_tensor: seed})
    except BaseException:  # Ctrl-C may come between the two resets of what a rule had set
        set_recording(was_recording)
        set_asked(was_asked)
        raise
    while found:
        variable, adjoint = found.pop()
        if adjoint.dtype.kind == "c":
            adjoint = constant(adjoint).conj()._array  # an operation, for those who watch
        array, old = own(adjoint), variable._grad
        if accumulate:
            watching.tell("gradient_read", variable)
        if accumulate and type(old) is Gradient:
            total = (constant(old.array) + constant(array))._array
            variable._grad = Gradient(total, (*filter(Past.is_alive, old.pasts), *pasts))
            variable._grad.incomplete = old.incomplete or not all(map(Past.is_alive, old.pasts))
        else:
            variable._grad = Gradient(array, pasts)
        watching.tell("changed", variable, "grad")


def seed_of(output: Tensor, out_grad: Any) -> Tensor:
    """The adjoint that a sweep starts from, in the output's shape and gradient dtype."""
    array = output._array
    if out_grad is None:
        return constant(ones_like(array))
    seed = as_value(out_grad, "backward")
    if seed.shape != array.shape:
        raise ValueError(
            f"backward(): out_grad must have the output's shape {array.shape}, got {seed.shape}; "
            "needle.broadcast_to(out_grad, t.shape) brings it there"
        )
    dtype = gradient_dtype(array.dtype)
    return seed if seed.dtype == dtype else seed.astype(dtype)


def ones_like(array: Any) -> Any:
    """The adjoint of an output by itself."""
    few = array.size <= 1024
    return _ones(array.shape, array.dtype) if few else np.ones(array.shape, gradient_dtype(array.dtype))


@lru_cache(maxsize=64)
def _ones(shape: tuple[int, ...], dtype: Any) -> Any:
    """A few ones for a value of this dtype, kept for the next sweep; read-only."""
    ones = np.ones(shape, gradient_dtype(dtype))
    ones.flags.writeable = False
    return ones


def own(adjoint: Any) -> Any:
    """The adjoint, copied if anything else holds it: a gradient may be written to without harm elsewhere."""
    return adjoint if owns_memory(adjoint) and getrefcount(adjoint) <= ALONE else copied(adjoint)


_RETAIN = object()
"""Stands in `_grad` of an inner tensor whose gradient is to be kept."""


class Past:
    """One call of `backward()`: what it takes to run it again with recording on. It keeps no output alive."""

    __slots__ = ("_origin", "_out_grad", "_output", "_seed", "_views")

    def __init__(self, output: Tensor, out_grad: Any, seed: Any):
        self._output = weakref.ref(output)
        # A gradient that was differentiated (`x.grad.backward()`) can be read again from the tensor it belongs to.
        self._origin = output.op.origin() if isinstance(output.op, GradientOf) else None
        self._seed = None if out_grad is None else seed
        self._out_grad = weakref.ref(out_grad) if isinstance(out_grad, Tensor) and out_grad.needs else None
        self._views: dict[int, weakref.ref[Tensor]] = {}

    def add_view(self, variable: Tensor, view: weakref.ref[Tensor]) -> None:
        """A Tensor was made of the gradient by this variable."""
        self._views[id(variable)] = view

    def views(self) -> list[Tensor]:
        return [view for ref in self._views.values() if (view := ref()) is not None]

    def is_alive(self) -> bool:
        return self._output() is not None or (self._origin is not None and self._origin[0]() is not None)

    def source(self) -> tuple[Tensor, Tensor | None] | None:
        """The output, and the adjoint that was given for it; None if the output no longer exists."""
        output = original_of(self._output())
        if output is None and self._origin is not None:
            variable, gradient = self._origin[0](), self._origin[1]
            output = None if variable is None else gradient.tensor(variable)
        if output is None or self._seed is None:
            return None if output is None else (output, None)
        seed = constant(as_recorded(self._seed))
        out_grad = None if self._out_grad is None else self._out_grad()
        if out_grad is not None:  # its value then, with its history, for it can be differentiated by, too
            seed.op, seed.inputs, seed.needs = IDENTITY, (out_grad,), RECORDED
        return output, seed


class Gradient:
    """What `backward()` leaves in a tensor's `_grad`: the value, and the calls that made it.

    It must not hold the output, which holds the graph, which holds the tensor: such a cycle would outlive its last
    use. So it knows its past by weak references only, and `tensor()` makes a Tensor, which does hold the output, each
    time that the gradient is read.
    """

    __slots__ = ("_view", "array", "incomplete", "pasts")

    def __init__(self, array: Any, pasts: tuple[Past, ...]):
        self.array = array
        self.pasts = pasts
        self.incomplete = False  # whether it has contributions of outputs that are gone
        self._view: Any = None

    def tensor(self, variable: Tensor) -> Tensor:
        if self._view is not None and (view := self._view()) is not None:
            return view
        view = constant(self.array)
        view.op = GradientOf(variable, self)
        self._view = weakref.ref(view)
        if self.pasts:
            view.needs = RECORDED
            self.pasts[-1].add_view(variable, self._view)
        return view


class GradientOf(TensorOp):
    """The gradient of earlier outputs by a variable, recorded only when somebody differentiates through it.

    Its node starts without inputs. When the sort reaches it, `replay` runs the backward pass again, recording, and
    gives the node its inputs: the recorded gradient, and the leaves that the outputs depend on (whose adjoint is a
    structural zero, so that the derivative of a constant gradient is 0 and not missing).
    """

    saves = ()
    elementwise = True
    __slots__ = ("_gradient", "_held", "_sources", "variable")

    def __init__(self, variable: Tensor, gradient: Gradient):
        self.variable = variable
        self._gradient = self._held = gradient
        self._sources = tuple(map(Past.source, gradient.pasts))  # which keeps the outputs alive

    def __repr__(self) -> str:
        return "gradient"

    def became(self, array: Any) -> None:
        """The tensor was assigned to (`x.grad[0] = 0`), and so was the variable's gradient: it is this value now,
        without a history, unless it has become another one since."""
        variable = original_of(self.variable)
        if variable._grad is self._held:
            self._held = variable._grad = Gradient(array, ())
            watching.tell("changed", variable, "grad")

    def origin(self) -> tuple[weakref.ref[Tensor], Gradient]:
        return weakref.ref(self.variable), self._gradient

    def compute(self, recorded: Any, *leaves: Any) -> Any:
        return recorded

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad, *[ZERO for _ in node.inputs[1:]]

    def replay(self, node: Any) -> None:
        """Give this gradient's node its inputs; those of gradients from the same sweep are found on the way."""
        pasts = self._gradient.pasts
        views = [v for v in pasts[-1].views() if type(v.op) is GradientOf and v.op._gradient.pasts == pasts]
        nodes = [v for v in dict.fromkeys([node, *views]) if not v.inputs]
        variables = [original_of(v.op.variable) for v in nodes]
        totals: dict[Any, Any] = {}
        leaves: dict[Any, None] = {}
        for source in (*self._sources, *((None,) if self._gradient.incomplete else ())):
            if source is None:
                raise ValueError(
                    f"backward(): cannot differentiate through the .grad of a Tensor of shape {self.variable.shape}: "
                    "the output that it came from is gone. Keep that output (the loss) in a variable until .grad has "
                    "been read, or write x.grad.detach() where only the value is meant, as in a step W - lr * W.grad"
                )
            output, out_grad = source
            seed = seed_of(output, out_grad)
            for variable, adjoint in sweep({output: seed}, variables, tensors=True, record=True):
                add_adjoint(totals, variable, adjoint)
            leaves.update((v, None) for v in find_topo_sort([output, seed]) if v.op is None and v.needs)
        with enable_grad():
            for view, variable in zip(nodes, variables, strict=True):
                adjoint = whole_adjoint(totals[variable], variable)
                if adjoint.dtype.kind == "c":
                    adjoint = adjoint.conj()
                view.inputs = (adjoint, *leaves)


# ------------------------------------------------------------------------------------- what a Tensor has of gradients


def _grad(self: Tensor) -> Tensor | None:
    """The gradient that the last `backward()` set, None before the first one.

    It has this tensor's shape and dtype (float64 for integers). It can be differentiated again as long as the
    output that it came from was alive when it was read. Assigning stores a plain value without a history.
    """
    watching.tell("gradient_read", self)
    kept = self._grad
    if type(kept) is Gradient:
        return kept.tensor(self)
    if kept is None and self.op is not None:
        raise AttributeError  # Tensor.__getattr__ says why
    return None


def _set_grad(self: Tensor, value: Any) -> None:
    watching.tell("changed", self, "grad")
    if value is None:
        self._grad = None if self.op is None else _RETAIN
        return
    array = array_to_keep(value, "Tensor.grad")
    dtype = gradient_dtype(self._array.dtype)
    if array.shape != self._array.shape or array.dtype != dtype:
        raise ValueError(
            f"Tensor.grad: must have shape {self.shape} and dtype {dtype}, got {array.shape} and {array.dtype}"
        )
    self._grad = Gradient(array, ())


def _retain_grad(self: Tensor) -> None:
    """Have `backward()` keep the gradient of this inner tensor, too."""
    if self._grad is None and self.op is not None:
        self._grad = _RETAIN


def backward(self: Tensor, out_grad: Any = None, accumulate: bool = False) -> None:
    """Set `.grad` of every leaf (and of those that `retain_grad()` named) that this value was computed from.

    `out_grad` has this tensor's shape; it starts from ones unless given. `accumulate=True` adds to the gradients
    that are there. `.grad` is the direction of steepest ascent (for complex leaves the conjugate of the adjoint).
    Raises ValueError if nothing here was recorded.
    """
    compute_gradient_of_variables(self, out_grad, accumulate)


for _name, _method in {"grad": property(_grad, _set_grad), "retain_grad": _retain_grad, "backward": backward}.items():
    setattr(Tensor, _name, _method)  # declared in declarations.pyi
