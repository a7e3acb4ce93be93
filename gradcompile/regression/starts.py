"""Where to begin: parameters that the model is linear in are solved for, the others are drawn, and the best are kept.

A model that is linear in some parameters has its best values of these for any values of the others, by one step of
least squares (variable projection: Golub and Pereyra, 1973). So only the others are searched for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy as sp

from gradcompile.errors import ArgumentError
from gradcompile.regression.problem import Problem
from gradcompile.regression.search import Point, Vector
from gradcompile.regression.statement import Statement, names_of

DRAWN = 100  # candidates for each search that is to begin somewhere, and for each parameter that is drawn
LEAST = 8  # searches where no start is given
WIDTH = 1.5  # of the normal distribution of a magnitude's logarithm
AGREE = 1e-9  # relative difference of two losses that are the same minimum


def linear_parameters(statements: Sequence[Statement], params: Sequence[str]) -> list[int]:
    """The parameters, by place, in which all models are linear together."""
    chosen: list[str] = []
    for name in params:
        if all(s.model is not None and _is_linear(s.model, [*chosen, name]) for s in statements):
            chosen.append(name)
    return [params.index(name) for name in chosen]


def _is_linear(model: sp.Expr, names: Sequence[str]) -> bool:
    symbols = [s for s in model.free_symbols if s.name in names]
    return not any(names_of(sp.diff(model, s)) & set(names) for s in symbols)


def search(problem: Problem, start: Vector | None, count: int, seed: int) -> tuple[Point, int]:
    """The best of several searches, from the start and from the best candidates; how many evaluations they took."""
    random = np.random.default_rng(seed)
    candidates = Candidates(problem, start)
    wanted = max(count, LEAST) if start is None else count - 1
    begins = candidates.best(random, wanted)
    if start is not None:
        begins = [start, *begins]
    ends = [problem.minimum(theta) for theta in begins]
    if not ends:
        raise ArgumentError("no start was found at which the model is finite; give one: start={...}")
    best = min(ends, key=lambda p: p.loss if np.isfinite(p.loss) else np.inf)
    return best, candidates.evaluations + sum(p.evaluations for p in ends)


class Candidates:
    """Places where a search might begin, and what the loss is there when linear parameters are at their best."""

    def __init__(self, problem: Problem, start: Vector | None) -> None:
        terms = problem.terms
        self.problem, self.start, self.evaluations = problem, start, 0
        free = terms.lower < terms.upper
        linear = linear_parameters([s.statement for s in problem.samples], terms.params)
        self.linear = np.array([k for k in linear if free[k]], int)
        self.drawn = np.array([k for k in range(problem.size) if free[k] and k not in linear], int)
        self.gradient, self.matrix = np.zeros(problem.size), np.zeros(problem.size**2)
        self.scales = _scales(problem)

    def best(self, random: np.random.Generator, count: int) -> list[Vector]:
        """So many places: the better half by loss, and as many others as they come, so that not all are alike."""
        if not count:
            return []
        total = DRAWN * count if len(self.drawn) else 1
        found = []
        for _ in range(total):
            theta, loss = self.projected(self.draw(random))
            if np.isfinite(loss):
                found.append((loss, theta))
        others = [theta for _, theta in found[: count // 2]]
        found.sort(key=lambda pair: pair[0])
        return [theta for _, theta in found[: count - len(others)]] + others

    def draw(self, random: np.random.Generator) -> Vector:
        """A candidate: of the start's order of magnitude, or of what the data suggest where there is none."""
        f = self.problem.terms
        if self.start is None:
            theta = np.ones(self.problem.size)
            for k in self.drawn:
                theta[k] = self.draw_one(random, float(f.lower[k]), float(f.upper[k]))
        else:
            theta = self.start.copy()
            spread = np.exp(random.normal(0.0, 1.0, self.problem.size))
            theta[self.drawn] *= spread[self.drawn]
            theta[self.linear] *= 1.0
            if not theta[self.drawn].all():
                zeros = [k for k in self.drawn if theta[k] == 0.0]
                theta[zeros] = [self.draw_one(random, float(f.lower[k]), float(f.upper[k])) for k in zeros]
        held = f.lower >= f.upper
        theta[held] = f.lower[held]
        return np.clip(theta, f.lower, f.upper)

    def draw_one(self, random: np.random.Generator, low: float, high: float) -> float:
        """A value of one parameter: even between bounds, else a value of the data or its inverse, roughly."""
        if np.isfinite(low) and np.isfinite(high):
            return float(random.uniform(low, high))
        values = self.scales[int(random.integers(len(self.scales)))]
        value = float(values[int(random.integers(len(values)))])
        if random.random() < 0.5:
            value *= float(np.exp(random.normal(0.0, WIDTH)))
        if np.isfinite(low) or np.isfinite(high):
            return low + abs(value) if np.isfinite(low) else high - abs(value)
        return value

    def projected(self, theta: Vector) -> tuple[Vector, float]:
        """The candidate with its linear parameters at their best, and the loss there."""
        if self.problem.samples[0].statement.likelihood is None and len(self.linear):
            self.evaluate(theta)
            matrix = self.matrix.reshape(self.problem.size, -1)[np.ix_(self.linear, self.linear)]
            step = _solved(matrix, -self.gradient[self.linear])
            if step is not None:
                theta = theta.copy()
                theta[self.linear] += step
                theta = np.clip(theta, self.problem.terms.lower, self.problem.terms.upper)
        return theta, self.evaluate(theta)

    def evaluate(self, theta: Vector) -> float:
        """The loss; NaN where it or its derivatives are not finite."""
        self.evaluations += 1
        value = self.problem.loss(theta, self.gradient, self.matrix)
        return value if np.isfinite(self.gradient).all() and np.isfinite(self.matrix).all() else np.nan


def _solved(matrix: Vector, right: Vector) -> Vector | None:
    """The least solution of matrix x = right, for columns of any scale; None where something is not finite."""
    if not (np.isfinite(matrix).all() and np.isfinite(right).all()):
        return None
    scale = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    scale[scale == 0.0] = 1.0
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    good = values > len(values) * 1e-14 * max(float(values[-1]), 0.0)
    inner = vectors[:, good]
    found: Vector = inner @ ((inner.T @ (right / scale)) / values[good]) / scale
    return found


def _scales(problem: Problem) -> list[Any]:
    """What values of parameters may be like: 1, the values of each column, their spread, and the inverse of it."""
    found: list[Any] = [np.array([1.0, 0.1, 10.0, -1.0])]
    for sample in problem.samples:
        for name in sample.statement.columns:
            column = sample.columns[name]
            span = float(column.max() - column.min())
            found.append(column)
            if span > 0.0:
                found += [np.array([span, 0.1 * span, 0.3 * span]), np.array([1.0, 3.0, 10.0, -1.0]) / span]
    return found
