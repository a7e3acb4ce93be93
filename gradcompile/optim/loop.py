"""The training loop: steps run in machine code, in chunks between which Python shows progress and hears Ctrl-C."""

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from gradcompile.codegen import array_kind
from gradcompile.codegen import functions as jit
from gradcompile.errors import ArgumentError, ArgumentTypeError, TrainingError
from gradcompile.library import optimizers as subset
from gradcompile.optim import steps
from gradcompile.optim.parts import Vector
from gradcompile.optim.result import TrainingResult
from gradcompile.optim.rules import Rule
from gradcompile.optim.sources import Chunk
from gradcompile.runtime import bind
from gradcompile.runtime.matching import Call
from gradcompile.signature.arguments import Argument

CHUNK_SECONDS = 0.05  # between two looks at Ctrl-C
TABLE = 1 << 12  # updates whose numbers are computed at a time
LOG = 1 << 12  # rows of the history that machine code writes at a time


class Interrupts(AbstractContextManager["Interrupts"]):
    """Ctrl-C as a word to be read between two chunks, so that no step is left half done; a second one is Python's own.

    outside: while code of the user's runs, in which it is an exception at once.
    """

    def __enter__(self) -> "Interrupts":
        self.pressed, self.outside = False, False
        mine = threading.current_thread() is threading.main_thread()
        self.before = signal.getsignal(signal.SIGINT) if mine else None
        if self.before is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.heard)
        return self

    def __exit__(self, *_: object) -> None:
        if self.before is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def heard(self, *_: object) -> None:
        """What the signal calls."""
        if self.pressed or self.outside:
            raise KeyboardInterrupt
        self.pressed = True


class Training:
    """A run: where it stands, and the code that takes it further.

    rule: a Rule, or a pair of init and update. every: steps between two entries of the history.
    """

    def __init__(
        self, f: Any, params: Any, source: Any, rule: Any, epochs: int, every: int | None, frozen: Sequence[Any] = ()
    ) -> None:
        self.f, self.given, self.source, self.rule = f, params, source, rule
        self.params: Sequence[Argument] = f.problem.params
        self.theta = bind.pack(self.params, in_order(params, Call(self.params), "params"), f.dtype)
        self.own = rule if isinstance(rule, Rule) else Rule((), repr(rule))
        self.steps, self.epochs = source.steps, epochs
        self.interval = every or self.steps
        self.at = np.zeros(subset.COUNTERS, np.int64)
        self.at[subset.INTERVAL], self.at[subset.EVERY] = self.interval, self.own.every
        self.sums, self.log = np.zeros(3), np.zeros((LOG, 2))
        self.grad = np.empty_like(self.theta)
        self.mean = np.zeros_like(self.theta) if self.own.every > 1 else self.theta[:0]
        self.factors = factors_of(self.params, self.own.factors, frozen, self.theta)
        self.freezes = bool(frozen)
        rows = self.own.init(self.theta).rows
        self.state = rows if self.factors is None else np.vstack([rows, self.factors])
        self.pair = None if isinstance(rule, Rule) else rule.init(self.theta.copy())
        self.history: dict[str, list[float]] = {"loss": [], "grad_norm": [], "scale": [], "validation": []}
        self.plateau = np.array([1.0, np.inf, 0.0, 0.0])  # scale of the rates, best loss, epochs without, to let pass
        self.table, self.numbers_from = np.empty((0, 1), f.dtype), -1
        self.limit, self.message = 1, ""
        self.places = places_of(self.params)

    # ---- where it stands

    @property
    def step(self) -> int:
        """Steps that are done."""
        return int(self.at[subset.STEP])

    @property
    def total(self) -> int:
        """Steps at the end."""
        return int(self.steps * self.epochs)

    # ---- chunks

    def advance(self, until: int) -> bool:
        """One chunk, not beyond a step; whether entries of the history came."""
        most = min(self.limit, until - self.step, 1 if self.pair is not None else self.limit)
        most = min(most, self.numbers(), (LOG - 1) * self.interval)
        chunk = self.source.chunk(self.step, most, self.at)
        self.at[subset.LEFT], self.at[subset.COUNT], self.at[subset.LOGGED] = chunk.turns, chunk.rows, 0
        self.at[subset.ROW] = self.step // self.own.every - max(self.numbers_from, 0)
        began = time.perf_counter()
        status = self.run(chunk)
        if time.perf_counter() - began >= CHUNK_SECONDS:
            self.limit = max(1, chunk.turns // 2)
        elif chunk.turns == self.limit:
            self.limit *= 2
        logged = int(self.at[subset.LOGGED])
        self.history["loss"] += self.log[:logged, 0].tolist()
        self.history["grad_norm"] += self.log[:logged, 1].tolist()
        self.history["scale"] += [float(self.plateau[0])] * logged
        if status in (subset.BAD_LOSS, subset.BAD_GRADIENT):
            raise self.error(status, chunk)
        return logged > 0

    def numbers(self) -> int:
        """Have the rules' numbers for the next steps; how many steps these are good for."""
        update, every = self.step // self.own.every, self.own.every
        first = update // TABLE * TABLE
        if first != self.numbers_from:
            self.table = self.own.table(first, TABLE, self.f.dtype, float(self.plateau[0]))
            self.numbers_from = first
        return int((first + TABLE) * every - self.step)

    def run(self, chunk: Chunk) -> int:
        """The steps of a chunk; how the last ended."""
        state = [self.theta, self.state, self.table, self.at, self.sums, self.log, self.mean, *self.gathers()]
        with np.errstate(all="ignore"):
            if self.pair is None and (loop := self.looped(chunk, state)) is not None:
                return int(loop(self.theta, self.grad, *chunk.inputs, *state, chunk.turns))
            status = subset.GOES_ON
            evaluate, take = self.f._route.choose(chunk.inputs), self.taken(state)
            while status == subset.GOES_ON:
                loss = evaluate(self.theta, self.grad, *chunk.inputs)
                status = int(take(self.theta.dtype.type(loss), self.grad, *state))
            if self.pair is not None and status == subset.ENDED:
                updates, self.pair = self.rule.update(self.grad.copy(), self.pair, self.theta.copy())
                self.theta += np.asarray(updates, self.theta.dtype).ravel()
        return status

    def gathers(self) -> list[Vector]:
        """What rows are gathered by: their order, the parameters' places, and from where to where."""
        return [self.source.order, self.places, *self.source.pairs]

    def step_of(self, state: Sequence[Vector]) -> Any:
        """The function that takes in a gradient."""
        ranks = tuple(v.ndim for v in state[9::2])
        in_file = getattr(self.f, "options", None) is None or self.f.options.cache
        scales = self.factors is not None
        return steps.module_of(self.own.parts, ranks, self.own.every, scales, self.freezes, in_file).advance

    def looped(self, chunk: Chunk, state: Sequence[Vector]) -> Any:
        """The kernel and the step in one loop of machine code; None where that can't be."""
        route = self.f._route
        if not route.is_compiled or not route.is_serial(chunk.inputs):
            return None
        return route.stepping(self.step_of(state), list(map(kind_of, state)), chunk.inputs)

    def taken(self, state: Sequence[Vector]) -> Any:
        """The step alone."""
        step = self.step_of(state)
        if not self.f._route.is_compiled or not jit.is_code(step):
            return step
        return jit.entry(step, [array_kind(self.f.dtype, 0), kind_of(self.grad), *map(kind_of, state)])

    # ---- what is told of it

    def shaped(self, theta: Vector) -> Any:
        """Parameters as they were given."""
        return shaped(self.params, self.given, theta)

    @property
    def used(self) -> Vector:
        """The parameters that a rule means to be used: theta, or a mean of it."""
        row = self.own.row
        return (self.theta if row is None else self.state[row]).copy()

    def columns(self) -> dict[str, Vector]:
        """The history as arrays."""
        found = {k: np.array(v) for k, v in self.history.items() if k != "validation" or v}
        scale = found.pop("scale")
        found["step"] = self.interval * np.arange(1, len(scale) + 1)
        found["epoch"] = found["step"] / self.steps if self.interval % self.steps else found["step"] // self.steps
        last = (found["step"] - 1) // self.own.every
        found["rate"] = np.array([self.own.rates(int(k), 1)[0] for k in last]) * scale if self.own.parts else scale
        return found

    def error(self, status: int, chunk: Chunk) -> TrainingError:
        """What was not finite: at which step, in which parameter, from which subexpression on."""
        loss, grad = self.f.bind(**_by_name(self.f.problem.inputs, chunk.inputs))(self.theta)
        names = [_entry(a, k) for a in self.params for k in range(bind.size_of(a))]
        bad = [f"d/d{name} = {g:.4g}" for name, g in zip(names, grad, strict=True) if not np.isfinite(g)]
        what = f"loss {loss:.6g}" if status == subset.BAD_LOSS else "gradient"
        largest = int(np.argmax(np.abs(self.theta)))
        return TrainingError(
            f"step {self.step + 1} (epoch {self.step // self.steps + 1}): {', '.join([what, *bad[:4]])}, not finite"
            f"{self._origin(chunk.inputs)}; the largest parameter is {names[largest]} = {self.theta[largest]:.4g}. "
            "Take a smaller learning_rate, set clip_norm, or start closer"
        )

    def _origin(self, batch: Sequence[Any]) -> str:
        """The first subexpression that is not finite there, in value or in adjoint."""
        theta = bind.unpack(self.params, self.theta, self.f.dtype)
        rows = self.f.explain(*theta, **_by_name(self.f.problem.inputs, batch)).rows
        for kind, found in (("value", rows), ("adjoint", reversed(rows))):
            for row in found:
                number = getattr(row, kind)
                if number is not None and not np.all(np.isfinite(number)):
                    return f", from the {kind} of {row.formula} on"
        return ""

    def result(self, interrupted: bool, best: Vector | None = None) -> TrainingResult:
        """What was reached."""
        last = self.shaped(self.used)
        params = last if best is None else self.shaped(best)
        message = self.message or ("interrupted" if interrupted else "all epochs are done")
        return TrainingResult(params, self.columns(), self.step // self.steps, interrupted, last, self.step, message)


def kind_of(v: Vector) -> Any:
    """The kind of an argument that an array is."""
    return array_kind(v.dtype.name, v.ndim)


def places_of(params: Sequence[Argument]) -> Vector:
    """For each parameter where it begins, how many entries it has, and the rows and columns of a matrix, else 0."""
    found = []
    for start, stop, shape in bind.places_of(params):
        found.append([start, stop - start, *(shape if len(shape) == 2 else (0, 0))])
    return np.array(found, np.int64).reshape(-1, 4)


def factors_of(
    params: Sequence[Argument], named: Sequence[tuple[str, float]], frozen: Sequence[Any], theta: Vector
) -> Any:
    """What each entry's update is multiplied by; None where none is."""
    if not named and not frozen:
        return None
    where = dict(zip((a.name for a in params), bind.places_of(params), strict=True))
    table = Call(params)
    found = np.ones_like(theta)
    for what, given in (("per_parameter", dict(named)), ("frozen", dict.fromkeys(frozen, 0.0))):
        for key, name in table.identifiers(given, what).items():
            start, stop, _ = where[name]
            found[start:stop] *= given[key]
    return found


def shaped(params: Sequence[Argument], given: Any, theta: Vector) -> Any:
    """Parameters in the arrangement that they were given in."""
    return arranged(Call(params), given, bind.split(params, theta.copy()))


def arranged(takes: Call, given: Any, parts: tuple[Any, ...]) -> Any:
    """The values of parameters in the arrangement of what was given."""
    if isinstance(given, Mapping):
        return takes.arranged(parts, given)
    if not _is_sequence(given, takes.arguments):
        return parts[0]
    return parts if isinstance(given, tuple) else list(parts)


def _entry(argument: Argument, k: int) -> str:
    """The name of an entry of a parameter."""
    shape = argument.leaf.type.shape
    if not shape:
        return argument.name
    index = np.unravel_index(k, [int(d) for d in shape])
    return f"{argument.name}[{', '.join(map(str, index))}]"


def _by_name(arguments: Sequence[Argument], values: Sequence[Any]) -> dict[str, Any]:
    """The keyword of a call that gives arguments their values whatever their names."""
    return {"args": dict(zip((a.name for a in arguments), values, strict=True))}


def _is_sequence(given: Any, arguments: Sequence[Argument]) -> bool:
    """Whether this holds the arguments, or is the only one itself."""
    if isinstance(given, np.ndarray):
        return len(arguments) != 1 or given.ndim != len(arguments[0].leaf.type.shape)
    return isinstance(given, Sequence) and not isinstance(given, str)


def in_order(given: Any, takes: Call, what: str) -> list[Any]:
    """The values in the function's order, from a sequence or from a mapping by name."""
    if isinstance(given, Mapping):
        return takes.parameters(given) if takes.form else takes.in_order(given, what)
    if takes.placed < len(takes.names):
        raise ArgumentError(f"{takes.unordered()}: pass {what}={takes.mapping()}, or {takes.cure()}")
    values = list(given) if not takes.names or _is_sequence(given, takes.arguments) else [given]
    if len(values) != len(takes.names):
        count = len(takes.names)
        raise ArgumentTypeError(f"{what} holds {len(values)} values, the function takes {count}: {takes.takes[1:-1]}")
    return values
