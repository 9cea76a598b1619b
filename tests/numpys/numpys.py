"""NumPy's own tests, as the installed wheel has them, with `needle.numpy` in the place of NumPy.

`load` runs a file of NumPy's tests in the namespace of a module here: its import lines name `np`, a module that is
needle.numpy as far as that goes (what a Tensor cannot be, `np.datetime64` or `np.ma`, is NumPy's); and what its
assertions are given is turned to arrays.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy
import pytest
from needle import Tensor
from needle import numpy as needles

_IMPORT = re.compile(
    r"^( *)(?:import numpy as np$|import numpy$|from numpy(|\.linalg|\.testing) import (\([^)]*\)|.+))", re.M
)


def arrays(value: Any) -> Any:
    """The value with arrays for Tensors, also inside of lists, tuples and dicts; numbers for those of no dimension."""
    if isinstance(value, Tensor):
        return value.numpy()[()]
    if isinstance(value, dict):
        return {key: arrays(member) for key, member in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(arrays, value))
    return type(value)(*map(arrays, value)) if isinstance(value, tuple) else value


def _on_arrays(function: Any) -> Any:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*[a if callable(a) else arrays(a) for a in args], **kwargs)

    return called


def _module(name: str, *sources: Any) -> Any:
    """A module that has the names of the first of these, of the second what that lacks, and so on."""

    def find(attribute: str) -> Any:
        for source in sources:
            if hasattr(source, attribute):
                found = getattr(source, attribute)
                if isinstance(found, FunctionType):  # in a class, NumPy's are no methods
                    found = staticmethod(found)
                    setattr(module, attribute, found)
                return found
        raise AttributeError(f"module {name} has no attribute {attribute!r}")

    module: Any = ModuleType(name)
    module.__getattr__ = find
    return module


_COMPARE = [
    name for name in dir(numpy.testing) if re.fullmatch("assert_(array_.*|equal|.*allclose|.*_equal|.*_ulp|)", name)
]
_testing = _module("np.testing", numpy.testing)
for _name in _COMPARE:
    setattr(_testing, _name, _on_arrays(getattr(numpy.testing, _name)))
np = _module("np", needles, numpy)
np.testing = _testing
np.linalg = _module("np.linalg", needles.linalg, numpy.linalg)


def load(folder: str, file: str, namespace: dict[str, Any]) -> None:
    """Run `numpy/<folder>/tests/test_<file>.py` in this namespace.

    A statement of the module itself that needs more than Tensors can do (a table of samples with a row of objects) is
    run with NumPy; what its functions name `np` when they are called is Needle's all the same.
    """
    path = Path(numpy.__file__).parent / folder / "tests" / f"test_{file}.py"
    imported: list[str] = []
    source = path.read_text().replace(".setflags(write=False)", "")  # a Tensor can always be assigned to
    source = re.sub(
        r"assert_\(isinstance\(\w+, a_type\)\)", "pass", source
    )  # of arrays, whose results are Tensors here
    source = _IMPORT.sub(lambda match: _assignments(match, imported), source)
    namespace["np"] = namespace["numpy"] = np
    for statement in ast.parse(source).body:
        code = compile(ast.Module([statement], []), str(path), "exec")
        try:
            exec(code, namespace)
        except (TypeError, AttributeError):
            ours = {name: namespace[name] for name in ("np", "numpy", *imported)}
            namespace.update({name: getattr(numpy, name, value) for name, value in ours.items()}, np=numpy, numpy=numpy)
            exec(code, namespace)
            namespace.update(ours)
        if isinstance(statement, ast.ClassDef):
            namespace["np"] = numpy
            _draw_samples(namespace[statement.name])
            namespace["np"] = np
    if "consistent_subclass" in namespace:  # whether a result is of the class of an argument
        namespace["consistent_subclass"] = lambda out, given: isinstance(out, Tensor)


def _draw_samples(cls: type) -> None:
    """Let the generators of samples that the class is parametrized with run now."""
    for test in vars(cls).values():
        marks = getattr(test, "pytestmark", [])
        for i, mark in enumerate(marks):
            if mark.name == "parametrize" and mark.args and isinstance(mark.args[-1], Iterator):
                marks[i] = pytest.mark.parametrize(mark.args[0], list(mark.args[-1]), **mark.kwargs).mark


def _assignments(match: re.Match[str], imported: list[str]) -> str:
    """An import line as assignments from `np`, on as many lines."""
    indent, module, names = match.groups()
    pairs = [name.split("#")[0].split() for line in (names or "").strip("()").splitlines() for name in line.split(",")]
    pairs = [pair for pair in pairs if pair]
    if module == "" and not indent:
        imported += [pair[0] for pair in pairs if len(pair) == 1]
    found = "; ".join(f"{pair[-1]} = np{module}.{pair[0]}" for pair in pairs) or "pass"
    return indent + found + "\n" * match.group().count("\n")
