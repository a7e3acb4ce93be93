"""Inputs that are functions of the step: masks, drawn anew for each."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError

Vector = np.ndarray[Any, np.dtype[Any]]


def random_mask(shape: int | tuple[int, ...], keep: float, seed: int = 0) -> Callable[[int], Vector]:
    """A function of the step that gives a random mask, as an input of `train` for `dropout`: True with chance `keep`.

    The mask of a step depends on seed and step alone, by PCG64, so a run that is resumed has the same ones. shape: of a
    batch; of one that is smaller the first rows are taken.

    >>> mask = random_mask((2, 3), keep=0.5, seed=1)
    >>> (mask(7) == mask(7)).all(), mask(7).shape, (mask(7) == mask(8)).all()
    (np.True_, (2, 3), np.False_)
    """
    if not 0.0 <= keep <= 1.0:
        raise ArgumentError(f"keep={keep!r}: give a number from 0 to 1")

    def mask(step: int) -> Vector:
        found: Vector = np.random.Generator(np.random.PCG64([seed, step])).random(shape) < keep
        return found

    return mask
