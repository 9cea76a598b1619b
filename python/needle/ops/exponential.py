"""Exponentials and logarithms."""

from __future__ import annotations

from math import log as number_log
from typing import Any

import numpy as np

from ..autograd import ZERO, Tensor
from .base import Elementwise, as_floats, operands
from .hyperbolic import TANH, bell


class Exp(Elementwise):
    ufunc, saves = "exp", ("output",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * node.output


def exp(a: Any) -> Tensor:
    """e ** a."""
    return EXP(a)


class Exp2(Elementwise):
    """2 ** a."""

    ufunc, saves = "exp2", ("output",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * node.output * number_log(2)


class Expm1(Elementwise):
    """exp(a) - 1, with all digits near a = 0.

    At complex infinities and zeros it follows the Array API, where NumPy returns NaN and -0.
    """

    ufunc, saves = "expm1", ("inputs",)

    def compute(self, a: Any, out: Any = None) -> Any:
        if a.dtype.kind != "c":
            return np.expm1(a, out=out)
        with np.errstate(invalid="ignore", over="ignore"):
            out = np.where(np.isfinite(a), np.expm1(a, out=out), np.exp(a) - 1)
        out.real += 0  # a real part of -0 becomes 0
        return out

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * np.exp(node.inputs[0])  # output + 1 would lose the digits of a small exponential


class Log(Elementwise):
    ufunc, saves = "log", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad / node.inputs[0]


def log(a: Any) -> Tensor:
    """The natural logarithm."""
    return LOG(a)


class Log2(Elementwise):
    """The logarithm to base 2."""

    ufunc, saves = "log2", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad / (node.inputs[0] * number_log(2))


class Log10(Elementwise):
    """The logarithm to base 10."""

    ufunc, saves = "log10", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad / (node.inputs[0] * number_log(10))


class Log1p(Elementwise):
    """log(1 + a), with all digits near a = 0."""

    ufunc, saves = "log1p", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad / (1 + as_floats(node.inputs[0]))


class Sigmoid(Elementwise):
    saves = ("inputs", "output")

    def compute(self, a: Any) -> Any:
        if a.dtype.kind == "c":
            below = np.where(a.real < 0, a, 0)
            return np.exp(below) / (1 + np.exp(2 * below - a))
        a = a if a.dtype.kind == "f" else a.astype(np.float64)
        return np.exp(np.minimum(a, 0)) / (1 + np.exp(-np.abs(a)))

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return out_grad * SLOPE_OF_SIGMOID.on(node.output, as_floats(node.inputs[0]))


class SlopeOfSigmoid(Elementwise):
    """The derivative of y = sigmoid(a), as SlopeOfTanh is that of tanh(a)."""

    saves = ("inputs", "output")

    def compute(self, y: Any, a: Any) -> Any:
        return bell(as_floats(a) / 2, 0.25)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        a = as_floats(node.inputs[1])
        return ZERO, out_grad * (TANH.on(-a / 2) * node.output)  # 1 - 2 * y, with all digits near a = 0


def sigmoid(a: Any) -> Tensor:
    """1 / (1 + exp(-a)), with all digits far below 0 as well; integers give float64."""
    return SIGMOID(a)


class LogAddExp(Elementwise):
    ufunc, saves = "logaddexp", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return _shares(out_grad, _difference(*node.inputs))


def logaddexp(a: Any, b: Any) -> Tensor:
    """log(exp(a) + exp(b)), without overflow. a and b share the gradient as softmax([a, b])."""
    return LOG_ADD_EXP(*operands(a, b, floating=True))


class LogAddExp2(Elementwise):
    ufunc, saves = "logaddexp2", ("inputs",)

    def gradient(self, out_grad: Any, node: Any) -> Any:
        return _shares(out_grad, _difference(*node.inputs) * number_log(2))


def logaddexp2(a: Any, b: Any) -> Tensor:
    """log2(2**a + 2**b), without overflow."""
    return LOG_ADD_EXP2(*operands(a, b, floating=True))


def _shares(out_grad: Any, advance: Any) -> tuple[Any, Any]:
    """The adjoints of a and b in log(exp(a) + exp(b)), where `advance` is a - b."""
    return lambda: out_grad * SIGMOID.on(advance), lambda: out_grad * SIGMOID.on(-advance)


def _difference(a: Any, b: Any) -> Any:
    """a - b, but 0 for equal infinities, which share a gradient evenly."""
    a, b = as_floats(a), as_floats(b)
    both = np.isinf(a) & (a == b)
    return np.where(both, 0, a) - np.where(both, 0, b)


EXP, EXP2, EXPM1, LOG, LOG2, LOG10, LOG1P = Exp(), Exp2(), Expm1(), Log(), Log2(), Log10(), Log1p()
SIGMOID, SLOPE_OF_SIGMOID = Sigmoid(), SlopeOfSigmoid()
LOG_ADD_EXP, LOG_ADD_EXP2 = LogAddExp(), LogAddExp2()
