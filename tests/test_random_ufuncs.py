"""Random calls of NumPy's ufuncs and of their methods: every dtype, `out=`, `where=`, `dtype=` and `casting=`, Python
numbers among the operands. The value, its dtype and shape, and what is written are NumPy's, or an error is raised.

`python tests/test_random_ufuncs.py 10000` tries ten thousand.
"""

from __future__ import annotations

import copy
import sys
import warnings
from typing import Any

import needle
import needle.numpy as nnp
import numpy as np
import pytest

NAMES = sorted({f.__name__ for f in vars(np).values() if isinstance(f, np.ufunc) and f.signature is None})
DTYPES = [np.dtype(code) for code in "?bBhilLefdFD"]
SHAPES = [(3,), (2, 3), (1, 3), (2, 1), ()]
NUMBERS = [2, 1.5, True, -1, 0, 2j]
CASTINGS = ["no", "equiv", "safe", "same_kind", "unsafe"]
OUT_OF_ORDER = {"arctan2", "power", "float_power", "ldexp", "floor_divide"}
"""NumPy 2.4 reduces these with the wrong elements: np.arctan2.reduce([-3, -1, 1, 4]) is arctan2(-3, 4)."""


def one_of(rng: Any, choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def array(rng: Any, shape: Any) -> Any:
    dtype = one_of(rng, DTYPES)
    a = rng.normal(size=shape) * 3
    a = np.abs(a) if dtype.kind in "bu" else a + 1j * rng.normal(size=shape) if dtype.kind == "c" else a
    return np.asarray(a).astype(dtype)


def a_call(rng: Any) -> tuple[str, list[Any], dict[str, Any]]:
    """The name of a ufunc, or of one of its methods, and arguments."""
    name = one_of(rng, NAMES)
    ufunc = getattr(np, name)
    if (ufunc.nin, ufunc.nout) == (2, 1) and name not in OUT_OF_ORDER and rng.random() < 0.3:
        return a_method(rng, name)
    some = 0.2 if name != "ldexp" else 0  # where NumPy makes float16 of the number 2, Needle keeps float64
    args = [one_of(rng, NUMBERS) if rng.random() < some else array(rng, one_of(rng, SHAPES)) for _ in range(ufunc.nin)]
    options: dict[str, Any] = {}
    kind = rng.integers(7)
    if kind:  # NumPy 2.4 crashes in the end if it often refuses to cast a number
        args = [array(rng, np.shape(a)) for a in args]
    if kind == 1:
        options["dtype"] = one_of(rng, DTYPES)
    if kind in (2, 5):
        options["casting"] = one_of(rng, CASTINGS)
    if kind in (3, 4, 5):
        try:
            shape = np.broadcast_shapes(*map(np.shape, args))
        except ValueError:
            shape = (3,)
        outs = tuple([np.zeros(shape, one_of(rng, DTYPES)) for _ in range(ufunc.nout)])
        options["out"] = outs if ufunc.nout > 1 or rng.random() < 0.3 else outs[0]
    if kind == 4:
        options["where"] = np.asarray(rng.random(shape) < 0.5)
    return name, args, options


def a_method(rng: Any, name: str) -> tuple[str, list[Any], dict[str, Any]]:
    method = one_of(rng, ["reduce", "accumulate", "outer", "reduceat"])
    a = array(rng, (3, 4))
    if method == "outer":
        return f"{name}.outer", [a[0], array(rng, (2,))], {}
    if method == "reduceat":
        return f"{name}.reduceat", [a, [0, 2, 1]], {"axis": one_of(rng, [1, -1])}
    options = {"axis": one_of(rng, [0, 1, -1])}
    if method == "reduce":
        options |= {"keepdims": bool(rng.integers(2))} | ({"initial": 1} if rng.random() < 0.3 else {})
    if rng.random() < 0.3:
        options["dtype"] = a.dtype
    return f"{name}.{method}", [a], options


def run(lib: Any, name: str, args: Any, options: Any) -> Any:
    """The results as arrays, then what is written; None if it raises."""
    function = lib
    for part in name.split("."):
        function = getattr(function, part)
    args, options = copy.deepcopy((args, options))
    try:
        result = function(*args, **options)
    except (TypeError, ValueError, OverflowError):
        return None
    outs = options.get("out", ())
    results = result if isinstance(result, (tuple, needle.TensorTuple)) else (result,)
    return [np.asarray(r) for r in (*results, *(outs if isinstance(outs, tuple) else (outs,)))]


def is_same(got: Any, expected: Any) -> bool:
    if got.dtype != expected.dtype or got.shape != expected.shape:
        return False
    if got.dtype.kind not in "fc":
        return np.array_equal(got, expected)
    return np.allclose(got, expected, rtol=16 * np.finfo(got.dtype).eps, atol=np.finfo(got.dtype).eps, equal_nan=True)


def wrong(seed: int) -> str:
    """What differs from NumPy; "" if nothing does."""
    rng = np.random.default_rng(seed)
    name, args, options = a_call(rng)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        expected, got = run(np, name, args, options), run(nnp, name, args, options)
    if got is None or (expected is not None and all(map(is_same, got, expected))):
        return ""
    if expected is None:
        return ""  # Needle computes what NumPy refuses
    return f"{name}(*{args}, **{options}) gives {got}, not {expected} (seed {seed})"


@pytest.mark.parametrize("block", range(20))
def test_a_call_gives_what_numpys_does(block):
    for seed in range(40 * block, 40 * (block + 1)):
        assert not wrong(seed)


if __name__ == "__main__":
    found = list(filter(None, map(wrong, range(int(sys.argv[1])))))
    print(*found, f"{len(found)} of {sys.argv[1]} wrong", sep="\n")
