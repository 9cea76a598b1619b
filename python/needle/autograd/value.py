"""A value in the graph: an array, and the operation and inputs that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ..memory import hand_out
from .lazy import compute_deferred

TensorLike: TypeAlias = Any
"""A Tensor, an array, or a Python or NumPy number."""
Axes: TypeAlias = int | tuple[int, ...] | None


class Value:
    """A value in the graph, with the op and the inputs that made it (`op` is None for a leaf)."""

    __slots__ = ("__weakref__", "_array", "_grad", "inputs", "needs", "op", "saved")

    op: Any
    inputs: tuple[Any, ...]
    saved: Any
    """The inputs' arrays as `compute` saw them, where the gradient reads them."""
    needs: int
    """What it is to the sweep: CONSTANT, DETACHED, RECORDED or VARIABLE (modes.py)."""
    _array: Any
    _grad: Any

    @property
    def output(self) -> Any:
        """The value itself: what a gradient rule calls the output of its `node`."""
        return self

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

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Reached only when the normal way fails: a slot left empty because its value was deferred.
            if name == "_array":
                return compute_deferred(self)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
