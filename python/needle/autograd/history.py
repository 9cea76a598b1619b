"""What a value was when an operation saw it: the tensor may have been assigned to, or its array written into, since."""

from __future__ import annotations

import weakref
from operator import is_
from typing import Any

from .. import watching
from ..memory import as_recorded, handed_out
from . import lazy
from .levels import Wrapped, WrappedTuple
from .modes import CONSTANT
from .op import Op, TensorOp
from .tensor import Tensor, array_to_keep
from .versions import original_of

_new = object.__new__
_set: dict[int, weakref.ref[Tensor]] = {}
"""The live tensors whose `data` was set: while there are none, no sweep needs to look for changed inputs."""


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


def twin_of(value: Any, array: Any, inputs: tuple[Any, ...] | None = None) -> Any:
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
    if isinstance(value, Wrapped):
        return IDENTITY(value)
    watching.tell("seen", value)
    return alias_of(value, value._array)


def applied(op: Op, inputs: tuple[Any, ...], output: Any) -> Any:
    """The output of op(*inputs) as a Tensor with that op and these inputs, also where it was not recorded."""
    if output.needs and output.op is op and all(map(is_, output.inputs, inputs)):
        return output
    if isinstance(output, (Wrapped, WrappedTuple)):
        output.op, output.inputs = op, inputs
        return output
    node = twin_of(output, output._array, inputs)
    node.op, node.needs = op, CONSTANT
    return node


def as_seen(value: Any, array: Any) -> Any:
    """The value as an operation saw it that kept this array of it (None: it is wrapped, or was not read)."""
    value = original_of(value)
    if array is None or not (_set or handed_out):
        return value
    kept = as_recorded(array)
    if kept is value._array:
        return value
    return alias_of(value, kept)


def arrays_as_recorded(node: Any) -> tuple[tuple[Any, ...], Any]:
    """The arrays of a node's inputs and of its output, as its operation saw them; the inputs themselves, for their
    shapes, if the rule does not read them."""
    return (node.saved and tuple(map(as_recorded, node.saved))) or node.inputs, as_recorded(node._array)


def node_as_recorded(node: Any) -> Any:
    """The node as its operation saw it: another one, if an input or the output was set or written into since then."""
    if not (_set or handed_out):
        return node
    kept, output = node.saved or (), node._array
    if handed_out:
        kept, output = [as_recorded(array) for array in kept], as_recorded(output)
    if output is node._array and all(a._array is array for a, array in zip(node.inputs, kept, strict=False)):
        return node  # (an op that does not read its inputs keeps none of their arrays)
    inputs = list(node.inputs)
    for i, array in enumerate(kept):
        if inputs[i]._array is not array:
            inputs[i] = alias_of(inputs[i], array)
    twin = twin_of(node, output, tuple(inputs))
    twin.saved = tuple(kept) if kept else None
    return twin


# ------------------------------------------------------------------------------------------------- setting the value


def set_value(tensor: Any, array: Any) -> None:
    """Let a tensor have this very array, of its shape and dtype, as its value from now on."""
    if lazy.deferred:
        lazy.compute_all_deferred()
    key = id(tensor)
    if key not in _set:
        _set[key] = weakref.ref(tensor, lambda _: _set.pop(key, None))
    if tensor.op is not None:  # what was recorded lives on as the input of an assignment
        if hasattr(tensor.op, "became"):  # a gradient that was read, and that its variable holds
            tensor.op.became(array)
        tensor.inputs = (twin_of(tensor, tensor._array),)
        tensor.op, tensor.saved = IDENTITY, None
    tensor._array = array
    watching.tell("changed", tensor, "data")


def _data(self: Tensor) -> Tensor:
    """The detached value. Assigning (a Tensor, which is shared, or an array, which is copied) changes the value for
    what is computed from now on; operations recorded before keep the old one. TypeError for a Tensor that a transform
    differentiates: its derivative would be lost."""
    return self.detach()


def _set_data(self: Tensor, value: Any) -> None:
    if isinstance(value, Tensor):
        watching.tell("seen", value)
    array = array_to_keep(value, "Tensor.data")
    old = self._array
    if array.shape != old.shape or array.dtype != old.dtype:
        raise ValueError(
            f"Tensor.data: the new value must have shape {old.shape} and dtype {old.dtype}, got {array.shape} and "
            f"{array.dtype}; make a new Tensor for another shape, or write value.astype({str(old.dtype)!r})"
        )
    set_value(self, array)


setattr(Tensor, "data", property(_data, _set_data))  # noqa: B010 - declared in declarations.pyi
