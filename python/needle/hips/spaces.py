"""The vector spaces that gradients live in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..autograd import gradient_dtype
from ..nested import flatten, leaves_like


class VSpace:
    """The arrays, or nested containers of them, that are like a value."""

    def __init__(self, value: Any):
        leaves, self._rebuild = flatten(value)
        facts = [a if hasattr(a, "shape") else np.asarray(a) for a in leaves]
        self._like = self._rebuild(iter([0.0] * len(facts)))
        self._facts = [(tuple(a.shape), gradient_dtype(np.dtype(a.dtype))) for a in facts]

    @property
    def shape(self) -> Any:
        return self._rebuild(iter([shape for shape, _ in self._facts]))

    @property
    def dtype(self) -> Any:
        return self._rebuild(iter([dtype for _, dtype in self._facts]))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of real numbers."""
        return sum([int(np.prod(shape)) * (1 + (dtype.kind == "c")) for shape, dtype in self._facts])

    @property
    def iscomplex(self) -> bool:
        return any(dtype.kind == "c" for _, dtype in self._facts)

    def _filled(self, number: complex) -> Any:
        return self._rebuild(
            iter([np.full(shape, number if dtype.kind == "c" else number.real, dtype) for shape, dtype in self._facts])
        )

    def zeros(self) -> Any:
        return self._filled(0)

    def ones(self) -> Any:
        """The sum of the standard basis: 1 + 1j in the place of a complex number."""
        return self._filled(1 + 1j)

    def randn(self) -> Any:
        """Normal random numbers of NumPy's global state; complex ones have two independent parts."""

        def drawn(shape: tuple[int, ...], dtype: Any) -> Any:
            x = np.random.randn(*shape)
            return np.asarray(x + 1j * np.random.randn(*shape) if dtype.kind == "c" else x, dtype)

        return self._rebuild(iter([drawn(*fact) for fact in self._facts]))

    def standard_basis(self) -> Iterator[Any]:
        """One vector for each real number: for each complex one in turn that of its real part, then 1j."""
        for i, (shape, dtype) in enumerate(self._facts):
            for index in np.ndindex(*shape):
                for unit in (1, 1j) if dtype.kind == "c" else (1,):
                    arrays = [np.zeros(*fact) for fact in self._facts]
                    arrays[i][index] = unit
                    yield self._rebuild(iter(arrays))

    def _each(self, f: Callable[..., Any], *vectors: Any) -> Any:
        columns = zip(*[leaves_like(v, self._like, "VSpace: vectors") for v in vectors], strict=True)
        return self._rebuild(iter([f(*column) for column in columns]))

    def add(self, x: Any, y: Any) -> Any:
        return self._each(lambda a, b: a + b, x, y)

    mut_add = add

    def scalar_mul(self, x: Any, a: Any) -> Any:
        return self._each(lambda leaf: leaf * a, x)

    def inner_prod(self, x: Any, y: Any) -> Any:
        """The real inner product."""
        pairs = [leaves_like(v, self._like, "VSpace: vectors") for v in (x, y)]
        return sum(np.real(np.sum(np.conj(a) * b)) for a, b in zip(*pairs, strict=True))

    def covector(self, x: Any) -> Any:
        """The conjugate."""
        return self._each(np.conj, x)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VSpace) and (self._facts, self._like) == (other._facts, other._like)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"VSpace({self._rebuild(iter([f'{dtype}{list(shape)}' for shape, dtype in self._facts]))})"


def vspace(value: Any) -> VSpace:
    """The space that the gradient by this value lives in."""
    return VSpace(value)
