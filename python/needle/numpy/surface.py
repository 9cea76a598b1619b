"""What each public function of NumPy, numpy.linalg and numpy.fft is on Tensors: `SURFACE["linalg.inv"]`.

Nothing imports this but who asks. `python -m needle.numpy.surface` prints it as the table in docs/numpy.md.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """What a function is on Tensors.

    `kind` is "differentiable", "zero" (almost everywhere) or "not applicable"; `group` says what it is about, or why it
    is not. Through `doors` a Tensor comes in: "both", where NumPy's own function does what that of `needle.numpy` does;
    "needle.numpy", where NumPy's does not ask its arguments, refuses Tensors that need a gradient, and makes arrays of
    others; or "numpy", where it is for arrays alone.
    """

    kind: str
    group: str
    doors: str


# The names of a group; behind those for which NumPy does not ask its arguments stands a star.

DIFFERENTIABLE = {
    "arithmetic": """
        add subtract multiply divide true_divide negative positive power pow float_power square sqrt cbrt reciprocal
        remainder mod fmod divmod absolute abs fabs
        """,
    "exponentials and logarithms": "exp exp2 expm1 log log2 log10 log1p logaddexp logaddexp2",
    "angles and triangles": """
        sin cos tan arcsin asin arccos acos arctan atan arctan2 atan2 hypot sinc unwrap degrees rad2deg radians deg2rad
        sinh cosh tanh arcsinh asinh arccosh acosh arctanh atanh
        """,
    "other functions of numbers": "i0 kaiser* interp",
    "parts of numbers": """
        real imag angle conjugate conj real_if_close copysign modf frexp ldexp nextafter nan_to_num
        """,
    "the larger and the smaller": "maximum minimum fmax fmin clip",
    "sums, products, extrema": """
        sum prod max amax min amin ptp cumsum cumprod cumulative_sum cumulative_prod
        nansum nanprod nanmax nanmin nancumsum nancumprod
        """,
    "statistics": """
        mean average var std cov corrcoef median quantile percentile
        nanmean nanvar nanstd nanmedian nanquantile nanpercentile
        """,
    "sums of weights, by them": "bincount",
    "bins, by weights and by what the edges are made of": "histogram histogram2d histogramdd histogram_bin_edges",
    "differences and integrals": "diff ediff1d gradient trapezoid trapz convolve correlate",
    "products of arrays": """
        dot vdot inner outer matmul matvec vecmat vecdot tensordot einsum kron cross trace
        """,
    "linear algebra": """
        linalg.inv linalg.solve linalg.lstsq linalg.pinv linalg.tensorinv linalg.tensorsolve
        linalg.det linalg.slogdet linalg.matrix_power linalg.multi_dot
        linalg.cholesky linalg.qr linalg.eig linalg.eigh linalg.eigvals linalg.eigvalsh linalg.svd linalg.svdvals
        linalg.norm linalg.vector_norm linalg.matrix_norm linalg.cond
        linalg.matmul linalg.vecdot linalg.outer linalg.cross linalg.tensordot
        linalg.trace linalg.diagonal linalg.matrix_transpose
        """,
    "Fourier transforms": """
        fft.fft fft.ifft fft.rfft fft.irfft fft.hfft fft.ihfft fft.fft2 fft.ifft2 fft.rfft2 fft.irfft2
        fft.fftn fft.ifftn fft.rfftn fft.irfftn fft.fftshift fft.ifftshift fft.fftfreq fft.rfftfreq
        """,
    "polynomials": "poly polyadd polysub polymul polydiv polyder polyint polyfit polyval roots vander poly1d",
    "arrays of arrays and numbers": """
        array* asarray* asanyarray* ascontiguousarray* asfortranarray* asarray_chkfinite* require* copy astype
        full* full_like arange* linspace logspace geomspace meshgrid ix_ mgrid* ogrid* fromiter* from_dlpack*
        """,
    "shapes": """
        reshape resize ravel squeeze expand_dims atleast_1d atleast_2d atleast_3d broadcast_to broadcast_arrays
        transpose permute_dims matrix_transpose swapaxes moveaxis rollaxis
        """,
    "rearranging": """
        flip fliplr flipud rot90 roll repeat tile pad delete trim_zeros diag diagflat diagonal tril triu
        """,
    "joining and splitting": """
        concatenate concat stack vstack row_stack hstack dstack column_stack block append insert r_* c_*
        split array_split hsplit vsplit dsplit unstack
        """,
    "choosing elements": "where take take_along_axis choose select compress extract piecewise",
    "writing into a Tensor": "copyto put put_along_axis putmask place fill_diagonal",
    "sorting, and sets": """
        sort sort_complex partition unique unique_values unique_counts unique_inverse unique_all
        intersect1d union1d setdiff1d setxor1d
        """,
    "functions of functions": """
        apply_along_axis apply_over_axes fromfunction vectorize* frompyfunc*
        """,
}

ZERO = {
    "rounding": "floor ceil trunc fix rint round around spacing",
    "steps (but `heaviside` by its second argument, and `sign` of complex numbers)": "floor_divide heaviside sign",
}

NOT_APPLICABLE = {
    "positions": """
        argmax argmin nanargmax nanargmin argsort argpartition lexsort nonzero argwhere flatnonzero
        searchsorted digitize unravel_index ravel_multi_index
        """,
    "counts": "count_nonzero linalg.matrix_rank",
    "predicates": """
        equal not_equal less less_equal greater greater_equal isclose allclose array_equal array_equiv all any
        logical_and logical_or logical_xor logical_not isnan isinf isfinite isposinf isneginf signbit
        isreal iscomplex isrealobj iscomplexobj isin in1d
        """,
    "integers and their bits": """
        gcd lcm bitwise_and bitwise_or bitwise_xor invert bitwise_not bitwise_invert bitwise_count
        left_shift bitwise_left_shift right_shift bitwise_right_shift
        """,
    "made of a shape or a count": """
        zeros* ones* empty* eye* identity* tri* zeros_like ones_like empty_like bartlett* blackman* hamming* hanning*
        """,
    "made of bytes or a text": "frombuffer* fromfile* fromstring*",
    "indices": """
        indices* diag_indices* diag_indices_from tril_indices* tril_indices_from triu_indices* triu_indices_from
        mask_indices* ndindex s_ index_exp
        """,
    "shapes, dtypes and memory": """
        shape ndim size iterable isscalar isfortran broadcast_shapes result_type promote_types min_scalar_type
        common_type mintypecode can_cast issubdtype isdtype dtype finfo iinfo may_share_memory shares_memory einsum_path
        """,
    "warnings": "errstate",
}

FOR_ARRAYS = {
    "text": """
        array2string array_repr array_str base_repr binary_repr format_float_positional format_float_scientific typename
        """,
    "files": "load loadtxt genfromtxt fromregex save savez savez_compressed savetxt memmap",
    "dates": "isnat busday_count busday_offset busdaycalendar datetime_as_string datetime_data is_busday",
    "bits in bytes": "packbits unpackbits",
    "iteration by index": "ndenumerate nditer nested_iters flatiter broadcast",
    "other kinds of arrays": "ndarray matrix asmatrix bmat recarray",
    "settings": """
        get_printoptions set_printoptions printoptions geterr seterr geterrcall seterrcall getbufsize setbufsize
        """,
    "NumPy itself": "ufunc get_include info show_config show_runtime test linalg.test fft.test",
}


def _entries() -> dict[str, Entry]:
    kinds = [("differentiable", DIFFERENTIABLE), ("zero", ZERO), ("not applicable", NOT_APPLICABLE)]
    entries = {
        name.rstrip("*"): Entry(kind, group, "needle.numpy" if name.endswith("*") else "both")
        for kind, groups in kinds
        for group, names in groups.items()
        for name in names.split()
    }
    entries.update(
        {name: Entry("not applicable", group, "numpy") for group, names in FOR_ARRAYS.items() for name in names.split()}
    )
    return entries


SURFACE: dict[str, Entry] = _entries()

CHAPTERS = [
    (
        "Differentiable",
        "In reverse and in forward mode, to every order. A star: NumPy's own function does not ask its arguments "
        "whether they are Tensors; take that of `needle.numpy`.",
        DIFFERENTIABLE,
    ),
    ("Zero almost everywhere", "A gradient passes through these, and is 0.", ZERO),
    (
        "Without a derivative",
        "What these return is a constant. A star: NumPy's own function does not ask its arguments, and returns an "
        "array; that of `needle.numpy` returns a Tensor, where there are numbers to return.",
        NOT_APPLICABLE,
    ),
    ("For arrays alone", "NumPy's own, in `needle.numpy`, too. Give these `t.numpy()`.", FOR_ARRAYS),
]


def page() -> str:
    """The table in Markdown."""
    lines = []
    for title, about, groups in CHAPTERS:
        lines += [f"### {title}", "", about, "", "| what | functions |", "|---|---|"]
        lines += [f"| {group} | {' '.join(map(_shown, names.split()))} |" for group, names in groups.items()]
        lines += [""]
    return "\n".join(lines)


def _shown(name: str) -> str:
    return f"`{name.rstrip('*')}`" + "\\*" * name.endswith("*")


if __name__ == "__main__":
    print(page(), end="")
