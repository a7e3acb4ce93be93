"""Elementary functions: straight-line text that becomes vector code, with the bound of each in ulps.

The constants that stand here are those of float64. `single` has those of float32, and takes the functions from here.

Every function is an expression: no branch, no loop, no table. Special values come out of selects and arithmetic. Poles
are infinities, what is outside a domain is NaN. The text keeps to a small subset of Python: assignments of expressions,
and the primitives of `gradcompile.library.primitives`. With NUMBA_DISABLE_JIT=1 it runs as it stands.

Numbers with many digits are derived by tools/coefficients.py, which can rewrite them. Of a pair, the second is what the
first lacks. An ulp is a unit in the last place of the exact result; a bound is a little more than the largest error
that was found over the whole domain, on random and adversarial arguments, subnormal numbers and huge angles included.
"""

from gradcompile.codegen.functions import jit
from gradcompile.library.primitives import at_least, at_most, bits, copysign, fma, from_bits, horner, rarely
from gradcompile.library.vmath.common import (
    INF,
    _pick,
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

TAKES = ("float64",)  # what the functions are called with
NAN = float("nan")
WIDTH, PLACES, BIAS = 64, 52, 1023  # bits of a number, those after the point, and what is added to its exponent
MIN_NORMAL = 2.0**-1022
LIFT, UP, DOWN = 54.0, 2.0**54, 2.0**-18  # lifts subnormal numbers, by that power of two; brings back the cube root
TINY, SMALL = 2.0**-60, 2.0**-30  # below, what follows x, and x**3 in an odd function, is lost in rounding
MANTISSA, ONE = 0xFFFFFFFFFFFFF, 0x3FF0000000000000
ROUND = 1.5 * 2.0**52  # adding it rounds to an integer, which then stands in the low bits
ROUND_BITS = 0x4338000000000000
SHIFT = ROUND + 2 * BIAS  # likewise, with twice the bias of an exponent
HALF_SHIFT = ROUND + BIAS

LOG2E = 1.4426950408889634
LN2 = (0.6931471805598903, 5.497923018708371e-14)
LN2_FULL = (0.6931471805599453, 2.3190468138462996e-17)
LOG2E_FULL = (1.4426950408889634, 2.0355273740931033e-17)
LOG10_2 = (0.30102999566395283, 2.8363394551044964e-14)
TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
LOG10E = 0.4342944819032518
HALF_PI = (1.5707963267948966, 6.123233995736766e-17)
PI_PARTS = (1.5707963267948966, 6.123233932053594e-17, 6.36831716351095e-25)
TWO_OVER_PI = 0.6366197723675814
PI_WORDS = (
    0.0, 5734161139222658.0, 5814151408469972.0, 7440259586542284.0, 5563773718881558.0, 2066796102992750.0,
    2563573915284664.0, 55291115753100.0, 5098427330010289.0, 1465545334474430.0, 5835026907506289.0,
    6776677510095004.0, 7069188010357663.0, 2595984518904818.0, 2831001892290551.0, 4552804911380620.0,
    3195225570766134.0, 4461702110328553.0, 8190251822055336.0, 6397593724909042.0, 8751785341853560.0,
    5811081437509311.0, 3456741467624832.0, 7180050975382879.0,
)  # fmt: skip
EXP = (  # (exp(r) - 1 - r)/r**2
    0.5, 0.16666666666666677, 0.0416666666666667, 0.008333333333321627, 0.0013888888888867322, 0.00019841269886124882,
    2.4801587359596224e-05, 2.755724421972472e-06, 2.75572435979006e-07, 2.5109030500735157e-08, 2.092417616804098e-09,
)  # fmt: skip
LOG = (  # (log(1 + f) - f)/f**2
    -0.5000000000000004, 0.3333333333333318, -0.2499999999997278, 0.2000000000003488, -0.16666666671617203,
    0.14285714285430645, -0.1249999959196559, 0.11111110769891615, -0.10000018107301104, 0.09090937820346255,
    -0.08332870135114998, 0.07691243512403063, -0.07149667497972066, 0.06687885751355555, -0.06198663454152613,
    0.05649314308943549, -0.056461556894829686, 0.06536958245347955, -0.060987860987459064, 0.026926120453954,
)  # fmt: skip
ATANH = (  # 2*(atanh(s) - s - s**3/3)/s**5, in s**2
    0.40000000000002256, 0.2857142857009975, 0.22222222519854606, 0.1818178437632851, 0.15386756771364796,
    0.13256833600145287, 0.13196158385972137,
)  # fmt: skip
SIN = (  # (sin(r) - r)/r**3, in r**2
    -0.16666666666666632, 0.008333333333322491, -0.00019841269829860587, 2.7557313708371547e-06,
    -2.5050760507305972e-08, 1.5896927100230442e-10,
)  # fmt: skip
COS = (  # (cos(r) - 1 + r**2/2)/r**4, in r**2
    0.0416666666666666, -0.0013888888888874476, 2.4801587289674054e-05, -2.755731440204564e-07, 2.0875729452763493e-09,
    -1.1359944628581884e-11,
)  # fmt: skip
SINH = (  # (sinh(r) - r)/r**3, in r**2
    0.16666666666666677, 0.008333333333321388, 0.00019841269886733883, 2.755724362662544e-06, 2.5109228208472335e-08,
)  # fmt: skip
COSH = (  # (cosh(r) - 1 - r**2/2)/r**4, in r**2
    0.041666666666666685, 0.0013888888888873286, 2.4801587349166846e-05, 2.7557251885868314e-07, 2.0921737340827667e-09,
)  # fmt: skip
TANH = (  # (tanh(r) - r)/r**3, in r**2
    -0.3333333333333249, 0.1333333333278492, -0.053968252783996584, 0.021869370864692907, -0.008857313878753915,
    0.0034449016614675563,
)  # fmt: skip
ATAN = (  # (atan(t) - t)/t**3, in t**2
    -0.33333333333333093, 0.1999999999995546, -0.14285714282802522, 0.11111111013617378, -0.09090907117738535,
    0.07692281156296069, -0.06666414629199954, 0.05880589565856525, -0.052537883162285255, 0.04723220239059123,
    -0.04221484747882709, 0.036687875738947696, -0.02997509136228212, 0.02207031508688534, -0.013979089431059695,
    0.007250694011240791, -0.002912079582685784, 0.0008406523025889199, -0.00015412489585246066, 1.3416053673493494e-05,
)  # fmt: skip
ASIN = (  # (asin(t) - t)/t**3, in t**2
    0.16666666666665383, 0.07500000000342953, 0.04464285682352562, 0.030381959330521922, 0.0223717535201845,
    0.017359771424263645, 0.013884592887173332, 0.012173331347029191, 0.006510563029705025, 0.019574879012051672,
    -0.016295883783604623, 0.031960405543947856,
)  # fmt: skip
ASINH = (  # (asinh(t) - t)/t**3, in t**2
    -0.1666666666666661, 0.07499999999984398, -0.044642857127798356, 0.030381943714241355, -0.022372138286873712,
    0.017352385566681804, -0.013960215308438427, 0.011512850428896186, -0.009533462214118837, 0.007463441476325528,
    -0.004743632719695593, 0.0017150666892588548,
)  # fmt: skip
ERF = (  # erf(x)/x - 1, in x**2
    0.1283791670955126, -0.3761263890318411, 0.11283791670972067, -0.0268661706482819, 0.00522397765569551,
    -0.0008548328735958339, 0.00012055394355427296, -1.492709543720001e-05, 1.6484738940786628e-06,
    -1.6598423706941273e-07, 1.6304337243060018e-08, -1.7635060662009035e-09, 1.6389967866377628e-10,
)  # fmt: skip
ERFC = (  # (x + 4)*exp(x**2)*erfc(x), in (x - 4)/(x + 4)
    1.095995661000491, -0.976548729080882, 0.7732087022652373, -0.5408538313132348, 0.33085158787799573,
    -0.17401093723993674, 0.07638151490981801, -0.026370053340378705, 0.006112055647929061, -0.00028095886466064044,
    -0.00045505261710126186, 0.0001768128157202102, -3.6355253028443765e-06, -1.886090162675821e-05,
    4.6956206021639885e-06, 1.4243430131334478e-06, -8.488793821009912e-07, -7.60547952535865e-08,
    1.2792352194208488e-07, 1.8439940662289424e-09, -1.8515712519509996e-08, -8.319272755662341e-10,
    2.072849568341688e-09, 4.056609379630601e-10,
)  # fmt: skip
CBRT = (  # about 1/cbrt(m) for 1 <= m < 2
    1.781069598958707, -1.5660721816742356, 1.243848280581029, -0.5979174769943887, 0.15608724798460033,
    -0.017021205388115572,
)  # fmt: skip

# Exponentials: x = k*ln(2) + r with |r| <= ln(2)/2 by Cody and Waite's reduction, exp(x) = 2**k*(1 + r + r**2*p(r)).

EXP_LOW, EXP_HIGH = -746.0, 710.0  # beyond, exp is 0 and infinite
EXP2_HIGH = 1080.0  # beyond, exp2 is infinite, and below its negative 0
EXPM1_LOW = -50.0  # below, expm1 is -1
TANH_HIGH = 20.0  # beyond, tanh is 1
COSH_HIGH = 710.5  # beyond, sinh and cosh are infinite
FALL_HIGH = 760.0  # beyond, x*exp(-x) is 0


@jit
def _reduced(k, x):  # type: ignore[no-untyped-def]
    """x - k*ln(2), rounded."""
    return fma(-k, LN2[1], fma(-k, LN2[0], x))


@jit
def _reduced_low(k, x, r):  # type: ignore[no-untyped-def]
    """What the rounded x - k*ln(2) lacks."""
    return fma(-k, LN2[1], fma(-k, LN2[0], x) - r)


@jit
def _half_scale(k):  # type: ignore[no-untyped-def]
    """2 to the power of about k/2: two such factors reach every exponent, and round once where it is subnormal."""
    return from_bits(bits(fma(k, 0.5, HALF_SHIFT)) << PLACES)


@jit
def _other_half_scale(k, shifted):  # type: ignore[no-untyped-def]
    """2**k divided by the half scale."""
    return from_bits((bits(shifted) - bits(fma(k, 0.5, HALF_SHIFT))) << PLACES)


@jit
def _half_power(shifted):  # type: ignore[no-untyped-def]
    """2**(k - 1), where that is a normal number."""
    return from_bits((bits(shifted) - (BIAS + 1)) << PLACES)


@jit
def _quarter_power(shifted):  # type: ignore[no-untyped-def]
    """2**(k - 2), where that is a normal number."""
    return from_bits((bits(shifted) - (BIAS + 2)) << PLACES)


@jit
def exp(x):  # type: ignore[no-untyped-def]
    """e to the power x, at most 0.9 ulp.

    >>> float(exp(0.0))
    1.0
    """
    x = at_least(at_most(x, EXP_HIGH), EXP_LOW)
    shifted = fma(x, LOG2E, SHIFT)
    k = shifted - SHIFT
    high = fma(-k, LN2[0], x)
    low = k * LN2[1]
    r = high - low
    m = high + fma(horner(r, EXP), r * r, -low) + 1.0
    return m * _half_scale(k) * _other_half_scale(k, shifted)


@jit
def _exp_of_sum(r, low, k, shifted):  # type: ignore[no-untyped-def]
    """2**k*exp(r + low) for a small r and a tiny low."""
    m = fma(horner(r, EXP), r * r, low) + r + 1.0
    return m * _half_scale(k) * _other_half_scale(k, shifted)


@jit
def exp_sum(x, y):  # type: ignore[no-untyped-def]
    """exp(x + y) as if the sum were exact, at most 1.5 ulp.

    >>> float(exp_sum(1e20, -1e20))
    1.0
    """
    s = x + y
    back = s - x
    lost = (x - (s - back)) + (y - back)
    lost = lost if fabs(s) < -EXP_LOW else 0.0
    s = at_least(at_most(s, EXP_HIGH), EXP_LOW)
    shifted = fma(s, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, s)
    m = r + fma(horner(r, EXP), r * r, _reduced_low(k, s, r)) + 1.0
    return fma(m, lost, m) * _half_scale(k) * _other_half_scale(k, shifted)


@jit
def exp2(x):  # type: ignore[no-untyped-def]
    """2 to the power x, at most 0.95 ulp.

    >>> float(exp2(3.0))
    8.0
    """
    x = at_least(at_most(x, EXP2_HIGH), -EXP2_HIGH)
    shifted = x + SHIFT
    k = shifted - SHIFT
    f = x - k
    r = f * LN2_FULL[0]
    return _exp_of_sum(r, fma(f, LN2_FULL[1], fma(f, LN2_FULL[0], -r)), k, shifted)


@jit
def expm1(x):  # type: ignore[no-untyped-def]
    """exp(x) - 1, accurate near 0, at most 0.95 ulp.

    2**k*r + (2**k - 1) is added with its error, and the rest follows; all of it halved, since 2**k may overflow.

    >>> float(expm1(1e-20))
    1e-20
    """
    y = at_least(at_most(x, EXP_HIGH), EXPM1_LOW)
    shifted = fma(y, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, y)
    s = _half_power(shifted)
    one = s - 0.5
    high = fma(s, r, one)
    r_low = _reduced_low(k, y, r)
    rest = fma(s, fma(r, r_low, r_low), fma(s, r, one - high)) + (s - one - 0.5)
    low = fma(horner(r, EXP), s * r * r, rest)
    return x if fabs(x) < TINY else 2.0 * (high + low)


@jit
def tanh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic tangent, at most 0.75 ulp.

    |x| = k*ln(2)/2 + r, and tanh(r) = r + r**3*p(r**2); what `tanh_beside` makes of it and s = 2**k.

    >>> float(tanh(0.0))
    0.0
    """
    y = at_most(fabs(x), TANH_HIGH)
    shifted = fma(y, 2.0 * LOG2E, HALF_SHIFT)
    k = shifted - HALF_SHIFT
    high = fma(-k, 0.5 * LN2[0], y)
    low = k * (0.5 * LN2[1])
    r = high - low
    r2 = r * r
    p = horner(r2, TANH)
    rest = fma(p, r * r2, -low)
    return copysign(tanh_beside(from_bits(bits(shifted) << PLACES) + 1.0, high, rest), x)


@jit
def _fall(x):  # type: ignore[no-untyped-def]
    """exp(-|x|); what it shares with _fall_low, sigmoid and softplus compute once."""
    y = at_least(-fabs(x), EXP_LOW)
    shifted = fma(y, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, y)
    m = r + fma(horner(r, EXP), r * r, _reduced_low(k, y, r)) + 1.0
    return m * _half_scale(k) * _other_half_scale(k, shifted)


@jit
def _fall_low(x):  # type: ignore[no-untyped-def]
    """What the rounded exp(-|x|) lacks."""
    y = at_least(-fabs(x), EXP_LOW)
    shifted = fma(y, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, y)
    t = fma(horner(r, EXP), r * r, _reduced_low(k, y, r))
    low = (r - ((r + t + 1.0) - 1.0)) + t
    return low * (_half_scale(k) * _other_half_scale(k, shifted))


@jit
def sigmoid(x):  # type: ignore[no-untyped-def]
    """1/(1 + exp(-x)), accurate in both tails, at most 0.8 ulp.

    1/(1 + e) or e/(1 + e) with e = exp(-|x|) in two parts, and the quotient corrected by what it leaves.

    >>> float(sigmoid(0.0))
    0.5
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
def sinh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic sine, at most 2.3 ulp.

    sinh(k*ln(2) + r) from 2**k, 2**-k, sinh(r) and cosh(r): nothing cancels, and nothing is divided.

    >>> float(sinh(0.0))
    0.0
    """
    a = at_most(fabs(x), COSH_HIGH)
    shifted = fma(a, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, a)
    z = r * r
    up = _quarter_power(shifted)
    down = _quarter_power(SHIFT - at_most(k, 100.0))
    odd = fma(horner(z, SINH) * z, r, r)
    even = fma(horner(z, COSH) * z, z, 0.5 * z)
    y = 2.0 * ((up - down) + fma(up - down, even, (up + down) * odd))
    return x if fabs(x) < SMALL else copysign(y, x)


@jit
def cosh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic cosine, at most 1.9 ulp; the parts are those of sinh.

    >>> float(cosh(0.0))
    1.0
    """
    a = at_most(fabs(x), COSH_HIGH)
    shifted = fma(a, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, a)
    z = r * r
    up = _quarter_power(shifted)
    down = _quarter_power(SHIFT - at_most(k, 100.0))
    odd = fma(horner(z, SINH) * z, r, r)
    even = fma(horner(z, COSH) * z, z, 0.5 * z)
    return 2.0 * ((up + down) + fma(up + down, even, (up - down) * odd))


@jit
def sech(x):  # type: ignore[no-untyped-def]
    """1/cosh(x) without overflow on the way, at most 2.3 ulp.

    >>> float(sech(0.0))
    1.0
    """
    e = _fall(x)
    return 2.0 * e / fma(e, e, 1.0)


# Logarithms: x = 2**k*(1 + f) with 1 + f from sqrt(1/2) to sqrt(2), log(x) = k*ln(2) + f + f**2*p(f). No division.

ROOT_HALF_BITS = 0x3FE6A09E667F3BCD
ROOT2_LESS_1 = 0.4142135623730951


@jit
def _exponent(y):  # type: ignore[no-untyped-def]
    """k with y/2**k from sqrt(1/2) to sqrt(2), for a normal y, as an integer."""
    return (bits(y) - ROOT_HALF_BITS) >> PLACES


@jit
def _fraction(y):  # type: ignore[no-untyped-def]
    """y/2**k - 1, exact."""
    return from_bits(bits(y) - (_exponent(y) << PLACES)) - 1.0


@jit
def _as_float(k):  # type: ignore[no-untyped-def]
    """A small integer as a float, where the processor has no instruction for it."""
    return from_bits(k + ROUND_BITS) - ROUND


@jit
def _lifted(x):  # type: ignore[no-untyped-def]
    """x, or x*UP where it is subnormal."""
    return x * UP if x < MIN_NORMAL else x


@jit
def _lifted_exponent(x):  # type: ignore[no-untyped-def]
    """The exponent of x from that of the lifted x."""
    k = _as_float(_exponent(_lifted(x)))
    return k - LIFT if x < MIN_NORMAL else k


@jit
def _log_sum(k, f, low):  # type: ignore[no-untyped-def]
    """k*LN2[0] + log(1 + f) + low; the sum of the two leading terms carries its error along."""
    high = fma(k, LN2[0], f)
    rest = fma(k, LN2[0], -high) + f
    return high + fma(f * f, horner(f, LOG), rest + low)


@jit
def _log_edges(x, y):  # type: ignore[no-untyped-def]
    """y, the logarithm of x, or what stands at 0, below it, at infinity and NaN."""
    y = NAN if x < 0.0 else y
    y = -INF if x == 0.0 else y
    return y if x < INF else x


@jit
def log(x):  # type: ignore[no-untyped-def]
    """Natural logarithm, at most 0.95 ulp; -inf at 0, NaN below.

    >>> float(log(1.0))
    0.0
    """
    k = _lifted_exponent(x)
    return _log_edges(x, _log_sum(k, _fraction(_lifted(x)), k * LN2[1]))


LN2_STEP = (0.693145751953125, 1.4286068203094173e-06)  # ln(2), the first of 16 bits


@jit
def log_high(x):  # type: ignore[no-untyped-def]
    """The part of log(x) that is a multiple of 0.693145751953125, which is about ln(2); exact.

    >>> float(log_high(1.25))
    0.0
    """
    return _log_edges(x, _lifted_exponent(x) * LN2_STEP[0])


@jit
def log_low(x):  # type: ignore[no-untyped-def]
    """log(x) without its part log_high(x), less than 0.36 in size; 0 at 0 and at infinity.

    >>> float(log_low(1.0))
    0.0
    """
    f = _fraction(_lifted(x))
    y = f + fma(f * f, horner(f, LOG), _lifted_exponent(x) * LN2_STEP[1])
    return y if (x > 0.0) & (x < INF) else (0.0 if x >= 0.0 else NAN)


@jit
def log1p(x):  # type: ignore[no-untyped-def]
    """log(1 + x), accurate near 0, at most 0.95 ulp; -inf at -1, NaN below.

    >>> float(log1p(1e-20))
    1e-20
    """
    u = 1.0 + x
    n = _exponent(u)
    k = _as_float(n)
    c = 0.5 * (x - (u - 1.0)) * from_bits(ONE + ((1 - n) << PLACES))
    f = _fraction(u)
    g = f + c
    g_low = c - (g - f)
    y = _log_edges(u, _log_sum(k, g, fma(k, LN2[1], fma(-g, g_low, g_low))))
    return x if fabs(x) < TINY else y


@jit
def log2(x):  # type: ignore[no-untyped-def]
    """Logarithm to base 2, at most 1.9 ulp; -inf at 0, NaN below.

    >>> float(log2(8.0))
    3.0
    """
    f = _fraction(_lifted(x))
    return _log_edges(x, fma(fma(f * f, horner(f, LOG), f), LOG2E, _lifted_exponent(x)))


@jit
def log10(x):  # type: ignore[no-untyped-def]
    """Logarithm to base 10, at most 2 ulp; -inf at 0, NaN below.

    >>> float(log10(100.0))
    2.0
    """
    f = _fraction(_lifted(x))
    k = _lifted_exponent(x)
    y = k * LOG10_2[0] + fma(fma(f * f, horner(f, LOG), f), LOG10E, k * LOG10_2[1])
    return _log_edges(x, y)


@jit
def xlogy(x, y):  # type: ignore[no-untyped-def]
    """x*log(y), at most 1.8 ulp; 0 where x is 0 unless y is NaN.

    >>> float(xlogy(0.0, 0.0))
    0.0
    """
    return x - x if (x == 0.0) & (y == y) else x * log(y)


@jit
def softplus(x):  # type: ignore[no-untyped-def]
    """log(1 + exp(x)), accurate in both tails, at most 1.9 ulp.

    max(x, 0) + log(1 + e) with e = exp(-|x|), where 1 + e is at most 2.

    >>> float(softplus(1000.0))
    1000.0
    """
    e = _fall(x)
    k = 1.0 if e > ROOT2_LESS_1 else e - e
    f = (e - 1.0) * 0.5 if e > ROOT2_LESS_1 else e
    return at_least(x, 0.0) + _log_sum(k, f, k * LN2[1])


@jit
def log_cosh(x):  # type: ignore[no-untyped-def]
    """log(cosh(x)), accurate near 0 and far from it, at most 4 ulp.

    >>> float(log_cosh(0.0))
    0.0
    """
    a = fabs(x)
    e = expm1(at_most(a, 1.0))
    far = (a - LN2_FULL[0]) + log1p(_fall(2.0 * a))
    return log1p(e * e / (2.0 + 2.0 * e)) if a < 1.0 else far


@jit
def x_over_expm1(x):  # type: ignore[no-untyped-def]
    """x/(exp(x) - 1), at most 3 ulp; 1 at 0, and by exp(-x) above 0, where exp(x) would overflow.

    >>> float(x_over_expm1(0.0))
    1.0
    """
    a = at_most(fabs(x), FALL_HIGH)
    shifted = fma(-a, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, -a)
    m = fma(horner(r, EXP), r * r, r) + 1.0
    above = a * m * _half_scale(k) if x > 0.0 else fabs(x)
    after = _other_half_scale(k, shifted) if x > 0.0 else 1.0
    return 1.0 if x == 0.0 else above / -expm1(-a) * after


# Trigonometric functions: x = k*pi/2 + r + low with |r| <= pi/4. Up to FAR pi/2 is taken in three parts (Cody and
# Waite). Beyond it, x*2/pi modulo 4 comes from the few digits of 2/pi that matter (Payne and Hanek): those before them
# give multiples of 4, those after them nothing that shows. A digit has DIGIT bits, as many as a significand: digit
# number i stands for 2**(-DIGIT*i).

FAR = 1.0e8
DIGIT = 53
DIGITS = (1.0, 2.0**-53, 2.0**-106, 2.0**-159, 2.0**-212)  # place values
PER_DIGIT = 1237  # 2**16/DIGIT, rounded up


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
def _sin_near(r, low):  # type: ignore[no-untyped-def]
    """sin(r + low) for |r| <= pi/4; the sign of zero is that of r."""
    z = r * r
    return copysign(r + fma(z * r, horner(z, SIN), fma(-0.5 * z, low, low)), r)


@jit
def _cos_near(r, low):  # type: ignore[no-untyped-def]
    """cos(r + low) for |r| <= pi/4."""
    z = r * r
    w = fma(z, -0.5, 1.0)
    rest = fma(z, -0.5, 1.0 - w)
    return w + fma(z * z, horner(z, COS), fma(-r, low, rest))


@jit
def _turned(turns, near, other):  # type: ignore[no-untyped-def]
    """The function in quadrant 0, 1, 2, 3: near, other, -near, -other."""
    y = near if (bits(turns) & 1) == 0 else other
    return from_bits(bits(y) ^ ((bits(turns) & 2) << (WIDTH - 2)))


@jit
def _word(i):  # type: ignore[no-untyped-def]
    """The digit number i of 2/pi; adding a zero gives the constants a type."""
    o = _as_float(i - i)
    a = _pick(i, o + PI_WORDS[0], o + PI_WORDS[1], o + PI_WORDS[2], o + PI_WORDS[3])
    b = _pick(i, o + PI_WORDS[4], o + PI_WORDS[5], o + PI_WORDS[6], o + PI_WORDS[7])
    c = _pick(i, o + PI_WORDS[8], o + PI_WORDS[9], o + PI_WORDS[10], o + PI_WORDS[11])
    d = _pick(i, o + PI_WORDS[12], o + PI_WORDS[13], o + PI_WORDS[14], o + PI_WORDS[15])
    e = _pick(i, o + PI_WORDS[16], o + PI_WORDS[17], o + PI_WORDS[18], o + PI_WORDS[19])
    f = _pick(i, o + PI_WORDS[20], o + PI_WORDS[21], o + PI_WORDS[22], o + PI_WORDS[23])
    last = e if (i & 4) == 0 else f
    return _pick(i >> 2, a, b, c, d) if i < 16 else last


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
    """The number of the first digit of 2/pi that matters: the exponent of x, less 1, divided by DIGIT."""
    return (((bits(fabs(x)) >> PLACES) - (BIAS + 1)) * PER_DIGIT) >> 16


@jit
def _far_factor(x):  # type: ignore[no-untyped-def]
    """x divided by the place value of that digit, 2**DIGIT to the power of its number; from 2 to 2**(DIGIT + 1)."""
    exponent = (bits(fabs(x)) >> PLACES) - BIAS - DIGIT * _far_digit(x)
    return copysign(from_bits((bits(x) & MANTISSA) | ((exponent + BIAS) << PLACES)), x)


@jit
def _far_turns(x, leading):  # type: ignore[no-untyped-def]
    """x*2/pi modulo 4 for a huge x: its leading part, or what that lacks.

    Five digits times x are ten numbers, of which two passes of error-free addition leave a sum that is good to 2**-120
    (to 2**-60 in float32), however close to an integer.
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
    """Sine, at most 0.85 ulp; NaN at the infinities.

    >>> float(sin(0.0))
    0.0
    """
    turns = _turns(x)
    r = _angle(turns - ROUND, x)
    low = _angle_low(turns - ROUND, x)
    return rarely(_sin_far, fabs(x) > FAR, _turned(turns, _sin_near(r, low), _cos_near(r, low)), x)


@jit
def cos(x):  # type: ignore[no-untyped-def]
    """Cosine, at most 0.85 ulp; NaN at the infinities.

    >>> float(cos(0.0))
    1.0
    """
    turns = _turns(x)
    r = _angle(turns - ROUND, x)
    low = _angle_low(turns - ROUND, x)
    return rarely(_cos_far, fabs(x) > FAR, _turned(turns, _cos_near(r, low), -_sin_near(r, low)), x)


@jit
def tan(x):  # type: ignore[no-untyped-def]
    """Tangent, at most 2.3 ulp; NaN at the infinities.

    >>> float(tan(0.0))
    0.0
    """
    turns = _turns(x)
    r = _angle(turns - ROUND, x)
    low = _angle_low(turns - ROUND, x)
    return rarely(_tan_far, fabs(x) > FAR, _tan_of(turns, r, low), x)


@jit
def sinc(x):  # type: ignore[no-untyped-def]
    """sin(x)/x, at most 1.7 ulp; 1 at 0, 0 at the infinities.

    >>> float(sinc(0.0))
    1.0
    """
    y = 1.0 if x == 0.0 else sin(x) / x
    return 0.0 if fabs(x) == INF else y


# Inverse trigonometric functions


@jit
def _atan_unit(t):  # type: ignore[no-untyped-def]
    """atan(t) for 0 <= t <= 1."""
    z = t * t
    return fma(t * z, horner(z, ATAN), t)


@jit
def atan(x):  # type: ignore[no-untyped-def]
    """Inverse tangent, at most 1.6 ulp; by pi/2 - atan(1/x) above 1.

    >>> float(atan(0.0))
    0.0
    """
    a = fabs(x)
    u = _atan_unit(1.0 / a if a > 1.0 else a)
    return copysign(HALF_PI[0] - (u - HALF_PI[1]) if a > 1.0 else u, x)


@jit
def atan2(y, x):  # type: ignore[no-untyped-def]
    """The angle of the point (x, y), from -pi to pi, at most 1.6 ulp.

    >>> float(atan2(0.0, 1.0))
    0.0
    """
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
def asin(x):  # type: ignore[no-untyped-def]
    """Inverse sine, at most 2.5 ulp; NaN outside -1 to 1; by pi/2 - 2*asin(sqrt((1 - x)/2)) above 1/2.

    >>> float(asin(0.0))
    0.0
    """
    a = fabs(x)
    far = a > 0.5
    z = fma(a, -0.5, 0.5) if far else a * a
    t = sqrt(z) if far else a
    u = fma(t * z, horner(z, ASIN), t)
    return copysign(HALF_PI[0] - (2.0 * u - HALF_PI[1]) if far else u, x)


@jit
def acos(x):  # type: ignore[no-untyped-def]
    """Inverse cosine, at most 1.3 ulp; NaN outside -1 to 1.

    >>> float(acos(1.0))
    0.0
    """
    a = fabs(x)
    far = a > 0.5
    z = fma(a, -0.5, 0.5) if far else a * a
    t = sqrt(z) if far else a
    u = fma(t * z, horner(z, ASIN), t)
    near = HALF_PI[0] - (copysign(u, x) - HALF_PI[1])
    v = 2.0 * u
    beyond = 2.0 * HALF_PI[0] - (v - 2.0 * HALF_PI[1]) if x < 0.0 else v
    return beyond if far else near


# Inverse hyperbolic functions

HUGE = 2.0**28  # beyond, 1 is nothing beside the square


@jit
def asinh(x):  # type: ignore[no-untyped-def]
    """Inverse hyperbolic sine, at most 2.5 ulp: a polynomial to 1/2, log(x + sqrt(x**2 + 1)) beyond.

    >>> float(asinh(0.0))
    0.0
    """
    a = fabs(x)
    z = a * a
    near = fma(a * z, horner(z, ASINH), a)
    s = sqrt(fma(a, a, 1.0))
    u = a if a > HUGE else a + s
    k = _as_float(_exponent(u)) + (1.0 if a > HUGE else a - a)
    low = 0.0 if a > HUGE else (a - (u - s)) * (s - a)
    far = _log_sum(k, _fraction(u), fma(k, LN2[1], low))
    far = far if a < INF else a
    return copysign(near if a < 0.5 else far, x)


@jit
def acosh(x):  # type: ignore[no-untyped-def]
    """Inverse hyperbolic cosine, at most 2.3 ulp: log(1 + t + sqrt(t**2 + 2*t)) with t = x - 1; NaN below 1.

    >>> float(acosh(1.0))
    0.0
    """
    t = x - 1.0
    y = log1p(t if x > HUGE else t + sqrt(fma(t, t, 2.0 * t)))
    y = y + LN2_FULL[0] if x > HUGE else y
    return NAN if x < 1.0 else y


@jit
def atanh(x):  # type: ignore[no-untyped-def]
    """Inverse hyperbolic tangent, at most 2.2 ulp: log(1 + 2*x/(1 - x))/2; infinite at -1 and 1, NaN beyond.

    >>> float(atanh(0.0))
    0.0
    """
    a = fabs(x)
    ratio = INF if a == 1.0 else 2.0 * a / (1.0 - a)
    return copysign(0.5 * log1p(ratio), x)


# Error functions


ERFC_FAR = 28.0  # beyond, erfc is 0
SQUARE_HIGH = 40.0  # beyond, exp of the square is infinite
ERFC_SLOPE = (-0.95, 0.75)  # roughly, the logarithmic derivative of the polynomial


@jit
def _erfcx_near(a):  # type: ignore[no-untyped-def]
    """exp(a**2)*erfc(a) for 0 <= a <= ERFC_FAR: a polynomial in t = (a - 4)/(a + 4), divided by a + 4."""
    below = a + 4.0
    below_low = a - (below - 4.0)
    inverse = 1.0 / below
    above = a - 4.0
    t = above * inverse
    t_low = (fma(-t, below, above) + fma(-t, below_low, a - (above + 4.0))) * inverse
    q = horner(t, ERFC)
    p = q * inverse
    rest = (fma(-p, below, q) - p * below_low) * inverse
    return p + fma(p * t_low, fma(t, ERFC_SLOPE[1], ERFC_SLOPE[0]), rest)


@jit
def _erfc_positive(a):  # type: ignore[no-untyped-def]
    """erfc(a) for a >= 0."""
    a = at_most(a, ERFC_FAR)
    p = _erfcx_near(a)
    square = a * a
    y = at_least(-square, EXP_LOW)
    shifted = fma(y, LOG2E, SHIFT)
    k = shifted - SHIFT
    r = _reduced(k, y) - fma(a, a, -square)
    m = fma(fma(horner(r, EXP), r * r, r), p, p)
    return m * _half_scale(k) * _other_half_scale(k, shifted)


@jit
def erf(x):  # type: ignore[no-untyped-def]
    """Error function, at most 1 ulp: a polynomial to 1, 1 - erfc(x) beyond.

    >>> float(erf(0.0))
    0.0
    """
    a = fabs(x)
    far = copysign(1.0 - _erfc_positive(a), x)
    return fma(x, horner(a * a, ERF), x) if a < 1.0 else far


@jit
def erfc(x):  # type: ignore[no-untyped-def]
    """1 - erf(x), accurate where that is small, at most 3 ulp.

    >>> float(erfc(0.0))
    1.0
    """
    y = _erfc_positive(fabs(x))
    return 2.0 - y if x < 0.0 else y


INVERSE_ROOT_PI = 0.5641895835477563


@jit
def _erfcx_far(a):  # type: ignore[no-untyped-def]
    """exp(a**2)*erfc(a) beyond ERFC_FAR, by its asymptotic series."""
    inverse = 1.0 / a
    return INVERSE_ROOT_PI * inverse * erfcx_far(inverse * inverse)


@jit
def erfcx(x):  # type: ignore[no-untyped-def]
    """exp(x**2)*erfc(x), at most 3 ulp; it falls like 1/x where erfc(x) underflows.

    >>> float(erfcx(0.0))
    1.0
    """
    a = fabs(x)
    y = _erfcx_far(at_least(a, ERFC_FAR)) if a > ERFC_FAR else _erfcx_near(at_most(a, ERFC_FAR))
    b = at_most(a, SQUARE_HIGH)
    square = b * b
    below = 2.0 * exp_sum(square, fma(b, b, -square)) - y
    return below if x < 0.0 else y


@jit
def log_erfc(x):  # type: ignore[no-untyped-def]
    """log(erfc(x)), accurate where erfc(x) underflows, and where it is near 1, at most 4.5 ulp.

    >>> log_erfc(0.0) == 0.0
    True
    """
    near = log1p(-erf(at_most(x, 0.25)))
    far = at_least(x, 0.25)
    return near if x < 0.25 else log(erfcx(far)) - far * far


# Powers and roots

THIRD, TWO_NINTHS = 1.0 / 3.0, 2.0 / 9.0
ROOTS = (0.7937005259840998, 0.6299605249474366)  # 2**(-1/3) and its square
TO_THREES, ROOT_BIAS = 0, 682  # makes the bias a multiple of 3; of a root's exponent what its third lacks


@jit
def _inverse_root(y, m):  # type: ignore[no-untyped-def]
    """1/cbrt(m) from a y that is near it: a step of third order."""
    h = fma(-m * y, y * y, 1.0)
    return fma(y * h, fma(h, TWO_NINTHS, THIRD), y)


@jit
def cbrt(x):  # type: ignore[no-untyped-def]
    """Real cube root, also of a negative number, at most 0.7 ulp.

    x = 2**(3*n)*m with 1 <= m < 8; a polynomial for 1/cbrt(m), in float64 a step of third order, and one for cbrt(m).

    >>> float(cbrt(-8.0))
    -2.0
    """
    a = _lifted(fabs(x))
    biased = (bits(a) >> PLACES) + TO_THREES
    n = (biased * 21846) >> 16
    j = biased - 3 * n
    m = from_bits((bits(a) & MANTISSA) | ONE)
    y = horner(m, CBRT)
    y = y if j == 0 else (y * ROOTS[0] if j == 1 else y * ROOTS[1])
    m = from_bits(bits(m) + (j << PLACES))
    y = _inverse_root(y, m)
    c = m * y * y
    square = c * c
    rest = fma(-square, c, m) - fma(c, c, -square) * c
    c = fma(rest * (y * y), THIRD, c) * from_bits((n + ROOT_BIAS) << PLACES)
    c = c * DOWN if fabs(x) < MIN_NORMAL else c
    return copysign(c, x) if (fabs(x) < INF) & (x != 0.0) else x


RISE, FALL = 2.0**600, 2.0**-600
LOW, HIGH = 2.0**-400, 2.0**500  # in between, squares stay in range


@jit
def hypot(x, y):  # type: ignore[no-untyped-def]
    """sqrt(x**2 + y**2) without overflow on the way, at most 1.3 ulp.

    >>> float(hypot(3.0, 4.0))
    5.0
    """
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


POWER_HIGH = 1100.0  # beyond, 2 to the power of it is infinite, and below its negative 0


@jit
def _power(a, y):  # type: ignore[no-untyped-def]
    """a**y for a finite a > 0: the logarithm to base 2 to 11 bits more, times y, exponentiated.

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
    c_low = fma(q * z, horner(z, ATANH), c_low)
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
    u_low = u_low if fabs(u) < POWER_HIGH else 0.0
    u = at_least(at_most(u, POWER_HIGH), -POWER_HIGH)
    shifted = u + SHIFT
    n = shifted - SHIFT
    f = (u - n) + u_low
    f_low = (u - n) - f + u_low
    r = f * LN2_FULL[0]
    low = fma(f, LN2_FULL[0], -r) + fma(f_low, LN2_FULL[0], f * LN2_FULL[1])
    return _exp_of_sum(r, low, n, shifted)


@jit
def power(x, y):  # type: ignore[no-untyped-def]
    """x to the power y, at most 2 ulp; NaN for a negative x unless y is an integer.

    >>> float(power(2.0, 3.0))
    8.0
    """
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
