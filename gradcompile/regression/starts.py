"""Where to begin: parameters that the model is linear in are solved for, the others are drawn, and the best are kept.

A model that is linear in some parameters has its best values of these for any values of the others, by one step of
least squares (variable projection: Golub and Pereyra, 1973). So only the others are searched for.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy as sp

from gradcompile.errors import ArgumentError
from gradcompile.regression.problem import Problem
from gradcompile.regression.search import Point, Vector, generator
from gradcompile.regression.statement import Statement, names_of

DRAWN = 100  # candidates for each search that is to begin somewhere, and for each parameter that is drawn
LEAST = 8  # searches where no start is given
EXACT = 0.5  # of the candidates that are what the data suggest; the others have that order of magnitude
WIDTH = 1.5  # of the normal distribution of a magnitude's logarithm


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
    random = generator(seed)
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
        linear = [k for k in linear_parameters([s.statement for s in problem.samples], terms.params) if free[k]]
        self.held = np.array([float(k not in linear) for k in range(problem.size)])
        self.scales = _scales(problem)
        self.drawn = [k for k in range(problem.size) if free[k] and k not in linear]

    def best(self, random: np.random.Generator, count: int) -> list[Vector]:
        """So many places: the better half by loss, and as many others as they come, so that not all are alike."""
        search, terms = self.problem.memory, self.problem.terms
        found = []
        for theta in self.draw(random, DRAWN * count if self.drawn else count):
            loss = search.projected(self.problem.near, np.clip(theta, terms.lower, terms.upper), self.held)
            self.evaluations += 2
            if math.isfinite(loss):
                found.append((loss, search.trial.copy()))
        others = [theta for _, theta in found[: count // 2]]
        found.sort(key=lambda pair: pair[0])
        return [theta for _, theta in found[: count - len(others)]] + others

    def draw(self, random: np.random.Generator, count: int) -> Vector:
        """Candidates, one a row: of the start's order of magnitude, or of what the data suggest where there is none."""
        start = np.ones(self.problem.size) if self.start is None else self.start
        found = np.tile(start, (count, 1))
        for k in self.drawn:
            if self.start is None or start[k] == 0.0:
                found[:, k] = self.suggested(random, k, count)
            else:
                found[:, k] *= np.exp(random.normal(0.0, 1.0, count))
        return found

    def suggested(self, random: np.random.Generator, k: int, count: int) -> Vector:
        """Values of one parameter: even between bounds, else values of the data or their inverse, roughly."""
        low, high = float(self.problem.terms.lower[k]), float(self.problem.terms.upper[k])
        if math.isfinite(low) and math.isfinite(high):
            return random.uniform(low, high, count)
        groups = self.scales
        drawn = np.stack([random.choice(g, count) for g in groups])
        values = drawn[random.integers(len(groups), size=count), range(count)]
        values *= np.where(random.random(count) < EXACT, 1.0, np.exp(random.normal(0.0, WIDTH, count)))
        if math.isfinite(low):
            return np.asarray(low + abs(values))
        return np.asarray(high - abs(values)) if math.isfinite(high) else values


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
