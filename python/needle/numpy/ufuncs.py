"""The class of NumPy's universal functions on Tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from ..autograd import Tensor
from ..ops.base import NUMBERS, decides_itself, described, kept_shape, normalize_axes
from ..ops.discrete import discrete
from ..ops.joining import stack
from ..ops.reduction import count_along
from ..ops.selection import where as choose
from ..ops.shape import permute_dims
from .common import filled_out, into, tensor

REDUCTIONS: dict[np.ufunc, Callable[..., Any]] = {}
"""Functions with the parameters of `reduce`, for ufuncs that have an operation for it; others go element by element."""
ACCUMULATIONS: dict[np.ufunc, Callable[..., Any]] = {}
"""The same for `accumulate`."""


_SIMPLE = frozenset({Tensor, np.ndarray, *NUMBERS})


class ufunc:
    """A differentiable function of elements, with what a NumPy ufunc has besides: `out=`, `where=`, `dtype=`, and the
    methods `reduce`, `accumulate`, `outer`, `at` and `reduceat`.

    `of` is NumPy's own, `function` computes it on Tensors, arrays and Python numbers. Elements that `where` leaves out
    are those of `out`, and 0 without one. They contribute nothing to a gradient, whatever the function is there.
    """

    OPTIONS: ClassVar[dict[str, Any]] = {"out": None, "where": True, "dtype": None}

    def __init__(self, of: np.ufunc, function: Callable[..., Any], module: str = __package__):
        self.of = of
        self.function = function
        self.__name__ = self.__qualname__ = of.__name__
        self.__module__ = module  # where pickle finds it
        self.__doc__ = function.__doc__ or of.__doc__
        self._always_boolean = "d" * of.nin + "->?" in of.types
        self._is_discrete = not any(set("efdgFDG") & set(loop.split("->")[1]) for loop in of.types)

    def __getattr__(self, name: str) -> Any:
        if name == "__signature__":  # made when asked for: import is to be quick
            names = ["x"] if self.of.nin == 1 else [f"x{i + 1}" for i in range(self.of.nin)]
            inputs = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in names]
            options = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d) for n, d in self.OPTIONS.items()]
            return inspect.Signature(inputs + options)
        if name in {"nin", "nout", "nargs", "ntypes", "types", "identity", "signature"}:
            return getattr(self.of, name)
        raise AttributeError(f"needle.numpy.ufunc {self.__name__!r} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<needle.numpy.ufunc {self.__name__!r}>"

    def __reduce__(self) -> str:
        return self.__name__

    def __call__(
        self,
        *inputs: Any,
        out: Any = None,
        where: Any = True,
        dtype: Any = None,
        casting: Any = "same_kind",
        **options: Any,
    ) -> Any:
        if len(inputs) > self.of.nin:  # NumPy takes `out` as the last arguments, too
            inputs, out = inputs[: self.of.nin], inputs[self.of.nin :]
            if wrong := [a for a in out if not (a is None or isinstance(a, (Tensor, np.ndarray)))]:
                raise TypeError(
                    f"{self.__name__}: takes {self.of.nin} operand{'s' * (self.of.nin > 1)}, and then out, an array or "
                    f"a Tensor to write into; got {described(wrong[0])}"
                )
        if not _SIMPLE.issuperset(map(type, inputs)):
            if any(map(decides_itself, inputs)):
                given = {"out": out, "where": where, "dtype": dtype, "casting": casting}
                defaults = {**self.OPTIONS, "casting": "same_kind"}
                options |= {key: value for key, value in given.items() if value is not defaults[key]}
                return self.of(*inputs, **options)
            inputs = tuple([tensor(a) if isinstance(a, (list, tuple)) else a for a in inputs])
        if options:
            dtype = self._dtype_of(options, dtype)
        if (dtype is not None or casting != "same_kind") and not self._always_boolean:
            inputs = self._converted(inputs, dtype, casting)
        if where is True:
            results = self.function(*inputs)
        else:
            with np.errstate(all="ignore"):  # about elements that are not used
                results = self.function(*inputs)
        if where is True and out is None:
            return results
        several = isinstance(results, tuple)
        pairs = zip(results if several else (results,), self._outs(out), strict=True)
        done = tuple([_written(result, o, where, casting) for result, o in pairs])
        return done if several else done[0]

    def _dtype_of(self, options: dict[str, Any], dtype: Any) -> Any:
        unknown = options.keys() - {"order", "subok", "signature", "sig"}
        if unknown:
            raise TypeError(f"{self.__name__}: got an unexpected keyword argument {unknown.pop()!r}")
        signature = options.get("signature", options.get("sig"))
        if signature is None:
            return dtype
        outputs = signature.split("->")[-1] if isinstance(signature, str) else signature[-1]
        return outputs[-1] if isinstance(outputs, str) else outputs

    def _converted(self, inputs: tuple[Any, ...], dtype: Any, casting: Any) -> tuple[Any, ...]:
        """The inputs in the dtypes from which NumPy would compute a result of this dtype (None: of its own choice)."""
        values = [a if type(a) in NUMBERS else tensor(a) for a in inputs]
        given = tuple([type(a) if type(a) in NUMBERS and type(a) is not bool else tensor(a).dtype for a in values])
        free: tuple[Any, ...] = (None,)
        asked: Any = free * self.of.nin + (None if dtype is None else np.dtype(dtype),) * self.of.nout
        # NumPy 2.4 frees a dtype too often if it refuses the casting of a Python number, and crashes after a while.
        loop = self.of.resolve_dtypes(given + free * self.of.nout, signature=asked, casting="unsafe")
        for a, d in zip(values, loop, strict=False):
            if type(a) not in NUMBERS and not np.can_cast(a.dtype, d, casting):
                raise TypeError(f"{self.__name__}: cannot cast {a.dtype} to {d} with casting={casting!r}")
        return tuple([tensor(a, d) for a, d in zip(values, loop, strict=False)])

    def _outs(self, out: Any) -> tuple[Any, ...]:
        outs = out if isinstance(out, tuple) else (out,) + (None,) * (self.of.nout - 1)
        if len(outs) != self.of.nout:
            raise ValueError(f"{self.__name__}: out= must be a tuple of {self.of.nout}, got {len(outs)}")
        return outs

    # The methods of a function of two arguments --------------------------------------------------------------

    def _binary(self, method: str) -> None:
        if (self.of.nin, self.of.nout) != (2, 1):
            raise ValueError(f"{self.__name__}.{method}: only functions of two arguments and one result have it")

    def reduce(
        self,
        array: Any,
        axis: Any = 0,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
    ) -> Tensor:
        """The function applied along axes (0, an int, a tuple, or None for all) until one element is left of each."""
        self._binary("reduce")
        given = {} if initial is None else {"initial": initial}
        if where is not True:
            given["where"] = where
        function = REDUCTIONS.get(self.of)
        if function is not None:
            result = tensor(function(tensor(array, dtype), axis=axis, keepdims=keepdims, **given), dtype)
        elif self._is_discrete:
            result = discrete(self.of.reduce, array, axis=axis, keepdims=keepdims, dtype=dtype, **given)
        else:
            result = self._folded(self._in_loop(tensor(array, dtype)), axis, keepdims, initial, where)
        return into(out, result)

    def _in_loop(self, a: Tensor) -> Tensor:
        """The elements in the dtype in which NumPy would reduce them."""
        return tensor(a, self._reduced(a.dtype)[1])

    def _reduced(self, dtype: Any) -> tuple[Any, ...]:
        """NumPy's dtypes for the total, the elements, and the next total."""
        return self.of.resolve_dtypes((None, dtype, None), reduction=True)

    def _folded(self, a: Tensor, axis: Any, keepdims: bool, initial: Any, where: Any) -> Tensor:
        """One element after the other: function(function(first, second), third), and so on."""
        axes = normalize_axes(self.__name__, axis, a.ndim)
        if len(axes) > 1:
            self.of.reduce(np.ones((1,) * a.ndim, a.dtype), axis=axes)  # which says so if the order would matter
        start = self.of.identity if initial is None and (where is not True or 0 in a.shape) else initial
        if start is None and where is not True:
            raise ValueError(f"{self.__name__}.reduce: where= needs initial=, because the function has no identity")
        others = tuple([i for i in range(a.ndim) if i not in axes])
        shape = tuple([a.shape[i] for i in others])
        count = count_along(a.shape, axes)

        def items(of: Any) -> Any:
            return permute_dims(of, (*axes, *others)).reshape((count, *shape)) if of.ndim else of.reshape((1,))

        if start is None and not count:
            raise ValueError(f"{self.__name__}.reduce: there are no elements, and the function has no identity")
        total: Any = None if start is None else filled_out(tensor(start, self._reduced(a.dtype)[0]), shape)
        chosen = None if where is True else items(tensor(where, np.bool_).broadcast_to(a.shape))
        for k, item in enumerate(items(a)):
            reduced = item if total is None else self.function(total, item)
            total = reduced if chosen is None else choose(chosen[k], reduced, total)
        return total.reshape(kept_shape(a.shape, axes)) if keepdims else total

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Tensor:
        """The results of `reduce` for the first element, the first two, ... along an axis."""
        self._binary("accumulate")
        function = ACCUMULATIONS.get(self.of)
        if function is not None:
            return into(out, tensor(function(tensor(array, dtype), axis=axis), dtype))
        if self._is_discrete:
            return into(out, discrete(self.of.accumulate, array, axis=axis, dtype=dtype))
        a = self._in_loop(tensor(array, dtype))
        (axis,) = normalize_axes(self.__name__, axis, a.ndim)
        items = [a[(slice(None),) * axis + (k,)] for k in range(a.shape[axis])]
        for k in range(1, len(items)):
            items[k] = self.function(items[k - 1], items[k])
        return into(out, stack(items, axis) if items else a)

    def reduceat(self, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Tensor:
        """`reduce` over slices: from each index up to the next one; of the element itself where that is not larger."""
        self._binary("reduceat")
        if self._is_discrete:
            return into(out, discrete(self.of.reduceat, array, tensor(indices).numpy(), axis=axis, dtype=dtype))
        a = tensor(array, dtype)
        (axis,) = normalize_axes(self.__name__, axis, a.ndim)
        starts = tensor(indices).numpy().tolist()
        bad = [i for i in starts if not 0 <= i < a.shape[axis]]
        if bad:
            raise IndexError(f"{self.__name__}.reduceat: index {bad[0]} is outside of axis {axis} of shape {a.shape}")
        before = (slice(None),) * axis
        parts = [
            self.reduce(a[(*before, slice(i, j if i < j else i + 1))], axis=axis, dtype=dtype)
            for i, j in pairwise([*starts, a.shape[axis]])
        ]
        return into(out, stack(parts, axis))

    def outer(self, a: Any, b: Any, **options: Any) -> Any:
        """The function of every element of a with every element of b: shape a.shape + b.shape."""
        self._binary("outer")
        a, b = tensor(a), tensor(b)
        return self(a.reshape((*a.shape, *(1,) * b.ndim)), b, **options)

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        """a[indices] = function(a[indices], b) in place, where an index that is repeated is applied repeatedly."""
        if not isinstance(a, Tensor):
            raise TypeError(f"{self.__name__}.at: an array cannot carry gradients; make it a Tensor first")
        positions = np.arange(a.size).reshape(a.shape)[_plain(indices)]
        flat = positions.ravel()
        more = () if b is None else (filled_out(tensor(b), positions.shape).reshape(-1),)  # b may share a's memory
        order = np.argsort(flat, kind="stable")
        ranks = np.empty(flat.size, np.intp)  # the how manieth time that a position occurs
        ordered = flat[order]
        ranks[order] = np.arange(flat.size) - np.searchsorted(ordered, ordered)
        for rank in range(ranks.max(initial=-1) + 1):
            chosen = np.flatnonzero(ranks == rank)
            index = np.unravel_index(flat[chosen], a.shape)
            a[index] = self.function(a[index], *[m[chosen] for m in more])


def _plain(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_plain, index))
    return index.numpy() if isinstance(index, Tensor) else index


def _written(result: Any, out: Any, where: Any, casting: Any) -> Any:
    if where is not True:
        rest = 0 if out is None else tensor(out)
        if out is not None and np.can_cast(result.dtype, out.dtype, casting):
            result = result.astype(out.dtype)
        result = choose(tensor(where, np.bool_), result, rest)
    return into(out, result, casting)
