"""What the rows of a table are: which one has the names, which has units, where the numbers begin, what lies above."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradcompile.data.tables.dialect import SPACES, Dialect, Row
from gradcompile.data.tables.entries import kind
from gradcompile.data.tables.source import readable
from gradcompile.errors import DataError

UNITS = 3  # rows below the names that may have units and remarks; Origin writes as many
NO_HEADER = "--no-header (in Python header=False) names them c1, c2, ..."
_REMARK = re.compile("(?:comment|remark|note|kommentar|bemerkung)s?", re.IGNORECASE)  # LabVIEW writes one, often blank
_RULE = re.compile(r"[-=:+*~_]{2,}")
_MARKS = re.compile(r'\s*"?(?:#+|%+|!+|//+)[!:]?\s*')
_UNIT = re.compile(
    r"[\[(<].*[\])>]|°?[CFK]|[munkMG]?(?:s|V|A|W|Hz|m|g|N|J|eV|Pa|bar|L|mol|Ohm)|min|h|d|cm|rad|deg|a\.?u\.?|counts?|[-%1]?"
)


@dataclass(frozen=True)
class Layout:
    """The names of the columns, blank for one that has none; the line of the first row of data; what is to be said."""

    names: tuple[str, ...]
    first: int
    least: int  # entries of a row; a column of remarks at the end may be left out
    doubt: float = 0.0  # the share of the first rows below the names that are none of such columns; 1 without numbers
    notes: tuple[str, ...] = ()


class _Sample:
    """The first rows of a table, and for each what it may be: a row of data, or one of words above them."""

    def __init__(self, rows: Sequence[Row], dialect: Dialect, tail: int | None) -> None:
        self.rows, self.dialect = rows, dialect
        self.middle = len(rows) // 2 if tail is None else max(0, len(rows) - tail)
        self.kinds = [[kind(entry, dialect.decimal) for entry in entries] for _, entries in rows]
        below = self.kinds[self.middle :]
        self.raw, _ = Counter(map(len, below)).most_common(1)[0]
        below = [kinds for kinds in below if len(kinds) == self.raw]
        blank = [
            all(k == "missing" and self._is_blank(j) for k in kinds) for j, kinds in enumerate(zip(*below, strict=True))
        ]
        self.width = max((j + 1 for j in range(self.raw) if not blank[j]), default=self.raw)
        self.numeric = [j for j in range(self.width) if self._is_numeric([kinds[j] for kinds in below])]
        self.is_data = [self._data(i) for i in range(len(rows))]

    def _is_blank(self, column: int) -> bool:
        below = self.rows[self.middle :]
        return not any(len(entries) > column and entries[column] not in ("", None) for _, entries in below)

    @staticmethod
    def _is_numeric(kinds: Sequence[str]) -> bool:
        return 0 < kinds.count("number") >= kinds.count("text") + kinds.count("date")

    def _of_numeric(self, i: int, shift: int = 0) -> list[str]:
        """What row i has in the columns of numbers."""
        kinds = self.kinds[i]
        return [kinds[j - shift] for j in self.numeric if 0 <= j - shift < len(kinds)]

    def _data(self, i: int) -> bool:
        kinds = self._of_numeric(i)
        fits = self.width <= len(trimmed(self.rows[i][1])) <= self.raw or self.width <= len(self.kinds[i]) <= self.raw
        return fits and "text" not in kinds and "date" not in kinds

    def first_data(self) -> int:
        """The first row of data; the first row if there is none."""
        return self.is_data.index(True) if self.numeric and True in self.is_data else 0

    def doubt(self, first: int) -> float:
        """How much speaks against rows of these columns from row `first` on."""
        below = self.is_data[first:]
        return below.count(False) / max(1, len(below)) if self.numeric else 1.0

    def words(self, i: int) -> bool:
        """Row i has words and no numbers in the columns of numbers."""
        kinds = self._of_numeric(i, self.shift(i))
        return "text" in kinds and "number" not in kinds

    def shift(self, i: int) -> int:
        """How many names row i lacks: one, where R has written the names of rows without a heading, right above them.

        What a comma cuts into two below a single name may as well be a number with a decimal comma.
        """
        named = len(trimmed(self.rows[i][1]))
        below = [entries[0] for _, entries in self.rows if len(entries) == self.raw]
        is_r = (
            named == self.width - 1
            and self.is_data[i + 1 : i + 2] == [True]
            and len(below) > 1
            and len(set(map(str, below))) == len(below)
        )
        return int(is_r and not (self.dialect.delimiter == "," and self.width == 2))

    def may_name(self, i: int) -> bool:
        """Row i is as wide as those below, and has a word for a column of numbers at least."""
        named = self.named(i)
        fits = self.width <= named <= self.raw or bool(self.shift(i)) or named < self.width <= len(self.kinds[i])
        return fits and ("text" in self._of_numeric(i, self.shift(i)) or not self.numeric)

    def named(self, i: int) -> int:
        """How many names row i has, without a last one for remarks, if there is none in the rows."""
        names = trimmed(self.rows[i][1])
        return len(names) - (len(names) == self.raw + 1 and bool(_REMARK.fullmatch(str(names[-1]))))

    def header(self) -> int | None:
        """The row that names the columns, None if there is none: no row of numbers is left out above it, it has words
        rather than numbers, no column of numbers lacks a name, and the rows below are most of all data.
        """
        if not self.numeric:
            return next((i for i in range(len(self.rows)) if self.may_name(i)), None)
        end = self.is_data.index(True) if True in self.is_data else len(self.rows)
        return min((i for i in range(end) if self.may_name(i)), key=self._cost, default=None)

    def _cost(self, i: int) -> tuple[bool, int, int]:
        kinds, entries, shift = self._of_numeric(i, self.shift(i)), self.rows[i][1], self.shift(i)
        unnamed = sum(j - shift < len(entries) and entries[j - shift] in ("", None) for j in self.numeric if j > 0)
        above = i + len(self.below(i))
        return "number" in kinds, unnamed, self.is_data[above + 1 :].count(False)

    def below(self, header: int) -> list[int]:
        """The rows of units and remarks directly below the names."""
        found: list[int] = []
        for i in range(header + 1, min(header + 1 + UNITS, len(self.rows) - 1)):
            if not (self.is_rule(i) or (self.words(i) and self.width <= len(self.kinds[i]) <= self.raw)):
                break
            found.append(i)
        return found

    def is_rule(self, i: int) -> bool:
        """A line of dashes, as below the names of a table in Markdown."""
        return all(isinstance(e, str) and (not e or _RULE.fullmatch(e)) for e in self.rows[i][1])


def trimmed(entries: Sequence[Any]) -> Sequence[Any]:
    """A row without the blank entries at its end."""
    end = len(entries)
    while end and entries[end - 1] in ("", None, "\x1a"):
        end -= 1
    return entries[:end]


def layout(
    where: str,
    rows: Sequence[Row],
    dialect: Dialect,
    header: bool = True,
    comments: Sequence[tuple[int, str]] = (),
    word: str = "line",
    tail: int | None = None,
) -> Layout:
    """Tell the layout from the first rows that are not blank; `comments` are the last two directly above them.

    The last `tail` of the rows say what the columns are, the second half of them if None. Raises DataError where no
    row names the columns, or none stands below it.
    """
    sample = _Sample(rows, dialect, tail)
    if not header:
        return _unnamed(sample, word)
    at = sample.header()
    if at is None:
        named = _from_comments(sample, comments, dialect)
        if named is None:
            raise _no_names(where, sample, dialect, word)
        line, names, notes = named
        notes = [f"the names are taken from the comment in line {line}", *notes]
        return Layout(names, rows[0][0], len(names), sample.doubt(0), tuple(notes))
    below = sample.below(at)
    first = at + 1 + len(below)
    if first == len(rows):
        shown = dialect.delimiter.join(_names(rows[at][1], 0))
        raise DataError(f"{where}: there is no row of numbers below the header {shown!r}")
    names = _names(trimmed(rows[at][1]), sample.shift(at))
    names += ("",) * (sample.width - len(names))
    least = len(names) - (len(names) > sample.raw)
    return Layout(names, rows[first][0], least, sample.doubt(first), tuple(_notes(sample, at, below, word)))


def _unnamed(sample: "_Sample", word: str) -> Layout:
    """Columns that no row names, from the first row that has numbers."""
    first = sample.first_data()
    line = sample.rows[first][0]
    notes = (f"what stands above {word} {line} is left out",) if first else ()
    return Layout(tuple(f"c{j + 1}" for j in range(sample.width)), line, sample.width, sample.doubt(first), notes)


def _names(entries: Sequence[Any], shift: int) -> tuple[str, ...]:
    """The names of columns: one line each; a number of a spreadsheet as it is shown there."""
    found = [f"{e:g}" if isinstance(e, float) else str("" if e is None else e) for e in entries]
    return ("",) * shift + tuple(" ".join(name.split()) for name in found)


def _notes(sample: _Sample, at: int, below: Sequence[int], word: str) -> Sequence[str]:
    notes = []
    if at:
        notes.append(f"the names are taken from {word} {sample.rows[at][0]}; what stands above it is left out")
    if sample.shift(at):
        notes.append("there is one name fewer than columns: the first column is taken for names of rows, as R has them")
    units = [i for i in below if not sample.is_rule(i)]
    for i in units:
        line, entries = sample.rows[i]
        shown = ", ".join(str(e) for e in entries if e not in ("", None))
        notes.append(f"{word} {line} taken for {'units' if i == units[0] else 'a remark'} ({shown})")
    return notes


def _from_comments(
    sample: _Sample, comments: Sequence[tuple[int, str]], dialect: Dialect
) -> tuple[int, tuple[str, ...], list[str]] | None:
    """The names in a comment above the rows, if it has one word a column; its line; a note of units."""
    cut = [(line, _cut_comment(text, sample.width, dialect)) for line, text in comments]
    fitting = [(line, words) for line, words in cut if words]
    if not fitting or fitting[-1][0] != comments[-1][0]:
        return None
    (line, words), notes = fitting[-1], []
    if len(fitting) == 2 and all(_UNIT.fullmatch(word) for word in words):
        notes = [f"line {line} taken for units ({', '.join(words)})"]
        line, words = fitting[0]
    return line, tuple(words), notes


def _cut_comment(text: str, width: int, dialect: Dialect) -> list[str] | None:
    """A comment as names: cut as the rows are, or else by any delimiter that gives as many."""
    bare = _MARKS.sub("", readable(text), count=1)
    for delimiter in dict.fromkeys((dialect.delimiter, ",", ";", "\t", "|")):
        if delimiter == SPACES:
            continue
        words = Dialect(delimiter, dialect.decimal).cut(bare)
        if fit_for_names(words, width):
            return words
    for words in (wide_cut(bare), Dialect(SPACES, dialect.decimal).cut(bare)):
        if fit_for_names(words, width):
            return words
    return None


def fit_for_names(words: Sequence[str], width: int) -> bool:
    """One word a column, each another, none a number."""
    return len(words) == width == len(set(words)) and all(kind(w, ".") in ("text", "missing") for w in words)


def wide_cut(line: str) -> list[str]:
    """A line cut where two spaces or more are, or a tab: words of one name may have one between them.

    >>> wide_cut("Time (s)   Current (A)")
    ['Time (s)', 'Current (A)']
    """
    return [word for word in re.split(r"\t\s*|\s{2,}", line.strip()) if word]


def _no_names(where: str, sample: _Sample, dialect: Dialect, word: str) -> DataError:
    first = sample.first_data()
    line, entries = sample.rows[first]
    shown = (", " if dialect.delimiter == SPACES else dialect.delimiter).join(str(e) for e in entries[:8])
    if sample.is_data[first] and "number" in sample.kinds[first] and (first == 0 or "number" in sample.kinds[0]):
        names = f"the first row names the columns; {NO_HEADER}"
        return DataError(f"{where}, {word} {line}: these are numbers ({shown}); {names}")
    if len(sample.rows) > 1 and "number" not in sample.kinds[0]:
        line, entries = next((row for row in sample.rows[1:] if len(row[1]) == sample.raw), sample.rows[1])
        return ragged(where, word, line, len(trimmed(entries)), trimmed(sample.rows[0][1]))
    return DataError(
        f"{where}, {word} {line}: no row names the columns ({shown} does not); write one above, or {NO_HEADER}"
    )


def ragged(where: str, word: str, line: int, count: int, names: Sequence[Any]) -> DataError:
    """The complaint about a row that is not as wide as the header."""
    shown = ",".join(str(name) for name in names[:8]) + (",..." if len(names) > 8 else "")
    entries = "one entry" if count == 1 else f"{count} entries"
    columns = "one column" if len(names) == 1 else f"{len(names)} columns"
    return DataError(
        f"{where}, {word} {line}: {entries} where the header names {columns} ({shown}); "
        f"every row needs one entry a column, blank where it is missing"
    )
