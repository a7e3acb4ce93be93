"""Elementary functions in vector registers, against high precision, over the whole domain and where each is worst.

The bound is the one in a function's docstring; without one it has to be correctly rounded.
"""

import re
from fractions import Fraction

import mpmath
import numpy as np
import plain
import pytest
import simd
from test_vmath import BY_NAME, exact

from gradcompile import vmath
from gradcompile.library.vmath import single

MODULES = {np.float64: vmath, np.float32: single}
RANGE = {np.float64: (1024, 52), np.float32: (128, 23)}  # the largest exponent, and the bits of a significand
DTYPES = pytest.mark.parametrize("dtype", MODULES, ids=lambda d: d.__name__)
N = 120
EXPONENTIAL = ("exp", "exp2", "expm1", "sigmoid", "softplus", "tanh", "sinh", "cosh", "x_over_expm1", "sech",
               "log_cosh")  # fmt: skip
LOGARITHM = ("log", "log2", "log10", "log1p")
PARTS = ("log_high", "log_low")  # of a logarithm: held to their sum below
ANGLE = ("sin", "cos", "tan", "sinc")
UNIT = ("asin", "acos", "atanh")
LINE = ("atan", "asinh", "cbrt", "erf", "erfc", "erfcx", "log_erfc")
PLANE = ("atan2", "hypot", "mod")
PICKED = ("sqrt", "fabs", "floor", "ceil", "rint")  # primitives as they are
EXACT = ("sign", "heaviside", "maximum", "minimum", *PICKED, *PARTS)
ODD = ("sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "erf", "cbrt", "sign")
EVEN = ("cos", "cosh", "sinc", "fabs", "sech", "log_cosh")
RISING = (
    "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "tanh", "sigmoid", "atan", "asin", "sinh", "asinh", "cbrt",
    "erf", "acosh", "atanh",
)  # fmt: skip
HARD = (6381956970095103.0 * 2.0**797, 1e22, 2.0**1023, 16367173.0 * 2.0**72, 2.0**127, 1.6e38, 1e8, 1e4)


def bound(function):
    """The bound in ulps that the docstring states."""
    found = re.search(r"at most ([\d.]+) ulp", function.__doc__)
    return float(found[1]) if found else 0.5


def both(x):
    return np.concatenate([x, -x])


def powers(rng, low, high, n=N):
    """Numbers with logarithms spread from low to high."""
    return np.exp2(rng.uniform(low, high, n).astype(np.longdouble))


def neighbours(points, dtype):
    """Each point with the numbers beside it."""
    x = np.asarray(points).astype(dtype)
    return np.concatenate([np.nextafter(x, dtype(-np.inf)), x, np.nextafter(x, dtype(np.inf))])


def everywhere(rng, dtype):
    """Numbers of either sign and any exponent, subnormal numbers included."""
    top, digits = RANGE[dtype]
    return both(powers(rng, 2 - top - digits, top - 0.01, 2 * N))


def exponents(rng, dtype):
    """From underflow to overflow; the ends of the reduced interval; near 0."""
    top, digits = RANGE[dtype]
    low, high = -(top + digits) * np.log(2), top * np.log(2)
    halves = np.log(2) * (rng.integers(-60, 60, N) + 0.5)
    return np.concatenate(
        [rng.uniform(low, high, N), rng.uniform(-3, 3, N), rng.uniform(-40, 40, N), halves + rng.uniform(-0.1, 0.1, N),
         high - powers(rng, -20, 1), low + powers(rng, -20, 5), both(powers(rng, -top, -1)), [9.01, 18.8, 37.09]]
    )  # fmt: skip


def magnitudes(rng, dtype):
    """Positive numbers; near 1 and near the ends of the reduced interval."""
    top, digits = RANGE[dtype]
    root = np.sqrt(0.5) * (1 + rng.uniform(-1e-3, 1e-3, N))
    near = 1 + both(powers(rng, -digits, -1))
    return np.concatenate([powers(rng, 2 - top - digits, top - 0.01), near, root, 2 * root, rng.uniform(0.3, 3, N)])


def angles(rng, dtype):
    """Small, ordinary and huge angles, and those next to multiples of pi/2."""
    top, _ = RANGE[dtype]
    steps = np.concatenate([np.arange(1, N), powers(rng, 8, 24).astype(int)])
    near = neighbours(steps * (np.pi / 2), dtype)
    hard = [x for x in HARD if x <= float(np.finfo(dtype).max)]
    return np.concatenate([rng.uniform(-10, 10, N), both(powers(rng, -top, top - 0.01, 3 * N)), near, hard])


def unit(rng, dtype):
    top, digits = RANGE[dtype]
    near = 1 - powers(rng, -digits, -1)
    return np.concatenate(
        [both(near), rng.uniform(-1, 1, 2 * N), both(rng.uniform(0.45, 0.55, N)), powers(rng, -top, 0)]
    )


def columns(name, dtype):
    """Arguments for a function: where it is ordinary, and where it is hardest."""
    rng = np.random.default_rng(11)
    top, digits = RANGE[dtype]
    if name in EXPONENTIAL:
        x = exponents(rng, dtype)
        rows = [both(x) if name in ("sigmoid", "softplus", "x_over_expm1") else x]
    elif name in LOGARITHM:
        x = magnitudes(rng, dtype)
        rows = [np.concatenate([x - 1, both(x[x < 1]), rng.uniform(0.35, 0.55, N)]) if name == "log1p" else x]
    elif name in ANGLE:
        rows = [angles(rng, dtype)]
    elif name in UNIT:
        rows = [unit(rng, dtype)]
    elif name == "acosh":
        rows = [np.concatenate([1 + powers(rng, -digits, 2), powers(rng, 0, top - 0.01)])]
    elif name in LINE:
        wide = everywhere(rng, dtype)
        wide = np.clip(wide, -28, 28) if name in ("erfc", "erfcx", "log_erfc") else wide
        rows = [np.concatenate([wide, rng.uniform(-9, 9, N), rng.uniform(0.4, 1.4, N), rng.uniform(0, 27, N)])]
    else:
        rows = pairs(name, rng, dtype)
    with np.errstate(over="ignore"):  # a product of pairs may be infinite in single precision
        return [np.ascontiguousarray(x.astype(dtype)) for x in rows]


def pairs(name, rng, dtype):
    """Arguments for a function of two."""
    top, digits = RANGE[dtype]
    wide = everywhere(rng, dtype)
    if name == "power":
        x = np.concatenate(
            [powers(rng, 2 - top, top - 0.01), rng.uniform(0.5, 2, N), 1 + both(powers(rng, -digits, -3))]
        )
        return [x, rng.uniform(-top - digits, top, x.size) / np.log2(x.astype(dtype).astype(np.longdouble))]
    if name == "exp_sum":
        x = exponents(rng, dtype)
        return [np.concatenate([x, 3 * x]), np.concatenate([rng.permutation(x), x[::-1] - 3 * x])]
    if name == "xlogy":
        return [rng.uniform(-5, 5, 5 * N), magnitudes(rng, dtype)[: 5 * N]]
    near = both(powers(rng, -8, 8, 2 * N))
    x = np.concatenate([wide, wide, near])
    return [x, np.concatenate([rng.permutation(wide), wide * rng.uniform(0.1, 10, wide.size), rng.permutation(near)])]


def reference(name, *args):
    """The exact value, to more digits than matter."""
    if name == "mod":
        r = Fraction(args[0]) % Fraction(args[1])
        return mpmath.mpf(r.numerator) / r.denominator
    return exact(BY_NAME[name], *args)


def distance(got, want, dtype):
    """|got - want| in ulps; what rounds to an infinity may be one."""
    top, digits = RANGE[dtype]
    if abs(want) >= mpmath.ldexp(1, top) * (1 - mpmath.ldexp(1, -digits - 2)) or mpmath.isinf(want):
        return 0.0 if abs(got) >= np.finfo(dtype).max else np.inf
    exponent = max(mpmath.frexp(want)[1] - digits - 1, 2 - top - digits)
    return float(abs(mpmath.mpf(float(got)) - want) / mpmath.ldexp(1, exponent)) if np.isfinite(got) else np.inf


def worst(name, dtype, got, rows):
    """The largest error, and where."""
    with mpmath.workprec(160):
        errors = [distance(g, reference(name, *map(float, row)), dtype) for g, *row in zip(got, *rows, strict=True)]
    k = int(np.argmax(errors))
    return errors[k], [float(x[k]) for x in rows]


@DTYPES
@pytest.mark.parametrize("name", [n for n in vmath.__all__ if n not in EXACT])
def test_within_the_bound_that_is_stated(name, dtype):
    rows = columns(name, dtype)
    rows = [x[np.all([np.isfinite(r) & (r != 0) for r in rows], axis=0)] for x in rows]
    function = getattr(MODULES[dtype], name)
    error, where = worst(name, dtype, simd.run(function, *rows), rows)
    assert error <= bound(function), where


@pytest.mark.parametrize("name", [n for n in vmath.__all__ if n not in EXACT and n != "mod"])
def test_the_op_states_the_same_bound(name):
    assert f"at most {bound(getattr(vmath, name)):g} ulp" == BY_NAME[name].accuracy
    assert bound(getattr(vmath, name)) == bound(getattr(single, name))


@pytest.mark.parametrize("name", ["exp", "log", "sin", "cbrt"])
def test_a_worse_function_is_found_out(name):
    rows = columns(name, np.float32)
    got = simd.run(getattr(single, name), *rows)
    error, _ = worst(name, np.float32, np.nextafter(got, np.float32(np.inf)), rows)
    assert error > bound(getattr(single, name))


@pytest.mark.parametrize("name", [n for n in vmath.__all__ if n not in EXACT and len(BY_NAME[n].domain) == 1])
def test_single_precision_over_all_its_numbers(name):
    """Every 4099th of them, against float64."""
    x = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        want = BY_NAME[name].value(x.astype(np.float64))
        near = want.astype(np.float32)
        error = np.abs(simd.run(getattr(single, name), x) - want) / np.spacing(np.abs(near)).astype(np.float64)
    usual = np.isfinite(near)
    assert np.max(error[usual]) <= bound(getattr(single, name)) + 1e-4, x[usual][np.argmax(error[usual])]


EDGES = (0.0, 1.0, 0.5, 1.5, 2.0, 3.0, 1e3, 1e-30, 1e30, 88.0, 89.0, 700.0, 745.0, 2.0**30, np.inf)


def edges(dtype):
    info = np.finfo(dtype)
    x = np.array([*EDGES, info.max, info.tiny, info.smallest_subnormal, info.eps], dtype)
    return np.concatenate([both(x), np.array([np.nan], dtype)])


@DTYPES
@pytest.mark.parametrize("name", [n for n in vmath.__all__ if n not in PICKED])
def test_infinities_nans_and_zeros_are_those_of_numpy(name, dtype):
    x = edges(dtype)
    rows = [x] if len(BY_NAME[name].domain) == 1 else [a.ravel() for a in np.meshgrid(x, x)]
    with np.errstate(all="ignore"):
        want = np.asarray(BY_NAME[name].value(*(r.astype(np.float64) for r in rows))).astype(dtype)
    got = simd.run(getattr(MODULES[dtype], name), *rows)
    plainly = np.isnan(want) | np.isinf(want) | (want == 0) | np.isnan(got)
    signs = (np.signbit(want) == np.signbit(got)) | (name in ("maximum", "minimum"))  # of 0 and -0, either
    same = np.isnan(want) & np.isnan(got) | (want == got) & signs
    wrong = np.flatnonzero(plainly & ~same)
    assert not wrong.size, [([float(r[k]) for r in rows], got[k], want[k]) for k in wrong[:3]]


@DTYPES
@pytest.mark.parametrize("name", [n for n in ODD + EVEN if n not in PICKED])
def test_symmetry(name, dtype):
    x = columns("sin" if name == "sign" else name, dtype)[0]
    function = getattr(MODULES[dtype], name)
    there, back = simd.run(function, x), simd.run(function, -x)
    np.testing.assert_array_equal(back, -there if name in ODD else there)


@pytest.mark.parametrize("name", RISING)
def test_rising_functions_rise(name):
    """Over runs of consecutive numbers, the reduced intervals' ends among them."""
    for start in (0.3, 0.35, 0.45, 0.7, 0.99, 1.4, 2.0):
        x = np.arange(20000, dtype=np.int32) + np.float32(start).view(np.int32)
        y = simd.run(getattr(single, name), x.view(np.float32))
        assert not np.any(np.diff(y) < 0), start


@DTYPES
@pytest.mark.parametrize("name", [n for n in vmath.__all__ if n not in PICKED])
def test_plain_python_gives_the_same_bits(name, dtype):
    rng = np.random.default_rng(3)
    x = np.concatenate([edges(dtype)[::3], rng.uniform(-3, 3, 8), both(powers(rng, -30, 30, 3))]).astype(dtype)
    rows = [x] if len(BY_NAME[name].domain) == 1 else [x, rng.permutation(x)]
    function = plain.function(name, single=dtype is np.float32)
    with np.errstate(all="ignore"):
        kind = float if dtype is np.float64 else np.float32
        got = np.array([function(*map(kind, row)) for row in zip(*rows, strict=True)]).astype(dtype)
    np.testing.assert_array_equal(got, simd.run(getattr(MODULES[dtype], name), *rows))


@DTYPES
def test_the_parts_of_a_logarithm_add_up_to_it(dtype):
    x = magnitudes(np.random.default_rng(1), dtype).astype(dtype)
    high, low = (simd.run(getattr(MODULES[dtype], name), x) for name in PARTS)
    with mpmath.workprec(120):
        wholes = high.astype(float) / 0.693145751953125
        errors = [abs(mpmath.log(float(v)) - float(a) - float(b)) for v, a, b in zip(x, high, low, strict=True)]
        assert max(errors) <= 2 * np.spacing(dtype(0.36)) / 2
    assert np.array_equal(wholes, np.rint(wholes)) and np.max(np.abs(low)) < 0.36


@pytest.mark.parametrize("k", [-3, 0, 1, 2, 10, 22])
def test_exact_results_are_exact(k):
    one = np.array([1.0])
    assert simd.run(vmath.log10, one * 10.0**k)[0] == k
    assert simd.run(vmath.log2, one * 2.0**k)[0] == k and simd.run(vmath.exp2, one * k)[0] == 2.0**k
    assert simd.run(vmath.power, one * 3.0, one * max(k, 0))[0] == 3.0 ** max(k, 0)
    assert simd.run(vmath.cbrt, one * k**3)[0] == k
