"""Columns of a frame in memory: mappings, structured arrays, pandas, polars, pyarrow, xarray and their like.

No library of frames is imported: what a column can do is asked of the column. `columns`, for fits, makes float64 arrays
in which missing entries are NaN; `values`, for calls, leaves a column as it is and refuses missing entries. What is no
number is refused, and the message names column and row. Rows are counted from 0, as all of these count them.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from gradcompile.errors import ArgumentTypeError, DataError, meant
from gradcompile.runtime.blocks import Blocks

Column = npt.NDArray[np.float64]

KINDS = "a mapping of names to arrays, a structured array, or a frame of pandas, polars, pyarrow or xarray"
ROWS = 1 << 18  # that are looked at at a time for missing entries
MISSING = ("NAType", "NaTType")  # pandas' own words for an entry that is not there; None and NaN are known by value
DATES = "dates; use numbers, such as the seconds since the first: (t - t[0]) / numpy.timedelta64(1, 's')"


def names(data: Any) -> tuple[str, ...]:
    """Return the names of the columns of a frame; names that are no text are no names of a formula and left out.

    Raises ArgumentTypeError for what is no frame.

    >>> names({"t": [0.0, 1.0], "v": [2.0, 3.0]})
    ('t', 'v')
    >>> names(np.zeros(2, dtype=[("t", "f8"), ("v", "i4")]))
    ('t', 'v')
    """
    found = _names(data)
    if found is None:
        raise ArgumentTypeError(f"data is of type {type(data).__name__}; give {KINDS}")
    return tuple(str(name) for name in found if isinstance(name, str))


def is_frame(data: Any) -> bool:
    """Say whether this has columns with names.

    >>> is_frame({"t": [0.0]}), is_frame([0.0])
    (True, False)
    """
    return _names(data) is not None


def columns(data: Any, wanted: Iterable[str]) -> dict[str, Column]:
    """Return the columns `wanted` of a frame by name: contiguous float64 arrays of one length, missing entries NaN.

    Other columns are not looked at. A column that is float64 and contiguous already is not copied, so do not write to
    the result.

    Raises
    ------
    ArgumentTypeError
        The data are no frame.
    DataError
        A column is missing, or there twice; it is no row of single numbers, or not as long as the others; an entry is
        text, a date or a complex number. The message names column and row.

    Example
    -------
    >>> columns({"t": [0, 1, 2], "v": [2.5, None, 3.5], "who": ["a", "b", "c"]}, ["t", "v"])
    {'t': array([0., 1., 2.]), 'v': array([2.5, nan, 3.5])}
    """
    known = names(data)
    given = {name: _column(data, name, known) for name in wanted}
    found = {name: floats(column, name) for name, column in given.items()}
    _check_lengths(found)
    _check_indices(given)
    _check_axes(given)
    return found


def floats(column: Any, name: str) -> Column:
    """Return one column as a contiguous float64 array, NaN where an entry is missing; `name` is for messages.

    >>> floats([1, 2.5, None], "v")
    array([1. , 2.5, nan])
    """
    array = _array(column)
    if array.ndim != 1:
        shape = f"has shape {array.shape}" if array.ndim else "is a single value"
        raise DataError(f"column {name!r} {shape}; a column has one number a row")
    kind = array.dtype.kind
    if kind in "biuf":
        return np.ascontiguousarray(array, dtype=np.float64)
    if kind in "Mm":
        raise DataError(f"column {name!r} holds {DATES}")
    if kind == "c":
        raise DataError(f"column {name!r} holds complex numbers; use its real or its imaginary part")
    return np.array([_number(entry, name, row) for row, entry in enumerate(array.tolist())], dtype=np.float64)


def values(data: Any, wanted: Iterable[str]) -> dict[str, Any]:
    """Return what a frame has under the names `wanted`, arrays in the dtype and the memory that they are in there.

    A column in one piece of memory is not copied. A mapping may hold numbers and arrays of any shape as well.

    Raises ArgumentTypeError for what is no frame, DataError for a column that is missing or there twice, and for an
    entry that is missing: the message names column and row. NaN is a missing entry to pandas and xarray alone.

    >>> values({"t": [0, 1, 2], "scale": 2.5, "who": ["a", "b", "c"]}, ["t", "scale"])
    {'t': [0, 1, 2], 'scale': 2.5}
    """
    known, wanted = names(data), list(wanted)
    if hasattr(data, "collect") and set(wanted) <= {*known}:  # a lazy frame
        data = data.select(wanted).collect()
    given = {name: _column(data, name, known) for name in wanted}
    _check_indices(given)
    for name, column in given.items():
        row = _missing_row(column)
        if row is not None:
            cure = "fill it, or leave the row out"
            raise DataError(f"column {name!r}, row {row} is missing; {cure}").about(row)
    return {name: _as_it_is(column, name) for name, column in given.items()}


def _missing_row(column: Any) -> int | None:
    """The first row in which something is missing, None if nothing is."""
    if isinstance(column, list | tuple):
        return next((k for k, entry in enumerate(column) if entry is None), None)
    if isinstance(column, np.ma.MaskedArray):
        return _first(np.ma.getmaskarray(column))
    count = getattr(column, "null_count", None)  # of polars and pyarrow
    if count is not None:
        return _first(column.is_null()) if (count() if callable(count) else count) else None
    if isinstance(column, np.ndarray) and column.dtype == object and column.ndim == 1:
        return _missing_row(column.tolist())
    if not hasattr(column, "isnull"):  # of pandas and xarray
        return None
    at = getattr(column, "iloc", column)
    found = ((start, _first(at[start : start + ROWS].isnull())) for start in range(0, len(column), ROWS))
    return next((start + row for start, row in found if row is not None), None)


def _first(marks: Any) -> int | None:
    """The first row with a mark."""
    marks = np.asarray(marks)
    found = np.flatnonzero(marks.reshape(len(marks), -1).any(axis=1))
    return int(found[0]) if len(found) else None


def _as_it_is(column: Any, name: str) -> Any:
    """A column as what a call takes: numbers as they are, objects as numbers."""
    chunks = column.chunks if hasattr(column, "num_chunks") else _chunks_of_polars(column)
    if len(chunks) > 1 and np.asarray(chunks[0][:0]).dtype.kind in "biuf":
        return Blocks(chunks)
    found = np.asarray(column) if hasattr(column, "to_numpy") else column
    is_other = isinstance(found, np.ndarray) and found.dtype.kind in "OUST" and found.ndim == 1
    return floats(found, name) if is_other else found


def _chunks_of_polars(column: Any) -> list[Any]:
    """The chunks of a Series, none of what has no such thing."""
    return list(column.get_chunks()) if hasattr(column, "n_chunks") and column.n_chunks() > 1 else []


def _names(data: Any) -> Iterable[Any] | None:
    """The names of the columns, None for what is no frame."""
    if hasattr(data, "data_vars"):  # a Dataset of xarray, a mapping whose coordinates are no keys
        return tuple(data.variables)
    if isinstance(data, Mapping):
        return data.keys()
    if isinstance(data, np.ndarray | np.void):
        return data.dtype.names
    if hasattr(data, "collect_schema"):  # a lazy frame of polars
        return tuple(data.collect_schema().names())
    for attribute in ("column_names", "colnames", "columns"):  # pyarrow; astropy; pandas and polars
        found = getattr(data, attribute, None)
        if found is not None and not callable(found):
            return tuple(found)
    return None


def _column(data: Any, name: str, known: tuple[str, ...]) -> Any:
    if name not in known:
        hint = meant(name, known)
        shown = ", ".join(known) or "none that have a text as a name; rename them"
        raise DataError(f"the data have no column {name!r}; the columns are {shown}{hint}")
    if known.count(name) > 1:
        raise DataError(f"the data have {known.count(name)} columns {name!r}; rename all but one")
    if hasattr(data, "collect"):  # a lazy frame
        data = data.select(name).collect()
    return data[name]


def _array(column: Any) -> npt.NDArray[Any]:
    """A column as NumPy has it: numbers with NaN for what is missing where the library knows how, else objects."""
    kind = getattr(getattr(column, "dtype", None), "kind", "")
    if isinstance(column, np.ma.MaskedArray):
        return np.ma.filled(column.astype(np.float64 if kind in tuple("biuf") else object), np.nan)
    is_of_pandas = hasattr(column, "to_numpy") and not hasattr(column, "dims")  # xarray's takes no dtype
    if kind in tuple("biuf") and is_of_pandas:  # where missing integers are objects otherwise
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    if isinstance(column, list | tuple):
        return _of_sequence(column)
    return np.asarray(column)


def _of_sequence(column: list[Any] | tuple[Any, ...]) -> npt.NDArray[Any]:
    """A list as an array; NumPy turns numbers beside a text into text, and refuses ragged ones: those stay objects."""
    try:
        array = np.asarray(column)
    except ValueError:
        array = np.empty(0, dtype="U")
    if array.dtype.kind not in "US" or array.ndim != 1:
        return array if array.ndim != 1 or len(array) == len(column) else _objects(column)
    return _objects(column)


def _objects(column: list[Any] | tuple[Any, ...]) -> npt.NDArray[Any]:
    array = np.empty(len(column), dtype=object)
    array[:] = [entry if not isinstance(entry, list | tuple | np.ndarray) else _Several(entry) for entry in column]
    return array


class _Several:
    """An entry of more than one value, kept from being spread over an array."""

    def __init__(self, entry: Any) -> None:
        self.entry = entry

    def __repr__(self) -> str:
        return repr(self.entry)


def is_missing(entry: Any) -> bool:
    """Say whether an entry is not there: None, NaN, or pandas' own words for it.

    >>> is_missing(None), is_missing(float("nan")), is_missing("")
    (True, True, False)
    """
    return entry is None or type(entry).__name__ in MISSING or bool(entry != entry)


def _number(entry: Any, name: str, row: int) -> float:
    if entry is None or type(entry).__name__ in MISSING:
        return np.nan
    if isinstance(entry, date | timedelta | np.datetime64 | np.timedelta64):
        raise DataError(f"column {name!r}, row {row}: {str(entry)!r}: the column holds {DATES}")
    if isinstance(entry, str | bytes):
        cure = "convert the column to numbers, or leave the row out"
        raise DataError(f"column {name!r}, row {row}: {entry!r} is text, not a number; {cure}")
    try:
        return float(entry)
    except (TypeError, ValueError, OverflowError) as error:
        cure = "a column has one real number a row"
        raise DataError(f"column {name!r}, row {row}: {entry!r} is no number; {cure}") from error


def has_index(column: Any) -> bool:
    """Whether rows of a column have labels, as in pandas, so that it may be in another order than others are."""
    return hasattr(getattr(column, "index", None), "equals")


def _check_indices(given: Mapping[str, Any]) -> None:
    labelled = {name: column for name, column in given.items() if has_index(column)}
    for name, column in labelled.items():
        first = next(iter(labelled))
        if column.index is not labelled[first].index and not column.index.equals(labelled[first].index):
            cure = "put them into one DataFrame, which aligns them, or pass .to_numpy() of each"
            raise DataError(f"columns {first!r} and {name!r} have different labels of rows (.index); {cure}")


def _check_axes(given: Mapping[str, Any]) -> None:
    axes = {name: column.dims for name, column in given.items() if hasattr(column, "dims")}  # of xarray
    first = next(iter(axes), "")
    for name, own in axes.items():
        if own != axes[first]:
            raise DataError(f"columns {first!r} and {name!r} have other dimensions, {axes[first][0]} and {own[0]}; "
                            "rename one, or pass .to_numpy() of each")  # fmt: skip


def _check_lengths(found: Mapping[str, Column]) -> None:
    lengths = {name: len(column) for name, column in found.items()}
    if len(set(lengths.values())) > 1:
        first, *others = lengths
        other = next(name for name in others if lengths[name] != lengths[first])
        raise DataError(
            f"column {first!r} has {lengths[first]} rows and {other!r} has {lengths[other]}; columns need one length"
        )
