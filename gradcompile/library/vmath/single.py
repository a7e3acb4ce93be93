"""Elementary functions of float32: straight-line text that becomes vector code, with the bound of each in ulps.

Every function is an expression: no branch, no loop, no table. Special values come out of selects and arithmetic. Poles
are infinities, what is outside a domain is NaN. The text keeps to a small subset of Python: assignments of expressions,
and the primitives of `gradcompile.library.primitives`. With NUMBA_DISABLE_JIT=1 it runs as it stands.

Numbers with many digits are derived by tools/coefficients.py, which can rewrite them. Of a pair, the second is what the
first lacks. An ulp is a unit in the last place of the exact result; a bound is a little more than the largest error
that was found over the whole domain, on random and adversarial arguments, subnormal numbers and huge angles included.
"""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import at_least, at_most, bits, copysign, fma, from_bits32, rarely, to_float32
from gradcompile.library.vmath.common import (
    INF,
    ceil,
    erfcx_far,
    fabs,
    floor,
    heaviside,
    maximum,
    minimum,
    mod,
    rint,
    sign,
    sqrt,
    tanh_beside,
)

__all__ = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "cos", "cosh", "erf", "erfc", "erfcx",
    "exp", "exp2", "exp_sum", "expm1", "fabs", "floor", "heaviside", "hypot", "log", "log1p", "log2", "log10",
    "log_cosh", "log_erfc", "log_high", "log_low", "maximum", "minimum", "mod", "power", "rint", "sech", "sigmoid",
    "sign", "sin", "sinc", "sinh", "softplus", "sqrt", "tan", "tanh", "x_over_expm1", "xlogy",
]  # fmt: skip

TAKES = ("float32",)  # what the functions are called with
NAN = float("nan")
MIN_NORMAL = 2.0**-126
UP, DOWN = 2.0**24, 2.0**-8  # lifts subnormal numbers; brings back the cube root
TINY, SMALL = 2.0**-30, 2.0**-14  # below, what follows x, and x**3 in an odd function, is lost in rounding
MANTISSA, ONE = 0x7FFFFF, 0x3F800000
ROUND = 1.5 * 2.0**23  # adding it rounds to an integer, which then stands in the low bits
SHIFT = ROUND + 254.0  # likewise, with twice the bias of an exponent
HALF_SHIFT = ROUND + 127.0

LOG2E = 1.442695
LN2 = (0.69314575, 1.4286068e-06)
LN2_FULL = (0.6931472, -1.9046542e-09)
LOG2E_FULL = (1.442695, 1.925963e-08)
LOG10_2 = (0.30103302, -3.0243555e-06)
TWO_THIRDS = (0.6666667, -1.9868216e-08)
LOG10E = 0.4342945
HALF_PI = (1.5707964, -4.371139e-08)
PI_PARTS = (1.5707963, 7.5495336e-08, 2.563344e-12)
TWO_OVER_PI = 0.63661975
PI_WORDS = (0.0, 10680707.0, 7228996.0, 1387004.0, 2578385.0, 16069853.0, 12639074.0, 9804092.0, 4427841.0, 16666979.0)
EXP = (0.5, 0.16666667, 0.041666355, 0.008333273, 0.0013940992, 0.00019913803)
LOG = (-0.49999988, 0.33333308, -0.25001523, 0.20003018, -0.16611154, 0.14163418, -0.13208689, 0.1300516, -0.07824107)
ATANH = (0.40000153, 0.2854709, 0.23419598)
SIN = (-0.16666655, 0.008332192, -0.00019518797)
COS = (0.041666646, -0.0013887301, 2.4430667e-05)
SINH = (0.16666543, 0.008366526)
COSH = (0.04166646, 0.0013935426)
TANH = (-0.33333322, 0.1333114, -0.052714527)
ATAN = (
    -0.33333302, 0.19998626, -0.14265092, 0.109566554, -0.08416454, 0.05817794, -0.03139434, 0.011028905, -0.0018187013,
)  # fmt: skip
ASIN = (0.16666754, 0.07495253, 0.045475923, 0.024152786, 0.042210445)
ASINH = (-0.16666643, 0.07498638, -0.0443824, 0.028156945, -0.013214178)
ERF = (0.12837917, -0.3761263, 0.11283618, -0.02685512, 0.005190723, -0.0008030671, 7.92009e-05)
ERFC = (
    1.0959957, -0.97654873, 0.7732086, -0.540854, 0.33085287, -0.17400956, 0.07637251, -0.026377175, 0.0061412165,
    -0.0002606884, -0.0004999956, 0.00014660087, 2.5604326e-05,
)  # fmt: skip
CBRT = (1.6700242, -1.1729313, 0.69553846, -0.22126472, 0.028595826)

# Exponentials: x = k*ln(2) + r with |r| <= ln(2)/2 by Cody and Waite's reduction, exp(x) = 2**k*(1 + r + r**2*p(r)).

EXP_LOW, EXP_HIGH = -104.0, 89.0  # beyond, exp is 0 and infinite


@jit
def _reduced(k, x):  # type: ignore[no-untyped-def]
    """x - k*ln(2), rounded."""
    return fma(-k, LN2[1], fma(-k, LN2[0], x))


@jit
def _reduced_low(k, x, r):  # type: ignore[no-untyped-def]
    """What the rounded x - k*ln(2) lacks."""
    return fma(-k, LN2[1], fma(-k, LN2[0], x) - r)


@jit
def _exp_polynomial(r):  # type: ignore[no-untyped-def]
    """(exp(r) - 1 - r)/r**2."""
    p = fma(r, EXP[5], EXP[4])
    p = fma(p, r, EXP[3])
    p = fma(p, r, EXP[2])
    p = fma(p, r, EXP[1])
    return fma(p, r, EXP[0])


@jit
def _half_scale(k):  # type: ignore[no-untyped-def]
    """2 to the power of about k/2: two such factors reach every exponent, and round once where it is subnormal."""
    return from_bits32(bits(fma(k, 0.5, HALF_SHIFT)) << 23)


@jit
def _other_half_scale(k, shifted):  # type: ignore[no-untyped-def]
    """2**k divided by the half scale."""
    return from_bits32((bits(shifted) - bits(fma(k, 0.5, HALF_SHIFT))) << 23)


@jit
def _half_power(shifted):  # type: ignore[no-untyped-def]
    """2**(k - 1), where that is a normal number."""
    return from_bits32((bits(shifted) - 128) << 23)


@jit
def _quarter_power(shifted):  # type: ignore[no-untyped-def]
    """2**(k - 2), where that is a normal number."""
    return from_bits32((bits(shifted) - 129) << 23)


@jit
def exp(x):  # type: ignore[no-untyped-def]
    """e to the power x, at most 0.9 ulp."""
    x = at_least(at_most(x, EXP_HIGH), EXP_LOW)
    shifted = fma(x, LOG2E, SHIFT)
    k = shifted - SHIFT
    high = fma(-k, LN2[0], x)
    low = k * LN2[1]
    r = high - low
    m = high + fma(_exp_polynomial(r), r * r, -low) + 1.0
    return m * _half_scale(k) * _other_half_scale(k, shifted)


@jit
def _exp_of_sum(r, low, k, shifted):  # type: ignore[no-untyped-def]
    """2**k*exp(r + low) for a small r and a tiny low."""
    m = fma(_exp_polynomial(r), r * r, low) + r + 1.0
    return m * _half_scale(k) * _other_half_scale(k, shifted)


@jit
def exp_sum(x, y):  # type: ignore[no-untyped-def]
    """exp(x + y) as if the sum were exact, at most 1.5 ulp."""
    s = x + y
    back = s - x
    lost = (x - (s - back)) + (y - back)
    lost = lost if fabs(s) < -EXP_LOW else 0.0
    s = at_least(at_most(s, EXP_HIGH), EXP_LOW)
    shifted = fma(s, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, s)
    m = r + fma(_exp_polynomial(r), r * r, _reduced_low(k, s, r)) + 1.0
    return fma(m, lost, m) * _half_scale(k) * _other_half_scale(k, shifted)


@jit
def exp2(x):  # type: ignore[no-untyped-def]
    """2 to the power x, at most 0.95 ulp."""
    x = at_least(at_most(x, 160.0), -160.0)
    shifted = x + SHIFT
    k = shifted - SHIFT
    f = x - k
    r = f * LN2_FULL[0]
    return _exp_of_sum(r, fma(f, LN2_FULL[1], fma(f, LN2_FULL[0], -r)), k, shifted)


@jit
def expm1(x):  # type: ignore[no-untyped-def]
    """exp(x) - 1, accurate near 0, at most 0.95 ulp.

    2**k*r + (2**k - 1) is added with its error, and the rest follows; all of it halved, since 2**k may overflow.
    """
    y = at_least(at_most(x, EXP_HIGH), -20.0)
    shifted = fma(y, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, y)
    s = _half_power(shifted)
    one = s - 0.5
    high = fma(s, r, one)
    r_low = _reduced_low(k, y, r)
    rest = fma(s, fma(r, r_low, r_low), fma(s, r, one - high)) + (s - one - 0.5)
    low = fma(_exp_polynomial(r), s * r * r, rest)
    return x if fabs(x) < TINY else 2.0 * (high + low)


@jit
def tanh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic tangent, at most 0.75 ulp.

    |x| = k*ln(2)/2 + r, and tanh(r) = r + r**3*p(r**2); what `tanh_beside` makes of it and s = 2**k.
    """
    y = at_most(fabs(x), 10.0)
    shifted = fma(y, 2.0 * LOG2E, HALF_SHIFT)
    k = shifted - HALF_SHIFT
    high = fma(-k, 0.5 * LN2[0], y)
    low = k * (0.5 * LN2[1])
    r = high - low
    r2 = r * r
    p = fma(r2, TANH[2], TANH[1])
    p = fma(p, r2, TANH[0])
    rest = fma(p, r * r2, -low)
    return copysign(tanh_beside(from_bits32(bits(shifted) << 23) + 1.0, high, rest), x)


@jit
def _fall(x):  # type: ignore[no-untyped-def]
    """exp(-|x|); what it shares with _fall_low, sigmoid and softplus compute once."""
    y = at_least(-fabs(x), EXP_LOW)
    shifted = fma(y, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, y)
    m = r + fma(_exp_polynomial(r), r * r, _reduced_low(k, y, r)) + 1.0
    return m * _half_scale(k) * _other_half_scale(k, shifted)


@jit
def _fall_low(x):  # type: ignore[no-untyped-def]
    """What the rounded exp(-|x|) lacks."""
    y = at_least(-fabs(x), EXP_LOW)
    shifted = fma(y, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, y)
    t = fma(_exp_polynomial(r), r * r, _reduced_low(k, y, r))
    low = (r - ((r + t + 1.0) - 1.0)) + t
    return low * (_half_scale(k) * _other_half_scale(k, shifted))


@jit
def sigmoid(x):  # type: ignore[no-untyped-def]
    """1/(1 + exp(-x)), accurate in both tails, at most 0.8 ulp.

    1/(1 + e) or e/(1 + e) with e = exp(-|x|) in two parts, and the quotient corrected by what it leaves.
    """
    e = _fall(x)
    e_low = _fall_low(x)
    below = 1.0 + e
    below_low = (e - (below - 1.0)) + e_low
    inverse = 1.0 / below
    above = e if x < 0.0 else 1.0
    above_low = e_low if x < 0.0 else 0.0
    q = above * inverse
    return fma(fma(-q, below, above) + fma(-q, below_low, above_low), inverse, q)


@jit
def _sinh_polynomial(z):  # type: ignore[no-untyped-def]
    """(sinh(r) - r)/r**3 for z = r**2."""
    return fma(z, SINH[1], SINH[0])


@jit
def _cosh_polynomial(z):  # type: ignore[no-untyped-def]
    """(cosh(r) - 1 - r**2/2)/r**4 for z = r**2."""
    return fma(z, COSH[1], COSH[0])


@jit
def sinh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic sine, at most 2.3 ulp.

    sinh(k*ln(2) + r) from 2**k, 2**-k, sinh(r) and cosh(r): nothing cancels, and nothing is divided.
    """
    a = at_most(fabs(x), 89.5)
    shifted = fma(a, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, a)
    z = r * r
    up = _quarter_power(shifted)
    down = _quarter_power(SHIFT - at_most(k, 100.0))
    odd = fma(_sinh_polynomial(z) * z, r, r)
    even = fma(_cosh_polynomial(z) * z, z, 0.5 * z)
    y = 2.0 * ((up - down) + fma(up - down, even, (up + down) * odd))
    return x if fabs(x) < SMALL else copysign(y, x)


@jit
def cosh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic cosine, at most 1.9 ulp; the parts are those of sinh."""
    a = at_most(fabs(x), 89.5)
    shifted = fma(a, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, a)
    z = r * r
    up = _quarter_power(shifted)
    down = _quarter_power(SHIFT - at_most(k, 100.0))
    odd = fma(_sinh_polynomial(z) * z, r, r)
    even = fma(_cosh_polynomial(z) * z, z, 0.5 * z)
    return 2.0 * ((up + down) + fma(up + down, even, (up - down) * odd))


@jit
def sech(x):  # type: ignore[no-untyped-def]
    """1/cosh(x) without overflow on the way, at most 2.3 ulp."""
    e = _fall(x)
    return 2.0 * e / fma(e, e, 1.0)


# Logarithms: x = 2**k*(1 + f) with 1 + f from sqrt(1/2) to sqrt(2), log(x) = k*ln(2) + f + f**2*p(f). No division.

ROOT_HALF_BITS = 0x3F3504F3
ROOT2_LESS_1 = 0.41421357


@jit
def _log_polynomial(f):  # type: ignore[no-untyped-def]
    """(log(1 + f) - f)/f**2."""
    p = fma(f, LOG[8], LOG[7])
    p = fma(p, f, LOG[6])
    p = fma(p, f, LOG[5])
    p = fma(p, f, LOG[4])
    p = fma(p, f, LOG[3])
    p = fma(p, f, LOG[2])
    p = fma(p, f, LOG[1])
    return fma(p, f, LOG[0])


@jit
def _exponent(y):  # type: ignore[no-untyped-def]
    """k with y/2**k from sqrt(1/2) to sqrt(2), for a normal y, as an integer."""
    return (bits(y) - ROOT_HALF_BITS) >> 23


@jit
def _fraction(y):  # type: ignore[no-untyped-def]
    """y/2**k - 1, exact."""
    return from_bits32(bits(y) - (_exponent(y) << 23)) - 1.0


@jit
def _lifted(x):  # type: ignore[no-untyped-def]
    """x, or x*2**24 where it is subnormal."""
    return x * UP if x < MIN_NORMAL else x


@jit
def _lifted_exponent(x):  # type: ignore[no-untyped-def]
    """The exponent of x from that of the lifted x."""
    k = to_float32(_exponent(_lifted(x)))
    return k - 24.0 if x < MIN_NORMAL else k


@jit
def _log_sum(k, f, low):  # type: ignore[no-untyped-def]
    """k*LN2[0] + log(1 + f) + low; the sum of the two leading terms carries its error along."""
    high = fma(k, LN2[0], f)
    rest = fma(k, LN2[0], -high) + f
    return high + fma(f * f, _log_polynomial(f), rest + low)


@jit
def _log_edges(x, y):  # type: ignore[no-untyped-def]
    """y, the logarithm of x, or what stands at 0, below it, at infinity and NaN."""
    y = NAN if x < 0.0 else y
    y = -INF if x == 0.0 else y
    return y if x < INF else x


@jit
def log(x):  # type: ignore[no-untyped-def]
    """Natural logarithm, at most 0.95 ulp; -inf at 0, NaN below."""
    k = _lifted_exponent(x)
    return _log_edges(x, _log_sum(k, _fraction(_lifted(x)), k * LN2[1]))


LN2_STEP = (0.693145751953125, 1.4286068e-06)  # ln(2), the first of 16 bits


@jit
def log_high(x):  # type: ignore[no-untyped-def]
    """The part of log(x) that is a multiple of 0.693145751953125, which is about ln(2); exact."""
    return _log_edges(x, _lifted_exponent(x) * LN2_STEP[0])


@jit
def log_low(x):  # type: ignore[no-untyped-def]
    """log(x) without its part log_high(x), less than 0.36 in size; 0 at 0 and at infinity."""
    f = _fraction(_lifted(x))
    y = f + fma(f * f, _log_polynomial(f), _lifted_exponent(x) * LN2_STEP[1])
    return y if (x > 0.0) & (x < INF) else (0.0 if x >= 0.0 else NAN)


@jit
def log1p(x):  # type: ignore[no-untyped-def]
    """log(1 + x), accurate near 0, at most 0.95 ulp; -inf at -1, NaN below."""
    u = 1.0 + x
    n = _exponent(u)
    k = to_float32(n)
    c = 0.5 * (x - (u - 1.0)) * from_bits32(ONE + ((1 - n) << 23))
    f = _fraction(u)
    g = f + c
    g_low = c - (g - f)
    y = _log_edges(u, _log_sum(k, g, fma(k, LN2[1], fma(-g, g_low, g_low))))
    return x if fabs(x) < TINY else y


@jit
def log2(x):  # type: ignore[no-untyped-def]
    """Logarithm to base 2, at most 1.9 ulp; -inf at 0, NaN below."""
    f = _fraction(_lifted(x))
    return _log_edges(x, fma(fma(f * f, _log_polynomial(f), f), LOG2E, _lifted_exponent(x)))


@jit
def log10(x):  # type: ignore[no-untyped-def]
    """Logarithm to base 10, at most 2 ulp; -inf at 0, NaN below."""
    f = _fraction(_lifted(x))
    k = _lifted_exponent(x)
    y = k * LOG10_2[0] + fma(fma(f * f, _log_polynomial(f), f), LOG10E, k * LOG10_2[1])
    return _log_edges(x, y)


@jit
def xlogy(x, y):  # type: ignore[no-untyped-def]
    """x*log(y), at most 1.8 ulp; 0 where x is 0 unless y is NaN."""
    return x - x if (x == 0.0) & (y == y) else x * log(y)


@jit
def softplus(x):  # type: ignore[no-untyped-def]
    """log(1 + exp(x)), accurate in both tails, at most 1.9 ulp.

    max(x, 0) + log(1 + e) with e = exp(-|x|), where 1 + e is at most 2.
    """
    e = _fall(x)
    k = 1.0 if e > ROOT2_LESS_1 else e - e
    f = (e - 1.0) * 0.5 if e > ROOT2_LESS_1 else e
    return at_least(x, 0.0) + _log_sum(k, f, k * LN2[1])


@jit
def log_cosh(x):  # type: ignore[no-untyped-def]
    """log(cosh(x)), accurate near 0 and far from it, at most 4 ulp."""
    a = fabs(x)
    e = expm1(at_most(a, 1.0))
    far = (a - LN2_FULL[0]) + log1p(_fall(2.0 * a))
    return log1p(e * e / (2.0 + 2.0 * e)) if a < 1.0 else far


@jit
def x_over_expm1(x):  # type: ignore[no-untyped-def]
    """x/(exp(x) - 1), at most 3 ulp; 1 at 0, and by exp(-x) above 0, where exp(x) would overflow."""
    a = at_most(fabs(x), 110.0)
    shifted = fma(-a, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, -a)
    m = fma(_exp_polynomial(r), r * r, r) + 1.0
    above = a * m * _half_scale(k) if x > 0.0 else fabs(x)
    after = _other_half_scale(k, shifted) if x > 0.0 else 1.0
    return 1.0 if x == 0.0 else above / -expm1(-a) * after


# Trigonometric functions: x = k*pi/2 + r + low with |r| <= pi/4. Up to 1e4 pi/2 is taken in three parts (Cody and
# Waite). Beyond it, x*2/pi modulo 4 comes from the few digits of 2/pi that matter (Payne and Hanek): those before them
# give multiples of 4, those after them nothing that shows. In base 2**24 digit number i stands for 2**(-24*i).

FAR = 1.0e4
DIGITS = (1.0, 2.0**-24, 2.0**-48, 2.0**-72, 2.0**-96)  # place values


@jit
def _turns(x):  # type: ignore[no-untyped-def]
    """x*2/pi rounded to an integer, which stands in the low bits."""
    return fma(x, TWO_OVER_PI, ROUND)


@jit
def _angle(k, x):  # type: ignore[no-untyped-def]
    """x - k*pi/2, its leading part."""
    return fma(-k, PI_PARTS[1], fma(-k, PI_PARTS[0], x))


@jit
def _angle_low(k, x):  # type: ignore[no-untyped-def]
    """What that lacks: the first product is exact, the second one's rounding is found again, the third is small."""
    r = fma(-k, PI_PARTS[0], x)
    return fma(-k, PI_PARTS[2], fma(-k, PI_PARTS[1], r - fma(-k, PI_PARTS[1], r)))


@jit
def _sin_polynomial(z):  # type: ignore[no-untyped-def]
    """(sin(r) - r)/r**3 for z = r**2."""
    p = fma(z, SIN[2], SIN[1])
    return fma(p, z, SIN[0])


@jit
def _cos_polynomial(z):  # type: ignore[no-untyped-def]
    """(cos(r) - 1 + r**2/2)/r**4 for z = r**2."""
    p = fma(z, COS[2], COS[1])
    return fma(p, z, COS[0])


@jit
def _sin_near(r, low):  # type: ignore[no-untyped-def]
    """sin(r + low) for |r| <= pi/4; the sign of zero is that of r."""
    z = r * r
    return copysign(r + fma(z * r, _sin_polynomial(z), fma(-0.5 * z, low, low)), r)


@jit
def _cos_near(r, low):  # type: ignore[no-untyped-def]
    """cos(r + low) for |r| <= pi/4."""
    z = r * r
    w = fma(z, -0.5, 1.0)
    rest = fma(z, -0.5, 1.0 - w)
    return w + fma(z * z, _cos_polynomial(z), fma(-r, low, rest))


@jit
def _turned(turns, near, other):  # type: ignore[no-untyped-def]
    """The function in quadrant 0, 1, 2, 3: near, other, -near, -other."""
    y = near if (bits(turns) & 1) == 0 else other
    return from_bits32(bits(y) ^ ((bits(turns) & 2) << 30))


@jit
def _pick(i, a, b, c, d):  # type: ignore[no-untyped-def]
    """One of four, by the two low bits of i."""
    low = a if (i & 1) == 0 else b
    high = c if (i & 1) == 0 else d
    return low if (i & 2) == 0 else high


@jit
def _word(i):  # type: ignore[no-untyped-def]
    """The digit number i of 2/pi; adding a zero gives the constants a type."""
    o = to_float32(i - i)
    a = _pick(i, o + PI_WORDS[0], o + PI_WORDS[1], o + PI_WORDS[2], o + PI_WORDS[3])
    b = _pick(i, o + PI_WORDS[4], o + PI_WORDS[5], o + PI_WORDS[6], o + PI_WORDS[7])
    last = o + PI_WORDS[8] if (i & 1) == 0 else o + PI_WORDS[9]
    low = a if (i & 4) == 0 else b
    return low if i < 8 else last


@jit
def _below_four(x):  # type: ignore[no-untyped-def]
    """x less a multiple of 4, exact."""
    return x - 4.0 * rint(0.25 * x)


@jit
def _sum_error(a, b):  # type: ignore[no-untyped-def]
    """What a + b loses by rounding (Knuth)."""
    s = a + b
    t = s - a
    return (a - (s - t)) + (b - t)


@jit
def _far_digit(x):  # type: ignore[no-untyped-def]
    """The number of the first digit of 2/pi that matters: the exponent of x, less 1, divided by 24."""
    return (((bits(fabs(x)) >> 23) - 128) * 2731) >> 16


@jit
def _far_factor(x):  # type: ignore[no-untyped-def]
    """x divided by the place value of that digit, 2**24 to the power of its number; from 2 to 2**25."""
    exponent = (bits(fabs(x)) >> 23) - 127 - 24 * _far_digit(x)
    return copysign(from_bits32((bits(x) & MANTISSA) | ((exponent + 127) << 23)), x)


@jit
def _far_turns(x, leading):  # type: ignore[no-untyped-def]
    """x*2/pi modulo 4 for a huge x: its leading part, or what that lacks.

    Five digits of 24 bits times x are ten numbers, of which two passes of error-free addition leave a sum that is good
    to 2**-60, however close to an integer.
    """
    i = _far_digit(x)
    a = _far_factor(x)
    w = _word(i + 1) * DIGITS[1]
    v = _word(i + 2) * DIGITS[2]
    u = _word(i + 3) * DIGITS[3]
    p = a * _word(i)
    s = _below_four(_below_four(p) + _below_four(fma(a, _word(i), -p)))
    q = a * w
    c = fma(a, w, -q)
    d = a * v
    e = fma(a, v, -d)
    f = a * u
    g = fma(a, u, -f) + a * (_word(i + 4) * DIGITS[4])
    q = _below_four(q)
    fg = f + g
    g = _sum_error(f, g)
    ef = e + fg
    f = _sum_error(e, fg)
    de = d + ef
    e = _sum_error(d, ef)
    cd = c + de
    d = _sum_error(c, de)
    qc = q + cd
    c = _sum_error(q, cd)
    top = s + qc
    q = _sum_error(s, qc)
    fg = f + g
    g = _sum_error(f, g)
    ef = e + fg
    f = _sum_error(e, fg)
    de = d + ef
    e = _sum_error(d, ef)
    cd = c + de
    d = _sum_error(c, de)
    qc = q + cd
    c = _sum_error(q, cd)
    high = top + qc
    q = _sum_error(top, qc)
    return high if leading else q + (c + (d + (e + (f + g))))


@jit
def _far_angle(x, leading):  # type: ignore[no-untyped-def]
    """The angle from the nearest multiple of pi/2 for a huge x: its leading part, or what that lacks."""
    high = _far_turns(x, True)
    rest = _far_turns(x, False)
    turn = high - rint(high)
    sum_ = turn + rest
    low = rest - (sum_ - turn)
    r = sum_ * HALF_PI[0]
    return r if leading else fma(sum_, HALF_PI[0], -r) + fma(sum_, HALF_PI[1], low * HALF_PI[0])


@jit
def _sin_far(x):  # type: ignore[no-untyped-def]
    """Sine of a huge x, NaN of an infinite one."""
    r = _far_angle(x, True)
    low = _far_angle(x, False)
    y = _turned(_far_turns(x, True) + ROUND, _sin_near(r, low), _cos_near(r, low))
    return y if fabs(x) < INF else x - x


@jit
def _cos_far(x):  # type: ignore[no-untyped-def]
    """Cosine of a huge x, NaN of an infinite one."""
    r = _far_angle(x, True)
    low = _far_angle(x, False)
    y = _turned(_far_turns(x, True) + ROUND, _cos_near(r, low), -_sin_near(r, low))
    return y if fabs(x) < INF else x - x


@jit
def _tan_of(turns, r, low):  # type: ignore[no-untyped-def]
    """sin/cos in an even quadrant, -cos/sin in an odd one."""
    s = _sin_near(r, low)
    c = _cos_near(r, low)
    even = (bits(turns) & 1) == 0
    return (s if even else -c) / (c if even else s)


@jit
def _tan_far(x):  # type: ignore[no-untyped-def]
    """Tangent of a huge x, NaN of an infinite one."""
    y = _tan_of(_far_turns(x, True) + ROUND, _far_angle(x, True), _far_angle(x, False))
    return y if fabs(x) < INF else x - x


@jit
def sin(x):  # type: ignore[no-untyped-def]
    """Sine, at most 0.85 ulp; NaN at the infinities."""
    turns = _turns(x)
    r = _angle(turns - ROUND, x)
    low = _angle_low(turns - ROUND, x)
    return rarely(_sin_far, fabs(x) > FAR, _turned(turns, _sin_near(r, low), _cos_near(r, low)), x)


@jit
def cos(x):  # type: ignore[no-untyped-def]
    """Cosine, at most 0.85 ulp; NaN at the infinities."""
    turns = _turns(x)
    r = _angle(turns - ROUND, x)
    low = _angle_low(turns - ROUND, x)
    return rarely(_cos_far, fabs(x) > FAR, _turned(turns, _cos_near(r, low), -_sin_near(r, low)), x)


@jit
def tan(x):  # type: ignore[no-untyped-def]
    """Tangent, at most 2.3 ulp; NaN at the infinities."""
    turns = _turns(x)
    r = _angle(turns - ROUND, x)
    low = _angle_low(turns - ROUND, x)
    return rarely(_tan_far, fabs(x) > FAR, _tan_of(turns, r, low), x)


@jit
def sinc(x):  # type: ignore[no-untyped-def]
    """sin(x)/x, at most 1.7 ulp; 1 at 0, 0 at the infinities."""
    y = 1.0 if x == 0.0 else sin(x) / x
    return 0.0 if fabs(x) == INF else y


# Inverse trigonometric functions


@jit
def _atan_polynomial(z):  # type: ignore[no-untyped-def]
    """(atan(t) - t)/t**3 for z = t**2."""
    p = fma(z, ATAN[8], ATAN[7])
    p = fma(p, z, ATAN[6])
    p = fma(p, z, ATAN[5])
    p = fma(p, z, ATAN[4])
    p = fma(p, z, ATAN[3])
    p = fma(p, z, ATAN[2])
    p = fma(p, z, ATAN[1])
    return fma(p, z, ATAN[0])


@jit
def _atan_unit(t):  # type: ignore[no-untyped-def]
    """atan(t) for 0 <= t <= 1."""
    z = t * t
    return fma(t * z, _atan_polynomial(z), t)


@jit
def atan(x):  # type: ignore[no-untyped-def]
    """Inverse tangent, at most 1.6 ulp; by pi/2 - atan(1/x) above 1."""
    a = fabs(x)
    u = _atan_unit(1.0 / a if a > 1.0 else a)
    return copysign(HALF_PI[0] - (u - HALF_PI[1]) if a > 1.0 else u, x)


@jit
def atan2(y, x):  # type: ignore[no-untyped-def]
    """The angle of the point (x, y), from -pi to pi, at most 1.6 ulp."""
    a = fabs(x)
    b = fabs(y)
    steep = b > a
    above = a if steep else b
    below = b if steep else a
    corner = below if below == 0.0 else 1.0
    u = _atan_unit(corner if above == below else above / below)
    u = HALF_PI[0] - (u - HALF_PI[1]) if steep else u
    u = 2.0 * HALF_PI[0] - (u - 2.0 * HALF_PI[1]) if bits(x) < 0 else u
    return copysign(u, y)


@jit
def _asin_polynomial(z):  # type: ignore[no-untyped-def]
    """(asin(t) - t)/t**3 for z = t**2."""
    p = fma(z, ASIN[4], ASIN[3])
    p = fma(p, z, ASIN[2])
    p = fma(p, z, ASIN[1])
    return fma(p, z, ASIN[0])


@jit
def asin(x):  # type: ignore[no-untyped-def]
    """Inverse sine, at most 2.5 ulp; NaN outside -1 to 1; by pi/2 - 2*asin(sqrt((1 - x)/2)) above 1/2."""
    a = fabs(x)
    far = a > 0.5
    z = fma(a, -0.5, 0.5) if far else a * a
    t = sqrt(z) if far else a
    u = fma(t * z, _asin_polynomial(z), t)
    return copysign(HALF_PI[0] - (2.0 * u - HALF_PI[1]) if far else u, x)


@jit
def acos(x):  # type: ignore[no-untyped-def]
    """Inverse cosine, at most 1.3 ulp; NaN outside -1 to 1."""
    a = fabs(x)
    far = a > 0.5
    z = fma(a, -0.5, 0.5) if far else a * a
    t = sqrt(z) if far else a
    u = fma(t * z, _asin_polynomial(z), t)
    near = HALF_PI[0] - (copysign(u, x) - HALF_PI[1])
    v = 2.0 * u
    beyond = 2.0 * HALF_PI[0] - (v - 2.0 * HALF_PI[1]) if x < 0.0 else v
    return beyond if far else near


# Inverse hyperbolic functions

HUGE = 2.0**13  # beyond, 1 is nothing beside the square


@jit
def _asinh_polynomial(z):  # type: ignore[no-untyped-def]
    """(asinh(t) - t)/t**3 for z = t**2."""
    p = fma(z, ASINH[4], ASINH[3])
    p = fma(p, z, ASINH[2])
    p = fma(p, z, ASINH[1])
    return fma(p, z, ASINH[0])


@jit
def asinh(x):  # type: ignore[no-untyped-def]
    """Inverse hyperbolic sine, at most 2.5 ulp: a polynomial to 1/2, log(x + sqrt(x**2 + 1)) beyond."""
    a = fabs(x)
    z = a * a
    near = fma(a * z, _asinh_polynomial(z), a)
    s = sqrt(fma(a, a, 1.0))
    u = a if a > HUGE else a + s
    k = to_float32(_exponent(u)) + (1.0 if a > HUGE else a - a)
    low = 0.0 if a > HUGE else (a - (u - s)) * (s - a)
    far = _log_sum(k, _fraction(u), fma(k, LN2[1], low))
    far = far if a < INF else a
    return copysign(near if a < 0.5 else far, x)


@jit
def acosh(x):  # type: ignore[no-untyped-def]
    """Inverse hyperbolic cosine, at most 2.3 ulp: log(1 + t + sqrt(t**2 + 2*t)) with t = x - 1; NaN below 1."""
    t = x - 1.0
    y = log1p(t if x > HUGE else t + sqrt(fma(t, t, 2.0 * t)))
    y = y + LN2_FULL[0] if x > HUGE else y
    return NAN if x < 1.0 else y


@jit
def atanh(x):  # type: ignore[no-untyped-def]
    """Inverse hyperbolic tangent, at most 2.2 ulp: log(1 + 2*x/(1 - x))/2; infinite at -1 and 1, NaN beyond."""
    a = fabs(x)
    ratio = INF if a == 1.0 else 2.0 * a / (1.0 - a)
    return copysign(0.5 * log1p(ratio), x)


# Error functions


@jit
def _erf_polynomial(z):  # type: ignore[no-untyped-def]
    """erf(x)/x - 1 for z = x**2."""
    p = fma(z, ERF[6], ERF[5])
    p = fma(p, z, ERF[4])
    p = fma(p, z, ERF[3])
    p = fma(p, z, ERF[2])
    p = fma(p, z, ERF[1])
    return fma(p, z, ERF[0])


@jit
def _erfc_polynomial(t):  # type: ignore[no-untyped-def]
    """(x + 4)*exp(x**2)*erfc(x) for t = (x - 4)/(x + 4)."""
    p = fma(t, ERFC[12], ERFC[11])
    p = fma(p, t, ERFC[10])
    p = fma(p, t, ERFC[9])
    p = fma(p, t, ERFC[8])
    p = fma(p, t, ERFC[7])
    p = fma(p, t, ERFC[6])
    p = fma(p, t, ERFC[5])
    p = fma(p, t, ERFC[4])
    p = fma(p, t, ERFC[3])
    p = fma(p, t, ERFC[2])
    p = fma(p, t, ERFC[1])
    return fma(p, t, ERFC[0])


ERFC_SLOPE = (-0.95, 0.75)  # roughly, the logarithmic derivative of the polynomial


@jit
def _erfcx_near(a):  # type: ignore[no-untyped-def]
    """exp(a**2)*erfc(a) for 0 <= a <= 11.0: a polynomial in t = (a - 4)/(a + 4), divided by a + 4."""
    below = a + 4.0
    below_low = a - (below - 4.0)
    inverse = 1.0 / below
    above = a - 4.0
    t = above * inverse
    t_low = (fma(-t, below, above) + fma(-t, below_low, a - (above + 4.0))) * inverse
    q = _erfc_polynomial(t)
    p = q * inverse
    rest = (fma(-p, below, q) - p * below_low) * inverse
    return p + fma(p * t_low, fma(t, ERFC_SLOPE[1], ERFC_SLOPE[0]), rest)


@jit
def _erfc_positive(a):  # type: ignore[no-untyped-def]
    """erfc(a) for a >= 0."""
    a = at_most(a, 11.0)
    p = _erfcx_near(a)
    square = a * a
    y = at_least(-square, EXP_LOW)
    shifted = fma(y, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, y) - fma(a, a, -square)
    m = fma(fma(_exp_polynomial(r), r * r, r), p, p)
    return m * _half_scale(k) * _other_half_scale(k, shifted)


@jit
def erf(x):  # type: ignore[no-untyped-def]
    """Error function, at most 1 ulp: a polynomial to 1, 1 - erfc(x) beyond."""
    a = fabs(x)
    far = copysign(1.0 - _erfc_positive(a), x)
    return fma(x, _erf_polynomial(a * a), x) if a < 1.0 else far


@jit
def erfc(x):  # type: ignore[no-untyped-def]
    """1 - erf(x), accurate where that is small, at most 3 ulp."""
    y = _erfc_positive(fabs(x))
    return 2.0 - y if x < 0.0 else y


INVERSE_ROOT_PI = 0.5641896


@jit
def _erfcx_far(a):  # type: ignore[no-untyped-def]
    """exp(a**2)*erfc(a) beyond 11.0, by its asymptotic series."""
    inverse = 1.0 / a
    return INVERSE_ROOT_PI * inverse * erfcx_far(inverse * inverse)


@jit
def erfcx(x):  # type: ignore[no-untyped-def]
    """exp(x**2)*erfc(x), at most 3 ulp; it falls like 1/x where erfc(x) underflows."""
    a = fabs(x)
    y = _erfcx_far(at_least(a, 11.0)) if a > 11.0 else _erfcx_near(at_most(a, 11.0))
    b = at_most(a, 16.0)
    square = b * b
    below = 2.0 * exp_sum(square, fma(b, b, -square)) - y
    return below if x < 0.0 else y


@jit
def log_erfc(x):  # type: ignore[no-untyped-def]
    """log(erfc(x)), accurate where erfc(x) underflows, and where it is near 1, at most 4.5 ulp."""
    near = log1p(-erf(at_most(x, 0.25)))
    far = at_least(x, 0.25)
    return near if x < 0.25 else log(erfcx(far)) - far * far


# Powers and roots

THIRD = 1.0 / 3.0
ROOTS = (0.7937005259840998, 0.6299605249474366)  # 2**(-1/3) and its square


@jit
def _cbrt_polynomial(m):  # type: ignore[no-untyped-def]
    """About 1/cbrt(m) for 1 <= m < 2."""
    p = fma(m, CBRT[4], CBRT[3])
    p = fma(p, m, CBRT[2])
    p = fma(p, m, CBRT[1])
    return fma(p, m, CBRT[0])


@jit
def cbrt(x):  # type: ignore[no-untyped-def]
    """Real cube root, also of a negative number, at most 0.7 ulp.

    x = 2**(3*n)*m with 1 <= m < 8; a polynomial for 1/cbrt(m), and a step for cbrt(m) itself.
    """
    a = _lifted(fabs(x))
    biased = (bits(a) >> 23) + 2
    n = (biased * 21846) >> 16
    j = biased - 3 * n
    m = from_bits32((bits(a) & MANTISSA) | ONE)
    y = _cbrt_polynomial(m)
    y = y if j == 0 else (y * ROOTS[0] if j == 1 else y * ROOTS[1])
    m = from_bits32(bits(m) + (j << 23))
    c = m * y * y
    square = c * c
    rest = fma(-square, c, m) - fma(c, c, -square) * c
    c = fma(rest * (y * y), THIRD, c) * from_bits32((n + 84) << 23)
    c = c * DOWN if fabs(x) < MIN_NORMAL else c
    return copysign(c, x) if (fabs(x) < INF) & (x != 0.0) else x


RISE, FALL = 2.0**90, 2.0**-90
LOW, HIGH = 2.0**-50, 2.0**60  # in between, squares stay in range


@jit
def hypot(x, y):  # type: ignore[no-untyped-def]
    """sqrt(x**2 + y**2) without overflow on the way, at most 1.3 ulp."""
    a = fabs(x)
    b = fabs(y)
    large = a if a > b else b
    small = b if a > b else a
    c = large * FALL if large > HIGH else large
    c = large * RISE if large < LOW else c
    d = small * FALL if large > HIGH else small
    d = small * RISE if large < LOW else d
    h = sqrt(fma(d, d, c * c))
    h = h * RISE if large > HIGH else h
    h = h * FALL if large < LOW else h
    return INF if (a == INF) | (b == INF) else h


@jit
def _atanh_polynomial(z):  # type: ignore[no-untyped-def]
    """2*(atanh(s) - s - s**3/3)/s**5 for z = s**2."""
    p = fma(z, ATANH[2], ATANH[1])
    return fma(p, z, ATANH[0])


@jit
def _power(a, y):  # type: ignore[no-untyped-def]
    """a**y for a finite a > 0: the logarithm to base 2 to some 35 bits, times y, exponentiated.

    log(1 + m) = 2*atanh(s) with s = m/(2 + m); s and the terms in s and s**3 have two parts.
    """
    k = _lifted_exponent(a)
    m = _fraction(_lifted(a))
    d = m + 2.0
    inverse = 1.0 / d
    s = m * inverse
    s_low = (fma(-s, d, m) - s * (m - (d - 2.0))) * inverse
    z = s * s
    z_low = fma(s, s, -z) + 2.0 * s * s_low
    q = z * s
    q_low = fma(z, s, -q) + fma(z_low, s, z * s_low)
    c = q * TWO_THIRDS[0]
    c_low = fma(q, TWO_THIRDS[0], -c) + fma(q_low, TWO_THIRDS[0], q * TWO_THIRDS[1])
    c_low = fma(q * z, _atanh_polynomial(z), c_low)
    log_ = 2.0 * s + c
    log_low = (2.0 * s - log_) + c + fma(2.0, s_low, c_low)
    p = log_ * LOG2E_FULL[0]
    p_low = fma(log_, LOG2E_FULL[0], -p) + fma(log_, LOG2E_FULL[1], log_low * LOG2E_FULL[0])
    v = k + p
    v_low = ((k - v) + p) + p_low
    t = v + v_low
    t_low = (v - t) + v_low
    u = y * t
    u_low = fma(y, t, -u) + y * t_low
    u_low = u_low if fabs(u) < 170.0 else 0.0
    u = at_least(at_most(u, 170.0), -170.0)
    shifted = u + SHIFT
    n = shifted - SHIFT
    f = (u - n) + u_low
    f_low = (u - n) - f + u_low
    r = f * LN2_FULL[0]
    low = fma(f, LN2_FULL[0], -r) + fma(f_low, LN2_FULL[0], f * LN2_FULL[1])
    return _exp_of_sum(r, low, n, shifted)


@jit
def power(x, y):  # type: ignore[no-untyped-def]
    """x to the power y, at most 2 ulp; NaN for a negative x unless y is an integer."""
    a = fabs(x)
    whole = rint(y) == y
    odd = whole & (rint(0.5 * y) != 0.5 * y)
    edge = (a == 0.0) | (a == INF)
    infinite = (a == INF) ^ (y < 0.0)
    z = _power(a, y)
    z = INF if edge & infinite else z
    z = 0.0 if edge & (not infinite) else z
    z = 1.0 if a == 1.0 else z
    z = -z if odd & (bits(x) < 0) else z
    z = NAN if (x < 0.0) & (a < INF) & (not whole) else z
    z = z if (x == x) & (y == y) else NAN
    return 1.0 if (y == 0.0) | (x == 1.0) else z
