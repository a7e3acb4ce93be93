"""Workbooks and Parquet: read by libraries that are imported when they are needed, an extra of the package."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gradcompile.data.tables.dialect import Row
from gradcompile.data.tables.source import Source
from gradcompile.errors import ArgumentError, DataError
from gradcompile.runtime import frames


@dataclass(frozen=True, eq=False)
class Frame:
    """A table of typed columns: its names, and how some of them are read."""

    names: tuple[str, ...]
    load: Callable[[Sequence[str]], Any]

    def columns(self, names: Sequence[str]) -> dict[str, frames.Column]:
        """The columns as numbers; DataError for what is none."""
        return frames.columns(self.load(names), names)

    def values(self, name: str) -> list[Any]:
        """One column as it is."""
        column = self.load([name])[name]
        values: list[Any] = column.to_pylist() if hasattr(column, "to_pylist") else column.to_list()
        return values


def parquet(where: Source) -> Frame:
    """A Parquet file, by pyarrow or polars, whichever is there; only the columns that are used are loaded."""
    try:
        from pyarrow import parquet as arrow
    except ImportError:
        return _parquet_by_polars(where)
    try:
        names = tuple(arrow.read_schema(_given(where)).names)
    except Exception as error:  # the library has its own classes of errors
        raise DataError(f"{where.where}: the Parquet file can't be read: {error}") from error
    return Frame(names, lambda wanted: arrow.read_table(_given(where), columns=list(wanted)))


def _parquet_by_polars(where: Source) -> Frame:
    try:
        import polars
    except ImportError as error:
        cure = "pip install 'gradcompile[tables]', or pip install polars"
        raise DataError(f"{where.where}: Parquet needs pyarrow or polars: {cure}") from error
    try:
        names = tuple(polars.read_parquet_schema(_given(where)))
    except Exception as error:
        raise DataError(f"{where.where}: the Parquet file can't be read: {error}") from error
    return Frame(names, lambda wanted: polars.read_parquet(_given(where), columns=list(wanted)))


def _given(where: Source) -> Any:
    """The path for a library that reads it, the bytes where there is none or it is packed."""
    if where.path is not None and not where.is_packed():
        return str(where.path)
    with where.opened() as file:
        return io.BytesIO(file.read())


def workbook(where: Source, sheet: str | None) -> tuple[list[Row], list[str]]:
    """The rows of a sheet of a workbook (the first if None) with their numbers, and what is to be said."""
    try:
        from python_calamine import CalamineWorkbook
    except ImportError as error:
        cure = "pip install 'gradcompile[tables]', or save the sheet as CSV"
        raise DataError(f"{where.where}: workbooks need python-calamine: {cure}") from error
    try:
        book = CalamineWorkbook.from_object(_given(where))
    except Exception as error:
        what = "this is a packed file or a workbook that can't be read"
        raise DataError(f"{where.where}: {what} ({error}); save the table as CSV") from error
    name = _sheet(where.where, list(book.sheet_names), sheet)
    found = book.get_sheet_by_name(name)
    top = (found.start or (0, 0))[0] + 1
    rows = [(top + i, [_entry(e) for e in entries]) for i, entries in enumerate(found.to_python())]
    several = sheet is None and len(book.sheet_names) > 1
    others = ", ".join(n for n in book.sheet_names if n != name)
    return rows, [f"sheet {name!r} is read; --sheet takes another ({others})"] if several else []


def _entry(entry: Any) -> Any:
    return entry.strip() if isinstance(entry, str) else entry


def _sheet(where: str, names: list[str], sheet: str | None) -> str:
    if not names:
        raise DataError(f"{where}: the workbook has no sheet")
    if sheet is None:
        return names[0]
    if sheet in names:
        return sheet
    if sheet.isdecimal() and 1 <= int(sheet) <= len(names):
        return names[int(sheet) - 1]
    raise ArgumentError(f"sheet: {where} has no sheet {sheet!r}; there are {', '.join(names)}")
