"""A search for the least value of a compiled function: the trust-region method around whatever evaluates it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from gradcompile.errors import ArgumentError

if TYPE_CHECKING:
    from types import ModuleType

Vector = npt.NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
ROWS = 100_000  # that one call of machine code evaluates, about: between two of them Python hears Ctrl-C


class Evaluation(NamedTuple):
    """What a search minimises: code(theta, gradient, matrix, *inputs) -> loss, and the inputs.

    loop: the same in turn with the method, in one call, where that can be. rows: of the inputs.
    """

    code: Callable[..., float]
    inputs: Sequence[Any] = ()
    loop: Callable[..., int] | None = None
    rows: int = 1


@dataclass(slots=True)
class Point:
    """Where a search ended: theta, loss, gradient and matrix there, how often it evaluated.

    start: where it began. was_stopped: the limit of evaluations was reached. was_stuck: no step brought the decrease
    that it promised. is_convex: whether the matrix there is positive definite on what no bound holds. near: the matrix
    that the search went by, where that is another one. corner: the place of a parameter along which the loss has a
    corner there, and its least value.
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
    corner: int | None = None


class Machine:
    """Machine code of functions of `library.trust_region`, each made when it is first asked for.

    ranks: of the arrays that they take, 0 of a number.  `square_sum` is not finite where an entry is not, nor is
    `fingerprint`, a number by which a contiguous vector is known again.
    """

    ranks: ClassVar = {
        "begin": (1, 0, 0, 2, 1), "advance": (0, 1, 1, 2, 2, 2, 1), "solve_linear": (1, 1, 1, 2, 2, 2, 1),
        "least_effect": (1, 1, 1, 1, 2), "square_sum": (1,), "fingerprint": (1,),
    }  # fmt: skip

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Not called again for what is there."""
        if name not in self.ranks:
            raise AttributeError(name)
        from gradcompile.codegen import functions

        found: Callable[..., Any] = functions.entry(getattr(method(), name), kinds(*self.ranks[name]))
        setattr(self, name, found)
        return found


machine = Machine()


def kinds(*ranks: int) -> list[Any]:
    """The kinds of arrays of these ranks, of numbers where a rank is 0."""
    from gradcompile.codegen import array_kind

    return [array_kind("float64", rank) for rank in ranks]


def looped(route: Any) -> Callable[..., int] | None:
    """The kernel of a route in turn with the method, None where that can't be."""
    found: Callable[..., int] | None = route.stepping(method().advance, kinds(2, 2, 2, 1))
    return found


@cache
def method() -> "ModuleType":
    """The trust-region method, whose module loads the compiler."""
    from gradcompile.library import trust_region

    return trust_region


def generator(seed: Any) -> np.random.Generator:
    """The random numbers of a seed."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"seed={seed!r}: give a whole number from 0") from error


class Search:
    """The memory of a search, which serves any number of them one after the other."""

    def __init__(self, lower: Vector, upper: Vector) -> None:
        size, tr = len(lower), method()
        self.rows = np.zeros((tr.ROWS, size))
        self.rows[tr.LOWER], self.rows[tr.UPPER] = lower, upper
        self.state = self.rows, np.zeros((size, size)), np.zeros((size, size)), np.zeros(tr.SCALARS)
        self.gradient, self.filled = np.zeros(size), np.zeros(size * size)
        self.trial, self.theta, self.slope = (self.rows[k] for k in (tr.TRIAL, tr.THETA, tr.GRADIENT))
        self.method = tr

    def run(
        self, evaluate: Evaluation, start: Vector, limit: int, data_norm: float = 0.0, radius: float = 100.0
    ) -> Point:
        """Minimise from a start.

        data_norm: the norm of the data that residuals are taken from. radius: of the first step, in lengths of the
        start, as MINPACK's `factor`.
        """
        trial, gradient, filled = self.trial, self.gradient, self.filled
        rows, matrix, _, scalars = state = self.state
        code, inputs, loop, samples = evaluate
        tr = self.method
        machine.begin(start, data_norm, radius, rows, scalars)
        turns = ROWS // samples + 1
        count = status = 0
        while not status and count < limit:
            if loop is not None:
                status = loop(trial, gradient, filled, *inputs, *state, min(turns, limit - count))
                count = int(scalars[tr.BEGUN])
            else:
                count += 1
                loss = code(trial, gradient, filled, *inputs)
                status = machine.advance(loss, gradient, filled, *state)
        found = scalars.tolist()
        return Point(
            self.theta.copy(), found[tr.LOSS], self.slope.copy(), matrix.copy(), count, status == tr.RUNNING,
            status == tr.STUCK, found[tr.FULL] > 0.0, start,
        )  # fmt: skip

    def projected(self, evaluate: Evaluation, theta: Vector, held: Vector) -> float:
        """The loss where parameters in which residuals are linear are at their best, others being held; see `trial`.

        NaN where loss, gradient or matrix are not finite at theta.
        """
        code, inputs, *_ = evaluate
        gradient, filled = self.gradient, self.filled
        self.theta[:] = theta
        value = code(self.theta, gradient, filled, *inputs)
        if not math.isfinite(value + machine.square_sum(gradient) + machine.square_sum(filled)):
            return math.nan
        machine.solve_linear(gradient, filled, held, *self.state)
        return float(code(self.trial, gradient, filled, *inputs))
