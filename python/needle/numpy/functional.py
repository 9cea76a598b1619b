"""Functions applied to the slices, the elements or the pieces of an array."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from math import prod
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..ops.base import several
from .common import array_of, normal_axis, tensor
from .grids import indices
from .joining import concatenate, stack
from .manipulation import expand_dims, moveaxis, ravel


def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Tensor:
    """What the function makes of each vector along an axis, in the place of that axis."""
    a = tensor(arr)
    axis = normal_axis("apply_along_axis", axis, a.ndim)
    last = moveaxis(a, axis, -1)
    count = prod(last.shape[:-1])
    if not count:
        raise ValueError(f"apply_along_axis: there is no vector along axis {axis} of shape {a.shape} to apply it to")
    results = [tensor(func1d(row, *args, **kwargs)) for row in last.reshape((count, a.shape[axis]))]
    made = stack(results).reshape((*last.shape[:-1], *results[0].shape))
    for i in range(results[0].ndim):
        made = moveaxis(made, last.ndim - 1 + i, axis + i)
    return made


def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Tensor:
    """func(a, axis), applied for one axis after the other; an axis that it drops comes back with length 1."""
    a = tensor(a)
    for axis in several(axes):
        axis = normal_axis("apply_over_axes", axis, a.ndim)
        made = tensor(func(a, axis))
        if made.ndim == a.ndim - 1:
            made = expand_dims(made, axis)
        if made.ndim != a.ndim:
            raise ValueError(f"apply_over_axes: func must keep the axes or drop one, got {a.shape} -> {made.shape}")
        a = made
    return a


def fromfunction(
    function: Callable[..., Any], shape: Any, *, dtype: Any = float, like: Any = None, **kwargs: Any
) -> Any:
    """What the function returns for the indices along each axis of a grid of this shape."""
    return function(*indices(shape, dtype), **kwargs)


def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Tensor:
    """Functions (or numbers) each for the elements for which its condition holds, in the dtype of x.

    Where several hold, the last one counts; where none does, the function that is left over, else 0. A function is
    called with the elements for which its condition holds, and with `args` and `kw`; no others reach it.
    """
    x = tensor(x)
    conditions = array_of(condlist, bool)
    if conditions.ndim == x.ndim:
        conditions = conditions[None]
    if conditions.shape[1:] != x.shape:
        raise ValueError(f"piecewise: conditions must have the shape of x, {x.shape}, got {conditions.shape}")
    functions = list(funclist)
    if len(functions) == len(conditions) + 1:
        conditions = np.concatenate([conditions, ~conditions.any(0, keepdims=True)])
    if len(functions) != len(conditions):
        raise ValueError(
            f"piecewise: {len(conditions)} conditions need as many functions, or one more, got {len(functions)}"
        )
    pieces = [tensor(np.zeros(1, x.dtype))]
    places = np.zeros(x.shape, np.intp)  # where an element stands in all pieces, one after the other
    size = 1
    for condition, function in zip(conditions, functions, strict=True):
        if not condition.any():
            continue
        piece = ravel(tensor(function(x[condition], *args, **kw) if callable(function) else function, x.dtype))
        places[condition] = size + (np.arange(piece.size) if piece.size > 1 else 0)
        pieces.append(piece)
        size += piece.size
    return concatenate(pieces)[places]


class vectorize:
    """A function of numbers as one of arrays, which broadcast: it is called with 0-d Tensors, for each element.

    `otypes` are the dtypes of its results, `excluded` positions and names of arguments that are passed as they are.
    With a `signature` like "(n),(n)->()" it is called with vectors (or more) along the last axes. `cache` is taken and
    not needed: no call is made twice. It can decorate.
    """

    def __init__(
        self,
        pyfunc: Any = None,
        otypes: Any = None,
        doc: str | None = None,
        excluded: Iterable[int | str] | None = None,
        cache: bool = False,
        signature: str | None = None,
    ):
        self.pyfunc = pyfunc
        self.otypes = otypes
        self.excluded = frozenset(excluded or ())
        self.cache = cache
        self.signature = signature
        self.__name__ = getattr(pyfunc, "__name__", "vectorize")
        self.__doc__ = getattr(pyfunc, "__doc__", None) if doc is None else doc

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.pyfunc is None:
            return vectorize(args[0], self.otypes, None, self.excluded, self.cache, self.signature)
        given: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
        spread = {key: tensor(a) for key, a in given.items() if key not in self.excluded}
        loops, shape = self._looped(spread)
        size = prod(shape)
        results = []
        for i in range(size):
            given.update({key: a[i] for key, a in loops.items()})
            results.append(self.pyfunc(*[given[i] for i in range(len(args))], **{name: given[name] for name in kwargs}))
        if not results:
            if self.otypes is None or self.signature:
                raise ValueError(f"{self.__name__}: inputs without elements need otypes=, and no signature=")
            outputs = [tensor(np.zeros(shape, dtype)) for dtype in self.otypes]
            return tuple(outputs) if len(outputs) > 1 else outputs[0]
        several = isinstance(results[0], tuple)
        columns = zip(*results, strict=True) if several else [results]
        outputs = [self._stacked(i, column, shape) for i, column in enumerate(columns)]
        return tuple(outputs) if several else outputs[0]

    def _looped(self, spread: dict[Any, Tensor]) -> tuple[dict[Any, Tensor], tuple[int, ...]]:
        """The arguments along one first axis of all calls, and the shape that these calls have."""
        core = self._core(spread)
        shape = np.broadcast_shapes(*[a.shape[: a.ndim - core[key]] for key, a in spread.items()])
        loops = {}
        for key, a in spread.items():
            inner = a.shape[a.ndim - core[key] :]
            loops[key] = a.broadcast_to((*shape, *inner)).reshape((prod(shape), *inner))
        return loops, shape

    def _core(self, spread: dict[Any, Tensor]) -> dict[Any, int]:
        """How many last axes of each argument go into one call."""
        if self.signature is None:
            return dict.fromkeys(spread, 0)
        groups = re.findall(r"\(([^)]*)\)", self.signature.partition("->")[0])
        names = [[name.strip() for name in group.split(",") if name.strip()] for group in groups]
        if len(names) != len(spread):
            raise TypeError(f"{self.__name__}: signature {self.signature!r} has {len(names)} inputs, got {len(spread)}")
        sizes: dict[str, int] = {}
        for dimensions, a in zip(names, spread.values(), strict=True):
            if a.ndim < len(dimensions):
                raise ValueError(
                    f"{self.__name__}: signature {self.signature!r} does not fit an input of shape {a.shape}"
                )
            for name, n in zip(dimensions, a.shape[a.ndim - len(dimensions) :], strict=True):
                if sizes.setdefault(name, n) != n:
                    raise ValueError(
                        f"{self.__name__}: dimension {name!r} is {sizes[name]} long, and {n} in another input"
                    )
        return {key: len(dimensions) for key, dimensions in zip(spread, names, strict=True)}

    def _stacked(self, i: int, results: Any, shape: tuple[int, ...]) -> Tensor:
        out = stack(results)
        return tensor(out.reshape((*shape, *out.shape[1:])), None if self.otypes is None else self.otypes[i])


def frompyfunc(func: Callable[..., Any], /, nin: int, nout: int, **kwargs: Any) -> vectorize:
    """A function of `nin` numbers with `nout` results as one of arrays; its results are Tensors, not objects."""
    return vectorize(func)
