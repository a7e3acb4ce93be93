"""Special functions for generated code: SciPy's own compiled code, called by names.

A pointer to a Cython function would make machine code one of this process; a named symbol, registered at import, does
not. With NUMBA_DISABLE_JIT=1 the same names call scipy.special. Lambert's W and polygamma, which SciPy doesn't export
that way, are computed here.
"""

import math
import re
from typing import Any

import numpy as np

from gradcompile.codegen.functions import jit, njit
from gradcompile.codegen.target import is_disabled
from gradcompile.codegen.values import External
from gradcompile.library.blas import addresses_in, signature

__all__ = [
    "besseli", "besselie", "besselj", "besselk", "besselke", "bessely", "betainc", "betainc_slope", "betaincinv",
    "dawsn", "digamma", "digamma_rise", "ellipd", "ellipe", "ellipeinc", "ellipk", "ellipkinc", "erfcinv", "erfi",
    "erfinv", "exp1", "expi", "expint", "gamma", "gammainc", "gammainc_slope", "gammaincc", "gammainccinv",
    "gammaincinv", "hyp1f1", "hyp2f1", "lambertw", "lgamma", "lgamma_rise", "ndtri", "owens_t", "polygamma", "spence",
    "stdtr", "stdtrit", "zeta", "zeta_slope",
]  # fmt: skip


def external(name: str, arguments: int) -> Any:
    """A function of scipy.special of so many doubles; whole numbers become such."""
    if is_disabled():
        import scipy.special

        function = getattr(scipy.special, name)
        return lambda *args: function(*map(float, args))
    import llvmlite.binding

    llvmlite.binding.add_symbol(f"gc_{name}", address_of(name))
    return External(f"gc_{name}", arguments)


def address_of(name: str) -> int:
    """Where a function of scipy.special is: of its forms for several types that which takes and gives doubles."""
    from scipy.special import cython_special

    offered: Any = cython_special.__pyx_capi__
    found = [n for n in (name, *(f"__pyx_fuse_{k}{name}" for k in range(3))) if n in offered]
    doubles = [n for n in found if not {"float", "complex", "long"} & set(re.findall("[a-z]+", signature(offered[n])))]
    return addresses_in(cython_special, doubles[:1])[0]


gamma = external("gamma", 1)  # the gamma function; NaN at negative integers, an infinity of its sign at 0
lgamma = external("gammaln", 1)  # log|gamma(x)|
digamma = external("psi", 1)  # the derivative of log(gamma(x))
besselj = external("jv", 2)  # the Bessel function of the first kind, of integer order
bessely = external("yv", 2)  # the Bessel function of the second kind, of integer order; -inf at 0, NaN below
besseli = external("iv", 2)  # the modified Bessel function of the first kind, of integer order
besselk = external("kv", 2)  # the modified Bessel function of the second kind, of integer order; inf at 0, NaN below
erfinv = external("erfinv", 1)  # the y with erf(y) = x
erfcinv = external("erfcinv", 1)  # the y with erfc(y) = x
ndtri = external("ndtri", 1)  # the quantile of the normal distribution
erfi = external("erfi", 1)  # -i erf(i x)
dawsn = external("dawsn", 1)  # Dawson's integral
owens_t = external("owens_t", 2)  # Owen's T
expi = external("expi", 1)  # the exponential integral Ei
exp1 = external("exp1", 1)  # the exponential integral E1; NaN below 0
spence = external("spence", 1)  # the dilogarithm of 1 - x; NaN below 0
gammainc = external("gammainc", 2)  # the regularised lower incomplete gamma function
gammaincc = external("gammaincc", 2)  # the regularised upper incomplete gamma function
gammaincinv = external("gammaincinv", 2)  # the y with gammainc(a, y) = x
gammainccinv = external("gammainccinv", 2)  # the y with gammaincc(a, y) = x
stdtr = external("stdtr", 2)  # the distribution function of Student's t
stdtrit = external("stdtrit", 2)  # the y with stdtr(v, y) = x
betainc = external("betainc", 3)  # the regularised incomplete beta function
betaincinv = external("betaincinv", 3)  # the y with betainc(a, b, y) = x
hyp2f1 = external("hyp2f1", 4)  # Gauss's hypergeometric function
ellipk = external("ellipk", 1)  # the complete elliptic integral of the first kind, of m
ellipe = external("ellipe", 1)  # the complete elliptic integral of the second kind, of m
ellipkinc = external("ellipkinc", 2)  # the incomplete elliptic integral of the first kind
ellipeinc = external("ellipeinc", 2)  # the incomplete elliptic integral of the second kind
expint = external("expn", 2)  # the generalised exponential integral
besselie = external("ive", 2)  # exp(-|x|) times the modified Bessel function of the first kind
besselke = external("kve", 2)  # exp(x) times the modified Bessel function of the second kind
scipy_elliprd = external("elliprd", 3)
scipy_hyp1f1 = external("hyp1f1", 3)
FAR = 1e9  # of hyp1f1, whose terms SciPy adds up until they fall: as many as x is large


@jit
def ellipd(x):  # type: ignore[no-untyped-def]
    """(K(m) - E(m))/m, without a difference.

    >>> round(float(ellipd(0.0)), 12) == round(math.pi / 4, 12)
    True
    """
    return scipy_elliprd(0.0, 1.0 - x, 1.0) / 3.0


BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)
ZERO, INFINITE, NAN = np.float64(0.0), np.float64(np.inf), np.float64(np.nan)  # which plain Python divides by as well
POLYGAMMA_FROM = 20.0  # where the asymptotic series has full precision for any order up to 10
NOTHING = 1e-18  # of a sum: less than its rounding
POLYGAMMA_LEAST = -1e4  # below it the recurrence up to there is too long to walk


@njit
def polygamma(order, x):  # type: ignore[no-untyped-def]
    """The derivative of digamma, order >= 1 times; inf or NaN at 0, -1, -2, ..., NaN for x below -10000.

    (-1)**(n+1) n! sum 1/(x+k)**(n+1).

    >>> round(float(polygamma(1, 1.0)), 12)
    1.644934066848
    """
    if (x <= 0) & (x == np.floor(x)):
        return INFINITE if order % 2 == 1 else NAN
    if not x > POLYGAMMA_LEAST:
        return NAN
    if x == np.inf:
        return ZERO
    return (1.0 if order % 2 == 1 else -1.0) * math.gamma(order + 1.0) * powers(order + 1.0, x)


@njit
def zeta(s, x):  # type: ignore[no-untyped-def]
    """Hurwitz's zeta function: the sum of 1/(x + k)**s from k = 0 on, for s > 1 and x > 0; NaN elsewhere.

    >>> round(float(zeta(2.0, 1.0)), 12)
    1.644934066848
    """
    if not ((s > 1) & (x > 0)):
        return INFINITE if (s == 1) & (x > 0) else NAN
    return ZERO if x == np.inf else powers(s, x)


@njit
def powers(s, x):  # type: ignore[no-untyped-def]
    """The sum of 1/(x + k)**s: term by term up to where the Euler-Maclaurin series takes over."""
    total = 0.0
    at = float(x)
    while at < POLYGAMMA_FROM + s:
        term = np.power(at, -s)
        total += term
        if (at > 0.0) & (not at * term > NOTHING * (s - 1.0) * total):  # as much as the rest, which large orders lack
            return total
        at += 1.0
    term = np.power(at, -s)
    total += at * term / (s - 1.0) + 0.5 * term
    rising = s / at
    for k in range(len(BERNOULLI)):
        total += BERNOULLI[k] / math.gamma(2.0 * k + 3.0) * rising * term
        rising *= (s + 2.0 * k + 1.0) * (s + 2.0 * k + 2.0) / (at * at)
    return total


@njit
def zeta_slope(s, x):  # type: ignore[no-untyped-def]
    """The derivative of zeta(s, x) by s, term by term.

    >>> round(float(zeta_slope(2.0, 1.0)), 12)
    -0.937548254316
    """
    if not ((s > 1) & (x > 0)):
        return NAN
    if x == np.inf:
        return ZERO
    total = 0.0
    at = float(x)
    while at < POLYGAMMA_FROM + s:
        term = np.log(at) * np.power(at, -s)
        total -= term
        if (at > x) & (not at * math.fabs(term) > NOTHING * (s - 1.0) * math.fabs(total)):
            return total
        at += 1.0
    term, logarithm = np.power(at, -s), np.log(at)
    total -= at * term / (s - 1.0) * (logarithm + 1.0 / (s - 1.0)) + 0.5 * logarithm * term
    rising, inverses = s / at, 1.0 / s
    for k in range(len(BERNOULLI)):
        total += BERNOULLI[k] / math.gamma(2.0 * k + 3.0) * rising * term * (inverses - logarithm)
        first, second = s + 2.0 * k + 1.0, s + 2.0 * k + 2.0
        rising *= first * second / (at * at)
        inverses += 1.0 / first + 1.0 / second
    return total


@njit
def hyp1f1(a, b, x):  # type: ignore[no-untyped-def]
    """The confluent hypergeometric function; far out, where it is beyond the range of floats, at once.

    There it is near gamma(b)/gamma(a)*exp(x)*x**(a - b), with the sign of these, as long as the saddle points of its
    integral are real: the roots of t**2 - (1 - b/x)*t - a/x, which at worst is t**2 - 7/8*t + 1/8. With a = -x/4 and
    b = x/4 they are not, and the sign turns again and again as x grows.

    >>> round(float(hyp1f1(0.5, 1.5, 1.0)), 12)
    1.462651745907
    """
    sign = sign_of_gamma(a) * sign_of_gamma(b)
    if (x > FAR) & (x > 8.0 * max(a, -a)) & (x > 8.0 * max(b, -b)) & (sign != 0.0):
        return sign * INFINITE
    return scipy_hyp1f1(a, b, x)


@njit
def sign_of_gamma(x):  # type: ignore[no-untyped-def]
    """The sign of the gamma function, 0 at its poles."""
    if x > 0:
        return 1.0
    return 0.0 if x == np.floor(x) else 1.0 - 2.0 * (np.floor(x) % 2.0)


LONGEST = 100_000  # terms of a series or fraction


@njit
def gammainc_slope(a, x):  # type: ignore[no-untyped-def]
    """The derivative of gammainc(a, x) by a: of its series up to a + 1, of the continued fraction of the rest above.

    R. Moore, Algorithm AS 187: Derivatives of the incomplete gamma integral, 1982.

    >>> round(float(gammainc_slope(1.0, 1.0)), 10)
    -0.4317297106
    """
    if (a <= 0) | (x < 0) | (a != a) | (x != x):
        return NAN
    if (x == 0) | (x == np.inf):
        return ZERO
    power = math.exp(a * math.log(x) - x - math.lgamma(a + 1.0))
    order = digamma_of(a + 1.0)
    if x <= a + 1.0:
        term, total = 1.0, math.log(x) - order
        for n in range(1, LONGEST):
            term *= x / (a + n)
            order += 1.0 / (a + n)
            step = term * (math.log(x) - order)
            total += step
            if (math.fabs(step) <= 1e-17 * math.fabs(total)) & (term < 1e-17):  # steps have one sign: x <= a + 1
                return power * total
        return NAN
    return -power * a * fraction_slope(a, x, math.log(x) - (order - 1.0 / a))


@njit
def fraction_slope(a, x, factor):  # type: ignore[no-untyped-def]
    """The derivative by a of the continued fraction that follows exp(-x)*x**a/gamma(a), whose own is the factor.

    NaN where that many terms do not settle it.
    """
    b = x + 1.0 - a
    above, above_slope, value, slope = 1.0, 0.0, 1.0 / b, 1.0 / (b * b)
    d, d_slope = 1.0 / b, 1.0 / (b * b)
    c, c_slope = b, 0.0
    for n in range(1, LONGEST):
        numerator, numerator_slope = n * (a - n), float(n)
        b += 2.0
        under = numerator * d + b
        d_slope = -(numerator_slope * d + numerator * d_slope - 1.0) / (under * under)
        d = 1.0 / under
        if n == 1:
            c, c_slope = b, -1.0
        else:
            c_slope = -1.0 + (numerator_slope - numerator * c_slope / c) / c
            c = b + numerator / c
        above, above_slope = c * d, c_slope * d + c * d_slope
        slope = slope * above + value * above_slope
        value *= above
        if (math.fabs(above - 1.0) < 1e-16) & (math.fabs(above_slope * value) <= 1e-16 * math.fabs(slope)):
            return factor * value + slope
    return NAN


@njit
def digamma_of(x):  # type: ignore[no-untyped-def]
    """The derivative of log(gamma(x)) for x > 0."""
    total = 0.0
    while x < POLYGAMMA_FROM:
        total -= 1.0 / x
        x += 1.0
    square = 1.0 / (x * x)
    rest, power = 0.0, square
    for k in range(len(BERNOULLI)):
        rest += BERNOULLI[k] / (2.0 * k + 2.0) * power
        power *= square
    return total + math.log(x) - 0.5 / x - rest


@njit
def moderate(x, y):  # type: ignore[no-untyped-def]
    """Whether ones can be added to positive numbers until both are in the range of Stirling's series."""
    return (x > 0) & (y > 0) & (x < np.inf) & ((x < 1e15) | (y >= POLYGAMMA_FROM))


@njit
def digamma_rise(x, step):  # type: ignore[no-untyped-def]
    """digamma(x + step) - digamma(x), for positive numbers with the digits of a small one.

    >>> round(float(digamma_rise(1.0, 1.0)), 12)
    1.0
    """
    if not (moderate(x, x + step) & (step < np.inf)):
        return digamma(x + step) - digamma(x)
    total = 0.0
    while (x < POLYGAMMA_FROM) | (x + step < POLYGAMMA_FROM):
        total += step / x / (x + step)
        x += 1.0
    total += math.log1p(step / x) + 0.5 * (step / x) / (x + step)
    near, far = 1.0 / (x * x), 1.0 / ((x + step) * (x + step))
    ratio = step * (2.0 * x + step) * near * far  # near - far
    power, difference = 1.0, ratio
    for k in range(len(BERNOULLI)):
        total += BERNOULLI[k] / (2.0 * k + 2.0) * difference
        power *= near
        difference = difference * far + power * ratio
    return total


@njit
def lgamma_rise(x, step):  # type: ignore[no-untyped-def]
    """lgamma(x + step) - lgamma(x), for positive numbers with the digits of a small one, by Stirling's series.

    >>> round(float(lgamma_rise(1e6, 1.0)), 9) == round(math.log(1e6), 9)
    True
    """
    if not (moderate(x, x + step) & (step < np.inf)):
        return lgamma(x + step) - lgamma(x)
    total = 0.0
    while (x < POLYGAMMA_FROM) | (x + step < POLYGAMMA_FROM):
        total -= math.log1p(step / x)
        x += 1.0
    total += (x - 0.5) * math.log1p(step / x) + step * (math.log(x + step) - 1.0)
    near, far = 1.0 / x, 1.0 / (x + step)
    ratio = -step * (2.0 * x + step) * near * near * far * far  # far**2 - near**2
    difference, power = -step * near * far, near  # of the odd powers of far and near; that of near
    for k in range(len(BERNOULLI)):
        total += BERNOULLI[k] / ((2.0 * k + 1.0) * (2.0 * k + 2.0)) * difference
        difference = difference * far * far + power * ratio
        power *= near * near
    return total


@njit
def betainc_slope(a, b, x, of_first):  # type: ignore[no-untyped-def]
    """The derivative of betainc(a, b, x) by a, or by b if of_first is 0: of the continued fraction, by the nearer end.

    >>> round(float(betainc_slope(2.0, 1.0, 0.5, 1.0)), 12) == round(0.25 * math.log(0.5), 12)
    True
    """
    if not ((a > 0) & (b > 0) & (x >= 0) & (x <= 1)):
        return NAN
    if (x == 0) | (x == 1):
        return ZERO
    if x <= (a + 1.0) / (a + b + 2.0):
        return beta_fraction_slope(a, b, x, 1.0 - x, of_first)
    return -beta_fraction_slope(b, a, 1.0 - x, x, 1.0 - of_first)


@njit
def beta_fraction_slope(a, b, x, y, by_a):  # type: ignore[no-untyped-def]
    """The derivative of x**a*y**b/(a*beta(a, b)) times its continued fraction; y is 1 - x.

    NaN where that many terms do not settle it.
    """
    log_beta = math.lgamma(min(a, b)) - lgamma_rise(max(a, b), min(a, b))
    power = math.exp(a * math.log(x) + b * math.log(y) - log_beta) / a
    factor = math.log(x) - 1.0 / a + digamma_rise(a, b) if by_a == 1.0 else math.log(y) + digamma_rise(b, a)
    c, c_slope = 1.0, 0.0
    q = -(a + b) * x / (a + 1.0)
    q_slope = q * (1.0 / (a + b) - by_a / (a + 1.0))
    d = 1.0 / (1.0 + q)
    d_slope = -q_slope * d * d
    value, slope = d, d_slope
    for k in range(2, LONGEST):
        m, at = k // 2, a + k
        if k % 2 == 0:
            over = m * x / ((at - 1.0) * at)
            q, q_slope = over * (b - m), over * (1.0 - by_a - by_a * (b - m) * (1.0 / (at - 1.0) + 1.0 / at))
        else:
            q = -(a + m) * (a + b + m) * x / ((at - 1.0) * at)
            q_slope = q * (1.0 / (a + b + m) + by_a * (1.0 / (a + m) - 1.0 / (at - 1.0) - 1.0 / at))
        under = 1.0 + q * d
        d, d_slope = 1.0 / under, -(q_slope * d + q * d_slope) / (under * under)
        c, c_slope = 1.0 + q / c, (q_slope - q * c_slope / c) / c
        step, step_slope = c * d, c_slope * d + c * d_slope
        slope = slope * step + value * step_slope
        value *= step
        if (k % 2 == 1) & (math.fabs(step - 1.0) < 1e-16) & (math.fabs(step_slope * value) <= 1e-16 * math.fabs(slope)):
            return power * (factor * value + slope)
    return NAN


INVERSE_E = 0.36787944117144233
INVERSE_E_REST = -1.2428753672788363e-17  # 1/e is the sum of the two
# of w in powers of sqrt(2*(e*x + 1)), highest first
BRANCH_POINT = (-5776369 / 1515591000, 226287557 / 37623398400, -1963 / 204120, 680863 / 43545600, -221 / 8505,
                769 / 17280, -43 / 540, 11 / 72, -1 / 3, 1.0, -1.0)  # fmt: skip


@njit
def lambertw(x, branch):  # type: ignore[no-untyped-def]
    """The real w with w*exp(w) = x: w >= -1 on branch 0, w <= -1 on branch -1, NaN where there is none.

    A series at the branch point -1/e, elsewhere Fritsch's iteration, which triples the digits, from a rough start.
    The error is under 4 ulp, near -1/e under 32.

    >>> round(float(lambertw(1.0, 0)), 12)
    0.56714329041
    """
    if (x != x) | (x < -INVERSE_E) | ((branch != 0) & (x > 0)):
        return NAN
    if x == 0:
        return ZERO * x if branch == 0 else -INFINITE
    if x == np.inf:
        return INFINITE
    p = np.sqrt(2.0 * math.e * max((x + INVERSE_E) + INVERSE_E_REST, 0.0))
    if branch != 0:
        p = -p
    if math.fabs(p) < 0.05:
        w = 0.0
        for k in range(len(BRANCH_POINT)):
            w = BRANCH_POINT[k] + p * w
        return w
    w = -1.0 + p * (1.0 + p * (-1 / 3 + p * (11 / 72)))
    if (branch == 0) & (x > 0.5):
        w = np.log1p(x) if x < 20.0 else np.log(x) - np.log(np.log(x))
    elif (branch == 0) & (math.fabs(x) < 0.1):
        w = x * (1.0 - x)
    elif (branch != 0) & (x > -0.2):
        w = np.log(-x) - np.log(-np.log(-x))
    for _ in range(4):
        z = np.log(x / w) - w
        q = 2.0 * (1.0 + w) * (1.0 + w + 2.0 / 3.0 * z)
        w *= 1.0 + z / (1.0 + w) * (q - z) / (q - 2.0 * z)
    return w
