"""The values of options: numbers, texts and bounds by name, kinds of intervals; messages have the option's name."""

import math
import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

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


def texts(option: str, given: str) -> dict[str, str]:
    """Return the texts of `x=dx,t=0.1` by name.

    >>> texts("--sigma-x", "x=dx, t=0.1*t")
    {'x': 'dx', 't': '0.1*t'}
    """

    def read(name: str, value: str) -> str:
        if not value:
            raise ArgumentError(f"{option}: nothing is given for {name!r}; give a column, a formula or a number")
        return value

    return by_name(option, given, read, "name=column, such as x=dx,t=0.1")


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


METHODS = ("wald", "profile", "bootstrap")  # of intervals


class Interval(NamedTuple):
    """What kind of confidence intervals is asked for."""

    level: float = 0.95
    method: str = "wald"


def interval(given: str) -> Interval:
    """Return a level of confidence, a method, or both: 0.95, 95 and 95% are the same.

    >>> interval("95") == interval("0.95,wald"), interval("99%,bootstrap")
    (True, Interval(level=0.99, method='bootstrap'))
    """
    found = Interval()
    for word in filter(None, re.split(r"[,:\s]+", given.strip())):
        if word in METHODS:
            found = found._replace(method=word)
            continue
        number = _number(word.removesuffix("%"))
        if number is not None and (number > 1.0 or word.endswith("%")):
            number /= 100.0
        if number is None or not 0.0 < number < 1.0:
            methods = f"{', '.join(METHODS[:-1])} or {METHODS[-1]}"
            raise ArgumentError(
                f"--ci: {word!r} is no level of confidence, and no method; write 95 or 0.95, {methods}, or both: "
                "profile,95"
            )
        found = found._replace(level=number)
    return found


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(text) if "_" not in text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
