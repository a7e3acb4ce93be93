"""The training loop: steps run in machine code, in chunks between which Python shows progress and hears Ctrl-C."""

import signal
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from gradcompile.codegen import array_kind
from gradcompile.codegen import functions as jit
from gradcompile.errors import (
    DataError,
    GradcompileError,
    TrainingError,
    TrainingMemoryError,
)
from gradcompile.library import optimizers as subset
from gradcompile.optim import steps
from gradcompile.optim.given import entry_name, in_order, named, shaped
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
UNKNOWN = 1 << 62  # steps


class Interrupts(AbstractContextManager["Interrupts"]):
    """Ctrl-C as a word to be read between two chunks, so that no step is left half done; a second one is Python's own.

    outside: while code of the user's runs, in which it is an exception at once.
    """

    pressed = outside = False
    before: Any = None

    def __enter__(self) -> "Interrupts":
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
        self.own = rule if isinstance(rule, Rule) else Rule(())
        self.steps, self.epochs = source.steps, epochs  # in an epoch, None where nobody knows
        self.interval = every or self.steps or UNKNOWN
        self.interrupts = Interrupts()
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
        self.history: dict[str, list[float]] = {
            "step": [], "epoch": [], "loss": [], "grad_norm": [], "scale": [], "validation": [],
        }  # fmt: skip
        self.best = self.theta.copy()  # parameters by validation
        self.lowest = np.array([np.inf, 0.0])  # of the validation, and entries of the history since
        self.plateau = np.array([1.0, np.inf, 0.0, 0.0])  # scale of the rates, best loss, epochs without, to let pass
        self.table, self.numbers_from = np.empty((0, 1), f.dtype), -1
        self.limit, self.message = 1, ""
        self.places = places_of(self.params)
        self.loops: dict[Any, Any] = {}  # of kernel and step, by the shapes of the inputs
        self.alone: Any = None  # the step

    # ---- where it stands

    @property
    def step(self) -> int:
        """Steps that are done."""
        return int(self.at[subset.STEP])

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return int(self.at[subset.EPOCH]) if self.steps is None else self.step // self.steps

    @property
    def total(self) -> int:
        """Steps at the end, if that is known."""
        return UNKNOWN if self.steps is None else int(self.steps * self.epochs)

    @property
    def where(self) -> str:
        """The place of the next step, for messages."""
        inside = self.at[subset.INSIDE] if self.steps is None else self.step % self.steps
        return f"step {self.step + 1} (epoch {self.epoch + 1}, batch {int(inside) + 1})"

    # ---- chunks

    def advance(self, until: int) -> bool:
        """One chunk, not beyond a step; whether entries of the history came."""
        most = min(self.limit, until - self.step, 1 if self.pair is not None else self.limit)
        most = min(most, self.numbers(), (LOG - 1) * self.interval)
        chunk = self.read(most)
        if chunk is None:
            return self.end_epoch()
        self.at[subset.LEFT], self.at[subset.COUNT], self.at[subset.LOGGED] = chunk.turns, chunk.rows, 0
        self.at[subset.ROW] = self.step // self.own.every - max(self.numbers_from, 0)
        began, before = time.perf_counter(), self.step
        try:
            status = self.run(chunk)
        except MemoryError as error:
            raise TrainingMemoryError(f"{self.where}: there is no memory for a batch of {chunk.rows}; take a smaller "
                                      "batch_size") from error  # fmt: skip
        self.at[subset.INSIDE] += self.steps is None
        if time.perf_counter() - began >= CHUNK_SECONDS:
            self.limit = max(1, chunk.turns // 2)
        elif chunk.turns == self.limit:
            self.limit *= 2
        logged = int(self.at[subset.LOGGED])
        first = before // self.interval + 1
        self.write([self.interval * (first + k) for k in range(logged)], self.log[:logged])
        if status in (subset.BAD_LOSS, subset.BAD_GRADIENT):
            raise self.error(status, chunk)
        return logged > 0

    def read(self, most: int) -> Chunk | None:
        """The next steps' batches; None at the end of an epoch whose length nobody knew. An error says where."""
        self.interrupts.outside = True
        try:
            return self.source.chunk(self.step, most, self.at)  # type: ignore[no-any-return]
        except GradcompileError as error:
            raise type(error)(f"{self.where}: {error}") from error
        except Exception as error:
            raise DataError(f"{self.where} can't be read: {type(error).__name__}: {error}") from error
        finally:
            self.interrupts.outside = False

    def end_epoch(self) -> bool:
        """The end of an epoch whose length nobody knew, an entry of the history unless these come by steps."""
        if self.at[subset.INSIDE] == 0:
            raise DataError(f"{self.where}: data gives no batches; if it is an iterator, it can be gone through once")
        self.at[subset.EPOCH] += 1
        self.at[subset.INSIDE] = 0
        if self.interval != UNKNOWN:
            return False
        self.write([self.step], self.sums[np.newaxis, :2] / self.sums[2])
        self.sums[:] = self.at[subset.TURN] = 0
        return True

    def write(self, steps: Sequence[int], rows: Vector) -> None:
        """Entries of the history, at these steps."""
        self.history["step"] += steps
        self.history["epoch"] += [self.epoch if self.steps is None else s / self.steps for s in steps]
        self.history["loss"] += rows[:, 0].tolist()
        self.history["grad_norm"] += rows[:, 1].tolist()
        self.history["scale"] += [float(self.plateau[0])] * len(steps)

    def numbers(self) -> int:
        """Have the rules' numbers for the next steps; how many steps these are good for."""
        update, every = self.step // self.own.every, self.own.every
        first = update // TABLE * TABLE
        if first != self.numbers_from:
            count = min(TABLE, max(1, -(-self.total // every) - first))  # no rate is known beyond the end
            self.table = self.own.table(first, count, self.f.dtype, float(self.plateau[0]))
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
        """The kernel and the step in one loop of machine code, found once for each size; None where that can't be."""
        sizes, route = tuple(map(np.shape, chunk.inputs)), self.f._route
        if sizes not in self.loops:
            is_one = route.is_compiled and route.is_serial(chunk.inputs)
            kinds = list(map(kind_of, state)) if is_one else []
            self.loops[sizes] = route.stepping(self.step_of(state), kinds, chunk.inputs) if is_one else None
        return self.loops[sizes]

    def taken(self, state: Sequence[Vector]) -> Any:
        """The step alone."""
        if self.alone is None:
            kinds = [array_kind(self.f.dtype, 0), *map(kind_of, [self.grad, *state])]
            self.alone = jit.entry(self.step_of(state), kinds)
        return self.alone

    def loss(self, theta: Vector, inputs: Sequence[Any]) -> float:
        """The loss alone, where there is code for that."""
        alone = getattr(self.f, "loss", None)
        grad = np.empty(theta.size if alone is None else 0, theta.dtype)
        return float((self.f if alone is None else alone)._route.choose(inputs)(theta, grad, *inputs))

    # ---- what is told of it

    @property
    def is_finite(self) -> bool:
        """Whether all parameters are."""
        return bool(np.isfinite(self.theta).all())

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
        found["step"] = found["step"].astype(np.int64)
        if (found["epoch"] == np.rint(found["epoch"])).all():
            found["epoch"] = found["epoch"].astype(np.int64)
        found["rate"] = scale * self.own.rates((found["step"] - 1) // self.own.every)
        return found

    def error(self, status: int, chunk: Chunk) -> TrainingError:
        """What was not finite: at which step, in which parameter, from which subexpression on."""
        grad = np.empty(self.theta.size, self.theta.dtype)
        loss = self.f._route.choose(chunk.inputs)(self.theta, grad, *chunk.inputs)
        names = [entry_name(a, k) for a in self.params for k in range(bind.size_of(a))]
        bad = [f"d/d{name} = {g:.4g}" for name, g in zip(names, grad, strict=True) if not np.isfinite(g)]
        what = f"loss {loss:.6g}" if status == subset.BAD_LOSS else "gradient"
        largest = int(np.argmax(np.abs(self.theta)))
        return TrainingError(
            f"step {self.step + 1} (epoch {self.epoch + 1}): {', '.join([what, *bad[:4]])}, not finite. "
            f"{self._trouble(chunk.inputs)}The largest parameter is {names[largest]} = {self.theta[largest]:.4g}. "
            "Take a smaller learning_rate, set clip_norm, or start closer"
        )

    def _trouble(self, batch: Sequence[Any]) -> str:
        """What `why` says of it."""
        if not hasattr(self.f, "why") or len(self.f.signature.parameters) != len(self.params) + len(batch):
            return ""  # evaluated by Python, or by parts of a sparse matrix
        values = [*bind.unpack(self.params, self.theta, self.f.dtype), *batch]
        return f"{self.f._trouble(dict(zip(self.f.signature.parameters, values, strict=True)))} "

    def result(self, interrupted: bool, best: Vector | None = None) -> TrainingResult:
        """What was reached."""
        last = self.shaped(self.used)
        params = last if best is None else self.shaped(best)
        message = self.message or ("interrupted" if interrupted else "all epochs are done")
        return TrainingResult(params, self.columns(), self.epoch, interrupted, last, self.step, message)


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
    params: Sequence[Argument], rates: Sequence[tuple[Any, float]], frozen: Sequence[Any], theta: Vector
) -> Any:
    """What each entry's update is multiplied by; None where none is."""
    if not rates and not frozen:
        return None
    where = dict(zip((a.name for a in params), bind.places_of(params), strict=True))
    table = Call(params)
    found = np.ones_like(theta)
    for what, given in (("per_parameter", dict(rates)), ("frozen", dict.fromkeys(frozen, 0.0))):
        for key, factor in given.items():
            for name in named(table, key, what):
                start, stop, _ = where[name]
                found[start:stop] *= factor
    return found
