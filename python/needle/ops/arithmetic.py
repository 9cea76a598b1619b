"""Sums, products, quotients: the element-wise ops behind + - * / // and %."""

from __future__ import annotations

from functools import partial
from operator import mul
from typing import Any

import numpy as np

from .. import watching
from ..autograd import ZERO, Tensor, as_value, get_asked, is_recorded, is_recording
from ..pool import SMALLEST, result_of
from .base import NUMBERS, Bilinear, Elementwise, Linear, ScalarOp, aligned, operands, scaled, spread
from .discrete import Discrete
from .dtypes import astype
from .power import ZERO_SAFE_MUL


class EWiseAdd(Elementwise, Linear):
    notation = "{0} + {1}"
    ufunc, saves = "add", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad, out_grad

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        s, t = tangents
        if s is None or t is None:
            return spread(t if s is None else s, node.output.shape)
        return self.on(s, t)


class AddScalar(ScalarOp):
    notation = "{0} + {scalar}"
    __slots__ = ()
    ufunc, saves = "add", ()

    def compute(self, a: Any, out: Any = None) -> Any:
        return np.add(a, self.scalar, out=self.memory(out))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad


class AddScaled(Linear):
    """a + alpha * b in one new array, as in an optimizer's step."""

    notation = "{0} + {alpha} * {1}"
    saves, elementwise = (), True
    __slots__ = ("alpha",)

    def __init__(self, alpha: Any):
        self.alpha = alpha

    def compute(self, a: Any, b: Any) -> Any:
        large = b.nbytes >= SMALLEST and type(self.alpha) is not complex
        out = np.multiply(b, self.alpha, out=result_of((b,)) if large else None)
        in_place = out.ndim and a.shape == out.shape and (a.dtype is out.dtype or np.can_cast(a.dtype, out.dtype))
        return np.add(a, out, out=out if in_place else None)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad, lambda: out_grad * self.alpha

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*aligned(values, depths))


def add(a: Any, b: Any, *, alpha: Any = 1) -> Tensor:
    """a + b, or a + alpha * b for a Python number alpha, with less memory and time than two ops."""
    if alpha != 1:
        return AddScaled(alpha)(a, b) if type(a) is type(b) is Tensor else AddScaled(alpha)(*operands(a, b))
    if type(b) in NUMBERS and type(a) not in NUMBERS:
        return AddScalar.of(b)(a)
    if type(a) in NUMBERS and type(b) not in NUMBERS:
        return AddScalar.of(a)(b)
    return EWISE_ADD(a, b)


def add_scalar(a: Any, scalar: Any) -> Tensor:
    """a + scalar, for a Python number."""
    return AddScalar(scalar)(a)


class Negate(Linear, Elementwise):
    notation = "-{0}"
    ufunc, saves = "negative", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return -out_grad


def negate(a: Any) -> Tensor:
    """-a."""
    return NEGATE(a)


def positive(a: Any) -> Tensor:
    """+a: a copy."""
    a = as_value(a)
    return astype(a, a.dtype)


class EWiseSub(Elementwise):
    """a - b in one pass, for an optimizer's step and for gradient rules."""

    notation = "{0} - {1}"
    ufunc, saves = "subtract", ()

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad, lambda: -out_grad


class RSubScalar(ScalarOp):
    """scalar - a in one pass, as EWiseSub."""

    notation = "{scalar} - {0}"
    __slots__ = ()
    ufunc, saves = "subtract", ()

    def compute(self, a: Any, out: Any = None) -> Any:
        return np.subtract(self.scalar, a, out=self.memory(out))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return -out_grad


def subtract(a: Any, b: Any) -> Tensor:
    """a - b. It is recorded as a + (-b), which is the same number in IEEE arithmetic; in a gradient rule, as one op."""
    if type(b) in NUMBERS and type(b) is not bool and type(a) not in NUMBERS:
        a = as_value(a)
        if type(b) is int and a.dtype.kind == "u" and 0 <= b <= np.iinfo(a.dtype).max:
            b = b - 2 ** (8 * a.dtype.itemsize) if b else 0  # -b as the unsigned number that wraps to it
        return AddScalar.of(-b)(a)
    if get_asked() is not None or not (is_recording() and is_recorded(a, b)):
        if type(a) in NUMBERS:
            return RSubScalar.of(a)(b)
        return EWISE_SUB(*operands(a, b))
    a, b = a if type(a) in NUMBERS else as_value(a), as_value(b)
    if b.dtype.kind in "biu":  # negating a small integer in its own dtype may wrap around
        dtype = np.result_type(a if type(a) in NUMBERS else a.dtype, b.dtype)
        b = b if b.dtype == dtype else b.astype(dtype)
    try:
        return add(a, NEGATE(b))
    except ValueError:
        EWISE_SUB(*operands(a, b))  # raises: what is wrong is wrong with a difference
        raise


class EWiseMul(Bilinear, Elementwise):
    notation, commutes = "{0} * {1}", True
    ufunc, saves = "multiply", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, b = node.inputs
        if a is b:
            return (out_grad * b,) * 2
        times = scaled if out_grad.nbytes >= SMALLEST else mul
        return partial(times, out_grad, b), partial(times, out_grad, a)  # which cost less than two lambdas

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        if not watching.captures():  # a captured program must be right for all data, so it takes the general way
            try:
                with np.errstate(invalid="raise"):
                    return super().tangent(tangents, node)
            except FloatingPointError:
                pass
        (a, b), (s, t) = node.inputs, tangents
        by_a = None if s is None else _steep_product(b, s, a, t)
        by_b = None if t is None else _steep_product(a, t, b, s)
        return by_b if by_a is None else by_a if by_b is None else by_a + by_b


def _steep_product(a: Any, slope: Any, b: Any, tangent: Any) -> Any:
    """a * slope, where `slope` is the tangent of b and `tangent` that of a (None: structural zero).

    Where a is 0, the product is 0 even for an infinite slope, if b and the tangent of a are finite. So x * x**0.5 has
    the derivative 0 at x = 0, although that of x**0.5 is infinite there.
    """
    zero = (a == 0) & np.isinf(slope) & np.isfinite(b)
    if tangent is not None:
        zero = zero & np.isfinite(tangent)
    return np.where(zero, ZERO_SAFE_MUL.on(a, slope), a * np.where(zero, 0, slope))


class MulScalar(Linear, ScalarOp):
    notation = "{0} * {scalar}"
    __slots__ = ()
    ufunc, saves = "multiply", ()

    def compute(self, a: Any, out: Any = None) -> Any:
        return np.multiply(a, self.scalar, out=self.memory(out))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return scaled(out_grad, self.scalar)


def multiply(a: Any, b: Any) -> Tensor:
    """a * b, element by element."""
    if type(b) in NUMBERS and type(a) not in NUMBERS:
        return MulScalar.of(b)(a)
    if type(a) in NUMBERS and type(b) not in NUMBERS:
        return MulScalar.of(a)(b)
    return EWISE_MUL(a, b)


def mul_scalar(a: Any, scalar: Any) -> Tensor:
    """a * scalar, for a Python number."""
    return MulScalar(scalar)(a)


class EWiseDiv(Elementwise):
    notation = "{0} / {1}"
    ufunc, saves = "divide", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (_, b), y = node.inputs, node.output
        return lambda: out_grad / b, lambda: -out_grad * y / b


class DivScalar(Linear, ScalarOp):
    notation = "{0} / {scalar}"
    __slots__ = ()
    ufunc, saves = "divide", ()

    def compute(self, a: Any, out: Any = None) -> Any:
        return np.divide(a, self.scalar, out=self.memory(out))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad / self.scalar


class RDivScalar(ScalarOp):
    """scalar / a."""

    notation = "{scalar} / {0}"
    __slots__ = ()
    ufunc, saves = "divide", ("inputs", "output")

    def compute(self, a: Any, out: Any = None) -> Any:
        return np.divide(self.scalar, a, out=self.memory(out))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, y = node.inputs[0], node.output
        return -out_grad * y / a


def divide(a: Any, b: Any) -> Tensor:
    """a / b, element by element; integers give float64."""
    if type(b) in NUMBERS and type(a) not in NUMBERS:
        return DivScalar.of(b)(a)
    if type(a) in NUMBERS and type(b) not in NUMBERS:
        return RDivScalar.of(a)(b)
    return EWISE_DIV(a, b)


def divide_scalar(a: Any, scalar: Any) -> Tensor:
    """a / scalar, for a Python number."""
    return DivScalar(scalar)(a)


class FloorDivide(Elementwise):
    """NumPy's floor_divide, except that it is floor(a / b) where a or b is infinite, as in the Array API.

    NumPy returns NaN there, or rounds down to -1.
    """

    notation = "{0} // {1}"
    ufunc, saves = "floor_divide", ()

    def compute(self, a: Any, b: Any) -> Any:
        if a.dtype.kind != "f" and b.dtype.kind != "f":
            return np.floor_divide(a, b)
        infinite = np.isinf(a) | np.isinf(b)
        if not infinite.any():
            return np.floor_divide(a, b)
        with np.errstate(invalid="ignore"):
            return np.where(infinite, np.floor(np.divide(a, b)), np.floor_divide(a, b))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return ZERO, ZERO  # constant between its jumps


def floor_divide(a: Any, b: Any) -> Tensor:
    """floor(a / b); its gradient is 0."""
    return FLOOR_DIVIDE(*operands(a, b))


class Mod(Elementwise):
    notation = "{0} % {1}"
    ufunc, saves = "remainder", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, b = node.inputs
        # a % b = a - b * floor_divide(a, b) with NumPy's own function, whose value for -1 / inf is -1: -1 % inf is inf.
        return out_grad, lambda: -out_grad * Discrete(np.floor_divide).on(a, b)


def mod(a: Any, b: Any) -> Tensor:
    """a % b, with the sign of b as in Python."""
    return MOD(*operands(a, b))


class FMod(Elementwise):
    ufunc, saves = "fmod", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (a, b), y = node.inputs, node.output
        return out_grad, lambda: -out_grad * np.rint((a - y) / b)  # y = a - b * trunc(a / b)


def fmod(a: Any, b: Any) -> Tensor:
    """The remainder of a / b, with the sign of a as in C."""
    return FMOD(*operands(a, b))


def divmod_(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """(a // b, a % b)."""
    return floor_divide(a, b), mod(a, b)


EWISE_ADD, EWISE_SUB, NEGATE = EWiseAdd(), EWiseSub(), Negate()
EWISE_MUL, EWISE_DIV = EWiseMul(), EWiseDiv()
FLOOR_DIVIDE, MOD, FMOD = FloorDivide(), Mod(), FMod()
