"""Numbers taken apart and put together: magnitude and sign, fraction and integer, mantissa and exponent."""

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
        a = node.inputs[0]
        return lambda: out_grad * (np.sign(as_floats(a)) * np.sign(node.output)), ZERO


def copysign(a: Any, b: Any) -> Tensor:
    """The magnitude of a with the sign of b; its gradient at a = 0 is 0, as that of the magnitude."""
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
    """The fraction, which moves with a, and the integer, which does not; both with the sign of a."""
    fraction, integer = MODF(a)
    return fraction, integer


class LdExp(Elementwise):
    ufunc, saves = "ldexp", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        exponent = node.inputs[1]
        return lambda: self.on(out_grad, exponent), lambda: out_grad * node.output * number_log(2)


def ldexp(a: Any, exponent: Any) -> Tensor:
    """a * 2**exponent, exactly; the exponent is an integer."""
    return LD_EXP(*[as_value(x, LD_EXP) for x in (a, exponent)])


def frexp(a: Any) -> tuple[Tensor, Tensor]:
    """The mantissa, of a magnitude from 0.5 to 1, and the exponent, an integer constant: a = mantissa * 2**exponent."""
    a = as_value(a, "frexp")
    _, exponent = discrete_tuple(np.frexp, a)
    return LD_EXP(a, -exponent), exponent


COPY_SIGN, MODF, LD_EXP = CopySign(), Modf(), LdExp()
