"""What a function reads from outside: what is guarded, what is not, and what of it the function itself changes."""
# ruff: noqa: PLW0108 - a lambda is there for its closure

from __future__ import annotations

import cProfile
import dataclasses
import enum
import functools
import itertools
import logging
import math
import operator
import random
import sys
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from contextvars import ContextVar
from typing import Any

import needle as ndl
import numpy as np
import pytest
from needle import CompileWarning, Tensor
from needle.compile import search as module
from needle.compile.guards import Guards
from needle.compile.reads import Reads
from needle.compile.search import TooMuchError


def reads_of(f: Any, *args: Any, **kwargs: Any) -> Reads:
    reads = Reads(f, args, kwargs)
    with reads:
        f(*args, **kwargs)
    return reads


def guards_of(f: Any, *args: Any, **kwargs: Any) -> Guards:
    """Of a function that changes nothing."""
    reads = reads_of(f, *args, **kwargs)
    assert reads.changed() == ""
    guards = reads.guards()
    assert guards.holds() and guards.why() == ""
    return guards


def changed_by(f: Any, *args: Any, **kwargs: Any) -> str:
    return reads_of(f, *args, **kwargs).changed()


def module_of(name: str, source: str, **given: Any) -> Any:
    """A module of the user's, as if it had been imported."""
    made = types.ModuleType(name)
    made.__file__ = f"/somewhere/{name}.py"
    vars(made).update(given)
    exec(compile(source, made.__file__, "exec"), vars(made))
    return made


class Settings:
    def __init__(self, **values: Any):
        self.__dict__.update(values)


class Slotted:
    __slots__ = ("factor", "other")

    def __init__(self, factor: Any):
        self.factor = factor


@dataclasses.dataclass
class Options:
    rate: float = 0.1
    steps: list[int] = dataclasses.field(default_factory=lambda: [1, 2])


class Layer:
    scale = 2.0

    def __init__(self, size: int = 3):
        self.W = Tensor(np.ones((size, size)))
        self.training = True

    def __call__(self, x: Any) -> Any:
        return self.forward(x)

    def forward(self, x: Any) -> Any:
        return x * self.scale if self.training else x

    def unused(self) -> int:
        return RATE


class Net:
    def __init__(self) -> None:
        self.layers = [Layer(), Layer()]
        self.history: list[float] = []
        self.calls = 0

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def count(self, x: Any) -> Any:
        self.calls += 1
        return x

    def note(self, x: Any) -> Any:
        self.history.append(x)
        return x


RATE: Any = 1
MASK = np.array([1.0, 0.0])
TABLE: dict[str, Any] = {"a": 1}
NUMBERS: list[Any] = [1, 2]


def helper(x: Any) -> Any:
    return x * RATE


def reads_rate(x: Any) -> Any:
    return helper(x) + 1


def times(x: Any, by: Any = 2, *, plus: Any = 0) -> Any:
    return x * by + plus


@pytest.fixture(autouse=True)
def _as_they_were(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whatever a test does to this module's globals and classes is undone."""
    monkeypatch.setattr(sys.modules[__name__], "NUMBERS", [1, 2])
    monkeypatch.setattr(sys.modules[__name__], "TABLE", {"a": 1})
    monkeypatch.setattr(sys.modules[__name__], "MASK", np.array([1.0, 0.0]))


# ------------------------------------------------------------------------------------------------------- closures


def test_nothing_is_read():
    guards = guards_of(lambda x: x + 1, 2)
    assert guards.holds()


def test_a_number_that_is_closed_over():
    n = 1

    def f(x: Any) -> Any:
        return x * n

    guards = guards_of(f, 2)
    n = 2
    assert not guards.holds()
    assert guards.why() == "n, which it closes over, was 1 and is 2"
    n = 1
    assert guards.holds()


def test_a_tensor_that_is_closed_over_is_known_by_identity():
    W = Tensor([1.0, 2.0])

    def f(x: Any) -> Any:
        return x * W

    guards = guards_of(f, 2)
    W.data = Tensor([3.0, 4.0])
    assert guards.holds()
    W[0] = 5.0
    assert guards.holds()
    W = Tensor([3.0, 4.0])
    assert not guards.holds()
    assert guards.why() == "W, which it closes over, is another Tensor"


def test_an_array_that_is_closed_over():
    a = np.arange(3.0)

    def f(x: Any) -> Any:
        return x + a

    guards = guards_of(f, 1)
    a[1] = 7
    assert guards.why() == "an array that it closes over (a) was written into since"
    a[1] = 1
    assert guards.holds()
    a = np.arange(3.0)
    assert not guards.holds()  # whoever made it may go on and write into it


def test_a_cell_that_is_not_set():
    def f(x: Any) -> Any:
        try:
            return x * late
        except NameError:
            return x

    guards = guards_of(f, 1)
    late = 3
    assert not guards.holds()
    assert guards.why() == "late, which it closes over, did not exist and is 3"
    guards = guards_of(f, 1)
    del late
    assert not guards.holds()
    assert guards.why() == "late, which it closes over, is gone"


def test_what_a_helpers_closure_holds():
    def make() -> Any:
        n = 1

        def inner(x: Any) -> Any:
            return x * n

        def set_to(value: Any) -> None:
            nonlocal n
            n = value

        return inner, set_to

    inner, set_to = make()
    guards = guards_of(lambda x: inner(x), 1)
    set_to(2)
    assert not guards.holds()
    assert guards.why() == "n, which inner closes over, was 1 and is 2"


def test_a_closure_of_what_did_not_run():
    n = 1

    def inner(x: Any) -> Any:
        return x * n

    guards = guards_of(lambda x: inner(x) if x > 5 else x, 1)
    n = 2
    assert guards.holds()
    guards = guards_of(lambda x: inner(x) if x > 5 else x, 6)
    n = 3
    assert not guards.holds()


# -------------------------------------------------------------------------------------------------------- globals


def test_a_global(monkeypatch):
    guards = guards_of(helper, 1)
    monkeypatch.setitem(globals(), "RATE", 2)
    assert not guards.holds()
    assert guards.why() == "global RATE was 1 and is 2"


def test_a_global_of_a_helper(monkeypatch):
    guards = guards_of(reads_rate, 1)
    monkeypatch.setitem(globals(), "RATE", 2)
    assert not guards.holds()


def test_a_global_that_is_not_there(monkeypatch):
    def f(x: Any) -> Any:
        return x * NOT_YET if x > 5 or "NOT_YET" in globals() else x  # noqa: F821

    guards = guards_of(f, 1)
    monkeypatch.setitem(globals(), "NOT_YET", 2)
    assert not guards.holds()
    assert guards.why() == "global NOT_YET did not exist and is 2"
    guards = guards_of(f, 1)
    monkeypatch.delitem(globals(), "NOT_YET")
    assert guards.why() == "global NOT_YET is gone"


def test_a_global_that_hides_a_builtin(monkeypatch):
    def f(x: Any) -> Any:
        return max(x, 1)

    guards = guards_of(f, 1)
    monkeypatch.setitem(globals(), "max", min)
    assert not guards.holds()


def test_a_global_of_code_that_did_not_run(monkeypatch):
    def f(x: Any) -> Any:
        return reads_rate(x) if x > 5 else x

    guards = guards_of(f, 1)
    monkeypatch.setitem(globals(), "RATE", 2)
    assert guards.holds()
    guards = guards_of(f, 6)
    monkeypatch.setitem(globals(), "RATE", 3)
    assert not guards.holds()


def test_a_function_in_a_global(monkeypatch):
    guards = guards_of(reads_rate, 1)
    monkeypatch.setitem(globals(), "helper", lambda x: x)
    assert guards.why() == "global helper is another function"


def test_the_globals_of_a_function_that_is_made_during_the_call(monkeypatch):
    def f(x: Any) -> Any:
        n = x + 1
        inner = [lambda y: y * n * RATE]
        return inner[0](x)

    guards = guards_of(f, 1)
    monkeypatch.setitem(globals(), "RATE", 2)
    assert not guards.holds()


def test_the_globals_of_a_comprehension_and_of_a_generator(monkeypatch):
    guards = guards_of(lambda x: sum(y * RATE for y in [x, x]), 1)
    monkeypatch.setitem(globals(), "RATE", 2)
    assert not guards.holds()
    guards = guards_of(lambda x: [y * RATE for y in [x, x]], 1)
    monkeypatch.setitem(globals(), "RATE", 3)
    assert not guards.holds()


@pytest.mark.parametrize("place", ["MASK", "TABLE", "NUMBERS"])
def test_what_is_written_into_a_global(place):
    def of_mask(x: Any) -> Any:
        return x * MASK

    def of_table(x: Any) -> Any:
        return x * TABLE["a"]

    def of_numbers(x: Any) -> Any:
        return x * NUMBERS[0]

    guards = guards_of({"MASK": of_mask, "TABLE": of_table, "NUMBERS": of_numbers}[place], 1)
    globals()[place]["a" if place == "TABLE" else 0] = 5
    assert not guards.holds()
    assert (
        guards.why()
        == {
            "MASK": "a global array (MASK) was written into since",
            "TABLE": "TABLE['a'] was 1 and is 5",
            "NUMBERS": "NUMBERS[0] was 1 and is 5",
        }[place]
    )


# -------------------------------------------------------------------------------------------- modules and classes


def test_attributes_of_a_module():
    config = module_of("config", "lr = 0.1\nother = 1")
    program = module_of("program", "def f(x):\n    return x * config.lr", config=config)
    guards = guards_of(program.f, 1)
    config.other = 2
    assert guards.holds()
    config.lr = 0.2
    assert not guards.holds()
    assert guards.why() == "config.lr was 0.1 and is 0.2"


def test_attributes_of_a_module_in_a_package_and_by_other_ways():
    config = module_of("config", "lr = 0.1\nn = 1\nm = 2\nlimits = [1, 2]")
    package = module_of("package", "", config=config)
    source = """
def f(x):
    c = package.config
    return x * package.config.lr * c.n * getattr(c, "m") * package.config.limits[0]
"""
    program = module_of("program", source, package=package)
    for name, value in [("lr", 0.2), ("n", 2), ("m", 3), ("limits", [1, 2])]:
        guards = guards_of(program.f, 1)
        setattr(config, name, value)
        assert not guards.holds(), name
    guards = guards_of(program.f, 1)
    config.limits.append(3)
    assert not guards.holds()


def test_a_module_that_is_imported_within(monkeypatch):
    config = module_of("settings_of_a_test", "lr = 0.1\nn = 1")
    monkeypatch.setitem(sys.modules, "settings_of_a_test", config)
    source = """
def f(x):
    from settings_of_a_test import lr
    import settings_of_a_test as s
    return x * lr * s.n
"""
    program = module_of("program", source)
    guards = guards_of(program.f, 1)
    config.lr = 0.2
    assert not guards.holds()
    guards = guards_of(program.f, 1)
    config.n = 2
    assert not guards.holds()


def test_a_module_that_is_closed_over():
    config = module_of("config", "lr = 0.1")
    guards = guards_of(lambda x: x * config.lr, 1)
    config.lr = 0.2
    assert not guards.holds()


def test_a_function_of_a_module_is_followed():
    tools = module_of("tools", "n = 1\ndef g(x):\n    return x * n")
    program = module_of("program", "def f(x):\n    return tools.g(x)", tools=tools)
    guards = guards_of(program.f, 1)
    tools.n = 2
    assert guards.why() == "global n was 1 and is 2"
    guards = guards_of(program.f, 1)
    tools.g = lambda x: x
    assert not guards.holds()


def test_a_function_of_a_library_that_is_replaced(monkeypatch):
    program = module_of("program", "def f(x):\n    return math.sqrt(x)", math=math)
    guards = guards_of(program.f, 1.0)
    monkeypatch.setattr(math, "sqrt", math.exp)
    assert not guards.holds()


def test_a_class_that_holds_settings():
    class Config:
        lr = 0.1
        sizes = [1, 2]  # noqa: RUF012

    guards = guards_of(lambda x: x * Config.lr, 1)
    Config.lr = 0.2
    assert guards.why() == "Config.lr was 0.1 and is 0.2"
    guards = guards_of(lambda x: x * Config.lr, 1)
    Config.sizes.append(3)
    assert not guards.holds()


def test_a_method_that_is_replaced_on_its_class(monkeypatch):
    net = Net()
    guards = guards_of(lambda x: net(x), 1)
    monkeypatch.setattr(Layer, "unused", lambda self: 0)
    assert guards.holds()
    monkeypatch.setattr(Layer, "forward", lambda self, x: x)
    assert not guards.holds()


def test_a_method_that_is_replaced_on_the_object():
    layer = Layer()
    guards = guards_of(lambda x: layer(x), 1)
    layer.forward = lambda x: x  # type: ignore[method-assign]
    assert not guards.holds()
    assert "layer.forward did not exist" in guards.why()


def test_a_method_that_a_derived_class_gets():
    class Base:
        def g(self, x: Any) -> Any:
            return x

    class Derived(Base):
        pass

    thing = Derived()
    guards = guards_of(lambda x: thing.g(x), 1)
    Derived.g = lambda self, x: 2 * x  # type: ignore[method-assign]
    assert not guards.holds()


def test_properties_static_and_class_methods():
    class Thing:
        n = 1

        @property
        def a(self) -> Any:
            return RATE

        @staticmethod
        def b(x: Any) -> Any:
            return x

        @classmethod
        def c(cls, x: Any) -> Any:
            return x * cls.n

    thing = Thing()

    def f(x: Any) -> Any:
        return thing.b(x) + thing.c(x) + thing.a

    for name, value in [("a", 3), ("b", staticmethod(lambda x: 1)), ("c", classmethod(lambda cls, x: 2)), ("n", 4)]:
        guards = guards_of(f, 1)
        setattr(Thing, name, value)
        assert not guards.holds(), name


def test_the_globals_of_a_property(monkeypatch):
    class Thing:
        @property
        def a(self) -> Any:
            return RATE

    thing = Thing()
    guards = guards_of(lambda x: thing.a * x, 1)
    monkeypatch.setitem(globals(), "RATE", 2)
    assert not guards.holds()


def test_an_object_that_gets_another_class():
    class Other(Layer):
        pass

    layer = Layer()
    guards = guards_of(lambda x: layer(x), 1)
    layer.__class__ = Other
    assert not guards.holds()


# -------------------------------------------------------------------------------------------------------- defaults


def test_defaults():
    def f(x: Any, by: Any = 2, *, plus: Any = 0) -> Any:
        return x * by + plus

    guards = guards_of(f, 1)
    f.__defaults__ = (3,)
    assert not guards.holds()
    guards = guards_of(f, 1)
    f.__kwdefaults__["plus"] = 1
    assert guards.why() == "the default of plus was 0 and is 1"
    guards = guards_of(f, 1)
    f.__kwdefaults__ = {"plus": 1}
    assert not guards.holds()


def test_what_is_in_a_default():
    def f(x: Any, a: Any = np.ones(2), d: Any = {"n": 1}) -> Any:  # noqa: B006, B008
        return x * a * d["n"]

    guards = guards_of(f, 1)
    f.__defaults__[0][0] = 2  # type: ignore[index]
    assert guards.why() == "an array (a) was written into since"
    guards = guards_of(f, 1)
    f.__defaults__[1]["n"] = 2  # type: ignore[index]
    assert not guards.holds()


def test_code_that_is_replaced():
    def f(x: Any) -> Any:
        return x

    def g(x: Any) -> Any:
        return x + 1

    guards = guards_of(f, 1)
    f.__code__ = g.__code__
    assert not guards.holds()


def test_attributes_of_a_function():
    def f(x: Any) -> Any:
        return x * f.n

    f.n = 1
    guards = guards_of(f, 1)
    f.n = 2
    assert guards.why() == "f.n was 1 and is 2"


# --------------------------------------------------------------------------------------------- objects and members


def test_an_attribute():
    settings = Settings(factor=2, other=[1])
    guards = guards_of(lambda x: x * settings.factor, 1)
    settings.factor = 3
    assert not guards.holds()
    assert guards.why() == "settings.factor was 2 and is 3"


def test_an_attribute_that_no_code_names_is_not_read():
    settings = Settings(factor=2, other=[1], data=np.ones(3))
    guards = guards_of(lambda x: x * settings.factor, 1)
    settings.other.append(2)
    settings.data[0] = 2
    settings.data = 3
    assert guards.holds()


@pytest.mark.parametrize(
    "f",
    [
        lambda s: getattr(s, "fac" + "tor"),
        lambda s: vars(s)["fac" + "tor"],
        lambda s: s.__dict__["fac" + "tor"],
        lambda s: list(s.__dict__.values()),
        lambda s: operator.attrgetter("fac" + "tor")(s),
        lambda s: OF_FACTOR(s),
    ],
)
def test_an_attribute_that_is_read_by_other_ways(f):
    settings = Settings(factor=2)
    guards = guards_of(lambda: f(settings))
    settings.factor = 3
    assert not guards.holds()


OF_FACTOR = operator.attrgetter(f"{'fac'}tor")


def test_an_attribute_that_a_pattern_reads():
    class Point:
        __match_args__ = ("a", "b")

        def __init__(self) -> None:
            self.a, self.b = 1, 2

    point = Point()

    def f(x: Any) -> Any:
        match point:
            case Point(p, q):
                return x * p * q

    guards = guards_of(f, 1)
    point.b = 3
    assert not guards.holds()


def test_an_attribute_that_comes_and_goes():
    settings = Settings(factor=2)

    def f(x: Any) -> Any:
        return x * settings.factor if hasattr(settings, "factor") else x

    guards = guards_of(f, 1)
    del settings.factor
    assert not guards.holds()
    assert guards.why() == "settings.factor is gone"
    guards = guards_of(f, 1)
    settings.factor = 2
    assert guards.why() == "settings.factor did not exist and is 2"


def test_all_attributes_at_once():
    settings = Settings(factor=2)
    guards = guards_of(lambda x: x * settings.factor, 1)
    settings.__dict__ = {"factor": 3}
    assert not guards.holds()


def test_an_attribute_in_a_slot():
    thing = Slotted(2)
    guards = guards_of(lambda x: x * thing.factor, 1)
    thing.factor = 3
    assert guards.why() == "thing.factor was 2 and is 3"
    guards = guards_of(lambda x: x if hasattr(thing, "other") else 0, 1)
    thing.other = 1
    assert guards.why() == "thing.other did not exist and is 1"
    guards = guards_of(lambda x: thing.other, 1)
    del thing.other
    assert not guards.holds()


def test_a_nested_attribute():
    outer = Settings(inner=Settings(values={"a": [1, Settings(n=1)]}))
    guards = guards_of(lambda x: x * outer.inner.values["a"][1].n, 1)
    outer.inner.values["a"][1].n = 2
    assert not guards.holds()
    assert guards.why() == "outer.inner.values['a'][1].n was 1 and is 2"


def test_training_of_a_layer_inside():
    net = Net()
    guards = guards_of(lambda x: net(x), 1)
    net.layers[1].training = False
    assert not guards.holds()
    assert guards.why() == "net.layers[1].training was True and is False"


def test_another_instance():
    net = Net()
    guards = guards_of(lambda x: net(x), 1)
    net.layers[0] = Layer()
    assert guards.why() == "net.layers[0] is another Layer"
    guards = guards_of(lambda x: net(x), 1)
    net = Net()
    assert not guards.holds()


def test_an_object_that_is_called():
    net = Net()
    guards = guards_of(net, 1)
    net.layers[0].training = False
    assert guards.why() == "self.layers[0].training was True and is False"


def test_a_bound_method():
    net = Net()
    guards = guards_of(net.__call__, 1)
    net.layers.append(Layer())
    assert guards.why() == "a list (self.layers) grew from 2 to 3 since"


def test_a_method_of_an_object_in_a_closure():
    layer = Layer()
    forward = layer.forward
    guards = guards_of(lambda x: forward(x), 1)
    layer.training = False
    assert not guards.holds()


def test_an_object_that_is_given():
    def f(layer: Any, x: Any) -> Any:
        return layer(x)

    layer = Layer()
    guards = guards_of(f, layer, 1)
    layer.training = False
    assert guards.why() == "layer.training was True and is False"
    guards = guards_of(f, x=1, layer=layer)
    layer.training = True
    assert not guards.holds()


def test_numbers_and_arrays_that_are_given_are_no_state():
    a, options = np.ones(2), {"n": 1, "a": [np.ones(2)]}
    guards = guards_of(lambda x, o: x * o["n"] * o["a"][0], a, options)
    a[0] = 2
    options["n"] = 2
    options["a"][0][0] = 3  # type: ignore[index]
    options["m"] = 4
    assert guards.holds()


def test_members_of_a_list():
    values = [1, 2, 3]
    for change in (
        lambda: values.append(4),
        lambda: values.pop(),
        lambda: values.__setitem__(0, 5),
        lambda: values.reverse(),
    ):
        guards = guards_of(lambda x: x * sum(values), 1)
        change()
        assert not guards.holds()


def test_members_of_a_dict():
    values: dict[Any, Any] = {"a": 1, "b": 2}
    for change, why in (
        (lambda: values.update(c=4), "a dict that it closes over (values) grew from 2 to 3 since"),
        (lambda: values.pop("c"), "values['c'] is gone"),
        (lambda: values.update(a=7), "values['a'] was 1 and is 7"),
        (
            lambda: values.update(a=values.pop("a")),
            "a dict that it closes over (values) has other keys, or in another order since",
        ),
    ):
        guards = guards_of(lambda x: x * values["a"], 1)
        change()
        assert not guards.holds()
        assert guards.why() == why


@pytest.mark.parametrize("kind", [OrderedDict, lambda d: defaultdict(list, d), types.MappingProxyType])
def test_other_dicts(kind):
    inner = {"a": 1}
    values = kind(inner)
    guards = guards_of(lambda x: x * values["a"], 1)
    (inner if isinstance(values, types.MappingProxyType) else values)["a"] = 2
    assert not guards.holds()
    (inner if isinstance(values, types.MappingProxyType) else values).pop("a")
    assert not guards.holds()
    assert guards.why() == "values['a'] is gone"
    assert "a" not in values


def test_a_dict_with_a_look_up_of_its_own():
    class Counting(dict):  # type: ignore[type-arg]
        looked = 0

        def __getitem__(self, key: Any) -> Any:
            self.looked += 1
            return super().__getitem__(key)

    values = Counting(a=1)
    guards = guards_of(lambda x: x + len(values), 1)
    assert values.looked == 0
    dict.__setitem__(values, "a", 2)
    assert not guards.holds()
    assert values.looked == 0


def test_members_of_sets_and_deques():
    values: Any = {1, 2}
    guards = guards_of(lambda x: x in values, 1)
    values.add(3)
    assert guards.why() == "a set that it closes over (values) grew from 2 to 3 since"
    values.discard(1)
    assert guards.why() == "a set that it closes over (values) has other members since"
    values = deque([1, 2])
    guards = guards_of(lambda x: x in values, 1)
    values.rotate()
    assert not guards.holds()


def test_what_is_in_a_tuple():
    values = (1, [2, np.ones(2)], Layer())
    guards = guards_of(lambda x: values[2](x), 1)
    values[2].training = False  # type: ignore[attr-defined]
    assert guards.why() == "values[2].training was True and is False"
    guards = guards_of(lambda x: values[0], 1)
    values[1][1][0] = 2  # type: ignore[index]
    assert guards.why() == "an array (values[1][1]) was written into since"


def test_members_of_a_dataclass():
    options = Options()
    guards = guards_of(lambda x: x * options.rate * options.steps[0], 1)
    options.rate = 0.2
    assert guards.why() == "options.rate was 0.1 and is 0.2"
    guards = guards_of(lambda x: x * options.rate * options.steps[0], 1)
    options.steps[0] = 2
    assert guards.why() == "options.steps[0] was 1 and is 2"


def test_a_namespace():
    config = types.SimpleNamespace(lr=0.1)
    guards = guards_of(lambda x: x * config.lr, 1)
    config.lr = 0.2
    assert not guards.holds()


def test_a_partial():
    layer = Layer()
    g = functools.partial(times, by=layer.W, plus=layer)
    f = functools.partial(lambda x, layer: layer(x), layer=layer)
    guards = guards_of(f, 1)
    layer.training = False
    assert not guards.holds()
    guards = guards_of(lambda: g.keywords)
    g.keywords["plus"] = 1
    assert not guards.holds()


def test_a_function_that_is_decorated(monkeypatch):
    def twice(f: Any) -> Any:
        @functools.wraps(f)
        def wrapped(x: Any) -> Any:
            return f(f(x))

        return wrapped

    guards = guards_of(twice(reads_rate), 1)
    monkeypatch.setitem(globals(), "RATE", 2)
    assert not guards.holds()


def test_a_context_variable():
    variable: ContextVar[Any] = ContextVar("variable", default=1)
    guards = guards_of(lambda x: x * variable.get(), 1)
    token = variable.set(2)
    assert not guards.holds()
    variable.reset(token)
    assert guards.holds()


# -------------------------------------------------------------------------------------------------- in-place changes


@pytest.mark.parametrize(
    ("holder", "array_of", "f"),
    [
        (Settings(a=np.ones(3)), lambda h: h.a, lambda h, x: x * h.a),
        ([np.ones(3)], lambda h: h[0], lambda h, x: x * h[0]),
        ({"a": np.ones(3)}, lambda h: h["a"], lambda h, x: x * h["a"]),
        ((np.ones(3),), lambda h: h[0], lambda h, x: x * h[0]),
        (Slotted(np.ones(3)), lambda h: h.factor, lambda h, x: x * h.factor),
        (Options(rate=np.ones(3)), lambda h: h.rate, lambda h, x: x * h.rate),  # type: ignore[arg-type]
        (Settings(a=[{"b": (np.ones(3),)}]), lambda h: h.a[0]["b"][0], lambda h, x: x * h.a[0]["b"][0]),
    ],
)
def test_an_array_that_is_written_into(holder, array_of, f):
    guards = guards_of(lambda x: f(holder, x), 1)
    array = array_of(holder)
    array[1] = 7
    assert not guards.holds()
    assert "was written into" in guards.why()
    array[1] = 1
    assert guards.holds()


@pytest.mark.parametrize(
    "a",
    [
        np.ones((300, 300)),
        np.ones((300, 301), np.float32),
        np.ones((301, 301), np.int8),
        np.asfortranarray(np.ones((300, 400))),
        np.ones((300, 400))[::2, ::3],
        np.ones((2, 3))[:, ::2],
        np.ones(()),
        np.ones((90, 90), complex),
        np.full(3, "a"),
        np.array([1, "a", None], object),
        np.zeros(3, [("x", "f4"), ("y", "i2")]),
        np.zeros(9000, [("x", "f4"), ("y", "i2")]),
        np.zeros(9000, "M8[s]"),
    ],
)
def test_arrays_of_all_kinds(a):
    guards = guards_of(lambda: a.shape)
    place = tuple([n - 1 for n in a.shape])
    was = a[place].copy() if hasattr(a[place], "copy") else a[place]
    a[place] = (5, 6) if a.dtype.names else 5
    assert not guards.holds()
    a[place] = was
    assert guards.holds()


def test_an_array_of_objects_that_are_changed():
    a = np.array([Settings(n=1), None], object)
    guards = guards_of(lambda x: x * a[0].n, 1)
    a[0].n = 2
    assert guards.why() == "a[0].n was 1 and is 2"


def test_a_nan_in_an_array_is_itself():
    a = np.array([np.nan, 0.0])
    guards = guards_of(lambda: a)
    assert guards.holds()
    a[1] = -0.0
    assert not guards.holds()


def test_an_array_that_gets_another_shape():
    a = np.zeros((2, 3))
    guards = guards_of(lambda: a)
    a.resize((3, 2), refcheck=False)
    assert not guards.holds()


def test_a_bytearray():
    data = bytearray(b"abc")
    guards = guards_of(lambda: data[0])
    data[0] = 1
    assert not guards.holds()
    data.extend(b"d")
    assert not guards.holds()


# ----------------------------------------------------------------------------------------------- equal and identical


class Color(enum.Enum):
    RED = 1
    BLUE = 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        (1.0, np.float64(1.0)),
        (np.float32(1), np.float64(1)),
        (0.0, -0.0),
        (0j, complex(0.0, -0.0)),
        (np.float64(0.0), np.float64(-0.0)),
        ("a", b"a"),
        (None, False),
        ((1, 2), (1, 2.0)),
        ((1, 2), [1, 2]),
        ([1, 2], [1, 2]),  # which somebody else may hold
        (Color.RED, Color.BLUE),
        (np.dtype("f4"), np.dtype("f8")),
        (slice(1), slice(1.0)),
    ],
)
def test_values_that_only_look_equal(old, new):
    n = old

    def f() -> Any:
        return n

    guards = guards_of(f)
    n = new
    assert not guards.holds()
    assert guards.why()


@pytest.mark.parametrize(
    "make",
    [
        lambda: float("0.1"),
        lambda: float("nan"),
        lambda: float("-0.0"),
        lambda: complex("1+nanj"),
        lambda: int("123456789"),
        lambda: "".join(["ab", "c d"]),
        lambda: bytes([1, 2, 3]),
        lambda: np.float64("nan"),
        lambda: np.int32(1000),
        lambda: (int("1000"), (float("0.5"), "x y".upper())),
        lambda: slice(int("1000")),
        lambda: range(int("1000")),
        lambda: np.dtype([("a", "f4")]),
        lambda: Color.RED,
        lambda: [].append and Layer.unused,
    ],
)
def test_another_object_for_the_same_value(make):
    n = make()

    def f() -> Any:
        return n

    guards = guards_of(f)
    n = make()
    assert guards.holds() and guards.why() == ""
    assert guards.holds()


def test_an_equal_bound_method():
    layer = Layer()
    forward = layer.forward
    guards = guards_of(lambda x: forward(x), 1)
    forward = layer.forward
    assert guards.holds()
    forward = Layer().forward
    assert not guards.holds()


# -------------------------------------------------------------------------------------------------------- recursion


def test_objects_that_hold_each_other():
    a, b = Settings(n=1), Settings(n=2)
    a.other, b.other = b, a
    a.values = [a, b]
    a.values.append(a.values)
    guards = guards_of(lambda x: x * a.other.other.n * a.values[0].n, 1)
    b.n = 3
    assert not guards.holds()


def test_an_object_that_is_its_own_dict():
    class Attributes(dict):  # type: ignore[type-arg]
        def __init__(self, **values: Any):
            super().__init__(**values)
            self.__dict__ = self

    values = Attributes(n=1)
    guards = guards_of(lambda x: x * values.n, 1)
    values.n = 2
    assert not guards.holds()


def test_what_is_shared_is_looked_at_once():
    shared = [1.5] * 100
    values = [shared] * 2000
    guards = guards_of(lambda: values[0][0])
    shared[0] = 2.5
    assert not guards.holds()


def test_a_function_that_calls_itself():
    n = 1

    def f(x: Any) -> Any:
        return n if x == 0 else f(x - 1)

    guards = guards_of(f, 3)
    n = 2
    assert not guards.holds()


def test_deep_nesting():
    values: Any = 1
    for _ in range(20_000):
        values = [values]
    guards = guards_of(lambda: values[0])
    inner = values
    while isinstance(inner[0], list):
        inner = inner[0]
    inner[0] = 2
    assert not guards.holds()
    while isinstance(values, list):  # freed one by one
        values = values[0]


def test_too_much(monkeypatch):
    values = list(range(module.MOST_ITEMS + 1))
    with pytest.raises(TooMuchError, match="more than 100000 values"):
        Reads(lambda: values)
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    array = np.ones(1000)
    with pytest.raises(TooMuchError, match="arrays of more than"):
        Reads(lambda: array)


# ---------------------------------------------------------------------------------------- Needle's own functions


@pytest.mark.parametrize(
    "wrap",
    [
        ndl.grad,
        ndl.value_and_grad,
        ndl.jacobian,
        lambda f: ndl.grad(ndl.grad(f)),
        ndl.checkpoint,
        lambda f: ndl.custom_gradient(lambda x: (f(x), lambda g: g)),
        lambda f: ndl.numerical(lambda a: np.asarray(f(a))),
        lambda f: lambda x: ndl.grad(f)(x),
    ],
)
def test_functions_inside_of_needles(wrap, monkeypatch):
    n = 2.0

    def f(x: Any) -> Any:
        return (x * x * n * RATE).sum() if isinstance(x, Tensor) else x * n * RATE

    wrapped = wrap(f)
    for g in (wrapped, lambda x: wrapped(x)):
        n = 2.0
        x = Tensor(np.ones(()))
        guards = guards_of(g, x)
        n = 3.0
        assert not guards.holds()
        n = 2.0
        assert guards.holds()
        with monkeypatch.context() as patch:
            patch.setitem(globals(), "RATE", 2)
            assert not guards.holds()


def test_a_custom_jvp():
    n = 2.0

    @ndl.custom_jvp
    def cube(x: Any) -> Any:
        return x * x * x

    @cube.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (x,), (x_dot,) = primals, tangents
        return cube(x), n * x * x * x_dot

    guards = guards_of(ndl.grad(cube), Tensor(2.0))
    n = 3.0
    assert not guards.holds()


def test_a_layer_in_a_gradient():
    net = Net()
    x = Tensor(np.ones(3))

    def loss(x: Any) -> Any:
        return ndl.grad(lambda y: net(y).sum())(x)

    guards = guards_of(loss, x)
    net.history.append(1.0)
    assert guards.holds()
    net.layers[0].training = False
    assert guards.why() == "net.layers[0].training was True and is False"


# ------------------------------------------------------------------------------------------- what a function changes


def test_a_function_that_changes_nothing():
    net = Net()
    assert changed_by(lambda x: net(x), 1) == ""


def test_a_counter():
    net = Net()
    assert changed_by(net.count, 1) == "self.calls went from 0 to 1"


def test_a_counter_in_a_closure():
    n = 0

    def f(x: Any) -> Any:
        nonlocal n
        n += 1
        return x

    assert changed_by(f, 1) == "n, which it closes over, went from 0 to 1"


def test_a_global_counter(monkeypatch):
    monkeypatch.setitem(globals(), "RATE", 0)

    def f(x: Any) -> Any:
        global RATE  # noqa: PLW0603
        RATE += x

    assert changed_by(f, 1) == "global RATE went from 0 to 1"
    assert changed_by(lambda: f(2)) == "global RATE went from 1 to 3"


def test_a_global_that_is_only_written(monkeypatch):
    monkeypatch.setitem(globals(), "LAST", None)

    def f(x: Any) -> Any:
        global LAST  # noqa: PLW0603
        LAST = x

    assert changed_by(f, 1) == "global LAST went from None to 1"
    assert changed_by(f, Tensor(1.0)) == "global LAST went from 1 to a Tensor"
    del globals()["LAST"]
    assert changed_by(f, 1) == "global LAST is new"
    globals()["LAST"] = None


def test_a_list_that_is_appended_to():
    losses = [1.0, 2.0, 3.0]
    assert changed_by(lambda x: losses.append(x), 1) == "a list that it closes over (losses) grew from 3 to 4"
    net = Net()
    assert changed_by(net.note, 1) == "a list (self.history) grew from 0 to 1"
    append = losses.append
    assert changed_by(lambda x: append(x), 1) == "a list that it closes over (append) grew from 4 to 5"


def test_a_list_in_a_helper():
    made: list[Any] = []

    def inner(x: Any) -> None:
        made.append(x)

    assert changed_by(lambda x: inner(x), 1) == "a list that inner closes over (made) grew from 0 to 1"


def test_a_dict_that_is_filled():
    cache: dict[Any, Any] = {}

    def f(x: Any) -> Any:
        cache[x] = x

    assert changed_by(f, 1) == "a dict that it closes over (cache) grew from 0 to 1"
    assert changed_by(f, 1) == ""
    monkeys = defaultdict(int)
    assert "grew from 0 to 1" in changed_by(lambda: monkeys["a"])


def test_attributes_that_are_set():
    settings = Settings(n=1)

    def f(name: str, value: Any) -> None:
        setattr(settings, name, value)

    assert changed_by(f, "m", 2) == "settings.m is new"
    assert changed_by(f, "n", Tensor(1.0)) == "settings.n went from 1 to a Tensor"
    assert changed_by(f, "n", Tensor(1.0)) == "settings.n became another Tensor"
    assert changed_by(lambda: delattr(settings, "n")) == "settings.n was deleted"


def test_attributes_of_functions_modules_and_classes():
    def f(x: Any) -> Any:
        f.calls = getattr(f, "calls", 0) + 1

    assert changed_by(f, 1) == "f.calls is new"
    assert changed_by(f, 1) == "f.calls went from 1 to 2"
    config = module_of("config", "n = 1")
    program = module_of("program", "def f(x):\n    config.n += x\ndef g(x):\n    config.m = x", config=config)
    assert changed_by(program.f, 1) == "config.n went from 1 to 2"
    assert changed_by(program.g, 1) == "config.m is new"

    class Counter:
        made = 0

        def __init__(self) -> None:
            type(self).made += 1

    assert changed_by(lambda: Counter()) == "Counter.made went from 0 to 1"


def test_arrays_that_are_written_into():
    a, b = np.ones(3), Settings(a=np.ones((100, 100)))

    def f(x: Any) -> None:
        x[0] = 2

    assert changed_by(lambda: f(a)) == "an array that it closes over (a) was written into"
    assert changed_by(lambda: f(b.a)) == "an array (b.a) was written into"
    assert changed_by(f, np.ones(3)) == "an array (x) was written into"
    assert changed_by(f, [1, 2]) == "x[0] went from 1 to 2"


def test_a_tensors_value_is_no_python_state():
    W = Tensor([1.0, 2.0])

    def f(x: Any) -> None:
        W.data = W - x

    assert changed_by(f, 1.0) == ""


def test_random_generators():
    rng, old, pythons = np.random.default_rng(0), np.random.RandomState(0), random.Random(0)
    holder = Settings(rng=np.random.Generator(np.random.MT19937(1)))
    assert changed_by(lambda: rng.normal()) == "the state of a random generator (rng)"
    assert changed_by(lambda: old.normal()) == "the state of a random generator (old)"
    assert changed_by(lambda: pythons.random()) == "the state of a random generator (pythons)"
    assert changed_by(lambda: holder.rng.normal()) == "the state of a random generator (holder.rng)"
    assert changed_by(lambda rng: rng.normal(), rng) == "the state of a random generator (rng)"
    assert changed_by(lambda: np.random.normal()) == "NumPy's global random state"
    assert changed_by(lambda: random.random()) == "Python's global random state"
    assert changed_by(lambda: (rng, old, pythons)) == ""
    guards = guards_of(lambda: (rng, old, pythons))
    rng.normal()
    assert guards.holds()


def numbers() -> Any:
    yield from range(10)


@pytest.mark.parametrize(
    "it",
    [
        iter([1, 2, 3]),
        iter((1, 2, 3)),
        iter({1: 2, 3: 4}),
        iter({1, 2, 3}),
        iter("abc"),
        enumerate([1, 2, 3]),
        zip([1, 2, 3], [4, 5, 6], strict=True),
        zip(numbers(), numbers(), strict=True),
        itertools.zip_longest([1, 2, 3], [4, 5]),
        map(abs, [1, 2, 3]),
        reversed([1, 2, 3]),
        itertools.count(),
        itertools.chain([1, 2], [3]),
        itertools.islice([1, 2, 3], 3),
        itertools.cycle([1, 2]),
        itertools.permutations([1, 2, 3]),
        numbers(),
        (n for n in [1, 2, 3]),
    ],
)
def test_iterators_that_are_advanced(it):
    changed = changed_by(lambda: next(it))
    assert changed.startswith("the state of a") and "(it" in changed
    changed = changed_by(lambda: next(it))
    assert changed.startswith("the state of a") and "(it" in changed


def test_iterators_that_are_not_advanced():
    its = [iter([1]), enumerate([1]), zip([1], numbers(), strict=True), itertools.count(), itertools.cycle([1])]
    its += [numbers(), map(abs, [1])]
    assert changed_by(lambda: len(its)) == ""
    for it in its:
        next(it)
    assert changed_by(lambda: len(its[:-3])) == ""


def test_generators_that_are_made_during_the_call():
    assert changed_by(lambda x: sum(y * x for y in numbers()), 2) == ""


# ----------------------------------------------------------------------------------------------------- while it runs


def test_a_profile_function_is_put_back():
    seen = []

    def profile(frame: Any, event: str, arg: Any) -> None:
        seen.append(event)

    reads = Reads(helper, (1,))
    sys.setprofile(profile)
    try:
        with reads:
            assert sys.getprofile() is not profile
        assert sys.getprofile() is profile
        with pytest.raises(KeyError), Reads(helper, (1,)):
            raise KeyError
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(None)
    with reads:
        pass
    assert sys.getprofile() is None


def test_within_a_profiler():
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        guards_of(helper, 1)
        times(1)
    finally:
        profiler.disable()
    assert any("times" in str(entry.code) for entry in profiler.getstats())


def test_code_that_is_found_only_when_it_runs(monkeypatch):
    n, calls, changing = 1, 0, 0

    def inner(x: Any) -> Any:
        nonlocal calls
        calls += changing
        return x * n * RATE

    hidden: Any = logging.Logger("hidden")  # into which nobody looks
    hidden.f = inner
    f = module_of("program", "def f(x):\n    return hidden.f(x)", hidden=hidden).f
    guards = guards_of(f, 1)
    n = 2
    assert not guards.holds()
    n = 1
    assert guards.holds()
    monkeypatch.setitem(globals(), "RATE", 2)
    assert not guards.holds()
    changing = 1
    assert changed_by(f, 1) == "calls, which inner closes over, went from 0 to 1"


def test_a_function_that_raises():
    n = 1

    def f() -> Any:
        nonlocal n
        n += 1
        raise KeyError

    reads = Reads(f)
    with pytest.raises(KeyError), reads:
        f()
    assert reads.changed() == "n, which it closes over, went from 1 to 2"


def test_a_gradient_within_and_one_outside():
    """What backward() is called on within is known by itself, not by an id that another Tensor gets after it."""
    weight = Tensor([1.0, 2.0])

    def f(x):
        y = x * weight
        for _ in range(3):
            y = y + ndl.grad(lambda x: (x * x * 2).sum())(x)
        return y

    for _ in range(20):
        g = ndl.compile(f)
        for _ in range(2):
            g(Tensor([1.0, 2.0], requires_grad=False)).sum().backward()
            np.testing.assert_array_equal(weight.grad.numpy(), [1.0, 2.0])


def test_a_rule_that_reads_state():
    class Slope:
        factor_of_the_rule = 3.0

    weight, slope = Tensor([1.0, 2.0]), Slope()

    @ndl.custom_gradient
    def scaled(a):
        return a * 1.0, lambda g: g * slope.factor_of_the_rule

    g = ndl.compile(lambda x: (scaled(weight) * x).sum())
    for k in (3.0, 3.0, 5.0, 5.0, 2.0):
        slope.factor_of_the_rule = k
        g(np.ones(2)).backward()
        np.testing.assert_array_equal(weight.grad.numpy(), [k, k])


def test_a_rule_that_fails_is_nothing_to_the_value():
    weight = Tensor([1.0, 2.0])

    @ndl.custom_gradient
    def flat(a):
        def rule(g):
            raise NotImplementedError("no rule")

        return a * 2.0, rule

    g = ndl.compile(lambda x: (flat(weight) * x).sum())
    with pytest.warns(CompileWarning, match="its gradient cannot be computed .*no rule"):
        assert [g(np.ones(2)).item() for _ in range(3)] == [6.0] * 3


def test_a_proxy_of_what_is_gone():
    """It can be reached, and is not looked at."""

    class Thing: ...

    proxies = [weakref.proxy(Thing())]
    g = ndl.compile(lambda x: x * len(proxies))
    with pytest.warns(CompileWarning, match="into an object of class"):
        assert [g(np.ones(1))[0] for _ in range(3)] == [1.0] * 3
