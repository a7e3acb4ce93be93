"""Columns of numbers from a CSV file; what can't be read is named by file, row and column."""

import csv
import difflib
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gradcompile.errors import DataError

Column = npt.NDArray[np.float64]


def read_csv(path: str | os.PathLike[str]) -> dict[str, Column]:
    """Read a CSV file with a header row as float64 columns by name, each of shape `(rows,)`.

    Blank lines and spaces round names and numbers are ignored. Rows in messages are lines of the file, the header
    being row 1.

    Raises
    ------
    DataError
        The file is missing, not text or empty; a column name is blank or given twice; a row has too few or too many
        entries; an entry is blank, text, NaN or infinite.

    Example
    -------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "data.csv"
    >>> _ = file.write_text("y,x\\n10.07,77.6\\n14.73,114.9\\n")
    >>> read_csv(file)
    {'y': array([10.07, 14.73]), 'x': array([ 77.6, 114.9])}
    """
    where = Path(path)
    try:
        with where.open(newline="", encoding="utf-8-sig") as file:
            return _columns(where, _rows(file))
    except OSError as error:
        raise DataError(f"{where}: the file can't be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start} is not UTF-8 text; save the table as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{where}: not a CSV table: {error}") from error


def pick(columns: Mapping[str, Column], name: str, where: str | os.PathLike[str]) -> Column:
    """Return the column `name`, or raise DataError that lists the columns there are.

    >>> pick({"x": np.array([1.0])}, "x", "data.csv")
    array([1.])
    """
    if name in columns:
        return columns[name]
    close = difflib.get_close_matches(name, columns, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise DataError(f"{where}: there is no column {name!r}; the columns are {', '.join(columns)}{hint}")


def _rows(file: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped entries of every line that is not blank."""
    reader = csv.reader(file, strict=True)
    for entries in reader:
        stripped = [entry.strip() for entry in entries]
        if stripped and stripped != [""]:
            yield reader.line_num, stripped


def _columns(where: Path, rows: Iterator[tuple[int, list[str]]]) -> dict[str, Column]:
    _, names = next(rows, (1, []))
    if not names:
        raise DataError(f"{where}: the file is empty; the first row names the columns, as in 'x,y'")
    _check_names(where, names)
    table = [_numbers(where, line, names, entries) for line, entries in rows]
    if not table:
        raise DataError(f"{where}: there is no row of numbers below the header {','.join(names)!r}")
    array = np.array(table, dtype=np.float64)
    return {name: np.ascontiguousarray(array[:, i]) for i, name in enumerate(names)}


def _check_names(where: Path, names: list[str]) -> None:
    for i, name in enumerate(names):
        if not name:
            raise DataError(f"{where}, row 1, column {i + 1}: the column has no name; the first row names the columns")
        if name in names[:i]:
            raise DataError(f"{where}, row 1: the column name {name!r} is given twice; rename one of the columns")
    if all(_is_number(name) for name in names):
        raise DataError(f"{where}, row 1: these are numbers ({','.join(names)}); the first row names the columns")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(where: Path, line: int, names: list[str], entries: list[str]) -> list[float]:
    if len(entries) != len(names):
        raise DataError(
            f"{where}, row {line}: {len(entries)} entries where the header names {len(names)} columns "
            f"({','.join(names)}); every row needs one number a column"
        )
    return [_number(where, line, name, entry) for name, entry in zip(names, entries, strict=True)]


def _number(where: Path, line: int, name: str, entry: str) -> float:
    try:
        number = float(entry) if "_" not in entry else math.nan
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return number
    found = f"{entry!r} is not a finite number" if entry else "the entry is blank"
    raise DataError(f"{where}, row {line}, column {name!r}: {found}; correct the entry or leave the row out")
