"""NumPy on arrays, `needle.numpy` on Tensors."""

from typing import Any as _Any

import numpy as _numpy

from ... import numpy as _needle
from ...autograd import Value as _Value
from ...nested import flatten as _flatten
from ...nested import map_leaves as _map_leaves
from ..boxes import getval as _getval
from ..doors import door as _door
from ..doors import opened as _opened
from . import fft as fft
from . import linalg as linalg
from . import random as random

__getattr__, __dir__ = _opened(globals(), _numpy, _needle)
__all__ = [*_numpy.__all__, "make_diagonal"]  # noqa: PLE0604


class _Integers(type):
    """The class of the integer types here, which convert the value of a Tensor: an integer has no derivative.

    All else they do as NumPy's own, to which they are equal.
    """

    def _numpys(cls) -> _Any:
        return cls.__mro__[1]

    def __call__(cls, *args: _Any) -> _Any:
        return cls._numpys()(*_map_leaves(_getval, args))

    def __instancecheck__(cls, value: _Any) -> bool:
        return isinstance(value, cls._numpys())

    def __subclasscheck__(cls, kind: _Any) -> bool:
        return issubclass(kind, cls._numpys())

    def __eq__(cls, other: object) -> bool:
        return (other._numpys() if isinstance(other, _Integers) else other) is cls._numpys()

    def __hash__(cls) -> int:
        return hash(cls._numpys())


for _kind in {_numpy.dtype(_code).type for _code in _numpy.typecodes["AllInteger"]}:
    _made = _Integers(_kind.__name__, (_kind,), {"__module__": __name__, "__doc__": _kind.__doc__})
    globals().update({_name: _made for _name, _found in vars(_numpy).items() if _found is _kind})

_where, _not_given = _door(_numpy.where, _needle.where, __name__), object()


def where(condition: _Any, x: _Any = _not_given, y: _Any = _not_given) -> _Any:
    """x where the condition holds, and y elsewhere; without them, its indices. They may be given by name.

    As in HIPS autograd, lists and numbers of Python's alone give such.
    """
    given = [condition, *[a for a in (x, y) if a is not _not_given]]
    chosen = _where(*given)
    if len(given) < 3 or any(isinstance(a, (_numpy.ndarray, _numpy.generic, _Value)) for a in _flatten(given)[0]):
        return chosen
    return chosen.tolist()


def make_diagonal(D: _Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> _Any:
    """Matrices with the last axis of D on their diagonals, in the last two axes."""
    if (offset, axis1, axis2) not in {(0, -1, -2), (0, -2, -1)} and not (offset == 0 and D.ndim == 1):
        raise NotImplementedError(
            f"make_diagonal: makes the last two axes only, got offset={offset}, axis1={axis1}, axis2={axis2}; write "
            "make_diagonal(D, axis1=-1, axis2=-2), and np.moveaxis"
        )
    return D[..., None] * _numpy.eye(D.shape[-1], dtype=D.dtype)
