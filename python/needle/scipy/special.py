"""scipy.special on Tensors, by SciPy's names: the ufuncs and the other functions."""

from __future__ import annotations

from functools import cache, partial, update_wrapper
from math import log as ln
from math import pi
from typing import Any

import numpy as np
import scipy.special

from .. import ops, watching
from ..autograd import Axes, Tensor
from ..numpy.common import tensor
from ..numpy.ufuncs import ufunc
from ..ops import absolute, exp, log, sign, summation, where
from ..ops.base import NUMBERS, normalize_axes
from ..ops.discrete import discrete
from ..special import rules
from ..special.functions import SLOPES, scipys


@cache
def _function(name: str) -> Any:
    """The function on Tensors, which returns a Tensor for numbers as well."""
    function = rules.function(name)

    def apply(first: Any, *others: Any) -> Any:
        return function(tensor(first) if all(type(a) in NUMBERS for a in (first, *others)) else first, *others)

    return update_wrapper(apply, function)


@cache
def __getattr__(name: str) -> Any:
    """Any ufunc, and any function that has a rule."""
    of = scipys(name) if hasattr(scipy.special, name) else None
    if isinstance(of, np.ufunc):
        return ufunc(of, _function(of.__name__), __name__)  # by its own name: jn is an alias of jv
    if of is not None and name in SLOPES:
        return _function(name)
    raise AttributeError(f"module {__name__!r} has no differentiable function {name!r}")


def __dir__() -> list[str]:
    ufuncs = {name for name in vars(scipy.special) if isinstance(scipys(name), np.ufunc)}
    return sorted({*globals(), *ufuncs, *SLOPES})


def zeta(x: Any, q: Any = None, out: Any = None) -> Tensor:
    """The Riemann zeta function; with q, the Hurwitz zeta function, differentiable by q."""
    if out is not None:
        raise TypeError("zeta: out= is not supported; assign with out[...] = zeta(x, q)")
    return _function("zeta")(x) if q is None else _function("zeta")(x, q)


def lambertw(z: Any, k: Any = 0, tol: Any = 1e-8) -> Tensor:
    """Branch k of the complex function w with w exp(w) = z."""
    return _function("lambertw")(z, k, tol)


def spherical_jn(n: Any, z: Any, derivative: bool = False) -> Tensor:
    """The spherical Bessel function of the first kind, or its derivative."""
    return _spherical("spherical_jn", n, z, derivative)


def spherical_yn(n: Any, z: Any, derivative: bool = False) -> Tensor:
    """The spherical Bessel function of the second kind, or its derivative."""
    return _spherical("spherical_yn", n, z, derivative)


def spherical_in(n: Any, z: Any, derivative: bool = False) -> Tensor:
    """The modified spherical Bessel function of the first kind, or its derivative."""
    return _spherical("spherical_in", n, z, derivative)


def spherical_kn(n: Any, z: Any, derivative: bool = False) -> Tensor:
    """The modified spherical Bessel function of the second kind, or its derivative."""
    return _spherical("spherical_kn", n, z, derivative)


def _spherical(name: str, n: Any, z: Any, derivative: bool) -> Tensor:
    if derivative:
        return SLOPES[name][1](n, z, None)
    return _function(name)(n, z)


def multigammaln(a: Any, d: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension d. Raises ValueError unless a > (d - 1) / 2."""
    a = tensor(a)
    if d < 1 or d != int(d):
        raise ValueError(f"multigammaln: d must be a positive integer, the dimension, got {d!r}")
    if discrete(np.any, a <= (d - 1) / 2).item():
        raise ValueError(f"multigammaln: a must be greater than (d - 1) / 2 = {(d - 1) / 2} everywhere")
    gammaln = _function("gammaln")
    total = gammaln(a)
    for j in range(1, int(d)):
        total = total + gammaln(a - j / 2)
    return total + d * (d - 1) / 4 * ln(pi)


def comb(N: Any, k: Any, *, exact: bool = False, repetition: bool = False) -> Tensor:
    """The number of ways to choose k of N things; 0 if there is none. With `exact`, for integers, it is a constant."""
    if exact:
        return discrete(lambda n, k: scipy.special.comb(n, k, exact=True, repetition=repetition), N, k)
    N, k = tensor(N), tensor(k)
    if repetition:
        return comb(N + k - 1, k)
    return where((k <= N) & (N >= 0) & (k >= 0), _function("binom")(N, k), 0.0)


def perm(N: Any, k: Any, exact: bool = False) -> Tensor:
    """The number of ordered choices of k of N things; 0 if there is none. With `exact`, it is a constant."""
    if exact:
        return discrete(lambda n, k: scipy.special.perm(n, k, exact=True), N, k)
    N, k = tensor(N), tensor(k)
    return where((k <= N) & (N >= 0) & (k >= 0), _function("poch")(N - k + 1, k), 0.0)


def factorial(n: Any, exact: bool = False, extend: str = "zero") -> Tensor:
    """gamma(n + 1), but 0 for negative n. With `exact`, it is a constant."""
    if extend != "zero":
        raise ValueError(f"factorial: extend must be 'zero', got {extend!r}; gamma(n + 1) goes beyond")
    if exact:
        return discrete(lambda n: scipy.special.factorial(n, exact=True), n)
    n = tensor(n)
    inside = n >= 0
    return where(inside, _function("gamma")(where(inside, n, 0) + 1), 0.0)


def softmax(x: Any, axis: Axes = None) -> Tensor:
    """exp(x) / sum(exp(x)) over axes, by default all."""
    return ops.softmax(tensor(x), axis)


def log_softmax(x: Any, axis: Axes = None) -> Tensor:
    """log(softmax(x)) over axes, by default all."""
    return ops.logsoftmax(tensor(x), axis)


def logsumexp(a: Any, axis: Axes = None, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Any:
    """log(sum(b * exp(a))) over axes; with `return_sign`, (log of the sum's modulus, sign of the sum).

    A negative sum of real numbers without `return_sign` gives NaN.
    """
    a = tensor(a)
    if b is None and not return_sign and a.dtype.kind != "c":
        return ops.logsumexp(a, axis, keepdims)
    b = None if b is None else tensor(b)
    if b is not None and a.shape != b.shape:
        shape = np.broadcast_shapes(a.shape, b.shape)
        a, b = a.broadcast_to(shape), b.broadcast_to(shape)
    axes = normalize_axes("logsumexp", axis, a.ndim)
    top = discrete(partial(_largest, axes), a) if b is None else discrete(partial(_largest, axes), a, b)
    powers = a - top
    is_real = powers.dtype.kind != "c" and (b is None or b.dtype.kind != "c")
    if is_real and not watching.captures() and (b is None or discrete(np.all, b > 0).item()):
        # log(total) would lose the digits of its second derivatives where one term is nearly all of the sum
        found = ops.logsumexp(powers if b is None else powers + log(b), axes, keepdims=True) + top
        results = found, sign(exp(found - top))
    else:
        results = _log_of_sum(axes, powers, b, top, return_sign)
    if not keepdims:
        shape = tuple(n for i, n in enumerate(a.shape) if i not in axes)
        results = results[0].reshape(shape), results[1].reshape(shape)
    return results if return_sign else results[0]


def _log_of_sum(axes: tuple[int, ...], powers: Any, b: Any, top: Any, return_sign: bool) -> tuple[Any, Any]:
    """(log of the modulus of sum(b * exp(powers)) + top, the sum's sign)."""
    if b is None:
        total = summation(exp(powers), axes, keepdims=True)
    else:  # an element of weight 0 may exceed all others, and must not overflow
        limit = ln(float(np.finfo(powers.dtype).max)) - 1
        total = summation(b * exp(where((b == 0) & (powers.real > limit), limit, powers)), axes, keepdims=True)
    modulus = absolute(total) if return_sign else total
    if modulus.dtype.kind != "c":
        modulus = where(modulus < 0, np.nan, modulus)
    is_zero = modulus == 0
    return where(is_zero, -np.inf, log(where(is_zero, 1, modulus)) + top), sign(total)


def _largest(axes: tuple[int, ...], a: Any, b: Any = 1) -> Any:
    """The largest exponent with a nonzero weight in each sum; 0 where that is infinite."""
    top = np.max(np.where(b != 0, a.real, -np.inf), axes, keepdims=True, initial=-np.inf).astype(a.real.dtype)
    return np.where(np.isfinite(top), top, top.dtype.type(0))
