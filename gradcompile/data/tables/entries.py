"""One entry of a table: the number that it is, a word for a missing one, or what is wrong with it and what to do."""

import math
import re
from datetime import date, time, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.float64]

MISSING = {
    *("", "na", "n/a", "n.a.", "nan", "+nan", "-nan", "null", "none", "nil", "nat", "<na>", "-", "--", "---", ".", "?"),
    *("#n/a", "#na", "#n/a n/a", "#nv", "missing", "1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind", "\N{EN DASH}"),
    # what Excel writes where a formula failed, in English and in German
    *("#div/0!", "#value!", "#wert!", "#num!", "#zahl!", "#ref!", "#bezug!", "#name?", "#null!"),
}
MINUS = str.maketrans("\N{MINUS SIGN}\N{HYPHEN}\N{NON-BREAKING HYPHEN}", "---")
UNSAFE = str.maketrans("_", "x")  # Python reads 1_0 as ten
COMMA = str.maketrans("_,.", "x.x")  # a decimal comma is a point, and a point is none

_NUMBER = {
    mark: re.compile(rf"[-+]?(?:[0-9]+(?:[{mark}][0-9]*)?|[{mark}][0-9]+)(?:[eEdD][-+]?[0-9]+)?") for mark in ".,"
}
_INFINITE = re.compile(r"[-+]?(?:inf|infinity|1\.#inf)", re.IGNORECASE)
_DATE = re.compile(
    r"(?:[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2,4}"
    r"|[0-9]{1,2}[- ]?[A-Za-z]{3,9}\.?[- ,]*[0-9]{2,4}|[A-Za-z]{3,9}\.? [0-9]{1,2},? [0-9]{4})"
    r"(?:[T ,]+[0-9]{1,2}:[0-9]{2}.*)?|[0-9]{1,4}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?: ?[AaPp]\.?[Mm]\.?)?"
)
_TRAILING = re.compile(r"\s+(?:#|!|//).*$")
_PERCENT = re.compile(r"[-+]?[0-9.,]+\s*%")
_GROUPS = {
    mark: re.compile(rf"[-+]?[0-9]{{1,3}}(?:[{other}' \xa0\u2009\u202f][0-9]{{3}})+(?:[{mark}][0-9]*)?(?:[eE].*)?")
    for mark, other in (".,", ",.")
}


class NotANumberError(Exception):
    """An entry that is no number; the message quotes it, and says what to do."""


def kind(entry: Any, decimal: str) -> str:
    """Say what an entry looks like: "number", "missing", "date" or "text".

    >>> [kind(e, ".") for e in ("1.5", "1,5", "", "NA", "2020-01-31", "12:30", "mV", 2.0)]
    ['number', 'text', 'missing', 'missing', 'date', 'date', 'text', 'number']
    """
    if not isinstance(entry, str):
        return _kind_of_value(entry)
    if _NUMBER[decimal].fullmatch(entry.translate(MINUS)) and not entry.endswith(","):
        return "number"
    if entry.lower() in MISSING:
        return "missing"
    if _INFINITE.fullmatch(entry):
        return "number"
    return "date" if _DATE.fullmatch(entry) else "text"


def _kind_of_value(entry: Any) -> str:
    if isinstance(entry, date | time | timedelta):
        return "date"
    return "text" if isinstance(entry, bool) else "missing" if entry is None or entry != entry else "number"


def numbers(entries: list[Any], decimal: str) -> Column | None:
    """Return the entries of a column if each is a plain finite number; None if one at least needs a closer look.

    >>> numbers(["1", " 2.5"], "."), numbers(["1,5"], ","), numbers(["1.5"], ","), numbers(["1", "NA"], ".")
    (array([1. , 2.5]), array([1.5]), None, None)
    """
    try:
        text = "\n".join(entries)
        if decimal == ",":
            entries = text.translate(COMMA).split("\n")
        elif "_" in text:
            entries = text.translate(UNSAFE).split("\n")
    except TypeError:  # numbers of a spreadsheet
        if any(kind(entry, decimal) != "number" for entry in entries):
            return None
    try:
        found = np.fromiter(map(float, entries), np.float64, len(entries))
    except ValueError:
        return None
    return found if np.isfinite(found).all() else None


def number(entry: Any, decimal: str) -> float:
    """Return the number that an entry is, NaN for a word that says it is missing.

    Raises NotANumberError, which says what is wrong and what to do.

    >>> number("1.5D+02", "."), number("1,5e3", ","), number("n/a", ".")
    (150.0, 1500.0, nan)
    >>> number("5 %", ".")
    Traceback (most recent call last):
    ...
    gradcompile.data.tables.entries.NotANumberError: '5 %' has a percent sign; write it without, and divide
    """
    text = entry.strip().translate(MINUS) if isinstance(entry, str) else entry
    found = kind(text, decimal)
    if found == "text" and isinstance(text, str):
        text = _TRAILING.sub("", text)
        found = kind(text, decimal)
    if found == "missing":
        return math.nan
    if found != "number":
        raise NotANumberError(_complaint(entry, text, found, decimal))
    value = (
        float(text.lower().replace("d", "e").replace(",", ".").replace("1.#", "")) if isinstance(text, str) else text
    )
    if not math.isfinite(value):
        raise NotANumberError(f"{entry!r} is not a finite number; correct the entry or leave the row out")
    return float(value)


def _complaint(entry: Any, text: Any, found: str, decimal: str) -> str:
    shown = repr(entry) if isinstance(entry, str | bool) else repr(str(entry))
    if found == "date":
        return f"{shown} is a date or a time; put numbers into a column of their own, such as days since the first"
    if not isinstance(text, str):
        return f"{shown} is no number; write 1 or 0"
    if _PERCENT.fullmatch(text):
        return f"{shown} has a percent sign; write it without, and divide"
    other = "." if decimal == "," else ","
    if _NUMBER[other].fullmatch(text) and not _GROUPS[decimal].fullmatch(text):
        mark = "comma" if other == "," else "point"
        return f"{shown} has a decimal {mark}, and others do not; --decimal {other} reads it"
    if _GROUPS[decimal].fullmatch(text) or _GROUPS[other].fullmatch(text):
        return f"{shown} has a separator of thousands; write the digits without it"
    return f"{shown} is text, not a number; correct the entry, or leave it blank to leave the row out"
