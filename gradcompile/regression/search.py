"""A search for the least value of a compiled function: the trust-region method around whatever evaluates it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gradcompile.codegen import functions
from gradcompile.library import trust_region as tr

Vector = npt.NDArray[np.float64]
Evaluate = tuple[Callable[..., float], Sequence[Any]]  # code(theta, gradient, matrix, *inputs) -> loss; the inputs
EPS = float(np.finfo(np.float64).eps)


@dataclass(slots=True)
class Point:
    """Where a search is: theta, loss, gradient and matrix there, how often it evaluated, and why it ended.

    status: RUNNING where the limit of evaluations was reached, else ENDED or STUCK. is_convex: whether the matrix there
    is positive definite on what no bound holds. near: the matrix that the search went by, where that is another one.
    """

    theta: Vector
    loss: float
    gradient: Vector
    matrix: Vector
    evaluations: int
    status: int
    is_convex: bool
    near: Vector | None = None


@cache
def _advance() -> Callable[..., int]:
    from numba import types

    vector, matrix = types.Array(types.float64, 1, "C"), types.Array(types.float64, 2, "C")
    found: Callable[..., int] = functions.entry(tr.advance, [types.float64, vector, vector, *[matrix] * 3, vector])
    return found


class Search:
    """The memory of a search, which serves any number of them one after the other."""

    def __init__(self, size: int) -> None:
        self.rows = np.zeros((tr.ROWS, size))
        self.matrix, self.work = np.zeros((size, size)), np.zeros((size, size))
        self.scalars = np.zeros(tr.SCALARS)
        self.gradient, self.filled = np.zeros(size), np.zeros(size * size)
        self.trial = self.rows[tr.TRIAL]

    def run(
        self, evaluate: Evaluate, start: Vector, lower: Any, upper: Any, limit: int, data_norm: float = 0.0
    ) -> Point:
        """Minimise from a start; data_norm: the norm of the data that residuals are taken from."""
        rows, scalars, advance = self.rows, self.scalars, _advance()
        trial, gradient, filled, matrix, work = self.trial, self.gradient, self.filled, self.matrix, self.work
        rows.fill(0.0)
        scalars.fill(0.0)
        rows[tr.LOWER], rows[tr.UPPER], rows[tr.THETA] = lower, upper, start
        scalars[tr.SIZE], scalars[tr.ROUNDING] = 4 * EPS, 4 * EPS * data_norm
        trial[:] = start
        code, inputs = evaluate
        count = status = 0
        while not status and count < limit:
            count += 1
            status = advance(code(trial, gradient, filled, *inputs), gradient, filled, rows, matrix, work, scalars)
        loss, is_convex = float(scalars[tr.LOSS]), bool(scalars[tr.FULL])
        return Point(rows[tr.THETA].copy(), loss, rows[tr.GRADIENT].copy(), matrix.copy(), count, status, is_convex)
