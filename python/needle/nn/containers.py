"""Modules made of modules.

Those with several keep them as attributes named "0", "1", ..., so that the walk finds them under PyTorch's names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any

from ..autograd import Tensor, as_value
from .module import Module


def _checked(owner: object, where: object, module: Any) -> Module:
    if isinstance(module, Module):
        return module
    name = type(owner).__name__
    if isinstance(module, type) and issubclass(module, Module):
        raise TypeError(f"{name}: entry {where} is the class {module.__name__}; write {module.__name__}()")
    if isinstance(module, (list, tuple)):
        raise TypeError(f"{name}: entry {where} is a {type(module).__name__}; write {name}(*layers)")
    raise TypeError(
        f"{name}: entry {where} must be a Module, got {module!r:.60}; nn.Function(f) makes one of a function"
    )


class _Several(Module):
    """A sequence of modules: indices, slices, len, iteration, and a list's methods."""

    def __init__(self, modules: Iterable[Any] = ()):
        self._replace(list(modules))

    def _entries(self) -> dict[str, Module]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}

    def _layers(self) -> list[Any]:
        return [value for value in vars(self).values() if isinstance(value, Module)]

    def _replace(self, modules: Iterable[Any]) -> None:
        """Hold these, under their numbers."""
        checked = [_checked(self, i, module) for i, module in enumerate(modules)]
        for name in self._entries():
            del vars(self)[name]
        vars(self).update({str(i): module for i, module in enumerate(checked)})

    def __len__(self) -> int:
        return len(self._layers())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._layers())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._of(dict(list(self._entries().items())[index]))
        return self._layers()[index]

    def _of(self, entries: dict[str, Module]) -> Any:
        """Another one, of these."""
        return type(self)(entries.values())

    def __setitem__(self, index: int, module: Any) -> None:
        name = list(self._entries())[index]
        vars(self)[name] = _checked(self, name, module)

    def __delitem__(self, index: int | slice) -> None:
        layers = self._layers()
        del layers[index]
        self._replace(layers)

    def append(self, module: Any) -> Any:
        """Put a module at the end. Returns self."""
        return self.extend([module])

    def extend(self, modules: Iterable[Any]) -> Any:
        """Put modules at the end. Returns self."""
        self._replace([*self._layers(), *modules])
        return self

    def insert(self, index: int, module: Any) -> Any:
        """Put a module before the one of this index. Returns self."""
        layers = self._layers()
        layers.insert(index, module)
        self._replace(layers)
        return self


class _Modules(tuple[Any, ...]):
    """The layers of a `Sequential`, and, if it is called, all modules within, as PyTorch's `model.modules()`."""

    owner: Any

    def __call__(self) -> list[Module]:
        return Module.modules(self.owner)


class Sequential(_Several):
    """Modules applied one after the other: Sequential(a, b)(x) is b(a(x)).

    Their names are "0", "1", ..., or the keys of a dict: Sequential({"body": a, "head": b}). `model[0]`, slices, `len`
    and iteration give the layers, and so does `model.modules[0]`; `model.modules()` gives all modules within.

    >>> from needle import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [name for name, _ in model[1:].named_parameters()]
    ['1.weight', '1.bias']
    """

    def __init__(self, *modules: Any):
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            vars(self).update({str(name): _checked(self, name, module) for name, module in modules[0].items()})
        else:
            super().__init__(modules)

    @property
    def modules(self) -> Any:
        """The layers, as a tuple; called, all modules within."""
        found = _Modules(self._layers())
        found.owner = self
        return found

    def _of(self, entries: dict[str, Module]) -> Any:
        return Sequential(*entries.values()) if all(map(str.isdigit, entries)) else Sequential(entries)

    def forward(self, x: Any) -> Any:
        for layer in self._layers():
            x = layer(x)
        return x


class ModuleList(_Several):
    """A list of modules. A plain list in an attribute does as well."""


class ModuleDict(Module):
    """A dict of modules, for those who are used to it: a plain dict in an attribute does as well."""

    def __init__(self, modules: Mapping[str, Any] | None = None):
        self.update(modules or {})

    def update(self, modules: Mapping[str, Any]) -> None:
        for name, module in modules.items():
            self[name] = module

    def __setitem__(self, name: str, module: Any) -> None:
        vars(self)[name] = _checked(self, repr(name), module)

    def __getitem__(self, name: str) -> Any:
        return self._entries()[name]

    def __delitem__(self, name: str) -> None:
        self._entries()[name]
        del vars(self)[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries()

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def keys(self) -> list[str]:
        return list(self._entries())

    def values(self) -> list[Any]:
        return list(self._entries().values())

    def items(self) -> list[tuple[str, Any]]:
        return list(self._entries().items())

    def _entries(self) -> dict[str, Module]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}


class Residual(Module):
    """fn(x) + x."""

    def __init__(self, fn: Module):
        self.fn = _checked(self, "fn", fn)

    def forward(self, x: Any) -> Any:
        return self.fn(x) + x


class Identity(Module):
    """x itself. Arguments are accepted and ignored, so that it can stand for any layer."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def forward(self, x: Any) -> Any:
        return x


class Function(Module):
    """f(x), for a function without parameters among the layers of a `Sequential`."""

    def __init__(self, f: Any):
        if not callable(f):
            raise TypeError(f"Function: needs a function, got {type(f).__name__}")
        self.f = f

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.f(*args, **kwargs)

    def extra_repr(self) -> str:
        return getattr(self.f, "__name__", repr(self.f))


class Flatten(Module):
    """The axes from start to end as one: by default all but the first, (batch, ...) to (batch, features)."""

    def __init__(self, start: int = 1, end: int = -1):
        self.start, self.end = start, end

    def forward(self, x: Any) -> Any:
        x = x if isinstance(x, Tensor) else as_value(x, "Flatten")
        first, last = (axis + x.ndim if axis < 0 else axis for axis in (self.start, self.end))
        if not 0 <= first <= last < x.ndim:
            raise ValueError(f"Flatten({self.start}, {self.end}): the input of shape {x.shape} lacks these axes")
        return x.reshape((*x.shape[:first], prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))

    def extra_repr(self) -> str:
        return "" if (self.start, self.end) == (1, -1) else f"{self.start}, {self.end}"
