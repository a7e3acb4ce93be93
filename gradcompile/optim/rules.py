"""What an optimiser is: `init(params) -> state`, `update(grads, state, params) -> (updates, state)`, as in optax.

A rule of the package is a chain of parts, each a function of the subset (`library/optimizers.py`) with its numbers for
a step. The same text is machine code in `train` and what `update` runs on NumPy's arrays. A rule of your own is a
part too (`rule`), or any object with these two methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradcompile.codegen import array_kind, own_text
from gradcompile.codegen import functions as jit
from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.optim.answers import is_number, whole
from gradcompile.optim.given import flattened
from gradcompile.optim.parts import PARAMS, Part, Vector
from gradcompile.optim.schedules import Plateau, Spelled, scheduled, spelled
from gradcompile.optim.steps import module_of


class State(NamedTuple):
    """What a rule remembers: rows of the length of theta, and how many steps there were."""

    rows: Vector
    steps: int


@dataclass(frozen=True, repr=False)
class Rule(Spelled):
    """An optimiser: parts one after another. every: gradients whose mean is one step's. factors: of rates, by name.

    >>> import numpy as np
    >>> from gradcompile import optim
    >>> rule = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1))
    >>> rule
    chain(clip_by_global_norm(1.0), sgd(0.1))
    >>> updates, state = rule.update(np.array([3.0, 4.0]), rule.init(np.zeros(2)), np.zeros(2))
    >>> print(updates)
    [-0.06 -0.08]
    """

    parts: tuple[Part, ...]
    every: int = 1
    factors: tuple[tuple[Any, float], ...] = ()

    def init(self, params: Any) -> State:
        """The state before the first step, for a vector of parameters."""
        theta = np.asarray(params, float if not hasattr(params, "dtype") else None).ravel()
        rows = [theta if start == PARAMS else np.full_like(theta, start) for p in self.parts for start in p.starts]
        return State(np.stack(rows) if rows else np.empty((0, theta.size), theta.dtype), 0)

    def update(self, grads: Any, state: State, params: Any) -> tuple[Vector, State]:
        """What is added to the parameters, and the next state. Arrays of any shape; a norm is of all entries."""
        if self.every > 1 or self.factors:
            raise ArgumentError(f"{self}: what is said by name or of several gradients takes place in train")
        theta = np.ascontiguousarray(params).ravel()
        updates, rows = np.array(grads, theta.dtype).ravel(), state.rows.copy()
        whole = np.array([[0, theta.size, 0, 0]])  # the places of one parameter that is all of theta
        with np.errstate(all="ignore"):
            self.code(theta.dtype.name)(updates, theta, rows, self.table(state.steps, 1, theta.dtype), 0, whole)
        return updates.reshape(np.shape(params)), State(rows, state.steps + 1)

    def code(self, dtype: str) -> Any:
        """The machine code of an update: of updates, theta, rows of state, a table, a row of that, and places."""
        kinds = [array_kind(dtype, rank) for rank in (1, 1, 2, 2)]
        return jit.entry(module_of(self.parts, None).update, [*kinds, array_kind("int64", 0), array_kind("int64", 2)])

    def table(self, first: int, count: int, dtype: Any, scale: float = 1.0) -> Vector:
        """The numbers of all parts for so many updates, from one on; scale: of the rates."""
        steps = np.arange(first, first + count, dtype=float)
        found = np.zeros((count, max(1, sum(p.width for p in self.parts))))
        column = 0
        for part in self.parts:
            rates = np.ones(count) if part.rate is None else scale * part.rate.values(steps)
            for k, values in enumerate(part.numbers(steps + 1.0, rates)):
                found[:, column + k] = values
            column += part.width
        return found.astype(dtype)

    def rates(self, updates: Vector) -> Vector:
        """The rate of each of these updates, 0, 1, ...; of the first part that has one."""
        found = next((p.rate for p in self.parts if p.rate is not None), scheduled(1.0))
        return found.values(np.asarray(updates, float))

    @property
    def plateau(self) -> Plateau | None:
        """The schedule that waits for the loss, if one does."""
        return next((p.rate for p in self.parts if isinstance(p.rate, Plateau)), None)

    @property
    def row(self) -> int | None:
        """The row of the state that holds the parameters to be used; None: theta itself does."""
        row, found = 0, None
        for part in self.parts:
            found = found if part.shown is None else row + part.shown
            row += part.rows
        return found


@spelled
def chain(*rules: Rule) -> Rule:
    """Rules one after another: each takes what the one before gives.

    >>> from gradcompile import optim
    >>> optim.chain(optim.clip(1.0), optim.adam(1e-3))
    chain(clip(1.0), adam(0.001))
    """
    for rule in rules:
        if not isinstance(rule, Rule):
            raise ArgumentTypeError(f"chain({rule!r}): give rules of gradcompile.optim")
        if rule.every > 1 and rule is not rules[-1]:
            raise ArgumentError(f"chain: {rule} stands outermost, as in accumulate(chain(...), {rule.every})")
    every = rules[-1].every if rules else 1
    if every > 1 and len(rules) > 1:
        raise ArgumentError(f"chain: write accumulate(chain(...), {every})")
    return Rule(tuple(p for r in rules for p in r.parts), every, tuple(f for r in rules for f in r.factors))


@spelled
def accumulate(rule: Rule, every: int) -> Rule:
    """One step for the mean of so many gradients: batches that many times as large, without their memory.

    g = (g_1 + ... + g_k)/k. It is `optax.MultiSteps`. Schedules and bias corrections count the steps, not the batches.

    >>> from gradcompile import optim
    >>> optim.accumulate(optim.sgd(0.1), 4)
    accumulate(sgd(0.1), 4)
    """
    return Rule(rule.parts, whole("every", every), rule.factors)


@spelled
def per_parameter(rule: Rule, rates: dict[Any, float]) -> Rule:
    """Multiply what a rule does to single parameters, by their names: 0.1 is a tenth of its rate, 0 keeps them.

    Of parameters in nested mappings the name of a container means all in it, as do nested mappings of rates.

    >>> from gradcompile import optim
    >>> optim.per_parameter(optim.adam(1e-3), {"w": 0.1})
    per_parameter(adam(0.001), {'w': 0.1})
    """
    rates = flattened(rates)
    for name, value in rates.items():
        if not is_number(value) or not np.isfinite(value):
            raise ArgumentError(f"per_parameter: {name!r}: {value!r}; give a number that the rate is multiplied by")
    if rule.row is not None:
        raise ArgumentError(f"per_parameter({rule!r}): the parameters to be used are not where the rule goes; give it "
                            "to the rule inside of average")  # fmt: skip
    own = tuple((k if isinstance(k, tuple) else str(k), float(v)) for k, v in rates.items())
    return Rule(rule.parts, rule.every, (*rule.factors, *own))


@spelled
def rule(function: Any, *, learning_rate: Any = 1.0, hyper: Sequence[float] = (), rows: int = 0) -> Rule:
    """A rule of your own in the package's subset of Python, at the speed of the others.

    function(updates, theta, state, h), at the top level of a file, ends with one loop `for k in range(0,
    updates.shape[0])`, written with `lanes` for `range` or not, that replaces `updates[k]`, the gradient, by what is
    added to theta[k]. state, of shape (rows, n), begins as zeros. h: the rate of this step, its number (1, 2, ...),
    then `hyper`. Its turns do not meet; conditions are `a if c else b`; functions are those of
    `gradcompile.library.primitives` and `gradcompile.vmath`.

        def heavy_ball(updates, theta, state, h):
            for k in lanes(0, updates.shape[0]):
                state[0, k] = h[2]*state[0, k] - h[0]*updates[k]
                updates[k] = state[0, k]

        optimizer = optim.rule(heavy_ball, learning_rate=0.01, hyper=[0.9], rows=1)
    """
    if not callable(function):
        raise ArgumentTypeError(f"rule({function!r}): give a function of updates, theta, state and h")
    taken = (own_text(function) or function).__code__
    if taken.co_varnames[: taken.co_argcount] != ("updates", "theta", "state", "h"):
        raise ArgumentTypeError(f"rule: {taken.co_name} takes (updates, theta, state, h), under these names")
    fixed = tuple(map(float, hyper))
    made = Part(
        function, 2 + len(fixed), lambda steps, rates: (rates, steps, *fixed), (0.0,) * rows, scheduled(learning_rate),
        is_own=False,
    )  # fmt: skip
    return Rule((made,))
