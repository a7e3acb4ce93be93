"""Frames in memory: the columns that are asked for, as float64, whatever holds them."""

import datetime
import decimal
import fractions
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy as sp

from gradcompile import array, compile_grad, compile_hessian, compile_hvp, compile_many, compile_value, fit
from gradcompile.errors import ArgumentError, ArgumentTypeError, DataError
from gradcompile.runtime import frames

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

A, B, X, Y, SCALE, DATA = sp.symbols("a b x y scale data")
T = np.linspace(0.0, 1.0, 50)
V = np.exp(-T)


def dataset() -> Any:
    return pytest.importorskip("xarray").Dataset({"y": ("x", V)}, coords={"x": T})


CALLED: dict[str, Callable[[], Any]] = {
    "mapping": lambda: {"x": T, "y": V, "who": ["a"] * 50},
    "structured": lambda: np.rec.fromarrays([T, V], names="x,y"),
    "pandas": lambda: pytest.importorskip("pandas").DataFrame({"y": V, "x": T}),
    "pandas strided": lambda: pytest.importorskip("pandas").DataFrame(np.stack([T, V], axis=1), columns=["x", "y"]),
    "pandas arrow": lambda: CALLED["pandas"]().convert_dtypes(dtype_backend="pyarrow"),
    "polars": lambda: pytest.importorskip("polars").DataFrame({"y": V, "x": T}),
    "polars lazy": lambda: CALLED["polars"]().lazy(),
    "pyarrow": lambda: CALLED["polars"]().to_arrow(),
    "pyarrow chunks": lambda: pytest.importorskip("pyarrow").concat_tables(
        [CALLED["pyarrow"]().slice(0, 7), CALLED["pyarrow"]().slice(7)]
    ),
    "pyarrow batch": lambda: CALLED["pyarrow"]().to_batches()[0],
    "xarray": dataset,
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


# ---- calls


@pytest.fixture(scope="module")
def f() -> Any:
    return compile_grad((A * sp.exp(-B * X) - SCALE * Y) ** 2, [A, B], data=[X, Y])


@pytest.mark.parametrize("kind", CALLED)
def test_a_call_takes_its_columns_from_every_kind_of_frame(kind: str, f: Any) -> None:
    frame, expected = CALLED[kind](), f(1.0, 2.0, x=T, y=V, scale=0.5)
    assert f(1.0, 2.0, data=frame, scale=0.5) == expected
    assert f.bind(data=frame, scale=0.5)([1.0, 2.0])[0] == expected[0]


def test_every_compiled_function_takes_a_frame() -> None:
    residual, frame = (A * X - B - Y) ** 2, {"x": T, "y": V}
    names = {"x": T, "y": V}
    h = compile_hessian(residual, [A, B], data=[X, Y])
    np.testing.assert_array_equal(h(1.0, 2.0, data=frame)[2], h(1.0, 2.0, **names)[2])
    p = compile_hvp(residual, [A, B], data=[X, Y])
    assert p(1.0, 2.0, data=frame, vector=[1.0, 0.0])[0] == p(1.0, 2.0, **names, vector=[1.0, 0.0])[0]
    m = compile_many([residual, residual * 2], [A, B], data=[X, Y])
    np.testing.assert_array_equal(m(1.0, 2.0, data=frame)[1], m(1.0, 2.0, **names)[1])
    g = compile_grad(residual, [A, B], data=[X, Y])
    assert g.loss(1.0, 2.0, data=frame) == g(1.0, 2.0, **names)[0] == g.flat([1.0, 2.0], data=frame)[0]
    assert g.per_sample(1.0, 2.0, data=frame)[0].shape == (50,)
    np.testing.assert_array_equal(compile_value(A * X, [A], data=[X])(2.0, data=frame), 2.0 * T)


def test_whole_numbers_matrices_and_symbols_side_by_side() -> None:
    table, k = array("table", ("m",)), array("k", ("n",), dtype="int64")
    w = array("w", ())
    g = compile_grad(np.mean((w * table[k]) ** 2), w)
    frame = {"k": [0, 1, 1], "table": [1.0, 2.0]}
    assert g(1.0, data=frame) == g(1.0, **frame)
    p, q = sp.symbols("p q")
    f = compile_grad((A * p + B * q) ** 2, [A, B], data={"P": [p, q]})
    columns = pytest.importorskip("pandas").DataFrame({"p": T, "q": V})
    assert f(1.0, 2.0, data=columns) == f(1.0, 2.0, np.stack([T, V], axis=1)) == f(1.0, 2.0, data={"P": columns})


def test_a_symbol_called_data_comes_in_args() -> None:
    f = compile_grad((A * X - DATA) ** 2, [A], data=[X])
    expected = f(1.0, x=T, args={"data": 0.5})
    assert f(1.0, data={"x": T}, args={"data": 0.5}) == expected
    with pytest.raises(ArgumentError, match=r'args=\{"data": data\}'):
        f(1.0, data={"x": T})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: {"x": T}, "no column 'y'; the columns are x"),
        (lambda: {"x": T, "y": [1.0, None]}, "column 'y', row 1 is missing; fill it, or leave the row out"),
        (lambda: {"x": T, "y": np.array([1.0, None], object)}, "column 'y', row 1 is missing"),
        (lambda: {"x": T, "y": np.ma.masked_greater(V, 0.5)}, "column 'y', row 0 is missing"),
        (lambda: pytest.importorskip("pandas").DataFrame({"x": T, "y": [*V[:-1], np.nan]}), "row 49 is missing"),
        (lambda: pytest.importorskip("polars").DataFrame({"x": [1.0, None], "y": [1.0, 2.0]}), "'x', row 1 is missing"),
        (lambda: pytest.importorskip("pyarrow").table({"x": [1.0, 2.0], "y": [None, 1]}), "'y', row 0 is missing"),
        (lambda: pytest.importorskip("polars").DataFrame({"x": ["one"], "y": [1.0]}), "row 0: 'one' is text"),
    ],
)
def test_what_a_call_can_not_take_is_named_by_column_and_row(made: Callable[[], Any], message: str, f: Any) -> None:
    with pytest.raises(DataError, match=message):
        f(1.0, 2.0, data=made(), scale=0.5)


LONG = 200_000
LONG_T = np.linspace(0.0, 1.0, LONG).astype("float32")


def halves(library: str) -> Any:
    """A frame of two chunks."""
    parts = [{"x": LONG_T[k], "y": LONG_T[k]} for k in (slice(70_001), slice(70_001, None))]
    module = pytest.importorskip(library)
    if library == "polars":
        return module.concat([module.DataFrame(p) for p in parts], rechunk=False)
    return module.concat_tables([module.table(p) for p in parts])


@pytest.mark.parametrize(
    "made",
    [
        lambda: halves("pyarrow"),
        lambda: halves("polars"),
        lambda: pytest.importorskip("pandas").DataFrame({"x": LONG_T, "y": LONG_T}),
        lambda: {"x": LONG_T[::-1][::-1], "y": LONG_T.astype(">f4")},
    ],
)
def test_a_long_column_is_converted_block_by_block(made: Callable[[], Any], f: Any) -> None:
    frame, whole = made(), LONG_T.astype(float)
    expected = f(1.0, 2.0, x=whole, y=whole, scale=0.5)
    f(1.0, 2.0, data=frame, scale=0.5)
    tracemalloc.start()
    assert f(1.0, 2.0, data=frame, scale=0.5) == expected
    assert tracemalloc.get_traced_memory()[1] < 1.3e6 < 2 * whole.nbytes
    tracemalloc.stop()
    assert f.loss(1.0, 2.0, data=frame, scale=0.5) == expected[0] == f.bind(data=frame, scale=0.5)([1.0, 2.0])[0]
    value = compile_value(A * X, [A], data=[X])  # has no sums: the column is converted whole
    np.testing.assert_array_equal(value(2.0, data=frame), 2.0 * whole)


def test_long_columns_of_what_is_more_than_numbers_are_checked(f: Any) -> None:
    h = compile_hessian((A * X - B) ** 2, [A, B], data=[X])
    np.testing.assert_array_equal(h(1.0, 2.0, LONG_T)[2], h(1.0, 2.0, LONG_T.astype(float))[2])
    integers = np.arange(LONG)
    assert h(1.0, 2.0, integers)[0] == h(1.0, 2.0, integers.astype(float))[0]
    with pytest.raises(ArgumentError, match="does not fit float64 exactly"):
        h(1.0, 2.0, integers + 2**53)
    with pytest.raises(ArgumentError, match="200000 samples and y has 3"):
        f(1.0, 2.0, x=LONG_T, y=[1.0, 2.0, 3.0], scale=0.5)


def test_columns_of_other_dimensions_are_no_samples_of_one_another():
    xarray = pytest.importorskip("xarray")
    with pytest.raises(DataError, match="columns 'x' and 'y' have other dimensions, p and q"):
        fit("a*x + b", xarray.Dataset({"x": ("p", T), "y": ("q", V)}), "y", start={"a": 1.0, "b": 1.0})
    for column in (V, np.where(T > 0.5, np.nan, V), np.arange(50)):
        together = xarray.Dataset({"x": ("p", T), "y": ("p", column), "index": ("p", T)})
        found, kept = fit("a*x + b", together, "y", start={"a": 1.0, "b": 1.0}), np.isfinite(column)
        assert found.params["a"] == pytest.approx(np.polyfit(T[kept], column[kept], 1)[0])
