"""Every public function of NumPy is in the table of `needle.numpy.surface`, and is what the table says of it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import needle.numpy as nnp
import numpy as np
import pytest
from calls import Call, as_tensors, check_gradient, check_second_order, check_value, outputs, weighted
from needle import Tensor
from needle.numpy.surface import SURFACE, page
from numpy.testing import assert_array_equal

MODULES = {"": np, "linalg.": np.linalg, "fft.": np.fft}


def public(prefix: str, module: Any) -> set[str]:
    """The names of functions, classes and objects that are called or indexed: no numbers, dtypes and exceptions."""
    found = {prefix + name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return {
        name
        for name, thing in found.items()
        if not isinstance(thing, (ModuleType, float, bool, np.bool, tuple, dict, type(None)))
        and not (isinstance(thing, type) and issubclass(thing, (np.generic, Exception)))
    }


def in_numpy(name: str) -> Any:
    *module, name = name.split(".")
    return getattr(MODULES[".".join([*module, ""])], name, None)


def in_needle(name: str) -> bool:
    """Whether Needle has a function of its own: `needle.numpy` passes on the rest of NumPy as it is."""
    *module, name = name.split(".")
    return name in vars(getattr(nnp, module[0]) if module else nnp)


def test_the_table_is_complete():
    names = set().union(*[public(prefix, module) for prefix, module in MODULES.items()])
    assert names - SURFACE.keys() == set(), "are not in the table"
    assert {n for n in SURFACE if in_numpy(n) is None and not in_needle(n)} == set(), "are unknown to everybody"
    assert {n for n, e in SURFACE.items() if e.doors != "numpy" and not in_needle(n)} == set(), "are not in Needle"
    assert {n for n, e in SURFACE.items() if e.doors == "numpy" and in_needle(n)} == {"isnat"}  # as all ufuncs are


def test_the_page_shows_the_table():
    text = (Path(__file__).parent.parent / "docs" / "numpy.md").read_text()
    assert page() in text, "python -m needle.numpy.surface prints the table anew"


# ------------------------------------------------------------------------------------------------- a call of each

X, Y, ABOVE = np.array([0.3, 0.8]), np.array([0.7, 1.9]), np.array([1.3, 2.6])
V, W = np.array([0.7, -1.2, 0.5]), np.array([1.1, 0.4, -0.9])
Z = np.array([0.4 + 0.3j, -1.2 + 0.7j])
M = np.array([[1.7, 0.4, -1.3], [0.9, -0.6, 2.2]])
A = np.array([[2.1, 0.4], [-0.7, 1.2]])
CUBE = np.array([[[0.3, 1.1], [-0.8, 0.5]], [[1.4, -0.2], [0.9, -1.6]]])
BIG = np.array([[3.1, 0.2, -0.3, 0.4], [0.5, 2.2, 0.1, -0.6], [-0.2, 0.7, 1.9, 0.3], [0.6, -0.1, 0.8, 2.7]])
LONG = np.array([6, -4, 3])
BOOLS = np.array([True, False, True])


def calls(names: str, *args: Any, **options: Any) -> dict[str, Call]:
    """The same call of each of these."""
    return {name: Call(name, *args, **options) for name in names.split()}


def symmetric(np: Any, a: Any) -> Any:
    return np.matmul(a, np.matrix_transpose(a)) + np.eye(2)


def eigenvectors(np: Any, a: Any) -> Any:
    values, vectors = np.linalg.eigh(symmetric(np, a))
    return values, vectors * vectors[:1]


def written(name: str) -> Any:
    """A program that writes into a copy."""

    def program(np: Any, a: Any, *args: Any) -> Any:
        a = np.copy(a)
        getattr(np, name)(a, *args)
        return a

    return program


DIFFERENTIABLE = {
    **calls("negative positive square sqrt cbrt reciprocal absolute abs fabs exp exp2 expm1 log log2 log10 log1p", X),
    **calls("sin cos tan arcsin asin arccos acos arctan atan sinc degrees rad2deg radians deg2rad", X),
    **calls("sinh cosh tanh arcsinh asinh arctanh atanh i0 modf frexp nan_to_num", X),
    **calls("arccosh acosh", ABOVE),
    **calls("real imag angle conjugate conj real_if_close sort_complex", Z),
    **calls("add subtract multiply divide true_divide power pow float_power remainder mod fmod divmod", ABOVE, Y),
    **calls("logaddexp logaddexp2 arctan2 atan2 hypot copysign nextafter maximum minimum fmax fmin", X, Y),
    "ldexp": Call("ldexp", X, 3),
    "clip": Call("clip", V, -1.0, W),
    "unwrap": Call("unwrap", np.array([0.3, 6.1, 11.9])),
    "kaiser": Call("kaiser", 5, np.array(1.3)),
    "interp": Call("interp", Y, np.array([0.0, 1.0, 2.5]), V),
    **calls(
        "sum prod max amax min amin ptp cumsum cumprod nansum nanprod nanmax nanmin nancumsum nancumprod", M, axis=1
    ),
    **calls("mean average var std median nanmean nanvar nanstd nanmedian", M, axis=0),
    **calls("cumulative_sum cumulative_prod", V),
    **calls("quantile nanquantile", V, 0.3),
    **calls("percentile nanpercentile", V, np.array([20.0, 70.0])),
    **calls("cov corrcoef", M),
    "bincount": Call("bincount", np.array([1, 0, 1]), V),
    "histogram": Call(lambda np, w: np.histogram(LONG, 2, weights=w)[0], V),
    "histogram2d": Call(lambda np, w: np.histogram2d(LONG, LONG, 2, weights=w)[0], V),
    "histogram_bin_edges": Call("histogram_bin_edges", V, 4),
    "histogramdd": Call(lambda np, w: np.histogramdd([LONG, LONG], 2, weights=w)[0], V),
    **calls("diff ediff1d gradient", V),
    "trapezoid": Call("trapezoid", V, np.array([0.0, 1.0, 2.5])),
    "trapz": Call("trapz", V, np.array([0.0, 1.0, 2.5])),
    **calls("convolve correlate", V, X),
    **calls("dot vdot inner outer vecdot linalg.vecdot linalg.outer cross linalg.cross", V, W),
    **calls("matmul linalg.matmul", A, M),
    **calls("tensordot linalg.tensordot", A, M, axes=1),
    "matvec": Call("matvec", M, V),
    "vecmat": Call("vecmat", X, M),
    "einsum": Call("einsum", "ij,j->i", M, V),
    "kron": Call("kron", X, V),
    **calls("trace linalg.trace linalg.inv linalg.pinv linalg.det linalg.slogdet linalg.eig linalg.eigvals", A),
    **calls("linalg.svdvals linalg.norm linalg.vector_norm linalg.matrix_norm linalg.cond linalg.qr", A),
    **calls("linalg.diagonal linalg.matrix_transpose diagonal diag matrix_transpose tril triu", A),
    "linalg.solve": Call("linalg.solve", A, X),
    "linalg.lstsq": Call(lambda np, a, b: np.linalg.lstsq(a, b)[:2], M.T, V),
    "linalg.tensorinv": Call("linalg.tensorinv", BIG.reshape(2, 2, 4)),
    "linalg.tensorsolve": Call("linalg.tensorsolve", BIG.reshape(2, 2, 2, 2), A),
    "linalg.matrix_power": Call("linalg.matrix_power", A, 3),
    "linalg.multi_dot": Call("linalg.multi_dot", [A, M, V]),
    "linalg.cholesky": Call(lambda np, a: np.linalg.cholesky(symmetric(np, a)), A),
    "linalg.eigh": Call(eigenvectors, A),
    "linalg.eigvalsh": Call(lambda np, a: np.linalg.eigvalsh(symmetric(np, a)), A),
    "linalg.svd": Call("linalg.svd", A),
    **calls("fft.fft fft.ifft fft.rfft fft.irfft fft.hfft fft.ihfft fft.fftshift fft.ifftshift", V),
    **calls("fft.fft2 fft.ifft2 fft.rfft2 fft.irfft2 fft.fftn fft.ifftn fft.rfftn fft.irfftn", M),
    **calls("fft.fftfreq fft.rfftfreq", 4, np.array(0.3)),
    **calls("poly roots polyder polyint", np.array([1.3, -3.1, 0.9])),
    **calls("polyadd polysub polymul polydiv", V, X),
    "polyfit": Call("polyfit", np.array([0.0, 0.7, 1.5]), V, 1),
    "polyval": Call("polyval", V, X),
    "vander": Call("vander", V),
    "poly1d": Call(lambda np, p, x: (np.poly1d(p)(x), (np.poly1d(p).deriv() * np.poly1d(p) ** 2).c), V, X),
    **calls("array asarray asanyarray ascontiguousarray asfortranarray", [V, W]),
    **calls("asarray_chkfinite require copy", V),
    "astype": Call("astype", V, np.complex128),
    "full": Call("full", (2, 3), V),
    "full_like": Call("full_like", M, V),
    "arange": Call("arange", np.array(0.3), 2.0, np.array(0.7)),
    **calls("linspace logspace geomspace", np.array(0.5), np.array(2.0), 3),
    "meshgrid": Call("meshgrid", X, V),
    "ix_": Call("ix_", X, V),
    "fromiter": Call(lambda np, a: np.fromiter([a[1], a[0]], float), X),
    "from_dlpack": Call("from_dlpack", V),
    "mgrid": Call(lambda np, a: np.mgrid[a[0] : 2 : 3j, 1:4:2], X),
    "ogrid": Call(lambda np, a: np.ogrid[a[0] : 2 : a[1], 1:4:2], X),
    "r_": Call(lambda np, a, b: np.r_[a, 0, 1 : b[0] : 3j, b], V, Y),
    "c_": Call(lambda np, a, b: np.c_[a, b, 0:3], V, W),
    **calls("reshape resize", M, (3, 2)),
    **calls("ravel squeeze atleast_1d atleast_2d atleast_3d transpose permute_dims", M),
    "expand_dims": Call("expand_dims", V, 0),
    "broadcast_to": Call("broadcast_to", V, (2, 3)),
    "broadcast_arrays": Call("broadcast_arrays", M, V),
    **calls("swapaxes moveaxis rollaxis", CUBE, 2, 0),
    **calls("flip fliplr flipud rot90 diagflat", M),
    **calls("roll repeat tile", V, 2),
    "pad": Call("pad", V, 1, "linear_ramp"),
    "delete": Call("delete", V, 1),
    "trim_zeros": Call("trim_zeros", V),
    **calls("concatenate concat stack vstack hstack dstack column_stack block", [V, W]),
    "append": Call("append", V, X),
    "insert": Call("insert", V, 1, np.array(0.6)),
    "split": Call("split", V, 3),
    "array_split": Call("array_split", V, 2),
    "hsplit": Call("hsplit", M, 3),
    "vsplit": Call("vsplit", M, 2),
    "dsplit": Call("dsplit", CUBE, 2),
    "unstack": Call("unstack", M),
    "where": Call("where", BOOLS, V, W),
    "take": Call("take", V, [0, 0, 2]),
    "take_along_axis": Call("take_along_axis", V, np.array([2, 0]), 0),
    "choose": Call("choose", [0, 1, 0], [V, W]),
    "select": Call("select", [BOOLS], [V], W),
    "compress": Call("compress", BOOLS, V),
    "extract": Call("extract", BOOLS, V),
    "piecewise": Call(lambda np, a: np.piecewise(a, [a < 0], [lambda x: x * x, 3.0]), V),
    "copyto": Call(written("copyto"), M, V),
    "put": Call(written("put"), V, [0, 2], X),
    "put_along_axis": Call(written("put_along_axis"), V, np.array([2, 0]), X, 0),
    "putmask": Call(written("putmask"), V, BOOLS, W),
    "place": Call(written("place"), V, BOOLS, X),
    "fill_diagonal": Call(written("fill_diagonal"), A, X),
    **calls("sort unique unique_values unique_counts unique_inverse unique_all", V),
    "partition": Call("partition", X, 1),
    **calls("intersect1d union1d setdiff1d setxor1d", V, V + 0.5),
    "apply_along_axis": Call(lambda np, a: np.apply_along_axis(lambda v: v * v, 0, a), M),
    "apply_over_axes": Call(lambda np, a: np.apply_over_axes(np.sum, a, [0, 1]), M),
    "fromfunction": Call(lambda np, a: np.fromfunction(lambda i: i * a, (3,)), V),
    "vectorize": Call(lambda np, a: np.vectorize(lambda x: x * x)(a), V),
    "frompyfunc": Call(lambda np, a: np.frompyfunc(lambda x: x * x, 1, 1)(a).astype(float), V),
}
ZERO = {
    **calls("floor ceil trunc fix rint round around sign spacing", 10 * V),
    "floor_divide": Call("floor_divide", 10 * V, W),
    "heaviside": Call("heaviside", V, 0.5),
}
CONSTANT = {
    **calls("argmax argmin nanargmax nanargmin argsort nonzero argwhere flatnonzero count_nonzero all any", V),
    **calls("isnan isinf isfinite isposinf isneginf signbit isreal iscomplex isrealobj iscomplexobj logical_not", V),
    **calls("equal not_equal less less_equal greater greater_equal isclose allclose array_equal array_equiv", V, W),
    **calls(
        "logical_and logical_or logical_xor isin in1d may_share_memory shares_memory result_type common_type", V, W
    ),
    **calls("shape ndim size iterable isscalar isfortran min_scalar_type zeros_like ones_like finfo", V),
    **calls("diag_indices_from tril_indices_from triu_indices_from linalg.matrix_rank", A),
    **calls("gcd lcm bitwise_and bitwise_or bitwise_xor", LONG, 5),
    **calls("left_shift bitwise_left_shift right_shift bitwise_right_shift", LONG, 1),
    **calls("invert bitwise_not bitwise_invert bitwise_count iinfo", LONG),
    **calls("zeros ones eye identity tri diag_indices tril_indices triu_indices bartlett blackman hamming hanning", 3),
    "argpartition": Call("argpartition", X, 0),
    "lexsort": Call("lexsort", (V, W)),
    "searchsorted": Call("searchsorted", X, V),
    "digitize": Call("digitize", V, X),
    "unravel_index": Call("unravel_index", LONG + 4, (6, 3)),
    "ravel_multi_index": Call("ravel_multi_index", (LONG + 4, LONG + 4), (11, 11)),
    "empty": Call("empty", 0),
    "empty_like": Call("empty_like", V[:0]),
    "frombuffer": Call("frombuffer", b"abc", "u1"),
    "fromfile": Call(lambda np: np.fromfile(__file__, "u1")),
    "fromstring": Call("fromstring", "1 2", sep=" "),
    "indices": Call("indices", (2, 3)),
    "mask_indices": Call(lambda np: np.mask_indices(3, np.triu)),
    "broadcast_shapes": Call("broadcast_shapes", (2, 1), (3,)),
    "promote_types": Call("promote_types", "f", "i4"),
    "mintypecode": Call("mintypecode", ["f", "D"]),
    "can_cast": Call("can_cast", "f", "d"),
    "issubdtype": Call("issubdtype", "f", np.floating),
    "isdtype": Call("isdtype", np.dtype("f"), "real floating"),
    "dtype": Call("dtype", "f"),
    "einsum_path": Call("einsum_path", "i,i", V, W),
    "ndindex": Call("ndindex", (2, 3)),
    "s_": Call(lambda np: np.s_[1:, ::2]),
    "index_exp": Call(lambda np: np.index_exp[1:]),
    "errstate": Call(lambda np: np.errstate(all="ignore")),
}
REFUSED = {
    name: how
    for names, how in [
        ("array2string array_repr array_str packbits unpackbits datetime_as_string is_busday", lambda f, t: f(t)),
        ("matrix asmatrix ndenumerate", lambda f, t: f(t)),
        ("binary_repr base_repr format_float_positional format_float_scientific", lambda f, t: f(t[0])),
        ("busday_count busday_offset broadcast", lambda f, t: f(t, t)),
        ("save savetxt savez savez_compressed", lambda f, t: f(io.BytesIO(), t)),
    ]
    for name in names.split()
}
"""How what is for arrays is called with a Tensor."""
OLDER = {"trapz": "trapezoid", "row_stack": "vstack"}
"""Names that NumPy gave up, or warns of, and their successors."""


def named(kind: str, *doors: str) -> Any:
    """A test of all functions of a kind, through these doors."""
    names = [n for n, e in SURFACE.items() if e.kind == kind and e.doors in doors and n not in OLDER]
    return pytest.mark.parametrize("name", names)


def needs_numpys(name: str) -> None:
    if in_numpy(name) is None:
        pytest.skip("NumPy does not have it in this version")


def grads(module: Any, call: Call) -> tuple[list[Any], list[Any]]:
    """What a call gives for Tensors, which must be Tensors, and the gradients of a weighted sum of them."""
    given = as_tensors(call.arrays)
    results = outputs(call.on(module, given))
    weighted(results).backward()
    return [y.numpy() for y in results], [given[i].grad for i in call.places]


# ------------------------------------------------------------------------------------------------------- the laws


def test_older_names_mean_the_same():
    for name, successor in OLDER.items():
        assert getattr(nnp, name) is getattr(nnp, successor)


@named("differentiable", "both", "needle.numpy")
@pytest.mark.parametrize("check", [check_value, check_gradient, check_second_order])
def test_differentiable(name, check):
    needs_numpys(name)
    check(DIFFERENTIABLE[name])


@named("differentiable", "both")
def test_numpys_own_function_is_needles(name):
    needs_numpys(name)
    (own, of_own), (results, of_results) = [grads(module, DIFFERENTIABLE[name]) for module in (np, nnp)]
    for a, b in zip([*own, *of_own], [*results, *of_results], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert_array_equal(np.asarray(a), np.asarray(b), strict=True)


@named("differentiable", "needle.numpy")
def test_numpys_own_function_refuses_tensors(name):
    call = DIFFERENTIABLE[name]
    with pytest.raises((TypeError, ValueError, AttributeError)) as refused:
        call.on(np, as_tensors(call.arrays))
    first = refused.value.__cause__ or refused.value.__context__ or refused.value  # before NumPy gave up, for some
    assert re.search("needs a gradient|has no derivative", str(first))


@named("zero", "both")
def test_zero(name):
    for module in (np, nnp):
        _, found = grads(module, ZERO[name])
        for g, i in zip(found, ZERO[name].places, strict=True):
            assert_array_equal(g.numpy(), np.zeros_like(ZERO[name].arrays[i]), strict=True)


@named("not applicable", "both", "needle.numpy")
def test_constant(name):
    call = CONSTANT[name]
    found = outputs(call.on(nnp, as_tensors(call.arrays)))
    assert not any(isinstance(y, Tensor) and y.requires_grad for y in found)
    if in_numpy(name) is None:
        return
    if SURFACE[name].doors == "both":
        own = outputs(call.on(np, as_tensors(call.arrays)))
        assert [isinstance(y, Tensor) for y in own] == [isinstance(y, Tensor) for y in found]
    elif call.places:
        with pytest.raises((TypeError, AttributeError)):
            call.on(np, as_tensors(call.arrays))
    else:
        assert not any(isinstance(y, Tensor) for y in outputs(call.on(np, call.arrays)))


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_for_arrays_refuses_tensors_that_need_a_gradient(name):
    with pytest.raises(TypeError, match=r"needs a gradient|has no derivative"):
        REFUSED[name](getattr(np, name), Tensor(V))


def test_every_function_that_asks_and_is_for_arrays_is_tried():
    asking = type(np.sum)
    assert {n for n, e in SURFACE.items() if e.doors == "numpy" and isinstance(in_numpy(n), asking)} <= REFUSED.keys()
