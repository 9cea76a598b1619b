"""The engine: values that remember the operation that made them, and the sweep that differentiates them.

Read it in this order: `op.py` (what an operation is), `sweep.py` (the backward pass), `higher_order.py` (`backward()`,
and gradients of gradients), `adjoints.py` (what adjoints may be besides arrays). Below them lie `modes.py`, `value.py`
and `tensor.py`; the first line of each other file says what it is for. Every public name of these files is offered
here.
"""

from __future__ import annotations

import gc
import sys
from types import ModuleType

from .. import watching
from ..backend import is_finite as is_finite
from . import modes as modes
from .adjoints import *
from .errors import *
from .higher_order import *
from .history import *
from .lazy import *
from .levels import *
from .modes import *
from .op import *
from .sweep import *
from .tensor import *
from .value import *
from .versions import *


class _Engine(ModuleType):
    """This module, two of whose names are not kept here."""

    @property
    def LAZY_MODE(self) -> bool:
        """True: values are computed when first asked for."""
        return modes.LAZY_MODE

    @LAZY_MODE.setter
    def LAZY_MODE(self, on: bool) -> None:
        watching.count(bool(on) - modes.LAZY_MODE)
        modes.LAZY_MODE = bool(on)

    @property
    def TENSOR_COUNTER(self) -> int:
        """The number of live tensors: counted when asked for, so that no operation pays for it."""
        return sum(issubclass(type(thing), Value) for thing in gc.get_objects())


sys.modules[__name__].__class__ = _Engine
TENSOR_COUNTER: int
