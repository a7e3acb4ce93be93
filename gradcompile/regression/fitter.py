"""A fit that is compiled once and run for any data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError, ArgumentTypeError, DataError, GradcompileError
from gradcompile.optim.answers import whole
from gradcompile.regression import starts as starting
from gradcompile.regression.objective import FACTOR, Correlated, Objective, Orthogonal
from gradcompile.regression.problem import Problem, Sample, Terms
from gradcompile.regression.result import Fit
from gradcompile.regression.scattered import Scattered, ScatteredSample, is_scattered
from gradcompile.regression.search import Point, Vector, machine
from gradcompile.regression.statement import Statement, meant_or_known
from gradcompile.runtime import frames
from gradcompile.signature.choices import Missing
from gradcompile.tracebacks import shorten

FLOAT = np.dtype(float)


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
        sigma_x: Mapping[str, Any] | None = None,
    ) -> None:
        self.sigma_x = spreads(statements, {} if sigma_x is None else sigma_x)
        self.objectives = [self.objective(s) for s in statements]
        self.correlated: dict[Objective, Correlated] = {}
        self.params = tuple(params)
        self.settled = settled(statements)
        ends = limits(self.params, bounds or {}, self.settled)
        self.terms = Terms(self.params, *ends, numbers(fixed or {}), absolute_sigma)
        self.sigma = sigma

    def objective(self, statement: Statement) -> Objective:
        """What is minimised of a data set."""
        uncertain = [name for name in self.sigma_x if name in statement.predictors]
        if uncertain and (statement.loss != "linear" or statement.likelihood is not None):
            raise ArgumentError("sigma_x: orthogonal distance is for least squares; leave loss= out")
        return Orthogonal(statement, uncertain) if uncertain else Objective(statement)

    def __call__(
        self,
        data: Any,
        *,
        start: Any = None,
        sigma: Any = None,
        starts: int = 1,
        seed: int = 0,
        missing: Missing = "drop",
    ) -> Fit:
        """Fit to data: a mapping of names to columns, a structured array, or a frame of pandas, polars or pyarrow.

        start: where the search begins, by name or in the order of `params`; found where it is left out. sigma: the
        standard deviations of the target, a column's name or an array. starts: how many places to search from; seed: of
        those that are drawn. missing: rows in which something is missing are left out ("drop") or an error ("raise").
        """
        try:
            first = self.beginning(start)
            samples = [self.scattered(data, sigma, first)] if is_scattered(data) else self.samples(data, sigma, missing)
            found, count = self.best(samples, first, starts, seed)
            for s in samples:
                s.settle(found.theta)
            return Fit(self.terms, samples, found, count)
        except GradcompileError as error:
            shorten(error)
            raise

    def scattered(self, data: Any, sigma: Any, start: Vector | None) -> Sample:
        """One data set on a cluster."""
        if len(self.objectives) > 1 or self.sigma_x:
            raise ArgumentError("data: over a cluster there is one data set, without sigma_x")
        if start is None:
            raise ArgumentError("start: over a cluster give where the search begins, such as that of a fit to a sample")
        statement = self.objectives[0].statement
        fixed = [float(self.terms.fixed[name]) for name in statement.fixed]
        objective = Scattered(statement, data, self.sigma if sigma is None else sigma, fixed)
        return ScatteredSample(objective, start, None)

    def samples(self, data: Any, sigma: Any = None, missing: Missing = "drop") -> list[Sample]:
        """The data of each part, checked."""
        if missing not in ("drop", "raise"):
            raise ArgumentError(f"missing={missing!r}: choose 'drop' or 'raise'")
        if len(self.objectives) == 1:
            return [self.sample(self.objectives[0], data, sigma, missing)]
        given = list(data)
        weights = list(sigma) if isinstance(sigma, list | tuple) else [sigma] * len(given)
        return [self.sample(o, d, s, missing) for o, d, s in zip(self.objectives, given, weights, strict=True)]

    def sample(self, objective: Objective, data: Any, sigma: Any, missing: str) -> Sample:
        """One data set with its columns."""
        statement = objective.statement
        quick = quick_columns(data, statement.columns)
        columns: dict[str, Any] = frames.columns(data, statement.columns) if quick is None else quick
        covariance = None if sigma is None else covariance_of(sigma)
        if statement.sigma is not None and covariance is None:
            columns[statement.sigma.name] = self.deviations(sigma, data, columns)
        elif sigma is not None and statement.sigma is None:
            raise ArgumentError("sigma: this fit was compiled without; say compile_fit(..., sigma=True)")
        if isinstance(objective, Orthogonal):
            for name, place in objective.spreads.items():
                columns[place] = spread_of(self.sigma_x[name], f"sigma_x[{name!r}]", data, columns)
        columns, gone, marks = complete(columns, missing)
        rows = len(next(iter(columns.values())))
        if covariance is not None:
            objective = self.with_covariance(objective)
            columns[FACTOR] = factor_of(covariance, gone, rows)
        places = None
        if statement.params != self.params:
            places = np.array([self.params.index(name) for name in statement.params])
        given: dict[str, Any] = columns
        for name in statement.fixed:
            given[name] = float(self.terms.fixed[name])
        return Sample(objective, given, rows, 0 if gone is None else int(gone.sum()), places, marks)

    def with_covariance(self, objective: Objective) -> Correlated:
        """The same with correlated errors."""
        if isinstance(objective, Orthogonal) or objective.statement.loss != "linear":
            raise ArgumentError("sigma: a covariance is for least squares; give standard deviations or no loss=")
        if objective not in self.correlated:
            self.correlated[objective] = Correlated(replace(objective.statement, sigma=None))
        return self.correlated[objective]

    def deviations(self, sigma: Any, data: Any, columns: Mapping[str, Vector]) -> Vector:
        """The standard deviations of the target, one a row."""
        sigma = self.sigma if sigma is None else sigma
        if sigma is None:
            raise ArgumentError("sigma: give the target's standard deviations at the call, a column's name or an array")
        return spread_of(sigma, "sigma", data, columns)

    def beginning(self, start: Any) -> Vector | None:
        """The start as a vector, None where there is none."""
        if start is None:
            return None
        if type(start) is not np.ndarray and isinstance(start, Mapping):
            unknown = next((name for name in start if name not in self.params), None)
            if unknown is not None:
                raise no_parameter("start", unknown, self.params, self.settled)
            found = vector([start.get(name, np.nan) for name in self.params])
            lacking = [name for name in self.params if name not in start]
            if lacking:
                raise ArgumentError(f"start: add {lacking[0]}=..., or leave start out")
        else:
            found = vector(start)
            found = found if found.ndim == 1 else found.reshape(-1)
        if found.shape != (len(self.params),):
            raise ArgumentError(f"start has {found.size} numbers, the parameters are {', '.join(self.params)}")
        if not isfinite(machine.square_sum(found)):
            name = self.params[int(np.flatnonzero(~np.isfinite(found))[0])]
            raise ArgumentError(f"start: {name} is not a finite number")
        terms = self.terms
        return np.minimum(np.maximum(found, terms.lower), terms.upper) if terms.is_bounded else found

    # ---- the search

    def best(self, samples: list[Sample], start: Vector | None, count: int, seed: int) -> tuple[Point, int]:
        """The best end of all searches, and how many evaluations they took."""
        rows = sum([s.rows for s in samples])
        free = self.terms.free
        if rows < free and samples[0].statement.likelihood is None:
            raise ArgumentError(f"{free} parameters can't be fitted to {rows} rows; give at least as many rows")
        whole("starts", count)
        self.check_range(samples)
        memory = self.terms.borrow()
        problem = Problem(self.terms, samples, memory)
        try:
            if start is None or count > 1:
                return starting.search(problem, start, count, seed)
            found = problem.minimum(start)
            if not isfinite(found.loss + machine.square_sum(found.gradient)):
                problem.check(start)
        finally:
            self.terms.give_back(memory)
        return found, found.evaluations

    def check_range(self, samples: Sequence[Sample]) -> None:
        """Raise ArgumentError for a target that is not finite, or whose squares leave the range of floats."""
        for s in samples:
            if s.statement.target is None or 1e-280 < s.norm * s.norm < 1e300 or not s.target.any():
                continue
            bad = np.flatnonzero(~np.isfinite(s.target))
            if bad.size:
                row = int(bad[0])
                what = f"the target {s.statement.target} is {s.target[row]} in row {row}"
                raise DataError(f"{what}; leave the row out").about(row)
            largest = float(abs(s.target).max())
            unit = "" if s.statement.sigma is None else " in units of sigma"
            raise ArgumentError(
                f"the target {s.statement.target} has values about {largest:.2g}, whose squares{unit} leave the range "
                "of floats; fit it in another unit, such as target divided by its largest value"
            )

    def __repr__(self) -> str:
        return f"<Fitter({', '.join(self.params)}): {'; '.join(o.statement.title for o in self.objectives)}>"


def settled(statements: Sequence[Statement]) -> dict[str, str]:
    """What is said of names that look like parameters and are none."""
    found = {name: "is fixed" for s in statements for name in s.fixed}
    return {**found, **{name: f"is tied to {tie}" for s in statements for name, tie in s.tied.items()}}


def no_parameter(option: str, name: Any, params: Sequence[str], others: Mapping[str, str]) -> ArgumentError:
    """The error for something that is given for no parameter; others: what is said of names that might be some."""
    if name in others:
        return ArgumentError(f"{option}: {name!r} {others[name]}; leave it out of one of the two")
    return ArgumentError(f"{option}: there is no parameter {name!r}{meant_or_known(str(name), params)}")


def limits(params: Sequence[str], bounds: Mapping[str, Any], others: Mapping[str, str]) -> tuple[Vector, Vector]:
    """Lower and upper bounds of all parameters; others: what is said of names that are none."""
    lower, upper = np.full(len(params), -np.inf), np.full(len(params), np.inf)
    for name, pair in mapping(bounds, "bounds").items():
        if name not in params:
            raise no_parameter("bounds", name, params, others)
        try:
            low, high = pair
            k = params.index(name)
            lower[k], upper[k] = -np.inf if low is None else low, np.inf if high is None else high
        except (TypeError, ValueError):
            raise ArgumentTypeError(f"bounds[{name!r}]={pair!r}: give a pair (low, high), None for no bound") from None
        if not lower[k] <= upper[k]:
            raise ArgumentError(f"bounds[{name!r}]={pair!r}: the lower is above the upper")
    return lower, upper


def mapping(given: Any, what: str) -> Mapping[str, Any]:
    """An argument that is given by name, or ArgumentTypeError."""
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(f"{what} is of type {type(given).__name__}; give it by name: {what}={{'a': ...}}")
    return given


def numbers(fixed: Any) -> dict[str, float]:
    """Numbers that are given, by name."""
    found = {}
    for name, value in mapping(fixed, "fixed").items():
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            raise ArgumentTypeError(f"fixed[{name!r}]={value!r}: give a number") from None
        if not isfinite(found[name]):
            raise ArgumentError(f"fixed[{name!r}]={value!r}: give a finite number")
    return found


def vector(start: Any) -> Vector:
    """A start as an array of numbers."""
    try:
        return np.array(start, float)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"start={start!r}: give one number for each parameter") from None


def spreads(statements: Sequence[Statement], sigma_x: Any) -> dict[str, Any]:
    """The standard deviations of predictors, by name; each is in some model."""
    known = list(dict.fromkeys(name for s in statements for name in s.predictors))
    unknown = next((name for name in mapping(sigma_x, "sigma_x") if name not in known), None)
    if unknown is not None:
        raise ArgumentError(f"sigma_x: the model has no column {unknown!r}{meant_or_known(str(unknown), known)}")
    return dict(sigma_x)


def covariance_of(sigma: Any) -> Any:
    """The covariance of the target if that is what was given, None for all else."""
    if isinstance(sigma, list | tuple) and sigma and isinstance(sigma[0], list | tuple):
        try:
            sigma = np.array(sigma, float)
        except (TypeError, ValueError):
            raise ArgumentTypeError("sigma: a covariance is a square array of numbers") from None
    return sigma if isinstance(sigma, np.ndarray) and sigma.ndim == 2 else None


def spread_of(given: Any, what: str, data: Any, columns: Mapping[str, Vector]) -> Vector:
    """Standard deviations, one a row: a column's name, an array, or one number for all."""
    rows = len(next(iter(columns.values())))
    if isinstance(given, str):
        found = frames.columns(data, [given])[given]
    elif isinstance(given, int | float | np.number) or getattr(given, "shape", None) == ():
        found = np.full(rows, float(given))
    else:
        found = frames.floats(given, what)
    if found.shape != (rows,):
        raise ArgumentError(f"{what} has shape {found.shape}, the data have {rows} rows; give one number a row")
    bad = np.flatnonzero(~(found > 0.0) & ~np.isnan(found))
    if bad.size:
        row = int(bad[0])
        raise ArgumentError(f"{what} is {found[row]:g} in row {row}; a standard deviation is above 0").about(row)
    return np.ascontiguousarray(found)


def factor_of(covariance: Vector, gone: Any, rows: int) -> Vector:
    """The lower Cholesky factor of a covariance of the target, without rows that were left out."""
    fits = gone is not None and covariance.shape == (len(gone), len(gone))
    kept = covariance[np.ix_(~gone, ~gone)] if fits else covariance
    if kept.shape != (rows, rows):
        raise ArgumentError(f"sigma has shape {covariance.shape}, which does not fit {rows} rows")
    if not np.isfinite(kept).all():
        row, column = map(int, np.argwhere(~np.isfinite(kept))[0])
        raise ArgumentError(f"sigma: the covariance is {kept[row, column]} at [{row}, {column}]; give finite numbers")
    if not np.allclose(kept, kept.T, rtol=1e-10, atol=0.0):
        raise ArgumentError("sigma: a covariance is symmetric")
    try:
        return np.asarray(np.linalg.cholesky(kept))
    except np.linalg.LinAlgError as error:
        raise ArgumentError("sigma: a covariance is positive definite; its eigenvalues are not all above 0") from error


def quick_columns(data: Any, names: Sequence[str]) -> dict[str, Vector] | None:
    """The columns of a dict of float64 arrays of one length, None for anything else, which needs more care."""
    if type(data) is not dict:
        return None
    found: dict[str, Vector] = {}
    length = -1
    for name in names:
        column = data.get(name)
        if type(column) is not np.ndarray or column.dtype is not FLOAT or not column.flags.c_contiguous:
            return None
        shape = column.shape
        if len(shape) != 1 or length not in (-1, shape[0]):
            return None
        (length,) = shape
        found[name] = column
    return found


def complete(columns: dict[str, Vector], missing: str) -> tuple[dict[str, Vector], Any, dict[str, float]]:
    """The rows in which nothing is missing; which were left out, None if none; and the columns' fingerprints."""
    marks = {name: machine.fingerprint(column) for name, column in columns.items()}
    if isfinite(sum(marks.values())):
        if not len(next(iter(columns.values()))):
            raise DataError("the data have no rows")
        return columns, None, marks
    gone = np.zeros(len(next(iter(columns.values()))), bool)
    for name, column in columns.items():
        absent = np.isnan(column)
        if absent.any() and missing == "raise":
            raise DataError(f"column {name!r}: row {int(np.flatnonzero(absent)[0])} is missing")
        gone |= absent
        infinite = np.isinf(column)
        if infinite.any():
            row = int(np.flatnonzero(infinite)[0])
            raise DataError(f"column {name!r}: row {row} is {column[row]}; a fit takes finite numbers").about(row)
    if not gone.any():  # the sum alone has left the range of floats
        return columns, None, marks
    if gone.all():
        raise DataError(f"no row is complete: {len(gone)} of {len(gone)} rows lack an entry of {', '.join(columns)}")
    kept = {name: np.ascontiguousarray(column[~gone]) for name, column in columns.items()}
    return kept, gone, {name: machine.fingerprint(column) for name, column in kept.items()}
