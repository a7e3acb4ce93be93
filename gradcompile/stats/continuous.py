"""Continuous distributions: one record each."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import sympy

from gradcompile.stats.both import (
    HALF_LOG_TWO_PI,
    LOG_PI,
    LOG_TWO,
    absolute,
    atan2,
    betainc,
    betaincinv,
    betaln,
    erf,
    erfc,
    erfcx,
    erfinv,
    exp,
    expm1,
    gammainc,
    gammaincc,
    gammainccinv,
    gammaincinv,
    i0e,
    is_symbolic,
    lgamma,
    log,
    log1mexp,
    log1p,
    log_cosh,
    log_ndtr,
    log_sigmoid,
    logit,
    ndtr,
    ndtri,
    root_half,
    sigmoid,
    sin,
    sqrt,
    stdtr,
    stdtrit,
    tan,
    where,
    xlog1py,
    xlogy,
)
from gradcompile.stats.distribution import Distribution

PI = math.pi


def normal(x: Any) -> Any:
    """The logarithm of the normal density."""
    return -x * x / 2 - HALF_LOG_TWO_PI


def cotangent(q: Any) -> Any:
    """cot(pi*q) from 0 to 1, by the end that is near."""
    return where(q > 0.5, -1 / tan(PI * (1 - q)), 1 / tan(PI * q))


def tangent_of_half(q: Any) -> Any:
    """tan(pi/2*q) from 0 to 1, by the end that is near."""
    return where(q > 0.5, 1 / tan(PI / 2 * (1 - q)), tan(PI / 2 * q))


def sine_squared(q: Any) -> Any:
    """sin(pi/2*q)**2 from 0 to 1, by the end that is near."""
    return where(q > 0.5, 1 - sin(PI / 2 * (1 - q)) ** 2, sin(PI / 2 * q) ** 2)


def quantile_of_laplace(q: Any) -> Any:
    """log(2 q) below the middle, its opposite above."""
    return where(q > 0.5, -log(2 * (1 - q)), log(2 * q))


def log_cdf_of_laplace(x: Any) -> Any:
    """Accurate in both tails."""
    return where(x < 0, x - LOG_TWO, log1p(-exp(-absolute(x)) / 2))


def log_tail_of_gumbel(x: Any) -> Any:
    """log(1 - exp(-exp(-x))), which is -x - exp(-x)/2 to the last digit where exp(-x) is small."""
    near = where(x < 0, log1p(-exp(-exp(-x))), log(-expm1(-exp(-x))))
    return where(x > 20, -x - exp(-x) / 2, near)


def log_tail_of_secant(x: Any) -> Any:
    """log(2/pi*atan(exp(x))), which is linear far below 0."""
    near = where(x < 0, log(2 / PI * atan2(exp(x), 1)), log1p(-2 / PI * atan2(exp(-x), 1)))
    return where(x < -20, x + LOG_TWO - LOG_PI, near)


def log_mass(a: Any, b: Any) -> Any:
    """log(ndtr(b) - ndtr(a)), by the tail that both are in."""
    if is_symbolic(a) or is_symbolic(b):
        return log(ndtr(b) - ndtr(a))
    turned = a > 0
    low, high = np.where(turned, -b, a), np.where(turned, -a, b)
    is_tail = high <= 0
    end = np.where(is_tail, high, 0.0)
    start = np.where(is_tail, low, end - 1.0)
    far = log_ndtr(end) + log1mexp(log_ndtr(end) - log_ndtr(start))
    return np.where(is_tail, far, np.log1p(-ndtr(np.where(is_tail, -1.0, low)) - ndtr(-np.where(is_tail, 1.0, high))))


def stretched(c: Any, x: Any) -> Any:
    """log(1 + c*x)/c, by its series in c*x where that is small, as 1/c has no digits of the derivative by c there."""
    if is_symbolic(c) or is_symbolic(x):
        return log(1 + c * x) / c
    is_flat = abs(c * x) < 1e-2
    u, far = np.where(is_flat, c * x, 0.0), np.where(is_flat, 1.0, c)
    series: Any = 0.0
    for k in range(9, 0, -1):
        series = 1 / k - u * series
    return np.where(is_flat, x * series, np.log1p(np.where(is_flat, 1.0, c * x)) / far)


def end_of_stretched(c: Any) -> Any:
    """Where 1 + c*x is 0: infinitely far unless c is negative."""
    if is_symbolic(c):
        return where(c < 0, -1 / c, sympy.oo)
    return np.where(np.less(c, 0), -1 / np.where(np.less(c, 0), c, -1.0), np.inf)


def log_of_smoothed(x: Any, k: Any) -> Any:
    """The logarithm of the density of a normal variable plus k times an exponential one, whose squares cancel."""
    far = x - 1 / k
    if is_symbolic(far):
        return -log(k) + (1 / k / k - 2 * x / k) / 2 + log_ndtr(far)
    is_left = far < 0
    left = log(erfcx(-root_half * np.where(is_left, far, -1.0))) - LOG_TWO - x * x / 2
    right = (1 / k / k - 2 * x / k) / 2 + log_ndtr(np.where(is_left, 1.0, far))
    return np.where(is_left, left, right) - log(k)


def density_of_f(x: Any, dfn: Any, dfd: Any) -> Any:
    """Of a quotient of two mean squares."""
    return (
        dfd / 2 * log(dfd) + dfn / 2 * log(dfn) + xlogy(dfn / 2 - 1, x)
        - (dfn + dfd) / 2 * log(dfd + dfn * x) - betaln(dfn / 2, dfd / 2)
    )  # fmt: skip


def record(name: str, shapes: str, density: Any, **formulas: Any) -> tuple[str, Distribution]:
    """A distribution under its name."""
    return name, Distribution(name, tuple(shapes.split()), density, **formulas)


TABLE: dict[str, Distribution] = dict([
    record("norm", "", normal, lower=ndtr, upper=lambda x: ndtr(-x), log_lower=log_ndtr,
           log_upper=lambda x: log_ndtr(-x), quantile=ndtri, upper_quantile=lambda q: -ndtri(q)),
    record("expon", "", lambda x: -x, low=0, lower=lambda x: -expm1(-x), upper=lambda x: exp(-x),
           log_lower=log1mexp, log_upper=lambda x: -x, quantile=lambda q: -log1p(-q), upper_quantile=lambda q: -log(q)),
    record("gamma", "a", lambda x, a: xlogy(a - 1, x) - x - lgamma(a), low=0,
           lower=lambda x, a: gammainc(a, x), upper=lambda x, a: gammaincc(a, x),
           quantile=lambda q, a: gammaincinv(a, q), upper_quantile=lambda q, a: gammainccinv(a, q)),
    record("chi2", "df", lambda x, df: xlogy(df / 2 - 1, x) - x / 2 - lgamma(df / 2) - LOG_TWO / 2 * df, low=0,
           lower=lambda x, df: gammainc(df / 2, x / 2), upper=lambda x, df: gammaincc(df / 2, x / 2),
           quantile=lambda q, df: 2 * gammaincinv(df / 2, q),
           upper_quantile=lambda q, df: 2 * gammainccinv(df / 2, q)),
    record("chi", "df", lambda x, df: LOG_TWO - LOG_TWO / 2 * df - lgamma(df / 2) + xlogy(df - 1, x) - x * x / 2, low=0,
           lower=lambda x, df: gammainc(df / 2, x * x / 2), upper=lambda x, df: gammaincc(df / 2, x * x / 2)),
    record("invgamma", "a", lambda x, a: -(a + 1) * log(x) - lgamma(a) - 1 / x, low=0,
           lower=lambda x, a: gammaincc(a, 1 / x), upper=lambda x, a: gammainc(a, 1 / x)),
    record("gengamma", "a c", lambda x, a, c: log(c) + xlogy(c * a - 1, x) - x**c - lgamma(a), low=0),
    record("beta", "a b", lambda x, a, b: xlog1py(b - 1, -x) + xlogy(a - 1, x) - betaln(a, b), low=0, high=1,
           lower=lambda x, a, b: betainc(a, b, x), upper=lambda x, a, b: betainc(b, a, 1 - x),
           quantile=lambda q, a, b: betaincinv(a, b, q),
           upper_quantile=lambda q, a, b: where(q < 0.5, 1 - betaincinv(b, a, q), betaincinv(a, b, 1 - q))),
    record("betaprime", "a b", lambda x, a, b: xlogy(a - 1, x) - xlog1py(a + b, x) - betaln(a, b), low=0,
           lower=lambda x, a, b: betainc(a, b, x / (1 + x)), upper=lambda x, a, b: betainc(b, a, 1 / (1 + x))),
    record("t", "df", lambda x, df: -betaln(df / 2, 0.5) - log(df) / 2 - (df + 1) / 2 * log1p(x * x / df),
           lower=lambda x, df: stdtr(df, x), upper=lambda x, df: stdtr(df, -x), quantile=lambda q, df: stdtrit(df, q),
           upper_quantile=lambda q, df: -stdtrit(df, q)),
    record("f", "dfn dfd", density_of_f, low=0, lower=lambda x, m, n: betainc(m / 2, n / 2, m * x / (m * x + n)),
           upper=lambda x, m, n: betainc(n / 2, m / 2, n / (m * x + n))),
    record("cauchy", "", lambda x: -LOG_PI - log1p(x * x), lower=lambda x: atan2(1, -x) / PI,
           upper=lambda x: atan2(1, x) / PI, quantile=lambda q: -cotangent(q), upper_quantile=cotangent),
    record("halfcauchy", "", lambda x: LOG_TWO - LOG_PI - log1p(x * x), low=0, lower=lambda x: 2 / PI * atan2(x, 1),
           upper=lambda x: 2 / PI * atan2(1, x), quantile=tangent_of_half,
           upper_quantile=lambda q: 1 / tangent_of_half(q)),
    record("laplace", "", lambda x: -absolute(x) - LOG_TWO, lower=lambda x: where(x < 0, exp(-absolute(x)) / 2,
           1 - exp(-absolute(x)) / 2), upper=lambda x: where(x > 0, exp(-absolute(x)) / 2, 1 - exp(-absolute(x)) / 2),
           log_lower=log_cdf_of_laplace, log_upper=lambda x: log_cdf_of_laplace(-x), quantile=quantile_of_laplace,
           upper_quantile=lambda q: -quantile_of_laplace(q)),
    record("logistic", "", lambda x: log_sigmoid(x) + log_sigmoid(-x), lower=sigmoid, upper=lambda x: sigmoid(-x),
           log_lower=log_sigmoid, log_upper=lambda x: log_sigmoid(-x), quantile=logit,
           upper_quantile=lambda q: -logit(q)),
    record("halflogistic", "", lambda x: LOG_TWO + log_sigmoid(x) + log_sigmoid(-x), low=0,
           upper=lambda x: 2 * sigmoid(-x),
           log_upper=lambda x: where(x < 1, log1p(expm1(-x) * sigmoid(x)), LOG_TWO + log_sigmoid(-x)),
           lower=lambda x: -expm1(-x) * sigmoid(x)),
    record("hypsecant", "", lambda x: -LOG_PI - log_cosh(x), lower=lambda x: 2 / PI * atan2(exp(x), 1),
           upper=lambda x: 2 / PI * atan2(exp(-x), 1), log_lower=log_tail_of_secant,
           log_upper=lambda x: log_tail_of_secant(-x)),
    record("lognorm", "s", lambda x, s: normal(log(x) / s) - log(s) - log(x), low=0,
           lower=lambda x, s: ndtr(log(x) / s),
           upper=lambda x, s: ndtr(-log(x) / s), log_lower=lambda x, s: log_ndtr(log(x) / s),
           log_upper=lambda x, s: log_ndtr(-log(x) / s), quantile=lambda q, s: exp(s * ndtri(q)),
           upper_quantile=lambda q, s: exp(-s * ndtri(q))),
    record("halfnorm", "", lambda x: LOG_TWO + normal(x), low=0, lower=lambda x: erf(root_half * x),
           upper=lambda x: erfc(root_half * x),
           log_upper=lambda x: where(x < 1, log1p(-erf(root_half * x)), LOG_TWO + log_ndtr(-x)),
           quantile=lambda q: erfinv(q) / root_half, upper_quantile=lambda q: -ndtri(q / 2)),
    record("truncnorm", "a b", lambda x, a, b: normal(x) - log_mass(a, b), low=lambda a, b: a, high=lambda a, b: b,
           lower=lambda x, a, b: exp(log_mass(a, x) - log_mass(a, b)),
           upper=lambda x, a, b: exp(log_mass(x, b) - log_mass(a, b)),
           log_lower=lambda x, a, b: log_mass(a, x) - log_mass(a, b),
           log_upper=lambda x, a, b: log_mass(x, b) - log_mass(a, b)),
    record("skewnorm", "a", lambda x, a: LOG_TWO + normal(x) + log_ndtr(a * x)),
    record("gennorm", "beta", lambda x, b: log(b) - LOG_TWO - lgamma(1 / b) - absolute(x) ** b),
    record("exponnorm", "K", log_of_smoothed),
    record("uniform", "", lambda x: 0 * x, low=0, high=1, lower=lambda x: x, upper=lambda x: 1 - x,
           quantile=lambda q: q),
    record("loguniform", "a b", lambda x, a, b: -log(x) - log(log(b) - log(a)), low=lambda a, b: a, high=lambda a, b: b,
           lower=lambda x, a, b: (log(x) - log(a)) / (log(b) - log(a)),
           upper=lambda x, a, b: (log(b) - log(x)) / (log(b) - log(a)),
           quantile=lambda q, a, b: exp(log(a) + q * (log(b) - log(a))),
           upper_quantile=lambda q, a, b: exp(log(b) - q * (log(b) - log(a)))),
    record("triang", "c", lambda x, c: where(x < c, log(2 * x / c), log(2 * (1 - x) / (1 - c))), low=0, high=1),
    record("powerlaw", "a", lambda x, a: log(a) + xlogy(a - 1, x), low=0, high=1, lower=lambda x, a: x**a,
           upper=lambda x, a: -expm1(a * log(x)), quantile=lambda q, a: q ** (1 / a),
           upper_quantile=lambda q, a: exp(log1p(-q) / a)),
    record("pareto", "b", lambda x, b: log(b) - (b + 1) * log(x), low=1, lower=lambda x, b: -expm1(-b * log(x)),
           upper=lambda x, b: exp(-b * log(x)), log_upper=lambda x, b: -b * log(x),
           quantile=lambda q, b: exp(-log1p(-q) / b), upper_quantile=lambda q, b: exp(-log(q) / b)),
    record("lomax", "c", lambda x, c: log(c) - (c + 1) * log1p(x), low=0, lower=lambda x, c: -expm1(-c * log1p(x)),
           upper=lambda x, c: exp(-c * log1p(x)), log_upper=lambda x, c: -c * log1p(x),
           quantile=lambda q, c: expm1(-log1p(-q) / c), upper_quantile=lambda q, c: expm1(-log(q) / c)),
    record("genpareto", "c", lambda x, c: -(c + 1) * stretched(c, x), low=0, high=end_of_stretched,
           upper=lambda x, c: exp(-stretched(c, x)),
           lower=lambda x, c: -expm1(-stretched(c, x)), log_upper=lambda x, c: -stretched(c, x)),
    record("weibull_min", "c", lambda x, c: log(c) + xlogy(c - 1, x) - x**c, low=0, lower=lambda x, c: -expm1(-(x**c)),
           upper=lambda x, c: exp(-(x**c)), log_upper=lambda x, c: -(x**c),
           quantile=lambda q, c: (-log1p(-q)) ** (1 / c), upper_quantile=lambda q, c: (-log(q)) ** (1 / c)),
    record("weibull_max", "c", lambda x, c: log(c) + xlogy(c - 1, -x) - (-x) ** c, high=0,
           lower=lambda x, c: exp(-((-x) ** c)), upper=lambda x, c: -expm1(-((-x) ** c)),
           log_lower=lambda x, c: -((-x) ** c)),
    record("gumbel_r", "", lambda x: -x - exp(-x), lower=lambda x: exp(-exp(-x)), upper=lambda x: -expm1(-exp(-x)),
           log_lower=lambda x: -exp(-x), log_upper=log_tail_of_gumbel,
           quantile=lambda q: -log(-log(q)), upper_quantile=lambda q: -log(-log1p(-q))),
    record("gumbel_l", "", lambda x: x - exp(x), lower=lambda x: -expm1(-exp(x)), upper=lambda x: exp(-exp(x)),
           log_upper=lambda x: -exp(x), log_lower=lambda x: log_tail_of_gumbel(-x),
           quantile=lambda q: log(-log1p(-q)), upper_quantile=lambda q: log(-log(q))),
    record("rayleigh", "", lambda x: log(x) - x * x / 2, low=0, lower=lambda x: -expm1(-x * x / 2),
           upper=lambda x: exp(-x * x / 2), log_upper=lambda x: -x * x / 2, quantile=lambda q: sqrt(-2 * log1p(-q)),
           upper_quantile=lambda q: sqrt(-2 * log(q))),
    record("maxwell", "", lambda x: (LOG_TWO - LOG_PI) / 2 + 2 * log(x) - x * x / 2, low=0,
           lower=lambda x: gammainc(1.5, x * x / 2), upper=lambda x: gammaincc(1.5, x * x / 2)),
    record("invgauss", "mu", lambda x, mu: -HALF_LOG_TWO_PI - 1.5 * log(x) - (x / mu - 1) ** 2 / (2 * x), low=0),
    record("levy", "", lambda x: -HALF_LOG_TWO_PI - 1.5 * log(x) - 1 / (2 * x), low=0,
           lower=lambda x: erfc(sqrt(0.5 / x)), upper=lambda x: erf(sqrt(0.5 / x)),
           log_lower=lambda x: LOG_TWO + log_ndtr(-sqrt(1 / x))),
    record("fisk", "c", lambda x, c: log(c) + xlogy(c - 1, x) + 2 * log_sigmoid(-c * log(x)), low=0,
           lower=lambda x, c: sigmoid(c * log(x)), upper=lambda x, c: sigmoid(-c * log(x))),
    record("burr12", "c d", lambda x, c, d: log(c) + log(d) + xlogy(c - 1, x) - (d + 1) * log1p(x**c), low=0,
           upper=lambda x, c, d: exp(-d * log1p(x**c)), lower=lambda x, c, d: -expm1(-d * log1p(x**c))),
    record("nakagami", "nu", lambda x, nu: LOG_TWO + xlogy(nu, nu) - lgamma(nu) + xlogy(2 * nu - 1, x) - nu * x * x,
           low=0, lower=lambda x, nu: gammainc(nu, nu * x * x), upper=lambda x, nu: gammaincc(nu, nu * x * x)),
    record("arcsine", "", lambda x: -LOG_PI - log(x) / 2 - log1p(-x) / 2, low=0, high=1,
           lower=lambda x: 2 / PI * atan2(sqrt(x), sqrt(1 - x)), upper=lambda x: 2 / PI * atan2(sqrt(1 - x), sqrt(x)),
           quantile=sine_squared, upper_quantile=lambda q: 1 - sine_squared(q)),
    record("moyal", "", lambda x: -(x + exp(-x)) / 2 - HALF_LOG_TWO_PI, lower=lambda x: erfc(exp(-x / 2) * root_half),
           upper=lambda x: erf(exp(-x / 2) * root_half)),
    record("vonmises", "kappa", lambda x, kappa: -2 * kappa * sin(x / 2) ** 2 - 2 * HALF_LOG_TWO_PI - log(i0e(kappa))),
    record("wrapcauchy", "c", lambda x, c: log1p(-c * c) - 2 * HALF_LOG_TWO_PI - log((1 - c) ** 2
           + 4 * c * sin(x / 2) ** 2), low=0, high=2 * PI),
])  # fmt: skip
TABLE |= {"reciprocal": TABLE["loguniform"], "erlang": replace(TABLE["gamma"], name="erlang")}
