"""What generated code and vmath are written in, besides arithmetic: plain Python here, instructions when compiled.

Floats may be Python's, np.float64 or np.float32, and the result is of the same kind; integers are Python's, and stand
for 64 bits (32 beside float32), so whatever makes a float of one looks at its low bits only.

    fma(x, y, z)             x*y + z, rounded once
    horner(x, coefficients)  a polynomial, by fma; coefficients: a tuple of the module, the constant term first
    bits(x)                  the bits of a float as a signed integer
    from_bits(k)             the float64 with these bits; from_bits32(k) the float32
    to_float(k)              an integer as float64; to_float32(k) as float32
    to_int(x)                a float's integral part; any value if that is out of range
    at_most(x, bound)       x, or the bound where x is above it; at_least(x, bound) likewise; a NaN x stays
    remainder(k, d)          the remainder of integers, with the sign of d; 0 for d = 0
    sqrt fabs floor ceil rint trunc copysign fmod
    rarely(slow, condition, fast, x, ...)
                             slow(x, ...) where the condition holds, else fast; compiled code enters slow, which is a
                             function of the subset, only if some lane needs it
    lanes(start, stop)       the indices of a loop of which neighbouring turns may take each statement together
    zeros(shape, like)       a local array with the dtype of another; empty(shape, like); full(shape, value, like)
    integers(shape)          a local array of integers
    view(array, offset, shape)
                             the elements of a contiguous array from an offset on, in another shape, without a copy
    fold(x)                  the sum of a vector, pairwise, whose length is known when compiled and a power of two
"""

import ctypes
import math
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = [
    "at_least", "at_most", "bits", "ceil", "copysign", "empty", "fabs", "floor", "fma", "fmod", "fold", "from_bits",
    "from_bits32", "full", "horner", "integers", "lanes", "rarely", "remainder", "rint", "sqrt", "to_float",
    "to_float32", "to_int", "trunc", "view", "zeros",
]  # fmt: skip


class _Kinds(dict[tuple[type, ...], Callable[[float], Any]]):
    """The type of a result by those of the arguments; found once for each, as text that runs as Python asks often."""

    def __missing__(self, types: tuple[type, ...]) -> Callable[[float], Any]:
        kinds = (np.float32, np.float64)
        self[types] = next((k for k in kinds if any(issubclass(t, k) for t in types)), float)
        return self[types]


_KINDS = _Kinds()


def _like(value: float, *args: Any) -> Any:
    """A value in the dtype of the arguments."""
    return _KINDS[tuple(map(type, args))](value)


def _odd_sum(a: float, b: float) -> float:
    """A + b rounded to odd: exact, or the neighbour with an odd last bit; what is rounded again stays right."""
    total = a + b
    rest = total - a
    error = (a - (total - rest)) + (b - rest)
    if error == 0.0 or bits(total) & 1:
        return total
    return math.nextafter(total, math.inf if error > 0.0 else -math.inf)


def _fma64(x: float, y: float, z: float) -> float:
    """x*y + z, rounded once, through fractions."""
    if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
        return z + (0.0 if math.isfinite(x) and math.isfinite(y) else x * y)
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    if exact == 0:
        return x * y + z if x == 0.0 or y == 0.0 or z == 0.0 else 0.0
    try:
        return exact.numerator / exact.denominator  # correctly rounded, subnormal results too
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _library_fma() -> Callable[[float, float, float], float] | None:
    """The fma of the C library, where there is one that rounds once.

    It keeps the GIL, as letting go of it would take longer than the function does.
    """
    try:
        function = ctypes.PyDLL(None).fma
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes, function.restype = [ctypes.c_double] * 3, ctypes.c_double
    rounds_once = function(1.0 + 2.0**-52, 1.0 - 2.0**-52, -1.0) == -(2.0**-104)
    return function if rounds_once else None


_fma = getattr(math, "fma", None) or _library_fma() or (lambda x, y, z: _fma64(float(x), float(y), float(z)))


def fma(x: Any, y: Any, z: Any) -> Any:
    """x*y + z, rounded once.

    >>> fma(1.0 + 2.0**-52, 1.0 - 2.0**-52, -1.0) == -(2.0**-104)
    True
    """
    kind = _KINDS[type(x), type(y), type(z)]
    if kind is np.float32:
        product, c = float(np.float32(x)) * float(np.float32(y)), float(np.float32(z))  # which is exact
        return _to_single(_odd_sum(product, c) if math.isfinite(product + c) else product + c)
    try:
        return kind(_fma(x, y, z))
    except (OverflowError, ValueError):  # math.fma raises where IEEE has an infinity or NaN
        return kind(_fma64(float(x), float(y), float(z)))


def _to_single(value: float) -> np.float32:
    """A float64 rounded to float32, without a warning on overflow."""
    if 1e-30 < abs(value) < 1e38:
        return np.float32(value)
    with np.errstate(all="ignore"):
        return np.float32(value)


def horner(x: Any, coefficients: Sequence[float]) -> Any:
    """A polynomial by Horner's rule; the constant term stands first.

    >>> horner(2.0, (1.0, 10.0, 100.0))
    421.0
    """
    p: Any = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        p = fma(p, x, c)
    return p


def bits(x: Any) -> int:
    """The bits of a float as a signed integer, of 64 bits, or of 32 for a float32.

    >>> hex(bits(1.0)), hex(bits(np.float32(1.0)))
    ('0x3ff0000000000000', '0x3f800000')
    """
    single = isinstance(x, np.float32)
    return int(struct.unpack("<i" if single else "<q", struct.pack("<f" if single else "<d", x))[0])


def from_bits(k: int) -> float:
    """The float64 whose bits are the low 64 of an integer.

    >>> from_bits(0x3FF0000000000000 + (2 << 52))
    4.0
    """
    return float(struct.unpack("<d", struct.pack("<Q", k & 0xFFFFFFFFFFFFFFFF))[0])


def from_bits32(k: int) -> np.float32:
    """The float32 whose bits are the low 32 of an integer.

    >>> float(from_bits32(0x3F800000 + (2 << 23)))
    4.0
    """
    return np.uint32(k & 0xFFFFFFFF).view(np.float32)


def to_float(k: int) -> np.float64:
    """An integer as float64.

    >>> float(to_float(3))
    3.0
    """
    return np.float64(k)


def to_float32(k: int) -> np.float32:
    """An integer as float32.

    >>> float(to_float32(3))
    3.0
    """
    return np.float32(k)


def to_int(x: Any) -> int:
    """The integral part of a float; 0 if that does not fit.

    >>> to_int(-2.75)
    -2
    """
    return int(x) if -(2.0**63) <= x < 2.0**63 else 0


def at_most(x: Any, bound: Any) -> Any:
    """x, or the bound where x is above it; a NaN x stays.

    >>> at_most(3.0, 2.0)
    2.0
    """
    return _like(bound, x) if x > bound else x


def at_least(x: Any, bound: Any) -> Any:
    """x, or the bound where x is below it; a NaN x stays.

    >>> at_least(-1.0, 0.0)
    0.0
    """
    return _like(bound, x) if x < bound else x


def sqrt(x: Any) -> Any:
    """Square root, correctly rounded; NaN below 0.

    >>> sqrt(9.0)
    3.0
    """
    return _like(math.sqrt(x), x) if x >= 0 else (x if x == 0 else _like(math.nan, x))


def fabs(x: Any) -> Any:
    """|x|.

    >>> fabs(-2.0)
    2.0
    """
    return _like(math.fabs(x), x)


def _rounding(function: Callable[[float], int], x: Any) -> Any:
    """A rounding to an integer, with the sign of x; what has no fraction comes back."""
    return _like(math.copysign(float(function(float(x))), x), x) if abs(x) < 2.0**53 else x


def floor(x: Any) -> Any:
    """The largest integer not above x, as a float.

    >>> floor(-1.5)
    -2.0
    """
    return _rounding(math.floor, x)


def ceil(x: Any) -> Any:
    """The smallest integer not below x, as a float.

    >>> ceil(1.5)
    2.0
    """
    return _rounding(math.ceil, x)


def trunc(x: Any) -> Any:
    """X without its fraction.

    >>> trunc(-1.5)
    -1.0
    """
    return _rounding(math.trunc, x)


def rint(x: Any) -> Any:
    """The nearest integer as a float, the even one of two.

    >>> rint(2.5)
    2.0
    """
    return _rounding(round, x)


def copysign(x: Any, y: Any) -> Any:
    """|x| with the sign of y.

    >>> copysign(1.0, -0.0)
    -1.0
    """
    return _like(math.copysign(x, y), x, y)


def fmod(x: Any, y: Any) -> Any:
    """The exact remainder of x/y with the sign of x; NaN for y = 0 and for an infinite x.

    >>> fmod(-7.0, 3.0)
    -1.0
    """
    defined = math.isfinite(x) and y != 0
    return _like(math.fmod(x, y) if defined and y == y else math.nan, x, y)


def remainder(k: int, d: int) -> int:
    """The remainder of integers, with the sign of the divisor; 0 where that is 0.

    >>> remainder(-7, 3), remainder(7, -3), remainder(7, 0)
    (2, -2, 0)
    """
    return int(k) % int(d) if d else 0


def rarely(slow: Callable[..., Any], condition: bool, fast: Any, *args: Any) -> Any:
    """slow(*args) where the condition holds, else fast.

    >>> rarely(abs, False, 1.0, -2.0), rarely(abs, True, 1.0, -2.0)
    (1.0, 2.0)
    """
    return slow(*args) if condition else fast


lanes = range


def zeros(shape: Any, like: Any) -> Any:
    """An array of zeros with the dtype of another."""
    return np.zeros(shape, like.dtype)


def empty(shape: Any, like: Any) -> Any:
    """An array with the dtype of another and nothing in it yet."""
    return np.empty(shape, like.dtype)


def full(shape: Any, value: float, like: Any) -> Any:
    """An array of one number with the dtype of another."""
    return np.full(shape, value, like.dtype)


def integers(shape: Any) -> Any:
    """An array of integers with nothing in it yet."""
    return np.empty(shape, np.int64)


def view(array: Any, offset: int, shape: Any) -> Any:
    """The elements of a contiguous array from an offset on, in another shape, without a copy.

    >>> view(np.arange(8.0), 2, (2, 3))
    array([[2., 3., 4.],
           [5., 6., 7.]])
    """
    count = math.prod(shape) if isinstance(shape, tuple) else shape
    return array.reshape(-1)[offset : offset + count].reshape(shape)


def fold(x: Any) -> Any:
    """The sum of a vector, pairwise: half onto half.

    >>> float(fold(np.array([1.0, 2.0, 3.0, 4.0])))
    10.0
    """
    while len(x) > 1:
        half = len(x) // 2
        x = x[:half] + x[half:]
    return x[0]
