"""Every example runs, as a script does, prints what it says and stays short enough to read at once."""

import runpy
import sys
import warnings
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))
EXPECTED = {
    "blackboard": ["loss  = 16\n", "dL/dw = -24 "],
    "chain": ["for i in lanes(0, 399):", "denoised"],
    "cluster": ["262,144 rows in 4 files", "tau 1.80", "the bits of one call with all rows: True"],
    "convolution": ["1,370 parameters", "new pictures are read right"],
    "deep": ["sigmoid ", "%  vanishing", "relu ", "residual ", "batch norm ", "%  healthy"],
    "digits": ["4,810 parameters", "new pictures are read right"],
    "factorisation": ["76,709 known entries"],
    "formulas": ["best: exp(-b1*distance)/(b2 + b3*distance)", "b1 = 0.166577 +- 0.038303"],
    "heat": ["48 parameters", "exact [0.    0.707 1.    0.707 0.   ]"],
    "hyperparameters": ["round  0   error on new data 2.5024", "round 60   error on new data 1.98"],
    "in_c": ["new pictures are read right, by a program in C", "the same as here: True"],
    "laplace": ["intercept  Laplace -0.991 +- 0.527   exact -1.075 +- 0.556", "at 31 degrees"],
    "logistic": ["intercept 15.04", "at 31 degrees: 99."],
    "logistic_matrix": ["worst texture", "loss 37.758946"],
    "mixture": ["flowers are with their own species"],
    "newton": ["intercept  15.0429 +- 7.3786", "slope      -0.2322 +- 0.1082"],
    "nist": ["Misra1a", "Chwirut2", "Lanczos3", "Gauss1", "DanWood"],
    "own_optimiser": ["rule of train"],
    "parquet": ["larger than memory", "went on at"],
    "recurrent": ["49 parameters", "1934      3396"],
    "scipy_minimize": ["residual sum of squares 513.048"],
    "source": ["def kernel("],
    "spectrum": ["at the start: loss", "by products alone"],
    "threads": ["b = 1.500", "the same bits on one thread: True"],
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_runs(path, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path)])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=DeprecationWarning, module="__main__")
        runpy.run_path(str(path), run_name="__main__")
    printed = capfd.readouterr().out
    missing = [text for text in EXPECTED[path.stem] if text not in printed]
    assert not missing, f"{path.name} printed no {missing}:\n{printed}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_is_short(path):
    assert len(path.read_text("utf-8").splitlines()) < 80


def test_every_example_is_there():
    assert {path.stem for path in EXAMPLES} == set(EXPECTED)
