"""`train`, and `sgd`, a thin call of it."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.optim import family
from gradcompile.optim.loop import Interrupts, Training, in_order
from gradcompile.optim.result import Progress, TrainingResult
from gradcompile.optim.rules import Rule
from gradcompile.optim.sources import Columns
from gradcompile.runtime.matching import Call
from gradcompile.tracebacks import entries


def train(
    f: Any,
    params: Any,
    data: Any,
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
    frozen: Sequence[Any] = (),
    every: int | None = None,
    progress: bool = True,
    callback: Callable[[Progress], Any] | None = None,
) -> TrainingResult:
    """Train a compiled loss with a rule of `gradcompile.optim`, or one of your own.

    params: where to start; data: the other arguments of f; each a sequence in the function's order, or a mapping by
    name. Columns are cut into batches of `batch_size` samples, all of them if None, in an order drawn anew for each
    epoch from `seed` (as they come if `shuffle` is false); the last batch may be smaller. Of a loss over arrays those
    are cut whose first axis is the only dimension that has a name, or is called `batch_axis`. Other inputs pass whole.

    >>> import sympy as sp
    >>> from gradcompile import compile_grad, optim, train
    >>> a, b, x, y = sp.symbols("a b x y")
    >>> f = compile_grad((a*x + b - y)**2, [a, b], data=[x, y])
    >>> fit = train(f, {a: 0.0, b: 0.0}, [[0, 1, 2], [1, 3, 5]], optimizer=optim.adam(0.1), epochs=600, progress=False)
    >>> {str(k): round(v, 6) for k, v in fit.params.items()}
    {'a': 2.0, 'b': 1.0}
    """
    check_numbers(seed=seed, clip_norm=1.0 if clip_norm is None else clip_norm)
    check_whole(epochs=epochs, batch_size=batch_size, every=every, patience=patience)
    if callback is not None and not callable(callback):
        raise ArgumentTypeError(f"callback={callback!r}: give a function")
    if not isinstance(optimizer, Rule) and not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ArgumentTypeError(f"optimizer={optimizer!r}: give a rule, as gradcompile.optim.adam(1e-3), or an object "
                                "with init and update")  # fmt: skip
    if clip_norm is not None:
        optimizer = clipped(optimizer, clip_norm)
    source = Columns(f, in_order(data, Call(f.problem.inputs), "data"), batch_size, batch_axis, shuffle, seed)
    run = Training(f, params, source, optimizer, epochs, every, frozen)
    return Session(run, callback, progress).run()


def clipped(optimizer: Any, limit: float) -> Any:
    """The rule behind a clip of the whole gradient."""
    if not limit > 0.0:
        raise ArgumentError(f"clip_norm={limit!r}: give a positive number, or None for no clipping")
    if not isinstance(optimizer, Rule):
        raise ArgumentTypeError("clip_norm: an optimizer of your own clips by itself")
    first = family.clip_by_global_norm(limit).parts
    return Rule((*first, *optimizer.parts), optimizer.shown, optimizer.every, optimizer.factors)


class Session:
    """What goes on around a run: callbacks, progress, Ctrl-C."""

    def __init__(self, run: Training, callback: Callable[[Progress], Any] | None, progress: bool) -> None:
        self.training, self.callback = run, callback
        self.bar = bar_of(run.epochs, progress)
        self.looks = callback is not None

    def run(self) -> TrainingResult:
        """All epochs, or up to where it stops."""
        run, interrupted = self.training, False
        with self.bar, Interrupts() as interrupts:
            try:
                while run.step < run.total and not interrupts.pressed:
                    until = run.total if not self.looks else run.step + run.interval - run.step % run.interval
                    done = run.step // run.steps
                    logged = run.advance(min(until, run.total))
                    if logged:
                        self.show(run.step // run.steps - done)
                    if logged and self.looks:
                        interrupts.outside = True
                        if self.ends():
                            run.message = "the callback said so"
                            break
                        interrupts.outside = False
                interrupted = interrupts.pressed
            except KeyboardInterrupt:
                interrupted = True
        return run.result(interrupted)

    def ends(self) -> bool:
        """Whether the callback says so."""
        assert self.callback is not None
        return self.callback(self.record()) is True

    def record(self) -> Progress:
        """Where the run stands."""
        run = self.training
        h = run.history
        rate = float(run.own.rates((run.step - 1) // run.own.every, 1, float(run.plateau[0]))[0])
        validation = h["validation"][-1] if h["validation"] else None
        epoch = run.step // run.steps
        return Progress(run.step, epoch, h["loss"][-1], validation, h["grad_norm"][-1], rate, run.shaped(run.used))

    def show(self, epochs: int) -> None:
        """Progress."""
        h = self.training.history
        self.bar.set_postfix_str(f"loss {h['loss'][-1]:.4g}, gradient {h['grad_norm'][-1]:.2g}", refresh=False)
        self.bar.update(epochs)


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


def check_numbers(**options: Any) -> None:
    """Raise unless each option is a number, and the seed a whole one from 0."""
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise ArgumentTypeError(f"{name}={value!r}: give a number")
    seed = options.get("seed", 0)
    if seed < 0 or seed != int(seed):
        raise ArgumentError(f"seed={seed!r}: give a whole number from 0")


def check_whole(epochs: Any, **options: Any) -> None:
    """Raise unless these are whole numbers from 1; None is one of the others."""
    for name, value in {"epochs": epochs, **options}.items():
        if value is None and name != "epochs":
            continue
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"{name}={value!r}: give a whole number from 1")


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


def bar_of(epochs: int, progress: bool) -> Any:
    """A bar, unless there is nowhere to show it, as in a service."""
    if not progress or sys.stderr is None or sys.stderr.closed:
        return Silent()
    from tqdm.auto import tqdm

    return tqdm(total=epochs, unit="epoch")


entries(globals())
