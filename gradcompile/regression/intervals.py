"""Intervals that need more searches: profiles of the loss, and fits to rows drawn with replacement."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError
from gradcompile.optim.answers import whole
from gradcompile.regression.estimates import Estimates, _inverse_of
from gradcompile.regression.objective import FACTOR
from gradcompile.regression.problem import Problem
from gradcompile.regression.search import Point, Search, Vector, generator

DOUBLINGS = 60  # of a step outward before an interval is taken to have no end
STEPS = 60  # of Newton's method between two ends
CLOSE = 1e-13  # relative change of an end at which it stands


def profile(fit: Estimates, level: float) -> dict[str, tuple[float, float]]:
    """The interval of each parameter in which the loss, minimised over the others, rises by no more than it may.

    Of least squares it may rise by q^2 s^2, with the quantile q of t (normal where sigma is known) and s^2 the reduced
    chi2 (1 where sigma is known): Bates and Watts, "Nonlinear regression analysis" (1988), chapter 6. Of a likelihood
    minus its logarithm may rise by q^2/2. Of a robust loss it may rise by q^2 V/W, with V of the parameter the variance
    that `cov` has, and W what the Hessian of half the loss alone would give: near the minimum that is Wald's interval.
    """
    quantile = fit.quantile(level)
    if not fit.converged:
        raise ArgumentError(f"ci: these estimates are no minimum: {fit.message}")
    rises = quantile**2 * allowed(fit)
    problem = fit.problem()
    found = {}
    for k, name in enumerate(fit.params):
        rise = float(rises[k])
        if math.isnan(fit.stderr[name]) or math.isnan(rise):
            found[name] = (math.nan, math.nan)
        else:
            low, high = (_Profile(problem, fit, k, rise, sign).end() for sign in (-1.0, 1.0))
            found[name] = low, high
    return found


def allowed(fit: Estimates) -> Vector:
    """How much the loss rises one standard error away from each estimate, the others at their least."""
    size = len(fit.theta)
    if fit._is_likelihood:
        return np.full(size, 0.5)
    if fit._is_robust:
        rises = np.full(size, math.nan)
        free = ~fit._held
        rises[free] = np.diag(fit.cov)[free] / np.diag(_inverse_of(0.5 * fit._curvature))
        return rises
    return np.full(size, 1.0 if fit.terms.absolute_sigma else fit.loss / fit.dof if fit.dof > 0 else math.nan)


class _Profile:
    """One parameter's way outward, on one side."""

    def __init__(self, problem: Problem, fit: Estimates, k: int, rise: float, sign: float) -> None:
        self.problem, self.fit, self.k, self.rise, self.sign = problem, fit, k, rise, sign
        self.best = float(fit.theta[k])
        self.edge = float((fit.terms.upper if sign > 0 else fit.terms.lower)[k])
        self.theta = fit.theta

    def at(self, value: float) -> tuple[float, float]:
        """The signed root of the rise over the allowed one at a value of the parameter, less 1; its slope."""
        lower, upper = self.problem.terms.lower.copy(), self.problem.terms.upper.copy()
        lower[self.k] = upper[self.k] = value
        start = self.theta.copy()
        start[self.k] = value
        point = Search(lower, upper).run(self.problem.near, start, 1000 * len(start), self.problem.norm)
        if not math.isfinite(point.loss):
            return math.inf, 0.0
        self.theta = point.theta
        root = math.sqrt(max(point.loss - self.fit.loss, 0.0) / self.rise)
        slope = float(point.gradient[self.k]) / (2.0 * root * self.rise) if root > 0.0 else 0.0
        return root - 1.0, slope

    def end(self) -> float:
        """Where the rise is the allowed one; the bound or infinity where it never is."""
        step = self.fit.stderr[list(self.fit.params)[self.k]] * self.fit.quantile(0.68)
        inner, outer, value = self.best, None, self.clipped(self.best + self.sign * step * 2.0)
        for _ in range(DOUBLINGS):
            excess, slope = self.at(value)
            if excess >= 0.0:
                outer = value
                break
            if value == self.edge:
                return value
            inner, step = value, 2.0 * step
            value = self.clipped(value + self.sign * step)
        if outer is None:
            return self.sign * math.inf
        for _ in range(STEPS):
            following = value - excess / slope if slope and math.isfinite(excess) else math.nan
            if not min(inner, outer) < following < max(inner, outer):
                following = 0.5 * (inner + outer)
            if abs(following - value) <= CLOSE * abs(value):
                return following
            value = following
            excess, slope = self.at(value)
            inner, outer = (value, outer) if excess < 0.0 else (inner, value)
        return value

    def clipped(self, value: float) -> float:
        """The value, not beyond the bound."""
        return min(value, self.edge) if self.sign > 0 else max(value, self.edge)


def bootstrap(fit: Estimates, samples: int = 1000, seed: int = 0) -> Vector:
    """The estimates from rows drawn with replacement, (samples, parameters); NaN where a search has found none."""
    found = np.full((whole("samples", samples), len(fit.theta)), np.nan)
    for s in fit.samples:
        s.check_rows()
    random = generator(seed)
    refit = refitted(fit)
    for k in range(samples):
        point = refit(random)
        if not point.was_stopped and math.isfinite(point.loss):
            found[k] = point.theta
    return found


def refitted(fit: Estimates) -> Callable[[np.random.Generator], Point]:
    """A function that draws rows and fits to them, from the estimates; the memory of the rows is used again."""
    drawn = []
    for s in fit.samples:
        if FACTOR in s.columns:
            raise ArgumentError("bootstrap: rows that are correlated can't be drawn one by one; take 'profile'")
        columns: dict[str, Any] = {n: np.array(c) if np.ndim(c) else c for n, c in s.columns.items()}
        drawn.append(s.with_columns(columns))
    problem = fit.problem(drawn)

    def once_more(random: np.random.Generator) -> Point:
        for s, own in zip(fit.samples, drawn, strict=True):
            rows = random.integers(0, s.rows, s.rows)
            for name, column in s.columns.items():
                if np.ndim(column):
                    np.take(column, rows, out=own.columns[name])
        return problem.search(problem.near, fit.theta)

    return once_more


def bootstrap_intervals(
    fit: Estimates, level: float, samples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Quantiles of the estimates from rows drawn with replacement."""
    fit.quantile(level)  # checks the level
    found = bootstrap(fit, samples, seed)
    low, high = np.nanquantile(found, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=0)
    return {n: (float(a), float(b)) for n, a, b in zip(fit.params, low, high, strict=True)}
