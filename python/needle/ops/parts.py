"""Numbers taken apart and put together: magnitude and sign, fraction and integer, mantissa and exponent."""

from __future__ import annotations

from math import log as number_log
from typing import Any

import numpy as np

from ..autograd import ZERO, Tensor, TensorTupleOp, as_value, wanted
from .base import Elementwise, as_floats, operands
from .discrete import discrete_tuple
from .elementwise import sign


class CopySign(Elementwise):
    ufunc, saves = "copysign", ("inputs", "output")

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = node.inputs[0]
        return out_grad * (sign(as_floats(a)) * sign(node)) if wanted(a) else None, ZERO


def copysign(a: Any, b: Any) -> Tensor:
    """The magnitude of a with the sign of b; its gradient at a = 0 is 0, as that of the magnitude."""
    return COPY_SIGN(*operands(a, b, floating=True))


class Modf(TensorTupleOp):
    saves = ()

    def compute(self, a: Any) -> Any:
        return np.modf(a)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return ZERO if out_grad[0] is None else out_grad[0]

    def masks(self, mask: Any, node: Any) -> Any:
        return mask[0]  # that of the fraction, if it has an adjoint: the other one's does not matter

    def tangent(self, tangents: tuple[Any, ...], node: Any) -> Any:
        return tangents[0], None

    def batched(self, values: tuple[Any, ...], depths: tuple[int | None, ...]) -> Any:
        return self(*values)


def modf(a: Any) -> tuple[Tensor, Tensor]:
    """The fraction, which moves with a, and the integer, which does not; both with the sign of a."""
    fraction, integer = MODF(a)
    return fraction, integer


class LdExp(Elementwise):
    ufunc, saves, takes_out = "ldexp", ("inputs", "output"), False

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a, exponent = node.inputs
        by_exponent = out_grad * node * number_log(2) if wanted(exponent) else None
        return LD_EXP(out_grad, exponent) if wanted(a) else None, by_exponent


def ldexp(a: Any, exponent: Any) -> Tensor:
    """a * 2**exponent, exactly; the exponent is an integer."""
    return LD_EXP(*[as_value(x, LD_EXP) for x in (a, exponent)])


def frexp(a: Any) -> tuple[Tensor, Tensor]:
    """The mantissa, of a magnitude from 0.5 to 1, and the exponent, an integer constant: a = mantissa * 2**exponent."""
    a = as_value(a, "frexp")
    _, exponent = discrete_tuple(np.frexp, a)
    return LD_EXP(a, -exponent), exponent


COPY_SIGN, MODF, LD_EXP = CopySign(), Modf(), LdExp()
