"""The engine: values that remember the operation that made them, and the sweep that differentiates them.

Read it in this order: `op.py` (what an operation is), `sweep.py` (the backward pass), `higher_order.py` (`backward()`,
and gradients of gradients), `adjoints.py` (what adjoints may be besides arrays). Below lie `modes.py`, `value.py` and
`tensor.py`; what the rest is for, each file says in its first line.
"""

from __future__ import annotations

import gc
import sys
from types import ModuleType

from . import modes as modes
from .adjoints import ZERO as ZERO
from .adjoints import Elements as Elements
from .adjoints import Held as Held
from .adjoints import Masked as Masked
from .adjoints import Member as Member
from .adjoints import Node as Node
from .adjoints import add_adjoint as add_adjoint
from .adjoints import any_along as any_along
from .adjoints import as_arrays as as_arrays
from .adjoints import as_tensors as as_tensors
from .adjoints import between_ones as between_ones
from .adjoints import is_finite as is_finite
from .adjoints import released as released
from .adjoints import total_adjoint as total_adjoint
from .adjoints import unmasked as unmasked
from .adjoints import whole_adjoint as whole_adjoint
from .errors import explain as explain
from .higher_order import Gradient as Gradient
from .higher_order import GradientOf as GradientOf
from .higher_order import Past as Past
from .higher_order import compute_gradient_of_variables as compute_gradient_of_variables
from .higher_order import ones_like as ones_like
from .higher_order import own as own
from .higher_order import seed_of as seed_of
from .history import IDENTITY as IDENTITY
from .history import Identity as Identity
from .history import alias_of as alias_of
from .history import applied as applied
from .history import as_seen as as_seen
from .history import node_as_recorded as node_as_recorded
from .history import renamed as renamed
from .history import set_value as set_value
from .history import twin_of as twin_of
from .lazy import compute_all_deferred as compute_all_deferred
from .lazy import is_computed as is_computed
from .levels import Wrapped as Wrapped
from .levels import WrappedTuple as WrappedTuple
from .levels import is_recorded_inside as is_recorded_inside
from .levels import watched_call as watched_call
from .modes import CONSTANT as CONSTANT
from .modes import DETACHED as DETACHED
from .modes import RECORDED as RECORDED
from .modes import VARIABLE as VARIABLE
from .modes import enable_grad as enable_grad
from .modes import get_asked as get_asked
from .modes import is_grad_enabled as is_grad_enabled
from .modes import is_recording as is_recording
from .modes import no_grad as no_grad
from .modes import reset_asked as reset_asked
from .modes import reset_recording as reset_recording
from .modes import set_asked as set_asked
from .modes import set_recording as set_recording
from .modes import wanted as wanted
from .op import Op as Op
from .op import TensorOp as TensorOp
from .op import TensorTupleOp as TensorTupleOp
from .sweep import apply_rule as apply_rule
from .sweep import find_topo_sort as find_topo_sort
from .sweep import on_paths_to as on_paths_to
from .sweep import sweep as sweep
from .sweep import watched_rule as watched_rule
from .tensor import Tensor as Tensor
from .tensor import TensorTuple as TensorTuple
from .tensor import as_value as as_value
from .tensor import constant as constant
from .tensor import gradient_dtype as gradient_dtype
from .tensor import is_recorded as is_recorded
from .tensor import value_of as value_of
from .value import Axes as Axes
from .value import TensorLike as TensorLike
from .value import Value as Value
from .versions import Assigned as Assigned
from .versions import latest as latest
from .versions import names as names
from .versions import note_view as note_view
from .versions import original_of as original_of
from .versions import settle_node as settle_node
from .versions import shown as shown
from .versions import views as views
from .versions import views_lock as views_lock


class _Engine(ModuleType):
    """This module: what it offers is computed when asked for, or kept in another file."""

    @property
    def LAZY_MODE(self) -> bool:
        """True: values are computed when first asked for."""
        return modes.LAZY_MODE

    @LAZY_MODE.setter
    def LAZY_MODE(self, on: bool) -> None:
        modes.LAZY_MODE = on

    @property
    def TENSOR_COUNTER(self) -> int:
        """The number of live tensors: counted when asked for, so that no operation pays for it."""
        return sum(isinstance(thing, Value) for thing in gc.get_objects())


sys.modules[__name__].__class__ = _Engine
LAZY_MODE: bool
TENSOR_COUNTER: int
