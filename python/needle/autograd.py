"""The engine: values that remember the operation that made them, and the sweep that differentiates them.

Read it from top to bottom: modes, `Op` (what an operation is), `Value` and `Tensor` (what it makes), then the sweep:
`find_topo_sort`, `compute_gradient_of_variables`, and the gradients that `backward()` leaves behind.
"""

from __future__ import annotations

import gc
import inspect
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from functools import partial
from math import isfinite, prod
from operator import is_
from sys import getrefcount, modules
from time import perf_counter
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy import ndarray

from . import watching
from .backend import Device, as_array, default_device
from .memory import as_recorded, hand_out, handed_out, private
from .pool import SMALLEST, owns_memory, result_of

# ----------------------------------------------------------------------------------------------------------- modes

LAZY_MODE = False
"""True: values are computed when first asked for. Set it as `needle.autograd.LAZY_MODE = True`."""

_recording: ContextVar[bool | None] = ContextVar("recording", default=True)
_asked: ContextVar[set[Value] | None] = ContextVar("asked", default=None)
is_recording = _recording.get
"""Whether operations are recorded, in this thread and context. None: they are not, but tangents are pushed along."""
set_recording, reset_recording = _recording.set, _recording.reset
_get_asked = _asked.get


class _GradMode(ContextDecorator):
    """Sets whether operations are recorded, in this thread and context; usable in `with` and as a decorator."""

    _value: bool
    _tokens: tuple[Token[bool | None], ...] = ()  # of this very object's blocks, the innermost last

    def _recreate_cm(self) -> _GradMode:
        return type(self)()

    def __enter__(self) -> None:
        self._tokens += (_recording.set(self._value),)

    def __exit__(self, *_: object) -> None:
        _recording.reset(self._tokens[-1])
        self._tokens = self._tokens[:-1]


class no_grad(_GradMode):
    """`with needle.no_grad():` computes without recording; the results need no gradient."""

    _value = False


class enable_grad(_GradMode):
    """`with needle.enable_grad():` records again inside of a `no_grad` block."""

    _value = True


def is_grad_enabled() -> bool:
    """Whether operations are being recorded here and now."""
    return bool(is_recording())


def wanted(tensor: Value) -> bool:
    """For gradient rules: does anybody ask for the adjoint of this input?

    In a sweep, only what lies on a path to a requested variable; outside of one (a rule called by hand), everything.
    """
    asked = _get_asked()
    return asked is None or tensor in asked


# What a tensor is to the sweep. Operations combine their inputs' states with `|`; above DETACHED, they are recorded.
CONSTANT = 0  # no adjoint is ever computed for it
DETACHED = 1  # starts no recording, yet is given its gradient where it takes part in one
RECORDED = 3  # starts recording
VARIABLE = 7  # does so for a transform that differentiates by it


def adjoint_of(op: Op, i: int, out_grad: Any, node: Any) -> Any:
    """What the op's `gradient` gives for input i alone: a Tensor of the output's shape, None if it is zero."""
    was_asked = None if len(node.inputs) == 1 else _asked.set({node.inputs[i]})
    try:
        adjoint = unmasked(_one_each(op, op.gradient(out_grad, node), node.inputs)[i])
    finally:
        if was_asked is not None:
            _asked.reset(was_asked)
    return None if isinstance(adjoint, Part) else adjoint


def is_recorded(*inputs: Any) -> bool:
    """Whether an operation on these would be recorded."""
    if is_recording():
        for a in inputs:
            if isinstance(a, Value) and a.needs > DETACHED:
                return True
    return False


# ------------------------------------------------------------------------------------------------------ operations


_new = object.__new__


class Moves(NamedTuple):
    """The changes, as arrays, of what a rule computes with."""

    adjoint: Any
    """None: it does not change."""
    input: Any
    output: Any
    """None unless it is in the op's `saves`."""


class Op:
    """An operation: how to compute it on arrays, and its gradient, side by side.

    `compute(*arrays)` sees raw arrays and returns one (a `TensorTupleOp`: a tuple of them).
    `gradient(out_grad, node)` returns one adjoint an input, None where there is none. It is written in differentiable
    tensor operations on `node.inputs` and on `node`, the output. Adjoints are shaped like the output; summing them back
    to a broadcast input's shape, and their dtype, are `gradient_as_tuple`'s matter.
    `saves` says what `gradient` reads ("inputs", "output"), `view` whether the output shares an input's memory.
    `array_gradient(out_grad, node, asked)`, optional, is `gradient` on arrays (`node.saved` are the inputs',
    `node._array` the output's), for sweeps that record nothing: where a benchmark shows that Tensors cost too much. It
    returns None for inputs that are not in `asked`, and None in all to leave the case to `gradient`.
    """

    __slots__ = ()
    saves: tuple[str, ...] = ("inputs", "output")
    view: bool = False
    makes: type[Any]
    """The class of the output."""
    elementwise: bool = False
    """Whether an output element depends only on the input elements at its place."""
    piecewise_linear: bool = False
    """Whether `gradient` stays the same when what it reads changes a little: there is no second derivative."""
    moves: bool = False
    """Whether `gradient` only moves elements to other places: it then takes a mask to where its elements go, too."""
    takes_out: bool = False
    """Whether `compute` takes `out=`, as ufuncs do: element-wise operations."""
    batches: bool = False
    """Whether an adjoint may have leading axes of its own, to be summed over: those along which inputs broadcast."""
    same_inputs: bool = False
    """Whether `gradient` must be given the very inputs that it had, because it also reaches tensors in other ways."""
    takes_branch: bool = False
    """Whether `array_gradient` may be given a Branch."""
    takes_buffer: bool = False
    """Whether `array_gradient` may be given a Buffer, and write into it."""
    discrete: bool = False
    """Whether the output is a constant, because nobody differentiates it: comparisons, operations on bits."""
    carries_mask: bool = False
    """Whether the mask of a Branch goes on through the op: it is element-wise, moves elements, or has `masks`."""
    mixes: bool = False
    """Whether an input's adjoint is a sum over the others' elements, of which those are to be left out that do not
    count: they may be NaN."""
    takes_branches: bool = False
    """Whether `gradient` of an op with several outputs takes adjoints of them that are a Branch."""
    _facts: tuple[Any, bool, type[Any], bool]
    """What every call reads, in one look-up: the ufunc if `compute` is one, whether it saves inputs, and the above."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if any("gradient" in vars(base) for base in cls.__mro__[1:] if base is not Op) and (
            "gradient" in own or "compute" in own
        ):  # the rules that an op has besides these two say the same as its parent's, not as its own
            for rule in ("array_gradient", "tangent", "batched"):
                if rule not in own:
                    setattr(cls, rule, getattr(Op, rule))
        cls.carries_mask = cls.elementwise or cls.moves or cls.masks is not Op.masks
        if hasattr(cls, "makes"):
            ufunc = cls.compute if isinstance(cls.compute, np.ufunc) else None
            if (
                cls.takes_out and cls.compute is not Op.compute
            ):  # for results of the dtype of the inputs, which is what the memory is made for
                cls.takes_out = _takes_out(cls.compute)
            cls._facts = ufunc, "inputs" in cls.saves, cls.makes, cls.takes_out

    @property
    def notation(self) -> str:
        """How it is written in a trace or a drawing: {0}, {1} are its inputs, {axes} its own attributes. "" for its
        name with all of them; a class says it by an attribute."""
        return ""

    def __call__(self, *inputs: Any) -> Any:
        """Compute, and record. Every operation comes through here, so it is written flat, for speed."""
        if LAZY_MODE:
            return _defer(self, inputs)
        if watching.active and watching.here():
            return watched_call(self, inputs)
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
            return _apply_to_others(self, inputs)
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
            out = as_array(out)
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

    def compute(self, *arrays: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.compute(*arrays) is missing: return the output's raw array")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        raise NotImplementedError(
            f"{type(self).__name__}.gradient(out_grad, node) is missing: return one adjoint for each of node.inputs"
        )

    def array_gradient(self, out_grad: Any, node: Any, asked: set[Value]) -> tuple[Any, ...] | None:
        """`gradient` on arrays, for an op that has it; see above."""
        return None

    def moving_gradient(self, out_grad: Any, node: Any, moves: Moves, valued: bool) -> tuple[Any, Any] | None:
        """For an op of one input that has it: `gradient` on arrays (None unless `valued`), and how it changes with what
        it is computed from. None leaves it to `gradient` on Tensors."""
        return None

    def masks(self, mask: Any, node: Any) -> Any:
        """Where the inputs' adjoints may differ from 0, given where the output's may: boolean Tensors of their shapes.
        It is known of element-wise ops and of those that only move elements; others may have it."""
        return (mask,) * len(node.inputs) if self.elementwise else self.gradient(mask, node)

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

    def gradient_as_tuple(self, out_grad: Any, node: Value) -> tuple[Any, ...]:
        """One adjoint an input, in that input's shape and dtype, None where there is none."""
        node = latest(node)
        settle_node(node)
        was_asked = _asked.set(None)
        try:
            adjoints = _one_each(self, self.gradient(out_grad, node), node.inputs)
        finally:
            _asked.reset(was_asked)
        fitted = [None if g is None else _fit(g, a, self, node) for a, g in zip(node.inputs, adjoints, strict=True)]
        return tuple([None if g is None else whole_adjoint(g, a) for a, g in zip(node.inputs, fitted, strict=True)])

    def __repr__(self) -> str:
        return type(self).__name__


def _takes_out(compute: Any) -> bool:
    if isinstance(compute, np.ufunc):
        return "f" * compute.nin + "->" + "f" * compute.nout in compute.types
    return "out" in inspect.signature(compute).parameters


def _wrong_rule(op: Op, inputs: Sequence[Any], got: str, kind: type[Exception] = ValueError) -> Exception:
    """The error for a gradient rule that returned what it must not, with the rule to write."""
    names = "abcdefghijklmnopqrstuvwxyz"[: len(inputs)]
    given = f"{', '.join(names)} = node.inputs" if len(names) > 1 else "a = node.inputs[0]"
    return kind(
        f"{type(op).__name__}.gradient returned {got}; write\n"
        f"    def gradient(self, out_grad, node):\n"
        f"        {given}\n"
        f"        return {', '.join(f'out_grad * d_{name}' for name in names)}{',' * (len(names) == 1)}\n"
        "with one adjoint for each of node.inputs, computed from out_grad by Tensor operations, in the output's shape "
        "or in that input's, and None in its place where there is none"
    )


def _one_each(op: Op, adjoints: Any, inputs: tuple[Value, ...]) -> tuple[Any, ...]:
    """What a gradient rule returned, as a tuple with one adjoint for each input."""
    if type(adjoints) is not tuple:
        if adjoints is None:
            raise _wrong_rule(op, inputs, "None", TypeError)
        adjoints = tuple(adjoints) if isinstance(adjoints, (list, TensorTuple)) else (adjoints,)
    if len(adjoints) != len(inputs):
        raise _wrong_rule(op, inputs, f"{len(adjoints)} adjoint(s) for {len(inputs)} input(s)")
    return adjoints


def _fit(adjoint: Any, value: Value, op: Op, node: Any) -> Any:
    """The adjoint in the value's own shape and dtype: the one place where broadcasting is undone."""
    if type(value) is Tensor and isinstance(adjoint, Tensor):  # mostly it has both
        need = value._array
        if adjoint.dtype is need.dtype and adjoint.shape == need.shape and need.dtype.kind in "fc":
            return adjoint
    if isinstance(value, TensorTuple):
        return tuple(adjoint) if isinstance(adjoint, TensorTuple) else adjoint
    if isinstance(adjoint, Part):
        return adjoint
    if type(adjoint) is Branch:
        fitted, mask = _fit(adjoint.adjoint, value, op, node), adjoint.mask
        if fitted is None or fitted.shape == mask.shape:
            return fitted if fitted is None else Branch(fitted, mask)
        # Where a repeated value was chosen: wherever one of its copies was.
        chosen = mask.broadcast_to(adjoint.adjoint.shape).astype(np.float32)
        return Branch(fitted, _unbroadcast(chosen, fitted.shape) > 0)
    if not isinstance(adjoint, Tensor):
        got = f"a {type(adjoint).__name__} where a Tensor is needed"
        raise _wrong_rule(op, node.inputs, got, TypeError)
    if value.dtype.kind == "b":
        return None
    shape = value.shape
    if adjoint.shape != shape:
        whole = None if isinstance(node, TensorTuple) or op.batches else node.shape
        if (whole or adjoint.shape) != adjoint.shape or not _is_repeated(shape, adjoint.shape):
            of = "" if whole is None else f" of an output of shape {whole}"
            got = f"an adjoint of shape {adjoint.shape} for an input of shape {shape}{of}"
            raise _wrong_rule(op, node.inputs, got)
        adjoint = _unbroadcast(adjoint, shape)
    dtype = gradient_dtype(value.dtype)
    if adjoint.dtype != dtype:
        kind = adjoint.dtype.kind
        if kind not in "fc" or (kind == "c" and value.dtype.kind != "c" and _is_real(node)):
            got = f"an adjoint of dtype {adjoint.dtype} for an input of dtype {value.dtype}"
            raise _wrong_rule(op, node.inputs, got, TypeError)
        if kind == "c" and dtype.kind != "c":
            adjoint = adjoint.real
        adjoint = adjoint.astype(dtype)
    return adjoint


def _is_real(node: Any) -> bool:
    values = [node, *node.inputs]
    return not any(isinstance(a, TensorTuple) or a.dtype.kind == "c" for a in values)


def _is_repeated(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether a value of this shape broadcasts to the other."""
    added = len(to) - len(shape)
    return added >= 0 and all(s in (t, 1) for t, s in zip(to[added:], shape, strict=True))


def _unbroadcast(adjoint: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The adjoint of `broadcast_to`: summed over the axes along which a value of this shape was repeated."""
    have = adjoint.shape
    if have == shape:
        return adjoint
    added = len(have) - len(shape)
    repeated = tuple(added + i for i, (h, s) in enumerate(zip(have[added:], shape, strict=True)) if h != s)
    axes = tuple(range(added)) + repeated
    return adjoint.sum(axes).reshape(shape) if repeated else adjoint.sum(axes)


def gradient_dtype(dtype: Any) -> Any:
    """The dtype of the gradient of a value of this dtype: its own, float64 for integers."""
    return dtype if dtype.kind in "fc" else np.dtype(np.float64)


class TensorOp(Op):
    """An operation whose output is one Tensor."""

    __slots__ = ()


class TensorTupleOp(Op):
    """An operation whose output is a TensorTuple.

    Its `gradient` is given a tuple, one adjoint an output, None for an output that nothing was computed from.
    """

    __slots__ = ()


def explain(error: Exception, op: Op, arrays: tuple[Any, ...]) -> NoReturn:
    """Raise the error again, saying which operation refused what, and what to do."""
    if str(error).startswith(f"{op!r}: "):  # the op said it itself
        raise error
    got = ", ".join(
        f"{name} of shape {a.shape} and dtype {a.dtype}" if hasattr(a, "shape") else f"{name} a tuple of {len(a)}"
        for name, a in zip("abcdefghijklmnopqrstuvwxyz", arrays, strict=False)
    )
    kinds = (np.linalg.LinAlgError, ValueError, TypeError, IndexError, OverflowError)
    kind = next(k for k in kinds if isinstance(error, k))
    raise kind(f"{op!r}: {op.hint(*arrays) or error} (got {got})") from error


# ------------------------------------------------------------------------------------- lazy mode: compute when asked


class _Pending:
    """Stands in `saved` for the array of an input that has not been computed."""


_PENDING = _Pending()
_deferred: dict[int, weakref.ref[Any]] = {}
"""The values that have not been computed yet, by their ids."""
_slot_of_array: Callable[[Any], Any]


def _computed(value: Value) -> bool:
    try:
        _slot_of_array(value)
    except AttributeError:
        return False
    return True


def _defer(op: Op, inputs: tuple[Any, ...]) -> Any:
    """A node without a value yet. It remembers the arrays that its inputs have now, as an eager one would use them."""
    if any(isinstance(a, (Wrapped, Assigned)) for a in inputs):
        return _apply_to_others(op, inputs)
    node = _new(op.makes)
    node._grad = None
    node.op = op
    node.inputs = inputs = tuple([as_value(a, op) for a in inputs])
    node.saved = tuple([private(a._array) if _computed(a) else _PENDING for a in inputs])
    node.needs = RECORDED if is_recorded(*inputs) else CONSTANT
    key = id(node)
    _deferred[key] = weakref.ref(node, lambda _: _deferred.pop(key, None))
    return node


def compute_all_deferred() -> None:
    """Compute what was deferred: a value that it reads is going to change."""
    for deferred in list(_deferred.values()):
        value = deferred()
        if value is not None:
            _compute_deferred(value)


def _compute_deferred(value: Value) -> Any:
    """Compute a deferred value, and first those it stands on; a loop, for chains of any length."""
    stack = [value]
    while stack:
        node = stack[-1]
        if _computed(node):
            stack.pop()
            continue
        if node.op is None:
            raise AttributeError(f"{type(node).__name__} has no value: it was made without an array and without an op")
        missing = [a for a, s in zip(node.inputs, node.saved, strict=True) if s is _PENDING and not _computed(a)]
        if missing:
            stack.extend(reversed(missing))
            continue
        kept = [a._array if s is _PENDING else s for a, s in zip(node.inputs, node.saved, strict=True)]
        arrays = tuple([_snapshot(array) for array in kept])
        try:
            out = node.op.compute(*arrays)
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            explain(error, node.op, arrays)
        node._array = out if type(out) is ndarray else as_array(out)
        _deferred.pop(id(node), None)
        if watching.active:
            watching.tell("computed", node.op, node.inputs, node, 0.0)
        if node.needs:
            node.saved = arrays if "inputs" in node.op.saves else None
        else:  # a view's base lives as long as the view
            node.saved = node.inputs[0] if node.op.view else None
            node.op, node.inputs = None, ()
        stack.pop()
    return _slot_of_array(value)


def _snapshot(array: Any) -> Any:
    """What an operation that was noted before the array was handed out sees of it: no window onto the only snapshot."""
    recorded = as_recorded(array)
    return recorded if recorded is array or type(recorded) is tuple else recorded.copy()


# ---------------------------------------------------------------------------------------------------------- values


views: deque[tuple[weakref.ref[Any], weakref.ref[Any], Op | None]] = deque()
"""Tensors that share the memory of another one, that one, and the op that made them (None: `detach`): noted here, and
looked at when something is assigned to (ops/assignment.py)."""
views_lock = threading.RLock()
"""Held by who takes from the notes. Noting goes without: `append` is atomic."""
_most_views = 64


def note_view(view: Any, base: Any, op: Op | None) -> None:
    """`op` (None: `detach`) made `view` of `base`, whose memory it shares; or may share, if that is wrapped or was
    assigned to."""
    global _most_views
    views.append((weakref.ref(view), weakref.ref(base), op))
    if len(views) > _most_views:  # so many again as were alive the last time: time to drop the dead
        with views_lock:
            for _ in range(len(views)):
                entry = views.popleft()
                if entry[0]() is not None:
                    views.append(entry)
            _most_views = max(64, 2 * len(views))


def _is_part_of_leaf(value: Any) -> bool:
    while value.op is not None and value.op.view:
        value = value.inputs[0]
    return value.op is None


class Value:
    """A value in the graph, with the op and the inputs that made it (`op` is None for a leaf)."""

    __slots__ = ("__weakref__", "_array", "_grad", "inputs", "needs", "op", "saved")

    op: Op | None
    inputs: tuple[Value, ...]
    saved: Any
    """The inputs' arrays as `compute` saw them, where the gradient reads them."""
    needs: int
    _array: Any
    _grad: Any

    def realize_cached_data(self) -> Any:
        """The live, writable array, computed now if it has not been yet. What is written there, the next operation
        sees; operations that were recorded before go on with what they saw."""
        return self.cached_data

    @property
    def cached_data(self) -> Any:
        """The live, writable array; see `realize_cached_data`."""
        return hand_out(self._array)

    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        return self.op is None

    def __getattr__(self, name: str) -> Any:
        # Reached only when the normal way fails: a slot left empty because its value was deferred.
        if name == "_array":
            return _compute_deferred(self)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


_slot_of_array = Value.__dict__["_array"].__get__


class Tensor(Value):
    """An n-dimensional array that records how it was computed, for `backward()`.

    `Tensor(array)` copies, and keeps NumPy's dtype unless `dtype` is given. `requires_grad` is True for numbers unless
    told otherwise (booleans have no gradient). Raises TypeError for what is no number, ValueError for ragged lists.
    """

    __slots__ = ()
    __hash__ = object.__hash__  # == compares elementwise; tensors are hashed by identity

    def __init__(
        self, array: Any, *, device: Device | None = None, dtype: Any = None, requires_grad: bool | None = None
    ):
        tensor = None
        if isinstance(array, Tensor):
            tensor = latest(array)
            array = tensor._array
        if device is not None and device not in (default_device(),):
            raise ValueError(f"Tensor: device {device!r} is not on this machine; needle.all_devices() lists them")
        try:
            self._array = np.array(array, dtype=dtype)
        except ValueError as error:
            raise ValueError(f"Tensor: cannot make an array of {type(array).__name__}: {error}") from error
        kind = self._array.dtype.kind
        if kind not in "biufc":
            raise TypeError(
                f"Tensor: needs booleans or numbers, got dtype {self._array.dtype} from {type(array).__name__}; "
                "give dtype=float to convert"
            )
        if requires_grad and kind == "b":
            raise ValueError("Tensor: booleans have no gradient; leave requires_grad out, or give dtype=float")
        if watching.active and tensor is not None:
            watching.tell("seen", tensor)
            if self._array.dtype == array.dtype:
                watching.tell("copied", array, self._array)
            elif watching.captures():
                self._array = tensor.astype(dtype)._array  # by an operation, which is seen
        self.op = None
        self.inputs = ()
        self.saved = None
        self._grad = None
        self.needs = CONSTANT if kind == "b" or requires_grad is False else RECORDED

    @staticmethod
    def make_const(array: Any, *, requires_grad: bool = False) -> Tensor:
        """A tensor that shares this array's memory, without a copy; by default it needs no gradient."""
        tensor = constant(hand_out(np.asarray(array)))
        tensor.needs = RECORDED if requires_grad else CONSTANT
        return tensor

    # The value -----------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> Any:
        return self._array.dtype

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def size(self) -> int:
        return self._array.size

    @property
    def nbytes(self) -> int:
        return self._array.nbytes

    @property
    def device(self) -> Device:
        return default_device()

    @property
    def cached_data(self) -> Any:
        """The live, writable array; see `realize_cached_data`."""
        array = self._array
        if watching.active:
            watching.tell("read", array, "t.cached_data")
        if not array.flags.writeable:  # a broadcast view: the live array is one that can be written to
            self._array = array.copy()
            if watching.active:
                watching.tell("copied", array, self._array)
            array = self._array
        return hand_out(array)

    @cached_data.setter
    def cached_data(self, array: Any) -> None:
        self.data = array

    def numpy(self) -> Any:
        """A copy of the value as an array."""
        if watching.active:
            watching.tell("read", self._array, "t.numpy()")
        return self._array.copy()

    def item(self) -> Any:
        """The single element as a Python number; ValueError if there is not exactly one."""
        if self._array.size != 1:
            raise ValueError(f"Tensor.item: needs exactly one element, got shape {self.shape}; index it first")
        if watching.active:
            watching.tell("read", self._array, "t.item()")
        return self._array.item()

    def tolist(self) -> Any:
        """The value as (nested lists of) Python numbers."""
        if watching.active:
            watching.tell("read", self._array, "t.tolist()")
        return self._array.tolist()

    def detach(self) -> Tensor:
        """A leaf that shares the value and starts no recording. Where it takes part in a recorded computation, its
        gradient is delivered all the same, so that `W = (W - lr * W.grad).detach()` works step after step.

        What is computed from detached tensors alone is not recorded, and so brings them no gradient: a penalty like
        `(W * W).sum()` in such a loop needs `W.requires_grad = True` first.
        """
        tensor = _new(Tensor)
        tensor._array = self._array
        tensor._grad = tensor.op = tensor.saved = None
        tensor.inputs = ()
        tensor.needs = CONSTANT if self._array.dtype.kind == "b" else DETACHED
        note_view(tensor, self, None)
        if watching.active:
            watching.tell("seen", self)
        if self._array.base is not None and _is_part_of_leaf(self):
            tensor.saved = self  # so that who writes to it finds the leaf
        return tensor

    @property
    def data(self) -> Tensor:
        """The detached value. Assigning (a Tensor, which is shared, or an array, which is copied) changes the value
        for what is computed from now on; operations recorded before keep the old one."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        if watching.active and isinstance(value, Tensor):
            watching.tell("seen", value)
        array = latest(value)._array if isinstance(value, Tensor) else np.array(value)
        old = self._array
        if array.shape != old.shape or array.dtype != old.dtype:
            raise ValueError(
                f"Tensor.data: the new value must have shape {old.shape} and dtype {old.dtype}, got {array.shape} and "
                f"{array.dtype}; make a new Tensor for another shape, or write value.astype({str(old.dtype)!r})"
            )
        set_value(self, array)

    # The gradient --------------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded. Can be set on a leaf."""
        return self.needs > DETACHED

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.op is not None and not value:
            raise ValueError(
                f"Tensor.requires_grad: this tensor is the output of a recorded {self.op!r}; "
                "write t.detach() for a tensor without its history"
            )
        if value and self._array.dtype.kind == "b":
            raise ValueError("Tensor.requires_grad: booleans have no gradient; convert with t.astype(float)")
        if self.op is None:
            self.needs = RECORDED if value else CONSTANT
            if watching.active:
                watching.tell("changed", self, "requires_grad")

    @property
    def grad(self) -> Tensor | None:
        """The gradient that the last `backward()` set, None before the first one.

        It has this tensor's shape and dtype (float64 for integers). It can be differentiated again as long as the
        output that it came from was alive when it was read. Assigning stores a plain value without a history.
        """
        if watching.active:
            watching.tell("gradient_read", self)
        kept = self._grad
        if type(kept) is _Gradient:
            return kept.tensor(self)
        if kept is None and self.op is not None:
            raise AttributeError  # __getattr__ below says why
        return None

    @grad.setter
    def grad(self, value: Any) -> None:
        if watching.active:
            watching.tell("changed", self, "grad")
        if value is None:
            self._grad = None if self.op is None else _RETAIN
            return
        array = latest(value)._array if isinstance(value, Tensor) else np.array(value)
        dtype = gradient_dtype(self._array.dtype)
        if array.shape != self._array.shape or array.dtype != dtype:
            raise ValueError(
                f"Tensor.grad: must have shape {self.shape} and dtype {dtype}, got {array.shape} and {array.dtype}"
            )
        self._grad = _Gradient(array, ())

    def retain_grad(self) -> None:
        """Have `backward()` keep the gradient of this inner tensor, too."""
        if self._grad is None and self.op is not None:
            self._grad = _RETAIN

    def backward(self, out_grad: Any = None, accumulate: bool = False) -> None:
        """Set `.grad` of every leaf (and of those that `retain_grad()` named) that this value was computed from.

        `out_grad` has this tensor's shape; it starts from ones unless given. `accumulate=True` adds to the gradients
        that are there. `.grad` is the direction of steepest ascent (for complex leaves the conjugate of the adjoint).
        Raises ValueError if nothing here was recorded.
        """
        compute_gradient_of_variables(self, out_grad, accumulate)

    def __getattr__(self, name: str) -> Any:
        if name == "_array":
            return _compute_deferred(self)
        if name == "grad":
            raise AttributeError(
                f"Tensor.grad: this tensor is not a leaf but the output of {self.op!r}, and backward() keeps gradients "
                "only on leaves; call t.retain_grad() before backward() to have this one, too"
            )
        raise AttributeError(f"'Tensor' object has no attribute {name!r}")

    # Python's protocols --------------------------------------------------------------------------------------

    def _looked_at(self, what: str) -> Any:
        """The array, of whose elements something is said outside of any op."""
        if watching.active:
            watching.tell("read", self._array, what)
        return self._array

    def __repr__(self) -> str:
        array = self._looked_at("repr(t)")
        return f"needle.Tensor({np.array2string(array, separator=', ', prefix='needle.Tensor(')})"

    def __str__(self) -> str:
        return str(self._looked_at("str(t)"))

    def __format__(self, spec: str) -> str:
        array = self._looked_at("format(t)")
        return format(array.item() if spec and array.size == 1 else array, spec)

    def __len__(self) -> int:
        if self._array.ndim == 0:
            raise TypeError("len(): a 0-d Tensor has no length; t.size is 1")
        return len(self._array)

    def __bool__(self) -> bool:
        if self._array.size != 1:
            raise ValueError(
                f"bool(): a Tensor of shape {self.shape} has no single truth value; write (t).any() or (t).all() "
                "of t.numpy()"
            )
        return bool(self._looked_at("bool(t)").item())

    def _leaves_the_record(self, what: str, instead: str) -> None:
        if self.needs > DETACHED and is_recording() and type(self.op) is not GradientOf:
            raise TypeError(
                f"{what}: this Tensor needs a gradient, and {what} would drop it in silence; write {instead} where "
                "only the value is meant. np.stack([t, u]) makes one Tensor of several, needle.numpy.zeros(shape) one "
                "that others can be assigned to"
                + ("; needle.scipy has SciPy's functions that are no ufuncs" if "scipy" in modules else "")
            )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        self._leaves_the_record("np.asarray(t)", "t.numpy()")
        if copy is False:
            return self.cached_data if dtype is None else self.cached_data.astype(dtype, copy=False)
        return np.array(self._looked_at("np.asarray(t)"), dtype=dtype)

    def __float__(self) -> float:
        self._leaves_the_record("float(t)", "t.item()")
        return float(self.item())

    def __int__(self) -> int:
        self._leaves_the_record("int(t)", "t.item()")
        return int(self.item())

    def __complex__(self) -> complex:
        self._leaves_the_record("complex(t)", "t.item()")
        return complex(self.item())

    def __index__(self) -> int:
        self._leaves_the_record("an index", "t.item()")
        if self._array.dtype.kind not in "iu" or self._array.ndim:
            raise TypeError(f"an index needs a 0-d integer Tensor, got shape {self.shape} and dtype {self.dtype}")
        return int(self._looked_at("an index"))

    def __reduce__(self) -> Any:
        """Pickled and copied as a leaf: the value, whether it needs a gradient, and the gradient's value."""
        gradient = getattr(self._grad, "array", None)
        return _rebuild, (self._looked_at("pickle"), self.needs, gradient)

    def __copy__(self) -> Tensor:
        return _rebuild(self._array, self.needs, getattr(self._grad, "array", None))

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A leaf is copied as a leaf. What was computed is copied by an operation: a leaf would drop its gradient."""
        computed = type(self.op) not in (NoneType, GradientOf) or self.needs == VARIABLE
        if computed and is_recording():
            return self.astype(self.dtype)
        gradient = getattr(self._grad, "array", None)
        return _rebuild(_copy(self._array), self.needs, None if gradient is None else _copy(gradient))

    if TYPE_CHECKING:  # bound by the table in ops/binding.py; a test holds the two lists against each other

        def __add__(self, other: TensorLike) -> Tensor: ...
        def __radd__(self, other: TensorLike) -> Tensor: ...
        def __sub__(self, other: TensorLike) -> Tensor: ...
        def __rsub__(self, other: TensorLike) -> Tensor: ...
        def __mul__(self, other: TensorLike) -> Tensor: ...
        def __rmul__(self, other: TensorLike) -> Tensor: ...
        def __truediv__(self, other: TensorLike) -> Tensor: ...
        def __rtruediv__(self, other: TensorLike) -> Tensor: ...
        def __floordiv__(self, other: TensorLike) -> Tensor: ...
        def __rfloordiv__(self, other: TensorLike) -> Tensor: ...
        def __mod__(self, other: TensorLike) -> Tensor: ...
        def __rmod__(self, other: TensorLike) -> Tensor: ...
        def __divmod__(self, other: TensorLike) -> tuple[Tensor, Tensor]: ...
        def __rdivmod__(self, other: TensorLike) -> tuple[Tensor, Tensor]: ...
        def __pow__(self, other: TensorLike) -> Tensor: ...
        def __rpow__(self, other: TensorLike) -> Tensor: ...
        def __matmul__(self, other: TensorLike) -> Tensor: ...
        def __rmatmul__(self, other: TensorLike) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __and__(self, other: TensorLike) -> Tensor: ...
        def __rand__(self, other: TensorLike) -> Tensor: ...
        def __or__(self, other: TensorLike) -> Tensor: ...
        def __ror__(self, other: TensorLike) -> Tensor: ...
        def __xor__(self, other: TensorLike) -> Tensor: ...
        def __rxor__(self, other: TensorLike) -> Tensor: ...
        def __lshift__(self, other: TensorLike) -> Tensor: ...
        def __rlshift__(self, other: TensorLike) -> Tensor: ...
        def __rshift__(self, other: TensorLike) -> Tensor: ...
        def __rrshift__(self, other: TensorLike) -> Tensor: ...
        def __lt__(self, other: TensorLike) -> Tensor: ...
        def __le__(self, other: TensorLike) -> Tensor: ...
        def __gt__(self, other: TensorLike) -> Tensor: ...
        def __ge__(self, other: TensorLike) -> Tensor: ...
        def __eq__(self, other: TensorLike) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: TensorLike) -> Tensor: ...  # type: ignore[override]
        def __iadd__(self, other: TensorLike) -> Tensor: ...
        def __isub__(self, other: TensorLike) -> Tensor: ...
        def __imul__(self, other: TensorLike) -> Tensor: ...
        def __itruediv__(self, other: TensorLike) -> Tensor: ...
        def __ifloordiv__(self, other: TensorLike) -> Tensor: ...
        def __imod__(self, other: TensorLike) -> Tensor: ...
        def __ipow__(self, other: TensorLike) -> Tensor: ...
        def __imatmul__(self, other: TensorLike) -> Tensor: ...
        def __iand__(self, other: TensorLike) -> Tensor: ...
        def __ior__(self, other: TensorLike) -> Tensor: ...
        def __ixor__(self, other: TensorLike) -> Tensor: ...
        def __ilshift__(self, other: TensorLike) -> Tensor: ...
        def __irshift__(self, other: TensorLike) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def sum(self, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None, **more: Any) -> Tensor: ...
        def max(self, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None, **more: Any) -> Tensor: ...
        def mean(self, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None, **more: Any) -> Tensor: ...
        def logsumexp(self, axes: Axes = None, keepdims: bool = False, *, axis: Axes = None) -> Tensor: ...
        def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Tensor: ...
        def broadcast_to(self, *shape: Any) -> Tensor: ...
        def transpose(self, *axes: Any) -> Tensor: ...
        def matmul(self, other: TensorLike) -> Tensor: ...
        def exp(self) -> Tensor: ...
        def log(self) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def sin(self) -> Tensor: ...
        def cos(self) -> Tensor: ...
        def tanh(self) -> Tensor: ...
        def relu(self) -> Tensor: ...
        def abs(self) -> Tensor: ...
        def conj(self) -> Tensor: ...
        def masked(self, mask: TensorLike) -> Tensor: ...
        def astype(self, dtype: Any) -> Tensor: ...
        # NumPy's, bound by the table in numpy/methods.py
        def __array_ufunc__(self, of: Any, method: str, a: Any, *more: Any, **options: Any) -> Any: ...
        def __array_function__(self, of: Any, types: Any, args: Any, options: dict[str, Any]) -> Any: ...
        def __array_namespace__(self, /, *, api_version: str | None = None) -> Any: ...
        def __contains__(self, value: Any) -> bool: ...
        def __round__(self, ndigits: int | None = None) -> Any: ...
        def __dlpack__(
            self,
            /,
            *,
            stream: Any = None,
            max_version: Any = None,
            dl_device: Any = None,
            copy: bool | None = None,
        ) -> Any: ...
        def __dlpack_device__(self, /) -> tuple[Any, int]: ...
        def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor: ...
        def all(self, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True) -> Tensor: ...
        def any(self, axis: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True) -> Tensor: ...
        def argmax(self, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Tensor: ...
        def argmin(self, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Tensor: ...
        def argpartition(
            self, kth: Any, axis: int | None = -1, kind: Any = "introselect", order: Any = None
        ) -> Tensor: ...
        def argsort(
            self,
            axis: int | None = -1,
            kind: Any = None,
            order: Any = None,
            *,
            stable: bool | None = None,
            descending: bool = False,
        ) -> Tensor: ...
        def choose(self, choices: Any, out: Any = None, mode: str = "raise") -> Tensor: ...
        def clip(
            self,
            min: Any = None,
            max: Any = None,
            out: Any = None,
            *,
            a_min: Any = None,
            a_max: Any = None,
            dtype: Any = None,
        ) -> Tensor: ...
        def conjugate(self) -> Tensor: ...
        def copy(self, order: str = "K", subok: bool = False) -> Tensor: ...
        def cumprod(self, axis: int | None = None, dtype: Any = None, out: Any = None) -> Tensor: ...
        def cumsum(self, axis: int | None = None, dtype: Any = None, out: Any = None) -> Tensor: ...
        def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor: ...
        def dot(self, b: Any, out: Any = None) -> Tensor: ...
        def fill(self, value: Any) -> None: ...
        def flatten(self, order: str = "C") -> Tensor: ...
        @property
        def imag(self) -> Tensor: ...
        @imag.setter
        def imag(self, value: TensorLike) -> None: ...
        def min(
            self, axis: Axes = None, out: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True
        ) -> Tensor: ...
        def nonzero(self) -> tuple[Tensor, ...]: ...
        def partition(self, kth: Any, axis: int = -1, kind: Any = "introselect", order: Any = None) -> None: ...
        def prod(  # noqa: PLR0917 - NumPy's
            self,
            axis: Axes = None,
            dtype: Any = None,
            out: Any = None,
            keepdims: bool = False,
            initial: Any = 1,
            where: Any = True,
        ) -> Tensor: ...
        def put(self, ind: Any, v: Any, mode: str = "raise") -> None: ...
        def ravel(self, order: str = "C") -> Tensor: ...
        def repeat(self, repeats: Any, axis: int | None = None) -> Tensor: ...
        def round(self, decimals: int = 0, out: Any = None) -> Tensor: ...
        def searchsorted(self, v: Any, side: Any = "left", sorter: Any = None) -> Tensor: ...
        def sort(self, axis: int = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> None: ...
        def squeeze(self, axis: Any = None) -> Tensor: ...
        def std(
            self,
            axis: Axes = None,
            dtype: Any = None,
            out: Any = None,
            ddof: float = 0,
            keepdims: bool = False,
            *,
            where: Any = True,
            mean: Any = None,
            correction: Any = None,
        ) -> Tensor: ...
        def swapaxes(self, axis1: int, axis2: int) -> Tensor: ...
        def take(self, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Tensor: ...
        def trace(
            self, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
        ) -> Tensor: ...
        def var(
            self,
            axis: Axes = None,
            dtype: Any = None,
            out: Any = None,
            ddof: float = 0,
            keepdims: bool = False,
            *,
            where: Any = True,
            mean: Any = None,
            correction: Any = None,
        ) -> Tensor: ...
        @property
        def real(self) -> Tensor: ...
        @real.setter
        def real(self, value: TensorLike) -> None: ...
        @property
        def T(self) -> Tensor: ...
        @property
        def mT(self) -> Tensor: ...


TensorLike: TypeAlias = Any
"""A Tensor, an array, or a Python or NumPy number."""
Axes: TypeAlias = int | tuple[int, ...] | None


def _tell_of_members(arrays: tuple[Any, ...], what: str) -> None:
    for array in arrays:
        watching.tell("read", array, what)


class TensorTuple(Value):
    """Several tensors made by one operation; index it, iterate over it, or take `tuple()` of it."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    @property
    def cached_data(self) -> Any:
        """The live, writable arrays, as a tuple."""
        if watching.active:
            _tell_of_members(self._array, "t.cached_data")
        return tuple(hand_out(member) for member in self._array)

    def numpy(self) -> tuple[Any, ...]:
        """A copy of each value, as a tuple of arrays."""
        if watching.active:
            _tell_of_members(self._array, "t.numpy()")
        return tuple(member.copy() for member in self._array)

    def detach(self) -> tuple[Tensor, ...]:
        """The detached members."""
        return tuple(member.detach() for member in self)

    def __repr__(self) -> str:
        return f"needle.TensorTuple{tuple(self)!r}"

    if TYPE_CHECKING:

        def __getitem__(self, index: int) -> Tensor: ...
        def __add__(self, other: Any) -> TensorTuple: ...


TensorOp.makes = Tensor
TensorTupleOp.makes = TensorTuple


def constant(array: Any, cls: type[Any] = Tensor) -> Any:
    """A leaf around this very array (for a TensorTuple: these arrays) that needs no gradient."""
    tensor = _new(cls)
    tensor._array = array
    tensor._grad = None
    tensor.op = None
    tensor.inputs = ()
    tensor.saved = None
    tensor.needs = CONSTANT
    return tensor


def set_value(tensor: Tensor, array: Any) -> None:
    """Let a tensor have this very array, of its shape and dtype, as its value from now on."""
    if _deferred:
        compute_all_deferred()
    key = id(tensor)
    if key not in _assigned:
        _assigned[key] = weakref.ref(tensor, lambda _: _assigned.pop(key, None))
    if tensor.op is not None:  # what was recorded lives on as the input of an assignment
        if type(tensor.op) is GradientOf:
            tensor.op.became(array)
        tensor.inputs = (twin_of(tensor, tensor._array),)
        tensor.op, tensor.saved = IDENTITY, None
    tensor._array = array
    if watching.active:
        watching.tell("changed", tensor, "data")


def value_of(a: Tensor, what: str) -> Any:
    """A copy of the value as an array, for a function of this name that looks at it."""
    if type(a) is not Tensor or not watching.active:
        return a.numpy()
    watching.tell("read", a._array, what)
    return a._array.copy()


def as_value(value: Any, op: object = "as_value") -> Any:
    """A Tensor or TensorTuple as it is; an array, number or list of numbers as a constant of its own (a copy)."""
    if isinstance(value, Value):
        return latest(value)
    array = np.array(value)
    if watching.active and type(value) is ndarray:
        watching.tell("copied", value, array)
    if type(value) is not ndarray and isinstance(value, ndarray) and hasattr(value, "mask"):
        raise TypeError(
            f"{op!r}: a masked array's mask would be lost; fill the gaps with a.filled(0), or choose with np.where"
        )
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"{op!r}: needs a Tensor, an array or a number, got {type(value).__name__}; convert it with np.asarray"
        )
    return constant(array)


class Wrapped(Tensor):
    """What a tensor looks like inside of a transform that is running: it carries tangents (forward.py), a batch of
    values (batching.py), or a place on a tape (tape.py).

    `value` is the tensor inside, which may be wrapped by a transform around this one; later transforms have higher
    levels. The slot `_array` stays empty, so an operation that meets one of these comes to `process` by the exception,
    and no other operation pays for the question.
    """

    __slots__ = ("level", "value")
    level: int
    value: Any
    __hash__ = object.__hash__

    def __init__(self, level: int, value: Any):
        self.level = level
        self.value = value
        self.op = None
        self.inputs = ()
        self.saved = self._grad = None
        self.needs = RECORDED

    def process(self, op: Op, inputs: tuple[Any, ...]) -> Any:
        """The op's output, where this is the input of the highest level."""
        raise NotImplementedError

    def gathered(self, members: tuple[Any, ...]) -> Any:
        """A tuple of these, some of which are of this level, as one wrapped input for `process`."""
        raise NotImplementedError

    def twin(self) -> Any:
        """Another object with the same record."""
        raise NotImplementedError

    def laid_out(self) -> Any:
        """An array whose elements lie in memory as this tensor's do."""
        return self.value.laid_out() if isinstance(self.value, Wrapped) else self.value._array

    def __getattr__(self, name: str) -> Any:
        if name == "_array":  # asked by each operation
            raise AttributeError(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def is_recorded(self) -> bool:
        """Whether the engine's own graph records what is computed from what is inside."""
        return is_recorded_inside(self.value)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def cached_data(self) -> Any:
        raise TypeError(f"cached_data: {self._refusal()}")

    @cached_data.setter
    def cached_data(self, array: Any) -> None:
        raise TypeError(f"cached_data: {self._refusal()}")

    def numpy(self) -> Any:
        return self.value.numpy()

    def item(self) -> Any:
        return self.value.item()

    def tolist(self) -> Any:
        return self.value.tolist()

    def detach(self) -> Tensor:
        return self.value.detach()

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        raise TypeError(f"t.data = ...: {self._refusal()}")

    @property
    def requires_grad(self) -> bool:
        return True

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        raise TypeError(f"t.requires_grad = ...: {self._refusal()}; needle.stop_gradient(t) makes a constant of it")

    @property
    def grad(self) -> Tensor | None:
        raise TypeError(f"t.grad: {self._refusal()}")

    @grad.setter
    def grad(self, value: Any) -> None:
        raise TypeError(f"t.grad = ...: {self._refusal()}")

    def backward(self, out_grad: Any = None, accumulate: bool = False) -> None:
        raise TypeError(f"backward(): {self._refusal()}; take an inner gradient with needle.grad(f)(x)")

    def _refusal(self) -> str:
        return f"this tensor of shape {self.shape} belongs to a transform that is running (grad, jvp, jacobian, ...)"

    def __repr__(self) -> str:
        return f"needle.{type(self).__name__}({self.value!r})"

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len(): a 0-d Tensor has no length; t.size is 1")
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self.value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        self._leaves_the_record("np.asarray(t)", "t.numpy()")
        raise TypeError(f"np.asarray(t): {self._refusal()}; write t.numpy()")

    def __index__(self) -> int:
        return self.value.detach().__index__()

    def __reduce__(self) -> Any:
        raise TypeError(f"pickle: {self._refusal()}; return it from the function first")

    def __copy__(self) -> Tensor:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.astype(self.dtype)


def is_recorded_inside(tensor: Tensor) -> bool:
    """Whether the engine's own graph records what is computed from it, under whatever it is wrapped in."""
    return tensor.is_recorded() if isinstance(tensor, Wrapped) else tensor.needs > DETACHED


class WrappedTuple(TensorTuple):
    """Several wrapped tensors made by one operation."""

    __slots__ = ("members",)
    members: tuple[Tensor, ...]

    def __init__(self, members: Sequence[Tensor]):
        self.members = tuple(members)
        self.op = None
        self.inputs = ()
        self.saved = self._grad = None
        self.needs = RECORDED

    def __len__(self) -> int:
        return len(self.members)

    def numpy(self) -> tuple[Any, ...]:
        return tuple(member.numpy() for member in self.members)


class Versions(Op):
    """Stands in `op` of a tensor that was assigned to, whose latest version stands in `saved`; see ops/assignment.py.

    `original` is what the tensor was before the first assignment.
    """

    __slots__ = ("hidden", "original")
    original: Any
    hidden: bool
    """Whether nobody but its name has the latest version, so that it may be written over."""

    def refreshed(self, name: Any) -> Any:
        """The latest version of a view whose base has changed since it was last looked at."""
        raise NotImplementedError


class Assigned:
    """A tensor that was assigned to (`x[0] = 1`): a name for the latest of its versions, each of which is recorded as a
    tensor of its own.

    The object gets this class as well when it happens (`AssignedTensor` and its like), because others hold it. Its slot
    `_array` is empty from then on, so that operations come to its latest version by the exception, and no other
    operation pays for the question. What was recorded before refers to this very object, and means its original.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name == "_array":  # asked by each operation
            raise AttributeError(name)
        return latest(self).__getattr__(name)  # which says what is wrong

    def detach(self) -> Any:
        tensor = latest(self).detach()
        note_view(tensor, self, None)
        return tensor

    @property
    def data(self) -> Any:
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        latest(self).data = value

    @property
    def grad(self) -> Any:
        """The gradient by what the tensor was made with, if that was a leaf; else by its latest version."""
        original = original_of(self)
        return (original if original.op is None else latest(self)).grad

    @grad.setter
    def grad(self, value: Any) -> None:
        original = original_of(self)
        (original if original.op is None else latest(self)).grad = value


class AssignedTensor(Assigned, Tensor):
    __slots__ = ()
    __hash__ = object.__hash__


def _to_latest(name: str) -> Any:
    """Does to the latest version of an assigned tensor what is done to it."""
    what = getattr(Tensor, name)
    if not isinstance(what, property):
        return lambda self, *args, **options: getattr(latest(self), name)(*args, **options)
    if what.fset is None:
        return property(lambda self: getattr(latest(self), name))
    return property(lambda self: getattr(latest(self), name), lambda self, value: setattr(latest(self), name, value))


_FORWARDED = """shape dtype ndim size nbytes cached_data numpy item tolist requires_grad retain_grad
    backward is_leaf __repr__ __str__ __format__ __len__ __bool__ __array__ __float__ __int__ __complex__ __index__
    __reduce__ __copy__ __deepcopy__"""
for _name in _FORWARDED.split():
    setattr(Assigned, _name, _to_latest(_name))

names: weakref.WeakSet[Any] = weakref.WeakSet()
"""The live tensors of the engine's own graph that were assigned to; as long as there are none, no sweep looks."""


def latest(value: Any) -> Any:
    """The value as it is now: itself, unless it was assigned to."""
    while isinstance(value, Assigned):
        name: Any = value
        value = name.op.refreshed(name) if name.saved is None else name.saved
    return value


def shown(value: Any) -> Any:
    """The value as it is now, for those who keep it: the next assignment does not write over it."""
    if isinstance(value, Assigned):
        name: Any = value
        name.op.hidden = False
    return latest(value)


def original_of(value: Any) -> Any:
    """The value as it was before it was assigned to for the first time."""
    return value.op.original if isinstance(value, Assigned) else value


def settle(outputs: Iterable[Any]) -> None:
    """Have all that was computed before an input was assigned to go on with the original."""
    seen: set[Any] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            settle_node(node)
            stack += node.inputs


def settle_node(node: Any) -> None:
    if any(isinstance(a, Assigned) for a in node.inputs):
        node.inputs = tuple(map(original_of, node.inputs))


def _apply_to_others(op: Op, inputs: tuple[Any, ...]) -> Any:
    """The op where not all inputs are tensors with an array: some are arrays or numbers, or wrapped, or assigned to."""
    values = tuple([latest(a) if isinstance(a, Value) else as_value(a, op) for a in inputs])
    top = None
    for a in values:
        for member in map(latest, a.members) if isinstance(a, WrappedTuple) else (a,):
            if isinstance(member, Wrapped) and (top is None or member.level > top.level):
                top = member
    if top is not None:
        gathered = [top.gathered(tuple(map(latest, a.members))) if isinstance(a, WrappedTuple) else a for a in values]
        return top.process(op, tuple(gathered))
    if all(map(is_, inputs, values)):
        return [a._array for a in values]  # raises: one has no value at all
    return Op.__call__(op, *values)  # what an op's own call does besides, it does for the inputs as they came


def watched_call(op: Op, inputs: tuple[Any, ...]) -> Any:
    """op(*inputs), and those who watch are told."""
    values = tuple([latest(a) if isinstance(a, Value) else as_value(a, op) for a in inputs])
    if any(isinstance(a, Wrapped) for a in values):
        return _apply_to_others(op, values)  # it is applied to what is inside, and that is seen
    for a in inputs:
        if isinstance(a, Assigned):
            watching.tell("seen", a)
    started = perf_counter()
    output = watching.unseen(op, *values)
    if handed_out and output.saved is not None and output.op is op:
        for a, array in zip(values, output.saved, strict=True):
            if array is not a._array:
                watching.tell("copied", a._array, array)
    watching.tell("computed", op, values, output, perf_counter() - started)
    return output


def applied(op: Op, inputs: tuple[Any, ...], output: Any) -> Any:
    """The output of op(*inputs) as a rule is given it: with its op and inputs, also where it was not recorded."""
    if output.needs and output.op is op and all(map(is_, output.inputs, inputs)):
        return output
    if isinstance(output, (Wrapped, WrappedTuple)):
        output.op, output.inputs = op, inputs
        return output
    node = twin_of(output, output._array, inputs)
    node.op, node.needs = op, CONSTANT
    return node


def _copy(array: Any) -> Any:
    copy = array.copy()
    if watching.active:
        watching.tell("copied", array, copy)
    return copy


def _rebuild(array: Any, needs: int, gradient: Any) -> Tensor:
    tensor = constant(array)
    tensor.needs = needs
    if gradient is not None:
        tensor._grad = _Gradient(gradient, ())
    return tensor


def __getattr__(name: str) -> Any:
    """`TENSOR_COUNTER`, the number of live tensors: counted when asked for, so that no operation pays for it."""
    if name == "TENSOR_COUNTER":
        return sum(isinstance(thing, Value) for thing in gc.get_objects())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# ------------------------------------------------------------------------------------------------------- the sweep


def find_topo_sort(node_list: Sequence[Any], inputs_of: Callable[[Any], Sequence[Any]] | None = None) -> list[Any]:
    """Post-order depth-first sort: every node stands after all of its inputs, which are visited from left to right."""
    if inputs_of is None:
        inputs_of = _inputs_of
        if names:
            settle(node_list)
    order: list[Any] = []
    seen: set[Any] = set()
    stack: list[Any] = list(reversed(node_list))
    while stack:
        node = stack.pop()
        if node is None:  # all inputs of the node beneath are done
            order.append(stack.pop())
        elif node not in seen:
            seen.add(node)
            stack += (node, None, *reversed(inputs_of(node)))
    return order


def _inputs_of(node: Value) -> tuple[Value, ...]:
    """A node's inputs; those of a gradient that is differentiated are found out now."""
    if not node.inputs and node.needs and type(node.op) is GradientOf:
        node.inputs = node.op.replay()
    return node.inputs


def sort_inner(outputs: Sequence[Value], stop: Iterable[Value] = ()) -> tuple[list[Any], set[Value]]:
    """The nodes that adjoints pass through, sorted like `find_topo_sort`, and the set of all that adjoints reach: these
    and their leaves (and what it is to stop at). It goes down along first inputs without the stack, and unrolls the
    loop over two, for speed."""
    if names:
        settle(outputs)
    order: list[Any] = []
    seen: set[Any] = set(stop)
    stack: list[Any] = list(outputs)
    while stack:
        node = stack.pop()
        if node is None:
            order.append(stack.pop())
            continue
        while node not in seen:
            seen.add(node)
            inputs = node.inputs
            if not inputs:
                if type(node.op) is not GradientOf:
                    break
                inputs = _inputs_of(node)
            stack.append(node)
            stack.append(None)
            if len(inputs) == 2:
                node, b = inputs
                if b.needs:
                    if not node.needs:
                        node = b
                        continue
                    stack.append(b)
            else:
                node = inputs[0]
                if len(inputs) > 2:
                    for a in inputs[:0:-1]:
                        if a.needs:
                            stack.append(a)
            if not node.needs:
                break
    return order, seen


class Part:
    """A contribution to a part of a value's adjoint: element `index` receives `adjoint`.

    The contributions of one kind to one value are summed at once, by `total`, so that reading x[i] n times stays linear
    in n. Each kind of part is a subclass with a `total` of its own; this one is the part that nothing belongs to, ZERO.
    """

    __slots__ = ("adjoint", "index")
    folds = False
    """Whether an array of their total can take up further parts, so that a loop's reads are not held until its last."""

    def __init__(self, index: Any, adjoint: Any):
        self.index = index
        self.adjoint = adjoint

    @staticmethod
    def total(parts: list[Any], value: Any) -> Any:
        """The adjoint of `value` that these parts make up."""
        if any(part.adjoint is not None for part in parts):
            raise TypeError("Part: an adjoint of a part needs a subclass whose `total` says where it goes (IndexPart)")
        return constant(np.zeros(value.shape, gradient_dtype(value.dtype)))

    @classmethod
    def add_to(cls, buffer: Any, mask: Any, parts: list[Any], value: Any) -> Any:
        """Add the parts to an adjoint of `value`, in place. Returns the mask of what was reached, None for all."""
        total = as_arrays(cls.total(parts, value))
        buffer += unmasked(total)
        return None if mask is None or type(total) is not Branch else as_array(mask | total.mask)


ZERO = Part(None, None)
"""Reached, but by no path along which anything changes: a zero of the value's shape."""


class Branch:
    """An adjoint that is structurally zero outside of a mask, because that part of the value was not chosen.

    What it is multiplied with further on may be infinite or NaN there, and must not make the zero a NaN: so the mask
    goes along with the adjoint, and each element-wise rule that the adjoint passes through is masked again.
    """

    __slots__ = ("adjoint", "mask")

    def __init__(self, adjoint: Any, mask: Any):
        self.adjoint = adjoint
        self.mask = mask


class Buffer:
    """An adjoint that nobody but the sweep holds, and that rules write into: that of a tensor that was assigned to,
    from which each step backwards takes what belongs to the elements assigned. With a mask, like a Branch."""

    __slots__ = ("array", "mask")

    def __init__(self, array: Any, mask: Any = None):
        self.array = array
        self.mask = mask

    def released(self) -> Any:
        """The adjoint for a rule that does not write into it."""
        return self.array if self.mask is None else Branch(self.array, self.mask)


MOST_PARTS = 64
"""So many contributions to parts of one value are kept before they are put together."""


class _Sum:
    """The adjoints that have reached one value so far, where they are of several kinds."""

    __slots__ = ("dense", "is_buffer", "mask", "parts")

    def __init__(self, first: Any):
        self.dense: Any = None
        self.mask: Any = None
        self.is_buffer = False
        self.parts: list[Part] = []
        self.add(first)

    def add(self, adjoint: Any) -> None:
        if isinstance(adjoint, Part):
            if adjoint is not ZERO:
                self.parts.append(adjoint)
            return
        mask, is_buffer = None, type(adjoint) is Buffer
        if is_buffer:
            adjoint, mask = adjoint.array, adjoint.mask
        elif type(adjoint) is Branch:
            adjoint, mask = adjoint.adjoint, adjoint.mask
        if self.dense is None:
            self.dense, self.mask, self.is_buffer = adjoint, mask, is_buffer
            return
        self.mask = None if mask is None or self.mask is None else _plus(self.mask, mask)
        if self.is_buffer:
            self.dense += adjoint
        else:
            self.dense = _plus(self.dense, adjoint)

    def add_parts(self, value: Any) -> None:
        """Put the parts so far together."""
        kinds: dict[Any, None] = dict.fromkeys(map(type, self.parts))
        for kind in kinds:
            parts = [part for part in self.parts if type(part) is kind]
            if self.is_buffer:
                self.mask = kind.add_to(self.dense, self.mask, parts, value)
                continue
            total = kind.total(parts, value)
            self.add(as_arrays(total) if type(self.dense) is ndarray else total)
        self.parts = []

    def fold(self, value: Any) -> None:
        """Put them together in a buffer, where adjoints are arrays, and the value is a leaf: of another one, all parts
        together make up a mask. Not if they are of half precision, which they are summed in more than."""
        if value.op is not None or not all(part.folds for part in self.parts) or value.dtype == np.float16:
            return
        self.add_parts(value)
        self.dense = as_arrays(self.dense)
        self.is_buffer = True

    def total(self, value: Any) -> Any:
        self.add_parts(value)
        if self.is_buffer:
            return Buffer(self.dense, self.mask)
        if self.dense is None:
            return ZERO
        return self.dense if self.mask is None else Branch(self.dense, self.mask)


def _plus(a: Any, b: Any) -> Any:
    """The sum of two adjoints; of tuples by member, of which some may be None."""
    if a is None or b is None:
        return b if a is None else a
    if type(a) is tuple:
        return tuple([_plus(x, y) for x, y in zip(a, b, strict=True)])
    return as_array(a + b)


def add_up(a: Any, b: Any) -> Any:
    """The sum of two adjoints of one value, None for zero, each of which may be a Branch."""
    if a is None or b is None:
        return b if a is None else a
    both = _Sum(a)
    both.add(b)
    return both.total(None)


def add_adjoint(adjoints: dict[Value, Any], value: Value, adjoint: Any) -> Any:
    there = adjoints.get(value)
    if there is None:
        adjoints[value] = adjoint
    else:
        if type(there) is not _Sum:
            there = adjoints[value] = _Sum(there)
        there.add(adjoint)
    return there


def total_adjoint(adjoint: Any, value: Value) -> Any:
    """A complete adjoint as what a rule takes: all parts put together. ZERO stays what it is, for no rule is needed to
    know what becomes of it."""
    if type(adjoint) is _Sum:
        return adjoint.total(value)
    return adjoint.total([adjoint], value) if isinstance(adjoint, Part) and adjoint is not ZERO else adjoint


def whole_adjoint(adjoint: Any, value: Value) -> Any:
    """A complete adjoint as nothing but its elements."""
    total = total_adjoint(adjoint, value)
    return ZERO.total([], value) if total is ZERO else unmasked(total)


def as_arrays(adjoint: Any) -> Any:
    """An adjoint without the Tensors around its arrays."""
    if isinstance(adjoint, Tensor):
        return adjoint._array
    if type(adjoint) is Branch:
        return Branch(as_arrays(adjoint.adjoint), as_arrays(adjoint.mask))
    return tuple([as_arrays(a) for a in adjoint]) if type(adjoint) is tuple else adjoint


def _as_tensors(adjoint: Any) -> Any:
    """An adjoint with Tensors around its arrays."""
    if type(adjoint) is ndarray:
        return constant(adjoint)
    if type(adjoint) is Branch:
        return Branch(_as_tensors(adjoint.adjoint), _as_tensors(adjoint.mask))
    return tuple([_as_tensors(a) for a in adjoint]) if type(adjoint) is tuple else adjoint


def branch_of(adjoint: Any, mask: Any, value: Value) -> Any:
    """For `array_gradient`: the adjoint of a value that was chosen where the mask holds, masked already. The mask only
    goes along if the op that made the value passes it on."""
    op = value.op
    return Branch(adjoint, mask) if op is not None and op.carries_mask else adjoint


def unmasked(adjoint: Any) -> Any:
    if type(adjoint) is Buffer:
        return adjoint.array
    return adjoint.adjoint if type(adjoint) is Branch else adjoint


def apply_rule(op: Op, adjoint: Any, node: Any, asked: set[Value]) -> tuple[Any, ...]:
    """The op's `gradient`, on Tensors: one adjoint an input, in its shape and dtype."""
    was_asked = _asked.set(asked)
    try:
        if watching.active:
            return watched_rule("rule_ends", op, node, adjoint, lambda: _apply_rule(op, adjoint, node))
        return _apply_rule(op, adjoint, node)
    finally:
        _asked.reset(was_asked)


def watched_rule(ends: str, op: Op, node: Any, given: Any, rule: Callable[[], Any]) -> Any:
    """What an op's rule returns, and those who watch are told."""
    watching.tell("rule_begins", op, node, given)
    returned, started = None, perf_counter()
    try:
        returned = rule()
    finally:
        watching.tell(ends, op, node, returned, perf_counter() - started)
    return returned


def _apply_rule(op: Op, adjoint: Any, node: Any) -> tuple[Any, ...]:
    inputs = node.inputs
    mask = _mask_of(adjoint) if op.carries_mask else None
    left_in = op.mixes and mask is not None and type(node) is Tensor and is_recording() is False and watching.captures()
    left_in = left_in and is_finite(node._array)
    if left_in:
        mask = None
    if type(adjoint) is not tuple:
        adjoint = unmasked(adjoint)
    elif not op.takes_branches:
        adjoint = tuple(map(unmasked, adjoint))
    if mask is None:
        returned = op.gradient(adjoint, node)
        if type(returned) is not tuple or len(returned) != len(inputs):
            returned = _one_each(op, returned, inputs)
        if left_in:
            watching.tell("left_in", node, [g for g in returned if isinstance(g, Tensor)])
    else:
        with np.errstate(all="ignore"):  # about elements that are not used
            masks = _one_each(op, op.masks(mask, node), inputs)
            seen = _without_the_rest(op, node, masks) if op.mixes else node
            returned = _one_each(op, op.gradient(adjoint, seen), inputs)
            keeps = op.elementwise or op.moves  # a mask, which is no less of one then
            pairs = zip(returned, masks, strict=True)
            returned = tuple([_masked_again(g, m, op.moves) if keeps or not _holds(m) else g for g, m in pairs])
    return tuple([None if g is None else _fit(g, a, op, node) for a, g in zip(inputs, returned, strict=True)])


def _mask_of(adjoint: Any) -> Any:
    """Where an adjoint may differ from 0, None if that is not known; of a tuple, of those members that there are."""
    if type(adjoint) is not tuple:
        return adjoint.mask if type(adjoint) is Branch else None
    members = [g for g in adjoint if g is not None]
    return tuple([g.mask for g in members]) if members and all(type(g) is Branch for g in members) else None


def _holds(mask: Any) -> bool:
    """Whether a mask is known to hold everywhere."""
    return type(mask) is Tensor and not watching.captures() and bool(mask._array.all())


def _without_the_rest(op: Op, node: Any, masks: tuple[Any, ...]) -> Any:
    """The node with zeros for what does not count of its inputs."""
    asked = _asked.get()
    inputs = []
    for a, mask in zip(node.inputs, masks, strict=True):
        chosen = a if _holds(mask) else a.masked(_unbroadcast(mask.astype(np.float32), a.shape) > 0)
        inputs.append(chosen)
        if asked is not None and a in asked:
            asked.add(chosen)
    return applied(op, tuple(inputs), node)


def is_finite(a: Any) -> bool:
    """Whether all elements are; the sum of their squares tells in a fraction of the time, mostly."""
    flat = a.reshape(-1)
    if flat.dtype.kind not in "fc":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return isfinite(abs(flat.dot(flat))) or bool(np.isfinite(flat).all())


def _masked_again(adjoint: Any, mask: Any, is_zero: bool) -> Any:
    """The adjoint that a rule gave, where the mask holds; `is_zero`: it is 0 elsewhere."""
    if isinstance(adjoint, Part):
        return adjoint if adjoint is ZERO else type(adjoint)(adjoint.index, Branch(adjoint.adjoint, mask.adjoint))
    if type(adjoint) is Branch:
        mask = adjoint.mask & mask
        return Branch(adjoint.adjoint.masked(mask), mask)
    if not isinstance(adjoint, Tensor) or adjoint.shape != mask.shape:
        return adjoint
    return Branch(adjoint if is_zero else adjoint.masked(mask), mask)


def pass_zero(adjoints: dict[Any, Any], inputs: Iterable[Any], asked: set[Any]) -> None:
    """What ZERO becomes, whatever the rule: zero, and nothing that it is multiplied with matters."""
    for a in inputs:
        if a in asked:
            adjoints.setdefault(a, ZERO)


def sweep_recorded(
    adjoints: dict[Value, Any], variables: Sequence[Tensor], record: bool | None = True, inner: bool = False
) -> list[tuple[Tensor, Any]]:
    """The adjoints of these variables as Tensors that can be differentiated again; see `sweep`. The outputs' may be
    wrapped; `record=None` then leaves it to what is around them to follow the computation. `inner`: it is a part of
    another sweep, and goes not beyond the variables, whose adjoints it leaves as they are (a Branch, ZERO)."""
    complete = total_adjoint if inner else whole_adjoint
    order, _ = sort_inner(list(adjoints), variables if inner else ())
    kept: set[Value] = set(variables)
    asked = on_paths_to(kept, order)
    found = []
    was_recording = _recording.set(record)
    if watching.active:
        watching.tell("sweep_begins", adjoints, record is True)
    try:
        for node in reversed(order):
            adjoint = total_adjoint(adjoints.pop(node, None), node)
            if adjoint is None:
                continue
            if watching.active:
                watching.tell("reached", node, whole_adjoint(adjoint, node))
            if node in kept:
                found.append((node, complete(adjoint, node)))
            if adjoint is ZERO:
                pass_zero(adjoints, node.inputs, asked)
                continue
            seen = node_as_recorded(node, asked)
            for a, g in zip(node.inputs, apply_rule(seen.op, adjoint, seen, asked), strict=True):
                if g is not None and a in asked:
                    add_adjoint(adjoints, a, g)
        leaves = [(a, complete(adjoint, a)) for a, adjoint in adjoints.items() if a in kept]
        if watching.active:
            for a, adjoint in leaves:
                watching.tell("reached", a, whole_adjoint(adjoint, a))
            watching.tell("sweep_ends")
    finally:
        _recording.reset(was_recording)
    return found + leaves


def _sweep_in_view(adjoints: dict[Value, Any], variables: set[Value] | None) -> list[tuple[Any, Any]]:
    """`sweep`, with Tensors for those who watch what the rules do."""
    if variables is None:
        _, reached = sort_inner(list(adjoints))
        variables = {a for a in reached if a.op is None or a._grad is not None}
    kept: list[Any] = list(variables)
    found = sweep_recorded({a: _as_tensors(g) for a, g in adjoints.items()}, kept, record=False)
    return [(a, as_arrays(g)) for a, g in found]


def sweep(
    adjoints: dict[Value, Any], variables: set[Value] | None = None, order: Sequence[Any] | None = None
) -> list[tuple[Any, Any]]:
    """The adjoints of these variables (None: of all leaves, and of tensors that retain theirs), as far as there are.
    `order`: the nodes, if they are sorted already.

    Starts from the outputs' `adjoints` and walks the sorted graph backwards; each node's adjoint is complete when it is
    reached, is handed to the node's rule, and is freed; those of the leaves are left. `sweep_recorded` above does the
    same in the fewest words. Here nothing is recorded, so adjoints are plain arrays, an op that has an `array_gradient`
    computes with them, and the loop is written flat, for speed.
    """
    watchers = watching.here() if watching.active else ()
    if any(watcher.inside for watcher in watchers):
        return _sweep_in_view(adjoints, variables)
    if order is not None and variables is not None:
        asked = on_paths_to(variables, order)
    else:
        order, asked = sort_inner(list(adjoints))
        if variables is not None and len(asked.intersection(variables)) < len(asked) - len(order):  # other leaves, too
            asked = on_paths_to(variables, order)
    found = []
    summed: set[Value] = set()  # values whose adjoint is a sum that nothing else holds: it is added to in place
    for node in reversed(order):
        adjoint = adjoints.pop(node, None)
        array = adjoint
        if type(adjoint) is not ndarray:
            if adjoint is None:
                continue
            if type(adjoint) is not Branch:
                adjoint = as_arrays(total_adjoint(adjoint, node))
            if adjoint is ZERO:
                if node._grad is not None if variables is None else node in variables:
                    found.append((node, as_arrays(whole_adjoint(ZERO, node))))
                pass_zero(adjoints, node.inputs, asked)
                continue
            if type(adjoint) is Buffer and not node.op.takes_buffer:
                adjoint = adjoint.released()
            array = adjoint.adjoint if type(adjoint) is Branch and not node.op.takes_branch else adjoint
        if node._grad is not None if variables is None else node in variables:
            whole = unmasked(adjoint)
            found.append((node, whole.copy() if type(adjoint) is Buffer else whole))
        op, inputs = node.op, node.inputs
        if handed_out:
            node = node_as_recorded(node, asked)
        returned = None
        if array is adjoint or not op.carries_mask:
            if watchers:
                rule = partial(op.array_gradient, array, node, asked)
                returned = watched_rule("rule_ends", op, node, array, rule)
            else:
                returned = op.array_gradient(array, node, asked)
        if returned is None:
            if _assigned and node.saved is not None and _is_stale(node):
                node = node_as_recorded(node, asked)
            returned = _apply_rule_to_arrays(op, adjoint, node, asked)
        elif type(returned) is not tuple or len(returned) != len(inputs):
            returned = _one_each(op, returned, inputs)
        for a, g in zip(inputs, returned):  # noqa: B905 - of equal length by now
            if g is None:
                continue
            need = a._array
            if type(g) is not ndarray or g.shape != need.shape or g.dtype is not need.dtype:
                g = fitted(g, a, op, node)
                if g is None:
                    continue
            if a not in adjoints:
                adjoints[a] = g
                continue
            there = adjoints[a]
            if type(g) is not ndarray or type(there) is not ndarray:
                total = add_adjoint(adjoints, a, g)
                if len(total.parts) == MOST_PARTS:
                    total.fold(a)
            elif a in summed:
                np.add(there, g, there)
            else:
                summed.add(a)
                adjoints[a] = as_array(there + g)
    while adjoints:
        leaf, adjoint = adjoints.popitem()
        if leaf in asked if variables is None else leaf in variables:
            found.append((leaf, adjoint if type(adjoint) is ndarray else as_arrays(whole_adjoint(adjoint, leaf))))
    return found


def _apply_rule_to_arrays(op: Op, adjoint: Any, node: Any, asked: set[Value]) -> list[Any]:
    """The op's `gradient`, unrecorded, for the inputs that are asked for."""
    was_recording = _recording.set(False)
    try:
        returned = apply_rule(op, _as_tensors(adjoint), node, asked)
    finally:
        _recording.reset(was_recording)
    return [as_arrays(g) if a in asked else None for a, g in zip(node.inputs, returned, strict=True)]


def fitted(adjoint: Any, value: Value, op: Op, node: Any) -> Any:
    """An adjoint that is no array of the value's shape and dtype, brought there unless it is of another kind."""
    if isinstance(adjoint, (Part, Buffer)):
        return adjoint
    if type(adjoint) is not Branch:
        adjoint = as_array(adjoint)
    array, need = unmasked(adjoint), value._array
    fits = type(array) is ndarray and array.shape == need.shape and array.dtype is need.dtype
    return adjoint if fits else as_arrays(_fit(_as_tensors(adjoint), value, op, node))


def on_paths_to(variables: set[Value], order: Sequence[Any]) -> set[Value]:
    """The variables, and the sorted nodes that were computed from any of them."""
    asked = set(variables)
    for node in order:
        if not asked.isdisjoint(node.inputs):
            asked.add(node)
    return asked


def _is_stale(node: Any) -> bool:
    """Whether an input was assigned to after this node was computed from it."""
    return any(a._array is not array for a, array in zip(node.inputs, node.saved, strict=True))


_assigned: dict[int, weakref.ref[Tensor]] = {}
"""The live tensors that were assigned to: while there are none, no sweep needs to look for changed inputs."""


class Identity(TensorOp):
    """The same value under another record: what a tensor held before it was assigned to or written into."""

    saves = ()
    view = elementwise = True

    def compute(self, a: Any) -> Any:
        return a

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return (out_grad,)  # which may be a tuple itself

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return tangents[0]

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*values)


IDENTITY = Identity()


def twin_of(value: Any, array: Any, inputs: tuple[Value, ...] | None = None) -> Any:
    """Another value with the same record (or other inputs), and this array."""
    twin = _new(type(value))
    twin._array = array
    twin._grad = None
    twin.op = value.op
    twin.inputs = value.inputs if inputs is None else inputs
    twin.saved = value.saved
    twin.needs = value.needs
    return twin


def alias_of(value: Any, array: Any) -> Any:
    """A value computed from this one by doing nothing, with this array."""
    alias = twin_of(value, array, (value,))
    alias.op, alias.saved = IDENTITY, None
    return alias


def renamed(value: Any) -> Any:
    """The same value as another object, for a function that might assign to it."""
    if watching.active and not isinstance(value, Wrapped):
        watching.tell("seen", value)
    return IDENTITY(value) if isinstance(value, Wrapped) else alias_of(value, value._array)


def as_seen(value: Any, array: Any) -> Any:
    """The value as an operation saw it that kept this array of it (None: it is wrapped, or was not read)."""
    value = original_of(value)
    if array is None or not (_assigned or handed_out):
        return value
    kept = as_recorded(array)
    if kept is value._array:
        return value
    return alias_of(value, kept)


def node_as_recorded(node: Any, asked: set[Value]) -> Any:
    """The node as its operation saw it, where an input or itself was assigned to or written into since then; its inputs
    are then asked for as the real ones are."""
    if not (_assigned or handed_out):
        return node
    kept: Any = node.saved or ()
    output = node._array
    if handed_out:
        kept, output = [as_recorded(array) for array in kept], as_recorded(output)
    if output is node._array and all(a._array is array for a, array in zip(node.inputs, kept, strict=False)):
        return node  # (an op that does not read its inputs keeps none of their arrays)
    inputs = list(node.inputs)
    for i, array in enumerate(kept):
        a = inputs[i]
        if a._array is not array:
            inputs[i] = alias = alias_of(a, array)
            if a in asked:
                asked.add(alias)
    twin = twin_of(node, output, tuple(inputs))
    twin.saved = tuple(kept) if kept else None
    return twin


# ----------------------------------------------------------------------------- gradients, and gradients of gradients


def compute_gradient_of_variables(output_tensor: Tensor, out_grad: Any = None, accumulate: bool = False) -> None:
    """Set `.grad` of the variables that `output_tensor` was computed from; see `Tensor.backward`."""
    output_tensor = latest(output_tensor)
    if output_tensor.needs <= DETACHED:
        why = "it was detached" if output_tensor.needs == DETACHED else "nothing that it was computed from does"
        raise ValueError(
            f"backward(): this Tensor of shape {output_tensor.shape} needs no gradient, because {why} (or it was "
            "computed under no_grad()); make the inputs with requires_grad=True, or set t.requires_grad = True"
        )
    seed = ones_like(output_tensor._array) if out_grad is None else _seed(output_tensor, out_grad)._array
    past = _Past(output_tensor, out_grad, seed)
    pasts = (past,)
    was_recording, was_asked = is_recording(), _get_asked()
    try:
        found = sweep({output_tensor: seed})
    except BaseException:  # Ctrl-C may come between the two resets of what a rule had set
        _recording.set(was_recording)
        _asked.set(was_asked)
        raise
    while found:
        variable, adjoint = found.pop()
        captured = bool(watching.active) and watching.captures()  # what is done here is then seen, as operations
        if adjoint.dtype.kind == "c":
            adjoint = constant(adjoint).conj()._array if captured else as_array(adjoint.conj())
        array, old = own(adjoint), variable._grad
        if accumulate and watching.active:
            watching.tell("gradient_read", variable)
        if accumulate and type(old) is _Gradient:
            total = (constant(old.array) + constant(array))._array if captured else as_array(old.array + array)
            variable._grad = _Gradient(total, (*filter(_Past.is_alive, old.pasts), *pasts))
            variable._grad.incomplete = old.incomplete or not all(map(_Past.is_alive, old.pasts))
        else:
            variable._grad = _Gradient(array, pasts)
        if watching.active:
            watching.tell("changed", variable, "grad")


def _seed(output: Tensor, out_grad: Any) -> Tensor:
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


_ones: dict[Any, Any] = {}
"""dtype -> the 0-d 1 of it, from which nearly every sweep starts; read-only."""


def ones_like(array: Any) -> Any:
    """The adjoint of an output by itself."""
    dtype = gradient_dtype(array.dtype)
    if array.ndim:
        return np.ones(array.shape, dtype)
    one = _ones.get(dtype)
    if one is None:
        one = _ones[dtype] = np.ones((), dtype)
        one.flags.writeable = False
    return one


def own(adjoint: Any) -> Any:
    """The adjoint, copied if anything else holds it: a gradient may be written to without harm elsewhere."""
    return adjoint if owns_memory(adjoint) and getrefcount(adjoint) <= _ALONE else _copy(adjoint)


def _references_when_alone(count: Callable[[Any], int]) -> int:
    array = np.empty(0)
    return count(array)


# The caller's variable, the parameter, and getrefcount's own: 3, or what an interpreter has that counts fewer.
_ALONE = min(3, _references_when_alone(lambda array: getrefcount(array)))  # noqa: PLW0108 - it stands for own


class _Retain:
    """Stands in `_grad` of an inner tensor whose gradient is to be kept."""


_RETAIN = _Retain()


class _Past:
    """One call of `backward()`: what it takes to run it again with recording on. It keeps no output alive."""

    __slots__ = ("_origin", "_out_grad", "_output", "_seed", "_views")

    def __init__(self, output: Tensor, out_grad: Any, seed: Any):
        self._output = weakref.ref(output)
        # A gradient that was differentiated (`x.grad.backward()`) can be read again from the tensor it belongs to.
        self._origin = output.op.origin() if isinstance(output.op, GradientOf) else None
        self._out_grad, self._seed = None, None
        if out_grad is not None:
            self._seed = seed
            if isinstance(out_grad, Tensor) and out_grad.needs:
                self._out_grad = weakref.ref(out_grad)
        self._views: list[weakref.ref[Tensor]] = []

    def add_view(self, view: weakref.ref[Tensor]) -> None:
        """A Tensor was made of a gradient from this call."""
        if len(self._views) >= 64 and len(self._views) & (len(self._views) - 1) == 0:  # now and then, drop dead ones
            self._views = [ref for ref in self._views if ref() is not None]
        self._views.append(view)

    def views(self) -> list[Tensor]:
        return [view for ref in self._views if (view := ref()) is not None]

    def is_alive(self) -> bool:
        return self._output() is not None or (self._origin is not None and self._origin[0]() is not None)

    def source(self) -> tuple[Tensor, Tensor | None] | None:
        """The output and its adjoint; None if they no longer exist."""
        output = original_of(self._output())
        if output is None and self._origin is not None:
            variable, gradient = self._origin[0](), self._origin[1]
            output = None if variable is None else gradient.tensor(variable)
        if output is None or self._seed is None:
            return None if output is None else (output, None)
        out_grad = None if self._out_grad is None else self._out_grad()
        if out_grad is None:
            return output, constant(as_recorded(self._seed))
        # Its value then, which may be in another dtype, with its history, for it can be differentiated by, too.
        seed = constant(as_recorded(self._seed))
        seed.op, seed.inputs, seed.needs = IDENTITY, (out_grad,), RECORDED
        return output, seed


class _Gradient:
    """What `backward()` leaves in a tensor's `_grad`: the value, and the calls that made it.

    It must not hold the output, which holds the graph, which holds the tensor: such a cycle would outlive its last
    use. So it knows its past by weak references only, and `tensor()` makes a Tensor, which does hold the output, each
    time that the gradient is read.
    """

    __slots__ = ("_view", "array", "incomplete", "pasts")

    def __init__(self, array: Any, pasts: tuple[_Past, ...]):
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
            self.pasts[-1].add_view(self._view)
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

    def __init__(self, variable: Tensor, gradient: _Gradient):
        self.variable = variable
        self._gradient = self._held = gradient
        self._sources = tuple(map(_Past.source, gradient.pasts))  # which keeps the outputs alive

    def __repr__(self) -> str:
        return "gradient"

    def became(self, array: Any) -> None:
        """The tensor was assigned to (`x.grad[0] = 0`), and so was the variable's gradient: it is this value now,
        without a history, unless it has become another one since."""
        variable = original_of(self.variable)
        if variable._grad is self._held:
            self._held = variable._grad = _Gradient(array, ())
            if watching.active:
                watching.tell("changed", variable, "grad")

    def origin(self) -> tuple[weakref.ref[Tensor], _Gradient]:
        return weakref.ref(self.variable), self._gradient

    def compute(self, recorded: Any, *leaves: Any) -> Any:
        return recorded

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad, *[ZERO for _ in node.inputs[1:]]

    def replay(self) -> tuple[Value, ...]:
        """The inputs of this gradient's node; those of gradients from the same sweep are found on the way."""
        pasts = self._gradient.pasts
        nodes: list[Any] = pasts[-1].views()
        nodes = [v for v in nodes if type(v.op) is GradientOf and not v.inputs and v.op._gradient.pasts == pasts]
        variables = [original_of(v.op.variable) for v in nodes]
        totals: dict[Value, Any] = {}
        leaves: dict[Value, None] = {}
        for source in (*self._sources, *((None,) if self._gradient.incomplete else ())):
            if source is None:
                raise ValueError(
                    f"backward(): cannot differentiate through the .grad of a Tensor of shape {self.variable.shape}: "
                    "the output that it came from is gone. Keep that output (the loss) in a variable until .grad has "
                    "been read, or write x.grad.detach() where only the value is meant"
                )
            output, out_grad = source
            seed = _seed(output, out_grad)
            for variable, adjoint in sweep_recorded({output: seed}, variables):
                add_adjoint(totals, variable, adjoint)
            leaves.update((v, None) for v in find_topo_sort([output, seed]) if v.op is None and v.needs)
        inputs = {}
        with enable_grad():
            for view, variable in zip(nodes, variables, strict=True):
                adjoint = whole_adjoint(totals[variable], variable)
                if adjoint.dtype.kind == "c":
                    adjoint = adjoint.conj()
                inputs[id(view.op)] = view.inputs = (adjoint, *leaves)
        return inputs[id(self)]
