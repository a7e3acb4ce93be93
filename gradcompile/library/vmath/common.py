"""Functions whose text is the same in every precision; exact, or one rounding."""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import ceil as rounded_up
from gradcompile.library.primitives import copysign, fma, fmod, horner, rarely
from gradcompile.library.primitives import fabs as magnitude
from gradcompile.library.primitives import floor as rounded_down
from gradcompile.library.primitives import rint as rounded
from gradcompile.library.primitives import sqrt as square_root

TAKES = ("float64", "float32")  # what the functions are called with
INF = float("inf")
INTEGRAL = 2.0**22  # quotients below have their integral part in either precision


@jit
def sqrt(x):  # type: ignore[no-untyped-def]
    """Square root, correctly rounded; NaN below 0.

    >>> float(sqrt(9.0))
    3.0
    """
    return square_root(x)


@jit
def fabs(x):  # type: ignore[no-untyped-def]
    """|x|.

    >>> float(fabs(-2.0))
    2.0
    """
    return magnitude(x)


@jit
def floor(x):  # type: ignore[no-untyped-def]
    """The largest integer not above x, as a float.

    >>> float(floor(-1.5))
    -2.0
    """
    return rounded_down(x)


@jit
def ceil(x):  # type: ignore[no-untyped-def]
    """The smallest integer not below x, as a float.

    >>> float(ceil(1.5))
    2.0
    """
    return rounded_up(x)


@jit
def rint(x):  # type: ignore[no-untyped-def]
    """The nearest integer, of two the even one, as a float.

    >>> float(rint(2.5))
    2.0
    """
    return rounded(x)


@jit
def sign(x):  # type: ignore[no-untyped-def]
    """-1, 0 or 1; NaN of NaN.

    >>> float(sign(-3.0))
    -1.0
    """
    return x - x if (x == 0.0) | (x != x) else copysign(1.0, x)


@jit
def heaviside(x, h):  # type: ignore[no-untyped-def]
    """0 below 0, 1 above, h at 0.

    >>> float(heaviside(0.0, 0.5))
    0.5
    """
    at = h if x == 0.0 else x
    below = 0.0 if x < 0.0 else at
    return 1.0 if x > 0.0 else below


@jit
def maximum(x, y):  # type: ignore[no-untyped-def]
    """The larger of two; NaN if either is.

    >>> float(maximum(1.0, 2.0))
    2.0
    """
    return x if (x >= y) | (x != x) else y


@jit
def minimum(x, y):  # type: ignore[no-untyped-def]
    """The smaller of two; NaN if either is.

    >>> float(minimum(1.0, 2.0))
    1.0
    """
    return x if (x <= y) | (x != x) else y


@jit
def _pick(i, a, b, c, d):  # type: ignore[no-untyped-def]
    """One of four, by the two low bits of an integer."""
    low = a if (i & 1) == 0 else b
    high = c if (i & 1) == 0 else d
    return low if (i & 2) == 0 else high


@jit
def _mod_far(x, y):  # type: ignore[no-untyped-def]
    """The floored remainder for any quotient, by the exact truncated one."""
    r = fmod(x, y)
    r = r + y if (r != 0.0) & ((r < 0.0) ^ (y < 0.0)) else r
    return copysign(0.0, y) if r == 0.0 else r


@jit
def mod(x, y):  # type: ignore[no-untyped-def]
    """x - y*floor(x/y), with the sign of y; NaN for y = 0 and for an infinite x.

    The exact remainder, rounded once more where x and y have opposite signs. The quotient may be rounded up to the next
    integer, and then y comes back on top.

    >>> float(mod(-1.0, 3.0))
    2.0
    """
    ratio = INF if y == 0.0 else x / y
    r = fma(-floor(ratio), y, x)
    r = r + y if (r != 0.0) & ((r < 0.0) ^ (y < 0.0)) else r
    near = copysign(0.0, y) if r == 0.0 else r
    return rarely(_mod_far, not ((fabs(ratio) < INTEGRAL) & (fabs(y) < INF)), near, x, y)


@jit
def tanh_beside(plus, high, low):  # type: ignore[no-untyped-def]
    """tanh(k*ln(2)/2 + r) from s + 1 = 2**k + 1 and tanh(r) = t = high + low.

    It is (s - 1 + (s + 1)*t)/(s + 1 + (s - 1)*t). Both are added with their errors, and the quotient is corrected by
    what it leaves. Where s + 1 rounds to s, s - 1 has to be s - 2.

    >>> float(tanh_beside(2.0, 0.25, 0.0))
    0.25
    """
    t = high + low
    minus = plus - 2.0
    below = fma(minus, t, plus)
    below_low = fma(minus, t, plus - below)
    above = fma(plus, high, plus) - 2.0
    above_low = fma(plus, low, fma(plus, high, minus - above))
    inverse = 1.0 / below
    q = above * inverse
    return fma(fma(-q, below, above) + fma(-q, below_low, above_low), inverse, q)


ERFCX_FAR = (1.0, -0.5, 0.75, -1.875, 6.5625, -29.53125, 162.421875, -1055.7421875)  # of 1/x**2, as x grows


@jit
def erfcx_far(z):  # type: ignore[no-untyped-def]
    """sqrt(pi)*a*exp(a**2)*erfc(a) for z = 1/a**2 and large a, by its asymptotic series.

    >>> float(erfcx_far(0.0))
    1.0
    """
    return horner(z, ERFCX_FAR)
