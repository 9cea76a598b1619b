"""What has NumPy's name means what NumPy's means, for 0 to 4 dimensions and every argument, or raises.

`DIFFER` lists the few that mean something else, as the course has them.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from itertools import permutations, product
from typing import Any

import needle as ndl
import numpy as np
import pytest
from needle import Tensor
from numpy.testing import assert_allclose, assert_array_equal

DIFFER = {"transpose": "swaps two axes", "trace": "records a program", "split": "takes apart along an axis, which goes"}
"""Needle's own functions with NumPy's names and another meaning."""

SHAPES = [(), (3,), (2, 3), (2, 3, 3), (2, 1, 3, 2)]
ARRAYS: list[Any] = [
    np.asarray(np.random.default_rng(7).permutation(int(np.prod(s))).reshape(s) / 8 + 0.25) for s in SHAPES
]
ARRAYS += [np.zeros((0, 2)), np.arange(6).reshape(2, 3), np.arange(4.0, dtype=np.float32), np.array([[True, False]])]
NONE, AXIS = [None], [None, 0, -1, 1, -4, 3]
AXES = [*AXIS, (0,), (0, -1), (), (1, 0), np.int64(0)]
KEEP, DTYPE, OUT = [False, True, 1], [None, np.float32, float, "f4", complex], ["array"]
ORDER, FLAG = ["C", "F", "A", "K"], [True, False]

METHODS: dict[str, list[list[Any]]] = {
    "all": [AXES, NONE, KEEP],
    "any": [AXES, NONE, KEEP],
    "argmax": [AXIS, NONE],
    "argmin": [AXIS, NONE],
    "argpartition": [[0], [-1, 0, None]],
    "argsort": [[-1, 0, None], [None, "stable"]],
    "astype": [[np.float32, int, complex, bool], ORDER, ["unsafe", "safe"], [True], [True, False]],
    "clip": [[None, 0.3], [0.9, None]],
    "compress": [[[True, False, True], [1]], AXIS],
    "conj": [],
    "conjugate": [],
    "copy": [ORDER],
    "cumprod": [AXIS, DTYPE],
    "cumsum": [AXIS, DTYPE],
    "diagonal": [[0, 1, -1], [0, 1], [1, 0, -1]],
    "dot": [[2.0, np.arange(3.0), np.ones((3, 2))]],
    "flatten": [ORDER],
    "item": [],
    "max": [AXES, NONE, KEEP],
    "mean": [AXES, DTYPE, NONE, KEEP],
    "min": [AXES, NONE, KEEP],
    "nonzero": [],
    "prod": [AXES, DTYPE, NONE, KEEP, [1, 2.0]],
    "ravel": [ORDER],
    "repeat": [[2, [2]], AXIS],
    "reshape": [[-1, (-1,), (3, -1), (1, -1), [-1, 1]]],
    "round": [[0, 1, -1]],
    "searchsorted": [[0.5, [0.1, 3.0]], ["left", "right"]],
    "squeeze": [AXES],
    "std": [AXES, DTYPE[:3], NONE, [0, 1], KEEP],
    "sum": [AXES, DTYPE, NONE, KEEP, [0, 2.0]],
    "swapaxes": [[0, 1, -1], [1, -1, 0]],
    "take": [[0, [0, 1]], AXIS, NONE, ["raise", "wrap", "clip"]],
    "tobytes": [ORDER[:2]],
    "tolist": [],
    "trace": [[0, 1, -1], [0, 1], [1, 0]],
    "transpose": [
        [None, (), (0,), (0, 1), (1, 0), [1, 0], *permutations(range(3)), (3, 1, 0, 2), (0, 0), (0, 5), (-1, 0)]
    ],
    "var": [AXES, DTYPE[:3], NONE, [0, 1], KEEP],
}
"""NumPy's methods, and for each positional argument what is tried."""
IN_PLACE: dict[str, list[list[Any]]] = {
    "fill": [[0.5]],
    "sort": [[-1, 0, 1]],
    "partition": [[0], [-1, 0]],
    "put": [[[0]], [2.0]],
}
ELSEWHERE = {
    *("T", "mT", "base", "data", "device", "dtype", "flags", "flat", "imag", "itemsize", "nbytes", "ndim", "real"),
    *("shape", "size", "strides", "view", "to_device", "choose"),
}
"""Attributes, and methods that are tried in test_numpy_inspection.py and test_numpy_indexing.py."""
NOT_THERE = {"byteswap", "ctypes", "dump", "dumps", "getfield", "resize", "setfield", "setflags", "tofile"}
"""What works on the bytes of an array's own memory."""


def calls(arguments: list[list[Any]]) -> Iterator[tuple[Any, ...]]:
    """Every prefix of the arguments, in every combination; a long one thinned out."""
    for n in range(len(arguments) + 1):
        every = list(product(*arguments[:n]))
        yield from every[:: 1 + len(every) // 60]


def outcome(call: Any) -> Any:
    """The result, or the exception."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return call()
    except Exception as error:
        return error


def plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return value.numpy() if isinstance(value, Tensor) else value


def goes_beyond(name: str, a: Any, args: tuple[Any, ...]) -> bool:
    """Whether Needle has a meaning for a call that NumPy refuses, or ends otherwise than it says."""
    return (
        (name in {"mean", "std", "var"} and a.ndim == 0)  # they are reduced over axis 0, as sums are
        or (name in {"all", "any"} and len(args) > 1)  # out=None in the second place
        or (name == "reshape" and not args)
        or (name == "clip" and (a.dtype == bool or len(args) < 2 or not any(args)))
        or (name in {"conj", "conjugate"} and a.dtype == bool)  # int8, as np.conj gives
        or (name == "compress" and a.size == 0)  # NumPy does not look at the condition then
    )


def check(got: Any, expected: Any, refuses: bool, note: str) -> None:
    """NumPy's outcome. With `refuses`, an error of a fitting class may stand for NumPy's result."""
    if isinstance(got, Exception):
        assert isinstance(got, (TypeError, ValueError, IndexError)), f"{note}: {got!r}"
        assert refuses or isinstance(expected, Exception), f"{note}: {got!r} for {expected!r}"
        return
    assert not isinstance(expected, Exception), f"{note}: {got!r} for {expected!r}"
    got = plain(got)
    if isinstance(expected, (bytes, list, float, int, tuple)) and not isinstance(expected, np.generic):
        np.testing.assert_equal(got, expected, note)
        return
    assert np.shape(got) == np.shape(expected), note
    assert got.dtype == np.asarray(expected).dtype, f"{note}: {got.dtype} for {np.asarray(expected).dtype}"
    np.testing.assert_allclose(got, expected, rtol=4e-7, err_msg=note)


def test_every_method_is_here():
    numpys = {name for name in dir(np.ndarray) if not name.startswith("__")}
    assert numpys == METHODS.keys() | IN_PLACE.keys() | ELSEWHERE | NOT_THERE
    assert {name for name in numpys if not hasattr(Tensor, name)} == NOT_THERE


@pytest.mark.parametrize("name", METHODS)
def test_method_is_numpys(name):
    for a, args in product(ARRAYS, calls(METHODS[name])):
        if goes_beyond(name, a, args):
            continue
        note = f"{a.dtype}{list(a.shape)}.{name}{args}"
        expected = outcome(lambda a=a, args=args: getattr(a, name)(*args))
        if name == "transpose" and a.ndim > 2 and args and args[0] is not None and len(args[0]) == 2:
            expected = outcome(lambda a=a, args=args: a.swapaxes(*args[0]))  # NumPy refuses it
        for t in (Tensor(a), Tensor(a, requires_grad=False)):
            check(outcome(lambda t=t, args=args: getattr(t, name)(*args)), expected, False, note)


@pytest.mark.parametrize("name", IN_PLACE)
def test_method_in_place_is_numpys(name):
    for a, args in product(ARRAYS, calls(IN_PLACE[name])):
        array, t = a.copy(), Tensor(a)
        expected = outcome(lambda: getattr(array, name)(*args))  # noqa: B023
        got = outcome(lambda: getattr(t, name)(*args))  # noqa: B023
        assert isinstance(got, Exception) == isinstance(expected, Exception), (a.shape, args, got, expected)
        assert isinstance(got, Exception) or (got is None and np.array_equal(t.numpy(), array)), (a.shape, args)


EXTREMUM = [AXES, [*KEEP, *NONE], KEEP]
SUM = [AXES, [*KEEP, *DTYPE], NONE, KEEP]
MOMENT = [AXES, [*KEEP, *DTYPE], [0, 1], [0, 1]]
FUNCTIONS: dict[str, list[list[Any]]] = {
    "max": EXTREMUM,
    "min": EXTREMUM,
    "mean": SUM,
    "prod": SUM,
    "std": MOMENT,
    "var": MOMENT,
    "cumsum": METHODS["cumsum"],
    "cumprod": METHODS["cumprod"],
    "permute_dims": METHODS["transpose"],
    "reshape": [*METHODS["reshape"], ORDER],
    "clip": METHODS["clip"],
    "astype": [[np.float32, int, bool]],
    "broadcast_to": [[(2, 3), 3, (2, 3, 3)]],
    "convolve": [[np.arange(2.0)], ["full", "same", "valid", "nonsense", 0, 1, 2]],
    "where": [[1.0], [2.0]],
    "matmul": [[np.ones((3, 2)), np.arange(3.0)]],
    "roots": [],
    "flip": [AXES],
    "pad": [[0, 1, (1, 2), -1], ["constant", "edge"]],
}
UNARY = "absolute conj cos exp imag log real sign sin sqrt tanh"
BINARY = """
add arctan2 divide equal floor_divide greater greater_equal hypot less less_equal logaddexp maximum minimum mod
multiply not_equal power subtract
"""
FUNCTIONS |= {name: [] for name in UNARY.split()}
FUNCTIONS |= {name: [[0.5, np.array([1.0, 2.0, 0.25])]] for name in BINARY.split()}
SEQUENCES = {"concatenate", "stack", "einsum"}


def test_every_function_is_here():
    shared = {n for n in vars(ndl) if callable(getattr(ndl, n)) and callable(getattr(np, n, None))}
    assert {n for n in shared if n[0] != "_"} == FUNCTIONS.keys() | SEQUENCES | DIFFER.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_numpys_or_raises(name):
    """In the second place of a reduction, True and False are the course's keepdims, which NumPy refuses there."""
    for a, args in product(ARRAYS, calls(FUNCTIONS[name])):
        if goes_beyond(name, a, args):
            continue
        note = f"{name}({a.dtype}{list(a.shape)}, {args})"
        keeps = name in {"max", "min", "mean", "prod", "std", "var"} and len(args) > 1 and isinstance(args[1], int)
        if keeps:
            options = {"ddof": args[2]} if name in {"std", "var"} and len(args) == 3 else {}
            expected = outcome(lambda a=a, args=args: getattr(np, name)(a, args[0], keepdims=args[1], **options))  # noqa: B023
        else:
            expected = outcome(lambda a=a, args=args: getattr(np, name)(a, *args))
        got = outcome(lambda a=a, args=args: getattr(ndl, name)(Tensor(a), *args))
        if keeps and len(args) > 2 and not options:
            assert isinstance(got, Exception), note
        else:
            check(got, expected, True, note)


@pytest.mark.parametrize("name", ["concatenate", "stack"])
@pytest.mark.parametrize("axis", AXIS)
def test_joining_is_numpys_or_raises(name, axis):
    for a in ARRAYS:
        expected = outcome(lambda a=a: getattr(np, name)([a, a + a], axis))
        got = outcome(lambda a=a: getattr(ndl, name)([Tensor(a), Tensor(a + a)], axis))
        check(got, expected, True, f"{name}({a.shape}, {axis})")


# Transposing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("a", ARRAYS, ids=lambda a: str(a.shape))
def test_T_reverses_all_axes(a):
    for t in (Tensor(a), Tensor(a, requires_grad=False)):
        assert_array_equal(t.T.numpy(), a.T, strict=True)
        assert_array_equal(np.transpose(t).numpy(), a.T, strict=True)


@pytest.mark.parametrize("turned", [lambda x: x.T, lambda x: x.transpose(), lambda x: x.transpose(2, 0, 1, 3)])
def test_a_transposed_gradient_comes_back(turned):
    a = ARRAYS[4]
    weights = np.random.default_rng(1).normal(size=turned(a).shape)
    f = lambda x: (turned(x) ** 2 * weights).sum()  # noqa: E731
    back = np.argsort([n - 2 for n in turned(np.empty((2, 3, 4, 5))).shape])
    expected = 2 * a * weights.transpose(back)
    for found in (ndl.grad(f), ndl.compile(ndl.grad(f))):
        assert_allclose(found(a), expected)
    assert_allclose(ndl.jvp(f, (a,), (np.ones_like(a),))[1], expected.sum())
    assert_allclose(np.diag(ndl.hessian(f)(a).reshape(a.size, a.size)), (expected / a).ravel())


def test_the_function_swaps_two():
    a = ARRAYS[3]
    for axes, expected in [(None, a.swapaxes(-1, -2)), ((0, 2), a.swapaxes(0, 2)), ([0, 1], a.swapaxes(0, 1))]:
        assert_array_equal(ndl.transpose(Tensor(a), axes).numpy(), expected)
        assert_array_equal(ndl.transpose(Tensor(a), axis=axes).numpy(), expected)


# axis and axes -------------------------------------------------------------------------------------------------------


def takes_either(holder: Any) -> dict[str, Any]:
    found = {}
    for name in dir(holder):
        function = getattr(holder, name)
        if name[0] != "_" and inspect.isfunction(function):
            parameters = inspect.signature(function).parameters
            if {"axis", "axes"} & parameters.keys() or "axes" in str(parameters):
                found[name] = function
    return found


BOTH = {
    **{("method", n): f for n, f in takes_either(Tensor).items()},
    **{("function", n): f for n, f in takes_either(ndl).items()},
}
FIRST = {"argpartition": (0,), "partition": (0,), "repeat": (2,), "take": ([0],), "compress": ([True, False],)}
WINDOWS = {"max_pool": (2,), "avg_pool": (2,), "adaptive_avg_pool": (2,)}
PAIRS = {"transpose", "permute_dims"}


@pytest.mark.parametrize(("kind", "name"), [k for k in BOTH if k != ("method", "transpose")])
def test_axis_and_axes_are_one(kind, name):
    a = ARRAYS[3]
    axis: Any = (
        (0, 1) if name == "transpose" else (2, 0, 1) if name == "permute_dims" else 1 if name != "squeeze" else 0
    )
    if name == "squeeze":
        a = a[:1]
    first = (FIRST if kind == "method" else WINDOWS).get(name, ())

    def call(**options: Any) -> Any:
        t = Tensor(a)
        given = [[t, t]] if name in {"concatenate", "stack"} else [t]
        result = BOTH[kind, name](*given, *first, **options)
        return plain(tuple(result) if isinstance(result, ndl.TensorTuple) else t if result is None else result)

    expected = call(axis=axis)
    np.testing.assert_equal(call(axes=axis), expected)
    with pytest.raises(TypeError, match="axes or axis, not both"):
        call(axis=axis, axes=axis)


@pytest.mark.parametrize("wrong", [np.float32, float, "f4", np.zeros(3)])
@pytest.mark.parametrize("name", ["summation", "mean", "max", "min", "prod", "std", "var", "logsumexp"])
def test_keepdims_is_true_or_false(name, wrong):
    with pytest.raises(TypeError, match="keepdims must be True or False"):
        getattr(ndl, name)(Tensor(ARRAYS[2]), 0, wrong)
