"""Frames in memory: the columns that are asked for, as float64, whatever holds them."""

import datetime
import decimal
import fractions
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcompile.data import frames
from gradcompile.errors import ArgumentTypeError, DataError

TABLE: dict[str, list[Any]] = {
    "t": [1, 2, 3],
    "v": [0.5, None, 1.5],
    "count": [7, None, 9],
    "ok": [True, False, None],
    "who": ["a", "b", "c"],
    "day": [datetime.date(2020, 1, d) for d in (1, 2, 3)],
}
NUMERIC = {"t": [1, 2, 3], "v": [0.5, np.nan, 1.5], "count": [7, np.nan, 9], "ok": [1, 0, np.nan]}


def structured() -> np.ndarray:
    table = np.zeros(
        3, dtype=[("t", "i2"), ("v", "f4"), ("count", "f8"), ("ok", "f8"), ("who", "U3"), ("day", "M8[D]")]
    )
    for name, column in TABLE.items():
        table[name] = np.array(column, dtype="f8") if name in NUMERIC else column
    return table


def pandas_frame(**settings: Any) -> Any:
    frame = pytest.importorskip("pandas").DataFrame(TABLE)
    return frame.convert_dtypes(**settings) if settings else frame


def polars_frame() -> Any:
    return pytest.importorskip("polars").DataFrame(TABLE)


def arrow_table() -> Any:
    table = pytest.importorskip("pyarrow").table(TABLE)
    return pytest.importorskip("pyarrow").concat_tables([table.slice(0, 1), table.slice(1)])


FRAMES: dict[str, Callable[[], Any]] = {
    "mapping": lambda: TABLE,
    "structured": structured,
    "pandas": pandas_frame,
    "pandas nullable": lambda: pandas_frame(dtype_backend="numpy_nullable"),
    "pandas arrow": lambda: pandas_frame(dtype_backend="pyarrow"),
    "polars": polars_frame,
    "polars lazy": lambda: polars_frame().lazy(),
    "pyarrow": arrow_table,
    "pyarrow batch": lambda: arrow_table().combine_chunks().to_batches()[0],
}


@pytest.mark.parametrize("kind", FRAMES)
def test_columns_of_every_kind_of_frame(kind: str) -> None:
    frame = FRAMES[kind]()
    assert frames.names(frame) == tuple(TABLE)
    found = frames.columns(frame, NUMERIC)
    assert list(found) == list(NUMERIC)
    for name, column in found.items():
        assert column.dtype == np.float64 and column.flags.c_contiguous
        np.testing.assert_array_equal(column, NUMERIC[name])
    with pytest.raises(DataError, match=r"column 'who', row 0: 'a' is text"):
        frames.columns(frame, ["t", "who"])
    with pytest.raises(DataError, match=r"column 'day'.* dates; use numbers"):
        frames.columns(frame, ["day"])
    with pytest.raises(DataError, match=r"no column 'whom'; the columns are t, v, .*did you mean 'who'"):
        frames.columns(frame, ["whom"])


def test_a_column_of_floats_is_not_copied() -> None:
    v = np.arange(4.0)
    assert frames.columns({"v": v}, ["v"])["v"] is v
    for frame in (pytest.importorskip("pandas").DataFrame({"v": v}), pytest.importorskip("polars").DataFrame({"v": v})):
        assert np.shares_memory(frames.columns(frame, ["v"])["v"], frames.columns(frame, ["v"])["v"])


def test_numbers_of_other_kinds_and_masks() -> None:
    column = [decimal.Decimal("0.5"), fractions.Fraction(1, 4), np.float32(2), 10**20]
    assert frames.columns({"v": column}, ["v"])["v"].tolist() == [0.5, 0.25, 2.0, 1e20]
    masked = np.ma.masked_array([1, 2, 3], mask=[False, True, False])
    np.testing.assert_array_equal(frames.floats(masked, "v"), [1.0, np.nan, 3.0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"v": [1.0, "x", 2.0]}, "column 'v', row 1: 'x' is text"),
        ({"v": [1.0, b"x"]}, "row 1: b'x' is text"),
        ({"v": [1.0, [2.0, 3.0]]}, r"row 1: \[2.0, 3.0\] is no number"),
        ({"v": np.ones((2, 2))}, r"column 'v' has shape \(2, 2\)"),
        ({"v": 3.0}, "column 'v' is a single value"),
        ({"v": "abc"}, "column 'v' is a single value"),
        ({"v": [1j, 2.0]}, "complex"),
        ({"v": np.array(["2020-01-01"], "M8[D]")}, "dates"),
        ({"v": np.array([1, 2], "m8[s]")}, "dates"),
        ({"v": [1.0, 2.0], "t": [1.0]}, "column 'v' has 2 rows and 't' has 1"),
    ],
)
def test_what_is_no_column_of_numbers_is_refused(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        frames.columns(data, list(data))


@pytest.mark.parametrize("data", [None, 3, [1.0, 2.0], np.ones(3), "data.csv"])
def test_what_is_no_frame_is_refused(data: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="give a mapping of names to arrays"):
        frames.columns(data, ["v"])


def test_two_columns_of_one_name_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="2 columns 'v'"):
        frames.columns(pandas.DataFrame(np.ones((2, 2)), columns=["v", "v"]), ["v"])
