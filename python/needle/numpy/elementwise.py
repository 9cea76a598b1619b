"""NumPy's ufuncs on Tensors, and the functions of elements that are no ufuncs."""

from __future__ import annotations

from math import pi
from typing import Any

import numpy as np

from ..autograd import Tensor, as_value
from ..ops import arithmetic, dtypes, elementwise, entire, exponential, extrema, hyperbolic, parts, rounding
from ..ops import discrete as discretes
from ..ops import trigonometric as angles
from ..ops.base import NUMBERS, operands
from ..ops.discrete import discrete
from ..ops.power import power as to_the_power
from ..ops.power import power_scalar
from ..ops.selection import masked
from ..ops.selection import where as choose
from .common import array_of, into, tensor
from .ufuncs import ufunc


def _constant(of: np.ufunc) -> ufunc:
    """One that nobody differentiates: its results are booleans, or integers made of integers."""

    def function(*inputs: Any) -> Tensor:
        return discrete(of, *inputs) if of.nin == 1 else discretes.compared(of, *inputs)

    return ufunc(of, function)


# ------------------------------------------------------------------------------------------------------- arithmetic


def _float_power(a: Any, b: Any) -> Tensor:
    """a ** b, in float64, complex128 or wider whatever a and b are in."""
    a, b = [x if type(x) in NUMBERS else as_value(x, "float_power") for x in (a, b)]
    dtype = np.result_type(np.float64, *[x if type(x) in NUMBERS else x.dtype for x in (a, b)])
    return to_the_power(tensor(a, dtype), b if type(b) in NUMBERS else tensor(b, dtype))


def _square(a: Any) -> Tensor:
    """a * a."""
    a = as_value(a, "square")
    return power_scalar(a.astype(np.int8) if a.dtype.kind == "b" else a, 2)


def _reciprocal(a: Any) -> Tensor:
    """1 / a; of integers the integer part, whose gradient is 0."""
    a = as_value(a, "reciprocal")
    return power_scalar(a, -1) if a.dtype.kind in "fc" else rounding.Steps(np.reciprocal)(a)


def _positive(a: Any) -> Tensor:
    """+a, a copy."""
    a = as_value(a, "positive")
    if a.dtype.kind == "b":
        raise TypeError("positive: is for numbers, got booleans; write a.astype(int)")
    return a.astype(a.dtype)


add = ufunc(np.add, arithmetic.add)
subtract = ufunc(np.subtract, arithmetic.subtract)
multiply = ufunc(np.multiply, arithmetic.multiply)
divide = true_divide = ufunc(np.divide, arithmetic.divide)
floor_divide = ufunc(np.floor_divide, arithmetic.floor_divide)
remainder = mod = ufunc(np.remainder, arithmetic.mod)
fmod = ufunc(np.fmod, arithmetic.fmod)
divmod = ufunc(np.divmod, arithmetic.divmod_)
negative = ufunc(np.negative, arithmetic.NEGATE)
positive = ufunc(np.positive, _positive)
power = pow = ufunc(np.power, to_the_power)
float_power = ufunc(np.float_power, _float_power)
square = ufunc(np.square, _square)
sqrt = ufunc(np.sqrt, elementwise.SQRT)
cbrt = ufunc(np.cbrt, elementwise.CBRT)
reciprocal = ufunc(np.reciprocal, _reciprocal)
gcd = _constant(np.gcd)
lcm = _constant(np.lcm)

# ------------------------------------------------------------------------- exponentials, logarithms, angles, triangles

exp = ufunc(np.exp, exponential.EXP)
exp2 = ufunc(np.exp2, exponential.EXP2)
expm1 = ufunc(np.expm1, exponential.EXPM1)
log = ufunc(np.log, exponential.LOG)
log2 = ufunc(np.log2, exponential.LOG2)
log10 = ufunc(np.log10, exponential.LOG10)
log1p = ufunc(np.log1p, exponential.LOG1P)
logaddexp = ufunc(np.logaddexp, exponential.logaddexp)
logaddexp2 = ufunc(np.logaddexp2, exponential.logaddexp2)

sin = ufunc(np.sin, angles.SIN)
cos = ufunc(np.cos, angles.COS)
tan = ufunc(np.tan, angles.TAN)
arcsin = asin = ufunc(np.arcsin, angles.ARCSIN)
arccos = acos = ufunc(np.arccos, angles.ARCCOS)
arctan = atan = ufunc(np.arctan, angles.ARCTAN)
arctan2 = atan2 = ufunc(np.arctan2, angles.arctan2)
hypot = ufunc(np.hypot, angles.hypot)
degrees = ufunc(np.degrees, angles.DEGREES)
rad2deg = ufunc(np.rad2deg, angles.DEGREES)
radians = ufunc(np.radians, angles.RADIANS)
deg2rad = ufunc(np.deg2rad, angles.RADIANS)

sinh = ufunc(np.sinh, hyperbolic.SINH)
cosh = ufunc(np.cosh, hyperbolic.COSH)
tanh = ufunc(np.tanh, hyperbolic.TANH)
arcsinh = asinh = ufunc(np.arcsinh, hyperbolic.ARCSINH)
arccosh = acosh = ufunc(np.arccosh, hyperbolic.ARCCOSH)
arctanh = atanh = ufunc(np.arctanh, hyperbolic.ARCTANH)


def sinc(x: Any) -> Tensor:
    """sin(pi x) / (pi x), and 1 at 0; its derivatives of all orders are exact there, too."""
    return entire.SINC(tensor(x))


def i0(x: Any) -> Tensor:
    """The modified Bessel function of the first kind and order 0, of real numbers."""
    return entire.I_0(tensor(x))


# ------------------------------------------------------------------------------------------- the larger and the smaller

maximum = ufunc(np.maximum, extrema.maximum)
minimum = ufunc(np.minimum, extrema.minimum)
fmax = ufunc(np.fmax, extrema.fmax)
fmin = ufunc(np.fmin, extrema.fmin)


def clip(
    a: Any,
    min: Any = None,
    max: Any = None,
    out: Any = None,
    *,
    a_min: Any = None,
    a_max: Any = None,
    dtype: Any = None,
) -> Tensor:
    """a, but not less than `min` and not more than `max`, which may also be called `a_min` and `a_max`.

    At a bound the gradient is a's, unless the bound needs a gradient itself: then the two share it evenly.
    """
    if (a_min is not None and min is not None) or (a_max is not None and max is not None):
        raise ValueError("clip: give a bound as a_min or as min (as a_max or as max), not as both")
    low, high = a_min if min is None else min, a_max if max is None else max
    bounds = [b if b is None or type(b) in NUMBERS else tensor(b) for b in (low, high)]
    return into(out, extrema.clip(tensor(a, dtype), *bounds))


# ------------------------------------------------------------------------------------------------ rounding, and steps

floor = ufunc(np.floor, rounding.Steps(np.floor))
ceil = ufunc(np.ceil, rounding.Steps(np.ceil))
trunc = ufunc(np.trunc, rounding.Steps(np.trunc))
rint = ufunc(np.rint, rounding.Steps(np.rint))
spacing = ufunc(np.spacing, rounding.Steps(np.spacing))
nextafter = ufunc(np.nextafter, rounding.nextafter)
heaviside = ufunc(np.heaviside, rounding.heaviside)
sign = ufunc(np.sign, elementwise.sign)


def round(a: Any, decimals: int = 0, out: Any = None) -> Tensor:
    """a rounded to this many decimals, halves to even; negative ones round to tens, hundreds, ... The gradient is 0."""
    return into(out, rounding.Steps(np.round, decimals=decimals)(tensor(a)))


around = round


def fix(x: Any, out: Any = None) -> Tensor:
    """x rounded towards zero. Its gradient is 0."""
    return trunc(x, out=out)


# ----------------------------------------------------------------------------------------------------- parts of numbers

absolute = abs = ufunc(np.absolute, elementwise.ABS)
fabs = ufunc(np.fabs, elementwise.FABS)
copysign = ufunc(np.copysign, parts.copysign)
signbit = _constant(np.signbit)
modf = ufunc(np.modf, parts.modf)
frexp = ufunc(np.frexp, parts.frexp)
ldexp = ufunc(np.ldexp, parts.ldexp)
conjugate = conj = ufunc(np.conjugate, dtypes.CONJ)


def real(val: Any) -> Tensor:
    """The real part."""
    return dtypes.real(tensor(val))


def imag(val: Any) -> Tensor:
    """The imaginary part; 0 for real numbers."""
    return dtypes.imag(tensor(val))


def angle(z: Any, deg: bool = False) -> Tensor:
    """The angle of complex numbers, in radians from -pi to pi, or in degrees; its gradient at 0 is 0, as that of real
    numbers is everywhere."""
    z = tensor(z)
    if z.dtype.kind != "c":
        return rounding.Steps(np.angle, deg=deg)(z)
    turned = angles.arctan2(imag(z), real(z))
    return turned * (180 / pi) if deg else turned


def real_if_close(a: Any, tol: float = 100) -> Tensor:
    """The real part of complex numbers, if all imaginary parts are smaller than `tol` times the precision of the dtype
    (than `tol` itself, if that is not more than 1); else a."""
    a = tensor(a)
    if a.dtype.kind != "c":
        return a
    bound = tol * float(np.finfo(a.dtype).eps) if tol > 1 else tol
    return real(a) if discrete(np.all, elementwise.absolute(imag(a)) < bound).item() else a


def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Tensor:
    """x with numbers in place of NaN and infinities (the largest and smallest numbers, unless given), whose gradient is
    0. Of complex numbers, each part by itself. `copy=False` assigns the result to x."""
    a = tensor(x)
    numbers = {"nan": nan, "posinf": posinf, "neginf": neginf}
    numbers = {name: number if number is None else array_of(number) for name, number in numbers.items()}
    replaced = discrete(np.nan_to_num, a, **numbers)
    if a.dtype.kind == "c":
        kept = [masked(part, discrete(np.isfinite, part)) for part in (real(a), imag(a))]
        rest = discrete(_without_finite_parts, replaced, a)
        result = kept[0] + kept[1] * 1j + rest
    else:
        result = choose(discrete(np.isfinite, a), a, replaced)
    return into(None if copy else x, result)


def _without_finite_parts(replaced: Any, a: Any) -> Any:
    rest = replaced.copy()
    rest.real[np.isfinite(a.real)] = 0
    rest.imag[np.isfinite(a.imag)] = 0
    return rest


# ------------------------------------------------------------------------------------------ comparisons, logic and bits

equal = ufunc(np.equal, discretes.equal)
not_equal = ufunc(np.not_equal, discretes.not_equal)
less = ufunc(np.less, discretes.less)
less_equal = ufunc(np.less_equal, discretes.less_equal)
greater = ufunc(np.greater, discretes.greater)
greater_equal = ufunc(np.greater_equal, discretes.greater_equal)

logical_and = _constant(np.logical_and)
logical_or = _constant(np.logical_or)
logical_xor = _constant(np.logical_xor)
logical_not = _constant(np.logical_not)
bitwise_and = ufunc(np.bitwise_and, discretes.bitwise_and)
bitwise_or = ufunc(np.bitwise_or, discretes.bitwise_or)
bitwise_xor = ufunc(np.bitwise_xor, discretes.bitwise_xor)
invert = bitwise_invert = bitwise_not = ufunc(np.invert, discretes.invert)
left_shift = bitwise_left_shift = ufunc(np.left_shift, discretes.left_shift)
right_shift = bitwise_right_shift = ufunc(np.right_shift, discretes.right_shift)
bitwise_count = _constant(np.bitwise_count)

isfinite = _constant(np.isfinite)
isinf = _constant(np.isinf)
isnan = _constant(np.isnan)
isnat = _constant(np.isnat)


def isposinf(x: Any, out: Any = None) -> Tensor:
    """Where real numbers are +inf."""
    return into(out, discrete(np.isposinf, tensor(x)))


def isneginf(x: Any, out: Any = None) -> Tensor:
    """Where real numbers are -inf."""
    return into(out, discrete(np.isneginf, tensor(x)))


def isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Tensor:
    """Where |a - b| <= atol + rtol * |b|; infinities are close to themselves, NaN if `equal_nan`."""
    a, b = [x if type(x) in NUMBERS else tensor(x) for x in (a, b)]
    rtol, atol = [x if type(x) in NUMBERS else array_of(x) for x in (rtol, atol)]
    return discrete(np.isclose, *operands(a, b), rtol=rtol, atol=atol, equal_nan=equal_nan)


def iscomplex(x: Any) -> Tensor:
    """Where the imaginary part is not 0."""
    return discrete(np.iscomplex, tensor(x))


def isreal(x: Any) -> Tensor:
    """Where the imaginary part is 0."""
    return discrete(np.isreal, tensor(x))


def iscomplexobj(x: Any) -> bool:
    """Whether the dtype is complex."""
    return tensor(x).dtype.kind == "c"


def isrealobj(x: Any) -> bool:
    """Whether the dtype is not complex."""
    return not iscomplexobj(x)
