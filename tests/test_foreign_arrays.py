"""Arrays with more to them than their elements: what would drop a mask, labels, fields or a product raises.

It says what to write. What another library does with a Tensor that needs no gradient, keeping its own, may stand.
"""

from __future__ import annotations

import operator
from typing import Any

import needle as ndl
import needle.numpy as nnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr
from needle import Tensor
from numpy.testing import assert_array_equal


class Named(np.ndarray):
    """An array with a name."""


FOREIGN = {
    "masked": (np.ma.array([1.0, -9999.0, 3.0], mask=[False, True, False]), r"mask would be lost; fill.*filled"),
    "unmasked": (np.ma.array([1.0, 2.0, 3.0]), "mask would be lost"),
    "matrix": (np.matrix(np.eye(3)), r"product.*np\.matrix would be lost; write np\.asarray\(a\), and @"),
    "subclass": (np.ones(3).view(Named), r"what Named adds.*lost; write np\.asarray\(a\)"),
    "structured": (np.ones(3, [("x", float), ("y", float)]), r"choose a field, like a\['x'\]"),
    "record": (np.ones(3, [("x", float)]).view(np.recarray), r"what recarray adds.*lost; write np\.asarray"),
    "object": (np.array([1, 2.0, 3], object), r"dtype object; to make numbers of it, give dtype=float"),
    "dates": (np.array(["2020-01-01"] * 3, "M8[D]"), r"dtype datetime64"),
    "text": (np.array(["a", "b", "c"]), r"dtype <U1"),
    "series": (pd.Series([1.0, 2.0, 3.0], index=[2, 1, 0]), r"labels of a Series would be lost; write a\.to_numpy\(\)"),
    "frame": (pd.DataFrame(np.eye(3)), r"labels of a DataFrame would be lost; write a\.to_numpy\(\)"),
    "index": (pd.Index([1.0, 2.0, 3.0]), r"labels of a Index would be lost"),
    "csr_matrix": (scipy.sparse.csr_matrix(np.eye(3)), r"sparse csr_matrix.*lost; write a\.toarray\(\)"),
    "coo_array": (scipy.sparse.coo_array(np.eye(3)), r"sparse coo_array.*lost; write a\.toarray\(\)"),
    "xarray": (xr.DataArray(np.ones(3), dims="time"), r"labels of a DataArray would be lost"),
}
OURS: dict[str, Any] = {
    "Tensor": lambda _, a: Tensor(a),
    "of a list": lambda t, a: Tensor([a, a]),
    "asarray": lambda _, a: nnp.asarray(a),
    "array": lambda t, a: nnp.array(a),
    "array of a list": lambda t, a: nnp.array([(a, a)]),
    "make_const": lambda _, a: Tensor.make_const(a),
    "exp": lambda _, a: ndl.exp(a),
    "mean": lambda t, a: nnp.mean(a),
    "add": ndl.add,
    "concatenate": lambda t, a: ndl.concatenate([t, a]),
    "clip": lambda t, a: t.clip(a),
    "where": lambda t, a: ndl.where(t > 0, a, t),
    "dot": lambda t, a: t.dot(a),
    "assign": lambda t, a: operator.setitem(t * 1, ..., a),
    "data": lambda t, a: setattr(t, "data", a),
    "cached_data": lambda t, a: setattr(t, "cached_data", a),
    "grad": lambda t, a: setattr(t, "grad", a),
    "backward": lambda t, a: (t * 2).backward(a),
    "linspace": nnp.linspace,
    "logspace": lambda t, a: nnp.logspace(a, t),
    "geomspace": nnp.geomspace,
}
NUMPYS: dict[str, Any] = {
    "np.multiply": np.multiply,
    "np.stack": lambda t, a: np.stack([t, a]),
    "np.where": lambda t, a: np.where(t > 0, a, t),
    "np.dot": np.dot,
}
OPERATORS = ["add", "sub", "mul", "truediv", "pow", "matmul", "floordiv", "mod", "iadd", "imul"]
ARRAYS = [name for name, (a, _) in FOREIGN.items() if isinstance(a, np.ndarray)]


@pytest.mark.parametrize("how", OURS)
@pytest.mark.parametrize("name", FOREIGN)
def test_what_would_be_lost_is_named(name, how):
    a, words = FOREIGN[name]
    with pytest.raises(TypeError, match=words):
        OURS[how](Tensor([1.0, 1.0, 1.0]), a)


@pytest.mark.parametrize("how", [*NUMPYS, *OPERATORS])
@pytest.mark.parametrize("name", ARRAYS)
def test_operators_and_numpys_functions_name_it_too(name, how):
    a, words = FOREIGN[name]
    with pytest.raises(TypeError, match=words):
        NUMPYS.get(how, getattr(operator, how, None))(Tensor([1.0, 1.0, 1.0]), a)


@pytest.mark.parametrize("how", OPERATORS)
@pytest.mark.parametrize("name", FOREIGN)
def test_no_gradient_is_dropped_on_either_side(name, how):
    for operands in ((Tensor([1.0, 1.0, 1.0]), FOREIGN[name][0]), (FOREIGN[name][0], Tensor([1.0, 1.0, 1.0]))):
        if name == "xarray" and (how[0] != "i" or isinstance(operands[0], Tensor)):
            continue  # it computes with the Tensor inside
        with pytest.raises((TypeError, ValueError, NotImplementedError)):
            getattr(operator, how)(operands[0].copy(), operands[1])


def test_a_constant_beside_a_mask_keeps_the_mask():
    masked, twos = FOREIGN["masked"][0], Tensor([2.0, 2.0, 2.0], requires_grad=False)
    for product in (masked * twos, twos * masked):
        assert_array_equal(product.mask, [False, True, False])
        assert_array_equal(product.compressed(), [2.0, 6.0])


def test_plain_arrays_go_through(tmp_path):
    kept = np.memmap(tmp_path / "numbers", float, "w+", shape=3)
    kept[:] = 2.0
    for a in (kept, np.float64(2.0), [2.0, np.float32(2.0)], (np.ones(2), [1, 2])):
        t = Tensor(a)
        assert_array_equal(t.numpy(), np.asarray(a))
        assert_array_equal((t * a).numpy(), np.multiply(a, a))
    assert Tensor(np.array([1, 2], object), dtype=float).dtype == float


NOT_AN_ARRAY = {"copy", "real_if_close"}
"""Functions whose second argument is an order or a tolerance."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", [nnp, nnp.linalg, nnp.fft, ndl])
@pytest.mark.parametrize("name", ["masked", "matrix"])
def test_no_function_returns_numbers_of_a_masked_array_or_a_matrix(library, name):
    """None of all public functions, in any of its first two arguments."""
    found = []
    for function in [n for n in getattr(library, "__all__", dir(library)) if n[0] != "_"]:
        f = getattr(library, function)
        if isinstance(f, type) or not callable(f):
            continue
        for which in ["a", "at", "aa", "a1", "ta"][: 4 if function in NOT_AN_ARRAY else 5]:
            made = {"a": FOREIGN[name][0].copy(), "t": Tensor(np.eye(3)), "1": 1}  # some functions write into them
            args = [made[of] for of in which]
            try:
                result = f(*args)
            except Exception:
                continue
            results = result if isinstance(result, tuple) else (result,)
            if any(type(r) in (Tensor, np.ndarray) and r.dtype.kind in "fc" for r in results):
                found.append((function, which))
    assert found == []
