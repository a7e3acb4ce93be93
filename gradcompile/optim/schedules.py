"""Rates that change from step to step: schedule(step) -> rate, from step 0 on, as in optax."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import BoundArguments, Parameter, signature
from typing import Any, TypeVar

import numpy as np

from gradcompile.errors import ArgumentError, ArgumentTypeError
from gradcompile.optim.answers import is_number, whole

Vector = np.ndarray[Any, np.dtype[Any]]
F = TypeVar("F", bound=Callable[..., Any])


class Spelled:
    """What a call made, which is how it shows itself, and how it is pickled."""

    call: tuple[Callable[..., Any], dict[str, Any]]

    def __repr__(self) -> str:
        function, given = self.call
        kinds = signature(function).parameters
        parts: list[str] = []
        for name, value in given.items():
            kind = kinds[name]
            shown = getattr(value, "__name__", None) or repr(value)
            if kind.kind is Parameter.VAR_POSITIONAL:
                parts += map(repr, value)
            elif value != kind.default:
                parts.append(shown if kind.default is Parameter.empty else f"{name}={shown}")
        return f"{function.__name__}({', '.join(parts)})"

    def __reduce__(self) -> Any:
        return made_again, self.call


def made_again(function: Callable[..., Any], given: dict[str, Any]) -> Any:
    """What the call makes."""
    bound = BoundArguments(signature(function), given)
    return function(*bound.args, **bound.kwargs)


def spelled(function: F) -> F:
    """A function that gives what it made the call that made it."""
    known = signature(function)

    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        made = function(*args, **named)
        object.__setattr__(made, "call", (call, dict(known.bind(*args, **named).arguments)))
        return made

    return call  # type: ignore[return-value]


@dataclass(frozen=True, repr=False)
class Schedule(Spelled):
    """A rate for each step. formula: of steps as an array, or, if `is_own` is false, of one step."""

    formula: Callable[[Any], Any]
    is_own: bool = True

    def __call__(self, step: Any) -> Any:
        """The rate of a step, or of several."""
        found = self.values(np.atleast_1d(np.asarray(step, float)))
        return found if np.ndim(step) else float(found[0])

    def values(self, steps: Vector) -> Vector:
        """The rate of each of these steps."""
        if self.is_own:
            with np.errstate(all="ignore"):
                found = np.broadcast_to(np.asarray(self.formula(steps), float), steps.shape)
        else:
            found = np.array([self.one(int(s)) for s in steps])
        if not np.isfinite(found).all():
            raise ArgumentError(f"learning_rate: step {int(steps[~np.isfinite(found)][0])} has none that is finite")
        return found

    def one(self, step: int) -> float:
        """The rate of one step by a function of the user's."""
        found = self.formula(step)
        try:
            return float(found)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(f"learning_rate: step {step} has {found!r}; give a number") from error


def scheduled(rate: Any) -> Schedule:
    """A rate as a schedule: a number, a schedule, or any function of the step, as optax's are."""
    if isinstance(rate, Schedule):
        return rate
    if callable(rate):
        return Schedule(rate, is_own=False)
    if not is_number(rate):
        raise ArgumentTypeError(f"learning_rate={rate!r}: give a number, or a schedule")
    if not 0.0 <= rate < np.inf:
        raise ArgumentError(f"learning_rate={rate!r}: give a number from 0")
    value = float(rate)
    return Schedule(lambda steps: value)


@spelled
def constant_schedule(value: float) -> Schedule:
    """Always the same: r(t) = value.

    >>> constant_schedule(0.1)(7)
    0.1
    """
    return Schedule(lambda t: value)


@spelled
def linear_schedule(init_value: float, end_value: float, transition_steps: int) -> Schedule:
    """A straight line, then its end: r(t) = a + (b - a) min(t/T, 1).

    >>> linear_schedule(1.0, 0.0, 10)(5)
    0.5
    """
    steps = whole("transition_steps", transition_steps)
    return Schedule(lambda t: end_value + (init_value - end_value) * (1.0 - np.minimum(t / steps, 1.0)))


@spelled
def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: float,
    *,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """r(t) = a d^(t/T), in whole powers if `staircase`, not beyond `end_value` (above it if d < 1, else below).

    >>> exponential_decay(1.0, 10, 0.5)(20)
    0.25
    """
    steps = whole("transition_steps", transition_steps)

    def formula(t: Any) -> Any:
        power = np.floor(t / steps) if staircase else t / steps
        rates = init_value * decay_rate**power
        if end_value is None:
            return rates
        return np.maximum(rates, end_value) if decay_rate < 1.0 else np.minimum(rates, end_value)

    return Schedule(formula)


@spelled
def piecewise_constant_schedule(init_value: float, boundaries_and_scales: Mapping[int, float]) -> Schedule:
    """Steps down: the rate is multiplied by each scale from its boundary on.

    >>> rate = piecewise_constant_schedule(1.0, {10: 0.1})
    >>> rate(9), rate(10)
    (1.0, 0.1)
    """
    steps = sorted(boundaries_and_scales.items())

    def formula(t: Any) -> Any:
        found = np.full_like(t, init_value)
        for boundary, scale in steps:
            found = np.where(t >= boundary, found * scale, found)
        return found

    return Schedule(formula)


@spelled
def cosine_decay_schedule(init_value: float, decay_steps: int, alpha: float = 0.0, exponent: float = 1.0) -> Schedule:
    """Half a cosine from the rate to alpha times it (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983).

    r(t) = a ((1 - alpha) ((1 + cos(pi min(t/T, 1)))/2)^exponent + alpha).

    >>> round(cosine_decay_schedule(1.0, 10)(5), 12)
    0.5
    """
    steps = whole("decay_steps", decay_steps)

    def formula(t: Any) -> Any:
        half = 0.5 * (1.0 + np.cos(np.pi * np.minimum(t / steps, 1.0)))
        return init_value * ((1.0 - alpha) * half**exponent + alpha)

    return Schedule(formula)


@spelled
def warmup_cosine_decay_schedule(
    init_value: float, peak_value: float, warmup_steps: int, decay_steps: int, end_value: float = 0.0
) -> Schedule:
    """A line up to the peak, then half a cosine down; decay_steps are both together.

    >>> rate = warmup_cosine_decay_schedule(0.0, 1.0, 10, 30)
    >>> rate(5), rate(10), round(rate(20), 12)
    (0.5, 1.0, 0.5)
    """
    if not peak_value or decay_steps <= warmup_steps:
        raise ArgumentError("warmup_cosine_decay_schedule: give a peak other than 0, decay_steps above warmup_steps")
    up = linear_schedule(init_value, peak_value, warmup_steps) if warmup_steps else constant_schedule(peak_value)
    down = cosine_decay_schedule(peak_value, decay_steps - warmup_steps, end_value / peak_value)
    return Schedule(lambda t: np.where(t < warmup_steps, up.formula(t), down.formula(t - warmup_steps)))


@spelled
def cosine_onecycle_schedule(
    transition_steps: int, peak_value: float, pct_start: float = 0.3, div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:  # fmt: skip
    """Up to the peak and down again, both in half a cosine (Smith and Topin 2018, https://arxiv.org/abs/1708.07120).

    >>> rate = cosine_onecycle_schedule(100, 1.0)
    >>> round(rate(0), 12), rate(30)
    (0.04, 1.0)
    """
    steps, middle = whole("transition_steps", transition_steps), int(pct_start * transition_steps)
    low, last = peak_value / div_factor, peak_value / (div_factor * final_div_factor)

    def formula(t: Any) -> Any:
        up = np.clip(t / max(middle, 1), 0.0, 1.0)
        down = np.clip((t - middle) / max(steps - middle, 1), 0.0, 1.0)
        rising = low + (peak_value - low) * (1.0 - np.cos(np.pi * up)) / 2.0
        falling = peak_value + (last - peak_value) * (1.0 - np.cos(np.pi * down)) / 2.0
        return np.where(t < middle, rising, falling)

    return Schedule(formula)


@dataclass(frozen=True, repr=False)
class Plateau(Schedule):
    """A rate that falls where the loss does not: see `reduce_on_plateau`."""

    factor: float = 0.1
    patience: int = 10
    rtol: float = 1e-4
    atol: float = 0.0
    cooldown: int = 0
    min_scale: float = 0.0

    def seen(self, memory: Vector, loss: float) -> None:
        """Take in a loss; memory: scale, best loss, how many were no better, how many to let pass."""
        better = loss < (1.0 - self.rtol) * memory[1] - self.atol
        memory[1] = loss if better else memory[1]
        memory[2] = 0.0 if better or memory[3] > 0 else memory[2] + 1.0
        memory[3] = max(memory[3] - 1.0, 0.0)
        if memory[2] >= self.patience:
            memory[:] = max(memory[0] * self.factor, self.min_scale), memory[1], 0.0, self.cooldown


@spelled
def reduce_on_plateau(
    rate: Any, factor: float = 0.1, patience: int = 10, rtol: float = 1e-4, atol: float = 0.0, cooldown: int = 0,
    min_scale: float = 0.0,
) -> Plateau:  # fmt: skip
    """Multiply the rate by `factor` where the loss was no better in `patience` epochs; that of the validation, if any.

    rate: a number, or a schedule. Better: loss < (1 - rtol) best - atol. After that, `cooldown` epochs are let pass.

    >>> reduce_on_plateau(0.1, patience=3)
    reduce_on_plateau(0.1, patience=3)
    """
    from_step = scheduled(rate)
    if not 0.0 < factor < 1.0 or patience < 1:
        raise ArgumentError("reduce_on_plateau: give a factor between 0 and 1, and a patience from 1")
    return Plateau(from_step.formula, from_step.is_own, factor, patience, rtol, atol, cooldown, min_scale)
