"""Tensors: the values that programs are written in."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from .. import closures, watching
from ..backend import Device, array_of_numbers, default_device
from ..blocks import calls
from ..copies import linked
from ..memory import hand_out
from ..views import note_view
from .errors import GradientLostError
from .lazy import compute_deferred
from .modes import CONSTANT, DETACHED, FOLLOWED, RECORDED, VARIABLE, is_recording, recording_mode
from .value import Value
from .versions import latest

if TYPE_CHECKING:
    from .declarations import DeclaredTensor, DeclaredTuple
else:
    DeclaredTensor = DeclaredTuple = Value

_new = object.__new__


class Tensor(DeclaredTensor):
    """An n-dimensional array that records how it was computed, for `backward()`.

    `Tensor(array)` copies, and keeps NumPy's dtype unless `dtype` is given. `requires_grad` is True for numbers unless
    told otherwise (booleans have no gradient). `Tensor(t)` of a Tensor is a leaf with a copy of its value. Raises
    TypeError for what is no number, and for a Tensor that a transform differentiates, ValueError for ragged lists.
    """

    __slots__ = ()
    __hash__ = object.__hash__  # == compares elementwise; tensors are hashed by identity

    def __init__(
        self, array: Any, *, device: Device | None = None, dtype: Any = None, requires_grad: bool | None = None
    ):
        tensor = None
        if isinstance(array, Tensor):
            tensor = latest(array)
            array = array_to_keep(tensor, "Tensor(t)")
        if device is not None and device not in (default_device(),):
            raise ValueError(f"Tensor: device {device!r} is not on this machine; needle.all_devices() lists them")
        self._array = array_of_numbers("Tensor", array, dtype)
        kind = self._array.dtype.kind
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
        tensor = constant(hand_out(array_of_numbers("Tensor.make_const", array, copy=False)))
        tensor.needs = RECORDED if requires_grad else CONSTANT
        return tensor

    # The value -----------------------------------------------------------------------------------------------

    shape = property(attrgetter("_array.shape"))
    dtype = property(attrgetter("_array.dtype"))
    ndim = property(attrgetter("_array.ndim"))
    size = property(attrgetter("_array.size"))
    nbytes = property(attrgetter("_array.nbytes"))

    @property
    def device(self) -> Device:
        return default_device()

    @property
    def cached_data(self) -> Any:
        """The live, writable array; see `realize_cached_data`."""
        array = self._array
        watching.tell("read", array, "t.cached_data")
        if not array.flags.writeable:  # a broadcast view: the live array is one that can be written to
            array = self._array = copied(array)
        return hand_out(array)

    @cached_data.setter
    def cached_data(self, array: Any) -> None:
        self.data = array

    def numpy(self) -> Any:
        """A copy of the value as an array."""
        return self._looked_at("t.numpy()").copy()

    def item(self, *index: Any) -> Any:
        """The single element, or the one at this index, as a Python number; ValueError if there is not exactly one."""
        if self._array.size != 1 and not index:
            raise ValueError(f"Tensor.item: needs exactly one element, got shape {self.shape}; index it first")
        return self._looked_at("t.item()").item(*index)

    def tolist(self) -> Any:
        """The value as (nested lists of) Python numbers."""
        return self._looked_at("t.tolist()").tolist()

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
        watching.tell("seen", self)
        if self._array.base is not None and _is_part_of_leaf(self):
            tensor.saved = self  # so that who writes to it finds the leaf
        return tensor

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded. Can be set on a leaf."""
        return self.needs > DETACHED

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not value and (self.op is not None or (self.needs == VARIABLE and calls)):
            origin = "the argument of a transform" if self.op is None else f"the output of a recorded {self.op!r}"
            raise ValueError(
                f"Tensor.requires_grad: this tensor is {origin}; write t.detach() for a tensor without its history"
            )
        if value and self._array.dtype.kind == "b":
            raise ValueError("Tensor.requires_grad: booleans have no gradient; convert with t.astype(float)")
        if self.op is None and not (self.needs == VARIABLE and calls):
            self.needs = RECORDED if value else CONSTANT
            watching.tell("changed", self, "requires_grad")

    # `data` is put here by history.py; `grad`, `retain_grad` and `backward` by higher_order.py.

    if not TYPE_CHECKING:  # a type checker sees that t.nmupy is none

        def __getattr__(self, name: str) -> Any:
            if name == "_array":
                return compute_deferred(self)
            if name != "grad":
                raise AttributeError(f"'Tensor' object has no attribute {name!r}")
            fix = "call t.retain_grad() before backward() to have this one, too"
            if _is_step(self):
                fix = "a step like W = W - lr * W.grad is recorded: take it under needle.no_grad(), or through W.data"
            raise AttributeError(
                f"Tensor.grad: this tensor is not a leaf but the output of {self.op!r}, and backward() keeps gradients "
                f"only on leaves; {fix}"
            )

    # Python's protocols --------------------------------------------------------------------------------------

    def _looked_at(self, what: str) -> Any:
        """The array, of whose elements something is said outside of any op."""
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
        if not self.shape:
            raise TypeError("len(): a 0-d Tensor has no length; t.size is 1")
        return self.shape[0]

    def __bool__(self) -> bool:
        if self._array.size != 1:
            raise ValueError(
                f"bool(): a Tensor of shape {self.shape} has no single truth value; write (t).any() or (t).all() "
                "of t.numpy()"
            )
        return bool(self._looked_at("bool(t)").item())

    def _leaves_the_record(self, what: str, instead: str) -> None:
        if is_recorded(self) and not is_gradient(self) and closures.starts(self, DETACHED):
            raise GradientLostError(closures.gradient_dropped(what, instead))

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
        array_to_keep(self, "pickle")
        gradient = getattr(self._grad, "array", None)
        return _rebuild, (self._looked_at("pickle"), self.needs, gradient)

    def __copy__(self) -> Tensor:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A leaf is copied as a leaf. What was computed is copied by an operation: a leaf would drop its gradient. If
        its leaves are copied with it, it belongs to their copies."""
        computed = self.op is not None and not is_gradient(self)
        if (computed or self.needs == VARIABLE) and is_recording():
            copy = self.astype(self.dtype)
        else:
            gradient = getattr(self._grad, "array", None)
            copy = _rebuild(copied(self._array), self.needs, None if gradient is None else copied(gradient))
        is_leaf = self.op is None and CONSTANT < self.needs < VARIABLE
        return linked(self, copy, memo, is_leaf=is_leaf) if is_leaf or computed else copy


class TensorTuple(DeclaredTuple):
    """Several tensors made by one operation; index it, iterate over it, or take `tuple()` of it."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def _looked_at(self, what: str) -> Any:
        for array in self._array:
            watching.tell("read", array, what)
        return self._array

    @property
    def cached_data(self) -> Any:
        """The live, writable arrays, as a tuple."""
        return tuple(map(hand_out, self._looked_at("t.cached_data")))

    def numpy(self) -> tuple[Any, ...]:
        """A copy of each value, as a tuple of arrays."""
        return tuple(member.copy() for member in self._looked_at("t.numpy()"))

    def detach(self) -> tuple[Tensor, ...]:
        """The detached members."""
        return tuple(member.detach() for member in self)

    def __repr__(self) -> str:
        return f"needle.TensorTuple{tuple(self)!r}"


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


def value_of(a: Tensor, what: str) -> Any:
    """A copy of the value as an array, for a function of this name that looks at it."""
    if type(a) is not Tensor or not watching.active:
        return a.numpy()
    watching.tell("read", a._array, what)
    return a._array.copy()


def as_value(value: Any, op: object = "an operand") -> Any:
    """A Tensor or TensorTuple as it is; an array, number or list of numbers as a constant of its own (a copy)."""
    if isinstance(value, Value):
        return latest(value)
    array = array_of_numbers(op, value)
    if watching.active and type(value) is ndarray:
        watching.tell("copied", value, array)
    return constant(array)


_not_recorded = {True: DETACHED, None: VARIABLE, False: FOLLOWED}
"""By the mode: the highest state of values that nobody records an operation on."""


def is_recorded(*inputs: Any) -> bool:
    """Whether the graph records an operation on these, or a running transform follows it."""
    highest = _not_recorded[recording_mode()]
    return any(isinstance(a, Value) and a.needs > highest for a in inputs)


def array_to_keep(value: Any, what: str) -> Any:
    """The array of a Tensor, or a copy of an array, for a leaf that holds the value alone: a transform that is running
    must not differentiate it."""
    if not isinstance(value, Tensor):
        return array_of_numbers(what, value)
    tensor = latest(value)
    if calls and is_recorded(tensor) and closures.moves(tensor, VARIABLE):
        raise GradientLostError(closures.derivative_dropped(what, tensor.shape))
    array = getattr(tensor, "_array", None)
    return tensor.numpy() if array is None else array


def is_gradient(value: Any) -> bool:
    """Whether it is the `.grad` of a tensor, which can be computed again, recorded, when somebody differentiates it."""
    return hasattr(value.op, "replay")


def _is_step(value: Any) -> bool:
    """Whether it is a sum or difference into which a gradient goes."""
    reached = value.inputs if repr(value.op) in ("EWiseAdd", "EWiseSub") else ()
    for _ in range(4):
        if any(map(is_gradient, reached)):
            return True
        reached = tuple([b for a in reached for b in a.inputs])[:64]
    return False


def gradient_dtype(dtype: Any) -> Any:
    """The dtype of the gradient of a value of this dtype: its own, float64 for integers."""
    return dtype if dtype.kind in "fc" else np.dtype(np.float64)


def _is_part_of_leaf(value: Any) -> bool:
    while value.op is not None and value.op.view:
        value = value.inputs[0]
    return value.op is None


def copied(array: Any) -> Any:
    copy = array.copy(order="K")
    watching.tell("copied", array, copy)
    return copy


def _rebuild(array: Any, needs: int, gradient: Any) -> Tensor:
    tensor = constant(array)
    tensor.needs = needs
    if gradient is not None:
        tensor.grad = constant(gradient)
    return tensor
