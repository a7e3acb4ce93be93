"""The command line: what each command prints and writes, and that errors are one message and a status."""

import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from gradcompile.cli import main, plot
from gradcompile.cli.regression import least_squares
from gradcompile.data import names, nist, path
from gradcompile.errors import ArgumentError

SAMPLE = "x,y\n" + "".join(f"{t / 4},{3 * np.exp(-1.5 * t / 4) + 0.5 + 0.01 * (-1) ** t}\n" for t in range(20))


@pytest.fixture
def sample(tmp_path: Path) -> str:
    file = tmp_path / "data.csv"
    file.write_text(SAMPLE)
    return str(file)


def fit(file: str, *more: str, model: str = "a*exp(-b*x) + c", target: str = "y", start: str = "a=1,b=2,c=0.5") -> int:
    return main(["fit", file, "--model", model, "--target", target, "--start", start, *more])


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    """The message of an error: on stderr, status 2, and no traceback."""
    assert status == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def table(output: str) -> dict[str, list[float]]:
    """The lines of a report that are a name and numbers."""
    rows = {}
    for line in output.splitlines():
        name, *numbers = line.split() or [""]
        if len(numbers) == 2 and all(n.replace("-", "").replace("+", "").replace(".", "").isalnum() for n in numbers):
            try:
                rows[name] = [float(n) for n in numbers]
            except ValueError:
                continue
    return rows


@pytest.mark.parametrize("name", names())
def test_fit_reaches_the_certified_values(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = nist(name)
    start = ",".join(f"{k}={v!r}" for k, v in data.start2.items())
    assert fit(str(path(name)), model=data.model, start=start) == 0
    output = capsys.readouterr().out
    rows = table(output)
    for parameter, certified in data.certified.items():
        assert rows[parameter][0] == pytest.approx(certified, rel=1e-8)
        assert rows[parameter][1] == pytest.approx(data.deviations[parameter], rel=1e-6)
    assert f"{data.residual_sum_of_squares:.7g}"[:8] in output
    assert f"({data.degrees_of_freedom} degrees of freedom)" in output
    assert "iterations" in output


def test_fit_saves_a_module_and_a_picture(sample: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module_file, svg, png = tmp_path / "model.py", tmp_path / "curve.svg", tmp_path / "curve.png"
    assert fit(sample, "--save", str(module_file), "--plot", str(svg)) == 0
    plot.picture(str(png), [3.0, 2.0, 1.0], "loss", "epoch")
    rows = table(capsys.readouterr().out)
    assert ET.parse(svg).getroot().tag.endswith("svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    spec = importlib.util.spec_from_file_location("saved_fit", module_file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, estimate in module.ESTIMATES.items():
        assert estimate == pytest.approx(rows[name][0], rel=1e-8)
    theta, gradient = np.array(list(module.ESTIMATES.values())), np.empty(3)
    x, y = np.loadtxt(sample, delimiter=",", skiprows=1, unpack=True)
    loss = module.kernel(theta, gradient, np.ascontiguousarray(x), np.ascontiguousarray(y))
    assert loss == pytest.approx(float(np.sum((theta[0] * np.exp(-theta[1] * x) + theta[2] - y) ** 2)), rel=1e-12)
    assert abs(gradient).max() < 1e-9


def test_fit_of_a_constant_and_of_an_undetermined_parameter(sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(sample, model="c", start="c=1") == 0
    mean = np.loadtxt(sample, delimiter=",", skiprows=1)[:, 1].mean()
    assert table(capsys.readouterr().out)["c"][0] == pytest.approx(mean, rel=1e-9)
    assert fit(sample, model="(a + b)*x + c", start="a=1,b=1,c=0") == 0
    output = capsys.readouterr().out
    assert "do not determine" in output
    assert "nan" not in output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "a*exp(-b*x) + d"}, "'d' is neither a column"),
        ({"model": "a*exp(-b*z) + c"}, "add z=1"),
        ({"model": "a*exp(-b*x + c"}, "never closed"),
        ({"model": "a*x + b + c + y"}, "contains the target"),
        ({"model": "a*x + b"}, "does not contain 'c'"),
        ({"model": "10**10**10*a*b*c*x"}, "outside the range of a float"),
        ({"model": "a*log(b) + c*x", "start": "a=1,b=-1,c=1"}, "choose another start"),
        ({"target": "z"}, "no column 'z'; the columns are x, y"),
        ({"start": "a=1,b"}, "'b' is not name=number"),
        ({"start": "a=1,a=2"}, "'a' is given twice"),
        ({"start": "a=one"}, "'one', given for 'a'"),
        ({"start": "a=nan"}, "not a finite number"),
        ({"start": "a=1,b=2,c=3,x=4"}, "'x' is a column"),
    ],
)
def test_fit_refuses(change: dict[str, str], message: str, sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, fit(sample, **change))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("x,y\n1,2\n3\n", "line 3"),
        ("x,y\n1,two\n", "column 'y'"),
        ("x,y\n1,nan\n", "no row is left"),
        ("x,y\n1,2\n", "3 parameters can't be fitted to 1 rows"),
    ],
)
def test_fit_refuses_bad_tables(content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(content)
    assert message in refused(capsys, fit(str(file)))


def test_files_that_cannot_be_read_or_written(sample: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no-such.csv" in refused(capsys, fit("no-such.csv"))
    assert "no such directory" in refused(capsys, fit(sample, "--plot", str(tmp_path / "no" / "curve.svg")))
    assert "unknown kind of picture" in refused(capsys, fit(sample, "--plot", str(tmp_path / "curve.gif2")))
    assert "model.py" in refused(capsys, fit(sample, "--save", str(tmp_path / "no" / "model.py")))


def test_matplotlib_is_asked_for_by_its_extra(
    sample: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install 'gradcompile[plot]'" in refused(capsys, fit(sample, "--plot", "curve.png"))


def test_show_prints_gradient_cost_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "(w*x - y)**2", "--params", "w"]) == 0
    output = capsys.readouterr().out
    assert "loss = (w*x - y)**2" in output
    assert "\ndw" in output
    assert "operations for the loss" in output
    assert "def kernel(theta: " in output


def test_show_of_samples_and_rewrites(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "log(1 + exp(a*x)) + E", "--params", "a", "--data", "x", "--reduce", "sum"]) == 0
    output = capsys.readouterr().out
    assert "a sample" in output
    assert "softplus" in output
    assert main(["show", "log(1 + exp(a*x))", "--params", "a", "--literal"]) == 0
    assert "softplus" not in capsys.readouterr().out


def test_show_does_not_spell_out_what_shares_too_much(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "(" * 40 + "w + x" + ")**2" * 40, "--params", "w"]) == 0
    assert "too long to print" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["(w*x - y)**2", "--params", "v"], "does not contain 'v'"),
        (["(w*x - y)**2", "--params", "w,w"], "given twice"),
        (["(w*x - y)**2", "--params", "w", "--data", "w"], "given twice"),
        (["(w*x - y)**2", "--params", ","], "no name"),
        (["(w*x - y", "--params", "w"], "never closed"),
        (["__import__('os').system('true')*w", "--params", "w"], "no strings"),
        (["9**9**9**9*w", "--params", "w"], "outside the range"),
        (["(w*x - y)**2"], "--params"),
    ],
)
def test_show_refuses(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, main(["show", *arguments]))


def test_ops_lists_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ops"]) == 0
    output = capsys.readouterr().out
    assert "\nexp " in output
    assert output.count("derivative") > 30
    assert main(["ops", "tanh"]) == 0
    assert capsys.readouterr().out.startswith("tanh ")
    assert "did you mean 'tanh'" in refused(capsys, main(["ops", "tan_h"]))


def test_cache_is_shown_and_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRADCOMPILE_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["cache", "info"]) == 0
    assert "modules  0" in capsys.readouterr().out
    assert main(["cache", "clear"]) == 0
    assert "0 modules deleted" in capsys.readouterr().out


def test_demo_recovers_the_certified_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "curve.svg"
    assert main(["demo", "--out", str(out)]) == 0
    output = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in output.splitlines() if line.startswith("b")}
    for name, certified in nist("Gauss1").certified.items():
        assert float(rows[name][1]) == pytest.approx(certified, rel=1e-8)
    assert "def kernel(theta: " in output
    assert " us: loss and 8 gradients" in output
    assert ET.parse(out).getroot().tag.endswith("svg")


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["frobnicate"]) == 2
    assert main(["cache"]) == 2
    assert main(["--help"]) == 0
    assert "gradcompile demo" in capsys.readouterr().out


def test_interruption_has_its_own_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gradcompile.cli.show.ops", interrupt)
    assert main(["ops"]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="a pipe that is closed early, as the shells of POSIX do it")
def test_a_closed_pipe_ends_it_quietly() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "gradcompile", "ops"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_sparkline_is_monotone_and_bounded() -> None:
    line = plot.sparkline([10.0**-k for k in range(200)])
    assert len(line) == 60
    assert line[0] == "█"
    assert line[-1] == "▁"
    assert list(line) == sorted(line, reverse=True)
    assert plot.sparkline([]) == ""
    assert plot.sparkline([0.0, float("nan"), 1.0, 1.0]) == "▁▁▁▁"


def test_least_squares_settles_on_the_exact_gradient() -> None:
    x = np.linspace(0.0, 4.0, 30)
    y = 2.0 * np.exp(-0.7 * x) + 0.05 * np.sin(9 * x)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        e = np.exp(-theta[1] * x)
        r = theta[0] * e - y
        return float(r @ r), np.array([2 * r @ e, -2 * r @ (theta[0] * x * e)])

    found = least_squares(lambda t: t[0] * np.exp(-t[1] * x), loss, y, np.array([1.0, 1.0]))
    assert abs(loss(found.estimates)[1]).max() < 1e-13
    assert np.diff(found.curve).max() < 1e-14
    with pytest.raises(ArgumentError, match="data row 1"):
        least_squares(lambda t: np.full_like(x, np.inf), loss, y, np.array([1.0, 1.0]))
