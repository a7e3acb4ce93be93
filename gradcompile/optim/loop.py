"""The training loop: epochs run in machine code, in chunks between which Python shows progress and hears Ctrl-C."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from gradcompile.charts import of_history
from gradcompile.codegen import functions as jit
from gradcompile.errors import ArgumentError, ArgumentTypeError, TrainingError
from gradcompile.optim import batches, rules
from gradcompile.optim.rules import Chain, Vector
from gradcompile.runtime import bind
from gradcompile.runtime.matching import Call
from gradcompile.signature.arguments import Argument

Callback = Callable[[int, Any, float, float], Any]

_RUNNING, _DONE, _BAD_LOSS, _BAD_GRADIENT = range(4)
_CHUNK_SECONDS = 0.05  # between two looks at Ctrl-C
_ORDERED = 1 << 16  # samples whose order is drawn in advance


@dataclass(frozen=True)
class TrainingResult:
    """What training has reached.

    params: in the shape they came in.  history: arrays with one entry a completed epoch, "loss" (the mean over its
    batches, weighted by their samples) and "grad_norm" (likewise, before clipping).  epochs: how many were completed.
    interrupted: ended by Ctrl-C.
    """

    params: Any
    history: dict[str, Vector]
    epochs: int
    interrupted: bool

    def _repr_html_(self) -> str:
        """The curves of the run, for a notebook."""
        return of_history(self.history)


def sgd(
    f: Any,
    params: Any,
    data: Any,
    *,
    learning_rate: float,
    epochs: int,
    batch_size: int | None = None,
    batch_axis: str | None = None,
    momentum: float = 0.0,
    clip_norm: float | None = None,
    shuffle: bool = True,
    seed: int = 0,
    progress: bool = True,
    callback: Callback | None = None,
) -> TrainingResult:
    """Stochastic gradient descent on a compiled loss: m = momentum m + g; theta = theta - learning_rate m.

    params: where to start; data: the other arguments of f; each a sequence in the function's order, or a mapping by
    name, which data has to be where nobody stated the order of two or more inputs. Columns (data symbols) are cut into
    batches of `batch_size` samples, all of them if None, in an order drawn anew for each epoch from `seed` (as they
    come if `shuffle` is false); the last batch may be smaller. Of a loss over arrays those are cut whose first axis is
    the only dimension that has a name; where there are more names, `batch_axis` is that of the samples. Other inputs
    pass whole. clip_norm: the gradient is scaled down to this norm
    where it is longer. callback(epoch, params, loss, grad_norm) is called after each epoch (1, 2, ...) with copies;
    training ends when it returns True. Ctrl-C ends it too, and what was reached is returned.

    Raises TrainingError where loss or gradient is not finite, ArgumentError or ArgumentTypeError for what doesn't fit.

    >>> import sympy as sp
    >>> from gradcompile import compile_grad
    >>> a, b, x, y = sp.symbols("a b x y")
    >>> f = compile_grad((a*x + b - y)**2, [a, b], data=[x, y])
    >>> fit = sgd(f, [0.0, 0.0], [[0, 1, 2], [1, 3, 5]], learning_rate=0.2, momentum=0.5, epochs=200, progress=False)
    >>> [round(p, 6) for p in fit.params]
    [2.0, 1.0]
    """
    _check_numbers(learning_rate=learning_rate, momentum=momentum, seed=seed)
    _check_numbers(clip_norm=1.0 if clip_norm is None else clip_norm)
    if callback is not None and not callable(callback):
        raise ArgumentTypeError(f"callback={callback!r}: give a function of epoch, params, loss and gradient norm")
    steps = [rules.momentum(momentum)] if momentum else []
    clip = [] if clip_norm is None else [rules.clip_by_norm(clip_norm)]
    _check_options(learning_rate, epochs, momentum, batch_size)
    optimiser = rules.chain(*clip, *steps, rules.scale(-learning_rate))
    training = Training(f, params, data, optimiser, epochs, batch_size, batch_axis, shuffle, seed)
    interrupted = training.run(_bar(epochs, progress), callback)
    return training.result(interrupted)


def _check_numbers(**options: Any) -> None:
    """Raise unless each option is a number, and the seed a whole one from 0."""
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise ArgumentTypeError(f"{name}={value!r}: give a number")
    seed = options.get("seed", 0)
    if seed < 0 or seed != int(seed):
        raise ArgumentError(f"seed={seed!r}: give a whole number from 0")


def _check_options(learning_rate: float, epochs: int, momentum: float, batch_size: int | None) -> None:
    if not 0.0 < learning_rate < np.inf:
        raise ArgumentError(f"learning_rate={learning_rate!r}: give a positive number")
    if not 0.0 <= momentum < 1.0:
        raise ArgumentError(f"momentum={momentum!r}: give a number from 0 to below 1")
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value is None and name == "batch_size":
            continue
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"{name}={value!r}: give a whole number from 1")


@dataclass
class Training:
    """A run: where it stands, and the compiled code that takes it further."""

    f: Any
    given: Any
    data: Any
    optimiser: Chain
    epochs: int
    batch_size: int | None
    batch_axis: str | None
    shuffle: bool
    seed: int
    theta: Vector = field(init=False)

    def __post_init__(self) -> None:
        self.params: Sequence[Argument] = self.f.problem.params
        arguments: Sequence[Argument] = self.f.problem.inputs
        self.inputs = bind.fixed(bind.convert_all(arguments, in_order(self.data, Call(arguments), "data")))
        self.f._route.check(self.inputs)
        self.theta = bind.pack(self.params, in_order(self.given, Call(self.params), "params"), self.f.dtype)
        samples = batches.axis_of_samples(arguments, self.batch_axis, self.batch_size)
        self.is_column = [samples is not None and a.leaf.type.shape[:1] == (samples,) for a in arguments]
        self.samples = next((len(v) for v, c in zip(self.inputs, self.is_column, strict=True) if c), 1)
        self.batch = min(self.batch_size or self.samples, self.samples)
        batches.check(self.f.problem, self.inputs, samples, self.batch)
        self.state = self.optimiser.init(self.theta)
        self.at = np.zeros(3, np.int64)  # epoch of this block, first sample of the next batch, steps in all
        self.sums = np.zeros(2)  # of loss and gradient norm over this epoch, weighted
        self.losses, self.norms = np.zeros(self.epochs), np.zeros(self.epochs)
        self.completed = 0

    def run(self, bar: Any, callback: Callback | None) -> bool:
        """All epochs; whether Ctrl-C came."""
        try:
            with bar, np.errstate(all="ignore"):
                self._advance_all(bar, callback)
        except KeyboardInterrupt:
            return True
        return False

    def _advance_all(self, bar: Any, callback: Callback | None) -> None:
        advance = self._compiled()
        for orders, block in self._blocks(1 if callback else self.epochs):
            start, self.at[0] = self.completed, 0
            losses, norms = self.losses[start : start + block], self.norms[start : start + block]
            for status in self._chunks(advance, orders, losses, norms):
                done = start + int(self.at[0])
                if done:
                    shown = f"loss {self.losses[done - 1]:.4g}, gradient {self.norms[done - 1]:.2g}"
                    bar.set_postfix_str(shown, refresh=False)
                bar.update(done - self.completed)
                self.completed = done
                if status in (_BAD_LOSS, _BAD_GRADIENT):
                    raise self._error(status)
            if callback:
                last = float(losses[-1]), float(norms[-1])
                if callback(self.completed, self._shaped(self.theta.copy()), *last) is True:
                    return

    def _blocks(self, at_most: int) -> Iterator[tuple[Vector, int]]:
        """Runs of epochs, with the order of the samples in each. What is drawn does not depend on how they are cut."""
        random = np.random.Generator(np.random.PCG64(self.seed))
        in_order = np.arange(self.samples)[np.newaxis]
        shuffled = self.shuffle and self.batch < self.samples
        most = max(1, min(at_most, _ORDERED // self.samples)) if shuffled else at_most
        left = self.epochs
        while left:
            block = min(most, left)
            yield (np.stack([random.permutation(self.samples) for _ in range(block)]) if shuffled else in_order), block
            left -= block

    def _chunks(self, advance: Callable[..., int], orders: Vector, losses: Vector, norms: Vector) -> Iterator[int]:
        """Run a block in chunks of as many steps as fit the time between two looks at Ctrl-C."""
        limit, status = 1, _RUNNING
        while status == _RUNNING:
            began = time.perf_counter()
            status = advance(orders, losses, norms, limit)
            seconds = time.perf_counter() - began
            limit = limit * 2 if seconds < _CHUNK_SECONDS else max(1, limit // 2)
            yield status

    def _compiled(self) -> Callable[[Vector, Vector, Vector, int], int]:
        """advance(orders, losses, norms, limit) -> status."""
        kernel = self.f.kernel
        gathered = [c and self.batch < self.samples for c in self.is_column]
        axes = [v.ndim if g else 0 for v, g in zip(self.inputs, gathered, strict=True)]
        source = driver(getattr(kernel, "py_func", kernel).__module__, axes, self.optimiser)
        columns = [v for v, is_gathered in zip(self.inputs, gathered, strict=True) if is_gathered]
        buffers = [np.empty((self.batch, *v.shape[1:]), v.dtype) for v in columns]
        fixed = (self.theta, np.empty_like(self.theta), self.state, self.optimiser.hyper, self.at, self.sums)
        tail = (self.samples, self.batch, *self._numbers(hasattr(kernel, "overloads")), *buffers)
        in_file = getattr(self.f, "options", None) is None or self.f.options.cache
        code = jit.load(source, "sgd", in_file).advance
        example = (np.empty((1, 1), np.int64), np.empty(1), np.empty(1), 1)
        types = [self._type(v) for v in (*fixed, *example, *tail)] if hasattr(code, "compile") else []
        route = self.f._route
        run = route.helped(route.alone(jit.precompile(code, types)), self._chosen(slice(self.batch)), trains=True)
        return lambda *chunk: int(run(*fixed, *chunk, *tail))

    def _numbers(self, compiled: bool) -> list[Any]:
        """The inputs; without machine code, scalars as NumPy's numbers, whose division by zero is no error."""
        scalar = self.theta.dtype.type
        return [scalar(v) if type(v) is float and not compiled else v for v in self.inputs]

    def _type(self, value: Any) -> Any:
        """Numba's type, by what the value is and not by whether it may be written to: one compilation for both."""
        from numba import types
        from numba.np.numpy_support import from_dtype

        if isinstance(value, np.ndarray):
            return types.Array(from_dtype(value.dtype), value.ndim, "C" if value.flags.c_contiguous else "A")
        return types.int64 if isinstance(value, int) else from_dtype(self.theta.dtype)

    def _shaped(self, theta: Vector) -> Any:
        return shaped(self.params, self.given, theta)

    def _error(self, status: int) -> TrainingError:
        """What was not finite: at which step, in which parameter, from which subexpression on."""
        batch = self._batch()
        loss, grad = self.f.bind(**_by_name(self.f.problem.inputs, batch))(self.theta)
        names = [_entry(a, k) for a in self.params for k in range(bind.size_of(a))]
        bad = [f"d/d{name} = {g:.4g}" for name, g in zip(names, grad, strict=True) if not np.isfinite(g)]
        what = f"loss {loss:.6g}" if status == _BAD_LOSS else "gradient"
        largest = int(np.argmax(np.abs(self.theta)))
        return TrainingError(
            f"step {int(self.at[2]) + 1} (epoch {self.completed + 1}): {', '.join([what, *bad[:4]])}, not finite"
            f"{self._origin(batch)}; the largest parameter is {names[largest]} = {self.theta[largest]:.4g}. "
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

    def _batch(self) -> list[Any]:
        """The inputs of the step that failed."""
        orders, _ = next(islice(self._blocks(1), self.completed, None))
        return self._chosen(orders[0, int(self.at[1]) :][: self.batch])

    def _chosen(self, rows: Any) -> list[Any]:
        """The inputs, of those that come in batches these rows."""
        return [v[rows] if c else v for v, c in zip(self.inputs, self.is_column, strict=True)]

    def result(self, interrupted: bool) -> TrainingResult:
        """What was reached."""
        history = {"loss": self.losses[: self.completed].copy(), "grad_norm": self.norms[: self.completed].copy()}
        return TrainingResult(self._shaped(self.theta), history, self.completed, interrupted)


def shaped(params: Sequence[Argument], given: Any, theta: Vector) -> Any:
    """Parameters in the arrangement that they were given in."""
    parts = bind.split(params, theta.copy())
    if isinstance(given, Mapping):
        return Call(params).arranged(parts, given)
    if not _is_sequence(given, params):
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


class _Silent:
    """Stands in for a progress bar."""

    def __enter__(self) -> "_Silent":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def update(self, _: int) -> None:
        """Nothing to show."""

    def set_postfix_str(self, _: str, refresh: bool) -> None:
        """Nothing to show."""


def _bar(epochs: int, progress: bool) -> Any:
    if not progress or sys.stderr is None or sys.stderr.closed:  # a service may have nowhere to show it
        return _Silent()
    from tqdm import tqdm

    return tqdm(total=epochs, unit="epoch")


_DRIVER = '''"""Epochs of gradient descent with {module}: batches, gradient, update, log.

The name of that module holds the hash of its text, so machine code kept for this one can't be that of another kernel.
"""

import math

from gradcompile.codegen.functions import njit
from gradcompile.library.optimizers import {rules}
from {module} import kernel


@njit
def advance(theta, grad, state, hyper, at, sums, orders, losses, norms, limit, samples, batch{arguments}):
    """At most `limit` steps: 0 when there is more to do, 1 at the end, 2 and 3 if loss or gradient is not finite."""
    for _ in range(limit):
        if at[0] == losses.shape[0]:
            return 1
        start = at[1]
        count = min(batch, samples - start)
        row = at[0] % orders.shape[0]
{gather}        loss = kernel(theta, grad{inputs})
        length = norm(grad)
        if not math.isfinite(loss):
            return 2
        if not math.isfinite(length):
            return 3
        sums[0] += loss * count
        sums[1] += length * count
{update}
        for k in range(theta.shape[0]):
            theta[k] += grad[k]
        at[1] += count
        at[2] += 1
        if at[1] == samples:
            losses[at[0]] = sums[0] / samples
            norms[at[0]] = sums[1] / samples
            sums[:] = 0.0
            at[0] += 1
            at[1] = 0
    return 1 if at[0] == losses.shape[0] else 0
'''


def gather(k: int, axes: int) -> str:
    """The lines that put the rows of input k, an array of so many axes, into its batch.

    Entry by entry: to copy whole rows, Numba compiles what it would say of one that does not fit, for two seconds.
    """
    inner = [f"j{axis}" for axis in range(1, axes)]
    lines = [f"part{k} = batch{k}[:count]", "for i in range(count):", "    place = orders[row, start + i]"]
    lines += [f"{'    ' * n}for j{n} in range(in{k}.shape[{n}]):" for n in range(1, axes)]
    lines.append(f"{'    ' * axes}part{k}[{', '.join(['i', *inner])}] = in{k}[{', '.join(['place', *inner])}]")
    return "".join(f"        {line}\n" for line in lines)


def driver(module: str, axes: Sequence[int], optimiser: Chain) -> str:
    """The text of the module that trains the kernel of a module.

    axes: how many each input has that comes in batches, 0 for one that does not.
    """
    chosen = {k: count for k, count in enumerate(axes) if count}
    return _DRIVER.format(
        module=module,
        rules=", ".join(sorted({"norm", *(r.name for r in optimiser.rules)})),
        arguments="".join([*(f", in{k}" for k in range(len(axes))), *(f", batch{k}" for k in chosen)]),
        gather="".join(gather(k, count) for k, count in chosen.items()),
        inputs="".join(f", part{k}" if count else f", in{k}" for k, count in enumerate(axes)),
        update="\n".join(f"        {call}" for call in optimiser.calls()),
    )
