"""Inputs that notice what is done with them: where a value leaves the Tensor operations, and how often it is read."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..autograd import Op, Tensor, TensorTuple, Wrapped, WrappedTuple, array_to_keep, constant
from ..level import next_level

_PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep


@dataclass
class Leak:
    """A call that took a value out of the Tensor operations: how, of what, and in which line and function of the
    program."""

    how: str
    maker: Op | None
    shape: tuple[int, ...]
    where: str
    line: str
    function: str


@dataclass
class Run:
    """The leaks of one run of a function, in their order, and what they gave; those in `held` give the value there."""

    leaks: list[Leak] = field(default_factory=list)
    leaked: list[Any] = field(default_factory=list)
    held: dict[int, Any] = field(default_factory=dict)


class Through(Wrapped):
    """A tensor that lets everything through, so that functions compute op by op as they do inside of a transform."""

    __slots__ = ()

    def process(self, op: Op, inputs: tuple[Any, ...]) -> Any:
        mine = [type(a) is type(self) and a.level == self.level for a in inputs]
        out = self.apply(op, [a.value if is_mine else a for a, is_mine in zip(inputs, mine, strict=True)])
        if op.discrete:
            return out
        if isinstance(out, TensorTuple):
            return WrappedTuple([self.around(member, op) for member in out])
        return self.around(out, op)

    def apply(self, op: Op, inputs: list[Any]) -> Any:
        return op(*inputs)

    def around(self, value: Tensor, op: Op) -> Any:
        return type(self)(self.level, value)


class Afresh(Through):
    """A tensor on which every op is a copy of its own, so that none shares what it keeps in itself."""

    __slots__ = ()

    def apply(self, op: Op, inputs: list[Any]) -> Any:
        return copy(op)(*inputs)


def run_through(kind: type[Through], call: Callable[..., Any], inputs: Iterable[Tensor]) -> list[Any]:
    """The outputs of a function that is run on its inputs wrapped in this kind."""
    level = next_level()
    outputs = call(*[kind(level, a) for a in inputs])
    return [y.value if type(y) is kind and y.level == level else y for y in outputs]


class Watched(Through):
    """A tensor of a run that is watched, and the op that made it (None for an input)."""

    __slots__ = ("maker", "run")
    run: Run
    maker: Op | None

    def __init__(self, level: int, value: Tensor, run: Run, maker: Op | None = None):
        super().__init__(level, value)
        self.run, self.maker = run, maker

    def around(self, value: Tensor, op: Op) -> Any:
        return Watched(self.level, value, self.run, op)

    def is_recorded(self) -> bool:
        return True  # so that transforms follow what is computed from it, as they do when they are differentiated

    def _leak(self, how: str) -> Any:
        run, k = self.run, len(self.run.leaks)
        run.leaks.append(Leak(how, self.maker, self.shape, *_program_line()))
        run.leaked.append(self.value.numpy())
        return run.held.get(k, run.leaked[k]).copy()

    def __getattr__(self, name: str) -> Any:
        if name == "_array" and sys._getframe(1).f_code is array_to_keep.__code__:
            return self._leak("Tensor(...)")
        return super().__getattr__(name)

    def numpy(self) -> Any:
        return self._leak(".numpy()")

    def item(self) -> Any:
        return self._leak(".item()").item()

    def tolist(self) -> Any:
        return self._leak(".tolist()").tolist()

    def detach(self) -> Tensor:
        return constant(self._leak(".detach()"))

    @property
    def data(self) -> Tensor:
        return constant(self._leak(".data"))

    @data.setter
    def data(self, value: Any) -> None:
        raise TypeError(f"t.data = ...: {self._refusal()}")

    @property
    def cached_data(self) -> Any:
        return self._leak(".cached_data")

    @cached_data.setter
    def cached_data(self, array: Any) -> None:
        raise TypeError(f"cached_data: {self._refusal()}")


def _program_line() -> tuple[str, str, str]:
    """The innermost line that runs outside of Needle: where it is, how it reads, and the function that it is in."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    name, line = frame.f_code.co_filename, frame.f_lineno
    return f"{Path(name).name}:{line}", linecache.getline(name, line, frame.f_globals).strip(), frame.f_code.co_name


def watch(call: Callable[..., Any], arrays: list[Any], held: dict[int, Any] | None = None) -> tuple[list[Any], Run]:
    """The outputs of a function as arrays, and its leaks."""
    level, run = next_level(), Run(held=held or {})
    outputs = call(*[Watched(level, constant(np.array(a)), run) for a in arrays])
    inner = [y.value if isinstance(y, Watched) else y for y in outputs]
    return [y.numpy() if isinstance(y, Tensor) else np.asarray(y) for y in inner], run


class Read(NDArrayOperatorsMixin):
    """An array for an op's `compute` that counts its readers. Number `moves` gets `moved`, the others `array`."""

    def __init__(self, array: Any, moved: Any = None, moves: int = -1):
        self._array, self._moved, self._moves = array, moved, moves
        self.count = 0

    def _read(self) -> Any:
        self.count += 1
        return self._moved if self.count - 1 == self._moves else self._array

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*_read_all(inputs), **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return function(*_read_all(args), **dict(zip(kwargs, _read_all(kwargs.values()), strict=True)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self._read(), dtype)

    def __getitem__(self, index: Any) -> Any:
        return self._read()[index]

    def __len__(self) -> int:
        return len(self._array)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._array if name in _FACTS else self._read(), name)


_FACTS = ("shape", "dtype", "ndim", "size", "nbytes", "itemsize", "flags")


def _read_all(arguments: Iterable[Any]) -> list[Any]:
    found = []
    for a in arguments:
        if type(a) in (list, tuple):
            a = type(a)(_read_all(a))
        found.append(a._read() if isinstance(a, Read) else a)
    return found
