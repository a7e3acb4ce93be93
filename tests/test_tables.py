"""Tables as people have them, read right or refused with the right words; the reference data and what is certified."""

import gzip
import io
import lzma
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp

from gradcompile.data import names, nist, path
from gradcompile.data.tables import open_table, read_table
from gradcompile.errors import ArgumentError, DataError
from gradcompile.frontend.text import parse


def write(folder: Path, content: str | bytes, name: str = "data.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


X, Y = [1.0, 2.0, 3.0], [1.5, 2.5, 3.6]


def zipped(**files: str) -> bytes:
    """An archive of files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


PLAIN = "x,y\n1,1.5\n2,2.5\n3,3.6\n"
GERMAN = PLAIN.replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        gzip.compress(PLAIN.encode(), mtime=0),
        lzma.compress(PLAIN.encode()),
        zipped(**{"data/": "", "data/a.csv": PLAIN, "__MACOSX/data/._a.csv": "-"}),
        GERMAN,
        gzip.compress(GERMAN.encode("utf-16"), mtime=0),
        "sep=;\n" + GERMAN,
        "sep=;\r\n\r\n" + GERMAN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "   "),
        PLAIN.replace(",", " \t "),
        PLAIN.replace(",", ", "),
        PLAIN.replace(",", "|"),
        GERMAN.replace(";", "\t"),
        GERMAN.replace(";", "  "),
        "| x | y |\n|---|:--|\n| 1 | 1.5 |\n| 2 | 2.5 |\n| 3 | 3.6 |\n",
        '"x","y"\n"1","1,5"\n"2","2,5"\n"3","3,6"\n',
        '"x" "y"\n"a" 1 1.5\n"b" 2 2.5\n"c" 3 3.6\n',
        "x y\n1 1 1.5\n2 2 2.5\n3 3 3.6\n",
        '"","x","y"\n"1",1,1.5\n"2",2,2.5\n"3",3,3.6\n',
        "x,y,\n1,1.5,\n2,2.5,\n3,3.6,\n",
        "x,y\n1,1.5,,\n2,2.5,,\n3,3.6,,\n",
        "x,y,,\n1,1.5\n2,2.5\n3,3.6\n",
        PLAIN + ",\n,\n\n   \n\x1a",
        "\n\n" + PLAIN,
        "x,y\n\n1,1.5\n\n\n2,2.5\n3,3.6",
        "# made\n#by\n" + PLAIN + "# the end\n",
        "% made\n" + PLAIN,
        "! made\n" + PLAIN,
        "// made\n" + PLAIN,
        '"# made, by"\n' + PLAIN,
        "".join(f"# setting {i} = {i}\n" for i in range(5000)) + PLAIN,
        "# x y\n1 1.5\n2 2.5\n3 3.6\n",
        "#x\ty\n1\t1.5\n2\t2.5\n3\t3.6\n",
        "% x, y\n1, 1.5\n2, 2.5\n3, 3.6\n",
        "// x y\n1,1.5\n2,2.5\n3,3.6\n",
        "# run of today\n#! x y\n1 1.5 # first\n2 2.5\n3 3.6\n",
        "# x y\n# s mV\n1 1.5\n2 2.5\n3 3.6\n",
        "x,y\ns,mV\n1,1.5\n2,2.5\n3,3.6\n",
        "x,y\n[s],\n1,1.5\n2,2.5\n3,3.6\n",
        "x\ty\ns\tmV\n\tsecond run\n1\t1.5\n2\t2.5\n3\t3.6\n",
        "Operator\tBob\nDate\t2020\nSamples\t100\n\nx\ty\n1\t1.5\n2\t2.5\n3\t3.6\n",
        "Instrument;Model 7\nRange;5 V\n\nx;y;flag\ns;V;\n1;1,5;ok\n2;2,5;ok\n3;3,6;bad\n",
        "LabVIEW Measurement\t\nWriter_Version\t2\n***End_of_Header***\t\n\nx\ty\tComment\n1\t1.5\n2\t2.5\n3\t3.6\n",
        "x,y\n1.0D+00,1.5d0\n2,25E-1\n+3,\N{MINUS SIGN}-3.6\n".replace("\N{MINUS SIGN}-", ""),
        "who,x,y\n'A, B',1,1.5\n".replace("'", '"') + '"C ""D""",2,2.5\n5" pipe,3,3.6\n',
        'note,x,y\n"two\nlines",1,1.5\n"# no comment",2,2.5\n,3,3.6\n',
        "x,y,day\n1,1.5,2020-01-01\n2,2.5,2020-01-02 12:00\n3,3.6,NA\n",
        "day;x;y\n01.02.2020 12:00;1;1,5\n02.02.2020 12:00;2;2,5\n03.02.2020;3;3,6\n",
        "x,other,y\n1,a,1.5\n2,,2.5\n3,#N/A,3.6\n",
        "q,x,y\n#N/A,1,1.5\n#DIV/0!,2,2.5\n3,3,3.6\n",
        "x,x2,x2,y\n1,1,1,1.5\n2,2,2,2.5\n3,1,2,3.6\n",
        b"x,T(\xb0C),y\n1,\xe4,1.5\n2,\xf6,2.5\n3,\xfc,3.6\n",
        "Name,2019,x,y\nA,1,1,1.5\nB,2,2,2.5\nC,3,3,3.6\n",
        "# x, y\n1.0e+00 1.5e+00\n2 2.5\n3 3.6\n",
        "sep=\t\n" + PLAIN.replace(",", "\t"),
        '"no\n(1)";x;y\n' + "".join(f"{i};{i};{y}\n" for i, y in zip((1, 2, 3), Y, strict=True)).replace(".", ","),
        "* spice\n*\n" + PLAIN.replace(",", " "),
        "".join(f"Setting {i}: {3 * i}\n" for i in range(1000)) + PLAIN,
        "".join(f"Key{i}\t{i}\t\n" for i in range(20)) + "***End***\t\t\nx\ty\tComment\n1\t1.5\n2\t2.5\n3\t3.6\n",
    ],
)
def test_the_same_table_in_many_dialects(tmp_path: Path, content: str | bytes) -> None:
    columns = read_table(write(tmp_path, content), ["x", "y"])
    np.testing.assert_array_equal(columns["x"], X)
    np.testing.assert_array_equal(columns["y"], Y)
    assert all(c.dtype == np.float64 and c.flags.c_contiguous for c in columns.values())


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("x,y\ns,V\n1,2\n3,4\n", "line 2 taken for units (s, V)"),
        ("A,B\ns,V\n,run 1\n1,2\n3,4\n", "line 3 taken for a remark (run 1)"),
        ("# x y\n1 2\n3 4\n", "the names are taken from the comment in line 1"),
        ("x\ty\n1,234\t2,345\n", "commas are taken for decimal marks: 1,234 is 1.234"),
        ("Samples,100\nx,y\n1,2\n3,4\n5,6\n", "the names are taken from line 2; what stands above it is left out"),
        ("x y\na 1 2\nb 3 4\n", "there is one name fewer than columns: the first column is taken for names of rows"),
    ],
)
def test_what_is_taken_for_something_is_said(tmp_path: Path, content: str, note: str) -> None:
    assert any(n.startswith(note) for n in open_table(write(tmp_path, content)).notes)


@pytest.mark.parametrize(
    ("content", "kept", "note"),
    [
        ("x,y\n1,2\n2,NA\n3,4\n", [1, 3], "one row left out: NA in y, line 3"),
        ("x,y\n1,\n2,3\n3,4\n", [2, 3], "one row left out: a blank entry in y, line 2"),
        ("x,y\n-,2\n2,.\n3,n/a\n4,4\n5,#N/A\n", [4], "4 rows left out: - in x, line 2, and 3 more"),
        ("x;y\n1,5;2\n#NV;3\nNaN;1\n", [1.5], "2 rows left out: #NV in x, line 3, and 1 more"),
        ("x,y\n1,2\n3,4\n", [1, 3], ""),
    ],
)
def test_rows_with_a_missing_entry_are_left_out_and_said(tmp_path: Path, content: str, kept: Any, note: str) -> None:
    rows, said = open_table(write(tmp_path, content)).read(["x", "y"]).complete()
    assert rows.columns["x"].tolist() == kept and said == note


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "empty"),
        ("# only\n# comments\n", "empty"),
        ("x,y\n", "no row of numbers below the header 'x,y'"),
        ("x,y\ns,V\n", "column 'x': 's' is text"),
        ("x,y\n1,2\n3\n", "line 3: one entry where the header names 2 columns"),
        ("x,y\n1,2,3\n", "line 2: 3 entries where the header names 2"),
        ("x,y\n1,2\n1,2\n\n3,4,5\n", "line 5: 3 entries"),
        ("x y\n1 2\n3\n", "line 3: one entry"),
        ("x,y\n1,2\n3,four\n", "line 3, column 'y': 'four' is text, not a number; correct the entry, or leave"),
        ("x,y\n-inf,1\n", "line 2, column 'x': '-inf' is not a finite number"),
        ("x,y\n1,1e400\n", "line 2, column 'y': '1e400' is not a finite"),
        ("x,y\n1,1_0\n2,3\n", "line 2, column 'y': '1_0' is text"),
        ("x,y\n1,5 %\n2,6\n", "'5 %' has a percent sign"),
        ('x,y\n1,"1,234.5"\n2,3\n', "'1,234.5' has a separator of thousands"),
        ("x;y\n0,5;1.234,5\n1,5;2,5\n", "'1.234,5' has a separator of thousands"),
        ("x;y\n0.5;1\n1.5;2,5\n2.5;3\n", "'2,5' has a decimal comma, and others do not; --decimal , reads it"),
        ("y,x\n1,2020-01-31\n2,2020-02-01\n", "line 2, column 'x': '2020-01-31' is a date or a time; put numbers"),
        ("x,y\n12:30:05,1\n12:31,1\n", "'12:30:05' is a date or a time"),
        ("x,x,y\n1,2,3\n", "the column name 'x' is given twice; write c1 or c2 for the one that is meant"),
        ("x,y,c1,x,x\n1,2,3,4,5\n", "'x' is given 3 times; write c1_, c4 or c5 for"),
        (zipped(**{"a.csv": PLAIN, "b.csv": PLAIN}), r"holds 2 files \(a.csv, b.csv\); unpack it, and name"),
        (zipped(), "an empty archive"),
        ("a,y\n1,2\n", "there is no column 'x'; the columns are a, y"),
        (",y\n1,2\n", "there is no column 'x'; the columns are y"),
        ("1,2\n3,4\n", r"line 1: these are numbers \(1,2\); the first row names the columns; --no-header"),
        ('x,y\n1,2\n\n3,"4\n5,6\n', "the quote that opens in line 4 is never closed"),
        ('x,y\n1,"2\n3,4\n5,"6"\n', "the quote that opens in line 2 ends within an entry of line 4"),
        ("x,y\n1,2\n3,4\0\n", "line 3: there is a zero byte"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "this is a picture"),
        (b"%PDF-1.7\n", "this is a PDF"),
        ('{"x": [1, 2]}', "this is JSON"),
        (bytes(range(256)) * 20, "zero byte"),
        (gzip.compress(PLAIN.encode(), mtime=0)[:-9], "damaged or cut off"),
        (b"PK\x03\x04 and no more", "can't be read"),
        (b"PAR1 and no more", "can't be read"),
    ],
)
def test_bad_file_names_file_line_and_column(tmp_path: Path, content: str | bytes, message: str) -> None:
    file = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        open_table(file).read(["x", "y"])
    assert str(caught.value).startswith(str(file)) and str(caught.value).count(str(file)) == 1


def test_missing_file_directory_and_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no-such\.csv: the file can't be read"):
        read_table(tmp_path / "no-such.csv")
    with pytest.raises(DataError, match="it is a directory"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="no path has such a name"):
        read_table("a\0b")
    with pytest.raises(DataError, match=r"no column 'pressur'.*did you mean 'pressure'"):
        read_table(write(tmp_path, "pressure,x\n1,2\n"), ["pressur"])


def test_options_override_what_the_file_looks_like(tmp_path: Path) -> None:
    file = write(tmp_path, "1,5\n2,5\n")
    assert read_table(file, header=False)["c2"].tolist() == [5.0, 5.0]
    assert read_table(file, header=False, decimal=",")["c1"].tolist() == [1.5, 2.5]
    assert read_table(file, header=False, delimiter=";", decimal=",")["c1"].tolist() == [1.5, 2.5]
    assert read_table(write(tmp_path, "made\ttoday\n1\t2\n3\t4\n"), header=False)["c2"].tolist() == [2.0, 4.0]
    assert read_table(write(tmp_path, "x:y\n1:2\n"), delimiter=":")["y"].tolist() == [2.0]
    assert read_table(write(tmp_path, "x\ty\n1\t2\n"), delimiter="tab")["y"].tolist() == [2.0]
    for wrong in ({"delimiter": "::"}, {"delimiter": '"'}, {"decimal": ";"}, {"sheet": "1"}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            open_table(file, **wrong)


def test_standard_input_and_pipes_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(gzip.compress(PLAIN.encode(), mtime=0))

    monkeypatch.setattr(sys, "stdin", Stdin)
    table = open_table("-")
    assert table.where == "standard input"
    assert table.read(["y"]).columns["y"].tolist() == Y == table.read(["y"]).columns["y"].tolist()


def test_texts_and_lines_are_read_beside_the_numbers(tmp_path: Path) -> None:
    rows = open_table(write(tmp_path, "g,x\na,1\n# c\n ä ,2\n,3\n")).read(["x"], texts=["g"])
    assert rows.texts["g"] == ["a", "ä", ""] and rows.lines.tolist() == [2, 4, 5]
    kept, note = rows.complete(np.array([True, True, True]))
    assert kept.texts["g"] == ["a", "ä"] and note == "one row left out, with missing entries"


def test_many_rows_go_through_in_chunks(tmp_path: Path) -> None:
    n = 40_000
    lines = [f"{i},{i / 8},text\n" for i in range(n)]
    lines[30_000] = "30000,NA,text\n"
    file = write(tmp_path, "x,y,z\n" + "".join(lines))
    rows, note = open_table(file).read(["y", "x"]).complete()
    assert note == "one row left out: NA in y, line 30002"
    np.testing.assert_array_equal(rows.columns["y"] * 8, rows.columns["x"])
    assert len(rows.lines) == n - 1
    with pytest.raises(DataError, match="line 2, column 'z': 'text'"):
        read_table(file, ["z"])


def workbook(folder: Path, sheets_of: dict[str, list[list[Any]]]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("python_calamine")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets_of.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(folder / "book.xlsx")
    return folder / "book.xlsx"


def test_workbooks(tmp_path: Path) -> None:
    rows = [["Run of today"], [], ["x", "y", "who"], ["s", "mV"], [1, 1.5, "a"], [2, 2.5], [0, None, "c"], [3, 3.6]]
    file = workbook(tmp_path, {"First": rows, "Zweites": [["x", "y"], [0, 0], [1, "1,5"]]})
    table = open_table(file)
    assert table.notes == (
        "sheet 'First' is read; --sheet takes another (Zweites)",
        "the names are taken from row 3; what stands above it is left out",
        "row 4 taken for units (s, mV)",
    )
    kept, note = table.read(["x", "y"]).complete()
    assert kept.columns["x"].tolist() == X and kept.columns["y"].tolist() == Y
    assert note == "one row left out: a blank entry in y, row 7"
    with pytest.raises(DataError, match="row 3, column 'y': '1,5' has a decimal comma"):
        open_table(file, sheet="2").read(["y"])
    with pytest.raises(ArgumentError, match="no sheet 'Third'; there are First, Zweites"):
        open_table(file, sheet="Third")


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    polars = pytest.importorskip("polars")
    file = tmp_path / "d.parquet"
    polars.DataFrame({"x": [1, 2, 3], "y": [1.5, None, 3.6], "who": ["a", "b", "c"]}).write_parquet(file)
    for missing in ([], ["pyarrow"], ["pyarrow", "polars"]):
        for name in missing:
            monkeypatch.setitem(sys.modules, name, None)
        if len(missing) == 2:
            with pytest.raises(DataError, match=r"pip install 'gradcompile\[tables\]'"):
                open_table(file)
            return
        table = open_table(file)
        rows, note = table.read(["x", "y"], texts=["who"]).complete()
        assert rows.columns["y"].tolist() == [1.5, 3.6] and rows.texts["who"] == ["a", "c"]
        assert note == "one row left out: a blank entry in y, row 1"
        with pytest.raises(DataError, match=r"d\.parquet: column 'who', row 0: 'a' is text"):
            table.read(["who"])


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(DataError, match=r"workbooks need python-calamine: pip install 'gradcompile\[tables\]'"):
        open_table(write(tmp_path, b"PK\x03\x04"))


def test_reference_data_are_known_by_name() -> None:
    assert nist("misra1a").name == "Misra1a"
    assert read_table(path("Gauss1"))["y"].shape == (250,)
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
