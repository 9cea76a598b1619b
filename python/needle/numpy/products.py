"""Products of vectors, matrices and arrays of any dimension."""

from __future__ import annotations

from itertools import pairwise
from string import ascii_letters
from typing import Any, ClassVar

import numpy as np

from ..autograd import Tensor
from ..ops import arithmetic
from ..ops import einsum as sums_of_products
from ..ops import matmul as matrix_product
from ..ops.base import normalize_axes, several
from ..ops.einsum import Einsum
from ..ops.joining import stack
from ..ops.matrices import as_column, as_row, conjugate
from .common import into, normal_axis, tensor
from .manipulation import diagonal, moveaxis
from .statistics import sum as summed
from .ufuncs import ufunc

# ----------------------------------------------------------------------------- universal functions of whole vectors


class gufunc(ufunc):
    """A universal function whose elements are vectors and matrices, along the last axes or along those that `axes`
    (one entry an operand), `axis` and `keepdims` name."""

    OPTIONS: ClassVar[dict[str, Any]] = {"axes": None, "axis": -1, "out": None, "dtype": None}

    def __call__(
        self,
        *inputs: Any,
        out: Any = None,
        axes: Any = None,
        axis: Any = None,
        keepdims: bool = False,
        **options: Any,
    ) -> Any:
        if "where" in options:
            raise TypeError(f"{self.__name__}: takes no where=, because its elements are whole vectors")
        if len(inputs) > self.of.nin:
            inputs, out = inputs[: self.of.nin], inputs[self.of.nin]
        if axes is None and axis is None and not keepdims:
            return super().__call__(*inputs, out=out, **options)
        if (axis is not None or keepdims) and self.of is not np.vecdot:
            raise TypeError(f"{self.__name__}: takes axes=, with one entry an operand, but neither axis= nor keepdims=")
        places = self._places(axes, -1 if axis is None else axis)
        moved = [moveaxis(a, place, _last(place)) for a, place in zip(map(tensor, inputs), places, strict=False)]
        result = super().__call__(*moved, **options)
        if keepdims:
            result = moveaxis(as_column(result), -1, places[0])
        elif len(places) > self.of.nin:
            result = moveaxis(result, _last(places[-1]), places[-1])
        return into(out, result)

    def _places(self, axes: Any, axis: Any) -> list[tuple[int, ...]]:
        if axes is None:
            return [(axis,)] * self.of.nin
        given = [several(place) for place in axes]
        least = self.of.nin if self.of is np.vecdot else self.of.nargs
        if not least <= len(given) <= self.of.nargs:
            raise ValueError(f"{self.__name__}: axes must have an entry for each of {self.of.nargs}, got {axes!r}")
        return given

    def _binary(self, method: str) -> None:
        raise RuntimeError(f"{self.__name__}.{method}: only functions of single elements have it")


def _last(place: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(range(-len(place), 0))


def _check_lengths(name: str, x1: Tensor, x2: Tensor, least: tuple[int, int], axis: int) -> None:
    """The last axis of x1 and this axis of x2 must be equally long."""
    if x1.ndim < least[0] or x2.ndim < least[1]:
        raise ValueError(f"{name}: needs at least {least[0]} and {least[1]} axes, got {x1.shape} and {x2.shape}")
    if x1.shape[-1] != x2.shape[axis]:
        raise ValueError(
            f"{name}: the last axis of x1 and axis {axis} of x2 must be equally long, got {x1.shape} and {x2.shape}"
        )


def _vecdot(x1: Any, x2: Any) -> Tensor:
    """The sum of conj(x1) * x2 along the last axis; the axes before broadcast."""
    x1, x2 = tensor(x1), tensor(x2)
    _check_lengths("vecdot", x1, x2, (1, 1), -1)
    return sums_of_products("...i,...i->...", conjugate(x1), x2)


def _matvec(x1: Any, x2: Any) -> Tensor:
    """Matrices times vectors: (..., M, N) and (..., N) to (..., M)."""
    x1, x2 = tensor(x1), tensor(x2)
    _check_lengths("matvec", x1, x2, (2, 1), -1)
    product = x1 @ as_column(x2)
    return product.reshape(product.shape[:-1])


def _vecmat(x1: Any, x2: Any) -> Tensor:
    """Conjugated vectors times matrices: (..., N) and (..., N, M) to (..., M)."""
    x1, x2 = tensor(x1), tensor(x2)
    _check_lengths("vecmat", x1, x2, (1, 2), -2)
    product = as_row(conjugate(x1)) @ x2
    return product.reshape((*product.shape[:-2], product.shape[-1]))


matmul = gufunc(np.matmul, matrix_product)
vecdot = gufunc(np.vecdot, _vecdot)
matvec: Any = gufunc(np.matvec, _matvec) if hasattr(np, "matvec") else _matvec  # which are new in NumPy 2.2
vecmat: Any = gufunc(np.vecmat, _vecmat) if hasattr(np, "vecmat") else _vecmat

# ------------------------------------------------------------------------------------------------ functions of two


def dot(a: Any, b: Any, out: Any = None) -> Tensor:
    """The sums of products over the last axis of a and the second-last (of a vector: the only) axis of b.

    The product where one of them is a number, the matrix product of matrices.
    """
    a, b = tensor(a), tensor(b)
    if a.ndim == 0 or b.ndim == 0:
        return into(out, arithmetic.multiply(a, b))
    axis = -2 if b.ndim > 1 else -1
    _check_lengths("dot", a, b, (1, 1), axis)
    return into(out, a @ b if b.ndim <= 2 else tensordot(a, b, (-1, axis)))


def vdot(a: Any, b: Any, /) -> Tensor:
    """The sum of conj(a) * b over all elements, in row-major order."""
    a, b = tensor(a), tensor(b)
    return _vecdot(a.reshape((a.size,)), b.reshape((b.size,)))


def inner(a: Any, b: Any, /) -> Tensor:
    """The sums of products over the last axes: shape a.shape[:-1] + b.shape[:-1]. The product, if one is a number."""
    a, b = tensor(a), tensor(b)
    if a.ndim == 0 or b.ndim == 0:
        return arithmetic.multiply(a, b)
    _check_lengths("inner", a, b, (1, 1), -1)
    return tensordot(a, b, (-1, -1))


def outer(a: Any, b: Any, out: Any = None) -> Tensor:
    """The products of each element of a with each of b, as a matrix."""
    a, b = tensor(a), tensor(b)
    return into(out, arithmetic.multiply(a.reshape((a.size, 1)), b.reshape((1, b.size))))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Tensor:
    """The sums of products over the last `axes` axes of a and the first of b, or over those that a pair names."""
    a, b = tensor(a), tensor(b)
    pair: Any = axes if hasattr(axes, "__iter__") else (range(-axes, 0), range(axes))
    of_a, of_b = [list(of) if hasattr(of, "__iter__") else [of] for of in pair]
    for x, of in ((a, of_a), (b, of_b)):
        normalize_axes("tensordot", tuple(of), x.ndim)
    if [a.shape[i] for i in of_a] != [b.shape[i] for i in of_b]:
        raise ValueError(
            f"tensordot: the axes {of_a} of a and {of_b} of b must be equally many and long, got shapes {a.shape} and "
            f"{b.shape}"
        )
    if a.ndim + b.ndim - len(of_a) > len(ascii_letters):
        raise ValueError(f"tensordot: at most {len(ascii_letters)} different axes are possible, got more")
    labels = iter(ascii_letters)
    left, right = [next(labels) for _ in range(a.ndim)], [next(labels) for _ in range(b.ndim)]
    for i, j in zip(of_a, of_b, strict=True):
        right[j] = left[i]
    summed_over = {left[i] for i in of_a}
    kept = "".join([label for label in left + right if label not in summed_over])
    return Einsum(("".join(left), "".join(right)), kept)(a, b)


def kron(a: Any, b: Any) -> Tensor:
    """The Kronecker product: a where each element is replaced by its product with b."""
    a, b = tensor(a), tensor(b)
    ndim = max(a.ndim, b.ndim)
    outside, inside = [(1,) * (ndim - x.ndim) + x.shape for x in (a, b)]
    blocks = a.reshape([n for length in outside for n in (length, 1)])
    elements = b.reshape([n for length in inside for n in (1, length)])
    return arithmetic.multiply(blocks, elements).reshape([m * n for m, n in zip(outside, inside, strict=True)])


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Tensor:
    """The vector product of vectors along an axis. A vector of two elements has 0 as a third one; the product of two
    such vectors is the third element alone."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = tensor(a), tensor(b)
    first, second = [_elements(x, of) for x, of in ((a, axisa), (b, axisb))]
    if len(first) not in (2, 3) or len(second) not in (2, 3):
        raise ValueError(f"cross: the vectors must have 2 or 3 elements, got {len(first)} and {len(second)}")

    def area(i: int, j: int) -> Tensor:
        """first[i] * second[j] - first[j] * second[i]; there is at least one of the products."""
        if i >= len(first) or j >= len(second):
            return -(first[j] * second[i])
        product = first[i] * second[j]
        return product if j >= len(first) or i >= len(second) else product - first[j] * second[i]

    if len(first) == len(second) == 2:
        return area(0, 1)
    product = stack([area(1, 2), area(2, 0), area(0, 1)], -1)
    return moveaxis(product, -1, normal_axis("cross", axisc, product.ndim))


def _elements(a: Tensor, axis: int) -> list[Tensor]:
    """The elements of vectors along an axis."""
    before = (slice(None),) * normal_axis("cross", axis, a.ndim)
    return [a[(*before, i)] for i in range(a.shape[len(before)])]


def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Tensor:
    """The sum of the elements whose indices along two axes differ by the offset."""
    return summed(diagonal(a, offset, axis1, axis2), -1, dtype, out)


# ----------------------------------------------------------------------------------------------- functions of many


def einsum(
    *operands: Any, out: Any = None, optimize: Any = False, dtype: Any = None, order: Any = "K", casting: Any = "safe"
) -> Tensor:
    """Sums of products of elements: `einsum("ij,jk->ik", a, b)`, or with lists `einsum(a, [0, 1], b, [1, 2])`.

    As `numpy.einsum`, but many products are computed in a faster order also without `optimize`.
    """
    given = _with_tensors(operands)
    if dtype is not None:
        for a in given:
            if isinstance(a, Tensor) and not np.can_cast(a.dtype, dtype, casting):
                raise TypeError(f"einsum: {a.dtype} cannot be cast to {np.dtype(dtype)} with casting={casting!r}")
        given = [tensor(a, dtype) if isinstance(a, Tensor) else a for a in given]
    return into(out, sums_of_products(*given, optimize=optimize))


def _with_tensors(operands: tuple[Any, ...]) -> list[Any]:
    """The arguments of einsum with its operands as Tensors, and subscripts as they are."""
    if operands and isinstance(operands[0], str):
        return [operands[0], *map(tensor, operands[1:])]
    labels = len(operands) - len(operands) % 2
    return [tensor(a) if i % 2 == 0 and i < labels else a for i, a in enumerate(operands)]


def einsum_path(*operands: Any, optimize: Any = "greedy") -> tuple[list[Any], str]:
    """The order in which `einsum` would take the operands, and a report on what it costs: see `numpy.einsum_path`."""
    given = _with_tensors(operands)
    empty = [np.broadcast_to(np.zeros((), a.dtype), a.shape) if isinstance(a, Tensor) else a for a in given]
    return np.einsum_path(*empty, optimize=optimize)


def multi_dot(arrays: Any, *, out: Any = None) -> Tensor:
    """The product of two or more matrices, in the order that takes the fewest multiplications.

    The first and the last may be vectors: a row and a column, whose axis the result then lacks.
    """
    factors = [tensor(a) for a in arrays]
    if len(factors) < 2:
        raise ValueError(f"multi_dot: needs at least two matrices, got {len(factors)}")
    shape = factors[0].shape[:-1] + factors[-1].shape[1:]
    ends = (0, len(factors) - 1)
    factors = [
        a.reshape((1, -1) if i == 0 else (-1, 1)) if a.ndim == 1 and i in ends else a for i, a in enumerate(factors)
    ]
    for i, a in enumerate(factors):
        if a.ndim != 2:
            raise np.linalg.LinAlgError(
                f"{a.ndim}-dimensional array given. Array must be two-dimensional; multi_dot: factor {i} must be a "
                f"matrix, got shape {a.shape}"
            )
    for i, (a, b) in enumerate(pairwise(factors)):
        if a.shape[1] != b.shape[0]:
            raise ValueError(f"multi_dot: factors {i} and {i + 1} do not fit, got shapes {a.shape} and {b.shape}")
    lengths = [a.shape[0] for a in factors] + [factors[-1].shape[1]]
    splits = _best_splits(lengths)

    def product(i: int, j: int) -> Tensor:
        return factors[i] if i == j else product(i, splits[i, j]) @ product(splits[i, j] + 1, j)

    return into(out, product(0, len(factors) - 1).reshape(shape))


def _best_splits(lengths: list[int]) -> dict[tuple[int, int], int]:
    """For factors i to j of a chain of matrices of lengths[i] by lengths[i + 1]: the last factor of the left half."""
    n = len(lengths) - 1
    costs = {(i, i): 0 for i in range(n)}
    splits = {}
    for width in range(1, n):
        for i in range(n - width):
            j = i + width
            costs[i, j], splits[i, j] = min(
                (costs[i, k] + costs[k + 1, j] + lengths[i] * lengths[k + 1] * lengths[j + 1], k) for k in range(i, j)
            )
    return splits
