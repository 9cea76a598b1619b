"""Shapes, the order of elements, repetition, triangles and diagonals."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from ..ops import dtypes, selection
from ..ops import shape as shapes
from ..ops.base import described, normalize_axes, reduced_axes, several
from ..ops.discrete import discrete
from ..ops.rearranging import rearranged
from .common import along, array_of, check_device, index_of, normal_axis, tensor

# ------------------------------------------------------------------------------------------------------- shapes


def reshape(a: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Tensor:
    """The elements in a new shape, of which one length may be -1.

    They are read and placed with the last index changing fastest; with order "F", the first one. "A" is "C".
    """
    a = tensor(a)
    if order not in ("C", "F", "A"):
        raise ValueError(f"reshape: order must be 'C', 'F' or 'A', got {described(order)}")
    if copy:
        a = dtypes.astype(a, a.dtype)
    shape = several(shape)
    return transpose(transpose(a).reshape(shape[::-1])) if order == "F" else a.reshape(shape)


def ravel(a: Any, order: str = "C") -> Tensor:
    """The elements in one dimension; with order "F", the first index changes fastest."""
    return reshape(a, -1, "A" if order == "K" else order)


def transpose(a: Any, axes: Any = None) -> Tensor:
    """The axes in another order: reversed, or as `axes` says."""
    return shapes.permute_dims(tensor(a), axes)


permute_dims = transpose


def matrix_transpose(x: Any, /) -> Tensor:
    """The last two axes swapped."""
    x = tensor(x)
    if x.ndim < 2:
        raise ValueError(f"matrix_transpose: needs two dimensions or more, got shape {x.shape}")
    return x.mT


def swapaxes(a: Any, axis1: int, axis2: int) -> Tensor:
    """Two axes swapped."""
    a = tensor(a)
    return shapes.transpose(a, (normal_axis("swapaxes", axis1, a.ndim), normal_axis("swapaxes", axis2, a.ndim)))


def moveaxis(a: Any, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places; the others stay in order."""
    a = tensor(a)
    sources, places = (
        [normal_axis("moveaxis", axis, a.ndim) for axis in several(given)] for given in (source, destination)
    )
    if len(sources) != len(places) or len(set(sources)) < len(sources) or len(set(places)) < len(places):
        raise ValueError(
            "moveaxis: source and destination must name equally many axes, none of them twice, got "
            f"{source!r} and {destination!r}"
        )
    order = [axis for axis in range(a.ndim) if axis not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return shapes.permute_dims(a, tuple(order))


def rollaxis(a: Any, axis: int, start: int = 0) -> Tensor:
    """An axis moved backwards until it lies in front of axis `start`."""
    a = tensor(a)
    axis = normal_axis("rollaxis", axis, a.ndim)
    start = a.ndim if start == a.ndim else normal_axis("rollaxis", start, a.ndim)
    return moveaxis(a, axis, start - (axis < start))


def expand_dims(a: Any, axis: Any) -> Tensor:
    """New axes of length 1, at these places of the result."""
    a = tensor(a)
    places = several(axis)
    ndim, lengths = a.ndim + len(places), iter(a.shape)
    axes = normalize_axes("expand_dims", places, ndim)
    return a.reshape([1 if i in axes else next(lengths) for i in range(ndim)])


def squeeze(a: Any, axis: Any = None) -> Tensor:
    """Without the axes of length 1, or without these."""
    a = tensor(a)
    axes = [i for i, n in enumerate(a.shape) if n == 1] if axis is None else reduced_axes("squeeze", axis, a.ndim)
    if any(a.shape[i] != 1 for i in axes):
        raise ValueError(f"squeeze: only axes of length 1 can be left out, got axis={axis!r} for shape {a.shape}")
    return a.reshape([n for i, n in enumerate(a.shape) if i not in axes])


def atleast_1d(*arys: Any) -> Any:
    """With one dimension at least; several give a tuple."""
    return _each([a if a.ndim else a.reshape((1,)) for a in map(tensor, arys)])


def atleast_2d(*arys: Any) -> Any:
    """With two dimensions at least: a vector becomes a row. Several give a tuple."""
    return _each([a if a.ndim > 1 else a.reshape((1, a.size)) for a in map(tensor, arys)])


def atleast_3d(*arys: Any) -> Any:
    """With three dimensions at least: a vector becomes (1, N, 1), a matrix (M, N, 1). Several give a tuple."""
    many = [a if a.ndim > 1 else a.reshape((1, a.size)) for a in map(tensor, arys)]
    return _each([a if a.ndim > 2 else a.reshape((*a.shape, 1)) for a in many])


def _each(many: list[Tensor]) -> Any:
    return many[0] if len(many) == 1 else tuple(many)


def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Tensor:
    """Repeated along new leading axes and axes of length 1, up to this shape."""
    return tensor(array).broadcast_to(several(shape))


def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Tensor, ...]:
    """All of them in the shape that they broadcast to."""
    many = tuple(map(tensor, args))
    try:
        to = np.broadcast_shapes(*[a.shape for a in many])
    except ValueError as error:
        shapes = ", ".join(str(a.shape) for a in many)
        raise ValueError(f"broadcast_arrays: the shapes {shapes} do not broadcast: {error}") from error
    return tuple([a if a.shape == to else a.broadcast_to(to) for a in many])


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """x converted to another dtype."""
    check_device("astype", device)
    x = tensor(x)
    return x if not copy and x.dtype == np.dtype(dtype) else dtypes.astype(x, dtype)


def require(a: Any, dtype: Any = None, requirements: Any = None, *, like: Any = None) -> Tensor:
    """A Tensor of this dtype; what NumPy may require of its memory, no Tensor shows."""
    return tensor(a, dtype)


# ---------------------------------------------------------------------------------------------------- the order


def flip(m: Any, axis: Any = None) -> Tensor:
    """The elements in reverse along axes, all by default."""
    m = tensor(m)
    axes = normalize_axes("flip", axis, m.ndim)
    return m[tuple(slice(None, None, -1) if i in axes else slice(None) for i in range(m.ndim))] if axes else m


def fliplr(m: Any) -> Tensor:
    """The elements in reverse along axis 1."""
    m = tensor(m)
    if m.ndim < 2:
        raise ValueError(f"fliplr: needs two dimensions or more, got shape {m.shape}")
    return flip(m, 1)


def flipud(m: Any) -> Tensor:
    """The elements in reverse along axis 0."""
    m = tensor(m)
    if not m.ndim:
        raise ValueError("flipud: needs a dimension, got shape ()")
    return flip(m, 0)


def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Tensor:
    """Turned k times by 90 degrees in the plane of two axes, from the first to the second."""
    m = tensor(m)
    if len(axes) != 2:
        raise ValueError(f"rot90: axes must name the two axes of a plane, got {axes!r}")
    first, second = (normal_axis("rot90", axis, m.ndim) for axis in axes)
    if first == second:
        raise ValueError(f"rot90: axes must name two different axes, got {axes!r}")
    if k % 2 == 0:
        return flip(m, (first, second)) if k % 4 else m
    return swapaxes(flip(m, second), first, second) if k % 4 == 1 else flip(swapaxes(m, first, second), second)


def roll(a: Any, shift: Any, axis: Any = None) -> Tensor:
    """The elements moved on along axes; those that leave at the end come in again at the front."""
    return rearranged(np.roll, tensor(a), array_of(shift).tolist(), axis)


# --------------------------------------------------------------------------------------------------- repetition


def tile(A: Any, reps: Any) -> Tensor:
    """A laid out side by side, this many times along each axis; along new leading axes, if there are more of them."""
    a = tensor(A)
    times = np.atleast_1d(array_of(reps)).tolist()
    times = [1] * (a.ndim - len(times)) + times
    lengths = [1] * (len(times) - a.ndim) + list(a.shape)
    if any(n < 0 for n in times):
        raise ValueError(f"tile: reps must not be negative, got {reps!r}")
    if set(times) <= {1}:
        return dtypes.astype(a.reshape(lengths), a.dtype)
    apart = [k for n in lengths for k in (1, n)]
    spread = [k for pair in zip(times, lengths, strict=True) for k in pair]
    pairs = list(zip(times, lengths, strict=True))
    tiled = a.reshape(apart).broadcast_to(tuple(spread)).reshape([k * n for k, n in pairs])
    return dtypes.astype(tiled, a.dtype) if all(1 in pair for pair in pairs) else tiled  # still a's memory, or its own


def repeat(a: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element this many times along an axis (by default of the flattened input); `repeats` may be one a place."""
    a, axis = along("repeat", tensor(a), axis)
    counts = index_of(repeats)
    if counts.dtype.kind not in "biu" or (counts < 0).any():
        raise ValueError(f"repeat: repeats must be integers that are not negative, got {described(repeats)}")
    if counts.size != 1:
        return rearranged(np.repeat, a, counts, axis)
    before, (n, *after), count = a.shape[:axis], a.shape[axis:], int(counts.item())
    if count == 1:
        return dtypes.astype(a, a.dtype)
    spread = a.reshape((*before, n, 1, *after)).broadcast_to((*before, n, count, *after))
    repeated = spread.reshape((*before, n * count, *after))
    return dtypes.astype(repeated, a.dtype) if n == 1 else repeated  # still a's memory, or its own


def resize(a: Any, new_shape: Any) -> Tensor:
    """As many elements as the new shape holds, from the first on, and again from the first when they run out."""
    return rearranged(np.resize, tensor(a), several(new_shape))


def sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Tensor:
    """Every window of this shape along all axes, or those that are named, its elements along new last axes: NumPy's
    `lib.stride_tricks.sliding_window_view`, but a copy and no view."""
    if writeable:
        raise ValueError("sliding_window_view: the windows of a Tensor are a copy; writeable= must be False")
    return rearranged(_windows, tensor(x), window_shape, axis)


def _windows(a: Any, window_shape: Any, axis: Any) -> Any:
    return np.lib.stride_tricks.sliding_window_view(a, window_shape, axis).copy()


# ------------------------------------------------------------------------------------------------ fewer elements


def delete(arr: Any, obj: Any, axis: int | None = None) -> Tensor:
    """Without the elements at these places along an axis (by default of the flattened input)."""
    a = tensor(arr)
    if axis is not None:
        axis = normal_axis("delete", axis, a.ndim)
    return rearranged(np.delete, a, obj if isinstance(obj, slice) else index_of(obj), axis)


def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Tensor:
    """Without the zeros in front ("f") and at the back ("b"), along axes, all by default."""
    a = tensor(filt)
    trim = trim.lower()
    if trim not in ("fb", "bf", "f", "b"):
        raise ValueError(f"trim_zeros: trim must be 'f', 'b' or 'fb', got {trim!r}")
    held = discrete(np.not_equal, a, 0).numpy()
    index = [slice(None)] * a.ndim
    for i in normalize_axes("trim_zeros", axis, a.ndim):
        (along,) = np.nonzero(held.any(tuple(k for k in range(a.ndim) if k != i)))
        if not along.size:
            index[i] = slice(0)
        else:
            index[i] = slice(along[0] if "f" in trim else None, along[-1] + 1 if "b" in trim else None)
    return a[tuple(index)]


# ----------------------------------------------------------------------------------------- triangles and diagonals


def tril(m: Any, k: int = 0) -> Tensor:
    """The elements on and below diagonal k of the last two axes, zeros above."""
    return _triangle("tril", m, k, below=True)


def triu(m: Any, k: int = 0) -> Tensor:
    """The elements on and above diagonal k of the last two axes, zeros below."""
    return _triangle("triu", m, k, below=False)


def _triangle(name: str, m: Any, k: int, below: bool) -> Tensor:
    m = tensor(m)
    if not m.ndim:
        raise ValueError(f"{name}: needs a dimension, got shape ()")
    mask = np.tri(m.shape[-2] if m.ndim > 1 else m.shape[-1], m.shape[-1], k if below else k - 1, dtype=bool)
    return selection.masked(m, mask if below else ~mask)


def diag(v: Any, k: int = 0) -> Tensor:
    """A matrix with these elements on diagonal k; or, of a matrix, diagonal k."""
    v = tensor(v)
    if v.ndim not in (1, 2):
        raise ValueError(f"diag: needs one or two dimensions, got shape {v.shape}")
    return diagonal(v, k) if v.ndim == 2 else rearranged(np.diag, v, k)


def diagflat(v: Any, k: int = 0) -> Tensor:
    """A matrix with the flattened elements on diagonal k."""
    v = tensor(v)
    return diag(v.reshape((v.size,)), k)


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The elements whose indices along two axes differ by the offset, along a last axis."""
    a = tensor(a)
    if a.ndim < 2:
        raise ValueError(f"diagonal: needs two dimensions or more, got shape {a.shape}")
    first, second = normal_axis("diagonal", axis1, a.ndim), normal_axis("diagonal", axis2, a.ndim)
    if first == second:
        raise ValueError(f"diagonal: axis1 and axis2 must be two axes, got {axis1} and {axis2}")
    return rearranged(np.diagonal, a, offset, first, second)
