"""Elementary functions for generated code: scalars of float64 or float32 in, the same dtype out, IEEE results.

Compiled by Numba, or plain NumPy functions with NUMBA_DISABLE_JIT=1; one text for both. Nothing here raises: poles are
infinities, what is outside a domain is NaN. Every function stands at the top level and needs only what stands there,
since saved modules carry copies of those they use.
"""

import math

import numpy as np

from gradcompile.runtime.jit import njit

__all__ = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "cos", "cosh", "erf", "erfc", "exp",
    "exp2", "expm1", "fabs", "floor", "heaviside", "hypot", "log", "log1p", "log2", "log10", "maximum", "minimum",
    "mod", "power", "sigmoid", "sign", "sin", "sinc", "sinh", "softplus", "sqrt", "tan", "tanh", "x_over_expm1",
    "xlogy",
]  # fmt: skip


@njit
def sqrt(x):  # type: ignore[no-untyped-def]
    """Square root, correctly rounded.

    >>> float(sqrt(9.0))
    3.0
    """
    return np.sqrt(x)


@njit
def cbrt(x):  # type: ignore[no-untyped-def]
    """Real cube root, also of a negative number.

    >>> float(cbrt(-8.0))
    -2.0
    """
    return np.cbrt(x)


@njit
def fabs(x):  # type: ignore[no-untyped-def]
    """|x|.

    >>> float(fabs(-2.0))
    2.0
    """
    return np.fabs(x)


@njit
def floor(x):  # type: ignore[no-untyped-def]
    """The largest integer not above x, as a float.

    >>> float(floor(-1.5))
    -2.0
    """
    return np.floor(x)


@njit
def ceil(x):  # type: ignore[no-untyped-def]
    """The smallest integer not below x, as a float.

    >>> float(ceil(1.5))
    2.0
    """
    return np.ceil(x)


@njit
def exp(x):  # type: ignore[no-untyped-def]
    """e to the power x.

    >>> float(exp(0.0))
    1.0
    """
    return np.exp(x)


@njit
def expm1(x):  # type: ignore[no-untyped-def]
    """exp(x) - 1, accurate near 0.

    >>> float(expm1(1e-20))
    1e-20
    """
    return np.expm1(x)


@njit
def exp2(x):  # type: ignore[no-untyped-def]
    """2 to the power x.

    >>> float(exp2(3.0))
    8.0
    """
    return np.exp2(x)


@njit
def log(x):  # type: ignore[no-untyped-def]
    """Natural logarithm; -inf at 0, NaN below.

    >>> float(log(1.0))
    0.0
    """
    return np.log(x)


@njit
def log1p(x):  # type: ignore[no-untyped-def]
    """log(1 + x), accurate near 0; -inf at -1, NaN below.

    >>> float(log1p(1e-20))
    1e-20
    """
    return np.log1p(x)


@njit
def log2(x):  # type: ignore[no-untyped-def]
    """Logarithm to base 2; -inf at 0, NaN below.

    >>> float(log2(8.0))
    3.0
    """
    return np.log2(x)


@njit
def log10(x):  # type: ignore[no-untyped-def]
    """Logarithm to base 10; -inf at 0, NaN below.

    >>> float(log10(100.0))
    2.0
    """
    return np.log10(x)


@njit
def sin(x):  # type: ignore[no-untyped-def]
    """Sine; NaN at the infinities.

    >>> float(sin(0.0))
    0.0
    """
    return np.sin(x)


@njit
def cos(x):  # type: ignore[no-untyped-def]
    """Cosine; NaN at the infinities.

    >>> float(cos(0.0))
    1.0
    """
    return np.cos(x)


@njit
def tan(x):  # type: ignore[no-untyped-def]
    """Tangent; NaN at the infinities.

    >>> float(tan(0.0))
    0.0
    """
    return np.tan(x)


@njit
def asin(x):  # type: ignore[no-untyped-def]
    """Inverse sine; NaN outside -1 to 1.

    >>> float(asin(0.0))
    0.0
    """
    return np.arcsin(x)


@njit
def acos(x):  # type: ignore[no-untyped-def]
    """Inverse cosine; NaN outside -1 to 1.

    >>> float(acos(1.0))
    0.0
    """
    return np.arccos(x)


@njit
def atan(x):  # type: ignore[no-untyped-def]
    """Inverse tangent.

    >>> float(atan(0.0))
    0.0
    """
    return np.arctan(x)


@njit
def sinh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic sine.

    >>> float(sinh(0.0))
    0.0
    """
    return np.sinh(x)


@njit
def cosh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic cosine.

    >>> float(cosh(0.0))
    1.0
    """
    return np.cosh(x)


@njit
def tanh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic tangent.

    >>> float(tanh(0.0))
    0.0
    """
    return np.tanh(x)


@njit
def asinh(x):  # type: ignore[no-untyped-def]
    """Inverse hyperbolic sine.

    >>> float(asinh(0.0))
    0.0
    """
    return np.arcsinh(x)


@njit
def acosh(x):  # type: ignore[no-untyped-def]
    """Inverse hyperbolic cosine; NaN below 1.

    >>> float(acosh(1.0))
    0.0
    """
    return np.arccosh(x)


@njit
def atanh(x):  # type: ignore[no-untyped-def]
    """Inverse hyperbolic tangent; infinite at -1 and 1, NaN beyond.

    >>> float(atanh(0.0))
    0.0
    """
    return np.arctanh(x)


@njit
def erf(x):  # type: ignore[no-untyped-def]
    """Error function.

    >>> float(erf(0.0))
    0.0
    """
    return math.erf(x)


@njit
def erfc(x):  # type: ignore[no-untyped-def]
    """1 - erf(x), accurate where that is small.

    >>> float(erfc(0.0))
    1.0
    """
    return math.erfc(x)


@njit
def power(x, y):  # type: ignore[no-untyped-def]
    """x to the power y; NaN for a negative x unless y is an integer.

    >>> float(power(2.0, 3.0))
    8.0
    """
    return np.power(x, y)


@njit
def atan2(y, x):  # type: ignore[no-untyped-def]
    """The angle of the point (x, y), from -pi to pi.

    >>> float(atan2(0.0, 1.0))
    0.0
    """
    return np.arctan2(y, x)


@njit
def hypot(x, y):  # type: ignore[no-untyped-def]
    """sqrt(x**2 + y**2) without overflow on the way.

    >>> float(hypot(3.0, 4.0))
    5.0
    """
    return np.hypot(x, y)


@njit
def sign(x):  # type: ignore[no-untyped-def]
    """-1, 0 or 1; NaN of NaN.

    >>> float(sign(-3.0))
    -1.0
    """
    one = type(x)(1.0)
    return one if x > 0 else (-one if x < 0 else x - x)


@njit
def heaviside(x, h):  # type: ignore[no-untyped-def]
    """0 below 0, 1 above, h at 0.

    >>> float(heaviside(0.0, 0.5))
    0.5
    """
    one = type(x)(1.0)
    return one if x > 0 else (one - one if x < 0 else (h if x == 0 else x))


@njit
def maximum(x, y):  # type: ignore[no-untyped-def]
    """The larger of two; NaN if either is.

    >>> float(maximum(1.0, 2.0))
    2.0
    """
    return x if (x >= y) | (x != x) else y


@njit
def minimum(x, y):  # type: ignore[no-untyped-def]
    """The smaller of two; NaN if either is.

    >>> float(minimum(1.0, 2.0))
    1.0
    """
    return x if (x <= y) | (x != x) else y


@njit
def mod(x, y):  # type: ignore[no-untyped-def]
    """x - y*floor(x/y), with the sign of y; NaN for y = 0 and for an infinite x.

    >>> float(mod(-1.0, 3.0))
    2.0
    """
    r = np.fmod(x, y)
    return np.copysign(r, y) if r == 0 else (r + y if (r < 0) != (y < 0) else r)


@njit
def sigmoid(x):  # type: ignore[no-untyped-def]
    """1/(1 + exp(-x)), accurate in both tails.

    >>> float(sigmoid(0.0))
    0.5
    """
    one = type(x)(1.0)
    e = np.exp(-np.fabs(x))
    return (one if x >= 0 else e) / (one + e)


@njit
def softplus(x):  # type: ignore[no-untyped-def]
    """log(1 + exp(x)), accurate in both tails.

    >>> float(softplus(1000.0))
    1000.0
    """
    return (x if x > 0 else type(x)(0.0)) + np.log1p(np.exp(-np.fabs(x)))


@njit
def xlogy(x, y):  # type: ignore[no-untyped-def]
    """x*log(y), 0 where x is 0 unless y is NaN.

    >>> float(xlogy(0.0, 0.0))
    0.0
    """
    return x - x if (x == 0) & (y == y) else x * np.log(y)


@njit
def sinc(x):  # type: ignore[no-untyped-def]
    """sin(x)/x; 1 at 0, 0 at the infinities.

    >>> float(sinc(0.0))
    1.0
    """
    one = type(x)(1.0)
    return one if x == 0 else (one - one if np.fabs(x) == np.inf else np.sin(x) / x)


@njit
def x_over_expm1(x):  # type: ignore[no-untyped-def]
    """x/(exp(x) - 1); 1 at 0, and by exp(-x) above 0, where exp(x) would overflow.

    >>> float(x_over_expm1(0.0))
    1.0
    """
    if x > 0:
        e = np.exp(-x)
        return e if e == 0 else x * e / -np.expm1(-x)
    return type(x)(1.0) if x == 0 else x / np.expm1(x)
