"""Random programs that read Python state, captured by `needle.compile`: whatever changes between the calls, a captured
program returns what it returns as it is, and leaves behind what it leaves as it is.

A program is Python source, written from a seed and run in a module of its own: once as it is, once captured.
`python tests/test_random_state.py 10000` tries this many, and prints what went wrong.
"""

from __future__ import annotations

import builtins
import contextlib
import contextvars
import decimal
import linecache
import os
import random
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import needle
import numpy as np
import pytest
from needle import Tensor
from searching import search

IMPORTS = """
import abc, array, builtins, collections, contextlib, contextvars, dataclasses, decimal, enum, functools, importlib
import inspect, io, itertools, json, math, operator, os, pickle, random, sys, threading, types, typing, warnings
import weakref
import needle
import numpy as np
from needle import Tensor
"""


class Kind(NamedTuple):
    """A kind of state, as source: `#` stands for the number of the place, `v` for the new value."""

    make: str
    reads: str
    """Expressions for a number, one a line."""
    changes: str
    """Statements from outside, one a line; blocks are separated by semicolons."""
    writes: str = ""
    """Statements of the program itself, likewise."""


KINDS: dict[str, Kind] = {
    "a global": Kind(
        "G# = 2.0",
        """
        G#
        globals()["G#"]
        globals().get("G#", 7)
        globals()["".join(["G", "#"])]
        names()["".join(["G", "#"])]
        eval("G#")
        sys.modules[__name__].G#
        getattr(sys.modules[__name__], "G#")
        sys._getframe().f_globals["G#"]
        (lambda: G#)()
        [G# for _ in range(2)][1]
        next(G# for _ in range(2))
        """,
        "global G#; G# = v",
        "G# += 1\nglobals()['G#'] = 3",
    ),
    "a global that comes and goes": Kind(
        "M# = 1",
        """
        globals().get("M#", 5)
        (M# if "M#" in globals() else 6)
        or_else(lambda: M#)
        """,
        "global M#; M# = v\nglobals().pop('M#', None)\nglobals().pop('M#', None)",
        "globals().pop('M#', None)",
    ),
    "a builtin": Kind(
        "",
        "or_else(lambda: rate_of_a_random_test)\nor_else(lambda: builtins.rate_of_a_random_test)",
        "builtins.rate_of_a_random_test = v\nvars(builtins).pop('rate_of_a_random_test', None)",
    ),
    "a global that hides a builtin": Kind(
        "", "len([1, 2])", "global len; len = lambda a: v\nglobals().pop('len', None)"
    ),
    "an object": Kind(
        "O# = types.SimpleNamespace(k=2.0, inner=types.SimpleNamespace(k=1))",
        """
        O#.k
        O#.inner.k
        getattr(O#, "k")
        getattr(O#, "other", 4)
        getattr(O#, "".join(["", "k"]))
        operator.attrgetter("k")(O#)
        operator.attrgetter("inner.k")(O#)
        vars(O#)["k"]
        O#.__dict__["k"]
        len(vars(O#))
        (3 if hasattr(O#, "other") else 2)
        (O#.other if "other" in dir(O#) else 1)
        copied(O#).k
        len(repr(O#))
        pickle.loads(pickle.dumps(O#)).k
        LOOK(O#, "k")
        sum(1 for name in vars(O#) if name > "j")
        """,
        """
        O#.k = v
        O#.inner.k = v
        O#.inner = types.SimpleNamespace(k=v)
        O#.other = v
        vars(O#).pop("other", None)
        O#.__dict__ = {"k": v, "inner": O#.inner}
        global O#; O# = types.SimpleNamespace(k=v, inner=O#.inner)
        setattr(O#, "k", v)
        vars(O#).update(k=v)
        """,
        "O#.k = 4\nO#.other = 1\nO#.k += 1\nsetattr(O#, 'k', 2)\nvars(O#)['k'] = 1",
    ),
    "an object of a class": Kind(
        """
class Base#:
    shared = 1.0
    slope = 2
    def rate(self): return self.k * self.slope
    @property
    def half(self): return self.k / 2
    @functools.cached_property
    def kept(self): return self.k + 1
    @classmethod
    def of_class(cls): return cls.shared
    @staticmethod
    def fixed(a=2): return a
    def __call__(self): return self.k
    def __len__(self): return int(self.k) % 5
    def __bool__(self): return self.k > 1
    def __contains__(self, a): return a == self.k
    def __iter__(self): return iter([self.k, self.shared])
    def __getitem__(self, i): return self.k + i
    def __eq__(self, other): return self.k == other
    def __hash__(self): return 1
    def __float__(self): return float(self.k)
    def __index__(self): return int(self.k) % 4
class Derived#(Base#):
    def rate(self): return super().rate() + 1
C# = Derived#()
C#.k = 2.0
""",
        """
        C#.k
        C#.rate()
        C#.half
        C#.kept
        C#.shared
        C#.of_class()
        type(C#).shared
        C#.__class__.slope
        C#.fixed()
        C#()
        len(C#)
        (2 if C# else 3)
        (2 if 2 in C# else 3)
        sum(C#)
        C#[1]
        (2 if C# == 2 else 3)
        float(C#)
        [1, 2, 3, 4][C#]
        operator.methodcaller("rate")(C#)
        Base#.rate(C#)
        Derived#.shared
        vars(Base#)["slope"]
        max(C#)
        getattr(C#, "sha" + "red")
        (1 if isinstance(C#, Derived#) else 2)
        type(C#).__mro__[1].slope
        getattr(C#, "later", 3)
        getattr(Base#, "later", 4)
        or_else(lambda: C#.later)
        (1 if hasattr(Derived#, "later") else 2)
        inspect.signature(C#.fixed).parameters["a"].default
        (1 if "later" in vars(Base#) else 2)
        len(Derived#.__bases__[0].__name__)
        """,
        """
        C#.k = v
        Base#.shared = v
        Derived#.shared = v
        C#.shared = v
        vars(C#).pop("shared", None)
        Base#.slope = v
        C#.slope = v
        Base#.rate = lambda self: v
        C#.rate = lambda: v
        vars(C#).pop("rate", None)
        Derived#.rate = lambda self: self.k + v
        Base#.fixed.__defaults__ = (v,)
        vars(C#).pop("kept", None)
        C#.__class__ = Base#
        C#.__class__ = Derived#
        Derived#.__bases__ = (type("Base", (Base#,), {"shared": v, "__module__": __name__}),)
        Base#.half = property(lambda self: v)
        Derived#.__call__ = lambda self: v
        Base#.__len__ = lambda self: int(v)
        Base#.later = v
        Derived#.later = property(lambda self: v)
        for owner in (Base#, Derived#): vars(owner).get("later") and delattr(owner, "later")
        """,
        "C#.k += 1\nC#.kept = 3\nBase#.shared = 2\ntype(C#).slope = 1\ndel C#.k",
    ),
    "a number by many ways": Kind(
        """
k# = 2.0
o# = types.SimpleNamespace(k=2.0)
class Fails#(Exception): pass
class Tree#:
    def __init__(self, k, *children): self.k, self.children = k, children
    def total(self): return self.k + sum(child.total() for child in self.children)
leaf# = Tree#(1)
tree# = Tree#(1, Tree#(2, leaf#), Tree#(1))
@dataclasses.dataclass
class Made#:
    k: float = 0
    def __post_init__(self): self.k += k#
@contextlib.contextmanager
def setting#(value):
    before = o#.k
    o#.k = before + value
    try: yield o#.k
    finally: o#.k = before
def within#():
    with setting#(1) as now: return now + o#.k
def restored#():
    global k#
    before = k#
    k# = before + 1
    try: return helper#()
    finally: k# = before
def helper#(): return k#
def raised#():
    try: raise Fails#(k#)
    except Fails# as error: return error.args[0]
def collected#(a=[]):
    a.append(k#)
    try: return sum(a)
    finally: a.pop()
async def waited#(): return k#
def run#(coroutine):
    try: coroutine.send(None)
    except StopIteration as end: return end.value
class Node#:
    def __init__(self, k): self.k, self.other = k, None
first#, second# = Node#(1), Node#(2)
first#.other, second#.other = second#, first#
kept# = weakref.WeakKeyDictionary({first#: 2})
class Items#:
    def __init__(self, k): self.k = k
    def __iter__(self): return iter([self.k, k#])
    def __enter__(self): return self.k
    def __exit__(self, *_): return None
    def __lt__(self, other): return self.k < k#
    def __add__(self, other): return self.k + k#
    def __format__(self, how): return str(float(self.k))
    def __call__(self, *_): return self.k
    def __missing__(self, key): return self.k
items# = Items#(1)
def executed#():
    box = {}
    exec("found = k#", names(), box)
    return box["found"]
def entered#():
    with items# as k: return k
""",
        """
        within#()
        restored#()
        raised#()
        collected#()
        tree#.total()
        Made#(1).k
        run#(waited#())
        first#.other.k
        first#.other.other.k
        kept#[first#]
        sum(items#)
        entered#()
        (1 if items# < 3 else 2)
        items# + 1
        float(f"{items#}")
        [*items#][0]
        max([1, 2, 3], key=lambda a: a * (-1 if k# > 1 else 1))
        sorted([1, 2], key=lambda a: -a * o#.k)[0]
        functools.reduce(lambda a, b: a + o#.k, [1, 2])
        list(map(getattr, [o#], ["k"]))[0]
        list(filter(lambda a: a < k#, range(4)))[-1]
        executed#()
        type("Kind", (), {"k": k#})().k
        float(f"{o#.k:.1f}")
        float("%.1f" % k#)
        len("{0.k}".format(o#)) + float("{0.k}".format(o#))
        np.sum(np.vectorize(lambda a: a * k#)([1.0, 2.0]))
        np.fromiter((k# for _ in range(2)), float).sum()
        float(np.where(np.arange(3) > k#, 1.0, 0.0).sum()) + 1
        np.apply_along_axis(lambda a: a * o#.k, 0, np.ones(2))[0]
        np.frompyfunc(lambda a: a * k#, 1, 1)(2)
        np.piecewise(np.ones(2), [np.ones(2) > 0], [lambda a: a * k#])[0]
        needle.grad(lambda a: a * a * o#.k)(3.0)
        needle.checkpoint(lambda a: a * k#)(W).sum()
        needle.custom_gradient(lambda a: (a * k#, lambda g: g * o#.k))(W).sum()
        needle.compile(lambda a: a * k#)(W).sum()
        needle.jvp(lambda a: a * k#, (1.0,), (1.0,))[1]
        (lambda *, a=k#: a)()
        [k for k in (k#,)][0]
        {"a": o#.k}["a"]
        """,
        """
        global k#; k# = v
        o#.k = v
        leaf#.k = v
        leaf#.children = (Tree#(v),)
        first#.k = v
        second#.k = v
        second#.other = Node#(v)
        kept#[first#] = v
        items#.k = v
        collected#.__defaults__[0].append(v)
        Items#.__enter__ = lambda self: v
        """,
        "collected#.__defaults__[0].append(1)\nleaf#.k += 1\no#.k += 1\nk# += 1",
    ),
    "slots": Kind(
        """
class Slotted#:
    __slots__ = ("k", "_other")
S# = Slotted#()
S#.k = 1
""",
        "S#.k\ngetattr(S#, 'k')\nor_else(lambda: S#._other)\nSlotted#.k.__get__(S#)\ngetattr(S#, '_other', 2)",
        "S#.k = v\nS#._other = v\nif hasattr(S#, '_other'): del S#._other",
        "S#.k = 3\nS#._other = 2",
    ),
    "attribute access of one's own": Kind(
        """
class Asked#:
    values = {"k": 1, "m": 2}
    def __getattr__(self, name):
        if name not in self.values: raise AttributeError(name)
        return self.values[name]
class All#:
    k = 1
    def __getattribute__(self, name): return object.__getattribute__(self, "k") * (2 if name == "double" else 1)
class Descriptor#:
    k = 1
    def __get__(self, instance, owner=None): return self.k
    def __set__(self, instance, value): self.k = value
class Has#: k = Descriptor#()
class Meta#(type):
    level = 2
    def __getattr__(cls, name): return cls.level
    def __len__(cls): return int(cls.level) % 3
class Configured#(metaclass=Meta#): pass
A#, B#, H# = Asked#(), All#(), Has#()
""",
        """
        A#.k
        A#.m
        getattr(A#, "z", 3)
        B#.double
        B#.k
        H#.k
        Has#.k
        Configured#.level
        Configured#.other
        len(Configured#)
        """,
        """
        Asked#.values["k"] = v
        A#.__dict__["k"] = v
        A#.__dict__.pop("k", None)
        Asked#.values = {"k": v, "m": 1}
        All#.k = v
        object.__setattr__(B#, "k", v)
        H#.k = v
        Descriptor#.__get__ = lambda self, *_: v
        Meta#.level = v
        Configured#.level = v
        Asked#.values["z"] = v
        """,
        "Asked#.values['m'] = 3\nH#.k = 2",
    ),
    "a dataclass": Kind(
        """
@dataclasses.dataclass
class Options#:
    k: float = 2.0
    many: list = dataclasses.field(default_factory=lambda: [1, 2])
@dataclasses.dataclass(frozen=True)
class Frozen#:
    k: float = 1.0
class Point#(typing.NamedTuple):
    k: float
    m: float = 2
D#, F#, P# = Options#(), Frozen#(), Point#(1)
""",
        """
        D#.k
        D#.many[-1]
        dataclasses.asdict(D#)["k"]
        dataclasses.replace(D#, many=[1]).k
        dataclasses.astuple(D#)[0]
        F#.k
        P#.k
        P#._replace(m=1).k
        Options#().k
        Point#(1).m
        Frozen#().k
        (1 if D# == Options#() else 2)
        hash(F#) % 5
        by_pattern(D#)
        """,
        """
        D#.k = v
        D#.many.append(v)
        D#.many[-1] = v
        object.__setattr__(F#, "k", v)
        global P#; P# = Point#(v)
        global F#; F# = Frozen#(v)
        Options#.__init__.__defaults__ = (v, *Options#.__init__.__defaults__[1:])
        Point#.__new__.__defaults__ = (v,)
        """,
        "D#.k *= 2\nD#.many.append(1)",
    ),
    "an enum": Kind(
        """
class Color#(enum.Enum):
    RED = 1
    BLUE = 2
    @property
    def double(self): return self.value * 2
E# = Color#.RED
""",
        """
        E#.value
        E#.double
        Color#.BLUE.value
        Color#["RED"].value
        (1 if E# is Color#.RED else 2)
        getattr(E#, "extra", 3)
        {Color#.RED: 1, Color#.BLUE: 2}[E#]
        """,
        "global E#; E# = Color#.BLUE if v > 1 else Color#.RED\nE#.extra = v\nColor#.double = property(lambda self: v)",
    ),
    "a module": Kind(
        "import CONFIG",
        """
        CONFIG.k
        CONFIG.inner.k
        CONFIG.table["a"]
        CONFIG.read()
        vars(CONFIG)["k"]
        importing()
        from_importing()
        getattr(CONFIG, "k")
        importlib.import_module("CONFIG").k
        __import__("CONFIG").k
        (CONFIG.later if hasattr(CONFIG, "later") else 1)
        or_else(lambda: CONFIG.later)
        """,
        """
        CONFIG.k = v
        CONFIG.inner.k = v
        CONFIG.table["a"] = v
        CONFIG.read = lambda: v
        CONFIG.later = v
        vars(CONFIG).pop("later", None)
        CONFIG.inner = types.SimpleNamespace(k=v)
        CONFIG.table = {"a": v}
        """,
        "CONFIG.k = 2\nCONFIG.table['a'] += 1",
    ),
    "a function": Kind(
        """
def rate#(k=2, *, m=1): return k + m
def other#(k=1, *, m=3): return k * m
""",
        """
        rate#()
        rate#(1)
        getattr(rate#, "k", 3)
        or_else(lambda: rate#.k)
        rate#.__defaults__[0]
        rate#.__kwdefaults__["m"]
        (lambda f=rate#: f())()
        functools.partial(rate#, 2)()
        inspect.signature(rate#).parameters["k"].default
        inspect.getfullargspec(rate#).defaults[0]
        rate#.__code__.co_argcount
        """,
        """
        rate#.k = v
        vars(rate#).pop("k", None)
        rate#.__defaults__ = (v,)
        rate#.__kwdefaults__ = {"m": v}
        rate#.__kwdefaults__["m"] = v
        rate#.__code__ = other#.__code__
        global rate#; rate# = other#
        global rate#; rate# = lambda k=v, *, m=1: k - m
        """,
        "rate#.k = 4",
    ),
    "a closure": Kind(
        """
def outer#():
    k, many, unset = 2, [1, 2], 1
    def read(): return k + many[0]
    def deep():
        def deeper(): return k * many[-1]
        return deeper()
    def empty():
        try: return unset
        except NameError: return 5
    def change(v):
        nonlocal k
        k = v
    def remove(v):
        nonlocal unset
        if v > 1: unset = v
        else:
            unset = 1
            del unset
    def count():
        nonlocal k
        k += 1
        return k
    return read, deep, empty, change, remove, many, count
read#, deep#, empty#, change#, remove#, many#, count# = outer#()
""",
        """
        read#()
        deep#()
        empty#()
        read#.__closure__[0].cell_contents
        inspect.getclosurevars(read#).nonlocals["k"]
        """,
        """
        change#(v)
        remove#(v)
        many#[0] = v
        many#.append(v)
        read#.__closure__[0].cell_contents = v
        """,
        "count#()\nchange#(2)\nmany#.append(2)",
    ),
    "a dict": Kind(
        "D# = {'k': 2, 'm': {'n': 1}, 3: 4}\nget# = D#.get",
        """
        D#["k"]
        D#.get("k", 9)
        D#.get("gone", 6)
        D#["m"]["n"]
        len(D#)
        (1 if "gone" in D# else 2)
        sum(a for a in D#.values() if not isinstance(a, dict))
        sum(isinstance(a, str) for a in D#)
        list(D#).index("k")
        get#("k")
        operator.itemgetter("k")(D#)
        {**D#}["k"]
        dict(D#)["k"]
        (D# | {"z": 1})["k"]
        [a for b, a in D#.items() if b == "k"][0]
        next(iter(map(D#.get, ["k"])))
        by_pattern(D#)
        len(json.dumps(D#))
        next(reversed(D#.values()))
        functools.partial(D#.get, "k")()
        copied(D#)["m"]["n"]
        (1 if D# == {"k": 2, "m": {"n": 1}, 3: 4} else 2)
        "{k}".format(**{"k": D#["k"]}).count("1")
        """,
        """
        D#["k"] = v
        D#["m"]["n"] = v
        D#["gone"] = v
        D#.pop("gone", None)
        D#["m"] = {"n": v}
        global D#; D# = {"k": v, "m": {"n": 1}, 3: 4}
        k = D#.pop("k"); D#["k"] = k
        D#.update(k=v)
        D#[3] = v
        D#.clear(); D#.update({"k": v, "m": {"n": v}})
        """,
        "D#['k'] = 1\nD#['k'] += 1\nD#.setdefault('gone', 2)\nD#.pop('gone', None)\nD#.setdefault('k', 2)",
    ),
    "other dicts": Kind(
        """
class Own#(dict):
    scale = 2
    def __getitem__(self, key): return dict.__getitem__(self, key) * self.scale
    def __missing__(self, key): return 1
class Lazy#(dict):
    def __missing__(self, key):
        self[key] = 3
        return 3
W# = Own#(k=1)
Z# = Lazy#(k=1)
Q# = collections.defaultdict(lambda: 2, k=1)
R# = collections.OrderedDict(k=1, m=2)
C# = collections.Counter(k=2)
N# = {"k": 2}
M# = collections.ChainMap({}, N#)
X# = types.MappingProxyType(N#)
Y# = weakref.WeakValueDictionary(own=Own#)
""",
        """
        W#["k"]
        Z#["k"]
        Z#["z"]
        Q#["k"]
        Q#["z"]
        Q#.get("z", 4)
        len(Q#)
        list(R#.values())[0]
        next(reversed(R#.values()))
        C#["k"]
        C#["z"]
        C#.most_common(1)[0][1]
        M#["k"]
        X#["k"]
        len(X#)
        Y#["own"].scale
        W#.scale
        sum(C#.values())
        """,
        """
        dict.__setitem__(W#, "k", v)
        Own#.scale = v
        W#.scale = v
        Z#["k"] = v
        Z#.pop("z", None)
        Q#["k"] = v
        Q#.pop("z", None)
        Q#.default_factory = lambda: v
        R#["k"] = v
        R#.move_to_end("k")
        C#["k"] += 1
        C#.update("z")
        N#["k"] = v
        N#["z"] = v
        M#.maps.insert(0, {"k": v})
        """,
        "Q#['z']\nC#['z'] += 1\nR#.move_to_end('k')",
    ),
    "a list": Kind(
        "L# = [2, 1, [3, 4]]\nappend# = L#.append",
        """
        L#[0]
        L#[1]
        L#[2][-1]
        L#[-1 % 2]
        len(L#)
        sum(L#[:2])
        max(L#[:2])
        sorted(L#[:2])[0]
        L#[::-1][-1]
        [a for a in L# if not isinstance(a, list)][0]
        (1 if 2 in L# else 3)
        L#.count(2)
        list(reversed(L#))[-1]
        [*L#][0]
        (lambda a, *b: a)(*L#)
        next(iter(L#))
        next(itertools.chain(L#))
        list(enumerate(L#))[0][1]
        list(zip(L#, L#))[0][0]
        operator.itemgetter(0)(L#)
        copied(L#)[2][0]
        by_pattern(L#)
        (L# + [1])[0]
        functools.reduce(operator.add, L#[:2])
        np.array(L#[:2]).sum()
        sum(map(float, L#[:2]))
        """,
        """
        L#[0] = v
        L#[1] = v
        L#[2][-1] = v
        L#.append(v)
        if len(L#) > 3: L#.pop()
        L#.insert(0, v)
        L#[:2] = L#[1::-1]
        global L#; L# = [v, 2, [1]]
        L#[2] = [v]
        L#[2].append(v)
        del L#[3:]
        """,
        "L#.append(1)\nL#[0] = 1\nL#[0] += 1\nif len(L#) > 3: L#.pop()\nL#[:2] = [1, 2]\nappend#(1)",
    ),
    "other containers": Kind(
        """
S# = {1, 2}
T# = (1, [2], {"k": 3})
Q# = collections.deque([1, 2], maxlen=4)
Z# = frozenset([1, 2])
K# = [1, 2]
U# = collections.UserList([1, 2])
I# = range(3)
J# = slice(0, 2)
""",
        """
        len(S#)
        sum(S#)
        (1 if 3 in S# else 2)
        max(S#)
        T#[0]
        T#[1][0]
        T#[2]["k"]
        Q#[0]
        Q#[-1]
        sum(Q#)
        len(Q#)
        len(Z#)
        len(I#)
        K#[J#][-1]
        U#[0]
        len(S# | {9})
        sum(S# & {1, 2, 3})
        """,
        """
        S#.add(v)
        S#.discard(v)
        global S#; S# ^= {v}
        T#[1][0] = v
        T#[2]["k"] = v
        global T#; T# = (v, [v], {"k": v})
        Q#.append(v)
        Q#.appendleft(v)
        Q#.rotate(1)
        global Z#; Z# = frozenset([1, int(v)])
        global I#; I# = range(int(v))
        global J#; J# = slice(0, 1 + (v > 1))
        U#[0] = v
        S#.clear(); S#.update([1, v])
        """,
        "S#.add(4)\nQ#.rotate(1)\nQ#.append(2)\nU#.append(2)\nT#[1].append(1)",
    ),
    "a cache": Kind(
        """
source# = {"k": 2}
@functools.lru_cache
def cached#(of=0): return source#["k"] + of
@functools.lru_cache(maxsize=1)
def small#(of): return source#["k"] * (of + 1)
@functools.cache
def listed#(): return [source#["k"]]
class Config#:
    k = 1
    @functools.lru_cache
    def read(self): return self.k
    @functools.cached_property
    def kept(self): return self.k
c# = Config#()
memo# = {}
def by_hand#(of=0):
    if of not in memo#: memo#[of] = source#["k"]
    return memo#[of]
""",
        """
        cached#()
        cached#(1)
        small#(0)
        small#(1)
        listed#()[0]
        c#.read()
        c#.kept
        by_hand#()
        cached#.__wrapped__()
        cached#.cache_info().currsize
        """,
        """
        source#["k"] = v
        source#["k"] = v; cached#.cache_clear()
        cached#(v)
        small#(v)
        listed#()[0] = v
        listed#.cache_clear()
        Config#.k = v
        Config#.read.cache_clear()
        c#.k = v
        vars(c#).pop("kept", None)
        memo#.clear()
        cached#.cache_clear()
        """,
        "cached#.cache_clear()\nmemo#.clear()\ncached#(7)\nlisted#().append(1)",
    ),
    "a thread-local": Kind(
        """
T# = threading.local()
T#.k = 2
class Own#(threading.local):
    k = 1
    def __init__(self): self.many = [2]
O# = Own#()
""",
        """
        getattr(T#, 'k', 3)
        or_else(lambda: T#.k)
        vars(T#).get('k', 1)
        O#.k
        O#.many[0]
        (1 if hasattr(T#, 'k') else 2)
        """,
        "T#.k = v\nO#.k = v\nO#.many[0] = v\nif hasattr(T#, 'k'): del T#.k\nOwn#.k = v",
        "T#.k = 5\nO#.many.append(1)",
    ),
    "the environment": Kind(
        "",
        """
        float(os.environ["NEEDLE_RANDOM"])
        float(os.environ.get("NEEDLE_RANDOM", "3"))
        float(os.getenv("NEEDLE_RANDOM_#", "4"))
        (1 if "NEEDLE_RANDOM_#" in os.environ else 2)
        float(os.path.expandvars("$NEEDLE_RANDOM"))
        float({**os.environ}["NEEDLE_RANDOM"])
        float(os.environb[b"NEEDLE_RANDOM"])
        sum(name.startswith("NEEDLE_RANDOM") for name in os.environ)
        """,
        """
        os.environ["NEEDLE_RANDOM"] = str(float(v))
        os.environ["NEEDLE_RANDOM_#"] = str(float(v))
        os.environ.pop("NEEDLE_RANDOM_#", None)
        """,
        "os.environ['NEEDLE_RANDOM'] = '2'\nos.environ.pop('NEEDLE_RANDOM_#', None)",
    ),
    "NumPy's settings": Kind(
        "",
        """
        (1 if np.geterr()["divide"] == "ignore" else 2)
        len(np.geterr()["invalid"])
        np.getbufsize() / 8192
        np.get_printoptions()["precision"]
        len(str(np.array([1 / 3])))
        (1 if np.geterrcall() is None else 2)
        """,
        """
        np.seterr(divide="ignore" if v > 1 else "warn")
        np.seterr(invalid="ignore" if v > 1 else "warn")
        np.setbufsize(8192 * int(v + 1))
        np.set_printoptions(precision=int(v) + 1)
        np.seterrcall(print if v > 1 else None)
        """,
        "np.seterr(divide='ignore')\nnp.setbufsize(16384)\nnp.set_printoptions(precision=3)",
    ),
    "Needle's settings": Kind(
        "",
        """
        (1 if needle.is_grad_enabled() else 2)
        (1 if (W * W).requires_grad else 2)
        under(needle.no_grad, needle.is_grad_enabled)
        under(needle.enable_grad, lambda: (W * 2.0).requires_grad)
        """,
        "pass",
    ),
    "a context variable": Kind(
        "V# = contextvars.ContextVar('V#', default=2)\nU# = contextvars.ContextVar('U#')",
        """
        V#.get()
        V#.get(5)
        U#.get(1)
        or_else(U#.get)
        contextvars.copy_context().get(V#, 3)
        contextvars.copy_context().run(V#.get)
        sum(1 for variable in contextvars.copy_context() if variable is U#)
        (lambda get=V#.get: get())()
        """,
        "V#.set(v)\nU#.set(v)\nglobal V#; V# = contextvars.ContextVar('V#', default=v)",
        "V#.set(3)\nU#.set(1)\nV#.reset(V#.set(9))",
    ),
    "a file": Kind(
        """
path# = os.path.join(FOLDER, "k#.txt")
def write#(v):
    with open(path#, "w") as file: file.write(str(float(v)))
write#(2)
def opened#():
    with open(path#) as file: return float(file.read())
text# = io.StringIO("2.5")
bytes# = io.BytesIO(b"12")
""",
        """
        opened#()
        float(np.loadtxt(path#))
        os.path.getsize(path#)
        (1 if os.path.exists(path# + "x") else 2)
        len(os.listdir(FOLDER))
        float(text#.getvalue())
        bytes#.getvalue()[0]
        float(next(open(path#)))
        len([name for name in map(os.fspath, os.listdir(FOLDER))])
        """,
        """
        write#(v)
        write#(v * 10)
        open(path# + "x", "w").close()
        if os.path.exists(path# + "x"): os.remove(path# + "x")
        text#.seek(0); text#.truncate(); text#.write(str(float(v)))
        bytes#.seek(0); bytes#.write(bytes([int(v)]))
        """,
        "write#(3)\ntext#.write('')",
    ),
    "memory": Kind(
        """
B# = bytearray([2, 3])
M# = memoryview(B#)
A# = array.array("d", [2.0, 1.0])
N# = np.array([2.0, 1.0, 3.0])
V# = memoryview(N#)
S# = N#[1:]
R# = np.array([(2, 1.0)], "i4,f8")
O# = np.array([2, [1]], dtype=object)
Z# = np.zeros(())
L# = np.arange(1000.0)
F# = N#.flat
K# = np.ma.masked_array([1.0, 2.0], [False, True])
""",
        """
        B#[0]
        M#[0]
        M#.tolist()[1]
        A#[0]
        sum(A#)
        N#[0]
        float(N#.sum())
        V#[0]
        S#[0]
        S#.sum()
        R#[0]["f0"]
        R#["f0"][0]
        O#[0]
        O#[1][0]
        Z# + 1
        L#[500]
        float(L#.sum()) / 1e5
        F#[0]
        len(B#)
        N#.size
        N#.ndim
        (N# > 1).sum()
        int(N#.argmax())
        K#.sum()
        bytes(B#)[0]
        float(np.frombuffer(N#)[0])
        N#.tolist()[0]
        N#.strides[0] / 8
        N#.flags.writeable * 1.0
        np.asarray(M#)[0]
        np.add(N#, 1)[0]
        """,
        """
        B#[0] = int(v)
        B#[1] = int(v)
        M#[0] = int(v)
        A#[0] = v
        N#[0] = v
        N#[1:] = v
        S#[0] = v
        R#["f0"] = int(v)
        O#[0] = v
        O#[1][0] = v
        Z#[...] = v
        L#[500] = v
        global N#; N# = np.array([v, 1.0, 3.0])
        global Z#; Z# = np.array(v)
        K#[0] = v
        K#.mask[1] = v > 1
        N#.flags.writeable = not N#.flags.writeable
        N#.shape = (3, 1) if N#.ndim == 1 and v == 2 else (3,)
        N# *= v
        V#[0] = float(v)
        F#[0] = v
        """,
        "B#[0] = 1\nN#[0] = 2\nN# *= 2\nA#.append(1.0)\nO#[1][0] = 2\nN#[1:] += 1",
    ),
    "a tensor": Kind(
        """
W# = Tensor([1.0, 2.0])
C# = Tensor([2.0, 3.0], requires_grad=False)
N# = {"w": Tensor(2.0), "many": [Tensor(1.0)]}
class Weight#(Tensor): pass
T# = Weight#([1.0], requires_grad=False)
T#.k = 2
H# = W# * 2
""",
        """
        W#
        C#
        W#[0]
        W#.sum()
        C#.mean()
        N#["w"]
        N#["many"][-1]
        W#.detach()
        W#.data
        W#.size
        (1 if W#.requires_grad else 2)
        (1 if W#.shape == (2,) else 2)
        T#.k
        T#
        H#
        sum(N#["many"])
        len(W#)
        C#.item(0)
        float(C#[0])
        C#.numpy()[1]
        (2 if C#[0] > 1 else 3)
        W#.dtype.itemsize
        or_else(lambda: W#.grad[0])
        C#.cached_data[0]
        """,
        """
        W#.data = Tensor([v, 1.0])
        W#.data = W# * 0.5
        C#.data = Tensor([v, 2.0])
        C#[0] = v
        C# *= v
        global W#; W# = Tensor([v, 2.0])
        global C#; C# = Tensor([v, 2.0], requires_grad=v > 1)
        N#["w"].data = Tensor(float(v))
        N#["w"] = Tensor(float(v))
        N#["many"].append(Tensor(float(v)))
        W#.requires_grad = not W#.requires_grad
        C#.requires_grad = not C#.requires_grad
        T#.k = v
        T#.data = Tensor([v])
        C#.cached_data[0] = v
        global H#; H# = W# * v
        (W# * v).sum().backward()
        W#.data = Tensor([v, 1.0], dtype=np.float32)
        W#.grad = None
        """,
        """
        W#.data = W# * 0.5 + 1
        C#[0] = 2
        N#["w"].data = N#["w"] + 1
        (W# * x).sum().backward()
        N#["many"].append(Tensor(1.0))
        C#.data = C# + 1
        N#["last"] = x
        W#.grad = None
        """,
    ),
    "an iterator": Kind(
        """
I# = itertools.cycle([1, 2, 3])
J# = iter(range(100))
def counting#():
    n = 1
    while True:
        got = yield n
        n = (n + 1 if got is None else got) % 7
K# = counting#()
R# = random.Random(3)
G# = np.random.default_rng(3)
E# = enumerate(itertools.repeat(1))
""",
        "R#.getrandbits(1)\nnext(I#)\nnext(J#)\nnext(K#)\nG#.integers(3)\nnext(E#)[0]\nround(R#.random())",
        """
        next(I#)
        next(J#)
        next(K#)
        K#.send(int(v)) if inspect.getgeneratorstate(K#) == 'GEN_SUSPENDED' else 0
        R#.seed(v)
        G#.normal()
        """,
        "next(I#)\nR#.random()\nG#.normal()",
    ),
    "what is called": Kind(
        """
source# = types.SimpleNamespace(k=2, f=lambda: 1)
p# = functools.partial(lambda a, b=1: a + b, 1, b=2)
b# = [1, 2].__len__
def decorated#(f):
    @functools.wraps(f)
    def run(*args): return f(*args) * source#.k
    return run
@decorated#
def g#(a=1): return a
@functools.singledispatch
def kind#(value): return 1
@kind#.register
def _(value: int): return 2
class Thing#:
    k = 1
    def method(self): return self.k
t# = Thing#()
m# = t#.method
class Abstract#(abc.ABC): pass
alive# = [t#]
w# = weakref.ref(t#)
x# = weakref.proxy(t#)
n# = "k"
""",
        """
        p#()
        b#()
        g#()
        source#.f()
        kind#(1.5)
        kind#(1)
        m#()
        (1 if isinstance(t#, Abstract#) else 2)
        w#().k
        x#.k
        getattr(t#, n#)
        source#.__dict__[n#]
        m#.__self__.k
        g#.__wrapped__()
        p#.keywords["b"]
        {"k": source#.k}[n#] if n# == "k" else 3
        (1 if callable(source#.f) else 2)
        (lambda *a, **k: len(a) + len(k))(*vars(source#))
        """,
        """
        source#.k = v
        source#.f = lambda: v
        p#.keywords["b"] = v
        global p#; p# = functools.partial(lambda a, b=1: a * b, v)
        kind#.register(float, lambda value: v)
        t#.k = v
        Thing#.k = v
        Thing#.method = lambda self: v
        Abstract#.register(Thing#)
        global b#; b# = [1] * int(v + 1); b# = b#.__len__
        global t#; t# = Thing#(); t#.k = v
        Thing#.m = v; global n#; n# = "m" if v > 1 else "k"
        t#.method = lambda: v
        g#.__wrapped__ = lambda: v
        """,
        "source#.k = 3\nt#.k = 2",
    ),
    "settings of libraries": Kind(
        """
D# = decimal.Context(prec=3)
X# = {"limit": 3}
""",
        """
        D#.prec
        decimal.getcontext().prec
        (1 if random.getstate()[1][0] % 2 else 2)
        len(warnings.filters) % 7
        sys.getrecursionlimit() / 1000
        len(sys.argv)
        (1 if sys.flags.optimize else 2)
        math.tau
        np.pi
        """,
        """
        D#.prec = int(v) + 2
        decimal.getcontext().prec = int(v) + 5
        random.seed(int(v))
        warnings.simplefilter("ignore")
        sys.setrecursionlimit(1000 + 100 * int(v))
        sys.argv.append("a")
        """,
        "random.random()\ndecimal.getcontext().prec = 7",
    ),
}

COMMON = """
W = Tensor([0.5, 1.5])
LOOK = getattr
names = globals
def or_else(f):
    try: return f()
    except (AttributeError, NameError, LookupError, TypeError): return 7
def copied(a):
    import copy
    return copy.deepcopy(a)
def importing():
    import CONFIG as c
    return c.k
def from_importing():
    from CONFIG import k
    return k
def by_pattern(a):
    match a:
        case {"k": k}: return k if not isinstance(k, dict) else 1
        case [first, *_]: return first
        case object(k=k): return k
    return 2
def under(mode, f):
    with mode(): return 2 if f() else 3
"""
CONFIG = """
import types
k, inner, table = 2, types.SimpleNamespace(k=1), {"a": 3}
def read(): return k + inner.k
"""
VALUES = [1, 2, 3, 1.5, 2.0, True, 4, "np.float64(2.0)", "np.float32(1.5)", "np.int64(3)"]
CONTEXTS = [
    "np.errstate(all='ignore')",
    "np.errstate(divide='ignore', over='warn')",
    "needle.no_grad()",
    "needle.enable_grad()",
    "contextlib.nullcontext()",
    "contextlib.suppress(KeyError)",
    "warnings.catch_warnings()",
    "decimal.localcontext()",
    "threading.Lock()",
]


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines() if line.strip()]


class Writer:
    """Writes the source of a program, and of what changes its state, from a seed."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.kinds = [self.one_of(list(KINDS.values())) for _ in range(self.rng.integers(1, 4))]
        self.helpers: list[str] = []
        self.globals: set[str] = set()
        self.writes = self.rng.random() < 0.3
        self.changes = [
            change.replace("#", str(i)) for i, kind in enumerate(self.kinds) for change in lines(kind.changes)
        ]
        self.body = [*self.block(self.rng.integers(1, 5)), *self.ending()]

    def one_of(self, choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def read(self, depth: int = 2) -> str:
        """An expression for a number, or a tensor."""
        how = self.rng.integers(14) if depth else 0
        if how < 6:
            i = self.rng.integers(len(self.kinds))
            return "(" + self.one_of(lines(self.kinds[i].reads)).replace("#", str(i)) + ")"
        a, b = self.read(depth - 1), self.read(depth - 1)
        if how == 6:
            return f"({a} + {b})"
        if how == 7:
            return f"({a} if NUMBER({b}) > 2 else 0.5)"
        if how == 8:
            return f"[{a} for _ in range(2)][1]"
        if how == 9:
            return f"(lambda q: q * {a})({b})"
        if how == 10:
            return f"({a} * 0.5)"
        if how == 11:
            return self.helper(a)
        if how == 12:
            return f"sum(q for q in [{a}, {b}])"
        return f"({a} and {b})" if "W" not in a else f"({a} - {b})"

    def helper(self, value: str) -> str:
        """A call of a function, a method, a closure, a generator or a property that reads a value."""
        n = len(self.helpers)
        how = self.rng.integers(7)
        if how == 0:
            self.helpers.append(f"def h{n}(): return {value}")
            return f"h{n}()"
        if how == 1:
            self.helpers.append(f"class H{n}:\n    @property\n    def value(self): return {value}\nh{n} = H{n}()")
            return f"h{n}.value"
        if how == 2:
            self.helpers.append(f"class H{n}:\n    def value(self): return {value}\nh{n} = H{n}().value")
            return f"h{n}()"
        if how == 3:
            self.helpers.append(f"def h{n}():\n    yield {value}")
            return f"next(h{n}())"
        if how == 4:
            self.helpers.append(f"def m{n}():\n    a = 1\n    def h(): return a * {value}\n    return h\nh{n} = m{n}()")
            return f"h{n}()"
        if how == 5:
            self.helpers.append(f"h{n} = [lambda: {value}, lambda: 1]")
            return f"h{n}[0]()"
        self.helpers.append(f"class H{n}:\n    def __call__(self, *a): return {value}\nh{n} = H{n}()")
        return f"list(map(h{n}, [1]))[0]"

    def write(self) -> list[str]:
        i = self.rng.integers(len(self.kinds))
        some = lines(self.kinds[i].writes)
        if not (some and self.writes):
            return ["y = y + x"]
        text = self.one_of(some).replace("#", str(i))
        if text.endswith("+= 1") and text.split()[0].isidentifier():
            self.globals.add(text.split()[0])
        return text.split("; ")

    def block(self, count: int, depth: int = 2) -> list[str]:
        found: list[str] = []
        for _ in range(count):
            found += self.statement(depth)
        return found

    def statement(self, depth: int) -> list[str]:
        how = self.rng.integers(13 if depth else 5)

        def within() -> list[str]:
            return ["    " + line for line in self.block(self.rng.integers(1, 3), depth - 1)]

        if how < 3:
            return [f"y = y * {self.read()}"]
        if how == 3:
            return self.write()
        if how == 4:
            return [f"y = y + np.sin(x) * {self.read()}"]
        if how == 5:
            return [f"if NUMBER({self.read()}) > 2:", *within(), "else:", *within()]
        if how == 6:
            return [f"for q in range(int(NUMBER({self.read()})) % 3):", *within()]
        if how == 7:
            return [f"with {self.one_of(CONTEXTS)}:", *within()]
        if how == 8:
            return ["try:", *within(), "except (LookupError, NameError, AttributeError):", "    y = y - 1"]
        if how == 9:
            return [f"y = y + needle.grad(lambda x: (x * x * {self.read()}).sum())(x)"]
        if how == 10:
            return ["def step(y):", *within(), "    return y", "y = step(y)"]
        if how == 11:
            return [f"y = y + sum([x * {self.read()} for _ in range(2)])"]
        return ["try:", *within(), "finally:", "    y = y * 0.5"]

    def ending(self) -> list[str]:
        return self.one_of([["return y"], ["return y, x * W"], ["return {'y': y, 'n': NUMBER(" + self.read() + ")}"]])

    def source(self) -> str:
        made = [kind.make.replace("#", str(i)) for i, kind in enumerate(self.kinds)]
        named = [f"    global {', '.join(sorted(self.globals))}"] * bool(self.globals)
        body = [*named, "    y = x * W", *["    " + line for line in self.body]]
        changing = []
        for i, change in enumerate(self.changes):
            parts = sorted(change.split("; "), key=lambda part: not part.startswith("global"))
            changing.append("\n    ".join([f"def change_{i}(v):", *parts]))
        return "\n".join([IMPORTS, COMMON, NUMBER, *made, *self.helpers, "def f(x):", *body, *changing])


NUMBER = """
def NUMBER(a):
    if isinstance(a, Tensor): return a.size
    if isinstance(a, np.ndarray): return a.size
    return a if isinstance(a, (int, float, np.generic)) else 1
"""


class World:
    """A module in which a program runs, as it is or captured, and all that happens to it, by the seed."""

    def __init__(self, seed: int, captured: bool, folder: str):
        writer = Writer(seed)
        self.rng = np.random.default_rng([seed, 1])
        self.writer = writer
        module, config = types.ModuleType("program_"), types.ModuleType("config_")
        module.__file__, config.__file__ = "/programs/program_.py", "/programs/config_.py"
        module.FOLDER = folder  # type: ignore[attr-defined]
        sys.modules.update(program_=module, config_=config)
        exec(compile(CONFIG, config.__file__, "exec"), vars(config))
        source = writer.source().replace("CONFIG", "config_")
        linecache.cache[module.__file__] = len(source), None, source.splitlines(True), module.__file__
        exec(compile(source, module.__file__, "exec"), vars(module))
        self.module: Any = module
        self.captured, self.differentiates = captured, "needle.grad(" in source
        self.f: Any = needle.compile(module.f) if captured else module.f
        self.seen: list[Any] = []

    def run(self, calls: int) -> list[Any]:
        for _ in range(calls):
            for _ in range(self.rng.choice([0, 0, 1, 1, 2])):
                change = getattr(self.module, f"change_{self.rng.integers(len(self.writer.changes))}", None)
                value = VALUES[self.rng.integers(len(VALUES))]
                value = eval(value) if isinstance(value, str) else value
                if change is not None:
                    self.note(lambda change=change, value=value: change(value) and None)
            self.note(self.call)
        namespace = {**vars(self.module), "x": np.ones(2)}
        for i, kind in enumerate(self.writer.kinds):
            for read in lines(kind.reads):
                text = read.replace("#", str(i)).replace("CONFIG", "config_")
                self.note(lambda text=text: numbers(eval(text, namespace)))
        return self.seen

    def note(self, do: Callable[[], Any]) -> None:
        try:
            self.seen.append(do())
        except Exception as error:
            self.seen.append(type(error).__name__)

    def call(self) -> Any:
        how = self.rng.integers(12)
        x: Any = self.rng.normal(size=2)
        if how == 0:
            x = Tensor(x)
        elif how == 1:
            x = Tensor(x, requires_grad=False)
        elif how == 2:
            x = x.astype(np.float32)
        takes_arrays = self.captured and how != 5 and not self.differentiates
        if isinstance(x, np.ndarray) and not takes_arrays:  # what a captured function makes of an array
            x = Tensor(x, requires_grad=False)
        if how == 3:
            with needle.no_grad():
                return numbers(self.f(x))
        if how == 4:
            return in_a_thread(lambda: numbers(self.f(x)))
        if how == 5:
            return numbers(needle.jvp(self.f, (x,), (np.ones(2),)))
        result = self.f(x)
        found = numbers(result)
        y = result[0] if isinstance(result, tuple) else result["y"] if isinstance(result, dict) else result
        if how > 5 and isinstance(y, Tensor) and y.requires_grad:
            self.module.W.grad = None
            y.sum().backward()
            found = found, numbers(self.module.W.grad)
        return found


def in_a_thread(do: Callable[[], Any]) -> Any:
    found: list[Any] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            found.append(do())
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def numbers(a: Any) -> Any:
    """What can be seen of a value, in a form that can be compared."""
    if isinstance(a, Tensor):
        return *numbers(a.detach().numpy())[:-1], a.requires_grad
    if isinstance(a, (np.ndarray, np.generic)) and a.dtype.kind in "biuf":
        return "array", a.dtype.char, a.shape, tuple(map(rounded, a.reshape(-1).tolist())), False
    if isinstance(a, (tuple, list)):
        return type(a).__name__, *map(numbers, a)
    if isinstance(a, dict):
        return "dict", *[(key, numbers(value)) for key, value in a.items()]
    return (type(a).__name__, rounded(a)) if isinstance(a, (int, float, str)) else type(a).__name__


def rounded(a: Any) -> Any:
    return float(f"{a:.6e}") if isinstance(a, float) else a


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Puts back what the whole process shares."""
    errors, call, size, shown = np.geterr(), np.geterrcall(), np.getbufsize(), np.get_printoptions()
    limit, argv, state = sys.getrecursionlimit(), [*sys.argv], random.getstate()
    os.environ["NEEDLE_RANDOM"] = "2.5"
    random.seed(0)
    try:
        with warnings.catch_warnings(), decimal.localcontext():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.seterr(**errors)
        np.seterrcall(call)
        np.setbufsize(size)
        np.set_printoptions(**shown)
        sys.setrecursionlimit(limit)
        sys.argv[:] = argv
        random.setstate(state)
        for name in [name for name in os.environ if name.startswith("NEEDLE_RANDOM")]:
            del os.environ[name]
        vars(builtins).pop("rate_of_a_random_test", None)
        for name in ("program_", "config_"):
            sys.modules.pop(name, None)


def outcome(seed: int, captured: bool, calls: int = 7) -> tuple[list[Any], int]:
    """What is seen of a program in all of its calls, and how many graphs were captured of it."""

    def run() -> tuple[list[Any], int]:
        with tempfile.TemporaryDirectory() as folder, settings():
            world = World(seed, captured, folder)
            seen = world.run(calls)
        if not captured:
            return seen, 0
        return seen, sum(c.replay is not None for found in world.f._captured.values() for c in found)

    return contextvars.copy_context().run(run)


def wrong(seed: int) -> str:
    """What differs between a program as it is and captured; "" if nothing does."""
    expected, got = outcome(seed, False)[0], outcome(seed, True)[0]
    for i, (a, b) in enumerate(zip(expected, got, strict=True)):
        if a != b:
            return f"seed {seed}, step {i} of {len(got)}: {b}, not {a}"
    return ""


@pytest.mark.parametrize("block", range(10))
def test_a_captured_program_reads_state_anew(block):
    for seed in range(10 * block, 10 * (block + 1)):
        assert not wrong(seed)


def test_programs_are_captured():
    """A comparison of runs as they are would prove nothing."""
    assert sum(outcome(seed, True)[1] > 0 for seed in range(40)) >= 20


if __name__ == "__main__":
    search(wrong)
