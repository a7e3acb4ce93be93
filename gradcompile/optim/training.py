"""`train`, and `sgd`, a thin call of it."""

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError, ArgumentTypeError, DataError, GradcompileError, TrainingError
from gradcompile.library.optimizers import COUNT
from gradcompile.optim import family
from gradcompile.optim.answers import ends, is_number, whole
from gradcompile.optim.checkpoints import Checkpoints
from gradcompile.optim.loop import UNKNOWN, Training
from gradcompile.optim.losses import around
from gradcompile.optim.result import Progress, TrainingResult
from gradcompile.optim.rules import Rule
from gradcompile.optim.schedules import spelled
from gradcompile.optim.sources import source_of
from gradcompile.tracebacks import entries

Callback = Callable[[Progress], Any]


def train(
    f: Any,
    params: Any,
    data: Any = (),
    *,
    optimizer: Any,
    epochs: int,
    batch_size: int | None = None,
    batch_axis: str | None = None,
    shuffle: bool = True,
    seed: int = 0,
    clip_norm: float | None = None,
    validation: Any = None,
    patience: int | None = None,
    frozen: Any = (),
    checkpoint: Any = None,
    checkpoint_every: float = 30.0,
    resume: bool = False,
    every: int | None = None,
    progress: bool = True,
    callback: Callback | None = None,
) -> TrainingResult:
    """Train a compiled loss with a rule of `gradcompile.optim`, or one of your own.

    params: where to start; data: the other arguments of f; each a sequence in the function's order, or a mapping by
    name. Columns are cut into batches of `batch_size` samples, all of them if None, in an order drawn anew for each
    epoch from `seed` (as they come if `shuffle` is false); the last batch may be smaller. Of a loss over arrays those
    are cut whose first axis is the only dimension that has a name, or is called `batch_axis`. Other inputs pass whole;
    one that is a function of the step (0, 1, ...) is asked at each.

    data may also be a frame, Parquet files by their paths, or what gives batches: an iterable, such as a DataLoader of
    torch, gone through once an epoch, a function that gives one, or an iterator, for one epoch. Files mapped to memory
    stay where they are, and what is large and of another dtype is converted batch by batch.

    optimizer: a rule, or any object with init(theta) -> state and update(grads, state, theta) -> (updates, state) on
    vectors. epochs: in all, resumed or not. clip_norm: the gradient is scaled down to this norm where it is longer.
    frozen: names of parameters that stay; of parameters in nested mappings the name of one means all in it.
    validation: data of the same form, on which the loss is computed after each epoch. patience: so many times without
    a lower one end the run, and `params` are those of the lowest.

    every: entries of the history, validations and callbacks come after so many steps in place of an epoch's.
    callback(seen): gets one record (step, epoch, loss, validation, grad_norm, rate, params as copies), and ends the run
    by returning True or raising StopIteration. Ctrl-C ends it too, and what was reached is returned.

    checkpoint: a file, .npz, written whole after epochs, at Ctrl-C, at the end, and every `checkpoint_every` seconds.
    resume: go on from it, if it is there, with the bits of a run that was never interrupted.

    Raises TrainingError where loss or gradient is not finite; its `result` has the parameters before that step.

    >>> import sympy as sp
    >>> from gradcompile import compile_grad, optim, train
    >>> a, b, x, y = sp.symbols("a b x y")
    >>> f = compile_grad((a*x + b - y)**2, [a, b], data=[x, y])
    >>> fit = train(f, {a: 0.0, b: 0.0}, [[0, 1, 2], [1, 3, 5]], optimizer=optim.adam(0.1), epochs=600, progress=False)
    >>> {str(k): round(v, 6) for k, v in fit.params.items()}
    {'a': 2.0, 'b': 1.0}
    """
    check_numbers(seed=seed, clip_norm=1.0 if clip_norm is None else clip_norm, checkpoint_every=checkpoint_every)
    whole("epochs", epochs)
    for name, value in {"batch_size": batch_size, "every": every, "patience": patience}.items():
        if value is not None:
            whole(name, value)
    check_options(optimizer, callback, patience, validation, resume, checkpoint)
    if clip_norm is not None:
        optimizer = clipped(optimizer, clip_norm)
    f = around(f, data)
    source = source_of(f, data, batch_size, batch_axis, shuffle, seed)
    if getattr(source, "is_once", False) and (epochs > 1 or resume):
        raise ArgumentError("data is an iterator, which can be gone through once: epochs=1 and no resume; for more, "
                            "give a function that makes one")  # fmt: skip
    run = Training(f, params, source, optimizer, epochs, every, alone_or_all(frozen))
    held = None if validation is None else source_of(f, validation, None, batch_axis, False, 0)
    if getattr(held, "is_once", False):
        raise ArgumentError("validation is an iterator, gone through once; give a function that makes one, "
                            "or one of a list, as lambda: batches")  # fmt: skip
    saved = None if checkpoint is None else Checkpoints(run, checkpoint, float(checkpoint_every))
    if resume and saved is not None:
        saved.read()
    return Session(run, held, patience, callback, saved, progress).run()


def alone_or_all(named: Any) -> list[Any]:
    """One name, or one symbol, as a list of it."""
    if isinstance(named, str) or hasattr(named, "name"):
        return [named]
    if not isinstance(named, Iterable):
        raise ArgumentTypeError(f"frozen={named!r}: give names of parameters")
    return list(named)


def check_options(
    optimizer: Any, callback: Any, patience: int | None, validation: Any, resume: bool, checkpoint: Any
) -> None:
    """Raise for options that do not fit, or not together."""
    if callback is not None and not callable(callback):
        raise ArgumentTypeError(f"callback={callback!r}: give a function of one record")
    if not isinstance(optimizer, Rule) and not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ArgumentTypeError(f"optimizer={optimizer!r}: give a rule, as gradcompile.optim.adam(1e-3), or an object "
                                "with init and update")  # fmt: skip
    if patience is not None and validation is None:
        raise ArgumentError("patience: give validation=, the data that the loss is to fall on")
    if resume and checkpoint is None:
        raise ArgumentError("resume: give checkpoint=, the file to go on from")


@spelled
def clipped(optimizer: Any, limit: float) -> Any:
    """The rule behind a clip of the whole gradient."""
    if not limit > 0.0:
        raise ArgumentError(f"clip_norm={limit!r}: give a positive number, or None for no clipping")
    if not isinstance(optimizer, Rule):
        raise ArgumentTypeError("clip_norm: an optimizer of your own clips by itself")
    return Rule((*family.clip_by_global_norm(limit).parts, *optimizer.parts), optimizer.every, optimizer.factors)


class Session:
    """What goes on around a run: validation, patience, callbacks, checkpoints, progress, Ctrl-C."""

    def __init__(
        self, run: Training, held: Any, patience: int | None, callback: Callback | None, saved: Checkpoints | None,
        progress: bool,
    ) -> None:  # fmt: skip
        self.training, self.held, self.patience, self.callback, self.saved = run, held, patience, callback, saved
        self.bar = bar_of(run.total, run.step, progress)
        self.looks = callback is not None or held is not None or run.own.plateau is not None

    def run(self) -> TrainingResult:
        """All epochs, or up to where it stops."""
        run = self.training
        interrupted = False
        with self.bar, run.interrupts:
            try:
                while run.epoch < run.epochs and not run.interrupts.pressed and not self.is_over:
                    self.go_on()
                interrupted = run.interrupts.pressed
            except KeyboardInterrupt:
                interrupted = True
            except GradcompileError as error:
                run.message = f"ended by {type(error).__name__}"
                error.result = self.result(False)  # type: ignore[attr-defined]
                raise
            if self.saved is not None and run.is_finite:
                self.saved.write()
        if not run.is_finite:
            raise self.lost()
        return self.result(interrupted)

    def lost(self) -> TrainingError:
        """What to raise where the last step left the range of floats."""
        step, self.training.message = self.training.step, "ended by TrainingError"
        error = TrainingError(f"step {step}: its update is not finite. Take a smaller learning_rate, or set clip_norm")
        error.result = self.result(False)
        return error

    def result(self, interrupted: bool) -> TrainingResult:
        """What was reached."""
        run = self.training
        if self.is_over and not run.message:
            run.message = f"no lower validation in {self.patience}"
        return run.result(interrupted, run.best if self.patience and np.isfinite(run.lowest[0]) else None)

    @property
    def is_over(self) -> bool:
        """Whether patience is at its end, or the callback said so."""
        return bool(self.training.message) or (self.patience is not None and self.training.lowest[1] >= self.patience)

    def go_on(self) -> None:
        """One chunk, and what follows on it."""
        run = self.training
        step, epoch, began = run.step, run.epoch, time.perf_counter()
        until = run.total if not self.looks else run.step + run.interval - run.step % run.interval
        logged = run.advance(min(until, run.total))
        self.show(run.step - step, time.perf_counter() - began)
        if logged and self.looks:
            self.look()
        if self.saved is not None and self.saved.due(run.epoch > epoch):
            self.saved.write()

    def look(self) -> None:
        """Validation, what depends on it, and the callback."""
        run = self.training
        loss = run.history["loss"][-1]
        if self.held is not None:
            loss = self.validated()
            run.history["validation"].append(loss)
            if loss < run.lowest[0]:
                run.lowest[:], run.best[:] = (loss, 0.0), run.used
            else:
                run.lowest[1] += 1.0
        if run.own.plateau is not None:
            run.own.plateau.seen(run.plateau, loss)
            run.numbers_from = -1
        if self.callback is not None:
            run.interrupts.outside = True
            if ends(self.callback, self.record()):
                run.message = "the callback said so"
            run.interrupts.outside = False

    def validated(self) -> float:
        """The loss on the data for it, the mean of all batches weighted by their samples."""
        run, theta = self.training, self.training.used
        found = [(run.loss(theta, inputs), rows) for inputs, rows in self.held.whole()]
        if not found:
            raise DataError("validation gives no batches; a function that makes an iterator has to make a new one")
        return float(sum(loss * rows for loss, rows in found) / sum(rows for _, rows in found))

    def record(self) -> Progress:
        """Where the run stands."""
        run, h = self.training, self.training.history
        rate = float(run.own.rates(np.array([(run.step - 1) // run.own.every]))[0]) * h["scale"][-1]
        validation = h["validation"][-1] if h["validation"] else None
        return Progress(run.step, run.epoch, h["loss"][-1], validation, h["grad_norm"][-1], rate, run.shaped(run.used))

    def show(self, steps: int, seconds: float) -> None:
        """Progress."""
        run = self.training
        if isinstance(self.bar, Silent) or not steps:
            return
        h, samples = run.history, steps * int(run.at[COUNT])
        if h["loss"]:
            parts = [f"loss {h['loss'][-1]:.4g}", f"gradient {h['grad_norm'][-1]:.2g}"]
            parts += [f"validation {h['validation'][-1]:.4g}"] if h["validation"] else []
            rate = run.own.rates(np.array([(run.step - 1) // run.own.every]))[0] * h["scale"][-1]
            parts += [f"rate {rate:.3g}", f"{samples / max(seconds, 1e-9):.3g} samples/s"]
            self.bar.set_postfix_str(", ".join(parts), refresh=False)
        self.bar.update(steps)


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
    callback: Callable[[int, Any, float, float], Any] | None = None,
) -> TrainingResult:
    """Stochastic gradient descent on a compiled loss: m = momentum m + g; theta = theta - learning_rate m.

    It is `train` with `optimizer=gradcompile.optim.sgd(learning_rate, momentum)`, whose words it has.
    callback(epoch, params, loss, grad_norm) is called after each epoch (1, 2, ...) with copies; training ends when it
    returns True. Ctrl-C ends it too, and what was reached is returned.

    Raises TrainingError where loss or gradient is not finite, ArgumentError or ArgumentTypeError for what doesn't fit.

    >>> import sympy as sp
    >>> from gradcompile import compile_grad, sgd
    >>> a, b, x, y = sp.symbols("a b x y")
    >>> f = compile_grad((a*x + b - y)**2, [a, b], data=[x, y])
    >>> fit = sgd(f, [0.0, 0.0], [[0, 1, 2], [1, 3, 5]], learning_rate=0.2, momentum=0.5, epochs=200, progress=False)
    >>> [round(p, 6) for p in fit.params]
    [2.0, 1.0]
    """
    check_numbers(learning_rate=learning_rate, momentum=momentum)
    if not 0.0 < learning_rate < np.inf:
        raise ArgumentError(f"learning_rate={learning_rate!r}: give a positive number")
    if not 0.0 <= momentum < 1.0:
        raise ArgumentError(f"momentum={momentum!r}: give a number from 0 to below 1")
    if callback is not None and not callable(callback):
        raise ArgumentTypeError(f"callback={callback!r}: give a function of epoch, params, loss and gradient norm")

    def told(seen: Progress) -> Any:
        assert callback is not None
        return callback(seen.epoch, seen.params, seen.loss, seen.grad_norm)

    return train(
        f, params, data, optimizer=family.sgd(learning_rate, momentum), epochs=epochs, batch_size=batch_size,
        batch_axis=batch_axis, shuffle=shuffle, seed=seed, clip_norm=clip_norm, progress=progress,
        callback=None if callback is None else told,
    )  # fmt: skip


def check_numbers(seed: Any = 0, **options: Any) -> None:
    """Raise unless each option is a number, and the seed a whole one from 0."""
    for name, value in {**options, "seed": seed}.items():
        if not is_number(value):
            raise ArgumentTypeError(f"{name}={value!r}: give a number")
    whole("seed", seed, 0)


class Silent:
    """Stands in for a progress bar."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def update(self, _: int) -> None:
        """Nothing to show."""

    def set_postfix_str(self, _: str, refresh: bool) -> None:
        """Nothing to show."""


def bar_of(total: int, done: int, progress: bool) -> Any:
    """A bar over the steps, unless there is nowhere to show it, as in a service."""
    if not progress or sys.stderr is None or sys.stderr.closed:
        return Silent()
    from tqdm.auto import tqdm

    return tqdm(total=None if total == UNKNOWN else total, initial=done, unit="step")


entries(globals())
