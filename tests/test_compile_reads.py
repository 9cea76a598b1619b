"""Ways to read state, each with a change between two calls: a captured function gives what the function as it is gives.

It is replayed with the new state, or runs as it is, with a CompileWarning. What goes on being used after a change is
listed in the README of needle.compile, and here, in `FROZEN`.
"""
# ruff: noqa: PLW0108 - a way to read is written as users write it

from __future__ import annotations

import abc
import array
import builtins
import collections
import contextlib
import contextvars
import ctypes
import dataclasses
import datetime
import decimal
import enum
import functools
import gc
import importlib
import inspect
import io
import itertools
import json
import locale
import logging
import math
import mmap
import operator
import os
import pickle
import queue
import random
import re
import secrets
import signal
import sqlite3
import string
import sys
import tempfile
import threading
import time
import types
import typing
import uuid
import warnings
import weakref
from collections.abc import Callable, Iterator
from multiprocessing import Value as SharedValue
from pathlib import Path
from typing import Any

import needle as ndl
import numpy as np
import pytest
from needle import CompileWarning, Tensor

HERE = sys.modules[__name__]
RATE: Any = 2.0
FIRST, THEN = 2, 5
Place = tuple[Callable[[], Any], Callable[[int], None]]
"""How the function reads the number, and what sets it."""
PLACES: dict[str, Callable[[], Place]] = {}


def place(make: Callable[[], Place]) -> Callable[[], Place]:
    PLACES[make.__name__] = make
    return make


# Where a number may be: an owner, how the number is read there, how it is set -----------------------------------------

OWNERS: dict[str, Callable[[], Any]] = {}
ATTRIBUTES: dict[str, Callable[[Any], Any]] = {
    "dot": lambda o: o.k,
    "getattr": lambda o: getattr(o, "k"),  # noqa: B009
    "by a made-up name": lambda o: getattr(o, "".join(["", "k"])),
    "with a default": lambda o: getattr(o, "k", 7),
    "after a try": lambda o: _or_else(o),
    "vars": lambda o: vars(o)["k"],
    "__dict__": lambda o: o.__dict__["k"],
    "attrgetter": lambda o: operator.attrgetter("k")(o),
    "an alias of getattr": lambda o: LOOK(o, "".join(["", "k"])),
}
LOOK = getattr


def _or_else(o: Any) -> Any:
    try:
        return o.k
    except AttributeError:
        return 7


def owner(make: Callable[[], Any]) -> Callable[[], Any]:
    OWNERS[make.__name__] = make
    return make


@owner
def a_function() -> Any:
    def rate() -> None: ...

    return rate


@owner
def an_object() -> Any:
    return types.SimpleNamespace()


@owner
def a_class() -> Any:
    return type("Config", (), {"__module__": __name__})


@owner
def a_class_through_its_metaclass() -> Any:
    meta = type("Meta", (type,), {"__module__": __name__})
    return meta("Config", (), {"__module__": __name__})


@owner
def a_module() -> Any:
    module = types.ModuleType("config")
    module.__file__ = "/somewhere/config.py"
    return module


@owner
def a_thread_local() -> Any:
    return threading.local()


@owner
def a_partial() -> Any:
    return functools.partial(len)


@owner
def a_cached_function() -> Any:
    return functools.lru_cache(lambda: 1)


@owner
def a_number() -> Any:
    return type("Metres", (int,), {"__module__": __name__})(3)


@owner
def a_text() -> Any:
    return type("Name", (str,), {"__module__": __name__})("a")


@owner
def a_member_of_an_enum() -> Any:
    return enum.Enum("Color", "RED", module=__name__).RED  # type: ignore[attr-defined]


@owner
def an_enum() -> Any:
    return enum.Enum("Color", "RED", module=__name__)


@owner
def a_tensor() -> Any:
    return type("Weight", (Tensor,), {"__module__": __name__})([1.0], requires_grad=False)


@owner
def an_array() -> Any:
    return np.ones(2).view(type("Signal", (np.ndarray,), {"__module__": __name__}))


@owner
def an_exception() -> Any:
    return ValueError("no")


@owner
def an_event() -> Any:
    return threading.Event()


@owner
def a_dict_with_attributes() -> Any:
    return type("Options", (dict,), {"__module__": __name__})()


def _held(holder: Any, get: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: get(holder)


HOLDERS: dict[str, Callable[[Any], Callable[[], Any]]] = {
    "a closure": lambda o: lambda: o,
    "a list": lambda o: _held([o], lambda held: held[0]),
    "a dict": lambda o: _held({"a": o}, lambda held: held["a"]),
    "a tuple": lambda o: _held((o,), lambda held: held[0]),
    "an attribute": lambda o: _held(types.SimpleNamespace(inner=o), lambda held: held.inner),
    "a default": lambda o: lambda held=o: held,
    "a cached function": lambda o: functools.lru_cache(lambda: o),
    "a cell": lambda o: _held(types.CellType(o), lambda held: held.cell_contents),
    "a partial": lambda o: functools.partial(_itself, o),
}


def _itself(o: Any) -> Any:
    return o


def by_attribute(make: Any, read: Any, hold: Any) -> Place:
    thing = make()
    thing.k = FIRST
    held = hold(thing)
    return lambda: read(held()), lambda value: setattr(thing, "k", value)


# Everything else ------------------------------------------------------------------------------------------------------


@place
def attribute_that_is_set_later() -> Place:
    def rate() -> None: ...

    return lambda: getattr(rate, "k", FIRST), lambda value: setattr(rate, "k", value)


@place
def attribute_that_is_tried() -> Place:
    def rate() -> None: ...

    def read() -> Any:
        try:
            return rate.k  # type: ignore[attr-defined]
        except AttributeError:
            return FIRST

    return read, lambda value: setattr(rate, "k", value)


@place
def attribute_that_is_tried_in_any_case() -> Place:
    def rate() -> None: ...

    def read() -> Any:
        try:
            return rate.k  # type: ignore[attr-defined]
        except:  # noqa: E722
            return FIRST

    return read, lambda value: setattr(rate, "k", value)


@place
def defaults_of_a_function() -> Place:
    def rate(k: Any = FIRST) -> None: ...

    return lambda: rate.__defaults__[0], lambda value: setattr(rate, "__defaults__", (value,))  # type: ignore[index]


@place
def closure_of_a_function() -> Place:
    k = FIRST

    def change(value: int) -> None:
        nonlocal k
        k = value

    def rate() -> Any:
        return k

    return lambda: rate.__closure__[0].cell_contents, change  # type: ignore[index]


@place
def globals_of_a_function() -> Place:
    return lambda: _itself.__globals__["RA" + "TE".upper()], lambda value: setattr(HERE, "RATE", value)


@place
def globals_by_name() -> Place:
    return lambda: globals()["RATE"], lambda value: setattr(HERE, "RATE", value)


@place
def globals_by_a_made_up_name() -> Place:
    return lambda: globals()["".join(["RA", "TE"])], lambda value: setattr(HERE, "RATE", value)


@place
def globals_under_another_name() -> Place:
    names = globals
    return lambda: names()["".join(["RA", "TE"])], lambda value: setattr(HERE, "RATE", value)


@place
def a_global_in_a_frame() -> Place:
    return lambda: sys._getframe().f_globals["RATE"], lambda value: setattr(HERE, "RATE", value)


@place
def a_global_in_inspect() -> Place:
    return lambda: inspect.currentframe().f_globals["RATE"], lambda value: setattr(HERE, "RATE", value)  # type: ignore[union-attr]


@place
def a_global_in_eval() -> Place:
    return lambda: eval("RATE"), lambda value: setattr(HERE, "RATE", value)


@place
def a_module_in_sys() -> Place:
    return lambda: sys.modules[__name__].RATE, lambda value: setattr(HERE, "RATE", value)


@place
def a_module_by_import() -> Place:
    return lambda: importlib.import_module(__name__).RATE, lambda value: setattr(HERE, "RATE", value)


@place
def a_module_by_dunder_import() -> Place:
    return lambda: __import__(__name__).RATE, lambda value: setattr(HERE, "RATE", value)


@place
def a_builtin() -> Place:
    builtins.rate_of_a_test = FIRST  # type: ignore[attr-defined]
    return lambda: rate_of_a_test, lambda value: setattr(builtins, "rate_of_a_test", value)  # type: ignore[name-defined]  # noqa: F821


@place
def lru_cache() -> Place:
    return _cached(functools.lru_cache)


@place
def lru_cache_without_bound() -> Place:
    return _cached(functools.lru_cache(maxsize=None))


@place
def lru_cache_of_one() -> Place:
    source = {"k": FIRST}

    @functools.lru_cache(maxsize=1)
    def read(of: int) -> Any:
        return dict(source)["k"] + of

    def change(value: int) -> None:
        source["k"] = value
        read(1), read(0)

    return lambda: read(0), change


@place
def cached_list() -> Place:
    @functools.lru_cache
    def read() -> Any:
        return [FIRST]

    return lambda: read()[0], lambda value: operator.setitem(read(), 0, value)


@place
def method_with_a_cache() -> Place:
    class Config:
        source = FIRST

        @functools.lru_cache  # noqa: B019
        def read(self) -> Any:
            return self.source

    config = Config()

    def change(value: int) -> None:
        Config.source = value
        Config.read.cache_clear()

    return config.read, change


def _cached(cache: Any) -> Place:
    source = {"k": FIRST}

    @cache
    def read() -> Any:
        return source["k"]

    def change(value: int) -> None:
        source["k"] = value
        read.cache_clear()
        read()

    return lambda: read(), change


@place
def cache_info() -> Place:
    @functools.lru_cache
    def read(k: int) -> Any:
        return k

    def change(value: int) -> None:
        for k in range(100, 100 + value - FIRST):
            read(k)

    read(0), read(1)
    return lambda: read.cache_info().currsize, change


@place
def cached_property() -> Place:
    class Config:
        source = FIRST

        @functools.cached_property
        def k(self) -> Any:
            return self.source

    config = Config()

    def change(value: int) -> None:
        Config.source = value
        del config.k

    return lambda: config.k, change


@place
def memory_view() -> Place:
    view = memoryview(bytearray([FIRST]))
    return lambda: view[0], lambda value: operator.setitem(view, 0, value)


@place
def memory_view_of_an_array() -> Place:
    values = np.array([FIRST, 0])
    view = memoryview(values)[:1]
    return lambda: view.tolist()[0], lambda value: operator.setitem(values, 0, value)


@place
def array_of_numbers() -> Place:
    values = array.array("i", [FIRST])
    return lambda: values[0], lambda value: operator.setitem(values, 0, value)


@place
def record_of_an_array() -> Place:
    values = np.array([(FIRST, 1.0)], "i4,f8")
    record = values[0]
    return lambda: int(record["f0"]), lambda value: operator.setitem(values["f0"], 0, value)


@place
def flat_iterator() -> Place:
    values = np.array([FIRST, 0])
    flat = values.flat
    return lambda: int(flat[0]), lambda value: operator.setitem(values, 0, value)


@place
def ctypes_number() -> Place:
    k = ctypes.c_int(FIRST)
    return lambda: k.value, lambda value: setattr(k, "value", value)


@place
def ctypes_structure() -> Place:
    class Point(ctypes.Structure):
        _fields_ = (("k", ctypes.c_int),)

    point = Point(FIRST)
    return lambda: point.k, lambda value: setattr(point, "k", value)


@place
def ctypes_array() -> Place:
    values = (ctypes.c_int * 2)(FIRST, 0)
    return lambda: values[0], lambda value: operator.setitem(values, 0, value)


@place
def shared_number() -> Place:
    k: Any = SharedValue("i", FIRST)
    return lambda: k.value, lambda value: setattr(k, "value", value)


@place
def memory_map() -> Place:
    memory = mmap.mmap(-1, 1)
    memory[0] = FIRST
    return lambda: memory[0], lambda value: operator.setitem(memory, 0, value)


@place
def bytes_in_memory() -> Place:
    file = io.BytesIO(bytes([FIRST]))
    return lambda: file.getvalue()[0], lambda value: (file.seek(0), file.write(bytes([value])))[0]  # type: ignore[return-value]


@place
def lines_in_memory() -> Place:
    lines = io.StringIO()

    def change(value: int) -> None:
        lines.seek(0), lines.truncate(), lines.write(f"{value}\n"), lines.seek(0)

    def read() -> Any:
        found = [int(line) for line in lines]
        lines.seek(0)
        return found[0]

    change(FIRST)
    return read, change


@place
def weak_reference() -> Place:
    class Thing:
        k = FIRST

    thing = Thing()
    reference = weakref.ref(thing)

    def change(value: int) -> None:
        reference().k = value  # type: ignore[union-attr, misc]

    return lambda: thing and reference().k, change  # type: ignore[union-attr, misc]


@place
def weak_reference_to_what_is_gone() -> Place:
    class Thing: ...

    things = [Thing()]
    reference = weakref.ref(things[0])

    def change(value: int) -> None:
        things.clear()
        gc.collect()

    return lambda: THEN if reference() is None else FIRST, change


@place
def proxy() -> Place:
    thing = types.SimpleNamespace(k=FIRST)
    thing.itself = weakref.proxy(thing) if hasattr(thing, "__weakref__") else None

    class Thing:
        k = FIRST

    held = Thing()
    made = weakref.proxy(held)
    return lambda: made.k, lambda value: setattr(held, "k", value)


@place
def weak_dict() -> Place:
    class Thing: ...

    thing = Thing()
    values: Any = weakref.WeakKeyDictionary({thing: FIRST})
    return lambda: values[thing], lambda value: operator.setitem(values, thing, value)


@place
def context_variable() -> Place:
    variable: Any = contextvars.ContextVar("variable", default=FIRST)
    return lambda: variable.get(), lambda value: variable.set(value) and None


@place
def context_in_a_copy() -> Place:
    variable: Any = contextvars.ContextVar("variable", default=FIRST)
    return lambda: contextvars.copy_context().get(variable, FIRST), lambda value: variable.set(value) and None


@place
def context_variable_in_a_library() -> Place:
    program = _library(
        "import contextvars\nV = contextvars.ContextVar('V', default=2)\ndef read():\n    return V.get()"
    )
    return lambda: program.read(), lambda value: program.V.set(value) and None


def _library(source: str) -> Any:
    """A module that counts as an installed package."""
    module = types.ModuleType("installed")
    module.__file__ = f"{os.sep}site-packages{os.sep}installed.py"
    exec(compile(source, module.__file__, "exec"), vars(module))
    return module


@place
def environment() -> Place:
    return _of_environment(lambda: int(os.environ["NEEDLE_RATE"]))


@place
def environment_by_get() -> Place:
    return _of_environment(lambda: int(os.environ.get("NEEDLE_RATE", "1")))


@place
def environment_by_getenv() -> Place:
    return _of_environment(lambda: int(os.getenv("NEEDLE_RATE", "1")))


@place
def environment_by_expandvars() -> Place:
    return _of_environment(lambda: int(os.path.expandvars("$NEEDLE_RATE")))


@place
def environment_asked_by_in() -> Place:
    def change(value: int) -> None:
        os.environ.pop("NEEDLE_RATE", None)

    os.environ["NEEDLE_RATE"] = "1"
    return lambda: FIRST if "NEEDLE_RATE" in os.environ else THEN, change


@place
def environment_listed() -> Place:
    return _of_environment(lambda: int(dict(os.environ)["NEEDLE_RATE"]))


def _of_environment(read: Any) -> Place:
    os.environ["NEEDLE_RATE"] = str(FIRST)
    return read, lambda value: operator.setitem(os.environ, "NEEDLE_RATE", str(value))


def _of_file(read: Any) -> Callable[[], Place]:
    def make() -> Place:
        folder = Path(tempfile.mkdtemp())
        path = folder / "k.txt"
        path.write_text(str(FIRST))
        return lambda: read(path), lambda value: path.write_text(str(value)) and None  # type: ignore[return-value]

    return make


def _opened(path: Any) -> int:
    with open(path) as file:
        return int(file.read())


def _read_in_c(path: Any) -> int:
    with io.FileIO(path) as file:
        return int(file.read())


FILES: dict[str, Callable[[Any], Any]] = {
    "open": _opened,
    "FileIO": _read_in_c,
    "Path.read_text": lambda path: int(path.read_text()),
    "json.load": lambda path: json.loads(path.read_text()),
    "np.loadtxt": lambda path: float(np.loadtxt(path)),
    "np.fromfile": lambda path: float(np.fromfile(path, sep=" ")[0]),
    "os.open": lambda path: int(os.read(os.open(path, os.O_RDONLY), 9)),
}
PLACES.update({f"a file by {name}": _of_file(read) for name, read in FILES.items()})


@place
def a_file_that_exists() -> Place:
    path = Path(tempfile.mkdtemp()) / "flag"
    return lambda: THEN if path.exists() else FIRST, lambda value: path.touch()


@place
def a_file_that_exists_for_os() -> Place:
    path = os.path.join(tempfile.mkdtemp(), "flag")
    return lambda: THEN if os.path.exists(path) else FIRST, lambda value: Path(path).touch()


@place
def a_folder() -> Place:
    folder = Path(tempfile.mkdtemp())
    return lambda: FIRST + 3 * len(os.listdir(folder)), lambda value: (folder / "a").touch()


@place
def the_current_folder() -> Place:
    here, there = os.getcwd(), tempfile.mkdtemp()
    return lambda: FIRST if os.getcwd() == here else THEN, lambda value: os.chdir(there)


def _of_clock(clock: Any) -> Callable[[], Place]:
    def make() -> Place:
        def tick() -> Any:
            before = clock()
            while clock() == before:
                time.sleep(0.01)
            return clock()

        start = tick()

        def change(value: int) -> None:
            if clock() == start:
                tick()

        return lambda: FIRST if clock() == start else THEN, change

    return make


CLOCKS: dict[str, Callable[[], Any]] = {
    "time": lambda: int(time.time() * 5),
    "datetime": lambda: int(datetime.datetime.now().timestamp() * 5),
    "today": lambda: int(datetime.datetime.today().timestamp() * 5),
    "localtime": lambda: time.localtime().tm_sec,
    "gmtime": lambda: time.gmtime().tm_sec,
}
PLACES.update({f"the clock by {name}": _of_clock(clock) for name, clock in CLOCKS.items()})


@place
def floating_point_errors() -> Place:
    return (
        lambda: FIRST if np.geterr()["divide"] == "warn" else THEN,
        lambda value: np.seterr(divide="ignore") and None,  # type: ignore[return-value]
    )


@place
def buffer_size_of_numpy() -> Place:
    return lambda: FIRST if np.getbufsize() == 8192 else THEN, lambda value: np.setbufsize(1024) and None  # type: ignore[return-value]


@place
def decimal_context() -> Place:
    decimal.getcontext().prec = FIRST
    return lambda: decimal.getcontext().prec, lambda value: setattr(decimal.getcontext(), "prec", value)


@place
def a_context_of_decimals() -> Place:
    context = decimal.Context(prec=FIRST)
    return lambda: context.prec, lambda value: setattr(context, "prec", value)


@place
def recursion_limit() -> Place:
    before = sys.getrecursionlimit()
    return lambda: sys.getrecursionlimit() - before + FIRST, lambda value: sys.setrecursionlimit(before + value - FIRST)


@place
def arguments_of_the_program() -> Place:
    sys.argv.append("2")
    return lambda: int(sys.argv[-1]), lambda value: operator.setitem(sys.argv, -1, str(value))


@place
def filters_of_warnings() -> Place:
    before = len(warnings.filters)
    return lambda: FIRST if len(warnings.filters) == before else THEN, lambda value: warnings.simplefilter("ignore")


@place
def locale_of_numbers() -> Place:
    before = locale.setlocale(locale.LC_NUMERIC)
    return (
        lambda: FIRST if locale.setlocale(locale.LC_NUMERIC) == before else THEN,
        lambda value: locale.setlocale(locale.LC_NUMERIC, "C.UTF-8" if before == "C" else "C") and None,  # type: ignore[return-value]
    )


@place
def objects_of_the_collector() -> Place:
    gc.disable()
    return lambda: FIRST if not gc.isenabled() else THEN, lambda value: gc.enable()


@place
def event() -> Place:
    flag = threading.Event()
    return lambda: THEN if flag.is_set() else FIRST, lambda value: flag.set()


@place
def lock() -> Place:
    guard = threading.Lock()
    return lambda: THEN if guard.locked() else FIRST, lambda value: guard.acquire() and None  # type: ignore[return-value]


@place
def semaphore() -> Place:
    many = threading.Semaphore(FIRST)
    return lambda: many._value, lambda value: [many.release() for _ in range(value - FIRST)] and None  # type: ignore[return-value, func-returns-value]


@place
def waiting_items() -> Place:
    waiting: Any = queue.Queue()
    return lambda: FIRST + 3 * waiting.qsize(), lambda value: waiting.put(1)


@place
def waiting_items_in_c() -> Place:
    waiting: Any = queue.SimpleQueue()
    return lambda: FIRST + 3 * waiting.qsize(), lambda value: waiting.put(1)


@place
def database() -> Place:
    base = sqlite3.connect(":memory:")
    base.execute("create table t (k)")
    base.execute(f"insert into t values ({FIRST})")
    return (
        lambda: base.execute("select k from t").fetchone()[0],
        lambda value: base.execute(f"update t set k = {value}") and None,  # type: ignore[return-value]
    )


@place
def chain_of_dicts() -> Place:
    inner = {"k": FIRST}
    values = collections.ChainMap({}, inner)
    return lambda: values["k"], lambda value: inner.update(k=value)


@place
def counter() -> Place:
    values = collections.Counter(k=FIRST)
    return lambda: values["k"], lambda value: values.update(k=value - FIRST)


@place
def bound_method_of_a_dict() -> Place:
    values = {"k": FIRST}
    get = values.get
    return lambda: get("k"), lambda value: values.update(k=value)


@place
def item_of_a_dict_by_a_getter() -> Place:
    values, get = {"k": FIRST}, operator.itemgetter("k")
    return lambda: get(values), lambda value: values.update(k=value)


@place
def partial_of_getattr() -> Place:
    thing = types.SimpleNamespace(k=FIRST)
    get = functools.partial(getattr, thing, "".join(["", "k"]))
    return lambda: get(), lambda value: setattr(thing, "k", value)


@place
def mapped() -> Place:
    values = {"k": FIRST}
    return lambda: next(iter(map(values.get, ["k"]))), lambda value: values.update(k=value)


@place
def data_of_a_class() -> Place:
    @dataclasses.dataclass
    class Options:
        k: int = FIRST

    options = Options()
    return lambda: dataclasses.asdict(options)["k"], lambda value: setattr(options, "k", value)


@place
def slot() -> Place:
    class Thing:
        __slots__ = ("k",)

    thing: Any = Thing()
    thing.k = FIRST
    return lambda: thing.k, lambda value: setattr(thing, "k", value)


@place
def descriptor() -> Place:
    class Read:
        k = FIRST

        def __get__(self, *args: object) -> Any:
            return self.k

    read = Read()
    thing = type("Thing", (), {"k": read, "__module__": __name__})()
    return lambda: thing.k, lambda value: setattr(read, "k", value)


@place
def by_attribute_access_of_its_own() -> Place:
    class Thing:
        values = {"k": FIRST}  # noqa: RUF012

        def __getattr__(self, name: str) -> Any:
            return self.values[name]

    thing = Thing()
    return lambda: thing.k, lambda value: Thing.values.update(k=value)


@place
def pickled() -> Place:
    thing = types.SimpleNamespace(k=FIRST)
    return lambda: pickle.loads(pickle.dumps(thing)).k, lambda value: setattr(thing, "k", value)


@place
def written_as_text() -> Place:
    thing = types.SimpleNamespace(k=FIRST)
    return lambda: int(re.sub("[^0-9]", "", repr(thing))), lambda value: setattr(thing, "k", value)


@place
def state_of_pythons_generator() -> Place:
    random.seed(FIRST)
    return lambda: random.getstate()[1][5] % 1000, lambda value: random.seed(value)


@place
def handler_of_a_signal() -> Place:
    before = signal.getsignal(signal.SIGUSR1)
    return (
        lambda: FIRST if signal.getsignal(signal.SIGUSR1) is before else THEN,
        lambda value: signal.signal(signal.SIGUSR1, signal.SIG_IGN) and None,  # type: ignore[return-value]
    )


@place
def virtual_subclass() -> Place:
    class Kind(abc.ABC): ...  # noqa: B024

    class Thing: ...

    thing = Thing()
    return lambda: THEN if isinstance(thing, Kind) else FIRST, lambda value: Kind.register(Thing) and None  # type: ignore[return-value]


@place
def member_that_a_class_gets_later() -> Place:
    class Config: ...

    config = Config()
    return lambda: getattr(config, "k", FIRST), lambda value: setattr(Config, "k", value)


@place
def member_that_hides_that_of_a_metaclass() -> Place:
    class Meta(type):
        k = FIRST

    class Config(metaclass=Meta): ...

    return lambda: Config.k, lambda value: setattr(Config, "k", value)


@place
def bases_of_a_class() -> Place:
    class First:
        k = FIRST

    class Then:
        k = THEN

    class Config(First): ...

    return lambda: Config.k, lambda value: setattr(Config, "__bases__", (Then,))


@place
def default_in_a_signature() -> Place:
    def rate(k: Any = FIRST) -> None: ...

    return (
        lambda: inspect.signature(rate).parameters["k"].default,
        lambda value: setattr(rate, "__defaults__", (value,)),
    )


@place
def default_in_the_signature_of_a_method() -> Place:
    class Config:
        @staticmethod
        def rate(k: Any = FIRST) -> None: ...

    return (
        lambda: inspect.signature(Config.rate).parameters["k"].default,
        lambda value: setattr(Config.rate, "__defaults__", (value,)),
    )


@place
def closure_by_inspect() -> Place:
    k = FIRST

    def change(value: int) -> None:
        nonlocal k
        k = value

    def rate() -> Any:
        return k

    return lambda: inspect.getclosurevars(rate).nonlocals["k"], change


@place
def flags_of_an_array() -> Place:
    values = np.ones(2)
    return (
        lambda: FIRST if values.flags.writeable else THEN,
        lambda value: setattr(values.flags, "writeable", False),
    )


@place
def options_of_printing() -> Place:
    before = np.get_printoptions()["precision"]
    return (
        lambda: FIRST if np.get_printoptions()["precision"] == before else THEN,
        lambda value: np.set_printoptions(precision=value),
    )


@place
def class_in_a_weak_dict() -> Place:
    class Config:
        k = FIRST

    values: Any = weakref.WeakValueDictionary(config=Config)
    return lambda: values["config"].k, lambda value: setattr(Config, "k", value)


@place
def whether_a_tensor_needs_a_gradient() -> Place:
    weight = Tensor([1.0])
    return lambda: FIRST if weight.requires_grad else THEN, lambda value: setattr(weight, "requires_grad", False)


@place
def value_of_a_tensor_that_is_computed_with() -> Place:
    scale = Tensor([float(FIRST)], requires_grad=False)
    return lambda: (scale * 1.0, scale.item())[1], lambda value: setattr(scale, "data", Tensor([float(value)]))


@place
def random_generator_that_is_seeded_anew() -> Place:
    random.seed(FIRST)
    return lambda: random.Random(RATE).random(), lambda value: setattr(HERE, "RATE", value)


# The search -----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a place changes is put back."""
    monkeypatch.setattr(HERE, "RATE", FIRST)
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setitem(os.environ, "NEEDLE_RATE", "0")
    monkeypatch.chdir(os.getcwd())
    limit, collects, numeric = sys.getrecursionlimit(), gc.isenabled(), locale.setlocale(locale.LC_NUMERIC)
    errors, size, shown = np.geterr(), np.getbufsize(), np.get_printoptions()
    with warnings.catch_warnings(), decimal.localcontext():
        warnings.simplefilter("ignore", CompileWarning)
        warnings.simplefilter("ignore", ResourceWarning)
        yield
    np.seterr(**errors)
    np.setbufsize(size)
    np.set_printoptions(**shown)
    sys.setrecursionlimit(limit)
    locale.setlocale(locale.LC_NUMERIC, numeric)
    (gc.enable if collects else gc.disable)()
    if hasattr(builtins, "rate_of_a_test"):
        del builtins.rate_of_a_test


def assert_is_read_anew(read: Callable[[], Any], change: Callable[[int], None]) -> None:
    x = np.ones(2)

    def f(x: Any) -> Any:
        return x * float(read())

    g = ndl.compile(f)
    before = f(x)
    for _ in range(4):
        # A clock may tick between two calls, so what g read is what one of its neighbours read.
        earlier, got, later = f(x), g(x), f(x)
        assert got.tolist() in (earlier.tolist(), later.tolist())
    change(THEN)
    after = f(x)
    assert after[0] != before[0]
    for _ in range(3):
        np.testing.assert_array_equal(g(x), after)


@pytest.mark.parametrize("name", PLACES)
def test_what_is_read_is_read_anew(name):
    assert_is_read_anew(*PLACES[name]())


@pytest.mark.parametrize(
    "draw",
    [
        lambda: random.Random().random(),
        lambda: random.SystemRandom().random(),
        lambda: np.random.default_rng().random(),
        lambda: np.random.RandomState().rand(),
        lambda: secrets.randbelow(1 << 60),
        lambda: uuid.uuid4().int % (1 << 50),
        lambda: uuid.uuid1().time % (1 << 50),
        lambda: os.urandom(6)[0] + 256 * os.urandom(6)[1] + time.perf_counter(),
    ],
)
def test_chance_is_never_replayed(draw):
    g = ndl.compile(lambda x: x * float(draw()))
    values = [float(g(np.ones(1))[0]) for _ in range(5)]
    assert len(set(values)) == 5


@pytest.mark.parametrize("hold", HOLDERS)
@pytest.mark.parametrize("make", OWNERS)
def test_attributes_are_read_anew(make, hold):
    for way, read in ATTRIBUTES.items():
        try:
            assert_is_read_anew(*by_attribute(OWNERS[make], read, HOLDERS[hold]))
        except AssertionError as error:
            raise AssertionError(f"read by {way}") from error


# What may go on being captured ----------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Options:
    k: int = 1


class Point(typing.NamedTuple):
    k: int


@functools.singledispatch
def of_kind(value: Any) -> int:
    return 1


@of_kind.register
def _(value: int) -> int:
    return 2


@functools.lru_cache
def of_size(size: int) -> Any:
    return np.arange(size)


@functools.cache
def of_sizes(size: int) -> Any:
    return of_size(size) * 2


class Net:
    def __init__(self) -> None:
        self.lock, self.log, self.file = threading.Lock(), logging.getLogger(__name__), sys.stdout
        self.weights, self.sizes = {"w": Tensor([1.0, 2.0], requires_grad=False)}, [2]

    def __call__(self, x: Any) -> Any:
        with self.lock:
            self.log.debug("called with %s", len(x))
            print(end="", file=self.file)
            return x * self.weights.get("w") * self.sizes[0]


NET, LIMITS, PATTERN, TWICE = Net(), {"a": 1, "b": [1, 2]}, re.compile("[a-z]+"), functools.partial(operator.mul, 2)
CONTEXT: Any = contextvars.ContextVar("CONTEXT", default=2)

HARMLESS: dict[str, Callable[[Any], Any]] = {
    "len, range": lambda x: sum(x[i] for i in range(len(x))),
    "isinstance": lambda x: x if isinstance(x, Tensor) and callable(len) else -x,
    "numbers": lambda x: x * math.sqrt(2) * abs(-2) * max(1, 2) * round(1.5) * pow(2, 3) * int("3"),
    "zip": lambda x: sum(a * b for a, b in zip(x, [1, 2], strict=True)),
    "map, filter": lambda x: x * sum(map(abs, filter(None, [1, -2]))),
    "sorted": lambda x: x * sorted([2, 1], key=operator.neg)[0] * min([1, 2], key=abs),
    "containers": lambda x: x * LIMITS.get("a", 2) * len({*LIMITS}) * list(LIMITS.values())[1][0],
    "append": lambda x: (made := [], made.append(x), made.extend([x]), sum(made))[-1],
    "texts": lambda x: x * len(f"{1:>4}".join(["a", "b"]).upper().split("A")),
    "patterns": lambda x: x * len(PATTERN.sub("b", "abc")) * len(re.findall("a", "aa")),
    "json": lambda x: x * json.loads(json.dumps({"a": [1]}))["a"][0],
    "pickle": lambda x: x * pickle.loads(pickle.dumps(2)),
    "itertools": lambda x: x * sum(itertools.chain([1], itertools.islice(itertools.count(), 3))),
    "functools": lambda x: x * functools.reduce(operator.add, [1, 2]) * TWICE(3),
    "a namedtuple": lambda x: x * Point(2).k * Point(1)._replace(k=2).k,
    "a dataclass": lambda x: x * dataclasses.replace(Options(), k=3).k * dataclasses.asdict(Options())["k"],
    "an enum": lambda x: x * Color.RED.value * (Color["BLUE"] is Color.BLUE) * Color(1).value,
    "single dispatch": lambda x: x * of_kind("a") * of_kind(1),
    "a cache": lambda x: x * of_size(2) * of_sizes(2),
    "a context variable": lambda x: x * CONTEXT.get(),
    "a module with locks and logs": lambda x: NET(x),
    "a log": lambda x: (logging.getLogger("a").info("%s", 1), x)[1],
    "a print": lambda x: (print(end=""), sys.stdout.write(""), x)[-1],
    "contexts": lambda x: _in_contexts(x),
    "numpy on constants": lambda x: x * np.linspace(0, 1, 2) * np.linalg.inv(np.eye(2))[0] * np.ones(2).sum(),
    "numpy on tensors": lambda x: np.sum(np.tanh(x) * np.concatenate([x, x])[:2]),
    "an array's methods": lambda x: x * np.arange(2).reshape(2, 1).T.astype(float).tolist()[0][1],
    "a generator of its own": lambda x: x * np.random.default_rng(0).normal(),
    "dates and decimals": lambda x: x * datetime.date(2020, 1, 2).day * int(decimal.Decimal(2)),
    "bits": lambda x: x * int.from_bytes(b"a", "big") * len(bytes([1])) * array.array("i", [2])[0],
    "names": lambda x: x * len(string.ascii_letters) * len(type(x).__name__) * hash(1),
    "attributes": lambda x: x * getattr(NET, "sizes")[0] * hasattr(NET, "nothing"),  # noqa: B009
    "a deque": lambda x: x * collections.deque([1, 2], maxlen=1).popleft(),
    "transforms": lambda x: ndl.grad(lambda a: (a * a).sum())(x),
    "an error": lambda x: _caught(x),
}


def _in_contexts(x: Any) -> Any:
    with contextlib.suppress(KeyError), contextlib.nullcontext(), contextlib.ExitStack():
        return x * 2


def _caught(x: Any) -> Any:
    try:
        raise KeyError(str(len(x)))
    except KeyError as error:
        return x * len(error.args)


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_functions_are_captured(name):
    f = HARMLESS[name]
    g = ndl.compile(lambda x: f(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in range(4):
            x = np.array([0.5, 1.0 + k])
            np.testing.assert_allclose(g(x), np.asarray(f(Tensor(x, requires_grad=False))))
    (captured,) = g._captured.values()
    assert len(captured) == 1 and captured[0].replay is not None


# What it says ---------------------------------------------------------------------------------------------------------


def _listens(x: Any) -> Any:
    return x * len(os.listdir("."))


def _asks_a_library(x: Any) -> Any:
    return x * os.path.getsize(".")


NUMBER = ctypes.c_int(1)


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (_listens, rf"calls listdir\(\), which may look at anything, at {re.escape(__file__)}:\d+"),
        (_asks_a_library, rf"calls stat\(\), which may look at anything, at {re.escape(__file__)}:\d+"),
        (lambda x: x * time.time(), r"calls time\(\), which says something else each time, at .*:\d+"),
        (lambda x: x * NUMBER.value, "it may read NUMBER, and into an object of class c_int one cannot see"),
        (lambda x: x * len(sys.modules), "it may read sys.modules, and into an object of class dict one cannot see"),
    ],
)
def test_the_warning_names_the_line_or_the_value(f, says):
    g = ndl.compile(f)
    with pytest.warns(CompileWarning, match=says):
        g(np.ones(1)), g(np.ones(1))


# What is frozen: the table in the README of needle.compile ------------------------------------------------------------

FROZEN: dict[str, Callable[[], Place]] = {}


def frozen(make: Callable[[], Place]) -> Callable[[], Place]:
    FROZEN[make.__name__] = make
    return make


@frozen
def what_a_library_keeps() -> Place:
    program = _library("settings = {'k': 2}\ndef read():\n    return settings['k']")
    return lambda: program.read(), lambda value: program.settings.update(k=value)


@frozen
def what_another_thread_of_a_library_does() -> Place:
    end, before = threading.Event(), threading.active_count()

    def change(value: int) -> None:
        threading.Thread(target=end.wait, args=(2,), daemon=True).start()

    return lambda: FIRST if threading.active_count() == before else THEN, change


@frozen
def the_clock_that_a_library_reads() -> Place:
    program = _library("import time\ndef read():\n    return time.perf_counter()")
    start = program.read()
    return lambda: THEN if program.read() > start + 1 else FIRST, lambda value: time.sleep(1.1)


@frozen
def a_setting_of_a_logger() -> Place:
    log = logging.getLogger("needle.test")
    log.setLevel(10 * FIRST)
    return lambda: log.level, lambda value: log.setLevel(10 * value)


@frozen
def an_operator_of_a_class_in_c() -> Place:
    third = decimal.Decimal(1) / 3
    decimal.getcontext().prec = 28
    return lambda: third + third, lambda value: setattr(decimal.getcontext(), "prec", 2)


@frozen
def a_c_function_called_by_a_c_function() -> Place:
    folder = tempfile.mkdtemp()
    names = [folder]
    return lambda: FIRST + 3 * len(*map(os.listdir, names)), lambda value: (Path(folder) / "a").touch()


@frozen
def the_position_of_an_iterator() -> Place:
    numbers = iter(range(9))
    return lambda: operator.length_hint(numbers), lambda value: next(numbers)


@frozen
def the_state_of_numpys_generator() -> Place:
    np.random.seed(FIRST)
    return lambda: float(np.random.get_state()[1][0]), lambda value: np.random.seed(value)


@frozen
def the_name_of_a_function() -> Place:
    def rate() -> None: ...

    return lambda: len(rate.__name__), lambda value: setattr(rate, "__name__", "r" * value)


@frozen
def a_function_of_numpy() -> Place:
    def change(value: int) -> None:
        np.hypot = lambda a, b: value  # type: ignore[assignment]

    return lambda: np.hypot(0, FIRST), change


@pytest.mark.parametrize("name", FROZEN)
def test_what_is_frozen(name, monkeypatch):
    """What the README says of it, neither more nor less: it is captured, and goes on using what it read."""
    monkeypatch.setattr(np, "hypot", np.hypot)
    read, change = FROZEN[name]()
    x = np.ones(1)

    def f(x: Any) -> Any:
        return x * float(read())

    g = ndl.compile(f)
    before = g(x), g(x), g(x)
    change(THEN)
    assert f(x) != before[0]
    np.testing.assert_array_equal(g(x), before[0])
    readme = Path(ndl.compile.__globals__["__file__"]).with_name("README.md").read_text()
    assert f"`{name}`" in readme
