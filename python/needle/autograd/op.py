"""What an operation is: how to compute it on arrays, and its gradient, side by side."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numpy import ndarray

from .. import watching
from ..backend import as_array
from ..memory import handed_out, private
from ..pool import SMALLEST, result_of
from . import modes
from .adjoints import fit, one_each, whole_adjoint
from .errors import explain
from .lazy import defer
from .levels import Wrapped, apply_to_others, watched_call
from .modes import CONSTANT, DETACHED, RECORDED, is_recording, reset_asked, set_asked
from .tensor import Tensor, TensorTuple, as_value, constant, is_recorded
from .versions import Assigned, latest, settle_node

_new = object.__new__


class Op:
    """An operation: how to compute it on arrays, and its gradient, side by side.

    `compute(*arrays)` sees raw arrays and returns one (a `TensorTupleOp`: a tuple of them).

    `gradient(out_grad, node)` returns one adjoint an input: a value, None where there is none, or a function of
    nothing that computes it, which is called if somebody asks for it. It is linear in `out_grad` and reads
    `node.inputs` and `node.output`. Adjoints are shaped like the output; summing them back to the shape of a broadcast
    input, and their dtype, are `gradient_as_tuple`'s matter. It is handed Tensors, and returns Tensors. Needle's own
    rules are written in NumPy's notation and are handed whatever the sweep computes with: arrays where nothing is
    recorded, Tensors where something is, and the kinds of adjoints in adjoints.py.
    """

    __slots__ = ()
    saves: tuple[str, ...] = ("inputs", "output")
    """What `gradient` reads the values of; it may read shapes and dtypes of everything."""
    view: bool = False
    """Whether the output may share an input's memory."""
    makes: type[Any]
    """The class of the output."""
    elementwise: bool = False
    """Whether an output element depends only on the input elements at its place."""
    discrete: bool = False
    """Whether the output is a constant, because nobody differentiates it: comparisons, operations on bits."""
    same_inputs: bool = False
    """Whether `gradient` needs the very tensors that were its inputs, because it reaches tensors in other ways, too."""
    on_arrays: bool = False
    """Whether `gradient` and `tangent` are right for arrays as they are for Tensors: Needle's own are."""
    _facts: tuple[Any, bool, type[Any], bool]
    """What every call reads, in one look-up: the ufunc if `compute` is one, whether it saves inputs, what it makes, and
    whether `compute` takes `out=`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        added = [base for base in cls.__mro__ if base is cls or not issubclass(base, Op)]  # and what is mixed in
        own = {name for base in added for name in vars(base)}
        if "gradient" in own and "on_arrays" not in own:
            author = next(base for base in cls.__mro__ if "gradient" in vars(base))
            cls.on_arrays = author.__module__.startswith(_NEEDLES)
        inherits = any("gradient" in vars(base) for base in cls.__mro__[1:] if base is not Op)
        if inherits and ("gradient" in own or "compute" in own):
            users = () if cls.__module__.startswith(_NEEDLES) else ("saves",)
            for name in ("tangent", "batched", *users):  # its parent's are about what that computes
                if name not in own:
                    setattr(cls, name, getattr(Op, name))
        if hasattr(cls, "makes"):
            ufunc = cls.compute if isinstance(cls.compute, np.ufunc) else None
            cls._facts = ufunc, "inputs" in cls.saves, cls.makes, cls.elementwise and _takes_out(cls.compute)

    @property
    def notation(self) -> str:
        """How it is written in a trace or a drawing: {0}, {1} are its inputs, {axes} its own attributes. "" for its
        name with all of them; a class says it by an attribute."""
        return ""

    def __call__(self, *inputs: Any) -> Any:
        """Compute, and record. Every operation comes through here, so it is written flat, for speed."""
        if watching.active and (modes.LAZY_MODE or watching.here()):
            return (_later if modes.LAZY_MODE else watched_call)(self, inputs)
        try:
            if len(inputs) == 2:
                a, b = inputs
                arrays: tuple[Any, ...] | None = (a._array, b._array)
                needs = a.needs | b.needs
            elif len(inputs) == 1:
                a = inputs[0]
                arrays = (a._array,)
                needs = a.needs
            else:
                arrays = tuple([a._array for a in inputs])
                needs = CONSTANT
                for a in inputs:
                    needs |= a.needs
        except AttributeError:
            arrays = None
        if arrays is None:
            return apply_to_others(self, inputs)
        if handed_out:
            arrays = tuple([private(array) for array in arrays])
        ufunc, saves_inputs, makes, takes_out = self._facts
        compute: Any = self.compute if ufunc is None else ufunc
        try:
            if takes_out and arrays[0].nbytes >= SMALLEST:
                out = compute(*arrays, out=result_of(arrays))
            else:
                out = compute(*arrays)
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            explain(error, self, arrays)
        if type(out) is not ndarray:
            out = as_array(out, self)
        node = _new(makes)
        node._array = out
        node._grad = None
        if needs > DETACHED and is_recording():
            node.op = self
            node.inputs = inputs
            node.saved = arrays if saves_inputs else None
            node.needs = RECORDED
        else:
            node.op = None
            node.inputs = ()
            node.saved = None
            node.needs = CONSTANT
        return node

    _compute_and_record = __call__

    def on(self, *values: Any) -> Any:
        """Inside a rule: the op of arrays as an array, of Tensors and structural zeros as `op(*values)`."""
        for value in values:
            if type(value) is not ndarray and not isinstance(value, np.generic):
                return self(*[constant(as_array(v)) if isinstance(v, (ndarray, np.generic)) else v for v in values])
        try:
            return self.compute(*values)
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            explain(error, self, values)

    def compute(self, *arrays: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.compute(*arrays) is missing: return the output's raw array")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        raise NotImplementedError(
            f"{type(self).__name__}.gradient(out_grad, node) is missing: return one adjoint for each of node.inputs"
        )

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        """The output's tangent, from those of `node.inputs` (None: zero), in Tensor operations; None if it is zero.

        NotImplemented leaves it to forward.py, which takes the transpose of `gradient`.
        """
        return NotImplemented

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        """The outputs for a batch of inputs along a new first axis, as one computation: see batching.py.

        `values` are the inputs with that axis where there is one, `depths` their numbers of axes without it (None: this
        input is the same for the whole batch). NotImplemented leaves it to batching.py, which goes one by one.
        """
        return NotImplemented

    def hint(self, *arrays: Any) -> str:
        """What is wrong with arrays that `compute` refused, and the fix; "" leaves it to the error's own words."""
        return ""

    def gradient_as_tuple(self, out_grad: Any, node: Any) -> tuple[Any, ...]:
        """One adjoint an input, in that input's shape and dtype, None where there is none."""
        node = latest(node)
        settle_node(node)
        adjoints = self.pull_back(out_grad, node, None)
        return tuple([None if g is None else whole_adjoint(g, a) for a, g in zip(node.inputs, adjoints, strict=True)])

    def pull_back(self, out_grad: Any, node: Any, asked: set[Any] | None) -> tuple[Any, ...]:
        """The adjoints of these inputs (None: of all) by the gradient rule, on Tensors: each in the shape and dtype of
        its input, and of the kind that the rule gave it; None for the others."""
        token = set_asked(asked)
        try:
            returned = self.gradient(out_grad, node)
            if type(returned) is not tuple or len(returned) != len(node.inputs):
                returned = one_each(self, returned, node.inputs)
            adjoints: list[Any] = []
            for a, g in zip(node.inputs, returned, strict=True):
                if g is None or (asked is not None and a not in asked):
                    adjoints.append(None)
                else:
                    g = g() if callable(g) else g
                    adjoints.append(None if g is None else fit(g, a, self, node))
            return tuple(adjoints)
        finally:
            reset_asked(token)

    def __repr__(self) -> str:
        return type(self).__name__


_NEEDLES = f"{__name__.partition('.')[0]}."
"""What the modules of Needle's own ops begin with."""


def _takes_out(compute: Any) -> bool:
    """Whether it takes `out=` for floats."""
    if isinstance(compute, np.ufunc):
        return "f" * compute.nin + "->" + "f" * compute.nout in compute.types
    return "out" in inspect.signature(compute).parameters


def _later(op: Op, inputs: tuple[Any, ...]) -> Any:
    """The op in lazy mode."""
    if any(isinstance(a, (Wrapped, Assigned)) for a in inputs):
        return apply_to_others(op, inputs)
    values = tuple([as_value(a, op) for a in inputs])
    return defer(op, values, RECORDED if is_recorded(*values) else CONSTANT)


class TensorOp(Op):
    """An operation whose output is one Tensor."""

    __slots__ = ()
    makes = Tensor


class TensorTupleOp(Op):
    """An operation whose output is a TensorTuple.

    Its `gradient` is given a tuple, one adjoint an output, None for an output that nothing was computed from.
    """

    __slots__ = ()
    makes = TensorTuple
