"""`minimize`: the least value of a compiled loss, by a method in machine code around the kernel."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError, ArgumentTypeError, meant
from gradcompile.library import quasi_newton
from gradcompile.library.saddles import MOST
from gradcompile.optim.answers import ends, is_number, is_whole
from gradcompile.optim.given import flattened
from gradcompile.optim.given import named as parameters_named
from gradcompile.optim.losses import Kernel, Outside, Parameters, loss_of
from gradcompile.optim.methods import METHODS, Bounds, Look
from gradcompile.optim.parts import Vector
from gradcompile.runtime.matching import Call
from gradcompile.runtime.rows import stacked
from gradcompile.runtime.threads import pool, processors
from gradcompile.tracebacks import entries

CHUNK_SECONDS = 0.05  # between two looks at Ctrl-C
LIMIT = 15_000  # evaluations, as in SciPy
INTERRUPTED, HELD, PROVED, PLATEAU = -1, -2, -3, -4  # beside the statuses of `quasi_newton`
MESSAGES = {
    quasi_newton.RUNNING: "the limit of evaluations is reached; go on from x, or give a larger limit",
    quasi_newton.FLAT: "no slope is left, and no way down was found",
    quasi_newton.SETTLED: "no step promises more than rounding, and no way down was found",
    quasi_newton.STUCK: "the loss still falls, but no step lowers it: it may have a corner here; start elsewhere",
    quasi_newton.BAD: "loss or gradient is not finite at the start; choose another",
    quasi_newton.FALLING: "the loss falls along a line as far as was looked; bound the parameters, or scale the loss",
    INTERRUPTED: "interrupted",
    HELD: "bounds hold all parameters, if there are any",
    PROVED: "no slope is left, and the Hessian is positive definite",
    PLATEAU: "the start has neither slope nor curvature; start elsewhere",
}
ENDS = (quasi_newton.FLAT, quasi_newton.SETTLED, quasi_newton.STUCK)  # from which there may be a way down
MINIMA = (quasi_newton.FLAT, quasi_newton.SETTLED, HELD, PROVED)


def minimize(
    f: Any,
    params: Any,
    data: Any = (),
    *,
    method: str = "L-BFGS",
    bounds: Any = None,
    tolerance: float = 1e-8,
    limit: int = LIMIT,
    starts: Any = None,
    callback: Callable[[Any], Any] | None = None,
) -> Any:
    """Minimise a compiled loss from a start: SciPy's OptimizeResult, with x in the form of `params`.

    params: where to start; data: the other arguments of f; each a sequence in the function's order, or a mapping by
    name, of params also in the form they were compiled with; data may be a frame. method: "L-BFGS", with bounds
    L-BFGS-B; "BFGS", for up to some hundred parameters; "Newton-CG", with products of the Hessian, for many;
    "trust-exact", with the whole Hessian. bounds: by the parameters' names, pairs (low, high) of numbers or of arrays
    in their shape, None for no bound, nested as params may be, where one pair may stand for a mapping; or one pair for
    each entry of theta, in order, or SciPy's `Bounds`. tolerance: of the largest slope that no bound holds. limit: of
    evaluations. starts: further starts, as `f.many` takes points; the least of what they come to is returned, with all
    in its `starts`, the first from `params`. callback(result) is called after each step; the search ends where it
    returns True or raises StopIteration. Ctrl-C ends it too, and what was reached is returned.

    `success` is true at a minimum alone: no slope is left, or no step promises more than rounding, and no way down was
    found, for which products of the Hessian, and places along its directions of least curvature, are looked at; or the
    Hessian is positive definite (trust-exact); or bounds hold all parameters, where a slope may be infinite. From a
    saddle or a maximum the search goes on.

    >>> import sympy as sp
    >>> from gradcompile import compile_grad
    >>> a, b = sp.symbols("a b")
    >>> found = minimize(compile_grad((1 - a)**2 + 100*(b - a**2)**2, [a, b]), [-1.2, 1.0])
    >>> [round(v, 6) for v in found.x], found.success
    ([1.0, 1.0], True)
    """
    method = named(method)
    check_options(tolerance, limit, callback)
    loss = loss_of(f, data)
    theta = loss.parameters.packed(params)
    between = None if bounds is None else limits(loss.parameters, bounds, len(theta))
    thetas = [theta] if starts is None else [theta, *stacked(loss.parameters.params, starts, "float64")]
    found = run_all([Search(loss, method, params, between, tolerance, limit, t) for t in thetas], callback)
    if starts is None:
        return found[0]
    best = min(found, key=lambda r: (not r.success, r.fun if r.fun == r.fun else np.inf))
    best["starts"] = found
    return best


def named(method: Any) -> str:
    """The method of a name, capital letters or not, as SciPy has it."""
    if method in METHODS:
        return str(method)
    known = {name.lower(): name for name in METHODS}
    if str(method).lower() not in known:
        hint = meant(str(method), METHODS)
        raise ArgumentError(f"method={method!r}: choose {' or '.join(map(repr, METHODS))}{hint}")
    return known[str(method).lower()]


def check_options(tolerance: float, limit: int, callback: Any) -> None:
    """Raise for an option that has no such value."""
    if callback is not None and not callable(callback):
        raise ArgumentTypeError(f"callback={callback!r}: give a function of the result so far")
    if not is_whole(limit):
        raise ArgumentError(f"limit={limit!r}: give a whole number of evaluations from 1")
    if not (is_number(tolerance) and tolerance >= 0.0):
        raise ArgumentError(f"tolerance={tolerance!r}: give a number from 0")


class Search:
    """A search from one start: its method, and what ended.

    past: steps, evaluations and products of searches that have ended at saddles.
    """

    def __init__(self, loss: Kernel | Outside, name: str, given: Any, bounds: Bounds, tolerance: float, limit: int,
                 theta: Vector) -> None:  # fmt: skip
        self.loss, self.given, self.bounds, self.tolerance, self.limit = loss, given, bounds, tolerance, limit
        self.method = METHODS[name](loss, bounds, len(theta), tolerance)
        self.start = theta if bounds is None else np.clip(theta, *bounds)
        self.method.begin(self.start)
        self.status, self.past, self.saddles = quasi_newton.RUNNING, (0, 0, 0), 0

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""
        return self.status == quasi_newton.RUNNING and self.left > 0

    @property
    def left(self) -> int:
        """How many evaluations it may still take."""
        return int(self.limit - self.past[1] - self.method.count)

    @property
    def steps(self) -> int:
        """Steps that were taken."""
        return int(self.past[0] + self.method.steps)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Steps, evaluations, products."""
        steps, count, products = self.past
        return steps + self.method.steps, count + self.method.count, products + self.method.products

    def advance(self, turns: int) -> None:
        """So many evaluations at most."""
        self.status = self.method.advance(min(turns, self.left))
        if self.status in ENDS:
            self.settle()

    def settle(self) -> None:
        """Tell a minimum from what only has no slope, and go on from that."""
        if self.held.all():
            self.status = HELD
        elif self.method.leaves_saddles:
            self.status = PLATEAU if self.method.is_plateau else self.status
        elif self.method.is_proved and self.status != quasi_newton.STUCK:
            self.status = PROVED
        elif self.saddles < MOST:
            self.leave()

    @property
    def held(self) -> Vector:
        """Which parameters are on a bound that a slope presses them to."""
        theta, gradient = self.method.theta, self.method.gradient
        lower, upper = self.bounds or (-np.inf, np.inf)
        pressed = (theta <= lower) & (gradient > self.tolerance) | (theta >= upper) & (gradient < -self.tolerance)
        return np.asarray(pressed | np.equal(lower, upper))

    def leave(self) -> None:
        """Begin again from a lower place, if one is found."""
        method, (steps, count, products) = self.method, self.counts
        look = Look(self.loss, self.bounds, len(method.theta))
        below = look.below(method, np.where(self.held, 0.0, 1.0))
        if below is None:
            self.past = (self.past[0], self.past[1] + look.count, self.past[2])
            if not steps and look.is_plateau:
                self.status = PLATEAU
        else:
            self.past, self.saddles = (steps, count + look.count, products), self.saddles + 1
            method.begin(below)
            self.status = quasi_newton.RUNNING

    def result(self, interrupted: bool = False) -> Any:
        """What was reached."""
        method, status = self.method, INTERRUPTED if interrupted and self.is_running else self.status
        steps, count, products = self.counts
        theta, gradient, loss = method.theta.copy(), method.gradient.copy(), method.loss
        if not count:  # stopped while it was compiled
            theta, loss, gradient[:] = self.start, np.nan, np.nan
        if self.bounds is not None:
            gradient[gradient >= quasi_newton.LARGEST] = np.inf
            gradient[gradient <= -quasi_newton.LARGEST] = -np.inf
        arranged = self.loss.parameters.arranged
        found = result_type()(
            x=arranged(self.given, theta), fun=loss, jac=arranged(self.given, gradient), nit=steps, nfev=count,
            njev=count, nhev=products, success=status in MINIMA, status=status, message=MESSAGES[status],
        )  # fmt: skip
        object.__setattr__(found, "_made_of", (self.loss.f, self.loss.inputs, theta.copy(), self.bounds))
        return found


@cache
def result_type() -> Any:
    """SciPy's result with what it can tell; SciPy's optimisers are loaded when there is one."""
    from gradcompile.optim.minimum import Minimum

    return Minimum


def advance(searches: Sequence[Search], turns: int, k: int) -> None:
    """So many evaluations at most of one of the searches."""
    searches[k].advance(turns)


def run_all(searches: Sequence[Search], callback: Callable[[Any], Any] | None) -> list[Any]:
    """Go on to the ends, several searches side by side; their bits do not depend on each other."""
    turns, interrupted = 1 if callback is not None else searches[0].method.stepping.turns, False
    try:
        while running := [s for s in searches if s.is_running]:
            began = time.perf_counter()
            before = [s.steps for s in running] if callback is not None else []
            if len(running) == 1:
                running[0].advance(turns)
            else:
                pool.run(partial(advance, running, turns), len(running), processors())
            if callback is not None:
                new = [s for s, steps in zip(running, before, strict=True) if s.steps > steps]
                answers = [ends(callback, s.result()) for s in new]
                if any(answers):
                    interrupted = True
                    break
            elif time.perf_counter() - began < CHUNK_SECONDS:
                turns *= 2
    except KeyboardInterrupt:
        interrupted = True
    found = [s.result(interrupted) for s in searches]
    for s in searches:
        s.method.end()
    return found


def limits(parameters: Parameters, bounds: Any, size: int) -> tuple[Vector, Vector]:
    """Lower and upper bounds of all entries of theta."""
    lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
    takes = parameters.takes
    places = {name: slice(first, last) for name, (first, last, _) in zip(takes.names, parameters.places, strict=True)}
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):  # SciPy's
        bounds = list(zip(np.broadcast_to(bounds.lb, size), np.broadcast_to(bounds.ub, size), strict=True))
    if not isinstance(bounds, Mapping):
        if not isinstance(bounds, Iterable):
            raise ArgumentTypeError(f"bounds={bounds!r}: give pairs (low, high), by name or one for each entry")
        bounds = dict(enumerate(bounds))
        if len(bounds) != size:
            raise ArgumentError(f"bounds holds {len(bounds)} values; theta has {size} entries, each of which takes a "
                                "pair")  # fmt: skip
    for key, pair in flattened(bounds).items():
        is_entry = type(key) is int and 0 <= key < size
        wanted = [slice(key, key + 1)] if is_entry else [places[name] for name in named_in(takes, key)]
        try:
            low, high = pair
            for place in wanted:
                lower[place] = -np.inf if low is None else np.ravel(low)
                upper[place] = np.inf if high is None else np.ravel(high)
        except (TypeError, ValueError):
            raise ArgumentTypeError(f"bounds[{key!r}]={pair!r}: give a pair (low, high), None for no bound") from None
    for k in np.flatnonzero(~(lower <= upper))[:1]:
        name = next(name for name, place in places.items() if place.start <= k < place.stop)
        raise ArgumentError(f"bounds of {name}: {lower[k]} to {upper[k]} holds no number; give (low, high)")
    return lower, upper


def named_in(takes: Call, key: Any) -> list[str]:
    """The parameters that a key of bounds is for."""
    try:
        return parameters_named(takes, key, "bounds")
    except ArgumentTypeError:
        name = getattr(key, "name", key)
        raise ArgumentError(f"bounds: there is no parameter {name!r}{meant(str(name), takes.names)}") from None


entries(globals())
