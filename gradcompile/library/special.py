"""Special functions for generated code: SciPy's own compiled code, called by names.

A pointer to a Cython function would make machine code one of this process; a named symbol, registered at import, does
not. With NUMBA_DISABLE_JIT=1 the same names call scipy.special. Lambert's W and polygamma, which SciPy doesn't export
that way, are computed here.
"""

import math
from typing import Any

import numpy as np

from gradcompile.codegen.functions import jit, njit
from gradcompile.codegen.target import is_disabled
from gradcompile.codegen.values import External
from gradcompile.library.blas import addresses_in

__all__ = ["besseli", "besselj", "besselk", "bessely", "digamma", "gamma", "lambertw", "lgamma", "polygamma"]


def external(name: str, symbol: str) -> Any:
    """A function of scipy.special of floats, as compiled code calls it; it takes one more argument, which is 0.

    symbol: its name in scipy.special.cython_special.
    """
    if is_disabled():
        import scipy.special

        function = getattr(scipy.special, name)
        return lambda *args: function(*args[:-1])
    import llvmlite.binding
    from scipy.special import cython_special

    (address,) = addresses_in(cython_special, [symbol])
    llvmlite.binding.add_symbol(f"gc_{name}", address)
    return External(f"gc_{name}")


scipy_gamma = external("gamma", "__pyx_fuse_1gamma")
scipy_gammaln = external("gammaln", "gammaln")
scipy_psi = external("psi", "__pyx_fuse_1psi")
scipy_jv = external("jv", "__pyx_fuse_1jv")
scipy_yv = external("yv", "__pyx_fuse_1yv")
scipy_iv = external("iv", "__pyx_fuse_1iv")
scipy_kv = external("kv", "__pyx_fuse_1kv")


@jit
def gamma(x):  # type: ignore[no-untyped-def]
    """The gamma function; NaN at negative integers, an infinity of its sign at 0.

    >>> float(gamma(5.0))
    24.0
    """
    return scipy_gamma(x, 0)


@jit
def lgamma(x):  # type: ignore[no-untyped-def]
    """log|gamma(x)|.

    >>> float(lgamma(1.0))
    0.0
    """
    return scipy_gammaln(x, 0)


@jit
def digamma(x):  # type: ignore[no-untyped-def]
    """The derivative of log(gamma(x)).

    >>> round(float(digamma(1.0)), 12)
    -0.577215664902
    """
    return scipy_psi(x, 0)


@jit
def besselj(order, x):  # type: ignore[no-untyped-def]
    """The Bessel function of the first kind, of integer order.

    >>> float(besselj(0, 0.0))
    1.0
    """
    return scipy_jv(float(order), x, 0)


@jit
def bessely(order, x):  # type: ignore[no-untyped-def]
    """The Bessel function of the second kind, of integer order; -inf at 0, NaN below.

    >>> float(bessely(0, 0.0))
    -inf
    """
    return scipy_yv(float(order), x, 0)


@jit
def besseli(order, x):  # type: ignore[no-untyped-def]
    """The modified Bessel function of the first kind, of integer order.

    >>> float(besseli(0, 0.0))
    1.0
    """
    return scipy_iv(float(order), x, 0)


@jit
def besselk(order, x):  # type: ignore[no-untyped-def]
    """The modified Bessel function of the second kind, of integer order; inf at 0, NaN below.

    >>> float(besselk(0, 0.0))
    inf
    """
    return scipy_kv(float(order), x, 0)


BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)
ZERO, INFINITE, NAN = np.float64(0.0), np.float64(np.inf), np.float64(np.nan)  # which plain Python divides by as well
POLYGAMMA_FROM = 20.0  # where the asymptotic series has full precision for any order up to 10
POLYGAMMA_LEAST = -1e4  # below it the recurrence up to there is too long to walk


@njit
def polygamma(order, x):  # type: ignore[no-untyped-def]
    """The derivative of digamma, order >= 1 times; inf or NaN at 0, -1, -2, ..., NaN for x below -10000.

    (-1)**(n+1) n! sum 1/(x+k)**(n+1): term by term up to where the Euler-Maclaurin series takes over.

    >>> round(float(polygamma(1, 1.0)), 12)
    1.644934066848
    """
    if (x <= 0) & (x == np.floor(x)):
        return INFINITE if order % 2 == 1 else NAN
    if not x > POLYGAMMA_LEAST:
        return NAN
    if x == np.inf:
        return ZERO
    s = order + 1.0
    total = 0.0
    at = float(x)
    while at < POLYGAMMA_FROM + order:
        total += np.power(at, -s)
        at += 1.0
    term = np.power(at, -s)
    total += at * term / order + 0.5 * term
    rising = s / at
    for k in range(len(BERNOULLI)):
        total += BERNOULLI[k] / math.gamma(2.0 * k + 3.0) * rising * term
        rising *= (s + 2.0 * k + 1.0) * (s + 2.0 * k + 2.0) / (at * at)
    return (1.0 if order % 2 == 1 else -1.0) * math.gamma(s) * total


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
