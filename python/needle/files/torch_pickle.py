"""The pickles of PyTorch's files, in which nothing but data is run.

A pickle is a program that can call anything. So each name that it mentions is checked against a short list before the
first of its instructions is run, and what is on the list are functions of this file.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, NoReturn

import numpy as np

from .dtypes import Array, native, widened_bfloat16

_DTYPES = {"float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2", "complex64": "c8", "complex128": "c16"}
_DTYPES |= {"int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1", "bool": "?"}
_DTYPES |= {"uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1"}
_STORAGES = {"Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Bool": "bool"}
_STORAGES |= {"Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8"}
_STORAGES |= {"ComplexFloat": "complex64", "ComplexDouble": "complex128"}
_BYTES = "bytes"
"""The dtype of a storage that leaves it to its tensors."""


class RefusedError(ValueError):
    """Why a file is not read."""


@dataclass(frozen=True)
class Dtype:
    """PyTorch's dtype of this name, as a value in a file."""

    name: str


class Storages:
    """The storages of a file: each one array, however many tensors look into it.

    Without `bytes_of`, their lengths are only noted, and all tensors are empty.
    """

    def __init__(self, bytes_of: Callable[[str, int], bytearray] | None = None, order: Literal["<", ">"] = "<"):
        self.bytes_of = bytes_of
        self._order = order
        self._bytes: dict[str, bytearray] = {}
        self._arrays: dict[tuple[str, str], Array] = {}
        self.lengths: dict[str, tuple[int, int]] = {}  # how many elements of how many bytes

    def note(self, key: str, count: int, itemsize: int) -> None:
        if self.lengths.setdefault(key, (count, itemsize)) != (count, itemsize):
            raise RefusedError(f"is damaged: storage {key!r} has two lengths")

    def array(self, key: str, dtype: str) -> Array:
        """The numbers of a storage, read once."""
        assert self.bytes_of is not None
        if (key, dtype) not in self._arrays:
            if key not in self._bytes:
                self._bytes[key] = self.bytes_of(key, prod(self.lengths[key]))
            raw = np.dtype(_DTYPES[dtype]).newbyteorder(self._order)
            whole = len(self._bytes[key]) // raw.itemsize
            numbers = native(np.frombuffer(self._bytes[key], raw, whole))
            if dtype == "bool" and numbers.size and numbers.view(np.uint8).max() > 1:
                raise RefusedError(f"is damaged: storage {key!r} has booleans other than 0 and 1")
            self._arrays[key, dtype] = widened_bfloat16(numbers) if dtype == "bfloat16" else numbers
        return self._arrays[key, dtype]


@dataclass(frozen=True)
class _Storage:
    """What a pickle knows of a storage; its numbers are read when a tensor needs them."""

    of: Storages
    key: str
    dtype: str
    count: int


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, dtype: str, *marks: Any) -> Array:
    """A view into a storage; all in elements, and checked: NumPy would read beyond the end."""
    are_counts = all(type(n) is int and 0 <= n < 2**62 for n in (offset, *_tuple(shape), *_tuple(strides)))
    if not isinstance(storage, _Storage) or not are_counts or not len(shape) == len(strides) <= 64:
        raise RefusedError(
            f"is damaged: a tensor has shape {shape!r:.60}, strides {strides!r:.60}, offset {offset!r:.60}"
        )
    itemsize = np.dtype(_DTYPES[dtype]).itemsize
    count = storage.count // itemsize if storage.dtype == _BYTES else storage.count
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    is_empty = 0 in shape
    if prod(filter(None, shape)) >= 2**60 or not (is_empty or last < count):
        raise RefusedError(
            f"is damaged: a tensor of shape {tuple(shape)} and strides {tuple(strides)} from {offset} reaches beyond "
            f"its storage of {count:,}"
        )
    if is_empty or storage.of.bytes_of is None:
        return np.zeros(shape if is_empty else (0,), "f4" if dtype == "bfloat16" else _DTYPES[dtype])
    numbers = storage.of.array(storage.key, dtype)
    view = np.lib.stride_tricks.as_strided(numbers[offset:], shape, [stride * numbers.itemsize for stride in strides])
    for mark in marks:  # PyTorch conjugates and negates by a mark alone
        if isinstance(mark, dict) and mark.get("conj"):
            view = view.conj()
        if isinstance(mark, dict) and mark.get("neg"):
            view = -view
    return view


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (None,)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Array:
    return _tensor(storage, offset, shape, strides, _typed(storage))


def _rebuild_tensor_v2(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Array:
    _needs_grad, _hooks, *marks = rest
    return _tensor(storage, offset, shape, strides, _typed(storage), *marks)


def _rebuild_tensor_v3(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Array:
    _needs_grad, _hooks, dtype, *marks = rest
    if not isinstance(dtype, Dtype) or dtype.name not in _DTYPES:
        name = dtype.name if isinstance(dtype, Dtype) else repr(dtype)
        raise RefusedError(f"holds a tensor of dtype {name}, which NumPy has not; convert it in PyTorch when you save")
    return _tensor(storage, offset, shape, strides, dtype.name, *marks)


def _typed(storage: Any) -> str:
    if not isinstance(storage, _Storage) or storage.dtype == _BYTES:
        raise RefusedError("is damaged: a tensor has no storage with a dtype")
    return storage.dtype


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _size(values: Any = ()) -> tuple[Any, ...]:
    return tuple(values)


def _bytes(text: Any, encoding: Any = "latin1") -> bytes:
    """What Python's older pickles make bytes with."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedError("is damaged: it has bytes that are not given by latin1 characters")
    return text.encode("latin1")


def _device(name: Any, index: Any = None) -> str:
    return str(name) if index is None else f"{name}:{index}"


# ----------------------------------------------------------------------------------------------------- the pickle


def _known() -> dict[tuple[str, str], Any]:
    """All that a pickle may name, and what it gets. Made anew for each file, as a pickle may write to what it gets."""
    known: dict[tuple[str, str], Any] = {("collections", "OrderedDict"): OrderedDict}
    known |= {(module, "set"): set for module in ("__builtin__", "builtins")}
    known |= {("torch", f"{name}Storage"): Dtype(dtype) for name, dtype in _STORAGES.items()}
    known |= {("torch.storage", "UntypedStorage"): Dtype(_BYTES), ("torch", "UntypedStorage"): Dtype(_BYTES)}
    narrow = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
    known |= {("torch", name): Dtype(name) for name in (*_DTYPES, *narrow)}
    functions = (_rebuild_tensor, _rebuild_tensor_v2, _rebuild_tensor_v3, _rebuild_parameter)
    known |= {("torch._utils", function.__name__): _Call(function) for function in functions}
    known |= {("_codecs", "encode"): _Call(_bytes)}
    return known | {("torch", "Size"): _Call(_size), ("torch", "device"): _Call(_device)}


class _Call:
    """A function that a pickle may call, and can do nothing else with."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise RefusedError("is no file of torch.save: its pickle writes to a function")


_INSTRUCTIONS = frozenset(
    """PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT
    BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 UNICODE BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES
    BINBYTES8 EMPTY_DICT DICT SETITEM SETITEMS EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    EMPTY_SET ADDITEMS FROZENSET PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE
    BUILD BINPERSID""".split()  # noqa: SIM905
)
"""What a pickle of plain data consists of. Not on the list: what makes instances of classes without calling them."""


def _check_program(program: bytes, known: dict[tuple[str, str], Any]) -> None:
    """Read all instructions of a pickle without running any; raises for what is not on the lists."""
    foreign: dict[str, None] = {}
    unknown: dict[str, None] = {}
    words: list[str] = []
    for count, (instruction, argument, _) in enumerate(pickletools.genops(program)):
        if isinstance(argument, str) and "UNICODE" in instruction.name:
            words.append(argument)
        if instruction.name not in _INSTRUCTIONS:
            # The newer pickles take a name from their stack: the last two words, most likely, and find_class will tell.
            unknown[".".join(words[-2:]) or instruction.name] = None
        if instruction.name in ("GLOBAL", "INST") and tuple(str(argument).split(" ")) not in known:
            foreign[str(argument).replace(" ", ".")] = None
        if instruction.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > count:
            raise RefusedError("is damaged: its pickle leaves gaps in its memory")  # which would all be allocated
    if foreign or unknown:
        raise _foreign(*(foreign or unknown))


def _foreign(*names: str) -> RefusedError:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return RefusedError(
        f"holds more than numbers, and would run {', '.join(names[:5])}{more}, which is not done; "
        "in PyTorch, save model.state_dict() instead of the model, and plain numbers"
    )


class _Unpickler(pickle.Unpickler):
    def __init__(self, program: bytes, known: dict[tuple[str, str], Any], storages: Storages):
        super().__init__(io.BytesIO(program), encoding="utf-8")
        self._known = known
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._known[module, name]
        except KeyError:
            raise _foreign(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        """("storage", its type, its key, the device, its length), and in the old format what it is a part of."""
        is_sound = isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage" and isinstance(pid[1], Dtype)
        if not is_sound or not isinstance(pid[2], str) or type(pid[4]) is not int or not 0 <= pid[4] < 2**60:
            raise RefusedError(f"is damaged: it has a storage that is described as {pid!r:.100}")
        if len(pid) == 6 and pid[5] is not None:
            raise RefusedError("is of a PyTorch before 0.4: save it anew with a newer one")
        dtype = pid[1].name
        if dtype != _BYTES and dtype not in _DTYPES:
            raise RefusedError(f"is damaged: it has a storage of {dtype}")
        self._storages.note(pid[2], pid[4], 1 if dtype == _BYTES else np.dtype(_DTYPES[dtype]).itemsize)
        return _Storage(self._storages, pid[2], dtype, pid[4])


def loaded(program: bytes, storages: Storages) -> Any:
    """What a pickle makes, once it is known to make nothing but data."""
    known = _known()
    _check_program(program, known)
    return _Unpickler(program, known, storages).load()
