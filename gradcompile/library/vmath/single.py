"""Elementary functions of float32: the text of those of float64, with the constants that stand here.

What has no other value or text here is that of `double`, where names and functions are explained.
"""

from typing import TYPE_CHECKING

from gradcompile.codegen.functions import jit, retell
from gradcompile.library.primitives import from_bits32 as from_bits  # noqa: F401
from gradcompile.library.primitives import to_float32 as _as_float
from gradcompile.library.vmath.common import _pick
from gradcompile.library.vmath.double import __all__ as __all__

if TYPE_CHECKING:
    from gradcompile.library.vmath.double import *  # noqa: F403

TAKES = ("float32",)
WIDTH, PLACES, BIAS = 32, 23, 127
MIN_NORMAL = 2.0**-126
LIFT, UP, DOWN = 24.0, 2.0**24, 2.0**-8
TINY, SMALL = 2.0**-30, 2.0**-14
MANTISSA, ONE = 0x7FFFFF, 0x3F800000
ROUND = 1.5 * 2.0**23
SHIFT = ROUND + 2 * BIAS
HALF_SHIFT = ROUND + BIAS

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

EXP_LOW, EXP_HIGH = -104.0, 89.0
EXP2_HIGH = 160.0
EXPM1_LOW = -20.0
TANH_HIGH = 10.0
COSH_HIGH = 89.5
FALL_HIGH = 110.0
ROOT_HALF_BITS = 0x3F3504F3
ROOT2_LESS_1 = 0.41421357
LN2_STEP = (0.693145751953125, 1.4286068e-06)
FAR = 1.0e4
DIGIT = 24
DIGITS = (1.0, 2.0**-24, 2.0**-48, 2.0**-72, 2.0**-96)
PER_DIGIT = 2731
HUGE = 2.0**13
ERFC_FAR, SQUARE_HIGH = 11.0, 16.0
INVERSE_ROOT_PI = 0.5641896
TO_THREES, ROOT_BIAS = 2, 84
RISE, FALL = 2.0**90, 2.0**-90
LOW, HIGH = 2.0**-50, 2.0**60
POWER_HIGH = 170.0


@jit
def _word(i):  # type: ignore[no-untyped-def]
    """The digit number i of 2/pi, of which there are ten; adding a zero gives the constants a type."""
    o = _as_float(i - i)
    a = _pick(i, o + PI_WORDS[0], o + PI_WORDS[1], o + PI_WORDS[2], o + PI_WORDS[3])
    b = _pick(i, o + PI_WORDS[4], o + PI_WORDS[5], o + PI_WORDS[6], o + PI_WORDS[7])
    last = o + PI_WORDS[8] if (i & 1) == 0 else o + PI_WORDS[9]
    low = a if (i & 4) == 0 else b
    return low if i < 8 else last


@jit
def _inverse_root(y, m):  # type: ignore[no-untyped-def]
    """1/cbrt(m) from the polynomial for it, which is near enough."""
    return y


retell("gradcompile.library.vmath.double", globals())
