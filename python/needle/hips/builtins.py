"""Python's containers, which hold Tensors as they hold all else; and what values are, whoever follows them."""

from __future__ import annotations

import builtins
from builtins import dict as dict
from builtins import list as list
from builtins import tuple as tuple
from typing import Any

from ..autograd import Tensor
from .boxes import getval


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
