"""What counts as a number, a whole number, and a yes: Python's own and NumPy's scalars alike."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcompile.errors import ArgumentError

INTEGERS = int, np.integer  # `int | np.integer` in a function would build a union in each call


def is_number(value: Any) -> bool:
    """Whether this is a real number, a truth value not.

    >>> is_number(np.float32(1.0)), is_number(True)
    (True, False)
    """
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether this is an integer from the least on."""
    return isinstance(value, INTEGERS) and not isinstance(value, bool) and bool(value >= least)


def whole(name: str, value: Any, least: int = 1) -> int:
    """An option that is a whole number from the least on, or an error."""
    if not is_whole(value, least):
        raise ArgumentError(f"{name}={value!r}: give a whole number from {least}")
    return int(value)


def is_yes(answer: Any) -> bool:
    """Whether a callback says that it is enough: nothing but a truth value does.

    >>> is_yes(np.float64(0.1) < 1.0), is_yes(None), is_yes(1)
    (True, False, False)
    """
    return isinstance(answer, bool | np.bool_) and bool(answer)


def ends(callback: Callable[[Any], Any], seen: Any) -> bool:
    """Whether a callback says of what it sees that it is enough: it answers so, or raises StopIteration.

    >>> ends(lambda seen: seen > 2, 3), ends(lambda seen: next(iter(())), 3)
    (True, True)
    """
    try:
        return is_yes(callback(seen))
    except StopIteration:
        return True
