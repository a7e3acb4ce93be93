"""A fit that is compiled once and run for any data: the search, and the proof that it ended at a minimum."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, isfinite, sqrt
from typing import Any

import numpy as np

from gradcompile.data import frames
from gradcompile.errors import ArgumentError, ArgumentTypeError, DataError
from gradcompile.library import trust_region as tr
from gradcompile.once import once
from gradcompile.regression import starts as starting
from gradcompile.regression.objective import Objective
from gradcompile.regression.result import Fit
from gradcompile.regression.search import Evaluate, Point, Search, Vector
from gradcompile.regression.statement import Statement, meant

LIMIT = 1000  # evaluations for each parameter and one more, before a search is given up
SADDLES = 4  # directions of negative curvature that a search follows before it is given up


@dataclass(frozen=True, eq=False)
class Sample:
    """A data set's part of a fit with its data: the columns by name, how many rows, how many of them were left out."""

    objective: Objective
    columns: Mapping[str, Any]
    rows: int
    dropped: int
    places: Vector | None  # of its parameters among all, None where they are all

    @property
    def statement(self) -> Statement:
        """What is fitted."""
        return self.objective.statement

    @once
    def target(self) -> Vector:
        """The target's values."""
        s = self.statement
        if s.target.is_Symbol:
            return self.columns[s.target.name]
        return evaluated(s.target, self.columns)

    @once
    def norm(self) -> float:
        """The norm of the target, in units of sigma: what residuals are rounded by."""
        s = self.statement
        if s.target is None:
            return 0.0
        scaled = self.target if s.sigma is None else self.target / self.columns[s.sigma.name]
        return sqrt(np.add.reduce(scaled * scaled))


def evaluated(expr: Any, columns: Mapping[str, Any]) -> Vector:
    """A formula of columns alone."""
    from gradcompile.compile import compile_value

    symbols = sorted(expr.free_symbols, key=lambda s: str(s.name))
    found = compile_value(expr, data=symbols)(*(columns[s.name] for s in symbols))
    return np.asarray(found, float)


class Fitter:
    """A compiled fit: fitter(data, start=...) -> Fit.

    Made by `compile_fit`; `params` are the names of its parameters, in the order of all vectors and matrices.
    """

    def __init__(
        self,
        statements: Sequence[Statement],
        params: Sequence[str],
        *,
        bounds: Mapping[str, Any] | None = None,
        fixed: Mapping[str, float] | None = None,
        absolute_sigma: bool = False,
        sigma: str | None = None,
    ) -> None:
        self.objectives = [Objective(s) for s in statements]
        self.params = tuple(params)
        self.fixed = dict(fixed or {})
        self.absolute_sigma = absolute_sigma
        self.sigma = sigma
        self.lower, self.upper = limits(self.params, bounds or {})
        self.free = int(np.sum(self.lower < self.upper))
        self._search = Search(len(self.params))

    def __call__(
        self,
        data: Any,
        *,
        start: Any = None,
        sigma: Any = None,
        starts: int = 1,
        seed: int = 0,
        missing: str = "drop",
    ) -> Fit:
        """Fit to data: a mapping of names to columns, a structured array, or a frame of pandas, polars or pyarrow.

        start: where the search begins, by name or in the order of `params`; found where it is left out. sigma: the
        standard deviations of the target, a column's name or an array. starts: how many places to search from; seed: of
        those that are drawn. missing: rows in which something is missing are left out ("drop") or an error ("raise").
        """
        samples = self.samples(data, sigma, missing)
        found, count = self.best(samples, self.beginning(start), starts, seed)
        return Fit(self, samples, found, count)

    def samples(self, data: Any, sigma: Any = None, missing: str = "drop") -> list[Sample]:
        """The data of each part, checked."""
        if missing not in ("drop", "raise"):
            raise ArgumentError(f"missing={missing!r}: choose 'drop' or 'raise'")
        several = len(self.objectives) > 1
        given = list(data) if several else [data]
        weights = list(sigma) if several and isinstance(sigma, list | tuple) else [sigma] * len(given)
        return [self.sample(o, d, s, missing) for o, d, s in zip(self.objectives, given, weights, strict=True)]

    def sample(self, objective: Objective, data: Any, sigma: Any, missing: str) -> Sample:
        """One data set with its columns."""
        statement = objective.statement
        columns = quick_columns(data, statement.columns)
        if columns is None:
            columns = frames.columns(data, statement.columns)
        columns = dict(columns)
        if statement.sigma is not None:
            columns[statement.sigma.name] = self.deviations(sigma, data, columns)
        elif sigma is not None:
            raise ArgumentError("sigma: this fit was compiled without; say compile_fit(..., sigma=True)")
        columns, dropped = complete(columns, missing)
        rows = len(next(iter(columns.values())))
        columns |= {name: float(self.fixed[name]) for name in statement.fixed}
        places = None
        if statement.params != self.params:
            places = np.array([self.params.index(name) for name in statement.params])
        return Sample(objective, columns, rows, dropped, places)

    def deviations(self, sigma: Any, data: Any, columns: Mapping[str, Vector]) -> Vector:
        """The standard deviations of the target, one a row."""
        name = sigma if isinstance(sigma, str) else self.sigma if sigma is None else None
        if name is not None:
            found = frames.columns(data, [name])[name]
        elif sigma is None:
            raise ArgumentError("sigma: give the standard deviations of the target at the call, a column's name or an array")
        else:
            found = np.asarray(sigma, float)
        rows = len(next(iter(columns.values())))
        if found.ndim == 0:
            found = np.full(rows, float(found))
        if found.shape != (rows,):
            raise ArgumentError(f"sigma has shape {found.shape}, the data have {rows} rows; give one number a row")
        bad = np.flatnonzero(~(found > 0.0) & ~np.isnan(found))
        if bad.size:
            raise ArgumentError(f"sigma is {found[bad[0]]:g} in row {bad[0] + 1}; a standard deviation is above 0")
        return np.ascontiguousarray(found)

    def beginning(self, start: Any) -> Vector | None:
        """The start as a vector, None where there is none."""
        if start is None:
            return None
        if isinstance(start, Mapping):
            unknown = next((name for name in start if name not in self.params), None)
            if unknown is not None:
                raise ArgumentError(f"start: there is no parameter {unknown!r}{meant(str(unknown), self.params)}")
            found = np.array([start.get(name, np.nan) for name in self.params], float)
            lacking = [name for name in self.params if name not in start]
            if lacking:
                raise ArgumentError(f"start: add {lacking[0]}=..., or leave start out")
        else:
            found = np.array(start, float).reshape(-1)
        if found.shape != (len(self.params),):
            raise ArgumentError(f"start has {found.size} numbers, the parameters are {', '.join(self.params)}")
        if not isfinite(np.add.reduce(found)):
            name = self.params[int(np.flatnonzero(~np.isfinite(found))[0])]
            raise ArgumentError(f"start: {name} is not a finite number")
        return np.minimum(np.maximum(found, self.lower), self.upper)

    # ---- the search

    def best(self, samples: list[Sample], start: Vector | None, count: int, seed: int) -> tuple[Point, int]:
        """The best end of all searches, and how many evaluations they took."""
        rows = sum([s.rows for s in samples])
        free = self.free
        if rows < free and samples[0].statement.likelihood is None:
            raise ArgumentError(f"{free} parameters can't be fitted to {rows} rows; give at least as many rows")
        if type(count) is not int or count < 1:
            raise ArgumentError(f"starts={count!r}: give a whole number from 1")
        problem = Problem(self, samples)
        if start is None or count > 1:
            return starting.search(problem, start, count, seed)
        found = problem.minimum(start)
        if not isfinite(found.loss):
            problem.check(start)
        return found, found.evaluations

    def __repr__(self) -> str:
        return f"<Fitter({', '.join(self.params)}): {'; '.join(o.statement.title for o in self.objectives)}>"


class Problem:
    """A fitter's functions with data: what is minimised, and how."""

    def __init__(self, fitter: Fitter, samples: Sequence[Sample]) -> None:
        self.fitter, self.samples = fitter, samples
        self.size = len(fitter.params)
        self.norm = samples[0].norm if len(samples) == 1 else hypot(*(s.norm for s in samples))
        self.near = self.summed([s.objective.evaluation(s.objective.near, s.columns) for s in samples])

    @once
    def exact(self) -> Evaluate:
        """Cost, gradient and the whole Hessian."""
        return self.summed([s.objective.evaluation(s.objective.exact, s.columns) for s in self.samples])

    def summed(self, parts: Sequence[Evaluate]) -> Evaluate:
        """The sum over the data sets, each in its own parameters."""
        if len(parts) == 1 and self.samples[0].places is None:
            return parts[0]
        places = [np.arange(self.size) if s.places is None else s.places for s in self.samples]
        memory = [(np.zeros(len(p)), np.zeros(len(p) ** 2)) for p in places]

        def evaluate(theta: Vector, gradient: Vector, matrix: Vector) -> float:
            gradient[:] = 0.0
            matrix[:] = 0.0
            total, whole = 0.0, matrix.reshape(self.size, self.size)
            for part, own, (g, m) in zip(parts, places, memory, strict=True):
                code, inputs = part
                total += code(theta[own], g, m, *inputs)
                gradient[own] += g
                whole[np.ix_(own, own)] += m.reshape(len(own), -1)
            return total

        return evaluate, ()

    def loss(self, theta: Vector, gradient: Vector, matrix: Vector) -> float:
        """The loss at a point, with gradient and near matrix filled in."""
        code, inputs = self.near
        return code(theta, gradient, matrix, *inputs)

    def check(self, start: Vector) -> None:
        """Raise ArgumentError for a start at which the model or its derivative is not finite."""
        gradient, matrix = np.zeros(self.size), np.zeros(self.size**2)
        value = self.loss(start, gradient, matrix)
        if np.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(matrix).all():
            return
        given = ", ".join(f"{n}={v:.6g}" for n, v in zip(self.fitter.params, start, strict=True))
        for s in self.samples:
            if s.statement.model is None:
                continue
            theta = start if s.places is None else start[s.places]
            values, jacobian = s.objective.rows(s.objective.prediction, theta, s.columns, s.rows)
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                raise ArgumentError(
                    f"the model is {values[bad[0]]} at the start ({given}) for data row {bad[0] + 1}; choose another start"
                )
        what = "sum of squares" if np.isnan(value) or np.isinf(value) else "derivative"
        raise ArgumentError(f"the {what} is not finite at the start ({given}); choose another start")

    def search(self, evaluate: Evaluate, start: Vector) -> Point:
        """One search from a start."""
        f = self.fitter
        limit = LIMIT * (self.size + 1)
        return f._search.run(evaluate, start, f.lower, f.upper, limit, self.norm)

    def minimum(self, start: Vector) -> Point:
        """The minimum that a search from a start comes to, by the near matrix, then settled and proved by the exact one.

        Where the Hessian has a direction of negative curvature, the search goes on along it.
        """
        evaluations = 0
        near = self.search(self.near, start)
        evaluations += near.evaluations
        for _ in range(SADDLES):
            found = self.search(self.exact, near.theta)
            evaluations += found.evaluations
            if found.is_convex or found.status == tr.RUNNING or not isfinite(found.loss):
                break
            beyond = self.downhill(found)
            if beyond is None:
                break
            near = self.search(self.near, beyond)
            evaluations += near.evaluations
        found.evaluations = evaluations
        found.near = near.matrix
        return found

    def downhill(self, found: Point) -> Vector | None:
        """A point with a smaller loss along the direction of most negative curvature; None if there is none."""
        free = (self.fitter.lower < found.theta) & (found.theta < self.fitter.upper)
        if not free.any() or not np.isfinite(found.matrix).all():
            return None
        scale = np.sqrt(np.maximum(abs(np.diag(found.matrix)), np.finfo(float).tiny))
        scaled = (found.matrix / np.outer(scale, scale))[np.ix_(free, free)]
        values, vectors = np.linalg.eigh(scaled)
        if not values[0] < -1e-10:
            return None
        direction = np.zeros(self.size)
        direction[free] = vectors[:, 0] / scale[free]
        gradient, matrix = np.zeros(self.size), np.zeros(self.size**2)
        best, at = found.loss - 1e-12 * abs(found.loss), None
        length = np.sqrt(abs(found.loss) / -values[0])
        for k in range(40):
            for sign in (1.0, -1.0):
                theta = np.clip(found.theta + sign * length * 0.5**k * direction, self.fitter.lower, self.fitter.upper)
                loss = self.loss(theta, gradient, matrix)
                if loss < best:
                    best, at = loss, theta
            if at is not None:
                return at
        return None


def limits(params: Sequence[str], bounds: Mapping[str, Any]) -> tuple[Vector, Vector]:
    """Lower and upper bounds of all parameters."""
    lower, upper = np.full(len(params), -np.inf), np.full(len(params), np.inf)
    for name, pair in bounds.items():
        if name not in params:
            raise ArgumentError(f"bounds: there is no parameter {name!r}{meant(str(name), params)}")
        try:
            low, high = pair
        except (TypeError, ValueError):
            raise ArgumentTypeError(f"bounds[{name!r}]={pair!r}: give a pair (low, high), None for no bound") from None
        k = params.index(name)
        lower[k], upper[k] = -np.inf if low is None else low, np.inf if high is None else high
        if not lower[k] <= upper[k]:
            raise ArgumentError(f"bounds[{name!r}]={pair!r}: the lower is above the upper")
    return lower, upper


def quick_columns(data: Any, names: Sequence[str]) -> dict[str, Vector] | None:
    """The columns of a dict of float64 arrays of one length, None for anything else, which is looked at with more care."""
    if type(data) is not dict:
        return None
    found: dict[str, Vector] = {}
    length = -1
    for name in names:
        column = data.get(name)
        if type(column) is not np.ndarray or column.dtype != np.float64 or column.ndim != 1:
            return None
        if length not in (-1, len(column)) or not column.flags.c_contiguous:
            return None
        length = len(column)
        found[name] = column
    return found


def complete(columns: dict[str, Vector], missing: str) -> tuple[dict[str, Vector], int]:
    """The rows in which nothing is missing, and how many were left out."""
    total = 0.0
    for column in columns.values():
        total += 0.0 * float(np.add.reduce(column))  # NaN where an entry is, or is infinite
    if total == 0.0 and columns:
        rows = len(next(iter(columns.values())))
        if not rows:
            raise DataError("the data have no rows")
        return columns, 0
    gone = np.zeros(len(next(iter(columns.values()))), bool)
    for name, column in columns.items():
        absent = np.isnan(column)
        if absent.any() and missing == "raise":
            raise DataError(f"column {name!r}: row {int(np.flatnonzero(absent)[0]) + 1} is missing")
        gone |= absent
        infinite = np.isinf(column)
        if infinite.any():
            row = int(np.flatnonzero(infinite)[0])
            raise DataError(f"column {name!r}: row {row + 1} is {column[row]}; a fit takes finite numbers")
    if gone.all():
        raise DataError(f"no row is complete: {len(gone)} of {len(gone)} rows lack an entry of {', '.join(columns)}")
    kept = {name: np.ascontiguousarray(column[~gone]) for name, column in columns.items()}
    return kept, int(gone.sum())


Minimum = Callable[[Vector], Point]
