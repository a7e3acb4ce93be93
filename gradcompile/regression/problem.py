"""What is minimised in a fit, with its data, and how: the search, and the proof that it ended at a minimum."""

from collections.abc import Iterator, Mapping, Sequence
from math import hypot, isfinite, sqrt
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError, DataError
from gradcompile.regression.objective import FACTOR, Objective, whitened
from gradcompile.regression.search import EPS, Evaluation, Point, Search, Vector, machine
from gradcompile.regression.statement import Statement

LIMIT = 500  # evaluations for each parameter and one more, before a search is given up
RADII = (100.0, 1.0, 0.01)  # of the first step, in lengths of the start: the next where one has led astray
REFINED = 100  # steps by a triangle of the Jacobian, at most
NEARBY = (1e-3, 1e-6, 1e-8)  # of a parameter's size: how far off a corner may be, and where its two slopes are compared
SADDLES = 4  # directions of negative curvature that a search follows before it is given up


class Terms:
    """The parameters of a fit: their names and bounds, numbers that are given, and whether sigma is known."""

    def __init__(
        self, params: Sequence[str], lower: Vector, upper: Vector, fixed: Mapping[str, float], absolute_sigma: bool
    ) -> None:
        self.params, self.lower, self.upper = tuple(params), lower, upper
        self.fixed, self.absolute_sigma = dict(fixed), absolute_sigma
        self.free = int(np.sum(lower < upper))
        self.is_bounded = bool(np.isfinite(lower).any() or np.isfinite(upper).any())
        self._spare: list[Search] = []

    def __getstate__(self) -> dict[str, Any]:
        """Without memory for searches, which is made again."""
        return {**vars(self), "_spare": []}

    def held(self, theta: Vector, gradient: Vector) -> Any:
        """Which parameters a bound holds: the loss falls beyond it, or there is no room between two.

        One on a bound with no slope is free: its curvature says whether the loss falls inwards.
        """
        pressed = ((theta <= self.lower) & (gradient > 0.0)) | ((theta >= self.upper) & (gradient < 0.0))
        return pressed | (self.lower >= self.upper)

    def borrow(self) -> Search:
        """Memory for searches that nobody else uses, as several threads may fit at a time."""
        try:
            return self._spare.pop()
        except IndexError:
            return Search(self.lower, self.upper)

    def give_back(self, search: Search) -> None:
        """The memory of a search that has ended, to be used again."""
        self._spare.append(search)


class Sample:
    """A data set's part of a fit with its data: the columns by name, how many rows, how many of them were left out.

    places: of its parameters among all, None where they are all. norm: of the target, in units of sigma, which is what
    residuals are rounded by. marks: fingerprints of the columns, which are the user's where nothing was left out.
    """

    __slots__ = ("columns", "dropped", "marks", "norm", "objective", "places", "rows", "statement", "target")

    def __init__(
        self,
        objective: Objective,
        columns: Mapping[str, Any],
        rows: int,
        dropped: int,
        places: Any,
        marks: Mapping[str, float],
    ) -> None:
        self.objective, self.columns, self.rows, self.dropped, self.places = objective, columns, rows, dropped, places
        self.statement: Statement = objective.statement
        self.marks = marks
        goal: Any = self.statement.target
        self.target, self.norm = np.empty(0), 0.0
        if goal is not None:
            self.target = columns[goal.name] if objective.has_plain_target else evaluated(goal, columns)
            self.norm = sqrt(machine.square_sum(self.scaled(self.target)))

    def check_unchanged(self) -> None:
        """Raise DataError if somebody has written into a column since."""
        for name, mark in self.marks.items():
            found = machine.fingerprint(self.columns[name])
            if found != mark and (isfinite(found) or isfinite(mark)):
                raise DataError(
                    f"column {name!r} has other values than when it was fitted; what is computed of a fit needs the "
                    "data as they were: ask for it before, or fit a copy"
                )

    def scaled(self, values: Vector) -> Vector:
        """Values of the target's kind in units of sigma."""
        sigma = self.statement.sigma
        found = values if sigma is None else values / self.columns[sigma.name]
        return whitened(self.columns[FACTOR], found) if FACTOR in self.columns else found

    def check_rows(self) -> None:
        """Raise ArgumentError where the rows are not at hand."""

    def settle(self, theta: Vector) -> None:
        """Have what statistics at an estimate need, where that is not at hand."""

    def spread(self) -> tuple[Vector, Vector]:
        """1 and the target in units of sigma, a row each."""
        return self.scaled(np.ones(self.rows)), self.scaled(self.target)

    def deviations(self) -> Vector:
        """The standard deviations of the target that the fit was given, one a row."""
        if FACTOR in self.columns:
            return np.asarray(np.linalg.norm(self.columns[FACTOR], axis=1))
        assert self.statement.sigma is not None
        return np.asarray(self.columns[self.statement.sigma.name])

    def own(self, theta: Vector) -> Vector:
        """Its own parameters of all."""
        return theta if self.places is None else np.asarray(theta[self.places])

    def among_all(self, jacobian: Vector, size: int) -> Vector:
        """Derivatives by its own parameters as derivatives by so many."""
        if self.places is None:
            return jacobian
        whole = np.zeros((len(jacobian), size))
        whole[:, self.places] = jacobian
        return whole

    def with_columns(self, columns: Mapping[str, Any]) -> "Sample":
        """The same of other data, which are nobody else's."""
        return Sample(self.objective, columns, self.rows, self.dropped, self.places, {})


def evaluated(expr: Any, columns: Mapping[str, Any]) -> Vector:
    """A formula of columns alone."""
    from gradcompile.compile import compile_value

    symbols = sorted(expr.free_symbols, key=lambda s: str(s.name))
    found = compile_value(expr, data=symbols)(*(columns[s.name] for s in symbols))
    return np.asarray(found, float)


def norm_of(samples: Sequence[Sample]) -> float:
    """The norm of all targets, in units of sigma."""
    return samples[0].norm if len(samples) == 1 else hypot(*(s.norm for s in samples))


def are_squares(samples: Sequence[Sample]) -> bool:
    """Whether a sum of squares is minimised."""
    return all(s.statement.likelihood is None and s.statement.loss == "linear" for s in samples)


class Problem:
    """The functions of a fit with its data."""

    def __init__(self, terms: Terms, samples: Sequence[Sample], memory: Search | None = None) -> None:
        self.terms, self.samples = terms, samples
        self.size = len(terms.params)
        self.norm = norm_of(samples)
        self.near = self.summed([s.objective.evaluation(s.columns, s.rows, exact=False) for s in samples])
        self._memory = memory
        self._exact: Evaluation | None = None

    @property
    def memory(self) -> Search:
        """Memory for its searches: what it was given, or of its own."""
        if self._memory is None:
            self._memory = Search(self.terms.lower, self.terms.upper)
        return self._memory

    @property
    def exact(self) -> Evaluation:
        """Cost, gradient and the whole Hessian."""
        if self._exact is None:
            self._exact = self.summed([s.objective.evaluation(s.columns, s.rows, exact=True) for s in self.samples])
        return self._exact

    def summed(self, parts: Sequence[Evaluation]) -> Evaluation:
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
                total += part.code(theta[own], g, m, *part.inputs)
                gradient[own] += g
                whole[np.ix_(own, own)] += m.reshape(len(own), -1)
            return total

        return Evaluation(evaluate)

    def loss(self, theta: Vector, gradient: Vector, matrix: Vector) -> float:
        """The loss at a point, with gradient and near matrix filled in."""
        return self.near.code(theta, gradient, matrix, *self.near.inputs)

    def check(self, start: Vector) -> None:
        """Raise ArgumentError for a start at which the model or its derivative is not finite."""
        gradient, matrix = np.zeros(self.size), np.zeros(self.size**2)
        value = self.loss(start, gradient, matrix)
        if np.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(matrix).all():
            return
        given = ", ".join(f"{n}={v:.6g}" for n, v in zip(self.terms.params, start, strict=True))
        for s in self.samples:
            if s.statement.model is None:
                continue
            values, _ = s.objective.rows(s.objective.prediction, s.own(start), s.columns, s.rows)
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                row, kept = int(bad[0]), " of those that are complete" if s.dropped else ""
                raise ArgumentError(
                    f"the model is {values[row]} at the start ({given}) in row {row}{kept}; choose another start"
                ).about(row)
        what = "sum of squares" if np.isnan(value) or np.isinf(value) else "derivative"
        raise ArgumentError(f"the {what} is not finite at the start ({given}); choose another start")

    def search(self, evaluate: Evaluation, start: Vector, radius: float = RADII[0]) -> Point:
        """One search from a start."""
        return self.memory.run(evaluate, start, LIMIT * (self.size + 1), self.norm, radius)

    def flat(self, theta: Vector, matrix: Vector, loss: float, start: Vector) -> Any:
        """Which parameters could change by their own size, and no prediction by more than rounding.

        The size is that at the start if it is larger, so that an estimate may be 0.
        """
        norms = np.sqrt(abs(matrix.diagonal()))
        free = self.terms.lower < self.terms.upper
        own = np.maximum(abs(theta), np.where(start == 0.0, 1.0, abs(start)))
        return free & (norms * own <= EPS * self.scale(loss))

    def scale(self, loss: float) -> float:
        """The size that changes of predictions are measured by; of a logarithm of likelihood, changes by 1 count."""
        least = 0.0 if self.samples[0].statement.likelihood is None else 1.0
        return max(self.norm, sqrt(abs(loss)), least)

    def corners(self, found: Point, places: Sequence[int]) -> dict[int, float]:
        """Of these parameters, those along which the slope jumps from falling to rising close by, and where it does."""
        gradient, matrix = np.zeros(self.size), np.zeros(self.size**2)

        def slope(k: int, value: float) -> float:
            theta = found.theta.copy()
            theta[k] = min(max(value, self.terms.lower[k]), self.terms.upper[k])
            self.loss(theta, gradient, matrix)
            return float(gradient[k])

        jumps = {}
        for k in places:
            at, size = float(found.theta[k]), max(abs(found.theta[k]), abs(found.start[k]) or 1.0)
            low, high = at - NEARBY[0] * size, at + NEARBY[0] * size
            if slope(k, low) < 0.0 < slope(k, high):
                while low < (at := 0.5 * (low + high)) < high:
                    low, high = (at, high) if slope(k, at) < 0.0 else (low, at)
                below, above = ([slope(k, high + sign * h * size) for h in NEARBY[1:]] for sign in (-1.0, 1.0))
                if below[1] < 0.5 * below[0] < 0.0 < 0.5 * above[0] < above[1]:
                    jumps[k] = high
        return jumps

    def settle_at_corner(self, found: Point) -> int:
        """Where one parameter has the search stuck at a corner of the loss, find the minimum over the others.

        It is a minimum of all if the corner is one there too: the loss rises on both sides, and the others have no
        slope. How many evaluations that took.
        """
        places = self.corners(found, np.flatnonzero(~self.terms.held(found.theta, found.gradient)).tolist())
        if len(places) != 1:
            return 0
        ((k, value),) = places.items()
        lower, upper, start = self.terms.lower.copy(), self.terms.upper.copy(), found.theta.copy()
        start[k] = lower[k] = upper[k] = value
        point = Search(lower, upper).run(self.exact, start, LIMIT * (self.size + 1), self.norm)
        if point.loss <= found.loss:
            found.theta, found.loss, found.gradient = point.theta, point.loss, point.gradient
            found.matrix, found.near = point.matrix, self.at(point.theta).matrix
            found.is_convex, found.was_stopped = point.is_convex, point.was_stopped
            found.corner = next(iter(self.corners(found, [k])), None)
        return point.evaluations

    def is_on_plateau(self, point: Point, start: Vector) -> bool:
        """Whether some parameter is flat there."""
        least = machine.least_effect(point.theta, start, self.terms.lower, self.terms.upper, point.matrix)
        return bool(least <= EPS * self.scale(point.loss))

    def first_search(self, start: Vector) -> Point:
        """A search by the near matrix; again with shorter first steps where one has left the start for a plateau, or
        for an edge beyond which there is no loss.
        """
        found, evaluations = self.search(self.near, start), 0
        for radius in RADII[1:]:
            if not (found.was_stuck or self.is_on_plateau(found, start)):
                break
            flat, begun = self.flat(found.theta, found.matrix, found.loss, start), self.at(start)
            if not isfinite(begun.loss) or (flat & self.flat(start, begun.matrix, begun.loss, start)).any():
                break
            other = self.search(self.near, start, radius)
            evaluations += other.evaluations
            is_better = not (other.was_stuck or self.is_on_plateau(other, start))
            found = other if other.loss < found.loss or is_better else found
        found.evaluations += evaluations
        return found

    def at(self, start: Vector) -> Point:
        """A start as it is, before any search."""
        gradient, matrix = np.zeros(self.size), np.zeros((self.size, self.size))
        loss = self.loss(start, gradient, matrix.reshape(-1))
        return Point(start, loss, gradient, matrix, 1, False, True, False, start=start, near=matrix)

    def is_lost(self, found: Point, start: Vector) -> bool:
        """Whether a search that has found no minimum began where no parameter moves any prediction."""
        if found.is_convex or not self.norm:  # likelihoods predict nothing
            return False
        free = self.terms.lower < self.terms.upper
        begun = self.at(start)
        return bool(self.flat(start, begun.matrix, begun.loss, start)[free].all())

    def minimum(self, start: Vector) -> Point:
        """The minimum that a search from a start comes to by the near matrix, settled and proved by the exact one.

        Where the Hessian has a direction of negative curvature, the search goes on along it.
        """
        evaluations = 0
        near = self.first_search(start)
        evaluations += near.evaluations
        for _ in range(SADDLES):
            found = self.search(self.exact, near.theta)
            evaluations += found.evaluations
            if found.is_convex or found.was_stopped or not isfinite(found.loss):
                break
            beyond = self.downhill(found)
            if beyond is None:
                break
            near = self.search(self.near, beyond)
            evaluations += near.evaluations
        if self.is_lost(found, start):
            found = self.at(start)
        else:
            found.near, found.start = near.matrix, start
            if not found.is_convex or found.was_stopped:
                evaluations += self.refine(found)
            if found.was_stuck or found.was_stopped:
                evaluations += self.settle_at_corner(found)
        found.evaluations = evaluations
        return found

    def rows(self, theta: Vector) -> Iterator[tuple[Sample, Vector, Vector]]:
        """The residuals and their Jacobian over all parameters, block by block."""
        for s in self.samples:
            for values, jacobian in s.objective.residual_rows(s.own(theta), s.columns, s.rows):
                yield s, values, s.among_all(jacobian, self.size)

    def refine(self, found: Point) -> int:
        """Go on from a point by a triangle of the Jacobian, where J'J has lost what tells the parameters apart.

        J'J has the square of the condition of J: columns that differ in eight digits are one to it. Steps are taken as
        long as the loss falls. How many evaluations that took.
        """
        count = 0
        gradient, matrix = np.zeros(self.size), np.zeros((self.size, self.size))
        while are_squares(self.samples) and isfinite(found.loss) and count < REFINED:
            free = ~self.terms.held(found.theta, found.gradient)
            both = np.zeros((0, int(free.sum()) + 1))
            for _, values, jacobian in self.rows(found.theta):
                rows = np.column_stack([jacobian[:, free], values])
                both = np.asarray(np.linalg.qr(np.vstack([both, rows]), mode="r"))
            scale = np.linalg.norm(both[:, :-1], axis=0)
            if not np.isfinite(both).all() or not scale.all():
                break
            step = np.zeros(self.size)
            step[free] = np.linalg.lstsq(both[:, :-1] / scale, -both[:, -1], rcond=EPS)[0] / scale
            theta = np.clip(found.theta + step, self.terms.lower, self.terms.upper)
            count += 1
            loss = self.loss(theta, gradient, matrix.reshape(-1))
            if not loss < found.loss * (1.0 - 4 * EPS):
                break
            found.theta, found.loss, found.gradient, found.was_stopped = theta, loss, gradient.copy(), False
            found.near = matrix.copy()
        return count

    def downward(self, found: Point) -> tuple[Vector, float] | None:
        """The direction of most negative curvature, in which it is by more than rounding, and its scaled curvature."""
        free = ~self.terms.held(found.theta, found.gradient)
        if not free.any() or not np.isfinite(found.matrix).all():
            return None
        scale = np.sqrt(np.maximum(abs(np.diag(found.matrix)), np.finfo(float).tiny))
        scaled = (found.matrix / np.outer(scale, scale))[np.ix_(free, free)]
        values, vectors = np.linalg.eigh(scaled)
        if not values[0] < -1e-10:
            return None
        direction = np.zeros(self.size)
        direction[free] = vectors[:, 0] / scale[free]
        return direction, float(values[0])

    def downhill(self, found: Point) -> Any:
        """A point with a smaller loss along the direction of most negative curvature; None if there is none."""
        bent = self.downward(found)
        if bent is None:
            return None
        direction, curvature = bent
        gradient, matrix = np.zeros(self.size), np.zeros(self.size**2)
        best, at = found.loss - 1e-12 * abs(found.loss), None
        length = np.sqrt(abs(found.loss) / -curvature)
        for k in range(40):
            for sign in (1.0, -1.0):
                theta = np.clip(found.theta + sign * length * 0.5**k * direction, self.terms.lower, self.terms.upper)
                loss = self.loss(theta, gradient, matrix)
                if loss < best:
                    best, at = loss, theta
            if at is not None:
                return at
        return None
