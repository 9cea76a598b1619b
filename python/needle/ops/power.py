"""a ** b. The derivative by a is b * a**(b-1), that by b is a**b * log(a), with care at zeros."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np

from ..autograd import ZERO, Tensor, as_value
from .base import NUMBERS, Bilinear, Elementwise, ScalarOp, as_floats, operands, scaled


class EWisePow(Elementwise):
    notation = "{0} ** {1}"
    ufunc, saves = "power", ("inputs", "output")
    __slots__ = ("quiet",)

    def __init__(self, quiet: bool = False):
        self.quiet = quiet

    def compute(self, a: Any, b: Any, out: Any = None) -> Any:
        with np.errstate(divide="ignore", invalid="ignore") if self.quiet else nullcontext():
            return np.power(a, b, out=out)

    def hint(self, *arrays: Any) -> str:
        return super().hint(*arrays) or _integer_hint(*arrays)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (a, b), y = node.inputs, node.output

        def by_a() -> Any:
            x, n = as_floats(a), as_floats(b)  # integers have no negative powers, and the unsigned 0 - 1 is large
            # At a = b = 0 the slope is 0 * 0**-1, which is NaN. The exponent 1 replaces -1 there, so that it is 0.
            slope = n * EWisePow(quiet=True).on(x, np.where((b == 0) & (a == 0), 1, n - 1))
            return ZERO_SAFE_MUL.on(out_grad, slope)

        return by_a, lambda: out_grad * y * np.log(np.where((a == 0) & (b >= 0), 1, as_floats(a)))


_EXACT = {2: np.square, 0.5: np.sqrt, -1: np.reciprocal}
"""Exponents for which NumPy's ** calls another function, which is faster and more accurate."""


class PowerScalar(ScalarOp):
    """a ** scalar."""

    notation = "{0} ** {scalar}"
    ufunc, saves = "power", ("inputs",)
    __slots__ = ("quiet",)

    def __init__(self, scalar: Any, quiet: bool = False):
        super().__init__(scalar)
        self.quiet = quiet

    def compute(self, a: Any, out: Any = None) -> Any:
        if self.quiet:
            with np.errstate(divide="ignore", invalid="ignore"):
                return self._power(a, out)
        return self._power(a, out)

    def _power(self, a: Any, out: Any) -> Any:
        is_weak = type(self.scalar) in (int, float)  # else NumPy's power has the dtype
        exact = _EXACT.get(self.scalar) if is_weak and a.dtype.kind in "fc" else None
        return np.power(a, self.scalar, out=self.memory(out)) if exact is None else exact(a, out=out)

    def hint(self, *arrays: Any) -> str:
        return _integer_hint(*arrays)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, n = as_floats(node.inputs[0]), self.scalar
        if n == 0:
            return ZERO
        if n == 1:
            return out_grad
        if n == 2:
            return scaled(out_grad, 2) * a
        if type(n) is not complex and n > 1:
            return out_grad * (n * PowerScalar.of(n - 1).on(a))
        return ZERO_SAFE_MUL.on(out_grad, n * PowerScalar(n - 1, quiet=True).on(a))


class RPowerScalar(ScalarOp):
    """scalar ** a, for a positive scalar."""

    notation = "{scalar} ** {0}"
    __slots__ = ()
    ufunc, saves = "power", ("output",)

    def compute(self, a: Any, out: Any = None) -> Any:
        return np.power(self.scalar, a, out=out)

    def hint(self, *arrays: Any) -> str:
        return _integer_hint(*arrays)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * node.output * float(np.log(self.scalar))


def _integer_hint(*arrays: Any) -> str:
    if any(a.dtype.kind not in "iu" for a in arrays):
        return ""
    return "integers have no negative powers; make the base a float: a.astype(float) ** b"


def power(a: Any, b: Any) -> Tensor:
    """a ** b, element by element.

    At a = 0, the derivative by b is 0 if b >= 0. At b = 0, the derivative by a is 0. Raises ValueError for negative
    integer powers of integers.
    """
    if type(b) in NUMBERS and type(a) not in NUMBERS:
        return PowerScalar.of(b)(a)
    if type(a) in NUMBERS and type(a) is not complex and a > 0 and type(b) not in NUMBERS:
        return RPowerScalar.of(a)(b)
    return EWISE_POW(*operands(a, b))


def power_scalar(a: Any, scalar: Any) -> Tensor:
    """a ** scalar, for a Python number."""
    return PowerScalar(scalar)(a)


class ZeroSafeMul(Bilinear, Elementwise):
    """a * b, but 0 where a is 0, even if b is infinite.

    Rules use it to multiply an adjoint by a slope that may be infinite. For example in x * x**0.5 at x = 0, the adjoint
    x of the power is 0 and its slope 0.5 / x**0.5 infinite. The derivative of x**1.5 there is 0.
    """

    notation = "{0} * {1}"
    ufunc, saves = "multiply", ("inputs",)

    def compute(self, a: Any, b: Any, out: Any = None) -> Any:
        with np.errstate(invalid="ignore"):
            out = np.multiply(a, b, out=out)
        return np.where(a == 0, a, out)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, b = node.inputs
        return lambda: self.on(out_grad, b), lambda: out_grad * a


def zero_safe_multiply(a: Any, b: Any) -> Tensor:
    """a * b, where 0 * inf is 0."""
    return ZERO_SAFE_MUL(as_value(a), as_value(b))


EWISE_POW, ZERO_SAFE_MUL = EWisePow(), ZeroSafeMul()
