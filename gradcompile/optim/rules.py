"""Update rules: init(params) -> state, update(grads, state, params) -> (updates, state); updates are added to params.

Each rule exists twice: here out of place in NumPy, which is its definition, and under the same name in `steps`, in
place, which is what the training loop compiles. A test holds the two together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError

Vector = np.ndarray[Any, np.dtype[Any]]
Update = Callable[[Vector, Vector, Vector, tuple[float, ...]], tuple[Vector, Vector]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One step of an optimiser on vectors of the length of theta.

    name: of the function in `steps`.  hyper: its hyperparameters.  rows: how many vectors of state it keeps.
    """

    name: str
    hyper: tuple[float, ...]
    rows: int
    step: Update

    def init(self, params: Vector) -> Vector:
        """The state before the first step: zeros, of shape (rows, size)."""
        return np.zeros((self.rows, params.size), params.dtype)

    def update(self, grads: Vector, state: Vector, params: Vector) -> tuple[Vector, Vector]:
        """What is added to the parameters, and the next state."""
        return self.step(grads, state, params, self.hyper)


def clip_by_norm(limit: float) -> Rule:
    """Scale all gradients together so that their norm is at most `limit`: g min(1, limit/|g|).

    >>> rule = clip_by_norm(1.0)
    >>> rule.update(np.array([3.0, 4.0]), rule.init(np.zeros(2)), np.zeros(2))[0]
    array([0.6, 0.8])
    """
    if not limit > 0.0:
        raise ArgumentError(f"clip_norm={limit!r}: give a positive number, or None for no clipping")

    def step(grads: Vector, state: Vector, params: Vector, hyper: tuple[float, ...]) -> tuple[Vector, Vector]:
        length = float(np.linalg.norm(grads))
        return (grads * (hyper[0] / length) if length > hyper[0] else grads), state

    return Rule("clip_by_norm", (float(limit),), 0, step)


def momentum(decay: float) -> Rule:
    """Heavy ball: m = decay m + g, from m = 0, instead of g.

    >>> rule = momentum(0.5)
    >>> rule.update(np.array([1.0]), np.array([[4.0]]), np.zeros(1))[0]
    array([3.])
    """
    if not 0.0 <= decay < 1.0:
        raise ArgumentError(f"momentum={decay!r}: give a number from 0 to below 1")

    def step(grads: Vector, state: Vector, params: Vector, hyper: tuple[float, ...]) -> tuple[Vector, Vector]:
        following = hyper[0] * state + grads
        return following[0], following

    return Rule("momentum", (float(decay),), 1, step)


def scale(factor: float) -> Rule:
    """Multiply by a factor: minus the learning rate goes downhill.

    >>> rule = scale(-0.1)
    >>> rule.update(np.array([2.0]), rule.init(np.zeros(1)), np.zeros(1))[0]
    array([-0.2])
    """
    if not np.isfinite(factor):
        raise ArgumentError(f"a scale of {factor!r}: give a finite number")

    def step(grads: Vector, state: Vector, params: Vector, hyper: tuple[float, ...]) -> tuple[Vector, Vector]:
        return hyper[0] * grads, state

    return Rule("scale", (float(factor),), 0, step)


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules one after another: each takes what the one before gives. Itself an optimiser."""

    rules: tuple[Rule, ...]

    def init(self, params: Vector) -> Vector:
        """The states of all rules, row below row."""
        return np.concatenate([np.zeros((0, params.size), params.dtype), *(r.init(params) for r in self.rules)])

    def update(self, grads: Vector, state: Vector, params: Vector) -> tuple[Vector, Vector]:
        """What is added to the parameters, and the next state."""
        following, row = [state[:0]], 0
        for rule in self.rules:
            grads, after = rule.update(grads, state[row : row + rule.rows], params)
            following.append(after)
            row += rule.rows
        return grads, np.concatenate(following)

    @property
    def hyper(self) -> Vector:
        """All hyperparameters, in the order of the rules: an array, so that other values need no recompilation."""
        return np.array([h for rule in self.rules for h in rule.hyper])

    def calls(self) -> list[str]:
        """The calls, in generated code, that turn `grad` into what is added to `theta`."""
        lines, row, place = [], 0, 0
        for rule in self.rules:
            state, hyper = f"state[{row}:{row + rule.rows}]", f"hyper[{place}:{place + len(rule.hyper)}]"
            lines.append(f"{rule.name}(grad, {state}, theta, {hyper})")
            row += rule.rows
            place += len(rule.hyper)
        return lines


def chain(*rules: Rule) -> Chain:
    """Rules one after another.

    >>> descent = chain(clip_by_norm(1.0), scale(-0.1))
    >>> updates, state = descent.update(np.array([30.0, 40.0]), descent.init(np.zeros(2)), np.zeros(2))
    >>> print(updates)
    [-0.06 -0.08]
    """
    return Chain(rules)
