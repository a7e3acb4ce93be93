"""A search for the least value of a compiled function: the trust-region method around whatever evaluates it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from types import ModuleType

Vector = npt.NDArray[np.float64]
Evaluate = tuple[Callable[..., float], Sequence[Any]]  # code(theta, gradient, matrix, *inputs) -> loss; the inputs
EPS = float(np.finfo(np.float64).eps)


@dataclass(slots=True)
class Point:
    """Where a search ended: theta, loss, gradient and matrix there, how often it evaluated.

    start: where it began. was_stopped: the limit of evaluations was reached. was_stuck: no step brought the decrease
    that it promised. is_convex: whether the matrix there is positive definite on what no bound holds. near: the matrix
    that the search went by, where that is another one.
    """

    theta: Vector
    loss: float
    gradient: Vector
    matrix: Vector
    evaluations: int
    was_stopped: bool
    was_stuck: bool
    is_convex: bool
    start: Vector
    near: Vector | None = None


@cache
def machine(name: str, *ranks: int) -> Callable[..., Any]:
    """Machine code of a function of `library.trust_region` for arrays of these ranks, numbers where a rank is 0."""
    from gradcompile.codegen import array_kind, functions

    kinds = [array_kind("float64", rank) for rank in ranks]
    found: Callable[..., Any] = functions.entry(getattr(method(), name), kinds)
    return found


@cache
def method() -> "ModuleType":
    """The trust-region method, whose module loads the compiler."""
    from gradcompile.library import trust_region

    return trust_region


def square_sum(x: Vector) -> float:
    """The sum of squares of a contiguous vector; not finite where an entry is not."""
    return float(machine("square_sum", 1)(x))


def fingerprint(x: Vector) -> float:
    """A number by which a contiguous vector is known again."""
    return float(machine("fingerprint", 1)(x))


class Search:
    """The memory of a search, which serves any number of them one after the other."""

    def __init__(self, lower: Vector, upper: Vector) -> None:
        size, tr = len(lower), method()
        self.rows = np.zeros((tr.ROWS, size))
        self.rows[tr.LOWER], self.rows[tr.UPPER] = lower, upper
        self.matrix, self.work = np.zeros((size, size)), np.zeros((size, size))
        self.scalars = np.zeros(tr.SCALARS)
        self.gradient, self.filled = np.zeros(size), np.zeros(size * size)
        self.trial = self.rows[tr.TRIAL]

    def run(
        self, evaluate: Evaluate, start: Vector, limit: int, data_norm: float = 0.0, radius: float = 100.0
    ) -> Point:
        """Minimise from a start.

        data_norm: the norm of the data that residuals are taken from. radius: of the first step, in lengths of the
        start, as MINPACK's `factor`.
        """
        rows, scalars, tr, advance = self.rows, self.scalars, method(), machine("advance", 0, 1, 1, 2, 2, 2, 1)
        trial, gradient, filled, matrix, work = self.trial, self.gradient, self.filled, self.matrix, self.work
        rows[tr.SCALE] = 0.0
        scalars[:] = 0.0
        scalars[tr.SIZE], scalars[tr.ROUNDING] = 4 * EPS, 4 * EPS * data_norm
        scalars[tr.FIRST] = radius
        trial[:] = start
        code, inputs = evaluate
        count = status = 0
        while not status and count < limit:
            count += 1
            status = advance(code(trial, gradient, filled, *inputs), gradient, filled, rows, matrix, work, scalars)
        loss, is_convex = float(scalars[tr.LOSS]), bool(scalars[tr.FULL])
        theta, slope = rows[tr.THETA].copy(), rows[tr.GRADIENT].copy()
        ends = status == tr.RUNNING, status == tr.STUCK, is_convex
        return Point(theta, loss, slope, matrix.copy(), count, *ends, start=np.array(start))

    def projected(self, evaluate: Evaluate, theta: Vector, held: Vector) -> float:
        """The loss where parameters in which residuals are linear are at their best, others being held; see `trial`.

        NaN where loss, gradient or matrix are not finite at theta.
        """
        code, inputs = evaluate
        rows, gradient, filled = self.rows, self.gradient, self.filled
        rows[method().THETA] = theta
        value = code(rows[method().THETA], gradient, filled, *inputs)
        if not math.isfinite(value + square_sum(gradient) + square_sum(filled)):
            return math.nan
        machine("solve_linear", 1, 1, 1, 2, 2, 2, 1)(gradient, filled, held, rows, self.matrix, self.work, self.scalars)
        return float(code(self.trial, gradient, filled, *inputs))
