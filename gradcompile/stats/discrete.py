"""Discrete distributions: one record each, of probabilities of whole numbers."""

from typing import Any

from gradcompile.stats.both import (
    absolute,
    betainc,
    betaln,
    exp,
    expm1,
    gammainc,
    gammaincc,
    lgamma,
    log,
    log1p,
    where,
    xlog1py,
    xlogy,
    zeta,
)
from gradcompile.stats.distribution import Distribution


def log_choices(n: Any, k: Any) -> Any:
    """The logarithm of the binomial coefficient."""
    return -log(n + 1) - betaln(k + 1, n - k + 1)


def below(n: Any, k: Any, p: Any) -> Any:
    """The binomial distribution function; 1 from n on."""
    return where(k >= n, 1, betainc(where(k >= n, 1, n - k), k + 1, 1 - p))


def above(n: Any, k: Any, p: Any) -> Any:
    """The probability of more than k."""
    return where(k >= n, 0, betainc(k + 1, where(k >= n, 1, n - k), p))


def record(name: str, shapes: str, density: Any, **formulas: Any) -> tuple[str, Distribution]:
    """A distribution under its name."""
    return name, Distribution(name, tuple(shapes.split()), density, is_discrete=True, **{"low": 0, **formulas})


TABLE: dict[str, Distribution] = dict([
    record("poisson", "mu", lambda k, mu: xlogy(k, mu) - lgamma(k + 1) - mu, lower=lambda k, mu: gammaincc(k + 1, mu),
           upper=lambda k, mu: gammainc(k + 1, mu)),
    record("bernoulli", "p", lambda k, p: xlogy(k, p) + xlog1py(1 - k, -p), high=1,
           lower=lambda k, p: where(k >= 1, 1, 1 - p), upper=lambda k, p: where(k >= 1, 0, p)),
    record("binom", "n p", lambda k, n, p: log_choices(n, k) + xlogy(k, p) + xlog1py(n - k, -p), high=lambda n, p: n,
           lower=lambda k, n, p: below(n, k, p), upper=lambda k, n, p: above(n, k, p)),
    record("nbinom", "n p", lambda k, n, p: -log(n + k) - betaln(n, k + 1) + xlogy(n, p) + xlog1py(k, -p),
           lower=lambda k, n, p: betainc(n, k + 1, p), upper=lambda k, n, p: betainc(k + 1, n, 1 - p)),
    record("geom", "p", lambda k, p: xlog1py(k - 1, -p) + log(p), low=1, lower=lambda k, p: -expm1(k * log1p(-p)),
           upper=lambda k, p: exp(k * log1p(-p)), log_upper=lambda k, p: k * log1p(-p)),
    record("betabinom", "n a b", lambda k, n, a, b: log_choices(n, k) + betaln(k + a, n - k + b) - betaln(a, b),
           high=lambda n, a, b: n),
    record("hypergeom", "M n N", lambda k, m, n, s: log_choices(n, k) + log_choices(m - n, s - k) - log_choices(m, s)),
    record("randint", "low high", lambda k, low, high: -log(high - low) + 0 * k, low=lambda low, high: low,
           high=lambda low, high: high - 1),
    record("zipf", "a", lambda k, a: -a * log(k) - log(zeta(a, 1)), low=1),
    record("logser", "p", lambda k, p: xlogy(k, p) - log(k) - log(-log1p(-p)), low=1),
    record("boltzmann", "lambda_ N", lambda k, lam, n: -lam * k + log(-expm1(-lam)) - log(-expm1(-lam * n)),
           high=lambda lam, n: n - 1),
    record("planck", "lambda_", lambda k, lam: -lam * k + log(-expm1(-lam)),
           lower=lambda k, lam: -expm1(-lam * (k + 1)), upper=lambda k, lam: exp(-lam * (k + 1)),
           log_upper=lambda k, lam: -lam * (k + 1)),
    record("dlaplace", "a", lambda k, a: log(expm1(a)) - log(exp(a) + 1) - a * absolute(k), low=None),
])  # fmt: skip
