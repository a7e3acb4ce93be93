"""Where a table comes from: a file, a pipe or standard input, packed or not, and what kind of file it is."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import re
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from gradcompile.errors import DataError

STDIN = "-"
HEAD = 1 << 16  # bytes that are looked at to tell what a file is
CHUNK = 1 << 20  # characters that stand in memory as text at a time

PACKED: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": lambda file: cast(BinaryIO, gzip.GzipFile(fileobj=file)),
    b"BZh": lambda file: cast(BinaryIO, bz2.BZ2File(file)),
    b"\xfd7zXZ\x00": lambda file: cast(BinaryIO, lzma.LZMAFile(file)),  # noqa: SIM115 - the source closes it,
    b"PK\x03\x04": lambda file: _member(file),
}
BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile)  # for a damaged file
WORKBOOK = re.compile(r"mimetype|\[Content_Types\]\.xml|xl/")  # what one has in it, which is an archive too
BESIDE = re.compile(r"__MACOSX/|(.*/)?(\.DS_Store|Thumbs\.db)$|.*/$")  # in an archive, and no file of somebody's
EXCEL = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
PARQUET = b"PAR1"
FOREIGN = {
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite database",
    b"\x93NUMPY": "a NumPy array",
    b"ARROW1": "an Arrow file",
    b"MATLAB 5.0": "a file of MATLAB",
    b"RDX": "a file of R",
    b"PK\x05\x06": "an empty archive",
    b"{": "JSON",
    b"<": "a web page or XML",
}
ENCODINGS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
# a line is a comment by how it begins; Excel's words for errors begin in the same way
MARKS = ("#", "%", "!", "//", "*")
_COMMENT = re.compile(r'(?:"?#(?!N/A|NA\b|NV\b|DIV/0|VALUE|WERT|NUM|ZAHL|REF|BEZUG|NAME\?|NULL)|[%!]|//|\*[\s*])')


@dataclass(frozen=True)
class Source:
    """A table's bytes: `where` names it in messages; `content` holds what can be read only once."""

    where: str
    path: Path | None = None
    content: bytes = field(default=b"", repr=False)

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The bytes from the beginning, unpacked."""
        try:
            with self.path.open("rb") if self.path else io.BytesIO(self.content) as file:
                magic = file.read(8)
                file.seek(0)
                unpack = next((unpack for mark, unpack in PACKED.items() if magic.startswith(mark)), None)
                try:
                    found = unpack(cast(BinaryIO, file)) if unpack else cast(BinaryIO, file)
                except DataError as error:
                    raise DataError(f"{self.where}: {error}") from error
                yield found
        except BROKEN as error:
            raise DataError(f"{self.where}: the packed file is damaged or cut off ({error}); get it again") from error

    def is_packed(self) -> bool:
        """Whether what `opened` gives is not the file itself."""
        with self.opened() as file, self.path.open("rb") if self.path else io.BytesIO(self.content) as outer:
            return file.read(HEAD) != outer.read(HEAD)

    def head(self) -> bytes:
        """The first bytes, by which the kind of file is told."""
        with self.opened() as file:
            return file.read(HEAD)


def _member(file: BinaryIO) -> BinaryIO:
    """The only file in an archive; the archive itself if it is a workbook, or can't be read."""
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile:
        file.seek(0)
        return file
    names = archive.namelist()
    if any(WORKBOOK.match(name) for name in names):
        file.seek(0)
        return file
    inside = [name for name in names if not BESIDE.match(name)]
    if len(inside) != 1:
        shown = ", ".join(inside[:5]) + (", ..." if len(inside) > 5 else "")
        raise DataError(f"the archive holds {len(inside)} files ({shown}); unpack it, and name the one with the table")
    try:
        return cast(BinaryIO, archive.open(inside[0]))
    except (RuntimeError, NotImplementedError) as error:  # it needs a password, or a way of packing of its own
        raise DataError(f"{inside[0]} in the archive can't be read: {error}; unpack it") from error


def source(path: str | os.PathLike[str]) -> Source:
    """Look at `path`, "-" for standard input; what is no regular file is read at once, as it can't be read twice.

    Raises DataError for what can't be read.
    """
    if str(path) == STDIN:
        return Source("standard input", content=_standard_input())
    where = Path(path)
    try:
        if stat.S_ISREG(where.stat().st_mode):
            with where.open("rb"):
                return Source(str(where), where)
        return Source(str(where), content=where.read_bytes())
    except IsADirectoryError as error:
        raise DataError(f"{where}: the file can't be read: it is a directory; name a file in it") from error
    except OSError as error:
        raise DataError(f"{where}: the file can't be read: {error.strerror}; check the path") from error
    except ValueError as error:
        raise DataError(f"{str(where)!r}: the file can't be read: no path has such a name; check the path") from error


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise DataError("standard input is closed; name a file, or write the table to it")
    buffer = getattr(sys.stdin, "buffer", None)
    return buffer.read() if buffer is not None else sys.stdin.read().encode()


def encoding(where: str, head: bytes) -> str:
    """The encoding of a text by how it begins; DataError for what is no text.

    >>> encoding("a.csv", b"x,y"), encoding("a.csv", "x,y".encode("utf-16-le"))
    ('utf-8', 'utf-16-le')
    """
    for mark, name in ENCODINGS.items():
        if head.startswith(mark):
            return name
    for mark, name in FOREIGN.items():
        if head.lstrip(b" \t\r\n").startswith(mark):
            raise DataError(f"{where}: this is {name}, not a table; save the table as CSV, Excel or Parquet")
    if b"\0" not in head:
        return "utf-8"
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > 0.3 * len(head) and min(even, odd) < 0.1 * max(even, odd):
        return "utf-16-be" if even > odd else "utf-16-le"
    line = head[: head.index(b"\0")].count(b"\n") + 1
    cure = "this is no text, or the file is damaged; save the table as CSV, Excel or Parquet"
    raise DataError(f"{where}, line {line}: there is a zero byte; {cure}")


def readable(text: str) -> str:
    """A text with the bytes that were no UTF-8 read as what Windows and Latin-1 mean by them, without outer spaces."""
    if not text.isascii() and any("\udc80" <= c <= "\udcff" for c in text):
        raw = text.encode("utf-8", "surrogateescape")
        try:
            text = raw.decode("cp1252")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
    return text.strip(" \t\r\n\x1a\ufeff")


def is_comment(line: str, quoted: bool = False) -> bool:
    """Say whether a line, or a word in it, begins a comment, or within a quote; Excel's words for errors do not.

    >>> is_comment("# x y"), is_comment("#N/A,1")
    (True, False)
    """
    line = line.lstrip()
    return (line.startswith(MARKS) or (quoted and line.startswith('"#'))) and _COMMENT.match(line) is not None


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some lines of a text, without comments, and the number of each. No quote is open at the end but at the file's."""

    numbers: Sequence[int]
    lines: list[str]
    text: str


class Lines:
    """The lines of a text from line `first` on, in chunks; `comments` are the last two above the first of them."""

    def __init__(self, file: BinaryIO, encoding: str, first: int = 1) -> None:
        errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
        self.file = io.TextIOWrapper(file, encoding, errors)
        self.first = first
        self.begun = False
        self.comments: list[tuple[int, str]] = []

    def chunks(self, size: int = CHUNK) -> Iterator[Chunk]:
        """All lines but comments, about `size` characters at a time."""
        last = 0
        for lines, text in self._balanced(size):
            numbers: Sequence[int] = range(last + 1, last + len(lines) + 1)
            last += len(lines)
            if last < self.first:
                continue
            skipped = max(0, self.first - numbers[0])
            chunk = Chunk(numbers[skipped:], lines[skipped:], text)
            if not self.begun or any(mark in text for mark in MARKS):
                chunk = self._without_comments(chunk)
            if chunk.lines:
                yield chunk
        self.file.detach()

    def _balanced(self, size: int) -> Iterator[tuple[list[str], str]]:
        """Lines and their text; where a quote is open, all lines up to the one that closes it."""
        while lines := self.file.readlines(size):
            text = "".join(lines)
            while text.count('"') % 2 and (more := self.file.readlines(1)):
                lines += more
                text += "".join(more)
            yield lines, text

    def _without_comments(self, chunk: Chunk) -> Chunk:
        numbers, lines = [], []
        quoted = False
        for number, line in zip(chunk.numbers, chunk.lines, strict=True):
            if not quoted and is_comment(line, quoted=not self.begun and self.first == 1):
                if not self.begun:
                    self.comments = [*self.comments[-1:], (number, line)]
                continue
            if self.begun or not (line.isspace() or line == "\x1a"):
                self.begun = True
                quoted ^= line.count('"') % 2 == 1
                numbers.append(number)
                lines.append(line)
        return Chunk(numbers, lines, "".join(lines))
