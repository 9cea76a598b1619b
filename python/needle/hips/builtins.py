"""Python's containers, which hold Tensors as they hold all else; and what values are, whoever follows them."""

from __future__ import annotations

import builtins
from builtins import dict as dict
from builtins import list as list
from builtins import tuple as tuple
from typing import Any

from ..autograd import Tensor
from ..nested import flatten
from .boxes import Boxes, getval, isbox


def _hold_a_box(kind: Any) -> Any:
    return staticmethod(lambda value: builtins.isinstance(value, kind) and any(map(isbox, flatten(value)[0])))


class DictBox(metaclass=Boxes):
    """The class of dicts that hold what somebody differentiates by, for `isinstance`."""

    has = _hold_a_box(dict)


class SequenceBox(metaclass=Boxes):
    """The same of lists and tuples."""

    has = _hold_a_box((list, tuple))


def isinstance(value: Any, cls: Any) -> bool:
    """Whether the value is of the class, or is a Tensor whose array or number is."""
    if builtins.isinstance(value, cls):
        return True
    return builtins.isinstance(value, Tensor) and builtins.isinstance(getval(value), cls)


def type(value: Any) -> Any:
    """The class of a value; of a Tensor, that of its array, or float for a number."""
    if not builtins.isinstance(value, Tensor):
        return builtins.type(value)
    return builtins.type(getval(value) if value.ndim else value.item())
