"""scipy.special's functions on symbolic arrays: those that are ops, and those that are written in others."""

import math
from collections.abc import Callable
from typing import Any

import numpy

from gradcompile.errors import ExpressionError
from gradcompile.frontend.arrays.core import UFUNCS, Array, lift, lift_all
from gradcompile.frontend.arrays.ufuncs import direct, elementwise, floating, function
from gradcompile.ir.core import apply
from gradcompile.ops.special import MANY

np: Any = numpy  # whose stubs know numbers alone
ROOT_HALF = math.sqrt(0.5)

UNARY = "erfcx erfinv erfcinv ndtri erfi dawsn expi exp1 spence ellipk ellipe"
BINARY = "owens_t gammainc gammaincc gammaincinv gammainccinv stdtr stdtrit ellipkinc ellipeinc"
OTHERS = {"loggamma": "lgamma", "_zeta": "zeta"}
for _name in UNARY.split():
    direct(_name, _name)
for _name, _op in {**{_n: _n for _n in BINARY.split()}, **OTHERS}.items():
    direct(_name, _op)


def of_many(name: str) -> None:
    """A ufunc of more than two arguments that is an op."""

    def build(*operands: Any) -> Array:
        return Array(elementwise(name, *map(floating, lift_all(*operands))))

    UFUNCS[name] = build


for _name in MANY:
    of_many(_name)


def written(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a ufunc that is written with NumPy's functions on symbolic arrays."""

    def enter(build: Callable[..., Any]) -> Callable[..., Any]:
        def made(*operands: Any) -> Any:
            return build(*(Array(floating(n)) for n in lift_all(*operands)))

        UFUNCS.update(dict.fromkeys(names, made))
        return build

    return enter


# Normal distribution, logistic function


written("ndtr")(lambda x: 0.5 * of("erfc", -ROOT_HALF * x))  # the normal distribution function


@written("log_ndtr")
def log_ndtr(x: Any) -> Any:
    """Its logarithm, accurate in both tails."""
    low = of("log_erfc", -ROOT_HALF * np.where(x > 0.0, 0.0, x)) - math.log(2.0)
    high = np.log1p(-0.5 * of("erfc", ROOT_HALF * np.where(x > 0.0, x, 0.0)))
    return np.where(x > 0.0, high, low)


def of(name: str, *operands: Any) -> Any:
    """An op of arrays."""
    return Array(elementwise(name, *(x.node for x in operands)))


written("logit")(lambda x: np.log(x) - np.log1p(-x))  # log(x/(1 - x))
written("cosm1")(lambda x: -2.0 * np.sin(0.5 * x) ** 2)  # cos(x) - 1, accurate near 0


@written("exprel")
def exprel(x: Any) -> Any:
    """(exp(x) - 1)/x, 1 at 0."""
    is_far = (x > 1.0) & (x < np.inf)
    far = np.where(is_far, x, 1.0)
    return np.where(is_far, np.expm1(far) / far, 1.0 / of("x_over_expm1", np.where(is_far, 1.0, x)))


written("log1pmx")(lambda x: np.log1p(x) - x)  # log(1 + x) - x
written("exp10")(lambda x: 10.0**x)  # 10**x


# Entropies


written("entr")(lambda x: np.where(x < 0.0, -np.inf, -of("xlogy", x, x)))  # -x*log(x), 0 at 0, -inf below


@written("rel_entr")
def rel_entr(x: Any, y: Any) -> Any:
    """x*log(x/y)."""
    inside = (x > 0.0) & (y > 0.0)
    above, below = np.where(inside, x, 1.0), np.where(inside, y, 1.0)
    ratio = above / below
    is_near = (ratio > 0.5) & (ratio < 2.0)
    logarithm = np.where(is_near, np.log1p(np.where(is_near, (above - below) / below, 0.0)),
                         np.log(np.where(is_near, 1.0, ratio)))  # fmt: skip
    outside = np.where((x == 0.0) & (y >= 0.0), 0.0, np.where(np.isnan(x) | np.isnan(y), np.nan, np.inf))
    return np.where(inside, x * logarithm, outside)


written("kl_div")(lambda x, y: rel_entr(x, y) - x + y)  # x*log(x/y) - x + y


@written("xlog1py")
def xlog1py(x: Any, y: Any) -> Any:
    """x*log(1 + y), 0 where x is, whose derivative by x is log(1 + y) there as well."""
    is_pole = (x == 0.0) & ((y <= -1.0) | (y == np.inf))
    return np.where(is_pole, x * 0.0, x * np.log1p(np.where(is_pole, 0.0, y)))


written("huber")(lambda delta, r: np.where(abs(r) <= delta, 0.5 * r * r, delta * (abs(r) - 0.5 * delta)))


@written("pseudo_huber")
def pseudo_huber(delta: Any, r: Any) -> Any:
    """delta**2*(sqrt(1 + (r/delta)**2) - 1), written as r**2/(1 + sqrt(1 + (r/delta)**2)), which does not cancel."""
    return r * (r / (1.0 + np.hypot(1.0, r / delta)))


@written("boxcox")
def boxcox(x: Any, lmbda: Any) -> Any:
    """(x**lmbda - 1)/lmbda, log(x) at 0."""
    return raised_less_one(np.log(x), lmbda)


def raised_less_one(logarithm: Any, power: Any) -> Any:
    """expm1(power*logarithm)/power, whose limit at power = 0 is the logarithm.

    As it is written where |power*logarithm| > 1; elsewhere as logarithm*exprel(power*logarithm), with no division by 0.
    """
    exponent = power * logarithm
    is_far = abs(exponent) > 1.0
    far = np.expm1(np.where(is_far, exponent, 1.0)) / np.where(is_far, power, 1.0)
    return np.where(is_far, far, logarithm * exprel(np.where(is_far, 0.0, exponent)))


written("boxcox1p")(lambda x, lmbda: raised_less_one(np.log1p(x), lmbda))  # boxcox of 1 + x


# Gamma functions


@written("rgamma")
def rgamma(x: Any) -> Any:
    """1/gamma(x), 0 at 0, -1, -2, ...; the derivative is NaN there."""
    is_pole, is_far = (x <= 0.0) & (x == np.floor(x)), x > largest_of_gamma(x)
    near = 1.0 / of("gamma", np.where(is_pole | is_far, 1.0, x))
    return np.where(is_pole, 0.0, np.where(is_far, np.exp(-of("lgamma", np.where(is_far, x, 1.0))), near))


@written("gammasgn")
def gammasgn(x: Any) -> Any:
    """The sign of gamma(x)."""
    down = np.floor(np.minimum(x, 0.0))
    sign = np.where(np.mod(down, 2.0) == 1.0, -1.0, 1.0)
    return np.where((x < 0.0) & (x == down), np.nan, np.where(np.isnan(x), np.nan, sign))


@written("betaln")
def betaln(a: Any, b: Any) -> Any:
    """log|beta(a, b)|: of the smaller argument, less how far the larger one rises by it."""
    first = a < b  # not np.minimum and np.maximum, which share a derivative where a == b
    small, large = np.where(first, a, b), np.where(first, b, a)
    return of("lgamma", small) - of("lgamma_rise", large, small)


def largest_of_gamma(x: Any) -> float:
    """A whole number up to which the gamma function is in the range of a dtype."""
    return 171.0 if x.dtype == np.float64 else 35.0


@written("poch")
def poch(z: Any, m: Any) -> Any:
    """gamma(z + m)/gamma(z).

    By gamma itself where both arguments are above 0.5, z + m is exact and gamma(z + m) is finite; elsewhere as
    exp(lgamma(z + m) - lgamma(z)) with the signs of both.
    """
    total = z + m
    is_near = (z > 0.5) & (m > 0.5) & (total < largest_of_gamma(z)) & (total - z == m) & (total - m == z)
    near = of("gamma", np.where(is_near, total, 1.0)) / of("gamma", np.where(is_near, z, 1.0))
    return np.where(is_near, near, gammasgn(z) * gammasgn(total) * np.exp(of("lgamma_rise", z, m)))


@written("beta")
def beta(a: Any, b: Any) -> Any:
    """gamma(a)*gamma(b)/gamma(a + b)."""
    first = a < b
    small, large = np.where(first, a, b), np.where(first, b, a)
    is_near = abs(a) + abs(b) < largest_of_gamma(a)
    near = of("gamma", np.where(is_near, small, 1.0)) / poch(large, small)
    return np.where(is_near, near, gammasgn(a) * gammasgn(b) * gammasgn(a + b) * np.exp(betaln(a, b)))


written("binom")(lambda n, k: poch(1.0 + n - k, k) * rgamma(1.0 + k))  # the binomial coefficient of real numbers
written("betaincc")(lambda a, b, x: of("betainc", b, a, 1.0 - x))  # 1 - betainc(a, b, x)
written("zetac")(lambda s: of("zeta", s, 2.0 + 0.0 * s))  # zeta(s) - 1


# Bessel functions, by their order, which is a number; several results


for _name, _op, _order in (
    ("i0", "besseli", 0), ("i1", "besseli", 1), ("i0e", "besselie", 0), ("i1e", "besselie", 1), ("j0", "besselj", 0),
    ("j1", "besselj", 1), ("y0", "bessely", 0), ("y1", "bessely", 1), ("k0", "besselk", 0), ("k1", "besselk", 1),
    ("k0e", "besselke", 0), ("k1e", "besselke", 1),
):  # fmt: skip

    def _bessel(x: Any, op: str = _op, order: int = _order) -> Array:
        return Array(apply(op, floating(lift(x)), params=(order,)))

    UFUNCS[_name] = _bessel


function(numpy.i0)(lambda x: Array(apply("besseli", floating(lift(x)), params=(0,))))


def with_order(op: str) -> Callable[..., Array]:
    """A Bessel function whose order is a number."""

    def build(v: Any, z: Any) -> Array:
        if isinstance(v, Array) or np.ndim(v):
            raise ExpressionError("the order of a Bessel function is one number, which is known before the call")
        order = float(v)
        if order < 0:
            raise ExpressionError(f"the order {order} is negative; write the function of a positive order")
        return Array(apply(op, floating(lift(z)), params=(int(order) if order.is_integer() else order,)))

    return build


for _name, _op in {"jv": "besselj", "yv": "bessely", "iv": "besseli", "kv": "besselk", "ive": "besselie",
                   "kve": "besselke", "jn": "besselj", "kn": "besselk", "yn": "bessely"}.items():  # fmt: skip
    UFUNCS[_name] = with_order(_op)


def expn(n: Any, x: Any) -> Array:
    """The generalised exponential integral of a whole order from 1 on."""
    if isinstance(n, Array) or np.ndim(n) or int(n) != n or n < 1:
        raise ExpressionError("the order of expn is one whole number from 1 on, which is known before the call")
    return Array(apply("expint", floating(lift(x)), params=(int(n),)))


def several(*ops: str) -> Callable[[Any], tuple[Array, ...]]:
    """A function of several results."""
    return lambda x: tuple(Array(apply(op, floating(lift(x)))) for op in ops)


UFUNCS["expn"] = expn


def with_cosine(sine: str, cosine: str) -> Callable[[Any], tuple[Array, ...]]:
    """Sine and cosine integrals, the latter of |x|, as SciPy has it."""
    return lambda x: (of(sine, x), of(cosine, abs(x)))


UFUNCS["sici"] = with_cosine("si", "ci")
UFUNCS["shichi"] = with_cosine("shi", "chi")
UFUNCS["fresnel"] = several("fresnels", "fresnelc")
UFUNCS["airy"] = several("airyai", "airyaiprime", "airybi", "airybiprime")
