"""The command line: what each command prints and writes, and that errors are one message and a status."""

import contextlib
import csv
import importlib.util
import io
import json
import os
import stat
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import gradcompile as api
from gradcompile.cli import main, plot
from gradcompile.data import names, nist, path

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


@pytest.mark.parametrize("name", names())
def test_fit_reaches_the_certified_values(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = nist(name)
    start = ",".join(f"{k}={v!r}" for k, v in data.start2.items())
    assert fit(str(path(name)), "--json", "-", model=data.model, start=start) == 0
    found = json.loads(capsys.readouterr().out)
    for parameter, certified in data.certified.items():
        assert found["params"][parameter]["value"] == pytest.approx(certified, rel=1e-8)
        assert found["params"][parameter]["stderr"] == pytest.approx(data.deviations[parameter], rel=1e-6)
    assert found["chi2"] == pytest.approx(data.residual_sum_of_squares, rel=1e-8)
    assert found["dof"] == data.degrees_of_freedom


def module_of(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("saved_fit", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_fit_prints_saves_and_draws(sample: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: tmp_path / name for name in ("model.py", "fit.svg", "fit.png", "loss.svg", "all.json", "all.csv")}
    more = ["--save", "model.py", "--plot", "fit.png", "--plot-loss", "loss.svg", "--json", "all.json"]
    more += ["--csv", "all.csv", "--predict", "all.svg", "--band", "--ci", "95"]
    with contextlib.chdir(tmp_path):
        assert fit(sample, *more) == 0
    out, err = capsys.readouterr()
    assert not err
    found = json.loads(files["all.json"].read_text())
    assert found["converged"] and found["params"]["a"]["low"] < 3.0 < found["params"]["a"]["high"]
    assert "95 % interval" in out and "20 rows" in out and "R squared" in out
    assert f"{found['params']['a']['value']:.3f}" in out
    rows = list(csv.DictReader(files["all.csv"].open()))
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert float(rows[0]["stderr"]) == found["params"]["a"]["stderr"]
    assert float(rows[0]["low"]) == found["params"]["a"]["low"]
    assert ET.parse(files["loss.svg"]).getroot().tag.endswith("svg")
    assert files["fit.png"].read_bytes().startswith(b"\x89PNG")
    predicted = list(csv.DictReader((tmp_path / "all.svg").open()))
    module = module_of(files["model.py"])
    assert module.CONVERGED and {k: v["value"] for k, v in found["params"].items()} == module.ESTIMATES
    theta, gradient = np.array(list(module.ESTIMATES.values())), np.empty(3)
    x, y = np.loadtxt(sample, delimiter=",", skiprows=1, unpack=True)
    loss = module.kernel(theta, gradient, np.ascontiguousarray(x), np.ascontiguousarray(y))
    assert loss == pytest.approx(found["chi2"], rel=1e-12)
    assert abs(gradient).max() < 1e-9
    np.testing.assert_allclose(module.predict(x), theta[0] * np.exp(-theta[1] * x) + theta[2], rtol=1e-13)
    np.testing.assert_allclose([float(row["prediction"]) for row in predicted], module.predict(x), rtol=1e-13)
    assert all(float(row["low"]) < float(row["prediction"]) < float(row["high"]) for row in predicted)


def test_intervals_by_method_and_errors_in_both(
    sample: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--ci by each method, --sigma-x as Python's sigma_x, and the loss drawn without a start."""
    table = dict(zip("xy", np.loadtxt(sample, delimiter=",", skiprows=1, unpack=True), strict=True))
    expected = api.fit("a*exp(-b*x) + c", table, "y", start=[1, 2, 0.5], sigma_x={"x": 0.001 + 0.001 * table["x"]})
    errors = ["--sigma-x", "x=0.001 + 0.001*x"]
    for method, level in (("profile", 0.9), ("bootstrap", 0.9), ("wald", 0.95)):
        assert fit(sample, *errors, "--ci", f"{method},{100 * level:g}", "--json", "-") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["method"], found["level"]) == (method, level)
        for name, (low, high) in expected.ci(level, method).items():
            assert found["params"][name]["value"] == pytest.approx(expected.params[name], rel=1e-12)
            assert (found["params"][name]["low"], found["params"][name]["high"]) == pytest.approx((low, high), rel=1e-9)
    drawn = tmp_path / "loss.svg"
    arguments = ["fit", sample, "--model", "a*exp(-b*x) + c", "--target", "y", "--plot-loss", str(drawn)]
    assert main([*arguments, "--ci", "profile"]) == 0
    assert "95 % profile interval" in capsys.readouterr().out
    assert ET.parse(drawn).getroot().tag.endswith("svg")


def test_columns_of_any_name_are_saved(tmp_path: Path) -> None:
    file, saved = tmp_path / "data.csv", tmp_path / "fit.py"
    file.write_text("theta,a b,y\n1,2,2\n2,1,4\n3,3,6.1\n")
    assert fit(str(file), "--save", str(saved), model="model*theta + kernel*`a b`", start="model=1,kernel=1") == 0
    module = module_of(saved)
    estimates = module.ESTIMATES
    expected = estimates["model"] * np.arange(1.0, 4.0) + estimates["kernel"] * np.array([2.0, 1.0, 3.0])
    np.testing.assert_allclose(module.predict([1, 2, 3], [2, 1, 3]), expected, rtol=1e-13)


def test_save_replaces_only_what_a_fit_wrote(sample: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def saved(file: str | Path, *more: str) -> int:
        return fit(sample, "--save", str(file), *more, model="c", start="c=1")

    ours, theirs, link = (tmp_path / name for name in ("ours.py", "theirs.py", "link.py"))
    theirs.write_text("precious")
    link.symlink_to(theirs)
    assert saved(ours) == 0
    ours.chmod(0o600)
    assert saved(ours) == 0
    assert stat.S_IMODE(ours.stat().st_mode) == 0o600
    mean = np.loadtxt(sample, delimiter=",", skiprows=1)[:, 1].mean()
    assert module_of(ours).predict() == pytest.approx(mean)
    capsys.readouterr()
    assert "no fit wrote it" in refused(capsys, saved(theirs))
    assert "is a link" in refused(capsys, saved(link, "--force"))
    assert "the table itself" in refused(capsys, saved(sample, "--force"))
    assert "there is no folder" in refused(capsys, saved(tmp_path / "no" / "model.py"))
    assert "is a folder" in refused(capsys, saved(tmp_path))
    if os.name == "posix":
        os.mkfifo(tmp_path / "pipe")
        assert "a pipe or a device" in refused(capsys, saved(tmp_path / "pipe", "--force"))
    assert theirs.read_text() == "precious"
    assert saved(theirs, "--force") == 0
    for option in ("--csv", "--json", "--predict", "--plot", "--plot-loss"):
        assert "the table itself" in refused(capsys, fit(sample, option, sample))


def test_fit_of_an_undetermined_parameter(sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(sample, model="(a + b)*x + c", start="a=1,b=1,c=0") == 0
    output = capsys.readouterr().out
    assert "the data do not determine" in output and "not determined" in output
    assert "nan" not in output


def test_a_fit_that_is_no_minimum_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, saved = tmp_path / "peak.csv", tmp_path / "peak.py"
    file.write_text(
        "x,y\n" + "".join(f"{x},{y}\n" for x, y in enumerate((0.1, 0.5, 1.9, 3.8, 5.1, 4.1, 2.1, 0.6, 0.1), 1))
    )
    more = ["--csv", "-", "--save", str(saved)]
    assert fit(str(file), *more, model="a*exp(-(x-m)^2/(2*s^2))", start="a=1,m=2000,s=1") == 3
    out, err = capsys.readouterr()
    assert "not converged: " in err
    assert all(row["stderr"] == "" for row in csv.DictReader(io.StringIO(out)))
    module = module_of(saved)
    assert not module.CONVERGED and module.MESSAGE in err and set(module.STANDARD_ERRORS.values()) == {None}


def test_groups_weights_bounds_and_conditions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "runs.csv"
    rows = [
        f"{g};{x};{(k * x + 0.1 * (-1) ** x):.3f};{0.1 * (1 + x)}\n" for g, k in (("A", 2), ("B", 3)) for x in range(6)
    ]
    file.write_text("g;my x;y;dy\n" + "".join(rows).replace(".", ",") + "B;9;NA;1\n")
    more = ["--by", "g", "--sigma", "dy", "--absolute-sigma", "--bounds", "k=0:2.5", "--json", "-"]
    model, given = "-(-k)*`my x` + d", ["--fix", "d=0", "--where", "`my x` > 0"]
    predictions = ["--predict", str(tmp_path / "p.csv"), "--plot", str(tmp_path / "p.svg")]
    assert main(["fit", str(file), "--model", model, "--target", "y", *more, *given, *predictions]) == 0
    out, err = capsys.readouterr()
    assert "one row left out: NA in y, line 14" in err
    groups = json.loads(out)["groups"]
    assert groups["B"]["params"]["k"] == {"value": 2.5, "stderr": None, "at_bound": True}
    x, dy = np.arange(1.0, 6.0), 0.1 * (1 + np.arange(1.0, 6.0))
    y = np.round(2 * x + 0.1 * (-1) ** x, 3)
    weights = x / dy**2
    assert groups["A"]["params"]["k"]["value"] == pytest.approx(weights @ y / (weights @ x), rel=1e-9)
    assert groups["A"]["params"]["k"]["stderr"] == pytest.approx((weights @ x) ** -0.5, rel=1e-9)
    last = list(csv.DictReader((tmp_path / "p.csv").open()))[-1]
    assert last["y"] == "" and float(last["prediction"]) == 22.5 and last["g"] == "B"


def test_the_target_may_be_a_formula_and_a_start_left_out(sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["fit", sample, "--model", "-b*x + ln_a", "--target", "log(y - 0.45)", "--loss", "soft_l1", "--csv", "-"])
        == 0
    )
    found = {row["name"]: float(row["value"]) for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert set(found) == {"b", "ln_a"}
    assert main(["fit", sample, "--model=-a*exp(-b*x)*(-1) + c", "--target", "y", "--csv", "-"]) == 0
    found = {row["name"]: float(row["value"]) for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert found["b"] == pytest.approx(1.5, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "a*exp(-b*x) + d"}, "'d' is neither a column"),
        ({"model": "a*exp(-b*z) + c"}, "add z=1"),
        ({"model": "a*exp(-b*x + c"}, "never closed"),
        ({"model": "a*x + b + c + y"}, "contains the target"),
        ({"model": "y = a*x + b + c"}, "give the right-hand side alone"),
        ({"model": "a*x + b"}, "does not contain 'c'"),
        ({"model": "a*e^(b*x) + c"}, "write exp(...) for its powers, or E"),
        ({"model": "a*x + b*x² + c"}, "write x**2 for a power"),
        ({"model": "10**10**10*a*b*c*x"}, "outside the range of a float"),
        ({"model": "a*log(b) + c*x", "start": "a=1,b=-1,c=1"}, "choose another start"),
        ({"model": "x", "start": ""}, "has no parameter"),
        ({"target": "z"}, "no column 'z'; the columns are x, y"),
        ({"target": "log(z)"}, "there is no column 'z'"),
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
    ("more", "message"),
    [
        (["--bounds", "a=1"], "is not low:high; write a=0: or a=0:5"),
        (["--bounds", "z=0:"], "there is no parameter 'z'"),
        (["--fix", "z=1"], "does not contain 'z'"),
        (["--fix", "a=1"], "a"),
        (["--ci", "high"], "no level of confidence, and no method; write 95 or 0.95, wald, profile or bootstrap"),
        (["--sigma-x", "z=1"], "--sigma-x: the model has no column 'z'; it has x"),
        (["--sigma-x", "x=dx"], "no column 'dx'"),
        (["--sigma-x", "x=0.1", "--save", "fit.py"], "take the estimates from --json"),
        (["--starts", "0"], "whole number from 1"),
        (["--sigma", "dy"], "no column 'dy'"),
        (["--sigma", "x - 1"], "sigma is -1 in row 0; a standard deviation is above 0 (row 0 is line 2)"),
        (["--where", "x + 1"], "a condition is needed"),
        (["--where", "x > 100"], "no row meets"),
        (["--by", "g"], "no column 'g'"),
        (["--loss", "l1"], "invalid choice"),
        (["--plot", "fit.gif2"], "unknown kind of picture"),
        (["--plot", "no/fit.svg"], "there is no folder"),
        (["--decimal", "x"], "no decimal mark"),
        (["--sheet", "1"], "has no sheets"),
    ],
)
def test_fit_refuses_options(more: list[str], message: str, sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, fit(sample, *more))


def test_a_name_close_to_a_column_is_no_parameter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "data.csv"
    file.write_text("time,y (V)\n1,2\n2,3\n3,5\n")
    assert "did you mean the column 'time'" in refused(
        capsys, main(["fit", str(file), "--model", "a*tme", "--target", "y (V)"])
    )
    assert "did you mean '`y (V)`'" in refused(
        capsys, main(["fit", str(file), "--model", "a*time", "--target", "log(`y (v)`)"])
    )


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
    assert "no-such.csv" in refused(capsys, fit("no-such.csv"))


def test_a_wrong_model_is_doubted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "parabola.csv"
    file.write_text("x,y\n" + "".join(f"{x},{x * x}\n" for x in range(40)))
    assert fit(str(file), model="a*x + b", start="a=1,b=0") == 0
    assert "the model may be wrong" in capsys.readouterr().err


def test_matplotlib_is_asked_for_by_its_extra(
    sample: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install 'gradcompile[plot]'" in refused(capsys, fit(sample, "--plot", "curve.png"))


@pytest.mark.skipif(os.name != "posix", reason="descriptors as the shells of POSIX close them")
def test_output_that_lacks_letters_or_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("\u03b1,y\n1,2\n2,3\n3,5\n", "utf-8")
    run = f"{sys.executable} -m gradcompile fit {file} --model '\u03b1*k' --target y"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "ascii"}
    command = f"{run} && {run} >&- && ({run} >/dev/full; test $? = 2)"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.startswith("y = \\u03b1*k")


def test_help_of_fit_lists_functions_and_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("exit status", "did not converge", "log10", "examples", "--absolute-sigma"))


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


def test_a_formula_may_begin_with_a_minus(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "-w*x", "--params", "w"]) == 0
    assert "loss = -w*x" in capsys.readouterr().out


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
