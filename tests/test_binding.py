"""Names: what Tensor declares is what it has, what the ops define is exported, and importing brings in nothing else."""

from __future__ import annotations

import ast
import builtins
import inspect
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import needle
import numpy as np
import pytest
from needle import Op, Tensor, TensorTuple, autograd, ops
from needle.numpy import methods
from needle.ops import binding

BOUND = {**binding.OPERATORS, **binding.METHODS, **methods.METHODS}


ENGINES = {"grad", "data", "retain_grad", "backward", "shape", "dtype", "ndim", "size", "nbytes"}
"""What the engine binds itself."""


def declared(cls: str) -> dict[str, ast.FunctionDef]:
    """What is declared of a class for type checkers, but for the setters of properties."""
    tree = ast.parse((Path(autograd.__file__).parent / "declarations.pyi").read_text())
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls]
    assert all(isinstance(node, ast.FunctionDef) for node in found.body)
    functions = [node for node in found.body if not any(isinstance(d, ast.Attribute) for d in node.decorator_list)]
    assert len({node.name for node in functions}) == len(functions)
    return {node.name: node for node in functions}


def test_tensor_declares_what_the_tables_bind():
    assert not binding.OPERATORS.keys() & (binding.METHODS | methods.METHODS).keys()
    assert sorted(declared("DeclaredTensor")) == sorted(BOUND.keys() | ENGINES)


def test_every_operator_and_method_is_bound():
    for name, bound in BOUND.items():
        assert vars(Tensor)[name] is bound
    for name in declared("DeclaredTuple"):
        assert callable(vars(TensorTuple)[name])


def test_declared_properties_are_properties():
    for name, function in declared("DeclaredTensor").items():
        is_declared = any(isinstance(d, ast.Name) and d.id == "property" for d in function.decorator_list)
        assert is_declared == isinstance(vars(Tensor)[name], property)


def test_declared_parameters_are_those_of_the_function():
    def shape(parameters: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(kind, "self" if i == 0 else name) for i, (kind, name) in enumerate(parameters)]

    for name in binding.METHODS | methods.METHODS:
        bound = vars(Tensor)[name]
        if isinstance(bound, property):
            continue
        arguments = declared("DeclaredTensor")[name].args
        said = [("positional", a.arg) for a in (*arguments.posonlyargs, *arguments.args)]
        said += [("rest", arguments.vararg.arg)] if arguments.vararg else []
        said += [("keyword", a.arg) for a in arguments.kwonlyargs]
        said += [("options", arguments.kwarg.arg)] if arguments.kwarg else []
        kinds = {"POSITIONAL_ONLY": "positional", "POSITIONAL_OR_KEYWORD": "positional", "VAR_POSITIONAL": "rest"}
        kinds |= {"KEYWORD_ONLY": "keyword", "VAR_KEYWORD": "options"}
        has = [(kinds[p.kind.name], p.name) for p in inspect.signature(bound).parameters.values()]
        if name == "matmul":  # the public function, whose operands are a and b
            has = [(kind, {"b": "other"}.get(parameter, parameter)) for kind, parameter in has]
        assert shape(said) == shape(has), name


REFLECTED = {"add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul"}
REFLECTED |= {"and", "or", "xor", "lshift", "rshift"}


@pytest.mark.parametrize("name", sorted(REFLECTED))
def test_every_operator_has_its_reflection(name):
    assert {f"__{name}__", f"__r{name}__"} <= set(binding.OPERATORS)


def modules() -> list[types.ModuleType]:
    return [m for name, m in sys.modules.items() if name.startswith("needle.ops.")]


def test_every_op_class_is_exported():
    classes = {
        cls.__name__: cls
        for module in modules()
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, Op) and cls.compute is not Op.compute
        if cls.__module__ == module.__name__ and not cls.__name__.startswith("_")
    }
    assert len(classes) > 40
    assert [name for name, cls in sorted(classes.items()) if getattr(ops, name, None) is not cls] == []


def test_every_op_says_what_it_is():
    for module in modules():
        assert module.__doc__
    for name, value in vars(ops).items():
        if inspect.isfunction(value):
            assert value.__doc__, name


def test_the_functions_of_ops_are_those_of_needle():
    public = {name for name, value in vars(ops).items() if inspect.isfunction(value)}
    internal = {"zero_safe_multiply"}  # the numpy floor takes what it needs from the families themselves
    assert sorted(public - internal - set(vars(needle))) == []
    for name in public - internal:
        assert getattr(needle, name) is getattr(ops, name)


COURSE = """
EWiseAdd AddScalar EWiseMul MulScalar EWisePow PowerScalar EWiseDiv DivScalar Transpose Reshape BroadcastTo Summation
MatMul Negate Log Exp Sin Cos Tanh Sqrt ReLU Max LogSumExp LogSoftmax MakeTensorTuple TupleGetItem GetItem
Conv Flip Split Stack conv dilate flip split stack
add add_scalar multiply mul_scalar power power_scalar divide divide_scalar transpose reshape broadcast_to summation
matmul negate log exp sin cos tanh sqrt relu logsumexp logsoftmax make_tuple tuple_get_item
"""
ENGINE = """
Op TensorOp TensorTupleOp Value Tensor TensorTuple find_topo_sort compute_gradient_of_variables no_grad LAZY_MODE
TENSOR_COUNTER
"""
PACKAGE = "Device cpu all_devices Tensor TensorTuple no_grad conv dilate flip split stack"


@pytest.mark.parametrize(("module", "names"), [(ops, COURSE), (autograd, ENGINE), (needle, PACKAGE)])
def test_the_courses_names_are_there(module, names):
    wanted = names.split()
    assert [name for name in wanted if not hasattr(module, name)] == []


def imported(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_needle_imports_nothing_but_numpy():
    place = Path(needle.__file__).parents[1]
    path = f"import sys; sys.path.insert(0, {str(place)!r})"
    added = imported(f"{path}; import needle") - imported(f"{path}; import numpy")
    foreign = {name.split(".")[0] for name in added} - set(sys.stdlib_module_names)
    assert foreign - {"numpy"} == {"needle"}  # NumPy loads some of its own modules when they are asked for
    heavy = {"asyncio", "concurrent", "email", "http", "logging", "multiprocessing", "subprocess", "unittest", "urllib"}
    assert sorted(name for name in added if name.split(".")[0] in heavy) == []


@pytest.mark.parametrize(
    "name", ["testing.check_grads", "symbolic.Executor", "scipy.special", "special", "einops", "nn.Linear", "init.rand"]
)
def test_parts_are_there_when_asked_for(name):
    """They need no import of their own, and SciPy and the like are not imported before."""
    place = Path(needle.__file__).parents[1]
    code = f"import sys; sys.path.insert(0, {str(place)!r}); import needle; assert 'scipy' not in sys.modules"
    assert "needle" in imported(f"{code}; needle.{name}")


def test_an_unknown_name_is_one():
    with pytest.raises(AttributeError, match="module 'needle' has no attribute 'nmupy'"):
        _ = needle.nmupy


def test_a_star_import_replaces_no_builtin():
    names: dict[str, object] = {}
    exec("from needle import *", names)
    assert {"Tensor", "grad", "summation"} <= names.keys()
    assert [n for n in names if hasattr(builtins, n) and n[0] != "_"] == []


def test_a_type_checker_sees_a_typo(tmp_path):
    program = tmp_path / "typo.py"
    program.write_text(
        "import needle\nt = needle.Tensor(1.0)\nt.nmupy()\n(t + 1).shpae\nneedle.nmupy\n"
        "@needle.no_grad()\ndef f(t: needle.Tensor) -> needle.Tensor:\n    return t\nf(t).shaep\n"
    )
    place = Path(needle.__file__).parents[1]
    check = [sys.executable, "-m", "mypy", "--config-file=", "--follow-imports=silent", str(program)]
    done = subprocess.run(
        check, capture_output=True, text=True, check=False, env=os.environ | {"MYPYPATH": str(place)}, cwd=tmp_path
    )
    missed = [name for name in ("nmupy", "shpae", "shaep") if f'has no attribute "{name}"' not in done.stdout]
    assert missed == [], done.stdout
    assert 'Module has no attribute "nmupy"' in done.stdout


# -------------------------------------------------------------------------------------------------------- errors

ROWS, FOUR = Tensor([[0.5, 1.0, 2.0], [3.0, 4.0, 5.0]]), Tensor([1.0, 2.0, 3.0, 4.0])


class Foreign:
    pass


WRONG: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "an axis that is missing": ((ROWS,), {"axis": 7}),
    "a Tensor as axis": ((ROWS,), {"axis": Tensor(1.0)}),
    "a Tensor as axis by position": ((ROWS, Tensor(1.0)), {}),
    "a text as axis": ((ROWS,), {"axis": "x"}),
    "a fraction as axis": ((ROWS,), {"axis": 1.5}),
    "a function as axis": ((ROWS,), {"axis": lambda x: x}),
    "an object as axis": ((ROWS,), {"axis": Foreign()}),
    "an axis twice": ((ROWS,), {"axis": (0, 0)}),
    "Tensors as axes": ((ROWS,), {"axis": (Tensor(1.0), 0)}),
    "keepdims": ((ROWS,), {"keepdims": FOUR}),
    "shapes": ((ROWS, FOUR), {}),
    "an unknown option": ((ROWS,), {"banana": 1}),
    "too many": ((ROWS,) * 12, {}),
    "too few": ((), {}),
    "a number too many": ((ROWS, -9), {}),
    "an object too many": ((ROWS, Foreign()), {}),
}
INTERNAL = re.compile(r"<locals>|method\(\)|_method|at 0x[0-9a-f]|needle\.Tensor\(|Dual|Taped|Wrapped|Declared")
"""What is no user's: names of inner functions and classes, places in memory, and a Tensor's elements."""


NUMPYS_WORDS = re.compile("Cannot interpret '.*' as a data type|expected a sequence of integers .*, got '.*'")


INNER = {"array_of", "check_device", "tensor"}
"""What needle.numpy's modules import of each other."""


def functions() -> dict[str, Any]:
    """The public functions of needle and needle.numpy that were written here, and the methods."""
    found = {
        f"{module.__name__}.{name}": value
        for module in (needle, needle.numpy, needle.numpy.linalg, needle.numpy.fft)
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and not isinstance(value, type) and name not in INNER
        if type(value).__module__.startswith("needle") or getattr(value, "__module__", "").startswith("needle")
    }
    methods = {f"Tensor.{name}": value for name, value in vars(Tensor).items() if callable(value) and name in BOUND}
    return found | methods


def errors_of(function: Any) -> dict[str, Exception]:
    raised: dict[str, Exception] = {}
    for what, (args, options) in WRONG.items():
        try:  # with copies, for some are written into
            function(*[a.copy() if isinstance(a, Tensor) else a for a in args], **options)
        except (TypeError, ValueError, IndexError) as error:
            raised[what] = error
        except AttributeError:
            pass  # of what is no Tensor, in place of self
    return raised


@pytest.mark.filterwarnings("ignore")
def test_errors_have_no_internal_names():
    count, wrong = 0, {}
    for name, function in functions().items():
        if name.rpartition(".")[2] in ("meshgrid", "ix_"):
            continue
        for what, error in errors_of(function).items():
            count += 1
            text = NUMPYS_WORDS.sub("", str(error))
            if INTERNAL.search(text):
                wrong[f"{name}, {what}"] = str(error)[:200]
    assert count > 2000
    assert wrong == {}


UNARY = [
    name for name, f in vars(needle.numpy).items() if type(f).__name__ == "ufunc" and f.of.nin == 1 and f.of.nout == 1
]


@pytest.mark.parametrize("name", UNARY)
def test_what_is_no_out_is_named(name):
    for given, shown in ((-9, "-9"), ("x", "'x'"), ([1.0], r"\[1.0\]"), (Foreign(), "Foreign"), (len, "builtin")):
        function = getattr(needle.numpy, name)
        with pytest.raises(TypeError, match=rf"^{function.__name__}: takes 1 operand, and then out.*; got {shown}"):
            function(Tensor([True, False]) if name.startswith("logical") else FOUR, given)


@pytest.mark.parametrize("requires_grad", [True, False])
def test_a_difference_is_no_sum(requires_grad):
    """It is recorded as one."""
    a, b = Tensor([1.0, 2.0], requires_grad=requires_grad), Tensor([1.0, 2.0, 3.0])
    for call in (lambda: a - b, lambda: needle.subtract(a, b), lambda: np.subtract(a, b), lambda: np.ones(2) - b):
        with pytest.raises(ValueError, match=r"^EWiseSub: the shapes \(2,\) and \(3,\) do not broadcast"):
            call()
    with pytest.raises(ValueError, match=r"^EWiseSub"):
        needle.jvp(lambda x: x - b, (a,), (a,))
    with pytest.raises(ValueError, match=r"^EWiseSub"):
        needle.grad(lambda x: (x - np.ones(3)).sum())(a)
