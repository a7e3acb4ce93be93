"""Estimates of a fit: whether they are a minimum, and the statistics, each computed when asked for."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError, DataError
from gradcompile.once import once
from gradcompile.regression.objective import FACTOR
from gradcompile.regression.problem import Problem, Sample, Terms, are_squares, norm_of
from gradcompile.regression.search import EPS, Point, Vector
from gradcompile.regression.statement import formula

COSINE = 1e-8  # between residual and a column of the Jacobian, at a minimum
VAGUE = 100.0  # times an estimate: a standard error that says nothing of it
FAR = 1e6  # times its start is out of all proportion for a parameter
BLIND = 1e-12  # a singular value relative to the largest, of columns of norm 1, that rounding can't tell from 0


class Estimates:
    """What of a fit follows from its estimates and data alone; `Fit` says what each is."""

    def __init__(self, terms: Terms, samples: Sequence[Sample], point: Point, evaluations: int) -> None:
        self.terms, self.samples = terms, samples
        self.theta, self.loss = point.theta, point.loss
        self.evaluations = evaluations
        self._point, self.start = point, point.start

    # ---- the estimates

    @property
    def params(self) -> dict[str, float]:
        """The estimates by name."""
        return dict(zip(self.terms.params, self.theta.tolist(), strict=True))

    @once
    def stderr(self) -> dict[str, float]:
        """The standard errors by name."""
        with np.errstate(invalid="ignore"):
            return dict(zip(self.terms.params, np.sqrt(np.diag(self.cov)).tolist(), strict=True))

    @property
    def rows(self) -> int:
        """How many rows were fitted."""
        return sum(s.rows for s in self.samples)

    @property
    def dropped(self) -> int:
        """How many rows were left out, as something was missing."""
        return sum(s.dropped for s in self.samples)

    @property
    def dof(self) -> int:
        """Degrees of freedom: rows less parameters that are free."""
        return self.rows - self.terms.free

    def problem(self, samples: Sequence[Sample] | None = None) -> Problem:
        """What was minimised, with the data of the fit or with others."""
        for s in self.samples:
            s.check_unchanged()
        return Problem(self.terms, self.samples if samples is None else samples)

    # ---- whether it is a minimum

    @property
    def converged(self) -> bool:
        """Whether the estimates are a local minimum."""
        return not self._troubles

    @property
    def message(self) -> str:
        """In words: that the search ended at a minimum, or why it did not."""
        return "; ".join(self._troubles) or "a local minimum"

    @once
    def held(self) -> tuple[str, ...]:
        """Parameters on a bound that the loss presses them against."""
        pressed = self.terms.held(self._point.theta, self._point.gradient)
        return tuple(n for n, h in zip(self.terms.params, pressed, strict=True) if h)

    @property
    def corner(self) -> str | None:
        """The parameter along which the loss has a corner at its least value, so that it has no standard error."""
        return None if self._point.corner is None else self.terms.params[self._point.corner]

    @once
    def _held(self) -> Any:
        return np.array([n in self.held or n == self.corner for n in self.terms.params])

    @once
    def _troubles(self) -> tuple[str, ...]:
        point = self._point
        if not np.isfinite(point.loss):
            return (f"the loss is {point.loss} at the best point that was found",)
        found = []
        flat = self._flat()
        if flat:
            found.append(
                f"the search sits on a plateau: the model hardly depends on {', '.join(flat)} here; start elsewhere"
            )
        if point.was_stopped:
            found.append(f"stopped after {self.evaluations} evaluations, still going down; go on from these estimates")
            return tuple(found)
        away = self._away()
        if away and not flat:
            found.append(
                f"{' and '.join(away)} run away: the loss falls towards infinite values, so there is no minimum; "
                "leave a parameter out, or set bounds"
            )
        steep = self._steep()
        if steep and not flat:
            places = [self.terms.params.index(name) for name in steep]
            corners = [self.terms.params[k] for k in self.problem().corners(point, places)]
            rises = "it rises on both sides, but no derivative proves a minimum, and there are no standard errors"
            found.append(
                f"the loss has a corner along {', '.join(corners)} here: {rises}; smooth it, or take bootstrap()"
                if corners
                else f"the loss still falls along {', '.join(steep)}, but no step lowers it; start elsewhere"
            )
        if not point.is_convex and not found and not (self._is_proved and self.problem().downward(point) is None):
            found.append("no minimum: the loss has a direction of negative curvature here; start elsewhere")
        return tuple(found)

    @property
    def _is_proved(self) -> bool:
        """Whether what the Hessian can't tell is known: of squares from the Jacobian, else as it is not determined."""
        return bool(self.undetermined) or are_squares(self.samples)

    def _flat(self) -> list[str]:
        """Parameters whose own size moves no prediction by more than rounding.

        Where the slope is exactly 0, as of b in b**2 at 0, and the Hessian bends upwards, there is a minimum.
        """
        point, problem = self._point, self.problem()
        matrix = point.matrix if point.near is None else point.near
        flat = problem.flat(point.theta, matrix, point.loss, self.start)
        if self._is_likelihood:  # a straight slope has no curvature either
            flat &= abs(point.gradient) * np.maximum(abs(self.theta), 1.0) <= COSINE * problem.scale(point.loss)
        if point.is_convex and flat.any():
            flat &= (point.gradient != 0.0) | problem.flat(point.theta, point.matrix, point.loss, self.start)
        return [n for n, f, h in zip(self.params, flat, self._held, strict=True) if f and not h]

    def _away(self) -> list[str]:
        """Parameters that have grown out of all proportion to their start, and that no data determine, or hardly."""
        grown = (abs(self.theta) > FAR * abs(self.start)) & (self.start != 0.0) & ~self._held
        if not grown.any():
            return []
        lost = {name for direction in self.undetermined for name in direction}
        if not self._is_likelihood and self.dof > 0:
            errors = np.sqrt(np.diag(_normal_inverse(self._triangle)) * abs(self.loss) / self.dof)
            free = [n for n, held in zip(self.params, self._held, strict=True) if not held]
            lost |= {n for n, e in zip(free, errors, strict=True) if e > VAGUE * abs(self.params[n])}
        return [n for n, g in zip(self.params, grown, strict=True) if g and n in lost]

    def _steep(self) -> list[str]:
        """Parameters along which the loss falls by more than rounding."""
        if self._is_likelihood:
            step = abs(self._point.gradient) / np.where(self._norms > 0.0, self._norms, np.inf)
            bound = np.full(len(step), math.sqrt(COSINE * EPS) * max(1.0, math.sqrt(abs(self.loss))) * 1e4)
        else:
            root = math.sqrt(2.0 * self.loss) if self.loss > 0.0 else np.inf
            step = abs(self._point.gradient) / np.where(self._norms > 0.0, self._norms, np.inf) / root
            effects = self._norms * abs(self.theta)
            size = max(norm_of(self.samples), float(np.max(effects)))  # what residuals are rounded by
            bound = np.full(len(step), max(COSINE, 10 * EPS * size / math.sqrt(self.loss) if self.loss else 1.0))
        parts = zip(self.terms.params, step, bound, self._held, strict=True)
        return [n for n, s, b, h in parts if s > b and not h]

    @property
    def _is_likelihood(self) -> bool:
        return self.samples[0].statement.likelihood is not None

    @property
    def _norms(self) -> Vector:
        """The root of the diagonal of the matrix of the search, by which steps are measured."""
        point = self._point
        return np.sqrt(abs(np.diag(point.matrix if point.near is None else point.near)))

    # ---- residuals

    def _parts(self) -> Iterator[tuple[Sample, Vector, Vector]]:
        """Residuals and Jacobian over all parameters, block by block."""
        return self.problem().rows(self.theta)

    @once
    def residuals(self) -> Vector:
        """(target - model)/sigma of each row, one data set after the other."""
        self._no_likelihood("residuals")
        for s in self.samples:
            s.check_rows()
        return np.concatenate([values for _, values, _ in self._parts()])

    def _no_likelihood(self, what: str) -> None:
        if self._is_likelihood:
            raise ArgumentError(f"{what}: a fit of a likelihood has none; fit a model to a target")

    @once
    def _triangle(self) -> Vector:
        """R of the QR factors of the residuals' Jacobian over what is free."""
        free = ~self._held
        found = np.zeros((0, int(free.sum())))
        for _, _, jacobian in self._parts():
            found = np.asarray(np.linalg.qr(np.vstack([found, jacobian[:, free]]), mode="r"))
        return found

    @once
    def chi2(self) -> float:
        """The sum of squares of the residuals."""
        self._no_likelihood("chi2")
        return sum(float(np.add.reduce(v * v)) for _, v, _ in self._parts()) if self._is_robust else self.loss

    @property
    def cost(self) -> float:
        """Half of the sum of the loss over the samples; of a likelihood, minus its logarithm."""
        return self.loss if self._is_likelihood else 0.5 * self.loss

    @property
    def reduced_chi2(self) -> float:
        """chi2 / dof; NaN where there is no degree of freedom."""
        return self.chi2 / self.dof if self.dof > 0 else math.nan

    @once
    def r_squared(self) -> float:
        """1 - chi2 / (weighted sum of squares of the target about its weighted mean)."""
        self._no_likelihood("r_squared")
        total = 0.0
        for s in self.samples:
            unit, scaled = s.spread()
            apart = scaled - float(np.sum(unit * scaled) / np.sum(unit * unit)) * unit
            total += float(np.sum(np.square(apart, out=apart)))
        return 1.0 - self.chi2 / total if total > 0.0 else math.nan

    # ---- information criteria

    @property
    def _free(self) -> int:
        return self.rows - self.dof

    @property
    def _deviance(self) -> float:
        """Minus twice the logarithm of the likelihood, without the constants of a normal distribution."""
        if self._is_likelihood:
            return 2.0 * self.loss
        return self.rows * math.log(self.chi2 / self.rows) if self.chi2 > 0.0 else -math.inf

    @property
    def aic(self) -> float:
        """Akaike's criterion: n log(chi2/n) + 2k for k parameters; of a likelihood L, -2 log L + 2k."""
        return self._deviance + 2 * self._free

    @property
    def aicc(self) -> float:
        """`aic` corrected for few rows: aic + 2k(k + 1)/(n - k - 1)."""
        k, rest = self._free, self.rows - self._free - 1
        return self.aic + 2 * k * (k + 1) / rest if rest > 0 else math.nan

    @property
    def bic(self) -> float:
        """The Bayesian criterion: n log(chi2/n) + k log n."""
        return self._deviance + self._free * math.log(self.rows)

    # ---- covariance

    @once
    def undetermined(self) -> tuple[dict[str, float], ...]:
        """Directions that the data do not determine: what each parameter moves by, the largest by 1, by name."""
        names = [n for n, h in zip(self.terms.params, self._held, strict=True) if not h]
        if not names:
            return ()
        matrix, cut = self._curved
        if not np.isfinite(matrix).all():
            return ()
        scale = np.sqrt(np.maximum(np.diag(matrix.T @ matrix) if cut == BLIND else abs(np.diag(matrix)), 0.0))
        scale[scale == 0.0] = 1.0
        if cut == BLIND:
            _, values, vectors = np.linalg.svd(matrix / scale, full_matrices=True)
            values = np.concatenate([values, np.zeros(len(names) - len(values))])
        else:
            values, columns = np.linalg.eigh(matrix / np.outer(scale, scale))
            vectors, values = columns.T, abs(values)
        found = []
        for value, vector in zip(values, vectors, strict=True):
            if value <= cut * max(float(values.max()), 1e-300):
                direction = vector / scale
                direction = direction / direction[np.argmax(abs(direction * scale))]
                kept = abs(direction * scale) > 1e-6 * np.max(abs(direction * scale))
                found.append({n: float(d) for n, d, k in zip(names, direction, kept, strict=True) if k})
        return tuple(found)

    @property
    def _curved(self) -> tuple[Vector, float]:
        """What curvature is read from, with the relative size at which it is rounding: R, or the Hessian."""
        if self._is_likelihood or self._is_robust:
            return self._curvature, len(self.theta) * 1e-14
        return self._triangle, BLIND

    @property
    def _is_robust(self) -> bool:
        return self.samples[0].statement.loss != "linear"

    @once
    def cov(self) -> Vector:
        """The covariance of the estimates; NaN in the rows of what is not determined."""
        free = ~self._held
        if not free.any() or not self.converged:
            return self._among_all(np.full((int(free.sum()),) * 2, np.nan))
        if self._is_likelihood:
            inner = _inverse_of(self._curvature)
        elif self._is_robust:
            inner = self._sandwich(_inverse_of(0.5 * self._curvature))
        else:
            scale = 1.0 if self.terms.absolute_sigma else self.reduced_chi2
            inner = scale * _normal_inverse(self._triangle)
        names = [n for n, f in zip(self.terms.params, free, strict=True) if f]
        lost = [k for k, n in enumerate(names) if any(n in d for d in self.undetermined)]
        inner[lost, :] = np.nan
        inner[:, lost] = np.nan
        return self._among_all(inner)

    @once
    def cov_robust(self) -> Vector:
        """The covariance that holds whatever the noise: (J'J)^-1 (sum of r^2 J'J by row) (J'J)^-1 n/dof (HC1)."""
        self._no_likelihood("cov_robust")
        return self.cov if self._is_robust else self._among_all(self._sandwich(_normal_inverse(self._triangle)))

    @property
    def _curvature(self) -> Vector:
        """The Hessian over what is free."""
        return np.asarray(self._point.matrix[np.ix_(~self._held, ~self._held)])

    def _among_all(self, inner: Vector) -> Vector:
        """A matrix over what is free as one over all parameters, NaN elsewhere."""
        found = np.full((len(self.theta),) * 2, np.nan)
        found[np.ix_(~self._held, ~self._held)] = inner
        return found

    def _sandwich(self, inverse: Vector) -> Vector:
        """The outer products of the samples' gradients, of half the loss, between inverses of its Hessian."""
        free = ~self._held
        middle = np.zeros((int(free.sum()),) * 2)
        for s, values, jacobian in self._parts():
            slopes = 0.5 * s.objective.influence(np.ascontiguousarray(values)) if self._is_robust else values
            weighted = slopes[:, None] * jacobian[:, free]
            middle += weighted.T @ weighted
        return inverse @ middle @ inverse * (self.rows / self.dof if self.dof > 0 else math.nan)

    @once
    def cor(self) -> Vector:
        """The correlation of the estimates."""
        errors = np.array(list(self.stderr.values()))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.cov / np.outer(errors, errors))

    @once
    def leverage(self) -> Vector:
        """How much each row's own value moves its prediction: the diagonal of J (J'J)^-1 J'."""
        self._no_likelihood("leverage")
        inverse = _normal_inverse(self._triangle)
        free = ~self._held
        return np.concatenate([np.einsum("ij,jk,ik->i", j[:, free], inverse, j[:, free]) for _, _, j in self._parts()])

    # ---- intervals

    def quantile(self, level: float) -> float:
        """How many standard errors an interval of this level has on each side: of t, or of the normal distribution."""
        from scipy import stats

        if not isinstance(level, float | np.floating) or not 0.0 < level < 1.0:
            raise ArgumentError(f"level={level!r}: give a probability between 0 and 1, such as 0.95")
        if self.terms.absolute_sigma or self._is_likelihood:
            return float(stats.norm.ppf(0.5 + 0.5 * level))
        return float(stats.t.ppf(0.5 + 0.5 * level, self.dof)) if self.dof > 0 else math.nan

    # ---- what follows from the estimates

    def predict(self, data: Any = None, *, part: int = 0) -> Vector:
        """The model at the estimates: one value a row of the data, of those that were fitted if left out."""
        return np.array(self._predicted(data, part)[0])

    def _predicted(self, data: Any, part: int) -> tuple[Vector, Vector]:
        """Values and Jacobian over all parameters."""
        from gradcompile.runtime import frames

        self._no_likelihood("predict")
        if part not in range(len(self.samples)):
            raise ArgumentError(f"part={part!r}: choose from {', '.join(map(str, range(len(self.samples))))}")
        sample = self.samples[part]
        s, objective = sample.statement, sample.objective
        columns, rows = sample.columns, sample.rows
        if data is None:
            sample.check_unchanged()
        else:
            found: Mapping[str, Any] = frames.columns(data, s.predictors)
            some = found or frames.columns(data, frames.names(data)[:1])
            if not some:
                raise DataError("the data have no columns, so there are no rows to predict")
            rows = len(next(iter(some.values())))
            columns = {**found, **{n: columns[n] for n in s.fixed}}
        values, jacobian = objective.rows(objective.prediction, sample.own(self.theta), columns, rows)
        return values, sample.among_all(jacobian, len(self.theta))

    def band(
        self, data: Any = None, level: float = 0.95, kind: str = "confidence", *, sigma: Any = None, part: int = 0
    ) -> tuple[Vector, Vector]:
        """The band about the prediction: (low, high), one value a row.

        kind: "confidence", where the curve is; "prediction", where a new value of the target is, whose own variance is
        sigma^2 (sigma: of the new rows; 1 where all weigh the same) times the reduced chi2, unless `absolute_sigma`.
        """
        if kind not in ("confidence", "prediction"):
            raise ArgumentError(f"kind={kind!r}: choose 'confidence' or 'prediction'")
        values, jacobian = self._predicted(data, part)
        known = ~np.isnan(np.diag(self.cov))
        moved = ~known & ~self._held
        cov = np.where(np.isnan(self.cov), 0.0, self.cov)
        variance = np.einsum("ij,jk,ik->i", jacobian, cov, jacobian)
        variance = np.where((jacobian[:, moved] != 0.0).any(axis=1), np.nan, variance)
        if kind == "prediction":
            own = self._own_sigma(sigma, data, part, len(values))
            variance = variance + own**2 * (1.0 if self.terms.absolute_sigma else self.reduced_chi2)
        width = self.quantile(level) * np.sqrt(variance)
        return values - width, values + width

    def _own_sigma(self, sigma: Any, data: Any, part: int, rows: int) -> Vector:
        sample = self.samples[part]
        if sigma is not None:
            found = np.asarray(sigma, float)
            if found.shape not in ((), (rows,)):
                raise ArgumentError(f"band: sigma has shape {found.shape}, the data have {rows} rows")
            return np.broadcast_to(found, (rows,))
        if sample.statement.sigma is None and FACTOR not in sample.columns:
            return np.ones(rows)
        if data is None:
            return sample.deviations()
        raise ArgumentError("band: give sigma=, the standard deviations of the new values, as the fit had them")

    def derived(self, expression: Any) -> tuple[float, float]:
        """A formula of the parameters, such as "a/b": its value and standard error, by the delta method.

        A parameter that a bound holds, or a corner of the loss, counts as known, as it does in `band`.
        """
        from gradcompile.compile import compile_grad

        expr, title, _ = formula(expression, "derived", [*self.params, *self.terms.fixed])
        tied = {n: tie for s in self.samples for n, tie in s.statement.tied.items()}
        ties = {s: tied[s.name] for s in expr.free_symbols if s.name in tied}
        expr = expr.xreplace(ties)
        known = {**self.terms.fixed, **self.params}
        symbols = sorted(expr.free_symbols, key=lambda s: str(s.name))
        unknown = next((s.name for s in symbols if s.name not in known), None)
        if unknown is not None:
            raise ArgumentError(f"derived({title!r}): there is no parameter {unknown!r}; there are {', '.join(known)}")
        free = [s for s in symbols if s.name in self.params]
        if not free:
            return float(expr.xreplace({s: known[s.name] for s in symbols})), 0.0
        f = compile_grad(expr, free, inputs=[s for s in symbols if s not in free] or None)
        value, slopes = f(*(known[s.name] for s in [*free, *(s for s in symbols if s not in free)]))
        moving = [k for k, s in enumerate(free) if s.name not in self.held and s.name != self.corner]
        places = [self.terms.params.index(free[k].name) for k in moving]
        slope = np.array(slopes)[moving]
        return value, math.sqrt(slope @ self.cov[np.ix_(places, places)] @ slope)


def _normal_inverse(triangle: Vector) -> Vector:
    """(R'R)^-1, on columns of norm 1; a direction that the data don't see is left out."""
    norms = np.linalg.norm(triangle, axis=0)
    norms[norms == 0.0] = 1.0
    half = np.linalg.pinv(triangle / norms, rcond=BLIND)
    return np.asarray(half @ half.T / np.outer(norms, norms))


def _inverse_of(matrix: Vector) -> Vector:
    """The inverse of a symmetric matrix, scaled to a diagonal of 1."""
    scale = np.sqrt(np.maximum(abs(np.diag(matrix)), 1e-300))
    units = np.outer(scale, scale)
    return np.asarray(np.linalg.pinv(matrix / units, hermitian=True, rcond=1e-14) / units)
