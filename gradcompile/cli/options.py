"""The values of options: numbers by name, bounds by name, a level; what is none is refused with the option's name."""

import math
from collections.abc import Callable
from typing import TypeVar

from gradcompile.errors import ArgumentError

Value = TypeVar("Value")
Pair = tuple[float | None, float | None]


def by_name(option: str, given: str, read: Callable[[str, str], Value], example: str) -> dict[str, Value]:
    """The values of `a=...,b=...` by name; a name may stand between backticks."""
    found: dict[str, Value] = {}
    for entry in given.split(","):
        name, equals, value = (part.strip() for part in entry.rpartition("=" if "=" in entry else ":"))
        name = name.removeprefix("`").removesuffix("`")
        if not equals or not name:
            raise ArgumentError(f"{option}: {entry.strip()!r} is not {example.partition(',')[0]}; write {example}")
        if name in found:
            raise ArgumentError(f"{option}: {name!r} is given twice")
        found[name] = read(name, value)
    return found


def numbers(option: str, given: str) -> dict[str, float]:
    """Return the numbers of `a=1,b=-2e3` by name.

    Raises ArgumentError for anything else, for a name given twice, and for numbers that are not finite.

    >>> numbers("--start", "a=1, b=-2e3")
    {'a': 1.0, 'b': -2000.0}
    """

    def read(name: str, value: str) -> float:
        number = _number(value)
        if number is None:
            raise ArgumentError(f"{option}: {value!r}, given for {name!r}, is not a finite number")
        return number

    return by_name(option, given, read, "name=number, such as a=1,b=2,c=0.5")


def bounds(given: str) -> dict[str, Pair]:
    """Return the pairs of `a=0:,b=:5,c=1:2` by name, None where there is no bound.

    >>> bounds("a=0:, b=:5, c=-1:2")
    {'a': (0.0, None), 'b': (None, 5.0), 'c': (-1.0, 2.0)}
    """

    def read(name: str, value: str) -> Pair:
        low, colon, high = (part.strip() for part in value.partition(":"))
        pair = [_number(end) for end in (low, high)]
        if not colon or any(end and number is None for end, number in zip((low, high), pair, strict=True)):
            raise ArgumentError(
                f"--bounds: {value!r}, given for {name!r}, is not low:high; write {name}=0: or {name}=0:5"
            )
        return pair[0], pair[1]

    return by_name("--bounds", given, read, "name=low:high, such as a=0:,b=:5")


def level(given: str) -> float:
    """Return a level of confidence: 0.95, 95 and 95% are the same.

    >>> level("95"), level("0.9"), level("99%")
    (0.95, 0.9, 0.99)
    """
    number = _number(given.strip().removesuffix("%"))
    if number is not None and (number > 1.0 or given.strip().endswith("%")):
        number /= 100.0
    if number is None or not 0.0 < number < 1.0:
        raise ArgumentError(f"--ci: {given!r} is no level of confidence; write 95 or 0.95")
    return number


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(text) if "_" not in text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
