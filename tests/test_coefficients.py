"""The constants of gradcompile.vmath are those that tools/coefficients.py derives, and fit as well as they should."""

import importlib
import importlib.util
import sys
from pathlib import Path

import mpmath
import pytest

from gradcompile.ops.elementwise import ERFCX_SLOPE

PATH = Path(__file__).resolve().parent.parent / "tools" / "coefficients.py"
# Of what a polynomial is for, relative, as a power of two: (float64, float32). A significand has 53 and 24 bits.
FITS = {
    "EXP": (-59, -28), "LOG": (-56, -26.9), "ATANH": (-65, -34), "SIN": (-57.5, -27.5), "COS": (-64, -33),
    "SINH": (-61, -26), "COSH": (-69, -33), "TANH": (-57.5, -32), "ATAN": (-55, -26.5), "ASIN": (-55.5, -27.5),
    "ASINH": (-57, -29), "ERF": (-55.5, -28.5), "ERFC": (-53.5, -25), "CBRT": (-17, -14.5),
}  # fmt: skip


@pytest.fixture(scope="module")
def tool():
    with mpmath.workdps(50):  # the tool sets it, for everyone
        spec = importlib.util.spec_from_file_location("coefficients", PATH)
        module = importlib.util.module_from_spec(spec)
        sys.modules["coefficients"] = module
        spec.loader.exec_module(module)
        yield module
    del sys.modules["coefficients"]


def standing(precision, name):
    value = getattr(importlib.import_module(f"gradcompile.library.vmath.{precision.module}"), name)
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("which", ["DOUBLE", "SINGLE"])
@pytest.mark.parametrize("name", ["EXP", "SIN", "ATANH", "CBRT"])
def test_polynomials_are_derived(tool, name, which):
    precision = getattr(tool, which)
    derived = [float(tool.text(c, precision)) for c in tool.derive(name, precision)]
    assert derived == list(standing(precision, name))


@pytest.mark.parametrize("which", ["DOUBLE", "SINGLE"])
def test_constants_are_derived(tool, which):
    precision = getattr(tool, which)
    for name, values in tool.constants(precision).items():
        assert [float(tool.text(x, precision)) for x in values] == list(standing(precision, name)), name


@pytest.mark.parametrize("which", ["DOUBLE", "SINGLE"])
@pytest.mark.parametrize("name", FITS)
def test_polynomials_fit(tool, name, which):
    precision = getattr(tool, which)
    coefficients = [tool.rounded(c, precision.bits) for c in standing(precision, name)]
    assert tool.misfit(name, coefficients) <= FITS[name][precision.column]


def test_every_polynomial_has_a_fit_to_reach(tool):
    assert set(FITS) == set(tool.POLYNOMIALS)


def test_a_wrong_coefficient_is_found_out(tool):
    wrong = list(standing(tool.DOUBLE, "EXP"))
    wrong[5] *= 1 + 1e-9
    assert tool.misfit("EXP", wrong) > FITS["EXP"][0]


def test_the_exchange_finds_a_polynomial_that_is_known(tool):
    """Of |x|**2 on an interval around 0, degree 1: the line at half the height, with half the height as its error."""
    p = tool.Polynomial(lambda x: x * x, lambda x: mpmath.mpf(1), -1, 1, (2, 2))
    constant, slope = tool.remez(p, p.g, 2)
    assert abs(constant - 0.5) < 1e-3 and abs(slope) < 1e-3


def test_slopes_of_partials_fit(tool):
    assert tool.misfit("ERFCX_SLOPE", [mpmath.mpf(c) for c in ERFCX_SLOPE]) <= -50
