"""Parts of numbers: magnitude and sign, fraction and integer, mantissa and exponent."""

from __future__ import annotations

from math import log as number_log
from typing import Any

import numpy as np

from ..autograd import ZERO, Tensor, TensorTupleOp, as_value
from .base import Elementwise, as_floats, operands
from .discrete import discrete_tuple


class CopySign(Elementwise):
    ufunc, saves = "copysign", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (a, _), y = node.inputs, node.output
        return lambda: out_grad * (np.sign(as_floats(a)) * np.sign(y)), ZERO


def copysign(a: Any, b: Any) -> Tensor:
    """The magnitude of a with the sign of b. Its gradient at a = 0 is 0, as for |a|."""
    return COPY_SIGN(*operands(a, b, floating=True))


class Modf(TensorTupleOp):
    saves = ()

    def compute(self, a: Any) -> Any:
        return np.modf(a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return ZERO if out_grad[0] is None else out_grad[0]

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return tangents[0], None

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*values)


def modf(a: Any) -> tuple[Tensor, Tensor]:
    """(fraction, integer) of a, both with the sign of a. The fraction has the derivative 1, the integer 0."""
    fraction, integer = MODF(a)
    return fraction, integer


class LdExp(Elementwise):
    ufunc, saves = "ldexp", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        (_, exponent), y = node.inputs, node.output
        return lambda: self.on(out_grad, exponent), lambda: out_grad * y * number_log(2)


def ldexp(a: Any, exponent: Any) -> Tensor:
    """a * 2**exponent, exactly, for an integer exponent."""
    return LD_EXP(*[as_value(x, LD_EXP) for x in (a, exponent)])


def frexp(a: Any) -> tuple[Tensor, Tensor]:
    """(mantissa, exponent) with a = mantissa * 2**exponent and 0.5 <= |mantissa| < 1. The exponent is a constant."""
    a = as_value(a, "frexp")
    _, exponent = discrete_tuple(np.frexp, a)
    return LD_EXP(a, -exponent), exponent


COPY_SIGN, MODF, LD_EXP = CopySign(), Modf(), LdExp()
