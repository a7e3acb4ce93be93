"""Nonlinear least squares with a compiled residual and a compiled gradient, and the statistics that go with it."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradcompile.errors import ArgumentError

Vector = npt.NDArray[np.float64]
STEP = float(np.finfo(np.float64).eps) ** (1 / 3)  # of a central difference: rounding and truncation balance


@dataclass(frozen=True, eq=False)
class Fit:
    """A least-squares fit: estimates, their standard errors, and what is left of the data.

    `errors` are the roots of the diagonal of s^2 (J'J)^-1 with s^2 = `squares` / `freedom`; NaN where the data do not
    determine a parameter or there is no degree of freedom. `curve` is the residual sum of squares by iteration.
    """

    estimates: Vector
    errors: Vector
    squares: float
    r_squared: float
    rows: int
    freedom: int
    curve: list[float]
    converged: bool

    @property
    def deviation(self) -> float:
        """The residual standard deviation, the root of `squares` / `freedom`."""
        return math.sqrt(self.squares / self.freedom) if self.freedom else math.nan


def least_squares(
    predict: Callable[[Vector], Vector],
    loss: Callable[[Vector], tuple[float, Vector]],
    target: Vector,
    start: Vector,
) -> Fit:
    """Minimise the sum of squares of `target - predict(theta)`, with `loss(theta)` that sum and its gradient.

    A trust-region search by differences of `predict` comes near; the gradient, which is exact, settles the last
    digits. Raises ArgumentError where the model or its derivative is not finite at the start, and when there are fewer
    rows than parameters.

    >>> x = np.array([0.0, 1.0, 2.0])
    >>> y = np.array([1.0, 3.0, 5.0])
    >>> def loss(t):
    ...     r = y - t[0] - t[1] * x
    ...     return r @ r, np.array([-2 * r.sum(), -2 * r @ x])
    >>> least_squares(lambda t: t[0] + t[1] * x, loss, y, np.array([0.5, 0.5])).estimates.round(9)
    array([1., 2.])
    """
    from scipy import optimize

    if len(target) < len(start):
        raise ArgumentError(
            f"{len(start)} parameters can't be fitted to {len(target)} rows; give at least as many rows"
        )
    scale = np.where(start == 0.0, 1.0, abs(start))
    _check_start(predict(start))
    curve: list[float] = []

    def residual(theta: Vector) -> Vector:
        return predict(theta) - target

    def jacobian(theta: Vector) -> Vector:
        curve.append(loss(theta)[0])
        return _jacobian(predict, theta, scale)

    if not np.isfinite(_jacobian(predict, start, scale)).all():
        raise ArgumentError("the model has no finite derivative at the start; choose another start")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a trial step may overflow; the search turns back by itself
        try:
            found = optimize.least_squares(residual, start, jacobian, x_scale=scale, ftol=1e-15, xtol=1e-15, gtol=1e-15)
        except (ValueError, np.linalg.LinAlgError) as error:
            raise ArgumentError(
                f"the search left the region where the model is finite ({error}); choose another start"
            ) from error
    theta, matrix = _settle(predict, loss, found.x, scale)
    squares = loss(theta)[0]
    curve.append(squares)
    return _summary(theta, matrix, squares, target, curve, found.status > 0)


def _check_start(values: Vector) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ArgumentError(
            f"the model is {values[bad[0]]} at the start for data row {bad[0] + 1}; choose another start"
        )


def _jacobian(predict: Callable[[Vector], Vector], theta: Vector, scale: Vector) -> Vector:
    """Central differences of the prediction, one column a parameter."""
    columns = []
    for k, step in enumerate(STEP * np.maximum(abs(theta), 1e-3 * scale)):
        above, below = theta.copy(), theta.copy()
        above[k] += step
        below[k] -= step
        columns.append((predict(above) - predict(below)) / (above[k] - below[k]))
    return np.column_stack(columns)


def _settle(
    predict: Callable[[Vector], Vector], loss: Callable[[Vector], tuple[float, Vector]], theta: Vector, scale: Vector
) -> tuple[Vector, Vector]:
    """Gauss-Newton steps along the exact gradient, as long as each halves the decrease that is still to be had."""
    matrix = _jacobian(predict, theta, scale)
    left = math.inf
    candidate = theta
    for _ in range(20):
        gradient = loss(candidate)[1]
        there = _jacobian(predict, candidate, scale)
        if not (np.isfinite(gradient).all() and np.isfinite(there).all()):
            break
        step = -0.5 * _inverse(there) @ gradient
        expected = -float(gradient @ step)
        if not 0.0 <= expected < 0.5 * left:
            break
        theta, matrix, left = candidate, there, expected
        candidate = candidate + step
    return theta, matrix


def _inverse(matrix: Vector) -> Vector:
    """(J'J)^-1, on columns of norm 1 so that units don't matter; a direction that the data don't see is left out."""
    norms = np.linalg.norm(matrix, axis=0)
    norms[norms == 0.0] = 1.0
    half = np.linalg.pinv(matrix / norms, rcond=1e-13)
    return np.asarray(half @ half.T / np.outer(norms, norms))


def _determined(matrix: Vector) -> npt.NDArray[np.bool_]:
    """For each parameter, whether the data fix it: no direction that they don't see has a share in it."""
    norms = np.linalg.norm(matrix, axis=0)
    seen = norms > 0.0
    _, singular, directions = np.linalg.svd(matrix / np.where(seen, norms, 1.0), full_matrices=False)
    unseen = directions[singular < 1e-9 * max(singular.max(), 1e-300)]
    return np.asarray(seen & (abs(unseen) < 1e-6).all(axis=0))


def _summary(theta: Vector, matrix: Vector, squares: float, target: Vector, curve: list[float], converged: bool) -> Fit:
    freedom = len(target) - len(theta)
    variance = squares / freedom if freedom else math.nan
    errors = np.sqrt(variance * np.diag(_inverse(matrix)))
    errors[~_determined(matrix)] = math.nan
    total = float(np.sum((target - target.mean()) ** 2))
    r_squared = 1.0 - squares / total if total > 0.0 else math.nan
    return Fit(theta, errors, squares, r_squared, len(target), freedom, curve, converged)
