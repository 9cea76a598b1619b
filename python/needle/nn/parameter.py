"""What a Module holds: parameters, which are trained; buffers, which are only kept; and parameters to come."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import Device
from ..ops.base import OWN_ARRAY


class _Kept(Tensor):
    """A tensor whose class says what it is to a Module. Copies and pickles keep the class; results of operations are
    plain Tensors."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        return (_again, (type(self), *super().__reduce__()))

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return relabelled(super().__deepcopy__(memo), type(self))

    def __repr__(self) -> str:
        start = f"needle.nn.{type(self).__name__}("
        return f"{start}{np.array2string(self.numpy(), separator=', ', prefix=start)})"


class Parameter(_Kept):
    """A tensor that is trained: as an attribute of a Module, or in a list, tuple or dict there, it is found by name.

    It holds a copy of the array. `requires_grad=False` freezes it: it is still saved, but neither trained nor
    differentiated by.
    """

    __slots__ = ()

    def __init__(self, array: Any, requires_grad: bool = True, device: Device | None = None, dtype: Any = None):
        super().__init__(array, device=device, dtype=dtype, requires_grad=requires_grad)

    @property
    def data(self) -> Tensor:
        """The detached value. Assigning changes it, as for any Tensor; to a row (1, n), like the bias of a Linear, a
        vector (n,) may be assigned."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        if self.shape == (1, *getattr(value, "shape", ())) and len(self.shape) == 2:
            value = value.reshape(self.shape)
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]


class Buffer(_Kept):
    """A tensor that belongs to a Module's state but is not trained, like a running mean. It holds a copy of the array.

    It is saved with the parameters, unless `persistent` is False.
    """

    __slots__ = ()
    persistent = True

    def __init__(self, array: Any, persistent: bool = True, device: Device | None = None, dtype: Any = None):
        super().__init__(array, device=device, dtype=dtype, requires_grad=False)
        if not persistent:
            self.__class__ = PassingBuffer


class PassingBuffer(Buffer):
    """A buffer that is not saved: what `Buffer(array, persistent=False)` makes."""

    __slots__ = ()
    persistent = False


OWN_ARRAY.update((Parameter, Buffer, PassingBuffer))


class Pending:
    """Stands where a Parameter will be whose shape the first input decides, as in `Linear(None, 10)`."""

    def __repr__(self) -> str:
        return "Pending()"


def relabelled(tensor: Any, cls: type[Any]) -> Any:
    """The same object as a Parameter or Buffer, if it is a plain leaf."""
    if type(tensor) is Tensor and tensor.op is None:
        tensor.__class__ = cls
    return tensor


def _again(cls: type[Any], function: Any, args: Any) -> Any:
    """Unpickles."""
    return relabelled(function(*args), cls)
