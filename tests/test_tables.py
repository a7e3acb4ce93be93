"""CSV files, good and bad, and the reference data against their certified results."""

from pathlib import Path

import numpy as np
import pytest
import sympy as sp

from gradcompile.data import names, nist, path
from gradcompile.data.tables import pick, read_csv
from gradcompile.errors import ArgumentError, DataError
from gradcompile.frontend.text import parse


def write(folder: Path, content: str | bytes) -> Path:
    file = folder / "data.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_columns_by_name(tmp_path: Path) -> None:
    columns = read_csv(write(tmp_path, "\ufeffx, y\r\n1, 2.5\r\n\r\n-3e-2,4\r\n"))
    assert list(columns) == ["x", "y"]
    np.testing.assert_array_equal(columns["x"], [1.0, -0.03])
    np.testing.assert_array_equal(columns["y"], [2.5, 4.0])
    assert columns["x"].dtype == np.float64
    assert columns["x"].flags.c_contiguous


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("x,y\n", "no row of numbers"),
        ("x,y\n1,2\n3\n", "row 3: 1 entries where the header names 2"),
        ("x,y\n1,2,3\n", "row 2: 3 entries"),
        ("x,y\n1,2\n3,four\n", "row 3, column 'y': 'four' is not a finite number"),
        ("x,y\n1,nan\n", "row 2, column 'y': 'nan'"),
        ("x,y\n-inf,1\n", "row 2, column 'x': '-inf'"),
        ("x,y\n1,1e400\n", "row 2, column 'y': '1e400'"),
        ("x,y\n1,1_0\n", "row 2, column 'y': '1_0'"),
        ("x,y\n1,\n", "row 2, column 'y': the entry is blank"),
        ("x,x\n1,2\n", "row 1: the column name 'x' is given twice"),
        ("x,\n1,2\n", "row 1, column 2: the column has no name"),
        ("1,2\n3,4\n", "row 1: these are numbers"),
        ('x,y\n"1,2\n', "not a CSV table"),
        (b"x,y\n\xff\xfe,1\n", "not UTF-8"),
    ],
)
def test_bad_file_names_file_row_and_column(tmp_path: Path, content: str | bytes, message: str) -> None:
    file = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        read_csv(file)
    assert str(caught.value).startswith(str(file))


def test_missing_file_and_missing_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no-such\.csv: the file can't be read"):
        read_csv(tmp_path / "no-such.csv")
    with pytest.raises(DataError, match="can't be read"):
        read_csv(tmp_path)
    with pytest.raises(DataError, match=r"no column 'pressur'.*did you mean 'pressure'"):
        pick({"pressure": np.ones(2), "x": np.ones(2)}, "pressur", "data.csv")


def test_reference_data_are_known_by_name() -> None:
    assert nist("misra1a").name == "Misra1a"
    assert read_csv(path("Gauss1"))["y"].shape == (250,)
    with pytest.raises(ArgumentError, match="Misra1a, Chwirut2"):
        nist("Misra")
    with pytest.raises(ValueError, match="read-only"):
        nist("DanWood").y[0] = 1.0


@pytest.mark.parametrize("start", ["start1", "start2"])
@pytest.mark.parametrize("name", names())
def test_reference_data_reach_the_certified_results(name: str, start: str) -> None:
    """An independent fit in NumPy and SciPy: one wrong digit in a table or in a certified figure shows."""
    data = nist(name)
    symbols = [sp.Symbol(n) for n in data.certified]
    model = sp.lambdify([sp.Symbol("x"), *symbols], parse(data.model), "numpy")
    begin = np.array(list(getattr(data, start).values()))
    from scipy.optimize import least_squares

    fit = least_squares(
        lambda t: model(data.x, *t) - data.y, begin, "3-point", x_scale=abs(begin), xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    squares = 2 * fit.cost
    deviation = np.sqrt(squares / data.degrees_of_freedom)
    errors = deviation * np.sqrt(np.diag(np.linalg.inv(fit.jac.T @ fit.jac)))
    assert data.degrees_of_freedom == len(data.x) - len(begin)
    np.testing.assert_allclose(fit.x, list(data.certified.values()), rtol=1e-6)
    np.testing.assert_allclose(squares, data.residual_sum_of_squares, rtol=1e-9)
    np.testing.assert_allclose(deviation, data.residual_standard_deviation, rtol=1e-9)
    np.testing.assert_allclose(errors, list(data.deviations.values()), rtol=1e-4)
