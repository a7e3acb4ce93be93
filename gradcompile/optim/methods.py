"""The methods of `minimize`: each a step in machine code with its memory, and what evaluates for it."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from gradcompile.codegen import array_kind
from gradcompile.codegen import functions as jit
from gradcompile.codegen.values import Kind
from gradcompile.library import descent, newton_cg, quasi_newton, saddles, trust_region
from gradcompile.optim.losses import Kernel, Outside
from gradcompile.optim.parts import Vector

Bounds = tuple[Vector, Vector] | None  # lower and upper ones
PAIRS = 10  # steps that the inverse of the Hessian is made of
MANY = 256  # evaluations at first
KEPT = 10_000  # entries of rows up to which memory is kept from search to search
ENTRIES = 1_000_000  # of data and memory that one call of machine code walks at first
RADIUS = 1.0  # of the first step of trust-exact, in lengths of the start


@cache
def kinds_of(*ranks: int) -> list[Kind]:
    """The kinds of arrays of these ranks, of numbers where a rank is 0."""
    return [array_kind("float64", rank) for rank in ranks]


@cache
def machine(step: Any, ranks: tuple[int, ...]) -> Any:
    """Machine code of a step for arrays of these ranks, numbers where a rank is 0."""
    return jit.entry(step, kinds_of(*ranks))


class Stepping:
    """A step that takes in evaluations, and what it works on: in one loop with the kernel, or called by Python.

    outputs: that the kernel fills. given: inputs before those of the loss. state: what the step works on.
    """

    def __init__(self, loss: Kernel | Outside, step: Any, outputs: Sequence[Vector], given: Sequence[Vector],
                 state: Sequence[Vector]) -> None:  # fmt: skip
        self.loss, self.outputs, self.state, self.trial = loss, outputs, state, state[0][quasi_newton.TRIAL]
        self.inputs = [*given, *loss.inputs]
        self.loop = loss.loop(step, kinds_of(*[v.ndim for v in state]))
        self.step: Any = None if self.loop else machine(step, (0, *(v.ndim for v in (*outputs, *state))))

    @property
    def turns(self) -> int:
        """Evaluations that one call of machine code may take at first: few where there are many entries to walk."""
        entries = sum(x.size for x in (*self.state, *self.inputs) if isinstance(x, np.ndarray))
        return max(1, min(MANY, ENTRIES // entries))

    def advance(self, turns: int) -> int:
        """So many evaluations at most; what the step says."""
        if self.loop is not None:
            return int(self.loop(self.trial, *self.outputs, *self.inputs, *self.state, turns))
        loss = self.loss.code(self.trial, *self.outputs, *self.inputs)
        with np.errstate(all="ignore"):  # without machine code it says what it finds not finite
            return int(self.step(float(loss), *self.outputs, *self.state))


class Memory:
    """What a search by BFGS or L-BFGS works on; whatever is in it, one begins anew."""

    def __init__(self, size: int, dense: bool) -> None:
        self.dense, pairs = dense, min(PAIRS, size + 2)
        shapes = [(size, size), (1, size), (2, 1)] if dense else [(pairs, size), (pairs, size), (2, pairs)]
        self.rows, self.scalars = np.zeros((quasi_newton.ROWS, size)), np.zeros(quasi_newton.SCALARS)
        self.look, self.outputs = np.zeros(saddles.SCALARS), [np.zeros(size)]
        self.state = [self.rows, *map(np.zeros, shapes), self.scalars, self.look]
        self.stepping: Stepping | None = None

    def around(self, loss: Kernel | Outside) -> Stepping:
        """The step on this memory in turn with a loss."""
        if self.stepping is None or self.stepping.loss is not loss:
            self.stepping = Stepping(loss, descent.advance, self.outputs, [], self.state)
        return self.stepping


def lent(kept: list[Memory], dense: bool) -> Memory | None:
    """Memory that a search has given back, None if there is none."""
    try:
        found = kept.pop()
    except IndexError:
        return None
    return found if found.dense == dense else None


class Method:
    """A step with its memory, as a search asks it; names: of the rows and scalars, which is the step's module."""

    names: Any = quasi_newton
    leaves_saddles = False  # by itself
    is_proved = False  # whether the Hessian is known to be positive definite
    stepping: Stepping
    rows: Vector
    scalars: Vector

    def bound(self, bounds: Bounds, tolerance: float) -> None:
        """Write down the bounds."""
        self.tolerance = tolerance
        self.rows[self.names.LOWER], self.rows[self.names.UPPER] = bounds or (-np.inf, np.inf)

    def begin(self, theta: Vector) -> None:
        """Begin a search there."""
        self.scalars[:] = 0.0
        self.scalars[self.names.TOLERANCE] = self.tolerance
        self.rows[self.names.TRIAL] = theta

    def end(self) -> None:
        """Give back memory that is used again; most methods have none."""

    def advance(self, turns: int) -> int:
        """So many evaluations at most; a status of `quasi_newton`."""
        return self.checked(self.stepping.advance(turns))

    def checked(self, status: int) -> int:
        """SETTLED is said by what a model promises, which may be of another place: STUCK where it is not rounding.

        It is rounding where the slopes are rounding of the loss, or the loss is rounding of the parameters.
        """
        if status != quasi_newton.SETTLED:
            return status
        loss, change = abs(self.loss), np.abs(self.theta * self.gradient * self.rows[quasi_newton.FREE])
        small = (change <= 1e-4 * loss) | (1e3 * quasi_newton.EPS * change >= loss)
        return quasi_newton.SETTLED if small.all() else quasi_newton.STUCK

    @property
    def loss(self) -> float:
        """The loss at theta."""
        return float(self.scalars[self.names.LOSS])

    @property
    def theta(self) -> Vector:
        """The best point."""
        found: Vector = self.rows[self.names.THETA]
        return found

    @property
    def gradient(self) -> Vector:
        """The gradient there."""
        found: Vector = self.rows[self.names.GRADIENT]
        return found

    @property
    def steps(self) -> int:
        """Steps that were taken."""
        return int(self.scalars[self.names.STEPS])

    @property
    def count(self) -> int:
        """How many evaluations of the loss there were."""
        return int(self.scalars[self.names.BEGUN])

    @property
    def products(self) -> int:
        """How many evaluations of the Hessian, or of its products, there were."""
        return 0


class QuasiNewton(Method):
    """BFGS, L-BFGS and L-BFGS-B: the loss and its gradient are all that is evaluated; saddles are left on the way."""

    leaves_saddles = True

    def __init__(self, loss: Kernel | Outside, bounds: Bounds, size: int, tolerance: float, dense: bool) -> None:
        self.memory = lent(loss.parameters.kept, dense) or Memory(size, dense)
        self.rows, self.scalars, self.look = self.memory.rows, self.memory.scalars, self.memory.look
        self.bound(bounds, tolerance)
        self.stepping = self.memory.around(loss)

    def end(self) -> None:
        """Give the memory back, which nothing refers to any more."""
        parameters = self.stepping.loss.parameters
        if self.stepping.loss is not parameters.alone:
            self.memory.stepping = None  # it refers to data, which are the user's
        if self.rows.size < KEPT and len(parameters.kept) < MANY:
            parameters.kept.append(self.memory)

    def begin(self, theta: Vector) -> None:
        """Begin a search there."""
        super().begin(theta)
        self.look[:], self.scalars[quasi_newton.DENSE] = 0.0, float(self.memory.dense)

    @property
    def is_plateau(self) -> bool:
        """Whether the search ended where it began, and the gradient was the same all around."""
        return not self.steps and bool(self.look[saddles.LARGEST] == 0.0)


class NewtonCG(Method):
    """The truncated Newton method: the Hessian's products with vectors are evaluated too."""

    names = newton_cg

    def __init__(self, loss: Kernel | Outside, bounds: Bounds, size: int, tolerance: float) -> None:
        self.rows, self.scalars = np.zeros((newton_cg.ROWS, size)), np.zeros(newton_cg.SCALARS)
        self.bound(bounds, tolerance)
        outputs, along = [np.zeros(size), np.zeros(size)], [self.rows[newton_cg.ALONG]]
        self.stepping = Stepping(loss.curved("hvp"), newton_cg.advance, outputs, along, [self.rows, self.scalars])

    def begin(self, theta: Vector) -> None:
        """Begin a search there."""
        super().begin(theta)
        self.rows[newton_cg.ALONG] = 0.0

    @property
    def products(self) -> int:
        """How many of the Hessian's products there were."""
        return int(self.scalars[newton_cg.MULTIPLIED])


class TrustExact(Method):
    """The trust-region method on the whole Hessian, which proves its minima."""

    names = trust_region

    def __init__(self, loss: Kernel | Outside, bounds: Bounds, size: int, tolerance: float) -> None:
        self.rows, self.scalars = np.zeros((trust_region.ROWS, size)), np.zeros(trust_region.SCALARS)
        self.bound(bounds, tolerance)
        state = [self.rows, np.zeros((size, size)), np.zeros((size, size)), self.scalars]
        outputs = [np.zeros(size), np.zeros(size * size)]
        self.stepping = Stepping(loss.curved("hessian"), trust_region.advance, outputs, [], state)

    def begin(self, theta: Vector) -> None:
        """Begin a search there."""
        machine(trust_region.begin, (1, 0, 0, 2, 1))(theta, 0.0, RADIUS, self.rows, self.scalars)
        self.scalars[trust_region.TOLERANCE] = self.tolerance

    def checked(self, status: int) -> int:
        """Of the method's own words those of `quasi_newton`."""
        if not np.isfinite(self.loss + self.gradient.sum()):
            return quasi_newton.BAD
        if status == trust_region.RUNNING:
            return quasi_newton.RUNNING
        if machine(trust_region.steepest, (2,))(self.rows) <= self.tolerance:
            return quasi_newton.FLAT
        return quasi_newton.SETTLED if status == trust_region.ENDED else quasi_newton.STUCK

    @property
    def steps(self) -> int:
        """Steps that were taken; the start is none."""
        return max(0, int(self.scalars[trust_region.TAKEN]) - 1)

    @property
    def products(self) -> int:
        """Each evaluation has a Hessian."""
        return self.count

    @property
    def is_proved(self) -> bool:  # type: ignore[override]
        """By more than rounding, on what no bound holds."""
        _, matrix, work, _ = self.stepping.state
        machine(trust_region.hold, (2,))(self.rows)
        return bool(machine(trust_region.factored, (2, 2, 2, 0))(self.rows, matrix, work, 0.0))


class Look(Method):
    """Whether there is a way down from where a search has ended, for those that do not look themselves."""

    def __init__(self, loss: Kernel | Outside, bounds: Bounds, size: int) -> None:
        self.rows, self.scalars = np.zeros((quasi_newton.ROWS, size)), np.zeros(saddles.SCALARS)
        self.bound(bounds, 0.0)
        self.stepping = Stepping(loss, saddles.advance, [np.zeros(size)], [], [self.rows, self.scalars])

    def below(self, ended: Method, free: Vector) -> Vector | None:
        """A point with a lower loss, None where none was found."""
        rows = self.rows
        rows[quasi_newton.THETA], rows[quasi_newton.GRADIENT] = ended.theta, ended.gradient
        rows[quasi_newton.FREE], self.scalars[saddles.LOSS] = free, ended.loss
        status = machine(saddles.begin, (2, 1))(rows, self.scalars)
        while status == saddles.LOOKING:
            status = self.stepping.advance(1000)
        return rows[quasi_newton.TRIAL].copy() if status == saddles.LOWER_FOUND else None

    @property
    def is_plateau(self) -> bool:
        """Whether the gradient was the same everywhere."""
        return bool(self.scalars[saddles.LARGEST] == 0.0)

    @property
    def count(self) -> int:
        """How many evaluations the last one took."""
        return int(self.scalars[saddles.BEGUN])


METHODS: dict[str, Any] = {
    "L-BFGS": partial(QuasiNewton, dense=False),
    "L-BFGS-B": partial(QuasiNewton, dense=False),
    "BFGS": partial(QuasiNewton, dense=True),
    "Newton-CG": NewtonCG,
    "trust-exact": TrustExact,
}
