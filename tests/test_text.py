"""The parser of formulas: values against Python's own arithmetic, and every kind of bad text."""

import contextlib
import math
import tracemalloc
from collections.abc import Callable

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcompile.errors import ParseError
from gradcompile.frontend.text import MAX_LENGTH, MAX_NESTING, function_names, names_in, parse, parse_condition
from tests.work import growth, lines

VALUES = {"a": 1.7, "b": -0.6, "c": 2.5, "x": 0.8, "y": 3.2}


def value(text: str) -> float:
    expr = parse(text)
    return float(sp.lambdify([sp.Symbol(n) for n in VALUES], expr, "math")(*VALUES.values()))


@pytest.mark.parametrize(
    "text",
    [
        "a*exp(-b*x) + c",
        "-x**2",
        "2**-3**2",
        "2**-x*y",
        "a - b - c",
        "a/c/x",
        "a/(c*x)",
        "--x",
        "-(-x)",
        "+x - +y",
        "x - -3",
        "-a*b/-c",
        "(c*x - y)**2",
        "1e-3*x + .5 + 2.",
        "1/3*x",
        "x**0.5 + x**(1/2) + x**-1.5",
        "(x + y)*(x - y)",
        "3 - 2 - 1 + x",
        "2*3/4*x",
        "x**2**0.5",
        "pi*x + E",
    ],
)
def test_value_is_that_of_python(text: str) -> None:
    expected = eval(text, {"exp": math.exp, "pi": math.pi, "E": math.e}, dict(VALUES))
    assert value(text) == pytest.approx(expected, rel=1e-14)


def test_caret_is_a_power() -> None:
    assert value("x^2^a") == pytest.approx(0.8 ** (2**1.7), rel=1e-14)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("where(x > 0, y, c)", 3.2),
        ("where(x > 1 or y <= 3, y, c)", 2.5),
        ("where(x > 0 and not y < 3, y, c)", 3.2),
        ("where(not (x > 0 and y != 1), y, c)", 2.5),
        ("where(1 < 2, x, y)", 0.8),
        ("where(1 == 2 or 2 >= 3, x, y)", 3.2),
        ("max(x, y, 1) - min(x, y)", 2.4),
        ("Heaviside(x) + Heaviside(0) + Heaviside(0, 1)", 2.5),
        ("hypot(3*x, 4*x)", 4.0),
        ("cbrt(-8)", -2.0),
        ("sign(b)*abs(b)", -0.6),
        ("loggamma(5) + log(1/24)", 0.0),
        ("mod(-1, 3)", 2.0),
        ("LambertW(E)", 1.0),
        ("beta(2, 3)*12", 1.0),
        ("digamma(1)", -0.5772156649015329),
        ("softplus(0) - log(2) + sigmoid(0) + relu(-1)", 0.5),
    ],
)
def test_functions(text: str, expected: float) -> None:
    assert value(text) == pytest.approx(expected, rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("name", sorted(set(function_names()) - {"where", "mean", "total", "atan2", "beta", "mod"}))
def test_every_function_takes_a_variable_and_a_number(name: str) -> None:
    two = ", 2" if name == "hypot" else ""
    assert parse(f"{name}(x{two})").free_symbols == {sp.Symbol("x")}
    if name not in ("acosh", "atanh", "coth", "csc", "cot"):
        assert parse(f"{name}(0.5{two})").is_Number


def test_small_numbers_stay_exact() -> None:
    assert parse("x**2").exp == 2
    assert parse("x**0.5").exp == sp.Rational(1, 2)
    assert parse("1/3") == sp.Rational(1, 3)
    assert parse("2**10 - 24") == 1000
    assert parse("0.1") == sp.Float(0.1)


def test_names_map_to_the_given_symbols() -> None:
    beta = sp.Symbol("beta", positive=True)
    assert parse("beta*pi", {"beta": beta, "pi": sp.Symbol("pi")}).free_symbols == {beta, sp.Symbol("pi")}
    assert parse("gamma + beta(x, 1)").free_symbols == {sp.Symbol("gamma"), sp.Symbol("x")}
    assert parse("é + 变量").free_symbols == {sp.Symbol("é"), sp.Symbol("变量")}


def test_names_in_order_of_appearance() -> None:
    found = names_in("b*exp(-a*x) + b and E")
    assert list(found) == ["b", "a", "x", "E"]
    assert found["x"].start == 9


BAD = {
    "": "no formula",
    "x +": "missing here",
    "* x": r"missing before '\*'",
    "x + ) ": r"missing before '\)'",
    "(x": "never closed",
    "sin(x": "never closed",
    "x)": "never opened",
    "x y": "operator is missing before 'y'",
    "2x": r"write 2\*x",
    "2 (x)": "operator is missing",
    "1_000": "without _",
    "x.real": "no attributes",
    "__import__('os')": "no strings",
    '"a"': "no strings",
    "x[0]": "no indices",
    "y = a*x": "right-hand side",
    "x − y": "write - for minus",  # noqa: RUF001 - a sign of word processors
    "x % 2": "mod",
    "x; y": "unexpected character ';'",
    "\x00": "unexpected character",
    "sinn(x)": "did you mean 'sin'",
    "open(x)": "unknown function 'open'",
    "sin()": "needs 1 argument",
    "sin(x, y)": "takes 1 argument, not 2",
    "max()": "1 or more arguments",
    "sin(,x)": "missing before ','",
    "()": "empty parentheses",
    "x, y": "comma",
    "(x, y)": "comma",
    "log(-1)": "not a real number",
    "loggamma(-1)": "not a real number",
    "sqrt(-2)*x": "not a real number",
    "(-8)**(1/3)": "cbrt",
    "1/0": "division by zero",
    "x/0": "division by zero",
    "x < y": "where",
    "(x < y) + 1": "where",
    "a < b < c": "chained",
    "where(x, 1, 2)": "comparison",
    "not x": "comparison",
    "where(x > 0, 1)": "3 arguments",
    "where(x > 0, x > 1, 2)": "number is needed",
    "x if x else y": "write where",
    "x not y": "'not'",
}


@pytest.mark.parametrize(("text", "cure"), BAD.items())
def test_bad_text_is_pointed_at(text: str, cure: str) -> None:
    with pytest.raises(ParseError, match=cure) as caught:
        parse(text)
    assert str(caught.value).rstrip(" ").endswith("^")


@pytest.mark.parametrize(
    "text",
    [
        "10**10**10",
        "9**9**9**9",
        "2**100000",
        "2**-100000",
        "0**-1",
        "1e400",
        "1e-400",
        "9" * 5000,
        "1" + "0" * 400,
        "exp(exp(exp(100)))",
        "exp(1000)*x",
        "gamma(1e9)",
        "gamma(10**9)",
        "(10**300)*(10**300)",
        "x + 10**300*10**300",
        "pi*1e308",
        "x*(1e308 + 1e308)",
        "cosh(10**4)",
        "exp2(10**7)",
        "coth(0)",
        "1e308**2*x",
    ],
)
def test_constants_outside_the_range_of_a_float(text: str) -> None:
    def refused() -> None:
        with pytest.raises(ParseError, match="outside the range of a float"):
            parse(text)

    refused()
    tracemalloc.start()
    try:
        refused()
        assert tracemalloc.get_traced_memory()[1] < 2**20  # no number of many digits
    finally:
        tracemalloc.stop()
    assert lines(refused) < 100_000


def test_large_powers_of_names_are_not_computed() -> None:
    expr = parse("y*(2*x)**(10**15)*(3*x)**(10**15)")
    assert expr.free_symbols == {sp.Symbol("x"), sp.Symbol("y")}
    assert parse("((x**9)**(10**9))**(10**9)").free_symbols == {sp.Symbol("x")}


@pytest.mark.parametrize(
    "text",
    ["(" * 150 + "x" + ")" * 150, "-" * 5000 + "x", "x**" * 3000 + "x", "sin(" * 2000 + "x", "not " * 200 + "x > 0"],
)
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match=f"{MAX_NESTING} levels"):
        parse(text)


def test_long_text_is_refused_and_long_chains_take_linear_time() -> None:
    with pytest.raises(ParseError, match="10000"):
        parse("x" * (MAX_LENGTH + 1))
    for sign in "+-*/":

        def job(count: int, sign: str = sign) -> Callable[[], sp.Expr]:
            text = sign.join(f"a{i}" for i in range(count))
            return lambda: parse(text)

        assert growth(job, 375) < 5
        assert len(job(1500)().free_symbols) == 1500


@pytest.mark.parametrize(
    "name", ["sin", "abs", "max", "sqrt", "erf", "sign", "floor", "Heaviside", "LambertW", "atan2"]
)
def test_as_deep_as_allowed_prints_and_hashes(name: str) -> None:
    second = ", y" if name in ("atan2", "max") else ""
    depth = MAX_NESTING - 1
    expr = parse(f"{name}(" * depth + "x" + f"{second})" * depth)
    assert str(expr).count("(") >= depth
    assert hash(expr) == hash(expr.func(*expr.args, evaluate=False))


def test_unknown_name_lists_what_is_known() -> None:
    known = {"alpha": sp.Symbol("alpha"), "x": sp.Symbol("x")}
    with pytest.raises(ParseError, match="unknown name 'alpa'; did you mean 'alpha'"):
        parse("alpa*x", known)
    with pytest.raises(ParseError, match="the names are alpha, x"):
        parse("q*x", known)
    with pytest.raises(ParseError, match="'x' is a variable"):
        parse("x(2)", known)


def test_marker_stands_under_the_position_in_long_and_broken_text() -> None:
    with pytest.raises(ParseError) as caught:
        parse("a +\n" * 100 + "$" + " + a" * 100)
    _, line, marker = str(caught.value).split("\n")
    assert line[marker.index("^")] == "$"
    assert len(line) < 90


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="xy0123456789.eE+-*/^()<>=, sincoexplgamwhrdt", max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    with contextlib.suppress(ParseError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a*`Temp (C)`", sp.Symbol("a") * sp.Symbol("Temp (C)")),
        ("`x-1`-1", sp.Symbol("x-1") - 1),
        ("`and` + `(` + `-`", sp.Symbol("and") + sp.Symbol("(") + sp.Symbol("-")),
        ("`sin`*(2)", 2 * sp.Symbol("sin")),
        ("`pi`*`1st`", sp.Symbol("pi") * sp.Symbol("1st")),
        ("`a b`**2", sp.Symbol("a b") ** 2),
    ],
)
def test_a_name_between_backticks_may_be_anything(text: str, expected: sp.Expr) -> None:
    assert parse(text).doit() == expected
    assert set(names_in(text)) == {s.name for s in expected.free_symbols}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a*`x", "needs one on each side"),
        ("a*``", "needs one on each side"),
        ("`a`(x)", r"an operator is missing before '\('"),
        ("a*`b c`", "unknown name 'b c'; did you mean '`b d`'"),
        ("power(a, x)", r"write a\*\*b"),
        ("arcsin(x)", r"write asin\(x\)"),
        ("if(x > 1, 2, 3)", "write where"),
        ("a if x > 1 else 2", r"write where\(condition, a, b\)"),
        ("exp x", r"write exp\("),
    ],
)
def test_what_is_wrong_with_a_name_is_said(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=message) as caught:
        parse(text, {"a": sp.Symbol("a"), "x": sp.Symbol("x"), "b d": sp.Symbol("b d")})
    assert "^" in str(caught.value)


def test_a_condition_alone() -> None:
    x = sp.Symbol("x y")
    assert parse_condition("`x y` > 0 and `x y` < 2", {"x y": x}) == (x > 0) & (x < 2)
    assert parse_condition("1 > 0") == sp.true
    with pytest.raises(ParseError, match="a condition is needed"):
        parse_condition("x + 1")
