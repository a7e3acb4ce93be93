"""`minimize`: the least value of a compiled loss by L-BFGS, in machine code around the kernel."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradcompile.codegen import array_kind
from gradcompile.codegen import functions as jit
from gradcompile.errors import ArgumentError, ArgumentTypeError, meant
from gradcompile.library import quasi_newton
from gradcompile.optim.loop import in_order, shaped
from gradcompile.optim.losses import Kernel, Outside, loss_of
from gradcompile.optim.parts import Vector
from gradcompile.runtime import bind
from gradcompile.runtime.matching import Call
from gradcompile.tracebacks import entries

METHODS = ("L-BFGS", "L-BFGS-B")  # one algorithm: with bounds or without
PAIRS = 10  # steps that the inverse of the Hessian is made of
CHUNK_SECONDS = 0.05  # between two looks at Ctrl-C
LIMIT = 15_000  # evaluations, as in SciPy
INTERRUPTED = -1
MESSAGES = {
    quasi_newton.RUNNING: "the limit of evaluations is reached; go on from x, or give a larger limit",
    quasi_newton.FLAT: "no slope is left",
    quasi_newton.SETTLED: "no step promises more than rounding",
    quasi_newton.STUCK: "the loss still falls, but no step lowers it: it may have a corner here; start elsewhere",
    quasi_newton.BAD: "loss or gradient is not finite at the start; choose another",
    quasi_newton.FALLING: "the loss falls along a line as far as was looked; bound the parameters, or scale the loss",
    INTERRUPTED: "interrupted",
}
STATE = [array_kind("float64", rank) for rank in (2, 2, 2, 2, 1)]
TAKEN = [array_kind("float64", rank) for rank in (0, 1)]  # by a step, before the state
BEGIN = 16  # evaluations before the first look


def minimize(
    f: Any,
    params: Any,
    data: Any = (),
    *,
    method: str = "L-BFGS",
    bounds: Any = None,
    tolerance: float = 1e-8,
    limit: int = LIMIT,
    callback: Callable[[Any], Any] | None = None,
) -> Any:
    """Minimise a compiled loss from a start: SciPy's OptimizeResult, with x in the form of `params`.

    params: where to start; data: the other arguments of f; each a sequence in the function's order, or a mapping by
    name. method: "L-BFGS", with bounds L-BFGS-B. bounds: by the parameters' names, pairs (low, high) of numbers or of
    arrays in their shape, None for no bound; or one pair for each entry of theta, in order. tolerance: of the largest
    slope that no bound holds. limit: of evaluations. callback(result) is called after each step; the search ends where
    it returns True or raises StopIteration. Ctrl-C ends it too, and what was reached is returned.

    `success` is true where no slope is left, or no step promises more than rounding, and the search has moved there, or
    where bounds hold all parameters: it goes down, and does not prove a Hessian positive definite, as `fit` does.

    >>> import sympy as sp
    >>> from gradcompile import compile_grad
    >>> a, b = sp.symbols("a b")
    >>> found = minimize(compile_grad((1 - a)**2 + 100*(b - a**2)**2, [a, b]), [-1.2, 1.0])
    >>> [round(v, 6) for v in found.x], found.success
    ([1.0, 1.0], True)
    """
    if method not in METHODS:
        raise ArgumentError(f"method={method!r}: choose {' or '.join(map(repr, METHODS))}{meant(str(method), METHODS)}")
    if callback is not None and not callable(callback):
        raise ArgumentTypeError(f"callback={callback!r}: give a function of the result so far")
    if type(limit) is not int or limit < 1:
        raise ArgumentError(f"limit={limit!r}: give a whole number of evaluations from 1")
    if not (isinstance(tolerance, int | float) and tolerance >= 0.0):
        raise ArgumentError(f"tolerance={tolerance!r}: give a number from 0")
    return Search(loss_of(f, data), params, bounds, tolerance).run(limit, callback)


class Search:
    """A search: where it stands, and the compiled code that takes it further."""

    def __init__(self, f: Kernel | Outside, params: Any, bounds: Any, tolerance: float) -> None:
        self.f, self.given, self.inputs = f, params, f.inputs
        theta = bind.pack(f.params, in_order(params, Call(f.params), "params"), "float64")
        size = len(theta)
        self.rows, self.scalars = np.zeros((quasi_newton.ROWS, size)), np.zeros(quasi_newton.SCALARS)
        memory = (np.zeros((PAIRS, size)), np.zeros((PAIRS, size)), np.zeros((2, PAIRS)))
        self.state = self.rows, *memory, self.scalars
        self.rows[quasi_newton.LOWER], self.rows[quasi_newton.UPPER] = -np.inf, np.inf
        self.rows[quasi_newton.TRIAL] = theta
        if bounds is not None:
            lower, upper = limits(f.params, bounds, size)
            self.rows[quasi_newton.LOWER], self.rows[quasi_newton.UPPER] = lower, upper
            self.rows[quasi_newton.TRIAL] = np.clip(theta, lower, upper)
        self.scalars[quasi_newton.TOLERANCE] = tolerance
        self.gradient = np.zeros(size)
        self.loop = f.loop(quasi_newton.advance, STATE)
        self.step = None if self.loop is not None else jit.entry(quasi_newton.advance, [*TAKEN, *STATE])

    def run(self, limit: int, callback: Callable[[Any], Any] | None) -> Any:
        """Go on to the end."""
        status, turns = quasi_newton.RUNNING, 1 if callback is not None else BEGIN
        try:
            while status == quasi_newton.RUNNING and self.count < limit:
                began, steps = time.perf_counter(), self.scalars[quasi_newton.STEPS]
                status = self.advance(min(turns, limit - self.count))
                if callback is not None:
                    if self.scalars[quasi_newton.STEPS] > steps and callback(self.result(status)) is True:
                        status = INTERRUPTED
                elif time.perf_counter() - began < CHUNK_SECONDS:
                    turns *= 2
        except (KeyboardInterrupt, StopIteration):
            status = INTERRUPTED
        return self.result(status)

    @property
    def count(self) -> int:
        """How many evaluations there were."""
        return int(self.scalars[quasi_newton.BEGUN])

    def advance(self, turns: int) -> int:
        """So many evaluations, at most."""
        trial = self.rows[quasi_newton.TRIAL]
        if self.loop is not None:
            return int(self.loop(trial, self.gradient, *self.inputs, *self.state, turns))
        assert self.step is not None
        loss = self.f.code(trial, self.gradient, *self.inputs)
        with np.errstate(all="ignore"):  # without machine code it says what it finds not finite
            return int(self.step(float(loss), self.gradient, *self.state))

    def result(self, status: int) -> Any:
        """What was reached."""
        from scipy.optimize import OptimizeResult

        steps = int(self.scalars[quasi_newton.STEPS])
        if status == quasi_newton.SETTLED and not self.is_rounding():
            status = quasi_newton.STUCK
        message, success = MESSAGES[status], status in (quasi_newton.FLAT, quasi_newton.SETTLED) and steps > 0
        if status == quasi_newton.FLAT and not steps:
            message = "no slope at the start, which may be a minimum, a maximum or a saddle; start elsewhere"
        if status == quasi_newton.FLAT and self.is_held():
            message, success = "bounds hold all parameters", True
        theta, gradient = (self.rows[k].copy() for k in (quasi_newton.THETA, quasi_newton.GRADIENT))
        made: Any = OptimizeResult  # its fields are a dictionary's
        return made(
            x=shaped(self.f.params, self.given, theta), fun=float(self.scalars[quasi_newton.LOSS]),
            jac=shaped(self.f.params, self.given, gradient), nit=steps, nfev=self.count, njev=self.count,
            success=success, status=status, message=message,
        )  # fmt: skip

    def is_rounding(self) -> bool:
        """Whether the slopes are rounding of the loss, or the loss is rounding of the parameters.

        What a step promises is said by pairs of past slopes, which may be of another place.
        """
        theta, gradient, free = (self.rows[k] for k in (quasi_newton.THETA, quasi_newton.GRADIENT, quasi_newton.FREE))
        loss = abs(self.scalars[quasi_newton.LOSS])
        change = np.abs(theta * gradient * free)
        return bool(((change <= 1e-4 * loss) | (1e3 * quasi_newton.EPS * change >= loss)).all())

    def is_held(self) -> bool:
        """Whether each parameter is on a bound that a slope presses it to."""
        theta, gradient, lower, upper = (
            self.rows[k] for k in (quasi_newton.THETA, quasi_newton.GRADIENT, quasi_newton.LOWER, quasi_newton.UPPER)
        )
        small = self.scalars[quasi_newton.TOLERANCE]
        is_low, is_high = (theta <= lower) & (gradient > small), (theta >= upper) & (gradient < -small)
        return bool((is_low | is_high | (lower == upper)).all())


def limits(params: Sequence[Any], bounds: Any, size: int) -> tuple[Vector, Vector]:
    """Lower and upper bounds of all entries of theta."""
    lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
    places = {a.name: slice(first, last) for a, (first, last, _) in zip(params, bind.places_of(params), strict=True)}
    if not isinstance(bounds, Mapping) and len(bounds) != size:
        raise ArgumentError(f"bounds holds {len(bounds)} values; theta has {size} entries, each of which takes a pair")
    pairs = bounds.items() if isinstance(bounds, Mapping) else enumerate(bounds)
    for key, pair in pairs:
        name = getattr(key, "name", key)
        if name not in places and not (type(name) is int and name < size):
            hint = meant(str(name), places)
            raise ArgumentError(f"bounds: there is no parameter {name!r}{hint}")
        try:
            low, high = pair
            place = places[name] if name in places else slice(name, name + 1)
            lower[place] = -np.inf if low is None else np.ravel(low)
            upper[place] = np.inf if high is None else np.ravel(high)
        except (TypeError, ValueError):
            raise ArgumentTypeError(f"bounds[{name!r}]={pair!r}: give a pair (low, high), None for no bound") from None
    if not (lower <= upper).all():
        raise ArgumentError("bounds: a lower one is above the upper, or not a number")
    return lower, upper


entries(globals())
