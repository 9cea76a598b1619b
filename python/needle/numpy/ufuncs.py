"""The class of NumPy's universal functions on Tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .common import into, tensor, tensors


class ufunc:
    """A differentiable function of elements, with what a NumPy ufunc has besides: `out=`, `where=`, `dtype=`, and the
    methods `reduce`, `accumulate`, `outer`, `at` and `reduceat`.

    `function` computes it on Tensors, arrays and Python numbers; `of` is NumPy's own.
    """

    __slots__ = ("__doc__", "__name__", "__qualname__", "__signature__", "function", "of")

    def __init__(self, of: np.ufunc, function: Callable[..., Any]):
        self.of = of
        self.function = function
        self.__name__ = self.__qualname__ = of.__name__
        self.__doc__ = function.__doc__
        names = ["x"] if of.nin == 1 else [f"x{i + 1}" for i in range(of.nin)]
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
            + [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
                for name, default in (("out", None), ("where", True), ("dtype", None))
            ]
        )

    nin = property(lambda self: self.of.nin)
    nout = property(lambda self: self.of.nout)
    nargs = property(lambda self: self.of.nargs)
    identity = property(lambda self: self.of.identity)

    def __repr__(self) -> str:
        return f"<needle.numpy.ufunc {self.__name__!r}>"

    def __call__(self, *inputs: Any, out: Any = None, where: Any = True, dtype: Any = None, **options: Any) -> Any:
        raise NotImplementedError
