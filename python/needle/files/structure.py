"""Nested Python values as JSON and a dict of arrays, and back, each exactly as it was.

None, booleans, whole and finite numbers, strings and lists are themselves in JSON. Everything else is an object of one
member, whose name says what it is:

    {"dict": {...}}  {"items": [[key, value], ...]}  {"tuple": [...]}  {"float": "nan"}  {"complex": [re, im]}
    {"scalar": [dtype, value]}  {"bytes": base64}  {"array": name}  {"complex128": name}  {"tensor": [array, flag]}
    {"generator": state}  {"random_state": state}  {"python_random": state}  {"state": what state_dict() gave}
"""

from __future__ import annotations

import base64
import math
import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..autograd import Tensor
from ..backend import array_of_numbers
from .dtypes import Array

Json = Any

_THEMSELVES = (type(None), bool, int, str)
_IN_THE_FORMAT = "?bBhHiIlLqQefdF"
"""The dtypes of safetensors, by NumPy's characters."""
_BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")


def has_state(value: Any) -> bool:
    """Whether it is a model, an optimizer, a loader, or anything else that gives and takes a state."""
    return callable(getattr(value, "state_dict", None)) and callable(getattr(value, "load_state_dict", None))


class Packer:
    """Takes values apart. What shares all of its memory is one array under the first of its names, and the same object
    for all when it is put together again."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self._names: dict[Any, str] = {}
        self._kept: list[Array] = []  # so that no other array takes the place of one that has a name
        self._within: set[int] = set()

    def pack(self, value: Any, where: str) -> Json:
        """JSON for a value; TypeError that names the place of what cannot be saved."""
        kind = type(value)
        if kind in _THEMSELVES:
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if kind is complex:
            return {"complex": [self.pack(value.real, where), self.pack(value.imag, where)]}
        if kind is bytes:
            return {"bytes": base64.b64encode(value).decode()}
        if isinstance(value, np.str_):
            return str(value)
        if isinstance(value, np.generic) and value.dtype.char in _IN_THE_FORMAT + "D":
            return {"scalar": [value.dtype.name, self.pack(value.item(), where)]}
        if isinstance(value, Tensor):
            return {"tensor": [self._array(value._array, where), value.requires_grad]}
        if isinstance(value, np.ndarray):
            return self._array(array_of_numbers(where, value, copy=False), where)
        if id(value) in self._within:
            raise TypeError(f"{where} contains itself, which cannot be saved")
        self._within.add(id(value))
        packed = self._container(value, kind, where)
        self._within.discard(id(value))
        return packed

    def _container(self, value: Any, kind: type[Any], where: str) -> Json:
        if kind is list or kind is tuple:
            members = [self.pack(member, f"{where}.{i}") for i, member in enumerate(value)]
            return members if kind is list else {"tuple": members}
        if kind is dict or kind is OrderedDict:
            if all(type(key) is str for key in value):
                return {"dict": {key: self.pack(member, f"{where}.{key}") for key, member in value.items()}}
            keys = [self.pack(key, f"the key {key!r} of {where}") for key in value]
            members = [self.pack(member, f"{where}.{key}") for key, member in value.items()]
            return {"items": [list(pair) for pair in zip(keys, members, strict=True)]}
        if has_state(value):
            return {"state": self.pack(value.state_dict(), where)}
        if kind is np.random.Generator:
            return {"generator": self.pack(value.bit_generator.state, where)}
        if kind is np.random.RandomState:
            return {"random_state": self.pack(value.get_state(legacy=False), where)}
        if kind is random.Random:
            return {"python_random": self.pack(value.getstate(), where)}
        what = f"the function {value.__qualname__}" if hasattr(value, "__qualname__") else f"a {kind.__qualname__}"
        raise TypeError(
            f"{where} is {what}, which cannot be saved; numbers, strings, arrays, Tensors, lists, tuples, dicts, "
            "random generators, and what has state_dict and load_state_dict can"
        )

    def _array(self, a: Array, where: str) -> Json:
        tag, stored = "array", a
        if a.dtype.char == "D":  # which the format has not: two columns of float64
            tag, stored = "complex128", np.stack([a.real, a.imag], -1)
        elif a.dtype.char not in _IN_THE_FORMAT:
            raise TypeError(f"{where} has dtype {a.dtype}, which cannot be saved; convert it with astype")
        memory = (a.__array_interface__["data"][0], a.dtype.str, a.shape, a.strides) if a.size else id(a)
        if memory not in self._names:
            name = where
            while name in self.arrays:  # {"a.b": x} and {"a": {"b": y}} are not the same
                name += "'"
            self._names[memory] = name
            self.arrays[name] = stored
            self._kept.append(a)
        return {tag: self._names[memory]}


class Unpacker:
    """Puts values together again. Raises ValueError for what Packer did not write."""

    def __init__(self, arrays: dict[str, Array]):
        self._arrays = arrays
        self._made: dict[tuple[Any, ...], Any] = {}

    def unpack(self, packed: Json) -> Any:
        """The value that was packed."""
        if isinstance(packed, (*_THEMSELVES, float)):
            return packed
        if isinstance(packed, list):
            return [self.unpack(member) for member in packed]
        ((tag, content),) = packed.items()
        return self._FROM[tag](self, content)

    def _dict(self, members: dict[str, Json]) -> dict[str, Any]:
        return {key: self.unpack(member) for key, member in members.items()}

    def _items(self, pairs: list[list[Json]]) -> dict[Any, Any]:
        return {self.unpack(key): self.unpack(member) for key, member in pairs}

    def _tuple(self, members: list[Json]) -> tuple[Any, ...]:
        return tuple(self.unpack(member) for member in members)

    def _complex(self, parts: list[Json]) -> complex:
        return complex(self.unpack(parts[0]), self.unpack(parts[1]))

    def _scalar(self, content: list[Json]) -> Any:
        dtype = np.dtype(content[0])
        if dtype.kind not in "biufc":
            raise ValueError(f"{dtype} is no dtype of a number")
        return dtype.type(self.unpack(content[1]))

    def _array(self, name: str) -> Array:
        return self._arrays[name]

    def _complex128(self, name: str) -> Array:
        def make() -> Array:
            pairs = self._arrays[name]
            return np.ascontiguousarray(pairs).view(np.complex128).reshape(pairs.shape[:-1])

        return self._once(("complex128", name), make)

    def _tensor(self, content: list[Json]) -> Tensor:
        array, requires_grad = content
        # A copy: a Tensor's memory is its own.
        return self._once(
            (*array.items(), requires_grad), lambda: Tensor(self.unpack(array), requires_grad=requires_grad)
        )

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _generator(self, content: Json) -> np.random.Generator:
        state = self.unpack(content)
        if state["bit_generator"] not in _BIT_GENERATORS:
            raise ValueError(f"there is no bit generator {state['bit_generator']!r}")
        bits = getattr(np.random, state["bit_generator"])()
        bits.state = state
        return np.random.Generator(bits)

    def _random_state(self, content: Json) -> np.random.RandomState:
        rng = np.random.RandomState()
        rng.set_state(self.unpack(content))
        return rng

    def _python_random(self, content: Json) -> random.Random:
        rng = random.Random()
        rng.setstate(self.unpack(content))
        return rng

    _FROM: ClassVar[dict[str, Callable[[Any, Any], Any]]] = {
        "dict": _dict,
        "items": _items,
        "tuple": _tuple,
        "float": lambda _, text: float(text),
        "complex": _complex,
        "scalar": _scalar,
        "bytes": lambda _, text: base64.b64decode(text, validate=True),
        "array": _array,
        "complex128": _complex128,
        "tensor": _tensor,
        "generator": _generator,
        "random_state": _random_state,
        "python_random": _python_random,
        "state": unpack,
    }
