"""How the lines of a table are cut into entries: the delimiter and the decimal mark, told from a sample of lines.

Each pair of them is tried on the sample. It is good where the rows come out equally wide and their entries look like
numbers, as in "Wrangling messy CSV files by detecting row and type patterns" (van den Burg, Nazabal, Sutton 2019).
"""

import contextlib
import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import methodcaller

import numpy as np

from gradcompile.data.tables.entries import COMMA, Column, kind
from gradcompile.data.tables.source import Chunk, is_comment, readable
from gradcompile.errors import DataError

SPACES = " "  # any run of spaces and tabs
DELIMITERS = (",", ";", "\t", "|", SPACES)
NAMES = {"tab": "\t", r"\t": "\t", "space": SPACES, "comma": ",", "semicolon": ";", "bar": "|", "pipe": "|"}
WORTH = {"number": 1.0, "missing": 0.9, "date": 0.9}
SINGLE = 0.6  # a table of one column is rare, and any text looks like one
_DECLARED = re.compile(r'"?sep=(?P<delimiter>.)"?\s*', re.IGNORECASE)
_THOUSANDS = re.compile(r"[-+]?[1-9][0-9]{0,2},[0-9]{3}")
_WORDS = re.compile(r'"((?:[^"]|"")*)"|(\S+)')

UNPLAIN = '"_#!/%'  # quotes, remarks, and what Python's numbers may have in them and a table's may not

Row = tuple[int, list[str]]  # the number of a line, and its entries


@dataclass(frozen=True)
class Dialect:
    """A delimiter, and the mark between whole number and fraction."""

    delimiter: str
    decimal: str

    def cut(self, line: str) -> list[str]:
        """The entries of one line; quotes are kept together, and never complained about."""
        if self.delimiter == SPACES:
            return [readable(word) for word in _words(line)]
        cut = csv.reader([line], delimiter=self.delimiter, skipinitialspace=True)
        return [readable(entry) for entry in next(cut, [])]

    def cut_all(self, lines: Sequence[tuple[int, str]]) -> list[Row]:
        """The entries of some lines with their numbers; a quoted entry may go on in the next line."""
        alone = [(number, self.cut(line)) for number, line in lines]
        if self.delimiter == SPACES or not any(line.count('"') % 2 for _, line in lines):
            return alone
        reader = csv.reader((line for _, line in lines), delimiter=self.delimiter, skipinitialspace=True)
        rows: list[Row] = []
        opened = 0
        with contextlib.suppress(csv.Error):
            for entries in reader:
                rows.append((lines[opened][0], [readable(entry) for entry in entries]))
                opened = reader.line_num
        return rows if 2 * len(rows) >= len(lines) else alone  # a quote that stays open takes in all the rest

    def doubtful(self, lines: Sequence[str]) -> tuple[str, ...]:
        """What is to be said of commas that may as well separate thousands."""
        if self.decimal != ",":
            return ()
        found = [entry for line in lines for entry in self.cut(line) if "," in entry and kind(entry, ",") == "number"]
        if not found or not all(_THOUSANDS.fullmatch(entry) for entry in found):
            return ()
        return (f"commas are taken for decimal marks: {found[0]} is {found[0].replace(',', '.')}",)

    def rows(self, chunk: Chunk, where: str) -> list[Row]:
        """The line number and the entries of each row; DataError, naming the line, for a quote that stays open."""
        if self.delimiter == SPACES:
            return [(number, _words(line)) for number, line in zip(chunk.numbers, chunk.lines, strict=True)]
        reader = csv.reader(chunk.lines, delimiter=self.delimiter, skipinitialspace=True, strict=True)
        if '"' not in chunk.text:
            return list(zip(chunk.numbers, reader, strict=True))
        rows: list[Row] = []
        opened = 0
        try:
            for entries in reader:
                rows.append((chunk.numbers[opened], entries))
                opened = reader.line_num
        except csv.Error as error:
            raise _unclosed(where, chunk.numbers[opened], chunk.numbers[reader.line_num - 1], str(error)) from error
        return rows

    def plain(self, chunk: Chunk, width: int, places: Sequence[int]) -> Column | None:
        """Some columns of a chunk of nothing but finite numbers, each row as wide as it should be, else None."""
        if any(c in chunk.text for c in UNPLAIN) or chunk.text.isspace() or not places:
            return None
        cut = methodcaller("count", self.delimiter) if self.delimiter != SPACES else lambda line: len(line.split()) - 1
        if set(map(cut, chunk.lines)) != {width - 1}:
            return None
        lines = chunk.lines
        if self.decimal == ",":
            lines = "".join(lines).translate(COMMA).splitlines()
        try:
            delimiter = None if self.delimiter == SPACES else self.delimiter
            found = np.loadtxt(lines, np.float64, comments=None, delimiter=delimiter, usecols=places, ndmin=2)
        except ValueError:
            return None
        return found if len(found) == len(lines) and np.isfinite(found).all() else None


def _words(line: str) -> list[str]:
    if '"' not in line:
        words = line.split()
    else:
        words = [word or quoted.replace('""', '"') for quoted, word in _WORDS.findall(line)]
    if "#" in line or "!" in line or "//" in line:  # a remark at the end of the line
        return list(itertools.takewhile(lambda word: not is_comment(word), words))
    return words


def _unclosed(where: str, opened: int, line: int, error: str) -> DataError:
    """The row that begins in line `opened` has a quote that does not end, or not where an entry does."""
    if "end of data" in error or "field limit" in error:
        what = f"the quote that opens in line {opened} is never closed; close it or take it away"
    else:
        what = (
            f"the quote that opens in line {opened} ends within an entry of line {line}; close it, or write two for one"
        )
    return DataError(f"{where}: {what}")


def declared(line: str) -> str | None:
    """The delimiter of Excel's first line `sep=;`.

    >>> declared("sep=;"), declared("x;y")
    (';', None)
    """
    match = _DECLARED.fullmatch(line)
    return match["delimiter"] if match else None


def sniff(lines: Sequence[str], delimiter: str | None = None, decimal: str | None = None) -> Dialect:
    r"""The pair that fits a sample of lines best; what is given is kept.

    >>> sniff(["x;y\n", "1;1,5\n"])
    Dialect(delimiter=';', decimal=',')
    >>> sniff(["x y\n", "1   1.5\n"])
    Dialect(delimiter=' ', decimal='.')
    """
    found = Dialect(delimiter or ",", decimal or ".")
    best = (-1.0, 0.0)
    for candidate in _candidates(delimiter, decimal):
        score = _score(lines, candidate)
        if score > best:
            best, found = score, candidate
    return found


def _candidates(delimiter: str | None, decimal: str | None) -> Iterable[Dialect]:
    for mark in [decimal] if decimal else [".", ","]:
        for d in [delimiter] if delimiter else DELIMITERS:
            yield Dialect(d, mark)


def _score(lines: Sequence[str], dialect: Dialect) -> tuple[float, float]:
    """How well the rows agree in width and look like numbers; then how wide they are."""
    rows = [dialect.cut(line) for line in lines]
    if dialect == Dialect(",", ",") and not any("," in entry for row in rows for entry in row):
        return -1.0, 0  # decimal commas between commas are quoted
    width, _ = Counter(map(len, rows)).most_common(1)[0]
    worth = sum(_worth(row, dialect.decimal) for row in rows if len(row) == width)
    return round((SINGLE if width == 1 else 1.0) * worth / len(rows), 9), width


def _worth(row: list[str], decimal: str) -> float:
    return sum(WORTH.get(kind(entry, decimal)) or _of_text(entry) for entry in row) / max(len(row), 1)


def _of_text(entry: str) -> float:
    """A word may stand in a table; what holds a delimiter was not cut right, unless it was quoted."""
    return 0.1 if any(d in entry for d in ",;\t|") else 0.4 if SPACES in entry else 0.5
