"""Derive the constants of gradcompile.vmath: minimax polynomials, split constants and the bits of 2/pi.

    python tools/coefficients.py             # every constant, and how well each polynomial fits
    python tools/coefficients.py --write     # put them into gradcompile/library/vmath/double.py and single.py

A polynomial p of n coefficients is the one with the smallest max |w(x) (g(x) - p(x))| on an interval, by the exchange
algorithm of Remez; w makes it the relative error of what the polynomial is for. On an interval to the right of 0 the
first two coefficients are rounded to the target's precision one after the other, and the rest is fitted anew each time.
"""

import ast
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mpmath
from mpmath import mpf

mpmath.mp.dps = 50

Function = Callable[[mpf], mpf]
PACKAGE = Path(__file__).resolve().parent.parent / "gradcompile"
MODULES, OPS = PACKAGE / "library" / "vmath", PACKAGE / "ops" / "elementwise.py"


@dataclass(frozen=True)
class Precision:
    """A floating-point format: its name, its significant bits, and how many terms which polynomial takes."""

    module: str
    bits: int
    column: int


DOUBLE, SINGLE = Precision("double", 53, 0), Precision("single", 24, 1)


@dataclass(frozen=True)
class Polynomial:
    """What to fit: g(x) with weight w(x) on an interval, with so many coefficients in double and single precision."""

    g: Function
    weight: Function
    low: mpf
    high: mpf
    terms: tuple[int, int]


def in_square(f: Function) -> Function:
    """F as a function of the square of its argument."""
    return lambda z: f(mpmath.sqrt(z))


def erfcx(x: mpf) -> mpf:
    """exp(x**2)*erfc(x)."""
    return mpmath.exp(x * x) * mpmath.erfc(x)


def erfcx_slope(x: mpf) -> mpf:
    """The derivative 2*x*erfcx(x) - 2/sqrt(pi), half of whose digits cancel far from 0."""
    with mpmath.workdps(90):
        return 2 * x * erfcx(x) - 2 / mpmath.sqrt(mpmath.pi)


def from_t(t: mpf) -> mpf:
    """The x with t = (x - ERFC_CENTRE)/(x + ERFC_CENTRE)."""
    return ERFC_CENTRE * (1 + t) / (1 - t)


LN2, ROOT2, QUARTER = mpmath.log(2), mpmath.sqrt(2), mpmath.pi / 4
ERFC_CENTRE = 4
POLYNOMIALS = {
    "EXP": Polynomial(lambda r: (mpmath.expm1(r) - r) / r**2, abs, -LN2 / 2, LN2 / 2, (11, 6)),
    "LOG": Polynomial(lambda f: (mpmath.log1p(f) - f) / f**2, abs, ROOT2 / 2 - 1, ROOT2 - 1, (20, 9)),
    "ATANH": Polynomial(
        in_square(lambda s: 2 * (mpmath.atanh(s) - s - s**3 / 3) / s**5),
        lambda z: z * z,
        0,
        (3 - 2 * ROOT2) ** 2,
        (7, 3),
    ),
    "SIN": Polynomial(in_square(lambda r: (mpmath.sin(r) - r) / r**3), lambda z: z, 0, QUARTER**2, (6, 3)),
    "COS": Polynomial(
        in_square(lambda r: (mpmath.cos(r) - 1 + r**2 / 2) / r**4), lambda z: z * z, 0, QUARTER**2, (6, 3)
    ),
    "SINH": Polynomial(in_square(lambda r: (mpmath.sinh(r) - r) / r**3), lambda z: z, 0, (LN2 / 2) ** 2, (5, 2)),
    "COSH": Polynomial(
        in_square(lambda r: (mpmath.cosh(r) - 1 - r**2 / 2) / r**4), lambda z: z * z, 0, (LN2 / 2) ** 2, (5, 2)
    ),
    "TANH": Polynomial(in_square(lambda r: (mpmath.tanh(r) - r) / r**3), lambda z: z, 0, (LN2 / 4) ** 2, (6, 3)),
    "ATAN": Polynomial(in_square(lambda t: (mpmath.atan(t) - t) / t**3), lambda z: z, 0, 1, (20, 9)),
    "ASIN": Polynomial(in_square(lambda t: (mpmath.asin(t) - t) / t**3), lambda z: z, 0, mpf("0.25"), (12, 5)),
    "ASINH": Polynomial(in_square(lambda t: (mpmath.asinh(t) - t) / t**3), lambda z: z, 0, mpf("0.25"), (12, 5)),
    "ERF": Polynomial(in_square(lambda x: mpmath.erf(x) / x - 1), lambda z: mpf(1), 0, 1, (13, 7)),
    "ERFC": Polynomial(
        lambda t: (from_t(t) + ERFC_CENTRE) * erfcx(from_t(t)),
        lambda t: 1 / ((from_t(t) + ERFC_CENTRE) * erfcx(from_t(t))),
        -1,
        mpf(28 - ERFC_CENTRE) / (28 + ERFC_CENTRE),
        (24, 13),
    ),
    "CBRT": Polynomial(lambda m: 1 / mpmath.cbrt(m), mpmath.cbrt, 1, 2, (6, 5)),
}
# Of partials, in double precision; a rule has them for both
SLOPES = {
    "ERFCX_SLOPE": Polynomial(
        lambda t: (from_t(t) + ERFC_CENTRE) ** 2 * erfcx_slope(from_t(t)),
        lambda t: 1 / ((from_t(t) + ERFC_CENTRE) ** 2 * erfcx_slope(from_t(t))),
        (mpf("0.5") - ERFC_CENTRE) / (mpf("0.5") + ERFC_CENTRE),
        1 - mpf(10) ** -9,
        (23, 23),
    ),
}


def evaluate(coefficients: Sequence[mpf], x: mpf) -> mpf:
    """The polynomial with these coefficients, constant term first."""
    return mpmath.polyval(list(coefficients)[::-1], x)


def solve(p: Polynomial, g: Function, nodes: Sequence[mpf], shift: int) -> list[mpf]:
    """The coefficients of x**shift times a polynomial whose weighted error alternates at the nodes."""
    n = len(nodes) - 1
    rows = [[x ** (k + shift) for k in range(n)] + [(-1) ** i / p.weight(x)] for i, x in enumerate(nodes)]
    return list(mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix([g(x) for x in nodes])))[:n]


def extremes(error: Function, low: mpf, high: mpf, count: int) -> list[mpf]:
    """Where the error is extreme, one point in each stretch of one sign; the `count` neighbours with the largest."""
    steps = 24 * count
    grid = [
        (low + high) / 2 - (high - low) / 2 * mpmath.cos(mpmath.pi * (k + mpf("0.013")) / (steps + 1))
        for k in range(steps + 1)
    ]
    values = [error(x) for x in grid]
    found: list[tuple[mpf, mpf]] = []
    for x, value in zip(grid, values, strict=True):
        if found and (found[-1][1] > 0) == (value > 0):
            if abs(value) > abs(found[-1][1]):
                found[-1] = (x, value)
        else:
            found.append((x, value))
    while len(found) > count:
        found.pop(0 if abs(found[0][1]) < abs(found[-1][1]) else -1)
    return [x for x, _ in found]


def remez(p: Polynomial, g: Function, n: int, shift: int = 0) -> list[mpf]:
    """The n coefficients with the smallest weighted error, of x**shift times a polynomial."""
    middle, half = (mpf(p.low) + p.high) / 2, (mpf(p.high) - p.low) / 2
    nodes = [middle - half * mpmath.cos(mpmath.pi * (k + mpf("0.47")) / (n + 1)) for k in range(n + 1)]
    for _ in range(6):
        coefficients = solve(p, g, nodes, shift)
        error = lambda x, c=coefficients: p.weight(x) * (g(x) - x**shift * evaluate(c, x))  # noqa: E731
        found = extremes(error, p.low, p.high, n + 1)
        if len(found) < n + 1:
            break
        nodes = found
    return coefficients


def rounded(x: mpf, bits: int) -> mpf:
    """The nearest number of so many significant bits."""
    with mpmath.workprec(bits):
        return +mpf(x)


def truncated(x: mpf, bits: int) -> mpf:
    """A number of so many significant bits, and not more than a positive x."""
    shift = bits - mpmath.mag(x)
    return mpmath.ldexp(mpmath.floor(mpmath.ldexp(x, shift)), -shift)


def derive(name: str, precision: Precision) -> list[mpf]:
    """The coefficients of a polynomial, constant term first, numbers of the target precision."""
    p = (POLYNOMIALS | SLOPES)[name]
    n = p.terms[precision.column]
    last = 2 if p.low >= 0 else 0  # powers of x are no basis for an exchange on an interval around 0
    done: list[mpf] = []
    for k in range(n):
        g = lambda x, c=tuple(done): p.g(x) - (evaluate(c, x) if c else 0)  # noqa: E731
        if k <= last:
            rest = remez(p, g, n - k, k)
        done.append(rounded(rest[k - min(k, last)], precision.bits))
    return done


def misfit(name: str, coefficients: Sequence[mpf]) -> float:
    """The largest weighted error, as a power of two."""
    p = (POLYNOMIALS | SLOPES)[name]
    points = [p.low + (mpf(p.high) - p.low) * (k + mpf("0.31")) / 997 for k in range(997)]
    return float(mpmath.log(max(abs(p.weight(x) * (p.g(x) - evaluate(coefficients, x))) for x in points), 2))


def split(x: mpf, *bits: int, cut: Callable[[mpf, int], mpf] = rounded) -> list[mpf]:
    """A constant as a sum of parts with so many significant bits each."""
    parts: list[mpf] = []
    for count in bits:
        parts.append(cut(x - sum(parts), count))
    return parts


def words(precision: Precision) -> list[mpf]:
    """2/pi in digits of as many bits as a significand has, for every exponent of the format."""
    size, top = precision.bits, 1024 if precision.bits == 53 else 128
    count = top // size + 5
    digits = int(mpmath.floor(mpmath.ldexp(2 / mpmath.pi, size * count)))
    return [mpf(0)] + [mpf((digits >> size * (count - 1 - k)) & (2**size - 1)) for k in range(count - 1)]


def constants(precision: Precision) -> dict[str, list[mpf]]:
    """Every constant of a module that is not exact, by name; a list of one is a plain number."""
    full = precision.bits
    with mpmath.workdps(400):
        two_over_pi = words(precision)
        table = {
            "LOG2E": [1 / LN2],
            "LN2": split(+mpmath.log(2), full - (11 if full == 53 else 8), full),
            "LN2_FULL": split(+mpmath.log(2), full, full),
            "LOG10_2": split(mpmath.log10(2), full - (11 if full == 53 else 8), full),
            "LOG10E": [1 / mpmath.log(10)],
            "HALF_PI": split(mpmath.pi / 2, full, full),
            "PI_PARTS": split(
                mpmath.pi / 2, full, full // 2 - (full == 24), full, cut=truncated
            ),  # none negative, for -0.0
            "TWO_OVER_PI": [2 / mpmath.pi],
            "LOG2E_FULL": split(1 / mpmath.log(2), full, full),
            "TWO_THIRDS": split(mpf(2) / 3, full, full),
        }
    return {"PI_WORDS": two_over_pi} | {k: [rounded(x, full) for x in v] for k, v in table.items()}


def text(x: mpf, precision: Precision) -> str:
    """The shortest literal that gives the number, or a short one that the format rounds to it."""
    if precision.bits == 53:
        return repr(float(x))
    exact = float(x)
    for digits in range(1, 12):
        short = f"{exact:.{digits}g}"
        if struct.pack("f", float(short)) == struct.pack("f", exact):
            return repr(float(short))
    return repr(exact)


def statement(name: str, values: Sequence[mpf], precision: Precision) -> str:
    """The assignment as it stands in the module."""
    literals = [text(x, precision) for x in values]
    if len(literals) == 1:
        return f"{name} = {literals[0]}"
    line = f"{name} = ({', '.join(literals)})"
    if len(line) <= 120:
        return line
    rows, row = [], "   "
    for literal in literals:
        if len(row) + len(literal) + 2 > 120:
            rows, row = [*rows, row], "   "
        row += f" {literal},"
    return "\n".join([f"{name} = (", *rows, row, ")  # fmt: skip"])


def write(path: Path, statements: dict[str, str]) -> None:
    """Replace the assignments of these names in a module."""
    lines = path.read_text("utf-8").splitlines()
    for node in reversed(ast.parse("\n".join(lines)).body):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            new = statements.get(node.targets[0].id)
            if new is not None:
                lines[node.lineno - 1 : node.end_lineno] = new.splitlines()
    path.write_text("\n".join(lines) + "\n", "utf-8")


def main(arguments: Sequence[str]) -> None:
    """Print every constant of both modules, and those of partials; with --write, put them there."""
    for precision in (DOUBLE, SINGLE):
        found = {name: statement(name, values, precision) for name, values in constants(precision).items()}
        for name in POLYNOMIALS:
            coefficients = derive(name, precision)
            found[name] = statement(name, coefficients, precision)
            print(f"{precision.module} {name}: {len(coefficients)} terms, within 2**{misfit(name, coefficients):.1f}")
        print("\n".join(found.values()))
        if "--write" in arguments:
            write(MODULES / f"{precision.module}.py", found)
    found = {name: statement(name, derive(name, DOUBLE), DOUBLE) for name in SLOPES}
    print("\n".join(found.values()))
    if "--write" in arguments:
        write(OPS, found)


if __name__ == "__main__":
    main(sys.argv[1:])
