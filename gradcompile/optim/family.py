"""The rules of stochastic training, under optax's names, with its meanings and defaults."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError
from gradcompile.library import optimizers as subset
from gradcompile.optim.answers import is_number
from gradcompile.optim.parts import PARAMS, Part, Vector, part
from gradcompile.optim.rules import Rule
from gradcompile.optim.schedules import Schedule, linear_schedule, scheduled, spelled

Rate = Any  # a number, a schedule, or a function of the step


def made(learning_rate: Rate, *parts: Part) -> Rule:
    """The parts, then downhill by the rate."""
    down = part(subset.scale, lambda steps, rates: (-rates,), 1, rate=scheduled(learning_rate))
    return Rule((*parts, down))


def between(name: str, value: float, low: float = 0.0, high: float = 1.0) -> float:
    """A number from low to below high, or an error."""
    if not is_number(value):
        raise ArgumentError(f"{name}={value!r}: give a number")
    if not low <= value < high:
        below = f" to below {high:g}" if high < np.inf else ""
        raise ArgumentError(f"{name}={value!r}: give a number from {low:g}{below}")
    return float(value)


def decayed(weight_decay: float) -> tuple[Part, ...]:
    """Weight decay, if there is some."""
    value = between("weight_decay", weight_decay, 0.0, np.inf)
    return (part(subset.add_decayed_weights, [value]),) if value else ()


# ---- plain descent


@spelled
def sgd(learning_rate: Rate, momentum: float | None = None, nesterov: bool = False) -> Rule:
    """Gradient descent (Robbins and Monro 1951, https://doi.org/10.1214/aoms/1177729586), with momentum (Polyak 1964,
    https://doi.org/10.1016/0041-5553(64)90137-5) or Nesterov's (1983).

    m = mu m + g; theta -= r m, or r (g + mu m) with `nesterov`; without momentum theta -= r g.

    >>> import numpy as np
    >>> rule = sgd(0.1, momentum=0.9)
    >>> updates, state = rule.update(np.ones(2), rule.init(np.zeros(2)), np.zeros(2))
    >>> updates, rule.update(np.ones(2), state, np.zeros(2))[0]
    (array([-0.1, -0.1]), array([-0.19, -0.19]))
    """
    if not momentum:
        return made(learning_rate)
    step = subset.nesterov if nesterov else subset.trace
    return made(learning_rate, part(step, [between("momentum", momentum)], starts=(0.0,)))


# ---- by the size of past gradients


@spelled
def adagrad(learning_rate: Rate, initial_accumulator_value: float = 0.1, eps: float = 1e-7) -> Rule:
    """AdaGrad (Duchi, Hazan and Singer 2011, https://jmlr.org/papers/v12/duchi11a.html).

    s += g^2; theta -= r g/sqrt(s + eps).

    >>> import numpy as np
    >>> rule = adagrad(0.1)
    >>> rule.update(np.array([3.0]), rule.init(np.zeros(1)), np.zeros(1))[0].round(4)
    array([-0.0994])
    """
    start = between("initial_accumulator_value", initial_accumulator_value, 0.0, np.inf)
    return made(learning_rate, part(subset.scale_by_rss, [between("eps", eps, high=np.inf)], starts=(start,)))


@spelled
def rmsprop(
    learning_rate: Rate, decay: float = 0.9, eps: float = 1e-8, initial_scale: float = 0.0, eps_in_sqrt: bool = True,
    momentum: float | None = None, nesterov: bool = False,
) -> Rule:  # fmt: skip
    """RMSProp (Tieleman and Hinton 2012, https://www.cs.toronto.edu/~hinton/coursera/lecture6/lec6.pdf).

    v = d v + (1 - d) g^2; theta -= r g/sqrt(v + eps), or r g/(sqrt(v) + eps) unless `eps_in_sqrt`. With momentum that
    is what it adds up, times the rate, as in optax: m = mu m + r g/sqrt(v + eps).

    >>> import numpy as np
    >>> rule = rmsprop(0.1)
    >>> rule.update(np.array([2.0]), rule.init(np.zeros(1)), np.zeros(1))[0].round(4)
    array([-0.3162])
    """
    d = between("decay", decay)
    scaled = part(subset.scale_by_rms, rms(d, eps, eps_in_sqrt), 5, starts=(float(initial_scale),))
    rule = made(learning_rate, scaled)
    if not momentum:
        return rule
    step = subset.nesterov if nesterov else subset.trace
    return Rule((*rule.parts, part(step, [between("momentum", momentum)], starts=(0.0,))))


def rms(decay: float, eps: float, eps_in_sqrt: bool, corrects: bool = False) -> Any:
    """The numbers of `scale_by_rms`."""
    eps = between("eps", eps, high=np.inf)

    def numbers(steps: Vector, rates: Vector) -> Sequence[Any]:
        correction = 1.0 / (1.0 - decay**steps) if corrects else 1.0
        return decay, 1.0 - decay, correction, eps if eps_in_sqrt else 0.0, 0.0 if eps_in_sqrt else eps

    return numbers


@spelled
def adadelta(learning_rate: Rate = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0) -> Rule:
    """Adadelta (Zeiler 2012, https://arxiv.org/abs/1212.5701).

    v = rho v + (1 - rho) g^2; u = g sqrt(w + eps)/sqrt(v + eps); w = rho w + (1 - rho) u^2; theta -= r u.

    >>> import numpy as np
    >>> rule = adadelta(1.0)
    >>> rule.update(np.array([1.0]), rule.init(np.zeros(1)), np.zeros(1))[0].round(5)
    array([-0.00316])
    """
    fixed = [between("rho", rho), 1.0 - rho, between("eps", eps, high=np.inf)]
    step = part(subset.scale_by_adadelta, fixed, starts=(0.0, 0.0))
    return made(learning_rate, *decayed(weight_decay), step)


# ---- Adam and its kin


def moments(b1: float, b2: float, eps: float, eps_root: float) -> Any:
    """What Adam and its kin have in common: (b1, 1 - b1, b2, 1 - b2, 1/(1 - b1^t), 1/(1 - b2^t), eps_root, eps)."""
    b1, b2 = between("b1", b1), between("b2", b2)
    eps, eps_root = between("eps", eps, high=np.inf), between("eps_root", eps_root, high=np.inf)

    def numbers(steps: Vector, rates: Vector) -> Sequence[Any]:
        return b1, 1.0 - b1, b2, 1.0 - b2, 1.0 / (1.0 - b1**steps), 1.0 / (1.0 - b2**steps), eps_root, eps

    return numbers


def ahead(b1: float, b2: float, eps: float, eps_root: float, nesterov: bool) -> Any:
    """The numbers of `scale_by_adam`: these, and what the gradient itself has in the mean, as Nesterov's step has."""
    first = moments(b1, b2, eps, eps_root)

    def numbers(steps: Vector, rates: Vector) -> Sequence[Any]:
        found = [*first(steps, rates), (1.0 - b1) / (1.0 - b1**steps) if nesterov else 0.0]
        if nesterov:
            found[4] = b1 / (1.0 - b1 ** (steps + 1.0))
        return found

    return numbers


@spelled
def adam(learning_rate: Rate, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0,
         nesterov: bool = False) -> Rule:  # fmt: skip
    """Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980).

    m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
    theta -= r m/(1 - b1^t)/(sqrt(v/(1 - b2^t) + eps_root) + eps).

    >>> import numpy as np
    >>> rule = adam(1e-3)
    >>> rule.update(np.array([3.0, -0.1]), rule.init(np.zeros(2)), np.zeros(2))[0].round(6)
    array([-0.001,  0.001])
    """
    return made(learning_rate, adaptive(b1, b2, eps, eps_root, nesterov))


def adaptive(b1: float, b2: float, eps: float, eps_root: float, nesterov: bool = False) -> Part:
    """Adam's direction, or Nadam's."""
    return part(subset.scale_by_adam, ahead(b1, b2, eps, eps_root, nesterov), 9, starts=(0.0, 0.0))


@spelled
def adamw(learning_rate: Rate, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0,
          weight_decay: float = 1e-4, nesterov: bool = False) -> Rule:  # fmt: skip
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101).

    theta -= r (u + decay theta), where u is Adam's direction.

    >>> import numpy as np
    >>> rule = adamw(0.1, weight_decay=0.5)
    >>> rule.update(np.array([1.0]), rule.init(np.array([2.0])), np.array([2.0]))[0].round(6)
    array([-0.2])
    """
    direction = adaptive(b1, b2, eps, eps_root, nesterov)
    return made(learning_rate, direction, *decayed(weight_decay))


@spelled
def nadam(learning_rate: Rate, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0) -> Rule:
    """Adam with Nesterov's momentum (Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ).

    In Adam's step b1 m/(1 - b1^(t+1)) + (1 - b1) g/(1 - b1^t) stands for m/(1 - b1^t).

    >>> import numpy as np
    >>> rule = nadam(0.1)
    >>> rule.update(np.array([1.0]), rule.init(np.zeros(1)), np.zeros(1))[0].round(6)
    array([-0.147368])
    """
    return made(learning_rate, adaptive(b1, b2, eps, eps_root, nesterov=True))


@spelled
def radam(learning_rate: Rate, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0,
          threshold: float = 5.0) -> Rule:  # fmt: skip
    """Rectified Adam (Liu et al. 2020, https://arxiv.org/abs/1908.03265).

    Adam's step times sqrt((q-4)(q-2) q8/((q8-4)(q8-2) q)) where q = q8 - 2 t b2^t/(1 - b2^t) is at least the
    threshold, q8 = 2/(1 - b2) - 1; before that m/(1 - b1^t) alone.

    >>> import numpy as np
    >>> rule = radam(0.1)
    >>> rule.update(np.array([2.0]), rule.init(np.zeros(1)), np.zeros(1))[0].round(6)
    array([-0.2])
    """
    first, most = moments(b1, b2, eps, eps_root), 2.0 / (1.0 - b2) - 1.0

    def numbers(steps: Vector, rates: Vector) -> Sequence[Any]:
        power = b2**steps
        q = most - 2.0 * steps * power / (1.0 - power)
        with np.errstate(invalid="ignore"):
            factor = np.sqrt((q - 4.0) * (q - 2.0) * most / ((most - 4.0) * (most - 2.0) * q))
        return [*first(steps, rates), np.where(q >= threshold, factor, 0.0)]

    return made(learning_rate, part(subset.scale_by_radam, numbers, 9, starts=(0.0, 0.0)))


@spelled
def amsgrad(learning_rate: Rate, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0) -> Rule:
    """AMSGrad (Reddi, Kale and Kumar 2018, https://arxiv.org/abs/1904.09237), with both corrections, as optax has it.

    In Adam's step the largest v/(1 - b2^t) so far stands for the present one.

    >>> import numpy as np
    >>> rule = amsgrad(0.1)
    >>> rule.update(np.array([2.0]), rule.init(np.zeros(1)), np.zeros(1))[0].round(6)
    array([-0.1])
    """
    step = part(subset.scale_by_amsgrad, moments(b1, b2, eps, eps_root), 8, starts=(0.0, 0.0, 0.0))
    return made(learning_rate, step)


@spelled
def lion(learning_rate: Rate, b1: float = 0.9, b2: float = 0.99, weight_decay: float = 1e-3) -> Rule:
    """Lion (Chen et al. 2023, https://arxiv.org/abs/2302.06675).

    theta -= r (sign(b1 m + (1 - b1) g) + decay theta); then m = b2 m + (1 - b2) g.

    >>> import numpy as np
    >>> rule = lion(0.1)
    >>> rule.update(np.array([2.0, -5.0]), rule.init(np.zeros(2)), np.zeros(2))[0]
    array([-0.1,  0.1])
    """
    fixed = [between("b1", b1), 1.0 - b1, between("b2", b2), 1.0 - b2]
    return made(learning_rate, part(subset.scale_by_lion, fixed, starts=(0.0,)), *decayed(weight_decay))


@spelled
def lamb(learning_rate: Rate, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6, eps_root: float = 0.0,
         weight_decay: float = 0.0) -> Rule:  # fmt: skip
    """LAMB (You et al. 2020, https://arxiv.org/abs/1904.00962).

    theta -= r u |theta|/|u| for each parameter, u = Adam's direction + decay theta; the ratio is 1 where a norm is 0.

    >>> import numpy as np
    >>> rule = lamb(0.1)
    >>> rule.update(np.array([1.0, 1.0]), rule.init(np.array([3.0, 4.0])), np.array([3.0, 4.0]))[0].round(6)
    array([-0.353553, -0.353553])
    """
    ratio = part(subset.scale_by_trust_ratio, takes_places=True)
    direction = adaptive(b1, b2, eps, eps_root)
    return made(learning_rate, direction, *decayed(weight_decay), ratio)


@spelled
def muon(
    learning_rate: Rate, beta: float = 0.95, eps: float = 1e-8, weight_decay: float = 0.0, *, adam_b1: float = 0.9,
    adam_b2: float = 0.999, adam_eps_root: float = 0.0,
) -> Rule:  # fmt: skip
    """Muon for matrices, Nadam for all else (Jordan 2024, https://kellerjordan.github.io/posts/muon).

    m = b m + (1 - b) g; theta -= r (sqrt(max(1, columns/rows)) O(m ahead) + decay theta), where O(U S V') is U V',
    about: five steps X = a X + b X X'X + c (X X')^2 X from X = M/|M|.

    >>> muon(0.02)
    muon(0.02)
    """
    from gradcompile.library.muon import scale_by_muon  # with BLAS, which no other rule needs

    b = between("beta", beta)
    adam = ahead(adam_b1, adam_b2, eps, adam_eps_root, True)

    def numbers(steps: Vector, rates: Vector) -> Sequence[Any]:
        nesterov = b / (1.0 - b ** (steps + 1.0)), (1.0 - b) / (1.0 - b**steps)
        return [b, 1.0 - b, *nesterov, eps, 0.0, 0.0, *adam(steps, rates)]

    step = part(scale_by_muon, numbers, 16, starts=(0.0,) * 6, takes_places=True)
    return made(learning_rate, step, *decayed(weight_decay))


@spelled
def schedule_free_adamw(
    learning_rate: float = 0.0025, warmup_steps: int | None = None, b1: float = 0.9, b2: float = 0.999,
    eps: float = 1e-8, weight_decay: float = 0.0, weight_lr_power: float = 2.0,
) -> Rule:  # fmt: skip
    """AdamW that needs no schedule (Defazio et al. 2024, https://arxiv.org/abs/2405.15682).

    z takes the steps, x is their mean with weights r_t^power, gradients are taken at y = (1 - b1) z + b1 x. What
    `train` returns, and validates, is x.

    >>> import numpy as np
    >>> rule = schedule_free_adamw(0.1)
    >>> rule.update(np.array([2.0]), rule.init(np.zeros(1)), np.zeros(1))[0].round(6)
    array([-0.1])
    """
    rate = scheduled(learning_rate)
    if warmup_steps:
        rate = linear_schedule(0.0, rate(0), warmup_steps)
    if not between("b1", b1):
        raise ArgumentError("schedule_free_adamw: give a b1 above 0")
    total = Weights(rate, weight_lr_power)
    scaled = part(subset.scale_by_rms, rms(between("b2", b2), eps, eps_in_sqrt=False, corrects=True), 5, starts=(0.0,))

    def numbers(steps: Vector, rates: Vector) -> Sequence[Any]:
        share = total.shares(steps)
        return b1, share, 1.0 - share, 1.0 - b1

    free = part(subset.schedule_free, numbers, 4, starts=(PARAMS, PARAMS), shown=1)
    rule = made(rate, scaled, *decayed(weight_decay))
    return Rule((*rule.parts, free))


class Weights:
    """The weight of each step among those up to it, max(rate so far)^power, whose sums are kept."""

    def __init__(self, rate: Schedule, power: float) -> None:
        self.rate, self.power, self.sums = rate, power, np.zeros(1)

    def shares(self, steps: Vector) -> Vector:
        """Of steps 1, 2, ..., in a row."""
        last = int(steps[-1])
        if last >= len(self.sums):
            rates = np.maximum.accumulate(self.rate.values(np.arange(1.0, last + 1.0)))
            self.sums = np.concatenate([[0.0], np.cumsum(rates**self.power)])
        at = steps.astype(int)
        weight, total = self.sums[at] - self.sums[at - 1], self.sums[at]
        found: Vector = np.divide(weight, total, out=np.zeros_like(total), where=total > 0.0)
        return found


# ---- what stands around a rule


@spelled
def clip(max_delta: float) -> Rule:
    """Clip each entry of the gradient: g = min(max(g, -c), c).

    >>> import numpy as np
    >>> clip(1.0).update(np.array([3.0, -0.5]), clip(1.0).init(np.zeros(2)), np.zeros(2))[0]
    array([ 1. , -0.5])
    """
    return Rule((part(subset.clip, [positive("clip", max_delta)]),))


@spelled
def clip_by_global_norm(max_norm: float) -> Rule:
    """Scale the whole gradient down to a norm (Pascanu, Mikolov and Bengio 2013, https://arxiv.org/abs/1211.5063).

    g min(1, c/|g|).

    >>> import numpy as np
    >>> rule = clip_by_global_norm(1.0)
    >>> rule.update(np.array([3.0, 4.0]), rule.init(np.zeros(2)), np.zeros(2))[0]
    array([0.6, 0.8])
    """
    limit = positive("clip_by_global_norm", max_norm)
    return Rule((part(subset.clip_by_global_norm, [limit]),))


@spelled
def clip_by_block_norm(max_norm: float) -> Rule:
    """Scale the gradient of each parameter down to a norm: g_p min(1, c/|g_p|).

    >>> clip_by_block_norm(1.0)
    clip_by_block_norm(1.0)
    """
    limit = positive("clip_by_block_norm", max_norm)
    return Rule((part(subset.clip_by_block_norm, [limit], takes_places=True),))


@spelled
def add_decayed_weights(weight_decay: float = 0.0) -> Rule:
    """Add the parameters times a number to the gradient: g + c theta, the gradient of c |theta|^2/2.

    >>> from gradcompile.optim import chain
    >>> chain(add_decayed_weights(1e-4), sgd(0.1))
    chain(add_decayed_weights(weight_decay=0.0001), sgd(0.1))
    """
    return Rule(decayed(weight_decay))


@spelled
def scale(step_size: float) -> Rule:
    """Multiply by a number: c g; of minus the rate it goes downhill.

    >>> import numpy as np
    >>> scale(-0.1).update(np.array([2.0]), scale(-0.1).init(np.zeros(1)), np.zeros(1))[0]
    array([-0.2])
    """
    if not is_number(step_size) or not np.isfinite(step_size):
        raise ArgumentError(f"scale({step_size!r}): give a finite number")
    return Rule((part(subset.scale, [step_size]),))


@spelled
def average(rule: Rule, decay: float = 0.999) -> Rule:
    """Use a running mean of the parameters (Polyak and Juditsky 1992, https://doi.org/10.1137/0330046).

    mean = d mean + (1 - d) theta from the start on; d = 1 - 1/(t + 1) as long as that is smaller, so that it begins as
    the plain mean of all. It is what `train` returns and validates; theta goes on as the rule has it.

    >>> average(adam(1e-3), 0.99)
    average(adam(0.001), decay=0.99)
    """
    d = between("decay", decay)

    def numbers(steps: Vector, rates: Vector) -> Sequence[Any]:
        own = np.minimum(d, 1.0 - 1.0 / (steps + 1.0))
        return own, 1.0 - own

    last = part(subset.average, numbers, 2, starts=(PARAMS,), shown=0)
    return Rule((*rule.parts, last), rule.every, rule.factors)


def positive(name: str, value: float) -> float:
    """A number above 0, or an error."""
    if not is_number(value) or not value > 0.0:
        raise ArgumentError(f"{name}={value!r}: give a positive number")
    return float(value)
