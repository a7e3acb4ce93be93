"""Tables as people have them: text in any dialect, packed or not, Excel, Parquet, standard input; columns of numbers.

`open_table` finds out what a file is and what its columns are called; `Table.read` then goes through it once, converts
the columns that are asked for, and no other. What can't be read is named by file, line, column and entry.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from gradcompile.data.tables import dialect as dialects
from gradcompile.data.tables import sheets
from gradcompile.data.tables.dialect import Dialect, Row
from gradcompile.data.tables.entries import Column, NotANumberError, number, numbers
from gradcompile.data.tables.layout import Layout, fit_for_names, layout, ragged, trimmed, wide_cut
from gradcompile.data.tables.source import EXCEL, HEAD, PARQUET, Lines, Source, encoding, readable, source
from gradcompile.errors import ArgumentError, DataError, meant

SAMPLE = 300  # lines by which a table is told
LONG = 30_000  # and if its numbers begin later
TAIL = 4  # lines at the end of these that are told by themselves
REMEMBERED = 1000  # missing entries that can be named


@dataclass(frozen=True, eq=False)
class Rows:
    """The columns that were asked for: numbers, NaN where an entry is missing, and text; and the line of each row.

    `missing` has the place, the column and the entry of the first missing ones.
    """

    columns: dict[str, Column]
    texts: dict[str, list[str]]
    lines: npt.NDArray[np.int64]
    missing: list[tuple[int, str, str]] = field(default_factory=list)
    word: str = "line"
    where: str = ""

    def complete(self, kept: npt.NDArray[np.bool_] | None = None) -> tuple["Rows", str]:
        """The rows (of those to be `kept`) without a missing entry, and a sentence about those left out, or ""."""
        kept = np.ones(len(self.lines), bool) if kept is None else kept
        whole = kept.copy()
        for column in self.columns.values():
            whole &= ~np.isnan(column)
        for words in self.texts.values():
            whole &= np.array([word != "" for word in words], bool)
        if whole.all():
            return self, ""
        if not whole.any() and kept.any():
            raise DataError(f"{self.where}: no row is left; {self._said(kept, kept)}")
        return self.at(whole), self._said(kept & ~whole, kept)

    def at(self, chosen: npt.NDArray[np.bool_]) -> "Rows":
        """Some of the rows."""
        columns = {name: column[chosen] for name, column in self.columns.items()}
        texts = {name: [t for t, stays in zip(text, chosen, strict=True) if stays] for name, text in self.texts.items()}
        return Rows(columns, texts, self.lines[chosen], word=self.word, where=self.where)

    def _said(self, left_out: npt.NDArray[np.bool_], kept: npt.NDArray[np.bool_]) -> str:
        count = int(left_out.sum())
        if not count:
            return ""
        first = next(((at, name, entry) for at, name, entry in self.missing if kept[at]), None)
        how_many = "one row left out" if count == 1 else f"{count} rows left out"
        if first is None:
            return f"{how_many}, with missing entries"
        at, name, entry = first
        others = "" if count == 1 else f", and {count - 1} more"
        return f"{how_many}: {entry or 'a blank entry'} in {name}, {self.word} {self.lines[at]}{others}"


@dataclass(frozen=True, eq=False)
class Table:
    """A table that has been looked at: its name in messages, its columns, and what is to be said about it.

    A column without a name has the name "" and can't be read. Columns of one name are called by their number, c1, c2,
    ...; shared: these, by the name they share.
    """

    where: str
    names: tuple[str, ...]
    notes: tuple[str, ...]
    reader: Callable[[Sequence[str], Sequence[str]], Rows] = field(repr=False)
    shared: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def read(self, wanted: Iterable[str] | None = None, texts: Iterable[str] = ()) -> Rows:
        """Read the columns `wanted` as numbers (all that have a name, if None) and the columns `texts` as they are.

        Raises DataError for a column that is not there, for a name that several have, and for what can't be read in it.
        """
        numeric = [name for name in self.names if name] if wanted is None else list(dict.fromkeys(wanted))
        asked = [*numeric, *texts]
        for name in asked:
            self.check(name)
        rows = self.reader(numeric, list(texts))
        if not len(rows.lines):
            shown = ",".join(self.names)
            raise DataError(f"{self.where}: there is no row of numbers below the header {shown!r}")
        return rows

    def check(self, name: str) -> None:
        """Raise DataError, with the names there are, unless there is one column `name`."""
        if name and name in self.names:
            return
        if name in self.shared:
            *others, last = self.shared[name]
            times = "twice" if len(others) == 1 else f"{len(others) + 1} times"
            which = f"write {', '.join(others)} or {last} for the one that is meant"
            raise DataError(f"{self.where}: the column name {name!r} is given {times}; {which}, or rename all but one")
        known = [name for name in self.names if name]
        columns = f"the columns are {', '.join(known)}{meant(name, known)}"
        raise DataError(f"{self.where}: there is no column {name!r}; {columns}")


def open_table(
    path: str | os.PathLike[str],
    *,
    header: bool = True,
    delimiter: str | None = None,
    decimal: str | None = None,
    sheet: str | None = None,
) -> Table:
    """Look at a table of any kind, "-" for standard input.

    header: whether a row names the columns; without they are called c1, c2, ... delimiter, decimal: told from the
    file if None; "tab" and "space" are understood. sheet: of a workbook, by its name, or its number from 1.

    Raises
    ------
    DataError
        The file can't be read or is no table. ArgumentError for options that mean nothing.

    Example
    -------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "data.csv"
    >>> _ = file.write_text("Zeit;U\\ns;V\\n0,5;1,25\\n1,0;NA\\n")
    >>> table = open_table(file)
    >>> table.names, table.notes
    (('Zeit', 'U'), ('line 2 taken for units (s, V)',))
    >>> rows, note = table.read().complete()
    >>> rows.columns, note
    ({'Zeit': array([0.5]), 'U': array([1.25])}, 'one row left out: NA in U, line 4')
    """
    where = source(path)
    delimiter = _delimiter(delimiter)
    if decimal not in (None, ".", ","):
        raise ArgumentError(f"decimal: {decimal!r} is no decimal mark; give . or ,")
    head = where.head()
    if head.startswith(PARQUET):
        return _of_frame(where.where, sheets.parquet(where))
    if head.startswith(EXCEL):
        return _of_workbook(where, sheet, header)
    if sheet is not None:
        raise ArgumentError(f"sheet: {where.where} is a text, which has no sheets; leave it out")
    return _of_text(where, encoding(where.where, head), header, delimiter, decimal)


def read_table(path: str | os.PathLike[str], wanted: Iterable[str] | None = None, **options: Any) -> dict[str, Column]:
    """Read columns of a table as float64 arrays by name, without the rows in which an entry of them is missing.

    wanted: the columns; all of them if None. options: those of `open_table`.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "data.csv"
    >>> _ = file.write_text("who y x\\n'A' 10.07 77.6\\n'B' 14.73 114.9\\n")
    >>> read_table(file, ["y", "x"])
    {'y': array([10.07, 14.73]), 'x': array([ 77.6, 114.9])}
    """
    return open_table(path, **options).read(wanted).complete()[0].columns


def _delimiter(given: str | None) -> str | None:
    if given is None or given == SPACE_AND_TAB:
        return given
    found = dialects.NAMES.get(given.lower(), given)
    if len(found) != 1 or found in '"\r\n' or found.isalnum():
        raise ArgumentError(f"delimiter: {given!r} is not one character; give ; or tab or space, for example")
    return found


SPACE_AND_TAB = dialects.SPACES


# -- text ------------------------------------------------------------------------------------------------------


def _looked_at(
    where: Source, coding: str, header: bool, delimiter: str | None, decimal: str | None
) -> tuple[Dialect, Layout]:
    """Tell dialect and layout from the first lines; from their end alone where most of them lie above the table."""
    found, error = None, None
    for count, tail in ((SAMPLE, None), (SAMPLE, TAIL), (LONG, TAIL)):
        lines, comments, declared = _first_lines(where, coding, count)
        sample = [line for _, line in (lines if tail is None else lines[-tail:])]
        dialect = dialects.sniff(sample, delimiter or declared, decimal)
        try:
            looked = layout(where.where, _sample(lines, dialect), dialect, header, comments, tail=tail)
        except DataError as problem:
            error = error if found is None and error else problem
            continue
        if looked.doubt <= 0.5:
            doubtful = dialect.doubtful([line for _, line in lines])
            return dialect, replace(looked, notes=(*looked.notes, *doubtful)) if doubtful else looked
        found = found or (dialect, looked)
    if found is None or error is not None:
        raise error or DataError(where.where)
    return found


def _of_text(where: Source, coding: str, header: bool, delimiter: str | None, decimal: str | None) -> Table:
    dialect, found = _looked_at(where, coding, header, delimiter, decimal)
    found, shared = _told_apart(found)

    def read(wanted: Sequence[str], texts: Sequence[str]) -> Rows:
        collected = _Collected(where.where, found, wanted, texts, dialect.decimal, "line")
        places = [] if texts else [collected.places[name] for name in wanted]
        with where.opened() as file:
            for chunk in Lines(file, coding, found.first).chunks():
                numbers = dialect.plain(chunk, len(found.names), places)
                if numbers is None:
                    collected.add(dialect.rows(chunk, where.where))
                else:
                    collected.take(chunk.numbers, numbers)
        return collected.rows()

    return Table(where.where, found.names, found.notes, read, shared)


def _told_apart(found: Layout) -> tuple[Layout, dict[str, list[str]]]:
    """The layout with columns of one name called by their numbers, as without a header; these by that name."""
    counts = Counter(found.names)
    names, shared = list(found.names), dict[str, list[str]]()
    for k, name in enumerate(found.names):
        if name and counts[name] > 1:
            own = f"c{k + 1}"
            while own in names:
                own += "_"
            names[k] = own
            shared.setdefault(name, []).append(own)
    return replace(found, names=tuple(names)), shared


def _first_lines(
    where: Source, coding: str, count: int
) -> tuple[list[tuple[int, str]], list[tuple[int, str]], str | None]:
    """The first lines with their numbers, the last two comments above, and the delimiter if the first line says it."""
    with where.opened() as file:
        lines = Lines(file, coding)
        both = (zip(chunk.numbers, chunk.lines, strict=True) for chunk in lines.chunks(HEAD))
        found = [(number, line) for number, line in islice(chain.from_iterable(both), count) if not line.isspace()]
    declared = dialects.declared(found[0][1].lstrip("\ufeff").rstrip("\r\n")) if found else None
    found = found[1:] if declared else found
    if not found:
        raise DataError(f"{where.where}: the file is empty; the first row names the columns, as in 'x,y'")
    return found, lines.comments, declared


def _sample(lines: Sequence[tuple[int, str]], dialect: Dialect) -> list[Row]:
    """The sample as rows; names between wide gaps are kept whole where that makes them as many as the columns."""
    rows = dialect.cut_all(lines)
    if dialect.delimiter == dialects.SPACES:
        width, _ = Counter(len(words) for _, words in rows[len(rows) // 2 :]).most_common(1)[0]
        for i, (line, text) in enumerate(lines):
            if len(rows[i][1]) > width and fit_for_names(wide := wide_cut(readable(text)), width):
                rows[i] = line, wide
    return [row for row in rows if trimmed(row[1])] or rows


# -- workbooks and frames --------------------------------------------------------------------------------------


def _of_workbook(where: Source, sheet: str | None, header: bool) -> Table:
    rows, notes = sheets.workbook(where, sheet)
    rows = [row for row in rows if trimmed(row[1])]
    if not rows:
        raise DataError(f"{where.where}: the sheet is empty; name one that is not by --sheet")
    found, shared = _told_apart(layout(where.where, rows[:SAMPLE], Dialect(",", "."), header, word="row"))

    def read(wanted: Sequence[str], texts: Sequence[str]) -> Rows:
        collected = _Collected(where.where, found, wanted, texts, ".", "row")
        collected.add([row for row in rows if row[0] >= found.first])
        return collected.rows()

    return Table(where.where, found.names, (*notes, *found.notes), read, shared)


def _of_frame(where: str, frame: sheets.Frame) -> Table:
    def read(wanted: Sequence[str], texts: Sequence[str]) -> Rows:
        try:
            columns = frame.columns(wanted)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        written = {name: ["" if t is None else str(t) for t in frame.values(name)] for name in texts}
        count = max([*map(len, columns.values()), *map(len, written.values())], default=0)
        missing = [
            (int(at), name, "") for name, c in columns.items() for at in np.flatnonzero(np.isnan(c))[:REMEMBERED]
        ]
        return Rows(columns, written, np.arange(count), sorted(missing), "row", where)

    return Table(where, frame.names, (), read)


# -- rows of entries -------------------------------------------------------------------------------------------


class _Collected:
    """The columns that are asked for, chunk by chunk."""

    def __init__(
        self, where: str, found: Layout, wanted: Sequence[str], texts: Sequence[str], decimal: str, word: str
    ) -> None:
        self.where, self.names, self.least, self.decimal, self.word = where, found.names, found.least, decimal, word
        self.places = {name: found.names.index(name) for name in [*wanted, *texts]}
        self.columns: dict[str, list[Column]] = {name: [] for name in wanted}
        self.texts: dict[str, list[str]] = {name: [] for name in texts}
        self.lines: list[npt.NDArray[np.int64]] = []
        self.missing: list[tuple[int, str, str]] = []
        self.count = 0

    def take(self, lines: Sequence[int], numbers: Column) -> None:
        """Take some rows of the columns of numbers, in their order."""
        self.lines.append(np.array(lines, np.int64))
        for column, parts in zip(numbers.T, self.columns.values(), strict=True):
            parts.append(column)
        self.count += len(numbers)

    def add(self, rows: Sequence[Row]) -> None:
        """Take the entries of some rows."""
        width = len(self.names)
        if not all(len(entries) == width for _, entries in rows):
            rows = [(line, self.fitted(line, entries)) for line, entries in rows if trimmed(entries)]
        if not all(entries[0] for _, entries in rows):  # a row of blank entries is none
            rows = [row for row in rows if trimmed(row[1])]
        lines = np.fromiter((line for line, _ in rows), np.int64, len(rows))
        self.lines.append(lines)
        for name, parts in self.columns.items():
            at = self.places[name]
            entries = [row[at] for _, row in rows]
            found = numbers(entries, self.decimal)
            parts.append(self.one_by_one(name, entries, lines) if found is None else found)
        for name, texts in self.texts.items():
            at = self.places[name]
            texts += [readable(str(row[at])) for _, row in rows]
        self.count += len(rows)

    def fitted(self, line: int, entries: list[Any]) -> list[Any]:
        """A row with an entry for each column: blank ones may be too many, and a remark may be missing."""
        width, filled = len(self.names), len(trimmed(entries))
        if len(entries) < self.least or filled > width:
            raise ragged(self.where, self.word, line, len(entries) if filled < width else filled, self.names)
        return [*entries, ""][:width]

    def one_by_one(self, name: str, entries: Sequence[Any], lines: Sequence[int] | npt.NDArray[np.int64]) -> Column:
        """The numbers of entries of which one at least is missing, or none."""
        found = np.empty(len(entries))
        for i, entry in enumerate(entries):
            try:
                found[i] = number(entry, self.decimal)
            except NotANumberError as error:
                shown = f"{self.where}, {self.word} {lines[i]}, column {name!r}: {error}"
                raise DataError(shown) from error
            if np.isnan(found[i]) and len(self.missing) < REMEMBERED:
                self.missing.append((self.count + i, name, str("" if entry is None else entry).strip()))
        return found

    def rows(self) -> Rows:
        """Everything that was taken."""
        columns = {}
        for name, parts in self.columns.items():
            columns[name] = np.concatenate(parts) if parts else np.empty(0)
            parts.clear()
        lines = np.concatenate(self.lines) if self.lines else np.empty(0, np.int64)
        return Rows(columns, self.texts, lines, sorted(self.missing), self.word, self.where)
