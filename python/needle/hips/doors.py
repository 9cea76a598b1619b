"""Functions with two doors: NumPy's (SciPy's) own where no argument holds a Tensor, Needle's where one does.

So a program meets arrays and NumPy's numbers wherever nobody differentiates, and may look at their types.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper, wraps
from types import ModuleType
from typing import Any

import numpy as np

from .. import watching
from ..autograd import Tensor, Value, value_of
from ..numpy.common import holds_tensor
from .boxes import isbox

_OF_UFUNCS = ("accumulate", "at", "identity", "nargs", "nin", "nout", "ntypes", "outer", "reduce", "reduceat", "types")


def without_constants(result: Any) -> Any:
    """What carries a derivative as it is, and constants as arrays and NumPy's numbers."""
    if isinstance(result, Tensor):
        # A function that is being captured keeps its Tensors: an array would be a constant of the captured graph.
        return result if isbox(result) or watching.active else value_of(result, "a constant")[()]
    if isinstance(result, (list, tuple)):
        members = map(without_constants, result)
        return type(result)(*members) if hasattr(result, "_fields") else type(result)(members)
    return result


_JOINING = {"column_stack", "concatenate", "dstack", "hstack", "row_stack", "stack", "vstack"}
"""Functions that HIPS autograd lets join what any iterable gives: `np.stack(params.values())`."""


def _of_iterables(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def of_iterables(arrays: Any, *args: Any, **kwargs: Any) -> Any:
        listed = arrays if isinstance(arrays, (list, tuple, np.ndarray, Value)) else list(arrays)
        return function(listed, *args, **kwargs)

    return of_iterables


def door(numpys: Any, needles: Callable[..., Any], module: str) -> Any:
    """A function that calls `needles` if an argument holds a Tensor, else `numpys`."""

    def either(*args: Any, **kwargs: Any) -> Any:
        for a in (*args, *kwargs.values()):
            if isinstance(a, Value) or (isinstance(a, (list, tuple)) and holds_tensor(a)):
                return without_constants(needles(*args, **kwargs))
        return numpys(*args, **kwargs)

    update_wrapper(either, numpys)
    either.__module__ = module  # where pickle finds it
    either.__doc__ = needles.__doc__
    if isinstance(numpys, np.ufunc):
        vars(either).update({name: getattr(numpys, name) for name in _OF_UFUNCS})  # which ask their arguments
    return either


class Indexed:
    """What is called by an index: `np.r_[t, 0]`, `np.mgrid[0:t]`."""

    def __init__(self, numpys: Any, needles: Any):
        self.numpys, self.needles = numpys, needles

    def __getitem__(self, key: Any) -> Any:
        given = key if isinstance(key, tuple) else (key,)
        parts = [(k.start, k.stop, k.step) if isinstance(k, slice) else k for k in given]
        return without_constants(self.needles[key]) if holds_tensor(parts) else self.numpys[key]

    def __len__(self) -> int:
        return 0


def opened(
    names: dict[str, Any], numpys: Any, needles: Any, otherwise: Callable[[Any], Any] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a module with these globals: NumPy's module, with a door for each function that
    Needle's module has, too; `otherwise` is applied to functions that it has not. Classes are NumPy's."""
    module = names["__name__"]
    if hasattr(numpys, "__all__"):
        names["__all__"] = list(numpys.__all__)

    def get(name: str) -> Any:
        if not hasattr(numpys, name):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        mine = getattr(numpys, name)
        found, other = mine, getattr(needles, name, mine)
        if name in {"r_", "c_", "mgrid", "ogrid"}:
            found = Indexed(mine, other)
        elif callable(mine) and not isinstance(mine, type) and other is not mine:
            found = door(mine, other, module)
            found = _of_iterables(found) if name in _JOINING else found
        elif otherwise is not None and callable(mine) and not isinstance(mine, type) and not hasattr(needles, name):
            found = otherwise(mine)
        elif isinstance(mine, ModuleType) and isinstance(other, ModuleType):
            found = other
        if not name.startswith("__"):
            names[name] = found
        return found

    return get, lambda: sorted({*names, *dir(numpys)})
