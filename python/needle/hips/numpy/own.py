"""What HIPS autograd has besides NumPy's functions, or in another way.

In a module of its own: the names of `needle.hips.numpy` hide those of Python (`any`, `abs`).
"""

from typing import Any

import numpy as np

from ... import numpy as needle_numpy
from ...autograd import Value
from ...nested import flatten, map_leaves
from ..boxes import getval
from ..doors import door

HERE = __name__.rpartition(".")[0]


class _Integers(type):
    """The class of the integer types here, which convert the value of a Tensor: an integer has no derivative.

    All else they do as NumPy's own, to which they are equal.
    """

    def _numpys(cls) -> Any:
        return cls.__mro__[1]

    def __call__(cls, *args: Any) -> Any:
        return cls._numpys()(*map_leaves(getval, args))

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, cls._numpys())

    def __subclasscheck__(cls, kind: Any) -> bool:
        return issubclass(kind, cls._numpys())

    def __eq__(cls, other: object) -> bool:
        return (other._numpys() if isinstance(other, _Integers) else other) is cls._numpys()

    def __hash__(cls) -> int:
        return hash(cls._numpys())


_KINDS = {
    kind: _Integers(kind.__name__, (kind,), {"__module__": HERE, "__doc__": kind.__doc__})
    for kind in {np.dtype(code).type for code in np.typecodes["AllInteger"]}
}
INTEGERS = {name: _KINDS[kind] for name, kind in vars(np).items() if isinstance(kind, type) and kind in _KINDS}
"""The integer types by all their names."""

_where, _not_given = door(np.where, needle_numpy.where, HERE), object()


def where(condition: Any, x: Any = _not_given, y: Any = _not_given) -> Any:
    """x where the condition holds, and y elsewhere; without them, its indices. They may be given by name.

    As in HIPS autograd, lists and numbers of Python's alone give such.
    """
    given = [condition, *[a for a in (x, y) if a is not _not_given]]
    chosen = _where(*given)
    if len(given) < 3 or any(isinstance(a, (np.ndarray, np.generic, Value)) for a in flatten(given)[0]):
        return chosen
    return chosen.tolist()


def make_diagonal(D: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Matrices with the last axis of D on their diagonals, in the last two axes."""
    if (offset, axis1, axis2) not in {(0, -1, -2), (0, -2, -1)} and not (offset == 0 and D.ndim == 1):
        raise NotImplementedError(
            f"make_diagonal: makes the last two axes only, got offset={offset}, axis1={axis1}, axis2={axis2}; write "
            "make_diagonal(D, axis1=-1, axis2=-2), and np.moveaxis"
        )
    return D[..., None] * np.eye(D.shape[-1], dtype=D.dtype)
